"""Arithmetic on vectors of eight, and models with one grouping factor: levels that fill no tile, several tiles and chunks."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from numba import njit

from mixeff_fast.fit import workspace
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.engine import Engine
from mixeff_fast.kernels._vectors import LANES, add_products, set_products, set_scaled, take_products
from tests import oracle
from tests.bridge import bridge


@njit(no_cfunc_wrapper=True)  # type: ignore[untyped-decorator]
def all_four(s: Any, a: Any, b: Any, numbers: Any, count: int) -> None:
    set_products(s, 0, a, 3, 2 * LANES, b, 1, LANES, count)
    add_products(s, LANES, a, 3, 2 * LANES, b, 1, LANES, count)
    take_products(s, 2 * LANES, a, 3, 2 * LANES, b, 1, LANES, count)
    set_scaled(s, 3 * LANES, a, 3, 2 * LANES, numbers, 1, 3, count)


@pytest.mark.parametrize("count", [0, 1, 2, 7])
def test_operations_on_vectors(count: int) -> None:
    rng = np.random.default_rng(count)
    s, a, b, numbers = rng.normal(size=50), rng.normal(size=200), rng.normal(size=100), rng.normal(size=30)
    before = s.copy()
    all_four(s, a, b, numbers, count)
    products, scaled = np.zeros(LANES), np.zeros(LANES)
    for k in range(count):
        left = a[3 + 2 * LANES * k :][:LANES]
        products += left * b[1 + LANES * k :][:LANES]
        scaled += left * numbers[1 + 3 * k]
    expected = np.concatenate([products, before[LANES : 2 * LANES] + products, before[2 * LANES : 3 * LANES] - products, scaled,
                               before[4 * LANES :]])
    np.testing.assert_allclose(s, expected, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("chunk_blocks", [8, 2000])
@pytest.mark.parametrize(("levels", "width", "columns"), [(3, 1, 1), (8, 2, 2), (21, 2, 1), (40, 3, 4), (65, 5, 2)])
def test_one_factor_against_the_oracle(
    monkeypatch: pytest.MonkeyPatch, levels: int, width: int, columns: int, chunk_blocks: int
) -> None:
    monkeypatch.setattr(workspace, "LANE_BLOCKS", chunk_blocks)
    rng = np.random.default_rng(levels)
    n = levels * (width + 2)
    codes = np.concatenate([np.arange(levels), rng.integers(0, levels, n - levels)])
    z = rng.normal(size=(n, width))
    x = rng.normal(size=(n, columns))
    problem = oracle.Problem(x, rng.normal(size=n), (oracle.Block(z, codes, levels, np.tril(np.ones((width, width), bool))),))
    made = bridge(problem)
    engine = made.engine()
    assert engine.in_lanes
    assert engine.n_chunks == (min(8, max(1, levels // 8)) if chunk_blocks == 8 else 1)
    theta = rng.normal(size=made.model.n_theta)
    for reml in (False, True):
        lam = engine.lam(made.to_model(theta))
        value, gradient = engine.evaluate(lam, reml)
        positive = made.to_problem(engine.theta(lam))
        assert value + engine.criterion_shift(reml) == pytest.approx(oracle.deviance(problem, positive, reml), rel=1e-11)
        expected = oracle.gradient_fd(problem, positive, reml)
        np.testing.assert_allclose(made.user_gradient(engine, lam, gradient), expected, rtol=1e-6, atol=1e-6)
        scored_value, scored_gradient, _ = engine.score(lam, reml)
        assert scored_value == value
        np.testing.assert_allclose(scored_gradient, gradient, rtol=1e-12, atol=1e-12)


def test_a_factorization_that_fails_says_so() -> None:
    from mixeff_fast import compile_model

    data = pl.DataFrame({"y": np.arange(40.0) ** 1.1, "g": np.arange(40) % 10})
    engine = Engine(compile_model("y ~ 1 + (1 | g)", data.cast({"g": pl.String})).compiled, DEFAULT_CONTROL)
    assert np.isfinite(engine.criterion(np.array([1.0]), True))
    assert engine.criterion(np.array([np.nan]), True) == np.inf
    assert engine.criterion(np.array([1.0]), True) < np.inf
