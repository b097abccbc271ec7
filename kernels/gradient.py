"""Selected inverse of the block factor and the exact gradient of the profiled criterion.

With ``S = M^{-1} + c w w'`` (M restricted to the random effects for ML, with the fixed effects for REML; ``c = nu /
r^2`` and ``w`` the solution column), ``d(deviance)/d(Lambda_k) = 2 sum_levels [A Lambda S]_jj``. Only entries of S on
the pattern of A are needed: Takahashi, Fagan & Chin (1973); Bates & DebRoy (2004), sec. 4. No division by Lambda takes
place, so the gradient is exact where Lambda is singular. The recursion carries ``c w w'`` along from the border.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, small_kernel
from mixeff_fast.kernels._lapack import inverse_from_cholesky
from mixeff_fast.kernels._panels import multiply_at, multiply_symmetric_at
from mixeff_fast.kernels.dense import run_of_full, trunk_columns
from mixeff_fast.kernels.supernodal_gather import gather_supernodes

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Int32,
        Int64,
        Plan,
        SparseTrunk,
        Workspace,
    )

# rows of the panels of full blocks that are multiplied with the trunk's inverse at a time
RUN_ROWS = 128


@inner_kernel
def solve_trunk(plan: Plan, work: Workspace, trunk: DenseTrunk) -> None:
    """Back-substitute through a dense trunk: its part of ``w``, from the border's."""
    t0 = plan.trunk_start
    m = plan.trunk_size
    f0 = t0 + m
    w = work.solution
    values = trunk.values
    for j in range(m):
        w[t0 + j] = 0.0
    for i in range(plan.border):
        f = w[f0 + i]
        for j in range(m):
            w[t0 + j] -= f * values[m + i, j]
    for i in range(m - 1, -1, -1):
        w[t0 + i] /= values[i, i]
        f = w[t0 + i]
        for j in range(i):
            w[t0 + j] -= f * values[i, j]


@inner_kernel
def solve_border(plan: Plan, work: Workspace, trunk: DenseTrunk | None) -> None:
    """Back-substitute the response column through border and trunk: fixed effects and trunk random effects of ``w``."""
    p = plan.border - 1
    f0 = plan.trunk_start + plan.trunk_size
    low = work.border
    w = work.solution
    w[f0 + p] = 1.0
    for i in range(p):
        w[f0 + i] = -low[p, i]
    for i in range(p - 1, -1, -1):
        w[f0 + i] /= low[i, i]
        f = w[f0 + i]
        for j in range(i):
            w[f0 + j] -= f * low[i, j]
    if trunk is not None:
        solve_trunk(plan, work, trunk)


@inner_kernel
def solve_blocks(plan: Plan, work: Workspace, chunk: int) -> None:
    """Back-substitute through the sparse blocks of a chunk; ``solve_border`` comes first. Spherical effects are ``-w``."""
    w = work.solution
    d = work.lower_diag
    for b in range(work.chunk[chunk + 1] - 1, work.chunk[chunk] - 1, -1):
        wd = plan.width[plan.block_factor[b]]
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
            w[c0 + i] /= d[d0 + i * wd + i]
            f = w[c0 + i]
            for j in range(i):
                w[c0 + j] -= f * d[d0 + i * wd + j]


@inner_kernel
def invert_border(plan: Plan, work: Workspace, c: float, n_fixed: int) -> None:
    """``inverse_border``: the inverse of the leading ``n_fixed`` block, zero elsewhere, plus ``c w w'``."""
    size = plan.border
    s = work.inverse_border
    f0 = plan.trunk_start + plan.trunk_size
    for i in range(size):
        for j in range(i + 1):
            s[i, j] = work.border[i, j] if i < n_fixed else 0.0
    if n_fixed > 0:
        inverse_from_cholesky(s, n_fixed)
    for i in range(size):
        for j in range(i + 1):
            if c != 0.0:
                s[i, j] += c * work.solution[f0 + i] * work.solution[f0 + j]
            s[j, i] = s[i, j]


