"""From data and a formula to a model frame: every variable evaluated, every factor coded, every row accounted for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.families import Family
from mixeff_fast.formula.model import ModelFormula
from mixeff_fast.formula.tree import Name
from mixeff_fast.frame.columns import (
    FactorVariable,
    Floats,
    GroupingFactor,
    Note,
    NumericVariable,
    Rows,
    frozen,
    quoted,
)
from mixeff_fast.frame.contrasts import contrast_of
from mixeff_fast.frame.response import NUMERIC, ResponseCoding, ResponseRows, positive_weights, read_family_response
from mixeff_fast.frame.rows import RowReader, open_rows
from mixeff_fast.frame.scheme import DataScheme, FactorScheme, GroupScheme
from mixeff_fast.frame.transforms import TransformState
from mixeff_fast.frame.variables import (
    check_scale,
    check_scales,
    effect_variables,
    is_factor,
    note_levels,
    read_effect,
    read_group,
    read_numeric,
)
from mixeff_fast.vocabulary import NaAction


@dataclass(frozen=True, slots=True, eq=False)
class ModelFrame:
    """The data of a model, ready for design matrices. All arrays are read-only; n is the number of rows in use.

    Attributes
    ----------
    n, formula
        The number of rows in use, and the model.
    response
        Shape (n,): the values, or the numbers of successes of the binomial family. Shape (n, 2) for a ``cbind`` that no
        family reads.
    variables
        The variables of the fixed part and of the effects that vary by group, by key.
    groups
        The grouping factors, by name.
    weights
        Shape (n,), strictly positive, or None.
    offset
        Shape (n,): ``offset=`` plus the ``offset(...)`` of the formula, or None.
    notes
        Facts about how the data were read.
    n_source_rows
        The number of rows of the data.
    kept_rows
        Shape (n,): which rows of the data are in use; None when all are.
    na_counts
        The number of missing values per column, for columns that have any.
    states
        What the transforms of each variable learned, by key.
    scheme
        What reading new data needs.
    family
        The family that the response was read for; None for a linear model.
    trials
        Shape (n,): the number of trials of each row of a binomial response; None where each row is one.
    response_coding
        How the response was read.
    """

    n: int
    formula: ModelFormula
    response: Floats
    variables: dict[str, NumericVariable | FactorVariable]
    groups: dict[str, GroupingFactor]
    weights: Floats | None
    offset: Floats | None
    notes: tuple[Note, ...]
    n_source_rows: int
    kept_rows: Rows | None
    na_counts: dict[str, int]
    states: dict[str, TransformState]
    scheme: DataScheme
    family: Family | None = None
    trials: Floats | None = None
    response_coding: ResponseCoding = NUMERIC


def build_frame(
    data: Any,
    formula: ModelFormula,
    *,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
    family: Family | None = None,
) -> ModelFrame:
    """Read the data of a model.

    Parameters
    ----------
    data
        A `polars.DataFrame`, a `polars.LazyFrame` (only the columns needed are collected), or anything with
        ``__arrow_c_stream__`` (pandas, pyarrow, DuckDB).
    formula
        The model.
    weights, offset
        A column name, a Polars expression, or an array with one value per row of the data. Weights are strictly
        positive, or numbers of trials where the response is a proportion; the offset is added to the linear predictor.
    subset
        The rows to use, given in the same ways, as booleans; missing counts as false. It is applied before missing
        values are looked for and before transforms learn anything.
    na_action
        ``"error"`` refuses missing values (null or NaN); ``"omit"`` leaves out rows that have any, and says so.
    contrasts
        Column to coding: ``"treatment"``, ``"SAS"``, ``"sum"``, ``"helmert"``, ``"poly"``, a matrix of shape
        (q, q - 1), or ``{"matrix": ..., "names": [...]}``. Without it, ``"treatment"``.
    family
        The family of the response, which decides what it may be; None for a linear model, which takes numbers.

    Returns
    -------
    ModelFrame

    Raises
    ------
    DataError
        If the data cannot be used; its fields name columns and rows.
    ArgumentError
        If an argument is not what it should be.
    FormulaError
        If a function in the formula cannot be evaluated as written.

    Examples
    --------
    >>> import polars as pl
    >>> from mixeff_fast.formula import model_formula
    >>> data = pl.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "x": [0, 1, 2, 3], "g": ["b", "a", "b", "a"]})
    >>> frame = build_frame(data, model_formula("y ~ x + (1 | g)"))
    >>> frame.n, frame.groups["g"].codes.tolist(), frame.groups["g"].levels.labels.to_list()
    (4, [1, 0, 1, 0], ['a', 'b'])
    """
    rows = open_rows(data, formula.columns, weights=weights, offset=offset, subset=subset, na_action=na_action)
    variables, states = _read_effects(formula, rows, contrasts)
    groups: dict[str, GroupingFactor] = {}
    for random in formula.random:
        if random.group_name not in groups:
            groups[random.group_name] = read_group(formula.text, random.group_name, random.group, rows)
    if family is None:
        read = ResponseRows(read_response(formula, rows), None, positive_weights(rows), NUMERIC)
        if read.values.ndim == 1:
            check_scale(formula.response.name, read.values)
    else:
        read = read_family_response(formula, rows, family)
    total_offset = read_offset(formula, rows, states, learn=True)
    note_levels(formula, groups, rows)
    check_scales(variables, rows)
    scheme = DataScheme(
        formula,
        {key: FactorScheme(v.levels, v.contrast) for key, v in variables.items() if isinstance(v, FactorVariable)},
        {key: v.suffixes for key, v in variables.items() if isinstance(v, NumericVariable)},
        states,
        {name: GroupScheme(name, g.parts, g.levels, g.part_levels, g.cells) for name, g in groups.items()},
        offset if offset is None or isinstance(offset, str) else "",
    )
    return ModelFrame(
        n=rows.n,
        formula=formula,
        response=read.values,
        variables=variables,
        groups=groups,
        weights=read.weights,
        offset=total_offset,
        notes=tuple(rows.notes),
        n_source_rows=rows.n_source,
        kept_rows=rows.kept_rows,
        na_counts=rows.na_counts,
        states=states,
        scheme=scheme,
        family=family,
        trials=read.trials,
        response_coding=read.coding,
    )


def read_offset(
    formula: ModelFormula, rows: RowReader, states: dict[str, TransformState], *, learn: bool
) -> Floats | None:
    """Add up ``offset=`` and the offsets of the formula; None when there are none."""
    total = rows.argument("offset")
    for variable in formula.offsets:
        values, state = read_numeric(formula.text, variable, rows, None if learn else states[variable.key])
        if learn and state is not None:
            states[variable.key] = state
        total = values if total is None else frozen(total + values)
    return total


def _read_effects(
    formula: ModelFormula, rows: RowReader, contrasts: Mapping[str, Any] | None
) -> tuple[dict[str, NumericVariable | FactorVariable], dict[str, TransformState]]:
    wanted = effect_variables(formula, fixed=True, groups=None)
    variables: dict[str, NumericVariable | FactorVariable] = {}
    states: dict[str, TransformState] = {}
    codings: dict[str, Any] = {}
    if contrasts is not None:
        codings = match_contrasts(contrasts, [v for v in wanted.values() if is_factor(v, rows)])
    for key, variable in wanted.items():
        if is_factor(variable, rows):
            codes, levels = read_effect(formula.text, variable, rows)
            contrast = contrast_of(key, levels, codings.get(key, "treatment"))
            variables[key] = FactorVariable(key, codes, levels, contrast)
            continue
        values, state = read_numeric(formula.text, variable, rows, None)
        if state is not None:
            states[key] = state
        n_columns = 1 if values.ndim == 1 else values.shape[1]
        suffixes = ("",) if n_columns == 1 else tuple(map(str, range(1, n_columns + 1)))
        variables[key] = NumericVariable(key, values, suffixes)
    return variables, states


def match_contrasts(contrasts: Mapping[str, Any], factors: list[Any]) -> dict[str, Any]:
    """Return the codings by variable key; the argument may name variables or their columns."""
    if not isinstance(contrasts, Mapping):
        raise ArgumentError(
            f'contrasts= is of type {type(contrasts).__name__}; give the coding of each factor, such as {{"a": "sum"}}',
            argument="contrasts",
        )
    by_name = {variable.columns[0]: variable.key for variable in factors}
    by_name |= {variable.key: variable.key for variable in factors}
    unknown = [name for name in contrasts if name not in by_name]
    if unknown:
        known = f"the factors of this model are {quoted(by_name)}" if by_name else "this model has none"
        raise ArgumentError(
            f"contrasts= names {quoted(unknown)}, which no effect of the model uses as a factor; {known} "
            f"(factor(x) makes a numeric column one)",
            argument="contrasts",
            columns=unknown,
        )
    return {by_name[name]: coding for name, coding in contrasts.items()}


def read_response(formula: ModelFormula, rows: RowReader) -> Floats:
    """Read the response of a linear model."""
    variables = formula.response.variables
    if formula.response.kind == "cbind":
        pair = [read_numeric(formula.text, variable, rows, None)[0] for variable in variables]
        return frozen(np.column_stack(pair))
    variable = variables[0]
    is_number = isinstance(variable.node, Name) and not rows.is_categorical(variable.node.name)
    if is_number or not is_factor(variable, rows):
        return read_numeric(formula.text, variable, rows, None)[0]
    column = variable.columns[0]
    raise DataError(
        f"the response {variable.key!r} is categorical (type {rows.dtype(column)}); "
        f"a linear model needs numbers, so cast it to a number first",
        column=column,
        dtype=str(rows.dtype(column)),
    )
