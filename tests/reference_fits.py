"""The lme4 fits in ``reference/lmm.json``, the same models fitted here, and how far apart the two are."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import ArrayLike, NDArray

import mixeff_fast as mf
from mixeff_fast.errors import MixeffNotice

Floats = NDArray[np.float64]
Model = dict[str, Any]

FOLDER = Path(__file__).parent / "reference"


@cache
def references() -> dict[str, Model]:
    """Reference fits by id."""
    text = (FOLDER / "lmm.json").read_text(encoding="utf-8")
    return {model["id"]: model for model in json.loads(text)["models"]}


@cache
def dataset(name: str) -> pl.DataFrame:
    path = FOLDER / "data" / f"{name}.csv"
    return pl.read_csv(path) if path.exists() else mf.datasets.load(name)


def data_of(model: Model) -> pl.DataFrame:
    """The data of a reference fit, derived columns included."""
    data = dataset(model["dataset"])
    for name, rule in (model["derive"] or {}).items():
        if rule["op"] == "eq":
            value = (pl.col(rule["column"]).cast(pl.String) == rule["value"]).cast(pl.Float64)
        else:
            value = pl.col(rule["a"]).cast(pl.Float64) / pl.col(rule["b"])
        data = data.with_columns(value.alias(name))
    return data


def arguments(model: Model) -> dict[str, Any]:
    """Keyword arguments of ``lmm`` for a reference fit."""
    out = {key: model[key] for key in ("weights", "offset", "contrasts") if model[key]}
    if model["subset"]:
        out["subset"] = pl.col(model["subset"]["column"]) >= model["subset"]["value"]
    return out | {"reml": model["REML"]}


@cache
def fitted(name: str) -> mf.LinearMixedModel:
    """The reference model of that id, fitted here."""
    model = references()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.lmm(model["formula"], data_of(model), **arguments(model))


def numbers(values: Sequence[float | None]) -> Floats:
    """A vector of the JSON file; null is NaN."""
    return np.array(values, np.float64)


def gap(ours: ArrayLike, theirs: ArrayLike, scale: ArrayLike) -> float:
    """Largest difference in units of ``scale``; where the scale is zero, both must be zero. NaN only meets NaN."""
    a, b, unit = np.broadcast_arrays(np.asarray(ours, np.float64), np.asarray(theirs, np.float64), scale)
    if a.size == 0:
        return 0.0
    if not np.array_equal(np.isnan(a), np.isnan(b)):
        return np.inf
    known = ~np.isnan(a)
    difference = np.abs(a - b)[known]
    zero = unit[known] == 0.0
    if np.any(difference[zero] > 0.0):
        return np.inf
    return float(np.max(difference[~zero] / unit[known][~zero], initial=0.0))


def magnitude(values: ArrayLike) -> float:
    """Largest absolute value, NaN left out."""
    found = np.abs(np.asarray(values, np.float64))
    return float(np.max(found[~np.isnan(found)], initial=0.0))


def matrix_scale(matrix: Floats) -> Floats:
    """The scale of a covariance matrix's entries: products of the standard deviations."""
    sd = np.sqrt(np.diag(matrix))
    return np.outer(sd, sd)


def term_lambdas(theta: Floats, widths: Sequence[int]) -> list[Floats]:
    """Lambda of every term, each a full triangle of its width; the columns of a diagonal term count as terms."""
    out, at = [], 0
    for width in widths:
        lower = np.zeros((width, width))
        columns, rows = np.triu_indices(width)
        lower[rows, columns] = theta[at : at + len(rows)]
        at += len(rows)
        out.append(lower)
    return out


def covariance_gap(ours: Sequence[Floats], theirs: Sequence[Floats]) -> float:
    """How far the relative covariance matrices of the terms are apart; directions below 1e-6 sigma count as that."""
    gaps = []
    for a, b in zip(ours, theirs, strict=True):
        reference = b @ b.T
        floor = np.fmax(np.sqrt(np.diag(reference)), 1e-6)
        gaps.append(gap(a @ a.T, reference, np.outer(floor, floor)))
    return max(gaps)


def theta_gap(ours: Sequence[Floats], theirs: Sequence[Floats]) -> float:
    """How far the factors are apart, each row of a Lambda in units of its length (the effect's relative SD)."""
    return max(
        gap(a, b, np.linalg.norm(b, axis=1, keepdims=True)) for a, b in zip(ours, theirs, strict=True)
    )


def widths_of(model: Model) -> list[int]:
    return [len(term["columns"]) for term in model["terms"]]


def is_diag(model: Model) -> bool:
    return "diag(" in model["formula"]


def is_unique(model: Model) -> bool:
    """False where the likelihood fixes beta, sigma and fitted values but not the covariances."""
    return bool(model["unique"])


