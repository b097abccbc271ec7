"""Optima of reference models by the dense oracle, written to ``polished.json``: ``python -m tests.reference.polish``.

Designs are written out here, column by column, and the optima are found by Newton steps on the n x n criterion: nothing
but the data comes from the library. Terms stand in lme4's order. A column is ``1``, a numeric column, ``x^2``, an
indicator ``factor=level``, or a product of these with ``*``.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tests.oracle import Block, Problem, Solution, hessian, polish, solve
from tests.reference_fits import data_of, numbers, references

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Term:
    """``columns`` that vary over the cells of ``group`` with an unstructured covariance."""

    group: str
    columns: tuple[str, ...] = ("1",)


@dataclass(frozen=True, slots=True)
class Design:
    response: str
    fixed: tuple[str, ...]
    terms: tuple[Term, ...]
    offset: str | None = None


DESIGNS = {
    "sleepstudy_reml": Design("Reaction", ("1", "Days"), (Term("Subject", ("1", "Days")),)),
    "sleepstudy_double_bar_ml": Design("Reaction", ("1", "Days"), (Term("Subject"), Term("Subject", ("Days",)))),
    "sleepstudy_slope_only": Design("Reaction", ("1", "Days"), (Term("Subject", ("Days",)),)),
    "sleepstudy_three_columns": Design(
        "Reaction", ("1", "Days", "Days^2"), (Term("Subject", ("1", "Days", "Days^2")),)
    ),
    "dyestuff2_ml": Design("Yield", ("1",), (Term("Batch"),)),
    "penicillin_ml": Design("diameter", ("1",), (Term("plate"), Term("sample"))),
    "pastes_nested": Design("strength", ("1",), (Term("batch:cask"), Term("batch"))),
    "cbpp_weights": Design("prop", ("1", "period=2", "period=3", "period=4"), (Term("herd"),)),
    "cake_factor_slopes": Design(
        "angle", ("1", "recipe=B", "recipe=C", "temp"), (Term("replicate", ("1", "recipe=B", "recipe=C")),)
    ),
    "perfect_slope_ml": Design("y", ("1", "x"), (Term("g", ("1", "x")),)),
    "zero_slope_double_bar": Design("y", ("1", "x"), (Term("g"), Term("g", ("x",)))),
    "levels_three": Design("y", ("1", "x"), (Term("school:class:pupil"), Term("school:class"), Term("school"))),
    "levels_mixed_vectors": Design(
        "y",
        ("1", "x", "f=mid", "f=up", "x*f=mid", "x*f=up"),
        (Term("school:class"), Term("school", ("1", "x")), Term("rater", ("f=lo", "f=mid", "f=up"))),
    ),
    "factorial_aliased": Design("y", ("1", "x", "x2", "z"), (Term("g", ("1", "x")),)),
    "factorial_weights_offset": Design("y", ("1", "x", "a=a2", "a=a3"), (Term("g", ("1", "x")),), offset="o"),
    "factorial_large_numbers": Design("y", ("1", "year"), (Term("h", ("1", "year")),)),
    "factorial_diag_ml": Design("y", ("1", "x", "z"), (Term("g"), Term("g", ("x",)), Term("g", ("z",)))),
    "factorial_crossed_cell_ml": Design("y", ("1", "x", "z"), (Term("g:h"), Term("g"), Term("h"))),
}


def column(data: pl.DataFrame, text: str) -> Floats:
    parts = []
    for factor in text.split("*"):
        name, _, level = factor.partition("=")
        base, _, power = name.partition("^")
        if factor == "1":
            parts.append(np.ones(len(data)))
        elif level:
            parts.append((data[name].cast(pl.String) == level).cast(pl.Float64).to_numpy())
        else:
            parts.append(data[base].cast(pl.Float64).to_numpy() ** int(power or 1))
    return np.asarray(reduce(np.multiply, parts))


def block(data: pl.DataFrame, term: Term) -> tuple[Block, list[str]]:
    """A term and the labels of its levels."""
    cells = data.select(pl.concat_str(pl.col(term.group.split(":")).cast(pl.String), separator=":")).to_series()
    levels, codes = np.unique(cells.to_numpy(), return_inverse=True)
    Z = np.column_stack([column(data, text) for text in term.columns])
    return Block(Z, codes, len(levels), np.tril(np.ones((Z.shape[1],) * 2, bool))), [str(level) for level in levels]


def problem_of(name: str) -> tuple[Problem, list[list[str]]]:
    """The dense problem of a reference model, and the level labels of its terms."""
    model, design = references()[name], DESIGNS[name]
    data = data_of(model)
    blocks, labels = zip(*(block(data, term) for term in design.terms), strict=True)
    X = np.column_stack([column(data, text) for text in design.fixed])
    weights = None if model["weights"] is None else column(data, model["weights"])
    offset = None if design.offset is None else column(data, design.offset)
    return Problem(X, column(data, design.response), blocks, weights, offset), list(labels)


def record(problem: Problem, labels: list[list[str]], theta: Floats, found: Solution) -> dict[str, Any]:
    """Everything the test compares. Effects are by term, level, column."""
    return {
        "theta": theta.tolist(),
        "objective": found.objective,
        "kept": found.kept.tolist(),
        "beta": found.beta.tolist(),
        "vcov": found.vcov.tolist(),
        "sigma": found.sigma,
        "fitted": found.fitted.tolist(),
        "levels": labels,
        "columns": [each.Z.shape[1] for each in problem.blocks],
        "ranef": [b.tolist() for b in found.b],
        "condsd": [np.sqrt(np.diagonal(v, axis1=1, axis2=2)).tolist() for v in found.b_cov],
    }


def main(output: Path) -> None:
    out: dict[str, Any] = {"numpy": np.__version__, "models": {}}
    for name in DESIGNS:
        began = time.perf_counter()
        problem, labels = problem_of(name)
        reml = bool(references()[name]["REML"])
        best = polish(problem, numbers(references()[name]["theta"]), reml)
        found = record(problem, labels, best.theta, solve(problem, best.theta, reml))
        if not references()[name]["singular"]:
            found["theta_vcov"] = (2.0 * np.linalg.inv(hessian(problem, best.theta, reml))).tolist()
        found |= {"slope": best.optimality.gradient, "cone": float(np.nan_to_num(best.optimality.cone, posinf=1e300))}
        out["models"][name] = found
        print(f"{name:28s} {best.objective:18.10f}  lme4 {references()[name]['objective'] - best.objective:+.1e}  "
              f"slope {best.optimality.gradient:.1e}  cone {best.optimality.cone:.1e}  "
              f"{time.perf_counter() - began:.1f} s", flush=True)
    lines = [f'"{name}": {json.dumps(found)}' for name, found in out["models"].items()]
    output.write_text(f'{{"numpy": "{out["numpy"]}", "models": {{\n' + ",\n".join(lines) + "\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "polished.json")
