"""Data that do not fit in memory: ``python -m benchmarks.streaming --rows 100000000 --groups 1000000``.

Writes a Parquet file of ``y``, ``x`` (float64) and ``g`` (int32), fits models to a scan of it, and compares time with one
streaming ``group_by("g").agg(pl.col("y").sum())`` of Polars over the same file: the floor for anything that reads every row
and touches every group. Every run is a process of its own, so that its peak memory is its own; runs alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

FORMULAS = ("y ~ x + (1 | g)", "y ~ x + (x | g)")
FLOOR = "floor"
_PART = 1_000_000


def generate(path: Path, rows: int, groups: int, seed: int = 1) -> None:
    """Write the file, a million rows at a time; rows of a group lie anywhere."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    intercept, slope = rng.normal(size=groups), 0.3 * rng.normal(size=groups)
    schema = pa.schema([("y", pa.float64()), ("x", pa.float64()), ("g", pa.int32())])
    with pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=False) as writer:
        for start in range(0, rows, _PART):
            n = min(_PART, rows - start)
            g = rng.integers(0, groups, n, dtype=np.int32)
            x = rng.normal(size=n)
            y = 1.0 + 0.5 * x + intercept[g] + slope[g] * x + rng.normal(size=n)
            writer.write_table(pa.table({"y": y, "x": x, "g": g}, schema=schema))


def measure(path: Path, what: str) -> dict[str, float | str]:
    """Run the floor or a model once, in this process; kernels are compiled before the clock starts."""
    found: dict[str, float | str] = {"what": what}
    scan = pl.scan_parquet(path)
    if what == FLOOR:
        start = time.perf_counter()
        scan.group_by("g").agg(pl.col("y").sum()).collect(engine="streaming")
        found["seconds"] = time.perf_counter() - start
    else:
        import mixeff_fast as mf

        warnings.simplefilter("ignore")
        mf.sufficient_statistics(what, scan.head(2_000).with_columns(pl.col("g") % 20)).fit()
        start = time.perf_counter()
        spec = mf.compile_model(what, scan)
        summed = time.perf_counter()
        fit = spec.fit()
        found["seconds"] = time.perf_counter() - start
        found["fitting"] = time.perf_counter() - summed
        found |= {"status": fit.fit_status, "loglik": fit.loglik, "evaluations": fit.result.certificate.evaluations}
    found["peak_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return found


def _in_own_process(path: Path, what: str) -> dict[str, float | str]:
    command = [sys.executable, "-m", "benchmarks.streaming", "--file", str(path), "--run", what]
    root = Path(__file__).resolve().parent.parent
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    out = subprocess.run(command, check=True, capture_output=True, text=True, cwd=root, env=environment)
    result: dict[str, float | str] = json.loads(out.stdout.splitlines()[-1])
    return result


def report(path: Path, repeats: int) -> list[str]:
    """Lines of a table: medians, ratios to the floor of the same round, peak memory."""
    runs: dict[str, list[dict[str, float | str]]] = {what: [] for what in (FLOOR, *FORMULAS)}
    for _ in range(repeats):
        for what, done in runs.items():
            done.append(_in_own_process(path, what))
    rows = pl.scan_parquet(path).select(pl.len()).collect().item()
    lines = [
        f"{rows:,} rows, {path.stat().st_size / 2**30:.2f} GiB; {platform.machine()}, {os.cpu_count()} processors, "
        f"Polars {pl.__version__}, {repeats} runs each",
        "",
        "| what | seconds | of it fitting | times the floor | peak RSS | status |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for what, done in runs.items():
        ratio = statistics.median(
            float(one["seconds"]) / float(base["seconds"]) for one, base in zip(done, runs[FLOOR], strict=True)
        )
        seconds, fitting, peak = (
            statistics.median(float(one.get(key, 0.0)) for one in done) for key in ("seconds", "fitting", "peak_mb")
        )
        lines.append(
            f"| `{what}` | {seconds:.2f} | {fitting:.2f} | {ratio:.2f} | {peak:.0f} MB | {done[0].get('status', '')} |"
        )
    return lines


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000)
    parser.add_argument("--groups", type=int, default=50_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--file", type=Path, help="an existing file; without it one is written and removed")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.run:
        print(json.dumps(measure(chosen.file, chosen.run)))
    elif chosen.file:
        print("\n".join(report(chosen.file, chosen.repeats)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "big.parquet"
            generate(path, chosen.rows, chosen.groups)
            print("\n".join(report(path, chosen.repeats)))


if __name__ == "__main__":
    main()
