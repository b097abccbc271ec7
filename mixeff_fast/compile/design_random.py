"""What the data have for each random term: rows per level, spread of the basis within levels, expected information."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixeff_fast.compile.design_budget import (
    expected_standard_error,
    most_levels,
    row_weight,
    standardized_products,
)
from mixeff_fast.compile.design_levels import level_products
from mixeff_fast.compile.roles import term_id
from mixeff_fast.compile.scales import sampled_rows
from mixeff_fast.compile.semantic import canonical_term, spans_intercept
from mixeff_fast.formula.render import render_bars
from mixeff_fast.frame.columns import FactorVariable
from mixeff_fast.schemas.design import (
    BasisSupport,
    BudgetStatus,
    EffectiveN,
    GroupSummary,
    InformationBudget,
    RandomTermAudit,
)
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import Thresholds

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile.design_levels import Grouped, LevelProducts
    from mixeff_fast.compile.model import Layout, RandomBlock
    from mixeff_fast.frame import ColumnBlock
    from mixeff_fast.vocabulary import CovarianceFamily

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]
    BasisKind = Literal[
        "intercept", "slope", "interaction", "categorical_dummy", "categorical_cell", "categorical_contrast"
    ]

# numbers that the sums of products of all levels may take up
_LEVEL_NUMBERS = 1 << 23


def column_kind(block: ColumnBlock, model: Layout) -> BasisKind:
    """What kind of columns a block has."""
    if not block.parts:
        return "intercept"
    if len(block.parts) > 1:
        return "interaction"
    part = block.parts[0]
    if part.coding == "numeric":
        return "slope"
    if part.coding == "indicator":
        return "categorical_cell"
    variable = model.frame.variables[part.key]
    dummy = isinstance(variable, FactorVariable) and variable.contrast.name in ("treatment", "SAS")
    return "categorical_dummy" if dummy else "categorical_contrast"


class TermSupport:
    """The passes over the rows that one random term takes. ``spread`` is the standard deviation of each column within each
    level, shape (q, d), None for an intercept alone; ``scale`` the columns' overall standard deviations."""

    __slots__ = ("_model", "_moving", "_products", "_row_weight", "block", "by", "scale", "spread")

    def __init__(self, model: Layout, block: RandomBlock, by: Grouped) -> None:
        self._model, self.block, self.by = model, block, by
        intercept = block.term.lhs.intercept
        self._moving = np.arange(1 if intercept else 0, block.width)
        self._products: LevelProducts | None = None
        self._row_weight = row_weight(model.frame)
        self.spread: Float = np.zeros((by.n_levels, 0))
        self.scale: Float = np.zeros(0)
        if len(self._moving):
            self._measure()

    def _measure(self) -> None:
        frame, design, by, d = self._model.frame, self.block.design, self.by, len(self._moving)
        rows = sampled_rows(frame.n)
        sample = np.empty((len(range(frame.n)[rows]), self.block.width))
        design.fill(frame.variables, rows, sample)
        sample = sample[:, self._moving]
        center = sample.mean(axis=0)
        scale = np.sqrt(np.mean((sample - center) ** 2, axis=0))
        scale[scale == 0.0] = np.abs(center[scale == 0.0])
        scale[scale == 0.0] = 1.0
        levels = None
        if by.n_levels * d * d > _LEVEL_NUMBERS and d > 1:
            levels = _evenly(by.n_levels, most_levels(d))
            parts = [
                level_products(by, design, self._moving[j : j + 1], frame.variables, center[j : j + 1], scale[j : j + 1])
                for j in range(d)
            ]
            self.spread = np.column_stack([part.within_sd() for part in parts])
            self.scale = np.concatenate([_overall_sd(part) for part in parts])
        products = level_products(by, design, self._moving, frame.variables, center, scale, levels)
        if levels is None:
            self.spread, self.scale = products.within_sd(), _overall_sd(products)
        self._products = products

    def expected_error(self, columns: Int, family: CovarianceFamily, singular: float) -> tuple[float | None, str]:
        """Expected standard error of a covariance of some of the columns, or why there is none."""
        block, by = self.block, self.by
        n = len(by.codes)
        if self._products is None or (len(columns) == 1 and columns[0] == 0 and block.term.lhs.intercept):
            frequency = np.bincount(by.counts)
            sizes = np.flatnonzero(frequency)
            products, weights = sizes[:, None, None].astype(np.float64), frequency[sizes].astype(np.float64)
        else:
            found = self._basis_products(self._products, family == "full")[:, columns[:, None], columns]
            if len(found) > most_levels(len(columns)):
                found = found[_evenly(len(found), most_levels(len(columns)))]
            weights = np.full(len(found), by.n_levels / len(found))
            standardized = standardized_products(found, n * len(found) / by.n_levels, family, singular)
            if standardized is None:
                return None, "collinear_basis"
            products = standardized
        if self._row_weight is not None:
            products = self._row_weight * products
        error = expected_standard_error(
            products, weights, float(n), by.n_levels, family, singular, scale_known=self._row_weight is not None
        )
        return error, "not_told_by_design" if error is None else ""

    def _basis_products(self, found: LevelProducts, unstructured: bool) -> Float:
        """``Z_j'Z_j`` of all columns, centred where that leaves the family of covariances as it is."""
        intercept = self.block.term.lhs.intercept
        sums, products = found.about(found.center if intercept and unstructured else np.zeros(len(self._moving)))
        if not intercept:
            return products
        whole = np.empty((len(sums), self.block.width, self.block.width))
        whole[:, 0, 0] = found.counts
        whole[:, 0, 1:] = whole[:, 1:, 0] = sums
        whole[:, 1:, 1:] = products
        return whole


