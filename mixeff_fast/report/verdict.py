"""The verdict on a fit, on two axes: is it an optimum, and do the data determine what the model asks?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mixeff_fast.report.wording import words
from mixeff_fast.schemas.certificate import ConvergenceVerdict, IdentifiabilityVerdict, OptimizerVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mixeff_fast.schemas.certificate import OptimizerCertificate
    from mixeff_fast.schemas.diagnostics import Finding

    Level = Literal["ok", "caution", "failed", "not_assessed"]

# the data cannot determine what the model asks, whatever the optimizer does
STRUCTURAL = ("not_identifiable", "binomial_separation")
# what limits how well they do
WEAK = (
    "fixed_effect_rank_deficient", "fixed_effect_empty_cell", "design_weak_identifiability", "fixed_random_redundant",
    "random_slope_unsupported", "random_effect_few_levels", "disconnected_design", "covariance_reduced",
    "near_unit_random_effect_correlation",
)

SEARCH_OPTIONS = (
    "control(max_evaluations=) with a larger number: the search goes on where the limit ended it, and takes longer",
    "control(start=) with other values of theta: another path, which may end at another point or at the same",
    "a model with fewer covariance parameters: a search in fewer dimensions, for another model",
)
STRUCTURAL_OPTIONS = (
    "a model that asks for less: what remains is determined by the data, and it is another model",
    "data with more levels, or with rows that tell apart what these do not: the same model, determined",
    "the model as it is: what the findings name has no value that the data single out",
)
WEAK_OPTIONS = (
    "the model as it is: the parameters that the findings name are known poorly, or lie on the boundary",
    "a model that asks for less: fewer parameters, each known better, and an effect left out where there may be one",
)


def identifiability_level(finding: Finding) -> Level:
    """How a finding bears on the question whether the data determine the model."""
    if finding.code in STRUCTURAL:
        return "failed"
    if finding.code == "covariance_too_rich":
        if finding.payload.get("row_saturated"):
            return "failed"
        return "caution" if finding.severity != "info" else "ok"
    if finding.code == "observation_level_effect":
        return "caution" if finding.severity == "warning" else "ok"
    return "caution" if finding.code in WEAK else "ok"


def identifiability(findings: Sequence[Finding]) -> IdentifiabilityVerdict:
    """The verdict on the design and the covariance that the fit supports."""
    levels = {finding.code: identifiability_level(finding) for finding in findings}
    failed = tuple(code for code, level in levels.items() if level == "failed")
    caution = tuple(code for code, level in levels.items() if level == "caution")
    if failed:
        return IdentifiabilityVerdict(
            level="failed", headline="the data do not determine what the model asks for", findings=failed + caution,
            options=STRUCTURAL_OPTIONS,
        )
    if caution:
        return IdentifiabilityVerdict(
            level="caution", headline="the data determine parts of the model poorly, or not at all", findings=caution,
            options=WEAK_OPTIONS,
        )
    return IdentifiabilityVerdict(
        level="ok", headline="nothing found that the data leave undetermined", findings=(), options=()
    )


def _optimizer(certificate: OptimizerCertificate, structural: bool, certified: float) -> OptimizerVerdict:
    status, quality = certificate.status, certificate.quality
    decrement = certificate.gradient.newton_decrement
    if status == "not_optimized" or quality == "failed":
        options = () if structural else SEARCH_OPTIONS
        return OptimizerVerdict(level="failed", headline="the search ended at a point that is not an optimum", options=options)
    if quality == "not_assessed":
        return OptimizerVerdict(level="not_assessed", headline="no certificate was asked for", options=())
    if status == "not_identifiable":
        return OptimizerVerdict(
            level="caution", headline="an optimum, and not the only one: the criterion is flat around it", options=()
        )
    if quality == "certified":
        return OptimizerVerdict(level="certified", headline=f"exact derivatives prove an optimum: {words(status)}", options=())
    if decrement is not None and decrement <= certified:
        return OptimizerVerdict(
            level="ok", headline=f"an optimum within rounding: {words(status)}", options=()
        )
    return OptimizerVerdict(
        level="caution", headline=f"close to an optimum: {words(status)}", options=() if structural else SEARCH_OPTIONS
    )


def verdict(
    certificate: OptimizerCertificate, findings: Sequence[Finding], certified_decrement: float
) -> ConvergenceVerdict:
    """Judge a fit by its certificate and by what was found before and after it."""
    data = identifiability(findings)
    structural = data.level == "failed"
    return ConvergenceVerdict(optimizer=_optimizer(certificate, structural, certified_decrement), identifiability=data)
