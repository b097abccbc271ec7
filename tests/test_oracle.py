"""The dense reference against published lme4 results, against identities, and against itself by finite differences."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests import oracle
from tests.oracle import Block, Problem
from tests.strategies import Case, cases

Floats = NDArray[np.float64]
DATASETS = Path(__file__).resolve().parents[1] / "mixeff_fast" / "datasets"

checked = settings(max_examples=60, deadline=None)


def load(name: str) -> pl.DataFrame:
    return pl.read_parquet(DATASETS / f"{name}.parquet")


def numbers(data: pl.DataFrame, column: str) -> Floats:
    return data[column].cast(pl.Float64).to_numpy()


def term(data: pl.DataFrame, factor: str, *columns: str, diagonal: bool = False) -> Block:
    """``(1 + columns | factor)`` or ``(1 + columns || factor)``; ``a:b`` names the cells of two factors."""
    labels = data.select(pl.concat_str(pl.col(factor.split(":")).cast(pl.String), separator=":")).to_series().to_numpy()
    levels, codes = np.unique(labels, return_inverse=True)
    width = 1 + len(columns)
    Z = np.column_stack([np.ones(len(data)), *(numbers(data, column) for column in columns)])
    return Block(Z, codes, len(levels), np.eye(width, dtype=bool) if diagonal else np.tril(np.ones((width,) * 2, bool)))


def model(data: pl.DataFrame, y: str, fixed: tuple[str, ...], *blocks: Block) -> Problem:
    X = np.column_stack([np.ones(len(data)), *(numbers(data, column) for column in fixed)])
    return Problem(X, numbers(data, y), list(blocks))


def sleepstudy() -> Problem:
    data = load("sleepstudy")
    return model(data, "Reaction", ("Days",), term(data, "Subject", "Days"))


def sleepstudy_weighted() -> Problem:
    """Prior weights, an offset, an aliased column and a zero correlation."""
    data = load("sleepstudy").with_columns(twice=2 * pl.col("Days") - 1)
    days = numbers(data, "Days")
    problem = model(data, "Reaction", ("Days", "twice"), term(data, "Subject", "Days", diagonal=True))
    return replace(problem, weights=1 / (1 + days), offset=5 * days)


def dyestuff(name: str) -> Problem:
    data = load(name)
    return model(data, "Yield", (), term(data, "Batch"))


def penicillin() -> Problem:
    data = load("Penicillin")
    return model(data, "diameter", (), term(data, "plate"), term(data, "sample"))


def pastes() -> Problem:
    data = load("Pastes")
    return model(data, "strength", (), term(data, "batch:cask"), term(data, "batch"))


def cake_slopes() -> Problem:
    """The random slope is perfectly correlated with the intercept at the optimum."""
    data = load("cake").with_columns(pl.col("temp") / 100)
    return model(data, "angle", ("temp",), term(data, "recipe:replicate", "temp"))


@dataclass(frozen=True, slots=True)
class Published:
    """lme4 1.1-31, bobyqa with rhoend 1e-9."""

    problem: Any
    reml: bool
    criterion: float
    theta: tuple[float, ...]
    beta: tuple[float, ...]
    sigma: float

    def __str__(self) -> str:
        return f"{self.problem().n} rows, {'REML' if self.reml else 'ML'} {self.criterion:.3f}"


DAYS = (251.405104848485, 10.467285959596)
PUBLISHED = [
    Published(sleepstudy, True, 1743.62827195849, (0.96673279, 0.01516906, 0.23090960), DAYS, 25.5918158926),
    Published(sleepstudy, False, 1751.9393444632, (0.92922539, 0.01816568, 0.22264542), DAYS, 25.591815832),
    Published(lambda: dyestuff("Dyestuff"), True, 319.654276842257, (0.848323795,), (1527.5,), 49.5100998706),
    Published(lambda: dyestuff("Dyestuff"), False, 327.327059881135, (0.752580695,), (1527.5,), 49.5100999553),
    Published(lambda: dyestuff("Dyestuff2"), True, 161.828277812288, (0.0,), (5.6656,), 3.71568427448),
    Published(lambda: dyestuff("Dyestuff2"), False, 162.873036653826, (0.0,), (5.6656,), 3.65323135137),
    Published(penicillin, True, 330.860588991086, (1.53967757, 3.51241539), (22.9722222222,), 0.5499231385),
    Published(penicillin, False, 332.188348668501, (1.53759348, 3.21975405), (22.9722222222,), 0.549932197851),
    Published(pastes, True, 246.990745853486, (3.52690186, 1.56346049), (60.0533333333,), 0.823407542844),
    Published(pastes, False, 247.994465862425, (3.52690183, 1.32991202), (60.0533333333,), 0.823407552812),
    Published(
        sleepstudy_weighted, True, 1739.89979939814, (2.36196668, 0.53672117), (254.21022898682, 4.84392503997),
        11.5398721002,
    ),
    Published(
        cake_slopes, False, 1694.10615607082, (0.196645557, 0.596705540, 0.0), (0.515873015866, 15.803174603178),
        4.51220114873,
    ),
]  # fmt: skip


@pytest.mark.parametrize("expected", PUBLISHED, ids=str)
def test_published_fits(expected: Published) -> None:
    problem = expected.problem()
    start = problem.pack([np.eye(len(block.mask)) for block in problem.blocks])
    polished = oracle.polish(problem, start, expected.reml)
    solution = oracle.solve(problem, polished.theta, expected.reml)
    # lme4 stops near the optimum: never below it beyond rounding, and above it by less than 1e-7.
    assert -1e-9 <= expected.criterion - polished.objective <= 1e-7
    np.testing.assert_allclose(polished.theta, expected.theta, rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(solution.beta, expected.beta, rtol=1e-8)
    np.testing.assert_allclose(solution.sigma, expected.sigma, rtol=1e-6)
    assert solution.objective == pytest.approx(polished.objective, abs=1e-10)
    assert polished.optimality.gradient < 1e-12 * problem.n
    assert polished.optimality.cone > 0


def test_details_at_lme4s_theta() -> None:
    """Everything lme4 reports at its own theta: no optimizer takes part in this comparison."""
    solution = oracle.solve(sleepstudy(), np.array([0.9667327914714, 0.0151690598804, 0.2309095980853]), True)
    np.testing.assert_allclose(
        solution.vcov, [[46.57456154349974, -1.45109562720643], [-1.45109562720643, 2.38946342362262]], rtol=1e-10
    )
    np.testing.assert_allclose(
        solution.b[0][:2],
        [[2.25856550059349, 9.19897190422548], [-40.39857692492454, -8.61970318296016]],
        rtol=1e-10,
    )
    np.testing.assert_allclose(
        solution.b_cov[0][0],
        [[145.7050939872775, -21.44442513376324], [-21.4444251337632, 5.31227349584403]],
        rtol=1e-10,
    )
    assert solution.logdet == pytest.approx(75.9610361073442, rel=1e-11)
    assert solution.logdet_x == pytest.approx(8.27606934060787, rel=1e-11)
    assert solution.pwrss == pytest.approx(116579.505241391, rel=1e-11)
    assert np.sum(solution.u[0] ** 2) == pytest.approx(17697.8620548374, rel=1e-9)


def test_details_with_weights_offset_and_an_aliased_column() -> None:
    solution = oracle.solve(sleepstudy_weighted(), np.array([2.361966677907, 0.536721167454]), True)
    assert solution.kept.tolist() == [0, 1]
    np.testing.assert_allclose(
        solution.vcov, [[45.86715794381738, -0.85628633918964], [-0.85628633918964, 2.48590496549845]], rtol=1e-9
    )
    np.testing.assert_allclose(
        solution.b[0][:2],
        [[-5.6164569299815, 10.17983508608823], [-39.7786551639654, -8.82649355367391]],
        rtol=1e-9,
    )
    np.testing.assert_allclose(solution.fitted[:3], [248.593772056840, 268.617532182893, 288.641292308947], rtol=1e-10)
    np.testing.assert_allclose(np.diag(solution.b_cov[0][0]), [70.0700057882935, 5.26064803557174], rtol=1e-9)
    assert solution.logdet == pytest.approx(87.11724598102177, rel=1e-10)
    assert solution.pwrss == pytest.approx(23704.01935985534, rel=1e-10)


def close(actual: Floats, expected: Floats, tolerance: float) -> None:
    """Equal relative to the largest entry."""
    assert np.abs(actual - expected).max() <= tolerance * (1e-3 + np.abs(expected).max())


@checked
@given(cases(weighted=None, aliased=None))
def test_gradient_is_the_differences_of_the_criterion(case: Case) -> None:
    exact = oracle.gradient(case.problem, case.theta, case.reml)
    close(oracle.gradient_fd(case.problem, case.theta, case.reml), exact, 1e-9)


@settings(checked, max_examples=25)
@given(cases(weighted=None, aliased=None))
def test_hessian_is_the_differences_of_the_gradient(case: Case) -> None:
    exact = oracle.hessian(case.problem, case.theta, case.reml)
    close(oracle.hessian_fd(case.problem, case.theta, case.reml), exact, 1e-9)


@settings(checked, max_examples=20)
@given(cases(weighted=None, aliased=None, max_rows=40), st.integers(0, 2**32 - 1))
def test_cone_gradient_is_the_slope_along_new_variance(case: Case, seed: int) -> None:
    """Sigma_k + t v v' at t -> 0+, as one more term with column Z_k v: the criterion moves by t v'Gamma_k v."""
    rng = np.random.default_rng(seed)
    gammas = oracle.cone_gradient(case.problem, case.theta, case.reml)
    for block, gamma in zip(case.problem.blocks, gammas, strict=True):
        direction = rng.normal(size=len(gamma))
        extra = Block((block.Z @ direction)[:, None], block.codes, block.q, np.ones((1, 1), bool))
        wider = replace(case.problem, blocks=[*case.problem.blocks, extra])
        at = np.append(case.theta, 0.0)
        curvature = oracle.hessian_fd(wider, at, case.reml)[-1, -1]
        assert direction @ gamma @ direction == pytest.approx(curvature / 2, rel=1e-7, abs=1e-7)


@checked
@given(cases(weighted=None, aliased=None))
def test_solution_solves_the_mixed_model_equations(case: Case) -> None:
    """Henderson's equations, which know nothing of V, and lme4's formulas for the criterion."""
    problem, theta = case.problem, case.theta
    solution = oracle.solve(problem, theta, case.reml)
    n, p = problem.n, len(solution.kept)
    w = np.ones(n) if problem.weights is None else problem.weights
    X, lambdas = problem.X[:, solution.kept], problem.lambdas(theta)
    columns = []
    for block, lam in zip(problem.blocks, lambdas, strict=True):
        for level in range(block.q):
            columns.append((block.Z @ lam.astype(np.float64)) * (block.codes == level)[:, None])
    A = np.column_stack([*columns, X])
    q = A.shape[1] - p
    M = (A.T * w) @ A + np.diag(np.repeat([1.0, 0.0], [q, p]))
    found = np.concatenate([*(u.ravel() for u in solution.u), solution.beta])
    r = problem.r.astype(np.float64)
    np.testing.assert_allclose(M @ found, A.T @ (w * r), rtol=1e-9, atol=1e-9 * np.abs(A.T @ (w * r)).max())
    pwrss = np.sum(w * solution.residuals**2) + np.sum(found[:q] ** 2)
    nu = n - p if case.reml else n
    criterion = solution.logdet + case.reml * solution.logdet_x + nu * (1 + np.log(2 * np.pi * pwrss / nu))
    assert pwrss == pytest.approx(solution.pwrss, rel=1e-10)
    assert solution.logdet == pytest.approx(np.linalg.slogdet(M[:q, :q])[1], rel=1e-10, abs=1e-10)
    assert solution.objective == pytest.approx(criterion - np.log(w).sum(), rel=1e-10)
    assert oracle.deviance(problem, theta, case.reml) == pytest.approx(solution.objective, rel=1e-13)
    assert solution.sigma == pytest.approx(np.sqrt(pwrss / nu), rel=1e-10)
    close(solution.vcov, solution.sigma**2 * np.linalg.inv(M)[q:, q:], 1e-8)
    for block, b, u, lam in zip(problem.blocks, solution.b, solution.u, lambdas, strict=True):
        assert b.shape == (block.q, len(lam))
        np.testing.assert_allclose(b, u @ lam.T.astype(np.float64), rtol=1e-12, atol=1e-12)
    assert np.trace(solution.b_cov_full) == pytest.approx(
        sum(np.trace(c, axis1=1, axis2=2).sum() for c in solution.b_cov), rel=1e-12
    )


@settings(checked, max_examples=25)
@given(cases(boundary=False, weighted=None, aliased=None))
def test_polished_optimum_satisfies_the_cone_conditions(case: Case) -> None:
    polished = oracle.polish(case.problem, case.theta, case.reml)
    assert polished.objective <= oracle.deviance(case.problem, case.theta, case.reml) + 1e-10
    assert polished.optimality.gradient <= 1e-9
    assert polished.optimality.cone > -1e-8
    again = oracle.polish(case.problem, polished.theta, case.reml)
    np.testing.assert_allclose(again.theta, polished.theta, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("start", [(0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)])
def test_polish_leaves_a_wrong_boundary(start: tuple[float, ...]) -> None:
    polished = oracle.polish(sleepstudy(), np.array(start), True)
    np.testing.assert_allclose(polished.theta, [0.96673295, 0.01516905, 0.23090959], rtol=1e-6)


def test_double_precision_agrees_with_long_double(monkeypatch: pytest.MonkeyPatch) -> None:
    problem, start = sleepstudy(), np.array([1.0, 0.0, 0.2])
    extended = oracle.polish(problem, start, True)
    monkeypatch.setattr(oracle, "EXTENDED_ROWS", 0)
    double = oracle.polish(problem, start, True)
    np.testing.assert_allclose(double.theta, extended.theta, rtol=1e-11)
    assert double.objective == pytest.approx(extended.objective, rel=1e-14)
    close(
        oracle.gradient_fd(problem, start, True),
        oracle.gradient(problem, start, True),
        1e-9,
    )


def test_independent_columns_are_kept_from_the_left() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 20))
    X = np.column_stack([np.ones(20), a, 2 * a + 1, np.zeros(20), b, a - b])
    assert Problem(X, a, []).kept.tolist() == [0, 1, 4]


def test_malformed_masks_are_refused() -> None:
    codes, Z = np.zeros(4, np.intp), np.ones((4, 2))
    with pytest.raises(ValueError, match="lower triangular"):
        Block(Z, codes, 1, np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="codes"):
        Block(Z, codes + 3, 1, np.eye(2, dtype=bool))
    chain = Block(np.ones((4, 3)), codes, 1, np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool))
    with pytest.raises(ValueError, match="cones"):
        _ = chain.components
