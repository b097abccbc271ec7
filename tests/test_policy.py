"""What the design supports of a random part, what an intent makes of it, and the state of the model from stage to stage."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.compile.design import design_audit
from mixeff_fast.compile.design_columns import examined_columns
from mixeff_fast.compile.policy import compiled_state, design_reductions, recommendations, supported_form
from mixeff_fast.compile.roles import observed_roles
from mixeff_fast.compile.semantic import semantic_model
from mixeff_fast.formula import model_formula, render
from mixeff_fast.models import statistics
from mixeff_fast.schemas.design import DesignAudit
from mixeff_fast.schemas.policy import Intent, ModelState, PolicyRecommendation, Thresholds
from mixeff_fast.schemas.semantic import SemanticModel

COMPILED: Intent = "confirmatory_design_compiled"


def design(levels: int, rows: int, seed: int = 3) -> pl.DataFrame:
    """``rows`` rows for each level; w is constant within levels, x0, x1, x2 and f are not."""
    rng = np.random.default_rng(seed)
    n = levels * rows
    index = np.arange(n)
    return pl.DataFrame(
        {
            "g": [f"g{i // rows:02d}" for i in index],
            "w": (index // rows).astype(float),
            "f": [f"f{i % 3}" for i in index],
            **{f"x{j}": rng.normal(size=n) for j in range(3)},
        }
    ).with_columns(y=pl.Series(rng.normal(size=n) + rng.normal(size=levels)[index // rows]))


def read(formula: str, data: pl.DataFrame, **arguments: Any) -> tuple[mf.ModelSpec, SemanticModel, DesignAudit]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spec = mf.compile_model(formula, data, **arguments)
    model, roles = spec.requested, spec.call.roles
    audit, _ = design_audit(model, examined_columns(data, model.frame, spec.call.audit_columns), roles, Thresholds())
    return spec, semantic_model(model, roles), audit


def advice(formula: str, data: pl.DataFrame) -> tuple[PolicyRecommendation, ...]:
    _, semantic, audit = read(formula, data)
    return recommendations(semantic, audit, Thresholds())


def state(formula: str, data: pl.DataFrame, **arguments: Any) -> ModelState:
    spec, semantic, audit = read(formula, data, **arguments)
    effective = None if spec.requested is spec.compiled else spec.compiled
    return compiled_state(spec.requested, semantic, recommendations(semantic, audit, Thresholds()), spec.reductions, effective)


WIDE = "y ~ x0 + (1 + x0 + x1 + x2 + I(x0^2) + I(x1^2) + I(x2^2) + x0:x1 | g)"
ADVICE = {
    "supported": ("y ~ x0 + (1 + x0 | g)", (18, 10), []),
    "few levels of a scalar": ("y ~ x0 + (1 | g)", (3, 10), []),
    "too rich": ("y ~ x0 + (1 + x0 | g)", (6, 3), [("reduce_covariance", "covariance_too_rich", "diagonal")]),
    "constant slope": ("y ~ x0 + (1 + w | g)", (10, 10),
                       [("drop_unsupported_basis", "no_variation_within_groups", "scalar")]),
    "constant slope beside others": ("y ~ x0 + (1 + x0 + w | g)", (20, 10),
                                     [("drop_unsupported_basis", "no_variation_within_groups", "full")]),
    "constant slope in what is too rich": ("y ~ x0 + (1 + x0 + w | g)", (7, 4),
                                           [("drop_unsupported_basis", "no_variation_within_groups", "full"),
                                            ("reduce_covariance", "covariance_too_rich", "diagonal")]),
    "only a constant slope": ("y ~ x0 + (0 + w | g)", (10, 10),
                              [("refuse_random_term_distribution", "no_variation_within_groups", None)]),
    "a constant slope split off": ("y ~ x0 + (w || g)", (10, 10),
                                   [("drop_unsupported_basis", "no_variation_within_groups", None)]),
    "eight columns on ten levels": (WIDE, (10, 20), [("refuse_random_term_distribution", "too_few_levels", None)]),
}


@pytest.mark.parametrize("case", ADVICE)
def test_advice(case: str) -> None:
    formula, size, expected = ADVICE[case]
    found = advice(formula, design(*size))
    assert [(a.action, a.reason, a.recommended_covariance) for a in found] == expected


def test_advice_names_the_columns_it_is_about() -> None:
    (dropped,) = advice("y ~ x0 + (1 + x0 + w | g)", design(20, 10))
    assert (dropped.term_id, dropped.basis, dropped.current_covariance) == ("r0", ("w",), "full")
    (reduced,) = advice("y ~ x0 + (1 + x0 | g)", design(6, 3))
    assert (reduced.basis, reduced.inference_consequence) == (("(Intercept)", "x0"), "inference_rests_on_smaller_random_part")


def altered(audit: DesignAudit, **budget: Any) -> DesignAudit:
    """The audit with another budget for its only term."""
    (term,) = audit.random_terms
    changed = term.information_budget.model_copy(update=budget)
    return audit.model_copy(update={"random_terms": (term.model_copy(update={"information_budget": changed}),)})


@pytest.mark.parametrize(
    ("formula", "budget", "expected"),
    [
        ("y ~ x0 + (1 + x0 | g)", {"status": "weakly_supported", "diagonal_status": "sufficient"},
         [("reduce_covariance", "covariance_weakly_supported")]),
        ("y ~ x0 + (1 + x0 | g)", {"status": "weakly_supported", "diagonal_status": "weakly_supported"}, []),
        ("y ~ x0 + (1 + x0 | g)", {"status": "not_assessable", "reason": "rows_not_in_memory"},
         [("mark_not_assessable", "rows_not_in_memory")]),
        ("y ~ x0 + diag(1 + x0 | g)", {"status": "too_rich"},
         [("refuse_random_term_distribution", "variances_not_supported")]),
        ("y ~ x0 + diag(1 + x0 | g)", {"status": "weakly_supported"}, []),
        ("y ~ x0 + (1 + x0 | g)", {"n_levels": 100}, [("refuse_random_term_distribution", "as_many_effects_as_rows")]),
        ("y ~ x0 + (1 + x0 | g)", {"n_levels": 1}, [("refuse_random_term_distribution", "too_few_levels")]),
        ("y ~ x0 + (1 | g)", {"n_levels": 1}, [("refuse_random_term_distribution", "too_few_levels")]),
    ],
)
def test_advice_on_budgets(formula: str, budget: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    spec, semantic, audit = read(formula, design(18, 10))
    found = recommendations(semantic, altered(audit, **budget), Thresholds())
    assert [(a.action, a.reason) for a in found] == expected
    refused = compiled_state(spec.requested, semantic, found).stages[2]
    if expected and expected[0][0] == "refuse_random_term_distribution":
        assert (refused.status, refused.n_random_terms) == ("refused", 0)


def test_thresholds_have_an_effect() -> None:
    _, semantic, audit = read("y ~ x0 + (1 | g)", design(6, 5))
    assert not recommendations(semantic, audit, Thresholds())
    (refused,) = recommendations(semantic, audit, Thresholds(min_levels_fit=7))
    assert refused.action == "refuse_random_term_distribution"


def test_a_factor_stays_where_an_interaction_needs_it() -> None:
    data = design(30, 12).with_columns(c=pl.Series([f"c{i // 12 % 3}" for i in range(360)]))
    assert [a.basis for a in advice("y ~ x0 + (1 + c | g)", data)] == [("cc1", "cc2")]
    assert not [a for a in advice("y ~ x0 + (1 + c + f + c:f | g)", data) if a.action == "drop_unsupported_basis"]


@pytest.mark.parametrize(
    ("formula", "action", "basis", "expected", "of_term"),
    [
        ("y ~ x + (1 + x | g)", "reduce_covariance", ("(Intercept)", "x"), "y ~ 1 + x + (1 + x || g)", "(1 + x || g)"),
        ("y ~ x + (1 + f | g)", "reduce_covariance", ("(Intercept)", "fb", "fc"), "y ~ 1 + x + diag(1 + f | g)",
         "diag(1 + f | g)"),
        ("y ~ x + (1 + x + z | g)", "drop_unsupported_basis", ("z",), "y ~ 1 + x + (1 + x | g)", "(1 + x | g)"),
        ("y ~ x + (1 + x || g)", "drop_unsupported_basis", ("x",), "y ~ 1 + x + (1 | g)", None),
        ("y ~ x - 1 + (1 + x + z || g) + offset(z)", "drop_unsupported_basis", ("x",),
         "y ~ 0 + x + offset(z) + (1 + z || g)", None),
    ],
)
def test_the_formula_that_is_supported(
    formula: str, action: Any, basis: tuple[str, ...], expected: str, of_term: str | None
) -> None:
    rng = np.random.default_rng(0)
    data = pl.DataFrame({"y": rng.normal(size=60), "x": rng.normal(size=60), "z": rng.normal(size=60),
                         "f": [*"abc"] * 20, "g": [f"g{i % 7}" for i in range(60)]})
    model = mf.compile_model(formula, data).requested
    semantic = semantic_model(model, {})
    term = next(t for t in semantic.random_terms if {e.name for e in t.basis} >= set(basis))
    one = PolicyRecommendation(term_id=term.id, source_syntax=term.source_syntax.text, action=action, basis=basis,
                               reason="any", current_covariance=term.covariance, recommended_covariance=None,
                               inference_consequence="any")
    form = supported_form(model.formula, semantic, [one])
    assert (render(form.formula), form.replaced) == (expected, {term.id: of_term})
    assert model_formula(render(form.formula)) == form.formula
    assert supported_form(model.formula, semantic, []).formula is model.formula


# Stages


def test_state_of_a_supported_model() -> None:
    found = state("y~x0+(x0|g)", design(18, 10))
    assert [(s.stage, s.status, s.formula, s.n_random_terms) for s in found.stages] == [
        ("requested", "requested", "y~x0+(x0|g)", 1),
        ("semantic", "canonical", "y ~ 1 + x0 + (1 + x0 | g)", 1),
        ("supported", "supported", "y ~ 1 + x0 + (1 + x0 | g)", 1),
        ("fitted", "not_assessed", "y ~ 1 + x0 + (1 + x0 | g)", 1),
    ]
    assert not found.changes


def test_state_with_advice_and_with_advice_applied() -> None:
    formula, data = "y ~ x0 + (1 + x0 | g)", design(6, 3)
    advised, applied = state(formula, data), state(formula, data, intent=COMPILED)
    assert [(s.status, s.n_random_terms) for s in advised.stages[2:]] == [("advisory_changes", 2), ("not_assessed", 1)]
    assert [(s.status, s.n_random_terms) for s in applied.stages[2:]] == [("reduced", 2), ("not_assessed", 2)]
    assert applied.stages[3].formula == "y ~ 1 + x0 + (1 + x0 || g)"
    changes = [found.changes[0] for found in (advised, applied)]
    assert [(c.status, c.trigger, c.from_stage, c.to_stage) for c in changes] == [
        ("recommended", "design_time", "semantic", "supported"), ("applied", "design_time", "semantic", "supported")]
    assert {(c.group, c.requested, c.effective) for c in changes} == {("g", "(1 + x0 | g)", "(1 + x0 || g)")}


def test_bars_are_counted_as_written_in_the_first_stage() -> None:
    found = state("y ~ x0 + (1 | f/g)", design(12, 9))
    assert [s.n_random_terms for s in found.stages] == [1, 2, 2, 2]


# The intent that acts on it


def test_a_covariance_that_is_too_rich_becomes_diagonal() -> None:
    data = design(6, 3)
    spec = mf.compile_model("y ~ x0 + (1 + x0 | g)", data, intent=COMPILED)
    assert spec.formula == "y ~ 1 + x0 + (1 + x0 || g)"
    assert spec.call.formula == "y ~ x0 + (1 + x0 | g)"
    assert render(spec.requested.formula) == "y ~ 1 + x0 + (1 + x0 | g)"
    (reduction,) = spec.reductions
    assert (reduction.trigger, reduction.affected_term, reduction.requested, reduction.replacement_term) == (
        "design_time", "r0", "(1 + x0 | g)", "(1 + x0 || g)")
    fit, written = spec.fit(), mf.lmm("y ~ x0 + (1 + x0 || g)", data)
    assert fit.reml_criterion == pytest.approx(written.reml_criterion, abs=1e-9)
    assert fit.predict(data).tolist() == pytest.approx(fit.fitted.tolist())
    others: tuple[Intent, ...] = ("confirmatory_as_specified", "exploratory", "predictive")
    for intent in others:
        as_written = mf.compile_model("y ~ x0 + (1 + x0 | g)", data, intent=intent)
        assert (as_written.formula, as_written.reductions) == ("y ~ 1 + x0 + (1 + x0 | g)", ())
        assert as_written.requested is as_written.compiled


def test_what_was_asked_for_outlives_refits_and_updates() -> None:
    data = design(6, 3)
    fit = mf.lmm("y ~ x0 + (1 + x0 | g)", data, intent=COMPILED)
    again = fit.refit(data["y"] + 1.0)
    assert (again.spec.reductions, render(again.spec.requested.formula)) == (
        fit.spec.reductions, "y ~ 1 + x0 + (1 + x0 | g)")
    updated = fit.update(". ~ . + x1")
    assert updated.formula == "y ~ 1 + x0 + x1 + (1 + x0 || g)"
    assert updated.call.formula == "y ~ 1 + x0 + x1 + (1 + x0 | g)"
    assert fit.update(intent="confirmatory_as_specified").formula == "y ~ 1 + x0 + (1 + x0 | g)"


def test_a_slope_that_is_constant_within_groups_is_dropped() -> None:
    both = mf.compile_model("y ~ x0 + (1 + x0 + w | g)", design(7, 4), intent=COMPILED)
    assert (both.formula, {r.replacement_term for r in both.reductions}) == (
        "y ~ 1 + x0 + (1 + x0 || g)", {"(1 + x0 || g)"})
    spec = mf.compile_model("y ~ x0 + (1 + w | g)", design(10, 10), intent=COMPILED)
    assert spec.formula == "y ~ 1 + x0 + (1 | g)"
    assert [r.reason for r in spec.reductions] == ["no_variation_within_groups"]


@pytest.mark.parametrize(
    ("formula", "size", "reason"),
    [
        ("y ~ x0 + (0 + w | g)", (10, 10), "no_variation_within_groups"),
        ("y ~ x0 + (1 + f | g)", (40, 3), "as_many_effects_as_rows"),
        ("y ~ x0 + (1 | g)", (1, 30), "too_few_levels"),
        (WIDE, (10, 20), "too_few_levels"),
    ],
)
def test_what_is_not_supported_at_all_is_refused(formula: str, size: tuple[int, int], reason: str) -> None:
    with pytest.raises(mf.errors.NotIdentifiable, match="does not support") as refused:
        mf.compile_model(formula, design(*size), intent=COMPILED)
    assert refused.value.fields["reason_code"] == "design_refusal"
    assert (refused.value.fields["reason"], refused.value.fields["group"]) == (reason, "g")


def test_advice_that_is_not_acted_on() -> None:
    """A weakly supported covariance stays, and so does what cannot be assessed."""
    spec, semantic, audit = read("y ~ x0 + (1 + x0 | g)", design(18, 10))
    for budget in ({"status": "weakly_supported", "diagonal_status": "sufficient"},
                   {"status": "not_assessable", "reason": "rows_not_in_memory"}):
        changed = altered(audit, **budget)
        found = recommendations(semantic, changed, Thresholds())
        assert found
        assert design_reductions(spec.requested, semantic, changed, found) == (spec.requested.formula, ())


@pytest.mark.parametrize("rows_in_memory", [True, False])
def test_lazy_data(rows_in_memory: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    data = design(6, 3)
    if not rows_in_memory:
        monkeypatch.setattr(statistics, "STREAM_ROWS", 5)
    spec = mf.compile_model("y ~ x0 + (1 + x0 | g)", data.lazy(), intent=COMPILED, roles={"f": "treatment"},
                            audit_columns=["f"])
    expected = "y ~ 1 + x0 + (1 + x0 || g)" if rows_in_memory else "y ~ 1 + x0 + (1 + x0 | g)"
    assert spec.formula == expected
    assert spec.call.audit_columns == ("f",)


def test_of_batches_the_number_of_levels_is_enough_to_refuse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "STREAM_ROWS", 5)
    with pytest.raises(mf.errors.NotIdentifiable, match="too few") as refused:
        mf.compile_model(WIDE, design(10, 20).lazy(), intent=COMPILED)
    assert refused.value.fields["reason_code"] == "design_refusal"


# Roles as observed


def test_observed_roles() -> None:
    data = design(12, 9)
    spec, _, audit = read("y ~ x0 + w + f + x0:w + (1 + x0 | g)", data)
    found = {(r.variable, r.group): (r.role, r.origin, r.evidence) for r in observed_roles(spec.requested, audit, {})}
    seen = "observed_from_data"
    assert found == {
        ("g", "g"): ("sampled_unit", seen, "grouping_factor_of_random_term"),
        ("x0", "g"): ("observed_within_group", seen, "varies_within_levels"),
        ("w", "g"): ("observed_between_group", seen, "constant_within_levels"),
        ("f", "g"): ("observed_within_group", seen, "varies_within_levels"),
        ("x0:w", None): ("observed_fixed_effect", seen, "term_of_fixed_part"),
    }


def test_declared_roles_take_the_place_of_observed_ones() -> None:
    spec, _, audit = read("y ~ x0 + w + (1 | g)", design(12, 9))
    found = observed_roles(spec.requested, audit, mf.roles(g="site", w="treatment"))
    assert [(r.variable, r.role, r.origin) for r in found] == [
        ("g", "site", "declared_by_user"), ("w", "treatment", "declared_by_user"),
        ("x0", "observed_within_group", "observed_from_data"),
    ]


def test_variation_that_shows_late_is_found() -> None:
    n = 70_000
    late = np.zeros(n)
    late[-1] = 1.0
    rng = np.random.default_rng(2)
    data = pl.DataFrame({"y": rng.normal(size=n), "late": late, "g": np.arange(n) % 7}).with_columns(pl.col("g").cast(str))
    spec, _, audit = read("y ~ late + (1 | g)", data)
    roles = {r.variable: r.role for r in observed_roles(spec.requested, audit, {})}
    assert roles["late"] == "observed_within_group"


def test_roles_reach_the_audit_of_dependence() -> None:
    data = design(12, 9).with_columns(shelf=pl.Series([f"s{i % 6}" for i in range(108)]),
                                      site=pl.Series([f"t{i % 5}" for i in range(108)]))

    def unmodelled(**arguments: Any) -> set[str]:
        _, _, audit = read("y ~ x0 + (1 | g)", data, **arguments)
        return {path.unit for path in audit.covariance_kernels.missing_dependence_paths}

    assert "site" in unmodelled()
    assert "shelf" not in unmodelled()
    assert "shelf" in unmodelled(roles={"shelf": "item"})
    assert "site" not in unmodelled(roles={"site": "treatment"})
    assert "site" not in unmodelled(audit_columns=["shelf"])
    assert unmodelled(audit_columns=[]) == set()
