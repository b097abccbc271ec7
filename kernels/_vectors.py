"""Arithmetic on eight numbers at once, in the processor's vectors.

Numba does not vectorize loops of eight, which LLVM unrolls first; so these few operations are written in LLVM's own
language. A vector is eight neighbouring numbers of a contiguous array, named by the array and the place of the first. Places
are not checked. Sums are taken in order, each product added with one rounding where the processor can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

LANES = 8

_VECTOR: Any = ir.VectorType(ir.DoubleType(), LANES)
_FUSED = ("contract",)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())


def _load(builder: Any, pointer: Any) -> Any:
    return builder.load(pointer, align=8)


def _spread(builder: Any, number: Any) -> Any:
    """The number in every lane."""
    one = builder.insert_element(ir.Constant(_VECTOR, ir.Undefined), number, ir.Constant(ir.IntType(32), 0))
    lanes: Any = ir.VectorType(ir.IntType(32), LANES)
    return builder.shuffle_vector(one, ir.Constant(_VECTOR, ir.Undefined), ir.Constant(lanes, [0] * LANES))


def _sum_of_products(start: str, scalar: bool, sign: int) -> Callable[..., Any]:
    """Code of ``s[o] = start + sign * sum_k a[i + k di] b[j + k dj]``, k < count; ``b`` holds vectors, or numbers."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        s, o, a, i, di, b, j, dj, count = arguments
        kinds = signature.args
        target = _pointer(context, builder, kinds[0], s, o)
        held = cgutils.alloca_once(builder, _VECTOR)
        builder.store(_load(builder, target) if start == "own" else ir.Constant(_VECTOR, [0.0] * LANES), held)
        numbers = context.make_array(kinds[5])(context, builder, b).data
        with cgutils.for_range(builder, count) as loop:
            x = _load(builder, _pointer(context, builder, kinds[2], a, builder.add(i, builder.mul(loop.index, di))))
            place = builder.gep(numbers, [builder.add(j, builder.mul(loop.index, dj))])
            if scalar:
                y = _spread(builder, builder.load(place))
            else:
                y = _load(builder, builder.bitcast(place, _VECTOR.as_pointer()))
            product = builder.fmul(x, y, flags=_FUSED)
            join = builder.fadd if sign > 0 else builder.fsub
            builder.store(join(builder.load(held), product, flags=_FUSED), held)
        builder.store(builder.load(held), target, align=8)
        return context.get_dummy_value()

    return generate


def _ask_for_line(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array, place = arguments
    data = context.make_array(signature.args[0])(context, builder, array).data
    byte: Any = ir.IntType(8).as_pointer()
    number: Any = ir.IntType(32)
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [byte, number, number, number]), "llvm.prefetch.p0"
    )
    # to write, to be kept near, data
    facts = [ir.Constant(number, value) for value in (1, 3, 1)]
    builder.call(function, [builder.bitcast(builder.gep(data, [place]), byte), *facts])
    return context.get_dummy_value()


def _prefetch() -> Any:
    @intrinsic
    def operation(typing, a, i):  # type: ignore[no-untyped-def]
        return types.void(a, types.int64), _ask_for_line

    return operation


def _operation(start: str, scalar: bool, sign: int) -> Any:
    generate = _sum_of_products(start, scalar, sign)

    @intrinsic
    def operation(  # type: ignore[no-untyped-def]
        typing, s, o, a, i, di, b, j, dj, count
    ):
        signature = types.void(s, types.int64, a, types.int64, types.int64, b, types.int64, types.int64, types.int64)
        return signature, generate

    return operation


# f(s, o, a, i, di, b, j, dj, count) with vectors in b: s[o] = sum, s[o] += sum, s[o] -= sum
set_products = _operation("zero", False, 1)
add_products = _operation("own", False, 1)
take_products = _operation("own", False, -1)
# the first with numbers in b
set_scaled = _operation("zero", True, 1)
# f(a, i): asks for the cache line of a[i], to be written to soon
prefetch = _prefetch()
