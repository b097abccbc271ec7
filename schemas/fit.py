"""The fitted model: estimates, criteria, evidence. Holds its compiled model, and the hash of it."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, NonNegative, Record
from mixeff_fast.schemas.certificate import ConvergenceVerdict, OptimizerCertificate
from mixeff_fast.schemas.compiled import CompiledModelArtifact
from mixeff_fast.schemas.covariance import EffectiveCovariance, VarCorrRow
from mixeff_fast.schemas.diagnostics import Diagnostic
from mixeff_fast.schemas.glmm import GlmmFit
from mixeff_fast.schemas.inference import FixedEffectCovarianceMatrix, FixedEffectInferenceTable, InferenceRoute
from mixeff_fast.schemas.parameters import ParameterTrace
from mixeff_fast.schemas.policy import CovarianceTransition, ModelState, Reduction


class FitSummary(Record):
    """The numbers that describe a fit as a whole. ``objective`` is -2 log-likelihood, or the REML criterion; of a generalized
    linear mixed model an approximation of the former. ``sigma`` is the root of the dispersion, None of a family that has none.
    None where a number is not finite, as when a model fits its response exactly."""

    formula: str
    criterion: Literal["ML", "REML"]
    objective: float | None
    loglik: float | None
    aic: float | None
    bic: float | None
    deviance: float | None
    response_constants: Literal["included", "dropped"]
    n_rows: Count
    n_parameters: Count
    df_residual: int
    n_levels: dict[str, Count]
    theta: dict[str, float]
    sigma: NonNegative | None
    is_singular: bool
    evaluations: Count
    scaled_residuals: tuple[float, float, float, float, float] | None


class FitRecord(Record):
    """What it takes to fit the model again to the same numbers."""

    max_evaluations: Count
    tolerance: NonNegative
    start: tuple[float, ...] | None
    caller_set: tuple[str, ...]


class FitArtifact(Artifact):
    """``fixed_effects`` has the Wald test of each coefficient; ``inference_routes`` what every other route would do; ``glmm``
    is None of a linear mixed model."""

    NAME: ClassVar[str] = "mixeff_fast.fit_artifact"
    VERSION: ClassVar[str] = "1.1.0"

    compiled_sha256: str
    compiled: CompiledModelArtifact
    summary: FitSummary
    fixed_effects: FixedEffectInferenceTable
    inference_routes: tuple[InferenceRoute, ...] = ()
    fixed_effect_covariance: FixedEffectCovarianceMatrix
    varcorr: tuple[VarCorrRow, ...]
    effective_covariance: tuple[EffectiveCovariance, ...]
    reductions: tuple[Reduction, ...]
    covariance_transitions: tuple[CovarianceTransition, ...]
    parameter_traces: tuple[ParameterTrace, ...]
    model_state: ModelState
    certificate: OptimizerCertificate
    verdict: ConvergenceVerdict
    reproducibility: FitRecord
    diagnostics: tuple[Diagnostic, ...]
    glmm: GlmmFit | None = None
