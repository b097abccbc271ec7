"""Formulas that are refused: every kind of error, every attempt to run code, every limit."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast.formula as formula_room
from mixeff_fast.errors import ArgumentError, FormulaError
from mixeff_fast.formula import model_formula, parse, render
from mixeff_fast.formula.tokens import ErrorKind

ROOT = Path(__file__).parent.parent


def refusal(text: str, read: Callable[[str], object] = model_formula) -> FormulaError:
    """The error of a formula, checked for what every formula error must hold."""
    with pytest.raises(FormulaError) as caught:
        read(text)
    error = caught.value
    assert error.kind in get_args(ErrorKind)
    assert 0 <= error.offset <= len(text)
    assert error.offset + error.length <= max(1, len(text)) + (error.offset == len(text))
    assert not text or "^" in str(error)
    assert re.search(r"[.;:,] ?\w|write|remove|add|name|put|compute|correct|join|leave", error.reason)
    return error


@pytest.mark.parametrize(
    ("text", "kind", "offset", "length"),
    [
        ("", "Empty", 0, 1),
        (" \n ", "Empty", 0, 3),
        ("y + x", "MissingTilde", 0, 5),
        ("y", "MissingTilde", 0, 1),
        ("~ x", "MissingResponse", 0, 1),
        ("y ~", "EmptyRhs", 2, 1),
        ("2.5 ~ x", "NumericLiteralTerm", 0, 3),
        ("log(2) ~ x", "MissingResponse", 0, 6),
        ("poly(y, 2) ~ x", "Other", 0, 10),
        ("log(y) + factor(z) ~ x", "Other", 9, 9),
        ("cbind(a, b) + 1 ~ x", "Other", 0, 11),
        ("cbind(a) ~ x", "Other", 0, 8),
        ("y ~ cbind(a, b)", "Other", 4, 5),
        ("y ~ x ~ z", "UnexpectedToken", 6, 1),
        ("(y ~ x)", "UnmatchedParen", 0, 1),
        ("y ~ x)", "UnmatchedParen", 5, 1),
        ("y ~ (x + (z)", "UnmatchedParen", 4, 1),
        ("y ~ )", "UnmatchedParen", 4, 1),
        ("y ~ log(x", "UnmatchedParen", 4, 4),
        ("y ~ x + z +", "TrailingOperator", 10, 1),
        ("y ~ (x + ) + z", "TrailingOperator", 7, 1),
        ("y ~ (x + | g)", "TrailingOperator", 7, 1),
        ("y ~ x z", "MissingTermSeparator", 6, 1),
        ("y ~ (1 | g) (1 | h)", "MissingTermSeparator", 12, 1),
        ("y ~ (1 x | g)", "MissingTermSeparator", 7, 1),
        ("y ~ log (x)", "MissingTermSeparator", 8, 1),
        ("y ~ diag(x)", "MissingBar", 4, 7),
        ("y ~ (1 | )", "EmptyGrouping", 7, 1),
        ("y ~ ( | g)", "EmptyRandomTerms", 6, 1),
        ("y ~ (0 | g)", "EmptyRandomTerms", 5, 1),
        ("y ~ (x - x - 1 || g)", "EmptyRandomTerms", 5, 9),
        ("y ~ 2*x", "NumericLiteralTerm", 4, 1),
        ("y ~ x + 3", "NumericLiteralTerm", 8, 1),
        ("y ~ x/2", "NumericLiteralTerm", 6, 1),
        ("y ~ a:1", "NumericLiteralTerm", 6, 1),
        ("y ~ (a + b)^0", "NumericLiteralTerm", 12, 1),
        ("y ~ (a + b)^1.5", "NumericLiteralTerm", 12, 3),
        ("y ~ a^b", "NumericLiteralTerm", 6, 1),
        ("y ~ (1 | 2)", "NumericLiteralTerm", 9, 1),
        ("y ~ x - (1 | g)", "NegatedRandomEffect", 8, 7),
        ("y ~ -(1 | g)", "NegatedRandomEffect", 5, 7),
        ("y ~ x*(1 | g)", "Other", 6, 7),
        ("y ~ ((1 | g) | h)", "Other", 5, 7),
        ("y ~ x | g", "UnexpectedToken", 6, 1),
        ("y ~ (1 | a | b)", "UnexpectedToken", 11, 1),
        ("y ~ diag(x || g)", "UnexpectedToken", 11, 2),
        ("y ~ (1 | a + b)", "Other", 9, 5),
        ("y ~ (1 | log(a))", "Other", 9, 6),
        ("y ~ (1 | a & b:c)", "Other", 13, 3),
        ("y ~ (1 | a & a)", "Other", 9, 5),
        ("y ~ a & b", "UnexpectedToken", 6, 1),
        ("y ~ (offset(z) | g)", "Other", 5, 9),
        ("y ~ x*offset(z)", "Other", 6, 9),
        ("y ~ x - offset(z)", "Other", 8, 9),
        ("y ~ .", "Other", 4, 1),
        ("y ~ x + y", "Other", 8, 1),
        ("y ~ x + (y | g)", "Other", 9, 1),
        ("y ~ (a - a):b", "Other", 4, 7),
        ("y ~ -a:b", "Other", 4, 2),
        ("y ~ rank(x)", "UnknownFunction", 4, 4),
        ("y ~ x(a + b)", "UnknownFunction", 4, 1),
        ("y ~ log(rank(x))", "UnknownFunction", 8, 4),
        ("y ~ log(diag(x))", "UnknownFunction", 8, 4),
        ("y ~ I(poly(x, 2))", "Other", 6, 4),
        ("y ~ factor(x + 1)", "Other", 11, 5),
        ("y ~ I(x, 2)", "Other", 4, 7),
        ("y ~ poly(x, z)", "Other", 12, 1),
        ("y ~ poly(x, degree = z)", "Other", 21, 1),
        ("y ~ poly(x, degree = 2, degree = 3)", "Other", 24, 6),
        ("y ~ poly(x, degree = 2, 3)", "Other", 24, 1),
        ("y ~ poly(degree = 2)", "Other", 4, 16),
        ("y ~ bs(x, knots = c(1, x))", "Other", 23, 1),
        ("y ~ I(x + c(1, 2))", "UnknownFunction", 10, 1),
        ("y ~ poly(x, c(1, 2) + 1)", "UnexpectedToken", 12, 7),
        ("y ~ I(TRUE)", "Other", 6, 4),
        ("y ~ I(2)", "Other", 4, 4),
        ("y ~ log('x')", "Other", 8, 3),
        ("y ~ log()", "UnexpectedToken", 8, 1),
        ("y ~ ()", "UnexpectedToken", 5, 1),
        ("y ~ * x", "UnexpectedToken", 4, 1),
        ("y ~ a, b", "UnexpectedToken", 5, 1),
        ("y ~ x = 2", "UnexpectedToken", 6, 1),
        ("y ~ x %% 2", "UnexpectedToken", 6, 2),
        ("y ~ I(a:b)", "UnexpectedToken", 7, 1),
        ("y ~ I(a | b)", "UnexpectedToken", 8, 1),
        ("y ~ TRUE", "UnexpectedToken", 4, 4),
        ("y ~ I(x + NA)", "UnexpectedToken", 10, 2),
        ("y ~ 2x", "UnexpectedToken", 4, 2),
        ("y ~ 'x'", "UnexpectedToken", 4, 3),
        ("y ~ ``", "UnexpectedToken", 4, 2),
        ("y ~ `x", "UnexpectedToken", 4, 1),
        ("y ~ I(x * 1e999)", "Other", 10, 5),
        ("y ~ I(x * 1.5L)", "Other", 10, 4),
    ],
)
def test_refusals(text: str, kind: str, offset: int, length: int) -> None:
    error = refusal(text)
    assert (error.kind, error.offset, error.length) == (kind, offset, length)
    assert error.formula == text


ATTACKS = [
    ("y ~ I(__import__('os').system('x'))", 6, 10),
    ("y ~ {__import__('os')}", 4, 1),
    ("y ~ ().__class__", 5, 1),
    ("y ~ x[0]", 5, 1),
    ("y ~ I(lambda: x)", 12, 1),
    ("y ~ I(lambda x: x)", 13, 1),
    ("y ~ f'{x}'", 5, 5),
    ("y ~ log(f\"{open('f')}\")", 9, 13),
    ("y ~ log(open('f'))", 8, 4),
    ("y ~ `a`()", 4, 3),
    ("y ~ `__import__`('os')", 4, 12),
    ("y ~ `log`(x)", 4, 5),
    ("y ~ log`(`x)", 7, 3),
    ("y ~ I(a := 5)", 8, 1),
    ("y ~ @x", 4, 1),
    ("y ~ df$x", 6, 1),
    ("y ~ x; import os", 5, 1),
    ("y ~ x\nimport os", 6, 6),
    ("y ~ x \\\n+ z", 6, 1),
    ("y ~ x\r\n\"\"\"", 9, 1),
    ("y ~ x # (1 | g)", 6, 1),
    ("y ~ ｌｏｇ(x)", 4, 3),
    ("y ~ lоg(x)", 4, 3),
    ("y ~ x − 1", 6, 1),
    ("y ~ x ∣ g", 6, 1),
    ("y ~ x\u00a0+ z", 5, 1),
    ("y ~ x\u200b", 5, 1),
    ("y ~ x\u2028+ z", 5, 1),
    ("y ~ `x\0y`", 6, 1),
    ("y ~ x\0", 5, 1),
    ("y ~ `\ud800`", 5, 1),
    ("y ~ np.log(x)", 4, 6),
    ("y ~ os.system", None, None),
    ("y ~ eval('x')", 4, 4),
    ("y ~ exec(x)", 4, 4),
    ("y ~ function(x) x", 4, 8),
    ("y ~ (function(x) x)(1)", 5, 8),
    ("y ~ (x)(z)", 7, 1),
    ("y ~ log(x)(z)", 10, 1),
    ("y ~ log(x).real", 10, 5),
    ("y ~ I(x.__class__.__mro__)", None, None),
    ("y ~ I(x if z else w)", 8, 2),
    ("y ~ I([v for v in x])", 6, 1),
    ("y ~ I(x or z)", 8, 2),
    ("y ~ I(*x)", 6, 1),
    ("y ~ poly(x, **z)", 12, 2),
    ("y ~ log(x=z)", 4, 8),
    ("y ~ poly(x, raw=__import__('os'))", 16, 10),
    ("y ~ factor(g, levels=\"{open('f')}\")", None, None),
    ("y ~ !x", 4, 1),
    ("y ~ %do% x", 4, 1),
    ("y ~ I(x %>% log)", 8, 1),
    ("y ~ x <- 2", 6, 1),
    ("y ~ log(`x", 8, 1),
    ("y ~ I(x + '\\x41')", 11, 2),
    ("y ~ \\(x) x", 4, 1),
    ("y ~ ?x", 4, 1),
]


@pytest.mark.parametrize(("text", "offset", "length"), ATTACKS, ids=lambda value: repr(value)[:40])
@pytest.mark.parametrize("read", [parse, model_formula])
def test_no_formula_runs_code(read: Callable[[str], object], text: str, offset: int | None, length: int | None,
                              monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: object, **kwargs: object) -> None:
        raise AssertionError("a formula ran code")

    if offset is None:
        # These are names and text, however they look: columns called os.system and x.__class__.__mro__.
        assert read(text)
        return
    monkeypatch.setattr("os.system", forbidden)
    monkeypatch.setattr("builtins.open", forbidden)
    error = refusal(text, read)
    assert (error.offset, error.length) == (offset, length)


def test_the_room_holds_no_evaluator() -> None:
    folder = Path(formula_room.__file__).parent
    for path in folder.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id not in {"eval", "exec", "compile", "__import__", "getattr", "open"}, path


@pytest.mark.parametrize("text", [None, 3, b"y ~ x", ["y ~ x"]])
def test_formulas_are_strings(text: Any) -> None:
    for read in (parse, model_formula):
        with pytest.raises(ArgumentError, match="string"):
            read(text)


@pytest.mark.parametrize(
    "text",
    [
        "y ~ " + "(" * 10_000 + "x" + ")" * 10_000,
        "y ~ " + "log(" * 10_000 + "x" + ")" * 10_000,
        "y ~ " + "(" * 100_000,
        "y ~ " + "-" * 100_000 + "x",
        "y ~ " + "x^" * 10_000 + "2",
        "y ~ I(" + "x + " * 10_000 + "x)",
        "log(" * 300 + "y" + ")" * 300 + " ~ x",
        "y - " * 300 + "y ~ x",
        "y ~ I(" + "-" * 300 + "x)",
    ],
    ids=lambda text: f"{text[:10]}... ({len(text)})",
)
def test_nesting_is_bounded(text: str) -> None:
    error = refusal(text)
    assert error.kind == "TooDeep"
    assert error.limit == 256


def test_nesting_below_the_limit() -> None:
    for text in ("y ~ " + "(" * 255 + "x" + ")" * 255, "y ~ " + "log(" * 255 + "x" + ")" * 255):
        formula = model_formula(text)
        assert model_formula(render(formula)) == formula


@pytest.mark.parametrize(
    ("text", "count", "limit"),
    [
        ("y ~ (" + " + ".join("abcdefghijklmnopqrstuvwxzABC"[:26]) + ")^26", 551_954, 100_000),
        ("y ~ " + "*".join(f"x{i}" for i in range(200)), 131_054, 100_000),
        ("y ~ (1 | " + "*".join(f"x{i}" for i in range(200)) + ")", 131_054, 100_000),
        ("y ~ " + ":".join(f"x{i}" for i in range(5_000)), 5_000, 64),
        ("y ~ " + "/".join(f"x{i}" for i in range(5_000)), 5_000, 64),
    ],
    ids=["power", "product", "grouping", "interaction", "nesting"],
)
def test_expansion_is_bounded(text: str, count: int, limit: int) -> None:
    error = refusal(text)
    assert (error.kind, error.count, error.limit) == ("Other", count, limit)


def test_length_is_bounded() -> None:
    assert refusal("y ~ " + "x" * 1_000_000, lambda text: parse(text)).limit == 1_000_000


def test_documented_examples() -> None:
    page = (ROOT / "docs/formulas.md").read_text().replace("\\|", "|")
    rows = re.findall(r"^\| `(\w+)` \| `(.*?)` \| ", page, re.MULTILINE)
    kinds = dict(rows)
    assert set(kinds) == set(get_args(ErrorKind))
    for kind, example in rows:
        text = example if kind != "TooDeep" else example.replace("(((...x...)))", "(" * 300 + "x" + ")" * 300)
        assert refusal(text).kind == kind
    canonical = re.findall(r"^\| `([^`]*~[^`]*)` \| `([^`]*~[^`]*)` \|$", page, re.MULTILINE)
    assert len(canonical) == 4
    for written, shown in canonical:
        assert render(model_formula(written)) == shown


SIGNS = r"""~ ~ ~ + - * / : ^ %in% %% | || & ( ) ( ) , = 0 1 2 x y g log( diag( I( poly( `b` 'c' TRUE . " ` \ [ @"""
pieces = st.sampled_from([*SIGNS.split(), "\n"])


@settings(max_examples=400, deadline=None)
@given(st.one_of(st.text(max_size=30), st.lists(pieces, max_size=14).map("".join),
                 st.lists(pieces, max_size=10).map(lambda found: "y ~ " + " ".join(found))))  # fmt: skip
def test_any_text_is_a_model_or_a_typed_error(text: str) -> None:
    try:
        formula = model_formula(text)
    except FormulaError:
        refusal(text)
    else:
        assert model_formula(render(formula)) == formula
