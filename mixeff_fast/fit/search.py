"""Minimizing the profiled criterion: one state machine, driven in compiled code or step by step from Python.

Small models run wholly compiled. Large ones come back to Python between evaluations, so that Ctrl-C and the progress bar
work; the path and the numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels import optimizer, profiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# flops of a factorization below which leaving compiled code between evaluations costs more than it gives
SMALL_FLOPS = 2e7
STEP_CAP = 1.0
EXHAUSTED = "evaluation_limit_reached"
STOPS = {
    optimizer.CONVERGED: "newton_decrement_reached",
    optimizer.STALLED: "no_further_descent",
    optimizer.EXHAUSTED: EXHAUSTED,
}


@dataclass(frozen=True, slots=True)
class SearchRecord:
    """How a search ended. ``lam`` is where; ``objective`` is in standardized units; ``decrement`` by the BFGS model."""

    lam: Float
    objective: float
    decrement: float
    stop: str
    evaluations: int
    iterations: int


def is_small(engine: Engine) -> bool:
    return engine.model.plan.flops < SMALL_FLOPS


def start_lam(engine: Engine, control: Control) -> Float:
    """Unit relative covariance of the standardized columns, or the caller's theta."""
    if control.start is not None:
        return engine.lam(np.array(control.start))
    lam = np.zeros(engine.assembled.lam_size)
    lam[engine.theta_map.position] = engine.theta_map.diagonal
    return lam


def minimize(engine: Engine, lam: Float, reml: bool, control: Control, budget: int) -> SearchRecord:
    """Run one search from ``lam`` with at most ``budget`` evaluations."""
    theta_map = engine.theta_map
    n = len(theta_map.position)
    trial = np.zeros(n)
    profiled.lam_to_coordinates(theta_map, lam, trial)
    state = optimizer.Search(
        x=trial.copy(), g=np.zeros(n), trial=trial, direction=np.zeros(n), inverse=np.zeros((n, n)),
        first=1.0 / theta_map.curvature, y=np.zeros(n), real=np.zeros(6), counts=np.zeros(6, np.int64),
    )
    state.real[optimizer.CAP] = STEP_CAP
    state.real[optimizer.TOLERANCE] = control.tolerance
    state.counts[optimizer.LIMIT] = budget
    lam = lam.copy()
    gradient = np.zeros(n)
    arrays, cross = engine.assembled.arrays, engine.assembled.cross
    if is_small(engine) and not control.verbose:
        action = profiled.minimize(arrays, cross, engine.work, theta_map, state, lam, engine.grad_lam, gradient, reml,
                                   engine.dof(reml))
    else:
        action = _stepped(engine, state, lam, gradient, reml, control.verbose)
    return SearchRecord(
        lam=lam,
        objective=float(state.real[optimizer.F]),
        decrement=float(state.real[optimizer.DECREMENT]),
        stop=STOPS[int(action)],
        evaluations=int(state.counts[optimizer.EVALUATIONS]),
        iterations=int(state.counts[optimizer.ITERATIONS]),
    )


def _stepped(
    engine: Engine, state: optimizer.Search, lam: Float, gradient: Float, reml: bool, verbose: int
) -> int:
    from tqdm import tqdm

    arrays, cross = engine.assembled.arrays, engine.assembled.cross
    shift = engine.criterion_shift(reml)
    action = optimizer.EVALUATE
    with tqdm(desc="fit", unit=" evaluations", disable=not verbose) as bar:
        while action == optimizer.EVALUATE:
            profiled.coordinates_to_lam(engine.theta_map, state.trial, lam)
            f = profiled.evaluate(arrays, cross, lam, engine.work, reml, engine.dof(reml), engine.grad_lam)
            if np.isfinite(f):
                profiled.gradient_to_coordinates(engine.theta_map, state.trial, engine.grad_lam, gradient)
            if verbose:
                bar.set_postfix_str(f"objective={f + shift:.6f} gradient={np.abs(gradient).max():.2e}")
                bar.update()
            action = optimizer.advance(state, f, gradient)
    profiled.coordinates_to_lam(engine.theta_map, state.x, lam)
    return int(action)
