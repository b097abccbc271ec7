"""Sufficient statistics of a linear mixed model: the cross-product by level, independent of how it will be factored.

Sums are taken over standardized, weighted rows ``(Z X y)`` (see ``fit/standardize``); the shifts and scales belong to the
statistics, so that those of other rows can be brought to the same ones. Grouping factors and the columns of their terms
stand in the order of the formula, levels in the order of the frame.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile import CompiledModel, Layout, compile_layout, lay_out
from mixeff_fast.frame.streamframe import Facts, Known, know

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.standardize import Standardization

    Float = NDArray[np.float64]
    Int64 = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class PairSums:
    """Sums over the rows in which two levels meet.

    Attributes
    ----------
    keys
        ``level_a * levels_b + level_b``, rising, shape (m,).
    products
        ``Z_a'Z_b`` by rows, shape (m, width_a * width_b).
    """

    keys: Int64
    products: Float


@dataclass(frozen=True, slots=True)
class Sums:
    """What is summed over rows.

    Attributes
    ----------
    border
        ``[X y]'W[X y]``, shape (p + 1, p + 1).
    levels
        Per factor with w columns: the lower triangle of ``Z'WZ`` by rows, then ``Z'W[X y]`` by rows, shape
        (levels, w (w + 1) / 2 + w (p + 1)).
    pairs
        Per pair of factors a < b, in lexicographic order.
    meetings
        With three factors or more: levels of all factors in rows in which every two levels that meet do so at least
        once, shape (r, factors). Else no rows.
    log_weights
        The sum of the logarithms of the weights.
    response_range
        The lowest and the highest response, less the offset.
    """

    border: Float
    levels: tuple[Float, ...]
    pairs: tuple[PairSums, ...]
    meetings: NDArray[np.int32]
    log_weights: float
    response_range: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Statistics:
    """The sums of a model over some rows, and all that must be known to read them.

    Attributes
    ----------
    facts
        What is known of the rows as a whole.
    known
        The frame that follows from the facts, and how to read rows for it.
    layout
        The columns, in the order of the sums.
    standard
        Shifts and scales of the columns; no bases.
    sums
        The sums.
    """

    facts: Facts
    known: Known
    layout: Layout
    standard: Standardization
    sums: Sums


def statistics_of(facts: Facts, standard: Standardization, sums: Sums) -> Statistics:
    """Put statistics together from what cannot be derived."""
    known = know(facts)
    return Statistics(facts, known, lay_out(known.frame, as_written=True), standard, sums)


def factor_pairs(n_factors: int) -> list[tuple[int, int]]:
    """The pairs of factors, in the order of ``Sums.pairs``."""
    return list(combinations(range(n_factors), 2))


def combine_pairs(parts: list[PairSums]) -> PairSums:
    """Add up; equal keys are added in the order of the parts."""
    keys = np.concatenate([part.keys for part in parts])
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    products = np.concatenate([part.products for part in parts])[order]
    starts = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.zeros(0, np.int64)
    if len(starts) == len(keys):
        return PairSums(keys, products)
    return PairSums(keys[starts], np.add.reduceat(products, starts, axis=0))


def combine_meetings(parts: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Rows of any of the parts, each once."""
    together = np.concatenate(parts)
    return np.unique(together, axis=0) if len(together) else together


def combine_sums(parts: list[Sums]) -> Sums:
    """Add up sums under the same standardization, in the order given."""
    border = parts[0].border.copy()
    levels = [block.copy() for block in parts[0].levels]
    for part in parts[1:]:
        border += part.border
        for total, block in zip(levels, part.levels, strict=True):
            total += block
    return Sums(
        border,
        tuple(levels),
        tuple(combine_pairs([part.pairs[i] for part in parts]) for i in range(len(parts[0].pairs))),
        combine_meetings([part.meetings for part in parts]),
        float(np.sum([part.log_weights for part in parts])),
        (min(part.response_range[0] for part in parts), max(part.response_range[1] for part in parts)),
    )


def compile_statistics(statistics: Statistics) -> CompiledModel:
    """Lay the model out and plan its elimination, from the statistics alone.

    Raises
    ------
    FitError, NotIdentifiable
        As ``compile_rows`` does.
    """
    layout = lay_out(statistics.known.frame)
    written = [factor.group.name for factor in statistics.layout.factors]
    codes = _meeting_levels(statistics)
    ordered = [codes[written.index(factor.group.name)] for factor in layout.factors]
    return compile_layout(layout, ordered, statistics.sums.response_range)


def _meeting_levels(statistics: Statistics) -> list[NDArray[np.int32]]:
    """Per factor, levels in rows in which the same levels meet as in the data."""
    factors = statistics.layout.factors
    if len(factors) == 1:
        return [np.arange(factors[0].n_levels, dtype=np.int32)]
    if len(factors) == 2:
        first, second = np.divmod(statistics.sums.pairs[0].keys, factors[1].n_levels)
        return [first.astype(np.int32), second.astype(np.int32)]
    return [np.ascontiguousarray(column) for column in statistics.sums.meetings.T]
