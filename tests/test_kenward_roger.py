"""Kenward-Roger against the dense reference, pbkrtest, and explicit matrices of the size of the random effects."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixeff_fast as mf
from mixeff_fast.compile import model as model_module
from mixeff_fast.compile.plan import make_plan
from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit import engine as engine_module
from mixeff_fast.inference import kenward_roger as kr
from tests import oracle_inference
from tests.inference_references import (
    PUBLISHED,
    PUBLISHED_JOINT,
    PUBLISHED_TOLERANCE,
    dense_references,
    fitted,
    inference_references,
)
from tests.small_sample import BARS, LARGE, SETTINGS, bridged, close, estimates_at, well_conditioned
from tests.strategies import LAYOUTS, cases

Floats = NDArray[np.float64]

MODELS = tuple(inference_references())


def payload(fit: mf.LinearMixedModel) -> kr.KenwardRoger:
    return kr.kenward_roger(fit._engine, fit.result)


@pytest.mark.parametrize("layout", LAYOUTS)
@SETTINGS
@given(data=st.data())
def test_dense(layout: str, data: st.DataObject) -> None:
    """At any theta, on the boundary or not: the adjusted covariance, one row and several."""
    case = data.draw(cases(layouts=(layout,), aliased=None, weighted=None))
    made = bridged(case, data.draw(BARS))
    engine = made.engine()
    result = estimates_at(engine, engine.lam(made.to_model(case.theta)), case.reml)
    expected = oracle_inference.kenward_roger(oracle_inference.at(case.problem, made.to_problem(result.theta), case.reml))
    every = np.eye(len(expected.point.kept))
    # of few groups the formulas make what is no number of degrees of freedom
    assume(well_conditioned(expected.W) and all(2.1 < expected.test(own).ddf < 1e6 for own in (*every, every)))
    found = kr.kenward_roger(engine, result)
    kept = found.kept
    assert len(found.covariance) == len(expected.W)
    close(found.vcov[np.ix_(kept, kept)], expected.point.vcov, 1e-7)
    close(found.adjusted[np.ix_(kept, kept)], expected.adjusted, 1e-6)
    rows = np.eye(len(result.beta))[kept]
    for row, own in zip(rows, every, strict=True):
        theirs = expected.test(own)
        assert kr.denominator_df(found, row) == pytest.approx(theirs.ddf, rel=1e-6)
        assert kr.standard_error(found, row) == pytest.approx(theirs.se, rel=1e-6)
    theirs = expected.test(every)
    ours = kr.f_test(found, result.beta, rows)
    assert ours.ndf == ours.rank == theirs.ndf
    if len(kept) > 1:
        assert ours.f == pytest.approx(theirs.F, rel=1e-6, abs=1e-8)
        assert ours.scale == pytest.approx(theirs.scale, rel=1e-6)
    assert ours.ddf == pytest.approx(theirs.ddf, rel=1e-6)


@pytest.mark.parametrize("name", MODELS)
def test_references(name: str) -> None:
    """Coefficients, terms and contrasts: pbkrtest's (which holds nothing at the boundary), and the dense ones."""
    model, fit = inference_references()[name], fitted(name)
    found = payload(fit)
    for tested, dense in zip(model.tests, dense_references()[name].kenward_roger, strict=True):
        rows = model.to_all(tested.L)
        ours = kr.f_test(found, fit.beta, rows, tested.rhs)
        for theirs in (dense,) if model.singular else (dense, tested.kenward_roger):
            assert ours.ndf == theirs.ndf
            assert ours.ddf == pytest.approx(theirs.ddf, rel=1e-6)
            assert ours.f == pytest.approx(theirs.F, rel=1e-6, abs=1e-9)
            if len(rows) == 1:
                assert kr.denominator_df(found, rows[0]) == pytest.approx(theirs.ddf, rel=1e-6)
                assert kr.standard_error(found, rows[0]) == pytest.approx(theirs.se, rel=1e-6)
            else:
                assert ours.scale == pytest.approx(theirs.scale, rel=1e-6)


