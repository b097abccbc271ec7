"""Formula text to tokens. Characters that could begin code (braces, brackets, ``@``, ``$``, ...) are refused here."""

from __future__ import annotations

import math
import re
from typing import Any, Literal, NamedTuple, NoReturn

from mixeff_fast.errors import ArgumentError, FormulaError

TokenKind = Literal["name", "backtick", "number", "string", "op"]
ErrorKind = Literal[
    "Empty",
    "MissingTilde",
    "MissingResponse",
    "UnexpectedToken",
    "UnmatchedParen",
    "MissingBar",
    "EmptyGrouping",
    "EmptyRandomTerms",
    "EmptyRhs",
    "TrailingOperator",
    "MissingTermSeparator",
    "NumericLiteralTerm",
    "NegatedRandomEffect",
    "TooDeep",
    "UnknownFunction",
    "Other",
]

MAX_LENGTH = 1_000_000
CONSTANTS = frozenset(
    {"TRUE", "FALSE", "NULL", "Inf", "NaN", "NA", "NA_integer_", "NA_real_", "NA_character_", "NA_complex_"}
)
RESERVED = CONSTANTS | {"if", "else", "repeat", "while", "function", "for", "next", "break", "in"}

_PATTERN = re.compile(
    r"""
      (?P<space>[ \t\r\n]+)
    | (?P<name>[^\W\d_][\w.]*|_[\w.]*|\.(?![0-9])[\w.]*)
    | (?P<number>(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?L?)
    | (?P<backtick>`[^`\\]*(?:\\.[^`\\]*)*`)
    | (?P<string>"[^"\\]*(?:\\.[^"\\]*)*"|'[^'\\]*(?:\\.[^'\\]*)*')
    | (?P<op>%in%|%%|%/%|\|\||\*\*|[-+*/:^|&~(),=])
    | (?P<bad>.)
    """,
    re.VERBOSE | re.DOTALL,
)
_SYNTACTIC = re.compile(r"(?:[^\W\d_]|\.(?![0-9]|$))[\w.]*")
_SIGNIFICANT = 15
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"\\": "\\", "`": "`", '"': '"', "'": "'", "n": "\n", "t": "\t", "r": "\r"}
_LOOKALIKES = {
    "−": "-", "–": "-", "—": "-", "＋": "+", "∗": "*", "×": "*", "∕": "/", "⁄": "/", "÷": "/", "∼": "~", "˜": "~",
    "～": "~", "∣": "|", "｜": "|", "：": ":", "（": "(", "）": ")", "，": ",", "‘": "'", "’": "'", "“": '"', "”": '"',
}  # fmt: skip
_HINTS = {
    "#": "a formula holds no comments; remove everything from # on",
    ";": "a formula is one expression; remove the semicolon",
    "<": "compare in Polars first, add the result as a column, and name that column here",
    ">": "compare in Polars first, add the result as a column, and name that column here",
    "!": "negate in Polars first, add the result as a column, and name that column here",
    "[": "a formula cannot index; compute the column in Polars first and name it here",
    "]": "a formula cannot index; compute the column in Polars first and name it here",
    "{": "a formula cannot hold code; compute the column in Polars first and name it here",
    "}": "a formula cannot hold code; compute the column in Polars first and name it here",
    "$": "name the column alone, without the data frame",
    "@": "a formula cannot reach into objects; name a column of the data",
    "\\": "a formula cannot hold functions; compute the column in Polars first and name it here",
    "`": "the backtick is never closed; add the closing backtick",
    '"': "the quotation mark is never closed; add the closing one",
    "'": "the quotation mark is never closed; add the closing one",
    "%": "the percent operators are %in% between terms, and %% and %/% inside I()",
}


class Token(NamedTuple):
    """A piece of the text; ``text`` is resolved for backticks and strings, verbatim otherwise."""

    kind: TokenKind
    text: str
    start: int
    stop: int


def refuse_type(text: object) -> NoReturn:
    """Raise the error for a formula that is not a string."""
    raise ArgumentError(f"A formula is a string, not {type(text).__name__}; write it in quotes.", argument="formula")


def fail(formula: str, kind: ErrorKind, start: int, stop: int, message: str, **fields: Any) -> NoReturn:
    """Raise the FormulaError of ``kind`` that points at ``formula[start:stop]``."""
    raise FormulaError(message, formula=formula, kind=kind, offset=start, length=max(1, stop - start), **fields)


