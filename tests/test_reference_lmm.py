"""Fits against lme4's: every model of ``reference/lmm.json``, over all bundled data sets and term structures."""

from __future__ import annotations

import re

import pytest

from tests.reference_fits import fitted, gaps, is_diag, is_unique, ranef_columns, references

MODELS = sorted(references())

# four times the largest difference measured over all models, each quantity in its own units (see reference_fits.py)
BOUNDS = {
    "beta": 1.6e-8,
    "std_error": 3.7e-8,
    "vcov": 7.4e-8,
    "sigma": 1.1e-8,
    "fitted": 6.2e-8,
    "logLik": 2.9e-12,
    "AIC": 2.8e-12,
    "BIC": 2.6e-12,
    "theta": 6.3e-8,
    "Sigma": 3.2e-7,
    "varcorr": 3.2e-7,
    "sdcor": 1.6e-7,
    "ranef": 1.6e-7,
    "condsd": 1.6e-7,
}


def test_the_references_cover_what_they_should():
    models = references().values()
    assert len(models) >= 36
    assert {m["REML"] for m in models} == {True, False}
    assert len({m["dataset"] for m in models if not m["generated"]}) == 11
    assert sum(m["singular"] for m in models) >= 5
    assert any(m["weights"] for m in models)
    assert any(m["offset"] for m in models)
    assert any(m["subset"] for m in models)
    assert any(len(m["estimable"]) < len(m["coefficients"]) for m in models)


@pytest.mark.parametrize("name", MODELS)
def test_names_and_counts(name):
    model, fit = references()[name], fitted(name)
    assert list(fit.coef_names) == model["coefficients"]
    assert [n for n, b in zip(fit.coef_names, fit.beta, strict=True) if b == b] == model["estimable"]
    assert fit.nobs == model["nobs"]
    assert fit.n_parameters == model["df"]
    assert fit.df_residual == model["nobs"] - model["df"]
    assert fit.ngrps == model["ngrps"]


@pytest.mark.parametrize("name", MODELS)
def test_objective_is_never_above_lme4s(name):
    assert fitted(name).result.objective <= references()[name]["objective"] + 1e-6


@pytest.mark.parametrize("name", MODELS)
def test_fit_is_certified(name):
    fit = fitted(name)
    if is_unique(references()[name]) or fit.fit_status != "not_identifiable":
        assert fit.result.certificate.quality == "certified", fit.result.certificate.reason
    else:
        assert fit.result.certificate.quality == "approximate"


@pytest.mark.parametrize("name", MODELS)
def test_estimates(name):
    found = gaps(name)
    assert {key: value for key, value in found.items() if not value <= BOUNDS[key]} == {}


@pytest.mark.parametrize("name", [name for name in MODELS if is_unique(references()[name])])
def test_singularity(name):
    fit = fitted(name)
    singular = references()[name]["singular"]
    assert fit.is_singular() == singular
    assert (fit.fit_status == "converged_interior") == (not singular)


@pytest.mark.parametrize("name", MODELS)
def test_theta_names_and_varcorr_rows(name):
    """One ``diag()`` term is several terms of lme4, whose labels tell them apart. lme4 writes ``a.b`` for a cell
    grouping ``a:b`` where it numbers the terms of a factor; here the name stays."""
    model, fit = references()[name], fitted(name)
    expected, table = model["varcorr"], fit.varcorr()
    labels, ours = expected["grp"], table["grp"].to_list()
    if is_diag(model):
        labels = [re.sub(r"\.\d+$", "", label) for label in labels]
    if any(label.endswith(".1") for label in labels):
        ours = [label.replace(":", ".") for label in ours]
    assert ours == labels
    assert table["var1"].to_list() == expected["var1"]
    assert table["var2"].to_list() == expected["var2"]
    assert list(fit.theta_names) == model["theta_names"]


@pytest.mark.parametrize("name", MODELS)
def test_ranef_rows(name):
    model = references()[name]
    table = ranef_columns(model, fitted(name))
    for key in ("grpvar", "term", "grp"):
        assert table[key].to_list() == model["ranef"][key]
