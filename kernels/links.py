"""Links by integer codes: means and tail probabilities as functions of the linear predictor.

Nothing is clamped. Logarithms, hazards and their slopes come from forms that keep their relative accuracy in both tails, so a
row's deviance and weights are right where a probability itself rounds to 0 or 1.
"""

from __future__ import annotations

import math

from mixeff_fast.kernels._cache import inner_kernel, small_kernel

LOGIT, PROBIT, CLOGLOG, CAUCHIT, LOG, SQRT, IDENTITY, INVERSE, INVERSE_SQUARE = range(9)

# Links that are powers are used between these: closer to 0 or further out, weights would leave the floating-point range.
EDGE, FAR = 1e-60, 1e60

_LOG_ROOT_2PI = 0.9189385332046727
_ROOT_2PI = 2.5066282746310002
_ROOT_HALF = 0.7071067811865476
# Beyond it the normal tail's continued fraction is exact to rounding after so many terms.
_FAR_TAIL, _TERMS = 5.0, 28
_NO_DENSITY = 40.0
# Below it, and beyond it, series and limits replace differences of the complementary log-log's terms.
_RARE, _CERTAIN = 0.1, 750.0


@small_kernel
def logit_tail(t: float) -> tuple[float, float, float, float, float, float, float]:
    e = math.exp(-t)
    upper = 1.0 / (1.0 + e)
    lower = e * upper
    rest = math.log1p(e)
    return lower, -t - rest, -rest, upper, lower, -lower, upper


@small_kernel
def probit_tail(t: float) -> tuple[float, float, float, float, float, float, float]:
    if t < _FAR_TAIL:
        density = math.exp(-0.5 * t * t) / _ROOT_2PI
        lower = 0.5 * math.erfc(t * _ROOT_HALF)
        log_lower = math.log(lower)
        hazard = density / lower
        excess = hazard - t
    else:
        excess = 0.0
        for k in range(_TERMS, 0, -1):
            excess = k / (t + excess)
        hazard = t + excess
        log_lower = -0.5 * t * t - _LOG_ROOT_2PI - math.log(hazard)
        density = 0.0
        if t < _NO_DENSITY:
            # the first square is exact, so the exponent's rounding is not multiplied by t^2
            near = math.floor(16.0 * t) / 16.0
            density = math.exp(-0.5 * near * near) * math.exp(-0.5 * (t - near) * (t + near)) / _ROOT_2PI
        lower = density / hazard
    other = density / (1.0 - lower)
    return lower, log_lower, math.log1p(-lower), hazard, other, -excess, t + other


@small_kernel
def cauchit_tail(t: float) -> tuple[float, float, float, float, float, float, float]:
    if t > 1.0:
        z = 1.0 / t
        angle = math.atan(z)
        lower = angle / math.pi
        scale = 1.0 / (1.0 + z * z)
        density = z * z * scale / math.pi
        hazard = z * (z / angle) * scale
        bend = 2.0 * z * scale
        rise = z * (2.0 - z / angle) * scale
    else:
        lower = 0.5 - math.atan(t) / math.pi
        density = 1.0 / (math.pi * (1.0 + t * t))
        hazard = density / lower
        bend = 2.0 * t / (1.0 + t * t)
        rise = bend - hazard
    other = density / (1.0 - lower)
    return lower, math.log(lower), math.log1p(-lower), hazard, other, rise, bend + other


@small_kernel
def cloglog_tails(eta: float) -> tuple[float, float, float, float, float, float, float, float]:
    t = math.exp(eta)
    lower = -math.expm1(-t)
    upper = math.exp(-t)
    if t < _RARE:
        s = t * t
        # log((1 - exp(-t)) / t) and the slope of log(t / expm1(t)) in log t, by their series
        log_lower = eta - 0.5 * t + s * (1.0 / 24 - s * (1.0 / 2880 - s * (1.0 / 181440 - s / 9676800)))
        slope = -0.5 * t - s * (1.0 / 12 - s * (1.0 / 720 - s * (1.0 / 30240 - s / 1209600)))
        return lower, upper, log_lower, -t, 1.0 - t - slope, t, slope, 1.0
    if t > _CERTAIN:
        return 1.0, 0.0, 0.0, -t, 0.0, t, -t, 1.0
    hazard = t / math.expm1(t)
    return lower, upper, math.log1p(-upper) if t > 1.0 else math.log(lower), -t, hazard, t, 1.0 - t - hazard, 1.0


