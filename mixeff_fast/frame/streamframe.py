"""The model frame of data that are read in batches: what is known of all rows, and the rows of one batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import polars as pl

from mixeff_fast.errors import DataError
from mixeff_fast.formula.model import ModelFormula, Variable
from mixeff_fast.formula.tree import Name
from mixeff_fast.frame.columns import (
    Codes,
    FactorVariable,
    Floats,
    GroupingFactor,
    Note,
    NumericVariable,
    counted_rows,
    frozen,
)
from mixeff_fast.frame.contrasts import contrast_of
from mixeff_fast.frame.modelframe import ModelFrame, read_offset
from mixeff_fast.frame.rows import RowReader, omitted_rows
from mixeff_fast.frame.scheme import DataScheme, FactorScheme, GroupScheme
from mixeff_fast.frame.streamlevels import GroupLookup, Lookup, group_lookup, lookup
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.frame.transforms import TransformState
from mixeff_fast.frame.variables import (
    effect_variables,
    level_notes,
    read_effect,
    read_factor,
    read_group,
    read_numeric,
)


@dataclass(frozen=True, slots=True, eq=False)
class Facts:
    """What a model frame says of its data as a whole; a frame without rows follows from it.

    Attributes
    ----------
    formula
        The model.
    values
        For every column read as a factor, and the columns of every grouping factor: the combinations that occur, sorted.
    codings
        The contrasts asked for, by variable key.
    states
        What the transforms of each variable learned, by key.
    suffixes
        The coefficient suffixes of the numeric variables, by key; the other variables are factors.
    n, n_chosen, n_source_rows
        Rows in use, rows that ``subset=`` keeps, and rows read.
    na_counts
        Missing values per column.
    weighted, has_offset
        Whether there are weights, and an offset of any kind.
    offset
        The column given as ``offset=``, ``""`` for values that are no column, None for none.
    notes
        What was noted about scales.
    """

    formula: ModelFormula
    values: dict[tuple[str, ...], pl.DataFrame]
    codings: dict[str, Any]
    states: dict[str, TransformState]
    suffixes: dict[str, tuple[str, ...]]
    n: int
    n_chosen: int
    n_source_rows: int
    na_counts: dict[str, int]
    weighted: bool
    has_offset: bool
    offset: str | None
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A frame whose rows are elsewhere, and what reading rows for it takes.

    Attributes
    ----------
    frame
        All of the frame but arrays of rows.
    effects
        For the factors among the effects: the column, and how to code it.
    groups
        How to code the grouping factors.
    """

    frame: ModelFrame
    effects: dict[str, tuple[str, Lookup]] = field(repr=False)
    groups: dict[str, GroupLookup] = field(repr=False)

    def read(self, rows: RowReader) -> ModelFrame:
        """The frame of some rows, coded and transformed as all of them are."""
        frame = self.frame
        variables = {key: self._variable(key, variable, rows) for key, variable in _effects(frame.formula).items()}
        groups = {name: replace(frame.groups[name], codes=self._group(name, rows)) for name in frame.groups}
        return replace(
            frame,
            n=rows.n,
            response=read_response_values(frame.formula, frame.states, rows),
            variables=variables,
            groups=groups,
            weights=rows.argument("weights"),
            offset=read_offset(frame.formula, rows, frame.states, learn=False),
            n_source_rows=rows.n_source,
            kept_rows=None,
        )

    def _variable(self, key: str, variable: Variable, rows: RowReader) -> NumericVariable | FactorVariable:
        known = self.frame.variables[key]
        if isinstance(known, NumericVariable):
            values, _ = read_numeric(self.frame.formula.text, variable, rows, self.frame.states.get(key))
            return replace(known, values=values)
        column, code = self.effects[key]
        codes = frozen(code(rows.series(column)))
        _require_known(codes, key, rows)
        return replace(known, codes=codes)

    def _group(self, name: str, rows: RowReader) -> Codes:
        found = self.groups[name]
        codes = found([rows.series(column) for column in found.columns])
        _require_known(codes, name, rows)
        return codes


def _require_known(codes: Codes, name: str, rows: RowReader) -> None:
    if len(codes) and int(codes.min()) < 0:
        where, fields = counted_rows(codes < 0, rows.kept_rows)
        raise DataError(
            f"{name!r} has values in {where} that were not there when the data were first read; make a copy that does not "
            "change while a model is fitted to it",
            column=name,
            **fields,
        )


def _effects(formula: ModelFormula) -> dict[str, Variable]:
    return effect_variables(formula, fixed=True, groups=None)


def read_response_values(formula: ModelFormula, states: Mapping[str, TransformState], rows: RowReader) -> Floats:
    """The response of some rows, a number or an expression of numbers."""
    variable = formula.response.variables[0]
    return read_numeric(formula.text, variable, rows, states.get(variable.key, TransformState()))[0]


