"""The search over covariance parameters, fixed effects and the family's parameter: what it is told, and where it goes.

The covariance parameters are searched in displacements of the accepted point, as those of a linear model; the others, which end
a point, as they are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import inner_kernel, kernel
from mixeff_fast.kernels.covariance import displace, orthogonalize, pull_back, secant_pair
from mixeff_fast.kernels.optimizer import (
    BACKTRACKS,
    CONVERGED,
    DECREMENT,
    EVALUATE,
    EVALUATIONS,
    ITERATIONS,
    LIMIT,
    NOISE,
    SLOPE,
    STEP,
    TOLERANCE,
    add_secant,
    make_positive,
    newton_direction,
    propose,
)

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import Float, Int64, Path, ThetaMap

# the model of the Hessian is improved by secants where it leaves a larger share of the decrement; by those along which no
# standard deviation changed by a larger share
SLOW, NEAR = 0.05, 0.3
# longest step of a fixed effect or of the logarithm of the family's parameter, in units of its standard error
REACH = 1000.0


class History(NamedTuple):
    """Points of a search and their gradients, the oldest first."""

    points: Float  # most that are kept x length of a point
    grads: Float
    kept: Int64  # how many there are


@inner_kernel
def learn(theta_map: ThetaMap, search: Search, path: Path, history: History) -> None:
    """Improve the model of the Hessian by the secants between earlier points. Each is taken in the coordinates at the last one;
    where a term has several columns that may rotate, only the last secant is known in these."""
    n = theta_map.position.shape[0]
    rotates = False
    for k in range(theta_map.width.shape[0]):
        rotates = rotates or (theta_map.diagonal[k] == 0 and theta_map.width[k] > 1)
    if not rotates:
        first = path.lam.shape[0] - (search.gradient.shape[0] - n)
        for h in range(1, history.kept[0]):
            near = True
            for i in range(search.gradient.shape[0]):
                x = theta_map.position[i] if i < n else first + i - n
                scale = path.lam[x] if i < n else 1.0
                moved = history.points[h, x] - history.points[h - 1, x]
                search.secant_step[i] = moved / scale if scale != 0.0 else 0.0
                search.secant_change[i] = scale * (history.grads[h, x] - history.grads[h - 1, x])
                near = near and (i >= n or abs(search.secant_step[i]) < NEAR)
            if near:
                add_secant(search)
    elif search.counts[ITERATIONS] > 0:
        add_secant(search)


@inner_kernel
def record(path: Path, history: History) -> None:
    """Remember the point just accepted; the oldest is forgotten where there is no room."""
    most = history.points.shape[0]
    if history.kept[0] == most:
        for h in range(1, most):
            for x in range(path.lam.shape[0]):
                history.points[h - 1, x] = history.points[h, x]
                history.grads[h - 1, x] = history.grads[h, x]
        history.kept[0] -= 1
    h = history.kept[0]
    for x in range(path.lam.shape[0]):
        history.points[h, x] = path.lam[x]
        history.grads[h, x] = path.grad[x]
    history.kept[0] = h + 1


@inner_kernel
def go_on(search: Search, before: float, action: int) -> int:
    """Take one more step where the last gain was above the rounding of the criterion and the next one is not: ``before`` is the
    decrement at the last point but one."""
    real = search.real
    short = action == CONVERGED and real[DECREMENT] > real[TOLERANCE] and before > real[NOISE]
    if not short or search.counts[EVALUATIONS] >= search.counts[LIMIT]:
        return action
    real[SLOPE] = -real[DECREMENT]
    real[STEP] = 1.0
    search.counts[BACKTRACKS] = 0
    return EVALUATE


@inner_kernel
def accept(
    theta_map: ThetaMap, search: Search, inner: Search, path: Path, history: History, extra_hessian: Float
) -> int:
    """Tell the search gradient, model of the Hessian and secant pair at the trial, now accepted. ``inner`` has those of the
    covariance parameters, with the average information as its Hessian; the other parameters end a point and are searched as
    they are, each step at most ``REACH`` of their standard errors."""
    n = theta_map.position.shape[0]
    first = path.lam.shape[0] - extra_hessian.shape[0]
    pull_back(theta_map, path.trial, path.trial_grad, inner.gradient, inner.hessian, inner.reach)
    secant_pair(theta_map, path.trial, path.trial_grad, path.follow, path.follow_grad, inner.secant_step, inner.secant_change)
    for i in range(n):
        search.gradient[i] = inner.gradient[i]
        search.reach[i] = inner.reach[i]
        search.secant_step[i] = inner.secant_step[i]
        search.secant_change[i] = inner.secant_change[i]
        for j in range(search.gradient.shape[0]):
            search.hessian[i, j] = inner.hessian[i, j] if j < n else 0.0
    for i in range(extra_hessian.shape[0]):
        c = first + i
        search.gradient[n + i] = path.trial_grad[c]
        search.reach[n + i] = REACH / math.sqrt(0.5 * extra_hessian[i, i])
        search.secant_step[n + i] = path.trial[c] - path.follow[c]
        search.secant_change[n + i] = path.trial_grad[c] - path.follow_grad[c]
        for j in range(n):
            search.hessian[n + i, j] = 0.0
        for j in range(extra_hessian.shape[0]):
            search.hessian[n + i, n + j] = extra_hessian[i, j]
    for i in range(path.lam.shape[0]):
        path.lam[i] = path.trial[i]
        path.grad[i] = path.trial_grad[i]
    record(path, history)
    if search.counts[ITERATIONS] > 0:
        make_positive(search)
        if newton_direction(search) > SLOW * search.real[DECREMENT]:
            learn(theta_map, search, path, history)
    return go_on(search, search.real[DECREMENT], propose(search))


@kernel
def accept_point(
    theta_map: ThetaMap, search: Search, inner: Search, path: Path, history: History, extra_hessian: Float
) -> int:
    """``accept`` for Python."""
    return accept(theta_map, search, inner, path, history, extra_hessian)


@inner_kernel
def step(theta_map: ThetaMap, search: Search, inner: Search, path: Path) -> None:
    """Set the next trial."""
    n = theta_map.position.shape[0]
    for i in range(n):
        inner.direction[i] = search.direction[i]
    for i in range(path.lam.shape[0]):
        path.follow[i] = path.lam[i]
        path.follow_grad[i] = path.grad[i]
    displace(theta_map, path.lam, inner.direction, search.real[STEP], path.trial)
    first = path.lam.shape[0] - (search.direction.shape[0] - n)
    for i in range(search.direction.shape[0] - n):
        path.trial[first + i] = path.lam[first + i] + search.real[STEP] * search.direction[n + i]
    orthogonalize(theta_map, path.trial, path.follow, path.follow_grad)


@kernel
def step_point(theta_map: ThetaMap, search: Search, inner: Search, path: Path) -> None:
    """``step`` for Python."""
    step(theta_map, search, inner, path)
