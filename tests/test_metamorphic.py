"""What must not change, or must change in a known way, when a model or its data are written differently."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixeff_fast as mf
from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.lmm import LmmResult, estimates

Floats = NDArray[np.float64]
ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
quick = settings(max_examples=60, deadline=None)

STRUCTURES = (
    "(1 | g)",
    "(x | g)",
    "(x || g)",
    "(0 + x | g)",
    "(1 | g) + (1 | h)",
    "(x | g) + (1 | h)",
    "(1 | a/b)",
    "(x | a) + (1 | a:b)",
    "(1 | a/b) + (z | h)",
    "(f | h)",
    "diag(1 + x + z | g)",
)
structures = st.sampled_from(STRUCTURES)


def make(rng: np.random.Generator, n: int, present: bool) -> pl.DataFrame:
    """Numeric, factor, nested and crossed columns; ``present`` puts random effects into the response."""
    sizes = {"f": 3, "g": 7, "h": 6, "a": 5, "b": 3}
    codes = {name: rng.integers(0, q, n) for name, q in sizes.items()}
    x, z = rng.normal(size=n), rng.uniform(1, 4, size=n)
    y = 2 + x - 0.5 * z + 0.7 * (codes["f"] == 1) + rng.normal(size=n)
    if present:
        y += (rng.normal(size=7) + np.outer(x, 0.8 * rng.normal(size=7)))[np.arange(n), codes["g"]]
        y += 0.9 * rng.normal(size=6)[codes["h"]]
        y += rng.normal(size=5)[codes["a"]] + 0.7 * rng.normal(size=(5, 3))[codes["a"], codes["b"]]
    labels = {name: [f"{name}{code}" for code in values] for name, values in codes.items()}
    return pl.DataFrame({"y": y, "x": x, "z": z, "w": rng.integers(1, 4, n), "o": rng.normal(size=n), **labels})


@st.composite
def frames(draw: st.DrawFn, present: bool | None = None) -> pl.DataFrame:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return make(rng, draw(st.integers(60, 90)), draw(st.booleans()) if present is None else present)


def fit(formula: str, data: pl.DataFrame, **arguments: Any) -> mf.LinearMixedModel:
    return mf.lmm(formula, data, **arguments)


def assert_close(ours: Any, theirs: Any, tolerance: float, scale: float = 1.0) -> None:
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance * scale)


def spread(data: pl.DataFrame) -> float:
    return float(data["y"].std())


def carried(source: mf.LinearMixedModel, target: mf.LinearMixedModel) -> Floats:
    """The theta of ``source`` in the random-effect columns and weights of ``target``: ``Z' = Z M`` takes Lambda to
    ``M^-1 Lambda``, up to a rotation."""
    out, weight = np.empty(len(target.theta)), np.sqrt(source.weights[0] / target.weights[0])
    for old, new in zip(source.spec.compiled.blocks, target.spec.compiled.blocks, strict=True):
        z = []
        for fitted, block in ((source, old), (target, new)):
            z.append(np.empty((fitted.nobs, block.width)))
            block.design.fill(fitted.spec.compiled.frame.variables, slice(0, fitted.nobs), z[-1])
        root = np.zeros((old.width, old.width))
        root[old.rows, old.columns] = source.theta[old.theta]
        moved = np.linalg.lstsq(z[1], z[0], rcond=None)[0] @ root * weight
        lower = np.diag(np.diag(moved)) if new.family == "diagonal" else np.linalg.qr(moved.T)[1].T
        out[new.theta] = (lower * np.where(np.diag(lower) < 0, -1.0, 1.0))[new.rows, new.columns]
    return out


def aligned(
    one: mf.LinearMixedModel, two: mf.LinearMixedModel, constant: float = 0.0
) -> tuple[mf.LinearMixedModel, mf.LinearMixedModel]:
    """Two writings of one model, at the same optimum: the criterion may have several, and the start depends on the
    writing, so the higher fit is started again from the lower one. ``constant`` is their difference by units."""
    ahead = two.result.objective - one.result.objective - constant
    if ahead > 1e-7:
        two = two.spec.fit(reml=two.reml, control=mf.control(start=carried(one, two)))
    elif ahead < -1e-7:
        one = one.spec.fit(reml=one.reml, control=mf.control(start=carried(two, one)))
    return one, two


def assert_same_fit(a: mf.LinearMixedModel, b: mf.LinearMixedModel, tolerance: float = 1e-6) -> None:
    """Same optimum: objective, fitted values and verdict."""
    a, b = aligned(a, b)
    assert a.fit_status == b.fit_status
    assert a.is_singular() == b.is_singular()
    assert_close(a.result.objective, b.result.objective, 1e-7)
    assert_close(a.fitted, b.fitted, tolerance, float(np.std(a.fitted)))
    assert_close(a.sigma, b.sigma, tolerance, b.sigma)


@quick
@given(frames(), structures, st.booleans(), st.integers(0, 2**32 - 1))
def test_row_order_does_not_matter(data, structure, reml, seed):
    order = np.random.default_rng(seed).permutation(len(data))
    one, two = (fit(f"y ~ x + z + {structure}", d, reml=reml) for d in (data, data[order]))
    assert one.fit_status == two.fit_status
    assert one.is_singular() == two.is_singular()
    assert_close(one.theta, two.theta, 1e-6)
    assert_close(one.beta, two.beta, 1e-6)
    assert_close(one.fitted[order], two.fitted, 1e-6, spread(data))
    assert one.ngrps == two.ngrps
    assert one.ranef()["grp"].to_list() == two.ranef()["grp"].to_list()
    assert_close(one.ranef()["condval"], two.ranef()["condval"], 1e-6, spread(data))


@quick
@given(frames(), st.booleans())
def test_slash_is_two_terms(data, reml):
    short = fit("y ~ x + (1 | a/b)", data, reml=reml)
    for text in ("(1 | a) + (1 | a:b)", "(1 | a:b) + (1 | a)"):
        explicit = fit(f"y ~ x + {text}", data, reml=reml)
        assert np.array_equal(short.theta, explicit.theta)
        assert np.array_equal(short.fitted, explicit.fitted)
        assert short.theta_names == explicit.theta_names


@quick
@given(frames(), st.booleans())
def test_double_bar_is_separate_terms(data, reml):
    one = fit("y ~ x + z + (x + z || g)", data, reml=reml)
    two = fit("y ~ x + z + (1 | g) + (0 + x | g) + (0 + z | g)", data, reml=reml)
    assert np.array_equal(one.theta, two.theta)
    assert np.array_equal(one.fitted, two.fitted)
    assert one.theta_names == two.theta_names
    diagonal = fit("y ~ x + z + diag(1 + x + z | g)", data, reml=reml)
    assert_same_fit(one, diagonal)


@quick
@given(frames(), structures, st.floats(-6, 6), st.sampled_from([1.0, -1.0]))
def test_rescaling_a_predictor_leaves_the_fit(data, structure, exponent, sign):
    factor = sign * 10.0**exponent
    one = fit(f"y ~ x * z + {structure}", data, reml=False)
    two = fit(f"y ~ x * z + {structure}", data.with_columns(pl.col("x") * factor), reml=False)
    one, two = aligned(one, two)
    assert_same_fit(one, two)
    assert_close(two.beta[1] * factor, one.beta[1], 1e-6)
    assert_close(two.beta[3] * factor, one.beta[3], 1e-6)


@quick
@given(frames(), structures, st.integers(-20, 20), st.booleans())
def test_rescaling_by_a_power_of_two_is_exact(data, structure, exponent, reml):
    one = fit(f"y ~ x * z + {structure}", data, reml=reml)
    two = fit(f"y ~ x * z + {structure}", data.with_columns(pl.col("x") * 2.0**exponent), reml=reml)
    assert np.array_equal(one.fitted, two.fitted)
    assert np.array_equal(one.beta, two.beta * [1.0, 2.0**exponent, 1.0, 2.0**exponent])


@quick
@given(
    frames(),
    st.sampled_from(["y ~ x * z + (x | g)", "y ~ x + (x | g) + (1 | h)", "y ~ x * z + (1 | g)", "y ~ f * x + (1 + x | a)"]),
    st.sampled_from([1e-4, 1.0, 1e4]),
    st.booleans(),
)
def test_shifting_a_predictor_leaves_the_fit(data, formula, scale, reml):
    """A raw year beside an intercept: the same model, but for REML's constant, as the same model with years since 2000."""
    year = (10 * pl.col("x")).round()
    one = fit(formula, data.with_columns(x=year), reml=reml)
    two = fit(formula, data.with_columns(x=(2000 + year) * scale), reml=reml)
    constant = 2.0 * np.log(scale) * sum("x" in name for name in one.coef_names) if reml else 0.0
    one, two = aligned(one, two, constant)
    assert one.fit_status == two.fit_status
    assert_close(two.result.objective, one.result.objective + constant, 1e-6)
    assert_close(two.fitted, one.fitted, 1e-6, spread(data))
    interactions = [i for i, name in enumerate(one.coef_names) if ":" in name]
    assert_close(two.beta[interactions] * scale, one.beta[interactions], 1e-6)


