"""Generalized models of crossed grouping factors."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("glmm_crossed"), ids=lambda shape: shape.key)
def bench_glmm_crossed(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
