"""Rows of a generalized linear mixed model: linear predictors, weighted cross-products, sums over levels, leverages.

Rows stand in the order of the leaf's blocks and are cut into chunks where these change, so that a chunk alone writes to its
leaf blocks. What it adds to other blocks goes to a row of ``spill`` of its own; these are summed in the order of the chunks.
Scalar columns are numbered like the plan's, the fixed effects after them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels.working import LANES

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int32, Int64, Plan, Workspace

# so many rows are worked on at a time, so that what they need stays in the cache
STRIP = 1024


class Rows(NamedTuple):
    """Standardized rows. Factors stand in the order of elimination, the leaf first; pairs of them are (0, 1), (0, 2), ...,
    (1, 2), ... of these."""

    y: Float  # rows
    trials: Float  # rows, or empty
    prior: Float  # rows, or empty
    offset: Float  # rows, or empty
    x: Float  # p x rows
    z: Float  # columns x rows, the factors one after another
    first: Int64  # per factor: its first column in ``z``, and where the last one ends
    factor: Int64  # per factor: its number in the plan
    plain: Int64  # per factor: 1 where its only column is 1 in all rows
    block: Int32  # factors x rows
    slot: Int64  # pairs x rows: where the cross-product of the two blocks begins in the panels; -1 - place if the second is
    # the earlier one
    chunk: Int64  # where chunks begin, as rows
    leaf: Int64  # the same as blocks of the leaf
    spill: Float  # chunks x (diagonal blocks, panels and columns beyond the leaf, and X'WX)
    nothing: Float  # empty


@small_kernel
def beyond(rows: Rows, plan: Plan) -> tuple[int, int, int, int, int, int]:
    """First diagonal entry, panel entry and scalar column beyond the leaf; and where in a row of ``spill`` the panels, the
    columns and X'WX begin."""
    n_leaf = rows.leaf[rows.leaf.shape[0] - 1]
    n_blocks = plan.block_factor.shape[0]
    last = n_blocks - 1
    w = plan.width[plan.block_factor[last]]
    diag_end = plan.diag_ptr[last] + w * w
    panel_end = plan.panel_ptr[last] + w * plan.panel_cols[last]
    columns = plan.trunk_start + plan.trunk_size
    if n_leaf < n_blocks:
        diag = plan.diag_ptr[n_leaf]
        panel = plan.panel_ptr[n_leaf]
        column = plan.block_col[n_leaf]
    else:
        diag = diag_end
        panel = panel_end
        column = columns
    panel_at = diag_end - diag
    column_at = panel_at + panel_end - panel
    return diag, panel, column, panel_at, column_at, column_at + columns - column


@kernel(role="inner", fastmath=LANES)
def predict_rows(rows: Rows, plan: Plan, effects: Float, offset: Float, eta: Float, lo: int, hi: int) -> None:
    """``eta = offset + X beta + Z b`` over a strip; ``effects`` has b, then beta. The offset may be empty."""
    q = plan.trunk_start + plan.trunk_size
    x, z, block, column = rows.x, rows.z, rows.block, plan.block_col
    if offset.shape[0] > 0:
        for i in range(lo, hi):
            eta[i] = offset[i]
    else:
        for i in range(lo, hi):
            eta[i] = 0.0
    for j in range(x.shape[0]):
        f = effects[q + j]
        if f != 0.0:
            for i in range(lo, hi):
                eta[i] += x[j, i] * f
    for k in range(rows.factor.shape[0]):
        if rows.plain[k] == 1:
            for i in range(lo, hi):
                eta[i] += effects[column[block[k, i]]]
            continue
        for a in range(rows.first[k + 1] - rows.first[k]):
            y = rows.first[k] + a
            for i in range(lo, hi):
                eta[i] += z[y, i] * effects[column[block[k, i]] + a]


@inner_kernel
def clear_sums(rows: Rows, plan: Plan, sums: Float, chunk: int) -> None:
    """Zero what ``sum_rows`` adds to."""
    _, _, _, _, column_at, border_at = beyond(rows, plan)
    width = rows.first[1]
    for c in range(rows.leaf[chunk] * width, rows.leaf[chunk + 1] * width):
        sums[c] = 0.0
    for c in range(column_at, border_at + rows.x.shape[0]):
        rows.spill[chunk, c] = 0.0


