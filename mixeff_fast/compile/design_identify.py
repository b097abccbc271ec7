"""Whether a design tells its effects apart: responses that are constant within groups, parts of crossed factors that do not
meet, and random intercepts that the fixed effects already hold."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.design_fixed import chunks
from mixeff_fast.compile.design_levels import varying_levels
from mixeff_fast.compile.pairs import meeting_levels, split
from mixeff_fast.compile.roles import term_id, written_order
from mixeff_fast.compile.scales import sampled_rows
from mixeff_fast.compile.semantic import canonical_term
from mixeff_fast.frame.columns import NumericVariable
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mixeff_fast.compile.design_fixed import FixedColumns
    from mixeff_fast.compile.design_levels import Grouped
    from mixeff_fast.compile.design_units import Structure
    from mixeff_fast.compile.model import Layout, RandomBlock

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

_FEW_ROWS = 1 << 14
# a share of the group's columns that squares can tell from rounding
_TOLD_BY_SQUARES = 1e-3


def numeric_effects(model: Layout) -> dict[str, Float]:
    """Numeric main effects of the fixed part, by key; shape (n,) each."""
    found = {}
    for term in model.formula.fixed.terms:
        if len(term.variables) == 1:
            variable = model.frame.variables[term.variables[0].key]
            if isinstance(variable, NumericVariable) and variable.values.ndim == 1:
                found[variable.key] = variable.values
    return found


def _tolerance(values: Float, thresholds: Thresholds) -> float:
    return thresholds.min_within_group_sd * float(values[sampled_rows(len(values))].std())


def variation(model: Layout, factors: Mapping[str, Grouped], thresholds: Thresholds) -> dict[tuple[str, str], bool]:
    """Whether each numeric main effect differs in rows of one level, by effect and group."""
    return {
        (key, name): varying_levels(by, values, _tolerance(values, thresholds), 0) > 0
        for key, values in numeric_effects(model).items()
        for name, by in factors.items()
    }


def constant_responses(
    model: Layout, factors: Mapping[str, Grouped], varies: Mapping[tuple[str, str], bool], thresholds: Thresholds
) -> list[Finding]:
    """Groups within which the response hardly ever differs although a numeric effect does, so that a residual variance or a
    dispersion has little to be estimated from; families without one bear that."""

    frame, family = model.frame, model.family
    if family is not None and not family.has_dispersion:
        return []
    y = frame.response if frame.offset is None or family is not None else frame.response - frame.offset
    found = []
    for name, by in factors.items():
        varying = [key for (key, group), does in varies.items() if group == name and does]
        repeated = by.n_repeated
        if not varying or not repeated:
            continue
        most = int((1.0 - thresholds.constant_response_share) * repeated + 1e-9)
        differing = varying_levels(by, y, _tolerance(y, thresholds), most)
        if differing > most:
            continue
        terms = sorted((b.term for b in model.blocks if b.term.group_name == name), key=lambda term: term.index)
        found.append(Finding(
            code="not_identifiable", severity="error", stage="design_audit", affected_terms=tuple(map(term_id, terms)),
            payload={"reason": "constant_response_within_groups", "group": name,
                     "constant_response_levels": repeated - differing, "repeated_levels": repeated,
                     "varying_numeric_columns": varying},
        ))
    return found


def disconnected(model: Layout, factors: Mapping[str, Grouped], structure: Structure) -> tuple[int, list[Finding]]:
    """The number of connected parts of two crossed factors, where there are most.

    Levels of two factors are connected when they occur in one row. Nested factors are not crossed; and factors that are
    both nested in a third of the model are expected to have as many parts as it has levels.
    """

    most = 1
    findings = []
    for (one, a), (two, b) in combinations(factors.items(), 2):
        if structure.nested(a, b) or structure.nested(b, a):
            continue
        parts = _components(a, b)
        if parts == 1:
            continue
        outer = [by for name, by in factors.items() if name not in (one, two)] + structure.fixed()
        if any(by.n_levels == parts and structure.nested(a, by) and structure.nested(b, by) for by in outer):
            continue
        most = max(most, parts)
        terms = sorted(
            (block.term for block in model.blocks if block.term.group_name in (one, two)), key=lambda term: term.index
        )
        findings.append(Finding(
            code="disconnected_design", severity="warning", stage="design_audit", affected_terms=tuple(map(term_id, terms)),
            payload={"n_components": parts, "factors": [one, two]},
        ))
    return most, findings


def _components(a: Grouped, b: Grouped) -> int:
    """Connected parts of the levels of two factors; some of the rows often show that there is only one."""
    n = len(a.codes)
    if n > 4 * _FEW_ROWS:
        rows = slice(0, n, n // _FEW_ROWS)
        if _count_components(a.codes[rows], b.codes[rows], a.n_levels, b.n_levels) == 1:
            return 1
    return _count_components(a.codes, b.codes, a.n_levels, b.n_levels)


def _count_components(a: NDArray[np.int32], b: NDArray[np.int32], n_a: int, n_b: int) -> int:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    left, right = split(meeting_levels(a, b, n_a, n_b), n_b)
    graph = coo_array((np.ones(len(left), np.int8), (left, right + n_a)), shape=(n_a + n_b, n_a + n_b))
    return int(connected_components(graph, directed=False, return_labels=False))


def weakly_identified(
    model: Layout, factors: Mapping[str, Grouped], columns: FixedColumns, thresholds: Thresholds
) -> list[Finding]:
    """Random intercepts whose indicators are combinations of the fixed-effect columns."""

    kept = columns.kept
    found = []
    for block in written_order(model):
        by = factors[block.term.group_name]
        if not block.term.lhs.intercept or by.n_levels > len(kept):
            continue
        residual = _projection_residual(model, by, columns, kept)
        if residual > thresholds.weak_identifiability_residual:
            continue
        found.append(Finding(
            code="design_weak_identifiability", severity="warning", stage="design_audit",
            affected_terms=(term_id(block.term),),
            payload=_identifiability(model, block, by, len(kept), residual, thresholds),
        ))
    return found


def _identifiability(
    model: Layout, block: RandomBlock, by: Grouped, rank: int, residual: float, thresholds: Thresholds
) -> dict[str, str | int | float]:
    return {
        "group": block.term.group_name, "term_id": term_id(block.term), "source": canonical_term(model.formula, block.term),
        "n_levels": by.n_levels, "fixed_rank": rank, "group_rank": by.n_levels, "projection_residual_rel": residual,
        "tolerance": thresholds.weak_identifiability_residual,
    }


def _projection_residual(model: Layout, by: Grouped, columns: FixedColumns, kept: Int) -> float:
    """The largest share, over the levels, of an indicator's norm that the fixed-effect columns leave of it.

    Coefficients come from the cross-product, which holds squares; what they leave is computed from the rows, twice.
    """
    q, p = by.n_levels, len(kept)
    gram, cross = np.zeros((p, p)), np.zeros((p, q))
    for rows, x in chunks(model, columns.shift, columns.scale, kept, False):
        gram += x.T @ x
        cross += _by_level(x, by.codes[rows], q)
    factor = np.linalg.cholesky(gram + np.diag(1e-15 * np.diag(gram)))

    def solve(right: Float) -> Float:
        return np.asarray(np.linalg.solve(factor.T, np.linalg.solve(factor, right)))

    coefficients = solve(cross)
    left = 1.0 - np.einsum("pq,pq->q", cross, coefficients) / by.counts
    if left.max() > _TOLD_BY_SQUARES:
        return float(np.sqrt(left.max()))
    for _ in range(2):
        right, squares = np.zeros((p, q)), np.zeros(q)
        for rows, x in chunks(model, columns.shift, columns.scale, kept, False):
            residual = -(x @ coefficients)
            residual[np.arange(len(x)), by.codes[rows]] += 1.0
            right += x.T @ residual
            squares += np.einsum("rq,rq->q", residual, residual)
        coefficients += solve(right)
    return float(np.sqrt((squares / by.counts).max()))


def _by_level(x: Float, codes: NDArray[np.int32], q: int) -> Float:
    """Sums of each column over the rows of each level, shape (p, q)."""
    return np.array([np.bincount(codes, weights=np.ascontiguousarray(x[:, j]), minlength=q) for j in range(x.shape[1])])
