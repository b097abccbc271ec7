"""What each package does with a generalized model: whether it fits it, and whether it maximizes what we maximize.

Laplace's approximation leaves a choice where observed and expected curvature of the likelihood differ, which they do unless
the link is the canonical one: maxima of the two are near each other, and are no better or worse than each other. Ours is
by expected curvature for binomial and Poisson responses, by the observed for all others.
"""

from __future__ import annotations

from benchmarks.shapes import Likelihood, Shape

OBSERVED = ("glmm", "glmm-wald", "gpboost", "glmmTMB")
CANONICAL = (("binomial", "logit"), ("poisson", "log"))
EXPECTED_FAMILIES = ("binomial", "poisson")
QUADRATURE = ("mixeff_fast", "lme4", "mixedlm", "glmm")
PROFILED = ("mixeff_fast", "lme4", "mixedlm", "lme-python")


def obstacle(engine: str, shape: Shape) -> str | None:
    """Why an engine is not measured on a generalized shape, apart from what it refuses of its random effects."""
    likelihood = shape.likelihood
    assert likelihood is not None
    if engine in ("mixedlm-rs", "statsmodels"):
        return "fits no generalized linear mixed models by maximum likelihood"
    if engine == "glmm-wald" and likelihood.family != "poisson":
        return "is the same as glmm where that adds no likelihood-ratio tables, which it does for counts"
    if likelihood.method == "pirls_profiled" and engine not in PROFILED:
        return "has no estimates with the fixed effects from the penalized deviance"
    if likelihood.method == "joint_laplace" and engine == "lme-python":
        return "takes the fixed effects from the penalized deviance, and so does not maximize this likelihood"
    if likelihood.n_agq > 1 and engine not in QUADRATURE:
        return "has no quadrature"
    if likelihood.family not in EXPECTED_FAMILIES and engine in ("lme4", "mixedlm"):
        return f"maximizes another criterion for {likelihood.family.replace('_', ' ')} responses"
    return None


def difference(engine: str, likelihood: Likelihood) -> str:
    """What sets an engine's criterion apart from ours; empty if nothing does."""
    if engine in OBSERVED and likelihood.family in EXPECTED_FAMILIES and (likelihood.family, likelihood.link) not in CANONICAL:
        return "approximates by the observed curvature, ours is by the expected: log-likelihoods are not comparable"
    return ""
