"""Observed information of the covariance parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.certificate import curvature_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.laplace import LaplaceEngine
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


UNAVAILABLE = "theta_covariance_unavailable"


def _check_interior(result: LmmResult | GlmmResult) -> None:
    if result.certificate.n_boundary > 0:
        raise InferenceUnavailable(
            f"{result.certificate.n_boundary} covariance parameters lie on the boundary, where theta has no normal "
            "approximation; profile or bootstrap intervals serve there",
            reason_code=UNAVAILABLE, status=result.certificate.status,
        )


def _curved(hessian: Float | None, result: LmmResult | GlmmResult) -> Float:
    """The Hessian, if it is positive definite."""
    if hessian is None or np.linalg.eigvalsh(hessian)[0] <= 0.0:
        raise InferenceUnavailable(
            "the criterion is flat or not finite around the estimates of theta",
            reason_code=UNAVAILABLE, status=result.certificate.status,
        )
    return hessian


def theta_covariance(engine: Engine, result: LmmResult) -> Float:
    """Twice the inverse Hessian of the profiled criterion in the user's theta, shape (n_theta, n_theta).

    The Hessian is made of differences of the exact gradient in standardized units and carried over by the Jacobian of
    the map between the two, which at an optimum needs no second derivatives.

    Raises
    ------
    InferenceUnavailable
        At a boundary or where the Hessian is not positive definite.
    """
    _check_interior(result)
    with single_threaded_blas():
        hessian = _curved(curvature_at(engine, result.lam, result.reml), result)
    jacobian = _to_user(engine, result.lam)
    return np.asarray(2.0 * jacobian @ np.linalg.solve(hessian, jacobian.T))


def _to_user(engine: Coordinates, lam: Float) -> Float:
    """Derivatives of the user's theta by its entries of ``lam``, shape (n_theta, n_theta)."""
    position = engine.theta_map.position
    jacobian = np.empty((len(position), len(position)))
    for j, place in enumerate(position.tolist()):
        step = 1e-6 * max(1.0, abs(float(lam[place])))
        up, down = lam.copy(), lam.copy()
        up[place] += step
        down[place] -= step
        jacobian[:, j] = (engine.theta(up) - engine.theta(down)) / (2.0 * step)
    return jacobian


def joint_theta_covariance(engine: LaplaceEngine, result: GlmmResult) -> Float:
    """Theta's block of twice the inverse Hessian of a generalized linear mixed model's criterion over theta, fixed effects and
    the family's parameter together, in the user's units; shape (n_theta, n_theta).

    Raises
    ------
    InferenceUnavailable
        At a boundary, where the Hessian is not positive definite, and where fixed effects were profiled out of another
        criterion.
    """
    from mixeff_fast.fit.glmm_modes import evaluate

    if result.method == "pirls_profiled":
        raise InferenceUnavailable(
            "the fixed effects were profiled out of the penalized deviance, so the criterion is no likelihood of theta; "
            'method="joint_laplace" has one',
            reason_code=UNAVAILABLE, status=result.certificate.status,
        )
    _check_interior(result)
    known, n = result.certificate.information, engine.n_extra
    hessian = None
    if known is not None:
        spread = np.sqrt(2.0 * engine.n / np.diag(known)[len(known) - n :])
        with single_threaded_blas():
            if evaluate(engine, result):
                hessian = curvature_at(engine, result.point, False, spread)
    hessian = _curved(hessian, result)
    lam, _ = engine.split(result.point)
    jacobian = _to_user(engine, lam)
    n = len(jacobian)
    return np.asarray(2.0 * jacobian @ np.linalg.inv(hessian)[:n, :n] @ jacobian.T)
