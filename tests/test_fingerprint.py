"""The fingerprint changes with every value that enters a model, and with nothing else."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.compile import fingerprint as room
from mixeff_fast.compile.fingerprint import fingerprint
from mixeff_fast.formula import model_formula
from mixeff_fast.frame import build_frame
from mixeff_fast.models import statistics as door

FORMULA = "y ~ x + a + (1 | g)"


def data(**changes: Any) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    columns = {
        "y": rng.normal(size=40), "x": rng.normal(size=40), "a": ["u", "v"] * 20, "g": np.repeat(list("abcdefgh"), 5),
        "w": rng.uniform(1.0, 2.0, 40), "unused": rng.normal(size=40),
    }
    return pl.DataFrame(columns | changes)


def digest(frame: Any, formula: str = FORMULA, **arguments: Any) -> str:
    found = fingerprint(build_frame(frame, model_formula(formula), **arguments))
    assert found.digest is not None
    return found.digest


def test_every_value_in_use_counts() -> None:
    base = data()
    y = base["y"].to_numpy().copy()
    y[7] = np.nextafter(y[7], 1.0)
    digests = [
        digest(base),
        digest(data(y=y)),
        digest(data(x=base["x"] + 1e-12)),
        digest(data(a=["u", "w"] * 20)),
        digest(data(a=["v", "u"] * 20)),
        digest(data(g=np.repeat(list("abcdefgi"), 5))),
        digest(data(g=np.repeat(list("bacdefgh"), 5))),
        digest(base, weights="w"),
        digest(base, offset="w"),
        digest(base, contrasts={"a": "sum"}),
        digest(base[1:]),
        digest(base, "y ~ x + (1 | g)"),
    ]
    assert len(set(digests)) == len(digests)


def test_nothing_else_counts() -> None:
    base = data()
    assert digest(base) == digest(data(unused=np.zeros(40)))
    assert digest(base) == digest(base.lazy()) == digest(base.to_arrow())
    assert digest(base) == digest(base, "y ~ a + x + (1 | g)")
    assert digest(base[1:]) == digest(base, subset=pl.int_range(40) > 0)


def test_labels_do_not_run_into_each_other() -> None:
    assert digest(data(a=["ab", "c"] * 20)) != digest(data(a=["a", "bc"] * 20))


@pytest.mark.parametrize("chunk", [64, 1000])
def test_the_tree_is_what_it_says(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = build_frame(data(), model_formula("y ~ 1 + (1 | g)"))
    monkeypatch.setattr(room, "CHUNK_BYTES", chunk)
    tree = hashlib.sha256(b"mixeff_fast.sha256_tree_v1")
    labels = b"".join(b"1:" + letter.encode() for letter in "abcdefgh")
    for name, kind, shape, raw in (
        ("response y", "<f8", "(40,)", frame.response.tobytes()),
        ("group g", "<i4", "(40,)", frame.groups["g"].codes.tobytes()),
        ("group levels g", "|u1", f"({len(labels)},)", labels),
    ):
        tree.update(f"\n{len(name)}:{name} {kind} {shape}\n".encode())
        for start in range(0, len(raw), chunk):
            tree.update(hashlib.sha256(raw[start : start + chunk]).digest())
    assert fingerprint(frame).digest == tree.hexdigest()


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    frame = build_frame(data(), model_formula(FORMULA))
    monkeypatch.setattr(room, "CHUNK_BYTES", 32)
    found = set()
    for threads in (1, 2, 5):
        monkeypatch.setattr(room, "_THREADS", threads)
        found.add(fingerprint(frame).digest)
    assert len(found) == 1


def test_rows_elsewhere_have_no_fingerprint(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STREAM_ROWS", 10)
    data().write_parquet(tmp_path / "data.parquet")
    spec = mf.compile_model(FORMULA, pl.scan_parquet(tmp_path / "data.parquet"))
    found = fingerprint(spec.compiled.frame)
    assert (found.digest, found.reason) == (None, "rows_not_in_memory")
