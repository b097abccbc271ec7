"""Generalized models by adaptive Gauss-Hermite quadrature."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("glmm_agq"), ids=lambda shape: shape.key)
def bench_glmm_agq(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
