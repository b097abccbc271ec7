"""What a new response costs: its column of the cross-product, and a search, for rows whose designs are ready."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels import profiled
from mixeff_fast.kernels._cache import inner_kernel, kernel
from mixeff_fast.kernels.covariance import orthogonalize
from mixeff_fast.kernels.optimizer import CONVERGED, EVALUATIONS, LIMIT, TOLERANCE, F
from mixeff_fast.kernels.settle import NEGLIGIBLE, SMALL_DIRECTION

if TYPE_CHECKING:
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Int32,
        Int64,
        Path,
        Plan,
        Scoring,
        ThetaMap,
        Workspace,
    )

# rows summed by themselves before they are added to the rest: rounding grows with the roots of the two numbers
SEGMENT = 128

# places in a row of ``Outcome.real`` and of ``Outcome.counts``
SHIFT, SCALE, OBJECTIVE, PIVOT = 0, 1, 2, 3
ACTION, SPENT = 0, 1


class Rows(NamedTuple):
    """Standardized rows of a design, times the square roots of their weights."""

    x: Float  # rows x p
    z: Float  # rows x columns, the factors side by side
    first: Int64  # per factor: its first column in ``z``, and where the last one ends
    block: Int32  # rows x factors
    root: Float  # per row: the square root of its weight; empty without weights


class Outcome(NamedTuple):
    """What refits find, a row for each, in standardized units."""

    lam: Float
    beta: Float
    real: Float
    counts: Int64


@kernel
def response_scale(y: Float, step: int, centred: bool) -> tuple[float, float]:
    """Shift (the mean if ``centred``, else 0) and scale (a power of two near the spread) of every ``step``-th value."""
    n = 0
    shift = 0.0
    for r in range(0, y.shape[0], step):
        n += 1
        shift += y[r]
    shift = shift / n if centred else 0.0
    square = 0.0
    for r in range(0, y.shape[0], step):
        square += (y[r] - shift) * (y[r] - shift)
    spread = math.sqrt(square / n)
    if not (math.isfinite(spread) and spread > 0.0):
        return shift, 1.0
    return shift, math.ldexp(1.0, math.frexp(spread)[1] - 1)


@kernel
def clear_response(plan: Plan, cross: CrossProduct) -> None:
    """Zero the response's column of every panel and its row and column of the border."""
    for b in range(plan.block_factor.shape[0]):
        nc = plan.panel_cols[b]
        for i in range(plan.width[plan.block_factor[b]]):
            cross.panel[plan.panel_ptr[b] + (i + 1) * nc - 1] = 0.0
    last = plan.border - 1
    for j in range(plan.border):
        cross.border[j, last] = 0.0
        cross.border[last, j] = 0.0


@kernel
def add_response(
    rows: Rows, y: Float, start: int, shift: float, scale: float, plan: Plan, cross: CrossProduct, sums: Float
) -> None:
    """Add ``[Z X y]'W y`` over a chunk of rows, the first of which is row ``start`` of ``y``; ``sums`` is 2 x border."""
    n = rows.x.shape[0]
    p = plan.border - 1
    weighted = rows.root.shape[0] > 0
    for j in range(p + 1):
        sums[1, j] = 0.0
    for low in range(0, n, SEGMENT):
        for j in range(p + 1):
            sums[0, j] = 0.0
        for r in range(low, min(low + SEGMENT, n)):
            v = (y[start + r] - shift) / scale
            if weighted:
                v *= rows.root[r]
            for j in range(p):
                sums[0, j] += rows.x[r, j] * v
            sums[0, p] += v * v
            for k in range(rows.block.shape[1]):
                b = rows.block[r, k]
                nc = plan.panel_cols[b]
                o = plan.panel_ptr[b] - 1
                for i in range(rows.first[k], rows.first[k + 1]):
                    o += nc
                    cross.panel[o] += rows.z[r, i] * v
        for j in range(p + 1):
            sums[1, j] += sums[0, j]
    for j in range(p + 1):
        cross.border[p, j] += sums[1, j]
        cross.border[j, p] = cross.border[p, j]


