"""Evaluations of Laplace's approximation one after another, on one thread: those of a search, or at the points that are given.

A point is one vector: every Lambda, the fixed effects unless they are profiled, the logarithm of the family's parameter if that
is estimated.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels import families, laplace, laplace_search, pirls, working
from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels.optimizer import ACCEPTED, DECREMENT, EVALUATE, EVALUATIONS, judge

if TYPE_CHECKING:
    from mixeff_fast.kernels.laplace import Family
    from mixeff_fast.kernels.laplace_search import History
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.pirls import Modes
    from mixeff_fast.kernels.rows import Rows
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Int64,
        Path,
        Plan,
        Scoring,
        ThetaMap,
        Workspace,
    )

# an old factorization serves only where no entry of Lambda has changed by a larger share
NEARBY = 0.1
# a search leaves the inner iterations a decrement in proportion to its own, until the next point may be its last: its gradient
# is one that differences are taken of
LOOSE, NEAR_END = 1e-10, 1e-6
# decrement of a search that has not begun
FAR = 1e4
# logarithms of the family's parameter that are so far from that of its natural size are not looked at
LOG_RANGE = 30.0
# steps of the differences of the parameter's own curvature, and its least value per row
PARAMETER_STEP, LEAST_CURVATURE = 1e-3, 1e-6
# rounding error of the criterion, relative to its size and the number of rows
ROUNDING = 4e-15

# places in ``Trail.state``
BORDERED, TIGHT = 0, 1


class Trail(NamedTuple):
    """What an evaluation is told of those before, and of the responses."""

    anchor: Float  # modes at the point accepted last, where evaluations start
    anchor_lam: Float  # and its Lambda
    factored: Float  # Lambda of the factorization at hand
    value: Float  # 1: the criterion computed last
    tolerance: float  # decrement of the inner iterations: twice the penalized deviance that they leave
    state: Int64  # whether that factorization is bordered; whether the last point was accepted at the least tolerance
    saturated: Float  # log-likelihood at means of the responses, and its slope in the logarithm of the family's parameter
    y: Float  # these responses, or those that stand for them
    trials: Float
    prior: Float
    scale: float  # the log-likelihood is ``scale`` times that of these, less ``power``
    power: float
    estimated: int  # 1 where the family's parameter is
    whole: float  # logarithm of that parameter's natural size


@inner_kernel
def find_saturated(family: Family, parameter: float, trail: Trail) -> None:
    total, slope = working.saturated(family.code, parameter, trail.y, trail.trials, trail.prior, 0, trail.y.shape[0])
    trail.saturated[0] = trail.scale * total - trail.power
    trail.saturated[1] = trail.scale * slope


@kernel
def saturate(family: Family, parameter: float, trail: Trail) -> None:
    """The saturated likelihood with some parameter."""
    find_saturated(family, parameter, trail)


@small_kernel
def leave(trail: Trail, modes: Modes, lam: Float) -> None:
    """Give the old factorization up if it is far from ``lam``."""
    for i in range(lam.shape[0]):
        if abs(lam[i] - trail.factored[i]) > NEARBY * abs(trail.factored[i]):
            modes.counts[pirls.USABLE] = 0


@kernel
def leave_far(trail: Trail, modes: Modes, lam: Float) -> None:
    leave(trail, modes, lam)


@inner_kernel
def deviance_slope(rows: Rows, family: Family, modes: Modes, parameter: float, found: float) -> float:
    """Of the deviances in the logarithm of the family's parameter, at the linear predictors that were found with ``found``."""
    if family.code != families.NEGATIVE_BINOMIAL:
        return -modes.real[pirls.DEVIANCE] * found / parameter  # type: ignore[no-any-return]
    return working.parameter_slopes(
        family.code, family.link, parameter, rows.y, rows.trials, rows.prior, modes.eta, modes.parameter_score,
        modes.parameter_weight, 0, rows.y.shape[0])


