"""``python -m benchmarks.peers``: measure, and write one table in Markdown and JSON."""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.peers import machine
from benchmarks.peers.engines import ENGINES, FLOOR, OURS, PEERS
from benchmarks.peers.run import Row, Settings, run_row
from benchmarks.peers.table import write
from benchmarks.shapes import SHAPES

DEFAULT_OUT = Path(".benchmarks/peers")


def names(known: Sequence[str], what: str) -> Callable[[str], list[str]]:
    """A reader of arguments that are names with commas between them."""

    def split(text: str) -> list[str]:
        found = [name.strip() for name in text.split(",") if name.strip()]
        unknown = [name for name in found if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"no {what} {', '.join(unknown)}; there are {', '.join(known)}")
        return found

    return split


def add_settings(p: argparse.ArgumentParser, *, repeats: int, timeout: float, budget: float) -> None:
    """The options that all comparisons share, with these defaults."""
    p.add_argument("--repeats", type=int, default=repeats, help=f"turns of every engine (default {repeats})")
    p.add_argument("--timeout", type=float, default=timeout, help=f"seconds that a fit may take (default {timeout:g})")
    p.add_argument("--budget", type=float, default=budget,
                   help=f"seconds of timed fits after which an engine takes no more turns in a row (default {budget:g})")
    p.add_argument("--threads", type=int, help="threads of every engine, through the usual environment variables")
    p.add_argument("--memory", type=float, help="GiB that a worker may take (default: 70 %% of what is free)")
    p.add_argument("--no-install", dest="install", action="store_false", help="only peers that are there already")


def settings_of(chosen: argparse.Namespace, *, scale: float = 1.0, probe: bool = True) -> Settings:
    """What the options of `add_settings` say."""
    free = machine.available_bytes()
    limit = chosen.memory * 2**30 if chosen.memory is not None else None if free is None else 0.7 * free
    return Settings(
        repeats=chosen.repeats, timeout=chosen.timeout, budget=chosen.budget, scale=scale, install=chosen.install,
        threads=chosen.threads, memory_limit=None if limit is None else int(limit), probe=probe,
    )


def facts_of(settings: Settings, tool: str, arguments: Sequence[str] | None) -> dict[str, str]:
    """What the reader of a table must know of the run; `arguments` are those of the tool, None those of this process."""
    given = sys.argv[1:] if arguments is None else arguments
    facts = machine.facts() | {
        "command": f"`{shlex.join(['python', '-m', tool, *given])}`",
        "threads": "each engine's own choice" if settings.threads is None else str(settings.threads),
        "turns": f"{settings.repeats}, at most {settings.budget:g} s of fits for an engine in a row",
        "time limit": f"{settings.timeout:g} s for a fit",
    }
    if settings.scale != 1:
        facts["scale"] = f"generated data at {settings.scale:g} of the rows and levels of the titles"
    return facts


def parser() -> argparse.ArgumentParser:
    """The command line."""
    p = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=__doc__)
    p.add_argument("--rows", type=names(tuple(SHAPES), "row"), default=list(SHAPES), metavar="KEYS",
                   help=f"rows, with commas between them (default: all): {', '.join(SHAPES)}")
    p.add_argument("--peers", type=names(PEERS, "peer"), default=list(PEERS), metavar="NAMES",
                   help=f"peers, with commas between them (default: all; '' for none): {', '.join(PEERS)}")
    p.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the tables (default {DEFAULT_OUT})")
    p.add_argument("--scale", type=float, default=1.0, help="share of the rows and levels of generated data (default 1)")
    add_settings(p, repeats=7, timeout=300.0, budget=60.0)
    return p


def say(line: str) -> None:
    """To those who wait."""
    print(line, file=sys.stderr, flush=True)


def end_workers_when_stopped() -> None:
    """A run that is told to stop closes its sessions, so that no worker goes on without it."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    chosen = parser().parse_args(arguments)
    end_workers_when_stopped()
    settings = settings_of(chosen, scale=chosen.scale)
    facts = facts_of(settings, "benchmarks.peers", arguments)
    rows: list[Row] = []
    for key in chosen.rows:
        floor = (FLOOR,) if SHAPES[key].task == "stream" else ()
        engines = [ENGINES[name] for name in (OURS, *floor, *chosen.peers)]
        rows.append(run_row(SHAPES[key], engines, settings, say))
        page, document = write(rows, facts, chosen.out)
    print(f"{page}\n{document}")


if __name__ == "__main__":
    main()
