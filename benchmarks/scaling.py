"""Time against size: ``python -m benchmarks.scaling`` measures four sweeps, ours and the peers', and draws a plot of each.

A sweep is a row of the comparison at several sizes. An engine that fails, or whose fit takes a good part of the time limit,
takes no part in larger sizes.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import plots
from benchmarks.generators import crossed, many_slopes, scalar, slopes
from benchmarks.peers.__main__ import add_settings, end_workers_when_stopped, facts_of, names, say, settings_of
from benchmarks.peers.engines import ENGINES, OURS, PEERS, Engine
from benchmarks.peers.install import Place, place
from benchmarks.peers.run import Row, Say, Settings, run_row
from benchmarks.peers.table import row_record
from benchmarks.shapes import Shape, Term, intercepts

DEFAULT_OUT = Path(".benchmarks/scaling")
DEFAULT_PLOTS = Path("docs/img")
DEFAULT_PEERS = ("glmm", "lme4", "statsmodels", "mixedlm", "gpboost", "lme-python")
# the next size is about three times as large: what takes this share of the limit now would exceed it then
LAST_SHARE = 1 / 3


@dataclass(frozen=True, slots=True)
class Sweep:
    """One model at growing sizes; `axis` says what grows."""

    name: str
    title: str
    axis: str
    points: tuple[tuple[int, Shape], ...]

    def quick(self) -> Sweep:
        """The two smallest sizes with a twentieth of the rows and levels."""
        points = tuple((size, dataclasses.replace(shape, make=partial(_shrunk, shape.make))) for size, shape in self.points[:2])
        return dataclasses.replace(self, points=points)


def _shrunk(make: Callable[[float], Any], scale: float) -> Any:
    return make(0.05 * scale)


def _shape(name: str, size: int, title: str, fixed: Sequence[str], terms: tuple[Term, ...], rows: int,
           make: Callable[[float], Any]) -> tuple[int, Shape]:
    return size, Shape(f"{name} {size:,}", "scaling", title, "y", tuple(fixed), terms, rows, make)


def _rows() -> Sweep:
    title = "y ~ x + (x | g), 1,000 groups"
    points = (
        _shape("rows", n, title, ["x"], (Term("g", ("x",)),), n, partial(slopes, n=n, q=1_000))
        for n in (10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000)
    )
    return Sweep("rows", title, "rows", tuple(points))


def _groups() -> Sweep:
    title = "y ~ x + (1 | g), 200,000 rows"
    points = (
        _shape("groups", q, title, ["x"], (Term("g"),), 200_000, partial(scalar, n=200_000, q=q))
        for q in (100, 500, 2_000, 10_000, 50_000)
    )
    return Sweep("groups", title, "groups", tuple(points))


def _trunk() -> Sweep:
    title = "y ~ x + (1 | a) + (1 | b), 60,000 rows, 5,000 levels of a"
    points = (
        _shape("trunk", q, title, ["x"], intercepts("ab"), 60_000, partial(crossed, n=60_000, qa=5_000, qb=q))
        for q in (50, 150, 500, 1_500, 3_000)
    )
    return Sweep("trunk", title, "levels of b, the size of the trunk", tuple(points))


def _theta() -> Sweep:
    title = "y ~ x1 + … + x5 + (x1 + … + xk | g), k = 0 to 5, 10,000 rows, 250 groups"
    names = tuple(f"x{j}" for j in range(1, 6))
    points = (
        _shape("theta", (k + 1) * (k + 2) // 2, title, names, (Term("g", names[:k]),), 10_000,
               partial(many_slopes, n=10_000, q=250, columns=5, slopes=k))
        for k in range(6)
    )
    return Sweep("theta", title, "covariance parameters (theta)", tuple(points))


SWEEPS = {sweep.name: sweep for sweep in (_rows(), _groups(), _trunk(), _theta())}


def run_sweep(sweep: Sweep, engines: Sequence[Engine], settings: Settings, say: Say,
              find: Callable[..., Place] = place) -> list[tuple[int, Row]]:
    """Measure the engines at every size, the smallest first.

    Returns
    -------
    list
        Sizes and rows; a row holds the engines that were still taking part.
    """
    live = list(engines)
    points = []
    for size, shape in sweep.points:
        row = run_row(shape, live, settings, say, find)
        points.append((size, row))
        stay = {a.engine for a in row.attempts if a.status == "measured" and _longest(a.rounds) < LAST_SHARE * settings.timeout}
        live = [engine for engine in live if engine.name in stay]
    return points


def _longest(rounds: Sequence[Sequence[float]]) -> float:
    return max((seconds for turn in rounds for seconds in turn), default=0.0)


def document(measured: Mapping[str, Sequence[tuple[int, Row]]], facts: Mapping[str, str]) -> dict[str, Any]:
    """All measurements, for JSON."""
    sweeps = [
        {
            "name": name, "title": SWEEPS[name].title, "axis": SWEEPS[name].axis,
            "points": [{"size": size, "row": row_record(row)} for size, row in points],
        }
        for name, points in measured.items()
    ]
    return {"kind": "scaling", "facts": dict(facts), "sweeps": sweeps}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    p.add_argument("--sweeps", type=names(tuple(SWEEPS), "sweep"), default=list(SWEEPS), metavar="NAMES",
                   help=f"with commas between them (default: all): {', '.join(SWEEPS)}")
    p.add_argument("--peers", type=names(PEERS, "peer"), default=list(DEFAULT_PEERS), metavar="NAMES",
                   help=f"peers, with commas between them (default {','.join(DEFAULT_PEERS)})")
    p.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of scaling.json (default {DEFAULT_OUT})")
    p.add_argument("--plots", type=Path, default=DEFAULT_PLOTS, help=f"folder of the plots (default {DEFAULT_PLOTS})")
    p.add_argument("--quick", action="store_true", help="two small sizes of each sweep, for trying things out")
    add_settings(p, repeats=3, timeout=20.0, budget=3.0)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    chosen = parser().parse_args(arguments)
    end_workers_when_stopped()
    settings = settings_of(chosen, probe=False)
    facts = facts_of(settings, "benchmarks.scaling", arguments)
    engines = [ENGINES[name] for name in (OURS, *chosen.peers)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    path = chosen.out / "scaling.json"
    measured: dict[str, list[tuple[int, Row]]] = {}
    for name in chosen.sweeps:
        sweep = SWEEPS[name].quick() if chosen.quick else SWEEPS[name]
        measured[name] = run_sweep(sweep, engines, settings, say)
        path.write_text(json.dumps(document(measured, facts), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    drawn = plots.draw(document(measured, facts), chosen.plots)
    print("\n".join(map(str, (path, *drawn))))


if __name__ == "__main__":
    main()
