"""The fitted object: every argument does something, getters hold together, and tables and comparisons are R's."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy import stats

import mixeff_fast as mf
from mixeff_fast.errors import (
    ArgumentError,
    ConvergenceNotice,
    DataError,
    FitError,
    FormulaError,
    InferenceUnavailable,
    RankNotice,
)
from tests.reference_fits import FOLDER, data_of, fitted, references

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MissingRowsNotice")

SLEEP = "Reaction ~ Days + (Days | Subject)"
Model = mf.LinearMixedModel

# what is called, and its arguments that change nothing but what is fitted or asked of the whole function
FUNCTIONS: dict[str, tuple[Callable[..., Any], set[str]]] = {
    "lmm": (mf.lmm, {"formula", "data"}),
    "compile_model": (mf.compile_model, {"formula", "data"}),
    "fit": (mf.ModelSpec.fit, set()),
    "control": (mf.control, set()),
    "compare": (mf.compare, {"fit", "fits"}),
    "parse_formula": (mf.parse_formula, {"text"}),
    **{
        name: (getattr(Model, name), set())
        for name in ("predict", "simulate", "confint", "vcov", "residuals", "ranef", "refit", "is_singular", "summary",
                     "model_matrix", "loglik_at", "extract_aic", "as_json", "get_me")
    },
    "update": (Model.update, {"changes"}),
}
TESTED: dict[str, set[str]] = {name: set() for name in FUNCTIONS}


def effect(function: str, *arguments: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Record that a test shows what these arguments of ``function`` do."""

    def mark(test: Callable[..., None]) -> Callable[..., None]:
        TESTED[function].update(arguments)
        return test

    return mark


@cache
def sleep(reml: bool = True) -> Model:
    return mf.lmm(SLEEP, mf.datasets.load("sleepstudy"), reml=reml)


@cache
def sleepstudy() -> pl.DataFrame:
    days = pl.col("Days")
    return mf.datasets.load("sleepstudy").with_columns(
        w=1.0 + days / 3, o=5.0 * days, late=days >= 2, half=(days >= 5).cast(pl.String)
    )


def same(a: Model, b: Model) -> bool:
    return bool(np.array_equal(a.theta, b.theta) and np.array_equal(a.fitted, b.fitted))


@effect("compile_model", "family")
def test_a_family_is_compiled():
    spec = mf.compile_model("half ~ Days + (1 | Subject)", sleepstudy(), family=mf.binomial("probit"))
    assert (spec.compiled.family, spec.compiled.frame.response.max()) == (mf.binomial("probit"), 1.0)


def test_every_argument_is_tested():
    for name, (function, exempt) in FUNCTIONS.items():
        arguments = set(inspect.signature(function).parameters) - {"self"} - exempt
        changes = {"data", "weights", "offset", "subset", "na_action", "contrasts", "roles", "audit_columns", "intent", "reml",
                   "control"}
        assert TESTED[name] == arguments | (changes if name == "update" else set()), name


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_unknown_arguments_are_errors(name):
    fit = sleep()
    bound = {
        "lmm": lambda **k: mf.lmm(SLEEP, sleepstudy(), **k),
        "compile_model": lambda **k: mf.compile_model(SLEEP, sleepstudy(), **k),
        "fit": fit.spec.fit,
        "control": mf.control,
        "compare": lambda **k: mf.compare(fit, fit, **k),
        "parse_formula": lambda **k: mf.parse_formula(SLEEP, **k),
        "refit": lambda **k: fit.refit(fit.fitted, **k),
        "get_me": lambda **k: fit.get_me("X", **k),
    }
    with pytest.raises((TypeError, ArgumentError)):
        bound.get(name, getattr(fit, name, None))(tolerence=1)


# ---- what is fitted


@effect("lmm", "reml")
@effect("fit", "reml")
def test_reml():
    ml, reml = sleep(False), sleep()
    assert (ml.reml, reml.reml) == (False, True)
    assert ml.sigma != reml.sigma
    assert ml.deviance == pytest.approx(1751.9393444632, abs=1e-8)
    assert reml.reml_criterion == pytest.approx(1743.6282719585, abs=1e-8)
    assert same(reml.spec.fit(reml=False), ml)
    assert same(reml.spec.fit(), reml)
    for bad in (0, 1, "yes"):
        with pytest.raises(ArgumentError, match="reml"):
            reml.spec.fit(reml=bad)


@pytest.mark.parametrize(("name", "value"), [("method", "joint_laplace"), ("n_agq", 1), ("inference", "auto")])
@effect("fit", "method", "n_agq", "inference")
def test_what_says_how_to_fit_a_family_is_refused(name, value):
    with pytest.raises(ArgumentError, match=name):
        sleep().spec.fit(**{name: value})


