"""Thresholds, intent, what the compiler would change, what it changed, and the state of the model from stage to stage."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, NonNegative, Record

Intent = Literal["confirmatory_as_specified", "confirmatory_design_compiled", "exploratory", "predictive"]
Trigger = Literal["design_time", "certificate_time_boundary", "selection_time"]
PolicyAction = Literal[
    "drop_unsupported_basis", "reduce_covariance", "refuse_random_term_distribution", "mark_not_assessable"
]


class Thresholds(Record):
    """Every numeric constant that a verdict of this artifact rests on."""

    min_levels_fit: Count = 2
    min_levels_reliability: Count = 5
    min_levels_unnamed_unit: Count = 20
    rank_tolerance: NonNegative = 1e-7
    min_within_group_sd: NonNegative = 1e-8
    min_obs_per_supported_level: Count = 2
    min_repeated_row_share: NonNegative = 0.5
    max_assessed_basis: Count = 40
    singular_information: NonNegative = 1e-9
    misleading_rows_per_parameter: NonNegative = 10.0
    sufficient_expected_standard_error: NonNegative = 0.4
    weak_expected_standard_error: NonNegative = 0.5
    weak_identifiability_residual: NonNegative = 1.4901161193847656e-08
    singular_relative_sd: NonNegative = 1e-4
    near_unit_correlation: NonNegative = 0.99
    dominant_loading: NonNegative = 0.95
    submodel_objective_gap: NonNegative = 0.5
    constant_response_share: NonNegative = 0.8
    certified_newton_decrement: NonNegative = 1e-7
    converged_newton_decrement: NonNegative = 1e-4


class CompilerPolicy(Record):
    """What was asked of the compiler."""

    intent: Intent
    apply_design_time_reductions: bool


class PolicyRecommendation(Record):
    """What the maximal feasible policy would do with a term; advisory unless the intent applies it. ``basis`` are the columns
    it is about."""

    term_id: str
    source_syntax: str
    action: PolicyAction
    basis: tuple[str, ...]
    reason: str
    current_covariance: str
    recommended_covariance: str | None
    inference_consequence: str


class Reduction(Record):
    """A change of the random part that was made."""

    trigger: Trigger
    reason: str
    affected_term: str
    requested: str
    replacement_term: str | None
    inference_consequence: str


class CovarianceTransition(Record):
    """A change of one term's covariance between request and fit: what it went from and to, and which slots it lost."""

    from_family: str
    to_family: str
    trigger: Trigger
    affected_term: str
    requested_rank: Count
    supported_rank: Count
    reduced_slots: tuple[str, ...]
    inference_consequence: str


class ModelStage(Record):
    """The model at one stage."""

    stage: Literal["requested", "semantic", "supported", "fitted"]
    status: Literal[
        "requested", "canonical", "supported", "advisory_changes", "refused", "fitted", "reduced", "not_assessed"
    ]
    formula: str
    n_random_terms: Count
    reason: str


class ModelChange(Record):
    """Something that was, or could be, changed between two stages."""

    status: Literal["applied", "recommended", "diagnostic"]
    trigger: Trigger
    from_stage: Literal["semantic", "supported"]
    to_stage: Literal["supported", "fitted"]
    term_id: str
    group: str
    requested: str
    effective: str | None
    fitted: str | None
    detail: str


class ModelState(Record):
    """Requested, semantic, supported and fitted model, and every change between them."""

    stages: tuple[ModelStage, ...]
    changes: tuple[ModelChange, ...]
