"""What the certificate of a generalized linear mixed model has beside that of a linear one, and the findings that follow."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mixeff_fast.fit.evidence import certificate_findings, certificate_record, finite
from mixeff_fast.kernels import pirls
from mixeff_fast.schemas import certificate as c
from mixeff_fast.schemas.diagnostics import Finding

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.separation_check import SeparationCheck
    from mixeff_fast.schemas.policy import Thresholds


def parameters_beside(model: CompiledModel, result: GlmmResult) -> int:
    """How many parameters the search has beside the covariance parameters."""
    return len(result.point) - sum(factor.width**2 for factor in model.factors)


def glmm_certificate_record(
    model: CompiledModel, result: GlmmResult, control: Control, thresholds: Thresholds
) -> c.OptimizerCertificate:
    """The certificate as an artifact, with the evidence that the conditional modes are modes."""
    record = certificate_record(model, result, control, thresholds, parameters_beside(model, result))
    converged = math.isfinite(result.objective)
    decrement = finite(result.inner_decrement) if converged else None
    inner = c.InnerSolve(newton_decrement=decrement, tolerance=pirls.FLOOR, converged=converged)
    return record.model_copy(update={"inner": inner})


def glmm_findings(
    record: c.OptimizerCertificate, check: SeparationCheck | None, term_ids: tuple[str, ...]
) -> Iterator[Finding]:
    """What the fit gives rise to."""
    for finding in certificate_findings(record, term_ids):
        # of fixed effects that separate the outcomes it is they that are not identifiable, not the random terms
        if finding.code != "not_identifiable" or check is None or not check.separated:
            yield finding
    if record.inner is not None and not record.inner.converged:
        yield Finding(code="pirls_failure", severity="error", stage="optimization",
                      payload={"reason": "no_conditional_modes"})
    if check is not None and check.finding is not None:
        yield check.finding
