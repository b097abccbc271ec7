"""Satterthwaite's degrees of freedom for fixed effects of linear mixed models.

Fai & Cornelius (1996), J. Stat. Comput. Simul. 54; several rows as in Kuznetsova, Brockhoff & Christensen (2017), J. Stat.
Softw. 82(13), sec. 2.3.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.chart import chart_at, slopes
from mixeff_fast.inference.restrictions import FTest, covariance_root, one_row, restrict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# eigenvalues of the Hessian, scaled to a unit diagonal, that are not larger are not told from zero
FLAT = 1e-8
# degrees of freedom that differ by less count as equal
EQUAL = 1e-8


@dataclass(frozen=True, slots=True)
class Satterthwaite:
    """What degrees of freedom take, computed once per fit.

    The m parameters are coordinates of the covariance matrices, and last log sigma about its profile, which makes it
    uncorrelated with the others. Degrees of freedom do not depend on the choice.

    Attributes
    ----------
    kept
        Columns that are not aliased, shape (p_kept,).
    vcov
        Covariance matrix of the fixed effects in the user's units, shape (p, p), NaN for aliased columns.
    jacobian
        Its derivatives by the parameters, shape (m, p_kept, p_kept).
    covariance
        Asymptotic covariance matrix of the parameters, shape (m, m): twice the inverse Hessian of the deviance.
    root
        ``root root'`` is the covariance of the columns kept, shape (p_kept, p_kept).
    held
        Names of the theta that are held at zero because they lie on the boundary.
    evaluations
        Evaluations of criterion and gradient it took.
    """

    kept: Int
    vcov: Float
    jacobian: Float
    covariance: Float
    root: Float
    held: tuple[str, ...]
    evaluations: int


def satterthwaite(engine: Engine, result: LmmResult) -> Satterthwaite:
    """Derivatives of the covariance of beta, and the covariance of what it is differentiated by.

    The Hessian of the (RE)ML deviance is made of differences of its exact gradient, extrapolated where evaluations are quick;
    the covariance of beta is read off the same factorizations.

    Raises
    ------
    InferenceUnavailable
        ``satterthwaite_hessian_not_positive_definite``, ``satterthwaite_derivatives_not_finite``, and what
        ``covariance_root`` raises.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    >>> found = satterthwaite(fit._engine, fit.result)
    >>> round(denominator_df(found, [0.0, 1.0]), 4)
    17.0
    """
    with single_threaded_blas():
        kept, root, base = covariance_root(engine, result)
        p = len(kept)
        chart = chart_at(engine, result.lam, extrapolated=not engine.spares_evaluations)

        n = len(chart.directions)

        def gradients_and_covariances(lams: Float) -> Float:
            out = np.empty((len(lams), n + p * p))
            gradients, roots = engine.gradients_and_roots(lams, result.reml)
            out[:, :n] = gradients @ chart.directions.T
            half = np.linalg.solve(roots, base)
            out[:, n:] = (half.swapaxes(1, 2) @ half).reshape(len(lams), p * p)
            return out

        changes = np.array(list(slopes(gradients_and_covariances, chart.lam, chart))).reshape(n, n + p * p)
    if not np.all(np.isfinite(changes)):
        raise InferenceUnavailable(
            "the deviance is not finite around the estimates of the covariance parameters",
            reason_code="satterthwaite_derivatives_not_finite", status=result.certificate.status,
        )
    covariance = np.zeros((n + 1, n + 1))
    covariance[:n, :n] = _twice_inverse(changes[:, :n], result)
    covariance[n, n] = 0.5 / engine.dof(result.reml)
    relative = np.empty((n + 1, p, p))
    relative[:n] = changes[:, n:].reshape(n, p, p)
    relative[n] = 2.0 * np.eye(p)
    return Satterthwaite(
        kept=kept, vcov=np.array(result.vcov), jacobian=root @ relative @ root.T, covariance=covariance, root=root,
        held=chart.held, evaluations=1 + chart.evaluations,
    )


def _twice_inverse(changes: Float, result: LmmResult) -> Float:
    hessian = 0.5 * (changes + changes.T)
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(hessian * scale * scale[:, None])
    if np.any(values <= FLAT):
        raise InferenceUnavailable(
            f"the Hessian of the deviance has the smallest scaled eigenvalue {values[0]:.3g}: the covariance parameters have "
            "no normal approximation here; a bootstrap serves",
            reason_code="satterthwaite_hessian_not_positive_definite", status=result.certificate.status,
            minimum=float(values[0]),
        )
    half = scale[:, None] * vectors / np.sqrt(values)
    return np.asarray(2.0 * half @ half.T)


def _degrees(payload: Satterthwaite, rows: Float) -> Float:
    """Degrees of freedom of rows over the columns kept, none of them zero."""
    variance = np.sum((rows @ payload.root) ** 2, axis=1)
    slope = np.sum((rows @ payload.jacobian) * rows, axis=2)
    return np.asarray(2.0 * variance**2 / np.sum(slope * (payload.covariance @ slope), axis=0))


def denominator_df(payload: Satterthwaite, row: ArrayLike) -> float:
    """Degrees of freedom of one row over all fixed effects: ``2 V^2 / (g'C g)``, V its variance and g the slope of that.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``.
    """
    return float(_degrees(payload, one_row(row, payload.kept)[None])[0])


def denominator_dfs(payload: Satterthwaite, rows: Float) -> Float:
    """``denominator_df`` of each row, shape (rows, p); NaN for rows of zeros."""
    own = rows[:, payload.kept]
    some = own.any(axis=1)
    out = np.full(len(own), np.nan)
    out[some] = _degrees(payload, own[some])
    return out


def f_test(payload: Satterthwaite, beta: Float, L: ArrayLike, rhs: ArrayLike = 0.0) -> FTest:
    """Test ``L beta = rhs``, for one row or several.

    The statistic is Wald's over the rank. Its denominator degrees of freedom are those of the F whose mean is that of the
    sum of the squared t statistics along the eigenvectors of ``L V L'``.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``, ``contrast_rhs_inconsistent``.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Reaction ~ Days + (1 | Subject)", mf.datasets.load("sleepstudy"))
    >>> test = f_test(satterthwaite(fit._engine, fit.result), fit.beta, [[0.0, 1.0]], 10.0)
    >>> round(test.f, 4), test.ndf, round(test.ddf, 3)
    (0.3376, 1, 161.0)
    """
    given = restrict(L, rhs, beta, payload.kept, payload.root)
    left = np.linalg.svd(given.rows @ payload.root, full_matrices=False)[0][:, : given.rank]
    each = _degrees(payload, left.T @ given.rows).tolist()
    return FTest(given.wald / given.rank, given.rank, combined_df(each), given.rank, 1.0)


def combined_df(each: list[float]) -> float:
    """Denominator degrees of freedom of a mean of squared independent t statistics; 2 where one of them has no mean."""
    if len(each) == 1 or all(abs(a - b) < EQUAL for a, b in itertools.pairwise(each)):
        return float(np.mean(each))
    if min(each) <= 2.0:
        return 2.0
    total = sum(df / (df - 2.0) for df in each)
    return 2.0 * total / (total - len(each))
