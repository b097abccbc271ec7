"""Observed information of the covariance parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.certificate import curvature_at

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


def theta_covariance(engine: Engine, result: LmmResult) -> Float:
    """Twice the inverse Hessian of the profiled criterion in the user's theta, shape (n_theta, n_theta).

    The Hessian is made of differences of the exact gradient in standardized units and carried over by the Jacobian of
    the map between the two, which at an optimum needs no second derivatives.

    Raises
    ------
    InferenceUnavailable
        At a boundary or where the Hessian is not positive definite.
    """
    if result.certificate.n_boundary > 0:
        raise InferenceUnavailable(
            f"{result.certificate.n_boundary} covariance parameters lie on the boundary, where theta has no normal "
            "approximation; profile or bootstrap intervals serve there",
            reason_code="theta_covariance_unavailable",
            status=result.certificate.status,
        )
    with single_threaded_blas():
        hessian = curvature_at(engine, result.lam, result.reml)
    if hessian is None or np.linalg.eigvalsh(hessian)[0] <= 0.0:
        raise InferenceUnavailable(
            "the criterion is flat or not finite around the estimates of theta",
            reason_code="theta_covariance_unavailable",
            status=result.certificate.status,
        )
    position = engine.theta_map.position
    jacobian = np.empty((len(position), len(position)))
    for j, place in enumerate(position.tolist()):
        step = 1e-6 * max(1.0, abs(float(result.lam[place])))
        up, down = result.lam.copy(), result.lam.copy()
        up[place] += step
        down[place] -= step
        jacobian[:, j] = (engine.theta(up) - engine.theta(down)) / (2.0 * step)
    return np.asarray(2.0 * jacobian @ np.linalg.solve(hessian, jacobian.T))
