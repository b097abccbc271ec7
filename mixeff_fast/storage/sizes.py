"""What a model will take before it is laid out: a short formula may ask for more columns than any memory has."""

from __future__ import annotations

import inspect
import math
from typing import TYPE_CHECKING

import polars as pl

from mixeff_fast.errors import SchemaError
from mixeff_fast.formula import Call, Name
from mixeff_fast.formula.tree import literal_value
from mixeff_fast.frame.bases import LEARNING
from mixeff_fast.frame.transforms import evaluated_nodes
from mixeff_fast.frame.variables import effect_variables

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mixeff_fast.formula import ModelFormula, TermSet, Variable
    from mixeff_fast.storage.budget import Budget

# bytes of a column's name with what refers to it, and copies of a column of values while it is evaluated
_NAME_BYTES = 250
_COPIES = 4


def factor_levels(formula: ModelFormula, data: pl.DataFrame) -> dict[str, int]:
    """Levels of the factors among the effects, by key, at most."""
    found = {}
    for key, variable in effect_variables(formula, fixed=True, groups=None).items():
        column = variable.columns[0] if variable.columns else ""
        if column not in data.columns:
            continue
        dtype = data.schema[column]
        named = isinstance(variable.node, Name)
        if (named and dtype in (pl.String, pl.Enum, pl.Categorical, pl.Boolean)) or _is_factor_call(variable):
            found[key] = max(2, data.get_column(column).n_unique())
    return found


def _is_factor_call(variable: Variable) -> bool:
    return isinstance(variable.node, Call) and variable.node.function in ("factor", "as.factor")


def check_sizes(formula: ModelFormula, levels: Mapping[str, int], n_rows: int, budget: Budget) -> None:
    """Take what the columns of a model will need.

    Parameters
    ----------
    formula
        The model.
    levels
        Levels of the factors among the effects, by key.
    n_rows
        Rows that are evaluated.
    budget
        Bytes that are left.

    Raises
    ------
    SchemaError
        They need more.
    """
    variables = effect_variables(formula, fixed=True, groups=None)
    for key, variable in {**variables, **{v.key: v for v in (*formula.response.variables, *formula.offsets)}}.items():
        if key in levels:
            budget.take(16.0 * levels[key] ** 2, f"the contrasts of {key!r:.100}")
        else:
            budget.take(8.0 * _COPIES * n_rows * _width(variable), f"the columns of {key!r:.100}")
    for terms in (formula.fixed, *(random.lhs for random in formula.random)):
        columns = _n_columns(terms, levels)
        entries = columns if terms is formula.fixed else columns * (columns + 1.0) / 2.0
        budget.take(_NAME_BYTES * entries, "the names of the columns and parameters")


def _n_columns(terms: TermSet, levels: Mapping[str, int]) -> float:
    counts = [
        math.prod(float(levels.get(variable.key) or _width(variable)) for variable in term.variables)
        for term in terms.terms
    ]
    return math.fsum([1.0, *counts])


def _width(variable: Variable) -> float:
    """Columns of a numeric variable, at most: what its calls are told to make."""
    if isinstance(variable.node, Name) or _is_factor_call(variable):
        return 1.0
    return 1.0 + math.fsum(
        _basis_size(node) for node in evaluated_nodes(variable.node) if isinstance(node, Call) and node.function in LEARNING
    )


def _basis_size(call: Call) -> float:
    literals = [literal_value(argument) for argument in call.args[1:]]
    keywords = {name.replace(".", "_"): literal_value(value) for name, value in call.keywords}
    try:
        bound = inspect.signature(LEARNING[call.function]).bind("", {}, None, *literals, **keywords).arguments
    except TypeError as problem:
        raise SchemaError(f"{call.function}() in the formula has arguments that it does not take") from problem
    size = 0.0
    for name in ("df", "degree", "knots"):
        value = bound.get(name)
        size += len(value) if isinstance(value, tuple) else float(value) if isinstance(value, int | float) else 0.0
    return max(0.0, size) + 4.0
