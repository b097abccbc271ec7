"""Checks of simple arguments, so that every public function refuses a wrong type in the same words."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from mixeff_fast.errors import ArgumentError
from mixeff_fast.vocabulary import among

# largest number of replicates
MOST = 2**31 - 1


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


def file(value: Any) -> Path:
    """``value`` as a path, or an ArgumentError."""
    try:
        return Path(value)
    except TypeError as problem:
        raise ArgumentError(f"path is a string or a pathlib.Path, not {value!r}", argument="path") from problem


def simulation_key(nsim: Any, seed: Any, re_form: Any) -> int:
    """The seed of a simulation, drawn where none is given.

    Raises
    ------
    ArgumentError
        ``nsim`` that is no positive whole number, ``re_form`` other than None and ``"population"``, a seed that is none.
    """
    if isinstance(nsim, bool) or not isinstance(nsim, int) or not 1 <= nsim <= MOST:
        raise ArgumentError(f"nsim is a positive whole number of at most {MOST}, not {nsim!r}", argument="nsim")
    if re_form is not None and not among(re_form, ("population",)):
        raise ArgumentError(f're_form is None or "population", not {re_form!r}', argument="re_form")
    if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
        raise ArgumentError(f"seed is None or a whole number that is not negative, not {seed!r}", argument="seed")
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
