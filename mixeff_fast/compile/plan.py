"""The elimination plan: which levels are eliminated one by one, and what fills a dense trunk.

The factors eliminated block by block form a chain, each nested in the next: eliminating a level then touches exactly one
level of every later factor in the chain, so nothing fills in, at any depth. Every other factor goes to the trunk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class EliminationPlan:
    """Order of factors and the block layout that follows from it (all arrays in elimination order).

    Attributes
    ----------
    order
        Positions of the factors in the order they are eliminated, trunk last.
    n_chain
        How many of them are eliminated block by block.
    first_block, first_column
        Per factor *position* (not order): its first block and first scalar column.
    width
        Per factor position: scalar columns of one block.
    neighbour_ptr, neighbour, neighbour_off
        CSR of the later blocks each block meets, and where their columns sit in its panel.
    panel_ptr, panel_cols, diag_ptr, block_factor, block_col
        Storage layout per block.
    panel_size, diag_size
        Lengths of the panel and diagonal storage, in float64.
    flops
        Predicted floating-point operations of one factorization.
    bytes
        Predicted memory of cross-product and workspace.
    """

    order: tuple[int, ...]
    n_chain: int
    n_sparse: int
    first_filled: int
    trunk_start: int
    trunk_size: int
    border: int
    width: NDArray[np.int64]
    first_block: NDArray[np.int64]
    first_column: NDArray[np.int64]
    block_factor: NDArray[np.int32]
    block_col: NDArray[np.int64]
    neighbour_ptr: NDArray[np.int64]
    neighbour: NDArray[np.int32]
    neighbour_off: NDArray[np.int32]
    panel_ptr: NDArray[np.int64]
    panel_cols: NDArray[np.int64]
    diag_ptr: NDArray[np.int64]
    panel_size: int
    diag_size: int
    flops: float
    bytes: int


def is_nested(fine: NDArray[np.int32], coarse: NDArray[np.int32], n_fine: int) -> bool:
    """Whether every level of ``fine`` occurs under exactly one level of ``coarse``."""
    under = np.zeros(n_fine, np.int32)
    under[fine] = coarse
    return bool(np.array_equal(under[fine], coarse))


def choose_chain(codes: Sequence[NDArray[np.int32]], n_levels: Sequence[int], width: Sequence[int]) -> list[int]:
    """The factor with the most columns, and every factor that forms a chain of nesting with it, finest first."""
    positions = range(len(codes))
    leaf = max(positions, key=lambda k: (n_levels[k] * width[k], n_levels[k], -k))
    chain = [leaf]
    for k in sorted(positions, key=lambda k: (-n_levels[k], k)):
        if k != leaf and all(
            is_nested(codes[i], codes[j], n_levels[i])
            for i, j in (((c, k) if n_levels[c] >= n_levels[k] else (k, c)) for c in chain)
        ):
            chain.append(k)
    return sorted(chain, key=lambda k: (-n_levels[k], k))


def make_plan(
    codes: Sequence[NDArray[np.int32]], n_levels: Sequence[int], width: Sequence[int], n_fixed: int
) -> EliminationPlan:
    """Lay out the blocks of a model.

    Parameters
    ----------
    codes
        Per factor, the level of each row, shape (n,).
    n_levels, width
        Per factor, the number of levels and of random-effect columns per level.
    n_fixed
        Fixed-effect columns p; the border has p + 1.
    """
    chain = choose_chain(codes, n_levels, width)
    trunk = sorted(
        (k for k in range(len(codes)) if k not in chain), key=lambda k: (-n_levels[k] * width[k], k)
    )
    order = chain + trunk
    border = n_fixed + 1
    first_block = np.zeros(len(codes), np.int64)
    first_column = np.zeros(len(codes), np.int64)
    block = column = 0
    for k in order:
        first_block[k], first_column[k] = block, column
        block += n_levels[k]
        column += n_levels[k] * width[k]
    n_sparse = sum(n_levels[k] for k in chain)
    trunk_start = sum(n_levels[k] * width[k] for k in chain)
    trunk_size = column - trunk_start
    widths = np.asarray(width, np.int64)
    levels = np.asarray(n_levels, np.int64)
    order_array = np.asarray(order, np.int64)
    block_factor = np.repeat(order_array, levels[order_array]).astype(np.int32)
    block_width = widths[block_factor]
    block_col = np.concatenate(([0], np.cumsum(block_width)[:-1]))
    neighbour_ptr, neighbour = _neighbours(codes, n_levels, order, first_block, block)
    neighbour_width = block_width[neighbour]
    before = np.concatenate(([0], np.cumsum(neighbour_width)))
    spread = before[neighbour_ptr[1:]] - before[neighbour_ptr[:-1]]
    neighbour_off = (before[:-1] - np.repeat(before[neighbour_ptr[:-1]], np.diff(neighbour_ptr))).astype(np.int32)
    panel_cols = spread + border
    panel_ptr = np.concatenate(([0], np.cumsum(block_width * panel_cols)))
    diag_ptr = np.concatenate(([0], np.cumsum(block_width * block_width)))
    first_filled = n_levels[chain[0]]
    filled = int(panel_ptr[n_sparse] - panel_ptr[first_filled])
    dense = (trunk_size + border) ** 2
    cols = panel_cols[:n_sparse].astype(np.float64)
    flops = float(np.sum(block_width[:n_sparse] * cols * cols)) + (trunk_size + border) ** 3 / 3.0
    numbers = 2 * int(panel_ptr[-1]) + filled + 3 * int(diag_ptr[-1]) + 2 * dense + column
    index_bytes = neighbour.nbytes + neighbour_off.nbytes + 44 * block
    return EliminationPlan(
        order=tuple(order),
        n_chain=len(chain),
        n_sparse=n_sparse,
        first_filled=first_filled,
        trunk_start=trunk_start,
        trunk_size=trunk_size,
        border=border,
        width=widths,
        first_block=first_block,
        first_column=first_column,
        block_factor=block_factor,
        block_col=block_col,
        neighbour_ptr=neighbour_ptr,
        neighbour=neighbour,
        neighbour_off=neighbour_off,
        panel_ptr=panel_ptr[:-1].copy(),
        panel_cols=panel_cols,
        diag_ptr=diag_ptr[:-1].copy(),
        panel_size=int(panel_ptr[-1]),
        diag_size=int(diag_ptr[-1]),
        flops=flops,
        bytes=8 * numbers + index_bytes,
    )


def _neighbours(
    codes: Sequence[NDArray[np.int32]],
    n_levels: Sequence[int],
    order: Sequence[int],
    first_block: NDArray[np.int64],
    n_blocks: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """CSR of the later blocks that each block shares a row with."""
    if len(order) == 1:
        return np.zeros(n_blocks + 1, np.int64), np.zeros(0, np.int32)
    from scipy.sparse import coo_matrix

    pointers = [np.zeros(1, np.int64)]
    indices = []
    total = 0
    for place, k in enumerate(order[:-1]):
        later = order[place + 1 :]
        n = codes[k].shape[0]
        rows = np.tile(codes[k], len(later))
        columns = np.concatenate([codes[j] + np.int32(first_block[j]) for j in later])
        meets = coo_matrix((np.ones(n * len(later), np.bool_), (rows, columns)), shape=(n_levels[k], n_blocks)).tocsr()
        meets.sort_indices()
        pointers.append(meets.indptr[1:].astype(np.int64) + total)
        indices.append(meets.indices.astype(np.int32))
        total += meets.nnz
    pointers.append(np.full(n_levels[order[-1]], total, np.int64))
    return np.concatenate(pointers), np.concatenate(indices)
