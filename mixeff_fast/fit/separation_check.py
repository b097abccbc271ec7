"""Whether the outcomes of a fitted binomial model are separated: looked for where the fit shows signs of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import BackendError
from mixeff_fast.fit.conditional_separation import conditional_separation, extreme_deviation
from mixeff_fast.fit.lmm import linear_predictor
from mixeff_fast.fit.matrices import fixed_matrix
from mixeff_fast.fit.separation import separation, separation_finding, separation_symptoms, skipped_finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.schemas.diagnostics import Finding

    Float = NDArray[np.float64]

# entries of the fixed-effect columns beyond which the linear programs are not solved
LARGEST = 20_000_000


@dataclass(frozen=True, slots=True)
class SeparationCheck:
    """What was found.

    Attributes
    ----------
    separated
        Whether the outcomes are separated, so that the likelihood need have no maximum at finite estimates.
    symptoms
        The signs in the fit that called for the test.
    finding
        The record of it, or of the test that was not run; None where nothing is separated.
    """

    separated: bool
    symptoms: tuple[str, ...]
    finding: Finding | None

    @property
    def reason(self) -> str:
        """What separates the outcomes, in words, and what follows."""
        if self.finding is not None and self.finding.payload.get("reason") == "conditional":
            groups = " and ".join(self.finding.affected_terms)
            return (f"random effects of {groups} tell all successes from all failures: as standard deviations grow for ever "
                    "the likelihood keeps a positive limit, and need have no maximum")
        return "the fixed effects separate the two outcomes: the likelihood has no maximum at finite estimates"


def check_separation(model: CompiledModel, result: GlmmResult, scale: Float, requested: bool) -> SeparationCheck | None:
    """Test a binomial fit for separation, if it shows signs of it; None for other families.

    Parameters
    ----------
    model, result
        The fit.
    scale
        Sizes of the fixed-effect columns, shape (p,).
    requested
        Whether inference was asked for; if not, the test is not run.
    """
    if model.family is None or model.family.name != "binomial":
        return None
    n, p = model.frame.n, len(result.beta)
    if not requested:
        return SeparationCheck(False, (), skipped_finding("inference_not_requested", n, p)) if p else None
    found = _by_fixed_effects(model, result, scale) if p else None
    if (found is not None and found.separated) or not extreme_deviation(model.family.link, result.singular):
        return found
    symptoms = (*(() if found is None else found.symptoms), "large_standard_deviation")
    try:
        separated, finding = conditional_separation(model)
    except BackendError:
        separated, finding = False, skipped_finding("linear_program_not_solved", n, p)
    return SeparationCheck(separated, symptoms, finding if finding is not None or found is None else found.finding)


def _by_fixed_effects(model: CompiledModel, result: GlmmResult, scale: Float) -> SeparationCheck:
    n, p = model.frame.n, len(result.beta)
    fixed = linear_predictor(model, result.beta, (), model.frame.variables, (None,) * len(model.factors), n)
    symptoms = separation_symptoms(result.beta, np.sqrt(np.diag(result.vcov)), fixed, scale)
    if np.isnan(result.beta[~result.aliased]).any():
        symptoms = ("not_finite",)
    if not symptoms:
        return SeparationCheck(False, (), skipped_finding("no_symptoms", n, p))
    if n * p > LARGEST:
        return SeparationCheck(False, symptoms, skipped_finding("too_large", n, p))
    x = fixed_matrix(model)[:, ~result.aliased]
    names = [name for name, gone in zip(model.fixed.names, result.aliased.tolist(), strict=True) if not gone]
    trials = model.frame.trials
    try:
        found = separation(x, np.asarray(model.frame.response), None if trials is None else np.asarray(trials))
    except BackendError:
        return SeparationCheck(False, symptoms, skipped_finding("linear_program_not_solved", n, p))
    return SeparationCheck(found.kind != "none", symptoms, separation_finding(found, names, x))
