"""Artifacts of compiled and fitted models: what they hold, when they are built, and that numbers in them are the fit's."""

from __future__ import annotations

import hashlib
import inspect
import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.fit import certificate
from mixeff_fast.fit.evidence import caller_set, certificate_findings, certificate_record
from mixeff_fast.models.artifacts import merged
from mixeff_fast.report.verdict import identifiability_level, verdict
from mixeff_fast.schemas.compiled import CompiledModelArtifact
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.fit import FitArtifact
from mixeff_fast.schemas.policy import Thresholds

SLEEP = "Reaction ~ Days + (Days | Subject)"


@pytest.fixture(scope="module")
def sleep() -> mf.LinearMixedModel:
    return mf.lmm(SLEEP, mf.datasets.load("sleepstudy"))


def crossed(n: int = 400, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 12, n), rng.integers(0, 30, n)
    x = rng.normal(size=n)
    y = 1.0 + x + rng.normal(size=12)[g] * (1.0 + x) + rng.normal(size=30)[h] + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "g": [f"g{k:02d}" for k in g], "h": [f"h{k:02d}" for k in h]})


# ---- when


def test_a_fit_does_not_build_what_no_one_asks_for() -> None:
    code = (
        "import sys, mixeff_fast as mf\n"
        "data = mf.datasets.load('sleepstudy')\n"
        f"fit = mf.lmm({SLEEP!r}, data)\n"
        "fit.beta, fit.varcorr(), fit.ranef(), fit.predict(), fit.fit_status, fit.is_singular(), fit.confint()\n"
        "assert 'pydantic' not in sys.modules and 'artifact' not in vars(fit)\n"
        "assert fit.spec._artifact is None\n"
        "assert fit.artifact is fit.artifact and 'pydantic' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_building_takes_milliseconds(sleep: mf.LinearMixedModel) -> None:
    repr(sleep)
    data = mf.datasets.load("sleepstudy")
    best = np.inf
    for _ in range(5):
        fit = mf.lmm(SLEEP, data)
        start = time.perf_counter()
        assert repr(fit)
        best = min(best, time.perf_counter() - start)
    assert best < 0.03


# ---- what


def test_the_fit_holds_its_compiled_model_and_the_hash_of_it(sleep: mf.LinearMixedModel) -> None:
    artifact = sleep.artifact
    assert artifact.compiled is sleep.spec.artifact
    assert artifact.compiled_sha256 == hashlib.sha256(sleep.spec.artifact.model_dump_json().encode()).hexdigest()
    stored = json.loads(artifact.model_dump_json())
    again = CompiledModelArtifact.model_validate_json(json.dumps(stored["compiled"]))
    assert hashlib.sha256(again.model_dump_json().encode()).hexdigest() == artifact.compiled_sha256
    assert FitArtifact.model_validate_json(artifact.model_dump_json()) == artifact


@pytest.mark.parametrize("reml", [True, False])
def test_the_summary_holds_the_numbers_of_the_fit(reml: bool) -> None:
    fit = mf.lmm(SLEEP, mf.datasets.load("sleepstudy"), reml=reml)
    summary = fit.artifact.summary
    assert summary.criterion == ("REML" if reml else "ML")
    for name in ("objective", "sigma"):
        assert getattr(summary, name) == getattr(fit.result, name)
    for name in ("loglik", "aic", "bic", "df_residual", "n_parameters", "formula"):
        assert getattr(summary, name) == getattr(fit, name)
    assert summary.deviance == (None if reml else fit.deviance)
    assert summary.n_rows == fit.nobs
    assert summary.n_levels == fit.ngrps
    assert list(summary.theta.items()) == list(zip(fit.theta_names, fit.theta.tolist(), strict=True))
    assert not summary.is_singular
    residuals = fit.residuals("pearson", scaled=True)
    assert summary.scaled_residuals == pytest.approx(np.quantile(residuals, [0, 0.25, 0.5, 0.75, 1]).tolist())


def test_rows_of_the_fixed_effects(sleep: mf.LinearMixedModel) -> None:
    for row, estimate, error in zip(sleep.artifact.fixed_effects.rows, sleep.beta, sleep.std_error, strict=True):
        assert (row.estimate, row.std_error, row.statistic) == (estimate, error, estimate / error)
        assert (row.kind, row.statistic_name, row.method, row.status) == ("coefficient", "z", "asymptotic_wald_z", "available")
        assert (row.reason_code, row.reason, row.reliability) == (None, "", "moderate")
        assert np.log(row.p_value) == pytest.approx(row.log_p_value, rel=1e-9)
    (first, second) = sleep.artifact.fixed_effect_covariance.matrix or ()
    assert np.array_equal([first, second], sleep.vcov())


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.RankNotice")
def test_an_aliased_column_costs_its_own_rows_only() -> None:
    data = crossed().with_columns(double=2.0 * pl.col("x"))
    fit = mf.lmm("y ~ x + double + (1 | g)", data)
    whole = mf.lmm("y ~ x + (1 | g)", data)
    rows = {row.label: row for row in fit.artifact.fixed_effects.rows}
    gone = rows["double"]
    assert (gone.status, gone.reason_code, gone.method) == ("not_estimable", "aliased_column", "not_computed")
    assert (gone.estimate, gone.std_error, gone.statistic, gone.p_value) == (None, None, None, None)
    assert gone.reason
    assert rows["x"].std_error == pytest.approx(whole.std_error[1])
    record = fit.artifact.fixed_effect_covariance
    assert (record.status, record.rank, record.expected_rank, record.aliased) == ("available", 2, 3, ("double",))
    assert record.matrix is not None
    assert record.matrix[2] == (None, None, None)
    assert [row[2] for row in record.matrix] == [None, None, None]
    assert np.array(record.matrix)[:2, :2].astype(float) == pytest.approx(whole.vcov())
    codes = [d.code for d in (*fit.artifact.compiled.diagnostics, *fit.artifact.diagnostics)]
    assert "fixed_effect_rank_deficient" in codes
    assert "fixed_effect_rank_deficient" not in [d.code for d in fit.artifact.diagnostics]
    assert fit.artifact.verdict.identifiability.level == "caution"
    assert fit.artifact.verdict.optimizer.level == "certified"


@pytest.mark.parametrize("intent", ["exploratory", "predictive"])
def test_intents_that_may_owe_the_model_to_the_data_give_no_p_values(sleep: mf.LinearMixedModel, intent: str) -> None:
    fit = mf.lmm(SLEEP, mf.datasets.load("sleepstudy"), intent=intent)
    for row, known in zip(fit.artifact.fixed_effects.rows, sleep.artifact.fixed_effects.rows, strict=True):
        assert (row.estimate, row.std_error) == (known.estimate, known.std_error)
        assert (row.status, row.method, row.reason_code) == ("p_value_unavailable", "not_computed", f"{intent}_intent")
        assert row.p_value is row.log_p_value is row.statistic is None
        assert row.reason
    text = str(fit.summary())
    assert "no p-values" in text
    assert "Pr(>|z|)" not in text


def test_random_terms_are_in_the_order_of_the_formula() -> None:
    fit = mf.lmm("y ~ x + (x | g) + (1 | h)", crossed())
    artifact = fit.artifact
    assert [block.term.group_name for block in fit.spec.compiled.blocks] == ["h", "g"]
    assert [(each.term_id, each.group) for each in artifact.effective_covariance] == [("r0", "g"), ("r1", "h")]
    assert [(cone.term_id, cone.group) for cone in artifact.certificate.cones] == [("r1", "h"), ("r0", "g")]
    assert [(term.id, term.group.name) for term in artifact.compiled.semantic_model.random_terms] == [("r0", "g"), ("r1", "h")]
    assert [(m.term_id, m.term_index, m.semantic_term_index) for m in artifact.compiled.theta_maps] == [
        ("r1", 0, 1), ("r0", 1, 0)]
    assert [card.term_id for card in artifact.compiled.random_term_cards] == ["r0", "r1"]
    assert [trace.theta_value for trace in artifact.parameter_traces] == fit.theta.tolist()
    assert [trace.theta_value for trace in artifact.compiled.parameter_traces] == [None] * 4


def test_the_compiled_artifact(sleep: mf.LinearMixedModel) -> None:
    artifact = sleep.spec.artifact
    assert artifact.requested_formula == SLEEP
    assert artifact.canonical_formula == "Reaction ~ 1 + Days + (1 + Days | Subject)"
    assert artifact.effective_formula is None
    assert artifact.effective_semantic_model is None
    assert artifact.coefficients == ("(Intercept)", "Days")
    assert artifact.model_boundary.objective_approximation == "exact_gaussian"
    assert artifact.compiler_policy.intent == artifact.reproducibility.intent == "confirmatory_as_specified"
    assert not artifact.compiler_policy.apply_design_time_reductions
    assert artifact.reproducibility.na_action == "error"
    assert artifact.reproducibility.rows_in_memory
    versions = artifact.reproducibility.package_versions
    assert versions["polars"] == pl.__version__
    assert versions["numpy"] == np.__version__
    assert versions["mixeff_fast"] == mf.__version__
    assert artifact.data.fingerprint.digest is not None
    assert [stage.stage for stage in artifact.model_state.stages] == ["requested", "semantic", "supported", "fitted"]
    assert artifact.model_state.stages[-1].status == "not_assessed"
    assert sleep.artifact.model_state.stages[-1].status == "fitted"
    assert artifact.random_term_cards[0].role_origin == "observed_from_data"
    declared = mf.compile_model(SLEEP, mf.datasets.load("sleepstudy"), roles={"Subject": "sampled_unit"}).artifact
    assert declared.random_term_cards[0].role_origin == "declared_by_user"


def test_a_model_reduced_at_design_time_keeps_what_was_asked_for() -> None:
    rng = np.random.default_rng(9)
    group, x = np.repeat(np.arange(6), 3), np.tile([-1.0, 0.0, 1.0], 6)
    y = 2.0 * rng.normal(size=6)[group] + x * (1.0 + rng.normal(size=6)[group]) + rng.normal(size=18)
    data = pl.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in group]})
    fit = mf.lmm("y ~ x + (1 + x | g)", data, intent="confirmatory_design_compiled")
    compiled = fit.artifact.compiled
    assert compiled.canonical_formula == "y ~ 1 + x + (1 + x | g)"
    assert compiled.effective_formula == fit.formula == "y ~ 1 + x + (1 + x || g)"
    assert compiled.effective_semantic_model is not None
    assert [term.covariance for term in compiled.effective_semantic_model.random_terms] == ["scalar", "scalar"]
    assert compiled.compiler_policy.apply_design_time_reductions
    assert next(r.trigger for r in fit.artifact.reductions) == "design_time"
    assert len(fit.artifact.effective_covariance) == 2
    assert "covariance_too_rich" in [d.code for d in compiled.diagnostics]
    assert "covariance_too_rich" not in fit.artifact.verdict.identifiability.findings
    assert all(row.status == "available" for row in fit.artifact.fixed_effects.rows)
    assert "Fitted: y ~ 1 + x + (1 + x || g)" in str(fit.summary())


