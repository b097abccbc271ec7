"""The arrays an engine works in, allocated once per fit, and what they come to before they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile import stored_numbers
from mixeff_fast.kernels._vectors import LANES
from mixeff_fast.kernels.dense import SLICES, TILE
from mixeff_fast.kernels.gradient import RUN_ROWS
from mixeff_fast.kernels.lanes import lanes_size
from mixeff_fast.kernels.optimizer import Search
from mixeff_fast.kernels.settle import Evidence
from mixeff_fast.kernels.structure import DenseTrunk, Path, Scoring, Workspace

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, EliminationPlan
    from mixeff_fast.fit.assemble import Assembled

    Float = NDArray[np.float64]

# the leaf's blocks are cut into so many chunks when there are enough of them
CHUNKS = 8
CHUNK_BLOCKS = 500
# the same where they are worked on in lanes
LANE_BLOCKS = 2000


def n_chunks(plan: EliminationPlan) -> int:
    """Chunks of sparse blocks. Blocks of a chain follow on each other: they are one chunk."""
    if plan.n_chain > 1:
        return 1
    return min(CHUNKS, max(1, plan.n_sparse // (LANE_BLOCKS if works_in_lanes(plan) else CHUNK_BLOCKS)))


def works_in_lanes(plan: EliminationPlan) -> bool:
    """Whether all blocks are one factor's, and nothing is left for a trunk."""
    return plan.n_chain == 1 and plan.trunk_size == 0


