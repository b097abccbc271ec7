"""What a model frame refuses: each a typed error with its facts and a remedy."""

from __future__ import annotations

import datetime
import pickle
from typing import Any

import numpy as np
import polars as pl
import pytest

from mixeff_fast.errors import ArgumentError, DataError, FormulaError
from tests.frames import frame_of, numeric, small_data


@pytest.fixture
def data() -> pl.DataFrame:
    return small_data()


def with_column(data: pl.DataFrame, **columns: Any) -> pl.DataFrame:
    return data.with_columns(**{name: pl.Series(values) for name, values in columns.items()})


NAN, INF = float("nan"), float("inf")
BAD = {
    "not a frame": (lambda d: {"y": [1.0]}, "y ~ x", {}, {"input": "dict"}, "polars.DataFrame"),
    "a number": (lambda d: 3, "y ~ x", {}, {"input": "int"}, "give a polars.DataFrame"),
    "no rows": (lambda d: d.head(0), "y ~ x", {}, {"n_rows": 0}, "no rows"),
    "lazy, no rows": (lambda d: d.lazy().head(0), "y ~ x", {}, {"n_rows": 0}, "no rows"),
    "missing column": (lambda d: d, "y ~ X + wt", {}, {"missing": ["X", "wt"]}, "for 'X' perhaps 'x'"),
    "missing weights": (lambda d: d, "y ~ x", {"weights": "ww"}, {"missing": ["ww"]}, "perhaps 'w'"),
    "all missing response": (
        lambda d: with_column(d, y=[None] * 6),
        "y ~ x",
        {"na_action": "omit"},
        {"n_rows": 0, "na_counts": {"y": 6}},
        "no rows are left",
    ),
    "null": (
        lambda d: with_column(d, x=[1, None, 3, 4, 5, 6]),
        "y ~ x",
        {},
        {"columns": ["x"], "na_counts": {"x": 1}},
        "omit",
    ),
    "nan": (lambda d: with_column(d, y=[1.0, NAN, 3, 4, 5, 6]), "y ~ x", {}, {"columns": ["y"], "rows": [1]}, "omit"),
    "infinite": (
        lambda d: with_column(d, z=[1.0, INF, -INF, 4, 5, 6]),
        "y ~ z",
        {},
        {"column": "z", "rows": [1, 2], "count": 2},
        "filter",
    ),
    "infinite response": (
        lambda d: with_column(d, y=[1.0, 2, 3, 4, 5, INF]),
        "y ~ x",
        {},
        {"column": "y", "rows": [5]},
        "row 5",
    ),
    "infinite group": (
        lambda d: with_column(d, z=[1.0, 2, 3, 4, 5, INF]),
        "y ~ 1 + (1|z)",
        {},
        {"column": "z"},
        "row 5",
    ),
    "log of zero": (lambda d: d, "y ~ log(x)", {}, {"column": "log(x)", "rows": [0]}, "not finite"),
    "root of a negative": (lambda d: d, "y ~ sqrt(x - 2)", {}, {"column": "sqrt(x - 2)", "rows": [0, 1]}, "not finite"),
    "scaling a constant": (
        lambda d: with_column(d, z=[1.0] * 6),
        "y ~ scale(z)",
        {},
        {"column": "scale(z)"},
        "not finite",
    ),
    "transform of strings": (lambda d: d, "y ~ log(a)", {}, {"column": "a", "dtype": "String"}, "number is needed"),
    "list column": (lambda d: with_column(d, x=[[1]] * 6), "y ~ x", {}, {"column": "x"}, "number is needed"),
    "list group": (lambda d: with_column(d, g=[[1]] * 6), "y ~ x + (1|g)", {}, {"column": "g"}, "cannot be a factor"),
    "struct column": (lambda d: with_column(d, x=[{"a": 1}] * 6), "y ~ x", {}, {"column": "x"}, "number is needed"),
    "binary group": (
        lambda d: with_column(d, g=[b"a"] * 6),
        "y ~ x + (1|g)",
        {},
        {"column": "g", "dtype": "Binary"},
        "cast",
    ),
    "date": (
        lambda d: with_column(d, x=[datetime.date(2020, 1, 1)] * 6),
        "y ~ x",
        {},
        {"column": "x", "dtype": "Date"},
        "epoch",
    ),
    "string response": (lambda d: d, "a ~ x", {}, {"column": "a", "dtype": "String"}, "cast it to a number"),
    "one level": (lambda d: with_column(d, a=["p"] * 6), "y ~ a", {}, {"column": "a", "levels": ["p"]}, "one level"),
    "too many levels": (
        lambda d: pl.DataFrame({"y": np.arange(3000.0), "a": [str(k) for k in range(3000)]}),
        "y ~ a",
        {},
        {"column": "a", "n_levels": 3000},
        "(1 | a)",
    ),
    "too few values": (
        lambda d: d,
        "y ~ poly(w, 3)",
        {},
        {"column": "poly(w, 3)", "n_different": 2},
        "lower the degree",
    ),
    "constant spline": (
        lambda d: with_column(d, z=[1.0] * 6),
        "y ~ ns(z, 2)",
        {},
        {"column": "ns(z, 2)"},
        "two different values",
    ),
    "zero weight": (
        lambda d: with_column(d, w=[1.0, 0, 1, 1, 1, 1]),
        "y ~ x",
        {"weights": "w"},
        {"argument": "weights", "rows": [1]},
        "subset=",
    ),
    "negative weights": (
        lambda d: d,
        "y ~ x",
        {"weights": -pl.col("w")},
        {"argument": "weights", "count": 6},
        "strictly positive",
    ),
    "infinite weight": (lambda d: d, "y ~ x", {"weights": [INF, 1, 1, 1, 1, 1]}, {"argument": "weights"}, "not finite"),
    "string weights": (lambda d: d, "y ~ x", {"weights": "a"}, {"column": "a", "dtype": "String"}, "number is needed"),
    "short weights": (
        lambda d: d,
        "y ~ x",
        {"weights": [1.0]},
        {"argument": "weights", "length": 1, "n_rows": 6},
        "one value per row",
    ),
    "bad expression": (lambda d: d, "y ~ x", {"offset": pl.col("nope")}, {"argument": "offset"}, "cannot be evaluated"),
    "empty subset": (lambda d: d, "y ~ x", {"subset": pl.col("x") > 99}, {"argument": "subset"}, "keeps no rows"),
}


