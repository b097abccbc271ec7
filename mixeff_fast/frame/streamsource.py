"""The door for data that are read in batches: the query that gives a model's columns, and one batch of it at a time.

Weights, offset and subset travel as columns beside the data: an expression is evaluated by Polars on the whole query, an
array is cut to the batch. What is wrong with rows is counted over all batches before it is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.formula.model import ModelFormula
from mixeff_fast.frame.columns import SHOWN_ROWS, Floats, Mask, Rows, counted_rows, quoted
from mixeff_fast.frame.rows import (
    RowReader,
    as_series,
    missing_values,
    no_rows_left,
    nothing_chosen,
    subset_mask,
    wrong_length,
)
from mixeff_fast.frame.source import read_columns, require_columns, run_query
from mixeff_fast.frame.streambatches import BATCH_ROWS, batches
from mixeff_fast.vocabulary import NaAction, among


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """Data to be read in batches.

    Attributes
    ----------
    query
        Gives the columns, and the arguments that are expressions under names of their own.
    columns
        The types of the columns that the model reads.
    arguments
        For ``weights``, ``offset`` and ``subset``, as far as they are given: a column of the data (text), the values of all
        rows, or an expression.
    na_action
        ``"error"`` or ``"omit"``.
    batch_rows
        Rows read at a time.
    """

    query: pl.LazyFrame
    columns: dict[str, pl.DataType]
    arguments: dict[str, str | pl.Series | pl.Expr]
    na_action: NaAction
    batch_rows: int = BATCH_ROWS

    def batches(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """Read the data from the start: the number of the first row of each batch, and the batch."""
        first = 0
        for batch in batches(self.query, self.batch_rows):
            yield first, batch
            first += batch.height

    def ledger(self) -> Ledger:
        """An empty ledger for a pass over the rows."""
        return Ledger((*self.columns, *(f"{name}=" for name in self.arguments)))

    def rows(self, first: int, batch: pl.DataFrame, ledger: Ledger) -> BatchReader:
        """Open a batch: choose its rows by ``subset=``, and deal with missing values."""
        given: dict[str, pl.Series | str] = {}
        for name, value in self.arguments.items():
            if isinstance(value, pl.Expr):
                given[name] = batch.get_column(_private(name))
            else:
                given[name] = value if isinstance(value, str) else value.slice(first, batch.height)
                if not isinstance(value, str) and first + batch.height > len(value):
                    raise wrong_length(name, len(value), int(run_query(self.query.select(pl.len()).collect).item()))
        chosen = given.pop("subset", None)
        reader = BatchReader({name: batch.get_column(name) for name in self.columns}, given, batch.height, first, ledger)
        ledger.n_source += batch.height
        if chosen is not None:
            mask = subset_mask(batch.get_column(chosen) if isinstance(chosen, str) else chosen)
            if not mask.all():
                reader.select(mask)
            ledger.n_chosen += reader.n
        else:
            ledger.n_chosen += batch.height
        reader.handle_missing(self.na_action)
        ledger.n_kept += reader.n
        return reader

    def check_length(self, n_rows: int) -> None:
        """Refuse arrays that are not as long as the data."""
        for name, value in self.arguments.items():
            if isinstance(value, pl.Series) and len(value) != n_rows:
                raise wrong_length(name, len(value), n_rows)


@dataclass(slots=True)
class Ledger:
    """What was found in the rows of one pass, and what is wrong with them; row numbers are those of the data.

    ``names`` are the columns and arguments in the order in which they are told.
    """

    names: tuple[str, ...] = ()
    n_source: int = 0
    n_chosen: int = 0
    n_kept: int = 0
    na_counts: dict[str, int] = field(default_factory=dict)
    n_missing: int = 0
    missing_rows: list[int] = field(default_factory=list)
    problems: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)

    def missing(self, masks: Mapping[str, Mask], together: Mask, kept_rows: Rows | None) -> None:
        """Count rows with missing values."""
        for name, mask in masks.items():
            self.na_counts[name] = self.na_counts.get(name, 0) + int(mask.sum())
        self.na_counts = {name: self.na_counts[name] for name in self.names if name in self.na_counts}
        self.n_missing += int(together.sum())
        if len(self.missing_rows) < SHOWN_ROWS:
            self.missing_rows += counted_rows(together, kept_rows)[1]["rows"]
            del self.missing_rows[SHOWN_ROWS:]

    def problem(self, what: str, remedy: str, bad: Mask, kept_rows: Rows | None, fields: dict[str, Any]) -> None:
        """Count rows that cannot be used; ``what`` and ``remedy`` begin and end the message."""
        _, found = counted_rows(bad, kept_rows)
        _, known = self.problems.setdefault(what, (remedy, {**fields, "rows": [], "count": 0}))
        known["rows"] = [*known["rows"], *found["rows"]][:SHOWN_ROWS]
        known["count"] += found["count"]

    def refuse(self, na_action: NaAction) -> None:
        """Raise the error that the rows of a finished pass call for, if any."""
        if self.n_source == 0:
            raise DataError("the data have no rows; check how they were read or filtered", n_rows=0)
        if self.n_chosen == 0:
            raise nothing_chosen()
        if self.n_missing and na_action == "error":
            fields: dict[str, Any] = {"rows": self.missing_rows, "count": self.n_missing}
            raise missing_values(self.na_counts, _rows_text(**fields), fields)
        if self.n_kept == 0:
            raise no_rows_left(self.na_counts)
        for what, (remedy, fields) in self.problems.items():
            raise DataError(f"{what} in {_rows_text(fields['rows'], fields['count'])}{remedy}", **fields)


def _rows_text(rows: list[int], count: int) -> str:
    listed = ", ".join(map(str, rows))
    text = f"row {listed}" if count == 1 else f"rows {listed}"
    return text if count == len(rows) else f"{text} and {count - len(rows)} more"


class BatchReader(RowReader):
    """The rows of one batch. Rows that cannot be used are entered in a ledger, and refused when the pass is finished."""

    __slots__ = ("_first", "_kept", "_ledger")

    def __init__(
        self, series: dict[str, pl.Series], arguments: dict[str, pl.Series | str], n_rows: int, first: int, ledger: Ledger
    ) -> None:
        self._first = first
        self._ledger = ledger
        super().__init__(series, arguments, n_rows)

    @property
    def kept_rows(self) -> Rows | None:
        """Which rows of the data are in use, by their numbers in the data as a whole."""
        return np.arange(self._first, self._first + self.n) if self._kept is None else self._kept

    @kept_rows.setter
    def kept_rows(self, rows: Rows | None) -> None:
        self._kept: Rows | None = rows

    def handle_missing(self, na_action: NaAction) -> None:
        masks = self.missing()
        if not masks:
            return
        together: Mask = np.logical_or.reduce(list(masks.values()))
        self._ledger.missing(masks, together, self.kept_rows)
        self.select(~together)

    def require_finite(self, values: Floats, what: str, fields: dict[str, Any]) -> None:
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):
                return
        bad: Mask = np.logical_not(np.isfinite(values))
        if bad.ndim > 1:
            bad = np.logical_or.reduce(bad, axis=1)
        if bad.any():
            remedy = "; filter those rows out, or mend the values first"
            self._ledger.problem(f"{what} is not finite", remedy, bad, self.kept_rows, fields)

    def require_positive_weights(self) -> None:
        """Enter weights that are not positive."""
        weights = self.argument("weights")
        if weights is not None and len(weights) and not weights.min() > 0.0:
            self._ledger.problem("weights= must be strictly positive, and are not", "; to leave rows out, use subset=",
                                 np.logical_not(weights > 0.0), self.kept_rows, {"argument": "weights"})

    def table(self, chosen: pl.Series) -> pl.DataFrame:
        """Some of the rows in use, as a frame; arguments that are not columns stand under names of their own."""
        arguments = [s.alias(_private(name)) for name, s in self._arguments.items() if isinstance(s, pl.Series)]
        # Column by column: a frame would wake all of Polars' threads for a few rows.
        return pl.DataFrame([column[chosen] for column in (*self._series.values(), *arguments)])


def sample_reader(scan: Scan, table: pl.DataFrame) -> RowReader:
    """Read rows that `BatchReader.table` gave."""
    given: dict[str, pl.Series | str] = {}
    for name, value in scan.arguments.items():
        if name != "subset":
            given[name] = value if isinstance(value, str) else table.get_column(_private(name))
    return RowReader({name: table.get_column(name) for name in scan.columns}, given, table.height)


def _private(argument: str) -> str:
    return f"{argument}= of the model"


def given_arguments(weights: Any, offset: Any, subset: Any) -> dict[str, Any]:
    """The arguments with one value per row that are given, by name."""
    named = (("weights", weights), ("offset", offset), ("subset", subset))
    return {name: value for name, value in named if value is not None}


def open_scan(
    data: Any,
    formula: ModelFormula,
    given: Mapping[str, Any],
    na_action: NaAction,
    batch_rows: int = BATCH_ROWS,
) -> Scan:
    """Prepare to read the columns of a model in batches.

    Parameters
    ----------
    data
        A lazy frame; other data are read as they are in memory.
    formula
        The model.
    given
        ``weights``, ``offset`` and ``subset``, as far as they are given.
    na_action
        ``"error"`` or ``"omit"``.
    batch_rows
        Rows read at a time.

    Raises
    ------
    DataError, ArgumentError
        For columns that are missing, and arguments of the wrong kind.
    """
    if not among(na_action, get_args(NaAction)):
        raise ArgumentError(
            f"na_action is {na_action!r}; use {quoted(get_args(NaAction))}", argument="na_action", value=na_action
        )
    expressions = {name: value for name, value in given.items() if isinstance(value, pl.Expr)}
    wanted = [*formula.columns, *(value for value in given.values() if isinstance(value, str))]
    query = data if isinstance(data, pl.LazyFrame) else _in_memory(data, wanted, expressions)
    schema = run_query(query.collect_schema)
    require_columns(wanted, schema.names())
    for name, expression in expressions.items():
        _require_one_column(query, name, expression)
    used = dict.fromkeys([*formula.columns, *(v for k, v in given.items() if isinstance(v, str) and k != "subset")])
    selected = [pl.col(name) for name in dict.fromkeys(wanted)] or [pl.col(schema.names()[0])]
    arguments = {
        name: value if isinstance(value, str | pl.Expr) else as_series(name, value) for name, value in given.items()
    }
    return Scan(
        query.select(*selected, *(value.alias(_private(name)) for name, value in expressions.items())),
        {name: schema[name] for name in used},
        arguments,
        na_action,
        batch_rows,
    )


def first_rows(data: pl.LazyFrame, formula: ModelFormula, given: Mapping[str, Any], rows: int) -> pl.DataFrame:
    """Collect the columns that a model and its arguments read, of the first so many rows."""
    names = [*formula.columns, *(value for value in given.values() if isinstance(value, str))]
    available = run_query(data.collect_schema).names()
    require_columns(names, available)
    roots = [
        root
        for value in given.values()
        if isinstance(value, pl.Expr)
        for root in value.meta.root_names()
        if root in available
    ]
    return run_query(data.select(list(dict.fromkeys([*names, *roots])) or available[:1]).head(rows).collect)


def _in_memory(data: Any, columns: Iterable[str], expressions: Mapping[str, pl.Expr]) -> pl.LazyFrame:
    if isinstance(data, pl.DataFrame):
        return data.lazy()
    roots = [name for expression in expressions.values() for name in expression.meta.root_names()]
    found, _, _ = read_columns(data, list(dict.fromkeys([*columns, *roots])), {})
    return pl.DataFrame(list(found.values())).lazy()


def _require_one_column(query: pl.LazyFrame, argument: str, expression: pl.Expr) -> None:
    try:
        width = len(query.select(expression).collect_schema())
    except pl.exceptions.PolarsError as problem:
        raise DataError(
            f"the expression given as {argument}= cannot be evaluated on the data: {problem}", argument=argument
        ) from problem
    if width != 1:
        raise ArgumentError(
            f"the expression given as {argument}= makes {width} columns; give one that makes one", argument=argument
        )
