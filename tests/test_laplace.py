"""The Laplace engine against the dense reference: criterion, gradient and kernels, away from any optimum."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray

from mixeff_fast.compile import CompiledModel
from mixeff_fast.compile.plan import make_plan
from mixeff_fast.families import Family
from mixeff_fast.fit import glmm_rows, laplace, laplace_staged
from mixeff_fast.fit.control import DEFAULT_CONTROL, control
from mixeff_fast.fit.glmm import GlmmResult, fit_glmm
from mixeff_fast.fit.glmm_start import start_point
from mixeff_fast.fit.laplace import LaplaceEngine
from mixeff_fast.kernels import families as f_codes
from mixeff_fast.kernels import laplace_stages as stages
from mixeff_fast.kernels import links as k_codes
from mixeff_fast.kernels import pirls, strict
from tests.glmm_problems import (
    PAIRS,
    compiled,
    criterion_of,
    dense,
    gradient_of_point,
    psi_of_point,
    small_data,
)
from tests.oracle_glmm import Criterion, evaluate, gradient, gradient_fd, objective
from tests.precise import STEP, Pair, digits

Floats = NDArray[np.float64]
NONE = np.zeros(0)

FORMULAS = {
    "scalar": "y ~ x + (1 | g)",
    "vector": "y ~ x + (x | g)",
    "diagonal": "y ~ x + z + (x || g)",
    "three_columns": "y ~ x + (x + z | g)",
    "crossed": "y ~ x + (x | g) + (1 | h)",
    "both_vectors": "y ~ x + (x | g) + (z | h)",
    "nested": "y ~ x + (1 | g / c)",
    "one_level_per_row": "y ~ x + (1 | row) + (1 | g)",
    "three_factors": "y ~ x + (1 | g) + (1 | h) + (1 | g:c)",
    "no_fixed_effects": "y ~ 0 + (1 | g)",
    "slope_only": "y ~ 0 + x + (0 + x | g)",
}


def engine_of(formula: str, data: pl.DataFrame, family: Family, joint: bool = False, **arguments: Any) -> LaplaceEngine:
    return LaplaceEngine(compiled(formula, data, family, **arguments), DEFAULT_CONTROL, joint)


def somewhere(engine: LaplaceEngine, seed: int) -> np.ndarray:
    """A point off every optimum, with legal means."""
    rng = np.random.default_rng(seed)
    point = start_point(engine, DEFAULT_CONTROL)
    lam, rest = engine.split(point)
    for block in engine.model.blocks:
        own = engine.block_lambda(lam, block)
        for i, j in zip(block.rows, block.columns, strict=True):
            own[i, j] = own[i, i] * (rng.uniform(0.4, 0.6) if i == j else rng.uniform(-0.3, 0.3))
    rest *= 1 + 0.04 * rng.uniform(-1, 1, len(rest))
    return point


def gradient_gap(engine: LaplaceEngine, seed: int) -> float:
    """Difference between the engine's gradient and that of the dense criterion, relative to the largest entry."""
    point = somewhere(engine, seed)
    problem, criterion = dense(engine.model, engine), criterion_of(engine.model, engine.joint)
    psi = psi_of_point(engine, problem, point)
    state = evaluate(problem, psi, criterion)
    assert state is not None
    value, found = engine.evaluate(point, False)
    assert value == pytest.approx(state.objective, abs=1e-9 * engine.n)
    ours = gradient_of_point(engine, problem, found)
    theirs = gradient_fd(problem, psi, criterion, state, step=0.02)
    scale = np.max(np.abs(theirs))
    assert scale > 1e-2
    if not criterion.profiled:
        np.testing.assert_allclose(ours, gradient(problem, state, criterion), rtol=0, atol=1e-8 * scale)
    return float(np.max(np.abs(ours - theirs)) / scale)


@pytest.mark.parametrize("joint", [False, True], ids=["joint_laplace", "pirls_profiled"])
@pytest.mark.parametrize(("name", "link"), PAIRS)
def test_gradient_of_every_family_and_link(name, link, joint):
    """Vector-valued and crossed terms, prior weights, trials and an offset at once."""
    family = Family(name, link)
    data = small_data(family, 11, trials=4)
    response = "cbind(y, failures)" if name == "binomial" else "y"
    weights = None if name == "binomial" else "w"
    engine = engine_of(FORMULAS["crossed"].replace("y", response, 1), data, family, joint, weights=weights, offset="o")
    assert gradient_gap(engine, 12) < 1e-6


@pytest.mark.parametrize("structure", FORMULAS)
@pytest.mark.parametrize(
    ("name", "link"), [("binomial", "logit"), ("binomial", "probit"), ("negative_binomial", "log"), ("gamma", "log")]
)
def test_gradient_of_every_structure(name, link, structure):
    family = Family(name, link)
    engine = engine_of(FORMULAS[structure], small_data(family, 13), family)
    assert gradient_gap(engine, 14) < 1e-6


