"""The engines that are compared: how each is installed, started, and what it cannot fit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.shapes import Shape

WORKERS = Path(__file__).parent / "workers"
OURS = "mixeff_fast"

Criterion = Literal["REML", "ML"]


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


@dataclass(frozen=True, slots=True)
class Engine:
    """One package. `kind` says where its worker runs: in this Python, in an environment of its own, or in R.

    `criteria` are those it can fit by, and `refuses` gives the reason for which it cannot fit a shape.
    """

    name: str
    kind: Literal["here", "environment", "R"]
    worker: Path
    requires: tuple[str, ...] = ()
    criteria: tuple[Criterion, ...] = ("REML", "ML")
    refuses: Callable[[Shape], str | None] = _anything


def _python(name: str, *requires: str, criteria: tuple[Criterion, ...] = ("REML", "ML"),
            refuses: Callable[[Shape], str | None] = _anything) -> Engine:
    script = f"fit_{name.replace('-', '_')}.py"
    return Engine(name, "environment", WORKERS / script, (name, *requires), criteria, refuses)


ENGINES: dict[str, Engine] = {
    engine.name: engine
    for engine in (
        Engine(OURS, "here", WORKERS / "fit_mixeff_fast.py"),
        Engine("lme4", "R", WORKERS / "fit.R", ("lme4", "jsonlite")),
        Engine("glmmTMB", "R", WORKERS / "fit.R", ("glmmTMB", "jsonlite")),
        _python("glmm"),
        _python("lme-python"),
        _python("mixedlm", "pyarrow"),
        _python("mixedlm-rs", "pyarrow", refuses=_one_factor),
        _python("gpboost", "pyarrow", criteria=("ML",), refuses=_independent),
        _python("statsmodels", "pyarrow", refuses=_variance_components),
    )
}
PEERS = tuple(name for name in ENGINES if name != OURS)
