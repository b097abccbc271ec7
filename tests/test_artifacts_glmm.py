"""Artifacts of generalized linear mixed models: what they hold, and that numbers in them are the fit's."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.families import LINKS
from mixeff_fast.inference import gates
from mixeff_fast.kernels import pirls
from mixeff_fast.schemas.fit import FitArtifact
from tests.golden_models import labels

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")

PAIRS = [(family, link) for family, links in LINKS.items() for link in links if (family, link) != ("gaussian", "identity")]


@cache
def rows(n_groups: int = 20, size: int = 12, seed: int = 5) -> pl.DataFrame:
    """Responses of every family with means that every link has; a random intercept of standard deviation 0.2 in ``g``."""
    rng = np.random.default_rng(seed)
    n = n_groups * size
    g, x = np.repeat(np.arange(n_groups), size), rng.uniform(-1.0, 1.0, n)
    eta = 0.4 * x + 0.3 * rng.normal(size=n_groups)[g]
    mu = 4.0 + 1.2 * np.tanh(eta)
    tries = np.full(n, 12)
    return pl.DataFrame({
        "won": rng.binomial(tries, 0.4 + 0.2 * np.tanh(eta)), "tries": tries, "count": rng.poisson(mu),
        "over": rng.negative_binomial(3.0, 3.0 / (3.0 + mu)), "amount": rng.gamma(5.0, mu / 5.0), "late": rng.wald(mu, 30.0),
        "grown": mu + 0.5 * rng.normal(size=n), "x": x, "twice": 2.0 * x, "g": labels("g", g),
        "h": labels("h", np.arange(n) % 8),
    })


RESPONSES = {"binomial": "cbind(won, tries - won)", "poisson": "count", "negative_binomial": "over", "gamma": "amount",
             "inverse_gaussian": "late", "gaussian": "grown"}


@cache
def fit(family: str, link: str, terms: str = "x + (1 | g)", **how: Any) -> mf.GeneralizedLinearMixedModel:
    return mf.glmm(f"{RESPONSES[family]} ~ {terms}", rows(), mf.Family(family, link), **how)  # type: ignore[arg-type]


def without_modes() -> mf.GeneralizedLinearMixedModel:
    """What a fit is whose conditional modes are not found where its search ends."""
    model = fit("poisson", "log")
    result = model.result
    nowhere = replace(result.certificate, status="not_optimized", quality="failed", reason="the objective is not finite",
                      objective=math.inf, n_free=0, hessian_rank=0, newton_decrement=0.0, information=None)
    lost = replace(result, beta=np.full(2, np.nan), vcov=np.full((2, 2), np.nan), objective=math.inf,
                   effects=tuple(np.full_like(each, np.nan) for each in result.effects), vcov_route="working_hessian",
                   spherical=tuple(np.full_like(each, np.nan) for each in result.spherical), certificate=nowhere)
    return mf.GeneralizedLinearMixedModel(model.spec, model.control, model._engine, lost)


# ---- the model


@pytest.mark.parametrize(("family", "link"), PAIRS)
def test_every_family_and_link(family: str, link: str) -> None:
    model = fit(family, link)
    artifact = model.artifact
    found, parts = artifact.glmm, artifact.glmm.parts
    assert (found.family, found.link) == (family, link)
    assert (found.estimator, found.fixed_effects, found.approximation) == ("joint_laplace", "joint", "laplace")
    assert (found.n_agq, found.n_nodes, found.quadrature_size, parts.correction) == (1, 1, 1, None)
    assert found.response_constants == artifact.summary.response_constants == "included"
    assert found.curvature == ("fisher" if family in ("binomial", "poisson") else "observed")
    total = parts.deviance + parts.penalty + parts.logdet - 2.0 * parts.saturated
    assert total == pytest.approx(model.deviance, abs=1e-8)
    assert (found.parameter is None) == (model.family_parameter is None)
    if found.parameter is not None:
        assert (found.parameter.value, found.parameter.source) == (model.family_parameter, "estimated")
        assert found.parameter.log_std_error == model.result.parameter_error
    assert [row.estimate for row in artifact.fixed_effects.rows] == model.beta.tolist()
    assert [row.std_error for row in artifact.fixed_effects.rows] == model.std_error.tolist()
    assert np.array_equal(artifact.fixed_effect_covariance.matrix, model.vcov())
    assert FitArtifact.model_validate_json(artifact.model_dump_json()) == artifact


def test_the_summary_holds_the_numbers_of_the_fit() -> None:
    for family in RESPONSES:
        model = fit(family, LINKS[family][1])  # type: ignore[index]
        summary = model.artifact.summary
        for name in ("loglik", "aic", "bic", "deviance", "df_residual", "n_parameters", "formula"):
            assert getattr(summary, name) == getattr(model, name)
        assert (summary.criterion, summary.objective) == ("ML", model.result.objective)
        assert summary.sigma == (model.sigma if model.family.has_dispersion else None)
        assert list(summary.theta.items()) == list(zip(model.theta_names, model.theta.tolist(), strict=True))
        residuals = np.quantile(model.residuals("pearson", scaled=True), [0.0, 0.25, 0.5, 0.75, 1.0])
        assert summary.scaled_residuals == tuple(residuals.tolist())
        frame = model.varcorr()
        assert [(row.group, row.vcov, row.sdcor) for row in model.artifact.varcorr] == list(
            frame.select("grp", "vcov", "sdcor").iter_rows())


def test_a_parameter_that_is_known_is_told_as_such() -> None:
    model = mf.glmm("over ~ x + (1 | g)", rows(), mf.negative_binomial(theta=3.0))
    record = model.artifact.glmm.parameter
    assert (record.name, record.source, record.value, record.log_std_error) == ("theta", "known", 3.0, None)
    line = next(line for line in model.audit(full=True).lines if line.source == "/glmm/parameter")
    assert line.detail == "theta 3, known"
    assert "negative binomial, log link; theta 3, known" in str(model.summary())


def test_compiled_models_do_not_change_with_their_fit() -> None:
    model = fit("poisson", "log")
    before = mf.compile_model("count ~ x + (1 | g)", rows(), family="poisson").artifact
    assert model.artifact.compiled == before
    assert before.model_boundary.objective_approximation == "chosen_by_fit"


# ---- the certificate


def test_the_certificate_counts_covariance_parameters_apart_from_what_is_searched_with_them() -> None:
    model = fit("gamma", "log", "x + twice + (x | g)")
    space, record = model.artifact.certificate.parameter_space, model.optimizer_certificate()
    assert (space.n_theta, space.n_free + space.n_boundary, space.n_beside) == (3, 3, 3)
    assert record.hessian.expected_rank == record.hessian.rank == space.n_free + 3
    profiled = fit("gamma", "log", "x + (1 | g)", method="pirls_profiled").optimizer_certificate()
    space = profiled.parameter_space
    assert (space.n_free + space.n_boundary, space.n_beside) == (1, 1)
    assert fit("poisson", "log", "x + (1 | g)", method="pirls_profiled").optimizer_certificate().parameter_space.n_beside == 0
    held = fit("poisson", "log", "x + (1 | h)")
    assert (held.theta[0], held.optimizer_certificate().parameter_space.boundary_indices) == (0.0, (0,))
    assert held.artifact.glmm.held == ("h.(Intercept)",)


def test_the_conditional_modes_have_evidence_of_their_own() -> None:
    model = fit("binomial", "probit")
    inner = model.optimizer_certificate().inner
    assert inner.converged
    assert inner.newton_decrement == model.result.inner_decrement
    assert 0.0 <= inner.newton_decrement <= inner.tolerance == pirls.FLOOR
    work = model.artifact.glmm.inner
    assert (work.passes, work.factorizations, work.solves) == (
        model.result.passes, model.result.factorizations, model.result.solves)
    assert work.passes >= model.optimizer_certificate().stop.evaluations
    linear = mf.lmm("grown ~ x + (1 | g)", rows()).artifact
    assert (linear.glmm, linear.certificate.inner) == (None, None)
    assert linear.certificate.parameter_space.n_beside == 0


def test_modes_that_are_not_found_are_told() -> None:
    model = without_modes()
    artifact = model.artifact
    assert artifact.certificate.status == "not_optimized"
    assert not artifact.certificate.inner.converged
    assert artifact.certificate.inner.newton_decrement is None
    told = {d.code: d for d in artifact.diagnostics}
    assert (told["pirls_failure"].severity, told["pirls_failure"].payload) == ("error", {"reason": "no_conditional_modes"})
    assert told["optimizer_nonconvergence"].payload["reason"] == "objective_not_finite"
    assert artifact.summary.objective is None
    assert {row.estimate for row in artifact.fixed_effects.rows} == {None}
    assert artifact.fixed_effect_covariance.reason_code == gates.NOT_FINITE
    tags = {line.label: line.tag for line in model.audit(full=True).lines}
    assert tags["conditional modes"] == tags["verdict"] == "error"
    assert "not finite" in str(model.summary())


def test_derivatives_that_are_not_finite_are_unknown() -> None:
    model = without_modes()
    (cone,) = model.result.certificate.cones
    unknown = replace(cone, rank=0, null_minimum=math.nan, null_maximum=math.nan, satisfied=False)
    certificate = replace(model.result.certificate, cones=(unknown,), n_free=2)
    lost = mf.GeneralizedLinearMixedModel(model.spec, model.control, model._engine,
                                          replace(model.result, certificate=certificate))
    (record,) = lost.artifact.certificate.cones
    assert (record.null_minimum, record.null_maximum, record.classification) == (None, None, "invalid_boundary_stop")
    line = next(line for line in lost.audit(full=True).lines if line.label == "check of the derivatives off the boundary")
    assert (line.tag, line.detail) == ("error", "r0: unknown; passed: no")


# ---- inference


def test_profiled_fixed_effects_have_a_matrix_and_no_tests() -> None:
    model = fit("binomial", "logit", "x + (1 | g)", method="pirls_profiled")
    artifact = model.artifact
    assert (artifact.glmm.estimator, artifact.glmm.fixed_effects) == ("pirls_profiled", "profiled")
    record = artifact.fixed_effect_covariance
    assert (record.method, record.status, record.reliability) == ("pirls_profiled_working_hessian", "available", "low")
    for row, error in zip(artifact.fixed_effects.rows, model.std_error.tolist(), strict=True):
        assert (row.status, row.reason_code, row.method) == ("unsupported", gates.PROFILED, "not_computed")
        assert (row.std_error, row.p_value, row.statistic) == (error, None, None)
        assert row.reason
    text = str(model.summary())
    assert "fit by penalized deviance (fixed effects profiled; Laplace's approximation)" in text
    assert "no p-values: fixed effects that minimize the penalized deviance" in text
    assert "Pr(>|z|)" not in text


def test_no_tests_are_made_that_were_not_asked_for() -> None:
    model = fit("binomial", "logit", "x + (1 | g)", inference="none")
    assert model.artifact.glmm.inference == "none"
    assert {(row.status, row.reason_code) for row in model.artifact.fixed_effects.rows} == {
        ("not_assessed", gates.NOT_REQUESTED)}
    assert model.artifact.fixed_effect_covariance.status == "available"


@pytest.mark.parametrize("name", ["joint", "profiled", "none", "boundary", "stopped", "aliased"])
def test_rows_and_intervals_agree(name: str) -> None:
    how: dict[str, Any] = {"profiled": {"method": "pirls_profiled"}, "none": {"inference": "none"},
                           "stopped": {"control": mf.control(max_evaluations=1)}}.get(name, {})
    terms = {"boundary": "x + (1 | h)", "aliased": "x + twice + (1 | g)"}.get(name, "x + (1 | g)")
    model = fit("poisson", "log", terms, **how)
    told = model.confint(list(model.coef_names)).select("status", "reason_code").rows()
    assert [(row.status, row.reason_code) for row in model.artifact.fixed_effects.rows] == told


def test_parameters_at_zero_are_said_to_be_taken_as_known() -> None:
    model = fit("poisson", "log", "x + (1 | h)")
    assert {row.reliability_reason for row in model.artifact.fixed_effects.rows} == {gates.BOUNDARY_KNOWN}
    assert {row.status for row in model.artifact.fixed_effects.rows} == {"available"}
    assert "covariance parameters at zero are taken as known" in str(model.audit(full=True))


# ---- covariance


def test_directions_of_random_effects_are_on_the_scale_of_the_linear_predictor() -> None:
    model = fit("gamma", "log", "x + (x | g)")
    (effective,) = model.artifact.effective_covariance
    total = sum(each.eigenvalue for each in (*effective.directions, *effective.unsupported_directions))
    assert total == pytest.approx(model.varcorr().filter(pl.col("var2").is_null() & (pl.col("grp") == "g"))["vcov"].sum())


def test_a_smaller_model_is_fitted_by_the_same_estimator() -> None:
    rng = np.random.default_rng(1)
    g, x = np.repeat(np.arange(30), 8), rng.normal(size=240)
    y = rng.poisson(np.exp(1.0 + 0.3 * x + 0.6 * rng.normal(size=30)[g]))
    data = pl.DataFrame({"y": y, "x": x, "g": labels("g", g)})
    for method in ("joint_laplace", "pirls_profiled"):
        model = mf.glmm("y ~ x + (x | g)", data, "poisson", method=method)
        (effective,) = model.artifact.effective_covariance
        submodel = effective.interpretable_submodel
        assert submodel.formula == "y ~ 1 + x + (1 | g)"
        smaller = mf.glmm(submodel.formula, data, "poisson", method=method)
        assert submodel.objective_gap == pytest.approx(smaller.result.objective - model.result.objective, abs=1e-8)


def test_the_verbs_of_inspection_take_families() -> None:
    model = fit("negative_binomial", "sqrt", "x + (x | g)")
    assert model.parameterization().table["theta_value"].to_list() == model.theta.tolist()
    assert model.compare_covariance().table["theta_parameters"].to_list() == [3, 2, 1]
    assert model.random_options("g").table["design_status"].null_count() == 0
    assert model.changes().fit_status == model.fit_status
    assert model.explain_model().cards == model.spec.explain_model().cards
    record = model.reproducibility().record
    assert record["tolerance"] == model.control.tolerance
    assert (record["method"], record["n_agq"], record["inference"]) == ("joint_laplace", 1, "auto")
    assert "method" not in model.spec.reproducibility().record


# ---- versions


def test_artifacts_from_before_there_were_families_are_read() -> None:
    artifact = mf.lmm("grown ~ x + (1 | g)", rows()).artifact
    document = json.loads(artifact.model_dump_json())
    document["header"]["schema_version"] = "1.0.0"
    for place, name in ((document, "glmm"), (document["certificate"], "inner"),
                        (document["certificate"]["parameter_space"], "n_beside")):
        del place[name]
    again = FitArtifact.model_validate_json(json.dumps(document))
    assert again.model_copy(update={"header": artifact.header}) == artifact
    assert mf.negotiate(document["header"]).schema_version == "1.0.0"


def test_numbers_that_are_not_finite_are_none() -> None:
    model = without_modes()
    assert "NaN" not in model.artifact.model_dump_json()
    assert "Infinity" not in model.artifact.model_dump_json()
