"""Order and symbolic factorization of a sparse trunk, and what a trunk is expected to cost.

Every row has a level of the chain's last factor, so two levels of the trunk meet only where both meet one of its levels: the
sets of trunk levels that each of these meets are cliques that hold the whole graph, before and after the chain is eliminated.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.pairs import levels_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile.pairs import Pairs
    from mixeff_fast.kernels.structure import Supernodes

    Int32 = NDArray[np.int32]
    Int64 = NDArray[np.int64]

# Seconds for one operation of a dense factorization and inversion by LAPACK; and what it takes longer to find in supernodes
# than in a square: each edge between chain and trunk, and each two edges of one level. Only their ratios to the constants of
# ``kernels.symbolic`` matter.
_DENSE = 2.3e-11
_EDGE = 4.0e-8
_EDGE_PAIR = 5.0e-9
# Work done at the same time on several threads is cut into so many parts, if it takes long enough.
_PARTS = 16
_WORTH_THREADS = 2.0e-3
# A trunk this small is dense.
SMALL_TRUNK = 300
# Seconds that ordering takes for each two levels that meet, and the share of a dense evaluation it may take.
_ORDERED = 3.0e-7
_WORTH_ORDERING = 0.4
_SAMPLES = 8
_SAMPLED_EDGES = 1_000_000


@dataclass(frozen=True, slots=True)
class Graph:
    """Cliques (CSR) over the trunk's blocks, numbered factor by factor; ``factors`` are positions, ``first`` their first."""

    factors: tuple[int, ...]
    first: tuple[int, ...]
    width: Int64
    ptr: Int64
    items: Int32


@dataclass(frozen=True, slots=True)
class Symbolic:
    """An ordered trunk: ``order`` lists the graph's blocks in elimination order. ``supernodes`` has no chain blocks yet."""

    graph: Graph
    order: Int32
    supernodes: Supernodes
    seconds: float
    flops: float
    inverse_flops: float


def clique_graph(
    pairs: Pairs, n_levels: Sequence[int], width: Sequence[int], last: int, factors: Sequence[int]
) -> Graph:
    """The graph of a trunk of ``factors`` behind a chain that ends with factor ``last``."""
    first: list[int] = []
    total = 0
    for k in factors:
        first.append(total)
        total += n_levels[k]
    keys = []
    for k, start in zip(factors, first, strict=True):
        own, other = levels_of(pairs, n_levels, last, k)
        own *= total
        own += other
        own += start
        keys.append(own)
    merged = np.concatenate(keys)
    merged.sort()
    level = merged // total
    ptr = np.zeros(n_levels[last] + 1, np.int64)
    np.cumsum(np.bincount(level, minlength=n_levels[last]), out=ptr[1:])
    merged -= level * total
    widths = np.repeat(np.asarray([width[k] for k in factors], np.int64), [n_levels[k] for k in factors])
    return Graph(tuple(factors), tuple(first), widths, ptr, merged.astype(np.int32))


