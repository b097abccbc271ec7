"""Lines on how a generalized linear mixed model was fitted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixeff_fast.report.audit_lines import Lines
    from mixeff_fast.schemas.audit import Section
    from mixeff_fast.schemas.certificate import InnerSolve
    from mixeff_fast.schemas.glmm import GlmmFit

SECTION: Section = "Optimizer"


def estimator(lines: Lines, glmm: GlmmFit) -> None:
    """What was minimized, and what it came to."""
    nodes = ""
    if glmm.n_agq > 1:
        nodes = "; nodes per dimension: {n_agq}, per level: {n_nodes}; nodes times rows: {quadrature_size}"
    lines.add(SECTION, "estimator", "info", "/glmm",
              f"{{estimator:words}}; {{approximation:words}}{nodes}; the determinant has {{curvature:words}}; constants of the "
              "likelihood are {response_constants:words}")
    correction = "; correction by quadrature {correction}" if glmm.parts.correction is not None else ""
    lines.add(SECTION, "parts of the objective", "info", "/glmm/parts",
              "deviances at the conditional modes {deviance}; their penalty {penalty}; log-determinant {logdet}; saturated "
              f"log-likelihood {{saturated}}, taken off twice{correction}")
    if glmm.parameter is not None:
        error = "; standard error of its logarithm {log_std_error}" if glmm.parameter.log_std_error is not None else ""
        lines.add(SECTION, "family parameter", "info", "/glmm/parameter", f"{{name}} {{value}}, {{source:words}}{error}")


def inner_solve(lines: Lines, glmm: GlmmFit, inner: InnerSolve) -> None:
    """The evidence on the conditional modes, and what they took."""
    lines.add(SECTION, "conditional modes", "ok" if inner.converged else "error", "/certificate/inner",
              "converged: {converged}; Newton decrement {newton_decrement}, accepted up to {tolerance}")
    lines.add(SECTION, "inner iterations", "info", "/glmm/inner",
              "in all evaluations together: passes over the rows {passes}, factorizations {factorizations}, solves {solves}")


def held(lines: Lines, glmm: GlmmFit) -> None:
    """Covariance parameters that tests take as known."""
    if glmm.held:
        lines.add("Inference", "parameters at zero", "info", "/glmm", "taken as known by standard errors: {held}")
