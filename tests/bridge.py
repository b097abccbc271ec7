"""From a dense reference problem to a fitted model through the public rooms: a frame, a formula, a compiled model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mixeff_fast.compile import CompiledModel, RandomBlock, check_saturation, compile_rows
from mixeff_fast.fit.control import DEFAULT_CONTROL
from mixeff_fast.fit.coordinates import lower_product
from mixeff_fast.fit.engine import Engine
from mixeff_fast.formula import model_formula
from mixeff_fast.frame import build_frame
from tests.oracle import Block, Problem

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Bridge:
    """A problem and the model made of it; ``places`` tells which random term holds which columns of which block."""

    problem: Problem
    data: pl.DataFrame
    formula: str
    model: CompiledModel
    places: tuple[tuple[int, int], ...]

    def engine(self) -> Engine:
        return Engine(self.model, DEFAULT_CONTROL)

    def spans(self) -> list[tuple[RandomBlock, int, slice]]:
        """Per random term of the model: the block of the problem it comes from, and its columns there."""
        out = []
        for block in self.model.blocks:
            where, first = self.places[block.term.index]
            out.append((block, where, slice(first, first + block.width)))
        return out

    def to_problem(self, theta: Floats) -> Floats:
        """The problem's theta for a model's."""
        lambdas: list[Any] = [np.zeros(block.mask.shape) for block in self.problem.blocks]
        for block, where, own in self.spans():
            lower = np.zeros((block.width, block.width))
            lower[block.rows, block.columns] = theta[block.theta]
            lambdas[where][own, own] = lower
        return self.problem.pack(lambdas)

    def to_model(self, theta: Floats) -> Floats:
        """The model's theta for a problem's."""
        lambdas = [np.asarray(lam, np.float64) for lam in self.problem.lambdas(theta)]
        out = np.zeros(self.model.n_theta)
        for block, where, own in self.spans():
            out[block.theta] = lambdas[where][own, own][block.rows, block.columns]
        return out

    def user_gradient(self, engine: Engine, lam: Floats, gradient: Floats) -> Floats:
        """The engine's gradient by the entries of the problem's theta, at the theta that ``lam`` stands for.

        With ``T Lambda = L Q`` (L the user's lower triangle): ``2 Gamma_user L = T^-T (2 Gamma Lambda) Q'``.
        """
        parts: list[Any] = [np.zeros(block.mask.shape) for block in self.problem.blocks]
        for block, where, own in self.spans():
            to_user = engine.effect_map(block)
            _, basis = lower_product(to_user, engine.block_lambda(lam, block))
            parts[where][own, own] = np.linalg.solve(to_user.T, engine.block_lambda(gradient, block)) @ basis.T
        return self.problem.pack(parts)


def same_codes(a: Block, b: Block) -> bool:
    return bool(np.array_equal(a.codes, b.codes))


def random_terms(problem: Problem, double_bar: Sequence[bool]) -> tuple[list[str], dict[str, Any], list[tuple[int, int]]]:
    """The random part of the formula, its columns, and the (block, first column) of every term it expands to."""
    terms: list[str] = []
    columns: dict[str, Any] = {}
    places: list[tuple[int, int]] = []
    for k, block in enumerate(problem.blocks):
        owner = next(i for i, other in enumerate(problem.blocks) if same_codes(block, other))
        columns[f"g{owner}"] = [f"l{code:06d}" for code in block.codes.tolist()]
        width = block.Z.shape[1]
        intercept = bool(np.all(block.Z[:, 0] == 1.0))
        names = [f"z{k}_{j}" for j in range(int(intercept), width)]
        columns |= {f"z{k}_{j}": block.Z[:, j] for j in range(int(intercept), width)}
        lhs = " + ".join(["1" if intercept else "0", *names])
        if len(block.entries) == width and width > 1:
            bars = double_bar[k % len(double_bar)]
            terms.append(f"({lhs} || g{owner})" if bars else f"diag({lhs} | g{owner})")
            places += [(k, j) for j in range(width)] if bars else [(k, 0)]
        else:
            terms.append(f"({lhs} | g{owner})")
            places.append((k, 0))
    return terms, columns, places


def bridge(problem: Problem, double_bar: Sequence[bool] = (False,)) -> Bridge:
    """Write ``problem`` as a frame and a formula and compile it. Diagonal blocks become ``||`` or ``diag()`` terms."""
    terms, columns, places = random_terms(problem, double_bar)
    intercept = bool(np.all(problem.X[:, 0] == 1.0))
    first = int(intercept)
    fixed = ["1" if intercept else "0", *(f"x{j}" for j in range(first, problem.X.shape[1]))]
    columns |= {f"x{j}": problem.X[:, j] for j in range(first, problem.X.shape[1])}
    columns["y"] = problem.y
    data = pl.DataFrame(columns)
    text = f"y ~ {' + '.join(fixed + terms)}"
    frame = build_frame(data, model_formula(text), weights=problem.weights, offset=problem.offset)
    model = compile_rows(frame)
    check_saturation(model)
    return Bridge(problem, data, text, model, tuple(places))
