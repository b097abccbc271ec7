"""Fits against lme4's and glmmTMB's: every model of ``reference/glmm.json`` but those by quadrature, and published numbers.

glmer fits the negative binomial with Fisher's weights in the determinant, glmmTMB and we with the observed ones: those models
are compared with the dense reference under the criterion that is ours.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.families import Family
from tests.glmm_problems import Fitted, fitted
from tests.glmm_references import data_of, problem_of, psi_of, references
from tests.oracle_glmm import Criterion, fit
from tests.reference_fits import FOLDER

MODELS = sorted(name for name, model in references().items() if model["n_agq"] <= 1)
OTHER_WEIGHTS = ("over_size", "over_size_known")
# like one of the above, and twice glmmTMB's: ``grouseticks_size_observed``
SAME = [name for name in MODELS if name not in (*OTHER_WEIGHTS, "grouseticks_size")]
# where they are flat to rounding, or a standard error of theta is not known
BETTER = 1e-6


@cache
def ours(name: str) -> Fitted:
    model = references()[name]
    family = Family(model["family"], model["link"], model["parameter_known"])
    return fitted(model["formula"], data_of(model), family, model["method"], weights=model["weights"], offset=model["offset"])


def coordinates(name: str) -> dict[str, float]:
    """Theta, coefficients and the logarithm of an estimated parameter, named as the references name them."""
    model, result = ours(name).model, ours(name).result
    out = {f"theta:{key}": value for key, value in zip(model.theta_names, result.theta, strict=True)}
    out |= {f"beta:{key}": value for key, value in zip(model.fixed.names, result.beta, strict=True)}
    if result.parameter is not None:
        out["log parameter"] = float(np.log(result.parameter))
    return out


def expected(name: str) -> dict[str, float]:
    model = references()[name]
    out = {f"theta:{key}": value for key, value in zip(model["theta_names"], model["theta"], strict=True)}
    out |= {f"beta:{key}": value for key, value in zip(model["coefficients"], model["beta"], strict=True)}
    if model["parameter"] is not None:
        out["log parameter"] = float(np.log(model["parameter"]))
    return out


def test_the_references_cover_what_they_should():
    models = [references()[name] for name in SAME]
    assert len(models) >= 25
    assert len({(model["family"], model["link"]) for model in models}) >= 11
    assert {model["method"] for model in models} == {"joint_laplace", "pirls_profiled"}
    assert {model["engine"] for model in models} == {"glmer", "glmmTMB"}
    assert sum(model["singular"] for model in models) >= 3


@pytest.mark.parametrize("name", MODELS)
def test_certified(name):
    certificate, model = ours(name).result.certificate, references()[name]
    assert certificate.quality == "certified"
    assert certificate.reason == ""
    assert (certificate.status != "converged_interior") == bool(model["singular"])


@pytest.mark.parametrize("name", SAME)
def test_objective(name):
    """Never above theirs, and theirs are optima."""
    assert ours(name).result.objective == pytest.approx(references()[name]["objective"], abs=BETTER)


@pytest.mark.parametrize("name", SAME)
def test_estimates(name):
    """In units of their standard errors; parameters that are on the boundary there are on it here."""
    model, found, theirs = references()[name], coordinates(name), expected(name)
    assert set(found) == set(theirs)
    errors = dict.fromkeys(theirs, 0.0)
    if model["coordinates"]:
        errors |= dict(zip(model["coordinates"], model["coordinate_se"], strict=True))
    if model["se"]:
        errors |= {f"beta:{key}": se for key, se in zip(model["coefficients"], model["se"], strict=True)}
    for key, value in theirs.items():
        unit = errors.get(key) or (1e-2 if key.startswith("theta:") else 1.0)
        assert abs(found[key] - value) <= 1e-5 * unit, key


@pytest.mark.parametrize("name", SAME)
def test_standard_errors(name):
    model, result = references()[name], ours(name).result
    names = [model["coefficients"].index(each) for each in ours(name).model.fixed.names]
    np.testing.assert_allclose(np.sqrt(np.diag(result.vcov)), np.array(model["se"])[names], rtol=1e-4)
    profiled = model["method"] == "pirls_profiled"
    assert result.vcov_route == ("working_hessian" if profiled else "observed_information")
    at = [model["coordinates"].index(f"beta:{each}") for each in ours(name).model.fixed.names] if not profiled else []
    if at:
        vcov = np.array(model["vcov"])[np.ix_(at, at)]
        scale = np.sqrt(np.diag(vcov))
        np.testing.assert_allclose(result.vcov / np.outer(scale, scale), vcov / np.outer(scale, scale), atol=1e-4)
    estimated = model["parameter"] is not None and model["parameter_known"] is None
    assert (result.parameter_error is not None) == estimated
    if estimated:
        assert result.parameter_error == pytest.approx(model["coordinate_se"][-1], rel=1e-4)


@pytest.mark.parametrize("name", SAME)
def test_modes(name):
    """Conditional modes, in units of the largest of their effect."""
    fit, table = ours(name), references()[name]["ranef"]
    found: dict[tuple[str, str, str], float] = {}
    for factor, values in zip(fit.model.factors, fit.result.effects, strict=True):
        terms = [name for i in factor.blocks for name in fit.model.blocks[i].names]
        for level, row in zip(factor.group.levels.labels, values, strict=True):
            found |= {(factor.group.name, term, str(level)): value for term, value in zip(terms, row, strict=True)}
    largest: dict[tuple[str, str], float] = {}
    rows = list(zip(table["grpvar"], table["term"], table["grp"], table["condval"], strict=True))
    for group, term, _, value in rows:
        largest[group, term] = max(largest.get((group, term), 1e-3), abs(value))
    for group, term, level, value in rows:
        assert abs(found[group, term, level] - value) <= 1e-6 * largest[group, term], (group, term, level)


@pytest.mark.parametrize("name", OTHER_WEIGHTS)
def test_negative_binomial_of_glmer_is_ours_under_its_own_weights(name):
    """The dense optimum with observed weights is ours; glmer's estimates are near it and not at it."""
    problem, _ = problem_of(name)
    found = fit(problem, Criterion("observed"), psi_of(name))
    result = ours(name).result
    assert result.objective == pytest.approx(found.objective, abs=1e-8)
    np.testing.assert_allclose(result.theta, found.theta, rtol=1e-6)
    np.testing.assert_allclose(result.beta, found.beta, atol=1e-6 * found.se[-2])
    assert 0.05 < abs(result.objective - references()[name]["objective"]) < 0.5


