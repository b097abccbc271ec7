"""Building the artifacts from numbers, when they are first asked for."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from mixeff_fast._version import __version__
from mixeff_fast.compile.design import design_audit
from mixeff_fast.compile.design_columns import examined_columns
from mixeff_fast.compile.fingerprint import fingerprint
from mixeff_fast.compile.parameters import parameter_traces, theta_maps
from mixeff_fast.compile.policy import compiled_state, recommendations
from mixeff_fast.compile.roles import observed_roles
from mixeff_fast.compile.semantic import cross_card_constraints, semantic_model
from mixeff_fast.compile.semantic_findings import semantic_findings
from mixeff_fast.fit import effective
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.evidence import caller_set, certificate_findings, certificate_record, rank_findings
from mixeff_fast.fit.glmm_evidence import glmm_certificate_record, glmm_findings
from mixeff_fast.fit.tables import varcorr_rows
from mixeff_fast.formula import render
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models import artifacts_glmm as glmm
from mixeff_fast.models import artifacts_tables as tables
from mixeff_fast.models.inference_records import inference_table, route_records
from mixeff_fast.report.cards import card
from mixeff_fast.report.messages import diagnostic
from mixeff_fast.report.verdict import verdict
from mixeff_fast.schemas import compiled as c
from mixeff_fast.schemas import fit as f
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import CompilerPolicy, Thresholds

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mixeff_fast.models.fitted import FittedModel
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.schemas.certificate import OptimizerCertificate
    from mixeff_fast.schemas.glmm import GlmmFit
    from mixeff_fast.schemas.inference import FixedEffectCovarianceMatrix
    from mixeff_fast.schemas.semantic import RoleOrigin

    Fit: TypeAlias = "LinearMixedModel | GeneralizedLinearMixedModel"

THRESHOLDS = Thresholds()
# findings that a smaller random part answers
ANSWERED = ("covariance_too_rich", "random_slope_unsupported")
def merged(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Every finding once, in order: the same code, terms and payload are the same finding."""
    kept: dict[str, Finding] = {}
    for finding in findings:
        identity = finding.model_dump_json(include={"code", "affected_terms", "payload"})
        kept.setdefault(identity, finding)
    return tuple(kept.values())


def _origin(declared: bool) -> RoleOrigin:
    return "declared_by_user" if declared else "observed_from_data"


def compiled_artifact(spec: ModelSpec) -> c.CompiledModelArtifact:
    """Describe a compiled model."""
    model, requested, call = spec.compiled, spec.requested, spec.call
    frame = model.frame
    roles = dict(call.roles)
    columns = examined_columns(call.data, frame, call.audit_columns)
    with single_threaded_blas():
        audit, design_findings = design_audit(requested, columns, roles, THRESHOLDS)
    semantic = semantic_model(requested, roles)
    declared = {record.group for record in semantic.roles}
    semantic = semantic.model_copy(update={"roles": observed_roles(requested, audit, roles)})
    constraints = cross_card_constraints(semantic)
    audits = {record.term_id: record for record in audit.random_terms}
    advice = recommendations(semantic, audit, THRESHOLDS)
    changed = requested is not model
    findings = merged(
        [*semantic_findings(requested, semantic, audit.covariance_kernels.nesting), *design_findings]
    )
    return c.CompiledModelArtifact(
        header=c.CompiledModelArtifact.make_header(__version__),
        model_boundary=tables.model_boundary(model.family),
        requested_formula=requested.formula.text,
        canonical_formula=render(requested.formula),
        effective_formula=spec.formula if changed else None,
        semantic_model=semantic,
        effective_semantic_model=semantic_model(model, roles) if changed else None,
        coefficients=model.fixed.names,
        theta_maps=theta_maps(model),
        parameter_traces=parameter_traces(model),
        design_audit=audit,
        random_term_cards=tuple(
            card(term, audits[term.id], constraints, _origin(term.group.name in declared)) for term in semantic.random_terms
        ),
        cross_card_constraints=constraints,
        compiler_policy=CompilerPolicy(
            intent=call.intent, apply_design_time_reductions=call.intent == "confirmatory_design_compiled"
        ),
        policy_recommendations=advice,
        reductions=spec.reductions,
        model_state=compiled_state(requested, semantic, advice, spec.reductions, model if changed else None),
        thresholds=THRESHOLDS,
        levels=tables.level_records(model),
        data=c.DataRecord(
            n_source_rows=frame.n_source_rows, n_rows=frame.n, missing=dict(frame.na_counts),
            weighted=frame.weights is not None, has_offset=frame.offset is not None, fingerprint=fingerprint(frame),
        ),
        plan=tables.plan_record(model),
        reproducibility=c.CompilationRecord(
            intent=call.intent, na_action=call.na_action, rows_in_memory=frame.response is not ROWS_ELSEWHERE,
            package_versions=tables.package_versions(),
        ),
        diagnostics=tuple(map(diagnostic, findings)),
        response_coding=tables.response_record(frame),
    )


