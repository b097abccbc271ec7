"""Dense reference for fixed-effect inference in Gaussian linear mixed models: slow, n x n, and independent of the library.

The model is that of ``oracle``: with variance parameters ``phi`` the marginal covariance is

    Omega(phi) = sigma^2 (W^-1 + sum_k [Z_k Lambda_k Lambda_k' Z_k'] on pairs of rows that share a level of block k).

``Phi = (X' Omega^-1 X)^-1`` is the covariance of beta, ``P = Omega^-1 - Omega^-1 X Phi X' Omega^-1``, ``e = P r``. A
subscript is a derivative by a variance parameter.

Variance parameters. Coordinates of the *face* the estimate lies on: the free entries of the nonzero columns of the
Lambda_k (``oracle`` brings every singular Lambda_k to trapezoid form, its last columns zero) and sigma. Columns that are
zero stay zero: a variance at zero or a correlation at one counts as known. All results depend on the face alone, not on
its coordinates (Satterthwaite: because the deviance is stationary there; Kenward-Roger: because only the tangent space
enters, see below). The deviance is even in the held entries, so that lmerTest's differences across zero, too, leave
them out.

Satterthwaite (Giesbrecht & Burns 1985; Fai & Cornelius 1996; as lmerTest, Kuznetsova, Brockhoff & Christensen 2017):

- deviance ``d = log|Omega| + r'Pr + n log 2 pi``, REML ``+ log|X'Omega^-1 X| - p log 2 pi``, not profiled over sigma;
- ``d_st = tr(Q Omega_st) - tr(Q Omega_s Q Omega_t) - e'Omega_st e + 2 e'Omega_s P Omega_t e``, Q = Omega^-1 (ML), P (REML)
  (Harville 1977, section 4; Searle, Casella & McCulloch 1992, section 6.6); ``Cov(phi) = A = 2 d_st^-1``;
- ``Phi_s = Phi X'Omega^-1 Omega_s Omega^-1 X Phi``;
- one row: ``df = 2 (l'Phi l)^2 / (g'Ag)``, ``g_s = l'Phi_s l``;
- several rows: ``L Phi L' = U D U'``, ``l_m = u_m'L``; ``F = sum_m (l_m (beta - b0))^2 / d_m / q`` over the q positive d_m;
  with df_m of every l_m, ``ddf = 2E / (E - q)``, ``E = sum df_m / (df_m - 2)``; 2 if a df_m is at most 2; their mean if
  all agree within 1e-8.

Kenward & Roger (1997), as pbkrtest (Halekoh & Hojsgaard 2014) computes it. The covariance is taken as linear in its
parameters (Omega_st = 0), with derivatives ``Omega_s`` that span the tangent space of the face, sigma^2 included:

- ``P_s = -X'Omega^-1 Omega_s Omega^-1 X``, ``Q_st = X'Omega^-1 Omega_s Omega^-1 Omega_t Omega^-1 X``;
- ``W = 2 I^-1``, ``I_st = tr(P Omega_s P Omega_t)``, equal to ``tr(Omega^-1 Omega_s Omega^-1 Omega_t) - 2 tr(Phi Q_st) +
  tr(Phi P_s Phi P_t)``: the expected information of REML (their section 2), whatever the estimates come from;
- ``Phi_A = Phi + 2 Phi [sum_st W_st (Q_st - P_s Phi P_t)] Phi`` (their equation 3);
- ``Theta = L'(L Phi L')^-1 L``, ``A1 = sum W_st tr(Theta Phi P_s Phi) tr(Theta Phi P_t Phi)``, ``A2 = sum W_st
  tr(Theta Phi P_s Phi Theta Phi P_t Phi)``, ``B = (A1 + 6 A2) / 2q``, ``g = ((q+1) A1 - (q+4) A2) / ((q+2) A2)``,
  ``c1 = g / (3q + 2(1-g))``, ``c2 = (q-g) / (3q + 2(1-g))``, ``c3 = (q+2-g) / (3q + 2(1-g))``,
  ``rho = ((1 - A2/q) / (1 - c2 B))^2 (1 + c1 B) / (1 - c3 B) / q``, ``ddf = 4 + (q+2) / (q rho - 1)``,
  ``scale = ddf (1 - A2/q) / (ddf - 2)``, ``F = scale / q (beta - b0)'L'(L Phi_A L')^-1 L (beta - b0)`` (their sections
  3.1, 3.2 and appendix); scale is 1 where ddf is within 0.01 of 2, as in pbkrtest.

pbkrtest does not hold parameters at the boundary: ``held=False`` takes all entries of all covariance matrices. It
refits ML models by REML, and leaves prior weights out of Omega but not out of Phi; here the estimates are those given,
and the weights are in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from tests import oracle
from tests.oracle import Array, Floats, Ints, Problem

RANK_TOLERANCE = 1e-8  # on the eigenvalues of L Phi L', of the largest
NULL_TOLERANCE = 1e-9  # on L N, rows of L and columns of X of unit length


@dataclass(frozen=True, slots=True)
class Point:
    """A model at given variance parameters.

    ``beta`` and ``vcov`` refer to the ``kept`` columns of X. ``free`` marks the entries of theta (in trapezoid form)
    that are not held at zero. ``precision`` is Omega^-1, ``projection`` P, ``e`` P r. ``slopes`` and ``curves`` are the
    first and second derivatives of Omega by the free entries of theta and by sigma, in that order.
    """

    problem: Problem
    theta: Floats
    sigma: float
    reml: bool
    free: NDArray[np.bool_]
    kept: Ints
    beta: Floats
    vcov: Floats
    covariance: Array
    precision: Array
    projection: Array
    e: Array

    @property
    def X(self) -> Array:
        return np.asarray(self.problem.X[:, self.kept], self.problem.real)

    @property
    def se(self) -> Floats:
        return np.asarray(np.sqrt(np.diag(self.vcov)))

    @property
    def held(self) -> int:
        """Number of entries of theta that are held at zero."""
        return int(np.sum(~self.free))


@dataclass(frozen=True, slots=True)
class Test:
    """A test of ``L beta = rhs``. ``estimate`` is ``L beta``; ``se`` and ``t`` are NaN unless L has one row.

    ``F`` is the statistic whose tail is ``p`` (a chi-square, not divided, when ``ddf`` is infinite); ``F = scale *
    unscaled``.
    """

    __test__ = False
    estimate: Floats
    se: float
    t: float
    F: float
    ndf: int
    ddf: float
    p: float
    scale: float
    unscaled: float


def _covariance(problem: Problem, theta: Array, sigma: Any) -> Array:
    relative: Array = np.diag(1 / problem.w)
    for block, lam in zip(problem.blocks, problem.lambdas(theta), strict=True):
        relative = relative + block.spread(lam @ lam.T)
    return np.asarray(relative * problem.real(sigma) ** 2)


def _inverse(matrix: Array) -> Array:
    """Of a positive definite matrix."""
    half = oracle._solve_lower(oracle._cholesky(matrix), np.eye(len(matrix), dtype=matrix.dtype))
    return half.T @ half


def _scaled_inverse(matrix: Array) -> Floats:
    """Inverse of a small symmetric matrix whose rows may have very different units; flat directions are left out."""
    unit = 1 / np.sqrt(np.abs(np.diag(matrix)))
    return np.asarray(np.linalg.pinv((matrix * np.outer(unit, unit)).astype(np.float64), 1e-11, hermitian=True)
                      * np.outer(unit, unit), np.float64)  # fmt: skip


def at(problem: Problem, theta: ArrayLike, reml: bool, sigma: float | None = None) -> Point:
    """The model at ``theta``; ``sigma`` is the profiled one unless given."""
    scaled, scales = oracle._scaled(problem)
    start = np.asarray(theta, np.float64)
    canonical, free = oracle._canonical(scaled, oracle._rescale(problem, start, scales))
    if not free.all():
        start = oracle._rescale(problem, canonical, [1 / scale for scale in scales])
    spread = oracle.solve(problem, start, reml).sigma if sigma is None else sigma
    kept = problem.kept
    X = np.asarray(problem.X[:, kept], problem.real)
    covariance = _covariance(problem, start, spread)
    precision = _inverse(covariance)
    half = precision @ X
    vcov = _inverse(X.T @ half)
    projection = precision - half @ vcov @ half.T
    return Point(problem, start, float(spread), reml, free, kept,
                 (vcov @ (half.T @ problem.r)).astype(np.float64), vcov.astype(np.float64),
                 covariance, precision, projection, projection @ problem.r)  # fmt: skip


def at_optimum(problem: Problem, theta0: ArrayLike, reml: bool) -> Point:
    """The model at the optimum near ``theta0``, polished to rounding."""
    return at(problem, oracle.polish(problem, np.asarray(theta0, np.float64), reml).theta, reml)


# The deviance in (theta, sigma) and its derivatives.


def deviance(problem: Problem, theta: ArrayLike, sigma: Any, reml: bool) -> Any:
    """-2 (restricted) log-likelihood, profiled over beta alone, in the problem's precision."""
    lower = oracle._cholesky(_covariance(problem, np.asarray(theta, problem.real), sigma))
    basis, triangle, _ = oracle._gram_schmidt(oracle._solve_lower(lower, problem.X[:, problem.kept]))
    white = oracle._solve_lower(lower, problem.r[:, None])[:, 0]
    for _ in range(2):
        white = white - basis @ (basis.T @ white)
    free = problem.n - (len(triangle) if reml else 0)
    log_det_x = oracle._log_det(triangle) if reml else 0.0
    return oracle._log_det(lower) + log_det_x + white @ white + free * np.log(2 * np.pi)


