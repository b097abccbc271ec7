"""Newton's method as a reverse-communication state machine: it is told f, then gradient and Hessian where it accepts.

The n coordinates are displacements from the accepted point, so the caller may choose new ones at every point. The
Hessian may be a model of the true one, and indefinite: directions of negative curvature are followed downhill (the
absolute eigenvalues of the Hessian scaled to a unit diagonal). Where a model overestimates the curvature Newton's steps
crawl; then the curvature seen along the last step is put in (a BFGS update).

The line search backtracks on the Armijo condition, with the rounding of f as slack: near the solution f no longer
resolves progress, but the gradient does.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import quick_kernel
from mixeff_fast.kernels._lapack import cholesky_lower

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int64

# what comes next
EVALUATE = 1
ACCEPTED = 4
CONVERGED = 0
STALLED = 2  # no descent left that floating point resolves
EXHAUSTED = 3  # evaluation budget spent

# places in ``real``
F, SLOPE, STEP, DECREMENT, TOLERANCE, NOISE, TRUST = 0, 1, 2, 3, 4, 5, 6
# places in ``count``
EVALUATIONS, ITERATIONS, LIMIT, BACKTRACKS, IDLE, SLOW, CHANGED = 0, 1, 2, 3, 4, 5, 6

# eigenvalues of the scaled Hessian are raised to this
FLOOR = 1e-6
# and negative ones are reflected, and shortened to take longer steps down
REFLECT = 0.25
# this many slow steps in a row, and secants are used for good; so many steps with them, and the model of the Hessian is
# left to the caller's judgement
HABIT = 2
PATIENCE = 30


class Search(NamedTuple):
    """State of one minimization in n coordinates. ``gradient``, ``hessian``, ``reach`` and the secant pair are told."""

    gradient: Float
    hessian: Float  # n x n, made positive definite by ``propose``
    direction: Float
    reach: Float  # longest displacement allowed per coordinate
    secant_step: Float  # the last step, in the coordinates of the accepted point
    secant_change: Float  # the change of the gradient over it
    factor: Float  # n x n scratch
    vectors: Float  # n x n scratch
    scale: Float  # n scratch
    real: Float
    counts: Int64


@quick_kernel
def eigenvalues(a: Float, vectors: Float) -> None:
    """Jacobi's method: ``a`` becomes diagonal (the eigenvalues), the columns of ``vectors`` the eigenvectors."""
    n = a.shape[0]
    for i in range(n):
        for j in range(n):
            vectors[i, j] = 1.0 if i == j else 0.0
    for _ in range(30):
        off = 0.0
        on = 0.0
        for i in range(n):
            on += a[i, i] * a[i, i]
            for j in range(i):
                off += a[i, j] * a[i, j]
        if off <= 1e-30 * on:
            break
        for p in range(n):
            for q in range(p + 1, n):
                if a[p, q] == 0.0:
                    continue
                zeta = (a[q, q] - a[p, p]) / (2.0 * a[p, q])
                t = 1.0 / (abs(zeta) + math.sqrt(1.0 + zeta * zeta))
                if zeta < 0.0:
                    t = -t
                c = 1.0 / math.sqrt(1.0 + t * t)
                s = c * t
                for i in range(n):
                    x, y = a[i, p], a[i, q]
                    a[i, p], a[i, q] = c * x - s * y, s * x + c * y
                for i in range(n):
                    x, y = a[p, i], a[q, i]
                    a[p, i], a[q, i] = c * x - s * y, s * x + c * y
                for i in range(n):
                    x, y = vectors[i, p], vectors[i, q]
                    vectors[i, p], vectors[i, q] = c * x - s * y, s * x + c * y


@quick_kernel
def make_positive(search: Search) -> None:
    """Raise or reflect the eigenvalues of the scaled Hessian that are below ``FLOOR``; ``CHANGED`` tells whether."""
    n = search.gradient.shape[0]
    h = search.hessian
    a = search.factor
    scale = search.scale
    for i in range(n):
        scale[i] = 1.0 / math.sqrt(abs(h[i, i])) if h[i, i] != 0.0 else 1.0
    for i in range(n):
        for j in range(n):
            a[i, j] = h[i, j] * scale[i] * scale[j]
    fine = cholesky_lower(a, n) == 0
    for i in range(n):
        fine = fine and a[i, i] * a[i, i] > FLOOR
    search.counts[CHANGED] = 0 if fine else 1
    if fine:
        return
    for i in range(n):
        for j in range(n):
            a[i, j] = h[i, j] * scale[i] * scale[j]
    v = search.vectors
    eigenvalues(a, v)
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for k in range(n):
                s += v[i, k] * v[j, k] * max(a[k, k], -REFLECT * a[k, k], FLOOR)
            h[i, j] = s / (scale[i] * scale[j])
            h[j, i] = h[i, j]


