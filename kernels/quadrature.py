"""Adaptive Gauss-Hermite quadrature of a generalized linear mixed model with one grouping factor, and its exact gradient.

Level j has the modes u_j and ``L L' = H_j`` of Laplace's approximation. With the points x_k and weights w_k of the product
rule of its width, ``u_jk = u_j + d_jk``, ``d_jk = sqrt(2) L^{-T} x_k`` and ``J_jk = deviance + |u_jk|^2`` there,

    f = sum of (log|H_j| + width log pi - 2 log sum over k of w_k exp(x_k'x_k - J_jk / 2)) - 2 sum of saturated log-likelihoods.

Shares ``p_jk`` of the inner sum weigh the slopes of the ``J_jk``: ``g_k = Lambda'Z's_k + 2 u_jk`` in u_j. In H_j the slope
is ``Hbar = L^{-T} C L^{-1}``, ``C = I - (lower triangle of N, made symmetric) / sqrt(2)``, ``N = sum of p_k x_k (L^{-1} g_k)'``
(the adjoint of Cholesky's factorization: Murray 2016, arXiv:1602.07527). So Hbar stands where Laplace's approximation has
H^{-1}: with ``h = diag(Z Lambda Hbar Lambda'Z')``, ``t = w'h``, ``sbar = sum of p_k s_k``,
``v = F^{-1} (Lambda'Z'(t + sbar) + 2 sum of p_k u_k)`` and ``rho = sbar + t - a Z Lambda v``,

    df/dbeta = X'rho,    df/dLambda = sum over levels of Z'rho u' + sum of p_k Z's_k d_k' - Z's v' / 2 + 2 Z'WZ Lambda Hbar.

The rule is not that of another Lambda with the same ``Lambda Lambda'``. So nodes are placed, and ``Hbar`` is found, for the
one ``Lambda B'`` that is lower triangular, absent directions last; its modes are ``B u``.

Pinheiro & Bates (1995), JCGS 4, for the rule. A node where the linear predictor has no mean in the family's space has
likelihood 0. Chunks of rows are tasks: task t is done by the call with ``first <= t``, ``t = first, first + step, ...``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels import pirls, working
from mixeff_fast.kernels._cache import inner_kernel, kernel, small_kernel
from mixeff_fast.kernels.laplace import add_levels, bend_strip, factor_observed, information, remember
from mixeff_fast.kernels.rows import STRIP, add_sums, clear_sums, leverages, predict_rows, sum_rows
from mixeff_fast.kernels.substitution import solve_vector

if TYPE_CHECKING:
    from mixeff_fast.kernels.laplace import Family
    from mixeff_fast.kernels.pirls import Modes
    from mixeff_fast.kernels.rows import Rows
    from mixeff_fast.kernels.structure import CrossProduct, DenseTrunk, Float, Int64, Plan, Scoring, ThetaMap, Workspace

_ROOT_2 = math.sqrt(2.0)


class Quadrature(NamedTuple):
    """The rule and what its sums are gathered in. Chunks have more columns than they use: they must not share a line of the
    cache."""

    point: Float  # nodes x width, those with the largest weights first
    log_weight: Float  # log(w_k) + x_k'x_k
    level: Int64  # where levels begin, as rows
    basis: Float  # width x width: B
    u: Float  # per scalar column: B u
    eta: Float  # per row, of a node, as the next two
    score: Float
    fisher: Float
    mean_score: Float  # per row: sbar
    drift: Float  # per scalar column: sum of p_k d_k, turned back
    value: Float  # per chunk
    low: Float  # chunks x width x width: L
    turned: Float  # the same: N, then C
    lift: Float  # the same: sum of p_k Z's_k d_k'
    shift: Float  # chunks x width: d_k
    move: Float  # the same: Lambda d_k
    pull: Float  # the same: Z's_k
    own: Float  # the same: g_k, then L^{-1} g_k
    grad: Float  # chunks x length of lam


@inner_kernel
def factor_level(plan: Plan, cross: CrossProduct, lam: Float, quad: Quadrature, b: int, chunk: int) -> None:
    """``L L' = Lambda'A Lambda + I`` of a level; NaN where it has no such factor."""
    k = plan.block_factor[b]
    w = plan.width[k]
    l0 = plan.lam_ptr[k]
    o = plan.diag_ptr[b]
    low = quad.low
    for i in range(w):
        for j in range(i + 1):
            s = 1.0 if i == j else 0.0
            for r in range(w):
                for c in range(w):
                    s += lam[l0 + r * w + i] * cross.diag[o + r * w + c] * lam[l0 + c * w + j]
            for t in range(j):
                s -= low[chunk, i, t] * low[chunk, j, t]
            low[chunk, i, j] = math.sqrt(s) if i == j else s / low[chunk, j, j]


@small_kernel
def turn_modes(plan: Plan, modes: Modes, quad: Quadrature, b: int) -> None:
    """``B u`` of a level."""
    w = plan.width[plan.block_factor[b]]
    c0 = plan.block_col[b]
    for i in range(w):
        s = 0.0
        for j in range(w):
            s += quad.basis[i, j] * modes.u[c0 + j]
        quad.u[c0 + i] = s


@small_kernel
def place_node(
    w: int, l0: int, c0: int, lam: Float, point: Float, node: int, u: Float, low: Float, shift: Float, move: Float, chunk: int
) -> float:
    """``shift`` and ``move`` of a node; returns ``|u_k|^2``."""
    penalty = 0.0
    for i in range(w - 1, -1, -1):
        s = _ROOT_2 * point[node, i]
        for t in range(i + 1, w):
            s -= low[chunk, t, i] * shift[chunk, t]
        s /= low[chunk, i, i]
        shift[chunk, i] = s
        s += u[c0 + i]
        penalty += s * s
    for i in range(w):
        s = 0.0
        for j in range(w):
            s += lam[l0 + i * w + j] * shift[chunk, j]
        move[chunk, i] = s
    return penalty


@small_kernel
def move_rows(w: int, z: Float, eta: Float, move: Float, out: Float, lo: int, hi: int, chunk: int) -> None:
    """Linear predictors of a level's rows at the node placed last."""
    if w == 1:
        f = move[chunk, 0]
        for i in range(lo, hi):
            out[i] = eta[i] + z[0, i] * f
        return
    for i in range(lo, hi):
        s = eta[i]
        for a in range(w):
            s += z[a, i] * move[chunk, a]
        out[i] = s


