"""Damaged and forged archives, and what loading them does: run as a program, of those made from a folder of good ones."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import random
import resource
import sys
import tempfile
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mixeff_fast as mf
from mixeff_fast.errors import MixeffError, SchemaError
from tests.saved_models import told

Parts = dict[str, bytes]
NASTY: tuple[Any, ...] = (
    float("nan"), float("inf"), -1, 0, 1, 10**30, -(2**63), 0.5, "", "x" * 1000, "__import__('os').system('true')", None, True,
    [], {}, [[]] * 50, {"a": {"b": {}}}, "y ~ poly(x, 100000000) + (1 | g)", "9.9.9",
)


def contents(path: Path) -> Parts:
    """The members of an archive."""
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def zipped(parts: Parts, compression: int = zipfile.ZIP_STORED) -> bytes:
    """An archive of members."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    return stream.getvalue()


def forged(parts: Parts) -> Parts:
    """The same members with a manifest that fits them."""
    manifest = json.loads(parts["manifest.json"])
    others = {name: content for name, content in parts.items() if name != "manifest.json"}
    manifest["members"] = [
        {"name": name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        for name, content in others.items()
    ]
    return {**others, "manifest.json": json.dumps(manifest).encode()}


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where the values of a JSON document are."""
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield (*at, key)
        yield from paths(value[key], (*at, key))


def edited(document: Any, rng: random.Random) -> Any:
    """A document with a value that is gone or another."""
    document = copy.deepcopy(document)
    *above, last = rng.choice(list(paths(document)))
    inner = document
    for key in above:
        inner = inner[key]
    if rng.random() < 0.2:
        del inner[last]
    else:
        inner[last] = copy.deepcopy(rng.choice(NASTY))
    return document


def flipped(content: bytes, rng: random.Random, count: int = 1) -> bytes:
    """Some bytes are others."""
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, rng: random.Random) -> bytes:
    """A piece is missing, or there twice."""
    one, two = sorted(rng.randrange(len(content)) for _ in range(2))
    return content[:one] + content[two:] if rng.random() < 0.7 else content[:two] + content[one:]


def damaged(path: Path, rng: random.Random) -> bytes:
    """A file that was damaged."""
    content = path.read_bytes()
    return rng.choice([lambda: flipped(content, rng, rng.choice([1, 1, 8])), lambda: content[: rng.randrange(len(content))],
                       lambda: cut(content, rng)])()


def forged_member(path: Path, rng: random.Random) -> bytes:
    """A file in which a member is another, and the manifest fits."""
    parts = contents(path)
    name, other = rng.sample([n for n in parts if n != "manifest.json"], 2)
    change = rng.randrange(5)
    if change == 0:
        parts[name], parts[other] = parts[other], parts[name]
    elif change == 1:
        del parts[name]
    elif change == 2:
        parts[name] = cut(parts[name], rng)
    else:
        parts[name] = flipped(parts[name], rng, rng.choice([1, 3]))
    return zipped(forged(parts))


def forged_table(path: Path, rng: random.Random) -> bytes:
    """A file in which bytes of a table are others, and the manifest fits."""
    parts = contents(path)
    name = rng.choice([n for n in parts if n.endswith(".parquet")])
    content = parts[name]
    # half in the description at the end, where sizes and types are
    at = rng.randrange(len(content) // 2 if rng.random() < 0.5 else 0, len(content))
    parts[name] = content[:at] + bytes([rng.randrange(256)]) + content[at + 1 :]
    return zipped(forged(parts))


def forged_json(path: Path, rng: random.Random) -> bytes:
    """A file in which a value of a JSON member is another, and the manifest fits."""
    parts = contents(path)
    name = rng.choice(["state.json", "state.json", "artifact.json", "manifest.json"])
    parts[name] = json.dumps(edited(json.loads(parts[name]), rng)).encode()
    return zipped(parts if name == "manifest.json" else forged(parts))


def forged_text(path: Path, rng: random.Random) -> bytes:
    """A text that was damaged, or of which a value is another."""
    text = path.with_suffix(".json").read_bytes()
    if rng.random() < 0.5:
        return flipped(text, rng, 1)
    return json.dumps(edited(json.loads(text), rng)).encode()


MUTATORS: tuple[Callable[[Path, random.Random], bytes], ...] = (
    damaged, forged_member, forged_table, forged_json, forged_text
)
# what cannot be forged: of these, what loads is what was written
HONEST = (damaged,)


def outcome(content: bytes, file: Path, original: Any, honest: bool) -> str:
    """``refused``, ``same``, or ``another``: a model of other numbers or words, which a hash cannot tell from an honest one."""
    file.write_bytes(content)
    try:
        model = mf.load(file)
    except SchemaError:
        return "refused"
    same = model.artifact == original.artifact
    assert same or not honest, "a damaged file was read as another model"
    if not same:
        try:
            told(model)
        except MixeffError:
            return "another"
    return "same" if same else "another"


def refuse(path: Path) -> None:
    """Load a file that must be refused."""
    try:
        mf.load(path)
    except SchemaError:
        return
    raise AssertionError(f"{path.name} was read")


def main(folder: Path, count: int) -> None:
    """Load the files of ``cases`` and so many damaged ones; print what became of them, and by how many bytes that took more."""
    warnings.simplefilter("ignore")
    good = sorted(folder.glob("*.model"))
    originals = {path: mf.load(path) for path in good}
    for model in originals.values():
        told(model)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for path in sorted(folder.glob("cases/*")):
        refuse(path)
    found: dict[str, Counter[str]] = {mutator.__name__: Counter() for mutator in MUTATORS}
    with tempfile.TemporaryDirectory() as place:
        for i in range(count):
            rng = random.Random(i)
            path, mutator = good[i % len(good)], MUTATORS[(i // len(good)) % len(MUTATORS)]
            content = mutator(path, rng)
            try:
                found[mutator.__name__][outcome(content, Path(place, "hostile"), originals[path], mutator in HONEST)] += 1
            except BaseException as problem:
                raise RuntimeError(f"mutation {i} of {path.name} by {mutator.__name__}") from problem
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    print(json.dumps({"grown": grown, "found": found}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