@inner_kernel
def extra_curvature(
    rows: Rows, family: Family, work: Workspace, modes: Modes, trail: Trail, n_beta: int, extra_hessian: Float
) -> None:
    """Model of the Hessian in the fixed effects, from the factorization's border, and in the logarithm of the family's
    parameter, linear predictors held fixed."""
    for i in range(n_beta):
        for j in range(i + 1):
            s = 0.0
            for k in range(j + 1):
                s += work.border[i, k] * work.border[j, k]
            extra_hessian[i, j] = extra_hessian[j, i] = 2.0 * s
    if trail.estimated == 1:
        here = modes.real[pirls.PARAMETER]
        value, slope = trail.saturated[0], trail.saturated[1]
        change = 0.0
        for side in range(2):
            sign = 1.0 if side == 1 else -1.0
            there = here * math.exp(sign * PARAMETER_STEP)
            find_saturated(family, there, trail)
            change += sign * (deviance_slope(rows, family, modes, there, here) - 2.0 * trail.saturated[1])
        trail.saturated[0], trail.saturated[1] = value, slope
        extra_hessian[n_beta, n_beta] = max(change / (2.0 * PARAMETER_STEP), LEAST_CURVATURE * rows.y.shape[0])


@inner_kernel
def finish_gradient(
    rows: Rows, plan: Plan, family: Family, work: Workspace, modes: Modes, trail: Trail, slope: float, scored: bool,
    lam_grad: Float, extra_hessian: Float, grad: Float
) -> None:
    """The gradient at a point, from that in Lambda, the sums over rows and the parameter's ``slope`` without the saturated
    likelihood; and with ``scored`` the Hessian's model beside the covariance parameters."""
    size = lam_grad.shape[0]
    q = plan.trunk_start + plan.trunk_size
    n_beta = grad.shape[0] - size - trail.estimated
    for i in range(size):
        grad[i] = lam_grad[i]
    for j in range(n_beta):
        grad[size + j] = modes.sums[q + j]
    if scored:
        extra_curvature(rows, family, work, modes, trail, n_beta, extra_hessian)
    if trail.estimated == 1:
        grad[size + n_beta] = slope - 2.0 * trail.saturated[1]
    elif not math.isfinite(slope):
        for i in range(grad.shape[0]):
            grad[i] = math.nan


@kernel
def finish_slopes(
    rows: Rows, plan: Plan, family: Family, work: Workspace, modes: Modes, trail: Trail, slope: float, scored: bool,
    lam_grad: Float, extra_hessian: Float, grad: Float
) -> None:
    """``finish_gradient`` for Python."""
    finish_gradient(rows, plan, family, work, modes, trail, slope, scored, lam_grad, extra_hessian, grad)


@inner_kernel
def evaluate(
    rows: Rows, plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, trail: Trail, point: Float, fixed: bool
) -> float:
    """The criterion at a point; infinite where there is none. The factorization is bordered by the fixed effects if
    ``fixed``."""
    size = trail.factored.shape[0]
    lam = point[:size]
    for c in range(modes.trial.shape[0]):
        modes.trial[c] = trail.anchor[c]
    if not joint:
        q = plan.trunk_start + plan.trunk_size
        for c in range(q, modes.trial.shape[0]):
            modes.trial[c] = point[size + c - q]
    if trail.estimated == 1:
        last = point[point.shape[0] - 1]
        if not abs(last - trail.whole) < LOG_RANGE:
            return math.inf
        parameter = math.exp(last)
        if parameter != modes.real[pirls.PARAMETER]:
            modes.real[pirls.PARAMETER] = parameter
            find_saturated(family, parameter, trail)
    leave(trail, modes, lam)
    before = modes.counts[pirls.FACTORS]
    fine = laplace.find_modes(rows, plan, cross, lam, work, chain, trunk, kept, family, modes, joint, fixed)
    if modes.counts[pirls.FACTORS] > before:
        for i in range(size):
            trail.factored[i] = lam[i]
    value = modes.real[pirls.J] + modes.real[pirls.LOGDET] - 2.0 * trail.saturated[0]
    if not fine or not math.isfinite(value):
        modes.counts[pirls.USABLE] = 0
        return math.inf
    return value  # type: ignore[no-any-return]