@quick_kernel
def newton_direction(search: Search) -> float:
    """Fill ``direction`` with ``-H^{-1}g`` and return the decrement ``g'H^{-1}g``; NaN when H is not positive definite."""
    n = search.gradient.shape[0]
    a = search.factor
    scale = search.scale
    d = search.direction
    for i in range(n):
        if not search.hessian[i, i] > 0.0:
            return math.nan
        scale[i] = 1.0 / math.sqrt(search.hessian[i, i])
    for i in range(n):
        for j in range(i + 1):
            a[i, j] = search.hessian[i, j] * scale[i] * scale[j]
    if cholesky_lower(a, n) != 0:
        return math.nan
    decrement = 0.0
    for i in range(n):
        s = search.gradient[i] * scale[i]
        for j in range(i):
            s -= a[i, j] * d[j]
        d[i] = s / a[i, i]
        decrement += d[i] * d[i]
    for i in range(n - 1, -1, -1):
        s = d[i]
        for j in range(i + 1, n):
            s -= a[j, i] * d[j]
        d[i] = s / a[i, i]
    for i in range(n):
        d[i] *= -scale[i]
    return decrement


@quick_kernel
def add_secant(search: Search) -> None:
    """BFGS update of the Hessian from the secant pair; skipped when curvature along the step is hardly positive."""
    n = search.gradient.shape[0]
    s = search.secant_step
    y = search.secant_change
    hs = search.scale
    sy = 0.0
    shs = 0.0
    for i in range(n):
        t = 0.0
        for j in range(n):
            t += search.hessian[i, j] * s[j]
        hs[i] = t
        shs += t * s[i]
        sy += s[i] * y[i]
    if sy > 1e-3 * shs and shs > 0.0:
        for i in range(n):
            for j in range(n):
                search.hessian[i, j] += y[i] * y[j] / sy - hs[i] * hs[j] / shs


@quick_kernel
def judge(search: Search, f: float, noise: float) -> int:
    """Take f at the displacement ``STEP * direction``. ACCEPTED: tell gradient and Hessian there, then ``propose``."""
    real = search.real
    count = search.counts
    count[EVALUATIONS] += 1
    if count[EVALUATIONS] == 1:
        if not math.isfinite(f):
            return STALLED
        real[F] = f
        real[NOISE] = noise
        real[TRUST] = 1.0
        return ACCEPTED
    gain = real[F] - f
    expected = -1e-4 * real[STEP] * real[SLOPE]
    if math.isfinite(f) and gain >= expected - real[NOISE]:
        count[ITERATIONS] += 1
        count[IDLE] = count[IDLE] + 1 if gain <= real[NOISE] else 0
        if count[BACKTRACKS] > 0:
            real[TRUST] = max(1.0, 0.5 * real[TRUST])
        elif real[STEP] < 1.0:
            real[TRUST] *= 2.0
        real[F] = f
        real[NOISE] = noise
        return ACCEPTED
    count[BACKTRACKS] += 1
    if -real[STEP] * real[SLOPE] <= real[NOISE]:
        return STALLED
    if count[EVALUATIONS] >= count[LIMIT]:
        return EXHAUSTED
    shrink = 0.1
    if math.isfinite(f):
        rise = -gain - real[STEP] * real[SLOPE]
        shrink = min(0.5, max(0.1, -0.5 * real[STEP] * real[SLOPE] / rise))
    real[STEP] *= shrink
    return EVALUATE


@quick_kernel
def propose(search: Search) -> int:
    """Choose the next direction from the accepted point."""
    n = search.gradient.shape[0]
    real = search.real
    count = search.counts
    make_positive(search)
    decrement = newton_direction(search)
    if count[ITERATIONS] > 0:
        if count[SLOW] >= HABIT or decrement > 0.5 * real[DECREMENT]:
            count[SLOW] += 1
        else:
            count[SLOW] = 0
        if count[SLOW] >= HABIT or count[BACKTRACKS] > 0:
            add_secant(search)
            count[CHANGED] = 1
            decrement = newton_direction(search)
    real[DECREMENT] = decrement
    if not math.isfinite(decrement):
        return STALLED
    if decrement <= max(real[TOLERANCE], real[NOISE]):
        return CONVERGED
    if count[IDLE] >= 3 or count[SLOW] > PATIENCE:
        return STALLED
    if count[EVALUATIONS] >= count[LIMIT]:
        return EXHAUSTED
    longest = 1.0
    for i in range(n):
        longest = max(longest, abs(search.direction[i]) / (search.reach[i] * real[TRUST]))
    real[SLOPE] = -decrement
    real[STEP] = 1.0 / longest
    count[BACKTRACKS] = 0
    return EVALUATE
