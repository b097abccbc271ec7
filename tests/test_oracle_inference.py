"""The dense oracle of fixed-effect inference: its formulas, R's packages, published numbers."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from scipy import stats
from scipy.optimize import minimize_scalar

from tests import oracle
from tests.inference_references import (
    PUBLISHED,
    PUBLISHED_JOINT,
    PUBLISHED_LRT,
    PUBLISHED_PROFILES,
    PUBLISHED_TOLERANCE,
    Published,
    Reference,
    dense_references,
    inference_references,
    point_of,
    problem_of,
)
from tests.oracle import Block, Floats, Problem
from tests.oracle_inference import (
    Test,
    at,
    at_optimum,
    by_generalized_inverse,
    deviance,
    estimable,
    estimable_exactly,
    gradient,
    hessian,
    jacobian,
    joint_df,
    kenward_roger,
    null_space,
    satterthwaite,
    to_all,
    to_kept,
    wald,
)

NAMES = sorted(inference_references())
QUICK = ("blocks_ml", "cbpp_weights", "dyestuff2", "factorial_aliased", "few_correlated", "levels_nested_crossed",
         "pastes_cask", "trial_weights_ml")  # fmt: skip


def simulated(weighted: bool = True, seed: int = 4, n: int = 60) -> Problem:
    """A correlated slope crossed with an intercept; the third column of X is a sum of the first two."""
    rng = np.random.default_rng(seed)
    x, g, h = rng.standard_normal(n), rng.integers(0, 9, n), rng.integers(0, 6, n)
    f = rng.integers(0, 2, n).astype(float)
    one = np.ones(n)
    b = rng.standard_normal((9, 2)) @ np.array([[1.0, 0.4], [0.0, 0.7]])
    y = 1 + x + b[g, 0] + b[g, 1] * x + rng.standard_normal(6)[h] + rng.standard_normal(n)
    blocks = [
        Block(np.column_stack([one, x]), g, 9, np.tril(np.ones((2, 2), bool))),
        Block(one[:, None], h, 6, np.ones((1, 1), bool)),
    ]
    weights = np.round(rng.uniform(0.5, 3, n), 2) if weighted else None
    return Problem(np.column_stack([one, x, one + x, f]), y, blocks, weights)


# Derivatives.


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("weighted", [True, False])
def test_derivatives_are_those_of_the_deviance(reml, weighted):
    """Away from the optimum, where no term vanishes; differences in long double."""
    problem, theta, sigma = simulated(weighted), np.array([0.9, 0.3, 0.5, 0.7]), 1.2
    point = at(problem, theta, reml, sigma)
    where = np.append(theta, sigma).astype(problem.real)
    steps = np.full(5, 0.02, problem.real)

    def value(phi):
        return deviance(problem, phi[:-1], phi[-1], reml)

    slope = oracle._difference(value, where, steps)
    np.testing.assert_allclose(gradient(point), slope.astype(float), rtol=1e-9)
    curvature = oracle._difference(lambda phi: oracle._difference(value, phi, steps), where, steps)
    np.testing.assert_allclose(hessian(point), curvature.astype(float), rtol=1e-7, atol=1e-7)
    change = oracle._difference(lambda phi: at(problem, phi[:-1], reml, float(phi[-1])).vcov, where, steps / 8)
    np.testing.assert_allclose(jacobian(point), change.astype(float), atol=1e-9)
    assert float(value(where)) == pytest.approx(_log_density(problem, theta, sigma, reml), rel=1e-12)


def _log_density(problem: Problem, theta: Floats, sigma: float, reml: bool) -> float:
    """-2 log-density at the generalized least squares estimate; REML: of n - p orthonormal error contrasts."""
    covariance = np.asarray(at(problem, theta, reml, sigma).covariance, float)
    X = problem.X[:, problem.kept]
    basis = np.linalg.svd(X)[0]
    if reml:
        errors = basis[:, X.shape[1] :].T
        density = stats.multivariate_normal(np.zeros(len(errors)), errors @ covariance @ errors.T)
        # the criterion leaves out log|X'X|, which the contrasts bring in
        return float(-2 * density.logpdf(errors @ problem.y) + np.linalg.slogdet(X.T @ X)[1])
    fixed = X @ at(problem, theta, reml, sigma).beta
    return float(-2 * stats.multivariate_normal(fixed, covariance).logpdf(problem.y))


def test_the_profiled_point_is_the_estimation_oracles():
    problem = simulated()
    theta = np.array([0.9, 0.3, 0.5, 0.7])
    for reml in (True, False):
        point, solved = at(problem, theta, reml), oracle.solve(problem, theta, reml)
        assert float(deviance(problem, theta, point.sigma, reml)) == pytest.approx(solved.objective, rel=1e-14)
        assert abs(gradient(point)[-1]) < 1e-12
        np.testing.assert_allclose(point.beta, solved.beta, rtol=1e-12)
        np.testing.assert_allclose(point.vcov, solved.vcov, rtol=1e-12)


# Invariance.


def _same(one: Test, other: Test, rtol: float = 1e-8) -> None:
    for field in ("estimate", "se", "t", "F", "ndf", "ddf", "p", "scale", "unscaled"):
        np.testing.assert_allclose(getattr(one, field), getattr(other, field), rtol=rtol, atol=1e-12, err_msg=field)


def test_prior_weights_are_a_rescaling_of_the_rows():
    """Multiplying every row of y, X and Z by the root of its weight leaves a model without weights."""
    weighted = simulated()
    root = np.sqrt(np.asarray(weighted.w, float))
    blocks = [replace(block, Z=block.Z * root[:, None]) for block in weighted.blocks]
    plain = Problem(weighted.X * root[:, None], weighted.y * root, blocks)
    start, L = np.array([1.0, 0.0, 1.0, 1.0]), np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
    for reml in (True, False):
        one, other = at_optimum(weighted, start, reml), at_optimum(plain, start, reml)
        for rows in (L[:1], L):
            _same(satterthwaite(one).test(rows), satterthwaite(other).test(rows))
            _same(kenward_roger(one).test(rows), kenward_roger(other).test(rows))


def test_units_do_not_matter():
    problem = simulated()
    scales = np.array([10.0, 1e-3])
    blocks = [replace(problem.blocks[0], Z=problem.blocks[0].Z * scales), problem.blocks[1]]
    units = np.array([1.0, 1e3, 1.0, 1e-2])
    other = replace(problem, blocks=blocks, X=problem.X[:, [0, 1, 3]] * units[[0, 1, 3]], y=problem.y * 50)
    start, L = np.array([1.0, 0.0, 1.0, 1.0]), np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
    one = at_optimum(problem, start, True)
    two = at_optimum(other, start / np.array([10, 10, 1e-3, 1]), True)
    scaled = L * units[[0, 1, 3]]
    for rows, theirs in ((L[:1], scaled[:1]), (L, scaled)):
        for method in (satterthwaite, kenward_roger):
            a, b = method(one).test(rows), method(two).test(theirs)
            np.testing.assert_allclose([a.F, a.ddf, a.p], [b.F, b.ddf, b.p], rtol=1e-6)


@pytest.mark.parametrize("reml", [True, False])
def test_zero_parameters_are_held(reml):
    """A slope whose variance is zero, bars apart or together: the model without it."""
    model = inference_references()["zero_slope_double_bar"]
    apart = problem_of(model.id)
    widths = [block.Z.shape[1] for block in apart.blocks]
    assert widths == [1, 1]
    alone = replace(apart, blocks=apart.blocks[:1])
    full, small = at_optimum(apart, model.theta, reml), at_optimum(alone, model.theta[:1], reml)
    assert full.held == 1
    assert small.held == 0
    L = np.eye(2)
    for rows in (L[:1], L[1:], L):
        _same(satterthwaite(full).test(rows), satterthwaite(small).test(rows))
        _same(kenward_roger(full).test(rows), kenward_roger(small).test(rows))
        _same(kenward_roger(small, held=False).test(rows), kenward_roger(small).test(rows))


def test_a_face_has_no_preferred_coordinates():
    """Covariances of rank one, the zero in the first or in the last place: mirrored, the model is the same."""
    problem = problem_of("perfect_slope")
    block = problem.blocks[0]
    mirrored = replace(problem, blocks=[replace(block, Z=block.Z[:, ::-1])])
    one = point_of("perfect_slope")
    theta = oracle.polish(mirrored, np.array([1.0, 0.5, 0.2]), True).theta
    two = at(mirrored, theta, True)
    assert one.held == two.held == 1
    for rows in (np.eye(2)[:1], np.eye(2)):
        _same(satterthwaite(one).test(rows), satterthwaite(two).test(rows), 1e-7)
        _same(kenward_roger(one).test(rows), kenward_roger(two).test(rows), 1e-7)


def test_redundant_rows_and_right_hand_sides():
    point = point_of("few_correlated")
    L = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]])
    more, rhs = np.vstack([L, L[0] - L[1]]), np.array([0.5, -1.0])
    for method in (satterthwaite(point), kenward_roger(point)):
        assert method.test(more).ndf == 2
        np.testing.assert_allclose(method.test(more).F, method.test(L).F, rtol=1e-10)
        shift = np.linalg.pinv(L) @ rhs
        moved = type(method)(**{f.name: getattr(method, f.name) for f in fields(method)}
                             | {"point": replace(point, beta=point.beta - shift)})  # fmt: skip
        assert pytest.approx(moved.test(L).F, rel=1e-12) == method.test(L, rhs).F
        one = method.test(L[0], 0.5)
        assert pytest.approx(one.t**2) == one.F
        assert one.t * one.se == pytest.approx(one.estimate[0] - 0.5)


def test_rows_that_span_the_same_space():
    """Kenward and Roger's test is a test of the space; the df of Satterthwaite's F depend on the rows, F does not."""
    point = point_of("blocks_ml")
    rng = np.random.default_rng(2)
    L = np.eye(6)[1:]
    mixed = rng.standard_normal((5, 5)) @ L
    _same(kenward_roger(point).test(L), replace(kenward_roger(point).test(mixed), estimate=point.beta[1:]))
    a, b = satterthwaite(point).test(L), satterthwaite(point).test(mixed)
    assert pytest.approx(b.F, rel=1e-10) == a.F
    assert 1e-5 < abs(a.ddf / b.ddf - 1) < 1e-2


def test_wald_is_chi_square():
    point = point_of("few_correlated")
    L = np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [1.0, 3.0, -1.0]])
    found = wald(point, L)
    assert found.ndf == 2
    assert pytest.approx(2 * satterthwaite(point).test(L[:2]).F) == found.F
    assert found.p == pytest.approx(stats.chi2.sf(found.F, 2))
    one = wald(point, L[0])
    assert one.p == pytest.approx(2 * stats.norm.sf(abs(one.t)))


def test_joint_df():
    assert joint_df([7.0]) == 7.0
    assert joint_df([5.0, 5.0 + 1e-10]) == pytest.approx(5.0)
    assert joint_df([5.0, 1.9]) == 2.0
    # the mean of F with the result is that of the sum of the parts
    each = [6.0, 11.0]
    df = joint_df(each)
    assert df / (df - 2) == pytest.approx(np.mean([d / (d - 2) for d in each]))


# Exact cases.


def test_balanced_designs_are_exact():
    """All methods find the t test of group means, and Hotelling's T^2 with random slopes."""
    point = point_of("sleepstudy_slopes")
    for method in (satterthwaite(point), kenward_roger(point)):
        assert [method.test(row).ddf for row in np.eye(2)] == pytest.approx([17, 17], rel=1e-9)
    joint = kenward_roger(point).test(np.eye(2))
    assert (joint.ndf, joint.ddf, joint.scale) == (2, pytest.approx(16, rel=1e-9), pytest.approx(16 / 17, rel=1e-9))
    problem = point.problem
    lines = np.array([
        np.linalg.lstsq(problem.X[rows], problem.y[rows], rcond=None)[0]
        for rows in (problem.blocks[0].codes == level for level in range(18))
    ])  # fmt: skip
    mean, cov = lines.mean(axis=0), np.cov(lines.T)
    t2 = 18 * mean @ np.linalg.solve(cov, mean)
    assert pytest.approx(t2 * 16 / (17 * 2), rel=1e-8) == joint.F
    np.testing.assert_allclose(kenward_roger(point).adjusted, cov / 18, rtol=1e-8)


