"""Second-order evidence on the face of the cones where a fit lies: gradient, Hessian, Newton steps, flat directions.

The Hessian is made of differences of the exact gradient over the entries of Lambda that the ranks leave free. Its
coordinates are scaled to a unit diagonal, but never by more than a hundred times what a variance of that size carries
in information, so that a criterion that is constant does not look curved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import Point, canonical, free_entries
from mixeff_fast.fit.search import is_small
from mixeff_fast.kernels import profiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# share of the nominal information 4 q / max(Lambda_jj^2, q / n) below which a diagonal entry is not scaled up further
WEAK_INFORMATION = 1e-4
# scaled eigenvalues below this are measured again, over steps of so many scaled units: short differences drown in rounding
UNRESOLVED = 1e-3
LONG_STEP = 0.005
# scaled eigenvalues of this size or less are zero: the objective is flat that way
FLAT = 1e-6
# a Newton decrement below this is rounding
POLISHED_DECREMENT = 1e-14
# while the decrement is above this, slow progress of Newton steps calls for a new Hessian
STALE = 1e-9
MAX_NEWTON_STEPS = 12


@dataclass(frozen=True, slots=True)
class Face:
    """Evidence at a point. ``values`` and ``vectors`` are of the scaled Hessian; ``flat`` marks its flat directions."""

    free: NDArray[np.int64]
    gradient: Float
    hessian: Float
    scale: Float
    values: Float
    vectors: Float
    flat: NDArray[np.bool_]

    def step(self) -> tuple[Float, float]:
        """Newton step over the directions that curve upward, and its decrement."""
        curved = ~self.flat & (self.values > 0.0)
        projected = self.vectors.T @ (self.gradient * self.scale)
        inner = np.where(curved, -projected / np.where(curved, self.values, 1.0), 0.0)
        return self.scale * (self.vectors @ inner), float(-(inner @ projected))

    @property
    def decrement(self) -> float:
        """``g'H^{-1}g``: twice the gain a Newton step predicts."""
        return self.step()[1]

    @property
    def saddle(self) -> bool:
        """Whether the objective curves downward along some direction."""
        return bool(np.any(~self.flat & (self.values < 0.0)))


def _nominal_information(engine: Engine, lam: Float, free: NDArray[np.int64]) -> Float:
    """What theta would carry if the random effects were observed, per free entry of ``lam``."""
    out = np.zeros(len(lam))
    for block in engine.model.blocks:
        q = engine.model.factors[block.factor].n_levels
        length = np.square(engine.block_lambda(lam, block)).sum(axis=0)
        engine.block_lambda(out, block)[...] = 4.0 * q / np.maximum(length, q / engine.n)
    return out[free]


def _differences(engine: Engine, lam: Float, free: NDArray[np.int64], base: Float, reml: bool) -> tuple[Float, int] | None:
    """Hessian over ``free`` and the evaluations it took; None when one of them failed."""
    n = len(free)
    central = is_small(engine)
    step = (1e-4 if central else 1e-5) * np.maximum(np.abs(lam[free]), 0.02)
    hessian = np.zeros((n, n))
    lam = lam.copy()
    arrays, cross = engine.assembled.arrays, engine.assembled.cross
    stride = max(n, 1) if central else 1
    for first in range(0, n, stride):
        failed = profiled.difference_columns(arrays, cross, lam, engine.work, reml, engine.dof(reml), free, step, base,
                                             central, first, min(first + stride, n), engine.grad_lam, hessian)
        if failed:
            return None
    return 0.5 * (hessian + hessian.T), n * (2 if central else 1)


def examine(engine: Engine, point: Point, reml: bool) -> Face | None:
    """Gradient, Hessian and flat directions at a point; None when the objective is not finite around it."""
    free = free_entries(engine, point.lam)
    point.objective, gradient = engine.evaluate(point.lam, reml)
    point.evaluations += 1
    made = _differences(engine, point.lam, free, gradient[free], reml)
    if made is None or not np.isfinite(point.objective):
        return None
    hessian, spent = made
    point.evaluations += spent
    least = WEAK_INFORMATION * _nominal_information(engine, point.lam, free)
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), least))
    values, vectors = np.linalg.eigh(hessian * scale * scale[:, None])
    return Face(free, gradient[free], hessian, scale, values, vectors, np.abs(values) < FLAT)


def resolve(engine: Engine, point: Point, face: Face, reml: bool) -> Face:
    """Measure small eigenvalues again. It takes a polished point: a gradient left over bends a flat ridge."""
    values = face.values.copy()
    for i in np.flatnonzero(np.abs(values) < UNRESOLVED).tolist():
        values[i] = _curvature(engine, point, face, i, reml)
    return replace(face, values=values, flat=np.abs(values) < FLAT)


def _curvature(engine: Engine, point: Point, face: Face, i: int, reml: bool) -> float:
    """Second derivative along eigenvector i, scaled: differences of the gradient over longer steps, extrapolated."""
    direction = face.scale * face.vectors[:, i]
    reach = 0.1 * max(float(np.abs(point.lam[face.free]).max()), 0.1) / float(np.abs(direction).max())
    estimates = []
    for size in (min(LONG_STEP, reach), 0.5 * min(LONG_STEP, reach)):
        slopes = []
        for sign in (1.0, -1.0):
            trial = point.lam.copy()
            trial[face.free] += sign * size * direction
            slopes.append(float(engine.evaluate(trial, reml)[1][face.free] @ direction))
        estimates.append((slopes[0] - slopes[1]) / (2.0 * size))
    point.evaluations += 4
    return (4.0 * estimates[1] - estimates[0]) / 3.0


def polish(engine: Engine, point: Point, face: Face, reml: bool) -> Face:
    """Newton steps while they pay, with a new Hessian where the one at hand has gone stale."""
    for _ in range(MAX_NEWTON_STEPS):
        step, decrement = face.step()
        if decrement <= POLISHED_DECREMENT:
            return face
        after = _newton(engine, point, face, step, decrement, reml)
        if after is None:
            return face
        if after.decrement > 0.1 * decrement and decrement > STALE:
            fresh = examine(engine, point, reml)
            if fresh is None:
                return after
            after = fresh
        face = after
    return face


def _newton(engine: Engine, point: Point, face: Face, step: Float, decrement: float, reml: bool) -> Face | None:
    """The first of a few ever shorter steps that lowers the objective, or, where the objective no longer resolves
    progress, the decrement. Moves the point; None when there is none."""
    resolution = 1e-9 + 1e-12 * abs(point.objective)
    for length in (1.0, 0.25, 0.0625):
        trial = point.lam.copy()
        trial[face.free] += length * step
        objective, gradient = engine.evaluate(trial, reml)
        point.evaluations += 1
        after = replace(face, gradient=gradient[face.free])
        lower = objective <= point.objective - 0.1 * length * decrement
        closer = objective <= point.objective + resolution and after.decrement < 0.5 * decrement
        if lower or closer:
            point.lam, point.objective = canonical(engine, trial), objective
            return after
    return None
