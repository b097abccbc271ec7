"""Lines on what was asked for, what became of it, and the fixed effects."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.report.audit_lines import several

if TYPE_CHECKING:
    from mixeff_fast.report.audit_lines import Lines
    from mixeff_fast.schemas.audit import Section, Tag

STAGE_TAGS: dict[str, Tag] = {"advisory_changes": "warning", "refused": "warning", "reduced": "info"}


def requested_model(lines: Lines) -> None:
    """Everything here restates the request."""
    section: Section = "Requested Model"
    root = lines.root
    terms = f"{root}/semantic_model/random_terms"
    indices = range(len(lines.compiled.semantic_model.random_terms))
    boundary = f"{root}/model_boundary"
    lines.add(section, "formula", "info", f"{root}/requested_formula", "{}")
    lines.add(section, "canonical formula", "info", f"{root}/canonical_formula", "{}")
    lines.add(section, "model", "info", boundary, "{model_kind:words}")
    lines.add(section, "distribution", "info", boundary, "{response_distribution:words}, {link:words} link")
    if lines.compiled.model_boundary.model_kind == "generalized_linear_mixed_model":
        _family(lines, root)
    lines.add(section, "objective", "info", boundary, "{objective_approximation:words}")
    lines.add(section, "certificate", "info", boundary, "derivatives of {optimizer_certificate_scope:words}")
    lines.add(section, "rows", "info", f"{root}/data",
              "{n_rows} of {n_source_rows}; weights: {weighted}; offset: {has_offset}")
    lines.add(section, "fixed terms", "info", f"{root}/semantic_model/fixed_terms", "{}")
    lines.add(section, "random terms", "info", terms, *several(f"{i}/source_syntax/text" for i in indices))
    lines.add(section, "covariance parameters", "info", terms, *(
        f"{'; ' if i else ''}{{{i}/id}}: {{{i}/n_parameters}}, {{{i}/covariance:words}}" for i in indices
    ))


def _family(lines: Lines, root: str) -> None:
    """How the response was read, and what the family has to estimate."""
    section: Section = "Requested Model"
    boundary, response = lines.compiled.model_boundary, lines.compiled.response_coding
    if boundary.family_parameter is not None:
        known = ": {family_parameter_value}" if boundary.family_parameter_value is not None else ""
        lines.add(section, "family parameter", "info", f"{root}/model_boundary",
                  f"{{family_parameter}}, {{family_parameter_status:words}}{known}")
    if response is not None:
        labels = "; success: {success}; failure: {failure}" if response.success is not None else ""
        trials = "; trials: {n_trials}" if response.n_trials is not None else ""
        empty = "; rows without trials: {n_zero_trials}" if response.n_zero_trials else ""
        lines.add(section, "response", "info", f"{root}/response_coding", f"{{name}}: {{kind:words}}{labels}{trials}{empty}")


def model_state(lines: Lines) -> None:
    """The model from stage to stage, and what was or could be changed between them."""
    section: Section = "Model State"
    state = lines.artifact.model_state
    for i, stage in enumerate(state.stages):
        tag = STAGE_TAGS.get(stage.status, "ok")
        if stage.status == "not_assessed":
            tag = "info" if lines.fit is None else "not_assessed"
        lines.add(section, stage.stage, tag, f"/model_state/stages/{i}",
                  "{status:words}; {formula}; random terms: {n_random_terms}", *(["; {reason:words}"] if stage.reason else []))
    if not state.changes:
        lines.add(section, "changes", "ok", "/model_state/changes", "{}")
    for i, change in enumerate(state.changes):
        lines.add(
            section, f"change of {change.term_id}", "warning" if change.status == "recommended" else "info",
            f"/model_state/changes/{i}", "{status:words} {trigger:words}: {requested}",
            *([" -> {effective}"] if change.effective not in (None, change.requested) else []),
            *([", fitted as {fitted:words}"] if change.fitted is not None else []),
            *(["; {detail:words}"] if change.detail else []),
        )
    if lines.fit is not None:
        level = lines.fit.verdict.identifiability.level
        tags: dict[str, Tag] = {"ok": "ok", "caution": "warning", "failed": "error"}
        lines.add(section, "identifiability", tags.get(level, "not_assessed"), "/verdict/identifiability",
                  "{headline}", *(["; findings: {findings}"] if lines.fit.verdict.identifiability.findings else []))


def fixed_effects(lines: Lines) -> None:
    """Rank, aliased columns, empty cells, coding."""
    section: Section = "Fixed Effects"
    audit, source = lines.compiled.design_audit.fixed_effects, f"{lines.root}/design_audit/fixed_effects"
    tags: dict[str, Tag] = {"full_rank": "ok", "rank_deficient": "warning"}
    unknown: Tag = "info" if lines.fit is None else "not_assessed"
    lines.add(section, "rank", tags.get(audit.rank.status, unknown), f"{source}/rank",
              "{rank} of {expected} columns; {status:words}", *(["; {reason:words}"] if audit.rank.reason else []))
    lines.add(section, "columns", "info", f"{source}/columns", *several(f"{i}/name" for i in range(len(audit.columns))))
    lines.add(section, "aliased columns", tags.get(audit.rank.status, unknown), f"{source}/aliased_columns", "{}")
    for i, term in enumerate(audit.terms):
        if term.status in ("partially_estimable", "not_estimable"):
            lines.add(section, f"term {term.term}", "warning", f"{source}/terms/{i}",
                      "{status:words}; without an estimate: {aliased_columns}; columns of the term: {n_columns}")
    shown = ["; such as {empty_cells/0/levels} of {empty_cells/0/factors}"] if audit.empty_cells else []
    empty: Tag = unknown if audit.n_empty_cells is None else "warning" if audit.n_empty_cells else "ok"
    lines.add(section, "empty cells", empty, source, "{n_empty_cells}", *shown)
    for i, basis in enumerate(audit.contrast_bases):
        lines.add(section, f"coding of {basis.variable}", "info", f"{source}/contrast_bases/{i}",
                  f"{{source:words}}; {'ordered' if basis.ordered else 'not ordered'}; levels: ",
                  *several(f"levels/{k}" for k in range(len(basis.levels))))
