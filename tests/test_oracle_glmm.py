"""The dense reference for generalized models against densities, integrals, the Gaussian reference, published fits, R."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import integrate, stats

from tests import glmm_references, oracle
from tests.oracle import Block, Problem
from tests.oracle_families import LINKS, PARAMETRIC, Rows, inside, mean, slopes, value
from tests.oracle_glmm import (
    LAPLACE,
    Criterion,
    Glmm,
    Parameters,
    effects,
    evaluate,
    fit,
    fitted,
    geometry,
    gradient,
    gradient_fd,
    objective,
    pack,
    start_psi,
)

Floats = NDArray[np.float64]
PAIRS = [(family, link) for family, links in LINKS.items() for link in links]
OBSERVED = Criterion(curvature="observed")

# glmer's criterion is another one where there is a dispersion, and glmmTMB does not know these.
NO_REFERENCE = {
    ("gamma", "identity"),
    ("gaussian", "identity"),
    ("gaussian", "inverse"),
    ("gaussian", "sqrt"),
    ("negative_binomial", "sqrt"),
    ("negative_binomial", "identity"),
    *((family, link) for family, link in PAIRS if family == "inverse_gaussian"),
}

# Values of eta at the intercept for which every mean of the simulated problems is legal.
CENTRES = {"sqrt": 2.5, "identity": 6.0, "inverse": 1.5, "1/mu^2": 1.5}


def distribution(family: str, mu: Floats, weights: Floats, parameter: float) -> Any:
    if family == "binomial":
        return stats.binom(np.rint(weights).astype(int), mu)
    if family == "poisson":
        return stats.poisson(mu)
    if family == "negative_binomial":
        return stats.nbinom(parameter, parameter / (parameter + mu))
    phi = parameter / weights
    if family == "gamma":
        return stats.gamma(1 / phi, scale=mu * phi)
    if family == "inverse_gaussian":
        return stats.invgauss(mu * phi, scale=1 / phi)
    return stats.norm(mu, np.sqrt(phi))


def some_rows(family: str, link: str, seed: int = 1, weighted: bool = True, n: int = 40) -> tuple[Rows, Floats]:
    rng = np.random.default_rng(seed)
    eta = CENTRES.get(link, 0.3) + rng.uniform(-0.6, 0.6, n)
    weights = rng.integers(1, 6, n).astype(float) if weighted else np.ones(n)
    rows = Rows(np.zeros(n), weights, family, link, 0.7)
    drawn = distribution(family, mean(rows, eta), weights, 0.7).rvs(random_state=rng).astype(float)
    return replace(rows, y=drawn / weights if family == "binomial" else drawn), eta


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_values_are_log_densities_with_all_constants(family, link):
    rows, eta = some_rows(family, link)
    known = distribution(family, mean(rows, eta), rows.weights, rows.parameter)
    if family == "binomial":
        expected = known.logpmf(np.rint(rows.y * rows.weights))
    elif family in ("poisson", "negative_binomial"):
        expected = rows.weights * known.logpmf(rows.y)
    else:
        expected = known.logpdf(rows.y)
    np.testing.assert_allclose(value(rows, eta), -2 * expected, rtol=1e-11, atol=1e-11)


def differences(function: Callable[[Floats], Floats], at: Floats, step: float = 0.02) -> Floats:
    """Row by row, extrapolated."""
    table = [(function(at + step / 2**i) - function(at - step / 2**i)) * 2**i / (2 * step) for i in range(4)]
    for order in range(1, 4):
        table = [b + (b - a) / (4**order - 1) for a, b in pairwise(table)]
    return table[0]


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_slopes_are_those_of_the_values(family, link):
    rows, eta = some_rows(family, link, seed=2)
    found = slopes(rows, eta)
    close: Any = {"rtol": 1e-8, "atol": 1e-8}
    np.testing.assert_allclose(found.s, differences(lambda e: value(rows, e), eta), **close)
    np.testing.assert_allclose(found.a, differences(lambda e: slopes(rows, e).s, eta) / 2, **close)
    np.testing.assert_allclose(found.a_slope, differences(lambda e: slopes(rows, e).a, eta), **close)
    np.testing.assert_allclose(found.fisher_slope, differences(lambda e: slopes(rows, e).fisher, eta), **close)


@pytest.mark.parametrize(("family", "link"), [pair for pair in PAIRS if pair[0] in PARAMETRIC])
def test_slopes_by_the_parameter(family, link):
    rows, eta = some_rows(family, link, seed=3)

    def by_log(part: Callable[[Rows], Floats]) -> Floats:
        return differences(lambda t: part(replace(rows, parameter=float(0.7 * np.exp(t[0])))), np.zeros(1))

    found = slopes(rows, eta)
    np.testing.assert_allclose(found.value_by_log, by_log(lambda r: value(r, eta)), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.s_by_log, by_log(lambda r: slopes(r, eta).s), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.a_by_log, by_log(lambda r: slopes(r, eta).a), rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(found.fisher_by_log, by_log(lambda r: slopes(r, eta).fisher), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_fisher_weights_are_expected_observed_weights(family, link):
    """The observed weight is linear in the response, so its expectation is its value at the mean."""
    rows, eta = some_rows(family, link, seed=4)
    at_mean = slopes(replace(rows, y=mean(rows, eta)), eta)
    np.testing.assert_allclose(at_mean.a, at_mean.fisher, rtol=1e-11)
    np.testing.assert_allclose(at_mean.s, 0, atol=1e-11)


@pytest.mark.parametrize("link", LINKS["binomial"])
def test_binomial_tails_do_not_cancel(link):
    eta = np.array([-30.0, -12.0, 12.0, 30.0]) if link != "cloglog" else np.array([-30.0, -12.0, 2.0, 3.0])
    for y in (0.0, 1.0):
        rows = Rows(np.full(4, y), np.ones(4), "binomial", link, 1.0)
        found = slopes(rows, eta)
        assert all(np.isfinite(getattr(found, name)).all() for name in ("s", "a", "a_slope", "fisher", "fisher_slope"))
        assert (found.fisher > 0).all()
        np.testing.assert_allclose(found.s, differences(lambda e, r=rows: value(r, e), eta, 0.01), rtol=1e-6, atol=1e-11)


# Problems.


def simulated(family: str, link: str, structure: str, seed: int = 5, weighted: bool = False, offset: bool = False,
              n: int = 60) -> Glmm:
    """``structure``: scalar, vector, crossed, nested or diagonal."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    X = np.column_stack([np.ones(n), x])
    full = np.tril(np.ones((2, 2), bool))
    one = np.ones((1, 1), bool)
    g, h = rng.integers(0, 7, n), rng.integers(0, 5, n)
    cells = np.unique(g * 2 + rng.integers(0, 2, n), return_inverse=True)[1]
    blocks = {
        "scalar": [Block(X[:, :1], g, 7, one)],
        "vector": [Block(X, g, 7, full)],
        "diagonal": [Block(X, g, 7, np.eye(2, dtype=bool))],
        "crossed": [Block(X, g, 7, full), Block(X[:, :1], h, 5, one)],
        "nested": [Block(X[:, :1], cells, int(cells.max()) + 1, one), Block(X[:, :1], g, 7, one)],
    }[structure]
    shift = rng.normal(size=n) * 0.2 if offset else None
    tamer = 0.3 if link in CENTRES else 1.0
    eta = CENTRES.get(link, 0.3) + tamer * (0.3 * x + (0 if shift is None else shift))
    for block in blocks:
        effect = 0.4 * tamer * np.clip(rng.normal(size=(block.q, block.Z.shape[1])), -1.5, 1.5)
        eta = eta + np.sum(block.Z * effect[block.codes], axis=1)
    weights = rng.integers(1, 5, n).astype(float) if weighted else None
    known = np.ones(n) if weights is None else weights
    parameter = {"negative_binomial": 2.0, "gaussian": 0.3}.get(family, 0.2)
    rows = Rows(np.zeros(n), known, family, link, parameter)
    drawn = distribution(family, mean(rows, eta), known, parameter).rvs(random_state=rng).astype(float)
    y = drawn / known if family == "binomial" else drawn
    return Glmm(X, y, blocks, weights, shift, family, link)


