"""Dense operations inside flat arrays: a matrix is row-major from an offset on, with a leading dimension of its own.

As in ``_lapack``: LAPACK sees the transpose, and of triangular matrices only the lower triangle is read and written.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixeff_fast.kernels._cache import kernel
from mixeff_fast.kernels._lapack import (
    address,
    dereference,
    dgemm,
    dpotrf,
    dpotri,
    dsymm,
    dtrsm,
    int_reference,
    reference,
)

# Calls to BLAS cost as much as the loops below on about so many multiplications, or columns of a triangle.
_FEW = 1500
_NARROW = 16
# Lets sums be taken in vector lanes; infinities and NaN keep their meaning.
_LANES = frozenset({"reassoc", "contract"})

_NO = np.uint8(ord("N"))
_TRANSPOSED = np.uint8(ord("T"))
_UPPER = np.uint8(ord("U"))
_LEFT = np.uint8(ord("L"))
_RIGHT = np.uint8(ord("R"))

_AT = "float64[::1], int64, int64"


@kernel(f"void(boolean, boolean, int64, int64, int64, float64, {_AT}, {_AT}, float64, {_AT})", fastmath=_LANES)
def multiply_at(
    left: bool, right: bool, m: int, n: int, k: int, alpha: float, a: Any, a0: int, lda: int, b: Any, b0: int, ldb: int,
    beta: float, c: Any, c0: int, ldc: int
) -> None:
    """Set C, ``m`` by ``n``, to alpha A B + beta C, A being ``m`` by ``k``; ``left``, ``right``: A, B are stored transposed."""
    if m <= 0 or n <= 0:
        return
    if m * n * k > _FEW:
        dgemm(
            reference(_TRANSPOSED if right else _NO), reference(_TRANSPOSED if left else _NO), int_reference(n),
            int_reference(m), int_reference(k), reference(alpha), address(b, b0), int_reference(ldb), address(a, a0),
            int_reference(lda), reference(beta), address(c, c0), int_reference(ldc),
        )
        return
    for i in range(m):
        if right:
            for j in range(n):
                s = 0.0
                for t in range(k):
                    s += (a[a0 + t * lda + i] if left else a[a0 + i * lda + t]) * b[b0 + j * ldb + t]
                c[c0 + i * ldc + j] = alpha * s + (beta * c[c0 + i * ldc + j] if beta != 0.0 else 0.0)
        else:
            for j in range(n):
                c[c0 + i * ldc + j] = beta * c[c0 + i * ldc + j] if beta != 0.0 else 0.0
            for t in range(k):
                f = alpha * (a[a0 + t * lda + i] if left else a[a0 + i * lda + t])
                for j in range(n):
                    c[c0 + i * ldc + j] += f * b[b0 + t * ldb + j]


@kernel(f"int64({_AT}, int64)", fastmath=_LANES)
def cholesky_at(a: Any, a0: int, lda: int, n: int) -> int:
    """Factor a block of order ``n`` in place, A = L L'; returns what ``cholesky_lower`` does."""
    if n > _NARROW:
        info = int_reference(0)
        dpotrf(reference(_UPPER), int_reference(n), address(a, a0), int_reference(lda), info)
        code: int = dereference(info)
        for i in range(n if code == 0 else 0):
            if np.isnan(a[a0 + i * lda + i]):
                return i + 1
        return code
    for i in range(n):
        ri = a0 + i * lda
        for j in range(i + 1):
            rj = a0 + j * lda
            s = a[ri + j]
            for k in range(j):
                s -= a[ri + k] * a[rj + k]
            if j < i:
                a[ri + j] = s / a[rj + j]
            elif s > 0.0:
                a[ri + i] = np.sqrt(s)
            else:
                return i + 1
    return 0


