"""The wording of diagnostics and labels: every code has one, its numbers are the payload's, and it never advises."""

from __future__ import annotations

import re
from string import Formatter
from typing import Any, get_args

import pytest

from mixeff_fast.report.messages import WORDINGS, diagnostic
from mixeff_fast.report.wording import WORDS, words
from mixeff_fast.schemas.catalogue import CATALOGUE
from mixeff_fast.schemas.diagnostics import DiagnosticCode, Finding

CODES = get_args(DiagnosticCode)
# commands and judgements of what is best
ADVICE = re.compile(
    r"suggested starting model|we recommend|you (should|must|need)|\btry\b|drop the random slope|\bbest\b|"
    r"\bbetter to\b|\bplease\b|\bconsider\b|\bshould\b"
)
TERM = {"group": "g", "source_syntax": "(1 + x | g)"}

EXAMPLES: list[tuple[Any, dict[str, Any]]] = [
    ("formula_canonicalized", {"written": "(f | g)", "canonical": "(1 + f | g)", "semantic_basis": ["f"],
                               "expanded_basis": ["fb", "fc"], "basis_coding": "treatment"}),
    ("syntax_expansion", {"written": "(1 | a/b)", "canonical": "(1 | a) + (1 | a:b)", "expansion_kind": "nesting"}),
    ("duplicate_random_term", {**TERM, "basis": ["(Intercept)"], "covariance": "scalar", "other_source_syntax": "(1 | g)"}),
    ("conflicting_covariance", {"group": "g", "basis": ["(Intercept)", "x"], "families": ["full", "diagonal"]}),
    ("crossing_likely_unintended", {"written": "(1 | a * b)", "parts": ["a", "b"]}),
    ("random_slope_without_intercept", {"group": "g", "slopes": ["x"], "source_syntax": "(0 + x | g)"}),
    ("covariance_assumption", {"reason": "double_bar_syntax", "group": "g", "n_pairs": 3, "n_parameters": 3,
                               "n_parameters_diagonal": 3, "n_parameters_full": 6}),
    ("covariance_assumption", {"reason": "separate_random_effect_blocks", "group": "g", "n_pairs": 1}),
    ("covariance_assumption", {"reason": "double_bar_factor_term", "group": "g", "n_pairs": 2, "n_parameters": 4,
                               "n_parameters_diagonal": 3, "n_parameters_full": 6}),
    ("covariance_assumption", {"reason": "crossed_intercepts", "groups": ["a", "b"], "correlation_parameter": "not_estimated"}),
    ("covariance_assumption", {"reason": "of_another_kind"}),
    ("fixed_effect_rank_deficient", {"rank": 2, "requested_columns": 3, "aliased_columns": ["x2"]}),
    ("fixed_effect_rank_deficient", {"term": "x2", "status": "not_estimable", "n_columns": 1, "aliased_columns": ["x2"]}),
    ("fixed_effect_empty_cell", {"term": "a:b", "n_empty_cells": 2, "factors": ["a", "b"], "levels": ["a1", "b1"]}),
    ("fixed_random_redundant", {**TERM, "fixed_term": "g", "n_levels": 6}),
    ("repeated_unit_unmodeled", {"unit": "u", "parts": ["u"], "n_levels": 12, "max_obs_per_level": 4,
                                 "evidence": "column_name", "random_term": "(1 | u)"}),
    ("random_slope_unsupported", {**TERM, "basis": "x", "max_within_group_sd": 0.0, "min_within_group_sd": 1e-8,
                                  "reason": "constant_within_levels"}),
    ("structural_refusal", {**TERM, "basis": "x", "reason": "constant_within_levels"}),
    ("random_effect_few_levels", {"group": "g", "n_levels": 3, "min_levels_reliability": 5,
                                  "expected_standard_error": 0.61}),
    ("covariance_too_rich", {**TERM, "status": "too_rich", "reason": "expected_error_large",
                             "n_levels": 6, "requested_covariance_parameters": 3, "n_rows": 18,
                             "basis_dimension": 2, "row_saturated": False, "expected_standard_error": 1.25,
                             "reduced_covariance": "(1 + x || g)"}),
    ("covariance_too_rich", {**TERM, "status": "too_rich", "n_levels": 40, "requested_covariance_parameters": 6,
                             "n_rows": 120, "basis_dimension": 3, "row_saturated": True, "expected_standard_error": None,
                             "reduced_covariance": "(1 + x || g)"}),
    ("scope_note", {"group": "g", "fixed_effect": "x", "varies_within_group": True}),
    ("support_note", {"reason": "weak_information_budget", "source_syntax": "(1 | g)", "group": "g", "n_levels": 7,
                      "expected_standard_error": 0.45}),
    ("unsupported", {"feature": "structured_covariance", "source_syntax": "ar1(1 + x | g)", "structure": "ar1"}),
    ("not_identifiable", {"reason": "constant_response_within_groups", "group": "g", "constant_response_levels": 12,
                          "repeated_levels": 12, "varying_numeric_columns": ["x"]}),
    ("not_identifiable", {"reason": "of_another_kind"}),
    ("not_identifiable", {**TERM, "reason": "observation_level_effect_of_binary_response"}),
    ("not_identifiable", {"reason": "exact_fit"}),
    ("not_identifiable", {"reason": "flat_direction"}),
    ("disconnected_design", {"n_components": 4, "factors": ["g", "h"]}),
    ("design_weak_identifiability", {"group": "g", "term_id": "r0", "source": "(1 | g)", "n_levels": 6, "fixed_rank": 7,
                                     "group_rank": 6, "projection_residual_rel": 1.5e-16, "tolerance": 1.5e-8}),
    ("covariance_reduced", {**TERM, "requested_rank": 2, "supported_rank": 1}),
    ("boundary_parameter", {**TERM, "n_boundary": 1, "theta_names": ["g.x"]}),
    ("near_unit_random_effect_correlation", {"group": "g", "var1": "(Intercept)", "var2": "x", "correlation": 0.997,
                                             "threshold": 0.99}),
    ("optimizer_nonconvergence", {"reason": "evaluation_limit", "evaluations": 500, "max_evaluations": 500,
                                  "budget_exhausted": True, "newton_decrement": 0.02}),
    ("optimizer_not_assessed", {"reason": "not_asked_for"}),
    ("optimizer_recovery", {"restarts": 2, "reason": "saddle_point"}),
    ("inference_unavailable", {"quantity": "covariance_matrix", "reason_code": "residual_variance_collapsed"}),
    ("binomial_separation", {"separation_kind": "quasi_complete_fixed_effect", "columns": ["x2"], "column": "x2",
                             "value": 1, "n_at_value": 7, "n_separated": 7, "n_rows": 100}),
    ("binomial_separation", {"separation_kind": "complete_conditional", "reason": "conditional", "groups": ["g"],
                             "n_separated": 120, "n_rows": 120}),
    ("support_note", {"reason": "levels_of_one_outcome", "group": "g", "n_one_outcome": 11, "n_levels": 12}),
    ("separation_check_skipped", {"reason": "too_many_rows", "n_rows": 2000000, "n_columns": 12}),
    ("invalid_agq_request", {"n_agq": 9, "reason": "several_random_terms"}),
    ("pirls_failure", {"reason": "step_limit"}),
    ("grouping_coercion", {"column": "id", "kind": "numeric", "n_levels": 18}),
    ("unused_levels", {"column": "f", "levels": ["c", "d"]}),
    ("rows_omitted", {"n_omitted": 4, "na_counts": {"x": 3, "y": 1}}),
    ("factor_response", {"column": "r2", "failure": "N", "success": "Y"}),
    ("zero_trials", {"n_rows": 3}),
    ("observation_level_effect", {**TERM, "reason": "overdispersion", "n_levels": 56, "family": "poisson"}),
    ("observation_level_effect", {**TERM, "reason": "beside_family_parameter", "n_levels": 56, "family": "negative_binomial"}),
    ("predictor_scales", {"standard_deviations": {"a": 0.001, "b": 12500.0}}),
]


