"""Units that rows repeat: those of the model, those declared, and columns of the data that look like one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast.compile.design_columns import has_member_name, has_unit_name
from mixeff_fast.compile.design_levels import Grouped, first_of_levels, grouped, is_constant_within
from mixeff_fast.formula.render import quote
from mixeff_fast.frame.columns import FactorVariable
from mixeff_fast.frame.levels import combine
from mixeff_fast.schemas.policy import Thresholds
from mixeff_fast.schemas.semantic import GroupKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from mixeff_fast.compile.design_columns import ExaminedColumns
    from mixeff_fast.compile.model import Layout
    from mixeff_fast.vocabulary import GroupPath

    Codes = NDArray[np.int32]
    Evidence = Literal["grouping_factor", "declared_role", "nested_structure", "column_name", "many_levels"]

KINDS: dict[GroupPath, GroupKind] = {"marginal": "single", "cell": "cell", "interaction": "interaction"}
NO_UNIT = ("treatment", "unknown")


@dataclass(frozen=True, slots=True, eq=False)
class Unit:
    """Something that rows may repeat. ``by`` is None where the rows are not in memory; a formula has it as ``written``."""

    name: str
    parts: tuple[str, ...]
    path: GroupKind
    evidence: Evidence
    n_levels: int
    by: Grouped | None
    written: str

    def repeated(self, n_rows: int) -> bool:
        return self.n_levels < n_rows if self.by is None else self.by.n_repeated > 0


class Structure:
    """Which units lie within which, each pair looked up once."""

    __slots__ = ("_fixed", "_found", "model")

    def __init__(self, model: Layout) -> None:
        self.model = model
        # by identity; the units are kept, so that an identity is not used again
        self._found: dict[tuple[int, int], tuple[Grouped, Grouped, bool]] = {}
        self._fixed: list[Grouped] | None = None

    def nested(self, inner: Grouped | None, outer: Grouped | None) -> bool:
        """Whether every level of ``inner`` lies in one level of ``outer``; False where that cannot be told."""
        if inner is None or outer is None or inner.n_levels < outer.n_levels:
            return False
        key = id(inner), id(outer)
        if key not in self._found:
            self._found[key] = inner, outer, is_constant_within(inner, outer.codes)
        return self._found[key][2]

    def same(self, one: Grouped | None, two: Grouped | None) -> bool:
        """Whether both cut the rows into the same sets."""
        if one is None or two is None or one.n_levels != two.n_levels:
            return False
        return self.nested(one, two)

    def is_product(self, fine: Grouped | None, outer: Grouped | None, labels: Grouped | None) -> bool:
        """Whether the levels of ``fine`` are the observed combinations of those of two others, neither of them nested."""
        if fine is None or outer is None or labels is None or fine.n_levels <= max(outer.n_levels, labels.n_levels):
            return False
        if not (self.nested(fine, outer) and self.nested(fine, labels)) or self.nested(outer, labels):
            return False
        pairs = first_of_levels(fine, outer.codes) * labels.n_levels + first_of_levels(fine, labels.codes)
        return len(np.unique(pairs)) == fine.n_levels

    def fixed(self) -> list[Grouped]:
        """The cells of fixed terms made of factors alone: indicators of coarser levels add nothing to their columns."""
        if self._fixed is None:
            self._fixed = []
            for term in self.model.formula.fixed.terms:
                factors = [self.model.frame.variables[variable.key] for variable in term.variables]
                coded = [factor for factor in factors if isinstance(factor, FactorVariable)]
                if len(coded) < len(factors):
                    continue
                codes, cells = combine(tuple(f.codes for f in coded), tuple(len(f.levels) for f in coded))
                self._fixed.append(grouped(codes, len(cells)))
        return self._fixed

    def in_fixed_part(self, by: Grouped | None) -> bool:
        """Whether the levels are told by a fixed term."""
        return by is not None and any(self.nested(cells, by) for cells in self.fixed())


def find_units(
    structure: Structure, factors: Mapping[str, Grouped | None], columns: ExaminedColumns, roles: Mapping[str, str],
    thresholds: Thresholds,
) -> list[Unit]:
    """Grouping factors and their parts, variables declared to be units, and columns that look like units."""
    units = _grouping_units(structure.model, factors)
    units += _declared_units(structure.model, units, columns, roles)
    return _with_columns(structure, units, columns, roles, thresholds)


def _grouping_units(model: Layout, factors: Mapping[str, Grouped | None]) -> list[Unit]:
    """Grouping factors, and the parts of composite ones."""
    units: dict[tuple[str, ...], Unit] = {}
    terms = sorted((block.term for block in model.blocks), key=lambda term: term.index)
    for term in terms:
        parts = tuple(variable.key for variable in term.group)
        if parts not in units:
            group = model.frame.groups[term.group_name]
            units[parts] = Unit(term.group_name, parts, KINDS[term.path], "grouping_factor", len(group.levels),
                                factors[term.group_name], ":".join(parts))
    for parts in list(units):
        if len(parts) == 1:
            continue
        group, by = model.frame.groups[units[parts].name], units[parts].by
        for k, part in enumerate(parts):
            if (part,) in units:
                continue
            coded = None
            if by is not None:
                own = group.cells[:, k]
                counts = np.bincount(own, weights=by.counts, minlength=len(group.part_levels[k])).astype(np.int64)
                coded = Grouped(own[by.codes], counts)
            units[part,] = Unit(part, (part,), "single", "grouping_factor", len(group.part_levels[k]), coded, part)
    return list(units.values())


def _declared_units(
    model: Layout, known: list[Unit], columns: ExaminedColumns, roles: Mapping[str, str]
) -> Iterator[Unit]:
    """Variables declared to be units that are no grouping factors."""
    names = {unit.name for unit in known}
    for name, role in roles.items():
        if role in NO_UNIT or name in names:
            continue
        parts = (name,) if name in columns.columns or name in model.frame.variables else tuple(name.split(":"))
        coded = [_variable_levels(model, part, columns) for part in parts]
        if any(by is None for by in coded):
            continue
        by = coded[0]
        if len(parts) > 1:
            codes, cells = combine(tuple(b.codes for b in coded if b), tuple(b.n_levels for b in coded if b))
            by = grouped(codes, len(cells))
        assert by is not None
        yield Unit(name, parts, "single" if len(parts) == 1 else "cell", "declared_role", by.n_levels, by,
                   ":".join(map(quote, parts)))


def _variable_levels(model: Layout, name: str, columns: ExaminedColumns) -> Grouped | None:
    for group in model.frame.groups.values():
        if name in group.parts:
            k = group.parts.index(name)
            return grouped(group.cells[:, k][group.codes], len(group.part_levels[k]))
    variable = model.frame.variables.get(name)
    if isinstance(variable, FactorVariable):
        return grouped(variable.codes, len(variable.levels))
    return columns.levels(name) if name in columns.columns else None


def _with_columns(
    structure: Structure, known: list[Unit], columns: ExaminedColumns, roles: Mapping[str, str], thresholds: Thresholds
) -> list[Unit]:
    """The units known, and columns outside the model that look like units, by their name or by how they relate to others."""
    known = list(known)
    for name in columns.names:
        if any(unit.name == name for unit in known) or roles.get(name) in NO_UNIT:
            continue
        named = has_unit_name(name)
        if not named and not columns.is_label(name):
            continue
        rows, sample = columns.sample(name)
        if sample is None or sample.n_levels < 2 or not sample.n_repeated:
            continue
        if not named and not _may_be_unit(structure, known, rows, sample, thresholds):
            continue
        by = sample if len(rows) == structure.model.frame.n else columns.levels(name)
        if by is None or by.n_levels < 2 or not _is_repeated(by, thresholds):
            continue
        if any(structure.same(by, unit.by) for unit in known):
            continue
        evidence: Evidence
        if _structural(structure, known, by, thresholds):
            evidence = "nested_structure"
        elif named:
            evidence = "column_name"
        elif by.n_levels >= thresholds.min_levels_unnamed_unit:
            evidence = "many_levels"
        else:
            continue
        unit = Unit(name, (name,), "single", evidence, by.n_levels, by, quote(name))
        known.append(unit)
    return [_within_another(structure, known, unit, thresholds) or unit for unit in known]


def _within_another(structure: Structure, known: list[Unit], unit: Unit, thresholds: Thresholds) -> Unit | None:
    """The cells of a group of the model and a column named like a member of it, where its labels are used in several.

    That the labels are few beside the groups tells members that are numbered anew in each from units that cross them.
    """
    by = unit.by
    if by is None or unit.evidence not in ("column_name", "many_levels") or not has_member_name(unit.name):
        return None
    for outer in known:
        if outer.by is None or outer.evidence != "grouping_factor" or outer.n_levels < unit.n_levels:
            continue
        codes, cells = combine((outer.by.codes, by.codes), (outer.n_levels, unit.n_levels))
        both = grouped(codes, len(cells))
        if _is_repeated(both, thresholds) and not any(structure.same(both, other.by) for other in known):
            return Unit(f"{outer.name}:{unit.name}", (*outer.parts, unit.name), "cell", unit.evidence, len(cells), both,
                        f"{outer.written}:{unit.written}")
    return None


def _is_repeated(by: Grouped, thresholds: Thresholds) -> bool:
    """Whether so many rows share their level with another that a column labels units rather than rows."""
    return int(by.counts[by.counts > 1].sum()) >= thresholds.min_repeated_row_share * len(by.codes)


def _may_be_unit(
    structure: Structure, known: list[Unit], rows: NDArray[np.int64], sample: Grouped, thresholds: Thresholds
) -> bool:
    """Whether a sample of the rows leaves it possible that a column has a structure that makes it a unit."""
    if sample.n_levels >= thresholds.min_levels_unnamed_unit:
        return True
    for unit in known:
        if unit.by is not None:
            codes = unit.by.codes[rows]
            if is_constant_within(sample, codes) or is_constant_within(grouped(codes, unit.n_levels), sample.codes):
                return True
    return any(is_constant_within(sample, values[rows]) for values in _predictors(structure.model))


def _predictors(model: Layout) -> Iterator[NDArray[np.float64] | Codes]:
    """Variables of the fixed part, one value per row."""
    for term in model.formula.fixed.terms:
        if len(term.variables) == 1:
            variable = model.frame.variables[term.variables[0].key]
            if isinstance(variable, FactorVariable):
                yield variable.codes
            elif variable.values.ndim == 1:
                yield variable.values


def _structural(structure: Structure, known: list[Unit], by: Grouped, thresholds: Thresholds) -> bool:
    """A unit holds or is held by a unit of the model, or a variable of the fixed part is constant within it.

    What holds units may as well be an attribute of theirs: levels enough to estimate a variance are asked for.
    """
    enough = by.n_levels >= thresholds.min_levels_reliability
    for unit in known:
        if unit.by is None:
            continue
        if by.n_levels > unit.n_levels and structure.nested(by, unit.by):
            return True
        if enough and unit.n_levels >= 2 * by.n_levels and structure.nested(unit.by, by):
            return True
    if not enough:
        return False
    for values in _predictors(structure.model):
        if is_constant_within(by, values) and 1 < len(np.unique(first_of_levels(by, values))) < by.n_levels:
            return True
    return False
