"""Design matrices: which columns a set of terms has, under R's rule, and their values.

R codes a factor in a term by contrasts if what remains of the term without it is contained in an earlier term (nothing
remains of a main effect, and that counts as contained), and by indicators of all levels otherwise. Without an intercept
the first factor of the first term that has one is coded by indicators in any case. Within a term the first variable
varies fastest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from mixeff_fast.formula.model import TermSet
from mixeff_fast.frame.columns import FactorVariable, Floats, NumericVariable, frozen
from mixeff_fast.frame.names import told_apart

# NumPy works on so few columns one by one in less time than on all at once
_NARROW = 16

Variables: TypeAlias = Mapping[str, NumericVariable | FactorVariable]
Coding = Literal["numeric", "contrast", "indicator"]
INTERCEPT = "(Intercept)"


@dataclass(frozen=True, slots=True, eq=False)
class TermPart:
    """One variable's share in the columns of a term.

    Attributes
    ----------
    key
        The variable.
    coding
        How it enters: its values, the contrasts of its levels, or an indicator of each.
    table
        Shape (q, m): the share of each level; None for a numeric variable.
    names
        The m pieces of column names.
    """

    key: str
    coding: Coding
    table: Floats | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnBlock:
    """The columns of one term: ``start`` (included) to ``stop`` (excluded); no parts means the intercept."""

    label: str
    start: int
    stop: int
    parts: tuple[TermPart, ...]


@dataclass(frozen=True, slots=True, eq=False)
class DesignColumns:
    """The columns of a design matrix, before any data.

    Attributes
    ----------
    names
        The column names, as R's ``model.matrix`` gives them.
    term_index
        For every column the number of its term, from 1; 0 for the intercept.
    labels
        The terms, without the intercept.
    blocks
        The columns by term, the intercept first if there is one.
    """

    names: tuple[str, ...]
    term_index: tuple[int, ...]
    labels: tuple[str, ...]
    blocks: tuple[ColumnBlock, ...]

    def fill(
        self, variables: Variables, rows: slice, out: Floats, shift: Floats | None = None, scale: Floats | None = None
    ) -> None:
        """Write some rows of the design matrix.

        Parameters
        ----------
        variables
            The variables, of the frame or of new data.
        rows
            Which rows of them.
        out
            Shape (number of rows, number of columns): where to write.
        shift, scale
            Shape (number of columns,): what to subtract from the columns, and the powers of two to divide them by then.
        """
        for block in self.blocks:
            if not block.parts:
                out[:, block.start] = 1.0 if shift is None or scale is None else (1.0 - shift[block.start]) / scale[block.start]
                continue
            product = _values(block.parts[0], variables, rows)
            for part in block.parts[1:]:
                product = _product(product, _values(part, variables, rows))
            if shift is not None and scale is not None:
                _fill_scaled(product, out[:, block.start : block.stop], shift[block.start :], scale[block.start :])
            elif product.ndim == 1:
                out[:, block.start] = product
            else:
                out[:, block.start : block.stop] = product

    def matrix(self, variables: Variables, n: int) -> Floats:
        """Return the whole design matrix, shape (n, number of columns)."""
        out = np.empty((n, len(self.names)))
        self.fill(variables, slice(0, n), out)
        return out


def _fill_scaled(product: Floats, out: Floats, shift: Floats, scale: Floats) -> None:
    """Write columns less their shifts, over their scales. Scales are powers of two: multiplying by their inverses is exact."""
    width = out.shape[1]
    if width > _NARROW:
        np.subtract(product, shift[:width], out=out)
        out *= 1.0 / scale[:width]
        return
    for j, (by, unit) in enumerate(zip(shift[:width].tolist(), scale[:width].tolist(), strict=True)):
        column = product if product.ndim == 1 else product[:, j]
        if by != 0.0:
            column = column - by
        out[:, j] = column if unit == 1.0 else column * (1.0 / unit)


def design_columns(termset: TermSet, variables: Variables) -> DesignColumns:
    """Decide the columns of a set of terms.

    Parameters
    ----------
    termset
        The terms, in R's order.
    variables
        The variables they name.

    Returns
    -------
    DesignColumns

    Examples
    --------
    >>> import polars as pl
    >>> from mixeff_fast.formula import model_formula
    >>> from mixeff_fast.frame import build_frame
    >>> data = pl.DataFrame({"y": [1.0, 2.0, 4.0, 3.0], "x": [0, 1, 2, 3], "a": ["u", "v", "u", "v"]})
    >>> frame = build_frame(data, model_formula("y ~ x + a:x"))
    >>> columns = design_columns(frame.formula.fixed, frame.variables)
    >>> columns.names
    ('(Intercept)', 'x', 'x:av')
    >>> columns.matrix(frame.variables, frame.n)[1].tolist()
    [1.0, 1.0, 1.0]
    """
    names: dict[str, None] = {}
    term_index: list[int] = []
    blocks: list[ColumnBlock] = []
    if termset.intercept:
        names[INTERCEPT] = None
        term_index.append(0)
        blocks.append(ColumnBlock(INTERCEPT, 0, 1, ()))
    for index, (term, codings) in enumerate(zip(termset.terms, _codings(termset, variables), strict=True), start=1):
        parts = tuple(
            _part(variables[variable.key], coding) for variable, coding in zip(term.variables, codings, strict=True)
        )
        pieces = parts[0].names
        for part in parts[1:]:
            pieces = tuple(f"{first}:{second}" for second in part.names for first in pieces)
        blocks.append(ColumnBlock(term.name, len(names), len(names) + len(pieces), parts))
        for piece in pieces:
            names[told_apart(piece, names)] = None
        term_index.extend([index] * len(pieces))
    return DesignColumns(tuple(names), tuple(term_index), tuple(term.name for term in termset.terms), tuple(blocks))


def _codings(termset: TermSet, variables: Variables) -> list[list[Coding]]:
    earlier: list[frozenset[str]] = []
    found: list[list[Coding]] = []
    must_span = not termset.intercept
    for term in termset.terms:
        keys = frozenset(variable.key for variable in term.variables)
        codings: list[Coding] = []
        for variable in term.variables:
            if not isinstance(variables[variable.key], FactorVariable):
                codings.append("numeric")
                continue
            rest = keys - {variable.key}
            by_contrasts = not rest or any(rest <= other for other in earlier)
            codings.append("contrast" if by_contrasts and not must_span else "indicator")
            must_span = False
        earlier.append(keys)
        found.append(codings)
    return found


def _part(variable: NumericVariable | FactorVariable, coding: Coding) -> TermPart:
    key = variable.key
    if isinstance(variable, NumericVariable):
        return TermPart(key, coding, None, tuple(key + suffix for suffix in variable.suffixes))
    if coding == "contrast":
        names = tuple(key + suffix for suffix in variable.contrast.suffixes)
        return TermPart(key, coding, variable.contrast.matrix, names)
    names = tuple(key + label for label in variable.levels.labels.to_list())
    return TermPart(key, coding, frozen(np.eye(len(names))), names)


def _values(part: TermPart, variables: Variables, rows: slice) -> Floats:
    variable = variables[part.key]
    if isinstance(variable, NumericVariable):
        return variable.values[rows]
    assert part.table is not None
    # column by column, as they are written
    values: Floats = np.take(np.ascontiguousarray(part.table.T), variable.codes[rows], axis=1, mode="clip")
    return values.T


def _product(one: Floats, two: Floats) -> Floats:
    """Multiply every column of ``one`` with every column of ``two``; those of ``one`` vary fastest."""
    if one.ndim == 1:
        return (one if two.ndim == 1 else one[:, None]) * two
    if two.ndim == 1:
        return one * two[:, None]
    product: Floats = (two[:, :, None] * one[:, None, :]).reshape(len(one), -1)
    return product