@small_kernel
def add_own(
    w: int, border: int, l0: int, d0: int, p0: int, nc: int, first: int, last: int, neighbour: Int32, neighbour_off: Int32,
    block_factor: Int32, width: Int64, lam_ptr: Int64, a_diag: Float, a: Float, lam: Float, q: Float, q0: int, s_bb: Float,
    grad: Float
) -> None:
    """A block's part of the gradient: its own factor's, and that of the neighbours it shares cross-products with. ``q``
    holds S on its panel from ``q0`` on, ``s_bb`` on its diagonal."""
    for i in range(w):
        for u in range(w):
            s = 0.0
            for t in range(w):
                s += a_diag[d0 + i * w + t] * lam[l0 + t * w + u]
            for j in range(w):
                grad[l0 + i * w + j] += s * s_bb[u * w + j]
    for e in range(first, last):
        kr = block_factor[neighbour[e]]
        wr = width[kr]
        lr = lam_ptr[kr]
        o = neighbour_off[e]
        if w == 1 and wr == 1:
            f = a[p0 + o] * q[q0 + o]
            grad[l0] += f * lam[lr]
            grad[lr] += f * lam[l0]
            continue
        for i in range(w):
            for u in range(wr):
                s = 0.0
                for t in range(wr):
                    s += a[p0 + i * nc + o + t] * lam[lr + t * wr + u]
                for j in range(w):
                    grad[l0 + i * w + j] += s * q[q0 + j * nc + o + u]
        for u in range(w):
            for i in range(wr):
                s = 0.0
                for t in range(w):
                    s += lam[l0 + t * w + u] * a[p0 + t * nc + o + i]
                for j in range(wr):
                    grad[lr + i * wr + j] += s * q[q0 + u * nc + o + j]
    for i in range(w):
        for j in range(w):
            s = 0.0
            for x in range(nc - border, nc):
                s += a[p0 + i * nc + x] * q[q0 + j * nc + x]
            grad[l0 + i * w + j] += s


@inner_kernel
def gather_sparse(plan: Plan, work: Workspace, chain: Float, b: int, u: Float, q: Float) -> None:
    """``q -= u S_RR`` for the rows and columns of S that belong to sparse blocks, whose panels of S are ``chain``."""
    w = plan.width[plan.block_factor[b]]
    nc = plan.panel_cols[b]
    end = plan.neighbour_ptr[b + 1]
    shift = plan.panel_ptr[plan.first_filled]
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
            ws = plan.border
            o2 = nc - plan.border
            source = pr + ncr - plan.border
            if e2 < end:
                while plan.neighbour[f] != plan.neighbour[e2]:
                    f += 1
                ws = plan.width[plan.block_factor[plan.neighbour[e2]]]
                o2 = plan.neighbour_off[e2]
                source = pr + plan.neighbour_off[f]
            for t in range(w):
                for i in range(wr):
                    ui = u[t * nc + o + i]
                    s = 0.0
                    for j in range(ws):
                        x = chain[source + i * ncr + j]
                        q[t * nc + o2 + j] -= ui * x
                        s += u[t * nc + o2 + j] * x
                    q[t * nc + o + i] -= s


@inner_kernel
def gather_trunk(
    plan: Plan, work: Workspace, trunk: DenseTrunk, b: int, u: Float, q: Float, columns: Int64
) -> None:
    """``q -= u S_RR`` for the rows and columns of S that belong to the trunk and to trunk and border."""
    w = plan.width[plan.block_factor[b]]
    nc = plan.panel_cols[b]
    m = plan.trunk_size
    values = trunk.values
    n = trunk_columns(plan, b, columns)
    start = nc - plan.border - n
    for t in range(w):
        o = t * nc + start
        for x in range(n):
            row = columns[x]
            ux = u[o + x]
            s = 0.0
            for y in range(x):
                z = values[row, columns[y]]
                q[o + y] -= ux * z
                s += u[o + y] * z
            q[o + x] -= s + ux * values[row, row]
        for i in range(plan.border):
            ux = u[o + n + i]
            s = 0.0
            for y in range(n):
                z = values[m + i, columns[y]]
                q[o + y] -= ux * z
                s += u[o + y] * z
            q[o + n + i] -= s