def _of_the_fitted_model(compiled: c.CompiledModelArtifact) -> Iterable[Finding]:
    """What was found before the fit, but for what design-time reductions answered."""
    answered = {reduction.affected_term for reduction in compiled.reductions}
    for finding in compiled.diagnostics:
        if finding.code not in ANSWERED or not answered.issuperset(finding.affected_terms):
            yield finding


class _Evidence(NamedTuple):
    """What linear and generalized linear mixed models tell in ways of their own."""

    certificate: OptimizerCertificate
    findings: Iterator[Finding]
    covariance: FixedEffectCovarianceMatrix
    approximated: GlmmFit | None


def _evidence(fit: Fit, thresholds: Thresholds, terms: tuple[str, ...]) -> _Evidence:
    model = fit.spec.compiled
    if model.family is None:
        linear = cast("LinearMixedModel", fit)
        certificate = certificate_record(model, linear.result, fit.control, thresholds)
        return _Evidence(
            certificate, certificate_findings(certificate, terms),
            tables.covariance_matrix(model, linear.result), None,
        )
    generalized = cast("GeneralizedLinearMixedModel", fit)
    certificate = glmm_certificate_record(model, generalized.result, fit.control, thresholds)
    return _Evidence(
        certificate, glmm_findings(certificate, generalized._separation, terms), glmm.glmm_covariance(generalized),
        glmm.glmm_record(generalized),
    )


def fit_artifact(fitted: FittedModel) -> f.FitArtifact:
    """Describe a fitted model. Holds the compiled artifact, and the SHA-256 of its JSON."""
    fit = cast("Fit", fitted)
    model, result, compiled = fit.spec.compiled, fit.result, fit.spec.artifact
    subject = fit._new_inference_subject()
    thresholds = compiled.thresholds
    semantic = compiled.effective_semantic_model or compiled.semantic_model
    held = effective.boundary_indices(model, result.theta)
    covariances = effective.effective_covariances(model, result, semantic, thresholds)
    evidence = _evidence(fit, thresholds, tuple(term.id for term in semantic.random_terms))
    unranked = compiled.design_audit.fixed_effects.rank.status == "not_assessed"
    findings = merged(
        [
            *(rank_findings(model, result) if unranked else ()),
            *evidence.findings,
            *effective.covariance_findings(model, result, covariances, thresholds),
        ]
    )
    known = [*_of_the_fitted_model(compiled), *findings]
    return f.FitArtifact(
        header=f.FitArtifact.make_header(__version__),
        compiled_sha256=hashlib.sha256(compiled.model_dump_json().encode()).hexdigest(),
        compiled=compiled,
        summary=tables.fit_summary(fit),
        fixed_effects=inference_table(subject, "asymptotic"),
        inference_routes=route_records(subject.facts),
        fixed_effect_covariance=evidence.covariance,
        varcorr=tables.varcorr_records(fit, thresholds.singular_relative_sd),
        effective_covariance=covariances,
        reductions=(*compiled.reductions, *effective.boundary_reductions(covariances)),
        covariance_transitions=effective.covariance_transitions(model, result, covariances),
        parameter_traces=parameter_traces(model, result.theta.tolist(), list(varcorr_rows(model, result)), held),
        model_state=effective.fitted_state(
            compiled.model_state, fit.formula, covariances, result.certificate.status
        ),
        certificate=evidence.certificate,
        verdict=verdict(evidence.certificate, known, thresholds.certified_newton_decrement),
        reproducibility=f.FitRecord(
            max_evaluations=fit.control.max_evaluations, tolerance=fit.control.tolerance, start=fit.control.start,
            caller_set=caller_set(fit.control),
        ),
        diagnostics=tuple(map(diagnostic, findings)),
        glmm=evidence.approximated,
    )
