"""New responses from a fitted linear mixed model. Replicate i is a stream of its own, keyed by (seed, i)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.lmm import linear_predictor, user_lambda

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.lmm import LmmResult

    Float = NDArray[np.float64]


def simulate_responses(engine: Engine, result: LmmResult, nsim: int, seed: int, conditional: bool) -> Float:
    """Draw responses, shape (nsim, n).

    ``y = X beta + Z b + offset + sigma e / sqrt(w)``; ``b`` is drawn anew from its fitted covariance, or kept at its
    conditional mode when ``conditional``.
    """
    model = engine.model
    frame = model.frame
    codes = tuple(f.group.codes for f in model.factors)
    roots = [user_lambda(engine, result.lam, factor) * result.sigma for factor in model.factors]
    scale = result.sigma if frame.weights is None else result.sigma / np.sqrt(frame.weights)
    out = np.empty((nsim, frame.n))
    for i in range(nsim):
        stream = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, i])))
        effects = result.effects
        if not conditional:
            effects = tuple(
                stream.standard_normal((factor.n_levels, factor.width)) @ root.T
                for factor, root in zip(model.factors, roots, strict=True)
            )
        mean = linear_predictor(model, result.beta, effects, frame.variables, codes, frame.n)
        if frame.offset is not None:
            mean += frame.offset
        out[i] = mean + scale * stream.standard_normal(frame.n)
    return out