@pytest.mark.parametrize("make", [mf.lmm, lambda *a, **k: mf.compile_model(*a, **k).fit()])
@effect("lmm", "weights", "offset", "subset")
@effect("compile_model", "weights", "offset", "subset")
def test_weights_offset_and_subset_as_column_expression_and_array(make):
    data = sleepstudy()
    plain = make(SLEEP, data)
    for argument, column in (("weights", "w"), ("offset", "o"), ("subset", "late")):
        fits = [make(SLEEP, data, **{argument: value}) for value in (column, pl.col(column), data[column].to_numpy())]
        assert not np.array_equal(fits[0].beta, plain.beta)
        assert all(same(fits[0], other) for other in fits[1:])
    assert np.array_equal(make(SLEEP, data, weights="w").weights, data["w"].to_numpy())
    assert np.array_equal(make(SLEEP, data, offset="o").offset, data["o"].to_numpy())
    assert make(SLEEP, data, subset="late").nobs == data["late"].sum()
    assert make(SLEEP, data, offset="o").beta[1] == pytest.approx(plain.beta[1] - 5.0)
    assert same(make("Reaction ~ Days + offset(o) + (Days | Subject)", data), make(SLEEP, data, offset="o"))


@pytest.mark.parametrize("make", [mf.lmm, lambda *a, **k: mf.compile_model(*a, **k).fit()])
@effect("lmm", "na_action")
@effect("compile_model", "na_action")
def test_na_action(make):
    data = sleepstudy().with_columns(Reaction=pl.when(pl.col("Days") == 3).then(None).otherwise("Reaction"))
    with pytest.raises(DataError) as caught:
        make(SLEEP, data)
    assert caught.value.na_counts == {"Reaction": 18}
    fit = make(SLEEP, data, na_action="omit")
    assert fit.nobs == 162
    assert same(fit, make(SLEEP, data.drop_nulls()))
    with pytest.raises(ArgumentError, match="na_action"):
        make(SLEEP, data, na_action="drop")


@pytest.mark.parametrize("make", [mf.lmm, lambda *a, **k: mf.compile_model(*a, **k).fit()])
@effect("lmm", "contrasts")
@effect("compile_model", "contrasts")
def test_contrasts(make):
    data, formula = mf.datasets.load("cake"), "angle ~ recipe + temp + (1 | recipe:replicate)"
    names = {c: make(formula, data, contrasts={"recipe": c}).coef_names[1:3] for c in ("treatment", "sum", "poly", "SAS")}
    assert names == {"treatment": ("recipeB", "recipeC"), "sum": ("recipe1", "recipe2"), "poly": ("recipe.L", "recipe.Q"),
                     "SAS": ("recipeA", "recipeB")}
    own = make(formula, data, contrasts={"recipe": np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])})
    assert own.beta == pytest.approx(make(formula, data, contrasts={"recipe": "sum"}).beta)


@effect("lmm", "control")
@effect("fit", "control")
def test_control_is_used():
    stopped = mf.control(max_evaluations=1)
    for make in (lambda: mf.lmm(SLEEP, sleepstudy(), control=stopped), lambda: sleep().spec.fit(control=stopped)):
        with pytest.warns(ConvergenceNotice):
            fit = make()
        assert fit.control is stopped
        assert fit.fit_status == "not_optimized"
    for bad in ({"max_evaluations": 1}, 5):
        with pytest.raises(ArgumentError, match="control"):
            mf.lmm(SLEEP, sleepstudy(), control=bad)


@effect("control", "verbose", "max_evaluations", "tolerance", "start", "memory_limit", "threads")
def test_every_setting_of_control(capsys):
    spec = sleep().spec
    base = spec.fit().optimizer_certificate()
    spec.fit(control=mf.control(verbose=1))
    assert "objective=" in capsys.readouterr().err
    spec.fit()
    assert capsys.readouterr().err == ""
    with pytest.warns(ConvergenceNotice):
        assert spec.fit(control=mf.control(max_evaluations=2)).optimizer_certificate().stop.evaluations <= 2
    loose = spec.fit(control=mf.control(tolerance=0.5)).optimizer_certificate()
    assert loose.stop.evaluations < base.stop.evaluations
    assert (loose.caller_set, base.caller_set) == (("tolerance",), ())
    near = spec.fit(control=mf.control(start=sleep().theta))
    assert near.optimizer_certificate().stop.evaluations < base.stop.evaluations
    assert near.theta == pytest.approx(sleep().theta, rel=1e-8)
    with pytest.raises(FitError) as caught:
        spec.fit(control=mf.control(memory_limit=100))
    assert caught.value.reason_code == "memory_limit"
    for bad in ({"verbose": 2}, {"max_evaluations": 0}, {"tolerance": 0.0}, {"start": [np.nan]}, {"memory_limit": 0},
                {"threads": 0}):
        with pytest.raises(ArgumentError):
            mf.control(**bad)
    with pytest.raises(ArgumentError, match="start"):
        spec.fit(control=mf.control(start=[1.0]))


# ---- the fit against R's methods


