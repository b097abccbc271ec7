"""From where the search stopped to a certified optimum.

Interior: the Newton decrement and the spectrum of a Hessian made of differences of the exact gradient. Boundary, where
the gradient in theta vanishes by symmetry: the conditions on the cone of covariance matrices, with
``Gamma = d(deviance)/d(Sigma)`` of each term: ``N'Gamma N >= 0`` on the null space N of Sigma (no absent direction wants
to grow) and ``Gamma Sigma = 0`` (the gradient on the face).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.engine import lower_factor
from mixeff_fast.fit.search import SearchRecord, is_small, minimize, start_lam
from mixeff_fast.kernels import profiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import RandomBlock
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.vocabulary import CertificationQuality, FitStatus

    Float = NDArray[np.float64]

# a standard deviation relative to sigma, per standardized column, below which a direction may be absent
SMALL_DIRECTION = 3e-3
# perturbation of an absent direction at which Gamma is read off
PROBE = 1e-4
# gain in the objective that counts as real
REAL_GAIN = 1e-8
CERTIFIED_DECREMENT = 1e-7
POLISHED_DECREMENT = 1e-14
FLAT = 1e-9
# residual share of the response's sum of squares below which the fit is exact and the criterion unbounded
COLLAPSED = 1e-13
MAX_ESCAPES = 4


@dataclass(frozen=True, slots=True)
class ConeEvidence:
    """Conditions on one term's covariance matrix: its rank, and on the directions it lacks the smallest and largest
    eigenvalue of ``N'Gamma N`` (None at full rank)."""

    term: int
    group: str
    width: int
    rank: int
    null_minimum: float | None
    null_maximum: float | None
    satisfied: bool


@dataclass(frozen=True, slots=True)
class Certificate:
    """The evidence that a fit is an optimum.

    Attributes
    ----------
    status, quality, reason
        The verdict, how it was reached, and why when it is not ``certified``.
    objective
        -2 log-likelihood or REML criterion in the user's units.
    stop, evaluations, iterations
        Of the optimizer, all searches together.
    certificate_evaluations
        Evaluations spent here: polish, Hessian, cone conditions.
    gradient_norm
        Largest derivative over the free covariance parameters (standardized), each scaled by its curvature.
    newton_decrement
        ``g'H^{-1}g``: twice the gain a Newton step predicts.
    hessian_minimum, hessian_condition, hessian_rank
        Of the Hessian scaled to a unit diagonal.
    n_free, n_boundary
        Covariance parameters on the face, and those held at zero.
    cones
        The cone conditions, one record per term.
    escapes
        Boundary or saddle points the search was restarted from.
    """

    status: FitStatus
    quality: CertificationQuality
    reason: str
    objective: float
    stop: str
    evaluations: int
    iterations: int
    certificate_evaluations: int
    gradient_norm: float
    newton_decrement: float
    hessian_minimum: float
    hessian_condition: float
    hessian_rank: int
    n_free: int
    n_boundary: int
    cones: tuple[ConeEvidence, ...]
    escapes: int


@dataclass(slots=True)
class _Point:
    """A Lambda under examination, with the objective and the evaluations spent so far."""

    lam: Float
    objective: float
    evaluations: int


@dataclass(frozen=True, slots=True)
class _Face:
    """Second-order evidence at a point: over the entries of ``lam`` that its ranks leave free."""

    free: NDArray[np.int64]
    gradient: Float
    hessian: Float
    scale: Float
    values: Float
    vectors: Float

    def step(self) -> tuple[Float, float]:
        """Newton step over the curved directions, and its decrement."""
        curved = self.values > FLAT
        projected = self.vectors.T @ (self.gradient * self.scale)
        inner = np.where(curved, -projected / np.where(curved, self.values, 1.0), 0.0)
        return self.scale * (self.vectors @ inner), float(-(inner @ projected))


def block_root(engine: Engine, lam: Float, block: RandomBlock) -> Float:
    """A term's Lambda in standardized units; diagonal for diagonal families."""
    root = engine.block_lambda(lam, block)
    return np.diag(np.diag(root)) if block.family == "diagonal" else root


