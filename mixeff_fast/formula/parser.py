"""Tokens to a tree, by operator precedence with explicit stacks: no input can exhaust Python's stack.

Precedence, loosest first, as in R: ``|  ||``, ``&``, ``+ -``, ``* /``, ``%in% %% %/%``, ``:``, unary ``- +``, ``^``.
Terms and arithmetic share the operators but not all of them: ``:`` and ``%in%`` stand between terms, ``%%`` and
``%/%`` inside calls. The left of ``~`` is read as arithmetic.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, NoReturn, cast

from mixeff_fast.formula.functions import FUNCTIONS, MAX_DEPTH, OUTERMOST, WRAPPERS, check_call, check_depth, too_deep
from mixeff_fast.formula.tokens import (
    CONSTANTS,
    ErrorKind,
    Token,
    fail,
    is_syntactic,
    number_text,
    refuse_type,
    tokenize,
)
from mixeff_fast.formula.tree import (
    LITERAL_NAMES,
    Bar,
    Binary,
    Call,
    FormulaTree,
    Name,
    Node,
    Number,
    Paren,
    Span,
    String,
    Unary,
)
from mixeff_fast.vocabulary import CovarianceWrapper

_MAX_PENDING = 4 * MAX_DEPTH
PRECEDENCE = {"&": 1, "+": 2, "-": 2, "*": 3, "/": 3, "%in%": 4, "%%": 4, "%/%": 4, ":": 5, "^": 7}
BARS = frozenset({"|", "||"})
_UNARY = 6
_POWER = 7
_POLARS = "compute the column in Polars first and name that column here"


class _Operator(NamedTuple):
    precedence: int
    op: str
    unary: bool
    start: int


@dataclass(slots=True)
class _Frame:
    """An open parenthesis. ``pending`` is how many operators wait outside it; ``bar`` and ``left`` are set at a bar."""

    kind: Literal["top", "paren", "call", "wrapper"]
    name: str
    start: int
    opened: int
    pending: int
    left: Node | None = None
    bar: Token | None = None
    args: list[Node] = field(default_factory=list)
    keywords: list[tuple[str, Node]] = field(default_factory=list)
    keyword: Token | None = None


def parse(text: str) -> FormulaTree:
    """Read a formula.

    Parameters
    ----------
    text
        A two-sided formula, such as ``"y ~ x + (1 + x | g)"``.

    Returns
    -------
    FormulaTree
        The formula as written. Nothing in it is evaluated, ever.

    Raises
    ------
    FormulaError
        With ``kind``, ``offset`` and ``length`` of what cannot be read.

    Examples
    --------
    >>> parse("y ~ log(x + 1)").rhs
    Call('log', (), Binary('+', Name('x', False), Number(1.0, '1')))
    """
    if not isinstance(text, str):
        refuse_type(text)
    tokens = tokenize(text)
    if not tokens:
        fail(text, "Empty", 0, len(text), "The formula is empty; write one such as 'y ~ x + (1 | g)'.")
    tilde = next((i for i, token in enumerate(tokens) if token.text == "~" and token.kind == "op"), None)
    if tilde is None:
        fail(text, "MissingTilde", 0, len(text),
             "There is no ~ in this formula; write the response, a ~ and the terms: 'y ~ x + (1 | g)'.")
    if tilde == 0:
        fail(text, "MissingResponse", tokens[0].start, tokens[0].stop,
             "There is no response before the ~; name the column to model there.")
    if tilde == len(tokens) - 1:
        fail(text, "EmptyRhs", tokens[tilde].start, tokens[tilde].stop,
             "There are no terms after the ~; write 1 for an intercept alone.")
    response = _Parser(text, tokens[:tilde], arithmetic=True).run()
    return FormulaTree(text, response, _Parser(text, tokens[tilde + 1 :], arithmetic=False).run())


class _Parser:
    __slots__ = ("arithmetic", "frames", "i", "operators", "output", "text", "tokens")

    def __init__(self, text: str, tokens: list[Token], *, arithmetic: bool) -> None:
        self.text = text
        self.tokens = tokens
        self.arithmetic = arithmetic
        self.i = 0
        self.frames = [_Frame("top", "", 0, 0, 0)]
        self.operators: list[_Operator] = []
        self.output: list[Node] = []

    def run(self) -> Node:
        tokens, n = self.tokens, len(self.tokens)
        expecting = True
        while self.i < n:
            expecting = self._operand(tokens[self.i]) if expecting else self._operator(tokens[self.i])
            self.i += 1
        if len(self.frames) > 1:
            frame = self.frames[-1]
            self._fail("UnmatchedParen", frame.start, frame.opened, "This parenthesis is never closed; add a ).")
        if expecting:
            self._trailing(tokens[-1])
        self._reduce(0)
        node = self.output[0]
        if self.arithmetic:
            check_depth(self.text, node)
        return node

    def _operand(self, token: Token) -> bool:
        """Read a token where an operand must begin; return whether one is still expected."""
        kind, text = token.kind, token.text
        if kind == "name":
            return self._name(token)
        span = Span(token.start, token.stop)
        if kind == "number":
            value = float(text.rstrip("L"))
            shown = number_text(value, integer=text.endswith("L"))
            if not shown:
                self._fail("Other", *span, "This is not a number that can be computed with; correct it.")
            self.output.append(Number(value, shown, span))
        elif kind == "backtick":
            if self._opens_next(token):
                self._fail("UnknownFunction", *span, "A name in backticks is a column and cannot be called; remove the "
                                                     "backticks of a function, or put an operator after a column.")
            self.output.append(Name(text, not is_syntactic(text), span))
        elif kind == "string":
            if not self._is_whole_argument():
                self._fail("UnexpectedToken", *span, "A string can only be a whole argument of a function; if this "
                                                     "names a column, use backticks instead of quotes.")
            self.output.append(String(text, span))
        elif text == "(":
            self._open(_Frame("paren", "", token.start, token.stop, len(self.operators)))
            return True
        elif text in ("+", "-"):
            self._push(_Operator(_UNARY, text, True, token.start))
            return True
        else:
            self._missing_operand(token)
        return False

    def _name(self, token: Token) -> bool:
        text, frame = token.text, self.frames[-1]
        if self._opens_next(token):
            self._open_call(token)
            self.i += 1
            return True
        if self._next() == "=" and self._begins_argument():
            if any(text == name for name, _ in frame.keywords):
                self._fail("Other", token.start, token.stop, "This argument is given twice; remove one.")
            frame.keyword = token
            self.i += 1
            return True
        if text == ".":
            self._fail("Other", token.start, token.stop, "A formula never means 'all other columns'; name the columns.")
        if text in CONSTANTS and not (text in LITERAL_NAMES and self._is_whole_argument()):
            self._fail("UnexpectedToken", token.start, token.stop,
                       f"{text} is a constant, not a column; if a column has this name, put it in backticks.")
        quoted = text not in LITERAL_NAMES and not is_syntactic(text)
        self.output.append(Name(text, quoted, Span(token.start, token.stop)))
        return False

    def _operator(self, token: Token) -> bool:
        """Read a token where an operator must stand; return whether an operand is expected after it."""
        text = token.text
        if token.kind != "op" or text == "(":
            self._missing_separator(token)
        if text == ")":
            self._close(token)
            return False
        if text in BARS:
            self._bar(token)
        elif text == ",":
            self._argument(token)
        else:
            precedence = PRECEDENCE.get(text)
            if precedence is None or not self._allowed(text):
                self._misplaced(token)
            self._reduce(precedence + 1 if precedence == _POWER else precedence)
            self._push(_Operator(precedence, text, False, token.start))
        return True

    def _allowed(self, op: str) -> bool:
        if self._in_arithmetic():
            return op not in (":", "%in%", "&")
        if op == "&":
            return any(frame.bar is not None for frame in self.frames)
        return op not in ("%%", "%/%")

    def _push(self, operator: _Operator) -> None:
        if len(self.operators) >= _MAX_PENDING:
            too_deep(self.text, Span(operator.start, operator.start + 1))
        self.operators.append(operator)

    def _reduce(self, precedence: int) -> None:
        """Apply the waiting operators of this parenthesis that bind at least as tightly as ``precedence``."""
        operators, output, floor = self.operators, self.output, self.frames[-1].pending
        while len(operators) > floor and operators[-1].precedence >= precedence:
            operator = operators.pop()
            right = output.pop()
            if operator.unary:
                output.append(Unary(operator.op, right, Span(operator.start, right.span.stop)))
            else:
                left = output.pop()
                output.append(Binary(operator.op, left, right, Span(left.span.start, right.span.stop)))

    def _open(self, frame: _Frame) -> None:
        if len(self.frames) > MAX_DEPTH:
            too_deep(self.text, Span(frame.start, frame.opened))
        self.frames.append(frame)

    def _open_call(self, token: Token) -> None:
        name, start, stop = token.text, token.start, token.stop
        nested = any(frame.kind == "call" for frame in self.frames)
        kind: Literal["call", "wrapper"] = "call"
        if name in WRAPPERS and not self._in_arithmetic():
            kind = "wrapper"
        elif name == "c" and self.frames[-1].kind == "call" and self._previous() in (",", "="):
            pass
        elif name not in FUNCTIONS:
            known = ", ".join(sorted(FUNCTIONS, key=str.lower))
            self._fail("UnknownFunction", start, stop,
                       f"Formulas cannot call {name}(); {_POLARS}. If {name} is itself a column, put an operator after "
                       f"it. Known functions: {known}.", function=name)
        elif nested and name in OUTERMOST:
            self._fail("Other", start, stop, f"{name}() cannot stand inside another function; {_POLARS}.")
        elif name == "cbind" and not self.arithmetic:
            self._fail("Other", start, stop, "cbind() makes a response of two columns; it stands before the ~ only.")
        self._open(_Frame(kind, name, start, stop + 1, len(self.operators)))

    def _close(self, token: Token) -> None:
        frame = self.frames[-1]
        if frame.kind == "top":
            self._fail("UnmatchedParen", token.start, token.stop, "This parenthesis was never opened; remove it.")
        if frame.kind == "call":
            self._finish_argument()
            self.frames.pop()
            self._close_call(frame, token)
            return
        self._reduce(0)
        self.frames.pop()
        span, right = Span(frame.start, token.stop), self.output.pop()
        if frame.left is not None and frame.bar is not None:
            wrapper = cast("CovarianceWrapper", frame.name) if frame.kind == "wrapper" else None
            self.output.append(Bar(frame.left, right, frame.bar.text == "||", wrapper, span))
        elif frame.kind == "wrapper":
            self._fail("MissingBar", *span, f"{frame.name}() wraps a random-effects term; write {frame.name}(x | g).")
        else:
            self.output.append(Paren(right, span))

    def _close_call(self, frame: _Frame, token: Token) -> None:
        call = Call(frame.name, tuple(frame.args), tuple(frame.keywords), Span(frame.start, token.stop))
        check_call(self.text, call)
        if frame.name == "c" and self._next() not in (",", ")"):
            self._fail("UnexpectedToken", *call.span, f"c() can only be an argument by itself; {_POLARS}.")
        if not self._in_arithmetic():
            check_depth(self.text, call)
        self.output.append(call)

    def _argument(self, token: Token) -> None:
        if self.frames[-1].kind != "call":
            self._fail("UnexpectedToken", token.start, token.stop,
                       "A comma only separates the arguments of a function; join terms with +.")
        self._finish_argument()

    def _finish_argument(self) -> None:
        self._reduce(0)
        frame, node = self.frames[-1], self.output.pop()
        if frame.keyword is not None:
            frame.keywords.append((frame.keyword.text, node))
            frame.keyword = None
        elif frame.keywords:
            self._fail("Other", *node.span, "This argument has no name but stands after one that has; move it forward.")
        else:
            frame.args.append(node)

    def _bar(self, token: Token) -> None:
        frame = self.frames[-1]
        if self._in_arithmetic():
            self._misplaced(token)
        if frame.kind == "top":
            self._fail("UnexpectedToken", token.start, token.stop,
                       "A random-effects term stands in parentheses; write (x | g).")
        if frame.bar is not None:
            self._fail("UnexpectedToken", token.start, token.stop,
                       "This term has a bar already; write one term for each grouping: (1 | a) + (1 | b).")
        if frame.kind == "wrapper" and token.text == "||":
            self._fail("UnexpectedToken", token.start, token.stop,
                       f"|| already chooses a covariance; write {frame.name}(x | g) with a single bar.")
        self._reduce(0)
        frame.left, frame.bar = self.output.pop(), token

    def _in_arithmetic(self) -> bool:
        return self.arithmetic or any(frame.kind == "call" for frame in self.frames)

    def _next(self) -> str:
        """Return the operator after this token, or nothing when there is none."""
        following = self.tokens[self.i + 1] if self.i + 1 < len(self.tokens) else None
        return following.text if following is not None and following.kind == "op" else ""

    def _previous(self) -> str:
        return self.tokens[self.i - 1].text if self.i and self.tokens[self.i - 1].kind == "op" else ""

    def _opens_next(self, token: Token) -> bool:
        return self._next() == "(" and self.tokens[self.i + 1].start == token.stop

    def _begins_argument(self) -> bool:
        frame = self.frames[-1]
        return frame.kind == "call" and frame.keyword is None and len(self.operators) == frame.pending

    def _is_whole_argument(self) -> bool:
        return (
            self.frames[-1].kind == "call"
            and self._previous() in ("(", ",", "=")
            and self._next() in (",", ")")
        )

    def _missing_separator(self, token: Token) -> NoReturn:
        message = "There is no operator before this; join terms with +."
        if token.text == "(" and self.tokens[self.i - 1].text in FUNCTIONS | WRAPPERS:
            message = "A function's parenthesis follows its name directly; remove the space, or join terms with +."
        self._fail("MissingTermSeparator", token.start, token.stop, message)

    def _trailing(self, token: Token) -> NoReturn:
        self._fail("TrailingOperator", token.start, token.stop,
                   f"Nothing follows this {token.text}; add a term after it or remove it.")

    def _missing_operand(self, token: Token) -> NoReturn:
        """Explain an operator or parenthesis that stands where a term should begin."""
        text, frame, previous = token.text, self.frames[-1], self._previous()
        start, stop = token.start, token.stop
        if text in (")", "|", "||", ",") and len(self.operators) > frame.pending:
            self._trailing(self.tokens[self.i - 1])
        if text in ("|", "||") and previous == "(" and not self._in_arithmetic():
            self._fail("EmptyRandomTerms", start, stop, "Nothing stands before the bar; write 1 for an intercept.")
        if text == ")" and previous in ("|", "||"):
            bar = self.tokens[self.i - 1]
            self._fail("EmptyGrouping", bar.start, bar.stop, "Nothing stands after the bar; name a grouping column.")
        if text == ")" and frame.kind == "top":
            self._close(token)
        message = f"An operand is missing before this {text}; add one or remove the operator."
        if text == ")":
            message = "Nothing stands inside these parentheses; remove them."
            if frame.kind == "call":
                message = f"An argument is missing; write {frame.name}(x)."
        self._fail("UnexpectedToken", start, stop, message)

    def _misplaced(self, token: Token) -> NoReturn:
        """Explain an operator that cannot join what stands on either side of it."""
        text = token.text
        if text == "~":
            message = "A formula has one ~; remove this one."
        elif text == "=":
            message = "= only names an argument of a function; a formula neither assigns nor compares: remove it."
        elif text == "&":
            message = "& only joins grouping columns after a bar, as in (1 | a & b); between terms use : instead."
        elif text in ("%%", "%/%"):
            message = f"{text} is arithmetic; wrap it in I(), as in I(x {text} 2)."
        elif text in BARS:
            message = f"A bar cannot stand inside a function or in the response; {_POLARS}."
        else:
            message = f"{text} stands between terms, not inside a function or in the response; {_POLARS}."
        self._fail("UnexpectedToken", token.start, token.stop, message)

    def _fail(self, kind: ErrorKind, start: int, stop: int, message: str, **fields: int | str) -> NoReturn:
        fail(self.text, kind, start, stop, message, **fields)
