"""Compiled models as dense problems, points of the engine as parameters of these, and small data of every family."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import stats

import mixeff_fast as mf
from mixeff_fast.compile import CompiledModel
from mixeff_fast.errors import MixeffNotice
from mixeff_fast.families import LINKS, Family
from mixeff_fast.fit.glmm import GlmmResult, fit_glmm
from mixeff_fast.fit.glmm_rows import designs
from mixeff_fast.fit.glmm_workspace import FISHER
from mixeff_fast.fit.laplace import LaplaceEngine
from mixeff_fast.models.spec import compile_model
from tests.oracle import Block
from tests.oracle_families import slopes, value
from tests.oracle_glmm import Criterion, Glmm, State, evaluate, unpack

Floats = NDArray[np.float64]

# every pair that a model can have and the dense reference knows
PAIRS = [(name, link) for name, links in LINKS.items() for link in links
         if (name, link) not in {("gaussian", "identity"), ("binomial", "log"), ("inverse_gaussian", "identity")}]
DENSE_LINK = {"inverse_square": "1/mu^2"}


def row_order(model: CompiledModel) -> NDArray[np.int64]:
    """Which row of the data each of the engine's is."""
    leaf = model.plan.order[0]
    blocks = model.plan.level_block[leaf][model.factors[leaf].group.codes]
    return np.argsort(blocks, kind="stable")


def compiled(formula: str, data: pl.DataFrame, family: Family, **arguments: Any) -> CompiledModel:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return compile_model(formula, data, family=family, **arguments).compiled


def criterion_of(model: CompiledModel, profiled: bool = False) -> Criterion:
    assert model.family is not None
    return Criterion("fisher" if model.family.name in FISHER else "observed", profiled=profiled)


def dense(model: CompiledModel, engine: LaplaceEngine | None = None) -> Glmm:
    """The model in the user's columns; in the engine's standardized ones where that is given."""
    frame, family = model.frame, model.family
    assert family is not None
    everything = slice(0, frame.n)
    if engine is None:
        X = np.empty((frame.n, len(model.fixed.names)))
        model.fixed.fill(frame.variables, everything, X)
    else:
        X, standardized = designs(model, engine.assembled, everything)
    blocks = []
    for block in model.blocks:
        if engine is None:
            Z = np.empty((frame.n, block.width))
            block.design.fill(frame.variables, everything, Z)
        else:
            before = model.plan.order[: model.plan.order.index(block.factor)]
            first = sum(model.factors[k].width for k in before) + block.first
            Z = standardized[:, first : first + block.width]
        mask = np.zeros((block.width, block.width), bool)
        mask[block.rows, block.columns] = True
        factor = model.factors[block.factor]
        blocks.append(Block(Z, np.asarray(factor.group.codes), factor.n_levels, mask))
    y, weights = frame.response, frame.weights
    if family.name == "binomial":
        trials = np.ones(frame.n) if frame.trials is None else frame.trials
        y = y / np.where(trials > 0, trials, 1.0)
        weights = trials if weights is None else trials * weights
    link = DENSE_LINK.get(family.link, family.link)
    return Glmm(X, y, blocks, weights, frame.offset, family.name, link, family.theta)


def psi_of_point(engine: LaplaceEngine, problem: Glmm, point: Floats) -> Floats:
    """Parameters of the standardized dense problem at a point of the engine."""
    lam, rest = engine.split(point)
    theta = problem.pack([engine.block_lambda(lam, block) for block in engine.model.blocks])
    return np.concatenate([theta, rest])


def gradient_of_point(engine: LaplaceEngine, problem: Glmm, grad: Floats) -> Floats:
    """The engine's gradient in these parameters."""
    return psi_of_point(engine, problem, grad)


def point_of_psi(engine: LaplaceEngine, problem: Glmm, psi: Floats) -> Floats:
    size = len(problem.entries)
    lam = np.zeros(engine.assembled.lam_size)
    for block, own in zip(engine.model.blocks, problem.lambdas(psi[:size]), strict=True):
        engine.block_lambda(lam, block)[...] = own
    return np.concatenate([lam, psi[size:]])


def psi_of_result(problem: Glmm, result: GlmmResult, profiled: bool = False) -> Floats:
    """Parameters of the user's dense problem that a fit reports, aliased coefficients left out."""
    tail = [np.log(result.parameter)] if problem.searched and result.parameter is not None else []
    return np.concatenate([result.theta, [] if profiled else result.beta[~result.aliased], tail])


def without_aliased(problem: Glmm, result: GlmmResult) -> Glmm:
    return replace(problem, X=problem.X[:, ~result.aliased])


def spherical_of_result(model: CompiledModel, result: GlmmResult) -> Floats:
    """The spherical effects in the order of the dense problem's blocks."""
    return np.concatenate([
        result.spherical[block.factor][:, block.first : block.first + block.width].ravel() for block in model.blocks
    ])


