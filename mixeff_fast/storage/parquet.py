"""What a Parquet file says of itself, read before it is handed to a reader: a file of a few bytes may claim any number of
rows, and a compressed page any size.

The footer and the page headers are Thrift structures in the compact protocol. Only what Polars writes without compression
is accepted.
"""

from __future__ import annotations

import base64
from typing import Any

from mixeff_fast.errors import SchemaError

_MAGIC = b"PAR1"
_MOST_DEPTH = 12
# plain, plain dictionary, run lengths, binary deltas, delta lengths, dictionary of run lengths
_ENCODINGS = frozenset({0, 2, 3, 5, 6, 8})
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = range(1, 13)

Struct = dict[int, Any]


class _Reader:
    """Structures one after another, by field number."""

    def __init__(self, content: bytes, at: int, stop: int) -> None:
        self.content = content
        self.at = at
        self.stop = stop

    def _byte(self) -> int:
        if self.at >= self.stop:
            raise SchemaError("a table ends before its description does")
        self.at += 1
        return self.content[self.at - 1]

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                return value
            if shift > 63:
                raise SchemaError("a table has a number that is too long")

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _bytes(self, length: int) -> bytes:
        if length > self.stop - self.at:
            raise SchemaError("a table has text that is longer than itself")
        self.at += length
        return self.content[self.at - length : self.at]

    def _value(self, kind: int, depth: int, inside_list: bool = False) -> Any:
        if depth > _MOST_DEPTH:
            raise SchemaError("the description of a table is nested too deep")
        if kind in (_TRUE, _FALSE):
            return self._byte() == 1 if inside_list else kind == _TRUE
        if kind == _BYTE:
            return self._byte()
        if kind in (_I16, _I32, _I64):
            return self._integer()
        if kind == _DOUBLE:
            return self._bytes(8)
        if kind == _BINARY:
            return self._bytes(self._varint())
        if kind in (_LIST, _SET):
            first = self._byte()
            length = first >> 4 if first >> 4 != 15 else self._varint()
            if length > self.stop - self.at:
                raise SchemaError("a table has a list that is longer than itself")
            return [self._value(first & 15, depth + 1, True) for _ in range(length)]
        if kind == _STRUCT:
            return self.struct(depth + 1)
        raise SchemaError("the description of a table has a value of an unknown kind")

    def struct(self, depth: int = 0) -> Struct:
        """The structure that begins here."""
        found: Struct = {}
        number = 0
        while True:
            first = self._byte()
            if first == 0:
                return found
            number = number + (first >> 4) if first >> 4 else self._integer()
            if number in found:
                raise SchemaError("the description of a table says a thing twice")
            found[number] = self._value(first & 15, depth)


def check_parquet(content: bytes) -> tuple[int, int]:
    """Rows, and values of all columns together, that reading the file gives at most.

    Raises
    ------
    SchemaError
        Compressed or encoded otherwise than what is written, or with sizes that do not fit together.
    """
    if len(content) < 12 or content[:4] != _MAGIC or content[-4:] != _MAGIC:
        raise SchemaError("a table is not in Parquet format")
    length = int.from_bytes(content[-8:-4], "little")
    stop = len(content) - 8
    if length > stop - 4:
        raise SchemaError("the description of a table is longer than the table")
    footer = _Reader(content, stop - length, stop).struct()
    _check_metadata(footer.get(5, []))
    rows = footer[3]
    groups = footer[4]
    if rows < 0 or sum(group[3] for group in groups) != rows or any(group[3] < 0 for group in groups):
        raise SchemaError("the groups of rows of a table do not add up to its rows")
    values = 0
    for group in groups:
        for column in group[1]:
            if column.get(1) is not None:
                raise SchemaError("a table points to another file")
            values += _check_column(content, column[3], group[3], stop - length)
    return rows, values


def _check_metadata(entries: list[Struct]) -> None:
    for entry in entries:
        value = entry.get(2, b"")
        described = base64.b64decode(value) if entry.get(1) == b"ARROW:schema" else value
        # an extension type may hold the addresses of objects
        if b"EXTENSION" in described.upper():
            raise SchemaError("a table has a column of a type that is not written")


def _check_column(content: bytes, column: Struct, rows: int, limit: int) -> int:
    """The values of a column, after a walk over its pages."""
    if column[4] != 0 or not set(column[2]) <= _ENCODINGS:
        raise SchemaError("a column of a table is compressed or encoded as none that is written")
    size, claimed = column[7], column[5]
    at = min(offset for offset in (column[9], column.get(11)) if offset is not None)
    if column[6] != size or not 4 <= at <= at + size <= limit or claimed < rows:
        raise SchemaError("a column of a table does not lie within it")
    values, stop = 0, at + size
    while at < stop:
        reader = _Reader(content, at, stop)
        page = reader.struct()
        data = page.get({_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}.get(page[1], -1))
        if data is None or page[2] != page[3] or not 0 <= page[3] <= stop - reader.at or data[1] < 0:
            raise SchemaError("a page of a table is none that is written")
        if page[1] == _DICTIONARY:
            if data[1] > page[3]:
                raise SchemaError("a page of a table claims more values than it has bytes")
        else:
            values += data[1]
        at = reader.at + page[3]
    if values != claimed:
        raise SchemaError("the pages of a column do not add up to its values")
    return values
