"""What a compiled formula means: random terms with their groups, columns and covariances, and the roles of variables.

Terms are numbered ``r0``, ``r1``, ... in the order of the formula after expansion, whatever order the engine has them in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import combinations
from typing import TYPE_CHECKING, Literal

from mixeff_fast.compile.roles import UNDECLARED, declared_records, declared_role, term_id, written_order
from mixeff_fast.formula.render import render_bars
from mixeff_fast.schemas.semantic import (
    BasisEntry,
    CrossCardConstraint,
    Grouping,
    RandomTerm,
    Role,
    SemanticModel,
    SourceSyntax,
)

if TYPE_CHECKING:
    from mixeff_fast import formula
    from mixeff_fast.compile.model import Layout, RandomBlock
    from mixeff_fast.frame import DesignColumns

Reason = Literal["double_bar_syntax", "separate_random_effect_blocks", "double_bar_factor_term"]
_GROUP_KINDS = {"marginal": "single", "cell": "cell", "interaction": "interaction"}


def semantic_model(model: Layout, roles: Mapping[str, Role]) -> SemanticModel:
    """Describe the model that a formula asks for.

    Parameters
    ----------
    model
        The layout; data enter by the columns of factors only.
    roles
        Declared roles by column or by name of a grouping factor, which ``SemanticModel.roles`` lists.
    """
    read = model.formula
    return SemanticModel(
        response=read.response.name,
        fixed_terms=(*(["1"] if read.fixed.intercept else []), *(term.name for term in read.fixed.terms)),
        random_terms=tuple(_random_term(model, block, roles) for block in written_order(model)),
        roles=declared_records(model, roles),
    )


def _random_term(model: Layout, block: RandomBlock, roles: Mapping[str, Role]) -> RandomTerm:
    term = block.term
    return RandomTerm(
        id=term_id(term),
        group=Grouping.model_validate(
            {"kind": _GROUP_KINDS[term.path], "name": term.group_name, "parts": tuple(v.key for v in term.group)}
        ),
        basis=basis_entries(block.design),
        covariance=block.family,
        structure=None,
        covariance_support="supported",
        n_parameters=len(block.rows),
        block_group=term.block_group,
        intercept="included" if term.lhs.intercept else "omitted",
        role=declared_role(term, roles) or UNDECLARED,
        source_syntax=SourceSyntax(text=canonical_term(model.formula, term), written=term.written),
    )


def canonical_term(read: formula.ModelFormula, term: formula.RandomTerm) -> str:
    """The canonical text of one random term by itself: what ``||`` was split into stands separated."""
    return next(render_bars(replace(read, random=(replace(term, block_group=None),))))


def basis_entries(design: DesignColumns) -> tuple[BasisEntry, ...]:
    """The columns of a random term, and the terms that they come from (``"1"`` is the intercept)."""
    entries: list[BasisEntry] = []
    for block in design.blocks:
        kind: Literal["intercept", "slope", "interaction"] = "slope"
        if len(block.parts) != 1:
            kind = "interaction" if block.parts else "intercept"
        source = block.label if block.parts else "1"
        entries += [BasisEntry(name=name, kind=kind, source=source) for name in design.names[block.start : block.stop]]
    return tuple(entries)


def spans_intercept(design: DesignColumns) -> bool:
    """Whether the columns of a term can give every level a baseline: an intercept, or indicators of all cells."""
    return any(all(part.coding == "indicator" for part in block.parts) for block in design.blocks)


def cross_card_constraints(semantic: SemanticModel) -> tuple[CrossCardConstraint, ...]:
    """The covariances that are zero because two terms on one group are separate: one record per pair of columns."""
    records: list[CrossCardConstraint] = []
    for first, second in combinations(semantic.random_terms, 2):
        if first.group != second.group:
            continue
        reason = separation(first, second)
        records += [
            CrossCardConstraint(type="zero_covariance", between_cards=(first.id, second.id), between_basis=(a.name, b.name),
                                group=first.group.name, reason=reason)
            for a in first.basis
            for b in second.basis
        ]
    return tuple(records)


def separation(first: RandomTerm, second: RandomTerm) -> Reason:
    """Why two terms on one group are separate."""
    if first.block_group is None or first.block_group != second.block_group:
        return "separate_random_effect_blocks"
    return "double_bar_factor_term" if len(first.basis) > 1 or len(second.basis) > 1 else "double_bar_syntax"