# Estimability.


def test_estimability_is_the_row_space():
    problem = simulated()
    X = problem.X
    yes = np.array([[1.0, 0, 1, 0], [0, 1, 1, 0], [1, 2, 3, 0], [0, 0, 0, 1], [2, -1, 1, 5]])
    no = np.array([[1.0, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1], [1, 0, 1 + 1e-6, 0]])
    assert estimable(X, yes).all()
    assert not estimable(X, no).any()
    units = np.array([1e-6, 1e5, 1.0, 1e3])
    assert estimable(X * units, yes * units * 1e-9).all()
    assert not estimable(X * units, no * units * 1e9).any()
    null, _ = null_space(X)
    assert null.shape == (4, 1)


def test_estimability_is_exact_where_numbers_are():
    problem = problem_of("factorial_empty_cell")
    rng = np.random.default_rng(0)
    L = np.vstack([np.eye(12), rng.integers(-2, 3, (20, 12)), rng.integers(-2, 3, (20, 360)) @ problem.X])
    found = estimable(problem.X, L)
    np.testing.assert_array_equal(found, estimable_exactly(problem.X, L))
    assert found[-20:].all()
    assert 0 < found[:12].sum() < 12


def test_estimable_rows_have_one_estimate():
    """Whatever columns are left out: kept columns and the Moore-Penrose inverse agree."""
    point = at_optimum(simulated(), [1.0, 0.0, 1.0, 1.0], True)
    rows = to_all(point, np.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]]))
    assert estimable(point.problem.X, rows).all()
    estimate, cov = by_generalized_inverse(point, rows)
    kept = to_kept(point, rows)
    np.testing.assert_allclose(kept, [[1.0, 2.0, 0.0], [0.0, 1.0, -1.0]], atol=1e-12)
    np.testing.assert_allclose(kept @ point.beta, estimate, rtol=1e-9)
    np.testing.assert_allclose(kept @ point.vcov @ kept.T, cov, rtol=1e-9)