def somewhere(problem: Glmm, seed: int = 6) -> Floats:
    """Parameters off every optimum, with legal means."""
    rng = np.random.default_rng(seed)
    at = start_psi(problem)
    split = len(problem.entries)
    tamer = 0.3 if problem.link in CENTRES else 1.0
    at[:split] = tamer * np.array([0.5 if row == column else 0.2 for _, row, column in problem.entries])
    return np.asarray(at * (1 + 0.05 * rng.uniform(-1, 1, len(at))))


def check_gradient(problem: Glmm, psi: Floats, criterion: Criterion, step: float = 0.02) -> float:
    state = evaluate(problem, psi, criterion)
    assert state is not None
    exact, rough = gradient(problem, state, criterion), gradient_fd(problem, psi, criterion, state, step)
    return float(np.max(np.abs(exact - rough)) / np.max(np.abs(exact)))


@pytest.mark.parametrize("criterion", [LAPLACE, OBSERVED], ids=lambda c: c.curvature)
@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_gradient_of_every_family_and_link(family, link, criterion):
    """Vector-valued and crossed terms, prior weights and an offset at once."""
    problem = simulated(family, link, "crossed", weighted=True, offset=True)
    assert check_gradient(problem, somewhere(problem), criterion) < 1e-7


@pytest.mark.parametrize("structure", ["scalar", "vector", "diagonal", "nested"])
@pytest.mark.parametrize(
    ("family", "link"),
    [("binomial", "logit"), ("binomial", "probit"), ("poisson", "log"), ("gamma", "log"), ("negative_binomial", "log")],
)
def test_gradient_of_every_structure(family, link, structure):
    problem = simulated(family, link, structure)
    assert check_gradient(problem, somewhere(problem), LAPLACE) < 1e-7