def _tangents(point: Point) -> list[tuple[int, Array]]:
    """(block, derivative of Lambda_k) of every free entry of theta."""
    out = []
    for use, (k, row, column) in zip(point.free, point.problem.entries, strict=True):
        if use:
            step = np.zeros(point.problem.blocks[k].mask.shape, point.problem.real)
            step[row, column] = 1
            out.append((k, step))
    return out


def slopes(point: Point) -> list[Array]:
    """Omega_s by the free entries of theta and by sigma."""
    lambdas, out = point.problem.lambdas(np.asarray(point.theta, point.problem.real)), []
    for k, step in _tangents(point):
        change = step @ lambdas[k].T
        out.append(point.sigma**2 * point.problem.blocks[k].spread(change + change.T))
    return [*out, 2 * point.covariance / point.sigma]


def _curve(point: Point, tangents: Sequence[tuple[int, Array]], first: Sequence[Array], s: int, t: int) -> Array:
    """Omega_st, with ``t <= s``."""
    if s == len(tangents):
        return first[t] / point.sigma * (1 if t == s else 2)
    (k, one), (k2, other) = tangents[s], tangents[t]
    if k != k2:
        return np.zeros_like(point.covariance)
    change = one @ other.T
    return point.sigma**2 * point.problem.blocks[k].spread(change + change.T)


