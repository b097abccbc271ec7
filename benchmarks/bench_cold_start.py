"""The first fit of a process, imports included: with the kernels on disk, and with nothing compiled."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mixeff_fast as mf
from benchmarks.shapes import Shape, of_suite

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

CODE = "import mixeff_fast as mf; mf.lmm({formula!r}, mf.datasets.load('sleepstudy'))"
ROUNDS = {"cold": 5, "first": 1}


@pytest.mark.parametrize("shape", of_suite("cold_start"), ids=lambda shape: shape.start)
def bench_cold_start(benchmark: BenchmarkFixture, shape: Shape, tmp_path: Path) -> None:
    command = [sys.executable, "-c", CODE.format(formula=shape.formula)]
    root = str(Path(mf.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    if shape.start == "first":
        environment["MIXEFF_FAST_CACHE_DIR"] = str(tmp_path)
    else:
        subprocess.run(command, check=True, env=environment, capture_output=True)
    benchmark.group = shape.suite
    benchmark.pedantic(
        subprocess.run, (command,), {"check": True, "env": environment, "capture_output": True},
        rounds=ROUNDS[shape.start],
    )