@inner_kernel
def gather_full(plan: Plan, trunk: DenseTrunk, rows: int, u: Float, q: Float) -> None:
    """``q = -u S_RR`` but for the border's own block, for panels that have every column of the trunk."""
    m = plan.trunk_size
    border = plan.border
    nc = m + border
    values = trunk.values
    multiply_symmetric_at(rows, m, -1.0, u, 0, nc, trunk.flat, 0, m, 0.0, q, 0, nc)
    multiply_at(False, False, rows, m, border, -1.0, u, m, nc, trunk.flat, m * m, m, 1.0, q, 0, nc)
    for r in range(rows):
        for i in range(border):
            s = 0.0
            for x in range(m):
                s += u[r * nc + x] * values[m + i, x]
            q[r * nc + m + i] = -s


@small_kernel
def turn_panel(d: Float, d0: int, v: Float, p0: int, w: int, nc: int, u: Float, u0: int) -> None:
    """``u = L_bb^{-T} V_b``, from ``u0`` on."""
    for i in range(w - 1, -1, -1):
        f = 1.0 / d[d0 + i * w + i]
        for x in range(nc):
            u[u0 + i * nc + x] = v[p0 + i * nc + x]
        for t in range(i + 1, w):
            g = d[d0 + t * w + i]
            for x in range(nc):
                u[u0 + i * nc + x] -= g * u[u0 + t * nc + x]
        for x in range(nc):
            u[u0 + i * nc + x] *= f


@small_kernel
def add_border(s_border: Float, w: int, nc: int, u: Float, q: Float, at: int) -> None:
    """``q -= u S`` for the border's own block of S."""
    border = s_border.shape[0]
    for t in range(w):
        o = at + t * nc + nc - border
        for j in range(border):
            s = 0.0
            for i in range(border):
                s += u[o + i] * s_border[i, j]
            q[o + j] -= s


@small_kernel
def own_inverse(d: Float, d0: int, w: int, nc: int, u: Float, q: Float, at: int, small: Float) -> None:
    """``S_bb = L^{-T} L^{-1} - Q U'``, in the first places of ``small``."""
    if w == 1:
        s = 1.0 / (d[d0] * d[d0])
        for x in range(nc):
            s -= q[at + x] * u[at + x]
        small[0] = s
        return
    ww = w * w
    for j in range(w):
        for i in range(j, w):
            s = 1.0 if i == j else 0.0
            for t in range(j, i):
                s -= d[d0 + i * w + t] * small[ww + t * w + j]
            small[ww + i * w + j] = s / d[d0 + i * w + i]
    for i in range(w):
        for j in range(i + 1):
            s = 0.0
            for t in range(i, w):
                s += small[ww + t * w + i] * small[ww + t * w + j]
            for x in range(nc):
                s -= q[at + i * nc + x] * u[at + j * nc + x]
            small[i * w + j] = s
            small[j * w + i] = s


