"""Selected inverse of the block factor and the exact gradient of the profiled criterion.

With ``S = M^{-1} + c w w'`` (M restricted to the random effects for ML, with the fixed effects for REML; ``c = nu /
r^2`` and ``w`` the solution column), ``d(deviance)/d(Lambda_k) = 2 sum_levels [A Lambda S]_jj``. Only entries of S on
the pattern of A are needed: Takahashi, Fagan & Chin (1973); Bates & DebRoy (2004), sec. 4. No division by Lambda takes
place, so the gradient is exact where Lambda is singular.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._lapack import inverse_from_cholesky
from mixeff_fast.kernels.factor import trunk_columns

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Plan, Workspace


@kernel
def solve_border(plan: Plan, work: Workspace) -> None:
    """Back-substitute the response column through the trunk: fixed effects and trunk random effects of ``w``."""
    n = plan.trunk_size + plan.border - 1
    t0 = plan.trunk_start
    trunk = work.trunk
    w = work.solution
    w[t0 + n] = 1.0
    for i in range(n):
        w[t0 + i] = -trunk[n, i]
    for i in range(n - 1, -1, -1):
        w[t0 + i] /= trunk[i, i]
        f = w[t0 + i]
        for j in range(i):
            w[t0 + j] -= f * trunk[i, j]


@kernel
def solve_blocks(plan: Plan, work: Workspace) -> None:
    """Back-substitute through the sparse blocks; ``solve_border`` comes first. Spherical effects are ``-w``."""
    w = work.solution
    for b in range(plan.n_sparse - 1, -1, -1):
        k = plan.block_factor[b]
        wd = plan.width[k]
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        c0 = plan.block_col[b]
        for i in range(wd):
            s = 0.0
            for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
                r = plan.neighbour[e]
                cr = plan.block_col[r]
                o = p0 + i * nc + plan.neighbour_off[e]
                for j in range(plan.width[plan.block_factor[r]]):
                    s += work.lower_panel[o + j] * w[cr + j]
            o = p0 + i * nc + nc - plan.border
            cr = plan.trunk_start + plan.trunk_size
            for j in range(plan.border):
                s += work.lower_panel[o + j] * w[cr + j]
            w[c0 + i] = -s
        d0 = plan.diag_ptr[b]
        for i in range(wd - 1, -1, -1):
            w[c0 + i] /= work.lower_diag[d0 + i * wd + i]
            f = w[c0 + i]
            for j in range(i):
                w[c0 + j] -= f * work.lower_diag[d0 + i * wd + j]


@kernel
def trunk_inverse(plan: Plan, work: Workspace, c: float, n_fixed: int) -> None:
    """``inverse_trunk``: the inverse of the leading (trunk + n_fixed) block, zero elsewhere, plus ``c w w'``."""
    size = plan.trunk_size + plan.border
    n = plan.trunk_size + n_fixed
    s = work.inverse_trunk
    for i in range(size):
        for j in range(i + 1):
            s[i, j] = work.trunk[i, j] if i < n else 0.0
    if n > 0:
        inverse_from_cholesky(s, n)
    if c != 0.0:
        t0 = plan.trunk_start
        for i in range(size):
            f = c * work.solution[t0 + i]
            for j in range(i + 1):
                s[i, j] += f * work.solution[t0 + j]


@kernel
def add_own(plan: Plan, cross: CrossProduct, lam: Float, b: int, q: Float, sdiag: Float, grad: Float) -> None:
    """Block b's part of the gradient: its own factor's, and that of the neighbours it shares cross-products with."""
    k = plan.block_factor[b]
    w = plan.width[k]
    l0 = plan.lam_ptr[k]
    d0 = plan.diag_ptr[b]
    p0 = plan.panel_ptr[b]
    nc = plan.panel_cols[b]
    a = cross.panel
    for i in range(w):
        for u in range(w):
            s = 0.0
            for t in range(w):
                s += cross.diag[d0 + i * w + t] * lam[l0 + t * w + u]
            if s != 0.0:
                for j in range(w):
                    grad[l0 + i * w + j] += s * sdiag[u * w + j]
    for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
        kr = plan.block_factor[plan.neighbour[e]]
        wr = plan.width[kr]
        lr = plan.lam_ptr[kr]
        o = plan.neighbour_off[e]
        if w == 1 and wr == 1:
            f = a[p0 + o] * q[o]
            grad[l0] += f * lam[lr]
            grad[lr] += f * lam[l0]
            continue
        for i in range(w):
            for u in range(wr):
                s = 0.0
                for t in range(wr):
                    s += a[p0 + i * nc + o + t] * lam[lr + t * wr + u]
                for j in range(w):
                    grad[l0 + i * w + j] += s * q[j * nc + o + u]
        for u in range(w):
            for i in range(wr):
                s = 0.0
                for t in range(w):
                    s += lam[l0 + t * w + u] * a[p0 + t * nc + o + i]
                for j in range(wr):
                    grad[lr + i * wr + j] += s * q[u * nc + o + j]
    for i in range(w):
        for j in range(w):
            s = 0.0
            for x in range(nc - plan.border, nc):
                s += a[p0 + i * nc + x] * q[j * nc + x]
            grad[l0 + i * w + j] += s


