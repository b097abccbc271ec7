"""Sums over rows by level, and by pair of levels that meet in a row.

The sums of one level are the lower triangle of ``Z'Z`` by rows, then ``Z'[X y]`` by rows. Those of a pair are ``Z_a'Z_b``
by rows, in a table addressed by the pair's key ``level_a * levels_b + level_b``: with open addressing (a free slot is -1),
or directly where there is a slot for every possible key.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int32, Int64


@kernel
def accumulate_levels(codes: Int32, z: Float, xy: Float, own: Int64, sums: Float) -> None:
    """Add a chunk of rows to the sums of their levels, with the columns ``own`` of the border.

    ``sums`` has shape (levels, w (w + 1) / 2 + w m), m the number of these columns. Widths 1 and 2 are most models.
    """
    w = z.shape[1]
    m = own.shape[0]
    n = codes.shape[0]
    if w == 1:
        for r in range(n):
            level = codes[r]
            first = z[r, 0]
            sums[level, 0] += first * first
            for j in range(m):
                sums[level, 1 + j] += first * xy[r, own[j]]
    elif w == 2:
        for r in range(n):
            level = codes[r]
            first = z[r, 0]
            second = z[r, 1]
            sums[level, 0] += first * first
            sums[level, 1] += second * first
            sums[level, 2] += second * second
            for j in range(m):
                x = xy[r, own[j]]
                sums[level, 3 + j] += first * x
                sums[level, 3 + m + j] += second * x
    else:
        for r in range(n):
            level = codes[r]
            at = 0
            for i in range(w):
                zi = z[r, i]
                for j in range(i + 1):
                    sums[level, at] += zi * z[r, j]
                    at += 1
            for i in range(w):
                zi = z[r, i]
                for j in range(m):
                    sums[level, at] += zi * xy[r, own[j]]
                    at += 1


@kernel("int64(int64[::1], boolean, int64)")
def find_slot(slots: Int64, direct: bool, key: int) -> int:
    """The slot of a key, or the free one where it belongs; the number of slots is a power of two unless ``direct``."""
    if direct:
        return key
    mask: int = slots.shape[0] - 1
    # Fibonacci hashing: neighbouring keys are spread over the table
    slot: int = ((key * 0x1E3779B97F4A7C15) >> 20) & mask
    while slots[slot] >= 0 and slots[slot] != key:
        slot = (slot + 1) & mask
    return slot


@kernel
def accumulate_pairs(
    codes_a: Int32, z_a: Float, codes_b: Int32, z_b: Float, levels_b: int, slots: Int64, direct: bool, sums: Float,
    first: int, count: int, new: Int64
) -> tuple[int, int]:
    """Add rows from ``first`` on to the sums of their pairs, until the table is two thirds full.

    Returns the row where it stopped, and the number of pairs now in the table (``count`` before). ``new[r]`` becomes 1
    for a row whose pair was not there.
    """
    wa = z_a.shape[1]
    wb = z_b.shape[1]
    n = codes_a.shape[0]
    r = first
    while r < n:
        if not direct and 3 * (count + 1) > 2 * slots.shape[0]:
            return r, count
        key = codes_a[r] * levels_b + codes_b[r]
        slot = find_slot(slots, direct, key)
        if slots[slot] < 0:
            slots[slot] = key
            new[r] = 1
            count += 1
        for i in range(wa):
            zi = z_a[r, i]
            for j in range(wb):
                sums[slot, i * wb + j] += zi * z_b[r, j]
        r += 1
    return n, count


@kernel
def move_pairs(slots: Int64, sums: Float, wider: Int64, wider_sums: Float) -> None:
    """Enter the pairs of one table into an empty one that is larger."""
    for old in range(slots.shape[0]):
        if slots[old] >= 0:
            slot = find_slot(wider, False, slots[old])
            wider[slot] = slots[old]
            for j in range(sums.shape[1]):
                wider_sums[slot, j] = sums[old, j]
