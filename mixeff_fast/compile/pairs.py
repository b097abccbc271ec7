"""Which levels of two grouping factors occur in the same row: all that the elimination plan needs to know of the rows.

The levels of factors a < b that meet are one sorted array of ``level_a * n_levels[b] + level_b``, each value once. Partial
lists of the same levels are merged by ``numpy.union1d``.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Pairs = Mapping[tuple[int, int], NDArray[np.int64]]

# Rows handled at a time while possible pairs are ticked off, so that temporaries stay in the cache.
_CHUNK = 1 << 16


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sort ``values`` in place and return each once."""
    values.sort()
    new = np.empty(len(values), np.bool_)
    new[:1] = True
    np.not_equal(values[1:], values[:-1], out=new[1:])
    return values[new]


def meeting_levels(a: NDArray[np.int32], b: NDArray[np.int32], n_a: int, n_b: int) -> NDArray[np.int64]:
    """Pairs of levels that occur in the same row.

    Parameters
    ----------
    a, b
        Level codes of the rows, shape (n,).
    n_a, n_b
        Numbers of levels.

    Examples
    --------
    >>> import numpy as np
    >>> meeting_levels(np.array([0, 1, 1, 0], np.int32), np.array([2, 0, 0, 1], np.int32), 2, 3)
    array([1, 2, 3])
    """
    if n_a * n_b > 4 * len(a) + _CHUNK:
        return distinct(a.astype(np.int64) * n_b + b)
    met = np.zeros(n_a * n_b, np.bool_)
    for start in range(0, len(a), _CHUNK):
        rows = slice(start, start + _CHUNK)
        met[a[rows].astype(np.int64) * n_b + b[rows]] = True
    return np.flatnonzero(met)


def level_pairs(codes: Sequence[NDArray[np.int32]], n_levels: Sequence[int]) -> Pairs:
    """Pairs of levels for every two factors, by their positions."""
    return {
        (a, b): meeting_levels(codes[a], codes[b], n_levels[a], n_levels[b])
        for a, b in combinations(range(len(codes)), 2)
    }


def split(pairs: NDArray[np.int64], n_b: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Levels of both factors."""
    a = pairs // n_b
    return a, pairs - a * n_b


def levels_of(pairs: Pairs, n_levels: Sequence[int], k: int, j: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Levels of k and of j that meet, whichever comes first."""
    if k < j:
        return split(pairs[k, j], n_levels[j])
    a, b = split(pairs[j, k], n_levels[k])
    return b, a


def is_nested(pairs: Pairs, n_levels: Sequence[int], fine: int, coarse: int) -> bool:
    """Whether every level of ``fine`` occurs under exactly one level of ``coarse``."""
    met = pairs[min(fine, coarse), max(fine, coarse)]
    if len(met) > n_levels[fine]:
        return False
    return int(np.bincount(levels_of(pairs, n_levels, fine, coarse)[0], minlength=1).max()) <= 1