@kernel
def gather_sparse(plan: Plan, work: Workspace, b: int, u: Float, q: Float) -> None:
    """``q -= u S_RR`` for the rows and columns of S that belong to sparse blocks."""
    w = plan.width[plan.block_factor[b]]
    nc = plan.panel_cols[b]
    end = plan.neighbour_ptr[b + 1]
    shift = plan.panel_ptr[plan.first_filled] if plan.first_filled < plan.n_sparse else 0
    for e in range(plan.neighbour_ptr[b], end):
        r = plan.neighbour[e]
        if r >= plan.n_sparse:
            break
        wr = plan.width[plan.block_factor[r]]
        o = plan.neighbour_off[e]
        d0 = plan.diag_ptr[r]
        for t in range(w):
            for i in range(wr):
                s = 0.0
                for j in range(wr):
                    s += u[t * nc + o + j] * work.inverse_diag[d0 + j * wr + i]
                q[t * nc + o + i] -= s
        pr = plan.panel_ptr[r] - shift
        ncr = plan.panel_cols[r]
        f = plan.neighbour_ptr[r]
        for e2 in range(e + 1, end + 1):
            if e2 < end:
                while plan.neighbour[f] != plan.neighbour[e2]:
                    f += 1
                ws = plan.width[plan.block_factor[plan.neighbour[e2]]]
                o2 = plan.neighbour_off[e2]
                source = pr + plan.neighbour_off[f]
            else:
                ws = plan.border
                o2 = nc - plan.border
                source = pr + ncr - plan.border
            for t in range(w):
                for i in range(wr):
                    ui = u[t * nc + o + i]
                    s = 0.0
                    for j in range(ws):
                        x = work.inverse_panel[source + i * ncr + j]
                        q[t * nc + o2 + j] -= ui * x
                        s += u[t * nc + o2 + j] * x
                    q[t * nc + o + i] -= s


@kernel
def selected_inverse(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, c: float, n_fixed: int, grad: Float
) -> None:
    """Fill ``inverse_diag`` (and what it needs) and, unless ``grad`` is empty, d(deviance)/d(Lambda), laid out as ``lam``.

    ``c = 0, n_fixed = 0`` gives the inverse of the random-effects rows alone (conditional variances).
    """
    want_gradient = grad.shape[0] > 0
    for i in range(grad.shape[0]):
        grad[i] = 0.0
    trunk_inverse(plan, work, c, n_fixed)
    strunk = work.inverse_trunk
    u = work.scratch_u
    q = work.scratch_q
    small = work.scratch_small
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        w = plan.width[plan.block_factor[b]]
        d0 = plan.diag_ptr[b]
        c0 = plan.block_col[b] - plan.trunk_start
        for i in range(w):
            for j in range(i + 1):
                x = strunk[c0 + i, c0 + j]
                work.inverse_diag[d0 + i * w + j] = x
                work.inverse_diag[d0 + j * w + i] = x
        if want_gradient:
            nc = plan.panel_cols[b]
            for i in range(w):
                for j in range(w):
                    small[i * w + j] = work.inverse_diag[d0 + i * w + j]
            o = 0
            for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
                r = plan.neighbour[e]
                cr = plan.block_col[r] - plan.trunk_start
                for j in range(plan.width[plan.block_factor[r]]):
                    for i in range(w):
                        q[i * nc + o] = strunk[cr + j, c0 + i]
                    o += 1
            for j in range(plan.border):
                for i in range(w):
                    q[i * nc + o + j] = strunk[plan.trunk_size + j, c0 + i]
            add_own(plan, cross, lam, b, q, small, grad)
    d = work.lower_diag
    v = work.lower_panel
    shift = plan.panel_ptr[plan.first_filled] if plan.first_filled < plan.n_sparse else 0
    for b in range(plan.n_sparse - 1, -1, -1):
        k = plan.block_factor[b]
        w = plan.width[k]
        d0 = plan.diag_ptr[b]
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        for i in range(w - 1, -1, -1):
            f = 1.0 / d[d0 + i * w + i]
            for x in range(nc):
                u[i * nc + x] = v[p0 + i * nc + x]
                q[i * nc + x] = 0.0
            for t in range(i + 1, w):
                g = d[d0 + t * w + i]
                for x in range(nc):
                    u[i * nc + x] -= g * u[t * nc + x]
            for x in range(nc):
                u[i * nc + x] *= f
        gather_sparse(plan, work, b, u, q)
        start = trunk_columns(plan, b, work.columns)
        for t in range(w):
            o = t * nc + start
            for x in range(nc - start):
                row = work.columns[x]
                ux = u[o + x]
                s = 0.0
                for y in range(x):
                    z = strunk[row, work.columns[y]]
                    q[o + y] -= ux * z
                    s += u[o + y] * z
                q[o + x] -= s + ux * strunk[row, row]
        # small = L^{-T} L^{-1} - Q U'
        for j in range(w):
            for i in range(w):
                s = 1.0 if i == j else 0.0
                for t in range(j, i):
                    s -= d[d0 + i * w + t] * small[w * w + t * w + j]
                small[w * w + i * w + j] = s / d[d0 + i * w + i] if i >= j else 0.0
        for i in range(w):
            for j in range(i + 1):
                s = 0.0
                for t in range(i, w):
                    s += small[w * w + t * w + i] * small[w * w + t * w + j]
                for x in range(nc):
                    s -= q[i * nc + x] * u[j * nc + x]
                small[i * w + j] = s
                small[j * w + i] = s
        for i in range(w * w):
            work.inverse_diag[d0 + i] = small[i]
        if b >= plan.first_filled:
            for i in range(w * nc):
                work.inverse_panel[p0 - shift + i] = q[i]
        if want_gradient:
            add_own(plan, cross, lam, b, q, small, grad)
    for i in range(grad.shape[0]):
        grad[i] *= 2.0
