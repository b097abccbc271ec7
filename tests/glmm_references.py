"""The fits in ``reference/glmm.json`` as dense problems, their designs written out column by column."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.oracle_glmm import Criterion, Glmm
from tests.reference.polish import Term, block, column
from tests.reference_fits import FOLDER, dataset

Floats = NDArray[np.float64]
Model = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Design:
    """Terms stand in the order of the reference: falling number of levels for lme4's, as written for glmmTMB's."""

    response: str
    fixed: tuple[str, ...]
    terms: tuple[Term, ...]
    trials: str | None = None
    offsets: tuple[str, ...] = ()


HERDS = Design("incidence", ("1", "period=2", "period=3", "period=4"), (Term("herd"),), trials="size")
PEOPLE = ("1", "Anger", "Gender=M", "btype=scold", "btype=shout")
TICKS = ("1", "YEAR=96", "YEAR=97", "cHEIGHT")
GX, G, H = Term("g", ("1", "x")), Term("g"), Term("h")

DESIGNS = {
    **{
        f"cbpp_{name}": HERDS
        for name in (
            "logit", "trials", "probit", "cloglog", "cauchit", "profiled", "agq2", "agq5", "agq9", "agq25", "probit_agq11"
        )
    },
    "cbpp_one_level_per_row": Design("incidence", HERDS.fixed, (Term("obs"), Term("herd")), trials="size"),
    "verbagg_crossed": Design("r2=Y", (*PEOPLE, "situ=self", "mode=do"), (Term("id"), Term("item"))),
    "verbagg_profiled": Design("r2=Y", (*PEOPLE, "situ=self", "mode=do"), (Term("id"), Term("item"))),
    "verbagg_probit_vector": Design("r2=Y", (*PEOPLE, "mode=do"), (Term("id", ("1", "mode=do")), Term("item"))),
    "grouseticks_three": Design("TICKS", TICKS, (Term("INDEX"), Term("BROOD"), Term("LOCATION"))),
    "grouseticks_nested": Design("TICKS", TICKS, (Term("LOCATION:BROOD"), Term("LOCATION"))),
    "grouseticks_size": Design("TICKS", TICKS, (Term("BROOD"), Term("LOCATION"))),
    "grouseticks_size_observed": Design("TICKS", TICKS, (Term("BROOD"), Term("LOCATION"))),
    "arabidopsis_three": Design(
        "total.fruits", ("1", "nutrient", "amd=unclipped", "nutrient*amd=unclipped"), (Term("gen"), Term("popu"), Term("reg"))
    ),
    "arabidopsis_slopes": Design(
        "total.fruits",
        ("1", "nutrient", "amd=unclipped", "rack", "status=Petri.Plate", "status=Transplant"),
        (Term("gen"), Term("popu", ("1", "amd=unclipped"))),
    ),
    "hit_slopes": Design("hit", ("1", "x"), (GX,)),
    "hit_double_bar": Design("hit", ("1", "x"), (G, Term("g", ("x",)))),
    "hit_slopes_crossed_cloglog": Design("hit", ("1", "x", "f=mid", "f=up"), (GX, H)),
    "answer_nested": Design("answer=yes", ("1", "z", "f=mid", "f=up"), (Term("school:class"), Term("school"))),
    "answer_agq7": Design("answer=yes", ("1", "z", "f=mid", "f=up"), (Term("school"),)),
    "successes_probit_crossed": Design("successes", ("1", "x", "f=mid", "f=up"), (G, H), trials="tries"),
    "successes_offset": Design("successes", ("1", "x"), (GX,), trials="tries", offsets=("shift", "z")),
    "rare_cloglog": Design("rare", ("1", "x"), (G,)),
    "rare_cauchit": Design("rare", ("1", "x"), (G,)),
    "flat_singular": Design("flat", ("1", "x"), (H,)),
    "tied_singular": Design("tied", ("1", "x"), (GX,)),
    "count_offset": Design(
        "count", ("1", "x"), (Term("school:class"), Term("school")), offsets=("log exposure",)
    ),
    "count_weights": Design("count", ("1", "x", "f=mid", "f=up"), (Term("school"),), offsets=("log exposure",)),
    "count_agq9": Design("count", ("1", "x"), (Term("school"),), offsets=("log exposure",)),
    "roots_sqrt": Design("roots", ("1", "x"), (G,)),
    "roots_sqrt_slopes": Design("roots", ("1", "x"), (GX,)),
    "straight_identity": Design("straight", ("1", "z"), (G,)),
    "over_size_known": Design("over", ("1", "x"), (G,)),
    "over_size": Design("over", ("1", "x"), (G,)),
    "over_size_observed": Design("over", ("1", "x"), (G,)),
    "over_size_slopes_observed": Design("over", ("1", "x", "z"), (GX, H)),
    "amount_gamma": Design("amount", ("1", "x"), (G,)),
    "amount_gamma_crossed": Design("amount", ("1", "x", "f=mid", "f=up"), (G, H)),
    "amount_gamma_slopes": Design("amount", ("1", "x"), (GX,)),
    "rate_gamma_inverse": Design("rate", ("1", "z"), (G,)),
    "growth_gaussian_log": Design("growth", ("1", "x"), (G,)),
    "rare_events": Design("y", ("1", "exposure"), (G,)),
    "link_probit": Design("probit", ("1", "x"), (G,), trials="trials"),
    "link_cloglog": Design("cloglog", ("1", "x"), (G,), trials="trials"),
    "link_sqrt": Design("y", ("1", "x"), (G,)),
    "counts_size_known": Design("y", ("1", "x"), (G,)),
    "counts_size": Design("y", ("1", "x"), (G,)),
    "frogs": Design(
        "overlapped",
        ("1", "caller_mass", "distance", "caller_mass*distance"),
        (Term("chorus:frog", ("1", "caller_mass")), Term("chorus")),
    ),
}


@cache
def references() -> dict[str, Model]:
    """Reference fits by id."""
    text = (FOLDER / "glmm.json").read_text(encoding="utf-8")
    return {model["id"]: model for model in json.loads(text)["models"]}


def data_of(model: Model) -> pl.DataFrame:
    """The data of a reference fit, derived columns included."""
    data = dataset(model["dataset"])
    for name, rule in (model["derive"] or {}).items():
        if rule["op"] == "row":
            value: Any = pl.Series([f"r{i + 1:04d}" for i in range(len(data))])
        elif rule["op"] == "log":
            value = pl.col(rule["a"]).cast(pl.Float64).log()
        else:
            value = pl.col(rule["a"]).cast(pl.Float64) / pl.col(rule["b"])
        data = data.with_columns(value.alias(name))
    return data


def problem_of(name: str) -> tuple[Glmm, Criterion]:
    """The dense problem of a reference model and the criterion that was minimized."""
    model, design = references()[name], DESIGNS[name]
    data = data_of(model)
    X = np.column_stack([column(data, text) for text in design.fixed])
    y, weights = column(data, design.response), None
    if design.trials is not None:
        weights = column(data, design.trials)
        y = y / weights
    elif model["weights"] is not None:
        weights = column(data, model["weights"])
    parts = [np.log(column(data, text[4:])) if text.startswith("log ") else column(data, text) for text in design.offsets]
    offset = np.sum(parts, axis=0) if parts else None
    blocks = [block(data, term)[0] for term in design.terms]
    problem = Glmm(X, y, blocks, weights, offset, model["family"], model["link"], model["parameter_known"])
    return problem, Criterion(model["curvature"], max(model["n_agq"], 1), model["n_agq"] == 0)


def psi_of(name: str) -> Floats:
    """The reference's estimates."""
    model = references()[name]
    estimated = model["parameter"] is not None and model["parameter_known"] is None
    tail = [np.log(model["parameter"])] if estimated else []
    return np.array([*model["theta"], *([] if model["n_agq"] == 0 else model["beta"]), *tail])


def free(name: str) -> NDArray[np.intp]:
    """Where the reference's ``coordinates`` stand in psi."""
    model = references()[name]
    names = [f"theta:{each}" for each in model["theta_names"]] + [f"beta:{each}" for each in model["coefficients"]]
    return np.array([names.index(each) if each in names else len(names) for each in model["coordinates"]])


def labelled(name: str, modes: list[Floats], covariances: list[Floats]) -> dict[tuple[str, int, str], tuple[float, float]]:
    """Effects and their deviations by grouping factor, number of the column there, and level."""
    data, out = data_of(references()[name]), {}
    first: dict[str, int] = {}
    for term, b, v in zip(DESIGNS[name].terms, modes, covariances, strict=True):
        start = first.get(term.group, 0)
        for level, label in enumerate(block(data, term)[1]):
            for j in range(b.shape[1]):
                out[term.group, start + j, label] = (float(b[level, j]), float(np.sqrt(v[level, j, j])))
        first[term.group] = start + b.shape[1]
    return out
