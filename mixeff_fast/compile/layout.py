"""Where the blocks of a plan lie: their numbers, their columns, the blocks they meet, and their storage."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.compile.pairs import split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile.choice import Choice
    from mixeff_fast.compile.pairs import Pairs

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """The arrays of an ``EliminationPlan`` that say where things lie; ``uniform`` when all blocks are alike."""

    uniform: bool
    width: Int64
    first_block: Int64
    first_column: Int64
    level_block: tuple[Int32, ...]
    level_column: tuple[Int64, ...]
    block_factor: Int32
    block_col: Int64
    neighbour_ptr: Int64
    neighbour: Int32
    neighbour_off: Int32
    panel_ptr: Int64
    panel_cols: Int64
    diag_ptr: Int64
    panel_size: int
    diag_size: int

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """All that take memory."""
        return (
            *self.level_block, *self.level_column, self.block_factor, self.block_col, self.neighbour_ptr, self.neighbour,
            self.neighbour_off, self.panel_ptr, self.panel_cols, self.diag_ptr,
        )


def uniform_layout(n_levels: int, width: int, border: int) -> Layout:
    """The layout of a single factor."""
    none, zero = np.zeros(0, np.int32), np.zeros(1, np.int64)
    level = np.arange(n_levels)
    column = level * width
    panel, diag = width * border, width * width
    return Layout(
        uniform=True, width=np.array([width]), first_block=zero, first_column=zero,
        level_block=(level.astype(np.int32),), level_column=(column,), block_factor=np.zeros(n_levels, np.int32),
        block_col=column, neighbour_ptr=np.zeros(n_levels + 1, np.int64), neighbour=none, neighbour_off=none,
        panel_ptr=level * panel, panel_cols=np.full(n_levels, border), diag_ptr=level * diag,
        panel_size=n_levels * panel, diag_size=n_levels * diag,
    )


def block_layout(
    pairs: Pairs, n_levels: Sequence[int], width: Sequence[int], border: int, choice: Choice
) -> Layout:
    """The layout of several factors; a sparse trunk permutes its blocks."""
    order = [*choice.chain, *choice.rest]
    first_block = np.zeros(len(n_levels), np.int64)
    level_block = [np.zeros(0, np.int32)] * len(n_levels)
    block = 0
    for k in order:
        first_block[k] = block
        level_block[k] = np.arange(block, block + n_levels[k], dtype=np.int32)
        block += n_levels[k]
    widths = np.asarray(width, np.int64)
    block_factor = np.repeat(np.asarray(order, np.int32), [n_levels[k] for k in order])
    if choice.sparse is not None:
        graph, n_sparse = choice.sparse.graph, sum(n_levels[k] for k in choice.chain)
        place = np.empty(len(graph.width), np.int32)
        place[choice.sparse.order] = np.arange(n_sparse, block, dtype=np.int32)
        for k, start in zip(graph.factors, graph.first, strict=True):
            level_block[k] = place[start : start + n_levels[k]]
            block_factor[level_block[k]] = k
    block_width = widths[block_factor]
    block_col = np.cumsum(block_width) - block_width
    neighbour_ptr, neighbour = _neighbours(pairs, n_levels, level_block, block)
    before = np.zeros(len(neighbour) + 1, np.int64)
    np.cumsum(block_width[neighbour], out=before[1:])
    starts = before[neighbour_ptr]
    panel_cols = starts[1:] - starts[:-1] + border
    panel_ends, diag_ends = np.cumsum(block_width * panel_cols), np.cumsum(block_width * block_width)
    return Layout(
        uniform=False, width=widths, first_block=first_block, first_column=block_col[first_block],
        level_block=tuple(level_block), level_column=tuple(block_col[blocks] for blocks in level_block),
        block_factor=block_factor, block_col=block_col, neighbour_ptr=neighbour_ptr, neighbour=neighbour,
        neighbour_off=(before[:-1] - np.repeat(starts[:-1], np.diff(neighbour_ptr))).astype(np.int32),
        panel_ptr=panel_ends - block_width * panel_cols, panel_cols=panel_cols,
        diag_ptr=diag_ends - block_width * block_width, panel_size=int(panel_ends[-1]), diag_size=int(diag_ends[-1]),
    )


def _neighbours(
    pairs: Pairs, n_levels: Sequence[int], level_block: Sequence[Int32], n_blocks: int
) -> tuple[Int64, Int32]:
    """CSR of the later blocks that each block shares a row with."""
    met = np.empty(sum(len(own) for own in pairs.values()), np.int64)
    end = 0
    for (a, b), own in pairs.items():
        level_a, level_b = split(own, n_levels[b])
        x, y = level_block[a][level_a], level_block[b][level_b]
        part = met[end : end + len(own)]
        part[:] = np.minimum(x, y)
        part *= n_blocks
        part += np.maximum(x, y)
        end += len(own)
    met.sort()
    earlier = met // n_blocks
    ptr = np.zeros(n_blocks + 1, np.int64)
    np.cumsum(np.bincount(earlier, minlength=n_blocks), out=ptr[1:])
    met -= earlier * n_blocks
    return ptr, met.astype(np.int32)
