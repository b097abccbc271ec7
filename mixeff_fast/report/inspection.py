"""Tables of what an artifact says: each column is a field of a record, each row a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, cast

import polars as pl

from mixeff_fast.report.html import preformatted
from mixeff_fast.report.numbers import grid, plain
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.design import RandomTermAudit
    from mixeff_fast.schemas.diagnostics import Diagnostic
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.schemas.parameters import ParameterTrace, ThetaMap
    from mixeff_fast.schemas.policy import ModelChange, Thresholds
    from mixeff_fast.schemas.semantic import RandomTerm, RoleRecord

TEXTS = pl.List(pl.String)
ENTRIES = pl.List(pl.Struct({"kind": pl.String, "label": pl.String, "value": pl.Float64}))
Schema = dict[str, pl.DataType | type[pl.DataType]]


def _table(schema: Schema, rows: Iterable[tuple[Any, ...]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def _audited(artifact: CompiledModelArtifact) -> Iterable[tuple[RandomTerm, RandomTermAudit]]:
    audits = {audit.term_id: audit for audit in artifact.design_audit.random_terms}
    return ((term, audits[term.id]) for term in artifact.semantic_model.random_terms)


def random_block_table(artifact: CompiledModelArtifact) -> pl.DataFrame:
    """One row per random term."""
    schema: Schema = {
        "term_id": pl.String, "group": pl.String, "basis": TEXTS, "covariance": pl.String, "theta_parameters": pl.Int64,
        "group_levels": pl.Int64, "min_rows_per_group": pl.Int64, "median_rows_per_group": pl.Float64,
        "status": pl.String, "reason": pl.String,
    }
    return _table(
        schema,
        (
            (term.id, term.group.name, [b.name for b in term.basis], term.covariance, term.n_parameters,
             audit.group.n_levels, audit.group.min_obs_per_level, audit.group.median_obs_per_level,
             audit.information_budget.status, audit.information_budget.reason)
            for term, audit in _audited(artifact)
        ),
    )


def covariance_table(artifact: CompiledModelArtifact) -> pl.DataFrame:
    """Three rows per random term: what each family of covariance costs, and what it takes to be zero."""
    schema: Schema = {
        "term_id": pl.String, "group": pl.String, "basis": TEXTS, "covariance_family": pl.String,
        "theta_parameters": pl.Int64, "assumes_zero": TEXTS, "design_status": pl.String, "current": pl.Boolean,
    }
    rows: list[tuple[Any, ...]] = []
    for term, audit in _audited(artifact):
        basis = [b.name for b in term.basis]
        d = len(basis)
        pairs = [f"cov({a}, {b})" for i, a in enumerate(basis) for b in basis[i + 1 :]]
        families: tuple[tuple[str, int, list[str]], ...] = (
            ("full", d * (d + 1) // 2, []),
            ("diagonal", d, pairs),
            ("scalar", 1, [*(f"var({name})" for name in basis[1:]), *pairs]),
        )
        for family, count, zero in families:
            current = family == term.covariance
            budget = audit.information_budget
            known = budget.status if current else budget.diagonal_status if family == "diagonal" else None
            status = known or "not_assessed"
            rows.append((term.id, term.group.name, basis, family, count, zero, status, current))
    return _table(schema, rows)


def role_table(roles: Iterable[RoleRecord]) -> pl.DataFrame:
    """One row per variable and what is known of it."""
    schema: Schema = dict.fromkeys(("variable", "role", "origin", "group", "evidence"), pl.String)
    return _table(schema, ((r.variable, r.role, r.origin, r.group, r.evidence) for r in roles))


def _stage(change: ModelChange, transitions: frozenset[str]) -> str:
    if change.trigger == "design_time":
        return "design_time_reduction"
    return "covariance_transition" if change.term_id in transitions else "certificate_time"


def change_table(changes: Iterable[ModelChange], transitions: frozenset[str]) -> pl.DataFrame:
    """One row per change; ``transitions`` are the terms whose covariance changed between request and fit."""
    names = ("stage", "term_id", "group", "requested", "effective", "fitted", "status", "detail")
    schema: Schema = dict.fromkeys(names, pl.String)
    return _table(
        schema,
        ((_stage(c, transitions), c.term_id, c.group, c.requested, c.effective, c.fitted, c.status, c.detail)
         for c in changes),
    )


def parameter_table(traces: Iterable[ParameterTrace], maps: Iterable[ThetaMap]) -> pl.DataFrame:
    """One row per covariance parameter."""
    schema: Schema = {
        "term_id": pl.String, "group": pl.String, "source_syntax": pl.String, "covariance_family": pl.String,
        "user_basis": TEXTS, "optimizer_basis": TEXTS, "theta_index": pl.Int64, "theta_name": pl.String,
        "theta_status": pl.String, "constraint": pl.String, "theta_value": pl.Float64, "lambda_row": pl.Int64,
        "lambda_col": pl.Int64, "lambda_row_basis": pl.String, "lambda_col_basis": pl.String, "lambda_value": pl.Float64,
        "varcorr_entries": ENTRIES,
    }
    bases = {m.term_id: (list(m.user_basis), list(m.optimizer_basis)) for m in maps}
    return _table(
        schema,
        (
            (t.term_id, t.group, t.source_syntax, t.covariance_family, *bases[t.term_id], t.theta_index, t.theta_name,
             t.theta_status, "unconstrained" if t.lower_bound is None else "lower_bound", t.theta_value, t.lambda_row,
             t.lambda_col, t.lambda_row_basis, t.lambda_col_basis, t.theta_value,
             [{"kind": e.kind, "label": e.label, "value": e.value} for e in t.varcorr_entries])
            for t in traces
        ),
    )


def _identity(diagnostic: Diagnostic) -> tuple[str, tuple[str, ...], str]:
    return diagnostic.code, diagnostic.affected_terms, _payload(diagnostic)


def _payload(diagnostic: Diagnostic) -> str:
    return json.dumps(diagnostic.model_dump(mode="json")["payload"], sort_keys=True)


def diagnostic_table(diagnostics: Iterable[Diagnostic], keep: Callable[[Diagnostic], bool]) -> pl.DataFrame:
    """One row per diagnostic that ``keep`` lets through; the same code, terms and payload are told once."""
    schema: Schema = {
        "code": pl.String, "severity": pl.String, "stage": pl.String, "message": pl.String, "affected_terms": TEXTS,
        "options": TEXTS, "payload": pl.String,
    }
    unique: dict[tuple[str, tuple[str, ...], str], Diagnostic] = {}
    for diagnostic in diagnostics:
        unique.setdefault(_identity(diagnostic), diagnostic)
    return _table(
        schema,
        ((d.code, d.severity, d.stage, d.message, list(d.affected_terms), list(d.options), _payload(d))
         for d in unique.values() if keep(d)),
    )


def threshold_table(thresholds: Thresholds) -> pl.DataFrame:
    """One row per number that a verdict rests on."""
    return _table({"threshold": pl.String, "value": pl.Float64},
                  ((name, float(value)) for name, value in thresholds.model_dump().items()))


class _Shown:
    """A result that prints as text, in a notebook as the same text."""

    table: pl.DataFrame

    def _repr_html_(self) -> str:
        return preformatted(repr(self))


def _grid(rows: Iterable[tuple[str, ...]], heads: tuple[str, ...], left: int) -> str:
    return "\n".join(line.rstrip() for line in grid(list(zip(heads, *rows, strict=True)), left))


class CovarianceChoices(_Shown):
    """What each family of covariance costs and takes to be zero, for every random term.

    Attributes
    ----------
    table
        Three rows per term: ``full``, ``diagonal``, ``scalar``.
    cards
        The terms in words.
    constraints
        Covariances that are zero because two terms on one group are separate.
    """

    def __init__(self, artifact: CompiledModelArtifact) -> None:
        self.table = covariance_table(artifact)
        self.cards = artifact.random_term_cards
        self.constraints = artifact.cross_card_constraints

    def __repr__(self) -> str:
        rows = (
            ("*" if row["current"] else "", row["term_id"], row["group"], ", ".join(row["basis"]), row["covariance_family"],
             words(row["design_status"]), ", ".join(row["assumes_zero"]), str(row["theta_parameters"]))
            for row in self.table.to_dicts()
        )
        return _grid(rows, ("", "term", "group", "basis", "covariance", "design", "takes to be zero", "theta"), left=7)


class Changes(_Shown):
    """What was changed between request and fit.

    Attributes
    ----------
    table
        One row per change.
    reductions, covariance_transitions, effective_covariance
        The records behind it; the last two are empty before a fit.
    fit_status
        The certificate's verdict; None before a fit.
    requested_formula, effective_formula
        As given, and as compiled.
    """

    def __init__(self, subject: CompiledModelArtifact | FitArtifact) -> None:
        fitted, compiled = _parts(subject)
        self.covariance_transitions = () if fitted is None else fitted.covariance_transitions
        self.effective_covariance = () if fitted is None else fitted.effective_covariance
        self.reductions = subject.reductions if fitted is None else (*compiled.reductions, *fitted.reductions)
        self.fit_status = None if fitted is None else fitted.certificate.status
        self.requested_formula = compiled.requested_formula
        self.effective_formula = compiled.effective_formula or compiled.canonical_formula
        moved = frozenset(t.affected_term for t in self.covariance_transitions)
        self.table = change_table(subject.model_state.changes, moved)

    def __repr__(self) -> str:
        lines = [_sentence(row) for row in self.table.to_dicts()]
        if not lines:
            lines = ["The model is what was requested: nothing was changed."]
        if self.fit_status == "not_optimized":
            lines.append("The search ended before an optimum; its end changed nothing in the structure of the model.")
        return "\n".join(lines)


VERBS = {"applied": "became", "recommended": "could become", "diagnostic": "is fitted as"}


def _sentence(row: dict[str, Any]) -> str:
    result = row["fitted"] or row["effective"]
    change = row["requested"] if result is None else f"{row['requested']} {VERBS[row['status']]} {words(result)}"
    details = ", ".join(words(label) for label in row["detail"].split("/"))
    return f"{row['term_id']}, {row['group']}: {change}: {details} ({words(row['stage'])}, {row['status']})."


class Parameterization(_Shown):
    """Each covariance parameter from the formula to the variances it enters.

    Attributes
    ----------
    table
        One row per covariance parameter.
    traces, theta_maps
        The records behind it.
    """

    def __init__(self, subject: CompiledModelArtifact | FitArtifact) -> None:
        _, compiled = _parts(subject)
        self.traces = subject.parameter_traces
        self.theta_maps = compiled.theta_maps
        self.table = parameter_table(self.traces, self.theta_maps)

    def __repr__(self) -> str:
        rows = (
            (t.term_id, t.source_syntax, t.theta_name, words(t.theta_status), f"[{t.lambda_row}, {t.lambda_col}]",
             ", ".join(entry.label for entry in t.varcorr_entries), "" if t.theta_value is None else plain(t.theta_value))
            for t in self.traces
        )
        return _grid(rows, ("term", "written", "theta", "status", "Lambda", "enters", "value"), left=6)


class Reproducibility(_Shown):
    """What it takes to get the same model and the same fit again.

    Attributes
    ----------
    record
        Versions, data fingerprint and settings by name; of a fit also the settings of its search.
    table
        The thresholds: ``threshold, value``.
    """

    def __init__(self, subject: CompiledModelArtifact | FitArtifact) -> None:
        fitted, compiled = _parts(subject)
        self.record: dict[str, Any] = {
            "package_version": subject.header.package_version,
            "schema_version": subject.header.schema_version,
            **compiled.reproducibility.model_dump(mode="json"),
            "fingerprint": compiled.data.fingerprint.model_dump(mode="json"),
        }
        if fitted is not None:
            self.record |= fitted.reproducibility.model_dump(mode="json") | {"compiled_sha256": fitted.compiled_sha256}
            if fitted.glmm is not None:
                self.record |= {"method": fitted.glmm.estimator, "n_agq": fitted.glmm.n_agq, "inference": fitted.glmm.inference}
        self.table = threshold_table(compiled.thresholds)

    def __repr__(self) -> str:
        lines = [f"{name}: {json.dumps(value)}" for name, value in self.record.items()]
        rows = ((name, plain(value)) for name, value in self.table.iter_rows())
        return "\n".join([*lines, _grid(rows, ("threshold", "value"), left=1)])


def _parts(subject: CompiledModelArtifact | FitArtifact) -> tuple[FitArtifact | None, CompiledModelArtifact]:
    compiled = getattr(subject, "compiled", None)
    return (None, cast("CompiledModelArtifact", subject)) if compiled is None else (cast("FitArtifact", subject), compiled)
