"""Exponential families by integer codes: one row's deviance, its derivatives in the linear predictor, and its likelihood.

A row's deviance is twice what its log-likelihood lacks of that with a mean of ``y``, so that for every family

    -2 log-likelihood = sum of deviances - 2 * sum of saturated log-likelihoods,

and only the deviance depends on the linear predictor. ``parameter`` is theta of the negative binomial (variance ``mu + mu^2 /
theta``) or the dispersion of the Gaussian, gamma and inverse Gaussian families, by which their deviances are divided; with a
dispersion of 1 they are the unit deviances. ``y`` of a binomial row is its number of successes among ``m`` trials, ``mu`` the
probability.

A prior weight multiplies a row's deviance; it divides the dispersion where there is one, and multiplies the log-likelihood
where there is none.

Where eta has no mean in the family's space the deviance is infinite. It is never NaN.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels.links import (
    CAUCHIT,
    CLOGLOG,
    EDGE,
    FAR,
    IDENTITY,
    INVERSE,
    INVERSE_SQUARE,
    LOG,
    LOGIT,
    PROBIT,
    SQRT,
    link_of,
    mean_slopes,
    mean_terms,
    tails,
)

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int64

BINOMIAL, POISSON, GAMMA, INVERSE_GAUSSIAN, NEGATIVE_BINOMIAL, GAUSSIAN = range(6)

# the links that make sense, the usual one first
LINKS = {
    BINOMIAL: (LOGIT, PROBIT, CLOGLOG, CAUCHIT, LOG),
    POISSON: (LOG, SQRT, IDENTITY),
    GAMMA: (LOG, INVERSE, IDENTITY),
    INVERSE_GAUSSIAN: (LOG, INVERSE_SQUARE, INVERSE, IDENTITY),
    NEGATIVE_BINOMIAL: (LOG, SQRT, IDENTITY),
    GAUSSIAN: (IDENTITY, LOG, INVERSE, SQRT),
}

# exp of more than this is infinite
_LARGEST = 709.782712893384
# ratios nearer to 1 than this make differences of logarithms cancel
_NEAR = 0.2
_TWO_PI = 2.0 * math.pi
# from here the logarithm of the gamma function is its asymptotic series
_SERIES = 10.0


@small_kernel
def at(values: Float, i: int) -> float:
    """An entry; 1 where the array is empty."""
    return values[i] if values.shape[0] > 0 else 1.0


@small_kernel
def gap(x: float) -> float:
    """``x - log(1 + x)``."""
    if abs(x) > _NEAR:
        return x - math.log1p(x)
    s = x / (2.0 + x)
    z = s * s
    tail = 1.0 / 13 + z * (1.0 / 15 + z * (1.0 / 17 + z / 19.0))
    return x * s - 2.0 * s * z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * tail)))))


@small_kernel
def excess(top: float, bottom: float, difference: float) -> float:
    """``r - 1 - log(r)`` of the ratio of two positive numbers, whose difference is given."""
    x = difference / bottom
    if abs(x) <= 0.5:
        return gap(x)
    return x - (math.log(top) - math.log(bottom))


@small_kernel
def divergence(y: float, mu: float, log_mu: float) -> float:
    """``y log(y / mu) - (y - mu)``, for means that may have rounded to 0."""
    if y <= 0.0:
        return mu
    x = (mu - y) / y
    if abs(x) <= 0.5:
        return y * gap(x)
    return y * (math.log(y) - log_mu) + (mu - y)


@inner_kernel
def binomial_deviance(y: float, m: float, p: float, q: float, log_p: float, log_q: float) -> float:
    if y <= 0.0:
        return -2.0 * m * log_q if m > 0.0 else 0.0
    if y >= m:
        return -2.0 * m * log_p
    log_m = math.log(m)
    return 2.0 * (divergence(y, m * p, log_m + log_p) + divergence(m - y, m * q, log_m + log_q))


@small_kernel
def negative_binomial_deviance(theta: float, y: float, mu: float, log_mu: float) -> float:
    """``2 (y log(y / mu) - (theta + y) log((theta + y) / (theta + mu)))``, in forms that do not cancel: not for small or large
    theta, not for means near ``y``."""
    if y <= 0.0:
        return 2.0 * theta * math.log1p(mu / theta)
    r = y - mu
    share = theta / (theta + y)
    b = r / (theta + mu)
    if abs(r) * share <= 0.5 * mu and abs(b) <= 0.5:
        a = r / mu * share
        return 2.0 * (theta * gap(b) - y * gap(a) + a * b * theta)
    if 0.0 < r <= FAR * mu:
        return 2.0 * (y * math.log1p(r / mu * share) - theta * math.log1p(b))
    if 0.0 <= -r <= FAR * y:
        return 2.0 * (theta * math.log1p(-r / (theta + y)) - y * math.log1p(-r / y * (theta / (theta + mu))))
    spread = math.log1p(-r / (theta + y)) if theta > abs(r) else math.log(theta + mu) - math.log(theta + y)
    return 2.0 * (y * (math.log(y) - log_mu + spread) + theta * spread)


@small_kernel
def inside(family: int, link: int, eta: float) -> bool:
    """Tell whether eta has a mean in the family's space, and derivatives within the floating-point range."""
    if link == LOG:
        return -math.inf < eta <= (-EDGE if family == BINOMIAL else _LARGEST)
    if link <= CAUCHIT or (family == GAUSSIAN and link == IDENTITY):
        return math.isfinite(eta)
    size = abs(eta) if family == GAUSSIAN and link == INVERSE else eta
    return EDGE <= size <= FAR


