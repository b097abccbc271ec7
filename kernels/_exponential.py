"""The exponential function, and what a logarithm lacks of its tangent, in arithmetic that LLVM turns into vectors: calls of a
library would keep loops scalar."""

from __future__ import annotations

from typing import Any

import numba.extending
from llvmlite import ir
from numba.core import types

from mixeff_fast.kernels._cache import kernel

# An intrinsic's own signature is not the one it is called with.
intrinsic: Any = numba.extending.intrinsic

_LOG2_E = 1.4426950408889634
# log 2 in two parts: the first has zeros to spare, so small multiples of it are exact
_LOG_2_HIGH, _LOG_2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
# Adding it leaves the nearest integer in the last bits.
_ROUND = 6755399441055744.0
_MANTISSA = 52


@intrinsic
def _bits(typing, x):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.int64(types.float64), generate


@intrinsic
def _number(typing, bits):  # type: ignore[no-untyped-def]
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.int64), generate


@kernel(role="small", fastmath=frozenset({"contract"}))
def exponential(x: float) -> float:
    """``exp(x)`` for ``x`` between -708 and 709, to a rounding error; anything elsewhere."""
    shifted = x * _LOG2_E + _ROUND
    n = shifted - _ROUND
    r = (x - n * _LOG_2_HIGH) - n * _LOG_2_LOW
    p = 1.0 / 3628800 + r * (1.0 / 39916800 + r * (1.0 / 479001600 + r / 6227020800.0))
    p = 1.0 / 720 + r * (1.0 / 5040 + r * (1.0 / 40320 + r * (1.0 / 362880 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6 + r * (1.0 / 24 + r * (1.0 / 120 + r * p)))))
    return _number(_bits(p) + (_bits(shifted) << _MANTISSA))  # type: ignore[no-any-return]


# the bits of the square root of 1/2: mantissas are taken from there up to that of 2
_LOWEST = 0x3FE6A09E667F3BCD


@kernel(role="small", fastmath=frozenset({"contract"}))
def excess_over_log(r: float, difference: float) -> float:
    """``r - 1 - log(r)`` of a positive normal number, to some rounding errors of its own size; ``difference`` is ``r - 1``."""
    bits = _bits(r)
    k = (bits - _LOWEST) >> _MANTISSA
    mantissa = _number(bits - (k << _MANTISSA)) - 1.0
    x = difference if k == 0 else mantissa
    s = x / (2.0 + x)
    z = s * s
    tail = 1.0 / 15 + z * (1.0 / 17 + z * (1.0 / 19 + z * (1.0 / 21 + z / 23.0)))
    tail = 1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z * (1.0 / 13 + z * tail)))))
    rest = 2.0 * s * z * tail
    n = float(k)
    far = (difference - n * _LOG_2_HIGH) - (n * _LOG_2_LOW + 2.0 * s)
    return (x * s if k == 0 else far) - rest
