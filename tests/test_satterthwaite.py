"""Satterthwaite's degrees of freedom against the dense reference and lmerTest."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixeff_fast as mf
from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit.lmm import fit_lmm
from mixeff_fast.inference import satterthwaite as sw
from tests import oracle, oracle_inference
from tests.inference_references import (
    PUBLISHED,
    PUBLISHED_TOLERANCE,
    dense_references,
    fitted,
    inference_references,
)
from tests.small_sample import BARS, LARGE, SETTINGS, bridged, well_conditioned
from tests.strategies import LAYOUTS, cases

Floats = NDArray[np.float64]

MODELS = tuple(inference_references())
# A published number that stems from differences across a shallow optimum: lmerTest's own agrees with ours to 1e-7.
ROUGH = {"penicillin": 2e-4}


def payload(fit: mf.LinearMixedModel) -> sw.Satterthwaite:
    return sw.satterthwaite(fit._engine, fit.result)


def test_few_differences_are_enough_where_evaluations_take_long() -> None:
    rng = np.random.default_rng(11)
    a, b, x = rng.integers(0, 300, 3000), rng.integers(0, 150, 3000), rng.normal(size=3000)
    y = 1.0 + 0.5 * x + rng.normal(size=300)[a] + 0.5 * rng.normal(size=150)[b] + rng.normal(size=3000)
    data = pl.DataFrame({"y": y, "x": x, "a": a.astype(str), "b": b.astype(str)})
    fit = mf.lmm("y ~ x + (x || a) + (1 | b)", data)
    few = payload(fit)
    assert fit._engine.spares_evaluations
    promised = {route.method: route.evaluations for route in fit.inference_options().artifact.routes}
    assert few.evaluations == promised["satterthwaite"] == 1 + 2 * 3
    fit._engine.spares_evaluations = False
    many = payload(fit)
    assert many.evaluations == 1 + 4 * 3
    np.testing.assert_allclose(sw.denominator_dfs(few, np.eye(2)), sw.denominator_dfs(many, np.eye(2)), rtol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
@SETTINGS
@given(data=st.data())
def test_dense(layout: str, data: st.DataObject) -> None:
    """At the optimum, on the boundary or not: one row and several."""
    case = data.draw(cases(layouts=(layout,), aliased=None, weighted=None))
    made = bridged(case, data.draw(BARS))
    engine, result = fit_lmm(made.model, case.reml)
    assume(result.certificate.status.startswith("converged"))
    theta = made.to_problem(result.theta)
    expected = oracle_inference.satterthwaite(oracle_inference.at_optimum(case.problem, theta, case.reml))
    # another optimum, or one that is flatter than the digits of the criterion
    assume(np.abs(theta - expected.point.theta).max() < 1e-6 and well_conditioned(expected.cov))
    found = sw.satterthwaite(engine, result)
    kept = found.kept
    assert len(found.covariance) == len(expected.cov)
    rows, every = np.eye(len(result.beta))[kept], np.eye(len(kept))
    # how much it matters that the two optima differ in their last digits
    near = oracle_inference.satterthwaite(oracle_inference.at(case.problem, theta, case.reml))
    for row, own in zip(rows, every, strict=True):
        bound = 1e-6 * expected.df(own) + 3.0 * abs(near.df(own) - expected.df(own))
        assert sw.denominator_df(found, row) == pytest.approx(expected.df(own), rel=0, abs=bound)
    theirs, beside, ours = expected.test(every), near.test(every), sw.f_test(found, result.beta, rows)
    assert ours.ndf == ours.rank == theirs.ndf
    assert ours.f == pytest.approx(theirs.F, rel=1e-6, abs=1e-8 + 3.0 * abs(beside.F - theirs.F))
    assume(min(expected.df(own) for own in every) > 2.01)
    assert ours.ddf == pytest.approx(theirs.ddf, rel=1e-4, abs=10.0 * abs(beside.ddf - theirs.ddf))
    assert ours.scale == 1.0


@pytest.mark.parametrize("name", MODELS)
def test_references(name: str) -> None:
    """Coefficients, terms and contrasts: lmerTest's, and the dense ones, which do not depend on differences."""
    model, fit = inference_references()[name], fitted(name)
    found = payload(fit)
    assert bool(found.held) == model.singular
    for tested, dense in zip(model.tests, dense_references()[name].satterthwaite, strict=True):
        rows = model.to_all(tested.L)
        ours = sw.f_test(found, fit.beta, rows, tested.rhs)
        for theirs, bound in ((dense, 1e-6), (tested.satterthwaite, 1e-4)):
            assert ours.ndf == theirs.ndf
            assert ours.ddf == pytest.approx(theirs.ddf, rel=bound)
            assert ours.f == pytest.approx(theirs.F, rel=bound, abs=1e-9)
            if len(rows) == 1:
                assert sw.denominator_df(found, rows[0]) == pytest.approx(theirs.ddf, rel=bound)


@pytest.mark.parametrize("published", [p for p in PUBLISHED if p.method == "satterthwaite"], ids=lambda p: p.model)
def test_published(published: Any) -> None:
    fit = fitted(published.model)
    found, row = payload(fit), np.array(published.L, float)
    bound = ROUGH.get(published.model, PUBLISHED_TOLERANCE["ddf"])
    assert sw.denominator_df(found, row) == pytest.approx(published.ddf, rel=bound)
    test = sw.f_test(found, fit.beta, row, published.rhs)
    assert np.sqrt(test.f) == pytest.approx(published.t, rel=PUBLISHED_TOLERANCE["t"])


