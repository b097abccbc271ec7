"""Engines of the benchmark harness whose workers are fakes, and rows that were never measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks import generators
from benchmarks.peers.engines import BOTH, WORKERS, Criterion, Engine
from benchmarks.peers.install import CannotInstall, Place
from benchmarks.peers.run import Attempt, Row, Settings, run_row
from benchmarks.shapes import Goal, Shape, Term

# a worker that does as the environment variable FAKE says
FAKE = """
import json, os, sys, time
from worker import Refits, serve
how = json.loads(os.environ["FAKE"])

def note(what):
    with open(how["log"], "a") as log:
        log.write(f"{how['name']} {what}\\n")

def load(message):
    note("load")
    time.sleep(how.get("load_seconds", 0))
    if "crash_at_load" in how and open(how["log"]).read().count("load") == how["crash_at_load"]:
        os._exit(3)
    if "load_error" in how:
        raise RuntimeError(how["load_error"])
    return message["formula"]

def fit(loaded, reml):
    note("REML" if reml else "ML")
    how["calls"] = how.get("calls", 0) + 1
    print("chatter", flush=True)
    os.write(1, b"more chatter\\n")
    if how["calls"] > how.get("good", 10**9):
        if how["then"] == "crash":
            print("the reason", file=sys.stderr, flush=True)
            os._exit(3)
        if how["then"] == "hang":
            time.sleep(60)
        if how["then"] == "grow":
            how["block"] = bytearray(os.urandom(1) * 300_000_000)
            time.sleep(60)
        raise ValueError("cannot")
    time.sleep(how["seconds"])

def facts(fitted):
    return {"loglik": how["loglik"], "evaluations": 7, "converged": True} | how.get("counted", {})

def prepare(loaded, reml):
    note(f"prepares {'REML' if reml else 'ML'}")

def refit(prepared, y):
    note(f"refits {y if isinstance(y, str) else round(y[0], 6)}")

def together(responses):
    return f"{len(responses)} at once"

refits = None if "refits" not in how else Refits(prepare, refit, list, together if how["refits"] == "together" else None)
serve(load, fit, facts, (), refits)
"""

TOY = Shape("toy", "single_scalar", "a toy | with a bar", "y", ("x",), (Term("g"),), 20,
            lambda scale: generators.scalar(1.0, 20, 4))


class Fakes:
    """Engines whose workers are fakes, and the log of what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "fake.py"
        self.script.write_text(FAKE)
        self.log = folder / "log"
        self.places: dict[str, Place] = {}
        self.engines: list[Engine] = []

    def add(
        self, name: str, criteria: tuple[Criterion, ...] = BOTH, refusal: str | None = None, most_rows: int | None = None,
        **how: Any,
    ) -> None:
        how = {"name": name, "log": str(self.log), "seconds": 0.004, "loglik": -10.0} | how
        refits = criteria if "refits" in how else ()
        self.engines.append(
            Engine(name, "environment", self.script, (), criteria, lambda shape: refusal, refits, most_rows)
        )
        environment = {"PYTHONPATH": str(WORKERS), "FAKE": json.dumps(how)}
        self.places[name] = Place((sys.executable, "-S", str(self.script)), environment)

    def find(self, engine: Engine, *, install: bool) -> Place:
        if engine.name not in self.places:
            raise CannotInstall("no such thing")
        return self.places[engine.name]

    def run(self, shape: Shape = TOY, **settings: Any) -> dict[tuple[str, str], Attempt]:
        chosen = Settings(**{"repeats": 2, "timeout": 5.0, "probe": False} | settings)
        self.row = run_row(shape, self.engines, chosen, lambda line: None, self.find)
        return {(a.engine, a.criterion): a for a in self.row.attempts}

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


def measured(engine: str, *turns: float, loglik: float | None = -10.0, criterion: Criterion = "REML") -> Attempt:
    return Attempt(engine, criterion, rounds=[[turn] for turn in turns], loglik=loglik)


def a_row(*attempts: Attempt, goal: Goal | None = None, likelihood: str = "") -> Row:
    return Row("toy", "a toy | with a bar", "y ~ x + (1 | g)", 20, "warm", attempts, goal, likelihood)