RICH = next(payload for code, payload in EXAMPLES if code == "covariance_too_rich")


def numbers_in(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [n for key, item in value.items() for n in [*numbers_in(key), *numbers_in(item)]]
    if isinstance(value, list | tuple):
        return [n for item in value for n in numbers_in(item)]
    if isinstance(value, str):
        return [float(n) for n in re.findall(r"\d+", value)]
    return [] if isinstance(value, bool) or value is None else [float(value)]


def put(code: Any, payload: dict[str, Any]) -> Any:
    return diagnostic(Finding(code=code, severity="info", stage="design_audit", affected_terms=("r0",), payload=payload))


def test_every_code_is_worded_and_has_an_example() -> None:
    assert {key.split("/")[0] for key in WORDINGS} == set(CODES)
    assert {code for code, _ in EXAMPLES} == set(CODES)


@pytest.mark.parametrize(("code", "payload"), EXAMPLES, ids=[f"{c}-{p.get('reason', '')}" for c, p in EXAMPLES])
def test_message_states_the_payload(code: str, payload: dict[str, Any]) -> None:
    stated = put(code, payload)
    assert stated.payload == payload
    assert stated.message != f"{words(code)}: r0"
    facts = [*numbers_in(payload), 0.0]
    for text in (stated.message, *stated.options):
        assert not ADVICE.search(text.lower()), text
        assert not set("{}") & set(text)
        for number in re.findall(r"\d+(?:\.\d+)?(?:e-?\d+)?", text):
            assert any(abs(float(number) - fact) <= 1e-4 * abs(fact) for fact in facts), (number, text)
    assert len(stated.options) != 1
    assert len(set(stated.options)) == len(stated.options)
    assert all(": " in option for option in stated.options), "an option names what follows from it"


def test_every_option_and_clause_is_reached_by_an_example() -> None:
    seen = "\n".join(text for code, payload in EXAMPLES for text in (put(code, payload).message, *put(code, payload).options))
    literal = {key: [re.split(r"\{[^}]*\}", t) for t in (*w.clauses, *w.options)] for key, w in WORDINGS.items()}
    for key, templates in literal.items():
        for pieces in templates:
            assert max(pieces, key=len) in seen, (key, pieces)


def test_wordings_and_examples_use_the_facts_of_the_catalogue() -> None:
    for key, wording in WORDINGS.items():
        used = {name for t in (*wording.clauses, *wording.options) for _, name, _, _ in Formatter().parse(t) if name}
        assert used <= {*CATALOGUE[key.split("/")[0]].payload, "affected"}, key
    for code, payload in EXAMPLES:
        assert set(payload) <= set(CATALOGUE[code].payload), code


def test_facts_that_are_missing_leave_their_clause_out() -> None:
    full = put("covariance_too_rich", dict(RICH))
    assert "expected standard error" in full.message
    without = put("covariance_too_rich", {**RICH, "expected_standard_error": None, "reduced_covariance": None})
    assert "expected standard error" not in without.message
    assert without.options == ()
    assert put("scope_note", {}).message == "scope note: r0"


def test_names_from_the_data_are_text_and_not_templates() -> None:
    stated = put("scope_note", {"group": "{0}", "fixed_effect": "a{b}c", "varies_within_group": True})
    assert "a{b}c varies within the levels of {0}" in stated.message


def test_labels_read_as_words() -> None:
    assert words("not_in_any_list") == "not in any list"
    assert words("reduce_covariance/few_levels") == f"{WORDS['reduce_covariance']}: {WORDS['few_levels']}"
    assert words("y ~ my_x + (1 | g_1)") == "y ~ my_x + (1 | g_1)"
    for label, text in WORDS.items():
        assert not re.search(r"\d|_", text), label
        assert not ADVICE.search(text.lower()), label
        assert text != label.replace("_", " "), f"{label} says the same without an entry"
