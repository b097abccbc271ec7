"""Block Cholesky factor of ``[Lambda'Z'WZLambda + I, ...]`` by leaf and trunk.

Bates, Maechler, Bolker & Walker (2015), JSS 67(1), eq. 18 and sec. 5.4, extended by the border (X, y) so that the
profiled criterion is read off the pivots.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._lapack import cholesky_lower

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int64, Plan, Workspace


@kernel
def congruence(
    a: Float, a0: int, lda: int, rows: int, cols: int, lam: Float, left: int, right: int, out: Float, tmp: Float
) -> None:
    """``out = Lambda_left' A Lambda_right`` for a rows x cols block that lies row-major at ``a0``; ``out`` is packed."""
    if rows == 1 and cols == 1:
        out[0] = lam[left] * a[a0] * lam[right]
        return
    for i in range(rows):
        for j in range(cols):
            s = 0.0
            for t in range(cols):
                s += a[a0 + i * lda + t] * lam[right + t * cols + j]
            tmp[i * cols + j] = s
    for i in range(rows):
        for j in range(cols):
            s = 0.0
            for t in range(rows):
                s += lam[left + t * rows + i] * tmp[t * cols + j]
            out[i * cols + j] = s


@kernel
def load_trunk(plan: Plan, cross: CrossProduct, lam: Float, trunk: Float, small: Float, block_out: Float) -> None:
    """Write the scaled cross-product of trunk and border into the lower triangle of ``trunk``."""
    m = plan.trunk_size
    border = plan.border
    size = m + border
    for i in range(size):
        for j in range(i + 1):
            trunk[i, j] = 0.0
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        c0 = plan.block_col[b] - plan.trunk_start
        congruence(cross.diag, plan.diag_ptr[b], w, w, w, lam, l0, l0, block_out, small)
        for i in range(w):
            for j in range(i + 1):
                trunk[c0 + i, c0 + j] = block_out[i * w + j]
            trunk[c0 + i, c0 + i] += 1.0
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
            r = plan.neighbour[e]
            kr = plan.block_factor[r]
            wr = plan.width[kr]
            cr = plan.block_col[r] - plan.trunk_start
            congruence(cross.panel, p0 + plan.neighbour_off[e], nc, w, wr, lam, l0, plan.lam_ptr[kr], block_out,
                       small)
            for i in range(w):
                for j in range(wr):
                    trunk[cr + j, c0 + i] = block_out[i * wr + j]
        for i in range(w):
            for j in range(border):
                s = 0.0
                for t in range(w):
                    s += lam[l0 + t * w + i] * cross.panel[p0 + t * nc + nc - border + j]
                trunk[m + j, c0 + i] = s
    for i in range(border):
        for j in range(i + 1):
            trunk[m + i, m + j] = cross.border[i, j]


@kernel
def scale_panel(plan: Plan, cross: CrossProduct, lam: Float, b: int, accumulate: bool, out: Float, tmp: Float) -> None:
    """``out[panel b] (+)= Lambda_b' A_bR Lambda_R``; Lambda is the identity on the border."""
    k = plan.block_factor[b]
    w = plan.width[k]
    l0 = plan.lam_ptr[k]
    p0 = plan.panel_ptr[b]
    nc = plan.panel_cols[b]
    a = cross.panel
    for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
        kr = plan.block_factor[plan.neighbour[e]]
        wr = plan.width[kr]
        lr = plan.lam_ptr[kr]
        o = plan.neighbour_off[e]
        if wr == 1:
            for i in range(w):
                tmp[i * nc + o] = a[p0 + i * nc + o] * lam[lr]
        else:
            for i in range(w):
                for j in range(wr):
                    s = 0.0
                    for t in range(wr):
                        s += a[p0 + i * nc + o + t] * lam[lr + t * wr + j]
                    tmp[i * nc + o + j] = s
    for i in range(w):
        for c in range(nc - plan.border, nc):
            tmp[i * nc + c] = a[p0 + i * nc + c]
    for i in range(w):
        if not accumulate:
            for c in range(nc):
                out[p0 + i * nc + c] = 0.0
        for t in range(w):
            f = lam[l0 + t * w + i]
            if f != 0.0:
                for c in range(nc):
                    out[p0 + i * nc + c] += f * tmp[t * nc + c]


