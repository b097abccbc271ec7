"""Covariance matrices as points of cones: which directions are present, which are absent, and whether absent ones want to
grow.

At a boundary the gradient in theta vanishes by symmetry. What decides is ``Gamma = d(deviance)/d(Sigma)`` of each term:
``N'Gamma N >= 0`` on the null space N of Sigma, and ``Gamma Sigma = 0``, which is the gradient on the face.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.engine import lower_factor

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import RandomBlock
    from mixeff_fast.fit.engine import Engine

    Float = NDArray[np.float64]

# perturbation of an absent direction at which Gamma is read off
PROBE = 1e-4
# a standard deviation relative to sigma, per standardized column, below which a direction may be absent
SMALL_DIRECTION = 3e-3
# relative size below which a singular value of Lambda is rounding
ROUNDING = 1e-9
# an eigenvalue of Gamma this far below zero, relative to the largest, is rounding
CONE_TOLERANCE = 1e-6


@dataclass(slots=True)
class Point:
    """A Lambda under examination, with the objective (standardized units) and the evaluations spent on it so far."""

    lam: Float
    objective: float
    evaluations: int


@dataclass(frozen=True, slots=True)
class ConeEvidence:
    """Conditions on one term's covariance matrix: its rank, and on the directions it lacks the smallest and largest
    eigenvalue of ``N'Gamma N`` (None at full rank)."""

    term: int
    group: str
    width: int
    rank: int
    null_minimum: float | None
    null_maximum: float | None
    satisfied: bool


def separate(block: RandomBlock) -> bool:
    """Whether each column of the term is a cone of its own."""
    return block.width == 1 or block.family == "diagonal"


def singular_values(engine: Engine, lam: Float) -> tuple[Float, ...]:
    """Per term, the standard deviations of its principal directions relative to sigma, per standardized column.

    The rule on which everything that says "singular" rests: a direction is absent when its value is below a tolerance.
    """
    out: list[Float] = []
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        values = np.abs(np.diag(root)) if separate(block) else np.linalg.svd(root, compute_uv=False)
        out.append(values.astype(np.float64))
    return tuple(out)


def canonical(engine: Engine, lam: Float) -> Float:
    """The lower triangular Lambda with non-negative diagonal of the same covariances; absent directions are zero columns."""
    out = np.zeros_like(lam)
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        engine.block_lambda(out, block)[...] = (
            np.diag(np.abs(np.diag(root))) if block.family == "diagonal" else lower_factor(root)
        )
    return out


def without_small(engine: Engine, lam: Float, threshold: float) -> Float | None:
    """``lam`` with every direction below ``threshold`` removed, or None when there is none."""
    out = lam.copy()
    found = False
    for block in engine.model.blocks:
        view = engine.block_lambda(out, block)
        if separate(block):
            small = (np.abs(np.diag(view)) < threshold) & (np.diag(view) != 0.0)
            if small.any():
                found = True
                view[np.diag_indices(block.width)] = np.where(small, 0.0, np.diag(view))
        else:
            u, s, vt = np.linalg.svd(view)
            if np.any((s < threshold) & (s > 1e-14 * max(s[0], threshold))):
                found = True
                view[...] = lower_factor((u * np.where(s < threshold, 0.0, s)) @ vt)
    return out if found else None


def free_entries(engine: Engine, lam: Float) -> NDArray[np.int64]:
    """Positions in ``lam`` of the theta entries whose column of Lambda is not zero."""
    free = []
    position = engine.theta_map.position
    for block in engine.model.blocks:
        present = np.diag(engine.block_lambda(lam, block)) != 0.0
        free.append(position[block.theta][present[block.columns]])
    return np.concatenate(free)


def grown(
    engine: Engine, lam: Float, size: float, threshold: float = 0.0
) -> tuple[Float, list[tuple[RandomBlock, Float, Float]]]:
    """``lam`` with every direction that is absent, or below ``threshold``, raised to ``size``; and for each term that has
    such directions their left and right bases (columns)."""
    out = lam.copy()
    bases = []
    for block in engine.model.blocks:
        view = engine.block_lambda(out, block)
        if separate(block):
            absent = np.abs(np.diag(view)) <= threshold
            left = right = np.eye(block.width)[:, absent]
            values = np.abs(np.diag(view))[absent]
        else:
            u, s, vt = np.linalg.svd(view)
            absent = s <= max(threshold, ROUNDING * s[0])
            left, right, values = u[:, absent], vt[absent].T, s[absent]
        if absent.any():
            view += (left * (size - values)) @ right.T
            bases.append((block, left, right))
    return out, bases


def cone_evidence(engine: Engine, point: Point, reml: bool) -> tuple[ConeEvidence, ...]:
    """Read Gamma off the exact gradient at a point where every absent direction is raised a little."""
    probe, bases = grown(engine, point.lam, PROBE)
    found: dict[int, tuple[int, float, float, bool]] = {}
    if bases:
        _, gradient = engine.evaluate(probe, reml)
        point.evaluations += 1
        for block, left, right in bases:
            inner = left.T @ engine.block_lambda(gradient, block) @ right / (2.0 * PROBE)
            values: Float = np.sort(np.diag(inner))
            if block.family != "diagonal":
                values = np.linalg.eigvalsh(0.5 * (inner + inner.T)).astype(np.float64)
            rounding = CONE_TOLERANCE * max(1.0, float(np.abs(values).max()))
            found[block.theta.start] = (left.shape[1], float(values[0]), float(values[-1]), bool(values[0] >= -rounding))
    out = []
    for i, block in enumerate(engine.model.blocks):
        absent, low, high, fine = found.get(block.theta.start, (0, None, None, True))
        group = engine.model.factors[block.factor].group.name
        out.append(ConeEvidence(i, group, block.width, block.width - absent, low, high, fine))
    return tuple(out)
