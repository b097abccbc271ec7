"""The values a model frame is made of: numeric variables, factors, grouping factors, and notes on how they were read.

Every array here is read-only: a frame is a value, and a numeric column may be a view of the caller's own data.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl

from mixeff_fast.vocabulary import LevelOrder

Floats: TypeAlias = npt.NDArray[np.float64]
Codes: TypeAlias = npt.NDArray[np.int32]
Rows: TypeAlias = npt.NDArray[np.int64]
Mask: TypeAlias = npt.NDArray[np.bool_]

LevelKind = Literal["string", "numeric", "logical"]
SHOWN_ROWS = 5


@dataclass(frozen=True, slots=True, eq=False)
class Levels:
    """The levels of a factor, in order.

    Attributes
    ----------
    labels
        A Polars ``String`` series, one label per level.
    order
        Where the order comes from: ``sorted`` (byte order of the labels; dates by time), ``declared`` (an ``Enum`` or
        a pandas categorical), ``numeric`` (by value) or ``logical`` (``FALSE``, ``TRUE``).
    kind
        What the column held: strings, numbers or booleans.
    """

    labels: pl.Series
    order: LevelOrder
    kind: LevelKind

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, slots=True, eq=False)
class Contrast:
    """How a factor with q levels becomes q - 1 columns.

    Attributes
    ----------
    name
        ``treatment``, ``SAS``, ``sum``, ``helmert``, ``poly`` or ``user``.
    matrix
        Shape (q, q - 1): row i is what an observation of level i contributes.
    suffixes
        What follows the variable's key in the q - 1 coefficient names.
    """

    name: str
    matrix: Floats
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class NumericVariable:
    """A numeric variable of the formula; ``values`` has shape (n,), or (n, m) for a basis such as ``poly(x, 2)``.

    ``suffixes`` follow the key in coefficient names: ``("",)`` for a vector, ``("1", "2")`` for a basis.
    """

    key: str
    values: Floats
    suffixes: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class FactorVariable:
    """A factor of the formula; ``codes`` has shape (n,), each in ``range(len(levels))``."""

    key: str
    codes: Codes
    levels: Levels
    contrast: Contrast


@dataclass(frozen=True, slots=True, eq=False)
class GroupingFactor:
    """A grouping factor: one column, or the observed cells of several.

    Attributes
    ----------
    name
        ``g``, or ``a:b`` for cells.
    parts
        The grouping variables, one or several.
    codes
        Shape (n,); in new data -1 stands for a level the model has not seen.
    levels
        The levels; cells are ordered by the first part's level, then the second's, and labelled ``l1:l2``.
    part_levels
        The levels of each part.
    cells
        Shape (q, len(parts)): the code of every part in every level.
    """

    name: str
    parts: tuple[str, ...]
    codes: Codes
    levels: Levels
    part_levels: tuple[Levels, ...]
    cells: Codes


@dataclass(frozen=True, slots=True)
class Note:
    """A fact about how the data were read that also becomes a diagnostic: ``code`` is stable, ``message`` is prose."""

    code: Literal[
        "grouping_coercion", "unused_levels", "rows_omitted", "predictor_scales", "factor_response", "zero_trials"
    ]
    message: str
    column: str | None = None
    payload: dict[str, Any] = field(default_factory=dict)


def frozen(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Make an array read-only and return it."""
    array.flags.writeable = False
    return array


def quoted(names: Iterable[str]) -> str:
    """Return names as prose: ``'a', 'b' and 'c'``, cut after ten."""
    shown = [repr(name) for name in names]
    if len(shown) > 10:
        shown = [*shown[:10], f"{len(shown) - 10} more"]
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def counted_rows(mask: Mask, kept_rows: Rows | None) -> tuple[str, dict[str, Any]]:
    """Tell which rows a mask marks: as prose, and as the fields ``rows`` (the first few of the data) and ``count``."""
    where = np.flatnonzero(mask)
    first = where[:SHOWN_ROWS] if kept_rows is None else kept_rows[where[:SHOWN_ROWS]]
    rows = [int(row) for row in first]
    listed = ", ".join(map(str, rows))
    text = f"row {listed}" if len(where) == 1 else f"rows {listed}"
    if len(where) > len(rows):
        text += f" and {len(where) - len(rows)} more"
    return text, {"rows": rows, "count": len(where)}
