"""The arrays every LMM kernel works on, and what their entries mean.

A *block* is one level of one (merged) grouping factor; it owns ``width[factor]`` scalar random-effect columns. Blocks
are numbered in elimination order: blocks ``0 .. n_sparse-1`` are eliminated one after another (the leaf and the factors
it is nested in), the rest form the dense *trunk*. The *border* is the fixed-effect columns and then the response:
``p + 1`` columns that every block may touch.

The *panel* of a block is row-major, ``width x panel_cols[block]``: one group of columns for each neighbour (a later
block it meets), in ascending block order, and the border last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]
    Float = NDArray[np.float64]


class Plan(NamedTuple):
    """Elimination order and storage layout; depends on the grouping structure only."""

    n_sparse: int  # blocks eliminated one by one
    first_filled: int  # sparse blocks from here on may receive updates from earlier ones
    trunk_start: int  # scalar column where the trunk begins
    trunk_size: int  # scalar columns of the trunk
    border: int  # p + 1
    width: Int64  # per factor: columns of a block
    lam_ptr: Int64  # per factor: offset of its width x width row-major Lambda in ``lam``
    block_factor: Int32  # per block
    block_col: Int64  # per block: first scalar column
    neighbour_ptr: Int64  # per block, CSR
    neighbour: Int32  # later blocks, ascending within a block
    neighbour_off: Int32  # offset of that neighbour's columns in the panel
    panel_ptr: Int64  # per block, offset into the panels
    panel_cols: Int64  # per block
    diag_ptr: Int64  # per block, offset into the diagonal blocks


class CrossProduct(NamedTuple):
    """``[Z X y]'W[Z X y]`` in the layout of a plan."""

    diag: Float  # width x width per block
    panel: Float
    border: Float  # (p+1) x (p+1)


class Workspace(NamedTuple):
    """What an evaluation writes; allocated once per fit. The first axis of the ``chunk`` and scratch arrays runs over the
    chunks that the sparse blocks are cut into, each of which one thread works on."""

    lower_diag: Float  # Cholesky factors of the diagonal blocks
    lower_panel: Float  # their panels, L_bb^{-1} M_bR
    inverse_diag: Float  # selected inverse, diagonal blocks
    border: Float  # (p+1) x (p+1) lower factor of fixed effects and response
    inverse_border: Float  # (p+1) x (p+1), whole
    solution: Float  # w: (random effects, fixed effects, response) with w_y = 1
    chunk: Int64  # n_chunks + 1: where each begins, as a block
    chunk_border: Float  # n_chunks x (p+1)^2, and more columns that nobody uses, like all that chunks write often
    chunk_grad: Float  # n_chunks x length of lam
    chunk_logdet: Float  # n_chunks
    lanes: Float  # n_chunks x what ``kernels.lanes`` needs
    scratch_u: Float  # n_chunks x (rows * panel_cols_max)
    scratch_q: Float  # the same
    scratch_small: Float  # n_chunks x (4 * width_max^2)
    columns: Int64  # max(n_chunks, SLICES) x panel_cols_max: trunk positions of a panel's columns
    result: Float  # objective and r of the last evaluation


class DenseTrunk(NamedTuple):
    """The trunk as one matrix. Rows: the trunk's m columns (of which the lower triangle holds the factor, then the
    inverse), then the border's p + 1."""

    values: Float  # (m + p + 1) x m
    flat: Float  # the same, flat
    scratch: Float  # (m + p + 1) x TILE, flat
    tile: Float  # TILE x TILE, flat


class ThetaMap(NamedTuple):
    """Free covariance parameters, and the random terms they belong to."""

    position: Int64  # per parameter: flat index into ``lam``
    term: Int64  # per parameter
    row: Int64  # per parameter: its place in the term's own Lambda
    column: Int64
    owned_ptr: Int64  # per factor, CSR of the parameters of its terms
    owned: Int64
    x: Int64  # per parameter: its row and column in a block of its factor
    y: Int64
    first: Int64  # per term: its first column in a block of its factor
    width: Int64  # per term
    start: Int64  # per term: flat index into ``lam`` of its first entry
    stride: Int64  # per term: width of its factor
    diagonal: Int64  # per term: 1 when Lambda is diagonal
    levels: Float  # per term: levels of its factor
    noise: Float  # per term: sqrt(levels / rows), the theta at which a level's effects equal their own noise


class Scoring(NamedTuple):
    """Scratch of the average information: right-hand sides, one column per parameter. What chunks have of their own has
    more columns than that, so that they do not share a line of the cache."""

    chunk: Int64  # n_chunks + 1: where each begins, as a block; one chunk for a model with a trunk
    chain_start: int  # scalar column where ``chain`` begins: that of the first block that receives updates
    chain: Float
    trunk: Float  # m x n_theta
    fixed: Float  # n_chunks x p x n_theta; the total in the first
    beta: Float  # n_chunks x width_max x n_theta: rows of one block
    slope: Float  # n_chunks x n_theta
    hessian: Float  # n_chunks x n_theta x n_theta
    every: Int64  # 0, 1, ..., n_theta - 1
    zero: int


class Path(NamedTuple):
    """Where a minimization is: flat Lambdas and gradients. The followers are the accepted ones, rotated as ``trial`` was."""

    lam: Float
    grad: Float
    trial: Float
    trial_grad: Float
    follow: Float
    follow_grad: Float


class Supernodes(NamedTuple):
    """A sparse trunk: sets of columns with the same rows below them, in a postorder of the assembly tree.

    Columns and rows are scalar and relative to the trunk. The panel of supernode J, n_J columns and r_J rows below its
    diagonal block, is row-major, ``(n_J + r_J + border) x n_J``: the diagonal block (lower triangle; the whole of it in a
    selected inverse), the rows, and the border.
    """

    first: Int64  # per supernode, and the total last: first column
    first_block: Int64  # the same in blocks of the trunk, counted from its first
    row_ptr: Int64  # CSR of the rows
    row: Int32  # ascending within a supernode
    ptr: Int64  # per supernode, and the total last: offset of its panel
    of_column: Int32  # per column: its supernode
    parent: Int32  # the supernode of its first row, or -1
    update_ptr: Int64  # CSR of the earlier supernodes that have rows in its columns
    update_from: Int32
    update_row: Int32  # which of their rows is the first in its columns
    touch_ptr: Int64  # CSR of the chain blocks that meet it
    touch_block: Int32
    touch_edge: Int32  # which of their edges is the first to it
    task_first: Int64  # ranges of supernodes that hold whole subtrees and can be done at the same time
    task_last: Int64  # the supernode after each range
    top: Int32  # supernodes of no range, ascending: to be factored after the ranges, inverted before them


class SupernodeWork(NamedTuple):
    """What one thread needs besides the panels."""

    place: Int64  # per scalar column of the trunk and row of the border: its row in the panel at hand
    rows: Int64  # as long: rows of some panel
    product: Float  # (most rows + border) x widest
    copy: Float  # as long


class SparseTrunk(NamedTuple):
    """A sparse trunk and its panels, which hold the factor, then the selected inverse."""

    nodes: Supernodes
    values: Float
