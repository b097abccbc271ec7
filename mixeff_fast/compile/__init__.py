"""Terms, theta map and elimination plan: what a model is before it is fitted."""

from mixeff_fast.compile.model import CompiledModel, RandomBlock, RandomFactor, compile_lmm
from mixeff_fast.compile.plan import EliminationPlan

__all__ = ["CompiledModel", "EliminationPlan", "RandomBlock", "RandomFactor", "compile_lmm"]