# R's numbers. What lmerTest has differentiated numerically is good to 1e-6 here; its p-values suffer in the far tail.

TOLERANCE = {"ndf": 0.0, "ddf": 1e-6, "F": 1e-7, "scale": 1e-9, "unscaled": 1e-7, "estimate": 1e-8, "se": 1e-7, "t": 1e-7}


def gaps(ours: Reference, theirs: Reference) -> dict[str, float]:
    """Relative differences of what R has; estimates in standard errors, small t and F absolutely."""
    floor = {"F": 1.0, "unscaled": 1.0, "t": 1.0, "estimate": np.inf}
    out = {}
    for key in TOLERANCE:
        a, b = getattr(ours, key), getattr(theirs, key)
        if np.isnan(b):
            continue
        unit = ours.se if key == "estimate" else max(abs(b), floor.get(key, 0.0))
        out[key] = abs(a - b) / unit
    for key in ("p", "p_t"):
        a, b = getattr(ours, key), getattr(theirs, key)
        if not np.isnan(b):
            out[key] = abs(np.log(a / b)) / max(1.0, abs(np.log(b)))
    return out


@pytest.mark.parametrize("name", NAMES)
def test_dense_numbers_are_rs(name):
    """lmerTest's, and pbkrtest's with no parameter held at zero."""
    model, dense = inference_references()[name], dense_references()[name]
    assert dense.gradient < 1e-11
    assert (dense.held > 0) == model.singular
    wrong = {}
    for method in ("satterthwaite", "kenward_roger"):
        ours = dense.everything if dense.held and method == "kenward_roger" else getattr(dense, method)
        for tested, own in zip(model.tests, ours, strict=True):
            for key, gap in gaps(own, getattr(tested, method)).items():
                if not gap <= TOLERANCE.get(key, 1e-6):
                    wrong[method, tested.type, tested.label, key] = gap
    assert wrong == {}


