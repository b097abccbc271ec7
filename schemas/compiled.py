"""The compiled model: what was asked for, how it was read, what the data support and how it will be factored. Written
before any fit, and never changed by one."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, NonNegative, Record
from mixeff_fast.schemas.design import DesignAudit
from mixeff_fast.schemas.diagnostics import Diagnostic
from mixeff_fast.schemas.parameters import ParameterTrace, ThetaMap
from mixeff_fast.schemas.policy import (
    CompilerPolicy,
    Intent,
    ModelState,
    PolicyRecommendation,
    Reduction,
    Thresholds,
)
from mixeff_fast.schemas.semantic import CrossCardConstraint, RandomTermCard, SemanticModel

LevelOrder = Literal["sorted", "declared", "numeric", "logical"]


class ModelBoundary(Record):
    """What kind of model this is, and which objective its optimizer minimizes.

    ``family_parameter`` is a dispersion or the theta of the negative binomial, ``family_parameter_value`` its value where it is
    known and not estimated; None where the family has none.
    """

    model_kind: Literal["linear_mixed_model", "generalized_linear_mixed_model"]
    response_distribution: str
    link: str
    objective_approximation: Literal["exact_gaussian", "chosen_by_fit", "laplace", "pirls", "adaptive_gauss_hermite"]
    optimizer_certificate_scope: Literal["exact_objective", "approximated_objective"]
    family_parameter: Literal["theta", "dispersion"] | None = None
    family_parameter_status: Literal["estimated", "known"] | None = None
    family_parameter_value: NonNegative | None = None


class ResponseRecord(Record):
    """How the response was read. ``failure`` and ``success`` are the labels of a Boolean or of a factor; ``n_trials`` is the
    number of trials of all rows of a binomial response, ``n_zero_trials`` the number of rows without any."""

    name: str
    kind: Literal["binary_numbers", "boolean", "two_level_factor", "proportions", "cbind", "numeric"]
    failure: str | None
    success: str | None
    n_trials: Count | None
    n_zero_trials: Count


class LevelRecord(Record):
    """Levels of one factor and where their order comes from. ``reference`` is the first level."""

    variable: str
    n_levels: Count
    order: LevelOrder
    reference: str
    contrast: str | None


class TrunkAlternative(Record):
    """A way to factor the trunk that was considered; cost of the trunk alone, None where it was not worked out."""

    name: str
    trunk: Literal["none", "dense", "sparse"]
    chain: tuple[str, ...]
    flops: NonNegative | None
    inverse_flops: NonNegative | None
    bytes: Count | None
    chosen: bool
    why: str


class FactorizationPlan(Record):
    """Elimination order and predicted cost: ``chain`` is eliminated level by level, ``trunk`` as ``trunk_kind`` says: as one
    matrix, or as ``supernodes`` in approximate minimum degree order."""

    chain: tuple[str, ...]
    trunk: tuple[str, ...]
    trunk_kind: Literal["none", "dense", "sparse"]
    trunk_columns: Count
    supernodes: Count
    flops: NonNegative
    inverse_flops: NonNegative
    bytes: Count
    alternatives: tuple[TrunkAlternative, ...]


class DataFingerprint(Record):
    """A hash of the values that enter the model: None, with the reason, where the rows are not in memory."""

    algorithm: Literal["sha256_tree_v1"]
    digest: str | None
    reason: str


class DataRecord(Record):
    """Rows read and used."""

    n_source_rows: Count
    n_rows: Count
    missing: dict[str, Count]
    weighted: bool
    has_offset: bool
    fingerprint: DataFingerprint


class CompilationRecord(Record):
    """What it takes to compile the model again. ``package_versions`` are those of the numerical libraries."""

    intent: Intent
    na_action: Literal["error", "omit"]
    rows_in_memory: bool
    package_versions: dict[str, str]


class CompiledModelArtifact(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.compiled_model_artifact"
    VERSION: ClassVar[str] = "1.1.0"

    model_boundary: ModelBoundary
    requested_formula: str
    canonical_formula: str
    effective_formula: str | None
    semantic_model: SemanticModel
    effective_semantic_model: SemanticModel | None
    coefficients: tuple[str, ...]
    theta_maps: tuple[ThetaMap, ...]
    parameter_traces: tuple[ParameterTrace, ...]
    design_audit: DesignAudit
    random_term_cards: tuple[RandomTermCard, ...]
    cross_card_constraints: tuple[CrossCardConstraint, ...]
    compiler_policy: CompilerPolicy
    policy_recommendations: tuple[PolicyRecommendation, ...]
    reductions: tuple[Reduction, ...]
    model_state: ModelState
    thresholds: Thresholds
    levels: tuple[LevelRecord, ...]
    data: DataRecord
    plan: FactorizationPlan
    reproducibility: CompilationRecord
    diagnostics: tuple[Diagnostic, ...]
    response_coding: ResponseRecord | None = None
