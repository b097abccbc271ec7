"""Dense operations on row-major arrays against NumPy, called from Python, from kernels and from threads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.kernels import _lapack
from mixeff_fast.kernels._cache import kernel

SIZES = [1, 2, 3, 4, 5, 8, 9, 31, 63, 64, 65, 100, 200]
RNG = np.random.default_rng(20)


@pytest.fixture(autouse=True)
def one_blas_thread() -> Iterator[None]:
    with single_threaded_blas():
        yield


def spd(n: int) -> np.ndarray:
    root = RNG.normal(size=(n, n + 3))
    return root @ root.T + np.eye(n)


def embed(block: np.ndarray, extra: int = 3) -> np.ndarray:
    """The block as the leading part of a larger array whose other entries must not be touched."""
    rows, columns = block.shape
    out = np.full((rows + extra, columns + extra), np.nan)
    out[:rows, :columns] = block
    return out


def lower(matrix: np.ndarray) -> np.ndarray:
    """Only the lower triangle, so that a read of the upper one shows as NaN."""
    return np.where(np.tri(len(matrix), dtype=bool), matrix, np.nan)


def assert_leading(actual: np.ndarray, expected: np.ndarray, tolerance: float = 1e-10) -> None:
    rows, columns = expected.shape
    scale = np.nanmax(np.abs(expected))
    np.testing.assert_allclose(actual[:rows, :columns], expected, rtol=0.0, atol=tolerance * scale)
    assert np.isnan(actual[rows:]).all()
    assert np.isnan(actual[:, columns:]).all()


@pytest.mark.parametrize("n", range(1, 201))
def test_cholesky_of_every_order(n: int) -> None:
    a = spd(n)
    work = embed(lower(a))
    assert _lapack.cholesky_lower(work, n) == 0
    assert_leading(work, lower(np.linalg.cholesky(a)), 1e-13)


@pytest.mark.parametrize("n", SIZES)
def test_inverses(n: int) -> None:
    a = spd(n)
    factor = np.linalg.cholesky(a)
    work = embed(lower(factor))
    assert _lapack.inverse_lower(work, n) == 0
    assert_leading(work, lower(np.linalg.inv(factor)))
    work = embed(lower(factor))
    assert _lapack.inverse_from_cholesky(work, n) == 0
    assert_leading(work, lower(np.linalg.inv(a)))


@pytest.mark.parametrize("n", [1, 7, 64, 65, 130])
def test_a_minor_that_is_not_positive_is_named(n: int) -> None:
    for bad in {0, n // 2, n - 1}:
        for value in (-1.0, 0.0, np.nan):
            a = np.eye(n)
            a[bad, bad] = value
            assert _lapack.cholesky_lower(a, n) == bad + 1


@pytest.mark.parametrize("n", [1, 7, 64, 65, 130])
def test_a_zero_on_the_diagonal_is_named(n: int) -> None:
    for bad in {0, n // 2, n - 1}:
        factor = np.eye(n)
        factor[bad, bad] = 0.0
        assert _lapack.inverse_lower(factor.copy(), n) == bad + 1
        assert _lapack.inverse_from_cholesky(factor.copy(), n) == bad + 1


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("transposed", [False, True])
def test_triangular_solves(n: int, transposed: bool) -> None:
    factor = np.linalg.cholesky(spd(n))
    given = embed(lower(factor))
    operator = factor.T if transposed else factor
    right = RNG.normal(size=(n, 5))
    work = embed(right)
    _lapack.solve_lower(given, n, work, 5, transposed)
    assert_leading(work, np.linalg.solve(operator, right))


def test_nothing_to_do_is_allowed() -> None:
    empty = np.empty((0, 0))
    assert _lapack.cholesky_lower(empty, 0) == 0
    assert _lapack.inverse_lower(empty, 0) == 0
    assert _lapack.inverse_from_cholesky(empty, 0) == 0
    _lapack.solve_lower(empty, 0, empty, 0, False)


@kernel("int64(float64[:, ::1], int64)")
def factor_and_invert(a: np.ndarray, n: int) -> int:
    info = _cholesky(a, n)
    if info == 0:
        info = _invert(a, n)
    return info


_cholesky = _lapack.cholesky_lower
_invert = _lapack.inverse_from_cholesky


@pytest.mark.parametrize("n", [3, 120])
def test_kernels_call_kernels_from_several_threads(n: int) -> None:
    matrices = [spd(n) for _ in range(16)]
    expected = [a.copy() for a in matrices]
    with ThreadPoolExecutor(4) as pool:
        assert [factor_and_invert(a, n) for a in expected] == [0] * 16
        results = [[a.copy() for a in matrices] for _ in range(4)]
        codes = list(pool.map(lambda copies: [factor_and_invert(a, n) for a in copies], results))
    assert codes == [[0] * 16] * 4
    for copies in results:
        for actual, wanted in zip(copies, expected, strict=True):
            np.testing.assert_array_equal(np.tril(actual), np.tril(wanted))


def test_scipys_modules_can_still_be_imported() -> None:
    """Their symbols were taken without importing their package."""
    script = (
        "import sys, numba.extending, mixeff_fast.kernels._lapack as ours\n"
        "import llvmlite.binding as binding\n"
        "assert 'scipy.linalg' not in sys.modules\n"
        "import scipy.linalg.cython_blas, scipy.linalg.cython_lapack\n"
        "assert scipy.linalg.cython_blas.__pyx_capi__ and scipy.linalg.cython_lapack.__pyx_capi__\n"
        "address = numba.extending.get_cython_function_address('scipy.linalg.cython_lapack', 'dpotrf')\n"
        "assert binding.address_of_symbol('mixeff_fast_dpotrf') == address\n"
        "import scipy.linalg.blas\n"
        "assert scipy.linalg.blas.ddot([1.0, 2.0], [3.0, 4.0]) == 11.0\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parent.parent)


def test_arguments_are_converted_or_refused() -> None:
    a = spd(4)
    assert _lapack.cholesky_lower(a, np.int32(4)) == 0
    with pytest.raises(TypeError, match="No matching definition"):
        _lapack.cholesky_lower(np.eye(4, dtype=np.int64), 4)
    with pytest.raises(TypeError, match="No matching definition"):
        _lapack.cholesky_lower(np.asfortranarray(spd(4)), 4)
