"""``laplace.modes_at`` and ``laplace.slopes_at`` stage by stage: the same numbers on several threads, coming back to Python
between stages, so that Ctrl-C works."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.trunks import SparseStages
from mixeff_fast.kernels import laplace_stages as rows_stages
from mixeff_fast.kernels import pirls, stages, substitution

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.laplace import LaplaceEngine

    Float = NDArray[np.float64]


def find_modes(engine: LaplaceEngine, lam: Float, joint: bool, fixed: bool) -> float:
    """The criterion less what the saturated likelihood adds; infinite where the modes were not found."""
    rows, plan, modes, team, family = engine.rows, engine.assembled.arrays, engine.modes, engine.team, engine.family
    needed = joint or not len(modes.fisher)
    action = rows_stages.begin(modes)
    while action not in (pirls.DONE, pirls.FAILED):
        if action == pirls.WEIGH:
            rows_stages.scale_trial(plan, lam, modes)
            team.run(rows_stages.weigh, len(rows.chunk) - 1, rows, plan, family, modes, joint)
            action = rows_stages.weighed(rows, plan, lam, joint, modes)
        elif action == pirls.FACTOR:
            weight = modes.fisher if modes.counts[pirls.FALLBACK] == 1 else modes.weight
            if modes.counts[pirls.FALLBACK] == 0 and rows_stages.takes_newton(modes, family.canonical):
                team.run(rows_stages.observe, len(rows.chunk) - 1, rows, family, modes)
                weight = modes.observed
            bordered = joint or (fixed and modes.counts[pirls.FINISHING] == 1)
            action = rows_stages.factored(modes, factor(engine, lam, weight, bordered, needed))
        else:
            rows_stages.descend(modes)
            solve(engine, joint)
            action = rows_stages.solved(modes)
    if action == pirls.DONE and fixed and not joint and modes.counts[pirls.FINISHING] == 0:
        factor(engine, lam, modes.weight, fixed, needed)
    if action == pirls.DONE and not needed and math.isnan(engine.work.border[0, 0]) and not _take_expected(engine, lam):
        return math.inf
    return float(modes.real[pirls.J] + modes.real[pirls.LOGDET]) if action == pirls.DONE else math.inf


def _take_expected(engine: LaplaceEngine, lam: Float) -> bool:
    """``laplace.take_expected``."""
    modes, work = engine.modes, engine.work
    modes.counts[pirls.FACTORS] += 2
    fine = math.isfinite(factor(engine, lam, modes.fisher, True, True))
    rows_stages.keep_border(work)
    factor(engine, lam, modes.weight, False, True)
    rows_stages.restore_border(work)
    return fine


def factor(engine: LaplaceEngine, lam: Float, weight: Float, fixed: bool, needed: bool) -> float:
    """``laplace.factor``."""
    rows, plan, cross, work, team = engine.rows, engine.assembled.arrays, engine.assembled.cross, engine.work, engine.team
    team.run(rows_stages.cross_product, len(rows.chunk) - 1, rows, plan, cross, weight, fixed)
    rows_stages.add_weighed(rows, plan, cross, fixed)
    team.run(stages.eliminate, engine.n_chunks, plan, cross, lam, work, engine.chain)
    logdet = float(stages.sum_border(plan, cross, work))
    trunk = engine.stages
    if trunk is not None:
        logdet = logdet + trunk.take() if math.isfinite(logdet) and trunk.factor(lam) else math.nan
        if engine.kept is not None:
            np.copyto(engine.kept, trunk.trunk.values)
    return float(rows_stages.end_factor(work, logdet, needed))


def solve(engine: LaplaceEngine, joint: bool) -> None:
    """Solve for ``modes.step`` in place."""
    plan, work, g, kept = engine.assembled.arrays, engine.work, engine.modes.step, engine.kept
    nodes = engine.stages.trunk.nodes if isinstance(engine.stages, SparseStages) else None
    substitution.forward(plan, work, g)
    if kept is not None and nodes is not None:
        substitution.forward_supernodes(plan, nodes, kept, g)
    elif kept is not None:
        substitution.forward_dense(plan, kept, g)
    substitution.finish(plan, work, joint, g)
    if kept is not None and nodes is not None:
        substitution.back_supernodes(plan, nodes, kept, g)
    elif kept is not None:
        substitution.back_dense(plan, kept, g)
    substitution.backward(plan, work, g)


def slopes(engine: LaplaceEngine, lam: Float, scored: bool, grad: Float) -> float:
    """What ``laplace.slopes_at`` does."""
    rows, plan, cross, work, team = engine.rows, engine.assembled.arrays, engine.assembled.cross, engine.work, engine.team
    modes, scoring, trunk, joint = engine.modes, engine.scoring, engine.stages, engine.joint
    modes.earlier[:] = modes.sums
    work.solution[: engine.q] = modes.u[: engine.q]
    if scored:
        team.run(stages.score, len(scoring.slope), plan, work, engine.theta_map, scoring, engine.chain)
        if trunk is not None:
            trunk.score(engine.theta_map, scoring)
        stages.finish_known_score(plan, work, scoring, engine.inner.hessian)
    stages.invert_border(plan, work, 0.0, 0)
    if trunk is not None:
        trunk.invert()
    sparse = trunk.trunk if isinstance(trunk, SparseStages) else None
    team.run(stages.invert, engine.n_chunks, plan, cross, lam, work, engine.chain, engine.trunk, sparse, engine.panel, True)
    if trunk is not None:
        trunk.read(lam, True, engine.panel)
    stages.sum_gradient(work, grad)
    team.run(rows_stages.bend, len(rows.chunk) - 1, rows, plan, engine.family, modes, work, lam, engine.panel, joint)
    rows_stages.start_response(rows, plan, lam, joint, modes)
    fine = True
    if engine.family.canonical == 0:
        modes.counts[pirls.FRESH] = 0
        modes.counts[pirls.FACTORS] += 1
        rows_stages.keep_border(work)
        fine = math.isfinite(factor(engine, lam, modes.observed, joint or scored, joint))
        if scored and not joint and math.isnan(work.border[0, 0]):
            rows_stages.restore_border(work)
        if not fine:
            modes.counts[pirls.USABLE] = 0
    solve(engine, joint)
    rows_stages.scale_step(plan, lam, modes)
    team.run(rows_stages.respond, len(rows.chunk) - 1, rows, plan, modes)
    slope = float(rows_stages.finish_response(rows, plan, modes, grad))
    return slope if fine else math.nan
