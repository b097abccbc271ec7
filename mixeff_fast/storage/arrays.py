"""Arrays as ``.npy`` members. The header is checked against the bytes that follow it before anything is allocated."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.errors import SchemaError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_HEADER_BYTES = 1000
_TYPES = {"float64": np.float64, "int64": np.int64, "int32": np.int32, "bool": np.bool_}


def array_bytes(array: NDArray[Any]) -> bytes:
    """The content of a member."""
    content = io.BytesIO()
    contiguous = array if array.flags.f_contiguous else np.ascontiguousarray(array)
    np.lib.format.write_array(content, contiguous, version=(1, 0), allow_pickle=False)
    return content.getvalue()


def read_array(content: bytes, name: str, dtype: str, shape: tuple[int | None, ...] | None = None) -> NDArray[Any]:
    """Read a member; ``shape`` has None for any length.

    Raises
    ------
    SchemaError
        Another type or shape, or not as many bytes as these take.
    """
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise SchemaError(f"array {name} has a version of its format that is not written")
    found, fortran, stored = np.lib.format.read_array_header_1_0(stream, max_header_size=_HEADER_BYTES)
    wanted = np.dtype(_TYPES[dtype])
    if stored != wanted or stored.hasobject:
        raise SchemaError(f"array {name} has type {stored}, not {wanted}")
    first = stream.tell()
    if any(length < 0 for length in found) or math.prod(found) * wanted.itemsize != len(content) - first:
        raise SchemaError(f"array {name} of shape {found} does not have as many bytes as that takes")
    if shape is not None and (
        len(found) != len(shape) or any(b is not None and a != b for a, b in zip(found, shape, strict=True))
    ):
        raise SchemaError(f"array {name} has shape {found}, not {shape}")
    flat = np.frombuffer(content, wanted, offset=first)
    if dtype == "bool" and np.any(flat.view(np.uint8) > 1):
        raise SchemaError(f"array {name} holds flags that are neither true nor false")
    return flat.reshape(found, order="F" if fortran else "C").copy(order="K")


def require_finite(array: NDArray[Any], name: str) -> None:
    """Refuse numbers that are not finite."""
    if not np.isfinite(array).all():
        raise SchemaError(f"array {name} holds numbers that are not finite", member=name)
