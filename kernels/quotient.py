"""The quotient graph of minimum degree orderings, and the elimination of one variable.

Amestoy, Davis & Duff (1996), SIAM J. Matrix Anal. Appl. 17(4): eliminated variables become *elements*, lists of the
variables they connect, so fill is never written down. Indistinguishable variables are merged, variables without other
neighbours are eliminated with the pivot, elements inside the new one are absorbed. Degrees count scalar columns and bound
the true ones from above. The elements' lists lie in ``members``, one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mixeff_fast.kernels._cache import allocating_kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Int32, Int64

# Work that exact degrees at the start may take.
_EXACT_START = 400_000_000


class Quotient(NamedTuple):
    """The quotient graph. A variable's list in ``items`` has the elements it belongs to first, then variables."""

    weight: Int64  # per variable: scalar columns, negative while in the element being formed, 0 when no longer a variable
    start: Int64
    length: Int64
    n_elements: Int64  # how many of its list are elements
    items: Int32
    owner: Int32  # the variable it was merged into, or itself
    degree: Int64
    head: Int32  # per degree: first variable of the list, or -1
    after: Int32
    before: Int32
    bucket: Int32  # per hash value: first variable, or -1
    follower: Int32
    key: Int64  # hash value of a variable's list
    element_start: Int64
    element_length: Int64
    element_weight: Int64  # scalar columns of its living variables
    stamp: Int64  # per element: 0 when absorbed, else at least 1
    seen: Int64  # elements, then variables


@allocating_kernel
def link(q: Quotient, i: int, degree: int) -> None:
    first = q.head[degree]
    q.degree[i] = degree
    q.after[i] = first
    q.before[i] = -1
    if first >= 0:
        q.before[first] = i
    q.head[degree] = i


@allocating_kernel
def unlink(q: Quotient, i: int) -> None:
    after = q.after[i]
    before = q.before[i]
    if after >= 0:
        q.before[after] = before
    if before >= 0:
        q.after[before] = after
    else:
        q.head[q.degree[i]] = after


@allocating_kernel
def exact_degree(q: Quotient, members: Int32, k: int, tick: int) -> int:
    """Scalar columns that variable k is connected to."""
    offset = q.stamp.shape[0]
    total = 0
    q.seen[offset + k] = tick
    start = q.start[k]
    for p in range(start, start + q.length[k]):
        if p < start + q.n_elements[k]:
            e = q.items[p]
            for t in range(q.element_start[e], q.element_start[e] + q.element_length[e]):
                i = members[t]
                if q.seen[offset + i] != tick:
                    q.seen[offset + i] = tick
                    total += q.weight[i]
        else:
            i = q.items[p]
            if q.seen[offset + i] != tick:
                q.seen[offset + i] = tick
                total += q.weight[i]
    return total


@allocating_kernel
def fill(
    q: Quotient, width: Int64, adjacency_ptr: Int64, adjacency: Int32, clique_ptr: Int64, clique: Int32, n_cliques: int
) -> None:
    """The quotient graph before the first pivot, degrees left out."""
    n = width.shape[0]
    for i in range(n):
        q.weight[i] = width[i]
        q.owner[i] = i
        q.n_elements[i] = 0
        q.bucket[i] = -1
    for e in range(n_cliques):
        q.element_start[e] = clique_ptr[e]
        q.element_length[e] = clique_ptr[e + 1] - clique_ptr[e]
        q.stamp[e] = 1
        total = 0
        for t in range(clique_ptr[e], clique_ptr[e + 1]):
            total += width[clique[t]]
            q.n_elements[clique[t]] += 1
        q.element_weight[e] = total
    at = 0
    for i in range(n):
        q.start[i] = at
        q.length[i] = 0
        at += q.n_elements[i] + adjacency_ptr[i + 1] - adjacency_ptr[i]
    for e in range(n_cliques):
        for t in range(clique_ptr[e], clique_ptr[e + 1]):
            i = clique[t]
            q.items[q.start[i] + q.length[i]] = e
            q.length[i] += 1
    for i in range(n):
        for t in range(adjacency_ptr[i], adjacency_ptr[i + 1]):
            q.items[q.start[i] + q.length[i]] = adjacency[t]
            q.length[i] += 1


