"""What a formula means: response, fixed terms, offsets and random terms, with every operator expanded.

Two formulas are equal when they describe the same model: the text, the tree, the spans and the way a term was written
take no part in equality.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from mixeff_fast.formula.tree import FormulaTree, Node, Span
from mixeff_fast.vocabulary import CovarianceWrapper, GroupPath

Expansion = Literal["as_written", "nested", "crossed_with_cell", "double_bar"]


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable of the model: a column, or a function of columns.

    Attributes
    ----------
    key
        The variable as R deparses it: ``x``, ``log(x + 1)``, ``factor(g)``, ```my column```.
    node
        What to evaluate.
    columns
        The data columns that ``node`` reads, in the order they appear.
    """

    key: str
    node: Node
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Term:
    """A product of one or more variables. The intercept is never a term: it is a flag of the term set."""

    variables: tuple[Variable, ...]

    @property
    def name(self) -> str:
        """The label R gives the term, such as ``a:b``."""
        return ":".join(variable.key for variable in self.variables)


@dataclass(frozen=True, slots=True)
class TermSet:
    """An intercept or none, and terms in R's order: by number of variables, then by first appearance."""

    intercept: bool
    terms: tuple[Term, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The left-hand side: one variable, or the two columns of ``cbind(successes, failures)``."""

    kind: Literal["single", "cbind"]
    variables: tuple[Variable, ...]
    name: str


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random-effects block after expansion.

    Attributes
    ----------
    index
        Position among the random terms of the formula, from 0.
    lhs
        The effects that vary.
    group, group_name, path
        The grouping variables, their keys joined with ``:``, and whether they are one factor (``marginal``), the
        observed cells of several (``cell``, written ``a:b``) or the same written ``a & b`` (``interaction``).
    covariance
        The structure asked for; ``us`` (unstructured) when nothing else is said.
    block_group
        The same label (``bg0``, ``bg1``, ...) for all terms that one ``||`` was split into; None for all others.
    written, span
        The bar this term came from, as written, and its place in the text.
    expansion
        How the written bar became this term. A term of ``(1 + x || a/b)`` is ``nested``; its ``block_group`` tells of
        the double bar.
    """

    index: int
    lhs: TermSet
    group: tuple[Variable, ...]
    group_name: str
    path: GroupPath
    covariance: CovarianceWrapper
    block_group: str | None
    written: str = field(compare=False)
    span: Span = field(compare=False)
    expansion: Expansion = field(compare=False)


@dataclass(frozen=True, slots=True)
class ModelFormula:
    """A formula, read and expanded.

    Attributes
    ----------
    text, tree
        What was written.
    response, fixed, offsets, random
        What it means.
    columns
        Every data column the model reads, in order: response, fixed terms, offsets, random terms.
    """

    text: str = field(compare=False)
    tree: FormulaTree = field(compare=False)
    response: Response
    fixed: TermSet
    offsets: tuple[Variable, ...]
    random: tuple[RandomTerm, ...]
    columns: tuple[str, ...]
