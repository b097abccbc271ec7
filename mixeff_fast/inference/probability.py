"""Tail probabilities with their logarithms, and quantiles: the one place where a statistic becomes a p-value.

Everything is a survival function: nothing is computed as ``1 - cdf``. Where the probability itself is below what a double
holds, its logarithm comes from the leading term of the tail times a continued fraction, and stays finite.
"""

from __future__ import annotations

import math
from functools import cache
from itertools import repeat
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

# the smallest positive double: a probability that is not 0 is never printed or stored as 0
LEAST = 5e-324
# below this the logarithm of a computed probability has lost digits
_RESOLVED = 1e-290
_TERMS = 10_000
_LOG_2 = math.log(2.0)
_EPSILON = 1e-15


@cache
def _special() -> Any:
    """scipy's functions, loaded when a p-value is first wanted."""
    from scipy import special

    return special


class Tail(NamedTuple):
    """A probability in (0, 1] and its natural logarithm. ``p`` is at least the smallest positive double."""

    p: float
    log_p: float


_UNKNOWN = Tail(math.nan, math.nan)


def _tail(p: float, log_p: float | None = None) -> Tail:
    return Tail(min(1.0, max(p, LEAST)), min(0.0, math.log(p) if log_p is None else log_p))


def normal_two_sided(z: float) -> Tail:
    """``P(|Z| >= |z|)`` of a standard normal variable.

    Examples
    --------
    >>> round(normal_two_sided(1.959963984540054).p, 12)
    0.05
    >>> round(normal_two_sided(60.0).log_p, 3)
    -1804.32
    """
    log_p = _LOG_2 + float(_special().log_ndtr(-abs(z)))
    return _tail(math.exp(log_p), log_p)


def t_two_sided(t: float, df: float) -> Tail:
    """``P(|T| >= |t|)`` of Student's t with ``df`` degrees of freedom; ``df`` may be infinite.

    Examples
    --------
    >>> round(t_two_sided(6.771481489037, 17.0).p, 12)
    3.263808e-06
    """
    if math.isinf(df):
        return normal_two_sided(t)
    return _tail(1.0) if t == 0.0 else _beta_tail(2.0 * math.log(abs(t)) - math.log(df), 0.5, 0.5 * df)


def t_two_sided_each(t: Sequence[float], df: Sequence[float]) -> list[Tail]:
    """``t_two_sided`` of many, to the same bits; NaN where a statistic or its degrees of freedom are NaN.

    Examples
    --------
    >>> t_two_sided_each([6.771481489037], [17.0]) == [t_two_sided(6.771481489037, 17.0)]
    True
    """
    out = [_UNKNOWN] * len(t)
    places, ratios = [], []
    for i, (value, own) in enumerate(zip(t, df, strict=True)):
        if value != 0.0 and own < math.inf and value == value:
            places.append(i)
            ratios.append(2.0 * math.log(abs(value)) - math.log(own))
        elif value == value and own == own:
            out[i] = t_two_sided(value, own)
    tails = _beta_tails(ratios, 0.5, [0.5 * df[i] for i in places])
    for i, tail in zip(places, tails, strict=True):
        out[i] = tail
    return out


def f_upper(f: float, df1: float, df2: float) -> Tail:
    """``P(F >= f)`` of Fisher's F with ``df1`` and ``df2`` degrees of freedom; ``df2`` may be infinite.

    Examples
    --------
    >>> round(f_upper(705.8357213, 2.0, 16.0).log_p, 4)
    -35.9297
    """
    if math.isinf(df2):
        return chi_square_upper(df1 * f, df1)
    if f <= 0.0:
        return _tail(1.0)
    return _beta_tail(math.log(f) + math.log(df1) - math.log(df2), 0.5 * df1, 0.5 * df2)


def _beta_tail(log_ratio: float, b: float, a: float) -> Tail:
    return _beta_tails([log_ratio], b, [a])[0]


