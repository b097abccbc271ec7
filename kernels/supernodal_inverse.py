"""Selected inverse of a supernodal factor, in place, and what the gradient reads from it.

With L_RJ the rows below a diagonal block L_JJ and U = L_RJ L_JJ^{-1}: ``S_RJ = -S_RR U`` and ``S_JJ = (L_JJ L_JJ')^{-1} -
U' S_RJ``, from the last supernode to the first (Takahashi, Fagan & Chin 1973). R includes the border, whose own block is
given. The recursion is linear in it: the border's block of ``c w w'`` alone makes all of ``c w w'``.

``edge`` is the border's block of S, ``values`` turns from the factor's panels into those of S; both are full, not triangles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._panels import inverse_at, multiply_at, solve_rows_at
from mixeff_fast.kernels.gradient import add_own
from mixeff_fast.kernels.supernodal import TILE, place_rows

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int64, Plan, Supernodes, SupernodeWork


@kernel
def find_rows(sn: Supernodes, s: int, begin: int, end: int, out: Int64, out0: int) -> None:
    """Rows ``sn.row[begin:end]`` in the panel of supernode s, none of them before its first column; ascending."""
    n = sn.first[s + 1] - sn.first[s]
    last = sn.first[s + 1]
    low = sn.row_ptr[s]
    stop = sn.row_ptr[s + 1]
    bisect = 8 * (end - begin) < stop - low
    for i in range(begin, end):
        x = sn.row[i]
        if x < last:
            out[out0 + i - begin] = x - sn.first[s]
            continue
        if bisect:
            high = stop
            while high - low > 1:
                middle = (low + high) // 2
                if sn.row[middle] <= x:
                    low = middle
                else:
                    high = middle
        else:
            while sn.row[low] < x:
                low += 1
        out[out0 + i - begin] = n + low - sn.row_ptr[s]


@kernel
def next_strip(sn: Supernodes, border: int, s: int, low: int) -> int:
    """Where the strip that begins at row ``low`` below the diagonal block of s ends: whole supernodes, border included."""
    count = sn.row_ptr[s + 1] - sn.row_ptr[s]
    if count + border - low <= TILE:
        return int(count + border)
    begin = sn.row_ptr[s]
    end = low
    while end < count:
        last = sn.first[sn.of_column[sn.row[begin + end]] + 1]
        after = end
        while after < count and sn.row[begin + after] < last:
            after += 1
        if end > low and after - low > TILE:
            return int(end)
        end = after
    return int(count if count > low else count + border)


@kernel
def _gather_strip(
    sn: Supernodes, border: int, values: Float, edge: Float, work: SupernodeWork, s: int, low: int, high: int
) -> None:
    """Fill ``work.product`` with S: rows [low, high) and all columns, both counted below the diagonal block of s."""
    row = sn.row
    begin = sn.row_ptr[s]
    count = sn.row_ptr[s + 1] - begin
    total = count + border
    at = work.rows
    out = work.product
    c = 0
    while c < min(high, count):
        p = sn.of_column[row[begin + c]]
        first = sn.first[p]
        n = sn.first[p + 1] - first
        d = c
        while d < count and row[begin + d] < first + n:
            d += 1
        start = max(c, low)
        stop = high if d <= low else total
        find_rows(sn, p, begin + start, begin + min(stop, count), at, start)
        for i in range(max(start, count), stop):
            at[i] = n + sn.row_ptr[p + 1] - sn.row_ptr[p] + i - count
        for i in range(start, stop):
            o = sn.ptr[p] + at[i] * n - first
            if i < high:
                for j in range(c, d):
                    out[(i - low) * total + j] = values[o + row[begin + j]]
            if c >= low:
                for j in range(c, d):
                    out[(j - low) * total + i] = values[o + row[begin + j]]
        c = d
    for i in range(max(low, count), high):
        for j in range(border):
            out[(i - low) * total + count + j] = edge[i - count, j]


@kernel
def start_inverse(sn: Supernodes, border: int, values: Float, copy: Float, s: int) -> None:
    """Move U into ``copy`` and invert the diagonal block of the factor."""
    n = sn.first[s + 1] - sn.first[s]
    base = sn.ptr[s]
    m = sn.row_ptr[s + 1] - sn.row_ptr[s] + border
    solve_rows_at(values, base, n, n, values, base + n * n, n, m, False)
    for i in range(m * n):
        copy[i] = values[base + n * n + i]
    inverse_at(values, base, n, n)


@kernel
def inverse_rows(
    sn: Supernodes, border: int, values: Float, edge: Float, copy: Float, work: SupernodeWork, s: int, low: int, high: int
) -> None:
    """Rows [low, high) below the diagonal block, a range of whole strips; ``copy`` holds U."""
    n = sn.first[s + 1] - sn.first[s]
    m = sn.row_ptr[s + 1] - sn.row_ptr[s] + border
    while low < high:
        end = next_strip(sn, border, s, low)
        _gather_strip(sn, border, values, edge, work, s, low, end)
        multiply_at(False, False, end - low, n, m, -1.0, work.product, 0, m, copy, 0, n, 0.0, values,
                    sn.ptr[s] + (n + low) * n, n)
        low = end


@kernel
def finish_inverse(sn: Supernodes, border: int, values: Float, copy: Float, s: int) -> None:
    """The diagonal block, once all rows below it are there."""
    n = sn.first[s + 1] - sn.first[s]
    base = sn.ptr[s]
    m = sn.row_ptr[s + 1] - sn.row_ptr[s] + border
    multiply_at(True, False, n, n, m, -1.0, copy, 0, n, values, base + n * n, n, 1.0, values, base, n)
    for i in range(n):
        for j in range(i):
            values[base + j * n + i] = values[base + i * n + j]


@kernel
def invert_supernodes(
    sn: Supernodes, border: int, values: Float, edge: Float, work: SupernodeWork, begin: int, end: int
) -> None:
    """Selected inverse of supernodes [begin, end), last first, those above them being done."""
    for s in range(end - 1, begin - 1, -1):
        start_inverse(sn, border, values, work.copy, s)
        m = sn.row_ptr[s + 1] - sn.row_ptr[s] + border
        inverse_rows(sn, border, values, edge, work.copy, work, s, 0, m)
        finish_inverse(sn, border, values, work.copy, s)


@kernel
def trunk_gradient(
    plan: Plan, sn: Supernodes, cross: CrossProduct, lam: Float, values: Float, place: Int64, inverse_diag: Float, q: Float,
    small: Float, grad: Float, panel: Float | None, begin: int, end: int
) -> None:
    """Blocks of supernodes [begin, end): their blocks of S, and, unless ``grad`` is empty, their part of the gradient.
    ``panel`` is where the inverse's panels go, if they are wanted."""
    border = plan.border
    want_gradient = grad.shape[0] > 0
    q_first = int(plan.diag_ptr[0])
    for s in range(begin, end):
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        place_rows(sn, border, s, place)
        for b in range(plan.n_sparse + sn.first_block[s], plan.n_sparse + sn.first_block[s + 1]):
            k = plan.block_factor[b]
            w = plan.width[k]
            nc = plan.panel_cols[b]
            column = plan.block_col[b] - plan.trunk_start - sn.first[s]
            for i in range(w):
                for j in range(w):
                    x = values[base + (column + i) * n + column + j]
                    small[i * w + j] = x
                    inverse_diag[plan.diag_ptr[b] + i * w + j] = x
            if not want_gradient:
                continue
            for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
                r = plan.neighbour[e]
                o = base + place[plan.block_col[r] - plan.trunk_start] * n + column
                for j in range(plan.width[plan.block_factor[r]]):
                    for i in range(w):
                        q[i * nc + plan.neighbour_off[e] + j] = values[o + j * n + i]
            o = base + place[sn.of_column.shape[0]] * n + column
            for j in range(border):
                for i in range(w):
                    q[i * nc + nc - border + j] = values[o + j * n + i]
            if panel is not None:
                for i in range(w * nc):
                    panel[plan.panel_ptr[b] + i] = q[i]
            add_own(w, border, plan.lam_ptr[k], plan.diag_ptr[b], plan.panel_ptr[b], nc, plan.neighbour_ptr[b],
                    plan.neighbour_ptr[b + 1], plan.neighbour, plan.neighbour_off, plan.block_factor, plan.width, plan.lam_ptr,
                    cross.diag, cross.panel, lam, q, q_first, small, grad)
