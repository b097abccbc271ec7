"""Minimum degree and the symbolic factorization against explicit elimination on sets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse.csgraph import reverse_cuthill_mckee
from scipy.sparse.linalg import splu

from mixeff_fast.compile import trunk
from mixeff_fast.kernels import ordering, symbolic

NONE = (np.zeros(1, np.int64), np.zeros(0, np.int32))


def csr(lists: list[list[int]]) -> tuple[Any, Any]:
    """CSR of some lists."""
    ptr = np.concatenate(([0], np.cumsum([len(own) for own in lists]))).astype(np.int64)
    return ptr, np.asarray([i for own in lists for i in own], np.int32)


def order(
    n: int, adjacency: tuple[Any, Any] | None = None, cliques: tuple[Any, Any] = NONE, width: Any = None, border: int = 0,
    budget: float = np.inf,
) -> tuple[Any, int]:
    """The group of each variable, and how many there are."""
    widths = np.ones(n, np.int64) if width is None else width
    ptr, items = (np.zeros(n + 1, np.int64), NONE[1]) if adjacency is None else adjacency
    scratch = ordering.quotient_graph(widths, len(items), len(cliques[0]) - 1, len(cliques[1]))
    group = np.empty(n, np.int32)
    return group, ordering.minimum_degree(scratch, widths, ptr, items, *cliques, border, budget, group)


def adjacency_of(n: int, cliques: list[list[int]]) -> list[set[int]]:
    """Who is connected to whom."""
    near: list[set[int]] = [set() for _ in range(n)]
    for own in cliques:
        for i in own:
            near[i] |= set(own)
    for i in range(n):
        near[i].discard(i)
    return near


def eliminate(near: list[set[int]], order: Any) -> list[set[int]]:
    """What is below each variable in the factor, by the definition of fill."""
    near = [set(own) for own in near]
    below: list[set[int]] = [set() for _ in near]
    for i in order.tolist():
        below[i] = near[i]
        for j in near[i]:
            near[j] |= near[i]
            near[j] -= {i, j}
    return below


def matrix_lists(matrix: Any) -> tuple[Any, Any]:
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32)


def grid(k: int) -> Any:
    step = sp.diags_array([1.0, 1.0], offsets=[-1, 1], shape=(k, k))
    return sp.csr_array(sp.kron(sp.eye_array(k), step) + sp.kron(step, sp.eye_array(k)))


def random_graph(n: int, degree: float) -> Any:
    rng = np.random.default_rng(3)
    a, b = rng.integers(0, n, (2, int(n * degree / 2)))
    keep = a != b
    half = sp.coo_array((np.ones(keep.sum()), (a[keep], b[keep])), shape=(n, n))
    return sp.csr_array(((half + half.T) > 0).astype(float))


def band(n: int, k: int) -> Any:
    offsets = [i for i in range(-k, k + 1) if i]
    matrix = sp.csr_array(sp.diags_array([1.0] * len(offsets), offsets=offsets, shape=(n, n)))
    shuffled = np.random.default_rng(4).permutation(n)
    return sp.csr_array(matrix[shuffled][:, shuffled])


def fill(matrix: Any, permutation: Any) -> int:
    near = [set(matrix.indices[a:b].tolist()) for a, b in zip(matrix.indptr[:-1], matrix.indptr[1:], strict=True)]
    return sum(len(own) for own in eliminate(near, np.asarray(permutation)))


@pytest.mark.parametrize("matrix", [grid(24), random_graph(400, 2.5), band(500, 5)], ids=["grid", "random", "band"])
def test_fill_is_near_that_of_the_best_of_other_orders(matrix: Any) -> None:
    n = matrix.shape[0]
    group, _ = order(n, matrix_lists(matrix))
    ours = fill(matrix, np.lexsort((np.arange(n), group)))
    positive = sp.csc_array(matrix + 50.0 * sp.eye_array(n))
    factor = splu(positive, permc_spec="MMD_AT_PLUS_A", diag_pivot_thresh=0.0, options={"SymmetricMode": True})
    others = [np.arange(n), reverse_cuthill_mckee(sp.csr_matrix(matrix), True), np.argsort(factor.perm_c)]
    assert ours <= 1.15 * min(fill(matrix, other) for other in others)


def test_a_tree_has_next_to_no_fill() -> None:
    rng = np.random.default_rng(5)
    edges = [[i, int(rng.integers(0, i))] for i in range(1, 300)]
    near = adjacency_of(300, edges)
    for graph in ({"adjacency": csr([sorted(own) for own in near])}, {"cliques": csr(edges)}):
        group, _ = order(300, **graph)
        below = eliminate(near, np.lexsort((np.arange(300), group)))
        # a handful of vertices is left when their degrees are half of what is left, and counts as dense
        assert sum(len(own) for own in below) <= 299 + 6


def test_a_complete_graph_is_one_group_and_a_budget_is_kept() -> None:
    group, count = order(50, cliques=csr([list(range(50))]))
    assert (count, set(group.tolist())) == (1, {0})
    path = csr([[i, i + 1] for i in range(49)])
    assert order(50, cliques=path, budget=10.0)[1] == -1
    assert order(50, cliques=path, budget=1e6)[1] > 1
    assert order(50, cliques=path, border=30, budget=1e3)[1] == -1


def test_weights_come_into_the_degrees() -> None:
    """A star whose hub is thin and whose arms are wide: eliminating the hub early would join the arms."""
    star = csr([[0, i] for i in range(1, 9)])
    group, _ = order(9, cliques=star, width=np.array([1, *[5] * 8], np.int64))
    assert group[0] == group.max()
    # three arms, of which two outweigh the hub: the hub has the least to connect to once two arms are gone
    heavy = order(4, cliques=csr([[0, 1], [0, 2], [0, 3], [1, 2]]), width=np.array([9, 1, 1, 1], np.int64))[0]
    light = order(4, cliques=csr([[0, 1], [0, 2], [0, 3], [1, 2]]), width=np.array([1, 9, 9, 1], np.int64))[0]
    assert heavy[3] != 0 or light[3] == 0


def test_equal_lists_are_kept_once() -> None:
    ptr, items = csr([[1, 2], [3], [1, 2, 3], [1, 2], [], [2, 3], [1, 2, 3]])
    kept = np.empty(7, np.int32)
    assert kept[: ordering.distinct_lists(ptr, items, kept)].tolist() == [0, 2, 5]


@dataclass(frozen=True, slots=True)
class Drawn:
    n: int
    cliques: list[list[int]]
    width: Any
    border: int


@st.composite
def graphs(draw: st.DrawFn) -> Drawn:
    """Random cliques, most of them local: some graphs fall apart, some are nearly complete."""
    n = draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    reach = draw(st.integers(1, n))
    cliques = []
    for _ in range(draw(st.integers(0, 80))):
        size = int(rng.integers(1, draw(st.sampled_from([3, 5, 9])) + 1))
        middle = int(rng.integers(0, n))
        near = np.arange(max(0, middle - reach), min(n, middle + reach + 1))
        cliques.append(sorted(rng.choice(near, min(size, len(near)), replace=False).tolist()))
    widths = rng.integers(1, draw(st.sampled_from([2, 4])), n)
    return Drawn(n, cliques, widths.astype(np.int64), draw(st.integers(1, 4)))


@settings(max_examples=150, deadline=None)
@given(graph=graphs())
def test_structures_are_those_of_explicit_elimination(graph: Drawn) -> None:
    near = adjacency_of(graph.n, graph.cliques)
    lists, cliques = csr([sorted(own) for own in near]), csr(graph.cliques)
    for given_as in ({"adjacency": lists}, {"cliques": cliques}, {"adjacency": lists, "cliques": cliques}):
        group, count = order(graph.n, width=graph.width, **given_as)
        assert sorted(set(group.tolist())) == list(range(count))
        assert group.tolist() == order(graph.n, width=graph.width, **given_as)[0].tolist()
        below = eliminate(near, np.lexsort((np.arange(graph.n), group)))
        ptr, parent = np.empty(count + 1, np.int64), np.empty(count, np.int32)
        rows = symbolic.group_structures(group, count, *lists, *cliques, ptr, parent)
        for g in range(count):
            members = set(np.flatnonzero(group == g).tolist())
            ours = set(rows[ptr[g] : ptr[g + 1]].tolist())
            theirs = set().union(*(below[i] for i in members)) - members
            assert ours == theirs
            assert parent[g] == min((int(group[i]) for i in ours), default=-1)
            # no row without need, but in the rest that is taken as dense
            if g < count - 1:
                assert any(below[i] - members == ours for i in members)


@settings(max_examples=150, deadline=None)
@given(graph=graphs())
def test_supernodes_hold_the_factor(graph: Drawn) -> None:
    near = adjacency_of(graph.n, graph.cliques)
    made = trunk.symbolic(trunk.Graph((0,), (0,), graph.width, *csr(graph.cliques)), graph.border, np.inf)
    assert made is not None
    sn = made.supernodes
    assert sorted(made.order.tolist()) == list(range(graph.n))
    starts = np.concatenate(([0], np.cumsum(graph.width[made.order])))
    assert sn.first[-1] == graph.width.sum()
    assert np.array_equal(sn.first, starts[sn.first_block])
    below = eliminate(near, made.order)
    place = np.argsort(made.order)
    flops = inverse = 0.0
    for s in range(len(sn.parent)):
        rows = sn.row[sn.row_ptr[s] : sn.row_ptr[s + 1]]
        assert np.all(np.diff(rows) > 0)
        assert np.all(rows >= sn.first[s + 1])
        assert sn.parent[s] == (sn.of_column[rows[0]] if len(rows) else -1)
        n, r = int(sn.first[s + 1] - sn.first[s]), len(rows) + graph.border
        assert sn.ptr[s + 1] - sn.ptr[s] == n * (n + r)
        flops += n**3 / 3 + n * n * r + n * r * r
        inverse += 2 * n**3 / 3 + 3 * n * n * r + 2 * n * r * r
        reach = set(rows.tolist()) | set(range(int(sn.first[s]), int(sn.first[s + 1])))
        for b in range(int(sn.first_block[s]), int(sn.first_block[s + 1])):
            for j in below[made.order[b]]:
                assert set(range(int(starts[place[j]]), int(starts[place[j] + 1]))) <= reach
    assert (made.flops, made.inverse_flops) == (pytest.approx(flops), pytest.approx(inverse))


@settings(max_examples=60, deadline=None)
@given(graph=graphs(), limit=st.sampled_from([0.0, 5e-6, 2e-5, 1.0]))
def test_ranges_are_whole_subtrees(graph: Drawn, limit: float) -> None:
    made = trunk.symbolic(trunk.Graph((0,), (0,), graph.width, *csr(graph.cliques)), graph.border, np.inf)
    assert made is not None
    parent = made.supernodes.parent
    n = len(parent)
    seconds = np.full(n, 2e-6)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    count = symbolic.subtrees(seconds, parent, limit, first, last)
    inside = np.full(n, -1)
    for i in range(count):
        assert np.all(inside[first[i] : last[i]] == -1)
        inside[first[i] : last[i]] = i
        assert seconds[first[i] : last[i]].sum() <= limit
    for s in range(n):
        if parent[s] >= 0:
            assert parent[s] > s
            assert inside[parent[s]] in (-1, inside[s])


def test_amalgamation_makes_wide_supernodes_of_a_path_and_tiles_of_a_dense_tail() -> None:
    path = trunk.Graph((0,), (0,), np.ones(400, np.int64), *csr([[i, i + 1] for i in range(399)]))
    made = trunk.symbolic(path, 2, np.inf)
    assert made is not None
    assert len(made.supernodes.parent) < 60
    dense = trunk.Graph((0,), (0,), np.full(300, 2, np.int64), *csr([list(range(300))]))
    made = trunk.symbolic(dense, 2, np.inf)
    assert made is not None
    assert np.diff(made.supernodes.first).tolist() == [256, 256, 88]
    assert trunk.symbolic(dense, 2, 1e-9) is None
