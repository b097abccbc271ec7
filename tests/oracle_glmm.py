"""Dense reference for generalized linear mixed models: slow, n x q, and independent of the library.

The model is ``eta = offset + X beta + Z Lambda u`` with ``u ~ N(0, I)`` and ``D(eta) = -2 log p(y | eta)`` summed over
the rows (``oracle_families``). With the conditional modes ``u^`` that minimize ``J(u) = D + |u|^2``, the criterion is

    f(theta, beta, p) = J(u^) + log|H|,    H = Lambda'Z' C Z Lambda + I:

-2 log-likelihood by Laplace's method, every constant in it. The curvature ``C`` is either the Fisher weights ``W`` (what
glmer takes) or the observed ones ``a = D'' / 2`` (Laplace's method in the strict sense, what TMB takes); canonical links
make them equal. With more ``nodes`` the integral of every level is the product Gauss-Hermite rule, centred at the modes
and scaled by the Cholesky factor of that level's H. ``profiled`` lets beta minimize ``J`` together with ``u``.

Parameters are one vector ``psi``: theta (as in ``oracle``), beta of the ``kept`` columns of X unless it is profiled, and
the logarithm of the family parameter when the family has one and the problem does not fix it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, block_diag, cho_factor, cho_solve
from scipy.special import logsumexp

from tests import oracle
from tests.oracle import Array, Problem
from tests.oracle_families import PARAMETRIC, Floats, Rows, Slopes, link_of, mean, slopes, value

PATIENCE = 500  # Newton steps, each of a search


@dataclass(frozen=True, slots=True)
class Glmm(Problem):
    """A generalized linear mixed model without its parameters; ``parameter`` holds a known phi or size."""

    family: str = "binomial"
    link: str = "logit"
    parameter: float | None = None

    @property
    def real(self) -> type[np.floating[Any]]:
        return np.float64

    @property
    def base(self) -> Floats:
        return np.zeros(self.n) if self.offset is None else self.offset

    @property
    def fixed(self) -> Floats:
        return np.asarray(self.X[:, self.kept], np.float64)

    @property
    def searched(self) -> bool:
        """Whether the family parameter is one of psi."""
        return self.family in PARAMETRIC and self.parameter is None

    def rows(self, parameter: float) -> Rows:
        return Rows(self.y, np.asarray(self.w, np.float64), self.family, self.link, parameter)

    def root(self, theta: Array) -> Floats:
        """``Z Lambda``, columns ordered (block, level, column)."""
        spread = [np.kron(np.eye(b.q), lam) for b, lam in zip(self.blocks, self.lambdas(theta), strict=True)]
        return np.asarray(self.design @ block_diag(*spread))

    @property
    def design(self) -> Floats:
        """``Z``."""
        parts = []
        for block in self.blocks:
            part = np.zeros((self.n, block.q, block.Z.shape[1]))
            part[np.arange(self.n), block.codes] = block.Z
            parts.append(part.reshape(self.n, -1))
        return np.hstack(parts)


@dataclass(frozen=True, slots=True)
class Criterion:
    """Which objective; ``nodes`` are per dimension, and more than one asks for a single grouping factor."""

    curvature: str = "fisher"
    nodes: int = 1
    profiled: bool = False


LAPLACE = Criterion()


@dataclass(frozen=True, slots=True)
class Parameters:
    theta: Floats
    beta: Floats
    parameter: float


def unpack(problem: Glmm, psi: Floats, criterion: Criterion = LAPLACE) -> Parameters:
    """The parts of ``psi``; beta is empty when it is profiled."""
    last = len(psi) - problem.searched
    split = len(problem.entries)
    expected = split if criterion.profiled else split + len(problem.kept)
    if last != expected:
        raise ValueError(f"psi has {len(psi)} entries, the model {expected + problem.searched}")
    known = 1.0 if problem.parameter is None else problem.parameter
    return Parameters(psi[:split], psi[split:last], float(np.exp(psi[-1])) if problem.searched else known)


def pack(problem: Glmm, at: Parameters, criterion: Criterion = LAPLACE) -> Floats:
    tail = [np.log(at.parameter)] if problem.searched else []
    return np.concatenate([at.theta, [] if criterion.profiled else at.beta, tail])


# Modes: damped Newton steps on J, or on D alone, to the rounding level.


def _positive_solve(matrix: Floats, right: Floats) -> Floats | None:
    try:
        return np.asarray(cho_solve(cho_factor(matrix), right))
    except LinAlgError:
        return None


def _minimize(rows: Rows, base: Floats, columns: Floats, penalty: Floats, start: Floats) -> Floats | None:
    """The ``c`` that minimizes ``D(base + columns c) + c' diag(penalty) c``; None where it cannot be reached."""

    def at(c: Floats) -> float:
        return float(np.sum(value(rows, base + columns @ c)) + penalty @ c**2)

    c, now, previous = start, at(start), np.inf
    if not np.isfinite(now):
        return None
    for _ in range(PATIENCE):
        parts = slopes(rows, base + columns @ c)
        downhill = -(columns.T @ parts.s + 2 * penalty * c)
        tried = (_positive_solve((columns.T * (2 * w)) @ columns + np.diag(2 * penalty), downhill)
                 for w in (parts.a, parts.fisher))
        step = next((each for each in tried if each is not None), None)
        if step is None:
            return None
        size = float(max(np.abs(columns @ step).max(initial=0.0), np.abs(step).max(initial=0.0)))
        if size == 0 or (size < 1e-8 and size >= previous / 2):
            return c
        previous, slope = size, -float(downhill @ step)
        for shrink in 0.5 ** np.arange(60):
            there = at(c + shrink * step)
            if there <= now + 1e-4 * shrink * slope + 1e-13 * (1 + abs(now)):
                break
        else:
            return None
        c, now = c + shrink * step, there
    return None


