"""BFGS as a reverse-communication state machine: it asks for f and g at ``trial`` and is told them.

The compiled loop and the stepped loop drive the same machine, so they take the same path to the same numbers. Line
search: backtracking on the Armijo condition, accepted near the solution by the approximate Wolfe condition of Hager &
Zhang (2005), where f no longer resolves progress but the slope does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int64

# answers of ``advance``
EVALUATE = 1
CONVERGED = 0
STALLED = 2  # no descent left that floating point resolves
EXHAUSTED = 3  # evaluation budget spent

# places in ``real``
F, SLOPE, STEP, DECREMENT, CAP, TOLERANCE = 0, 1, 2, 3, 4, 5
# places in ``count``
PHASE, EVALUATIONS, ITERATIONS, LIMIT, BACKTRACKS, RESETS = 0, 1, 2, 3, 4, 5


class Search(NamedTuple):
    """State of one minimization in n coordinates."""

    x: Float  # accepted point
    g: Float  # gradient there
    trial: Float  # where f and g are wanted
    direction: Float
    inverse: Float  # n x n inverse Hessian
    first: Float  # diagonal of the first inverse Hessian
    y: Float  # scratch
    real: Float
    counts: Int64


@kernel
def reset_inverse(search: Search) -> None:
    n = search.x.shape[0]
    for i in range(n):
        for j in range(n):
            search.inverse[i, j] = 0.0
        search.inverse[i, i] = search.first[i]


@kernel
def propose(search: Search) -> bool:
    """New direction from the accepted point; false when the Newton decrement is within tolerance."""
    n = search.x.shape[0]
    slope = 0.0
    largest = 0.0
    for i in range(n):
        s = 0.0
        for j in range(n):
            s -= search.inverse[i, j] * search.g[j]
        search.direction[i] = s
        slope += s * search.g[i]
        largest = max(largest, abs(s))
    search.real[DECREMENT] = -slope
    if -slope <= search.real[TOLERANCE]:
        return False
    search.real[SLOPE] = slope
    search.real[STEP] = min(1.0, search.real[CAP] / largest)
    search.counts[BACKTRACKS] = 0
    for i in range(n):
        search.trial[i] = search.x[i] + search.real[STEP] * search.direction[i]
    return True


@kernel
def update_inverse(search: Search, g: Float) -> None:
    """BFGS update of the inverse Hessian from the accepted step; skipped when curvature along it is not positive."""
    n = search.x.shape[0]
    t = search.real[STEP]
    sy = 0.0
    yy = 0.0
    ss = 0.0
    for i in range(n):
        y = g[i] - search.g[i]
        sy += t * search.direction[i] * y
        yy += y * y
        ss += t * search.direction[i] * t * search.direction[i]
    if sy <= 1e-10 * math.sqrt(yy * ss):
        return
    hy = search.y
    yhy = 0.0
    for i in range(n):
        s = 0.0
        for j in range(n):
            s += search.inverse[i, j] * (g[j] - search.g[j])
        hy[i] = s
        yhy += s * (g[i] - search.g[i])
    a = (1.0 + yhy / sy) / sy
    for i in range(n):
        si = t * search.direction[i]
        for j in range(n):
            sj = t * search.direction[j]
            search.inverse[i, j] += a * si * sj - (si * hy[j] + hy[i] * sj) / sy


@kernel
def advance(search: Search, f: float, g: Float) -> int:
    """Take f and g at ``trial`` and return what happens next (EVALUATE, CONVERGED, STALLED or EXHAUSTED)."""
    n = search.x.shape[0]
    real = search.real
    count = search.counts
    count[EVALUATIONS] += 1
    if count[PHASE] == 0:
        if not math.isfinite(f):
            return STALLED
        count[PHASE] = 1
        reset_inverse(search)
        real[F] = f
        for i in range(n):
            search.x[i] = search.trial[i]
            search.g[i] = g[i]
        if not propose(search):
            return CONVERGED
        return EVALUATE
    slope = real[SLOPE]
    step = real[STEP]
    trial_slope = 0.0
    finite = math.isfinite(f)
    for i in range(n):
        trial_slope += g[i] * search.direction[i]
        finite = finite and math.isfinite(g[i])
    noise = 1e-13 * abs(real[F]) + 1e-12
    armijo = finite and f <= real[F] + 1e-4 * step * slope
    near = finite and f <= real[F] + noise and abs(trial_slope) <= 0.9 * abs(slope)
    if armijo or near:
        count[ITERATIONS] += 1
        update_inverse(search, g)
        real[F] = f
        for i in range(n):
            search.x[i] = search.trial[i]
            search.g[i] = g[i]
        if not propose(search):
            return CONVERGED
    else:
        count[BACKTRACKS] += 1
        if count[BACKTRACKS] > 12:
            if count[RESETS] >= 2:
                return STALLED
            count[RESETS] += 1
            reset_inverse(search)
            if not propose(search):
                return CONVERGED
        else:
            shrink = 0.1
            if finite:
                rise = f - real[F] - step * slope
                shrink = min(0.5, max(0.1, -0.5 * step * slope / rise)) if rise > 0.0 else 0.5
            real[STEP] = step * shrink
            for i in range(n):
                search.trial[i] = search.x[i] + real[STEP] * search.direction[i]
    if count[EVALUATIONS] >= count[LIMIT]:
        return EXHAUSTED
    return EVALUATE
