"""The fixed part of a design: its columns, their rank, what can be estimated of each term, and cells without rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.compile.aliasing import aliased, constant_columns, residual_products
from mixeff_fast.compile.roles import term_id, written_order
from mixeff_fast.compile.scales import fixed_scales, power_of_two
from mixeff_fast.compile.semantic import canonical_term
from mixeff_fast.frame.columns import FactorVariable
from mixeff_fast.schemas.design import (
    ContrastBasis,
    EmptyCell,
    FixedColumn,
    FixedColumnKind,
    FixedEffectAudit,
    FixedEffectRank,
    FixedTerm,
)
from mixeff_fast.schemas.diagnostics import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.compile.model import Layout
    from mixeff_fast.frame import ColumnBlock

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

CHUNK_ROWS = 1 << 14
LISTED_CELLS = 50
# combinations of levels beyond which cells are not counted
_MOST_CELLS = 1 << 24
_NARROW = 16
INTERCEPT = "1"


@dataclass(frozen=True, slots=True, eq=False)
class FixedColumns:
    """How the columns of X are standardized, and which are aliased.

    Attributes
    ----------
    shift, scale
        Shape (p,), as in the engine: columns beside an intercept are centred, scales are powers of two.
    aliased
        Positions of the columns that are combinations of columns to their left.
    """

    shift: Float
    scale: Float
    aliased: list[int]

    @property
    def kept(self) -> Int:
        """Positions of the columns that are not aliased."""
        return np.setdiff1d(np.arange(len(self.shift)), self.aliased)


def chunks(model: Layout, shift: Float, scale: Float, columns: Int | None, weighted: bool) -> Iterator[tuple[slice, Float]]:
    """Yield rows and their standardized columns; None takes all of these."""
    frame, p = model.frame, len(model.fixed.names)
    unit_weight = 1.0 if frame.weights is None else power_of_two(float(np.sqrt(frame.weights.mean())))
    for start in range(0, frame.n, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, frame.n))
        x = np.empty((rows.stop - start, p))
        model.fixed.fill(frame.variables, rows, x)
        if p > _NARROW:
            x -= shift
            x *= 1.0 / scale
        else:
            # NumPy is slow where the inner of two dimensions is short
            for j, (by, unit) in enumerate(zip(shift.tolist(), scale.tolist(), strict=True)):
                if by != 0.0:
                    x[:, j] -= by
                if unit != 1.0:
                    x[:, j] *= 1.0 / unit
        if columns is not None:
            x = np.ascontiguousarray(x[:, columns])
        if weighted and frame.weights is not None:
            x *= (np.sqrt(frame.weights[rows]) / unit_weight)[:, None]
        yield rows, x


def fixed_columns(model: Layout) -> FixedColumns:
    """Sum the cross-product of the fixed-effect columns and find the aliased ones, as a fit does."""
    shift, scale, intercept = fixed_scales(model)
    p = len(model.fixed.names)
    gram = np.zeros((p, p))
    for _, x in chunks(model, shift, scale, None, True):
        gram += x.T @ x

    def residuals(sound: Int, suspects: Int, factor: Float, rows: list[Float]) -> Float:
        return residual_products(
            lambda columns: (x for _, x in chunks(model, shift, scale, columns, True)), sound, suspects, factor, rows
        )

    constant = constant_columns(gram, model.frame.n, shift, scale, intercept)
    return FixedColumns(shift, scale, aliased(gram, constant, residuals) if p else [])


def audit_fixed(model: Layout, columns: FixedColumns | None) -> tuple[FixedEffectAudit, list[Finding]]:
    """Audit the fixed part; ``columns`` is None where the rows are not in memory."""

    names = model.fixed.names
    p = len(names)
    found = None if columns is None else set(columns.aliased)
    terms = tuple(_term(block, names, found) for block in model.fixed.blocks)
    left_out = () if found is None else tuple(names[j] for j in sorted(found))
    findings: list[Finding] = []
    if found is None:
        rank = FixedEffectRank(rank=None, expected=p, status="not_assessed", reason="rows_not_in_memory")
    elif not found:
        rank = FixedEffectRank(rank=p, expected=p, status="full_rank", reason="columns_independent")
    else:
        rank = FixedEffectRank(rank=p - len(found), expected=p, status="rank_deficient", reason="columns_aliased")
        findings.append(Finding(
            code="fixed_effect_rank_deficient", severity="warning", stage="design_audit", affected_terms=left_out,
            payload={"rank": p - len(found), "requested_columns": p, "aliased_columns": list(left_out)},
        ))
        findings += [_estimability(term) for term in terms if term.aliased_columns]
    cells, n_cells, empty = _empty_cells(model) if columns is not None else ((), None, [])
    return FixedEffectAudit(
        n_rows=model.frame.n,
        n_columns=p,
        rank=rank,
        columns=tuple(_columns(model, found)),
        terms=terms,
        contrast_bases=tuple(_contrasts(model)),
        aliased_columns=left_out,
        n_empty_cells=n_cells,
        empty_cells=cells,
    ), findings + empty


def _columns(model: Layout, found: set[int] | None) -> Iterator[FixedColumn]:

    for block in model.fixed.blocks:
        kind = _kind(block, model)
        for j in range(block.start, block.stop):
            yield FixedColumn(name=model.fixed.names[j], source_term=_label(block), kind=kind,
                              aliased=None if found is None else j in found)


def _label(block: ColumnBlock) -> str:
    return block.label if block.parts else INTERCEPT


def _kind(block: ColumnBlock, model: Layout) -> FixedColumnKind:
    if not block.parts:
        return "intercept"
    if len(block.parts) > 1:
        return "interaction"
    part = block.parts[0]
    variable = model.frame.variables[part.key]
    if not isinstance(variable, FactorVariable):
        return "numeric"
    dummy = part.coding == "indicator" or variable.contrast.name in ("treatment", "SAS")
    return "categorical_dummy" if dummy else "categorical_contrast"


def _term(block: ColumnBlock, names: tuple[str, ...], found: set[int] | None) -> FixedTerm:

    own = range(block.start, block.stop)
    if found is None:
        return FixedTerm(term=_label(block), n_columns=len(own), status="not_assessed", aliased_columns=())
    lost = tuple(names[j] for j in own if j in found)
    status: Any = "estimable" if not lost else "not_estimable" if len(lost) == len(own) else "partially_estimable"
    return FixedTerm(term=_label(block), n_columns=len(own), status=status, aliased_columns=lost)


def _estimability(term: FixedTerm) -> Finding:

    return Finding(
        code="fixed_effect_rank_deficient", severity="warning", stage="estimability", affected_terms=(term.term,),
        payload={"term": term.term, "status": term.status, "n_columns": term.n_columns,
                 "aliased_columns": list(term.aliased_columns)},
    )


def _contrasts(model: Layout) -> Iterator[ContrastBasis]:
    """The codings of the factors, each as its terms use it, once."""

    seen: set[tuple[str, str]] = set()
    designs = [model.fixed, *(block.design for block in model.blocks)]
    for part in (part for design in designs for block in design.blocks for part in block.parts):
        variable = model.frame.variables[part.key]
        if not isinstance(variable, FactorVariable) or (part.key, part.coding) in seen:
            continue
        seen.add((part.key, part.coding))
        assert part.table is not None
        source = "indicator" if part.coding == "indicator" else variable.contrast.name
        yield ContrastBasis(
            variable=part.key, levels=tuple(variable.levels.labels.to_list()), column_names=part.names, source=source,
            ordered=variable.levels.order == "declared", explicit=source not in ("indicator", "treatment"),
            matrix=tuple(map(tuple, part.table.tolist())),
        )


def _empty_cells(model: Layout) -> tuple[tuple[EmptyCell, ...], int, list[Finding]]:
    """Combinations of levels that interactions among the fixed terms have and no row does."""

    listed: list[EmptyCell] = []
    total = 0
    findings: list[Finding] = []
    seen: set[frozenset[str]] = set()
    for block in model.fixed.blocks:
        factors = [(p.key, v) for p in block.parts if isinstance(v := model.frame.variables[p.key], FactorVariable)]
        keys = frozenset(key for key, _ in factors)
        if len(factors) < 2 or keys in seen:
            continue
        seen.add(keys)
        sizes = [len(variable.levels) for _, variable in factors]
        if np.prod(sizes, dtype=np.float64) > _MOST_CELLS:
            findings.append(Finding(
                code="support_note", severity="info", stage="design_audit", affected_terms=(block.label,),
                payload={"reason": "cells_not_counted", "term": block.label, "factors": [key for key, _ in factors]},
            ))
            continue
        empty = np.flatnonzero(~_occupied([variable for _, variable in factors], sizes))
        if not len(empty):
            continue
        total += len(empty)
        labels = [variable.levels.labels.to_list() for _, variable in factors]
        cells = [
            EmptyCell(term=block.label, factors=tuple(key for key, _ in factors),
                      levels=tuple(own[i] for own, i in zip(labels, np.unravel_index(cell, sizes), strict=True)))
            for cell in empty[:LISTED_CELLS].tolist()
        ]
        listed += cells
        findings.append(Finding(
            code="fixed_effect_empty_cell", severity="warning", stage="design_audit", affected_terms=(block.label,),
            payload={"term": block.label, "n_empty_cells": len(empty), "factors": list(cells[0].factors),
                     "levels": list(cells[0].levels)},
        ))
    return tuple(listed[:LISTED_CELLS]), total, findings


def _occupied(factors: list[FactorVariable], sizes: list[int]) -> NDArray[np.bool_]:
    met = np.zeros(int(np.prod(sizes)), np.bool_)
    n = len(factors[0].codes)
    for start in range(0, n, CHUNK_ROWS):
        rows = slice(start, start + CHUNK_ROWS)
        met[np.ravel_multi_index([factor.codes[rows] for factor in factors], sizes)] = True
    return met


def redundant_terms(model: Layout) -> list[Finding]:
    """Random intercepts for a factor that is a fixed main effect: its levels have all the fixed coefficients they can."""

    main = {
        variable.columns: variable.key
        for term in model.formula.fixed.terms
        if len(term.variables) == 1
        for variable in term.variables
        if isinstance(model.frame.variables[variable.key], FactorVariable)
    }
    found = []
    for block in written_order(model):
        columns = block.term.group[0].columns
        if block.term.lhs.intercept and len(block.term.group) == 1 and columns in main:
            found.append(Finding(
                code="fixed_random_redundant", severity="warning", stage="design_audit",
                affected_terms=(term_id(block.term), main[columns]),
                payload={"group": block.term.group_name, "fixed_term": main[columns],
                         "n_levels": model.factors[block.factor].n_levels,
                         "source_syntax": canonical_term(model.formula, block.term)},
            ))
    return found


def scope_notes(model: Layout, varies: dict[tuple[str, str], bool]) -> list[Finding]:
    """Numeric fixed main effects that vary within a group but have no slope there.

    ``varies`` tells of a variable and a group whether the variable differs in rows of one level.
    """

    slopes: dict[str, set[str]] = {}
    for block in model.blocks:
        slopes.setdefault(block.term.group_name, set()).update(
            variable.key for term in block.term.lhs.terms for variable in term.variables
        )
    found = []
    for (key, group), does in varies.items():
        if not does or key in slopes[group]:
            continue
        terms = sorted((b.term for b in model.blocks if b.term.group_name == group), key=lambda term: term.index)
        found.append(Finding(
            code="scope_note", severity="info", stage="design_audit", affected_terms=(key, *map(term_id, terms)),
            payload={"group": group, "fixed_effect": key, "varies_within_group": True,
                     "source_syntax": canonical_term(model.formula, terms[0])},
        ))
    return found
