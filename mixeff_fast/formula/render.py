"""Trees and models back to text: R's spelling of an expression, and the canonical text of a formula."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from itertools import groupby

from mixeff_fast.formula.model import ModelFormula, Term, TermSet
from mixeff_fast.formula.tokens import is_syntactic
from mixeff_fast.formula.tree import LITERAL_NAMES, Bar, Binary, Call, Name, Node, Number, Paren, String, Unary

_TIGHT = frozenset({"/", "^", ":", "%%", "%/%"})
_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"})


def deparse(node: Node) -> str:
    """Return an expression as R's ``deparse`` spells it.

    Parameters
    ----------
    node
        Any node of a formula tree.

    Returns
    -------
    str
        Spaces around ``+ - *`` and after commas, none around ``/ ^ :``; backticks around names that need them.

    Examples
    --------
    >>> from mixeff_fast.formula import parse
    >>> deparse(parse("y ~ bs(x,df=4)").rhs), deparse(parse("y ~ I( x ^2/ 1e5)").rhs)
    ('bs(x, df = 4)', 'I(x^2/1e+05)')
    """
    if type(node) is Name:
        return _name(node)
    pieces: list[str] = []
    stack: list[Node | str] = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            pieces.append(item)
        elif isinstance(item, Name):
            pieces.append(_name(item))
        elif isinstance(item, Number):
            pieces.append(item.text)
        elif isinstance(item, String):
            pieces.append('"' + item.value.translate(_ESCAPES).replace('"', '\\"') + '"')
        else:
            stack.extend(reversed(_parts(item)))
    return "".join(pieces)


def _parts(node: Node) -> list[Node | str]:
    match node:
        case Binary():
            return [node.left, node.op if node.op in _TIGHT else f" {node.op} ", node.right]
        case Unary():
            return [node.op, node.operand]
        case Paren():
            return ["(", node.inner, ")"]
        case Bar():
            return [f"{node.wrapper or ''}(", node.left, " || " if node.double else " | ", node.right, ")"]
        case Call():
            parts: list[Node | str] = [f"{node.function}("]
            for arg in node.args:
                parts += [arg, ", "]
            for keyword, value in node.keywords:
                parts += [f"{quote(keyword)} = ", value, ", "]
            if len(parts) > 1:
                parts.pop()
            return [*parts, ")"]
    raise TypeError(f"{type(node).__name__} is not a node of a formula tree")


def quote(name: str) -> str:
    """Return a column name as a formula must write it: in backticks unless it is plain."""
    return name if is_syntactic(name) else "`" + name.translate(_ESCAPES).replace("`", "\\`") + "`"


def _name(node: Name) -> str:
    return node.name if node.name in LITERAL_NAMES and not node.quoted else quote(node.name)


def render(formula: ModelFormula) -> str:
    """Return the canonical text of a formula.

    Reading the text again gives the same model, and the same text.

    Parameters
    ----------
    formula
        An expanded formula.

    Returns
    -------
    str
        The response, an explicit ``1`` or ``0``, the terms, the offsets, then each random term.

    Examples
    --------
    >>> from mixeff_fast.formula import model_formula
    >>> render(model_formula("y~x*z+(1|a/b)"))
    'y ~ 1 + x + z + x:z + (1 | a) + (1 | a:b)'
    >>> render(model_formula("Reaction ~ Days - 1 + (Days || Subject)"))
    'Reaction ~ 0 + Days + (1 + Days || Subject)'
    """
    parts = [render_fixed(formula), *render_bars(formula)]
    return f"{formula.response.name} ~ {' + '.join(parts)}"


def render_fixed(formula: ModelFormula) -> str:
    """Return the canonical text of the fixed part and the offsets."""
    return " + ".join([_termset(formula.fixed), *(offset.key for offset in formula.offsets)])


def render_bars(formula: ModelFormula) -> Iterator[str]:
    """Yield the canonical text of each random term; what ``||`` was split into is one."""
    for (block, _), run in groupby(formula.random, key=lambda term: (term.block_group, term.block_group or term.index)):
        terms = list(run)
        first = terms[0]
        lhs = TermSet(any(t.lhs.intercept for t in terms), tuple(t for term in terms for t in term.lhs.terms))
        joint = " & " if first.path == "interaction" else ":"
        group = joint.join(variable.key for variable in first.group)
        wrapper = "" if first.covariance == "us" else first.covariance
        yield f"{wrapper}({_termset(lhs)} {'||' if block else '|'} {group})"


def _termset(terms: TermSet) -> str:
    return " + ".join(["1" if terms.intercept else "0", *_ordered(terms.terms)])


def _ordered(terms: tuple[Term, ...]) -> list[str]:
    """Return the labels of terms in an order that gives the same terms, in the same order, when read again.

    R orders the variables of a term by first appearance in the formula. Written as ``b + a:b``, the terms of
    ``a:b + b`` would come back as ``b`` and ``b:a``; so a term may have to stand before terms of lower order. Should no
    order do, the product of all variables is written first and taken out again.
    """
    if all(len(term.variables) == 1 for term in terms):
        return [term.name for term in terms]
    before = _predecessors(terms)
    queues = [list(run)[::-1] for _, run in groupby(terms, key=lambda term: len(term.variables))]
    labels: list[str] = []
    seen: set[str] = set()
    while any(queues):
        queue = next((q for q in queues if q and _may_follow(q[-1], before, seen)), None)
        if queue is None:
            product = ":".join(TopologicalSorter(before).static_order())
            return [f"{product} - {product}", *(term.name for term in terms)]
        term = queue.pop()
        seen.update(variable.key for variable in term.variables)
        labels.append(term.name)
    return labels


def _predecessors(terms: Iterable[Term]) -> dict[str, set[str]]:
    before: dict[str, set[str]] = {}
    for term in terms:
        keys = [variable.key for variable in term.variables]
        for i, key in enumerate(keys):
            before.setdefault(key, set()).update(keys[:i])
    return before


def _may_follow(term: Term, before: dict[str, set[str]], seen: set[str]) -> bool:
    """Whether ``term`` may come next: each variable it introduces after every variable that must precede it."""
    earlier: set[str] = set()
    for variable in term.variables:
        if variable.key not in seen and any(key not in seen and key not in earlier for key in before[variable.key]):
            return False
        earlier.add(variable.key)
    return True