def gradient(point: Point) -> Floats:
    """d_s by the free entries of theta and by sigma: zero at an optimum."""
    q = point.projection if point.reml else point.precision
    return np.array([np.sum(q * slope) - point.e @ slope @ point.e for slope in slopes(point)], np.float64)


def hessian(point: Point) -> Floats:
    """d_st by the free entries of theta and by sigma."""
    q = point.projection if point.reml else point.precision
    first, tangents = slopes(point), _tangents(point)
    moved, pushed = [q @ slope for slope in first], [slope @ point.e for slope in first]
    out = np.zeros((len(first),) * 2, q.dtype)
    for s in range(len(first)):
        for t in range(s + 1):
            curve = _curve(point, tangents, first, s, t)
            out[s, t] = out[t, s] = (
                np.sum(q * curve) - point.e @ curve @ point.e - np.sum(moved[s] * moved[t].T)
                + 2 * pushed[s] @ point.projection @ pushed[t]
            )  # fmt: skip
    return out.astype(np.float64)


def jacobian(point: Point) -> Floats:
    """(m, p, p): Phi_s by the free entries of theta and by sigma."""
    half = point.precision @ point.X @ point.vcov
    return np.array([half.T @ slope @ half for slope in slopes(point)], np.float64)


# Satterthwaite and Wald.


