"""Models without one of their fixed terms, against the model with all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.errors import ArgumentError, InferenceUnavailable
from mixeff_fast.inference import routes
from mixeff_fast.inference import rows as tests
from mixeff_fast.inference.hypotheses import is_margin, last_hypothesis
from mixeff_fast.models.inference_records import row_record
from mixeff_fast.schemas import inference as i
from mixeff_fast.vocabulary import among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mixeff_fast.frame import DesignColumns
    from mixeff_fast.models.fitted import FittedModel
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.vocabulary import InferenceRequest

Policy = Literal["auto", "error", "ml"]
Test = Literal["none", "lrt", "asymptotic", "satterthwaite", "kenward_roger"]

TESTS: tuple[Test, ...] = ("none", "lrt", "asymptotic", "satterthwaite", "kenward_roger")
REQUESTS: dict[Test, InferenceRequest] = {
    "lrt": "likelihood_ratio", "asymptotic": "asymptotic", "satterthwaite": "satterthwaite", "kenward_roger": "kenward_roger",
}


def droppable(columns: DesignColumns) -> tuple[str, ...]:
    """Terms of which no other is a margin of: those that can be left out while the others keep their meaning."""
    terms = [block for block in columns.blocks if block.parts]
    return tuple(term.label for term in terms if not any(is_margin(term, other) for other in terms))


def known_term(columns: DesignColumns, label: Any, argument: str = "term") -> str:
    """``label`` if it is a fixed term, however its variables are ordered."""
    if isinstance(label, str):
        for term in columns.labels:
            if label == term or sorted(label.replace(" ", "").split(":")) == sorted(term.replace(" ", "").split(":")):
                return term
    raise ArgumentError(
        f"{argument} is a fixed term of the model, one of {', '.join(columns.labels) or 'none'}; not {label!r}",
        argument=argument, choices=list(columns.labels),
    )


def scope_of(columns: DesignColumns, scope: Any) -> tuple[str, ...]:
    """The terms to drop: those that can be, or those asked for."""
    possible = droppable(columns)
    if scope is None:
        return possible
    given: Sequence[Any] = [scope] if isinstance(scope, str) else list(scope) if np.iterable(scope) else [scope]
    wanted = tuple(dict.fromkeys(known_term(columns, label, "scope") for label in given))
    margins = [label for label in wanted if label not in possible]
    if margins:
        raise ArgumentError(
            f"{', '.join(margins)} cannot be left out alone: other terms contain it, and would only be coded anew; terms that "
            f"can are {', '.join(possible) or 'none'}",
            argument="scope", choices=list(possible), reason_code="term_is_margin_of_another",
        )
    return wanted


def without_term(fit: FittedModel, label: str, reml: bool) -> FittedModel:
    """The fit of the same rows without a fixed term."""
    from mixeff_fast.compile import compile_rows
    from mixeff_fast.formula import model_formula, update_formula
    from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.spec import ModelSpec

    model = fit.spec.compiled
    if model.frame.response is ROWS_ELSEWHERE:
        raise InferenceUnavailable(
            "a smaller model is fitted to the rows, which were read in batches and not kept; fit both models to the data and "
            "compare() them, or take a test that needs no second fit",
            reason_code="rows_not_in_memory",
        )
    formula = model_formula(update_formula(model.formula, f". ~ . - {label}"))
    frame = replace(model.frame, formula=formula, scheme=replace(model.frame.scheme, formula=formula))
    spec = ModelSpec(replace(fit.spec.call, formula=formula.text), compile_rows(frame))
    control = replace(fit.control, start=None)
    if isinstance(fit, GeneralizedLinearMixedModel):
        return spec._fit_family(control, fit.method, fit.n_agq, fit.inference)
    return spec._fit_linear(reml, control)


def likelihood_ratio_row(
    subject: InferenceSubject, fit: FittedModel, label: str, request: InferenceRequest = "likelihood_ratio"
) -> tests.Row:
    """The test of a term by the likelihood ratio, both models by maximum likelihood."""
    route = term_route(subject, fit.spec.compiled.fixed, label)
    if not route.available:
        return tests.Row(label, "term", request, "not_computed", route.status, "not_available", reason_code=route.reason_code)
    full = fit._by_maximum_likelihood()
    return compared(full, full._without_term(label, False), label, route, request)


def term_route(subject: InferenceSubject, columns: DesignColumns, label: str) -> routes.Route:
    """The likelihood-ratio route of one term."""
    route = routes.preflight("likelihood_ratio", subject.facts)
    if not route.available:
        return route
    block = next(each for each in columns.blocks if each.label == label)
    code = None
    if label not in droppable(columns):
        code = "term_is_margin_of_another"
    elif not subject.kept.all() and subject.design.rank_without(block.start, block.stop) == subject.kept.sum():
        code = "same_model_space_lrt_invalid"
    if code is None:
        return route
    return replace(route, status="unsupported", reliability="not_available", reliability_reason=None, reason_code=code,
                   evaluations=0, refits=0, flops=0.0)


def compared(
    full: FittedModel, smaller: FittedModel, label: str, route: routes.Route, request: InferenceRequest
) -> tests.Row:
    """The likelihood-ratio test between two fits."""
    from mixeff_fast.models.compare import compare

    row = compare(smaller, full, method="lrt", refit_for_comparison="error").artifact.rows[1]
    if row.chisq is None or row.chisq_dof is None:
        return tests.Row(label, "term", request, "not_computed", "not_assessed", "not_available", reason_code=row.reason_code)
    return tests.Row(
        label, "term", request, "likelihood_ratio", "available", route.reliability, route.reliability_reason,
        statistic=row.chisq, statistic_name="chi_square", numerator_df=float(row.chisq_dof), p_value=row.p_value,
        log_p=row.log_p_value,
    )


def drop_table(
    fit: FittedModel, subject: InferenceSubject, scope: Any, test: Any, policy: Any
) -> i.DropTable:
    """Every term of the scope left out alone."""
    if not among(test, TESTS):
        raise ArgumentError(f"test is one of {', '.join(map(repr, TESTS))}, not {test!r}", argument="test")
    if not among(policy, ("auto", "error", "ml")):
        raise ArgumentError(
            f'refit_for_comparison is "auto", "error" or "ml", not {policy!r}', argument="refit_for_comparison"
        )
    columns = fit.spec.compiled.fixed
    labels = scope_of(columns, scope)
    full = fit if policy == "error" else fit._by_maximum_likelihood()
    refitted = full is not fit
    smaller = {label: full._without_term(label, full.reml) for label in labels}
    comparable = full._maximizes_likelihood
    terms = [_dropped(None, full, None, comparable)]
    for label, other in smaller.items():
        terms.append(_dropped(label, other, _test_row(fit, subject, full, other, label, test), comparable))
    return i.DropTable(
        header=i.DropTable.make_header(__version__), test=test, refit_policy=policy, refitted=refitted, terms=tuple(terms),
    )


def _test_row(
    fit: FittedModel, subject: InferenceSubject, full: FittedModel, other: FittedModel, label: str, test: Test
) -> tests.Row | None:
    if test == "none":
        return None
    if test == "lrt":
        route = routes.preflight("likelihood_ratio", subject.facts)
        if not route.available:
            return tests.Row(label, "term", "likelihood_ratio", "not_computed", route.status, "not_available",
                             reason_code=route.reason_code)
        return compared(full, other, label, route, "likelihood_ratio")
    columns = fit.spec.compiled.fixed
    block = next(each for each in columns.blocks if each.label == label)
    hypothesis = last_hypothesis(block, subject.design)
    return tests.joint_row(subject, label, "term", hypothesis.matrix, np.zeros(len(hypothesis.matrix)), REQUESTS[test])


def _dropped(label: str | None, fit: FittedModel, row: tests.Row | None, comparable: bool) -> i.DroppedTerm:
    """Criteria that do not compare between fits with other fixed effects are left out."""
    def shown(value: float) -> float | None:
        return value if comparable and np.isfinite(value) else None

    return i.DroppedTerm(
        term=label, formula=fit.formula, n_parameters=fit.n_parameters, aic=shown(fit.aic), bic=shown(fit.bic),
        loglik=shown(fit.loglik), row=None if row is None else row_record(row),
    )
