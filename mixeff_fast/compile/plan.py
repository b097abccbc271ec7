"""The elimination plan: which levels are eliminated one by one, and how the rest, the trunk, is factored.

The factors eliminated block by block form a chain, each nested in the next: eliminating a level then touches exactly one
level of every later factor in the chain, so nothing fills in, at any depth. Every other factor goes to the trunk, which is
one dense matrix or, where that is expected to be faster, supernodes of a sparse one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.choice import Choice, choose
from mixeff_fast.compile.layout import Layout, block_layout, uniform_layout
from mixeff_fast.compile.pairs import level_pairs
from mixeff_fast.compile.trunk import dense_flops, stored_numbers, with_chain

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile.choice import Alternative, TrunkKind, TrunkRequest
    from mixeff_fast.compile.pairs import Pairs
    from mixeff_fast.kernels.structure import Supernodes

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EliminationPlan:
    """Order of factors and the block layout that follows from it (all arrays in elimination order).

    Attributes
    ----------
    trunk
        How what the chain leaves is factored.
    order
        Positions of the factors in the order they are eliminated, trunk last; a sparse trunk mixes the levels of its own.
    n_chain
        How many of them are eliminated block by block.
    first_block, first_column
        Per factor *position* (not order): its first block and first scalar column, if its blocks are contiguous: those of
        the chain and of a dense trunk.
    level_block, level_column
        Per factor position: block and first scalar column of each level.
    width
        Per factor position: scalar columns of one block.
    neighbour_ptr, neighbour, neighbour_off
        CSR of the later blocks each block meets, and where their columns sit in its panel.
    panel_ptr, panel_cols, diag_ptr, block_factor, block_col
        Storage layout per block.
    panel_size, diag_size
        Lengths of the panel and diagonal storage, in float64.
    supernodes
        Of a sparse trunk, else None.
    alternatives
        The trunks that were considered, the chosen one among them.
    flops, inverse_flops
        Predicted floating-point operations of one factorization, and of one inversion of the trunk.
    bytes
        Predicted memory of cross-product and workspace.
    """

    trunk: TrunkKind
    order: tuple[int, ...]
    n_chain: int
    n_sparse: int
    first_filled: int
    trunk_start: int
    trunk_size: int
    border: int
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
    supernodes: Supernodes | None
    alternatives: tuple[Alternative, ...]
    flops: float
    inverse_flops: float
    bytes: int


def make_plan(
    codes: Sequence[Int32], n_levels: Sequence[int], width: Sequence[int], n_fixed: int, trunk: TrunkRequest = "auto"
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
    trunk
        How to factor what the chain leaves; ``"auto"`` takes what is expected to be fastest.

    Examples
    --------
    >>> import numpy as np
    >>> subject, item = np.array([0, 0, 1, 1, 2], np.int32), np.array([0, 1, 0, 1, 0], np.int32)
    >>> plan = make_plan([item, subject], [2, 3], [1, 1], 1)
    >>> plan.order, plan.trunk, plan.trunk_size
    ((1, 0), 'dense', 2)
    """
    pairs = level_pairs(codes, n_levels) if len(codes) > 1 else {}
    return plan_from_pairs(pairs, n_levels, width, n_fixed, trunk)


def plan_from_pairs(
    pairs: Pairs, n_levels: Sequence[int], width: Sequence[int], n_fixed: int, trunk: TrunkRequest = "auto"
) -> EliminationPlan:
    """``make_plan`` without the rows: ``pairs`` says which levels of every two factors meet.

    Examples
    --------
    >>> import numpy as np
    >>> plan = plan_from_pairs({(0, 1): np.array([0, 1, 2, 3, 4])}, [2, 3], [1, 1], 1)
    >>> plan.order, plan.neighbour.tolist()
    ((1, 0), [3, 4, 3, 4, 3])
    """
    border = n_fixed + 1
    if len(n_levels) == 1:
        return _finish(Choice([0], [], None, ()), n_levels, border, uniform_layout(n_levels[0], width[0], border), None)
    choice = choose(pairs, n_levels, width, border, trunk)
    layout = block_layout(pairs, n_levels, width, border, choice)
    supernodes = None
    if choice.sparse is not None:
        n_sparse = sum(n_levels[k] for k in choice.chain)
        supernodes = with_chain(choice.sparse.supernodes, n_sparse, layout.neighbour_ptr, layout.neighbour)
    return _finish(choice, n_levels, border, layout, supernodes)


def _finish(
    choice: Choice, n_levels: Sequence[int], border: int, layout: Layout, supernodes: Supernodes | None
) -> EliminationPlan:
    """Add up what the plan costs."""
    width = layout.width
    chain, n_sparse = choice.chain, sum(n_levels[k] for k in choice.chain)
    trunk_start = sum(n_levels[k] * int(width[k]) for k in chain)
    trunk_size = sum(n_levels[k] * int(width[k]) for k in choice.rest)
    first_filled = n_levels[chain[0]]
    if layout.uniform:
        w = int(width[0])
        filled, flops = 0, float(n_sparse * w * border * border)
    else:
        filled = int(layout.panel_ptr[n_sparse] if n_sparse < len(layout.panel_ptr) else layout.panel_size)
        filled -= int(layout.panel_ptr[first_filled]) if first_filled < n_sparse else filled
        cols = layout.panel_cols[:n_sparse].astype(np.float64)
        flops = float(np.sum(width[layout.block_factor[:n_sparse]] * cols * cols))
    if choice.sparse is None:
        own = dense_flops(trunk_size, border)
        stored = (trunk_size + border) ** 2
    else:
        own = (choice.sparse.flops, choice.sparse.inverse_flops)
        stored = stored_numbers(choice.sparse.supernodes, border)
    numbers = 2 * layout.panel_size + filled + 3 * layout.diag_size + stored + trunk_start + trunk_size
    arrays = [*layout.arrays(), *(() if supernodes is None else supernodes)]
    return EliminationPlan(
        trunk=choice.kind, order=(*chain, *choice.rest), n_chain=len(chain), n_sparse=n_sparse, first_filled=first_filled,
        trunk_start=trunk_start, trunk_size=trunk_size, border=border, width=width, first_block=layout.first_block,
        first_column=layout.first_column, level_block=layout.level_block, level_column=layout.level_column,
        block_factor=layout.block_factor, block_col=layout.block_col, neighbour_ptr=layout.neighbour_ptr,
        neighbour=layout.neighbour, neighbour_off=layout.neighbour_off, panel_ptr=layout.panel_ptr,
        panel_cols=layout.panel_cols, diag_ptr=layout.diag_ptr, panel_size=layout.panel_size, diag_size=layout.diag_size,
        supernodes=supernodes, alternatives=choice.alternatives, flops=flops + own[0], inverse_flops=own[1],
        bytes=8 * numbers + sum(array.nbytes for array in arrays),
    )
