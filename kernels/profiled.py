"""The profiled criterion and its gradient in the optimizer's coordinates, and the all-compiled minimization."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels.factor import factorize
from mixeff_fast.kernels.gradient import selected_inverse, solve_border
from mixeff_fast.kernels.optimizer import EVALUATE, advance

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int64, Plan, ThetaMap, Workspace


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
def evaluate(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, reml: bool, dof: float, grad_lam: Float
) -> float:
    """Criterion at ``lam`` and, unless ``grad_lam`` is empty, its derivative with respect to every entry of ``lam``."""
    logdet = factorize(plan, cross, lam, work)
    if not math.isfinite(logdet):
        return math.inf
    value = criterion(plan, work, logdet, reml, dof)
    if grad_lam.shape[0] > 0:
        last = plan.trunk_size + plan.border - 1
        r = work.trunk[last, last]
        solve_border(plan, work)
        selected_inverse(plan, cross, lam, work, dof / (r * r), last - plan.trunk_size if reml else 0, grad_lam)
    return value


@kernel
def coordinates_to_lam(theta_map: ThetaMap, psi: Float, lam: Float) -> None:
    """``theta = tau sinh(psi)`` on the diagonal (linear through zero, logarithmic far from it), ``tau psi`` off it."""
    for i in range(psi.shape[0]):
        tau = theta_map.scale[i]
        lam[theta_map.position[i]] = tau * math.sinh(psi[i]) if theta_map.diagonal[i] else tau * psi[i]


@kernel
def lam_to_coordinates(theta_map: ThetaMap, lam: Float, psi: Float) -> None:
    for i in range(psi.shape[0]):
        x = lam[theta_map.position[i]] / theta_map.scale[i]
        psi[i] = math.asinh(x) if theta_map.diagonal[i] else x


@kernel
def gradient_to_coordinates(theta_map: ThetaMap, psi: Float, grad_lam: Float, out: Float) -> None:
    for i in range(psi.shape[0]):
        jacobian = theta_map.scale[i] * (math.cosh(psi[i]) if theta_map.diagonal[i] else 1.0)
        out[i] = jacobian * grad_lam[theta_map.position[i]]


@kernel
def minimize(
    plan: Plan, cross: CrossProduct, work: Workspace, theta_map: ThetaMap, search: Search, lam: Float,
    grad_lam: Float, grad: Float, reml: bool, dof: float
) -> int:
    """Drive the search to its end without leaving compiled code; ``search.trial`` holds the start."""
    action = EVALUATE
    while action == EVALUATE:
        coordinates_to_lam(theta_map, search.trial, lam)
        f = evaluate(plan, cross, lam, work, reml, dof, grad_lam)
        if math.isfinite(f):
            gradient_to_coordinates(theta_map, search.trial, grad_lam, grad)
        action = advance(search, f, grad)
    coordinates_to_lam(theta_map, search.x, lam)
    return action


@kernel
def difference_columns(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, reml: bool, dof: float, free: Int64, step: Float,
    base: Float, central: bool, first: int, last: int, grad_lam: Float, out: Float
) -> int:
    """Rows ``first .. last-1`` of the Hessian over the entries ``free`` of ``lam``: differences of the exact gradient.

    ``base`` is the gradient at ``lam`` over ``free``; used when ``central`` is 0. Returns 0, or 1 when an evaluation
    failed.
    """
    for i in range(first, last):
        here = lam[free[i]]
        lam[free[i]] = here + step[i]
        ok = math.isfinite(evaluate(plan, cross, lam, work, reml, dof, grad_lam))
        for j in range(free.shape[0]):
            out[i, j] = grad_lam[free[j]]
        if central:
            lam[free[i]] = here - step[i]
            ok = ok and math.isfinite(evaluate(plan, cross, lam, work, reml, dof, grad_lam))
            for j in range(free.shape[0]):
                out[i, j] = (out[i, j] - grad_lam[free[j]]) / (2.0 * step[i])
        else:
            for j in range(free.shape[0]):
                out[i, j] = (out[i, j] - base[j]) / step[i]
        lam[free[i]] = here
        if not ok:
            return 1
    return 0