def test_gradient_by_theta_vanishes_at_a_zero_variance():
    problem = simulated("poisson", "log", "scalar")
    psi = somewhere(problem)
    psi[0] = 0.0
    state = evaluate(problem, psi)
    assert state is not None
    assert abs(gradient(problem, state)[0]) < 1e-12
    assert check_gradient(problem, psi, LAPLACE) < 1e-7


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_modes_are_stationary(family, link):
    problem = simulated(family, link, "crossed", weighted=True)
    state = evaluate(problem, somewhere(problem))
    assert state is not None
    score = state.root.T @ state.slopes.s + 2 * state.u
    assert np.max(np.abs(score)) < 1e-11 * (1 + np.max(np.abs(state.root).T @ np.abs(state.slopes.s)))


# Exact cases.


def test_laplace_is_exact_for_a_gaussian_response():
    problem = simulated("gaussian", "identity", "crossed", weighted=True, offset=True)
    psi = somewhere(problem)
    state = evaluate(problem, psi)
    assert state is not None
    covariance = state.root @ state.root.T + np.diag(state.parameter / problem.w)
    expected = stats.multivariate_normal(problem.base + problem.fixed @ state.beta, covariance).logpdf(problem.y)
    assert state.objective == pytest.approx(-2 * expected, rel=1e-12)


def test_gaussian_optimum_is_the_linear_models():
    problem = simulated("gaussian", "identity", "vector", weighted=True)
    linear = Problem(problem.X, problem.y, problem.blocks, problem.weights)
    best, found = oracle.polish(linear, np.array([1.0, 0.1, 1.0]), reml=False), fit(problem)
    solved = oracle.solve(linear, best.theta, reml=False)
    assert found.objective == pytest.approx(best.objective, abs=1e-9)
    np.testing.assert_allclose(found.beta, solved.beta, atol=1e-7)
    np.testing.assert_allclose(np.sqrt(found.parameter), solved.sigma, rtol=1e-7)
    np.testing.assert_allclose(found.theta / solved.sigma, best.theta, atol=1e-6)


def log_area(function: Callable[[Floats], float], mode: Floats) -> float:
    """``log int exp(function)`` over one or two dimensions, by adaptive quadrature around the mode."""
    top = function(mode)
    low, high = mode - 9, mode + 9
    if len(mode) == 1:
        area = integrate.quad(lambda u: np.exp(function(np.array([u])) - top), low[0], high[0],
                              epsabs=1e-13, epsrel=1e-12, limit=200)[0]
    else:
        area = integrate.dblquad(lambda v, u: np.exp(function(np.array([u, v])) - top), low[0], high[0],
                                 low[1], high[1], epsabs=1e-10, epsrel=1e-10)[0]
    return float(np.log(area) + top)


def integral(problem: Glmm, psi: Floats) -> float:
    """-2 log-likelihood of a problem with one factor, level by level."""
    state = evaluate(problem, psi)
    assert state is not None
    middle, block = problem.base + problem.fixed @ state.beta, problem.blocks[0]
    Z, weights, total = block.Z @ problem.lambdas(state.theta)[0], np.asarray(problem.w, np.float64), 0.0
    for level, mode in enumerate(state.u.reshape(block.q, -1)):
        own = block.codes == level
        rows = Rows(problem.y[own], weights[own], problem.family, problem.link, state.parameter)

        def log_joint(u: Floats, rows: Rows = rows, own: Any = own) -> float:
            return float(-0.5 * (np.sum(value(rows, middle[own] + Z[own] @ u)) + u @ u))

        total -= 2 * (log_area(log_joint, mode) - len(mode) / 2 * np.log(2 * np.pi))
    return total


