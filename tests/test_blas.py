"""The guard that keeps BLAS on one thread."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import scipy.linalg.cython_blas  # noqa: F401
from threadpoolctl import threadpool_info, threadpool_limits

from mixeff_fast.fit.blas import SingleThreadedBlas, single_threaded_blas
from mixeff_fast.kernels._lapack import cholesky_lower, inverse_from_cholesky


def counts() -> set[int]:
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        if counts() != {2}:
            pytest.skip("BLAS has no second thread here")
        yield


def test_nested_uses_restore_the_callers_setting() -> None:
    with single_threaded_blas():
        assert counts() == {1}
        with single_threaded_blas():
            assert counts() == {1}
        assert counts() == {1}
    assert counts() == {2}


def test_an_error_inside_restores_too() -> None:
    with pytest.raises(ZeroDivisionError), single_threaded_blas():
        _ = 1 / 0
    assert counts() == {2}


def test_the_last_of_several_threads_restores() -> None:
    entered, first_may_leave, first_left = threading.Event(), threading.Event(), threading.Event()

    def first() -> None:
        with single_threaded_blas():
            entered.set()
            first_may_leave.wait(10)
        first_left.set()

    thread = threading.Thread(target=first)
    thread.start()
    entered.wait(10)
    with single_threaded_blas():
        first_may_leave.set()
        first_left.wait(10)
        assert counts() == {1}
    assert counts() == {2}
    thread.join()


def test_many_threads_at_once() -> None:
    def use(_: int) -> set[int]:
        seen: set[int] = set()
        for _ in range(50):
            with single_threaded_blas():
                seen |= counts()
        return seen

    with ThreadPoolExecutor(8) as pool:
        assert set().union(*pool.map(use, range(8))) == {1}
    assert counts() == {2}


def test_another_threads_limit_does_not_keep_the_guard_out() -> None:
    seen: list[set[int]] = []

    def inside() -> None:
        with single_threaded_blas():
            seen.append(counts())

    # The fixture's thread holds threadpoolctl's control over OpenBLAS.
    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [{1}]
    assert counts() == {2}


def test_the_callers_number_of_blas_threads_does_not_show() -> None:
    root = np.random.default_rng(21).normal(size=(1200, 1203))
    a = root @ root.T
    seen = []
    for threads in (1, 2, 3):
        work = a.copy()
        with threadpool_limits(threads, user_api="blas"), single_threaded_blas():
            assert cholesky_lower(work, 1200) == 0
            assert inverse_from_cholesky(work, 1200) == 0
        seen.append(np.tril(work))
    np.testing.assert_array_equal(seen[0], seen[1])
    np.testing.assert_array_equal(seen[0], seen[2])


class FakeLibrary:
    """A library whose number of threads is a setting of each thread, as MKL's is."""

    internal_api = "mkl"

    def __init__(self) -> None:
        self.local = threading.local()
        self.calls = 0

    def get_num_threads(self) -> int:
        return getattr(self.local, "count", 8)

    def set_num_threads(self, count: int) -> None:
        self.calls += 1
        self.local.count = count


def test_settings_of_each_thread_are_limited_in_each_thread() -> None:
    library = FakeLibrary()
    guard = SingleThreadedBlas()
    guard._libraries = ([], [library])

    def use() -> tuple[int, int, int]:
        before = library.get_num_threads()
        with guard, guard:
            inside = library.get_num_threads()
        return before, inside, library.get_num_threads()

    with ThreadPoolExecutor(1) as pool, guard:
        assert pool.submit(use).result() == (8, 1, 8)
        assert use() == (1, 1, 1)
    assert library.get_num_threads() == 8
    assert library.calls == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this platform")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_can_enter() -> None:
    context = multiprocessing.get_context("fork")
    with single_threaded_blas(), context.Pool(1) as pool:
        assert pool.apply(_enter) == {1}


def _enter() -> set[int]:
    with single_threaded_blas():
        return counts()
