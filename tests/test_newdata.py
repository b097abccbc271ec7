"""New data, read as the data of the model were."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

from mixeff_fast.errors import DataError, MissingRowsNotice
from mixeff_fast.frame import NumericVariable, read_new
from tests.frames import factor, frame_of, numeric, small_data


@pytest.fixture
def data() -> pl.DataFrame:
    return small_data()


class TestNewData:
    TEXT = "y ~ poly(x, 2) + scale(z) + a * flag + offset(log(z)) + (1 + x | g) + (1 | a:b)"

    @pytest.mark.parametrize(
        "text",
        [
            TEXT,
            "y ~ bs(x, df = 4) + ns(z, df = 3) + center(x) + I(scale(x)^2)",
            "y ~ cr(x, df = 3) + poly(log(z), 2)",
            'y ~ cr(x, df = 3, constraints = "center") + cc(z, df = 3) + poly(x, 2, raw = TRUE)',
            "y ~ ns(x, 3, intercept = TRUE) + scale(x, center = FALSE) + bs(z)",
        ],
    )
    def test_reading_the_same_rows_again(self, data: pl.DataFrame, text: str) -> None:
        frame = frame_of(data, text)
        again = read_new(frame.scheme, data, groups=frame.groups)
        part = read_new(frame.scheme, data.slice(2, 3), groups=frame.groups)
        for key, variable in frame.variables.items():
            if isinstance(variable, NumericVariable):
                assert np.array_equal(numeric(again, key), variable.values)
                assert np.allclose(numeric(part, key), variable.values[2:5], rtol=0, atol=1e-14)
            else:
                assert np.array_equal(factor(again, key).codes, variable.codes)
                assert np.array_equal(factor(part, key).codes, variable.codes[2:5])
                assert factor(part, key).contrast is variable.contrast
        for name, group in frame.groups.items():
            assert np.array_equal(part.groups[name].codes, group.codes[2:5])
            assert part.groups[name].levels is group.levels
        assert (frame.offset is None) == (part.offset is None)

    def test_states_are_plain_values(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ poly(x, 2) + I(scale(z)^2) + bs(x, df = 4) + cr(z, df = 3, constraints = 'center')")

        def plain(value: Any) -> bool:
            return (
                value is None
                or type(value) in (int, float, bool)
                or (isinstance(value, list) and all(map(plain, value)))
            )

        assert all(plain(v) for s in frame.states.values() for call in s.calls.values() for v in call.values())
        assert frame.states["I(scale(z)^2)"].calls == {2: {"ddof": 1.0, "center": 5.25, "scale": data["z"].std()}}

    def test_the_response_and_the_groups_are_not_needed(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, self.TEXT)
        new = read_new(frame.scheme, data.select("x", "z", "a", "flag"))
        assert not new.groups
        assert list(new.variables) == ["poly(x, 2)", "scale(z)", "a", "flag"]
        random = read_new(frame.scheme, data.select("x", "g"), fixed=False, groups=["g"])
        assert list(random.variables) == ["x"]
        assert random.offset is None

    def test_a_model_of_the_intercept_needs_only_rows(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ 1 + (1 | g)")
        for source in (data, data.lazy(), data.to_pandas(), data.to_arrow()):
            assert read_new(frame.scheme, source).n == 6

    def test_unseen_levels(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, self.TEXT)
        with pytest.raises(DataError, match="not seen: 'new', in row 5") as caught:
            read_new(frame.scheme, data.with_columns(a=pl.Series(["p", "q", "r", "p", "q", "new"])))
        assert (caught.value.column, caught.value.levels, caught.value.rows) == ("a", ["new"], [5])
        new = data.with_columns(g=pl.Series(["g3", "g9", "g1", "g1", "g2", "zz"]), b=pl.Series(list("uvuvuv")))
        read = read_new(frame.scheme, new, groups=["g", "a:b"])
        assert read.groups["g"].codes.tolist() == [2, -1, 0, 0, 1, -1]
        assert read.groups["a:b"].codes.tolist() == [-1, 1, -1, -1, 0, -1]

    def test_declared_levels_are_matched_by_label(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ a")
        declared = data.select(pl.col("a").cast(pl.Enum(["z", "r", "q", "p"]))).head(2)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            new = read_new(frame.scheme, declared)
        assert factor(new, "a").codes.tolist() == [1, 0]

    def test_numbers_match_whatever_their_type(self) -> None:
        data = pl.DataFrame({"y": [1.0, 2.0, 3.0], "g": [100000, 2, 1]})
        frame = frame_of(data, "y ~ 1 + (1 | factor(g))")
        for dtype in (pl.Int64, pl.Float64, pl.String, pl.Decimal(10, 1)):
            new = pl.DataFrame({"g": pl.Series([2, 100000, 7]).cast(pl.Int64)})
            new = new.with_columns(pl.col("g").cast(dtype))
            assert read_new(frame.scheme, new, groups=["factor(g)"]).groups["factor(g)"].codes.tolist() == [1, 2, -1]

    def test_missing_values(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ x + a")
        holes = data.with_columns(x=pl.Series([0, None, 2, 3, 4, 5]))
        with pytest.raises(DataError) as caught:
            read_new(frame.scheme, holes)
        assert caught.value.na_counts == {"x": 1}
        with pytest.warns(MissingRowsNotice):
            new = read_new(frame.scheme, holes, na_action="omit")
        assert new.kept_rows is not None
        assert new.kept_rows.tolist() == [0, 2, 3, 4, 5]

    def test_offsets(self, data: pl.DataFrame) -> None:
        by_column = frame_of(data, "y ~ x", offset="z")
        offset = read_new(by_column.scheme, data.tail(2)).offset
        assert offset is not None
        assert offset.tolist() == [8.0, 16.0]
        by_value = frame_of(data, "y ~ x", offset=data["z"].to_numpy())
        with pytest.raises(DataError, match="give offset="):
            read_new(by_value.scheme, data.tail(2))
        given = read_new(by_value.scheme, data.tail(2), offset=[0.0, 1.0]).offset
        assert given is not None
        assert given.tolist() == [0.0, 1.0]
        assert read_new(frame_of(data, "y ~ x").scheme, data).offset is None

    def test_dtype_change_is_an_error(self, data: pl.DataFrame) -> None:
        frame = frame_of(data, "y ~ x + a")
        with pytest.raises(DataError, match="has type String"):
            read_new(frame.scheme, data.with_columns(pl.col("x").cast(pl.String)))
