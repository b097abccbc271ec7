"""Terms, theta map and elimination plan: what a model is before it is fitted."""

from mixeff_fast.compile.model import (
    CompiledModel,
    Layout,
    RandomBlock,
    RandomFactor,
    check_formula,
    check_response,
    check_saturation,
    compile_layout,
    compile_rows,
    lay_out,
)
from mixeff_fast.compile.plan import EliminationPlan
from mixeff_fast.compile.trunk import stored_numbers, with_border

__all__ = [
    "CompiledModel",
    "EliminationPlan",
    "Layout",
    "RandomBlock",
    "RandomFactor",
    "check_formula",
    "check_response",
    "check_saturation",
    "compile_layout",
    "compile_rows",
    "lay_out",
    "stored_numbers",
    "with_border",
]
