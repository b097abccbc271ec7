"""The closed vocabularies of mixeff_fast, in one place. The labels are wire labels: they never change meaning."""

from __future__ import annotations

from typing import Literal

CovarianceWrapper = Literal["us", "diag", "cs", "ar1"]
CovarianceFamily = Literal["scalar", "diagonal", "full", "structured"]
GroupPath = Literal["marginal", "cell", "interaction"]
LevelOrder = Literal["sorted", "declared", "numeric", "logical"]
NaAction = Literal["error", "omit"]
FitStatus = Literal[
    "converged_interior",
    "converged_boundary",
    "converged_reduced_rank",
    "not_optimized",
    "not_identifiable",
    "not_assessed",
]
CertificationQuality = Literal["certified", "approximate", "unavailable", "not_assessed", "failed"]
HessianRoute = Literal["gradient_differences", "average_information"]
ResidualType = Literal["response", "pearson", "deviance", "working"]
