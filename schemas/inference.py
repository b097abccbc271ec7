"""Fixed-effect inference: rows that carry their route, status, reliability and reason."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, Level, NonNegative, PositiveCount, Probability, Record
from mixeff_fast.vocabulary import (
    AnovaType,
    EstimabilityStatus,
    Estimand,
    InferenceMethod,
    InferenceRequest,
    Reliability,
    RowKind,
    RowStatus,
    StatisticName,
)


class Estimability(Record):
    """Whether what a row asks for is determined. ``rank``: of its estimable restrictions; ``requested_rank``: of all.

    ``basis_dependent``: a coefficient that is told apart from others only because columns were left out of the fit.
    """

    estimand: Estimand
    status: EstimabilityStatus
    rank: Count
    requested_rank: Count


class ContrastFamily(Record):
    """Several restrictions tested at once. ``effective_rank``: how many of them are independent."""

    restriction_rows: PositiveCount
    effective_rank: Count
    rank_deficient: bool
    rhs_nonzero: bool
    f_scale: NonNegative | None


class FixedEffectRow(Record):
    """One coefficient, contrast or term. A row that is not ``available`` has a ``reason_code`` and a ``reason``.

    ``estimate`` of a contrast is its difference from the right-hand side. ``family`` is of rows with several restrictions;
    its ``f_scale`` is what a Kenward-Roger statistic was multiplied by.
    """

    label: str
    kind: RowKind
    estimate: float | None
    std_error: NonNegative | None
    statistic: float | None
    statistic_name: StatisticName | None
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
    estimability: Estimability | None = None
    family: ContrastFamily | None = None


class FixedEffectInferenceTable(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.fixed_effect_inference_table"
    VERSION: ClassVar[str] = "1.1.0"

    rows: tuple[FixedEffectRow, ...]


class Interval(Record):
    """An interval around an estimate; None where there is no test either."""

    lower: float | None
    upper: float | None


class ContrastTable(Artifact):
    """Contrasts of fixed effects: ``matrix @ beta - rhs``, a row of ``rows`` for each row of ``matrix``.

    ``joint`` tests all of them at once, where there are several. ``intervals`` are of the level ``level``, where one was asked
    for.
    """

    NAME: ClassVar[str] = "mixeff_fast.contrast_table"
    VERSION: ClassVar[str] = "1.0.0"

    requested_method: InferenceRequest
    coef_names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    rhs: tuple[float, ...]
    rows: tuple[FixedEffectRow, ...]
    joint: FixedEffectRow | None
    level: Level | None
    intervals: tuple[Interval, ...]


class AnovaTerm(Record):
    """A term of an analysis of variance: its hypothesis ``matrix @ beta = 0`` and the test of it.

    ``mean_square`` is the statistic times the residual variance and ``sum_of_squares`` that times the numerator degrees of
    freedom; None where the statistic is not an F.
    """

    matrix: tuple[tuple[float, ...], ...]
    row: FixedEffectRow
    sum_of_squares: NonNegative | None
    mean_square: NonNegative | None


class AnovaTable(Artifact):
    """Tests of terms. ``type``: 1 sequential, 2 after all terms that do not contain it, 3 on marginal means."""

    NAME: ClassVar[str] = "mixeff_fast.anova_table"
    VERSION: ClassVar[str] = "1.0.0"

    formula: str
    type: AnovaType
    requested_method: InferenceRequest
    coef_names: tuple[str, ...]
    terms: tuple[AnovaTerm, ...]


class EstimabilityRow(Record):
    """One contrast, and whether it can be estimated."""

    label: str
    assessment: Estimability
    reason_code: str | None
    reason: str


class EstimabilityTable(Artifact):
    """Which contrasts lie in the row space of the design. ``relations`` are the combinations of columns that are zero in every
    row of the data: one for each column that was left out."""

    NAME: ClassVar[str] = "mixeff_fast.estimability_table"
    VERSION: ClassVar[str] = "1.0.0"

    coef_names: tuple[str, ...]
    matrix: tuple[tuple[float, ...], ...]
    relations: tuple[tuple[float, ...], ...]
    rows: tuple[EstimabilityRow, ...]


class InferenceRoute(Record):
    """What a route of inference would do on one fit.

    ``method`` is what the verbs take; ``auto``: what ``"auto"`` comes to. ``evaluations`` are of the criterion with its
    gradient, ``refits`` fits of the model or of a smaller one; ``flops`` and ``bytes`` estimate the whole.
    """

    method: str
    route: str
    auto: bool
    verbs: tuple[str, ...]
    status: RowStatus
    reliability: Reliability
    reliability_reason: str | None
    reason_code: str | None
    reason: str
    evaluations: Count
    refits: Count
    flops: NonNegative
    bytes: NonNegative


class InferenceOptions(Artifact):
    """The routes of inference on a fit, in a fixed order that puts none before another. ``term``: whose test they are of."""

    NAME: ClassVar[str] = "mixeff_fast.inference_options"
    VERSION: ClassVar[str] = "1.0.0"

    term: str | None
    nsim: PositiveCount
    criterion: Literal["ML", "REML", "approximate ML"]
    fit_status: str
    estimability: Estimability | None
    routes: tuple[InferenceRoute, ...]


class DroppedTerm(Record):
    """A model without one term against the model with it; ``term`` is None for the model itself."""

    term: str | None
    formula: str
    n_parameters: Count
    aic: float | None
    bic: float | None
    loglik: float | None
    row: FixedEffectRow | None


class DropTable(Artifact):
    """Every term that can be left out alone. ``refitted``: by maximum likelihood, since REML criteria of different fixed
    effects do not compare."""

    NAME: ClassVar[str] = "mixeff_fast.drop_table"
    VERSION: ClassVar[str] = "1.0.0"

    test: str
    refit_policy: Literal["auto", "error", "ml"]
    refitted: bool
    terms: tuple[DroppedTerm, ...]


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