@kernel(role="inner", fastmath=LANES)
def sum_rows(rows: Rows, plan: Plan, values: Float, fixed: bool, sums: Float, chunk: int, lo: int, hi: int) -> None:
    """Add ``[Z X]'values`` over a strip of a chunk: the leaf's part to ``sums``, the rest to the chunk's spill; X's part if
    ``fixed``."""
    _, _, first_column, _, column_at, border_at = beyond(rows, plan)
    x, z, block, spill, column = rows.x, rows.z, rows.block, rows.spill, plan.block_col
    p = x.shape[0]
    width = rows.first[1]
    shift = column_at - first_column
    for a in range(width):
        i = lo
        while i < hi:
            b = block[0, i]
            s = 0.0
            while i < hi and block[0, i] == b:
                s += z[a, i] * values[i]
                i += 1
            sums[b * width + a] += s
    for k in range(1, rows.factor.shape[0]):
        if rows.plain[k] == 1:
            for i in range(lo, hi):
                spill[chunk, column[block[k, i]] + shift] += values[i]
            continue
        for a in range(rows.first[k + 1] - rows.first[k]):
            y = rows.first[k] + a
            for i in range(lo, hi):
                spill[chunk, column[block[k, i]] + shift + a] += z[y, i] * values[i]
    if fixed:
        for j in range(p):
            s = 0.0
            for i in range(lo, hi):
                s += x[j, i] * values[i]
            spill[chunk, border_at + j] += s


@inner_kernel
def add_sums(rows: Rows, plan: Plan, sums: Float) -> None:
    """Bring together what ``sum_rows`` left in the spill."""
    _, _, column, _, column_at, _ = beyond(rows, plan)
    q = plan.trunk_start + plan.trunk_size
    n_chunks = rows.chunk.shape[0] - 1
    for c in range(q - column + rows.x.shape[0]):
        s = 0.0
        for k in range(n_chunks):
            s += rows.spill[k, column_at + c]
        sums[column + c] = s


@kernel(role="inner", fastmath=LANES)
def weigh_fixed(rows: Rows, plan: Plan, cross: CrossProduct, weight: Float, lo: int, hi: int, chunk: int) -> None:
    """``[Z X]'WX`` over a strip of rows."""
    _, panel, _, panel_at, _, border_at = beyond(rows, plan)
    x, z, block, spill = rows.x, rows.z, rows.block, rows.spill
    a_panel, panel_ptr, panel_cols = cross.panel, plan.panel_ptr, plan.panel_cols
    p = x.shape[0]
    for j in range(p):
        for c in range(j + 1):
            s = 0.0
            for i in range(lo, hi):
                s += weight[i] * x[j, i] * x[c, i]
            spill[chunk, border_at + j * p + c] += s
    for a in range(rows.first[1]):
        i = lo
        while i < hi:
            b = block[0, i]
            end = i + 1
            while end < hi and block[0, end] == b:
                end += 1
            o = panel_ptr[b] + (a + 1) * panel_cols[b] - plan.border
            for j in range(p):
                s = 0.0
                for r in range(i, end):
                    s += weight[r] * z[a, r] * x[j, r]
                a_panel[o + j] += s
            i = end
    for k in range(1, rows.factor.shape[0]):
        for a in range(rows.first[k + 1] - rows.first[k]):
            y = rows.first[k] + a
            for i in range(lo, hi):
                b = block[k, i]
                g = weight[i] * z[y, i]
                o = panel_at + panel_ptr[b] - panel + (a + 1) * panel_cols[b] - plan.border
                for j in range(p):
                    spill[chunk, o + j] += g * x[j, i]


@kernel(role="inner", fastmath=LANES)
def weigh_leaf(rows: Rows, plan: Plan, cross: CrossProduct, weight: Float, lo: int, hi: int) -> None:
    """``Z'WZ`` of the leaf with itself over a strip of rows."""
    z, block, a_diag, diag_ptr = rows.z, rows.block, cross.diag, plan.diag_ptr
    width = rows.first[1]
    i = lo
    while i < hi:
        b = block[0, i]
        end = i + 1
        while end < hi and block[0, end] == b:
            end += 1
        o = diag_ptr[b]
        for a in range(width):
            for c in range(a + 1):
                s = 0.0
                for r in range(i, end):
                    s += weight[r] * z[a, r] * z[c, r]
                a_diag[o + a * width + c] += s
                if c < a:
                    a_diag[o + c * width + a] += s
        i = end


