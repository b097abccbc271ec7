"""Symbolic factorization of an ordered block graph: assembly tree, supernodes, their rows, and who updates whom.

Groups are the sets of blocks eliminated together, numbered so that every group comes after those below it in the tree.
Relaxed amalgamation merges a child into its parent where the zeros that this stores cost less than handling two
supernodes (Ashcraft & Grimes 1989, ACM TOMS 15(4)); supernodes wider than a tile are cut into a path of panels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels._cache import allocating_kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int32, Int64

# Seconds of one factorization and one selected inverse: a supernode, a number in its panel, an entry of the square of its
# rows (gathered), and an operation in its panel. Only their ratios matter for amalgamation.
_SUPERNODE = 2.0e-6
_STORED = 5.0e-9
_GATHERED = 3.0e-9
OPERATION = 2.5e-11


@allocating_kernel
def supernode_seconds(columns: float, rows: float) -> float:
    """What a supernode takes in a factorization and a selected inverse together; ``rows`` are those below the diagonal."""
    square = rows * (rows + columns)
    panel = columns * (rows + columns)
    return _SUPERNODE + _STORED * panel + _GATHERED * square + OPERATION * columns * (columns * columns + 3.0 * square)


@allocating_kernel
def _cliques_by_group(group: Int32, n_groups: int, ptr: Int64, clique: Int32, following: Int32) -> Int32:
    """Heads of linked lists (``following``) of the cliques whose first block to be eliminated is in each group."""
    head = np.full(n_groups, -1, np.int32)
    for c in range(ptr.shape[0] - 1):
        lowest = n_groups
        for t in range(ptr[c], ptr[c + 1]):
            lowest = min(lowest, group[clique[t]])
        following[c] = -1
        if lowest < n_groups:
            following[c] = head[lowest]
            head[lowest] = c
    return head


@allocating_kernel
def _members(group: Int32, n_groups: int, ptr: Int64) -> Int32:
    """Blocks of each group, ascending (CSR with ``ptr``)."""
    for g in range(n_groups + 1):
        ptr[g] = 0
    for i in range(group.shape[0]):
        ptr[group[i] + 1] += 1
    for g in range(n_groups):
        ptr[g + 1] += ptr[g]
    member = np.empty(group.shape[0], np.int32)
    fill = ptr[:n_groups].copy()
    for i in range(group.shape[0]):
        member[fill[group[i]]] = i
        fill[group[i]] += 1
    return member


@allocating_kernel
def group_structures(
    group: Int32, n_groups: int, adjacency_ptr: Int64, adjacency: Int32, clique_ptr: Int64, clique: Int32, ptr: Int64,
    parent: Int32
) -> Int32:
    """Blocks below each group (CSR with ``ptr``, not sorted) and each group's parent, or -1. Returns the blocks."""
    n = group.shape[0]
    member_ptr = np.empty(n_groups + 1, np.int64)
    member = _members(group, n_groups, member_ptr)
    next_clique = np.empty(clique_ptr.shape[0], np.int32)
    first_clique = _cliques_by_group(group, n_groups, clique_ptr, clique, next_clique)
    first_child = np.full(n_groups, -1, np.int32)
    next_child = np.full(n_groups, -1, np.int32)
    seen = np.full(n, -1, np.int32)
    rows = np.empty(4 * n + 64, np.int32)
    end = 0
    for g in range(n_groups):
        ptr[g] = end
        if end + n > rows.shape[0]:
            wider = np.empty(2 * rows.shape[0] + n, np.int32)
            for t in range(end):
                wider[t] = rows[t]
            rows = wider
        for x in range(member_ptr[g], member_ptr[g + 1]):
            i = member[x]
            end = _add_later(adjacency, adjacency_ptr[i], adjacency_ptr[i + 1], group, g, seen, rows, end)
        c = first_clique[g]
        while c >= 0:
            end = _add_later(clique, clique_ptr[c], clique_ptr[c + 1], group, g, seen, rows, end)
            c = next_clique[c]
        h = first_child[g]
        while h >= 0:
            end = _add_later(rows, ptr[h], ptr[h + 1], group, g, seen, rows, end)
            h = next_child[h]
        lowest = n_groups
        for t in range(ptr[g], end):
            lowest = min(lowest, group[rows[t]])
        ptr[g + 1] = end
        parent[g] = -1
        if lowest < n_groups:
            parent[g] = lowest
            next_child[g] = first_child[lowest]
            first_child[lowest] = g
    return rows[:end].copy()


