"""Tests of fixed effects next to lmerTest and pbkrtest: ``python -m benchmarks.inference``.

Both sides start from their own fit of the same model, which is not timed, and end with the table of degrees of freedom and
p-values. The answers of a row are compared before its times count.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

from benchmarks.generators import bundled, crossed, factorial, scalar
from benchmarks.peers import handoff
from benchmarks.peers.__main__ import add_settings, end_workers_when_stopped, facts_of, names, say, settings_of
from benchmarks.peers.engines import OURS, WORKERS, Engine
from benchmarks.peers.install import CannotInstall, Place, place
from benchmarks.peers.run import Say, Settings
from benchmarks.peers.session import Session, WorkerFailed
from benchmarks.peers.table import NOTHING, figures, megabytes, seconds
from benchmarks.shapes import Shape, Term, intercepts

DEFAULT_OUT = Path(".benchmarks/inference")
PEER = "lmerTest"
ENGINES = {
    OURS: Engine(OURS, "here", WORKERS / "infer_mixeff_fast.py"),
    PEER: Engine(PEER, "R", WORKERS / "infer.R", ("lme4", "lmerTest", "pbkrtest", "jsonlite")),
}
TURN_SECONDS = 0.3
MOST_IN_A_TURN = 200
# ratios that are wanted, and how far the answers of a row may differ, relatively, for its times to count
GOAL = 30.0
SAME = 2e-3

Method = Literal["satterthwaite", "kenward_roger"]
Verb = Literal["summary", "anova", "everything"]
METHODS: dict[str, Method] = {"Satterthwaite": "satterthwaite", "Kenward-Roger": "kenward_roger"}


@dataclass(frozen=True, slots=True)
class Question:
    """A table of one fit: of its coefficients (``summary``), its terms (``anova`` of type 3), or both (``everything``). Without
    peers the rows are of sizes at which the others do not start."""

    shape: Shape
    verb: Verb
    method: Method
    peers: tuple[str, ...] = (PEER,)

    @property
    def key(self) -> str:
        return f"{self.shape.key}:{self.verb}:{self.method}"


def _shape(key: str, response: str, fixed: Sequence[str], terms: Sequence[Term], rows: int, make: Callable[..., Any]) -> Shape:
    return Shape(key, "inference", f"{key}, {rows:,} rows", response, tuple(fixed), tuple(terms), rows, make)


_INSTEVAL = _shape("InstEval", "y", ["service"], intercepts(("s", "d", "dept")), 73_421, partial(bundled, name="InstEval"))
MODELS = (
    _shape("sleepstudy", "Reaction", ["Days"], [Term("Subject", ("Days",))], 180, partial(bundled, name="sleepstudy")),
    _shape("cake", "angle", ["recipe * temperature"], intercepts(["recipe:replicate"]), 270, partial(bundled, name="cake")),
    _shape("Penicillin", "diameter", ["1"], intercepts(("plate", "sample")), 144, partial(bundled, name="Penicillin")),
    _shape("Pastes", "strength", ["1"], intercepts(["batch/cask"]), 60, partial(bundled, name="Pastes")),
    _shape("factorial", "y", ["f * h"], intercepts("g"), 1_000, factorial),
)
LARGE: dict[Method, Shape] = {
    "satterthwaite": _INSTEVAL,
    "kenward_roger": _shape("crossed", "y", ["x"], intercepts("ab"), 2_500, partial(crossed, n=2_500, qa=250, qb=20)),
}
ALONE = (
    _INSTEVAL,
    _shape("groups", "y", ["x"], intercepts("g"), 500_000, partial(scalar, n=500_000, q=100_000)),
)


def questions() -> dict[str, Question]:
    """All rows of the table, in its order."""
    out = [
        *(Question(shape, "summary", method) for method in METHODS.values() for shape in (*MODELS, LARGE[method])),
        *(Question(shape, "anova", method) for method in METHODS.values() for shape in MODELS if shape.fixed != ("1",)),
        *(Question(shape, "everything", method, ()) for shape in ALONE for method in METHODS.values()),
    ]
    return {q.key: q for q in out}


@dataclass(slots=True)
class Taken:
    """What one engine took. `cpu` and `wall` have a number for each turn: seconds of one table, the mean over the turn.

    `over_fit` are the bytes of memory that the first table took over what the process held after the fit.
    """

    engine: str
    reason: str = ""
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    df: list[float] = field(default_factory=list)
    statistic: list[float] = field(default_factory=list)
    over_fit: int | None = None
    versions: dict[str, str] = field(default_factory=dict)

    def learn(self, reply: Mapping[str, Any]) -> None:
        self.cpu.append(reply["cpu"])
        self.wall.append(statistics.mean(reply["seconds"]))
        self.df, self.statistic = list(reply["df"]), list(reply["statistic"])


@dataclass(frozen=True, slots=True)
class Answered:
    """A question with what its engines took, ours first."""

    key: str
    title: str
    formula: str
    verb: str
    method: str
    taken: tuple[Taken, ...]

    @property
    def ours(self) -> Taken:
        return self.taken[0]

    @property
    def peer(self) -> Taken | None:
        return self.taken[1] if len(self.taken) > 1 else None

    def difference(self, what: str) -> float | None:
        """The largest relative difference between the answers, in ``df`` or ``statistic``; None where there are not two."""
        if self.peer is None or self.peer.reason or self.ours.reason:
            return None
        pairs = list(zip(getattr(self.ours, what), getattr(self.peer, what), strict=True))
        return max((abs(a - b) / abs(b) for a, b in pairs), default=0.0)

    @property
    def same(self) -> bool:
        """Whether both give the same answers."""
        found = [self.difference(what) for what in ("df", "statistic")]
        return all(value is not None and value <= SAME for value in found)

    @property
    def ratio(self) -> float | None:
        """The peer's processor time over ours, the median over the turns; None where the times do not count."""
        return self._ratio("cpu")

    @property
    def wall_ratio(self) -> float | None:
        """The same of wall time."""
        return self._ratio("wall")

    def _ratio(self, times: str) -> float | None:
        if self.peer is None or not self.same:
            return None
        pairs = zip(getattr(self.ours, times), getattr(self.peer, times), strict=False)
        return statistics.median(theirs / own for own, theirs in pairs)


