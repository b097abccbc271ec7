"""Generalized models of nested grouping factors, one of them with a level for each row."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("glmm_nested"), ids=lambda shape: shape.key)
def bench_glmm_nested(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