@inner_kernel
def binomial_row(link: int, y: float, m: float, eta: float) -> tuple[float, float, float, float, float, float]:
    p, q, log_p, log_q, success, failure, rise, bend = tails(link, eta)
    score = 0.0
    observed = 0.0
    fisher = 0.0
    slope = 0.0
    if y > 0.0 and success > 0.0:
        score -= 2.0 * y * success
        observed -= y * success * rise
    if y < m:
        score += 2.0 * (m - y) * failure
        observed += (m - y) * failure * bend
    if success > 0.0 and failure > 0.0:
        fisher = m * success * failure
    if fisher > 0.0:
        slope = fisher * (rise + bend)
    return p, binomial_deviance(y, m, p, q, log_p, log_q), score, fisher, observed, slope


@inner_kernel
def count_row(
    family: int, link: int, theta: float, y: float, eta: float
) -> tuple[float, float, float, float, float, float]:
    """Poisson and negative binomial."""
    mu, log_mu, rate, bend = mean_terms(link, eta)
    if family == POISSON:
        deviance = 2.0 * divergence(y, mu, log_mu)
        shrink = 1.0
        spread = 0.0
        lift = 1.0
    else:
        deviance = negative_binomial_deviance(theta, y, mu, log_mu)
        shrink = theta / (theta + mu)
        spread = mu / (theta + mu)
        lift = (theta + y) / (theta + mu)
    r = y - mu
    base = rate * rate * shrink
    fisher = base * mu
    observed = fisher * lift - (bend - 1.0) * base * r
    slope = fisher * rate * (2.0 * bend - 1.0 - spread)
    return mu, deviance, -2.0 * r * rate * shrink, fisher, observed, slope


@inner_kernel
def positive_row(
    family: int, link: int, dispersion: float, y: float, eta: float
) -> tuple[float, float, float, float, float, float]:
    """Gamma and inverse Gaussian, whose variances are the second and the third power of the mean."""
    mu, _, rate, bend = mean_terms(link, eta)
    x = (y - mu) / mu
    if family == GAMMA:
        power = 2.0
        scale = 1.0 / dispersion
        deviance = 2.0 * excess(y, mu, y - mu) * scale
    else:
        power = 3.0
        scale = 1.0 / (dispersion * mu)
        deviance = x * x / (dispersion * y)
    fisher = rate * rate * scale
    observed = fisher * (1.0 - x * (bend - power))
    return mu, deviance, -2.0 * x * rate * scale, fisher, observed, fisher * rate * (2.0 * bend - power)


@inner_kernel
def gaussian_row(link: int, dispersion: float, y: float, eta: float) -> tuple[float, float, float, float, float, float]:
    mu, first, second = mean_slopes(link, eta)
    r = y - mu
    scale = 1.0 / dispersion
    fisher = first * first * scale
    observed = (first * first - r * second) * scale
    return mu, r * r * scale, -2.0 * r * first * scale, fisher, observed, 2.0 * first * second * scale


@inner_kernel
def row(
    family: int, link: int, parameter: float, y: float, m: float, eta: float
) -> tuple[float, float, float, float, float, float]:
    """Mean, deviance, its slope in eta, Fisher weight, observed weight (half the deviance's curvature), and the Fisher weight's
    slope in eta. Where the deviance is infinite the last four are 0, and NaN is the mean of an eta that has none."""
    if not inside(family, link, eta):
        return math.nan, math.inf, 0.0, 0.0, 0.0, 0.0
    if family == BINOMIAL:
        mu, deviance, score, fisher, observed, slope = binomial_row(link, y, m, eta)
    elif family == GAUSSIAN:
        mu, deviance, score, fisher, observed, slope = gaussian_row(link, parameter, y, eta)
    elif family in (GAMMA, INVERSE_GAUSSIAN):
        mu, deviance, score, fisher, observed, slope = positive_row(family, link, parameter, y, eta)
    else:
        mu, deviance, score, fisher, observed, slope = count_row(family, link, parameter, y, eta)
    if not math.isfinite(deviance):
        return mu, math.inf, 0.0, 0.0, 0.0, 0.0
    return mu, deviance, score, fisher, observed, slope


