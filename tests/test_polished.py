"""Fits against optima polished by the dense oracle, which shares nothing with the library (``reference/polish.py``)."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest

from tests.reference_fits import (
    FOLDER,
    covariance_gap,
    fitted,
    gap,
    magnitude,
    matrix_scale,
    references,
    term_lambdas,
    theta_gap,
)

# each quantity in its own units (see reference_fits.py); the largest differences measured are 1.8e-12 and 5.2e-9
OBJECTIVE = 1e-10
ESTIMATES = 1e-7


@cache
def polished() -> dict[str, Any]:
    return json.loads((FOLDER / "polished.json").read_text(encoding="utf-8"))["models"]


def effect_gaps(fit, best: dict[str, Any]) -> dict[str, float]:
    """Conditional modes and SDs of every effect, in units of the largest of that effect (1e-6 sigma at least)."""
    table, floor = fit.ranef(cond_var=True), 1e-6 * best["sigma"]
    ours = [(group, name) for group, names in fit.get_me("cnms") for name in names]
    theirs = [(k, j) for k, width in enumerate(best["columns"]) for j in range(width)]
    out = {"condval": 0.0, "condsd": 0.0}
    for (group, name), (k, j) in zip(ours, theirs, strict=True):
        part = table.filter(grpvar=group, term=name)
        for key in out:
            values = dict(zip(part["grp"], part[key], strict=True))
            expected = np.array(best["ranef" if key == "condval" else key][k])[:, j]
            own = [values.pop(level) for level in best["levels"][k]]
            assert not values
            out[key] = max(out[key], gap(own, expected, max(magnitude(expected), floor)))
    return out


def gaps_to_oracle(name: str) -> dict[str, float]:
    best, fit = polished()[name], fitted(name)
    kept = np.array(best["kept"])
    vcov, beta = np.array(best["vcov"]), np.array(best["beta"])
    lambdas = [term_lambdas(np.asarray(theta), best["columns"]) for theta in (fit.theta, best["theta"])]
    out = {
        "objective": abs(fit.result.objective - best["objective"]),
        "Sigma": covariance_gap(*lambdas),
        "beta": gap(fit.beta[kept], beta, np.fmax(np.abs(beta), np.sqrt(np.diag(vcov)))),
        "vcov": gap(fit.vcov()[np.ix_(kept, kept)], vcov, matrix_scale(vcov)),
        "sigma": gap(fit.sigma, best["sigma"], best["sigma"]),
        "fitted": gap(fit.fitted, best["fitted"], float(np.std(fit.get_me("y")))),
        **effect_gaps(fit, best),
    }
    if not references()[name]["singular"]:
        out["theta"] = theta_gap(*lambdas)
    return out


@pytest.mark.parametrize("name", sorted(polished()))
def test_fit_is_the_polished_optimum(name):
    found = gaps_to_oracle(name)
    assert found.pop("objective") <= OBJECTIVE
    assert {key: value for key, value in found.items() if not value <= ESTIMATES} == {}


@pytest.mark.parametrize("name", sorted(name for name, best in polished().items() if "theta_vcov" in best))
def test_covariance_of_theta(name):
    """Twice the inverse Hessian: the oracle's is exact, ours is made of differences of the gradient."""
    expected = np.array(polished()[name]["theta_vcov"])
    assert gap(fitted(name).vcov("theta"), expected, matrix_scale(expected)) < 2e-7


@pytest.mark.parametrize("name", sorted(polished()))
def test_the_polished_optimum_is_one(name):
    """The oracle's own first-order conditions, and its design: the same columns are aliased."""
    best = polished()[name]
    assert best["slope"] < 1e-9
    assert best["cone"] > -1e-9
    assert np.flatnonzero(~np.isnan(fitted(name).beta)).tolist() == best["kept"]
