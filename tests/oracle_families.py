"""Families and links of the dense reference for generalized linear mixed models, from their densities.

``D(eta) = -2 log p(y | eta)`` holds every constant. A prior weight ``w`` means:

- binomial: trials, with ``y`` the proportion of successes (fractional weights take gamma functions for factorials);
- Poisson and negative binomial: ``w`` times the log-likelihood;
- Gaussian, Gamma and inverse Gaussian: dispersion ``phi / w``.

The family parameter ``p`` is ``phi`` there, and the size ``k`` of the negative binomial, ``Var y = mu + mu^2 / k``.
Derivatives by the parameter are by its logarithm. With ``V`` the variance function and ``mu', mu'', ...`` by ``eta``,

    D' = -2 (w / phi) (y - mu) mu' / V,     a = D'' / 2,     W = E a = (w / phi) mu'^2 / V.

The binomial family works on ``l1 = log mu`` and ``l0 = log(1 - mu)`` instead, so that neither tail cancels:
``D' = -2 w (y l1' + (1 - y) l0')`` and ``W = -w l1' l0'``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import digamma, gammaln, log_expit, log_ndtr, xlogy

Floats = NDArray[np.float64]

LINKS = {
    "binomial": ("logit", "probit", "cloglog", "cauchit"),
    "poisson": ("log", "sqrt", "identity"),
    "gamma": ("log", "inverse", "identity"),
    "inverse_gaussian": ("1/mu^2", "log", "inverse"),
    "gaussian": ("identity", "log", "inverse", "sqrt"),
    "negative_binomial": ("log", "sqrt", "identity"),
}
PARAMETRIC = ("gamma", "inverse_gaussian", "gaussian", "negative_binomial")
POSITIVE = ("sqrt", "identity", "inverse", "1/mu^2")  # links whose eta must be positive where the mean must be


@dataclass(frozen=True, slots=True)
class Rows:
    """A response with its distribution: what is left is a function of eta, one value a row."""

    y: Floats
    weights: Floats
    family: str
    link: str
    parameter: float

    def __post_init__(self) -> None:
        if self.link not in LINKS.get(self.family, ()):
            raise ValueError(f"no link {self.link} for family {self.family}")


@dataclass(frozen=True, slots=True)
class Slopes:
    """By row: ``s = D'``, ``a = D'' / 2`` and ``W = E a`` with their slopes, and what the log parameter does to them."""

    s: Floats
    a: Floats
    a_slope: Floats
    fisher: Floats
    fisher_slope: Floats
    value_by_log: Floats
    s_by_log: Floats
    a_by_log: Floats
    fisher_by_log: Floats


def inside(rows: Rows, eta: Floats) -> NDArray[np.bool_]:
    """Where eta has a mean that the family allows."""
    if rows.link in POSITIVE and not (rows.family == "gaussian" and rows.link == "identity"):
        return np.asarray(eta > 0)
    return np.isfinite(eta)


def mean(rows: Rows, eta: Floats) -> Floats:
    if rows.family == "binomial":
        return np.exp(_BINOMIAL[rows.link](eta)[0])
    return _inverse_link(rows.link, eta)[0]


def link_of(rows: Rows, mu: Floats) -> Floats:
    """``eta`` of a mean; the mode search starts there."""
    from scipy.special import logit, ndtri

    table: dict[str, Callable[[Floats], Floats]] = {
        "logit": logit,
        "probit": ndtri,
        "cloglog": lambda m: np.log(-np.log1p(-m)),
        "cauchit": lambda m: np.tan(np.pi * (m - 0.5)),
        "log": np.log,
        "sqrt": np.sqrt,
        "identity": lambda m: m,
        "inverse": lambda m: 1 / m,
        "1/mu^2": lambda m: m**-2.0,
    }
    return np.asarray(table[rows.link](mu))


# The binomial family: log mu, log(1 - mu), their slopes, mu'' / mu' and its slope.

_Logs = tuple[Floats, Floats, Floats, Floats, Floats, Floats]


def _logit(eta: Floats) -> _Logs:
    log_mu, log_nu = log_expit(eta), log_expit(-eta)
    mu, nu = np.exp(log_mu), np.exp(log_nu)
    return log_mu, log_nu, nu, -mu, nu - mu, -2 * mu * nu


