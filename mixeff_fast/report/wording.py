"""Labels as words. A label that is not listed reads as itself, with spaces for underscores."""

from __future__ import annotations

import re

WORDS = {
    # rank and estimability of the fixed part
    "columns_independent": "no column is a combination of others",
    "columns_aliased": "some columns are combinations of columns to their left",
    "cells_not_counted": "the combinations of levels are too many to count",
    "partially_estimable": "partly estimable",
    # design support
    "too_rich": "too rich for the data",
    "row_saturated": "there are no more rows than random effects",
    "too_few_levels": "there are fewer levels than its effects need",
    "few_levels": "there are few levels to estimate a variance from",
    "unsupported_basis": "a column does not vary within levels",
    "not_told_by_design": "the design cannot tell the covariance parameters apart",
    "collinear_basis": "the columns are combinations of one another",
    "basis_too_wide": "it has more columns than are examined",
    "rows_not_in_memory": "the rows are not in memory",
    "expected_error_small": "the design tells the covariance well",
    "expected_error_moderate": "the design tells the covariance roughly",
    "expected_error_large": "the design hardly tells the covariance",
    "weak_information_budget": "the design tells the variance roughly",
    "structured_covariance": "a structured covariance is read and not fitted",
    "varies_within_levels": "it varies within levels",
    "constant_within_levels": "it is constant within every level",
    "no_repeated_levels": "no level has two rows",
    "intercept": "it is the intercept",
    # repeated units and roles
    "grouping_factor": "a random term groups by it",
    "grouping_factor_of_random_term": "a random term groups by it",
    "declared_role": "its role was declared",
    "nested_structure": "its levels nest with those of another factor",
    "column_name": "its name reads like that of a unit",
    "declared_by_user": "declared by the caller",
    "terms_without_intercept": "the terms on it have no intercept",
    "part_of_cells": "terms group by its combinations with other factors",
    # constraints between cards
    "double_bar_syntax": "written with a double bar",
    "separate_random_effect_blocks": "written as separate terms",
    "double_bar_factor_term": "split by a double bar, which keeps the columns of a factor together",
    # expansion
    "nested": "nesting written out",
    "crossed_with_cell": "crossing written out",
    "double_bar": "the double bar written out",
    "numeric": "as numbers",
    "indicator": "one column for each level",
    # policy
    "drop_unsupported_basis": "leave out the columns without support",
    "reduce_covariance": "reduce the covariance",
    "refuse_random_term_distribution": "refuse the term's distribution",
    "mark_not_assessable": "mark the term as not assessable",
    "no_variation_within_groups": "nothing in it varies within levels",
    "as_many_effects_as_rows": "it has as many effects as there are rows",
    "variances_not_supported": "the design does not tell its variances",
    "covariance_too_rich": "the covariance is too rich for the data",
    "covariance_weakly_supported": "the covariance is weakly supported",
    "inference_rests_on_smaller_random_part": "inference would rest on a smaller random part",
    "no_inference_with_this_term": "there would be no inference with this term",
    "support_unknown": "the support of the term is unknown",
    "recommended": "possible",
    "design_time": "at compile time",
    "certificate_time_boundary": "at the optimum, on the boundary",
    "selection_time": "in a selection of models",
    "confirmatory_as_specified": "confirmatory, as specified",
    "confirmatory_design_compiled": "confirmatory, compiled to the design",
    # covariance of the fit
    "conditional_on_supported_directions": "inference takes the directions without variance as known",
    "conditional_on_zero_variance": "inference takes the variance of zero as known",
    "direction_not_supported_by_fit": "a direction without support in this fit",
    "variance_at_zero": "the variance is zero in this fit",
    "reduced_rank": "a covariance of reduced rank",
    "zero": "no variance",
    # certificate
    "converged_interior": "converged, every covariance direction supported",
    "converged_boundary": "converged with a variance of zero",
    "converged_reduced_rank": "converged with a covariance of reduced rank",
    "not_optimized": "not an optimum",
    "interior_converged": "inside the cone of covariances",
    "valid_zero_variance": "no variance, and the criterion rises with it",
    "valid_rank_deficient_covariance": "a reduced rank, and the criterion rises along what has no variance",
    "invalid_boundary_stop": "the criterion falls along a direction that has no variance",
    "free_gradient": "the gradient over free parameters",
    "boundary_gradient": "the derivatives off the boundary",
    "hessian_positive_on_face": "the curvature over free parameters",
    "information_rank": "the rank of the curvature",
    "evaluation_limit_reached": "the limit on evaluations was reached",
    "no_further_descent": "the search found no lower point",
    "negative_curvature": "the criterion curves downward along a direction",
    "objective_not_finite": "the criterion is not finite around the point",
    "no_certificate_requested": "no certificate was asked for",
    "restarted_from_lower_point": "a lower point was found and the search went on from it",
    "gradient_differences": "differences of the exact gradient",
    "newton_average_information": "Newton steps on the average information",
    "exact_gaussian": "the exact Gaussian criterion",
    "exact_objective": "the criterion itself",
    "approximated_objective": "an approximation of the criterion",
    # inference
    "asymptotic_wald_z": "Wald z",
    "satterthwaite": "Satterthwaite",
    "kenward_roger": "Kenward-Roger",
    "normal_approximation": "normal approximation, no finite-sample correction",
    "aliased_column": "a combination of columns to its left",
    "fixed_effect_covariance_nonfinite": "the covariance matrix of the fixed effects is not finite",
    "exploratory_intent": "a p-value would take an exploratory model as given in advance",
    "predictive_intent": "a p-value would take a predictive model as given in advance",
}


_LABEL = re.compile(r"[a-z][a-z_]*")


def words(label: str) -> str:
    """A label in words, or several with slashes between them. What is no label, such as a formula, stays as it is."""
    pieces = label.split("/")
    if not all(_LABEL.fullmatch(piece) for piece in pieces):
        return label
    return ": ".join(WORDS.get(piece, piece.replace("_", " ")) for piece in pieces)