@inner_kernel
def measure_chunk(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, family: Family, modes: Modes, quad: Quadrature, chunk: int
) -> None:
    """``-2 log`` of the inner sums of a chunk's levels, together."""
    # taken out of their tuples once: every access counts a reference
    y, trials, prior, z, nothing, level = rows.y, rows.trials, rows.prior, rows.z, rows.nothing, quad.level
    point, log_weight, u, low, shift, move = quad.point, quad.log_weight, quad.u, quad.low, quad.shift, quad.move
    eta, moved = modes.eta, quad.eta
    parameter = modes.real[pirls.PARAMETER]
    w = z.shape[0]
    value = 0.0
    for b in range(rows.leaf[chunk], rows.leaf[chunk + 1]):
        factor_level(plan, cross, lam, quad, b, chunk)
        turn_modes(plan, modes, quad, b)
        l0 = plan.lam_ptr[plan.block_factor[b]]
        c0 = plan.block_col[b]
        lo = level[b]
        hi = level[b + 1]
        top = -math.inf
        total = 0.0
        for node in range(log_weight.shape[0]):
            penalty = place_node(w, l0, c0, lam, point, node, u, low, shift, move, chunk)
            move_rows(w, z, eta, move, moved, lo, hi, chunk)
            deviance = working.working(family.code, family.link, parameter, y, trials, prior, moved, nothing, nothing, lo, hi)
            s = log_weight[node] - 0.5 * (deviance + penalty)
            if s > top:
                total = total * math.exp(top - s) + 1.0
                top = s
            elif s > -math.inf:
                total += math.exp(s - top)
        value -= 2.0 * (top + math.log(total))
    quad.value[chunk] = value