def start_beta(problem: Glmm, rows: Rows) -> Floats | None:
    """Fixed effects without random ones by maximum likelihood, from a regression on the link of shrunken responses."""
    X, y, w = problem.fixed, problem.y, np.asarray(problem.w, np.float64)
    if problem.family == "binomial":
        shrunk = (w * y + 0.5) / (w + 1)
    elif problem.family in ("poisson", "negative_binomial"):
        shrunk = y + 0.1
    else:
        shrunk = y if problem.link == "identity" else np.maximum(y, 1e-3 * np.abs(y).max())
    flat = np.full(problem.n, np.average(shrunk, weights=w))
    for target in (shrunk, flat):
        beta = np.asarray(np.linalg.lstsq(X, link_of(rows, target) - problem.base, rcond=None)[0])
        if np.isfinite(value(rows, problem.base + X @ beta)).all():
            found = _minimize(rows, problem.base, X, np.zeros(X.shape[1]), beta)
            return beta if found is None else found
    return None


@dataclass(frozen=True, slots=True)
class State:
    """The modes at one psi; ``beta`` is the minimizer of J where it is profiled."""

    theta: Floats
    beta: Floats
    parameter: float
    u: Floats
    eta: Floats
    rows: Rows
    root: Floats
    slopes: Slopes
    curvature: Floats
    H: Floats
    objective: float


def _modes(problem: Glmm, at: Parameters, rows: Rows, root: Floats, near: State | None) -> tuple[Floats, Floats] | None:
    """``u`` and beta, sought from those of ``near`` and from ``u = 0``."""
    X, base, q = problem.fixed, problem.base, root.shape[1]
    first: Floats | None = np.zeros(0)
    if len(at.beta):
        base, columns = base + X @ at.beta, root
    else:
        columns, first = np.hstack([root, X]), start_beta(problem, rows)
    penalty = np.concatenate([np.ones(q), np.zeros(columns.shape[1] - q)])
    starts = [] if near is None else [np.concatenate([near.u, near.beta])[: columns.shape[1]]]
    if first is not None:
        starts.append(np.concatenate([np.zeros(q), first]))
    for start in starts:
        found = _minimize(rows, base, columns, penalty, start)
        if found is not None:
            return found[:q], at.beta if len(at.beta) else found[q:]
    return None


def evaluate(problem: Glmm, psi: Floats, criterion: Criterion = LAPLACE, near: State | None = None) -> State | None:
    """The criterion at ``psi``; None where the modes are out of reach. ``near`` only helps the search."""
    at = unpack(problem, np.asarray(psi, np.float64), criterion)
    rows, root = problem.rows(at.parameter), problem.root(at.theta)
    found = _modes(problem, at, rows, root, near)
    if found is None:
        return None
    u, beta = found
    eta = problem.base + problem.fixed @ beta + root @ u
    parts = slopes(rows, eta)
    curvature = parts.fisher if criterion.curvature == "fisher" else parts.a
    H = (root.T * curvature) @ root + np.eye(len(u))
    sign, log_det = np.linalg.slogdet(H)
    if sign <= 0:
        return None
    penalized = float(np.sum(value(rows, eta)) + u @ u)
    state = State(at.theta, beta, at.parameter, u, eta, rows, root, parts, curvature, H, penalized + float(log_det))
    return state if criterion.nodes == 1 else replace(state, objective=_quadrature(problem, state, criterion.nodes))


