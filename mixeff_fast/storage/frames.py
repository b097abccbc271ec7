"""Tables as Parquet members, uncompressed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import polars as pl

from mixeff_fast.errors import SchemaError
from mixeff_fast.storage.parquet import check_parquet

if TYPE_CHECKING:
    from mixeff_fast.storage.budget import Budget

# bytes that a value takes in memory, a copy of it among them
_VALUE_BYTES = 24


def frame_bytes(frame: pl.DataFrame) -> bytes:
    """The content of a member."""
    content = io.BytesIO()
    frame.rechunk().write_parquet(content, compression="uncompressed", statistics=False)
    return content.getvalue()


def storable(frame: pl.DataFrame) -> pl.DataFrame:
    """The columns that a member can hold: not those of Python objects."""
    left_out = []
    for name, dtype in frame.schema.items():
        if dtype == pl.Object or dtype.is_nested():
            try:
                frame_bytes(frame.select(pl.col(name).head(1)))
            except (pl.exceptions.PolarsError, pl.exceptions.PanicException):
                left_out.append(name)
    return frame.drop(left_out)


def read_frame(content: bytes, name: str, budget: Budget) -> pl.DataFrame:
    """Read a member.

    Raises
    ------
    SchemaError
        It is none that is written, or takes more memory than is left.
    """
    rows, values = check_parquet(content)
    budget.take(len(content) + _VALUE_BYTES * values, f"table {name}")
    frame = pl.read_parquet(io.BytesIO(content), parallel="none", use_statistics=False).rechunk()
    if frame.height != rows:
        raise SchemaError(f"table {name} has {frame.height} rows, not the {rows} that it claims", member=name)
    for column in frame:
        budget.take(_text_bytes(column), f"the texts of column {column.name!r:.100}")
    return frame


def _text_bytes(column: pl.Series) -> int:
    """Bytes of all texts, each counted in every row, as copies of them would take."""
    if column.dtype == pl.String:
        return int(column.str.len_bytes().sum())
    if isinstance(column.dtype, pl.Enum | pl.Categorical):
        labels = column.dtype.categories if isinstance(column.dtype, pl.Enum) else column.unique().cast(pl.String)
        longest = labels.str.len_bytes().max()
        return len(column) * int(longest) if isinstance(longest, int) else 0
    if column.dtype == pl.Binary:
        return int(column.bin.size().sum())
    return 0
