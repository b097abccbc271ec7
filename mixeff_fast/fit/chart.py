"""Coordinates of the covariance matrices around an estimate, and derivatives along them.

The columns of Lambda that are present move towards themselves and every shorter or absent direction: as many coordinates as
the covariance matrices of that rank have. What is absent stays so: a variance at zero or a correlation at one is held.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import column_norms, orthogonal
from mixeff_fast.fit.coordinates import separate
from mixeff_fast.fit.crossproduct import factor_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# steps of the differences, in units of the distance to the nearest singularity of the criterion, are between these
SHORTEST_STEP, LONGEST_STEP = 0.001, 0.05
# and so short those of differences that are not extrapolated
SHORT_STEP = 1e-4
# length of a column of Lambda, in the same units, below which it is absent
ABSENT = 1e-6
# length of the columns of Lambda that stand in for absent directions, in the same units
FAINT = 1e-6
_TINY = float(np.finfo(np.float64).tiny)
_STENCIL = np.array([1.0, -1.0, 0.5, -0.5])


def stencil(extrapolated: bool) -> Float:
    """Where a derivative is taken from, in steps."""
    return _STENCIL if extrapolated else _STENCIL[:2]


@dataclass(frozen=True, slots=True)
class Chart:
    """Coordinates around an estimate.

    Attributes
    ----------
    lam
        Lambda of the estimate with orthogonal columns, flat as in the engine.
    faint
        The same with absent directions of terms that have others present at a negligible length: what is divided by Lambda
        there is finite.
    directions
        Change of ``lam`` per coordinate, shape (m, len(lam)), of about the size on which the criterion changes its shape.
    terms
        The term each coordinate belongs to.
    steps
        Steps of central differences, shape (m,): rounding and what they leave otherwise are of one size. A short column of
        Lambda takes longer ones, because sums hardly depend on it.
    held
        Names of the theta that the face holds at zero.
    extrapolated
        Whether differences are taken at two steps and extrapolated: twice the evaluations, and some digits more.
    """

    lam: Float
    faint: Float
    directions: Float
    terms: tuple[int, ...]
    steps: Float
    held: tuple[str, ...]
    extrapolated: bool

    @property
    def evaluations(self) -> int:
        """Of all derivatives."""
        return len(self.steps) * len(stencil(self.extrapolated))


def chart_at(engine: Engine, lam: Float, extrapolated: bool = True) -> Chart:
    """Coordinates at ``lam``; the criterion has been evaluated there or near."""
    lam, bases = orthogonal(engine, lam)
    faint = lam.copy()
    rows: list[Float] = []
    terms: list[int] = []
    shares: list[float] = []
    lacking = False
    for k, (block, left) in enumerate(zip(engine.model.blocks, bases, strict=True)):
        norms = column_norms(engine, lam, block)
        own = slice(block.first, block.first + block.width)
        levels = factor_blocks(engine.model.plan, engine.assembled.cross.diag, block.factor)[:, own, own]
        mass = np.maximum(((levels @ left) * left).sum(axis=1).max(axis=0), _TINY)
        gone = norms**2 * mass <= ABSENT**2
        if gone.any():
            lacking = True
            engine.block_lambda(lam, block)[:, gone] = engine.block_lambda(faint, block)[:, gone] = norms[gone] = 0.0
        present = np.flatnonzero(norms)
        if not len(present):
            continue
        sizes = np.sqrt(norms**2 + 1.0 / mass)
        if gone.any() and not separate(block):
            engine.block_lambda(faint, block)[:, gone] = FAINT * sizes[gone] * left[:, gone]
        for b in present.tolist():
            for a in (b,) if separate(block) else range(b, block.width):
                row = np.zeros(len(lam))
                engine.block_lambda(row, block)[:, b] = left[:, a] * sizes[a]
                rows.append(row)
                terms.append(k)
                shares.append(float(norms[b] / sizes[b]))
    power, shortest = (1 / 5, SHORTEST_STEP) if extrapolated else (1 / 3, SHORT_STEP)
    steps = (engine.rounding() / (engine.n * np.array(shares))) ** power
    steps = np.minimum(np.maximum(steps, shortest), LONGEST_STEP)
    held = _held(engine, lam) if lacking else ()
    return Chart(lam, faint, np.array(rows).reshape(len(rows), len(lam)), tuple(terms), steps, held, extrapolated)


def _held(engine: Engine, lam: Float) -> tuple[str, ...]:
    theta = engine.theta(lam)
    names: list[str] = []
    for block in engine.model.blocks:
        values = theta[block.theta]
        empty = np.array([not values[block.columns == b].any() for b in range(block.width)])
        own = engine.model.theta_names[block.theta]
        names += [name for name, column in zip(own, block.columns.tolist(), strict=True) if empty[column]]
    return tuple(names)


def slopes(function: Callable[[Float], Float], lam: Float, chart: Chart) -> Iterator[Float]:
    """Derivatives of an array along the coordinates, one after another, from ``lam`` (``chart.lam`` or ``chart.faint``).

    Central differences: ``function`` is asked for its arrays at all points of a coordinate, shape (4, len(lam)) or, where they
    are not extrapolated, (2, len(lam)).
    """
    points = stencil(chart.extrapolated)
    for direction, step in zip(chart.directions, chart.steps.tolist(), strict=True):
        there = function(lam + np.multiply.outer(step * points, direction))
        wide = (there[0] - there[1]) / (2.0 * step)
        yield (4.0 * ((there[2] - there[3]) / step) - wide) / 3.0 if chart.extrapolated else wide
