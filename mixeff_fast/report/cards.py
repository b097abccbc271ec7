"""Cards: a random term as written, in words, and with what the data have for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mixeff_fast.report.numbers import listed
from mixeff_fast.report.wording import words
from mixeff_fast.schemas.semantic import CardBlock, CardSupport, CovarianceStory, RandomTermCard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mixeff_fast.schemas.design import BasisSupport, RandomTermAudit
    from mixeff_fast.schemas.semantic import CrossCardConstraint, RandomTerm, RoleOrigin

    Variation = Literal["present", "absent", "constant", "not_assessed"]


def card(
    term: RandomTerm,
    audit: RandomTermAudit,
    constraints: Sequence[CrossCardConstraint] = (),
    role_origin: RoleOrigin | None = None,
) -> RandomTermCard:
    """Describe a random term; ``constraints`` may include those of other terms."""
    slopes = _slopes(term)
    alone = not any(term.id in constraint.between_cards for constraint in constraints)
    return RandomTermCard(
        term_id=term.id,
        original_fragment=term.source_syntax.written,
        canonical_fragment=term.source_syntax.text,
        named_form=named_form(term),
        group=term.group.name,
        block=CardBlock(
            basis=tuple(entry.name for entry in term.basis),
            intercept=term.intercept == "included",
            slopes=slopes,
            covariance=term.covariance,
            theta_parameters=term.n_parameters,
            english=gloss(term, alone),
        ),
        covariance_story=covariance_story(term, constraints),
        design_support=CardSupport(
            group_levels=audit.group.n_levels,
            min_rows_per_group=audit.group.min_obs_per_level,
            median_rows_per_group=audit.group.median_obs_per_level,
            within_group_variation={entry.name: _variation(entry) for entry in audit.basis},
            status=audit.information_budget.status,
        ),
        role_origin=role_origin,
    )


def _slopes(term: RandomTerm) -> tuple[str, ...]:
    return tuple(entry.name for entry in term.basis if entry.kind != "intercept")


def _variation(entry: BasisSupport) -> Variation:
    if entry.kind == "intercept":
        return "constant"
    if entry.supported is None:
        return "not_assessed"
    return "present" if entry.supported else "absent"


def named_form(term: RandomTerm) -> str:
    """The term as a call with named arguments."""
    slopes = _slopes(term)
    chosen = "NULL" if not slopes else slopes[0] if len(slopes) == 1 else f"c({', '.join(slopes)})"
    intercept = "TRUE" if term.intercept == "included" else "FALSE"
    return f're(group = {term.group.name}, intercept = {intercept}, slopes = {chosen}, cov = "{_family(term)}")'


def _family(term: RandomTerm) -> str:
    return term.structure if term.covariance == "structured" and term.structure else term.covariance


def gloss(term: RandomTerm, alone: bool = True) -> str:
    """What the term lets vary, in words; ``alone``: no other term has its group."""
    group, slopes = term.group.name, _slopes(term)
    effects = f"slope for {slopes[0]}" if len(slopes) == 1 else f"effects of {listed(slopes)}"
    if term.covariance == "full":
        together = "the model estimates how " + ("the two" if len(term.basis) == 2 else "they") + " vary together"
    elif term.covariance == "structured":
        together = f"their covariance has the structure {_family(term)}"
    else:
        together = "the deviations are taken to be independent of one another"
    if term.intercept == "included":
        if not slopes:
            return f"every level of {group} has a baseline of its own"
        own = "a slope of its own for " + slopes[0] if len(slopes) == 1 else f"effects of its own for {listed(slopes)}"
        return f"every level of {group} has a baseline and {own}; {together}"
    if len(slopes) == 1:
        baseline = ", which share one baseline" if alone else "; this term leaves their baselines alone"
        return f"the {effects} differs between the levels of {group}{baseline}"
    return f"the {effects} differ between the levels of {group}, without a separate baseline; {together}"


def covariance_story(term: RandomTerm, constraints: Sequence[CrossCardConstraint] = ()) -> CovarianceStory:
    """Which dependence between rows the term allows, and what it takes for granted."""
    group = term.group.name
    summary = {
        "scalar": "one variance",
        "diagonal": "a variance for each column, no correlations",
        "full": "a variance for each column and a correlation for each pair of columns",
        "structured": f"a covariance of the structure {_family(term)}",
    }[term.covariance]
    assumptions = [
        f"the effects of different levels of {group} are independent, normal with mean zero, and have the same covariance"
    ]
    if term.covariance == "diagonal":
        assumptions.append(f"the columns {listed([entry.name for entry in term.basis])} are uncorrelated")
    for constraint in constraints:
        if term.id in constraint.between_cards:
            first, second = constraint.between_basis
            ours, theirs = constraint.between_cards
            assumptions.append(f"{first} of {ours} and {second} of {theirs} are uncorrelated ({words(constraint.reason)})")
    dependence = []
    if term.intercept == "included":
        dependence.append(f"rows of the same level of {group} share a deviation")
    dependence += [f"rows of the same level of {group} are alike in proportion to {name}" for name in _slopes(term)]
    return CovarianceStory(summary=summary, assumptions=tuple(assumptions), dependence=tuple(dependence))
