"""Lines on the random terms: design support, cards, dependence and parameters."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mixeff_fast.report.audit_lines import several
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from mixeff_fast.report.audit_lines import Lines
    from mixeff_fast.schemas.audit import Section, Tag

BUDGET_TAGS: dict[str, Tag] = {"sufficient": "ok", "weakly_supported": "info", "too_rich": "warning", "not_assessable": "info"}
THETA_NOTES = {"boundary": "at its bound", "inactive": "inactive"}


def term_labels(lines: Lines, effective: bool = False) -> dict[str, str]:
    """The group of each term; with the term's id where several terms have the group. ``effective``: of the model that is
    fitted."""
    compiled = lines.compiled
    model = (compiled.effective_semantic_model if effective else None) or compiled.semantic_model
    terms = model.random_terms
    count = Counter(term.group.name for term in terms)
    return {t.id: t.group.name if count[t.group.name] == 1 else f"{t.id} by {t.group.name}" for t in terms}


def random_effects(lines: Lines) -> None:
    """Rows per level, and the spread of each slope within levels."""
    section: Section = "Random Effects"
    labels = term_labels(lines)
    for i, term in enumerate(lines.compiled.design_audit.random_terms):
        source = f"{lines.root}/design_audit/random_terms/{i}"
        counted = "" if term.group.max_obs_per_level is None else (
            ", {group/min_obs_per_level} to {group/max_obs_per_level} rows each, median {group/median_obs_per_level}"
        )
        lines.add(
            section, labels[term.term_id], _support_tag(*(basis.supported for basis in term.basis)), source,
            f"{{group/n_observations}} rows in {{group/n_levels}} levels of {{group/name}}{counted}; columns: ",
            *several(f"basis/{j}/name" for j in range(len(term.basis))),
            "; {information_budget/covariance_family:words} covariance; parameters: {requested_covariance_parameters}",
        )
        for j, basis in enumerate(term.basis):
            if basis.kind == "intercept":
                continue
            spread = "" if basis.max_within_group_sd is None else (
                "; standard deviation within levels from {min_within_group_sd} to {max_within_group_sd}"
            )
            where = "" if basis.levels_with_variation is None else "; levels where it varies: {levels_with_variation}"
            lines.add(section, f"{basis.name} by {labels[term.term_id]}", _support_tag(basis.supported),
                      f"{source}/basis/{j}", f"{{reason:words}}{spread}{where}")


def _support_tag(*supported: bool | None) -> Tag:
    if False in supported:
        return "warning"
    return "info" if None in supported else "ok"


def information_budget(lines: Lines) -> None:
    """What the design can be expected to tell about each term's covariance."""
    section: Section = "Random-Effect Information Budget"
    labels = term_labels(lines)
    for i, term in enumerate(lines.compiled.design_audit.random_terms):
        budget = term.information_budget
        expected = "" if budget.expected_standard_error is None else (
            "; expected standard error of the standard deviation in the worst direction, relative to it: "
            "{expected_standard_error}"
        )
        diagonal = "" if budget.diagonal_status is None else "; without correlations {diagonal_status:words}"
        lines.add(
            section, labels[term.term_id], BUDGET_TAGS[budget.status],
            f"{lines.root}/design_audit/random_terms/{i}/information_budget",
            "{status:words}; {reason:words}; rows: {effective_n/n_rows}, levels: {n_levels}, columns: {basis_dimension}, "
            "parameters: {requested_covariance_parameters}; rows per parameter: {effective_n/rows_per_covariance_parameter}, "
            "levels per parameter: {effective_n/levels_per_covariance_parameter}, per column: "
            "{effective_n/levels_per_basis_direction}",
            expected + diagonal, "; rows overstate the information: {effective_n/total_rows_can_mislead}",
        )
    lines.add(
        section, "thresholds", "info", f"{lines.root}/thresholds",
        "expected standard errors up to {sufficient_expected_standard_error} are sufficient, up to "
        "{weak_expected_standard_error} weak support; a variance is reliable from {min_levels_reliability} levels on",
    )


def random_term_cards(lines: Lines) -> None:
    """Each term in words."""
    section: Section = "Random Term Cards"
    for i, card in enumerate(lines.compiled.random_term_cards):
        lines.add(
            section, card.term_id, "info", f"{lines.root}/random_term_cards/{i}",
            "{canonical_fragment}: {block/english}; {covariance_story/summary}; covariance parameters: "
            "{block/theta_parameters}; support: {design_support/status:words}",
        )


