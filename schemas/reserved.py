"""Labels of the schemas in use that nothing emits yet, by record and field, each with the reason.

Every other label of a closed vocabulary is emitted by some test.
"""

from __future__ import annotations

_GLMM = "generalized linear mixed models"
_STRUCTURED = "cs() and ar1() are read and refused before an artifact is made"
_BOOTSTRAP = "there is no bootstrap of fixed effects yet"
_EXACT = "no route to a p-value is exact in finite samples"
_STAGE = "what fails at this stage is a typed error"
_SELECTION = "no verb selects models"

_FAMILY = {"structured": _STRUCTURED}

RESERVED: dict[str, dict[str, str]] = {
    "CardBlock.covariance": _FAMILY,
    "CovarianceKernel.covariance_family": _FAMILY,
    "CovarianceKernel.support_status": {"parsed_refused": _STRUCTURED},
    "InformationBudget.covariance_family": _FAMILY,
    "ParameterTrace.covariance_family": _FAMILY,
    "RandomTerm.covariance": _FAMILY,
    "RandomTerm.covariance_support": {"parsed_refused": _STRUCTURED},
    "ThetaMap.covariance_family": _FAMILY,
    "ModelBoundary.model_kind": {"generalized_linear_mixed_model": _GLMM},
    "ModelBoundary.objective_approximation": {"laplace": _GLMM, "pirls": _GLMM, "adaptive_gauss_hermite": _GLMM},
    "ModelBoundary.optimizer_certificate_scope": {"approximated_objective": _GLMM},
    "TrunkAlternative.trunk": {"none": "where there is no trunk there is nothing to choose"},
    "FitSummary.response_constants": {"dropped": _GLMM},
    "FixedEffectCovarianceMatrix.method": {
        "joint_laplace_observed_information": _GLMM, "pirls_profiled_working_hessian": _GLMM,
    },
    "FixedEffectCovarianceMatrix.reliability": {"moderate": _GLMM},
    "FixedEffectRow.method": {"bootstrap": _BOOTSTRAP},
    "FixedEffectRow.reliability": {"high": _EXACT},
    "InferenceRoute.reliability": {"high": _EXACT},
    "InferenceOptions.criterion": {"approximate ML": _GLMM},
    "OptimizerCertificate.quality": {"unavailable": "exact derivatives are always there"},
    "IdentifiabilityVerdict.level": {"not_assessed": "the design is always looked at"},
    "Diagnostic.stage": {
        "formula_parsing": _STAGE, "parameterization": _STAGE, "inference": "inference_unavailable is reserved",
        "serialization": _STAGE,
    },
    "Reduction.trigger": {"selection_time": _SELECTION},
    "CovarianceTransition.trigger": {
        "design_time": "what the design changed is a reduction of the compiled model", "selection_time": _SELECTION,
    },
    "ModelChange.trigger": {"selection_time": _SELECTION},
    "ComparisonRow.comparison_class": {"different_family": _GLMM, "different_link": _GLMM},
    "ComparisonRow.reason_code": {"different_family": _GLMM, "different_link": _GLMM},
    "ComparisonAssessment.comparison_class": {"different_family": _GLMM, "different_link": _GLMM},
    "ComparisonAssessment.lrt_reason": {"different_family": _GLMM, "different_link": _GLMM},
}