@quick
@given(frames(present=False), structures, st.integers(0, 2**32 - 1))
def test_boundary_status_is_stable_under_permutation(data, structure, seed):
    rng = np.random.default_rng(seed)
    statuses = {fit(f"y ~ x + {structure}", data[rng.permutation(len(data))]).fit_status for _ in range(4)}
    assert len(statuses) == 1


@quick
@given(
    frames(),
    st.sampled_from(["y ~ f * x + (1 | g)", "y ~ f + z + (f | h)", "y ~ 0 + f + (1 | a/b)", "y ~ f:x + (1 | g)"]),
    st.sampled_from(["sum", "helmert", "poly", "SAS"]),
)
def test_recoding_a_factor_leaves_the_fit(data, formula, contrast):
    one = fit(formula, data, reml=False)
    two = fit(formula, data, reml=False, contrasts={"f": contrast})
    assert_same_fit(one, two)


@quick
@given(frames(), st.sampled_from(["(1 | g)", "(x | g)", "(1 | g) + (z | h)"]), st.floats(0.05, 20))
def test_scaling_the_weights_scales_sigma(data, structure, factor):
    """Weights are relative: c w gives sigma sqrt(c) and theta / sqrt(c), all else unchanged."""
    one = fit(f"y ~ x + {structure}", data, weights="w", reml=False)
    two = fit(f"y ~ x + {structure}", data, weights=pl.col("w") * factor, reml=False)
    one, two = aligned(one, two)
    assert_close(one.result.objective, two.result.objective, 1e-7)
    assert_close(two.sigma, one.sigma * np.sqrt(factor), 1e-6, two.sigma)
    assert_close(two.theta * np.sqrt(factor), one.theta, 1e-6)
    assert_close(two.fitted, one.fitted, 1e-6, spread(data))