@dataclass(frozen=True, slots=True)
class Satterthwaite:
    """What its tests are made of: ``cov`` is A over the free entries of theta and sigma."""

    point: Point
    hessian: Floats
    cov: Floats
    jacobian: Floats

    def df(self, row: ArrayLike) -> float:
        """Degrees of freedom of one row over the kept columns."""
        l = np.asarray(row, np.float64)  # noqa: E741
        g = np.array([l @ change @ l for change in self.jacobian])
        return float(2 * (l @ self.point.vcov @ l) ** 2 / (g @ self.cov @ g))

    def test(self, L: ArrayLike, rhs: ArrayLike = 0.0) -> Test:
        rows = _rows(L)
        distance, null = _distance(self.point, rows, rhs)
        middle = rows @ self.point.vcov @ rows.T
        if len(rows) == 1:
            return _one_row(self.point.beta @ rows[0], null[0], float(np.sqrt(middle[0, 0])), self.df(rows[0]))
        values, vectors = np.linalg.eigh((middle + middle.T) / 2)
        keep = values > RANK_TOLERANCE * values[-1]
        directions = vectors[:, keep].T @ rows
        statistic = float(np.sum((directions @ distance) ** 2 / values[keep]) / keep.sum())
        ddf = joint_df([self.df(row) for row in directions])
        return _several(rows @ self.point.beta, statistic, int(keep.sum()), ddf)


def satterthwaite(point: Point) -> Satterthwaite:
    curvature = hessian(point)
    return Satterthwaite(point, curvature, 2 * _scaled_inverse(curvature), jacobian(point))


def joint_df(each: Sequence[float]) -> float:
    """Denominator degrees of freedom of a sum of independent squared t's: those whose F has the mean it should have."""
    if len(each) == 1 or np.all(np.abs(np.diff(each)) < 1e-8):
        return float(np.mean(each))
    if min(each) <= 2:
        return 2.0
    E = sum(df / (df - 2) for df in each)
    return 2 * E / (E - len(each))


def wald(point: Point, L: ArrayLike, rhs: ArrayLike = 0.0) -> Test:
    """z for one row, chi-square for several (``F`` is the chi-square)."""
    rows = _rows(L)
    distance, null = _distance(point, rows, rhs)
    middle = rows @ point.vcov @ rows.T
    if len(rows) == 1:
        return _one_row(point.beta @ rows[0], null[0], float(np.sqrt(middle[0, 0])), np.inf)
    rank = int(np.linalg.matrix_rank(middle, RANK_TOLERANCE, hermitian=True))
    statistic = float((rows @ distance) @ np.linalg.pinv(middle, RANK_TOLERANCE, hermitian=True) @ (rows @ distance))
    p = float(stats.chi2.sf(statistic, rank))
    return Test(rows @ point.beta, np.nan, np.nan, statistic, rank, np.inf, p, 1.0, statistic)


# Kenward-Roger.


