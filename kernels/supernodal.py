"""Supernodal sparse Cholesky of the trunk: loading, updates from the chain, factorization, solves.

Left-looking over supernodes (Ng & Peyton 1993, SIAM J. Sci. Comput. 14(5)): each supernode gathers what earlier ones
subtract from it, always in the same order, so results do not depend on how the work is spread over threads. Supernodes
of different subtrees can be done at the same time, and so can the pieces of ``PIECE`` rows of one panel.

``values`` holds the panels of ``Supernodes``; ``edge`` is the border by border block, symmetric until it is factored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels._cache import kernel, small_kernel
from mixeff_fast.kernels._panels import cholesky_at, multiply_at, solve_columns_at, solve_rows_at
from mixeff_fast.kernels.structure import SupernodeWork

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int64, Plan, Supernodes


# Columns that are handled at once, unless one supernode has more.
TILE = 256
# Rows of a panel that are updated and solved at a time, at least a tile.
PIECE = 512
# A product of so few multiplications is subtracted where it is made.
_FEW = 500


def supernode_work(sn: Supernodes, border: int) -> SupernodeWork:
    """Scratch for one thread."""
    widest = max(TILE, border, int(np.diff(sn.first).max()))
    size = widest * (int(np.diff(sn.row_ptr).max()) + border)
    rows = len(sn.of_column) + border
    return SupernodeWork(np.zeros(rows, np.int64), np.zeros(rows, np.int64), np.zeros(size), np.zeros(size))


@small_kernel
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
def place_rows(sn: Supernodes, border: int, s: int, place: Int64) -> None:
    """Fill ``place`` for the columns and rows of supernode s and for the border: their rows in its panel."""
    first = sn.first[s]
    n = sn.first[s + 1] - first
    for j in range(n):
        place[first + j] = j
    begin = sn.row_ptr[s]
    r = sn.row_ptr[s + 1] - begin
    for i in range(r):
        place[sn.row[begin + i]] = n + i
    last = sn.of_column.shape[0]
    for j in range(border):
        place[last + j] = n + r + j


@kernel
def load_supernodes(
    plan: Plan, sn: Supernodes, cross: CrossProduct, lam: Float, values: Float, place: Int64, small: Float,
    block_out: Float, begin: int, end: int
) -> None:
    """Write the scaled cross-product of supernodes [begin, end) and their border rows into their panels."""
    border = plan.border
    for s in range(begin, end):
        for i in range(sn.ptr[s], sn.ptr[s + 1]):
            values[i] = 0.0
        place_rows(sn, border, s, place)
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        for b in range(plan.n_sparse + sn.first_block[s], plan.n_sparse + sn.first_block[s + 1]):
            k = plan.block_factor[b]
            w = plan.width[k]
            l0 = plan.lam_ptr[k]
            column = plan.block_col[b] - plan.trunk_start - sn.first[s]
            congruence(cross.diag, plan.diag_ptr[b], w, w, w, lam, l0, l0, block_out, small)
            for i in range(w):
                o = base + (column + i) * n + column
                for j in range(i + 1):
                    values[o + j] = block_out[i * w + j]
                values[o + i] += 1.0
            p0 = plan.panel_ptr[b]
            nc = plan.panel_cols[b]
            for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
                r = plan.neighbour[e]
                kr = plan.block_factor[r]
                wr = plan.width[kr]
                congruence(cross.panel, p0 + plan.neighbour_off[e], nc, w, wr, lam, l0, plan.lam_ptr[kr], block_out,
                           small)
                o = base + place[plan.block_col[r] - plan.trunk_start] * n + column
                for i in range(w):
                    for j in range(wr):
                        values[o + j * n + i] = block_out[i * wr + j]
            o = base + place[sn.of_column.shape[0]] * n + column
            for i in range(w):
                for j in range(border):
                    x = 0.0
                    for t in range(w):
                        x += lam[l0 + t * w + i] * cross.panel[p0 + t * nc + nc - border + j]
                    values[o + j * n + i] = x


@kernel
def receive_supernodes(
    plan: Plan, sn: Supernodes, panel: Float, values: Float, work: SupernodeWork, begin: int, end: int
) -> None:
    """Subtract ``V_b'V_b`` of every chain block b from supernodes [begin, end); ``panel`` holds the V_b."""
    border = plan.border
    edge_row = sn.of_column.shape[0]
    rows = work.rows
    for s in range(begin, end):
        if sn.touch_ptr[s] == sn.touch_ptr[s + 1]:
            continue
        place_rows(sn, border, s, work.place)
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        for x in range(sn.touch_ptr[s], sn.touch_ptr[s + 1]):
            b = sn.touch_block[x]
            first = plan.neighbour_ptr[b] + sn.touch_edge[x]
            count = 0
            for e in range(first, plan.neighbour_ptr[b + 1]):
                r = plan.neighbour[e]
                at = work.place[plan.block_col[r] - plan.trunk_start]
                for j in range(plan.width[plan.block_factor[r]]):
                    rows[count] = at + j
                    count += 1
            at = work.place[edge_row]
            for j in range(border):
                rows[count] = at + j
                count += 1
            nc = plan.panel_cols[b]
            start = plan.panel_ptr[b] + plan.neighbour_off[first]
            for t in range(plan.width[plan.block_factor[b]]):
                o = start + t * nc
                for i in range(count):
                    f = panel[o + i]
                    if f != 0.0:
                        target = base + rows[i] * n
                        j = 0
                        while j <= i and rows[j] < n:
                            values[target + rows[j]] -= f * panel[o + j]
                            j += 1


