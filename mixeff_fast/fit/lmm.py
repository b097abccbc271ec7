"""The linear mixed model driver: a compiled model in, estimates in the user's units out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import ArgumentError
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.certificate import Certificate, optimum
from mixeff_fast.fit.cones import singular_values
from mixeff_fast.fit.control import DEFAULT_CONTROL, Control
from mixeff_fast.fit.engine import Engine
from mixeff_fast.kernels import assembly, profiled

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, RandomFactor
    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.frame import FactorVariable, NumericVariable

    Float = NDArray[np.float64]

ROWS = 65_536


@dataclass(frozen=True, slots=True)
class LmmResult:
    """Estimates of a linear mixed model, in the user's units.

    Attributes
    ----------
    reml
        Whether the REML criterion was minimized.
    theta
        Relative covariance parameters, shape (n_theta,).
    lam
        The same as the engine's Lambda (standardized).
    beta
        Fixed effects, shape (p,); NaN for aliased columns, and for all where no finite objective was found.
    aliased
        Which columns are aliased, shape (p,).
    vcov
        Covariance matrix of ``beta``, shape (p, p); NaN rows and columns for aliased ones.
    sigma
        Residual standard deviation (of a row with weight 1).
    effects
        Per factor, conditional modes of the random effects, shape (levels, width).
    spherical
        Per factor, the same before Lambda (``u``, in units of the response), shape (levels, width).
    objective
        -2 log-likelihood, or the REML criterion.
    singular
        Per term, the relative standard deviations of its principal directions (standardized columns).
    pwrss, logdet
        Penalized weighted residual sum of squares; log|M_RE|.
    certificate
        The evidence.
    """

    reml: bool
    theta: Float
    lam: Float
    beta: Float
    aliased: NDArray[np.bool_]
    vcov: Float
    sigma: float
    effects: tuple[Float, ...]
    spherical: tuple[Float, ...]
    objective: float
    singular: tuple[Float, ...]
    pwrss: float
    logdet: float
    certificate: Certificate

    @property
    def scale(self) -> float:
        """What theta is relative to: sigma."""
        return self.sigma


def check_start(model: CompiledModel, control: Control) -> None:
    """Refuse a start that is not one value per covariance parameter."""
    if control.start is not None and len(control.start) != model.n_theta:
        raise ArgumentError(
            f"start has {len(control.start)} values; the model has {model.n_theta} covariance parameters: "
            + ", ".join(model.theta_names),
            argument="start",
        )


def fit_lmm(
    model: CompiledModel, reml: bool = True, control: Control = DEFAULT_CONTROL, source: StatisticsSource | None = None
) -> tuple[Engine, LmmResult]:
    """Fit a compiled model: assemble, search, certify, and read the estimates off the last factorization.

    ``source`` has the cross-product of a model whose rows are not in memory.

    Raises
    ------
    FitError
        ``rank_saturated_fixed_effects``, ``memory_limit``.
    ArgumentError
        ``control.start`` of the wrong length.
    """
    check_start(model, control)
    with single_threaded_blas():
        engine = Engine(model, control, source=source)
        lam, certificate = optimum(engine, reml, control)
        return engine, estimates(engine, lam, reml, certificate)


def estimates(engine: Engine, lam: Float, reml: bool, certificate: Certificate) -> LmmResult:
    """Everything the factorization at ``lam`` says, in the user's units."""
    model, assembled = engine.model, engine.assembled
    standard = assembled.standard
    plan = model.plan
    w = engine.solve(lam, reml)
    objective = float(engine.work.result[profiled.OBJECTIVE])
    m, p = plan.trunk_size, engine.rank
    factor_x = np.tril(engine.work.border[:p, :p])
    failed = not np.isfinite(objective)
    if failed:
        # what the workspace holds is of another evaluation
        w[:] = np.nan
    pivot = np.nan if failed else engine.pivot
    dof = engine.dof(reml)
    sigma_standard = pivot / np.sqrt(dof)
    unit = standard.y_scale * standard.root_weight
    n_beta = len(model.fixed.names)
    kept = assembled.kept
    beta = np.full(n_beta, np.nan)
    vcov = np.full((n_beta, n_beta), np.nan)
    to_user = standard.beta_map(kept)
    beta[kept] = to_user @ -w[plan.trunk_start + m : plan.trunk_start + m + p]
    if standard.intercept >= 0:
        beta[standard.intercept] += standard.y_shift
    if not failed:
        root = np.linalg.solve(factor_x, to_user.T).T * sigma_standard
        vcov[np.ix_(kept, kept)] = root @ root.T
    aliased = np.ones(n_beta, np.bool_)
    aliased[kept] = False
    spherical, effects = [], []
    for k, factor in enumerate(model.factors):
        u = -w[plan.level_column[k][:, None] + np.arange(factor.width)] * unit
        spherical.append(u)
        effects.append(u @ user_lambda(engine, lam, factor).T)
    theta = engine.theta(lam)
    for handed_out in (theta, beta, vcov):
        handed_out.flags.writeable = False
    return LmmResult(
        reml=reml,
        theta=theta,
        lam=lam,
        beta=beta,
        aliased=aliased,
        vcov=vcov,
        sigma=float(sigma_standard * unit),
        effects=tuple(effects),
        spherical=tuple(spherical),
        objective=objective + engine.criterion_shift(reml),
        singular=singular_values(engine, lam),
        pwrss=(pivot * unit) ** 2,
        logdet=float(engine.work.result[profiled.LOGDET]),
        certificate=certificate,
    )


