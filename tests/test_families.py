"""Families and links row by row: values and derivatives against many digits, likelihoods against SciPy, the ends of eta."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixeff_fast.kernels import families as f
from mixeff_fast.kernels import links as k
from mixeff_fast.kernels.strict import strict_weights
from mixeff_fast.kernels.working import curvature, fitted, parameter_slopes, saturated, working
from tests.precise import Pair, Row

Floats = NDArray[np.float64]
NONE = np.empty(0)
PAIRS = [(family, link) for family, links in f.LINKS.items() for link in links]
FAMILY_NAMES = ("binomial", "poisson", "gamma", "inverse_gaussian", "negative_binomial", "gaussian")
LINK_NAMES = ("logit", "probit", "cloglog", "cauchit", "log", "sqrt", "identity", "inverse", "inverse_square")
IDS = [f"{FAMILY_NAMES[family]}-{LINK_NAMES[link]}" for family, link in PAIRS]
CANONICAL = {
    (f.BINOMIAL, k.LOGIT),
    (f.POISSON, k.LOG),
    (f.GAMMA, k.INVERSE),
    (f.INVERSE_GAUSSIAN, k.INVERSE_SQUARE),
    (f.GAUSSIAN, k.IDENTITY),
}

ETAS = {
    k.LOGIT: (-700.0, -40.0, -3.3, -0.2, 0.0, 0.7, 5.0, 36.5, 700.0),
    k.PROBIT: (-30.0, -8.0, -5.001, -4.999, -1.0, 0.0, 0.3, 2.0, 5.2, 30.0),
    k.CLOGLOG: (-700.0, -30.0, -5.0, -2.31, -2.3, -0.3, 0.0, 0.01, 1.5, 5.0, 6.3),
    k.CAUCHIT: (-1e10, -30.0, -1.001, -0.999, 0.0, 0.5, 1.5, 1e6),
    k.LOG: (-700.0, -20.0, -1.1, -0.003, 0.0, 0.6, 2.0, 5.0, 30.0, 700.0),
    k.SQRT: (1e-3, 0.5, 1.4, 2.0, 2.002, 3.0, 50.0),
    k.IDENTITY: (1e-3, 0.5, 2.1, 4.0, 4.01, 9.0, 1e4),
    k.INVERSE: (1e-4, 0.1, 0.37, 0.7, 2.0, 50.0),
    k.INVERSE_SQUARE: (1e-4, 0.1, 0.37, 0.7, 2.0, 50.0),
}
RESPONSES = {
    f.BINOMIAL: ((0.0, 1.0), (1.0, 1.0), (3.0, 7.0), (990.0, 1000.0)),
    f.POISSON: ((0.0, 1.0), (1.0, 1.0), (4.0, 1.0), (140.0, 1.0)),
    f.NEGATIVE_BINOMIAL: ((0.0, 1.0), (1.0, 1.0), (4.0, 1.0), (140.0, 1.0)),
    f.GAMMA: ((0.3, 1.0), (2.6, 1.0), (41.0, 1.0)),
    f.INVERSE_GAUSSIAN: ((0.3, 1.0), (2.6, 1.0), (41.0, 1.0)),
    f.GAUSSIAN: ((-1.3, 1.0), (0.4, 1.0), (3.1, 1.0)),
}
PARAMETERS = {
    f.BINOMIAL: (1.0,),
    f.POISSON: (1.0,),
    f.NEGATIVE_BINOMIAL: (0.02, 2.5, 1e6),
    f.GAMMA: (0.3,),
    f.INVERSE_GAUSSIAN: (0.3,),
    f.GAUSSIAN: (2.0,),
}


@dataclass(frozen=True, slots=True)
class Rows:
    """What the kernels make of rows, one number per row each."""

    total: float
    mu: Floats
    deviance: Floats
    score: Floats
    fisher: Floats
    observed: Floats
    slope: Floats
    parameter: tuple[Floats, Floats, Floats]


def evaluate(pair: Pair, y: Floats, trials: Floats, eta: Floats, prior: Floats = NONE) -> Rows:
    n = y.shape[0]
    mu, deviance, score, fisher, observed, slope, p0, p1, p2 = np.full((9, n), np.nan)
    facts = (pair.family, pair.link, pair.parameter, y, trials, prior, eta)
    total = working(*facts, score, fisher, 0, n)
    curvature(*facts, observed, slope, 0, n)
    fitted(*facts, mu, deviance, 0, n)
    for i in range(n):
        p0[i] = parameter_slopes(*facts, p1, p2, i, i + 1)
    return Rows(total, mu, deviance, score, fisher, observed, slope, (p0, p1, p2))


def etas(family: int, link: int) -> tuple[float, ...]:
    if family == f.BINOMIAL and link == k.LOG:
        return (-700.0, -20.0, -1.0, -0.6, -1e-3, -1e-5)
    if family == f.GAUSSIAN and link in (k.IDENTITY, k.INVERSE):
        return (*ETAS[link], *(-eta for eta in ETAS[link]))
    return ETAS[link]


def cases(family: int, link: int, parameter: float) -> list[tuple[float, float, float]]:
    extreme = parameter in (0.02, 1e6)
    return [(y, m, x) for y, m in RESPONSES[family] for x in etas(family, link) if not (extreme and abs(x) == 700.0)]


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=IDS)
def test_rows_against_many_digits(family: int, link: int) -> None:
    for parameter in PARAMETERS[family]:
        pair = Pair(family, link, parameter)
        points = cases(family, link, parameter)
        y, m, eta = np.array(points).T.copy()
        rows = evaluate(pair, y, m, eta)
        for i, point in enumerate(points):
            check(pair.row(*point), rows, i, f"{parameter} at {point}")


def check(truth: Row, rows: Rows, i: int, label: str) -> None:
    """Relative accuracy but where a derivative passes through 0: there, that of the sum it is."""
    assert rows.mu[i] == pytest.approx(truth.mu, rel=2e-14, abs=0.0), label
    assert rows.deviance[i] == pytest.approx(truth.deviance, rel=4e-13, abs=1e-300), label
    if math.isinf(truth.deviance):
        return
    assert rows.fisher[i] == pytest.approx(truth.fisher, rel=4e-13, abs=1e-300), label
    scale = 4e-13 * truth.fisher
    assert rows.score[i] == pytest.approx(truth.score, rel=4e-13, abs=scale), label
    assert rows.observed[i] == pytest.approx(truth.observed, rel=4e-13, abs=scale), label
    assert rows.slope[i] == pytest.approx(truth.slope, rel=4e-13, abs=scale), label
    for value, expected in zip(rows.parameter, truth.parameter, strict=True):
        assert value[i] == pytest.approx(expected, rel=4e-12, abs=scale), label


@pytest.mark.parametrize(("family", "link"), sorted(CANONICAL))
def test_observed_weights_are_fisher_weights_for_canonical_links(family: int, link: int) -> None:
    rng = np.random.default_rng(1)
    y, eta = rng.integers(0, 2, 50) + (0.0 if family == f.BINOMIAL else 0.5), rng.uniform(0.1, 3.0, 50)
    rows = evaluate(Pair(family, link, 0.7), y, NONE, eta)
    np.testing.assert_allclose(rows.observed, rows.fisher, rtol=1e-13)


def log_density(family: int, parameter: float, y: Floats, m: Floats, prior: Floats, mu: Floats) -> Floats:
    dispersion = parameter / prior
    values: Floats
    if family == f.BINOMIAL:
        values = prior * scipy.stats.binom.logpmf(y, m, mu)
    elif family == f.POISSON:
        values = prior * scipy.stats.poisson.logpmf(y, mu)
    elif family == f.NEGATIVE_BINOMIAL:
        values = prior * scipy.stats.nbinom.logpmf(y, parameter, parameter / (parameter + mu))
    elif family == f.GAMMA:
        values = scipy.stats.gamma.logpdf(y, 1.0 / dispersion, scale=mu * dispersion)
    elif family == f.INVERSE_GAUSSIAN:
        values = scipy.stats.invgauss.logpdf(y, mu * dispersion, scale=1.0 / dispersion)
    else:
        values = scipy.stats.norm.logpdf(y, mu, np.sqrt(dispersion))
    return values


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=IDS)
def test_log_likelihoods_are_those_of_scipy(family: int, link: int) -> None:
    rng = np.random.default_rng(family)
    n = 40
    eta = rng.uniform(-2.0, -0.1, n) if family == f.BINOMIAL and link == k.LOG else rng.uniform(0.1, 2.0, n)
    m = rng.integers(1, 12, n).astype(float) if family == f.BINOMIAL else np.ones(n)
    y = rng.integers(0, 30, n) % (m + 1.0) if family == f.BINOMIAL else rng.integers(0, 40, n).astype(float)
    if family in (f.GAMMA, f.INVERSE_GAUSSIAN, f.GAUSSIAN):
        y = rng.gamma(2.0, 1.0, n)
    prior = rng.uniform(0.5, 3.0, n)
    for parameter in (0.05, 0.8, 6.0):
        rows = evaluate(Pair(family, link, parameter), y, m, eta, prior)
        expected = log_density(family, parameter, y, m, prior, rows.mu)
        for i in range(n):
            value = saturated(family, parameter, y, m, prior, i, i + 1)[0] - 0.5 * rows.deviance[i]
            assert value == pytest.approx(expected[i], rel=1e-11, abs=1e-11)
        total = saturated(family, parameter, y, m, prior, 0, n)[0] - 0.5 * rows.total
        assert total == pytest.approx(float(expected.sum()), rel=1e-11)


@pytest.mark.parametrize("family", sorted(f.LINKS))
def test_log_likelihoods_and_their_parameters_against_many_digits(family: int) -> None:
    link = f.LINKS[family][0]
    for parameter in (1e-6, 0.02, 0.3, 7.0, 11.0, 1e7):
        for y, m in (*RESPONSES[family], (2.5, 1e6) if family == f.BINOMIAL else (1e6, 1.0)):
            rows = tuple(np.array([number]) for number in (y, m, 0.4))
            pair = Pair(family, link, parameter)
            made = evaluate(pair, *rows)
            value, change = saturated(family, parameter, rows[0], rows[1], NONE, 0, 1)
            expected = pair.log_likelihood(y, m, 0.4)
            assert value - 0.5 * made.total == pytest.approx(expected, rel=4e-15, abs=4e-14), (parameter, y, m)
            if family in (f.BINOMIAL, f.POISSON):
                assert change == 0.0
                continue
            slope = pair.parameter_slope(y, m, 0.4)
            size = abs(change) + abs(made.parameter[0][0])
            assert change - 0.5 * made.parameter[0][0] == pytest.approx(slope, rel=1e-12, abs=1e-13 * size), (parameter, y, m)


@pytest.mark.parametrize(
    ("family", "link", "eta"),
    [
        (f.BINOMIAL, k.PROBIT, -5.0),
        (f.BINOMIAL, k.PROBIT, 5.0),
        (f.BINOMIAL, k.CAUCHIT, 1.0),
        (f.BINOMIAL, k.CAUCHIT, -1.0),
        (f.BINOMIAL, k.CLOGLOG, math.log(0.1)),
        (f.BINOMIAL, k.CLOGLOG, 0.0),
        (f.BINOMIAL, k.LOGIT, 0.0),
        (f.BINOMIAL, k.LOG, math.log(0.5)),
        *((family, k.LOG, math.log(4.0 * r)) for family in (1, 2, 3, 4) for r in (0.5, 0.8, 1.0, 1.2, 1.5, 2.0)),
    ],
)
def test_pieces_meet(family: int, link: int, eta: float) -> None:
    """On both sides of each switch between formulas numbers are the same to rounding."""
    near = eta + np.arange(-4, 5) * 4e-16 * max(1.0, abs(eta))
    for y in (0.0, 4.0) if family in (f.BINOMIAL, f.POISSON, f.NEGATIVE_BINOMIAL) else (4.0,):
        for parameter in (0.5, 4.0, 8.0):
            rows = evaluate(Pair(family, link, parameter), np.full(9, y), np.full(9, 7.0), near)
            for values in (rows.deviance, rows.score, rows.fisher, rows.observed, rows.slope):
                assert np.ptp(values) <= 1e-13 * np.abs(values).max() + 4e-14


def test_means_outside_their_space_have_an_infinite_deviance() -> None:
    for family, link in PAIRS:
        bad = [math.nan, math.inf, -math.inf]
        if link in (k.SQRT, k.IDENTITY, k.INVERSE, k.INVERSE_SQUARE) and not (family == f.GAUSSIAN and link == k.IDENTITY):
            bad += [0.0, 1e-80]
            if not (family == f.GAUSSIAN and link == k.INVERSE):
                bad += [-1.0]
        if family == f.BINOMIAL and link == k.LOG:
            bad += [0.0, 0.1]
        for eta in bad:
            good = -0.5 if family == f.BINOMIAL else 0.5
            rows = evaluate(Pair(family, link, 1.0), np.ones(2), NONE, np.array([good, eta]))
            assert rows.total == math.inf
            assert rows.deviance[1] == math.inf
            assert math.isfinite(rows.deviance[0])


finite = st.floats(allow_nan=False, allow_infinity=False)
spread = st.one_of(finite, st.floats(-800.0, 800.0), st.floats(-8.0, 8.0))
positive = st.one_of(st.floats(1e-300, 1e300), st.floats(0.01, 100.0))
counts = st.one_of(st.integers(0, 10), st.integers(0, 10**15), st.floats(0.0, 100.0)).map(float)


@settings(max_examples=400, deadline=None)
@given(
    pair=st.sampled_from(PAIRS), parameter=st.floats(1e-8, 1e8), eta=spread, count=counts, more=counts, size=positive,
    sign=st.sampled_from([-1.0, 1.0]), prior=st.floats(1e-3, 1e3),
)
def test_nothing_is_ever_nan(
    pair: tuple[int, int], parameter: float, eta: float, count: float, more: float, size: float, sign: float, prior: float
) -> None:
    family, link = pair
    y, m = count, 1.0
    if family == f.BINOMIAL:
        m = count + more
    elif family in (f.GAMMA, f.INVERSE_GAUSSIAN, f.GAUSSIAN):
        y = size * sign if family == f.GAUSSIAN else size
    rows = evaluate(Pair(family, link, parameter), np.array([y]), np.array([m]), np.array([eta]), np.array([prior]))
    assert rows.total == pytest.approx(rows.deviance[0], rel=1e-12, abs=1e-15 * (1.0 + m) * prior)
    assert rows.total >= -1e-9
    assert rows.fisher[0] >= 0.0
    assert math.isnan(rows.mu[0]) <= math.isinf(rows.total)
    numbers = [rows.deviance, rows.score, rows.fisher, rows.observed, rows.slope, *rows.parameter]
    assert not np.isnan(np.concatenate(numbers)).any()
    if family == f.BINOMIAL:
        m, y = 1.0, min(y, 1.0)
    lone = evaluate(Pair(family, link, parameter), np.array([y]), NONE, np.array([eta]))
    assert lone.total == pytest.approx(lone.deviance[0], rel=1e-12, abs=1e-15)
    assert not np.isnan(np.concatenate([lone.score, lone.fisher, lone.observed, lone.slope])).any()


@pytest.mark.parametrize("family", [f.POISSON, f.GAMMA, f.NEGATIVE_BINOMIAL])
@pytest.mark.parametrize("weighted", [False, True])
def test_loops_over_moderate_rows_do_what_the_general_ones_do(family: int, weighted: bool) -> None:
    """A mean of almost nothing in every strip calls the general loops."""
    rng = np.random.default_rng(4)
    n = 1500
    eta, y = rng.uniform(-3.0, 3.0, n), rng.integers(1, 9, n).astype(float)
    prior = rng.uniform(0.3, 4.0, n) if weighted else NONE
    pair, between = Pair(family, k.LOG, 1.7), np.arange(0, n, 200)
    tiny = np.insert(eta, between, -400.0)
    fast = evaluate(pair, y, NONE, eta, prior)
    weights = np.insert(prior, between, 1.0) if weighted else NONE
    slow = evaluate(pair, np.insert(y, between, 1.0), NONE, tiny, weights)
    for name in ("deviance", "score", "fisher"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name)[tiny > -400.0], rtol=1e-12, err_msg=name)
    strict = [np.full((3, len(x)), np.nan) for x in (eta, tiny)]
    strict_weights(family, k.LOG, 1.7, y, prior, eta, *strict[0], 0, n)
    strict_weights(family, k.LOG, 1.7, np.insert(y, between, 1.0), weights, tiny, *strict[1], 0, len(tiny))
    np.testing.assert_allclose(strict[0], strict[1][:, tiny > -400.0], rtol=1e-12)


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=IDS)
def test_chunks_weights_and_what_is_left_unwritten(family: int, link: int) -> None:
    """Fast loops do what the general one does, only the rows asked for, and empty outputs are not touched."""
    rng = np.random.default_rng(3)
    n = 1500
    low, high = (-2.0, -0.1) if family == f.BINOMIAL and link == k.LOG else (0.2, 3.0)
    if link in (k.LOGIT, k.PROBIT) or (family != f.BINOMIAL and link == k.LOG):
        low = -3.0
    eta = rng.uniform(low, high, n)
    y = rng.integers(0, 2, n).astype(float) + (0.0 if family in (f.BINOMIAL, f.POISSON, f.NEGATIVE_BINOMIAL) else 0.3)
    y[7] = 0.25
    pair = Pair(family, link, 1.7)
    plain = evaluate(pair, y, NONE, eta)
    for trials, prior in ((np.ones(n), NONE), (NONE, np.ones(n)), (np.ones(n), np.ones(n))):
        same = evaluate(pair, y, trials, eta, prior)
        assert same.total == pytest.approx(plain.total, rel=1e-12)
        for name in ("mu", "deviance", "score", "fisher", "observed", "slope"):
            np.testing.assert_allclose(getattr(same, name), getattr(plain, name), rtol=1e-12, atol=1e-15, err_msg=name)
    assert plain.total == pytest.approx(float(plain.deviance.sum()), rel=1e-12)
    prior = rng.uniform(0.3, 4.0, n)
    weighted = evaluate(pair, y, NONE, eta, prior)
    assert weighted.total == pytest.approx(float(prior @ plain.deviance), rel=1e-12)
    for name in ("deviance", "score", "fisher", "observed", "slope"):
        np.testing.assert_allclose(getattr(weighted, name), prior * getattr(plain, name), rtol=1e-12, atol=1e-15, err_msg=name)
    for found, one in zip(weighted.parameter, plain.parameter, strict=True):
        np.testing.assert_allclose(found, prior * one, rtol=1e-12, atol=1e-15)
    facts = (family, link, 1.7, y, NONE, NONE, eta)
    score, fisher = np.full((2, n), np.nan)
    parts = [working(*facts, score, fisher, 10, 700), working(*facts, NONE, NONE, 700, n)]
    assert sum(parts) == pytest.approx(float(plain.deviance[10:].sum()), rel=1e-12)
    assert np.isnan(score[:10]).all()
    assert np.isnan(fisher[700:]).all()
    np.testing.assert_array_equal(score[10:700], plain.score[10:700])


@pytest.mark.parametrize(("family", "link"), PAIRS, ids=IDS)
def test_starting_points(family: int, link: int) -> None:
    y = np.array([0.0, 1.0, 5.0]) if family in (f.BINOMIAL, f.POISSON, f.NEGATIVE_BINOMIAL) else np.array([0.2, 1.0, 5.0])
    m = np.array([3.0, 1.0, 1e6])
    mu, eta = np.empty((2, 3))
    assert f.starting(family, link, y, m, mu, eta) == 0
    expected = {
        f.BINOMIAL: (y + 0.5) / (m + 1.0),
        f.POISSON: y + 0.1,
        f.NEGATIVE_BINOMIAL: y + (y == 0.0) / 6.0,
    }.get(family, y)
    np.testing.assert_allclose(mu, expected, rtol=1e-15)
    np.testing.assert_allclose(evaluate(Pair(family, link, 1.0), y, m, eta).mu, mu, rtol=1e-13)


def test_starting_points_that_do_not_exist() -> None:
    mu, eta = np.empty((2, 3))
    assert f.starting(f.GAUSSIAN, k.LOG, np.array([-1.0, 0.0, 2.0]), NONE, mu, eta) == 2
    np.testing.assert_array_equal(np.isnan(eta), [True, True, False])
    assert f.starting(f.GAUSSIAN, k.INVERSE, np.array([-1.0, 0.0, 2.0]), NONE, mu, eta) == 1
    assert f.starting(f.GAUSSIAN, k.IDENTITY, np.array([-1.0, 0.0, 2.0]), NONE, mu, eta) == 0


@pytest.mark.parametrize("p", [1e-9, 0.02, 0.4999, 0.5, 0.7, 0.999999])
@pytest.mark.parametrize("link", f.LINKS[f.BINOMIAL])
def test_links_undo_their_means(link: int, p: float) -> None:
    trials = np.array([1.0])
    mu, eta = np.empty((2, 1))
    f.starting(f.BINOMIAL, link, np.array([2.0 * p - 0.5]), trials, mu, eta)
    if mu[0] > 0.0:
        assert evaluate(Pair(f.BINOMIAL, link, 1.0), np.zeros(1), trials, eta).mu[0] == pytest.approx(mu[0], rel=1e-12)


def test_admissible_responses() -> None:
    y = np.array([-1.0, -0.0, 0.0, 0.5, 1.0, 2.0, math.nan, math.inf])
    bad = {
        f.BINOMIAL: [0, 5, 6, 7],
        f.POISSON: [0, 6, 7],
        f.NEGATIVE_BINOMIAL: [0, 6, 7],
        f.GAMMA: [0, 1, 2, 6, 7],
        f.INVERSE_GAUSSIAN: [0, 1, 2, 6, 7],
        f.GAUSSIAN: [6, 7],
    }
    for family, expected in bad.items():
        rows = np.full(3, -1, np.int64)
        assert f.inadmissible(family, y, NONE, rows) == len(expected)
        np.testing.assert_array_equal(rows[: len(expected)], expected[:3])
    assert f.inadmissible(f.BINOMIAL, np.array([3.0, 2.0]), np.array([3.0, math.nan]), np.empty(0, np.int64)) == 1
