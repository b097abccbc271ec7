"""Wald z: estimates over their model-based standard errors, referred to the standard normal distribution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float = NDArray[np.float64]


def wald_p_value(z: float) -> tuple[float, float]:
    """Two-sided p-value and its logarithm, from the survival function: neither is ever exactly 0 or minus infinity."""
    from scipy.special import log_ndtr

    log_p = math.log(2.0) + float(log_ndtr(-abs(z)))
    return max(math.exp(log_p), 5e-324), log_p


def standard_errors(vcov: Float) -> Float:
    """Square roots of the diagonal, shape (p,)."""
    return np.sqrt(np.diag(vcov))


def wald_intervals(
    names: Sequence[str], beta: Float, vcov: Float, others: Sequence[tuple[str, float]], parm: Sequence[str] | None,
    level: float,
) -> pl.DataFrame:
    """Asymptotic intervals: ``parameter, estimate, lower, upper, level, method, status, reason_code``.

    ``others`` are the covariance parameters and sigma: the normal approximation does not serve them, and their rows say
    so.

    Raises
    ------
    ArgumentError
        A level outside (0, 1) or a parameter the model does not have.
    """
    from scipy.special import ndtri

    if not 0.0 < level < 1.0:
        raise ArgumentError(f"level lies between 0 and 1, not {level!r}", argument="level")
    half = float(ndtri(0.5 + 0.5 * level))
    rows: list[tuple[str, float | None, float | None, float | None, str, str | None]] = []
    for name, value in others:
        rows.append((name, value, None, None, "not_assessed", "wald_interval_unavailable_for_covariance_parameters"))
    for name, value, se in zip(names, beta.tolist(), standard_errors(vcov).tolist(), strict=True):
        if math.isnan(value):
            rows.append((name, None, None, None, "not_estimable", "aliased_column"))
        else:
            rows.append((name, value, value - half * se, value + half * se, "available", None))
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
    return table.with_columns(level=pl.lit(level), method=pl.lit("asymptotic_wald_z")).select(
        "parameter", "estimate", "lower", "upper", "level", "method", "status", "reason_code"
    )
