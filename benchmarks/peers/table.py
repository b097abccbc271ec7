"""Who was faster, with what log-likelihood: the judgement, and the tables in Markdown and JSON."""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.engines import OURS
from benchmarks.peers.run import Attempt, Row

TOLERANCE = 1e-4
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Line:
    """An attempt, judged.

    A turn's time is the median of its fits; `median` is the median of the turns, `ratio` that of the ratios to our own
    turns by the same criterion, and `low` and `high` are their quartiles. So what slows the machine for a while slows both
    sides of a ratio. `deficit` is how far the log-likelihood is below the best one by that criterion.
    """

    attempt: Attempt
    median: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    deficit: float | None = None
    verdict: str = ""


def judge(row: Row, tolerance: float = TOLERANCE) -> list[Line]:
    """One line for each attempt; neither side wins with a log-likelihood that is worse or not known.

    Parameters
    ----------
    row
        What was measured.
    tolerance
        By how much a log-likelihood may be below the best one.
    """
    lines = []
    for attempt in row.attempts:
        measured = [a for a in row.attempts if a.rounds and a.criterion == attempt.criterion]
        best = max((a.loglik for a in measured if a.loglik is not None), default=None)
        ours = next((a for a in measured if a.engine == OURS), None)
        lines.append(_line(attempt, ours, best, tolerance))
    return lines


def _line(attempt: Attempt, ours: Attempt | None, best: float | None, tolerance: float) -> Line:
    if not attempt.rounds:
        return Line(attempt, verdict=attempt.status)
    median = statistics.median(_turns(attempt))
    deficit = _deficit(attempt, best)
    if attempt.engine == OURS:
        return Line(attempt, median, deficit=deficit, verdict=_optimum(deficit, tolerance))
    if ours is None:
        return Line(attempt, median, deficit=deficit, verdict=_optimum(deficit, tolerance) or "not compared")
    ratios = [peer / own for peer, own in zip(_turns(attempt), _turns(ours), strict=False)]
    low, high = _quartiles(ratios)
    verdict = _optimum(deficit, tolerance)
    if not verdict and _optimum(_deficit(ours, best), tolerance):
        verdict = "our optimum is worse"
    elif not verdict:
        verdict = "slower than ours" if low > 1 else "faster than ours" if high < 1 else "level"
    return Line(attempt, median, statistics.median(ratios), low, high, deficit, verdict)


def _turns(attempt: Attempt) -> list[float]:
    return [statistics.median(turn) for turn in attempt.rounds]


def _deficit(attempt: Attempt, best: float | None) -> float | None:
    return None if attempt.loglik is None or best is None else best - attempt.loglik


def _optimum(deficit: float | None, tolerance: float) -> str:
    """What is wrong with an optimum; empty if nothing is."""
    if deficit is None:
        return "log-likelihood not known"
    return "worse optimum" if deficit > tolerance else ""


def _quartiles(values: Sequence[float]) -> tuple[float, float]:
    if len(values) == 1:
        return values[0], values[0]
    low, _, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, high


