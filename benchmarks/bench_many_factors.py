"""Many grouping factors: balanced, partially crossed, and a chain of overlapping ones."""

from __future__ import annotations

import pytest

from benchmarks.conftest import Timer
from benchmarks.shapes import Shape, of_suite


@pytest.mark.parametrize("shape", of_suite("many_factors"), ids=lambda shape: shape.key)
def bench_many_factors(time_fit: Timer, shape: Shape) -> None:
    time_fit(shape)
