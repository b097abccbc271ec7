"""How covariance parameters are laid out, and where each goes."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, Record
from mixeff_fast.schemas.semantic import CovarianceFamily

Standardization = Literal["none", "scaled", "centred_and_scaled"]


class ThetaSlot(Record):
    """One covariance parameter: entry (``lambda_row``, ``lambda_col``) of its term's Lambda. ``lower_bound`` is 0 on the
    diagonal, None off it."""

    global_index: Count
    local_index: Count
    name: str
    lambda_row: Count
    lambda_col: Count
    lower_bound: float | None


class ThetaMap(Record):
    """The covariance parameters of one term. ``term_index`` counts terms in the engine's order, ``semantic_term_index`` in
    the formula's. ``standardization`` says, column by column, what the engine does before it looks for the optimum: scales
    are powers of two."""

    term_id: str
    term_index: Count
    semantic_term_index: Count
    group: str
    covariance_family: CovarianceFamily
    user_basis: tuple[str, ...]
    optimizer_basis: tuple[str, ...]
    standardization: tuple[Standardization, ...]
    theta_slots: tuple[ThetaSlot, ...]


class VarcorrEntry(Record):
    """A standard deviation or correlation that a parameter enters."""

    kind: Literal["standard_deviation", "correlation"]
    label: str
    basis: tuple[str, ...]
    value: float | None


class ParameterTrace(Record):
    """One covariance parameter from the formula to the fitted variances; ``theta_value`` is None before the fit."""

    term_id: str
    group: str
    source_syntax: str
    covariance_family: CovarianceFamily
    theta_index: Count
    theta_name: str
    theta_status: Literal["free", "boundary", "inactive", "not_assessed"]
    lower_bound: float | None
    theta_value: float | None
    lambda_row: Count
    lambda_col: Count
    lambda_row_basis: str
    lambda_col_basis: str
    matches_theta_map: bool
    varcorr_entries: tuple[VarcorrEntry, ...]
