"""From a compiled model to its cross-product: assembled once, and again without the aliased columns and with nearly collinear
ones orthogonalized, where there are any."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.aliasing import shares
from mixeff_fast.errors import FitError
from mixeff_fast.fit.aliasing import aliased_columns
from mixeff_fast.fit.crossproduct import accumulate, factor_blocks, kernel_plan

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.standardize import Standardization
    from mixeff_fast.fit.threads import Team
    from mixeff_fast.kernels.structure import CrossProduct, Plan

    Float = NDArray[np.float64]

# a column of which its predecessors leave a smaller share (of its squared norm) calls for orthogonal columns
COLLINEAR = 1e-6


@dataclass(frozen=True, slots=True)
class Assembled:
    """The cross-product with what it takes to read it: ``kept`` are the fixed-effect columns that entered."""

    arrays: Plan
    cross: CrossProduct
    standard: Standardization
    kept: NDArray[np.int64]
    aliased: tuple[int, ...]
    lam_size: int


def _are_apart(gram: Float) -> bool:
    if len(gram) == 2:
        (a, b), (_, c) = gram.tolist()
        return bool(a * c - b * b > COLLINEAR * a * c)
    return bool(np.all(shares(gram) > COLLINEAR))


def orthogonalizer(gram: Float, n: int) -> Float | None:
    """Upper triangular B that makes columns of this cross-product orthogonal, of unit mean square over n rows; None where
    they are far from collinear. Rounding only costs orthogonality."""
    if len(gram) < 2 or _are_apart(gram):
        return None
    own = np.diag(gram)
    if not np.all(own > 0.0):
        return None
    unit = 1.0 / np.sqrt(own)
    correlation = gram * unit * unit[:, None]
    for ridge in (0.0, 1e-14, 1e-12):
        try:
            lower = np.linalg.cholesky(correlation + ridge * np.eye(len(gram)))
        except np.linalg.LinAlgError:
            continue
        return np.asarray(np.sqrt(n) * unit[:, None] * np.linalg.inv(lower).T)
    return None


def _effect_bases(model: CompiledModel, cross: CrossProduct) -> tuple[Float | None, ...]:
    """Per factor, bases for its unstructured terms; their covariances may have any."""
    out: list[Float | None] = []
    for k, factor in enumerate(model.factors):
        basis = None
        for i in factor.blocks:
            block = model.blocks[i]
            if block.family != "full":
                continue
            gram = factor_blocks(model.plan, cross.diag, k).sum(axis=0)
            own = slice(block.first, block.first + block.width)
            found = orthogonalizer(gram[own, own], model.frame.n)
            if found is not None:
                basis = np.eye(factor.width) if basis is None else basis
                basis[own, own] = found
        out.append(basis)
    return tuple(out)


def assemble(
    model: CompiledModel,
    standard: Standardization,
    team: Team,
    accumulate: Callable[[CompiledModel, Standardization, NDArray[np.int64], Plan, Team], CrossProduct] = accumulate,
    find_aliased: Callable[[CompiledModel, Standardization, Float], list[int]] = aliased_columns,
) -> Assembled:
    """Assemble, leaving aliased fixed-effect columns out.

    ``accumulate`` and ``find_aliased`` take the place of what sums the rows of the frame, where it has none.

    Raises
    ------
    FitError
        When the fixed effects alone span the rows (``rank_saturated_fixed_effects``).
    """
    n, p = model.frame.n, len(model.fixed.names)
    kept = np.arange(p, dtype=np.int64)
    arrays, lam_size = kernel_plan(model.plan, p)
    cross = accumulate(model, standard, kept, arrays, team)
    gram = cross.border[:p, :p]
    aliased = find_aliased(model, standard, gram)
    if aliased:
        kept = np.array([j for j in range(p) if j not in aliased], np.int64)
        arrays, lam_size = kernel_plan(model.plan, len(kept))
    if len(kept) >= n:
        raise FitError(
            f"the fixed effects have rank {len(kept)} for {n} rows: they fit the response exactly and leave "
            "no residual variance. Use fewer fixed-effect columns",
            reason_code="rank_saturated_fixed_effects",
            rank=len(kept),
            nobs=n,
        )
    own = gram[np.ix_(kept, kept)] if aliased else gram
    x_basis, z_basis = orthogonalizer(own, n), _effect_bases(model, cross)
    if x_basis is not None or any(basis is not None for basis in z_basis):
        standard = replace(standard, x_basis=x_basis, z_basis=z_basis)
    elif not aliased:
        return Assembled(arrays, cross, standard, kept, (), lam_size)
    cross = accumulate(model, standard, kept, arrays, team)
    return Assembled(arrays, cross, standard, kept, tuple(aliased), lam_size)
