"""Who was faster, with what log-likelihood."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.engines import FLOOR, OURS
from benchmarks.peers.run import Attempt, Row

TOLERANCE = 1e-4
GENERALIZED = 1e-3
COUNTS = ("slower than ours", "faster than ours", "level")


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
        By how much a log-likelihood may be below the best one. Of generalized models those of the peers may be `GENERALIZED`
        below: inner iterations that end early leave errors of that size, and searches stop at them.
    """
    lenient = max(tolerance, GENERALIZED) if row.likelihood else tolerance
    lines = []
    for attempt in row.attempts:
        measured = [a for a in row.attempts if a.rounds and a.criterion == attempt.criterion]
        best = max((a.loglik for a in measured if a.loglik is not None), default=None)
        ours = next((a for a in row.attempts if a.rounds and a.engine == OURS and _compared(a, attempt)), None)
        deficit = _deficit(attempt, best)
        wrong = _optimum(deficit, tolerance if attempt.engine == OURS else lenient)
        if attempt.criterion == "another":
            wrong = "another criterion"
        elif ours is not None and not wrong and _optimum(_deficit(ours, best), tolerance):
            wrong = "our optimum is worse"
        lines.append(_line(attempt, ours, deficit, wrong))
    return lines


def _compared(ours: Attempt, attempt: Attempt) -> bool:
    """Tell whether times are held next to each other: our own fit is by the criterion of the other, or there is no such."""
    return ours.criterion == attempt.criterion or attempt.criterion == "another"


def _line(attempt: Attempt, ours: Attempt | None, deficit: float | None, wrong: str) -> Line:
    if not attempt.rounds:
        return Line(attempt, verdict=attempt.status)
    median = statistics.median(_turns(attempt))
    if attempt.engine == OURS:
        return Line(attempt, median, deficit=deficit, verdict=wrong)
    wrong = "floor" if attempt.engine == FLOOR else wrong
    if ours is None:
        return Line(attempt, median, deficit=deficit, verdict=wrong or "not compared")
    ratios = [peer / own for peer, own in zip(_turns(attempt), _turns(ours), strict=False)]
    low, high = _quartiles(ratios)
    verdict = wrong or ("slower than ours" if low > 1 else "faster than ours" if high < 1 else "level")
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
