"""The profiled criterion, its gradient, and the minimization in compiled code."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels.covariance import displace, orthogonalize, pull_back, secant_pair
from mixeff_fast.kernels.factor import factorize
from mixeff_fast.kernels.gradient import selected_inverse, solve_blocks, solve_border
from mixeff_fast.kernels.information import average_information
from mixeff_fast.kernels.optimizer import ACCEPTED, EVALUATE, STEP, judge, propose

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import CrossProduct, Float, Path, Plan, Scoring, ThetaMap, Workspace


@kernel
def criterion(plan: Plan, work: Workspace, logdet: float, reml: bool, dof: float) -> float:
    """-2 log-likelihood (ML) or the REML criterion from a finished factorization.

    ``log|M_RE| [+ log|M_X|] + dof (1 + log(2 pi r^2 / dof))``, dof = n or n - p.
    """
    m = plan.trunk_size
    p = plan.border - 1
    r = work.trunk[m + p, m + p]
    value = logdet + dof * (1.0 + math.log(2.0 * math.pi * r * r / dof))
    if reml:
        for j in range(p):
            value += 2.0 * math.log(work.trunk[m + j, m + j])
    return value


@kernel
def rounding(total: float, rest: float, dof: float) -> float:
    """Rounding error of the criterion, whose r^2 (``rest``) is what cancellation leaves of y'y (``total``)."""
    return 2e-15 * dof * (2.0 + total / rest)


@kernel
def evaluate(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, reml: bool, dof: float, grad_lam: Float
) -> float:
    """Criterion at ``lam``, infinite where the factorization fails; and, unless ``grad_lam`` is empty, its derivative with
    respect to every entry of ``lam``."""
    logdet = factorize(plan, cross, lam, work)
    if not math.isfinite(logdet):
        return math.inf
    if grad_lam.shape[0] > 0:
        last = plan.trunk_size + plan.border - 1
        r = work.trunk[last, last]
        solve_border(plan, work)
        selected_inverse(plan, cross, lam, work, dof / (r * r), last - plan.trunk_size if reml else 0, grad_lam)
    return criterion(plan, work, logdet, reml, dof)


@kernel
def advance(
    plan: Plan, cross: CrossProduct, work: Workspace, theta_map: ThetaMap, scoring: Scoring, search: Search,
    path: Path, reml: bool, dof: float, evaluations: int
) -> int:
    """Go on with the search from ``path.trial`` for so many evaluations or to its end; returns what comes next.

    The search is told gradient, model of the Hessian and secant pair where it accepts the trial.
    """
    last = plan.trunk_size + plan.border - 1
    action = EVALUATE
    while action == EVALUATE and evaluations > 0:
        evaluations -= 1
        logdet = factorize(plan, cross, path.trial, work)
        r = work.trunk[last, last]
        f = criterion(plan, work, logdet, reml, dof) if math.isfinite(logdet) else math.inf
        action = judge(search, f, rounding(cross.border[plan.border - 1, plan.border - 1], r * r, dof))
        if action == ACCEPTED:
            solve_border(plan, work)
            selected_inverse(plan, cross, path.trial, work, dof / (r * r), last - plan.trunk_size if reml else 0,
                             path.trial_grad)
            solve_blocks(plan, work)
            average_information(plan, work, theta_map, scoring, dof, search.hessian)
            pull_back(theta_map, path.trial, path.trial_grad, search.gradient, search.hessian, search.reach)
            secant_pair(theta_map, path.trial, path.trial_grad, path.follow, path.follow_grad, search.secant_step,
                        search.secant_change)
            for i in range(path.lam.shape[0]):
                path.lam[i] = path.trial[i]
                path.grad[i] = path.trial_grad[i]
            action = propose(search)
        if action == EVALUATE:
            for i in range(path.lam.shape[0]):
                path.follow[i] = path.lam[i]
                path.follow_grad[i] = path.grad[i]
            displace(theta_map, path.lam, search.direction, search.real[STEP], path.trial)
            orthogonalize(theta_map, path.trial, path.follow, path.follow_grad)
    return action
