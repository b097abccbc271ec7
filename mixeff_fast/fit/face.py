"""Second-order evidence on the face of the cones where a fit lies: gradient, Hessian, Newton steps, flat directions.

The columns of Lambda that are present may move towards themselves and every shorter or absent direction: these are the free
parameters, as many as the covariance matrices of that rank have. The Hessian is made of differences of the exact gradient.
It is scaled to a unit diagonal, but never by more than a hundred times what a variance of that size carries in
information, so that a criterion that is constant does not look curved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import (
    Normal,
    Point,
    beside,
    column_norms,
    orthogonal,
    read_normals,
    resolution,
    slack,
)
from mixeff_fast.fit.coordinates import separate
from mixeff_fast.kernels.settle import MAX_POLISH, POLISHED_DECREMENT, WEAK, WEAK_INFORMATION, settle

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# shortest step of central differences, in units of a direction's standard deviation and its noise
CENTRAL_STEP = 1e-4
# scaled eigenvalues below this call for steps of so many scaled units along the eigenvector: short differences drown in
# rounding
UNRESOLVED = 1e-5
LONG_STEP = 0.005
MAX_SHORTENINGS = 4
# scaled eigenvalues of this size or less are zero: the objective is flat that way
FLAT = 1e-6
# scaled eigenvalues of the average information below this are measured by differences instead
WEAK_MODEL = 0.02
# and by how much the true curvature along its weakest direction may differ from what it says
MODEL_RATIO = 4.0
MODEL_STEP = 0.02
# a point that average information cannot polish to this decrement takes differences
POLISH_GOAL = 1e-9
# lengths, in scaled units, of steps along a direction of negative curvature
SADDLE_STEPS = (2.0, -2.0, 0.5, -0.5, 0.1, -0.1)


@dataclass(frozen=True, slots=True)
class Face:
    """Evidence at a point, along the rows of ``directions`` (flat, like ``lam``).

    ``values`` and ``vectors`` are the spectrum of the Hessian scaled by ``scale``; ``flat`` marks its flat directions.
    ``step`` is Newton's, in ``lam``, over the directions that curve upward; ``decrement``, ``g'H^{-1}g``, is twice the gain
    it predicts. ``by_model``: the Hessian is the average information, checked along its weakest direction.
    """

    directions: Float
    gradient: Float
    hessian: Float
    scale: Float
    values: Float
    vectors: Float
    flat: NDArray[np.bool_]
    step: Float
    decrement: float
    by_model: bool = False

    @property
    def saddle(self) -> bool:
        """Whether the objective curves downward along some direction."""
        return bool(np.any(~self.flat & (self.values < 0.0)))

    def axis(self, i: int) -> Float:
        """The change of ``lam`` along eigenvector i, in scaled units."""
        return (self.scale * self.vectors[:, i]) @ self.directions


def _face(
    directions: Float, gradient: Float, hessian: Float, scale: Float, values: Float, vectors: Float, flat: NDArray[np.bool_]
) -> Face:
    curved = ~flat & (values > 0.0)
    projected = vectors.T @ (gradient * scale)
    inner = np.where(curved, -projected / np.where(curved, values, 1.0), 0.0)
    step = (scale * (vectors @ inner)) @ directions
    return Face(directions, gradient, hessian, scale, values, vectors, flat, step, float(-(inner @ projected)))


def free_directions(engine: Coordinates, point: Point) -> tuple[Float, Float]:
    """The free parameters as rows over ``lam``, shape (n_free, len(lam)), in units of the standard error they would have if
    the random effects were observed; and how many of these make a step of the natural size. The columns of the point's
    Lambda become orthogonal."""
    rows, steps = [], []
    point.lam, bases = orthogonal(engine, point.lam)
    for block, left, noise in zip(engine.model.blocks, bases, engine.theta_map.noise.tolist(), strict=True):
        norms = column_norms(engine, point.lam, block)
        information = 2.0 * math.sqrt(engine.model.factors[block.factor].n_levels)
        sizes = np.sqrt(norms * norms + noise * noise) / information
        where, width = engine.block_slice(block)
        own = slice(block.first, block.first + block.width)
        for b in np.flatnonzero(norms).tolist():
            for a in (b,) if separate(block) else range(b, block.width):
                row = np.zeros(len(point.lam))
                row[where].reshape(width, width)[own, block.first + b] = left[:, a] * sizes[a]
                rows.append(row)
                steps.append(information)
    errors, extra_steps = engine.extra_directions()
    first = len(point.lam) - len(errors)
    for i, (error, step) in enumerate(zip(errors.tolist(), extra_steps.tolist(), strict=True)):
        row = np.zeros(len(point.lam))
        row[first + i] = error
        rows.append(row)
        steps.append(step)
    return np.array(rows).reshape(len(rows), len(point.lam)), np.array(steps)


def one_sided(engine: Coordinates, lam: Float, reml: bool, directions: Float, steps: Float, base: Float) -> Float | None:
    """Hessian along ``directions`` from differences with the gradient ``base`` at ``lam``; None when an evaluation fails."""
    values, gradients = engine.gradients(lam + steps[:, None] * directions, reml)
    if not np.all(np.isfinite(values)):
        return None
    hessian = (gradients - base) @ directions.T / steps[:, None]
    return np.asarray(0.5 * (hessian + hessian.T)) if np.all(np.isfinite(hessian)) else None


def central(engine: Coordinates, lam: Float, reml: bool, directions: Float, steps: Float) -> Float | None:
    """The same from central differences: twice the evaluations, and accurate to the square of the steps."""
    moves = steps[:, None] * directions
    values, gradients = engine.gradients(np.concatenate([lam + moves, lam - moves]), reml)
    if not np.all(np.isfinite(values)):
        return None
    n = len(directions)
    hessian = (gradients[:n] - gradients[n:]) @ directions.T / (2.0 * steps[:, None])
    return np.asarray(0.5 * (hessian + hessian.T)) if np.all(np.isfinite(hessian)) else None


def _spectrum(hessian: Float) -> tuple[Float, Float, Float]:
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), WEAK_INFORMATION))
    values, vectors = np.linalg.eigh(hessian * scale * scale[:, None])
    return scale, values, vectors


def examine(engine: Coordinates, point: Point, reml: bool) -> Face | None:
    """Gradient and Hessian at a point, its smallest and negative eigenvalues taken for flat until they are resolved; None
    when the objective is not finite around it."""
    directions, steps = free_directions(engine, point)
    point.objective, gradient = engine.evaluate(point.lam, reml)
    point.evaluations += 1
    if not np.isfinite(point.objective):
        return None
    noise = resolution(engine)
    hessian = one_sided(engine, point.lam, reml, directions, np.maximum(engine.one_sided_step * steps, noise**0.5), gradient)
    point.evaluations += len(steps)
    if hessian is None:
        return None
    scale, values, vectors = _spectrum(hessian)
    if len(values) and values[0] < WEAK:
        hessian = central(engine, point.lam, reml, directions, np.maximum(CENTRAL_STEP * steps, noise ** (1 / 3)))
        point.evaluations += 2 * len(steps)
        if hessian is None:
            return None
        scale, values, vectors = _spectrum(hessian)
    small = values < max(UNRESOLVED, noise**0.5)
    return _face(directions, directions @ gradient, hessian, scale, values, vectors, small)


def settled(engine: Engine, point: Point, reml: bool) -> Face | None:
    """Evidence at a point, polished, of a small model whose optimum is plainly interior; None for any other."""
    evidence, assembled = engine.evidence, engine.assembled
    lam = point.lam.copy()
    fine = settle(assembled.arrays, assembled.cross, engine.work, engine.chain, engine.trunk, engine.theta_map, lam, reml,
                  engine.dof(reml), evidence)
    point.evaluations += int(evidence.evaluations[0])
    if not fine:
        return None
    point.lam, point.objective = lam, float(evidence.objectives[-1])
    return Face(
        directions=evidence.directions.copy(), gradient=evidence.gradient.copy(), hessian=evidence.hessian.copy(),
        scale=evidence.scale.copy(), values=evidence.values.copy(), vectors=evidence.vectors.copy(),
        flat=np.zeros(len(evidence.values), bool), step=evidence.step.copy(), decrement=float(evidence.decrement[0]),
    )


def modelled(engine: Engine, point: Point, reml: bool) -> tuple[Face, list[Normal]] | None:
    """Evidence from the average information, at a point polished with it; None where that does not settle the matter."""
    lam, scored = point.lam, point.scored
    directions, _ = free_directions(engine, point)
    probe, absent = beside(engine, point)
    point.scored = None
    if scored is None or absent or not np.array_equal(lam, point.lam):
        point.objective, gradient = engine.evaluate(point.lam, reml)
        _, beside_gradient, model = engine.score(probe, reml)
        point.evaluations += 2
    else:
        gradient, model = scored
        beside_gradient = gradient
    if not np.isfinite(point.objective) or not np.all(np.isfinite(model)):
        return None
    chosen, sizes = _free_parameters(engine, point, probe)
    hessian = model[np.ix_(chosen, chosen)] * sizes * sizes[:, None]
    scale, values, vectors = _spectrum(hessian)
    if len(values) and values[0] < WEAK_MODEL:
        return None
    face = _face(directions, directions @ gradient, hessian, scale, values, vectors, np.zeros(len(values), bool))
    face = polish(engine, point, face, reml)
    if face.decrement > POLISH_GOAL:
        return None
    if len(values):
        axis = face.axis(0)
        _, moved = engine.evaluate(point.lam + MODEL_STEP * axis, reml)
        point.evaluations += 1
        curvature = float(moved @ axis - face.vectors[:, 0] @ (face.gradient * face.scale)) / MODEL_STEP
        if not values[0] / MODEL_RATIO < curvature < values[0] * MODEL_RATIO:
            return None
    return replace(face, by_model=True), read_normals(engine, absent, beside_gradient)


def _free_parameters(engine: Coordinates, point: Point, probe: Float) -> tuple[NDArray[np.int64], Float]:
    """Which of the search's coordinates at ``probe`` the free directions are, and their lengths in them."""
    chosen, sizes = [], []
    for block, noise in zip(engine.model.blocks, engine.theta_map.noise.tolist(), strict=True):
        norms, lengths = column_norms(engine, point.lam, block), column_norms(engine, probe, block)
        information = 2.0 * math.sqrt(engine.model.factors[block.factor].n_levels)
        place = {(a, b): block.theta.start + i for i, (a, b) in enumerate(zip(block.rows, block.columns, strict=True))}
        for b in np.flatnonzero(norms).tolist():
            for a in (b,) if separate(block) else range(b, block.width):
                chosen.append(place[a, b])
                sizes.append(math.sqrt(norms[a] ** 2 + noise * noise) / (information * lengths[a]))
    return np.array(chosen, np.int64), np.array(sizes)


