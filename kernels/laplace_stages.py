"""The stages of ``laplace.modes_at`` and ``laplace.slopes_at`` for models worth several threads, cut into independent tasks.

Task t is done by the call with ``first <= t``, ``t = first, first + step, ...``. Which thread does which changes no bit.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.kernels import laplace, pirls, rows
from mixeff_fast.kernels._cache import kernel

if TYPE_CHECKING:
    from mixeff_fast.kernels.laplace import Family
    from mixeff_fast.kernels.pirls import Modes
    from mixeff_fast.kernels.rows import Rows
    from mixeff_fast.kernels.structure import CrossProduct, Float, Plan, Workspace

_weigh_chunk = laplace.weigh_chunk
_observe_chunk = laplace.observe_chunk
_finish_weighing = laplace.finish_weighing
_bend_chunk = laplace.bend_chunk
_respond_chunk = laplace.respond_chunk
_add_levels = laplace.add_levels
_end_factor = laplace.end_factor
_keep_border = laplace.keep_border
_restore_border = laplace.restore_border
_weigh_rows = rows.weigh_rows
_add_weighed = rows.add_weighed
_add_sums = rows.add_sums
_begin = pirls.begin
_weighed = pirls.weighed
_takes_newton = pirls.takes_newton
_factored = pirls.factored
_solved = pirls.solved
_scale_effects = pirls.scale_effects
_scale_sums = pirls.scale_sums


@kernel
def begin(modes: Modes) -> int:
    return _begin(modes)


@kernel
def scale_trial(plan: Plan, lam: Float, modes: Modes) -> None:
    _scale_effects(plan, lam, modes.trial, modes.effects)


@kernel
def weigh(rows: Rows, plan: Plan, family: Family, modes: Modes, fixed: bool, first: int, step: int) -> None:
    for c in range(first, rows.chunk.shape[0] - 1, step):
        _weigh_chunk(rows, plan, family, modes, fixed, c)


@kernel
def weighed(rows: Rows, plan: Plan, lam: Float, joint: bool, modes: Modes) -> int:
    _finish_weighing(rows, plan, modes)
    return _weighed(plan, lam, joint, rows.y.shape[0], modes)


@kernel
def takes_newton(modes: Modes, canonical: int) -> bool:
    return _takes_newton(modes, canonical)


@kernel
def observe(rows: Rows, family: Family, modes: Modes, first: int, step: int) -> None:
    for c in range(first, rows.chunk.shape[0] - 1, step):
        _observe_chunk(rows, family, modes, c)


@kernel
def end_factor(work: Workspace, logdet: float, needed: bool) -> float:
    return _end_factor(work, logdet, needed)


@kernel
def keep_border(work: Workspace) -> None:
    _keep_border(work)


@kernel
def restore_border(work: Workspace) -> None:
    _restore_border(work)


@kernel
def cross_product(
    rows: Rows, plan: Plan, cross: CrossProduct, weight: Float, fixed: bool, first: int, step: int
) -> None:
    for c in range(first, rows.chunk.shape[0] - 1, step):
        _weigh_rows(rows, plan, cross, weight, fixed, c)


@kernel
def add_weighed(rows: Rows, plan: Plan, cross: CrossProduct, fixed: bool) -> None:
    _add_weighed(rows, plan, cross, fixed)


@kernel
def factored(modes: Modes, logdet: float) -> int:
    return _factored(modes, logdet)


@kernel
def descend(modes: Modes) -> None:
    for c in range(modes.step.shape[0]):
        modes.step[c] = -modes.pull[c]


@kernel
def solved(modes: Modes) -> int:
    return _solved(modes)


@kernel
def bend(
    rows: Rows, plan: Plan, family: Family, modes: Modes, work: Workspace, lam: Float, panel: Float, joint: bool, first: int,
    step: int
) -> None:
    for c in range(first, rows.chunk.shape[0] - 1, step):
        _bend_chunk(rows, plan, family, work, lam, panel, modes, joint, c)


@kernel
def start_response(rows: Rows, plan: Plan, lam: Float, joint: bool, modes: Modes) -> None:
    """``Lambda'Z't``, to be solved for."""
    _add_sums(rows, plan, modes.sums)
    _scale_sums(plan, lam, modes.sums, 1.0, joint, modes.step)


@kernel
def scale_step(plan: Plan, lam: Float, modes: Modes) -> None:
    _scale_effects(plan, lam, modes.step, modes.effects)


@kernel
def respond(rows: Rows, plan: Plan, modes: Modes, first: int, step: int) -> None:
    for c in range(first, rows.chunk.shape[0] - 1, step):
        _respond_chunk(rows, plan, modes, c)


@kernel
def finish_response(rows: Rows, plan: Plan, modes: Modes, grad: Float) -> float:
    """The gradient in Lambda; returns that in the logarithm of the family's parameter."""
    _add_sums(rows, plan, modes.sums)
    _add_levels(plan, modes, grad)
    total = 0.0
    for c in range(modes.deviance.shape[0]):
        total += modes.deviance[c]
    return total
