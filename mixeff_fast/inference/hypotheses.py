"""The hypotheses that an analysis of variance tests: a matrix ``L`` for each term, with ``L beta = 0``.

A term is contained in another if every variable of it is in the other, which has a further factor, and both have the same
numeric variables: the containment of SAS, which lmerTest follows. ``f`` is contained in ``f:g`` and ``x`` in ``x:f``, but
``f`` is not in ``x:f``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.frame import DesignColumns
    from mixeff_fast.frame.design import ColumnBlock, TermPart
    from mixeff_fast.inference.design import FixedDesign

    Float = NDArray[np.float64]

# share of the largest weight of a row below which a weight is rounding
_ROUNDING = 1e-11


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """``matrix @ beta = 0`` for a term; shape (rows, p), over all columns of X. No rows where nothing of the term is fitted."""

    label: str
    matrix: Float


def marginal_hypotheses(columns: DesignColumns) -> tuple[Hypothesis, ...]:
    """Type 3: for each term but the intercept, that it has no effect on the marginal means, whatever the coding of factors."""
    return tuple(Hypothesis(term.label, _clean(marginal_matrix(term, columns))) for term in columns.blocks if term.parts)


def sequential_hypotheses(columns: DesignColumns, design: FixedDesign, kind: Literal[1, 2]) -> tuple[Hypothesis, ...]:
    """One hypothesis for each term but the intercept, in the order of the formula.

    Type 1: each term after those before it. Type 2: each term after all terms that do not contain it. Both are rows of
    triangular factors of ``X'X`` (Goodnight 1978, SAS R-106); of a term that no other contains, the coefficients themselves.
    """
    terms = [block for block in columns.blocks if block.parts]
    out = []
    for place, term in enumerate(terms):
        around = [other for other in terms if contained(term, other)]
        if kind == 2 and not around:
            out.append(last_hypothesis(term, design))
            continue
        last = terms[place:] if kind == 1 else [term, *around]
        out.append(Hypothesis(term.label, _clean(_triangular(term, last, columns, design))))
    return tuple(out)


def _factors(block: ColumnBlock) -> dict[str, TermPart]:
    return {part.key: part for part in block.parts if part.table is not None}


def _numerics(block: ColumnBlock) -> dict[str, TermPart]:
    return {part.key: part for part in block.parts if part.table is None}


def is_margin(small: ColumnBlock, large: ColumnBlock) -> bool:
    """Whether every variable of a term is in another, larger one: dropping the term alone would recode the other."""
    return {part.key for part in small.parts} < {part.key for part in large.parts}


def last_hypothesis(term: ColumnBlock, design: FixedDesign) -> Hypothesis:
    """That the columns of a term add nothing to all others: the model without them."""
    own = np.arange(len(design.kept))[design.kept]
    rows = np.eye(len(own))[(own >= term.start) & (own < term.stop)]
    return Hypothesis(term.label, design.spread(rows))


def contained(small: ColumnBlock, large: ColumnBlock) -> bool:
    """Whether a term is contained in another."""
    return _numerics(small).keys() == _numerics(large).keys() and _factors(small).keys() < _factors(large).keys()


def _triangular(term: ColumnBlock, last: Sequence[ColumnBlock], columns: DesignColumns, design: FixedDesign) -> Float:
    """Rows of the triangular factor of ``X'X`` that belong to ``term``, when the columns of ``last`` come last, those of the
    term first among them. Columns that were not fitted get the weights that make the rows estimable."""
    moved = [j for block in last for j in range(block.start, block.stop)]
    order = [j for j in range(len(columns.names)) if j not in set(moved)] + moved
    order = [j for j in order if design.kept[j]]
    own = [order.index(j) for j in range(term.start, term.stop) if design.kept[j]]
    basis, _ = np.linalg.qr(design.factor[:, order])
    rows: Float = basis[:, own].T @ design.factor @ design.to_standard
    # what stands before the term is zero but for rounding
    rows[:, [order[i] for i in range(min(own, default=0))]] = 0.0
    for row, i in zip(rows, own, strict=True):
        row /= row[order[i]]
    return rows


def _clean(rows: Float) -> Float:
    size = np.abs(rows).max(axis=1, keepdims=True, initial=0.0)
    return np.where(np.abs(rows) <= _ROUNDING * size, 0.0, rows)


def marginal_matrix(term: ColumnBlock, columns: DesignColumns) -> Float:
    """The type 3 hypothesis of a term, shape (rows, p).

    The terms with the same numeric variables as ``term`` are, together, a function of the levels of their factors: the mean
    of a cell, or the slope in it. That function is averaged over the levels of the factors that are not in the term, all with
    the same weight; the term has no effect where the differences between the levels of its own factors are zero (in
    interaction, for several). Where the term codes a factor by indicators, the margin without it is not in the model: the
    levels themselves are zero, but for what margins that are in the model say of several such factors.
    """
    factors, numerics = _factors(term), _numerics(term)
    axes = [*factors, *numerics]
    contrasts = {key: _levels_of(part) for key, part in factors.items()}
    shape = [len(contrasts[key]) if key in factors else len(numerics[key].names) for key in axes]
    out = np.zeros((*shape, len(columns.names)))
    for block in columns.blocks:
        if _numerics(block).keys() == numerics.keys():
            out[..., block.start : block.stop] = _share(block, axes, contrasts, shape)
    whole = [key for key, part in factors.items() if part.coding == "indicator"]
    if len(whole) > 1:
        at = [axes.index(key) for key in whole]
        rest = factors.keys() - set(whole)
        margins = [
            tuple(key in _factors(block) for key in whole)
            for block in columns.blocks
            if _numerics(block).keys() == numerics.keys() and rest <= _factors(block).keys() < factors.keys()
        ]
        cells = _beside_margins([shape[axis] for axis in at], margins)
        moved = np.moveaxis(out, at, range(len(at)))
        out = np.asarray(np.tensordot(cells, moved.reshape(cells.shape[1], *moved.shape[len(at) :]), axes=1), np.float64)
    return out.reshape(-1, len(columns.names))


def _beside_margins(sizes: Sequence[int], margins: Sequence[tuple[bool, ...]]) -> Float:
    """Combinations of the cells of several factors that are orthogonal to functions of some of them: of those that each of
    ``margins`` marks."""
    from scipy.linalg import null_space

    if not margins:
        return np.eye(int(np.prod(sizes)))
    spans = []
    for margin in margins:
        span: Float = np.ones((1, 1))
        for size, varies in zip(sizes, margin, strict=True):
            span = np.kron(span, np.eye(size) if varies else np.ones((size, 1))).astype(np.float64)
        spans.append(span)
    return np.asarray(null_space(np.hstack(spans).T).T)


def _levels_of(part: TermPart) -> Float:
    """Differences of the levels from the first, or the levels themselves, as combinations of levels."""
    assert part.table is not None
    every = np.eye(len(part.table))
    return every if part.coding == "indicator" else every[1:] - every[0]


def _share(block: ColumnBlock, axes: Sequence[str], contrasts: dict[str, Float], shape: Sequence[int]) -> Float:
    """What a term's columns contribute, shape (*shape, columns of the term); its first variable varies fastest."""
    out: Float = np.ones((1,) * len(axes) + (1,))
    for part in block.parts:
        if part.table is None:
            values = np.eye(len(part.names))
        elif part.key in contrasts:
            values = contrasts[part.key] @ part.table
        else:
            values = part.table.mean(axis=0)[None]
        sizes = [1] * len(axes)
        if part.key in axes:
            sizes[axes.index(part.key)] = len(values)
        spread = values.reshape(*sizes, values.shape[1])
        product = spread[..., :, None] * out[..., None, :]
        out = product.reshape(*product.shape[:-2], -1)
    own = {part.key for part in block.parts}
    for axis, key in enumerate(axes):
        if key not in own:
            # what does not vary with a factor is differenced away
            sums = contrasts[key].sum(axis=1)
            out = out * sums.reshape([-1 if i == axis else 1 for i in range(len(axes))] + [1])
    return np.broadcast_to(out, (*shape, block.stop - block.start))
