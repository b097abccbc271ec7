"""Shift and scale of the columns inside the engine, and the way back to the user's units.

Scales are powers of two, so standardizing rounds nothing. A column is centred only where the model's span is closed under
it: fixed-effect columns and the response beside an intercept, random-effect columns beside an intercept in the same
unstructured block. Columns that are nearly collinear are orthogonalized, where the span allows it: a cross-product holds
squares, and would lose twice the digits that the columns have in common.
``b_user = T b`` with an upper triangular T per random term, ``beta_user = C beta``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.scales import fixed_scales, power_of_two, sampled_rows, shift_scale

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import Layout

    Float = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Standardization:
    """Shifts and scales.

    Attributes
    ----------
    x_shift, x_scale
        Per fixed-effect column, shape (p,): the engine sees ``(x - shift) / scale``.
    y_shift, y_scale
        Of the response (offset already subtracted).
    z_shift, z_scale
        Per factor, shape (width,).
    intercept
        Position of the intercept among the fixed-effect columns, or -1.
    root_weight
        The engine divides the prior weights by its square: theta and sigma then do not depend on the weights' units.
    x_basis
        Upper triangular, over the fixed-effect columns in use: the engine sees ``((x - shift) / scale) x_basis``. None for
        the identity.
    z_basis
        Per factor the same, shape (width, width), block diagonal over its terms.
    """

    x_shift: Float
    x_scale: Float
    y_shift: float
    y_scale: float
    z_shift: tuple[Float, ...]
    z_scale: tuple[Float, ...]
    intercept: int
    root_weight: float
    x_basis: Float | None
    z_basis: tuple[Float | None, ...]

    def beta_map(self, kept: NDArray[np.int64]) -> Float:
        """C of ``beta_user = C beta + y_shift e_intercept``, for coefficients of the scaled response, over the columns kept."""
        c = np.diag(self.y_scale / self.x_scale)
        if self.intercept >= 0:
            c[self.intercept] -= self.y_scale * self.x_shift / self.x_scale
        used: Float = c if len(kept) == len(c) else c[np.ix_(kept, kept)]
        return used if self.x_basis is None else used @ self.x_basis

    def effect_map(self, factor: int, first: int, width: int, intercept: int) -> Float:
        """T of ``b_user = T b`` for one random term, relative to sigma: the response scale drops out, the weights' stays."""
        shift = self.z_shift[factor][first : first + width]
        scale = self.z_scale[factor][first : first + width]
        t = np.diag(1.0 / scale)
        if intercept >= 0:
            t[intercept] -= shift / scale
        basis = self.z_basis[factor]
        own = slice(first, first + width)
        return (t if basis is None else t @ basis[own, own]) / self.root_weight


def term_intercept(design_intercept: bool) -> int:
    """Where the intercept column of a design stands: first, if there is one."""
    return 0 if design_intercept else -1


def standardize(model: Layout) -> Standardization:
    """Shifts and scales from the rows, or from an evenly spaced sample of them when there are many.

    Any shift near the data and any scale near the spread serve: the fit does not depend on them but for rounding.
    """
    frame = model.frame
    rows = sampled_rows(frame.n)
    n = len(range(frame.n)[rows])
    x_shift, x_scale, intercept = fixed_scales(model)
    y = frame.response[rows] if frame.offset is None else frame.response[rows] - frame.offset[rows]
    y_shift, y_scale = shift_scale(y[:, None], np.array([intercept >= 0]))
    z_shift, z_scale = [], []
    for factor in model.factors:
        shift, scale = np.zeros(factor.width), np.ones(factor.width)
        for i in factor.blocks:
            block = model.blocks[i]
            z = np.empty((n, block.width), order="F")
            block.design.fill(frame.variables, rows, z)
            centred = np.full(block.width, block.term.lhs.intercept and block.family == "full")
            if block.term.lhs.intercept:
                centred[0] = False
            columns = slice(block.first, block.first + block.width)
            shift[columns], scale[columns] = shift_scale(z, centred)
        z_shift.append(shift)
        z_scale.append(scale)
    root_weight = 1.0 if frame.weights is None else power_of_two(float(np.sqrt(frame.weights.mean())))
    return Standardization(x_shift, x_scale, float(y_shift[0]), float(y_scale[0]), tuple(z_shift), tuple(z_scale),
                           intercept, root_weight, None, (None,) * len(model.factors))
