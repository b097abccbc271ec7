"""The rows a model uses: `subset` first, then missing values; and the columns of those rows, as arrays."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.frame.columns import Codes, Floats, Levels, Mask, Note, Rows, counted_rows, frozen, quoted
from mixeff_fast.frame.levels import encode
from mixeff_fast.frame.notices import issue
from mixeff_fast.frame.source import read_columns
from mixeff_fast.vocabulary import NaAction, among

_CATEGORICAL = (pl.String, pl.Enum, pl.Categorical)


class RowReader:
    """The columns of the rows in use. Arrays are made when first asked for, one per column.

    Attributes
    ----------
    n, n_source
        The number of rows in use, and of the data.
    kept_rows
        Which rows of the data are in use, or None for all.
    na_counts
        The number of missing values per column, for columns that have any.
    unused
        Declared levels that do not occur, per column, for columns read as factors that have any.
    notes
        What there is to say about how the data were read.
    """

    __slots__ = (
        "_arguments",
        "_dtypes",
        "_factors",
        "_finite",
        "_numeric",
        "_series",
        "kept_rows",
        "n",
        "n_source",
        "na_counts",
        "notes",
        "unused",
    )

    def __init__(self, series: dict[str, pl.Series], arguments: dict[str, pl.Series | str], n_rows: int) -> None:
        self._series = series
        self._dtypes = {name: column.dtype for name, column in series.items()}
        self._arguments = arguments
        self._numeric: dict[str, Floats] = {}
        self._factors: dict[str, tuple[Codes, Levels]] = {}
        self._finite: set[str] = set()
        self.n = self.n_source = n_rows
        self.kept_rows: Rows | None = None
        self.na_counts: dict[str, int] = {}
        self.unused: dict[str, list[str]] = {}
        self.notes: list[Note] = []

    def series(self, name: str) -> pl.Series:
        """Return the rows of a column."""
        return self._series[name]

    def dtype(self, name: str) -> pl.DataType:
        """Return the type of a column."""
        return self._dtypes[name]

    def is_categorical(self, name: str) -> bool:
        """Tell whether a column can only be a factor."""
        return isinstance(self._dtypes[name], _CATEGORICAL)

    def numeric(self, name: str, argument: str | None = None) -> Floats:
        """Return the float64 values of a numeric or boolean column, all finite.

        ``argument`` is what the column was given as, if it was, for messages.
        """
        values = self._numeric.get(name)
        if values is None:
            what, fields = f"column {name!r}", {"column": name}
            if argument is not None:
                what, fields = f"{argument}= ({what})", {"argument": argument, "column": name}
            values = _floats(self._series[name], self._dtypes[name], what, fields)
            if name not in self._finite:
                self.require_finite(values, what, fields)
            self._numeric[name] = values
        return values

    def factor(self, name: str) -> tuple[Codes, Levels]:
        """Return the codes and the levels of a column, leaving out declared levels that do not occur."""
        coded = self._factors.get(name)
        if coded is None:
            dtype = self._dtypes[name]
            if dtype.is_float() and name not in self._finite:
                self.numeric(name)
            codes, levels, unused = encode(self._series[name], dtype)
            if unused:
                self.unused[name] = unused
            coded = self._factors[name] = codes, levels
        return coded

    def argument(self, name: str) -> Floats | None:
        """Return the values given as ``weights=`` or ``offset=``, or None."""
        series = self._arguments.get(name)
        if series is None:
            return None
        if isinstance(series, str):
            return self.numeric(series, name)
        values = _floats(series, series.dtype, f"{name}=", {"argument": name})
        self.require_finite(values, f"{name}=", {"argument": name})
        return values

    def require_finite(self, values: Floats, what: str, fields: dict[str, Any]) -> None:
        """Raise a `DataError` that names the rows where values are not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(values.sum()):
                return
        bad: Mask = np.logical_not(np.isfinite(values))
        if bad.ndim > 1:
            bad = np.logical_or.reduce(bad, axis=1)
        if bad.any():
            rows, where = counted_rows(bad, self.kept_rows)
            raise DataError(
                f"{what} is not finite in {rows}; filter those rows out, or mend the values first", **fields, **where
            )

    def select(self, mask: Mask) -> None:
        """Keep the rows where ``mask`` is true."""
        rows = np.flatnonzero(mask)
        self.kept_rows = rows if self.kept_rows is None else self.kept_rows[rows]
        chosen = pl.Series(mask)
        self._series = {name: series.filter(chosen) for name, series in self._series.items()}
        self._arguments = {
            name: given if isinstance(given, str) else given.filter(chosen) for name, given in self._arguments.items()
        }
        self.n = len(rows)

    def missing(self) -> dict[str, Mask]:
        """Mark the missing values of every column and argument that has any."""
        masks: dict[str, Mask] = {}
        with np.errstate(over="ignore", invalid="ignore"):
            for name, series in self._series.items():
                mask = self._missing(name, series, self._dtypes[name])
                if mask is not None:
                    masks[name] = mask
            for name, given in self._arguments.items():
                mask = None if isinstance(given, str) else self._missing(f"{name}=", given, given.dtype)
                if mask is not None:
                    masks[f"{name}="] = mask
        return masks

    def handle_missing(self, na_action: NaAction) -> None:
        """Refuse missing values, or leave out the rows that have any."""
        masks = self.missing()
        if not masks:
            return
        self.na_counts = {name: int(mask.sum()) for name, mask in masks.items()}
        missing = np.logical_or.reduce(list(masks.values()))
        where, fields = counted_rows(missing, self.kept_rows)
        if na_action == "error":
            raise missing_values(self.na_counts, where, fields)
        if missing.all():
            raise no_rows_left(self.na_counts)
        self.notes.append(issue(omitted_rows(self.na_counts, fields["count"], self.n)))
        self.select(~missing)

    def _missing(self, name: str, series: pl.Series, dtype: pl.DataType) -> Mask | None:
        if not dtype.is_float():
            return series.is_null().to_numpy() if series.null_count() else None
        values = series.to_numpy()
        if np.isfinite(values.sum()):
            self._finite.add(name)
            return None
        mask: Mask = np.isnan(values)
        return mask if mask.any() else None


