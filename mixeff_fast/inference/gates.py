"""When the fixed effects of a generalized linear mixed model get Wald tests and intervals, and what is said beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

if TYPE_CHECKING:
    from mixeff_fast.fit.glmm import GlmmResult

NOT_REQUESTED = "inference_not_requested"
SEPARATED = "binomial_separation"
PROFILED = "profiled_fixed_effects_no_likelihood"
NO_INFORMATION = "observed_information_unavailable"
NOT_FINITE = "fixed_effect_covariance_nonfinite"
DOUBTS = {"not_optimized": "fit_not_optimized", "not_identifiable": "fit_not_identifiable"}
# codes of fits whose likelihood can be compared with that of others all the same
WALD_ALONE = frozenset({PROFILED, NO_INFORMATION, NOT_FINITE})
BOUNDARY_KNOWN = "boundary_parameters_taken_as_known"


def wald_withheld(result: GlmmResult, separated: bool, requested: bool) -> str | None:
    """The reason code under which no coefficient gets a Wald test, or None where they do.

    They do at a joint optimum with a positive definite observed information: covariance parameters on the boundary are taken
    as known there. Fixed effects that were profiled out of the penalized deviance do not minimize the criterion, and outcomes
    that the fixed effects separate have no estimate.

    Parameters
    ----------
    result
        The numbers of the fit.
    separated
        Whether the fixed effects separate binary outcomes.
    requested
        Whether inference was asked for.
    """
    if not requested:
        return NOT_REQUESTED
    if result.certificate.status in DOUBTS:
        return SEPARATED if separated else DOUBTS[result.certificate.status]
    if separated:
        return SEPARATED
    if result.method == "pirls_profiled":
        return PROFILED
    if result.vcov_route != "observed_information":
        return NO_INFORMATION
    known = ~result.aliased
    return None if np.all(np.isfinite(result.vcov[np.ix_(known, known)])) else NOT_FINITE


def withheld_status(code: str) -> Literal["unsupported", "not_assessed"]:
    """The status of rows that are withheld: ``unsupported`` by the estimator, else ``not_assessed``."""
    return "unsupported" if code == PROFILED else "not_assessed"


def wald_notes(result: GlmmResult) -> tuple[str, ...]:
    """What is said beside Wald rows: that covariance parameters on the boundary are taken as known."""
    return (BOUNDARY_KNOWN,) if result.certificate.n_boundary > 0 else ()
