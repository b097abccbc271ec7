"""Time and memory of a few reference models: ``python -m benchmarks.clock``.

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

import mixeff_fast as mf
from benchmarks.shapes import SHAPES

COLD = (
    "import time; start = time.perf_counter(); import mixeff_fast as mf; "
    "mf.lmm('Reaction ~ Days + (Days | Subject)', mf.datasets.load('sleepstudy')); "
    "print(time.perf_counter() - start)"
)


def row(name: str, key: str, repeats: int) -> None:
    formula, data = SHAPES[key].formula, SHAPES[key].data()
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
    row("sleepstudy, 180 rows", "1", 200)
    row("slopes, 100,000 x 5,000", "2", 7)
    row("InstEval", "5", 5)
    cold("first fit of a process, kernels on disk", {}, 5)
    with tempfile.TemporaryDirectory() as folder:
        cold("first fit ever, nothing cached", {"MIXEFF_FAST_CACHE_DIR": folder}, 1)


if __name__ == "__main__":
    main()