@inner_kernel
def restart(theta_map: ThetaMap, search: Search, path: Path, start: Float) -> None:
    """Forget an earlier search, but for its tolerance and limit, and begin at ``start``."""
    tolerance = search.real[TOLERANCE]
    limit = search.counts[LIMIT]
    for i in range(search.real.shape[0]):
        search.real[i] = 0.0
    for i in range(search.counts.shape[0]):
        search.counts[i] = 0
    search.real[TOLERANCE] = tolerance
    search.counts[LIMIT] = limit
    for i in range(start.shape[0]):
        path.lam[i] = start[i]
        path.trial[i] = start[i]
        path.follow[i] = 0.0
        path.grad[i] = 0.0
        path.trial_grad[i] = 0.0
        path.follow_grad[i] = 0.0
    orthogonalize(theta_map, path.trial, path.follow, path.follow_grad)


@inner_kernel
def without_small(theta_map: ThetaMap, lam: Float, out: Float) -> bool:
    """``out = lam`` less its short columns (orthogonal ones); whether there were any."""
    found = False
    for i in range(lam.shape[0]):
        out[i] = lam[i]
    for k in range(theta_map.width.shape[0]):
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        w = theta_map.width[k]
        for j in range(w):
            low = j if theta_map.diagonal[k] != 0 else 0
            high = j + 1 if theta_map.diagonal[k] != 0 else w
            square = 0.0
            for i in range(low, high):
                square += lam[o + i * stride + j] ** 2
            if 0.0 < square < SMALL_DIRECTION**2:
                found = True
                for i in range(low, high):
                    out[o + i * stride + j] = 0.0
    return found


@kernel
def refit(
    rows: Rows, responses: Float, first_row: int, step: int, centred: bool, plan: Plan, cross: CrossProduct,
    work: Workspace, chain: Float | None, trunk: DenseTrunk | None, theta_map: ThetaMap, scoring: Scoring, search: Search,
    path: Path, start: Float, reml: bool, dof: float, sums: Float, outcome: Outcome
) -> None:
    """Fit every row of ``responses``, each from ``start``: no number depends on the responses before it.

    Nearly absent directions are removed where that raises the criterion by a negligible amount at most.
    """
    beta = plan.trunk_start + plan.trunk_size
    last = plan.border - 1
    # a constant would have the search compiled once more, for that constant
    solution = int(profiled.SOLUTION)
    for k in range(responses.shape[0]):
        shift, scale = response_scale(responses[k], step, centred)
        clear_response(plan, cross)
        add_response(rows, responses[k], first_row, shift, scale, plan, cross, sums)
        restart(theta_map, search, path, start)
        action = profiled.run(plan, cross, work, chain, trunk, theta_map, scoring, search, path, reml, dof,
                              search.counts[LIMIT])
        # a search that converged leaves the solution at ``path.lam`` behind
        settled = action == CONVERGED
        if without_small(theta_map, path.lam, path.trial):
            profiled.run(plan, cross, work, chain, trunk, theta_map, scoring, search, path, reml, dof, solution)
            search.counts[EVALUATIONS] += 1
            r = work.result[profiled.PIVOT]
            noise = profiled.rounding(cross.border[last, last], r * r, dof)
            settled = work.result[profiled.OBJECTIVE] <= search.real[F] + max(NEGLIGIBLE, noise)
            if settled:
                for i in range(path.lam.shape[0]):
                    path.lam[i] = path.trial[i]
        if not settled:
            for i in range(path.lam.shape[0]):
                path.trial[i] = path.lam[i]
            profiled.run(plan, cross, work, chain, trunk, theta_map, scoring, search, path, reml, dof, solution)
        outcome.real[k, SHIFT] = shift
        outcome.real[k, SCALE] = scale
        outcome.real[k, OBJECTIVE] = work.result[profiled.OBJECTIVE]
        outcome.real[k, PIVOT] = work.result[profiled.PIVOT]
        outcome.counts[k, ACTION] = action
        outcome.counts[k, SPENT] = search.counts[EVALUATIONS]
        for i in range(start.shape[0]):
            outcome.lam[k, i] = path.lam[i]
        for j in range(last):
            outcome.beta[k, j] = -work.solution[beta + j]
