"""What a formula means: terms, columns, covariances, roles, parameters, and what may not have been meant."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast import vocabulary
from mixeff_fast.compile import CompiledModel
from mixeff_fast.compile.parameters import parameter_traces, theta_maps
from mixeff_fast.compile.roles import declared_records
from mixeff_fast.compile.semantic import cross_card_constraints, semantic_model
from mixeff_fast.compile.semantic_findings import semantic_findings
from mixeff_fast.fit.tables import block_covariance, varcorr_rows
from mixeff_fast.schemas import policy as policy_schemas
from mixeff_fast.schemas import semantic as semantic_schemas
from mixeff_fast.schemas.design import Nesting
from mixeff_fast.schemas.diagnostics import Finding


def data(n: int = 240) -> pl.DataFrame:
    rng = np.random.default_rng(11)
    rows = np.arange(n)
    return pl.DataFrame(
        {
            "y": rng.normal(size=n),
            "x": rng.normal(size=n),
            "z": rng.normal(size=n),
            "g": [f"g{i % 12}" for i in rows],
            "h": [f"h{i % 10}" for i in rows],
            "a": [f"a{i % 12 % 4}" for i in rows],
            "f": [f"f{i % 3}" for i in rng.permutation(rows)],
            "w": np.repeat(rng.normal(size=12), n // 12).reshape(12, -1).T.ravel(),
            "number": rows % 5,
        }
    )


DATA = data()


def compiled(formula: str, frame: pl.DataFrame = DATA, **arguments: Any) -> CompiledModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mf.compile_model(formula, frame, **arguments).compiled


def findings(formula: str, code: str, nesting: tuple[Nesting, ...] = (), **arguments: Any) -> list[Finding]:
    model = compiled(formula, **arguments)
    found = semantic_findings(model, semantic_model(model, {}), nesting)
    return [finding for finding in found if finding.code == code]


SHAPES = {
    "y ~ x + (1 | g)": [("r0", "(1 | g)", "single", "scalar", 1, None, "included")],
    "y ~ x + (x | g)": [("r0", "(1 + x | g)", "single", "full", 3, None, "included")],
    "y ~ x + (0 + x | g)": [("r0", "(0 + x | g)", "single", "scalar", 1, None, "omitted")],
    "y ~ x + (1 + x || g)": [
        ("r0", "(1 | g)", "single", "scalar", 1, "bg0", "included"),
        ("r1", "(0 + x | g)", "single", "scalar", 1, "bg0", "omitted"),
    ],
    "y ~ x + diag(x | g)": [("r0", "diag(1 + x | g)", "single", "diagonal", 2, None, "included")],
    "y ~ x + (1 | a/h)": [
        ("r0", "(1 | a)", "single", "scalar", 1, None, "included"),
        ("r1", "(1 | a:h)", "cell", "scalar", 1, None, "included"),
    ],
    "y ~ x + (1 | a & f)": [("r0", "(1 | a & f)", "interaction", "scalar", 1, None, "included")],
    "y ~ x + (f || g) + (1 | h)": [
        ("r0", "(1 | g)", "single", "scalar", 1, "bg0", "included"),
        ("r1", "(0 + f | g)", "single", "full", 6, "bg0", "omitted"),
        ("r2", "(1 | h)", "single", "scalar", 1, None, "included"),
    ],
}


@pytest.mark.parametrize("formula", SHAPES)
def test_shapes(formula: str) -> None:
    semantic = semantic_model(compiled(formula), {})
    assert [
        (t.id, t.source_syntax.text, t.group.kind, t.covariance, t.n_parameters, t.block_group, t.intercept)
        for t in semantic.random_terms
    ] == SHAPES[formula]
    assert all(t.source_syntax.written in formula for t in semantic.random_terms)
    assert (semantic.response, semantic.fixed_terms) == ("y", ("1", "x"))


def test_terms_are_numbered_as_written_whatever_order_the_engine_has() -> None:
    model = compiled("y ~ x + (1 | a) + (1 + x | g)")
    assert [block.term.group_name for block in model.blocks] == ["g", "a"]
    assert [term.group.name for term in semantic_model(model, {}).random_terms] == ["a", "g"]
    assert [(m.term_id, m.term_index, m.semantic_term_index) for m in theta_maps(model)] == [("r1", 0, 1), ("r0", 1, 0)]


def test_columns_of_a_term() -> None:
    (term,) = semantic_model(compiled("y ~ x + (1 + x + f + x:z | a)"), {}).random_terms
    assert [(e.name, e.kind, e.source) for e in term.basis] == [
        ("(Intercept)", "intercept", "1"),
        ("x", "slope", "x"),
        ("ff1", "slope", "f"),
        ("ff2", "slope", "f"),
        ("x:z", "interaction", "x:z"),
    ]


def test_structured_covariances_are_refused() -> None:
    for wrapper in ("cs", "ar1"):
        with pytest.raises(mf.errors.FitError, match=wrapper) as refused:
            compiled(f"y ~ x + {wrapper}(x | g)")
        assert refused.value.fields["reason_code"] == "unsupported"


def test_vocabularies_of_arguments_and_artifacts_agree() -> None:
    assert get_args(vocabulary.Role) == get_args(semantic_schemas.Role)
    assert get_args(vocabulary.Intent) == get_args(policy_schemas.Intent)


# Parameters


def test_first_columns_of_a_three_column_block() -> None:
    (layout,) = theta_maps(compiled("y ~ x + z + (1 + x + z | g)"))
    assert [(s.lambda_row, s.lambda_col) for s in layout.theta_slots] == [(0, 0), (1, 0), (2, 0), (1, 1), (2, 1), (2, 2)]
    assert [s.lower_bound for s in layout.theta_slots] == [0.0, None, None, 0.0, None, 0.0]
    assert layout.standardization == ("none", "centred_and_scaled", "centred_and_scaled")
    assert [m.standardization for m in theta_maps(compiled("y ~ diag(x | g)"))] == [("none", "scaled")]


@settings(max_examples=25)
@given(
    st.lists(
        st.sampled_from(["(1 | g)", "(x | h)", "(0 + x + z | a)", "(x + z || f)", "diag(x | number)", "(f | g:a)"]),
        min_size=1, max_size=4, unique=True,
    )
)
def test_every_parameter_is_traced_once_and_matches_the_engine(bars: list[str]) -> None:
    model = compiled(f"y ~ x + {' + '.join(bars)}")
    traces = parameter_traces(model)
    assert [t.theta_index for t in traces] == list(range(model.n_theta))
    assert tuple(t.theta_name for t in traces) == model.theta_names
    assert all(t.matches_theta_map and t.theta_value is None and t.theta_status == "not_assessed" for t in traces)
    semantic = {t.id: t for t in semantic_model(model, {}).random_terms}
    for trace in traces:
        assert (trace.group, trace.source_syntax) == (semantic[trace.term_id].group.name,
                                                      semantic[trace.term_id].source_syntax.text)


def test_a_map_that_differs_from_the_engine_s_is_noticed() -> None:
    model = compiled("y ~ x + (1 + x | g)")
    block = model.blocks[0]
    turned = replace(model, blocks=(replace(block, rows=block.rows[::-1].copy(), columns=block.columns[::-1].copy()),))
    assert [t.matches_theta_map for t in parameter_traces(turned)] == [False, True, False]
    shifted = replace(model, blocks=(replace(block, theta=slice(1, 4)),))
    assert not any(t.matches_theta_map for t in parameter_traces(shifted))


def test_traces_of_a_fit() -> None:
    fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    model, theta = fit.spec.compiled, fit.theta.tolist()
    traces = parameter_traces(model, theta, list(varcorr_rows(model, fit.result)))
    assert [t.theta_value for t in traces] == theta
    assert {t.theta_status for t in traces} == {"free"}
    shown = {e.label: e.value for t in traces for e in t.varcorr_entries}
    table = fit.varcorr()
    assert shown == {
        "sd_(Intercept)|Subject": table["sdcor"][0],
        "sd_Days|Subject": table["sdcor"][1],
        "cor_Days.(Intercept)|Subject": table["sdcor"][2],
    }


def test_boundary_and_inactive_parameters() -> None:
    model = compiled("y ~ x + (1 + x | g)")
    rows = [("g", "(Intercept)", None, 0.0, 0.0), ("g", "x", None, 1.0, 1.0), ("g", "(Intercept)", "x", 0.0, float("nan"))]
    traces = parameter_traces(model, [0.0, 0.0, 1.0], rows, boundary={0})
    assert [t.theta_status for t in traces] == ["boundary", "inactive", "free"]
    assert [e.value for e in traces[1].varcorr_entries] == [1.0, None]
    assert [t.theta_status for t in parameter_traces(model, [0.0, 0.5, 1.0], rows, boundary={0})][1] == "free"


def test_entries_are_those_that_a_parameter_moves() -> None:
    model = compiled("y ~ x + z + (1 + x + z | g)")
    theta = np.array([1.1, 0.3, -0.4, 0.9, 0.2, 0.7])

    def numbers(at: np.ndarray) -> dict[str, float]:
        covariance = block_covariance(model.blocks[0], at, 1.0)
        sd = np.sqrt(np.diag(covariance))
        names = model.blocks[0].names
        out = {f"sd_{name}|g": float(sd[i]) for i, name in enumerate(names)}
        for i in range(3):
            out |= {f"cor_{names[i]}.{names[j]}|g": float(covariance[i, j] / sd[i] / sd[j]) for j in range(i)}
        return out

    for trace in parameter_traces(model):
        moved = theta.copy()
        moved[trace.theta_index] += 0.01
        before, after = numbers(theta), numbers(moved)
        assert {e.label for e in trace.varcorr_entries} == {k for k in before if abs(before[k] - after[k]) > 1e-9}


# Separate terms


def test_every_pair_of_columns_that_is_uncorrelated() -> None:
    semantic = semantic_model(compiled("y ~ x + (1 | g) + (0 + x + z | g) + (1 | h)"), {})
    assert [(c.between_cards, c.between_basis, c.group, c.reason) for c in cross_card_constraints(semantic)] == [
        (("r0", "r1"), ("(Intercept)", "x"), "g", "separate_random_effect_blocks"),
        (("r0", "r1"), ("(Intercept)", "z"), "g", "separate_random_effect_blocks"),
    ]


def test_double_bars_and_factors_within_them() -> None:
    plain = cross_card_constraints(semantic_model(compiled("y ~ x + (x || g)"), {}))
    assert [c.reason for c in plain] == ["double_bar_syntax"]
    factor = cross_card_constraints(semantic_model(compiled("y ~ x + (f || g)"), {}))
    assert [(c.between_basis[1], c.reason) for c in factor] == [(f"ff{i}", "double_bar_factor_term") for i in range(3)]


def test_what_is_assumed_of_separate_terms() -> None:
    (double,) = findings("y ~ x + (x || g)", "covariance_assumption")
    assert (double.payload["reason"], double.payload["n_pairs"], double.affected_terms) == (
        "double_bar_syntax", 1, ("r0", "r1"))
    (factor,) = findings("y ~ x + (f || g)", "covariance_assumption")
    assert factor.payload["reason"] == "double_bar_factor_term"
    counts = ("n_parameters", "n_parameters_diagonal", "n_parameters_full")
    assert [factor.payload[k] for k in counts] == [7, 4, 10]
    (blocks,) = findings("y ~ x + (1 | g) + (0 + x + z | g)", "covariance_assumption")
    assert (blocks.payload["reason"], blocks.payload["n_pairs"]) == ("separate_random_effect_blocks", 2)
    assert not findings("y ~ x + (x | g)", "covariance_assumption")


def test_crossed_intercepts_but_not_nested_ones() -> None:
    (crossed,) = findings("diameter ~ 1 + (1 | plate) + (1 | sample)", "covariance_assumption",
                          frame=mf.datasets.load("Penicillin"))
    assert crossed.payload == {
        "reason": "crossed_intercepts", "groups": ["plate", "sample"], "correlation_parameter": "not_estimated"}
    assert not findings("y ~ x + (1 | a) + (1 | a:h)", "covariance_assumption")
    inside = Nesting(inner="g", outer="a", labels_reused=False)
    assert not findings("y ~ x + (1 | a) + (1 | g)", "covariance_assumption", (inside,))
    reused = Nesting(inner="h", outer="a", labels_reused=True)
    assert findings("y ~ x + (1 | a) + (1 | h)", "covariance_assumption", (reused,))


# What may not have been meant


def test_terms_written_twice() -> None:
    (twice,) = findings("y ~ x + (1 | g) + (1 | g)", "duplicate_random_term")
    assert (twice.severity, twice.affected_terms, twice.payload["extent"]) == ("warning", ("r0", "r1"), "whole_term")
    (part,) = findings("y ~ x + (1 | g) + (x | g)", "duplicate_random_term")
    assert (part.payload["basis"], part.payload["extent"]) == (["(Intercept)"], "shared_columns")
    assert not findings("y ~ x + (1 | g) + (0 + x | g) + (1 | h)", "duplicate_random_term")


@pytest.mark.parametrize("second", ["(1 + x || g)", "diag(1 + x | g)"])
def test_one_covariance_asked_for_in_two_ways(second: str) -> None:
    (conflict,) = findings(f"y ~ x + (1 + x | g) + {second}", "conflicting_covariance")
    assert (conflict.severity, conflict.payload["basis"]) == ("error", ["(Intercept)", "x"])
    assert conflict.payload["families"] == ["full", "diagonal"]
    assert not findings(f"y ~ x + (1 + x | g) + {second}", "duplicate_random_term")


def test_slopes_without_an_intercept_anywhere_on_the_group() -> None:
    (alone,) = findings("y ~ x + (0 + x | g) + (1 | h)", "random_slope_without_intercept")
    assert (alone.affected_terms, alone.payload["group"], alone.payload["slopes"]) == (("r0",), "g", ["x"])
    assert not findings("y ~ x + (1 | g) + (0 + x | g)", "random_slope_without_intercept")
    assert not findings("y ~ x + (0 + f | g)", "random_slope_without_intercept")
    (split,) = findings("y ~ x + (0 + x + z || g)", "random_slope_without_intercept")
    assert split.affected_terms == ("r0", "r1")


def test_products_of_groups() -> None:
    (crossing,) = findings("y ~ x + (1 | a*h)", "crossing_likely_unintended")
    assert (crossing.payload["parts"], crossing.payload["groups"]) == (["a", "h"], ["a", "h", "a:h"])
    assert not findings("y ~ x + (1 | a/h)", "crossing_likely_unintended")


@pytest.mark.parametrize(
    ("bar", "kinds"),
    [
        ("(1 | a/h)", {"nested": "(1 | a) + (1 | a:h)"}),
        ("(1 | a*h)", {"crossed_with_cell": "(1 | a) + (1 | h) + (1 | a:h)"}),
        ("(x || g)", {"double_bar": "(1 | g) + (0 + x | g)"}),
        ("(x || a/h)", {"nested": "(1 + x || a) + (1 + x || a:h)",
                        "double_bar": "(1 | a) + (0 + x | a) + (1 | a:h) + (0 + x | a:h)"}),
        ("(1 || g)", {}),
        ("(1 + x | g)", {}),
    ],
)
def test_bars_that_stand_for_several_terms(bar: str, kinds: dict[str, str]) -> None:
    found = findings(f"y ~ x + {bar}", "syntax_expansion")
    assert {f.payload["expansion_kind"]: f.payload["canonical"] for f in found} == kinds
    assert all(f.payload["written"] == bar for f in found)


def test_what_was_rewritten() -> None:
    def rewritten(formula: str) -> dict[str, tuple[str, str]]:
        found = findings(formula, "formula_canonicalized")
        return {f.payload["part"]: (f.payload["written"], f.payload["canonical"]) for f in found if "written" in f.payload}

    assert rewritten("y ~ 1 + x + (1 + x | g)") == rewritten("y~x+( 1+x|g )") == {}
    assert rewritten("y ~ x + us(x|g)") == {"random_term": ("us(x|g)", "(1 + x | g)")}
    assert rewritten("y ~ x*z + (1 | g)") == {"fixed_effects": ("x * z", "1 + x + z + x:z")}
    assert rewritten("y ~ x - 1 + (1 | g)") == {"fixed_effects": ("x - 1", "0 + x")}


def test_effects_that_are_several_columns() -> None:
    contrasts, indicators, basis = (
        findings(f"y ~ x + {bar}", "formula_canonicalized")[-1].payload
        for bar in ("(1 + f | g)", "(0 + f | g)", "(1 + poly(x, 2) | g)")
    )
    assert (contrasts["semantic_basis"], contrasts["expanded_basis"], contrasts["basis_coding"]) == (
        ["f"], ["ff1", "ff2"], "treatment")
    assert (indicators["expanded_basis"], indicators["basis_coding"]) == (["ff0", "ff1", "ff2"], "indicator")
    assert (basis["expanded_basis"], basis["basis_coding"]) == (["poly(x, 2)1", "poly(x, 2)2"], "numeric")
    sums = findings("y ~ x + (1 + f | g)", "formula_canonicalized", contrasts={"f": "sum"})[-1].payload
    assert sums["basis_coding"] == "sum"


def test_notes_on_the_data_become_findings() -> None:
    enum = DATA.with_columns(pl.col("h").cast(pl.Enum([*(f"h{i}" for i in range(10)), "none"])))
    holes = enum.with_columns(pl.when(pl.arange(0, 240) < 7).then(None).otherwise(pl.col("x") * 1e6).alias("x"))
    found = {
        f.code: f
        for code in ("grouping_coercion", "unused_levels", "rows_omitted", "predictor_scales")
        for f in findings("y ~ x + z + (1 | number) + (1 | h)", code, frame=holes, na_action="omit")
    }
    assert found["grouping_coercion"].payload == {"column": "number", "kind": "numeric", "n_levels": 5}
    assert found["unused_levels"].payload == {"column": "h", "levels": ["none"]}
    assert found["rows_omitted"].affected_terms == ()
    assert set(found["predictor_scales"].payload["standard_deviations"]) == {"x", "z"}
    assert {f.severity for f in found.values()} == {"info"}


def test_pedagogical_formula() -> None:
    """Eight rows and six random terms: what is expanded, assumed, repeated and perhaps not meant, all at once."""
    frame = pl.DataFrame(
        {
            "y": [1.0, 2.0, 4.0, 3.0, 5.5, 6.0, 4.5, 7.0],
            "x": [0.0, 1.0, 2.0, 3.0, 0.5, 1.5, 2.5, 3.5],
            "s": ["s1", "s1", "s2", "s2", "s3", "s3", "s1", "s2"],
            "i": ["i1", "i2", "i1", "i2", "i1", "i2", "i2", "i1"],
            "a": ["a1", "a1", "a1", "a1", "a2", "a2", "a2", "a2"],
            "b": ["b1", "b2", "b1", "b2", "b1", "b2", "b1", "b2"],
        }
    )
    model = compiled("y ~ x + (x || s) + (1 | i) + (1 | a/b) + (0 + x | i)", frame)
    semantic = semantic_model(model, {})
    assert [t.source_syntax.text for t in semantic.random_terms] == [
        "(1 | s)", "(0 + x | s)", "(1 | i)", "(1 | a)", "(1 | a:b)", "(0 + x | i)"]
    found = semantic_findings(model, semantic, ())
    assert [(f.payload["expansion_kind"], f.affected_terms) for f in found if f.code == "syntax_expansion"] == [
        ("double_bar", ("r0", "r1")), ("nested", ("r3", "r4"))]
    assumed = [(f.payload["reason"], f.affected_terms) for f in found if f.code == "covariance_assumption"]
    assert ("double_bar_syntax", ("r0", "r1")) in assumed
    assert ("separate_random_effect_blocks", ("r2", "r5")) in assumed
    crossed = {terms for reason, terms in assumed if reason == "crossed_intercepts"}
    assert crossed == {("r0", "r2"), ("r0", "r3"), ("r0", "r4"), ("r2", "r3"), ("r2", "r4")}
    assert not {"random_slope_without_intercept", "duplicate_random_term", "conflicting_covariance"} & {f.code for f in found}


def test_findings_hold_no_prose() -> None:
    for finding in semantic_findings(model := compiled("y ~ x*z + (f || g) + (1 | a*h)"), semantic_model(model, {})):
        for key in ("reason", "expansion_kind", "extent", "part", "basis_coding"):
            assert re.fullmatch(r"[a-z_:]*", finding.payload.get(key, ""))


# Roles


def test_declared_roles_are_those_of_the_terms() -> None:
    def roles_of(formula: str, **declared: Any) -> list[str]:
        return [term.role for term in semantic_model(compiled(formula), mf.roles(**declared)).random_terms]

    assert roles_of("y ~ x + (1 | g) + (1 | h)", g="item") == ["item", "sampled_unit"]
    assert roles_of("y ~ x + (x || g)", g="site") == ["site", "site"]
    assert roles_of("y ~ x + (1 | a/h)", a="site", h="batch") == ["site", "batch"]
    assert roles_of("y ~ x + (1 | a:h)", a="site", h="batch") == ["sampled_unit"]
    assert roles_of("y ~ x + (1 | a:h)", **{"a:h": "block"}) == ["block"]
    assert roles_of("y ~ x + (1 | factor(number))", number="block") == ["block"]


def test_declared_records() -> None:
    records = declared_records(compiled("y ~ x + (1 | a/h)"), mf.roles(h="batch", x="treatment"))
    assert [(r.variable, r.role, r.origin, r.group) for r in records] == [
        ("h", "batch", "declared_by_user", "a:h"), ("x", "treatment", "declared_by_user", None)]


def test_roles_is_a_value() -> None:
    declared = mf.roles(g="item", h="site")
    assert dict(declared) == {"g": "item", "h": "site"}
    assert (declared, hash(declared), len(declared)) == (same := mf.roles(h="site", g="item"), hash(same), 2)
    assert repr(declared) == "roles(g='item', h='site')"
    with pytest.raises(TypeError):
        declared["g"] = "site"  # type: ignore[index]


@pytest.mark.parametrize(
    ("arguments", "error", "names"),
    [
        ({"roles": {"g": "person"}}, mf.errors.ArgumentError, "g"),
        ({"roles": {3: "item"}}, mf.errors.ArgumentError, "3"),
        ({"roles": "g"}, mf.errors.ArgumentError, "str"),
        ({"roles": {"gg": "item"}}, mf.errors.DataError, "gg"),
        ({"audit_columns": "h"}, mf.errors.ArgumentError, "h"),
        ({"audit_columns": [1]}, mf.errors.ArgumentError, "1"),
        ({"audit_columns": ["nowhere", "h"]}, mf.errors.ArgumentError, "nowhere"),
        ({"intent": "fishing"}, mf.errors.ArgumentError, "fishing"),
    ],
)
@pytest.mark.parametrize("kind", ["eager", "lazy", "pandas", "arrow"])
def test_refused_arguments(arguments: dict[str, Any], error: type[Exception], names: str, kind: str) -> None:
    given = {"eager": DATA, "lazy": DATA.lazy(), "pandas": DATA.to_pandas(), "arrow": DATA.to_arrow()}[kind]
    with pytest.raises(error, match=names):
        mf.compile_model("y ~ x + (1 | g)", given, **arguments)


def test_a_role_that_is_no_role_names_its_variable() -> None:
    with pytest.raises(mf.errors.ArgumentError, match="'g'") as refused:
        mf.roles(g="person")  # type: ignore[arg-type]
    assert refused.value.fields["role"] == "person"


def test_arguments_are_kept_and_updated() -> None:
    fit = mf.lmm("y ~ x + (1 | g)", DATA, roles={"g": "item"}, audit_columns=["h"], intent="exploratory")
    call = fit.call
    assert (dict(call.roles), call.audit_columns, call.intent) == ({"g": "item"}, ("h",), "exploratory")
    again = fit.update(intent="predictive", roles=None, audit_columns=("a", "h")).call
    assert (dict(again.roles), again.audit_columns, again.intent) == ({}, ("a", "h"), "predictive")
    kept = fit.update(". ~ . + z").call
    assert (kept.roles, kept.audit_columns, kept.intent) == (call.roles, call.audit_columns, call.intent)
    assert fit.refit(DATA["y"].to_numpy() + 1.0).call.intent == "exploratory"
    with pytest.raises(mf.errors.ArgumentError, match="intent"):
        fit.update(intent="none")


def test_roles_and_columns_of_lazy_data_need_not_be_in_the_model() -> None:
    spec = mf.compile_model("y ~ x + (1 | g)", DATA.lazy(), roles={"h": "item"}, audit_columns=["h", "a"])
    assert (dict(spec.call.roles), spec.call.audit_columns) == ({"h": "item"}, ("h", "a"))
