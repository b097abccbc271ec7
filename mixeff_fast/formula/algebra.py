"""R's term algebra: what ``+ - : * / ^ %in%`` do to sets of terms.

A term is a set of variables, held as the bits of an integer; a set of terms is a dict from those integers (insertion
order is order of first appearance). Variables are numbered by first appearance, removed terms included, as in
``terms.formula``; the intercept is one flag that every ``0`` and ``1`` sets in reading order.
"""

from __future__ import annotations

from typing import Literal

from mixeff_fast.formula.functions import columns_of
from mixeff_fast.formula.model import Term, TermSet, Variable
from mixeff_fast.formula.render import deparse
from mixeff_fast.formula.tokens import fail
from mixeff_fast.formula.tree import Bar, Binary, Call, Name, Node, Number, Paren, Unary

MAX_PRODUCTS = 100_000
MAX_ORDER = 64
Place = Literal["sum", "removed", "inside"]
_Terms = dict[int, None]


class Algebra:
    """One side of a formula, or of a bar, while its terms are being worked out.

    Attributes
    ----------
    bars, offsets
        What was found beside the terms, in reading order: random-effects terms and the variables of ``offset(...)``.
    """

    __slots__ = ("_intercept", "_products", "_text", "_variables", "bars", "offsets")

    def __init__(self, text: str) -> None:
        self._text = text
        self._variables: dict[str, tuple[int, Variable]] = {}
        self._intercept = True
        self._products = 0
        self.bars: list[Bar] = []
        self.offsets: dict[str, Variable] = {}

    def termset(self, node: Node) -> TermSet:
        """Expand ``node`` into terms in R's order: by number of variables, then by first appearance."""
        masks = sorted(self._evaluate(node), key=int.bit_count)
        order = masks[-1].bit_count() if masks else 0
        if order > MAX_ORDER:
            fail(self._text, "Other", *node.span,
                 f"A term here joins {order:,} variables, and at most {MAX_ORDER} can be; write out the terms that the "
                 "model needs.", count=order, limit=MAX_ORDER)
        variables = [variable for _, variable in self._variables.values()]
        return TermSet(self._intercept, tuple(Term(_members(mask, variables)) for mask in masks))

    def _evaluate(self, root: Node) -> _Terms:
        values: list[_Terms] = []
        # A node is visited twice: on the way down to queue its operands, and on the way up to combine their values.
        # ``adds`` is false within a removal, where 0 and 1 change places, and true again within a removal in it.
        stack: list[tuple[Node, bool, Place, bool]] = [(root, True, "sum", False)]
        while stack:
            node, adds, place, ready = stack.pop()
            if isinstance(node, Binary):
                if ready:
                    self._combine(node, values)
                else:
                    stack.append((node, adds, place, True))
                    self._queue_operands(stack, node, adds, place)
            elif isinstance(node, Unary):
                removes = node.op == "-"
                if ready:
                    values[-1] = {} if removes else values[-1]
                else:
                    stack.append((node, adds, place, True))
                    stack.append((node.operand, adds != removes, "removed" if removes else place, False))
            elif isinstance(node, Paren):
                stack.append((node.inner, adds, place, False))
            else:
                values.append(self._leaf(node, adds, place))
        return values[0]

    def _queue_operands(self, stack: list[tuple[Node, bool, Place, bool]], node: Binary, adds: bool,
                        place: Place) -> None:
        if node.op == "+":
            stack.append((node.right, adds, place, False))
            stack.append((node.left, adds, place, False))
        elif node.op == "-":
            stack.append((node.right, not adds, "removed", False))
            stack.append((node.left, adds, place, False))
        else:
            inside: Place = "removed" if place == "removed" else "inside"
            for operand in (node.right, node.left):
                if node.op == "^" and operand is node.right:
                    continue
                if isinstance(operand, Number):
                    self._literal(operand)
                stack.append((operand, adds, inside, False))

    def _leaf(self, node: Node, adds: bool, place: Place) -> _Terms:
        if isinstance(node, Number):
            if node.value not in (0, 1):
                self._literal(node)
            self._intercept = (node.value == 1) == adds
            return {}
        if isinstance(node, Bar):
            self._bar(node, place)
            return {}
        if isinstance(node, Call) and node.function == "offset":
            if place != "sum":
                fail(self._text, "Other", *node.span, "An offset can only be added; write + offset(...) by itself.")
            variable = as_variable(self._text, node)
            self.offsets[variable.key] = variable
            return {}
        if not isinstance(node, Name | Call):
            fail(self._text, "UnexpectedToken", *node.span, "This cannot be a term; name a column.")
        key = deparse(node)
        known = self._variables.get(key)
        if known is None:
            known = 1 << len(self._variables), as_variable(self._text, node, key)
            self._variables[key] = known
        return {known[0]: None}

    def _bar(self, node: Bar, place: Place) -> None:
        if place == "removed":
            fail(self._text, "NegatedRandomEffect", *node.span,
                 "A random-effects term cannot be removed; leave it out of the formula instead.")
        if place == "inside":
            fail(self._text, "Other", *node.span,
                 "A random-effects term can only be added; write + (x | g) by itself.")
        self.bars.append(node)

    def _literal(self, node: Number) -> None:
        fail(self._text, "NumericLiteralTerm", *node.span,
             f"The number {node.text} is not a term: only 0 and 1 are, added or removed, for the intercept. "
             "To compute with numbers, wrap the expression in I(), as in I(x/2); to fix a coefficient, use offset().")

    def _combine(self, node: Binary, values: list[_Terms]) -> None:
        if node.op == "^":
            values.append(self._power(node, values.pop()))
            return
        right, left = values.pop(), values.pop()
        if node.op not in ("+", "-"):
            for operand, terms in ((node.left, left), (node.right, right)):
                if not terms:
                    fail(self._text, "Other", *operand.span,
                         f"No term is left here for {node.op} to work on; name a column, or remove this.")
        match node.op:
            case "+":
                left.update(right)
            case "-":
                for mask in right:
                    left.pop(mask, None)
            case ":":
                left = self._product(node, left, right)
            case "*":
                left = {**left, **right, **self._product(node, left, right)}
            case "/":
                every = _union(left)
                left.update((mask | every, None) for mask in right)
            case _:
                every = _union(right)
                left = dict.fromkeys(mask | every for mask in left)
        values.append(left)

    def _product(self, node: Binary, left: _Terms, right: _Terms) -> _Terms:
        self._products += len(left) * len(right)
        if self._products > MAX_PRODUCTS:
            fail(self._text, "Other", *node.span,
                 f"Expanding this takes {self._products:,} products of terms, and at most {MAX_PRODUCTS:,} are formed; "
                 "write out the terms that the model needs.", count=self._products, limit=MAX_PRODUCTS)
        return {one | two: None for one in left for two in right}

    def _power(self, node: Binary, base: _Terms) -> _Terms:
        exponent = node.right
        if not isinstance(exponent, Number) or exponent.value < 1 or not exponent.value.is_integer():
            fail(self._text, "NumericLiteralTerm", *exponent.span,
                 "Terms are raised to a whole number from 1 on; for arithmetic, write I(x^y).")
        result, remaining = base, int(exponent.value) - 1
        while remaining:
            larger = self._product(node, result, base)
            if list(larger) == list(result):
                break
            result, remaining = larger, remaining - 1
        return result


def as_variable(text: str, node: Node, key: str | None = None) -> Variable:
    """Return the variable of an expression, which must read at least one column."""
    columns = columns_of(node)
    if not columns:
        fail(text, "Other", *node.span, "This reads no column; name one in it, or remove it.")
    return Variable(deparse(node) if key is None else key, node, columns)


def _members(mask: int, variables: list[Variable]) -> tuple[Variable, ...]:
    members = []
    while mask:
        lowest = mask & -mask
        members.append(variables[lowest.bit_length() - 1])
        mask ^= lowest
    return tuple(members)


def _union(terms: _Terms) -> int:
    every = 0
    for mask in terms:
        every |= mask
    return every
