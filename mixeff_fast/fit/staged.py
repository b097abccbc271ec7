"""``profiled.run`` stage by stage: the same search on several threads, coming back to Python between stages, so that Ctrl-C
and the progress bar work."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.trunks import SparseStages
from mixeff_fast.kernels import profiled, stages
from mixeff_fast.kernels.optimizer import ACCEPTED, EVALUATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]


def run(engine: Engine, reml: bool, request: int) -> int:
    """Serve a request as ``profiled.run`` does."""
    path, search, work = engine.path, engine.search, engine.work
    action = EVALUATE
    while action == EVALUATE and request != 0:
        if request > 0:
            request -= 1
        f = _evaluate(engine, path.trial, reml)
        if request == profiled.CRITERION or (not math.isfinite(f) and request < 0):
            return action
        r, dof = engine.pivot, engine.dof(reml)
        if request >= 0:
            action = stages.judge(search, f, profiled.rounding(engine.total, r * r, dof))
        if action == ACCEPTED or request < 0:
            _solve(engine)
            scored = request >= 0 or request == profiled.SCORED
            if scored and engine.stages is None:
                _read(engine, path.trial, dof, dof / (r * r), engine.rank if reml else 0, path.trial_grad)
            else:
                solve = stages.solve_lanes if engine.in_lanes else stages.solve
                engine.team.run(solve, engine.n_chunks, engine.assembled.arrays, work)
                if request == profiled.SOLUTION:
                    return action
                if scored:
                    _score(engine, dof)
                if request == profiled.CONDITIONAL:
                    _invert(engine, path.trial, 0.0, 0, False, path.trial_grad)
                else:
                    _invert(engine, path.trial, dof / (r * r), engine.rank if reml else 0, True, path.trial_grad)
            if request == profiled.SCORED:
                stages.pull_back(engine.theta_map, search, path)
            if request < 0:
                return action
            action = stages.accept(engine.theta_map, search, path)
        if action == EVALUATE:
            stages.step(engine.theta_map, search, path)
    return action


def gradients(engine: Engine, reml: bool, lams: Float, values: Float, grads: Float, roots: Float) -> None:
    """Fill criterion, gradient and root at every row of ``lams`` as ``profiled.gradients`` does."""
    dof, n_fixed = engine.dof(reml), engine.rank if reml else 0
    for k, lam in enumerate(lams):
        values[k] = _evaluate(engine, lam, reml)
        if math.isfinite(values[k]):
            r = float(engine.work.result[profiled.PIVOT])
            _solve(engine)
            _invert(engine, lam, dof / (r * r), n_fixed, True, grads[k])
        else:
            grads[k] = math.nan
        if len(roots):
            roots[k] = np.tril(engine.work.border[: engine.rank, : engine.rank]) / engine.pivot


def marginal(engine: Engine, lam: Float, border: Float, effects: Float, grad: Float) -> bool:
    """Fill ``effects`` and ``grad`` as ``profiled.marginal`` does."""
    work, plan = engine.work, engine.assembled.arrays
    if not math.isfinite(_evaluate(engine, lam, True)):
        return False
    first = plan.trunk_start + plan.trunk_size
    solve = stages.solve_lanes if engine.in_lanes else stages.solve
    for i, column in enumerate(border):
        work.solution[first:-1] = -column
        work.solution[-1] = 0.0
        if engine.stages is not None:
            engine.stages.back_solve()
        engine.team.run(solve, engine.n_chunks, plan, work)
        effects[i] = work.solution[:first]
    _invert(engine, lam, 0.0, 0, True, grad)
    return True


def _evaluate(engine: Engine, lam: Float, reml: bool) -> float:
    plan, cross, work, trunk = engine.assembled.arrays, engine.assembled.cross, engine.work, engine.stages
    if engine.in_lanes:
        engine.team.run(stages.eliminate_lanes, engine.n_chunks, plan, cross, lam, work)
    else:
        engine.team.run(stages.eliminate, engine.n_chunks, plan, cross, lam, work, engine.chain)
    logdet = float(stages.sum_border(plan, cross, work))
    if trunk is not None:
        logdet = logdet + trunk.take() if math.isfinite(logdet) and trunk.factor(lam) else math.nan
    return float(stages.finish(plan, work, logdet, reml, engine.dof(reml)))


def _solve(engine: Engine) -> None:
    if engine.stages is None:
        stages.solve_top(engine.assembled.arrays, engine.work, None)
    else:
        engine.stages.solve()


def _score(engine: Engine, dof: float) -> None:
    plan, work, theta_map, scoring = engine.assembled.arrays, engine.work, engine.theta_map, engine.scoring
    engine.team.run(stages.score, len(scoring.slope), plan, work, theta_map, scoring, engine.chain)
    if engine.stages is not None:
        engine.stages.score(theta_map, scoring)
    stages.finish_score(plan, work, scoring, dof, engine.search.hessian)


def _read(engine: Engine, lam: Float, dof: float, c: float, n_fixed: int, grad: Float) -> None:
    """Solution, average information and gradient of a model without a trunk."""
    plan, cross, work, scoring = engine.assembled.arrays, engine.assembled.cross, engine.work, engine.scoring
    stages.invert_border(plan, work, c, n_fixed)
    if engine.in_lanes:
        engine.team.run(stages.read_lanes, engine.n_chunks, plan, cross, lam, work, engine.theta_map, scoring, True, True)
    else:
        engine.team.run(stages.read_blocks, engine.n_chunks, plan, cross, lam, work, engine.theta_map, scoring, engine.chain)
    stages.finish_score(plan, work, scoring, dof, engine.search.hessian)
    stages.sum_gradient(work, grad)


def _invert(engine: Engine, lam: Float, c: float, n_fixed: int, want_gradient: bool, grad: Float) -> None:
    plan, cross, work, trunk = engine.assembled.arrays, engine.assembled.cross, engine.work, engine.stages
    stages.invert_border(plan, work, c, n_fixed)
    if trunk is not None:
        trunk.invert()
    if engine.in_lanes:
        engine.team.run(stages.read_lanes, engine.n_chunks, plan, cross, lam, work, engine.theta_map, engine.scoring, False,
                        want_gradient)
    else:
        sparse = trunk.trunk if isinstance(trunk, SparseStages) else None
        engine.team.run(stages.invert, engine.n_chunks, plan, cross, lam, work, engine.chain, engine.trunk, sparse,
                        None, want_gradient)
    if trunk is not None:
        trunk.read(lam, want_gradient)
    if want_gradient:
        stages.sum_gradient(work, grad)
