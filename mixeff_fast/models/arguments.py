"""Checks of simple arguments, so that every public function refuses a wrong type in the same words."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mixeff_fast.errors import ArgumentError


def flag(name: str, value: Any) -> bool:
    """``value`` as a bool, or an ArgumentError: strings and numbers are no flags, whatever their truth."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    raise ArgumentError(f"{name} is True or False, not {value!r}", argument=name)


def number(name: str, value: Any, *, least: float = -math.inf, most: float = math.inf) -> float:
    """``value`` as a float from ``least`` to ``most``, or an ArgumentError."""
    if not isinstance(value, bool) and isinstance(value, int | float | np.integer | np.floating) and least <= value <= most:
        return float(value)
    limit = "" if least == -math.inf else f" of at least {least:g}" if most == math.inf else f" between {least:g} and {most:g}"
    raise ArgumentError(f"{name} is a number{limit}, not {value!r}", argument=name)