def test_the_statistic_of_one_row_is_t_squared() -> None:
    fit = fitted("cake_helmert")
    found = payload(fit)
    for row in np.random.default_rng(1).normal(size=(5, len(fit.beta))):
        test = sw.f_test(found, fit.beta, row, 0.3)
        t = (row @ fit.beta - 0.3) / np.sqrt(row @ fit.vcov() @ row)
        assert test.f == pytest.approx(t * t, rel=1e-10)
        assert test.ddf == pytest.approx(sw.denominator_df(found, row), rel=1e-10)


def test_units_and_order_of_rows_do_not_matter() -> None:
    data, formula = mf.datasets.load("sleepstudy"), "Reaction ~ Days + (Days | Subject)"
    base = mf.lmm(formula, data.filter(pl.col("Days") > 2))
    changed = data.filter(pl.col("Days") > 2).sample(fraction=1.0, shuffle=True, seed=1)
    other = mf.lmm(formula, changed.with_columns(pl.col("Days") * 1e4 + 3e4, pl.col("Reaction") * 1e-3))
    for row in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 5.0])):
        moved = np.array([row[0], 3e4 * row[0] + 1e4 * row[1]])
        assert sw.denominator_df(payload(other), moved) == pytest.approx(sw.denominator_df(payload(base), row), rel=1e-6)


def test_a_model_without_the_absent_term_has_the_same_degrees_of_freedom() -> None:
    """What is held at zero might as well not be there."""
    model = inference_references()["zero_slope_double_bar"]
    fit = fitted(model.id)
    found = payload(fit)
    assert found.held == ("g.x",)
    less = mf.lmm("y ~ x + (1 | g)", model.data)
    for row in np.eye(2):
        assert sw.denominator_df(found, row) == pytest.approx(sw.denominator_df(payload(less), row), rel=1e-6)


def test_no_variance_at_all() -> None:
    """Ordinary least squares: n less the rank."""
    fit = fitted("dyestuff2")
    found = payload(fit)
    assert found.held == ("Batch.(Intercept)",)
    assert (len(found.covariance), found.evaluations) == (1, 1)
    assert sw.denominator_df(found, [1.0]) == pytest.approx(29.0, rel=1e-12)


@pytest.mark.parametrize("name", LARGE)
def test_bits_do_not_depend_on_threads(name: str) -> None:
    spec = mf.compile_model(*LARGE[name]())
    found = [payload(spec.fit(control=mf.control(threads=count))) for count in (1, 2, 5)]
    for other in found[1:]:
        assert other.covariance.tobytes() == found[0].covariance.tobytes()
        assert other.jacobian.tobytes() == found[0].jacobian.tobytes()


def test_the_jacobian_is_that_of_the_covariance() -> None:
    """By the formula ``Cov X'V^{-1} dV V^{-1}X Cov`` of the dense reference; the covariance of one row has its slope."""
    name = "sleepstudy_slopes"
    fit, point = fitted(name), oracle_inference.at(
        *_problem(name), inference_references()[name].reml,
    )  # fmt: skip
    found, expected = payload(fit), oracle_inference.satterthwaite(point)
    for row in ([1.0, 0.0], [0.0, 1.0], [1.0, -2.0]):
        ours = np.einsum("i,mij,j->m", row, found.jacobian, row)
        theirs = np.einsum("i,mij,j->m", row, expected.jacobian, row)
        assert ours @ found.covariance @ ours == pytest.approx(theirs @ expected.cov @ theirs, rel=1e-7)


def _problem(name: str) -> tuple[oracle.Problem, Floats]:
    from tests.inference_references import problem_of

    return problem_of(name), dense_references()[name].theta


@pytest.mark.parametrize(
    ("each", "expected"),
    [([7.0], 7.0), ([5.0, 5.0 + 1e-10], 5.0), ([1.5, 40.0], 2.0), ([4.0, 4.0, 8.0], 2 * (4 + 4 / 3) / (4 + 4 / 3 - 3))],
)
def test_combined_degrees_of_freedom(each: list[float], expected: float) -> None:
    assert sw.combined_df(each) == pytest.approx(expected, rel=1e-9)


def test_rank() -> None:
    fit = fitted("cake_helmert")
    found, p = payload(fit), len(fit.beta)
    rows = np.eye(p)[1:4]
    once, more = (sw.f_test(found, fit.beta, given) for given in (rows, [*rows, rows[0] - rows[2]]))
    assert (more.rank, more.ndf) == (3, 3)
    assert more.f == pytest.approx(once.f, rel=1e-9)
    with pytest.raises(InferenceUnavailable) as caught:
        sw.f_test(found, fit.beta, [rows[0], 2.0 * rows[0]], [1.0, 1.0])
    assert (caught.value.reason_code, caught.value.rank) == ("contrast_rhs_inconsistent", 1)
    for verb in (sw.denominator_df, lambda found, row: sw.f_test(found, fit.beta, row)):
        with pytest.raises(InferenceUnavailable) as caught:
            verb(found, np.zeros(p))
        assert caught.value.reason_code == "contrast_rank_zero"


def test_refusals() -> None:
    stopped = fitted("sleepstudy_slopes").update(control=mf.control(max_evaluations=2))
    with pytest.raises(InferenceUnavailable) as caught:
        payload(stopped)
    assert caught.value.reason_code == "covariance_parameters_not_optimized"
    data = mf.datasets.load("sleepstudy").with_columns(again=pl.col("Subject"))
    twice = mf.lmm("Reaction ~ Days + (1 | Subject) + (1 | again)", data)
    with pytest.raises(InferenceUnavailable) as caught:
        payload(twice)
    assert caught.value.reason_code == "covariance_parameters_not_identifiable"
