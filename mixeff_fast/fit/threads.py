"""The thread pool that large fits share. Kernels release the interpreter lock; tasks are fixed by the model, and which
thread does which changes no bit of a result."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def available_threads() -> int:
    """Processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(size: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, thread_name_prefix="mixeff_fast")


class Team:
    """Runs the tasks of a kernel on up to ``size`` threads, the caller's among them."""

    __slots__ = ("size",)

    def __init__(self, size: int | None) -> None:
        self.size = available_threads() if size is None else size

    def run(self, kernel: Callable[..., Any], n_tasks: int, *arguments: Any) -> None:
        """Call ``kernel(*arguments, first, step)`` so that all tasks are done when this returns, or raises."""
        step = min(self.size, n_tasks)
        if step <= 1:
            kernel(*arguments, 0, 1)
            return
        # a pool does not survive a fork
        pool = _pool(max(self.size - 1, 1), os.getpid())
        others = [pool.submit(kernel, *arguments, first, step) for first in range(1, step)]
        try:
            kernel(*arguments, 0, step)
        finally:
            # nobody may go on while arrays are written to, Ctrl-C or not
            problems = [other.exception() for other in others]
        for problem in problems:
            if problem is not None:
                raise problem
