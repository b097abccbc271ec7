"""The compiled model: what was asked for, how it was read, and how it will be factored. Written before any fit."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field

from mixeff_fast.schemas.base import Artifact, Record

LevelOrder = Literal["sorted", "declared", "numeric", "logical"]


class LevelRecord(Record):
    """Levels of one factor and where their order comes from. ``reference`` is the first level."""

    variable: str
    n_levels: int
    order: LevelOrder
    reference: str
    contrast: str | None


class RandomTermRecord(Record):
    """One random term after expansion."""

    term_id: str
    source_syntax: str
    group: str
    path: Literal["marginal", "cell", "interaction"]
    covariance_family: Literal["scalar", "diagonal", "full", "structured"]
    basis: tuple[str, ...]
    block_group: str | None
    n_levels: int
    n_parameters: int


class ThetaSlot(Record):
    """One covariance parameter: entry (``lambda_row``, ``lambda_col``) of its term's Lambda."""

    global_index: int
    name: str
    term_id: str
    lambda_row: int
    lambda_col: int
    lower_bound: float | None


class TrunkAlternative(Record):
    """A way to factor the trunk that was considered; cost of the trunk alone, None where it was not worked out."""

    name: str
    trunk: Literal["none", "dense", "sparse"]
    chain: tuple[str, ...]
    flops: float | None
    inverse_flops: float | None
    bytes: int | None
    chosen: bool
    why: str


class FactorizationPlan(Record):
    """Elimination order and predicted cost: ``chain`` is eliminated level by level, ``trunk`` as ``trunk_kind`` says: as one
    matrix, or as ``supernodes`` in approximate minimum degree order."""

    chain: tuple[str, ...]
    trunk: tuple[str, ...]
    trunk_kind: Literal["none", "dense", "sparse"]
    trunk_columns: int
    supernodes: int
    flops: float
    inverse_flops: float
    bytes: int
    alternatives: tuple[TrunkAlternative, ...]


class DataRecord(Record):
    """Rows read and used."""

    n_source_rows: int
    n_rows: int
    missing: dict[str, int]
    weighted: bool
    has_offset: bool


class Diagnostic(Record):
    """A fact about the model or its data: ``code`` is stable, ``message`` is for people, ``payload`` for programs."""

    code: str
    severity: Literal["info", "warning", "error"]
    stage: str
    message: str
    affected_terms: tuple[str, ...] = ()
    payload: dict[str, Any] = Field(default_factory=dict)


class CompiledModelArtifact(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.compiled_model_artifact"
    VERSION: ClassVar[str] = "0.2.0"

    model_kind: Literal["linear_mixed_model"]
    requested_formula: str
    canonical_formula: str
    response: str
    fixed_terms: tuple[str, ...]
    coefficients: tuple[str, ...]
    random_terms: tuple[RandomTermRecord, ...]
    theta: tuple[ThetaSlot, ...]
    levels: tuple[LevelRecord, ...]
    data: DataRecord
    plan: FactorizationPlan
    diagnostics: tuple[Diagnostic, ...]
