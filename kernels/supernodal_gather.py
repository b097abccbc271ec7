"""What a block of the chain reads from the selected inverse of a sparse trunk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels._cache import inner_kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int64, Plan, SparseTrunk, Supernodes


@inner_kernel
def find_blocks(plan: Plan, sn: Supernodes, s: int, e: int, end: int, rows: Int64) -> tuple[int, int, int]:
    """Rows of edges [e, end) and of the border in the panel of supernode s; how many, how many of them are its columns, and
    the first edge beyond these."""
    n = sn.first[s + 1] - sn.first[s]
    low = sn.row_ptr[s]
    count = 0
    columns = 0
    after = e
    for f in range(e, end):
        r = plan.neighbour[f]
        c = plan.block_col[r] - plan.trunk_start
        w = plan.width[plan.block_factor[r]]
        if c < sn.first[s + 1]:
            at = c - sn.first[s]
            columns += w
            after = f + 1
        else:
            high = sn.row_ptr[s + 1]
            while high - low > 1:
                middle = (low + high) // 2
                if sn.row[middle] <= c:
                    low = middle
                else:
                    high = middle
            at = n + low - sn.row_ptr[s]
        for j in range(w):
            rows[count] = at + j
            count += 1
    at = n + sn.row_ptr[s + 1] - sn.row_ptr[s]
    for j in range(plan.border):
        rows[count] = at + j
        count += 1
    return count, columns, after


@inner_kernel
def gather_supernodes(plan: Plan, sparse: SparseTrunk, b: int, u: Float, q: Float, rows: Int64) -> None:
    """``q -= u S_RR`` for the trunk and border columns R of chain block b, but for the border's own block; ``rows`` is
    scratch."""
    sn = sparse.nodes
    values = sparse.values
    w = plan.width[plan.block_factor[b]]
    nc = plan.panel_cols[b]
    end = plan.neighbour_ptr[b + 1]
    e = plan.neighbour_ptr[b]
    while e < end and plan.neighbour[e] < plan.n_sparse:
        e += 1
    while e < end:
        s = sn.of_column[plan.block_col[plan.neighbour[e]] - plan.trunk_start]
        n = sn.first[s + 1] - sn.first[s]
        o = plan.neighbour_off[e]
        count, columns, after = find_blocks(plan, sn, s, e, end, rows)
        for i in range(count):
            source = sn.ptr[s] + rows[i] * n
            for t in range(w):
                f = u[t * nc + o + i]
                total = 0.0
                for j in range(min(i, columns)):
                    x = values[source + rows[j]]
                    q[t * nc + o + j] -= f * x
                    total += u[t * nc + o + j] * x
                if i < columns:
                    total += f * values[source + rows[i]]
                q[t * nc + o + i] -= total
        e = after
