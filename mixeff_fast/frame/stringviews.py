"""Codes of a column of short strings, from the memory it has: Arrow's string views.

Polars lends its memory through Arrow's C stream interface. Most labels are so short that a view holds all of their bytes;
numbering those views takes a third of the time of a ``Categorical`` and of looking up what its codes mean.
"""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mixeff_fast.frame.columns import Codes

_VIEWS = b"vu"
_FEW_SLOTS = 1 << 11


class _Schema(ctypes.Structure):
    """ArrowSchema of the C data interface."""


class _Array(ctypes.Structure):
    """ArrowArray of the C data interface."""


class _Stream(ctypes.Structure):
    """ArrowArrayStream of the C stream interface."""


_Schema._fields_ = [
    ("format", ctypes.c_char_p), ("name", ctypes.c_char_p), ("metadata", ctypes.c_void_p), ("flags", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("children", ctypes.c_void_p), ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Schema))), ("private_data", ctypes.c_void_p),
]
_Array._fields_ = [
    ("length", ctypes.c_int64), ("null_count", ctypes.c_int64), ("offset", ctypes.c_int64), ("n_buffers", ctypes.c_int64),
    ("n_children", ctypes.c_int64), ("buffers", ctypes.POINTER(ctypes.c_void_p)), ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p), ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))),
    ("private_data", ctypes.c_void_p),
]
_Stream._fields_ = [
    ("get_schema", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Schema))),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", ctypes.c_void_p), ("release", ctypes.c_void_p), ("private_data", ctypes.c_void_p),
]
_pointer = ctypes.PYFUNCTYPE(ctypes.POINTER(_Stream), ctypes.py_object, ctypes.c_char_p)(
    ("PyCapsule_GetPointer", ctypes.pythonapi)
)


def _views(series: pl.Series) -> Iterator[npt.NDArray[np.int64]]:
    """Lend the views of a column, chunk by chunk, two integers each; a chunk is not to be used after the next was asked for.

    Yields nothing where the column is not kept as views.
    """
    # frees the stream when it is dropped
    capsule: Any = series.__arrow_c_stream__()
    stream = _pointer(capsule, b"arrow_array_stream")
    schema = _Schema()
    if stream.contents.get_schema(stream, ctypes.byref(schema)):
        return
    kind = schema.format
    schema.release(ctypes.byref(schema))
    if kind != _VIEWS:
        return
    while True:
        array = _Array()
        if stream.contents.get_next(stream, ctypes.byref(array)) or not array.release:
            return
        try:
            if array.length:
                size = 2 * array.length
                place = array.buffers[1] + 16 * array.offset
                yield np.frombuffer((ctypes.c_int64 * size).from_address(place), np.int64)
        finally:
            array.release(ctypes.byref(array))


def code_short_strings(series: pl.Series) -> tuple[Codes, npt.NDArray[np.unsignedinteger | np.int64]] | None:
    """Code a column of strings without missing values.

    Returns
    -------
    codes
        Shape (n,): places among the distinct strings in byte order.
    rows
        For each of these, a row that holds it.

    None where a string is longer than what a view holds, or the column is not kept as views.
    """
    if sys.byteorder != "little":
        return None
    from mixeff_fast.kernels import strings

    n = len(series)
    codes = np.empty(n, np.int32)
    size, known, done = _FEW_SLOTS, 0, 0
    slots = np.full(size, -1, np.int32)
    keys, first = np.empty(size, np.int64), np.empty(size // 2, np.int64)
    for views in _views(series):
        row, length = 0, len(views) // 2
        own = codes[done : done + length]
        while True:
            row, known = strings.code_views(views, own, row, slots, keys, first, done, known)
            if row == strings.LONG:
                return None
            if row == length:
                break
            size *= 4
            slots = np.full(size, -1, np.int32)
            keys, first = np.resize(keys, size), np.resize(first, size // 2)
            strings.enter_views(slots, keys, known)
        done += length
    if done < n:
        return None
    order = _byte_order(keys[: 2 * known])
    place = np.empty(known, np.int32)
    place[order] = np.arange(known, dtype=np.int32)
    rows = first[:known][order]
    # Polars uses such places as they are
    return np.take(place, codes, out=codes, mode="clip"), rows.astype(np.uint32) if n < 1 << 32 else rows


def _byte_order(keys: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The order that sorts views by their bytes, a string before those that it begins."""
    parts = keys.view(np.uint32).reshape(-1, 4).byteswap()
    upper = (parts[:, 1].astype(np.uint64) << np.uint64(32)) | parts[:, 2]
    lower = (parts[:, 3].astype(np.uint64) << np.uint64(32)) | parts[:, 0].byteswap()
    return np.lexsort((lower, upper))