@pytest.mark.parametrize("curvature", ["fisher", "observed"])
@pytest.mark.parametrize(
    ("family", "link"), [("binomial", "logit"), ("binomial", "probit"), ("poisson", "log"), ("gamma", "log")]
)
def test_many_nodes_are_the_integral(family, link, curvature):
    problem = simulated(family, link, "scalar", n=30)
    psi = somewhere(problem)
    assert objective(problem, psi, Criterion(curvature, 40)) == pytest.approx(integral(problem, psi), abs=1e-8)


def test_many_nodes_are_the_double_integral():
    problem = simulated("binomial", "logit", "vector", n=14)
    keep = problem.blocks[0].codes < 3
    block = replace(problem.blocks[0], Z=problem.blocks[0].Z[keep], codes=problem.blocks[0].codes[keep], q=3)
    small = replace(problem, X=problem.X[keep], y=problem.y[keep], blocks=[block])
    psi = somewhere(problem)
    assert objective(small, psi, Criterion(nodes=25)) == pytest.approx(integral(small, psi), abs=1e-8)


def test_one_node_is_laplace():
    problem = simulated("binomial", "cloglog", "vector")
    state = evaluate(problem, somewhere(problem))
    assert state is not None
    split = [Block(problem.X[:, :1], problem.blocks[0].codes, 7, np.ones((1, 1), bool)),
             Block(problem.X[:, 1:], problem.blocks[0].codes, 7, np.ones((1, 1), bool))]
    bars = replace(problem, blocks=split)
    diagonal = replace(problem, blocks=[replace(problem.blocks[0], mask=np.eye(2, dtype=bool))])
    psi = np.array([0.5, 0.4, 0.1, 0.2])
    from tests.oracle_glmm import _quadrature

    assert _quadrature(problem, state, 1) == pytest.approx(state.objective, rel=1e-13)
    many = Criterion(nodes=9)
    assert objective(bars, psi, many) == pytest.approx(objective(diagonal, psi, many), rel=1e-12)


def test_trials_are_rows_and_counts_repeat():
    """Trials against single rows (up to the ways to order them); Poisson weights against copies of the rows."""
    trials = simulated("binomial", "probit", "vector", weighted=True)
    psi = somewhere(trials)
    hits, tries = np.rint(trials.y * trials.w).astype(int), trials.w.astype(int)
    repeat = np.repeat(np.arange(trials.n), tries)
    y = np.concatenate([np.resize([1.0] * k + [0.0] * (m - k), m) for k, m in zip(hits, tries, strict=True)])

    def copied(problem: Glmm, response: Floats) -> Glmm:
        blocks = [replace(b, Z=b.Z[repeat], codes=b.codes[repeat]) for b in problem.blocks]
        return replace(problem, X=problem.X[repeat], y=response, blocks=blocks, weights=None)

    ways = 2 * np.sum(np.log(stats.binom.pmf(hits, tries, 0.5)) + tries * np.log(2))
    assert objective(copied(trials, y), psi) == pytest.approx(objective(trials, psi) + ways, rel=1e-12)
    counts = replace(simulated("poisson", "log", "vector"), weights=trials.weights)
    expected = objective(copied(counts, counts.y[repeat]), psi)
    assert objective(counts, psi) == pytest.approx(expected, rel=1e-12)


def test_profiled_fits_minimize_the_penalized_deviance_by_beta():
    problem = simulated("poisson", "log", "crossed", offset=True)
    profiled = Criterion(profiled=True)
    theta = somewhere(problem)[: len(problem.entries)]
    state = evaluate(problem, theta, profiled)
    assert state is not None
    np.testing.assert_allclose(problem.fixed.T @ state.slopes.s, 0, atol=1e-10)
    psi = pack(problem, Parameters(theta, state.beta, 1.0))
    assert state.objective == pytest.approx(objective(problem, psi), rel=1e-13)
    free = evaluate(problem, psi)
    assert free is not None
    assert np.max(np.abs(gradient(problem, free)[len(theta):])) > 1e-3  # the log determinant depends on beta too