def objective(problem: Glmm, psi: Floats, criterion: Criterion = LAPLACE, near: State | None = None) -> float:
    """-2 log-likelihood with all constants; infinite where the modes are out of reach."""
    state = evaluate(problem, psi, criterion, near)
    return np.inf if state is None else state.objective


def _level_columns(problem: Glmm) -> NDArray[np.intp]:
    """(level, dimension): where the effects of every level of the one grouping factor stand in ``u``."""
    codes, q = problem.blocks[0].codes, problem.blocks[0].q
    parts, first = [], 0
    for block in problem.blocks:
        if not np.array_equal(block.codes, codes):
            raise ValueError("quadrature needs a single grouping factor")
        width = block.Z.shape[1]
        parts.append(first + np.arange(q * width).reshape(q, width))
        first += q * width
    return np.hstack(parts)


def _quadrature(problem: Glmm, state: State, nodes: int) -> float:
    """``-2 sum_levels log int exp(-J_j(u) / 2) (2 pi)^(-l/2) du`` by the product rule."""
    where, codes = _level_columns(problem), problem.blocks[0].codes
    q, width = where.shape
    factors = np.linalg.cholesky(state.H[where[:, :, None], where[:, None, :]])
    points, masses = np.polynomial.hermite_e.hermegauss(nodes)
    middle = state.eta - state.root @ state.u
    terms = []
    for node in product(range(nodes), repeat=width):
        z = points[list(node)]
        u = np.zeros_like(state.u)
        u[where] = state.u[where] + np.linalg.solve(np.swapaxes(factors, 1, 2), np.tile(z, (q, 1))[:, :, None])[:, :, 0]
        rows = value(state.rows, middle + state.root @ u)
        inner = np.bincount(codes, rows, q) + np.sum(u[where] ** 2, axis=1)
        terms.append(np.sum(np.log(masses[list(node)])) + z @ z / 2 - inner / 2)
    log_dets = 2 * np.sum(np.log(np.diagonal(factors, axis1=1, axis2=2)), axis=1)
    return float(np.sum(log_dets + width * np.log(2 * np.pi) - 2 * logsumexp(np.array(terms), axis=0)))


# Derivatives: by differences of the criterion, and the exact ones of Laplace's method.


def _units(problem: Glmm, criterion: Criterion) -> Floats:
    """The size of a step of psi that moves eta by about one."""
    size = [1 / max(np.sqrt(np.mean(problem.blocks[k].Z[:, row] ** 2)), 1e-8) for k, row, _ in problem.entries]
    fixed = [] if criterion.profiled else list(1 / np.sqrt(np.mean(problem.fixed**2, axis=0)))
    return np.array([*size, *fixed, *([1.0] if problem.searched else [])])


def gradient_fd(problem: Glmm, psi: Floats, criterion: Criterion = LAPLACE, near: State | None = None,
                step: float = 0.05, levels: int = 4) -> Floats:
    """Gradient by central differences of the criterion with Richardson's extrapolation over halved steps."""
    near = evaluate(problem, psi, criterion) if near is None else near
    steps = step * _units(problem, criterion)
    values = oracle._difference(lambda at: objective(problem, np.asarray(at), criterion, near), psi, steps, levels)
    return np.asarray(values, np.float64)


