"""Factor, solution, gradient and average information of a model with one grouping factor, eight blocks at a time.

The blocks of such a model are alike and do not meet: the same operation is done to ``LANES`` of them at once, one to a lane
of the processor's vectors. A *tile* is ``LANES`` consecutive blocks, and holds entry e of the l-th of them at ``e * LANES +
l``. Lanes past the last block hold zeros: their factor is the identity and they add nothing.

``Workspace.lower_diag`` and ``lower_panel`` are by tiles here, and hold ``R = L_bb^{-1}`` (its upper triangle is not used) and
``V = R Lambda'A_bX``. Sums over the blocks are kept by lanes and added up at the end of a chunk: their order is fixed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, small_kernel
from mixeff_fast.kernels._vectors import (
    LANES,
    add_products,
    set_products,
    set_scaled,
    take_products,
)

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, Float, Int64, Plan, Scoring, ThetaMap, Workspace


def lanes_size(width: int, border: int) -> int:
    """Numbers of scratch that a chunk needs: the most of what the functions below lay out in it."""
    pairs = width * (width + 1) // 2
    square, panel = width * width, width * border
    eliminate = 3 * square + panel + border * border + width + 2
    information = 2 * width + panel + 3 * pairs + pairs * pairs + panel * width
    invert = 4 * square + 3 * panel
    return LANES * max(eliminate, information, invert)


@small_kernel
def clear(s: Float, o: int, count: int) -> None:
    for i in range(o, o + count):
        s[i] = 0.0


@small_kernel
def total(s: Float, o: int) -> float:
    t = 0.0
    for e in range(LANES):
        t += s[o + e]
    return t


@small_kernel
def gather(a: Float, first: int, size: int, count: int, s: Float, o: int) -> None:
    """Take ``size`` entries of each of ``count`` blocks, whose first begins at ``first``, into lanes."""
    if count < LANES:
        clear(s, o, size * LANES)
    for e in range(size):
        for b in range(count):
            s[o + e * LANES + b] = a[first + b * size + e]


@inner_kernel
def load(
    w: int, border: int, cross: CrossProduct, b: int, count: int, lam: Float, s: Float, a: int, x: int, t: int
) -> None:
    """Take a tile's ``A_bb`` and ``A_bX``, and ``A_bb Lambda`` into ``t``."""
    row = w * LANES
    gather(cross.diag, b * w * w, w * w, count, s, a)
    gather(cross.panel, b * w * border, w * border, count, s, x)
    for i in range(w):
        for j in range(w):
            set_scaled(s, t + i * row + j * LANES, s, a + i * row, LANES, lam, j, w, w)


@inner_kernel
def cholesky(w: int, s: Float, o: int, product: int, least: int) -> None:
    """Lower factor in place, the reciprocals of its pivots on the diagonal. The pivots' squares are multiplied into
    ``product``, and the smallest kept in ``least``."""
    row = w * LANES
    for j in range(w):
        at = o + j * row + j * LANES
        take_products(s, at, s, o + j * row, LANES, s, o + j * row, LANES, j)
        for e in range(LANES):
            s[least + e] = min(s[least + e], s[at + e])
            s[product + e] *= s[at + e]
            s[at + e] = 1.0 / math.sqrt(s[at + e])
        for i in range(j + 1, w):
            low = o + i * row + j * LANES
            take_products(s, low, s, o + i * row, LANES, s, o + j * row, LANES, j)
            set_products(s, low, s, low, LANES, s, at, LANES, 1)


@inner_kernel
def invert_lower(w: int, s: Float, o: int, r: Float, r0: int) -> None:
    """``R = L^{-1}`` from what ``cholesky`` leaves."""
    row = w * LANES
    for j in range(w):
        for e in range(LANES):
            r[r0 + j * row + j * LANES + e] = s[o + j * row + j * LANES + e]
        for i in range(j + 1, w):
            at = r0 + i * row + j * LANES
            set_products(r, at, s, o + i * row + j * LANES, LANES, r, r0 + j * row + j * LANES, row, i - j)
            for e in range(LANES):
                r[at + e] *= -s[o + i * row + i * LANES + e]