def test_the_boundary_flag_does_not_depend_on_units() -> None:
    data = crossed()
    for change in ({}, {"y": pl.col("y") * 1e-9}, {"y": pl.col("y") * 1e9}):
        for row in mf.lmm("y ~ x + (x | g)", data.with_columns(**change)).artifact.varcorr:
            assert not row.boundary
    for scale in (1e-6, 1e6):
        with pytest.warns(mf.errors.ScalingNotice):
            fit = mf.lmm("y ~ x + (x | g)", data.with_columns(x=pl.col("x") * scale))
        assert not any(row.boundary for row in fit.artifact.varcorr)
    flat = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff2")).artifact.varcorr
    assert [(row.group, row.boundary) for row in flat] == [("Batch", True), ("Residual", False)]


# ---- evidence


def test_what_the_caller_set(sleep: mf.LinearMixedModel) -> None:
    assert sleep.artifact.certificate.caller_set == sleep.artifact.reproducibility.caller_set == ()
    control = mf.control(max_evaluations=77, tolerance=1e-6, start=[1.0, 0.0, 1.0])
    fit = mf.lmm(SLEEP, mf.datasets.load("sleepstudy"), control=control)
    assert caller_set(control) == fit.artifact.certificate.caller_set == ("max_evaluations", "tolerance", "start")
    record = fit.artifact.reproducibility
    assert (record.max_evaluations, record.tolerance, record.start) == (77, 1e-6, (1.0, 0.0, 1.0))
    assert fit.artifact.certificate.stop.max_evaluations == 77


