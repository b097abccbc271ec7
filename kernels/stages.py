"""The stages of ``profiled.run`` for models worth several threads, each cut into independent tasks.

Task t is done by the call with ``first <= t``, ``t = first, first + step, ...``. Which thread does which changes no bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels import covariance, dense, factor, gradient, information, lanes, optimizer, profiled
from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Path,
        Plan,
        Scoring,
        SparseTrunk,
        ThetaMap,
        Workspace,
    )

_eliminate = factor.eliminate
_sum_border = factor.sum_border
_take_trunk = factor.take_trunk
_factor_border = factor.factor_border
_receive = dense.receive
_load = dense.load
_factor_diagonal = dense.factor_diagonal
_factor_rows = dense.factor_rows
_update_rows = dense.update_rows
_spread_rows = dense.spread_rows
_invert_rows = dense.invert_rows
_invert_diagonal = dense.invert_diagonal
_solve_trunk = gradient.solve_trunk
_solve_border = gradient.solve_border
_solve_blocks = gradient.solve_blocks
_invert_border = gradient.invert_border
_invert_blocks = gradient.invert_blocks
_read_trunk = gradient.read_trunk
_sum_gradient = gradient.sum_gradient
_block_information = information.block_information
_trunk_information = information.trunk_information
_trunk_tangents = information.trunk_tangents
_trunk_products = information.trunk_products
_finish_information = information.finish_information
_eliminate_lanes = lanes.eliminate_lanes
_solve_lanes = lanes.solve_lanes
_information_lanes = lanes.information_lanes
_invert_lanes = lanes.invert_lanes
_judge = optimizer.judge
_pull_back = covariance.pull_back
_criterion = profiled.criterion
_accept = profiled.accept
_step = profiled.step


@kernel
def eliminate(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, first: int, step: int
) -> None:
    for c in range(first, work.chunk_logdet.shape[0], step):
        _eliminate(plan, cross, lam, work, chain, c)


@kernel
def receive(plan: Plan, work: Workspace, trunk: DenseTrunk, first: int, step: int) -> None:
    _receive(plan, work, trunk, first, step)


@kernel
def load(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, trunk: DenseTrunk) -> None:
    _load(plan, cross, lam, trunk, work.scratch_small[0])


@kernel
def factor_diagonal(trunk: DenseTrunk, j: int) -> int:
    return _factor_diagonal(trunk, j)


@kernel
def factor_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    _factor_rows(trunk, j, first, step)


@kernel
def update_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    _update_rows(trunk, j, first, step)


@kernel
def sum_border(plan: Plan, cross: CrossProduct, work: Workspace) -> float:
    return _sum_border(plan, cross, work)


@kernel
def take_trunk(plan: Plan, work: Workspace, trunk: DenseTrunk) -> float:
    return _take_trunk(plan, work, trunk)


@kernel
def finish(plan: Plan, work: Workspace, logdet: float, reml: bool, dof: float) -> float:
    return _criterion(plan, work, _factor_border(work, logdet), reml, dof)


@kernel
def judge(search: Search, f: float, noise: float) -> int:
    return _judge(search, f, noise)


@kernel
def solve_top(plan: Plan, work: Workspace, trunk: DenseTrunk | None) -> None:
    _solve_border(plan, work, trunk)


@kernel
def solve_trunk(plan: Plan, work: Workspace, trunk: DenseTrunk) -> None:
    _solve_trunk(plan, work, trunk)


@kernel
def solve(plan: Plan, work: Workspace, first: int, step: int) -> None:
    n_chunks = work.chunk_logdet.shape[0]
    for c in range(first, n_chunks, step):
        _solve_blocks(plan, work, n_chunks - 1 - c)


@kernel
def read_blocks(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, theta_map: ThetaMap, scoring: Scoring, chain: Float | None,
    first: int, step: int
) -> None:
    """``solve``, ``score`` and ``invert`` of a model without a trunk: one chunk does not wait for another between them."""
    n_chunks = work.chunk_logdet.shape[0]
    whole = n_chunks > 0
    for i in range(first, n_chunks, step):
        c = n_chunks - 1 - i
        _solve_blocks(plan, work, c)
        _block_information(plan, work, theta_map, scoring, chain, c)
        _invert_blocks(plan, cross, lam, work, chain, None, None, None, c, whole)


@kernel
def eliminate_lanes(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, first: int, step: int) -> None:
    for c in range(first, work.chunk_logdet.shape[0], step):
        _eliminate_lanes(plan, cross, lam, work, c)


@kernel
def solve_lanes(plan: Plan, work: Workspace, first: int, step: int) -> None:
    for c in range(first, work.chunk_logdet.shape[0], step):
        _solve_lanes(plan, work, c)


@kernel
def read_lanes(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, theta_map: ThetaMap, scoring: Scoring, scored: bool,
    want_gradient: bool, first: int, step: int
) -> None:
    """``score`` and ``invert`` of a model with one grouping factor."""
    for c in range(first, work.chunk_logdet.shape[0], step):
        if scored:
            _information_lanes(plan, work, theta_map, scoring, c)
        _invert_lanes(plan, cross, lam, work, c, want_gradient)


@kernel
def score(
    plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring, chain: Float | None, first: int, step: int
) -> None:
    for c in range(first, scoring.slope.shape[0], step):
        _block_information(plan, work, theta_map, scoring, chain, c)


@kernel
def trunk_score(plan: Plan, work: Workspace, trunk: DenseTrunk, theta_map: ThetaMap, scoring: Scoring) -> None:
    _trunk_information(plan, work, trunk, theta_map, scoring)


@kernel
def trunk_tangents(plan: Plan, work: Workspace, theta_map: ThetaMap, scoring: Scoring) -> None:
    _trunk_tangents(plan, work, theta_map, scoring)


@kernel
def trunk_products(scoring: Scoring) -> None:
    _trunk_products(scoring)


@kernel
def finish_score(plan: Plan, work: Workspace, scoring: Scoring, dof: float, hessian: Float) -> None:
    r = work.result[profiled.PIVOT]
    _finish_information(plan, work, scoring, dof / (r * r), dof, hessian)


@kernel
def finish_known_score(plan: Plan, work: Workspace, scoring: Scoring, hessian: Float) -> None:
    """``finish_score`` where the residual variance is known to be 1."""
    _finish_information(plan, work, scoring, 1.0, math.inf, hessian)


@kernel
def invert_border(plan: Plan, work: Workspace, c: float, n_fixed: int) -> None:
    _invert_border(plan, work, c, n_fixed)


@kernel
def spread_rows(trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    _spread_rows(trunk, j, first, step)


@kernel
def invert_rows(plan: Plan, work: Workspace, trunk: DenseTrunk, j: int, first: int, step: int) -> None:
    _invert_rows(plan, work, trunk, j, first, step)


@kernel
def invert_diagonal(plan: Plan, trunk: DenseTrunk, j: int) -> None:
    _invert_diagonal(plan, trunk, j)


@kernel
def invert(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    sparse: SparseTrunk | None, panel: Float | None, want_gradient: bool, first: int, step: int
) -> None:
    n_chunks = work.chunk_logdet.shape[0]
    for c in range(first, n_chunks, step):
        _invert_blocks(plan, cross, lam, work, chain, trunk, sparse, panel, n_chunks - 1 - c, want_gradient)


@kernel
def read_trunk(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, trunk: DenseTrunk, panel: Float | None, want_gradient: bool
) -> None:
    _read_trunk(plan, cross, lam, work, trunk, panel, want_gradient)


@kernel
def sum_gradient(work: Workspace, grad: Float) -> None:
    _sum_gradient(work, grad)


@kernel
def pull_back(theta_map: ThetaMap, search: Search, path: Path) -> None:
    _pull_back(theta_map, path.trial, path.trial_grad, search.gradient, search.hessian, search.reach)


@kernel
def accept(theta_map: ThetaMap, search: Search, path: Path) -> int:
    return _accept(theta_map, search, path)


@kernel
def step(theta_map: ThetaMap, search: Search, path: Path) -> None:
    _step(theta_map, search, path)