# Published numbers. Where inner iterations stopped early the criterion is too high by what they left, at most ``loose``.
YES = (pl.col("use") == "Y").cast(pl.Float64).alias("use")
HERDS = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
ITEMS = "r2 ~ Anger + Gender + btype + situ + mode + (1 | id) + (1 | item)"
TICKS = "TICKS ~ YEAR + cHEIGHT + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION)"
PLANTS = "total.fruits ~ nutrient * amd + (1 | reg) + (1 | popu) + (1 | gen)"
WOMEN = "use ~ age + livch + urban + (1 | district)"
SLOPES = "use ~ age + livch + urban + (urban | district)"
EATEN = "predation ~ ttt + (1 | block)"
SHELLS = "shells ~ year + prev + offset(log(Area)) + (1 | Site)"
CONSTANT, DROPPED = "with constants", "without"
PUBLISHED: list[tuple[str, str, str, str, float, float, tuple[float, ...], tuple[float, ...]]] = [
    ("cbpp", HERDS, "joint_laplace", CONSTANT, 184.0526, 1e-4, (0.6423,), (-1.3985, -0.9923, -1.1287, -1.5803)),
    ("cbpp", HERDS, "joint_laplace", DROPPED, 100.0959, 1e-4, (), ()),
    ("cbpp", HERDS, "pirls_profiled", DROPPED, 100.15269, 1e-3, (), ()),
    ("VerbAgg", ITEMS, "joint_laplace", CONSTANT, 8135.8351, 3e-3, (1.3389, 0.3422), ()),
    ("VerbAgg", ITEMS, "pirls_profiled", CONSTANT, 8136.1709, 1e-4, (), ()),
    ("grouseticks", TICKS, "joint_laplace", CONSTANT, 1780.5427, 1e-4, (0.54151, 0.75003, 0.52873),
     (0.37279, 1.18040, -0.97869, -0.02376)),
    ("grouseticks", TICKS, "pirls_profiled", CONSTANT, 1782.4033, 1e-4, (), (0.52931, 1.10730, -0.91841, -0.02219)),
    ("Arabidopsis", PLANTS, "joint_laplace", CONSTANT, 20849.8989, 1e-4, (0.2535, 0.4136, 0.2852),
     (2.2713, 1.4245, 0.4465, -0.3954)),
    ("contraception", WOMEN, "joint_laplace", CONSTANT, 2413.6166, 2e-3, (0.4608,),
     (0.3885, -0.0266, -1.3452, 0.0312, -0.2360, -0.7330)),
    ("contraception", WOMEN, "pirls_profiled", CONSTANT, 2413.6626, 2e-3, (), ()),
    ("contraception", SLOPES, "joint_laplace", CONSTANT, 2399.0175, 2e-3, (0.4830, -0.5112, 0.6167), ()),
    ("contraception", SLOPES, "pirls_profiled", CONSTANT, 2399.1068, 2e-3, (), ()),
    ("culcita", EATEN, "joint_laplace", CONSTANT, 60.7059, 1e-4, (3.4366,), (5.0957, -3.8422, -4.4310, -5.5990)),
    ("gopher", SHELLS, "joint_laplace", CONSTANT, 76.3373, 1e-4, (0.0,), (-3.1973, -0.6449, -0.4288, 0.0211)),
    ("flat_gamma", "y ~ 1 + (1 | g)", "joint_laplace", CONSTANT, -3223.4830, 1e-4, (0.0,), (-2.3431,)),
]  # fmt: skip