def resolve(engine: Coordinates, point: Point, face: Face, reml: bool) -> Face:
    """Measure small eigenvalues again. It takes a polished point: a gradient left over bends a flat ridge."""
    if not face.flat.any():
        return face
    values = face.values.copy()
    noise = resolution(engine)
    for i in np.flatnonzero(face.flat).tolist():
        value = _curvature(engine, point, face, i, max(LONG_STEP, noise ** (1 / 3)), reml)
        values[i] = value if math.isfinite(value) else 0.0
    flat = np.abs(values) < max(FLAT, 4.0 * noise ** (2 / 3))
    return _face(face.directions, face.gradient, face.hessian, face.scale, values, face.vectors, flat)


def _curvature(engine: Coordinates, point: Point, face: Face, i: int, longest: float, reml: bool) -> float:
    """Second derivative along eigenvector i, scaled: differences of the gradient over longer steps, extrapolated. The steps
    are shortened while the bend of a ridge shows in them."""
    axis = face.axis(i)
    size = min(longest, 0.1 * max(float(np.abs(point.lam).max()), 0.1) / float(np.abs(axis).max()))
    value = 0.0
    for _ in range(MAX_SHORTENINGS):
        wide, narrow = (_slope_change(engine, point.lam, axis, h, reml) for h in (size, 0.5 * size))
        point.evaluations += 4
        value = (4.0 * narrow - wide) / 3.0
        if abs(wide - narrow) <= 0.5 * max(abs(value), FLAT):
            break
        size *= 0.25
    return value