def measure(question: Question, settings: Settings, tell: Say, find: Callable[..., Place] = place) -> Answered:
    """Fit with every engine, then let them answer in turns."""
    shape = question.shape
    taken = [Taken(name) for name in (OURS, *question.peers)]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        message = handoff.write(shape, shape.make(settings.scale), Path(folder))
        message |= {"verb": question.verb, "method": question.method}
        sessions: dict[str, tuple[Session, int]] = {}
        for each in taken:
            try:
                where = find(ENGINES[each.engine], install=settings.install)
                session = stack.enter_context(Session(where, settings.environment, settings.memory_limit))
                sessions[each.engine] = session, _start(session, each, message, settings)
            except (CannotInstall, WorkerFailed) as failure:
                each.reason = str(failure)
            tell(f"{question.key}: {each.engine}: {each.reason or f'{sessions[each.engine][1]} in a turn'}")
        for _ in range(settings.repeats):
            for each in taken:
                if not each.reason and sum(each.wall) < settings.budget:
                    _turn(sessions[each.engine], each, settings)
    return Answered(question.key, shape.title, shape.formula, question.verb, question.method, tuple(taken))


def _start(session: Session, taken: Taken, message: dict[str, Any], settings: Settings) -> int:
    """The fit, and first tables for what is loaded on the way and for memory. Returns how many make up a turn.

    A first table that takes longer than the budget is the one measurement.
    """
    taken.versions = session.ask(message, settings.timeout)["versions"]
    before = session.memory()
    session.forget_peak()
    reply = session.ask({"do": "fit", "times": 1, "reml": True}, settings.timeout)
    peak = session.peak()
    taken.over_fit = None if before is None or peak is None else peak - before
    if reply["seconds"][0] > settings.budget:
        taken.learn(reply)
    elif reply["seconds"][0] < TURN_SECONDS:
        reply = session.ask({"do": "fit", "times": 1, "reml": True}, settings.timeout)
    return max(1, min(MOST_IN_A_TURN, math.ceil(TURN_SECONDS / max(reply["seconds"][0], 1e-6))))


def _turn(worker: tuple[Session, int], taken: Taken, settings: Settings) -> None:
    session, times = worker
    try:
        taken.learn(session.ask({"do": "fit", "times": times, "reml": True}, settings.timeout * times))
    except WorkerFailed as failure:
        taken.reason, taken.cpu, taken.wall = str(failure), [], []