def missing_values(na_counts: dict[str, int], where: str, fields: dict[str, Any]) -> DataError:
    """The error for missing values that are not to be left out; ``where`` and ``fields`` tell their rows."""
    return DataError(
        f"values are missing ({_listed(na_counts)}; {where}); fill them in, or leave those rows out, of a fit with "
        "na_action=\"omit\"",
        columns=list(na_counts),
        na_counts=na_counts,
        **fields,
    )


def no_rows_left(na_counts: dict[str, int]) -> DataError:
    """The error for data of which every row has a missing value."""
    return DataError(
        f"no rows are left: every row has a missing value ({_listed(na_counts)})",
        columns=list(na_counts),
        na_counts=na_counts,
        n_rows=0,
    )


def nothing_chosen() -> DataError:
    """The error for a subset without rows."""
    return DataError("subset= keeps no rows; choose a condition that some rows meet", argument="subset", n_rows=0)


def omitted_rows(na_counts: dict[str, int], n_omitted: int, n: int) -> Note:
    """The note on rows left out for missing values, of n rows."""
    return Note(
        "rows_omitted",
        f"{n_omitted} of {n} rows were left out because values are missing: {_listed(na_counts)}",
        None,
        {"na_counts": na_counts, "n_omitted": n_omitted},
    )


def _listed(na_counts: dict[str, int]) -> str:
    return ", ".join(f"{count} in {name!r}" for name, count in na_counts.items())


