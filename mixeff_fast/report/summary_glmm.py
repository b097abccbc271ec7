"""What the summary of a generalized linear mixed model has otherwise than that of a linear one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.report.numbers import plain
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from mixeff_fast.schemas.glmm import GlmmFit


def title(glmm: GlmmFit) -> list[str]:
    """How the model was fitted, and of which family it is."""
    approximation = words(glmm.approximation)
    if glmm.n_agq > 1:
        approximation += f", {glmm.n_agq} nodes per dimension"
    by = "maximum likelihood" if glmm.estimator == "joint_laplace" else "penalized deviance"
    if glmm.estimator != "joint_laplace":
        approximation = f"fixed effects profiled; {approximation}"
    lines = [f"Generalized linear mixed model fit by {by} ({approximation})",
             f"Family: {words(glmm.family)}, {words(glmm.link)} link"]
    if glmm.parameter is not None and glmm.parameter.value is not None:
        lines[-1] += f"; {glmm.parameter.name} {plain(glmm.parameter.value)}, {glmm.parameter.source}"
    return lines
