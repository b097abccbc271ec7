"""Adaptive Gauss-Hermite quadrature: against R's fits and the dense oracle, its gradient, its limits."""

from __future__ import annotations

import warnings
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, FitError, MixeffNotice
from mixeff_fast.families import Family
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.glmm import GlmmResult, fit_glmm
from mixeff_fast.fit.glmm_workspace import FISHER
from mixeff_fast.fit.laplace import LaplaceEngine
from mixeff_fast.fit.quadrature import QuadratureEngine, product_rule, quadrature_nodes
from mixeff_fast.models.spec import compile_model
from tests.glmm_problems import row_order
from tests.glmm_references import data_of, references
from tests.oracle import Block, Floats
from tests.oracle_glmm import Criterion, Glmm, evaluate, gradient_fd, unpack
from tests.test_oracle_glmm import PAIRS, simulated, somewhere

AGQ = [name for name, model in references().items() if model["n_agq"] > 1]
TERMS = {"scalar": "(1 | g)", "vector": "(1 + x | g)", "diagonal": "(1 + x || g)", "wide": "(1 + x + z | g)"}
Fit = tuple[LaplaceEngine, GlmmResult]


def compiled(formula: str, data: pl.DataFrame, **arguments: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return compile_model(formula, data, **arguments).compiled


@cache
def reference_fit(name: str) -> Fit:
    model = references()[name]
    family = Family(model["family"], model["link"], model["parameter_known"])
    spec = compiled(model["formula"], data_of(model), family=family, weights=model["weights"], offset=model["offset"])
    return fit_glmm(spec, model["method"], n_agq=model["n_agq"])


@pytest.mark.parametrize("name", AGQ)
def test_glmers_optimum(name: str) -> None:
    model = references()[name]
    engine, result = reference_fit(name)
    names = list(engine.model.fixed.names)
    beta, se = (np.array([model[key][model["coefficients"].index(each)] for each in names]) for key in ("beta", "se"))
    assert result.objective == pytest.approx(model["objective"], abs=1e-8)
    assert np.max(np.abs(result.beta - beta) / se) < 1e-5
    np.testing.assert_allclose(np.sqrt(np.diag(result.vcov)), se, rtol=1e-4)
    theta_se = model["coordinate_se"][: len(model["theta"])]
    assert np.max(np.abs(result.theta - model["theta"]) / theta_se) < 1e-5
    assert (result.certificate.status, result.certificate.quality) == ("converged_interior", "certified")
    assert result.n_agq == result.nodes == model["n_agq"]
    assert result.quadrature_size == model["n_agq"] * model["nobs"]


# The oracle's problems, fitted here.


def wide(family: str, link: str) -> Glmm:
    """Three random effects per level."""
    problem = simulated(family, link, "vector", n=40)
    z = np.random.default_rng(3).normal(size=problem.n)
    block = problem.blocks[0]
    columns = np.column_stack([block.Z, z])
    return replace(problem, blocks=[Block(columns, block.codes, block.q, np.tril(np.ones((3, 3), bool)))])


def problem_of(family: str, link: str, structure: str, weighted: bool = False, offset: bool = False) -> Glmm:
    if structure == "wide":
        return wide(family, link)
    return simulated(family, link, structure, weighted=weighted, offset=offset)


def engine_of(problem: Glmm, structure: str, n_agq: int, profiled: bool = False) -> QuadratureEngine:
    block = problem.blocks[0]
    data = {"y": problem.y, "x": problem.X[:, 1], "z": block.Z[:, -1], "g": [f"l{code:02d}" for code in block.codes]}
    family = Family(problem.family, {"1/mu^2": "inverse_square"}.get(problem.link, problem.link), problem.parameter)
    plain = (family.name, family.link) == ("gaussian", "identity")
    arguments: dict[str, Any] = {"family": Family("gaussian", "sqrt") if plain else family}
    for key, values in (("weights", problem.weights), ("offset", problem.offset)):
        if values is not None:
            data[key] = values
            arguments[key] = key
    model = compiled(f"y ~ 1 + x + {TERMS[structure]}", pl.DataFrame(data), **arguments)
    if plain:  # the front door leaves it to linear models
        model = replace(model, frame=replace(model.frame, family=family))
    return QuadratureEngine(model, DEFAULT_CONTROL, profiled, n_agq)


def standard(engine: QuadratureEngine, problem: Glmm) -> Glmm:
    """The problem in the engine's columns. Nodes of several dimensions are placed along the axes of these."""
    rows, order, block = engine.rows, row_order(engine.model), problem.blocks[0]
    return replace(
        problem, X=rows.x.T.copy(), y=problem.y[order],
        blocks=[Block(rows.z.T.copy(), rows.block[0].copy(), block.q, block.mask)],
        weights=None if problem.weights is None else problem.weights[order],
        offset=None if problem.offset is None else problem.offset[order],
    )


def criterion_of(problem: Glmm, n_agq: int, profiled: bool = False) -> Criterion:
    return Criterion("fisher" if problem.family in FISHER else "observed", n_agq, profiled)


def point_of(problem: Glmm, psi: Floats, criterion: Criterion) -> Floats:
    """The engine's point for the standard problem's parameters."""
    rest = psi[len(problem.entries) :]
    return np.concatenate([problem.lambdas(unpack(problem, psi, criterion).theta)[0].ravel(), rest])


def scene(
    family: str, link: str, structure: str, n_agq: int, profiled: bool = False, **more: bool
) -> tuple[QuadratureEngine, Glmm, Criterion, Floats]:
    """An engine, its problem in standard columns, the criterion, and parameters off every optimum."""
    given = problem_of(family, link, structure, **more)
    engine = engine_of(given, structure, n_agq, profiled)
    problem, criterion = standard(engine, given), criterion_of(given, n_agq, profiled)
    psi = somewhere(problem)
    if profiled:
        state = evaluate(problem, psi, criterion_of(problem, 1))
        assert state is not None
        engine.modes.u[engine.q :] = state.beta
        split = len(problem.entries)
        psi = np.concatenate([psi[:split], psi[split + len(problem.kept) :]])
    return engine, problem, criterion, psi


def check(engine: QuadratureEngine, problem: Glmm, criterion: Criterion, psi: Floats) -> None:
    """Criterion and gradient against the oracle's."""
    state = evaluate(problem, psi, criterion)
    assert state is not None
    value, grad = engine.evaluate(point_of(problem, psi, criterion), False)
    assert value == pytest.approx(state.objective, abs=1e-8)
    rough = gradient_fd(problem, psi, criterion, state, 0.02)
    width = len(problem.blocks[0].mask)
    places = [row * width + column for _, row, column in problem.entries]
    found = np.concatenate([grad[places], grad[width * width :]])
    assert np.max(np.abs(found - rough)) <= 1e-6 * np.max(np.abs(rough))


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_criterion_and_gradient_of_every_family_and_link(family: str, link: str) -> None:
    check(*scene(family, link, "vector", 4, weighted=True, offset=True))


SOME = [("binomial", "logit"), ("binomial", "probit"), ("poisson", "log"), ("gamma", "log"), ("negative_binomial", "log")]


@pytest.mark.parametrize("structure", ["scalar", "diagonal", "wide"])
@pytest.mark.parametrize(("family", "link"), SOME)
def test_criterion_and_gradient_of_every_structure(family: str, link: str, structure: str) -> None:
    check(*scene(family, link, structure, 3))


@pytest.mark.parametrize("structure", ["scalar", "vector"])
@pytest.mark.parametrize(("family", "link"), SOME)
def test_criterion_and_gradient_where_beta_is_profiled(family: str, link: str, structure: str) -> None:
    check(*scene(family, link, structure, 5, profiled=True))


@pytest.mark.parametrize("n_agq", [2, 50])
def test_fewest_and_most_points(n_agq: int) -> None:
    check(*scene("binomial", "cloglog", "scalar", n_agq))


@pytest.mark.parametrize("structure", ["vector", "wide"])
@pytest.mark.parametrize("rank", [3, 2, 1])
def test_only_the_covariance_matters(structure: str, rank: int) -> None:
    """Any Lambda of the same ``Lambda Lambda'`` has the same criterion, and the gradient is exact over all its entries, also
    where it lacks a direction."""
    engine, problem, criterion, psi = scene("binomial", "logit", structure, 4)
    point = point_of(problem, psi, criterion)
    width = len(problem.blocks[0].mask)
    if rank > width:
        return
    square = width * width
    lam = point[:square].reshape(width, width)
    lam[:, rank:] = 0.0
    value = engine.criterion(point, False)
    turn = np.linalg.qr(np.random.default_rng(4).normal(size=(width, width)))[0]
    other = point.copy()
    other[:square] = (lam @ turn).ravel()
    again, grad = engine.evaluate(other, False)
    assert again == pytest.approx(value, rel=1e-12)
    inside = np.zeros((width, width))
    inside[:, :rank] = np.random.default_rng(5).normal(size=(width, rank))
    for along in (np.concatenate([(inside @ turn).ravel(), np.zeros(len(point) - square)]),
                  np.concatenate([np.zeros(square), np.ones(len(point) - square)])):
        changes = [(engine.criterion(other + h * along, False) - engine.criterion(other - h * along, False)) / (2 * h)
                   for h in (2e-3, 1e-3)]
        assert grad @ along == pytest.approx((4 * changes[1] - changes[0]) / 3, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("profiled", [False, True])
@pytest.mark.parametrize(("family", "link", "structure"), [
    ("binomial", "logit", "vector"), ("poisson", "log", "diagonal"), ("gamma", "log", "scalar"),
])
def test_optimum_is_the_oracles_too(family: str, link: str, structure: str, profiled: bool) -> None:
    engine, problem, criterion, _ = scene(family, link, structure, 3, profiled)
    fitted, result = fit_glmm(engine.model, "pirls_profiled" if profiled else "joint_laplace", n_agq=3)
    assert result.certificate.quality == "certified"
    width = len(problem.blocks[0].mask)
    lam, rest = result.point[: width * width], result.point[width * width :]
    psi = np.concatenate([[lam[row * width + column] for _, row, column in problem.entries], rest])
    state = evaluate(problem, psi, criterion)
    assert state is not None
    assert result.objective == pytest.approx(state.objective, abs=1e-8)
    to_user = fitted.assembled.standard.beta_map(fitted.assembled.kept)
    np.testing.assert_allclose(result.beta, to_user @ state.beta, rtol=1e-6)
    free = [i for i, (_, row, column) in enumerate(problem.entries) if lam[column * width + column] > 0.0]
    free += range(len(problem.entries), len(psi))
    # against the size of the deviance's own slopes
    assert np.max(np.abs(gradient_fd(problem, psi, criterion, state, 0.02)[free]), initial=0.0) < 1e-6 * problem.n


# What the rule is.


@pytest.mark.parametrize(("points", "width"), [(2, 1), (5, 2), (7, 3), (50, 1)])
def test_rule_integrates_polynomials(points: int, width: int) -> None:
    """Against a density of N(0, I/2): its moments up to twice the number of points."""
    nodes, log_weight = product_rule(points, width)
    weight = np.exp(log_weight - np.sum(nodes**2, axis=1)) / np.pi ** (width / 2)
    assert nodes.shape == (points**width, width)
    assert weight.sum() == pytest.approx(1.0, rel=1e-13)
    np.testing.assert_allclose((nodes.T * weight) @ nodes, np.eye(width) / 2, atol=1e-13)
    if points > 2:
        np.testing.assert_allclose((nodes.T**4 * weight).sum(axis=1), 0.75, rtol=1e-12)


def test_one_point_is_laplaces_approximation() -> None:
    one, problem, criterion, psi = scene("binomial", "logit", "vector", 1)
    model, point = one.model, point_of(problem, psi, criterion)
    laplace = LaplaceEngine(model, DEFAULT_CONTROL)
    (value, grad), (known, exact) = one.evaluate(point, False), laplace.evaluate(point, False)
    assert value == pytest.approx(known, rel=1e-13)
    np.testing.assert_allclose(grad, exact, rtol=1e-9, atol=1e-9)
    default, asked = (fit_glmm(model, **arguments)[1] for arguments in ({}, {"n_agq": 1}))
    assert default.objective == asked.objective
    assert default.theta.tobytes() == asked.theta.tobytes()
    assert (asked.n_agq, asked.nodes, asked.quadrature_size) == (1, 1, 1)


@pytest.mark.parametrize("name", ["cbpp_agq25", "answer_agq7", "count_agq9"])
def test_more_points_come_nearer_the_integral(name: str) -> None:
    model = reference_fit(name)[0].model
    values = {n_agq: fit_glmm(model, n_agq=n_agq)[1].objective for n_agq in (1, 5, 15, 30, 50)}
    gaps = [abs(values[n_agq] - values[50]) for n_agq in (1, 5, 15, 30)]
    assert gaps == sorted(gaps, reverse=True) or gaps[-1] < 1e-9
    assert gaps[0] > 5e-3
    assert gaps[2] < 1e-4
    assert gaps[3] < 1e-8


def test_a_gaussian_response_needs_no_nodes() -> None:
    """Its integrand is a normal density: every rule gives the likelihood itself."""
    values = []
    for n_agq in (1, 2, 7):
        engine, problem, criterion, psi = scene("gaussian", "identity", "vector", n_agq, weighted=True)
        values.append(engine.criterion(point_of(problem, psi, criterion), False))
    np.testing.assert_allclose(values, values[0], rtol=1e-13)


def test_no_variance_leaves_nothing_to_integrate() -> None:
    engine, problem, criterion, psi = scene("poisson", "log", "scalar", 9)
    psi[0] = 0.0
    point = point_of(problem, psi, criterion)
    value, grad = engine.evaluate(point, False)
    laplace = LaplaceEngine(engine.model, DEFAULT_CONTROL)
    known, exact = laplace.evaluate(point, False)
    assert value == pytest.approx(known, rel=1e-13)
    assert abs(grad[0]) < 1e-9
    np.testing.assert_allclose(grad[1:], exact[1:], rtol=1e-9)


def test_nodes_outside_the_space_have_no_likelihood() -> None:
    """Means of an identity link turn negative at the outer nodes; the sum goes over the others."""
    engine, problem, criterion, psi = scene("gamma", "identity", "scalar", 25)
    psi[0] *= 8.0
    state = evaluate(problem, psi, criterion)
    assert state is not None
    value, grad = engine.evaluate(point_of(problem, psi, criterion), False)
    furthest = np.sqrt(2.0) * np.abs(engine.quad.point).max() / np.sqrt(np.diag(state.H).max())
    reached = np.max(np.abs(state.root), axis=1) * furthest
    assert np.any(reached > state.eta)
    assert np.isfinite(value)
    assert np.all(np.isfinite(grad))
    assert value == pytest.approx(state.objective, abs=1e-8)


@pytest.mark.parametrize(("shift", "scale"), [(2000.0, 1.0), (0.0, 1e-4), (-3.0, 1e4)])
def test_units_and_origins_of_predictors_change_nothing(shift: float, scale: float) -> None:
    """Few nodes in two dimensions: they would be elsewhere, had their axes to do with the units."""
    problem = problem_of("binomial", "logit", "vector")
    codes = [f"l{code:02d}" for code in problem.blocks[0].codes]
    given = pl.DataFrame({"y": problem.y, "x": problem.X[:, 1], "g": codes})
    fits = [
        fit_glmm(compiled("y ~ x + (1 + x | g)", data, family=mf.families.binomial()), n_agq=3)[1]
        for data in (given, given.with_columns(pl.col("x") * scale + shift))
    ]
    assert fits[1].objective == pytest.approx(fits[0].objective, abs=1e-8)
    assert fits[1].beta[1] * scale == pytest.approx(fits[0].beta[1], rel=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_threads_change_no_bit(threads: int) -> None:
    rng = np.random.default_rng(8)
    n = 20_000
    g, x = rng.integers(0, 800, n), rng.normal(size=n)
    y = rng.poisson(np.exp(0.2 + 0.3 * x + 0.5 * rng.normal(size=800)[g])).astype(float)
    data = pl.DataFrame({"y": y, "x": x, "g": [f"{each}" for each in g]})
    model = compiled("y ~ x + (1 | g)", data, family=mf.families.poisson())
    engines = [QuadratureEngine(model, replace(DEFAULT_CONTROL, threads=count), n_agq=5) for count in (1, threads)]
    assert len(engines[0].quad.value) > 3
    point = np.array([0.4, 0.3, 0.25])
    (value, grad), (again, other) = (engine.evaluate(point, False) for engine in engines)
    assert value == again
    assert grad.tobytes() == other.tobytes()


# What is refused.


@pytest.mark.parametrize("n_agq", [0, -1, 51, 2.5, 3.0, True, "5", None])
def test_points_are_a_whole_number(n_agq: Any) -> None:
    model = engine_of(problem_of("poisson", "log", "scalar"), "scalar", 2).model
    with pytest.raises(ArgumentError, match="n_agq must be a whole number from 1 to 50") as caught:
        fit_glmm(model, n_agq=n_agq)
    assert ('method="pirls_profiled"' in caught.value.message) == (n_agq == 0 and n_agq is not False)
    assert caught.value.argument == "n_agq"


def refused(formula: str, n_agq: int, n: int = 60) -> FitError:
    rng = np.random.default_rng(2)
    data = pl.DataFrame(
        {"y": rng.poisson(2.0, n).astype(float), "g": rng.integers(0, 7, n).astype(str), "h": rng.integers(0, 5, n).astype(str)}
        | {name: rng.normal(size=n) for name in ("x", "z", "v")}
    )
    with pytest.raises(FitError) as caught:
        fit_glmm(compiled(formula, data, family=mf.families.poisson()), n_agq=n_agq)
    assert caught.value.reason_code == "invalid_agq_request"
    return caught.value


def test_one_grouping_factor() -> None:
    error = refused("y ~ x + (1 | g) + (1 | h)", 5)
    assert (error.reason, error.n_agq, error.n_terms) == ("several_grouping_factors", 5, 2)
    assert "single grouping factor" in error.message
    assert "(g, h)" in error.message


def test_up_to_three_columns() -> None:
    assert refused("y ~ x + (1 + x + z + v | g)", 2).reason == "too_many_columns"
    assert refused("y ~ x + (1 + x | g) + (0 + z + v | g)", 2).reason == "too_many_columns"


def test_size_is_stated_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    model = engine_of(problem_of("poisson", "log", "vector"), "vector", 2).model
    assert quadrature_nodes(model, 7) == 49
    monkeypatch.setattr("mixeff_fast.fit.quadrature.MOST_EVALUATIONS", 49 * 60 - 1)
    assert quadrature_nodes(model, 6) == 36
    with pytest.raises(FitError, match=r"49 nodes.* 2\.9e\+03 likelihoods") as caught:
        quadrature_nodes(model, 7)
    assert caught.value.reason == "too_many_nodes"


def test_terms_of_one_factor_count_together() -> None:
    """(1 | g) + (0 + x | g) is one integral over two dimensions per level."""
    problem = problem_of("poisson", "log", "diagonal")
    assert engine_of(problem, "diagonal", 3).nodes == 9
