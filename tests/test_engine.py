"""The engine against the dense oracle: criterion, exact gradient and estimates at any Lambda, for every structure."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast.errors import MixeffError
from mixeff_fast.fit.certificate import optimum
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.lmm import conditional_covariances, estimates, fitted_values
from tests import oracle
from tests.bridge import Bridge, bridge
from tests.strategies import LAYOUTS, Case, cases

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BARS = st.lists(st.booleans(), min_size=1, max_size=3)


def bridged(case: Case, bars: list[bool]) -> Bridge | None:
    """None for a model that the compile room refuses, such as one with as many levels as rows."""
    try:
        return bridge(case.problem, bars)
    except MixeffError:
        return None


def close(ours: object, theirs: object, bound: float) -> None:
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape
    assert np.max(np.abs(a - b), initial=0.0) <= bound * max(1e-8, float(np.max(np.abs(b), initial=0.0)))


@pytest.mark.parametrize("layout", LAYOUTS)
@SETTINGS
@given(data=st.data())
def test_criterion_and_gradient(layout: str, data: st.DataObject) -> None:
    case = data.draw(cases(layouts=(layout,), aliased=None))
    made = bridged(case, data.draw(BARS))
    if made is None:
        return
    engine = made.engine()
    lam = engine.lam(made.to_model(case.theta))
    value, gradient = engine.evaluate(lam, case.reml)
    # the theta that lam stands for: lower triangular with a non-negative diagonal, whatever signs were drawn
    theta = made.to_problem(engine.theta(lam))
    expected = oracle.deviance(case.problem, theta, case.reml)
    assert value + engine.criterion_shift(case.reml) == pytest.approx(expected, rel=1e-9, abs=1e-8)
    ours = made.user_gradient(engine, lam, gradient)
    theirs = oracle.gradient_fd(case.problem, theta, case.reml)
    assert np.max(np.abs(ours - theirs)) <= 1e-6 * max(1.0, float(np.max(np.abs(theirs))))


@SETTINGS
@given(case=cases(aliased=None), bars=BARS)
def test_estimates(case: Case, bars: list[bool]) -> None:
    made = bridged(case, bars)
    if made is None:
        return
    engine = made.engine()
    lam = engine.lam(made.to_model(case.theta))
    _, certificate = optimum(engine, case.reml, DEFAULT_CONTROL)
    ours = estimates(engine, lam, case.reml, certificate)
    theta = made.to_problem(ours.theta)
    theirs = oracle.solve(case.problem, theta, case.reml)
    kept = ~ours.aliased
    assert np.flatnonzero(kept).tolist() == list(theirs.kept)
    close(ours.beta[kept], theirs.beta, 1e-7)
    close(ours.vcov[np.ix_(kept, kept)], theirs.vcov, 1e-7)
    assert ours.sigma == pytest.approx(theirs.sigma, rel=1e-8)
    assert ours.logdet == pytest.approx(theirs.logdet, rel=1e-8, abs=1e-8)
    assert ours.pwrss == pytest.approx(theirs.pwrss, rel=1e-8)
    close(fitted_values(made.model, ours), theirs.fitted, 1e-8)
    covariances = conditional_covariances(engine, ours)
    for block, where, own in made.spans():
        columns = slice(block.first, block.first + block.width)
        close(ours.effects[block.factor][:, columns], theirs.b[where][:, own], 1e-7)
        close(covariances[block.factor][:, columns, columns], theirs.b_cov[where][:, own, own], 1e-7)


def test_nested_chains_have_no_trunk() -> None:
    rng = np.random.default_rng(4)
    n = 400
    top = rng.integers(0, 4, n)
    codes = [top]
    for _ in range(3):
        codes.append(codes[-1] * 3 + rng.integers(0, 3, n))
    for depth in (2, 3, 4):
        blocks = [oracle.Block(np.ones((n, 1)), np.unique(c, return_inverse=True)[1], len(np.unique(c)),
                               np.ones((1, 1), bool)) for c in codes[:depth]]
        plan = bridge(oracle.Problem(np.ones((n, 1)), rng.normal(size=n), tuple(blocks))).model.plan
        assert plan.trunk_size == 0
        assert plan.n_chain == depth
    crossed = oracle.Block(np.ones((n, 1)), rng.integers(0, 7, n), 7, np.ones((1, 1), bool))
    mixed = bridge(oracle.Problem(np.ones((n, 1)), rng.normal(size=n), (*blocks, crossed))).model.plan
    assert mixed.trunk_size == 7
    assert mixed.n_chain == 4


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(case=cases(aliased=None, max_rows=40), bars=BARS)
def test_the_optimum_is_the_oracles(case: Case, bars: list[bool]) -> None:
    made = bridged(case, bars)
    if made is None:
        return
    engine = made.engine()
    lam, certificate = optimum(engine, case.reml, DEFAULT_CONTROL)
    polished = oracle.polish(case.problem, made.to_problem(engine.theta(lam)), case.reml)
    assert certificate.objective <= polished.objective + 1e-7
    if certificate.quality == "certified":
        conditions = oracle.optimality(case.problem, made.to_problem(engine.theta(lam)), case.reml)
        assert conditions.gradient <= 1e-4
        assert conditions.cone >= -1e-3


@pytest.mark.parametrize("random", ["(1 | g)", "(x + w | g)"])
@pytest.mark.parametrize("share", [1e-3, 1e-5])
def test_nearly_collinear_columns_lose_no_digits(random: str, share: float) -> None:
    """``w`` is ``x`` but for a small part; the model is the same with that part alone in its place."""
    rng = np.random.default_rng(8)
    n = 300
    x, part, g = rng.normal(size=n), rng.normal(size=n), rng.integers(0, 15, n)
    y = 1.0 + x + 0.5 * part + rng.normal(size=15)[g] * (1.0 + x) + rng.normal(size=n)
    data = pl.DataFrame({"y": y, "x": x, "g": g.astype(str), "w": x + share * part, "v": part})
    near = mf.lmm(f"y ~ x + w + {random}", data, reml=False)
    apart = mf.lmm(f"y ~ x + v + {random}".replace("w |", "v |"), data, reml=False)
    assert near.loglik == pytest.approx(apart.loglik, abs=1e-7)
    close(near.fitted, apart.fitted, 1e-7)
    assert near.beta[2] == pytest.approx(apart.beta[2] / share, rel=1e-6)
    assert near.std_error[2] == pytest.approx(apart.std_error[2] / share, rel=1e-6)