def methods() -> dict[str, Any]:
    return json.loads((FOLDER / "anova.json").read_text(encoding="utf-8"))["methods"]


@cache
def method_fits() -> dict[str, Model]:
    cbpp = mf.datasets.load("cbpp").with_columns(prop=pl.col("incidence") / pl.col("size"))
    return {
        "sleepstudy": sleep(),
        "cbpp": mf.lmm("prop ~ period + (1 | herd)", cbpp, weights="size"),
        "penicillin": mf.lmm("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("Penicillin")),
    }


NEW = {
    "sleepstudy": {"Days": [0.0, 4.5, 11.0], "Subject": ["308", "309", "372"]},
    "cbpp": {"period": ["1", "3", "4"], "herd": ["1", "11", "7"]},
    "penicillin": {"plate": ["a", "x"], "sample": ["B", "F"]},
}
PARTIAL = {"sleepstudy": "~(1 | Subject)", "cbpp": "~(1 | herd)", "penicillin": "~(1 | sample)"}
each_method_fit = pytest.mark.parametrize("name", sorted(NEW))


def close(ours: Any, theirs: Any, tolerance: float = 2e-6) -> None:
    expected = np.asarray(theirs, np.float64)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * float(np.max(np.abs(expected))))


@each_method_fit
@effect("loglik_at", "reml")
@effect("extract_aic", "k")
def test_criteria_as_in_r(name):
    fit, expected = method_fits()[name], methods()[name]
    close(fit.loglik_at(reml=False), expected["logLik_ML"], 1e-9)
    close(fit.loglik_at(reml=True), expected["logLik_REML"], 1e-9)
    assert fit.loglik_at() == fit.loglik
    assert fit.deviance == -2.0 * fit.loglik_at(reml=False)
    parameters, aic = fit.extract_aic()
    assert parameters == expected["extractAIC"][0]
    close(aic, expected["extractAIC"][1], 1e-9)
    assert fit.extract_aic(k=3.0)[1] == pytest.approx(aic + parameters)
    assert fit.df_residual == expected["df_residual"]


@each_method_fit
@effect("residuals", "type", "scaled")
def test_residuals_as_in_r(name):
    fit, expected = method_fits()[name], methods()[name]
    for kind, values in expected["residuals"].items():
        close(fit.residuals(type=kind), values)
    close(fit.residuals(type="pearson", scaled=True), expected["scaled"])
    assert np.array_equal(fit.residuals(), fit.residuals(type="response", scaled=False))
    with pytest.raises(ArgumentError, match="type"):
        fit.residuals(type="student")


@each_method_fit
@effect("predict", "newdata", "re_form", "allow_new_levels")
def test_predictions_as_in_r(name):
    fit, expected, new = method_fits()[name], methods()[name], pl.DataFrame(NEW[name])
    close(fit.predict(new, re_form="population"), expected["population"])
    close(fit.predict(new), expected["conditional"])
    close(fit.predict(new, re_form=PARTIAL[name]), expected["partial"])
    group = next(iter(fit.ngrps))
    unseen = new.with_columns(pl.lit("none").alias(group))
    with pytest.raises(DataError, match="allow_new_levels"):
        fit.predict(unseen)
    close(fit.predict(unseen, allow_new_levels=True), expected["unseen"])
    for data in (new.lazy(), new.to_arrow(), new.to_pandas()):
        assert np.array_equal(fit.predict(data), fit.predict(new))


@each_method_fit
def test_coefficients_by_level_as_in_r(name):
    fit, expected = method_fits()[name], methods()[name]
    table = fit.coef().filter(grpvar=next(iter(fit.ngrps)))
    assert table.columns == ["grpvar", "grp", "term", "estimate"]
    for term, values in expected["coef"].items():
        part = table.filter(term=term)
        assert part["grp"].to_list() == expected["coef_levels"]
        close(part["estimate"], values)


def test_effects_of_two_terms_on_one_column_add_up():
    fit = mf.lmm("Reaction ~ Days + (1 | Subject) + (Days | Subject)", sleepstudy())
    table = fit.coef().filter(term="(Intercept)")["estimate"].to_numpy()
    np.testing.assert_allclose(table, fit.predict(sleepstudy().filter(pl.col("Days") == 0)), rtol=1e-10)


@each_method_fit
@effect("get_me", "name")
def test_pieces_as_in_r(name):
    fit, expected = method_fits()[name], methods()[name]
    close(fit.get_me("u"), expected["u"])
    close(fit.get_me("b"), expected["b"])
    assert [None if np.isinf(v) else v for v in fit.get_me("lower")] == expected["lower"]
    assert fit.get_me("Z").sum(axis=0).tolist()[0] == expected["Z_column_sums"]
    assert fit.get_me("Z").nnz == expected["Z_nonzero"]
    close(fit.get_me("Lambda").diagonal(), expected["Lambda_diagonal"])
    close(fit.get_me("X").sum(axis=0), expected["X_column_sums"], 1e-12)
    assert [list(names) for _, names in fit.get_me("cnms")] == list(expected["cnms"].values())
    assert [group for group, _ in fit.get_me("cnms")] == list(expected["cnms"])
    assert (fit.get_me("n_rtrms"), fit.get_me("n_rfacs")) == (expected["n_rtrms"], expected["n_rfacs"])
    for key, (value,) in expected["devcomp"].items():
        close(fit.get_me("devcomp")[key], value)
    close(fit.vcov(correlation=True), expected["correlation"], 1e-5)


