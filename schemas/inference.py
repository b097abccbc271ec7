"""Fixed-effect inference: rows that carry their route, status, reliability and reason."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, NonNegative, Probability, Record

InferenceMethod = Literal["asymptotic_wald_z", "satterthwaite", "kenward_roger", "bootstrap", "not_computed"]
RowStatus = Literal["available", "p_value_unavailable", "not_estimable", "not_assessed", "unsupported"]
Reliability = Literal["high", "moderate", "low", "not_available"]


class FixedEffectRow(Record):
    """One coefficient, contrast or term. A row that is not ``available`` has a ``reason_code`` and a ``reason``."""

    label: str
    kind: Literal["coefficient", "contrast", "term"]
    estimate: float | None
    std_error: NonNegative | None
    statistic: float | None
    statistic_name: Literal["z", "t", "f", "chi_square"] | None
    numerator_df: NonNegative | None
    denominator_df: NonNegative | None
    p_value: Probability | None
    log_p_value: float | None
    method: InferenceMethod
    requested_method: str
    status: RowStatus
    reliability: Reliability
    reliability_reason: str | None
    reason_code: str | None
    reason: str
    notes: tuple[str, ...]


class FixedEffectInferenceTable(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.fixed_effect_inference_table"
    VERSION: ClassVar[str] = "1.0.0"

    rows: tuple[FixedEffectRow, ...]


class FixedEffectCovarianceMatrix(Record):
    """Covariance matrix of the fixed effects; None in the rows and columns of aliased ones."""

    coef_names: tuple[str, ...]
    matrix: tuple[tuple[float | None, ...], ...] | None
    method: Literal["model_based", "joint_laplace_observed_information", "pirls_profiled_working_hessian", "unavailable"]
    status: Literal["available", "unavailable"]
    reliability: Reliability
    reason_code: str | None
    rank: Count
    expected_rank: Count
    aliased: tuple[str, ...]
