"""Likelihood-ratio tests and information criteria over fits of the same rows."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast.inference.probability import chi_square_upper

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.vocabulary import (
        ComparisonAlternative,
        ComparisonClass,
        ComparisonReason,
        ComparisonStatus,
        LrtReason,
        ModelRelation,
    )

    Float = NDArray[np.float64]

# a log-likelihood this much below that of a smaller model is the optimizer's doing, not a difference between models
TOLERANCE = 1e-6


@dataclass(frozen=True, slots=True)
class Entry:
    """What a comparison needs of one fit.

    ``design`` is X, shape (n, p). ``response`` has the offset subtracted in a linear model; with a family ``offset`` has it.
    ``weights`` are prior weights and numbers of trials. ``approximation`` is the number of quadrature nodes, and ``profiled``
    says that the fixed effects do not maximize the likelihood. ``maximal``: the log-likelihood is a maximum, which that of a
    search without an end or of separated outcomes is not.
    """

    label: str
    formula: str
    model: CompiledModel
    design: Float
    response: Float
    weights: Float | None
    reml: bool
    n_parameters: int
    loglik: float
    aic: float
    bic: float
    deviance: float
    offset: Float | None = None
    approximation: int | None = None
    profiled: bool = False
    maximal: bool = True


@dataclass(frozen=True, slots=True)
class Assessment:
    """How the models of two fits relate. ``nested``: the smaller one lies in the larger one.

    ``comparable``: their information criteria compare. ``within_tolerance``: the larger one has the lower log-likelihood, by
    no more than the optimizer leaves open.
    """

    smaller: str
    larger: str
    comparison_class: ComparisonClass
    fixed_effects: ModelRelation
    random_effects: ModelRelation
    reason: LrtReason | None
    comparable: bool
    ml_refit_required: bool
    within_tolerance: bool
    alternatives: tuple[ComparisonAlternative, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One fit, tested against the one above; None where there is no test, or no common scale for the criteria."""

    label: str
    formula: str
    reml: bool
    n_rows: int
    n_parameters: int
    loglik: float
    deviance: float
    aic: float
    bic: float
    delta_aic: float | None
    delta_bic: float | None
    chisq: float | None
    df: int | None
    p_value: float | None
    log_p_value: float | None
    status: ComparisonStatus
    reason: ComparisonReason | None


def same_rows(entries: Sequence[Entry]) -> str | None:
    """Why the fits cannot be compared (a reason code), or None."""
    first = entries[0]
    for entry in entries[1:]:
        if entry.response.shape != first.response.shape or not np.array_equal(entry.response, first.response):
            return "different_response"
        weights = (entry.weights is None, first.weights is None)
        if weights[0] != weights[1] or not (
            entry.weights is None or first.weights is None or np.array_equal(entry.weights, first.weights)
        ):
            return "different_weights"
    return None


def spans(outer: Float, inner: Float) -> bool:
    """Whether every column of ``inner`` is a combination of the columns of ``outer`` (both have the same rows)."""
    if np.array_equal(outer, inner):
        return True
    outer, inner = _unit_columns(outer), _unit_columns(inner)
    rest = inner - outer @ np.linalg.lstsq(outer, inner, rcond=None)[0]
    return bool(np.all(np.linalg.norm(rest, axis=0) <= 1e-7))


def _unit_columns(matrix: Float) -> Float:
    length = np.linalg.norm(matrix, axis=0)
    return matrix / np.where(length == 0.0, 1.0, length)


def same_restriction(a: Entry, b: Entry) -> bool:
    """Whether the REML criteria of two fits compare: their fixed effects span the same space with the same volume, since
    ``log|X'V^{-1}X|`` changes with the coding of X."""
    if np.array_equal(a.design, b.design):
        return True
    if a.design.shape != b.design.shape or not (spans(a.design, b.design) and spans(b.design, a.design)):
        return False
    volumes = [float(np.log(np.abs(np.diag(np.linalg.qr(x, mode="r")))).sum()) for x in (a.design, b.design)]
    return abs(volumes[0] - volumes[1]) <= 1e-9 * max(1.0, abs(volumes[0]))


def random_nested(small: CompiledModel, large: CompiledModel) -> bool:
    """Whether every random term of ``small`` lies in one term of ``large``: same grouping, a subset of its effects, and a
    covariance structure the larger one contains."""
    for block in small.blocks:
        group = small.factors[block.factor].group.name
        if not any(
            large.factors[other.factor].group.name == group
            and set(block.names) <= set(other.names)
            and (block.width == 1 or other.family == block.family or other.family == "full")
            for other in large.blocks
        ):
            return False
    return True


def _n_variances(model: CompiledModel) -> int:
    """Variances of random effects: what a null hypothesis can put on the boundary; a correlation it cannot."""
    return sum(block.width for block in model.blocks)


