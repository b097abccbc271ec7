"""What compiling for the audit adds to a fit: the design audit and the fingerprint of the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.compile.design import design_audit, examined_columns
from mixeff_fast.compile.fingerprint import fingerprint
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.schemas.policy import Thresholds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_benchmark.fixture import BenchmarkFixture


def insteval() -> tuple[str, pl.DataFrame]:
    return "y ~ service + (1 | s) + (1 | d) + (1 | dept)", mf.datasets.load("InstEval")


def long(rows: int, slope: bool) -> tuple[str, pl.DataFrame]:
    rng = np.random.default_rng(1)
    levels = rows // 100
    data = pl.DataFrame({
        "y": rng.normal(size=rows), "x": rng.normal(size=rows), "g": rng.integers(0, levels, rows, dtype=np.int32),
    })
    return f"y ~ x + ({'1 + x' if slope else '1'} | factor(g))", data


CASES: dict[str, Callable[[], tuple[str, pl.DataFrame]]] = {
    "sleepstudy": lambda: ("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy")),
    "InstEval": insteval,
    "intercepts, 10,000,000 x 100,000": lambda: long(10_000_000, False),
    "slopes, 10,000,000 x 100,000": lambda: long(10_000_000, True),
}


@pytest.mark.parametrize("case", CASES)
def bench_audit(benchmark: BenchmarkFixture, case: str) -> None:
    formula, data = CASES[case]()
    model = mf.compile_model(formula, data).compiled

    def compile_for_the_audit() -> None:
        with single_threaded_blas():
            design_audit(model, examined_columns(data, model.frame, None), {}, Thresholds())
        fingerprint(model.frame)

    compile_for_the_audit()
    benchmark.group = "audit"
    benchmark(compile_for_the_audit)
    benchmark.extra_info.update(rows=data.height)
