"""From where the search stopped to a certified optimum.

Interior: the Newton decrement and the spectrum of a Hessian made of differences of the exact gradient. Boundary: the
conditions on the cones of covariance matrices. A point that fails them is left for a lower one and searched from again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import (
    ConeEvidence,
    Normal,
    Point,
    cone_evidence,
    drop_small,
    grown,
    lower,
    normals,
    resolution,
    slack,
)
from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.face import (
    CENTRAL_STEP,
    Face,
    beyond_saddle,
    central,
    descend,
    examine,
    modelled,
    polish,
    resolve,
    settled,
)
from mixeff_fast.fit.search import EXHAUSTED, RESTART_FLOOR, minimize, raised, start_lam
from mixeff_fast.kernels.settle import CERTIFIED_DECREMENT

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.vocabulary import CertificationQuality, FitStatus, HessianRoute, Limit

    Float = NDArray[np.float64]

# above this a fit is not converged
CONVERGED_DECREMENT = 1e-4
# rounding error of the objective above which nothing is certain
RESOLVED = 1e-5
# a second derivative of more than this, where that of known random effects would be about 1, is a jump of the gradient: any
# slope has a small decrement there
JUMP = 1e10
MAX_ESCAPES = 8
MAX_HESSIANS = 8


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
    hessian_route
        ``gradient_differences``: differences of the exact gradient; ``average_information``: that matrix, where
        differences would take long, checked by a difference along its weakest direction.
    hessian_minimum, hessian_condition, hessian_rank
        Of the Hessian scaled to a unit diagonal.
    n_free, n_boundary
        Covariance parameters on the face, and those held at zero.
    cones
        The cone conditions, one record per term.
    escapes
        Boundary or saddle points the search was restarted from.
    information
        Hessian of the objective over the free covariance parameters and, last, the parameters beside them (standardized); None
        where there are no such or it is not positive definite.
    limit
        Where the family's parameter ran to, if the objective does not change with it any more: ``theta_infinite`` of the
        negative binomial, ``dispersion_zero``, or ``parameter_flat``; then ``information`` is without it.
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
    hessian_route: HessianRoute
    hessian_minimum: float
    hessian_condition: float
    hessian_rank: int
    n_free: int
    n_boundary: int
    cones: tuple[ConeEvidence, ...]
    escapes: int
    information: Float | None = None
    limit: Limit = ""


def _verdict(
    engine: Coordinates, stop: str, face: Face | None, cones: tuple[ConeEvidence, ...], collapsed: bool, limit: Limit
) -> tuple[FitStatus, CertificationQuality, str]:
    if collapsed or limit == "dispersion_zero":
        return "not_identifiable", "failed", "the model fits the response exactly: the residual variance collapsed to zero"
    if face is None:
        return "not_optimized", "failed", "the objective is not finite around the point where the search stopped"
    if np.abs(np.diag(face.hessian)).max(initial=0.0) > JUMP:
        return "not_optimized", "failed", "the gradient of the objective jumps at the point where the search stopped"
    decrement = face.decrement
    if decrement > CONVERGED_DECREMENT:
        why = "the evaluation limit was reached" if stop == EXHAUSTED else "the search found no lower point"
        return "not_optimized", "failed", f"{why}; a Newton step still predicts a gain of {0.5 * decrement:.3g}"
    if not all(cone.satisfied for cone in cones):
        return "not_optimized", "failed", "a covariance direction at zero wants to grow"
    if face.saddle:
        return "not_optimized", "failed", "the objective curves downward along a direction: a saddle point"
    if limit == "parameter_flat":
        return "not_identifiable", "approximate", "the objective is flat along the family's parameter"
    if _flat(face, limit).any():
        what = _flat_parameters(engine, face)
        return "not_identifiable", "approximate", f"the objective is flat along a combination of {what}"
    status: FitStatus = "converged_interior"
    if any(cone.rank < cone.width for cone in cones):
        reduced = any(
            cone.rank < cone.width and engine.model.blocks[cone.term].family == "full" for cone in cones
        )
        status = "converged_reduced_rank" if reduced else "converged_boundary"
    if limit == "theta_infinite":
        status = "converged_boundary" if status == "converged_interior" else status
        return status, "approximate", "theta of the negative binomial ran to infinity, where the responses are Poisson's"
    if decrement > CERTIFIED_DECREMENT:
        return status, "approximate", f"the Newton decrement is {decrement:.3g}"
    if resolution(engine) > RESOLVED:
        return status, "approximate", f"rounding leaves the objective uncertain by {resolution(engine):.3g}"
    return status, "certified", ""


def _flat(face: Face, limit: Limit) -> NDArray[np.bool_]:
    """The flat directions, but for the last parameter's own where that has run to its limit."""
    own = np.abs(face.vectors[-1]) > 0.9 if limit else np.zeros(len(face.flat), bool)
    return np.asarray(face.flat & ~own)


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What is known of a point: ``face`` is None when the objective is not finite around it."""

    face: Face | None
    normals: list[Normal]

    def settled(self) -> bool:
        """Whether Newton steps on the face have come to their end, be it a saddle."""
        return self.face is None or self.face.saddle or self.face.decrement <= CERTIFIED_DECREMENT

    def stands(self) -> bool:
        """Whether no direction leads down from the point."""
        optimal = self.face is not None and not self.face.saddle and self.face.decrement <= CERTIFIED_DECREMENT
        return optimal and all(normal.values[0] >= -normal.tolerance for normal in self.normals)


def _look(engine: Coordinates, point: Point, reml: bool, exhausted: bool) -> _Evidence:
    """Evidence at a point, which is brought to the boundary and polished first, unless the caller's budget is spent."""
    if not exhausted:
        if isinstance(engine, Engine) and engine.is_small and not engine.spares_evaluations:
            face = settled(engine, point, reml)
            if face is not None:
                return _Evidence(face, [])
        drop_small(engine, point, reml)
        found = None
        if isinstance(engine, Engine) and engine.spares_evaluations:
            found = modelled(engine, point, reml)
        if found is not None:
            return _Evidence(*found)
    face = None
    for _ in range(MAX_HESSIANS):
        face = examine(engine, point, reml)
        if face is None:
            break
        if exhausted:
            face = resolve(engine, point, face, reml)
            break
        before = face.decrement
        face = resolve(engine, point, polish(engine, point, face, reml), reml)
        if CERTIFIED_DECREMENT >= before > engine.sharp_decrement > face.decrement and not face.saddle:
            continue
        if face.decrement > CERTIFIED_DECREMENT:
            face = polish(engine, point, face, reml)
        if face.decrement <= CERTIFIED_DECREMENT or face.saddle or not descend(engine, point, face, reml):
            break
    return _Evidence(face, normals(engine, point, reml))