def is_worth_ordering(graph: Graph, border: int) -> bool:
    """Whether finding an order takes little time beside a dense evaluation, judged by how many levels a sample meets.

    True when looking would take long itself.
    """
    if len(graph.items) > _SAMPLED_EDGES:
        return True
    n = len(graph.width)
    owner = np.repeat(np.arange(len(graph.ptr) - 1), np.diff(graph.ptr))
    met = 0
    for sample in range(_SAMPLES):
        mine = np.zeros(len(graph.ptr) - 1, np.bool_)
        mine[owner[graph.items == (2 * sample + 1) * n // (2 * _SAMPLES)]] = True
        near = np.zeros(n, np.bool_)
        near[graph.items[mine[owner]]] = True
        met += int(np.count_nonzero(near))
    columns = int(graph.width.sum())
    return _ORDERED * met * n / _SAMPLES <= _WORTH_ORDERING * dense_seconds(columns, border)


def dense_flops(columns: int, border: int) -> tuple[float, float]:
    """Operations of a dense factorization, and of its inversion."""
    return (columns + border) ** 3 / 3.0, 2.0 * columns**3 / 3.0


def dense_seconds(columns: int, border: int) -> float:
    """Expected time of both, in the units of ``Symbolic.seconds``."""
    return _DENSE * sum(dense_flops(columns, border))


def symbolic(graph: Graph, border: int, limit: float) -> Symbolic | None:
    """Order a trunk and find its supernodes; None as soon as it is sure to take ``limit`` seconds or more."""
    from mixeff_fast.kernels import ordering
    from mixeff_fast.kernels import symbolic as kernels

    finding = _EDGE * len(graph.items) + _EDGE_PAIR * float(np.sum(np.diff(graph.ptr).astype(np.float64) ** 2))
    if finding >= limit:
        return None
    n = len(graph.width)
    kept = np.empty(len(graph.ptr) - 1, np.int32)
    kept = kept[: ordering.distinct_lists(graph.ptr, graph.items, kept)]
    sizes = np.diff(graph.ptr)[kept]
    clique_ptr = np.concatenate(([0], np.cumsum(sizes)))
    spread = np.repeat(graph.ptr[kept] - clique_ptr[:-1], sizes) + np.arange(clique_ptr[-1])
    clique = graph.items[spread]
    none_ptr, none = np.zeros(n + 1, np.int64), np.zeros(0, np.int32)
    group = np.empty(n, np.int32)
    scratch = ordering.quotient_graph(graph.width, 0, len(sizes), len(clique))
    budget = (limit - finding) / (3.0 * kernels.OPERATION)
    n_groups = ordering.minimum_degree(
        scratch, graph.width, none_ptr, none, clique_ptr, clique, border, budget, group
    )
    if n_groups < 0:
        return None
    ptr = np.empty(n_groups + 1, np.int64)
    parent = np.empty(n_groups, np.int32)
    blocks = kernels.group_structures(group, n_groups, none_ptr, none, clique_ptr, clique, ptr, parent)
    return _supernodes(graph, border, limit, finding, group, parent, ptr, blocks)


def _supernodes(
    graph: Graph, border: int, limit: float, finding: float, group: Int32, parent: Int32, ptr: Int64, blocks: Int32
) -> Symbolic | None:
    """Supernodes of ordered groups with the blocks below each (CSR)."""
    from mixeff_fast.kernels import symbolic as kernels

    n, n_groups = len(graph.width), len(parent)
    columns = np.bincount(group, weights=graph.width, minlength=n_groups).astype(np.int64)
    before = np.concatenate(([0], np.cumsum(graph.width[blocks])))
    below = before[ptr[1:]] - before[ptr[:-1]] + border
    root, rank = np.empty(n_groups, np.int32), np.empty(n_groups, np.int32)
    kernels.amalgamate(columns, below, parent, root)
    n_super = kernels.postorder(root, parent, rank)
    of_block = rank[root[group]]
    order = np.lexsort((np.arange(n), group, of_block)).astype(np.int32)
    place = np.empty(n, np.int32)
    place[order] = np.arange(n, dtype=np.int32)
    super_ptr = np.empty(n_super + 1, np.int64)
    super_row = kernels.sorted_structures(rank, n_super, ptr, blocks, place, super_ptr)
    super_last = np.cumsum(np.bincount(of_block, minlength=n_super))
    column = np.concatenate(([0], np.cumsum(graph.width[order])))
    panel_last = _panels(column, super_last)
    panel_super = np.searchsorted(super_last, panel_last, side="left").astype(np.int32)
    row_ptr = np.empty(len(panel_last) + 1, np.int64)
    row = kernels.panel_rows(panel_super, panel_last, super_last, super_ptr, super_row, column, row_ptr)
    first_block = np.concatenate(([0], panel_last))
    supernodes = _assemble(column[first_block], first_block, row_ptr, row, border)
    cols = np.diff(supernodes.first).astype(np.float64)
    rows = np.diff(row_ptr) + float(border)
    seconds = np.array([kernels.supernode_seconds(c, r) for c, r in zip(cols.tolist(), rows.tolist(), strict=True)])
    total = float(seconds.sum())
    if total + finding >= limit:
        return None
    flops = float(np.sum(cols**3 / 3.0 + cols * rows * (cols + rows)))
    inverse_flops = float(np.sum(2.0 * cols**3 / 3.0 + cols * rows * (3.0 * cols + 2.0 * rows)))
    return Symbolic(graph, order, _with_tasks(supernodes, seconds, total), total + finding, flops,
                    inverse_flops)


def _panels(column: Int64, super_last: Int64) -> Int64:
    """Last blocks of the panels: supernodes, the wide ones cut into pieces of about equal width, up to a tile."""
    from mixeff_fast.kernels.supernodal import TILE

    first = np.concatenate(([0], super_last[:-1]))
    widths = column[super_last] - column[first]
    if int(widths.max(initial=0)) <= TILE:
        return super_last
    lasts = []
    for begin, end in zip(first.tolist(), super_last.tolist(), strict=True):
        while column[end] - column[begin] > TILE:
            stop = int(np.searchsorted(column, column[begin] + TILE, side="right")) - 1
            begin = max(stop, begin + 1)
            lasts.append(begin)
        if begin < end:
            lasts.append(end)
    return np.asarray(lasts, np.int64)


def panel_offsets(first: Int64, row_ptr: Int64, border: int) -> Int64:
    """Where each supernode's panel begins, and the total."""
    columns = np.diff(first)
    return np.concatenate(([0], np.cumsum(columns * (columns + np.diff(row_ptr) + border))))


def stored_numbers(supernodes: Supernodes, border: int) -> int:
    """Numbers in the panels, the border's block, and the scratch of one thread."""
    from mixeff_fast.kernels.supernodal import TILE

    widest = max(TILE, border, int(np.diff(supernodes.first).max()))
    size = widest * (int(np.diff(supernodes.row_ptr).max()) + border)
    return int(supernodes.ptr[-1]) + border * border + 2 * (len(supernodes.of_column) + border) + 2 * size


def _assemble(first: Int64, first_block: Int64, row_ptr: Int64, row: Int32, border: int) -> Supernodes:
    from mixeff_fast.kernels import symbolic as kernels
    from mixeff_fast.kernels.structure import Supernodes

    n = len(row_ptr) - 1
    of_column = np.repeat(np.arange(n, dtype=np.int32), np.diff(first))
    parent = np.full(n, -1, np.int32)
    has_rows = row_ptr[1:] > row_ptr[:-1]
    parent[has_rows] = of_column[row[row_ptr[:-1][has_rows]]]
    update_ptr = np.empty(n + 1, np.int64)
    update_from, update_row = kernels.update_lists(row_ptr, row, of_column, update_ptr)
    return Supernodes(
        first=first, first_block=first_block, row_ptr=row_ptr, row=row, ptr=panel_offsets(first, row_ptr, border),
        of_column=of_column, parent=parent, update_ptr=update_ptr, update_from=update_from, update_row=update_row,
        touch_ptr=np.zeros(n + 1, np.int64), touch_block=np.zeros(0, np.int32), touch_edge=np.zeros(0, np.int32),
        task_first=np.zeros(0, np.int64), task_last=np.zeros(0, np.int64), top=np.arange(n, dtype=np.int32),
    )


def _with_tasks(supernodes: Supernodes, seconds: NDArray[np.float64], total: float) -> Supernodes:
    from mixeff_fast.kernels import symbolic as kernels

    n = len(seconds)
    first, last = np.empty(n, np.int64), np.empty(n, np.int64)
    limit = total / _PARTS if total > _WORTH_THREADS else 2.0 * total
    count = kernels.subtrees(seconds, supernodes.parent, limit, first, last)
    covered = np.zeros(n + 1, np.int64)
    np.add.at(covered, first[:count], 1)
    np.add.at(covered, last[:count], -1)
    top = np.flatnonzero(np.cumsum(covered)[:n] == 0).astype(np.int32)
    return supernodes._replace(task_first=first[:count].copy(), task_last=last[:count].copy(), top=top)


def with_chain(supernodes: Supernodes, n_sparse: int, neighbour_ptr: Int64, neighbour: Int32) -> Supernodes:
    """The supernodes with the chain blocks that meet them; blocks are numbered in elimination order."""
    from mixeff_fast.kernels import symbolic as kernels

    n = len(supernodes.parent)
    of_block = np.repeat(np.arange(n, dtype=np.int32), np.diff(supernodes.first_block))
    touch_ptr = np.empty(n + 1, np.int64)
    block, edge = kernels.touch_lists(n_sparse, neighbour_ptr, neighbour, of_block, touch_ptr)
    return supernodes._replace(touch_ptr=touch_ptr, touch_block=block, touch_edge=edge)


def with_border(supernodes: Supernodes, border: int) -> Supernodes:
    """The same supernodes for another number of fixed effects."""
    return supernodes._replace(ptr=panel_offsets(supernodes.first, supernodes.row_ptr, border))