@pytest.mark.parametrize("name", QUICK)
def test_dense_numbers_are_the_oracles(name):
    """From R's estimates to the oracle's optimum, and to the numbers on file."""
    model, dense = inference_references()[name], dense_references()[name]
    point = at_optimum(problem_of(name), model.theta, model.reml)
    assert float(deviance(point.problem, point.theta, point.sigma, model.reml)) == pytest.approx(model.objective, abs=1e-9)
    np.testing.assert_allclose(point.vcov, model.vcov, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(point.beta, model.beta, rtol=1e-6)
    methods = [(satterthwaite(point), dense.satterthwaite), (kenward_roger(point), dense.kenward_roger)]
    if point.held:
        methods.append((kenward_roger(point, held=False), dense.everything))
    for method, stored in methods:
        for tested, own in zip(model.tests, stored, strict=True):
            found = method.test(tested.L, tested.rhs)
            np.testing.assert_allclose([found.F, found.ddf, found.scale], [own.F, own.ddf, own.scale], rtol=1e-8)


def test_every_kind_of_model_is_there():
    models = list(inference_references().values())
    assert len(models) >= 40
    assert sum(model.singular for model in models) >= 4
    assert {model.source for model in models} == {"pbkrtest", "ml", "weights", "ml_weights"}
    assert all(len(model.contrasts) == 10 for model in models)
    assert all({tested.type for tested in model.anova} in (set(), {1, 2, 3}) for model in models)
    assert sum(model.rank_deficient for model in models) >= 3
    assert sum(len(model.drop1) for model in models) >= 20


@pytest.mark.parametrize("name", sorted(name for name in NAMES if inference_references()[name].rank_deficient))
def test_rows_of_the_file_are_estimable(name):
    model = inference_references()[name]
    for tested in model.tests:
        rows = model.to_all(tested.L)
        assert estimable(problem_of(name).X, rows).all()
        kept = [model.coefficients.index(each) for each in model.estimable]
        np.testing.assert_allclose(rows[:, kept], tested.L, atol=1e-10)


@pytest.mark.parametrize("name", ["trial_weights", "factorial_weights", "cbpp_weights"])
def test_pbkrtest_leaves_the_weights_out(name):
    """As it comes it is wrong in the fourth digit; its formulas with the weights put in are the oracle's."""
    model, dense = inference_references()[name], dense_references()[name]
    for key, field in (("se", "se"), ("df", "ddf")):
        as_is = np.array(model.raw["pbkrtest_as_is"][key])
        ours = np.array([getattr(own, field) for own in dense.kenward_roger[: len(as_is)]])
        assert np.abs(as_is / ours - 1).max() > 1e-4


# Published numbers.


@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.model}-{case.method}-{case.rhs}")
def test_published_tests(case: Published):
    point = point_of(case.model) if case.theta is None else at(problem_of(case.model), case.theta, True)
    method = satterthwaite(point) if case.method == "satterthwaite" else kenward_roger(point)
    found = method.test(case.L, case.rhs)
    for key, ours in (("estimate", found.estimate[0]), ("se", found.se), ("ddf", found.ddf), ("t", found.t)):
        assert ours == pytest.approx(getattr(case, key), rel=PUBLISHED_TOLERANCE[key]), key
    # the errors of t and df, at their tolerances, in the logarithm of p
    assert np.log(found.p) == pytest.approx(np.log(case.p), rel=5e-5)


