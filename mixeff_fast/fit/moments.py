"""First and second moments of the marginal model that the small-sample theory of fixed effects is made of.

With ``V = W^{-1} + Z Lambda Lambda'Z'`` (relative to sigma^2), ``B = Z'V^{-1}Z`` and ``C = Z'V^{-1}X``, everything is a sum
over levels of the diagonal blocks of B and of ``C_j C_j'``, and its derivatives: a change ``D`` of a term's ``Lambda
Lambda'`` changes B by ``-B D B`` and C by ``-B D C``. So ``tr(V^{-1}G_r V^{-1}G_s)``, with ``G_r = Z D_r Z'``, is minus the
derivative of ``tr(D_r B)`` along s. No matrix of the size of B is ever formed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.chart import Chart, chart_at, slopes
from mixeff_fast.fit.coordinates import separate

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import RandomBlock
    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Moments:
    """Traces and quadratic forms of ``G_r = dV / d(parameter r)``: the coordinates of a chart, and last the size of V.

    X is taken in the basis in which ``X'V^{-1}X`` is the identity. With ``Q_rs = X'V^{-1}G_r V^{-1}G_s V^{-1}X``:

    Attributes
    ----------
    slope
        ``P_r = -X'V^{-1}G_r V^{-1}X``, shape (m, p, p).
    square
        ``Q_rs + Q_sr``, shape (m, m, p, p); symmetric in r and s but for rounding.
    trace
        ``tr(V^{-1}G_r V^{-1}G_s)``, shape (m, m).
    chart
        The coordinates.
    evaluations
        Factorizations it took.
    """

    slope: Float
    square: Float
    trace: Float
    chart: Chart
    evaluations: int


@dataclass(frozen=True, slots=True)
class _Term:
    """A term, its coordinates, its changes D_r, shape (coordinates, width * width), its columns among the random effects, shape
    (width, levels), and where its Lambda lies, shape (width, width)."""

    block: RandomBlock
    own: slice
    changes: Float
    columns: NDArray[np.int64]
    entries: NDArray[np.int64]


class _Sums:
    """``tr(D_r sum_j B_jj)`` and ``sum_j C_j'D_r C_j`` for fixed changes D_r and varying Lambda, in rows of one array."""

    def __init__(self, engine: Engine, chart: Chart, basis: Float) -> None:
        self.engine, self.basis = engine, basis
        self.grad = np.empty(len(chart.lam))
        self.size = len(chart.directions)
        plan = engine.assembled.arrays
        self.effects = np.empty((len(basis), plan.trunk_start + plan.trunk_size))
        self.terms = []
        places = np.arange(len(chart.lam), dtype=np.float64)
        for k in sorted(set(chart.terms)):
            block = engine.model.blocks[k]
            first = chart.terms.index(k)
            own = slice(first, first + chart.terms.count(k))
            root = engine.block_lambda(chart.faint, block)
            halves = np.array([engine.block_lambda(direction, block) @ root.T for direction in chart.directions[own]])
            changes = (halves + halves.swapaxes(1, 2)).reshape(len(halves), -1)
            columns = engine.model.plan.level_column[block.factor] + np.arange(block.first, block.first + block.width)[:, None]
            entries = engine.block_lambda(places, block).astype(np.int64)
            self.terms.append(_Term(block, own, changes, columns, entries))

    def __call__(self, lam: Float) -> Float:
        p = len(self.basis)
        out = np.full((self.size, 1 + p * p), np.nan)
        if not self.engine.marginal(lam, self.basis, self.effects, self.grad):
            return out
        for term in self.terms:
            width = term.block.width
            inverse = _inverse(lam[term.entries], separate(term.block))
            b = 0.5 * self.grad[term.entries] @ inverse
            c = (inverse.T @ self.effects[:, term.columns]).reshape(p * width, term.columns.shape[1])
            gram = (c @ c.T).reshape(p, width, p, width).transpose(1, 3, 0, 2).reshape(width * width, p * p)
            out[term.own, 0] = term.changes @ b.ravel()
            out[term.own, 1:] = term.changes @ gram
        return out


def _inverse(root: Float, diagonal: bool) -> Float:
    """Of a term's Lambda; what is absent from a diagonal one stays so."""
    if not diagonal:
        return np.asarray(np.linalg.inv(root))
    out = np.zeros_like(root)
    for i in range(len(root)):
        if root[i, i] != 0.0:
            out[i, i] = 1.0 / root[i, i]
    return out


def needed_bytes(n_coordinates: int, p: int) -> int:
    """Memory that ``moments_at`` takes, but for what grows with the random effects alone."""
    return 8 * (n_coordinates + 1) ** 2 * p * p


def moments_at(engine: Engine, lam: Float) -> Moments:
    """The moments at ``lam``; NaN where the model cannot be factored nearby."""
    engine.criterion(lam, True)
    p = engine.rank
    basis: Float = np.linalg.inv(np.tril(engine.work.border[:p, :p])).astype(np.float64)
    chart = chart_at(engine, lam)
    sums = _Sums(engine, chart, basis)
    here = sums(chart.faint)
    n = len(here)
    slope = np.empty((n + 1, p, p))
    slope[:n] = -here[:, 1:].reshape(n, p, p)
    slope[n] = -np.eye(p)
    square = np.empty((n + 1, n + 1, p, p))
    trace = np.empty((n + 1, n + 1))
    for s, change in enumerate(slopes(lambda lams: np.array([sums(each) for each in lams]), chart.faint, chart)):
        trace[:n, s] = -change[:, 0]
        square[:n, s] = -change[:, 1:].reshape(n, p, p)
    trace[:n, :n] = 0.5 * (trace[:n, :n] + trace[:n, :n].T)
    trace[n, :n] = trace[:n, n] = here[:, 0]
    trace[n, n] = engine.n
    square[n, :] = square[:, n] = -2.0 * slope
    return Moments(slope, square, trace, chart, 2 + 4 * n)
