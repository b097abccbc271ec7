"""Generalized linear mixed models whose estimates run to a limit: the verdict says so, and nothing that is none is called an
optimum."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.families import Family
from mixeff_fast.fit import certificate
from mixeff_fast.fit.laplace import LaplaceEngine
from mixeff_fast.kernels import pirls
from tests.glmm_problems import criterion_of, dense, fitted, psi_of_result, small_data
from tests.oracle_glmm import evaluate, geometry
from tests.test_tiny_glmms import Case, fit_of

POISSON = Family("poisson", "log")
SIZE = Family("negative_binomial", "log")


def grouped(seed: int, n: int = 60) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(10), n // 10)
    x = rng.normal(size=n)
    return pl.DataFrame({"x": x, "g": [f"g{i}" for i in g], "row": [f"r{i:03d}" for i in range(n)],
                         "u": np.clip(rng.normal(size=10), -1.5, 1.5)[g]})


# The parameter of the family.


@pytest.mark.parametrize("link", ["log", "sqrt", "identity"])
def test_counts_that_vary_less_than_poissons(link):
    """Theta runs to infinity: the fit is Poisson's, and so are the standard errors."""
    data = small_data(Family("poisson", link), 40, n=80).with_columns(y=(2 * pl.col("y") / 3).round() * 1.5 // 1)
    few = data.with_columns(y=pl.col("y").clip(upper_bound=2.0) + 2.0)
    a = fitted("y ~ x + (1 | g)", few, Family("negative_binomial", link)).result
    b = fitted("y ~ x + (1 | g)", few, Family("poisson", link)).result
    assert a.certificate.limit == "theta_infinite"
    assert a.certificate.status == "converged_boundary"
    assert a.certificate.quality == "approximate"
    assert "Poisson" in a.certificate.reason
    assert a.parameter > 1e6
    assert a.parameter_error is None
    assert a.vcov_route == "observed_information"
    assert a.objective == pytest.approx(b.objective, abs=1e-5)
    np.testing.assert_allclose(a.beta, b.beta, atol=1e-5 * np.sqrt(np.diag(b.vcov)).min())
    np.testing.assert_allclose(np.diag(a.vcov), np.diag(b.vcov), rtol=1e-4)


def test_overdispersion_that_is_small_is_estimated():
    """A theta that is large and known to be finite is an interior optimum."""
    rng = np.random.default_rng(41)
    data = grouped(42, 400)
    mu = np.exp(4.5 + 0.3 * data["x"].to_numpy() + 0.2 * data["u"].to_numpy())
    data = data.with_columns(y=rng.negative_binomial(60.0, 60.0 / (60.0 + mu)).astype(float))
    result = fitted("y ~ x + (1 | g)", data, SIZE).result
    assert result.certificate.limit == ""
    assert result.certificate.quality == "certified"
    assert result.parameter_error is not None
    assert 30 < result.parameter < 120


EXACT = [("gamma", "log"), ("inverse_gaussian", "log"), ("gaussian", "log")]


@pytest.mark.parametrize(("name", "link"), EXACT)
def test_responses_on_a_curve(name, link):
    """The fixed effects alone fit exactly."""
    data = grouped(42).with_columns(y=(0.3 + 0.2 * pl.col("x")).exp())
    result = fitted("y ~ x + (1 | g)", data, Family(name, link)).result
    assert result.certificate.status == "not_identifiable"
    assert result.certificate.quality == "failed"
    assert "exactly" in result.certificate.reason


@pytest.mark.parametrize(("name", "link"), [*EXACT, ("gamma", "inverse"), ("gaussian", "sqrt")])
@pytest.mark.parametrize("unit", [1.0, 1e-6, 1e6])
def test_responses_that_groups_explain(name, link, unit):
    """Whatever their unit."""
    data = grouped(43).with_columns(y=unit * (1.5 + pl.col("u") * 0.4))
    result = fitted("y ~ 1 + (1 | g)", data, Family(name, link)).result
    assert result.certificate.status == "not_identifiable"
    assert "exactly" in result.certificate.reason


@pytest.mark.parametrize("name", ["gamma", "inverse_gaussian", "gaussian"])
def test_a_level_for_every_row_takes_the_dispersion_away(name):
    data = small_data(Family(name, "log"), 44, n=40)
    if name == "gaussian":
        data = data.with_columns(y=pl.col("y").abs() + 0.1)
    result = fitted("y ~ x + (1 | row)", data, Family(name, "log")).result
    assert not (result.certificate.quality == "certified" and result.parameter < 1e-4)
    if result.certificate.limit:
        assert result.certificate.status == "not_identifiable"


# The fixed effects.


def separated() -> pl.DataFrame:
    rng = np.random.default_rng(1045)
    data = grouped(45)
    x = data["x"].to_numpy()
    return data.with_columns(
        whole=(x > 0).astype(float), rare=(x > 1.2).astype(float),
        quasi=np.where(x > 1.2, 0.0, rng.integers(0, 2, len(x))), count=np.where(x > 1.2, 0.0, rng.poisson(2.0, len(x))),
    )


@pytest.mark.parametrize("method", ["joint_laplace", "pirls_profiled"])
@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
@pytest.mark.parametrize("formula", ["whole ~ x + (1 | g)", "whole ~ x + (x | g)", "quasi ~ rare + (1 | g)"])
def test_separation_has_no_optimum(formula, link, method):
    certificate = fitted(formula, separated(), Family("binomial", link), method).result.certificate
    if method == "joint_laplace" or formula.startswith("whole"):
        assert certificate.status == "not_identifiable"
        assert "fixed effects" in certificate.reason
    else:
        assert certificate.quality != "certified"
        assert certificate.status in ("not_identifiable", "not_optimized")


@pytest.mark.parametrize("family", [POISSON, SIZE], ids=str)
def test_counts_that_are_zero_wherever_a_column_is_not(family):
    certificate = fitted("count ~ rare + (1 | g)", separated(), family).result.certificate
    assert certificate.status == "not_identifiable"


def test_large_coefficients_and_errors_that_are_finite():
    """Units of a predictor, near collinearity and rare outcomes are no separation."""
    rng = np.random.default_rng(1046)
    data = grouped(46, 400).with_columns(tiny=1e-9 * pl.col("x"), near=pl.col("x") + 1e-4 * rng.normal(size=400))
    eta = -3.5 + 0.5 * data["x"].to_numpy() + 0.5 * data["u"].to_numpy()
    data = data.with_columns(y=(rng.random(400) < 1 / (1 + np.exp(-eta))).astype(float))
    assert 5 < data["y"].sum() < 40
    for formula in ("y ~ tiny + (1 | g)", "y ~ x + near + (1 | g)"):
        result = fitted(formula, data, Family("binomial", "logit")).result
        assert result.certificate.quality == "certified"
        assert result.certificate.status.startswith("converged")
    assert np.sqrt(result.vcov[2, 2]) > 1e3


def test_outcomes_that_groups_explain_are_fitted():
    """Conditional separation: the fixed effects have an estimate."""
    data = grouped(47).with_columns(y=(pl.col("u") > 0).cast(pl.Float64))
    result = fitted("y ~ 1 + (1 | g)", data, Family("binomial", "logit")).result
    assert result.certificate.quality == "certified"
    assert result.theta[0] > 10


# What is handed out belongs to the point that is handed out.


@pytest.mark.parametrize(
    ("name", "link"), [("binomial", "probit"), ("binomial", "cauchit"), ("poisson", "sqrt"), ("gamma", "log"),
                       ("negative_binomial", "log")],
)  # fmt: skip
@pytest.mark.parametrize("seed", [3, 4])
def test_covariance_of_profiled_fixed_effects(name, link, seed):
    """From the criterion's own weights, also where its gradient was computed last, with the observed ones."""
    family = Family(name, link)
    fit = fitted("y ~ x + (1 | g)", small_data(family, seed), family, "pirls_profiled")
    problem = dense(fit.model)
    state = evaluate(problem, psi_of_result(problem, fit.result, True), criterion_of(fit.model, True))
    assert fit.result.objective == pytest.approx(state.objective, abs=1e-8)
    np.testing.assert_allclose(fit.result.vcov, geometry(problem, state), rtol=1e-7)


def test_numbers_of_a_boundary_fit_that_was_not_certified():
    """Without random effects the factorization is that of the fixed effects all the same."""
    family = Family("binomial", "logit")
    data = small_data(family, 48).with_columns(g=pl.Series([f"g{i % 7}" for i in range(60)]), y=pl.Series(
        (np.arange(60) // 7 % 2).astype(float)))
    fit = fitted("y ~ x + (1 | g)", data, family)
    assert fit.result.theta[0] == 0.0
    point = fit.result.point
    fit.engine.modes.counts[:] = 0
    fit.engine.is_bordered = False
    fit.engine.settle(point, True)
    low = np.tril(fit.engine.work.border[:2, :2])
    X, w = fit.engine.rows.x, fit.engine.modes.weight
    np.testing.assert_allclose(low @ low.T, (X * w) @ X.T, rtol=1e-9)


# Small corners.


def test_no_fixed_effects():
    data = small_data(POISSON, 49)
    result = fitted("y ~ 0 + (1 | g)", data, POISSON).result
    assert result.certificate.quality == "certified"
    assert result.beta.shape == (0,)
    assert result.vcov.shape == (0, 0)


def test_aliased_columns():
    family = Family("binomial", "probit")
    data = small_data(family, 50, n=90).with_columns(twice=2.0 * pl.col("x"))
    a, b = fitted("y ~ x + twice + (1 | g)", data, family).result, fitted("y ~ x + (1 | g)", data, family).result
    assert a.aliased.tolist() == [False, False, True]
    assert np.isnan(a.beta[2])
    assert a.objective == pytest.approx(b.objective, abs=1e-9)
    np.testing.assert_allclose(a.beta[:2], b.beta, atol=1e-8)
    np.testing.assert_allclose(a.vcov[:2, :2], b.vcov, rtol=1e-5)


def test_a_budget_that_is_spent():
    data = small_data(POISSON, 51, n=90)
    found = fitted("y ~ x + (x | g)", data, POISSON, max_evaluations=1).result.certificate
    assert found.status == "not_optimized"
    assert "limit" in found.reason


# Points that look like optima.


def test_modes_that_are_not_found_again_refute_a_certificate(monkeypatch):
    data = small_data(POISSON, 51, n=90)
    assert fitted("y ~ x + (1 | g)", data, POISSON).result.certificate.quality == "certified"
    settle = LaplaceEngine.settle
    monkeypatch.setattr(LaplaceEngine, "settle", lambda self, *arguments: settle(self, *arguments) + 0.01)
    result = fitted("y ~ x + (1 | g)", data, POISSON).result
    assert result.certificate.status == "not_optimized"
    assert "several conditional modes" in result.certificate.reason
    assert result.certificate.information is None


def test_a_jump_of_the_gradient_is_no_curvature(monkeypatch):
    """Any slope has a small decrement beside a large enough second derivative."""
    data = small_data(POISSON, 51, n=90)
    monkeypatch.setattr(certificate, "JUMP", 1e-3)
    result = fitted("y ~ x + (1 | g)", data, POISSON).result
    assert result.certificate.newton_decrement < 1e-7
    assert result.certificate.status == "not_optimized"
    assert "jumps" in result.certificate.reason


@pytest.mark.parametrize("compiled", [True, False])
def test_slow_scoring_becomes_newtons_method(compiled):
    """Modes are found to the last digit in a few passes, compiled and in stages, where scoring alone takes hundreds."""
    case = Case(Family("poisson", "identity"), "y ~ x + (1 | g) + (1 | row)", "constant_in_groups", True, 5260)
    fit = fit_of(case)
    assert fit is not None
    engine = fit.engine
    engine.is_compiled = compiled
    values = []
    for start in (1.0, 0.5, 0.0):
        engine.trail.anchor[: engine.q] *= start
        engine.modes.counts[pirls.USABLE] = 0
        before = int(engine.modes.counts[pirls.PASSES])
        values.append(engine.criterion(fit.result.point, False))
        assert engine.modes.counts[pirls.PASSES] - before < 40
    np.testing.assert_allclose(values, fit.result.objective, rtol=1e-10)


# Several optima.


def few_rows_per_level(seed: int, family: str) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(15, 60))
    levels = int(n * rng.uniform(0.5 if family == "negative_binomial" else 0.1, 0.95))
    g = rng.integers(0, levels, n)
    h = g if family == "negative_binomial" else rng.integers(0, max(2, n // 6), n)
    x = rng.normal(size=n)
    mu = np.exp(1.0 + 0.5 * x + rng.choice([0.0, 0.5, 1.0]) * rng.normal(size=levels)[g])
    spread = rng.choice([0.7, 2.0, 10.0])
    counts = family == "negative_binomial"
    y = rng.negative_binomial(spread, spread / (spread + mu)) if counts else rng.wald(mu, spread) + 1e-6
    return pl.DataFrame({"y": y.astype(float), "x": x, "g": [f"g{k}" for k in g], "h": [f"h{k}" for k in h]})


@pytest.mark.parametrize("seed", [1070, 2533, 4280, 4611])
def test_extra_variance_is_the_familys_where_that_is_likelier(seed):
    """Searches that begin with a large variance of the levels end in an optimum of their own."""
    data = few_rows_per_level(seed, "negative_binomial")
    own = mf.glmm("y ~ x + (1 | g)", data, "negative_binomial")
    near, far = (mf.glmm("y ~ x + (1 | g)", data, "negative_binomial", control=mf.control(start=[t])) for t in (0.05, 1.5))
    assert near.loglik > far.loglik + 0.01
    assert own.loglik == pytest.approx(near.loglik, abs=1e-7)
    assert (own.fit_status, own.theta.tolist()) == ("converged_boundary", [0.0])
    assert own.result.certificate.evaluations > near.result.certificate.evaluations
    assert "variance at zero" in str(own.summary())


def test_a_limit_of_the_parameter_is_no_singular_fit():
    data = small_data(POISSON, 40, n=80).with_columns(y=(pl.col("y") / 2).round().clip(upper_bound=2.0) + 2.0)
    fit = mf.glmm("y ~ x + (1 | g)", data.with_columns(u=pl.Series(np.arange(80) % 5 * 3.0)).with_columns(
        y=pl.col("y") + pl.col("u"), g=pl.Series([f"g{k % 5}" for k in range(80)])), "negative_binomial")
    assert (fit.fit_status, fit.result.certificate.limit) == ("converged_boundary", "theta_infinite")
    assert fit.theta[0] > 0.0
    assert "the family's parameter at the end of its range" in str(fit.summary())
    assert "singular" not in str(fit.summary())


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("random", ["(1 | g)", "(1 | g) + (1 | h)"])
@pytest.mark.parametrize("seed", [6, 110])
def test_fixed_effects_that_do_not_minimize_the_penalized_deviance(compiled, random, seed):
    """It may bend downwards along them where the likelihood is largest: the criterion is there all the same, and so is a model
    of the Hessian to search with."""
    data = few_rows_per_level(seed, "inverse_gaussian")
    family = Family("inverse_gaussian", "log")
    fit = fitted(f"y ~ x + {random}", data, family)
    assert fit.result.certificate.status.startswith("converged")
    problem = dense(fit.model)
    state = evaluate(problem, psi_of_result(problem, fit.result), criterion_of(fit.model))
    assert state.objective == pytest.approx(fit.result.objective, rel=1e-9)
    engine = LaplaceEngine(fit.model, mf.control())
    engine.is_compiled = compiled
    assert engine.settle(fit.result.point) == pytest.approx(fit.result.objective, rel=1e-9)
    border = np.tril(engine.work.border[: engine.rank, : engine.rank])
    assert np.all(np.diag(border) > 0.0)
    engine._slopes(fit.result.point, grad := np.empty(len(fit.result.point)), True)
    expected = engine.gradients(fit.result.point[None], False)[1][0]
    np.testing.assert_allclose(grad, expected, atol=1e-6)
    assert np.all(np.linalg.eigvalsh(engine.extra_hessian) > 0.0)
