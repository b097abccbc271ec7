"""Observed weights of families with a log or power link for the mean, their slopes in the linear predictor and in the
logarithm of the family's parameter.

Half a deviance has the slope ``-(y - mu) g`` with ``g = mu' / V(mu)``, so its observed weight is ``mu' g - (y - mu) g'`` and
the slope of that ``mu'' g + 2 mu' g' - (y - mu) g''``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels._exponential import exponential
from mixeff_fast.kernels.families import GAMMA, GAUSSIAN, NEGATIVE_BINOMIAL, POISSON, at, inside
from mixeff_fast.kernels.links import IDENTITY, INVERSE, INVERSE_SQUARE, LOG, SQRT
from mixeff_fast.kernels.working import LANES, is_moderate, weigh

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float


@small_kernel
def exponent(link: int) -> float:
    """k of ``mu = eta^k``."""
    if link == SQRT:
        return 2.0
    if link == INVERSE:
        return -1.0
    if link == INVERSE_SQUARE:
        return -0.5
    return 1.0


@small_kernel
def power_mean(link: int, eta: float) -> tuple[float, float, float]:
    """``mu``, ``mu'``, ``mu''``."""
    if link == LOG:
        mu = math.exp(eta)
        return mu, mu, mu
    if link == IDENTITY:
        return eta, 1.0, 0.0
    if link == SQRT:
        return eta * eta, 2.0 * eta, 2.0
    if link == INVERSE:
        mu = 1.0 / eta
        return mu, -mu * mu, 2.0 * mu * mu * mu
    mu = 1.0 / math.sqrt(eta)
    return mu, -0.5 * mu / eta, 0.75 * mu / (eta * eta)


@inner_kernel
def strict_row(family: int, link: int, parameter: float, y: float, eta: float) -> tuple[float, float, float]:
    """Observed weight, and its slopes in eta and in the logarithm of the parameter. All NaN outside the family's space."""
    if not inside(family, link, eta):
        return math.nan, math.nan, math.nan
    mu, first, second = power_mean(link, eta)
    r = y - mu
    if family in (NEGATIVE_BINOMIAL, POISSON):
        k = exponent(link)
        rate, rate1, rate2 = 1.0, 0.0, 0.0
        if link != LOG:
            rate = k / eta
            rate1 = -rate / eta
            rate2 = -2.0 * rate1 / eta
        share, share1, share2, change, change1 = 1.0, 0.0, 0.0, 0.0, 0.0
        if family == NEGATIVE_BINOMIAL:
            total = parameter + mu
            share = parameter / total
            fall = share / total
            share1 = -fall * first
            share2 = -fall * second + 2.0 * fall / total * first * first
            change = share * mu / total
            change1 = share1 * (1.0 - 2.0 * share)
        g = rate * share
        g1 = rate1 * share + rate * share1
        g2 = rate2 * share + 2.0 * rate1 * share1 + rate * share2
        own = first * rate * change - r * (rate1 * change + rate * change1)
        return first * g - r * g1, second * g + 2.0 * first * g1 - r * g2, own
    m = 0.0 if family == GAUSSIAN else (2.0 if family == GAMMA else 3.0)
    if link == LOG:
        g = mu ** (1.0 - m) / parameter
        g1 = (1.0 - m) * g
        g2 = (1.0 - m) * g1
    else:
        e = exponent(link) * (1.0 - m) - 1.0
        g = first / mu**m / parameter if m > 0.0 else first / parameter
        g1 = e * g / eta
        g2 = (e - 1.0) * g1 / eta
    weight = first * g - r * g1
    return weight, second * g + 2.0 * first * g1 - r * g2, -weight


@kernel(role="inner", fastmath=LANES)
def gamma_weights(dispersion: float, y: Float, eta: Float, weight: Float, start: int, stop: int) -> None:
    """Of moderate rows with a logarithmic link."""
    for i in range(start, stop):
        weight[i] = y[i] * exponential(-eta[i]) / dispersion


@kernel(role="inner", fastmath=LANES)
def negate(values: Float, out: Float, start: int, stop: int) -> None:
    for i in range(start, stop):
        out[i] = -values[i]


@kernel(role="inner", fastmath=LANES)
def negative_binomial_weights(theta: float, y: Float, eta: Float, weight: Float, start: int, stop: int) -> None:
    """Of moderate rows with a logarithmic link."""
    for i in range(start, stop):
        mu = exponential(eta[i])
        share = theta / (theta + mu)
        weight[i] = mu * share * (theta + y[i]) / (theta + mu)


@kernel(role="inner", fastmath=LANES)
def negative_binomial_slopes(theta: float, eta: Float, weight: Float, slope: Float, start: int, stop: int) -> None:
    """Slopes of these weights in eta."""
    for i in range(start, stop):
        slope[i] = weight[i] * (2.0 * theta / (theta + exponential(eta[i])) - 1.0)


@kernel(role="inner", fastmath=LANES)
def negative_binomial_changes(theta: float, y: Float, eta: Float, weight: Float, change: Float, start: int, stop: int) -> None:
    """Slopes of these weights in the logarithm of theta."""
    for i in range(start, stop):
        change[i] = weight[i] * (1.0 + theta / (theta + y[i]) - 2.0 * theta / (theta + exponential(eta[i])))


@kernel
def strict_weights(
    family: int, link: int, parameter: float, y: Float, prior: Float, eta: Float, weight: Float, slope: Float, change: Float,
    start: int, stop: int
) -> None:
    """Observed weights of rows ``start`` to ``stop``; their slopes in eta and in the logarithm of the parameter go where there
    is room for them."""
    ready = link == LOG and is_moderate(y, eta, math.inf, start, stop)
    if ready and family in (GAMMA, NEGATIVE_BINOMIAL):
        if family == GAMMA:
            gamma_weights(parameter, y, eta, weight, start, stop)
            weigh(prior, weight, start, stop)
            if slope.shape[0] > 0:
                negate(weight, slope, start, stop)
            if change.shape[0] > 0:
                negate(weight, change, start, stop)
        else:
            negative_binomial_weights(parameter, y, eta, weight, start, stop)
            weigh(prior, weight, start, stop)
            if slope.shape[0] > 0:
                negative_binomial_slopes(parameter, eta, weight, slope, start, stop)
            if change.shape[0] > 0:
                negative_binomial_changes(parameter, y, eta, weight, change, start, stop)
        return
    for i in range(start, stop):
        w = at(prior, i)
        a, s, c = strict_row(family, link, parameter, y[i], eta[i])
        weight[i] = w * a
        if slope.shape[0] > 0:
            slope[i] = w * s
        if change.shape[0] > 0:
            change[i] = w * c
