"""Hostile archives: a typed refusal, whatever is in them, in little memory."""

from __future__ import annotations

import io
import json
import os
import stat
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import SchemaError
from mixeff_fast.storage.arrays import array_bytes
from mixeff_fast.storage.frames import frame_bytes
from tests.hostile_archives import Parts, contents, forged, refuse, zipped
from tests.saved_models import models

ROOT = Path(__file__).resolve().parent.parent
FUZZED = ("expressions", "weighted", "spec", "refit", "streamed_aliased", "amounts", "proportions")
MUTATIONS = 1000
MOST_BYTES = 100 * 10**6


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good archives and texts, and in ``cases`` every hostile one."""
    place = tmp_path_factory.mktemp("archives")
    for name in FUZZED:
        models()[name].save(place / f"{name}.model")
        (place / f"{name}.json").write_text(models()[name].as_json())
    (place / "cases").mkdir()
    parts = contents(place / "expressions.model")
    for name, case in CASES.items():
        (place / "cases" / name.replace(" ", "_")).write_bytes(case(dict(parts)))
    for name, text_case in TEXTS.items():
        document = json.loads((place / "expressions.json").read_text())
        (place / "cases" / name.replace(" ", "_")).write_bytes(text_case(document))
    for original, cases in (("streamed_aliased", STREAMED), ("amounts", FAMILIES)):
        others = contents(place / f"{original}.model")
        for name, case in cases.items():
            (place / "cases" / name.replace(" ", "_")).write_bytes(case(dict(others)))
    return place


def with_member(name: str, content: bytes) -> Callable[[Parts], bytes]:
    return lambda parts: zipped(forged({**parts, name: content}))


def without(name: str) -> Callable[[Parts], bytes]:
    return lambda parts: zipped(forged({k: v for k, v in parts.items() if k != name}))


def in_json(member: str, *path: Any, value: Any) -> Callable[[Parts], bytes]:
    """Another value in a JSON member, and a manifest that fits."""

    def case(parts: Parts) -> bytes:
        document = json.loads(parts[member])
        inner = document
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        changed = {**parts, member: json.dumps(document).encode()}
        return zipped(changed if member == "manifest.json" else forged(changed))

    return case


def in_array(name: str, change: Callable[[Any], Any]) -> Callable[[Parts], bytes]:
    """Another array, and a manifest that fits."""

    def case(parts: Parts) -> bytes:
        array = change(np.load(io.BytesIO(parts[name])).copy())
        return zipped(forged({**parts, name: array_bytes(array)}))

    return case


def first(value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.flat[0] = value
        return array

    return change


def in_data(change: Callable[[pl.DataFrame], pl.DataFrame]) -> Callable[[Parts], bytes]:
    """Another table, and a manifest that fits."""

    def case(parts: Parts) -> bytes:
        frame = change(pl.read_parquet(io.BytesIO(parts["data.parquet"])))
        return zipped(forged({**parts, "data.parquet": frame_bytes(frame)}))

    return case


def with_formula(formula: str) -> Callable[[Parts], bytes]:
    return in_json("state.json", "call", "formula", value=formula)


def raw_zip(*entries: tuple[zipfile.ZipInfo | str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w", compression) as archive:
        warnings.simplefilter("ignore")
        for entry, content in entries:
            archive.writestr(entry, content)
    return stream.getvalue()


def symlink(parts: Parts) -> bytes:
    entry = zipfile.ZipInfo("data.parquet")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    others = [(name, content) for name, content in forged(parts).items() if name != "data.parquet"]
    return raw_zip(*others, (entry, b"/etc/passwd"))


def encrypted(parts: Parts) -> bytes:
    content = bytearray(zipped(parts))
    content[content.index(b"PK\x01\x02") + 8] |= 1
    return bytes(content)


def encoded(write: Callable[[io.BytesIO], None]) -> bytes:
    stream = io.BytesIO()
    write(stream)
    return stream.getvalue()


def many_rows() -> bytes:
    """Twenty million rows in a few kilobytes."""
    return frame_bytes(pl.DataFrame({"y": pl.repeat(1, 20_000_000, dtype=pl.UInt8, eager=True)}))


def compressed_table() -> bytes:
    frame = pl.DataFrame({"y": np.zeros(2_000_000)})
    return encoded(lambda stream: frame.write_parquet(stream, compression="zstd"))


def long_texts() -> bytes:
    """A text of one mebibyte, in each of thousand rows."""
    return frame_bytes(pl.DataFrame({"y": pl.repeat("x" * 2**20, 1000, eager=True)}))


def pickled() -> bytes:
    return encoded(lambda stream: np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True))


def claiming(content: bytes, shape: bytes) -> bytes:
    """An array whose header claims another shape."""
    start = content.index(b"(")
    stop = content.index(b")", start) + 1
    return content[:start] + shape.ljust(stop - start) + content[stop:]


# name: what to make of the members of a good archive
CASES: dict[str, Callable[[Parts], bytes]] = {
    "empty": lambda _: b"",
    "no archive": lambda _: b"no archive",
    "truncated": lambda parts: zipped(parts)[:-30],
    "half": lambda parts: zipped(parts)[: len(zipped(parts)) // 2],
    "no manifest": lambda parts: raw_zip(("state.json", parts["state.json"])),
    "empty zip": lambda _: raw_zip(),
    "wrong hash": lambda parts: zipped({**parts, "artifact.json": parts["artifact.json"].replace(b"{", b" {", 1)}),
    "unlisted member": lambda parts: zipped({**parts, "arrays/more.npy": parts["arrays/theta.npy"]}),
    "superfluous member": with_member("arrays/more.npy", array_bytes(np.zeros(2))),
    "twice": lambda parts: raw_zip(*forged(parts).items(), ("data.parquet", parts["data.parquet"])),
    "compressed": lambda parts: zipped(parts, zipfile.ZIP_DEFLATED),
    "bomb": lambda parts: zipped(forged({**parts, "arrays/theta.npy": bytes(2**27)}), zipfile.ZIP_DEFLATED),
    "above": with_member("../outside.npy", b"x"),
    "absolute": with_member("/tmp/outside.npy", b"x"),
    "windows": with_member("c:\\outside.npy", b"x"),
    "folder": with_member("arrays/", b""),
    "symlink": symlink,
    "encrypted": encrypted,
    "many members": lambda parts: raw_zip(*((f"{i}.npy", b"") for i in range(10_001))),
    "other schema": in_json("manifest.json", "header", "schema_name", value="mixeff_fast.audit_report"),
    "unknown schema": in_json("manifest.json", "header", "schema_name", value="another.archive"),
    "newer major": in_json("manifest.json", "header", "schema_version", value="2.0.0"),
    "no version": in_json("state.json", "header", "schema_version", value="seven"),
    "newer artifact": in_json("artifact.json", "header", "schema_version", value="9.0.0"),
    "other kind": in_json("manifest.json", "kind", value="spec"),
    "deep json": with_member("state.json", b"[" * 500_000),
    "deep artifact": with_member("artifact.json", b'{"a":' * 200_000),
    "json list": with_member("state.json", b"[1, 2]"),
    "no json": with_member("state.json", b"\xff\x00{"),
    "nan in artifact": in_json("artifact.json", "summary", "sigma", value=float("nan")),
    "infinite tolerance": in_json("state.json", "fit", "control", "tolerance", value=float("inf")),
    "tolerance out of range": in_json("state.json", "fit", "control", "tolerance", value=7.0),
    "unknown setting": in_json("state.json", "fit", "control", "tolerances", value=1.0),
    "unknown status": in_json("state.json", "fit", "certificate", "status", value="converged"),
    "cone of no term": in_json("state.json", "fit", "certificate", "cones", 0, "term", value=99),
    "code in formula": with_formula("log(y) ~ I(__import__('os').system('true')) + (1 | g:t)"),
    "code in column": with_formula("log(y) ~ x.__class__ + (1 | g:t)"),
    "other formula": with_formula("log(y) ~ x + (1 | g:t)"),
    "no random term": with_formula("log(y) ~ x"),
    "wide basis": with_formula("log(y) ~ poly(x, 100000000) + (1 | g:t)"),
    "many knots": with_formula("log(y) ~ bs(z, df = 1e9) + (1 | g:t)"),
    "many columns": with_formula("log(y) ~ factor(x):factor(z):factor(w):factor(o) + (1 | g:t)"),
    "many parameters": with_formula("log(y) ~ 1 + (factor(x):factor(z) | g)"),
    "many terms": with_formula("y ~ (a + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q) ^ 17 + (1 | g)"),
    "expression as weights": in_json("state.json", "call", "weights", value={"kind": "values", "column": None}),
    "column that is not there": in_json("state.json", "call", "offset", value={"kind": "column", "column": "nothing"}),
    "unknown role": in_json("state.json", "call", "roles", value={"g": "emperor"}),
    "contrasts of nothing": in_json("state.json", "call", "contrasts", value={"x": {"name": "sum"}}),
    "learned nothing": in_json("state.json", "learned", value={}),
    "learned text": in_json("state.json", "learned", "poly(x, 2)", "0", "alpha", value="five"),
    "learned more": in_json("state.json", "learned", "poly(x, 2)", "0", "alpha", value=[1.0] * 5),
    "learned otherwise": in_json("state.json", "learned", "poly(x, 2)", "0", "alpha", 0, value=17.0),
    "evaluated nothing": in_json("state.json", "evaluated", value=[]),
    "no state": without("state.json"),
    "no artifact": without("artifact.json"),
    "no data": without("data.parquet"),
    "no theta": without("arrays/theta.npy"),
    "nan in theta": in_array("arrays/theta.npy", first(float("nan"))),
    "nan in beta": in_array("arrays/beta.npy", first(float("nan"))),
    "infinite effect": in_array("arrays/effects-0.npy", first(float("inf"))),
    "nan in values": in_array("arrays/evaluated-0.npy", first(float("nan"))),
    "other values": in_array("arrays/evaluated-0.npy", lambda array: array + 1.0),
    "negative sigma": in_array("arrays/numbers.npy", first(-1.0)),
    "other estimate": in_array("arrays/beta.npy", first(1.0)),
    "all aliased": in_array("arrays/aliased.npy", np.ones_like),
    "short effects": in_array("arrays/effects-0.npy", lambda array: array[:-1]),
    "flat covariance": in_array("arrays/vcov.npy", np.ravel),
    "single precision": in_array("arrays/theta.npy", lambda array: array.astype(np.float32)),
    "object array": with_member("arrays/theta.npy", pickled()),
    "pickle": with_member("arrays/theta.npy", b"\x80\x04cos\nsystem\n(S'true'\ntR."),
    "no npy": with_member("arrays/theta.npy", b"\x93NUMPY\x01\x00nothing"),
    "npy of version 3": with_member("arrays/theta.npy", b"\x93NUMPY\x03\x00\x00\x00\x00\x00"),
    "huge shape": lambda parts: with_member("arrays/vcov.npy", claiming(parts["arrays/vcov.npy"], b"(9999999,)"))(parts),
    "negative shape": lambda parts: with_member("arrays/vcov.npy", claiming(parts["arrays/vcov.npy"], b"(-1, -1)"))(parts),
    "flags that are none": lambda parts: with_member("arrays/aliased.npy", parts["arrays/aliased.npy"][:-1] + b"\x07")(parts),
    "other data": in_data(lambda frame: frame.with_columns(pl.col("y") + 1e-3)),
    "rows in another order": in_data(lambda frame: frame.reverse()),
    "fewer rows": in_data(lambda frame: frame.head(100)),
    "no such columns": in_data(lambda frame: frame.drop("g")),
    "text for numbers": in_data(lambda frame: frame.with_columns(pl.col("x").cast(pl.String))),
    "missing values": in_data(lambda frame: frame.with_columns(pl.lit(None, pl.Float64).alias("x"))),
    "one level": in_data(lambda frame: frame.with_columns(pl.lit("a").alias("g"), pl.lit(True).alias("t"))),
    "many rows": with_member("data.parquet", many_rows()),
    "compressed table": with_member("data.parquet", compressed_table()),
    "long texts": with_member("data.parquet", long_texts()),
    "no table": with_member("data.parquet", b"PAR1 is not a table PAR1"),
    "table of nothing": with_member("data.parquet", b"PAR1\x00\x00\x00\x00PAR1"),
}
TEXTS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "text truncated": lambda document: json.dumps(document).encode()[:-100],
    "text of another artifact": lambda document: json.dumps(
        {**document, "artifact": {**document["artifact"], "compiled_sha256": "0" * 64}}
    ).encode(),
    "text of another hash": lambda document: json.dumps({**document, "artifact_sha256": "0" * 64}).encode(),
    "text without members": lambda document: json.dumps({**document, "members": []}).encode(),
    "text with a member twice": lambda document: json.dumps(
        {**document, "members": document["members"] + document["members"][:1]}
    ).encode(),
    "text with a member above": lambda document: json.dumps(
        {**document, "members": [{**document["members"][0], "name": "../state.json"}, *document["members"][1:]]}
    ).encode(),
    "text that is no base64": lambda document: json.dumps(
        {**document, "members": [{**document["members"][0], "content": "?"}, *document["members"][1:]]}
    ).encode(),
    "text nested": lambda _: b'{"header":' * 100_000,
}
STREAMED: dict[str, Callable[[Parts], bytes]] = {
    "cross short": in_array("cross/panel.npy", lambda array: array[:-1]),
    "cross nan": in_array("cross/diag.npy", first(float("nan"))),
    "cross of other columns": in_array("cross/kept.npy", lambda array: array[::-1].copy()),
    "cross scale": in_array("cross/x_scale.npy", first(0.0)),
    "cross without": without("cross/border.npy"),
    "statistics without": without("statistics/border.npy"),
    "statistics short": in_array("statistics/levels-0.npy", lambda array: array[:-1]),
    "statistics nan": in_array("statistics/border.npy", first(float("nan"))),
}


DISPERSION = 6


def nth(at: int, value: float) -> Callable[[Any], Any]:
    def change(array: Any) -> Any:
        array.flat[at] = value
        return array

    return change


FAMILIES: dict[str, Callable[[Parts], bytes]] = {
    "family of another kind": in_json("state.json", "call", "family", value=None),
    "family with another link": in_json("state.json", "call", "family", "link", value="inverse"),
    "family that is none": in_json("state.json", "call", "family", "name", value="tweedie"),
    "family that takes no such link": in_json("state.json", "call", "family", "link", value="logit"),
    "family fit of a linear model": in_json("state.json", "fit", "glmm", value=None),
    "family fit by REML": in_json("state.json", "fit", "reml", value=True),
    "family another estimator": in_json("state.json", "fit", "glmm", "method", value="pirls_profiled"),
    "family unknown estimator": in_json("state.json", "fit", "glmm", "method", value="variational"),
    "family other nodes": in_json("state.json", "fit", "glmm", "n_agq", value=5),
    "family too many nodes": in_json("state.json", "fit", "glmm", "n_agq", value=10**9),
    "family without nodes": in_json("state.json", "fit", "glmm", "n_agq", value=0),
    "family another route": in_json("state.json", "fit", "glmm", "vcov_route", value="working_hessian"),
    "family other inference": in_json("state.json", "fit", "glmm", "inference", value="none"),
    "family negative count": in_json("state.json", "fit", "glmm", "passes", value=-1),
    "family artifact of a linear model": in_json("artifact.json", "glmm", value=None),
    "family artifact of another parameter": in_json("artifact.json", "glmm", "parameter", "value", value=17.0),
    "family point nan": in_array("arrays/point.npy", first(float("nan"))),
    "family point short": in_array("arrays/point.npy", lambda array: array[:-1]),
    "family without point": without("arrays/point.npy"),
    "family with lam": lambda parts: zipped(forged({**parts, "arrays/lam.npy": parts["arrays/point.npy"]})),
    "family dispersion negative": in_array("arrays/numbers.npy", nth(DISPERSION, -1.0)),
    "family dispersion none": in_array("arrays/numbers.npy", nth(DISPERSION, float("nan"))),
    "family dispersion infinite": in_array("arrays/numbers.npy", nth(DISPERSION, float("inf"))),
    "family other dispersion": in_array("arrays/numbers.npy", nth(DISPERSION, 0.25)),
    "family negative error": in_array("arrays/numbers.npy", nth(DISPERSION + 1, -0.25)),
    "family other deviance": in_array("arrays/numbers.npy", nth(1, 3.0)),
    "family negative penalty": in_array("arrays/numbers.npy", nth(2, -3.0)),
    "family objective infinite": in_array("arrays/numbers.npy", first(float("inf"))),
    "family numbers short": in_array("arrays/numbers.npy", lambda array: array[:-1]),
    "family information nan": in_array("arrays/information.npy", first(float("nan"))),
    "family information short": in_array("arrays/information.npy", lambda array: array[:-1]),
    "family without information": without("arrays/information.npy"),
    "family response that it cannot have": in_data(lambda frame: frame.with_columns(-pl.col("amount"))),
    "family elsewhere": in_json("state.json", "rows", value="elsewhere"),
}


@pytest.mark.parametrize("name", [*CASES, *TEXTS, *STREAMED, *FAMILIES])
def test_what_was_not_written_is_refused(name: str, folder: Path) -> None:
    refuse(folder / "cases" / name.replace(" ", "_"))


def test_forging_nothing_is_read(folder: Path) -> None:
    """The cases above are refused for what they change, not for how they were made."""
    for name in FUZZED:
        parts = contents(folder / f"{name}.model")
        (folder / "same").write_bytes(zipped(forged(parts)))
        assert mf.load(folder / "same").artifact == models()[name].artifact


def test_refusals_name_the_file_and_the_remedy(folder: Path) -> None:
    bad = folder / "cases" / "wrong_hash"
    with pytest.raises(SchemaError, match=r"artifact\.json is not what was written") as refused:
        mf.load(bad)
    assert refused.value.path == str(bad)
    assert refused.value.member == "artifact.json"
    with pytest.raises(SchemaError, match=r"version 2\.0\.0 .* is not read"):
        mf.load(folder / "cases" / "newer_major")
    with pytest.raises(SchemaError, match=r"memory_limit= allows more") as refused:
        mf.load(folder / "cases" / "many_rows")
    assert refused.value.bytes > refused.value.limit == 32 * 2**20
    with pytest.raises(SchemaError, match=r"write the model again with save\(\)"):
        mf.load(folder / "cases" / "no_archive")


def test_mutations_are_refused_in_little_memory(folder: Path) -> None:
    """Damage is refused or harmless. A forgery whose hashes fit may be a model of its own, which answers every verb."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.hostile_archives", str(folder), str(MUTATIONS)],
        capture_output=True, text=True, cwd=ROOT, env={**os.environ, "RUST_BACKTRACE": "0"}, check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    report = json.loads(run.stdout.splitlines()[-1])
    assert report["grown"] < MOST_BYTES
    outcomes = report["found"]
    assert sum(sum(counts.values()) for counts in outcomes.values()) == MUTATIONS
    assert set(outcomes["damaged"]) <= {"refused", "same"}
    assert all(counts["refused"] > counts.get("another", 0) for counts in outcomes.values())