def _lower_point(engine: Coordinates, point: Point, evidence: _Evidence, reml: bool) -> Float | None:
    """The lowest of some points near one that is no optimum, or None when none is lower."""
    trials = grown(engine, point, evidence.normals)
    if evidence.face is not None and evidence.face.saddle:
        trials += beyond_saddle(point, evidence.face)
    best, lowest = None, point.objective - slack(engine)
    for trial in trials:
        objective = engine.criterion(trial, reml)
        point.evaluations += 1
        if objective < lowest:
            best, lowest = trial, objective
    return best


def optimum(engine: Coordinates, reml: bool, control: Control, start: Float | None = None) -> tuple[Float, Certificate]:
    """Search (from ``start``, or what ``control`` says), polish and certify. Returns ``lam`` (every term's lower triangular)
    and the evidence."""
    start = start_lam(engine, control) if start is None else start
    record = minimize(engine, start, reml, control, control.max_evaluations)
    evaluations, iterations, escapes = record.evaluations, record.iterations, 0
    point = Point(record.lam, record.objective, 0, record.scored)
    nowhere_lower = False
    lowest = np.inf
    while True:
        evidence = _look(engine, point, reml, record.stop == EXHAUSTED)
        left = control.max_evaluations - evaluations
        progress = point.objective < lowest - slack(engine)
        if evidence.stands() or escapes >= MAX_ESCAPES or left <= 0 or not progress or engine.collapsed:
            break
        lowest = point.objective
        lam: Float | None = point.lam
        if evidence.settled():
            lam = _lower_point(engine, point, evidence, reml)
        if lam is None:
            nowhere_lower = True
            break
        record = minimize(engine, raised(engine, lam, RESTART_FLOOR), reml, control, left)
        escapes += 1
        evaluations += record.evaluations
        iterations += record.iterations
        point = Point(record.lam, record.objective, point.evaluations, record.scored)
    cones = cone_evidence(engine, evidence.normals, nowhere_lower)
    collapsed, face = engine.collapsed, evidence.face
    limit = "" if face is None else engine.limit(point.lam, point.objective, _last_curvature(engine, face))
    status, quality, reason = _verdict(engine, record.stop, face, cones, collapsed, limit)
    values = np.zeros(0) if face is None else face.values
    n_free = len(values)
    certificate = Certificate(
        status=status,
        quality=quality,
        reason=reason,
        objective=point.objective + engine.criterion_shift(reml),
        stop=record.stop,
        evaluations=evaluations,
        iterations=iterations,
        certificate_evaluations=point.evaluations,
        gradient_norm=float(np.abs(face.gradient * face.scale).max()) if face is not None and n_free else 0.0,
        newton_decrement=0.0 if face is None else face.decrement,
        hessian_route="average_information" if face is not None and face.by_model else "gradient_differences",
        hessian_minimum=float(values.min()) if n_free else 0.0,
        hessian_condition=float(values.max() / values.min()) if n_free and values.min() > 0.0 else 0.0,
        hessian_rank=0 if face is None else int(np.sum(~face.flat)),
        n_free=n_free,
        n_boundary=engine.model.n_theta + len(engine.extra_directions()[0]) - n_free,
        cones=cones,
        escapes=escapes,
        information=_information(engine, face, limit),
        limit=limit,
    )
    return lower(engine, point.lam), certificate


