"""The rows of a generalized linear mixed model as its kernels want them: standardized, in the order of the leaf's blocks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.crossproduct import factor_columns
from mixeff_fast.kernels import rows as kernels
from mixeff_fast.kernels.rows import Rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.assemble import Assembled

    Float = NDArray[np.float64]

# rows are read so many at a time
READ_ROWS = 65_536
# and cut into so many chunks when there are enough of them
CHUNKS = 8
CHUNK_ROWS = 4_096


def designs(model: CompiledModel, assembled: Assembled, rows: slice) -> tuple[Float, Float]:
    """Standardized columns of some rows: the fixed effects in use, and those of all factors in the order of elimination."""
    frame, standard = model.frame, assembled.standard
    n = len(range(frame.n)[rows])
    x = np.empty((n, len(model.fixed.names)))
    model.fixed.fill(frame.variables, rows, x, standard.x_shift, standard.x_scale)
    if len(assembled.kept) < x.shape[1]:
        x = x[:, assembled.kept]
    if standard.x_basis is not None:
        x = x @ standard.x_basis
    parts = [factor_columns(model, standard, k, rows) for k in model.plan.order]
    return x, np.hstack(parts) if len(parts) > 1 else parts[0]


def _is_plain(model: CompiledModel, k: int) -> bool:
    """Whether the only column of a factor is the intercept."""
    factor = model.factors[k]
    lhs = model.blocks[factor.blocks[0]].term.lhs
    return factor.width == 1 and lhs.intercept and not lhs.terms


def _chunks(leaf: NDArray[np.int32], n_leaf: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where chunks begin, as rows and as blocks of the leaf."""
    n = len(leaf)
    count = max(1, min(CHUNKS, n // CHUNK_ROWS))
    inside = np.unique(leaf[n * np.arange(1, count) // count]).astype(np.int64)
    blocks = np.concatenate(([0], inside[inside > 0], [n_leaf]))
    return np.searchsorted(leaf, blocks).astype(np.int64), blocks


def new_rows(model: CompiledModel, assembled: Assembled) -> Rows:
    """The rows, those of a leaf's block in the order of the frame."""
    frame, plan = model.frame, model.plan
    blocks = np.stack([plan.level_block[k][model.factors[k].group.codes] for k in plan.order]).astype(np.int32)
    order, place = np.empty(frame.n, np.int64), np.empty(frame.n, np.int64)
    kernels.sort_rows(blocks[0], np.zeros(len(plan.block_factor) + 1, np.int64), order, place)
    blocks = np.ascontiguousarray(blocks[:, order])
    width = plan.width[list(plan.order)]
    first = np.concatenate(([0], np.cumsum(width)))
    x, z = np.empty((len(assembled.kept), frame.n)), np.empty((int(first[-1]), frame.n))
    for start in range(0, frame.n, READ_ROWS):
        rows = slice(start, min(start + READ_ROWS, frame.n))
        own_x, own_z = designs(model, assembled, rows)
        x[:, place[rows]] = own_x.T
        z[:, place[rows]] = own_z.T
    n_factors = len(plan.order)
    arrays = assembled.arrays
    slot = np.empty((n_factors * (n_factors - 1) // 2, frame.n), np.int64)
    kernels.find_slots(blocks, arrays, slot)
    chunk, leaf = _chunks(blocks[0], model.factors[plan.order[0]].n_levels)
    p = len(x)
    beyond = plan.diag_size + len(assembled.cross.panel) + plan.trunk_start + plan.trunk_size
    n_leaf = int(leaf[-1])
    if n_leaf < len(arrays.panel_ptr):
        beyond -= int(arrays.diag_ptr[n_leaf]) + int(arrays.panel_ptr[n_leaf]) + int(arrays.block_col[n_leaf])
    else:
        beyond = 0

    def sorted_rows(values: Float | None) -> Float:
        return np.zeros(0) if values is None else np.ascontiguousarray(values[order], np.float64)

    return Rows(
        y=sorted_rows(frame.response), trials=sorted_rows(frame.trials), prior=sorted_rows(frame.weights),
        offset=sorted_rows(frame.offset), x=x, z=z, first=first.astype(np.int64),
        factor=np.array(plan.order, np.int64), plain=np.array([_is_plain(model, k) for k in plan.order], np.int64),
        block=blocks, slot=slot, chunk=chunk, leaf=leaf.astype(np.int64),
        spill=np.zeros((len(chunk) - 1, beyond + max(p, p * p) + 16)), nothing=np.zeros(0),
    )
