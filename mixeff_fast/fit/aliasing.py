"""Aliased fixed-effect columns of a model that is being assembled, from its standardized rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.compile.aliasing import aliased, constant_columns, residual_products
from mixeff_fast.fit.crossproduct import chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.standardize import Standardization

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]


def aliased_columns(
    model: CompiledModel,
    standard: Standardization,
    gram: Float,
    products: Callable[[CompiledModel, Standardization, Int, Int, Float, list[Float]], Float] | None = None,
) -> list[int]:
    """Positions of the aliased columns; ``gram`` is ``X'WX`` of the standardized columns, shape (p, p).

    ``products`` takes the place of what reads the rows of the frame, where it has none.
    """

    def rows(columns: Int) -> Iterator[Float]:
        return (chunk.xy[:, :-1] for chunk in chunks(model, standard, columns))

    def residuals(sound: Int, suspects: Int, factor: Float, parts: list[Float]) -> Float:
        if products is not None:
            return products(model, standard, sound, suspects, factor, parts)
        return residual_products(rows, sound, suspects, factor, parts)

    constant = constant_columns(gram, model.frame.n, standard.x_shift, standard.x_scale, standard.intercept)
    return aliased(gram, constant, residuals)
