"""A whole evaluation over a sparse trunk, the chain's part in plain NumPy: what the supernodal kernels add up to."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixeff_fast.compile.plan import EliminationPlan
from mixeff_fast.compile.trunk import with_border
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.crossproduct import kernel_plan
from mixeff_fast.kernels import supernodal, supernodal_inverse
from mixeff_fast.kernels._lapack import cholesky_lower
from mixeff_fast.kernels.structure import CrossProduct, Plan, SupernodeWork

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Sparse:
    """A cross-product in the layout of a plan with a sparse trunk; ``dense`` is all of it, in elimination order."""

    plan: EliminationPlan
    arrays: Plan
    cross: CrossProduct
    dense: Floats

    @property
    def supernodes(self) -> Any:
        return with_border(self.plan.supernodes, self.arrays.border)

    def scaled(self, lam: Floats) -> Floats:
        """``[Lambda 0; 0 I]' A [Lambda 0; 0 I] + I`` on the random effects, dense."""
        big = self.big_lambda(lam)
        out = big.T @ self.dense @ big
        q = len(out) - self.arrays.border
        out[range(q), range(q)] += 1.0
        return out

    def big_lambda(self, lam: Floats) -> Floats:
        big = np.eye(len(self.dense))
        for b, k in enumerate(self.arrays.block_factor):
            w, start, c = int(self.arrays.width[k]), int(self.arrays.lam_ptr[k]), int(self.arrays.block_col[b])
            big[c : c + w, c : c + w] = lam[start : start + w * w].reshape(w, w)
        return big

    def panel(self, b: int, values: Floats) -> Floats:
        """Block b's panel in a panel storage: a view."""
        w, start = self.width(b), int(self.arrays.panel_ptr[b])
        return values[start : start + w * int(self.arrays.panel_cols[b])].reshape(w, -1)

    def width(self, b: int) -> int:
        return int(self.arrays.width[self.arrays.block_factor[b]])

    def own(self, b: int) -> Any:
        return np.arange(self.arrays.block_col[b], self.arrays.block_col[b] + self.width(b))

    def later(self, b: int) -> Any:
        """Scalar columns that the panel of block b covers, border included."""
        a = self.arrays
        q = a.trunk_start + a.trunk_size
        met = [self.own(r) for r in a.neighbour[a.neighbour_ptr[b] : a.neighbour_ptr[b + 1]]]
        return np.concatenate([*met, np.arange(q, q + a.border)])


def sparse_model(plan: EliminationPlan, codes: list[Any], z: list[Floats], xy: Floats) -> Sparse:
    """Write ``[Z X y]'[Z X y]`` in the layout of the plan."""
    arrays, _ = kernel_plan(plan, xy.shape[1] - 1)
    q = plan.trunk_start + plan.trunk_size
    design = np.zeros((len(xy), q + xy.shape[1]))
    rows = np.arange(len(xy))
    for k, own in enumerate(codes):
        for j in range(z[k].shape[1]):
            design[rows, plan.level_column[k][own] + j] = z[k][:, j]
    design[:, q:] = xy
    dense = design.T @ design
    cross = CrossProduct(np.zeros(plan.diag_size), np.zeros(plan.panel_size), np.ascontiguousarray(dense[q:, q:]))
    out = Sparse(plan, arrays, cross, dense)
    for b in range(len(arrays.block_factor)):
        w, start = out.width(b), int(arrays.diag_ptr[b])
        cross.diag[start : start + w * w] = dense[np.ix_(out.own(b), out.own(b))].ravel()
        out.panel(b, cross.panel)[...] = dense[np.ix_(out.own(b), out.later(b))]
    return out


@dataclass(frozen=True, slots=True)
class Factor:
    """Panels and border of a factor (or of a selected inverse), the chain's part dense and as panels."""

    values: Floats
    edge: Floats
    chain: Floats
    lower_panel: Floats
    work: SupernodeWork
    logdet: float


def factor(model: Sparse, lam: Floats) -> Factor | None:
    """None when a pivot is not positive."""
    a, sn = model.arrays, model.supernodes
    m = model.scaled(lam)
    try:
        chain = np.linalg.cholesky(m[: a.trunk_start, : a.trunk_start]) if a.trunk_start else m[:0, :0]
    except np.linalg.LinAlgError:
        return None
    below = np.linalg.solve(chain, m[: a.trunk_start]) if a.trunk_start else m[:0]
    below[:, : a.trunk_start] = chain.T
    lower_panel = np.zeros(len(model.cross.panel))
    for b in range(a.n_sparse):
        model.panel(b, lower_panel)[...] = below[np.ix_(model.own(b), model.later(b))]
    values = np.full(int(sn.ptr[-1]), np.nan)
    work = supernodal.supernode_work(sn, a.border)
    widest = int(a.width.max()) ** 2
    small, block = np.zeros(widest), np.zeros(widest)
    edge = model.cross.border.copy()
    n = len(sn.parent)
    with single_threaded_blas():
        supernodal.load_supernodes(a, sn, model.cross, lam, values, work.place, small, block, 0, n)
        supernodal.receive_supernodes(a, sn, lower_panel, values, work, 0, n)
        if not supernodal.factor_supernodes(sn, a.border, values, work, 0, n):
            return None
        supernodal.receive_border(a, lower_panel, edge, 0, a.n_sparse)
        supernodal.update_border(sn, a.border, values, edge)
        if cholesky_lower(edge, a.border) != 0:
            return None
    logdet = 2.0 * float(np.log(np.diag(chain)).sum()) + supernodal.log_determinant(sn, values)
    return Factor(values, edge, chain, lower_panel, work, logdet)


def criterion(model: Sparse, made: Factor, reml: bool, dof: float) -> float:
    pivots = np.diag(made.edge)
    value = made.logdet + dof * (1.0 + math.log(2.0 * math.pi * pivots[-1] ** 2 / dof))
    return value + (2.0 * float(np.log(pivots[:-1]).sum()) if reml else 0.0)


def solution(model: Sparse, made: Factor) -> Floats:
    """The trunk's and the border's part of w."""
    a = model.arrays
    w = np.zeros(a.trunk_size + a.border)
    lower = np.tril(made.edge)
    fixed = np.linalg.solve(lower[:-1, :-1].T, -lower[-1, :-1])
    w[a.trunk_size : -1], w[-1] = fixed, 1.0
    supernodal.back_solve(model.supernodes, a.border, made.values, w, 0)
    return w


def invert(model: Sparse, made: Factor, reml: bool, c: float) -> Floats:
    """Turn the factor's panels into those of S, and return S's block of the border."""
    a, sn = model.arrays, model.supernodes
    w = solution(model, made)[a.trunk_size :]
    edge = c * np.outer(w, w)
    if reml:
        lower = np.tril(made.edge)[:-1, :-1]
        edge[:-1, :-1] += np.linalg.inv(lower @ lower.T)
    with single_threaded_blas():
        supernodal_inverse.invert_supernodes(sn, a.border, made.values, edge, made.work, 0, len(sn.parent))
    return edge