@inner_kernel
def eliminate_lanes(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chunk: int) -> None:
    """Factor the blocks of a chunk and sum what they subtract from the border, and their log-determinants (NaN when a pivot
    is not positive)."""
    border = plan.border
    w = plan.width[0]
    r, v = work.lower_diag, work.lower_panel
    s = work.lanes[chunk]
    row = w * LANES
    long = border * LANES
    a = 0
    x = a + w * row
    t = x + w * long
    m = t + w * row
    y = m + w * row
    sums = y + row
    product = sums + border * long
    least = product + LANES
    clear(s, sums, border * long)
    for e in range(LANES):
        s[product + e] = 1.0
        s[least + e] = 1.0
    logdet = 0.0
    hi = work.chunk[chunk + 1]
    for b in range(work.chunk[chunk], hi, LANES):
        load(w, border, cross, b, min(LANES, hi - b), lam, s, a, x, t)
        for i in range(w):
            for j in range(i + 1):
                at = m + i * row + j * LANES
                set_scaled(s, at, s, t + j * LANES, row, lam, i, w, w)
            for e in range(LANES):
                s[at + e] += 1.0
        cholesky(w, s, m, product, least)
        r0 = b * w * w
        invert_lower(w, s, m, r, r0)
        v0 = b * w * border
        for c in range(border):
            for i in range(w):
                set_scaled(s, y + i * LANES, s, x + c * LANES, long, lam, i, w, w)
            for i in range(w):
                set_products(v, v0 + i * long + c * LANES, r, r0 + i * row, LANES, s, y, LANES, i + 1)
            for d in range(c + 1):
                add_products(s, sums + c * long + d * LANES, v, v0 + c * LANES, long, v, v0 + d * LANES, long, w)
        for e in range(LANES):
            if not 1e-150 < s[product + e] < 1e150:
                logdet += math.log(s[product + e])
                s[product + e] = 1.0
    for e in range(LANES):
        logdet += math.log(s[product + e])
        if not s[least + e] > 0.0:
            logdet = math.nan
    for c in range(border):
        for d in range(c + 1):
            work.chunk_border[chunk, c * border + d] = total(s, sums + c * long + d * LANES)
    work.chunk_logdet[chunk] = logdet


@inner_kernel
def effects(
    w: int, border: int, r: Float, r0: int, v: Float, v0: int, known: Float, first: int, s: Float, z: int, o: int
) -> None:
    """``R'V w_X``, the random effects of the solution column but for their sign; its border begins at ``known[first]``, and
    ``z`` is scratch."""
    row = w * LANES
    for i in range(w):
        set_scaled(s, z + i * LANES, v, v0 + i * border * LANES, LANES, known, first, 1, border)
    for i in range(w):
        set_products(s, o + i * LANES, r, r0 + i * row + i * LANES, row, s, z + i * LANES, LANES, w - i)


@inner_kernel
def turn(w: int, border: int, r: Float, r0: int, v: Float, v0: int, s: Float, u: int) -> None:
    """``U = R'V``."""
    row = w * LANES
    long = border * LANES
    for i in range(w):
        for c in range(border):
            at = i * long + c * LANES
            set_products(s, u + at, r, r0 + i * row + i * LANES, row, v, v0 + at, long, w - i)


@small_kernel
def inverse_entry(w: int, i: int, j: int, r: Float, r0: int, s: Float, at: int) -> None:
    """Entry (i, j) of ``M_bb^{-1} = R'R``, j <= i."""
    row = w * LANES
    set_products(s, at, r, r0 + i * row + i * LANES, row, r, r0 + i * row + j * LANES, row, w - i)


@inner_kernel
def solve_lanes(plan: Plan, work: Workspace, chunk: int) -> None:
    """``gradient.solve_blocks``."""
    border = plan.border
    w = plan.width[0]
    r, v = work.lower_diag, work.lower_panel
    s = work.lanes[chunk]
    z = w * LANES
    hi = work.chunk[chunk + 1]
    for b in range(work.chunk[chunk], hi, LANES):
        effects(w, border, r, b * w * w, v, b * w * border, work.solution, plan.trunk_start, s, z, 0)
        for e in range(min(LANES, hi - b)):
            for i in range(w):
                work.solution[(b + e) * w + i] = -s[i * LANES + e]


@small_kernel
def pair(i: int, j: int) -> int:
    """Place of an unordered pair."""
    return max(i, j) * (max(i, j) + 1) // 2 + min(i, j)


@inner_kernel
def combine(
    w: int, p: int, x_of: Int64, y_of: Int64, s: Float, square: int, cubic: int, mixed: int, slope: Float, hessian: Float,
    fixed: Float
) -> None:
    """What ``information.block_information`` sums, from sums of products: with ``beta_t = e_x u_y + e_y u_x`` every term is one
    of four of them."""
    pairs = w * (w + 1) // 2
    for t in range(x_of.shape[0]):
        x = x_of[t]
        y = y_of[t]
        slope[t] = 2.0 * total(s, square + pair(x, y) * LANES)
        for j in range(p):
            # effects come without their sign, which only matters here
            fixed[j, t] = total(s, mixed + ((x * p + j) * w + y) * LANES) + total(s, mixed + ((y * p + j) * w + x) * LANES)
        for k in range(t + 1):
            value = 0.0
            for side in range(4):
                a = x if side < 2 else y
                c = y if side < 2 else x
                even = side % 2 == 0
                b = x_of[k] if even else y_of[k]
                d = y_of[k] if even else x_of[k]
                if a == b:
                    value += total(s, square + pair(c, d) * LANES)
                value -= total(s, cubic + (pair(a, b) * pairs + pair(c, d)) * LANES)
            hessian[t, k] = value


