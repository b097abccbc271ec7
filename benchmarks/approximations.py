"""The table of ``docs/laplace-pirls-agq.md``: ``python -m benchmarks.approximations``.

The bundled data fitted by every approximation of the likelihood that a model allows, beside the most exact one.
"""

from __future__ import annotations

import re
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

import mixeff_fast as mf
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.glmm import GlmmResult, Method, fit_glmm

PAGE = Path("docs/laplace-pirls-agq.md")
START, END = "<!-- results: start -->", "<!-- results: end -->"
REPEATS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """``points`` are the orders of the rules, the most exact last; none where there are several grouping factors."""

    data: str
    family: str
    formula: str
    points: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    result: GlmmResult
    seconds: float


SCALAR = (2, 5, 9, 25, 50)
CASES = (
    Case("cbpp", "binomial", "cbind(incidence, size - incidence) ~ period + (1 | herd)", SCALAR),
    Case("VerbAgg", "binomial", "r2 ~ Anger + Gender + btype + situ + mode + (1 | id)", SCALAR),
    Case("VerbAgg", "binomial", "r2 ~ Anger + Gender + btype + situ + mode + (1 + mode | id)", (2, 5, 9, 15)),
    Case("VerbAgg", "binomial", "r2 ~ Anger + Gender + btype + situ + mode + (1 | id) + (1 | item)"),
    Case("grouseticks", "poisson", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", SCALAR),
    Case("grouseticks", "poisson", "TICKS ~ YEAR + cHEIGHT + (1 | INDEX)", SCALAR),
    Case("grouseticks", "poisson", "TICKS ~ YEAR + cHEIGHT + (1 | BROOD) + (1 | INDEX) + (1 | LOCATION)"),
)


def measured(case: Case) -> list[Row]:
    """Each approximation, and the processor time of its fit on one thread, the best of some."""
    model = mf.compile_model(case.formula, mf.datasets.load(case.data), family=case.family).compiled
    control = replace(DEFAULT_CONTROL, threads=1)
    wanted: list[tuple[str, Method, int]] = [("profiled", "pirls_profiled", 1), ("Laplace", "joint_laplace", 1)]
    wanted += [(f"{points} points", "joint_laplace", points) for points in case.points]
    out = []
    for name, method, points in wanted:
        spent = []
        for _ in range(REPEATS):
            begin = time.process_time()
            _, result = fit_glmm(model, method, control, points)
            spent.append(time.process_time() - begin)
        out.append(Row(name, result, min(spent)))
    return out


def table(case: Case) -> str:
    """Markdown."""
    rows = measured(case)
    best, laplace = rows[-1].result, rows[1]
    error = np.sqrt(np.diag(best.vcov))
    lines = [
        f"`{case.formula}`, {case.family}, `{case.data}`", "",
        "| approximation | -2 log-likelihood | difference | theta | coefficients off by | time |",
        "|---|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        theta = ", ".join(f"{value:.4f}" for value in row.result.theta)
        off = np.nanmax(np.abs(row.result.beta - best.beta) / error)
        time_ratio = row.seconds / laplace.seconds
        lines.append(
            f"| {row.name} | {row.result.objective:.4f} | {row.result.objective - best.objective:.2g} | {theta} | "
            f"{off:.2g} SE | {time_ratio:.2g} |"
        )
    return "\n".join(lines)


def main() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = "\n\n".join(table(case) for case in CASES)
    page = PAGE.read_text(encoding="utf-8")
    inside = re.compile(f"{re.escape(START)}.*{re.escape(END)}", re.DOTALL)
    PAGE.write_text(inside.sub(lambda _: f"{START}\n\n{results}\n\n{END}", page), encoding="utf-8")


if __name__ == "__main__":
    main()
