"""The second pass over data that are read in batches: the sums.

Batches are dealt out to stripes in turn; each stripe adds its own batches in order, and the stripes are added in order. How
many stripes there are depends on the size of the sums only, so the result does not depend on the number of threads.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from queue import Queue
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.errors import DataError
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.crossproduct import chunks
from mixeff_fast.fit.statistics import PairSums, Sums, combine_sums, factor_pairs
from mixeff_fast.fit.threads import available_threads
from mixeff_fast.frame.streamsource import Ledger
from mixeff_fast.kernels import statistics as kernels

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import Layout
    from mixeff_fast.fit.crossproduct import Chunk
    from mixeff_fast.fit.standardize import Standardization
    from mixeff_fast.frame import ModelFrame
    from mixeff_fast.frame.streamframe import Known
    from mixeff_fast.frame.streamsource import Scan

    Float = NDArray[np.float64]

# Bytes of sums that may be held several times over, and the stripes up to there.
_STRIPES = ((1 << 25, 8), (1 << 28, 4), (1 << 31, 2))
# A table with a slot for every pair of levels may have so many bytes.
_DIRECT_BYTES = 1 << 24
_FIRST_SLOTS = 1 << 16
_QUEUED = 2


class _PairTable:
    """Sums by pair of levels; grows with the pairs that occur."""

    def __init__(self, levels_a: int, levels_b: int, width: int) -> None:
        possible = levels_a * levels_b
        self._levels_b = levels_b
        self._direct = possible * (width + 1) * 8 <= _DIRECT_BYTES
        size = possible if self._direct else _FIRST_SLOTS
        self._slots = np.full(size, -1, np.int64)
        self._sums = np.zeros((size, width))
        self._count = 0

    def add(self, codes_a: Any, z_a: Float, codes_b: Any, z_b: Float, new: NDArray[np.int64]) -> None:
        """Add rows; mark in ``new`` those whose pair had not occurred."""
        row = 0
        while True:
            row, self._count = kernels.accumulate_pairs(codes_a, z_a, codes_b, z_b, self._levels_b, self._slots,
                                                        self._direct, self._sums, row, self._count, new)
            if row == len(codes_a):
                return
            wider = np.full(2 * len(self._slots), -1, np.int64)
            wider_sums = np.zeros((len(wider), self._sums.shape[1]))
            kernels.move_pairs(self._slots, self._sums, wider, wider_sums)
            self._slots, self._sums = wider, wider_sums

    def found(self) -> PairSums:
        used = np.flatnonzero(self._slots >= 0)
        used = used[np.argsort(self._slots[used])]
        return PairSums(self._slots[used], self._sums[used])


class _Stripe:
    """Sums over some of the batches, taken in order."""

    def __init__(
        self, ledger: Ledger, layout: Layout, n_columns: int, shared: tuple[NDArray[np.int64], ...]
    ) -> None:
        self._pairs = factor_pairs(len(layout.factors))
        border = n_columns + 1
        self.ledger = ledger
        self._border = np.zeros((border, border))
        self._own = [np.setdiff1d(np.arange(border), columns) for columns in shared]
        self._levels = [
            np.zeros((f.n_levels, packed_width(f.width, len(own))))
            for f, own in zip(layout.factors, self._own, strict=True)
        ]
        self._tables = [
            _PairTable(layout.factors[a].n_levels, layout.factors[b].n_levels,
                       layout.factors[a].width * layout.factors[b].width)
            for a, b in self._pairs
        ]
        self._meetings: list[NDArray[np.int32]] = [np.zeros((0, len(layout.factors)), np.int32)]
        self._log_weights: list[float] = []
        self._low, self._high = np.inf, -np.inf

    def add(self, layout: Layout, standard: Standardization, kept: NDArray[np.int64]) -> None:
        """Add the rows of the layout's frame."""
        frame = layout.frame
        if frame.weights is not None:
            self._log_weights.append(float(np.log(frame.weights).sum()))
        y = frame.response if frame.offset is None else frame.response - frame.offset
        self._low, self._high = min(self._low, float(y.min())), max(self._high, float(y.max()))
        for chunk in chunks(layout, standard, kept):
            self._border += chunk.xy.T @ chunk.xy
            for codes, z, own, sums in zip(chunk.codes, chunk.z, self._own, self._levels, strict=True):
                kernels.accumulate_levels(codes, z, chunk.xy, own, sums)
            self._meet(chunk)

    def _meet(self, chunk: Chunk) -> None:
        if not self._pairs:
            return
        new = np.zeros(len(chunk.xy), np.int64)
        for (a, b), table in zip(self._pairs, self._tables, strict=True):
            table.add(chunk.codes[a], chunk.z[a], chunk.codes[b], chunk.z[b], new)
        if len(chunk.codes) > 2:
            rows = np.flatnonzero(new)
            if len(rows):
                self._meetings.append(np.column_stack([codes[rows] for codes in chunk.codes]))

    def sums(self) -> Sums:
        return Sums(
            self._border,
            tuple(self._levels),
            tuple(table.found() for table in self._tables),
            np.concatenate(self._meetings),
            float(np.sum(self._log_weights)),
            (self._low, self._high),
        )


