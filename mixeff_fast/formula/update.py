"""Editing a formula with another in which ``.`` stands for the old side, as R's ``update`` does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.errors import FormulaError
from mixeff_fast.formula.expand import model_formula
from mixeff_fast.formula.render import render, render_bars, render_fixed
from mixeff_fast.formula.tokens import Token, refuse_type, tokenize

if TYPE_CHECKING:
    from mixeff_fast.formula.model import ModelFormula


def update_formula(old: ModelFormula, new: str) -> str:
    """Replace ``.`` in ``new`` by the old response or the old right-hand side, and return the canonical text.

    ``- (1 | g)`` removes a random term of the old formula; without ``.`` on the right nothing of the old side is kept.

    Parameters
    ----------
    old
        The formula to edit.
    new
        A formula; without a left-hand side it keeps the old one.

    Raises
    ------
    FormulaError
        ``new`` cannot be read, or removes a random term that the old formula does not have.
    ArgumentError
        ``new`` is not a string.

    Examples
    --------
    >>> update_formula(model_formula("y ~ a + b + (1 | g)"), ". ~ . - b")
    'y ~ 1 + a + (1 | g)'
    >>> update_formula(model_formula("y ~ a + (1 | g) + (0 + a | g)"), "log(.) ~ . - (0 + a | g)")
    'log(y) ~ 1 + a + (1 | g)'
    """
    if not isinstance(new, str):
        refuse_type(new)
    tilde = next((token for token in tokenize(new) if (token.kind, token.text) == ("op", "~")), None)
    left, right = (new[: tilde.start], new[tilde.stop :]) if tilde else (new, "")
    if tilde is None or not right.strip():
        raise FormulaError("an update has a right-hand side, such as '. ~ . + x'", formula=new, kind="MissingTilde",
                           length=max(1, len(new)))
    if not left.strip():
        left = "."
    body, removed = _without_removed(right)
    text = f"{_replaced(left, old.response.name)}~{_replaced(body, f'({render_fixed(old)})')}"
    if _has_dot(right):
        bars = list(render_bars(old))
        for bar in removed:
            canonical = list(render_bars(model_formula(f"{old.response.name} ~ 1 + {bar}")))
            if any(piece not in bars for piece in canonical):
                raise FormulaError(
                    f"the formula has no random term {bar} to remove; it has {', '.join(bars) or 'none'}",
                    formula=new, offset=max(new.find(bar), 0), length=len(bar),
                )
            bars = [piece for piece in bars if piece not in canonical]
        text += "".join(f" + {bar}" for bar in bars)
    return render(model_formula(text))


_NESTING = {"(": 1, ")": -1}


def _operator(token: Token) -> str:
    """The token's text if it is an operator or a parenthesis; a name in backticks is neither, whatever it holds."""
    return token.text if token.kind == "op" else ""


def _has_dot(text: str) -> bool:
    return any(token.kind == "name" and token.text == "." for token in tokenize(text))


def _replaced(text: str, value: str) -> str:
    """``text`` with every lone ``.`` replaced."""
    out, last = "", 0
    for token in tokenize(text):
        if token.kind == "name" and token.text == ".":
            out += text[last : token.start] + value
            last = token.stop
    return out + text[last:]


def _without_removed(text: str) -> tuple[str, list[str]]:
    """``text`` without its ``- (bar)`` pieces at the top level, and those bars."""
    tokens = tokenize(text)
    out, last, removed = "", 0, []
    i = depth = 0
    while i < len(tokens):
        token = tokens[i]
        first = i + 2 if i + 1 < len(tokens) and tokens[i + 1].kind == "name" else i + 1
        if depth == 0 and _operator(token) == "-" and first < len(tokens) and _operator(tokens[first]) == "(":
            end, level, bar = first, 0, False
            while end < len(tokens):
                level += _NESTING.get(_operator(tokens[end]), 0)
                bar = bar or _operator(tokens[end]) in ("|", "||")
                if level == 0:
                    break
                end += 1
            if bar and end < len(tokens):
                removed.append(text[tokens[i + 1].start : tokens[end].stop])
                out += text[last : token.start]
                last = tokens[end].stop
                i = end
        if tokens[i] is token:
            depth += _NESTING.get(_operator(token), 0)
        i += 1
    return out + text[last:], removed
