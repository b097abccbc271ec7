"""Laplace's approximation of the deviance of a generalized linear mixed model, and its exact gradient.

    f = sum of deviances - 2 sum of saturated log-likelihoods + |u|^2 + log|H|,    H = Lambda'Z'WZ Lambda + I,

at the modes u of the penalized deviance. W are Fisher's weights, or the observed ones (``strict``). With ``s`` the deviance's
slope in eta, ``a`` the observed weights, ``w'`` the slope of W, ``h`` the diagonal of ``Z Lambda H^{-1} Lambda'Z'``,
``t = w'h``, ``v = F^{-1} Lambda'Z't`` with ``F = Lambda'Z'aZ Lambda + I``, and ``rho = s + t - a Z Lambda v``,

    df/dbeta = X'rho,    df/dLambda_k = sum over levels of Z'rho u' - Z's v' / 2 + 2 [Z'WZ Lambda H^{-1}]_jj.

Where beta minimizes the penalized deviance with u (``joint``) F is bordered by X. Skaug & Fournier (2006), CSDA 51, for the
implicit derivative.

Stages are cut into tasks: task t is done by the call with ``first <= t``, ``t = first, first + step, ...``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels import pirls, working
from mixeff_fast.kernels._cache import inline_kernel, inner_kernel, kernel, small_kernel
from mixeff_fast.kernels.dense import factor_trunk, invert_trunk, load, receive
from mixeff_fast.kernels.factor import eliminate, factor_border, sum_border, take_trunk
from mixeff_fast.kernels.gradient import invert_blocks, invert_border, read_trunk, sum_gradient
from mixeff_fast.kernels.information import block_information, finish_information, trunk_information
from mixeff_fast.kernels.pirls import DONE, FACTOR, FAILED, WEIGH
from mixeff_fast.kernels.rows import (
    STRIP,
    add_sums,
    add_weighed,
    clear_sums,
    leverages,
    predict_rows,
    sum_rows,
    weigh_rows,
)
from mixeff_fast.kernels.strict import strict_weights
from mixeff_fast.kernels.substitution import solve_vector

if TYPE_CHECKING:
    from mixeff_fast.kernels.pirls import Modes
    from mixeff_fast.kernels.rows import Rows
    from mixeff_fast.kernels.structure import (
        CrossProduct,
        DenseTrunk,
        Float,
        Plan,
        Scoring,
        ThetaMap,
        Workspace,
    )


class Family(NamedTuple):
    code: int
    link: int
    strict: int  # 1 where the criterion takes observed weights
    canonical: int  # 1 where observed and Fisher's weights are the same


@inner_kernel
def weigh_chunk(rows: Rows, plan: Plan, family: Family, modes: Modes, fixed: bool, chunk: int) -> None:
    """Deviance, scores and weights of a chunk at ``modes.effects``, and its part of [Z X]'s, X's if ``fixed``."""
    parameter = modes.real[pirls.PARAMETER]
    fisher = modes.fisher if family.strict == 1 else modes.weight
    total = 0.0
    clear_sums(rows, plan, modes.sums, chunk)
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        predict_rows(rows, plan, modes.effects, rows.offset, modes.eta, lo, hi)
        total += working.working(family.code, family.link, parameter, rows.y, rows.trials, rows.prior, modes.eta, modes.score,
                                 fisher, lo, hi)
        if family.strict == 1:
            strict_weights(family.code, family.link, parameter, rows.y, rows.prior, modes.eta, modes.weight, rows.nothing,
                           rows.nothing, lo, hi)
        sum_rows(rows, plan, modes.score, fixed, modes.sums, chunk, lo, hi)
    modes.deviance[chunk] = total


@inner_kernel
def observe_chunk(rows: Rows, family: Family, modes: Modes, chunk: int) -> None:
    """Observed weights of a chunk at the accepted point, where the criterion has Fisher's."""
    working.curvature(family.code, family.link, modes.real[pirls.PARAMETER], rows.y, rows.trials, rows.prior, modes.eta,
                      modes.observed, modes.slope, rows.chunk[chunk], rows.chunk[chunk + 1])


@inner_kernel
def finish_weighing(rows: Rows, plan: Plan, modes: Modes) -> None:
    """Bring the chunks together."""
    total = 0.0
    for chunk in range(modes.deviance.shape[0]):
        total += modes.deviance[chunk]
    modes.real[pirls.DEVIANCE] = total
    add_sums(rows, plan, modes.sums)


