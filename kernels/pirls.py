"""Conditional modes by penalized iterations, as a state machine: it says what comes next and is told when it is done.

The spherical effects u (and with ``joint`` the fixed effects) minimize ``J = deviance + |u|^2``. ``pull`` is half its slope,
``Lambda'Z's / 2 + u``. A step solves ``H step = -pull`` with a factorization that may be that of an earlier point as long as
the decrement ``pull'H^{-1}pull`` falls fast. The modes are accepted only when a factorization of their own is at hand and their
decrement is at most ``TOLERANCE``, or nothing but rounding; what does not come to that has failed. An old factorization
serves as long as the decrement falls to a share of ``CONTRACTION`` with every step.

Bates (2015), lme4: Computational methods, sec. 4; Newton's method with observed weights, Fisher scoring with Fisher's.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import inner_kernel, small_kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import Float, Int64, Plan

# what comes next: working weights at the trial, a factorization at the accepted point, a step, or nothing
WEIGH, FACTOR, SOLVE, DONE, FAILED = 1, 2, 3, 0, 4

# places in ``real``
J, TRIAL, DEVIANCE, DECREMENT, EARLIER, STEP, LOGDET, PARAMETER, CONTRACTION, TOLERANCE = range(10)
# places in ``counts``
STARTED, FRESH, USABLE, FINISHING, PASSES, FACTORS, SOLVES, HALVINGS, SPENT, FALLBACK, IDLE, RETURNED, NEWTON = range(13)

# decrements of less than this are rounding when they do not fall to this share any more
FLOOR, FALLING = 1e-11, 0.9
MOST_HALVINGS = 40
MOST_PASSES = 200
# scoring with Fisher's weights is slow where the observed ones are far from them: steps beyond so many passes are Newton's
PATIENCE = 12


class Modes(NamedTuple):
    """Vectors have a number per scalar column of the plan, then one per fixed effect."""

    u: Float  # accepted
    trial: Float
    step: Float
    pull: Float
    sums: Float  # [Z X]'s at the trial
    effects: Float  # scratch: Lambda u and beta
    eta: Float  # per row, of the trial, as all that follow
    score: Float
    weight: Float  # the criterion's
    fisher: Float  # Fisher's, where they are not the criterion's; else empty
    observed: Float
    slope: Float
    leverage: Float
    parameter_score: Float  # slopes of scores and weights in the logarithm of the family's parameter, where it is estimated
    parameter_weight: Float
    earlier: Float  # [Z X]'s at the accepted point
    deviance: Float  # per chunk of rows
    scaled: Float  # chunks x columns of z: scratch
    real: Float
    counts: Int64


@small_kernel
def scale_effects(plan: Plan, lam: Float, u: Float, effects: Float) -> None:
    """``Lambda u``; fixed effects as they are."""
    for b in range(plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        c0 = plan.block_col[b]
        if w == 1:
            effects[c0] = lam[l0] * u[c0]
            continue
        for i in range(w):
            s = 0.0
            for j in range(w):
                s += lam[l0 + i * w + j] * u[c0 + j]
            effects[c0 + i] = s
    for c in range(plan.trunk_start + plan.trunk_size, u.shape[0]):
        effects[c] = u[c]


@small_kernel
def scale_sums(plan: Plan, lam: Float, sums: Float, factor: float, joint: bool, out: Float) -> None:
    """``factor Lambda' sums``; the fixed effects' part times ``factor`` if they are solved for, else 0."""
    for b in range(plan.block_factor.shape[0]):
        k = plan.block_factor[b]
        w = plan.width[k]
        l0 = plan.lam_ptr[k]
        c0 = plan.block_col[b]
        for j in range(w):
            s = 0.0
            for i in range(w):
                s += lam[l0 + i * w + j] * sums[c0 + i]
            out[c0 + j] = factor * s
    for c in range(plan.trunk_start + plan.trunk_size, sums.shape[0]):
        out[c] = factor * sums[c] if joint else 0.0


@inner_kernel
def begin(modes: Modes) -> int:
    """Start from the trial."""
    count = modes.counts
    for i in (STARTED, FRESH, FINISHING, HALVINGS, SPENT, FALLBACK, IDLE, RETURNED, NEWTON):
        count[i] = 0
    modes.real[STEP] = 1.0
    modes.real[EARLIER] = math.inf
    return WEIGH


@inner_kernel
def accept_trial(plan: Plan, lam: Float, joint: bool, modes: Modes) -> int:
    """The trial becomes the accepted point."""
    real = modes.real
    count = modes.counts
    q = plan.trunk_start + plan.trunk_size
    for c in range(modes.u.shape[0]):
        modes.u[c] = modes.trial[c]
    real[J] = real[TRIAL]
    scale_sums(plan, lam, modes.sums, 0.5, joint, modes.pull)
    for c in range(q):
        modes.pull[c] += modes.u[c]
    count[STARTED] = 1
    count[HALVINGS] = 0
    count[FRESH] = 0
    return SOLVE if count[USABLE] == 1 else FACTOR


@inner_kernel
def weighed(plan: Plan, lam: Float, joint: bool, n: int, modes: Modes) -> int:
    """The trial's deviance, scores and weights are known."""
    real = modes.real
    count = modes.counts
    count[PASSES] += 1
    count[SPENT] += 1
    q = plan.trunk_start + plan.trunk_size
    penalty = 0.0
    for c in range(q):
        penalty += modes.trial[c] * modes.trial[c]
    real[TRIAL] = real[DEVIANCE] + penalty
    if count[STARTED] == 0:
        if math.isfinite(real[TRIAL]):
            return accept_trial(plan, lam, joint, modes)
        if penalty == 0.0 or count[SPENT] > 1:
            return FAILED
        for c in range(q):
            modes.trial[c] = 0.0
        return WEIGH
    if count[RETURNED] == 1:
        count[RETURNED] = 0
        count[USABLE] = 0
        return accept_trial(plan, lam, joint, modes)
    slack = 1e-14 * (abs(real[J]) + n)
    if math.isfinite(real[TRIAL]) and real[TRIAL] <= real[J] + slack:
        return accept_trial(plan, lam, joint, modes)
    if count[HALVINGS] >= MOST_HALVINGS or count[SPENT] >= MOST_PASSES:
        return FAILED
    count[HALVINGS] += 1
    if count[FRESH] == 0 and count[HALVINGS] > 1 and count[FALLBACK] == 0:
        # an old factorization led astray
        count[RETURNED] = 1
        count[HALVINGS] = 0
        for c in range(modes.u.shape[0]):
            modes.trial[c] = modes.u[c]
        return WEIGH
    real[STEP] *= 0.5
    for c in range(modes.u.shape[0]):
        modes.trial[c] = modes.u[c] + real[STEP] * modes.step[c]
    return WEIGH