@kernel
def receive_border(plan: Plan, panel: Float, edge: Float, begin: int, end: int) -> None:
    """Subtract the border's part of ``V_b'V_b`` of chain blocks [begin, end) from the lower triangle of ``edge``."""
    border = plan.border
    for b in range(begin, end):
        nc = plan.panel_cols[b]
        for t in range(plan.width[plan.block_factor[b]]):
            o = plan.panel_ptr[b] + t * nc + nc - border
            for i in range(border):
                f = panel[o + i]
                for j in range(i + 1):
                    edge[i, j] -= f * panel[o + j]


@small_kernel
def _first_row_from(sn: Supernodes, border: int, place: Int64, begin: int, count: int, value: int) -> int:
    """How many of the ``count`` rows from ``begin`` on, and then of the border, have a place below ``value``."""
    low = 0
    high = count + border
    edge_row = sn.of_column.shape[0]
    while low < high:
        middle = (low + high) // 2
        if place[sn.row[begin + middle] if middle < count else edge_row + middle - count] < value:
            low = middle + 1
        else:
            high = middle
    return low


@kernel
def update_rows(
    sn: Supernodes, border: int, values: Float, work: SupernodeWork, s: int, low: int, high: int
) -> None:
    """Subtract what earlier supernodes contribute to rows [low, high) of the panel of s. ``work.place`` is that of s."""
    n = sn.first[s + 1] - sn.first[s]
    base = sn.ptr[s]
    edge_row = sn.of_column.shape[0]
    rows = work.rows
    for x in range(sn.update_ptr[s], sn.update_ptr[s + 1]):
        source = sn.update_from[x]
        m = sn.first[source + 1] - sn.first[source]
        begin = sn.row_ptr[source] + sn.update_row[x]
        count = sn.row_ptr[source + 1] - begin
        start = _first_row_from(sn, border, work.place, begin, count, low)
        stop = _first_row_from(sn, border, work.place, begin, count, high)
        if start == stop:
            continue
        columns = 0
        while columns < count and sn.row[begin + columns] < sn.first[s + 1]:
            rows[columns] = work.place[sn.row[begin + columns]]
            columns += 1
        for i in range(max(start, columns), stop):
            rows[i] = work.place[sn.row[begin + i] if i < count else edge_row + i - count]
        o = sn.ptr[source] + (m + sn.update_row[x]) * m
        if columns == 1 or m * columns * (stop - start) <= _FEW:
            for i in range(start, stop):
                target = base + rows[i] * n
                for j in range(min(i + 1, columns)):
                    total = 0.0
                    for t in range(m):
                        total += values[o + i * m + t] * values[o + j * m + t]
                    values[target + rows[j]] -= total
            continue
        multiply_at(False, True, stop - start, columns, m, 1.0, values, o + start * m, m, values, o, m, 0.0,
                    work.product, 0, columns)
        for i in range(start, stop):
            target = base + rows[i] * n
            for j in range(min(i + 1, columns)):
                values[target + rows[j]] -= work.product[(i - start) * columns + j]


@kernel
def factor_diagonal(sn: Supernodes, values: Float, s: int) -> bool:
    """Factor the diagonal block of an updated panel; False when a pivot is not positive."""
    n = sn.first[s + 1] - sn.first[s]
    return bool(cholesky_at(values, sn.ptr[s], n, n) == 0)


