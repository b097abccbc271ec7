"""Building the artifacts from numbers, when they are first asked for."""

from __future__ import annotations

import hashlib
import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.fit.tables import varcorr_rows
from mixeff_fast.formula import render
from mixeff_fast.frame import FactorVariable, Levels
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.inference.wald import standard_errors, wald_p_value
from mixeff_fast.schemas import compiled as c
from mixeff_fast.schemas import fit as f

if TYPE_CHECKING:
    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.models.lmm import LinearMixedModel


def _levels(model: CompiledModel) -> tuple[c.LevelRecord, ...]:
    records: list[tuple[str, Levels, str | None]] = []
    for key, variable in model.frame.variables.items():
        if isinstance(variable, FactorVariable):
            records.append((key, variable.levels, variable.contrast.name))
    for name, group in model.frame.groups.items():
        records.append((name, group.levels, None))
    return tuple(
        c.LevelRecord(variable=key, n_levels=len(levels), order=levels.order, reference=str(levels.labels[0]),
                      contrast=contrast)
        for key, levels, contrast in records
    )


def compiled_artifact(model: CompiledModel) -> c.CompiledModelArtifact:
    """Describe a compiled model."""
    frame, plan = model.frame, model.plan
    names = [factor.group.name for factor in model.factors]
    terms, slots = [], []
    for i, block in enumerate(model.blocks):
        terms.append(
            c.RandomTermRecord(
                term_id=f"r{i}",
                source_syntax=block.term.written,
                group=names[block.factor],
                path=block.term.path,
                covariance_family=block.family,
                basis=block.names,
                block_group=block.term.block_group,
                n_levels=model.factors[block.factor].n_levels,
                n_parameters=len(block.rows),
            )
        )
        for j, (row, column) in enumerate(zip(block.rows.tolist(), block.columns.tolist(), strict=True)):
            index = block.theta.start + j
            slots.append(
                c.ThetaSlot(global_index=index, name=model.theta_names[index], term_id=f"r{i}", lambda_row=row,
                            lambda_col=column, lower_bound=0.0 if row == column else None)
            )
    diagnostics = tuple(
        c.Diagnostic(code=note.code, severity="info", stage="semantic_ir", message=note.message,
                     affected_terms=() if note.column is None else (note.column,), payload=note.payload)
        for note in frame.notes
    )
    fixed = (["1"] if model.formula.fixed.intercept else []) + [t.name for t in model.formula.fixed.terms]
    return c.CompiledModelArtifact(
        header=c.CompiledModelArtifact.make_header(__version__),
        model_kind="linear_mixed_model",
        requested_formula=model.formula.text,
        canonical_formula=render(model.formula),
        response=model.formula.response.name,
        fixed_terms=tuple(fixed),
        coefficients=model.fixed.names,
        random_terms=tuple(terms),
        theta=tuple(slots),
        levels=_levels(model),
        data=c.DataRecord(n_source_rows=frame.n_source_rows, n_rows=frame.n, missing=dict(frame.na_counts),
                          weighted=frame.weights is not None, has_offset=frame.offset is not None),
        plan=c.FactorizationPlan(
            chain=tuple(names[k] for k in plan.order[: plan.n_chain]),
            trunk=tuple(names[k] for k in plan.order[plan.n_chain :]),
            trunk_kind=plan.trunk,
            trunk_columns=plan.trunk_size,
            supernodes=0 if plan.supernodes is None else len(plan.supernodes.parent),
            flops=plan.flops,
            inverse_flops=plan.inverse_flops,
            bytes=plan.bytes,
            alternatives=tuple(
                c.TrunkAlternative(
                    name=a.name, trunk=a.trunk, chain=tuple(names[k] for k in a.chain), flops=a.flops,
                    inverse_flops=a.inverse_flops, bytes=a.bytes, chosen=a.chosen, why=a.why,
                )
                for a in plan.alternatives
            ),
        ),
        diagnostics=diagnostics,
    )


