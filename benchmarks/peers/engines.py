"""The engines that are compared: how each is installed, started, and what it cannot fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.peers import generalized
from benchmarks.shapes import Shape

WORKERS = Path(__file__).parent / "workers"
OURS = "mixeff_fast"
FLOOR = "floor"

Criterion = Literal["REML", "ML", "another"]
BOTH: tuple[Criterion, ...] = ("REML", "ML")


def _anything(shape: Shape) -> str | None:
    return None


def _one_factor(shape: Shape) -> str | None:
    if len(shape.terms) > 1:
        return "fits one grouping factor only"
    return None


def _variance_components(shape: Shape) -> str | None:
    """Beside the terms of its one grouping factor statsmodels has variance components, without covariances."""
    if any(term.slopes for term in shape.terms[1:]):
        return "fits no random slopes with covariances on a second grouping factor"
    return None


def _independent(shape: Shape) -> str | None:
    if any(term.slopes for term in shape.terms):
        return "fits no covariance between the random effects of one grouping factor"
    return None


def _only_generalized(shape: Shape) -> str | None:
    return None if shape.likelihood else "is the same as glmm for linear models"


def _only_streams(shape: Shape) -> str | None:
    return None if shape.task == "stream" else "is a pass over a file"


@dataclass(frozen=True, slots=True)
class Engine:
    """One package. `kind` says where its worker runs: in this Python, in an environment of its own, or in R.

    `criteria` are those it can fit by, and `refits` those by which it can fit a model again to new responses. `refuses` gives
    the reason for which it cannot fit a shape. With more than `most_rows` it is left out. `home` is the engine in whose
    environment it runs, empty for its own.
    """

    name: str
    kind: Literal["here", "environment", "R"]
    worker: Path
    requires: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = BOTH
    refuses: Callable[[Shape], str | None] = _anything
    refits: tuple[Criterion, ...] = ()
    most_rows: int | None = None
    arguments: tuple[str, ...] = ()
    home: str = ""

    def criteria_for(self, shape: Shape) -> tuple[Criterion, ...]:
        """The criteria by which it can do what the shape asks; of generalized models, maximum likelihood as we have it or
        another."""
        if shape.likelihood is not None:
            return ("another",) if generalized.difference(self.name, shape.likelihood) else ("ML",)
        return self.refits if shape.task == "refit" else self.criteria

    def obstacle(self, shape: Shape, rows: float) -> str | None:
        """The reason why it is not measured on a shape with so many rows; None if it is."""
        if shape.task == "refit" and not self.refits:
            return "has no refit"
        if self.most_rows is not None and rows > self.most_rows:
            return f"left out above {self.most_rows:,} rows, where it takes minutes and tens of GiB"
        return (generalized.obstacle(self.name, shape) if shape.likelihood else None) or self.refuses(shape)


def _python(name: str, *requires: str, criteria: tuple[Criterion, ...] = BOTH,
            refuses: Callable[[Shape], str | None] = _anything, refits: tuple[Criterion, ...] = (),
            most_rows: int | None = None) -> Engine:
    script = f"fit_{name.replace('-', '_')}.py"
    return Engine(name, "environment", WORKERS / script, (name, *requires), criteria, refuses, refits, most_rows)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(OURS, "here", WORKERS / "fit_mixeff_fast.py", refits=BOTH),
        Engine(FLOOR, "here", WORKERS / "fit_floor.py", refuses=_only_streams),
        # the REML criterion of its refit (1.1-31) is that of one fixed effect, however many there are
        Engine("lme4", "R", WORKERS / "fit.R", ("lme4", "jsonlite"), refits=("ML",), most_rows=5_000_000),
        Engine("glmmTMB", "R", WORKERS / "fit.R", ("glmmTMB", "jsonlite"), most_rows=1_000_000),
        _python("glmm", refits=BOTH),
        Engine("glmm-wald", "environment", WORKERS / "fit_glmm.py", ("glmm",), refuses=_only_generalized, arguments=("Wald",),
               home="glmm"),
        _python("lme-python", refits=BOTH),
        _python("mixedlm", "pyarrow", refits=BOTH),
        _python("mixedlm-rs", "pyarrow", refuses=_one_factor),
        _python("gpboost", "pyarrow", criteria=("ML",), refuses=_independent),
        _python("statsmodels", "pyarrow", refuses=_variance_components, most_rows=1_000_000),
    )
}
PEERS = tuple(name for name in ENGINES if name not in (OURS, FLOOR))
