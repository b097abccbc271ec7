"""Pieces of a fitted model under lme4's names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError
from mixeff_fast.fit import matrices
from mixeff_fast.fit.glmm import GlmmResult
from mixeff_fast.fit.lmm import LmmResult
from mixeff_fast.fit.means import observed_mean
from mixeff_fast.frame import FactorVariable

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.models.fitted import FittedModel


def _labels(codes: Any, labels: pl.Series) -> pl.Series:
    return labels.gather(pl.Series(np.asarray(codes)).cast(pl.UInt32)).cast(pl.Enum(labels))


def model_frame(model: CompiledModel) -> pl.DataFrame:
    """Response, variables (bases as ``key.suffix``), grouping factors, ``(trials)``, ``(weights)`` and ``(offset)``.

    The response of a binomial model is a number of successes, or a proportion where these were given.
    """
    frame = model.frame
    response = observed_mean(model) if frame.response_coding.kind == "proportions" else np.asarray(frame.response)
    columns: dict[str, Any] = {model.formula.response.name: response}
    for key, variable in frame.variables.items():
        if isinstance(variable, FactorVariable):
            columns[key] = _labels(variable.codes, variable.levels.labels)
        elif variable.values.ndim == 1:
            columns[key] = variable.values
        else:
            for j, suffix in enumerate(variable.suffixes):
                columns[f"{key}.{suffix}"] = variable.values[:, j]
    for name, group in frame.groups.items():
        columns.setdefault(name, _labels(group.codes, group.levels.labels))
    if frame.trials is not None:
        columns["(trials)"] = frame.trials
    if frame.weights is not None:
        columns["(weights)"] = frame.weights
    if frame.offset is not None:
        columns["(offset)"] = frame.offset
    return pl.DataFrame(columns)


def term_table(model: CompiledModel) -> pl.DataFrame:
    """One row per fixed term and per random term."""
    rows: list[tuple[str, str, str | None, int]] = []
    for block in model.fixed.blocks:
        rows.append((block.label, "fixed", None, block.stop - block.start))
    for random in model.blocks:
        rows.append((random.term.written, "random", model.factors[random.factor].group.name, random.width))
    schema = {"term": pl.String, "part": pl.String, "group": pl.String, "columns": pl.Int64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _devcomp(fit: FittedModel) -> dict[str, float]:
    if isinstance(fit.result, GlmmResult):
        wrss, ussq = float(np.sum(fit.residuals("pearson") ** 2)), fit.result.penalty
        return {
            "ldL2": fit.result.logdet,
            "wrss": wrss,
            "ussq": ussq,
            "pwrss": wrss + ussq,
            "drsum": float(np.sum(fit.residuals("deviance") ** 2)),
            "dev": fit.result.objective,
            "sigmaML": fit.sigma,
        }
    u = _spherical(fit)
    return {
        "ldL2": fit.result.logdet,
        "wrss": fit.result.pwrss - float(u @ u),
        "ussq": float(u @ u),
        "pwrss": fit.result.pwrss,
        "REML" if fit.result.reml else "dev": fit.result.objective,
        "sigmaREML" if fit.result.reml else "sigmaML": fit.sigma,
    }


def _spherical(fit: FittedModel) -> Any:
    return matrices.spherical_vector(fit._engine, fit._lam, fit.result.spherical)


def _lower(fit: FittedModel) -> Any:
    return np.concatenate([np.where(b.rows == b.columns, 0.0, -np.inf) for b in fit.spec.compiled.blocks])


def _flist(fit: FittedModel) -> pl.DataFrame:
    factors = fit.spec.compiled.factors
    return pl.DataFrame({f.group.name: _labels(f.group.codes, f.group.levels.labels) for f in factors})


_PIECES: dict[str, Callable[[FittedModel], Any]] = {
    "X": lambda fit: matrices.fixed_matrix(fit.spec.compiled),
    "Z": lambda fit: matrices.random_matrix(fit.spec.compiled),
    "Zt": lambda fit: matrices.random_matrix(fit.spec.compiled).T.tocsc(),
    "Lambda": lambda fit: matrices.relative_factor(fit.spec.compiled, fit.theta),
    "Lambdat": lambda fit: matrices.relative_factor(fit.spec.compiled, fit.theta).T.tocsc(),
    "theta": lambda fit: fit.theta,
    "lower": _lower,
    "beta": lambda fit: fit.beta,
    "fixef": lambda fit: dict(zip(fit.coef_names, fit.beta.tolist(), strict=True)),
    "u": _spherical,
    "b": lambda fit: matrices.random_effects_vector(fit.spec.compiled, fit.result.effects),
    "y": lambda fit: observed_mean(fit.spec.compiled),
    "mu": lambda fit: fit.fitted,
    "sigma": lambda fit: fit.sigma,
    "flist": _flist,
    "cnms": lambda fit: [(fit.spec.compiled.factors[b.factor].group.name, b.names) for b in fit.spec.compiled.blocks],
    "n_rtrms": lambda fit: len(fit.spec.compiled.blocks),
    "n_rfacs": lambda fit: len(fit.spec.compiled.factors),
    "is_REML": lambda fit: isinstance(fit.result, LmmResult) and fit.result.reml,
    "devcomp": _devcomp,
}


def get_me(fit: FittedModel, name: str) -> Any:
    """Look a piece up."""
    if not isinstance(name, str) or name not in _PIECES:
        raise ArgumentError(f"no piece named {name!r}; there are {', '.join(_PIECES)}", argument="name")
    return _PIECES[name](fit)
