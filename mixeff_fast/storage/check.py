"""Whether the numbers of a fit are those of its model and of its artifact."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.errors import SchemaError
from mixeff_fast.fit.crossproduct import kernel_plan
from mixeff_fast.fit.glmm import GlmmResult
from mixeff_fast.fit.tables import residual_deviation
from mixeff_fast.storage.arrays import require_finite

if TYPE_CHECKING:
    from typing import Any

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.schemas.glmm import GlmmFit
    from mixeff_fast.storage.state import CrossState

# what a fit may be whose numbers are not finite: one whose objective is not
_FAILED = ("not_optimized", "not_identifiable")
# quadrature nodes per dimension that a fit may have
MOST_NODES = 50


def _require(condition: bool, what: str) -> None:
    if not condition:
        raise SchemaError(f"{what} do not fit the model; write it again with save()")


def check_compiled(model: CompiledModel, artifact: CompiledModelArtifact, digest: str | None) -> None:
    """The compiled model is the one that its artifact describes; ``digest`` is the hash of its data."""
    _require(artifact.coefficients == model.fixed.names, "the coefficients in the artifact")
    slots = sorted((slot.global_index, slot.name) for record in artifact.theta_maps for slot in record.theta_slots)
    _require(slots == list(enumerate(model.theta_names)), "the parameters in the artifact")
    _require(artifact.data.n_rows == model.frame.n and artifact.data.n_source_rows == model.frame.n_source_rows,
             "the rows in the artifact")
    boundary, family = artifact.model_boundary, model.family
    expected = ("gaussian", "identity", None) if family is None else (family.name, family.link, family.theta)
    _require((boundary.response_distribution, boundary.link, boundary.family_parameter_value) == expected,
             "the family in the artifact")
    _check_terms(artifact, len(model.blocks))
    _require(artifact.data.fingerprint.digest == digest, "the data fingerprint in the artifact and the data")


def _check_terms(artifact: CompiledModelArtifact, n_terms: int) -> None:
    """Every record of a term is of one that the model has, and no term is without those that verbs look up."""
    effective = artifact.effective_semantic_model or artifact.semantic_model
    known = [term.id for term in artifact.semantic_model.random_terms]
    fitted = [term.id for term in effective.random_terms]
    distinct = len(set(known)) == len(known) and set(fitted) <= set(known)
    _require(len(fitted) == n_terms and distinct, "the terms in the artifact")
    _require([record.term_id for record in artifact.design_audit.random_terms] == known, "the audits of terms in the artifact")
    _require([card.term_id for card in artifact.random_term_cards] == known, "the cards of terms in the artifact")
    _require({record.term_id for record in artifact.theta_maps} == set(fitted), "the parameters of terms in the artifact")
    _require(_named_terms(artifact.model_dump()) <= set(known), "the names of terms in the artifact")


def _named_terms(content: Any) -> set[str]:
    """All term ids, wherever they stand."""
    if isinstance(content, dict):
        own = {value for key, value in content.items() if key == "term_id" and isinstance(value, str)}
        return own.union(*map(_named_terms, content.values()))
    return set().union(*map(_named_terms, content)) if isinstance(content, list | tuple) else set()


def check_result(model: CompiledModel, result: LmmResult | GlmmResult) -> None:
    """Shapes, NaN only where a coefficient is aliased, finite numbers and a positive sigma.

    Raises
    ------
    SchemaError
        Anything else.
    """
    p, widths = len(model.fixed.names), [factor.width for factor in model.factors]
    size = sum(width * width for width in widths)
    beside = _beside(model, result)
    shapes = [(result.theta, (model.n_theta,)), (result.beta, (p,)), (result.aliased, (p,)), (result.vcov, (p, p)),
              (result.point, (size + beside,)) if isinstance(result, GlmmResult) else (result.lam, (size,))]
    _require(len(result.effects) == len(result.spherical) == len(widths) and len(result.singular) == len(model.blocks),
             "the numbers of terms")
    for k, factor in enumerate(model.factors):
        shapes += [(array[k], (factor.n_levels, factor.width)) for array in (result.effects, result.spherical)]
    shapes += [(values, (block.width,)) for values, block in zip(result.singular, model.blocks, strict=True)]
    _require(all(array.shape == shape for array, shape in shapes), "the shapes of arrays")
    _require(result.certificate.n_free + result.certificate.n_boundary <= model.n_theta + beside or model.n_theta == 0,
             "the counts of the certificate")
    _require(all(0 <= cone.term < len(model.blocks) for cone in result.certificate.cones), "the terms of the certificate")
    _check_information(result)
    if isinstance(result, GlmmResult):
        _check_approximation(model, result)
    if result.certificate.status in _FAILED:
        return
    known = ~result.aliased
    for name, array in (("theta", result.theta), ("beta", result.beta[known]),
                        ("vcov", result.vcov[np.ix_(known, known)]), *(("effects", e) for e in result.effects),
                        *(("spherical", e) for e in result.spherical), *(("singular", e) for e in result.singular)):
        require_finite(array, name)
    _require(bool(np.isnan(result.beta[result.aliased]).all()), "estimates of aliased coefficients")
    if isinstance(result, GlmmResult):
        require_finite(np.array([result.objective, result.deviance, result.penalty, result.logdet, result.saturated,
                                 result.inner_decrement]), "numbers")
        _require(result.penalty >= 0.0, "the sums of squares")
        return
    require_finite(result.lam, "lam")
    require_finite(np.array([result.sigma, result.objective, result.pwrss, result.logdet]), "numbers")
    _require(result.sigma > 0.0 and result.pwrss >= 0.0, "the variances")


def _beside(model: CompiledModel, result: LmmResult | GlmmResult) -> int:
    """Parameters beside the covariance parameters."""
    if model.family is None or not isinstance(result, GlmmResult):
        return 0
    joint = int((~result.aliased).sum()) if result.method == "joint_laplace" else 0
    return joint + int(model.family.estimates_parameter)


def _check_information(result: LmmResult | GlmmResult) -> None:
    information, n = result.certificate.information, result.certificate.n_free
    if information is not None:
        # without the family's parameter where that ran to its limit
        _require(information.shape in ((n, n), (n - 1, n - 1)), "the shapes of arrays")
        require_finite(information, "information")


def _check_approximation(model: CompiledModel, result: GlmmResult) -> None:
    """The parts that a linear mixed model does not have."""
    family = model.family
    assert family is not None
    require_finite(result.point, "point")
    _require(result.n_agq == 1 or (result.n_agq <= MOST_NODES and len(model.factors) == 1), "the quadrature")
    observed = result.vcov_route == "observed_information"
    _require(not observed or result.certificate.information is not None, "the information")
    parameter, error = result.parameter, result.parameter_error
    _require((parameter is None) == (family.parameter_name is None), "the family's parameter")
    _require(parameter is None or 0.0 < parameter < math.inf, "the family's parameter")
    _require(family.theta is None or parameter == family.theta, "the family's parameter")
    _require(error is None or (family.estimates_parameter and 0.0 <= error < math.inf), "the family's parameter")


def check_fit(
    artifact: FitArtifact, model: CompiledModel, result: LmmResult | GlmmResult, compiled_sha256: str, inference: str | None
) -> None:
    """The artifact tells the numbers that the arrays hold, and the hash of its own compiled model; ``inference`` is what was
    asked for of a generalized linear mixed model."""
    summary = artifact.summary
    # another version of the package may have had other fields
    own = artifact.header.package_version == __version__
    _require(not own or artifact.compiled_sha256 == compiled_sha256, "the hash of the compiled model in the artifact")
    _require(list(summary.theta) == list(model.theta_names), "the parameters in the artifact")
    known = {term.id for term in artifact.compiled.semantic_model.random_terms}
    _require(_named_terms(artifact.model_dump()) <= known, "the names of terms in the artifact")
    matrix = artifact.fixed_effect_covariance.matrix
    approximated = isinstance(result, GlmmResult)
    _require(matrix is not None or approximated or result.certificate.status in _FAILED,
             "the covariance matrix in the artifact")
    sigma = residual_deviation(model, result)
    pairs: list[tuple[Any, Any]] = [
        (list(summary.theta.values()), _or_none(result.theta)),
        ([summary.sigma, summary.objective], _or_none(np.array([math.nan if sigma is None else sigma, result.objective]))),
        (summary.criterion, "REML" if not isinstance(result, GlmmResult) and result.reml else "ML"),
        ([row.estimate for row in artifact.fixed_effects.rows], _or_none(result.beta)),
        (artifact.fixed_effect_covariance.coef_names, model.fixed.names),
    ]
    if isinstance(result, GlmmResult):
        pairs += _approximation_pairs(artifact.glmm, result, inference)
    _require(approximated or artifact.glmm is None, "the kind of model in the artifact")
    if matrix is not None:
        pairs.append(([list(row) for row in matrix], [_or_none(row) for row in result.vcov]))
    _require(all(one == two for one, two in pairs), "the estimates in the artifact and in the arrays")
    _require(artifact.certificate.status == result.certificate.status, "the verdicts in the artifact and in the state")


def _approximation_pairs(told: GlmmFit | None, result: GlmmResult, inference: str | None) -> list[tuple[Any, Any]]:
    """What the artifact says of the approximation, and what the state does."""
    if told is None:
        raise SchemaError("the artifact is that of a linear mixed model, and the numbers are not")
    parts = told.parts
    return [
        ((told.estimator, told.n_agq, told.covariance_route, told.inference),
         (result.method, result.n_agq, result.vcov_route, inference)),
        ([parts.deviance, parts.penalty, parts.logdet, parts.saturated],
         _or_none(np.array([result.deviance, result.penalty, result.logdet, result.saturated]))),
        (None if told.parameter is None else told.parameter.value, result.parameter),
    ]


def _or_none(values: Any) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]


def checked_cross(cross: CrossState, model: CompiledModel) -> CrossState:
    """The cross-product with the position of the intercept, if it has the shapes that the model calls for.

    Raises
    ------
    SchemaError
        It has not.
    """
    p, k, standard = len(model.fixed.names), len(cross.kept), cross.standard
    rising = bool(np.all(np.diff(cross.kept) > 0)) and k > 0 and 0 <= cross.kept[0] <= cross.kept[-1] < p
    _require(cross.kept.ndim == 1 and rising, "the columns in use")
    _require(sorted([*cross.kept.tolist(), *cross.aliased]) == list(range(p)), "the aliased columns")
    arrays, _ = kernel_plan(model.plan, k)
    last = len(arrays.panel_ptr) - 1
    panel = int(arrays.panel_ptr[last] + arrays.width[arrays.block_factor[last]] * arrays.panel_cols[last])
    shapes: list[tuple[Any, tuple[int, ...]]] = [
        (cross.diag, (model.plan.diag_size,)), (cross.panel, (panel,)), (cross.border, (k + 1, k + 1)),
        (standard.x_shift, (p,)), (standard.x_scale, (p,)),
    ]
    if standard.x_basis is not None:
        shapes.append((standard.x_basis, (k, k)))
    for factor, shift, scale, basis in zip(model.factors, standard.z_shift, standard.z_scale, standard.z_basis, strict=True):
        shapes += [(shift, (factor.width,)), (scale, (factor.width,))]
        shapes += [] if basis is None else [(basis, (factor.width, factor.width))]
    _require(all(array.shape == shape for array, shape in shapes), "the shapes of the cross-product")
    for array, _ in shapes:
        require_finite(array, "of the cross-product")
    scales = [standard.x_scale, *standard.z_scale, np.array([standard.y_scale, standard.root_weight])]
    _require(bool(np.all(np.concatenate(scales) > 0.0)) and np.isfinite(standard.y_shift), "the scales")
    return replace(cross, standard=replace(standard, intercept=0 if model.formula.fixed.intercept else -1))
