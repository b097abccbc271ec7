"""One thread for BLAS while we compute.

A factorization's last bits depend on BLAS's number of threads, and BLAS threads under our own oversubscribe the
machine. So everything of ours that calls BLAS runs inside one guard, which counts its users and puts the caller's
numbers back when the last one leaves. threadpoolctl's own limits cannot be shared so: overlapping ones restore each
other's limit, and for OpenBLAS only one thread's calls have an effect.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Any


class SingleThreadedBlas:
    """Context manager that limits BLAS to one thread; any number of threads may be inside, each any number of times.

    Libraries that keep their number of threads per process are limited when the first user enters. MKL, and libraries
    built on OpenMP, keep it per thread and are limited when a thread enters for the first time, so worker threads
    enter too.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._before: list[int] = []
        self._libraries: tuple[list[Any], list[Any]] | None = None
        self._thread = threading.local()

    def __enter__(self) -> None:
        with self._lock:
            if self._libraries is None:
                self._libraries = _find_libraries()
            shared, per_thread = self._libraries
            if self._depth == 0:
                self._before = _limit(shared)
            self._depth += 1
        if per_thread:
            depth = getattr(self._thread, "depth", 0)
            if depth == 0:
                self._thread.before = _limit(per_thread)
            self._thread.depth = depth + 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            assert self._libraries is not None
            shared, per_thread = self._libraries
            self._depth -= 1
            if self._depth == 0:
                _restore(shared, self._before)
        if per_thread:
            self._thread.depth -= 1
            if self._thread.depth == 0:
                _restore(per_thread, self._thread.before)

    def hold_for_fork(self) -> None:
        """Keep other threads out while the process forks, so that the child does not inherit a lock nobody releases."""
        self._lock.acquire()

    def release_after_fork(self) -> None:
        """Let others in again, in the parent and in the child."""
        self._lock.release()


def _find_libraries() -> tuple[list[Any], list[Any]]:
    """Return the loaded BLAS libraries: those with one setting per process, and those with one per thread."""
    from threadpoolctl import ThreadpoolController

    import mixeff_fast.kernels._lapack  # noqa: F401  (loads the library that kernels call)

    libraries = ThreadpoolController().select(user_api="blas").lib_controllers
    per_thread = [
        library
        for library in libraries
        if library.internal_api == "mkl" or getattr(library, "threading_layer", None) == "openmp"
    ]
    return [library for library in libraries if library not in per_thread], per_thread


def _limit(libraries: list[Any]) -> list[int]:
    before = [library.get_num_threads() or 1 for library in libraries]
    for library, count in zip(libraries, before, strict=True):
        if count != 1:
            _set_threads(library, 1)
    return before


def _restore(libraries: list[Any], before: list[int]) -> None:
    for library, count in zip(libraries, before, strict=True):
        if count != 1:
            _set_threads(library, count)


def _set_threads(library: Any, count: int) -> None:
    # threadpoolctl ignores calls for OpenBLAS from any but the thread that called first; the last of our users to leave
    # may be another one than the first to enter.
    release = getattr(library, "clear_controlling_thread", None)
    if release is None:
        library.set_num_threads(count)
        return
    release(force=True)
    library.set_num_threads(count)
    release(force=True)


_GUARD = SingleThreadedBlas()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_GUARD.hold_for_fork, after_in_parent=_GUARD.release_after_fork, after_in_child=_GUARD.release_after_fork
    )


def single_threaded_blas() -> SingleThreadedBlas:
    """Return the process's guard, to be used as ``with single_threaded_blas():``.

    Examples
    --------
    >>> from threadpoolctl import threadpool_info
    >>> with single_threaded_blas():
    ...     counts = {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}
    >>> counts
    {1}
    """
    return _GUARD
