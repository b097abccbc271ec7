"""Solving with a finished factorization: any right-hand side, over random effects and fixed effects.

Vectors have a number per scalar column of the plan, then one per fixed effect. ``values`` of a dense trunk, or of the panels of
a sparse one, may be a copy: inverting overwrites the factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Plan, Supernodes, Workspace


@inner_kernel
def forward_blocks(plan: Plan, work: Workspace, g: Float) -> None:
    """``g`` becomes ``L^{-1} g`` on the sparse blocks; what they leave of the rest is taken off it."""
    width, block_factor, block_col = plan.width, plan.block_factor, plan.block_col
    neighbour_ptr, neighbour, neighbour_off = plan.neighbour_ptr, plan.neighbour, plan.neighbour_off
    panel_ptr, panel_cols, diag_ptr = plan.panel_ptr, plan.panel_cols, plan.diag_ptr
    d, v = work.lower_diag, work.lower_panel
    p = plan.border - 1
    f0 = plan.trunk_start + plan.trunk_size
    for b in range(plan.n_sparse):
        w = width[block_factor[b]]
        c0 = block_col[b]
        d0 = diag_ptr[b]
        p0 = panel_ptr[b]
        nc = panel_cols[b]
        for i in range(w):
            s = g[c0 + i]
            for j in range(i):
                s -= d[d0 + i * w + j] * g[c0 + j]
            s /= d[d0 + i * w + i]
            g[c0 + i] = s
            o = p0 + i * nc
            for e in range(neighbour_ptr[b], neighbour_ptr[b + 1]):
                r = neighbour[e]
                cr = block_col[r]
                for j in range(width[block_factor[r]]):
                    g[cr + j] -= v[o + neighbour_off[e] + j] * s
            for j in range(p):
                g[f0 + j] -= v[o + nc - plan.border + j] * s


@inner_kernel
def back_blocks(plan: Plan, work: Workspace, g: Float) -> None:
    """``g`` becomes ``L^{-T} g`` on the sparse blocks; the rest of it is solved."""
    width, block_factor, block_col = plan.width, plan.block_factor, plan.block_col
    neighbour_ptr, neighbour, neighbour_off = plan.neighbour_ptr, plan.neighbour, plan.neighbour_off
    panel_ptr, panel_cols, diag_ptr = plan.panel_ptr, plan.panel_cols, plan.diag_ptr
    d, v = work.lower_diag, work.lower_panel
    p = plan.border - 1
    f0 = plan.trunk_start + plan.trunk_size
    for b in range(plan.n_sparse - 1, -1, -1):
        w = width[block_factor[b]]
        c0 = block_col[b]
        d0 = diag_ptr[b]
        nc = panel_cols[b]
        for i in range(w):
            o = panel_ptr[b] + i * nc
            s = g[c0 + i]
            for e in range(neighbour_ptr[b], neighbour_ptr[b + 1]):
                r = neighbour[e]
                cr = block_col[r]
                for j in range(width[block_factor[r]]):
                    s -= v[o + neighbour_off[e] + j] * g[cr + j]
            for j in range(p):
                s -= v[o + nc - plan.border + j] * g[f0 + j]
            g[c0 + i] = s
        for i in range(w - 1, -1, -1):
            g[c0 + i] /= d[d0 + i * w + i]
            f = g[c0 + i]
            for j in range(i):
                g[c0 + j] -= f * d[d0 + i * w + j]


@inner_kernel
def solve_fixed(plan: Plan, work: Workspace, joint: bool, g: Float) -> None:
    """The fixed effects' part, which is 0 unless they are solved for (``joint``)."""
    p = plan.border - 1
    f0 = plan.trunk_start + plan.trunk_size
    low = work.border
    for i in range(p):
        s = g[f0 + i]
        for j in range(i):
            s -= low[i, j] * g[f0 + j]
        g[f0 + i] = s / low[i, i] if joint else 0.0
    for i in range(p - 1, -1, -1):
        g[f0 + i] /= low[i, i]
        for j in range(i):
            g[f0 + j] -= g[f0 + i] * low[i, j]


