"""Exact quantiles of values that come in batches, in two passes and little memory.

The first pass keeps an evenly spaced sample. From it the values are bracketed between which each order statistic must lie;
the second pass counts what is below a bracket and keeps what is inside. A bracket that missed is widened, and the values
are seen once more.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mixeff_fast.frame.columns import Floats

_SAMPLE = 1 << 17
_PENDING = 1 << 20
# A bracket reaches so many standard errors of a sample quantile to both sides.
_REACH = 3.0


class Thinned:
    """Every ``step``-th value of a sequence that comes in parts, where the step doubles as the sequence grows."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.step = 1
        self._n = 0
        self._size = 0
        self._parts: list[Floats] = []

    def see(self, x: Floats) -> None:
        """Add a part."""
        self._parts.append(x[-self._n % self.step :: self.step].copy())
        self._size += len(self._parts[-1])
        self._n += len(x)
        while self._size >= 2 * self._most:
            whole = self.values()[::2].copy()
            self._parts, self._size, self.step = [whole], len(whole), 2 * self.step

    def values(self) -> Floats:
        """The values kept, in order."""
        return np.concatenate(self._parts) if self._parts else np.zeros(0)


class _Bracket:
    """Counts and values around one order statistic."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high
        self.below = 0
        self._pending: list[npt.NDArray[np.float64]] = []
        self._n_pending = 0
        self._values: npt.NDArray[np.float64] = np.zeros(0)
        self._counts: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def see(self, x: Floats) -> None:
        self.below += int(np.count_nonzero(x < self.low))
        inside = x[(x >= self.low) & (x <= self.high)]
        if len(inside):
            self._pending.append(inside)
            self._n_pending += len(inside)
            if self._n_pending > _PENDING:
                self._merge()

    def _merge(self) -> None:
        values, place, counts = np.unique(np.concatenate(self._pending), return_inverse=True, return_counts=True)
        del place
        both = np.concatenate([self._values, values])
        self._values, where = np.unique(both, return_inverse=True)
        self._counts = np.bincount(where, np.concatenate([self._counts, counts]), len(self._values)).astype(np.int64)
        self._pending, self._n_pending = [], 0

    def find(self, rank: int) -> float | None:
        """The value of this rank, counted from 0; None if it lies outside."""
        if self._pending:
            self._merge()
        at = int(np.searchsorted(self.below + np.cumsum(self._counts), rank, side="right"))
        if rank < self.below or at == len(self._values):
            return None
        return float(self._values[at])


class Quantiles:
    """Quantiles as ``numpy.quantile`` gives them (linear interpolation)."""

    def __init__(self, levels: Floats) -> None:
        self._levels = levels
        self._sample = Thinned(_SAMPLE)
        self._n = 0
        self._brackets: dict[int, _Bracket] = {}
        self._reach = _REACH

    def see(self, x: Floats) -> None:
        """Add a part."""
        if self._brackets:
            for bracket in self._brackets.values():
                bracket.see(x)
        else:
            self._n += len(x)
            self._sample.see(x)

    def finish_pass(self) -> Floats | None:
        """The quantiles, or None when the values must be seen again."""
        sample = np.sort(self._sample.values())
        if self._sample.step == 1 or self._n == 0:
            found: Floats = np.quantile(sample, self._levels)
            return found
        order = {rank: bracket.find(rank) for rank, bracket in self._brackets.items()}
        if not order or any(value is None for value in order.values()):
            self._reach *= 1.0 if not order else 16.0
            self._brackets = {rank: self._bracket(sample, rank) for rank in self._ranks()}
            return None
        values = []
        for level in self._levels:
            place = float((self._n - 1) * level)
            ends = np.array([order[int(np.floor(place))], order[int(np.ceil(place))]], np.float64)
            values.append(float(np.quantile(ends, place - np.floor(place))))
        return np.array(values)

    def _ranks(self) -> list[int]:
        places = (self._n - 1) * self._levels
        return sorted({int(f(place)) for place in places for f in (np.floor, np.ceil)})

    def _bracket(self, sample: Floats, rank: int) -> _Bracket:
        m = len(sample)
        centre = rank / self._n * m
        reach = self._reach * np.sqrt(m)
        low, high = int(centre - reach), int(centre + reach) + 1
        return _Bracket(
            -np.inf if low < 0 else float(sample[low]), np.inf if high >= m else float(sample[high])
        )
