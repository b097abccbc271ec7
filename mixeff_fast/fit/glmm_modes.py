"""What the modes at the optimum of a generalized linear mixed model say of the random effects, from its factorization."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.crossproduct import factor_blocks
from mixeff_fast.fit.glmm import new_engine
from mixeff_fast.fit.glmm_start import start_point
from mixeff_fast.fit.lmm import user_lambda
from mixeff_fast.kernels import pirls

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.laplace import LaplaceEngine

    Float = NDArray[np.float64]


def engine_at(model: CompiledModel, control: Control, result: GlmmResult, n_agq: int) -> LaplaceEngine:
    """The engine of a fit whose numbers are known, for the criterion with so many quadrature nodes."""
    with single_threaded_blas():
        engine = new_engine(model, result.method, control, n_agq)
        start_point(engine, control)
    return engine


def resume(engine: LaplaceEngine, result: GlmmResult) -> None:
    """Have the next search for modes start from those of the result, with a factorization of its own: what an engine did before
    then changes no bit of what it finds."""
    model, anchor = engine.model, engine.trail.anchor
    for k, factor in enumerate(model.factors):
        anchor[model.plan.level_column[k][:, None] + np.arange(factor.width)] = result.spherical[k]
    kept = engine.assembled.kept
    if len(kept):
        anchor[engine.q :] = np.linalg.solve(engine.assembled.standard.beta_map(kept), result.beta[kept])
    engine.trail.anchor_lam[:] = engine.split(result.point)[0]
    engine.modes.counts[pirls.USABLE] = 0
    engine.last = engine.at = None


def evaluate(engine: LaplaceEngine, result: GlmmResult) -> bool:
    """Leave the engine at the estimates, its criterion and gradient computed; tell whether they are finite."""
    resume(engine, result)
    values, _ = engine.gradients(result.point[None], False)
    return bool(np.isfinite(values[0]))


def criterion_again(engine: LaplaceEngine, result: GlmmResult) -> float:
    """-2 log-likelihood at the estimates, computed anew."""
    with single_threaded_blas():
        resume(engine, result)
        return float(engine.criterion(result.point, False))


def conditional_inverse(engine: LaplaceEngine, result: GlmmResult) -> tuple[Float, ...]:
    """Per factor, the diagonal blocks of ``H^{-1}`` at the modes, shape (levels, width, width), by an engine for Laplace's
    approximation.

    ``H = Lambda'Z'WZ Lambda + I`` with the weights of the criterion, fixed effects known.
    """
    found = evaluate(engine, result)
    blocks = engine.work.inverse_diag if found else np.full_like(engine.work.inverse_diag, np.nan)
    return tuple(factor_blocks(engine.model.plan, blocks, k) for k in range(len(engine.model.factors)))


def conditional_covariances(engine: LaplaceEngine, result: GlmmResult) -> tuple[Float, ...]:
    """Per factor, ``Var(b | y)`` of each level at the estimates (beta known), shape (levels, width, width).

    ``Lambda H^{-1} Lambda'`` at the modes: the normal approximation that Laplace's criterion is made of.
    """
    lam, _ = engine.split(result.point)
    with single_threaded_blas():
        inverses = conditional_inverse(engine, result)
    out = []
    for factor, inverse in zip(engine.model.factors, inverses, strict=True):
        root = user_lambda(engine, lam, factor)
        out.append(root @ inverse @ root.T)
    return tuple(out)
