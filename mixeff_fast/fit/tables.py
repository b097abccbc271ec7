"""The long tables of a fit, with the columns of R's ``as.data.frame`` methods."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import polars as pl

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, RandomBlock
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


def fixef_table(names: Sequence[str], beta: Float) -> pl.DataFrame:
    """``term``, ``estimate``; the estimate of an aliased column is null."""
    return pl.DataFrame({"term": list(names), "estimate": pl.Series(beta).fill_nan(None)})


def ranef_table(
    model: CompiledModel, effects: Sequence[Float], covariances: Sequence[Float] | None
) -> pl.DataFrame:
    """``grpvar``, ``term``, ``grp``, ``condval`` and, with covariances, ``condsd``; by factor, then term, then level."""
    parts = []
    for k, factor in enumerate(model.factors):
        names = [name for i in factor.blocks for name in model.blocks[i].names]
        for j, name in enumerate(names):
            columns: dict[str, Any] = {
                "grpvar": pl.repeat(factor.group.name, factor.n_levels, dtype=pl.String, eager=True),
                "term": pl.repeat(name, factor.n_levels, dtype=pl.String, eager=True),
                "grp": factor.group.levels.labels,
                "condval": effects[k][:, j],
            }
            if covariances is not None:
                columns["condsd"] = np.sqrt(covariances[k][:, j, j])
            parts.append(pl.DataFrame(columns))
    return pl.concat(parts)


def coef_table(model: CompiledModel, beta: Float, effects: Sequence[Float]) -> pl.DataFrame:
    """``grpvar``, ``grp``, ``term``, ``estimate``: fixed effect plus conditional mode, for every level of every factor."""
    parts = []
    for k, factor in enumerate(model.factors):
        own = [name for b in factor.blocks for name in model.blocks[b].names]
        names = list(dict.fromkeys([*model.fixed.names, *own]))
        fixed = dict(zip(model.fixed.names, beta.tolist(), strict=True))
        for name in names:
            columns = [j for j, other in enumerate(own) if other == name]
            value = fixed.get(name, 0.0) + effects[k][:, columns].sum(axis=1)
            parts.append(
                pl.DataFrame(
                    {
                        "grpvar": pl.repeat(factor.group.name, factor.n_levels, dtype=pl.String, eager=True),
                        "grp": factor.group.levels.labels,
                        "term": pl.repeat(name, factor.n_levels, dtype=pl.String, eager=True),
                        "estimate": pl.Series(value).fill_nan(None),
                    }
                )
            )
    return pl.concat(parts)


def block_covariance(block: RandomBlock, theta: Float, scale: float) -> Float:
    """``scale^2 Lambda Lambda'`` of one term, shape (width, width)."""
    lower = np.zeros((block.width, block.width))
    lower[block.rows, block.columns] = theta[block.theta]
    return np.asarray(scale**2 * (lower @ lower.T))


def residual_deviation(model: CompiledModel, result: LmmResult | GlmmResult) -> float | None:
    """Sigma of a linear model, the root of the dispersion of a generalized linear one; None where there is none."""
    if model.family is None:
        return cast("LmmResult", result).sigma
    parameter = cast("GlmmResult", result).parameter
    return math.sqrt(parameter) if model.family.has_dispersion and parameter is not None else None


def varcorr_rows(
    model: CompiledModel, result: LmmResult | GlmmResult
) -> Iterator[tuple[str, str | None, str | None, float, float]]:
    """Rows ``(grp, var1, var2, vcov, sdcor)``: variances, then covariances of each term, the residual, if there is one, last.

    A second term on one factor is labelled ``g.1``, as R labels it. The correlation with an absent direction is NaN.
    """
    seen: dict[str, int] = {}
    for block in model.blocks:
        group = model.factors[block.factor].group.name
        count = seen.get(group, 0)
        seen[group] = count + 1
        label = group if count == 0 else f"{group}.{count}"
        covariance = block_covariance(block, result.theta, result.scale)
        sd = np.sqrt(np.diag(covariance))
        for i, name in enumerate(block.names):
            yield label, name, None, float(covariance[i, i]), float(sd[i])
        if block.family == "full":
            for j in range(block.width):
                for i in range(j + 1, block.width):
                    product = sd[i] * sd[j]
                    correlation = float(covariance[i, j] / product) if product > 0.0 else float("nan")
                    yield label, block.names[j], block.names[i], float(covariance[i, j]), correlation
    residual = residual_deviation(model, result)
    if residual is not None:
        yield "Residual", None, None, residual**2, residual


def varcorr_table(model: CompiledModel, result: LmmResult | GlmmResult) -> pl.DataFrame:
    """``grp``, ``var1``, ``var2``, ``vcov``, ``sdcor``."""
    schema = {"grp": pl.String, "var1": pl.String, "var2": pl.String, "vcov": pl.Float64, "sdcor": pl.Float64}
    return pl.DataFrame(list(varcorr_rows(model, result)), schema=schema, orient="row").with_columns(
        pl.col("sdcor").fill_nan(None)
    )
