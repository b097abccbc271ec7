"""A hash of the values that enter a model, the same on every machine and for any number of threads."""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.frame.columns import FactorVariable
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.schemas.compiled import DataFingerprint

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mixeff_fast.frame import ModelFrame

    Array = NDArray[Any]

# bytes of an array that are hashed at a time: part of the definition of the digest
CHUNK_BYTES = 1 << 20
# hashing is bound by memory beyond so many
_THREADS = 8
_FEW_CHUNKS = 4


def fingerprint(frame: ModelFrame) -> DataFingerprint:
    """Hash the response, the variables, the grouping factors with the labels of their levels, weights, offset and family.

    Each array is cut into chunks of 1 MiB; the digest is the SHA-256 of the names, types, shapes and chunk digests in order.
    Numbers are hashed as they are stored, little-endian. Columns that the model does not use, and rows that were left out,
    take no part.

    Parameters
    ----------
    frame
        The data of a model.

    Returns
    -------
    DataFingerprint
        ``digest`` is None where the rows are not in memory.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
    >>> found = fingerprint(spec.compiled.frame)
    >>> found.algorithm, found.digest[:16]
    ('sha256_tree_v1', '538178dd16888c75')
    """

    if frame.response is ROWS_ELSEWHERE:
        return DataFingerprint(algorithm="sha256_tree_v1", digest=None, reason="rows_not_in_memory")
    parts = [(name, _plain(array)) for name, array in _arrays(frame)]
    tree = hashlib.sha256(b"mixeff_fast.sha256_tree_v1")
    chunks = [chunk for _, array in parts for chunk in _chunks(array)]
    digests = iter(_digests(chunks))
    for name, array in parts:
        tree.update(f"\n{len(name.encode())}:{name} {array.dtype.str} {array.shape}\n".encode())
        for _ in range(-(-array.nbytes // CHUNK_BYTES)):
            tree.update(next(digests))
    return DataFingerprint(algorithm="sha256_tree_v1", digest=tree.hexdigest(), reason="values_in_use")


def _arrays(frame: ModelFrame) -> Iterator[tuple[str, Array]]:
    """Everything that is hashed, by a name that no two share."""
    yield f"response {frame.formula.response.name}", frame.response
    if frame.family is not None:
        family, coding = frame.family, frame.response_coding
        yield "family", _text([family.name, family.link, repr(family.theta), repr(coding.failure), repr(coding.success)])
        if frame.trials is not None:
            yield "trials", frame.trials
    for key in sorted(frame.variables):
        variable = frame.variables[key]
        if isinstance(variable, FactorVariable):
            yield f"factor {key}", variable.codes
            yield f"levels {key}", _text(variable.levels.labels.to_list())
            yield f"contrast {key}", variable.contrast.matrix
        else:
            yield f"numeric {key}", variable.values
    for name in sorted(frame.groups):
        group = frame.groups[name]
        yield f"group {name}", group.codes
        yield f"group levels {name}", _text(group.levels.labels.to_list())
    if frame.weights is not None:
        yield "weights", frame.weights
    if frame.offset is not None:
        yield "offset", frame.offset


def _text(labels: Iterable[str]) -> Array:
    """Labels as bytes, each led by its length, so that no two lists are alike."""
    encoded = [label.encode() for label in labels]
    return np.frombuffer(b"".join(b"%d:%b" % (len(label), label) for label in encoded), np.uint8)


def _plain(array: Array) -> Array:
    """The array in row-major order, little-endian."""
    plain = np.ascontiguousarray(array)
    if sys.byteorder == "big" and plain.dtype.itemsize > 1:
        plain = plain.astype(plain.dtype.newbyteorder("<"))
    return plain


def _chunks(array: Array) -> Iterator[memoryview]:
    flat = array.reshape(-1).view(np.uint8).data if array.nbytes else memoryview(b"")
    for start in range(0, array.nbytes, CHUNK_BYTES):
        yield flat[start : start + CHUNK_BYTES]


def _digests(chunks: list[memoryview]) -> list[bytes]:
    """The digest of each chunk; hashing releases the interpreter lock."""
    threads = min(len(chunks) // _FEW_CHUNKS, _THREADS)
    if threads < 2:
        return [hashlib.sha256(chunk).digest() for chunk in chunks]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(_digest, chunks))


def _digest(chunk: memoryview) -> bytes:
    return hashlib.sha256(chunk).digest()