@allocating_kernel
def _add_later(blocks: Int32, begin: int, stop: int, group: Int32, g: int, seen: Int32, rows: Int32, end: int) -> int:
    """Append the blocks of later groups that are not yet among group g's; returns the new end."""
    for t in range(begin, stop):
        i = blocks[t]
        if group[i] > g and seen[i] != g:
            seen[i] = g
            rows[end] = i
            end += 1
    return end


@allocating_kernel
def amalgamate(columns: Int64, rows: Int64, parent: Int32, root: Int32) -> None:
    """Fill ``root``, the group whose supernode each group belongs to. ``columns`` becomes those of the supernodes.

    ``rows`` counts what lies below each group; a merged supernode has the rows of its top group.
    """
    n = parent.shape[0]
    for g in range(n):
        root[g] = g
    for g in range(n):
        p = parent[g]
        if p < 0:
            continue
        apart = supernode_seconds(float(columns[g]), float(rows[g]))
        apart += supernode_seconds(float(columns[p]), float(rows[p]))
        if supernode_seconds(float(columns[g] + columns[p]), float(rows[p])) <= apart:
            root[g] = p
            columns[p] += columns[g]
    # A root comes after its members.
    for g in range(n - 1, -1, -1):
        root[g] = root[root[g]]


@allocating_kernel
def postorder(root: Int32, parent: Int32, rank: Int32) -> int:
    """Fill ``rank``, the position of each root's supernode in a postorder of the tree (-1 for others); returns how many."""
    n = root.shape[0]
    above = np.full(n, -1, np.int32)
    first_child = np.full(n, -1, np.int32)
    next_child = np.full(n, -1, np.int32)
    for g in range(n - 1, -1, -1):
        rank[g] = -1
        if root[g] == g and parent[g] >= 0:
            above[g] = root[parent[g]]
            next_child[g] = first_child[above[g]]
            first_child[above[g]] = g
    count = 0
    for top in range(n):
        if root[top] != top or above[top] >= 0:
            continue
        g = top
        while g >= 0:
            if first_child[g] >= 0:
                child = first_child[g]
                first_child[g] = next_child[child]
                g = child
            else:
                rank[g] = count
                count += 1
                g = above[g] if g != top else -1
    return count


@allocating_kernel
def sorted_structures(
    rank: Int32, n_super: int, ptr: Int64, rows: Int32, place: Int32, super_ptr: Int64
) -> Int32:
    """Places of the blocks below each supernode, ascending (CSR with ``super_ptr``)."""
    n = place.shape[0]
    where = np.zeros(n + 1, np.int64)
    group_of = np.empty(n_super, np.int32)
    for g in range(rank.shape[0]):
        if rank[g] >= 0:
            group_of[rank[g]] = g
    super_ptr[0] = 0
    for s in range(n_super):
        g = group_of[s]
        super_ptr[s + 1] = super_ptr[s] + ptr[g + 1] - ptr[g]
        for t in range(ptr[g], ptr[g + 1]):
            where[place[rows[t]] + 1] += 1
    for i in range(n):
        where[i + 1] += where[i]
    by_place = np.empty(super_ptr[n_super], np.int32)
    for s in range(n_super):
        g = group_of[s]
        for t in range(ptr[g], ptr[g + 1]):
            i = place[rows[t]]
            by_place[where[i]] = s
            where[i] += 1
    out = np.empty(super_ptr[n_super], np.int32)
    fill = super_ptr[:n_super].copy()
    begin = 0
    for i in range(n):
        for t in range(begin, where[i]):
            s = by_place[t]
            out[fill[s]] = i
            fill[s] += 1
        begin = where[i]
    return out


