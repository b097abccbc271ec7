"""Standard errors, and intervals from the standard normal distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError
from mixeff_fast.inference.probability import normal_quantile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def standard_errors(vcov: Float) -> Float:
    """Square roots of the diagonal, shape (p,)."""
    return np.sqrt(np.diag(vcov))


# parameter, estimate, lower, upper, status, reason code
Interval = tuple[str, float | None, float | None, float | None, str, str | None]


def wald_intervals(names: Sequence[str], beta: Float, vcov: Float, level: float) -> list[Interval]:
    """Asymptotic intervals of the fixed effects."""
    half = normal_quantile(0.5 + 0.5 * level)
    rows: list[Interval] = []
    for name, value, se in zip(names, beta.tolist(), standard_errors(vcov).tolist(), strict=True):
        if math.isnan(value):
            rows.append((name, None, None, None, "not_estimable", "aliased_column"))
        else:
            rows.append((name, value, value - half * se, value + half * se, "available", None))
    return rows


def interval_table(
    others: Sequence[tuple[str, float]], fixed: Sequence[Interval], parm: Sequence[str] | None, level: float, method: str
) -> pl.DataFrame:
    """Intervals: ``parameter, estimate, lower, upper, level, method, status, reason_code``.

    ``others`` are the covariance parameters and sigma: no distribution of fixed effects serves them, and their rows say so.

    Raises
    ------
    ArgumentError
        A parameter the model does not have.
    """
    unserved = "wald_interval_unavailable_for_covariance_parameters"
    rows: list[Interval] = [(name, value, None, None, "not_assessed", unserved) for name, value in others]
    rows += fixed
    if parm is not None:
        known = {row[0] for row in rows}
        unknown = [name for name in parm if name not in known]
        if unknown:
            raise ArgumentError(
                f"no parameter named {', '.join(map(repr, unknown))}; there are {', '.join(sorted(known))}",
                argument="parm",
                unknown=unknown,
            )
        wanted = list(parm)
        rows = sorted((row for row in rows if row[0] in wanted), key=lambda row: wanted.index(row[0]))
    schema = {"parameter": pl.String, "estimate": pl.Float64, "lower": pl.Float64, "upper": pl.Float64,
              "status": pl.String, "reason_code": pl.String}
    table = pl.DataFrame(rows, schema=schema, orient="row")
    return table.with_columns(level=pl.lit(level), method=pl.lit(method)).select(
        "parameter", "estimate", "lower", "upper", "level", "method", "status", "reason_code"
    )
