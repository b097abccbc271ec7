"""Where the covariance parameters of a model lie: in ``lam``, each factor's Lambda in standardized units, row-major, one after
another. Theta in the user's units is read from it and written to it here and nowhere else.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.standardize import term_intercept
from mixeff_fast.kernels import covariance
from mixeff_fast.kernels.settle import ONE_SIDED_STEP
from mixeff_fast.kernels.structure import ThetaMap

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, RandomBlock
    from mixeff_fast.fit.assemble import Assembled
    from mixeff_fast.kernels.optimizer import Search
    from mixeff_fast.kernels.structure import Path
    from mixeff_fast.vocabulary import Limit

    Float = NDArray[np.float64]

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


class Coordinates(ABC):
    """A criterion as a function of Lambda: what searches and certificates ask of an engine. A point may go on after ``lam``
    with parameters beside the covariance parameters. ``reml`` is for criteria that know of it.
    """

    model: CompiledModel
    assembled: Assembled
    n: int
    theta_map: ThetaMap
    search: Search
    path: Path
    # a Hessian by differences is replaced by the average information where that is enough
    spares_evaluations: bool
    # shortest step of one-sided differences of the gradient, relative to the natural one
    one_sided_step = ONE_SIDED_STEP
    # a Hessian that others than the certificate read is of a point where the Newton decrement is at most this
    sharp_decrement = math.inf

    @abstractmethod
    def criterion(self, lam: Float, reml: bool) -> float:
        """The criterion at ``lam``."""

    @abstractmethod
    def gradients(self, lams: Float, reml: bool) -> tuple[Float, Float]:
        """Criterion at every row of ``lams``, and its derivatives with respect to every entry."""

    @abstractmethod
    def run(self, reml: bool, request: int) -> int:
        """Go on with the search from ``path.trial`` for ``request`` evaluations or to its end; returns what comes next."""

    @abstractmethod
    def rounding(self) -> float:
        """Rounding error of the criterion at the point evaluated last."""

    def limit(self, lam: Float, objective: float, curvature: float) -> Limit:
        """Where the last parameter beside the covariance parameters has run to, if the objective does not change with it any
        more; ``curvature`` is its second derivative there."""
        return ""

    def criterion_shift(self, reml: bool) -> float:
        """Add this to a criterion of the standardized model to get the user's."""
        return 0.0

    @property
    def collapsed(self) -> bool:
        """Whether the point evaluated last fits the response exactly, so that the criterion has no bound."""
        return False

    def evaluate(self, lam: Float, reml: bool) -> tuple[float, Float]:
        """``gradients`` at one point."""
        values, grads = self.gradients(lam[None], reml)
        return float(values[0]), grads[0]

    def extra_directions(self) -> tuple[Float, Float]:
        """Standard errors of the parameters beside the covariance parameters, in order, had these been observed; and how many
        of these make a step of the natural size. A linear model profiles them out."""
        return np.zeros(0), np.zeros(0)

    def new_theta_map(self) -> ThetaMap:
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