@each_method_fit
@effect("confint", "parm", "level", "method")
def test_wald_intervals_as_in_r(name):
    fit, expected = method_fits()[name], methods()[name]
    table = fit.confint(level=0.9)
    bounds = table.select("lower", "upper").to_numpy()
    assert table.height == len(expected["wald_rows"])
    assert table["status"].to_list() == ["available" if low is not None else "not_assessed" for low, _ in expected["wald"]]
    fixed = [row for row in expected["wald"] if row[0] is not None]
    close(bounds[table["status"] == "available"], fixed)
    assert table["parameter"].to_list() == [*fit.theta_names, "sigma", *fit.coef_names]
    assert fit.confint("(Intercept)")["parameter"].to_list() == ["(Intercept)"]
    assert fit.confint(["sigma", "(Intercept)"])["parameter"].to_list() == ["sigma", "(Intercept)"]
    assert fit.confint(method="asymptotic")["level"].unique().to_list() == [0.95]
    for method in ("satterthwaite", "kenward_roger"):
        table = fit.confint("(Intercept)", method=method, level=0.9)
        row = fit.inference_table(method).artifact.rows[0]
        half = stats.t.ppf(0.95, row.denominator_df) * row.std_error
        close(table["upper"] - table["estimate"], [half])
        close(table["estimate"] - table["lower"], [half])
        assert (table["method"][0], table["status"][0]) == (method, "available")
    for bad in ({"method": "profile"}, {"level": 1.0}, {"parm": ["Dayz"]}):
        with pytest.raises(ArgumentError):
            fit.confint(**bad)


@each_method_fit
@effect("ranef", "cond_var")
def test_table_columns_are_rs(name):
    fit, expected = method_fits()[name], methods()[name]
    assert fit.ranef(cond_var=True).columns == expected["ranef_columns"]
    assert fit.ranef().columns == expected["ranef_columns"][:-1]
    assert fit.varcorr().columns == expected["varcorr_columns"]
    assert fit.fixef().columns == ["term", "estimate"]
    assert fit.fixef()["estimate"].to_list() == fit.beta.tolist()


# ---- getters hold together

STRUCTURES = ["sleepstudy_reml", "sleepstudy_double_bar", "cake_factor_slopes", "cake_aliased", "dyestuff2_ml", "levels_three",
              "levels_mixed_vectors", "factorial_weights_offset", "factorial_large_numbers", "factorial_diag_ml",
              "factorial_aliased", "cbpp_weights", "zero_slope_double_bar", "perfect_slope_reml", "penicillin_ml"]


@pytest.mark.parametrize("name", STRUCTURES)
def test_pieces_fit_together(name):
    fit = fitted(name)
    x, z, lam, u, b = (fit.get_me(key) for key in ("X", "Z", "Lambda", "u", "b"))
    n, p, q = fit.nobs, len(fit.coef_names), z.shape[1]
    unit = float(np.std(fit.get_me("y")))
    assert (x.shape, z.shape, lam.shape, u.shape, b.shape) == ((n, p), (n, q), (q, q), (q,), (q,))
    assert q == sum(len(names) * fit.ngrps[group] for group, names in fit.get_me("cnms"))
    assert (fit.get_me("Zt") != z.T).nnz == 0
    assert (fit.get_me("Lambdat") != lam.T).nnz == 0
    np.testing.assert_allclose(lam @ u, b, atol=1e-7 * (1e-3 + np.abs(b).max()))
    mean = x @ np.nan_to_num(fit.beta) + fit.offset
    np.testing.assert_allclose(mean + z @ b, fit.get_me("mu"), atol=1e-9 * unit)
    # the penalized least-squares equations of u: Lambda'Z'W (y - mu) = u
    residual = fit.weights * (fit.get_me("y") - fit.get_me("mu"))
    np.testing.assert_allclose(lam.T @ (z.T @ residual), u, atol=1e-6 * (1e-3 * unit + np.abs(u).max()))
    np.testing.assert_allclose(x.T @ residual, 0.0, atol=1e-8 * unit * n * np.abs(x).max())
    parts = fit.get_me("devcomp")
    assert parts["wrss"] == pytest.approx(np.sum(residual * (fit.get_me("y") - fit.get_me("mu"))))
    assert parts["ussq"] == pytest.approx(u @ u)
    rank = int((~np.isnan(fit.beta)).sum())
    assert fit.sigma**2 == pytest.approx(parts["pwrss"] / (n - rank if fit.reml else n))
    penalized = (lam.T @ z.T @ (z.multiply(fit.weights[:, None])) @ lam).toarray() + np.eye(q)
    assert parts["ldL2"] == pytest.approx(np.linalg.slogdet(penalized)[1], rel=1e-9)
    assert parts["REML" if fit.reml else "dev"] == fit.result.objective
    assert np.array_equal(fit.get_me("theta"), fit.theta)
    assert fit.get_me("sigma") == fit.sigma
    assert fit.get_me("is_REML") is fit.reml
    assert list(fit.get_me("fixef")) == list(fit.coef_names)
    assert np.array_equal(fit.get_me("beta"), fit.beta, equal_nan=True)
    assert fit.get_me("flist").columns == list(fit.ngrps)
    assert np.array_equal(fit.predict(), fit.fitted)