def _probit(eta: Floats) -> _Logs:
    log_mu, log_nu = log_ndtr(eta), log_ndtr(-eta)
    log_density = -0.5 * eta**2 - 0.5 * np.log(2 * np.pi)
    return log_mu, log_nu, np.exp(log_density - log_mu), -np.exp(log_density - log_nu), -eta, -np.ones_like(eta)


def _cloglog(eta: Floats) -> _Logs:
    hazard = np.exp(eta)
    log_mu = np.where(eta < 0, np.log(-np.expm1(-hazard)), np.log1p(-np.exp(-hazard)))
    return log_mu, -hazard, np.exp(eta - hazard - log_mu), -hazard, 1 - hazard, -hazard


def _cauchit(eta: Floats) -> _Logs:
    mu, nu = np.arctan2(1.0, -eta) / np.pi, np.arctan2(1.0, eta) / np.pi
    log_mu = np.where(mu < 0.5, np.log(mu), np.log1p(-nu))
    log_nu = np.where(nu < 0.5, np.log(nu), np.log1p(-mu))
    square = 1 + eta**2
    density = 1 / (np.pi * square)
    return log_mu, log_nu, density / mu, -density / nu, -2 * eta / square, -2 * (1 - eta**2) / square**2


_BINOMIAL: dict[str, Callable[[Floats], _Logs]] = {
    "logit": _logit,
    "probit": _probit,
    "cloglog": _cloglog,
    "cauchit": _cauchit,
}


def _binomial_slopes(rows: Rows, eta: Floats) -> Slopes:
    _, _, up, down, bend, bend_slope = _BINOMIAL[rows.link](eta)
    y, w, none = rows.y, rows.weights, np.zeros_like(eta)
    # l' = mu' / mu, so l'' = l' (mu'' / mu' - l'), and the same for log(1 - mu).
    up2, down2 = up * (bend - up), down * (bend - down)
    up3 = up2 * (bend - up) + up * (bend_slope - up2)
    down3 = down2 * (bend - down) + down * (bend_slope - down2)
    return Slopes(
        s=-2 * w * (y * up + (1 - y) * down),
        a=-w * (y * up2 + (1 - y) * down2),
        a_slope=-w * (y * up3 + (1 - y) * down3),
        fisher=-w * up * down,
        fisher_slope=-w * (up2 * down + up * down2),
        value_by_log=none,
        s_by_log=none,
        a_by_log=none,
        fisher_by_log=none,
    )


# The others: mu and its slopes by eta, V and its slopes by mu.


