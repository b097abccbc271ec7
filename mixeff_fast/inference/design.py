"""What inference needs to know of X: its cross-product, and how its aliased columns depend on the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.aliasing import ALIAS_TOLERANCE
from mixeff_fast.compile.scales import fixed_scales
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.statistics import Statistics

    Float = NDArray[np.float64]
    Bool = NDArray[np.bool_]

CHUNK_ROWS = 16_384
# what a row without trials counts for
_NO_TRIALS = 1e-8
# share of what it is a sum of, below which a weight of the relation between columns is rounding
ROUNDING = 1e-10
# share of its terms below which a combination of them is zero: weights that a caller wrote with eight digits pass
ESTIMABLE = 1e-8


@dataclass(frozen=True, slots=True)
class FixedDesign:
    """The fixed-effect columns, without their rows.

    Attributes
    ----------
    factor
        A matrix with the same cross-product as the standardized columns, shape (r, p).
    to_standard
        M of ``X = X_standard M``: hypotheses ``L`` on the standardized coefficients are ``L M`` on the user's, shape (p, p).
    kept
        Which columns were fitted, shape (p,).
    relation
        B of ``X[:, ~kept] = X[:, kept] B``, in the user's units, shape (rank, p - rank).
    weighted
        Whether the cross-product is of weighted rows.
    """

    factor: Float
    to_standard: Float
    kept: Bool
    relation: Float
    weighted: bool

    def residue(self, matrix: Float) -> tuple[Float, Float]:
        """What is not estimable of each row of ``matrix`` (shape (k, p)), and the sizes it is to be measured by."""
        fitted, aliased = matrix[:, self.kept], matrix[:, ~self.kept]
        return aliased - fitted @ self.relation, np.abs(aliased) + np.abs(fitted) @ np.abs(self.relation)

    def estimable(self, matrix: Float) -> Bool:
        """Which rows of ``matrix`` (shape (k, p)) lie in the row space of X, shape (k,).

        ``L N = 0`` for a basis N of the null space of X, each product measured by the terms it is the sum of: the answer
        does not depend on units of measurement. Searle (1971), *Linear Models*, section 5.4.
        """
        rest, size = self.residue(matrix)
        return np.asarray(np.all(np.abs(rest) <= ESTIMABLE * size, axis=1))

    def spread(self, rows: Float) -> Float:
        """Rows over the columns that were fitted as the estimable rows over all columns that say the same, shape (k, p)."""
        out = np.empty((len(rows), len(self.kept)))
        out[:, self.kept] = rows
        out[:, ~self.kept] = rows @ self.relation
        return out

    def rank_without(self, start: int, stop: int) -> int:
        """The rank of the columns but for those from ``start`` to before ``stop``."""
        left = np.delete(self.factor, slice(start, stop), axis=1)
        length = np.linalg.norm(left, axis=0)
        return int(np.linalg.matrix_rank(left / np.where(length > 0.0, length, 1.0), tol=ALIAS_TOLERANCE))

    def touched(self) -> Bool:
        """Columns that take part in a relation between columns, shape (p,)."""
        out = ~self.kept
        out[self.kept] = np.any(self.relation != 0.0, axis=1)
        return out


def design_of_rows(model: CompiledModel, kept: Bool) -> FixedDesign:
    """The design of a model whose rows are in memory: triangular factors of chunks of rows, each stacked on those before.

    A row with numbers of trials counts as so many rows; one without trials for nothing but its place in the row space.
    """
    trials = model.frame.trials
    shift, scale, intercept = fixed_scales(model)
    p = len(scale)
    factor = np.zeros((0, p))
    for start in range(0, model.frame.n, CHUNK_ROWS):
        rows = slice(start, min(start + CHUNK_ROWS, model.frame.n))
        x = np.empty((rows.stop - rows.start, p))
        model.fixed.fill(model.frame.variables, rows, x, shift, scale)
        if trials is not None:
            x *= np.sqrt(np.maximum(trials[rows], _NO_TRIALS))[:, None]
        factor = np.asarray(np.linalg.qr(np.vstack([factor, x]), mode="r"))
    return _design(factor, shift, scale, intercept, kept, weighted=False)


def design_of_sums(statistics: Statistics, kept: Bool, weighted: bool) -> FixedDesign:
    """The design of a model whose rows were summed."""
    standard = statistics.standard
    gram = statistics.sums.border[:-1, :-1]
    scale = np.sqrt(np.where(np.diag(gram) > 0.0, np.diag(gram), 1.0))
    triangle = np.linalg.cholesky((gram / scale / scale[:, None])[np.ix_(kept, kept)]).T
    factor = np.zeros((len(triangle), len(gram)))
    factor[:, kept] = triangle * scale[kept]
    factor[:, ~kept] = np.linalg.solve(triangle.T, (gram / scale[:, None])[np.ix_(kept, ~kept)])
    return _design(factor, standard.x_shift, standard.x_scale, standard.intercept, kept, weighted)


def fixed_design(model: CompiledModel, kept: Bool, statistics: Statistics | None) -> FixedDesign:
    """The design of a model, of its rows or of ``statistics`` where those are elsewhere."""
    if model.frame.response is not ROWS_ELSEWHERE or statistics is None:
        return design_of_rows(model, kept)
    return design_of_sums(statistics, kept, model.frame.weights is not None)


def _design(factor: Float, shift: Float, scale: Float, intercept: int, kept: Bool, weighted: bool) -> FixedDesign:
    to_standard = np.diag(scale)
    if intercept >= 0:
        to_standard[intercept] += np.where(np.arange(len(scale)) == intercept, 0.0, shift)
    return FixedDesign(factor, to_standard, kept, _relation(factor, to_standard, kept), weighted)


def _relation(factor: Float, to_standard: Float, kept: Bool) -> Float:
    """B of ``X[:, ~kept] = X[:, kept] B`` in the user's units, with exact zeros where rounding is all there is."""
    if kept.all():
        return np.zeros((int(kept.sum()), 0))
    standard = np.linalg.lstsq(factor[:, kept], factor[:, ~kept], rcond=None)[0]
    standard[np.abs(standard) <= ROUNDING] = 0.0
    own, other = to_standard[np.ix_(kept, kept)], to_standard[np.ix_(kept, ~kept)]
    unit = np.diag(to_standard)[~kept]
    back = np.linalg.inv(own)
    found = back @ (other + standard * unit)
    size = np.abs(back) @ (np.abs(other) + np.abs(standard) * unit)
    found[np.abs(found) <= ROUNDING * size] = 0.0
    return np.asarray(found)
