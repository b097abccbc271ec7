"""New data, read the way the data of a model were read."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mixeff_fast.errors import DataError
from mixeff_fast.formula.model import Variable
from mixeff_fast.frame.columns import (
    Codes,
    FactorVariable,
    Floats,
    GroupingFactor,
    Note,
    NumericVariable,
    Rows,
    counted_rows,
    quoted,
)
from mixeff_fast.frame.levels import match_cells, match_codes
from mixeff_fast.frame.modelframe import read_offset
from mixeff_fast.frame.rows import RowReader, open_rows
from mixeff_fast.frame.scheme import DataScheme, GroupScheme
from mixeff_fast.frame.variables import effect_variables, read_numeric
from mixeff_fast.vocabulary import NaAction


@dataclass(frozen=True, slots=True, eq=False)
class NewData:
    """New data for a model that exists. All arrays are read-only; n is the number of rows in use.

    Attributes
    ----------
    n
        The number of rows in use.
    variables
        The variables asked for, by key, with the levels, codings and transform states of the model.
    groups
        The grouping factors asked for, by name; a code of -1 stands for a level the model has not seen.
    offset
        Shape (n,), or None: when the fixed part is not asked for, or the model has no offset.
    notes, n_source_rows, kept_rows, na_counts
        As in `ModelFrame`.
    """

    n: int
    variables: dict[str, NumericVariable | FactorVariable]
    groups: dict[str, GroupingFactor]
    offset: Floats | None
    notes: tuple[Note, ...]
    n_source_rows: int
    kept_rows: Rows | None
    na_counts: dict[str, int]


def read_new(
    scheme: DataScheme,
    data: Any,
    *,
    fixed: bool = True,
    groups: Iterable[str] = (),
    offset: Any = None,
    na_action: NaAction = "error",
) -> NewData:
    """Read new data for a model that exists. The response need not be there.

    Parameters
    ----------
    scheme
        The `scheme` of the model's frame.
    data
        As for `build_frame`.
    fixed
        Read the variables of the fixed part, and the offset.
    groups
        The grouping factors to read, by name, with the variables of their random terms.
    offset
        Replaces the argument ``offset=`` of the model: a column name, a Polars expression or an array. A model whose
        offset was a column finds it in the new data by itself.
    na_action
        ``"error"`` or ``"omit"``.

    Returns
    -------
    NewData

    Raises
    ------
    DataError
        If a column is missing or unusable, or a factor of the effects has a level the model has not seen.
    """
    formula = scheme.formula
    names = tuple(groups)
    effects = effect_variables(formula, fixed=fixed, groups=names)
    parts = {r.group_name: r.group for r in formula.random if r.group_name in names}
    offsets = formula.offsets if fixed else ()
    offset = _offset_source(scheme, offset) if fixed else None
    read = (*effects.values(), *offsets, *(variable for group in parts.values() for variable in group))
    columns = list(dict.fromkeys(column for variable in read for column in variable.columns))
    rows = open_rows(data, columns, weights=None, offset=offset, subset=None, na_action=na_action)
    return NewData(
        n=rows.n,
        variables={key: _read_effect(scheme, variable, rows) for key, variable in effects.items()},
        groups={name: _read_group(scheme.groups[name], group, rows) for name, group in parts.items()},
        offset=read_offset(formula, rows, scheme.states, learn=False) if fixed else None,
        notes=tuple(rows.notes),
        n_source_rows=rows.n_source,
        kept_rows=rows.kept_rows,
        na_counts=rows.na_counts,
    )


def _offset_source(scheme: DataScheme, offset: Any) -> Any:
    if offset is not None or not scheme.offset:
        if offset is None and scheme.offset == "":
            raise DataError(
                "the model was given an offset that is not a column, so new data need theirs: give offset= "
                "(zeros for none)",
                argument="offset",
            )
        return offset
    return scheme.offset


def _read_effect(scheme: DataScheme, variable: Variable, rows: RowReader) -> NumericVariable | FactorVariable:
    key = variable.key
    if key not in scheme.factors:
        values, _ = read_numeric(scheme.formula.text, variable, rows, scheme.states.get(key))
        return NumericVariable(key, values, scheme.suffixes[key])
    factor = scheme.factors[key]
    codes, unseen = match_codes(*rows.factor(variable.columns[0]), factor.levels)
    if unseen:
        where, fields = counted_rows(codes < 0, rows.kept_rows)
        raise DataError(
            f"the factor {key!r} has levels the model has not seen: {quoted(unseen)}, in {where}; "
            f"it knows {quoted(factor.levels.labels.to_list())}",
            column=variable.columns[0],
            levels=unseen,
            **fields,
        )
    return FactorVariable(key, codes, factor.levels, factor.contrast)


def _read_group(scheme: GroupScheme, group: tuple[Variable, ...], rows: RowReader) -> GroupingFactor:
    matched: list[Codes] = [
        match_codes(*rows.factor(variable.columns[0]), levels)[0]
        for variable, levels in zip(group, scheme.part_levels, strict=True)
    ]
    codes = matched[0]
    if len(matched) > 1:
        codes = match_cells(tuple(matched), tuple(map(len, scheme.part_levels)), scheme.cells)
    return GroupingFactor(scheme.name, scheme.parts, codes, scheme.levels, scheme.part_levels, scheme.cells)