def singular_values(engine: Engine, lam: Float) -> tuple[Float, ...]:
    """Per term, the standard deviations of its principal directions relative to sigma, per standardized column.

    The rule on which everything that says "singular" rests: a direction is absent when its value is below a tolerance.
    """
    return tuple(
        np.abs(np.diag(block_root(engine, lam, block)))
        if block.width == 1 or block.family == "diagonal"
        else np.linalg.svd(block_root(engine, lam, block), compute_uv=False)
        for block in engine.model.blocks
    )


def _canonical(engine: Engine, lam: Float) -> Float:
    out = np.zeros_like(lam)
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        engine.block_lambda(out, block)[...] = (
            np.diag(np.abs(np.diag(root))) if block.family == "diagonal" else lower_factor(root)
        )
    return out


def _without_small(engine: Engine, lam: Float, threshold: float) -> Float | None:
    """``lam`` with every direction below ``threshold`` removed, or None when there is none."""
    out = lam.copy()
    found = False
    for block in engine.model.blocks:
        view = engine.block_lambda(out, block)
        if block.width == 1 or block.family == "diagonal":
            small = (np.abs(np.diag(view)) < threshold) & (np.diag(view) != 0.0)
            if small.any():
                found = True
                view[np.diag_indices(block.width)] = np.where(small, 0.0, np.diag(view))
        else:
            u, s, vt = np.linalg.svd(view)
            largest = s[0] if s[0] > threshold else 1.0
            if np.any((s < threshold) & (s > 1e-14 * largest)):
                found = True
                view[...] = lower_factor((u * np.where(s < threshold, 0.0, s)) @ vt)
    return out if found else None


def _snap(engine: Engine, point: _Point, reml: bool) -> None:
    """Remove nearly absent directions where that does not raise the objective."""
    for threshold in (SMALL_DIRECTION, SMALL_DIRECTION / 100.0):
        candidate = _without_small(engine, point.lam, threshold)
        if candidate is None:
            return
        objective, _ = engine.evaluate(candidate, reml, want_gradient=False)
        point.evaluations += 1
        if objective <= point.objective + REAL_GAIN:
            point.lam, point.objective = candidate, objective
            return


def _free_entries(engine: Engine, lam: Float) -> NDArray[np.int64]:
    """Positions in ``lam`` of the theta entries whose column of Lambda is not zero."""
    free = []
    position = engine.theta_map.position
    for block in engine.model.blocks:
        present = np.diag(engine.block_lambda(lam, block)) != 0.0
        free.append(position[block.theta][present[block.columns]])
    return np.concatenate(free)


def _face(engine: Engine, point: _Point, reml: bool) -> _Face | None:
    """Gradient and Hessian over the free entries; None when an evaluation near the point fails."""
    free = _free_entries(engine, point.lam)
    n = len(free)
    objective, gradient = engine.evaluate(point.lam, reml)
    point.objective = objective
    point.evaluations += 1
    g = gradient[free]
    hessian = np.zeros((n, n))
    step = 1e-4 * np.maximum(np.abs(point.lam[free]), 0.02)
    central = is_small(engine)
    if not central:
        step *= 0.1
    lam = point.lam.copy()
    arrays, cross = engine.assembled.arrays, engine.assembled.cross
    stride = n if central else 1
    for first in range(0, n, max(stride, 1)):
        failed = profiled.difference_columns(arrays, cross, lam, engine.work, reml, engine.dof(reml), free, step, g,
                                             central, first, min(first + stride, n), engine.grad_lam, hessian)
        if failed:
            return None
    point.evaluations += n * (2 if central else 1)
    hessian = 0.5 * (hessian + hessian.T)
    diagonal = np.diag(hessian)
    scale = 1.0 / np.sqrt(np.where(diagonal > 0.0, diagonal, np.maximum(np.abs(diagonal), 1e-8)))
    values, vectors = np.linalg.eigh(hessian * scale * scale[:, None])
    return _Face(free, g, hessian, scale, values, vectors)


