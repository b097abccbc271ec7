"""The rows of a lazy query, in order and a fixed number at a time.

The only user of ``LazyFrame.collect_batches``, whose interface Polars may still change; where it is missing, the query is
run slice by slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import polars as pl

from mixeff_fast.frame.source import run_query

# Large enough for Polars to decode several at once, small enough for the arrays made of one to stay in the cache.
BATCH_ROWS = 131_072
# Without batches every slice is a query of its own.
_SLICE_ROWS = 1 << 22


def batches(query: pl.LazyFrame, rows: int = BATCH_ROWS) -> Iterator[pl.DataFrame]:
    """Yield the rows of a query in order; every batch but the last has exactly so many, whatever Polars reads at once.

    Raises
    ------
    DataError
        If the query fails.

    Examples
    --------
    >>> [batch.height for batch in batches(pl.LazyFrame({"x": range(10)}), 4)]
    [4, 4, 2]
    """
    waiting: list[pl.DataFrame] = []
    held = 0
    for piece in _pieces(query, rows):
        taken = 0
        while taken < piece.height:
            part = piece.slice(taken, rows - held)
            waiting.append(part)
            taken += part.height
            held += part.height
            if held == rows:
                yield _joined(waiting)
                waiting, held = [], 0
    if waiting:
        yield _joined(waiting)


def _joined(parts: list[pl.DataFrame]) -> pl.DataFrame:
    return parts[0].rechunk() if len(parts) == 1 else pl.concat(parts, rechunk=True)


def _pieces(query: pl.LazyFrame, rows: int) -> Iterator[pl.DataFrame]:
    collect: Any = getattr(query, "collect_batches", None)
    if collect is None:
        yield from _slices(query)
        return
    pieces = run_query(lambda: iter(collect(chunk_size=rows, maintain_order=True)))
    while True:
        piece = run_query(lambda: next(pieces, None))
        if piece is None:
            return
        yield piece


def _slices(query: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    start = 0
    while True:
        part = query.slice(start, _SLICE_ROWS)
        piece = run_query(part.collect)
        yield piece
        if piece.height < _SLICE_ROWS:
            return
        start += _SLICE_ROWS