def fixed_gaps(model: Model, fit: mf.LinearMixedModel) -> dict[str, float]:
    """Fixed effects: beta in units of its standard errors where it is smaller than these."""
    beta, se = numbers(model["beta"]), np.full(len(model["beta"]), np.nan)
    known = np.array([name in model["estimable"] for name in model["coefficients"]])
    vcov = np.array(model["vcov"]).reshape(int(known.sum()), -1)
    se[known] = np.sqrt(np.diag(vcov))
    ours = fit.vcov()
    return {
        "beta": gap(fit.beta, beta, np.fmax(np.abs(beta), se)),
        "std_error": gap(fit.std_error, se, se),
        "vcov": gap(ours[np.ix_(known, known)], vcov, matrix_scale(vcov)),
        "sigma": gap(fit.sigma, model["sigma"], model["sigma"]),
    }


def fitted_gap(model: Model, fit: mf.LinearMixedModel) -> float:
    """Fitted values in units of the response's standard deviation."""
    expected, ours = model["fitted"], fit.fitted
    unit = float(np.std(fit.get_me("y")))
    values = numbers(expected["values"])
    parts = [gap(ours[: len(values)], values, unit)]
    parts.append(gap(ours.sum(), expected["sum"], unit * len(ours)))
    parts.append(gap(np.sum(ours**2), expected["sum2"], max(unit**2 * len(ours), expected["sum2"])))
    return max(parts)


def varcorr_gaps(model: Model, fit: mf.LinearMixedModel) -> dict[str, float]:
    """Variances and covariances in units of SD products (SDs below 1e-6 sigma count as that); correlations absolutely."""
    expected, ours = model["varcorr"], fit.varcorr()
    sd = {
        (grp, var1): max(value, 1e-6 * model["sigma"])
        for grp, var1, var2, value in zip(
            expected["grp"], expected["var1"], expected["var2"], expected["sdcor"], strict=True
        )
        if var2 is None
    }
    scale = [
        sd[grp, a] * sd[grp, a if b is None else b]
        for grp, a, b in zip(expected["grp"], expected["var1"], expected["var2"], strict=True)
    ]
    deviations = np.array([b is None for b in expected["var2"]])
    units = np.where(deviations, np.sqrt(scale), 1.0)
    return {
        "varcorr": gap(ours["vcov"].to_numpy(), numbers(expected["vcov"]), scale),
        "sdcor": gap(ours["sdcor"].fill_null(np.nan).to_numpy(), numbers(expected["sdcor"]), units),
    }


def ranef_columns(model: Model, fit: mf.LinearMixedModel) -> pl.DataFrame:
    """The rows of ``ranef(cond_var=True)`` that the reference keeps."""
    table = fit.ranef(cond_var=True)
    if model["ranef"]["complete"]:
        return table
    return pl.concat([part.head(50) for part in table.partition_by("grpvar", maintain_order=True)])


def ranef_gaps(model: Model, fit: mf.LinearMixedModel) -> dict[str, float]:
    """Conditional modes and SDs of every effect in units of the largest of that effect (1e-6 sigma at least)."""
    expected = model["ranef"]
    theirs = pl.DataFrame({key: expected[key] for key in ("grpvar", "term", "condval", "condsd")})
    ours = ranef_columns(model, fit)
    both = theirs.with_columns(value=ours["condval"], sd=ours["condsd"])
    floor = 1e-6 * model["sigma"]
    out = {"ranef": 0.0, "condsd": 0.0}
    for part in both.partition_by("grpvar", "term"):
        for key, mine in (("ranef", "value"), ("condsd", "sd")):
            reference = part["condval" if key == "ranef" else "condsd"]
            out[key] = max(out[key], gap(part[mine], reference, max(magnitude(reference), floor)))
    table = fit.ranef(cond_var=True)
    for grpvar, sums in expected["sums"].items():
        part = table.filter(pl.col("grpvar") == grpvar)
        squares, total = max(sums["condval2"], floor**2), max(sums["condsd"], floor)
        out["ranef"] = max(
            out["ranef"],
            gap(part["condval"].pow(2).sum(), sums["condval2"], squares),
            gap(part["condval"].sum(), sums["condval"], np.sqrt(squares * sums["rows"])),
        )
        out["condsd"] = max(out["condsd"], gap(part["condsd"].sum(), sums["condsd"], total))
    return out


def gaps(name: str) -> dict[str, float]:
    """Every quantity of a model: its largest difference from the reference, relative to the quantity's own scale."""
    model, fit = references()[name], fitted(name)
    out = fixed_gaps(model, fit) | {"fitted": fitted_gap(model, fit)}
    for key, ours, theirs in (("logLik", fit.loglik, model["logLik"]), ("AIC", fit.aic, model["AIC"]),
                              ("BIC", fit.bic, model["BIC"])):
        out[key] = gap(ours, theirs, max(abs(theirs), 1.0))
    if is_unique(model):
        widths = widths_of(model)
        ours, theirs = term_lambdas(fit.theta, widths), term_lambdas(numbers(model["theta"]), widths)
        out["Sigma"] = covariance_gap(ours, theirs)
        if not model["singular"]:
            out["theta"] = theta_gap(ours, theirs)
        out |= varcorr_gaps(model, fit) | ranef_gaps(model, fit)
    return out
