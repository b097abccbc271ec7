"""The lmerTest and pbkrtest tests in ``reference/inference.json`` and the dense ones in ``reference/inference_dense.json``.

Typed records, the data and dense problem of every model, and the same models fitted here. Designs are put together from
the products and codings that the file lists: nothing but the data comes from the library.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from typing import Any

import numpy as np
import polars as pl

import mixeff_fast as mf
from mixeff_fast.errors import MixeffNotice
from tests import oracle_inference
from tests.oracle import Block, Floats, Problem
from tests.oracle_inference import Point
from tests.reference_fits import FOLDER, dataset, numbers

Product = tuple[tuple[str, str | None], ...]


@dataclass(frozen=True, slots=True)
class Reference:
    """One test. ``estimate``, ``se``, ``t`` and its p-value ``p_t`` are NaN unless L has one row.

    ``F = scale * unscaled`` (Kenward-Roger; 1 and F elsewhere). ``p`` belongs to F.
    """

    ndf: float
    ddf: float
    F: float
    p: float
    scale: float = 1.0
    unscaled: float = np.nan
    estimate: float = np.nan
    se: float = np.nan
    t: float = np.nan
    p_t: float = np.nan


@dataclass(frozen=True, slots=True)
class Tested:
    """Rows ``L`` over the estimable coefficients (see ``InferenceModel.to_all``), and their tests.

    ``label`` is a coefficient, a term, or the number of a contrast; ``type`` that of the sums of squares, 0 elsewhere.
    """

    label: str
    type: int
    L: Floats
    rhs: Floats
    satterthwaite: Reference
    kenward_roger: Reference


@dataclass(frozen=True, slots=True)
class Dropped:
    """A term left out: likelihood ratio test of the ML fits, and lmerTest's F test of the fit at hand."""

    term: str
    df: int
    statistic: float
    p: float
    aic: float
    objective: float
    F: Reference