# The trunk of the factorization: none, dense or sparse; the same model whole in compiled code or stage by stage.


def chained(family: Family, seed: int, n: int = 240) -> pl.DataFrame:
    """Three factors whose levels overlap like the links of a chain, so that eliminating one leaves the others sparse."""
    rng = np.random.default_rng(seed)
    base, columns = np.arange(n), {}
    for j, q in enumerate((40, 36, 33)):
        columns[f"g{j}"] = [f"l{v:03d}" for v in (base * q // n + rng.integers(0, 3, n)) % q]
    data = small_data(family, seed, n=n)
    return data.with_columns(**{key: pl.Series(values) for key, values in columns.items()})


CHAIN = "y ~ x + (x | g0) + (1 | g1) + (1 | g2)"


def with_trunk(model: CompiledModel, kind: Any) -> CompiledModel:
    factors = model.factors
    codes = [np.asarray(factor.group.codes) for factor in factors]
    levels, widths = [factor.n_levels for factor in factors], [factor.width for factor in factors]
    return replace(model, plan=make_plan(codes, levels, widths, len(model.fixed.names), kind))


def trunk_engine(kind: Any, family: Family, joint: bool = False) -> LaplaceEngine:
    return LaplaceEngine(with_trunk(compiled(CHAIN, chained(family, 15), family), kind), DEFAULT_CONTROL, joint)


@pytest.mark.parametrize("joint", [False, True], ids=["joint_laplace", "pirls_profiled"])
@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize(("name", "link"), [("poisson", "log"), ("binomial", "probit"), ("negative_binomial", "log")])
def test_gradient_of_every_trunk(name, link, kind, joint):
    engine = trunk_engine(kind, Family(name, link), joint)
    assert (engine.model.plan.supernodes is not None) == (kind == "sparse")
    point = somewhere(engine, 16)
    problem, criterion = dense(engine.model, engine), criterion_of(engine.model, joint)
    psi = psi_of_point(engine, problem, point)
    state = evaluate(problem, psi, criterion)
    value, found = engine.evaluate(point, False)
    assert value == pytest.approx(state.objective, abs=1e-9 * engine.n)
    ours = gradient_of_point(engine, problem, found)
    if not joint:
        theirs = gradient(problem, state, criterion)
    else:
        plain = Criterion(criterion.curvature)
        split = len(problem.entries)
        theirs = gradient_fd(problem, psi, criterion, state, step=0.02, levels=3)
        assert objective(problem, np.concatenate([psi[:split], state.beta, psi[split:]]), plain, state) == pytest.approx(
            state.objective, abs=1e-8)
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=(1e-6 if joint else 1e-8) * np.max(np.abs(theirs)))


def numbers(result: GlmmResult) -> list[Any]:
    return [result.objective, result.theta.tolist(), result.beta.tolist(), result.vcov.tolist(), result.parameter,
            [each.tolist() for each in result.effects], result.passes]


@pytest.mark.parametrize(
    ("name", "link", "formula", "method"),
    [
        ("binomial", "logit", "y ~ x + (x | g) + (1 | h)", "joint_laplace"),
        ("binomial", "probit", "y ~ x + (x | g) + (1 | h)", "pirls_profiled"),
        ("negative_binomial", "log", "y ~ x + (1 | g) + (1 | h)", "joint_laplace"),
        ("gamma", "inverse", "y ~ x + (1 | g / c)", "joint_laplace"),
        ("poisson", "log", "y ~ x + (1 | g) + (1 | h) + (1 | g:c)", "joint_laplace"),
    ],
)
def test_the_same_bits_in_stages_and_on_any_number_of_threads(monkeypatch, name, link, formula, method):
    family = Family(name, link)
    model = compiled(formula, small_data(family, 17, n=3 * glmm_rows.CHUNK_ROWS + 5, levels=60), family)
    found = []
    for rows, threads in ((laplace.SMALL_ROWS, None), (0, 1), (0, 2), (0, 3)):
        monkeypatch.setattr(laplace, "SMALL_ROWS", rows)
        engine, result = fit_glmm(model, method, control(threads=threads))
        assert engine.is_compiled == (rows > 0)
        assert len(engine.rows.chunk) == 4
        found.append(numbers(result))
    assert found[1] == found[0]
    assert found[2] == found[0]
    assert found[3] == found[0]


def test_the_same_bits_of_a_sparse_trunk_on_any_number_of_threads():
    family = Family("poisson", "log")
    model = with_trunk(compiled(CHAIN, chained(family, 15), family), "sparse")
    found = [numbers(fit_glmm(model, control=control(threads=threads))[1]) for threads in (1, 2, 3)]
    assert found[1] == found[0]
    assert found[2] == found[0]


# Kernels, each against dense matrices.


def dense_rows(engine: LaplaceEngine) -> tuple[Floats, Floats]:
    """``Z`` in the plan's scalar columns and ``X``, rows in the engine's order."""
    rows, plan = engine.rows, engine.assembled.arrays
    Z = np.zeros((engine.n, engine.q))
    for k in range(len(rows.factor)):
        for a in range(rows.first[k + 1] - rows.first[k]):
            Z[np.arange(engine.n), plan.block_col[rows.block[k]] + a] = rows.z[rows.first[k] + a]
    return Z, rows.x.T


def dense_lambda(engine: LaplaceEngine, lam: Floats) -> Floats:
    plan = engine.assembled.arrays
    out = np.zeros((engine.q, engine.q))
    for b, k in enumerate(plan.block_factor):
        w, at, c = int(plan.width[k]), int(plan.lam_ptr[k]), int(plan.block_col[b])
        out[c : c + w, c : c + w] = lam[at : at + w * w].reshape(w, w)
    return out


def whole(engine: LaplaceEngine) -> Floats:
    """``[Z X]'W[Z X]`` from the layout of the plan."""
    plan, cross, p = engine.assembled.arrays, engine.assembled.cross, engine.rank
    out = np.zeros((engine.q + p, engine.q + p))
    for b, k in enumerate(plan.block_factor):
        w, c = int(plan.width[k]), int(plan.block_col[b])
        out[c : c + w, c : c + w] = cross.diag[plan.diag_ptr[b] :][: w * w].reshape(w, w)
        nc = int(plan.panel_cols[b])
        panel = cross.panel[plan.panel_ptr[b] :][: w * nc].reshape(w, nc)
        for e in range(plan.neighbour_ptr[b], plan.neighbour_ptr[b + 1]):
            r, o = int(plan.neighbour[e]), int(plan.neighbour_off[e])
            wr, cr = int(plan.width[plan.block_factor[r]]), int(plan.block_col[r])
            out[c : c + w, cr : cr + wr] = panel[:, o : o + wr]
        out[c : c + w, engine.q :] = panel[:, nc - plan.border : nc - 1]
    out[engine.q :, engine.q :] = cross.border[:p, :p]
    upper = np.triu(out)
    return upper + np.triu(out, 1).T


def kernel_engine(structure: str, seed: int = 18) -> LaplaceEngine:
    """Over three chunks of rows, which share the levels of every factor but the leaf."""
    family = Family("binomial", "logit")
    return engine_of(FORMULAS[structure], small_data(family, seed, n=3 * glmm_rows.CHUNK_ROWS + 1, levels=40), family)


STRUCTURES = ["scalar", "vector", "crossed", "both_vectors", "nested", "three_factors"]


@pytest.mark.parametrize("structure", STRUCTURES)
def test_rows_are_weighed_and_summed(structure):
    engine, rng = kernel_engine(structure), np.random.default_rng(19)
    rows, plan, cross = engine.rows, engine.assembled.arrays, engine.assembled.cross
    Z, X = dense_rows(engine)
    n_chunks = len(rows.chunk) - 1
    assert n_chunks == 3
    weight = rng.uniform(0.1, 2.0, engine.n)
    both = np.hstack([Z, X])
    expected = (both.T * weight) @ both
    for fixed in (True, False):
        stages.cross_product(rows, plan, cross, weight, fixed, 0, 1)
        stages.add_weighed(rows, plan, cross, fixed)
        found = whole(engine)
        if fixed:
            np.testing.assert_allclose(found, expected, atol=1e-9)
        else:
            np.testing.assert_allclose(found[: engine.q, : engine.q], expected[: engine.q, : engine.q], atol=1e-9)
            np.testing.assert_array_equal(found[engine.q :, engine.q :], np.eye(engine.rank))
            assert not found[: engine.q, engine.q :].any()
    lam = engine.split(somewhere(engine, 20))[0]
    modes = engine.modes
    modes.trial[:] = rng.normal(size=len(modes.trial))
    stages.begin(modes)
    stages.scale_trial(plan, lam, modes)
    effects = np.concatenate([dense_lambda(engine, lam) @ modes.trial[: engine.q], modes.trial[engine.q :]])
    np.testing.assert_allclose(modes.effects, effects, atol=1e-12)
    stages.weigh(rows, plan, engine.family, modes, True, 0, 2)
    stages.weigh(rows, plan, engine.family, modes, True, 1, 2)
    stages.weighed(rows, plan, lam, True, modes)
    np.testing.assert_allclose(modes.eta, both @ effects, atol=1e-10)
    np.testing.assert_allclose(modes.sums, both.T @ modes.score, atol=1e-8)


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("structure", [*STRUCTURES, "sparse"])
def test_solutions_and_leverages(structure, joint):
    """Solving with the factorization, and ``diag(Z Lambda H^{-1} Lambda'Z')`` from its selected inverse."""
    family = Family("binomial", "logit")
    engine = trunk_engine("sparse", family, joint) if structure == "sparse" else engine_of(
        FORMULAS[structure], small_data(family, 21, n=150), family, joint)
    point = somewhere(engine, 22)
    assert np.isfinite(engine.settle(point, True))
    lam, q = engine.split(point)[0], engine.q
    Z, X = dense_rows(engine)
    root = Z @ dense_lambda(engine, lam)
    columns = np.hstack([root, X]) if joint else root
    weight = engine.modes.weight
    H = (columns.T * weight) @ columns + np.diag(np.repeat([1.0, 0.0], [q, columns.shape[1] - q]))
    right = np.random.default_rng(23).normal(size=q + engine.rank)
    engine.modes.step[:] = right
    laplace_staged.solve(engine, joint)
    size = columns.shape[1]
    np.testing.assert_allclose(engine.modes.step[:size], np.linalg.solve(H, right[:size]), rtol=1e-9, atol=1e-10)
    assert not engine.modes.step[size:].any()
    assert engine.modes.real[pirls.LOGDET] == pytest.approx(np.linalg.slogdet(H[:q, :q])[1], abs=1e-9)
    engine._slopes(point, np.zeros(len(point)))
    inverse = np.linalg.inv(H[:q, :q])
    panel, plan = engine.panel, engine.assembled.arrays
    stages.bend(engine.rows, plan, engine.family, engine.modes, engine.work, lam, panel, joint, 0, 1)
    np.testing.assert_allclose(engine.modes.leverage, np.sum((root @ inverse) * root, axis=1), atol=1e-10)


@pytest.mark.parametrize(
    ("family", "link"),
    [(f, each) for f in (f_codes.GAMMA, f_codes.INVERSE_GAUSSIAN, f_codes.NEGATIVE_BINOMIAL, f_codes.GAUSSIAN)
     for each in f_codes.LINKS[f]],
)  # fmt: skip
def test_observed_weights_and_their_slopes_against_many_digits(family, link):
    """Prior weights multiply them."""
    parameter = 0.7
    pair = Pair(family, link, parameter)
    etas = {k_codes.LOG: (-8.0, -0.5, 0.0, 1.5, 6.0)}.get(link, (0.05, 0.6, 1.0, 2.5, 40.0))
    y = np.array([1e-3, 0.4, 3.0, 50.0])
    if family == f_codes.NEGATIVE_BINOMIAL:
        y = np.array([0.0, 1.0, 7.0, 300.0])
    at = [(value, eta) for value in y for eta in etas]
    values, eta = (np.array(each) for each in zip(*at, strict=True))
    prior = np.linspace(0.5, 2.0, len(at))
    weight, slope, change = np.zeros(len(at)), np.zeros(len(at)), np.zeros(len(at))
    strict.strict_weights(family, link, parameter, values, prior, eta, weight, slope, change, 0, len(at))
    step = Decimal("1e-12")
    for i, (value, x) in enumerate(at):
        with digits(link, x):
            exact, centre, p = Decimal(value), Decimal(x), Decimal(parameter)

            def observed(z: Decimal, q: Decimal, exact: Decimal = exact, pair: Pair = pair) -> Decimal:
                up, here, down = (pair.deviance(exact, Decimal(1), z + move, q) for move in (STEP, Decimal(0), -STEP))
                return (up - 2 * here + down) / (2 * STEP * STEP)

            truth = (
                observed(centre, p),
                (observed(centre + step, p) - observed(centre - step, p)) / (2 * step),
                (observed(centre, p * step.exp()) - observed(centre, p * (-step).exp())) / (2 * step),
            )
            mean = float(pair.means(centre)[0])
        # what cancels: the weight expected, and the rest
        expected = np.zeros(1)
        strict.strict_weights(family, link, parameter, np.array([mean]), NONE, np.array([x]), expected, NONE, NONE, 0, 1)
        size = 20 * (expected[0] + abs(weight[i]))
        turn = 1.0 if link == k_codes.LOG else 1.0 / x
        for ours, theirs, unit in zip((weight[i], slope[i], change[i]), truth, (size, size * turn, size), strict=True):
            assert abs(ours / prior[i] - float(theirs)) <= 1e-14 * unit, (value, x)


def test_observed_weights_outside_the_familys_space():
    weight, slope, change = np.zeros(1), np.zeros(1), np.zeros(1)
    one = np.ones(1)
    strict.strict_weights(f_codes.GAMMA, k_codes.INVERSE, 1.0, one, NONE, -one, weight, slope, change, 0, 1)
    assert np.isnan([weight[0], slope[0], change[0]]).all()
