"""The door for data: Polars frames, lazy frames, and anything that speaks the Arrow C stream interface.

Only the columns a model needs pass through it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import polars as pl

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.frame.columns import quoted
from mixeff_fast.frame.levels import number_label

_T = TypeVar("_T")
_ACCEPTED = (
    "a polars.DataFrame, a polars.LazyFrame, or a table with the Arrow stream interface (pandas, pyarrow, DuckDB); "
    "polars.DataFrame(...) reads dictionaries, lists and NumPy arrays"
)


def read_columns(
    data: Any, columns: Sequence[str], expressions: Mapping[str, pl.Expr]
) -> tuple[dict[str, pl.Series], dict[str, pl.Series], int]:
    """Take the named columns out of the data, and evaluate expressions on it.

    Parameters
    ----------
    data
        A Polars frame, eager or lazy, or an object with ``__arrow_c_stream__``.
    columns
        The columns wanted.
    expressions
        Polars expressions to evaluate on the whole data, by the name of the argument they came from.

    Returns
    -------
    columns
        The columns, by name.
    results
        The value of each expression, one row per row of the data.
    n_rows
        The number of rows of the data.

    Raises
    ------
    DataError
        If the data are of another kind, lack a column, hold one that cannot be read, or have no rows.
    """
    if isinstance(data, pl.DataFrame):
        frame = data
    elif isinstance(data, pl.LazyFrame):
        frame = _collect(data, columns, expressions)
    else:
        roots = [name for expression in expressions.values() for name in expression.meta.root_names()]
        frame = _to_polars(data, list(dict.fromkeys([*columns, *roots])))
    n_rows = frame.height
    if n_rows == 0:
        raise DataError("the data have no rows; check how they were read or filtered", n_rows=0)
    try:
        found = {name: frame.get_column(name) for name in columns}
    except pl.exceptions.ColumnNotFoundError:
        require_columns(columns, frame.columns)
        raise
    return found, {name: _evaluate(frame, name, value) for name, value in expressions.items()}, n_rows


def column_names(data: Any) -> list[str]:
    """Return the names of all columns of the data, those that a model does not read among them."""
    if isinstance(data, pl.DataFrame):
        return data.columns
    if isinstance(data, pl.LazyFrame):
        return run_query(data.collect_schema).names()
    if _is_pandas(data):
        return [name for name in data.columns if isinstance(name, str)]
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    return list(names) if isinstance(names, list) else _to_polars(data, []).columns


def require_columns(wanted: Sequence[str], available: Sequence[str]) -> None:
    """Raise a `DataError` that names the columns missing from the data and those with similar names."""
    present = set(available)
    missing = [name for name in dict.fromkeys(wanted) if name not in present]
    if not missing:
        return
    suggestions = {name: difflib.get_close_matches(name, available, n=3, cutoff=0.6) for name in missing}
    lower = {name.lower(): name for name in available}
    hints = []
    for name in missing:
        if name.lower() in lower and lower[name.lower()] not in suggestions[name]:
            suggestions[name].insert(0, lower[name.lower()])
        if suggestions[name]:
            hints.append(f"for {name!r} perhaps {quoted(suggestions[name])}")
    remedy = "; ".join(hints) if hints else f"the data have {quoted(available)}" if available else "the data have none"
    raise DataError(
        f"the data have no column{'s' if len(missing) > 1 else ''} {quoted(missing)}; {remedy}",
        missing=missing,
        suggestions={name: found for name, found in suggestions.items() if found},
    )


def _collect(data: pl.LazyFrame, columns: Sequence[str], expressions: Mapping[str, pl.Expr]) -> pl.DataFrame:
    """Collect the columns a model and its expressions read, and nothing else."""
    available = run_query(data.collect_schema).names()
    require_columns(columns, available)
    roots = [name for expression in expressions.values() for name in expression.meta.root_names() if name in available]
    # Without a column there would be no rows to count.
    return run_query(data.select(list(dict.fromkeys([*columns, *roots])) or available[:1]).collect)


def run_query(step: Callable[[], _T]) -> _T:
    try:
        return step()
    except Exception as problem:
        # A plan reads files and calls functions of its maker, and raises whatever these raise.
        raise DataError(
            f"the lazy frame cannot be collected: {type(problem).__name__}: {problem}; mend the query, or try "
            f"data.collect() to see where it fails",
            input="LazyFrame",
        ) from problem


def _evaluate(frame: pl.DataFrame, argument: str, expression: pl.Expr) -> pl.Series:
    try:
        results = frame.select(expression)
    except pl.exceptions.PolarsError as problem:
        raise DataError(
            f"the expression given as {argument}= cannot be evaluated on the data: {problem}", argument=argument
        ) from problem
    if results.width != 1:
        raise ArgumentError(
            f"the expression given as {argument}= makes {results.width} columns; give one that makes one",
            argument=argument,
        )
    result = results.to_series()
    if len(result) == 1 and frame.height > 1:
        result = result.new_from_index(0, frame.height)
    return result


def _to_polars(data: Any, columns: Sequence[str]) -> pl.DataFrame:
    kind = type(data).__name__
    if isinstance(data, type) or not (hasattr(data, "__arrow_c_stream__") or _is_pandas(data)):
        raise DataError(f"data is of type {kind}; give {_ACCEPTED}", input=kind)
    if _is_pandas(data):
        available = list(data.columns)
        _require_text(columns, available)
        return pl.DataFrame([_from_pandas(name, data[name]) for name in columns or available[:1]])
    names = getattr(data, "column_names", None) or getattr(data, "columns", None)
    if isinstance(names, list) and hasattr(data, "select"):
        require_columns(columns, names)
        wanted = list(columns) or names[:1]
        # DuckDB reads the arguments of select() as SQL, pyarrow as a list of names.
        is_relation = hasattr(data, "sql_query")
        for name in wanted:
            if not is_relation and names.count(name) > 1:
                _refuse_repeated(name)
        data = data.select(*map(_sql_name, wanted)) if is_relation else data.select(wanted)
    try:
        frame = pl.DataFrame(data)
    except Exception as problem:
        # A stream raises whatever its producer raises; one of values rather than rows is no table.
        raise DataError(
            f"data of type {kind} cannot be read as a table: {problem}; give {_ACCEPTED}", input=kind
        ) from problem
    require_columns(columns, frame.columns)
    return frame.with_columns(_declared_order(data, frame))


def _is_pandas(data: Any) -> bool:
    return hasattr(data, "iloc") and hasattr(data, "columns")


def _require_text(columns: Sequence[str], available: list[Any]) -> None:
    """Require columns among names that need not be text; a column 1 of pandas is not the column "1" of a formula."""
    names = [name for name in available if isinstance(name, str)]
    others = [name for name in available if not isinstance(name, str)]
    if others and not set(columns) <= set(names):
        raise DataError(
            f"the data have no column {quoted(name for name in columns if name not in names)}; the names of "
            f"{len(others)} columns, such as {others[0]!r}, are not strings: rename these columns",
            missing=[name for name in columns if name not in names],
        )
    require_columns(columns, names)


def _refuse_repeated(name: str) -> NoReturn:
    raise DataError(f"the data have several columns named {name!r}; rename all but one", column=name)


def _sql_name(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _declared_order(data: Any, frame: pl.DataFrame) -> list[pl.Series]:
    """Give Arrow dictionaries that declare an order that order; Polars reads them as unordered categories."""
    ordered = []
    for name in frame.columns:
        if not isinstance(frame.schema[name], pl.Categorical) or not hasattr(data, "column"):
            continue
        column = data.column(name)
        if getattr(column.type, "ordered", False):
            categories = column.unify_dictionaries().chunk(0).dictionary.to_pylist()
            ordered.append(frame.get_column(name).cast(pl.String).cast(pl.Enum(categories)))
    return ordered


def _from_pandas(name: str, column: Any) -> pl.Series:
    """Read one pandas column; the categories of a categorical keep their order, which Polars alone would drop."""
    if getattr(column, "ndim", 1) != 1:
        _refuse_repeated(name)
    try:
        categories = column.cat.categories
    except AttributeError:
        categories = None
    try:
        if categories is None:
            return pl.Series(name, column)
        labels = [number_label(label) if isinstance(label, float) else str(label) for label in categories.tolist()]
        declared = pl.Series(name, labels, dtype=pl.Enum(labels))
        codes = pl.Series(column.cat.codes.to_numpy())
        return declared.gather(codes.cast(pl.Int64).set(codes < 0, None).cast(pl.UInt32))
    except Exception as problem:
        # pandas, pyarrow and Polars each have their own exceptions for a column of mixed or foreign objects.
        raise DataError(
            f"column {name!r} of type {column.dtype} cannot be read: {problem}; "
            f"convert it to one plain type first, for example with .astype(float) or .astype(str)",
            column=name,
            dtype=str(column.dtype),
        ) from problem