def _polish(engine: Engine, point: _Point, face: _Face, reml: bool) -> _Face:
    """Newton steps with the Hessian at hand while they pay."""
    for _ in range(4):
        step, decrement = face.step()
        if decrement <= POLISHED_DECREMENT:
            return face
        trial = point.lam.copy()
        trial[face.free] += step
        objective, gradient = engine.evaluate(trial, reml)
        point.evaluations += 1
        after = replace(face, gradient=gradient[face.free])
        if not objective <= point.objective + 1e-9 or after.step()[1] >= 0.5 * decrement:
            return face
        point.lam, point.objective = _canonical(engine, trial), objective
        face = after
    return face


def _probe(engine: Engine, lam: Float, size: float) -> tuple[Float, list[tuple[RandomBlock, Float, Float]]]:
    """``lam`` with every absent direction raised to ``size``, and per singular term the left and right null bases."""
    out = lam.copy()
    bases = []
    for block in engine.model.blocks:
        view = engine.block_lambda(out, block)
        if block.width == 1 or block.family == "diagonal":
            absent = np.diag(view) == 0.0
            left = right = np.eye(block.width)[:, absent]
        else:
            u, s, vt = np.linalg.svd(view)
            absent = s <= 1e-9 * max(s[0], 1e-300) if s[0] > 0.0 else np.ones(block.width, np.bool_)
            left, right = u[:, absent], vt[absent].T
        if absent.any():
            view += size * (left @ right.T)
            bases.append((block, left, right))
    return out, bases


def _cones(engine: Engine, point: _Point, reml: bool) -> tuple[ConeEvidence, ...]:
    probe, bases = _probe(engine, point.lam, PROBE)
    evidence = {}
    if bases:
        _, gradient = engine.evaluate(probe, reml)
        point.evaluations += 1
        for block, left, right in bases:
            inner = left.T @ engine.block_lambda(gradient, block) @ right / (2.0 * PROBE)
            if block.family == "diagonal":
                values = np.sort(np.diag(inner))
            else:
                values = np.linalg.eigvalsh(0.5 * (inner + inner.T))
            noise = 1e-6 * max(1.0, float(np.abs(values).max()))
            evidence[id(block)] = (left.shape[1], float(values[0]), float(values[-1]), bool(values[0] >= -noise))
    out = []
    for i, block in enumerate(engine.model.blocks):
        absent, low, high, fine = evidence.get(id(block), (0, None, None, True))
        group = engine.model.factors[block.factor].group.name
        out.append(ConeEvidence(i, group, block.width, block.width - absent, low, high, fine))
    return tuple(out)


def _escape(engine: Engine, point: _Point, face: _Face | None, reml: bool) -> Float | None:
    """A lower point near a boundary or saddle that is no optimum, or None when there is none to be found."""
    trials = []
    if face is not None and len(face.values) and face.values[0] < -1e-6:
        direction = face.scale * face.vectors[:, 0]
        for size in (0.1, -0.1, 0.01, -0.01):
            trial = point.lam.copy()
            trial[face.free] += size * direction * np.sqrt(max(1.0, abs(point.objective)))
            trials.append(trial)
    trials += [_probe(engine, point.lam, size)[0] for size in (0.3, 0.1, 0.03, 0.01, 0.003)]
    best, lowest = None, point.objective - REAL_GAIN
    for trial in trials:
        objective, _ = engine.evaluate(trial, reml, want_gradient=False)
        point.evaluations += 1
        if objective < lowest:
            best, lowest = trial, objective
    return None if best is None else _canonical(engine, best)


def _verdict(
    engine: Engine, stop: str, face: _Face | None, decrement: float, cones: tuple[ConeEvidence, ...], collapsed: bool
) -> tuple[FitStatus, CertificationQuality, str]:
    if collapsed:
        return "not_identifiable", "failed", "the model fits the response exactly: the residual variance collapsed to zero"
    if face is None:
        return "not_optimized", "failed", "the objective is not finite around the point where the search stopped"
    if decrement > 1e-4:
        return "not_optimized", "failed", f"{stop}: a Newton step still predicts a gain of {0.5 * decrement:.3g}"
    if not all(cone.satisfied for cone in cones):
        return "not_optimized", "failed", "a covariance direction at zero wants to grow"
    if len(face.values) and face.values[0] < -1e-6:
        return "not_optimized", "failed", "the objective curves downward along a direction: a saddle point"
    if len(face.values) and face.values[0] <= FLAT:
        return "not_identifiable", "approximate", "the objective is flat along a combination of covariance parameters"
    status: FitStatus = "converged_interior"
    if any(cone.rank < cone.width for cone in cones):
        reduced = any(
            cone.rank < cone.width and engine.model.blocks[cone.term].family == "full" for cone in cones
        )
        status = "converged_reduced_rank" if reduced else "converged_boundary"
    if decrement > CERTIFIED_DECREMENT:
        return status, "approximate", f"the Newton decrement is {decrement:.3g}"
    return status, "certified", ""


