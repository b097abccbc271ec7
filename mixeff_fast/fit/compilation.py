"""Tells the user when kernels are being compiled, or cannot be kept."""

from __future__ import annotations

import sys
import warnings
from typing import Any

from mixeff_fast.errors import KernelNotice
from mixeff_fast.kernels._cache import set_listener


def announce(event: str, payload: dict[str, Any]) -> None:
    """Print one line before the first compilation of a process; warn when compiled code cannot be kept."""
    if event == "compile":
        print("mixeff_fast: compiling its kernels; this happens once per machine and version", file=sys.stderr, flush=True)
    else:
        warnings.warn(
            f"compiled kernels cannot be kept on disk ({payload['reason']}); they are compiled again in every process. "
            "Set MIXEFF_FAST_CACHE_DIR to a folder of your own",
            KernelNotice,
            stacklevel=2,
        )


def listen() -> None:
    """Hear of what the kernels report, from now on and from before."""
    set_listener(announce)