@inner_kernel
def invert_blocks(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    sparse: SparseTrunk | None, panel: Float | None, chunk: int, want_gradient: bool
) -> None:
    """Selected inverse of a chunk's sparse blocks, last to first, and the chunk's gradient. ``sparse`` is a trunk of
    supernodes, if that is what there is instead of a dense one. ``panel`` is where the inverse's panels go, if they are
    wanted."""
    # taken out of their tuples once: every access counts a reference
    width, lam_ptr, block_factor, border = plan.width, plan.lam_ptr, plan.block_factor, plan.border
    neighbour_ptr, neighbour, neighbour_off = plan.neighbour_ptr, plan.neighbour, plan.neighbour_off
    panel_ptr, panel_cols, diag_ptr = plan.panel_ptr, plan.panel_cols, plan.diag_ptr
    a_diag, a = cross.diag, cross.panel
    d, v, s_diag, s_border = work.lower_diag, work.lower_panel, work.inverse_diag, work.inverse_border
    u = work.scratch_u[chunk]
    q = work.scratch_q[chunk]
    small = work.scratch_small[chunk]
    grad = work.chunk_grad[chunk]
    for i in range(grad.shape[0]):
        grad[i] = 0.0
    lo = work.chunk[chunk]
    # blocks from here on have their u and q, one after another
    ready = work.chunk[chunk + 1]
    for b in range(ready - 1, lo - 1, -1):
        k = block_factor[b]
        w = width[k]
        nc = panel_cols[b]
        d0 = diag_ptr[b]
        p0 = panel_ptr[b]
        at = 0
        if trunk is not None and run_of_full(plan, b, b + 1) > b:
            if b < ready:
                ready = b
                rows = w
                while ready > lo and run_of_full(plan, ready - 1, ready) == ready and rows + w <= RUN_ROWS:
                    ready -= 1
                    rows += w
                for j in range(ready, b + 1):
                    turn_panel(d, diag_ptr[j], v, panel_ptr[j], w, nc, u, (j - ready) * w * nc)
                gather_full(plan, trunk, rows, u, q)
            at = (b - ready) * w * nc
        else:
            turn_panel(d, d0, v, p0, w, nc, u, 0)
            for x in range(w * nc):
                q[x] = 0.0
            if chain is not None:
                gather_sparse(plan, work, chain, b, u, q)
            if trunk is not None:
                gather_trunk(plan, work, trunk, b, u, q, work.columns[chunk])
            if sparse is not None:
                gather_supernodes(plan, sparse, b, u, q, work.columns[chunk])
        add_border(s_border, w, nc, u, q, at)
        own_inverse(d, d0, w, nc, u, q, at, small)
        for i in range(w * w):
            s_diag[d0 + i] = small[i]
        if want_gradient:
            add_own(w, border, lam_ptr[k], d0, p0, nc, neighbour_ptr[b], neighbour_ptr[b + 1], neighbour, neighbour_off,
                    block_factor, width, lam_ptr, a_diag, a, lam, q, at, small, grad)
        if chain is not None and b >= plan.first_filled:
            shift = p0 - panel_ptr[plan.first_filled]
            for i in range(w * nc):
                chain[shift + i] = q[i]
        if panel is not None:
            for i in range(w * nc):
                panel[p0 + i] = q[at + i]


@inner_kernel
def read_trunk(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, trunk: DenseTrunk, panel: Float | None, want_gradient: bool
) -> None:
    """Copy the trunk's diagonal blocks of S to ``inverse_diag`` and add their gradient to the first chunk's. ``panel`` is where
    the inverse's panels go, if they are wanted."""
    values = trunk.values
    q = work.scratch_q[0]
    small = work.scratch_small[0]
    grad = work.chunk_grad[0]
    m = plan.trunk_size
    q_first = int(plan.diag_ptr[0])
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        w = plan.width[plan.block_factor[b]]
        d0 = plan.diag_ptr[b]
        c0 = plan.block_col[b] - plan.trunk_start
        for i in range(w):
            for j in range(i + 1):
                x = values[c0 + i, c0 + j]
                small[i * w + j] = x
                small[j * w + i] = x
        for i in range(w * w):
            work.inverse_diag[d0 + i] = small[i]
        if not want_gradient:
            continue
        nc = plan.panel_cols[b]
        o = 0
        for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
            r = plan.neighbour[e]
            cr = plan.block_col[r] - plan.trunk_start
            for j in range(plan.width[plan.block_factor[r]]):
                for i in range(w):
                    q[i * nc + o] = values[cr + j, c0 + i]
                o += 1
        for j in range(plan.border):
            for i in range(w):
                q[i * nc + o + j] = values[m + j, c0 + i]
        if panel is not None:
            for i in range(w * nc):
                panel[plan.panel_ptr[b] + i] = q[i]
        k = plan.block_factor[b]
        add_own(w, plan.border, plan.lam_ptr[k], d0, plan.panel_ptr[b], nc, plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1],
                plan.neighbour, plan.neighbour_off, plan.block_factor, plan.width, plan.lam_ptr, cross.diag, cross.panel, lam,
                q, q_first, small, grad)


@inner_kernel
def sum_gradient(work: Workspace, grad: Float) -> None:
    """Twice the sum of the chunks' gradients."""
    for i in range(grad.shape[0]):
        s = 0.0
        for c in range(work.chunk_grad.shape[0]):
            s += work.chunk_grad[c, i]
        grad[i] = 2.0 * s