def document(answers: Sequence[Answered], facts: Mapping[str, str]) -> dict[str, Any]:
    """All measurements, for JSON."""
    rows = [asdict(each) | {"ratio": each.ratio, "wall_ratio": each.wall_ratio, "same": each.same} for each in answers]
    return {"kind": "inference", "facts": dict(facts), "rows": rows}


def read(known: Mapping[str, Any]) -> list[Answered]:
    """What a document of `document` holds."""
    parts = ("key", "title", "formula", "verb", "method")
    return [Answered(*(row[part] for part in parts), tuple(Taken(**taken) for taken in row["taken"])) for row in known["rows"]]


def markdown(answers: Sequence[Answered], facts: Mapping[str, str], level: int = 1) -> str:
    """The comparison, what ours takes at large sizes, and the reasons of what is missing; headings start at a level."""
    heading = "#" * level
    parts = [f"{heading} Tests of fixed effects", "", *(f"- {name}: {value}" for name, value in facts.items()), ""]
    compared = [each for each in answers if each.peer is not None]
    if compared:
        parts += [
            f"| model | table | method | ours | {PEER} | ratio | wanted | of wall time | differences of df, statistic |",
            "|---" * 9 + "|", *map(_compared, compared), "",
        ]
    alone = [each for each in answers if each.peer is None]
    if alone:
        parts += [
            "| model | coefficients and terms by | processor time | wall time | over the fit |", "|---" * 5 + "|",
            *map(_alone, alone), "",
        ]
    parts += [f"- {a.key}: {t.engine}: {t.reason}" for a in answers for t in a.taken if t.reason]
    said = {t.engine: t.versions for a in answers for t in a.taken if t.versions}
    versions = [f"- {name}: " + ", ".join(f"{k} {v}" for k, v in found.items()) for name, found in said.items()]
    return "\n".join([*parts, f"{heading}# Versions", "", *versions, ""])


def _median(values: Sequence[float]) -> str:
    return seconds(statistics.median(values)) if values else NOTHING


def _spelled(method: str) -> str:
    return next(name for name, code in METHODS.items() if code == method)


def _compared(each: Answered) -> str:
    assert each.peer is not None
    ratio, wanted = each.ratio, NOTHING
    if ratio is not None and each.verb == "summary":
        wanted = f"{GOAL:g}, reached" if ratio >= GOAL else f"{GOAL:g}, **missed**"
    found = [each.difference(what) for what in ("df", "statistic")]
    cells = [f"`{each.formula}` ({each.title})", each.verb, _spelled(each.method), _median(each.ours.cpu),
             _median(each.peer.cpu), figures(ratio), wanted, figures(each.wall_ratio),
             ", ".join(NOTHING if value is None else f"{value:.0e}" for value in found)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _alone(each: Answered) -> str:
    cells = [f"`{each.formula}` ({each.title})", _spelled(each.method), _median(each.ours.cpu), _median(each.ours.wall),
             megabytes(each.ours.over_fit)]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    known = tuple(questions())
    p = argparse.ArgumentParser(prog="python -m benchmarks.inference", description=__doc__)
    p.add_argument("--rows", type=names(known, "row"), default=list(known), metavar="KEYS",
                   help=f"rows, with commas between them (default: all): {', '.join(known)}")
    p.add_argument("--out", type=Path, default=DEFAULT_OUT, help=f"folder of the tables (default {DEFAULT_OUT})")
    p.add_argument("--scale", type=float, default=1.0, help="share of the rows and levels of generated data (default 1)")
    add_settings(p, repeats=5, timeout=300.0, budget=30.0)
    return p


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    chosen = parser().parse_args(arguments)
    end_workers_when_stopped()
    settings = settings_of(chosen, scale=chosen.scale)
    facts = facts_of(settings, "benchmarks.inference", arguments)
    chosen.out.mkdir(parents=True, exist_ok=True)
    page, path = chosen.out / "inference.md", chosen.out / "inference.json"
    answers: list[Answered] = []
    for key in chosen.rows:
        answers.append(measure(questions()[key], settings, say))
        page.write_text(markdown(answers, facts), encoding="utf-8")
        path.write_text(json.dumps(document(answers, facts), indent=1, allow_nan=False) + "\n", encoding="utf-8")
    print(f"{page}\n{path}")


if __name__ == "__main__":
    main()