def at(fitted: mf.LinearMixedModel, theta: Floats) -> LmmResult:
    """The estimates of a model at a theta that need not be its own."""
    engine = Engine(fitted.spec.compiled, fitted.control)
    return estimates(engine, engine.lam(theta), fitted.reml, fitted.result.certificate)


@quick
@given(frames(), st.sampled_from(["(1 | g)", "(x | g)", "(1 | g) + (z | h)"]))
def test_weights_and_repeated_rows_have_the_same_crossproducts(data, structure):
    """They are not the same Gaussian model, since the number of rows differs, but at any theta they have the same
    coefficients, effects, determinant and penalized sum of squares."""
    formula = f"y ~ x + z + {structure}"
    weighted = fit(formula, data, weights="w", reml=False)
    repeated = fit(formula, data.select(pl.all().repeat_by("w")).explode(pl.all()), reml=False)
    one, two = at(weighted, weighted.theta), at(repeated, weighted.theta)
    x, w = weighted.get_me("X"), weighted.weights
    assert_close((x.T * w) @ x, repeated.get_me("X").T @ repeated.get_me("X"), 1e-9, len(data) * 16)
    assert_close(one.beta, two.beta, 1e-9)
    assert_close(one.pwrss, two.pwrss, 1e-10, one.pwrss)
    assert_close(one.logdet, two.logdet, 1e-10, 1 + abs(one.logdet))
    for mine, theirs in zip(one.effects, two.effects, strict=True):
        assert_close(mine, theirs, 1e-9)
    n, total = len(data), int(w.sum())
    rows = n * (1 + np.log(2 * np.pi * one.pwrss / n)) - np.log(w).sum()
    assert_close(one.objective, one.logdet + rows, 1e-9, n)
    assert_close(two.objective, two.logdet + total * (1 + np.log(2 * np.pi * two.pwrss / total)), 1e-9, total)


@quick
@given(frames(), st.sampled_from(["(1 | g)", "(x | g)", "(1 | g) + (z | h)"]))
def test_every_row_twice_with_half_the_weight(data, structure):
    """The same cross-products for twice the rows: at any theta sigma is sqrt(2) smaller (ML), all else unchanged."""
    formula = f"y ~ x + {structure}"
    single = fit(formula, data, reml=False)
    double = fit(formula, pl.concat([data, data]), weights=np.full(2 * len(data), 0.5), reml=False)
    one, two = at(single, single.theta), at(double, single.theta)
    assert_close(one.beta, two.beta, 1e-9)
    assert_close(one.sigma, two.sigma * np.sqrt(2.0), 1e-10, one.sigma)
    assert_close(one.vcov, 2.0 * two.vcov, 1e-9, float(np.abs(one.vcov).max()))
    # 2n log(r^2 / 2n) - 2n log(1/2) is twice n log(r^2 / n); the determinant is there once
    assert_close(two.objective, 2 * one.objective - one.logdet, 1e-9, len(data))


