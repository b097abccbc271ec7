"""Exponential families and inverse links in as many digits as their tails need, from definitions and the standard library.

Derivatives are central differences: with a hundred digits and more to spare nothing cancels.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from decimal import Context, Decimal, getcontext, localcontext
from functools import cache, lru_cache
from math import exp, log10

from mixeff_fast.kernels import families as f
from mixeff_fast.kernels import links as k

STEP = Decimal("1e-20")
WIDE_STEP = Decimal("1e-12")
HALF = Decimal("0.5")


def digits(link: int, eta: float) -> AbstractContextManager[Context]:
    """As many digits as the smaller tail has zeros, twice, and a hundred."""
    size = abs(eta)
    zeros = {
        k.PROBIT: size * size / 4.6,
        k.CLOGLOG: max(size, exp(min(eta, 20.0))) / 2.3,
        k.LOGIT: size / 2.3,
        k.LOG: size / 2.3,
    }.get(link, abs(log10(size)) if size > 0 else 0.0)
    return localcontext(Context(prec=110 + 2 * int(zeros), Emin=-(10**12), Emax=10**12))


def precision() -> int:
    return getcontext().prec


def atan(x: Decimal) -> Decimal:
    if x < 0:
        return -atan(-x)
    doublings = 0
    while x > Decimal("0.01"):
        x = x / (1 + (1 + x * x).sqrt())
        doublings += 1
    total, power, n = Decimal(0), x, 1
    while power and abs(power) > abs(total) * Decimal(10) ** -(precision() + 2):
        total += power / n if n % 4 == 1 else -power / n
        power *= x * x
        n += 2
    return total * 2**doublings


@cache
def _pi(prec: int) -> Decimal:
    with localcontext(Context(prec=prec + 5)):
        return 16 * atan(Decimal(1) / 5) - 4 * atan(Decimal(1) / 239)


def pi() -> Decimal:
    return _pi(precision())


def normal_tail(t: Decimal) -> Decimal:
    """Probability of more than ``t``, at least 0."""
    density = (-t * t / 2).exp() / (2 * pi()).sqrt()
    if t < 4:
        total, term, n = Decimal(0), t, 1
        while abs(term) > Decimal(10) ** -(precision() + 2):
            total += term
            n += 2
            term *= t * t / n
        return HALF - density * total
    terms = int((Decimal("1.2") * precision() / t) ** 2 / 2) + 20
    rest = Decimal(0)
    for n in range(terms, 0, -1):
        rest = n / (t + rest)
    return density / (t + rest)


def probability(link: int, eta: Decimal) -> tuple[Decimal, Decimal]:
    """A probability and what it lacks of 1."""
    if link == k.LOGIT:
        low = 1 / (1 + abs(eta).exp())
    elif link == k.PROBIT:
        low = normal_tail(abs(eta))
    elif link == k.CAUCHIT:
        low = atan(1 / abs(eta)) / pi() if eta else HALF
    elif link == k.CLOGLOG:
        rest = (-eta.exp()).exp()
        return 1 - rest, rest
    else:
        return eta.exp(), 1 - eta.exp()
    return (low, 1 - low) if eta <= 0 else (1 - low, low)


@lru_cache(1000)
def means(binomial: bool, link: int, eta: Decimal, prec: int) -> tuple[Decimal, Decimal]:
    """The mean and what it lacks of 1, in ``prec`` digits."""
    if binomial:
        return probability(link, eta)
    mu = mean(link, eta)
    return mu, 1 - mu


def mean(link: int, eta: Decimal) -> Decimal:
    if link == k.LOG:
        return eta.exp()
    if link == k.SQRT:
        return eta * eta
    if link == k.IDENTITY:
        return eta
    if link == k.INVERSE:
        return 1 / eta
    return 1 / eta.sqrt()


def _times_log(factor: Decimal, value: Decimal) -> Decimal:
    return factor * value.ln() if factor else Decimal(0)


def kernel(family: int, parameter: Decimal, y: Decimal, m: Decimal, mu: Decimal, rest: Decimal) -> Decimal:
    """The part of a log-likelihood that depends on the mean; ``rest`` is ``1 - mu``."""
    if family == f.BINOMIAL:
        return _times_log(y, mu) + _times_log(m - y, rest)
    if family == f.POISSON:
        return _times_log(y, mu) - mu
    if family == f.GAMMA:
        return -(y / mu + mu.ln()) / parameter
    if family == f.INVERSE_GAUSSIAN:
        return -((y - mu) ** 2) / (2 * parameter * mu * mu * y)
    if family == f.NEGATIVE_BINOMIAL:
        return _times_log(y, mu / (parameter + mu)) - parameter * (1 + mu / parameter).ln()
    return -((y - mu) ** 2) / (2 * parameter)


def constant(family: int, parameter: Decimal, y: Decimal, m: Decimal) -> Decimal:
    """The part that does not."""
    if family == f.BINOMIAL:
        return lgamma(m + 1) - lgamma(y + 1) - lgamma(m - y + 1)
    if family == f.POISSON:
        return -lgamma(y + 1)
    if family == f.GAMMA:
        shape = 1 / parameter
        return shape * shape.ln() - lgamma(shape) + (shape - 1) * y.ln()
    if family == f.INVERSE_GAUSSIAN:
        return -(2 * pi() * parameter * y**3).ln() / 2
    if family == f.NEGATIVE_BINOMIAL:
        return lgamma(y + parameter) - lgamma(parameter) - lgamma(y + 1)
    return -(2 * pi() * parameter).ln() / 2


def variance(family: int, parameter: Decimal, mu: Decimal, rest: Decimal) -> Decimal:
    """Of a single trial."""
    if family == f.BINOMIAL:
        return mu * rest
    if family == f.NEGATIVE_BINOMIAL:
        return mu + mu * mu / parameter
    return {f.POISSON: mu, f.GAMMA: mu * mu, f.INVERSE_GAUSSIAN: mu**3, f.GAUSSIAN: Decimal(1)}[family]


BERNOULLI = [(1, 6), (-1, 30), (1, 42), (-1, 30), (5, 66), (-691, 2730), (7, 6), (-3617, 510), (43867, 798), (-174611, 330)]


def lgamma(x: Decimal) -> Decimal:
    """To forty digits."""
    shift = Decimal(1)
    while x < 300:
        shift *= x
        x += 1
    series = sum(Decimal(a) / b / (2 * n * (2 * n - 1)) / x ** (2 * n - 1) for n, (a, b) in enumerate(BERNOULLI, 1))
    return (x - HALF) * x.ln() - x + (2 * pi()).ln() / 2 + series - shift.ln()


def slope(function: Callable[[Decimal], Decimal], x: Decimal, step: Decimal = STEP) -> Decimal:
    return (function(x + step) - function(x - step)) / (2 * step)


@dataclass(frozen=True, slots=True)
class Row:
    """What the kernels say of a row, and how the first four change with the logarithm of the family's parameter."""

    mu: float
    deviance: float
    score: float
    fisher: float
    observed: float
    slope: float
    parameter: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Pair:
    """A family with its parameter, and a link."""

    family: int
    link: int
    parameter: float

    def means(self, eta: Decimal) -> tuple[Decimal, Decimal]:
        return means(self.family == f.BINOMIAL, self.link, eta, precision())

    def deviance(self, y: Decimal, m: Decimal, eta: Decimal, parameter: Decimal) -> Decimal:
        best = y / m if self.family == f.BINOMIAL else y
        top = Decimal(0)
        if not (y == 0 and self.family in (f.POISSON, f.NEGATIVE_BINOMIAL)):
            top = kernel(self.family, parameter, y, m, best, 1 - best)
        return 2 * (top - kernel(self.family, parameter, y, m, *self.means(eta)))

    def fisher(self, m: Decimal, eta: Decimal, parameter: Decimal) -> Decimal:
        change = slope(lambda x: self.means(x)[0], eta)
        scale = 1 if self.family in (f.BINOMIAL, f.POISSON, f.NEGATIVE_BINOMIAL) else parameter
        trials = m if self.family == f.BINOMIAL else 1
        return trials * change * change / variance(self.family, parameter, *self.means(eta)) / scale

    def row(self, y_: float, m_: float, eta_: float) -> Row:
        with digits(self.link, eta_):
            y, m, eta, p = map(Decimal, (y_, m_, eta_, self.parameter))

            def at(x: Decimal) -> Decimal:
                return self.deviance(y, m, x, p)

            def moved(t: Decimal) -> Decimal:
                return p * t.exp()

            here = at(eta)
            high, low = at(eta + STEP), at(eta - STEP)
            zero = Decimal(0)
            changes = (zero, zero, zero)
            if self.family not in (f.BINOMIAL, f.POISSON):
                changes = (
                    slope(lambda t: self.deviance(y, m, eta, moved(t)), zero),
                    slope(lambda t: slope(lambda x: self.deviance(y, m, x, moved(t)), eta), zero, WIDE_STEP),
                    slope(lambda t: self.fisher(m, eta, moved(t)), zero, WIDE_STEP),
                )
            return Row(
                float(self.means(eta)[0]),
                float(here),
                float((high - low) / (2 * STEP)),
                float(self.fisher(m, eta, p)),
                float((high - 2 * here + low) / (2 * STEP * STEP)),
                float(slope(lambda x: self.fisher(m, x, p), eta, WIDE_STEP)),
                (float(changes[0]), float(changes[1]), float(changes[2])),
            )

    def log_likelihood(self, y_: float, m_: float, eta_: float) -> float:
        with digits(self.link, eta_):
            y, m, eta, p = map(Decimal, (y_, m_, eta_, self.parameter))
            return float(constant(self.family, p, y, m) + kernel(self.family, p, y, m, *self.means(eta)))

    def parameter_slope(self, y_: float, m_: float, eta_: float) -> float:
        """Slope of the log-likelihood in the logarithm of the parameter."""
        with digits(self.link, eta_):
            y, m, eta, p = map(Decimal, (y_, m_, eta_, self.parameter))
            ends = self.means(eta)

            def total(t: Decimal) -> Decimal:
                q = p * t.exp()
                return constant(self.family, q, y, m) + kernel(self.family, q, y, m, *ends)

            return float(slope(total, Decimal(0), WIDE_STEP))
