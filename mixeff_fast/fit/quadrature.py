"""Adaptive Gauss-Hermite quadrature instead of Laplace's approximation, for models with one grouping factor.

The product rule of order ``n_agq`` has ``n_agq ** width`` nodes around the modes of every level, ``width`` being the number
of its random effects; every node costs a likelihood of the level's rows. That is said, and refused where it is out of reach,
before anything is fitted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import ArgumentError, FitError
from mixeff_fast.fit.coordinates import separate
from mixeff_fast.fit.laplace import LaplaceEngine
from mixeff_fast.kernels import pirls, quadrature
from mixeff_fast.kernels.quadrature import Quadrature

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.control import Control

    Float = NDArray[np.float64]

MOST_POINTS = 50
WIDEST = 3
# likelihoods of rows per evaluation of the criterion: minutes of one processor
MOST_EVALUATIONS = 10**10
# numbers that nobody uses, so that threads do not write to one line of the cache
APART = 16
# share of a term's largest entry below which a direction is absent
ABSENT = 1e-11


def quadrature_nodes(model: CompiledModel, n_agq: int) -> int:
    """Nodes per level, once it is known that the model can be fitted with them.

    Raises
    ------
    ArgumentError
        ``n_agq`` is not a whole number from 1 to 50.
    FitError
        ``invalid_agq_request``: more than one grouping factor (``reason`` ``several_grouping_factors``), more than three random
        effects per level (``too_many_columns``), or more than 1e10 likelihoods of rows per evaluation (``too_many_nodes``).
    """
    if isinstance(n_agq, bool) or not isinstance(n_agq, (int, np.integer)) or not 1 <= n_agq <= MOST_POINTS:
        hint = ""
        if not isinstance(n_agq, bool) and isinstance(n_agq, (int, np.integer)) and n_agq == 0:
            hint = '; what nAGQ = 0 means to glmer is method="pirls_profiled"'
        raise ArgumentError(
            f"n_agq must be a whole number from 1 to {MOST_POINTS}, points per dimension (1 is Laplace's approximation), "
            f"not {n_agq!r}{hint}",
            argument="n_agq",
        )
    if n_agq == 1:
        return 1
    names = [factor.group.name for factor in model.factors]
    if len(names) > 1:
        raise _refusal(
            model, n_agq, "several_grouping_factors",
            f"n_agq > 1 is only available for models with a single grouping factor, and this one has {len(names)} "
            f"({', '.join(names)}); use n_agq=1, Laplace's approximation",
        )
    width = model.factors[0].width
    if width > WIDEST:
        raise _refusal(
            model, n_agq, "too_many_columns",
            f"n_agq > 1 is available for up to {WIDEST} random effects per level, and {names[0]} has {width}; use n_agq=1, "
            "Laplace's approximation",
        )
    nodes = int(int(n_agq) ** width)
    if nodes * model.frame.n > MOST_EVALUATIONS:
        raise _refusal(
            model, n_agq, "too_many_nodes",
            f"{n_agq} points in each of {width} dimensions are {nodes} nodes, and with {model.frame.n} rows "
            f"{nodes * model.frame.n:.2g} likelihoods for one evaluation of the criterion; at most {MOST_EVALUATIONS:.2g} are "
            "taken on. Use a smaller n_agq",
        )
    return nodes


def _refusal(model: CompiledModel, n_agq: int, reason: str, message: str) -> FitError:
    return FitError(message, reason_code="invalid_agq_request", reason=reason, n_agq=int(n_agq), n_terms=len(model.blocks))


def product_rule(points: int, width: int) -> tuple[Float, Float]:
    """Nodes x of the product Gauss-Hermite rule, shape (nodes, width), and ``log(weight) + x'x``, the largest weights first.

    Examples
    --------
    >>> nodes, log_weight = product_rule(3, 1)
    >>> nodes.ravel().round(4).tolist(), log_weight.round(4).tolist()
    ([0.0, -1.2247, 1.2247], [0.1669, 0.2806, 0.2806])
    """
    x, weight = np.polynomial.hermite.hermgauss(points)
    places = np.indices((points,) * width).reshape(width, -1).T
    log_weight = np.log(weight)[places].sum(axis=1)
    order = np.argsort(-log_weight, kind="stable")
    nodes = x[places][order]
    return np.ascontiguousarray(nodes), np.ascontiguousarray(log_weight[order] + (nodes**2).sum(axis=1))


def canonical(root: Float) -> tuple[Float, Float]:
    """``root = low basis``: low is lower triangular, its first nonzero entries positive, absent directions are its last
    columns; basis is orthogonal."""
    width = len(root)
    low, rows = np.zeros_like(root), np.zeros_like(root)
    smallest = ABSENT * float(np.abs(root).max())
    rank = 0
    for i in range(width):
        rest = root[i].copy()
        for _ in range(2):
            along = rows[:rank] @ rest
            low[i, :rank] += along
            rest -= along @ rows[:rank]
        norm = math.sqrt(float(rest @ rest))
        if norm > smallest:
            low[i, rank] = norm
            rows[rank] = rest / norm
            rank += 1
    if rank < width:
        rows[rank:] = np.linalg.qr(rows[:rank].T, mode="complete")[0].T[rank:]
    return low, rows


def completed(low: Float, grad: Float) -> Float:
    """``2 Gamma low``, Gamma the symmetric slope in ``low low'``, from its lower triangle: ``low' (2 Gamma low)`` is
    symmetric."""
    out = grad.copy()
    present = np.abs(low).max(axis=0) > 0.0
    out[:, ~present] = 0.0
    for k in range(1, int(present.sum())):
        top = low[:k, :k]
        if np.all(np.diag(top) > 0.0):
            known = low[k:, k] @ out[k:, :k] - low[k:, :k].T @ out[k:, k]
            out[:k, k] = np.linalg.solve(top.T, known)
    return out


class QuadratureEngine(LaplaceEngine):
    """The deviance by adaptive Gauss-Hermite quadrature around the modes, with ``n_agq`` points per dimension."""

    def __init__(self, model: CompiledModel, control: Control, joint: bool = False, n_agq: int = 2) -> None:
        self.nodes = quadrature_nodes(model, n_agq)
        self.n_agq = int(n_agq)
        super().__init__(model, control, joint)
        n, chunks, width = self.n, len(self.rows.chunk) - 1, model.factors[0].width
        point, log_weight = product_rule(n_agq, width)
        per_row = np.zeros((4, n))
        squares = np.zeros((3, chunks, width, width + APART))
        vectors = np.zeros((4, chunks, width + APART))
        self.quad = Quadrature(
            point=point, log_weight=log_weight, basis=np.eye(width), u=np.zeros(self.q),
            level=np.searchsorted(self.rows.block[0], np.arange(model.factors[0].n_levels + 1)).astype(np.int64),
            eta=per_row[0], score=per_row[1], fisher=per_row[2], mean_score=per_row[3], drift=np.zeros(self.q),
            value=np.zeros(chunks), low=squares[0], turned=squares[1], lift=squares[2], shift=vectors[0], move=vectors[1],
            pull=vectors[2], own=vectors[3], grad=np.zeros((chunks, self.assembled.lam_size + APART)),
        )
        self.turned = np.zeros(self.assembled.lam_size)
        self.constant = self.q * math.log(math.pi)

    def _turn(self, lam: Float) -> None:
        """Find ``turned``, which is Lambda as the nodes are placed with it, and the basis that leads back."""
        width = len(self.quad.basis)
        self.turned[:] = lam
        if width == 1:
            return
        self.quad.basis[...] = np.eye(width)
        for block in self.model.blocks:
            if not separate(block):
                own = slice(block.first, block.first + block.width)
                low, self.quad.basis[own, own] = canonical(self.block_lambda(lam, block))
                self.block_lambda(self.turned, block)[...] = low

    def _at(self, point: Float, fixed: bool = False) -> float:
        if not math.isfinite(super()._at(point, fixed)):
            return math.inf
        self._turn(self.split(point)[0])
        self.team.run(quadrature.measure, len(self.quad.value), self.rows, self.assembled.arrays, self.assembled.cross,
                      self.turned, self.family, self.modes, self.quad)
        value = float(self.modes.real[pirls.LOGDET]) + self.constant + float(self.quad.value.sum()) - 2.0 * self.saturated
        self.value = value if math.isfinite(value) else math.inf
        return self.value

    def _adjoint(self, lam: Float, scored: bool) -> float:
        arrays, cross, turned_grad = self.assembled.arrays, self.assembled.cross, np.zeros_like(lam)
        self.team.run(quadrature.average, len(self.quad.value), self.rows, arrays, cross, self.turned, self.work, self.family,
                      self.modes, self.quad)
        slope = quadrature.slopes_at(
            self.rows, arrays, cross, lam, self.work, self.chain, self.trunk, self.kept, self.family, self.modes, self.joint,
            self.quad, self.turned, self.theta_map, self.scoring, scored, self.inner.hessian, self.lam_grad,
            turned_grad)
        basis = self.quad.basis
        width = len(basis)
        whole = self.lam_grad.reshape(width, width) @ basis.T + turned_grad.reshape(width, width)
        for block in self.model.blocks:
            if not separate(block):
                own = slice(block.first, block.first + block.width)
                whole[own, own] = completed(self.block_lambda(self.turned, block), whole[own, own])
        self.lam_grad[:] = (whole @ basis).reshape(-1)
        return float(slope)
