"""Average information: the Hessian of the profiled criterion with its trace terms replaced by their observed partners.

Gilmour, Thompson & Cullis (1995), Biometrics 51, for variance components; here for every entry of every Lambda. With u
the spherical random effects, a step ``Lambda E`` changes the marginal covariance by D with ``D P y = Z Lambda beta``,
``beta = (E + E')u`` level by level, and since ``Lambda'Z'PZ Lambda = I - [M^{-1}]`` (M with the fixed effects) the
information ``c y'P D_s P D_t P y`` is ``c beta_s'(I - M^{-1})beta_t``: one half solve for each parameter, no inverse.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, small_kernel
from mixeff_fast.kernels._lapack import solve_lower

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import DenseTrunk, Float, Int64, Plan, Scoring, ThetaMap, Workspace


@small_kernel
def tangents(
    w: int, c0: int, first: int, last: int, owned: Int64, x_of: Int64, y_of: Int64, u: Float, beta: Float, slope: Float,
    hessian: Float
) -> None:
    """Fill ``beta`` with a block's rows of the betas of its own factor; add their products and slopes."""
    for e in range(first, last):
        t = owned[e]
        for i in range(w):
            beta[i, t] = 0.0
        x = x_of[t]
        y = y_of[t]
        beta[x, t] += u[c0 + y]
        beta[y, t] += u[c0 + x]
        slope[t] += 2.0 * u[c0 + x] * u[c0 + y]
        for f in range(first, e + 1):
            r = owned[f]
            s = 0.0
            for i in range(w):
                s += beta[i, t] * beta[i, r]
            hessian[max(t, r), min(t, r)] += s


@small_kernel
def half_solve(
    w: int, d0: int, d: Float, first: int, last: int, owned: Int64, beta: Float, hessian: Float
) -> None:
    """Half-solve a block's rows of the right-hand sides ``owned[first:last]``, and subtract their products."""
    for e in range(first, last):
        t = owned[e]
        for i in range(w):
            s = beta[i, t]
            for j in range(i):
                s -= d[d0 + i * w + j] * beta[j, t]
            beta[i, t] = s / d[d0 + i * w + i]
        for f in range(first, e + 1):
            r = owned[f]
            s = 0.0
            for i in range(w):
                s += beta[i, t] * beta[i, r]
            hessian[max(t, r), min(t, r)] -= s


@small_kernel
def push(
    w: int, v: Float, o: int, nc: int, columns: int, first: int, last: int, owned: Int64, beta: Float, out: Float, row: int
) -> None:
    """``out[row:] -= V'beta`` for some columns of a block's panel, which begin at ``o``."""
    for e in range(first, last):
        t = owned[e]
        for j in range(columns):
            s = 0.0
            for i in range(w):
                s += v[o + i * nc + j] * beta[i, t]
            out[row + j, t] -= s


@inner_kernel
def block_information(
    plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, chain: Float | None, chunk: int
) -> None:
    """The sums over a chunk of sparse blocks. A model with a trunk has one chunk here: they share the trunk's rows."""
    # taken out of their tuples once: every access counts a reference
    width, block_factor, block_col = plan.width, plan.block_factor, plan.block_col
    neighbour_ptr, neighbour, neighbour_off = plan.neighbour_ptr, plan.neighbour, plan.neighbour_off
    panel_ptr, panel_cols, diag_ptr = plan.panel_ptr, plan.panel_cols, plan.diag_ptr
    owned_ptr, own, every = theta_map.owned_ptr, theta_map.owned, scoring.every
    x_of, y_of = theta_map.x, theta_map.y
    d, v, u = work.lower_diag, work.lower_panel, work.solution
    chain_rows, trunk_rows = scoring.chain, scoring.trunk
    beta = scoring.beta[chunk]
    slope = scoring.slope[chunk]
    hessian = scoring.hessian[chunk]
    fixed = scoring.fixed[chunk]
    n = every.shape[0]
    slope[:] = 0.0
    hessian[:] = 0.0
    fixed[:] = 0.0
    if chunk == 0:
        chain_rows[:] = 0.0
        trunk_rows[:] = 0.0
    for b in range(scoring.chunk[chunk], scoring.chunk[chunk + 1]):
        k = block_factor[b]
        w = width[k]
        d0 = diag_ptr[b]
        nc = panel_cols[b]
        first = owned_ptr[k]
        last = owned_ptr[k + 1]
        active = own
        filled = chain is not None and b >= plan.first_filled
        if filled:
            for i in range(w):
                for t in range(n):
                    beta[i, t] = 0.0
        tangents(w, block_col[b], first, last, own, x_of, y_of, u, beta, slope, hessian)
        if filled:
            row = block_col[b] - scoring.chain_start
            for i in range(w):
                for t in range(n):
                    beta[i, t] += chain_rows[row + i, t]
            active = every
            first = 0
            last = n
        half_solve(w, d0, d, first, last, active, beta, hessian)
        for e in range(neighbour_ptr[b], neighbour_ptr[b + 1]):
            r = neighbour[e]
            columns = width[block_factor[r]]
            o = panel_ptr[b] + neighbour_off[e]
            if r < plan.n_sparse:
                push(w, v, o, nc, columns, first, last, active, beta, chain_rows, block_col[r] - scoring.chain_start)
            else:
                push(w, v, o, nc, columns, first, last, active, beta, trunk_rows, block_col[r] - plan.trunk_start)
        push(w, v, panel_ptr[b] + nc - plan.border, nc, plan.border - 1, first, last, active, beta, fixed, scoring.zero)


