"""The profiled criterion, its gradient, and the minimization in compiled code: one thread, one chunk after the other.

``stages`` cuts the same evaluation into tasks for several threads. A model with neither ``chain`` nor ``trunk`` has one
grouping factor, and its blocks are worked on in lanes.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inline_kernel, kernel, quick_kernel
from mixeff_fast.kernels.covariance import displace, orthogonalize, pull_back, secant_pair
from mixeff_fast.kernels.dense import factor_trunk, invert_trunk, load, receive
from mixeff_fast.kernels.factor import eliminate, factor_border, sum_border, take_trunk
from mixeff_fast.kernels.gradient import (
    invert_blocks,
    invert_border,
    read_trunk,
    solve_blocks,
    solve_border,
    solve_trunk,
    sum_gradient,
)
from mixeff_fast.kernels.information import block_information, finish_information, trunk_information
from mixeff_fast.kernels.lanes import eliminate_lanes, information_lanes, invert_lanes, solve_lanes
from mixeff_fast.kernels.optimizer import ACCEPTED, EVALUATE, STEP, judge, propose

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Path,
        Plan,
        Scoring,
        ThetaMap,
        Workspace,
    )

# what ``run`` is asked for, instead of a number of evaluations: the criterion at ``path.trial``; the selected inverse of the
# random-effects rows; the solution column; gradient and model of the Hessian for the search
CRITERION, CONDITIONAL, SOLUTION, SCORED = -1, -2, -3, -4
# places in ``Workspace.result``
OBJECTIVE, PIVOT, LOGDET = 0, 1, 2


@inline_kernel
def criterion(plan: Plan, work: Workspace, logdet: float, reml: bool, dof: float) -> float:
    """-2 log-likelihood (ML) or the REML criterion from a finished factorization, infinite where it failed.

    ``log|M_RE| [+ log|M_X|] + dof (1 + log(2 pi r^2 / dof))``, dof = n or n - p.
    """
    p = plan.border - 1
    low = work.border
    r = low[p, p]
    value = math.inf
    if math.isfinite(logdet):
        value = logdet + dof * (1.0 + math.log(2.0 * math.pi * r * r / dof))
        if reml:
            for j in range(p):
                value += 2.0 * math.log(low[j, j])
    work.result[OBJECTIVE] = value
    work.result[PIVOT] = r
    work.result[LOGDET] = logdet
    return value


@kernel(quick=True)
def rounding(total: float, rest: float, dof: float) -> float:
    """Rounding error of the criterion, whose r^2 (``rest``) is what cancellation leaves of y'y (``total``)."""
    return 2e-15 * dof * (2.0 + total / rest)


@inline_kernel
def evaluate(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, reml: bool,
    dof: float
) -> float:
    """Factor at ``lam``; the criterion."""
    n_chunks = work.chunk_logdet.shape[0]
    if trunk is None:
        if chain is None:
            for c in range(n_chunks):
                eliminate_lanes(plan, cross, lam, work, c)
        else:
            for c in range(n_chunks):
                eliminate(plan, cross, lam, work, chain, c)
    else:
        for c in range(n_chunks):
            eliminate(plan, cross, lam, work, chain, c)
    logdet = sum_border(plan, cross, work)
    if trunk is not None:
        receive(plan, work, trunk, 0, 1)
        load(plan, cross, lam, trunk, work.scratch_small[0])
        if factor_trunk(trunk) != 0:
            logdet = math.nan
        else:
            logdet += take_trunk(plan, work, trunk)
    return criterion(plan, work, factor_border(work, logdet), reml, dof)