@inner_kernel
def tails(link: int, eta: float) -> tuple[float, float, float, float, float, float, float, float]:
    """A probability and what a binomial response needs of it: ``p``, ``1 - p``, their logarithms, ``p'/p``, ``p'/(1 - p)``, and
    the slopes of the logarithms of these two.

    ``log`` is defined for eta below 0, the others for all finite eta.
    """
    if link == CLOGLOG:
        return cloglog_tails(eta)
    if link == LOG:
        p = math.exp(eta)
        rest = -math.expm1(eta)
        odds = p / rest
        return p, rest, eta, math.log1p(-p) if p < 0.5 else math.log(rest), 1.0, odds, 0.0, 1.0 + odds
    t = abs(eta)
    if link == LOGIT:
        low, log_low, log_high, hazard, other, rise, bend = logit_tail(t)
    elif link == PROBIT:
        low, log_low, log_high, hazard, other, rise, bend = probit_tail(t)
    else:
        low, log_low, log_high, hazard, other, rise, bend = cauchit_tail(t)
    if eta <= 0.0:
        return low, 1.0 - low, log_low, log_high, hazard, other, rise, bend
    return 1.0 - low, low, log_high, log_low, other, hazard, -bend, -rise


@inner_kernel
def mean_terms(link: int, eta: float) -> tuple[float, float, float, float]:
    """``mu``, its logarithm, the slope of that, and ``(mu'' mu) / mu'^2``, which is a number per link."""
    if link == LOG:
        return math.exp(eta), eta, 1.0, 1.0
    size = math.log(abs(eta))
    if link == SQRT:
        return eta * eta, 2.0 * size, 2.0 / eta, 0.5
    if link == IDENTITY:
        return eta, size, 1.0 / eta, 0.0
    if link == INVERSE:
        return 1.0 / eta, -size, -1.0 / eta, 2.0
    return 1.0 / math.sqrt(eta), -0.5 * size, -0.5 / eta, 3.0


@inner_kernel
def mean_slopes(link: int, eta: float) -> tuple[float, float, float]:
    """``mu``, ``mu'`` and ``mu''``, for means of any sign: of the logarithm, square root, identity and inverse."""
    if link == LOG:
        mu = math.exp(eta)
        return mu, mu, mu
    if link == SQRT:
        return eta * eta, 2.0 * eta, 2.0
    if link == IDENTITY:
        return eta, 1.0, 0.0
    mu = 1.0 / eta
    return mu, -mu * mu, 2.0 * mu * mu * mu


@small_kernel
def probit_quantile(p: float) -> float:
    """By a rational approximation and Newton's method on the logarithm of the tail."""
    low = p if p <= 0.5 else 1.0 - p
    log_low = math.log(low)
    t = math.sqrt(-2.0 * log_low)
    t -= (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308)))
    for _ in range(2):
        at = abs(t)
        _, log_below, log_above, hazard, other, _, _ = probit_tail(at)
        if t < 0.0:
            log_below, hazard = log_above, other
        t += (log_below - log_low) / hazard
    return -t if p <= 0.5 else t


@inner_kernel
def link_of(link: int, mu: float) -> float:
    """The linear predictor of a mean; NaN or infinite for means that have none."""
    if link == LOGIT:
        return math.log(mu) - math.log1p(-mu)
    if link == PROBIT:
        return probit_quantile(mu)
    if link == CLOGLOG:
        return math.log(-math.log1p(-mu))
    if link == CAUCHIT:
        return -1.0 / math.tan(math.pi * mu) if mu <= 0.5 else 1.0 / math.tan(math.pi * (1.0 - mu))
    if link == LOG:
        return math.log(mu)
    if link == SQRT:
        return math.sqrt(mu)
    if link == IDENTITY:
        return mu
    if link == INVERSE:
        return 1.0 / mu
    return 1.0 / (mu * mu) if mu > 0.0 else math.nan