def numeric_expressions(formula: ModelFormula, factors: set[str]) -> dict[str, Variable]:
    """The variables that are expressions of numbers, by key: of effects, response and offsets."""
    found = {key: variable for key, variable in _effects(formula).items() if key not in factors}
    found |= {variable.key: variable for variable in (*formula.response.variables, *formula.offsets)}
    return {key: variable for key, variable in found.items() if not isinstance(variable.node, Name)}


def know(facts: Facts) -> Known:
    """Make the frame that facts describe, with its rows elsewhere.

    Raises
    ------
    DataError, ArgumentError
        For factors that have no coding: one level, or contrasts that do not fit.
    """
    formula = facts.formula
    variables: dict[str, NumericVariable | FactorVariable] = {}
    effects: dict[str, tuple[str, Lookup]] = {}
    unused: dict[str, list[str]] = {}
    for key, variable in _effects(formula).items():
        if key in facts.suffixes:
            variables[key] = NumericVariable(key, ROWS_ELSEWHERE, facts.suffixes[key])
            continue
        column = variable.columns[0]
        values = facts.values[(column,)].get_column(column)
        rows = _reader([values])
        codes, levels = read_effect(formula.text, variable, rows)
        contrast = contrast_of(key, levels, facts.codings.get(key, "treatment"))
        variables[key] = FactorVariable(key, ROWS_ELSEWHERE, levels, contrast)
        effects[key] = column, lookup(values, codes)
        unused |= rows.unused
    groups: dict[str, GroupingFactor] = {}
    lookups: dict[str, GroupLookup] = {}
    for random in formula.random:
        if random.group_name not in groups:
            group, found, left = _group(formula, random.group_name, random.group, facts)
            groups[random.group_name], lookups[random.group_name] = group, found
            unused |= left
    notes = [omitted_rows(facts.na_counts, facts.n_chosen - facts.n, facts.n_chosen)] if facts.na_counts else []
    notes += [*level_notes(formula, groups, unused), *facts.notes]
    frame = ModelFrame(
        n=facts.n,
        formula=formula,
        response=ROWS_ELSEWHERE,
        variables=variables,
        groups=groups,
        weights=ROWS_ELSEWHERE if facts.weighted else None,
        offset=ROWS_ELSEWHERE if facts.has_offset else None,
        notes=tuple(notes),
        n_source_rows=facts.n_source_rows,
        kept_rows=ROWS_ELSEWHERE,
        na_counts=facts.na_counts,
        states=facts.states,
        scheme=DataScheme(
            formula,
            {k: FactorScheme(v.levels, v.contrast) for k, v in variables.items() if isinstance(v, FactorVariable)},
            facts.suffixes,
            facts.states,
            {name: GroupScheme(name, g.parts, g.levels, g.part_levels, g.cells) for name, g in groups.items()},
            facts.offset,
        ),
    )
    return Known(frame, effects, lookups)


def _reader(columns: list[pl.Series]) -> RowReader:
    return RowReader({column.name: column for column in columns}, {}, len(columns[0]))


def _group(
    formula: ModelFormula, name: str, group: tuple[Variable, ...], facts: Facts
) -> tuple[GroupingFactor, GroupLookup, dict[str, list[str]]]:
    """Levels of a grouping factor from the combinations that occur, and how to code rows."""
    columns = tuple(variable.columns[0] for variable in group)
    occurring = facts.values[columns]
    rows = _reader([occurring.get_column(column) for column in columns])
    read = read_group(formula.text, name, group, rows)
    if len(group) == 1:
        parts = [lookup(rows.series(columns[0]), read.codes)]
    else:
        parts = []
        for column, variable in zip(columns, group, strict=True):
            own = _reader([occurring.get_column(column).unique().sort()])
            parts.append(lookup(own.series(column), read_factor(formula.text, variable, own)[0]))
    sizes = [len(levels) for levels in read.part_levels]
    found = group_lookup(columns, parts, sizes, read.cells)
    return replace(read, codes=ROWS_ELSEWHERE), found, rows.unused


def value_columns(formula: ModelFormula, factors: set[str]) -> list[tuple[str, ...]]:
    """The columns whose values have to be known: of every factor among the effects, and of every grouping factor."""
    wanted: list[tuple[str, ...]] = [(variable.columns[0],) for key, variable in _effects(formula).items() if key in factors]
    wanted += [tuple(variable.columns[0] for variable in random.group) for random in formula.random]
    return list(dict.fromkeys(wanted))


def same_levels(one: FactorVariable | NumericVariable, two: FactorVariable | NumericVariable) -> bool:
    """Whether a variable has the same columns in two frames."""
    if isinstance(one, FactorVariable) and isinstance(two, FactorVariable):
        return one.levels.labels.equals(two.levels.labels) and np.array_equal(one.contrast.matrix, two.contrast.matrix)
    return isinstance(one, NumericVariable) and isinstance(two, NumericVariable) and one.suffixes == two.suffixes
