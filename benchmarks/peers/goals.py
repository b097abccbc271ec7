"""Where we stand on a row: next to its fastest peer, and next to its goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.peers.engines import FLOOR, OURS
from benchmarks.peers.judge import COUNTS, Line
from benchmarks.peers.run import Row
from benchmarks.shapes import Goal

ANY = Goal()


@dataclass(frozen=True, slots=True)
class Standing:
    """`rival` is the fastest peer with an optimum as good as ours, or the one that the goal names; `wanted` is the least
    ratio of its time to ours.

    `misses` says what is not reached; nothing is missed where it is empty.
    """

    ours: Line | None
    rival: Line | None
    floor: Line | None
    goal: Goal
    wanted: float | None
    misses: tuple[str, ...]


def standing(row: Row, lines: Sequence[Line]) -> Standing:
    """Hold a judged row against its goal."""
    goal = row.goal or ANY
    ours = next((line for line in lines if line.attempt.engine == OURS), None)
    floor = next((line for line in lines if line.attempt.engine == FLOOR and line.ratio is not None), None)
    rivals = [line for line in lines if line.verdict in COUNTS and line.ratio is not None]
    named = [line for line in rivals if line.attempt.engine == goal.peer]
    rival = min(named or rivals, key=lambda line: line.ratio or 0.0, default=None)
    wanted = None if goal.by_clock else 1.0 if goal.share is None else 1 / goal.share
    if ours is None or ours.median is None or ours.verdict:
        why = "we were not measured" if ours is None else f"we: {ours.verdict}"
        return Standing(ours, rival, floor, goal, wanted, (why,))
    misses = (*_slow(goal, ours.median, rivals, rival), *_far_from_floor(goal, floor), *_large(goal, ours))
    return Standing(ours, rival, floor, goal, wanted, misses)


def _slow(goal: Goal, seconds: float, rivals: Sequence[Line], rival: Line | None) -> list[str]:
    if goal.by_clock:
        assert goal.seconds is not None
        return [f"{seconds:.3g} s, not {goal.seconds:g} s"] if seconds > goal.seconds else []
    misses = [f"{line.attempt.engine} is faster" for line in rivals if line.verdict == "faster than ours"]
    if not misses and goal.share is not None and rival is not None and rival.ratio is not None and rival.high is not None:
        wanted = 1 / goal.share
        if rival.ratio < wanted:
            noise = " (within the noise)" if rival.high >= wanted else ""
            misses.append(f"ratio {rival.ratio:.2f}, not {wanted:.2f}{noise}")
    return misses


def _far_from_floor(goal: Goal, floor: Line | None) -> list[str]:
    if goal.floor is None or floor is None or floor.ratio is None or floor.ratio * goal.floor >= 1:
        return []
    return [f"{1 / floor.ratio:.2f} times the floor, not {goal.floor:g}"]


def _large(goal: Goal, ours: Line) -> list[str]:
    over = ours.attempt.over_data
    if goal.over_data is None or over is None or over <= goal.over_data:
        return []
    return [f"{over / 1e6:,.0f} MB over the data, not {goal.over_data / 1e6:,.0f}"]
