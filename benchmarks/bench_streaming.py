"""From a Parquet file to the fit, to the statistics that suffice for it, and the pass over the file that is their floor."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import mixeff_fast as mf
from benchmarks.conftest import Scaled
from benchmarks.shapes import Shape, of_suite

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

shapes = pytest.mark.parametrize("shape", of_suite("streaming"), ids=lambda shape: shape.key)


@pytest.fixture
def scan(scaled: Scaled, shape: Shape, tmp_path: Path) -> pl.LazyFrame:
    """The data of the shape, in a file."""
    path = tmp_path / "data.parquet"
    scaled(shape).write_parquet(path)
    return pl.scan_parquet(path)


@shapes
def bench_streamed_fit(benchmark: BenchmarkFixture, scan: pl.LazyFrame, shape: Shape) -> None:
    mf.lmm(shape.formula, scan)
    benchmark.group = shape.suite
    fit = benchmark(mf.lmm, shape.formula, scan)
    benchmark.extra_info.update(rows=fit.nobs, loglik=fit.loglik)


@shapes
def bench_sufficient_statistics(benchmark: BenchmarkFixture, scan: pl.LazyFrame, shape: Shape) -> None:
    sufficient_statistics: Any = getattr(mf, "sufficient_statistics", None)
    if sufficient_statistics is None:
        pytest.skip("there are no sufficient statistics")
    statistics = sufficient_statistics(shape.formula, scan)
    benchmark.group = shape.suite
    benchmark(sufficient_statistics, shape.formula, scan)
    benchmark.extra_info.update(loglik=statistics.fit().loglik)


@shapes
def bench_floor(benchmark: BenchmarkFixture, scan: pl.LazyFrame, shape: Shape) -> None:
    sums = scan.group_by(shape.terms[0].group).agg(pl.col(shape.response).sum())
    benchmark.group = shape.suite
    benchmark(sums.collect, engine="streaming")
