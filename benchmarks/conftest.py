"""What the suites share: the data at the scale that is asked for, and the fixture that times fits of one shape.

Run ``pytest benchmarks --benchmark-only``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import polars as pl
import pytest

import mixeff_fast as mf
from benchmarks.shapes import Shape

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

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


@pytest.fixture
def time_fit(benchmark: BenchmarkFixture, scaled: Scaled) -> Timer:
    """Times warm fits of a shape and records what they found."""

    def run(shape: Shape) -> None:
        data = scaled(shape)
        mf.lmm(shape.formula, data)
        benchmark.group = shape.suite
        fit = benchmark(mf.lmm, shape.formula, data)
        certificate = fit.result.certificate
        benchmark.extra_info.update(
            rows=data.height,
            loglik=fit.loglik,
            evaluations=certificate.evaluations,
            certificate_evaluations=certificate.certificate_evaluations,
            status=str(certificate.status),
        )
        assert certificate.status != "not_optimized"

    return run