@allocating_kernel
def start_degrees(q: Quotient, members: Int32, total: int, n_cliques: int) -> int:
    """Put every variable into the list of its degree, exact if that is cheap; returns the last tick used on ``seen``."""
    n = len(q.weight)
    for d in range(q.head.shape[0]):
        q.head[d] = -1
    work = 0
    for e in range(n_cliques):
        work += q.element_length[e] * q.element_length[e]
    for i in range(n - 1, -1, -1):
        w = q.weight[i]
        if work <= _EXACT_START:
            degree = exact_degree(q, members, i, i + 1)
        else:
            degree = 0
            for p in range(q.start[i], q.start[i] + q.length[i]):
                if p < q.start[i] + q.n_elements[i]:
                    degree += q.element_weight[q.items[p]] - w
                else:
                    degree += q.weight[q.items[p]]
        link(q, i, min(degree, total - w))
    return n


@allocating_kernel
def _take(q: Quotient, members: Int32, end: int, i: int) -> int:
    """Put a living variable into the element being formed; returns its scalar columns."""
    w = q.weight[i]
    if w > 0:
        q.weight[i] = -w
        members[end] = i
        unlink(q, i)
        return int(w)
    return 0


@allocating_kernel
def _form_element(q: Quotient, members: Int32, used: int, k: int) -> tuple[int, int]:
    """Write what pivot k connects behind ``used``, absorbing its elements; returns the end and the scalar columns."""
    end = used
    total = 0
    start = q.start[k]
    for p in range(start, start + q.length[k]):
        if p < start + q.n_elements[k]:
            e = q.items[p]
            for t in range(q.element_start[e], q.element_start[e] + q.element_length[e]):
                w = _take(q, members, end, members[t])
                if w > 0:
                    end += 1
                    total += w
            q.stamp[e] = 0
        else:
            w = _take(q, members, end, q.items[p])
            if w > 0:
                end += 1
                total += w
    return end, total


@allocating_kernel
def _subtract_new(q: Quotient, members: Int32, begin: int, end: int, mark: int) -> None:
    """Leave ``mark + |Le without the new element|`` in the stamp of every element that meets the new one."""
    for t in range(begin, end):
        i = members[t]
        w = -q.weight[i]
        for p in range(q.start[i], q.start[i] + q.n_elements[i]):
            e = q.items[p]
            x = q.stamp[e]
            if x >= mark:
                q.stamp[e] = x - w
            elif x != 0:
                q.stamp[e] = q.element_weight[e] + mark - w


@allocating_kernel
def _update_degrees(q: Quotient, members: Int32, begin: int, end: int, k: int, new: int, mark: int) -> int:
    """Prune the lists of the new element's variables, put the element in, hash them and bound what they connect to outside.

    Returns the scalar columns eliminated together with the pivot, having no neighbour outside the new element.
    """
    n = q.weight.shape[0]
    gone = 0
    for t in range(begin, end):
        i = members[t]
        start = q.start[i]
        keep = start
        outside = 0
        value = 0
        for p in range(start, start + q.n_elements[i]):
            e = q.items[p]
            x = q.stamp[e]
            if x > mark:
                outside += x - mark
                value += e
                q.items[keep] = e
                keep += 1
            else:
                q.stamp[e] = 0
        own = keep
        for p in range(start + q.n_elements[i], start + q.length[i]):
            j = q.items[p]
            if q.weight[j] > 0:
                outside += q.weight[j]
                value += j
                q.items[keep] = j
                keep += 1
        if outside == 0:
            gone -= q.weight[i]
            q.weight[i] = 0
            q.owner[i] = k
            continue
        q.degree[i] = min(q.degree[i], outside)
        # Pivot k, or an element that k absorbed, has left the list: there is room for the new element.
        q.items[keep] = q.items[own]
        q.items[own] = new
        q.n_elements[i] = own + 1 - start
        q.length[i] = keep + 1 - start
        key = value % n
        q.key[i] = key
        q.follower[i] = q.bucket[key]
        q.bucket[key] = i
    return gone


