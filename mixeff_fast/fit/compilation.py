"""Tells the user when kernels are being compiled, or cannot be kept."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Any

from mixeff_fast import kernels
from mixeff_fast.errors import KernelNotice
from mixeff_fast.kernels._cache import set_listener


def announce(event: str, payload: dict[str, Any]) -> None:
    """Print one line before the first compilation of a process; warn when compiled code cannot be kept."""
    if event == "compile":
        print("mixeff_fast: compiling its kernels; this happens once per machine and version", file=sys.stderr, flush=True)
    else:
        path = payload["path"]
        remedy = ""
        if path is not None and not Path(path).is_relative_to(Path(kernels.__file__).parent):
            remedy = f" ({path}). MIXEFF_FAST_CACHE_DIR names another folder"
        warnings.warn(
            f"compiled kernels are not kept on disk and are compiled again in every process: {payload['reason']}{remedy}",
            KernelNotice,
            stacklevel=2,
        )


def listen() -> None:
    """Hear of what the kernels report, from now on and from before."""
    set_listener(announce)
