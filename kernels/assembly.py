"""Accumulation of the cross-product, and of fitted random effects, over chunks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int32, Int64


@kernel
def accumulate_factor(
    codes: Int32, z: Float, xy: Float, first_block: int, diag_ptr: Int64, panel_ptr: Int64, panel_cols: Int64,
    diag: Float, panel: Float
) -> None:
    """Add ``Z'Z`` to the diagonal blocks and ``Z'[X y]`` to the border of the panels, over a chunk of rows."""
    n = codes.shape[0]
    w = z.shape[1]
    border = xy.shape[1]
    for r in range(n):
        b = first_block + codes[r]
        d0 = diag_ptr[b]
        nc = panel_cols[b]
        p0 = panel_ptr[b] + nc - border
        for i in range(w):
            zi = z[r, i]
            for j in range(w):
                diag[d0 + i * w + j] += zi * z[r, j]
            for j in range(border):
                panel[p0 + i * nc + j] += zi * xy[r, j]


@kernel
def accumulate_pair(
    codes_a: Int32, z_a: Float, first_a: int, codes_b: Int32, z_b: Float, first_b: int, neighbour_ptr: Int64,
    neighbour: Int32, neighbour_off: Int32, panel_ptr: Int64, panel_cols: Int64, panel: Float
) -> None:
    """Add ``Z_a'Z_b`` over a chunk of rows; the panel columns of a pair of levels are found by bisection."""
    wa = z_a.shape[1]
    wb = z_b.shape[1]
    for r in range(codes_a.shape[0]):
        a = first_a + codes_a[r]
        b = first_b + codes_b[r]
        low = neighbour_ptr[a]
        high = neighbour_ptr[a + 1] - 1
        while low < high:
            middle = (low + high) // 2
            if neighbour[middle] < b:
                low = middle + 1
            else:
                high = middle
        nc = panel_cols[a]
        o = panel_ptr[a] + neighbour_off[low]
        for i in range(wa):
            zi = z_a[r, i]
            for j in range(wb):
                panel[o + i * nc + j] += zi * z_b[r, j]


@kernel
def add_random_effects(codes: Int32, z: Float, effects: Float, out: Float) -> None:
    """``out[r] += z[r] . effects[codes[r]]``; a negative code (a level the fit has not seen) adds nothing."""
    w = z.shape[1]
    for r in range(codes.shape[0]):
        k = codes[r]
        if k >= 0:
            s = 0.0
            for j in range(w):
                s += z[r, j] * effects[k, j]
            out[r] += s
