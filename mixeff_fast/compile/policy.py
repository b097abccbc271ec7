"""What the design supports of the random part that was asked for, and what applying that would change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mixeff_fast.compile.roles import term_id
from mixeff_fast.errors import NotIdentifiable
from mixeff_fast.formula import model_formula, render
from mixeff_fast.formula.model import TermSet
from mixeff_fast.formula.render import render_bars
from mixeff_fast.schemas.policy import ModelChange, ModelStage, ModelState, PolicyRecommendation, Reduction

if TYPE_CHECKING:
    from mixeff_fast import formula
    from mixeff_fast.compile.model import Layout
    from mixeff_fast.schemas.design import DesignAudit, InformationBudget, RandomTermAudit
    from mixeff_fast.schemas.policy import PolicyAction, Thresholds
    from mixeff_fast.schemas.semantic import RandomTerm, SemanticModel

_SMALLER = "inference_rests_on_smaller_random_part"
_CONSEQUENCES: dict[PolicyAction, str] = {
    "drop_unsupported_basis": _SMALLER,
    "reduce_covariance": _SMALLER,
    "refuse_random_term_distribution": "no_inference_with_this_term",
    "mark_not_assessable": "support_unknown",
}
TOO_RICH = "covariance_too_rich"


@dataclass(frozen=True, slots=True)
class SupportedForm:
    """A formula after some recommendations, and the text of each term they changed (None: it is gone)."""

    formula: formula.ModelFormula
    replaced: dict[str, str | None]


def recommendations(
    semantic: SemanticModel, audit: DesignAudit, thresholds: Thresholds
) -> tuple[PolicyRecommendation, ...]:
    """What each random term could be reduced to, so that the design supports it.

    Columns without variation within groups are dropped. A full covariance of the others that is too rich, or weakly supported
    where a diagonal one is well supported, becomes diagonal. Where nothing of a term is supported its distribution is refused.

    Parameters
    ----------
    semantic, audit
        The model and its audit, of the same terms.
    thresholds
        The constants of the verdicts.
    """
    by_id = {term.term_id: term for term in audit.random_terms}
    found: list[PolicyRecommendation] = []
    for term in semantic.random_terms:
        found += _of_term(term, by_id[term.id], _lone(term, semantic, by_id), thresholds)
    return tuple(found)


def _lone(term: RandomTerm, semantic: SemanticModel, audits: dict[str, RandomTermAudit]) -> bool:
    """Whether no other term on the group has a column that the data support."""
    return not any(
        other.id != term.id and other.group == term.group and any(b.supported is not False for b in audits[other.id].basis)
        for other in semantic.random_terms
    )


def _of_term(
    term: RandomTerm, audit: RandomTermAudit, lone: bool, thresholds: Thresholds
) -> list[PolicyRecommendation]:
    budget = audit.information_budget
    columns = tuple(entry.name for entry in term.basis)
    dropped = _unsupported(term, audit)
    left = tuple(name for name in columns if name not in dropped)
    if dropped and not left:
        if lone:
            return [_recommend(term, "refuse_random_term_distribution", columns, "no_variation_within_groups", None)]
        return [_recommend(term, "drop_unsupported_basis", columns, "no_variation_within_groups", None)]
    refused = _refusal(term, budget, len(left), thresholds)
    if refused:
        return [_recommend(term, "refuse_random_term_distribution", columns, refused, None)]
    if budget.status == "not_assessable":
        return [_recommend(term, "mark_not_assessable", columns, budget.reason, None)]
    found = []
    family = "scalar" if len(left) == 1 else term.covariance
    if dropped:
        found.append(_recommend(term, "drop_unsupported_basis", dropped, "no_variation_within_groups", family))
    if family == "full" and budget.status == "too_rich":
        found.append(_recommend(term, "reduce_covariance", left, TOO_RICH, "diagonal"))
    elif family == "full" and (budget.status, budget.diagonal_status) == ("weakly_supported", "sufficient"):
        found.append(_recommend(term, "reduce_covariance", left, "covariance_weakly_supported", "diagonal"))
    return found


def _recommend(
    term: RandomTerm, action: PolicyAction, basis: tuple[str, ...], reason: str, covariance: str | None
) -> PolicyRecommendation:
    return PolicyRecommendation(
        term_id=term.id, source_syntax=term.source_syntax.text, action=action, basis=basis, reason=reason,
        current_covariance=term.covariance, recommended_covariance=covariance,
        inference_consequence=_CONSEQUENCES[action],
    )


def _unsupported(term: RandomTerm, audit: RandomTermAudit) -> tuple[str, ...]:
    """Columns that can be taken out of a term: those of whole effects, none of which varies within groups.

    Without a factor an interaction that contains it would be coded anew, by more columns; then the factor stays.
    """
    constant = {entry.name for entry in audit.basis if entry.supported is False}
    by_source: dict[str, list[str]] = {}
    for entry in term.basis:
        by_source.setdefault(entry.source, []).append(entry.name)
    kept = {source for source, names in by_source.items() if source == "1" or not constant.issuperset(names)}
    interactions = any(entry.kind == "interaction" and entry.source in kept for entry in term.basis)
    return tuple(
        name
        for source, names in by_source.items()
        if source not in kept and not (len(names) > 1 and interactions)
        for name in names
    )


def _refusal(term: RandomTerm, budget: InformationBudget, n_columns: int, thresholds: Thresholds) -> str | None:
    """Why nothing of a term is supported, or None. A single variance is the least a term can ask for."""
    n_rows = budget.effective_n.n_rows
    most = n_rows - 1 if budget.most_effects is None else budget.most_effects
    if budget.n_levels * n_columns > most:
        return "as_many_effects_as_rows"
    if budget.n_levels < thresholds.min_levels_fit:
        return "too_few_levels"
    if n_columns < len(term.basis):
        return None
    if term.covariance == "full" and budget.n_levels < (budget.min_levels_full_covariance or 0):
        return "too_few_levels"
    return "variances_not_supported" if term.covariance == "diagonal" and budget.status == "too_rich" else None


def supported_form(
    read: formula.ModelFormula, semantic: SemanticModel, advice: Sequence[PolicyRecommendation]
) -> SupportedForm:
    """The formula after dropping and reducing what ``advice`` says; refusals and marks leave it as it is."""
    terms = {term.id: term for term in semantic.random_terms}
    edited: list[formula.RandomTerm] = []
    replaced: dict[str, str | None] = {}
    for own in read.random:
        mine = [a for a in advice if a.term_id == term_id(own) and a.action in ("drop_unsupported_basis", "reduce_covariance")]
        pieces = [own]
        if mine:
            pieces = _edit(own, terms[term_id(own)], mine)
            text = " + ".join(render_bars(replace(read, random=tuple(pieces))))
            replaced[term_id(own)] = text or None
        edited += pieces
    members = Counter(own.block_group for own in edited)
    edited = [replace(own, block_group=None) if members[own.block_group] == 1 else own for own in edited]
    return SupportedForm(model_formula(render(replace(read, random=tuple(edited)))) if replaced else read, replaced)


def _edit(own: formula.RandomTerm, term: RandomTerm, mine: list[PolicyRecommendation]) -> list[formula.RandomTerm]:
    dropped = {name for a in mine if a.action == "drop_unsupported_basis" for name in a.basis}
    sources = [entry.source for entry in term.basis if entry.name not in dropped]
    lhs = TermSet(own.lhs.intercept and "1" in sources, tuple(t for t in own.lhs.terms if t.name in sources))
    if not sources:
        return []
    if all(a.action != "reduce_covariance" for a in mine):
        return [replace(own, lhs=lhs)]
    if len(set(sources)) < len(sources):
        # columns of one factor stay correlated under a double bar
        return [replace(own, lhs=lhs, covariance="diag", block_group=None)]
    block = f"supported_{term.id}"
    parts = [TermSet(True, ())] if lhs.intercept else []
    parts += [TermSet(False, (t,)) for t in lhs.terms]
    return [replace(own, lhs=part, covariance="us", block_group=block) for part in parts]


def _applies(advice: PolicyRecommendation) -> bool:
    """Whether the intent ``confirmatory_design_compiled`` acts on a recommendation."""
    return advice.action == "drop_unsupported_basis" or (advice.action == "reduce_covariance" and advice.reason == TOO_RICH)


def design_reductions(
    model: Layout, semantic: SemanticModel, audit: DesignAudit, advice: Sequence[PolicyRecommendation]
) -> tuple[formula.ModelFormula, tuple[Reduction, ...]]:
    """The formula that the design supports, and what was changed to get there, for the intent
    ``confirmatory_design_compiled``.

    Parameters
    ----------
    model, semantic, audit
        The model as it was asked for.
    advice
        Its ``recommendations``.

    Raises
    ------
    NotIdentifiable
        ``design_refusal``: a term of which nothing is supported.
    """
    for a in advice:
        if a.action == "refuse_random_term_distribution":
            _refuse(a, next(term for term in audit.random_terms if term.term_id == a.term_id))
    used = [a for a in advice if _applies(a)]
    form = supported_form(model.formula, semantic, used)
    reductions = tuple(
        Reduction(trigger="design_time", reason=a.reason, affected_term=a.term_id, requested=a.source_syntax,
                  replacement_term=form.replaced[a.term_id], inference_consequence=a.inference_consequence)
        for a in used
    )
    return form.formula, reductions


def _refuse(advice: PolicyRecommendation, audit: RandomTermAudit) -> None:
    group, rows = audit.group, audit.group.n_observations
    why = {
        "no_variation_within_groups": f"nothing in it varies within the levels of {group.name!r}",
        "as_many_effects_as_rows": f"it has as many effects as there are rows ({rows})",
        "too_few_levels": f"{group.n_levels} levels are too few for {len(advice.basis)} effects each",
        "variances_not_supported": f"{group.n_levels} levels and {rows} rows do not tell its variances",
    }[advice.reason]
    raise NotIdentifiable(
        f"the design does not support {advice.source_syntax}: {why}. Ask for fewer varying effects, or take the model as it "
        'stands with intent="confirmatory_as_specified"',
        reason_code="design_refusal", term=advice.source_syntax, group=group.name, reason=advice.reason,
        n_levels=group.n_levels, nobs=rows,
    )


def compiled_state(
    model: Layout,
    semantic: SemanticModel,
    advice: Sequence[PolicyRecommendation],
    reductions: Sequence[Reduction] = (),
    effective: Layout | None = None,
) -> ModelState:
    """The model from stage to stage before any fit.

    Parameters
    ----------
    model, semantic
        As it was asked for.
    advice
        Its ``recommendations``.
    reductions, effective
        What was changed at design time, and the model that came of it; None when nothing was.
    """
    applied = {(r.affected_term, r.reason) for r in reductions}
    everything = supported_form(model.formula, semantic, advice)
    refused = {a.term_id for a in advice if a.action == "refuse_random_term_distribution"}
    changing = [a for a in advice if a.action != "mark_not_assessable"]
    canonical, n_terms = render(model.formula), len(semantic.random_terms)
    fitted = model if effective is None else effective
    if refused:
        supported = _stage("supported", "refused", canonical, n_terms - len(refused), "term_not_supported")
    elif effective is not None:
        supported = _stage("supported", "reduced", render(effective.formula), len(effective.blocks), "reduced_at_design_time")
    elif changing:
        supported = _stage("supported", "advisory_changes", render(everything.formula), len(everything.formula.random),
                           "smaller_random_part_supported")
    else:
        assessed = "some_terms_not_assessable" if advice else "supported_as_requested"
        supported = _stage("supported", "supported", canonical, n_terms, assessed)
    n_written = len({term.span for term in model.formula.random})
    stages = (
        _stage("requested", "requested", model.formula.text, n_written, "as_written"),
        _stage("semantic", "canonical", canonical, n_terms, "expanded"),
        supported,
        _stage("fitted", "not_assessed", render(fitted.formula), len(fitted.blocks), "not_fitted"),
    )
    groups = {term.id: term.group.name for term in semantic.random_terms}
    changes = tuple(_change(a, (a.term_id, a.reason) in applied, groups[a.term_id], everything.replaced) for a in advice)
    return ModelState(stages=stages, changes=changes)


def _stage(stage: str, status: str, text: str, n_random_terms: int, reason: str) -> ModelStage:
    return ModelStage.model_validate(
        {"stage": stage, "status": status, "formula": text, "n_random_terms": n_random_terms, "reason": reason}
    )


def _change(
    advice: PolicyRecommendation, applied: bool, group: str, replaced: dict[str, str | None]
) -> ModelChange:
    marked = advice.action == "mark_not_assessable"
    return ModelChange(
        status="applied" if applied else "diagnostic" if marked else "recommended", trigger="design_time",
        from_stage="semantic", to_stage="supported", term_id=advice.term_id, group=group, requested=advice.source_syntax,
        effective=replaced.get(advice.term_id), fitted=None, detail=f"{advice.action}/{advice.reason}",
    )