@small_kernel
def fade(
    w: int, c0: int, drift: Float, turned: Float, lift: Float, mean_score: Float, lo: int, hi: int, chunk: int, share: float
) -> None:
    """Multiply what was gathered of a level; with a share of 0, begin to gather."""
    for i in range(w):
        drift[c0 + i] = share * drift[c0 + i] if share > 0.0 else 0.0
        for j in range(w):
            turned[chunk, i, j] = share * turned[chunk, i, j] if share > 0.0 else 0.0
            lift[chunk, i, j] = share * lift[chunk, i, j] if share > 0.0 else 0.0
    for i in range(lo, hi):
        mean_score[i] = share * mean_score[i] if share > 0.0 else 0.0


@small_kernel
def pull_rows(
    w: int, z: Float, score: Float, share: float, mean_score: Float, pull: Float, lo: int, hi: int, chunk: int
) -> None:
    """``Z's_k`` of a level, and ``s_k`` added to what is gathered."""
    if w == 1:
        s = 0.0
        for i in range(lo, hi):
            mean_score[i] += share * score[i]
            s += z[0, i] * score[i]
        pull[chunk, 0] = s
        return
    for a in range(w):
        pull[chunk, a] = 0.0
    for i in range(lo, hi):
        mean_score[i] += share * score[i]
        for a in range(w):
            pull[chunk, a] += z[a, i] * score[i]


@small_kernel
def gather_node(
    w: int, l0: int, c0: int, lam: Float, point: Float, node: int, u: Float, low: Float, shift: Float, pull: Float, own: Float,
    share: float, drift: Float, turned: Float, lift: Float, chunk: int
) -> None:
    """Add a node, whose ``pull`` is known, to what is gathered of its level."""
    for i in range(w):
        s = 2.0 * (u[c0 + i] + shift[chunk, i])
        for j in range(w):
            s += lam[l0 + j * w + i] * pull[chunk, j]
        for t in range(i):
            s -= low[chunk, i, t] * own[chunk, t]
        own[chunk, i] = s / low[chunk, i, i]
    for i in range(w):
        drift[c0 + i] += share * shift[chunk, i]
        for j in range(w):
            turned[chunk, i, j] += share * point[node, i] * own[chunk, j]
            lift[chunk, i, j] += share * pull[chunk, i] * shift[chunk, j]


@inner_kernel
def finish_level(plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, quad: Quadrature, b: int, chunk: int) -> None:
    """Hbar of a level, in the place of the selected inverse; its part of the gradient in Lambda; the drift turned back."""
    k = plan.block_factor[b]
    w = plan.width[k]
    l0 = plan.lam_ptr[k]
    o = plan.diag_ptr[b]
    low, c, inverse = quad.low, quad.turned, work.inverse_diag
    for i in range(w):
        for j in range(i + 1):
            s = (1.0 if i == j else 0.0) - c[chunk, i, j] / _ROOT_2
            c[chunk, i, j] = s
            c[chunk, j, i] = s
    # C L^{-1} by rows, then L^{-T} of its columns
    for i in range(w):
        for j in range(w - 1, -1, -1):
            s = c[chunk, i, j]
            for t in range(j + 1, w):
                s -= inverse[o + i * w + t] * low[chunk, t, j]
            inverse[o + i * w + j] = s / low[chunk, j, j]
    for j in range(w):
        for i in range(w - 1, -1, -1):
            s = inverse[o + i * w + j]
            for t in range(i + 1, w):
                s -= low[chunk, t, i] * inverse[o + t * w + j]
            inverse[o + i * w + j] = s / low[chunk, i, i]
    for i in range(w):
        for j in range(w):
            quad.grad[chunk, l0 + i * w + j] += quad.lift[chunk, i, j]
        for u in range(w):
            s = 0.0
            for t in range(w):
                s += cross.diag[o + i * w + t] * lam[l0 + t * w + u]
            for j in range(w):
                quad.grad[chunk, l0 + i * w + j] += 2.0 * s * inverse[o + u * w + j]
    c0 = plan.block_col[b]
    for i in range(w):
        quad.move[chunk, i] = quad.drift[c0 + i]
    for i in range(w):
        s = 0.0
        for j in range(w):
            s += quad.basis[j, i] * quad.move[chunk, j]
        quad.drift[c0 + i] = s


