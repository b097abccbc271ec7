"""The audit of a design: everything the data say about a model before it is fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.compile.design_columns import ExaminedColumns, examined_columns
from mixeff_fast.compile.design_fixed import audit_fixed, fixed_columns, redundant_terms, scope_notes
from mixeff_fast.compile.design_identify import constant_responses, disconnected, variation, weakly_identified
from mixeff_fast.compile.design_kernels import kernel_graph
from mixeff_fast.compile.design_levels import grouped
from mixeff_fast.compile.design_random import audit_term
from mixeff_fast.compile.design_units import Structure
from mixeff_fast.compile.roles import written_order
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.schemas.design import DesignAudit, RandomTermAudit
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import Thresholds

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mixeff_fast.compile.model import Layout

__all__ = ["design_audit", "examined_columns"]


def design_audit(
    model: Layout, columns: ExaminedColumns, roles: Mapping[str, str], thresholds: Thresholds
) -> tuple[DesignAudit, tuple[Finding, ...]]:
    """Audit the design of a model.

    Parameters
    ----------
    model
        Terms and data.
    columns
        Columns of the caller's data beside those of the model, from ``examined_columns``.
    roles
        Declared roles by variable: one declared to be a unit is one, whatever its name or type; one declared to be a
        treatment is none.
    thresholds
        The numbers that verdicts rest on.

    Returns
    -------
    audit
        What needs the rows is None or ``not_assessed`` where they are not in memory.
    findings
        Facts of interest, in a fixed order.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> from mixeff_fast.compile.design_columns import examined_columns
    >>> from mixeff_fast.schemas.policy import Thresholds
    >>> data = mf.datasets.load("Pastes")
    >>> model = mf.compile_model("strength ~ 1 + (1 | cask)", data).compiled
    >>> audit, findings = design_audit(model, examined_columns(data, model.frame, None), {}, Thresholds())
    >>> [(path.unit, path.n_levels) for path in audit.covariance_kernels.missing_dependence_paths]
    [('batch', 10), ('sample', 30)]
    >>> [finding.code for finding in findings]
    ['random_effect_few_levels', 'repeated_unit_unmodeled', 'repeated_unit_unmodeled']
    """

    structure = Structure(model)
    in_memory = model.frame.response is not ROWS_ELSEWHERE
    groups = {
        factor.group.name: grouped(factor.group.codes, factor.n_levels) if in_memory else None for factor in model.factors
    }
    told = {name: by for name, by in groups.items() if by is not None}
    x = fixed_columns(model) if in_memory else None
    fixed, findings = audit_fixed(model, x)
    findings += redundant_terms(model)
    varies = {} if x is None else variation(model, told, thresholds)
    findings += scope_notes(model, varies)
    terms: list[RandomTermAudit] = []
    for block in written_order(model):
        term, found = audit_term(model, block, groups[block.term.group_name], thresholds)
        terms.append(term)
        findings += found
    kernels, found = kernel_graph(model, structure, groups, columns, roles, thresholds)
    findings += found
    parts: int | None = 1 if len(groups) == 1 else None
    if x is not None:
        parts, found = disconnected(model, told, structure)
        findings += constant_responses(model, told, varies, thresholds) + found
        findings += weakly_identified(model, told, x, thresholds)
    audit = DesignAudit(fixed_effects=fixed, random_terms=tuple(terms), covariance_kernels=kernels, components=parts)
    return audit, tuple(findings)

