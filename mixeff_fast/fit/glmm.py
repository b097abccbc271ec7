"""The generalized linear mixed model driver: a compiled model in, estimates in the user's units out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.certificate import Certificate, optimum
from mixeff_fast.fit.cones import singular_values, slack
from mixeff_fast.fit.control import DEFAULT_CONTROL, Control
from mixeff_fast.fit.glmm_start import start_point
from mixeff_fast.fit.laplace import SMALL_ROWS, LaplaceEngine
from mixeff_fast.fit.lmm import check_start, user_lambda
from mixeff_fast.fit.quadrature import QuadratureEngine, quadrature_nodes
from mixeff_fast.fit.search import EXHAUSTED
from mixeff_fast.kernels import pirls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel

    Float = NDArray[np.float64]

# a search goes on to a decrement smaller than the caller's by this factor: the Hessian is of the point where it ends, and how
# far that is off shows in standard errors
SHARPER = 1e-3
# by how much the objective may differ at one point when it is computed again
SAME = 1e-7

# rows, and rows per level, below which the effects of levels and the family's parameter describe much the same, and the shares
# of the standard deviations found from which further searches start
FEW_ROWS, FEW_PER_LEVEL = 500, 8
RIVALS = (0.05, 3.0)

Method = Literal["joint_laplace", "pirls_profiled"]


@dataclass(frozen=True, slots=True)
class GlmmResult:
    """Estimates of a generalized linear mixed model, in the user's units.

    Attributes
    ----------
    method
        What was minimized over: ``joint_laplace`` theta, beta and the family's parameter; ``pirls_profiled`` without beta,
        which minimizes the penalized deviance instead.
    n_agq
        Gauss-Hermite points per dimension; 1 is Laplace's approximation.
    nodes, quadrature_size
        Nodes of the product rule per level, ``n_agq ** width``; and nodes times rows, the likelihoods of rows that one
        evaluation of the objective takes beside the inner iterations. Both 1 for Laplace's approximation.
    theta
        Covariance parameters on the scale of the linear predictor, shape (n_theta,).
    point
        The engine's point: Lambda (standardized), fixed effects, logarithm of the family's parameter.
    beta, aliased, vcov
        Fixed effects, shape (p,); which are aliased; their covariance matrix, shape (p, p). NaN where there is none.
    vcov_route
        ``observed_information``: of theta, beta and the family's parameter together, from differences of the exact gradient;
        ``working_hessian``: theta and the family's parameter taken for known.
    parameter
        Theta of the negative binomial, or the dispersion; None where the family has none.
    parameter_error
        Standard error of its logarithm; None where it is not estimated.
    effects, spherical
        Per factor, conditional modes of the random effects, shape (levels, width), and the same before Lambda.
    objective
        -2 log-likelihood with all constants.
    singular
        Per term, the standard deviations of its principal directions (standardized columns).
    deviance, penalty, logdet
        What the objective is made of, but for the saturated likelihood: the deviances' sum, |u|^2, log|H|. With ``n_agq``
        above 1 the objective differs from their sum by what quadrature corrects Laplace's approximation.
    saturated
        The saturated log-likelihood.
    passes, factorizations, solves
        Of the inner iterations, all evaluations together.
    inner_decrement
        Of the penalized deviance at the modes: twice the gain that another step predicts.
    certificate
        The evidence.
    """

    method: Method
    n_agq: int
    nodes: int
    quadrature_size: int
    theta: Float
    point: Float
    beta: Float
    aliased: NDArray[np.bool_]
    vcov: Float
    vcov_route: Literal["observed_information", "working_hessian", "unavailable"]
    parameter: float | None
    parameter_error: float | None
    effects: tuple[Float, ...]
    spherical: tuple[Float, ...]
    objective: float
    singular: tuple[Float, ...]
    deviance: float
    penalty: float
    logdet: float
    saturated: float
    passes: int
    factorizations: int
    solves: int
    inner_decrement: float
    certificate: Certificate

    @property
    def scale(self) -> float:
        """What theta is relative to: 1."""
        return 1.0


def new_engine(model: CompiledModel, method: Method, control: Control, n_agq: int) -> LaplaceEngine:
    """The engine of an estimator.

    Raises
    ------
    ArgumentError, FitError
        ``n_agq`` is no whole number from 1 to 50, or above 1 where there is no such rule: see
        :func:`~mixeff_fast.fit.quadrature.quadrature_nodes`.
    """
    joint = method == "pirls_profiled"
    if quadrature_nodes(model, n_agq) > 1:
        return QuadratureEngine(model, control, joint, n_agq)
    return LaplaceEngine(model, control, joint)


def fit_glmm(
    model: CompiledModel, method: Method = "joint_laplace", control: Control = DEFAULT_CONTROL, n_agq: int = 1
) -> tuple[LaplaceEngine, GlmmResult]:
    """Fit a compiled model: search, certify, and read the estimates off the modes at the optimum.

    Raises
    ------
    ArgumentError, FitError
        See :func:`new_engine`.
    """
    check_start(model, control)
    with single_threaded_blas():
        engine = new_engine(model, method, control, n_agq)
        searched = replace(control, tolerance=SHARPER * control.tolerance)
        point, certificate = optimum(engine, False, searched, start_point(engine, control))
        if control.start is None and _has_rivals(engine, certificate):
            point, certificate = _lowest(engine, searched, point, certificate)
        objective = engine.settle(point)
        if certificate.status.startswith("converged") and not math.isfinite(objective):
            certificate = _refuted(certificate, "the objective is not finite at the point where the search stopped")
        elif certificate.status.startswith("converged") and abs(objective - certificate.objective) > SAME + slack(engine):
            certificate = _refuted(certificate, "random effects have several conditional modes where the search stopped, "
                                                "and the objective as many values")
        return engine, estimates(engine, point, method, certificate)


def _has_rivals(engine: LaplaceEngine, certificate: Certificate) -> bool:
    """Whether another search may find what the first has not: where it found no optimum, and in models that are likely to have
    several. With few rows, and few per level, the effects of levels and the family's parameter describe much the same, with an
    optimum for each; under an identity link, observed weights of either sign make hollows of their own."""
    choice = engine.model.family
    assert choice is not None
    levels = max(factor.n_levels for factor in engine.model.factors)
    most = SMALL_ROWS if choice.link == "identity" else min(FEW_ROWS, FEW_PER_LEVEL * levels)
    return (engine.parametric and engine.n < most) or certificate.status == "not_optimized"


def _lowest(engine: LaplaceEngine, control: Control, point: Float, certificate: Certificate) -> tuple[Float, Certificate]:
    """The optimum found, or a lower one that is found from smaller random effects, or from larger ones where there is none yet;
    evaluations are those of all searches."""
    evaluations, spent = certificate.evaluations, certificate.certificate_evaluations
    theta, modes = engine.theta(engine.split(point)[0]), engine.anchor
    for share in RIVALS:
        left = control.max_evaluations - evaluations
        nothing = certificate.status == "not_optimized"
        if left <= 0 or not theta.any() or (share > 1.0 and not nothing):
            break
        again = replace(control, start=tuple((share * theta).tolist()), max_evaluations=left)
        there, other = optimum(engine, False, again, start_point(engine, again))
        evaluations += other.evaluations
        spent += other.certificate_evaluations
        lower = other.objective < certificate.objective - slack(engine)
        if other.status.startswith("converged") and (lower or nothing):
            escapes = other.escapes + int(nothing)
            point, certificate, modes = there, replace(other, escapes=escapes), engine.anchor
    engine.anchor = modes
    return point, replace(certificate, evaluations=evaluations, certificate_evaluations=spent)


def _refuted(certificate: Certificate, reason: str) -> Certificate:
    return replace(certificate, status="not_optimized", quality="failed", information=None, reason=reason)


def estimates(engine: LaplaceEngine, point: Float, method: Method, certificate: Certificate) -> GlmmResult:
    """Everything that the modes at a point say, in the user's units."""
    model, assembled, modes, q = engine.model, engine.assembled, engine.modes, engine.q
    lam, _ = engine.split(point)
    objective = engine.settle(point)
    failed = not math.isfinite(objective)
    n_beta, kept = len(model.fixed.names), assembled.kept
    to_user = assembled.standard.beta_map(kept)
    beta, vcov = np.full(n_beta, math.nan), np.full((n_beta, n_beta), math.nan)
    inner, route, parameter_error = engine.beta_covariance(point, certificate)
    if not failed and certificate.stop != EXHAUSTED and engine.runs_away(point):
        certificate = replace(certificate, status="not_identifiable", quality="approximate", reason=(
            "the objective is flat along a combination of fixed effects: they run to infinity, as separated responses have "
            "them do"))
    spherical, effects = [], []
    for k, factor in enumerate(model.factors):
        u = modes.u[model.plan.level_column[k][:, None] + np.arange(factor.width)]
        if failed:
            u = np.full_like(u, math.nan)
        spherical.append(u)
        effects.append(u @ user_lambda(engine, lam, factor).T)
    if not failed:
        beta[kept] = to_user @ modes.u[q:]
        vcov[np.ix_(kept, kept)] = to_user @ inner @ to_user.T
    aliased = np.ones(n_beta, np.bool_)
    aliased[kept] = False
    theta = engine.theta(lam)
    for handed_out in (theta, beta, vcov):
        handed_out.flags.writeable = False
    assert model.family is not None
    has_parameter = model.family.parameter_name is not None
    size = engine.nodes * engine.n if engine.nodes > 1 else 1
    return GlmmResult(
        method=method, n_agq=engine.n_agq, nodes=engine.nodes, quadrature_size=size, theta=theta, point=point, beta=beta,
        aliased=aliased, vcov=vcov, vcov_route=route, parameter=engine.parameter if has_parameter else None,
        parameter_error=parameter_error, effects=tuple(effects), spherical=tuple(spherical), objective=objective,
        singular=singular_values(engine, lam), deviance=float(modes.real[pirls.DEVIANCE]),
        penalty=float(modes.u[:q] @ modes.u[:q]), logdet=float(modes.real[pirls.LOGDET]), saturated=engine.saturated,
        passes=int(modes.counts[pirls.PASSES]), factorizations=int(modes.counts[pirls.FACTORS]),
        solves=int(modes.counts[pirls.SOLVES]), inner_decrement=float(modes.real[pirls.DECREMENT]), certificate=certificate,
    )