@inner_kernel
def weigh_rows(rows: Rows, plan: Plan, cross: CrossProduct, weight: Float, fixed: bool, chunk: int) -> None:
    """``[Z X]'W[Z X]`` over a chunk, without X unless ``fixed``: the leaf's blocks in place, the rest in the chunk's spill. The
    response's column is left alone."""
    diag, panel, _, panel_at, column_at, border_at = beyond(rows, plan)
    z, block, slot, spill = rows.z, rows.block, rows.slot, rows.spill
    a_panel = cross.panel
    panel_ptr, panel_cols, diag_ptr = plan.panel_ptr, plan.panel_cols, plan.diag_ptr
    p = rows.x.shape[0]
    n_factors = rows.factor.shape[0]
    width = rows.first[1]
    for b in range(rows.leaf[chunk], rows.leaf[chunk + 1]):
        for i in range(diag_ptr[b], diag_ptr[b] + width * width):
            cross.diag[i] = 0.0
        for i in range(panel_ptr[b], panel_ptr[b] + width * panel_cols[b]):
            a_panel[i] = 0.0
    for c in range(column_at):
        spill[chunk, c] = 0.0
    for c in range(border_at, border_at + p * p):
        spill[chunk, c] = 0.0
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        weigh_leaf(rows, plan, cross, weight, lo, hi)
        if fixed:
            weigh_fixed(rows, plan, cross, weight, lo, hi, chunk)
        pair = 0
        for k in range(1, n_factors):
            z1 = rows.first[k]
            w = rows.first[k + 1] - z1
            if width == 1 and w == 1:
                for i in range(lo, hi):
                    a_panel[slot[pair, i]] += weight[i] * z[0, i] * z[z1, i]
            else:
                for i in range(lo, hi):
                    nc = panel_cols[block[0, i]]
                    for a in range(width):
                        g = weight[i] * z[a, i]
                        for c in range(w):
                            a_panel[slot[pair, i] + a * nc + c] += g * z[z1 + c, i]
            pair += 1
        for k in range(1, n_factors):
            z0 = rows.first[k]
            w0 = rows.first[k + 1] - z0
            for i in range(lo, hi):
                o = diag_ptr[block[k, i]] - diag
                for a in range(w0):
                    g = weight[i] * z[z0 + a, i]
                    for c in range(w0):
                        spill[chunk, o + a * w0 + c] += g * z[z0 + c, i]
            for m in range(k + 1, n_factors):
                z1 = rows.first[m]
                w1 = rows.first[m + 1] - z1
                shift = panel_at - panel
                for i in range(lo, hi):
                    s = slot[pair, i]
                    if s >= 0:
                        nc = panel_cols[block[k, i]]
                        for a in range(w0):
                            g = weight[i] * z[z0 + a, i]
                            for c in range(w1):
                                spill[chunk, shift + s + a * nc + c] += g * z[z1 + c, i]
                    else:
                        nc = panel_cols[block[m, i]]
                        for c in range(w1):
                            g = weight[i] * z[z1 + c, i]
                            for a in range(w0):
                                spill[chunk, shift - 1 - s + c * nc + a] += g * z[z0 + a, i]
                pair += 1


@inner_kernel
def add_weighed(rows: Rows, plan: Plan, cross: CrossProduct, fixed: bool) -> None:
    """Bring together what ``weigh_rows`` left in the spill. The response's place in the border becomes 1, and without ``fixed``
    those of the fixed effects."""
    diag, panel, _, panel_at, column_at, border_at = beyond(rows, plan)
    n_chunks = rows.chunk.shape[0] - 1
    p = rows.x.shape[0]
    for c in range(panel_at):
        s = 0.0
        for k in range(n_chunks):
            s += rows.spill[k, c]
        cross.diag[diag + c] = s
    for c in range(column_at - panel_at):
        s = 0.0
        for k in range(n_chunks):
            s += rows.spill[k, panel_at + c]
        cross.panel[panel + c] = s
    for j in range(p):
        for c in range(j + 1):
            s = 0.0
            for k in range(n_chunks):
                s += rows.spill[k, border_at + j * p + c]
            if not fixed:
                s = 1.0 if j == c else 0.0
            cross.border[j, c] = s
            cross.border[c, j] = s
        cross.border[p, j] = 0.0
        cross.border[j, p] = 0.0
    cross.border[p, p] = 1.0