@dataclass(frozen=True, slots=True)
class Dense:
    """The oracle's own tests at its own optimum, in the order of the model's ``tests``.

    ``held`` thetas are held at zero; ``everything`` are the Kenward-Roger tests with none held (pbkrtest's).
    """

    theta: Floats
    sigma: float
    gradient: float
    held: int
    satterthwaite: tuple[Reference, ...]
    kenward_roger: tuple[Reference, ...]
    everything: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class InferenceModel:
    """A model of the file; ``raw`` is its JSON. ``source`` tells whose Kenward-Roger numbers they are (``kr_source``)."""

    id: str
    formula: str
    reml: bool
    weights: str | None
    source: str
    singular: bool
    coefficients: tuple[str, ...]
    estimable: tuple[str, ...]
    beta: Floats
    vcov: Floats
    adjusted: Floats
    theta: Floats
    sigma: float
    objective: float
    table: tuple[Tested, ...]
    anova: tuple[Tested, ...]
    contrasts: tuple[Tested, ...]
    drop1: tuple[Dropped, ...]
    raw: Mapping[str, Any]

    @property
    def tests(self) -> tuple[Tested, ...]:
        """Coefficients, terms and contrasts."""
        return self.table + self.anova + self.contrasts

    @property
    def rank_deficient(self) -> bool:
        return len(self.estimable) < len(self.coefficients)

    @property
    def data(self) -> pl.DataFrame:
        """The model's data, derived columns included, its subset taken."""
        data = dataset(self.raw["dataset"])
        for name, rule in (self.raw["derive"] or {}).items():
            if rule["op"] == "div":
                value = pl.col(rule["a"]).cast(pl.Float64) / pl.col(rule["b"])
            else:
                value = pl.col(rule["column"]).cast(pl.Float64).log1p()
            data = data.with_columns(value.alias(name))
        subset = self.raw["subset"]
        return data if subset is None else data.filter(pl.col(subset["column"]) >= subset["value"])

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of ``lmm`` beside formula and data."""
        return {key: self.raw[key] for key in ("weights", "contrasts") if self.raw[key]} | {"reml": self.reml}

    def to_all(self, L: Floats) -> Floats:
        """Rows over all coefficients, estimable ones, that say the same as rows over the estimable coefficients."""
        X = problem_of(self.id).X
        kept = [self.coefficients.index(name) for name in self.estimable]
        rows = np.atleast_2d(L)
        return rows if not self.rank_deficient else np.asarray(rows @ np.linalg.lstsq(X[:, kept], X, rcond=None)[0])


def _reference(raw: Mapping[str, float | None]) -> Reference:
    fields = {key: np.nan if value is None else float(value) for key, value in raw.items()}
    return Reference(**({"unscaled": fields["F"]} | fields))


def _tested(label: str, raw: Mapping[str, Any], L: Any, rhs: Any = (0.0,)) -> Tested:
    rows = np.atleast_2d(np.array(L, np.float64))
    null = np.broadcast_to(np.array(rhs, np.float64), len(rows)).copy()
    return Tested(label, raw.get("type", 0), rows, null, _reference(raw["satterthwaite"]),
                  _reference(raw["kenward_roger"]))  # fmt: skip


def _dropped(raw: Mapping[str, Any]) -> Dropped:
    chisq = raw["chisq"]
    return Dropped(raw["term"], int(chisq["df"]), chisq["statistic"], chisq["p"], chisq["AIC"], chisq["objective"],
                   _reference(raw["F"]))  # fmt: skip


def _model(raw: Mapping[str, Any]) -> InferenceModel:
    names = raw["estimable"]
    units = np.eye(len(names))
    return InferenceModel(
        id=raw["id"], formula=raw["formula"], reml=raw["REML"], weights=raw["weights"], source=raw["kr_source"],
        singular=raw["singular"], coefficients=tuple(raw["coefficients"]), estimable=tuple(names),
        beta=numbers(raw["beta"]), vcov=np.array(raw["vcov"]), adjusted=np.array(raw["adjusted"]),
        theta=numbers(raw["theta"]), sigma=raw["sigma"], objective=raw["objective"],
        table=tuple(_tested(*each) for each in zip(names, raw["table"], units, strict=True)),
        anova=tuple(_tested(each["term"], each, each["L"]) for each in raw["anova"]),
        contrasts=tuple(_tested(str(i), each, each["L"], each["rhs"]) for i, each in enumerate(raw["contrast_tests"])),
        drop1=tuple(_dropped(each) for each in raw["drop1"] or ()), raw=raw,
    )  # fmt: skip


@cache
def inference_references() -> dict[str, InferenceModel]:
    """The models of the file by id."""
    text = (FOLDER / "inference.json").read_text(encoding="utf-8")
    return {raw["id"]: _model(raw) for raw in json.loads(text)["models"]}


@cache
def dense_references() -> dict[str, Dense]:
    """The oracle's tests of the same models, by id."""
    text = (FOLDER / "inference_dense.json").read_text(encoding="utf-8")
    return {
        name: Dense(numbers(raw["theta"]), raw["sigma"], raw["gradient"], raw["held"],
                    *(tuple(map(_reference, raw[key])) for key in ("satterthwaite", "kenward_roger", "everything")))
        for name, raw in json.loads(text)["models"].items()
    }  # fmt: skip


def _column(data: pl.DataFrame, codings: Mapping[str, Mapping[str, float]], product: Sequence[Sequence[Any]]) -> Floats:
    parts = [np.ones(len(data))]
    for name, coding in product:
        if coding is None:
            parts.append(data[name].cast(pl.Float64).to_numpy())
        else:
            parts.append(np.array([codings[coding][level] for level in data[name].cast(pl.String)], np.float64))
    return np.asarray(reduce(np.multiply, parts))


def _columns(model: InferenceModel, products: Sequence[Any]) -> Floats:
    return np.column_stack([_column(model.data, model.raw["codings"], product) for product in products])


def _block(model: InferenceModel, term: Mapping[str, Any]) -> Block:
    names = [pl.col(name).cast(pl.String) for name in term["group"].split(":")]
    cells = model.data.select(pl.concat_str(names, separator=":")).to_series().to_numpy()
    levels, codes = np.unique(cells, return_inverse=True)
    Z = _columns(model, term["Z"])
    return Block(Z, codes, len(levels), np.tril(np.ones((Z.shape[1],) * 2, bool)))


