"""The certificate of a fit as a record, and the findings that follow from it."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import TYPE_CHECKING

from mixeff_fast.compile.roles import term_id
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.effective import boundary_indices
from mixeff_fast.fit.face import FLAT
from mixeff_fast.fit.search import EXHAUSTED
from mixeff_fast.schemas import certificate as c
from mixeff_fast.schemas.diagnostics import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Literal

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.certificate import Certificate
    from mixeff_fast.fit.cones import ConeEvidence
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.schemas.policy import Thresholds

    Cone = Literal[
        "interior_converged", "valid_zero_variance", "valid_rank_deficient_covariance", "invalid_boundary_stop"
    ]


def finite(value: float) -> float | None:
    """The number, or None for what is not finite."""
    return value if math.isfinite(value) else None


def _known(value: float | None) -> float | None:
    return None if value is None else finite(value)


def caller_set(control: Control) -> tuple[str, ...]:
    """Names of the settings that differ from the defaults."""
    return tuple(
        field.name for field in fields(control) if getattr(control, field.name) != getattr(DEFAULT_CONTROL, field.name)
    )


def _classification(cone: ConeEvidence, family: str) -> Cone:
    if not cone.satisfied:
        return "invalid_boundary_stop"
    if cone.rank == cone.width:
        return "interior_converged"
    return "valid_rank_deficient_covariance" if family == "full" and cone.rank > 0 else "valid_zero_variance"


def certificate_record(
    model: CompiledModel, result: LmmResult | GlmmResult, control: Control, thresholds: Thresholds, beside: int = 0
) -> c.OptimizerCertificate:
    """The certificate as an artifact. ``beside`` so many parameters were searched beside the covariance parameters."""
    e = result.certificate
    held = boundary_indices(model, result.theta)
    cones = tuple(
        c.ConeRecord(
            term_id=term_id(model.blocks[cone.term].term), group=cone.group, width=cone.width, rank=cone.rank,
            null_minimum=_known(cone.null_minimum), null_maximum=_known(cone.null_maximum), satisfied=cone.satisfied,
            classification=_classification(cone, model.blocks[cone.term].family),
        )
        for cone in e.cones
    )
    # no free parameter while some are not zero: the objective was not finite around the point, and there is no Hessian
    looked = e.quality != "not_assessed" and (e.n_free > 0 or (len(held) == model.n_theta and not beside))
    found = looked or e.quality == "not_assessed"
    n_free = e.n_free - beside if looked else model.n_theta - len(held)
    known = looked and e.n_free > 0
    return c.OptimizerCertificate(
        status=e.status,
        quality=e.quality,
        reason=e.reason,
        optimizer="newton_average_information",
        objective=finite(e.objective),
        caller_set=caller_set(control),
        stop=c.OptimizerStop(
            code=e.stop, acceptable=e.stop != EXHAUSTED, budget_exhausted=e.stop == EXHAUSTED, evaluations=e.evaluations,
            max_evaluations=control.max_evaluations, iterations=e.iterations, restarts=e.escapes,
            certificate_evaluations=e.certificate_evaluations, objective=finite(e.objective),
        ),
        parameter_space=c.ParameterSpace(
            n_theta=model.n_theta, n_free=n_free, n_boundary=model.n_theta - n_free, boundary_indices=held, n_beside=beside
        ),
        sample_size=c.SampleSize(
            n_observations=model.frame.n, n_theta=model.n_theta, observations_per_theta=model.frame.n / model.n_theta
        ),
        gradient=c.GradientEvidence(
            method="exact", scaled_norm=finite(e.gradient_norm) if found else None,
            newton_decrement=finite(e.newton_decrement) if found else None,
        ),
        hessian=c.HessianEvidence(
            method=e.hessian_route,
            min_eigenvalue=finite(e.hessian_minimum) if known else None,
            condition_number=finite(e.hessian_condition) if known and e.hessian_condition > 0.0 else None,
            rank=e.hessian_rank,
            expected_rank=n_free + beside,
        ),
        cones=cones,
        checks=_checks(e, cones, thresholds) if looked else (),
    )


def _checks(e: Certificate, cones: tuple[c.ConeRecord, ...], thresholds: Thresholds) -> tuple[c.Check, ...]:
    tolerance = thresholds.converged_newton_decrement
    checks: list[c.Check] = [
        c.GradientCheck(check="free_gradient", passed=e.newton_decrement <= tolerance, value=finite(e.newton_decrement),
                        tolerance=tolerance)
    ]
    checks += [
        c.BoundaryCheck(check="boundary_gradient", passed=cone.satisfied, value=cone.null_minimum, term_id=cone.term_id)
        for cone in cones
        if cone.rank < cone.width
    ]
    if e.n_free:
        checks.append(c.HessianCheck(check="hessian_positive_on_face", passed=e.hessian_minimum >= -FLAT,
                                     min_eigenvalue=finite(e.hessian_minimum)))
    checks.append(c.RankCheck(check="information_rank", passed=e.hessian_rank == e.n_free, rank=e.hessian_rank,
                              expected=e.n_free))
    return tuple(checks)


def _why_not_optimized(record: c.OptimizerCertificate) -> str:
    failed = [check.check for check in record.checks if not check.passed]
    if record.stop.budget_exhausted:
        return "evaluation_limit_reached"
    if not record.checks:
        return "objective_not_finite"
    if "free_gradient" in failed:
        return "no_further_descent"
    return "invalid_boundary_stop" if "boundary_gradient" in failed else "negative_curvature"


def certificate_findings(record: c.OptimizerCertificate, term_ids: tuple[str, ...]) -> Iterator[Finding]:
    """What the certificate gives rise to."""
    stop = record.stop
    if record.status == "not_identifiable":
        reason = "exact_fit" if record.quality == "failed" else "flat_direction"
        yield Finding(code="not_identifiable", severity="error", stage="certification", affected_terms=term_ids,
                      payload={"reason": reason, "rank": record.hessian.rank, "expected_rank": record.hessian.expected_rank})
    elif record.status == "not_optimized":
        yield Finding(
            code="optimizer_nonconvergence", severity="warning", stage="optimization",
            payload={"reason": _why_not_optimized(record), "evaluations": stop.evaluations,
                     "max_evaluations": stop.max_evaluations, "budget_exhausted": stop.budget_exhausted,
                     "newton_decrement": record.gradient.newton_decrement},
        )
    if record.quality == "not_assessed":
        yield Finding(code="optimizer_not_assessed", severity="info", stage="certification",
                      payload={"reason": "no_certificate_requested"})
    if stop.restarts:
        yield Finding(code="optimizer_recovery", severity="info", stage="optimization",
                      payload={"restarts": stop.restarts, "reason": "restarted_from_lower_point"})


def rank_findings(model: CompiledModel, result: LmmResult | GlmmResult) -> Iterator[Finding]:
    """Columns that the fit left out: what the audit of a design without rows cannot tell."""
    if result.aliased.any():
        names = [name for name, gone in zip(model.fixed.names, result.aliased.tolist(), strict=True) if gone]
        yield Finding(
            code="fixed_effect_rank_deficient", severity="warning", stage="estimability", affected_terms=tuple(names),
            payload={"rank": int((~result.aliased).sum()), "requested_columns": len(model.fixed.names),
                     "aliased_columns": names},
        )