@small_kernel
def keep_border(work: Workspace) -> None:
    """Keep the fixed effects' part of the border's factor above its diagonal, where nothing is read."""
    for i in range(work.border.shape[0] - 1):
        for j in range(i + 1):
            work.border[j, i + 1] = work.border[i, j]


@small_kernel
def restore_border(work: Workspace) -> None:
    """Take it back from there."""
    for i in range(work.border.shape[0] - 1):
        for j in range(i + 1):
            work.border[i, j] = work.border[j, i + 1]


@inner_kernel
def end_factor(work: Workspace, logdet: float, needed: bool) -> float:
    """Factor the border; ``logdet``, or NaN. A border that has no factor is NaN if it is not ``needed``."""
    found = factor_border(work, logdet)
    if needed or math.isnan(logdet) or not math.isnan(found):
        return found
    work.border[0, 0] = math.nan
    return logdet


@inner_kernel
def factor(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, weight: Float, fixed: bool, needed: bool
) -> float:
    """Cross-product and factorization with given weights, bordered by X if ``fixed``; returns log|H| of the random effects, or
    NaN. The trunk's factor is copied to ``kept``. See ``end_factor`` for ``needed``."""
    for c in range(rows.chunk.shape[0] - 1):
        weigh_rows(rows, plan, cross, weight, fixed, c)
    add_weighed(rows, plan, cross, fixed)
    for c in range(work.chunk_logdet.shape[0]):
        eliminate(plan, cross, lam, work, chain, c)
    logdet = sum_border(plan, cross, work)
    if trunk is not None:
        receive(plan, work, trunk, 0, 1)
        load(plan, cross, lam, trunk, work.scratch_small[0])
        if factor_trunk(trunk) != 0:
            logdet = math.nan
        else:
            logdet += take_trunk(plan, work, trunk)
        if kept is not None:
            for i in range(trunk.values.shape[0]):
                for j in range(trunk.values.shape[1]):
                    kept[i, j] = trunk.values[i, j]
    return end_factor(work, logdet, needed)


@inner_kernel
def factor_observed(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, modes: Modes, joint: bool, fixed: bool
) -> bool:
    """Factorization with observed weights, which the criterion does not have; whether there is one. A border that has none
    stays that of the criterion's weights."""
    modes.counts[pirls.FRESH] = 0
    modes.counts[pirls.FACTORS] += 1
    keep_border(work)
    fine = math.isfinite(factor(rows, plan, cross, lam, work, chain, trunk, kept, modes.observed, joint or fixed, joint))
    if fixed and not joint and math.isnan(work.border[0, 0]):
        restore_border(work)
    if not fine:
        modes.counts[pirls.USABLE] = 0
    return fine


@inner_kernel
def take_expected(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, modes: Modes, fixed: bool
) -> bool:
    """The border of Fisher's weights, beside the factorization with the criterion's: whether there is one. The latter's own
    need not be positive, for the fixed effects do not minimize the penalized deviance. ``fixed`` is true, and no constant:
    ``factor`` would be compiled anew for each."""
    modes.counts[pirls.FACTORS] += 2
    fine = math.isfinite(factor(rows, plan, cross, lam, work, chain, trunk, kept, modes.fisher, fixed, fixed))
    keep_border(work)
    factor(rows, plan, cross, lam, work, chain, trunk, kept, modes.weight, not fixed, fixed)
    restore_border(work)
    return fine


