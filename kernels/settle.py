"""Second-order evidence at an interior optimum of a small model, in compiled code: what ``fit.face`` finds there.

For the plain case only: every direction of every covariance matrix present, and the Hessian well away from singular. Anything
else is left to ``fit.face``, which knows what to do with it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from mixeff_fast.kernels._cache import kernel, quick_kernel, small_kernel
from mixeff_fast.kernels.covariance import orthogonalize
from mixeff_fast.kernels.optimizer import eigenvalues
from mixeff_fast.kernels.profiled import PIVOT, gradients_at, rounding

if TYPE_CHECKING:
    from mixeff_fast.kernels.structure import CrossProduct, DenseTrunk, Float, Plan, ThetaMap, Workspace

# shortest step of the differences, in units of a direction's standard deviation and its noise
ONE_SIDED_STEP = 1e-5
# standard deviation, relative to that of a row's residual, below which a direction is tried for absence
SMALL_DIRECTION = 3e-3
# share of the nominal information below which a parameter is not scaled up further
WEAK_INFORMATION = 1e-4
# scaled eigenvalues below this call for central differences
WEAK = 1e-3
# a Newton decrement below this is rounding
POLISHED_DECREMENT = 1e-14
MAX_POLISH = 4
CERTIFIED_DECREMENT = 1e-7
# a rise or gain of the objective that counts as none
NEGLIGIBLE = 1e-8


class Evidence(NamedTuple):
    """What ``settle`` finds, for n covariance parameters; see ``fit.face.Face``. The last row of ``points`` is the point."""

    directions: Float  # n x length of lam
    steps: Float  # n
    points: Float  # (n + 1) x length of lam
    grads: Float  # (n + 1) x length of lam
    objectives: Float  # n + 1
    gradient: Float  # n
    hessian: Float  # n x n
    scale: Float  # n
    scaled: Float  # n x n, scratch
    values: Float  # n, ascending
    vectors: Float  # n x n
    step: Float  # length of lam
    decrement: Float  # 1
    evaluations: Float  # 1


@small_kernel
def copy(a: Float, out: Float) -> None:
    for i in range(a.shape[0]):
        out[i] = a[i]


@quick_kernel
def free_directions(theta_map: ThetaMap, lam: Float, out: Evidence) -> bool:
    """``fit.face.free_directions`` at a Lambda with orthogonal columns; False where one of them is short."""
    i = 0
    out.directions[:] = 0.0
    for k in range(theta_map.width.shape[0]):
        w = theta_map.width[k]
        o = theta_map.start[k]
        stride = theta_map.stride[k]
        alone = theta_map.diagonal[k] != 0
        information = 2.0 * math.sqrt(theta_map.levels[k])
        for b in range(w):
            for a in range(b, b + 1 if alone else w):
                low = a if alone else 0
                high = a + 1 if alone else w
                square = 0.0
                for x in range(low, high):
                    square += lam[o + x * stride + a] ** 2
                if not square >= SMALL_DIRECTION**2:
                    return False
                size = math.sqrt((square + theta_map.noise[k] ** 2) / square) / information
                for x in range(low, high):
                    out.directions[i, o + x * stride + b] = lam[o + x * stride + a] * size
                out.steps[i] = information
                i += 1
    return True


@quick_kernel
def spectrum(out: Evidence) -> None:
    """Scale the Hessian to a unit diagonal; its eigenvalues, ascending, and eigenvectors."""
    n = out.steps.shape[0]
    for i in range(n):
        out.scale[i] = 1.0 / math.sqrt(max(abs(out.hessian[i, i]), WEAK_INFORMATION))
    for i in range(n):
        for j in range(n):
            out.scaled[i, j] = out.hessian[i, j] * out.scale[i] * out.scale[j]
    eigenvalues(out.scaled, out.vectors)
    for i in range(n):
        out.values[i] = out.scaled[i, i]
    for i in range(n):
        least = i
        for j in range(i + 1, n):
            if out.values[j] < out.values[least]:
                least = j
        out.values[i], out.values[least] = out.values[least], out.values[i]
        for x in range(n):
            out.vectors[x, i], out.vectors[x, least] = out.vectors[x, least], out.vectors[x, i]


@quick_kernel
def newton(grad: Float, out: Evidence) -> float:
    """Gradient along the directions and Newton's step from ``grad`` over lam; returns the decrement."""
    n = out.steps.shape[0]
    out.step[:] = 0.0
    decrement = 0.0
    for i in range(n):
        s = 0.0
        for x in range(grad.shape[0]):
            s += out.directions[i, x] * grad[x]
        out.gradient[i] = s
    for k in range(n):
        s = 0.0
        for i in range(n):
            s += out.vectors[i, k] * out.gradient[i] * out.scale[i]
        decrement += s * s / out.values[k]
        for i in range(n):
            f = -s / out.values[k] * out.vectors[i, k] * out.scale[i]
            for x in range(grad.shape[0]):
                out.step[x] += f * out.directions[i, x]
    return decrement