def is_syntactic(name: str) -> bool:
    """Whether ``name`` can stand in a formula without backticks and be the same name to R."""
    if _SYNTACTIC.fullmatch(name) is None or name in RESERVED:
        return False
    return name.isascii() or all(char.isalpha() or char.isdecimal() or char in "._" for char in name)


def number_text(value: float, *, integer: bool = False) -> str:
    """Return the number as R prints it, or ``""`` when it cannot be computed with.

    R shows at most 15 significant digits, in whichever notation is shorter. A number that needs more to be read back
    unchanged keeps them: canonical text never changes a model.

    Examples
    --------
    >>> number_text(100000.0), number_text(0.5), number_text(3.0, integer=True)
    ('1e+05', '0.5', '3L')
    """
    if math.isinf(value) or (integer and not value.is_integer()):
        return ""
    if integer:
        return f"{value:.0f}L"
    mantissa, _, exponent = f"{value:.{_SIGNIFICANT - 1}e}".partition("e")
    mantissa, power = mantissa.rstrip("0").rstrip("."), int(exponent)
    digits = len(mantissa.replace(".", ""))
    decimals = max(0, digits - 1 - power)
    fixed = f"{value:.{decimals}f}"
    scientific = f"{mantissa}e{power:+03d}"
    shown = fixed if len(fixed) <= len(scientific) else scientific
    return shown if float(shown) == value else repr(value)


def tokenize(formula: str) -> list[Token]:
    """Split a formula into tokens.

    Raises
    ------
    FormulaError
        For a character that no formula may hold, an unclosed quotation, or a name that needs backticks.
    """
    _check_text(formula)
    tokens: list[Token] = []
    for match in _PATTERN.finditer(formula):
        kind = match.lastgroup
        if kind == "space":
            continue
        text, (start, stop) = match.group(), match.span()
        if kind == "bad":
            _bad_character(formula, text, start)
        elif kind == "backtick" or kind == "string":
            text = _unescape(formula, text, start)
            if kind == "backtick" and not text:
                fail(formula, "UnexpectedToken", start, stop, "These backticks hold no name; write the column inside.")
        elif kind == "number":
            following = formula[stop : stop + 1]
            if following and (following.isalnum() or following in "._"):
                fail(formula, "UnexpectedToken", start, stop + 1,
                     "A name cannot begin with a digit; if this is a column, put it in backticks.")
        elif text == "**":
            text = "^"
        tokens.append(Token(kind, text, start, stop))  # type: ignore[arg-type]
    return tokens


def _check_text(formula: str) -> None:
    if len(formula) > MAX_LENGTH:
        fail(formula, "Other", MAX_LENGTH, len(formula),
             f"The formula has {len(formula):,} characters; at most {MAX_LENGTH:,} are read. Name fewer columns.",
             characters=len(formula), limit=MAX_LENGTH)
    null = formula.find("\0")
    if null >= 0:
        fail(formula.replace("\0", "�"), "UnexpectedToken", null, null + 1,
             "A formula cannot hold a null character; remove it.")
    if not formula.isascii():
        try:
            formula.encode()
        except UnicodeEncodeError as error:
            shown = formula.encode("utf-8", "replace").decode()
            fail(shown, "UnexpectedToken", error.start, error.end,
                 "This is half of a surrogate pair, not a character; remove it or rename the column.")


def _bad_character(formula: str, char: str, start: int) -> NoReturn:
    hint = _HINTS.get(char)
    if hint is None and char in _LOOKALIKES:
        hint = f"it only looks like {_LOOKALIKES[char]}, which is what to type"
    if hint is None:
        hint = "if it is part of a column's name, put the name in backticks"
    shown = f"{char!r}" if char.isascii() else f"{char!r} (U+{ord(char):04X})"
    fail(formula, "UnexpectedToken", start, start + 1, f"{shown} has no meaning in a formula: {hint}.")


def _unescape(formula: str, quoted: str, start: int) -> str:
    inner = quoted[1:-1]
    if "\\" not in inner:
        return inner

    def replace(match: re.Match[str]) -> str:
        char = match.group(1)
        if char not in _ESCAPES:
            offset = start + 1 + match.start()
            fail(formula, "UnexpectedToken", offset, offset + 2,
                 "Only \\\\, \\`, \\\", \\', \\n, \\t and \\r may follow a backslash; write the character itself.")
        return _ESCAPES[char]

    return _ESCAPE.sub(replace, inner)
