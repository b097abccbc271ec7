"""Generalized models of one grouping factor, random intercepts and slopes."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("glmm_single_vector"), ids=lambda shape: shape.key)
def bench_glmm_single_vector(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
