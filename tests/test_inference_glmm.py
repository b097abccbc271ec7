"""Tests of the fixed effects of generalized linear mixed models: Wald and likelihood ratio, and when they are refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError
from tests.test_inference_routes import cattle, fit_of, ticks

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")


def statistics(fit: Any, kind: int) -> dict[str, float]:
    return {term.row.label: term.row.statistic for term in fit.anova(kind).artifact.terms}


def outcome(fit: Any, method: str) -> tuple[str, str | None]:
    row = fit.test_effect(fit.spec.compiled.fixed.labels[0], method=method).row
    return row.status, row.reason_code


# ---- numbers


def test_wald_tests_are_those_of_the_covariance_matrix() -> None:
    fit = fit_of("generalized poisson")
    table = fit.inference_table().table
    assert set(table["method"]) == {"asymptotic_wald_z"}
    assert table["df"].null_count() == len(table)
    np.testing.assert_allclose(table["statistic"], fit.beta / np.sqrt(np.diag(fit.vcov())), rtol=1e-12)
    for kind in (1, 2, 3):
        for term, matrix in fit.anova(kind).hypotheses.items():
            L = np.asarray(matrix)
            d = L @ fit.beta
            row = fit.test_effect(term).row if kind == 3 else None
            wanted = d @ np.linalg.solve(L @ fit.vcov() @ L.T, d)
            assert statistics(fit, kind)[term] == pytest.approx(wanted, rel=1e-9)
            if row is not None:
                assert (row.statistic_name, row.numerator_df, row.denominator_df) == ("chi_square", len(L), None)
                assert row.statistic == pytest.approx(wanted, rel=1e-9)


def test_one_restriction_is_the_square_of_z() -> None:
    fit = fit_of("generalized binomial")
    z = fit.contrast({"period2": 1}).artifact.rows[0]
    joint = fit.contrast([[0, 1, 0, 0], [0, 2, 0, 0]]).joint
    assert (joint.numerator_df, joint.statistic_name) == (1.0, "chi_square")
    assert joint.statistic == pytest.approx(z.statistic**2, rel=1e-9)
    assert joint.p_value == pytest.approx(z.p_value, rel=1e-9)
    interval = fit.lincomb({"period2": 1}, level=0.9).table.row(0, named=True)
    assert (interval["upper"] - interval["lower"]) / (2.0 * z.std_error) == pytest.approx(1.6448536269514722)


@pytest.mark.parametrize("family", ["binomial", "poisson"])
def test_terms_do_not_depend_on_the_coding(family: str) -> None:
    coded = {"binomial": lambda **how: cattle(**how), "poisson": lambda **how: ticks(**how)}[family]
    factor = "period" if family == "binomial" else "YEAR"
    treatment, sums = coded(), coded(contrasts={factor: "sum"})
    for kind in (1, 2, 3):
        assert statistics(sums, kind) == pytest.approx(statistics(treatment, kind), rel=1e-5)


def test_trials_count_as_rows_of_their_own() -> None:
    """Types 1 and 2 weigh the cells of the data, which are those of the trials however these are written."""
    rng = np.random.default_rng(3)
    n = 160
    g, f, h = rng.integers(0, 16, n), rng.choice(3, n, p=[0.6, 0.3, 0.1]), rng.choice(2, n, p=[0.8, 0.2])
    size = rng.integers(1, 6, n) + 3 * f * h
    eta = 0.4 * f - 0.5 * h + 0.6 * rng.normal(size=16)[g]
    won = rng.binomial(size, 1.0 / (1.0 + np.exp(-eta)))
    data = pl.DataFrame({"won": won, "size": size, "f": [f"f{v}" for v in f], "h": [f"h{v}" for v in h],
                         "g": [f"g{v:02d}" for v in g]}).with_columns(share=pl.col("won") / pl.col("size"))
    counts = np.concatenate([won, size - won])
    single = pl.concat([data.select("f", "h", "g", y=pl.lit(value)) for value in (1.0, 0.0)])
    single = single[np.repeat(np.arange(2 * n), counts).tolist()]
    fits = [
        mf.glmm("cbind(won, size - won) ~ f * h + (1 | g)", data, "binomial"),
        mf.glmm("share ~ f * h + (1 | g)", data, "binomial", weights="size"),
        mf.glmm("y ~ f * h + (1 | g)", single, "binomial"),
    ]
    for kind in (1, 2, 3):
        first, *others = (statistics(fit, kind) for fit in fits)
        for other in others:
            assert other == pytest.approx(first, rel=1e-4), kind


def test_likelihood_ratios_against_lme4() -> None:
    """``drop1(glmer(..., control = glmerControl("bobyqa", tolPwrss = 1e-13)), test = "Chisq")``."""
    assert cattle().drop1(test="lrt").table["statistic"].to_list() == [None, pytest.approx(25.6100634447, rel=1e-8)]
    fit = ticks("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)")
    found = fit.drop1(test="lrt").table
    assert found["statistic"].to_list() == [None, *(pytest.approx(v, rel=1e-7) for v in (60.3990390626, 52.5120508765))]


def test_the_likelihood_ratio_is_one_however_it_is_asked_for() -> None:
    for case in ("generalized binomial", "generalized quadrature", "generalized poisson", "generalized gamma"):
        fit = fit_of(case)
        term = fit.drop1().table["term"][1]
        row = fit.test_effect(term, method="likelihood_ratio").row
        smaller = fit.update(f". ~ . - {term}")
        wanted = 2.0 * (fit.loglik - smaller.loglik)
        assert row.statistic == pytest.approx(wanted, rel=1e-6, abs=1e-8)
        assert row.numerator_df == fit.n_parameters - smaller.n_parameters
        dropped = fit.drop1(term, test="lrt").table.row(1, named=True)
        assert (dropped["statistic"], dropped["p_value"]) == pytest.approx((row.statistic, row.p_value))
        compared = mf.compare(fit, smaller).table
        assert compared["chisq"][1] == pytest.approx(row.statistic)
        assert (dropped["aic"], dropped["npar"]) == (pytest.approx(smaller.aic), smaller.n_parameters)


def test_models_with_other_given_parameters_are_not_nested() -> None:
    formula = "TICKS ~ YEAR + cHEIGHT + (1 | BROOD)"
    large = {theta: ticks(formula, family=mf.negative_binomial(theta)) for theta in (2.0, None)}
    small = {theta: ticks("TICKS ~ YEAR + (1 | BROOD)", family=mf.negative_binomial(theta)) for theta in (2.0, 5.0)}
    found = {(a, b): mf.compare(small[a], large[b]).table.row(1, named=True) for a in small for b in large}
    assert [(key, row["df"]) for key, row in found.items() if row["reason_code"] is None] == [
        ((2.0, 2.0), 1), ((2.0, None), 2), ((5.0, None), 2)]
    assert found[5.0, 2.0]["reason_code"] == "non_nested_models_lrt_invalid"


# ---- refusals


def test_finite_sample_methods_are_of_linear_models() -> None:
    fit = fit_of("generalized binomial")
    for method in ("satterthwaite", "kenward_roger"):
        code = f"{method}_needs_gaussian_errors"
        assert outcome(fit, method) == ("unsupported", code)
        for result in (fit.inference_table(method), fit.contrast({"period2": 1}, method=method), fit.anova(method=method),
                       fit.summary(method)):
            assert set(result.table["reason_code"]) == {code}
        assert fit.df_for_contrast({"period2": 1}, method=method).df["period2"] is None
        assert fit.drop1(test=method).table["reason_code"][1] == code
    assert set(fit.anova().table["method"]) == {"asymptotic_wald_chi_square"}
    assert fit.df_for_contrast({"period2": 1}).df["period2"] == float("inf")


def test_profiled_fixed_effects_have_likelihood_ratios_of_joint_fits() -> None:
    fit, joint = fit_of("generalized profiled"), fit_of("generalized binomial")
    assert outcome(fit, "asymptotic") == outcome(fit, "auto") == ("unsupported", "profiled_fixed_effects_no_likelihood")
    assert outcome(fit, "likelihood_ratio") == ("available", None)
    one, two = (each.test_effect("period", method="likelihood_ratio").row for each in (fit, joint))
    assert one.statistic == pytest.approx(two.statistic, rel=1e-6)
    dropped = fit.drop1(test="lrt")
    assert dropped.artifact.refitted
    assert dropped.table["aic"].to_list() == pytest.approx(joint.drop1().table["aic"].to_list(), rel=1e-8)
    kept = fit.drop1(test="lrt", refit_for_comparison="error").table
    assert kept["aic"].to_list() == [None, None]
    assert kept["reason_code"][1] == "ml_refit_required"


def test_gates_close_every_route_or_the_wald_tests_alone() -> None:
    cases = {
        "separated": ("not_assessed", "binomial_separation"), "unasked": ("not_assessed", "inference_not_requested"),
        "one term": ("p_value_unavailable", "predictive_intent"), "stopped": ("not_assessed", "fit_not_optimized"),
    }
    for case, wanted in cases.items():
        fit = fit_of(f"generalized {case}")
        for method in ("auto", "asymptotic", "likelihood_ratio"):
            assert outcome(fit, method) == wanted, (case, method)
    both = fit_of("generalized profiled exploratory")
    assert outcome(both, "asymptotic") == ("unsupported", "profiled_fixed_effects_no_likelihood")
    assert outcome(both, "likelihood_ratio") == ("p_value_unavailable", "exploratory_intent")


def test_an_information_that_is_missing_leaves_the_likelihood_ratio() -> None:
    from dataclasses import replace

    fit = cattle()
    fit.result = replace(fit.result, vcov_route="conditional")
    assert outcome(fit, "asymptotic") == ("not_assessed", "observed_information_unavailable")
    assert outcome(fit, "likelihood_ratio") == ("available", None)


def test_zero_variances_are_taken_as_known_and_rows_say_so() -> None:
    fit = fit_of("generalized zero variance")
    assert fit.fit_status == "converged_boundary"
    rows = [*fit.inference_table().artifact.rows, *(term.row for term in fit.anova().artifact.terms)]
    assert {row.reliability_reason for row in rows} == {"boundary_parameters_taken_as_known"}
    assert "taken as known" in str(fit.inference_options())


def test_what_the_data_do_not_determine() -> None:
    fit = fit_of("generalized aliased")
    assert fit.estimability().table["status"].to_list() == [
        "estimable", "basis_dependent", "not_estimable", "estimable", "estimable"]
    table = fit.contrast([{"x": 1}, {"x": 1, "twice": 2}]).table
    assert table["status"].to_list() == ["not_estimable", "available"]
    assert table["std_error"][1] == pytest.approx(np.sqrt(fit.vcov()[1, 1]))
    row = fit.test_effect("twice", method="likelihood_ratio").row
    assert (row.status, row.reason_code) == ("unsupported", "same_model_space_lrt_invalid")


def test_arguments() -> None:
    fit = fit_of("generalized binomial")
    for wrong, argument in ((lambda: fit.drop1(test="F"), "test"), (lambda: fit.anova(4), "type"),
                            (lambda: fit.test_effect("herd"), "term"), (lambda: fit.inference_table("wald"), "method")):
        with pytest.raises(ArgumentError) as caught:
            wrong()
        assert caught.value.argument == argument


def test_a_saved_fit_answers_as_before(tmp_path: Any) -> None:
    for case in ("generalized binomial", "generalized profiled", "generalized separated"):
        fit = fit_of(case)
        fit.save(tmp_path / "fit.mxf")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            again: Any = mf.load(tmp_path / "fit.mxf")
        assert again.inference_options().artifact.routes == fit.inference_options().artifact.routes
        assert again.inference_table().artifact.rows == fit.inference_table().artifact.rows




def test_joint_tests_far_from_the_origin() -> None:
    """With the intercept, the covariance matrix is singular to working precision; the tests have no part in that."""
    stream = np.random.default_rng(1)
    x, w = stream.normal(size=200), stream.normal(size=200)
    y = stream.poisson(np.exp(0.3 * x + 0.5 * stream.normal(size=20)[np.arange(200) // 10]))
    data = pl.DataFrame({"y": y, "x": x, "w": w, "g": [f"g{k // 10}" for k in range(200)]})
    near, far = (mf.glmm("y ~ x + w + (1 | g)", each, "poisson") for each in (data, data.with_columns(pl.col("x") + 1e8)))
    np.testing.assert_allclose(far.anova().table["p_value"], near.anova().table["p_value"], rtol=1e-6)
    rows = [[0.0, 1.0, 0.0], [0.0, 1.0, 1.0]]
    np.testing.assert_allclose(far.contrast(rows).joint.p_value, near.contrast(rows).joint.p_value, rtol=1e-6)
    lost = far.contrast([[1.0, 1e8, 0.0], [0.0, 0.0, 1.0]])
    assert lost.table["status"].to_list() == ["not_assessed", "available"]
    assert lost.table["reason_code"][0] == lost.joint.reason_code == "contrast_variance_unresolved"
    assert lost.table["p_value"][1] == pytest.approx(near.contrast({"w": 1.0}).table["p_value"][0], rel=1e-6)
    assert far.contrast(np.eye(3)).joint.status == "not_assessed"
    shifted = mf.glmm("y ~ x + w + (1 | g)", data.with_columns(pl.col("x") + 1e4), "poisson")
    ends = shifted.contrast([[1.0, 1e4, 0.0], [0.0, 0.0, 1.0]]), near.contrast([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    np.testing.assert_allclose(ends[0].table["p_value"], ends[1].table["p_value"], rtol=1e-6)
    assert ends[0].joint.p_value == pytest.approx(ends[1].joint.p_value, rel=1e-6)


@pytest.mark.parametrize("size", [1e300, 1e-300])
def test_contrasts_of_any_size(size: float) -> None:
    fit = mf.glmm("TICKS ~ cHEIGHT + (1 | BROOD)", mf.datasets.load("grouseticks"), "poisson")
    one, other = (fit.contrast([[0.0, weight]]).table for weight in (1.0, size))
    assert other["std_error"][0] == pytest.approx(size * one["std_error"][0], rel=1e-12)
    assert other["p_value"][0] == pytest.approx(one["p_value"][0], rel=1e-9)
