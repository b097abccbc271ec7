"""Average information: the Hessian of the profiled criterion with its trace terms replaced by their observed partners.

Gilmour, Thompson & Cullis (1995), Biometrics 51, for variance components; here for every entry of every Lambda. With u
the spherical random effects, a step ``Lambda E`` changes the marginal covariance by D with ``D P y = Z Lambda beta``,
``beta = (E + E')u`` level by level, and since ``Lambda'Z'PZ Lambda = I - [M^{-1}]`` (M with the fixed effects) the
information ``c y'P D_s P D_t P y`` is ``c beta_s'(I - M^{-1})beta_t``: one half solve for each parameter, no inverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._lapack import rank_k_update, solve_lower

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Plan, Scoring, ThetaMap, Workspace


@kernel
def tangents(plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, b: int, hessian: Float) -> None:
    """Fill ``scoring.beta`` with block b's rows of the betas of its own factor; add their products and slopes."""
    k = plan.block_factor[b]
    w = plan.width[k]
    c0 = plan.block_col[b]
    u = work.solution
    beta = scoring.beta
    first = theta_map.owned_ptr[k]
    last = theta_map.owned_ptr[k + 1]
    for e in range(first, last):
        t = theta_map.owned[e]
        for i in range(w):
            beta[i, t] = 0.0
        term = theta_map.term[t]
        x = theta_map.first[term] + theta_map.row[t]
        y = theta_map.first[term] + theta_map.column[t]
        beta[x, t] += u[c0 + y]
        beta[y, t] += u[c0 + x]
        scoring.slope[t] += 2.0 * u[c0 + x] * u[c0 + y]
        for f in range(first, e + 1):
            r = theta_map.owned[f]
            s = 0.0
            for i in range(w):
                s += beta[i, t] * beta[i, r]
            hessian[max(t, r), min(t, r)] += s


@kernel
def eliminate(plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, b: int, hessian: Float) -> None:
    """Half-solve block b's rows of the right-hand sides, subtract their products, and push them to later rows."""
    k = plan.block_factor[b]
    w = plan.width[k]
    d0 = plan.diag_ptr[b]
    p0 = plan.panel_ptr[b]
    nc = plan.panel_cols[b]
    beta = scoring.beta
    d = work.lower_diag
    filled = b >= plan.first_filled
    first = theta_map.owned_ptr[k]
    n_active = hessian.shape[0] if filled else theta_map.owned_ptr[k + 1] - first
    for x in range(n_active):
        t = x if filled else theta_map.owned[first + x]
        for i in range(w):
            s = beta[i, t]
            for j in range(i):
                s -= d[d0 + i * w + j] * beta[j, t]
            beta[i, t] = s / d[d0 + i * w + i]
        for y in range(x + 1):
            r = y if filled else theta_map.owned[first + y]
            s = 0.0
            for i in range(w):
                s += beta[i, t] * beta[i, r]
            hessian[max(t, r), min(t, r)] -= s
        for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
            r = plan.neighbour[e]
            o = p0 + plan.neighbour_off[e]
            sparse = r < plan.n_sparse
            row = plan.block_col[r] - (scoring.chain_start if sparse else plan.trunk_start)
            for j in range(plan.width[plan.block_factor[r]]):
                s = 0.0
                for i in range(w):
                    s += work.lower_panel[o + i * nc + j] * beta[i, t]
                if sparse:
                    scoring.chain[row + j, t] -= s
                else:
                    scoring.trunk[row + j, t] -= s
        o = p0 + nc - plan.border
        for j in range(plan.border - 1):
            s = 0.0
            for i in range(w):
                s += work.lower_panel[o + i * nc + j] * beta[i, t]
            scoring.trunk[plan.trunk_size + j, t] -= s


@kernel
def average_information(
    plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, dof: float, hessian: Float
) -> None:
    """Fill ``hessian`` in the coordinates E; ``work`` holds factor and solution at the same Lambda."""
    n = hessian.shape[0]
    beta = scoring.beta
    for t in range(n):
        scoring.slope[t] = 0.0
        for i in range(n):
            hessian[i, t] = 0.0
        for i in range(scoring.chain.shape[0]):
            scoring.chain[i, t] = 0.0
        for i in range(scoring.trunk.shape[0]):
            scoring.trunk[i, t] = 0.0
    for b in range(plan.n_sparse):
        filled = b >= plan.first_filled
        if filled:
            for i in range(beta.shape[0]):
                for t in range(n):
                    beta[i, t] = 0.0
        tangents(plan, work, theta_map, scoring, b, hessian)
        if filled:
            row = plan.block_col[b] - scoring.chain_start
            for i in range(plan.width[plan.block_factor[b]]):
                for t in range(n):
                    beta[i, t] += scoring.chain[row + i, t]
        eliminate(plan, work, theta_map, scoring, b, hessian)
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        tangents(plan, work, theta_map, scoring, b, hessian)
        row = plan.block_col[b] - plan.trunk_start
        for e in range(theta_map.owned_ptr[k], theta_map.owned_ptr[k + 1]):
            t = theta_map.owned[e]
            for i in range(plan.width[k]):
                scoring.trunk[row + i, t] += beta[i, t]
    rows = plan.trunk_size + plan.border - 1
    solve_lower(work.trunk, rows, scoring.trunk, n, False)
    rank_k_update(-1.0, scoring.trunk, True, rows, 1.0, hessian, n)
    r = work.trunk[rows, rows]
    c = dof / (r * r)
    for i in range(n):
        for j in range(i + 1):
            x = c * hessian[i, j] - c * c / dof * scoring.slope[i] * scoring.slope[j]
            hessian[i, j] = x
            hessian[j, i] = x
