"""What the routes would do on a fit, for coefficients or for a term."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixeff_fast._version import __version__
from mixeff_fast.inference import routes
from mixeff_fast.inference import rows as tests
from mixeff_fast.models.drop import known_term, term_route
from mixeff_fast.models.inference_records import estimability_record, hypotheses, route_record
from mixeff_fast.schemas.inference import InferenceOptions

if TYPE_CHECKING:
    from mixeff_fast.models.subject import InferenceSubject


def options_artifact(fit: Any, subject: InferenceSubject, term: str | None, nsim: int) -> InferenceOptions:
    """Every route on a fit, by its own preflight."""
    found = routes.options(subject.facts, nsim)
    auto = routes.automatic(subject.facts)
    assessment = None
    if term is not None:
        columns = fit.spec.compiled.fixed
        label = known_term(columns, term)
        hypothesis = next(each for each in hypotheses(subject, columns, 3) if each.label == label)
        assessment = tests.assess(subject, hypothesis.matrix, "fixed_term")
        found = tuple(
            term_route(subject, columns, label) if route.method == "likelihood_ratio" else _of_term(route, assessment)
            for route in found
        )
    return InferenceOptions(
        header=InferenceOptions.make_header(__version__), term=None if term is None else label, nsim=nsim,
        criterion="approximate ML" if not subject.facts.gaussian else "REML" if fit.reml else "ML",
        fit_status=subject.facts.status,
        estimability=None if assessment is None else estimability_record(assessment),
        routes=tuple(route_record(route, route.method == auto) for route in found),
    )


def _of_term(route: routes.Route, assessment: tests.Assessment) -> routes.Route:
    """A route for the type 3 hypothesis of a term, which the data must determine whatever the route."""
    if assessment.status != "estimable":
        return replace(route, status="not_estimable", reliability="not_available", reliability_reason=None,
                       reason_code="term_not_estimable", evaluations=0, refits=0, flops=0.0, bytes=0.0)
    return route