@kernel
def push_to_sparse(plan: Plan, b: int, diag: Float, panel: Float) -> None:
    """Subtract ``V_r'V_s`` from every later sparse block r that block b meets, and from r's own panel."""
    k = plan.block_factor[b]
    w = plan.width[k]
    p0 = plan.panel_ptr[b]
    nc = plan.panel_cols[b]
    end = plan.neighbour_ptr[b + 1]
    for e in range(plan.neighbour_ptr[b], end):
        r = plan.neighbour[e]
        if r >= plan.n_sparse:
            break
        wr = plan.width[plan.block_factor[r]]
        o = p0 + plan.neighbour_off[e]
        d0 = plan.diag_ptr[r]
        for i in range(wr):
            for j in range(i + 1):
                s = 0.0
                for t in range(w):
                    s += panel[o + t * nc + i] * panel[o + t * nc + j]
                diag[d0 + i * wr + j] -= s
        pr = plan.panel_ptr[r]
        ncr = plan.panel_cols[r]
        f = plan.neighbour_ptr[r]
        for e2 in range(e + 1, end):
            while plan.neighbour[f] != plan.neighbour[e2]:
                f += 1
            ws = plan.width[plan.block_factor[plan.neighbour[e2]]]
            o2 = p0 + plan.neighbour_off[e2]
            target = pr + plan.neighbour_off[f]
            for i in range(wr):
                for j in range(ws):
                    s = 0.0
                    for t in range(w):
                        s += panel[o + t * nc + i] * panel[o2 + t * nc + j]
                    panel[target + i * ncr + j] -= s
        o2 = p0 + nc - plan.border
        target = pr + ncr - plan.border
        for i in range(wr):
            for j in range(plan.border):
                s = 0.0
                for t in range(w):
                    s += panel[o + t * nc + i] * panel[o2 + t * nc + j]
                panel[target + i * ncr + j] -= s


@kernel
def trunk_columns(plan: Plan, b: int, columns: Int64) -> int:
    """Fill ``columns`` with the trunk positions of block b's trunk and border columns; return their start in the panel."""
    nc = plan.panel_cols[b]
    start = nc - plan.border
    n = 0
    for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
        r = plan.neighbour[e]
        if r >= plan.n_sparse:
            if n == 0:
                start = plan.neighbour_off[e]
            c = plan.block_col[r] - plan.trunk_start
            for j in range(plan.width[plan.block_factor[r]]):
                columns[n] = c + j
                n += 1
    for j in range(plan.border):
        columns[n] = plan.trunk_size + j
        n += 1
    return int(start)


@kernel
def factorize(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace) -> float:
    """Factor at ``lam``. Returns log|M_RE|, or NaN when a pivot is not positive; the factor is left in ``work``."""
    small = work.scratch_small
    m_bb = work.scratch_q
    trunk = work.trunk
    load_trunk(plan, cross, lam, trunk, small, m_bb)
    n_blocks = plan.n_sparse
    if n_blocks > plan.first_filled:
        last = n_blocks - 1
        kl = plan.block_factor[last]
        for i in range(plan.panel_ptr[plan.first_filled],
                       plan.panel_ptr[last] + plan.width[kl] * plan.panel_cols[last]):
            work.lower_panel[i] = 0.0
        for i in range(plan.diag_ptr[plan.first_filled], plan.diag_ptr[last] + plan.width[kl] * plan.width[kl]):
            work.lower_diag[i] = 0.0
    logdet = 0.0
    d = work.lower_diag
    v = work.lower_panel
    for b in range(n_blocks):
        k = plan.block_factor[b]
        w = plan.width[k]
        d0 = plan.diag_ptr[b]
        filled = b >= plan.first_filled
        congruence(cross.diag, d0, w, w, w, lam, plan.lam_ptr[k], plan.lam_ptr[k], m_bb, small)
        for i in range(w):
            for j in range(i + 1):
                s = m_bb[i * w + j]
                if i == j:
                    s += 1.0
                if filled:
                    s += d[d0 + i * w + j]
                for t in range(j):
                    s -= d[d0 + i * w + t] * d[d0 + j * w + t]
                if i == j:
                    if not s > 0.0:
                        return math.nan
                    logdet += math.log(s)
                    d[d0 + i * w + i] = math.sqrt(s)
                else:
                    d[d0 + i * w + j] = s / d[d0 + j * w + j]
        scale_panel(plan, cross, lam, b, filled, v, work.scratch_u)
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        for i in range(w):
            for t in range(i):
                f = d[d0 + i * w + t]
                for c in range(nc):
                    v[p0 + i * nc + c] -= f * v[p0 + t * nc + c]
            f = 1.0 / d[d0 + i * w + i]
            for c in range(nc):
                v[p0 + i * nc + c] *= f
        push_to_sparse(plan, b, d, v)
        start = trunk_columns(plan, b, work.columns)
        for t in range(w):
            q0 = p0 + t * nc + start
            for x in range(nc - start):
                f = v[q0 + x]
                if f != 0.0:
                    row = work.columns[x]
                    for y in range(x + 1):
                        trunk[row, work.columns[y]] -= f * v[q0 + y]
    if cholesky_lower(trunk, trunk.shape[0]) != 0:
        return math.nan
    for i in range(plan.trunk_size):
        logdet += 2.0 * math.log(trunk[i, i])
    return logdet