def shared_columns(layout: Layout, standard: Standardization, kept: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Per factor, for each of its columns the fixed-effect column that is the same, -1 where there is none.

    The sums of products with that column are among those of the factor's own columns.
    """
    found = [np.full(factor.width, -1, np.int64) for factor in layout.factors]
    if standard.x_basis is not None or any(basis is not None for basis in standard.z_basis):
        return tuple(found)
    place = {layout.fixed.names[j]: i for i, j in enumerate(kept.tolist())}
    for block in layout.blocks:
        k = block.factor
        for column, name in enumerate(block.names, block.first):
            i = place.get(name)
            if i is None or i in found[k]:
                continue
            j = kept[i]
            if standard.x_shift[j] == standard.z_shift[k][column] and standard.x_scale[j] == standard.z_scale[k][column]:
                found[k][column] = i
    return tuple(found)


def spread_levels(compact: Float, width: int, border: int, shared: NDArray[np.int64]) -> Float:
    """The sums of levels over all border columns, from those without the columns shared with the factor."""
    own = np.setdiff1d(np.arange(border), shared)
    n_square = width * (width + 1) // 2
    out = np.empty((len(compact), packed_width(width, border)))
    out[:, :n_square] = compact[:, :n_square]
    for i in range(width):
        for j in range(width):
            if shared[j] >= 0:
                a, b = max(i, j), min(i, j)
                out[:, n_square + i * border + shared[j]] = compact[:, a * (a + 1) // 2 + b]
        for j, column in enumerate(own.tolist()):
            out[:, n_square + i * border + column] = compact[:, n_square + i * len(own) + j]
    return out


def packed_width(width: int, border: int) -> int:
    """Numbers kept per level of a factor with so many columns."""
    return width * (width + 1) // 2 + width * border


def with_rows(layout: Layout, frame: ModelFrame) -> Layout:
    """The layout of some rows."""
    factors = tuple(replace(factor, group=frame.groups[factor.group.name]) for factor in layout.factors)
    return replace(layout, frame=frame, factors=factors)


def row_frames(scan: Scan, known: Known) -> Iterator[ModelFrame]:
    """Read the rows again, batch by batch."""
    ledger = scan.ledger()
    for first, batch in scan.batches():
        rows = scan.rows(first, batch, ledger)
        if rows.n:
            yield known.read(rows)
    _check(known, [ledger], scan)


def _check(known: Known, ledgers: Sequence[Ledger], scan: Scan) -> None:
    """Refuse rows that turned out unusable, and data that changed since they were first read."""
    for ledger in ledgers:
        for what, problem in ledger.problems.items():
            Ledger(n_source=1, n_chosen=1, n_kept=1, problems={what: problem}).refuse(scan.na_action)
    read, kept = (sum(getattr(ledger, name) for ledger in ledgers) for name in ("n_source", "n_kept"))
    if (read, kept) != (known.frame.n_source_rows, known.frame.n):
        raise DataError(
            f"the data changed while they were read: {known.frame.n_source_rows} rows the first time ({known.frame.n} in "
            f"use), then {read} ({kept} in use); make a copy that does not change while a model is fitted to it",
            n_rows=read,
        )


def sum_rows(
    scan: Scan,
    known: Known,
    layout: Layout,
    standard: Standardization,
    kept: NDArray[np.int64],
    threads: int | None = None,
) -> Sums:
    """Read the rows and sum them, with the fixed-effect columns ``kept``.

    Parameters
    ----------
    scan, known
        The data, and how to read them.
    layout
        The columns, in the order of the formula.
    standard, kept
        Shifts, scales and bases; the fixed-effect columns.
    threads
        How many threads add; None for the processors at hand. It does not change the result.
    """
    border = len(kept) + 1
    shared = shared_columns(layout, standard, kept)
    size = 8 * sum(f.n_levels * packed_width(f.width, border) for f in layout.factors)
    n_stripes = next((n for limit, n in _STRIPES if size <= limit), 1)
    stripes = [_Stripe(scan.ledger(), layout, len(kept), shared) for _ in range(n_stripes)]

    def work(stripe: _Stripe, first: int, batch: Any) -> None:
        rows = scan.rows(first, batch, stripe.ledger)
        if rows.n:
            frame = known.read(rows)
            # What is unusable is refused when all rows are read.
            if not stripe.ledger.problems:
                stripe.add(with_rows(layout, frame), standard, kept)

    _deal(scan, stripes, work, min(n_stripes, threads or available_threads()))
    _check(known, [stripe.ledger for stripe in stripes], scan)
    total = combine_sums([stripe.sums() for stripe in stripes])
    levels = tuple(
        spread_levels(compact, factor.width, border, columns)
        for compact, factor, columns in zip(total.levels, layout.factors, shared, strict=True)
    )
    return replace(total, levels=levels)


def _deal(scan: Scan, stripes: list[_Stripe], work: Callable[[_Stripe, int, Any], None], threads: int) -> None:
    """Hand batches to workers; a stripe always has the same one, which takes its batches in order."""
    queues: list[Queue[Any]] = [Queue(_QUEUED) for _ in range(threads)]
    failures: list[BaseException] = []

    def worker(queue: Queue[Any]) -> None:
        with single_threaded_blas():
            while (item := queue.get()) is not None:
                if not failures:
                    try:
                        work(*item)
                    except BaseException as error:
                        failures.append(error)

    pool = [threading.Thread(target=worker, args=(queue,), daemon=True) for queue in queues]
    for thread in pool:
        thread.start()
    try:
        for i, (first, batch) in enumerate(scan.batches()):
            if failures:
                break
            stripe = i % len(stripes)
            queues[stripe % threads].put((stripes[stripe], first, batch))
    finally:
        for queue in queues:
            queue.put(None)
        for thread in pool:
            thread.join()
    if failures:
        raise failures[0]
