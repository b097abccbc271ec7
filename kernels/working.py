"""Deviances, scores and weights of chunks of rows, as penalized iterations and the gradient of their result need them.

``trials`` and ``prior`` may be empty, which stands for ones. A sum that is not finite is returned as infinity; then what was
written is of no use.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels._exponential import excess_over_log, exponential
from mixeff_fast.kernels.families import (
    BINOMIAL,
    GAMMA,
    NEGATIVE_BINOMIAL,
    POISSON,
    at,
    binomial_deviance,
    row,
    row_parameter_slopes,
    saturated_row,
)
from mixeff_fast.kernels.links import LOG, LOGIT

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float

# Lets sums and products be taken in vector lanes; infinities and NaN keep their meaning.
LANES = frozenset({"reassoc", "contract"})
# so many numbers between 1 and 2 have a finite product
_BLOCK = 512
# exp of less than this has lost digits, and counts as 0
_VANISHING = -708.0
# logarithms of means up to this leave room for ratios
_MODERATE = 300.0
# means and responses so many times theta have a negative binomial deviance that cancels
_CANCELLING = 100.0


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


@kernel(role="inner", fastmath=LANES)
def bernoulli_odds_of(eta: Float, odds: Float, start: int, stop: int) -> None:
    for i in range(start, stop):
        odds[i] = bernoulli_odds(eta[i])


@kernel(role="inner", fastmath=LANES)
def bernoulli_deviance(y: Float, eta: Float, odds: Float, start: int, stop: int) -> float:
    """Half a deviance but for responses between 0 and 1; ``odds`` may be empty."""
    half = 0.0
    product = 1.0
    if odds.shape[0] > 0:
        for i in range(start, stop):
            half += bernoulli_margin(eta[i], y[i])
            product *= 1.0 + odds[i]
    else:
        for i in range(start, stop):
            half += bernoulli_margin(eta[i], y[i])
            product *= 1.0 + bernoulli_odds(eta[i])
    return half + math.log(product)


@kernel(role="inner", fastmath=LANES)
def bernoulli_score(y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> None:
    """``fisher`` has the odds, and gets the weights."""
    for i in range(start, stop):
        p, q = bernoulli_sides(eta[i], fisher[i])
        score[i] = 2.0 * ((1.0 - y[i]) * p - y[i] * q)
        fisher[i] = p * q


@inner_kernel
def bernoulli_logit(y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> float:
    """Rows of one trial and no prior weight, whose deviances are rounded as numbers near 1 are: one logarithm for many rows.

    Loops that sum do not store: whether arrays lie near each other would decide, at run time, between vectors and a scalar
    loop, whose sums differ in the last bits.
    """
    total = 0.0
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        if score.shape[0] > 0:
            bernoulli_odds_of(eta, fisher, first, last)
        total += bernoulli_deviance(y, eta, fisher, first, last) + bernoulli_fractions(y, first, last)
        if score.shape[0] > 0:
            bernoulli_score(y, eta, score, fisher, first, last)
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


@kernel(role="inner", fastmath=LANES)
def is_moderate(y: Float, eta: Float, most: float, start: int, stop: int) -> bool:
    """Whether means of rows with a logarithmic link are far from underflow and overflow, and means and responses at most
    ``most``."""
    size = 0.0
    largest = 0.0
    highest = -math.inf
    for i in range(start, stop):
        size = max(size, abs(eta[i]) if eta[i] == eta[i] else math.inf)
        highest = max(highest, eta[i])
        largest = max(largest, y[i])
    return size < _MODERATE and largest <= most and highest <= math.log(most)


@kernel(role="inner", fastmath=LANES)
def poisson_deviance(y: Float, prior: Float, eta: Float, start: int, stop: int) -> float:
    """Of moderate rows: ``2 y E(mu / y)`` with ``E(r) = r - 1 - log(r)``."""
    total = 0.0
    for i in range(start, stop):
        mu = exponential(eta[i])
        size = y[i] if y[i] > 0.0 else 1.0
        own = size * excess_over_log(mu / size, (mu - size) / size)
        total += 2.0 * at(prior, i) * (own if y[i] > 0.0 else mu)
    return total


@kernel(role="inner", fastmath=LANES)
def poisson_score(y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> None:
    for i in range(start, stop):
        mu = exponential(eta[i])
        score[i] = 2.0 * (mu - y[i])
        fisher[i] = mu


@kernel(role="inner", fastmath=LANES)
def gamma_deviance(dispersion: float, y: Float, prior: Float, eta: Float, start: int, stop: int) -> float:
    """Of moderate rows."""
    total = 0.0
    for i in range(start, stop):
        ratio = y[i] * exponential(-eta[i])
        total += at(prior, i) * excess_over_log(ratio, ratio - 1.0)
    return 2.0 * total / dispersion


@kernel(role="inner", fastmath=LANES)
def gamma_score(dispersion: float, y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> None:
    w = 1.0 / dispersion
    for i in range(start, stop):
        score[i] = 2.0 * w * (1.0 - y[i] * exponential(-eta[i]))
        fisher[i] = w


@kernel(role="inner", fastmath=LANES)
def negative_binomial_deviances(theta: float, y: Float, prior: Float, eta: Float, start: int, stop: int) -> float:
    """Of moderate rows: ``2 (y E(mu / y) - (y + theta) E((mu + theta) / (y + theta)))``."""
    total = 0.0
    for i in range(start, stop):
        mu = exponential(eta[i])
        size = y[i] if y[i] > 0.0 else 1.0
        own = size * excess_over_log(mu / size, (mu - size) / size)
        whole = y[i] + theta
        total += 2.0 * at(prior, i) * (
            (own if y[i] > 0.0 else mu) - whole * excess_over_log((mu + theta) / whole, (mu - y[i]) / whole)
        )
    return total


@kernel(role="inner", fastmath=LANES)
def negative_binomial_score(theta: float, y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> None:
    for i in range(start, stop):
        mu = exponential(eta[i])
        share = theta / (theta + mu)
        score[i] = 2.0 * (mu - y[i]) * share
        fisher[i] = mu * share


@kernel(role="inner", fastmath=LANES)
def weigh(prior: Float, values: Float, start: int, stop: int) -> None:
    """Multiply by prior weights, where there are any."""
    if prior.shape[0] > 0:
        for i in range(start, stop):
            values[i] *= prior[i]


@inner_kernel
def any_pair(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    """Rows of any family and link, one by one."""
    total = 0.0
    for i in range(start, stop):
        w = at(prior, i)
        _, d, s, f, _, _ = row(family, link, parameter, y[i], at(trials, i), eta[i])
        total += w * d
        if score.shape[0] > 0:
            score[i] = w * s
            fisher[i] = w * f
    return total


@inner_kernel
def log_link(
    family: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float, start: int,
    stop: int
) -> float:
    """Counts and gamma responses with a logarithmic link, strip by strip.

    Loops that sum do not store: see ``bernoulli_logit``.
    """
    total = 0.0
    most = parameter * _CANCELLING if family == NEGATIVE_BINOMIAL else math.inf
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        if not is_moderate(y, eta, most, first, last):
            total += any_pair(family, LOG, parameter, y, trials, prior, eta, score, fisher, first, last)
            continue
        if family == POISSON:
            total += poisson_deviance(y, prior, eta, first, last)
            if score.shape[0] > 0:
                poisson_score(y, eta, score, fisher, first, last)
        elif family == GAMMA:
            total += gamma_deviance(parameter, y, prior, eta, first, last)
            if score.shape[0] > 0:
                gamma_score(parameter, y, eta, score, fisher, first, last)
        else:
            total += negative_binomial_deviances(parameter, y, prior, eta, first, last)
            if score.shape[0] > 0:
                negative_binomial_score(parameter, y, eta, score, fisher, first, last)
        if score.shape[0] > 0:
            weigh(prior, score, first, last)
            weigh(prior, fisher, first, last)
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
    elif link == LOG and family in (POISSON, GAMMA, NEGATIVE_BINOMIAL):
        total = log_link(family, parameter, y, trials, prior, eta, score, fisher, start, stop)
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


@kernel(role="inner", fastmath=LANES)
def theta_slope(theta: float, y: Float, prior: Float, eta: Float, start: int, stop: int) -> float:
    """Slope of the deviance of moderate rows in the logarithm of theta."""
    total = 0.0
    for i in range(start, stop):
        mu = exponential(eta[i])
        total += 2.0 * theta * at(prior, i) * excess_over_log((y[i] + theta) / (mu + theta), (y[i] - mu) / (mu + theta))
    return total


@kernel(role="inner", fastmath=LANES)
def theta_slopes(theta: float, y: Float, eta: Float, score: Float, fisher: Float, start: int, stop: int) -> None:
    """Slopes of the scores and Fisher weights of moderate rows."""
    for i in range(start, stop):
        mu = exponential(eta[i])
        share = theta / (theta + mu)
        spread = mu / (theta + mu)
        score[i] = 2.0 * (mu - y[i]) * share * spread
        fisher[i] = mu * share * spread


@inner_kernel
def any_slopes(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    """``parameter_slopes`` of rows of any family and link, one by one."""
    total = 0.0
    for i in range(start, stop):
        w = at(prior, i)
        d, s, f = row_parameter_slopes(family, link, parameter, y[i], at(trials, i), eta[i])
        total += w * d
        score[i] = w * s
        fisher[i] = w * f
    return total


@kernel
def parameter_slopes(
    family: int, link: int, parameter: float, y: Float, trials: Float, prior: Float, eta: Float, score: Float, fisher: Float,
    start: int, stop: int
) -> float:
    """Slope of the deviance in the logarithm of the family's parameter; those of scores and Fisher weights are written."""
    if not (family == NEGATIVE_BINOMIAL and link == LOG):
        return any_slopes(family, link, parameter, y, trials, prior, eta, score, fisher, start, stop)
    total = 0.0
    for first in range(start, stop, _BLOCK):
        last = min(first + _BLOCK, stop)
        if is_moderate(y, eta, math.inf, first, last):
            total += theta_slope(parameter, y, prior, eta, first, last)
            theta_slopes(parameter, y, eta, score, fisher, first, last)
            weigh(prior, score, first, last)
            weigh(prior, fisher, first, last)
        else:
            total += any_slopes(family, link, parameter, y, trials, prior, eta, score, fisher, first, last)
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
