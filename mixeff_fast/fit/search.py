"""Minimizing the profiled criterion: one state machine, driven in compiled code or step by step from Python.

Small models run wholly compiled. Large ones come back to Python between the stages of an evaluation, so that Ctrl-C works;
the path is the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import column_norms, orthogonal
from mixeff_fast.kernels import covariance, optimizer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.coordinates import Coordinates

    Float = NDArray[np.float64]

# shortest direction of a start, relative to the noise of a level's effects, and of a start from a point examined
START_FLOOR = 0.1
RESTART_FLOOR = 1e-3
EXHAUSTED = "evaluation_limit_reached"
STOPS = {
    optimizer.CONVERGED: "newton_decrement_reached",
    optimizer.STALLED: "no_further_descent",
    optimizer.EXHAUSTED: EXHAUSTED,
}


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """How a search ended. ``lam`` is where; ``objective`` in standardized units; ``decrement`` by the Hessian's model.

    ``scored`` are gradient and Hessian's model there, as ``Engine.score`` gives them; None when the search changed the model.
    """

    lam: Float
    objective: float
    scored: tuple[Float, Float] | None
    decrement: float
    stop: str
    evaluations: int
    iterations: int


def start_lam(engine: Coordinates, control: Control) -> Float:
    """Unit relative covariance of the standardized columns, or the caller's theta with its absent directions raised."""
    theta_map = engine.theta_map
    if control.start is not None:
        return raised(engine, engine.lam(np.array(control.start)), START_FLOOR)
    lam = np.zeros(engine.assembled.lam_size)
    lam[theta_map.position] = theta_map.row == theta_map.column
    return lam


def raised(engine: Coordinates, lam: Float, floor: float) -> Float:
    """``lam`` with every direction at least ``floor`` times the noise of a level's effects long: along a column of zeros
    nothing moves."""
    out, bases = orthogonal(engine, lam)
    for block, left, noise in zip(engine.model.blocks, bases, engine.theta_map.noise.tolist(), strict=True):
        view = engine.block_lambda(out, block)
        norms = column_norms(engine, out, block)
        for j in np.flatnonzero(norms < floor * noise).tolist():
            view[:, j] = floor * noise * left[:, j]
    return out


def minimize(engine: Coordinates, lam: Float, reml: bool, control: Control, budget: int) -> SearchRecord:
    """Run one search from ``lam`` with at most ``budget`` evaluations. No direction of ``lam`` may be absent."""
    search, path = engine.search, engine.path
    search.counts[:] = 0
    search.real[:] = 0.0
    search.real[optimizer.TOLERANCE] = control.tolerance
    search.counts[optimizer.LIMIT] = budget
    for array in path:
        array[:] = 0.0
    path.lam[:] = lam
    path.trial[:] = lam
    covariance.orthogonalize(engine.theta_map, path.trial, path.follow, path.follow_grad)
    action = _shown(engine, reml) if control.verbose else engine.run(reml, budget)
    return SearchRecord(
        lam=path.lam.copy(),
        objective=float(search.real[optimizer.F]),
        scored=None if search.counts[optimizer.CHANGED] else (path.grad.copy(), search.hessian.copy()),
        decrement=float(search.real[optimizer.DECREMENT]),
        stop=STOPS[action],
        evaluations=int(search.counts[optimizer.EVALUATIONS]),
        iterations=int(search.counts[optimizer.ITERATIONS]),
    )


def _shown(engine: Coordinates, reml: bool) -> int:
    from tqdm import tqdm

    action = optimizer.EVALUATE
    with tqdm(desc="fit", unit=" evaluations") as bar:
        while action == optimizer.EVALUATE:
            action = engine.run(reml, 1)
            objective = engine.search.real[optimizer.F] + engine.criterion_shift(reml)
            norm = np.abs(engine.search.gradient).max()
            bar.set_postfix_str(f"objective={objective:.6f} gradient={norm:.2e}")
            bar.update()
    return action
