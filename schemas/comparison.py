"""Several fits side by side, and the test of a variance at its boundary."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, NonNegative, PositiveCount, Probability, Record
from mixeff_fast.vocabulary import (
    ComparisonAlternative,
    ComparisonClass,
    ComparisonReason,
    ComparisonStatus,
    LrtReason,
    ModelRelation,
)


class ComparisonRow(Record):
    """One fit, tested against the row above. ``delta_aic`` and ``delta_bic`` count from the smallest of the table, and are None
    where the criteria of the fits do not compare. ``loglik_within_optimizer_tol``: the log-likelihood is below that of the row
    above, by no more than the optimizer leaves open."""

    label: str
    formula: str
    criterion: Literal["ML", "REML"]
    nobs: PositiveCount
    dof: Count
    loglik: float | None
    deviance: float | None
    aic: float | None
    bic: float | None
    delta_aic: NonNegative | None
    delta_bic: NonNegative | None
    chisq: NonNegative | None
    chisq_dof: Count | None
    p_value: Probability | None
    log_p_value: float | None
    loglik_within_optimizer_tol: bool | None
    comparison_class: ComparisonClass | None
    lrt_available: bool
    information_criteria_available: bool
    requires_ml_refit: bool
    status: ComparisonStatus
    reason_code: ComparisonReason | None
    reason: str


class ComparisonAssessment(Record):
    """How the models of two neighbouring rows relate; ``nested``: the smaller one lies in the larger one."""

    smaller: str
    larger: str
    comparison_class: ComparisonClass
    fixed_effects: ModelRelation
    random_effects: ModelRelation
    lrt_available: bool
    lrt_reason: LrtReason | None
    information_criteria_available: bool
    ml_refit_required: bool
    valid_alternatives: tuple[ComparisonAlternative, ...]


class ModelComparisonTable(Artifact):
    """Rows in order of their number of parameters; one assessment for each pair of neighbours."""

    NAME: ClassVar[str] = "mixeff_fast.model_comparison_table"
    VERSION: ClassVar[str] = "1.0.0"

    method: Literal["auto", "likelihood_ratio", "information_criteria"]
    refit_policy: Literal["auto", "error", "ml"]
    refit_performed: bool
    refitted: tuple[str, ...]
    rows: tuple[ComparisonRow, ...]
    assessments: tuple[ComparisonAssessment, ...]


class MixtureComponent(Record):
    """A part of a reference distribution: a chi-square with ``chisq_df``, or a point mass."""

    weight: Probability
    chisq_df: PositiveCount | None
    point_mass_at: float | None


class BoundaryLRT(Artifact):
    """A likelihood-ratio test whose null hypothesis puts a variance at zero, against a mixture of chi-squares."""

    NAME: ClassVar[str] = "mixeff_fast.boundary_lrt"
    VERSION: ClassVar[str] = "1.0.0"

    term: str
    term_id: str
    group: str
    comparison_class: ComparisonClass | None
    statistic: NonNegative | None
    statistic_name: Literal["chi_bar_square"]
    ordinary_chisq_dof: Count | None
    mixture: tuple[MixtureComponent, ...]
    p_value: Probability | None
    refit_performed: bool
    status: ComparisonStatus
    reason_code: (
        Literal[
            "boundary_lrt_not_applicable_to_fixed_effects", "boundary_lrt_requires_ml",
            "boundary_lrt_requires_variance_component_comparison", "boundary_lrt_likelihood_comparison_unavailable",
            "boundary_lrt_mixture_weights_not_certified",
        ]
        | None
    )
    reason: str
    shape_restrictions: tuple[str, ...]
    references: tuple[str, ...]
    notes: tuple[str, ...]
