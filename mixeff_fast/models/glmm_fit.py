"""Fitting generalized linear mixed models."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mixeff_fast.errors import ArgumentError, ConvergenceNotice, SeparationNotice
from mixeff_fast.fit.glmm import Method, fit_glmm
from mixeff_fast.frame.notices import warn
from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
from mixeff_fast.models.lmm import FAILED, note_aliased
from mixeff_fast.models.spec import compile_model
from mixeff_fast.vocabulary import InferencePlan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mixeff_fast.fit.control import Control
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.vocabulary import Intent, NaAction, Role


def check_options(method: Any, n_agq: Any, inference: Any) -> None:
    """Refuse what does not say how to fit a model.

    Raises
    ------
    ArgumentError
        A method, a number of nodes or a plan for inference that there is not.
    """
    for name, value, known in (("method", method, get_args(Method)), ("inference", inference, get_args(InferencePlan))):
        if not isinstance(value, str) or value not in known:
            raise ArgumentError(f"{name} is {' or '.join(map(repr, known))}, not {value!r}", argument=name)
    if isinstance(n_agq, bool) or not isinstance(n_agq, int | np.integer) or n_agq < 1:
        raise ArgumentError(
            f"n_agq is a positive whole number of Gauss-Hermite nodes, 1 for Laplace's approximation, not {n_agq!r}"
            + ('; what R calls nAGQ = 0 is method="pirls_profiled"' if n_agq == 0 else ""),
            argument="n_agq",
        )


def fit_family_spec(
    spec: ModelSpec, method: Method, n_agq: int, inference: InferencePlan, control: Control,
    start: tuple[float, ...] | None = None,
) -> GeneralizedLinearMixedModel:
    """Fit a compiled model with a family, from the theta of ``start`` if that is given, and issue the notices that the fit
    gives rise to."""
    check_options(method, n_agq, inference)
    settings = control if start is None else replace(control, start=start)
    engine, result = fit_glmm(spec.compiled, method, settings, int(n_agq))
    note_aliased([n for n, gone in zip(spec.compiled.fixed.names, result.aliased.tolist(), strict=True) if gone])
    fit = GeneralizedLinearMixedModel(spec, control, engine, result, inference)
    check = fit._separation
    if check is not None and check.separated and result.certificate.status not in FAILED:
        # a search may come to rest on the way to infinity
        certificate = replace(result.certificate, status="not_identifiable", quality="approximate", reason=check.reason)
        fit.result = result = replace(result, certificate=certificate)
    if result.certificate.status in FAILED:
        warn(f"the fit is {result.certificate.status}: {result.certificate.reason}", ConvergenceNotice)
    if check is not None and check.separated and check.finding is not None:
        columns = ", ".join(check.finding.payload.get("columns", ()))
        warn(f"{check.reason}{f' (columns {columns})' if columns else ''}; so there are no tests and no intervals",
             SeparationNotice)
    return fit


def glmm(
    formula: str,
    data: Any,
    family: Any,
    *,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
    method: Method = "joint_laplace",
    n_agq: int = 1,
    inference: InferencePlan = "auto",
    roles: Mapping[str, Role] | None = None,
    audit_columns: Sequence[str] | None = None,
    intent: Intent = "confirmatory_as_specified",
    control: Control | None = None,
) -> GeneralizedLinearMixedModel:
    """Fit a generalized linear mixed model by maximum likelihood.

    Parameters
    ----------
    formula, data, offset, subset, na_action, contrasts, roles, audit_columns, intent
        See :func:`compile_model`.
    family
        What :func:`binomial`, :func:`poisson`, :func:`gamma`, :func:`inverse_gaussian`, :func:`negative_binomial` or
        :func:`gaussian` gives, or one of these names.
    weights
        Numbers of trials where the response is a proportion of successes; else prior weights, strictly positive.
    method
        ``"joint_laplace"`` maximizes the likelihood over theta, fixed effects and the family's parameter: what glmer does.
        ``"pirls_profiled"`` profiles the fixed effects out of the penalized deviance instead, as glmer with ``nAGQ = 0``: fewer
        evaluations, other estimates, no Wald tests.
    n_agq
        Gauss-Hermite nodes per dimension of one grouping factor's effects; 1 is Laplace's approximation.
    inference
        ``"auto"``: Wald tests and intervals of fixed effects where the observed information at the optimum allows them, and a
        test for separation where a binomial fit shows signs of it. ``"none"``: neither.
    control
        Settings made by :func:`control`.

    Returns
    -------
    GeneralizedLinearMixedModel

    Raises
    ------
    FormulaError, DataError, ArgumentError, NotIdentifiable, FitError, InferenceUnavailable
        See :func:`compile_model`. A fit that does not converge is returned, with a ``ConvergenceNotice`` and a
        certificate that says why.

    Notes
    -----
    Laplace's approximation as in Bates, Maechler, Bolker & Walker (2015), JSS 67(1), sec. 5 of its supplement, minimized with
    its exact gradient. Binomial and Poisson models have Fisher's weights in its determinant, as glmer; other families have the
    observed ones, as glmmTMB, and their dispersion maximizes the likelihood with the rest.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> cbpp = mf.datasets.load("cbpp")
    >>> fit = mf.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
    >>> fit.beta.round(4).tolist(), round(fit.deviance, 4), fit.fit_status
    ([-1.3985, -0.9923, -1.1287, -1.5803], 184.0526, 'converged_interior')
    """
    if family is None:
        raise ArgumentError("family is missing; lmm() fits models without one", argument="family")
    check_options(method, n_agq, inference)
    return compile_model(
        formula, data, family=family, weights=weights, offset=offset, subset=subset, na_action=na_action, contrasts=contrasts,
        roles=roles, audit_columns=audit_columns, intent=intent,
    )._fit_family(control, method, n_agq, inference)
