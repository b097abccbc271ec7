"""Generalized linear mixed models of a few rows, made to be difficult: an answer that stands or a typed error, no crash."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixeff_fast.errors import MixeffError
from mixeff_fast.families import LINKS, Family
from mixeff_fast.fit.laplace import UNIT_LINKS
from tests.glmm_problems import (
    CENTRES,
    Fitted,
    criterion_of,
    dense,
    drawn,
    fitted,
    psi_of_point,
    spherical_of_result,
    state_at,
)
from tests.oracle_families import LINKS as DENSE_LINKS
from tests.oracle_glmm import Criterion, Glmm, State, _units, evaluate, gradient

Floats = np.ndarray

FORMULAS = (
    "y ~ x + (1 | g)", "y ~ x + (x | g)", "y ~ x + (x || g)", "y ~ x + (x | g) + (x | h)", "y ~ 1 + (1 | g)",
    "y ~ 0 + (1 | g)", "y ~ 0 + x + (0 + x | g)", "y ~ x * z + (1 | g / h)", "y ~ x + (1 | row)", "y ~ x + (1 | g) + (1 | row)",
    "y ~ x + z + (x + z | g)", "y ~ 1 + (1 | g) + (1 | h)", "y ~ f + (1 | g)", "y ~ x + (0 + f | g)",
)
TROUBLES = (
    "none", "none", "none", "separated", "constant", "constant_in_groups", "no_trials", "huge", "rare", "far_offset",
    "collinear", "aliased", "exact", "outlier", "wild_units", "wild_weights", "one_success", "no_noise", "few_rows", "zeros",
)  # fmt: skip


# linear predictors on the scale of logarithms where the dense reference is not trusted
FAR = 60.0


@dataclass(frozen=True, slots=True)
class Case:
    family: Family
    formula: str
    trouble: str
    profiled: bool
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Case:
    name = draw(st.sampled_from(sorted(LINKS)))
    link = draw(st.sampled_from([each for each in LINKS[name] if (name, each) != ("gaussian", "identity")]))
    theta = draw(st.sampled_from([None, None, 0.7, 50.0])) if name == "negative_binomial" else None
    return Case(
        Family(name, link, theta), draw(st.sampled_from(FORMULAS)), draw(st.sampled_from(TROUBLES)),
        draw(st.integers(0, 4)) == 0, draw(st.integers(0, 2**20)),
    )


def data_of(case: Case) -> tuple[pl.DataFrame, dict[str, str]]:
    """The data, and the arguments that name weights and offset."""
    rng, family, trouble = np.random.default_rng(case.seed), case.family, case.trouble
    levels, rows = int(rng.integers(2, 9)), int(rng.integers(2, 7))
    if trouble == "few_rows":
        levels, rows = int(rng.integers(2, 5)), int(rng.integers(1, 3))
    n = levels * rows
    g, h = np.repeat(np.arange(levels), rows), np.arange(n) % int(rng.integers(2, 5))
    centre = CENTRES.get(family.link, {"rare": -12.0, "huge": 16.0}.get(trouble, float(rng.uniform(-2, 2))))
    if family.name == "binomial" and family.link == "log":
        centre = -2.0
    tamer = 0.3 if family.link in CENTRES else 1.0
    spread = tamer * float(rng.choice([0.0, 0.3, 1.0]))
    x, z = rng.normal(size=n), rng.normal(size=n)
    f = rng.integers(0, 3, n)
    if trouble == "collinear":
        z = x + 1e-6 * rng.normal(size=n)
    elif trouble == "aliased":
        z = 2.0 * x
    eta = centre + 0.3 * tamer * np.clip(x, -2, 2) + spread * np.clip(rng.normal(size=levels), -1.5, 1.5)[g]
    if family.name == "binomial" and family.link == "log":
        eta = np.minimum(eta, -0.1)
    arguments = {}
    m = np.ones(n) if rng.integers(0, 2) else rng.integers(1, 6, n).astype(np.float64)
    weights, offset = np.ones(n), np.zeros(n)
    if trouble == "no_trials":
        m[rng.random(n) < 0.4] = 0.0
    elif trouble == "huge" and family.name == "binomial":
        m = m * 1e7
    if trouble == "far_offset":
        offset = rng.choice([-30.0, 30.0, 300.0]) * rng.integers(0, 2, n) * (1.0 if family.link not in CENTRES else 0.02)
        arguments["offset"] = "o"
    if trouble == "wild_weights" and family.name != "binomial":
        weights, arguments["weights"] = 10.0 ** rng.uniform(-6, 6, n), "w"
    legal = np.maximum(eta, 0.05) if family.link in CENTRES else eta
    y = troubled(drawn(family, legal, m, rng), case, rng, x, g, m, eta)
    if trouble == "wild_units":
        x = x * 10.0 ** rng.uniform(-8, 8) + rng.choice([0.0, 1e5])
    return pl.DataFrame({
        "y": y, "failures": m - y if family.name == "binomial" else m, "x": x, "z": z, "o": offset, "w": weights,
        "g": g.astype(str), "h": h.astype(str), "f": f.astype(str), "row": [f"r{i}" for i in range(n)],
    }), arguments


def troubled(y: Floats, case: Case, rng: np.random.Generator, x: Floats, g: Floats, m: Floats, eta: Floats) -> Floats:
    """The response after the trouble."""
    name, trouble = case.family.name, case.trouble
    positive, binomial = name in ("gamma", "inverse_gaussian"), name == "binomial"
    whole = name in ("poisson", "negative_binomial")
    out = y
    if trouble == "separated":
        out = np.where(x > rng.choice([0.0, 1.2]), m if binomial else 5.0, 1e-9 if positive else 0.0)
    elif trouble == "constant":
        out = m.copy() if binomial else np.full(len(y), float(rng.choice([1.0, 4.0])))
    elif trouble == "zeros":
        out = np.full(len(y), 1e-12) if positive else np.zeros(len(y))
    elif trouble == "constant_in_groups":
        out = np.where(g % 2 == 0, m if binomial else 3.0, 0.5 if positive else 0.0)
    elif trouble == "exact" and not binomial:
        out = np.exp(1.0 + 0.5 * np.clip(x, -3, 3))
        out = np.round(out) if whole else out
    elif trouble == "no_noise" and not binomial:
        out = np.abs(eta) + 0.1
        out = np.round(out) if whole else out
    elif trouble == "outlier" and not binomial:
        out = y.copy()
        out[0] = 1e8 if whole or positive else -1e8
    elif trouble == "one_success":
        out = np.full(len(y), 1e-3 if positive else 0.0)
        out[-1] = m[-1] if binomial else 1.0
    elif trouble == "huge" and not binomial and case.family.link in CENTRES:
        out = y * 1e6
    return np.maximum(out, 1e-300) if positive else out


def fit_of(case: Case) -> Fitted | None:
    """The fit; None where it is refused with a typed error."""
    data, arguments = data_of(case)
    formula = case.formula.replace("y", "cbind(y, failures)", 1) if case.family.name == "binomial" else case.formula
    method = "pirls_profiled" if case.profiled else "joint_laplace"
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        try:
            return fitted(formula, data, case.family, method, **arguments)
        except MixeffError:
            return None


def check(case: Case) -> str:
    """Empty, or what is wrong with the fit."""
    fit = fit_of(case)
    if fit is None:
        return ""
    result, certificate = fit.result, fit.result.certificate
    if not certificate.status.startswith("converged"):
        return "" if certificate.reason else "no reason"
    kept = ~result.aliased
    numbers = [np.array([result.objective]), result.theta, result.beta[kept], *result.effects]
    if result.parameter is not None:
        numbers.append(np.array([result.parameter]))
    if not all(np.isfinite(each).all() for each in numbers):
        return "not finite"
    if result.vcov_route != "unavailable":
        vcov = result.vcov[np.ix_(kept, kept)]
        if not np.isfinite(vcov).all():
            return "covariance not finite"
        if len(vcov) and not np.diag(vcov).min() > 0.0:
            return "variances not positive"
    if certificate.limit or not is_known(case.family):
        return ""
    return against_dense(fit, case.profiled)


def is_known(family: Family) -> bool:
    return {"inverse_square": "1/mu^2"}.get(family.link, family.link) in DENSE_LINKS[family.name]


def against_dense(fit: Fitted, profiled: bool) -> str:
    """Whether modes and optimum are those of the dense criterion, at most a little worse."""
    engine, result = fit.engine, fit.result
    problem, criterion = dense(fit.model, engine), criterion_of(fit.model, profiled)
    beta = fit.engine.modes.u[engine.q :].copy() if profiled else np.zeros(0)
    psi = psi_of_point(engine, problem, result.point)
    with np.errstate(all="ignore"):
        state = dense_at(problem, psi, criterion, spherical_of_result(fit.model, result), beta)
        if problem.family == "gaussian" and state.eta.min() <= 0.0:
            return ""  # the dense reference stays on one side of the pole
        far = problem.link in UNIT_LINKS and np.abs(state.eta).max() > FAR
        if far or not np.isfinite(state.objective) or not np.isfinite(state.H).all():
            return ""  # and loses digits out there
        edge = problem.link in CENTRES and np.abs(state.eta).min() < 1e-4 * np.abs(state.eta).max()
        if edge or np.linalg.cond(state.H) > 1e12:
            return ""  # differences leave the domain, or rounding leaves the criterion uncertain
        # the dense reference loses digits where the dispersion is small
        dispersed = problem.searched and problem.family != "negative_binomial"
        lost = 1e-13 * float(np.max(problem.w)) / result.parameter if dispersed else 0.0
        close = 1e-7 * (1.0 + abs(result.objective)) + (1e-9 + lost) * engine.n
        if not abs(state.objective - result.objective) <= close:
            return f"criterion {result.objective!r}, dense {state.objective!r}"
        slope = 0.5 * state.root.T @ state.slopes.s + state.u
        inner = float(slope @ np.linalg.solve(state.H, slope))
        if not abs(inner) < 1e-10 * (1.0 + abs(result.objective)):
            return f"modes are not stationary: {inner!r}"
        if profiled:
            return ""
        again = evaluate(problem, psi, criterion, state)
        if again is None or abs(again.objective - state.objective) > 1e-8 * (1.0 + abs(state.objective)):
            return ""  # modes that are about to merge with others, or beyond the dense reference
        return outer(problem, psi, criterion, state, 1e-4 + lost * engine.n)


def dense_at(problem: Glmm, psi: Floats, criterion: Criterion, u: Floats, beta: Floats) -> State:
    if not criterion.profiled:
        return state_at(problem, psi, u, criterion)
    split = len(problem.entries)
    return state_at(problem, np.concatenate([psi[:split], beta, psi[split:]]), u, replace(criterion, profiled=False))


def outer(problem: Glmm, psi: Floats, criterion: Criterion, state: State, close: float) -> str:
    """Whether Newton's step, or one along negative curvature, leads down by more than ``close``."""
    slope = gradient(problem, state, criterion)
    steps = 1e-4 * _units(problem, criterion)
    hessian = np.empty((len(psi), len(psi)))
    for i, step in enumerate(steps):
        sides = []
        for sign in (1.0, -1.0):
            there = psi.copy()
            there[i] += sign * step
            try:
                found = evaluate(problem, there, criterion, state)
            except ValueError:  # infinite weights
                return ""
            if found is None:
                return ""
            sides.append(gradient(problem, found, criterion))
        hessian[i] = (sides[0] - sides[1]) / (2 * step)
    if not np.isfinite(hessian).all():
        return ""
    scale = 1 / np.sqrt(np.maximum(np.abs(np.diag(hessian)), 1e-4 / _units(problem, criterion) ** 2))
    values, vectors = np.linalg.eigh((hessian + hessian.T) / 2 * np.outer(scale, scale))
    along = vectors.T @ (slope * scale)
    decrement = float(np.sum(along**2 / np.maximum(np.abs(values), 1e-5)))
    moves = []
    if not decrement < 1e-3:
        newton = -vectors @ (along / np.maximum(np.abs(values), 1e-5))
        moves += [size * scale * newton for size in (1.0, 0.3, 0.1, 0.01)]
    if values[0] < -1e-3:
        moves += [size * scale * vectors[:, 0] for size in (1.0, -1.0, 0.3, -0.3, 0.1, -0.1)]
    for move in moves:
        found = evaluate(problem, psi + move, criterion, state)
        if found is not None and found.objective < state.objective - close:
            return f"lower by {state.objective - found.objective!r} nearby: decrement {decrement!r}, curvature {values[0]!r}"
    return ""


