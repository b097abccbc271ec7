"""The parts of artifacts that restate numbers: levels, plan, data, estimates."""

from __future__ import annotations

import importlib.metadata
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.fit.evidence import finite
from mixeff_fast.fit.lmm import LmmResult
from mixeff_fast.fit.tables import residual_deviation, varcorr_rows
from mixeff_fast.frame import FactorVariable, Levels
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models.subject import without_spread
from mixeff_fast.schemas import compiled as c
from mixeff_fast.schemas import inference as i
from mixeff_fast.schemas.covariance import VarCorrRow
from mixeff_fast.schemas.fit import FitSummary

if TYPE_CHECKING:
    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.families import Family
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.frame import ModelFrame
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel

LIBRARIES = ("numpy", "scipy", "numba", "polars")


GAUSSIAN = c.ModelBoundary(
    model_kind="linear_mixed_model", response_distribution="gaussian", link="identity",
    objective_approximation="exact_gaussian", optimizer_certificate_scope="exact_objective",
    family_parameter="dispersion", family_parameter_status="estimated",
)


def model_boundary(family: Family | None) -> c.ModelBoundary:
    """What kind of model it is. How the likelihood of a family is approximated is for the fit to say."""
    if family is None:
        return GAUSSIAN
    status: Literal["estimated", "known"] | None = "estimated" if family.estimates_parameter else "known"
    return c.ModelBoundary(
        model_kind="generalized_linear_mixed_model", response_distribution=family.name, link=family.link,
        objective_approximation="chosen_by_fit", optimizer_certificate_scope="approximated_objective",
        family_parameter=family.parameter_name,
        family_parameter_status=None if family.parameter_name is None else status, family_parameter_value=family.theta,
    )


def response_record(frame: ModelFrame) -> c.ResponseRecord:
    """How the response was read."""
    coding, family = frame.response_coding, frame.family
    n_trials = None
    if family is not None and family.name == "binomial":
        n_trials = frame.n if frame.trials is None else int(frame.trials.sum())
    return c.ResponseRecord(
        name=frame.formula.response.name, kind=coding.kind, failure=coding.failure, success=coding.success,
        n_trials=n_trials, n_zero_trials=coding.n_zero_trials,
    )


def level_records(model: CompiledModel) -> tuple[c.LevelRecord, ...]:
    """Every factor of the fixed effects, then every grouping factor."""
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


def plan_record(model: CompiledModel) -> c.FactorizationPlan:
    """The elimination plan with what else was considered."""
    plan = model.plan
    names = [factor.group.name for factor in model.factors]
    return c.FactorizationPlan(
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
    )


@cache
def package_versions() -> dict[str, str]:
    """Versions of the numerical libraries and of this package."""
    return {"mixeff_fast": __version__, **{name: importlib.metadata.version(name) for name in LIBRARIES}}


def doubt_of(result: LmmResult | GlmmResult) -> str | None:
    """The status of a fit whose standard errors are not those of an optimum, or not of the only one."""
    status = result.certificate.status
    return status if status in ("not_optimized", "not_identifiable") else None


def covariance_matrix(model: CompiledModel, result: LmmResult) -> i.FixedEffectCovarianceMatrix:
    """The covariance matrix of the fixed effects over what can be estimated."""
    names, known = model.fixed.names, ~result.aliased
    reason = without_spread(result)
    sound = reason is None
    rows = [[finite(value) for value in row] for row in result.vcov.tolist()] if sound else None
    return i.FixedEffectCovarianceMatrix(
        coef_names=names,
        matrix=None if rows is None else tuple(map(tuple, rows)),
        method="model_based" if sound else "unavailable",
        status="available" if sound else "unavailable",
        reliability="not_available" if not sound else "low" if doubt_of(result) else "high",
        reason_code=reason,
        rank=int(known.sum()),
        expected_rank=len(names),
        aliased=tuple(name for name, kept in zip(names, known.tolist(), strict=True) if not kept),
    )


def varcorr_records(fit: LinearMixedModel | GeneralizedLinearMixedModel, tolerance: float) -> tuple[VarCorrRow, ...]:
    """Variances, covariances and the residual. A variance is on the boundary by the rule of ``is_singular``: its standard
    deviation, for a column of the usual size, is below ``tolerance`` times what theta is relative to."""
    model, result = fit.spec.compiled, fit.result
    standard = fit._engine.assembled.standard
    sizes = []
    for block in model.blocks:
        own = slice(block.first, block.first + block.width)
        sizes += standard.z_scale[block.factor][own].tolist()
        sizes += [0.0] * (len(block.rows) - block.width if block.family == "full" else 0)
    least = tolerance * result.scale / standard.root_weight
    rows = list(varcorr_rows(model, result))
    return tuple(
        VarCorrRow(group=group, var1=a, var2=b, vcov=finite(v), sdcor=finite(s),
                   boundary=b is None and group != "Residual" and s * size <= least)
        for (group, a, b, v, s), size in zip(rows, [*sizes, *[0.0] * (len(rows) - len(sizes))], strict=True)
    )


def fit_summary(fit: LinearMixedModel | GeneralizedLinearMixedModel) -> FitSummary:
    """The numbers that describe a fit as a whole."""
    model, result = fit.spec.compiled, fit.result
    reml = isinstance(result, LmmResult) and result.reml
    sigma = residual_deviation(model, result)
    quantiles = None
    if model.frame.response is not ROWS_ELSEWHERE and (sigma is None or sigma > 0.0):
        residuals = fit.residuals(type="pearson", scaled=True)
        if np.isfinite(residuals).all():
            low, q1, median, q3, high = np.quantile(residuals, [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()
            quantiles = (low, q1, median, q3, high)
    return FitSummary(
        formula=fit.formula,
        criterion="REML" if reml else "ML",
        objective=finite(result.objective),
        loglik=finite(fit.loglik),
        aic=finite(fit.aic),
        bic=finite(fit.bic),
        deviance=None if reml else finite(fit.deviance),
        response_constants="included",
        n_rows=fit.nobs,
        n_parameters=fit.n_parameters,
        df_residual=fit.df_residual,
        n_levels=fit.ngrps,
        theta=dict(zip(model.theta_names, result.theta.tolist(), strict=True)),
        sigma=None if sigma is None else finite(sigma),
        is_singular=fit.is_singular(),
        evaluations=result.certificate.evaluations,
        scaled_residuals=quantiles,
    )
