"""Minimizing the profiled criterion: one state machine, driven in compiled code or step by step from Python.

Small models run wholly compiled. Large ones come back to Python between evaluations, so that Ctrl-C and the progress bar
work; the path and the numbers are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.fit.cones import column_norms, orthogonal
from mixeff_fast.kernels import covariance, optimizer, profiled
from mixeff_fast.kernels.structure import Path

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# flops of a factorization below which leaving compiled code between evaluations costs more than it gives
SMALL_FLOPS = 2e7
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
    """How a search ended. ``lam`` is where; ``objective`` in standardized units; ``decrement`` by the Hessian's model."""

    lam: Float
    objective: float
    decrement: float
    stop: str
    evaluations: int
    iterations: int


def is_small(engine: Engine) -> bool:
    return engine.model.plan.flops < SMALL_FLOPS


def start_lam(engine: Engine, control: Control) -> Float:
    """Unit relative covariance of the standardized columns, or the caller's theta with its absent directions raised."""
    theta_map = engine.theta_map
    if control.start is not None:
        return raised(engine, engine.lam(np.array(control.start)), START_FLOOR)
    lam = np.zeros(engine.assembled.lam_size)
    lam[theta_map.position] = theta_map.row == theta_map.column
    return lam


def raised(engine: Engine, lam: Float, floor: float) -> Float:
    """``lam`` with every direction at least ``floor`` times the noise of a level's effects long: along a column of zeros
    nothing moves."""
    out, bases = orthogonal(engine, lam)
    for block, left, noise in zip(engine.model.blocks, bases, engine.theta_map.noise.tolist(), strict=True):
        view = engine.block_lambda(out, block)
        norms = column_norms(engine, out, block)
        for j in np.flatnonzero(norms < floor * noise).tolist():
            view[:, j] = floor * noise * left[:, j]
    return out


def minimize(engine: Engine, lam: Float, reml: bool, control: Control, budget: int) -> SearchRecord:
    """Run one search from ``lam`` with at most ``budget`` evaluations. No direction of ``lam`` may be absent."""
    theta_map = engine.theta_map
    n = len(theta_map.position)
    state = optimizer.Search(
        gradient=np.zeros(n), hessian=np.zeros((n, n)), direction=np.zeros(n), reach=np.zeros(n),
        secant_step=np.zeros(n), secant_change=np.zeros(n), factor=np.zeros((n, n)), vectors=np.zeros((n, n)),
        scale=np.zeros(n), real=np.zeros(7), counts=np.zeros(6, np.int64),
    )
    state.real[optimizer.TOLERANCE] = control.tolerance
    state.counts[optimizer.LIMIT] = budget
    path = Path(lam.copy(), np.zeros_like(lam), lam.copy(), np.zeros_like(lam), np.zeros_like(lam), np.zeros_like(lam))
    covariance.orthogonalize(theta_map, path.trial, path.follow, path.follow_grad)
    arguments = (engine.assembled.arrays, engine.assembled.cross, engine.work, theta_map, engine.scoring(), state, path,
                 reml, engine.dof(reml))
    if is_small(engine) and not control.verbose:
        action = profiled.advance(*arguments, budget)
    else:
        action = _stepped(arguments, state, engine.criterion_shift(reml), control.verbose)
    return SearchRecord(
        lam=path.lam,
        objective=float(state.real[optimizer.F]),
        decrement=float(state.real[optimizer.DECREMENT]),
        stop=STOPS[int(action)],
        evaluations=int(state.counts[optimizer.EVALUATIONS]),
        iterations=int(state.counts[optimizer.ITERATIONS]),
    )


def _stepped(arguments: tuple[Any, ...], state: optimizer.Search, shift: float, verbose: int) -> int:
    from tqdm import tqdm

    action = optimizer.EVALUATE
    one = (*arguments, 1)
    with tqdm(desc="fit", unit=" evaluations", disable=not verbose) as bar:
        while action == optimizer.EVALUATE:
            action = profiled.advance(*one)
            if verbose:
                objective, norm = state.real[optimizer.F] + shift, np.abs(state.gradient).max()
                bar.set_postfix_str(f"objective={objective:.6f} gradient={norm:.2e}")
                bar.update()
    return int(action)
