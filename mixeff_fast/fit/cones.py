"""Covariance matrices as points of cones: which directions are present, which are absent, and whether absent ones want to
grow.

A term's Lambda with orthogonal columns, longest first, has zero columns for the directions that are absent. At a
boundary the gradient in theta vanishes by symmetry. What decides is ``Gamma = d(deviance)/d(Sigma)`` of each term:
``N'Gamma N >= 0`` on the null space N of Sigma, and ``Gamma Sigma = 0``, which is the gradient on the face.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.coordinates import lower_factor, separate
from mixeff_fast.kernels.settle import NEGLIGIBLE, SMALL_DIRECTION

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import RandomBlock
    from mixeff_fast.fit.coordinates import Coordinates

    Float = NDArray[np.float64]

# relative size of a column below which it counts as absent
ABSENT = 1e-11
# perturbation of an absent direction at which Gamma is read off, relative to the noise of a level's effects
PROBE = 1e-3
# lengths of new directions to try, in the same units
GROWTH = (3.0, 1.0, 0.3, 0.1, 0.03)

# a term, the columns of its Lambda that are zero, the directions they stand for (as columns), and the length tried
Absent = tuple[int, "NDArray[np.int64]", "Float", float]


@dataclass(slots=True)
class Point:
    """A Lambda under examination, the objective (standardized units) and the evaluations spent on it so far.

    ``scored`` are gradient and model of the Hessian, as ``Engine.score`` gives them, when they are known there.
    """

    lam: Float
    objective: float
    evaluations: int
    scored: tuple[Float, Float] | None = None


@dataclass(frozen=True, slots=True)
class ConeEvidence:
    """Conditions on one term's covariance matrix: its rank, and on the directions it lacks the smallest and largest
    eigenvalue of ``N'Gamma N`` (None at full rank, and where the gradient is not finite)."""

    term: int
    group: str
    width: int
    rank: int
    null_minimum: float | None
    null_maximum: float | None
    satisfied: bool


@dataclass(frozen=True, slots=True)
class Normal:
    """``N'Gamma N`` of one term on the directions it lacks: eigenvalues, ascending, and eigenvectors as directions (columns).
    ``tolerance`` is how far below zero an eigenvalue may lie and no gain be lost that counts."""

    term: int
    values: Float
    vectors: Float
    tolerance: float


def singular_values(engine: Coordinates, lam: Float) -> tuple[Float, ...]:
    """Per term, the standard deviations of its principal directions relative to sigma, per standardized column.

    The rule on which everything that says "singular" rests: a direction is absent when its value is below a tolerance.
    """
    out: list[Float] = []
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        values = np.abs(np.diag(root)) if separate(block) else np.linalg.svd(root, compute_uv=False)
        out.append(values.astype(np.float64))
    return tuple(out)


def lower(engine: Coordinates, lam: Float) -> Float:
    """The lower triangular Lambda with non-negative diagonal of the same covariances; absent directions are zero columns."""
    out = lam.copy()
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        engine.block_lambda(out, block)[...] = np.diag(np.abs(np.diag(root))) if separate(block) else lower_factor(root)
    return out


def _unit_columns(root: Float) -> Float | None:
    """The columns scaled to unit length, if they are orthogonal, none is absent, and the longest come first."""
    norms = np.sqrt((root * root).sum(axis=0))
    if not norms[-1] > ABSENT * norms[0] or np.any(norms[1:] > norms[:-1]):
        return None
    unit = root / norms
    gram = unit.T @ unit
    gram.flat[:: len(gram) + 1] = 0.0
    return np.asarray(unit) if np.abs(gram).max() < 1e-13 else None


def orthogonal(engine: Coordinates, lam: Float) -> tuple[Float, tuple[Float, ...]]:
    """``lam`` with orthogonal columns, longest first, and every term's left singular vectors."""
    out = lam.copy()
    left = []
    for block in engine.model.blocks:
        root = engine.block_lambda(lam, block)
        basis = None if separate(block) else _unit_columns(root)
        if separate(block):
            basis, factor = np.eye(block.width), np.diag(np.abs(np.diag(root)))
        elif basis is not None:
            factor = root
        else:
            basis, values, _ = np.linalg.svd(root)
            factor = basis * np.where(values > ABSENT * values[0], values, 0.0)
        engine.block_lambda(out, block)[...] = factor
        left.append(basis)
    return out, tuple(left)


def column_norms(engine: Coordinates, lam: Float, block: RandomBlock) -> Float:
    view = engine.block_lambda(lam, block)
    return np.abs(np.diag(view)) if separate(block) else np.sqrt((view * view).sum(axis=0))


def resolution(engine: Coordinates) -> float:
    """Rounding error of the objective at the point evaluated last: cancellation may have enlarged it."""
    return engine.rounding()


def slack(engine: Coordinates) -> float:
    """A rise of the objective that is none."""
    return max(NEGLIGIBLE, resolution(engine))


