"""New responses from a fitted model. Replicate i is a stream of its own, keyed by (seed, i)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.lmm import linear_predictor, user_lambda

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.laplace import LaplaceEngine
    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


def _linear_predictors(
    engine: Coordinates, result: LmmResult | GlmmResult, lam: Float, nsim: int, seed: int, conditional: bool
) -> Iterator[tuple[Float, np.random.Generator]]:
    """``X beta + Z b + offset`` of each replicate, shape (n,), and its stream. ``b`` is drawn anew from its fitted covariance,
    or kept at its conditional mode when ``conditional``."""
    model = engine.model
    frame = model.frame
    codes = tuple(f.group.codes for f in model.factors)
    roots = [user_lambda(engine, lam, factor) * result.scale for factor in model.factors]
    for i in range(nsim):
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, i])))
        effects = result.effects
        if not conditional:
            effects = tuple(
                stream.standard_normal((factor.n_levels, factor.width)) @ root.T
                for factor, root in zip(model.factors, roots, strict=True)
            )
        eta = linear_predictor(model, result.beta, effects, frame.variables, codes, frame.n)
        if frame.offset is not None:
            eta += frame.offset
        yield eta, stream


def simulate_responses(engine: Engine, result: LmmResult, nsim: int, seed: int, conditional: bool) -> Float:
    """Draw responses of a linear mixed model, shape (nsim, n): ``X beta + Z b + offset + sigma e / sqrt(w)``."""
    frame = engine.model.frame
    scale = result.sigma if frame.weights is None else result.sigma / np.sqrt(frame.weights)
    out = np.empty((nsim, frame.n))
    for i, (center, stream) in enumerate(_linear_predictors(engine, result, result.lam, nsim, seed, conditional)):
        out[i] = center + scale * stream.standard_normal(frame.n)
    return out


def simulate_families(engine: LaplaceEngine, result: GlmmResult, nsim: int, seed: int, conditional: bool) -> Float:
    """Draw responses of a generalized linear mixed model, shape (nsim, n): numbers of successes in the binomial family."""
    from mixeff_fast.fit.means import draw, mean

    frame, family = engine.model.frame, engine.model.family
    assert family is not None
    lam, _ = engine.split(result.point)
    out = np.empty((nsim, frame.n))
    for i, (eta, stream) in enumerate(_linear_predictors(engine, result, lam, nsim, seed, conditional)):
        mu = mean(family, result.parameter, eta)
        out[i] = draw(family, result.parameter, mu, frame.trials, frame.weights, stream)
    return out