def _evenly(n: int, m: int) -> Int:
    return np.unique(np.linspace(0, n - 1, min(n, m)).astype(np.int64))


def _overall_sd(found: LevelProducts) -> Float:
    sums, products = found.about(found.center)
    n = found.counts.sum()
    squares = np.einsum("jaa->a", products)
    return np.asarray(np.sqrt(np.maximum(squares - sums.sum(axis=0) ** 2 / n, 0.0) / n) * found.scale)


def group_summary(name: str, n_rows: int, n_levels: int, by: Grouped | None) -> GroupSummary:
    """Rows per level."""

    if by is None:
        return GroupSummary(name=name, n_observations=n_rows, n_levels=n_levels, min_obs_per_level=None,
                            median_obs_per_level=None, max_obs_per_level=None, repeated=n_levels < n_rows)
    return GroupSummary(
        name=name, n_observations=n_rows, n_levels=n_levels, min_obs_per_level=int(by.counts.min()),
        median_obs_per_level=float(np.median(by.counts)), max_obs_per_level=int(by.counts.max()),
        repeated=by.n_repeated > 0,
    )


def audit_term(
    model: Layout, block: RandomBlock, by: Grouped | None, thresholds: Thresholds
) -> tuple[RandomTermAudit, list[Finding]]:
    """Audit one random term; ``by`` is None where the rows are not in memory."""

    group = model.factors[block.factor].group
    support = None if by is None else TermSupport(model, block, by)
    basis = _basis(model, block, support, thresholds)
    budget = _budget(model, block, support, basis, thresholds)
    audit = RandomTermAudit(
        term_id=term_id(block.term),
        group=group_summary(group.name, model.frame.n, len(group.levels), by),
        basis_size=block.width,
        requested_covariance_parameters=len(block.rows),
        basis=basis,
        information_budget=budget,
    )
    findings = [*_slope_findings(model, block, basis, thresholds), *_budget_findings(model, block, budget, thresholds)]
    return audit, [*findings, *_row_effects(model, block)]


