"""From where the search stopped to a certified optimum.

Interior: the Newton decrement and the spectrum of a Hessian made of differences of the exact gradient. Boundary: the
conditions on the cones of covariance matrices. A point that fails them is left for a lower one and searched from again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.cones import (
    SMALL_DIRECTION,
    ConeEvidence,
    Point,
    canonical,
    cone_evidence,
    grown,
    without_small,
)
from mixeff_fast.fit.face import Face, examine, polish, resolve
from mixeff_fast.fit.search import EXHAUSTED, SearchRecord, minimize, start_lam

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.vocabulary import CertificationQuality, FitStatus

    Float = NDArray[np.float64]

# a gain in the objective below this is not worth a different model
REAL_GAIN = 1e-8
CERTIFIED_DECREMENT = 1e-7
# above this a fit is not converged
CONVERGED_DECREMENT = 1e-4
# residual share of the response's sum of squares below which the fit is exact and the criterion unbounded
COLLAPSED = 1e-13
MAX_ESCAPES = 6
# lengths of trial steps away from a point that is no optimum: along an eigenvector, and for absent directions
SADDLE_STEPS = (3.0, 1.0, 0.3, 0.1, 0.03, 0.01)
GROWTH = (0.3, 0.1, 0.03, 0.01, 0.003)


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


def snap(engine: Engine, point: Point, reml: bool) -> None:
    """Remove nearly absent directions where that does not raise the objective."""
    for threshold in (SMALL_DIRECTION, SMALL_DIRECTION / 100.0):
        candidate = without_small(engine, point.lam, threshold)
        if candidate is None:
            return
        objective, _ = engine.evaluate(candidate, reml, want_gradient=False)
        point.evaluations += 1
        if objective <= point.objective + REAL_GAIN:
            point.lam, point.objective = candidate, objective
            return


def _lower_point(engine: Engine, point: Point, face: Face | None, reml: bool) -> Float | None:
    """The lowest of some points near one that is no optimum, or None when none is lower."""
    trials = []
    if face is not None and face.saddle:
        direction = face.scale * face.vectors[:, int(np.argmin(np.where(face.flat, np.inf, face.values)))]
        for size in SADDLE_STEPS:
            for sign in (1.0, -1.0):
                trial = point.lam.copy()
                trial[face.free] += sign * size * direction
                trials.append(trial)
    trials += [grown(engine, point.lam, size, SMALL_DIRECTION)[0] for size in GROWTH]
    best, lowest = None, point.objective - REAL_GAIN
    for trial in trials:
        objective, _ = engine.evaluate(trial, reml, want_gradient=False)
        point.evaluations += 1
        if objective < lowest:
            best, lowest = trial, objective
    return None if best is None else canonical(engine, best)


def _verdict(
    engine: Engine, stop: str, face: Face | None, cones: tuple[ConeEvidence, ...], collapsed: bool
) -> tuple[FitStatus, CertificationQuality, str]:
    if collapsed:
        return "not_identifiable", "failed", "the model fits the response exactly: the residual variance collapsed to zero"
    if face is None:
        return "not_optimized", "failed", "the objective is not finite around the point where the search stopped"
    decrement = face.decrement
    if decrement > CONVERGED_DECREMENT:
        why = "the evaluation limit was reached" if stop == EXHAUSTED else "the search found no lower point"
        return "not_optimized", "failed", f"{why}; a Newton step still predicts a gain of {0.5 * decrement:.3g}"
    if not all(cone.satisfied for cone in cones):
        return "not_optimized", "failed", "a covariance direction at zero wants to grow"
    if face.saddle:
        return "not_optimized", "failed", "the objective curves downward along a direction: a saddle point"
    if face.flat.any():
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
    point = Point(canonical(engine, record.lam), record.objective, 0)
    while True:
        face, cones = _look(engine, point, reml, record.stop == EXHAUSTED)
        stands = face is not None and not face.saddle and all(c.satisfied for c in cones)
        left = control.max_evaluations - evaluations
        if escapes >= MAX_ESCAPES or left <= 0 or _collapsed(engine):
            break
        if stands:
            if face is None or face.decrement <= CERTIFIED_DECREMENT:
                break
            lam: Float | None = point.lam
        else:
            lam = _lower_point(engine, point, face, reml)
            if lam is None:
                # nothing lower nearby: the condition failed by less than the objective resolves
                cones = tuple(replace(c, satisfied=True) for c in cones)
                break
        assert lam is not None
        record = minimize(engine, lam, reml, control, left)
        escapes += 1
        evaluations += record.evaluations
        iterations += record.iterations
        if not record.objective < point.objective - REAL_GAIN and stands:
            break
        point = Point(canonical(engine, record.lam), record.objective, point.evaluations)
    return point.lam, _certificate(engine, record, point, face, cones, reml, evaluations, iterations, escapes)


def _look(
    engine: Engine, point: Point, reml: bool, exhausted: bool
) -> tuple[Face | None, tuple[ConeEvidence, ...]]:
    """Evidence at a point, which is snapped to the boundary and polished first, unless the caller's budget is spent."""
    if not exhausted:
        snap(engine, point, reml)
    face = examine(engine, point, reml)
    if face is not None and not exhausted:
        face = resolve(engine, point, polish(engine, point, face, reml), reml)
    return face, cone_evidence(engine, point, reml)


def _collapsed(engine: Engine) -> bool:
    last = engine.assembled.arrays.trunk_size + engine.rank
    return bool(engine.work.trunk[last, last] ** 2 <= COLLAPSED * engine.assembled.cross.border[-1, -1])


def _certificate(
    engine: Engine,
    record: SearchRecord,
    point: Point,
    face: Face | None,
    cones: tuple[ConeEvidence, ...],
    reml: bool,
    evaluations: int,
    iterations: int,
    escapes: int,
) -> Certificate:
    status, quality, reason = _verdict(engine, record.stop, face, cones, _collapsed(engine))
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
        newton_decrement=0.0 if face is None else face.decrement,
        hessian_minimum=float(values[0]) if n_free else 0.0,
        hessian_condition=float(values[-1] / values[0]) if n_free and values[0] > 0.0 else 0.0,
        hessian_rank=0 if face is None else int(np.sum(~face.flat)),
        n_free=n_free,
        n_boundary=engine.model.n_theta - n_free,
        cones=cones,
        escapes=escapes,
    )


def curvature_at(engine: Engine, lam: Float, reml: bool) -> Float | None:
    """Hessian of the criterion over the free entries of ``lam``, shape (n_free, n_free); None when it is not finite."""
    face = examine(engine, Point(lam, 0.0, 0), reml)
    return None if face is None else face.hessian
