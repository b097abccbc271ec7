"""Variances of predictions, part by part."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, Level, NonNegative, Record

PredictionReason = Literal[
    "fixed_effects_not_estimable", "conditional_covariance_unavailable", "new_group_level", "rows_not_in_memory"
]


class PredictionVarianceRow(Record):
    """One row of the new data. ``combined_variance`` is that of the mean; ``prediction_variance`` adds the residual."""

    row: Count
    prediction: float | None
    fixed_variance: NonNegative | None
    random_variance: NonNegative | None
    fixed_random_covariance: float | None
    combined_variance: NonNegative | None
    se_fit: NonNegative | None
    prediction_variance: NonNegative | None
    confidence_lower: float | None
    confidence_upper: float | None
    prediction_lower: float | None
    prediction_upper: float | None
    status: Literal["available", "degraded", "unavailable"]
    reason_code: PredictionReason | None


class PredictionVariance(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.prediction_variance"
    VERSION: ClassVar[str] = "1.0.0"

    method: Literal[
        "lmm_conditional_mode_covariance", "glmm_joint_laplace_conditional_delta", "glmm_pirls_profiled_conditional_delta",
        "unavailable",
    ]
    level: Level
    rows: tuple[PredictionVarianceRow, ...]
    notes: tuple[str, ...]