@effect("model_matrix", "type")
def test_model_matrix_frame_and_terms():
    fit = fitted("levels_mixed_vectors")
    assert np.array_equal(fit.model_matrix(type="fixed"), fit.get_me("X"))
    assert (fit.model_matrix(type="random") != fit.get_me("Z")).nnz == 0
    with pytest.raises(ArgumentError, match="type"):
        fit.model_matrix(type="both")
    with pytest.raises(ArgumentError, match="no piece"):
        fit.get_me("Ztlist")
    assert fit.model_frame().columns == ["y", "x", "f", "school", "school:class", "rater"]
    assert fit.model_frame().height == fit.nobs
    terms = fit.terms()
    assert terms["part"].to_list() == ["fixed"] * 4 + ["random"] * 3
    assert terms.filter(part="random")["columns"].to_list() == [1, 2, 3]
    assert terms.filter(part="fixed")["columns"].sum() == len(fit.coef_names)
    weighted = fitted("factorial_weights_offset").model_frame()
    assert weighted.columns[-2:] == ["(weights)", "(offset)"]


@effect("vcov", "type", "correlation")
def test_vcov_of_theta_and_correlations():
    fit = sleep()
    assert np.allclose(np.sqrt(np.diag(fit.vcov())), fit.std_error)
    for kind in ("fixed", "theta"):
        matrix, correlation = fit.vcov(kind), fit.vcov(kind, correlation=True)
        assert np.allclose(np.diag(correlation), 1.0)
        assert np.allclose(correlation * np.sqrt(np.outer(np.diag(matrix), np.diag(matrix))), matrix)
    assert fit.vcov("theta").shape == (3, 3)
    with pytest.raises(InferenceUnavailable):
        fitted("dyestuff2_ml").vcov("theta")
    with pytest.raises(ArgumentError, match="type"):
        fit.vcov("sigma")
    aliased = fitted("factorial_aliased")
    assert np.isnan(aliased.vcov()[2]).all()
    assert np.isfinite(np.delete(np.delete(aliased.vcov(), 2, 0), 2, 1)).all()


@effect("is_singular", "tol")
def test_is_singular_uses_its_tolerance():
    fit = sleep()
    assert not fit.is_singular()
    assert fit.is_singular(tol=10.0)
    assert not fit.is_singular(tol=0.0)
    assert fitted("dyestuff2_ml").is_singular()
    with pytest.raises(ArgumentError, match="tol"):
        fit.is_singular(tol=-1.0)


# ---- prediction, simulation, refits


@effect("predict", "offset")
def test_predict_needs_and_uses_the_offset():
    data = sleepstudy()
    by_column, by_array = (mf.lmm(SLEEP, data, offset=o) for o in ("o", data["o"].to_numpy()))
    assert np.array_equal(by_column.predict(data), by_column.fitted)
    with pytest.raises(DataError, match="offset"):
        by_array.predict(data)
    assert np.array_equal(by_array.predict(data, offset="o"), by_array.fitted)
    zero = by_array.predict(data, offset=np.zeros(180))
    np.testing.assert_allclose(by_array.fitted - zero, data["o"].to_numpy())
    with pytest.raises(ArgumentError, match="newdata"):
        by_array.predict(offset=np.zeros(180))


def test_predict_conditions_on_the_effects_that_re_form_names():
    fit = fitted("levels_mixed_vectors")
    population = fit.predict(re_form="population")
    np.testing.assert_allclose(population, fit.get_me("X") @ fit.beta, atol=1e-12)
    parts = [fit.predict(re_form=f"~{term}") - population
             for term in ("(x | school)", "(1 | school:class)", "(0 + f | rater)")]
    np.testing.assert_allclose(population + sum(parts), fit.fitted, atol=1e-10)
    np.testing.assert_allclose(fit.predict(re_form="~(1 | school) + (0 + x | school)") - population, parts[0], atol=1e-12)
    together = fit.predict(re_form="~(x | school) + (1 | school:class) + (0 + f | rater)")
    np.testing.assert_allclose(together, fit.fitted, atol=1e-12)
    for bad in ("~(f | rater)", "~(1 | pupil)", "~(z | school)", "~x", "school", 3):
        with pytest.raises(ArgumentError, match="re_form"):
            fit.predict(re_form=bad)


