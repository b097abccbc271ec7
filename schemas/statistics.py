"""Header of a file of sufficient statistics: everything but the arrays and the levels, which lie beside it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from mixeff_fast.schemas.base import Artifact, JsonObject, Record


class CodingRecord(Record):
    """The contrasts asked for: a name, or a matrix with perhaps names."""

    name: str | None = None
    matrix: tuple[tuple[float, ...], ...] | None = None
    names: tuple[str, ...] | None = None


class NoteRecord(Record):
    """A fact about how the data were read."""

    code: str
    message: str
    column: str | None
    payload: JsonObject = Field(default_factory=dict)


class StandardRecord(Record):
    """Shifts and scales under which the sums were taken; per factor for the columns that vary over it."""

    x_shift: tuple[float, ...]
    x_scale: tuple[float, ...]
    y_shift: float
    y_scale: float
    z_shift: tuple[tuple[float, ...], ...]
    z_scale: tuple[tuple[float, ...], ...]
    root_weight: float


class SufficientStatisticsHeader(Artifact):
    """The model, the data as a whole, and how the sums were taken. ``values`` names the columns of each table of levels."""

    NAME: ClassVar[str] = "mixeff_fast.sufficient_statistics"
    VERSION: ClassVar[str] = "0.1.0"

    formula: str
    codings: dict[str, CodingRecord]
    states: dict[str, dict[int, JsonObject]]
    suffixes: dict[str, tuple[str, ...]]
    values: tuple[tuple[str, ...], ...]
    n: int = Field(ge=1)
    n_chosen: int = Field(ge=1)
    n_source_rows: int = Field(ge=1)
    na_counts: dict[str, int]
    weighted: bool
    has_offset: bool
    offset: str | None
    notes: tuple[NoteRecord, ...]
    standard: StandardRecord
    log_weights: float
    response_range: tuple[float, float]
