"""How a generalized linear mixed model was fitted: its estimator, its criterion and what that is made of."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, NonNegative, PositiveCount, Record
from mixeff_fast.vocabulary import FamilyName, FamilyParameter, LinkName


class FamilyParameterRecord(Record):
    """The family's own parameter: a dispersion, or the theta of the negative binomial. ``log_std_error`` is the standard error
    of its logarithm; None where it is known or its curvature is not."""

    name: FamilyParameter
    source: Literal["estimated", "known"]
    value: NonNegative | None
    log_std_error: NonNegative | None


class LikelihoodParts(Record):
    """What the objective is the sum of: the deviances at the conditional modes, ``penalty`` (the modes' sum of squares),
    ``logdet`` of the penalized Hessian, -2 times ``saturated`` (the saturated log-likelihood), and with quadrature its
    ``correction`` of Laplace's approximation. None where a number is not finite."""

    deviance: float | None
    penalty: NonNegative | None
    logdet: float | None
    saturated: float | None
    correction: float | None


class InnerWork(Record):
    """What the search for conditional modes took, all evaluations together: passes over the rows, factorizations, solves."""

    passes: Count
    factorizations: Count
    solves: Count


class GlmmFit(Record):
    """Estimator and criterion of a generalized linear mixed model.

    ``estimator``: ``joint_laplace`` minimizes the approximated deviance over the covariance parameters, the fixed effects and
    the family's parameter; ``pirls_profiled`` takes for each of the others the fixed effects that minimize the penalized
    deviance. ``n_nodes`` are the quadrature's for each level, ``n_agq`` per dimension, and ``quadrature_size`` nodes times
    rows; both 1 of Laplace's approximation. ``curvature``: the weights in the determinant, expected or observed. ``held``
    names the covariance parameters at zero, which standard errors take as known. ``covariance_route`` is where the covariance
    matrix of the fixed effects comes from, ``inference`` what was asked for.
    """

    family: FamilyName
    link: LinkName
    estimator: Literal["joint_laplace", "pirls_profiled"]
    approximation: Literal["laplace", "adaptive_gauss_hermite"]
    n_agq: PositiveCount
    n_nodes: PositiveCount
    quadrature_size: PositiveCount
    response_constants: Literal["included"]
    curvature: Literal["fisher", "observed"]
    fixed_effects: Literal["joint", "profiled"]
    parameter: FamilyParameterRecord | None
    parts: LikelihoodParts
    inner: InnerWork
    held: tuple[str, ...]
    covariance_route: Literal["observed_information", "working_hessian", "unavailable"]
    inference: Literal["auto", "none"]