@inline_kernel
def invert(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, c: float,
    n_fixed: int, want_gradient: bool, grad: Float
) -> None:
    """Selected inverse plus ``c w w'``, which overwrites the trunk's factor, and the gradient it gives."""
    invert_border(plan, work, c, n_fixed)
    n_chunks = work.chunk_logdet.shape[0]
    if trunk is None:
        if chain is None:
            for chunk in range(n_chunks):
                invert_lanes(plan, cross, lam, work, chunk, want_gradient)
        else:
            for chunk in range(n_chunks - 1, -1, -1):
                invert_blocks(plan, cross, lam, work, chain, trunk, None, None, chunk, want_gradient)
    else:
        invert_trunk(plan, work, trunk)
        for chunk in range(n_chunks - 1, -1, -1):
            invert_blocks(plan, cross, lam, work, chain, trunk, None, None, chunk, want_gradient)
        read_trunk(plan, cross, lam, work, trunk, None, want_gradient)
    if want_gradient:
        sum_gradient(work, grad)


@inline_kernel
def solve(plan: Plan, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, request: int) -> None:
    """The random effects of the solution column, where they are asked for or ``score`` reads them."""
    n_chunks = work.chunk_logdet.shape[0]
    if trunk is None:
        if chain is None:
            if request == SOLUTION:
                for chunk in range(n_chunks):
                    solve_lanes(plan, work, chunk)
        else:
            for chunk in range(n_chunks - 1, -1, -1):
                solve_blocks(plan, work, chunk)
    else:
        for chunk in range(n_chunks - 1, -1, -1):
            solve_blocks(plan, work, chunk)


@inline_kernel
def score(
    plan: Plan, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, theta_map: ThetaMap, scoring: Scoring,
    dof: float, hessian: Float
) -> None:
    """The average information, from factor and solution."""
    n_chunks = scoring.slope.shape[0]
    if trunk is None:
        if chain is None:
            for c in range(n_chunks):
                information_lanes(plan, work, theta_map, scoring, c)
        else:
            for c in range(n_chunks):
                block_information(plan, work, theta_map, scoring, chain, c)
    else:
        block_information(plan, work, theta_map, scoring, chain, 0)
        trunk_information(plan, work, trunk, theta_map, scoring)
    r = work.result[PIVOT]
    finish_information(plan, work, scoring, dof / (r * r), dof, hessian)


@inline_kernel
def accept(theta_map: ThetaMap, search: Search, path: Path) -> int:
    """Tell the search gradient, model of the Hessian (``search.hessian``) and secant pair at the trial, now accepted."""
    pull_back(theta_map, path.trial, path.trial_grad, search.gradient, search.hessian, search.reach)
    secant_pair(theta_map, path.trial, path.trial_grad, path.follow, path.follow_grad, search.secant_step,
                search.secant_change)
    for i in range(path.lam.shape[0]):
        path.lam[i] = path.trial[i]
        path.grad[i] = path.trial_grad[i]
    return propose(search)


@inline_kernel
def step(theta_map: ThetaMap, search: Search, path: Path) -> None:
    """Set the next trial."""
    for i in range(path.lam.shape[0]):
        path.follow[i] = path.lam[i]
        path.follow_grad[i] = path.grad[i]
    displace(theta_map, path.lam, search.direction, search.real[STEP], path.trial)
    orthogonalize(theta_map, path.trial, path.follow, path.follow_grad)


@quick_kernel
def gradients_at(
    plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, reml: bool, dof: float,
    lams: Float, values: Float, grads: Float
) -> None:
    """Criterion and gradient at every row of ``lams``; a gradient is NaN where the criterion is infinite."""
    n_fixed = plan.border - 1 if reml else 0
    # a constant would have the inversion compiled once more, for that constant
    whole = lams.shape[0] > 0
    for k in range(lams.shape[0]):
        lam = lams[k]
        values[k] = evaluate(plan, cross, lam, work, chain, trunk, reml, dof)
        if math.isfinite(values[k]):
            r = work.result[PIVOT]
            solve_border(plan, work, trunk)
            invert(plan, cross, lam, work, chain, trunk, dof / (r * r), n_fixed, whole, grads[k])
        else:
            for i in range(lam.shape[0]):
                grads[k, i] = math.nan


