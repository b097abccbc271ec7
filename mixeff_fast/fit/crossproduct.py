"""Assembly of the cross-product ``[Z X y]'W[Z X y]`` from chunks of rows.

The one place where prior weights enter: every standardized row is multiplied by the square root of its weight (in units
of ``root_weight``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.kernels import assembly
from mixeff_fast.kernels.structure import CrossProduct, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, EliminationPlan, Layout
    from mixeff_fast.fit.threads import Team

    Float = NDArray[np.float64]

# rows handled at a time: their standardized columns stay in the cache
CHUNK_ROWS = 16_384
# rows are cut into so many stripes, each summed by one thread, when there are enough of them
STRIPES = 8
STRIPE_ROWS = 32_768


@dataclass(frozen=True, slots=True)
class Chunk:
    """Standardized, weighted rows: ``xy`` (rows, p + 1), a column after the other, per factor ``z`` (rows, width) and level
    ``codes`` (rows,)."""

    xy: Float
    z: tuple[Float, ...]
    codes: tuple[NDArray[np.int32], ...]


def factor_columns(model: Layout, standard: Standardization, k: int, rows: slice) -> Float:
    """Standardized columns of factor k's terms, not weighted, shape (rows, width)."""
    frame, factor = model.frame, model.factors[k]
    z = np.empty((len(range(frame.n)[rows]), factor.width))
    for i in factor.blocks:
        block = model.blocks[i]
        own = slice(block.first, block.first + block.width)
        block.design.fill(frame.variables, rows, z[:, own], standard.z_shift[k][own], standard.z_scale[k][own])
    basis = standard.z_basis[k]
    return z if basis is None else z @ basis


def chunks(
    model: Layout, standard: Standardization, kept: NDArray[np.int64], span: tuple[int, int] | None = None
) -> Iterator[Chunk]:
    """Yield the rows (those from the first to before the second of ``span``) in chunks, with the fixed-effect columns
    ``kept``, in that order."""
    frame = model.frame
    p = len(model.fixed.names)
    whole = kept.tolist() == list(range(p))
    begin, end = (0, frame.n) if span is None else span
    for start in range(begin, end, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, end))
        n = rows.stop - rows.start
        # columns are written, and multiplied with each other, as a whole
        xy = np.empty((n, p + 1), order="F")
        model.fixed.fill(frame.variables, rows, xy[:, :p], standard.x_shift, standard.x_scale)
        y = frame.response[rows] if frame.offset is None else frame.response[rows] - frame.offset[rows]
        xy[:, p] = (y - standard.y_shift) / standard.y_scale
        if not whole:
            xy = np.asfortranarray(xy[:, np.append(kept, p)])
        if standard.x_basis is not None:
            xy[:, :-1] = xy[:, :-1] @ standard.x_basis
        root = None if frame.weights is None else (np.sqrt(frame.weights[rows]) / standard.root_weight)[:, None]
        if root is not None:
            xy *= root
        z_chunks = []
        for k in range(len(model.factors)):
            z = factor_columns(model, standard, k, rows)
            if root is not None:
                z *= root
            z_chunks.append(z)
        yield Chunk(xy, tuple(z_chunks), tuple(f.group.codes[rows] for f in model.factors))


def factor_blocks(plan: EliminationPlan, diag: Float, k: int) -> Float:
    """A copy of factor k's diagonal blocks from an array of all blocks', level by level, shape (levels, width, width)."""
    width = int(plan.width[k])
    starts = plan.diag_ptr[plan.level_block[k]]
    out: Float = diag[starts[:, None] + np.arange(width * width)].reshape(-1, width, width)
    return out