def user_lambda(engine: Coordinates, lam: Float, factor: RandomFactor) -> Float:
    """``T Lambda`` of a factor: user-scale effects are ``T Lambda u``; not triangular when columns were centred."""
    out = np.zeros((factor.width, factor.width))
    for i in factor.blocks:
        block = engine.model.blocks[i]
        own = slice(block.first, block.first + block.width)
        out[own, own] = engine.effect_map(block) @ engine.block_lambda(lam, block)
    return out


def conditional_covariances(engine: Engine, result: LmmResult) -> tuple[Float, ...]:
    """Per factor, ``Var(b | y)`` of each level at the estimates (beta known), shape (levels, width, width).

    ``sigma^2 Lambda (Lambda'Z'WZLambda + I)^{-1} Lambda'``: Bates et al. (2015), eq. 59.
    """
    with single_threaded_blas():
        inverses = engine.conditional_inverse(result.lam, result.reml)
    out = []
    for factor, inverse in zip(engine.model.factors, inverses, strict=True):
        root = user_lambda(engine, result.lam, factor) * result.sigma
        out.append(root @ inverse @ root.T)
    return tuple(out)


def linear_predictor(
    model: CompiledModel,
    beta: Float,
    effects: tuple[Float, ...],
    variables: dict[str, NumericVariable | FactorVariable],
    codes: tuple[NDArray[np.int32] | None, ...],
    n: int,
    blocks: tuple[bool, ...] | None = None,
) -> Float:
    """``X beta + Z b`` over rows that need not be those of the fit, shape (n,).

    ``codes[k]`` None leaves factor k out; a negative code adds nothing for that row. ``blocks`` leaves terms out.
    Aliased coefficients count as zero.
    """
    out = np.empty(n)
    known = np.where(np.isnan(beta), 0.0, beta)
    for start in range(0, n, ROWS):
        rows = slice(start, min(start + ROWS, n))
        x = np.empty((rows.stop - rows.start, len(beta)))
        model.fixed.fill(variables, rows, x)
        part = x @ known
        for k, factor in enumerate(model.factors):
            levels = codes[k]
            if levels is None:
                continue
            for i in factor.blocks:
                if blocks is not None and not blocks[i]:
                    continue
                block = model.blocks[i]
                z = np.empty((rows.stop - rows.start, block.width))
                block.design.fill(variables, rows, z)
                own = np.ascontiguousarray(effects[k][:, block.first : block.first + block.width])
                assembly.add_random_effects(levels[rows], z, own, part)
        out[rows] = part
    return out


def fitted_values(model: CompiledModel, result: LmmResult | GlmmResult) -> Float:
    """Conditional linear predictors with the offset, shape (n,)."""
    frame = model.frame
    out = linear_predictor(model, result.beta, result.effects, frame.variables,
                           tuple(f.group.codes for f in model.factors), frame.n)
    return out if frame.offset is None else out + frame.offset


def criterion_at(engine: Engine, lam: Float, reml: bool) -> float:
    """The ML or REML criterion at ``lam``, in the user's units."""
    with single_threaded_blas():
        value = engine.criterion(lam, reml)
    return value + engine.criterion_shift(reml)
