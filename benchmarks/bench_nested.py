"""Grouping factors nested within each other."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("nested"), ids=lambda shape: shape.key)
def bench_nested(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
