"""Deviances, scores and weights of chunks of rows, as penalized iterations and the gradient of their result need them.

``trials`` and ``prior`` may be empty, which stands for ones. A sum that is not finite is returned as infinity; then what was
written is of no use.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels._exponential import exponential
from mixeff_fast.kernels.families import (
    BINOMIAL,
    POISSON,
    at,
    binomial_deviance,
    divergence,
    row,
    row_parameter_slopes,
    saturated_row,
)
from mixeff_fast.kernels.links import LOG, LOGIT

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float

# Lets sums and products be taken in vector lanes; infinities and NaN keep their meaning.
_LANES = frozenset({"reassoc", "contract"})
# so many numbers between 1 and 2 have a finite product
_BLOCK = 512
# exp of less than this has lost digits, and counts as 0
_VANISHING = -708.0


@small_kernel
def bernoulli_odds(x: float) -> float:
    """Odds of the less likely outcome."""
    t = -abs(x)
    return exponential(t) if t > _VANISHING else 0.0


@small_kernel
def bernoulli_margin(x: float, y: float) -> float:
    """Half the deviance, less ``log(1 + odds)``."""
    return (x if x > 0.0 else 0.0) - y * x


@small_kernel
def bernoulli_sides(x: float, odds: float) -> tuple[float, float]:
    """The probability and its rest."""
    high = 1.0 / (1.0 + odds)
    low = odds * high
    return high if x > 0.0 else low, low if x > 0.0 else high


@small_kernel
def bernoulli_fractions(y: Float, start: int, stop: int) -> float:
    """What responses between 0 and 1 add to half the deviance."""
    total = 0.0
    for i in range(start, stop):
        if 0.0 < y[i] < 1.0:
            total += y[i] * math.log(y[i]) + (1.0 - y[i]) * math.log1p(-y[i])
    return total


@kernel(role="inner", fastmath=_LANES)
def bernoulli_logit(y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> float:
    """Rows of one trial and no prior weight, whose deviances are rounded as numbers near 1 are: one logarithm for many rows."""
    total = 0.0
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        half = 0.0
        product = 1.0
        fractions = 0.0
        for i in range(first, last):
            odds = bernoulli_odds(eta[i])
            half += bernoulli_margin(eta[i], y[i])
            product *= 1.0 + odds
            fractions += y[i] * (1.0 - y[i])
            if score.shape[0] > 0:
                p, q = bernoulli_sides(eta[i], odds)
                score[i] = 2.0 * ((1.0 - y[i]) * p - y[i] * q)
                fisher[i] = p * q
        total += half + math.log(product)
        if fractions > 0.0:
            total += bernoulli_fractions(y, first, last)
    return 2.0 * total


@inner_kernel
def binomial_logit(
    y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int
) -> float:
    total = 0.0
    for i in range(start, stop):
        m = at(trials, i)
        w = at(prior, i)
        x = eta[i]
        e = math.exp(-abs(x))
        rest = math.log1p(e)
        p, q = bernoulli_sides(x, e)
        total += w * binomial_deviance(y[i], m, p, q, -rest if x > 0.0 else x - rest, -x - rest if x > 0.0 else -rest)
        if score.shape[0] > 0:
            score[i] = 2.0 * w * ((m - y[i]) * p - y[i] * q)
            fisher[i] = w * m * p * q
    return total


@inner_kernel
def poisson_log(y: Float, prior: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> float:
    total = 0.0
    for i in range(start, stop):
        w = at(prior, i)
        mu = math.exp(eta[i])
        total += 2.0 * w * divergence(y[i], mu, eta[i])
        if score.shape[0] > 0:
            score[i] = 2.0 * w * (mu - y[i])
            fisher[i] = w * mu
    return total


@inner_kernel
def any_pair(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    total = 0.0
    for i in range(start, stop):
        w = at(prior, i)
        _, d, s, f, _, _ = row(family, link, parameter, y[i], at(trials, i), eta[i])
        total += w * d
        if score.shape[0] > 0:
            score[i] = w * s
            fisher[i] = w * f
    return total


@kernel
def working(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    """The deviance of rows ``start`` to ``stop``; its slope in eta goes to ``score``, the Fisher weight to ``fisher``.

    For the deviance alone, as step halving needs it, these two are empty.
    """
    if family == BINOMIAL and link == LOGIT:
        if trials.shape[0] == 0 and prior.shape[0] == 0:
            total = bernoulli_logit(y, eta, score, fisher, start, stop)
        else:
            total = binomial_logit(y, trials, prior, eta, score, fisher, start, stop)
    elif family == POISSON and link == LOG:
        total = poisson_log(y, prior, eta, score, fisher, start, stop)
    else:
        total = any_pair(family, link, parameter, y, trials, prior, eta, score, fisher, start, stop)
    return total if math.isfinite(total) else math.inf


@inner_kernel
def logit_curvature(trials: Float, prior: Float, eta: Float, observed: Float, slope: Float, start: int, stop: int) -> None:
    for i in range(start, stop):
        p, q = bernoulli_sides(eta[i], bernoulli_odds(eta[i]))
        observed[i] = at(prior, i) * at(trials, i) * p * q
        slope[i] = observed[i] * (q - p)


@kernel
def curvature(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, observed: Float, slope: Float,
    start: int, stop: int
) -> None:
    """Half the deviance's second derivative in eta goes to ``observed``, the slope of the Fisher weight to ``slope``."""
    if family == BINOMIAL and link == LOGIT:
        logit_curvature(trials, prior, eta, observed, slope, start, stop)
    elif family == POISSON and link == LOG:
        for i in range(start, stop):
            observed[i] = at(prior, i) * math.exp(eta[i])
            slope[i] = observed[i]
    else:
        for i in range(start, stop):
            w = at(prior, i)
            _, _, _, _, o, t = row(family, link, parameter, y[i], at(trials, i), eta[i])
            observed[i] = w * o
            slope[i] = w * t


@kernel
def fitted(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, mu: Float, deviance: Float,
    start: int, stop: int
) -> None:
    """Means and deviances row by row. An eta that has no mean in the family's space gives NaN and infinity."""
    for i in range(start, stop):
        mu[i], d, _, _, _, _ = row(family, link, parameter, y[i], at(trials, i), eta[i])
        deviance[i] = at(prior, i) * d


@kernel
def parameter_slopes(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    """Slope of the deviance in the logarithm of the family's parameter; those of scores and Fisher weights are written."""
    total = 0.0
    for i in range(start, stop):
        w = at(prior, i)
        d, s, f = row_parameter_slopes(family, link, parameter, y[i], at(trials, i), eta[i])
        total += w * d
        score[i] = w * s
        fisher[i] = w * f
    return total


@kernel
def saturated(
    family: int, parameter: float, y: Float, trials: Float, prior: Float, start: int, stop: int
) -> tuple[float, float]:
    """Log-likelihood, with all constants, that the rows had with means of ``y``, and its slope in the logarithm of the family's
    parameter. The log-likelihood at other means is less by half the deviance."""
    total = 0.0
    slope = 0.0
    for i in range(start, stop):
        value, change = saturated_row(family, parameter, y[i], at(trials, i), at(prior, i))
        total += value
        slope += change
    return total, slope
