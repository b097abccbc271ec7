"""A compiled model as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixeff_fast.schemas.compiled import CompiledModelArtifact


def compiled_text(artifact: CompiledModelArtifact) -> str:
    """What was asked for, how it was read and how it will be factored."""
    data, plan = artifact.data, artifact.plan
    lines = [
        "Linear mixed model, compiled and not fitted",
        f"Formula: {artifact.canonical_formula}",
        f"Rows: {data.n_rows} of {data.n_source_rows}",
        f"Fixed effects: {', '.join(artifact.coefficients)}",
        "Random terms:",
    ]
    for term in artifact.random_terms:
        lines.append(
            f"  {term.source_syntax}: {term.group} ({term.n_levels} levels), {term.covariance_family} covariance of "
            f"{', '.join(term.basis)}; {term.n_parameters} parameters"
        )
    lines.append(
        f"Factorization: {' then '.join(plan.chain)} level by level; "
        + (f"dense trunk of {plan.trunk_columns} columns ({', '.join(plan.trunk)})" if plan.trunk else "no trunk")
    )
    lines += [f"{d.code}: {d.message}" for d in artifact.diagnostics]
    return "\n".join(lines)
