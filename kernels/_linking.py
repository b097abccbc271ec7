"""Kernels that are linked once: callers refer to their code by name instead of containing a copy of it.

Numba links everything a function calls into it and optimizes it all again, so that a driver's compilation takes as long as
that of all kernels below it. Code that is its own can be found by its symbol, as LAPACK's is.
"""

from __future__ import annotations

import sys
from typing import Any

import llvmlite.binding

# where the code of a symbol comes from: module, name and argument types of its kernel
Origin = tuple[str, str, Any]
_ORIGINS: dict[str, Origin] = {}


def detach(function: Any, arguments: Any, result: Any) -> None:
    """Let other kernels find a compiled function by its symbol from now on, without a copy."""
    library, symbol = result.library, result.fndesc.llvm_func_name
    address = library.get_pointer_to_function(symbol)
    if symbol in _ORIGINS or not address:
        return
    llvmlite.binding.add_symbol(symbol, address)
    empty = library.codegen._create_empty_module(f"{symbol}.detached")
    library._shared_module = llvmlite.binding.parse_assembly(str(empty))
    _ORIGINS[symbol] = (function.__module__, function.__qualname__, arguments)


def origins(symbols: tuple[str, ...]) -> tuple[Origin, ...]:
    """Where those of the symbols come from that are detached kernels'."""
    return tuple(_ORIGINS[symbol] for symbol in symbols if symbol in _ORIGINS)


def attach(needed: tuple[Origin, ...]) -> None:
    """Load or compile the kernels that code about to be loaded refers to."""
    for module, name, arguments in needed:
        kernel = getattr(sys.modules.get(module), name, None)
        if kernel is not None:
            kernel.provide(arguments)
