"""Models for the tests of Satterthwaite and Kenward-Roger: drawn ones at any theta, and ones that take several threads."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np
import polars as pl
from hypothesis import HealthCheck, assume, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mixeff_fast.errors import MixeffError
from mixeff_fast.fit.certificate import optimum
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.lmm import LmmResult, estimates
from tests.bridge import Bridge, bridge
from tests.strategies import Case

Floats = NDArray[np.float64]

SETTINGS = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
BARS = st.lists(st.booleans(), min_size=1, max_size=3)
# an optimum hardly has a direction present that is shorter: the search drops what does not lower the criterion
SHORTEST = 1e-2


def bridged(case: Case, bars: list[bool]) -> Bridge:
    """Models that the compile room refuses are not drawn."""
    try:
        return bridge(case.problem, bars)
    except MixeffError:
        assume(False)
        raise


def estimates_at(engine: Engine, lam: Floats, reml: bool) -> LmmResult:
    """What a fit would return whose optimum is at ``lam``; models with directions that are neither present nor absent are
    not drawn."""
    _, certificate = optimum(engine, reml, DEFAULT_CONTROL)
    out = estimates(engine, lam, reml, dataclasses.replace(certificate, status="converged_interior"))
    assume(all(np.all((values == 0.0) | (values > SHORTEST)) for values in out.singular))
    return out


def well_conditioned(matrix: Floats) -> bool:
    """Whether the correlation matrix of parameters is far from singular."""
    unit = np.sqrt(np.abs(np.diag(matrix)))
    return bool(np.linalg.eigvalsh(matrix / np.outer(unit, unit))[0] > 1e-4)


def close(ours: Any, theirs: Any, bound: float) -> None:
    a, b = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert a.shape == b.shape
    assert np.max(np.abs(a - b), initial=0.0) <= bound * np.max(np.abs(b), initial=1e-300), (a, b)


def _labels(codes: NDArray[np.int64]) -> list[str]:
    return [f"l{code}" for code in codes.tolist()]


@functools.cache
def crossed(n: int = 6_000, qa: int = 900, qb: int = 300) -> tuple[str, pl.DataFrame]:
    """A dense trunk of two tiles."""
    rng = np.random.default_rng(2)
    a, b, x = rng.integers(0, qa, n), rng.integers(0, qb, n), rng.normal(size=n)
    y = x + rng.normal(size=qa)[a] + 0.5 * rng.normal(size=qb)[b] + 0.5 * rng.normal(size=qb)[b] * x + rng.normal(size=n)
    return "y ~ x + (1 | a) + (x | b)", pl.DataFrame({"y": y, "x": x, "a": _labels(a), "b": _labels(b)})


@functools.cache
def nested(n: int = 8_000, q: int = 2_000) -> tuple[str, pl.DataFrame]:
    """A chain of three factors."""
    rng = np.random.default_rng(4)
    inner, x = rng.integers(0, q, n), rng.normal(size=n)
    y = x + rng.normal(size=q)[inner] + rng.normal(size=q)[inner // 10] + rng.normal(size=q)[inner // 100] + rng.normal(size=n)
    columns = {"a": _labels(inner), "b": _labels(inner // 10), "c": _labels(inner // 100)}
    return "y ~ x + (1 | a) + (1 | b) + (1 | c)", pl.DataFrame({"y": y, "x": x, **columns})


@functools.cache
def overlapping(n: int = 6_000, width: int = 30) -> tuple[str, pl.DataFrame]:
    """Factors that overlap: the trunk is sparse."""
    rng = np.random.default_rng(7)
    codes = {f"f{k}": (np.arange(n) + k * width // 4) // width for k in range(4)}
    x = rng.normal(size=n)
    y = x + rng.normal(size=n)
    for own in codes.values():
        y += 0.5 * rng.normal(size=own.max() + 1)[own]
    text = "y ~ x + " + " + ".join(f"(1 | {name})" for name in codes)
    return text, pl.DataFrame({"y": y, "x": x, **{name: _labels(own) for name, own in codes.items()}})


@functools.cache
def groups(n: int = 16_000, q: int = 5_000) -> tuple[str, pl.DataFrame]:
    """One factor, worked on in lanes by several threads."""
    rng = np.random.default_rng(1)
    g, x = rng.integers(0, q, n), rng.normal(size=n)
    y = 1 + x + rng.normal(size=q)[g] + 0.5 * rng.normal(size=q)[g] * x + rng.normal(size=n)
    return "y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": _labels(g)})


LARGE = {"crossed": crossed, "nested": nested, "overlapping": overlapping, "groups": groups}
