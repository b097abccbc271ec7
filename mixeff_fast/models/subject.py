"""A fit as the routes of inference see it."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.inference import gates
from mixeff_fast.inference.design import FixedDesign, fixed_design
from mixeff_fast.inference.routes import Facts, withheld_by

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel

    Float = NDArray[np.float64]

# what a fit without a limit of its own may take of the memory that is free
_SHARE = 0.8


class InferenceSubject:
    """What :class:`mixeff_fast.inference.rows.Subject` asks for, read from a fit.

    What finite-sample routes are computed from is made when a route first needs it, and kept with the fit; it is not stored.

    Parameters
    ----------
    fit
        Has ``coef_names``, ``beta`` and ``vcov()``, NaN where aliased, and ``spec``.
    facts
        Describes the fit.
    kept
        Which columns were fitted, shape (p,).
    payloads
        What each finite-sample route is computed from, by its name; a linear mixed model has them.
    """

    def __init__(
        self, fit: Any, facts: Callable[[], Facts], kept: NDArray[np.bool_], payloads: dict[str, Callable[[], Any]]
    ) -> None:
        self._fit = fit
        self._describe = facts
        self.kept = kept
        self._make = payloads
        self._payloads: dict[str, Any] = {}
        self._failed: dict[str, str] = {}
        self._design: FixedDesign | None = None
        self._facts: Facts | None = None

    @property
    def names(self) -> tuple[str, ...]:
        names: tuple[str, ...] = self._fit.coef_names
        return names

    @property
    def beta(self) -> Float:
        return np.asarray(self._fit.beta)

    @property
    def vcov(self) -> Float:
        return np.asarray(self._fit.vcov())

    @property
    def design(self) -> FixedDesign:
        if self._design is None:
            spec = self._fit.spec
            source = spec._source
            self._design = fixed_design(spec.compiled, self.kept, None if source is None else source.statistics)
        return self._design

    @property
    def facts(self) -> Facts:
        """The facts, with the routes that failed on this fit so far."""
        if self._facts is None:
            self._facts = self._describe()
        return replace(self._facts, failed=tuple(self._failed.items())) if self._failed else self._facts

    def payload(self, method: str) -> Any:
        """What a route is computed from.

        Raises
        ------
        InferenceUnavailable
            The route finds no answer on this fit.
        """
        if method not in self._payloads:
            try:
                self._payloads[method] = self._make[method]()
            except InferenceUnavailable as refusal:
                self._failed[method] = refusal.reason_code
                raise
        return self._payloads[method]


def without_spread(result: LmmResult) -> str | None:
    """Why the covariance matrix of the fixed effects says nothing, if so."""
    if result.certificate.status == "not_identifiable" and result.certificate.quality == "failed":
        return "exact_fit"
    if np.isfinite(result.vcov).all():
        return None
    known = ~result.aliased
    return None if np.all(np.isfinite(result.vcov[np.ix_(known, known)])) else "fixed_effect_covariance_nonfinite"


def lmm_facts(fit: LinearMixedModel) -> Facts:
    """The facts of a linear mixed model."""
    from mixeff_fast.fit.chart import stencil
    from mixeff_fast.fit.engine import available_memory, spares_evaluations
    from mixeff_fast.fit.moments import needed_bytes
    from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
    from mixeff_fast.inference.kenward_roger import ALWAYS

    model, result = fit.spec.compiled, fit.result
    certificate, plan = result.certificate, model.plan
    p = int((~result.aliased).sum())
    effects = float(sum(factor.n_levels * factor.width for factor in model.factors))
    free = certificate.n_free
    flops = float(plan.flops + plan.inverse_flops)
    needed = float(needed_bytes(model.n_theta, p))
    limit = fit.control.memory_limit
    if limit is None:
        limit = ALWAYS if needed < ALWAYS else int(_SHARE * available_memory())
    return Facts(
        gaussian=True,
        status=certificate.status,
        held=certificate.n_boundary,
        withheld=withheld_by(fit.spec.call.intent, certificate.status, without_spread(result)),
        rows_in_memory=model.frame.response is not ROWS_ELSEWHERE,
        free=free,
        differences=len(stencil(not spares_evaluations(model))),
        evaluations=certificate.evaluations,
        flops=flops,
        kenward_roger=(flops + p * effects * (2.0 * p + 4.0 * max(f.width for f in model.factors)), needed),
        memory_limit=float(limit),
    )


def lmm_subject(fit: LinearMixedModel) -> InferenceSubject:
    """A linear mixed model as the routes see it."""
    from mixeff_fast.inference.kenward_roger import kenward_roger
    from mixeff_fast.inference.satterthwaite import satterthwaite

    return InferenceSubject(
        fit, lambda: lmm_facts(fit), ~fit.result.aliased,
        {
            "satterthwaite": lambda: satterthwaite(fit._engine, fit.result),
            "kenward_roger": lambda: kenward_roger(fit._engine, fit.result, fit.control.memory_limit),
        },
    )


def glmm_subject(fit: GeneralizedLinearMixedModel) -> InferenceSubject:
    """A generalized linear mixed model as the routes see it."""
    model, certificate, code = fit.spec.compiled, fit.result.certificate, fit._withheld
    blocked = None if code in gates.WALD_ALONE else code
    facts = Facts(
        gaussian=False, status=certificate.status, held=certificate.n_boundary,
        withheld=withheld_by(fit.spec.call.intent, certificate.status, blocked), rows_in_memory=True,
        free=certificate.n_free, differences=0, evaluations=certificate.evaluations,
        flops=float(model.plan.flops + model.plan.inverse_flops), kenward_roger=(0.0, 0.0), memory_limit=math.inf,
        withheld_status="p_value_unavailable" if blocked is None else gates.withheld_status(blocked),
        no_wald=None if code is None or code == blocked else (code, gates.withheld_status(code)),
    )
    return InferenceSubject(fit, lambda: facts, ~fit.result.aliased, {})
