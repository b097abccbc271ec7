"""Reading contrasts of fixed effects: vectors, matrices, and weights by the names of coefficients."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from mixeff_fast.errors import ArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float = NDArray[np.float64]

# a label spells out so many weights at most
_SPELLED = 4


@dataclass(frozen=True, slots=True)
class Contrasts:
    """``matrix @ beta = rhs``: labels of the rows, shapes (k, p) and (k,)."""

    labels: tuple[str, ...]
    matrix: Float
    rhs: Float


def read_contrasts(given: Any, rhs: Any, names: Sequence[str]) -> Contrasts:
    """Contrasts as a caller gives them.

    Parameters
    ----------
    given
        A vector of one weight per coefficient, a matrix of such rows, a mapping of names of coefficients to weights, or a list
        of such mappings.
    rhs
        What the contrasts equal under the hypothesis: a number, or one for each row.
    names
        The coefficients.

    Raises
    ------
    ArgumentError
        Unknown names (``unknown``, ``suggestions``), weights that are not finite numbers, a row of zeros, wrong lengths.

    Examples
    --------
    >>> read_contrasts({"b": 1, "a": -1}, 0, ["a", "b"]).matrix
    array([[-1.,  1.]])
    >>> read_contrasts([[1, 0], [0, 2]], [0, 3], ["a", "b"]).labels
    ('a', '2 b')
    """
    rows = _rows(given, list(names))
    if not np.isfinite(rows).all():
        _refuse("the weights of a contrast are finite numbers")
    empty = np.flatnonzero(~rows.any(axis=1))
    if len(empty):
        _refuse(f"row {int(empty[0]) + 1} of L is all zeros: it says nothing about the coefficients", row=int(empty[0]))
    labels = [_label(row, names, i) for i, row in enumerate(rows.tolist())]
    return Contrasts(tuple(_distinct(labels)), rows, _right_side(rhs, len(rows)))


def _rows(given: Any, names: list[str]) -> Float:
    if isinstance(given, Mapping):
        return _named(given, names)[None]
    if isinstance(given, Sequence) and not isinstance(given, str) and given and all(isinstance(g, Mapping) for g in given):
        return np.array([_named(each, names) for each in given])
    try:
        rows = np.asarray(given)
    except ValueError:
        rows = np.empty(0, dtype=object)
    if rows.dtype.kind not in "iuf":
        _refuse("L is a vector or a matrix of numbers, a mapping of coefficient names to numbers, or a list of such mappings")
    if rows.ndim == 1:
        rows = rows[None]
    if rows.ndim != 2 or rows.shape[1] != len(names) or not len(rows):
        _refuse(
            f"L has shape {np.shape(given)}; a row has one weight for each of {len(names)} coefficients: {', '.join(names)}",
            shape=np.shape(given), expected=len(names),
        )
    return rows.astype(np.float64)


def _named(weights: Mapping[Any, Any], names: list[str]) -> Float:
    row = np.zeros(len(names))
    unknown = [name for name in weights if name not in names]
    if unknown or not weights:
        close = {str(name): get_close_matches(str(name), names) for name in unknown}
        hints = [match for matches in close.values() for match in matches]
        _refuse(
            f"no coefficient named {', '.join(map(repr, unknown))}" + (f"; close are {', '.join(hints)}" if hints else "")
            + f"; there are {', '.join(names)}" if unknown else "the contrast names no coefficient",
            unknown=unknown, suggestions=close,
        )
    for name, weight in weights.items():
        try:
            known = isinstance(weight, int | float | np.integer | np.floating) and not isinstance(weight, bool)
            row[names.index(name)] = weight if known else math.nan
        except OverflowError:
            known = False
        if not known:
            _refuse(f"the weight of {name!r} is a number, not {weight!r}")
    return row


def _right_side(rhs: Any, k: int) -> Float:
    try:
        values = np.asarray(rhs)
    except ValueError:
        values = np.empty(0, object)
    if values.dtype.kind not in "iuf" or values.ndim > 1 or not np.isfinite(values).all() or values.size not in (1, k):
        raise ArgumentError(
            f"rhs is one finite number, or one for each of the {k} rows of L, not {rhs!r}", argument="rhs", expected=k
        )
    return np.broadcast_to(values.astype(np.float64), (k,)).copy()


def _label(row: Sequence[float], names: Sequence[str], i: int) -> str:
    """The row as an expression, or its number where that would be long."""
    weights = [(weight, name) for weight, name in zip(row, names, strict=True) if weight != 0.0]
    if len(weights) > _SPELLED:
        return f"row {i + 1}"
    out = ""
    for weight, name in weights:
        sign = ("- " if weight < 0 else "+ ") if out else ("-" if weight < 0 else "")
        size = "" if abs(weight) == 1.0 else f"{abs(weight):.6g} "
        out += f"{' ' if out else ''}{sign}{size}{name}"
    return out


def _distinct(labels: list[str]) -> list[str]:
    return [label if labels.count(label) == 1 else f"{label} [{i + 1}]" for i, label in enumerate(labels)]


def _refuse(problem: str, **fields: Any) -> NoReturn:
    raise ArgumentError(problem, argument="L", **fields)
