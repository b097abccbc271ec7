"""Hypothesis strategies that draw small Gaussian mixed models of every structure, as dense reference problems.

Hypothesis draws the structure, the parameters and a seed; the numbers that carry no structure (responses, covariates,
level memberships) come from a generator with that seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.oracle import Block, Problem

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]

LAYOUTS = ("single", "nested", "nested-3", "crossed", "crossed-3", "nested+crossed")
TERMS = ("intercept", "slope", "unstructured", "diagonal", "split")


@dataclass(frozen=True, slots=True)
class Case:
    """A model, a parameter to look at, and which criterion; ``label`` names the structure."""

    label: str
    problem: Problem = field(repr=False)
    theta: Floats
    reml: bool


def _members(rng: np.random.Generator, n: int, q: int, balanced: bool) -> Ints:
    return np.arange(n) % q if balanced else rng.choice(q, n, p=rng.dirichlet(np.ones(q)))


def _compact(codes: Ints) -> Ints:
    """Codes of the levels that occur, 0..q-1."""
    return np.asarray(np.unique(codes, return_inverse=True)[1])


@st.composite
def _factors(draw: st.DrawFn, layout: str, n: int, rng: np.random.Generator) -> list[Ints]:
    """Level codes of one to three grouping factors."""

    def fresh(low: int, high: int) -> Ints:
        return _members(rng, n, draw(st.integers(low, high)), draw(st.booleans()))

    depth = {"nested": 2, "nested-3": 3, "nested+crossed": 2}.get(layout, 1)
    # The innermost level of a balanced design must not repeat the pattern of the outer one, hence the shuffles.
    chain = [fresh(2, 8)]
    for _ in range(depth - 1):
        chain.append(_compact(chain[-1] * 4 + rng.permutation(fresh(2, 3))))
    crossings = {"crossed": 1, "crossed-3": 2, "nested+crossed": 1}.get(layout, 0)
    return [_compact(codes) for codes in chain + [rng.permutation(fresh(2, 6)) for _ in range(crossings)]]


@st.composite
def _terms(draw: st.DrawFn, codes: Ints, covariates: Floats, widest: int) -> tuple[str, list[Block]]:
    """The random-effects terms of one factor; the first covariate is the intercept."""
    kind = draw(st.sampled_from(TERMS))
    q = int(codes.max()) + 1
    width = draw(st.integers(2, widest))
    full, diagonal = np.tril(np.ones((width, width), bool)), np.eye(width, dtype=bool)
    if kind == "intercept":
        cuts, mask = [(0, 1)], diagonal
    elif kind == "slope":
        cuts, mask = [(1, 2)], diagonal
    elif kind == "split":
        cut = draw(st.integers(1, width - 1))
        cuts, mask = [(0, cut), (cut, width)], full
    else:
        cuts, mask = [(0, width)], full if kind == "unstructured" else diagonal
    blocks = [Block(covariates[:, a:b], codes, q, mask[: b - a, : b - a]) for a, b in cuts]
    return f"{kind}-{width}" if kind not in ("intercept", "slope") else kind, blocks


@st.composite
def _fixed(draw: st.DrawFn, covariates: Floats, aliased: bool | None) -> Floats:
    """One to four independent columns, with a column that the others explain when ``aliased``."""
    p = draw(st.integers(1, 4))
    columns = covariates[:, :p] if draw(st.booleans()) else covariates[:, ::-1][:, :p]
    if draw(st.booleans()) if aliased is None else aliased:
        at = draw(st.integers(1, p))
        columns = np.insert(columns, at, columns[:, :at].sum(axis=1), axis=1)
    return columns


def _response(rng: np.random.Generator, X: Floats, blocks: list[Block]) -> Floats:
    y = X @ rng.normal(size=X.shape[1]) + rng.normal(size=len(X))
    for block in blocks:
        effects = rng.normal(size=(block.q, block.Z.shape[1])) * rng.uniform(0, 1.5)
        y = y + np.sum(block.Z * effects[block.codes], axis=1)
    return np.asarray(y)


@st.composite
def problems(
    draw: st.DrawFn,
    layouts: tuple[str, ...] = LAYOUTS,
    weighted: bool | None = None,
    aliased: bool | None = False,
    max_rows: int = 60,
) -> tuple[str, Problem]:
    """A label and a model: one to three factors, nested, crossed or both, one to three columns each.

    ``weighted`` and ``aliased`` (a rank-deficient X) are drawn when None. Saturated models, which have no optimum, are
    left out.
    """
    layout = draw(st.sampled_from(layouts))
    n = draw(st.integers(16, max_rows))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    covariates = np.column_stack(
        [np.ones(n), rng.normal(size=n), np.resize([0.0, 1.0, 1.0], n), rng.uniform(1, 5, size=n)]
    )
    factors = draw(_factors(layout, n, rng))
    labels, blocks = [layout], []
    for codes in factors:
        label, terms = draw(_terms(codes, covariates, 3 if len(factors) < 3 else 2))
        labels.append(label)
        blocks += terms
    X = draw(_fixed(covariates, aliased))
    use_weights = draw(st.booleans()) if weighted is None else weighted
    weights = rng.uniform(0.2, 5, size=n) if use_weights else None
    offset = rng.normal(size=n) if draw(st.booleans()) else None
    problem = Problem(X, _response(rng, X, blocks), blocks, weights, offset)
    assume(not problem.saturated)
    return " ".join(labels), problem


@st.composite
def thetas(draw: st.DrawFn, problem: Problem, boundary: bool = True) -> Floats:
    """A parameter of ``problem``; with ``boundary``, diagonals may be (near) zero and whole columns may vanish."""
    inside = st.floats(0.05, 3)
    diagonal = st.one_of(inside, st.sampled_from([0.0, 1e-9, 1e-5, 1e-3])) if boundary else inside
    below = st.one_of(st.floats(-2, 2, allow_subnormal=False), st.just(0.0))
    out, vanished = [], False
    for _, row, column in problem.entries:
        if row == column:
            vanished = boundary and draw(st.integers(0, 4)) == 4
        value = draw(diagonal if row == column else below)
        out.append(0.0 if vanished else value)
    return np.array(out)


@st.composite
def cases(draw: st.DrawFn, /, boundary: bool = True, **options: Any) -> Case:
    """A model, a theta and a criterion; ``options`` are those of ``problems``."""
    label, problem = draw(problems(**options))
    return Case(label, problem, draw(thetas(problem, boundary)), draw(st.booleans()))