@allocating_kernel
def panel_rows(
    panel_super: Int32, panel_last: Int64, super_last: Int64, super_ptr: Int64, super_row: Int32, column: Int64,
    row_ptr: Int64
) -> Int32:
    """Scalar rows below each panel's diagonal block: the rest of its supernode, then the supernode's blocks.

    ``column`` has the first scalar column of each block, by place, and the total last; ``panel_last`` and ``super_last``
    the block after the last one of each panel and supernode.
    """
    n = panel_super.shape[0]
    row_ptr[0] = 0
    for p in range(n):
        s = panel_super[p]
        total = column[super_last[s]] - column[panel_last[p]]
        for t in range(super_ptr[s], super_ptr[s + 1]):
            total += column[super_row[t] + 1] - column[super_row[t]]
        row_ptr[p + 1] = row_ptr[p] + total
    out = np.empty(row_ptr[n], np.int32)
    for p in range(n):
        s = panel_super[p]
        end = row_ptr[p]
        for c in range(column[panel_last[p]], column[super_last[s]]):
            out[end] = c
            end += 1
        for t in range(super_ptr[s], super_ptr[s + 1]):
            for c in range(column[super_row[t]], column[super_row[t] + 1]):
                out[end] = c
                end += 1
    return out


@allocating_kernel
def subtrees(seconds: Float, parent: Int32, limit: float, first: Int64, last: Int64) -> int:
    """Cut the tree (postordered) into ranges of whole subtrees that take up to ``limit`` each; returns how many.

    Neighbouring subtrees share a range while they fit into it together.
    """
    n = parent.shape[0]
    below = seconds.copy()
    begin = np.arange(n)
    for s in range(n):
        p = parent[s]
        if p >= 0:
            below[p] += below[s]
            begin[p] = min(begin[p], begin[s])
    count = 0
    taken = 0.0
    for s in range(n):
        p = parent[s]
        if below[s] > limit or (p >= 0 and below[p] <= limit):
            continue
        if count > 0 and last[count - 1] == begin[s] and taken + below[s] <= limit:
            taken += below[s]
        else:
            first[count] = begin[s]
            taken = below[s]
            count += 1
        last[count - 1] = s + 1
    return count


@allocating_kernel
def update_lists(row_ptr: Int64, row: Int32, of_column: Int32, ptr: Int64) -> tuple[Int32, Int32]:
    """Per supernode, the earlier ones that have rows in its columns, ascending, and the first such row (CSR, ``ptr``)."""
    n = row_ptr.shape[0] - 1
    for s in range(n + 1):
        ptr[s] = 0
    for s in range(n):
        last = -1
        for t in range(row_ptr[s], row_ptr[s + 1]):
            above = of_column[row[t]]
            if above != last:
                ptr[above + 1] += 1
                last = above
    for s in range(n):
        ptr[s + 1] += ptr[s]
    source = np.empty(ptr[n], np.int32)
    first = np.empty(ptr[n], np.int32)
    fill = ptr[:n].copy()
    for s in range(n):
        last = -1
        for t in range(row_ptr[s], row_ptr[s + 1]):
            above = of_column[row[t]]
            if above != last:
                source[fill[above]] = s
                first[fill[above]] = t - row_ptr[s]
                fill[above] += 1
                last = above
    return source, first


@allocating_kernel
def touch_lists(
    n_sparse: int, neighbour_ptr: Int64, neighbour: Int32, super_of_block: Int32, ptr: Int64
) -> tuple[Int32, Int32]:
    """Per supernode, the chain blocks that meet it, ascending, and the first such edge of theirs (CSR, ``ptr``)."""
    n = ptr.shape[0] - 1
    for s in range(n + 1):
        ptr[s] = 0
    for b in range(n_sparse):
        last = -1
        for e in range(neighbour_ptr[b], neighbour_ptr[b + 1]):
            if neighbour[e] >= n_sparse:
                s = super_of_block[neighbour[e] - n_sparse]
                if s != last:
                    ptr[s + 1] += 1
                    last = s
    for s in range(n):
        ptr[s + 1] += ptr[s]
    block = np.empty(ptr[n], np.int32)
    edge = np.empty(ptr[n], np.int32)
    fill = ptr[:n].copy()
    for b in range(n_sparse):
        last = -1
        for e in range(neighbour_ptr[b], neighbour_ptr[b + 1]):
            if neighbour[e] >= n_sparse:
                s = super_of_block[neighbour[e] - n_sparse]
                if s != last:
                    block[fill[s]] = b
                    edge[fill[s]] = e - neighbour_ptr[b]
                    fill[s] += 1
                    last = s
    return block, edge
