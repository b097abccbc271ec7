"""The sparse trunk's kernels against dense linear algebra, and a whole evaluation against the oracle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numba import njit

from mixeff_fast.compile import trunk
from mixeff_fast.compile.plan import make_plan
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.kernels import _panels, supernodal, supernodal_inverse
from mixeff_fast.kernels.structure import SparseTrunk
from mixeff_fast.kernels.supernodal_gather import gather_supernodes
from tests import oracle
from tests.supernodes import Factor, Sparse, criterion, factor, invert, solution, sparse_model

SETTINGS = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))


@dataclass(frozen=True, slots=True)
class Case:
    model: Sparse
    problem: oracle.Problem
    lam: Any
    theta: Any


@cache
def from_python(kernel: Any) -> Any:
    """A kernel that only kernels call, for Python to call."""
    return njit(kernel.py_func)


def compact(codes: Any) -> Any:
    return np.unique(codes, return_inverse=True)[1].astype(np.int32)


def case(codes: list[Any], widths: list[int], p: int, rng: np.random.Generator) -> Case:
    """A model of these factors with random design, response and Lambda."""
    n = len(codes[0])
    codes = [compact(own) for own in codes]
    levels = [int(own.max()) + 1 for own in codes]
    z = [rng.normal(size=(n, w)) for w in widths]
    x, y = rng.normal(size=(n, p)), rng.normal(size=n)
    plan = make_plan(codes, levels, widths, p, "sparse")
    blocks = tuple(
        oracle.Block(own, c, q, np.tril(np.ones((w, w), bool)))
        for own, c, q, w in zip(z, codes, levels, widths, strict=True)
    )
    problem = oracle.Problem(x, y, blocks)
    lambdas = [np.tril(rng.normal(size=(w, w))) for w in widths]
    lam = np.concatenate([own.ravel() for own in lambdas])
    return Case(sparse_model(plan, codes, z, np.column_stack([x, y])), problem, lam, problem.pack(lambdas))


def overlapping(n: int, levels: list[int], rng: np.random.Generator, spread: int = 1) -> list[Any]:
    """Factors whose levels are windows of rows, their limits blurred: each level meets few others."""
    rows = np.arange(n)
    return [np.clip(rows * q // n + rng.integers(-spread, spread + 1, n), 0, q - 1) for q in levels]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two to five factors: windows, nested ones, crossed ones, so that chains and trunks of all kinds occur."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(60, 120))
    codes = overlapping(n, [draw(st.integers(8, 25))], rng)
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["windows", "nested", "crossed"]))
        if kind == "windows":
            codes += overlapping(n, [draw(st.integers(3, 20))], rng)
        elif kind == "nested":
            codes.append(codes[0] // draw(st.integers(2, 4)))
        else:
            codes.append(rng.integers(0, draw(st.integers(2, 6)), n))
    widths = [draw(st.integers(1, 3)) if len(codes) < 5 else 1 for _ in codes]
    return case(codes, widths, draw(st.integers(0, 3)), rng)


def close(ours: Any, theirs: Any, bound: float = 1e-9) -> None:
    assert np.max(np.abs(ours - theirs), initial=0.0) <= bound * max(1.0, float(np.max(np.abs(theirs), initial=0.0)))


def compare_panels(made: Case, values: Any, dense: Any) -> None:
    """The lower part of every panel with the same rows and columns of a dense matrix over trunk and border."""
    sn = made.model.supernodes
    border = np.arange(len(dense) - made.model.arrays.border, len(dense))
    scale = max(1.0, float(np.abs(dense).max()))
    for s in range(len(sn.parent)):
        own = np.arange(sn.first[s], sn.first[s + 1])
        rows = np.concatenate([own, sn.row[sn.row_ptr[s] : sn.row_ptr[s + 1]], border])
        panel = values[sn.ptr[s] : sn.ptr[s + 1]].reshape(len(rows), len(own))
        below = rows[:, None] >= own
        assert np.max(np.abs(panel - dense[np.ix_(rows, own)])[below]) <= 1e-9 * scale


@SETTINGS
@given(made=cases(), reml=st.booleans())
def test_criterion_is_the_oracles(made: Case, reml: bool) -> None:
    if made.model.plan.trunk == "none":
        return
    done = factor(made.model, made.lam)
    assert done is not None
    p = made.problem.X.shape[1]
    dof = float(made.problem.n - p if reml else made.problem.n)
    value = criterion(made.model, done, reml, dof)
    assert value == pytest.approx(oracle.deviance(made.problem, made.theta, reml), rel=1e-9, abs=1e-8)


@SETTINGS
@given(made=cases())
def test_every_step_is_the_dense_one(made: Case) -> None:
    if made.model.plan.trunk == "none":
        return
    check_steps(made)


def check_steps(made: Case) -> None:
    """Factor, solves and selected inverse against NumPy on the whole matrix."""
    a, sn = made.model.arrays, made.model.supernodes
    m = made.model.scaled(made.lam)
    lower = np.linalg.cholesky(m)
    start, end = a.trunk_start, len(m) - a.border
    done = factor(made.model, made.lam)
    assert done is not None
    compare_panels(made, done.values, lower[start:, start:])
    close(np.tril(done.edge), lower[end:, end:])
    assert done.logdet == pytest.approx(2.0 * float(np.log(np.diag(lower)[:end]).sum()), rel=1e-10, abs=1e-9)
    w = np.append(np.linalg.solve(m[:-1, :-1], -m[:-1, -1]), 1.0)
    close(solution(made.model, done), w[start:])
    right = np.random.default_rng(1).normal(size=(a.trunk_size + a.border - 1, 3))
    flat = right.ravel().copy()
    with single_threaded_blas():
        supernodal.half_solve(sn, a.border, done.values, done.edge, flat, 3, done.work)
    close(flat.reshape(-1, 3), np.linalg.solve(lower[start:-1, start:-1], right))
    factored = done.values.copy()
    for reml, c in ((True, 0.7), (False, 0.7), (False, 0.0)):
        done.values[:] = factored
        edge = invert(made.model, done, reml, c)
        inverse = c * np.outer(w, w)
        last = -1 if reml else end
        inverse[:last, :last] += np.linalg.inv(m[:last, :last])
        compare_panels(made, done.values, inverse[start:, start:])
        close(edge, inverse[end:, end:])
    check_reading(made, done, inverse)


def check_reading(made: Case, done: Factor, inverse: Any) -> None:
    """What is read from the panels of S: products for chain blocks, diagonal blocks of the trunk."""
    gather = from_python(gather_supernodes)
    a, sn, model = made.model.arrays, made.model.supernodes, made.model
    rng = np.random.default_rng(2)
    for b in range(a.n_sparse):
        later = model.later(b)
        u = rng.normal(size=(model.width(b), len(later)))
        q = np.zeros(u.size)
        gather(a, SparseTrunk(sn, done.values), b, u.ravel().copy(), q, done.work.rows)
        trunk_part = later >= a.trunk_start
        expected = np.zeros_like(u)
        met = inverse[np.ix_(later[trunk_part], later[trunk_part])]
        met[-a.border :, -a.border :] = 0.0
        expected[:, trunk_part] = -u[:, trunk_part] @ met
        close(q.reshape(u.shape), expected)
    diagonal = np.full(model.plan.diag_size, np.nan)
    supernodal_inverse.trunk_gradient(a, sn, model.cross, made.lam, done.values, done.work.place, diagonal, np.zeros(1),
                                      np.zeros(4 * int(a.width.max()) ** 2), np.zeros(0), None, 0, len(sn.parent))
    for b in range(a.n_sparse, len(a.block_factor)):
        own, w, at = model.own(b), model.width(b), int(a.diag_ptr[b])
        close(diagonal[at : at + w * w].reshape(w, w), inverse[np.ix_(own, own)])


@pytest.fixture(scope="module")
def large() -> Case:
    """A trunk with panels of a whole tile, several strips of rows, and more rows than a piece."""
    rng = np.random.default_rng(7)
    n = 4000
    codes = [np.arange(n) % 1000, rng.permutation(n) % 950, *overlapping(n, [60, 45], rng)]
    return case(codes, [1, 1, 1, 2], 2, rng)


def test_wide_supernodes(large: Case) -> None:
    sn = large.model.supernodes
    assert np.diff(sn.first).max() > supernodal.TILE // 2
    assert np.diff(sn.row_ptr).max() > supernodal.PIECE
    check_steps(large)


def test_strips_cover_all_rows_in_whole_supernodes(large: Case) -> None:
    sn = large.model.supernodes
    for border in (1, 3, 300):
        for s in range(len(sn.parent)):
            total, low = int(sn.row_ptr[s + 1] - sn.row_ptr[s]) + border, 0
            while low < total:
                high = supernodal_inverse.next_strip(sn, border, s, low)
                assert low < high <= total
                assert high - low <= max(supernodal.TILE, border)
                if high < total - border:
                    ends = sn.row[sn.row_ptr[s] + high - 1 : sn.row_ptr[s] + high + 1]
                    assert sn.of_column[ends[0]] != sn.of_column[ends[1]]
                low = high


def threaded(model: Sparse, lam: Any, order: np.random.Generator) -> tuple[Any, Any]:
    """Factor and selected inverse with subtrees, pieces and strips in a pool, submitted in random order."""
    a, sn = model.arrays, model.supernodes
    start = factor(model, lam)
    assert start is not None
    values, border = np.empty(len(start.values)), a.border
    size = int(a.width.max()) ** 2
    ranges = [(int(b), int(e)) for b, e in zip(sn.task_first, sn.task_last, strict=True)]
    every = ranges + [(int(s), int(s) + 1) for s in sn.top]
    edge = invert(model, factor(model, lam) or start, True, 0.4)

    def work() -> Any:
        return supernodal.supernode_work(sn, border)

    def each(pool: ThreadPoolExecutor, tasks: list[Any], run: Any) -> None:
        shuffled = [tasks[i] for i in order.permutation(len(tasks))]
        list(pool.map(lambda task: run(*task), shuffled))

    def load(begin: int, end: int) -> None:
        own = work()
        supernodal.load_supernodes(a, sn, model.cross, lam, values, own.place, np.zeros(size), np.zeros(size), begin, end)
        supernodal.receive_supernodes(a, sn, start.lower_panel, values, own, begin, end)

    def update(s: int, low: int, high: int) -> None:
        own = work()
        supernodal.place_rows(sn, border, s, own.place)
        supernodal.update_rows(sn, border, values, own, s, low, high)

    with single_threaded_blas(), ThreadPoolExecutor(4) as pool:
        each(pool, every, load)
        each(pool, ranges, lambda b, e: supernodal.factor_supernodes(sn, border, values, work(), b, e))
        for s in sn.top.tolist():
            n = int(sn.first[s + 1] - sn.first[s])
            height = int(n + sn.row_ptr[s + 1] - sn.row_ptr[s] + border)
            pieces = [(low, min(low + supernodal.PIECE, height)) for low in range(0, height, supernodal.PIECE)]
            each(pool, [(s, *piece) for piece in pieces], update)
            assert supernodal.factor_diagonal(sn, values, s)
            each(pool, [(max(low, n), high) for low, high in pieces],
                 lambda low, high, s=s: supernodal.solve_panel(sn, values, s, low, high))
        factored = values.copy()
        shared = work()
        for s in sn.top[::-1].tolist():
            supernodal_inverse.start_inverse(sn, border, values, shared.copy, s)
            total, low, strips = int(sn.row_ptr[s + 1] - sn.row_ptr[s]) + border, 0, []
            while low < total:
                strips.append((low, supernodal_inverse.next_strip(sn, border, s, low)))
                low = strips[-1][1]
            each(pool, strips, lambda low, high, s=s: supernodal_inverse.inverse_rows(
                sn, border, values, edge, shared.copy, work(), s, low, high))
            supernodal_inverse.finish_inverse(sn, border, values, shared.copy, s)
        each(pool, ranges, lambda b, e: supernodal_inverse.invert_supernodes(sn, border, values, edge, work(), b, e))
    return factored, values


@pytest.mark.parametrize("name", ["large", "windows"])
def test_threads_do_not_change_a_bit(name: str, large: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trunk, "_WORTH_THREADS", 0.0)
    monkeypatch.setattr(trunk, "_PARTS", 4)
    rng = np.random.default_rng(9)
    made = large if name == "large" else case(overlapping(900, [150, 140, 130], rng), [1, 2, 1], 2, rng)
    assert name == "large" or len(made.model.supernodes.task_first) > 1
    assert len(made.model.supernodes.top) > 0
    done = factor(made.model, made.lam)
    assert done is not None
    factored = done.values.copy()
    invert(made.model, done, True, 0.4)
    for seed in (1,) if name == "large" else (1, 2, 3):
        ours = threaded(made.model, made.lam, np.random.default_rng(seed))
        lower = ~np.isnan(factored)
        np.testing.assert_array_equal(ours[0][lower], factored[lower])
        np.testing.assert_array_equal(ours[1], done.values)


def test_a_pivot_that_is_not_positive_is_noticed(large: Case) -> None:
    for made in (large, case(overlapping(200, [40, 30, 20], np.random.default_rng(3)), [1, 1, 1], 1, np.random.default_rng(3))):
        spoiled = made.model.cross.diag.copy()
        last = int(made.model.arrays.diag_ptr[-1])
        for value in (-1e9, np.nan):
            made.model.cross.diag[last] = value
            assert factor(made.model, np.where(made.lam == 0.0, 0.0, 1.0)) is None
        made.model.cross.diag[:] = spoiled


@pytest.mark.parametrize("n", [1, 3, 16, 17, 70])
@pytest.mark.parametrize("m", [0, 1, 5, 40])
def test_flat_operations(n: int, m: int) -> None:
    """Cholesky, inverse and solves inside larger arrays, of which nothing else may be touched."""
    rng = np.random.default_rng(11)
    root = rng.normal(size=(n, n + 2))
    a = root @ root.T + np.eye(n)
    lower = np.linalg.cholesky(a)
    low_part = np.tri(n, dtype=bool)

    def embedded(block: Any, offset: int, extra: int) -> Any:
        out = np.full((len(block), block.shape[1] + extra), np.nan)
        out[:, : block.shape[1]] = block
        return np.concatenate([np.full(offset, np.nan), out.ravel(), [np.nan]])

    def leading(flat: Any, shape: tuple[int, int], offset: int, extra: int) -> Any:
        inside = flat[offset : offset + shape[0] * (shape[1] + extra)].reshape(shape[0], shape[1] + extra)
        assert np.isnan(inside[:, shape[1] :]).all()
        assert np.isnan(flat[:offset]).all()
        assert np.isnan(flat[-1])
        return inside[:, : shape[1]]

    with single_threaded_blas():
        flat = embedded(np.where(low_part, a, np.nan), 5, 2)
        assert _panels.cholesky_at(flat, 5, n + 2, n) == 0
        close(leading(flat, (n, n), 5, 2)[low_part], lower[low_part])
        factored = flat.copy()
        assert _panels.inverse_at(flat, 5, n + 2, n) == 0
        close(leading(flat, (n, n), 5, 2)[low_part], np.linalg.inv(a)[low_part])
        b = rng.normal(size=(m, n))
        for transposed, operator in ((False, lower), (True, lower.T)):
            rows = embedded(b, 3, 1)
            _panels.solve_rows_at(factored, 5, n + 2, n, rows, 3, n + 1, m, transposed)
            close(leading(rows, (m, n), 3, 1) @ operator, b)
        columns = embedded(b.T, 3, 1)
        _panels.solve_columns_at(factored, 5, n + 2, n, columns, 3, m + 1, m)
        close(lower @ leading(columns, (n, m), 3, 1), b.T)


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 4, 5), (30, 20, 10), (7, 2, 0)])
@pytest.mark.parametrize("left", [False, True])
@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("beta", [0.0, 1.0, -0.5])
def test_flat_products(shape: tuple[int, int, int], left: bool, right: bool, beta: float) -> None:
    m, n, k = shape
    rng = np.random.default_rng(12)
    a, b, c = rng.normal(size=(m, k)), rng.normal(size=(k, n)), rng.normal(size=(m, n))
    given_a, given_b = (a.T if left else a), (b.T if right else b)
    start = np.full_like(c, np.nan) if beta == 0.0 else c
    out = np.concatenate([[np.nan, np.nan], start.ravel()])
    with single_threaded_blas():
        _panels.multiply_at(left, right, m, n, k, 2.0, np.append(0.0, given_a.ravel()), 1, max(1, given_a.shape[1]),
                            np.append(0.0, given_b.ravel()), 1, max(1, given_b.shape[1]), beta, out, 2, n)
    close(out[2:].reshape(m, n), 2.0 * a @ b + (beta * c if beta != 0.0 else 0.0))


def test_a_minor_that_is_not_positive_is_named() -> None:
    for n in (4, 40):
        for value in (-1.0, 0.0, np.nan):
            a = np.eye(n)
            a[2, 2] = value
            assert _panels.cholesky_at(a.ravel(), 0, n, n) == 3
