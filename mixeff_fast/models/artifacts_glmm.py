"""The parts of a fit's artifact that generalized linear mixed models have otherwise, or alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.effective import boundary_indices
from mixeff_fast.fit.evidence import finite
from mixeff_fast.fit.glmm_workspace import FISHER
from mixeff_fast.inference import gates
from mixeff_fast.models.artifacts_tables import doubt_of
from mixeff_fast.schemas import glmm as g
from mixeff_fast.schemas import inference as i

if TYPE_CHECKING:
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel


def without_matrix(fit: GeneralizedLinearMixedModel) -> str | None:
    """Why the covariance matrix of the fixed effects says nothing, if so."""
    result, check = fit.result, fit._separation
    known = ~result.aliased
    if check is not None and check.separated:
        return gates.SEPARATED
    if not np.all(np.isfinite(result.vcov[np.ix_(known, known)])):
        return gates.NOT_FINITE
    joint = result.method == "joint_laplace" and bool(known.any())
    return gates.NO_INFORMATION if joint and result.vcov_route != "observed_information" else None


def glmm_covariance(fit: GeneralizedLinearMixedModel) -> i.FixedEffectCovarianceMatrix:
    """The covariance matrix of the fixed effects over what can be estimated."""
    model, result = fit.spec.compiled, fit.result
    names, known = model.fixed.names, ~result.aliased
    reason = without_matrix(fit)
    sound, profiled = reason is None, result.method == "pirls_profiled"
    rows = tuple(tuple(finite(value) for value in row) for row in result.vcov.tolist()) if sound else None
    method = "pirls_profiled_working_hessian" if profiled else "joint_laplace_observed_information"
    return i.FixedEffectCovarianceMatrix(
        coef_names=names,
        matrix=rows,
        method=method if sound else "unavailable",  # type: ignore[arg-type]
        status="available" if sound else "unavailable",
        reliability="not_available" if not sound else "low" if profiled or doubt_of(result) else "moderate",
        reason_code=reason,
        rank=int(known.sum()),
        expected_rank=len(names),
        aliased=tuple(name for name, kept in zip(names, known.tolist(), strict=True) if not kept),
    )


def _parts(result: GlmmResult) -> g.LikelihoodParts:
    laplace = result.deviance + result.penalty + result.logdet - 2.0 * result.saturated
    return g.LikelihoodParts(
        deviance=finite(result.deviance), penalty=finite(result.penalty), logdet=finite(result.logdet),
        saturated=finite(result.saturated), correction=finite(result.objective - laplace) if result.n_agq > 1 else None,
    )


def _parameter(fit: GeneralizedLinearMixedModel) -> g.FamilyParameterRecord | None:
    family, result = fit.family, fit.result
    if family.parameter_name is None or result.parameter is None:
        return None
    return g.FamilyParameterRecord(
        name=family.parameter_name, source="estimated" if family.estimates_parameter else "known",
        value=finite(result.parameter),
        log_std_error=None if result.parameter_error is None else finite(result.parameter_error),
    )


def glmm_record(fit: GeneralizedLinearMixedModel) -> g.GlmmFit:
    """Estimator, criterion and what they came to."""
    model, result, family = fit.spec.compiled, fit.result, fit.family
    n_nodes = result.n_agq ** max(factor.width for factor in model.factors) if result.n_agq > 1 else 1
    return g.GlmmFit(
        family=family.name,
        link=family.link,
        estimator=result.method,
        approximation="adaptive_gauss_hermite" if result.n_agq > 1 else "laplace",
        n_agq=result.n_agq,
        n_nodes=n_nodes,
        quadrature_size=n_nodes * model.frame.n if n_nodes > 1 else 1,
        response_constants="included",
        curvature="fisher" if family.name in FISHER else "observed",
        fixed_effects="profiled" if result.method == "pirls_profiled" else "joint",
        parameter=_parameter(fit),
        parts=_parts(result),
        inner=g.InnerWork(passes=result.passes, factorizations=result.factorizations, solves=result.solves),
        held=tuple(model.theta_names[k] for k in boundary_indices(model, result.theta)),
        covariance_route=result.vcov_route,
        inference=fit.inference,
    )
