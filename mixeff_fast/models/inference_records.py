"""From tests as numbers and labels to the records of artifacts, with reasons in words."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.errors import ArgumentError
from mixeff_fast.inference import probability, routes
from mixeff_fast.inference import rows as tests
from mixeff_fast.inference.contrasts import Contrasts, read_contrasts
from mixeff_fast.inference.hypotheses import Hypothesis, marginal_hypotheses, sequential_hypotheses
from mixeff_fast.report.wording import words
from mixeff_fast.schemas import inference as i

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.inference.wald import Interval
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.vocabulary import AnovaType, InferenceRequest

    Float = NDArray[np.float64]

_TYPES: dict[Any, AnovaType] = {1: 1, 2: 2, 3: 3, "1": 1, "2": 2, "3": 3, "I": 1, "II": 2, "III": 3}


def row_fields(row: tests.Row) -> dict[str, Any]:
    """A test as the fields of its record."""
    family = row.family
    return {
        "label": row.label, "kind": row.kind, "estimate": row.estimate, "std_error": row.std_error, "statistic": row.statistic,
        "statistic_name": row.statistic_name, "numerator_df": row.numerator_df, "denominator_df": row.denominator_df,
        "p_value": row.p_value, "log_p_value": row.log_p, "method": row.method, "requested_method": row.requested,
        "status": row.status, "reliability": row.reliability, "reliability_reason": row.reliability_reason,
        "reason_code": row.reason_code,
        "reason": "" if row.reason_code is None else words(row.reason_code),
        "notes": tuple(map(words, row.notes)) if row.notes else (),
        "estimability": None if row.assessment is None else estimability_record(row.assessment),
        "family": None if family is None or family.rows == 0 else i.ContrastFamily(
            restriction_rows=family.rows, effective_rank=family.rank, rank_deficient=family.rank < family.rows,
            rhs_nonzero=family.rhs_nonzero, f_scale=family.f_scale,
        ),
    }


def row_record(row: tests.Row) -> i.FixedEffectRow:
    """A test as a record."""
    return i.FixedEffectRow(**row_fields(row))


@lru_cache(maxsize=64)
def estimability_record(assessment: tests.Assessment) -> i.Estimability:
    """An assessment as a record."""
    return i.Estimability(estimand=assessment.estimand, status=assessment.status, rank=assessment.rank,
                          requested_rank=assessment.requested_rank)


def inference_table(subject: InferenceSubject, request: InferenceRequest) -> i.FixedEffectInferenceTable:
    """A row for each coefficient."""
    rows: Any = tuple(map(row_fields, tests.coefficient_rows(subject, request)))
    return i.FixedEffectInferenceTable(header=i.FixedEffectInferenceTable.make_header(__version__), rows=rows)


def _rows_of(matrix: Float) -> tuple[tuple[float, ...], ...]:
    return tuple(map(tuple, matrix.tolist()))


def contrast_table(
    subject: InferenceSubject, given: Any, rhs: Any, request: InferenceRequest, level: float | None = None
) -> i.ContrastTable:
    """A row for each contrast, and one for all where there are several."""
    contrasts = read_contrasts(given, rhs, subject.names)
    rows = tests.contrast_rows(subject, contrasts, request)
    joint = None
    if len(rows) > 1:
        joint = row_record(tests.joint_row(subject, "all rows", "contrast", contrasts.matrix, contrasts.rhs, request))
    return i.ContrastTable(
        header=i.ContrastTable.make_header(__version__), requested_method=request, coef_names=subject.names,
        matrix=_rows_of(contrasts.matrix), rhs=tuple(contrasts.rhs.tolist()), rows=tuple(map(row_record, rows)), joint=joint,
        level=level, intervals=() if level is None else tuple(_interval(row, level) for row in rows),
    )


def _interval(row: tests.Row, level: float) -> i.Interval:
    if row.status != "available" or row.estimate is None or row.std_error is None:
        return i.Interval(lower=None, upper=None)
    tail = 0.5 + 0.5 * level
    df = row.denominator_df
    half = row.std_error * (probability.normal_quantile(tail) if df is None else probability.t_quantile(tail, df))
    return i.Interval(lower=row.estimate - half, upper=row.estimate + half)


def interval_rows(subject: InferenceSubject, request: InferenceRequest, level: float) -> list[Interval]:
    """Intervals of the coefficients from the distributions of their tests."""
    out: list[Interval] = []
    for row in tests.coefficient_rows(subject, request):
        found = _interval(row, level)
        out.append((row.label, row.estimate, found.lower, found.upper, row.status, row.reason_code))
    return out


def anova_type(given: Any) -> AnovaType:
    """1, 2 or 3, however written."""
    if isinstance(given, bool) or not isinstance(given, int | str) or given not in _TYPES:
        raise ArgumentError(f'type is 1, 2 or 3, or "I", "II" or "III"; not {given!r}', argument="type")
    return _TYPES[given]


def hypotheses(subject: InferenceSubject, columns: Any, kind: AnovaType) -> tuple[Hypothesis, ...]:
    """The hypotheses of an analysis of variance."""
    return marginal_hypotheses(columns) if kind == 3 else sequential_hypotheses(columns, subject.design, kind)


def term_test(
    subject: InferenceSubject, hypothesis: Hypothesis, kind: AnovaType, request: InferenceRequest
) -> tests.Row:
    """The test of a term. Types 1 and 2 take each row of the data once: sums of weighted rows do not tell."""
    row = tests.joint_row(subject, hypothesis.label, "term", hypothesis.matrix, np.zeros(len(hypothesis.matrix)), request)
    if kind == 3 or row.status != "available" or not subject.design.weighted:
        return row
    return tests.Row(row.label, "term", request, "not_computed", "not_assessed", "not_available",
                     reason_code="hypothesis_needs_unweighted_rows", assessment=row.assessment, family=row.family)


def anova_term(row: tests.Row, matrix: Float, sigma: float | None) -> i.AnovaTerm:
    """A test of a term with its sums of squares, in the units of the residual variance."""
    mean = None
    if row.statistic_name == "f" and row.statistic is not None and sigma is not None:
        mean = row.statistic * sigma**2
    sums = None if mean is None or row.numerator_df is None else mean * row.numerator_df
    return i.AnovaTerm(matrix=_rows_of(matrix), row=row_record(row), sum_of_squares=sums, mean_square=mean)


def anova_table(
    subject: InferenceSubject, formula: str, sigma: float | None, found: tuple[tuple[tests.Row, Float], ...], kind: AnovaType,
    request: InferenceRequest,
) -> i.AnovaTable:
    """Tests of terms."""
    return i.AnovaTable(
        header=i.AnovaTable.make_header(__version__), formula=formula, type=kind, requested_method=request,
        coef_names=subject.names, terms=tuple(anova_term(row, matrix, sigma) for row, matrix in found),
    )


def estimability_table(subject: InferenceSubject, given: Any) -> i.EstimabilityTable:
    """Which contrasts can be estimated; None asks for the coefficients."""
    design = subject.design
    p = len(subject.names)
    if given is None:
        contrasts = Contrasts(subject.names, np.eye(p), np.zeros(p))
    else:
        contrasts = read_contrasts(given, 0, subject.names)
    touched = design.touched()
    rows = []
    for label, weights, known in zip(contrasts.labels, contrasts.matrix, design.estimable(contrasts.matrix), strict=True):
        alone = given is None and design.kept[np.flatnonzero(weights)].all() and touched[np.flatnonzero(weights)].any()
        status: Any = "estimable" if known else "basis_dependent" if alone else "not_estimable"
        code = None if known else "coefficient_of_fitted_columns" if alone else (
            "aliased_column" if given is None else "contrast_not_estimable")
        rows.append(i.EstimabilityRow(
            label=label, reason_code=code, reason="" if code is None else words(code),
            assessment=i.Estimability(estimand="fixed_contrast", status=status, rank=int(known), requested_rank=1),
        ))
    relations = np.zeros((int((~design.kept).sum()), p))
    relations[:, design.kept] = 0.0 - design.relation.T
    relations[:, ~design.kept] = np.eye(len(relations))
    return i.EstimabilityTable(
        header=i.EstimabilityTable.make_header(__version__), coef_names=subject.names, matrix=_rows_of(contrasts.matrix),
        relations=_rows_of(relations), rows=tuple(rows),
    )


def route_records(facts: routes.Facts, nsim: int = 1) -> tuple[i.InferenceRoute, ...]:
    """Every route on a fit."""
    return tuple(route_record(route, route.method == routes.automatic(facts)) for route in routes.options(facts, nsim))


def route_record(route: routes.Route, auto: bool) -> i.InferenceRoute:
    """A preflight as a record."""
    return i.InferenceRoute(
        method=route.method, route=route.route, auto=auto, verbs=route.verbs, status=route.status,
        reliability=route.reliability, reliability_reason=route.reliability_reason, reason_code=route.reason_code,
        reason="" if route.reason_code is None else words(route.reason_code), evaluations=route.evaluations,
        refits=route.refits, flops=route.flops, bytes=route.bytes,
    )