@inner_kernel
def row_parameter_slopes(
    family: int, link: int, parameter: float, y: float, m: float, eta: float
) -> tuple[float, float, float]:
    """Slopes of a row's deviance, score and Fisher weight in the logarithm of the family's parameter."""
    mu, deviance, score, fisher, _, _ = row(family, link, parameter, y, m, eta)
    if family in (BINOMIAL, POISSON):
        return 0.0, 0.0, 0.0
    if not math.isfinite(deviance):
        return math.inf, 0.0, 0.0
    if family == NEGATIVE_BINOMIAL:
        spread = mu / (parameter + mu)
        return 2.0 * parameter * excess(y + parameter, mu + parameter, y - mu), score * spread, fisher * spread
    return -deviance, -score, -fisher


@small_kernel
def stirling(x: float) -> tuple[float, float]:
    """``log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2)`` and its slope."""
    z = x
    product = 1.0
    harmonic = 0.0
    while z < _SERIES:
        product *= z
        harmonic += 1.0 / z
        z += 1.0
    v = 1.0 / z
    s = v * v
    value = 1.0 / 1680 - s * (1.0 / 1188 - s * (691.0 / 360360 - s / 156.0))
    value = v * (1.0 / 12 - s * (1.0 / 360 - s * (1.0 / 1260 - s * value)))
    slope = 1.0 / 240 - s * (1.0 / 132 - s * (691.0 / 32760 - s / 12.0))
    slope = -s * (1.0 / 12 - s * (1.0 / 120 - s * (1.0 / 252 - s * slope)))
    if z > x:
        log_x = math.log(x)
        log_z = math.log(z)
        value += (z - 0.5) * log_z - (x - 0.5) * log_x - (z - x) - math.log(product)
        slope += log_z - log_x - 0.5 * v + 0.5 / x - harmonic
    return value, slope


@inner_kernel
def saturated_row(family: int, parameter: float, y: float, m: float, weight: float) -> tuple[float, float]:
    """Log-likelihood with a mean of ``y``, and its slope in the logarithm of the family's parameter."""
    if family == BINOMIAL:
        if y <= 0.0 or y >= m:
            return 0.0, 0.0
        value = 0.5 * math.log(m / (_TWO_PI * y * (m - y))) + stirling(m)[0] - stirling(y)[0] - stirling(m - y)[0]
        return weight * value, 0.0
    if family in (POISSON, NEGATIVE_BINOMIAL):
        if y <= 0.0:
            return 0.0, 0.0
        value = -0.5 * math.log(_TWO_PI * y) - stirling(y)[0]
        if family == POISSON:
            return weight * value, 0.0
        total = parameter + y
        high, high_slope = stirling(total)
        low, low_slope = stirling(parameter)
        value += 0.5 * math.log(parameter / total) + high - low
        return weight * value, weight * (0.5 * y / total + parameter * (high_slope - low_slope))
    shape = weight / parameter
    value = 0.5 * math.log(shape / _TWO_PI)
    if family == GAUSSIAN:
        return value, -0.5
    if family == INVERSE_GAUSSIAN:
        return value - 1.5 * math.log(y), -0.5
    rest, rest_slope = stirling(shape)
    return value - rest - math.log(y), shape * rest_slope - 0.5


@inner_kernel
def admissible(family: int, y: float, m: float) -> bool:
    """Tell whether a family can have produced a response."""
    if not math.isfinite(y):
        return False
    if family == BINOMIAL:
        return math.isfinite(m) and 0.0 <= y <= m
    if family in (GAMMA, INVERSE_GAUSSIAN):
        return y > 0.0
    return family == GAUSSIAN or y >= 0.0


@small_kernel
def starting_mean(family: int, y: float, m: float) -> float:
    """Where ``glm`` in R starts."""
    if family == BINOMIAL:
        return (y + 0.5) / (m + 1.0)
    if family == POISSON:
        return y + 0.1
    if family == NEGATIVE_BINOMIAL:
        return y if y > 0.0 else 1.0 / 6.0
    return y


@kernel
def inadmissible(family: int, y: Float, trials: Float, rows: Int64) -> int:
    """How many responses the family cannot have produced; ``rows`` receives the first of them, as many as it holds."""
    count = 0
    for i in range(y.shape[0]):
        if not admissible(family, y[i], at(trials, i)):
            if count < rows.shape[0]:
                rows[count] = i
            count += 1
    return count


@kernel
def starting(family: int, link: int, y: Float, trials: Float, mu: Float, eta: Float) -> int:
    """Starting means and linear predictors from the responses; returns for how many rows there is none (eta is NaN)."""
    count = 0
    for i in range(y.shape[0]):
        mu[i] = starting_mean(family, y[i], at(trials, i))
        eta[i] = link_of(link, mu[i])
        if not inside(family, link, eta[i]):
            eta[i] = math.nan
            count += 1
    return count
