"""BLAS and LAPACK inside kernels, through SciPy's addresses, and dense operations on row-major arrays.

Arrays are row-major with the leading dimension ``shape[1]``, so an operation may work on the leading block of a larger
array. LAPACK sees the transpose: a lower triangle here is an upper triangle there. Only lower triangles are read and
written. Every symbol is registered when this module is imported, because linking code that refers to a missing symbol
ends the process; kernels that use BLAS therefore import this module.

Scalars go to Fortran by address: ``reference`` puts one on the caller's stack, so calls share no memory.
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba.extending
import numpy as np
import scipy
from numba.core import cgutils, types

from mixeff_fast.kernels._cache import kernel

# An intrinsic's own signature is not the one it is called with.
intrinsic: Any = numba.extending.intrinsic

# Up to this order the loops below beat LAPACK: at 64, a factor takes 4.8 us against 11, an inverse 15.7 against 21.
# With vectors of 512 bits they stay ahead to about 128; shorter ones help LAPACK's blocking catch up sooner.
_SMALL = 64
# Lets sums be taken in vector lanes; infinities and NaN keep their meaning.
_LANES = frozenset({"reassoc", "contract"})

_NO = np.uint8(ord("N"))
_TRANSPOSED = np.uint8(ord("T"))
_UPPER = np.uint8(ord("U"))
_RIGHT = np.uint8(ord("R"))

_CHAR = types.CPointer(types.uint8)
_INT = types.CPointer(types.int32)
_REAL = types.CPointer(types.float64)


def _load_alone(name: str) -> bool:
    """Load an extension module of SciPy without the package around it, whose import takes 0.1 s, if it can be done."""
    full = f"scipy.linalg.{name}"
    if "scipy.linalg" in sys.modules or full in sys.modules:
        return False
    spec = PathFinder.find_spec(full, [str(Path(folder) / "linalg") for folder in scipy.__path__])
    if spec is None or spec.loader is None:
        return False
    try:
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    except ImportError:
        sys.modules.pop(full, None)
        return False
    sys.modules[full] = module
    return True


_loaded_alone = [name for name in ("cython_blas", "cython_lapack") if _load_alone(name)]


def _external(name: str, module: str, arguments: str) -> Any:
    """Register a routine of SciPy under a name of ours; ``arguments`` has a letter for each: c(har), i(nt), r(eal)."""
    full = f"scipy.linalg.{module}"
    signature = str(import_module(full).__pyx_capi__[name])
    if len(re.findall(r"\bint \*", signature)) != arguments.count("i"):
        raise ImportError(f"SciPy's {name} does not take 32-bit integers: {signature}")
    symbol = f"mixeff_fast_{name}"
    llvmlite.binding.add_symbol(symbol, numba.extending.get_cython_function_address(full, name))
    kinds = {"c": _CHAR, "i": _INT, "r": _REAL}
    return types.ExternalFunction(symbol, types.void(*(kinds[letter] for letter in arguments)))


dpotrf = _external("dpotrf", "cython_lapack", "cirii")
dpotri = _external("dpotri", "cython_lapack", "cirii")
dtrtri = _external("dtrtri", "cython_lapack", "ccirii")
dtrsm = _external("dtrsm", "cython_blas", "cccciirriri")
dgemm = _external("dgemm", "cython_blas", "cciiirririrri")
dsymm = _external("dsymm", "cython_blas", "cciirririrri")

# An import by others has to pass through the package, which then gets the module as an attribute.
for _name in _loaded_alone:
    del sys.modules[f"scipy.linalg.{_name}"]


@intrinsic
def reference(typing_context: Any, value: Any) -> Any:
    """Address of a copy of a scalar on the caller's stack, valid until the caller returns."""
    plain = types.unliteral(value)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.alloca_once_value(builder, arguments[0])

    return types.CPointer(plain)(plain), generate


@intrinsic
def int_reference(typing_context: Any, value: Any) -> Any:
    """``reference`` to an integer as the 32 bits that Fortran reads."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return cgutils.alloca_once_value(builder, context.cast(builder, arguments[0], types.int64, types.int32))

    return _INT(types.int64), generate


@intrinsic
def leading_dimension(typing_context: Any, array: Any) -> Any:
    """``reference`` to the leading dimension of a row-major matrix, at least 1 as Fortran demands."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        shape = context.make_array(signature.args[0])(context, builder, arguments[0]).shape
        columns = context.cast(builder, builder.extract_value(shape, 1), types.intp, types.int32)
        one = context.get_constant(types.int32, 1)
        return cgutils.alloca_once_value(builder, builder.select(builder.icmp_signed("<", columns, one), one, columns))

    return _INT(array), generate