@kernel(quick=True)
def settle(
    plan: Plan, cross: CrossProduct, work: Workspace, chain: Float | None, trunk: DenseTrunk | None, theta_map: ThetaMap,
    lam: Float, reml: bool, dof: float, out: Evidence
) -> bool:
    """Gradient, Hessian by differences, and Newton steps from ``lam``, which moves to where they end; whether that is an
    optimum beyond doubt. If not, ``lam`` is as it was but for a rotation."""
    n = out.steps.shape[0]
    border = plan.border - 1
    here = out.points[n]
    grad = out.grads[n]
    orthogonalize(theta_map, lam, out.step, here)
    for i in range(theta_map.position.shape[0]):
        if theta_map.diagonal[theta_map.term[i]] != 0:
            lam[theta_map.position[i]] = abs(lam[theta_map.position[i]])
    out.evaluations[0] = 0.0
    if not free_directions(theta_map, lam, out):
        return False
    copy(lam, here)
    gradients_at(plan, cross, work, chain, trunk, reml, dof, out.points[n:], out.objectives[n:], out.grads[n:])
    r = work.result[PIVOT]
    noise = rounding(cross.border[border, border], r * r, dof)
    for i in range(n):
        out.steps[i] = max(ONE_SIDED_STEP * out.steps[i], math.sqrt(noise))
        for x in range(lam.shape[0]):
            out.points[i, x] = lam[x] + out.steps[i] * out.directions[i, x]
    gradients_at(plan, cross, work, chain, trunk, reml, dof, out.points[:n], out.objectives[:n], out.grads[:n])
    out.evaluations[0] += n + 1
    for i in range(n + 1):
        if not math.isfinite(out.objectives[i]):
            return False
    for i in range(n):
        for j in range(n):
            s = 0.0
            for x in range(lam.shape[0]):
                s += (out.grads[i, x] - grad[x]) * out.directions[j, x]
            out.scaled[i, j] = s / out.steps[i]
    for i in range(n):
        for j in range(n):
            out.hessian[i, j] = 0.5 * (out.scaled[i, j] + out.scaled[j, i])
    spectrum(out)
    if not out.values[0] >= WEAK:
        return False
    decrement = newton(grad, out)
    objective = out.objectives[n]
    moved = out.points[:1]
    for _ in range(MAX_POLISH):
        if decrement <= POLISHED_DECREMENT:
            break
        for x in range(lam.shape[0]):
            moved[0, x] = here[x] + out.step[x]
        gradients_at(plan, cross, work, chain, trunk, reml, dof, moved, out.objectives[:1], out.grads[:1])
        out.evaluations[0] += 1
        r = work.result[PIVOT]
        noise = rounding(cross.border[border, border], r * r, dof)
        after = newton(out.grads[0], out)
        if not (out.objectives[0] <= objective + max(NEGLIGIBLE, noise) and after < 0.5 * decrement):
            decrement = newton(grad, out)
            break
        copy(moved[0], here)
        copy(out.grads[0], grad)
        objective = out.objectives[0]
        decrement = after
    out.objectives[n] = objective
    out.decrement[0] = decrement
    if not decrement <= CERTIFIED_DECREMENT:
        return False
    copy(here, lam)
    return True