def coefficient_records(model: CompiledModel, result: LmmResult) -> tuple[f.Coefficient, ...]:
    """Wald z rows, one per fixed-effect column."""
    rows = []
    errors = standard_errors(result.vcov)
    for name, estimate, error in zip(model.fixed.names, result.beta.tolist(), errors.tolist(), strict=True):
        if math.isnan(estimate):
            rows.append(
                f.Coefficient(term=name, estimate=None, std_error=None, statistic=None, statistic_name="z", p_value=None,
                              log_p_value=None, method="asymptotic_wald_z", status="not_estimable",
                              reason_code="aliased_column")
            )
            continue
        z = estimate / error
        p, log_p = wald_p_value(z)
        rows.append(
            f.Coefficient(term=name, estimate=estimate, std_error=error, statistic=z, statistic_name="z", p_value=p,
                          log_p_value=log_p, method="asymptotic_wald_z", status="available", reason_code=None)
        )
    return tuple(rows)


def certificate_record(result: LmmResult) -> f.OptimizerCertificate:
    """The certificate as an artifact."""
    e = result.certificate
    cones = tuple(
        f.ConeRecord(term_id=f"r{cone.term}", group=cone.group, width=cone.width, rank=cone.rank,
                     null_minimum=cone.null_minimum, null_maximum=cone.null_maximum, satisfied=cone.satisfied)
        for cone in e.cones
    )
    return f.OptimizerCertificate(
        status=e.status, quality=e.quality, reason=e.reason, optimizer="newton_average_information", stop=e.stop,
        objective=e.objective, evaluations=e.evaluations, iterations=e.iterations,
        certificate_evaluations=e.certificate_evaluations, restarts=e.escapes, gradient_norm=e.gradient_norm,
        newton_decrement=e.newton_decrement, hessian_route=e.hessian_route, hessian_minimum_eigenvalue=e.hessian_minimum,
        hessian_condition_number=e.hessian_condition, hessian_rank=e.hessian_rank, n_free=e.n_free,
        n_boundary=e.n_boundary, cones=cones,
    )


def fit_artifact(fit: LinearMixedModel) -> f.FitArtifact:
    """Describe a fitted model; refers to the compiled artifact by the SHA-256 of its JSON."""
    model, result = fit.spec.compiled, fit.result
    known = ~result.aliased
    errors = standard_errors(result.vcov)[known]
    correlation = result.vcov[np.ix_(known, known)] / np.outer(errors, errors)
    quantiles = None
    if model.frame.response is not ROWS_ELSEWHERE:
        quantiles = np.quantile(fit.residuals(type="pearson", scaled=True), [0.0, 0.25, 0.5, 0.75, 1.0])
    diagnostics = []
    if result.aliased.any():
        names = tuple(name for name, gone in zip(model.fixed.names, result.aliased.tolist(), strict=True) if gone)
        diagnostics.append(
            c.Diagnostic(
                code="fixed_effect_rank_deficient", severity="warning", stage="design_audit", affected_terms=names,
                message=f"fixed-effect columns left out as combinations of others: {', '.join(names)}",
                payload={"rank": int(known.sum()), "requested_columns": len(known), "aliased_columns": list(names)},
            )
        )
    return f.FitArtifact(
        header=f.FitArtifact.make_header(__version__),
        compiled_sha256=hashlib.sha256(fit.spec.as_json().encode()).hexdigest(),
        formula=fit.formula,
        criterion="REML" if result.reml else "ML",
        objective=result.objective,
        loglik=fit.loglik,
        aic=fit.aic,
        bic=fit.bic,
        deviance=None if result.reml else fit.deviance,
        n_rows=fit.nobs,
        n_parameters=fit.n_parameters,
        df_residual=fit.df_residual,
        n_levels=fit.ngrps,
        theta=dict(zip(model.theta_names, result.theta.tolist(), strict=True)),
        sigma=result.sigma,
        is_singular=fit.is_singular(),
        coefficients=coefficient_records(model, result),
        correlation=tuple(tuple(row) for row in correlation.tolist()),
        varcorr=tuple(
            f.VarCorrRow(group=g, var1=a, var2=b, vcov=v, sdcor=None if math.isnan(s) else s)
            for g, a, b, v, s in varcorr_rows(model, result)
        ),
        scaled_residuals=None if quantiles is None else tuple(quantiles.tolist()),
        certificate=certificate_record(result),
        diagnostics=tuple(diagnostics),
    )
