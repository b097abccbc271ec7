"""Verdicts on models whose verdict is known: fields, not wording."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import DataError, FitError, NotIdentifiable
from tests.golden_models import GOLDEN, categorical, golden_fit, golden_spec

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")

# diagnostics of the compiled model and of its fit by severity, those of severity info left out where they only say how the
# formula was read
TOLD: dict[str, dict[str, set[str]]] = {
    "penicillin": {"info": {"covariance_assumption"}},
    "nested_intercepts": {},
    "sleepstudy": {},
    "singular_prefit": {"warning": {"covariance_too_rich"}, "info": {"covariance_reduced"}},
    "design_compiled": {"warning": {"covariance_too_rich"}, "info": {"boundary_parameter"}},
    "rank_mixture": {"info": {"covariance_reduced"}},
    "intercept_dominant": {"info": {"covariance_reduced"}},
    "categorical_random_basis": {"info": {"covariance_reduced"}},
    "confounded_fixed_random": {"error": {"not_identifiable"}, "info": {"support_note"},
                                "warning": {"design_weak_identifiability", "fixed_random_redundant"}},
    "rank_deficient": {"warning": {"fixed_effect_rank_deficient", "random_effect_few_levels"}, "info": {"scope_note"}},
    "pedagogical": {"error": {"not_identifiable"}, "info": {"covariance_assumption", "scope_note", "structural_refusal"},
                    "warning": {"design_weak_identifiability", "random_effect_few_levels", "random_slope_unsupported"}},
    "nested_constant_response": {"error": {"not_identifiable"}, "warning": {"random_effect_few_levels"},
                                 "info": {"scope_note", "support_note"}},
    "nested_constant_response_slash": {"error": {"not_identifiable"}, "warning": {"random_effect_few_levels"},
                                       "info": {"scope_note", "support_note"}},
    "constant_response_area": {"warning": {"random_effect_few_levels"}, "info": {"scope_note"}},
    "boundary": {"info": {"boundary_parameter", "support_note"}},
    "interior_scalar": {"info": {"support_note"}},
    "exploratory": {},
    "cbpp": {"info": {"separation_check_skipped"}},
    "separated": {"warning": {"binomial_separation"}, "info": {"scope_note"}},
    "both_outcomes": {"info": {"separation_check_skipped", "scope_note"}},
    "without_the_column": {"info": {"separation_check_skipped", "scope_note"}},
    "gamma_near_zero": {"info": {"boundary_parameter", "scope_note"}},
    "one_level_per_row": {"info": {"observation_level_effect", "scope_note"}},
    "negative_binomial": {"info": {"covariance_reduced"}},
    "exploratory_family": {"info": {"scope_note"}},
}
READING = {"formula_canonicalized", "syntax_expansion"}


def found(model: Any, code: str) -> list[Any]:
    """The diagnostics of that code, of the model and of its fit."""
    artifact = model.artifact
    both = [*artifact.diagnostics, *getattr(getattr(artifact, "compiled", None), "diagnostics", ())]
    return [d for d in both if d.code == code]


def budgets(name: str) -> dict[str, Any]:
    audit = golden_spec(name).artifact.design_audit
    return {term.term_id: term.information_budget for term in audit.random_terms}


def stages(artifact: Any) -> dict[str, str]:
    return {stage.stage: stage.status for stage in artifact.model_state.stages}


def tags(name: str) -> set[str]:
    return {line.tag for line in golden_spec(name).audit(full=True).lines}


@pytest.mark.parametrize("name", GOLDEN)
def test_what_is_told_of_each_model(name: str) -> None:
    table = golden_fit(name).diagnostics().filter(~pl.col("code").is_in(list(READING)))
    told = {severity: set(table.filter(severity=severity)["code"]) for severity in set(table["severity"])}
    assert told == TOLD[name]
    undetermined = "error" in told or "binomial_separation" in told.get("warning", ())
    assert (golden_fit(name).artifact.verdict.identifiability.level == "failed") == undetermined


def test_crossed_intercepts() -> None:
    assert {b.status for b in budgets("penicillin").values()} == {"sufficient"}
    notes = found(golden_spec("penicillin"), "covariance_assumption")
    assert [d.severity for d in notes] == ["info"]
    assert notes[0].payload["correlation_parameter"] == "not_estimated"
    assert set(notes[0].payload["groups"]) == {"plate", "sample"}
    explained = golden_spec("penicillin").explain_model()
    assert [card.canonical_fragment for card in explained.cards] == ["(1 | plate)", "(1 | sample)"]
    assert explained.cross_card_constraints == ()


def test_nested_intercepts_have_no_note_on_their_correlation() -> None:
    assert found(golden_spec("nested_intercepts"), "covariance_assumption") == []
    assert found(golden_spec("nested_intercepts"), "repeated_unit_unmodeled") == []


def test_a_design_that_supports_its_model_is_in_order() -> None:
    spec = golden_spec("sleepstudy")
    assert tags("sleepstudy") <= {"ok", "info", "not_assessed"}
    assert budgets("sleepstudy")["r0"].status == "sufficient"
    artifact = spec.artifact
    assert [len(m.theta_slots) for m in artifact.theta_maps] == [3]
    assert [t.matches_theta_map for t in artifact.parameter_traces] == [True] * 3
    assert stages(artifact) == {"requested": "requested", "semantic": "canonical", "supported": "supported",
                                "fitted": "not_assessed"}
    assert artifact.policy_recommendations == ()
    assert [s.status for s in artifact.model_state.stages][-1] == "not_assessed"
    fitted = golden_fit("sleepstudy").artifact
    assert stages(fitted)["fitted"] == "fitted"
    assert fitted.certificate.status == "converged_interior"
    assert fitted.compiled.model_state == artifact.model_state


def test_thirty_six_covariance_parameters_on_ten_levels() -> None:
    budget = budgets("singular_prefit")["r0"]
    assert (budget.requested_covariance_parameters, budget.basis_dimension, budget.n_levels) == (36, 8, 10)
    assert (budget.status, budget.min_levels_full_covariance) == ("too_rich", 17)
    artifact = golden_spec("singular_prefit").artifact
    assert [r.action for r in artifact.policy_recommendations] == ["refuse_random_term_distribution"]
    assert stages(artifact)["supported"] == "refused"
    assert [d.severity for d in found(golden_spec("singular_prefit"), "covariance_too_rich")] == ["warning"]
    golden = GOLDEN["singular_prefit"]
    with pytest.raises(NotIdentifiable) as refused:
        mf.compile_model(golden.formula, golden.make(), intent="confirmatory_design_compiled")
    assert refused.value.reason_code == "design_refusal"


def test_a_model_made_as_small_as_its_design() -> None:
    artifact = golden_spec("design_compiled").artifact
    assert artifact.requested_formula == "y ~ x + (1 + x | group)"
    assert artifact.canonical_formula == "y ~ 1 + x + (1 + x | group)"
    assert artifact.effective_formula == "y ~ 1 + x + (1 + x || group)"
    assert [(r.trigger, r.affected_term, r.requested, r.replacement_term) for r in artifact.reductions] == [
        ("design_time", "r0", "(1 + x | group)", "(1 + x || group)")
    ]
    assert stages(artifact)["supported"] == "reduced"
    assert [t.covariance for t in artifact.semantic_model.random_terms] == ["full"]
    assert golden_fit("design_compiled").theta_names == ("group.(Intercept)", "group.x")


def test_a_covariance_of_rank_one_is_a_result_and_no_failure() -> None:
    fit = golden_fit("rank_mixture")
    artifact = fit.artifact
    assert fit.fit_status == "converged_reduced_rank"
    effective = artifact.effective_covariance[0]
    assert (effective.requested_rank, effective.supported_rank, effective.status) == (2, 1, "reduced_rank")
    loadings = {entry.basis: abs(entry.loading) for entry in effective.directions[0].loadings}
    assert loadings == pytest.approx({"(Intercept)": 0.919, "x": 0.394}, abs=0.05)
    assert len(effective.unsupported_directions) == 1
    assert effective.interpretable_submodel is None
    assert artifact.verdict.optimizer.level in ("certified", "ok")
    assert artifact.verdict.identifiability.level != "failed"
    assert [d.severity for d in found(fit, "covariance_reduced")] == ["info"]
    assert [t.supported_rank for t in artifact.covariance_transitions] == [1]
    assert found(fit, "optimizer_nonconvergence") == []
    assert stages(artifact)["fitted"] == "reduced"


def test_an_intercept_that_is_all_there_is_names_the_smaller_model() -> None:
    fit = golden_fit("intercept_dominant")
    submodel = fit.artifact.effective_covariance[0].interpretable_submodel
    assert submodel is not None
    assert "(1 | group)" in submodel.formula
    assert submodel.dominant_basis == "(Intercept)"
    assert submodel.dominant_loading > 0.95
    assert submodel.within_tolerance
    smaller = mf.lmm(submodel.formula, GOLDEN["intercept_dominant"].make())
    assert smaller.result.objective - fit.result.objective == pytest.approx(submodel.objective_gap, abs=1e-6)


def test_a_factor_that_varies_is_expanded_and_may_saturate_the_rows() -> None:
    notes = found(golden_spec("categorical_random_basis"), "formula_canonicalized")
    expanded = [d.payload for d in notes if d.payload.get("expanded_basis")]
    assert [p["expanded_basis"] for p in expanded] == [["conditionc01", "conditionc02"]]
    saturated = mf.compile_model(GOLDEN["categorical_random_basis"].formula, categorical(3))
    budget = saturated.artifact.design_audit.random_terms[0].information_budget
    assert budget.status == "too_rich"
    assert budget.row_saturated
    rich = found(saturated, "covariance_too_rich")
    assert [(d.severity, d.payload["row_saturated"]) for d in rich] == [("warning", True)]
    with pytest.raises(NotIdentifiable) as refused:
        saturated.fit()
    assert (refused.value.n_random_effects, refused.value.nobs) == (120, 120)


def test_a_factor_that_is_fixed_and_random() -> None:
    spec = golden_spec("confounded_fixed_random")
    redundant = found(spec, "fixed_random_redundant")
    assert [(d.severity, d.payload["group"]) for d in redundant] == [("warning", "subject")]
    weak = found(spec, "design_weak_identifiability")
    assert [d.payload["group"] for d in weak] == ["subject"]
    assert weak[0].payload["projection_residual_rel"] <= weak[0].payload["tolerance"]
    fit = golden_fit("confounded_fixed_random")
    assert fit.fit_status == "not_identifiable"
    assert fit.artifact.verdict.identifiability.level == "failed"


def test_rank_deficiency_is_no_failure_of_the_optimizer() -> None:
    spec, fit = golden_spec("rank_deficient"), golden_fit("rank_deficient")
    rank = spec.artifact.design_audit.fixed_effects.rank
    assert (rank.rank, rank.expected, rank.status) == (2, 3, "rank_deficient")
    notes = found(spec, "fixed_effect_rank_deficient")
    assert {d.stage for d in notes} == {"design_audit", "estimability"}
    assert {t.term: t.status for t in spec.artifact.design_audit.fixed_effects.terms}["x2"] == "not_estimable"
    assert fit.artifact.verdict.optimizer.level in ("certified", "ok")
    rows = {row.label: row for row in fit.artifact.fixed_effects.rows}
    assert (rows["x2"].status, rows["x2"].reason_code, rows["x2"].estimate) == ("not_estimable", "aliased_column", None)
    assert rows["x"].status == "available"
    assert rows["x"].std_error is not None


def test_eight_rows_and_six_terms() -> None:
    spec = golden_spec("pedagogical")
    codes = {d.code for d in spec.artifact.diagnostics}
    assert {"syntax_expansion", "covariance_assumption", "random_effect_few_levels", "structural_refusal"} <= codes
    assert len(spec.artifact.semantic_model.random_terms) == 6
    kinds = {d.payload.get("expansion_kind") for d in found(spec, "syntax_expansion")}
    assert kinds == {"double_bar", "nested"}
    reasons = {d.payload["reason"] for d in found(spec, "covariance_assumption")}
    assert {"double_bar_syntax", "crossed_intercepts"} <= reasons
    refused = found(spec, "structural_refusal")
    assert [(d.payload["group"], d.payload["basis"]) for d in refused] == [("e", "x")]
    pairs = [set(d.payload.get("groups", ())) for d in found(spec, "covariance_assumption")]
    assert not any({"c", "c:d"} <= pair for pair in pairs)
    # (0 + t | a) has a sibling with an intercept
    assert found(spec, "random_slope_without_intercept") == []


@pytest.mark.parametrize("name", ["nested_constant_response", "nested_constant_response_slash"])
def test_a_response_that_is_constant_within_groups_is_known_before_the_fit(name: str) -> None:
    told = found(golden_spec(name), "not_identifiable")
    assert [(d.severity, d.stage) for d in told] == [("error", "design_audit")]
    payload = told[0].payload
    assert (payload["group"], payload["constant_response_levels"], payload["repeated_levels"]) == ("studyarea:pair", 12, 12)
    assert payload["varying_numeric_columns"] == ["spm"]
    verdict = golden_fit(name).artifact.verdict
    assert verdict.identifiability.level == "failed"
    assert verdict.optimizer.options == ()
    assert len(told[0].options) > 1


def test_the_same_model_written_with_a_slash_is_the_same() -> None:
    one, two = (golden_spec(n).artifact for n in ("nested_constant_response", "nested_constant_response_slash"))
    assert one.canonical_formula == two.canonical_formula
    assert one.design_audit == two.design_audit
    assert golden_fit("nested_constant_response").fit_status == golden_fit("nested_constant_response_slash").fit_status


def test_the_simpler_model_of_the_same_rows_converges() -> None:
    assert golden_fit("constant_response_area").fit_status in ("converged_interior", "converged_boundary")
    assert found(golden_spec("constant_response_area"), "not_identifiable") == []


@pytest.mark.parametrize("name", ["sleepstudy", "penicillin", "boundary", "rank_deficient", "exploratory"])
def test_each_fixed_effect_is_available_or_says_why_not(name: str) -> None:
    for row in golden_fit(name).artifact.fixed_effects.rows:
        assert (row.status == "available") == (row.reason_code is None)
        assert (row.p_value is not None) == (row.status == "available")
        assert (row.std_error is not None) == (row.status in ("available", "p_value_unavailable"))


def test_an_exploratory_model_has_standard_errors_and_no_p_values() -> None:
    rows = golden_fit("exploratory").artifact.fixed_effects.rows
    confirmatory = golden_fit("sleepstudy").artifact.fixed_effects.rows
    assert {row.status for row in rows} == {"p_value_unavailable"}
    assert [row.std_error for row in rows] == [row.std_error for row in confirmatory]


def test_a_bad_start_is_left_for_the_optimum() -> None:
    data = mf.datasets.load("sleepstudy")
    formula = "Reaction ~ Days + (1 | Subject)"
    fit = mf.lmm(formula, data, control=mf.control(start=[0.0]))
    assert fit.fit_status == "converged_interior"
    assert fit.result.objective == pytest.approx(mf.lmm(formula, data).result.objective, abs=1e-8)
    assert "start" in fit.artifact.reproducibility.caller_set
    assert fit.artifact.reproducibility.start == (0.0,)


# ---- with a family


def test_a_binomial_model_and_what_it_rests_on() -> None:
    fit = golden_fit("cbpp")
    compiled, artifact = golden_spec("cbpp").artifact, fit.artifact
    boundary = compiled.model_boundary
    assert (boundary.model_kind, boundary.response_distribution, boundary.link) == (
        "generalized_linear_mixed_model", "binomial", "logit")
    assert (boundary.objective_approximation, boundary.optimizer_certificate_scope) == (
        "chosen_by_fit", "approximated_objective")
    assert artifact.glmm.approximation == "laplace"
    assert artifact.summary.objective == pytest.approx(184.05256, abs=1e-4)
    assert {(row.method, row.status, row.reliability) for row in artifact.fixed_effects.rows} == {
        ("asymptotic_wald_z", "available", "moderate")}
    assert artifact.fixed_effect_covariance.method == "joint_laplace_observed_information"
    assert artifact.verdict.optimizer.level == "certified"


def test_a_column_that_tells_the_outcomes_apart_is_named() -> None:
    fit = golden_fit("separated")
    (told,) = found(fit, "binomial_separation")
    assert (told.payload["separation_kind"], told.payload["column"]) == ("quasi_complete_fixed_effect", "x2")
    assert (told.payload["value"], told.payload["n_at_value"]) == (1.0, 1)
    assert len(told.options) > 1
    assert np.isfinite(fit.beta).all()
    assert fit.beta[2] < -5.0
    assert not fit.fit_status.startswith("converged")
    assert fit.artifact.verdict.optimizer.options == ()
    assert {(row.status, row.reason_code, row.p_value) for row in fit.artifact.fixed_effects.rows} == {
        ("not_assessed", "binomial_separation", None)}
    assert fit.artifact.fixed_effect_covariance.reason_code == "binomial_separation"


@pytest.mark.parametrize("name", ["both_outcomes", "without_the_column"])
def test_outcomes_that_overlap_are_not_separated(name: str) -> None:
    fit = golden_fit(name)
    assert found(fit, "binomial_separation") == []
    assert fit.fit_status == "converged_interior"
    assert {row.status for row in fit.artifact.fixed_effects.rows} == {"available"}


def test_a_variance_near_zero_beside_a_dispersion() -> None:
    fit = golden_fit("gamma_near_zero")
    assert fit.fit_status == "converged_boundary"
    assert fit.artifact.glmm.held == fit.theta_names
    assert {row.reliability_reason for row in fit.artifact.fixed_effects.rows} == {"boundary_parameters_taken_as_known"}
    assert fit.artifact.glmm.parameter.value == fit.family_parameter
    assert [row.group for row in fit.artifact.varcorr] == ["g", "Residual"]
    lines = [line for line in fit.audit(full=True).lines if line.label == "parameters at zero"]
    assert [line.data["held"] for line in lines] == [list(fit.theta_names)]


def test_one_level_per_row_describes_overdispersion() -> None:
    assert [d.severity for d in found(golden_spec("one_level_per_row"), "observation_level_effect")] == ["info"]
    assert golden_fit("one_level_per_row").fit_status == "converged_interior"
    golden = GOLDEN["one_level_per_row"]
    beside = mf.compile_model(golden.formula, golden.make(), family="negative_binomial")
    assert [d.severity for d in found(beside, "observation_level_effect")] == ["warning"]


def test_an_exploratory_family_has_standard_errors_and_no_p_values() -> None:
    rows = golden_fit("exploratory_family").artifact.fixed_effects.rows
    assert {(row.status, row.reason_code) for row in rows} == {("p_value_unavailable", "exploratory_intent")}
    assert [row.std_error for row in rows] == golden_fit("exploratory_family").std_error.tolist()


def test_a_bad_start_of_a_family_is_left_for_the_optimum() -> None:
    golden = GOLDEN["negative_binomial"]
    spec = mf.compile_model("y ~ x + (1 | g)", golden.make(), family="poisson")
    fit = spec.fit(control=mf.control(start=[0.0]))
    assert fit.fit_status == "converged_interior"
    assert fit.result.objective == pytest.approx(spec.fit().result.objective, abs=1e-8)


@pytest.mark.parametrize("wrapper", ["cs", "ar1"])
def test_structures_that_are_read_and_not_fitted(wrapper: str) -> None:
    with pytest.raises(FitError) as refused:
        mf.compile_model(f"Reaction ~ Days + {wrapper}(1 + Days | Subject)", mf.datasets.load("sleepstudy"))
    assert refused.value.reason_code == "unsupported"


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"y": [], "g": []}, DataError),
        ({"y": [1.0], "g": ["a"]}, NotIdentifiable),
        ({"y": [1.0, 2.0, 4.0], "g": ["a", "b", "c"]}, NotIdentifiable),
        ({"y": [1.0, 2.0, 4.0], "g": ["a", "a", "a"]}, NotIdentifiable),
    ],
    ids=["no rows", "one row", "one row per level", "one level"],
)
def test_data_that_no_model_can_be_fitted_to(data: dict[str, list[Any]], error: type[Exception]) -> None:
    frame = pl.DataFrame(data, schema={"y": pl.Float64, "g": pl.String})
    with pytest.raises(error):
        mf.compile_model("y ~ 1 + (1 | g)", frame)


def test_a_boundary_is_a_result() -> None:
    fit = golden_fit("boundary")
    assert fit.fit_status == "converged_boundary"
    assert fit.artifact.verdict.optimizer.level == "certified"
    assert [d.severity for d in found(fit, "boundary_parameter")] == ["info"]
    assert [row.boundary for row in fit.artifact.varcorr] == [True, False]


def test_inner_labels_that_repeat_are_no_unit_of_their_own() -> None:
    """Persons are labelled anew in each firm: with firm:person in the model, nothing is missing."""
    spec = golden_spec("nested_intercepts")
    nested = {(n.inner, n.outer, n.labels_reused) for n in spec.artifact.design_audit.covariance_kernels.nesting}
    assert ("person", "firm", True) in nested
    assert [p.unit for p in spec.artifact.design_audit.covariance_kernels.missing_dependence_paths] == []


def test_a_unit_that_no_term_covers_is_found_in_the_whole_frame() -> None:
    data = GOLDEN["nested_intercepts"].make().with_columns(worker=pl.concat_str("firm", "person"))
    spec = mf.compile_model("y ~ 1 + (1 | firm)", data.drop("person"))
    missing = spec.artifact.design_audit.covariance_kernels.missing_dependence_paths
    assert [(p.unit, p.n_levels, p.random_term) for p in missing] == [("worker", 40, "(1 | worker)")]
    assert [d.payload["unit"] for d in found(spec, "repeated_unit_unmodeled")] == ["worker"]
    unseen = mf.compile_model("y ~ 1 + (1 | firm)", data.drop("person"), audit_columns=[])
    assert found(unseen, "repeated_unit_unmodeled") == []


def test_a_budget_counts_rows_per_level() -> None:
    """Ten levels with forty rows each tell an intercept and a slope; the same levels with three rows each do not as well."""
    rng = np.random.default_rng(1)

    def error(rows: int) -> tuple[str, float]:
        g = np.repeat(np.arange(10), rows)
        data = pl.DataFrame({"y": rng.normal(size=10 * rows), "x": rng.normal(size=10 * rows), "g": g.astype(str)})
        budget = mf.compile_model("y ~ x + (1 + x | g)", data).artifact.design_audit.random_terms[0].information_budget
        return budget.status, budget.expected_standard_error

    (rich, small), (poor, large) = error(40), error(3)
    assert small < large
    assert rich == "sufficient"
    assert poor in ("weakly_supported", "too_rich")


@pytest.mark.parametrize("name", GOLDEN)
def test_the_audit_of_a_golden_model_reads_back(name: str) -> None:
    """Every section is there in its order; every source leads to a datum."""
    audit = golden_spec(name).audit(full=True)
    sections = [line.section for line in audit.lines]
    assert sections == sorted(sections, key=list(dict.fromkeys(sections)).index)
    assert all(line.source.startswith("/") for line in audit.lines)
    for line in audit.lines:
        audit.trace(line)


@pytest.mark.parametrize("name", GOLDEN)
def test_a_card_has_what_its_term_has(name: str) -> None:
    artifact = golden_spec(name).artifact
    cards = golden_spec(name).explain_model().cards
    for card, term in zip(cards, artifact.semantic_model.random_terms, strict=True):
        assert (card.term_id, card.group, card.block.covariance) == (term.id, term.group.name, term.covariance)
        assert card.block.basis == tuple(b.name for b in term.basis)
        assert card.block.theta_parameters == term.n_parameters


@pytest.mark.parametrize(
    ("name", "group", "keys"),
    [
        ("sleepstudy", "Subject", ["full"]),
        ("design_compiled", "group", ["full"]),
        ("interior_scalar", "Batch", None),
        ("rank_deficient", "g", ["punt"]),
        ("pedagogical", "a", ["split_uncorrelated", "double_bar_synonym"]),
        ("nested_constant_response_slash", "studyarea:pair", ["punt"]),
    ],
)
def test_options_of_the_golden_models(name: str, group: str, keys: list[str] | None) -> None:
    if keys is None:
        with pytest.raises(mf.errors.ArgumentError):
            golden_spec(name).random_options(group)
        return
    found = golden_spec(name).random_options(group)
    assert found.table.filter("current")["key"].to_list() == keys
    assert found.table["design_status"].null_count() == 0
