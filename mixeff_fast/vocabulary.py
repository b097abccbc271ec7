"""The closed vocabularies of mixeff_fast, in one place. The labels are wire labels: they never change meaning."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

CovarianceWrapper = Literal["us", "diag", "cs", "ar1"]
CovarianceFamily = Literal["scalar", "diagonal", "full", "structured"]
GroupPath = Literal["marginal", "cell", "interaction"]
LevelOrder = Literal["sorted", "declared", "numeric", "logical"]
NaAction = Literal["error", "omit"]
FamilyName = Literal["binomial", "poisson", "gamma", "inverse_gaussian", "negative_binomial", "gaussian"]
LinkName = Literal["logit", "probit", "cloglog", "cauchit", "log", "sqrt", "identity", "inverse", "inverse_square"]
FamilyParameter = Literal["theta", "dispersion"]
ResponseKind = Literal["binary_numbers", "boolean", "two_level_factor", "proportions", "cbind", "numeric"]
FitStatus = Literal[
    "converged_interior",
    "converged_boundary",
    "converged_reduced_rank",
    "not_optimized",
    "not_identifiable",
    "not_assessed",
]
CertificationQuality = Literal["certified", "approximate", "unavailable", "not_assessed", "failed"]
Limit = Literal["", "theta_infinite", "dispersion_zero", "parameter_flat"]
HessianRoute = Literal["gradient_differences", "average_information"]
InferencePlan = Literal["auto", "none"]
ResidualType = Literal["response", "pearson", "deviance", "working"]
Role = Literal["sampled_unit", "item", "site", "batch", "block", "treatment", "repeated_unit", "unknown"]
Intent = Literal["confirmatory_as_specified", "confirmatory_design_compiled", "exploratory", "predictive"]
ModelRelation = Literal["same", "nested", "reverse_nested", "non_nested"]
ComparisonStatus = Literal["available", "not_assessed", "unsupported"]
ComparisonClass = Literal[
    "same_model_space",
    "nested_fixed_effects",
    "nested_random_effects",
    "nested_fixed_and_random_effects",
    "same_fixed_effects_covariance_difference",
    "non_nested_fixed_effects",
    "non_nested_random_effects",
    "different_family",
    "different_link",
    "mixed_fit_criterion",
]
LrtReason = Literal[
    "non_nested_models_lrt_invalid",
    "ml_refit_required",
    "lower_loglikelihood_lrt_invalid",
    "same_model_space_lrt_invalid",
    "lrt_unavailable",
    "different_family",
    "different_link",
    "mixed_fit_criterion",
]
ComparisonReason = Literal[
    LrtReason, "reference_model", "information_criteria_requested", "naive_chi_square_conservative_at_boundary"
]
ComparisonAlternative = Literal[
    "ml_refit_likelihood_ratio",
    "reml_likelihood_ratio",
    "information_criteria",
    "fixed_effect_contrast_test",
    "parametric_bootstrap",
    "cross_validation",
    "refit_with_common_criterion",
]
InferenceMethod = Literal[
    "asymptotic_wald_z", "asymptotic_wald_chi_square", "satterthwaite", "kenward_roger", "likelihood_ratio", "bootstrap",
    "not_computed",
]
InferenceRequest = Literal[
    "auto", "asymptotic", "satterthwaite", "kenward_roger", "likelihood_ratio", "bootstrap", "bootstrap_lrt",
    "cluster_bootstrap", "boundary_lrt", "none",
]
RowStatus = Literal["available", "p_value_unavailable", "not_estimable", "not_assessed", "unsupported"]
Reliability = Literal["high", "moderate", "low", "not_available"]
RowKind = Literal["coefficient", "contrast", "term"]
EstimabilityStatus = Literal["estimable", "partially_estimable", "not_estimable", "basis_dependent"]
AnovaType = Literal[1, 2, 3]
StatisticName = Literal["z", "t", "f", "chi_square"]
Estimand = Literal["fixed_contrast", "fixed_term"]


def among(value: Any, words: Collection[str]) -> bool:
    """Whether a value is one of these words; an array is none of them.

    Examples
    --------
    >>> among("error", ("error", "omit")), among(None, ("error", "omit"))
    (True, False)
    """
    return isinstance(value, str) and value in words