@effect("simulate", "nsim", "seed", "re_form")
def test_simulate():
    fit = sleep()
    draws = fit.simulate(nsim=3, seed=11)
    assert draws.columns == ["sim_1", "sim_2", "sim_3"]
    assert draws.height == fit.nobs
    assert draws.equals(fit.simulate(3, 11))
    assert draws["sim_2"].equals(fit.simulate(2, 11)["sim_2"])
    assert not draws.equals(fit.simulate(3, 12))
    assert not fit.simulate(1).equals(fit.simulate(1))
    assert not fit.simulate(1, 11, re_form=None).equals(fit.simulate(1, 11, re_form="population"))
    kept = fit.simulate(200, 1, re_form=None).to_numpy() - fit.fitted[:, None]
    assert np.std(kept) == pytest.approx(fit.sigma, rel=0.03)
    for bad in ({"nsim": 0}, {"nsim": 1.5}, {"seed": -1}, {"seed": "x"}, {"re_form": "~(1 | Subject)"}):
        with pytest.raises(ArgumentError):
            fit.simulate(**bad)


@effect("refit", "newresp")
def test_refit():
    fit = sleep(False)
    new = np.log(sleepstudy()["Reaction"].to_numpy())
    again = fit.refit(new)
    assert again.reml is False
    assert again.beta == pytest.approx(fit.update("log(Reaction) ~ .").beta)
    for other in (pl.Series(new), new.tolist()):
        assert same(fit.refit(other), again)
    for bad in (new[1:], np.where(new > 6, np.nan, new), ["a"] * 180, sleepstudy()):
        with pytest.raises(DataError):
            fit.refit(bad)


@effect("update", "formula")
def test_update_formula():
    fit = sleep(False)
    for change, formula in {
        ". ~ . - Days": "Reaction ~ 1 + (1 + Days | Subject)",
        ". ~ . + I(Days^2)": "Reaction ~ 1 + Days + I(Days^2) + (1 + Days | Subject)",
        ". ~ . - (Days | Subject) + (Days || Subject)": "Reaction ~ 1 + Days + (1 + Days || Subject)",
        "log(.) ~ .": "log(Reaction) ~ 1 + Days + (1 + Days | Subject)",
        "Reaction ~ 1 + (1 | Subject)": "Reaction ~ 1 + (1 | Subject)",
        "~ . - Days": "Reaction ~ 1 + (1 + Days | Subject)",
    }.items():
        new = fit.update(change)
        assert new.formula == formula
        assert new.reml is False
        assert same(new, mf.lmm(formula, sleepstudy(), reml=False))
    with pytest.raises(FormulaError):
        fit.update(". ~ . - (1 | Batch)")
    assert "Reaction" in repr(fit.call)
    assert "shape" not in repr(fit.call)


@effect("update", "data", "weights", "offset", "subset", "na_action", "contrasts", "reml", "control")
def test_update_arguments():
    data = sleepstudy()
    fit = mf.lmm("Reaction ~ half + Days + (1 | Subject)", data, weights="w")
    holes = data.with_columns(Days=pl.when(pl.col("Days") == 9).then(None).otherwise("Days"))
    assert fit.update(data=data.filter("late")).nobs == 144
    assert same(fit.update(weights=None), mf.lmm(fit.formula, data))
    assert np.array_equal(fit.update(offset="o").offset, data["o"].to_numpy())
    assert fit.update(subset="late").nobs == 144
    with pytest.raises(DataError):
        fit.update(data=holes)
    assert fit.update(data=holes, na_action="omit").nobs == 162
    assert fit.update(contrasts={"half": "sum"}).coef_names[1] == "half1"
    assert fit.update(reml=False).reml is False
    settings = mf.control(tolerance=1e-3)
    assert fit.update(control=settings).control is settings
    assert np.array_equal(fit.update(reml=False).weights, fit.weights)
    for bad in ({"weight": "w"}, {"reml": "no"}, {"control": 3}, {"na_action": "drop"}):
        with pytest.raises(ArgumentError):
            fit.update(**bad)


# ---- comparisons


def comparisons() -> dict[str, Any]:
    return json.loads((FOLDER / "anova.json").read_text(encoding="utf-8"))["comparisons"]