def cross_card_constraints(lines: Lines) -> None:
    """Covariances that are zero because terms are separate."""
    section: Section = "Cross-Card Constraints"
    source = f"{lines.root}/cross_card_constraints"
    constraints = lines.compiled.cross_card_constraints
    if not constraints:
        lines.add(section, "constraints", "ok", source, "{}")
    for i, constraint in enumerate(constraints):
        lines.add(
            section, " and ".join(constraint.between_cards), "info", f"{source}/{i}",
            "{between_basis/0} of {between_cards/0} and {between_basis/1} of {between_cards/1} are uncorrelated by {group}; "
            "{reason:words}",
        )


def dependence_paths(lines: Lines) -> None:
    """Which dependence the model has, which units rows repeat, and which of them no term covers."""
    section: Section = "Dependence Paths"
    graph, source = lines.compiled.design_audit.covariance_kernels, f"{lines.root}/design_audit/covariance_kernels"
    for i, kernel in enumerate(graph.kernels):
        lines.add(section, f"dependence from {kernel.term_id}", "info", f"{source}/kernels/{i}",
                  "{source_syntax} by {group}; {covariance_family:words} covariance; parameters: {expected_parameter_count}; "
                  "{support_status:words}")
    missing = {path.unit for path in graph.missing_dependence_paths}
    for i, unit in enumerate(graph.repeated_units):
        counted = "" if unit.max_obs_per_level is None else ", {min_obs_per_level} to {max_obs_per_level} rows each"
        lines.add(section, f"unit {unit.unit}", "warning" if unit.unit in missing else "ok", f"{source}/repeated_units/{i}",
                  f"{{n_levels}} levels{counted}; {{evidence:words}}; covered by terms: {{covered_by_terms}}")
    for i, nesting in enumerate(graph.nesting):
        reused = "the same labels occur in several levels of {outer}" if nesting.labels_reused else (
            "every level of {inner} lies in one level of {outer}"
        )
        lines.add(section, "nesting", "info", f"{source}/nesting/{i}", f"{{inner}} within {{outer}}: {reused}")
    if not graph.missing_dependence_paths:
        lines.add(section, "units without a term", "ok", f"{source}/missing_dependence_paths", "{}")
    for i, path in enumerate(graph.missing_dependence_paths):
        lines.add(section, f"unit without a term: {path.unit}", "warning", f"{source}/missing_dependence_paths/{i}",
                  f"{{n_levels}} levels{'' if path.max_obs_per_level is None else ', up to {max_obs_per_level} rows each'}; "
                  "{reason:words}; term with this path: {random_term}")
    components = lines.compiled.design_audit.components
    lines.add(section, "connected parts", "info" if components is None else "ok" if components == 1 else "warning",
              f"{lines.root}/design_audit/components", "{}")
    lines.add(section, "columns examined", "info", f"{source}/columns_examined",
              *several(str(i) for i in range(len(graph.columns_examined))))


def parameterization_trace(lines: Lines) -> None:
    """Covariance parameters from the formula to the fitted variances."""
    section: Section = "Parameterization Trace"
    labels = term_labels(lines, effective=True)
    for i, each in enumerate(lines.compiled.theta_maps):
        lines.add(
            section, labels[each.term_id], "info", f"{lines.root}/theta_maps/{i}",
            "{term_id}: {covariance_family:words} covariance on {group}; columns {user_basis}; in the engine "
            "{optimizer_basis}; standardization: ",
            *several((f"standardization/{j}" for j in range(len(each.standardization))), label=True),
            "; parameters ", *several(f"theta_slots/{j}/name" for j in range(len(each.theta_slots))),
        )
    for i, trace in enumerate(lines.artifact.parameter_traces):
        parts = ["Lambda at {lambda_row_basis}, {lambda_col_basis}"]
        if lines.fit is not None and trace.theta_value is not None:
            parts.append(": {theta_value}")
        if trace.theta_status in THETA_NOTES:
            parts.append(f"; {words(THETA_NOTES[trace.theta_status])}")
        for j, entry in enumerate(trace.varcorr_entries):
            value = "" if lines.fit is None or entry.value is None else f" = {{varcorr_entries/{j}/value}}"
            parts.append(f"; {{varcorr_entries/{j}/kind:words}} {{varcorr_entries/{j}/label}}{value}")
        if not trace.matches_theta_map:
            parts.append("; the engine's layout differs from the map of the formula")
        lines.add(section, trace.theta_name, "ok" if trace.matches_theta_map else "warning", f"/parameter_traces/{i}", *parts)
