"""Evaluation of formula variables such as ``log(x + 1)`` or ``poly(x, 2)`` on numeric columns.

The formula's own tree is walked; nothing is ever handed to an evaluator as text. Functions without memory are NumPy's;
those that learn from the data as a whole are in `bases`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixeff_fast.errors import FormulaError
from mixeff_fast.formula.model import Variable
from mixeff_fast.formula.tree import LITERAL_NAMES, Binary, Call, Name, Node, Number, Paren, Unary, literal_value
from mixeff_fast.frame.bases import LEARNING, Memory, learn_or_apply
from mixeff_fast.frame.columns import Floats


@dataclass(frozen=True, slots=True, eq=False)
class TransformState:
    """What the functions of one variable learned from the data.

    ``calls`` maps the position of a call among what is evaluated (parents first, left before right) to what it learned:
    names to numbers, lists of numbers, or None.
    """

    calls: dict[int, Memory] = field(default_factory=dict)


_BINARY: dict[str, Callable[[Any, Any], Any]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "^": np.power,
    "%%": np.mod,
    "%/%": np.floor_divide,
}


def _itself(x: Floats) -> Floats:
    return x


def _log(x: Floats, base: float | None = None) -> Floats:
    logarithm: Floats = np.log(x) if base is None else np.log(x) / np.log(base)
    return logarithm


_UNARY = ("log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan")
_STATELESS: dict[str, Callable[..., Floats]] = {
    "I": _itself,
    "offset": _itself,
    "log": _log,
    **{name: getattr(np, name) for name in _UNARY},
}


def evaluate(
    text: str, variable: Variable, read: Callable[[str], Floats], state: TransformState | None
) -> tuple[Floats, TransformState]:
    """Evaluate a variable that is a function of numeric columns.

    Parameters
    ----------
    text
        The formula, for the caret under a call that cannot be carried out.
    variable
        The variable.
    read
        Gives the float64 values of a column.
    state
        The recorded state, or None to record a new one.

    Returns
    -------
    values
        Shape (n,), or (n, m) for a basis.
    state
        The state given, or the one recorded.

    Raises
    ------
    FormulaError
        If a function is called with arguments it does not have, or with values that make no sense.
    DataError
        If the data cannot carry it, such as ``poly(x, 5)`` of three different values.
    """
    nodes = evaluated_nodes(variable.node)
    recorded = state if state is not None else TransformState()
    stack: list[Any] = []
    with np.errstate(all="ignore"):
        for position in range(len(nodes) - 1, -1, -1):
            node = nodes[position]
            operands = [stack.pop() for _ in _operands(node)]
            if isinstance(node, Name):
                is_column = node.quoted or node.name not in LITERAL_NAMES
                stack.append(read(node.name) if is_column else float(node.name == "TRUE"))
            elif isinstance(node, Call):
                learns = node.function in LEARNING
                memory = recorded.calls[position] if learns and state is not None else {}
                stack.append(_call(text, variable, node, operands[0], memory))
                if learns:
                    recorded.calls[position] = memory
            else:
                stack.append(_combine(node, operands))
    return stack[0], recorded


def _operands(node: Node) -> tuple[Node, ...]:
    """Return what must be evaluated before ``node``; the arguments of a call after the first are literals."""
    return node.args[:1] if isinstance(node, Call) else node.children()


def evaluated_nodes(root: Node) -> list[Node]:
    """Return every node to evaluate, parents before their operands, left before right."""
    nodes: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        nodes.append(node)
        stack.extend(reversed(_operands(node)))
    return nodes


def _combine(node: Node, operands: list[Any]) -> Any:
    match node:
        case Number(value=value):
            return value
        case Paren():
            return operands[0]
        case Unary(op=op):
            return -operands[0] if op == "-" else operands[0]
        case Binary(op=op):
            return _BINARY[op](*operands)
    raise TypeError(f"{type(node).__name__} is not part of an expression")


def _call(text: str, variable: Variable, node: Call, x: Any, memory: Memory) -> Any:
    literals = [literal_value(arg) for arg in node.args[1:]]
    # R's argument names may hold dots: Boundary.knots.
    keywords = {name.replace(".", "_"): literal_value(value) for name, value in node.keywords}
    try:
        if node.function in LEARNING:
            return learn_or_apply(node.function, variable.key, memory, [x, *literals], keywords)
        return _STATELESS[node.function](x, *literals, **keywords)
    except (TypeError, ValueError) as problem:
        raise FormulaError(
            f"{node.function}() cannot be evaluated: {problem}",
            formula=text,
            offset=node.span.start,
            length=node.span.stop - node.span.start,
        ) from problem
