"""Codes of short strings, by hashing the sixteen bytes that Arrow keeps of each.

A *view* is two integers of eight bytes: the length in the lower half of the first, and then, of a string of up to
``INLINE`` bytes, the bytes themselves, followed by zeros. So two such strings are equal if their views are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Int32, Int64

# bytes of a string that fit into its view
INLINE = 12
# what ``code_views`` returns as the row where it meets a longer one
LONG = -1


@kernel
def find_view(slots: Int32, keys: Int64, a: int, b: int) -> int:
    """The slot of a view, or the free one (-1) where it belongs; the number of slots is a power of two."""
    mask: int = slots.shape[0] - 1
    mixed = (a ^ (b << 1)) * 0x1E3779B97F4A7C15
    mixed = (mixed ^ (mixed >> 29) ^ b) * 0x3F58476D1CE4E5B9
    slot: int = (mixed >> 31) & mask
    while slots[slot] >= 0 and (keys[2 * slots[slot]] != a or keys[2 * slots[slot] + 1] != b):
        slot = (slot + 1) & mask
    return slot


@kernel
def code_views(
    views: Int64, codes: Int32, row: int, slots: Int32, keys: Int64, first: Int64, shift: int, count: int
) -> tuple[int, int]:
    """Number views, from ``row`` on, in order of appearance, until the table of the ``count`` known ones is half full.

    Returns the row where it stopped, ``LONG`` if its string is too long, and the number of views now known: these are in
    ``keys``, and the rows where they appeared first in ``first`` (plus ``shift``).
    """
    n = codes.shape[0]
    last_a = 0
    last_b = 0
    last = -1
    while row < n:
        a = views[2 * row]
        b = views[2 * row + 1]
        if last < 0 or a != last_a or b != last_b:
            if 2 * (count + 1) > slots.shape[0]:
                return row, count
            if a & 0xFFFFFFFF > INLINE:
                return LONG, count
            slot = find_view(slots, keys, a, b)
            if slots[slot] < 0:
                slots[slot] = count
                keys[2 * count] = a
                keys[2 * count + 1] = b
                first[count] = shift + row
                count += 1
            last_a = a
            last_b = b
            last = slots[slot]
        codes[row] = last
        row += 1
    return n, count


@kernel
def enter_views(slots: Int32, keys: Int64, count: int) -> None:
    """Enter known views into an empty table."""
    for i in range(count):
        slots[find_view(slots, keys, keys[2 * i], keys[2 * i + 1])] = i
