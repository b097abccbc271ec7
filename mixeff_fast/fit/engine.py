"""The engine of one linear mixed model: cross-product, workspace, and evaluations at any Lambda.

``lam`` holds each factor's Lambda in standardized units, row-major, one after another; theta in the user's units is read
from it and written to it here and nowhere else.
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
from mixeff_fast.fit.crossproduct import factor_blocks
from mixeff_fast.fit.standardize import standardize, term_intercept
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
from mixeff_fast.kernels import covariance, profiled
from mixeff_fast.kernels.structure import ThetaMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, RandomBlock
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.statistics_fit import StatisticsSource

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
# relative size below which a row of Lambda is a combination of the rows above it
DEPENDENT = 1e-11


def lower_basis(root: Float, sizes: Float | None = None) -> tuple[Float, Float]:
    """The lower triangular L with non-negative diagonal and the rows Q with ``root = L Q``.

    Gram-Schmidt on the rows (twice). A rank-deficient covariance gets zero columns in L and zero rows in Q: the same
    L for the same covariance, whatever factor it came from. ``sizes`` are the rows' lengths before what cancelled in them,
    if they came of a product.
    """
    low, basis = np.zeros_like(root), np.zeros_like(root)
    sizes = np.sqrt((root * root).sum(axis=1)) if sizes is None else sizes
    covariance.lower_basis(np.array(root), sizes, DEPENDENT, low, basis)
    return low, basis


def lower_factor(root: Float) -> Float:
    """The lower triangular L with non-negative diagonal and ``L L' = root root'``; zero columns for absent directions."""
    if len(root) == 1:
        return np.abs(root)
    return lower_basis(root)[0]


def lower_product(left: Float, right: Float) -> tuple[Float, Float]:
    """``lower_basis`` of a product."""
    return lower_basis(left @ right, np.sqrt(np.square(np.abs(left) @ np.abs(right)).sum(axis=1)))


def separate(block: RandomBlock) -> bool:
    """Whether each column of the term is a cone of its own."""
    return block.width == 1 or block.family == "diagonal"


class Engine:
    """Owns the arrays of a model, but for ``assembled`` where that is given. Not safe for use from two threads at once: the
    workspace is shared."""

    def __init__(
        self, model: CompiledModel, control: Control, assembled: Assembled | None = None,
        source: StatisticsSource | None = None,
    ) -> None:
        """Assemble the rows of the model's frame, or take what was ``assembled`` before, or the sums of a ``source``."""
        check_saturation(model)
        _check_memory(model, control)
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
        self.spares_evaluations = model.n_theta * max(model.plan.flops, BLOCK_FLOPS * model.plan.n_sparse) > SPARING_FLOPS
        self.n_chunks = n_chunks(model.plan)
        self.work = new_workspace(model.plan, self.assembled, self.n_chunks)
        self.chain, self.trunk = new_trunk(model.plan, self.assembled)
        self.stages = None if self.is_small else self._trunk_stages()
        self.theta_map = self._theta_map()
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

    def _trunk_stages(self) -> DenseStages | SparseStages | None:
        arrays, cross = self.assembled.arrays, self.assembled.cross
        if self.model.plan.supernodes is not None:
            nodes = with_border(self.model.plan.supernodes, arrays.border)
            return SparseStages(arrays, cross, self.work, nodes, self.team)
        return None if self.trunk is None else DenseStages(arrays, cross, self.work, self.trunk, self.team)

    def _theta_map(self) -> ThetaMap:
        blocks, arrays = self.model.blocks, self.assembled.arrays
        factor = np.array([block.factor for block in blocks], np.int64)
        first = np.array([block.first for block in blocks], np.int64)
        levels = np.array([self.model.factors[block.factor].n_levels for block in blocks])
        stride = arrays.width[factor]
        start = arrays.lam_ptr[factor] + first * (stride + 1)
        term = np.repeat(np.arange(len(blocks)), [len(block.rows) for block in blocks])
        row = np.concatenate([block.rows for block in blocks])
        column = np.concatenate([block.columns for block in blocks])
        owner = factor[term]
        return ThetaMap(
            position=start[term] + row * stride[term] + column,
            term=term,
            row=row,
            column=column,
            owned_ptr=np.searchsorted(np.sort(owner), np.arange(len(arrays.width) + 1)),
            owned=np.argsort(owner, kind="stable"),
            x=first[term] + row,
            y=first[term] + column,
            first=first,
            width=np.array([block.width for block in blocks], np.int64),
            start=start,
            stride=stride,
            diagonal=np.array([int(block.width == 1 or block.family == "diagonal") for block in blocks], np.int64),
            levels=levels.astype(np.float64),
            noise=np.sqrt(levels / self.n),
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
        values, grads = np.empty(len(lams)), np.empty_like(lams)
        if self.is_small:
            profiled.gradients(self.assembled.arrays, self.assembled.cross, self.work, self.chain, self.trunk, reml,
                               self.dof(reml), lams, values, grads)
        else:
            staged.gradients(self, reml, lams, values, grads)
        return values, grads

    def evaluate(self, lam: Float, reml: bool) -> tuple[float, Float]:
        """``gradients`` at one point."""
        values, grads = self.gradients(lam[None], reml)
        return float(values[0]), grads[0]

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

    def block_slice(self, block: RandomBlock) -> tuple[slice, int]:
        """Where a factor's Lambda lies in ``lam``, and its width."""
        start = int(self.assembled.arrays.lam_ptr[block.factor])
        width = self.model.factors[block.factor].width
        return slice(start, start + width * width), width

    def block_lambda(self, lam: Float, block: RandomBlock) -> Float:
        """The term's own ``width x width`` Lambda inside ``lam``: a view."""
        where, width = self.block_slice(block)
        square = lam[where].reshape(width, width)
        own = slice(block.first, block.first + block.width)
        return square[own, own]

    def effect_map(self, block: RandomBlock) -> Float:
        """T of ``b_user = T b`` for one term."""
        centred = block.term.lhs.intercept and block.family == "full"
        return self.assembled.standard.effect_map(block.factor, block.first, block.width,
                                                  term_intercept(centred))

    def theta(self, lam: Float) -> Float:
        """Theta in the user's units."""
        out = np.zeros(self.model.n_theta)
        for block in self.model.blocks:
            to_user, root = self.effect_map(block), self.block_lambda(lam, block)
            lower = np.abs(to_user @ root) if separate(block) else lower_product(to_user, root)[0]
            out[block.theta] = lower[block.rows, block.columns]
        return out

    def lam(self, theta: Float) -> Float:
        """``lam`` in standardized units for a theta in the user's."""
        out = np.zeros(self.assembled.lam_size)
        for block in self.model.blocks:
            lower = np.zeros((block.width, block.width))
            lower[block.rows, block.columns] = theta[block.theta]
            to_engine: Float = np.linalg.inv(self.effect_map(block)).astype(np.float64)
            self.block_lambda(out, block)[...] = (
                to_engine @ lower if separate(block) else lower_product(to_engine, lower)[0]
            )
        return out

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


def _check_memory(model: CompiledModel, control: Control) -> None:
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