def test_the_certificate_of_an_interior_optimum(sleep: mf.LinearMixedModel) -> None:
    record = sleep.optimizer_certificate()
    assert (record.status, record.quality) == ("converged_interior", "certified")
    assert record.stop.acceptable
    assert not record.stop.budget_exhausted
    space = record.parameter_space
    assert (space.n_theta, space.n_free, space.n_boundary, space.boundary_indices) == (3, 3, 0, ())
    assert record.sample_size.observations_per_theta == 60.0
    assert record.hessian.min_eigenvalue is not None
    assert record.hessian.min_eigenvalue > 0.0
    assert [check.check for check in record.checks] == ["free_gradient", "hessian_positive_on_face", "information_rank"]
    assert all(check.passed for check in record.checks)
    assert record.cones[0].classification == "interior_converged"
    checked = sleep.artifact.verdict
    assert (checked.optimizer.level, checked.identifiability.level) == ("certified", "ok")
    assert checked.optimizer.options == checked.identifiability.options == ()


def test_the_certificate_at_the_boundary() -> None:
    fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff2"))
    record = fit.optimizer_certificate()
    assert record.status == "converged_boundary"
    assert (record.parameter_space.n_free, record.parameter_space.n_boundary) == (0, 1)
    assert record.parameter_space.boundary_indices == (0,)
    (boundary,) = [check for check in record.checks if check.check == "boundary_gradient"]
    assert boundary.passed
    assert boundary.value == record.cones[0].null_minimum
    assert boundary.value > 0.0
    assert record.hessian.min_eigenvalue is None
    assert record.cones[0].classification == "valid_zero_variance"
    assert fit.artifact.parameter_traces[0].theta_status == "boundary"


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_a_search_that_ran_out() -> None:
    fit = mf.lmm(SLEEP, mf.datasets.load("sleepstudy"), control=mf.control(max_evaluations=2))
    record = fit.optimizer_certificate()
    assert (record.status, record.quality) == ("not_optimized", "failed")
    assert record.stop.budget_exhausted
    assert not record.stop.acceptable
    assert [check.passed for check in record.checks if check.check == "free_gradient"] == [False]
    (told,) = fit.artifact.diagnostics
    assert (told.code, told.severity, told.payload["reason"]) == (
        "optimizer_nonconvergence", "warning", "evaluation_limit_reached")
    assert told.payload["max_evaluations"] == 2
    checked = fit.artifact.verdict
    assert checked.optimizer.level == "failed"
    assert len(checked.optimizer.options) > 1
    assert checked.identifiability.level == "ok"
    assert {row.status for row in fit.artifact.fixed_effects.rows} == {"p_value_unavailable"}
    assert {row.reason_code for row in fit.artifact.fixed_effects.rows} == {"fit_not_optimized"}
    assert fit.artifact.fixed_effect_covariance.reliability == "low"
    assert "NOT CONVERGED" in str(fit.summary())


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
@pytest.mark.parametrize("groups", [0.0, 1.0])
@pytest.mark.parametrize("formula", ["y ~ x + (1 | g)", "y ~ x + (x | g)"])
def test_an_exact_fit_is_not_identifiable_and_no_setting_mends_it(groups: float, formula: str) -> None:
    g = np.repeat(np.arange(10), 6)
    x = np.random.default_rng(1).normal(size=60)
    data = pl.DataFrame({"y": groups * g + 2.0 * x, "x": x, "g": [f"g{k}" for k in g]})
    fit = mf.lmm(formula, data)
    assert fit.fit_status == "not_identifiable"
    artifact = fit.artifact
    assert artifact.effective_covariance[0].status == "not_assessed"
    told = [d for d in artifact.diagnostics if d.code == "not_identifiable"]
    assert [(d.severity, d.payload["reason"]) for d in told] == [("error", "exact_fit")]
    assert {(row.status, row.reason_code, row.p_value) for row in artifact.fixed_effects.rows} == {
        ("p_value_unavailable", "exact_fit", None)}
    matrix = artifact.fixed_effect_covariance
    assert (matrix.matrix, matrix.method, matrix.status) == (None, "unavailable", "unavailable")
    assert matrix.reason_code == "exact_fit"
    assert artifact.verdict.identifiability.level == "failed"
    assert artifact.verdict.optimizer.options == ()
    assert repr(fit)
    assert str(fit.summary())
    json.loads(artifact.model_dump_json(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_a_flat_direction_is_not_identifiable() -> None:
    fit = mf.lmm("Reaction ~ Days + (1 | Subject) + (Days | Subject)", mf.datasets.load("sleepstudy"))
    assert fit.fit_status == "not_identifiable"
    told = [d for d in fit.artifact.diagnostics if d.code == "not_identifiable"]
    assert [d.payload["reason"] for d in told] == ["flat_direction"]
    assert told[0].affected_terms == ("r0", "r1")
    ranks = [check for check in fit.optimizer_certificate().checks if check.check == "information_rank"]
    assert [(check.passed, check.rank < check.expected) for check in ranks] == [(False, True)]
    assert (fit.artifact.verdict.optimizer.level, fit.artifact.verdict.identifiability.level) == ("caution", "failed")


def test_a_fit_without_a_certificate_says_so(sleep: mf.LinearMixedModel) -> None:
    ready = sleep.spec.prepare()
    fit = ready.refit(mf.datasets.load("sleepstudy")["Reaction"], certify=False)
    artifact = fit.artifact
    assert artifact.certificate.checks == ()
    assert artifact.certificate.quality == "not_assessed"
    assert [d.code for d in artifact.diagnostics] == ["optimizer_not_assessed"]
    assert artifact.verdict.optimizer.level == "not_assessed"
    assert artifact.effective_covariance[0].status == "not_assessed"
    assert artifact.compiled.data.fingerprint == sleep.spec.artifact.data.fingerprint


def test_restarts_are_told(sleep: mf.LinearMixedModel) -> None:
    record = sleep.optimizer_certificate()
    assert list(certificate_findings(record, ("r0",))) == []
    again = record.model_copy(update={"stop": record.stop.model_copy(update={"restarts": 2})})
    (told,) = certificate_findings(again, ("r0",))
    assert (told.code, told.payload["restarts"]) == ("optimizer_recovery", 2)


def test_a_boundary_stop_that_is_no_optimum() -> None:
    fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff2"))
    evidence = fit.result.certificate
    wrong = replace(
        fit.result,
        certificate=replace(evidence, status="not_optimized", quality="failed",
                            cones=tuple(replace(cone, satisfied=False, null_minimum=-3.0) for cone in evidence.cones)),
    )
    record = certificate_record(fit.spec.compiled, wrong, fit.control, Thresholds())
    assert record.cones[0].classification == "invalid_boundary_stop"
    (told,) = certificate_findings(record, ("r0",))
    assert told.payload["reason"] == "invalid_boundary_stop"
    assert [check.passed for check in record.checks if check.check == "boundary_gradient"] == [False]


def test_a_point_with_no_finite_objective_around_it(sleep: mf.LinearMixedModel) -> None:
    lost = replace(sleep.result.certificate, status="not_optimized", quality="failed", n_free=0, n_boundary=3, hessian_rank=0,
                   gradient_norm=0.0, newton_decrement=0.0, objective=float("inf"))
    record = certificate_record(sleep.spec.compiled, replace(sleep.result, certificate=lost), sleep.control, Thresholds())
    assert record.objective is record.gradient.newton_decrement is record.hessian.min_eigenvalue is None
    assert record.checks == ()
    (told,) = certificate_findings(record, ("r0",))
    assert told.payload["reason"] == "objective_not_finite"


# ---- verdicts and findings


def finding(code: str, severity: str = "warning", **payload: Any) -> Finding:
    return Finding.model_validate({"code": code, "severity": severity, "stage": "design_audit", "payload": payload})


@pytest.mark.parametrize(
    ("told", "level"),
    [
        (finding("fixed_effect_rank_deficient"), "caution"),
        (finding("fixed_effect_empty_cell"), "caution"),
        (finding("random_slope_unsupported"), "caution"),
        (finding("covariance_too_rich"), "caution"),
        (finding("covariance_too_rich", "info"), "ok"),
        (finding("covariance_too_rich", row_saturated=True), "failed"),
        (finding("not_identifiable", "error"), "failed"),
        (finding("binomial_separation"), "failed"),
        (finding("boundary_parameter", "info"), "ok"),
        (finding("scope_note", "info"), "ok"),
    ],
)
def test_levels_of_identifiability(sleep: mf.LinearMixedModel, told: Finding, level: str) -> None:
    assert identifiability_level(told) == level
    found = verdict(sleep.optimizer_certificate(), [told], 1e-7)
    assert found.identifiability.level == level
    assert (told.code in found.identifiability.findings) == (level != "ok")
    assert found.optimizer.level == "certified"
    assert len(found.identifiability.options) != 1
    assert found.optimizer.options == ()


def test_a_structural_failure_takes_the_optimizers_options_away(sleep: mf.LinearMixedModel) -> None:
    record = sleep.optimizer_certificate().model_copy(update={"status": "not_optimized", "quality": "failed"})
    assert len(verdict(record, [], 1e-7).optimizer.options) > 1
    assert verdict(record, [finding("not_identifiable", "error")], 1e-7).optimizer.options == ()
    assert len(verdict(record, [finding("fixed_effect_rank_deficient")], 1e-7).optimizer.options) > 1


@pytest.mark.parametrize(("decrement", "level"), [(1e-12, "ok"), (1e-6, "caution")])
def test_levels_of_an_approximate_optimum(sleep: mf.LinearMixedModel, decrement: float, level: str) -> None:
    record = sleep.optimizer_certificate()
    gradient = record.gradient.model_copy(update={"newton_decrement": decrement})
    record = record.model_copy(update={"quality": "approximate", "gradient": gradient})
    assert verdict(record, [], 1e-7).optimizer.level == level


def test_thresholds_of_the_artifact_are_those_of_the_fit(sleep: mf.LinearMixedModel) -> None:
    thresholds = sleep.artifact.compiled.thresholds
    assert thresholds.certified_newton_decrement == certificate.CERTIFIED_DECREMENT
    assert thresholds.converged_newton_decrement == certificate.CONVERGED_DECREMENT
    assert thresholds.singular_relative_sd == inspect.signature(sleep.is_singular).parameters["tol"].default


def test_findings_are_told_once() -> None:
    one, other = finding("scope_note", "info", group="g"), finding("scope_note", "info", group="h")
    twice = finding("scope_note", "warning", group="g")
    assert merged([one, other, one, twice]) == (one, other)


def test_models_of_rows_that_are_not_in_memory() -> None:
    data = crossed().with_columns(double=2.0 * pl.col("x"))
    statistics = mf.sufficient_statistics("y ~ x + double + (x | g)", data)
    with pytest.warns(mf.errors.RankNotice):
        fit = statistics.fit()
    artifact = fit.artifact
    assert not artifact.compiled.reproducibility.rows_in_memory
    mark = artifact.compiled.data.fingerprint
    assert (mark.digest, mark.reason) == (None, "rows_not_in_memory")
    assert artifact.summary.scaled_residuals is None
    assert artifact.fixed_effect_covariance.aliased == ("double",)
    told = [d for d in artifact.diagnostics if d.code == "fixed_effect_rank_deficient"]
    assert [(d.stage, d.payload["aliased_columns"]) for d in told] == [("estimability", ["double"])]
    assert FitArtifact.model_validate_json(artifact.model_dump_json()) == artifact
    assert "the rows are not in memory" in str(fit.summary())
