"""Passes over the rows by level of a factor: rows per level, what varies within levels, sums of products per level.

Values are compared with those of the level's first row, so that what is constant is told exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.frame import DesignColumns
    from mixeff_fast.frame.design import Variables

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]
    Mask = NDArray[np.bool_]
    Codes = NDArray[np.int32]

# rows handled at a time, so that temporaries stay in the cache; the first chunk is small, since it often decides
_ROWS, _FIRST_ROWS = 1 << 16, 1 << 12
_PRODUCT_ROWS, _COUNTED_ROWS = 1 << 14, 1 << 18


@dataclass(frozen=True, slots=True, eq=False)
class Grouped:
    """Rows cut into levels.

    Attributes
    ----------
    codes
        Level of every row, shape (n,).
    counts
        Rows of every level, shape (q,); none is zero.
    """

    codes: Codes
    counts: Int

    @property
    def n_levels(self) -> int:
        return len(self.counts)

    @property
    def n_repeated(self) -> int:
        """Levels with two rows or more."""
        return int(np.count_nonzero(self.counts > 1))


def grouped(codes: Codes, n_levels: int) -> Grouped:
    """Count the rows of every level."""
    counts = np.zeros(n_levels, np.int64)
    # NumPy counts a copy of the codes as 64-bit integers: a part of them at a time stays in the cache
    step = max(_COUNTED_ROWS, 4 * n_levels)
    for start in range(0, len(codes), step):
        counts += np.bincount(codes[start : start + step], minlength=n_levels)
    return Grouped(codes, counts)


def _spans(n: int) -> Iterator[slice]:
    start, size = 0, _FIRST_ROWS
    while start < n:
        yield slice(start, min(start + size, n))
        start, size = start + size, min(2 * size, _ROWS)


def varying_levels(by: Grouped, values: NDArray[Any], tolerance: float = 0.0, most: int | None = None) -> int:
    """How many levels have rows whose values differ from the first by more than ``tolerance``.

    Parameters
    ----------
    by
        The levels.
    values
        One number per row, shape (n,).
    tolerance
        Differences up to it count as rounding.
    most
        Stop as soon as there are more: what is returned is then some number above it.

    Examples
    --------
    >>> import numpy as np
    >>> by = grouped(np.array([0, 0, 1, 1, 2], np.int32), 3)
    >>> varying_levels(by, np.array([1.0, 1.0, 5.0, 6.0, 0.0]))
    1
    """
    first = np.full(by.n_levels, np.nan)
    varies = np.zeros(by.n_levels, np.bool_)
    n_varying = 0
    for rows in _spans(len(values)):
        codes, chunk = by.codes[rows], values[rows].astype(np.float64, copy=False)
        _learn_first(first, codes, chunk)
        differ = np.abs(chunk - first[codes]) > tolerance
        if differ.any():
            varies[codes[differ]] = True
            n_varying = int(np.count_nonzero(varies))
            if most is not None and n_varying > most:
                break
    return n_varying


def is_constant_within(by: Grouped, values: NDArray[Any], tolerance: float = 0.0) -> bool:
    """Whether values are the same in all rows of each level."""
    return varying_levels(by, values, tolerance, 0) == 0


def _learn_first(first: Float, codes: Codes, values: Float) -> None:
    """Enter the values of levels that have none (NaN) yet; of several rows, the first counts."""
    new = np.flatnonzero(np.isnan(first[codes] if first.ndim == 1 else first[codes, 0]))[::-1]
    if len(new):
        first[codes[new]] = values[new]


def first_of_levels(by: Grouped, values: NDArray[Any]) -> Float:
    """The value in the first row of every level, shape (q,)."""
    first = np.full(by.n_levels, np.nan)
    known = 0
    for rows in _spans(len(values)):
        _learn_first(first, by.codes[rows], values[rows].astype(np.float64, copy=False))
        known += rows.stop - rows.start
        if known >= by.n_levels and not np.isnan(first).any():
            break
    return first


@dataclass(frozen=True, slots=True, eq=False)
class LevelProducts:
    """Sums of products of the columns of a design, per level, about the level's first row.

    Columns are divided by ``scale`` after ``center`` is taken off. A row of a level is ``origin + w``.

    Attributes
    ----------
    counts
        Rows per level, shape (m,).
    center, scale
        Per column, shape (d,).
    origin
        The first row of each level, shape (m, d).
    sums, products
        Of w and of ``w w'``, shapes (m, d) and (m, d, d).
    """

    counts: Int
    center: Float
    scale: Float
    origin: Float
    sums: Float
    products: Float

    def within_sd(self) -> Float:
        """Standard deviation of each column within each level, shape (m, d), in the columns' own units; NaN for one row."""
        n = self.counts[:, None].astype(np.float64)
        squares = np.einsum("jaa->ja", self.products)
        with np.errstate(invalid="ignore", divide="ignore"):
            variance = np.maximum(squares - self.sums**2 / n, 0.0) / (n - 1.0)
        variance[self.counts < 2] = np.nan
        return np.asarray(np.sqrt(variance) * self.scale)

    def about(self, point: Float) -> tuple[Float, Float]:
        """Sums and sums of products per level about a point, in units of ``scale``."""
        n = self.counts[:, None].astype(np.float64)
        a = self.origin + (self.center - point) / self.scale
        sums = self.sums + n * a
        cross = self.sums[:, :, None] * a[:, None, :]
        products = self.products + cross + cross.transpose(0, 2, 1) + (n * a)[:, :, None] * a[:, None, :]
        return sums, products


def level_products(
    by: Grouped, design: DesignColumns, columns: Int, variables: Variables, center: Float, scale: Float,
    levels: Int | None = None
) -> LevelProducts:
    """Sum over the rows of every level, or of the ``levels`` given.

    Parameters
    ----------
    by
        The levels.
    design, columns, variables
        The columns, and which of them are wanted.
    center, scale
        Of the columns wanted, shape (d,).
    """
    from mixeff_fast.kernels.statistics import accumulate_levels

    n, d = len(by.codes), len(columns)
    q = by.n_levels if levels is None else len(levels)
    place = np.full(by.n_levels, -1, np.int32)
    if levels is not None:
        place[levels] = np.arange(q, dtype=np.int32)
    size = d * (d + 1) // 2
    sums = np.zeros((q, size + d))
    origin = np.full((q, d), np.nan)
    one = np.zeros(1, np.int64)
    for start in range(0, n, _PRODUCT_ROWS):
        rows = slice(start, min(start + _PRODUCT_ROWS, n))
        z = np.empty((rows.stop - rows.start, len(design.names)))
        design.fill(variables, rows, z)
        wanted = np.ascontiguousarray((z[:, columns] - center) / scale)
        codes = by.codes[rows]
        if levels is not None:
            codes = place[codes]
            wanted, codes = wanted[codes >= 0], codes[codes >= 0]
        _learn_first(origin, codes, wanted)
        wanted -= origin[codes]
        accumulate_levels(codes, wanted, np.ones((len(wanted), 1)), one, sums)
    products = np.empty((q, d, d))
    low = np.tril_indices(d)
    products[:, low[0], low[1]] = products[:, low[1], low[0]] = sums[:, :size]
    counts = by.counts if levels is None else by.counts[levels]
    return LevelProducts(counts, center, scale, origin, sums[:, size:], products)