@inner_kernel
def average_chunk(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, family: Family, modes: Modes, quad: Quadrature,
    chunk: int
) -> None:
    """Slopes of a chunk's levels in all that the nodes depend on; ``value`` becomes the slope of the deviances in the logarithm
    of the family's parameter, where that is estimated."""
    y, trials, prior, z, level = rows.y, rows.trials, rows.prior, rows.z, quad.level
    point, log_weight, u, low, shift, move = quad.point, quad.log_weight, quad.u, quad.low, quad.shift, quad.move
    eta, moved, score, fisher, mean_score = modes.eta, quad.eta, quad.score, quad.fisher, quad.mean_score
    pull, own, drift, turned, lift = quad.pull, quad.own, quad.drift, quad.turned, quad.lift
    parameter = modes.real[pirls.PARAMETER]
    estimated = modes.parameter_score.shape[0] > 0
    w = z.shape[0]
    for i in range(lam.shape[0]):
        quad.grad[chunk, i] = 0.0
    whole = 0.0
    for b in range(rows.leaf[chunk], rows.leaf[chunk + 1]):
        factor_level(plan, cross, lam, quad, b, chunk)
        turn_modes(plan, modes, quad, b)
        l0 = plan.lam_ptr[plan.block_factor[b]]
        c0 = plan.block_col[b]
        lo = level[b]
        hi = level[b + 1]
        fade(w, c0, drift, turned, lift, mean_score, lo, hi, chunk, 0.0)
        top = -math.inf
        total = 0.0
        change = 0.0
        for node in range(log_weight.shape[0]):
            penalty = place_node(w, l0, c0, lam, point, node, u, low, shift, move, chunk)
            move_rows(w, z, eta, move, moved, lo, hi, chunk)
            deviance = working.working(family.code, family.link, parameter, y, trials, prior, moved, score, fisher, lo, hi)
            s = log_weight[node] - 0.5 * (deviance + penalty)
            if not s > -math.inf:
                continue
            share = 1.0
            if s > top:
                older = math.exp(top - s)
                if total > 0.0:
                    fade(w, c0, drift, turned, lift, mean_score, lo, hi, chunk, older)
                total = total * older + 1.0
                change *= older
                top = s
            else:
                share = math.exp(s - top)
                total += share
            pull_rows(w, z, score, share, mean_score, pull, lo, hi, chunk)
            gather_node(w, l0, c0, lam, point, node, u, low, shift, pull, own, share, drift, turned, lift, chunk)
            if estimated:
                change += share * working.parameter_slopes(
                    family.code, family.link, parameter, y, trials, prior, moved, score, fisher, lo, hi)
        fade(w, c0, drift, turned, lift, mean_score, lo, hi, chunk, 1.0 / total)
        whole += change / total
        finish_level(plan, cross, lam, work, quad, b, chunk)
    quad.value[chunk] = whole


