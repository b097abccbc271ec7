"""The fitted object of generalized linear mixed models: what it says, what it refuses, and that every argument counts."""

from __future__ import annotations

import copy
import pickle
import warnings
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from scipy.special import xlogy

import mixeff_fast as mf
from mixeff_fast.errors import (
    ArgumentError,
    ConvergenceNotice,
    DataError,
    FactorCoercionNotice,
    FitError,
    InferenceUnavailable,
    MeanNotice,
    MixeffNotice,
    NotIdentifiable,
    SeparationNotice,
)
from mixeff_fast.fit import means
from tests import glmm_references
from tests.oracle_families import Rows
from tests.oracle_families import mean as oracle_mean
from tests.oracle_glmm import effects, evaluate

Floats = NDArray[np.float64]
Fit = mf.GeneralizedLinearMixedModel

REFERENCES = glmm_references.references()
# lme4 takes other weights there: its criterion is another one
OTHER_CRITERION = ("grouseticks_size", "over_size", "over_size_known")
SAME = [name for name in REFERENCES if name not in OTHER_CRITERION]
LAPLACE = [name for name in SAME if REFERENCES[name]["n_agq"] == 1]
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
TICKS = "TICKS ~ cHEIGHT + (1 | BROOD)"


def family_of(model: dict[str, Any]) -> mf.Family:
    if model["family"] == "negative_binomial":
        return mf.negative_binomial(model["parameter_known"], model["link"])
    return mf.Family(model["family"], model["link"])


