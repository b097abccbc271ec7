"""Time and memory of a few reference models: ``python benchmarks/clock.py``.

Warm rows are medians of the fit call with the data in memory. The cold rows start a process: once with the kernels
compiled on disk, once with an empty cache folder.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import polars as pl

import mixeff_fast as mf

COLD = (
    "import time; start = time.perf_counter(); import mixeff_fast as mf; "
    "mf.lmm('Reaction ~ Days + (Days | Subject)', mf.datasets.load('sleepstudy')); "
    "print(time.perf_counter() - start)"
)


def slopes(n: int, q: int) -> pl.DataFrame:
    """``y ~ x + (x | g)`` with string groups."""
    rng = np.random.default_rng(1)
    g = rng.integers(0, q, n)
    x = rng.normal(size=n)
    intercept, slope = rng.normal(size=q), rng.normal(size=q) * 0.5
    y = 1 + 0.5 * x + intercept[g] + slope[g] * x + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "g": pl.Series(g).cast(pl.String)})


def row(name: str, formula: str, make: Callable[[], pl.DataFrame], repeats: int) -> None:
    data = make()
    mf.lmm(formula, data)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        fit = mf.lmm(formula, data)
        times.append(time.perf_counter() - start)
    e = fit.result.certificate
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"| {name} | {statistics.median(times) * 1e3:.2f} ms | {min(times) * 1e3:.2f} ms | {e.evaluations} + "
        f"{e.certificate_evaluations} | {e.status}, {e.quality} | {peak:.0f} MB |"
    )


def cold(name: str, environment: dict[str, str], repeats: int) -> None:
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COLD], check=True, capture_output=True, env=os.environ | environment)
        times.append(time.perf_counter() - start)
    print(f"| {name} | {statistics.median(times):.2f} s | {min(times):.2f} s | | | |")


def main() -> None:
    print(f"mixeff_fast {mf.__version__}, Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores\n")
    print("| model | median | fastest | evaluations | certificate | peak RSS so far |")
    print("|---|---|---|---|---|---|")
    row("sleepstudy, 180 rows", "Reaction ~ Days + (Days | Subject)", lambda: mf.datasets.load("sleepstudy"), 200)
    row("slopes, 100,000 x 5,000", "y ~ x + (x | g)", lambda: slopes(100_000, 5_000), 7)
    row("InstEval", "y ~ service + (1 | s) + (1 | d) + (1 | dept)", lambda: mf.datasets.load("InstEval"), 5)
    cold("first fit of a process, kernels on disk", {}, 5)
    with tempfile.TemporaryDirectory() as folder:
        cold("first fit ever, nothing cached", {"MIXEFF_FAST_CACHE_DIR": folder}, 1)


if __name__ == "__main__":
    main()
