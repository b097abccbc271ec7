"""Assembly of the cross-product ``[Z X y]'W[Z X y]`` from chunks of rows.

The one place where prior weights enter: every standardized row is multiplied by the square root of its weight (in units
of ``root_weight``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import FitError
from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.kernels import assembly
from mixeff_fast.kernels.structure import CrossProduct, Plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, EliminationPlan

    Float = NDArray[np.float64]

CHUNK_ROWS = 65_536
# R's qr(tol = 1e-7): a column is aliased when what its predecessors leave of it is this small a share of it
ALIAS_TOLERANCE = 1e-7
# below this share of the squared norm the cross-product cannot decide, and the rows are asked
SUSPECT = 1e-9


@dataclass(frozen=True, slots=True)
class Chunk:
    """Standardized, weighted rows: ``xy`` (rows, p + 1), per factor ``z`` (rows, width) and level ``codes`` (rows,)."""

    xy: Float
    z: tuple[Float, ...]
    codes: tuple[NDArray[np.int32], ...]


def chunks(model: CompiledModel, standard: Standardization, kept: NDArray[np.int64]) -> Iterator[Chunk]:
    """Yield the rows in chunks, with the fixed-effect columns ``kept`` only."""
    frame = model.frame
    p = len(model.fixed.names)
    for start in range(0, frame.n, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, frame.n))
        n = rows.stop - rows.start
        xy = np.empty((n, p + 1))
        model.fixed.fill(frame.variables, rows, xy[:, :p])
        xy[:, :p] -= standard.x_shift
        xy[:, :p] /= standard.x_scale
        y = frame.response[rows] if frame.offset is None else frame.response[rows] - frame.offset[rows]
        xy[:, p] = (y - standard.y_shift) / standard.y_scale
        if len(kept) < p:
            xy = np.ascontiguousarray(xy[:, np.append(kept, p)])
        root = None if frame.weights is None else (np.sqrt(frame.weights[rows]) / standard.root_weight)[:, None]
        if root is not None:
            xy *= root
        z_chunks = []
        for k, factor in enumerate(model.factors):
            z = np.empty((n, factor.width))
            for i in factor.blocks:
                block = model.blocks[i]
                if block.width == factor.width:
                    block.design.fill(frame.variables, rows, z)
                else:
                    part = np.empty((n, block.width))
                    block.design.fill(frame.variables, rows, part)
                    z[:, block.first : block.first + block.width] = part
            z -= standard.z_shift[k]
            z /= standard.z_scale[k]
            if root is not None:
                z *= root
            z_chunks.append(z)
        yield Chunk(xy, tuple(z_chunks), tuple(f.group.codes[rows] for f in model.factors))


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


def accumulate(
    model: CompiledModel, standard: Standardization, kept: NDArray[np.int64], arrays: Plan
) -> CrossProduct:
    """Sum the cross-product over all rows."""
    plan = model.plan
    border = arrays.border
    last = len(arrays.panel_ptr) - 1
    panel_size = int(arrays.panel_ptr[last] + plan.width[plan.block_factor[last]] * arrays.panel_cols[last])
    cross = CrossProduct(np.zeros(plan.diag_size), np.zeros(panel_size), np.zeros((border, border)))
    for chunk in chunks(model, standard, kept):
        cross.border[...] += chunk.xy.T @ chunk.xy
        for place, a in enumerate(plan.order):
            assembly.accumulate_factor(chunk.codes[a], chunk.z[a], chunk.xy, plan.first_block[a], arrays.diag_ptr,
                                       arrays.panel_ptr, arrays.panel_cols, cross.diag, cross.panel)
            for b in plan.order[place + 1 :]:
                assembly.accumulate_pair(
                    chunk.codes[a], chunk.z[a], plan.first_block[a], chunk.codes[b], chunk.z[b], plan.first_block[b],
                    arrays.neighbour_ptr, arrays.neighbour, arrays.neighbour_off, arrays.panel_ptr, arrays.panel_cols,
                    cross.panel)
    return cross


def _sweep(gram: Float, reference: Float) -> tuple[Float, list[int]]:
    """Cholesky of ``gram`` by columns from the left, leaving out columns whose pivot is below ``SUSPECT * reference``."""
    p = len(gram)
    lower = np.zeros((p, p))
    suspects: list[int] = []
    for j in range(p):
        row = lower[j, :j]
        for i in range(j):
            row[i] = (gram[j, i] - lower[i, :i] @ row[:i]) / lower[i, i] if lower[i, i] > 0.0 else 0.0
        pivot = gram[j, j] - row @ row
        if pivot <= SUSPECT * reference[j]:
            suspects.append(j)
        else:
            lower[j, j] = np.sqrt(pivot)
    return lower, suspects


def aliased_columns(model: CompiledModel, standard: Standardization, gram: Float) -> list[int]:
    """Fixed-effect columns that are linear combinations of the columns to their left, as R's ``qr`` finds them.

    The cross-product names the suspects; their residuals on the columns to the left, from the rows themselves,
    decide.
    """
    own = np.diag(gram).copy()
    _, suspects = _sweep(gram, own)
    # a centred column this small beside its mean is rounding, whatever it was scaled to
    constant = own <= 1e-24 * (own + model.frame.n * (standard.x_shift / standard.x_scale) ** 2)
    if standard.intercept >= 0:
        constant[standard.intercept] = False
    aliased: list[int] = []
    for j in sorted({*suspects, *np.flatnonzero(constant).tolist()}):
        left = np.array([i for i in range(j) if i not in aliased], np.int64)
        if constant[j] or _residual_share(model, standard, left, j) < ALIAS_TOLERANCE:
            aliased.append(j)
    return aliased


def _residual_share(model: CompiledModel, standard: Standardization, left: NDArray[np.int64], j: int) -> float:
    """Norm of column j after regression on ``left``, over its norm; two passes over the rows, one refinement."""
    columns = np.append(left, j)
    coefficients = np.zeros(len(left))
    norm = 0.0
    for _ in range(2):
        gram, right = np.zeros((len(left), len(left))), np.zeros(len(left))
        norm = 0.0
        for chunk in chunks(model, standard, columns):
            x = chunk.xy[:, :-1]
            residual = x[:, -1] - x[:, :-1] @ coefficients
            gram += x[:, :-1].T @ x[:, :-1]
            right += x[:, :-1].T @ residual
            norm += float(x[:, -1] @ x[:, -1])
        if len(left):
            coefficients += np.linalg.lstsq(gram, right, rcond=None)[0]
    rest = 0.0
    for chunk in chunks(model, standard, columns):
        x = chunk.xy[:, :-1]
        residual = x[:, -1] - x[:, :-1] @ coefficients
        rest += float(residual @ residual)
    return float(np.sqrt(rest / norm)) if norm > 0.0 else 0.0


@dataclass(frozen=True, slots=True)
class Assembled:
    """The cross-product with what it takes to read it: ``kept`` are the fixed-effect columns that entered."""

    arrays: Plan
    cross: CrossProduct
    standard: Standardization
    kept: NDArray[np.int64]
    aliased: tuple[int, ...]
    lam_size: int


def assemble(model: CompiledModel, standard: Standardization) -> Assembled:
    """Assemble, leaving aliased fixed-effect columns out.

    Raises
    ------
    FitError
        When the fixed effects alone span the rows (``rank_saturated_fixed_effects``).
    """
    p = len(model.fixed.names)
    kept = np.arange(p, dtype=np.int64)
    arrays, lam_size = kernel_plan(model.plan, p)
    cross = accumulate(model, standard, kept, arrays)
    aliased = aliased_columns(model, standard, cross.border[:p, :p])
    if aliased:
        kept = np.array([j for j in range(p) if j not in aliased], np.int64)
        arrays, lam_size = kernel_plan(model.plan, len(kept))
        cross = accumulate(model, standard, kept, arrays)
    if len(kept) >= model.frame.n:
        raise FitError(
            f"the fixed effects have rank {len(kept)} for {model.frame.n} rows: they fit the response exactly and leave "
            "no residual variance. Use fewer fixed-effect columns",
            reason_code="rank_saturated_fixed_effects",
            rank=len(kept),
            nobs=model.frame.n,
        )
    return Assembled(arrays, cross, standard, kept, tuple(aliased), lam_size)