@quick
@given(frames(), structures, st.booleans())
def test_likelihood_is_that_of_the_multivariate_normal(data, structure, weighted):
    from scipy.stats import multivariate_normal

    one = fit(f"y ~ x + {structure}", data, reml=False, weights="w" if weighted else None, offset="o")
    root = (one.get_me("Z") @ one.get_me("Lambda")).toarray()
    covariance = one.sigma**2 * (np.diag(1 / one.weights) + root @ root.T)
    mean = one.get_me("X") @ one.beta + one.offset
    assert_close(multivariate_normal(mean, covariance).logpdf(one.get_me("y")), one.loglik, 1e-8, 1 + abs(one.loglik))


@quick
@given(frames(), structures, st.sets(st.integers(1, 999), min_size=2, max_size=5))
def test_wald_intervals_grow_with_their_level(data, structure, levels):
    one = fit(f"y ~ x + {structure}", data)
    widths = []
    for level in sorted(levels):
        table = one.confint(["(Intercept)", "x"], level=level / 1000)
        widths.append((table["upper"] - table["lower"]).to_numpy())
        assert (table["lower"] < table["estimate"]).all()
        assert (table["estimate"] < table["upper"]).all()
    assert np.all(np.diff(np.array(widths), axis=0) > 0.0)


@quick
@given(
    frames(),
    structures,
    st.sampled_from(
        ["x + z", "poly(x, 2)", "scale(x) * f", "f:x + I(x^2) + log(z)", "x + offset(o)", "0 + f", "bs(z, df = 4)"]
    ),
    st.booleans(),
)
def test_predicting_the_training_rows_gives_the_fitted_values(data, structure, fixed, omit):
    if omit:
        data = data.with_columns(y=pl.when(pl.int_range(pl.len()) % 9 == 4).then(None).otherwise("y"))
    one = fit(f"y ~ {fixed} + {structure}", data, na_action="omit")
    assert np.array_equal(one.predict(), one.fitted)
    again = one.predict(data, allow_new_levels=True)
    known = data["y"].is_not_null().to_numpy()
    assert_close(again[known], one.fitted, 1e-10, spread(data))
    assert np.isfinite(again).all()


@pytest.mark.parametrize("structure", STRUCTURES)
def test_simulated_responses_have_the_models_mean_and_covariance(structure):
    data = make(np.random.default_rng(7), 80, present=True)
    one = fit(f"y ~ x + {structure}", data, weights="w", offset="o")
    nsim = 2000
    draws = one.simulate(nsim, seed=5).to_numpy()
    root = (one.get_me("Z") @ one.get_me("Lambda")).toarray() * one.sigma
    covariance = np.diag(one.sigma**2 / one.weights) + root @ root.T
    sd = np.sqrt(np.diag(covariance))
    population = one.predict(re_form="population")
    assert np.abs((draws.mean(axis=1) - population) / sd).max() < 4.5 / np.sqrt(nsim)
    seen = np.cov(draws) / np.outer(sd, sd)
    assert np.abs(seen - covariance / np.outer(sd, sd)).max() < 5.5 * np.sqrt(2 / nsim)
    given_effects = one.simulate(nsim, seed=5, re_form=None).to_numpy()
    error = one.sigma / np.sqrt(one.weights * nsim)
    assert np.abs((given_effects.mean(axis=1) - one.fitted) / error).max() < 4.5


@quick
@given(frames(), structures, st.integers(0, 1000), st.booleans())
def test_refitting_a_simulated_response(data, structure, seed, reml):
    formula = f"y ~ x + {structure}"
    one = fit(formula, data, reml=reml, offset="o")
    drawn = one.simulate(1, seed=seed)["sim_1"]
    again = one.refit(drawn)
    fresh = fit(formula, data.with_columns(y=drawn), reml=reml, offset="o")
    assert_same_fit(again, fresh)
    assert again.reml == reml


BITS = """
import hashlib, numpy as np, mixeff_fast as mf
out = hashlib.sha256()
for formula, name in (("y ~ service + (1 | s) + (1 | d)", "InstEval"), ("Reaction ~ Days + (Days | Subject)", "sleepstudy"),
                      ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin")):
    fit = mf.lmm(formula, mf.datasets.load(name))
    for part in (fit.theta, fit.beta, fit.vcov(), fit.fitted, fit.ranef(cond_var=True)["condsd"].to_numpy()):
        out.update(np.ascontiguousarray(part).tobytes())
print(out.hexdigest())
"""


def test_the_number_of_blas_threads_changes_no_bit():
    digests = set()
    for threads in ("1", "2"):
        names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
        environment = os.environ | dict.fromkeys(names, threads)
        command = [sys.executable, "-c", BITS]
        done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=True)
        digests.add(done.stdout)
    assert len(digests) == 1