def _basis(
    model: Layout, block: RandomBlock, support: TermSupport | None, thresholds: Thresholds
) -> tuple[BasisSupport, ...]:

    found: list[BasisSupport] = []
    kinds = [column_kind(part, model) for part in block.design.blocks for _ in range(part.start, part.stop)]
    first = 1 if block.term.lhs.intercept else 0
    for j, (name, kind) in enumerate(zip(block.names, kinds, strict=True)):
        low = high = None
        varying: int | None = None
        supported: bool | None = None
        if kind == "intercept":
            varying, supported, reason = 0, True, "intercept"
        elif support is None:
            reason = "rows_not_in_memory"
        else:
            spread = support.spread[support.by.counts >= thresholds.min_obs_per_supported_level, j - first]
            tolerance = thresholds.min_within_group_sd * float(support.scale[j - first])
            varying = int(np.count_nonzero(spread > tolerance))
            supported = varying > 0
            if len(spread):
                low, high = float(spread.min()), float(spread.max())
            reason = "varies_within_levels" if supported else "constant_within_levels"
            if not len(spread):
                reason = "no_repeated_levels"
        found.append(BasisSupport(name=name, kind=kind, min_within_group_sd=low, max_within_group_sd=high,
                                  levels_with_variation=varying, supported=supported, reason=reason))
    return tuple(found)


def _budget(
    model: Layout, block: RandomBlock, support: TermSupport | None, basis: tuple[BasisSupport, ...],
    thresholds: Thresholds,
) -> InformationBudget:

    n, q, d, k = model.frame.n, model.factors[block.factor].n_levels, block.width, len(block.rows)
    saturated = q * d > model.most_effects
    varying = np.array([j for j, column in enumerate(basis) if column.supported is not False], np.int64)
    family: CovarianceFamily = block.family if len(varying) > 1 else "scalar"
    error, status, reason = _assess(support, varying, family, q, saturated, thresholds)
    diagonal = None
    if block.family == "full":
        diagonal = status if family == "scalar" else _assess(support, varying, "diagonal", q, saturated, thresholds)[1]
    return InformationBudget(
        n_levels=q,
        basis_dimension=d,
        covariance_family=block.family,
        requested_covariance_parameters=k,
        min_levels_variance=thresholds.min_levels_reliability,
        min_levels_full_covariance=max(thresholds.min_levels_reliability, 2 * d + 1) if block.family == "full" else None,
        effective_n=_effective_n(n, q, d, k, support, status, thresholds),
        row_saturated=saturated,
        expected_standard_error=error,
        status=status,
        reason=reason,
        diagonal_status=diagonal,
        most_effects=model.most_effects,
    )


def _assess(
    support: TermSupport | None, varying: Int, family: CovarianceFamily, q: int, saturated: bool, thresholds: Thresholds
) -> tuple[float | None, BudgetStatus, str]:
    """Expected error, verdict and its reason for a covariance of the columns that vary within levels."""
    error: float | None = None
    why = "rows_not_in_memory" if support is None else "basis_too_wide" if len(varying) > thresholds.max_assessed_basis else ""
    if not len(varying):
        why = "unsupported_basis"
    elif support is not None and not why:
        error, why = support.expected_error(varying, family, thresholds.singular_information)
    status, reason = _verdict(q, family, saturated, error, why, thresholds)
    return error, status, reason


def _verdict(
    q: int, family: CovarianceFamily, saturated: bool, error: float | None, why: str, thresholds: Thresholds
) -> tuple[BudgetStatus, str]:
    """Variances alone are the least that columns can ask for: while levels are repeated they are weakly supported at worst."""
    if saturated:
        return "too_rich", "row_saturated"
    if q < thresholds.min_levels_fit:
        return "too_rich", "too_few_levels"
    if family == "scalar" and q < thresholds.min_levels_reliability:
        return "weakly_supported", "few_levels"
    if why in ("rows_not_in_memory", "basis_too_wide"):
        return "not_assessable", why
    if error is None:
        return "too_rich", why
    if error <= thresholds.sufficient_expected_standard_error:
        return "sufficient", "expected_error_small"
    if error <= thresholds.weak_expected_standard_error:
        return "weakly_supported", "expected_error_moderate"
    return "too_rich" if family == "full" else "weakly_supported", "expected_error_large"


def _effective_n(
    n: int, q: int, d: int, k: int, support: TermSupport | None, status: str, thresholds: Thresholds
) -> EffectiveN:

    counts = None if support is None else support.by.counts
    return EffectiveN(
        n_rows=n,
        n_levels=q,
        min_obs_per_level=None if counts is None else int(counts.min()),
        max_obs_per_level=None if counts is None else int(counts.max()),
        levels_per_basis_direction=q / d,
        levels_per_covariance_parameter=q / k,
        rows_per_covariance_parameter=n / k,
        total_rows_can_mislead=n / k >= thresholds.misleading_rows_per_parameter and status in ("weakly_supported", "too_rich"),
    )


