"""A formula tree to its meaning: one response, fixed terms, offsets, and one random term for every block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple

from mixeff_fast.formula.algebra import Algebra, as_variable
from mixeff_fast.formula.functions import FACTORS, SEVERAL_COLUMNS, columns_of
from mixeff_fast.formula.model import (
    Expansion,
    ModelFormula,
    RandomTerm,
    Response,
    TermSet,
    Variable,
)
from mixeff_fast.formula.parser import parse
from mixeff_fast.formula.render import deparse
from mixeff_fast.formula.tokens import ErrorKind, fail, refuse_type
from mixeff_fast.formula.tree import Bar, Binary, Call, Name, Node, Number, Paren, walk
from mixeff_fast.vocabulary import GroupPath

_CACHED_FORMULAS = 256


class _Grouping(NamedTuple):
    group: tuple[Variable, ...]
    path: GroupPath
    expansion: Expansion


def model_formula(text: str) -> ModelFormula:
    """Read a formula and expand it.

    Parameters
    ----------
    text
        A two-sided formula, such as ``"y ~ x * z + (1 | a/b)"``.

    Returns
    -------
    ModelFormula
        Its response, fixed terms, offsets and random terms. Reading a text again returns the same object.

    Raises
    ------
    FormulaError
        With ``kind``, ``offset`` and ``length`` of what cannot be read.

    Examples
    --------
    >>> f = model_formula("y ~ b + a:b + (1 | school/class)")
    >>> [term.name for term in f.fixed.terms], [term.group_name for term in f.random]
    (['b', 'b:a'], ['school', 'school:class'])
    """
    if not isinstance(text, str):
        refuse_type(text)
    return _expanded(text)


@lru_cache(maxsize=_CACHED_FORMULAS)
def _expanded(text: str) -> ModelFormula:
    tree = parse(text)
    response = _response(text, tree.response)
    algebra = Algebra(text)
    fixed = algebra.termset(tree.rhs)
    offsets = tuple(algebra.offsets.values())
    gathered = _RandomTerms(text)
    for bar in algebra.bars:
        gathered.add(bar)
    random = tuple(gathered.terms)
    predictors = [*_effects(fixed), *(variable for term in random for variable in _effects(term.lhs))]
    _check_predictors(text, response, predictors)
    columns: dict[str, None] = {}
    for variable in (*response.variables, *_effects(fixed), *offsets):
        columns.update(dict.fromkeys(variable.columns))
    for term in random:
        for variable in (*_effects(term.lhs), *term.group):
            columns.update(dict.fromkeys(variable.columns))
    return ModelFormula(text, tree, response, fixed, offsets, random, tuple(columns))


def _response(text: str, node: Node) -> Response:
    if isinstance(node, Call) and node.function == "cbind":
        variables = tuple(as_variable(text, arg) for arg in node.args)
        return Response("cbind", variables, deparse(node))
    if not columns_of(node):
        kind: ErrorKind = "NumericLiteralTerm" if isinstance(node, Number) else "MissingResponse"
        fail(text, kind, *node.span, "The response reads no column; name the column to model before the ~.")
    refused = SEVERAL_COLUMNS | FACTORS | {"offset", "cbind"}
    for inner in walk(node):
        if isinstance(inner, Call) and inner.function in refused and not (inner is node and inner.function in FACTORS):
            fail(text, "Other", *inner.span,
                 f"{inner.function}() cannot be part of a response; compute the column in Polars first.")
    variable = as_variable(text, node)
    return Response("single", (variable,), variable.key)


def _effects(terms: TermSet) -> Iterator[Variable]:
    return (variable for term in terms.terms for variable in term.variables)


def _check_predictors(text: str, response: Response, predictors: Iterable[Variable]) -> None:
    responses = {variable.key for variable in response.variables}
    for variable in predictors:
        if variable.key in responses:
            fail(text, "Other", *variable.node.span,
                 "This is the response, which cannot also be a predictor; remove it from one side.")


class _RandomTerms:
    """The random terms of a formula, gathered bar by bar."""

    __slots__ = ("_blocks", "_text", "terms")

    def __init__(self, text: str) -> None:
        self._text = text
        self._blocks = 0
        self.terms: list[RandomTerm] = []

    def add(self, bar: Bar) -> None:
        """Append the terms that one bar stands for: one for every grouping, and with ``||`` one for every effect."""
        algebra = Algebra(self._text)
        lhs = algebra.termset(bar.left)
        if algebra.offsets or algebra.bars:
            fail(self._text, "Other", *bar.left.span,
                 "Offsets and random-effects terms cannot vary by group; move them out of these parentheses.")
        if not lhs.intercept and not lhs.terms:
            fail(self._text, "EmptyRandomTerms", *bar.left.span,
                 "No effect is left to vary by group; write 1 for an intercept, or name a column.")
        for grouping in _groupings(self._text, bar.right):
            if bar.double:
                self._append_split(bar, lhs, grouping)
            else:
                self._append(bar, lhs, grouping, None)

    def _append_split(self, bar: Bar, lhs: TermSet, grouping: _Grouping) -> None:
        block = f"bg{self._blocks}"
        self._blocks += 1
        if grouping.expansion == "as_written":
            grouping = grouping._replace(expansion="double_bar")
        if lhs.intercept:
            self._append(bar, TermSet(True, ()), grouping, block)
        for term in lhs.terms:
            self._append(bar, TermSet(False, (term,)), grouping, block)

    def _append(self, bar: Bar, lhs: TermSet, grouping: _Grouping, block: str | None) -> None:
        self.terms.append(
            RandomTerm(
                index=len(self.terms),
                lhs=lhs,
                group=grouping.group,
                group_name=":".join([variable.key for variable in grouping.group]),
                path=grouping.path,
                covariance=bar.wrapper or "us",
                block_group=block,
                written=self._text[bar.span.start : bar.span.stop],
                span=bar.span,
                expansion=grouping.expansion,
            )
        )


def _groupings(text: str, node: Node) -> list[_Grouping]:
    while isinstance(node, Paren):
        node = node.inner
    if isinstance(node, Binary) and node.op == "&":
        return [_Grouping(_interaction(text, node), "interaction", "as_written")]
    operators = _check_grouping(text, node)
    expansion: Expansion = "as_written"
    if operators & {"*", "/"}:
        expansion = "crossed_with_cell" if "*" in operators else "nested"
    return [
        _Grouping(term.variables, "cell" if len(term.variables) > 1 else "marginal", expansion)
        for term in Algebra(text).termset(node).terms
    ]


def _interaction(text: str, node: Binary) -> tuple[Variable, ...]:
    parts: list[Node] = []
    rest: Node = node
    while isinstance(rest, Binary) and rest.op == "&":
        parts.append(rest.right)
        rest = rest.left
    variables = [_grouping_variable(text, part) for part in (rest, *reversed(parts))]
    unique = {variable.key: variable for variable in variables}
    if len(unique) < len(variables):
        fail(text, "Other", *node.span, "A grouping column is named twice here; name each once.")
    return tuple(unique.values())


def _check_grouping(text: str, root: Node) -> set[str]:
    """Return the operators of a grouping, refusing what cannot define groups."""
    operators: set[str] = set()
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Binary) and node.op in (":", "/", "*"):
            operators.add(node.op)
            stack.extend((node.right, node.left))
        elif isinstance(node, Paren):
            stack.append(node.inner)
        elif isinstance(node, Binary) and node.op == "+":
            fail(text, "Other", *node.span,
                 "Groupings cannot be added; write a term for each: (x | a) + (x | b).")
        else:
            _grouping_variable(text, node)
    return operators


def _grouping_variable(text: str, node: Node) -> Variable:
    if isinstance(node, Number):
        fail(text, "NumericLiteralTerm", *node.span, "A number cannot define groups; name a column after the bar.")
    if not isinstance(node, Name) and not (isinstance(node, Call) and node.function in FACTORS):
        fail(text, "Other", *node.span, "Groups are columns, joined with : / or *, or with & between columns alone; "
                                        "compute anything else in Polars first.")
    return as_variable(text, node)