@kernel(f"int64({_AT}, int64)", fastmath=_LANES)
def inverse_at(a: Any, a0: int, lda: int, n: int) -> int:
    """Replace the factor L by the lower triangle of the inverse of L L'; returns what ``inverse_lower`` does."""
    if n > _NARROW:
        info = int_reference(0)
        dpotri(reference(_UPPER), int_reference(n), address(a, a0), int_reference(lda), info)
        code: int = dereference(info)
        return code
    for i in range(n):
        ri = a0 + i * lda
        if a[ri + i] == 0.0:
            return i + 1
        scale = 1.0 / a[ri + i]
        for k in range(i):
            rk = a0 + k * lda
            t = a[ri + k]
            for j in range(k):
                a[ri + j] += t * a[rk + j]
            a[ri + k] = t * a[rk + k]
        for j in range(i):
            a[ri + j] *= -scale
        a[ri + i] = scale
    for i in range(n):
        ri = a0 + i * lda
        pivot = a[ri + i]
        for j in range(i + 1):
            a[ri + j] *= pivot
        for k in range(i + 1, n):
            rk = a0 + k * lda
            t = a[rk + i]
            for j in range(i + 1):
                a[ri + j] += t * a[rk + j]
    return 0


@kernel(f"void({_AT}, int64, {_AT}, int64, boolean)", fastmath=_LANES)
def solve_rows_at(
    low: Any, low0: int, ldl: int, n: int, b: Any, b0: int, ldb: int, m: int, transposed: bool
) -> None:
    """Solve X L = B, or X L' = B, in place, B being ``m`` by ``n``."""
    if n > _NARROW:
        if m > 0:
            dtrsm(
                reference(_LEFT), reference(_UPPER), reference(_TRANSPOSED if transposed else _NO), reference(_NO),
                int_reference(n), int_reference(m), reference(1.0), address(low, low0), int_reference(ldl),
                address(b, b0), int_reference(ldb),
            )
        return
    for i in range(m):
        r = b0 + i * ldb
        if transposed:
            for j in range(n):
                s = b[r + j]
                for k in range(j):
                    s -= b[r + k] * low[low0 + j * ldl + k]
                b[r + j] = s / low[low0 + j * ldl + j]
        else:
            for j in range(n - 1, -1, -1):
                s = b[r + j] / low[low0 + j * ldl + j]
                b[r + j] = s
                for k in range(j):
                    b[r + k] -= s * low[low0 + j * ldl + k]


@kernel(f"void({_AT}, int64, {_AT}, int64)", fastmath=_LANES)
def solve_columns_at(low: Any, low0: int, ldl: int, n: int, b: Any, b0: int, ldb: int, m: int) -> None:
    """Solve L X = B in place, B being ``n`` by ``m``."""
    if n * n * m > _FEW:
        dtrsm(
            reference(_RIGHT), reference(_UPPER), reference(_NO), reference(_NO), int_reference(m), int_reference(n),
            reference(1.0), address(low, low0), int_reference(ldl), address(b, b0), int_reference(ldb),
        )
        return
    for i in range(n):
        r = b0 + i * ldb
        for k in range(i):
            f = low[low0 + i * ldl + k]
            for j in range(m):
                b[r + j] -= f * b[b0 + k * ldb + j]
        f = 1.0 / low[low0 + i * ldl + i]
        for j in range(m):
            b[r + j] *= f


@kernel(f"void(int64, int64, float64, {_AT}, {_AT}, float64, {_AT})")
def multiply_symmetric_at(
    m: int, n: int, alpha: float, a: Any, a0: int, lda: int, s: Any, s0: int, lds: int, beta: float, c: Any, c0: int, ldc: int
) -> None:
    """Set C, ``m`` by ``n``, to alpha A S + beta C; of the symmetric S the lower triangle is read."""
    if m > 0 and n > 0:
        dsymm(
            reference(_LEFT), reference(_UPPER), int_reference(n), int_reference(m), reference(alpha), address(s, s0),
            int_reference(lds), address(a, a0), int_reference(lda), reference(beta), address(c, c0), int_reference(ldc),
        )