@inner_kernel
def trunk_tangents(plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring) -> None:
    """The trunk's own tangents."""
    beta = scoring.beta[0]
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        tangents(plan.width[k], plan.block_col[b], theta_map.owned_ptr[k], theta_map.owned_ptr[k + 1], theta_map.owned,
                 theta_map.x, theta_map.y, work.solution, beta, scoring.slope[0], scoring.hessian[0])
        row = plan.block_col[b] - plan.trunk_start
        for e in range(theta_map.owned_ptr[k], theta_map.owned_ptr[k + 1]):
            t = theta_map.owned[e]
            for i in range(plan.width[k]):
                scoring.trunk[row + i, t] += beta[i, t]


@inner_kernel
def trunk_products(scoring: Scoring) -> None:
    """Subtract the products of the trunk's half-solved right-hand sides."""
    rows = scoring.trunk
    n = rows.shape[1]
    for x in range(rows.shape[0]):
        for t in range(n):
            for r in range(t + 1):
                scoring.hessian[0, t, r] -= rows[x, t] * rows[x, r]


@inner_kernel
def trunk_information(plan: Plan, work: Workspace, trunk: DenseTrunk, theta_map: ThetaMap, scoring: Scoring) -> None:
    """A dense trunk's part: its own tangents, the half solve, and what it leaves for the fixed effects."""
    trunk_tangents(plan, work, theta_map, scoring)
    rows = scoring.trunk
    n = rows.shape[1]
    m = plan.trunk_size
    values = trunk.values
    solve_lower(values, m, rows, n, False)
    trunk_products(scoring)
    for i in range(plan.border - 1):
        for x in range(m):
            f = values[m + i, x]
            for t in range(n):
                scoring.fixed[0, i, t] -= f * rows[x, t]


@inner_kernel
def finish_information(plan: Plan, work: Workspace, scoring: Scoring, precision: float, dof: float, hessian: Float) -> None:
    """Sum the chunks, take the fixed effects out, and scale by the ``precision`` (that of the residuals): the average
    information in the coordinates E. The residual variance is profiled out of ``dof`` degrees of freedom: of infinitely many
    where it is known."""
    n = hessian.shape[0]
    p = plan.border - 1
    low = work.border
    fixed = scoring.fixed[0]
    slope = scoring.slope[0]
    for c in range(1, scoring.slope.shape[0]):
        for t in range(n):
            slope[t] += scoring.slope[c, t]
            for i in range(p):
                fixed[i, t] += scoring.fixed[c, i, t]
    for i in range(p):
        for t in range(n):
            s = fixed[i, t]
            for j in range(i):
                s -= low[i, j] * fixed[j, t]
            fixed[i, t] = s / low[i, i]
    for i in range(n):
        for j in range(i + 1):
            s = 0.0
            for c in range(scoring.hessian.shape[0]):
                s += scoring.hessian[c, i, j]
            for x in range(p):
                s -= fixed[x, i] * fixed[x, j]
            s = precision * s - precision * precision / dof * slope[i] * slope[j]
            hessian[i, j] = s
            hessian[j, i] = s
