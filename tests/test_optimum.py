"""The search and its certificate: the optimum is the oracle's, whatever the data's units, ranks and conditioning."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

import mixeff_fast as mf
from mixeff_fast.errors import ConvergenceNotice, MixeffError
from mixeff_fast.fit import staged
from mixeff_fast.fit.certificate import Certificate, optimum
from mixeff_fast.fit.control import DEFAULT_CONTROL, Control
from mixeff_fast.fit.engine import Engine, new_stages
from mixeff_fast.fit.lmm import conditional_covariances, estimates, fit_lmm, fitted_values
from mixeff_fast.kernels import covariance, optimizer
from tests import oracle
from tests.bridge import Bridge, bridge
from tests.oracle import Block, Problem
from tests.strategies import Case, cases, problems

Floats = NDArray[np.float64]

checked = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
BARS = st.lists(st.booleans(), min_size=1, max_size=3)
SEEDS = st.integers(0, 2**32 - 1)


def bridged(problem: Problem, bars: list[bool]) -> Bridge | None:
    """None for a model that the compile room refuses, such as one with as many levels as rows."""
    try:
        return bridge(problem, bars)
    except MixeffError:
        return None


def square_lam(engine: Engine, seed: int) -> Floats:
    """A Lambda that is not triangular; every third term lacks a direction."""
    rng = np.random.default_rng(seed)
    lam = np.zeros(engine.assembled.lam_size)
    for k, block in enumerate(engine.model.blocks):
        view = engine.block_lambda(lam, block)
        if block.family == "full":
            view[...] = rng.normal(size=view.shape)
            if (seed + k) % 3 == 0:
                view[:, -1] = 0.0
        else:
            np.fill_diagonal(view, rng.uniform(0.0, 2.0, block.width))
    return lam


@cache
def from_python(kernel: Any) -> Any:
    """A kernel that only kernels call, for Python to call."""
    return njit(kernel.py_func)


def relative(ours: Floats, theirs: Floats) -> float:
    return float(np.abs(ours - theirs).max() / max(1e-8, np.abs(theirs).max()))


# Evaluations at a Lambda that is not triangular.


@checked
@given(drawn=problems(weighted=None, aliased=None), bars=BARS, reml=st.booleans(), seed=SEEDS)
def test_criterion_and_gradient_at_a_square_lambda(
    drawn: tuple[str, Problem], bars: list[bool], reml: bool, seed: int
) -> None:
    made = bridged(drawn[1], bars)
    if made is None:
        return
    engine = made.engine()
    lam = square_lam(engine, seed)
    value, derivative = engine.evaluate(lam, reml)
    theta = made.to_problem(engine.theta(lam))
    assert value + engine.criterion_shift(reml) == pytest.approx(oracle.deviance(made.problem, theta, reml), rel=1e-9)
    gammas = oracle.cone_gradient(made.problem, theta, reml)
    ours, theirs = [], []
    for block, where, own in made.spans():
        to_user, root = engine.effect_map(block), engine.block_lambda(lam, block)
        expected = 2.0 * to_user.T @ gammas[where][own, own] @ to_user @ root
        found = engine.block_lambda(derivative, block)
        keep = np.eye(block.width, dtype=bool) if block.family == "diagonal" else np.ones_like(expected, dtype=bool)
        ours.append(found[keep])
        theirs.append(expected[keep])
    found, expected = np.concatenate(ours), np.concatenate(theirs)
    assert np.abs(found - expected).max() <= 1e-7 * max(1.0, np.abs(expected).max())


@checked
@given(drawn=problems(weighted=None, aliased=None), bars=BARS, reml=st.booleans(), seed=SEEDS)
def test_estimates_at_a_square_lambda(drawn: tuple[str, Problem], bars: list[bool], reml: bool, seed: int) -> None:
    made = bridged(drawn[1], bars)
    if made is None:
        return
    engine = made.engine()
    lam = square_lam(engine, seed)
    ours = estimates(engine, lam, reml, optimum(engine, reml, Control(max_evaluations=1))[1])
    theirs = oracle.solve(made.problem, made.to_problem(ours.theta), reml)
    kept = ~ours.aliased
    assert np.flatnonzero(kept).tolist() == list(theirs.kept)
    assert relative(ours.beta[kept], theirs.beta) <= 1e-8
    assert relative(ours.vcov[np.ix_(kept, kept)], theirs.vcov) <= 1e-8
    assert ours.sigma == pytest.approx(theirs.sigma, rel=1e-9)
    assert ours.pwrss == pytest.approx(theirs.pwrss, rel=1e-8)
    assert ours.logdet == pytest.approx(theirs.logdet, rel=1e-9, abs=1e-9)
    assert ours.objective == pytest.approx(theirs.objective, rel=1e-9)
    assert relative(fitted_values(made.model, ours), theirs.fitted) <= 1e-8
    covariances = conditional_covariances(engine, ours)
    for block, where, own in made.spans():
        columns = slice(block.first, block.first + block.width)
        assert relative(ours.effects[block.factor][:, columns], theirs.b[where][:, own]) <= 1e-7
        found = covariances[block.factor][:, columns, columns]
        assert relative(found, theirs.b_cov[where][:, own, own]) <= 1e-7


@checked
@given(case=cases(boundary=False, weighted=None, aliased=None), bars=BARS)
def test_average_information_is_the_dense_one(case: Case, bars: list[bool]) -> None:
    """``c e'D_s P D_t e - (c^2 / nu)(e'D_s e)(e'D_t e)`` for steps ``Lambda E``, and the curvature of ``Lambda Lambda'``."""
    made = bridged(case.problem, bars)
    if made is None:
        return
    engine, problem = made.engine(), case.problem
    theta_map = engine.theta_map
    n = len(theta_map.position)
    lam = engine.lam(made.to_model(case.theta))
    covariance.orthogonalize(theta_map, lam, lam.copy(), lam.copy())
    _, derivative = engine.evaluate(lam, case.reml)
    engine.solve(lam, case.reml)
    engine.stages = new_stages(engine.model.plan, engine.assembled, engine.work, engine.trunk, engine.team)
    if engine.stages is None:
        staged._read(engine, lam, engine.dof(case.reml), 0.0, 0, np.empty_like(lam))
    else:
        staged._score(engine, engine.dof(case.reml))
    hessian, slopes, reach = engine.search.hessian.copy(), np.zeros(n), np.zeros(n)
    found = hessian.copy()
    from_python(covariance.pull_back)(theta_map, lam, derivative, slopes, hessian, reach)

    gls = oracle._gls(problem, made.to_problem(engine.theta(lam)), case.reml)
    _, projection, e, c = gls.projections()
    gammas = oracle.cone_gradient(problem, made.to_problem(engine.theta(lam)), case.reml)
    moved, curves = [], np.zeros((n, n))
    expected_slopes = np.zeros(n)
    for i in range(n):
        block, where, own = made.spans()[int(theta_map.term[i])]
        tangent = np.zeros((block.width, block.width))
        tangent[theta_map.row[i], theta_map.column[i]] = 1.0
        root = engine.effect_map(block) @ engine.block_lambda(lam, block)
        full = np.zeros(problem.blocks[where].mask.shape)
        full[own, own] = root @ (tangent + tangent.T) @ root.T
        moved.append(problem.blocks[where].spread(full) @ e)
        inner = root.T @ gammas[where][own, own] @ root
        expected_slopes[i] = 2.0 * inner[theta_map.row[i], theta_map.column[i]]
        for j in range(n):
            if theta_map.term[j] == theta_map.term[i] and theta_map.column[j] == theta_map.column[i]:
                curves[i, j] = 2.0 * inner[theta_map.row[i], theta_map.row[j]]
    d = np.array(moved, np.float64)
    p, e64 = projection.astype(np.float64), e.astype(np.float64)
    expected = float(c) * d @ p @ d.T - float(c) ** 2 / gls.nu * np.outer(d @ e64, d @ e64)
    size = max(1.0, np.abs(expected).max())
    assert np.abs(found - expected).max() <= 1e-7 * size
    assert np.abs(slopes - expected_slopes).max() <= 1e-7 * max(1.0, np.abs(expected_slopes).max())
    assert np.abs(hessian - found - curves).max() <= 1e-7 * max(1.0, np.abs(curves).max())


# The kernels of the search.


@pytest.mark.parametrize("width", [2, 3, 6])
def test_orthogonal_columns(width: int) -> None:
    data = mf.datasets.load("sleepstudy").with_columns(
        [pl.Series(f"x{j}", np.random.default_rng(j).normal(size=180)) for j in range(width - 1)]
    )
    terms = " + ".join(f"x{j}" for j in range(width - 1))
    engine = Engine(mf.compile_model(f"Reaction ~ 1 + (1 + {terms} | Subject)", data).compiled, DEFAULT_CONTROL)
    rng = np.random.default_rng(width)
    start = rng.normal(size=(width, width)) * 10.0 ** -np.arange(width)
    lam, first, second = start.ravel().copy(), start.ravel().copy(), rng.normal(size=width * width)
    before = second.reshape(width, width) @ start.T
    covariance.orthogonalize(engine.theta_map, lam, first, second)
    square = lam.reshape(width, width)
    gram = square.T @ square
    norms = np.sqrt(np.diag(gram))
    np.testing.assert_allclose(gram / np.outer(norms, norms), np.eye(width), atol=1e-13)
    assert np.all(np.diff(norms) <= 0.0)
    np.testing.assert_allclose(square @ square.T, start @ start.T, rtol=1e-12, atol=1e-14)
    np.testing.assert_array_equal(lam, first)
    np.testing.assert_allclose(second.reshape(width, width) @ square.T, before, rtol=1e-12, atol=1e-14)


def test_eigenvalues_and_directions_of_descent() -> None:
    rng = np.random.default_rng(5)
    for n in (1, 2, 5, 20):
        a = rng.normal(size=(n, n))
        a = a + a.T
        work, vectors = a.copy(), np.zeros((n, n))
        from_python(optimizer.eigenvalues)(work, vectors)
        np.testing.assert_allclose(np.sort(np.diag(work)), np.linalg.eigvalsh(a), atol=1e-12)
        np.testing.assert_allclose((vectors * np.diag(work)) @ vectors.T, a, atol=1e-12)
        search = optimizer.Search(
            gradient=rng.normal(size=n), hessian=a.copy(), direction=np.zeros(n), reach=np.full(n, np.inf),
            secant_step=np.zeros(n), secant_change=np.zeros(n), factor=np.zeros((n, n)), vectors=np.zeros((n, n)),
            scale=np.zeros(n), real=np.zeros(7), counts=np.zeros(7, np.int64),
        )
        search.real[optimizer.TRUST] = 1.0
        search.counts[optimizer.LIMIT] = 10
        assert from_python(optimizer.propose)(search) == optimizer.EVALUATE
        assert np.linalg.eigvalsh(search.hessian)[0] > 0.0
        assert search.direction @ search.gradient == pytest.approx(-search.real[optimizer.DECREMENT])
        assert search.real[optimizer.DECREMENT] > 0.0


# The optimum.


def sigmas(problem: Problem, theta: Floats) -> list[Floats]:
    return [(lam @ lam.T).astype(np.float64) for lam in problem.lambdas(theta)]


def is_full_rank(made: Bridge, theta: Floats) -> bool:
    for block in made.model.blocks:
        lower = np.zeros((block.width, block.width))
        lower[block.rows, block.columns] = theta[block.theta]
        if np.any(np.diag(lower) == 0.0):
            return False
    return True


@settings(checked, max_examples=80)
@given(case=cases(boundary=False, weighted=None, aliased=None, max_rows=50), bars=BARS)
def test_fits_are_the_polished_ones(case: Case, bars: list[bool]) -> None:
    made = bridged(case.problem, bars)
    if made is None:
        return
    _, fit = fit_lmm(made.model, case.reml)
    certificate = fit.certificate
    theta = made.to_problem(fit.theta)
    polished = oracle.polish(case.problem, theta, case.reml)
    assert fit.objective == pytest.approx(oracle.deviance(case.problem, theta, case.reml), rel=1e-9, abs=1e-9)
    assert fit.objective <= polished.objective + 1e-6
    assert certificate.evaluations <= 100
    if certificate.quality != "certified":
        return
    assert (certificate.status == "converged_interior") == is_full_rank(made, fit.theta)
    if certificate.hessian_minimum > 1e-3:
        for ours, theirs in zip(sigmas(case.problem, theta), sigmas(case.problem, polished.theta), strict=True):
            assert np.abs(ours - theirs).max() <= 1e-6 * max(1.0, np.abs(theirs).max())


def certified(fit: mf.LinearMixedModel) -> Certificate:
    assert fit.result.certificate.quality == "certified", fit.result.certificate.reason
    return fit.result.certificate


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1e3, 0.0, 1e3), (1e-6, 0.0, 50.0)])
@pytest.mark.parametrize("reml", [True, False])
def test_any_start_leads_to_the_optimum(start: tuple[float, ...], reml: bool) -> None:
    data = mf.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (Days | Subject)"
    usual = mf.lmm(formula, data, reml=reml)
    fit = mf.lmm(formula, data, reml=reml, control=mf.control(start=start))
    certified(fit)
    np.testing.assert_allclose(fit.theta, usual.theta, rtol=1e-7)


@pytest.mark.parametrize("seed", [0, 5, 9])
def test_singular_fits_do_not_depend_on_the_start(seed: int) -> None:
    """Rank 2 of 4 in both terms: where a column vanishes early, triangular coordinates end at the wrong face."""
    rng = np.random.default_rng(seed)
    subject, item = np.repeat(np.arange(24), 12), np.tile(np.arange(12), 24)
    x = np.column_stack([np.ones(288), rng.choice([-1.0, 1.0], size=(288, 3))])
    y = x @ rng.normal(size=4) + rng.normal(size=288)
    for codes, levels in ((subject, 24), (item, 12)):
        y += np.sum(x * (rng.normal(size=(levels, 2)) @ (0.3 * rng.normal(size=(2, 4))))[codes], axis=1)
    data = pl.DataFrame({"y": y, "a": x[:, 1], "b": x[:, 2], "c": x[:, 3], "s": subject.astype(str), "i": item.astype(str)})
    spec = mf.compile_model("y ~ a + b + c + (a + b + c | s) + (a + b + c | i)", data)
    usual = spec.fit()
    starts = [scale * (usual.theta + rng.normal(size=20)) for scale in (0.03, 1.0)]
    fits = [usual] + [spec.fit(control=mf.control(start=start.tolist())) for start in starts]
    for fit in fits:
        assert certified(fit).status == "converged_reduced_rank"
        assert fit.result.objective == pytest.approx(fits[0].result.objective, abs=1e-6)


# Units, shifts and conditioning.

# predictor and response of the changed data, and what they are multiplied by
UNITS = {
    "predictor x 1e8": (pl.col("x") * 1e8, pl.col("y"), 1e8, 1.0),
    "predictor x 1e-8": (pl.col("x") * 1e-8, pl.col("y"), 1e-8, 1.0),
    "predictor + 1e6": (pl.col("x") + 1e6, pl.col("y"), 1.0, 1.0),
    "response x 1e10": (pl.col("x"), pl.col("y") * 1e10, 1.0, 1e10),
    "response x 1e-10": (pl.col("x"), pl.col("y") * 1e-10, 1.0, 1e-10),
    "response + 1e8": (pl.col("x"), pl.col("y") + 1e8, 1.0, 1.0),
}


def slopes(seed: int = 7, n: int = 150, q: int = 15) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, q, n), rng.normal(size=n)
    effects = rng.normal(size=(q, 2)) @ np.array([[1.0, 0.3], [0.0, 0.7]])
    y = 1.0 + x + effects[g, 0] + effects[g, 1] * x + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "g": g.astype(str)})


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ScalingNotice")
@pytest.mark.parametrize("name", UNITS)
def test_units_and_shifts_change_nothing(name: str) -> None:
    x, y, by_x, by_y = UNITS[name]
    data = slopes()
    formula = "y ~ x + (x | g)"
    usual = mf.lmm(formula, data, reml=False)
    fit = mf.lmm(formula, data.with_columns(x=x, y=y), reml=False)
    assert certified(fit).status == certified(usual).status == "converged_interior"
    assert fit.result.objective == pytest.approx(usual.result.objective + 2 * 150 * np.log(by_y), abs=1e-6)
    assert fit.sigma == pytest.approx(by_y * usual.sigma, rel=1e-7)
    assert fit.beta[1] == pytest.approx(by_y / by_x * usual.beta[1], rel=1e-6)


def test_theta_of_a_far_shifted_predictor_keeps_its_rank() -> None:
    """The slope's and the intercept's deviations then correlate but for a millionth of a millionth."""
    data = slopes().with_columns(x=pl.col("x") + 1e6)
    spec = mf.compile_model("y ~ x + (x | g)", data)
    fit = spec.fit()
    assert fit.fit_status == "converged_interior"
    assert fit.theta[2] > 0.0
    engine = Engine(spec.compiled, DEFAULT_CONTROL)
    found, expected = (engine.block_lambda(lam, spec.compiled.blocks[0]) for lam in (engine.lam(fit.theta), fit.result.lam))
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-6)


def covariates(seed: int, n: int = 80, q: int = 8) -> tuple[np.random.Generator, Floats, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return rng, np.column_stack([np.ones(n), rng.normal(size=n)]), rng.integers(0, q, n)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("apart", [1e-3, 1e-5, 1e-6])
def test_nearly_collinear_fixed_effects_lose_no_digits(apart: float, reml: bool) -> None:
    rng, Z, codes = covariates(1)
    X = np.column_stack([Z, Z[:, 1] + apart * rng.normal(size=80)])
    y = Z.sum(axis=1) + np.sum(Z * rng.normal(size=(8, 2))[codes], axis=1) + rng.normal(size=80)
    problem = Problem(X, y, [Block(Z, np.unique(codes, return_inverse=True)[1], 8, np.tril(np.ones((2, 2), bool)))])
    made = bridge(problem)
    _, fit = fit_lmm(made.model, reml)
    assert fit.certificate.quality == "certified"
    assert fit.certificate.evaluations <= 15
    assert not fit.aliased.any()
    polished = oracle.polish(problem, made.to_problem(fit.theta), reml)
    expected = oracle.solve(problem, polished.theta, reml)
    assert fit.objective == pytest.approx(polished.objective, abs=1e-7)
    np.testing.assert_allclose(fit.beta, expected.beta, rtol=1e-9 / apart)
    np.testing.assert_allclose(fit.vcov, expected.vcov, rtol=1e-9 / apart)


@pytest.mark.parametrize("reml", [True, False])
def test_nearly_collinear_random_effects_lose_no_digits(reml: bool) -> None:
    rng, Z, codes = covariates(2, n=150)
    W = np.column_stack([Z, Z[:, 1] + 1e-5 * rng.normal(size=150)])
    y = np.sum(W * (rng.normal(size=(8, 3)) * [1.0, 1.0, 0.0])[codes], axis=1) + rng.normal(size=150)
    problem = Problem(Z, y, [Block(W, np.unique(codes, return_inverse=True)[1], 8, np.tril(np.ones((3, 3), bool)))])
    made = bridge(problem)
    _, fit = fit_lmm(made.model, reml)
    assert fit.certificate.quality == "certified"
    assert fit.certificate.evaluations <= 30
    assert fit.objective == pytest.approx(oracle.deviance(problem, made.to_problem(fit.theta), reml), abs=1e-6)


@pytest.mark.parametrize("ratio", [30.0, 1e3, 3e3])
def test_huge_variance_ratios(ratio: float) -> None:
    rng, Z, codes = covariates(3, n=120)
    y = np.sum(Z * rng.normal(size=(8, 2))[codes], axis=1) + rng.normal(size=120) / ratio
    problem = Problem(Z, y, [Block(Z, np.unique(codes, return_inverse=True)[1], 8, np.tril(np.ones((2, 2), bool)))])
    made = bridge(problem)
    _, fit = fit_lmm(made.model, True)
    assert (fit.certificate.status, fit.certificate.quality) == ("converged_interior", "certified")
    assert fit.certificate.evaluations <= 30
    theta = made.to_problem(fit.theta)
    polished = oracle.polish(problem, theta, True)
    assert fit.objective <= polished.objective + 1e-6
    np.testing.assert_allclose(theta, polished.theta, rtol=1e-6)


# Verdicts.


def test_a_ridge_is_not_identifiable() -> None:
    data = mf.datasets.load("sleepstudy").with_columns(Again=pl.col("Subject"))
    for formula in (
        "Reaction ~ Days + (1 | Subject) + (1 | Again)",
        "Reaction ~ Days + (1 | Subject) + (Days | Subject)",
        "Reaction ~ Days + (Days | Subject) + (0 + Days | Subject)",
    ):
        with pytest.warns(ConvergenceNotice, match="flat"):
            fit = mf.lmm(formula, data)
        assert fit.fit_status == "not_identifiable"
        assert fit.result.objective == pytest.approx(
            mf.lmm(f"Reaction ~ Days + ({'1' if 'Again' in formula else 'Days'} | Subject)", data).result.objective, abs=1e-6
        )


def test_an_exact_fit_is_not_identifiable() -> None:
    rng, _, codes = covariates(4)
    y = rng.normal(size=8)[codes]
    data = pl.DataFrame({"y": y, "g": codes.astype(str)})
    with pytest.warns(ConvergenceNotice, match="exactly"):
        fit = mf.lmm("y ~ 1 + (1 | g)", data)
    assert fit.fit_status == "not_identifiable"
    assert fit.result.certificate.evaluations <= 60


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_a_spent_budget_is_not_rescued(limit: int) -> None:
    with pytest.warns(ConvergenceNotice, match="limit"):
        fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"),
                     control=mf.control(max_evaluations=limit))
    assert fit.fit_status == "not_optimized"
    assert fit.result.certificate.evaluations == limit


def test_equal_group_means_give_a_zero_variance() -> None:
    rng = np.random.default_rng(6)
    y = rng.normal(size=(10, 6))
    y -= y.mean(axis=1, keepdims=True)
    data = pl.DataFrame({"y": y.ravel(), "g": np.repeat(np.arange(10), 6).astype(str)})
    fit = mf.lmm("y ~ 1 + (1 | g)", data)
    assert certified(fit).status == "converged_boundary"
    assert fit.theta.tolist() == [0.0]


# The same bits every time.


def test_results_are_bit_identical_whatever_blas_does() -> None:
    rng = np.random.default_rng(8)
    n = 3000
    a, b = rng.integers(0, 200, n), rng.integers(0, 150, n)
    data = pl.DataFrame({"y": rng.normal(size=n) + rng.normal(size=200)[a], "x": rng.normal(size=n),
                         "a": a.astype(str), "b": b.astype(str)})
    spec = mf.compile_model("y ~ x + (x | a) + (1 | b)", data)
    found = []
    for threads in (1, 2, 2):
        with threadpool_limits(threads, user_api="blas"):
            fit = spec.fit()
            found.append((fit.theta.tobytes(), fit.beta.tobytes(), fit.vcov().tobytes(), fit.result.objective))
    assert found[0] == found[1] == found[2]


# A hunt: problems no one would fit, for crashes, endless searches and certificates that do not hold.


def nasty(rng: np.random.Generator) -> Problem:
    """Few rows, vanishing and huge variances, odd weights, terms of every kind on up to three factors."""
    n = int(rng.choice([12, 20, 30, 50, 80, 120]))
    columns = np.column_stack([np.ones(n), rng.normal(size=n), np.resize([0.0, 1.0, 1.0], n), rng.uniform(1, 5, n),
                               rng.choice([-1.0, 1.0], n)])
    factors = [rng.choice(int(rng.integers(2, 10)), n)]
    for _ in range(int(rng.integers(0, 3))):
        inside = factors[-1] * 5 if rng.random() < 0.5 else 0
        factors.append(inside + rng.choice(int(rng.integers(2, 6)), n))
    blocks = []
    for factor in factors:
        codes = np.unique(factor, return_inverse=True)[1]
        width = int(rng.integers(1, 5 if len(factors) == 1 else 4))
        mask = np.tril(np.ones((width, width), bool)) if rng.random() < 0.6 else np.eye(width, dtype=bool)
        if codes.max() > 0:
            blocks.append(Block(columns[:, rng.permutation(5)[:width]], codes, int(codes.max()) + 1, mask))
    y = columns @ rng.normal(size=5) + 10.0 ** rng.choice([0, 0, -1, -2, -3]) * rng.normal(size=n)
    for block in blocks:
        rank = int(rng.integers(0, block.Z.shape[1] + 1))
        root = rng.normal(size=(rank, block.Z.shape[1])) * rng.uniform(0, 2)
        y = y + np.sum(block.Z * (rng.normal(size=(block.q, rank)) @ root)[block.codes], axis=1)
    weights = 10.0 ** rng.uniform(-2, 2, n) if rng.random() < 0.3 else None
    return Problem(columns[:, : int(rng.integers(1, 4))], y, blocks, weights)


def hunt(seeds: range) -> list[str]:
    """What is wrong with the fits of these problems."""
    complaints = []
    uncertain = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        problem = nasty(rng)
        if not problem.blocks or problem.saturated:
            continue
        made = bridged(problem, [bool(rng.random() < 0.5)])
        if made is None:
            continue
        reml = bool(rng.random() < 0.5)
        _, fit = fit_lmm(made.model, reml)
        certificate = fit.certificate
        uncertain += certificate.quality == "failed"
        if certificate.evaluations > 500:
            complaints.append(f"{seed}: {certificate.evaluations} evaluations")
        if certificate.quality != "certified":
            continue
        theta = made.to_problem(fit.theta)
        if abs(fit.objective - oracle.deviance(problem, theta, reml)) > 1e-4:
            complaints.append(f"{seed}: objective {fit.objective}, oracle {oracle.deviance(problem, theta, reml)}")
        conditions = oracle.optimality(problem, theta, reml, 1e-9)
        if conditions.gradient > 0.02 or conditions.cone < -0.01:
            complaints.append(f"{seed}: certified with {conditions}")
    if uncertain > 0.02 * len(seeds):
        complaints.append(f"{uncertain} fits failed")
    return complaints


def test_hunt() -> None:
    assert hunt(range(400)) == []


@pytest.mark.nightly
def test_long_hunt() -> None:
    assert hunt(range(1000, 5000)) == []
