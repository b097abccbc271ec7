"""Levels of factors whose rows come in batches: first which values occur, then the code of every row of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mixeff_fast.frame.columns import Codes, frozen

# Integers that span no more values than this are marked in a table of bytes, and coded by one of int32.
_SPAN = 1 << 27
# Combinations of levels that could be this many are coded by a table.
_CELLS = 1 << 26
_PENDING_ROWS = 1 << 20

Lookup = Callable[[pl.Series], Codes]


def kept_type(dtype: pl.DataType) -> pl.DataType:
    """Return the type in which distinct values of a column are kept: labels of a categorical, float64 of other numbers."""
    if dtype == pl.Categorical:
        return pl.String()
    if dtype.is_float() or dtype.is_decimal():
        return pl.Float64()
    return dtype


class DistinctRows:
    """Which combinations of values of some columns occur; memory grows with their number only."""

    def __init__(self, columns: Sequence[str]) -> None:
        self._columns = list(columns)
        self._known: pl.DataFrame | None = None
        self._pending: list[pl.DataFrame] = []
        self._pending_rows = 0

    def see(self, columns: Sequence[pl.Series]) -> None:
        """Add the rows of a batch, without missing values."""
        batch = pl.DataFrame(columns).unique(maintain_order=False)
        self._pending.append(batch.with_columns(pl.col(c.name).cast(kept_type(c.dtype)) for c in columns))
        self._pending_rows += batch.height
        if self._pending_rows > max(_PENDING_ROWS, 0 if self._known is None else self._known.height):
            self._merge()

    def _merge(self) -> None:
        parts = self._pending if self._known is None else [self._known, *self._pending]
        self._known = pl.concat(parts).unique(maintain_order=False)
        self._pending, self._pending_rows = [], 0

    def found(self) -> pl.DataFrame:
        """The combinations, sorted."""
        self._merge()
        assert self._known is not None
        return self._known.sort(self._columns)


class DistinctIntegers:
    """Which integers occur, dates and times among them; falls back to `DistinctRows` where they span too many values."""

    def __init__(self, name: str, dtype: pl.DataType) -> None:
        self._name, self._dtype = name, dtype
        self._physical = pl.Series(name, [], dtype=dtype).to_physical().dtype
        self._low = 0
        self._seen: npt.NDArray[np.bool_] = np.zeros(0, np.bool_)
        self._others: DistinctRows | None = None

    def see(self, columns: Sequence[pl.Series]) -> None:
        """Add the rows of a batch, without missing values."""
        values = columns[0].to_physical().to_numpy()
        low, high = int(values.min()), int(values.max())
        if not self._cover(low, high):
            if self._others is None:
                self._others = DistinctRows([self._name])
            self._others.see(columns)
            return
        self._seen[_from(values, self._low)] = True

    def _cover(self, low: int, high: int) -> bool:
        """Widen the table to hold such values, if that is possible."""
        size = len(self._seen)
        if size and self._low <= low and high < self._low + size:
            return True
        first = min(low, self._low) if size else low
        last = max(high, self._low + size - 1) if size else high
        if last - first >= _SPAN or last >= 2**63:
            return False
        # Room on both sides, so that values in rising or falling order do not move the table every time.
        room = min(last - first + 1, _SPAN - (last - first + 1)) // 2
        # From 0 on, values are places in the table as they are.
        first = 0 if first >= 0 and last < _SPAN else max(first - room, -(2**63))
        wider = np.zeros(min(last + room, 2**63 - 1) - first + 1, np.bool_)
        if size:
            wider[self._low - first : self._low - first + size] = self._seen
        self._low, self._seen = first, wider
        return True

    def found(self) -> pl.DataFrame:
        """The values, sorted, as a frame of one column."""
        values = pl.Series(self._name, np.flatnonzero(self._seen).astype(np.int64) + self._low)
        frame = values.cast(self._physical).cast(self._dtype).to_frame()
        if self._others is None:
            return frame
        return pl.concat([frame, self._others.found()]).unique().sort(self._name)


def distinct(names: Sequence[str], dtypes: Sequence[pl.DataType]) -> DistinctRows | DistinctIntegers:
    """Start to look for the values of a column, or the combinations of several."""
    if len(names) == 1 and _has_integers(dtypes[0]):
        return DistinctIntegers(names[0], dtypes[0])
    return DistinctRows(names)


def _has_integers(dtype: pl.DataType) -> bool:
    return (dtype.is_integer() and dtype != pl.Int128) or dtype.is_temporal()


def _from(values: npt.NDArray[Any], low: int) -> npt.NDArray[Any]:
    if low == 0 and values.dtype != np.uint64:
        return values
    moved: npt.NDArray[Any] = values.astype(np.int64) - low
    return moved


def lookup(values: pl.Series, codes: Codes) -> Lookup:
    """Prepare to code columns.

    Parameters
    ----------
    values
        Distinct values, of a type that `kept_type` gives.
    codes
        The code of each.

    Returns
    -------
    Callable
        Takes a column without missing values, of the type that was read; gives the code of each value, -1 for others.

    Examples
    --------
    >>> code = lookup(pl.Series(["b", "a"]), np.array([1, 0], np.int32))
    >>> code(pl.Series(["a", "z", "b"])).tolist()
    [0, -1, 1]
    """
    dtype = values.dtype
    if dtype == pl.Boolean or isinstance(dtype, pl.Enum):
        numbers = _physical(values)
        return _Table(0, _filled(numbers, codes, int(numbers.max(initial=0)) + 1))
    if _has_integers(dtype):
        numbers = _physical(values)
        low, high = int(numbers.min()), int(numbers.max())
        low = 0 if low >= 0 and high < _SPAN else low
        if high - low < _SPAN and high < 2**63:
            return _Table(low, _filled(_from(numbers, low), codes, high - low + 1))
        return _Sorted(numbers, codes)
    if dtype.is_float():
        return _Sorted(values.to_numpy() + 0.0, codes)
    return _Texts(values.cast(pl.String), codes)


def _physical(series: pl.Series) -> npt.NDArray[Any]:
    return series.cast(pl.UInt8).to_numpy() if series.dtype == pl.Boolean else series.to_physical().to_numpy()


def _filled(places: npt.NDArray[Any], codes: Codes, size: int) -> Codes:
    table = np.full(size, -1, np.int32)
    table[places] = codes
    return table


class _Table:
    """Codes of integers from ``low`` on."""

    def __init__(self, low: int, table: Codes) -> None:
        self._low, self._table = low, table
        self._is_dense = bool(np.array_equal(table, np.arange(len(table))))

    def __call__(self, series: pl.Series) -> Codes:
        values = _physical(series)
        if not len(values):
            return np.zeros(0, np.int32)
        inside = int(values.min()) >= self._low and int(values.max()) < self._low + len(self._table)
        if inside and self._is_dense:
            return _from(values, self._low).astype(np.int32)
        if inside:
            return np.take(self._table, _from(values, self._low), mode="clip")
        known = (values >= self._low) & (values < self._low + len(self._table))
        codes = np.full(len(values), -1, np.int32)
        codes[known] = self._table[_from(values[known], self._low)]
        return codes


class _Sorted:
    """Codes of numbers too far apart for a table."""

    def __init__(self, values: npt.NDArray[Any], codes: Codes) -> None:
        order = np.argsort(values)
        self._values, self._codes = values[order], codes[order]

    def __call__(self, series: pl.Series) -> Codes:
        values = _physical(series) if self._values.dtype.kind in "iu" else series.cast(pl.Float64).to_numpy()
        at = np.minimum(np.searchsorted(self._values, values), len(self._values) - 1)
        return np.where(self._values[at] == values, self._codes[at], np.int32(-1)).astype(np.int32)


class _Texts:
    """Codes of strings, numbered by a private registry that knows the values already."""

    def __init__(self, values: pl.Series, codes: Codes) -> None:
        self._type = pl.Categorical(pl.Categories.random())
        self._registered = values.cast(self._type)
        physical = self._registered.to_physical().to_numpy()
        self._codes = _filled(physical, codes, int(physical.max(initial=0)) + 1)

    def __call__(self, series: pl.Series) -> Codes:
        physical = series.cast(pl.String).cast(self._type).to_physical().to_numpy()
        at = np.minimum(physical, len(self._codes) - 1)
        return np.where(physical < len(self._codes), self._codes[at], np.int32(-1)).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class GroupLookup:
    """Codes of the levels of a grouping factor: of one column, or of combinations of several.

    Attributes
    ----------
    columns
        The columns read.
    parts
        For each, the code of a value.
    keys
        For several columns, the combinations as numbers in rising order (the code is the place among them), else empty.
    sizes
        The number of values of each column.
    table
        The code of every possible combination where these are few, else empty.
    """

    columns: tuple[str, ...]
    parts: tuple[Lookup, ...]
    keys: npt.NDArray[np.int64]
    sizes: tuple[int, ...]
    table: Codes

    def __call__(self, columns: Sequence[pl.Series]) -> Codes:
        codes = [part(column) for part, column in zip(self.parts, columns, strict=True)]
        if len(codes) == 1:
            return frozen(codes[0])
        wanted = np.zeros(len(codes[0]), np.int64)
        known = np.ones(len(wanted), np.bool_)
        for part, size in zip(codes, self.sizes, strict=True):
            wanted *= size
            wanted += part
            known &= part >= 0
        wanted[~known] = 0
        if len(self.table):
            found = self.table[wanted]
        else:
            at = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            found = np.where(self.keys[at] == wanted, at, -1).astype(np.int32)
        found[~known] = -1
        return frozen(found)


def group_lookup(columns: Sequence[str], parts: Sequence[Lookup], sizes: Sequence[int], cells: Codes) -> GroupLookup:
    """Prepare to code combinations; ``cells`` (q, number of columns) are those that occur, in the order of their codes."""
    keys = np.zeros(len(cells), np.int64)
    for place, size in enumerate(sizes):
        keys = keys * size + cells[:, place]
    possible = int(np.prod([float(size) for size in sizes]))
    table = np.zeros(0, np.int32)
    if len(sizes) > 1 and possible <= _CELLS:
        table = _filled(keys, np.arange(len(keys), dtype=np.int32), possible)
    return GroupLookup(tuple(columns), tuple(parts), keys, tuple(sizes), table)
