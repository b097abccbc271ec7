"""What the data can support: rank and estimability of the fixed part, information per random term, dependence paths."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, NonNegative, Record
from mixeff_fast.schemas.semantic import CovarianceFamily, GroupKind

FixedColumnKind = Literal["intercept", "numeric", "categorical_dummy", "categorical_contrast", "interaction"]
TermEstimability = Literal["estimable", "partially_estimable", "not_estimable", "not_assessed"]
BudgetStatus = Literal["sufficient", "weakly_supported", "too_rich", "not_assessable"]


class FixedEffectRank(Record):
    """Rank of the fixed-effect columns against their number; None where it was not assessed."""

    rank: Count | None
    expected: Count
    status: Literal["full_rank", "rank_deficient", "not_assessed"]
    reason: str


class FixedColumn(Record):
    """A column of X. ``aliased``: a combination of columns to its left; None where that was not assessed."""

    name: str
    source_term: str
    kind: FixedColumnKind
    aliased: bool | None


class FixedTerm(Record):
    """A fixed term and how much of it can be estimated."""

    term: str
    n_columns: Count
    status: TermEstimability
    aliased_columns: tuple[str, ...]


class ContrastBasis(Record):
    """The coding of a factor: one row of ``matrix`` per level, one column per coefficient."""

    variable: str
    levels: tuple[str, ...]
    column_names: tuple[str, ...]
    source: str
    ordered: bool
    explicit: bool
    matrix: tuple[tuple[float, ...], ...]


class EmptyCell(Record):
    """A combination of factor levels that a fixed interaction needs and no row has."""

    term: str
    factors: tuple[str, ...]
    levels: tuple[str, ...]


class FixedEffectAudit(Record):
    """``empty_cells`` lists the first of ``n_empty_cells``, which is None where cells were not counted."""

    n_rows: Count
    n_columns: Count
    rank: FixedEffectRank
    columns: tuple[FixedColumn, ...]
    terms: tuple[FixedTerm, ...]
    contrast_bases: tuple[ContrastBasis, ...]
    aliased_columns: tuple[str, ...]
    n_empty_cells: Count | None
    empty_cells: tuple[EmptyCell, ...]


class GroupSummary(Record):
    """Rows per level of a grouping factor, None where they were not counted. ``repeated``: some level has two rows or
    more."""

    name: str
    n_observations: Count
    n_levels: Count
    min_obs_per_level: Count | None
    median_obs_per_level: NonNegative | None
    max_obs_per_level: Count | None
    repeated: bool


class BasisSupport(Record):
    """Spread of a basis column within the levels of its group (over levels with two rows or more). The spread of an
    intercept is None; so is everything that was not assessed, ``supported`` included."""

    name: str
    kind: Literal[
        "intercept", "slope", "interaction", "categorical_dummy", "categorical_cell", "categorical_contrast"
    ]
    min_within_group_sd: NonNegative | None
    max_within_group_sd: NonNegative | None
    levels_with_variation: Count | None
    supported: bool | None
    reason: str


class EffectiveN(Record):
    """Levels and rows against what a term asks of them."""

    n_rows: Count
    n_levels: Count
    min_obs_per_level: Count | None
    max_obs_per_level: Count | None
    levels_per_basis_direction: NonNegative
    levels_per_covariance_parameter: NonNegative
    rows_per_covariance_parameter: NonNegative
    total_rows_can_mislead: bool


class InformationBudget(Record):
    """Whether the data can be expected to tell a term's covariance parameters.

    ``expected_standard_error`` is that of the standard deviation of the effects in the worst direction, relative to its
    size, where effects vary as much as residuals, or in a family without a dispersion have a standard deviation of 1 on the
    scale of the link: from the design and, there, the mean response. None where the design cannot tell the parameters, or it
    was not worked out. ``diagonal_status`` is the status of the same columns without correlations, for a full covariance of
    two or more. ``most_effects`` is how many random effects of one term so many rows bear.
    """

    n_levels: Count
    basis_dimension: Count
    covariance_family: CovarianceFamily
    requested_covariance_parameters: Count
    min_levels_variance: Count
    min_levels_full_covariance: Count | None
    effective_n: EffectiveN
    row_saturated: bool
    expected_standard_error: NonNegative | None
    status: BudgetStatus
    diagonal_status: BudgetStatus | None
    reason: str
    most_effects: Count | None = None


class RandomTermAudit(Record):
    """Design support of one random term."""

    term_id: str
    group: GroupSummary
    basis_size: Count
    requested_covariance_parameters: Count
    basis: tuple[BasisSupport, ...]
    information_budget: InformationBudget


class CovarianceKernel(Record):
    """A source of dependence between rows that the model has."""

    term_id: str
    group: str
    parts: tuple[str, ...]
    path: GroupKind
    has_intercept: bool
    basis: tuple[str, ...]
    covariance_family: CovarianceFamily
    support_status: Literal["supported", "parsed_refused"]
    expected_parameter_count: Count
    source_syntax: str


class RepeatedUnit(Record):
    """A unit that rows repeat. ``evidence`` says why it is thought of as a unit."""

    unit: str
    parts: tuple[str, ...]
    path: GroupKind
    evidence: Literal["grouping_factor", "declared_role", "nested_structure", "column_name", "many_levels"]
    n_observations: Count
    n_levels: Count
    min_obs_per_level: Count | None
    max_obs_per_level: Count | None
    repeated: bool
    covered_by_terms: tuple[str, ...]


class Nesting(Record):
    """Every level of ``inner`` lies in one level of ``outer``; ``labels_reused`` when only ``outer:inner`` does."""

    inner: str
    outer: str
    labels_reused: bool


class MissingDependencePath(Record):
    """A unit whose rows are repeated and whose dependence no term carries."""

    unit: str
    parts: tuple[str, ...]
    path: GroupKind
    n_levels: Count
    max_obs_per_level: Count | None
    reason: str
    random_term: str


class CovarianceKernelGraph(Record):
    """Sources of dependence in the model, units in the data, and units that no term covers."""

    kernels: tuple[CovarianceKernel, ...]
    repeated_units: tuple[RepeatedUnit, ...]
    nesting: tuple[Nesting, ...]
    missing_dependence_paths: tuple[MissingDependencePath, ...]
    columns_examined: tuple[str, ...]


class DesignAudit(Record):
    """Everything the data say about the model before it is fitted. ``components`` counts the disconnected parts of two
    crossed grouping factors, where there are most; 1 where all are connected or none are crossed, None where not assessed."""

    fixed_effects: FixedEffectAudit
    random_terms: tuple[RandomTermAudit, ...]
    covariance_kernels: CovarianceKernelGraph
    components: Count | None