@dataclass(frozen=True, slots=True)
class KenwardRoger:
    """``adjusted`` is Phi_A, ``P`` the P_s, ``W`` the covariance of the variance parameters."""

    point: Point
    adjusted: Floats
    P: Floats
    W: Floats

    def factors(self, L: ArrayLike) -> tuple[int, float, float]:
        """(q, ddf, scale) of full-rank rows over the kept columns."""
        rows, phi = _rows(L), self.point.vcov
        q = len(rows)
        theta_phi = rows.T @ np.linalg.solve(rows @ phi @ rows.T, rows) @ phi
        u = [theta_phi @ each @ phi for each in self.P]
        traces = np.array([np.trace(each) for each in u])
        a1 = float(traces @ self.W @ traces)
        a2 = float(sum(self.W[s, t] * np.sum(u[s] * u[t].T) for s in range(len(u)) for t in range(len(u))))
        b = (a1 + 6 * a2) / (2 * q)
        g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
        base = 3 * q + 2 * (1 - g)
        c1, c2, c3 = g / base, (q - g) / base, (q + 2 - g) / base
        v0, v1, v2 = 1 + c1 * b, 1 - c2 * b, 1 - c3 * b
        v0 = 0.0 if abs(v0) < 1e-10 else v0
        top = 1 - a2 / q
        # both vanish together in pbkrtest's balanced example; it takes their ratio as one
        ratio = 1.0 if abs(top) < 1e-14 and abs(v1) < 1e-14 else top / v1
        rho = ratio**2 * v0 / v2 / q
        ddf = 4 + (q + 2) / (q * rho - 1)
        return q, ddf, 1.0 if abs(ddf - 2) < 1e-2 else ddf * top / (ddf - 2)

    def se(self, row: ArrayLike) -> float:
        l = np.asarray(row, np.float64)  # noqa: E741
        return float(np.sqrt(l @ self.adjusted @ l))

    def test(self, L: ArrayLike, rhs: ArrayLike = 0.0) -> Test:
        rows = _rows(L)
        distance, null = _distance(self.point, rows, rhs)
        if len(rows) == 1:
            return _one_row(self.point.beta @ rows[0], null[0], self.se(rows[0]), self.factors(rows)[1])
        basis = _row_basis(self.point, rows)
        q, ddf, scale = self.factors(basis)
        gap = basis @ distance
        unscaled = float(gap @ np.linalg.solve(basis @ self.adjusted @ basis.T, gap) / q)
        return _several(rows @ self.point.beta, unscaled, q, ddf, scale)


def kenward_roger(point: Point, held: bool = True) -> KenwardRoger:
    """``held=False`` takes every entry of every covariance matrix as a parameter, as pbkrtest does."""
    inverse, fixed, phi = point.precision, point.precision @ point.X, point.vcov
    directions = slopes(point) if held else _entries(point)
    # lengths do not matter, but very different ones cost digits
    directions = [each / np.sqrt(np.sum(each * each)) for each in directions]
    moved = [point.projection @ each for each in directions]
    pushed = [each @ fixed for each in directions]
    count, p = len(directions), len(phi)
    P = np.array([-fixed.T @ each for each in pushed])
    information = np.array([[np.sum(a * b.T) for a in moved] for b in moved])
    W = 2 * _scaled_inverse(information)
    total = np.zeros((p, p), fixed.dtype)
    for s in range(count):
        for t in range(count):
            total += W[s, t] * (pushed[s].T @ inverse @ pushed[t] - P[s] @ phi @ P[t])
    adjusted = phi + 2 * phi @ total @ phi
    return KenwardRoger(point, ((adjusted + adjusted.T) / 2).astype(np.float64), P.astype(np.float64), W)


def _entries(point: Point) -> list[Array]:
    """Omega_s by every variance and covariance of the random effects, and by the residual variance."""
    out = []
    for k, cut in oracle._cones(point.problem):
        columns = cut[0].ravel()
        block = point.problem.blocks[k]
        for i, a in enumerate(columns):
            for b in columns[: i + 1]:
                step = np.zeros(block.mask.shape, point.problem.real)
                step[a, b] = step[b, a] = 1
                out.append(block.spread(step))
    return [*out, np.diag(1 / point.problem.w)]


# Rows, estimability.


def _rows(L: ArrayLike) -> Floats:
    return np.atleast_2d(np.asarray(L, np.float64))


def _distance(point: Point, rows: Floats, rhs: ArrayLike) -> tuple[Floats, Floats]:
    """``beta - b0`` with the shortest b0 such that ``L b0 = rhs``, and rhs by row."""
    null = np.broadcast_to(np.asarray(rhs, np.float64), len(rows)).astype(np.float64)
    return point.beta - np.linalg.pinv(rows) @ null, null


def _row_basis(point: Point, rows: Floats) -> Floats:
    """Independent rows that span the same space."""
    middle = rows @ point.vcov @ rows.T
    values, vectors = np.linalg.eigh((middle + middle.T) / 2)
    if values[0] > RANK_TOLERANCE * values[-1]:
        return rows
    keep = values > RANK_TOLERANCE * values[-1]
    return np.asarray(vectors[:, keep].T @ rows)


