"""A model in words: a card for each random term, what ties them together, and what is worth knowing."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from mixeff_fast.report.html import preformatted
from mixeff_fast.report.numbers import listed, plain
from mixeff_fast.report.wording import words
from mixeff_fast.schemas.catalogue import CATALOGUE
from mixeff_fast.schemas.fit import FitArtifact

if TYPE_CHECKING:
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.covariance import Direction, EffectiveCovariance
    from mixeff_fast.schemas.diagnostics import Diagnostic
    from mixeff_fast.schemas.semantic import CardSupport, CrossCardConstraint, RandomTermCard

# stages of what only a fit can tell
FIT_STAGES = ("optimization", "certification", "inference")


class Explanation:
    """What ``explain_model()`` returns: prints as text.

    Attributes
    ----------
    text
        The explanation.
    cards
        One :class:`~mixeff_fast.schemas.semantic.RandomTermCard` per random term.
    cross_card_constraints
        Covariances that are zero because terms are separate, one record per pair of columns.
    diagnostics
        Every diagnostic of the model, and of the fit if there is one.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> explanation = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff")).explain_model()
    >>> explanation.cards[0].block.english
    'every level of Batch has a baseline of its own'
    """

    def __init__(self, artifact: CompiledModelArtifact | FitArtifact) -> None:
        compiled = _compiled(artifact)
        self.text: str = explain_text(artifact)
        self.cards: tuple[RandomTermCard, ...] = compiled.random_term_cards
        self.cross_card_constraints: tuple[CrossCardConstraint, ...] = compiled.cross_card_constraints
        self.diagnostics: tuple[Diagnostic, ...] = _diagnostics(artifact)

    def __repr__(self) -> str:
        return self.text

    def _repr_html_(self) -> str:
        return preformatted(self.text)


def _compiled(artifact: CompiledModelArtifact | FitArtifact) -> CompiledModelArtifact:
    return artifact.compiled if isinstance(artifact, FitArtifact) else artifact


def _diagnostics(artifact: CompiledModelArtifact | FitArtifact) -> tuple[Diagnostic, ...]:
    fitted = artifact.diagnostics if isinstance(artifact, FitArtifact) else ()
    return (*_compiled(artifact).diagnostics, *fitted)


def explain_text(artifact: CompiledModelArtifact | FitArtifact) -> str:
    """The model in words; with what the fit supports if it was fitted."""
    compiled = _compiled(artifact)
    found = [d for d in _diagnostics(artifact) if CATALOGUE[d.code].bucket != "raw_only"]
    lines = ["The model in words", f"Formula: {compiled.canonical_formula}"]
    if compiled.effective_formula is not None:
        lines.append(f"Fitted in place of it: {compiled.effective_formula}")
    for each in compiled.random_term_cards:
        lines += ["", *card_lines(each)]
    lines += _relations(compiled.random_term_cards, compiled.cross_card_constraints)
    lines += _notes("Notes on the design", [d for d in found if d.stage not in FIT_STAGES])
    lines += _notes("Notes on the fit", [d for d in found if d.stage in FIT_STAGES])
    if isinstance(artifact, FitArtifact):
        lines += ["", "Covariance that the fit supports"]
        for effective in artifact.effective_covariance:
            lines += _supported(effective)
    return "\n".join(lines)


def card_lines(card: RandomTermCard) -> list[str]:
    """A card as text."""
    support, block = card.design_support, card.block
    variation = ", ".join(f"{name}={words(state)}" for name, state in support.within_group_variation.items())
    rows = (
        ("wrote", card.original_fragment),
        ("canonical", card.canonical_fragment),
        ("named form", card.named_form),
        ("scope", block.english),
        ("covariance", f"{card.covariance_story.summary}; theta parameters: {block.theta_parameters}"),
        ("support", f"{words(support.status)}; {support.group_levels} levels{_rows_per_level(support)}"),
        ("variation", variation),
    )
    return [f"{card.term_id}:", *(f"  {name + ':':<11} {value}" for name, value in rows)]


def _rows_per_level(support: CardSupport) -> str:
    if support.min_rows_per_group is None or support.median_rows_per_group is None:
        return ""
    return f"; rows per level: at least {support.min_rows_per_group}, median {plain(support.median_rows_per_group)}"


def _relations(cards: tuple[RandomTermCard, ...], constraints: tuple[CrossCardConstraint, ...]) -> list[str]:
    several = {group: count for group, count in Counter(card.group for card in cards).items() if count > 1}
    lines = [f"{group} has {count} separate random-effect blocks" for group, count in several.items()]
    for c in constraints:
        pair = f"{c.between_cards[0]} <-> {c.between_cards[1]} ({c.between_basis[0]} <-> {c.between_basis[1]})"
        lines.append(f"  {pair}: no covariance by {c.group}, {words(c.reason)}")
    return ["", *lines] if lines else []


def _notes(title: str, diagnostics: list[Diagnostic]) -> list[str]:
    if not diagnostics:
        return []
    lines = ["", title]
    for each in diagnostics:
        lines.append(f"  {each.code}: {each.message}")
        if each.options:
            lines.append("    possibilities, none of them applied:")
            lines += [f"    {number}. {option}" for number, option in enumerate(each.options, start=1)]
    return lines


def _supported(term: EffectiveCovariance) -> list[str]:
    lines = [f"  {term.source_syntax}: supported rank {term.supported_rank} of {term.requested_rank}"
             + (f"; {words(term.inference_consequence)}" if term.inference_consequence != "none" else "")]
    lines += [f"    supported {_direction_text(d)}" for d in term.directions]
    lines += [f"    without support in this fit {_direction_text(d)}" for d in term.unsupported_directions]
    if term.interpretable_submodel is not None:
        sub = term.interpretable_submodel
        lines.append(
            f"    the supported direction is {sub.dominant_basis} (loading {plain(sub.dominant_loading)}): {sub.formula} has "
            f"an objective that is {plain(sub.objective_gap)} higher"
        )
    return lines


def _direction_text(direction: Direction) -> str:
    loadings = listed([f"{plain(entry.loading, 3)} {entry.basis}" for entry in direction.loadings])
    return f"{direction.label}: {loadings}; share of variance {plain(direction.variance_explained, 3)}"
