"""The parts of artifacts that restate numbers: levels, plan, data, estimates."""

from __future__ import annotations

import importlib.metadata
import math
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.fit.evidence import finite
from mixeff_fast.fit.tables import varcorr_rows
from mixeff_fast.frame import FactorVariable, Levels
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models.subject import without_spread
from mixeff_fast.schemas import compiled as c
from mixeff_fast.schemas import inference as i
from mixeff_fast.schemas.covariance import VarCorrRow
from mixeff_fast.schemas.fit import FitSummary

if TYPE_CHECKING:
    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.models.lmm import LinearMixedModel

LIBRARIES = ("numpy", "scipy", "numba", "polars")


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


def _doubt(result: LmmResult) -> str | None:
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
        reliability="not_available" if not sound else "low" if _doubt(result) else "high",
        reason_code=reason,
        rank=int(known.sum()),
        expected_rank=len(names),
        aliased=tuple(name for name, kept in zip(names, known.tolist(), strict=True) if not kept),
    )


def varcorr_records(fit: LinearMixedModel, tolerance: float) -> tuple[VarCorrRow, ...]:
    """Variances, covariances and the residual. A variance is on the boundary by the rule of ``is_singular``: its standard
    deviation, for a column of the usual size, is below ``tolerance`` residual standard deviations."""
    model, result = fit.spec.compiled, fit.result
    standard = fit._engine.assembled.standard
    sizes = []
    for block in model.blocks:
        own = slice(block.first, block.first + block.width)
        sizes += standard.z_scale[block.factor][own].tolist()
        sizes += [0.0] * (len(block.rows) - block.width if block.family == "full" else 0)
    least = tolerance * result.sigma / standard.root_weight
    return tuple(
        VarCorrRow(group=group, var1=a, var2=b, vcov=finite(v), sdcor=finite(s),
                   boundary=b is None and group != "Residual" and s * size <= least)
        for (group, a, b, v, s), size in zip(varcorr_rows(model, result), [*sizes, 0.0], strict=True)
    )


def fit_summary(fit: LinearMixedModel) -> FitSummary:
    """The numbers that describe a fit as a whole."""
    model, result = fit.spec.compiled, fit.result
    quantiles = None
    if model.frame.response is not ROWS_ELSEWHERE and result.sigma > 0.0:
        found = np.quantile(fit.residuals(type="pearson", scaled=True), [0.0, 0.25, 0.5, 0.75, 1.0])
        low, q1, median, q3, high = found.tolist()
        quantiles = (low, q1, median, q3, high) if math.isfinite(low) and math.isfinite(high) else None
    return FitSummary(
        formula=fit.formula,
        criterion="REML" if result.reml else "ML",
        objective=finite(result.objective),
        loglik=finite(fit.loglik),
        aic=finite(fit.aic),
        bic=finite(fit.bic),
        deviance=None if result.reml else finite(fit.deviance),
        response_constants="included",
        n_rows=fit.nobs,
        n_parameters=fit.n_parameters,
        df_residual=fit.df_residual,
        n_levels=fit.ngrps,
        theta=dict(zip(model.theta_names, result.theta.tolist(), strict=True)),
        sigma=finite(result.sigma),
        is_singular=fit.is_singular(),
        evaluations=result.certificate.evaluations,
        scaled_residuals=quantiles,
    )
