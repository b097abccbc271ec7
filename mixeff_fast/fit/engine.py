"""The engine of one linear mixed model: cross-product, workspace, and evaluations at any Lambda.

``lam`` holds each factor's Lambda in standardized units, row-major, one after another.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile import check_saturation, with_border
from mixeff_fast.errors import FitError
from mixeff_fast.fit import staged
from mixeff_fast.fit.assemble import Assembled, assemble
from mixeff_fast.fit.compilation import listen
from mixeff_fast.fit.coordinates import Coordinates
from mixeff_fast.fit.crossproduct import factor_blocks
from mixeff_fast.fit.standardize import standardize
from mixeff_fast.fit.threads import Team
from mixeff_fast.fit.trunks import DenseStages, SparseStages
from mixeff_fast.fit.workspace import (
    n_chunks,
    needed_bytes,
    new_evidence,
    new_path,
    new_scoring,
    new_search,
    new_trunk,
    new_workspace,
    works_in_lanes,
)
from mixeff_fast.kernels import profiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, EliminationPlan
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.kernels.structure import DenseTrunk, Workspace

    Float = NDArray[np.float64]

listen()

# a factorization of fewer flops and blocks runs wholly compiled, on one thread: handing out tasks would cost more
SMALL_FLOPS = 2e7
SMALL_BLOCKS = 1000
# the same for blocks that are worked on in lanes
SMALL_LANE_BLOCKS = 4000
# a Hessian by differences of the gradient that takes more than this is replaced by the average information where that is
# enough; a block counts as so many flops at least
SPARING_FLOPS = 7e5
BLOCK_FLOPS = 200.0
# residual share of the response's sum of squares below which the fit is exact and the criterion unbounded
COLLAPSED = 1e-13


_NO_ROOTS = np.empty((0, 0, 0))


def spares_evaluations(model: CompiledModel) -> bool:
    """Whether evaluations of a model take so long that evidence comes from as few as will do."""
    return model.n_theta * max(model.plan.flops, BLOCK_FLOPS * model.plan.n_sparse) > SPARING_FLOPS


class Engine(Coordinates):
    """Owns the arrays of a model, but for ``assembled`` where that is given. Not safe for use from two threads at once: the
    workspace is shared."""

    def __init__(
        self, model: CompiledModel, control: Control, assembled: Assembled | None = None,
        source: StatisticsSource | None = None,
    ) -> None:
        """Assemble the rows of the model's frame, or take what was ``assembled`` before, or the sums of a ``source``."""
        check_saturation(model)
        check_memory(model, control)
        self.model = model
        self.team = Team(control.threads)
        frame = model.frame
        self.n = frame.n
        self.assembled: Assembled
        self.log_weights = 0.0
        if source is not None:
            self.assembled, self.log_weights = source.assemble(model), source.log_weights
        else:
            self.assembled = assemble(model, standardize(model), self.team) if assembled is None else assembled
            if frame.weights is not None:
                self.log_weights = float(np.log(frame.weights).sum())
        self.rank = len(self.assembled.kept)
        plan = model.plan
        self.in_lanes = works_in_lanes(plan)
        most_blocks = SMALL_LANE_BLOCKS if self.in_lanes else SMALL_BLOCKS
        self.is_small = plan.flops < SMALL_FLOPS and plan.n_sparse < most_blocks and plan.supernodes is None
        self.spares_evaluations = spares_evaluations(model)
        self.n_chunks = n_chunks(model.plan)
        self.work = new_workspace(model.plan, self.assembled, self.n_chunks)
        self.chain, self.trunk = new_trunk(model.plan, self.assembled)
        self.stages = None if self.is_small else new_stages(model.plan, self.assembled, self.work, self.trunk, self.team)
        self.theta_map = self.new_theta_map()
        self.scoring = new_scoring(model, self.assembled, self.work)
        self.search = new_search(model.n_theta)
        self.evidence = new_evidence(model.n_theta, self.assembled.lam_size)
        self.path = new_path(self.assembled.lam_size)
        standard = self.assembled.standard
        # what turns the criterion of the standardized model into that of the user's
        weights = 2.0 * self.n * math.log(standard.root_weight) - self.log_weights
        self._shift_ml = 2.0 * self.n * math.log(standard.y_scale) + weights
        self._shift_reml = (
            2.0 * (self.n - self.rank) * math.log(standard.y_scale)
            + weights
            + 2.0 * float(np.log(standard.x_scale[self.assembled.kept]).sum())
            - (0.0 if standard.x_basis is None else 2.0 * float(np.log(np.diag(standard.x_basis)).sum()))
        )

    def criterion_shift(self, reml: bool) -> float:
        """Add this to a criterion of the standardized model to get the user's."""
        return self._shift_reml if reml else self._shift_ml

    def dof(self, reml: bool) -> float:
        return float(self.n - self.rank) if reml else float(self.n)

    def run(self, reml: bool, request: int) -> int:
        """Serve a request of ``profiled.run`` at ``path.trial``, on as many threads as the model is worth."""
        if not self.is_small:
            return staged.run(self, reml, request)
        return int(profiled.run(self.assembled.arrays, self.assembled.cross, self.work, self.chain, self.trunk,
                                self.theta_map, self.scoring, self.search, self.path, reml, self.dof(reml), request))

    def criterion(self, lam: Float, reml: bool) -> float:
        """The criterion at ``lam`` (standardized units)."""
        self.path.trial[:] = lam
        self.run(reml, profiled.CRITERION)
        return float(self.work.result[profiled.OBJECTIVE])

    def gradients(self, lams: Float, reml: bool) -> tuple[Float, Float]:
        """Criterion at every row of ``lams`` (standardized units), and its derivatives with respect to every entry."""
        return self._gradients(lams, reml, _NO_ROOTS)

    def gradients_and_roots(self, lams: Float, reml: bool) -> tuple[Float, Float]:
        """Derivatives of the criterion at every row of ``lams`` (standardized units), and the root of the fixed effects'
        precision over the residual variance, shape (rows, rank, rank), lower triangular."""
        roots = np.zeros((len(lams), self.rank, self.rank))
        return self._gradients(lams, reml, roots)[1], roots

    def _gradients(self, lams: Float, reml: bool, roots: Float) -> tuple[Float, Float]:
        values, grads = np.empty(len(lams)), np.empty_like(lams)
        if self.is_small:
            profiled.gradients(self.assembled.arrays, self.assembled.cross, self.work, self.chain, self.trunk, reml,
                               self.dof(reml), lams, values, grads, roots)
        else:
            staged.gradients(self, reml, lams, values, grads, roots)
        return values, grads

    def marginal(self, lam: Float, border: Float, effects: Float, grad: Float) -> bool:
        """Half of the marginal model at ``lam``: see ``profiled.marginal``."""
        if not self.is_small:
            return staged.marginal(self, lam, border, effects, grad)
        return bool(profiled.marginal(self.assembled.arrays, self.assembled.cross, self.work, self.chain, self.trunk, True,
                                      self.dof(True), lam, border, effects, grad))

    def score(self, lam: Float, reml: bool) -> tuple[float, Float, Float]:
        """``evaluate``, and the search's model of the Hessian, shape (n_theta, n_theta), in displacements ``Lambda (I + E)``:
        average information, and the curvature of ``Lambda Lambda'``."""
        self.path.trial[:] = lam
        self.run(reml, profiled.SCORED)
        value = float(self.work.result[profiled.OBJECTIVE])
        return value, self.path.trial_grad.copy(), self.search.hessian.copy()

    @property
    def collapsed(self) -> bool:
        """Whether the residual of the Lambda evaluated last is nothing but rounding."""
        return self.pivot**2 <= COLLAPSED * self.total

    @property
    def pivot(self) -> float:
        """The root of the penalized residual sum of squares at the Lambda evaluated last (standardized units)."""
        return float(self.work.result[profiled.PIVOT])

    @property
    def total(self) -> float:
        """The response's weighted sum of squares (standardized units)."""
        return float(self.assembled.cross.border[-1, -1])

    def rounding(self) -> float:
        """Rounding error of the criterion at the Lambda evaluated last."""
        return float(profiled.rounding(self.total, self.pivot**2, float(self.n)))

    def solve(self, lam: Float, reml: bool) -> Float:
        """The solution column w at ``lam``; spherical effects and coefficients are ``-w`` (scaled response)."""
        self.path.trial[:] = lam
        self.run(reml, profiled.SOLUTION)
        return self.work.solution.copy()

    def conditional_inverse(self, lam: Float, reml: bool) -> tuple[Float, ...]:
        """Per factor, the diagonal blocks of ``(Lambda'Z'WZLambda + I)^{-1}`` at ``lam``, shape (levels, width, width)."""
        self.path.trial[:] = lam
        self.run(reml, profiled.CONDITIONAL)
        return tuple(
            factor_blocks(self.model.plan, self.work.inverse_diag, k) for k in range(len(self.model.factors))
        )