def published_data(name: str) -> pl.DataFrame:
    path = FOLDER / "data" / f"{name}.csv"
    data = pl.read_csv(path) if path.exists() else mf.datasets.load(name)
    orders: dict[str, Any] = {"livch": ["3+", "0", "2", "1"], "urban": ["Y", "N"], "ttt": ["none", "crabs", "shrimp", "both"]}
    for column in ("year", "nutrient"):
        if column in data.columns:
            data = data.with_columns(pl.col(column).cast(pl.String))
    for column, levels in orders.items():
        if column in data.columns:
            data = data.with_columns(pl.col(column).cast(pl.Enum(levels)))
    return data.with_columns(YES) if "use" in data.columns else data


@cache
def published_fit(name: str, formula: str, method: str) -> Fitted:
    counts, gammas = ("grouseticks", "Arabidopsis", "gopher"), ("flat_gamma", "sharp_gamma")
    families = dict.fromkeys(counts, "poisson") | dict.fromkeys(gammas, "gamma")
    family = Family(families[name], "log") if name in families else Family("binomial", "logit")
    return fitted(formula, published_data(name), family, method)


@pytest.mark.parametrize(("name", "formula", "method", "constants", "objective", "loose", "theta", "beta"), PUBLISHED)
def test_published(name, formula, method, constants, objective, loose, theta, beta):
    result = published_fit(name, formula, method).result
    value = result.objective + (0.0 if constants == CONSTANT else 2 * result.saturated)
    assert objective - loose < value < objective + 1e-4
    assert result.certificate.quality == "certified"
    if theta:
        np.testing.assert_allclose(result.theta, theta, atol=4e-4)
    if beta:
        np.testing.assert_allclose(result.beta, beta, atol=6e-4)


def test_gamma_responses_without_groups_have_no_variance_between_groups():
    """glmmTMB finds the same. glmer maximizes something else, and its theta is relative to its sigma."""
    result = published_fit("flat_gamma", "y ~ 1 + (1 | g)", "joint_laplace").result
    theirs, other = gamma_fits("flat_gamma")
    assert result.certificate.status == "converged_boundary"
    assert result.objective == pytest.approx(theirs["objective"], abs=1e-6)
    assert result.parameter == pytest.approx(theirs["dispersion"], rel=1e-4)
    np.testing.assert_allclose(result.beta, theirs["beta"], rtol=1e-5)
    assert theirs["sd"] < 1e-3
    assert other["theta"] == pytest.approx(0.0808, abs=5e-5)
    assert other["theta"] * other["sigma"] == pytest.approx(other["sd"], rel=1e-8)
    assert other["objective"] > result.objective + 1.0


def test_gamma_responses_of_little_dispersion():
    """The engines of the contract agree on nothing here: one has no variance between groups and a dispersion of 0.06, glmer a
    theta of 1.67 that is a deviation of 0.12. The maximum of the marginal likelihood is glmmTMB's, and has neither."""
    result = published_fit("sharp_gamma", "y ~ x + (1 | g)", "joint_laplace").result
    theirs, other = gamma_fits("sharp_gamma")
    assert result.certificate.quality == "certified"
    assert result.objective == pytest.approx(theirs["objective"], abs=1e-6)
    assert result.theta[0] == pytest.approx(theirs["sd"], rel=1e-4)
    assert result.parameter == pytest.approx(theirs["dispersion"], rel=1e-4)
    np.testing.assert_allclose(result.beta, theirs["beta"], rtol=1e-5)
    assert other["theta"] == pytest.approx(1.674, abs=5e-4)
    assert other["theta"] * other["sigma"] == pytest.approx(other["sd"], rel=1e-8)
    assert other["sd"] < 0.6 * theirs["sd"]


def gamma_fits(name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """glmmTMB's and glmer's."""
    found = json.loads((FOLDER / "gamma.json").read_text())[name]
    return found["glmmTMB"], found["glmer"]
