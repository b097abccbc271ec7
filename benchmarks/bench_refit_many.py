"""A model fitted again to other responses: prepared, one by one and all at once, and from a fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import mixeff_fast as mf
from benchmarks.conftest import Scaled
from benchmarks.generators import new_responses
from benchmarks.shapes import Shape, of_suite

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

shapes = pytest.mark.parametrize("shape", of_suite("refit_many"), ids=lambda shape: shape.key)


def _one_by_one(model: Any, responses: Any) -> Any:
    for y in responses:
        fitted = model.refit(y)
    return fitted


def _prepared(shape: Shape, data: Any) -> Any:
    return mf.compile_model(shape.formula, data).prepare()


@shapes
def bench_prepared_refits(benchmark: BenchmarkFixture, scaled: Scaled, shape: Shape) -> None:
    data = scaled(shape)
    prepared = _prepared(shape, data)
    responses = new_responses(data[shape.response].to_numpy(), shape.responses)
    prepared.refit(responses[0])
    benchmark.group = shape.suite
    last = benchmark(_one_by_one, prepared, responses)
    benchmark.extra_info.update(rows=data.height, refits=shape.responses, loglik=last.loglik)


@shapes
def bench_refit_many(benchmark: BenchmarkFixture, scaled: Scaled, shape: Shape) -> None:
    data = scaled(shape)
    prepared = _prepared(shape, data)
    responses = np.ascontiguousarray(new_responses(data[shape.response].to_numpy(), shape.responses).T)
    prepared.refit_many(responses)
    benchmark.group = shape.suite
    fits = benchmark(prepared.refit_many, responses)
    benchmark.extra_info.update(rows=data.height, refits=shape.responses, loglik=-0.5 * float(fits.objective[-1]))


@shapes
def bench_refits_of_a_fit(benchmark: BenchmarkFixture, scaled: Scaled, shape: Shape) -> None:
    data = scaled(shape)
    fit = mf.lmm(shape.formula, data)
    responses = new_responses(data[shape.response].to_numpy(), shape.responses)
    benchmark.group = shape.suite
    last = benchmark(_one_by_one, fit, responses)
    benchmark.extra_info.update(rows=data.height, refits=shape.responses, loglik=last.loglik)