def test_boundary_optimum_is_zero_and_left_when_it_is_not_one():
    problem = simulated("poisson", "log", "scalar", seed=9)
    flat = replace(problem, y=np.resize([1.0, 2.0, 3.0, 2.0], problem.n))
    found = fit(flat)
    assert found.theta[0] == 0.0
    assert not found.alive[0]
    assert found.se[0] == 0.0
    varied = fit(problem, start=np.concatenate([[0.0], start_psi(problem)[1:]]))
    assert varied.objective == pytest.approx(fit(problem).objective, abs=1e-9)
    assert varied.theta[0] > 0.05


@pytest.mark.parametrize("criterion", [Criterion(nodes=7), Criterion(profiled=True)], ids=["agq", "profiled"])
def test_optima_without_an_exact_gradient(criterion):
    problem = simulated("binomial", "logit", "scalar", weighted=True)
    found = fit(problem, criterion)
    assert np.max(np.abs(found.gradient)) < 1e-7
    assert np.linalg.eigvalsh(found.hessian)[0] > 0


@pytest.mark.parametrize(
    ("family", "link"), [("gamma", "log"), ("inverse_gaussian", "1/mu^2"), ("gaussian", "log"), ("negative_binomial", "log")]
)
def test_family_parameters_are_fitted(family, link):
    problem = simulated(family, link, "scalar", seed=8, n=150)
    for criterion in (LAPLACE, OBSERVED):
        found = fit(problem, criterion)
        assert np.max(np.abs(found.gradient)) < 1e-6
        known = replace(problem, parameter=found.parameter)
        assert objective(known, found.psi[:-1], criterion) == pytest.approx(found.objective, rel=1e-13)


def test_effects_and_geometry():
    problem = simulated("binomial", "logit", "crossed")
    state = evaluate(problem, somewhere(problem))
    assert state is not None
    b, covariances = effects(problem, state)
    eta = problem.base + problem.fixed @ state.beta
    for block, modes in zip(problem.blocks, b, strict=True):
        eta = eta + np.sum(block.Z * modes[block.codes], axis=1)
    np.testing.assert_allclose(eta, state.eta, atol=1e-12)
    np.testing.assert_allclose(fitted(state), 1 / (1 + np.exp(-eta)), rtol=1e-12)
    assert [c.shape for c in covariances] == [(7, 2, 2), (5, 1, 1)]
    marginal = state.root @ state.root.T + np.diag(1 / state.curvature)
    expected = np.linalg.inv(problem.fixed.T @ np.linalg.solve(marginal, problem.fixed))
    np.testing.assert_allclose(geometry(problem, state), expected, rtol=1e-9)


def test_illegal_means_are_infinite():
    problem = simulated("poisson", "identity", "scalar")
    psi = somewhere(problem)
    psi[1] = -50.0
    assert objective(problem, psi) == np.inf
    assert not inside(problem.rows(1.0), np.array([-1.0])).any()


# Published fits, lme4's and glmmTMB's.


def test_published_cbpp():
    problem, _ = glmm_references.problem_of("cbpp_logit")
    found = fit(problem)
    np.testing.assert_allclose(found.beta, [-1.3985, -0.9923, -1.1287, -1.5803], atol=6e-5)
    np.testing.assert_allclose(found.theta, [0.6423], atol=6e-5)
    assert found.objective == pytest.approx(184.0526, abs=6e-5)
    tries = problem.w.astype(int)
    saturated = -2 * np.sum(stats.binom.logpmf(np.rint(problem.y * problem.w).astype(int), tries, problem.y))
    assert found.objective - saturated == pytest.approx(100.095856, abs=2e-6)
    quick = fit(problem, Criterion(nodes=5, profiled=True))
    assert quick.objective - saturated == pytest.approx(100.06656, abs=1e-4)
    np.testing.assert_allclose(quick.theta, [0.646922], atol=1e-4)
    np.testing.assert_allclose(quick.beta, [-1.36133, -0.97526, -1.11019, -1.55864], atol=1e-4)
    # Published from inner iterations that stop earlier; lme4's, carried on to their end, agree with ours.
    assert fit(problem, Criterion(profiled=True)).objective - saturated == pytest.approx(100.15269, abs=1e-3)