@cache
def reference_fit(name: str) -> Fit:
    model = REFERENCES[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.glmm(
            model["formula"], glmm_references.data_of(model), family_of(model), weights=model["weights"],
            offset=model["offset"], method=model["method"], n_agq=max(model["n_agq"], 1),
        )


@cache
def cbpp() -> pl.DataFrame:
    return mf.datasets.load("cbpp")


@cache
def ticks() -> pl.DataFrame:
    return mf.datasets.load("grouseticks")


@cache
def responses() -> pl.DataFrame:
    return glmm_references.data_of(REFERENCES["hit_slopes"])


@cache
def herds() -> Fit:
    return mf.glmm(CBPP, cbpp(), "binomial")


@cache
def broods() -> Fit:
    return mf.glmm(TICKS, ticks(), "poisson")


@cache
def amounts() -> Fit:
    return mf.glmm("amount ~ x + (1 | g)", responses(), "gamma", weights="w")


# ---- against the references


@pytest.mark.parametrize("name", SAME)
def test_fitted_values_modes_and_their_deviations(name: str) -> None:
    model, fit = REFERENCES[name], reference_fit(name)
    wanted = np.array(model["fitted"]["values"])
    np.testing.assert_allclose(fit.fitted[: len(wanted)], wanted, rtol=5e-8)
    shape = {"grpvar": pl.String, "term": pl.String, "grp": pl.String, "condval": pl.Float64, "condsd": pl.Float64}
    reference = pl.DataFrame({key: model["ranef"][key] for key in shape}, schema=shape)
    own = fit.ranef(cond_var=True).with_columns(pl.col("grp").cast(pl.String))
    both = reference.join(own, on=["grpvar", "term", "grp"], how="inner", suffix="_own")
    assert both.height == reference.height
    np.testing.assert_allclose(both["condval_own"], both["condval"], atol=5e-8)
    if model["engine"] == "glmer":
        np.testing.assert_allclose(both["condsd_own"], both["condsd"], atol=5e-8)


@pytest.mark.parametrize("name", [name for name in LAPLACE if REFERENCES[name]["engine"] == "glmmTMB"])
def test_deviations_where_the_weights_are_observed(name: str) -> None:
    problem, criterion = glmm_references.problem_of(name)
    state = evaluate(problem, glmm_references.psi_of(name), criterion)
    assert state is not None
    wanted = glmm_references.labelled(name, *effects(problem, state))
    fit = reference_fit(name)
    columns: dict[str, list[str]] = {}
    for block in fit.spec.compiled.blocks:
        columns.setdefault(fit.spec.compiled.factors[block.factor].group.name, []).extend(block.names)
    for row in fit.ranef(cond_var=True).iter_rows(named=True):
        value, deviation = wanted[row["grpvar"], columns[row["grpvar"]].index(row["term"]), row["grp"]]
        assert row["condval"] == pytest.approx(value, abs=1e-7)
        assert row["condsd"] == pytest.approx(deviation, rel=1e-6)


@pytest.mark.parametrize(
    "name",
    ["cbpp_logit", "cbpp_agq5", "verbagg_crossed", "hit_slopes", "roots_sqrt", "amount_gamma_slopes", "over_size_observed"],
)
def test_the_covariance_of_theta_is_that_of_the_joint_information(name: str) -> None:
    model, fit = REFERENCES[name], reference_fit(name)
    names = [f"theta:{each}" for each in fit.theta_names]
    places = [model["coordinates"].index(each) for each in names]
    wanted = np.array(model["vcov"])[np.ix_(places, places)]
    scale = np.sqrt(np.diag(wanted))
    np.testing.assert_allclose(fit.vcov("theta") / np.outer(scale, scale), wanted / np.outer(scale, scale), atol=2e-4)
    np.testing.assert_allclose(np.diag(fit.vcov("theta", correlation=True)), 1.0, rtol=1e-12)


def test_a_count_of_parameters_that_is_r_s() -> None:
    for name in LAPLACE:
        fit, model = reference_fit(name), REFERENCES[name]
        assert fit.n_parameters == model["df"], name
        assert fit.df_residual == fit.nobs - model["df"]
        assert fit.loglik == pytest.approx(model["logLik"], abs=1e-8)
        assert fit.aic == pytest.approx(model["AIC"], abs=1e-8)
        assert fit.bic == pytest.approx(model["BIC"], abs=1e-8)


# ---- what is a matter of definition


def links() -> list[tuple[str, str]]:
    from mixeff_fast.families import LINKS

    return [(name, link) for name in LINKS for link in LINKS[name] if (name, link) != ("gaussian", "identity")]


COLUMNS = {"binomial": "cbind(successes, tries - successes)", "poisson": "count", "negative_binomial": "over",
           "gamma": "amount", "inverse_gaussian": "amount", "gaussian": "growth"}


def variance(family: str, mu: Floats, parameter: float) -> Floats:
    powers = {"poisson": 1, "gamma": 2, "inverse_gaussian": 3, "gaussian": 0}
    if family == "binomial":
        return mu * (1.0 - mu)
    return mu + mu**2 / parameter if family == "negative_binomial" else mu ** powers[family]


def unit_deviance(family: str, y: Floats, mu: Floats, parameter: float) -> Floats:
    if family == "binomial":
        return 2.0 * (xlogy(y, y / mu) + xlogy(1.0 - y, (1.0 - y) / (1.0 - mu)))
    if family == "poisson":
        return 2.0 * (xlogy(y, y / mu) - (y - mu))
    if family == "negative_binomial":
        return 2.0 * (xlogy(y, y / mu) - (y + parameter) * np.log((y + parameter) / (mu + parameter)))
    if family == "gamma":
        return 2.0 * ((y - mu) / mu - np.log(y / mu))
    return (y - mu) ** 2 / (mu**2 * y) if family == "inverse_gaussian" else (y - mu) ** 2


@pytest.mark.parametrize(("family", "link"), links())
@pytest.mark.parametrize("weighted", [False, True])
def test_residuals_are_those_of_a_glm(family: str, link: str, weighted: bool) -> None:
    weights = "w" if weighted else None
    spec = mf.compile_model(
        f"{COLUMNS[family]} ~ x + (1 | g)", responses(), family=mf.Family(family, link), weights=weights  # type: ignore[arg-type]
    )
    positive = link in ("sqrt", "identity", "inverse", "inverse_square")
    eta = np.random.default_rng(1).uniform(0.3, 1.5, 360) if positive else np.random.default_rng(1).uniform(-1.5, -0.1, 360)
    parameter = 1.7 if spec.compiled.family.parameter_name else None  # type: ignore[union-attr]

    def of(eta: Floats) -> Floats:
        if (family, link) == ("binomial", "log"):
            return np.exp(eta)
        if (family, link) == ("inverse_gaussian", "identity"):
            return eta
        name = {"inverse_square": "1/mu^2"}.get(link, link)
        return oracle_mean(Rows(np.ones(360), np.ones(360), family, name, 1.7), eta)

    frame = spec.compiled.frame
    y = np.asarray(frame.response) / (1.0 if frame.trials is None else frame.trials)
    w = means.row_weights(spec.compiled)
    assert np.ptp(w) > 0.0 or not (weighted or family == "binomial")
    mu, slope = of(eta), (of(eta + 1e-6) - of(eta - 1e-6)) / 2e-6

    def own(kind: Any) -> Floats:
        return means.residuals(spec.compiled, parameter, eta, kind)

    np.testing.assert_allclose(means.mean(spec.compiled.family, parameter, eta), mu, rtol=1e-12)  # type: ignore[arg-type]
    np.testing.assert_allclose(own("response"), y - mu, atol=1e-12)
    np.testing.assert_allclose(own("working"), (y - mu) / slope, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(own("pearson"), (y - mu) * np.sqrt(w / variance(family, mu, 1.7)), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(
        own("deviance"), np.sign(y - mu) * np.sqrt(w * unit_deviance(family, y, mu, 1.7)), rtol=1e-7, atol=1e-9
    )


def test_residuals_that_glmer_prints() -> None:
    """lme4 with ``tolPwrss`` 1e-13 and a final radius of 1e-11."""
    fit = herds()
    printed = {
        "response": [-0.16535050, 0.10825174, 0.31848691, -0.08402875],
        "pearson": [-1.33986162, 1.07512586, 2.87961555, -0.67726404],
        "deviance": [-1.43803186, 0.98874314, 2.35699780, -0.93685803],
        "working": [-0.77550811, 0.88982064, 2.89290997, -1.09173732],
    }
    for kind, values in printed.items():
        np.testing.assert_allclose(fit.residuals(kind)[:4], values, atol=3e-7)  # type: ignore[arg-type]
    pieces = {"ldL2": 16.9010112, "wrss": 63.0782860, "ussq": 9.72312136, "pwrss": 72.8014073, "drsum": 73.4717236}
    for name, value in pieces.items():
        assert fit.get_me("devcomp")[name] == pytest.approx(value, abs=2e-6), name
    np.testing.assert_array_equal(fit.residuals(), fit.residuals("response"))


def test_scaled_residuals_are_in_units_of_sigma() -> None:
    fit = amounts()
    assert fit.sigma == pytest.approx(np.sqrt(fit.family_parameter))
    np.testing.assert_allclose(fit.residuals("pearson", scaled=True) * fit.sigma, fit.residuals("pearson"), rtol=1e-13)
    assert herds().sigma == 1.0
    np.testing.assert_array_equal(herds().residuals("pearson", scaled=True), herds().residuals("pearson"))


def test_rows_without_trials_have_residuals_of_nothing() -> None:
    data = cbpp().with_columns(
        size=pl.when(pl.int_range(pl.len()) == 3).then(0).otherwise("size"),
        incidence=pl.when(pl.int_range(pl.len()) == 3).then(0).otherwise("incidence"),
    )
    fit = mf.glmm(CBPP, data, "binomial")
    assert fit.residuals("pearson")[3] == fit.residuals("deviance")[3] == 0.0
    assert fit.residuals("response")[3] == -fit.fitted[3]
    assert np.isfinite(fit.residuals("working")[3])
    assert fit.weights[3] == 0.0
    assert fit.simulate(3, seed=1).row(3) == (0.0, 0.0, 0.0)


def test_pieces_fit_together() -> None:
    for fit in (herds(), broods(), reference_fit("hit_slopes"), reference_fit("amount_gamma_slopes"),
                reference_fit("successes_offset")):
        b = fit.get_me("b")
        np.testing.assert_allclose(fit.get_me("Lambda") @ fit.get_me("u"), b, atol=1e-10)
        eta = fit.model_matrix() @ fit.beta + fit.model_matrix("random") @ b + fit.offset
        np.testing.assert_allclose(fit.linear_predictor, eta, atol=1e-10)
        np.testing.assert_allclose(fit.predict(), fit.fitted, rtol=1e-12)
        np.testing.assert_allclose(fit.get_me("mu"), fit.fitted)
        np.testing.assert_allclose(fit.get_me("y") - fit.fitted, fit.residuals(), atol=1e-12)
        assert fit.get_me("is_REML") is False
        pieces = fit.get_me("devcomp")
        assert pieces["ussq"] == pytest.approx(float(np.sum(fit.get_me("u") ** 2)), rel=1e-8)
        assert pieces["dev"] == fit.deviance == -2.0 * fit.loglik


def test_the_objective_is_the_sum_of_its_parts() -> None:
    for fit in (herds(), broods(), amounts()):
        r = fit.result
        assert r.deviance + r.penalty + r.logdet - 2.0 * r.saturated == pytest.approx(r.objective, rel=1e-12)
        dispersion = fit.family_parameter if fit.family.has_dispersion else 1.0
        assert float(np.sum(fit.residuals("deviance") ** 2)) == pytest.approx(r.deviance * dispersion, rel=1e-9)


def test_properties() -> None:
    fit = herds()
    assert str(fit.family) == 'binomial(link="logit")'
    assert (fit.method, fit.n_agq, fit.inference) == ("joint_laplace", 1, "auto")
    assert fit.family_parameter is None
    assert fit.ngrps == {"herd": 15}
    np.testing.assert_array_equal(fit.weights, cbpp()["size"])
    np.testing.assert_array_equal(amounts().weights, responses()["w"])
    np.testing.assert_array_equal(broods().weights, np.ones(403))
    np.testing.assert_array_equal(fit.offset, np.zeros(56))
    assert amounts().varcorr().rows()[-1][0] == "Residual"
    assert amounts().varcorr()["vcov"][-1] == pytest.approx(amounts().family_parameter)
    assert "Residual" not in fit.varcorr()["grp"]
    assert fit.varcorr()["sdcor"][0] == pytest.approx(fit.theta[0])
    assert fit.coef().filter(grp="1", term="(Intercept)")["estimate"][0] == pytest.approx(
        fit.beta[0] + fit.ranef()["condval"][0]
    )
    assert fit.model_frame()["(trials)"].to_list() == cbpp()["size"].to_list()


def test_there_is_no_reml() -> None:
    fit = herds()
    with pytest.raises(InferenceUnavailable) as caught:
        _ = fit.reml_criterion
    assert caught.value.reason_code == "reml_undefined_for_family"
    with pytest.raises(ArgumentError, match="REML"):
        fit.loglik_at(reml=True)
    assert fit.loglik_at() == fit.loglik_at(reml=False) == pytest.approx(fit.loglik, abs=1e-10)
    assert fit.extract_aic() == (5, pytest.approx(fit.aic))
    assert fit.extract_aic(k=3.0)[1] == pytest.approx(fit.aic + 5.0)


def test_singularity_is_judged_on_the_scale_of_the_linear_predictor() -> None:
    assert reference_fit("flat_singular").is_singular()
    assert not herds().is_singular()
    assert herds().is_singular(tol=10.0)


# ---- engines are made again


def test_an_engine_that_is_made_again_gives_the_same_bits() -> None:
    names = (
        "cbpp_logit", "cbpp_profiled", "hit_slopes", "amount_gamma_crossed", "roots_sqrt", "verbagg_crossed", "cbpp_agq5"
    )
    for name in names:
        fit = reference_fit(name)
        fit.simulate(1, seed=3)
        again = Fit(fit.spec, fit.control, None, fit.result, fit.inference)
        assert fit.handle_alive
        assert not again.handle_alive
        assert again.ranef(cond_var=True).equals(fit.ranef(cond_var=True))
        assert again.loglik_at() == fit.loglik_at() == pytest.approx(fit.loglik, abs=1e-9)
        assert again.simulate(2, seed=5).equals(fit.simulate(2, seed=5))
        np.testing.assert_array_equal(again.get_me("u"), fit.get_me("u"))
        if fit.method == "joint_laplace":
            np.testing.assert_array_equal(again.vcov("theta"), fit.vcov("theta"))
        assert again.handle_alive


# ---- simulation


def draws(fit: Fit, nsim: int, **arguments: Any) -> Floats:
    return fit.simulate(nsim, seed=11, **arguments).to_numpy()


def test_a_replicate_is_a_stream_of_its_own() -> None:
    few, many = broods().simulate(2, seed=4), broods().simulate(5, seed=4)
    assert few.equals(many.select("sim_1", "sim_2"))
    assert not few.equals(broods().simulate(2, seed=5))
    assert not broods().simulate(1, seed=4, re_form=None).equals(broods().simulate(1, seed=4))
    assert not broods().simulate(1).equals(broods().simulate(1))


@pytest.mark.parametrize("name", ["cbpp_logit", "count_offset", "over_size_observed", "amount_gamma", "growth_gaussian_log"])
def test_simulated_rows_have_the_mean_and_the_variance_of_the_family(name: str) -> None:
    fit = reference_fit(name)
    drawn = draws(fit, 4000, re_form=None)
    trials = fit.weights if fit.family.name == "binomial" else 1.0
    size = fit.family_parameter or 1.0
    dispersion = size if fit.family.has_dispersion else 1.0
    spread = dispersion * trials * variance(fit.family.name, fit.fitted, size)
    z = (drawn.mean(axis=1) - trials * fit.fitted) / np.sqrt(spread / 4000)
    assert np.abs(z).max() < 5.0
    assert np.mean(z**2) == pytest.approx(1.0, abs=0.4)
    assert np.mean(drawn.var(axis=1) / spread) == pytest.approx(1.0, abs=0.05)


def test_inverse_gaussian_rows_and_weights() -> None:
    fit = mf.glmm("amount ~ x + (1 | g)", responses(), "inverse_gaussian", weights="w")
    drawn = draws(fit, 8000, re_form=None)
    spread = fit.family_parameter * fit.fitted**3 / fit.weights
    np.testing.assert_allclose(drawn.mean(axis=1), fit.fitted, atol=0.0, rtol=0.5)
    assert np.abs((drawn.mean(axis=1) - fit.fitted) / np.sqrt(spread / 8000)).mean() < 1.2
    w = np.asarray(amounts().weights)
    ratio = draws(amounts(), 3000, re_form=None).var(axis=1) / amounts().fitted ** 2
    assert ratio[w == 1].mean() / ratio[w == 4].mean() == pytest.approx(4.0, rel=0.1)


def test_new_random_effects_add_their_variance() -> None:
    fit = broods()
    drawn = draws(fit, 3000)
    logs = fit.predict(type="link", re_form="population")
    expected = np.exp(logs + 0.5 * fit.theta[0] ** 2)
    assert np.mean(drawn.mean(axis=1) / expected) == pytest.approx(1.0, abs=0.05)


def test_simulated_responses_are_of_the_kind_of_the_response() -> None:
    pair, share = herds(), mf.glmm("incidence / size ~ period + (1 | herd)", cbpp(), "binomial", weights="size")
    counts, proportions = pair.simulate(1, seed=1)["sim_1"], share.simulate(1, seed=1)["sim_1"]
    np.testing.assert_allclose(proportions * cbpp()["size"], counts, atol=1e-12)
    np.testing.assert_allclose(share.refit(proportions).beta, pair.refit(counts).beta, atol=1e-6)
    hits = mf.glmm("hit ~ x + (1 | g)", responses(), "binomial")
    assert set(hits.simulate(1, seed=2)["sim_1"]) == {0.0, 1.0}
    assert share.model_frame()["incidence/size"].max() <= 1.0


def test_rows_without_a_mean_are_not_numbers() -> None:
    fit = mf.glmm("straight ~ z + (1 | g)", responses(), mf.poisson("identity"))
    low = responses().head(2).with_columns(z=-50.0)
    with pytest.warns(MeanNotice, match="2 of 2 linear predictors have no mean in the poisson family under the identity"):
        assert np.isnan(fit.predict(low)).all()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.all(fit.predict(low, type="link") < 0.0)
        fit.predict()
    far = mf.control(start=[20.0], max_evaluations=1)
    wide = mf.glmm("straight ~ z + (1 | g)", responses(), mf.poisson("sqrt"), control=far)
    with pytest.warns(MeanNotice, match="no mean"):
        assert np.isnan(wide.simulate(1, seed=1).to_numpy()).any()
    codes = fit.spec.compiled.family
    assert codes is not None
    drawn = means.draw(codes, None, np.array([np.nan, 2.0, 1e30]), None, None, np.random.default_rng(1))
    assert np.isnan(drawn).tolist() == [True, False, True]


@pytest.mark.parametrize(
    "arguments", [{"nsim": 0}, {"nsim": True}, {"seed": -1}, {"seed": "a"}, {"re_form": "~(1 | herd)"}], ids=str
)
def test_simulations_that_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        herds().simulate(**arguments)


# ---- refits and updates


def test_a_refit_to_the_same_response_is_the_same_fit() -> None:
    for fit, response in (
        (herds(), cbpp()["incidence"]), (herds(), cbpp().select("incidence", pl.col("size") - pl.col("incidence"))),
        (herds(), np.column_stack([cbpp()["incidence"], cbpp()["size"] - cbpp()["incidence"]])),
        (broods(), ticks()["TICKS"]), (amounts(), responses()["amount"].to_list()),
    ):
        again = fit.refit(response)
        assert again.deviance == pytest.approx(fit.deviance, abs=1e-8)
        np.testing.assert_allclose(again.beta, fit.beta, atol=1e-6)
        assert again.control == fit.control
        assert again.fit_status == fit.fit_status


def test_a_refit_is_the_fit_of_data_with_that_response() -> None:
    drawn = broods().simulate(1, seed=8)["sim_1"]
    again, direct = broods().refit(drawn), mf.glmm(TICKS, ticks().with_columns(TICKS=drawn), "poisson")
    assert again.deviance == pytest.approx(direct.deviance, abs=1e-7)
    assert again.update(". ~ . + YEAR").deviance == pytest.approx(direct.update(". ~ . + YEAR").deviance, abs=1e-7)


def test_labels_are_taken_for_a_response_of_labels() -> None:
    data = responses().with_columns(answer=pl.col("answer").cast(pl.Categorical))
    with pytest.warns(FactorCoercionNotice):
        fit = mf.glmm("answer ~ z + (1 | school)", data, "binomial")
    flipped = responses()["answer"].replace_strict({"yes": "no", "no": "yes"})
    numbers = (flipped == "yes").cast(pl.Float64)
    np.testing.assert_allclose(fit.refit(flipped).beta, fit.refit(numbers).beta, atol=1e-9)
    np.testing.assert_allclose(fit.refit(flipped == "yes").beta, -fit.beta, atol=1e-5)
    with pytest.raises(DataError, match="neither 'no' nor 'yes' in rows \\[2\\]"):
        fit.refit(flipped.scatter(2, "perhaps"))


@pytest.mark.parametrize(
    ("fit", "response", "message"),
    [
        (herds, lambda: [1.0, 2.0], "shape"),
        (herds, lambda: cbpp()["size"] + 1, "more than the trials"),
        (herds, lambda: cbpp()["incidence"] + 0.5, "whole"),
        (herds, lambda: cbpp().select("incidence", "size"), "add up to the trials"),
        (herds, lambda: ["a"] * 56, "not numeric"),
        (herds, lambda: np.full(56, np.nan), "not finite"),
        (broods, lambda: -1.0 * ticks()["TICKS"], "negative"),
        (broods, lambda: np.ones((403, 2)), "shape"),
        (amounts, lambda: 0.0 * responses()["amount"], "positive"),
    ],
)
def test_responses_that_are_refused(fit: Any, response: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit().refit(response())


def test_a_response_in_which_nothing_varies_is_refused() -> None:
    with pytest.raises(FitError) as caught:
        herds().refit(np.zeros(56))
    assert caught.value.reason_code == "constant_response"


def test_proportions_that_are_no_counts_are_refused() -> None:
    fit = mf.glmm("incidence / size ~ period + (1 | herd)", cbpp(), "binomial", weights="size")
    with pytest.raises(DataError, match="no proportion of the trials in rows \\[0\\]"):
        fit.refit((cbpp()["incidence"] / cbpp()["size"]).scatter(0, 0.123456))


CHANGES: dict[str, Any] = {
    "family": mf.binomial("probit"), "data": cbpp().head(40), "weights": pl.lit(2.0), "offset": pl.lit(0.5) * pl.col("size"),
    "subset": pl.col("size") > 5, "contrasts": {"period": "sum"}, "method": "pirls_profiled",
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_has_an_effect(name: str) -> None:
    changed = herds().update(**{name: CHANGES[name]})
    assert not np.allclose(changed.beta, herds().beta)


def test_other_changes() -> None:
    fit = herds()
    assert fit.update(inference="none").inference == "none"
    assert fit.update(control=mf.control(tolerance=1e-7)).control.tolerance == 1e-7
    assert fit.update(intent="exploratory").call.intent == "exploratory"
    assert fit.update(audit_columns=["herd"]).call.audit_columns == ("herd",)
    assert fit.update(roles=mf.roles(herd="sampled_unit")).call.roles["herd"] == "sampled_unit"
    with_gap = cbpp().with_columns(period=pl.when(pl.int_range(pl.len()) > 1).then("period"))
    with pytest.warns(MixeffNotice):
        assert fit.update(data=with_gap, na_action="omit").nobs == 54
    assert fit.update(". ~ . - period").coef_names == ("(Intercept)",)
    assert fit.update(inference="none").update(method="pirls_profiled").inference == "none"
    started = fit.update(control=mf.control(start=[0.6]))
    assert started.control.start == (0.6,)
    assert started.update().control.start is None


@pytest.mark.parametrize("changes", [{"reml": True}, {"famly": "poisson"}, {"family": None}])
def test_changes_that_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        herds().update(**changes)


# ---- prediction


def test_predictions_for_new_rows() -> None:
    fit, new = herds(), cbpp().select("period", "herd").head(4)
    np.testing.assert_allclose(fit.predict(new), fit.fitted[:4], rtol=1e-12)
    np.testing.assert_allclose(fit.predict(new, type="link"), fit.linear_predictor[:4], rtol=1e-12)
    population = fit.predict(new, re_form="population")
    np.testing.assert_allclose(population, 1.0 / (1.0 + np.exp(-(fit.model_matrix() @ fit.beta)[:4])), rtol=1e-12)
    np.testing.assert_allclose(fit.predict(new, re_form="~(1 | herd)"), fit.predict(new), rtol=1e-12)
    stranger = new.with_columns(herd=pl.lit("new"))
    with pytest.raises(DataError, match="not seen"):
        fit.predict(stranger)
    np.testing.assert_allclose(fit.predict(stranger, allow_new_levels=True), population, rtol=1e-12)


def test_predictions_take_an_offset() -> None:
    data = responses().with_columns(logged=pl.col("exposure").log())
    fit = mf.glmm("count ~ x + (1 | school)", data, "poisson", offset="logged")
    new = data.head(5)
    np.testing.assert_allclose(fit.predict(new), fit.fitted[:5], rtol=1e-12)
    doubled = fit.predict(new, offset=(2.0 * pl.col("exposure")).log())
    np.testing.assert_allclose(doubled, 2.0 * fit.fitted[:5], rtol=1e-12)


def test_some_terms_of_several() -> None:
    fit = reference_fit("successes_probit_crossed")
    both, one = fit.predict(type="link"), fit.predict(type="link", re_form="~(1 | g)")
    none = fit.predict(type="link", re_form="population")
    b = fit.ranef().filter(grpvar="g")
    by_level = dict(zip(b["grp"].cast(pl.String), b["condval"], strict=True))
    np.testing.assert_allclose(one - none, [by_level[level] for level in responses()["g"]], atol=1e-12)
    assert not np.allclose(both, one)


@pytest.mark.parametrize(
    "arguments", [{"type": "probability"}, {"re_form": "~(1 | nobody)"}, {"allow_new_levels": 1}], ids=str
)
def test_predictions_that_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises((ArgumentError, DataError)):
        herds().predict(cbpp(), **arguments)


# ---- inference, and where there is none


def statuses(fit: Fit) -> list[tuple[str | None, str | None]]:
    return fit.confint(list(fit.coef_names)).select("status", "reason_code").rows()


def test_intervals() -> None:
    fit = herds()
    found = fit.confint()
    assert found["parameter"].to_list() == [*fit.theta_names, *fit.coef_names]
    wanted = fit.beta[:, None] + 1.959963984540054 * np.array([-1.0, 1.0]) * fit.std_error[:, None]
    np.testing.assert_allclose(found.tail(4).select("lower", "upper").to_numpy(), wanted, rtol=1e-12)
    narrow = fit.confint("period2", level=0.5)
    assert narrow["upper"][0] - narrow["lower"][0] == pytest.approx(2 * 0.6744897501960817 * fit.std_error[1])
    assert amounts().confint("dispersion")["status"][0] == "not_assessed"
    assert reference_fit("over_size_observed").confint("theta")["reason_code"][0] is not None
    with pytest.raises(ArgumentError, match="no parameter"):
        fit.confint("sigma")
    with pytest.raises(ArgumentError, match="asymptotic"):
        fit.confint(method="profile")  # type: ignore[arg-type]


def test_profiled_fixed_effects_have_no_intervals() -> None:
    fit = reference_fit("cbpp_profiled")
    assert set(statuses(fit)) == {("unsupported", "profiled_fixed_effects_no_likelihood")}
    assert np.all(np.isfinite(fit.std_error))
    with pytest.raises(InferenceUnavailable) as caught:
        fit.vcov("theta")
    assert caught.value.reason_code == "theta_covariance_unavailable"


def test_inference_that_is_not_asked_for() -> None:
    fit = mf.glmm(CBPP, cbpp(), "binomial", inference="none")
    assert set(statuses(fit)) == {("not_assessed", "inference_not_requested")}
    assert fit._separation.finding.payload["reason"] == "inference_not_requested"  # type: ignore[union-attr]
    np.testing.assert_array_equal(fit.beta, herds().beta)


def test_covariance_parameters_on_the_boundary_are_taken_as_known() -> None:
    from mixeff_fast.inference.gates import wald_notes

    fit = reference_fit("flat_singular")
    assert set(statuses(fit)) == {("available", None)}
    assert wald_notes(fit.result) == ("boundary_parameters_taken_as_known",)
    assert wald_notes(herds().result) == ()
    with pytest.raises(InferenceUnavailable, match="boundary"):
        fit.vcov("theta")


def separable(rows: int = 200) -> pl.DataFrame:
    stream = np.random.default_rng(3)
    x, arm = stream.normal(size=rows), np.arange(rows) % 2
    y = np.where(arm == 1, 1.0, stream.uniform(size=rows) < 0.4)
    return pl.DataFrame({"y": y, "x": x, "arm": arm.astype(float), "g": [f"g{i % 20:02d}" for i in range(rows)]})


def test_more_random_effects_than_rows_are_refused() -> None:
    data = ticks().with_columns(row=pl.int_range(pl.len()).cast(pl.String))
    assert mf.glmm("TICKS ~ 1 + (1 | row)", data, "poisson").fit_status == "converged_interior"
    with pytest.raises(NotIdentifiable, match="806 random effects for 403 rows"):
        mf.glmm("TICKS ~ 1 + (cHEIGHT | row)", data, "poisson")


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
def test_likelihoods_that_are_no_maxima_have_no_ratio() -> None:
    small, none = mf.glmm("TICKS ~ 1 + (1 | BROOD)", ticks(), "poisson"), mf.control(max_evaluations=2)
    stopped = mf.glmm("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", ticks(), "poisson", control=none)
    assert stopped.fit_status == "not_optimized"
    apart = [mf.glmm(f"y ~ {text} + (1 | g)", separable(), "binomial") for text in ("x", "x + arm")]
    assert apart[1].fit_status == "not_identifiable"
    for fits in ((small, stopped), apart):
        row = mf.compare(*fits).table.row(1, named=True)
        assert (row["chisq"], row["p_value"], row["reason_code"]) == (None, None, "lrt_unavailable")


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_separated_outcomes_get_no_tests() -> None:
    with pytest.warns(SeparationNotice, match="arm"):
        fit = mf.glmm("y ~ x + arm + (1 | g)", separable(), "binomial")
    check = fit._separation
    assert check is not None
    assert check.separated
    assert check.finding is not None
    assert check.finding.code == "binomial_separation"
    assert check.finding.payload["separation_kind"] == "quasi_complete_fixed_effect"
    assert check.finding.payload["columns"] == ["arm"]
    assert {code for _, code in statuses(fit)} <= {"binomial_separation", "aliased_column"}
    whole = separable().with_columns(y=(pl.col("x") > 0.0).cast(pl.Float64))
    with pytest.warns(SeparationNotice):
        fit = mf.glmm("y ~ x + (1 | g)", whole, "binomial")
    assert fit._separation.finding.payload["separation_kind"] == "complete_fixed_effect"  # type: ignore[union-attr]
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeparationNotice)
        warnings.simplefilter("ignore", ConvergenceNotice)
        assert mf.glmm("y ~ x + (1 | g)", whole, "binomial", inference="none")._separation.symptoms == ()  # type: ignore[union-attr]


def test_groups_of_one_outcome_are_no_separation() -> None:
    stream = np.random.default_rng(5)
    y = (stream.uniform(size=200) < 0.5).astype(float)
    group = np.repeat(np.arange(20), 10)
    y[group < 6], y[group > 15] = 1.0, 0.0
    data = separable().with_columns(y=pl.Series(y), g=pl.Series([f"g{i:02d}" for i in group]))
    fit = mf.glmm("y ~ x + (1 | g)", data, "binomial")
    assert fit.fit_status == "converged_interior"
    assert not fit._separation.separated  # type: ignore[union-attr]
    assert set(statuses(fit)) == {("available", None)}


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_groups_that_all_have_one_outcome_do_not_bound_their_standard_deviation() -> None:
    data = pl.DataFrame({"y": [1] * 60 + [0] * 60, "g": [f"g{k // 10}" for k in range(120)]})
    for options in ({}, {"n_agq": 9}, {"method": "pirls_profiled"}):
        with pytest.warns(SeparationNotice, match="random effects of g tell all successes from all failures"):
            fit = mf.glmm("y ~ 1 + (1 | g)", data, "binomial", **options)
        assert (fit.fit_status, statuses(fit)) == ("not_identifiable", [("not_assessed", "binomial_separation")])
        (told,) = [d for d in fit.artifact.diagnostics if d.code == "binomial_separation"]
        assert (told.severity, told.payload["separation_kind"]) == ("warning", "complete_conditional")
        assert fit.artifact.fixed_effect_covariance.reason_code == "binomial_separation"
        assert fit.artifact.verdict.identifiability.level == "failed"
    with warnings.catch_warnings():
        warnings.simplefilter("error", SeparationNotice)
        assert mf.glmm("y ~ 1 + (1 | g)", data, "binomial", inference="none").fit_status == "converged_interior"


def test_levels_of_one_outcome_that_leave_others_are_told_of() -> None:
    stream = np.random.default_rng(2)
    group = np.repeat(np.arange(40), 8)
    y = stream.uniform(size=320) < 1.0 / (1.0 + np.exp(-9.0 * stream.normal(size=40)[group]))
    fit = mf.glmm("y ~ 1 + (1 | g)", pl.DataFrame({"y": y, "g": [f"g{k}" for k in group]}), "binomial")
    (told,) = [d for d in fit.artifact.diagnostics if d.payload.get("reason") == "levels_of_one_outcome"]
    counts = np.array([y[group == k].mean() for k in range(40)])
    assert (told.code, told.payload["n_one_outcome"]) == ("support_note", int(np.isin(counts, [0.0, 1.0]).sum()))
    assert (fit.fit_status, statuses(fit)) == ("converged_interior", [("available", None)])


def test_separation_is_looked_for_on_symptoms_only(monkeypatch: pytest.MonkeyPatch) -> None:
    from mixeff_fast.fit import separation_check

    monkeypatch.setattr(separation_check, "separation", lambda *_: pytest.fail("not called for"))
    check = mf.glmm(CBPP, cbpp(), "binomial")._separation
    assert check is not None
    assert check.finding is not None
    assert (check.finding.code, check.finding.payload["reason"]) == ("separation_check_skipped", "no_symptoms")
    assert broods()._separation is None


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
def test_a_test_for_separation_that_would_take_long_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from mixeff_fast.errors import BackendError
    from mixeff_fast.fit import separation_check

    def fails(*_: Any) -> Any:
        raise BackendError("no")

    monkeypatch.setattr(separation_check, "separation", fails)
    fit = mf.glmm("y ~ x + arm + (1 | g)", separable(), "binomial")
    assert fit._separation.finding.payload["reason"] == "linear_program_not_solved"  # type: ignore[union-attr]
    monkeypatch.setattr(separation_check, "LARGEST", 10)
    fit = mf.glmm("y ~ x + arm + (1 | g)", separable(), "binomial")
    assert fit._separation.finding.payload["reason"] == "too_large"  # type: ignore[union-attr]
    assert not fit._separation.separated  # type: ignore[union-attr]


# ---- arguments


def test_every_argument_of_glmm_has_an_effect() -> None:
    base = herds()
    other: dict[str, Any] = {**CHANGES, "offset": "shift"}
    data = cbpp().with_columns(shift=pl.Series(np.linspace(-1.0, 1.0, 56)))
    for name, value in other.items():
        arguments = {"data": data, "family": "binomial", name: value}
        fit = mf.glmm(CBPP, **arguments)
        assert not np.allclose(fit.beta, base.beta), name
    with pytest.raises(DataError):
        mf.glmm(CBPP, data.with_columns(period=None), "binomial")
    assert mf.glmm(CBPP, data, "binomial", control=mf.control(max_evaluations=300)).control.max_evaluations == 300
    assert mf.glmm(CBPP, data, "binomial", intent="predictive").call.intent == "predictive"
    assert mf.glmm(CBPP, data, "binomial", audit_columns=["herd"]).call.audit_columns == ("herd",)
    assert mf.glmm(CBPP, data, "binomial", roles=mf.roles(herd="sampled_unit")).call.roles["herd"] == "sampled_unit"


@pytest.mark.parametrize(
    "arguments",
    [{"method": "laplace"}, {"n_agq": 0}, {"n_agq": 1.5}, {"n_agq": True}, {"inference": "bootstrap"}, {"inference": None},
     {"control": {}}, {"family": None}, {"family": "gaussian"}],
    ids=str,
)
def test_arguments_that_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ArgumentError):
        mf.glmm(CBPP, cbpp(), **{"family": "binomial", **arguments})


def test_fixed_effects_alone_are_refused_with_a_pointer() -> None:
    with pytest.raises(FitError, match="GLM") as caught:
        mf.glmm("incidence ~ period", cbpp(), "poisson")
    assert caught.value.reason_code == "no_random_effects"


def test_a_spec_is_fitted_by_what_it_is() -> None:
    spec = mf.compile_model(CBPP, cbpp(), family="binomial")
    fit = spec.fit(method="pirls_profiled", inference="none")
    assert isinstance(fit, Fit)
    assert (fit.method, fit.inference) == ("pirls_profiled", "none")
    np.testing.assert_array_equal(spec.fit().beta, herds().beta)
    for reml in (True, False):
        with pytest.raises(ArgumentError, match="reml"):
            spec.fit(reml=reml)
    with pytest.raises(ArgumentError, match="refit"):
        spec.prepare()


def test_copies_and_pickles() -> None:
    fit = herds()
    for again in (copy.deepcopy(fit), pickle.loads(pickle.dumps(fit))):
        np.testing.assert_array_equal(again.beta, fit.beta)
        assert again.ranef(cond_var=True).equals(fit.ranef(cond_var=True))
        assert again.inference == fit.inference


# ---- comparisons


def test_likelihood_ratios() -> None:
    small, large = herds().update(". ~ . - period"), herds()
    table = mf.compare(large, small).table
    assert table["chisq"][1] == pytest.approx(small.deviance - large.deviance, abs=1e-9)
    assert (table["df"][1], table["status"][1], table["criterion"].to_list()) == (3, "available", ["ML", "ML"])
    profiled = mf.compare(*(fit.update(method="pirls_profiled") for fit in (small, large)))
    assert profiled.refitted == ("model_1", "model_2")
    assert profiled.table["chisq"][1] == pytest.approx(table["chisq"][1], abs=1e-7)
    kept = mf.compare(small.update(method="pirls_profiled"), large, refit_for_comparison="error")
    assert kept.table["reason_code"][1] == "ml_refit_required"


def test_fits_that_do_not_compare_by_a_likelihood_ratio() -> None:
    probit = herds().update(family=mf.binomial("probit"))
    comparison = mf.compare(herds(), probit.update(". ~ . - period"))
    assert comparison.table["reason_code"][1] == "different_link"
    assert comparison.artifact.assessments[0].comparison_class == "different_link"
    assert comparison.table["aic"].null_count() == 0
    counts = mf.glmm("TICKS ~ cHEIGHT + YEAR + (1 | BROOD)", ticks(), mf.negative_binomial())
    comparison = mf.compare(broods(), counts)
    assert comparison.table["reason_code"][1] == "different_family"
    assert comparison.artifact.assessments[0].comparison_class == "different_family"
    assert comparison.artifact.assessments[0].information_criteria_available
    linear = mf.lmm(TICKS, ticks(), reml=False)
    assert mf.compare(broods(), linear).table["reason_code"][1] == "different_family"
    shifted = herds().update(". ~ . - period", offset=pl.col("size") * 0.01)
    assert mf.compare(herds(), shifted).table["reason_code"][1] == "non_nested_models_lrt_invalid"
    with pytest.raises(ArgumentError, match="rows"):
        mf.compare(herds(), herds().refit(herds().simulate(1, seed=1)["sim_1"]))
    with pytest.raises(ArgumentError, match="takes fits"):
        mf.compare(herds(), herds().spec)  # type: ignore[arg-type]


def test_a_criterion_of_profiled_fixed_effects_is_no_likelihood() -> None:
    fit = reference_fit("cbpp_profiled")
    assert fit.extract_aic()[1] == pytest.approx(herds().aic, abs=1e-6)
    assert fit.aic > herds().aic + 0.01
