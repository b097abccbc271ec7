"""The verbs of inference against lmerTest, pbkrtest and the dense oracle, and against each other."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast.errors import MixeffNotice
from tests.inference_references import (
    PUBLISHED,
    PUBLISHED_JOINT,
    PUBLISHED_TOLERANCE,
    dense_references,
    fitted,
    inference_references,
    point_of,
)
from tests.oracle_inference import by_generalized_inverse, estimable, satterthwaite

ROUTES = ("satterthwaite", "kenward_roger")
REFERENCES = [name for name, model in inference_references().items() if not model.singular]
# of our numbers against the dense oracle's; df and F of the references themselves stem from numerical derivatives
TOLERANCE = 1e-6


def close(found: Any, wanted: float, rel: float = TOLERANCE) -> None:
    assert found == pytest.approx(wanted, rel=rel, abs=1e-10)


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def same_rows(one: np.ndarray, two: np.ndarray) -> bool:
    """Whether the rows are the same but for order and length."""
    return one.shape == two.shape and bool(np.allclose(np.abs(unit(one) @ unit(two).T).max(axis=1), 1.0, atol=1e-6))


def same_space(one: np.ndarray, two: np.ndarray) -> bool:
    ranks = [np.linalg.matrix_rank(rows, tol=1e-6) for rows in (one, two, np.vstack([one, two]))]
    return len(set(ranks)) == 1


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", REFERENCES)
def test_coefficients_are_those_of_the_references(name: str, route: str) -> None:
    model, fit = inference_references()[name], fitted(name)
    rows = {row.label: row for row in fit.inference_table(route).artifact.rows}
    for test, dense in zip(model.table, getattr(dense_references()[name], route), strict=False):
        row = rows[test.label]
        close(row.estimate, dense.estimate)
        close(row.std_error, dense.se)
        close(row.denominator_df, dense.ddf)
        close(row.statistic, dense.t)
        close(row.log_p_value, math.log(dense.p_t))
        reference = getattr(test, route)
        close(row.denominator_df, reference.ddf, 1e-4)
        close(row.statistic, reference.t, 1e-5)
    assert {label for label in rows if rows[label].status == "not_estimable"} == set(model.coefficients) - set(model.estimable)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", REFERENCES)
def test_terms_are_those_of_the_references(name: str, route: str) -> None:
    model, fit = inference_references()[name], fitted(name)
    refused = set()
    for kind in (1, 2, 3):
        tested = [test for test in model.anova if test.type == kind]
        found = fit.anova(kind, method=route)
        rows = {term.row.label: term.row for term in found.artifact.terms}
        # lmerTest leaves terms out of which nothing was fitted
        others = set(rows) - {test.label for test in tested}
        assert {rows[label].status for label in others} <= {"not_estimable"}
        for test in tested:
            row, L = rows[test.label], found.hypotheses[test.label]
            if row.status != "available":
                refused.add((kind, test.label, row.reason_code))
                continue
            assert same_space(L, model.to_all(test.L)), (kind, test.label)
            reference = getattr(test, route)
            close(row.statistic, reference.F, 1e-5)
            assert row.numerator_df == reference.ndf
            # Satterthwaite's degrees of freedom depend on the rows that span a hypothesis of several
            if route == "kenward_roger" or same_rows(L, model.to_all(test.L)):
                close(row.denominator_df, reference.ddf, 1e-4)
            else:
                # lmerTest takes the sequential rows of a term that stands alone
                assert kind > 1
                assert len(tested) == 1
    assert all(model.rank_deficient and kind == 3 and code == "term_not_estimable" for kind, _, code in refused)


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", REFERENCES)
def test_contrasts_are_those_of_the_references(name: str, route: str) -> None:
    model, fit = inference_references()[name], fitted(name)
    first = len(model.table) + len(model.anova)
    for test, dense in zip(model.contrasts, getattr(dense_references()[name], route)[first:], strict=True):
        found = fit.contrast(model.to_all(test.L), rhs=test.rhs, method=route)
        row = found.joint or found.artifact.rows[0]
        square = row.statistic if found.joint else row.statistic**2
        close(square, dense.F)
        close(row.denominator_df, dense.ddf)
        close(row.log_p_value, math.log(dense.p))
        if found.joint:
            assert row.family is not None
            assert (row.numerator_df, row.family.effective_rank) == (dense.ndf, dense.ndf)
            assert row.family.rank_deficient == (dense.ndf < len(test.L))
            if route == "kenward_roger":
                close(row.family.f_scale, dense.scale)


@pytest.mark.parametrize("name", ["cake", "blocks", "trial_visits", "trial_slopes", "levels_slopes", "arabidopsis"])
def test_type_three_is_that_of_the_oracle_on_our_rows(name: str) -> None:
    fit, point = fitted(name), point_of(name)
    dense = satterthwaite(point)
    found = fit.anova()
    for term in found.artifact.terms:
        wanted = dense.test(found.hypotheses[term.row.label][:, point.kept])
        square = wanted.F
        close(term.row.statistic, square)
        close(term.row.denominator_df, wanted.ddf)


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.model}-{case.method}-{case.rhs}")
def test_published_tests(case: Any) -> None:
    row = fitted(case.model).contrast(case.L, rhs=case.rhs, method=case.method).artifact.rows[0]
    close((row.estimate or 0.0) + case.rhs, case.estimate, 1e-7)
    close(row.std_error, case.se, PUBLISHED_TOLERANCE["se"])
    # the published Penicillin df by Satterthwaite stems from numerical second derivatives; the oracle's is 5.48709
    close(row.denominator_df, case.ddf, 1e-4 if case.model == "penicillin" else PUBLISHED_TOLERANCE["ddf"])
    close(row.statistic, case.t, PUBLISHED_TOLERANCE["t"])
    close(row.log_p_value, math.log(case.p), 1e-4)


def test_the_published_joint_test() -> None:
    row = fitted("sleepstudy_slopes").contrast(np.eye(2), method="kenward_roger").joint
    assert row is not None
    assert row.family is not None
    close(row.statistic, PUBLISHED_JOINT.F, 5e-5)
    close(row.family.f_scale, PUBLISHED_JOINT.scale, 1e-8)
    close(row.statistic / row.family.f_scale, PUBLISHED_JOINT.unscaled, 5e-5)
    assert (row.numerator_df, round(row.denominator_df or 0, 6)) == (2.0, 16.0)


@pytest.mark.parametrize("name", [name for name in REFERENCES if inference_references()[name].drop1])
def test_single_terms_left_out(name: str) -> None:
    model, fit = inference_references()[name], fitted(name)
    likelihood = {term.term: term for term in fit.drop1(test="lrt").artifact.terms[1:]}
    marginal = {term.term: term for term in fit.drop1(test="satterthwaite").artifact.terms[1:]}
    assert set(likelihood) == set(marginal) == {dropped.term for dropped in model.drop1}
    for dropped in model.drop1:
        term, row, other = likelihood[dropped.term], likelihood[dropped.term].row, marginal[dropped.term].row
        assert row is not None
        assert other is not None
        assert (row.numerator_df, row.method, row.statistic_name) == (dropped.df, "likelihood_ratio", "chi_square")
        close(row.statistic, dropped.statistic, 1e-5)
        close(row.log_p_value, math.log(dropped.p), 1e-5)
        close(term.aic, dropped.aic, 1e-8)
        close(other.statistic, dropped.F.F, 1e-5)
        close(other.numerator_df, dropped.F.ndf)
        assert fit.test_effect(dropped.term, method="likelihood_ratio").row.statistic == row.statistic


# ---- what holds for every fit


def factorial(seed: int = 3, rows: int = 240) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(24), rows // 24)
    x = rng.normal(size=rows)
    a, b = rng.integers(0, 3, rows), rng.integers(0, 2, rows)
    y = 1 + 0.5 * a + 0.3 * b * x + rng.normal(size=24)[g] + 0.4 * x * rng.normal(size=24)[g] + rng.normal(size=rows)
    return pl.DataFrame({"y": y, "x": x, "a": [f"a{i}" for i in a], "b": [f"b{i}" for i in b], "g": [f"g{i}" for i in g],
                         "w": rng.uniform(0.5, 2.0, rows)})


@cache
def fit_of(formula: str = "y ~ a * b * x + (x | g)", **arguments: Any) -> mf.LinearMixedModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.lmm(formula, factorial(), **{k: dict(v) if k == "contrasts" else v for k, v in arguments.items()})


CODINGS = list(itertools.product(["treatment", "sum", "helmert", "SAS", "poly"], repeat=2))


@pytest.mark.parametrize("coding", CODINGS[1:], ids="-".join)
@pytest.mark.parametrize("formula", ["y ~ a * b * x + (1 | g)", "y ~ a + b:a + x:b + (1 | g)", "y ~ a:b + (1 | g)"])
def test_type_three_does_not_depend_on_the_coding(coding: tuple[str, str], formula: str) -> None:
    wanted = fit_of(formula).anova()
    found = fit_of(formula, contrasts=(("a", coding[0]), ("b", coding[1]))).anova()
    for one, two in zip(wanted.artifact.terms, found.artifact.terms, strict=True):
        assert one.row.numerator_df == two.row.numerator_df
        close(two.row.statistic, one.row.statistic or 0.0, 1e-6)
        close(two.row.denominator_df, one.row.denominator_df or 0.0, 1e-6)


def test_type_three_is_of_marginal_means() -> None:
    """Means of the cells averaged with equal weights, worked out by prediction."""
    fit = fit_of("y ~ a * b * x + (1 | g)")
    grid = pl.DataFrame([{"a": f"a{i}", "b": f"b{j}", "x": 0.0} for i in range(3) for j in range(2)])
    cells = fit.predict(grid, re_form="population").reshape(3, 2)
    L = fit.anova().hypotheses
    np.testing.assert_allclose(L["a"] @ fit.beta, (cells - cells[0]).mean(axis=1)[1:], atol=1e-9)
    np.testing.assert_allclose(L["b"] @ fit.beta, (cells[:, 1] - cells[:, 0]).mean(), atol=1e-9)
    slopes = fit.predict(grid.with_columns(x=1.0), re_form="population").reshape(3, 2) - cells
    np.testing.assert_allclose(L["x"] @ fit.beta, slopes.mean(), atol=1e-9)
    np.testing.assert_allclose(np.sort(L["a:b:x"] @ fit.beta),
                               np.sort((slopes[1:, 1] - slopes[0, 1]) - (slopes[1:, 0] - slopes[0, 0])), atol=1e-9)


def test_type_one_is_the_fall_of_the_residuals_where_there_are_no_groups() -> None:
    """With no variance between groups the tests are those of least squares."""
    data = factorial().with_columns(y=pl.Series(np.random.default_rng(1).normal(size=240)),
                                    g=pl.Series([f"g{i % 24}" for i in range(240)]))
    data = data.with_columns(y=pl.col("y") - pl.col("y").mean().over("g"))
    fit = mf.lmm("y ~ a * x + b + (1 | g)", data)
    assert fit.theta[0] == 0.0
    X = fit.model_matrix()
    y = data["y"].to_numpy()
    ends = [block.stop for block in fit.spec.compiled.fixed.blocks]

    def rss(columns: list[int]) -> float:
        return float(np.linalg.lstsq(X[:, columns], y, rcond=None)[1][0])

    sequential = [rss(list(range(end))) for end in ends]
    sums = fit.anova(1).table["sum_sq"].to_list()
    np.testing.assert_allclose(sums, -np.diff(sequential), rtol=1e-9)
    full = sequential[-1]
    blocks = {block.label: range(block.start, block.stop) for block in fit.spec.compiled.fixed.blocks}
    type_two = dict(fit.anova(2).table.select("term", "sum_sq").rows())
    for label, around in (("b", ()), ("a:x", ()), ("x", ("a:x",)), ("a", ())):
        rest = [j for j in range(X.shape[1]) if not any(j in blocks[other] for other in around)]
        without = [j for j in rest if j not in blocks[label]]
        assert type_two[label] == pytest.approx(rss(without) - (rss(rest) if around else full), rel=1e-9)


@given(st.integers(0, 2**32 - 1), st.sampled_from(ROUTES))
@settings(max_examples=40)
def test_f_of_one_row_is_the_square_of_t(seed: int, route: str) -> None:
    fit = fit_of()
    L = np.random.default_rng(seed).integers(-3, 4, len(fit.beta)).astype(float)
    L[0] += 10.0
    row = fit.contrast(L, method=route).artifact.rows[0]
    joint = fit.contrast(np.vstack([L, 2.0 * L]), method=route).joint
    assert joint is not None
    assert joint.numerator_df == 1.0
    close(joint.statistic, (row.statistic or 0.0) ** 2, 1e-9)
    close(joint.denominator_df, row.denominator_df or 0.0, 1e-9)
    close(joint.p_value, row.p_value or 0.0, 1e-8)


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e3))
@settings(max_examples=25)
def test_wald_and_f_do_not_depend_on_how_a_hypothesis_is_written(seed: int, size: float) -> None:
    fit = fit_of()
    rng = np.random.default_rng(seed)
    L, rhs = rng.normal(size=(3, len(fit.beta))), rng.normal(size=3)
    turn = rng.normal(size=(3, 3)) * size
    for method in ("asymptotic", "kenward_roger"):
        one = fit.contrast(L, rhs, method=method).joint
        two = fit.contrast(turn @ L, turn @ rhs, method=method).joint
        assert one is not None
        assert two is not None
        close(two.statistic, one.statistic or 0.0, 1e-6)
        close(two.denominator_df or 0.0, one.denominator_df or 0.0, 1e-6)


def test_asymptotic_tests_of_several_rows_are_chi_squares() -> None:
    fit = fit_of()
    L = np.eye(len(fit.beta))[1:4]
    row = fit.contrast(L, method="asymptotic").joint
    assert row is not None
    assert (row.statistic_name, row.method, row.denominator_df) == ("chi_square", "asymptotic_wald_chi_square", None)
    d = L @ fit.beta
    close(row.statistic, float(d @ np.linalg.solve(L @ fit.vcov() @ L.T, d)), 1e-9)


# ---- rank


def deficient() -> mf.LinearMixedModel:
    data = factorial().with_columns(x1=pl.col("x"), x2=pl.col("w"), x3=pl.col("x") + 2.0 * pl.col("w"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.lmm("y ~ x1 + x2 + x3 + a + (1 | g)", data)


def test_estimable_contrasts_keep_their_numbers_and_others_are_refused_rows() -> None:
    """X = [1 x1 x2 x3 a], x3 = x1 + 2 x2: what does not change along (1, 2, -1) is estimable."""
    fit = deficient()
    X = fit.model_matrix()
    names = dict.fromkeys(fit.coef_names)
    assert list(names)[3] == "x3"
    L: list[dict[str, float]] = [{"x1": 1}, {"x2": 1}, {"x3": 1}, {"x1": 1, "x3": 1}, {"x2": 1, "x3": 2}, {"x1": 2, "x2": -1},
                                 {"x1": 1, "x2": 2}, {"aa1": 1}, {"x1": 0.1 + 0.2, "x3": 0.3}]
    rows = np.array([[each.get(name, 0.0) for name in fit.coef_names] for each in L])
    wanted = estimable(X, rows)
    assert wanted.tolist() == [False, False, False, True, True, True, False, True, True]
    for route in (*ROUTES, "asymptotic", "auto"):
        found = fit.contrast(L, method=route)
        assert [row.status for row in found.artifact.rows] == ["available" if w else "not_estimable" for w in wanted]
        refused = [row for row in found.artifact.rows if row.status == "not_estimable"]
        assert {row.reason_code for row in refused} == {"contrast_not_estimable"}
        assert {(row.estimate, row.statistic, row.p_value) for row in refused} == {(None, None, None)}
        assert found.joint is not None
        assert (found.joint.status, found.joint.estimability.status) == ("not_estimable", "partially_estimable")
        assert found.joint.estimability.rank == 3
        assert found.joint.estimability.requested_rank == 4
    assert fit.estimability(L).table["estimable"].to_list() == wanted.tolist()
    direct = mf.lmm("y ~ x1 + x2 + a + (1 | g)", fit.call.data)
    row = fit.contrast({"x1": 1, "x3": 1}, method="satterthwaite").artifact.rows[0]
    same = direct.contrast({"x1": 1}, method="satterthwaite").artifact.rows[0]
    assert (row.estimate, row.std_error, row.denominator_df) == pytest.approx(
        (same.estimate, same.std_error, same.denominator_df), rel=1e-8)
    assert fit.estimability().table["status"].to_list() == [
        "estimable", "basis_dependent", "basis_dependent", "not_estimable", "estimable", "estimable"]
    table = fit.inference_table("kenward_roger")
    assert [row.status for row in table.artifact.rows] == ["available"] * 3 + ["not_estimable"] + ["available"] * 2
    assert [row.estimability.status for row in table.artifact.rows if row.estimability] == [
        "estimable", "basis_dependent", "basis_dependent", "not_estimable", "estimable", "estimable"]
    assert fit.estimability().artifact.relations == pytest.approx(np.array([[0, -1, -2, 1, 0, 0]]), abs=1e-9)


@pytest.mark.parametrize("name", ["factorial_empty_cell", "factorial_empty_cell_sum", "factorial_aliased"])
def test_a_generalized_inverse_says_the_same(name: str) -> None:
    fit, point, model = fitted(name), point_of(name), inference_references()[name]
    L = np.vstack([model.to_all(test.L) for test in model.contrasts])
    values, covariance = by_generalized_inverse(point, L)
    rows = fit.contrast(L, method="asymptotic").artifact.rows
    np.testing.assert_allclose([row.estimate for row in rows], values, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose([row.std_error for row in rows], np.sqrt(np.diag(covariance)), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ScalingNotice")
@given(st.lists(st.floats(-12, 12), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_estimability_does_not_depend_on_units(exponents: list[float], seed: int) -> None:
    """Columns in other units and contrasts of other lengths: the same answers."""
    from mixeff_fast.inference.design import design_of_rows
    from mixeff_fast.models.spec import compile_model

    rng = np.random.default_rng(seed)
    x = rng.normal(size=(40, 2)) + rng.choice([0.0, 100.0])
    columns = np.column_stack([x, x @ [1.0, 2.0], rng.normal(size=40)])
    scales = 2.0 ** np.round(exponents)
    kept = np.array([True, True, True, False, True])
    L = np.array([[0, 1, 0, 1, 0], [0, 1, 0, 0, 0], [0, 2, -1, 0, 0], [1, 0, 0, 0, 0], [1, 0, 1, 2, 5], [0, 1, 2, 0, 0.0]])
    answers = []
    for scale in (np.ones(4), scales):
        scaled = {f"x{j}": columns[:, j] * scale[j] for j in range(4)}
        data = pl.DataFrame({"y": np.arange(40.0), "g": ["a", "b"] * 20, **scaled})
        model = compile_model("y ~ x0 + x1 + x2 + x3 + (1 | g)", data).compiled
        answers.append(design_of_rows(model, kept).estimable(L * np.append(1.0, scale)).tolist())
    assert answers[0] == answers[1] == [True, False, True, True, True, False]


def test_empty_cells_are_told_apart_from_what_is_not_lost() -> None:
    fit = fitted("factorial_empty_cell")
    rows = {row.label: row for row in (term.row for term in fit.anova().artifact.terms)}
    assert {row.status for label, row in rows.items() if label in ("a", "b")} == {"not_estimable"}
    assert rows["a:b"].estimability.status == "partially_estimable"
    assert {term.row.status for kind in (1, 2) for term in fit.anova(kind).artifact.terms} == {"available"}


# ---- data that were read in batches


@pytest.mark.parametrize("reml", [True, False])
def test_fits_without_rows_give_the_same_tests(reml: bool) -> None:
    data, formula = factorial(), "y ~ a * x + b + (1 | g)"
    whole, rowless = mf.lmm(formula, data, reml=reml), mf.sufficient_statistics(formula, data.lazy()).fit(reml=reml)
    for route in (*ROUTES, "asymptotic"):
        pairs = [(whole.inference_table(route).table, rowless.inference_table(route).table)]
        pairs += [(whole.anova(kind, route).table, rowless.anova(kind, route).table) for kind in (1, 2, 3)]
        for one, two in pairs:
            assert one["status"].to_list() == two["status"].to_list()
            np.testing.assert_allclose(one["statistic"], two["statistic"], rtol=1e-6)
            np.testing.assert_allclose(one["p_value"], two["p_value"], rtol=1e-5)


def test_aliased_columns_of_data_without_rows() -> None:
    data = factorial().with_columns(x2=2.0 * pl.col("x"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        whole = mf.lmm("y ~ x + x2 + a + (1 | g)", data)
        rowless = mf.sufficient_statistics("y ~ x + x2 + a + (1 | g)", data.lazy()).fit()
    L = [{"x": 1}, {"x": 1, "x2": 2}, {"aa1": 1}]
    assert rowless.estimability(L).table.equals(whole.estimability(L).table)
    np.testing.assert_allclose(rowless.contrast(L[1:]).table["p_value"], whole.contrast(L[1:]).table["p_value"], rtol=1e-6)


def test_sums_of_weighted_rows_do_not_tell_sequential_hypotheses() -> None:
    data = factorial()
    rowless = mf.sufficient_statistics("y ~ a * x + (1 | g)", data.lazy(), weights="w").fit()
    whole = mf.lmm("y ~ a * x + (1 | g)", data, weights="w")
    assert {row.reason_code for row in (t.row for t in rowless.anova(1).artifact.terms)} == {"hypothesis_needs_unweighted_rows"}
    np.testing.assert_allclose(rowless.anova(3).table["p_value"], whole.anova(3).table["p_value"], rtol=1e-5)


# ---- records


def test_tables_say_what_the_records_say() -> None:
    fit = fit_of("y ~ a * x + (1 | g)")
    for result in (fit.inference_table(), fit.contrast(np.eye(6)), fit.anova(), fit.drop1(test="lrt"), fit.estimability(),
                   fit.inference_options(), fit.df_for_contrast({"x": 1}), fit.lincomb({"x": 1}), fit.test_effect("a:x")):
        content = json.loads(result.artifact.model_dump_json())
        assert type(result.artifact).model_validate_json(json.dumps(content)) == result.artifact
        assert result.table.height > 0
        assert repr(result)
        assert result._repr_html_().startswith("<pre>")
    cells = fit.anova().table.row(0, named=True)
    row = fit.anova().artifact.terms[0].row
    assert (cells["statistic"], cells["den_df"], cells["p_value"]) == (row.statistic, row.denominator_df, row.p_value)


def test_a_pickle_keeps_no_payload_and_gives_the_same_rows() -> None:
    import copy
    import pickle

    fit = mf.lmm("y ~ a * x + (1 | g)", factorial())
    rows = fit.inference_table("kenward_roger").artifact
    again = pickle.loads(pickle.dumps(fit))
    assert "_kept_inference_subject" not in again.__dict__
    for other in (again, copy.deepcopy(fit)):
        found = other.inference_table("kenward_roger").artifact
        for one, two in zip(rows.rows, found.rows, strict=True):
            assert (two.estimate, two.std_error, two.denominator_df) == pytest.approx(
                (one.estimate, one.std_error, one.denominator_df), rel=1e-9)
