"""One row of the table: every engine loads the data once and warms up, then they fit in turns."""

from __future__ import annotations

import math
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.peers import generalized, handoff
from benchmarks.peers.engines import OURS, Criterion, Engine
from benchmarks.peers.install import CannotInstall, Place, place
from benchmarks.peers.session import Session, WorkerFailed
from benchmarks.shapes import Goal, Shape

TURN_SECONDS = 0.05
MOST_FITS_IN_A_TURN = 50
THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS", "POLARS_MAX_THREADS",
    "NUMBA_NUM_THREADS",
)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure.

    `timeout` bounds loading and each fit; an engine whose timed fits of a row have taken `budget` seconds is measured
    no further, and a warm-up that took longer than that is its one measurement. `threads` sets the usual environment
    variables of every worker. `probe` measures memory in a process that does nothing else, after the turns; without it
    memory is that of the first warm-up, in which an engine may also compile what it finds compiled later.
    """

    repeats: int = 5
    timeout: float = 300.0
    budget: float = 60.0
    scale: float = 1.0
    install: bool = True
    threads: int | None = None
    memory_limit: int | None = None
    probe: bool = True

    @property
    def environment(self) -> dict[str, str]:
        return {} if self.threads is None else dict.fromkeys(THREAD_VARIABLES, str(self.threads))


@dataclass(slots=True)
class Attempt:
    """What became of one engine on one row by one criterion.

    `status` is ``measured``, or why there is no measurement: ``cannot fit``, ``not installed``, ``not measured``, ``error``,
    ``crash``, ``timeout``, ``memory``. `rounds` holds the seconds of each measurement, a list for each turn. `loaded_bytes` is
    the worker's memory when the data were loaded, `peak_bytes` its most during the first fit of the process. `cpu_seconds` is
    the least processor time of a fit, all threads together, a mean over those of a turn. `gradients`, `passes` over the rows
    and `factorizations` are those of all evaluations of a fit, where the engine tells.
    """

    engine: str
    criterion: Criterion
    status: str = "measured"
    reason: str = ""
    rounds: list[list[float]] = field(default_factory=list)
    loglik: float | None = None
    evaluations: int | None = None
    certificate_evaluations: int | None = None
    gradients: int | None = None
    passes: int | None = None
    factorizations: int | None = None
    converged: bool | None = None
    versions: dict[str, str] = field(default_factory=dict)
    loaded_bytes: int | None = None
    peak_bytes: int | None = None
    warm_seconds: float | None = None
    fits_in_turn: int = 0
    cpu_seconds: float | None = None

    @property
    def told(self) -> str:
        """A line about it for those who wait."""
        if self.status != "measured":
            return f"{self.status}: {self.reason}"
        seconds = [second for turn in self.rounds for second in turn]
        shown = statistics.median(seconds) if seconds else self.warm_seconds
        return "no fit" if shown is None else f"{shown * 1e3:.4g} ms"

    @property
    def over_data(self) -> int | None:
        """Bytes of memory that the fit took beside the data."""
        if self.peak_bytes is None or self.loaded_bytes is None:
            return None
        return self.peak_bytes - self.loaded_bytes

    @property
    def spent(self) -> float:
        return sum(map(sum, self.rounds))

    def fail(self, status: str, reason: str) -> None:
        """Give up; what was measured until then does not count."""
        self.status, self.reason, self.rounds = status, reason, []

    def learn(self, reply: Mapping[str, Any]) -> None:
        loglik = reply.get("loglik")
        self.loglik = loglik if isinstance(loglik, (int, float)) and math.isfinite(loglik) else None
        self.evaluations = reply.get("evaluations")
        self.certificate_evaluations = reply.get("certificate_evaluations")
        self.gradients, self.passes = reply.get("gradients"), reply.get("passes")
        self.factorizations = reply.get("factorizations")
        self.converged = reply.get("converged")
        cpu = reply.get("cpu")
        if cpu is not None:
            self.cpu_seconds = cpu if self.cpu_seconds is None else min(cpu, self.cpu_seconds)


@dataclass(frozen=True, slots=True)
class Row:
    """All attempts at one shape; `likelihood` tells of a generalized model what sets it apart from a linear one."""

    key: str
    title: str
    formula: str
    rows: int
    start: str
    attempts: tuple[Attempt, ...]
    goal: Goal | None = None
    likelihood: str = ""


def run_row(shape: Shape, engines: Sequence[Engine], settings: Settings, say: Say,
            find: Callable[..., Place] = place) -> Row:
    """Measure the engines on one shape.

    Parameters
    ----------
    shape
        The model and its data.
    engines
        In the order of their turns; ours among them.
    settings
        How to measure.
    say
        Takes lines about the progress.
    find
        Gives the place of an engine; raises CannotInstall.

    Returns
    -------
    Row
        With one attempt for each engine by REML, or by maximum likelihood for those that fit no other way; our engine is then
        measured by both. Generalized models are fitted by maximum likelihood alone.
    """
    attempts, places = _candidates(shape, engines, settings, find)
    with tempfile.TemporaryDirectory(prefix="mixeff-peers-") as folder:
        data = shape.data(settings.scale)
        load = handoff.write(shape, data, Path(folder))
        rows = data.height
        del data
        (_turns if shape.start == "warm" else _starts)(shape, attempts, places, load, settings, say)
    likelihood = shape.likelihood.text if shape.likelihood else ""
    return Row(shape.key, shape.title, shape.formula, rows, shape.start, tuple(attempts), shape.goal, likelihood)


def _candidates(shape: Shape, engines: Sequence[Engine], settings: Settings,
                find: Callable[..., Place]) -> tuple[list[Attempt], dict[str, Place]]:
    """An attempt for each engine, and the places of those that can be tried."""
    attempts: list[Attempt] = []
    places: dict[str, Place] = {}
    for engine in engines:
        attempt = Attempt(engine.name, (engine.criteria_for(shape) or engine.criteria)[0])
        attempts.append(attempt)
        if shape.likelihood is not None:
            attempt.reason = generalized.difference(engine.name, shape.likelihood)
        reason = engine.obstacle(shape, shape.rows * settings.scale)
        if reason is not None:
            attempt.fail("cannot fit", reason)
        elif shape.start == "first" and engine.name != OURS:
            attempt.fail("not measured", "compiles nothing when first used: its first fit of a process is its first ever")
        else:
            try:
                places[engine.name] = find(engine, install=settings.install)
            except CannotInstall as error:
                attempt.fail("not installed", str(error))
    ours = next((k for k, a in enumerate(attempts) if a.engine == OURS and a.criterion == "REML"), None)
    if ours is not None and OURS in places and any(a.criterion == "ML" and a.engine in places for a in attempts):
        attempts.insert(ours + 1, Attempt(OURS, "ML"))
    return attempts, places


def _turns(shape: Shape, attempts: list[Attempt], places: dict[str, Place], load: dict[str, Any], settings: Settings,
           say: Say) -> None:
    """Long-lived workers: A B C, A B C, and so on."""
    with ExitStack() as stack:
        sessions = {name: stack.enter_context(_session(where, settings, {})) for name, where in places.items()}
        for name, session in sessions.items():
            _load(session, [attempt for attempt in attempts if attempt.engine == name], load, settings)
        for attempt in _live(attempts):
            _warm_up(sessions[attempt.engine], attempt, settings)
        for attempt in attempts:
            say(f"{shape.key}: {attempt.engine} {attempt.criterion}: {attempt.told}")
        for _ in range(settings.repeats):
            for attempt in _live(attempts):
                if attempt.fits_in_turn and attempt.spent < settings.budget:
                    _take_turn(sessions[attempt.engine], attempt, settings)
    if settings.probe:
        for attempt in _live(attempts):
            if attempt.fits_in_turn:
                _probe(places[attempt.engine], attempt, load, settings)


def _probe(where: Place, attempt: Attempt, load: dict[str, Any], settings: Settings) -> None:
    """The memory of one fit, the first of a process that is alone on the machine."""
    alone = Attempt(attempt.engine, attempt.criterion)
    with _session(where, settings, {}) as session:
        _load(session, [alone], load, settings)
        if alone.status == "measured" and _fits(session, alone, 1, settings):
            attempt.loaded_bytes, attempt.peak_bytes = alone.loaded_bytes, session.peak()


def _starts(shape: Shape, attempts: list[Attempt], places: dict[str, Place], load: dict[str, Any], settings: Settings,
            say: Say) -> None:
    """A new process for every fit, timed from its start to its answer; with kernels on disk, the first does not count."""
    first = shape.start == "first"
    for repeat in range(1 if first else settings.repeats + 1):
        for attempt in _live(attempts):
            with tempfile.TemporaryDirectory() as empty:
                cache = {"MIXEFF_FAST_CACHE_DIR": empty} if first else {}
                with _session(places[attempt.engine], settings, cache) as session:
                    _load(session, [attempt], load, settings)
                    if attempt.status == "measured" and _fits(session, attempt, 1, settings) and (first or repeat):
                        attempt.rounds.append([session.age_at_last_answer])
                        attempt.peak_bytes = session.peak()
    for attempt in attempts:
        say(f"{shape.key}: {attempt.engine}: {attempt.told}")


def _session(where: Place, settings: Settings, environment: dict[str, str]) -> Session:
    return Session(where, settings.environment | environment, settings.memory_limit)


def _live(attempts: Sequence[Attempt]) -> Iterator[Attempt]:
    """Those that have not failed by the time their turn comes."""
    return (attempt for attempt in attempts if attempt.status == "measured")


def _load(session: Session, attempts: Sequence[Attempt], load: dict[str, Any], settings: Settings) -> None:
    try:
        reply = session.ask(load, settings.timeout)
    except WorkerFailed as error:
        for attempt in attempts:
            attempt.fail(error.status, f"when loading: {error.reason}")
        return
    loaded = session.memory()
    session.forget_peak()
    for attempt in attempts:
        attempt.versions, attempt.loaded_bytes = reply["versions"], loaded


def _warm_up(session: Session, attempt: Attempt, settings: Settings) -> None:
    """A first fit for what is loaded or compiled on the way, a second for how many make up a turn."""
    session.forget_peak()
    for repeat in range(2):
        seconds = _fits(session, attempt, 1, settings)
        if not seconds:
            return
        if not repeat:
            attempt.peak_bytes = session.peak()
        if seconds[0] > settings.budget:
            attempt.rounds.append(seconds)
            return
    attempt.warm_seconds = seconds[0]
    attempt.fits_in_turn = min(MOST_FITS_IN_A_TURN, math.ceil(TURN_SECONDS / max(seconds[0], 1e-6)))


def _take_turn(session: Session, attempt: Attempt, settings: Settings) -> None:
    """Before several short fits comes one that does not count: the turns of others have emptied the caches."""
    idle = int(attempt.fits_in_turn > 1)
    seconds = _fits(session, attempt, attempt.fits_in_turn + idle, settings)
    if seconds:
        attempt.rounds.append(seconds[idle:])


def _fits(session: Session, attempt: Attempt, times: int, settings: Settings) -> list[float]:
    """Seconds of each fit; nothing after a failure, which the attempt then knows."""
    message = {"do": "fit", "times": times, "reml": attempt.criterion == "REML"}
    try:
        reply = session.ask(message, settings.timeout * times)
    except WorkerFailed as error:
        attempt.fail(error.status, error.reason)
        return []
    attempt.learn(reply)
    seconds: list[float] = reply["seconds"]
    return seconds