@pytest.mark.parametrize("published", [p for p in PUBLISHED if p.method == "kenward_roger"], ids=lambda p: f"{p.model}-{p.rhs}")
def test_published(published: Any) -> None:
    fit = fitted(published.model)
    found, row = payload(fit), np.array(published.L, float)
    se = kr.standard_error(found, row)
    assert row @ fit.beta == pytest.approx(published.estimate, rel=PUBLISHED_TOLERANCE["estimate"])
    assert se == pytest.approx(published.se, rel=PUBLISHED_TOLERANCE["se"])
    assert kr.denominator_df(found, row) == pytest.approx(published.ddf, rel=PUBLISHED_TOLERANCE["ddf"])
    t = (row @ fit.beta - published.rhs) / se
    assert t == pytest.approx(published.t, rel=PUBLISHED_TOLERANCE["t"])
    assert kr.f_test(found, fit.beta, row, published.rhs).f == pytest.approx(t * t, rel=1e-9)


def test_published_joint_test_is_scaled() -> None:
    fit = fitted("sleepstudy_slopes")
    joint = kr.f_test(payload(fit), fit.beta, np.eye(2))
    assert (joint.ndf, joint.scale) == (2, pytest.approx(PUBLISHED_JOINT.scale, rel=1e-9))
    assert joint.ddf == pytest.approx(PUBLISHED_JOINT.ddf, rel=1e-5)
    assert joint.f == pytest.approx(PUBLISHED_JOINT.F, rel=5e-5)
    assert joint.f / joint.scale == pytest.approx(PUBLISHED_JOINT.unscaled, rel=5e-5)


def explicit(fit: mf.LinearMixedModel, data: pl.DataFrame) -> tuple[Floats, Floats]:
    """``W`` and the adjusted covariance relative to sigma^2, with parameters the entries of the covariance matrices and the
    size of V, from ``B = Z'V^{-1}Z`` and ``C = Z'V^{-1}X`` in full."""
    n, X = len(data), np.column_stack([np.ones(len(data)), data["x"].to_numpy()])
    parts, roots, changes, start = [], [], [], 0
    names = [name.split(".", 1) for name in fit.theta_names]
    for group in dict.fromkeys(name[0] for name in names):
        theta = fit.theta[[name[0] == group for name in names]]
        width = 1 if len(theta) == 1 else 2
        codes = np.unique(data[group].to_numpy(), return_inverse=True)[1]
        levels = int(codes.max()) + 1
        part = np.zeros((n, levels, width))
        part[np.arange(n), codes] = X[:, :width]
        parts.append(part.reshape(n, -1))
        root = np.zeros((width, width))
        root[np.triu_indices(width)[::-1]] = theta
        roots += [root] * levels
        for i in range(width):
            for j in range(i + 1):
                unit = np.zeros((width, width))
                unit[i, j] = unit[j, i] = 1.0
                changes.append((start, levels, unit))
        start += levels * width
    Z = np.hstack(parts)
    big = np.zeros((start, start))
    place = 0
    for root in roots:
        big[place : place + len(root), place : place + len(root)] = root
        place += len(root)
    half = Z.T @ Z @ big
    middle = np.linalg.inv(big.T @ half + np.eye(start))
    B, C = Z.T @ Z - half @ middle @ half.T, Z.T @ X - half @ middle @ (big.T @ (Z.T @ X))
    phi = np.linalg.inv(X.T @ X - (X.T @ Z @ big) @ middle @ (big.T @ (Z.T @ X)))

    def moved(change: Any, matrix: Floats) -> Floats:
        out = np.zeros_like(matrix)
        first, levels, unit = change
        own = slice(first, first + levels * len(unit))
        out[own] = (unit @ matrix[own].reshape(levels, len(unit), -1)).reshape(levels * len(unit), -1)
        return out

    pushed, turned = [moved(each, C) for each in changes], [moved(each, B) for each in changes]
    m = len(changes) + 1
    P = np.array([-C.T @ each for each in pushed] + [-np.linalg.inv(phi)])
    Q, trace = np.zeros((m, m, 2, 2)), np.zeros((m, m))
    for r in range(m - 1):
        for s in range(m - 1):
            Q[r, s], trace[r, s] = pushed[r].T @ B @ pushed[s], np.sum(turned[r] * turned[s].T)
        trace[r, -1] = trace[-1, r] = np.trace(turned[r])
        Q[r, -1] = Q[-1, r] = -P[r]
    trace[-1, -1], Q[-1, -1] = n, np.linalg.inv(phi)
    inner = np.einsum("ij,rsji->rs", phi, Q)
    W = 2 * np.linalg.inv(trace - 2 * inner + np.einsum("ij,rjk,kl,sli->rs", phi, P, phi, P))
    total = np.einsum("rs,rsij->ij", W, Q) - np.einsum("rs,rij,jk,skl->il", W, P, phi, P)
    return phi, phi + 2 * phi @ total @ phi