def _slope_findings(
    model: Layout, block: RandomBlock, basis: tuple[BasisSupport, ...], thresholds: Thresholds
) -> list[Finding]:

    found: list[Finding] = []
    common: dict[str, Any] = {"group": block.term.group_name, "source_syntax": canonical_term(model.formula, block.term)}
    terms = (term_id(block.term),)
    for column in basis:
        if column.supported is not False:
            continue
        found.append(Finding(
            code="structural_refusal", severity="info", stage="design_audit", affected_terms=terms,
            payload={**common, "basis": column.name, "reason": column.reason},
        ))
        found.append(Finding(
            code="random_slope_unsupported", severity="warning", stage="design_audit", affected_terms=terms,
            payload={**common, "basis": column.name, "reason": column.reason,
                     "max_within_group_sd": column.max_within_group_sd,
                     "min_within_group_sd": thresholds.min_within_group_sd},
        ))
    return found


def _row_effects(model: Layout, block: RandomBlock) -> list[Finding]:
    """An intercept for each row of a model with a family: overdispersion, unless nothing or the family itself describes it."""
    family, group = model.family, model.factors[block.factor].group
    if family is None or len(group.levels) < model.frame.n or not spans_intercept(block.design):
        return []
    terms = (term_id(block.term),)
    payload = {"group": group.name, "source_syntax": canonical_term(model.formula, block.term)}
    if model.most_effects < model.frame.n:
        return [Finding(
            code="not_identifiable", severity="error", stage="design_audit", affected_terms=terms,
            payload={"reason": "observation_level_effect_of_binary_response", **payload},
        )]
    beside = family.estimates_parameter
    return [Finding(
        code="observation_level_effect", severity="warning" if beside else "info", stage="design_audit", affected_terms=terms,
        payload={"reason": "beside_family_parameter" if beside else "overdispersion", **payload,
                 "n_levels": len(group.levels), "family": family.name},
    )]


def _budget_findings(
    model: Layout, block: RandomBlock, budget: InformationBudget, thresholds: Thresholds
) -> list[Finding]:

    term, status = block.term, budget.status
    terms, source = (term_id(term),), canonical_term(model.formula, term)
    found: list[Finding] = []
    if budget.reason == "few_levels":
        found.append(Finding(
            code="random_effect_few_levels", severity="warning", stage="design_audit", affected_terms=terms,
            payload={"group": term.group_name, "n_levels": budget.n_levels, "source_syntax": source,
                     "min_levels_reliability": thresholds.min_levels_reliability,
                     "expected_standard_error": budget.expected_standard_error},
        ))
    elif status == "weakly_supported" and block.width == 1:
        found.append(Finding(
            code="support_note", severity="info", stage="design_audit", affected_terms=terms,
            payload={"reason": "weak_information_budget", "group": term.group_name, "n_levels": budget.n_levels,
                     "source_syntax": source, "expected_standard_error": budget.expected_standard_error},
        ))
    elif status in ("weakly_supported", "too_rich") and budget.reason != "unsupported_basis":
        reducible, double = block.family == "full", replace(term, block_group="bg0")
        found.append(Finding(
            code="covariance_too_rich", severity="warning" if status == "too_rich" else "info", stage="design_audit",
            affected_terms=terms,
            payload={
                "group": term.group_name, "source_syntax": source, "status": status, "reason": budget.reason,
                "n_levels": budget.n_levels, "n_rows": budget.effective_n.n_rows,
                "basis_dimension": budget.basis_dimension,
                "requested_covariance_parameters": budget.requested_covariance_parameters,
                "row_saturated": budget.row_saturated, "expected_standard_error": budget.expected_standard_error,
                "reduced_covariance": next(render_bars(replace(model.formula, random=(double,)))) if reducible else None,
            },
        ))
    if status == "not_assessable":
        found.append(Finding(
            code="support_note", severity="info", stage="design_audit", affected_terms=terms,
            payload={"reason": budget.reason, "group": term.group_name, "source_syntax": source},
        ))
    return found