# Criterion, its tolerance, theta, beta. The published criterion of VerbAgg stems from looser inner iterations.
PUBLISHED: dict[str, tuple[float, float, tuple[float, ...], tuple[float, ...]]] = {
    "grouseticks_three": (1780.5427, 1e-4, (0.54151, 0.75003, 0.52873), (0.37279, 1.18040, -0.97869, -0.02376)),
    "arabidopsis_three": (20849.8989, 1e-4, (0.2535, 0.4136, 0.2852), ()),
    "verbagg_crossed": (8135.8351, 3e-3, (1.3389, 0.3422), ()),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_references_are_as_published(name):
    model, (criterion, close, theta, beta) = glmm_references.references()[name], PUBLISHED[name]
    assert model["objective"] == pytest.approx(criterion, abs=close)
    np.testing.assert_allclose(model["theta"], theta, atol=max(1e-4, close / 8))
    if beta:
        np.testing.assert_allclose(model["beta"], beta, atol=1e-4)


def test_every_reference_has_a_design():
    models = glmm_references.references()
    assert set(models) == set(glmm_references.DESIGNS)
    assert len(models) >= 40
    assert {(m["family"], m["link"]) for m in models.values()} >= set(PAIRS) - NO_REFERENCE
    assert sum(m["singular"] for m in models.values()) >= 3


@pytest.mark.parametrize("name", sorted(glmm_references.DESIGNS))
def test_references_are_stationary(name):
    """R's objective is ours at R's estimates, and nothing is gained by a Newton step from there."""
    model = glmm_references.references()[name]
    problem, criterion = glmm_references.problem_of(name)
    psi = glmm_references.psi_of(name)
    state = evaluate(problem, psi, criterion)
    assert state is not None
    assert state.objective == pytest.approx(model["objective"], abs=1e-9)
    exact = criterion.nodes == 1 and not criterion.profiled
    if not exact and problem.n > 5000:
        return
    slope = gradient(problem, state, criterion) if exact else gradient_fd(problem, psi, criterion, state)
    if criterion.profiled:
        np.testing.assert_allclose(state.beta, model["beta"], atol=1e-9)
        np.testing.assert_allclose(np.sqrt(np.diag(geometry(problem, state))), model["se"], rtol=1e-7)
        assert np.max(np.abs(slope)) < 1e-6
        return
    vcov, free = np.array(model["vcov"]), glmm_references.free(name)
    decrement = slope[free] @ vcov @ slope[free] / 4
    assert decrement < 1e-14  # a step is below 1e-7 standard errors


@pytest.mark.parametrize(
    "name",
    ["cbpp_logit", "cbpp_agq5", "cbpp_profiled", "answer_nested", "tied_singular", "roots_sqrt_slopes", "successes_offset",
     "over_size", "over_size_slopes_observed", "amount_gamma", "rate_gamma_inverse", "growth_gaussian_log"],
)  # fmt: skip
def test_fits_reach_the_references(name):
    """From a start of our own, in units of the standard errors."""
    model = glmm_references.references()[name]
    problem, criterion = glmm_references.problem_of(name)
    found = fit(problem, criterion)
    assert found.objective == pytest.approx(model["objective"], abs=1e-9)
    if criterion.profiled:
        np.testing.assert_allclose(found.theta, model["theta"], atol=1e-7)
        return
    free, se = glmm_references.free(name), np.array(model["coordinate_se"])
    np.testing.assert_array_equal(np.flatnonzero(found.alive), free)
    assert np.max(np.abs(found.psi - glmm_references.psi_of(name))[free] / se) < 1e-6
    np.testing.assert_allclose(found.se[free], se, rtol=1e-5)


@pytest.mark.parametrize("name", sorted(glmm_references.DESIGNS))
def test_effects_of_references(name):
    """Fitted values, conditional modes and, where R gives them, conditional deviations."""
    model = glmm_references.references()[name]
    problem, criterion = glmm_references.problem_of(name)
    state = evaluate(problem, glmm_references.psi_of(name), criterion)
    assert state is not None
    values = model["fitted"]["values"]
    np.testing.assert_allclose(fitted(state)[: len(values)], values, rtol=1e-8, atol=1e-9)
    ours = glmm_references.labelled(name, *effects(problem, state))
    table = model["ranef"]
    columns: dict[str, list[str]] = {}
    for grpvar, term in zip(table["grpvar"], table["term"], strict=True):
        columns.setdefault(grpvar, [])
        if term not in columns[grpvar]:
            columns[grpvar].append(term)
    for grpvar, term, grp, b, sd in zip(*(table[key] for key in ("grpvar", "term", "grp", "condval", "condsd")), strict=True):
        mode, deviation = ours[grpvar, columns[grpvar].index(term), grp]
        assert mode == pytest.approx(b, abs=1e-8)
        assert sd is None or deviation == pytest.approx(sd, abs=1e-8)