def _chunk_bounds(plan: EliminationPlan, count: int) -> NDArray[np.int64]:
    """Where chunks begin: each has about the same share of the panels."""
    if count == 1:
        return np.array([0, plan.n_sparse], np.int64)
    if works_in_lanes(plan):
        tiles = -(-plan.n_sparse // LANES)
        return np.minimum(tiles * np.arange(count + 1) // count * LANES, plan.n_sparse)
    ends = np.cumsum((plan.panel_cols * plan.panel_cols)[: plan.n_sparse])
    inside = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    return np.concatenate(([0], inside, [plan.n_sparse])).astype(np.int64)


def _has_full_blocks(plan: EliminationPlan) -> bool:
    """Whether some leaf block meets every column of the trunk, so that panels are multiplied several at a time."""
    if plan.trunk != "dense" or plan.n_chain > 1:
        return False
    return bool((plan.panel_cols[: plan.n_sparse] == plan.trunk_size + plan.border).any())


def _apart(size: int) -> int:
    """Room for so many numbers and some that nobody uses: what two threads write must not share a line of the cache."""
    return size + 16


def new_workspace(plan: EliminationPlan, assembled: Assembled, count: int) -> Workspace:
    arrays = assembled.arrays
    widest = max(int(plan.width.max()), 1)
    columns = max(int(arrays.panel_cols.max()), widest)
    rows = max(widest, RUN_ROWS) if _has_full_blocks(plan) else widest
    lower = len(assembled.cross.panel)
    if plan.n_sparse < len(arrays.panel_ptr):
        lower = int(arrays.panel_ptr[plan.n_sparse])
    border = arrays.border
    diag, lanes = plan.diag_size, 0
    if works_in_lanes(plan):
        padding = -plan.n_sparse % LANES
        diag += padding * widest * widest
        lower += padding * widest * border
        lanes = lanes_size(widest, border)
    return Workspace(
        lower_diag=np.empty(diag),
        lower_panel=np.empty(lower),
        inverse_diag=np.empty(plan.diag_size),
        border=np.zeros((border, border)),
        inverse_border=np.zeros((border, border)),
        solution=np.zeros(plan.trunk_start + plan.trunk_size + border),
        chunk=_chunk_bounds(plan, count),
        chunk_border=np.zeros((count, _apart(border * border))),
        chunk_grad=np.zeros((count, _apart(assembled.lam_size))),
        chunk_logdet=np.zeros(count),
        lanes=np.zeros((count, _apart(lanes))),
        scratch_u=np.zeros((count, _apart(rows * columns))),
        scratch_q=np.zeros((count, _apart(rows * columns))),
        scratch_small=np.zeros((count, _apart(4 * widest * widest))),
        columns=np.zeros((max(count, SLICES) if plan.trunk_size else 1, _apart(columns)), np.int64),
        result=np.zeros(3),
    )


def new_trunk(plan: EliminationPlan, assembled: Assembled) -> tuple[Float | None, DenseTrunk | None]:
    """The selected inverse's panels of the blocks of a chain that are filled, and the trunk; None for what there is not."""
    arrays = assembled.arrays
    chain = trunk = None
    if plan.first_filled < plan.n_sparse:
        last = plan.n_sparse - 1
        end = int(arrays.panel_ptr[last] + plan.width[plan.block_factor[last]] * arrays.panel_cols[last])
        chain = np.empty(end - int(arrays.panel_ptr[plan.first_filled]))
    if plan.trunk == "dense":
        rows, tile = plan.trunk_size + arrays.border, min(TILE, plan.trunk_size)
        values = np.empty((rows, plan.trunk_size))
        trunk = DenseTrunk(values, values.reshape(-1), np.empty(rows * TILE), np.empty(tile * tile))
    return chain, trunk


def _chain_start(plan: EliminationPlan) -> int:
    """Where the columns of the chain's blocks begin that receive updates."""
    return int(plan.block_col[plan.first_filled]) if plan.first_filled < plan.n_sparse else plan.trunk_start


def new_scoring(model: CompiledModel, assembled: Assembled, work: Workspace) -> Scoring:
    """Scratch for the average information."""
    plan, n = model.plan, model.n_theta
    chunk = work.chunk if plan.trunk_size == 0 else np.array([0, plan.n_sparse], np.int64)
    count = len(chunk) - 1
    return Scoring(
        chunk=chunk,
        chain_start=_chain_start(plan),
        chain=np.zeros((plan.trunk_start - _chain_start(plan), n)),
        trunk=np.zeros((plan.trunk_size, n)),
        fixed=np.zeros((count, assembled.arrays.border - 1, _apart(n))),
        beta=np.zeros((count, int(plan.width.max()), _apart(n))),
        slope=np.zeros((count, _apart(n))),
        hessian=np.zeros((count, n, _apart(n))),
        every=np.arange(n),
        zero=0,
    )


def new_search(n: int) -> Search:
    return Search(
        gradient=np.zeros(n), hessian=np.zeros((n, n)), direction=np.zeros(n), reach=np.zeros(n),
        secant_step=np.zeros(n), secant_change=np.zeros(n), factor=np.zeros((n, n)), vectors=np.zeros((n, n)),
        scale=np.zeros(n), real=np.zeros(7), counts=np.zeros(7, np.int64),
    )


def new_evidence(n: int, size: int) -> Evidence:
    return Evidence(
        directions=np.zeros((n, size)), steps=np.zeros(n), points=np.zeros((n + 1, size)), grads=np.zeros((n + 1, size)),
        objectives=np.zeros(n + 1), gradient=np.zeros(n), hessian=np.zeros((n, n)), scale=np.zeros(n), scaled=np.zeros((n, n)),
        values=np.zeros(n), vectors=np.zeros((n, n)), step=np.zeros(size), decrement=np.zeros(1), evaluations=np.zeros(1),
    )


def new_path(size: int) -> Path:
    return Path(*np.zeros((6, size)))


def needed_bytes(model: CompiledModel) -> int:
    """Memory of cross-product and workspace, but for what does not grow with the data."""
    plan = model.plan
    sparse = int(plan.panel_ptr[plan.n_sparse]) if plan.n_sparse < len(plan.panel_ptr) else plan.panel_size
    filled = sparse - int(plan.panel_ptr[plan.first_filled]) if plan.first_filled < plan.n_sparse else 0
    rows = plan.trunk_size + plan.border
    trunk = 0
    if plan.supernodes is not None:
        trunk = stored_numbers(plan.supernodes, plan.border)
    elif plan.trunk_size:
        trunk = rows * (plan.trunk_size + TILE)
    scored = plan.trunk_start + rows - _chain_start(plan)
    numbers = plan.panel_size + sparse + filled + 3 * plan.diag_size + trunk + plan.trunk_start + rows
    index = plan.neighbour.nbytes + plan.neighbour_off.nbytes + 44 * len(plan.block_factor)
    return 8 * (numbers + model.n_theta * scored) + index