@kernel(quick=True)
def gradients(
    plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, reml: bool, dof: float,
    lams: Float, values: Float, grads: Float, roots: Float
) -> None:
    """``gradients_at`` for Python. If there are ``roots``, they become the fixed effects' part of every factorization over the
    root of its penalized residual sum of squares: lower triangles, whose upper parts are left alone."""
    for k in range(lams.shape[0]):
        gradients_at(plan, cross, work, chain, trunk, reml, dof, lams[k : k + 1], values[k : k + 1], grads[k : k + 1])
        if roots.shape[0] > 0:
            for i in range(plan.border - 1):
                for j in range(i + 1):
                    roots[k, i, j] = work.border[i, j] / work.result[PIVOT]


@kernel
def marginal(
    plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, reml: bool, dof: float,
    lam: Float, border: Float, effects: Float, grad: Float
) -> bool:
    """What ``V^{-1} = W - WZ Lambda M^{-1} Lambda'Z'W`` is to the random effects at ``lam``; False where the factorization
    fails.

    Fills ``effects`` (columns, random effects) with ``M^{-1} Lambda'Z'WX`` times the rows of ``border`` (columns, p), and
    ``grad`` with the derivatives of ``log|M|`` by every entry of every Lambda, ``2 sum_levels Z'V^{-1}Z Lambda``.
    """
    if not math.isfinite(evaluate(plan, cross, lam, work, chain, trunk, reml, dof)):
        return False
    w = work.solution
    f0 = plan.trunk_start + plan.trunk_size
    p = plan.border - 1
    for i in range(border.shape[0]):
        for j in range(p):
            w[f0 + j] = -border[i, j]
        w[f0 + p] = 0.0
        if trunk is not None:
            solve_trunk(plan, work, trunk)
        solve(plan, work, chain, trunk, SOLUTION)
        for j in range(f0):
            effects[i, j] = w[j]
    # a constant would have the inversion compiled once more, for that constant
    whole = lam.shape[0] > 0
    invert(plan, cross, lam, work, chain, trunk, 0.0, 0 if whole else p, whole, grad)
    return True


@kernel(quick=True)
def run(
    plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, theta_map: ThetaMap,
    scoring: Scoring, search: Search, path: Path, reml: bool, dof: float, request: int
) -> int:
    """Go on with the search from ``path.trial`` for ``request`` evaluations or to its end; returns what comes next. Or
    serve one of the requests above.

    The search is told gradient, model of the Hessian and secant pair where it accepts the trial.
    """
    n_fixed = plan.border - 1 if reml else 0
    action = EVALUATE
    while action == EVALUATE and request != 0:
        if request > 0:
            request -= 1
        f = evaluate(plan, cross, path.trial, work, chain, trunk, reml, dof)
        if request == CRITERION or (not math.isfinite(f) and request < 0):
            return action
        r = work.result[PIVOT]
        if request >= 0:
            action = judge(search, f, rounding(cross.border[plan.border - 1, plan.border - 1], r * r, dof))
        if action == ACCEPTED or request < 0:
            solve_border(plan, work, trunk)
            solve(plan, work, chain, trunk, request)
            if request == SOLUTION:
                return action
            if request >= 0 or request == SCORED:
                score(plan, work, chain, trunk, theta_map, scoring, dof, search.hessian)
            whole = request != CONDITIONAL
            c = dof / (r * r) if whole else 0.0
            invert(plan, cross, path.trial, work, chain, trunk, c, n_fixed if whole else 0, whole, path.trial_grad)
            if request == SCORED:
                pull_back(theta_map, path.trial, path.trial_grad, search.gradient, search.hessian, search.reach)
            if request < 0:
                return action
            action = accept(theta_map, search, path)
        if action == EVALUATE:
            step(theta_map, search, path)
    return action