@kernel
def solve_panel(sn: Supernodes, values: Float, s: int, low: int, high: int) -> None:
    """Finish rows [low, high) of the panel, all below its factored diagonal block."""
    n = sn.first[s + 1] - sn.first[s]
    base = sn.ptr[s]
    if high > low:
        solve_rows_at(values, base, n, n, values, base + low * n, n, high - low, True)


@kernel
def factor_supernodes(sn: Supernodes, border: int, values: Float, work: SupernodeWork, begin: int, end: int) -> bool:
    """Factor supernodes [begin, end), those below them being done; False when a pivot is not positive."""
    for s in range(begin, end):
        n = sn.first[s + 1] - sn.first[s]
        height = n + sn.row_ptr[s + 1] - sn.row_ptr[s] + border
        place_rows(sn, border, s, work.place)
        for low in range(0, height, PIECE):
            update_rows(sn, border, values, work, s, low, min(low + PIECE, height))
        if not factor_diagonal(sn, values, s):
            return False
        for low in range(0, height, PIECE):
            solve_panel(sn, values, s, max(low, n), min(low + PIECE, height))
    return True


@kernel
def log_determinant(sn: Supernodes, values: Float) -> float:
    """Log-determinant of the trunk from its factor."""
    total = 0.0
    for s in range(sn.parent.shape[0]):
        n = sn.first[s + 1] - sn.first[s]
        for i in range(n):
            total += 2.0 * math.log(values[sn.ptr[s] + i * (n + 1)])
    return total


@kernel
def update_border(sn: Supernodes, border: int, values: Float, edge: Float) -> None:
    """Subtract the products of the factored border rows from the lower triangle of ``edge``."""
    for s in range(sn.parent.shape[0]):
        n = sn.first[s + 1] - sn.first[s]
        o = sn.ptr[s + 1] - border * n
        for i in range(border):
            for j in range(i + 1):
                total = 0.0
                for t in range(n):
                    total += values[o + i * n + t] * values[o + j * n + t]
                edge[i, j] -= total


@kernel
def back_solve(sn: Supernodes, border: int, values: Float, solution: Float, start: int) -> None:
    """Solve for the trunk's part of w; ``solution`` has the trunk's columns from ``start`` on, then the border's."""
    edge_row = sn.of_column.shape[0]
    for s in range(sn.parent.shape[0] - 1, -1, -1):
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        c0 = start + sn.first[s]
        for j in range(n):
            solution[c0 + j] = 0.0
        begin = sn.row_ptr[s]
        count = sn.row_ptr[s + 1] - begin
        for i in range(count + border):
            f = solution[start + (sn.row[begin + i] if i < count else edge_row + i - count)]
            o = base + (n + i) * n
            for j in range(n):
                solution[c0 + j] -= f * values[o + j]
        for i in range(n - 1, -1, -1):
            o = base + i * n
            solution[c0 + i] /= values[o + i]
            f = solution[c0 + i]
            for j in range(i):
                solution[c0 + j] -= f * values[o + j]


@kernel
def half_solve(sn: Supernodes, border: int, values: Float, edge: Float, right: Float, width: int, work: SupernodeWork) -> None:
    """Solve L X = B in place for the trunk and the fixed effects; B is flat, row-major, ``width`` columns."""
    edge_row = sn.of_column.shape[0]
    step = max(1, work.product.shape[0] // max(width, 1))
    for s in range(sn.parent.shape[0]):
        n = sn.first[s + 1] - sn.first[s]
        base = sn.ptr[s]
        c0 = sn.first[s] * width
        solve_columns_at(values, base, n, n, right, c0, width, width)
        begin = sn.row_ptr[s]
        count = sn.row_ptr[s + 1] - begin
        for low in range(0, count + border - 1, step):
            m = min(step, count + border - 1 - low)
            multiply_at(False, False, m, width, n, 1.0, values, base + (n + low) * n, n, right, c0, width, 0.0,
                        work.product, 0, width)
            for i in range(m):
                x = low + i
                o = (sn.row[begin + x] if x < count else edge_row + x - count) * width
                for t in range(width):
                    right[o + t] -= work.product[i * width + t]
    for i in range(border - 1):
        o = (edge_row + i) * width
        for k in range(i):
            f = edge[i, k]
            for t in range(width):
                right[o + t] -= f * right[(edge_row + k) * width + t]
        for t in range(width):
            right[o + t] /= edge[i, i]
