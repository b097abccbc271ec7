"""Shift and scale of columns: any shift near the data and any scale near the spread serve, so a sample of rows does."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile.model import Layout

    Float = NDArray[np.float64]

SAMPLE_ROWS = 4_096


def sampled_rows(n: int) -> slice:
    """An evenly spaced sample of n rows; all where they are few."""
    return slice(0, n, max(1, -(-n // SAMPLE_ROWS)))


def power_of_two(x: float) -> float:
    """The power of two nearest below ``x``; 1 for zero and for what is not finite."""
    if not math.isfinite(x) or x <= 0.0:
        return 1.0
    return math.ldexp(1.0, math.frexp(x)[1] - 1)


def shift_scale(columns: Float, centred: NDArray[np.bool_]) -> tuple[Float, Float]:
    """Means of the columns that are to be centred (0 for the others), and powers of two near the root mean squares."""
    n = len(columns)
    # NumPy is slow along an axis of a few
    rows = np.ascontiguousarray(columns.T)
    shift = np.zeros(len(rows))
    if centred.any():
        shift = np.where(centred, rows.sum(axis=1) / n, 0.0)
        rows = rows - shift[:, None]
    return shift, np.array([power_of_two(math.sqrt(float(row @ row) / n)) for row in rows])


def fixed_scales(model: Layout) -> tuple[Float, Float, int]:
    """Shift and scale of the fixed-effect columns, centred beside an intercept; and its position, or -1."""
    frame = model.frame
    rows = sampled_rows(frame.n)
    p = len(model.fixed.names)
    x = np.empty((len(range(frame.n)[rows]), p), order="F")
    model.fixed.fill(frame.variables, rows, x)
    intercept = 0 if model.formula.fixed.intercept else -1
    centred = np.full(p, intercept >= 0)
    if intercept >= 0:
        centred[intercept] = False
    return *shift_scale(x, centred), intercept