def drop_small(engine: Coordinates, point: Point, reml: bool) -> None:
    """Remove nearly absent directions where that does not raise the objective: together, or else one by one."""
    small = []
    for k, block in enumerate(engine.model.blocks):
        norms = column_norms(engine, point.lam, block)
        small += [(float(norms[j]), k, j) for j in np.flatnonzero((norms > 0.0) & (norms < SMALL_DIRECTION))]
    small.sort()
    for candidates in ([small], [[place] for place in small] if len(small) > 1 else []):
        for places in candidates:
            if not places:
                return
            lam = point.lam.copy()
            for _, k, j in places:
                engine.block_lambda(lam, engine.model.blocks[k])[:, j] = 0.0
            objective = engine.criterion(lam, reml)
            point.evaluations += 1
            if objective <= point.objective + slack(engine):
                point.lam, point.objective, point.scored = lam, objective, None
                if len(places) == len(small):
                    return


def normals(engine: Coordinates, point: Point, reml: bool) -> list[Normal]:
    """Gamma = d(criterion)/d(Sigma) on the null space of every singular term, read off next to it. The columns of the
    point's Lambda become orthogonal."""
    probe, absent = beside(engine, point)
    if not absent:
        return []
    _, gradient = engine.evaluate(probe, reml)
    point.evaluations += 1
    return read_normals(engine, absent, gradient)


def beside(engine: Coordinates, point: Point) -> tuple[Float, list[Absent]]:
    """A Lambda next to the point with every absent direction at a small length, and these directions. The columns of the
    point's Lambda become orthogonal where some are absent."""
    blocks = engine.model.blocks
    if all(column_norms(engine, point.lam, block).all() for block in blocks):
        return point.lam, []
    point.lam, left = orthogonal(engine, point.lam)
    probe = point.lam.copy()
    absent = []
    for k, block in enumerate(blocks):
        gone = np.flatnonzero(column_norms(engine, point.lam, block) == 0.0)
        if len(gone):
            size = PROBE * float(engine.theta_map.noise[k])
            null = left[k][:, gone]
            engine.block_lambda(probe, block)[:, gone] = size * null
            absent.append((k, gone, null, size))
    return probe, absent


def read_normals(engine: Coordinates, absent: list[Absent], gradient: Float) -> list[Normal]:
    """Gamma on the directions absent, from the gradient beside the point."""
    out = []
    for k, gone, null, size in absent:
        block = engine.model.blocks[k]
        inner = null.T @ engine.block_lambda(gradient, block)[:, gone] / (2.0 * size)
        if not np.all(np.isfinite(inner)):
            values, vectors = np.full(len(gone), math.nan), np.eye(len(gone))
        elif separate(block):
            order = np.argsort(np.diag(inner), kind="stable")
            values, vectors = np.diag(inner)[order], np.eye(len(gone))[:, order]
        else:
            values, vectors = np.linalg.eigh(0.5 * (inner + inner.T))
        # a variance with Gamma = -t gains about t^2 / (2 d''), d'' = levels / (2 noise^4)
        levels = engine.model.factors[block.factor].n_levels
        noise = float(engine.theta_map.noise[k])
        out.append(Normal(k, values, null @ vectors, 1e-5 * math.sqrt(levels) / noise**2))
    return out


def grown(engine: Coordinates, point: Point, found: list[Normal]) -> list[Float]:
    """Lambdas where every absent direction that wants to grow has some length."""
    out = []
    for size in GROWTH:
        lam = point.lam.copy()
        wanted = False
        for normal in found:
            block = engine.model.blocks[normal.term]
            view = engine.block_lambda(lam, block)
            length = size * float(engine.theta_map.noise[normal.term])
            free = np.flatnonzero(column_norms(engine, point.lam, block) == 0.0)
            for j in np.flatnonzero(normal.values < -normal.tolerance).tolist():
                wanted = True
                at = int(np.argmax(np.abs(normal.vectors[:, j]))) if separate(block) else int(free[j])
                view[:, at] = length * normal.vectors[:, j]
        if wanted:
            out.append(lam)
    return out


def cone_evidence(engine: Coordinates, found: list[Normal], satisfied: bool) -> tuple[ConeEvidence, ...]:
    """One record per term; with ``satisfied``, no growth lowered the objective, whatever Gamma says."""
    by_term = {normal.term: normal for normal in found}
    out = []
    for k, block in enumerate(engine.model.blocks):
        group = engine.model.factors[block.factor].group.name
        normal = by_term.get(k)
        if normal is None:
            out.append(ConeEvidence(k, group, block.width, block.width, None, None, True))
            continue
        rank = block.width - len(normal.values)
        if not np.all(np.isfinite(normal.values)):
            out.append(ConeEvidence(k, group, block.width, rank, None, None, False))
            continue
        least, most = float(normal.values[0]), float(normal.values[-1])
        out.append(ConeEvidence(k, group, block.width, rank, least, most, bool(satisfied or least >= -normal.tolerance)))
    return tuple(out)