def _beta_tails(log_ratio: list[float], b: float, a: list[float]) -> list[Tail]:
    """``I_x(a, b)`` at ``x = 1 / (1 + ratio)`` for each a, from logarithms of ratios, which may be out of a double's range."""
    special = _special()
    ratio = [math.exp(min(each, 700.0)) for each in log_ratio]
    x = [1.0 / (1.0 + each) for each in ratio]
    low, high = [i for i, each in enumerate(x) if each <= 0.5], [i for i, each in enumerate(x) if not each <= 0.5]
    p = np.empty(len(x))
    if low:
        p[low] = special.betainc([a[i] for i in low], b, [x[i] for i in low])
    if high:
        p[high] = special.betaincc(b, [a[i] for i in high], [ratio[i] * x[i] for i in high])
    return list(map(_finished, log_ratio, ratio, x, repeat(b), a, p.tolist()))


def _finished(log_ratio: float, ratio: float, x: float, b: float, a: float, p: float) -> Tail:
    """``I_x(a, b) = p``, with its logarithm where p itself has lost digits."""
    if p > _RESOLVED and log_ratio < 700.0:
        return Tail(min(1.0, p), min(0.0, math.log(p)))
    if ratio < 1.0:
        log_x = -math.log1p(ratio)
        log_rest = log_ratio + log_x
    else:
        log_rest = -math.log1p(1.0 / ratio)
        log_x = log_rest - log_ratio
    log_p = a * log_x + b * log_rest - math.log(a) - float(_special().betaln(a, b)) + math.log(_beta_fraction(a, b, x))
    return _tail(math.exp(max(log_p, -800.0)), log_p)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """``I_x(a, b)`` over ``x^a (1 - x)^b / (a B(a, b))``, for x below the mean: DLMF 8.17.22 by Lentz's method."""
    c, d = 1.0, 1.0 / (1.0 - (a + b) * x / (a + 1.0))
    fraction = d
    for m in range(1, _TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1.0) * (a + 2 * m))
        d = 1.0 / (1.0 + even * d)
        c = 1.0 + even / c
        fraction *= c * d
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1.0))
        d = 1.0 / (1.0 + odd * d)
        c = 1.0 + odd / c
        fraction *= c * d
        if abs(c * d - 1.0) < _EPSILON:
            break
    return fraction


def chi_square_upper(x: float, df: float) -> Tail:
    """``P(X >= x)`` of a chi-square variable with ``df`` degrees of freedom.

    Examples
    --------
    >>> round(chi_square_upper(42.139, 2.0).log_p, 4)
    -21.0695
    """
    from scipy.special import gammaincc, gammaln

    a, half = 0.5 * df, 0.5 * x
    p = float(gammaincc(a, half))
    if p > _RESOLVED:
        return _tail(p)
    # the continued fraction of the incomplete gamma function by Lentz's method: DLMF 8.9.2
    c, d = 1e300, 1.0 / (half + 1.0 - a)
    fraction = d
    for n in range(1, _TERMS):
        numerator, denominator = n * (a - n), half + 2.0 * n + 1.0 - a
        d = 1.0 / (numerator * d + denominator)
        c = denominator + numerator / c
        change = c * d
        fraction *= change
        if abs(change - 1.0) < _EPSILON:
            break
    log_p = a * math.log(half) - half - float(gammaln(a)) + math.log(fraction)
    return _tail(math.exp(max(log_p, -800.0)), log_p)


def normal_quantile(probability: float) -> float:
    """The standard normal quantile.

    Examples
    --------
    >>> round(normal_quantile(0.975), 6)
    1.959964
    """
    from scipy.special import ndtri

    return float(ndtri(probability))


def t_quantile(probability: float, df: float) -> float:
    """The quantile of Student's t with ``df`` degrees of freedom; ``df`` may be infinite.

    Examples
    --------
    >>> round(t_quantile(0.975, 17.0), 6)
    2.109816
    """
    from scipy.special import stdtrit

    return normal_quantile(probability) if math.isinf(df) else float(stdtrit(df, probability))
