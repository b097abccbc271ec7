"""Linear hypotheses ``L beta = rhs`` about fixed effects: their rank, and the independent directions they are made of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import InferenceUnavailable

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# singular values of rows of unit standard error below this mean that a row is a combination of others
DEPENDENT_ROWS = 1e-7
# difference, in standard errors, up to which a right-hand side agrees with the rows it follows from
CONSISTENT = 1e-7


@dataclass(frozen=True, slots=True)
class FTest:
    """An F test. ``f`` is the statistic to refer to F(ndf, ddf); ``f / scale`` is the one before scaling."""

    f: float
    ndf: int
    ddf: float
    rank: int
    scale: float


@dataclass(frozen=True, slots=True)
class Restriction:
    """Independent directions of a hypothesis, in the coordinates in which the covariance of beta is the identity.

    Attributes
    ----------
    rows
        The rows over the columns kept, shape (rows, p_kept).
    rank
        Of the rows.
    values, directions
        Singular values, shape (rank,), and right vectors, shape (rank, p_kept), of the rows scaled to unit standard error.
    distance
        ``L beta - rhs`` along the left vectors, in standard errors, shape (rank,).
    """

    rows: Float
    rank: int
    values: Float
    directions: Float
    distance: Float

    @property
    def wald(self) -> float:
        """``(L beta - rhs)'(L Cov L')^{-1}(L beta - rhs)``: chi-square on ``rank`` degrees of freedom."""
        return float(np.sum((self.distance / self.values) ** 2))


def restrict(L: ArrayLike, rhs: ArrayLike, beta: Float, kept: Int, root: Float) -> Restriction:
    """Reduce ``L beta = rhs`` to independent directions.

    Parameters
    ----------
    L
        One row or several over all fixed effects, shape (p,) or (rows, p). Weights on aliased columns are left out:
        estimable rows say the same without them.
    rhs
        What the rows are compared with, one number or one per row.
    beta
        Estimates, shape (p,), NaN where aliased.
    kept
        Columns that are not aliased.
    root
        ``root root'`` is the covariance of ``beta[kept]``.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``, ``contrast_rhs_inconsistent``.
    """
    rows = np.atleast_2d(np.asarray(L, np.float64))[:, kept]
    values = np.broadcast_to(np.asarray(rhs, np.float64), len(rows))
    white = rows @ root
    errors = np.sqrt(np.sum(white**2, axis=1))
    unit = np.where(errors > 0.0, errors, 1.0)
    left, singular, right = np.linalg.svd(white / unit[:, None], full_matrices=False)
    rank = int(np.sum(singular > DEPENDENT_ROWS * max(1.0, float(singular.max(initial=0.0)))))
    if rank == 0:
        raise InferenceUnavailable("the rows of the contrast are zero", reason_code="contrast_rank_zero", rows=len(rows))
    scaled = values / unit
    left = left[:, :rank]
    off = np.abs(scaled - left @ (left.T @ scaled)).max()
    if off > CONSISTENT * max(1.0, float(np.abs(scaled).max())):
        raise InferenceUnavailable(
            f"the {len(rows)} rows of the contrast have rank {rank}, and no coefficients satisfy all of their right-hand "
            "sides; leave out rows that follow from the others, or give them the values that follow",
            reason_code="contrast_rhs_inconsistent", rank=rank, rows=len(rows),
        )
    distance = left.T @ ((rows @ beta[kept]) / unit - scaled)
    return Restriction(rows, rank, singular[:rank], right[:rank], distance)


def one_row(row: ArrayLike, kept: Int) -> Float:
    """A row over the columns kept.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``.
    """
    out: Float = np.asarray(row, np.float64).reshape(-1)[kept]
    if not out.any():
        raise InferenceUnavailable("the contrast is zero", reason_code="contrast_rank_zero", rows=1)
    return out


def covariance_root(engine: Engine, result: LmmResult) -> tuple[Int, Float, Float]:
    """The columns kept, a root of the covariance of their coefficients in the user's units, shape (p_kept, p_kept), and the
    engine's root of their precision, over the residual variance.

    It is the engine's: ``X root`` over sigma is orthonormal with respect to ``V^{-1}`` at ``result.lam``, where the
    criterion is evaluated.

    Raises
    ------
    InferenceUnavailable
        ``covariance_parameters_not_optimized``, ``covariance_parameters_not_identifiable``,
        ``fixed_effect_covariance_unavailable``.
    """
    status = result.certificate.status
    if status in ("not_optimized", "not_identifiable"):
        raise InferenceUnavailable(
            f"the covariance parameters are {status.replace('_', ' ')}: {result.certificate.reason}",
            reason_code=f"covariance_parameters_{status}", status=status,
        )
    engine.criterion(result.lam, result.reml)
    kept, p = engine.assembled.kept, engine.rank
    standard = engine.assembled.standard
    unit = result.sigma / (standard.y_scale * standard.root_weight)
    low = np.tril(engine.work.border[:p, :p])
    root = np.asarray(np.linalg.solve(low, standard.beta_map(kept).T).T * unit)
    if not np.all(np.isfinite(root)):
        raise InferenceUnavailable(
            "the covariance matrix of the fixed effects is not finite",
            reason_code="fixed_effect_covariance_unavailable", status=status,
        )
    return kept, root, low / engine.pivot


def over_all(kept: Int, matrix: Float, p: int) -> Float:
    """A matrix over the columns kept as one over all p, NaN for the others."""
    out = np.full((p, p), np.nan)
    out[np.ix_(kept, kept)] = matrix
    return out