def gradient(problem: Glmm, state: State, criterion: Criterion = LAPLACE) -> Floats:
    """Exact gradient of Laplace's criterion, beta not profiled.

    With ``C`` the curvature, ``C'`` its slope by eta, ``h_i = [Z Lambda H^-1 Lambda'Z']_ii``, ``t = C' h``,
    ``F = Lambda'Z' a Z Lambda + I``, ``v = F^-1 Lambda'Z't`` and ``rho = s + t - a (Z Lambda v)``:

    by beta ``X'rho``; by Lambda_k ``sum_levels Z_j'rho u_j' - Z_j's v_j' / 2 + 2 (Z'CZ Lambda H^-1)_jj``; by a parameter
    of the family ``sum dD + h dC - (Z Lambda v) ds / 2``.
    """
    if criterion.nodes != 1 or criterion.profiled:
        raise ValueError("the exact gradient is that of Laplace's criterion over all parameters")
    parts, root, Z = state.slopes, state.root, problem.design
    fisher = criterion.curvature == "fisher"
    slope = parts.fisher_slope if fisher else parts.a_slope
    inverse = np.linalg.inv(state.H)
    h = np.sum((root @ inverse) * root, axis=1)
    t = slope * h
    F = (root.T * parts.a) @ root + np.eye(len(state.u))
    v = np.linalg.solve(F, root.T @ t)
    rho = parts.s + t - parts.a * (root @ v)
    by_lambda = np.outer(Z.T @ rho, state.u) - 0.5 * np.outer(Z.T @ parts.s, v)
    by_lambda += 2 * (Z.T * state.curvature) @ (root @ inverse)
    out, first, sums = [], 0, []
    for block in problem.blocks:
        width = block.Z.shape[1]
        spans = [slice(first + j * width, first + (j + 1) * width) for j in range(block.q)]
        sums.append(np.sum([by_lambda[span, span] for span in spans], axis=0))
        first += block.q * width
    out = [sums[k][row, column] for k, row, column in problem.entries]
    out += list(problem.fixed.T @ rho)
    if problem.searched:
        by_log = parts.fisher_by_log if fisher else parts.a_by_log
        out.append(np.sum(parts.value_by_log + h * by_log - 0.5 * (root @ v) * parts.s_by_log))
    return np.array(out, np.float64)


def _slope(problem: Glmm, criterion: Criterion, near: State, levels: int) -> Callable[[Array], Floats]:
    """The gradient as a function of psi: exact where there is a formula."""

    def exact(psi: Array) -> Floats:
        state = evaluate(problem, np.asarray(psi), criterion, near)
        return np.full(len(psi), np.nan) if state is None else gradient(problem, state, criterion)

    if criterion.nodes == 1 and not criterion.profiled:
        return exact
    return lambda psi: gradient_fd(problem, np.asarray(psi), criterion, near, levels=levels)


def hessian_fd(problem: Glmm, psi: Floats, criterion: Criterion = LAPLACE, near: State | None = None,
               step: float = 0.05, levels: int = 4) -> Floats:
    """Hessian by differences of the gradient."""
    state = evaluate(problem, psi, criterion, near)
    if state is None:
        raise ValueError("the criterion is infinite here")
    steps = step * _units(problem, criterion)
    values = oracle._difference(_slope(problem, criterion, state, levels), psi, steps, levels)
    return np.asarray((values + values.T) / 2, np.float64)


# The optimum.


@dataclass(frozen=True, slots=True)
class Fit:
    """An optimum: ``alive`` marks the parameters that are not on the boundary (a vanished column of Lambda is).

    ``hessian`` is that of the criterion over all of psi, ``vcov`` the inverse of half of it over the alive parameters
    (zero elsewhere), ``gradient`` by differences, all for psi; ``condition`` are b and its conditional covariances by
    block, given beta.
    """

    psi: Floats
    theta: Floats
    beta: Floats
    parameter: float
    objective: float
    gradient: Floats
    hessian: Floats
    alive: NDArray[np.bool_]
    vcov: Floats
    state: State

    @property
    def loglik(self) -> float:
        return -self.objective / 2

    @property
    def se(self) -> Floats:
        return np.sqrt(np.diag(self.vcov))


def start_psi(problem: Glmm, criterion: Criterion = LAPLACE) -> Floats:
    """Unit-sized random effects, halved; the fixed effects without them; a moment of the residuals."""
    theta = problem.pack([0.5 * np.diag(1 / np.maximum(np.sqrt(np.mean(b.Z**2, axis=0)), 1e-8)) for b in problem.blocks])
    rows = problem.rows(1.0 if problem.parameter is None else problem.parameter)
    beta = start_beta(problem, rows)
    if beta is None:
        raise ValueError("no fixed effects with means that the family allows: give a start")
    mu, parameter = mean(rows, problem.base + problem.fixed @ beta), 1.0
    if problem.searched and problem.family == "negative_binomial":
        parameter = 1 / max(float(np.mean(((problem.y - mu) ** 2 - mu) / mu**2)), 0.05)
    elif problem.searched:
        power = {"gaussian": 0, "gamma": 2, "inverse_gaussian": 3}[problem.family]
        parameter = float(np.mean((problem.y - mu) ** 2 / mu**power))
    return pack(problem, Parameters(theta, beta, parameter), criterion)


