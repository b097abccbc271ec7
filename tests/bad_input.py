"""The tables of bad input: what is refused, and how; what is accepted, and how that shows."""

from __future__ import annotations

import datetime
import decimal
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import (
    ArgumentError,
    ConvergenceNotice,
    DataError,
    FitError,
    FormulaError,
    GroupingCoercionNotice,
    InferenceUnavailable,
    LevelsNotice,
    MissingRowsNotice,
    MixeffError,
    MixeffNotice,
    NotIdentifiable,
    RankNotice,
    ScalingNotice,
)

CODES = {
    FormulaError: "mm_formula_error",
    DataError: "mm_data_error",
    ArgumentError: "mm_arg_error",
    InferenceUnavailable: "mm_inference_unavailable",
    NotIdentifiable: "mm_not_identifiable",
    FitError: "mm_fit_error",
}
INF, NAN = math.inf, math.nan
N = 180
_SLEEP = mf.datasets.load("sleepstudy")
DATA = pl.DataFrame(
    {
        "y": _SLEEP["Reaction"],
        "x": _SLEEP["Days"],
        "z": [1 + 7 * i % 20 / 10 for i in range(N)],
        "w": [0.5 + i % 7 / 5 for i in range(N)],
        "g": _SLEEP["Subject"].cast(pl.String),
        "h": [f"h{i // 10 % 6}" for i in range(N)],
        "a": ["pqr"[i % 3] for i in range(N)],
        "b": ["uv"[i // 3 % 2] for i in range(N)],
        "k": [10 * (i // 10) for i in range(N)],
        "flag": [i % 4 == 0 for i in range(N)],
    }
)
PANDAS = DATA.to_pandas()
F = "y ~ x + (1 | g)"


def put(**columns: Any) -> pl.DataFrame:
    """DATA with some columns replaced or added."""
    return DATA.with_columns(**{
        name: values if isinstance(values, pl.Expr | pl.Series) else pl.Series(values, strict=False)
        for name, values in columns.items()
    })


def one(value: Any, rest: Any = None) -> list[Any]:
    """A column with ``value`` in row 0; 1.0, 2.0, 3.0, 1.0, ... or ``rest`` in the others."""
    return [value, *([1.0 + i % 3 for i in range(1, N)] if rest is None else [rest] * (N - 1))]


def dates(step: Any) -> list[Any]:
    return [datetime.datetime(2020, 1, 1) + step * (i // 10) for i in range(N)]


@functools.cache
def fitted(formula: str = "y ~ x + a + (x | g)", reml: bool = True) -> mf.LinearMixedModel:
    return mf.lmm(formula, DATA, reml=reml)


@dataclass(frozen=True)
class Refusal:
    """A call that must raise ``error`` with these ``fields``, and say ``word`` in its message."""

    id: str
    error: type[MixeffError]
    word: str
    call: Callable[[], object]
    fields: dict[str, Any] = field(default_factory=dict)


def bad_formula(kind: str, offset: int, length: int, word: str, text: str) -> Refusal:
    fields = {"kind": kind, "offset": offset, "length": length, "formula": text}
    return Refusal(f"{kind} {text[:24]}", FormulaError, word, lambda: mf.lmm(text, DATA), fields)


def bad_lmm(name: str, error: type[MixeffError], word: str, fields: dict[str, Any], formula: Any = F, data: Any = DATA,
            **arguments: Any) -> Refusal:
    return Refusal(name, error, word, lambda: mf.lmm(formula, data, **arguments), fields)


def bad_argument(argument: str, value: Any, word: str, call: Callable[..., object], *rest: Any) -> Refusal:
    return Refusal(f"{getattr(call, '__name__', '')} {argument}={value!r:.24}", ArgumentError, word,
                   lambda: call(*rest, **{argument: value}), {"argument": argument})


def method(name: str) -> Callable[..., object]:
    """A method of a fit that is made when it is called."""

    def call(**arguments: Any) -> object:
        return getattr(fitted(), name)(**arguments)

    call.__name__ = name
    return call


FORMULAS = [
    bad_formula("Empty", 0, 1, "write one", ""),
    bad_formula("MissingTilde", 0, 5, "a ~ and the terms", "y + x"),
    bad_formula("MissingResponse", 0, 1, "name the column", "~ x + (1 | g)"),
    bad_formula("MissingResponse", 0, 6, "name the column", "log(2) ~ x + (1 | g)"),
    bad_formula("UnexpectedToken", 4, 1, "add one or remove", "y ~ * x + (1 | g)"),
    bad_formula("UnexpectedToken", 5, 1, "cannot index", "y ~ x[0] + (1 | g)"),
    bad_formula("UnmatchedParen", 8, 1, "add a )", "y ~ x + (1 | g"),
    bad_formula("UnmatchedParen", 15, 1, "remove it", "y ~ x + (1 | g))"),
    bad_formula("MissingBar", 8, 7, "diag(x | g)", "y ~ x + diag(g)"),
    bad_formula("EmptyGrouping", 11, 1, "name a grouping column", "y ~ x + (1 | )"),
    bad_formula("EmptyRandomTerms", 10, 1, "write 1", "y ~ x + ( | g)"),
    bad_formula("EmptyRandomTerms", 9, 1, "write 1", "y ~ x + (0 | g)"),
    bad_formula("EmptyRhs", 2, 1, "write 1", "y ~"),
    bad_formula("TrailingOperator", 16, 1, "remove it", "y ~ x + (1 | g) +"),
    bad_formula("MissingTermSeparator", 6, 1, "join terms with +", "y ~ x z + (1 | g)"),
    bad_formula("MissingTermSeparator", 8, 1, "remove the space", "y ~ log (x) + (1 | g)"),
    bad_formula("NumericLiteralTerm", 4, 1, "I()", "y ~ 2*x + (1 | g)"),
    bad_formula("NumericLiteralTerm", 0, 3, "name the column", "2.5 ~ x + (1 | g)"),
    bad_formula("NegatedRandomEffect", 8, 7, "leave it out", "y ~ x - (1 | g)"),
    bad_formula("TooDeep", 260, 1, "in Polars", "y ~ " + "(" * 10_000 + "x" + ")" * 10_000 + " + (1 | g)"),
    bad_formula("UnknownFunction", 4, 4, "Known functions: abs", "y ~ rank(x) + (1 | g)"),
    bad_formula("UnknownFunction", 4, 6, "compute the column in Polars", "y ~ np.log(x) + (1 | g)"),
    bad_formula("Other", 4, 1, "name the columns", "y ~ ."),
    bad_formula("Other", 4, 1, "remove it from one side", "y ~ y + (1 | g)"),
    bad_formula("Other", 5, 1, "remove it from one side", "y ~ (y | g)"),
    bad_formula("Other", 9, 5, "name each once", "y ~ (1 | g & g)"),
    bad_formula("Other", 9, 5, "(x | a) + (x | b)", "y ~ (1 | g + h)"),
    bad_formula("UnexpectedToken", 4, 2, "write the column inside", "y ~ `` + (1 | g)"),
    bad_formula("Other", 0, 14, "two arguments", "cbind(y, x, z) ~ 1 + (1 | g)"),
]

DATA_RULES = [
    bad_lmm("no rows", DataError, "filtered", {"n_rows": 0}, data=DATA.head(0)),
    bad_lmm("no columns", DataError, "filtered", {"n_rows": 0}, data=pl.DataFrame()),
    bad_lmm("no rows, pandas", DataError, "filtered", {"n_rows": 0}, data=PANDAS.head(0)),
    bad_lmm("no rows, lazy", DataError, "filtered", {"n_rows": 0}, data=DATA.lazy().filter(pl.col("z") > 99)),
    bad_lmm("one row", NotIdentifiable, "two groups", {"nobs": 1}, data=DATA.head(1)),
    bad_lmm("two rows, one level", NotIdentifiable, "group by another column", {"group": "g", "n_levels": 1, "nobs": 2},
            data=DATA.head(2)),
    bad_lmm("two rows, two levels", NotIdentifiable, "repeated levels", {"group": "g", "n_levels": 2, "nobs": 2},
            data=DATA[[0, 10]]),
    bad_lmm("missing columns", DataError, "perhaps 'x'",
            {"missing": ["X", "G"], "suggestions": {"X": ["x"], "G": ["g"]}},
            "y ~ X + (1 | G)"),
    bad_lmm("misspelled", DataError, "for 'subect' perhaps 'subject'", {"missing": ["subect"]}, "y ~ x + (1 | subect)",
            DATA.rename({"g": "subject"})),
    bad_lmm("unlike any column", DataError, "the data have 'y', 'x'", {"missing": ["wavelength"], "suggestions": {}},
            "y ~ wavelength + (1 | g)"),
    bad_lmm("missing column, lazy", DataError, "perhaps 'flag'", {"missing": ["flags"]}, "y ~ flags + (1 | g)",
            DATA.lazy()),
    bad_lmm("case of a column", DataError, "perhaps 'k'", {"missing": ["K"]}, "y ~ x + (1 | K)"),
    bad_lmm("all missing", DataError, "fill them in", {"columns": ["y"], "na_counts": {"y": N}, "count": N},
            data=put(y=pl.Series([None] * N, dtype=pl.Float64))),
    bad_lmm("all missing, omit", DataError, "no rows are left", {"na_counts": {"y": N}, "n_rows": 0},
            data=put(y=[NAN] * N), na_action="omit"),
    bad_lmm("all missing, no type", DataError, "no rows are left", {"na_counts": {"x": N}}, data=put(x=[None] * N),
            na_action="omit"),
    bad_lmm("null", DataError, 'na_action="omit"', {"columns": ["x"], "na_counts": {"x": 1}, "rows": [0], "count": 1},
            data=put(x=one(None))),
    bad_lmm("NaN", DataError, 'na_action="omit"', {"columns": ["x"], "na_counts": {"x": 1}, "rows": [0], "count": 1},
            data=put(x=one(NAN))),
    bad_lmm("null and NaN", DataError, "2 in 'x', 1 in 'g'",
            {"na_counts": {"x": 2, "g": 1}, "rows": [0, 1, 5], "count": 3},
            data=put(x=[None, NAN, *[1.0] * 178], g=[*"aaaaa", None, *["a", "b"] * 87])),
    bad_lmm("null in an Enum", DataError, "fill them in", {"na_counts": {"g": 1}},
            data=put(g=pl.Series([None, *["a", "b", "c"] * 59, "a", "b"], dtype=pl.Enum(["a", "b", "c"])))),
    bad_lmm("null in a boolean", DataError, "fill them in", {"na_counts": {"c": 90}}, "y ~ c + (1 | g)",
            put(c=[None, True] * 90)),
    bad_lmm("one row left", NotIdentifiable, "one row", {"nobs": 1}, data=put(x=[1.0, *[None] * 179]),
            na_action="omit"),
    bad_lmm("infinite response", DataError, "filter those rows out", {"column": "y", "rows": [0], "count": 1},
            data=put(y=one(INF))),
    bad_lmm("infinite predictor", DataError, "filter those rows out", {"column": "x", "rows": [0], "count": 1},
            data=put(x=one(-INF))),
    bad_lmm("infinite, not omitted", DataError, "mend the values", {"column": "x"}, data=put(x=one(INF)),
            na_action="omit"),
    bad_lmm("infinite group", DataError, "filter those rows out", {"column": "c", "rows": [0]}, "y ~ x + (1 | c)",
            put(c=one(INF))),
    *[bad_lmm(f"{name} of the order {order}", DataError, "other units", {"column": name},
              data=put(**{name: pl.col(name) * order}))
      for name in ("x", "y") for order in (1e-300, 1e-160, 1e160, 1e300)],
    bad_lmm("log of a negative", DataError, "not finite in row 0", {"column": "log(c)", "rows": [0]},
            "y ~ log(c) + (1 | g)",
            put(c=one(-1.0))),
    bad_lmm("exp overflows", DataError, "not finite", {"column": "exp(c)", "rows": [0]}, "y ~ exp(c) + (1 | g)",
            put(c=one(1e3))),
    bad_lmm("division by zero", DataError, "not finite", {"column": "I(x/0)", "count": N}, "y ~ I(x / 0) + (1 | g)"),
    bad_lmm("response log(0)", DataError, "not finite", {"column": "log(x)", "count": 18}, "log(x) ~ z + (1 | g)"),
    bad_lmm("scale of a constant", DataError, "not finite", {"column": "scale(c)"}, "y ~ scale(c) + (1 | g)",
            put(c=[1.0] * N)),
    bad_lmm("degree too high", DataError, "lower the degree", {"column": "poly(x, 10)", "n_different": 10},
            "y ~ poly(x, 10) + (1 | g)"),
    bad_lmm("bad literal", FormulaError, "whole number", {"kind": "Other", "offset": 4, "length": 11},
            "y ~ poly(x, -1) + (1 | g)"),
    bad_lmm("transform of strings", DataError, "cast it to a number", {"column": "a", "dtype": "String"},
            "y ~ log(a) + (1 | g)"),
    bad_lmm("list", DataError, ".list.first()", {"column": "x", "dtype": "List(Float64)"}, data=put(x=[[1.0]] * N)),
    bad_lmm("struct", DataError, ".struct.field", {"column": "x"}, data=put(x=[{"a": 1}] * N)),
    bad_lmm("array", DataError, "take one number", {"column": "x"},
            data=put(x=pl.Series([[1.0, 2.0]] * N, dtype=pl.Array(pl.Float64, 2)))),
    bad_lmm("list group", DataError, "take one label", {"column": "g"}, data=put(g=[[1.0]] * N)),
    bad_lmm("list response", DataError, "take one number", {"column": "y"}, data=put(y=[[1.0]] * N)),
    bad_lmm("object", DataError, "cast it to a number", {"column": "x", "dtype": "Object"},
            data=put(x=pl.Series([object()] * N, dtype=pl.Object))),
    bad_lmm("object group", DataError, "cast(pl.String)", {"column": "g", "dtype": "Object"},
            data=put(g=pl.Series([object()] * N, dtype=pl.Object))),
    bad_lmm("binary", DataError, "cast it to a number", {"column": "x", "dtype": "Binary"}, data=put(x=[b"a"] * N)),
    bad_lmm("date", DataError, ".dt.epoch()", {"column": "x", "dtype": "Date"},
            data=put(x=pl.Series(dates(datetime.timedelta(1))).cast(pl.Date))),
    bad_lmm("datetime", DataError, ".dt.epoch()", {"column": "x"}, data=put(x=dates(datetime.timedelta(1)))),
    bad_lmm("duration", DataError, ".dt.total_seconds()", {"column": "x"},
            data=put(x=[datetime.timedelta(i) for i in range(N)])),
    bad_lmm("time", DataError, ".dt.", {"column": "x", "dtype": "Time"},
            data=put(x=[datetime.time(i % 24) for i in range(N)])),
    bad_lmm("response of strings", DataError, "cast it to a number", {"column": "a", "dtype": "String"},
            "a ~ x + (1 | g)"),
    bad_lmm("response of categories", DataError, "cast it to a number", {"column": "a", "dtype": "Categorical"},
            "a ~ x + (1 | g)", put(a=pl.col("a").cast(pl.Categorical))),
    bad_lmm("response of dates", DataError, ".dt.epoch()", {"column": "c"}, "c ~ x + (1 | g)",
            put(c=dates(datetime.timedelta(1)))),
    bad_lmm("factor() response", DataError, "needs numbers", {"column": "k"}, "factor(k) ~ x + (1 | g)"),
    bad_lmm("cbind response", InferenceUnavailable, "one numeric column",
            {"reason_code": "multivariate_response_unsupported"},
            "cbind(k, k) ~ x + (1 | g)"),
    bad_lmm("constant response", FitError, "a column that varies", {"reason_code": "constant_response", "column": "y"},
            data=put(y=[2.0] * N)),
    bad_lmm("offset is the response", FitError, "less the offset", {"reason_code": "constant_response"}, offset="y"),
    bad_lmm("no random term", FitError, "(1 | group)", {"reason_code": "no_random_effects"}, "y ~ x"),
    bad_lmm("rank-saturated", FitError, "fewer fixed-effect columns",
            {"reason_code": "rank_saturated_fixed_effects", "rank": N, "nobs": N}, "y ~ c + (1 | g)",
            put(c=[str(i) for i in range(N)])),
    bad_lmm("cs", FitError, "diag(...)", {"reason_code": "unsupported", "term": "cs(x | g)"}, "y ~ x + cs(x | g)"),
    bad_lmm("ar1", FitError, "us(...)", {"reason_code": "unsupported", "term": "ar1(1 | g)"}, "y ~ x + ar1(1 | g)"),
    bad_lmm("group with one level", NotIdentifiable, "group by another column",
            {"group": "c", "n_levels": 1, "nobs": N},
            "y ~ x + (1 | c)", put(c=["s"] * N)),
    bad_lmm("group with one row per level", NotIdentifiable, "repeated levels",
            {"group": "c", "n_levels": N, "nobs": N},
            "y ~ x + (1 | c)", put(c=[str(i) for i in range(N)])),
    bad_lmm("cells with one row each", NotIdentifiable, "Leave the term out", {"group": "g:x", "n_levels": N},
            "y ~ 1 + (1 | g:x)"),
    bad_lmm("more random effects than rows", NotIdentifiable, "fewer varying effects",
            {"group": "g", "n_levels": 18, "n_random_effects": 180, "nobs": N}, "y ~ 1 + (factor(x) | g)"),
    bad_lmm("a factor varying over itself", NotIdentifiable, "fewer varying effects",
            {"group": "g", "n_random_effects": 324},
            "y ~ x + (g | g)"),
    bad_lmm("factor with one level", DataError, "include rows with other levels", {"column": "c", "levels": ["s"]},
            "y ~ c + (1 | g)", put(c=["s"] * N)),
    bad_lmm("ordered factor with one level", DataError, "remove it", {"column": "c"}, "y ~ c + (1 | g)",
            put(c=["s"] * N), contrasts={"c": "poly"}),
    bad_lmm("factor with one level, no intercept", DataError, "remove it", {"column": "c"}, "y ~ 0 + c + (1 | g)",
            put(c=["s"] * N)),
    bad_lmm("factor with thousands of levels", DataError, "(1 | c)", {"column": "c", "n_levels": 3000},
            "y ~ c + (1 | g)",
            pl.DataFrame({"y": np.arange(3000.0), "c": [str(i) for i in range(3000)], "g": ["s", "t"] * 1500})),
    bad_lmm("levels not listed", DataError, "list every level", {"column": "a", "levels": ["r"]},
            'y ~ factor(a, levels = c("p", "q")) + (1 | g)'),
]

NO_DATA = {"list": [1, 2], "dict": {"y": [1.0]}, "NoneType": None, "str": "data.csv", "int": 3, "type": pl.DataFrame,
           "ndarray": np.zeros((3, 3)), "GroupBy": DATA.group_by("g")}
SOURCES = [
    *[bad_lmm(f"data is {name}", DataError, "polars.DataFrame", {"input": name}, data=value)
      for name, value in NO_DATA.items()],
    bad_lmm("data is a pandas class", DataError, "polars.DataFrame", {"input": "type"}, data=pd.DataFrame),
    bad_lmm("data is a pandas series", DataError, "polars.DataFrame", {"input": "Series"}, data=PANDAS["x"]),
    bad_lmm("data is an arrow column", DataError, "polars.DataFrame", {"input": "ChunkedArray"},
            data=DATA.to_arrow()["x"]),
    bad_lmm("data is a series", DataError, "the data have 'y'", {"missing": ["x", "g"]}, data=DATA["y"]),
    bad_lmm("mixed objects", DataError, ".astype(", {"column": "x", "dtype": "object"},
            data=PANDAS.assign(x=[1, "a"] * 90)),
    bad_lmm("mixed objects in a group", DataError, ".astype(", {"column": "g"}, data=PANDAS.assign(g=[1, "a"] * 90)),
    bad_lmm("lists in pandas", DataError, "take one number", {"column": "x"}, data=PANDAS.assign(x=[[1]] * N)),
    bad_lmm("complex numbers", DataError, ".astype(", {"column": "x"}, data=PANDAS.assign(x=np.ones(N) * 1j)),
    bad_lmm("sparse", DataError, ".astype(float)", {"column": "x"},
            data=PANDAS.assign(x=pd.arrays.SparseArray(PANDAS["x"]))),
    bad_lmm("categories with one label", DataError, ".astype(", {"column": "a"}, "y ~ a + (1 | g)",
            PANDAS.assign(a=pd.Categorical([1, "1"] * 90))),
    bad_lmm("missing category", DataError, "omit", {"na_counts": {"a": 1}}, "y ~ a + (1 | g)",
            PANDAS.assign(a=pd.Categorical([None, *["p", "q"] * 89, "q"]))),
    bad_lmm("duplicated column", DataError, "rename all but one", {"column": "x"},
            data=pd.concat([PANDAS, PANDAS[["x"]]], axis=1)),
    bad_lmm("duplicated column, arrow", DataError, "rename all but one", {"column": "x"},
            data=pa.table([*DATA.to_arrow().columns, DATA.to_arrow()["x"]], names=[*DATA.columns, "x"])),
    bad_lmm("numbers as names", DataError, "are not strings", {"missing": ["1"]}, "y ~ `1` + (1 | g)",
            PANDAS.rename(columns={"x": 1})),
    bad_lmm("hierarchical names", DataError, "rename these columns", {"missing": ["y", "x", "g"]},
            data=PANDAS.set_axis(pd.MultiIndex.from_product([["c"], PANDAS.columns]), axis=1)),
    bad_lmm("group in the pandas index", DataError, "the data have 'y'", {"missing": ["g"]},
            data=PANDAS.set_index("g")),
    bad_lmm("no such file", DataError, "cannot be collected", {"input": "LazyFrame"},
            data=pl.scan_parquet("/no/such/file.parquet")),
    bad_lmm("lazy cast fails", DataError, "mend the query", {"input": "LazyFrame"},
            data=DATA.lazy().with_columns(x=pl.col("a").cast(pl.Int64))),
    bad_lmm("lazy function fails", DataError, "ZeroDivisionError", {"input": "LazyFrame"},
            data=DATA.lazy().map_batches(lambda frame: 1 // 0, schema=DATA.schema)),
]

ARGUMENTS = [
    *[bad_lmm(f"formula is {value!r}", ArgumentError, "write it in quotes", {"argument": "formula"}, value)
      for value in (None, 3, b"y ~ x", ["y ~ x"])],
    *[Refusal(f"weights {name}", DataError, word, functools.partial(mf.lmm, F, DATA, weights=value), fields)
      for name, value, word, fields in (
          ("zero", one(0.0), "strictly positive", {"argument": "weights", "rows": [0], "count": 1}),
          ("negative", pl.Series([-1.0] * N), "use subset=",
           {"argument": "weights", "rows": [0, 1, 2, 3, 4], "count": N}),
          ("expression", -pl.col("w"), "strictly positive", {"argument": "weights", "count": N}),
          ("boolean column", "flag", "strictly positive", {"argument": "weights", "count": 135}),
          ("NaN", one(NAN), "omit", {"na_counts": {"weights=": 1}, "rows": [0]}),
          ("null", one(None), "omit", {"na_counts": {"weights=": 1}, "rows": [0]}),
          ("infinite", one(INF), "filter", {"argument": "weights", "rows": [0]}),
          ("too short", [1.0, 2.0], "one value per row", {"argument": "weights", "length": 2, "n_rows": N}),
          ("too long", np.ones(N + 1), "one value per row", {"argument": "weights", "length": N + 1}),
          ("strings", ["a"] * N, "cast it to a number", {"argument": "weights", "dtype": "String"}),
          ("string column", "g", "cast it to a number", {"argument": "weights", "column": "g"}),
          ("matrix", np.ones((N, 2)), "take one number", {"argument": "weights"}),
          ("missing column", "ww", "perhaps 'w'", {"missing": ["ww"]}),
          ("durations", [datetime.timedelta(1)] * N, ".dt.total_seconds()", {"argument": "weights"}),
          ("bad expression", pl.col("ww"), "cannot be evaluated", {"argument": "weights"}),
          ("expression of strings", pl.col("a") + pl.col("x"), "cannot be evaluated", {"argument": "weights"}),
          ("shortened expression", pl.col("w").head(3), "one value per row", {"argument": "weights", "length": 3}),
      )],
    *[bad_argument("weights", value, "give one of these", mf.lmm, F, DATA)
      for value in (1.0, True, {"a": 1}, ..., [1.0] * (N - 1) + ["a"])],
    bad_argument("weights", pl.col("w", "z"), "give one that makes one", mf.lmm, F, DATA),
    *[Refusal(f"offset {name}", DataError, word, functools.partial(mf.lmm, F, DATA, offset=value), fields)
      for name, value, word, fields in (
          ("string column", "g", "offset= (column 'g') has type String", {"argument": "offset", "column": "g"}),
          ("expression of strings", pl.col("g"), "cast it to a number", {"argument": "offset", "dtype": "String"}),
          ("infinite", one(INF), "filter", {"argument": "offset", "rows": [0], "count": 1}),
          ("NaN", one(NAN), "omit", {"na_counts": {"offset=": 1}}),
          ("too short", np.array(2.0), "one value per row", {"argument": "offset", "length": 1}),
          ("missing column", "off", "the data have", {"missing": ["off"]}),
          ("shortened expression", pl.col("x").head(3), "one value per row", {"argument": "offset", "length": 3}),
      )],
    bad_lmm("offset() of strings", DataError, "cast it to a number", {"column": "a"}, "y ~ x + offset(a) + (1 | g)"),
    bad_argument("offset", 2, "give one of these", mf.lmm, F, DATA),
    bad_lmm("subset keeps nothing", DataError, "some rows meet", {"argument": "subset", "n_rows": 0},
            subset=pl.col("z") > 99),
    bad_lmm("subset of nulls", DataError, "some rows meet", {"argument": "subset"},
            subset=pl.Series([None] * N, dtype=pl.Boolean)),
    bad_lmm("subset too short", DataError, "one value per row", {"argument": "subset", "length": 2},
            subset=[True, False]),
    bad_lmm("subset shortened", DataError, "one value per row", {"argument": "subset", "length": 3},
            subset=pl.col("flag").head(3)),
    bad_lmm("subset not comparable", DataError, "cannot be evaluated", {"argument": "subset"}, subset=pl.col("g") > 3),
    bad_lmm("subset leaves one level", NotIdentifiable, "another column", {"group": "g", "n_levels": 1, "nobs": 10},
            subset=pl.col("g") == "308"),
    bad_lmm("subset leaves one row per level", NotIdentifiable, "repeated", {"n_levels": 18, "nobs": 18},
            subset=pl.col("x") == 0),
    *[bad_argument("subset", value, word, mf.lmm, F, DATA)
      for value, word in (
          (list(range(N)), "one boolean per row"), ("g", "one boolean per row"), (True, "give one of these"))],
    *[bad_argument("na_action", value, '"omit"', mf.lmm, F, DATA) for value in ("drop", None, ["omit"], True)],
    *[bad_argument("contrasts", value, word, mf.lmm, "y ~ a + x + (1 | g)", DATA) for value, word in (
        ("sum", '{"a": "sum"}'), (["sum"], '{"a": "sum"}'), ({"a": "effects"}, "for 'a'; use one of 'treatment'"),
        ({"q": "sum"}, "the factors of this model are 'a'"), ({"x": "sum"}, "factor(x)"), ({1: "sum"}, "'a'"),
        ({"a": None}, "3 rows and 2 columns"), ({"a": [[1, 2], [3, 4]]}, "3 rows and 2 columns"),
        ({"a": [[1, 1]] * 3}, "independent"), ({"a": [[NAN, 0], [0, 1], [-1, -1]]}, "not finite"),
        ({"a": [[1, 1], [1], [1, 1]]}, "use one of"),
        ({"a": {"matrix": [[1, 0], [0, 1], [-1, -1]], "names": 5}}, "list of names"),
        ({"a": {"rows": 1}}, "give 'matrix'"),
        ({"a": {"matrix": [[1, 0], [0, 1], [-1, -1]], "names": ["s", "s"]}}, "2 different names"),
    )],
    *[bad_argument("reml", value, "True or False", mf.lmm, F, DATA) for value in ("yes", None, 1, [True])],
    *[bad_argument("control", value, "control(...)", mf.lmm, F, DATA)
      for value in ({"verbose": 1}, 3, "fast", mf.control)],
    *[bad_argument(name, value, name, mf.control) for name, values in {
        "verbose": (2, "x", None, [1]), "max_evaluations": (0, -3, 1.5, "a", None, True),
        "tolerance": (0, 1, -1.0, NAN, "a", None, True), "start": ([NAN], [INF], "abc", 3, [[1, 2]], ["a"]),
        "memory_limit": (0, -1, "a", True)}.items() for value in values],
    bad_lmm("start too long", ArgumentError, "1 covariance parameters: g.(Intercept)", {"argument": "start"},
            control=mf.control(start=[1, 2])),
    bad_lmm("memory", FitError, "control(memory_limit=)", {"reason_code": "memory_limit", "limit": 1},
            control=mf.control(memory_limit=1)),
    Refusal("compile_model data", DataError, "polars.DataFrame", lambda: mf.compile_model(F, [1]), {"input": "list"}),
    bad_argument("reml", "yes", "True or False", lambda **a: mf.compile_model(F, DATA).fit(**a)),
    bad_argument("control", {}, "control(...)", lambda **a: mf.compile_model(F, DATA).fit(**a)),
    Refusal("parse_formula", ArgumentError, "write it in quotes", lambda: mf.parse_formula(3), {"argument": "formula"}),
    bad_argument("ast", "yes", "True or False", mf.parse_formula, F),
    *[Refusal(f"load {name!r}", ArgumentError, word, functools.partial(mf.datasets.load, name),
              {"argument": "name", "value": name})
      for name, word in (
          ("Sleepstudy", "Did you mean 'sleepstudy'"), ("iris", "Available: sleepstudy"), (3, "Available"),
          (None, "Available"))],
]

# an array is compared with nothing, and a number may be too large for one
ARRAY, HUGE = np.array([1, 2]), 10**400
METHODS = [
    *[bad_argument(argument, ARRAY, word, method(name)) for name, argument, word in (
        ("predict", "re_form", '"population"'), ("residuals", "type", '"pearson"'), ("simulate", "re_form", '"population"'),
        ("confint", "method", '"asymptotic"'), ("anova", "type", "1, 2 or 3"), ("ranef", "cond_var", "True or False"))],
    *[bad_argument(argument, ARRAY, word, functools.partial(mf.lmm, F, DATA)) for argument, word in (
        ("intent", "exploratory"), ("na_action", '"omit"'))],
    bad_argument("test", ARRAY, "one of", method("drop1")),
    bad_argument("refit_for_comparison", ARRAY, '"ml"', lambda **a: mf.compare(fitted(), fitted(F), **a)),
    *[bad_argument("L", value, "number", method("contrast")) for value in ({"x": HUGE}, [[0, HUGE, 0, 0]])],
    *[bad_argument("rhs", value, "one finite number", lambda **a: fitted().contrast({"x": 1.0}, **a))
      for value in (HUGE, [[1], [2, 3]])],
    bad_argument("nsim", HUGE, "at most", method("simulate")),
    bad_argument("max_evaluations", HUGE, "at most", mf.control),
    *[bad_argument("start", value, "sequence of numbers", mf.control) for value in ([HUGE], b"x")],
    bad_argument("weights", [HUGE] * N, "neither a column name", functools.partial(mf.lmm, F, DATA)),
    *[Refusal(f"{name} to a number", ArgumentError, "pathlib.Path", call, {"argument": "path"}) for name, call in (
        ("save", lambda: fitted().save(3)), ("load", lambda: mf.load(3)), ("load None", lambda: mf.load(None)),
        ("load statistics", lambda: mf.SufficientStatistics.load(3)))],  # type: ignore[arg-type]
    Refusal("compare one", ArgumentError, "two fits or more", lambda: mf.compare(fitted()), {"argument": "fits"}),
    *[Refusal(f"compare with {type(other).__name__}", ArgumentError, "takes fits",
              functools.partial(lambda other: mf.compare(fitted(), other), other), {"argument": "fits"})
      for other in ("x", None, mf.compile_model(F, DATA))],
    Refusal("compare other rows", ArgumentError, "same data",
            lambda: mf.compare(fitted(), fitted("log(y) ~ x + (1 | g)")), {"reason_code": "different_response"}),
    *[bad_argument("method", value, '"lrt"', lambda **a: mf.compare(fitted(), fitted(F), **a))
      for value in ("x", None)],
    *[bad_argument("refit_for_comparison", value, '"ml"', lambda **a: mf.compare(fitted(), fitted(F), **a))
      for value in ("x", True)],
    *[bad_argument(argument, value, word, method(name)) for name, argument, word, values in (
        ("predict", "re_form", '"~(1 | g)"', (5, [], "nope", "NA", "~x", "~0")),
        ("predict", "re_form", "which the model y ~ 1 + x + a + (1 + x | g) does not have", ("~(1 | h)", "~(z | g)")),
        ("predict", "offset", "newdata", ("x", [1.0] * N)),
        ("predict", "allow_new_levels", "True or False", ("yes", None, 1)),
        ("simulate", "nsim", "positive whole number", (0, "a", 1.5, True, None)),
        ("simulate", "seed", "whole number", ("a", -1, 1.5)),
        ("simulate", "re_form", '"population"', ("~(1 | g)", 3)),
        ("confint", "level", "between 0 and 1", (0, 1, NAN, "a", None)),
        ("confint", "parm", "there are", ("q", ["q"], [3], 3)),
        ("confint", "method", '"asymptotic"', ("profile", None)),
        ("vcov", "type", '"theta"', ("x", None, ["fixed"])),
        ("vcov", "correlation", "True or False", ("a", None)),
        ("residuals", "type", '"pearson"', ("x", ["x"], None)),
        ("residuals", "scaled", "True or False", ("no", 1)),
        ("ranef", "cond_var", "True or False", ("a", 1)),
        ("model_matrix", "type", '"random"', ("x", None)),
        ("get_me", "name", "there are X, Z", ("x", 3, ["X"], None)),
        ("is_singular", "tol", "tol is", (-1, NAN, "a", None)),
        ("extract_aic", "k", "k is", ("a", None)),
        ("loglik_at", "reml", "True or False", ("a", 1)),
        ("update", "no_such", "update() takes", (1,)),
        ("update", "reml", "True or False", ("a", None)),
        ("update", "control", "control(...)", ({}, 3)),
        ("update", "formula", "write it in quotes", (3, ["y ~ x"])),
        ("update", "na_action", '"omit"', ("x",)),
    ) for value in values],
    *[Refusal(f"update {text}", FormulaError, word, functools.partial(lambda text: fitted().update(text), text),
              {"kind": kind})
      for text, kind, word in (
          ("x", "MissingTilde", "right-hand side"), ("y ~", "MissingTilde", "right-hand side"),
          (". ~ . - (1 | q)", "Other", "it has (1 + x | g)"), (". ~ . ~ .", "UnexpectedToken", "remove this one"),
          (". ~ [", "UnexpectedToken", "cannot index"), (". ~ . + log(", "UnexpectedToken", "in Polars"))],
    Refusal("update data", DataError, "polars.DataFrame", lambda: fitted().update(data=3), {"input": "int"}),
    *[Refusal(f"refit {value!r:.20}", DataError, "response",
              functools.partial(lambda value: fitted().refit(value), value), {})
      for value in (None, 3, [1.0], ["a"] * N, one(NAN), one(INF), [None] * N, "y", DATA["g"], np.ones((N, 1)),
                    [object()] * N)],
    Refusal("refit constant", FitError, "constant", lambda: fitted().refit(np.ones(N)),
            {"reason_code": "constant_response"}),
    *[Refusal(f"predict {name}", DataError, word, functools.partial(lambda new: fitted().predict(new), new), fields)
      for name, new, word, fields in (
        ("int", 3, "polars.DataFrame", {"input": "int"}),
        ("no rows", DATA.head(0), "filtered", {"n_rows": 0}),
        ("columns", DATA.select("x"), "the data have 'x'", {"missing": ["a", "g"]}),
        ("unseen level of an effect", put(a=["s"] * N), "it knows 'p', 'q' and 'r'",
         {"column": "a", "levels": ["s"], "count": N}),
        ("unseen level of a group", put(g=["s"] * N), "allow_new_levels=True", {"column": "g", "count": N}),
        ("strings", put(x=["s"] * N), "cast it to a number", {"column": "x", "dtype": "String"}),
        ("null", put(x=one(None)), "fill them in", {"na_counts": {"x": 1}, "rows": [0]}),
        ("infinite", put(x=one(INF)), "mend the values", {"column": "x", "rows": [0]}),
    )],
    Refusal("theta at the boundary", InferenceUnavailable, "profile or bootstrap",
            lambda: fitted("flag ~ x + (1 | g)").vcov("theta"), {"reason_code": "theta_covariance_unavailable"}),
]


@dataclass(frozen=True)
class Acceptance:
    """A call that must succeed, issue exactly these notices, and give a result that passes ``check``."""

    id: str
    call: Callable[[], Any]
    check: Callable[[Any], object]
    notices: tuple[type[MixeffNotice], ...] = ()


def good_lmm(name: str, check: Callable[[Any], object], formula: str = F, data: Any = DATA,
             *notices: type[MixeffNotice], **arguments: Any) -> Acceptance:
    return Acceptance(name, lambda: mf.lmm(formula, data, **arguments), check, notices)


def equal(theta: float | None, sigma: float, objective: float, beta: tuple[float, ...] = ()) -> Callable[[Any], bool]:
    """The numbers of lme4 (bobyqa, rhoend 1e-12)."""

    def check(fit: mf.LinearMixedModel) -> bool:
        assert fit.fit_status.startswith("converged")
        assert fit.result.objective == pytest.approx(objective, rel=1e-9)
        assert fit.sigma == pytest.approx(sigma, rel=1e-6)
        assert fit.beta[~np.isnan(fit.beta)] == pytest.approx(np.array(beta), rel=1e-6)
        return theta is None or fit.theta == pytest.approx([theta], rel=1e-5, abs=1e-6)

    return check


def same_as(formula: str, **arguments: Any) -> Callable[[Any], bool]:
    """The numbers of another way to ask for the same model."""

    def check(fit: mf.LinearMixedModel) -> bool:
        other = mf.lmm(formula, DATA, **arguments)
        return fit.result.objective == pytest.approx(other.result.objective) and fit.beta == pytest.approx(other.beta)

    return check


def names_are(*names: str) -> Callable[[Any], bool]:
    return lambda fit: fit.coef_names == names and np.isfinite(fit.beta).all()


def aliased(*names: str) -> Callable[[Any], bool]:
    """Columns left out: NaN in beta, null in the tables, a diagnostic in the artifact."""

    def check(fit: mf.LinearMixedModel) -> bool:
        gone = [name for name, value in zip(fit.coef_names, fit.beta.tolist(), strict=True) if math.isnan(value)]
        told = [*fit.artifact.compiled.diagnostics, *fit.artifact.diagnostics]
        diagnostic = next(d for d in told if d.code == "fixed_effect_rank_deficient")
        nulls = fit.fixef().filter(pl.col("estimate").is_null())["term"].to_list()
        return gone == nulls == diagnostic.payload["aliased_columns"] == list(names)

    return check


def unfit(status: str) -> Callable[[Any], bool]:
    """A fit that says it is none: the status, and a reason."""
    return lambda fit: fit.fit_status == status and bool(fit.result.certificate.reason)


def levels_are(*labels: str) -> Callable[[Any], bool]:
    return lambda fit: fit.ranef()["grp"].unique(maintain_order=True).to_list()[: len(labels)] == list(labels)


ODD_NAMES = ("(1|g)", "log", "np", "Intercept", "C", "I", "(Intercept)", "a b", "größe", "ti`ck", "x.y", "TRUE", "if",
             "1", "x + z", "Q('x')", "__class__", "x\\y", "\n", "'")
ODD = put(**{name: np.random.default_rng(i).normal(size=N) for i, name in enumerate(ODD_NAMES)})
PLAIN = (f"y ~ {' + '.join(f'v{i}' for i in range(len(ODD_NAMES)))} + (1 | g)",
         ODD.rename({name: f"v{i}" for i, name in enumerate(ODD_NAMES)}))
QUOTED = [f"`{name}`".replace("\\", "\\\\").replace("ti`ck", "ti\\`ck") for name in ODD_NAMES]

ACCEPTED = [
    good_lmm("null and NaN omitted alike",
             lambda fit: fit.nobs == 177 and fit.spec.compiled.frame.na_counts == {"x": 3}, F,
             put(x=[NAN, None, *[float(i % 10) for i in range(177)], NAN]), MissingRowsNotice, na_action="omit"),
    good_lmm("missing weight omitted", lambda fit: fit.nobs == N - 1, F, DATA, MissingRowsNotice, weights=one(NAN, 1.0),
             na_action="omit"),
    good_lmm("subset drops the missing", lambda fit: fit.nobs == N - 1, F, put(x=one(None)),
             subset=pl.col("x").is_not_null()),
    good_lmm("nulls of a subset are false", lambda fit: fit.nobs == 90, F, DATA, subset=[None, True] * 90),
    good_lmm("three rows", equal(2.345207884, 0.7071067807, 7.508335596567, (2.7,)), "y ~ 1 + (1 | g)",
             pl.DataFrame({"y": [1.0, 2.0, 4.0], "g": ["a", "a", "b"]})),
    good_lmm("no fixed effect", equal(6.789687314, 44.25906901, 1985.679690943), "y ~ 0 + (1 | g)"),
    good_lmm("no fixed effect, ML", equal(6.789687314, 44.25906901, 1985.679690943), "y ~ 0 + (1 | g)", reml=False),
    good_lmm("no fixed effect, slopes", equal(0.3433085082, 145.4846157, 2367.427520625), "y ~ 0 + (0 + x | g)"),
    good_lmm("intercepts only", equal(0.8078310171, 44.25906896, 1904.326517072, (298.5078917,)), "y ~ 1 + (1 | g)"),
    good_lmm("slopes only", equal(0.2501927125, 29.01774706, 1766.525027486, (251.40510485, 10.46728596)),
             "y ~ x + (0 + x | g)"),
    good_lmm("response of booleans", equal(0.0, 0.433233796, 219.8521649331, (0.31818181818, -0.01515151515)),
             "flag ~ x + (1 | g)"),
    good_lmm("response in a transform of itself",
             equal(0.0, 0.04506930677, -589.014245078, (-0.438966184, 0.543149572)),
             "log(z) ~ z + (1 | g)"),
    good_lmm("empty cells", aliased("ar:cv"), "y ~ a * c + (1 | g)",
             put(c=pl.when(pl.col("a") == "p").then(pl.lit("u")).otherwise(pl.col("b"))), RankNotice),
    good_lmm("empty cells as lme4", equal(0.8017908549, 44.44088829, 1876.32184856,
                                          (298.386509956, 6.703270356, -2.731020356, 9.019590487, -25.255390711)),
             "y ~ a * c + (1 | g)",
             put(c=pl.when(pl.col("a") == "p").then(pl.lit("u")).otherwise(pl.col("b"))), RankNotice),
    good_lmm("constant boolean", aliased("cTRUE"), "y ~ c + (1 | g)", put(c=[True] * N), RankNotice),
    *[good_lmm(f"constant predictor {value}", aliased("c"), "y ~ c + (1 | g)", put(c=[value] * N), RankNotice)
      for value in (3.0, 0.1, 1e-90, 1e23, 1e150)],
    good_lmm("zero predictor", equal(6.789687314, 44.25906901, 1985.679690943), "y ~ 0 + c + (1 | g)", put(c=[0.0] * N),
             RankNotice),
    good_lmm("doubled predictor", aliased("c"), "y ~ x + c + (1 | g)", put(c=pl.col("x") * 2), RankNotice),
    good_lmm("predictor twice", same_as(F), "y ~ x + x + (1 | g)"),
    good_lmm("interaction with itself", same_as("y ~ a + (1 | g)"), "y ~ a:a + (1 | g)"),
    good_lmm("cells of a group with itself", same_as(F), "y ~ x + (1 | g:g)"),
    good_lmm("group within itself", same_as(F), "y ~ x + (1 | g/g)"),
    good_lmm("group and predictor", lambda fit: fit.beta.shape == (2,) and fit.ngrps == {"k": 18}, "y ~ k + (1 | k)",
             DATA, GroupingCoercionNotice),
    good_lmm("factor and group, REML", unfit("not_identifiable"), "y ~ g + (1 | g)", DATA, ConvergenceNotice),
    good_lmm("factor and group, ML", lambda fit: fit.theta.tolist() == [0.0] and fit.fit_status == "converged_boundary",
             "y ~ g + (1 | g)", reml=False),
    good_lmm("random term twice", unfit("not_identifiable"), "y ~ x + (1 | g) + (1 | g)", DATA, ConvergenceNotice),
    good_lmm("the same groups twice", unfit("not_identifiable"), "y ~ x + (1 | g) + (1 | factor(k))", DATA,
             ConvergenceNotice),
    good_lmm("slope of a constant", unfit("not_identifiable"), "y ~ x + (c | g)", put(c=[1.0] * N), ConvergenceNotice),
    good_lmm("slope of zeros", unfit("not_identifiable"), "y ~ x + (0 + c | g)", put(c=[0.0] * N), ConvergenceNotice),
    good_lmm("overlapping terms", unfit("not_identifiable"), "y ~ x + (1 | g) + (x | g)", DATA, ConvergenceNotice),
    good_lmm("response is a predictor's copy", unfit("not_identifiable"), "y ~ c + (1 | g)", put(c=pl.col("y")),
             ConvergenceNotice),
    good_lmm("response is the group", unfit("not_identifiable"), "k ~ x + (1 | factor(k))", DATA, ConvergenceNotice),
    *[good_lmm(f"weights of the order {order}", same_as(F, weights="w"), F, DATA, weights=pl.col("w") * order)
      for order in (1e-300, 1e-20, 1e20, 1e300)],
    good_lmm("weights also a predictor", names_are("(Intercept)", "w"), "y ~ w + (1 | g)", weights="w"),
    good_lmm("weights of one pass", same_as(F), F, DATA, weights=(1.0 for _ in range(N))),
    good_lmm("offset of one number", lambda fit: fit.offset.tolist() == [2.0] * N, F, DATA, offset=pl.lit(2.0)),
    good_lmm("arrays go with the rows of the data", lambda fit: fit.nobs == 90, F, DATA, subset=pl.col("b") == "u",
             weights=np.ones(N)),
    good_lmm("NumPy flag", same_as(F), F, DATA, reml=np.True_),
    good_lmm("unused categories", lambda fit: fit.spec.compiled.frame.notes[0].payload == {"levels": ["never"]},
             "y ~ a + (1 | g)",
             PANDAS.assign(a=pd.Categorical(PANDAS["a"], categories=["r", "q", "p", "never"])), LevelsNotice),
    good_lmm("ordered categories", names_are("(Intercept)", "aq", "ap"), "y ~ a + (1 | g)",
             PANDAS.assign(a=pd.Categorical(PANDAS["a"], categories=["r", "q", "p"], ordered=True))),
    good_lmm("polynomial contrasts", names_are("(Intercept)", "a.L", "a.Q"), "y ~ a + (1 | g)",
             contrasts={"a": "poly"}),
    good_lmm("categories of numbers", names_are("(Intercept)", "c1", "c2"), "y ~ c + (1 | g)",
             PANDAS.assign(c=pd.Categorical([i % 3 for i in range(N)]))),
    good_lmm("categories of intervals", lambda fit: len(fit.coef_names) == 3, "y ~ c + (1 | g)",
             PANDAS.assign(c=pd.cut(PANDAS["x"], 3))),
    good_lmm("an unused duplicated column", same_as(F), F, pd.concat([PANDAS, PANDAS[["z"]]], axis=1)),
    good_lmm("an unused column of objects", same_as(F), F, PANDAS.assign(q=[1, "a"] * 90)),
    good_lmm("unused columns with numbers as names", same_as(F), F, PANDAS.rename(columns={"z": 3})),
    good_lmm("arrow", same_as(F), F, DATA.to_arrow()),
    good_lmm("record batches", same_as(F), F, DATA.to_arrow().to_reader()),
    good_lmm("lazy", same_as(F), F, DATA.lazy()),
    good_lmm("strings sort by bytes", lambda fit: fit.coef_names[1:] == ("cB", "ca"), "y ~ c + (1 | g)",
             put(c=["a", "B", "10"] * 60)),
    good_lmm("empty string", levels_are("", "s"), "y ~ x + (1 | c)", put(c=["", "s", ""] * 60)),
    good_lmm("boolean group", levels_are("FALSE", "TRUE"), "y ~ x + (1 | flag)", DATA, GroupingCoercionNotice),
    good_lmm("boolean predictor", names_are("(Intercept)", "flagTRUE"), "y ~ flag + (1 | g)"),
    good_lmm("numbers as groups", levels_are("0", "10", "20"), "y ~ x + (1 | k)", DATA, GroupingCoercionNotice),
    good_lmm("factor() says so", levels_are("0", "10", "20"), "y ~ x + (1 | factor(k))"),
    good_lmm("fractions as groups", levels_are("0.1", "1.5"), "y ~ x + (1 | c)", put(c=[1.5, 0.1, 1.5] * 60),
             GroupingCoercionNotice),
    good_lmm("dates as groups", levels_are("2020-01-01", "2020-01-02"), F,
             put(g=pl.Series(dates(datetime.timedelta(1))).cast(pl.Date))),
    good_lmm("durations as groups", lambda fit: fit.ngrps == {"g": 18}, F,
             put(g=[datetime.timedelta(i // 10) for i in range(N)])),
    good_lmm("decimals", same_as(F), F, put(x=[decimal.Decimal(i % 10) for i in range(N)])),
    good_lmm("decimal response", lambda fit: fit.nobs == N, "c ~ x + (1 | g)",
             put(c=[decimal.Decimal(i * i % 17) / 4 for i in range(N)])),
    good_lmm("decimals as groups", levels_are("0", "0.5", "1"), "y ~ x + (1 | c)",
             put(c=[decimal.Decimal(i % 3) / 2 for i in range(N)]), GroupingCoercionNotice),
    good_lmm("8 bits do not overflow", lambda fit: fit.model_matrix()[:, 1].max() == 81.0, "y ~ I(x * x) + (1 | g)",
             put(x=pl.col("x").cast(pl.UInt8))),
    good_lmm("64 unsigned bits", same_as(F), F,
             put(x=(pl.lit(2**63, pl.UInt64) + pl.col("x").cast(pl.UInt64) * 2**20) / 2**20 - 2**43)),
    good_lmm("64 bits beyond float64", aliased("c"), "y ~ c + (1 | g)",
             put(c=pl.Series([2**64 - 1 - i for i in range(N)], dtype=pl.UInt64)), RankNotice),
    good_lmm("64-bit groups", levels_are(str(2**64 - 18), str(2**64 - 17)), "y ~ x + (1 | c)",
             put(c=pl.Series([2**64 - 1 - i // 10 for i in range(N)], dtype=pl.UInt64)), GroupingCoercionNotice),
    good_lmm("128-bit groups", levels_are(str(2**100), str(2**100 + 1)), "y ~ x + (1 | c)",
             put(c=pl.Series([2**100 + i // 10 for i in range(N)], dtype=pl.Int128)), GroupingCoercionNotice),
    good_lmm("odd names",
             lambda fit: np.array_equal(fit.beta,
                                        mf.lmm(*PLAIN).beta) and len(set(fit.coef_names)) == len(fit.beta) == 21,
             f"y ~ {' + '.join(QUOTED)} + (1 | g)", ODD),
    good_lmm("odd groups", lambda fit: fit.ngrps == {"`(1|g)`": 18}, "y ~ x + (`a b` | `(1|g)`)",
             put(**{"(1|g)": pl.col("g"), "a b": pl.col("z")})),
    good_lmm("large predictor", lambda fit: fit.beta[1] == pytest.approx(mf.lmm(F, DATA).beta[1] / 1e6), F,
             put(x=pl.col("x") * 1e6), ScalingNotice),
    good_lmm("small predictor", lambda fit: fit.beta[1] == pytest.approx(mf.lmm(F, DATA).beta[1] * 1e6), F,
             put(x=pl.col("x") * 1e-6), ScalingNotice),
    good_lmm("predictors far apart", lambda fit: "x 2.87e+03" in fit.spec.compiled.frame.notes[0].message,
             "y ~ x + z + (1 | g)",
             put(x=pl.col("x") * 1e3, z=pl.col("z") * 1e-2), ScalingNotice),
    Acceptance("compare a fit with itself", lambda: mf.compare(fitted(), fitted()),
               lambda found: found.table["reason_code"].to_list()[1] == "same_model_space_lrt_invalid"),
    Acceptance("new level of a group", lambda: fitted(F).predict(put(g=["s"] * N), allow_new_levels=True),
               lambda found: found == pytest.approx(fitted(F).predict(re_form="population"))),
    Acceptance("long numbers are compared to the last digit",
               lambda: mf.lmm("y ~ x + (1 | factor(k))", put(k=[10**18 + i // 10 for i in range(N)])).predict(
                   pl.DataFrame({"x": [0.0, 0.0], "k": [10**18, 10**18 + 99]}), allow_new_levels=True),
               lambda found: found == pytest.approx([fitted(F).fitted[0], fitted(F).beta[0]])),
    Acceptance("notices name the caller of fit()", lambda: mf.compile_model("y ~ x + (1 | g) + (1 | g)", DATA).fit(),
               unfit("not_identifiable"), (ConvergenceNotice,)),
    Acceptance("one name", lambda: fitted().confint("x"), lambda found: found["parameter"].to_list() == ["x"]),
    Acceptance("removing what is not there", lambda: fitted(F).update(". ~ . - nope"),
               lambda fit: fit.formula == fitted(F).formula),
    Acceptance("limit of evaluations", lambda: mf.lmm("y ~ x + (x | g)", DATA, control=mf.control(max_evaluations=1)),
               unfit("not_optimized"), (ConvergenceNotice,)),
]

ATTEMPTS = [
    "y ~ I(__import__('os').system('touch {path}')) + (1 | g)",
    "y ~ __import__('os').system('touch {path}') + (1 | g)",
    "y ~ {{open('{path}', 'w')}} + (1 | g)",
    "y ~ x[open('{path}', 'w')] + (1 | g)",
    "y ~ log(open('{path}', 'w')) + (1 | g)",
    "y ~ I(open('{path}', 'w')) + (1 | g)",
    "y ~ exec(\"open('{path}', 'w')\") + (1 | g)",
    "y ~ eval(\"open('{path}', 'w')\") + (1 | g)",
    "y ~ ().__class__.__base__.__subclasses__()[0]('{path}') + (1 | g)",
    "y ~ f'{{open(\"{path}\", \"w\")}}' + (1 | g)",
    "y ~ I((lambda: open('{path}', 'w'))()) + (1 | g)",
    "y ~ I(x := open('{path}', 'w')) + (1 | g)",
    "y ~ np.save('{path}', x) + (1 | g)",
    "y ~ x.to_frame().write_csv('{path}') + (1 | g)",
    "y ~ poly(x, degree = open('{path}', 'w')) + (1 | g)",
    "y ~ scale(x, center = __import__('pathlib').Path('{path}').touch()) + (1 | g)",
    "y ~ factor(a, levels = c(open('{path}', 'w'))) + (1 | g)",
    "y ~ factor(a, levels = c(\"open('{path}', 'w')\")) + (1 | g)",
    "y ~ C(a, contr = open('{path}', 'w')) + (1 | g)",
    "y ~ Q(\"open('{path}', 'w')\") + (1 | g)",
    "y ~ offset(open('{path}', 'w')) + (1 | g)",
    "y ~ x + (open('{path}', 'w') | g)",
    "y ~ x + (1 | open('{path}', 'w'))",
    "y ~ x + diag(open('{path}', 'w') | g)",
    "open('{path}', 'w') ~ x + (1 | g)",
    "cbind(open('{path}', 'w'), y) ~ x + (1 | g)",
    "y ~ x + (1 | g); open('{path}', 'w')",
    "y ~ x + (1 | g)\nopen('{path}', 'w')",
    "y ~ x + (1 | g) # coding: x\nimport os; os.mkdir('{path}')",
    "y ~ `open('{path}', 'w')` + (1 | g)",
    "y ~ log(`open('{path}', 'w')`) + (1 | g)",
    "y ~ poly(`__import__('os').mkdir('{path}')`, 2) + (1 | g)",
    "y ~ x + (1 | `open('{path}', 'w')`)",
    "y ~ x %>% open('{path}', 'w') + (1 | g)",
    "y ~ system('touch {path}') + (1 | g)",
    "y ~ x@open('{path}', 'w') + (1 | g)",
    "y ~ ${{touch {path}}} + (1 | g)",
    "y ~ $(touch {path}) + (1 | g)",
]

CALLABLES: dict[str, Callable[..., object]] = {
    "lmm": functools.partial(mf.lmm, F, DATA),
    "compile_model": functools.partial(mf.compile_model, F, DATA),
    "parse_formula": functools.partial(mf.parse_formula, F),
    "control": mf.control,
    "compare": lambda **a: mf.compare(fitted(), fitted(F), **a),
    "load": functools.partial(mf.datasets.load, "sleepstudy"),
    "ModelSpec.fit": lambda **a: mf.compile_model(F, DATA).fit(**a),
    "ModelSpec.as_json": lambda **a: mf.compile_model(F, DATA).as_json(**a),
    **{name: method(name) for name in (
        "ranef", "vcov", "model_matrix", "get_me", "loglik_at", "extract_aic", "is_singular", "residuals", "predict",
        "simulate", "refit",
        "update", "confint", "summary", "as_json", "fixef", "coef", "varcorr", "terms", "model_frame",
        "optimizer_certificate")},
}
