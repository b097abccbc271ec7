"""The dense trunk: what the sparse blocks leave of it, its factor and its inverse, in tiles.

A step's tasks are independent of each other and write apart, so that any number of threads gives the same bits. Task t of
a kernel is done by the call with ``first <= t``, ``t = first, first + step, ...``. Tiles depend on the size of the trunk
only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, small_kernel
from mixeff_fast.kernels._panels import cholesky_at, inverse_at, multiply_at, solve_rows_at

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, DenseTrunk, Float, Int64, Plan, Workspace

TILE = 192
# how many slices of rows receive the sparse blocks' contributions
SLICES = 8


@small_kernel
def trunk_columns(plan: Plan, b: int, columns: Int64) -> int:
    """Fill ``columns`` with the trunk positions of block b's trunk columns; returns how many there are. They are the last
    of its panel but for the border."""
    n = 0
    end = plan.neighbour_ptr[b + 1]
    first = plan.neighbour_ptr[b]
    while first < end and plan.neighbour[first] < plan.n_sparse:
        first += 1
    for e in range(first, end):
        r = plan.neighbour[e]
        c = plan.block_col[r] - plan.trunk_start
        for j in range(plan.width[plan.block_factor[r]]):
            columns[n] = c + j
            n += 1
    return n


@small_kernel
def run_of_full(plan: Plan, b: int, last: int) -> int:
    """The end of the run of blocks from b on that meet every trunk column (b itself if it does not): their panels are one
    matrix, rows by panel columns."""
    nc = plan.trunk_size + plan.border
    while b < last and plan.panel_cols[b] == nc and plan.first_filled == plan.n_sparse:
        b += 1
    return b


@small_kernel
def slice_rows(plan: Plan, index: int) -> int:
    """First row of a slice: slices of a triangle hold about as many entries each. The border's rows belong to the last."""
    if index >= SLICES:
        return int(plan.trunk_size + plan.border)
    return int(plan.trunk_size * (index / SLICES) ** 0.5)


@inner_kernel
def receive(plan: Plan, work: Workspace, trunk: DenseTrunk, first: int, step: int) -> None:
    """Set the trunk to minus the products of the sparse blocks' panels, slice by slice of rows."""
    m = plan.trunk_size
    values = trunk.values
    panel = work.lower_panel
    for task in range(first, SLICES, step):
        columns = work.columns[task]
        lo = slice_rows(plan, task)
        hi = slice_rows(plan, task + 1)
        for i in range(lo, hi):
            for j in range(min(i + 1, m)):
                values[i, j] = 0.0
        b = 0
        while b < plan.n_sparse:
            p0 = plan.panel_ptr[b]
            nc = plan.panel_cols[b]
            end = run_of_full(plan, b, plan.n_sparse)
            if end > b:
                rows = plan.block_col[end - 1] + plan.width[plan.block_factor[end - 1]] - plan.block_col[b]
                multiply_at(True, False, hi - lo, min(hi, m), rows, -1.0, panel, p0 + lo, nc, panel, p0, nc, 1.0, trunk.flat,
                            lo * m, m)
                b = end
                continue
            n = trunk_columns(plan, b, columns)
            o = nc - plan.border - n
            x0 = 0
            x1 = n
            while x0 < x1:
                middle = (x0 + x1) // 2
                if columns[middle] < lo:
                    x0 = middle + 1
                else:
                    x1 = middle
            for t in range(plan.width[plan.block_factor[b]]):
                q0 = p0 + t * nc + o
                x = x0
                while x < n and columns[x] < hi:
                    f = panel[q0 + x]
                    row = columns[x]
                    for y in range(x + 1):
                        values[row, columns[y]] -= f * panel[q0 + y]
                    x += 1
                if hi > m:
                    for i in range(plan.border):
                        f = panel[q0 + n + i]
                        for y in range(n):
                            values[m + i, columns[y]] -= f * panel[q0 + y]
            b += 1


