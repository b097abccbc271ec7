"""Lines on what the fit supports, the policy, the optimizer, inference and diagnostics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.report import audit_glmm
from mixeff_fast.report.audit_lines import several
from mixeff_fast.report.audit_random import term_labels
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from mixeff_fast.report.audit_lines import Lines
    from mixeff_fast.schemas.audit import Section, Tag
    from mixeff_fast.schemas.covariance import Direction

NOTHING_FOLLOWS = "none"
CHECK_VALUES = {
    "free_gradient": "{value}, tolerance {tolerance}",
    "boundary_gradient": "{term_id}: {value}",
    "hessian_positive_on_face": "smallest eigenvalue {min_eigenvalue}",
    "information_rank": "{rank} of {expected}",
}


def effective_covariance(lines: Lines) -> None:
    """Directions that the fit supports, and those it does not."""
    section: Section = "Effective Covariance"
    if lines.fit is None:
        lines.before_fit(section, "effective covariance")
        return
    labels = term_labels(lines, effective=True)
    tags: dict[str, Tag] = {"full_rank": "ok", "reduced_rank": "info", "not_assessed": "not_assessed"}
    for i, term in enumerate(lines.fit.effective_covariance):
        source, label = f"/effective_covariance/{i}", labels[term.term_id]
        follows = "" if term.inference_consequence == NOTHING_FOLLOWS else "; {inference_consequence:words}"
        lines.add(section, label, tags[term.status], source,
                  f"{{source_syntax}}: supported rank {{supported_rank}} of {{requested_rank}}{follows}")
        for kind, directions in (("directions", term.directions), ("unsupported_directions", term.unsupported_directions)):
            name = "supported direction" if kind == "directions" else "direction without support in this fit"
            for j, direction in enumerate(directions):
                _direction(lines, section, f"{label}, {name}", f"{source}/{kind}/{j}", direction)
        if term.interpretable_submodel is not None:
            lines.add(
                section, f"{label}, smaller model", "info", f"{source}/interpretable_submodel",
                "the supported direction loads {dominant_loading} on {dominant_basis}; {formula} has an objective that is "
                "{objective_gap} higher; within tolerance: {within_tolerance}",
            )


def _direction(lines: Lines, section: Section, label: str, source: str, direction: Direction) -> None:
    parts = [
        f"{', ' if k else ''}{{loadings/{k}/loading}} {{loadings/{k}/basis}}" for k in range(len(direction.loadings))
    ]
    lines.add(section, label, "info", source, "{label}: ", *parts,
              "; variance {eigenvalue}, as a share of the term's {variance_explained}")


def policy_recommendations(lines: Lines) -> None:
    """What the compiler was asked to do, did, and would do."""
    section: Section = "Policy Recommendations"
    root = lines.root
    lines.add(section, "intent", "info", f"{root}/compiler_policy",
              "{intent:words}; changes at compile time: {apply_design_time_reductions}")
    recommendations = lines.compiled.policy_recommendations
    if not recommendations:
        lines.add(section, "changes the policy would make", "ok", f"{root}/policy_recommendations", "{}")
    for i, each in enumerate(recommendations):
        to = " -> {recommended_covariance:words}" if each.recommended_covariance is not None else ""
        tag: Tag = "info" if each.action == "mark_not_assessable" else "warning"
        lines.add(section, f"policy on {each.term_id}", tag, f"{root}/policy_recommendations/{i}",
                  f"{{source_syntax}}: {{action:words}}, as {{reason:words}}; covariance {{current_covariance:words}}{to}",
                  *(["; {inference_consequence:words}"] if each.inference_consequence != NOTHING_FOLLOWS else []))
    for i, reduction in enumerate(lines.artifact.reductions):
        to = " -> {replacement_term}" if reduction.replacement_term is not None else ""
        lines.add(section, f"change made to {reduction.affected_term}", "info", f"/reductions/{i}",
                  f"{{trigger:words}}: {{requested}}{to}; {{reason:words}}",
                  *(["; {inference_consequence:words}"] if reduction.inference_consequence != NOTHING_FOLLOWS else []))


def optimizer(lines: Lines) -> None:
    """Verdict and evidence."""
    section: Section = "Optimizer"
    if lines.fit is None:
        lines.before_fit(section, "certificate")
        return
    certificate = lines.fit.certificate
    tag: Tag = "ok" if certificate.quality == "certified" else "info"
    if not certificate.status.startswith("converged"):
        tag = "not_assessed" if certificate.status == "not_assessed" else "error"
    levels: dict[str, Tag] = {"certified": "ok", "ok": "ok", "caution": "warning", "failed": "error"}
    lines.add(section, "verdict", levels.get(lines.fit.verdict.optimizer.level, "not_assessed"), "/verdict/optimizer",
              "{level:words}; {headline}")
    lines.add(section, "status", tag, "/certificate", "{status:words}; {quality:words}",
              *(["; {reason:words}"] if certificate.reason else []))
    lines.add(section, "objective", "info", "/summary", "{criterion} criterion {objective}")
    glmm = lines.fit.glmm
    if glmm is not None:
        audit_glmm.estimator(lines, glmm)
    lines.add(section, "optimizer", "info", "/certificate", "{optimizer:words}; settings of the caller: {caller_set}")
    lines.add(section, "search", "ok" if certificate.stop.acceptable else "warning", "/certificate/stop",
              "{code:words}; evaluations: {evaluations} of at most {max_evaluations}, for the evidence "
              "{certificate_evaluations}; iterations: {iterations}; restarts: {restarts}")
    if glmm is not None and certificate.inner is not None:
        audit_glmm.inner_solve(lines, glmm, certificate.inner)
    space = ", namely {boundary_indices}" if certificate.parameter_space.n_boundary else ""
    space += "; searched with them: {n_beside}" if certificate.parameter_space.n_beside else ""
    lines.add(section, "parameters", "info", "/certificate/parameter_space",
              f"covariance parameters: {{n_theta}}, free: {{n_free}}, at zero: {{n_boundary}}{space}")
    ratio = "; rows per parameter: {observations_per_theta}" if certificate.sample_size.observations_per_theta else ""
    lines.add(section, "sample size", "info", "/certificate/sample_size",
              f"rows: {{n_observations}}; covariance parameters: {{n_theta}}{ratio}")
    lines.add(section, "gradient", "info", "/certificate/gradient",
              "{method:words}; largest scaled derivative {scaled_norm}; Newton decrement {newton_decrement}")
    lines.add(section, "hessian", "info", "/certificate/hessian",
              "{method:words}; rank {rank} of {expected_rank}; smallest eigenvalue {min_eigenvalue}, condition number "
              "{condition_number}")
    for i, cone in enumerate(certificate.cones):
        ends = "; derivatives along the others from {null_minimum} to {null_maximum}" if cone.null_minimum is not None else ""
        lines.add(section, f"covariance of {cone.term_id} by {cone.group}", "ok" if cone.satisfied else "error",
                  f"/certificate/cones/{i}", f"{{classification:words}}; {{rank}} of {{width}} directions have variance{ends}")
    for i, check in enumerate(certificate.checks):
        value = CHECK_VALUES[check.check]
        if check.check == "boundary_gradient" and check.value is None and check.passed:
            value = "{term_id}: no direction without variance"
        lines.add(section, f"check of {words(check.check)}", "ok" if check.passed else "error", f"/certificate/checks/{i}",
                  value, "; passed: {passed}")


def _routes(lines: Lines) -> None:
    """What each route of inference does on this fit."""
    assert lines.fit is not None
    for i, route in enumerate(lines.fit.inference_routes):
        tag: Tag = "ok" if route.status == "available" else "not_assessed" if route.status == "not_assessed" else "info"
        why = "; {reason_code:words}" if route.reason_code is not None else ""
        how = "; reliability {reliability:words}: {reliability_reason:words}" if route.reliability_reason is not None else ""
        cost = "; evaluations: {evaluations}, refits: {refits}" if route.evaluations or route.refits else ""
        auto = "; taken where no route is named" if route.auto else ""
        lines.add("Inference", f"route {words(route.method)}", tag, f"/inference_routes/{i}",
                  f"{{status:words}}{how}{why}{cost}{auto}")


def inference(lines: Lines) -> None:
    """What each route does, and one line for each route and status that rows of the fixed effects have."""
    section: Section = "Inference"
    if lines.fit is None:
        lines.before_fit(section, "fixed effects")
        return
    _routes(lines)
    found: dict[tuple[str, str, str | None, str], list[int]] = {}
    for i, row in enumerate(lines.fit.fixed_effects.rows):
        found.setdefault((row.method, row.status, row.reason_code, row.reliability), []).append(i)
    tags: dict[str, Tag] = {"available": "ok", "not_assessed": "not_assessed", "not_estimable": "warning"}
    for (method, status, code, _), rows in found.items():
        first = rows[0]
        why = f"; {{{first}/reason_code:words}}" if code is not None else ""
        how = f"; {{{first}/reliability_reason:words}}" if lines.fit.fixed_effects.rows[first].reliability_reason else ""
        lines.add(section, f"rows by {words(method)}", tags.get(status, "info"), "/fixed_effects/rows",
                  f"{{{first}/status:words}}; reliability {{{first}/reliability:words}}{how}{why}: ",
                  *several(f"{i}/label" for i in rows))
    if not found:
        lines.add(section, "fixed effects", "ok", "/fixed_effects/rows", "{}")
    if lines.fit.glmm is not None:
        audit_glmm.held(lines, lines.fit.glmm)
    covariance = lines.fit.fixed_effect_covariance
    why = "; {reason_code:words}" if covariance.reason_code is not None else ""
    lines.add(section, "covariance matrix", "ok" if covariance.status == "available" else "not_assessed",
              "/fixed_effect_covariance",
              f"{{status:words}}, {{method:words}}; reliability {{reliability:words}}; rank {{rank}} of {{expected_rank}}{why}")


def diagnostics(lines: Lines) -> None:
    """Every fact with a code."""
    section: Section = "Diagnostics"
    found = [(f"{lines.root}/diagnostics/{i}", d) for i, d in enumerate(lines.compiled.diagnostics)]
    if lines.fit is not None:
        found += [(f"/diagnostics/{i}", d) for i, d in enumerate(lines.fit.diagnostics)]
    if not found:
        lines.add(section, "diagnostics", "ok", "/diagnostics", "{}")
    for source, each in found:
        affected = " ({affected_terms})" if each.affected_terms else ""
        lines.add(section, each.code.replace("_", " "), each.severity, source, f"{{message}}{affected}")