QUICK, NIGHTLY = 300, 10_000
# what was found by drawing: factorizations and gradients that are not finite next to the optimum, modes that are not found
# again, an information matrix that is not positive definite, other modes at the certified point, modes lost by a step too far,
# a kink, modes that scoring leaves too early
FOUND = [
    Case(Family("inverse_gaussian", "log"), "y ~ x + z + (x + z | g)", "outlier", True, 108947),
    Case(Family("binomial", "probit"), "y ~ x + (x || g)", "separated", False, 65971),
    Case(Family("gaussian", "log"), "y ~ x + (1 | g)", "constant_in_groups", False, 5),
    Case(Family("gamma", "inverse"), "y ~ x + z + (x + z | g)", "wild_weights", False, 718138),
    Case(Family("negative_binomial", "log", 50.0), "y ~ x + (x || g)", "one_success", True, 787800),
    Case(Family("negative_binomial", "identity", 0.7), "y ~ x + (1 | g)", "outlier", False, 365964),
    Case(Family("gaussian", "log"), "y ~ x + (x | g) + (x | h)", "rare", False, 931903),
    Case(Family("gaussian", "inverse"), "y ~ x + (x | g)", "none", False, 1),
    Case(Family("poisson", "log"), "y ~ x + (1 | row)", "far_offset", False, 1031093),
    Case(Family("poisson", "identity"), "y ~ x + (1 | g)", "one_success", False, 149),
    Case(Family("poisson", "identity"), "y ~ x + (1 | g) + (1 | row)", "constant_in_groups", True, 5260),
]
# weights at the start say nothing of the noise at the optimum, which is at the edge of what numbers can be
EDGE = [Case(Family("poisson", "log"), "y ~ x + (0 + f | g)", "far_offset", False, 170883)]


@pytest.mark.parametrize("case", FOUND, ids=lambda case: f"{case.family.name}-{case.trouble}-{case.seed}")
def test_found_before(case: Case) -> None:
    assert check(case) == ""


@pytest.mark.parametrize("case", EDGE, ids=lambda case: f"{case.family.name}-{case.trouble}-{case.seed}")
def test_a_vanishing_variance_is_not_certified_where_it_wants_to_grow(case: Case) -> None:
    fit = fit_of(case)
    assert fit is not None
    assert fit.result.certificate.quality != "certified"


@given(case=cases())
@settings(max_examples=QUICK, suppress_health_check=list(HealthCheck), derandomize=True, database=None)
def test_an_answer_that_stands_or_a_typed_error(case: Case) -> None:
    assert check(case) == ""


@pytest.mark.nightly
@given(case=cases())
@settings(max_examples=NIGHTLY, suppress_health_check=list(HealthCheck), derandomize=False)
def test_answers_that_stand_or_typed_errors_at_length(case: Case) -> None:
    assert check(case) == ""
