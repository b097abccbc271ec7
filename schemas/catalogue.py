"""The catalogue of diagnostics: where each code may stand, how it is shown, and what its payload holds.

A code that no verb can emit yet is reserved, with the reason. ``CATALOGUE`` has every code of ``DiagnosticCode``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mixeff_fast.schemas.diagnostics import DiagnosticCode, Severity, Stage

Bucket = Literal["design_note", "repair", "fit_note", "raw_only"]


@dataclass(frozen=True, slots=True)
class CatalogueEntry:
    """One code. ``payload`` are the keys it may have; ``reserved`` says why nothing emits it, and is empty otherwise."""

    code: DiagnosticCode
    severities: tuple[Severity, ...]
    stages: tuple[Stage, ...]
    bucket: Bucket
    meaning: str
    payload: tuple[str, ...]
    reserved: str = ""


_ENTRIES = (
    CatalogueEntry(
        "formula_canonicalized", ("info",), ("semantic_ir",), "raw_only",
        "a term was rewritten, or a factor among its effects expanded to columns",
        ("part", "written", "canonical", "semantic_basis", "expanded_basis", "basis_coding"),
    ),
    CatalogueEntry(
        "syntax_expansion", ("info",), ("semantic_ir",), "design_note", "one bar of the formula stands for several terms",
        ("written", "canonical", "expansion_kind"),
    ),
    CatalogueEntry(
        "duplicate_random_term", ("warning",), ("semantic_ir",), "design_note",
        "two terms have the same effects, grouping and covariance",
        ("extent", "group", "basis", "covariance", "source_syntax", "other_source_syntax"),
    ),
    CatalogueEntry(
        "conflicting_covariance", ("error",), ("semantic_ir",), "design_note",
        "the same effects and grouping are asked for with two covariance structures",
        ("group", "basis", "families", "source_syntax"),
    ),
    CatalogueEntry(
        "crossing_likely_unintended", ("info",), ("semantic_ir",), "design_note",
        "a grouping is written a*b: two factors and their cells", ("written", "parts", "groups"),
    ),
    CatalogueEntry(
        "random_slope_without_intercept", ("info",), ("semantic_ir",), "design_note",
        "slopes vary over a grouping whose intercepts no term lets vary", ("group", "slopes", "source_syntax"),
    ),
    CatalogueEntry(
        "covariance_assumption", ("info",), ("semantic_ir",), "design_note",
        "a covariance is zero by the way the model is written",
        ("reason", "group", "groups", "source_syntax", "n_pairs", "n_parameters", "n_parameters_diagonal", "n_parameters_full",
         "correlation_parameter"),
    ),
    CatalogueEntry(
        "fixed_effect_rank_deficient", ("warning",), ("design_audit", "estimability"), "design_note",
        "fixed-effect columns are combinations of columns to their left",
        ("rank", "requested_columns", "aliased_columns", "term", "status", "n_columns"),
    ),
    CatalogueEntry(
        "fixed_effect_empty_cell", ("warning",), ("design_audit",), "design_note",
        "a fixed interaction has combinations of levels that no row has", ("term", "n_empty_cells", "factors", "levels"),
    ),
    CatalogueEntry(
        "fixed_random_redundant", ("warning",), ("design_audit",), "design_note",
        "a factor is a fixed effect and the grouping of random intercepts",
        ("group", "fixed_term", "source_syntax", "n_levels"),
    ),
    CatalogueEntry(
        "design_weak_identifiability", ("warning",), ("design_audit",), "design_note",
        "the indicators of a grouping are combinations of the fixed-effect columns",
        ("group", "term_id", "source", "n_levels", "fixed_rank", "group_rank", "projection_residual_rel", "tolerance"),
    ),
    CatalogueEntry(
        "disconnected_design", ("warning",), ("design_audit",), "design_note",
        "two crossed groupings fall into parts that share no level", ("n_components", "factors"),
    ),
    CatalogueEntry(
        "repeated_unit_unmodeled", ("warning",), ("design_audit",), "design_note",
        "rows repeat the levels of a unit whose dependence no term carries",
        ("unit", "parts", "n_levels", "max_obs_per_level", "evidence", "reason", "random_term"),
    ),
    CatalogueEntry(
        "random_slope_unsupported", ("warning",), ("design_audit",), "repair",
        "an effect does not vary within the levels of its grouping",
        ("group", "basis", "reason", "max_within_group_sd", "min_within_group_sd", "source_syntax"),
    ),
    CatalogueEntry(
        "structural_refusal", ("info",), ("design_audit",), "repair",
        "the design has nothing that could support an effect of a random term",
        ("group", "basis", "source_syntax", "reason"),
    ),
    CatalogueEntry(
        "random_effect_few_levels", ("warning",), ("design_audit",), "design_note",
        "a grouping has few levels for the variance between them",
        ("group", "source_syntax", "n_levels", "min_levels_reliability", "expected_standard_error"),
    ),
    CatalogueEntry(
        "covariance_too_rich", ("warning", "info"), ("design_audit",), "design_note",
        "a term has more covariance parameters than the design is expected to tell",
        ("group", "source_syntax", "status", "reason", "n_levels", "requested_covariance_parameters", "n_rows",
         "basis_dimension", "row_saturated", "expected_standard_error", "reduced_covariance"),
    ),
    CatalogueEntry(
        "scope_note", ("info",), ("design_audit",), "design_note",
        "a fixed predictor varies within a grouping that has no slope for it",
        ("group", "fixed_effect", "varies_within_group", "source_syntax"),
    ),
    CatalogueEntry(
        "support_note", ("info",), ("design_audit", "certification"), "design_note",
        "what supports a term weakly, or was not assessed, and why",
        ("reason", "group", "source_syntax", "n_levels", "n_one_outcome", "expected_standard_error", "term", "factors"),
    ),
    CatalogueEntry(
        "not_identifiable", ("error",), ("design_audit", "certification"), "repair",
        "the data cannot tell parameters of the model apart",
        ("reason", "group", "constant_response_levels", "repeated_levels", "varying_numeric_columns", "rank", "expected_rank",
         "source_syntax"),
    ),
    CatalogueEntry(
        "grouping_coercion", ("info",), ("semantic_ir",), "design_note",
        "a numeric or boolean column groups, read as a factor", ("column", "kind", "n_levels"),
    ),
    CatalogueEntry(
        "unused_levels", ("info",), ("semantic_ir",), "design_note", "declared levels do not occur", ("column", "levels"),
    ),
    CatalogueEntry(
        "rows_omitted", ("info",), ("semantic_ir",), "design_note", "rows with missing values were left out",
        ("n_omitted", "na_counts"),
    ),
    CatalogueEntry(
        "predictor_scales", ("info",), ("semantic_ir",), "design_note", "numeric predictors have very different scales",
        ("standard_deviations",),
    ),
    CatalogueEntry(
        "factor_response", ("info",), ("semantic_ir",), "design_note",
        "a factor is the response of a binomial model: its second level is success", ("column", "failure", "success"),
    ),
    CatalogueEntry(
        "zero_trials", ("info",), ("semantic_ir",), "design_note", "rows of a binomial response have no trials", ("n_rows",),
    ),
    CatalogueEntry(
        "observation_level_effect", ("info", "warning"), ("design_audit",), "design_note",
        "a random intercept has one level per row, in a model that is not linear",
        ("reason", "group", "source_syntax", "n_levels", "family"),
    ),
    CatalogueEntry(
        "covariance_reduced", ("info",), ("certification",), "design_note",
        "the fit supports fewer directions of a covariance than were asked for",
        ("group", "source_syntax", "requested_rank", "supported_rank"),
    ),
    CatalogueEntry(
        "boundary_parameter", ("info",), ("certification",), "fit_note",
        "a variance is zero at the optimum: a valid fit at the boundary",
        ("group", "source_syntax", "n_boundary", "theta_names", "basis"),
    ),
    CatalogueEntry(
        "near_unit_random_effect_correlation", ("warning",), ("certification",), "fit_note",
        "two effects of a term have a correlation near 1 or -1",
        ("group", "source_syntax", "var1", "var2", "correlation", "threshold"),
    ),
    CatalogueEntry(
        "optimizer_nonconvergence", ("warning",), ("optimization",), "fit_note",
        "the search ended where the evidence does not show an optimum",
        ("reason", "evaluations", "max_evaluations", "budget_exhausted", "newton_decrement"),
    ),
    CatalogueEntry(
        "optimizer_recovery", ("info",), ("optimization",), "fit_note", "the search was started again from a lower point",
        ("restarts", "reason"),
    ),
    CatalogueEntry(
        "optimizer_not_assessed", ("info", "warning"), ("certification",), "raw_only",
        "the evidence about the optimum was not computed", ("reason",),
    ),
    CatalogueEntry(
        "unsupported", ("error", "info"), ("semantic_ir", "design_audit"), "repair",
        "the model asks for something that is read but not fitted", ("feature", "source_syntax", "structure"),
        reserved="cs() and ar1() are a FitError before there is an artifact",
    ),
    CatalogueEntry(
        "binomial_separation", ("warning",), ("certification",), "repair",
        "a combination of columns, or random effects with them, tells successes from failures: no finite estimate need be best",
        ("separation_kind", "reason", "columns", "groups", "n_separated", "n_rows", "column", "value", "n_at_value"),
    ),
    CatalogueEntry(
        "separation_check_skipped", ("info",), ("certification",), "raw_only", "separation was not looked for, and why",
        ("reason", "n_rows", "n_columns"),
    ),
    CatalogueEntry(
        "invalid_agq_request", ("error",), ("optimization",), "repair",
        "adaptive quadrature was asked for where it is not defined", ("n_agq", "n_terms", "reason"),
        reserved="it is a typed error before there is a fit",
    ),
    CatalogueEntry(
        "pirls_failure", ("error",), ("optimization",), "fit_note", "the inner solve failed at the final parameters",
        ("reason",),
    ),
    CatalogueEntry(
        "inference_unavailable", ("info", "warning"), ("inference",), "fit_note", "a quantity could not be certified",
        ("quantity", "reason_code"),
        reserved="a quantity that cannot be certified is a row with its reason code, or an InferenceUnavailable error",
    ),
)

CATALOGUE: dict[str, CatalogueEntry] = {entry.code: entry for entry in _ENTRIES}

# codes of the field that have another place here
REMOVED: dict[str, str] = {
    "formula_canonicalization_unsupported": "a formula that cannot be put into canonical form is a FormulaError",
    "fixed_effect_column_missing": "a column that the data lack is a DataError with the names that are close",
    "serialization_not_assessed": "an artifact is written whole or not at all; a SchemaError says why it cannot be read",
}
