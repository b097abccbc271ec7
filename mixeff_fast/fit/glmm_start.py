"""Where the search for a generalized linear mixed model starts."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.laplace import UNIT_LINKS
from mixeff_fast.kernels import families, pirls, working

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.laplace import LaplaceEngine

    Float = NDArray[np.float64]

# standard deviations of the random effects to start from, as shares of the usual one
SHARES = (1.0, 0.1, 0.01, 0.001)
MOST_THETA, LEAST_THETA = 1e3, 1e-2
# decrement of the inner iterations that is near enough for a start
STARTED = 1e-3
# a unit that is too small by this factor is chosen again
FAR_UNIT = 10.0
# smallest dispersion to start from, as a share of that of a standard deviation as large as the mean
LEAST_SHARE = 1e-8


def _weights(engine: LaplaceEngine, eta: Float) -> tuple[float, Float, Float]:
    """Deviance, half scores and Fisher's weights at some linear predictors."""
    rows, family = engine.rows, engine.family
    score, fisher = np.empty(engine.n), np.empty(engine.n)
    total = working.working(family.code, family.link, engine.parameter, rows.y, rows.trials, rows.prior, eta, score, fisher, 0,
                            engine.n)
    return float(total), 0.5 * score, fisher


def _starting_predictors(engine: LaplaceEngine) -> tuple[Float, Float]:
    """Means and linear predictors near the responses, the latter finite."""
    rows, family = engine.rows, engine.family
    mu, eta = np.empty(engine.n), np.empty(engine.n)
    families.starting(family.code, family.link, rows.y, rows.trials, mu, eta)
    known = np.isfinite(eta)
    return mu, np.where(known, eta, float(eta[known].mean()) if known.any() else 0.0)


def _least_squares(x: Float, z: Float, weight: Float) -> Float:
    gram = (x * weight) @ x.T
    return np.asarray(np.linalg.lstsq(gram, x @ (weight * z), rcond=None)[0])


def _constant(engine: LaplaceEngine, mu: Float) -> float:
    """The linear predictor of the mean response."""
    family = engine.family
    level, eta = np.empty(1), np.empty(1)
    mean = np.array([float(mu.mean())])
    trials = np.full(1, math.inf) if engine.rows.trials.size else np.zeros(0)
    if engine.model.family is not None and engine.model.family.name == "binomial":
        mean, trials = mean * 1e6, np.array([1e6])
    families.starting(family.code, family.link, mean, trials, level, eta)
    return float(eta[0])


def starting_beta(engine: LaplaceEngine) -> tuple[Float, Float]:
    """Fixed effects (standardized) and the weights there: a weighted regression of the starting linear predictors, or a
    constant where that has linear predictors outside the family's range."""
    rows = engine.rows
    offset = rows.offset if rows.offset.size else 0.0
    mu, eta = _starting_predictors(engine)
    _, score, weight = _weights(engine, eta)
    trials = [_least_squares(rows.x, eta - offset - score / np.where(weight > 0.0, weight, 1.0), weight)]
    constant = _constant(engine, mu)
    if math.isfinite(constant):
        trials.append(_least_squares(rows.x, constant - offset + np.zeros(engine.n), np.ones(engine.n)))
    best, lowest, fisher = np.zeros(engine.rank), math.inf, weight
    for beta in trials:
        total, _, weight = _weights(engine, offset + beta @ rows.x)
        if total < lowest:
            best, lowest, fisher = beta, total, weight
    return best, fisher


def _starting_parameter(engine: LaplaceEngine, beta: Float) -> float:
    """Moment estimates at the fixed effects alone."""
    rows, family = engine.rows, engine.family
    offset = rows.offset if rows.offset.size else 0.0
    eta = offset + beta @ rows.x
    mu, deviance = np.empty(engine.n), np.empty(engine.n)
    engine.set_parameter(1.0)
    working.fitted(family.code, family.link, 1.0, rows.y, rows.trials, rows.prior, eta, mu, deviance, 0, engine.n)
    if family.code != families.NEGATIVE_BINOMIAL:
        spread = float(deviance.sum()) / max(engine.n - engine.rank, 1)
        return max(spread, LEAST_SHARE * engine.whole) if math.isfinite(spread) else engine.whole
    excess = float(np.sum((rows.y - mu) ** 2 - mu))
    theta = float(np.sum(mu**2)) / excess if excess > 0.0 else MOST_THETA
    return min(max(2.0 * theta, LEAST_THETA), MOST_THETA) if math.isfinite(theta) else 1.0


def _unit(weight: Float) -> float:
    """How large an effect of one row is beside its own noise, on the scale of the linear predictor."""
    mean = float(weight.mean())
    return 1.0 / math.sqrt(mean) if math.isfinite(mean) and mean > 0.0 else 1.0


def _start(engine: LaplaceEngine, control: Control, unit: float, beta: Float) -> tuple[Float, bool]:
    """Lambda to start from, and whether there are modes there, with fixed effects that go with it."""
    engine.set_noise(unit)
    assert engine.model.family is not None
    if engine.model.family.link in UNIT_LINKS:
        unit = min(unit, 1.0)
    theta_map, modes, q = engine.theta_map, engine.modes, engine.q
    lam = np.zeros(engine.assembled.lam_size)
    for share in SHARES:
        if control.start is not None:
            lam = engine.raised_start(np.array(control.start))
        else:
            lam[theta_map.position] = np.where(theta_map.row == theta_map.column, share * unit, 0.0)
        modes.trial[:q] = 0.0
        modes.trial[q:] = beta
        if math.isfinite(engine.find_modes(lam, True, True)):
            return lam, True
        if control.start is not None:
            break
    return lam, False


def start_point(engine: LaplaceEngine, control: Control) -> Float:
    """Unit relative covariance of the standardized columns, or that of the caller's theta, and the fixed effects that go with
    it."""
    if engine.parametric:
        engine.set_parameter(1.0)
    beta, weight = starting_beta(engine)
    if engine.parametric:
        engine.set_parameter(_starting_parameter(engine, beta))
        beta, weight = starting_beta(engine)
    modes, q = engine.modes, engine.q
    unit = _unit(weight)
    modes.real[pirls.TOLERANCE] = STARTED
    lam, found = _start(engine, control, unit, beta)
    if found:
        # weights far from the modes may be beyond all measure
        there = _unit(modes.fisher if engine.family.strict else modes.weight)
        if there > unit * FAR_UNIT:
            lam, _ = _start(engine, control, there, modes.u[q:].copy())
    modes.real[pirls.TOLERANCE] = engine.trail.tolerance
    engine.set_anchor(lam)
    size = engine.assembled.lam_size
    point = np.zeros(size + engine.n_extra)
    point[:size] = lam
    point[size : size + engine.n_beta] = modes.u[q:][: engine.n_beta]
    if engine.parametric:
        point[-1] = math.log(engine.parameter)
    return point