def state_at(problem: Glmm, psi: Floats, u: Floats, criterion: Criterion) -> State:
    """The criterion with the modes given, not sought: ``slopes`` tell whether they are modes."""
    at = unpack(problem, psi, criterion)
    rows, root = problem.rows(at.parameter), problem.root(at.theta)
    eta = problem.base + problem.fixed @ at.beta + root @ u
    parts = slopes(rows, eta)
    curvature = parts.fisher if criterion.curvature == "fisher" else parts.a
    H = (root.T * curvature) @ root + np.eye(len(u))
    sign, log_det = np.linalg.slogdet(H)
    total = float(np.sum(value(rows, eta)) + u @ u + (log_det if sign > 0 else np.nan))
    return State(at.theta, at.beta, at.parameter, u, eta, rows, root, parts, curvature, H, total)


@dataclass(frozen=True, slots=True)
class Fitted:
    model: CompiledModel
    engine: LaplaceEngine
    result: GlmmResult


def fitted(formula: str, data: pl.DataFrame, family: Family, method: Any = "joint_laplace", **arguments: Any) -> Fitted:
    controls = {key: arguments.pop(key) for key in ("threads", "start", "max_evaluations") if key in arguments}
    model = compiled(formula, data, family, **arguments)
    return Fitted(model, *fit_glmm(model, method, mf.control(**controls)))


def dense_state(problem: Glmm, psi: Floats, criterion: Criterion) -> State:
    found = evaluate(problem, psi, criterion)
    assert found is not None
    return found


# Data.

# linear predictors at the intercept for which the means of simulated data are legal
CENTRES = {"sqrt": 2.5, "identity": 6.0, "inverse": 1.5, "inverse_square": 1.5}
PARAMETERS = {"negative_binomial": 2.0, "gaussian": 0.3}


def drawn(family: Family, eta: Floats, trials: Floats | float, rng: np.random.Generator) -> Floats:
    """Responses with these linear predictors; numbers of successes of the binomial family."""
    means = {
        "logit": lambda: 1 / (1 + np.exp(-eta)), "probit": lambda: stats.norm.cdf(eta),
        "cloglog": lambda: -np.expm1(-np.exp(eta)), "cauchit": lambda: stats.cauchy.cdf(eta),
        "log": lambda: np.exp(eta), "sqrt": lambda: eta**2, "identity": lambda: eta, "inverse": lambda: 1 / eta,
        "inverse_square": lambda: eta**-0.5,
    }
    mu, parameter = means[family.link](), PARAMETERS.get(family.name, 0.2)
    if family.name == "binomial":
        return rng.binomial(np.asarray(trials, int), mu).astype(np.float64)
    if family.name == "poisson":
        return rng.poisson(mu).astype(np.float64)
    if family.name == "negative_binomial":
        return rng.negative_binomial(parameter, parameter / (parameter + mu)).astype(np.float64)
    if family.name == "gamma":
        return rng.gamma(1 / parameter, parameter * mu)
    if family.name == "inverse_gaussian":
        return rng.wald(mu, 1 / parameter)
    return mu + np.sqrt(parameter) * rng.normal(size=len(mu))


def small_data(family: Family, seed: int, n: int = 60, levels: int = 7, trials: int = 1) -> pl.DataFrame:
    """Columns y, x, z, w (prior weights), o (an offset), m (trials), failures, g, h, c (cells within g), row."""
    rng = np.random.default_rng(seed)
    tamer = 0.3 if family.link in CENTRES else 1.0
    x, z, offset = rng.normal(size=n), rng.uniform(-1, 1, n), 0.2 * tamer * rng.uniform(-1, 1, n)
    g, h = rng.integers(0, levels, n), rng.integers(0, 5, n)
    cell = rng.integers(0, 2, n)
    effect = 0.4 * tamer * np.clip(rng.normal(size=(4, max(levels, 5) * 2)), -1.5, 1.5)
    eta = CENTRES.get(family.link, 0.3) + tamer * 0.3 * np.clip(x, -2, 2) + offset
    eta = eta + effect[0, g] + 0.5 * effect[1, g] * np.clip(x, -2, 2) + effect[2, h] + 0.5 * effect[3, 2 * g + cell]
    m = rng.integers(1, trials + 1, n).astype(np.float64)
    y = drawn(family, eta, m, rng)
    return pl.DataFrame({
        "y": y, "failures": m - y, "m": m, "x": x, "z": z, "o": offset, "w": rng.integers(1, 5, n).astype(np.float64),
        "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h], "c": [f"c{i}" for i in cell],
        "row": [f"r{i:03d}" for i in range(n)],
    })
