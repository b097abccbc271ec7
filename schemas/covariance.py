"""What the fitted covariance of the random effects supports."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, Record


class Loading(Record):
    basis: str
    loading: float


class Direction(Record):
    """A principal direction of a term's covariance matrix, in the units of the data."""

    label: str
    loadings: tuple[Loading, ...]
    eigenvalue: float
    variance_explained: float


class InterpretableSubmodel(Record):
    """A smaller model that the supported direction amounts to; ``objective_gap`` is what its optimum lacks."""

    formula: str
    dominant_basis: str
    dominant_loading: float
    objective_gap: float
    within_tolerance: bool


class EffectiveCovariance(Record):
    """Requested and supported rank of one term's covariance matrix, and the directions on either side."""

    term_id: str
    source_syntax: str
    group: str
    requested_basis: tuple[str, ...]
    requested_rank: Count
    supported_rank: Count
    status: Literal["full_rank", "reduced_rank", "not_assessed"]
    directions: tuple[Direction, ...]
    unsupported_directions: tuple[Direction, ...]
    inference_consequence: str
    interpretable_submodel: InterpretableSubmodel | None


class VarCorrRow(Record):
    """A variance (``var2`` None) or a covariance of random effects; ``sdcor`` is the SD or the correlation. ``boundary``: the
    SD is zero within rounding. ``vcov`` is None where it is not finite."""

    group: str
    var1: str | None
    var2: str | None
    vcov: float | None
    sdcor: float | None
    boundary: bool
