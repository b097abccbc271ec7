"""Sources of dependence between rows: those the model has, and units of the data that no term covers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.compile.design_units import KINDS, Structure, Unit, find_units
from mixeff_fast.compile.roles import term_id, written_order
from mixeff_fast.compile.semantic import canonical_term
from mixeff_fast.schemas.design import (
    CovarianceKernel,
    CovarianceKernelGraph,
    MissingDependencePath,
    Nesting,
    RepeatedUnit,
)
from mixeff_fast.schemas.diagnostics import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mixeff_fast.compile.design_columns import ExaminedColumns
    from mixeff_fast.compile.design_levels import Grouped
    from mixeff_fast.compile.model import Layout, RandomBlock
    from mixeff_fast.schemas.policy import Thresholds


def spans_intercept(block: RandomBlock) -> bool:
    """Whether the columns of a term contain a constant: an intercept, or indicators of all levels of a factor."""
    return block.term.lhs.intercept or any(
        part.parts and all(p.coding == "indicator" for p in part.parts) for part in block.design.blocks
    )


def _kernels(model: Layout) -> Iterator[CovarianceKernel]:

    for block in written_order(model):
        term = block.term
        yield CovarianceKernel(
            term_id=term_id(term), group=term.group_name, parts=tuple(v.key for v in term.group), path=KINDS[term.path],
            has_intercept=spans_intercept(block), basis=block.names, covariance_family=block.family,
            support_status="supported", expected_parameter_count=len(block.rows),
            source_syntax=canonical_term(model.formula, term),
        )


def kernel_graph(
    model: Layout, structure: Structure, factors: Mapping[str, Grouped | None], columns: ExaminedColumns,
    roles: Mapping[str, str], thresholds: Thresholds,
) -> tuple[CovarianceKernelGraph, list[Finding]]:
    """Compare the sources of dependence of the model with the units in the data.

    ``factors`` has the levels of each grouping factor by name, None where the rows are not in memory.
    """
    kernels = tuple(_kernels(model))
    units = find_units(structure, factors, columns, roles, thresholds)
    by_name = {unit.name: unit for unit in units}
    covered = {unit.name: _covering(structure, unit, kernels, by_name) for unit in units}
    reused = {unit.name: outer for unit in units if (outer := _reused_within(structure, unit, units, covered))}
    missing: list[MissingDependencePath] = []
    findings: list[Finding] = []
    for unit in units:
        if covered[unit.name] or unit.name in reused or not unit.repeated(model.frame.n):
            continue
        if roles.get(unit.name) == "treatment" or _is_fixed(structure, unit):
            continue
        path = MissingDependencePath(
            unit=unit.name, parts=unit.parts, path=unit.path, n_levels=unit.n_levels,
            max_obs_per_level=None if unit.by is None else int(unit.by.counts.max()), reason=_why(unit, kernels),
            random_term=f"(1 | {unit.written})",
        )
        missing.append(path)
        findings.append(Finding(
            code="repeated_unit_unmodeled", severity="warning", stage="design_audit", affected_terms=(unit.name,),
            payload={"unit": unit.name, "parts": list(unit.parts), "n_levels": unit.n_levels, "evidence": unit.evidence,
                     "max_obs_per_level": path.max_obs_per_level, "reason": path.reason, "random_term": path.random_term},
        ))
    return CovarianceKernelGraph(
        kernels=kernels,
        repeated_units=tuple(_record(model, unit, covered[unit.name]) for unit in units),
        nesting=tuple(_nesting(structure, units, reused)),
        missing_dependence_paths=tuple(missing),
        columns_examined=columns.names,
    ), findings


def _nesting(structure: Structure, units: list[Unit], reused: Mapping[str, str]) -> Iterator[Nesting]:
    by_name = {unit.name: unit for unit in units}
    for unit in units:
        outer = reused.get(unit.name)
        if outer is not None and not structure.nested(unit.by, by_name[outer].by):
            yield Nesting(inner=unit.name, outer=outer, labels_reused=True)
        for other in units:
            apart = unit is not other and not set(other.parts) <= set(unit.parts)
            if apart and not structure.same(unit.by, other.by) and structure.nested(unit.by, other.by):
                yield Nesting(inner=unit.name, outer=other.name, labels_reused=False)


def _covering(
    structure: Structure, unit: Unit, kernels: tuple[CovarianceKernel, ...], units: Mapping[str, Unit]
) -> tuple[str, ...]:
    """Terms with an intercept whose groups are the levels of a unit, whatever they are called."""
    return tuple(
        kernel.term_id
        for kernel in kernels
        if kernel.has_intercept
        and (set(kernel.parts) == set(unit.parts) or structure.same(unit.by, units[kernel.group].by))
    )


def _reused_within(
    structure: Structure, unit: Unit, units: list[Unit], covered: Mapping[str, tuple[str, ...]]
) -> str | None:
    """The unit within which the labels of another mean something, so that they are no unit by themselves.

    For a part of cells it is ``a`` where both ``a`` and ``a:b`` are modelled. For a column it is one with more levels, where
    the two together label a finer unit.
    """
    if len(unit.parts) > 1 or covered[unit.name] or unit.evidence == "declared_role":
        return None
    for fine in units:
        if unit.evidence != "grouping_factor":
            for outer in units:
                if outer.n_levels > unit.n_levels and structure.is_product(fine.by, outer.by, unit.by):
                    return outer.name
        elif len(fine.parts) > 1 and unit.name in fine.parts and covered[fine.name]:
            rest = set(fine.parts) - {unit.name}
            found = [
                outer.name
                for outer in units
                if set(outer.parts) == rest and covered[outer.name] and not structure.nested(outer.by, unit.by)
            ]
            if found:
                return found[0]
    return None


def _is_fixed(structure: Structure, unit: Unit) -> bool:
    columns = {
        tuple(variable.key for variable in term.variables) for term in structure.model.formula.fixed.terms
    }
    return unit.parts in columns or structure.in_fixed_part(unit.by)


def _why(unit: Unit, kernels: tuple[CovarianceKernel, ...]) -> str:
    if unit.evidence != "grouping_factor":
        return unit.evidence
    own = any(set(kernel.parts) == set(unit.parts) for kernel in kernels)
    return "terms_without_intercept" if own else "part_of_cells"


def _record(model: Layout, unit: Unit, covered: tuple[str, ...]) -> RepeatedUnit:

    counts = None if unit.by is None else unit.by.counts
    return RepeatedUnit(
        unit=unit.name, parts=unit.parts, path=unit.path, evidence=unit.evidence, n_observations=model.frame.n,
        n_levels=unit.n_levels, min_obs_per_level=None if counts is None else int(counts.min()),
        max_obs_per_level=None if counts is None else int(counts.max()), repeated=unit.repeated(model.frame.n),
        covered_by_terms=covered,
    )