@cache
def problem_of(name: str) -> Problem:
    """The dense problem of a model; theta is in the order of its terms, as in the file."""
    model = inference_references()[name]
    data, weights = model.data, None
    if model.weights is not None:
        weights = data[model.weights].cast(pl.Float64).to_numpy()
    y = data[model.raw["response"]].cast(pl.Float64).to_numpy()
    return Problem(_columns(model, model.raw["X"]), y, [_block(model, term) for term in model.raw["terms"]], weights)


@cache
def point_of(name: str) -> Point:
    """The oracle at its own optimum of a model (``inference_dense.json`` has it, to double precision)."""
    return oracle_inference.at(problem_of(name), dense_references()[name].theta, inference_references()[name].reml)


@cache
def fitted(name: str) -> mf.LinearMixedModel:
    """The model of that id, fitted here."""
    model = inference_references()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.lmm(model.formula, model.data, **model.arguments)


@dataclass(frozen=True, slots=True)
class Published:
    """A published test of one row (REML), of a model of the file.

    ``theta`` is where the published fit stopped, where the numbers are outside their tolerances at the optimum.
    """

    model: str
    method: str
    L: tuple[float, ...]
    rhs: float
    estimate: float
    se: float
    ddf: float
    t: float
    p: float
    theta: tuple[float, ...] | None = None


# Relative tolerances of the published numbers, which stem from fits that stop earlier and from differences.
PUBLISHED_TOLERANCE = {"estimate": 1e-8, "se": 5e-5, "ddf": 1e-5, "t": 5e-5}
S, K = "satterthwaite", "kenward_roger"
PUBLISHED = (
    Published("sleepstudy_intercept", S, (0, 1), 0, 10.46728595959598, 0.8042214289536, 161.0000000596,
              13.015427819693, 6.412601233e-27),
    Published("sleepstudy_slopes", S, (0, 1), 0, 10.467285959596, 1.5457896438973, 16.9999837529,
              6.771481489037, 3.263824442e-06),
    Published("penicillin", S, (1,), 0, 22.972222222219, 0.8085953616582, 5.4865922641, 28.410034624869,
              3.623520990e-07, theta=(1.53967555415216, 3.51251886000646)),
    Published("sleepstudy_intercept", K, (0, 1), 0, 10.467285959596, 0.8042214289536, 161.0, 13.015427819693,
              6.412601273e-27),
    Published("sleepstudy_slopes", K, (0, 1), 0, 10.467285959596, 1.5457896438973, 17.0, 6.771481489037,
              3.263808018e-06),
    Published("sleepstudy_slopes", K, (0, 1), 10, 10.467285959596, 1.5457896438973, 17.0, 0.302295956918,
              0.766093719988),
    Published("penicillin", K, (1,), 0, 22.972222222219, 0.8085953616582, 5.4870618599, 28.410034624872,
              3.619975399e-07),
    Published("pastes", K, (1,), 0, 60.053333333332, 0.6768701126603, 9.0, 88.722093367823, 1.487834451e-14),
)  # fmt: skip
# Kenward-Roger, intercept and slope of sleepstudy_slopes together.
PUBLISHED_JOINT = Reference(ndf=2, ddf=16, F=705.8357213, p=2.488477287e-16, scale=0.9411764706, unscaled=749.9504539)
# Likelihood ratio tests by ML: models without and with what is tested, deviances, p.
PUBLISHED_LRT = {"slope": (1775.4759, 1751.9393, 23.5365), "batch": 0.5233767966}
# 95 % profile intervals by ML; a number is a coefficient's place. They are read off splines: the deviance rises by
# chi-square's 3.8415 at all bounds up to 1e-3, but for theta of dyestuff at its lower one (3.886) and a theta at zero.
PUBLISHED_PROFILES: dict[str, dict[str | int, tuple[float, float]]] = {
    "dyestuff": {"sigma": (38.22990402, 67.65762699), 0: (1486.45172808, 1568.54827192),
                 "theta": (0.20479324, 1.77849172)},
    "dyestuff2": {"sigma": (2.89280696, 4.81582702), 0: (4.31264097, 7.01855903), "theta": (0.0, 0.57490358)},
    "sleepstudy_intercept": {"sigma": (27.81386159, 34.59105435), 1: (8.88655202, 12.04801990),
                             0: (231.99236330, 270.81784670), "theta": (0.82129349, 1.73830196)},
}  # fmt: skip
