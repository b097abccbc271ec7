"""The elimination plan that was chosen and its alternatives, timed: ``python -m benchmarks.plans``.

Each plan is an engine of the comparison: our own fit from the compiled model on, with the trunk that was chosen and with
those that were not. They take turns, must find the same log-likelihood, and have their memory measured as any engine has.
"""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

import mixeff_fast as mf
from benchmarks.peers.__main__ import add_settings, end_workers_when_stopped, facts_of, names, say, settings_of
from benchmarks.peers.engines import OURS, WORKERS, Engine
from benchmarks.peers.install import Place, place
from benchmarks.peers.judge import Line, judge
from benchmarks.peers.run import Row, Say, Settings, run_row
from benchmarks.peers.table import NOTHING, figures, megabytes, read_row, row_record, seconds, versions
from benchmarks.shapes import SHAPES, Shape, of_suite
from mixeff_fast.compile.plan import make_plan

DEFAULT_OUT = Path(".benchmarks/plans")
DEFAULT_ROWS = (*(shape.key for shape in of_suite("many_factors")), "nested", "5", "6")
ROWS = tuple(
    key for key, shape in SHAPES.items()
    if shape.task == "fit" and shape.start == "warm" and len(shape.terms) > 1 and shape.likelihood is None
)
FIELDS = ("name", "trunk", "flops", "inverse_flops", "bytes", "chosen", "why")
FORCED = ("dense", "sparse")


@dataclass(frozen=True, slots=True)
class Planned:
    """A measured row, and what the compiler says of each plan that it considered (`FIELDS`)."""

    row: Row
    plans: tuple[dict[str, Any], ...]


def considered(shape: Shape, data: pl.DataFrame) -> tuple[dict[str, Any], ...]:
    """The plans that the compiler considered, the chosen one among them."""
    plan: Any = mf.compile_model(shape.formula, data).compiled.plan
    records = tuple(_record(entry) for entry in getattr(plan, "alternatives", ()))
    if any(record["chosen"] for record in records):
        return records
    return (_record(plan) | {"name": "the only plan", "chosen": True}, *records)


def _record(entry: Any) -> dict[str, Any]:
    return {name: getattr(entry, name, None) for name in FIELDS}


def engines(plans: Sequence[Mapping[str, Any]]) -> list[Engine]:
    """The chosen plan as our engine, and one engine for every other trunk that can be forced, considered or not."""
    worker = WORKERS / "fit_plan.py"
    chosen = {record["trunk"] for record in plans if record["chosen"]}
    given_up = {record["trunk"] for record in plans if not record["chosen"] and record["flops"] is None}
    fixed = "none" in chosen or "trunk" not in inspect.signature(make_plan).parameters
    other = () if fixed else (trunk for trunk in FORCED if trunk not in chosen | given_up)
    return [
        Engine(OURS, "here", worker, arguments=("chosen",)),
        *(Engine(trunk, "here", worker, arguments=(trunk,)) for trunk in other),
    ]


def measure(shape: Shape, settings: Settings, say: Say, find: Callable[..., Place] = place) -> Planned:
    """Time the plans of one shape."""
    plans = considered(shape, shape.data(settings.scale))
    return Planned(run_row(shape, engines(plans), settings, say, find), plans)


def document(measured: Sequence[Planned], facts: Mapping[str, str]) -> dict[str, Any]:
    """All measurements, for JSON."""
    rows = [{"row": row_record(entry.row), "plans": list(entry.plans)} for entry in measured]
    return {"kind": "plans", "facts": dict(facts), "rows": rows}


def read(known: Mapping[str, Any]) -> list[Planned]:
    """What a document of `document` holds."""
    return [Planned(read_row(entry["row"]), tuple(entry["plans"])) for entry in known["rows"]]


def markdown(measured: Sequence[Planned], facts: Mapping[str, str], level: int = 1) -> str:
    """A table of plans for every row; headings start at a level."""
    heading = "#" * level
    parts = [f"{heading} Elimination plans", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    for entry in measured:
        parts += [f"{heading}# {entry.row.key}: {entry.row.title}", "", f"`{entry.row.formula}`, {entry.row.rows:,} rows", ""]
        parts += _table(entry)
    return "\n".join([*parts, f"{heading}# Versions", "", *versions([entry.row for entry in measured]), ""])


def _table(entry: Planned) -> list[str]:
    lines = {line.attempt.engine: line for line in judge(entry.row)}
    parts = [
        "| plan | operations | of the inverse | memory | fit | next to the chosen | over data | verdict | why |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    timed: set[str] = set()
    known = {record["trunk"] for record in entry.plans}
    forced = (dict.fromkeys(FIELDS) | {"name": trunk, "trunk": trunk, "why": "not considered"} for trunk in lines)
    for record in (*entry.plans, *(record for record in forced if record["trunk"] not in {*known, OURS})):
        engine = OURS if record["chosen"] else record["trunk"]
        line = None if engine in timed else lines.get(engine)
        timed.add(engine)
        parts.append("| " + " | ".join(_cells(record, line)) + " |")
    failed = [line.attempt for line in lines.values() if line.attempt.reason]
    return [*parts, "", *(f"- {a.engine}: {a.status}: {a.reason}" for a in failed), *([""] if failed else [])]


def _cells(record: Mapping[str, Any], line: Line | None) -> list[str]:
    name = f"**{record['name']}** (chosen)" if record["chosen"] else str(record["name"])
    operations = (NOTHING if record[key] is None else f"{record[key]:.2g}" for key in ("flops", "inverse_flops"))
    cells = [name, *operations, megabytes(record["bytes"])]
    if line is None:
        cells += [NOTHING, NOTHING, NOTHING, "not timed"]
    else:
        cells += [seconds(line.median), figures(line.ratio), megabytes(line.attempt.over_data), _verdict(line)]
    return [*cells, str(record["why"] or "").replace("|", "\\|")]


def _verdict(line: Line) -> str:
    return line.verdict.replace("than ours", "than the chosen").replace("our optimum", "the chosen one's optimum")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.plans", description=__doc__)
    p.add_argument("--rows", type=names(ROWS, "row of several factors"), default=list(DEFAULT_ROWS), metavar="KEYS",
                   help=f"rows, with commas between them (default {','.join(DEFAULT_ROWS)})")
    p.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the tables (default {DEFAULT_OUT})")
    p.add_argument("--scale", type=float, default=1.0, help="share of the rows and levels of generated data (default 1)")
    add_settings(p, repeats=5, timeout=120.0, budget=20.0)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    chosen = parser().parse_args(arguments)
    end_workers_when_stopped()
    settings = settings_of(chosen, scale=chosen.scale)
    facts = facts_of(settings, "benchmarks.plans", arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    page, path = chosen.out / "plans.md", chosen.out / "plans.json"
    measured: list[Planned] = []
    for key in chosen.rows:
        measured.append(measure(SHAPES[key], settings, say))
        page.write_text(markdown(measured, facts), encoding="utf-8")
        path.write_text(json.dumps(document(measured, facts), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{page}\n{path}")


if __name__ == "__main__":
    main()