def test_published_joint_test():
    found = kenward_roger(point_of("sleepstudy_slopes")).test(np.eye(2))
    assert (found.ndf, found.ddf) == (2, pytest.approx(PUBLISHED_JOINT.ddf, rel=1e-9))
    assert found.scale == pytest.approx(PUBLISHED_JOINT.scale, rel=1e-9)
    assert pytest.approx(PUBLISHED_JOINT.F, rel=5e-5) == found.F
    assert found.unscaled == pytest.approx(PUBLISHED_JOINT.unscaled, rel=5e-5)
    assert np.log(found.p) == pytest.approx(np.log(PUBLISHED_JOINT.p), rel=5e-5)


def test_published_likelihood_ratio_tests():
    model = inference_references()["sleepstudy_slopes_ml"]
    small, full, chisq = PUBLISHED_LRT["slope"]
    (dropped,) = model.drop1
    assert (dropped.objective, model.objective) == (pytest.approx(small, abs=6e-5), pytest.approx(full, abs=6e-5))
    assert dropped.statistic == pytest.approx(chisq, abs=6e-5)
    pastes = inference_references()["pastes"]
    problem = problem_of("pastes")
    cells = [replace(problem, blocks=[block]) for block in problem.blocks if block.q == 30]
    with_batch = oracle.polish(problem, pastes.theta, False)
    without = oracle.polish(cells[0], np.array([1.0]), False)
    assert stats.chi2.sf(without.objective - with_batch.objective, 1) == pytest.approx(PUBLISHED_LRT["batch"], rel=1e-6)