@inner_kernel
def find_modes(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, fixed: bool
) -> bool:
    """Run the iterations from ``modes.trial`` to their end; False where they failed. The last factorization is bordered by X if
    ``fixed``, all of them if ``joint``."""
    needed = joint or modes.fisher.shape[0] == 0
    action = pirls.begin(modes)
    while action not in (DONE, FAILED):
        if action == WEIGH:
            pirls.scale_effects(plan, lam, modes.trial, modes.effects)
            for c in range(rows.chunk.shape[0] - 1):
                weigh_chunk(rows, plan, family, modes, joint, c)
            finish_weighing(rows, plan, modes)
            action = pirls.weighed(plan, lam, joint, rows.y.shape[0], modes)
        elif action == FACTOR:
            weight = modes.weight
            if modes.counts[pirls.FALLBACK] == 1:
                weight = modes.fisher
            elif pirls.takes_newton(modes, family.canonical):
                for c in range(rows.chunk.shape[0] - 1):
                    observe_chunk(rows, family, modes, c)
                weight = modes.observed
            action = pirls.factored(modes, factor(rows, plan, cross, lam, work, chain, trunk, kept, weight,
                                                  joint or (fixed and modes.counts[pirls.FINISHING] == 1), needed))
        else:
            for c in range(modes.step.shape[0]):
                modes.step[c] = -modes.pull[c]
            solve_vector(plan, work, kept, joint, modes.step)
            action = pirls.solved(modes)
    if action == DONE and fixed and not joint and modes.counts[pirls.FINISHING] == 0:
        factor(rows, plan, cross, lam, work, chain, trunk, kept, modes.weight, fixed, needed)
    if action == DONE and not needed and math.isnan(work.border[0, 0]):
        return take_expected(rows, plan, cross, lam, work, chain, trunk, kept, modes, fixed)
    return action == DONE


@inner_kernel
def bend_strip(rows: Rows, family: Family, modes: Modes, lo: int, hi: int) -> float:
    """Observed weights of a strip and the slopes of the criterion's weights. Where the family's parameter is estimated also the
    slopes in its logarithm, of scores, weights and (returned) the deviance."""
    parameter = modes.real[pirls.PARAMETER]
    if family.strict == 1:
        strict_weights(family.code, family.link, parameter, rows.y, rows.prior, modes.eta, modes.observed, modes.slope,
                       modes.parameter_weight, lo, hi)
    else:
        working.curvature(family.code, family.link, parameter, rows.y, rows.trials, rows.prior, modes.eta, modes.observed,
                          modes.slope, lo, hi)
    if modes.parameter_score.shape[0] > 0:
        return working.parameter_slopes(
            family.code, family.link, parameter, rows.y, rows.trials, rows.prior, modes.eta, modes.parameter_score,
            modes.leverage, lo, hi)
    return 0.0


@inner_kernel
def bend_chunk(
    rows: Rows, plan: Plan, family: Family, work: Workspace, lam: Float, panel: Float, modes: Modes, joint: bool, chunk: int
) -> None:
    """Observed weights and leverages h of a chunk, ``t = w'h`` in place of ``modes.slope``, and its part of [Z X]'t, X's if
    ``joint``. ``modes.deviance`` has the slope in the logarithm of the family's parameter at fixed modes."""
    total = 0.0
    clear_sums(rows, plan, modes.sums, chunk)
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        total += bend_strip(rows, family, modes, lo, hi)
        leverages(rows, plan, work, lam, panel, modes.scaled, modes.leverage, chunk, lo, hi)
        if modes.parameter_weight.shape[0] > 0:
            for i in range(lo, hi):
                total += modes.parameter_weight[i] * modes.leverage[i]
        for i in range(lo, hi):
            modes.slope[i] *= modes.leverage[i]
        sum_rows(rows, plan, modes.slope, joint, modes.sums, chunk, lo, hi)
    modes.deviance[chunk] = total


@inner_kernel
def respond_chunk(rows: Rows, plan: Plan, modes: Modes, chunk: int) -> None:
    """``Z Lambda v`` (``modes.effects``) of a chunk in place of its leverages, rho in place of ``modes.slope``, and the chunk's
    part of [Z X]'rho."""
    total = 0.0
    clear_sums(rows, plan, modes.sums, chunk)
    for lo in range(rows.chunk[chunk], rows.chunk[chunk + 1], STRIP):
        hi = min(lo + STRIP, rows.chunk[chunk + 1])
        predict_rows(rows, plan, modes.effects, rows.nothing, modes.leverage, lo, hi)
        for i in range(lo, hi):
            modes.slope[i] += modes.score[i] - modes.observed[i] * modes.leverage[i]
        if modes.parameter_score.shape[0] > 0:
            for i in range(lo, hi):
                total -= 0.5 * modes.parameter_score[i] * modes.leverage[i]
        sum_rows(rows, plan, modes.slope, True, modes.sums, chunk, lo, hi)
    modes.deviance[chunk] += total


