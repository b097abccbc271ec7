"""Evidence about the optimum, and the verdict drawn from it. Identifiability is a separate matter with a record of its own."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from mixeff_fast.schemas.base import Count, NonNegative, Record

FitStatus = Literal[
    "converged_interior", "converged_boundary", "converged_reduced_rank", "not_optimized", "not_identifiable",
    "not_assessed",
]
Quality = Literal["certified", "approximate", "unavailable", "not_assessed", "failed"]


class OptimizerStop(Record):
    """How the search ended; ``objective`` is None where it is not finite."""

    code: str
    acceptable: bool
    budget_exhausted: bool
    evaluations: Count
    max_evaluations: Count
    iterations: Count
    restarts: Count
    certificate_evaluations: Count
    objective: float | None


class ParameterSpace(Record):
    """Covariance parameters on the face the optimum lies on, and those held at zero. ``n_beside``: fixed effects and parameters
    of a family that are searched together with them."""

    n_theta: Count
    n_free: Count
    n_boundary: Count
    boundary_indices: tuple[Count, ...]
    n_beside: Count = 0


class SampleSize(Record):
    """Rows against covariance parameters."""

    n_observations: Count
    n_theta: Count
    observations_per_theta: NonNegative | None


class GradientEvidence(Record):
    """The exact gradient at the optimum. ``scaled_norm``: largest derivative over the free parameters, each divided by the root
    of its curvature. ``newton_decrement``: twice the gain a Newton step predicts."""

    method: Literal["exact"]
    scaled_norm: float | None
    newton_decrement: float | None


class HessianEvidence(Record):
    """The Hessian over the free parameters, scaled to a unit diagonal."""

    method: Literal["gradient_differences", "average_information"]
    min_eigenvalue: float | None
    condition_number: float | None
    rank: Count
    expected_rank: Count


class ConeRecord(Record):
    """Optimality conditions on one term's covariance matrix: ``rank`` of its ``width`` directions are supported, and the
    objective's derivative along the others lies between ``null_minimum`` and ``null_maximum``."""

    term_id: str
    group: str
    width: Count
    rank: Count
    null_minimum: float | None
    null_maximum: float | None
    satisfied: bool
    classification: Literal[
        "interior_converged", "valid_zero_variance", "valid_rank_deficient_covariance", "invalid_boundary_stop"
    ]


class GradientCheck(Record):
    check: Literal["free_gradient"]
    passed: bool
    value: float | None
    tolerance: NonNegative


class BoundaryCheck(Record):
    check: Literal["boundary_gradient"]
    passed: bool
    value: float | None
    term_id: str


class HessianCheck(Record):
    check: Literal["hessian_positive_on_face"]
    passed: bool
    min_eigenvalue: float | None


class RankCheck(Record):
    check: Literal["information_rank"]
    passed: bool
    rank: Count
    expected: Count


Check = Annotated[GradientCheck | BoundaryCheck | HessianCheck | RankCheck, Field(discriminator="check")]


class InnerSolve(Record):
    """The conditional modes at the optimum: the decrement of their own penalized deviance (None where it is not finite), and
    the largest with which modes are accepted. Where none are accepted, the objective counts as infinite."""

    newton_decrement: float | None
    tolerance: NonNegative
    converged: bool


class OptimizerCertificate(Record):
    """Evidence that the fit is an optimum, and the verdict drawn from it. ``inner`` is None of a linear mixed model."""

    status: FitStatus
    quality: Quality
    reason: str
    optimizer: Literal["newton_average_information"]
    objective: float | None
    caller_set: tuple[str, ...]
    stop: OptimizerStop
    parameter_space: ParameterSpace
    sample_size: SampleSize
    gradient: GradientEvidence
    hessian: HessianEvidence
    cones: tuple[ConeRecord, ...]
    checks: tuple[Check, ...]
    inner: InnerSolve | None = None


class OptimizerVerdict(Record):
    """The optimizer's axis: is this an optimum?"""

    level: Literal["certified", "ok", "caution", "failed", "not_assessed"]
    headline: str
    options: tuple[str, ...]


class IdentifiabilityVerdict(Record):
    """The other axis: do the data determine what the model asks? ``findings`` are codes of diagnostics."""

    level: Literal["ok", "caution", "failed", "not_assessed"]
    headline: str
    findings: tuple[str, ...]
    options: tuple[str, ...]


class ConvergenceVerdict(Record):
    """Two separate axes. A structural failure leaves the optimizer's options empty: no setting mends it."""

    optimizer: OptimizerVerdict
    identifiability: IdentifiabilityVerdict
