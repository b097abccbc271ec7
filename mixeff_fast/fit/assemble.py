"""From a compiled model to its cross-product: assembled once, and again without the aliased columns where there are any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import FitError
from mixeff_fast.fit.aliasing import aliased_columns
from mixeff_fast.fit.crossproduct import accumulate, kernel_plan

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.standardize import Standardization
    from mixeff_fast.kernels.structure import CrossProduct, Plan


@dataclass(frozen=True, slots=True)
class Assembled:
    """The cross-product with what it takes to read it: ``kept`` are the fixed-effect columns that entered."""

    arrays: Plan
    cross: CrossProduct
    standard: Standardization
    kept: NDArray[np.int64]
    aliased: tuple[int, ...]
    lam_size: int


def assemble(model: CompiledModel, standard: Standardization) -> Assembled:
    """Assemble, leaving aliased fixed-effect columns out.

    Raises
    ------
    FitError
        When the fixed effects alone span the rows (``rank_saturated_fixed_effects``).
    """
    p = len(model.fixed.names)
    kept = np.arange(p, dtype=np.int64)
    arrays, lam_size = kernel_plan(model.plan, p)
    cross = accumulate(model, standard, kept, arrays)
    aliased = aliased_columns(model, standard, cross.border[:p, :p])
    if aliased:
        kept = np.array([j for j in range(p) if j not in aliased], np.int64)
        arrays, lam_size = kernel_plan(model.plan, len(kept))
        cross = accumulate(model, standard, kept, arrays)
    if len(kept) >= model.frame.n:
        raise FitError(
            f"the fixed effects have rank {len(kept)} for {model.frame.n} rows: they fit the response exactly and leave "
            "no residual variance. Use fewer fixed-effect columns",
            reason_code="rank_saturated_fixed_effects",
            rank=len(kept),
            nobs=model.frame.n,
        )
    return Assembled(arrays, cross, standard, kept, tuple(aliased), lam_size)
