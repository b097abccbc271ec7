"""What must not change generalized linear mixed models: units, origins, order of rows, names of levels, ways to write them."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import gammaln

from mixeff_fast.families import Family
from tests.glmm_problems import Fitted, fitted, row_order, small_data

FAMILIES = [Family("binomial", "logit"), Family("binomial", "cauchit"), Family("poisson", "log"), Family("poisson", "sqrt"),
            Family("negative_binomial", "log"), Family("gamma", "log"), Family("gamma", "inverse"),
            Family("inverse_gaussian", "log"), Family("gaussian", "log")]
# standard errors come from differences of gradients
ERRORS = 1e-6
names = pytest.mark.parametrize("family", FAMILIES, ids=str)


def predictors(fit: Fitted) -> np.ndarray:
    """Linear predictors at the modes, in the order of the data."""
    fit.engine.settle(fit.result.point)
    out = np.empty(fit.engine.n)
    out[row_order(fit.model)] = fit.engine.modes.eta
    return out


def covariances(fit: Fitted) -> dict[tuple[str, tuple[str, ...]], np.ndarray]:
    """The covariance matrix of every term by group and columns."""
    out = {}
    for block in fit.model.blocks:
        lower = np.zeros((block.width, block.width))
        lower[block.rows, block.columns] = fit.result.theta[block.theta]
        out[fit.model.factors[block.factor].group.name, block.names] = lower @ lower.T
    return out


def assert_same(a: Fitted, b: Fitted, tolerance: float = 1e-6, shift: float = 0.0) -> None:
    """All that does not depend on units, and coefficients and standard errors by name."""
    assert a.result.certificate.quality == b.result.certificate.quality == "certified"
    assert a.result.certificate.status == b.result.certificate.status
    assert a.result.objective - b.result.objective == pytest.approx(shift, abs=tolerance)
    if a.result.parameter is not None:
        assert a.result.parameter == pytest.approx(b.result.parameter, rel=tolerance)
    if a.result.parameter_error is not None:
        assert a.result.parameter_error == pytest.approx(b.result.parameter_error, rel=ERRORS)


def assert_same_coefficients(a: Fitted, b: Fitted, tolerance: float = 1e-6, error_tolerance: float = ERRORS) -> None:
    """Estimates in units of their standard errors."""
    at = [b.model.fixed.names.index(name) for name in a.model.fixed.names]
    errors = np.sqrt(np.diag(a.result.vcov))
    assert np.max(np.abs(a.result.beta - b.result.beta[at]) / errors, initial=0.0) < tolerance
    np.testing.assert_allclose(np.sqrt(np.diag(b.result.vcov))[at], errors, rtol=error_tolerance)


def assert_same_covariances(a: Fitted, b: Fitted, tolerance: float = 1e-6) -> None:
    ours, theirs = covariances(a), covariances(b)
    assert set(ours) == set(theirs)
    for key, matrix in ours.items():
        np.testing.assert_allclose(theirs[key], matrix, atol=tolerance * max(np.max(np.abs(matrix)), 1e-6))


@names
@pytest.mark.parametrize(("scale", "origin"), [(1e-4, 2000.0), (1e4, 2000.0), (1e4, 0.0), (-1e-4, 0.0)])
def test_units_and_origin_of_a_predictor(family, scale, origin):
    """The raw year: an intercept beside the slope in both parts closes their span."""
    data = small_data(family, 21, n=90)
    plain = fitted("y ~ x + z + (x | g)", data, family)
    moved = fitted("y ~ x + z + (x | g)", data.with_columns(x=scale * pl.col("x") + origin), family)
    assert_same(plain, moved)
    np.testing.assert_allclose(predictors(moved), predictors(plain), atol=1e-6)
    i, j = plain.model.fixed.names.index("x"), plain.model.fixed.names.index("z")
    for at, unit in ((i, scale), (j, 1.0)):
        error = np.sqrt(plain.result.vcov[at, at])
        assert abs(moved.result.beta[at] * unit - plain.result.beta[at]) < 1e-6 * error
        assert np.sqrt(moved.result.vcov[at, at]) * abs(unit) == pytest.approx(error, rel=ERRORS)
    (before,), (after,) = covariances(plain).values(), covariances(moved).values()
    assert after[1, 1] * scale**2 == pytest.approx(before[1, 1], rel=1e-5, abs=1e-10)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_units_without_an_intercept(scale):
    family = Family("poisson", "log")
    data = small_data(family, 22)
    formula = "y ~ 0 + x + (0 + x | g)"
    plain, moved = fitted(formula, data, family), fitted(formula, data.with_columns(x=scale * pl.col("x")), family)
    assert_same(plain, moved)
    assert moved.result.beta[0] * scale == pytest.approx(plain.result.beta[0], rel=1e-6)
    assert moved.result.theta[0] * scale == pytest.approx(plain.result.theta[0], rel=1e-6)


@names
@pytest.mark.parametrize("formula", ["y ~ x + (x | g) + (1 | h)", "y ~ x + (1 | g / c)"])
def test_order_of_rows_and_names_of_levels(family, formula):
    rng = np.random.default_rng(23)
    data = small_data(family, 24, n=90)
    renamed = dict(zip([f"g{i}" for i in range(7)], rng.permutation([f"other{i}" for i in range(7)]).tolist(), strict=True))
    other = data.with_columns(pl.col("g").replace_strict(renamed))[rng.permutation(len(data))]
    a, b = fitted(formula, data, family), fitted(formula, other, family)
    assert_same(a, b)
    assert_same_coefficients(a, b)
    assert_same_covariances(a, b)
    found = {}
    for fit in (a, b):
        k = next(i for i, each in enumerate(fit.model.factors) if each.group.name == "g")
        levels = fit.model.factors[k].group.levels.labels.to_list()
        found[fit is a] = {renamed.get(level, level): row for level, row in zip(levels, fit.result.effects[k], strict=True)}
    for level, row in found[True].items():
        np.testing.assert_allclose(found[False][level], row, atol=1e-6)


@names
@pytest.mark.parametrize(
    ("short", "long"),
    [("y ~ x + (1 | g / c)", "y ~ x + (1 | g) + (1 | g:c)"), ("y ~ x + (x || g)", "y ~ x + (1 | g) + (0 + x | g)")],
)
def test_ways_to_write_a_model(family, short, long):
    data = small_data(family, 25, n=90)
    a, b = fitted(short, data, family), fitted(long, data, family)
    assert_same(a, b, 1e-8)
    assert_same_coefficients(a, b, 1e-7)
    assert sorted(a.result.theta) == pytest.approx(sorted(b.result.theta), abs=1e-7)


@names
def test_coding_of_a_factor(family):
    data = small_data(family, 26, n=90)
    a = fitted("y ~ h + x + (1 | g)", data, family)
    b = fitted("y ~ h + x + (1 | g)", data, family, contrasts={"h": "sum"})
    assert_same(a, b)
    np.testing.assert_allclose(predictors(a), predictors(b), atol=1e-6)
    assert_same_covariances(a, b)


@names
def test_a_constant_offset_is_part_of_the_intercept(family):
    data = small_data(family, 27, n=90)
    a, b = fitted("y ~ x + (1 | g)", data, family), fitted("y ~ x + (1 | g) + offset(0 * z + 0.25)", data, family)
    assert_same(a, b)
    assert b.result.beta[0] + 0.25 == pytest.approx(a.result.beta[0], abs=1e-6)
    assert_same_covariances(a, b)


@pytest.mark.parametrize(
    "family",
    [Family("binomial", "logit"), Family("binomial", "probit"), Family("poisson", "log"), Family("negative_binomial", "log")],
    ids=str,
)
def test_weights_are_repeated_rows(family):
    data = small_data(family, 28, n=90)
    repeated = data[np.repeat(np.arange(len(data)), data["w"].cast(pl.Int64).to_numpy())]
    a, b = fitted("y ~ x + (1 | g)", data, family, weights="w"), fitted("y ~ x + (1 | g)", repeated, family)
    assert_same(a, b, 1e-7)
    assert_same_coefficients(a, b, 1e-6)
    assert_same_covariances(a, b)


@pytest.mark.parametrize("link", ["logit", "probit", "cloglog", "cauchit"])
def test_trials_are_rows(link):
    """Up to the number of orders that the rows can have."""
    family = Family("binomial", link)
    data = small_data(family, 29, n=60, trials=6)
    share = data.with_columns(y=pl.col("y") / pl.col("m"))
    rows = []
    for row in data.iter_rows(named=True):
        rows += [row | {"y": 1.0}] * int(row["y"]) + [row | {"y": 0.0}] * int(row["failures"])
    a = fitted("cbind(y, failures) ~ x + (x | g)", data, family)
    b = fitted("y ~ x + (x | g)", share, family, weights="m")
    c = fitted("y ~ x + (x | g)", pl.DataFrame(rows), family)
    y, m = data["y"].to_numpy(), data["m"].to_numpy()
    orders = float(np.sum(gammaln(m + 1) - gammaln(y + 1) - gammaln(m - y + 1)))
    for other, shift in ((b, 0.0), (c, -2 * orders)):
        assert_same(a, other, 1e-7, shift)
        assert_same_coefficients(a, other)
        assert_same_covariances(a, other)


def test_rows_without_trials_say_nothing():
    family = Family("binomial", "logit")
    data = small_data(family, 30, n=60, trials=5)
    empty = data.with_columns(y=0.0 * pl.col("y"), failures=0.0 * pl.col("y"), x=pl.col("x") + 1.0)
    a = fitted("cbind(y, failures) ~ x + (1 | g)", data, family)
    b = fitted("cbind(y, failures) ~ x + (1 | g)", pl.concat([data, empty]), family)
    assert_same(a, b, 1e-8)
    assert_same_coefficients(a, b, 1e-7)
    assert_same_covariances(a, b)


@pytest.mark.parametrize("link", ["logit", "probit", "cauchit"])
def test_failures_mirror_successes(link):
    family = Family("binomial", link)
    data = small_data(family, 31, n=90)
    a, b = fitted("y ~ x + (x | g)", data, family), fitted("failures ~ x + (x | g)", data, family)
    assert_same(a, b, 1e-8)
    np.testing.assert_allclose(b.result.beta, -a.result.beta, atol=1e-7)
    assert_same_covariances(a, b)


@pytest.mark.parametrize(("name", "power"), [("gamma", 0), ("inverse_gaussian", -1), ("gaussian", 2)])
@pytest.mark.parametrize("unit", [1e-7, 1e9])
def test_units_of_a_response(name, power, unit):
    """With the log link they belong to the intercept; a dispersion has its own."""
    family = Family(name, "log")
    data = small_data(family, 32, n=90)
    a, b = (fitted("y ~ x + (1 | g)", each, family) for each in (data, data.with_columns(y=unit * pl.col("y"))))
    assert b.result.certificate.status == a.result.certificate.status
    assert b.result.certificate.quality == "certified"
    assert b.result.objective - a.result.objective == pytest.approx(2 * len(data) * np.log(unit), abs=1e-6)
    shifted = b.result.beta - [np.log(unit), 0.0]
    np.testing.assert_allclose(shifted, a.result.beta, atol=1e-6)
    np.testing.assert_allclose(b.result.theta, a.result.theta, rtol=1e-6)
    assert b.result.parameter / unit**power == pytest.approx(a.result.parameter, rel=1e-6)


@pytest.mark.parametrize("arguments", [{"threads": 1}, {"threads": 3}, {"start": [0.3]}], ids=str)
def test_settings_do_not_move_the_optimum(arguments: dict[str, Any]):
    family = Family("binomial", "probit")
    data = small_data(family, 33, n=90)
    a, b = fitted("y ~ x + (1 | g)", data, family), fitted("y ~ x + (1 | g)", data, family, **arguments)
    assert_same(a, b, 1e-8)
    assert_same_coefficients(a, b, 1e-6)