class TestBadInput:
    @pytest.mark.parametrize("case", BAD)
    def test_data_that_cannot_be_used(self, data: pl.DataFrame, case: str) -> None:
        make, text, arguments, fields, message = BAD[case]
        with pytest.raises(DataError) as caught:
            frame_of(make(data), text, **arguments)
        assert caught.value.code == "mm_data_error"
        assert message in str(caught.value)
        assert {name: caught.value.fields[name] for name in fields} == fields
        assert pickle.loads(pickle.dumps(caught.value)).fields == caught.value.fields

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"na_action": "drop"}, "na_action is 'drop'"),
            ({"weights": 2.0}, "neither a column name, a Polars expression nor an array"),
            ({"subset": [0, 1, 2, 3, 4, 5]}, "one boolean per row"),
            ({"subset": "x"}, "one boolean per row"),
            ({"weights": pl.col("w", "z")}, "makes 2 columns"),
        ],
    )
    def test_arguments(self, data: pl.DataFrame, arguments: dict[str, Any], message: str) -> None:
        with pytest.raises(ArgumentError, match=message):
            frame_of(data, "y ~ x", **arguments)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("y ~ poly(x, 0)", "whole number from 1 on"),
            ("y ~ poly(x, 2, deg = 3)", r"use poly\(x, degree, raw\)"),
            ("y ~ bs(x, df = 2)", "df"),
            ("y ~ ns(x, df = 1, intercept = TRUE)", "df must be at least 2"),
            ("y ~ cr(x)", "Must specify either 'df' or 'knots'"),
            ("y ~ log(x, 2, 3)", "log"),
        ],
    )
    def test_calls_that_make_no_sense(self, data: pl.DataFrame, text: str, message: str) -> None:
        with pytest.raises(FormulaError, match=message) as caught:
            frame_of(data, text)
        start = caught.value.offset
        assert text[start : start + caught.value.length] == text[4:]

    def test_columns_with_the_names_of_functions(self) -> None:
        names = ["log", "I", "np", "C", "Intercept", "(1|g)", "TRUE", "poly", "x y"]
        data = pl.DataFrame({"y": [1.0, 2.0]} | {name: [float(k), k + 0.5] for k, name in enumerate(names, start=1)})
        text = "y ~ " + " + ".join(f"log(`{name}`)" for name in names)
        frame = frame_of(data, text)
        for name, key in zip(names, frame.variables, strict=True):
            assert np.array_equal(numeric(frame, key), np.log(data[name]))
