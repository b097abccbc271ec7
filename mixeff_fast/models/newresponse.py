"""Responses that take the place of a fitted one, checked as the rows of a frame are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.compile import check_response
from mixeff_fast.errors import DataError
from mixeff_fast.frame.response import checked_successes, checked_values
from mixeff_fast.frame.variables import check_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.frame import ModelFrame

    Float = NDArray[np.float64]

# how far a proportion times its trials may lie from a whole number
WHOLE = 1e-3


def numbers(given: Any) -> Float:
    """A copy of the values, as an array of numbers.

    Raises
    ------
    DataError
        Values that are no numbers.
    """
    try:
        array = np.asarray(given)
        # NumPy would read numbers out of strings, and drop the imaginary part of complex ones.
        if array.dtype.kind not in "biufO" or any(isinstance(v, str) for v in array.flat if array.dtype.kind == "O"):
            raise TypeError(f"its type is {array.dtype}")
        return np.array(array, np.float64, order="C")
    except (TypeError, ValueError) as error:
        raise DataError(f"the new response is not numeric ({error}); give one number per row of the fit") from error


def rows_of(frame: ModelFrame) -> str:
    """How many rows the fit has, and how many were left out."""
    left_out = frame.n_source_rows - frame.n
    return f"{frame.n} rows" + (f" ({left_out} of the data are left out: give no values for these)" if left_out else "")


def per_row(frame: ModelFrame, given: Any, columns: int = 1) -> Float:
    """Finite numbers, one per row of the fit, or ``columns`` of them.

    Raises
    ------
    DataError
        Values that are no finite numbers, or not as many.
    """
    y = numbers(given)
    if y.shape != ((frame.n,) if columns == 1 else (frame.n, columns)):
        raise DataError(f"the new response has shape {y.shape}; the fit has {rows_of(frame)}", nobs=frame.n)
    bad = np.flatnonzero(~np.isfinite(y if columns == 1 else y.sum(axis=1)))
    if len(bad):
        raise DataError(
            f"the new response is not finite in rows {bad[:5].tolist()} ({len(bad)} rows)",
            rows=bad[:5].tolist(), count=len(bad),
        )
    return y


def _labels(frame: ModelFrame, given: Any) -> Any:
    """0 and 1 for the labels of a binary response; what has none of them is given back."""
    coding = frame.response_coding
    if coding.success is None:
        return given
    array = np.asarray(given)
    if array.dtype.kind not in "OUS" or array.ndim != 1 or not all(isinstance(value, str) for value in array.tolist()):
        return given
    known = {coding.failure: 0.0, coding.success: 1.0}
    bad = [row for row, value in enumerate(array.tolist()) if value not in known]
    if bad:
        raise DataError(
            f"the new response is neither {coding.failure!r} nor {coding.success!r} in rows {bad[:5]} ({len(bad)} rows)",
            rows=bad[:5], count=len(bad),
        )
    return [known[value] for value in array.tolist()]


def _from_proportions(frame: ModelFrame, y: Float) -> Float:
    trials = np.ones(frame.n) if frame.trials is None else np.asarray(frame.trials)
    successes = y * trials
    whole = np.rint(successes)
    bad = np.flatnonzero((y < 0.0) | (y > 1.0) | (np.abs(successes - whole) > WHOLE))
    if len(bad):
        raise DataError(
            f"the new response is no proportion of the trials in rows {bad[:5].tolist()} ({len(bad)} rows): between 0 and 1, "
            "and whole when multiplied by the weights",
            rows=bad[:5].tolist(), count=len(bad),
        )
    return whole


def _from_pair(frame: ModelFrame, pair: Float) -> Float:
    trials = np.ones(frame.n) if frame.trials is None else np.asarray(frame.trials)
    bad = np.flatnonzero((pair < 0.0).any(axis=1) | (pair.sum(axis=1) != trials))
    if len(bad):
        raise DataError(
            f"successes and failures do not add up to the trials of the fit in rows {bad[:5].tolist()} ({len(bad)} rows); for "
            "other trials, give update() data=",
            rows=bad[:5].tolist(), count=len(bad),
        )
    return pair[:, 0]


def new_response(frame: ModelFrame, given: Any) -> Float:
    """A copy of a response of a model with a family, shape (n,): numbers of successes in the binomial family.

    Parameters
    ----------
    frame
        The rows of the fit.
    given
        Of the kind that the frame was read from: see ``ResponseCoding``. Numbers of successes, or two columns, for
        ``cbind``; labels, or 0 and 1, for binary responses.

    Raises
    ------
    DataError
        Values that the family cannot have, or not one per row of the fit.
    FitError
        ``constant_response``.
    """
    family, name = frame.family, frame.formula.response.name
    assert family is not None
    if family.name != "binomial":
        y = checked_values(family, per_row(frame, given), name)
        check_scale(name, y)
    elif frame.response_coding.kind == "cbind" and np.ndim(given) == 2:
        y = checked_successes(_from_pair(frame, per_row(frame, given, 2)), frame.trials, name)
    else:
        y = per_row(frame, _labels(frame, given))
        if frame.response_coding.kind == "proportions":
            y = _from_proportions(frame, y)
        y = checked_successes(y, frame.trials, name)
    check_response(replace(frame, response=y))
    return y
