"""Dense reference for Gaussian linear mixed models: slow, n x n, and independent of the library.

The model is ``y = offset + X beta + sum_k Z_k b_k + error`` with ``b_kj ~ N(0, sigma^2 Lambda_k Lambda_k')`` for every
level ``j`` of block ``k`` and ``error ~ N(0, sigma^2 W^-1)``. All follows from the relative marginal covariance

    V(theta) = W^-1 + sum_k [Z_k Lambda_k Lambda_k' Z_k'] on pairs of rows that share a level of block k

by generalized least squares. Write ``r = y - offset``, ``P = V^-1 - V^-1 X (X'V^-1 X)^-1 X'V^-1``, ``nu = n`` (ML) or
``n - rank X`` (REML), ``Q = V^-1`` (ML) or ``P`` (REML), ``e = P r``, ``c = nu / r'Pr``. The profiled criterion is

    d(theta) = log|V| + [REML: log|X'V^-1 X|] + nu (1 + log(2 pi r'Pr / nu)),

which is lme4's, since ``log|V| = log|Lambda'Z'W Z Lambda + I| - sum log w``.

``theta`` concatenates the free entries of the ``Lambda_k``, block by block, column by column. The criterion is smooth
in every real ``theta``, signs and zeros included. Problems of up to ``EXTENDED_ROWS`` rows are computed in long double,
larger ones in double precision; results are double precision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]
Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

EXTENDED_ROWS = 200
RANK_TOLERANCE = 1e-7  # on a column of X, given the columns to its left
NULL_TOLERANCE = 1e-7  # on the singular values of a Lambda_k whose random-effects columns have about unit size


@dataclass(frozen=True, slots=True)
class Block:
    """A random-effects term: columns ``Z`` (n, l), level ``codes`` (n,) in 0..q-1, free entries ``mask`` of Lambda."""

    Z: Floats
    codes: Ints
    q: int
    mask: NDArray[np.bool_]

    def __post_init__(self) -> None:
        width = self.Z.shape[1]
        if self.mask.shape != (width, width) or np.triu(self.mask, 1).any() or not self.mask.diagonal().all():
            raise ValueError("mask must be lower triangular with a free diagonal, one row per column of Z")
        if self.codes.min() < 0 or self.codes.max() >= self.q:
            raise ValueError("codes must lie in 0..q-1")

    @property
    def entries(self) -> list[tuple[int, int]]:
        """Free (row, column) positions of Lambda in lme4's column-major order."""
        return [(int(row), int(column)) for column, row in np.argwhere(self.mask.T)]

    @property
    def components(self) -> list[Ints]:
        """Column sets whose covariance is unstructured; columns of different sets are uncorrelated."""
        reach = self.mask | self.mask.T
        for _ in range(len(reach)):
            reach = reach @ reach
        sets: list[Ints] = [np.flatnonzero(row) for row in np.unique(reach, axis=0)]
        if any(self.mask[np.ix_(s, s)].sum() != len(s) * (len(s) + 1) // 2 for s in sets):
            raise ValueError("mask is not a union of full triangles: its covariances are no product of PSD cones")
        return sets

    def spread(self, matrix: Array) -> Array:
        """The n x n matrix ``z_i' matrix z_j`` on pairs of rows that share a level, zero elsewhere."""
        same_level = self.codes[:, None] == self.codes[None, :]
        return np.asarray((self.Z @ matrix @ self.Z.T) * same_level)

    def gather(self, matrix: Array) -> Array:
        """Adjoint of ``spread``: ``sum_levels Z_j' matrix_jj Z_j``."""
        same_level = self.codes[:, None] == self.codes[None, :]
        return np.asarray(self.Z.T @ (matrix * same_level) @ self.Z)


@dataclass(frozen=True, slots=True)
class Problem:
    """A Gaussian mixed model without its parameters; ``X`` may be rank deficient."""

    X: Floats
    y: Floats
    blocks: Sequence[Block]
    weights: Floats | None = None
    offset: Floats | None = None

    @property
    def n(self) -> int:
        return len(self.y)

    @property
    def real(self) -> type[np.floating[Any]]:
        return np.longdouble if self.n <= EXTENDED_ROWS else np.float64

    @property
    def w(self) -> Array:
        return np.ones(self.n, self.real) if self.weights is None else self.weights.astype(self.real)

    @property
    def r(self) -> Array:
        response = self.y.astype(self.real)
        return response if self.offset is None else response - self.offset

    @property
    def kept(self) -> Ints:
        """The columns of X that are independent of the columns to their left (R's rule and tolerance)."""
        return _gram_schmidt(self.X.astype(self.real), RANK_TOLERANCE)[2]

    @property
    def entries(self) -> list[tuple[int, int, int]]:
        """(block, row, column) of every theta."""
        return [(k, row, column) for k, block in enumerate(self.blocks) for row, column in block.entries]

    @property
    def saturated(self) -> bool:
        """Whether fixed and random columns together fit any response exactly: the criterion then has no minimum."""
        columns = np.hstack([self.X, _dense_design(self, [block.Z for block in self.blocks])])
        return bool(np.linalg.matrix_rank(columns.astype(np.float64)) == self.n)

    def lambdas(self, theta: Array) -> list[Array]:
        """The Lambda_k of ``theta``."""
        if len(theta) != len(self.entries):
            raise ValueError(f"theta has {len(theta)} entries, the model {len(self.entries)}")
        out: list[Array] = [np.zeros(block.mask.shape, self.real) for block in self.blocks]
        for value, (k, row, column) in zip(theta, self.entries, strict=True):
            out[k][row, column] = value
        return out

    def pack(self, lambdas: Sequence[Array]) -> Floats:
        """Inverse of ``lambdas``."""
        return np.array([lambdas[k][row, column] for k, row, column in self.entries], np.float64)


# Linear algebra in either precision (NumPy's own has no long double).


def _cholesky(matrix: Array) -> Array:
    if matrix.dtype.type is np.float64:
        return np.asarray(np.linalg.cholesky(matrix))
    lower = matrix.copy()
    for j in range(len(lower)):
        lower[j:, j] -= lower[j:, :j] @ lower[j, :j]
        lower[j:, j] /= np.sqrt(lower[j, j])
    return np.tril(lower)


def _solve_lower(lower: Array, right: Array) -> Array:
    if lower.dtype.type is np.float64:
        return np.asarray(np.linalg.solve(lower, right))
    out = right.astype(lower.dtype)
    for i in range(len(lower)):
        out[i] = (out[i] - lower[i, :i] @ out[:i]) / lower[i, i]
    return out


def _log_det(lower: Array) -> np.floating[Any]:
    return np.longdouble(2) * np.sum(np.log(lower.diagonal()), dtype=np.longdouble)


def _gram_schmidt(columns: Array, tolerance: float = 0.0) -> tuple[Array, Array, Ints]:
    """Orthonormal basis, triangle and kept columns; a column is dropped when the ones to its left explain it."""
    basis, triangle = columns[:, :0], np.zeros((columns.shape[1],) * 2, columns.dtype)
    kept: list[int] = []
    for j, column in enumerate(columns.T):
        rest, rank = column.copy(), len(kept)
        for _ in range(2):
            along = basis.T @ rest
            rest -= basis @ along
            triangle[:rank, rank] += along
        norm = np.sqrt(rest @ rest)
        if norm <= tolerance * np.sqrt(column @ column):
            triangle[:, rank] = 0
            continue
        triangle[rank, rank] = norm
        basis = np.column_stack([basis, rest / norm])
        kept.append(j)
    return basis, triangle[: len(kept), : len(kept)], np.array(kept, np.intp)


# The criterion and its derivatives.


@dataclass(frozen=True, slots=True)
class _Gls:
    """Generalized least squares at one theta, in the coordinates whitened by the Cholesky factor L of V."""

    L: Array
    basis: Array
    triangle: Array
    white: Array
    nu: int
    reml: bool

    @property
    def rss(self) -> Any:
        return self.white @ self.white

    @property
    def objective(self) -> Any:
        log_det_x = _log_det(self.triangle) if self.reml else 0.0
        return _log_det(self.L) + log_det_x + self.nu * (1 + np.log(2 * np.pi * self.rss / self.nu))

    def projections(self) -> tuple[Array, Array, Array, np.floating[Any]]:
        """(Q, P, e, c) of the module's notation."""
        inverse = _solve_lower(self.L, np.eye(len(self.L), dtype=self.L.dtype))
        precision, fixed = inverse.T @ inverse, inverse.T @ self.basis
        projection = precision - fixed @ fixed.T
        return projection if self.reml else precision, projection, inverse.T @ self.white, self.nu / self.rss


def _gls(problem: Problem, theta: Array, reml: bool) -> _Gls:
    covariance: Array = np.diag(1 / problem.w)
    for block, lam in zip(problem.blocks, problem.lambdas(theta), strict=True):
        covariance = covariance + block.spread(lam @ lam.T)
    lower, kept = _cholesky(covariance), problem.kept
    basis, triangle, _ = _gram_schmidt(_solve_lower(lower, problem.X[:, kept]))
    white = _solve_lower(lower, problem.r[:, None])[:, 0]
    for _ in range(2):
        white = white - basis @ (basis.T @ white)
    return _Gls(lower, basis, triangle, white, problem.n - (len(kept) if reml else 0), reml)


def deviance(problem: Problem, theta: Array, reml: bool) -> float:
    """-2 log-likelihood (ML) or the REML criterion, profiled over beta and sigma, with all constants."""
    return float(_gls(problem, theta, reml).objective)


def cone_gradient(problem: Problem, theta: Array, reml: bool) -> list[Floats]:
    """Per block, the symmetric derivative Gamma_k of the criterion by Sigma_k = Lambda_k Lambda_k'.

    ``d(criterion) = sum_k tr(Gamma_k dSigma_k)`` with ``Gamma_k = sum_levels Z_j'(Q - c e e')Z_j``.
    """
    q, _, e, c = _gls(problem, theta, reml).projections()
    return [gamma.astype(np.float64) for gamma in _gammas(problem, q, e, c)]


def _gammas(problem: Problem, q: Array, e: Array, c: np.floating[Any]) -> list[Array]:
    slope = q - c * np.outer(e, e)
    return [block.gather(slope) for block in problem.blocks]


def gradient(problem: Problem, theta: Array, reml: bool) -> Floats:
    """Exact gradient: ``tr(Gamma_k dSigma_k/dtheta) = 2 (Gamma_k Lambda_k)_ab``, theta at entry (a, b) of Lambda_k."""
    return _gradient(problem, theta, reml).astype(np.float64)


def _gradient(problem: Problem, theta: Array, reml: bool) -> Array:
    q, _, e, c = _gls(problem, theta, reml).projections()
    gammas = _gammas(problem, q, e, c)
    by_block = [2 * gamma @ lam for gamma, lam in zip(gammas, problem.lambdas(theta), strict=True)]
    return np.array([by_block[k][row, column] for k, row, column in problem.entries])


def hessian(problem: Problem, theta: Array, reml: bool) -> Floats:
    """Exact Hessian, with D_s the first and D_st the second derivatives of V:

    ``tr(Q D_st) - c e'D_st e - tr(Q D_s Q D_t) + 2c e'D_s P D_t e - (c^2 / nu)(e'D_s e)(e'D_t e)``, where the first
    two terms are ``tr(Gamma_k d2Sigma_k) = 2 Gamma_k[a, a']`` for entries (a, b), (a', b) of one column, else zero.
    """
    gls = _gls(problem, theta, reml)
    q, p, e, c = gls.projections()
    gammas = _gammas(problem, q, e, c)
    lambdas, entries = problem.lambdas(theta), problem.entries
    moved, pushed = [], []
    for k, row, column in entries:
        tangent = np.zeros_like(lambdas[k])
        tangent[row] = lambdas[k][:, column]
        derivative = problem.blocks[k].spread(tangent + tangent.T)
        moved.append(q @ derivative)
        pushed.append(derivative @ e)
    out = np.zeros((len(entries),) * 2, q.dtype)
    for s, (k, a, b) in enumerate(entries):
        for t, (k2, a2, b2) in enumerate(entries[: s + 1]):
            curve = 2 * gammas[k][a, a2] if (k, b) == (k2, b2) else 0
            trace = np.sum(moved[s] * moved[t].T)
            residual = 2 * c * (pushed[s] @ p @ pushed[t]) - c**2 / gls.nu * (pushed[s] @ e) * (pushed[t] @ e)
            out[s, t] = out[t, s] = curve - trace + residual
    return out.astype(np.float64)


# Finite differences, the independent check of the formulas above.


def _steps(problem: Problem) -> Array:
    """Steps well inside the radius of convergence of log|V|, which is at least max_levels |Z_j'W Z_j|^(-1/2)."""
    sizes = []
    for block in problem.blocks:
        mass = np.bincount(block.codes, np.sum(block.Z**2, axis=1) * problem.w.astype(np.float64), block.q)
        sizes.append(0.1 / np.sqrt(max(mass.max(), np.finfo(np.float64).tiny)))
    return np.array([sizes[k] for k, _, _ in problem.entries], problem.real)


def _difference(function: Callable[[Array], Any], theta: Array, steps: Array, levels: int = 4) -> Array:
    """Central differences with Richardson extrapolation over halved steps; one row per theta."""
    rows = []
    for t, step in enumerate(steps):
        direction = np.zeros(len(steps), steps.dtype)
        direction[t] = step
        table = [
            (function(theta + direction / 2**i) - function(theta - direction / 2**i)) * 2**i / (2 * step)
            for i in range(levels)
        ]
        for order in range(1, levels):
            table = [b + (b - a) / (4**order - 1) for a, b in pairwise(table)]
        rows.append(table[0])
    return np.array(rows)


def gradient_fd(problem: Problem, theta: Array, reml: bool) -> Floats:
    """Gradient by differences of the criterion."""
    values = _difference(lambda at: _gls(problem, at, reml).objective, theta, _steps(problem))
    return values.astype(np.float64)


def hessian_fd(problem: Problem, theta: Array, reml: bool) -> Floats:
    """Hessian by differences of the exact gradient."""
    values = _difference(lambda at: _gradient(problem, at, reml), theta, _steps(problem)).astype(np.float64)
    return np.asarray((values + values.T) / 2)


# The optimum, on the boundary of the PSD cones or inside.


@dataclass(frozen=True, slots=True)
class Optimality:
    """First-order conditions, for random-effects columns scaled to about unit root mean square.

    ``gradient`` is ``max |2 Gamma Lambda|``; ``cone`` the smallest eigenvalue of Gamma on the null spaces of the
    Lambda_k (infinite when there are none): negative means that some variance wants to grow.
    """

    gradient: float
    cone: float


@dataclass(frozen=True, slots=True)
class Polished:
    theta: Floats
    objective: float
    optimality: Optimality


def _scaled(problem: Problem) -> tuple[Problem, list[Floats]]:
    """The same model, columns of Z brought to about unit size by powers of two, and the scales of Lambda_k's rows."""
    scales = [np.sqrt(np.mean(block.Z**2, axis=0)) for block in problem.blocks]
    scales = [2.0 ** np.round(np.log2(np.where(scale > 0, scale, 1.0)))[:, None] for scale in scales]
    blocks = [replace(block, Z=block.Z / scale.T) for block, scale in zip(problem.blocks, scales, strict=True)]
    return replace(problem, blocks=blocks), scales


def _rescale(problem: Problem, theta: Array, scales: Sequence[Floats]) -> Floats:
    return problem.pack([lam * scale for lam, scale in zip(problem.lambdas(theta), scales, strict=True)])


def _cones(problem: Problem) -> Iterator[tuple[int, tuple[Any, ...]]]:
    """Every PSD cone of the model: its block and the index that cuts it out of Lambda_k, Sigma_k or Gamma_k."""
    for k, block in enumerate(problem.blocks):
        for columns in block.components:
            yield k, np.ix_(columns, columns)


def _null_curvature(gamma: Array, lam: Array, tolerance: float) -> tuple[float, Floats]:
    """Smallest eigenvalue of ``gamma`` on the null space of ``lam'``, and where it is attained."""
    left, singular, _ = np.linalg.svd(lam.astype(np.float64))
    null = left[:, singular <= tolerance]
    if null.shape[1] == 0:
        return np.inf, left[:, 0]
    values, vectors = np.linalg.eigh(null.T @ gamma.astype(np.float64) @ null)
    return float(values[0]), null @ vectors[:, 0]


def optimality(problem: Problem, theta: Array, reml: bool, null_tolerance: float = NULL_TOLERANCE) -> Optimality:
    """Judge ``theta``; singular values of Lambda_k up to ``null_tolerance`` count as zero."""
    scaled, scales = _scaled(problem)
    at = _rescale(problem, theta, scales)
    gammas, lambdas = cone_gradient(scaled, at, reml), scaled.lambdas(at)
    slopes, cones = [], []
    for k, cut in _cones(scaled):
        slopes.append(float(np.abs(2 * gammas[k][cut] @ lambdas[k][cut]).max()))
        cones.append(_null_curvature(gammas[k][cut], lambdas[k][cut], null_tolerance)[0])
    return Optimality(max(slopes), min(cones))


def _lower_root(root: Floats) -> Floats:
    """``root root'`` with a lower trapezoidal factor."""
    triangle: Floats = np.linalg.qr(root.T)[1]
    return triangle.T


def _trapezoid(lam: Array) -> tuple[Floats, int]:
    """The same Sigma with a factor whose last ``l - rank`` columns vanish and whose diagonal is not negative."""
    factor = lam.astype(np.float64)
    left, singular, _ = np.linalg.svd(factor)
    rank = int(np.sum(singular > NULL_TOLERANCE))
    if factor[:, rank:].any():
        narrow = _lower_root(left[:, :rank] * singular[:rank])
        factor = np.column_stack([narrow, np.zeros((len(factor), len(factor) - rank))])
    return factor * np.where(factor.diagonal() < 0, -1.0, 1.0), rank


def _canonical(problem: Problem, theta: Array) -> tuple[Floats, NDArray[np.bool_]]:
    """``theta`` with every cone's factor in trapezoid form, and which entries belong to its nonzero columns."""
    lambdas = [lam.astype(np.float64) for lam in problem.lambdas(theta)]
    alive = [np.zeros_like(lam) for lam in lambdas]
    for k, cut in _cones(problem):
        lambdas[k][cut], rank = _trapezoid(lambdas[k][cut])
        alive[k][cut] = np.arange(len(cut[0])) < rank
    return problem.pack(lambdas), problem.pack(alive) > 0


def _descend(problem: Problem, theta: Floats, step: Floats, slope: float, reml: bool) -> Floats:
    """The longest halving of ``step`` that lowers the criterion enough (Armijo), up to rounding."""
    start = deviance(problem, theta, reml)
    for shrink in 0.5 ** np.arange(60):
        if deviance(problem, theta + shrink * step, reml) <= start + 1e-3 * shrink * slope + 1e-14 * (1 + abs(start)):
            return np.asarray(theta + shrink * step)
    return theta


def _newton(problem: Problem, theta: Floats, free: NDArray[np.bool_], reml: bool) -> Floats:
    """Newton's method on the ``free`` entries, until steps stop shrinking at the rounding level."""
    previous = np.inf
    for _ in range(200):
        slope, curvature = gradient(problem, theta, reml)[free], hessian(problem, theta, reml)[np.ix_(free, free)]
        values, vectors = np.linalg.eigh(curvature)
        # Directions of negative curvature are followed downhill; flat ones (a rotation of columns) are damped.
        stiffness = np.maximum(np.abs(values), 1e-10 * np.abs(values).max(initial=1e-300))
        step = np.zeros_like(theta)
        step[free] = -vectors @ ((vectors.T @ slope) / stiffness)
        size = float(np.abs(step).max(initial=0.0))
        if size == 0 or (size < 1e-7 and size >= previous / 2):
            return theta
        previous = size
        longest = float(1 + np.abs(theta).max())
        step *= longest / max(size, longest)
        theta = _descend(problem, theta, step, float(step[free] @ slope), reml)
    raise RuntimeError("Newton's method did not settle: the criterion may be unbounded or flat")


def _grow(problem: Problem, theta: Floats, reml: bool) -> Floats | None:
    """Leave the boundary in the direction that some cone's Gamma asks for; None when none does."""
    gammas, lambdas = cone_gradient(problem, theta, reml), problem.lambdas(theta)
    for k, cut in _cones(problem):
        gamma, lam = gammas[k][cut], lambdas[k][cut].astype(np.float64)
        curvature, direction = _null_curvature(gamma, lam, NULL_TOLERANCE)
        if curvature >= -1e-10 * problem.n:
            continue
        start = deviance(problem, theta, reml)
        for size in 0.5 ** np.arange(60):
            lambdas[k][cut] = _lower_root(np.column_stack([lam, size * direction]))
            grown = problem.pack(lambdas)
            if deviance(problem, grown, reml) < start:
                return grown
    return None


def polish(problem: Problem, theta0: Array, reml: bool) -> Polished:
    """The local optimum near ``theta0``, by Newton steps on the faces of the PSD cones.

    A Lambda_k that becomes singular keeps only its leading columns (the others are held at exactly zero); it gets a
    column back when the cone condition fails. The theta returned has nonnegative diagonals. Not for saturated models.
    """
    scaled, scales = _scaled(problem)
    theta = _rescale(problem, theta0, scales)
    for _ in range(50):
        theta, free = _canonical(scaled, theta)
        theta, still_free = _canonical(scaled, _newton(scaled, theta, free, reml))
        if not np.array_equal(still_free, free):
            continue
        grown = _grow(scaled, theta, reml)
        if grown is None:
            theta = _rescale(problem, theta, [1 / scale for scale in scales])
            return Polished(theta, deviance(problem, theta, reml), optimality(problem, theta, reml))
        theta = grown
    raise RuntimeError("the faces of the cones did not settle")


# Estimates and predictions at a given theta.


@dataclass(frozen=True, slots=True)
class Solution:
    """What the model says at one theta; lists have one entry per block, and ``b`` is ordered (block, level, column).

    ``beta`` and ``vcov`` refer to the columns ``kept`` of X; ``b_cov`` holds the (q, l, l) conditional covariances of
    ``b`` given beta, ``b_cov_full`` the whole matrix; ``logdet`` is ``log|Lambda'Z'WZLambda + I|``.
    """

    kept: Ints
    beta: Floats
    vcov: Floats
    sigma: float
    u: list[Floats]
    b: list[Floats]
    b_cov: list[Floats]
    b_cov_full: Floats
    fitted: Floats
    residuals: Floats
    logdet: float
    logdet_x: float
    pwrss: float
    objective: float


def _dense_design(problem: Problem, columns: Sequence[Array]) -> Array:
    """n x sum(q l): the rows' ``columns`` scattered to their levels."""
    parts = []
    for block, values in zip(problem.blocks, columns, strict=True):
        part = np.zeros((problem.n, block.q, block.Z.shape[1]), problem.real)
        part[np.arange(problem.n), block.codes] = values
        parts.append(part.reshape(problem.n, -1))
    return np.hstack(parts)


def _conditional_covariance(problem: Problem, lambdas: Sequence[Array]) -> tuple[Array, np.floating[Any]]:
    """``Lambda (Lambda'Z'WZLambda + I)^-1 Lambda'`` and the log determinant of the matrix inverted."""
    root = _dense_design(problem, [block.Z @ lam for block, lam in zip(problem.blocks, lambdas, strict=True)])
    lower = _cholesky((root.T * problem.w) @ root + np.eye(root.shape[1], dtype=root.dtype))
    big = np.zeros_like(lower)
    start = 0
    for block, lam in zip(problem.blocks, lambdas, strict=True):
        for _ in range(block.q):
            stop = start + len(lam)
            big[start:stop, start:stop] = lam
            start = stop
    half = _solve_lower(lower, big.T)
    return half.T @ half, _log_det(lower)


def solve(problem: Problem, theta: Array, reml: bool) -> Solution:
    """Estimates, predictions and their covariances at ``theta``."""
    gls, lambdas, kept = _gls(problem, theta, reml), problem.lambdas(theta), problem.kept
    sigma2 = gls.rss / gls.nu
    inverse = _solve_lower(gls.triangle.T, np.eye(len(kept), dtype=gls.L.dtype)).T
    beta = inverse @ (gls.basis.T @ _solve_lower(gls.L, problem.r[:, None])[:, 0])
    e = gls.projections()[2]
    fitted = problem.y - problem.r + problem.X[:, kept] @ beta
    modes, effects, covariances, start = [], [], [], 0
    conditional, log_det = _conditional_covariance(problem, lambdas)
    for block, lam in zip(problem.blocks, lambdas, strict=True):
        u = np.zeros((block.q, len(lam)), problem.real)
        np.add.at(u, block.codes, (block.Z @ lam) * e[:, None])
        b = u @ lam.T
        fitted = fitted + np.sum(block.Z * b[block.codes], axis=1)
        spans = start + np.arange(u.size).reshape(u.shape)
        modes.append(u.astype(np.float64))
        effects.append(b.astype(np.float64))
        covariances.append((sigma2 * conditional[spans[:, :, None], spans[:, None, :]]).astype(np.float64))
        start += u.size
    return Solution(
        kept=kept,
        beta=beta.astype(np.float64),
        vcov=(sigma2 * inverse @ inverse.T).astype(np.float64),
        sigma=float(np.sqrt(sigma2)),
        u=modes,
        b=effects,
        b_cov=covariances,
        b_cov_full=(sigma2 * conditional).astype(np.float64),
        fitted=fitted.astype(np.float64),
        residuals=(problem.y - fitted).astype(np.float64),
        logdet=float(log_det),
        logdet_x=float(_log_det(gls.triangle)),
        pwrss=float(gls.rss),
        objective=float(gls.objective),
    )
