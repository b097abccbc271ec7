"""The model's matrices in the user's units, for ``model_matrix`` and ``get_me``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.coordinates import lower_product

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.coordinates import Coordinates

    Float = NDArray[np.float64]


def fixed_matrix(model: CompiledModel) -> Float:
    """X, shape (n, p), aliased columns included."""
    out = np.empty((model.frame.n, len(model.fixed.names)))
    model.fixed.fill(model.frame.variables, slice(0, model.frame.n), out)
    return out


def random_matrix(model: CompiledModel) -> csc_matrix:
    """Z, shape (n, q), columns by term (theta order), then level, then effect."""
    from scipy.sparse import csr_matrix

    frame = model.frame
    n = frame.n
    total = sum(block.width for block in model.blocks)
    values = np.empty((n, total))
    indices = np.empty((n, total), np.int64)
    first = at = 0
    for block in model.blocks:
        z = np.empty((n, block.width))
        block.design.fill(frame.variables, slice(0, n), z)
        codes = model.factors[block.factor].group.codes.astype(np.int64)
        columns = slice(at, at + block.width)
        values[:, columns] = z
        indices[:, columns] = first + codes[:, None] * block.width + np.arange(block.width)
        first += model.factors[block.factor].n_levels * block.width
        at += block.width
    pointers = np.arange(0, n * total + 1, total)
    matrix = csr_matrix((values.ravel(), indices.ravel(), pointers), shape=(n, first))
    matrix.eliminate_zeros()
    return matrix.tocsc()


def relative_factor(model: CompiledModel, theta: Float) -> csc_matrix:
    """Lambda, shape (q, q), in the column order of Z."""
    from scipy.sparse import block_diag, identity, kron

    parts = []
    for block in model.blocks:
        lower = np.zeros((block.width, block.width))
        lower[block.rows, block.columns] = theta[block.theta]
        parts.append(kron(identity(model.factors[block.factor].n_levels), lower))
    return block_diag(parts, format="csc")


def random_effects_vector(model: CompiledModel, effects: tuple[Float, ...]) -> Float:
    """b in the column order of Z, shape (q,)."""
    return np.concatenate(
        [effects[block.factor][:, block.first : block.first + block.width].ravel() for block in model.blocks]
    )


def spherical_vector(engine: Coordinates, lam: Float, spherical: tuple[Float, ...]) -> Float:
    """u with ``b = Lambda u`` for the user's Lambda, in the column order of Z, shape (q,)."""
    parts = []
    for block in engine.model.blocks:
        own = slice(block.first, block.first + block.width)
        u = spherical[block.factor][:, own]
        if block.family == "full":
            _, basis = lower_product(engine.effect_map(block), engine.block_lambda(lam, block))
            u = u @ basis.T
        parts.append(u.ravel())
    return np.concatenate(parts)
