"""Formulas: R's algebra, random-effects terms, canonical text, and the trees behind them."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mixeff_fast.errors import FormulaError
from mixeff_fast.formula import (
    Call,
    ModelFormula,
    Name,
    Number,
    deparse,
    literal_value,
    model_formula,
    parse,
    render,
    walk,
)

REFERENCE = json.loads((Path(__file__).parent / "reference/formula.json").read_text())


def labels(text: str) -> list[str]:
    """The labels of the fixed terms, the intercept in front."""
    fixed = model_formula(text).fixed
    return ["1"] * fixed.intercept + [term.name for term in fixed.terms]


REFUSED_HERE = {"y ~ a - offset(x)"}


@pytest.mark.parametrize("case", REFERENCE["cases"], ids=lambda case: case["formula"])
def test_terms_are_those_of_r(case: dict[str, Any]) -> None:
    if case["formula"] in REFUSED_HERE:
        with pytest.raises(FormulaError):
            model_formula(case["formula"])
        return
    formula = model_formula(case["formula"])
    assert formula.fixed.intercept == case["intercept"]
    assert [term.name for term in formula.fixed.terms] == case["terms"]
    assert [len(term.variables) for term in formula.fixed.terms] == case["order"]
    assert [offset.key for offset in formula.offsets] == case["offsets"]


# R's number loses digits that the computation needs; the other spellings are not arithmetic, or not literals.
SPELLED_APART = {"I(1.23456789012345678*x)": "I(1.2345678901234567 * x)"}
NOT_HERE = {"poly( x , 2 , raw = T )", "I(0x10*x)", "I(x%in%z)", "I(x:z)", "I(!l)"}


@pytest.mark.parametrize("case", REFERENCE["deparse"], ids=lambda case: case["text"])
def test_deparse_is_that_of_r(case: dict[str, str]) -> None:
    text = case["text"]
    if text in NOT_HERE:
        with pytest.raises(FormulaError):
            parse(f"y ~ {text}")
        return
    node = parse(f"{text} ~ x").response if text.startswith("cbind") else parse(f"y ~ {text}").rhs
    assert deparse(node) == SPELLED_APART.get(text, case["deparse"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("y ~ `my var`*b", ["1", "`my var`", "b", "`my var`:b"]),
        ("y ~ (0 + a):b", ["a:b"]),
        ("y ~ a - (b - 1)", ["1", "a"]),
        ("y ~ a - (1 + a)", []),
        ("y ~ 0 - -1", ["1"]),
        ("y ~ x - 1 - 0", ["1", "x"]),
        ("y ~ (a + b)^2%in%c", ["1", "a:c", "b:c", "a:b:c"]),
        ("y ~ a + b:c + a:b - a", ["1", "b:c", "a:b"]),
        ("y ~ (p*a:e*i + a:e)^3", ["1", "p", "i", "p:i", "a:e", "p:a:e", "a:e:i", "p:a:e:i"]),
        ("y ~ (a + b)^1000000000", ["1", "a", "b", "a:b"]),
        ("y ~ if + repeat + T", ["1", "`if`", "`repeat`", "T"]),
        ("y ~ `TRUE` + `.`", ["1", "`TRUE`", "`.`"]),
        ("y ~ log + I + np + C + Intercept", ["1", "log", "I", "np", "C", "Intercept"]),
        ("y ~ log(log) + c + poly", ["1", "log(log)", "c", "poly"]),
        ("y ~\n  x\n\t+ größe + 变量", ["1", "x", "größe", "变量"]),
        ("y ~ I(x * sqrt(2))", ["1", "I(x * sqrt(2))"]),
        (r"y ~ `a\`b` + I(`a\\b` + 1)", ["1", r"`a\`b`", r"I(`a\\b` + 1)"]),
        ("y ~ factor(g, levels = c('b', \"a\"), labels='\\n\"')",
         ["1", 'factor(g, levels = c("b", "a"), labels = "\\n\\"")']),
    ],
)  # fmt: skip
def test_fixed_terms(text: str, expected: list[str]) -> None:
    assert labels(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(1 | g)", [("1", "g", "marginal", "us", None, "as_written")]),
        ("(x | g)", [("1 + x", "g", "marginal", "us", None, "as_written")]),
        ("us(x | g)", [("1 + x", "g", "marginal", "us", None, "as_written")]),
        ("(x - 1 | g)", [("0 + x", "g", "marginal", "us", None, "as_written")]),
        ("(a*x - a | g)", [("1 + x + a:x", "g", "marginal", "us", None, "as_written")]),
        ("diag(0 + a | g)", [("0 + a", "g", "marginal", "diag", None, "as_written")]),
        ("cs(a | g)", [("1 + a", "g", "marginal", "cs", None, "as_written")]),
        ("ar1(0 + t | factor(g))", [("0 + t", "factor(g)", "marginal", "ar1", None, "as_written")]),
        ("(1 | b:a)", [("1", "b:a", "cell", "us", None, "as_written")]),
        ("(1 | a & b)", [("1", "a:b", "interaction", "us", None, "as_written")]),
        ("(1 | (a & b & c))", [("1", "a:b:c", "interaction", "us", None, "as_written")]),
        ("(1 | a/b)", [("1", "a", "marginal", "us", None, "nested"), ("1", "a:b", "cell", "us", None, "nested")]),
        ("(1 | (a/b)/c)", [("1", "a", "marginal", "us", None, "nested"), ("1", "a:b", "cell", "us", None, "nested"),
                           ("1", "a:b:c", "cell", "us", None, "nested")]),
        ("diag(x | a*b)", [("1 + x", "a", "marginal", "diag", None, "crossed_with_cell"),
                           ("1 + x", "b", "marginal", "diag", None, "crossed_with_cell"),
                           ("1 + x", "a:b", "cell", "diag", None, "crossed_with_cell")]),
        ("(x*f || g) + (0 + x || h)", [("1", "g", "marginal", "us", "bg0", "double_bar"),
                                       ("0 + x", "g", "marginal", "us", "bg0", "double_bar"),
                                       ("0 + f", "g", "marginal", "us", "bg0", "double_bar"),
                                       ("0 + x:f", "g", "marginal", "us", "bg0", "double_bar"),
                                       ("0 + x", "h", "marginal", "us", "bg1", "double_bar")]),
        ("(x || a/b)", [("1", "a", "marginal", "us", "bg0", "nested"),
                        ("0 + x", "a", "marginal", "us", "bg0", "nested"),
                        ("1", "a:b", "cell", "us", "bg1", "nested"),
                        ("0 + x", "a:b", "cell", "us", "bg1", "nested")]),
        ("((1 | g))", [("1", "g", "marginal", "us", None, "as_written")]),
        ("(x + (1 | g)) - x", [("1", "g", "marginal", "us", None, "as_written")]),
    ],
)  # fmt: skip
def test_random_terms(text: str, expected: list[tuple[str, ...]]) -> None:
    formula = model_formula(f"y ~ {text}")
    found = []
    for index, term in enumerate(formula.random):
        assert term.index == index
        assert term.group_name == ":".join(variable.key for variable in term.group)
        assert f"y ~ {text}"[slice(*term.span)] == term.written
        lhs = " + ".join([str(int(term.lhs.intercept)), *(t.name for t in term.lhs.terms)])
        found.append((lhs, term.group_name, term.path, term.covariance, term.block_group, term.expansion))
    assert found == expected


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("y ~ x*z + (1|a/b)", "y ~ 1 + x + z + x:z + (1 | a) + (1 | a:b)"),
        ("Reaction~Days+(Days||Subject)", "Reaction ~ 1 + Days + (1 + Days || Subject)"),
        ("y ~ 0 + x + (0 + x | g)", "y ~ 0 + x + (0 + x | g)"),
        ("y~1", "y ~ 1"),
        ("y ~ x - x - 1", "y ~ 0"),
        ("y ~ (1|g) + offset(log( z )) + b:a+a", "y ~ 1 + b:a + a + offset(log(z)) + (1 | g)"),
        ("y ~ a + b:c + a:b - a", "y ~ 1 + a:b:c - a:b:c + b:c + a:b"),
        ("cbind( s,n-s ) ~ us(1|g)+diag(x|g)+cs(f|g)+ar1(0+t|g)",
         "cbind(s, n - s) ~ 1 + (1 | g) + diag(1 + x | g) + cs(1 + f | g) + ar1(0 + t | g)"),
        ("y ~ (1 | a&b) + (b:a + a || g)", "y ~ 1 + (1 | a & b) + (1 + b:a + a || g)"),
        ("y ~ (1|g) + x", "y ~ 1 + x + (1 | g)"),
        ("hits/n ~ `a b`", "hits/n ~ 1 + `a b`"),
    ],
)  # fmt: skip
def test_canonical_text(text: str, canonical: str) -> None:
    assert render(model_formula(text)) == canonical
    assert render(model_formula(canonical)) == canonical
    assert model_formula(canonical) == model_formula(text)


def test_responses_and_columns() -> None:
    formula = model_formula("cbind(hits, n - hits) ~ x + log(z + x) + offset(log(w)) + (0 + t | a/factor(b))")
    assert (formula.response.kind, formula.response.name) == ("cbind", "cbind(hits, n - hits)")
    assert [v.key for v in formula.response.variables] == ["hits", "n - hits"]
    assert formula.columns == ("hits", "n", "x", "z", "w", "t", "a", "b")
    single = model_formula("log(`y 1` + 1) ~ poly(x, 2, raw = TRUE)")
    assert (single.response.kind, single.response.variables[0].columns) == ("single", ("y 1",))
    assert single.columns == ("y 1", "x")
    assert model_formula("y ~ a - a + b").columns == ("y", "b")


def test_literals() -> None:
    call = parse("y ~ bs(x, -4, 2L, knots = c(1, 2.5), intercept = TRUE, method = 'a')").rhs
    assert isinstance(call, Call)
    assert [literal_value(node) for node in call.args] == [None, -4, 2]
    assert {name: literal_value(value) for name, value in call.keywords} == {
        "knots": (1, 2.5), "intercept": True, "method": "a",
    }  # fmt: skip
    assert literal_value(parse("y ~ I(-x)").rhs.children()[0]) is None


@pytest.mark.parametrize("term", ["x", "x{}", "(1 | g{})", "log(x{} + 1)", "a:x{}", "offset(x{})"])
def test_long_sums(term: str) -> None:
    text = "y ~ " + " + ".join(term.format(i) for i in range(5_000))
    formula = model_formula(text)
    assert len(formula.fixed.terms) + len(formula.random) + len(formula.offsets) == (1 if term == "x" else 5_000)
    again = parse(text)
    assert again == formula.tree
    assert hash(again) == hash(formula.tree)
    assert deparse(again.rhs) == text[4:]
    assert repr(again.rhs).count("Binary('+'") == 4_999 + ("+ 1" in term) * 5_000
    assert model_formula(render(formula)) == formula
    revived = pickle.loads(pickle.dumps(formula))
    assert (revived, revived.tree, revived.text) == (formula, formula.tree, text)
    assert copy.deepcopy(formula) == formula


def test_equality_of_trees() -> None:
    assert parse("y ~ a+b") == parse("y  ~  a + `b`")
    assert parse("y ~ a + b") != parse("y ~ a - b")
    assert parse("y ~ a + b").rhs != parse("y ~ (a + b)").rhs
    assert parse("y ~ (x | g)").rhs != parse("y ~ (x || g)").rhs
    assert parse("y ~ poly(x, 2)").rhs != parse("y ~ poly(x, degree = 2)").rhs
    assert Number(2.0, "2") != Number(2.0, "2L")
    assert Name("x") != "x"
    assert len({parse("y ~ a + b").rhs, parse("y ~ a+b").rhs}) == 1
    assert repr(parse("y ~ -x").rhs) == "Unary('-', Name('x', False))"
    assert model_formula("y ~ a*b") == model_formula("y ~ a + b + a:b")
    assert model_formula("y ~ b + a") != model_formula("y ~ a + b")


def test_spans_point_into_the_text() -> None:
    text = "log(y)~a *`b c`+ poly(x,2,raw=TRUE)+diag( 0+ x|g/h )-1"
    tree = parse(text)
    for node in [*walk(tree.response), *walk(tree.rhs)]:
        written = text[slice(*node.span)]
        assert written == written.strip()
        assert deparse(node).replace(" ", "") == written.replace(" ", "")


def test_formulas_are_read_once() -> None:
    text = "Reaction ~ Days + (Days | Subject)"
    assert model_formula(text) is model_formula(text)


names = st.sampled_from(["a", "b", "c", "x", "z", "my var", "if", "1st", "größe"]).map(
    lambda name: f"`{name}`" if name in ("my var", "if", "1st") else name
)
numbers = st.sampled_from(["2", "0.5", "1e5", "100000", "3L", ".25", "0.1234567890123456789", "1e-7"])


def arithmetic_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, st.sampled_from(["+", " - ", "*", "/", "^", "%%", " %/% "]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "+"]), inner).map("".join),
        st.tuples(st.sampled_from(["log", "sqrt", "I", "scale"]), inner).map(lambda t: f"{t[0]}({t[1]})"),
        inner.map(lambda text: f"( {text} )"),
    )


arithmetic = st.tuples(names, st.recursive(names | numbers, arithmetic_of, max_leaves=5)).map(" + ".join)
variables = st.one_of(
    names,
    arithmetic.map(lambda text: f"I({text})"),
    st.tuples(names, st.integers(2, 5)).map(lambda t: f"bs({t[0]},df={t[1]})"),
    names.map(lambda name: f"factor({name}, labels=c('p','q'))"),
)


def terms_of(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    joined = st.sampled_from([" + ", " + ", "+", " - ", ":", "*", "/", " %in% "])
    return st.one_of(
        st.tuples(inner, joined, inner).map("".join),
        st.tuples(inner, st.sampled_from(["+ 1", "- 1", "+ 0", "- 0", "+ -1"])).map(lambda t: f"({t[0]} {t[1]})"),
        st.tuples(inner, st.integers(1, 3)).map(lambda t: f"({t[0]})^{t[1]}"),
        inner.map(lambda text: f"({text})"),
    )


terms = st.recursive(variables, terms_of, max_leaves=6)
groupings = st.sampled_from(["g", "g:h", "h:g", "g & h", "g/h", "g/h/k", "g*h", "(g:h)/k", "factor(g)", "`the g`"])
bars = st.tuples(st.sampled_from(["({} | {})", "({} || {})", "diag({}|{})", "cs({} | {})"]), terms, groupings).map(
    lambda t: t[0].format(t[1], t[2])
)
formulas = st.tuples(
    st.sampled_from(["y", "log(y + 1)", "cbind(s, n - s)", "`the y`"]),
    st.lists(st.one_of(terms, bars, names.map(lambda n: f"offset(log({n}))")), min_size=1, max_size=4),
).map(lambda t: f"{t[0]} ~ {' + '.join(t[1])}")


def read_or_skip(text: str) -> ModelFormula:
    """The model of a generated formula; what is left out is products and blocks with nothing in them."""
    try:
        return model_formula(text)
    except FormulaError as error:
        if "No term is left" not in error.reason and "No effect is left" not in error.reason:
            raise
        assume(False)
        raise


@settings(max_examples=300, deadline=None)
@given(formulas)
def test_canonical_text_is_a_fixed_point(text: str) -> None:
    formula = read_or_skip(text)
    shown = render(formula)
    again = model_formula(shown)
    assert again == formula
    assert again.columns == formula.columns
    assert render(again) == shown
    assert deparse(parse(text).rhs) == deparse(parse("y ~ " + deparse(parse(text).rhs)).rhs)


@settings(max_examples=100, deadline=None)
@given(variables, variables, variables)
def test_operators_equal_their_expansions(a: str, b: str, c: str) -> None:
    for short, long in [
        (f"{a}/{b}", f"{a} + {a}:{b}"),
        (f"{a}*{b}", f"{a} + {b} + {a}:{b}"),
        (f"{a}/{b}/{c}", f"{a} + {a}:{b} + {a}:{b}:{c}"),
        (f"({a} + {b})/{c}", f"{a} + {b} + {a}:{b}:{c}"),
        (f"{a} %in% {b}", f"{a}:{b}"),
        (f"({a} + {b} + {c})^2", f"{a} + {b} + {c} + {a}:{b} + {a}:{c} + {b}:{c}"),
        (f"{a}*{b} - {a}:{b}", f"{a} + {b}" if a != b else ""),
    ]:
        if long:
            assert model_formula(f"y ~ {short}").fixed == model_formula(f"y ~ {long}").fixed
            assert model_formula(f"y ~ ({short} | g)").random == model_formula(f"y ~ ({long} | g)").random


@pytest.mark.parametrize("bar", ["({} | {})", "({} || {})", "diag({} | {})"])
def test_groupings_equal_their_expansions(bar: str) -> None:
    nested = model_formula("y ~ " + bar.format("x", "a/b"))
    assert nested == model_formula("y ~ " + bar.format("x", "a") + " + " + bar.format("x", "a:b"))
    crossed = model_formula("y ~ " + bar.format("x", "a*b"))
    assert crossed == model_formula(" + ".join(["y ~ 1", *(bar.format("x", group) for group in ("a", "b", "a:b"))]))