@pytest.mark.parametrize("name", sorted(comparisons()))
def test_comparisons_as_in_r(name):
    expected = comparisons()[name]
    data = mf.datasets.load({"sleepstudy": "sleepstudy", "cake": "cake", "penicillin": "Penicillin"}[name.split("_")[0]])
    formulas = [text.replace("((1 | Subject) + (0 + Days | Subject))", "(Days || Subject)") for text in expected["formulas"]]
    fits = [mf.lmm(text, data, reml=reml) for text, reml in zip(formulas, expected["REML"], strict=True)]
    table = mf.compare(*fits, refit_for_comparison="auto" if expected["refit"] else "error").table
    assert table["npar"].to_list() == expected["npar"]
    for ours, theirs in (("aic", "AIC"), ("bic", "BIC"), ("loglik", "logLik"), ("deviance", "deviance")):
        np.testing.assert_allclose(table[ours], expected[theirs], rtol=1e-9)
    for ours, theirs, tolerance in (("chisq", "Chisq", 1e-6), ("df", "Df", 0.0), ("p_value", "p", 1e-5)):
        assert table[ours][0] is None
        np.testing.assert_allclose(table[ours][1:].to_numpy(), np.array(expected[theirs][1:], float), rtol=tolerance)


@effect("compare", "method", "refit_for_comparison")
def test_compare_arguments():
    data = sleepstudy()
    small, large = (mf.lmm(f"Reaction ~ {fixed} + (Days | Subject)", data) for fixed in ("1", "Days"))
    auto = mf.compare(large, small)
    assert auto.table["model"].to_list() == ["model_2", "model_1"]
    assert auto.refitted == ("model_1", "model_2")
    assert auto.table["criterion"].unique().to_list() == ["ML"]
    assert auto.table["status"].to_list() == ["not_assessed", "available"]
    assert mf.compare(small, large, method="lrt").table.equals(mf.compare(small, large).table)
    aic = mf.compare(small, large, method="aic")
    assert aic.table["p_value"].to_list() == [None, None]
    assert aic.table["aic"].equals(mf.compare(small, large).table["aic"])
    refused = mf.compare(small, large, refit_for_comparison="error")
    assert refused.refitted == ()
    assert refused.table["reason_code"][1] == "ml_refit_required"
    same_fixed = [mf.lmm(f"Reaction ~ Days + {random}", data) for random in ("(1 | Subject)", "(Days | Subject)")]
    assert mf.compare(*same_fixed).refitted == ()
    assert mf.compare(*same_fixed).table["reason_code"][1] == "naive_chi_square_conservative_at_boundary"
    assert mf.compare(*same_fixed, refit_for_comparison="ml").refitted == ("model_1", "model_2")
    for bad in ({"method": "bootstrap"}, {"refit_for_comparison": "no"}):
        with pytest.raises(ArgumentError):
            mf.compare(small, large, **bad)
    for others in ((), ("x",), (mf.lmm(SLEEP, data, weights="w"),), (mf.lmm(SLEEP, data, subset="late"),)):
        with pytest.raises(ArgumentError):
            mf.compare(small, *others)


def test_reml_criteria_of_different_codings_are_not_compared():
    data = sleepstudy()
    small = mf.lmm("Reaction ~ scale(Days) + (1 | Subject)", data)
    large = mf.lmm(SLEEP, data)
    found = mf.compare(small, large)
    assert found.refitted == ("model_1", "model_2")
    plain = mf.compare(*(mf.lmm(f"Reaction ~ Days + {r}", data, reml=False) for r in ("(1 | Subject)", "(Days | Subject)")))
    assert found.table["chisq"][1] == pytest.approx(plain.table["chisq"][1], rel=1e-8)


def test_comparisons_that_are_no_tests():
    data = mf.datasets.load("cake")
    by = {fixed: mf.lmm(f"angle ~ {fixed} + (1 | recipe:replicate)", data, reml=False)
          for fixed in ("recipe", "temp", "temperature", "recipe + temp", "I(temp^2) + temp")}
    crossed = mf.compare(by["temp"], by["recipe"]).table
    assert crossed["reason_code"][1] == "non_nested_models_lrt_invalid"
    assert crossed["p_value"][1] is None
    nested = mf.compare(by["temp"], by["temperature"]).table
    assert nested["status"][1] == "available"
    assert mf.compare(by["temp"], by["temp"]).table["reason_code"][1] == "same_model_space_lrt_invalid"


# ---- reports


@effect("lmm", "roles", "audit_columns", "intent")
@effect("compile_model", "roles", "audit_columns", "intent")
@effect("update", "roles", "audit_columns", "intent")
def test_what_the_artifacts_are_told():
    given = {"roles": {"Subject": "item"}, "audit_columns": ["half"], "intent": "exploratory"}
    fit = mf.lmm(SLEEP, sleepstudy(), **given)
    for spec in (fit.spec, mf.compile_model(SLEEP, sleepstudy(), **given), sleep().update(data=sleepstudy(), **given).spec):
        artifact = spec.artifact
        assert artifact.semantic_model.random_terms[0].role == "item"
        assert "half" in artifact.design_audit.covariance_kernels.columns_examined
        assert "late" not in artifact.design_audit.covariance_kernels.columns_examined
        assert artifact.compiler_policy.intent == "exploratory"
    assert fit.summary().table["p_value"].to_list() == [None, None]
    close(fit.summary().table["std_error"], sleep().std_error)
    assert "no p-values" in str(fit.summary())
    assert sleep().spec.artifact.semantic_model.random_terms[0].role != "item"