def _one_row(estimate: float, null: float, se: float, df: float) -> Test:
    t = float((estimate - null) / se)
    p = float(2 * (stats.norm.sf(abs(t)) if np.isinf(df) else stats.t.sf(abs(t), df)))
    return Test(np.array([estimate]), se, t, t * t, 1, df, p, 1.0, t * t)


def _several(estimate: Floats, unscaled: float, q: int, ddf: float, scale: float = 1.0) -> Test:
    p = float(stats.f.sf(unscaled * scale, q, ddf))
    return Test(estimate, np.nan, np.nan, unscaled * scale, q, ddf, p, scale, unscaled)


def null_space(X: ArrayLike) -> tuple[Floats, Floats]:
    """An orthonormal basis (p, d) of the null space of X with columns of unit length, and the lengths.

    ``X b = 0`` iff ``lengths * b`` is in its span.
    """
    columns = np.asarray(X, np.float64)
    lengths = np.sqrt(np.sum(columns**2, axis=0))
    unit = columns / np.where(lengths > 0, lengths, 1.0)
    _, singular, right = np.linalg.svd(unit, full_matrices=True)
    rank = int(np.sum(singular > oracle.RANK_TOLERANCE * singular.max(initial=0.0)))
    return right[rank:].T, np.where(lengths > 0, lengths, 1.0)


def estimable(X: ArrayLike, L: ArrayLike) -> NDArray[np.bool_]:
    """By row of L (over all columns of X): whether it lies in the row space of X, that is, ``L N = 0``.

    The answer does not depend on the units of the columns of X or of the rows of L.
    """
    null, lengths = null_space(X)
    rows = _rows(L) / lengths
    size = np.sqrt(np.sum(rows**2, axis=1))
    off = np.sqrt(np.sum((rows @ null) ** 2, axis=1))
    return np.asarray(off <= NULL_TOLERANCE * np.where(size > 0, size, 1.0))


def estimable_exactly(X: ArrayLike, L: ArrayLike) -> NDArray[np.bool_]:
    """The same in rational arithmetic, for numbers that are what they are meant to be: adding a row keeps the rank."""
    reduced: list[tuple[int, list[Fraction]]] = []
    for row in np.unique(np.asarray(X, np.float64), axis=0):
        _reduce(reduced, [Fraction(float(value)) for value in row], keep=True)
    return np.array([not _reduce(reduced, [Fraction(float(v)) for v in row], keep=False) for row in _rows(L)])


def _reduce(reduced: list[tuple[int, list[Fraction]]], row: list[Fraction], keep: bool) -> bool:
    """Whether ``row`` is independent of the echelon rows ``reduced``; it joins them if so and asked."""
    for pivot, other in reduced:
        if row[pivot]:
            factor = row[pivot] / other[pivot]
            row = [a - factor * b for a, b in zip(row, other, strict=True)]
    pivot = next((j for j, value in enumerate(row) if value), -1)
    if pivot >= 0 and keep:
        reduced.append((pivot, row))
    return pivot >= 0


def to_all(point: Point, L: ArrayLike) -> Floats:
    """The estimable rows over all columns of X that say the same as rows over the kept ones."""
    X = point.problem.X
    return np.asarray(_rows(L) @ np.linalg.lstsq(X[:, point.kept], X, rcond=None)[0])


def to_kept(point: Point, L: ArrayLike) -> Floats:
    """Estimable rows over all columns of X as rows over the kept ones: the coefficients left out are zero there."""
    return np.asarray(_rows(L)[:, point.kept])


def by_generalized_inverse(point: Point, L: ArrayLike) -> tuple[Floats, Floats]:
    """Estimates and covariance of estimable rows over all columns, by the Moore-Penrose inverse of X'Omega^-1 X."""
    X = point.problem.X
    precision = point.precision.astype(np.float64)
    inverse = np.linalg.pinv(X.T @ precision @ X, 1e-12, hermitian=True)
    rows = _rows(L)
    return rows @ (inverse @ (X.T @ (precision @ point.problem.r.astype(np.float64)))), rows @ inverse @ rows.T