@intrinsic
def dereference(typing_context: Any, pointer: Any) -> Any:
    """Scalar at an address."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(arguments[0])

    return pointer.dtype(pointer), generate


@intrinsic
def address(typing_context: Any, array: Any, offset: Any) -> Any:
    """Address of an array's element, counted in memory order. The caller keeps the array alive while it is used."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.gep(data, [arguments[1]])

    return types.CPointer(array.dtype)(array, types.intp), generate


@kernel("int64(float64[:, ::1], int64)", fastmath=_LANES)
def cholesky_lower(a: Any, n: int) -> int:
    """Factor the leading ``n`` by ``n`` block in place, A = L L'.

    Returns 0, or the order of the first leading minor that is not positive; then the factor is incomplete.
    """
    if n > _SMALL:
        info = int_reference(0)
        dpotrf(reference(_UPPER), int_reference(n), address(a, 0), leading_dimension(a), info)
        code: int = dereference(info)
        # OpenBLAS takes NaN for a pivot and says nothing.
        for i in range(n if code == 0 else 0):
            if np.isnan(a[i, i]):
                return i + 1
        return code
    for j in range(n):
        s0 = 0.0
        for k in range(j):
            s0 += a[j, k] * a[j, k]
        pivot = a[j, j] - s0
        if not pivot > 0.0:
            a[j, j] = pivot
            return j + 1
        pivot = np.sqrt(pivot)
        a[j, j] = pivot
        i = j + 1
        while i + 3 < n:
            s0, s1, s2, s3 = 0.0, 0.0, 0.0, 0.0
            for k in range(j):
                t = a[j, k]
                s0 += a[i, k] * t
                s1 += a[i + 1, k] * t
                s2 += a[i + 2, k] * t
                s3 += a[i + 3, k] * t
            a[i, j] = (a[i, j] - s0) / pivot
            a[i + 1, j] = (a[i + 1, j] - s1) / pivot
            a[i + 2, j] = (a[i + 2, j] - s2) / pivot
            a[i + 3, j] = (a[i + 3, j] - s3) / pivot
            i += 4
        while i < n:
            s0 = 0.0
            for k in range(j):
                s0 += a[i, k] * a[j, k]
            a[i, j] = (a[i, j] - s0) / pivot
            i += 1
    return 0


@kernel("int64(float64[:, ::1], int64)", fastmath=_LANES)
def inverse_lower(low: Any, n: int) -> int:
    """Invert a lower triangle in place; returns 0, or the position (from 1) of a zero on its diagonal."""
    if n > _SMALL:
        info = int_reference(0)
        dtrtri(reference(_UPPER), reference(_NO), int_reference(n), address(low, 0), leading_dimension(low), info)
        code: int = dereference(info)
        return code
    for i in range(n):
        if low[i, i] == 0.0:
            return i + 1
    for i in range(n):
        scale = 1.0 / low[i, i]
        # Row i turns from L's into the inverse's: at step k its entries from k on are still L's.
        for k in range(i):
            t = low[i, k]
            for j in range(k):
                low[i, j] += t * low[k, j]
            low[i, k] = t * low[k, k]
        for j in range(i):
            low[i, j] *= -scale
        low[i, i] = scale
    return 0


@kernel("int64(float64[:, ::1], int64)", fastmath=_LANES)
def inverse_from_cholesky(low: Any, n: int) -> int:
    """Replace the factor L by the lower triangle of the inverse of L L'; returns what ``inverse_lower`` does."""
    if n > _SMALL:
        info = int_reference(0)
        dpotri(reference(_UPPER), int_reference(n), address(low, 0), leading_dimension(low), info)
        code: int = dereference(info)
        return code
    singular = inverse_lower(low, n)
    if singular != 0:
        return singular
    for i in range(n):
        pivot = low[i, i]
        for j in range(i + 1):
            low[i, j] *= pivot
        k = i + 1
        while k + 3 < n:
            t0, t1, t2, t3 = low[k, i], low[k + 1, i], low[k + 2, i], low[k + 3, i]
            for j in range(i + 1):
                low[i, j] += t0 * low[k, j] + t1 * low[k + 1, j] + t2 * low[k + 2, j] + t3 * low[k + 3, j]
            k += 4
        while k < n:
            t0 = low[k, i]
            for j in range(i + 1):
                low[i, j] += t0 * low[k, j]
            k += 1
    return 0


@kernel("void(float64[:, ::1], int64, float64[:, ::1], int64, boolean)")
def solve_lower(low: Any, n: int, b: Any, m: int, transposed: bool) -> None:
    """Solve L X = B, or L' X = B, in place, B being ``n`` by ``m``."""
    if n > 0 and m > 0:
        operation = _TRANSPOSED if transposed else _NO
        dtrsm(
            reference(_RIGHT), reference(_UPPER), reference(operation), reference(_NO),
            int_reference(m), int_reference(n), reference(1.0),
            address(low, 0), leading_dimension(low), address(b, 0), leading_dimension(b),
        )