def optimum(engine: Engine, reml: bool, control: Control) -> tuple[Float, Certificate]:
    """Search, polish and certify. Returns ``lam`` and the evidence."""
    record = minimize(engine, start_lam(engine, control), reml, control, control.max_evaluations)
    evaluations, iterations, escapes = record.evaluations, record.iterations, 0
    point = _Point(_canonical(engine, record.lam), record.objective, 0)
    while True:
        face, decrement, cones = _examine(engine, point, reml)
        saddle = face is not None and len(face.values) > 0 and bool(face.values[0] < -1e-6)
        fine = face is not None and decrement <= 1e-4 and not saddle and all(c.satisfied for c in cones)
        left = control.max_evaluations - evaluations
        if fine or escapes >= MAX_ESCAPES or left <= 0 or _collapsed(engine):
            break
        lam = _escape(engine, point, face, reml)
        if lam is None:
            # nothing lower nearby: the condition failed by less than the objective resolves
            cones = tuple(replace(c, satisfied=True) for c in cones)
            break
        record = minimize(engine, lam, reml, control, left)
        escapes += 1
        evaluations += record.evaluations
        iterations += record.iterations
        point = _Point(_canonical(engine, record.lam), record.objective, point.evaluations)
    return point.lam, _certificate(engine, record, point, face, decrement, cones, reml, evaluations, iterations, escapes)


def _examine(engine: Engine, point: _Point, reml: bool) -> tuple[_Face | None, float, tuple[ConeEvidence, ...]]:
    _snap(engine, point, reml)
    face = _face(engine, point, reml)
    decrement = 0.0
    if face is not None:
        face = _polish(engine, point, face, reml)
        decrement = face.step()[1]
    return face, decrement, _cones(engine, point, reml)


def _collapsed(engine: Engine) -> bool:
    last = engine.assembled.arrays.trunk_size + engine.rank
    return bool(engine.work.trunk[last, last] ** 2 <= COLLAPSED * engine.assembled.cross.border[-1, -1])


def _certificate(
    engine: Engine,
    record: SearchRecord,
    point: _Point,
    face: _Face | None,
    decrement: float,
    cones: tuple[ConeEvidence, ...],
    reml: bool,
    evaluations: int,
    iterations: int,
    escapes: int,
) -> Certificate:
    status, quality, reason = _verdict(engine, record.stop, face, decrement, cones, _collapsed(engine))
    values = np.zeros(0) if face is None else face.values
    n_free = len(values)
    return Certificate(
        status=status,
        quality=quality,
        reason=reason,
        objective=point.objective + engine.criterion_shift(reml),
        stop=record.stop,
        evaluations=evaluations,
        iterations=iterations,
        certificate_evaluations=point.evaluations,
        gradient_norm=float(np.abs(face.gradient * face.scale).max()) if face is not None and n_free else 0.0,
        newton_decrement=decrement,
        hessian_minimum=float(values[0]) if n_free else 0.0,
        hessian_condition=float(values[-1] / values[0]) if n_free and values[0] > 0.0 else 0.0,
        hessian_rank=int(np.sum(values > FLAT)),
        n_free=n_free,
        n_boundary=engine.model.n_theta - n_free,
        cones=cones,
        escapes=escapes,
    )


def curvature_at(engine: Engine, lam: Float, reml: bool) -> Float | None:
    """Hessian of the criterion over the free entries of ``lam``, shape (n_free, n_free); None when it is not finite."""
    face = _face(engine, _Point(lam, 0.0, 0), reml)
    return None if face is None else face.hessian
