"""Likelihood-ratio tests and information criteria over fits of the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel

    Float = NDArray[np.float64]

# a log-likelihood this much below that of a smaller model is the optimizer's doing, not a difference between models
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Entry:
    """What a comparison needs of one fit. ``design`` is X, shape (n, p); ``response`` has the offset subtracted."""

    label: str
    formula: str
    model: CompiledModel
    design: Float
    response: Float
    weights: Float | None
    reml: bool
    n_parameters: int
    loglik: float
    aic: float
    bic: float
    deviance: float


def same_rows(entries: Sequence[Entry]) -> str | None:
    """Why the fits cannot be compared (a reason code), or None."""
    first = entries[0]
    for entry in entries[1:]:
        if entry.response.shape != first.response.shape or not np.array_equal(entry.response, first.response):
            return "different_response"
        weights = (entry.weights is None, first.weights is None)
        if weights[0] != weights[1] or not (
            entry.weights is None or first.weights is None or np.array_equal(entry.weights, first.weights)
        ):
            return "different_weights"
    return None


def spans(outer: Float, inner: Float) -> bool:
    """Whether every column of ``inner`` is a combination of the columns of ``outer`` (both have the same rows)."""
    outer, inner = _unit_columns(outer), _unit_columns(inner)
    rest = inner - outer @ np.linalg.lstsq(outer, inner, rcond=None)[0]
    return bool(np.all(np.linalg.norm(rest, axis=0) <= 1e-7))


def _unit_columns(matrix: Float) -> Float:
    length = np.linalg.norm(matrix, axis=0)
    return matrix / np.where(length == 0.0, 1.0, length)


def same_restriction(a: Entry, b: Entry) -> bool:
    """Whether the REML criteria of two fits compare: their fixed effects span the same space with the same volume, since
    ``log|X'V^{-1}X|`` changes with the coding of X."""
    if np.array_equal(a.design, b.design):
        return True
    if a.design.shape != b.design.shape or not (spans(a.design, b.design) and spans(b.design, a.design)):
        return False
    volumes = [float(np.log(np.abs(np.diag(np.linalg.qr(x, mode="r")))).sum()) for x in (a.design, b.design)]
    return abs(volumes[0] - volumes[1]) <= 1e-9 * max(1.0, abs(volumes[0]))


def random_nested(small: CompiledModel, large: CompiledModel) -> bool:
    """Whether every random term of ``small`` lies in one term of ``large``: same grouping, a subset of its effects, and a
    covariance structure the larger one contains."""
    for block in small.blocks:
        group = small.factors[block.factor].group.name
        if not any(
            large.factors[other.factor].group.name == group
            and set(block.names) <= set(other.names)
            and (block.width == 1 or other.family == block.family or other.family == "full")
            for other in large.blocks
        ):
            return False
    return True


def _n_variances(model: CompiledModel) -> int:
    """Variances of random effects: what a null hypothesis can put on the boundary; a correlation it cannot."""
    return sum(block.width for block in model.blocks)


def chi_square_survival(statistic: float, df: int) -> tuple[float, float]:
    """Upper tail probability of a chi-square variable and its logarithm; never exactly 0."""
    from scipy.special import gammaincc
    from scipy.stats import chi2

    p = float(gammaincc(0.5 * df, 0.5 * statistic))
    log_p = math.log(p) if p > 1e-300 else float(chi2.logsf(statistic, df))
    return max(p, 5e-324), log_p


def comparison_table(entries: Sequence[Entry], lrt: bool) -> pl.DataFrame:
    """One row per fit in order of their number of parameters; each is tested against the row above.

    Columns ``model, formula, npar, criterion, aic, bic, loglik, deviance, chisq, df, p_value, log_p_value, status,
    reason_code``.
    """
    ordered = sorted(entries, key=lambda e: e.n_parameters)
    rows = []
    for i, entry in enumerate(ordered):
        chisq = p_value = log_p = None
        df: int | None = None
        status = "not_assessed"
        reason: str | None = "reference_model" if lrt else "information_criteria_requested"
        if lrt and i > 0:
            below = ordered[i - 1]
            df = entry.n_parameters - below.n_parameters
            reason = _unavailable(below, entry, df)
            if reason is None:
                chisq = max(0.0, 2.0 * (entry.loglik - below.loglik))
                p_value, log_p = chi_square_survival(chisq, df)
                status = "available"
                if _n_variances(entry.model) > _n_variances(below.model):
                    reason = "naive_chi_square_conservative_at_boundary"
            else:
                status, df = "unsupported", None
        rows.append((entry.label, entry.formula, entry.n_parameters, "REML" if entry.reml else "ML", entry.aic, entry.bic,
                     entry.loglik, entry.deviance, chisq, df, p_value, log_p, status, reason))
    schema = {
        "model": pl.String, "formula": pl.String, "npar": pl.Int64, "criterion": pl.String, "aic": pl.Float64,
        "bic": pl.Float64, "loglik": pl.Float64, "deviance": pl.Float64, "chisq": pl.Float64, "df": pl.Int64,
        "p_value": pl.Float64, "log_p_value": pl.Float64, "status": pl.String, "reason_code": pl.String,
    }
    return pl.DataFrame(rows, schema=schema, orient="row")


def _unavailable(small: Entry, large: Entry, df: int) -> str | None:
    if small.reml != large.reml or (large.reml and not same_restriction(small, large)):
        return "mixed_fit_criterion" if small.reml != large.reml else "ml_refit_required"
    if df == 0:
        return "same_model_space_lrt_invalid"
    if not spans(large.design, small.design) or not random_nested(small.model, large.model):
        return "non_nested_models_lrt_invalid"
    if large.loglik < small.loglik - TOLERANCE * (1.0 + abs(small.loglik)):
        return "lower_loglikelihood_lrt_invalid"
    return None