@pytest.mark.parametrize("name", ["blocks", "pastes_cask", "few_slopes"])
def test_likelihood_ratio_tests_of_terms(name):
    """R's statistics are differences of the oracle's optima (columns of the term left out)."""
    model = inference_references()[name]
    problem = problem_of(name)
    full = oracle.polish(problem, model.theta, False)
    for dropped in model.drop1:
        rows = next(tested.L for tested in model.anova if (tested.type, tested.label) == (2, dropped.term))
        columns = ~np.any(rows != 0, axis=0)
        small = oracle.polish(replace(problem, X=problem.X[:, columns]), model.theta, False)
        assert small.objective - full.objective == pytest.approx(dropped.statistic, abs=1e-8)
        assert dropped.df == len(rows)
        assert dropped.p == pytest.approx(stats.chi2.sf(dropped.statistic, dropped.df), rel=1e-12)


def _rise(problem: Problem, best: oracle.Polished, parameter: str | int, value: float) -> float:
    """How much the ML deviance, minimized over all else, lies above its minimum."""
    if parameter == "theta":
        return oracle.deviance(problem, np.array([value]), False) - best.objective
    if parameter == "sigma":
        found = minimize_scalar(lambda theta: float(deviance(problem, [theta], value, False)), bounds=(0, 5),
                                method="bounded", options={"xatol": 1e-4})  # fmt: skip
        return float(found.fun) - best.objective
    assert isinstance(parameter, int)
    rest = replace(problem, X=np.delete(problem.X, parameter, axis=1), offset=value * problem.X[:, parameter])
    return oracle.polish(rest, best.theta, False).objective - best.objective


@pytest.mark.parametrize("name", PUBLISHED_PROFILES)
def test_published_profiles(name):
    problem = problem_of(name)
    best = oracle.polish(problem, inference_references()[name].theta, False)
    for parameter, bounds in PUBLISHED_PROFILES[name].items():
        for side, bound in enumerate(bounds):
            if parameter == "theta" and side == 0:
                continue
            assert _rise(problem, best, parameter, bound) == pytest.approx(stats.chi2.isf(0.05, 1), abs=1.1e-3)


def test_columns_of_x_and_rows_of_the_file_belong_together():
    """The objective of R at R's theta, for every model: designs, weights, order of terms and thetas."""
    for name in NAMES:
        model = inference_references()[name]
        assert oracle.deviance(problem_of(name), model.theta, model.reml) == pytest.approx(model.objective, abs=1e-8)