def _flat_parameters(engine: Coordinates, face: Face) -> str:
    """What the flat directions are mostly made of."""
    beside = len(engine.extra_directions()[0])
    along = (face.vectors[:, face.flat] ** 2).sum(axis=1)
    return "fixed effects" if beside and along[len(along) - beside :].sum() > 0.5 * along.sum() else "covariance parameters"


def _last_curvature(engine: Coordinates, face: Face) -> float:
    """Second derivative in the last parameter beside the covariance parameters; NaN where there is none."""
    errors, _ = engine.extra_directions()
    return float(face.hessian[-1, -1] / errors[-1] ** 2) if len(errors) else np.nan


def _information(engine: Coordinates, face: Face | None, limit: Limit) -> Float | None:
    """The Hessian where it has parameters beside the covariance parameters: those at the end, in the engine's own units, and
    without the last where that has run to its limit."""
    errors, _ = engine.extra_directions()
    if face is None or not len(errors) or _flat(face, limit).any() or face.saddle:
        return None
    units = face.scale.copy()
    units[len(units) - len(errors) :] *= errors
    # of the spectrum as it was measured in the end, which is positive
    hessian = np.asarray((face.vectors * face.values) @ face.vectors.T / np.outer(units, units))
    return hessian[:-1, :-1] if limit else hessian


def curvature_at(engine: Coordinates, lam: Float, reml: bool, sizes: Float | None = None) -> Float | None:
    """Hessian of the criterion over theta's entries of ``lam``, and the parameters beside them that end it; shape (n, n). None
    when it is not finite. ``sizes`` are natural ones of the latter."""
    theta_map = engine.theta_map
    steps = np.sqrt(lam[theta_map.position] ** 2 + theta_map.noise[theta_map.term] ** 2)
    beside = np.zeros(0) if sizes is None else sizes
    places = np.concatenate([theta_map.position, np.arange(len(lam) - len(beside), len(lam))])
    return central(engine, lam, reml, np.eye(len(lam))[places], CENTRAL_STEP * np.concatenate([steps, beside]))
