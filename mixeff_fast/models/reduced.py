"""The intent ``confirmatory_design_compiled``: a model made as small as its design supports, before any fit."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mixeff_fast.compile import check_formula, compile_rows, lay_out
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.models.spec import Call, ModelSpec

if TYPE_CHECKING:
    from mixeff_fast.compile import Layout
    from mixeff_fast.formula import ModelFormula
    from mixeff_fast.frame import ModelFrame
    from mixeff_fast.schemas.policy import Reduction


def supported(call: Call, requested: Layout) -> tuple[ModelFormula, tuple[Reduction, ...]]:
    """The formula that the design supports, and what was changed to get there.

    Where the rows are not in memory nothing is changed: terms are refused for their number of levels, or cannot be assessed.

    Raises
    ------
    NotIdentifiable
        ``design_refusal``: a term of which nothing is supported.
    """
    from mixeff_fast.compile.design import design_audit
    from mixeff_fast.compile.design_columns import examined_columns
    from mixeff_fast.compile.policy import design_reductions, recommendations
    from mixeff_fast.compile.semantic import semantic_model
    from mixeff_fast.schemas.policy import Thresholds

    thresholds = Thresholds()
    semantic = semantic_model(requested, call.roles)
    columns = examined_columns(call.data, requested.frame, call.audit_columns)
    with single_threaded_blas():
        audit, _ = design_audit(requested, columns, call.roles, thresholds)
    return design_reductions(requested, semantic, audit, recommendations(semantic, audit, thresholds))


def compile_supported(call: Call, frame: ModelFrame) -> ModelSpec:
    """Compile what the design supports of a model whose rows are in memory.

    Raises
    ------
    NotIdentifiable
        ``design_refusal``, or as ``compile_rows``.
    """
    check_formula(frame.formula, frame.family)
    requested = lay_out(frame)
    formula, reductions = supported(call, requested)
    if not reductions:
        return ModelSpec(call, compile_rows(frame))
    smaller = replace(frame, formula=formula, scheme=replace(frame.scheme, formula=formula))
    return ModelSpec(call, compile_rows(smaller), requested=requested, reductions=reductions)