@small_kernel
def loosen(search: Search, modes: Modes, trail: Trail) -> None:
    """Set the tolerance of the inner iterations at the next point of a search."""
    ahead = search.real[DECREMENT] if search.counts[EVALUATIONS] > 0 else FAR
    far = ahead >= NEAR_END and math.isfinite(ahead)
    modes.real[pirls.TOLERANCE] = max(trail.tolerance, LOOSE * ahead) if far else trail.tolerance


@kernel
def loosen_inner(search: Search, modes: Modes, trail: Trail) -> None:
    """``loosen`` for Python."""
    loosen(search, modes, trail)


@small_kernel
def rounding(rows: Rows, value: float) -> float:
    """Rounding error of the criterion."""
    return ROUNDING * (rows.y.shape[0] + abs(value)) if math.isfinite(value) else 0.0


@small_kernel
def reached(trail: Trail, modes: Modes, point: Float) -> None:
    """Have evaluations start from the modes at hand, which are those at ``point``."""
    for c in range(trail.anchor.shape[0]):
        trail.anchor[c] = modes.u[c]
    for i in range(trail.anchor_lam.shape[0]):
        trail.anchor_lam[i] = point[i]


@kernel
def serve(
    rows: Rows, plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, panel: Float, theta_map: ThetaMap, scoring: Scoring,
    search: Search, inner: Search, path: Path, history: History, extra_hessian: Float, lam_grad: Float, trail: Trail,
    request: int, points: Float, values: Float, grads: Float
) -> int:
    """Go on with the search from ``path.trial`` for ``request`` evaluations or to its end; returns what comes next. With a
    ``request`` of 0, criterion and gradient at every row of ``points`` instead."""
    searching = request > 0
    left = request if searching else points.shape[0]
    size = lam_grad.shape[0]
    action = EVALUATE
    while action == EVALUATE and left > 0:
        k = points.shape[0] - left
        left -= 1
        point = path.trial if searching else points[k]
        grad = path.trial_grad if searching else grads[k]
        modes.real[pirls.TOLERANCE] = trail.tolerance
        if searching:
            loosen(search, modes, trail)
        f = evaluate(rows, plan, cross, work, chain, trunk, kept, family, modes, joint, trail, point, searching)
        trail.value[0] = f
        trail.state[BORDERED] = 1 if searching or joint else 0
        trail.state[TIGHT] = 0
        if searching:
            action = judge(search, f, rounding(rows, f))
            if action == ACCEPTED:
                reached(trail, modes, point)
        else:
            values[k] = f
        if action == ACCEPTED or (not searching and math.isfinite(f)):
            slope = laplace.slopes(rows, plan, cross, point[:size], work, chain, trunk, kept, family, modes, joint, panel,
                                   theta_map, scoring, searching, inner.hessian, lam_grad)
            finish_gradient(rows, plan, family, work, modes, trail, slope, searching, lam_grad, extra_hessian, grad)
            if family.canonical == 0:
                trail.state[BORDERED] = 0
        elif not searching:
            for i in range(grad.shape[0]):
                grad[i] = math.nan
        if action == ACCEPTED:
            trail.state[TIGHT] = 1 if modes.real[pirls.TOLERANCE] == trail.tolerance else 0
            action = laplace_search.accept(theta_map, search, inner, path, history, extra_hessian)
        if searching and action == EVALUATE:
            laplace_search.step(theta_map, search, inner, path)
    modes.real[pirls.TOLERANCE] = trail.tolerance
    return action