def compare_entries(entries: Sequence[Entry], lrt: bool) -> tuple[tuple[Row, ...], tuple[Assessment, ...]]:
    """Fits in order of their number of parameters, and how each relates to the one above it."""
    ordered = sorted(entries, key=lambda e: e.n_parameters)
    pairs = tuple(assess(small, large) for small, large in pairwise(ordered))
    least = None
    if all(pair.comparable for pair in pairs) and all(math.isfinite(e.loglik) for e in ordered):
        least = (min(e.aic for e in ordered), min(e.bic for e in ordered))
    rows = []
    for i, entry in enumerate(ordered):
        test: tuple[float, int, float, float] | None = None
        status: ComparisonStatus = "not_assessed"
        reason: ComparisonReason | None = "reference_model" if lrt else "information_criteria_requested"
        if lrt and i > 0:
            below, reason = ordered[i - 1], pairs[i - 1].reason
            status = "available" if reason is None else "unsupported"
            if reason is None:
                chisq, df = max(0.0, 2.0 * (entry.loglik - below.loglik)), entry.n_parameters - below.n_parameters
                test = (chisq, df, *chi_square_upper(chisq, df))
                if _n_variances(entry.model) > _n_variances(below.model):
                    reason = "naive_chi_square_conservative_at_boundary"
        chisq_, df_, p_value, log_p = test or (None, None, None, None)
        rows.append(
            Row(label=entry.label, formula=entry.formula, reml=entry.reml, n_rows=len(entry.response),
                n_parameters=entry.n_parameters, loglik=entry.loglik, deviance=entry.deviance, aic=entry.aic, bic=entry.bic,
                delta_aic=None if least is None else entry.aic - least[0],
                delta_bic=None if least is None else entry.bic - least[1],
                chisq=chisq_, df=df_, p_value=p_value, log_p_value=log_p, status=status, reason=reason)
        )
    return tuple(rows), pairs


def assess(small: Entry, large: Entry) -> Assessment:
    """How the models of two fits relate, and which comparisons of them are valid."""
    fixed = _relation(spans(large.design, small.design), spans(small.design, large.design))
    random = _relation(random_nested(small.model, large.model), random_nested(large.model, small.model))
    other = _other_family(small.model, large.model)
    mixed = other is None and (small.reml, small.approximation) != (large.reml, large.approximation)
    refit = not mixed and (small.profiled or large.profiled or (large.reml and not same_restriction(small, large)))
    inside = _same_offset(small, large) and _parameter_nested(small.model, large.model)
    nested = {fixed, random} <= {"same", "nested"} and inside
    drop = small.loglik - large.loglik
    reason: LrtReason | None = None
    if other is not None:
        reason = other
    elif mixed:
        reason = "mixed_fit_criterion"
    elif refit:
        reason = "ml_refit_required"
    elif not nested:
        reason = "non_nested_models_lrt_invalid"
    elif fixed == random == "same" or large.n_parameters == small.n_parameters:
        reason = "same_model_space_lrt_invalid"
    elif math.isfinite(drop) and drop > TOLERANCE * (1.0 + abs(small.loglik)):
        reason = "lower_loglikelihood_lrt_invalid"
    elif not (math.isfinite(drop) and small.maximal and large.maximal):
        reason = "lrt_unavailable"
    return Assessment(
        smaller=small.label, larger=large.label,
        comparison_class=other or ("mixed_fit_criterion" if mixed else _class(small.model, large.model, fixed, random)),
        fixed_effects=fixed, random_effects=random, reason=reason, comparable=not (mixed or refit),
        ml_refit_required=refit, within_tolerance=reason is None and drop > 0.0,
        alternatives=_alternatives(fixed, random, reason, small.reml and large.reml),
    )


def _other_family(small: CompiledModel, large: CompiledModel) -> Literal["different_family", "different_link"] | None:
    """What the distributions differ in, if they do; a linear model is one of a family of its own."""
    one, two = small.family, large.family
    if one is None or two is None:
        return None if one is two else "different_family"
    if one.name != two.name:
        return "different_family"
    return None if one.link == two.link else "different_link"


def _parameter_nested(small: CompiledModel, large: CompiledModel) -> bool:
    """Whether the family's parameter of the smaller model is one that the larger one may have: what is given cannot change."""
    if small.family is None or large.family is None:
        return True
    return large.family.theta is None or small.family.theta == large.family.theta


def _same_offset(small: Entry, large: Entry) -> bool:
    if small.offset is None or large.offset is None:
        return small.offset is large.offset
    return np.array_equal(small.offset, large.offset)


def _relation(inside: bool, around: bool) -> ModelRelation:
    if inside:
        return "same" if around else "nested"
    return "reverse_nested" if around else "non_nested"


def _class(small: CompiledModel, large: CompiledModel, fixed: ModelRelation, random: ModelRelation) -> ComparisonClass:
    if fixed in ("non_nested", "reverse_nested"):
        return "non_nested_fixed_effects"
    if random in ("non_nested", "reverse_nested"):
        return "non_nested_random_effects"
    if fixed == "same":
        if random == "same":
            return "same_model_space"
        alike = _effects(small) == _effects(large)
        return "same_fixed_effects_covariance_difference" if alike else "nested_random_effects"
    return "nested_fixed_effects" if random == "same" else "nested_fixed_and_random_effects"


def _effects(model: CompiledModel) -> set[tuple[str, str]]:
    """What varies over which grouping, whatever the covariance."""
    return {(model.factors[block.factor].group.name, name) for block in model.blocks for name in block.names}


def _alternatives(
    fixed: ModelRelation, random: ModelRelation, reason: LrtReason | None, reml: bool
) -> tuple[ComparisonAlternative, ...]:
    nested = {fixed, random} <= {"same", "nested"} and (fixed, random) != ("same", "same")
    valid: dict[ComparisonAlternative, bool] = {
        "refit_with_common_criterion": reason == "mixed_fit_criterion",
        "ml_refit_likelihood_ratio": nested and reason == "ml_refit_required",
        "reml_likelihood_ratio": reml and reason is None,
        "information_criteria": reason not in ("mixed_fit_criterion", "ml_refit_required", "lrt_unavailable"),
        "fixed_effect_contrast_test": (fixed, random) == ("nested", "same")
        and reason not in ("different_family", "different_link"),
        "parametric_bootstrap": nested and reason not in ("different_family", "different_link"),
        "cross_validation": not nested and (fixed, random) != ("same", "same"),
    }
    return tuple(name for name, holds in valid.items() if holds)