@inner_kernel
def add_levels(plan: Plan, modes: Modes, grad: Float) -> None:
    """Add ``Z'rho u' - Z's v' / 2`` to the gradient in Lambda, and set that in beta; v is ``modes.step``."""
    rho, s, u, v = modes.sums, modes.earlier, modes.u, modes.step
    for b in range(plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        c0 = plan.block_col[b]
        for i in range(w):
            for j in range(w):
                grad[l0 + i * w + j] += rho[c0 + i] * u[c0 + j] - 0.5 * s[c0 + i] * v[c0 + j]


@inline_kernel
def remember(plan: Plan, work: Workspace, modes: Modes) -> None:
    """Keep [Z X]'s, and the modes where the average information looks for them."""
    for c in range(modes.sums.shape[0]):
        modes.earlier[c] = modes.sums[c]
    for c in range(plan.trunk_start + plan.trunk_size):
        work.solution[c] = modes.u[c]


@inline_kernel
def information(
    plan: Plan, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, theta_map: ThetaMap, scoring: Scoring,
    hessian: Float
) -> None:
    """The average information of the working linear model, whose residual variance is 1."""
    for c in range(scoring.slope.shape[0]):
        block_information(plan, work, theta_map, scoring, chain, c)
    if trunk is not None:
        trunk_information(plan, work, trunk, theta_map, scoring)
    finish_information(plan, work, scoring, 1.0, math.inf, hessian)


@inline_kernel
def invert(
    plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, panel: Float,
    grad: Float
) -> None:
    """Selected inverse of H with its panels, and ``2 [Z'WZ Lambda H^{-1}]_jj`` summed over levels. Overwrites the trunk's
    factor."""
    invert_border(plan, work, 0.0, 0)
    if trunk is not None:
        invert_trunk(plan, work, trunk)
    whole = panel.shape[0] >= 0
    for c in range(work.chunk_logdet.shape[0] - 1, -1, -1):
        invert_blocks(plan, cross, lam, work, chain, trunk, None, panel, c, whole)
    if trunk is not None:
        read_trunk(plan, cross, lam, work, trunk, panel, whole)
    sum_gradient(work, grad)


@kernel
def modes_at(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, fixed: bool
) -> float:
    """The criterion less what the saturated likelihood adds, on one thread; infinite where the modes were not found."""
    if find_modes(rows, plan, cross, lam, work, chain, trunk, kept, family, modes, joint, fixed):
        return modes.real[pirls.J] + modes.real[pirls.LOGDET]  # type: ignore[no-any-return]
    return math.inf


@inner_kernel
def slopes(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, panel: Float, theta_map: ThetaMap, scoring: Scoring,
    scored: bool, hessian: Float, grad: Float
) -> float:
    """Gradient in Lambda (``grad``), beta (the end of ``modes.sums``) and the logarithm of the family's parameter (returned,
    without the saturated likelihood's), at the modes found last; and the average information, if it is wanted (``scored``)."""
    n_chunks = rows.chunk.shape[0] - 1
    remember(plan, work, modes)
    if scored:
        information(plan, work, chain, trunk, theta_map, scoring, hessian)
    invert(plan, cross, lam, work, chain, trunk, panel, grad)
    for c in range(n_chunks):
        bend_chunk(rows, plan, family, work, lam, panel, modes, joint, c)
    add_sums(rows, plan, modes.sums)
    fine = True
    if family.canonical == 0:
        fine = factor_observed(rows, plan, cross, lam, work, chain, trunk, kept, modes, joint, scored)
    pirls.scale_sums(plan, lam, modes.sums, 1.0, joint, modes.step)
    solve_vector(plan, work, kept, joint, modes.step)
    pirls.scale_effects(plan, lam, modes.step, modes.effects)
    for c in range(n_chunks):
        respond_chunk(rows, plan, modes, c)
    add_sums(rows, plan, modes.sums)
    add_levels(plan, modes, grad)
    total = 0.0
    for c in range(n_chunks):
        total += modes.deviance[c]
    return total if fine else math.nan


@kernel
def slopes_at(
    rows: Rows, plan: Plan, cross: CrossProduct, lam: Float, work: Workspace, chain: Float | None, trunk: DenseTrunk | None,
    kept: Float | None, family: Family, modes: Modes, joint: bool, panel: Float, theta_map: ThetaMap, scoring: Scoring,
    scored: bool, hessian: Float, grad: Float
) -> float:
    """``slopes`` for Python."""
    return slopes(rows, plan, cross, lam, work, chain, trunk, kept, family, modes, joint, panel, theta_map, scoring, scored,
                  hessian, grad)