@pytest.mark.parametrize("name", ["crossed", "nested", "overlapping"])
def test_explicit_matrices(name: str) -> None:
    formula, data = LARGE[name]()
    fit = mf.lmm(formula, data)
    phi, adjusted = explicit(fit, data)
    found = payload(fit)
    assert fit.fit_status == "converged_interior"
    np.testing.assert_allclose(found.vcov, phi * fit.sigma**2, rtol=1e-8)
    np.testing.assert_allclose(found.adjusted, adjusted * fit.sigma**2, rtol=1e-8)
    excess = found.root @ (found.inflation - np.eye(2)) @ found.root.T
    np.testing.assert_allclose(excess, (adjusted - phi) * fit.sigma**2, rtol=1e-6, atol=1e-10 * found.vcov.max())


def small(fit: mf.LinearMixedModel) -> bool:
    return bool(fit._engine.is_small)


@pytest.mark.parametrize("name", LARGE)
def test_stages_give_the_compiled_loops_numbers(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The staged evaluation, on any number of threads, and the one in compiled code where there is one."""
    spec = mf.compile_model(*LARGE[name]())
    fit = spec.fit(control=mf.control(threads=1))
    found = payload(fit)
    for threads in (2, 5):
        other = payload(spec.fit(control=mf.control(threads=threads)))
        assert other.adjusted.tobytes() == found.adjusted.tobytes()
        assert other.covariance.tobytes() == found.covariance.tobytes()
    monkeypatch.setattr(engine_module, "SMALL_FLOPS", 0.0 if small(fit) else np.inf)
    monkeypatch.setattr(engine_module, "SMALL_BLOCKS", np.inf)
    monkeypatch.setattr(engine_module, "SMALL_LANE_BLOCKS", np.inf)
    again = spec.fit()
    assert small(again) != small(fit) or spec.compiled.plan.supernodes is not None
    for value, expected in zip(payload(again).adjusted.ravel(), found.adjusted.ravel(), strict=True):
        assert value == pytest.approx(expected, rel=1e-8)


def test_a_sparse_trunk_gives_the_dense_ones_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    formula, data = LARGE["overlapping"]()
    found = []
    for trunk in ("dense", "sparse"):
        monkeypatch.setattr(model_module, "make_plan", partial(make_plan, trunk=trunk))
        fit = mf.lmm(formula, data)
        assert fit.spec.compiled.plan.trunk == trunk
        found.append(payload(fit))
    np.testing.assert_allclose(found[1].adjusted, found[0].adjusted, rtol=1e-8)
    for row in np.eye(2):
        assert kr.denominator_df(found[1], row) == pytest.approx(kr.denominator_df(found[0], row), rel=1e-6)


def test_units_and_order_of_rows_do_not_matter() -> None:
    data, formula = mf.datasets.load("sleepstudy"), "Reaction ~ Days + (Days | Subject)"
    base = mf.lmm(formula, data)
    changed = data.sample(fraction=1.0, shuffle=True, seed=1)
    other = mf.lmm(formula, changed.with_columns(pl.col("Days") * 1e4 + 3e4, pl.col("Reaction") * 1e-3))
    ours, theirs = payload(other), payload(base)
    for row in (np.array([1.0, 0.0]), np.array([0.0, 1.0]), np.array([1.0, 5.0])):
        moved = np.array([row[0], 3e4 * row[0] + 1e4 * row[1]])
        assert kr.denominator_df(ours, moved) == pytest.approx(kr.denominator_df(theirs, row), rel=1e-6)
        assert kr.standard_error(ours, moved) == pytest.approx(kr.standard_error(theirs, row) * 1e-3, rel=1e-6)


def test_a_row_that_follows_from_others_counts_once() -> None:
    fit = fitted("cake_helmert")
    found, p = payload(fit), len(fit.beta)
    rows = np.eye(p)[1:3]
    once = kr.f_test(found, fit.beta, rows, [1.0, 2.0])
    more = kr.f_test(found, fit.beta, [*rows, 1e6 * rows[0] - 3.0 * rows[1]], [1.0, 2.0, 1e6 - 6.0])
    assert (more.rank, more.ndf) == (2, 2)
    assert more.ddf == pytest.approx(once.ddf, rel=1e-9)
    assert more.f == pytest.approx(once.f, rel=1e-9)
    with pytest.raises(InferenceUnavailable) as caught:
        kr.f_test(found, fit.beta, [*rows, rows[0] + rows[1]], [1.0, 2.0, 4.0])
    assert caught.value.reason_code == "contrast_rhs_inconsistent"


def test_refusals() -> None:
    fit = fitted("sleepstudy_slopes")
    with pytest.raises(InferenceUnavailable) as caught:
        kr.kenward_roger(fit._engine, fit.result, memory_limit=100)
    assert caught.value.reason_code == "kenward_roger_memory_limit"
    assert caught.value.needed == 8 * 16 * 4
    for verb in (kr.denominator_df, kr.standard_error, lambda found, row: kr.f_test(found, fit.beta, row)):
        with pytest.raises(InferenceUnavailable) as caught:
            verb(payload(fit), np.zeros(2))
        assert caught.value.reason_code == "contrast_rank_zero"
    stopped = fit.update(control=mf.control(max_evaluations=2))
    with pytest.raises(InferenceUnavailable) as caught:
        payload(stopped)
    assert caught.value.reason_code == "covariance_parameters_not_optimized"


def test_degrees_of_freedom_that_are_none_are_refused() -> None:
    """Parameters so uncertain that what is corrected for them is more than what there is."""
    fit = fitted("sleepstudy_slopes")
    found = payload(fit)
    found = dataclasses.replace(found, covariance=20.0 * found.covariance)
    assert kr.denominator_df(found, [0, 1]) == pytest.approx(17 / 20, rel=1e-6)
    with pytest.raises(InferenceUnavailable) as caught:
        kr.f_test(found, fit.beta, np.eye(2))
    assert caught.value.reason_code == "kenward_roger_df_not_positive"
    assert caught.value.ddf < 0.0


def test_parameters_that_the_data_do_not_tell_apart_are_refused() -> None:
    data = mf.datasets.load("sleepstudy").with_columns(again=pl.col("Subject"))
    fit = mf.lmm("Reaction ~ Days + (1 | Subject) + (1 | again)", data)
    with pytest.raises(InferenceUnavailable) as caught:
        payload(fit)
    assert caught.value.reason_code in ("kenward_roger_information_singular", "covariance_parameters_not_identifiable")
