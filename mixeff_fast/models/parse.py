"""Reading a formula without data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, overload

from mixeff_fast.formula import model_formula, parse, render
from mixeff_fast.models.arguments import flag

if TYPE_CHECKING:
    from mixeff_fast.formula import FormulaTree


@overload
def parse_formula(text: str, *, ast: Literal[False] = False) -> str: ...


@overload
def parse_formula(text: str, *, ast: Literal[True]) -> FormulaTree: ...


def parse_formula(text: str, *, ast: bool = False) -> str | FormulaTree:
    """The canonical text of a formula, or its tree.

    Parameters
    ----------
    text
        A formula.
    ast
        Return the tree, whose nodes carry their place in the text, instead of the canonical text.

    Raises
    ------
    FormulaError
        With ``kind``, ``offset`` and ``length``.
    ArgumentError
        ``text`` is not a string, or ``ast`` not a flag.

    Examples
    --------
    >>> parse_formula("y ~ x*z + (1 | a/b)")
    'y ~ 1 + x + z + x:z + (1 | a) + (1 | a:b)'
    """
    return parse(text) if flag("ast", ast) else render(model_formula(text))