def new_stages(
    plan: EliminationPlan, assembled: Assembled, work: Workspace, trunk: DenseTrunk | None, team: Team
) -> DenseStages | SparseStages | None:
    """What factors and inverts the trunk on several threads, if there is one."""
    arrays, cross = assembled.arrays, assembled.cross
    if plan.supernodes is not None:
        return SparseStages(arrays, cross, work, with_border(plan.supernodes, arrays.border), team)
    return None if trunk is None else DenseStages(arrays, cross, work, trunk, team)


def available_memory() -> int:
    """Bytes of memory free on this machine, as far as the operating system says."""
    import os

    try:
        with open("/proc/meminfo", encoding="ascii") as lines:  # noqa: PTH123
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return 1 << 62


def check_memory(model: CompiledModel, control: Control) -> None:
    """Refuse what takes more memory than it may."""
    plan = model.plan
    limit = control.memory_limit
    needed = needed_bytes(model)
    if limit is None:
        if needed < 1 << 28:
            return
        limit = int(0.8 * available_memory())
    if needed > limit:
        trunk = [model.factors[k].group.name for k in plan.order[plan.n_chain :]]
        kind = "trunk" if plan.trunk == "none" else f"{plan.trunk} trunk"
        raise FitError(
            f"the factorization needs {needed / 2**30:.2f} GiB and may take {limit / 2**30:.2f} GiB; its {kind} has "
            f"{plan.trunk_size} columns (factors {', '.join(trunk) or 'none'}). Raise control(memory_limit=) if the "
            "machine has the memory, or leave out a crossed factor",
            reason_code="memory_limit",
            bytes=needed,
            limit=limit,
            trunk_size=plan.trunk_size,
        )
