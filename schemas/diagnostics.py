"""Diagnostics: facts about a model, its data or its fit, each with a stable code."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from mixeff_fast.schemas.base import JsonObject, Record

Severity = Literal["info", "warning", "error"]
Stage = Literal[
    "formula_parsing", "semantic_ir", "design_audit", "estimability", "parameterization", "optimization", "certification",
    "inference", "serialization",
]
DiagnosticCode = Literal[
    "formula_canonicalized", "duplicate_random_term", "conflicting_covariance", "crossing_likely_unintended",
    "fixed_effect_rank_deficient", "fixed_effect_empty_cell", "random_slope_without_intercept", "fixed_random_redundant",
    "repeated_unit_unmodeled", "random_slope_unsupported", "random_effect_few_levels", "covariance_too_rich",
    "covariance_reduced", "boundary_parameter", "near_unit_random_effect_correlation", "binomial_separation",
    "not_identifiable", "invalid_agq_request", "pirls_failure", "optimizer_not_assessed", "optimizer_nonconvergence",
    "optimizer_recovery", "inference_unavailable", "unsupported", "scope_note", "support_note", "syntax_expansion",
    "covariance_assumption", "structural_refusal", "design_weak_identifiability", "disconnected_design",
    "separation_check_skipped", "grouping_coercion", "unused_levels", "rows_omitted", "predictor_scales",
    "factor_response", "zero_trials", "observation_level_effect",
]


class Finding(Record):
    """A fact without its wording: ``code`` is stable, ``payload`` is for programs."""

    code: DiagnosticCode
    severity: Severity
    stage: Stage
    affected_terms: tuple[str, ...] = ()
    payload: JsonObject = Field(default_factory=dict)


class Diagnostic(Finding):
    """A fact and its wording: ``message`` is for people. ``options`` are things that could be done, never one alone, each with
    what follows from it; they are not facts."""

    message: str
    options: tuple[str, ...] = ()