def _inverse_link(link: str, eta: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    one, none = np.ones_like(eta), np.zeros_like(eta)
    if link == "log":
        return (np.exp(eta),) * 4
    if link == "sqrt":
        return eta**2, 2 * eta, 2 * one, none
    if link == "inverse":
        return 1 / eta, -(eta**-2.0), 2 * eta**-3.0, -6 * eta**-4.0
    if link == "1/mu^2":
        return eta**-0.5, -0.5 * eta**-1.5, 0.75 * eta**-2.5, -1.875 * eta**-3.5
    return eta, one, none, none


def _log_mean(link: str, eta: Floats) -> Floats:
    powers = {"sqrt": 2.0, "inverse": -1.0, "1/mu^2": -0.5}
    return eta if link == "log" else np.asarray(powers.get(link, 1.0) * np.log(eta))


def _variance(rows: Rows, mu: Floats) -> tuple[Floats, Floats, Floats]:
    one, none = np.ones_like(mu), np.zeros_like(mu)
    if rows.family == "poisson":
        return mu, one, none
    if rows.family == "gamma":
        return mu**2, 2 * mu, 2 * one
    if rows.family == "inverse_gaussian":
        return mu**3, 3 * mu**2, 6 * mu
    if rows.family == "negative_binomial":
        return mu + mu**2 / rows.parameter, 1 + 2 * mu / rows.parameter, 2 * one / rows.parameter
    return one, none, none


def _value(rows: Rows, eta: Floats) -> Floats:
    y, w, p = rows.y, rows.weights, rows.parameter
    if rows.family == "binomial":
        log_mu, log_nu = _BINOMIAL[rows.link](eta)[:2]
        ways = gammaln(w + 1) - gammaln(w * y + 1) - gammaln(w * (1 - y) + 1)
        ways = np.where((y == 0) | (y == 1), 0.0, ways)
        return np.asarray(-2 * (ways + w * (np.where(y > 0, y * log_mu, 0) + np.where(y < 1, (1 - y) * log_nu, 0))))
    mu = _inverse_link(rows.link, eta)[0]
    if rows.family == "gaussian":
        return np.asarray(np.log(2 * np.pi * p / w) + w * (y - mu) ** 2 / p)
    log_mu = _log_mean(rows.link, eta)
    if rows.family == "poisson":
        return np.asarray(-2 * w * (y * log_mu - mu - gammaln(y + 1)))
    if rows.family == "negative_binomial":
        chance = gammaln(y + p) - gammaln(p) - gammaln(y + 1) - (p + y) * np.log1p(mu / p) + y * (log_mu - np.log(p))
        return np.asarray(-2 * w * chance)
    if rows.family == "inverse_gaussian":
        return np.asarray(np.log(2 * np.pi * p / w * y**3) + w * (y - mu) ** 2 / (p * mu**2 * y))
    k = w / p
    return np.asarray(-2 * (k * np.log(k) - k * log_mu + xlogy(k - 1, y) - k * y / mu - gammaln(k)))


def value(rows: Rows, eta: Floats) -> Floats:
    """``D``: -2 log-likelihood of every row, infinite where eta is outside its domain."""
    good = inside(rows, eta)
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        found = _value(rows, np.where(good, eta, 1.0))
    return np.where(good & np.isfinite(found), found, np.inf)


def _parameter_slopes(rows: Rows, mu: Floats, slopes: tuple[Floats, ...]) -> tuple[Floats, Floats, Floats, Floats]:
    """D, s, a and W by the logarithm of the parameter; ``slopes`` are mu', mu'', s, a, W."""
    y, w, p = rows.y, rows.weights, rows.parameter
    first, second, s, a, fisher = slopes
    if rows.family == "poisson":
        return (np.zeros_like(mu),) * 4
    if rows.family == "negative_binomial":
        chance = digamma(y + p) - digamma(p) - np.log1p(mu / p) + (mu - y) / (p + mu)
        # 1 / V moves by q = p / (p + mu)^2.
        q, q_slope = p / (p + mu) ** 2, -2 * p / (p + mu) ** 3
        move = w * (first**2 * q - (y - mu) * (second * q + first**2 * q_slope))
        return -2 * w * p * chance, s * mu / (p + mu), move, fisher * mu / (p + mu)
    if rows.family == "gamma":
        k = w / p
        own = 2 * k * (np.log(k * y / mu) + 1 - y / mu - digamma(k))
    elif rows.family == "inverse_gaussian":
        own = 1 - w * (y - mu) ** 2 / (p * mu**2 * y)
    else:
        own = 1 - w * (y - mu) ** 2 / p
    return own, -s, -a, -fisher


def slopes(rows: Rows, eta: Floats) -> Slopes:
    """Everything the criteria need of every row; eta inside its domain."""
    if rows.family == "binomial":
        return _binomial_slopes(rows, eta)
    mu, m1, m2, m3 = _inverse_link(rows.link, eta)
    v, v1, v2 = _variance(rows, mu)
    scale = rows.weights / (rows.parameter if rows.family not in ("poisson", "negative_binomial") else 1.0)
    rest = rows.y - mu
    # g = mu' / V and its slopes by eta: D' = -2 scale (y - mu) g.
    g = m1 / v
    g1 = m2 / v - m1**2 * v1 / v**2
    g2 = m3 / v - 3 * m1 * m2 * v1 / v**2 - m1**3 * v2 / v**2 + 2 * m1**3 * v1**2 / v**3
    s, fisher = -2 * scale * rest * g, scale * m1 * g
    a = scale * (m1 * g - rest * g1)
    own = _parameter_slopes(rows, mu, (m1, m2, s, a, fisher))
    return Slopes(s, a, scale * (m2 * g + 2 * m1 * g1 - rest * g2), fisher, scale * (m2 * g + m1 * g1), *own)
