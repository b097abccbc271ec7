"""One variable of a formula, read from the rows in use: as numbers, or as a factor."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from mixeff_fast.errors import DataError, FormulaError
from mixeff_fast.formula.model import ModelFormula, Variable
from mixeff_fast.formula.tree import Call, Name, literal_value
from mixeff_fast.frame.columns import (
    Codes,
    FactorVariable,
    Floats,
    GroupingFactor,
    Levels,
    Note,
    NumericVariable,
    frozen,
    quoted,
)
from mixeff_fast.frame.levels import cell_labels, combine, match_codes, number_label
from mixeff_fast.frame.notices import issue
from mixeff_fast.frame.rows import RowReader
from mixeff_fast.frame.transforms import TransformState, evaluate

# Standard deviations outside this range, or this far apart, make coefficients that are hard to read and to compare.
_LARGE, _SMALL, _APART = 1e4, 1e-4, 1e4
# Beyond these, variances of the ratio of two variables leave the range of float64.
_HUGE, _TINY = 1e75, 1e-75
# Below this share of the values, a standard deviation may be that of a constant, which rounding makes differ from 0.
_ROUNDING = 1e-7
_SAMPLED_ROWS = 65_536
_FACTOR_FUNCTIONS = frozenset({"factor", "as.factor"})


def effect_variables(formula: ModelFormula, *, fixed: bool, groups: Sequence[str] | None) -> dict[str, Variable]:
    """Return the variables of the fixed part and of the random terms on some groups (None: all), by key."""
    terms = list(formula.fixed.terms) if fixed else []
    for random in formula.random:
        if groups is None or random.group_name in groups:
            terms.extend(random.lhs.terms)
    return {variable.key: variable for term in terms for variable in term.variables}


def is_factor(variable: Variable, rows: RowReader) -> bool:
    """Tell whether a variable is a factor: strings, categories, booleans, and what ``factor()`` makes one."""
    node = variable.node
    if isinstance(node, Name):
        return rows.is_categorical(node.name) or rows.dtype(node.name) == pl.Boolean
    return isinstance(node, Call) and node.function in _FACTOR_FUNCTIONS


def read_numeric(
    text: str, variable: Variable, rows: RowReader, state: TransformState | None
) -> tuple[Floats, TransformState | None]:
    """Evaluate a numeric variable.

    Parameters
    ----------
    text
        The formula, for messages.
    variable
        A column, or a function of columns.
    rows
        The rows in use.
    state
        The recorded state of the variable's transforms, or None to record one.

    Returns
    -------
    values
        Shape (n,), or (n, m) for a basis; read-only and finite.
    state
        The state, or None for a plain column.
    """
    if isinstance(variable.node, Name):
        return rows.numeric(variable.node.name), None
    values, state = evaluate(text, variable, rows.numeric, state)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    rows.require_finite(values, repr(variable.key), {"column": variable.key})
    return frozen(values), state


def read_effect(text: str, variable: Variable, rows: RowReader) -> tuple[Codes, Levels]:
    """Code a factor whose levels become coefficients. A boolean has two levels even where only one occurs, as in R."""
    node = variable.node
    if isinstance(node, Name) and rows.dtype(node.name) == pl.Boolean:
        levels = Levels(pl.Series(["FALSE", "TRUE"]), "logical", "logical")
        return frozen(rows.numeric(node.name).astype(np.int32)), levels
    return read_factor(text, variable, rows)


def read_factor(text: str, variable: Variable, rows: RowReader) -> tuple[Codes, Levels]:
    """Code a factor: a column, ``factor(column)``, or ``factor(column, levels = c(...))``."""
    codes, levels = rows.factor(variable.columns[0])
    node = variable.node
    if isinstance(node, Name):
        return codes, levels
    assert isinstance(node, Call)
    if len(node.args) == 1 and not node.keywords:
        return codes, levels
    wanted = literal_value(node.keywords[0][1]) if len(node.keywords) == 1 and len(node.args) == 1 else None
    if wanted is None or node.keywords[0][0] != "levels" or not isinstance(wanted, tuple):
        raise FormulaError(
            f"{node.function}() takes a column and levels = c(...) only; relabel in Polars first",
            formula=text,
            offset=node.span.start,
            length=node.span.stop - node.span.start,
        )
    return _in_given_order(variable, rows, codes, levels, [_label(value) for value in wanted])


def _label(value: float | str) -> str:
    return value if isinstance(value, str) else number_label(float(value))


def _in_given_order(
    variable: Variable, rows: RowReader, codes: Codes, found: Levels, wanted: list[str]
) -> tuple[Codes, Levels]:
    declared = Levels(pl.Series(list(dict.fromkeys(wanted)), dtype=pl.String), "declared", found.kind)
    codes, unlisted = match_codes(codes, found, declared)
    if unlisted:
        raise DataError(
            f"{variable.key!r} lists some levels only, and the data also have {quoted(unlisted)}; "
            f"list every level, or choose rows with subset=",
            column=variable.columns[0],
            levels=unlisted,
        )
    used = np.zeros(len(declared), dtype=np.bool_)
    used[codes] = True
    if used.all():
        return codes, declared
    rows.unused[variable.columns[0]] = declared.labels.filter(pl.Series(~used)).to_list()
    table = np.cumsum(used, dtype=np.int32) - np.int32(1)
    return frozen(table[codes]), Levels(declared.labels.filter(pl.Series(used)), "declared", found.kind)


def read_group(text: str, name: str, group: tuple[Variable, ...], rows: RowReader) -> GroupingFactor:
    """Code a grouping factor: one column, or the observed combinations of several."""
    parts = tuple(variable.key for variable in group)
    coded = [read_factor(text, variable, rows) for variable in group]
    part_levels = tuple(levels for _, levels in coded)
    if len(group) == 1:
        codes, levels = coded[0]
        cells = frozen(np.arange(len(levels), dtype=np.int32)[:, None])
        return GroupingFactor(name, parts, codes, levels, part_levels, cells)
    codes, cells = combine(tuple(part for part, _ in coded), tuple(map(len, part_levels)))
    levels = Levels(cell_labels(part_levels, cells), part_levels[0].order, "string")
    return GroupingFactor(name, parts, codes, levels, part_levels, cells)


def note_levels(formula: ModelFormula, groups: dict[str, GroupingFactor], rows: RowReader) -> None:
    """Note levels that were dropped, and grouping columns that were read as factors without being asked to."""
    rows.notes.extend(issue(note) for note in level_notes(formula, groups, rows.unused))


def level_notes(
    formula: ModelFormula, groups: dict[str, GroupingFactor], dropped: dict[str, list[str]]
) -> list[Note]:
    """The notes on levels: ``dropped`` are declared levels that do not occur, by column."""
    notes: list[Note] = []
    for name, unused in dropped.items():
        message = f"levels of {name!r} that do not occur were dropped: {quoted(unused)}"
        notes.append(Note("unused_levels", message, name, {"levels": unused}))
    noted: set[str] = set()
    for random in formula.random:
        for variable, levels in zip(random.group, groups[random.group_name].part_levels, strict=True):
            if levels.kind == "string" or not isinstance(variable.node, Name) or variable.key in noted:
                continue
            noted.add(variable.key)
            message = (
                f"the {levels.kind} column {variable.key!r} is used as a grouping factor with {len(levels)} levels; "
                f"write factor({variable.key}) to say so, or cast it to a string"
            )
            payload = {"kind": levels.kind, "n_levels": len(levels)}
            notes.append(Note("grouping_coercion", message, variable.columns[0], payload))
    return notes


def check_scales(variables: Mapping[str, NumericVariable | FactorVariable], rows: RowReader) -> None:
    """Note numeric predictors whose standard deviation is extreme, or very different from that of others.

    Raises
    ------
    DataError
        If one is so extreme that variances and covariances could not be told.
    """
    spread: dict[str, float] = {}
    for key, variable in variables.items():
        if isinstance(variable, NumericVariable) and variable.values.ndim == 1:
            spread[key] = check_scale(key, variable.values)
    spread = {key: value for key, value in spread.items() if value > 0.0}
    if not spread:
        return
    low, high = min(spread.values()), max(spread.values())
    if low >= _SMALL and high <= _LARGE and high <= _APART * low:
        return
    listed = ", ".join(f"{key} {value:.3g}" for key, value in sorted(spread.items(), key=lambda item: item[1]))
    message = (
        f"predictors have extreme or very different standard deviations ({listed}); the fit scales them inside and "
        "reports in their units, so it needs nothing, but other units would make the coefficients easier to read"
    )
    rows.notes.append(issue(Note("predictor_scales", message, None, {"standard_deviations": spread})))


def check_scale(key: str, values: Floats) -> float:
    """Return the standard deviation of an evenly spaced sample of rows; 0 for a constant.

    Raises
    ------
    DataError
        If the squares of such numbers, or of their ratios, could not be told in double precision.
    """
    found = _standard_deviation(values[:: max(1, len(values) // _SAMPLED_ROWS)])
    if found == 0.0 or _TINY < found < _HUGE:
        return found
    raise DataError(
        f"{key!r} has a standard deviation of {found:.3g}; the squares of such numbers are beyond double precision, so "
        "choose other units for it",
        column=key,
        standard_deviation=found,
    )


def _standard_deviation(values: Floats) -> float:
    with np.errstate(over="ignore", invalid="ignore"):
        # what std() does, in a third of the time that it takes for so few
        centred = values - values.sum() / len(values)
        found = math.sqrt(np.square(centred, out=centred).sum() / len(values))
    ordinary = _TINY < found < _HUGE
    if ordinary and found > _ROUNDING * abs(float(values[0])):
        return found
    low, high = float(values.min()), float(values.max())
    if low == high:
        return 0.0
    if ordinary:
        return found
    # The squares may have overflowed or vanished: take out the magnitude first.
    magnitude = max(abs(low), abs(high))
    return magnitude * float((values / magnitude).std())
