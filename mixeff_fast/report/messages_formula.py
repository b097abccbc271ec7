"""Wording of what the formula and the reading of the data give rise to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Wording:
    """Clauses of a message and its options; the names in braces are facts of the payload."""

    clauses: tuple[str, ...]
    options: tuple[str, ...] = ()


_ONE_BLOCK = "one block with a single bar: the correlations are estimated, a parameter for each pair of columns"
_NO_CORRELATION = (
    "keeping the zeros: fewer parameters, and a fit that changes when a slope variable is measured from another zero"
)

FORMULA: dict[str, Wording] = {
    "formula_canonicalized": Wording(
        ("{written} was read as {canonical}", "the columns of {semantic_basis} are {expanded_basis}",
         "coding: {basis_coding:words}"),
    ),
    "syntax_expansion": Wording(("{written} stands for {canonical}", "{expansion_kind:words}")),
    "duplicate_random_term": Wording(
        ("{basis} may vary by {group} in {source_syntax} and in {other_source_syntax}",
         "the data determine the sum of the variances and not how it is divided between the two"),
        ("{basis} in one of them: the same fitted values where the covariances agree, and a variance that is determined",
         "{basis} in both, as written: variances whose division is arbitrary"),
    ),
    "conflicting_covariance": Wording(
        ("the columns {basis} by {group} are asked for with correlations and without", "requested: {families}"),
        (_ONE_BLOCK, "one block with a double bar: the correlations are zero, and so many parameters fewer"),
    ),
    "crossing_likely_unintended": Wording(
        ("{written} groups by each of {parts} and by their combinations",),
        ("each of {parts} alone: combinations have no effect of their own",
         "the combinations alone: levels of one factor have nothing in common across levels of the other",
         "all of them, as written: a variance for each factor and one for the combinations"),
    ),
    "random_slope_without_intercept": Wording(
        ("{source_syntax} lets the effects of {slopes} differ by {group}, and no term on {group} has an intercept",
         "all levels share one baseline where {slopes} is zero"),
        ("an intercept in the same block: baselines differ and vary together with the slopes; one variance more, and its "
         "correlations",
         "a separate intercept by {group}: baselines differ, independently of the slopes; one variance more",
         "no intercept, as written: no further parameter, and a fit that depends on where the slope variables have their zero"),
    ),
    "covariance_assumption": Wording(("covariances are taken to be zero: {reason:words}",)),
    "covariance_assumption/double_bar_syntax": Wording(
        ("the double bar on {group} makes its terms uncorrelated", "covariances that are zero: {n_pairs}",
         "parameters: {n_parameters}; with all correlations {n_parameters_full}"),
        (_ONE_BLOCK, _NO_CORRELATION),
    ),
    "covariance_assumption/separate_random_effect_blocks": Wording(
        ("the terms on {group} are separate blocks, so that they are uncorrelated", "covariances that are zero: {n_pairs}"),
        (_ONE_BLOCK, _NO_CORRELATION),
    ),
    "covariance_assumption/double_bar_factor_term": Wording(
        ("the double bar on {group} separates the terms and keeps the columns of a factor in one correlated block",
         "covariances that are zero: {n_pairs}",
         "parameters: {n_parameters}; without correlations {n_parameters_diagonal}, with all {n_parameters_full}"),
        ("diag() in place of the double bar: the columns of the factor are uncorrelated too, with fewer parameters",
         "the double bar: correlations within the factor are estimated, those with other terms are zero"),
    ),
    "covariance_assumption/crossed_intercepts": Wording(
        ("the intercepts of {groups} belong to crossed factors: there is no correlation parameter between them",),
    ),
    "unsupported": Wording(
        ("{source_syntax} asks for what cannot be fitted", "{feature:words}", "structure: {structure}"),
        ("an unstructured block: every variance and correlation is a parameter",
         "a diagonal block: every variance is a parameter, correlations are zero"),
    ),
    "grouping_coercion": Wording(
        ("the {kind} column {column} is read as a grouping factor with {n_levels} levels",),
    ),
    "unused_levels": Wording(("levels of {column} that are declared and do not occur were dropped: {levels}",)),
    "rows_omitted": Wording(
        ("{n_omitted} rows were left out because values are missing", "missing values by column: {na_counts}"),
    ),
    "factor_response": Wording(
        ("the response {column} is a factor of two levels: {success} is success, {failure} is failure",),
    ),
    "zero_trials": Wording(("rows without trials: {n_rows}", "they are in the model and say nothing about its response")),
    "predictor_scales": Wording(
        ("the predictors have standard deviations of very different or extreme size: {standard_deviations}",
         "the fit scales them inside and reports in their units"),
    ),
}
