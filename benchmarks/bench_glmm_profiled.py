"""Generalized models with fixed effects from the penalized deviance."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("glmm_profiled"), ids=lambda shape: shape.key)
def bench_glmm_profiled(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
