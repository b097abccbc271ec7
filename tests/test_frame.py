"""The model frame: levels, groups, rows, sources, response and codings."""

from __future__ import annotations

import datetime
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixeff_fast.errors import (
    ArgumentError,
    DataError,
    FormulaError,
    GroupingCoercionNotice,
    LevelsNotice,
    MissingRowsNotice,
)
from mixeff_fast.frame import FactorVariable
from mixeff_fast.frame.levels import cell_labels, combine, encode, encode_floats, match_cells
from mixeff_fast.frame.stringviews import code_short_strings
from mixeff_fast.kernels import strings
from tests.frames import factor, frame_of, numeric, small_data


@pytest.fixture
def data() -> pl.DataFrame:
    return small_data()


def labels_of(data: Any, text: str, key: str) -> list[str]:
    frame = frame_of(data, text)
    found = frame.groups[key] if key in frame.groups else factor(frame, key)
    return found.levels.labels.to_list()


class TestLevels:
    def test_strings_sort_by_bytes(self) -> None:
        texts = ["b", "B", "a", "_", "é", "a b", "10", "2"]
        data = pl.DataFrame({"y": np.arange(8.0), "g": texts})
        assert labels_of(data, "y ~ 1 + (1 | g)", "g") == sorted(texts, key=lambda text: text.encode())

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.text(max_size=3), min_size=1, max_size=60), st.integers(0, 60))
    def test_many_rows_are_coded_as_few(self, texts: list[str], repeats: int) -> None:
        series = pl.Series("g", texts * (1 + repeats), dtype=pl.String)
        codes, levels, unused = encode(series, series.dtype)
        labels = levels.labels.to_list()
        assert labels == sorted(set(texts), key=lambda text: text.encode())
        assert [labels[code] for code in codes] == series.to_list()
        assert not unused

    @pytest.mark.parametrize("longest", [1, 4, 12, 13])
    def test_many_labels_in_several_pieces(self, longest: int) -> None:
        rng = np.random.default_rng(longest)
        letters = np.array(list("ab\0z"))
        texts = ["".join(rng.choice(letters, rng.integers(0, longest, endpoint=True))) for _ in range(6000)]
        whole = pl.Series("g", texts)
        for series in (whole, whole[1:5000], pl.concat([whole[7:100], whole[50:], whole[:9]], rechunk=False)):
            codes, levels, _ = encode(series, series.dtype)
            assert levels.labels.to_list() == sorted(set(series.to_list()))
            assert levels.labels.gather(codes).to_list() == series.to_list()
            short = longest <= strings.INLINE
            assert (code_short_strings(series) is not None) == short

    def test_many_rows_of_any_type(self) -> None:
        rng = np.random.default_rng(1)
        drawn = rng.integers(-40, 40, 5000)
        texts = pl.Series(drawn).cast(pl.String)
        expected = sorted(set(drawn.tolist()))
        for values in (drawn.astype(np.int8), drawn, drawn * 10**9, drawn / 8.0):
            series = pl.Series("g", values)
            codes, levels, _ = encode(series, series.dtype)
            assert [expected[code] for code in codes] == drawn.tolist()
            assert len(levels) == len(expected)
        for series in (texts, texts.cast(pl.Categorical), texts.cast(pl.Enum(sorted(set(texts))))):
            codes, levels, _ = encode(series, series.dtype)
            assert levels.labels.to_list() == sorted(set(texts))
            assert levels.labels.gather(codes).to_list() == texts.to_list()

    def test_enum_keeps_its_order_and_drops_what_does_not_occur(self, data: pl.DataFrame) -> None:
        declared = data.with_columns(pl.col("a").cast(pl.Enum(["r", "never", "q", "p"])))
        with pytest.warns(LevelsNotice, match="'never'") as caught:
            frame = frame_of(declared, "y ~ a")
        assert caught[0].filename == frame_of.__code__.co_filename
        variable = factor(frame, "a")
        assert variable.levels.labels.to_list() == ["r", "q", "p"]
        assert variable.levels.order == "declared"
        assert variable.codes.tolist() == [1, 2, 1, 0, 2, 0]
        assert [(note.code, note.column, note.payload) for note in frame.notes] == [
            ("unused_levels", "a", {"levels": ["never"]})
        ]

    def test_categorical_is_sorted(self, data: pl.DataFrame) -> None:
        frame = frame_of(data.with_columns(pl.col("a").cast(pl.Categorical)), "y ~ a")
        variable = factor(frame, "a")
        assert (variable.levels.labels.to_list(), variable.levels.order) == (["p", "q", "r"], "sorted")

    def test_booleans(self, data: pl.DataFrame) -> None:
        variable = factor(frame_of(data, "y ~ flag"), "flag")
        assert variable.levels.labels.to_list() == ["FALSE", "TRUE"]
        assert variable.codes.tolist() == [1, 0, 1, 1, 0, 0]
        always = factor(frame_of(data.with_columns(flag=True), "y ~ flag"), "flag")
        assert (len(always.levels), always.codes.tolist()) == (2, [1] * 6)

    @pytest.mark.parametrize("n", [6, 6000])
    def test_integers_at_the_ends_of_their_types(self, n: int) -> None:
        for dtype, values in (
            (pl.Int8, [-128, 127]),
            (pl.Int64, [-(2**63), 2**63 - 1]),
            (pl.UInt64, [2**64 - 2, 2**64 - 1]),
            (pl.UInt64, [0, 2**64 - 1]),
        ):
            series = pl.Series("g", values * (n // 2), dtype=dtype)
            codes, levels, _ = encode(series, series.dtype)
            assert levels.labels.to_list() == [str(value) for value in values]
            assert codes.tolist() == [0, 1] * (n // 2)

    def test_numbers_with_one_label_are_one_level(self) -> None:
        codes, levels = encode_floats(np.array([0.3, 0.1 + 0.2, -0.0, 0.0, 2.0]))
        assert levels.labels.to_list() == ["0", "0.3", "2"]
        assert codes.tolist() == [1, 1, 0, 0, 2]

    def test_numeric_groups_sort_by_value_and_are_noted(self, data: pl.DataFrame) -> None:
        numbered = data.with_columns(g=pl.Series([10, 2, 10, 1, 2, 1]))
        with pytest.warns(GroupingCoercionNotice, match="'g'") as caught:
            frame = frame_of(numbered, "y ~ x + (1 | g) + (0 + x | g)")
        assert len(caught) == 1
        assert caught[0].filename == frame_of.__code__.co_filename
        assert frame.groups["g"].levels.labels.to_list() == ["1", "2", "10"]
        assert frame.groups["g"].levels.order == "numeric"
        assert [(note.code, note.payload["n_levels"]) for note in frame.notes] == [("grouping_coercion", 3)]

    def test_factor_of_a_number_is_not_noted(self, data: pl.DataFrame) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            frame = frame_of(data, "y ~ 1 + (1 | factor(x))")
        assert frame.groups["factor(x)"].levels.labels.to_list() == ["0", "1", "2", "3", "4", "5"]
        assert not frame.notes

    def test_integers_have_plain_labels(self) -> None:
        data = pl.DataFrame({"y": [1.0, 2.0, 3.0], "g": [100000, 7, 100000]})
        assert labels_of(data, "y ~ factor(g)", "factor(g)") == ["7", "100000"]

    def test_dates_group_by_time(self) -> None:
        moments = [datetime.datetime(2020, 1, 2), datetime.datetime(2019, 5, 1, 12, 30, 0, 250000)]
        data = pl.DataFrame({"y": [1.0, 2.0], "when": moments, "span": [datetime.timedelta(hours=n) for n in (9, 10)]})
        data = data.with_columns(day=pl.col("when").dt.date())
        assert labels_of(data, "y ~ 1 + (1 | when)", "when") == ["2019-05-01T12:30:00.25", "2020-01-02T00:00:00"]
        assert labels_of(data, "y ~ 1 + (1 | day)", "day") == ["2019-05-01", "2020-01-02"]
        assert labels_of(data, "y ~ 1 + (1 | span)", "span") == ["PT9H", "PT10H"]

    def test_levels_given_in_the_formula(self, data: pl.DataFrame) -> None:
        text = 'y ~ factor(a, levels = c("r", "q", "p"))'
        variable = next(iter(frame_of(data, text).variables.values()))
        assert isinstance(variable, FactorVariable)
        assert variable.levels.labels.to_list() == ["r", "q", "p"]
        assert variable.codes.tolist() == [1, 2, 1, 0, 2, 0]
        with pytest.warns(LevelsNotice, match="'s'"):
            frame = frame_of(data, 'y ~ factor(a, levels = c("r", "s", "q", "p"))')
        assert [note.payload["levels"] for note in frame.notes] == [["s"]]
        with pytest.raises(DataError, match="also have 'p'") as caught:
            frame_of(data, 'y ~ factor(a, levels = c("r", "q"))')
        assert caught.value.levels == ["p"]
        with pytest.raises(FormulaError, match="levels = c"):
            frame_of(data, "y ~ factor(a, ordered = TRUE)")


class TestGroups:
    def test_cells_are_the_observed_combinations(self, data: pl.DataFrame) -> None:
        group = frame_of(data, "y ~ 1 + (1 | a:b)").groups["a:b"]
        assert group.levels.labels.to_list() == ["p:u", "p:v", "q:v", "r:u"]
        assert group.codes.tolist() == [2, 0, 2, 3, 1, 3]
        assert group.cells.tolist() == [[0, 0], [0, 1], [1, 1], [2, 0]]
        assert group.parts == ("a", "b")

    def test_nested_expansion(self, data: pl.DataFrame) -> None:
        assert list(frame_of(data, "y ~ 1 + (1 | a/b)").groups) == ["a", "a:b"]

    @settings(max_examples=60, deadline=None)
    @given(st.integers(2, 4), st.integers(1, 40), st.integers(0, 2**32 - 1))
    def test_combinations_round_trip(self, n_parts: int, n: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        sizes = tuple(int(size) for size in rng.integers(1, 6, n_parts))
        parts = tuple(rng.integers(0, size, n).astype(np.int32) for size in sizes)
        codes, cells = combine(parts, sizes)
        rows = list(zip(*(part.tolist() for part in parts), strict=True))
        assert [tuple(cell) for cell in cells.tolist()] == sorted(set(rows))
        assert [tuple(cells[code].tolist()) for code in codes] == rows
        assert match_cells(parts, sizes, cells).tolist() == codes.tolist()
        new = tuple(rng.integers(-1, size, 20).astype(np.int32) for size in sizes)
        known = {cell: code for code, cell in enumerate(sorted(set(rows)))}
        expected = [known.get(cell, -1) for cell in zip(*(part.tolist() for part in new), strict=True)]
        assert match_cells(new, sizes, cells).tolist() == expected

    def test_combinations_of_many_levels_take_no_table(self) -> None:
        rng = np.random.default_rng(2)
        size = 1_000_000
        parts = tuple(rng.integers(0, size, 3000).astype(np.int32) for _ in range(2))
        codes, cells = combine(parts, (size, size))
        assert np.array_equal(cells[codes], np.column_stack(parts))
        assert np.array_equal(cells, np.unique(np.column_stack(parts), axis=0))

    def test_cell_labels(self, data: pl.DataFrame) -> None:
        _, letters, _ = encode(data["a"], data["a"].dtype)
        assert cell_labels((letters, letters), np.array([[0, 2], [1, 1]], dtype=np.int32)).to_list() == ["p:r", "q:q"]


class TestRows:
    def test_float_columns_are_not_copied_and_nothing_can_be_written(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ z + x + a + I(z) + (1 | g)", weights="w", offset="z")
        assert np.shares_memory(frame.response, data["y"].to_numpy())
        assert np.shares_memory(numeric(frame, "z"), data["z"].to_numpy())
        assert frame.weights is not None
        assert frame.offset is not None
        arrays = [frame.response, frame.weights, frame.offset, numeric(frame, "x"), numeric(frame, "I(z)")]
        arrays += [frame.groups["g"].codes, frame.groups["g"].cells]
        arrays += [
            array
            for v in frame.variables.values()
            if isinstance(v, FactorVariable)
            for array in (v.codes, v.contrast.matrix)
        ]
        assert not any(array.flags.writeable for array in arrays)
        assert all(array.dtype in (np.float64, np.int32) for array in arrays)
        assert (frame.n, frame.n_source_rows, frame.kept_rows, frame.na_counts, frame.notes) == (6, 6, None, {}, ())

    def test_missing_values_are_refused(self, data: pl.DataFrame) -> None:
        holes = data.with_columns(
            z=pl.Series([0.5, float("nan"), 2.0, None, 8.0, 1.0]), g=pl.Series([None, "g1", "g2", "g1", "g3", "g3"])
        )
        with pytest.raises(DataError, match=r"1 in 'g'") as caught:
            frame_of(holes, "y ~ z + (1 | g)")
        assert caught.value.columns == ["z", "g"]
        assert caught.value.na_counts == {"z": 2, "g": 1}
        assert (caught.value.rows, caught.value.count) == ([0, 1, 3], 3)
        assert "omit" in caught.value.message

    def test_missing_values_are_left_out_and_counted(self, data: pl.DataFrame) -> None:
        holes = data.with_columns(x=pl.Series([0, None, 2, 3, 4, 5]), b=pl.Series(["v", "u", None, "u", "v", "u"]))
        with pytest.warns(MissingRowsNotice, match="2 of 6"):
            frame = frame_of(holes, "y ~ x + b", na_action="omit")
        assert frame.kept_rows is not None
        assert frame.kept_rows.tolist() == [0, 3, 4, 5]
        assert frame.na_counts == {"x": 1, "b": 1}
        assert frame.response.tolist() == [1.0, 3.0, 6.0, 5.0]
        assert numeric(frame, "x").tolist() == [0.0, 3.0, 4.0, 5.0]
        assert [note.code for note in frame.notes] == ["rows_omitted"]

    def test_levels_that_occur_only_in_omitted_rows_are_dropped(self, data: pl.DataFrame) -> None:
        holes = data.with_columns(z=pl.Series([0.5, 1.0, 2.0, 4.0, None, None]))
        with pytest.warns(MissingRowsNotice):
            frame = frame_of(holes, "y ~ z + (1 | g)", na_action="omit")
        assert frame.groups["g"].levels.labels.to_list() == ["g1", "g2"]

    def test_missing_weights_and_offsets_count(self, data: pl.DataFrame) -> None:
        with pytest.warns(MissingRowsNotice):
            frame = frame_of(
                data.with_columns(w=pl.Series([1.0, None, 1, 1, 1, 1])),
                "y ~ 1",
                weights="w",
                offset=[0.0, 0.0, np.nan, 0.0, 0.0, 0.0],
                na_action="omit",
            )
        assert frame.na_counts == {"w": 1, "offset=": 1}
        assert frame.kept_rows is not None
        assert frame.kept_rows.tolist() == [0, 3, 4, 5]

    def test_unused_columns_may_be_missing_or_odd(self, data: pl.DataFrame) -> None:
        odd = data.with_columns(z=None, a=pl.Series([[1], [2], [3], [4], [5], [6]]))
        assert frame_of(odd, "y ~ x").n == 6

    @pytest.mark.parametrize(
        "subset",
        [
            "keep",
            pl.col("x") >= 2,
            np.array([False, False, True, True, True, True]),
            [None, False, True, True, True, True],
        ],
        ids=["column", "expression", "array", "list with a missing value"],
    )
    def test_subset_comes_before_missing_values(self, data: pl.DataFrame, subset: Any) -> None:
        holes = data.with_columns(z=pl.Series([None, 1.0, 2.0, 4.0, 8.0, 16.0]), keep=pl.col("x") >= 2)
        frame = frame_of(holes, "y ~ scale(z)", subset=subset, weights=[5.0, 4.0, 3.0, 2.0, 1.0, 0.5])
        assert frame.kept_rows is not None
        assert frame.kept_rows.tolist() == [2, 3, 4, 5]
        assert frame.weights is not None
        assert frame.weights.tolist() == [3.0, 2.0, 1.0, 0.5]
        assert abs(numeric(frame, "scale(z)").mean()) < 1e-15
        assert frame.n_source_rows == 6

    def test_subset_and_missing_rows_together_name_rows_of_the_data(self, data: pl.DataFrame) -> None:
        holes = data.with_columns(z=pl.Series([1.0, 1.0, 2.0, None, 8.0, 16.0]))
        with pytest.warns(MissingRowsNotice):
            frame = frame_of(holes, "y ~ z", subset=pl.col("x") >= 2, na_action="omit")
        assert frame.kept_rows is not None
        assert frame.kept_rows.tolist() == [2, 4, 5]
        with pytest.raises(DataError) as caught:
            frame_of(data, "y ~ log(x - 5)", subset=pl.col("x") >= 2)
        assert caught.value.rows == [2, 3, 4, 5]

    @pytest.mark.parametrize("given", ["w", pl.col("w"), pl.col("x") * 0 + pl.col("w"), [1, 2, 1, 2, 1, 2]])
    def test_weights_in_every_form(self, data: pl.DataFrame, given: Any) -> None:
        for source in (data, data.lazy()):
            weights = frame_of(source, "y ~ a", weights=given).weights
            assert weights is not None
            assert weights.tolist() == [1.0, 2.0, 1.0, 2.0, 1.0, 2.0]

    def test_a_constant_expression_is_repeated(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ 1", weights=pl.col("w").mean())
        assert frame.weights is not None
        assert frame.weights.tolist() == [1.5] * 6

    def test_offsets_add_up(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ a + offset(log(z)) + offset(x)", offset="w")
        assert frame.offset is not None
        assert np.allclose(frame.offset, np.log(data["z"]) + data["x"] + data["w"], rtol=0, atol=1e-15)
        assert frame_of(data, "y ~ a").offset is None


class TestSources:
    def test_lazy_frames_give_only_what_is_needed(self, data: pl.DataFrame) -> None:
        def fail(_: pl.Series) -> pl.Series:
            raise AssertionError("a column nobody asked for was computed")

        lazy = data.lazy().with_columns(trap=pl.col("z").map_batches(fail, return_dtype=pl.Float64))
        frame = frame_of(lazy, "y ~ x + (1 | g)", weights=pl.col("w"), subset="flag")
        assert frame.n == 3
        with pytest.raises(DataError, match="no column 'trapp'"):
            frame_of(lazy, "y ~ trapp")

    def test_pandas_categories_keep_their_order(self, data: pl.DataFrame) -> None:
        pandas = pytest.importorskip("pandas")
        table = data.to_pandas()
        table["a"] = pandas.Categorical(table["a"], categories=["r", "q", "p"])
        table["k"] = pandas.Categorical([3, 1, 2, 3, 1, 2], categories=[3, 1, 2])
        table.loc[0, "b"] = None
        frame = frame_of(table, "y ~ a + k + flag + x + (1 | g)")
        for key, labels in (("a", ["r", "q", "p"]), ("k", ["3", "1", "2"])):
            variable = factor(frame, key)
            assert (variable.levels.labels.to_list(), variable.levels.order) == (labels, "declared")
        assert isinstance(frame.variables["flag"], FactorVariable)
        table["a"] = pandas.Categorical([None, "p", "q", "r", "p", "r"], categories=["r", "q", "p"])
        with pytest.raises(DataError) as caught:
            frame_of(table, "y ~ a + b")
        assert caught.value.na_counts == {"a": 1, "b": 1}
        mixed = pandas.DataFrame({"y": [1.0, 2.0], "x": ["a", 1]})
        with pytest.raises(DataError, match="'x' of type object"):
            frame_of(mixed, "y ~ x")
        twice = pandas.DataFrame([[1.0, 2.0, 3.0]], columns=["y", "x", "x"])
        with pytest.raises(DataError, match="several columns named 'x'"):
            frame_of(twice, "y ~ x")

    def test_arrow_tables(self, data: pl.DataFrame) -> None:
        pa = pytest.importorskip("pyarrow")
        declared = pa.DictionaryArray.from_arrays(pa.array([1, 0, 1, 2, 0, 2]), pa.array(["p", "q", "o"]), ordered=True)
        table = data.drop("a").to_arrow().append_column("a", declared)
        variable = factor(frame_of(table, "y ~ a + x"), "a")
        assert (variable.levels.labels.to_list(), variable.levels.order) == (["p", "q", "o"], "declared")
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
        assert frame_of(reader, "y ~ x", weights=pl.col("w")).n == 6
        with pytest.raises(DataError, match="no column 'nope'"):
            frame_of(table, "y ~ nope")

    def test_duckdb_relations(self, data: pl.DataFrame) -> None:
        duckdb = pytest.importorskip("duckdb")
        with duckdb.connect() as connection:
            connection.register("frame", data.to_arrow())
            relation = connection.sql('select *, x as "odd ""name" from frame')
            frame = frame_of(relation, 'y ~ `odd "name` + a + (1 | g)')
        assert frame.groups["g"].levels.labels.to_list() == ["g1", "g2", "g3"]
        assert numeric(frame, '`odd "name`').tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]

    def test_chunked_columns(self, data: pl.DataFrame) -> None:
        split = pl.concat([data.head(2), data.tail(4)], rechunk=False)
        one, two = (frame_of(source, "y ~ z + a + (1 | g)") for source in (data, split))
        assert np.array_equal(one.response, two.response)
        assert one.groups["g"].codes.tolist() == two.groups["g"].codes.tolist()

    def test_every_number_becomes_a_float(self) -> None:
        for dtype in (pl.Int8, pl.UInt8, pl.Int64, pl.UInt64, pl.Int128, pl.Float32, pl.Decimal(10, 2)):
            data = pl.DataFrame({"y": [3.0, 1.0], "x": pl.Series([1, 0]).cast(dtype)})
            assert numeric(frame_of(data, "y ~ I(x - 2)"), "I(x - 2)").tolist() == [-1.0, -2.0]


class TestResponse:
    def test_kinds(self, data: pl.DataFrame) -> None:
        assert frame_of(data, "flag ~ x").response.tolist() == [1.0, 0.0, 1.0, 1.0, 0.0, 0.0]
        assert np.array_equal(frame_of(data, "log(z) ~ x").response, np.log(data["z"]))
        pair = frame_of(data, "cbind(x, 10 - x) ~ a").response
        assert pair.tolist() == [[float(x), 10.0 - x] for x in range(6)]

    def test_a_factor_is_refused(self, data: pl.DataFrame) -> None:
        with pytest.raises(DataError, match="categorical") as caught:
            frame_of(data, "a ~ x")
        assert (caught.value.column, caught.value.dtype) == ("a", "String")


class TestContrasts:
    def test_codings_are_recorded(self, data: pl.DataFrame) -> None:
        given = {"a": "sum", "factor(x)": "poly", "b": {"matrix": [[0.5], [-0.5]], "names": ["uv"]}}
        frame = frame_of(data, "y ~ a + factor(x) + flag + (b | g)", contrasts=given)
        codings = {key: v.contrast for key, v in frame.variables.items() if isinstance(v, FactorVariable)}
        assert {key: (coding.name, coding.suffixes) for key, coding in codings.items()} == {
            "a": ("sum", ("1", "2")),
            "factor(x)": ("poly", (".L", ".Q", ".C", "^4", "^5")),
            "flag": ("treatment", ("TRUE",)),
            "b": ("user", ("uv",)),
        }
        assert codings["b"].matrix.tolist() == [[0.5], [-0.5]]

    def test_columns_name_the_factors_made_of_them(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ factor(x)", contrasts={"x": "SAS"})
        variable = factor(frame, "factor(x)")
        assert variable.contrast.suffixes == ("0", "1", "2", "3", "4")

    @pytest.mark.parametrize(
        ("contrasts", "message"),
        [
            ({"nope": "sum"}, "'nope', which no effect of the model uses as a factor"),
            ({"x": "sum"}, "'x', which no effect"),
            ({"a": "effects"}, "no contrast coding 'effects'"),
            ({"a": np.eye(3)}, r"3 levels, 'p', 'q' and 'r', need 3 rows and 2 columns"),
            ({"a": [[1, 1], [0, 0], [0, 0]]}, "singular"),
            ({"a": [[1, np.nan], [0, 0], [0, 1]]}, "singular"),
            ({"a": [["s", "t"]]}, "neither the name of a coding nor a numeric matrix"),
            ({"a": {"matrix": np.eye(3)[:, 1:], "names": ["s", "s"]}}, "2 different names"),
            ({"a": {"rows": 1}}, "'rows'"),
        ],
    )
    def test_bad_codings(self, data: pl.DataFrame, contrasts: dict[str, Any], message: str) -> None:
        with pytest.raises(ArgumentError, match=message) as caught:
            frame_of(data, "y ~ a + x", contrasts=contrasts)
        assert caught.value.argument == "contrasts"

    def test_contrasts_for_a_model_without_factors(self, data: pl.DataFrame) -> None:
        with pytest.raises(ArgumentError, match="this model has none"):
            frame_of(data, "y ~ x", contrasts={"x": "sum"})


def test_transforms_are_imported_only_when_used() -> None:
    script = """
import sys
import polars as pl
from mixeff_fast.formula import model_formula
from mixeff_fast.frame import build_frame, design_columns
data = pl.DataFrame({"y": [1.0, 2.0, 3.0], "x": [1, 2, 4], "a": ["p", "q", "p"]})
frame = build_frame(data, model_formula("y ~ a * log(x) + (x | a)"))
design_columns(frame.formula.fixed, frame.variables).matrix(frame.variables, frame.n)
print(sorted({"numba", "formulaic", "pandas", "scipy", "pyarrow"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
