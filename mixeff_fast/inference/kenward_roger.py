"""The small-sample inference of Kenward & Roger (1997), Biometrics 53, for fixed effects of linear mixed models.

As Halekoh & Hojsgaard (2014), J. Stat. Softw. 59(9), compute it, but for four things. No matrix has the size of the data.
At the boundary, what is absent from a covariance matrix is held: the parameters are coordinates of the matrices of the
same rank, and the marginal covariance counts as linear in them. Fits by maximum likelihood are taken at their own
estimates of the covariance parameters. Prior weights are known constants of the marginal covariance.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.engine import available_memory
from mixeff_fast.fit.moments import moments_at, needed_bytes
from mixeff_fast.inference.restrictions import FTest, covariance_root, one_row, over_all, restrict

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.fit.moments import Moments

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# eigenvalues of the information, scaled to a unit diagonal, that are not larger are not told from zero
FLAT = 1e-8
# bytes that are taken without a look at what is free
ALWAYS = 1 << 26
# what both terms of a quotient must be below to count as zero, and its value one
ZERO = 1e-14
# 1 + c1 B below this is zero
ZERO_NUMERATOR = 1e-10
# distance of the degrees of freedom from 2 within which the statistic is not scaled
NEAR_TWO = 1e-2


@dataclass(frozen=True, slots=True)
class KenwardRoger:
    """What degrees of freedom and scaled F statistics take, computed once per fit.

    Attributes
    ----------
    kept
        Columns that are not aliased, shape (p_kept,).
    vcov
        Covariance matrix of the fixed effects in the user's units, shape (p, p), NaN for aliased columns.
    adjusted
        The same with the small-sample adjustment.
    root
        ``root root'`` is the covariance of the columns kept, shape (p_kept, p_kept).
    slopes
        ``P_r`` of the m parameters between the columns ``X root``, shape (m, p_kept, p_kept).
    inflation
        ``root inflation root'`` is the adjusted covariance of the columns kept, shape (p_kept, p_kept).
    covariance
        ``W``: covariance matrix of the parameters, shape (m, m), twice the inverse of their expected information.
    held
        Names of the theta that are held at zero because they lie on the boundary.
    evaluations
        Factorizations it took.
    """

    kept: Int
    vcov: Float
    adjusted: Float
    root: Float
    slopes: Float
    inflation: Float
    covariance: Float
    held: tuple[str, ...]
    evaluations: int


def kenward_roger(engine: Engine, result: LmmResult, memory_limit: int | None = None) -> KenwardRoger:
    """Adjusted covariance of the fixed effects, and what degrees of freedom take.

    Parameters
    ----------
    engine, result
        A fit.
    memory_limit
        Bytes that it may take besides the factorization; None allows 80 % of what is free.

    Raises
    ------
    InferenceUnavailable
        ``kenward_roger_memory_limit``, ``kenward_roger_information_singular``, ``kenward_roger_derivatives_not_finite``, and
        what ``covariance_root`` raises.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    >>> found = kenward_roger(fit._engine, fit.result)
    >>> round(denominator_df(found, [0.0, 1.0]), 4), round(standard_error(found, [0.0, 1.0]), 4)
    (17.0, 1.5458)
    """
    _check_memory(engine, memory_limit)
    with single_threaded_blas():
        kept, root, _ = covariance_root(engine, result)
        found = moments_at(engine, result.lam)
    if not (np.all(np.isfinite(found.trace)) and np.all(np.isfinite(found.square))):
        raise InferenceUnavailable(
            "the marginal covariance matrix cannot be factored around the estimates of the covariance parameters",
            reason_code="kenward_roger_derivatives_not_finite", status=result.certificate.status,
        )
    covariance = _covariance(found, result)
    excess = 0.5 * np.tensordot(covariance, found.square, 2)
    excess -= (found.slope @ np.tensordot(covariance, found.slope, 1)).sum(axis=0)
    inflation = np.eye(len(kept)) + excess + excess.T
    return KenwardRoger(
        kept=kept, vcov=np.array(result.vcov), adjusted=over_all(kept, root @ inflation @ root.T, len(result.beta)), root=root,
        slopes=found.slope, inflation=inflation, covariance=covariance, held=found.chart.held,
        evaluations=1 + found.evaluations,
    )


def _check_memory(engine: Engine, memory_limit: int | None) -> None:
    needed = needed_bytes(engine.model.n_theta, engine.rank)
    if memory_limit is None and needed < ALWAYS:
        return
    limit = int(0.8 * available_memory()) if memory_limit is None else memory_limit
    if needed > limit:
        raise InferenceUnavailable(
            f"Kenward-Roger with {engine.rank} fixed effects and {engine.model.n_theta} covariance parameters needs "
            f"{needed / 2**30:.2f} GiB and may take {limit / 2**30:.2f} GiB; Satterthwaite needs less",
            reason_code="kenward_roger_memory_limit", needed=needed, limit=limit,
        )


def _covariance(found: Moments, result: LmmResult) -> Float:
    """W, with ``I_rs = tr(V^{-1}G_r V^{-1}G_s) - 2 tr(Q_rs) + tr(P_r P_s)`` between orthonormal columns."""
    traces = np.trace(found.square, axis1=2, axis2=3)
    information = found.trace - 0.5 * (traces + traces.T)
    information += np.einsum("rij,sij->rs", found.slope, found.slope)
    scale = 1.0 / np.sqrt(np.maximum(np.abs(np.diag(information)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(information * scale * scale[:, None])
    if np.any(values <= FLAT):
        raise InferenceUnavailable(
            f"the expected information on the covariance parameters has the smallest scaled eigenvalue {values[0]:.3g}: the "
            "data do not tell them apart",
            reason_code="kenward_roger_information_singular", status=result.certificate.status, minimum=float(values[0]),
        )
    half = scale[:, None] * vectors / np.sqrt(values)
    return np.asarray(2.0 * half @ half.T)


def standard_error(payload: KenwardRoger, row: ArrayLike) -> float:
    """Adjusted standard error of one row over all fixed effects.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``.
    """
    return float(_spreads(payload, one_row(row, payload.kept)[None])[1][0])


def denominator_df(payload: KenwardRoger, row: ArrayLike) -> float:
    """Degrees of freedom of one row over all fixed effects.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``.
    """
    return float(_spreads(payload, one_row(row, payload.kept)[None])[0][0])


def spreads(payload: KenwardRoger, rows: Float) -> tuple[Float, Float]:
    """``denominator_df`` and ``standard_error`` of each row, shape (rows, p); NaN for rows of zeros."""
    own = rows[:, payload.kept]
    some = own.any(axis=1)
    out = np.full((2, len(own)), np.nan)
    out[:, some] = _spreads(payload, own[some])
    return out[0], out[1]


def _spreads(payload: KenwardRoger, rows: Float) -> tuple[Float, Float]:
    """Degrees of freedom and standard errors of rows over the columns kept, none of them zero. For one restriction, with
    ``A1 = A2``, those of the scaled F are ``2 / A1`` and its scale is one."""
    white = rows @ payload.root
    slope = np.sum((white @ payload.slopes) * white, axis=2) / np.sum(white**2, axis=1)
    a1 = np.sum(slope * (payload.covariance @ slope), axis=0)
    return 2.0 / a1, np.sqrt(np.sum((white @ payload.inflation) * white, axis=1))


def f_test(payload: KenwardRoger, beta: Float, L: ArrayLike, rhs: ArrayLike = 0.0) -> FTest:
    """Test ``L beta = rhs``, for one row or several, by the scaled F statistic.

    Raises
    ------
    InferenceUnavailable
        ``contrast_rank_zero``, ``contrast_rhs_inconsistent``, ``kenward_roger_df_not_positive``.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    >>> test = f_test(kenward_roger(fit._engine, fit.result), fit.beta, [[1.0, 0.0], [0.0, 1.0]])
    >>> round(test.f, 2), test.ndf, round(test.ddf, 4), round(test.scale, 4)
    (705.84, 2, 16.0, 0.9412)
    """
    given = restrict(L, rhs, beta, payload.kept, payload.root)
    ddf, scale = _degrees_and_scale(payload, given.directions)
    middle = given.directions @ payload.inflation @ given.directions.T
    distance = given.distance / given.values
    f = float(distance @ np.linalg.solve(middle, distance)) / given.rank
    return FTest(scale * f, given.rank, ddf, given.rank, scale)


def _degrees_and_scale(payload: KenwardRoger, directions: Float) -> tuple[float, float]:
    """Denominator degrees of freedom and factor of the F statistic of orthonormal directions: sec. 3 and appendix A."""
    q = len(directions)
    inner = np.einsum("ai,rij,bj->rab", directions, payload.slopes, directions)
    traces = np.trace(inner, axis1=1, axis2=2)
    a1 = float(traces @ payload.covariance @ traces)
    a2 = float(np.einsum("rs,rab,sba->", payload.covariance, inner, inner))
    b = (a1 + 6.0 * a2) / (2.0 * q)
    g = ((q + 1) * a1 - (q + 4) * a2) / ((q + 2) * a2)
    base = 3.0 * q + 2.0 * (1.0 - g)
    v0, v1, v2 = 1.0 + b * g / base, 1.0 - b * (q - g) / base, 1.0 - b * (q + 2 - g) / base
    v0 = 0.0 if abs(v0) < ZERO_NUMERATOR else v0
    rest = 1.0 - a2 / q
    ratio = 1.0 if abs(rest) < ZERO and abs(v1) < ZERO else rest / v1
    rho = ratio**2 * v0 / v2 / q
    ddf = 4.0 + (q + 2) / (q * rho - 1.0)
    scale = 1.0 if abs(ddf - 2.0) < NEAR_TWO else ddf * rest / (ddf - 2.0)
    if not (ddf > 0.0 and scale > 0.0):
        raise InferenceUnavailable(
            f"the degrees of freedom come out as {ddf:.3g} and the factor of F as {scale:.3g}: there are too few groups for "
            "the approximation",
            reason_code="kenward_roger_df_not_positive", ddf=ddf, scale=scale, rank=q,
        )
    return ddf, scale
