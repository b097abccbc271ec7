"""Approximate minimum degree ordering of weighted blocks, on a graph that may be given as cliques.

What an already eliminated block connects enters as an element of the quotient graph, and is never written out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels._cache import allocating_kernel
from mixeff_fast.kernels.quotient import (
    Quotient,
    eliminate,
    exact_degree,
    fill,
    finish_element,
    link,
    start_degrees,
    unlink,
    with_room,
)

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Int32, Int64

# What is left is taken as one dense block once its smallest degree is this share of it.
_DENSE_TAIL = 0.5


def quotient_graph(width: Int64, n_adjacent: int, n_cliques: int, n_clique_members: int) -> Quotient:
    """Scratch for ``minimum_degree`` on a graph of this size."""
    n, items = len(width), n_adjacent + n_clique_members

    def wide(size: int) -> Int64:
        return np.zeros(size, np.int64)

    def narrow(size: int) -> Int32:
        return np.zeros(size, np.int32)

    return Quotient(
        weight=wide(n), start=wide(n), length=wide(n), n_elements=wide(n), items=narrow(items), owner=narrow(n),
        degree=wide(n), head=narrow(int(width.sum()) + 1), after=narrow(n), before=narrow(n), bucket=narrow(n),
        follower=narrow(n), key=wide(n), element_start=wide(n_cliques + n), element_length=wide(n_cliques + n),
        element_weight=wide(n_cliques + n), stamp=wide(n_cliques + n), seen=wide(n_cliques + 2 * n),
    )


@allocating_kernel
def distinct_lists(ptr: Int64, items: Int32, kept: Int32) -> int:
    """Write the positions of the first of all equal lists of two items or more into ``kept``; returns how many."""
    n = ptr.shape[0] - 1
    size = 1
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int32)
    n_kept = 0
    for a in range(n):
        length = ptr[a + 1] - ptr[a]
        if length < 2:
            continue
        value = length
        for t in range(ptr[a], ptr[a + 1]):
            value = (value * 1_000_003 + items[t]) & 0xFFFF_FFFF
        slot = (value ^ (value >> 15)) & (size - 1)
        found = False
        while table[slot] >= 0 and not found:
            b = table[slot]
            found = ptr[b + 1] - ptr[b] == length
            t = 0
            while found and t < length:
                found = items[ptr[a] + t] == items[ptr[b] + t]
                t += 1
            slot = (slot + 1) & (size - 1)
        if not found:
            table[slot] = a
            kept[n_kept] = a
            n_kept += 1
    return n_kept


@allocating_kernel
def _next_pivot(q: Quotient, members: Int32, rest: int, lowest: int, tick: int) -> tuple[int, int, int]:
    """A variable of least degree, taken off its list, or -1 where the rest is dense; its degree, and the last tick.

    No degree is below ``lowest``; ``rest`` scalar columns remain.
    """
    while True:
        while q.head[lowest] < 0:
            lowest += 1
        k = q.head[lowest]
        exact = q.degree[k]
        if exact + q.weight[k] >= _DENSE_TAIL * rest:
            tick += 1
            exact = exact_degree(q, members, k, tick)
            if exact + q.weight[k] >= _DENSE_TAIL * rest:
                return -1, lowest, tick
        unlink(q, k)
        if exact == q.degree[k]:
            return k, lowest, tick
        link(q, k, exact)
        lowest = min(lowest, exact)


@allocating_kernel
def _name_groups(q: Quotient, group: Int32, tail: int) -> None:
    """Give merged variables the group of the one they were merged into; what was never a pivot belongs to the tail."""
    for i in range(group.shape[0]):
        root = i
        while q.owner[root] != root:
            root = q.owner[root]
        g = group[root] if group[root] >= 0 else tail
        j = i
        while q.owner[j] != root and j != root:
            following = q.owner[j]
            q.owner[j] = root
            j = following
        group[i] = g


@allocating_kernel
def minimum_degree(
    q: Quotient, width: Int64, adjacency_ptr: Int64, adjacency: Int32, clique_ptr: Int64, clique: Int32, border: int,
    budget: float, group: Int32
) -> int:
    """Fill ``group``, the rank of the pivot each variable is eliminated with; returns how many there are.

    Parameters
    ----------
    q
        Scratch, as ``quotient_graph`` makes it.
    width
        Scalar columns of each variable.
    adjacency_ptr, adjacency
        CSR of the variables connected to each variable: symmetric, without the diagonal.
    clique_ptr, clique
        CSR of sets of variables that are all connected to each other.
    border
        Rows below every pivot.
    budget
        Give up, returning -1, as soon as the multiplications, the sum of columns times rows squared, pass it.
    """
    n = width.shape[0]
    n_cliques = clique_ptr.shape[0] - 1
    fill(q, width, adjacency_ptr, adjacency, clique_ptr, clique, n_cliques)
    rest = 0
    for i in range(n):
        rest += width[i]
        group[i] = -1
    members = np.empty(2 * clique.shape[0] + 4 * n + 64, np.int32)
    for t in range(clique.shape[0]):
        members[t] = clique[t]
    used = clique.shape[0]
    stride = rest + 1
    mark = 2
    tick = start_degrees(q, members, rest, n_cliques)
    pivots = np.empty(n, np.int32)
    n_groups = 0
    lowest = 0
    cost = 0.0
    while rest > 0:
        k, lowest, tick = _next_pivot(q, members, rest, lowest, tick)
        if k < 0:
            break
        members, used = with_room(q, members, used, k, n_cliques, pivots, n_groups)
        new = n_cliques + k
        total, columns, tick = eliminate(q, members, used, k, new, mark, tick)
        mark += stride
        rest -= columns
        begin = used
        used = finish_element(q, members, begin, begin + q.element_length[new], total, rest)
        q.element_length[new] = used - begin
        q.stamp[new] = 1 if used > begin else 0
        for t in range(begin, used):
            lowest = min(lowest, q.degree[members[t]])
        group[k] = n_groups
        pivots[n_groups] = k
        n_groups += 1
        cost += columns * (float(total) + border) ** 2
        if cost > budget:
            return -1
    _name_groups(q, group, n_groups)
    return n_groups + (1 if rest > 0 else 0)
