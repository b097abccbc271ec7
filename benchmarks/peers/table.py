"""The tables in Markdown and JSON, and rows read back from JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers.engines import FLOOR, OURS
from benchmarks.peers.goals import Standing, standing
from benchmarks.peers.judge import COUNTS, TOLERANCE, Line, judge
from benchmarks.peers.run import Attempt, Row
from benchmarks.shapes import Goal

NOTHING = "–"


def markdown(rows: Sequence[Row], facts: Mapping[str, str], tolerance: float = TOLERANCE, level: int = 1) -> str:
    """The page: how it was made, the goals, a summary, and a table for each row; headings start at a level."""
    judged = {row.key: judge(row, tolerance) for row in rows}
    heading = "#" * level
    parts = [f"{heading} Next to other packages", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    parts += [f"{heading}# Goals", "", *goals(rows, judged), f"{heading}# Ratios", "", *ratios(rows, judged)]
    for row in rows:
        parts += section(row, judged[row.key], level + 1)
    return "\n".join([*parts, f"{heading}# Versions", "", *versions(rows), ""])


def goals(rows: Sequence[Row], judged: Mapping[str, list[Line]]) -> list[str]:
    """Our time and the fastest peer's, next to what is wanted."""
    parts = [
        "| row | ours | seconds wanted | fastest peer | ratio | ratio wanted | floor | over data | evaluations | goal |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    parts += ["| " + " | ".join(_standing(row, standing(row, judged[row.key]))) + " |" for row in rows]
    return [*parts, ""]


def _standing(row: Row, found: Standing) -> list[str]:
    ours, rival, goal = found.ours, found.rival, found.goal
    quartiles = "" if rival is None else f" ({figures(rival.low)} to {figures(rival.high)})"
    return [
        _title(row),
        seconds(ours.median if ours else None),
        NOTHING if goal.seconds is None else f"≤ {seconds(goal.seconds)}",
        NOTHING if rival is None else f"{rival.attempt.engine}, {seconds(rival.median)}",
        NOTHING if rival is None else figures(rival.ratio) + quartiles,
        NOTHING if found.wanted is None else f"≥ {figures(found.wanted)}",
        NOTHING if found.floor is None else seconds(found.floor.median),
        NOTHING if ours is None else megabytes(ours.attempt.over_data),
        NOTHING if ours is None else evaluations(ours.attempt),
        "**not met**: " + "; ".join(found.misses) if found.misses else "met",
    ]


def ratios(rows: Sequence[Row], judged: Mapping[str, list[Line]]) -> list[str]:
    """Ratios peer/ours: above 1 we are faster. In brackets: does not count, for either side."""
    engines = list(dict.fromkeys(a.engine for row in rows for a in row.attempts if a.engine not in (OURS, FLOOR)))
    parts = ["| row | ours | " + " | ".join(engines) + " |", "|---" * (len(engines) + 2) + "|"]
    for row in rows:
        lines = {(line.attempt.engine, line.attempt.criterion): line for line in judged[row.key]}
        ours = lines.get((OURS, "REML")) or lines.get((OURS, "ML"))
        cells = [_title(row), seconds(ours.median if ours else None)]
        for engine in engines:
            line = next((lines[engine, by] for by in ("REML", "ML", "another") if (engine, by) in lines), None)
            cells.append(_cell(line, row) if line else NOTHING)
        parts.append("| " + " | ".join(cells) + " |")
    return [*parts, ""]


def _title(row: Row) -> str:
    return f"{row.key}: {row.title}".replace("|", "\\|")


def _cell(line: Line, row: Row) -> str:
    if line.ratio is None:
        return line.verdict
    ratio = figures(line.ratio) + ("" if line.attempt.criterion == "REML" or row.likelihood else " (ML)")
    return ratio if line.verdict in COUNTS else f"[{ratio}] {line.verdict}"


def section(row: Row, lines: Sequence[Line], level: int = 2) -> list[str]:
    """All that is known of one row."""
    parts = [
        f"{'#' * level} {row.key}: {row.title}",
        "",
        f"`{row.formula}`, {', '.join(filter(None, (f'{row.rows:,} rows', row.likelihood)))}",
        "",
        "| engine | by | median | processor | ratio | quartiles | log-likelihood | below the best | evaluations | peak "
        "| over data | fits | verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    parts += ["| " + " | ".join(_cells(line)) + " |" for line in lines]
    reasons = [line.attempt for line in lines if line.attempt.reason]
    if reasons:
        parts += ["", *(f"- {a.engine}: {a.status}: {a.reason}" for a in reasons)]
    return [*parts, ""]


def versions(rows: Sequence[Row]) -> list[str]:
    """What each engine says of itself."""
    found = {a.engine: a.versions for row in rows for a in row.attempts if a.versions}
    return [f"- {name}: " + ", ".join(f"{k} {v}" for k, v in said.items()) for name, said in found.items()]


def _cells(line: Line) -> list[str]:
    a = line.attempt
    name = f"{a.engine} {a.versions[a.engine]}" if a.engine in a.versions else a.engine
    quartiles = NOTHING if line.low is None else f"{figures(line.low)} to {figures(line.high)}"
    verdict = line.verdict or ("" if a.engine == OURS else NOTHING)
    if a.rounds and a.converged is False:
        verdict += ", says it has not converged"
    return [
        name,
        NOTHING if a.engine == FLOOR else a.criterion,
        seconds(line.median),
        seconds(a.cpu_seconds),
        figures(line.ratio),
        quartiles,
        NOTHING if a.loglik is None else f"{a.loglik:.4f}",
        NOTHING if line.deficit is None else f"{line.deficit:.1e}",
        evaluations(a),
        megabytes(a.peak_bytes),
        megabytes(a.over_data),
        str(sum(map(len, a.rounds))),
        verdict,
    ]


def evaluations(attempt: Attempt) -> str:
    """Those of the search, those of the certificate where there is one, and of what they were made where that is known."""
    if attempt.evaluations is None:
        return NOTHING
    more = "" if attempt.certificate_evaluations is None else f" + {attempt.certificate_evaluations}"
    parts = {"gradients": attempt.gradients, "passes": attempt.passes, "factorizations": attempt.factorizations}
    made = ", ".join(f"{count} {name}" for name, count in parts.items() if count is not None)
    return f"{attempt.evaluations}{more}" + (f" ({made})" if made else "")


def figures(value: float | None) -> str:
    """Two decimals of a ratio, or two figures."""
    if value is None:
        return NOTHING
    if value < 0.1:
        return f"{value:.2g}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def seconds(value: float | None) -> str:
    """Three figures, in ms below a second."""
    if value is None:
        return NOTHING
    return f"{value * 1e3:.3g} ms" if value < 0.9995 else f"{value:.3g} s" if value < 999.5 else f"{value:,.0f} s"


def megabytes(value: int | None) -> str:
    """Whole megabytes."""
    return NOTHING if value is None else f"{value / 1e6:,.0f} MB"


def row_record(row: Row, tolerance: float = TOLERANCE) -> dict[str, Any]:
    """A judged row for JSON, with the seconds of every fit."""
    return {
        "key": row.key, "title": row.title, "formula": row.formula, "rows": row.rows, "start": row.start,
        "goal": None if row.goal is None else dataclasses.asdict(row.goal), "likelihood": row.likelihood,
        "engines": [dataclasses.asdict(line) for line in judge(row, tolerance)],
    }


def read_row(record: Mapping[str, Any]) -> Row:
    """The row of a record of `row_record`."""
    attempts = tuple(Attempt(**line["attempt"]) for line in record["engines"])
    goal = None if record["goal"] is None else Goal(**record["goal"])
    return Row(record["key"], record["title"], record["formula"], record["rows"], record["start"], attempts, goal,
               record["likelihood"])


def as_json(rows: Sequence[Row], facts: Mapping[str, str], tolerance: float = TOLERANCE) -> str:
    """The same as one document."""
    document = {
        "kind": "peers", "facts": dict(facts), "tolerance": tolerance, "rows": [row_record(row, tolerance) for row in rows],
    }
    return json.dumps(document, indent=1, allow_nan=False)


def write(rows: Sequence[Row], facts: Mapping[str, str], folder: Path) -> tuple[Path, Path]:
    """Write ``peers.md`` and ``peers.json``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, document = folder / "peers.md", folder / "peers.json"
    page.write_text(markdown(rows, facts), encoding="utf-8")
    document.write_text(as_json(rows, facts) + "\n", encoding="utf-8")
    return page, document
