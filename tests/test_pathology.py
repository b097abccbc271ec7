"""Data that models have trouble with: the verdict is one of those that may be given, and depends on nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import MixeffError
from tests.pathology import CORPUS, EASY, SEEDS, SLOPE, Pathology, blocks, slopes

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
FINE = ("certified", "ok")
FITTED = [case for case in CORPUS if case.statuses & {"converged_interior", "not_identifiable"}]
SEPARATION = "binomial_separation"


def attempt(case: Pathology, seed: int) -> tuple[str, Any]:
    """The verdict of the certificate and the fit, or the name of the error."""
    try:
        fit = case.fit(seed)
    except MixeffError as refusal:
        return type(refusal).__name__, None
    return fit.fit_status, fit


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("case", CORPUS, ids=lambda case: case.name)
def test_the_verdict_is_among_those_that_may_be_given(case: Pathology, seed: int) -> None:
    status, fit = attempt(case, seed)
    assert status in case.statuses
    if fit is None:
        return
    codes = set(fit.diagnostics()["code"])
    assert case.told <= codes
    assert not case.untold & codes
    assert fit.artifact.certificate.status == status
    verdict = fit.artifact.verdict
    assert status == "not_identifiable" or (verdict.optimizer.level in FINE) == status.startswith("converged")
    undetermined = status == "not_identifiable" or SEPARATION in codes
    assert (verdict.identifiability.level == "failed") == undetermined
    if SEPARATION in codes:
        assert not status.startswith("converged")
        assert {row.p_value for row in fit.artifact.fixed_effects.rows} == {None}
    if undetermined:
        assert verdict.optimizer.options == ()


@pytest.mark.parametrize("case", FITTED, ids=lambda case: case.name)
def test_the_certificate_is_the_same_each_time_whatever_the_state_of_random_numbers(case: Pathology) -> None:
    np.random.seed(1)  # noqa: NPY002
    one = case.fit(SEEDS[0]).artifact
    np.random.seed(2)  # noqa: NPY002
    two = case.fit(SEEDS[0]).artifact
    assert one.certificate == two.certificate
    assert one.diagnostics == two.diagnostics
    assert one.verdict == two.verdict


@pytest.mark.parametrize("seed", SEEDS)
def test_a_predictor_in_other_units_scales_its_coefficients_and_leaves_the_evidence(seed: int) -> None:
    one = mf.lmm(SLOPE, slopes([6] * 30, EASY, seed))
    two = mf.lmm(SLOPE, slopes([6] * 30, EASY, seed, scale=1e3))
    np.testing.assert_allclose(two.beta * [1.0, 1e3], one.beta, rtol=1e-8)
    np.testing.assert_allclose(two.std_error * [1.0, 1e3], one.std_error, rtol=1e-7)
    np.testing.assert_allclose(two.theta * [1.0, 1e3, 1e3], one.theta, rtol=1e-6)
    np.testing.assert_allclose(two.fitted, one.fitted, rtol=1e-7)
    first, second = one.optimizer_certificate(), two.optimizer_certificate()
    assert second.hessian.condition_number == pytest.approx(first.hessian.condition_number, rel=1e-2)
    assert [t.information_budget.status for t in one.spec.artifact.design_audit.random_terms] == [
        t.information_budget.status for t in two.spec.artifact.design_audit.random_terms
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_blocks_that_no_row_connects_are_counted(seed: int) -> None:
    spec = mf.compile_model("y ~ 1 + (1 | g) + (1 | h)", blocks(seed))
    assert spec.artifact.design_audit.components == 4
    told = [d for d in spec.artifact.diagnostics if d.code == "disconnected_design"]
    assert [(d.payload["n_components"], sorted(d.payload["factors"])) for d in told] == [(4, ["g", "h"])]


def test_a_collinear_predictor_is_left_out_of_the_fit_and_named() -> None:
    case = next(case for case in CORPUS if case.name == "collinear_fe_rho_one")
    data = case.make(SEEDS[0])
    fit = mf.lmm(case.formula, data)
    without = mf.lmm("y ~ 1 + x1 + (1 | g)", data)
    assert np.isnan(fit.beta[2])
    np.testing.assert_allclose(fit.beta[:2], without.beta, rtol=1e-10)
    assert fit.spec.artifact.design_audit.fixed_effects.aliased_columns == ("x2",)


@pytest.mark.parametrize("seed", SEEDS)
def test_one_stressor_each(seed: int) -> None:
    """What is easy gives rise to no warning: what a pathology warns of is its own."""
    easy = next(case for case in CORPUS if case.name == "easy")
    assert mf.lmm(easy.formula, easy.make(seed)).diagnostics(severity="warning").height == 0
    assert mf.lmm(easy.formula, easy.make(seed)).diagnostics(severity="error").height == 0
