"""The fitted model: estimates, criteria and the certificate. Refers to its compiled model by hash."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Record
from mixeff_fast.schemas.compiled import Diagnostic


class ConeRecord(Record):
    """Optimality conditions on one term's covariance matrix (see the certificate's documentation)."""

    term_id: str
    group: str
    width: int
    rank: int
    null_minimum: float | None
    null_maximum: float | None
    satisfied: bool


class OptimizerCertificate(Record):
    """Evidence that the fit is an optimum, and the verdict drawn from it."""

    status: Literal[
        "converged_interior", "converged_boundary", "converged_reduced_rank", "not_optimized", "not_identifiable",
        "not_assessed",
    ]
    quality: Literal["certified", "approximate", "unavailable", "not_assessed", "failed"]
    reason: str
    optimizer: Literal["newton_average_information"]
    stop: str
    objective: float
    evaluations: int
    iterations: int
    certificate_evaluations: int
    restarts: int
    gradient_norm: float
    newton_decrement: float
    hessian_route: Literal["gradient_differences", "average_information"]
    hessian_minimum_eigenvalue: float
    hessian_condition_number: float
    hessian_rank: int
    n_free: int
    n_boundary: int
    cones: tuple[ConeRecord, ...]


class Coefficient(Record):
    """One fixed effect. An aliased column has no estimate and says so in ``status``."""

    term: str
    estimate: float | None
    std_error: float | None
    statistic: float | None
    statistic_name: Literal["z"]
    p_value: float | None
    log_p_value: float | None
    method: Literal["asymptotic_wald_z"]
    status: Literal["available", "not_estimable", "not_assessed"]
    reason_code: str | None


class VarCorrRow(Record):
    """A variance (``var2`` None) or a covariance of random effects; ``sdcor`` is the SD or the correlation."""

    group: str
    var1: str | None
    var2: str | None
    vcov: float
    sdcor: float | None


class FitArtifact(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.fit_artifact"
    VERSION: ClassVar[str] = "0.2.0"

    compiled_sha256: str
    formula: str
    criterion: Literal["ML", "REML"]
    objective: float
    loglik: float
    aic: float
    bic: float
    deviance: float | None
    n_rows: int
    n_parameters: int
    df_residual: int
    n_levels: dict[str, int]
    theta: dict[str, float]
    sigma: float
    is_singular: bool
    coefficients: tuple[Coefficient, ...]
    correlation: tuple[tuple[float, ...], ...]
    varcorr: tuple[VarCorrRow, ...]
    scaled_residuals: tuple[float, float, float, float, float] | None
    certificate: OptimizerCertificate
    diagnostics: tuple[Diagnostic, ...]
