"""The functions a formula may name, and what a call of one may look like."""

from __future__ import annotations

from typing import NoReturn

from mixeff_fast.formula.tokens import fail
from mixeff_fast.formula.tree import LITERAL_NAMES, Call, Name, Node, Number, Span, String, Unary, literal_value

MAX_DEPTH = 256
ONE_ARGUMENT = frozenset(
    {"I", "log2", "log10", "log1p", "exp", "expm1", "sqrt", "abs", "sin", "cos", "tan", "offset"}
)
SEVERAL_COLUMNS = frozenset({"poly", "bs", "ns", "cr", "cc"})
FACTORS = frozenset({"factor", "as.factor"})
OUTERMOST = SEVERAL_COLUMNS | FACTORS | {"offset", "cbind"}
FUNCTIONS = ONE_ARGUMENT | OUTERMOST | {"log", "scale", "center"}
WRAPPERS = frozenset({"us", "diag", "cs", "ar1"})


def check_call(formula: str, call: Call) -> None:
    """Refuse a call whose arguments are not of the shape its function takes.

    Every function takes the expression to transform first; whatever follows is a literal. ``cbind`` takes two
    expressions, ``c`` literals only.
    """
    name, args, span = call.function, call.args, call.span
    if name == "c":
        for arg in args:
            if not _is_number(arg) and not isinstance(arg, String):
                _refuse(formula, arg.span, "c() holds numbers or strings only; compute anything else in Polars first.")
        if call.keywords:
            _refuse(formula, span, "c() takes no names; write the values alone, as in c(1, 2, 3).")
        return
    if name == "cbind":
        if len(args) != 2 or call.keywords:
            _refuse(formula, span, "cbind() takes two arguments: cbind(successes, failures).")
        return
    if not args:
        _refuse(formula, span, f"{name}() takes the expression to transform first, then named literals; "
                               f"write {name}(x, ...).")
    if name in ONE_ARGUMENT and (len(args) > 1 or call.keywords):
        _refuse(formula, span, f"{name}() takes one argument; write the others outside, or compute the column in "
                               "Polars first.")
    if literal_value(args[0]) is not None and not _is_number(args[0]):
        _refuse(formula, args[0].span, f"{name}() needs a column here, not a literal; name a column, without quotes.")
    if name in FACTORS and not isinstance(args[0], Name):
        _refuse(formula, args[0].span, f"{name}() takes one column name; compute the column in Polars first.")
    for value in (*args[1:], *(value for _, value in call.keywords)):
        if literal_value(value) is None:
            _refuse(formula, value.span, "This argument must be a number, TRUE, FALSE, a string or c(1, 2, 3); "
                                         "compute anything else in Polars first.")


def check_depth(formula: str, node: Node) -> None:
    """Refuse an expression too deep to be evaluated by recursion."""
    level, depth = [node], 0
    while level:
        depth += 1
        if depth > MAX_DEPTH:
            too_deep(formula, node.span)
        level = [child for parent in level for child in parent.children()]


def too_deep(formula: str, span: Span) -> NoReturn:
    """Raise the error for nesting beyond the limit."""
    fail(formula, "TooDeep", span.start, span.stop,
         f"This is nested more than {MAX_DEPTH} levels deep; compute the column in Polars first and name it here.",
         limit=MAX_DEPTH)


def columns_of(node: Node) -> tuple[str, ...]:
    """Return the data columns that an expression reads, each once, in the order they appear."""
    found: dict[str, None] = {}
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, Name):
            if node.quoted or node.name not in LITERAL_NAMES:
                found[node.name] = None
        else:
            stack.extend(reversed(node.children()))
    return tuple(found)


def _is_number(node: Node) -> bool:
    while isinstance(node, Unary):
        node = node.operand
    return isinstance(node, Number)


def _refuse(formula: str, span: Span, message: str) -> NoReturn:
    fail(formula, "Other", span.start, span.stop, message)