@inner_kernel
def takes_newton(modes: Modes, canonical: int) -> bool:
    """Whether the factorization that comes next, at the accepted point, is one with observed weights, which the criterion does
    not have: for steps only. They need not be positive; once it has failed, there is no other."""
    count = modes.counts
    if canonical == 1 or count[SPENT] <= PATIENCE or count[FINISHING] == 1 or count[NEWTON] < 0:
        return False
    count[NEWTON] = 1
    return True


@inner_kernel
def factored(modes: Modes, logdet: float) -> int:
    """The factorization at the accepted point is done; ``logdet`` is NaN if it failed."""
    real = modes.real
    count = modes.counts
    count[FACTORS] += 1
    if count[NEWTON] == 1:
        fine = math.isfinite(logdet)
        count[NEWTON] = 0 if fine else -1
        count[USABLE] = 1 if fine else 0
        count[FRESH] = 2
        return SOLVE if fine else FACTOR
    if not math.isfinite(logdet):
        count[USABLE] = 0
        if modes.fisher.shape[0] == 0 or count[FALLBACK] == 1:
            return FAILED
        # observed weights need not be positive away from the modes; Fisher's are
        count[FALLBACK] = 1
        return FACTOR
    real[LOGDET] = logdet
    count[USABLE] = 1
    if count[FALLBACK] == 1:
        count[FALLBACK] = 0
        if count[FINISHING] == 1:
            return FAILED
        count[FRESH] = 2
        return SOLVE
    count[FRESH] = 1
    if count[FINISHING] == 1:
        return DONE
    return SOLVE


@inner_kernel
def solved(modes: Modes) -> int:
    """``step`` solves for minus ``pull``."""
    real = modes.real
    count = modes.counts
    count[SOLVES] += 1
    decrement = 0.0
    for c in range(modes.u.shape[0]):
        decrement -= modes.pull[c] * modes.step[c]
    real[DECREMENT] = decrement
    if not math.isfinite(decrement):
        return FAILED
    count[IDLE] = count[IDLE] + 1 if decrement > FALLING * real[EARLIER] and decrement < FLOOR else 0
    if decrement <= real[TOLERANCE] or count[IDLE] > 0:
        if count[FRESH] == 1:
            return DONE
        count[FINISHING] = 1
        return FACTOR
    if count[SPENT] >= MOST_PASSES:
        return FAILED
    if count[FRESH] == 0 and decrement > real[CONTRACTION] * real[EARLIER]:
        real[EARLIER] = math.inf
        return FACTOR
    real[EARLIER] = decrement
    real[STEP] = 1.0
    for c in range(modes.u.shape[0]):
        modes.trial[c] = modes.u[c] + modes.step[c]
    return WEIGH
