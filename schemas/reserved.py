"""Labels of the schemas in use that nothing emits yet, by record and field, each with the reason.

Every other label of a closed vocabulary is emitted by some test.
"""

from __future__ import annotations

_AT_FIT = "a fit does not change its compiled model; its artifact has it in glmm.approximation"
_STRUCTURED = "cs() and ar1() are read and refused before an artifact is made"
_BOOTSTRAP = "there is no bootstrap of fixed effects yet"
_EXACT = "no route to a p-value is exact in finite samples"
_ROUTE = "a matrix is always computed; where it says nothing the record of the covariance has the reason"
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
    "ModelBoundary.objective_approximation": {
        "laplace": _AT_FIT, "pirls": _AT_FIT, "adaptive_gauss_hermite": _AT_FIT,
    },
    "TrunkAlternative.trunk": {"none": "where there is no trunk there is nothing to choose"},
    "FixedEffectRow.method": {"bootstrap": _BOOTSTRAP},
    "FixedEffectRow.reliability": {"high": _EXACT},
    "InferenceRoute.reliability": {"high": _EXACT},
    "FitSummary.response_constants": {"dropped": "every constant of a likelihood is in it"},
    "GlmmFit.covariance_route": {"unavailable": _ROUTE},
    "GlmmStateRecord.vcov_route": {"unavailable": _ROUTE},
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
}
