"""A fit or a compiled model with everything that restores it: as an archive of members, or as JSON text.

``artifact.json`` is the artifact, ``state.json`` what is no array and no table; the rest are NumPy arrays and Parquet tables.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from mixeff_fast.schemas.base import Artifact, Count, JsonObject, PositiveCount, Record
from mixeff_fast.schemas.statistics import CodingRecord

ArchiveKind = Literal["fit", "spec", "statistics"]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class MemberRecord(Record):
    """A member of an archive: its bytes, and their SHA-256."""

    name: str
    size: Count
    sha256: Sha256


class ArchiveManifest(Artifact):
    """What an archive holds: every member but the manifest itself."""

    NAME: ClassVar[str] = "mixeff_fast.archive"
    VERSION: ClassVar[str] = "1.0.0"

    kind: ArchiveKind
    members: tuple[MemberRecord, ...]


class EncodedMember(MemberRecord):
    """A member in base64."""

    content: str


class ModelObject(Artifact):
    """An archive as one JSON text; ``artifact_sha256`` is of the artifact with sorted keys and no spaces."""

    NAME: ClassVar[str] = "mixeff_fast.model_object"
    VERSION: ClassVar[str] = "1.0.0"

    kind: Literal["fit", "spec"]
    artifact: JsonObject
    artifact_sha256: Sha256
    members: tuple[EncodedMember, ...]


class ArgumentRecord(Record):
    """An argument given per row: not at all, as a column of the data, or as values, which lie beside the data.
    ``"not_kept"``: values of rows that are elsewhere."""

    kind: Literal["none", "column", "values", "not_kept"]
    column: str | None = None


class FamilyRecord(Record):
    """The family of a generalized linear mixed model; ``theta`` of the negative binomial where it is known."""

    name: Literal["binomial", "poisson", "gamma", "inverse_gaussian", "negative_binomial", "gaussian"]
    link: Literal["logit", "probit", "cloglog", "cauchit", "log", "sqrt", "identity", "inverse", "inverse_square"]
    theta: float | None


class CallRecord(Record):
    """The arguments of the model. ``refitted``: a refit put another response in place, which lies beside the data. ``family``
    is None of a linear mixed model."""

    formula: str
    weights: ArgumentRecord
    offset: ArgumentRecord
    subset: ArgumentRecord
    na_action: Literal["error", "omit"]
    contrasts: dict[str, CodingRecord] | None
    roles: dict[str, str]
    audit_columns: tuple[str, ...] | None
    intent: str
    refitted: bool
    family: FamilyRecord | None = None


class GlmmStateRecord(Record):
    """Of the fit of a generalized linear mixed model, what is no array. ``nodes`` of the quadrature are per level,
    ``quadrature_size`` these times the rows."""

    method: Literal["joint_laplace", "pirls_profiled"]
    n_agq: PositiveCount
    inference: Literal["auto", "none"]
    vcov_route: Literal["observed_information", "working_hessian", "unavailable"]
    passes: Count
    factorizations: Count
    solves: Count
    nodes: PositiveCount = 1
    quadrature_size: PositiveCount = 1


class FitStateRecord(Record):
    """Of a fit, what is no array: its settings and its certificate, and whether its engine was one of a refit. ``glmm`` is None
    of a linear mixed model."""

    reml: bool
    refitted: bool
    control: JsonObject
    certificate: JsonObject
    glmm: GlmmStateRecord | None = None


class SavedState(Artifact):
    """What restores a model beside its artifact, its arrays and its tables. ``learned`` is what transforms learned from the
    data, by variable and position; ``evaluated`` names the variables whose values lie beside the data."""

    NAME: ClassVar[str] = "mixeff_fast.saved_state"
    VERSION: ClassVar[str] = "1.2.0"

    kind: Literal["fit", "spec"]
    rows: Literal["kept", "elsewhere"]
    call: CallRecord
    learned: dict[str, dict[int, JsonObject]]
    evaluated: tuple[str, ...]
    fit: FitStateRecord | None
