"""What the suites share: the data at the scale that is asked for, and the fixture that times fits of one shape.

Run ``pytest benchmarks --benchmark-only``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import polars as pl
import pytest

import mixeff_fast as mf
from benchmarks.shapes import Shape
from mixeff_fast.families import Family

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

COUNTED = ("passes", "factorizations")
Scaled = Callable[[Shape], pl.DataFrame]
Timer = Callable[[Shape], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--scale", type=float, default=1.0, help="share of the rows and levels of generated data")
    parser.addoption("--max-rows", type=int, default=1_000_000, help="leave out shapes with more rows")


@pytest.fixture
def scaled(request: pytest.FixtureRequest) -> Scaled:
    """The data of a shape at ``--scale``; skips those with more rows than ``--max-rows``."""

    def make(shape: Shape) -> pl.DataFrame:
        scale: float = request.config.getoption("--scale")
        limit: int = request.config.getoption("--max-rows")
        if shape.rows * scale > limit:
            pytest.skip(f"{shape.rows:,} rows; --max-rows is {limit:,}")
        return shape.data(scale)

    return make


def fit_shape(shape: Shape, data: pl.DataFrame) -> Any:
    """Fit a linear or a generalized model."""
    likelihood = shape.likelihood
    if likelihood is None:
        return mf.lmm(shape.formula, data)
    family = Family(cast(Any, likelihood.family), cast(Any, likelihood.link))
    weights = likelihood.trials or None
    return mf.glmm(shape.formula, data, family, weights=weights, method=likelihood.method, n_agq=likelihood.n_agq)


@pytest.fixture
def time_fit(benchmark: BenchmarkFixture, scaled: Scaled) -> Timer:
    """Times warm fits of a shape and records what they found."""

    def run(shape: Shape) -> None:
        data = scaled(shape)
        fit_shape(shape, data)
        benchmark.group = shape.suite
        fit = benchmark(fit_shape, shape, data)
        result = getattr(fit, "result", fit)
        certificate = result.certificate
        counted = {name: getattr(result, name) for name in COUNTED if hasattr(result, name)}
        benchmark.extra_info.update(
            rows=data.height,
            loglik=-0.5 * result.objective,
            **counted,
            evaluations=certificate.evaluations,
            certificate_evaluations=certificate.certificate_evaluations,
            status=str(certificate.status),
        )
        assert certificate.status != "not_optimized"

    return run