def markdown(rows: Sequence[Row], facts: dict[str, Any], tolerance: float = TOLERANCE) -> str:
    """The page: how it was made, a summary, and a table for each row."""
    judged = {row.key: judge(row, tolerance) for row in rows}
    parts = ["# Next to other packages", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    parts += _summary(rows, judged)
    for row in rows:
        parts += _section(row, judged[row.key])
    return "\n".join([*parts, *_versions(rows)])


def _summary(rows: Sequence[Row], judged: dict[str, list[Line]]) -> list[str]:
    """Ratios peer/ours: above 1 we are faster. In brackets: does not count, for either side."""
    engines = list(dict.fromkeys(a.engine for row in rows for a in row.attempts if a.engine != OURS))
    parts = ["| row | ours | " + " | ".join(engines) + " |", "|---" * (len(engines) + 2) + "|"]
    for row in rows:
        lines = {(line.attempt.engine, line.attempt.criterion): line for line in judged[row.key]}
        ours = lines.get((OURS, "REML"))
        cells = [f"{row.key}: {row.title}".replace("|", "\\|"), _seconds(ours.median if ours else None)]
        for engine in engines:
            line = lines.get((engine, "REML")) or lines.get((engine, "ML"))
            cells.append(_cell(line) if line else NOTHING)
        parts.append("| " + " | ".join(cells) + " |")
    return [*parts, ""]


def _cell(line: Line) -> str:
    if line.ratio is None:
        return line.verdict
    ratio = _figures(line.ratio) + ("" if line.attempt.criterion == "REML" else " (ML)")
    counts = line.verdict in ("slower than ours", "faster than ours", "level")
    return ratio if counts else f"[{ratio}] {line.verdict}"


def _section(row: Row, lines: Sequence[Line]) -> list[str]:
    parts = [
        f"## {row.key}: {row.title}",
        "",
        f"`{row.formula}`, {row.rows:,} rows",
        "",
        "| engine | by | median | ratio | quartiles | log-likelihood | below the best | evaluations | peak | over data | fits "
        "| verdict |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    parts += ["| " + " | ".join(_cells(line)) + " |" for line in lines]
    reasons = [line.attempt for line in lines if line.attempt.reason]
    if reasons:
        parts += ["", *(f"- {a.engine}: {a.status}: {a.reason}" for a in reasons)]
    return [*parts, ""]


def _versions(rows: Sequence[Row]) -> list[str]:
    found = {a.engine: a.versions for row in rows for a in row.attempts if a.versions}
    listed = (f"- {name}: " + ", ".join(f"{k} {v}" for k, v in versions.items()) for name, versions in found.items())
    return ["## Versions", "", *listed, ""]


def _cells(line: Line) -> list[str]:
    a = line.attempt
    name = f"{a.engine} {a.versions[a.engine]}" if a.engine in a.versions else a.engine
    over = a.peak_bytes - a.loaded_bytes if a.peak_bytes is not None and a.loaded_bytes is not None else None
    quartiles = NOTHING if line.low is None else f"{_figures(line.low)} to {_figures(line.high)}"
    verdict = line.verdict or ("" if a.engine == OURS else NOTHING)
    if a.rounds and a.converged is False:
        verdict += ", says it has not converged"
    return [
        name,
        a.criterion,
        _seconds(line.median),
        _figures(line.ratio),
        quartiles,
        NOTHING if a.loglik is None else f"{a.loglik:.4f}",
        NOTHING if line.deficit is None else f"{line.deficit:.1e}",
        NOTHING if a.evaluations is None else str(a.evaluations),
        _megabytes(a.peak_bytes),
        _megabytes(over),
        str(sum(map(len, a.rounds))),
        verdict,
    ]


def _figures(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def _seconds(value: float | None) -> str:
    if value is None:
        return NOTHING
    return f"{value * 1e3:.3g} ms" if value < 1 else f"{value:.3g} s" if value < 1000 else f"{value:,.0f} s"


def _megabytes(value: int | None) -> str:
    return NOTHING if value is None else f"{value / 1e6:,.0f} MB"


def as_json(rows: Sequence[Row], facts: dict[str, Any], tolerance: float = TOLERANCE) -> str:
    """The same as one document, with the seconds of every fit."""
    document = {
        "facts": facts,
        "tolerance": tolerance,
        "rows": [
            {"key": row.key, "title": row.title, "formula": row.formula, "rows": row.rows, "start": row.start,
             "engines": [dataclasses.asdict(line) for line in judge(row, tolerance)]}
            for row in rows
        ],
    }
    return json.dumps(document, indent=1, allow_nan=False)


def write(rows: Sequence[Row], facts: dict[str, Any], folder: Path) -> tuple[Path, Path]:
    """Write ``peers.md`` and ``peers.json``; returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    page, document = folder / "peers.md", folder / "peers.json"
    page.write_text(markdown(rows, facts), encoding="utf-8")
    document.write_text(as_json(rows, facts) + "\n", encoding="utf-8")
    return page, document
