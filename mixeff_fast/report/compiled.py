"""A compiled model as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from mixeff_fast.schemas.compiled import CompiledModelArtifact


def compiled_text(artifact: CompiledModelArtifact) -> str:
    """What was asked for, how it was read and how it will be factored."""
    data, plan, boundary = artifact.data, artifact.plan, artifact.model_boundary
    kind = "Linear mixed model"
    if boundary.model_kind == "generalized_linear_mixed_model":
        kind = f"Generalized linear mixed model ({words(boundary.response_distribution)}, {words(boundary.link)} link)"
    lines = [
        f"{kind}, compiled and not fitted",
        f"Formula: {artifact.canonical_formula}",
        *([] if artifact.effective_formula is None else [f"To be fitted: {artifact.effective_formula}"]),
        f"Rows: {data.n_rows} of {data.n_source_rows}",
        f"Fixed effects: {', '.join(artifact.coefficients) or 'none'}",
        "Random terms:",
    ]
    for card in artifact.random_term_cards:
        count = card.block.theta_parameters
        lines.append(
            f"  {', '.join(card.block.basis)} by {card.group} ({card.design_support.group_levels} levels), written "
            f"{card.original_fragment}: {card.block.covariance} covariance, {count} parameter{'s' if count > 1 else ''}"
        )
    lines.append(
        f"Factorization: {' then '.join(plan.chain)} level by level; "
        + (f"{plan.trunk_kind} trunk of {plan.trunk_columns} columns ({', '.join(plan.trunk)})" if plan.trunk else "no trunk")
        + (f" in {plan.supernodes} supernodes" if plan.supernodes else "")
    )
    lines += [f"{d.code}: {d.message}" for d in artifact.diagnostics if d.severity != "info"]
    return "\n".join(lines)
