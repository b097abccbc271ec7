"""How kernels are compiled: Numba's passes, less those that our sources do not need, which take a third of its time.

The collector of reference cycles rests meanwhile. A compilation makes millions of objects that live as long as it does, and
looking through them again and again takes a tenth of the time of a first fit.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import llvmlite.binding
from numba.core import codegen, compiler, compiler_machinery, typed_passes, untyped_passes

# Numba's own annotations differ from version to version.
_LibraryBase: Any = codegen.JITCodeLibrary
_CompilerBase: Any = compiler.CompilerBase
_untyped: Any = untyped_passes
_typed: Any = typed_passes
_binding: Any = llvmlite.binding

# Numba's passes but for those that deal with closures, ``with``, messages of exceptions, literal lists and dictionaries, array
# expressions and overloads to be inlined: kernels use none of these.
_PASSES = (
    _untyped.TranslateByteCode,
    _untyped.FixupArgs,
    _untyped.IRProcessing,
    _untyped.RewriteSemanticConstants,
    _untyped.DeadBranchPrune,
    _untyped.GenericRewrites,
    _untyped.InlineInlinables,
    _untyped.DeadBranchPrune,
    _untyped.ReconstructSSA,
    _untyped.DeadBranchPrune,
    _typed.NopythonTypeInference,
    _typed.PreLowerStripPhis,
    _typed.IRLegalization,
    _typed.NativeLowering,
    _typed.NoPythonBackend,
)
# the module that unpacks the arguments of a call from Python
_WRAPPER = "wrapper"


class _Library(_LibraryBase):  # type: ignore[misc]
    """A kernel's code, which Numba optimizes twice: function by function, then as a whole with what is linked into it.

    Unpacking arguments gains nothing from the first. Neither does a ``quick`` kernel, nor from loops being unrolled and
    turned into vectors.
    """

    def __init__(self, owner: Any, name: str, quick: bool) -> None:
        super().__init__(owner, name)
        self._quick = quick

    def _optimize_functions(self, ll_module: Any) -> None:
        if self._quick or ll_module.name == _WRAPPER:
            ll_module.data_layout = self._codegen._data_layout
        else:
            super()._optimize_functions(ll_module)

    def _optimize_final_module(self) -> None:
        if not self._quick:
            super()._optimize_final_module()
            return
        options = _binding.create_pipeline_tuning_options(speed_level=1)
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        builder = _binding.create_pass_builder(self._codegen._tm, options)
        builder.getModulePassManager().run(self._final_module, builder)


class _Compiler(_CompilerBase):  # type: ignore[misc]
    quick = False

    def define_pipelines(self) -> list[Any]:
        state = self.state
        state.library = _Library(state.targetctx.codegen(), state.func_id.func_qualname, self.quick)
        state.library.enable_object_caching()
        manager: Any = compiler_machinery.PassManager("kernel")
        for step in _PASSES:
            manager.add_pass(step, step.__name__)
        manager.finalize()
        return [manager]


class _QuickCompiler(_Compiler):
    quick = True


def pipeline(quick: bool) -> Any:
    """The class that compiles a kernel."""
    return _QuickCompiler if quick else _Compiler


@contextmanager
def collector_at_rest() -> Iterator[None]:
    """Search for no garbage."""
    active = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if active:
            gc.enable()