def _climb_down(problem: Glmm, psi: Floats, criterion: Criterion) -> Floats:
    """Newton steps, downhill along directions of negative curvature too, until they stop shrinking."""
    units, previous = _units(problem, criterion), np.inf
    state = evaluate(problem, psi, criterion)
    if state is None:
        raise ValueError("the criterion is infinite at the start")
    for _ in range(PATIENCE):
        slope = _slope(problem, criterion, state, 3)(psi) * units
        curvature = hessian_fd(problem, psi, criterion, state, step=0.02, levels=2) * np.outer(units, units)
        values, vectors = np.linalg.eigh(curvature)
        along = vectors.T @ slope
        step = -vectors @ (along / np.maximum(np.abs(values), 1e-9 * np.abs(values).max()))
        size = float(np.abs(step).max())
        if size < 1e-6 and size >= previous / 2:
            if values[0] >= -1e-7 * values[-1]:
                return psi
            step = 0.1 * vectors[:, 0]  # a saddle: leave it
        previous = size
        step *= min(1.0, 1.0 / float(np.abs(step).max()))
        for shrink in 0.5 ** np.arange(40):
            there = evaluate(problem, psi + shrink * step * units, criterion, state)
            if there is not None and there.objective <= state.objective + 1e-12 * (1 + abs(state.objective)):
                break
        else:
            return psi
        psi, state = psi + shrink * step * units, there
    raise RuntimeError("Newton's method did not settle: the criterion may be unbounded or flat")


def _canonical(problem: Glmm, psi: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """``psi`` with nonnegative diagonals and vanished columns at exactly zero, and which entries are not in those."""
    split = len(problem.entries)
    scaled, scales = oracle._scaled(problem)
    theta, alive = oracle._canonical(scaled, oracle._rescale(problem, psi[:split], scales))
    theta = oracle._rescale(problem, theta, [1 / scale for scale in scales])
    rest = psi[split:]
    return np.concatenate([theta, rest]), np.concatenate([alive, np.ones(len(rest), bool)])


def fit(problem: Glmm, criterion: Criterion = LAPLACE, start: Floats | None = None) -> Fit:
    """The optimum near ``start``, by Newton steps to the rounding level."""
    psi = _climb_down(problem, start_psi(problem, criterion) if start is None else start, criterion)
    psi, alive = _canonical(problem, psi)
    state = evaluate(problem, psi, criterion)
    assert state is not None
    hessian = hessian_fd(problem, psi, criterion, state)
    vcov = np.zeros_like(hessian)
    vcov[np.ix_(alive, alive)] = np.linalg.inv(hessian[np.ix_(alive, alive)] / 2)
    slope = gradient_fd(problem, psi, criterion, state)
    return Fit(psi, state.theta, state.beta, state.parameter, state.objective, slope, hessian, alive, vcov, state)


# What a fit says.


def effects(problem: Glmm, state: State) -> tuple[list[Floats], list[Floats]]:
    """By block: the modes ``b`` (level, column) and their covariances given beta, ``Lambda H^-1 Lambda'``."""
    lambdas = problem.lambdas(state.theta)
    spread = block_diag(*[np.kron(np.eye(b.q), lam) for b, lam in zip(problem.blocks, lambdas, strict=True)])
    b, full = spread @ state.u, spread @ np.linalg.solve(state.H, spread.T)
    modes, covariances, first = [], [], 0
    for block in problem.blocks:
        where = first + np.arange(block.q * block.Z.shape[1]).reshape(block.q, -1)
        modes.append(b[where])
        covariances.append(full[where[:, :, None], where[:, None, :]])
        first += where.size
    return modes, covariances


def geometry(problem: Glmm, state: State) -> Floats:
    """The covariance of beta that goes with the profiled fit: ``H`` bordered by X, everything but beta eliminated."""
    X, root, c = problem.fixed, state.root, state.curvature
    cross = (root.T * c) @ X
    return np.asarray(np.linalg.inv((X.T * c) @ X - cross.T @ np.linalg.solve(state.H, cross)))


def fitted(state: State) -> Floats:
    return mean(state.rows, state.eta)