def _slope_change(engine: Coordinates, lam: Float, axis: Float, size: float, reml: bool) -> float:
    _, (up, down) = engine.gradients(np.stack([lam + size * axis, lam - size * axis]), reml)
    return float((up - down) @ axis) / (2.0 * size)


def polish(engine: Coordinates, point: Point, face: Face, reml: bool) -> Face:
    """Newton steps with the Hessian at hand while they pay. The columns of Lambda do not stay orthogonal."""
    for _ in range(MAX_POLISH):
        if face.decrement <= POLISHED_DECREMENT:
            break
        lam = point.lam + face.step
        objective, gradient = engine.evaluate(lam, reml)
        point.evaluations += 1
        after = _face(face.directions, face.directions @ gradient, face.hessian, face.scale, face.values, face.vectors,
                      face.flat)
        if not objective <= point.objective + slack(engine) or after.decrement >= 0.5 * face.decrement:
            break
        point.lam, point.objective, face = lam, objective, after
    return face


def descend(engine: Coordinates, point: Point, face: Face, reml: bool) -> bool:
    """A Newton step, shortened until it lowers the objective. False when none does by more than rounding."""
    step = face.step
    for _ in range(8):
        objective = engine.criterion(point.lam + step, reml)
        point.evaluations += 1
        if objective < point.objective - slack(engine):
            point.lam, point.objective = point.lam + step, objective
            return True
        step = 0.25 * step
    return False


def beyond_saddle(point: Point, face: Face) -> list[Float]:
    """Lambdas to either side along the direction that curves downward most."""
    axis = face.axis(int(np.argmin(face.values)))
    return [point.lam + size * axis for size in SADDLE_STEPS]
