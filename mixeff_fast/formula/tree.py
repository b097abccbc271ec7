"""Nodes of a formula tree: what was written, operator by operator, with the place of every piece.

Two nodes are equal when they say the same thing, wherever it was written: spans take no part in equality or hashing.
A sum of thousands of terms is thousands of nodes deep, so nothing here recurses: equality, hashing, ``repr`` and
pickling walk the tree with a stack.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from mixeff_fast.vocabulary import CovarianceWrapper


class Span(NamedTuple):
    """Characters ``start`` (included) to ``stop`` (excluded) of the formula text."""

    start: int
    stop: int


NO_SPAN = Span(0, 0)
LITERAL_NAMES = frozenset({"TRUE", "FALSE"})


class Node:
    """Base of all nodes. ``span`` says where the node was written."""

    __slots__ = ()

    span: Span

    def _atoms(self) -> tuple[Any, ...]:
        """Everything that identifies the node apart from its class and its children."""
        raise TypeError(f"{type(self).__name__} is not a node of a formula tree")

    def children(self) -> tuple[Node, ...]:
        """Return the nodes directly below this one, in the order they were written."""
        return ()

    @classmethod
    def _assemble(cls, atoms: tuple[Any, ...], children: tuple[Node, ...], span: Span) -> Node:
        return cls(*atoms, *children, span)  # type: ignore[call-arg]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Node):
            return NotImplemented
        pairs: list[tuple[Node, Node]] = [(self, other)]
        while pairs:
            one, two = pairs.pop()
            if one is two:
                continue
            if type(one) is not type(two) or one._atoms() != two._atoms():
                return False
            ones, twos = one.children(), two.children()
            if len(ones) != len(twos):
                return False
            pairs.extend(zip(ones, twos, strict=True))
        return True

    def __hash__(self) -> int:
        return hash(tuple((type(node).__name__, node._atoms()) for node in walk(self)))

    def __repr__(self) -> str:
        pieces: list[str] = []
        stack: list[Node | str] = [self]
        while stack:
            item = stack.pop()
            if isinstance(item, str):
                pieces.append(item)
                continue
            stack.append(")")
            parts: list[Node | str] = [", ".join(map(repr, item._atoms()))] if item._atoms() else []
            for child in item.children():
                parts.extend((", ", child) if parts else (child,))
            stack.extend(reversed(parts))
            pieces.append(f"{type(item).__name__}(")
        return "".join(pieces)

    def __reduce__(self) -> tuple[Any, ...]:
        flat = tuple((type(node), node._atoms(), len(node.children()), node.span) for node in walk(self))
        return _from_preorder, (flat,)


def walk(node: Node) -> Iterator[Node]:
    """Yield ``node`` and everything below it, parents before children, left before right."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children()))


def _from_preorder(flat: tuple[tuple[type[Node], tuple[Any, ...], int, Span], ...]) -> Node:
    built: list[Node] = []
    for cls, atoms, n_children, span in reversed(flat):
        children = tuple(built.pop() for _ in range(n_children))
        built.append(cls._assemble(atoms, children, span))
    return built[0]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Name(Node):
    """A data column, or the literal ``TRUE`` or ``FALSE`` when unquoted and inside a call.

    ``quoted`` tells that the name is written in backticks in canonical text, whether or not it was when it was read.
    """

    name: str
    quoted: bool = False
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return self.name, self.quoted


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Number(Node):
    """A numeric literal; ``text`` is its canonical form (``1e+05`` for ``100000``, ``2`` for ``2.0``)."""

    value: float
    text: str
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return self.value, self.text


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class String(Node):
    """A string literal, with its escapes resolved."""

    value: str
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return (self.value,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Call(Node):
    """A function applied to arguments; ``keywords`` are pairs of a name and a literal."""

    function: str
    args: tuple[Node, ...]
    keywords: tuple[tuple[str, Node], ...] = ()
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return self.function, tuple(name for name, _ in self.keywords)

    def children(self) -> tuple[Node, ...]:
        """Return the arguments, then the values of the keywords."""
        return self.args + tuple(value for _, value in self.keywords)

    @classmethod
    def _assemble(cls, atoms: tuple[Any, ...], children: tuple[Node, ...], span: Span) -> Node:
        function, names = atoms
        n_args = len(children) - len(names)
        return cls(function, children[:n_args], tuple(zip(names, children[n_args:], strict=True)), span)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Unary(Node):
    """``-operand`` or ``+operand``."""

    op: str
    operand: Node
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return (self.op,)

    def children(self) -> tuple[Node, ...]:
        """Return the operand."""
        return (self.operand,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Binary(Node):
    """``left op right``; ``op`` is one of ``+ - * / ^ : %in% %% %/% &``."""

    op: str
    left: Node
    right: Node
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return (self.op,)

    def children(self) -> tuple[Node, ...]:
        """Return the left and the right operand."""
        return self.left, self.right


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Paren(Node):
    """Parentheses as written; they are nodes, so canonical text never has to invent any."""

    inner: Node
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return ()

    def children(self) -> tuple[Node, ...]:
        """Return what stands inside."""
        return (self.inner,)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bar(Node):
    """A random-effects term: ``(left | right)``, ``(left || right)``, or a wrapper such as ``diag(left | right)``."""

    left: Node
    right: Node
    double: bool = False
    wrapper: CovarianceWrapper | None = None
    span: Span = NO_SPAN

    def _atoms(self) -> tuple[Any, ...]:
        return self.double, self.wrapper

    def children(self) -> tuple[Node, ...]:
        """Return the effects and the grouping."""
        return self.left, self.right

    @classmethod
    def _assemble(cls, atoms: tuple[Any, ...], children: tuple[Node, ...], span: Span) -> Node:
        (left, right), (double, wrapper) = children, atoms
        return cls(left, right, double, wrapper, span)


@dataclass(frozen=True, slots=True)
class FormulaTree:
    """A formula as written: the text, the response and the right-hand side. The text takes no part in equality."""

    text: str = field(compare=False)
    response: Node
    rhs: Node


def literal_value(node: Node) -> float | int | bool | str | tuple[float | int | str, ...] | None:
    """Return the value of a literal argument, or None when the node is not a literal.

    Parameters
    ----------
    node
        An argument or a keyword value of a call.

    Returns
    -------
    float, int, bool, str, tuple or None
        Whole numbers come back as ``int``; ``c(1, 2)`` as a tuple.

    Examples
    --------
    >>> literal_value(Number(4.0, "4")), literal_value(Name("TRUE")), literal_value(Name("x"))
    (4, True, None)
    """
    if isinstance(node, Call) and node.function == "c" and not node.keywords:
        values = tuple(_scalar(arg) for arg in node.args)
        return None if any(value is None or isinstance(value, bool) for value in values) else values  # type: ignore[return-value]
    return _scalar(node)


def _scalar(node: Node) -> float | int | bool | str | None:
    sign = 1
    while isinstance(node, Unary):
        sign = -sign if node.op == "-" else sign
        node = node.operand
        if not isinstance(node, Unary | Number):
            return None
    if isinstance(node, Number):
        value = sign * node.value
        return int(value) if value.is_integer() else value
    if isinstance(node, String):
        return node.value
    if isinstance(node, Name) and not node.quoted and node.name in LITERAL_NAMES:
        return node.name == "TRUE"
    return None
