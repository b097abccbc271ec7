"""Block Cholesky factor of ``[Lambda'Z'WZLambda + I, ...]`` by leaf and trunk.

Bates, Maechler, Bolker & Walker (2015), JSS 67(1), eq. 18 and sec. 5.4, extended by the border (X, y) so that the
profiled criterion is read off the pivots.

``chain`` is None for a model whose sparse blocks are one factor's, ``trunk`` for one without a trunk: what such a model
does not need is not compiled.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, small_kernel
from mixeff_fast.kernels._lapack import cholesky_lower

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, DenseTrunk, Float, Plan, Workspace


@small_kernel
def scale_neighbours(plan: Plan, cross: CrossProduct, lam: Float, b: int, out: Float) -> None:
    """``out = A_bR Lambda_R``, width x panel_cols; Lambda is the identity on the border."""
    w = plan.width[plan.block_factor[b]]
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
                out[i * nc + o] = a[p0 + i * nc + o] * lam[lr]
            continue
        for i in range(w):
            for j in range(wr):
                s = 0.0
                for t in range(wr):
                    s += a[p0 + i * nc + o + t] * lam[lr + t * wr + j]
                out[i * nc + o + j] = s
    for i in range(w):
        for c in range(nc - plan.border, nc):
            out[i * nc + c] = a[p0 + i * nc + c]


@small_kernel
def push_to_sparse(plan: Plan, b: int, diag: Float, panel: Float) -> None:
    """Subtract ``V_r'V_s`` from every later sparse block r that block b meets, and from r's own panel."""
    w = plan.width[plan.block_factor[b]]
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
        for e2 in range(e + 1, end + 1):
            ws = plan.border
            o2 = p0 + nc - plan.border
            target = pr + ncr - plan.border
            if e2 < end:
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


@inner_kernel
def eliminate(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, chunk: int) -> None:
    """Factor the sparse blocks of a chunk and sum what they subtract from the border, and their log-determinants (NaN when
    a pivot is not positive)."""
    border = plan.border
    d = work.lower_diag
    v = work.lower_panel
    tmp = work.scratch_u[chunk]
    small = work.scratch_small[chunk]
    total = work.chunk_border[chunk]
    for i in range(total.shape[0]):
        total[i] = 0.0
    lo = work.chunk[chunk]
    hi = work.chunk[chunk + 1]
    if chain is not None:
        for b in range(plan.first_filled, hi):
            size = plan.width[plan.block_factor[b]]
            for i in range(plan.panel_ptr[b], plan.panel_ptr[b] + size * plan.panel_cols[b]):
                v[i] = 0.0
            for i in range(plan.diag_ptr[b], plan.diag_ptr[b] + size * size):
                d[i] = 0.0
    logdet = 0.0
    product = 1.0
    for b in range(lo, hi):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        d0 = plan.diag_ptr[b]
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        filled = chain is not None and b >= plan.first_filled
        for i in range(w):
            for j in range(w):
                s = 0.0
                for t in range(w):
                    s += cross.diag[d0 + i * w + t] * lam[l0 + t * w + j]
                small[i * w + j] = s
        for i in range(w):
            for j in range(i + 1):
                s = 1.0 if i == j else 0.0
                for t in range(w):
                    s += lam[l0 + t * w + i] * small[t * w + j]
                if filled:
                    s += d[d0 + i * w + j]
                for t in range(j):
                    s -= d[d0 + i * w + t] * d[d0 + j * w + t]
                if i > j:
                    d[d0 + i * w + j] = s / d[d0 + j * w + j]
                    continue
                if not s > 0.0:
                    work.chunk_logdet[chunk] = math.nan
                    return
                product *= s
                d[d0 + i * w + i] = math.sqrt(s)
        if not 1e-150 < product < 1e150:
            logdet += math.log(product)
            product = 1.0
        scale_neighbours(plan, cross, lam, b, tmp)
        for i in range(w):
            o = p0 + i * nc
            if not filled:
                for c in range(nc):
                    v[o + c] = 0.0
            for t in range(w):
                f = lam[l0 + t * w + i]
                if f != 0.0:
                    for c in range(nc):
                        v[o + c] += f * tmp[t * nc + c]
            for t in range(i):
                f = d[d0 + i * w + t]
                for c in range(nc):
                    v[o + c] -= f * v[p0 + t * nc + c]
            f = 1.0 / d[d0 + i * w + i]
            for c in range(nc):
                v[o + c] *= f
            o += nc - border
            for x in range(border):
                f = v[o + x]
                for y in range(x + 1):
                    total[x * border + y] += f * v[o + y]
        if chain is not None:
            push_to_sparse(plan, b, d, v)
    work.chunk_logdet[chunk] = logdet + math.log(product)


@inner_kernel
def sum_border(plan: Plan, cross: CrossProduct, work: Workspace) -> float:
    """What the sparse blocks leave of the border; returns their log-determinant, NaN when a pivot was not positive."""
    size = plan.border
    n_chunks = work.chunk_logdet.shape[0]
    for i in range(size):
        for j in range(i + 1):
            s = 0.0
            for c in range(n_chunks):
                s += work.chunk_border[c, i * size + j]
            work.border[i, j] = cross.border[i, j] - s
    logdet = 0.0
    for c in range(n_chunks):
        logdet += work.chunk_logdet[c]
    return logdet


@inner_kernel
def take_trunk(plan: Plan, work: Workspace, trunk: DenseTrunk) -> float:
    """Take a dense trunk out of the border; returns its log-determinant."""
    m = plan.trunk_size
    values = trunk.values
    for i in range(plan.border):
        for j in range(i + 1):
            s = 0.0
            for x in range(m):
                s += values[m + i, x] * values[m + j, x]
            work.border[i, j] -= s
    logdet = 0.0
    for i in range(m):
        logdet += 2.0 * math.log(values[i, i])
    return logdet


@inner_kernel
def factor_border(work: Workspace, logdet: float) -> float:
    """Factor the border; ``logdet``, or NaN when a pivot is not positive."""
    return logdet if cholesky_lower(work.border, work.border.shape[0]) == 0 else math.nan
