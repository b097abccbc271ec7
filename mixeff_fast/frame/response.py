"""The response of a model with a family: successes among trials, counts, positive or any numbers, each row checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.errors import DataError, InferenceUnavailable
from mixeff_fast.formula.tree import Name
from mixeff_fast.frame.columns import Note, counted_rows, frozen, quoted
from mixeff_fast.frame.notices import issue
from mixeff_fast.frame.variables import check_scale, is_factor, read_factor, read_numeric

if TYPE_CHECKING:
    from mixeff_fast.families import Family
    from mixeff_fast.formula.model import ModelFormula
    from mixeff_fast.frame.columns import Floats, Mask, Rows
    from mixeff_fast.frame.rows import RowReader
    from mixeff_fast.vocabulary import ResponseKind

# families whose responses are whole numbers
WHOLE = frozenset({"binomial", "poisson", "negative_binomial"})
# how far a number may lie from the whole number that it stands for: relative, and absolute (R's) for a proportion times trials
_WHOLE, _SUCCESSES = 1e-7, 1e-3
# largest number of trials that is counted one by one
_COUNTED = 2.0**53


@dataclass(frozen=True, slots=True)
class ResponseCoding:
    """How a response was read.

    Attributes
    ----------
    kind
        What the left-hand side holds: ``binary_numbers`` (0 and 1), ``boolean``, ``two_level_factor``, ``proportions`` of the
        trials given as weights, ``cbind`` (successes and failures), or ``numeric``.
    failure, success
        The labels that stand for 0 and for 1, of a boolean or a factor.
    n_zero_trials
        Rows without trials, which say nothing.
    """

    kind: ResponseKind
    failure: str | None = None
    success: str | None = None
    n_zero_trials: int = 0


NUMERIC = ResponseCoding("numeric")


@dataclass(frozen=True, slots=True, eq=False)
class ResponseRows:
    """A response in rows; all arrays have shape (n,).

    Attributes
    ----------
    values
        Numbers of successes of the binomial family, else the values.
    trials
        Numbers of trials; None where each row is one trial, and in other families.
    weights
        Prior weights, strictly positive, or None.
    coding
        How it was read.
    """

    values: Floats
    trials: Floats | None
    weights: Floats | None
    coding: ResponseCoding


def read_family_response(formula: ModelFormula, rows: RowReader, family: Family) -> ResponseRows:
    """Read the response and the weights of a model with a family.

    Raises
    ------
    DataError
        Values that the family cannot have, with the rows.
    InferenceUnavailable
        ``cbind`` in a family other than the binomial.
    """
    if family.name == "binomial":
        return _read_binomial(formula, rows)
    if formula.response.kind == "cbind":
        raise InferenceUnavailable(
            f"cbind() makes a binomial response; the {family.name} family takes one numeric column",
            reason_code="multivariate_response_unsupported",
        )
    variable = formula.response.variables[0]
    if _is_labelled(variable, rows):
        column = variable.columns[0]
        raise DataError(
            f"the response {variable.key!r} is categorical (type {rows.dtype(column)}); the {family.name} family needs "
            "numbers, so cast it to a number first, or use the binomial family if it has two levels",
            column=column, dtype=str(rows.dtype(column)),
        )
    values = read_numeric(formula.text, variable, rows, None)[0]
    values = checked_values(family, values, formula.response.name, rows.kept_rows)
    check_scale(formula.response.name, values)
    return ResponseRows(values, None, positive_weights(rows), NUMERIC)


def checked_values(family: Family, values: Floats, name: str, kept_rows: Rows | None = None) -> Floats:
    """The values of a response other than a binomial one, counts made whole.

    Parameters
    ----------
    family
        Any but the binomial.
    values
        Finite, shape (n,).
    name
        Of the response, for messages.
    kept_rows
        The rows of the data that they belong to; None for all.

    Raises
    ------
    DataError
        Counts that are negative or not whole; values of the gamma and the inverse Gaussian family that are not positive.
    """
    if family.name in WHOLE:
        _refuse(values < 0.0, kept_rows, name, f"is negative in {{rows}}; the {family.name} family is one of counts")
        return _whole(
            values, kept_rows, name,
            f"is not whole in {{rows}}; the {family.name} family is one of counts. For rates, give the counts and put the "
            "logarithm of the exposure into offset=",
        )
    if family.name != "gaussian":
        _refuse(
            ~(values > 0.0), kept_rows, name,
            f"is not positive in {{rows}}; the {family.name} family has positive values only. Leave those rows out with "
            "subset=, or choose another family",
        )
    return values


def checked_successes(successes: Floats, trials: Floats | None, name: str, kept_rows: Rows | None = None) -> Floats:
    """Numbers of successes, made whole.

    Parameters
    ----------
    successes
        Finite, shape (n,).
    trials
        Whole, shape (n,); None for one per row.
    name
        Of the response, for messages.
    kept_rows
        The rows of the data that they belong to; None for all.

    Raises
    ------
    DataError
        Numbers that are negative, not whole, or more than the trials.
    """
    _refuse(successes < 0.0, kept_rows, name, "is negative in {rows}; successes are counted")
    whole = _whole(successes, kept_rows, name, "is not whole in {rows}; successes are counted")
    most = 1.0 if trials is None else trials
    _refuse(whole > most, kept_rows, name, "is more than the trials in {rows}")
    return whole


def positive_weights(rows: RowReader) -> Floats | None:
    """The values of ``weights=``, which must be strictly positive, or None."""
    weights = rows.argument("weights")
    if weights is None or weights.min() > 0.0:
        return weights
    bad: Mask = ~(weights > 0.0)
    where, fields = counted_rows(bad, rows.kept_rows)
    raise DataError(
        f"weights= must be strictly positive, and are not in {where}; to leave rows out, use subset=",
        argument="weights", **fields,
    )


def _read_binomial(formula: ModelFormula, rows: RowReader) -> ResponseRows:
    response = formula.response
    if response.kind == "cbind":
        return _read_pair(formula, rows)
    variable = response.variables[0]
    if _is_labelled(variable, rows):
        return _read_labels(formula, rows)
    values = read_numeric(formula.text, variable, rows, None)[0]
    if isinstance(variable.node, Name) and rows.dtype(variable.node.name) == pl.Boolean:
        return ResponseRows(values, None, positive_weights(rows), ResponseCoding("boolean", "FALSE", "TRUE"))
    trials = rows.argument("weights")
    if trials is None:
        _check_binary(values, response.name, rows.kept_rows)
        return ResponseRows(values, None, None, ResponseCoding("binary_numbers"))
    return _proportions(values, trials, response.name, rows)


def _is_labelled(variable: Any, rows: RowReader) -> bool:
    """Whether a response is one of labels: strings, categories, ``factor(x)``; booleans are numbers."""
    if isinstance(variable.node, Name):
        return rows.is_categorical(variable.node.name)
    return is_factor(variable, rows)


def _read_labels(formula: ModelFormula, rows: RowReader) -> ResponseRows:
    variable = formula.response.variables[0]
    codes, levels = read_factor(formula.text, variable, rows)
    labels = levels.labels.to_list()
    if len(labels) != 2:
        raise DataError(
            f"the response {variable.key!r} has {len(labels)} levels ({quoted(labels)}); a binomial response has two, the "
            "first of which is failure and the second success. Choose rows with subset=, or make a boolean, such as "
            f"pl.col({variable.columns[0]!r}) == {labels[-1]!r}",
            column=variable.columns[0], n_levels=len(labels), levels=labels[:10],
        )
    failure, success = labels
    rows.notes.append(issue(Note(
        "factor_response",
        f"the response {variable.key!r} is a factor: its second level {success!r} is success, its first {failure!r} failure",
        variable.columns[0], {"failure": failure, "success": success},
    )))
    coding = ResponseCoding("two_level_factor", failure, success)
    return ResponseRows(frozen(codes.astype(np.float64)), None, positive_weights(rows), coding)


def _check_binary(values: Floats, name: str, kept_rows: Rows | None) -> None:
    bad: Mask = ~((values == 0.0) | (values == 1.0))
    if not bad.any():
        return
    outside = bool((values[bad] < 0.0).any() or (values[bad] > 1.0).any())
    remedy = "For proportions, give the numbers of trials as weights="
    if outside:
        remedy = "For counts, write cbind(successes, failures)"
        if len(np.unique(values)) == 2:
            remedy = f"Where one number stands for failure and another for success, write factor({name})"
    _refuse(bad, kept_rows, name, f"is neither 0 nor 1 in {{rows}}. {remedy}")


def _proportions(values: Floats, trials: Floats, name: str, rows: RowReader) -> ResponseRows:
    """Proportions of trials; ``0`` and ``1`` of any number of trials are among them."""
    kept = rows.kept_rows
    _refuse(
        (values < 0.0) | (values > 1.0), kept, name,
        "lies outside 0 and 1 in {rows}. With weights=, a number is the proportion of successes among that many trials; for "
        "counts, write cbind(successes, failures)",
    )
    _refuse(trials < 0.0, kept, "weights=", "are negative in {rows}; they are the numbers of trials", argument="weights")
    binary = bool(((values == 0.0) | (values == 1.0)).all())
    other = f". For weights of another kind, write cbind({name}, 1 - {name}) beside them" if binary else ""
    trials = _whole(
        trials, kept, "weights=", f"are not whole in {{rows}}; they are the numbers of trials{other}", argument="weights"
    )
    successes = values * trials
    whole = np.rint(successes)
    _refuse(
        np.abs(successes - whole) > _SUCCESSES, kept, name,
        "times weights= is not whole in {rows}: the number of successes among that many trials. Give proportions that are not "
        "rounded, or write cbind(successes, failures)",
    )
    return _of_trials(whole, trials, None, "proportions", name, rows)


def _read_pair(formula: ModelFormula, rows: RowReader) -> ResponseRows:
    counts = []
    for variable in formula.response.variables:
        if _is_labelled(variable, rows):
            column = variable.columns[0]
            raise DataError(
                f"{variable.key!r} is categorical (type {rows.dtype(column)}); cbind() takes the numbers of successes and of "
                "failures",
                column=column, dtype=str(rows.dtype(column)),
            )
        values = read_numeric(formula.text, variable, rows, None)[0]
        said = "in {rows}; cbind() takes the numbers of successes and of failures"
        _refuse(values < 0.0, rows.kept_rows, variable.key, f"is negative {said}")
        counts.append(_whole(values, rows.kept_rows, variable.key, f"is not whole {said}"))
    successes, failures = counts
    return _of_trials(
        successes, frozen(successes + failures), positive_weights(rows), "cbind", formula.response.name, rows
    )


def _of_trials(
    successes: Floats, trials: Floats, weights: Floats | None, kind: ResponseKind, name: str, rows: RowReader
) -> ResponseRows:
    _refuse(trials > _COUNTED, rows.kept_rows, name,
            "has more than 2^53 trials in {rows}; doubles do not tell such numbers apart, so divide them into more rows")
    empty = int(np.count_nonzero(trials == 0.0))
    if empty == len(trials):
        raise DataError(f"no row of {name!r} has any trials", column=name, n_rows=len(trials))
    if empty:
        rows.notes.append(Note(
            "zero_trials", f"{empty} rows have no trials and say nothing about {name!r}", None, {"n_rows": empty}
        ))
    every = None if bool((trials == 1.0).all()) else frozen(trials)
    return ResponseRows(frozen(successes), every, weights, ResponseCoding(kind, n_zero_trials=empty))


def _whole(values: Floats, kept_rows: Rows | None, name: str, problem: str, **fields: Any) -> Floats:
    """The whole numbers that values stand for."""
    whole = np.rint(values)
    if np.array_equal(whole, values):
        return values
    _refuse(np.abs(values - whole) > _WHOLE * np.maximum(np.abs(values), 1.0), kept_rows, name, problem, **fields)
    return frozen(whole)


def _refuse(bad: Mask, kept_rows: Rows | None, name: str, problem: str, **fields: Any) -> None:
    """Raise a `DataError` that names the rows where ``bad`` is true."""
    if not bad.any():
        return
    where, rows = counted_rows(bad, kept_rows)
    what = name if "argument" in fields else f"the response {name!r}"
    raise DataError(f"{what} {problem.replace('{rows}', where)}", **(fields or {"column": name}), **rows)
