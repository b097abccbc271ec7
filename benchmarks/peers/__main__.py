"""``python -m benchmarks.peers``: measure, and write one table in Markdown and JSON."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from benchmarks.peers.engines import ENGINES, OURS, PEERS
from benchmarks.peers.run import Row, Settings, run_row
from benchmarks.peers.table import write
from benchmarks.shapes import SHAPES

DEFAULT_OUT = Path(".benchmarks/peers")


def _names(known: Sequence[str], what: str) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return split


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    p.add_argument("--rows", type=_names(tuple(SHAPES), "row"), default=list(SHAPES), metavar="KEYS",
                   help=f"rows, with commas between them (default: all): {', '.join(SHAPES)}")
    p.add_argument("--peers", type=_names(PEERS, "peer"), default=list(PEERS), metavar="NAMES",
                   help=f"peers, with commas between them (default: all; '' for none): {', '.join(PEERS)}")
    p.add_argument("--repeats", type=int, default=7, help="turns of every engine (default 7)")
    p.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the tables (default {DEFAULT_OUT})")
    p.add_argument("--timeout", type=float, default=300.0, help="seconds that a fit may take (default 300)")
    p.add_argument("--budget", type=float, default=60.0,
                   help="seconds of timed fits after which an engine takes no more turns in a row (default 60)")
    p.add_argument("--scale", type=float, default=1.0, help="share of the rows and levels of generated data (default 1)")
    p.add_argument("--threads", type=int, help="threads of every engine, through the usual environment variables")
    p.add_argument("--memory", type=float, help="GiB that a worker may take (default: 70 %% of what is free)")
    p.add_argument("--no-install", dest="install", action="store_false", help="only peers that are there already")
    return p


def _available_bytes() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def _machine(settings: Settings) -> dict[str, str]:
    free = _available_bytes()
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}",
        "free memory": "not known" if free is None else f"{free / 2**30:.1f} GiB",
        "threads": "each engine's own choice" if settings.threads is None else str(settings.threads),
        "turns": f"{settings.repeats}, at most {settings.budget:g} s of fits for an engine in a row",
        "time limit": f"{settings.timeout:g} s for a fit",
    }
    if hasattr(os, "getloadavg"):
        facts["load when started"] = f"{os.getloadavg()[0]:.2f}"
    if settings.scale != 1:
        facts["scale"] = f"generated data at {settings.scale:g} of the rows and levels of the titles"
    return facts


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    chosen = parser().parse_args(arguments)
    free = _available_bytes()
    limit = chosen.memory * 2**30 if chosen.memory is not None else None if free is None else 0.7 * free
    settings = Settings(
        repeats=chosen.repeats, timeout=chosen.timeout, budget=chosen.budget, scale=chosen.scale, install=chosen.install,
        threads=chosen.threads, memory_limit=None if limit is None else int(limit),
    )
    facts = _machine(settings)
    engines = [ENGINES[name] for name in (OURS, *chosen.peers)]
    rows: list[Row] = []
    for key in chosen.rows:
        rows.append(run_row(SHAPES[key], engines, settings, _say))
        page, document = write(rows, facts, chosen.out)
    print(f"{page}\n{document}")


if __name__ == "__main__":
    main()