@inner_kernel
def forward_trunk(plan: Plan, values: Float, g: Float) -> None:
    """``forward_blocks`` for a dense trunk."""
    m = plan.trunk_size
    t0 = plan.trunk_start
    for i in range(m):
        s = g[t0 + i]
        for j in range(i):
            s -= values[i, j] * g[t0 + j]
        g[t0 + i] = s / values[i, i]
    for i in range(plan.border - 1):
        s = g[t0 + m + i]
        for j in range(m):
            s -= values[m + i, j] * g[t0 + j]
        g[t0 + m + i] = s


@inner_kernel
def back_trunk(plan: Plan, values: Float, g: Float) -> None:
    """``back_blocks`` for a dense trunk."""
    m = plan.trunk_size
    t0 = plan.trunk_start
    for i in range(plan.border - 1):
        f = g[t0 + m + i]
        for j in range(m):
            g[t0 + j] -= f * values[m + i, j]
    for i in range(m - 1, -1, -1):
        g[t0 + i] /= values[i, i]
        f = g[t0 + i]
        for j in range(i):
            g[t0 + j] -= f * values[i, j]


@inner_kernel
def solve_vector(plan: Plan, work: Workspace, trunk: Float | None, joint: bool, g: Float) -> None:
    """Solve ``H x = g`` in place for a model without a sparse trunk."""
    forward_blocks(plan, work, g)
    if trunk is not None:
        forward_trunk(plan, trunk, g)
    solve_fixed(plan, work, joint, g)
    if trunk is not None:
        back_trunk(plan, trunk, g)
    back_blocks(plan, work, g)


@kernel
def forward(plan: Plan, work: Workspace, g: Float) -> None:
    """``forward_blocks`` for Python."""
    forward_blocks(plan, work, g)


@kernel
def forward_dense(plan: Plan, values: Float, g: Float) -> None:
    """``forward_trunk`` for Python."""
    forward_trunk(plan, values, g)


@kernel
def back_dense(plan: Plan, values: Float, g: Float) -> None:
    """``back_trunk`` for Python."""
    back_trunk(plan, values, g)


@kernel
def finish(plan: Plan, work: Workspace, joint: bool, g: Float) -> None:
    """The fixed effects of a vector whose trunk is done with."""
    solve_fixed(plan, work, joint, g)


@kernel
def backward(plan: Plan, work: Workspace, g: Float) -> None:
    """``back_blocks`` for Python."""
    back_blocks(plan, work, g)


@kernel
def forward_supernodes(plan: Plan, sn: Supernodes, values: Float, g: Float) -> None:
    """``forward_blocks`` for a sparse trunk."""
    t0 = plan.trunk_start
    f0 = t0 + plan.trunk_size
    p = plan.border - 1
    for s in range(sn.parent.shape[0]):
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        c0 = t0 + sn.first[s]
        for i in range(n):
            x = g[c0 + i]
            for j in range(i):
                x -= values[base + i * n + j] * g[c0 + j]
            g[c0 + i] = x / values[base + i * n + i]
        begin = sn.row_ptr[s]
        count = sn.row_ptr[s + 1] - begin
        for i in range(count + p):
            o = base + (n + i) * n
            x = 0.0
            for j in range(n):
                x += values[o + j] * g[c0 + j]
            g[t0 + sn.row[begin + i] if i < count else f0 + i - count] -= x


@kernel
def back_supernodes(plan: Plan, sn: Supernodes, values: Float, g: Float) -> None:
    """``back_blocks`` for a sparse trunk."""
    t0 = plan.trunk_start
    f0 = t0 + plan.trunk_size
    p = plan.border - 1
    for s in range(sn.parent.shape[0] - 1, -1, -1):
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        c0 = t0 + sn.first[s]
        begin = sn.row_ptr[s]
        count = sn.row_ptr[s + 1] - begin
        for i in range(count + p):
            f = g[t0 + sn.row[begin + i] if i < count else f0 + i - count]
            o = base + (n + i) * n
            for j in range(n):
                g[c0 + j] -= f * values[o + j]
        for i in range(n - 1, -1, -1):
            o = base + i * n
            g[c0 + i] /= values[o + i]
            f = g[c0 + i]
            for j in range(i):
                g[c0 + j] -= f * values[o + j]