@inner_kernel
def information_lanes(plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, chunk: int) -> None:
    """``information.block_information``, by sums over the blocks of ``u_c u_d``, ``[M^{-1}]_ab u_c u_d`` and ``U_aj u_c``."""
    border = plan.border
    p = border - 1
    w = plan.width[0]
    pairs = w * (w + 1) // 2
    r, v = work.lower_diag, work.lower_panel
    s = work.lanes[chunk]
    u = 0
    z = u + w * LANES
    turned = z + w * LANES
    inverse = turned + w * border * LANES
    products = inverse + pairs * LANES
    square = products + pairs * LANES
    cubic = square + pairs * LANES
    mixed = cubic + pairs * pairs * LANES
    clear(s, square, (pairs + pairs * pairs + w * p * w) * LANES)
    for b in range(work.chunk[chunk], work.chunk[chunk + 1], LANES):
        r0 = b * w * w
        v0 = b * w * border
        effects(w, border, r, r0, v, v0, work.solution, plan.trunk_start, s, z, u)
        turn(w, border, r, r0, v, v0, s, turned)
        for i in range(w):
            for j in range(i + 1):
                k = pair(i, j) * LANES
                inverse_entry(w, i, j, r, r0, s, inverse + k)
                set_products(s, products + k, s, u + i * LANES, LANES, s, u + j * LANES, LANES, 1)
                add_products(s, square + k, s, u + i * LANES, LANES, s, u + j * LANES, LANES, 1)
        for k in range(pairs):
            for i in range(pairs):
                at = cubic + (k * pairs + i) * LANES
                add_products(s, at, s, inverse + k * LANES, LANES, s, products + i * LANES, LANES, 1)
        for i in range(w):
            for j in range(p):
                for k in range(w):
                    at = mixed + ((i * p + j) * w + k) * LANES
                    add_products(s, at, s, turned + (i * border + j) * LANES, LANES, s, u + k * LANES, LANES, 1)
    combine(w, p, theta_map.x, theta_map.y, s, square, cubic, mixed, scoring.slope[chunk], scoring.hessian[chunk],
            scoring.fixed[chunk])


@inner_kernel
def invert_lanes(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chunk: int, want_gradient: bool) -> None:
    """``gradient.invert_blocks``: the chunk's gradient, or the selected inverse in ``inverse_diag``."""
    border = plan.border
    w = plan.width[0]
    r, v = work.lower_diag, work.lower_panel
    s_border = work.inverse_border.reshape(-1)
    s = work.lanes[chunk]
    row = w * LANES
    long = border * LANES
    a = 0
    x = a + w * row
    t = x + w * long
    u = t + w * row
    q = u + w * long
    own = q + w * long
    sums = own + w * row
    clear(s, sums, w * row)
    hi = work.chunk[chunk + 1]
    for b in range(work.chunk[chunk], hi, LANES):
        count = min(LANES, hi - b)
        r0 = b * w * w
        v0 = b * w * border
        turn(w, border, r, r0, v, v0, s, u)
        for i in range(w):
            for c in range(border):
                set_scaled(s, q + i * long + c * LANES, s, u + i * long, LANES, s_border, c, border, border)
        for i in range(w):
            for j in range(i + 1):
                at = own + i * row + j * LANES
                inverse_entry(w, i, j, r, r0, s, at)
                add_products(s, at, s, q + i * long, LANES, s, u + j * long, LANES, border)
                if i != j:
                    for e in range(LANES):
                        s[own + j * row + i * LANES + e] = s[at + e]
        if not want_gradient:
            for e in range(count):
                for i in range(w * w):
                    work.inverse_diag[(b + e) * w * w + i] = s[own + i * LANES + e]
            continue
        load(w, border, cross, b, count, lam, s, a, x, t)
        for i in range(w):
            for j in range(w):
                at = sums + i * row + j * LANES
                add_products(s, at, s, t + i * row, LANES, s, own + j * LANES, row, w)
                take_products(s, at, s, x + i * long, LANES, s, q + j * long, LANES, border)
    for i in range(w * w):
        work.chunk_grad[chunk, i] = total(s, sums + i * LANES)