@effect("summary", "method")
def test_summary():
    text = str(sleep().summary())
    for line in ("Linear mixed model fit by REML", "REML criterion at convergence: 1743.6", "Satterthwaite",
                 "Number of obs: 180, groups:  Subject, 18", "Correlation of Fixed Effects:"):
        assert line in text
    table = sleep().summary().table
    assert table["term"].to_list() == ["(Intercept)", "Days"]
    close(table["estimate"], sleep().beta)
    close(table["std_error"], sleep().std_error)
    assert "maximum likelihood" in str(sleep(False).summary())
    assert "Wald z" in str(sleep().summary(method="asymptotic"))
    assert sleep().summary("none").table["p_value"].to_list() == [None, None]


@effect("as_json", "pretty")
@effect("parse_formula", "ast")
def test_json_and_formula_text():
    fit = sleep()
    assert json.loads(fit.as_json()) == json.loads(fit.as_json(pretty=True))
    assert "\n" not in fit.as_json()
    assert "\n" in fit.as_json(pretty=True)
    assert mf.parse_formula(SLEEP) == fit.formula
    assert mf.parse_formula(SLEEP, ast=True).text == SLEEP


def test_representations_of_every_kind_of_fit():
    for name in ("dyestuff2_reml", "perfect_slope_reml", "cake_aliased", "factorial_weights_offset", "levels_mixed_vectors"):
        fit = fitted(name)
        for text in (repr(fit), str(fit.summary()), repr(fit.spec)):
            assert "nan" not in text.replace("NaN", "")
        assert fit._repr_html_().startswith("<pre")
        assert fit.artifact.summary.objective == fit.result.objective
        assert "NaN" not in fit.as_json()
        assert "Infinity" not in fit.as_json()


def test_an_aliased_column_is_reported():
    model = references()["factorial_aliased"]
    data = data_of(model).with_columns(pl.col("g").cast(pl.String))
    with pytest.warns(RankNotice, match="x2"):
        fit = mf.lmm(model["formula"], data)
    assert fit.fixef().filter(term="x2")["estimate"].to_list() == [None]
    assert "fixed_effect_rank_deficient" in [d.code for d in fit.artifact.compiled.diagnostics]
    rows = {row.label: row for row in fit.artifact.fixed_effects.rows}
    assert (rows["x2"].status, rows["x2"].reason_code, rows["x2"].estimate) == ("not_estimable", "aliased_column", None)
    assert all(row.status == "available" for label, row in rows.items() if label != "x2")


def test_columns_of_one_name_are_told_apart() -> None:
    stream = np.random.default_rng(1)
    data = pl.DataFrame({
        "y": stream.normal(size=120), "f": ["a", "b"] * 60, "fb": stream.normal(size=120),
        "g": [f"g{k // 6}" for k in range(120)],
    })
    fit = mf.lmm("y ~ f + fb + (1 | g) + (0 + f + fb | g)", data)
    assert fit.coef_names == ("(Intercept)", "fb", "fb.1")
    assert len(set(fit.spec.compiled.theta_names)) == fit.theta.size
    assert list(fit.get_me("fixef").values()) == fit.beta.tolist()
    for position, name in enumerate(("fb", "fb.1"), start=1):
        assert fit.contrast({name: 1.0}).table["estimate"].to_list() == [fit.beta[position]]
        assert fit.confint([name])["estimate"].to_list() == [fit.beta[position]]
    renamed = mf.lmm("y ~ f + x + (1 | g) + (0 + f + x | g)", data.rename({"fb": "x"}))
    assert fit.beta.tolist() == renamed.beta.tolist()
    assert (fit.coef_names[0], renamed.coef_names[1:]) == ("(Intercept)", ("fb", "x"))


def test_cells_whose_labels_coincide_are_told_apart() -> None:
    data = pl.DataFrame({
        "y": [1.0, 3.0, 2.0, 4.0, 3.0, 5.0, 1.0, 2.0], "a": ["a:b", "a:b", "a", "a", "z", "z", "z", "z"],
        "c": ["c", "c", "b:c", "b:c", "c", "c", "b:c", "b:c"],
    })
    fit = mf.lmm("y ~ 1 + (1 | a:c)", data)
    assert sorted(fit.ranef()["grp"]) == ["a:b:c", "a:b:c.1", "z:b:c", "z:c"]
    frame = fit.model_frame()
    assert frame["a:c"].n_unique() == 4
    assert fit.get_me("flist")["a:c"].to_list() == frame["a:c"].to_list()
    assert fit.predict(data).tolist() == fit.fitted.tolist()
