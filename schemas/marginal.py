"""Predictions, means and comparisons over a grid of predictor values."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, JsonObject, Level, NonNegative, Probability, Record
from mixeff_fast.vocabulary import InferenceMethod, Reliability, RowStatus


class MarginalQuantity(Record):
    """One prediction, mean or comparison. ``by`` and ``specs`` hold the values of the variables that the row stands for. A row
    that is not ``available`` has a ``reason_code``."""

    quantity: Literal["prediction", "mean", "comparison"]
    label: str
    estimate: float | None
    rhs: float
    std_error: NonNegative | None
    df: NonNegative | None
    statistic: float | None
    statistic_name: Literal["z", "t", "f", "chi_square"] | None
    p_value: Probability | None
    log_p_value: float | None
    conf_low: float | None
    conf_high: float | None
    method: InferenceMethod
    requested_method: str
    status: RowStatus
    reliability: Reliability
    estimability: Literal["estimable", "partially_estimable", "not_estimable", "not_assessed"]
    reason_code: str | None
    target: Literal["population", "conditional", "new_levels"]
    scale: Literal["link", "response"]
    weights: str
    comparison: Literal["identity", "difference", "ratio", "odds_ratio"]
    by: JsonObject
    specs: JsonObject
    grid_id: str
    notes: tuple[str, ...]


class MarginalQuantityTable(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.marginal_quantity_table"
    VERSION: ClassVar[str] = "1.0.0"

    level: Level
    rows: tuple[MarginalQuantity, ...]