@allocating_kernel
def _is_same_list(q: Quotient, i: int, j: int, tick: int) -> bool:
    """Whether j's list has only what was seen in i's at this tick."""
    if q.length[i] != q.length[j] or q.n_elements[i] != q.n_elements[j]:
        return False
    offset = q.stamp.shape[0]
    first = q.start[j] + q.n_elements[j]
    same = True
    for p in range(q.start[j], q.start[j] + q.length[j]):
        if q.seen[q.items[p] + (offset if p >= first else 0)] != tick:
            same = False
            break
    return same


@allocating_kernel
def _merge_indistinguishable(q: Quotient, members: Int32, begin: int, end: int, tick: int) -> int:
    """Merge variables of the new element that have the same list; returns the last tick used on ``seen``."""
    offset = q.stamp.shape[0]
    for t in range(begin, end):
        if q.weight[members[t]] == 0:
            continue
        key = q.key[members[t]]
        i = q.bucket[key]
        q.bucket[key] = -1
        while i >= 0 and q.follower[i] >= 0:
            tick += 1
            first = q.start[i] + q.n_elements[i]
            for p in range(q.start[i], q.start[i] + q.length[i]):
                q.seen[q.items[p] + (offset if p >= first else 0)] = tick
            last = i
            j = q.follower[i]
            while j >= 0:
                if _is_same_list(q, i, j, tick):
                    q.weight[i] += q.weight[j]
                    q.weight[j] = 0
                    q.owner[j] = i
                    q.follower[last] = q.follower[j]
                else:
                    last = j
                j = q.follower[j]
            i = q.follower[i]
    return tick


@allocating_kernel
def finish_element(q: Quotient, members: Int32, begin: int, end: int, total: int, rest: int) -> int:
    """Return the new element's variables to the lists of their degrees; ``rest`` scalar columns remain. Returns its end."""
    keep = begin
    for t in range(begin, end):
        i = members[t]
        w = -q.weight[i]
        if w > 0:
            q.weight[i] = w
            link(q, i, min(q.degree[i] + total - w, rest - w))
            members[keep] = i
            keep += 1
    return keep


@allocating_kernel
def _compact(q: Quotient, members: Int32, n_cliques: int, pivots: Int32, n_pivots: int) -> int:
    """Close the gaps that absorbed elements and variables left in ``members``; returns its used length."""
    at = 0
    for x in range(n_cliques + n_pivots):
        e = x if x < n_cliques else n_cliques + pivots[x - n_cliques]
        if q.stamp[e] != 0:
            begin = q.element_start[e]
            q.element_start[e] = at
            for t in range(begin, begin + q.element_length[e]):
                if q.weight[members[t]] > 0:
                    members[at] = members[t]
                    at += 1
            q.element_length[e] = at - q.element_start[e]
    return at


@allocating_kernel
def with_room(
    q: Quotient, members: Int32, used: int, k: int, n_cliques: int, pivots: Int32, n_pivots: int
) -> tuple[Int32, int]:
    """``members`` with room for what pivot k connects, and its used length."""
    bound = q.length[k] - q.n_elements[k]
    for p in range(q.start[k], q.start[k] + q.n_elements[k]):
        bound += q.element_length[q.items[p]]
    if used + bound <= members.shape[0]:
        return members, used
    used = _compact(q, members, n_cliques, pivots, n_pivots)
    if 2 * (used + bound) <= members.shape[0]:
        return members, used
    wider = np.empty(2 * (used + bound), np.int32)
    for t in range(used):
        wider[t] = members[t]
    return wider, used


@allocating_kernel
def eliminate(q: Quotient, members: Int32, used: int, k: int, new: int, mark: int, tick: int) -> tuple[int, int, int]:
    """Turn variable k into an element; returns the element's scalar columns, those eliminated, and the last tick."""
    columns = q.weight[k]
    q.weight[k] = 0
    end, total = _form_element(q, members, used, k)
    _subtract_new(q, members, used, end, mark)
    gone = _update_degrees(q, members, used, end, k, new, mark)
    tick = _merge_indistinguishable(q, members, used, end, tick)
    q.element_start[new] = used
    q.element_length[new] = end - used
    q.element_weight[new] = total - gone
    return total - gone, columns + gone, tick
