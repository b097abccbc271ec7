"""Means, residuals and variances of the rows of a generalized linear mixed model, in the order of its frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.glmm_workspace import family_codes
from mixeff_fast.kernels import working

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.families import Family
    from mixeff_fast.vocabulary import ResidualType

    Float = NDArray[np.float64]

# links that fall as the mean rises
FALLING = ("inverse", "inverse_square")
# counts beyond this are not drawn
_MOST = 2.0**62


@dataclass(frozen=True, slots=True)
class Responses:
    """Responses as kernels take them, shape (n,): of the binomial family numbers of successes, ``trials`` empty where each row
    is one; ``prior`` empty where weights are 1."""

    y: Float
    trials: Float
    prior: Float


def responses(model: CompiledModel) -> Responses:
    """Of the rows of the fit."""
    frame = model.frame
    parts = (frame.response, frame.trials, frame.weights)
    return Responses(*(np.zeros(0) if part is None else np.array(part, np.float64) for part in parts))


def observed_mean(model: CompiledModel) -> Float:
    """The response on the scale of the mean, shape (n,): proportions in the binomial family, 0 where there are no trials."""
    frame = model.frame
    y = np.array(frame.response, np.float64)
    return y if frame.trials is None else y / np.where(frame.trials > 0.0, frame.trials, 1.0)


def row_weights(model: CompiledModel) -> Float:
    """Prior weights times numbers of trials, shape (n,)."""
    frame = model.frame
    out = np.ones(frame.n) if frame.trials is None else np.array(frame.trials, np.float64)
    return out if frame.weights is None else out * frame.weights


def mean(family: Family, parameter: float | None, eta: Float) -> Float:
    """Means for linear predictors, shape (n,); NaN where the family has none, such as a negative count."""
    codes = family_codes(family)
    n = len(eta)
    mu, deviance, none = np.empty(n), np.empty(n), np.zeros(0)
    scale = 1.0 if parameter is None else parameter
    working.fitted(codes.code, codes.link, scale, np.ones(n), none, none, np.ascontiguousarray(eta), mu, deviance, 0, n)
    return mu


def residuals(model: CompiledModel, parameter: float | None, eta: Float, kind: ResidualType) -> Float:
    """Residuals as R's ``glm`` and lme4 define them, shape (n,), the dispersion counted as 1.

    ``response``: ``y - mu``, of proportions in the binomial family. ``working``: that over ``dmu / deta``. ``pearson``:
    ``(y - mu) sqrt(w / V(mu))`` with the variance function V and the weights w, trials among them. ``deviance``: the root of
    the row's deviance with the sign of ``y - mu``.
    """
    family = model.family
    assert family is not None
    if kind == "response":
        return observed_mean(model) - mean(family, parameter, eta)
    codes, given, n = family_codes(family), responses(model), len(eta)
    scale = parameter if parameter is not None and not family.has_dispersion else 1.0
    if kind == "deviance":
        mu, deviance = np.empty(n), np.empty(n)
        working.fitted(codes.code, codes.link, scale, given.y, given.trials, given.prior, eta, mu, deviance, 0, n)
        return np.copysign(np.sqrt(np.maximum(deviance, 0.0)), observed_mean(model) - mu)
    score, fisher = np.empty(n), np.empty(n)
    trials = given.trials
    if kind == "working":
        # a row without trials has a working residual too
        trials = np.where(trials > 0.0, trials, 1.0)
    working.working(codes.code, codes.link, scale, given.y, trials, given.prior, eta, score, fisher, 0, n)
    sign = -1.0 if family.link in FALLING else 1.0
    with np.errstate(invalid="ignore", divide="ignore"):
        if kind == "working":
            return np.asarray(-0.5 * score / fisher)
        out = sign * -0.5 * score / np.sqrt(fisher)
    return np.where((score == 0.0) & (fisher == 0.0), 0.0, out)


def draw(family: Family, parameter: float | None, mu: Float, trials: Float | None, weights: Float | None,
         stream: np.random.Generator) -> Float:
    """One response per row with these means, shape (n,); NaN where the mean is none, or a count too large for 64 bits.

    Prior weights divide the dispersion; a family without one has no use for them here: the binomial's numbers of trials are
    its own.
    """
    known = np.isfinite(mu)
    if family.name in ("poisson", "negative_binomial"):
        known &= mu < _MOST
    mean_ = np.where(known, mu, 0.5)
    scale = math.nan if parameter is None else parameter
    dispersion: Float | float = scale if weights is None else scale / weights
    if family.name == "binomial":
        number = np.ones(len(mu), np.int64) if trials is None else trials.astype(np.int64)
        drawn: NDArray[np.generic] = stream.binomial(number, mean_)
    elif family.name == "poisson":
        drawn = stream.poisson(mean_)
    elif family.name == "negative_binomial":
        drawn = stream.poisson(np.minimum(stream.gamma(scale, mean_ / scale), _MOST))
    elif family.name == "gamma":
        drawn = stream.gamma(1.0 / dispersion, mean_ * dispersion)
    elif family.name == "inverse_gaussian":
        drawn = stream.wald(mean_, 1.0 / dispersion)
    else:
        drawn = mean_ + np.sqrt(dispersion) * stream.standard_normal(len(mu))
    return np.where(known, drawn, math.nan)
