"""The part that variables play in a design: as declared, or as observed in the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.frame import FactorVariable
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.schemas.semantic import Role, RoleRecord

if TYPE_CHECKING:
    from mixeff_fast import formula
    from mixeff_fast.compile.model import Layout, RandomBlock
    from mixeff_fast.schemas.design import DesignAudit

# Rows looked at before all are: variation within groups shows early or not at all.
_HEAD = 65_536
# A grouping factor is there because its levels are taken for a sample.
UNDECLARED: Role = "sampled_unit"


def term_id(term: formula.RandomTerm) -> str:
    """The name of a random term in every artifact."""
    return f"r{term.index}"


def written_order(model: Layout) -> list[RandomBlock]:
    """The random terms in the order of the formula."""
    return sorted(model.blocks, key=lambda block: block.term.index)


def declared_role(term: formula.RandomTerm, roles: Mapping[str, Role]) -> Role | None:
    """The role declared for the groups of a term: under the group's name, or that of its column, which for cells written
    ``a/b`` is the innermost one."""
    if term.group_name in roles:
        return roles[term.group_name]
    if len(term.group) > 1 and term.expansion != "nested":
        return None
    return roles.get(term.group[-1].columns[0])


def declared_records(model: Layout, roles: Mapping[str, Role]) -> tuple[RoleRecord, ...]:
    """One record per declared role; ``group`` is the grouping factor that takes it on."""
    records = []
    for variable, role in roles.items():
        group = next(
            (b.term.group_name for b in written_order(model) if declared_role(b.term, {variable: role}) is not None), None
        )
        records.append(
            RoleRecord(variable=variable, role=role, origin="declared_by_user", group=group,
                       evidence="declared_role")
        )
    return tuple(records)


def observed_roles(model: Layout, audit: DesignAudit, declared: Mapping[str, Role]) -> tuple[RoleRecord, ...]:
    """Every role: those declared, those of other grouping factors, and how fixed effects vary within or between groups.

    Parameters
    ----------
    model
        The layout.
    audit
        Tells for columns of random terms whether they vary within the levels of the group; it is all there is to tell where
        the rows are not in memory.
    declared
        Declared roles, as for ``semantic_model``.
    """
    records = list(declared_records(model, declared))
    taken = {record.group for record in records} | set(declared)
    groups = list(dict.fromkeys(block.term.group_name for block in written_order(model)))
    records += [
        RoleRecord(variable=name, role=UNDECLARED, origin="observed_from_data", group=name,
                   evidence="grouping_factor_of_random_term")
        for name in groups
        if name not in taken
    ]
    for term in model.formula.fixed.terms:
        if not {term.name, *(column for v in term.variables for column in v.columns)} & {*groups, *declared}:
            records += _observed(model, audit, term, groups)
    return tuple(records)


def _observed(model: Layout, audit: DesignAudit, term: formula.Term, groups: list[str]) -> Iterator[RoleRecord]:
    """How a fixed term varies over each grouping factor; of interactions nothing is told but that they are there."""
    known = False
    for group in groups:
        varies = _varies_in_audit(model, audit, term.name, group)
        if varies is None and len(term.variables) == 1:
            varies = _varies_in_rows(model, term.name, group)
        if varies is None:
            continue
        known = True
        yield RoleRecord(
            variable=term.name, role="observed_within_group" if varies else "observed_between_group",
            origin="observed_from_data", group=group, evidence="varies_within_levels" if varies else "constant_within_levels",
        )
    if not known:
        yield RoleRecord(variable=term.name, role="observed_fixed_effect", origin="observed_from_data", group=None,
                         evidence="term_of_fixed_part")


def _varies_in_audit(model: Layout, audit: DesignAudit, name: str, group: str) -> bool | None:
    support = {(term.term_id, entry.name): entry.supported for term in audit.random_terms for entry in term.basis}
    found = [
        support[term_id(block.term), column]
        for block in model.blocks
        if block.term.group_name == group
        for part in block.design.blocks
        if part.label == name
        for column in block.names[part.start : part.stop]
        if (term_id(block.term), column) in support
    ]
    return any(found) if found else None


def _varies_in_rows(model: Layout, key: str, group: str) -> bool | None:
    frame = model.frame
    if frame.response is ROWS_ELSEWHERE:
        return None
    variable = frame.variables[key]
    values = variable.codes if isinstance(variable, FactorVariable) else variable.values
    factor = frame.groups[group]
    for rows in (slice(0, _HEAD), slice(None)):
        own, codes = values[rows], factor.codes[rows]
        one_of_each = np.zeros((len(factor.levels), *own.shape[1:]), own.dtype)
        one_of_each[codes] = own
        if bool((own != one_of_each[codes]).any()):
            return True
    return False