@inner_kernel
def lean_chunk(
    rows: Rows, plan: Plan, family: Family, work: Workspace, lam: Float, modes: Modes, quad: Quadrature, joint: bool, chunk: int
) -> None:
    """``t + sbar`` of a chunk in place of ``modes.slope``, its part of [Z X]' of that, X's if ``joint``, and the slope in the
    logarithm of the parameter so far."""
    total = quad.value[chunk]
    clear_sums(rows, plan, modes.sums, chunk)
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        bend_strip(rows, family, modes, lo, hi)
        leverages(rows, plan, work, lam, rows.nothing, modes.scaled, modes.leverage, chunk, lo, hi)
        for i in range(lo, hi):
            modes.slope[i] = modes.slope[i] * modes.leverage[i] + quad.mean_score[i]
            if modes.parameter_weight.shape[0] > 0:
                total += modes.parameter_weight[i] * modes.leverage[i]
        sum_rows(rows, plan, modes.slope, joint, modes.sums, chunk, lo, hi)
    modes.deviance[chunk] = total


@inner_kernel
def respond_chunk(rows: Rows, plan: Plan, modes: Modes, chunk: int) -> None:
    """Rho of a chunk in place of ``modes.slope``, its part of [Z X]'rho, and the slope in the logarithm of the parameter."""
    total = 0.0
    clear_sums(rows, plan, modes.sums, chunk)
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        predict_rows(rows, plan, modes.effects, rows.nothing, modes.leverage, lo, hi)
        for i in range(lo, hi):
            modes.slope[i] -= modes.observed[i] * modes.leverage[i]
            if modes.parameter_score.shape[0] > 0:
                total -= 0.5 * modes.parameter_score[i] * modes.leverage[i]
        sum_rows(rows, plan, modes.slope, True, modes.sums, chunk, lo, hi)
    modes.deviance[chunk] += total


@kernel
def measure(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, family: Family, modes: Modes, quad: Quadrature, first: int,
    step: int
) -> None:
    """``measure_chunk``, at the modes found last."""
    for chunk in range(first, rows.chunk.shape[0] - 1, step):
        measure_chunk(rows, plan, cross, lam, family, modes, quad, chunk)


@kernel
def average(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, family: Family, modes: Modes, quad: Quadrature,
    first: int, step: int
) -> None:
    """``average_chunk``, at the modes found last."""
    for chunk in range(first, rows.chunk.shape[0] - 1, step):
        average_chunk(rows, plan, cross, lam, work, family, modes, quad, chunk)


@kernel
def slopes_at(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, quad: Quadrature, turned: Float, theta_map: ThetaMap,
    scoring: Scoring, scored: bool, hessian: Float, grad: Float, turned_grad: Float
) -> float:
    """What ``laplace.slopes_at`` is for Laplace's approximation. ``average`` comes first, with ``turned``, which is
    ``Lambda B'``. The gradient in Lambda is ``grad`` and, turned, ``turned_grad``."""
    n_chunks = rows.chunk.shape[0] - 1
    q = plan.trunk_start + plan.trunk_size
    remember(plan, work, modes)
    if scored:
        information(plan, work, chain, trunk, theta_map, scoring, hessian)
    for c in range(n_chunks):
        lean_chunk(rows, plan, family, work, turned, modes, quad, joint, c)
    add_sums(rows, plan, modes.sums)
    fine = True
    if family.canonical == 0:
        fine = factor_observed(rows, plan, cross, lam, work, chain, trunk, kept, modes, joint, scored)
    pirls.scale_sums(plan, lam, modes.sums, 1.0, joint, modes.step)
    for c in range(q):
        modes.step[c] += 2.0 * (modes.u[c] + quad.drift[c])
    solve_vector(plan, work, kept, joint, modes.step)
    pirls.scale_effects(plan, lam, modes.step, modes.effects)
    for i in range(grad.shape[0]):
        grad[i] = 0.0
        turned_grad[i] = 0.0
    total = 0.0
    for c in range(n_chunks):
        respond_chunk(rows, plan, modes, c)
        total += modes.deviance[c]
        for i in range(grad.shape[0]):
            turned_grad[i] += quad.grad[c, i]
    add_sums(rows, plan, modes.sums)
    add_levels(plan, modes, grad)
    return total if fine else math.nan
