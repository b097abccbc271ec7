"""The design audit against dense arithmetic, against what the fit does, and on designs that are known to be wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixeff_fast as mf
from mixeff_fast.compile import design_budget, design_columns, design_fixed, design_random, lay_out
from mixeff_fast.compile.aliasing import ALIAS_TOLERANCE
from mixeff_fast.compile.design import design_audit, examined_columns
from mixeff_fast.compile.design_levels import Grouped, grouped
from mixeff_fast.errors import DataError, RankNotice
from mixeff_fast.formula import model_formula
from mixeff_fast.frame import build_frame
from mixeff_fast.models import statistics as door
from mixeff_fast.schemas.design import DesignAudit, RandomTermAudit
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import Thresholds

Floats = NDArray[np.float64]
THRESHOLDS = Thresholds()


def audit(
    formula: str, data: Any, *, roles: Mapping[str, str] | None = None, audit_columns: list[str] | None = None,
    thresholds: Thresholds = THRESHOLDS, **arguments: Any
) -> tuple[DesignAudit, tuple[Finding, ...]]:
    frame = build_frame(data, model_formula(formula), **arguments)
    columns = examined_columns(data, frame, audit_columns)
    return design_audit(lay_out(frame), columns, roles or {}, thresholds)


def codes(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.code for finding in findings]


def payload(findings: tuple[Finding, ...], code: str) -> dict[str, Any]:
    found = [finding.payload for finding in findings if finding.code == code]
    assert len(found) == 1
    return found[0]


def balanced(levels: int, rows: int, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(1)
    n = levels * rows
    data = {"y": rng.normal(size=n), "x": rng.normal(size=n), "g": np.repeat([f"g{i:04}" for i in range(levels)], rows)}
    return pl.DataFrame(data | columns)


def missing(found: DesignAudit) -> list[str]:
    return [path.unit for path in found.covariance_kernels.missing_dependence_paths]


class TestFixedEffects:
    def test_rank_and_aliased_columns_are_those_of_the_fit(self) -> None:
        data = balanced(10, 6).with_columns(
            a=pl.Series(["u", "v", "w"] * 20), x2=3.0 * pl.col("x") - 1.0, constant=pl.lit(2.5),
            almost=pl.col("x") + 1e-9 * pl.Series(np.random.default_rng(3).normal(size=60)),
            near=pl.col("x") + 1e-4 * pl.Series(np.random.default_rng(4).normal(size=60)),
        )
        formula = "y ~ x + x2 + constant + a + almost + near + a:constant + (1 | g)"
        found, findings = audit(formula, data)
        with pytest.warns(RankNotice):
            fit = mf.lmm(formula, data)
        aliased = [name for name, value in zip(fit.spec.compiled.fixed.names, fit.beta, strict=True) if np.isnan(value)]
        assert list(found.fixed_effects.aliased_columns) == aliased
        assert [column.name for column in found.fixed_effects.columns if column.aliased] == aliased
        assert {"x2", "constant", "almost"} < set(aliased)
        assert "near" not in aliased
        assert found.fixed_effects.rank.rank == found.fixed_effects.n_columns - len(aliased)
        assert THRESHOLDS.rank_tolerance == ALIAS_TOLERANCE
        first = next(finding for finding in findings if finding.code == "fixed_effect_rank_deficient")
        assert first.payload == {
            "rank": found.fixed_effects.rank.rank, "requested_columns": found.fixed_effects.n_columns,
            "aliased_columns": aliased,
        }

    @given(scale=st.floats(1e-6, 1e6), shift=st.floats(-1e3, 1e3), weighted=st.booleans())
    def test_units_of_a_predictor_do_not_matter(self, scale: float, shift: float, weighted: bool) -> None:
        data = balanced(8, 5).with_columns(z=pl.col("y") * 0.0 + pl.col("x").shuffle(1), w=1.0 + pl.col("x") ** 2)
        moved = data.with_columns(x=pl.col("x") * scale + shift)
        formula = "y ~ x + z + I(2 * x - z) + (1 + x | g)"
        weights = "w" if weighted else None
        one, two = audit(formula, data, weights=weights), audit(formula, moved, weights=weights)
        assert one[0].fixed_effects.aliased_columns == two[0].fixed_effects.aliased_columns == ("I(2 * x - z)",)
        assert codes(one[1]) == codes(two[1])
        budgets = [found.random_terms[0].information_budget for found, _ in (one, two)]
        assert budgets[0].status == budgets[1].status
        assert budgets[0].expected_standard_error == pytest.approx(budgets[1].expected_standard_error, rel=1e-6)

    def test_terms_columns_and_codings(self) -> None:
        data = balanced(6, 6).with_columns(
            a=pl.Series(["u", "v", "w"] * 12), t=pl.Series(["low", "mid", "top"] * 12, dtype=pl.Enum(["low", "mid", "top"]))
        )
        found, _ = audit("y ~ a + t + a:x + (1 | g)", data, contrasts={"t": "poly"})
        fixed = found.fixed_effects
        assert [(term.term, term.status) for term in fixed.terms] == [
            ("1", "estimable"), ("a", "estimable"), ("t", "not_estimable"), ("a:x", "estimable"),
        ]
        kinds = {column.source_term: column.kind for column in fixed.columns}
        assert kinds == {"1": "intercept", "a": "categorical_dummy", "t": "categorical_contrast", "a:x": "interaction"}
        by_source = {(basis.variable, basis.source): basis for basis in fixed.contrast_bases}
        poly = by_source["t", "poly"]
        assert poly.levels == ("low", "mid", "top")
        assert poly.column_names == ("t.L", "t.Q")
        assert poly.ordered
        assert poly.explicit
        np.testing.assert_allclose(np.array(poly.matrix).T @ np.array(poly.matrix), np.eye(2), atol=1e-12)
        assert by_source["a", "treatment"].matrix == ((0.0, 0.0), (1.0, 0.0), (0.0, 1.0))
        assert by_source["a", "indicator"].matrix[0] == (1.0, 0.0, 0.0)

    def test_a_term_may_be_estimable_in_part(self) -> None:
        data = balanced(6, 6).with_columns(a=pl.Series(["u", "v", "w"] * 12))
        found, findings = audit("y ~ I(1.0 * (x > 0)) + a + (1 | g)".replace("I(1.0 * (x > 0))", "v"),
                                data.with_columns(v=(pl.col("a") == "v").cast(pl.Float64)))
        term = found.fixed_effects.terms[2]
        assert (term.term, term.status, term.aliased_columns) == ("a", "partially_estimable", ("av",))
        own = [finding for finding in findings if finding.stage == "estimability"]
        assert [(finding.affected_terms, finding.payload["status"]) for finding in own] == [(("a",), "partially_estimable")]

    def test_cells_without_rows_are_counted_and_some_listed(self) -> None:
        a = np.array([f"a{i:02}" for i in range(12)])
        rng = np.random.default_rng(0)
        left, right = rng.integers(0, 12, 100), rng.integers(0, 12, 100)
        left[:12] = right[:12] = np.arange(12)
        data = pl.DataFrame({"y": rng.normal(size=100), "a": a[left], "b": a[right], "g": a[rng.integers(0, 12, 100)]})
        found, findings = audit("y ~ a * b + (1 | g)", data)
        met = set(zip(left.tolist(), right.tolist(), strict=True))
        assert found.fixed_effects.n_empty_cells == 144 - len(met)
        assert len(found.fixed_effects.empty_cells) == min(50, 144 - len(met)) == 50
        empty = [(int(cell.levels[0][1:]), int(cell.levels[1][1:])) for cell in found.fixed_effects.empty_cells]
        assert not met & set(empty)
        assert len(set(empty)) == 50
        facts = payload(findings, "fixed_effect_empty_cell")
        assert (facts["n_empty_cells"], facts["factors"]) == (144 - len(met), ["a", "b"])

    def test_too_many_cells_are_not_counted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(design_fixed, "_MOST_CELLS", 5)
        data = balanced(6, 6).with_columns(a=pl.Series(["u", "v", "w"] * 12), b=pl.Series(["p", "p", "q", "q"] * 9))
        found, findings = audit("y ~ a * b + (1 | g)", data)
        assert found.fixed_effects.n_empty_cells == 0
        assert [f.payload["term"] for f in findings if f.payload.get("reason") == "cells_not_counted"] == ["a:b"]

    def test_a_factor_both_fixed_and_random(self) -> None:
        rng = np.random.default_rng(0)
        data = pl.DataFrame({"y": rng.normal(size=12), "subject": np.repeat(list("abcdef"), 2)})
        _, findings = audit("y ~ subject + (1 | subject)", data)
        facts = payload(findings, "fixed_random_redundant")
        assert (facts["group"], facts["fixed_term"], facts["n_levels"]) == ("subject", "subject", 6)
        assert "fixed_random_redundant" not in codes(audit("y ~ 1 + (1 | subject)", data)[1])

    def test_scope_note_where_a_predictor_varies_and_has_no_slope(self) -> None:
        data = balanced(8, 5).with_columns(between=pl.col("x").mean().over("g"))
        _, findings = audit("y ~ x + between + (1 | g)", data)
        facts = payload(findings, "scope_note")
        assert (facts["fixed_effect"], facts["group"], facts["varies_within_group"]) == ("x", "g", True)
        assert "scope_note" not in codes(audit("y ~ x + between + (1 + x | g)", data)[1])


def dense_spread(data: pl.DataFrame, column: str) -> Floats:
    groups = data.group_by("g", maintain_order=True).agg(pl.col(column))
    return np.array([np.std(values, ddof=1) for values in groups[column].to_list() if len(values) > 1])


class TestRandomTerms:
    def test_rows_per_level(self) -> None:
        data = balanced(4, 6)[np.r_[0:24, 0, 1, 6, 7, 7]]
        group = audit("y ~ x + (1 | g)", data)[0].random_terms[0].group
        assert (group.n_levels, group.min_obs_per_level, group.median_obs_per_level, group.max_obs_per_level) == (4, 6, 7.0, 9)
        data = balanced(4, 6)[np.r_[0:24, 0]]
        assert audit("y ~ x + (1 | g)", data[:-2])[0].random_terms[0].group.median_obs_per_level == 6.0
        data = balanced(2, 3)[:5]
        assert audit("y ~ 1 + (1 | g)", data)[0].random_terms[0].group.median_obs_per_level == 2.5

    @pytest.mark.parametrize("wide", [False, True])
    def test_spread_within_levels(self, wide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
        if wide:
            monkeypatch.setattr(design_random, "_LEVEL_NUMBERS", 1)
        rng = np.random.default_rng(5)
        data = balanced(30, 7).with_columns(
            x=1e6 + pl.col("x"), z=pl.col("x") ** 2, a=pl.Series(rng.choice(["u", "v", "w"], 210))
        ).sample(150, seed=2)
        found = audit("y ~ x + (1 + x + z + a | g)", data)[0].random_terms[0]
        assert [basis.kind for basis in found.basis] == [
            "intercept", "slope", "slope", "categorical_dummy", "categorical_dummy",
        ]
        full = data.with_columns(av=(pl.col("a") == "v").cast(pl.Float64), aw=(pl.col("a") == "w").cast(pl.Float64))
        for basis in found.basis[1:]:
            expected = dense_spread(full, basis.name)
            assert basis.min_within_group_sd == pytest.approx(expected.min(), rel=1e-8, abs=1e-12)
            assert basis.max_within_group_sd == pytest.approx(expected.max(), rel=1e-8)
            assert basis.levels_with_variation == np.count_nonzero(expected > 0)
        assert found.basis[0].max_within_group_sd is None

    @pytest.mark.parametrize(("term", "kind"), [
        ("(0 + a | g)", "categorical_cell"), ("(1 + a:x | g)", "interaction"), ("(0 + x | g)", "slope"),
    ])
    def test_kinds_of_columns(self, term: str, kind: str) -> None:
        data = balanced(9, 6).with_columns(a=pl.Series(["u", "v"] * 27))
        assert audit(f"y ~ x + {term}", data)[0].random_terms[0].basis[-1].kind == kind
        sums = audit("y ~ x + (a | g)", data, contrasts={"a": "sum"})[0].random_terms[0].basis[-1]
        assert sums.kind == "categorical_contrast"

    @pytest.mark.parametrize("offset", [0.0, 1e9])
    def test_a_slope_without_variation_within_levels(self, offset: float) -> None:
        data = balanced(9, 6).with_columns(w=pl.col("x").mean().over("g") + offset)
        found, findings = audit("y ~ x + (1 + w | g)", data)
        basis = found.random_terms[0].basis[1]
        assert (basis.supported, basis.max_within_group_sd, basis.levels_with_variation) == (False, 0.0, 0)
        assert payload(findings, "structural_refusal")["basis"] == "w"
        assert payload(findings, "random_slope_unsupported")["reason"] == "constant_within_levels"
        # what does vary is judged by itself
        alone = audit("y ~ x + (1 | g)", data)[0].random_terms[0].information_budget
        budget = found.random_terms[0].information_budget
        assert (budget.status, budget.expected_standard_error) == ("sufficient", alone.expected_standard_error)
        assert audit("y ~ x + (0 + w | g)", data)[0].random_terms[0].information_budget.reason == "unsupported_basis"

    def test_the_threshold_of_variation_is_relative(self) -> None:
        rng = np.random.default_rng(2)
        data = balanced(9, 6).with_columns(w=1e5 * (pl.col("x").mean().over("g") + 1e-10 * pl.Series(rng.normal(size=54))))
        assert audit("y ~ x + (1 + w | g)", data)[0].random_terms[0].basis[1].supported is False
        loose = THRESHOLDS.model_copy(update={"min_within_group_sd": 1e-12})
        assert audit("y ~ x + (1 + w | g)", data, thresholds=loose)[0].random_terms[0].basis[1].supported is True

    def test_one_row_per_level(self) -> None:
        data = balanced(12, 1)
        found, findings = audit("y ~ x + (1 + x | g)", data)
        assert found.random_terms[0].basis[1].reason == "no_repeated_levels"
        budget = found.random_terms[0].information_budget
        assert (budget.status, budget.row_saturated, budget.reason) == ("too_rich", True, "row_saturated")
        assert "random_slope_unsupported" in codes(findings)


def brute_force_error(blocks: list[Floats], family: str) -> float | None:
    """The definition, from whole matrices: Fisher information by the trace formula with V and its derivatives."""
    d, n = blocks[0].shape[1], sum(map(len, blocks))
    pooled = sum(z.T @ z for z in blocks) / n
    if family == "full":
        turn = np.linalg.inv(np.linalg.cholesky(pooled)).T
    else:
        turn = np.diag(1.0 / np.sqrt(np.diag(pooled)))
    pairs = [(a, b) for a in range(d) for b in range(a + 1) if a == b or family == "full"]
    bases = []
    for a, b in pairs:
        basis = np.zeros((d, d))
        basis[a, b] = basis[b, a] = 1.0
        bases.append(basis)
    information = np.zeros((len(pairs) + 1, len(pairs) + 1))
    for z in (block @ turn for block in blocks):
        v = np.eye(len(z)) + z @ z.T
        inverse = np.linalg.inv(v)
        slopes = [inverse @ z @ basis @ z.T for basis in bases] + [np.eye(len(z))]
        information += 0.5 * np.array([[np.trace(one @ two) for two in slopes] for one in slopes])
    information *= (len(blocks) - 1) / len(blocks)
    if np.linalg.matrix_rank(information, tol=1e-8) < len(information):
        return None
    covariance = np.linalg.inv(information)[:-1, :-1]
    # the error of T v for a unit v, on average over draws of the estimate's errors
    rng = np.random.default_rng(0)
    draws = rng.multivariate_normal(np.zeros(len(pairs)), covariance, 200_000, method="cholesky")
    errors = np.einsum("rk,kab->rab", draws, np.array(bases))
    mean = np.einsum("rab,rbc->ac", errors, errors) / len(errors)
    return float(0.5 * np.sqrt(np.linalg.eigvalsh(mean)[-1]))


class TestInformationBudget:
    @pytest.mark.parametrize(("term", "family"), [
        ("(1 | g)", "scalar"), ("(0 + x | g)", "scalar"), ("(1 + x | g)", "full"), ("(0 + x + z | g)", "full"),
        ("diag(1 + x | g)", "diagonal"), ("(1 + x + z | g)", "full"),
    ])
    def test_against_the_definition(self, term: str, family: str) -> None:
        data = balanced(11, 6, z=np.random.default_rng(8).normal(2.0, 3.0, 66)).sample(55, seed=1)
        budget = audit(f"y ~ x + {term}", data)[0].random_terms[0].information_budget
        design = lay_out(build_frame(data, model_formula(f"y ~ x + {term}"))).blocks[0].design
        frame = build_frame(data, model_formula(f"y ~ x + {term}"))
        z = design.matrix(frame.variables, frame.n)
        if family == "full" and term.startswith("(1"):
            z[:, 1:] -= z[:, 1:].mean(axis=0)
        levels = frame.groups["g"].codes
        expected = brute_force_error([z[levels == j] for j in range(11)], family)
        assert budget.covariance_family == family
        assert budget.expected_standard_error == pytest.approx(expected, rel=5e-3)

    def test_a_sample_of_levels_stands_for_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        data = balanced(2000, 4, z=np.random.default_rng(8).normal(size=8000))
        whole = audit("y ~ x + (1 + x + z | g)", data)[0].random_terms[0].information_budget.expected_standard_error
        for name, value in (("_WORK", 3e4), ("_CHUNK", 500)):
            monkeypatch.setattr(design_budget, name, value)
        part = audit("y ~ x + (1 + x + z | g)", data)[0].random_terms[0].information_budget.expected_standard_error
        monkeypatch.setattr(design_random, "_LEVEL_NUMBERS", 1)
        apart = audit("y ~ x + (1 + x + z | g)", data)[0].random_terms[0].information_budget.expected_standard_error
        assert whole is not None
        assert len({whole, part, apart}) == 3
        assert part == pytest.approx(whole, rel=0.05)
        assert apart == pytest.approx(whole, rel=0.05)

    def test_a_basis_too_wide_is_not_assessed(self) -> None:
        narrow = THRESHOLDS.model_copy(update={"max_assessed_basis": 1})
        found, findings = audit("y ~ x + (1 + x | g)", balanced(20, 9), thresholds=narrow)
        assert found.random_terms[0].information_budget.status == "not_assessable"
        assert payload(findings, "support_note")["reason"] == "basis_too_wide"

    @pytest.mark.parametrize(("levels", "rows", "term", "status"), [
        (24, 6, "(1 | g)", "sufficient"),
        (6, 24, "(1 | g)", "sufficient"),
        (5, 3, "(1 | g)", "weakly_supported"),
        (4, 50, "(1 | g)", "weakly_supported"),
        (10, 10, "(1 + x | g)", "sufficient"),
        (12, 3, "(1 + x | g)", "weakly_supported"),
        (10, 4, "(1 + x | g)", "weakly_supported"),
        (6, 3, "(1 + x | g)", "too_rich"),
        (6, 2, "(1 + x | g)", "too_rich"),
        (10, 40, "(1 + x + z1 + z2 + z3 + z4 + z5 + z6 | g)", "too_rich"),
        (30, 6, "(1 + x | g)", "sufficient"),
    ])
    def test_verdicts(self, levels: int, rows: int, term: str, status: str) -> None:
        rng = np.random.default_rng(0)
        data = balanced(levels, rows, **{f"z{i}": rng.normal(size=levels * rows) for i in range(1, 7)})
        assert audit(f"y ~ x + {term}", data)[0].random_terms[0].information_budget.status == status

    def test_sleepstudy_and_penicillin(self) -> None:
        found = audit("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        assert found[0].random_terms[0].information_budget.status == "sufficient"
        assert codes(found[1]) == []
        found = audit("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("Penicillin"))
        assert [term.information_budget.status for term in found[0].random_terms] == ["sufficient", "sufficient"]

    def test_rows_per_level_count(self) -> None:
        budgets = [
            audit("y ~ x + (1 + x | g)", balanced(10, rows))[0].random_terms[0].information_budget for rows in (3, 10, 50)
        ]
        errors = [budget.expected_standard_error or np.nan for budget in budgets]
        assert errors[0] > errors[1] > errors[2]
        assert errors[2] == pytest.approx(0.5 * np.sqrt(3.0 / 9.0), rel=0.05)

    def test_as_many_effects_as_rows(self) -> None:
        data = balanced(40, 3).with_columns(c=pl.Series(["p", "q", "r"] * 40))
        found, findings = audit("y ~ c + (c | g)", data)
        budget = found.random_terms[0].information_budget
        assert (budget.status, budget.row_saturated, budget.requested_covariance_parameters) == ("too_rich", True, 6)
        assert budget.expected_standard_error is None
        assert payload(findings, "covariance_too_rich")["row_saturated"] is True
        assert found.random_terms[0].basis[1].kind == "categorical_dummy"

    def test_too_rich_names_what_it_could_be_reduced_to(self) -> None:
        found, findings = audit("y ~ x + (1 + x | g)", balanced(6, 3))
        facts = payload(findings, "covariance_too_rich")
        assert (facts["status"], facts["reduced_covariance"]) == ("too_rich", "(1 + x || g)")
        assert found.random_terms[0].information_budget.diagonal_status == "weakly_supported"
        weak = audit("y ~ x + (1 + x | g)", balanced(12, 3))[1]
        assert [(f.severity, f.payload["status"]) for f in weak if f.code == "covariance_too_rich"] == [
            ("info", "weakly_supported")
        ]

    @pytest.mark.parametrize(("levels", "few"), [(2, True), (4, True), (5, False), (6, False)])
    def test_few_levels_are_reported(self, levels: int, few: bool) -> None:
        found, findings = audit("y ~ x + (1 | g)", balanced(levels, 40))
        assert ("random_effect_few_levels" in codes(findings)) is few
        assert found.random_terms[0].information_budget.status == ("weakly_supported" if few else "sufficient")

    def test_a_weakly_supported_variance_is_noted(self) -> None:
        facts = payload(audit("y ~ x + (1 | g)", balanced(5, 3))[1], "support_note")
        assert facts["reason"] == "weak_information_budget"

    def test_columns_that_are_combinations_of_each_other(self) -> None:
        data = balanced(20, 9).with_columns(z=2.0 * pl.col("x") + 1.0)
        budget = audit("y ~ x + (1 + x + z | g)", data)[0].random_terms[0].information_budget
        assert (budget.status, budget.reason) == ("too_rich", "collinear_basis")

    def test_thresholds_decide(self) -> None:
        strict = THRESHOLDS.model_copy(update={"sufficient_expected_standard_error": 0.1, "weak_expected_standard_error": 0.2})
        data = mf.datasets.load("sleepstudy")
        found = audit("Reaction ~ Days + (Days | Subject)", data, thresholds=strict)[0]
        assert found.random_terms[0].information_budget.status == "too_rich"
        assert found.random_terms[0].information_budget.effective_n.total_rows_can_mislead
        patient = strict.model_copy(update={"misleading_rows_per_parameter": 61.0})
        found = audit("Reaction ~ Days + (Days | Subject)", data, thresholds=patient)[0]
        assert not found.random_terms[0].information_budget.effective_n.total_rows_can_mislead
        singular = THRESHOLDS.model_copy(update={"singular_information": 0.9})
        found = audit("Reaction ~ Days + (Days | Subject)", data, thresholds=singular)[0]
        assert found.random_terms[0].information_budget.reason == "not_told_by_design"
        many = THRESHOLDS.model_copy(update={"min_levels_reliability": 30})
        assert "random_effect_few_levels" in codes(audit("Reaction ~ 1 + (1 | Subject)", data, thresholds=many)[1])

    def test_coding_of_a_factor_does_not_matter(self) -> None:
        data = balanced(12, 9).with_columns(a=pl.Series(["u", "v", "w"] * 36))
        errors = [
            audit("y ~ a + (a | g)", data, contrasts={"a": coding})[0].random_terms[0].information_budget
            for coding in ("treatment", "sum", "helmert")
        ]
        assert errors[0].expected_standard_error == pytest.approx(errors[1].expected_standard_error)
        assert errors[0].expected_standard_error == pytest.approx(errors[2].expected_standard_error)


class TestDependence:
    def test_thresholds_decide(self) -> None:
        rng = np.random.default_rng(3)
        data = balanced(20, 6).with_columns(
            k=pl.Series(rng.choice([f"m{i}" for i in range(30)], 120)), visit_id=pl.Series([0, 0, *range(1, 119)]),
            holds=pl.Series([f"h{i // 24}" for i in range(120)]),
        )
        assert missing(audit("y ~ x + (1 | g)", data)[0]) == ["k", "holds"]
        for name, value, expected in (
            ("min_levels_unnamed_unit", 31, ["holds"]), ("min_repeated_row_share", 0.01, ["k", "visit_id", "holds"]),
            ("min_levels_reliability", 6, ["k"]),
        ):
            changed = THRESHOLDS.model_copy(update={name: value})
            assert missing(audit("y ~ x + (1 | g)", data, thresholds=changed)[0]) == expected

    def test_kernels(self) -> None:
        data = balanced(8, 6).with_columns(a=pl.Series(["u", "v"] * 24))
        kernels = audit("y ~ x + (1 + x || g) + (0 + a | g)", data)[0].covariance_kernels.kernels
        assert [kernel.term_id for kernel in kernels] == ["r0", "r1", "r2"]
        # indicators of all levels contain the constant
        assert [kernel.has_intercept for kernel in kernels] == [True, False, True]
        assert kernels[2].expected_parameter_count == 3
        assert kernels[1].source_syntax == "(0 + x | g)"

    @pytest.mark.parametrize("formula", [
        "strength ~ 1 + (1 | batch/cask)", "strength ~ 1 + (1 | batch) + (1 | batch:cask)",
        "strength ~ 1 + (1 | batch) + (1 | sample)",
    ])
    def test_labels_that_mean_something_within_others_only(self, formula: str) -> None:
        found = audit(formula, mf.datasets.load("Pastes"))[0]
        assert missing(found) == []
        nesting = {(pair.inner, pair.outer): pair.labels_reused for pair in found.covariance_kernels.nesting}
        assert nesting["cask", "batch"] is True

    def test_units_of_the_data_that_the_model_leaves_out(self) -> None:
        data = mf.datasets.load("Pastes")
        assert missing(audit("strength ~ 1 + (1 | sample)", data)[0]) == ["batch"]
        assert missing(audit("strength ~ 1 + (1 | batch)", data)[0]) == ["sample"]
        found, findings = audit("strength ~ 1 + (1 | sample)", data)
        facts = payload(findings, "repeated_unit_unmodeled")
        assert (facts["unit"], facts["random_term"], facts["evidence"]) == ("batch", "(1 | batch)", "nested_structure")
        assert found.covariance_kernels.columns_examined == ("batch", "cask")

    def test_columns_in_view(self) -> None:
        data = mf.datasets.load("Pastes")
        assert missing(audit("strength ~ 1 + (1 | sample)", data.lazy())[0]) == []
        assert missing(audit("strength ~ 1 + (1 | sample)", data.lazy(), audit_columns=["batch"])[0]) == ["batch"]
        assert missing(audit("strength ~ 1 + (1 | sample)", data, audit_columns=["cask"])[0]) == ["cask"]
        assert missing(audit("strength ~ 1 + (1 | sample)", data.to_arrow())[0]) == ["batch"]
        assert missing(audit("strength ~ 1 + (1 | sample)", data.to_pandas())[0]) == ["batch"]
        with pytest.raises(DataError, match="nothing"):
            audit("strength ~ 1 + (1 | sample)", data, audit_columns=["nothing"])

    def test_rows_left_out_are_left_out_of_the_columns(self) -> None:
        data = balanced(12, 6).with_columns(site=pl.Series(["s1", "s2", "s3"]).repeat_by(24).explode())
        data = data.with_columns(site=pl.when(pl.col("x") > 0).then(pl.col("site")).otherwise(pl.lit("s9")))
        found = audit("y ~ x + (1 | g)", data, subset=pl.col("x") > 0)[0]
        unit = found.covariance_kernels.repeated_units[1]
        assert (unit.unit, unit.n_levels, unit.n_observations) == ("site", 3, data.filter(pl.col("x") > 0).height)
        data = data.with_columns(y=pl.when(pl.col("x") > 0).then(pl.col("y")))
        assert audit("y ~ x + (1 | g)", data, na_action="omit")[0].covariance_kernels.repeated_units[1].n_levels == 3

    @pytest.mark.parametrize(("name", "is_unit"), [
        ("site", True), ("school_id", True), ("RaterID", True), ("label", False), ("valid", False), ("x_1", False),
    ])
    def test_names(self, name: str, is_unit: bool) -> None:
        data = balanced(12, 6).with_columns(pl.Series(name, ["p", "q", "r"] * 24))
        found = audit("y ~ x + (1 | g)", data)[0]
        assert missing(found) == [name] * is_unit
        assert design_columns.has_unit_name(name) is is_unit
        assert found.covariance_kernels.columns_examined == (name,)

    def test_numbers_need_a_name(self) -> None:
        data = balanced(12, 6)
        numbers = pl.Series("k", [1, 2, 3] * 24)
        assert missing(audit("y ~ x + (1 | g)", data.with_columns(age=numbers))[0]) == []
        assert missing(audit("y ~ x + (1 | g)", data.with_columns(rater_id=numbers))[0]) == ["rater_id"]
        assert missing(audit("y ~ x + (1 | g)", data.with_columns(rater_id=numbers.cast(pl.Float64)))[0]) == ["rater_id"]
        assert missing(audit("y ~ x + (1 | g)", data.with_columns(row_id=pl.Series(range(72))))[0]) == []

    def test_structure_without_a_name(self) -> None:
        rng = np.random.default_rng(3)
        data = balanced(20, 6)
        holds = pl.Series("k", [f"k{i // 24}" for i in range(120)])
        held = pl.Series("k", [f"k{i // 2:02}" for i in range(120)])
        crossed = pl.Series("k", rng.choice(["p", "q", "r", "s", "t", "u"], 120))
        many = pl.Series("k", rng.choice([f"m{i}" for i in range(30)], 120))
        few = pl.Series("k", [f"k{i // 60}" for i in range(120)])

        def evidence(column: pl.Series) -> list[str]:
            found = audit("y ~ x + (1 | g)", data.with_columns(column))[0].covariance_kernels
            return [unit.evidence for unit in found.repeated_units if unit.unit == "k"]

        assert evidence(holds) == evidence(held) == ["nested_structure"]
        assert evidence(many) == ["many_levels"]
        assert evidence(crossed) == evidence(few) == []
        covariate = pl.Series(np.repeat(rng.normal(size=6), 20))
        found = audit("y ~ z + (1 | g)", data.with_columns(pl.Series("k", np.repeat(list("abcdefghijkl"), 10)), z=covariate))[0]
        assert [unit.evidence for unit in found.covariance_kernels.repeated_units][1:] == ["nested_structure"]

    def test_other_names_of_a_group_are_covered(self) -> None:
        data = balanced(20, 6).with_columns(subject=pl.col("g").str.replace("g", "s"))
        assert missing(audit("y ~ x + (1 | g)", data)[0]) == []

    def test_functions_of_fixed_factors_are_no_units(self) -> None:
        data = balanced(20, 6).with_columns(treat=pl.Series(["p", "q", "r"] * 40), dose=pl.Series(["l", "h"] * 60))
        data = data.with_columns(
            batch=pl.col("treat").replace({"p": "b1", "q": "b2", "r": "b2"}), plot=pl.col("treat") + pl.col("dose")
        )
        assert missing(audit("y ~ treat + (1 | g)", data)[0]) == ["plot"]
        assert missing(audit("y ~ treat * dose + (1 | g)", data)[0]) == []
        assert missing(audit("y ~ treat + (1 | g:batch)", data)[0]) == ["g", "plot"]

    def test_a_term_without_an_intercept_covers_nothing(self) -> None:
        found, findings = audit("y ~ x + (0 + x | g)", balanced(20, 6))
        assert missing(found) == ["g"]
        assert payload(findings, "repeated_unit_unmodeled")["reason"] == "terms_without_intercept"
        assert missing(audit("y ~ x + (0 + x | g) + (1 | g)", balanced(20, 6))[0]) == []

    def test_parts_of_cells(self) -> None:
        rng = np.random.default_rng(0)
        data = pl.DataFrame({"y": rng.normal(size=96), "a": np.repeat(list("abcdefgh"), 12), "b": ["p", "q", "r", "s"] * 24})
        assert missing(audit("y ~ 1 + (1 | a:b)", data)[0]) == ["a", "b"]
        assert missing(audit("y ~ b + (1 | a:b)", data)[0]) == ["a"]
        assert missing(audit("y ~ 1 + (1 | a/b)", data)[0]) == []
        apart = data.with_columns(b=pl.col("a") + pl.col("b"))
        found = audit("y ~ 1 + (1 | a:b)", apart)[0]
        assert missing(found) == ["a"]
        nesting = [(pair.inner, pair.outer, pair.labels_reused) for pair in found.covariance_kernels.nesting]
        assert nesting == [("b", "a", False)]
        three = apart.with_columns(c=pl.Series(["u", "v", "w"] * 32))
        assert missing(audit("y ~ 1 + (1 | a/b/c)", three)[0]) == []

    def test_declared_roles(self) -> None:
        data = balanced(20, 6).with_columns(age=pl.Series([30, 40, 50, 60] * 30), site=pl.Series(["p", "q", "r"] * 40))
        assert missing(audit("y ~ x + (1 | g)", data)[0]) == ["site"]
        assert missing(audit("y ~ x + (1 | g)", data, roles={"site": "treatment"})[0]) == []
        found = audit("y ~ x + (1 | g)", data, roles={"age": "batch"})[0]
        assert missing(found) == ["age", "site"]
        assert found.covariance_kernels.repeated_units[1].evidence == "declared_role"
        assert missing(audit("y ~ x + (1 | g)", data, roles={"age:site": "block", "site": "treatment"})[0]) == ["age:site"]
        assert missing(audit("y ~ x + site + (1 | g)", data, roles={"site": "site"})[0]) == []
        assert missing(audit("y ~ x + (1 | g)", data, roles={"absent": "site"})[0]) == ["site"]

    def test_missing_values_of_a_column_are_a_level(self) -> None:
        data = balanced(20, 6).with_columns(site=pl.Series(["p", "q", None] * 40), item_id=pl.Series([1, None, 2] * 40))
        data = data.with_columns(
            item_id=pl.col("item_id").shuffle(1), lot=pl.col("item_id").shuffle(2).cast(pl.Float64).fill_null(float("nan")),
            list_id=pl.Series([[1]] * 120),
        )
        found = audit("y ~ x + (1 | g)", data, roles={"list_id": "item"})[0]
        units = {unit.unit: unit.n_levels for unit in found.covariance_kernels.repeated_units}
        assert units == {"g": 20, "site": 3, "item_id": 3, "lot": 3}

    def test_names_are_quoted_in_terms(self) -> None:
        data = balanced(20, 6).with_columns(pl.Series("field site", ["p", "q", "r"] * 40))
        found = audit("y ~ x + (1 | g)", data)[0]
        assert found.covariance_kernels.missing_dependence_paths[0].random_term == "(1 | `field site`)"

    def test_members_numbered_anew_in_each_group(self) -> None:
        firm, person = np.repeat([f"f{i}" for i in range(8)], 20), np.tile(np.repeat([f"p{i}" for i in range(5)], 4), 8)
        data = pl.DataFrame({"y": np.random.default_rng(0).normal(size=160), "firm": firm, "person": person})
        path = audit("y ~ 1 + (1 | firm)", data)[0].covariance_kernels.missing_dependence_paths[0]
        assert (path.unit, path.n_levels, path.path, path.random_term) == ("firm:person", 40, "cell", "(1 | firm:person)")
        # what crosses the groups by its nature, and members without repeated rows, are not taken for that
        assert missing(audit("y ~ 1 + (1 | firm)", data.rename({"person": "rater"}))[0]) == ["rater"]
        assert missing(audit("y ~ 1 + (1 | firm)", data[::4])[0]) == ["person"]
        assert missing(audit("y ~ 1 + (1 | person)", data)[0]) == ["firm"]

    def test_many_rows_are_screened_by_a_sample(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(design_columns, "_SAMPLE_ROWS", 50)
        coded: list[int] = []

        def counted(codes: NDArray[np.int32], n_levels: int) -> Grouped:
            coded.append(len(codes))
            return grouped(codes, n_levels)

        monkeypatch.setattr(design_columns, "grouped", counted)
        data = balanced(500, 6).with_columns(
            k=pl.Series([f"k{i // 300}" for i in range(3000)]), row_id=pl.int_range(3000), pair_id=pl.int_range(3000) // 2,
        )
        assert missing(audit("y ~ x + (1 | g)", data)[0]) == ["k", "pair_id"]
        # the identifier of the rows is told from a sample
        assert sorted(coded) == [438, 438, 438, 3000, 3000]

    def test_columns_that_cannot_be_read_are_left_out(self) -> None:
        data = balanced(20, 6).with_columns(site=pl.Series(["p", "q", "r"] * 40)).to_pandas()
        data["mixed"] = [1, "a", object()] * 40
        found = audit("y ~ x + (1 | g)", data)[0]
        assert found.covariance_kernels.columns_examined == ("site",)
        with pytest.raises(DataError, match="mixed"):
            audit("y ~ x + (1 | g)", data, audit_columns=["mixed"])

    def test_a_stream_that_is_used_up_is_not_examined(self) -> None:
        stream = balanced(20, 6).with_columns(site=pl.Series(["p", "q", "r"] * 40)).to_arrow().to_reader()
        found = audit("y ~ x + (1 | g)", stream)[0]
        assert found.covariance_kernels.columns_examined == ()


class TestIdentification:
    def test_a_response_that_is_constant_within_groups(self) -> None:
        rng = np.random.default_rng(0)
        area = np.repeat(list("abc"), 8)
        pair = np.repeat([f"p{i}" for i in range(12)], 2)
        data = pl.DataFrame({"y": np.repeat(rng.normal(size=12), 2), "spm": rng.normal(size=24), "area": area, "pair": pair})
        for formula in ("y ~ spm + (1 | area/pair)", "y ~ spm + (1 | area) + (1 | area:pair)"):
            facts = payload(audit(formula, data)[1], "not_identifiable")
            assert facts["reason"] == "constant_response_within_groups"
            assert (facts["constant_response_levels"], facts["repeated_levels"]) == (12, 12)
            assert facts["varying_numeric_columns"] == ["spm"]
        assert "not_identifiable" not in codes(audit("y ~ spm + (1 | area)", data)[1])
        assert "not_identifiable" not in codes(audit("y ~ 1 + (1 | area/pair)", data)[1])
        loud = data.with_columns(y=pl.when(pl.int_range(24) < 6).then(pl.col("spm")).otherwise(pl.col("y")))
        assert "not_identifiable" not in codes(audit("y ~ spm + (1 | area/pair)", loud)[1])
        offset = data.with_columns(o=pl.Series(rng.normal(size=24))).with_columns(y=pl.col("y") + pl.col("o"))
        assert "not_identifiable" in codes(audit("y ~ spm + offset(o) + (1 | area/pair)", offset)[1])
        share = THRESHOLDS.model_copy(update={"constant_response_share": 0.7})
        assert "not_identifiable" in codes(audit("y ~ spm + (1 | area/pair)", loud, thresholds=share)[1])

    def test_parts_of_crossed_factors_that_do_not_meet(self) -> None:
        rng = np.random.default_rng(1)
        block, g, h = np.repeat(np.arange(4), 16), np.tile(np.repeat(np.arange(4), 4), 4), np.tile(np.arange(4), 16)
        data = pl.DataFrame({
            "y": rng.normal(size=64), "g": [f"g{b}{k}" for b, k in zip(block, g, strict=True)],
            "h": [f"h{b}{k}" for b, k in zip(block, h, strict=True)], "block": [f"b{b}" for b in block],
        })
        found, findings = audit("y ~ 1 + (1 | g) + (1 | h)", data)
        assert found.components == 4
        assert payload(findings, "disconnected_design") == {"n_components": 4, "factors": ["g", "h"]}
        for explained in ("y ~ 1 + (1 | g) + (1 | h) + (1 | block)", "y ~ block + (1 | g) + (1 | h)"):
            found, findings = audit(explained, data)
            assert found.components == 1
            assert "disconnected_design" not in codes(findings)

    def test_connected_and_nested_designs(self) -> None:
        rng = np.random.default_rng(2)
        met = rng.random((12, 12)) < 0.5
        met[0], met[:, 0] = True, True
        a, b = np.nonzero(met)
        data = pl.DataFrame({"y": rng.normal(size=len(a)), "a": [f"a{i}" for i in a], "b": [f"b{i}" for i in b]})
        assert audit("y ~ 1 + (1 | a) + (1 | b)", data)[0].components == 1
        assert audit("strength ~ 1 + (1 | batch/cask)", mf.datasets.load("Pastes"))[0].components == 1
        long = pl.concat([data] * 900)
        assert audit("y ~ 1 + (1 | a) + (1 | b)", long)[0].components == 1

    def test_fixed_effects_that_hold_the_groups(self) -> None:
        rng = np.random.default_rng(3)
        data = pl.DataFrame({"y": rng.normal(size=40), "x": rng.normal(size=40), "g": np.tile(["a", "b"], 20)})
        data = data.with_columns(dummy=3.0 * (pl.col("g") == "a").cast(pl.Float64) - 1.0)
        facts = payload(audit("y ~ dummy + x + (1 | g)", data)[1], "design_weak_identifiability")
        assert (facts["group"], facts["term_id"], facts["n_levels"], facts["fixed_rank"]) == ("g", "r0", 2, 3)
        assert facts["projection_residual_rel"] <= facts["tolerance"] == THRESHOLDS.weak_identifiability_residual
        near = data.with_columns(dummy=pl.col("dummy") + 1e-6 * pl.col("x"))
        assert "design_weak_identifiability" not in codes(audit("y ~ dummy + (1 | g)", near)[1])
        far = data.with_columns(z=pl.Series(rng.normal(size=40)))
        assert "design_weak_identifiability" not in codes(audit("y ~ x + z + (1 | g)", far)[1])
        subject = pl.DataFrame({"y": rng.normal(size=12), "subject": np.repeat(list("abcdef"), 2)})
        assert "design_weak_identifiability" in codes(audit("y ~ 0 + subject + (1 | subject)", subject)[1])


def shuffled(found: DesignAudit) -> dict[str, Any]:
    record = found.model_dump()
    for term in record["random_terms"]:
        for basis in term["basis"]:
            for key in ("min_within_group_sd", "max_within_group_sd"):
                basis[key] = None if basis[key] is None else round(basis[key], 9)
        budget = term["information_budget"]
        if budget["expected_standard_error"] is not None:
            budget["expected_standard_error"] = round(budget["expected_standard_error"], 9)
    return record


@given(st.integers(0, 10_000), st.permutations(range(60)))
def test_order_of_rows_does_not_matter(seed: int, order: list[int]) -> None:
    rng = np.random.default_rng(seed)
    data = pl.DataFrame({
        "y": rng.normal(size=60), "x": rng.normal(size=60), "w": rng.integers(0, 3, 60).astype(float),
        "a": rng.choice(["p", "q", "r"], 60), "b": rng.choice(["u", "v"], 60), "g": rng.choice(list("abcdefgh"), 60),
        "h": rng.choice(list("klmno"), 60), "site": rng.choice(["s", "t"], 60),
    })
    formula = "y ~ x + w + a * b + (1 + x + a | g) + (1 | h)"
    one, two = audit(formula, data), audit(formula, data[order])
    assert shuffled(one[0]) == shuffled(two[0])
    assert codes(one[1]) == codes(two[1])
    assert [finding.affected_terms for finding in one[1]] == [finding.affected_terms for finding in two[1]]


def test_rows_elsewhere_are_not_guessed_at(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STREAM_ROWS", 10)
    path = tmp_path / "data.parquet"
    mf.datasets.load("Pastes").with_columns(x=pl.int_range(60) * 0.1).write_parquet(path)
    spec = mf.compile_model("strength ~ x + (1 + x | batch) + (1 | batch:cask) + offset(x)", pl.scan_parquet(path))
    model = spec.compiled
    columns = examined_columns(spec.call.data, model.frame, ["sample"])
    found, findings = design_audit(model, columns, {}, THRESHOLDS)
    fixed = found.fixed_effects
    assert (fixed.rank.rank, fixed.rank.status, fixed.n_empty_cells) == (None, "not_assessed", None)
    assert {term.status for term in fixed.terms} == {"not_assessed"}
    assert {column.aliased for column in fixed.columns} == {None}
    term: RandomTermAudit = found.random_terms[0]
    assert (term.group.min_obs_per_level, term.group.median_obs_per_level, term.group.repeated) == (None, None, True)
    assert (term.basis[1].supported, term.basis[1].reason) == (None, "rows_not_in_memory")
    assert (term.information_budget.status, term.information_budget.reason) == ("not_assessable", "rows_not_in_memory")
    assert found.components is None
    assert found.covariance_kernels.columns_examined == ()
    assert missing(found) == []
    assert {finding.payload["reason"] for finding in findings} == {"rows_not_in_memory"}