@inner_kernel
def leverages(
    rows: Rows, plan: Plan, work: Workspace, lam: Float, panel: Float, scaled: Float, out: Float, chunk: int, lo: int, hi: int
) -> None:
    """``diag(Z Lambda S Lambda'Z')`` over a strip of a chunk. S lies in ``work.inverse_diag`` and ``panel``, in the layout of
    the cross-product; ``scaled`` is scratch."""
    n_factors = rows.factor.shape[0]
    s_diag = work.inverse_diag
    z, block, slot = rows.z, rows.block, rows.slot
    diag_ptr, panel_cols = plan.diag_ptr, plan.panel_cols
    y = scaled[chunk]
    if z.shape[0] == n_factors:
        # every factor has one column
        for i in range(lo, hi):
            out[i] = 0.0
        pair = 0
        for k in range(n_factors):
            f = lam[plan.lam_ptr[rows.factor[k]]]
            for i in range(lo, hi):
                out[i] += f * f * z[k, i] * z[k, i] * s_diag[diag_ptr[block[k, i]]]
            for m in range(k + 1, n_factors):
                g = 2.0 * f * lam[plan.lam_ptr[rows.factor[m]]]
                for i in range(lo, hi):
                    s = slot[pair, i]
                    out[i] += g * z[k, i] * z[m, i] * panel[s if s >= 0 else -1 - s]
                pair += 1
        return
    for i in range(lo, hi):
        total = 0.0
        for k in range(n_factors):
            z0 = rows.first[k]
            w = rows.first[k + 1] - z0
            l0 = plan.lam_ptr[rows.factor[k]]
            for a in range(w):
                s = 0.0
                for c in range(w):
                    s += lam[l0 + c * w + a] * z[z0 + c, i]
                y[z0 + a] = s
            o = diag_ptr[block[k, i]]
            for a in range(w):
                s = 0.0
                for c in range(w):
                    s += s_diag[o + a * w + c] * y[z0 + c]
                total += y[z0 + a] * s
        pair = 0
        for k in range(n_factors):
            z0 = rows.first[k]
            w0 = rows.first[k + 1] - z0
            nc = panel_cols[block[k, i]]
            for m in range(k + 1, n_factors):
                z1 = rows.first[m]
                w1 = rows.first[m + 1] - z1
                at = slot[pair, i]
                pair += 1
                if at >= 0:
                    for a in range(w0):
                        s = 0.0
                        for c in range(w1):
                            s += panel[at + a * nc + c] * y[z1 + c]
                        total += 2.0 * y[z0 + a] * s
                else:
                    at = -1 - at
                    other = panel_cols[block[m, i]]
                    for c in range(w1):
                        s = 0.0
                        for a in range(w0):
                            s += panel[at + c * other + a] * y[z0 + a]
                        total += 2.0 * y[z1 + c] * s
        out[i] = total


@kernel
def sort_rows(block: Int32, start: Int64, order: Int64, place: Int64) -> None:
    """Rows by block, those of one in their order: ``order`` has the rows, ``place`` where each went. ``start``, zeros, one more
    than there are blocks, gets where blocks end."""
    for i in range(block.shape[0]):
        start[block[i] + 1] += 1
    for b in range(1, start.shape[0]):
        start[b] += start[b - 1]
    for i in range(block.shape[0]):
        at = start[block[i]]
        start[block[i]] = at + 1
        order[at] = i
        place[i] = at


@kernel
def find_slots(block: Int32, plan: Plan, slot: Int64) -> None:
    """Fill ``Rows.slot``: the columns of a pair of blocks are found by bisection."""
    n_factors = block.shape[0]
    for i in range(block.shape[1]):
        pair = 0
        for k in range(n_factors):
            for m in range(k + 1, n_factors):
                a = block[k, i]
                b = block[m, i]
                first = min(a, b)
                second = max(a, b)
                low = plan.neighbour_ptr[first]
                high = plan.neighbour_ptr[first + 1] - 1
                while low < high:
                    middle = (low + high) // 2
                    if plan.neighbour[middle] < second:
                        low = middle + 1
                    else:
                        high = middle
                at = plan.panel_ptr[first] + plan.neighbour_off[low]
                slot[pair, i] = at if a < b else -1 - at
                pair += 1