def open_rows(
    data: Any, columns: Iterable[str], *, weights: Any, offset: Any, subset: Any, na_action: NaAction
) -> RowReader:
    """Read the columns a model uses, choose its rows, and deal with missing values.

    Parameters
    ----------
    data
        A Polars frame, eager or lazy, or an object with ``__arrow_c_stream__``.
    columns
        The columns of the model.
    weights, offset, subset
        A column name, a Polars expression, an array with one value per row of the data, or None.
    na_action
        ``"error"`` or ``"omit"``.

    Returns
    -------
    RowReader

    Raises
    ------
    DataError
        For anything in the data that a model cannot use.
    ArgumentError
        For arguments of the wrong kind.
    """
    if not among(na_action, get_args(NaAction)):
        raise ArgumentError(
            f"na_action is {na_action!r}; use {quoted(get_args(NaAction))}", argument="na_action", value=na_action
        )
    given = {
        name: value
        for name, value in (("weights", weights), ("offset", offset), ("subset", subset))
        if value is not None
    }
    used = dict.fromkeys([*columns, *(value for value in (weights, offset) if isinstance(value, str))])
    wanted = [*used, subset] if isinstance(subset, str) else list(used)
    expressions = {name: value for name, value in given.items() if isinstance(value, pl.Expr)}
    found, results, n_rows = read_columns(data, wanted, expressions)
    arguments: dict[str, pl.Series | str] = {}
    for name, value in given.items():
        if isinstance(value, str):
            arguments[name] = value
        else:
            arguments[name] = per_row(name, results.get(name, value), n_rows)
    chosen = arguments.pop("subset", None)
    reader = RowReader({name: found[name] for name in used}, arguments, n_rows)
    if chosen is not None:
        mask = subset_mask(found[chosen] if isinstance(chosen, str) else chosen)
        if not mask.any():
            raise nothing_chosen()
        reader.select(mask)
    reader.handle_missing(na_action)
    return reader


def per_row(argument: str, value: Any, n_rows: int) -> pl.Series:
    """Read an argument given as an array with one value per row of the data."""
    series = as_series(argument, value)
    if len(series) != n_rows:
        raise wrong_length(argument, len(series), n_rows)
    return series


def wrong_length(argument: str, length: int, n_rows: int) -> DataError:
    """The error for an array that is not as long as the data."""
    return DataError(
        f"{argument}= has {length} values and the data have {n_rows} rows; "
        f"give one value per row of the data, whatever subset= keeps",
        argument=argument,
        length=length,
        n_rows=n_rows,
    )


def as_series(argument: str, value: Any) -> pl.Series:
    """Read an array given as an argument."""
    try:
        return value if isinstance(value, pl.Series) else pl.Series(argument, value)
    except (TypeError, ValueError, OverflowError, pl.exceptions.PolarsError) as problem:
        raise ArgumentError(
            f"{argument}= is neither a column name, a Polars expression nor an array: it is of type "
            f"{type(value).__name__}; give one of these, with a value for every row",
            argument=argument,
        ) from problem


def subset_mask(chosen: pl.Series) -> Mask:
    """Read ``subset=``: missing counts as false."""
    if chosen.dtype != pl.Boolean:
        raise ArgumentError(
            f"subset= has type {chosen.dtype}; give one boolean per row, such as pl.col(\"x\") > 0", argument="subset"
        )
    mask: Mask = chosen.fill_null(False).to_numpy()
    return mask


def _floats(series: pl.Series, dtype: pl.DataType, what: str, fields: dict[str, Any]) -> Floats:
    """Return float64 values: a view of the column where it is one already, else the only copy."""
    if dtype == pl.Float64:
        return frozen(series.to_numpy())
    if dtype == pl.Boolean or dtype.is_float() or (dtype.is_integer() and dtype != pl.Int128):
        return frozen(series.to_numpy().astype(np.float64))
    if dtype.is_numeric():
        return frozen(series.cast(pl.Float64).to_numpy())
    if dtype.is_temporal():
        remedy = "choose a number that means what you want, for example with .dt.epoch() or .dt.total_seconds()"
    elif dtype.is_nested():
        remedy = "take one number out of each value first, for example with .list.first() or .struct.field(...)"
    else:
        remedy = "cast it to a number first"
    raise DataError(f"{what} has type {dtype}, and a number is needed here; {remedy}", **fields, dtype=str(dtype))