def kernel_plan(plan: EliminationPlan, n_fixed: int) -> tuple[Plan, int]:
    """The arrays kernels want, for ``n_fixed`` fixed-effect columns; also the length of ``lam``."""
    panel_cols, panel_ptr = plan.panel_cols, plan.panel_ptr
    if n_fixed + 1 != plan.border:
        panel_cols = panel_cols - (plan.border - n_fixed - 1)
        sizes = plan.width[plan.block_factor] * panel_cols
        panel_ptr = np.concatenate(([0], np.cumsum(sizes)[:-1]))
    lam_ptr = np.concatenate(([0], np.cumsum(plan.width**2)))
    arrays = Plan(
        plan.n_sparse, plan.first_filled, plan.trunk_start, plan.trunk_size, n_fixed + 1, plan.width, lam_ptr[:-1],
        plan.block_factor, plan.block_col, plan.neighbour_ptr, plan.neighbour, plan.neighbour_off, panel_ptr, panel_cols,
        plan.diag_ptr,
    )
    return arrays, int(lam_ptr[-1])


def _stripes(n: int, size: int, columns: int) -> list[tuple[int, int]]:
    """Ranges of rows that are summed apart: so few that the sums, of ``size`` numbers each, are much smaller than the rows."""
    count = min(STRIPES, n // STRIPE_ROWS, max(1, n * columns // (4 * size)))
    ends = [n * i // max(count, 1) for i in range(max(count, 1) + 1)]
    return list(pairwise(ends))


def _sum_rows(
    model: CompiledModel, standard: Standardization, kept: NDArray[np.int64], arrays: Plan, cross: CrossProduct,
    rows: tuple[int, int]
) -> None:
    plan = model.plan
    for chunk in chunks(model, standard, kept, rows):
        cross.border[...] += chunk.xy.T @ chunk.xy
        if len(plan.order) == 1:
            assembly.accumulate_levels(chunk.codes[0], chunk.z[0], chunk.xy, cross.diag, cross.panel)
            continue
        blocks = [own[codes] for own, codes in zip(plan.level_block, chunk.codes, strict=True)]
        for place, a in enumerate(plan.order):
            assembly.accumulate_factor(blocks[a], chunk.z[a], chunk.xy, arrays.diag_ptr, arrays.panel_ptr,
                                       arrays.panel_cols, cross.diag, cross.panel)
            for b in plan.order[place + 1 :]:
                assembly.accumulate_pair(
                    blocks[a], chunk.z[a], blocks[b], chunk.z[b], arrays.neighbour_ptr, arrays.neighbour,
                    arrays.neighbour_off, arrays.panel_ptr, arrays.panel_cols, cross.panel)


def _sum_columns(
    model: CompiledModel, standard: Standardization, kept: NDArray[np.int64], arrays: Plan, cross: CrossProduct,
    rows: tuple[int, int]
) -> None:
    plan = model.plan
    for chunk in chunks(model, standard, kept, rows):
        cross.border[...] += chunk.xy.T @ chunk.xy
        for k, z in enumerate(chunk.z):
            if z.shape[1] > 1:
                first = int(plan.diag_ptr[plan.level_block[k][0]])
                cross.diag[first : first + z.shape[1] ** 2] += (z.T @ z).ravel()


def accumulate(
    model: CompiledModel, standard: Standardization, kept: NDArray[np.int64], arrays: Plan, team: Team,
    levels_apart: bool = True,
) -> CrossProduct:
    """Sum the cross-product over all rows.

    Without ``levels_apart`` only what tells which columns are collinear: each factor's own products, of all its levels
    together, stand where those of the first level do, and products of factors with anything else are left out.
    """
    sum_rows = _sum_rows if levels_apart else _sum_columns
    plan = model.plan
    border = arrays.border
    last = len(arrays.panel_ptr) - 1
    panel_size = int(arrays.panel_ptr[last] + plan.width[plan.block_factor[last]] * arrays.panel_cols[last])
    columns = border + int(plan.width.sum())
    stripes = _stripes(model.frame.n, panel_size + plan.diag_size, columns)
    parts = [CrossProduct(np.zeros(plan.diag_size), np.zeros(panel_size), np.zeros((border, border))) for _ in stripes]

    def sum_stripes(first: int, step: int) -> None:
        for i in range(first, len(stripes), step):
            sum_rows(model, standard, kept, arrays, parts[i], stripes[i])

    team.run(sum_stripes, len(stripes))
    total = parts[0]
    for part in parts[1:]:
        for all_rows, some in zip(total, part, strict=True):
            all_rows += some
    return total
