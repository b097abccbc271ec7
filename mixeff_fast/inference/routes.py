"""The routes of inference on fixed effects, and what each would do on one fit: the one place where that is decided.

A verb asks :func:`resolve` and does what it says; ``inference_options`` and the audit print the same preflights.

``"auto"`` has one meaning everywhere: Satterthwaite where it is available, else the asymptotic Wald test, whose rows then say
why Satterthwaite was not taken; of generalized models, for which there is no Satterthwaite, the asymptotic one. What a fit may
not be asked at all is decided first: no p-values where the intent says that the model may owe its form to the data, where the
search found no optimum, or where the covariance matrix says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from mixeff_fast.errors import ArgumentError
from mixeff_fast.vocabulary import InferenceRequest, Reliability, RowStatus

if TYPE_CHECKING:
    from mixeff_fast.vocabulary import FitStatus

REQUESTS: tuple[InferenceRequest, ...] = get_args(InferenceRequest)
# intents under which the model may owe its form to the data, and what that is called where a p-value is withheld
INTENTS = {"exploratory": "exploratory_intent", "predictive": "predictive_intent"}
# fits that are no optimum, or not the only one
DOUBTS = {"not_optimized": "fit_not_optimized", "not_identifiable": "fit_not_identifiable"}
_EVERY_VERB = ("inference_table", "summary", "contrast", "df_for_contrast", "lincomb", "test_effect", "anova", "drop1")
_TERM_VERBS = ("test_effect", "drop1")


@dataclass(frozen=True, slots=True)
class Facts:
    """What the preflights need to know of a fit.

    Attributes
    ----------
    gaussian
        Whether it is a linear mixed model.
    status
        Of the fit.
    held
        Covariance parameters that are zero in the fit.
    withheld
        Reason code under which no row gets a p-value, or None.
    withheld_status
        What these rows have for a status.
    no_wald
        Reason code and status under which Wald tests are refused and likelihood ratios are not, or None.
    rows_in_memory
        Whether a smaller model can be fitted to the rows.
    free
        Covariance parameters that are not zero.
    differences
        Evaluations that Satterthwaite's method takes for each of them.
    evaluations
        Of the criterion, that the fit took.
    flops
        Of one evaluation of the criterion with its gradient.
    kenward_roger
        Flops of one of its evaluations, and bytes that it takes.
    memory_limit
        Bytes that a route may take.
    failed
        Routes that were taken on this fit and found no answer, with their reason codes.
    """

    gaussian: bool
    status: FitStatus
    held: int
    withheld: str | None
    rows_in_memory: bool
    free: int
    differences: int
    evaluations: int
    flops: float
    kenward_roger: tuple[float, float]
    memory_limit: float
    failed: tuple[tuple[str, str], ...] = ()
    withheld_status: RowStatus = "p_value_unavailable"
    no_wald: tuple[str, RowStatus] | None = None


@dataclass(frozen=True, slots=True)
class Route:
    """A preflight: whether a route runs on a fit, how far its rows can be relied on, and what it costs.

    ``method`` is what verbs take, ``route`` what they do; ``verbs`` take it.
    """

    method: str
    route: str
    verbs: tuple[str, ...]
    status: RowStatus
    reliability: Reliability
    reliability_reason: str | None
    reason_code: str | None
    evaluations: int = 0
    refits: int = 0
    flops: float = 0.0
    bytes: float = 0.0

    @property
    def available(self) -> bool:
        return self.status == "available"


@dataclass(frozen=True, slots=True)
class Resolution:
    """What a request comes to. ``notes`` are reason codes of what was passed over on the way."""

    requested: InferenceRequest
    route: Route
    notes: tuple[str, ...] = ()


def withheld_by(intent: str, status: FitStatus, covariance: str | None) -> str | None:
    """Why a fit gets no p-values, or None. ``covariance`` is why its covariance matrix says nothing, if so."""
    return covariance or INTENTS.get(intent) or DOUBTS.get(status)


def _refused(method: str, route: str, verbs: tuple[str, ...], code: str, status: RowStatus = "unsupported") -> Route:
    return Route(method, route, verbs, status, "not_available", None, code)


def asymptotic(facts: Facts, nsim: int = 1) -> Route:
    """Wald z, and chi-square for several restrictions: the covariance matrix is there already."""
    if facts.no_wald is not None:
        return _refused("asymptotic", "asymptotic_wald_z", _EVERY_VERB, *facts.no_wald)
    if facts.status == "not_assessed":
        return Route("asymptotic", "asymptotic_wald_z", _EVERY_VERB, "available", "low", "not_assessed", None)
    known = not facts.gaussian and facts.held > 0
    return Route("asymptotic", "asymptotic_wald_z", _EVERY_VERB, "available", "moderate",
                 "boundary_parameters_taken_as_known" if known else "normal_approximation", None)


def satterthwaite(facts: Facts, nsim: int = 1) -> Route:
    """t and F with Satterthwaite's degrees of freedom: second derivatives of the criterion from differences of its exact
    gradient. Covariance parameters at zero count as known."""
    verbs = _EVERY_VERB
    if not facts.gaussian:
        return _refused("satterthwaite", "satterthwaite", verbs, "satterthwaite_needs_gaussian_errors")
    evaluations = 1 + facts.differences * facts.free
    reliability, reason = _finite_sample(facts, "satterthwaite")
    return Route("satterthwaite", "satterthwaite", verbs, "available", reliability, reason, None, evaluations=evaluations,
                 flops=evaluations * facts.flops)


def kenward_roger(facts: Facts, nsim: int = 1) -> Route:
    """t and scaled F with an adjusted covariance matrix. Covariance parameters at zero count as known."""
    verbs = _EVERY_VERB
    if not facts.gaussian:
        return _refused("kenward_roger", "kenward_roger", verbs, "kenward_roger_needs_gaussian_errors")
    each, needed = facts.kenward_roger
    evaluations = 3 + 4 * facts.free
    flops = evaluations * each
    reliability, reason = _finite_sample(facts, "kenward_roger")
    if needed > facts.memory_limit:
        return Route("kenward_roger", "kenward_roger", verbs, "not_assessed", "not_available", None,
                     "kenward_roger_memory_limit", evaluations, flops=flops, bytes=needed)
    return Route("kenward_roger", "kenward_roger", verbs, "available", reliability, reason, None, evaluations,
                 flops=flops, bytes=needed)


def _finite_sample(facts: Facts, method: str) -> tuple[Reliability, str]:
    if facts.held:
        return "low", f"{method}_boundary_fixed"
    if facts.status == "not_assessed":
        return "low", "not_assessed"
    return "moderate", f"{method}_approximation"


def likelihood_ratio(facts: Facts, nsim: int = 1) -> Route:
    """A term by the likelihood ratio of the model without it, both by maximum likelihood, whatever the fit is by."""
    if not facts.rows_in_memory:
        return _refused("likelihood_ratio", "likelihood_ratio", _TERM_VERBS, "rows_not_in_memory", "not_assessed")
    return Route("likelihood_ratio", "likelihood_ratio", _TERM_VERBS, "available", "moderate", "chi_square_approximation", None,
                 evaluations=2 * facts.evaluations, refits=2, flops=2.0 * facts.evaluations * facts.flops)


def bootstrap(facts: Facts, nsim: int = 1) -> Route:
    """Not done; ``flops`` are those of ``nsim`` fits."""
    return _resampling("bootstrap", facts, nsim)


def bootstrap_lrt(facts: Facts, nsim: int = 1) -> Route:
    """Not done; two fits for each of ``nsim`` responses."""
    return _resampling("bootstrap_lrt", facts, 2 * nsim)


def cluster_bootstrap(facts: Facts, nsim: int = 1) -> Route:
    """Not done; ``flops`` are those of ``nsim`` fits."""
    return _resampling("cluster_bootstrap", facts, nsim)


def _resampling(method: str, facts: Facts, refits: int) -> Route:
    evaluations = refits * facts.evaluations
    return Route(method, method, (), "unsupported", "not_available", None, "bootstrap_unavailable", evaluations=evaluations,
                 refits=refits, flops=evaluations * facts.flops)


PREFLIGHTS = {
    "asymptotic": asymptotic,
    "satterthwaite": satterthwaite,
    "kenward_roger": kenward_roger,
    "likelihood_ratio": likelihood_ratio,
    "bootstrap": bootstrap,
    "bootstrap_lrt": bootstrap_lrt,
    "cluster_bootstrap": cluster_bootstrap,
}


def preflight(method: str, facts: Facts, nsim: int = 1) -> Route:
    """What a route would do on a fit: its own preflight, after what holds for all."""
    route = PREFLIGHTS[method](facts, nsim)
    failed = dict(facts.failed).get(method)
    if not route.available:
        return route
    if facts.withheld is not None:
        return _refused(method, route.route, route.verbs, facts.withheld, facts.withheld_status)
    return route if failed is None else _refused(method, route.route, route.verbs, failed, "not_assessed")


def options(facts: Facts, nsim: int) -> tuple[Route, ...]:
    """Every route, in a fixed order."""
    return tuple(preflight(method, facts, nsim) for method in PREFLIGHTS)


def check_request(method: object) -> InferenceRequest:
    """``method`` as a request, or an ArgumentError."""
    if isinstance(method, str) and method in REQUESTS:
        return method
    raise ArgumentError(f"method is one of {', '.join(map(repr, REQUESTS))}, not {method!r}", argument="method")


def resolve(request: InferenceRequest, facts: Facts, smaller_model: bool = False) -> Resolution:
    """What a request comes to on a fit; ``smaller_model``: the hypothesis is the model without a term."""
    if request == "none":
        return Resolution(request, _refused("none", "not_computed", (), "inference_not_requested", "not_assessed"))
    if request == "boundary_lrt":
        return Resolution(
            request, _refused(request, "not_computed", (), "boundary_lrt_not_applicable_to_fixed_effects")
        )
    if request == "likelihood_ratio" and not smaller_model:
        return Resolution(request, _refused(request, request, _TERM_VERBS, "likelihood_ratio_takes_a_term"))
    if request != "auto":
        return Resolution(request, preflight(request, facts))
    if not facts.gaussian:
        return Resolution(request, preflight("asymptotic", facts))
    first = preflight("satterthwaite", facts)
    if first.available or facts.withheld is not None:
        return Resolution(request, first)
    return Resolution(request, preflight("asymptotic", facts), () if first.reason_code is None else (first.reason_code,))


def automatic(facts: Facts) -> str:
    """The method that ``"auto"`` comes to."""
    return resolve("auto", facts).route.method
