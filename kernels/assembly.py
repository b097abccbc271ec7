"""Accumulation of the cross-product, and of fitted random effects, over chunks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._vectors import prefetch

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int32, Int64

# a row's block is asked for this many rows ahead
AHEAD = 16


@kernel(quick=True)
def accumulate_levels(codes: Int32, z: Float, xy: Float, diag: Float, panel: Float) -> None:
    """``accumulate_factor`` for a lone grouping factor, whose blocks are its levels, one after another.

    Widths 1 and 2 are most models. The loops are too short for vectors, and preparing for them takes longer than they do.
    """
    n = codes.shape[0]
    w = z.shape[1]
    border = xy.shape[1]
    for r in range(n):
        ahead = codes[min(r + AHEAD, n - 1)]
        prefetch(diag, ahead * w * w)
        prefetch(panel, ahead * w * border)
        d0 = codes[r] * w * w
        p0 = codes[r] * w * border
        if w == 1:
            first = z[r, 0]
            diag[d0] += first * first
            for j in range(border):
                panel[p0 + j] += first * xy[r, j]
        elif w == 2:
            first = z[r, 0]
            second = z[r, 1]
            diag[d0] += first * first
            diag[d0 + 1] += first * second
            diag[d0 + 2] += first * second
            diag[d0 + 3] += second * second
            for j in range(border):
                x = xy[r, j]
                panel[p0 + j] += first * x
                panel[p0 + border + j] += second * x
        else:
            for i in range(w):
                zi = z[r, i]
                for j in range(w):
                    diag[d0 + i * w + j] += zi * z[r, j]
                for j in range(border):
                    panel[p0 + i * border + j] += zi * xy[r, j]


@kernel
def accumulate_factor(
    blocks: Int32, z: Float, xy: Float, diag_ptr: Int64, panel_ptr: Int64, panel_cols: Int64, diag: Float, panel: Float
) -> None:
    """Add ``Z'Z`` to the diagonal blocks and ``Z'[X y]`` to the border of the panels, over rows of which ``blocks`` tells the
    block."""
    n = blocks.shape[0]
    w = z.shape[1]
    border = xy.shape[1]
    for r in range(n):
        b = blocks[r]
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
    blocks_a: Int32, z_a: Float, blocks_b: Int32, z_b: Float, neighbour_ptr: Int64, neighbour: Int32, neighbour_off: Int32,
    panel_ptr: Int64, panel_cols: Int64, panel: Float
) -> None:
    """Add ``Z_a'Z_b`` over rows to the panel of whichever block is eliminated first; its columns of a pair of levels are
    found by bisection."""
    wa = z_a.shape[1]
    wb = z_b.shape[1]
    for r in range(blocks_a.shape[0]):
        a = blocks_a[r]
        b = blocks_b[r]
        first = min(a, b)
        second = max(a, b)
        low = neighbour_ptr[first]
        high = neighbour_ptr[first + 1] - 1
        while low < high:
            middle = (low + high) // 2
            if neighbour[middle] < second:
                low = middle + 1
            else:
                high = middle
        nc = panel_cols[first]
        o = panel_ptr[first] + neighbour_off[low]
        if a < b:
            for i in range(wa):
                zi = z_a[r, i]
                for j in range(wb):
                    panel[o + i * nc + j] += zi * z_b[r, j]
        else:
            for i in range(wb):
                zi = z_b[r, i]
                for j in range(wa):
                    panel[o + i * nc + j] += zi * z_a[r, j]


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
