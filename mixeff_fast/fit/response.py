"""The part of a cross-product that belongs to the response, for a design that is already assembled."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.scales import SAMPLE_ROWS
from mixeff_fast.fit.crossproduct import chunks
from mixeff_fast.kernels import response
from mixeff_fast.kernels.structure import CrossProduct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.assemble import Assembled

    Float = NDArray[np.float64]

# bytes of standardized rows that are kept from one response to the next; more are made anew from the frame each time
ROW_MEMORY = 256 * 2**20


@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """Everything of a model that its response does not enter.

    Attributes
    ----------
    model
        The compiled model, with some response in its frame.
    assembled
        Its cross-product, with the column of that response.
    rows
        The standardized rows, in chunks; None when they would take more than ``ROW_MEMORY``.
    """

    model: CompiledModel
    assembled: Assembled
    rows: tuple[response.Rows, ...] | None

    @property
    def is_one_chunk(self) -> bool:
        """Whether a kernel can be handed all rows at once."""
        return self.rows is not None and len(self.rows) == 1

    def chunks(self) -> Iterator[response.Rows]:
        """The standardized rows, in order."""
        return iter(self.rows) if self.rows is not None else _rows(self.model, self.assembled)


def keep_design(model: CompiledModel, assembled: Assembled) -> Design:
    """Keep the rows of an assembled model, if they are few enough."""
    per_row = 8 * (len(assembled.kept) + sum(factor.width for factor in model.factors) + 1) + 4 * len(model.factors)
    kept = tuple(_rows(model, assembled)) if per_row * model.frame.n <= ROW_MEMORY else None
    return Design(model, assembled, kept)


def _rows(model: CompiledModel, assembled: Assembled) -> Iterator[response.Rows]:
    standard, weights = assembled.standard, model.frame.weights
    first = np.concatenate(([0], np.cumsum([factor.width for factor in model.factors]))).astype(np.int64)
    start = 0
    for chunk in chunks(model, standard, assembled.kept):
        n = len(chunk.xy)
        block = np.empty((n, len(model.factors)), np.int32)
        for k, codes in enumerate(chunk.codes):
            block[:, k] = model.plan.level_block[k][codes]
        root = np.zeros(0) if weights is None else np.sqrt(weights[start : start + n]) / standard.root_weight
        yield response.Rows(np.ascontiguousarray(chunk.xy[:, :-1]), np.hstack(chunk.z), first, block, root)
        start += n


def less_offset(model: CompiledModel, y: Float) -> Float:
    """What the effects have to explain of one response, or of each row of several."""
    offset = model.frame.offset
    return np.array(y, np.float64, order="C") if offset is None else y - offset


def sample_step(n: int) -> int:
    """Every how many rows the spread of a response is looked at."""
    return max(1, -(-n // SAMPLE_ROWS))


def load_response(design: Design, y: Float, cross: CrossProduct) -> tuple[float, float]:
    """Put a response (less its offset) into a cross-product; returns its shift and scale."""
    arrays = design.assembled.arrays
    centred = design.assembled.standard.intercept >= 0
    shift, scale = response.response_scale(y, sample_step(len(y)), centred)
    response.clear_response(arrays, cross)
    sums = np.zeros((2, arrays.border))
    start = 0
    for rows in design.chunks():
        response.add_response(rows, y, start, shift, scale, arrays, cross, sums)
        start += len(rows.x)
    return shift, scale


def own_cross(design: Design) -> CrossProduct:
    """A cross-product whose response may be overwritten; the rest is shared."""
    cross = design.assembled.cross
    return CrossProduct(cross.diag, cross.panel.copy(), cross.border.copy())


def assemble_response(design: Design, y: Float) -> Assembled:
    """What assembling the model with the response ``y`` gives."""
    cross = own_cross(design)
    shift, scale = load_response(design, less_offset(design.model, y), cross)
    standard = replace(design.assembled.standard, y_shift=shift, y_scale=scale)
    return replace(design.assembled, cross=cross, standard=standard)
