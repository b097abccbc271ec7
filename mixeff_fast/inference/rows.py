"""Tests of hypotheses on fixed effects, one row each, by whatever route a request comes to.

Labels and numbers only; what is said about them is written elsewhere.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.inference import kenward_roger, probability, routes, satterthwaite
from mixeff_fast.inference.restrictions import FTest, restrict

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.inference.contrasts import Contrasts
    from mixeff_fast.inference.design import FixedDesign
    from mixeff_fast.inference.probability import Tail
    from mixeff_fast.inference.routes import Facts, Resolution, Route
    from mixeff_fast.vocabulary import (
        EstimabilityStatus,
        Estimand,
        InferenceMethod,
        InferenceRequest,
        Reliability,
        RowKind,
        RowStatus,
        StatisticName,
    )

    Float = NDArray[np.float64]

# an F or t on so few degrees of freedom has no variance
FEW = 2.0
# a variance below this share of what it would be if nothing cancelled is rounding, to a thousandth of itself
RESOLVED = 1e3 * float(np.finfo(np.float64).eps)
UNRESOLVED = "contrast_variance_unresolved"


class Subject(Protocol):
    """What a fit must offer: estimates with their covariance (NaN where aliased), which columns were fitted, X without its
    rows, the facts that routes look at, and what finite-sample routes are computed from.

    ``payload`` gives what ``satterthwaite.satterthwaite`` or ``kenward_roger.kenward_roger`` computed for the fit. A route
    that fails raises InferenceUnavailable, and is among ``facts.failed`` from then on.
    """

    @property
    def names(self) -> tuple[str, ...]: ...

    @property
    def beta(self) -> Float: ...

    @property
    def vcov(self) -> Float: ...

    @property
    def kept(self) -> NDArray[np.bool_]: ...

    @property
    def facts(self) -> Facts: ...

    @property
    def design(self) -> FixedDesign: ...

    def payload(self, method: str) -> Any: ...


class Assessment(NamedTuple):
    """How much of a hypothesis is estimable: rank of the estimable restrictions, and of all."""

    estimand: Estimand
    status: EstimabilityStatus
    rank: int
    requested_rank: int


_ESTIMABLE = Assessment("fixed_contrast", "estimable", 1, 1)
_BASIS_DEPENDENT = Assessment("fixed_contrast", "basis_dependent", 1, 1)
_NOT_ESTIMABLE = Assessment("fixed_contrast", "not_estimable", 0, 1)


@dataclass(frozen=True, slots=True)
class Family:
    """Several restrictions at once; ``f_scale`` is what a Kenward-Roger F was multiplied by."""

    rows: int
    rank: int
    rhs_nonzero: bool
    f_scale: float | None


class Row(NamedTuple):
    """A test. ``estimate`` is the difference from the right-hand side; ``notes`` are reason codes."""

    label: str
    kind: RowKind
    requested: InferenceRequest
    method: InferenceMethod
    status: RowStatus
    reliability: Reliability
    reliability_reason: str | None = None
    reason_code: str | None = None
    estimate: float | None = None
    std_error: float | None = None
    statistic: float | None = None
    statistic_name: StatisticName | None = None
    numerator_df: float | None = None
    denominator_df: float | None = None
    p_value: float | None = None
    log_p: float | None = None
    notes: tuple[str, ...] = ()
    assessment: Assessment | None = None
    family: Family | None = None


def _resolved(subject: Subject, request: InferenceRequest) -> tuple[Resolution, Any]:
    """What a request comes to, with what its route computes from; a route that fails on the way is passed over once."""
    resolution = routes.resolve(request, subject.facts)
    method = resolution.route.method
    if not resolution.route.available or method not in ("satterthwaite", "kenward_roger"):
        return resolution, None
    try:
        return resolution, subject.payload(method)
    except InferenceUnavailable:
        return routes.resolve(request, subject.facts), None


def _refusal(label: str, kind: RowKind, resolution: Resolution, **numbers: Any) -> Row:
    route = resolution.route
    return Row(label, kind, resolution.requested, "not_computed", route.status, "not_available",
               reason_code=route.reason_code, notes=resolution.notes, **numbers)


def _reliability(resolution: Resolution, df: float | None) -> tuple[Reliability, str | None]:
    route = resolution.route
    if resolution.notes:
        return "low", "asymptotic_wald_z_fallback"
    if df is not None and df <= FEW:
        return "low", "few_degrees_of_freedom"
    return route.reliability, route.reliability_reason


def coefficient_rows(subject: Subject, request: InferenceRequest) -> tuple[Row, ...]:
    """A row for each coefficient; those of columns that were left out of the fit are not estimable.

    In a design of deficient rank the others are coefficients of the columns that were fitted: the row says so where leaving
    other columns out would have given another number.
    """
    if not subject.names:
        return ()
    resolution, payload = _resolved(subject, request)
    aliased = ~subject.kept
    touched = subject.design.touched() if aliased.any() else aliased
    every = _estimates(subject, resolution.route, payload, np.eye(len(aliased)), np.zeros(len(aliased)))
    out = []
    for name, estimate, gone, depends in zip(subject.names, every, aliased.tolist(), touched.tolist(), strict=True):
        if gone:
            out.append(Row(name, "coefficient", request, "not_computed", "not_estimable", "not_available",
                           reason_code="aliased_column", assessment=_NOT_ESTIMABLE))
        elif depends:
            notes = (*resolution.notes, "coefficient_of_fitted_columns")
            out.append(_one(resolution, name, "coefficient", estimate, _BASIS_DEPENDENT, notes))
        else:
            out.append(_one(resolution, name, "coefficient", estimate, _ESTIMABLE, resolution.notes))
    return tuple(out)


def contrast_rows(subject: Subject, contrasts: Contrasts, request: InferenceRequest) -> tuple[Row, ...]:
    """A row for each contrast."""
    resolution, payload = _resolved(subject, request)
    estimable = np.full(len(contrasts.matrix), True)
    if not subject.kept.all():
        estimable = subject.design.estimable(contrasts.matrix)
    every = _estimates(subject, resolution.route, payload, contrasts.matrix, contrasts.rhs)
    out = []
    for label, estimate, known in zip(contrasts.labels, every, estimable.tolist(), strict=True):
        if known:
            row = _one(resolution, label, "contrast", estimate, _ESTIMABLE, resolution.notes)
        else:
            row = Row(label, "contrast", request, "not_computed", "not_estimable", "not_available",
                      reason_code="contrast_not_estimable", assessment=_NOT_ESTIMABLE)
        out.append(row)
    return tuple(out)


class _Estimate(NamedTuple):
    """The difference of a row of weights from its right-hand side, with its standard error and p-value; ``df`` is None for the
    normal distribution. NaN where there is none."""

    value: float
    error: float
    df: float | None
    statistic: float
    tail: Tail


def _estimates(subject: Subject, route: Route, payload: Any, matrix: Float, rhs: Float) -> list[_Estimate]:
    """What rows of weights estimate, shape (rows, p): weights of columns that were not fitted are left out."""
    own, beta, vcov = matrix, subject.beta, subject.vcov
    if not subject.kept.all():
        kept = np.flatnonzero(subject.kept)
        own, beta, vcov = matrix[:, kept], beta[kept], vcov[np.ix_(kept, kept)]
    values = own @ beta - rhs
    size = np.abs(own).max(axis=1, initial=0.0)
    unit = own / np.where(size > 0.0, size, 1.0)[:, None]
    variances = np.sum((unit @ vcov) * unit, axis=1)
    resolved = variances > RESOLVED * (np.abs(unit) @ np.sqrt(np.diag(vcov))) ** 2
    errors = size * np.sqrt(np.where(resolved, variances, np.nan))
    dfs: list[float | None] = [None] * len(own)
    if payload is not None:
        if route.method == "satterthwaite":
            found = satterthwaite.denominator_dfs(payload, matrix)
        else:
            found, spreads = kenward_roger.spreads(payload, matrix)
            errors = np.where(resolved, spreads, np.nan)
        dfs = found.tolist()
        statistics = (values / errors).tolist()
        tails = probability.t_two_sided_each(statistics, found.tolist())
    else:
        statistics = (values / errors).tolist()
        tails = list(map(probability.normal_two_sided, statistics))
    return list(map(_Estimate, values.tolist(), errors.tolist(), dfs, statistics, tails))


def _one(
    resolution: Resolution, label: str, kind: RowKind, estimate: _Estimate, assessment: Assessment, notes: tuple[str, ...]
) -> Row:
    """The test of one row of weights that can be estimated."""
    route, (value, error, df, statistic, tail) = resolution.route, estimate
    requested = resolution.requested
    lost = "contrast_rank_zero" if df is not None and math.isnan(df) else (
        "" if math.isfinite(value) and math.isfinite(error) else UNRESOLVED)
    if not route.available or lost:
        status, code = (route.status, route.reason_code) if not route.available else ("not_assessed", lost)
        return Row(label, kind, requested, "not_computed", status, "not_available", reason_code=code,
                   estimate=_finite(value), std_error=_finite(error), notes=notes, assessment=assessment)
    reliability, why = _reliability(resolution, df)
    return Row(
        label, kind, requested, "asymptotic_wald_z" if df is None else route.route,  # type: ignore[arg-type]
        "available", reliability, why, estimate=value, std_error=error, statistic=statistic,
        statistic_name="z" if df is None else "t", denominator_df=df, p_value=tail.p, log_p=tail.log_p, notes=notes,
        assessment=assessment,
    )


def joint_row(
    subject: Subject, label: str, kind: RowKind, matrix: Float, rhs: Float, request: InferenceRequest
) -> Row:
    """The test of all restrictions at once, as an F or a chi-square; also of a single one."""
    resolution, payload = _resolved(subject, request)
    assessment = assess(subject, matrix, "fixed_term" if kind == "term" else "fixed_contrast")
    family = Family(len(matrix), assessment.rank, bool(rhs.any()), None)
    if assessment.status != "estimable":
        code = "term_not_estimable" if kind == "term" else "contrast_not_estimable"
        return Row(label, kind, request, "not_computed", "not_estimable", "not_available", reason_code=code,
                   assessment=assessment, family=family)
    known = {"assessment": assessment, "family": family}
    route = resolution.route
    if not route.available:
        return _refusal(label, kind, resolution, **known)
    rows = np.where(subject.kept, matrix, 0.0)
    try:
        test = _joint_test(subject, route.method, payload, rows, rhs)
    except InferenceUnavailable as refusal:
        return Row(label, kind, request, "not_computed", "not_assessed", "not_available", reason_code=refusal.reason_code,
                   notes=resolution.notes, **known)  # type: ignore[arg-type]
    return _joint(resolution, label, kind, test, assessment, family)


def _joint(
    resolution: Resolution, label: str, kind: RowKind, test: FTest, assessment: Assessment, family: Family
) -> Row:
    route = resolution.route
    wald = route.method == "asymptotic"
    tail = tail_of(test)
    reliability, why = _reliability(resolution, None if wald else test.ddf)
    return Row(
        label, kind, resolution.requested,
        "asymptotic_wald_chi_square" if wald else route.route,  # type: ignore[arg-type]
        "available", reliability, why, statistic=test.f * test.ndf if wald else test.f,
        statistic_name="chi_square" if wald else "f", numerator_df=float(test.ndf),
        denominator_df=None if wald else test.ddf, p_value=tail.p, log_p=tail.log_p, notes=resolution.notes,
        assessment=assessment,
        family=replace(family, rank=test.rank, f_scale=test.scale if route.method == "kenward_roger" else None),
    )


def _root(covariance: Float) -> Float:
    """``root root'`` is the covariance matrix.

    Raises
    ------
    InferenceUnavailable
        ``contrast_variance_unresolved``: combinations of the coefficients have variances that are nothing but rounding.
    """
    error = np.sqrt(np.diag(covariance))
    correlation = covariance / np.outer(error, error) if np.all(error > 0.0) else np.zeros_like(covariance)
    values, vectors = np.linalg.eigh(correlation)
    if not np.all(values > RESOLVED):
        raise InferenceUnavailable("the variances of the contrast are lost to rounding", reason_code=UNRESOLVED)
    return np.asarray(error[:, None] * vectors * np.sqrt(values))


def tail_of(test: FTest) -> Tail:
    """The p-value of a joint test."""
    return probability.f_upper(test.f, test.ndf, test.ddf)


def _joint_test(subject: Subject, method: str, payload: Any, rows: Float, rhs: Float) -> FTest:
    if method == "satterthwaite":
        return satterthwaite.f_test(payload, subject.beta, rows, rhs)
    if method == "kenward_roger":
        return kenward_roger.f_test(payload, subject.beta, rows, rhs)
    # other coefficients play no part: with the intercept, the covariance matrix may be singular to working precision
    kept = np.flatnonzero(subject.kept & rows.any(axis=0))
    given = restrict(rows, rhs, subject.beta, kept, _root(subject.vcov[np.ix_(kept, kept)]))
    return FTest(given.wald / given.rank, given.rank, math.inf, given.rank, 1.0)


def assess(subject: Subject, matrix: Float, estimand: Estimand) -> Assessment:
    """How much of a hypothesis can be estimated."""
    if not len(matrix):
        return Assessment(estimand, "not_estimable", 0, 0)
    requested = _rank(matrix)
    if subject.kept.all():
        return Assessment(estimand, "estimable", requested, requested)
    # combinations of the rows that are estimable: those that the residue maps to zero
    rest, size = subject.design.residue(matrix)
    scale = np.where(size.max(axis=0, initial=0.0) > 0.0, size.max(axis=0, initial=0.0), 1.0)
    lost = int(np.linalg.matrix_rank(rest / scale, tol=1e-8)) if not subject.design.estimable(matrix).all() else 0
    status: EstimabilityStatus = "estimable" if lost == 0 else "not_estimable" if lost >= requested else "partially_estimable"
    return Assessment(estimand, status, requested - min(lost, requested), requested)


def _rank(matrix: Float) -> int:
    size = np.abs(matrix).max(axis=0)
    scaled = matrix / np.where(size > 0.0, size, 1.0)
    length = np.linalg.norm(scaled, axis=1, keepdims=True)
    return int(np.linalg.matrix_rank(scaled / np.where(length > 0.0, length, 1.0), tol=1e-9))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