@inner_kernel
def load(plan: Plan, cross: CrossProduct, lam: Float, trunk: DenseTrunk, small: Float) -> None:
    """Add ``Lambda'A Lambda + I`` of the trunk, and the border's rows."""
    m = plan.trunk_size
    values = trunk.values
    a = cross.panel
    for b in range(plan.n_sparse, plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        c0 = plan.block_col[b] - plan.trunk_start
        p0 = plan.panel_ptr[b]
        nc = plan.panel_cols[b]
        for e in range(plan.neighbour_ptr[b] - 1, plan.neighbour_ptr[b + 1]):
            own = e < plan.neighbour_ptr[b]
            kr = k if own else plan.block_factor[plan.neighbour[e]]
            wr = plan.width[kr]
            lr = plan.lam_ptr[kr]
            cr = c0 if own else plan.block_col[plan.neighbour[e]] - plan.trunk_start
            if w == 1 and wr == 1:
                if own:
                    values[c0, c0] += lam[l0] * cross.diag[plan.diag_ptr[b]] * lam[l0] + 1.0
                else:
                    values[cr, c0] += lam[l0] * a[p0 + plan.neighbour_off[e]] * lam[lr]
                continue
            for i in range(w):
                for j in range(wr):
                    s = 0.0
                    for t in range(wr):
                        if own:
                            s += cross.diag[plan.diag_ptr[b] + i * w + t] * lam[lr + t * wr + j]
                        else:
                            s += a[p0 + plan.neighbour_off[e] + i * nc + t] * lam[lr + t * wr + j]
                    small[i * wr + j] = s
            for i in range(w):
                for j in range(wr):
                    s = 1.0 if own and i == j else 0.0
                    for t in range(w):
                        s += lam[l0 + t * w + i] * small[t * wr + j]
                    if not own or j >= i:
                        values[cr + j, c0 + i] += s
        for i in range(w):
            for j in range(plan.border):
                s = 0.0
                for t in range(w):
                    s += lam[l0 + t * w + i] * a[p0 + t * nc + nc - plan.border + j]
                values[m + j, c0 + i] += s


@small_kernel
def n_tiles(size: int) -> int:
    return (size + TILE - 1) // TILE


@inner_kernel
def factor_diagonal(trunk: DenseTrunk, j: int) -> int:
    """Factor the diagonal tile of step j; 0, or where a pivot is not positive."""
    m = trunk.values.shape[1]
    j0 = j * TILE
    return int(cholesky_at(trunk.flat, j0 * m + j0, m, min(j0 + TILE, m) - j0))


@inner_kernel
def factor_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    """The rows below the diagonal tile of step j, in tiles from ``j0 + TILE`` on; the border's rows go with the last."""
    a = trunk.flat
    height, m = trunk.values.shape
    j0 = j * TILE
    j1 = min(j0 + TILE, m)
    for task in range(first, n_tiles(height - j1), step):
        i0 = j1 + task * TILE
        i1 = min(i0 + TILE, height)
        solve_rows_at(a, j0 * m + j0, m, j1 - j0, a, i0 * m + j0, m, i1 - i0, True)


@inner_kernel
def update_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    """Subtract step j's products from the rows below, which reach as far as their own diagonal tile."""
    a = trunk.flat
    height, m = trunk.values.shape
    j0 = j * TILE
    j1 = min(j0 + TILE, m)
    for task in range(first, n_tiles(height - j1), step):
        i0 = j1 + task * TILE
        i1 = min(i0 + TILE, height)
        multiply_at(False, True, i1 - i0, min(i1, m) - j1, j1 - j0, -1.0, a, i0 * m + j0, m, a, j1 * m + j0, m, 1.0, a,
                    i0 * m + j1, m)


@inner_kernel
def factor_trunk(trunk: DenseTrunk) -> int:
    """All steps of the factorization; 0, or where a pivot is not positive."""
    for j in range(n_tiles(trunk.values.shape[1])):
        code = factor_diagonal(trunk, j)
        if code != 0:
            return code
        factor_rows(trunk, j, 0, 1)
        update_rows(trunk, j, 0, 1)
    return 0


@inner_kernel
def spread_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    """``scratch = U = L_RJ L_JJ^{-1}`` for the rows R below step j's diagonal tile."""
    a = trunk.flat
    u = trunk.scratch
    height, m = trunk.values.shape
    j0 = j * TILE
    j1 = min(j0 + TILE, m)
    for task in range(first, n_tiles(height - j1), step):
        i0 = j1 + task * TILE
        i1 = min(i0 + TILE, height)
        for i in range(i0, i1):
            for c in range(j1 - j0):
                u[i * TILE + c] = a[i * m + j0 + c]
        solve_rows_at(a, j0 * m + j0, m, j1 - j0, u, i0 * TILE, TILE, i1 - i0, False)


@inner_kernel
def invert_rows(plan: Plan, work: Workspace, trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    """``S_RJ = -S_RR U``. The diagonal tiles of S are whole, so that a row of tiles and the column below it are two
    products; the border's rows are the last task."""
    s = trunk.flat
    u = trunk.scratch
    m = plan.trunk_size
    border = plan.border
    j0 = j * TILE
    j1 = min(j0 + TILE, m)
    width = j1 - j0
    count = n_tiles(m - j1)
    for task in range(first, count + 1, step):
        if task == count:
            o = m * m + j0
            multiply_at(False, False, border, width, m - j1, -1.0, s, m * m + j1, m, u, j1 * TILE, TILE, 0.0, s, o, m)
            for i in range(border):
                for t in range(border):
                    f = work.inverse_border[i, t]
                    for c in range(width):
                        s[o + i * m + c] -= f * u[(m + t) * TILE + c]
            continue
        i0 = j1 + task * TILE
        i1 = min(i0 + TILE, m)
        o = i0 * m + j0
        multiply_at(False, False, i1 - i0, width, i1 - j1, -1.0, s, i0 * m + j1, m, u, j1 * TILE, TILE, 0.0, s, o, m)
        multiply_at(True, False, i1 - i0, width, m + border - i1, -1.0, s, i1 * m + i0, m, u, i1 * TILE, TILE, 1.0, s, o, m)


@inner_kernel
def invert_diagonal(plan: Plan, trunk: DenseTrunk, j: int) -> None:
    """``S_JJ = L_JJ^{-T} L_JJ^{-1} - U'S_RJ``, both triangles."""
    s = trunk.flat
    m = plan.trunk_size
    tile = trunk.tile
    j0 = j * TILE
    j1 = min(j0 + TILE, m)
    width = j1 - j0
    for i in range(width):
        for c in range(i + 1):
            tile[i * width + c] = s[(j0 + i) * m + j0 + c]
    inverse_at(tile, 0, width, width)
    multiply_at(True, False, width, width, m + plan.border - j1, -1.0, trunk.scratch, j1 * TILE, TILE, s, j1 * m + j0, m, 1.0,
                tile, 0, width)
    for i in range(width):
        for c in range(i + 1):
            s[(j0 + i) * m + j0 + c] = tile[i * width + c]
            s[(j0 + c) * m + j0 + i] = tile[i * width + c]


@inner_kernel
def invert_trunk(plan: Plan, work: Workspace, trunk: DenseTrunk) -> None:
    """Replace the factor by the inverse, ``inverse_border`` being that of the border: Takahashi, Fagan & Chin (1973)."""
    for j in range(n_tiles(plan.trunk_size) - 1, -1, -1):
        spread_rows(trunk, j, 0, 1)
        invert_rows(plan, work, trunk, j, 0, 1)
        invert_diagonal(plan, trunk, j)
