"""Functions that learn from the data: polynomials, splines, centring and scaling.

Each records what it learned, as plain numbers and lists, and applies it to new data. All but ``ns`` are formulaic's,
called directly; formulaic is imported on first use because its import takes most of a second.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from mixeff_fast.errors import DataError
from mixeff_fast.frame.columns import Floats

Memory: TypeAlias = dict[str, Any]


def learn_or_apply(
    function: str, key: str, memory: Memory, arguments: list[Any], keywords: dict[str, Any]
) -> Floats:
    """Call one of the functions in `LEARNING`.

    Parameters
    ----------
    function
        Its name in formulas.
    key
        The variable the call is part of, for messages.
    memory
        What it learned before; filled if empty.
    arguments, keywords
        The arguments of the call. The first is the data, shape (n,).

    Returns
    -------
    numpy.ndarray
        Shape (n,), or (n, m) for a basis.

    Raises
    ------
    TypeError
        If the arguments do not fit the function.
    ValueError
        If their values make no sense.
    DataError
        If there are too few different values for the basis.
    """
    call = LEARNING[function]
    signature = inspect.signature(call)
    usage = ", ".join(name.replace("_", ".") for name in list(signature.parameters)[2:])
    try:
        bound = signature.bind(key, memory, *arguments, **keywords)
    except TypeError as problem:
        raise TypeError(f"{problem}; use {function}({usage})") from problem
    return call(*bound.args, **bound.kwargs)


def _poly(key: str, memory: Memory, x: Floats, degree: int = 1, raw: bool = False) -> Floats:
    from formulaic.transforms import poly

    if not isinstance(degree, int) or degree < 1:
        raise ValueError("the degree must be a whole number from 1 on")
    if raw:
        return np.asarray(poly(x, degree, raw=True), dtype=np.float64)
    if memory:
        state = {name: dict(enumerate(memory[name])) for name in ("alpha", "norms2")}
        return np.asarray(poly(x, degree, _state=state), dtype=np.float64)
    # Most data show enough different values at once; sorting all of them is the expensive way to be sure.
    n_different = len(np.unique(x[:10_000]))
    if n_different <= degree:
        n_different = len(np.unique(x))
    if n_different <= degree:
        raise DataError(
            f"{key!r} needs more than {degree} different values, and there are {n_different}; lower the degree",
            column=key,
            n_different=n_different,
        )
    state = {}
    values = np.asarray(poly(x, degree, _state=state), dtype=np.float64)
    for name in ("alpha", "norms2"):
        memory[name] = [float(state[name][k]) for k in sorted(state[name])]
    return values


def _scale(key: str, memory: Memory, x: Floats, center: bool | float = True, scale: bool | float = True) -> Floats:
    from formulaic.transforms import scale as formulaic_scale

    state = dict(memory)
    values: Floats = formulaic_scale(x, center=center, scale=scale, _state=state)
    memory.update((name, None if value is None else float(value)) for name, value in state.items())
    return values


def _center(key: str, memory: Memory, x: Floats) -> Floats:
    return _scale(key, memory, x, scale=False)


def _bs(
    key: str,
    memory: Memory,
    x: Floats,
    df: int | None = None,
    knots: float | tuple[float, ...] | None = None,
    degree: int = 3,
    intercept: bool = False,
    Boundary_knots: tuple[float, float] | None = None,
) -> Floats:
    from formulaic.transforms import basis_spline

    lower, upper = (None, None) if Boundary_knots is None else Boundary_knots
    basis = basis_spline(
        x,
        df=df,
        knots=_sorted_knots(knots),
        degree=degree,
        include_intercept=intercept,
        lower_bound=lower,
        upper_bound=upper,
        extrapolation="extend",
        _state=memory,
    )
    return np.column_stack([basis[column] for column in sorted(basis)])


def _ns(
    key: str,
    memory: Memory,
    x: Floats,
    df: int | None = None,
    knots: float | tuple[float, ...] | None = None,
    intercept: bool = False,
    Boundary_knots: tuple[float, float] | None = None,
) -> Floats:
    from scipy.interpolate import BSpline

    if not memory:
        lower, upper = (float(x.min()), float(x.max())) if Boundary_knots is None else Boundary_knots
        if not lower < upper:
            raise DataError(f"{key!r} needs two different values at least; remove it from the model", column=key)
        inner = _sorted_knots(knots)
        if inner is None:
            n_inner = (1 if df is None else df) - 1 - bool(intercept)
            if n_inner < 0:
                raise ValueError(f"df must be at least {1 + bool(intercept)}")
            within = x[(x >= lower) & (x <= upper)]
            inner = np.quantile(within, np.linspace(0.0, 1.0, n_inner + 2)[1:-1]).tolist()
        memory.update(lower_bound=lower, upper_bound=upper, knots=inner)
    boundary = np.array([memory["lower_bound"], memory["upper_bound"]])
    all_knots = np.sort(np.concatenate([np.repeat(boundary, 4), memory["knots"]]))
    splines = BSpline(all_knots, np.eye(len(all_knots) - 4), 3)
    inside = np.clip(x, *boundary)
    basis = splines(inside)
    outside = np.flatnonzero(inside != x)
    if len(outside):
        basis[outside] += splines.derivative()(inside[outside]) * (x - inside)[outside, None]
    first = 0 if intercept else 1
    # Natural means linear beyond the boundary: stay in the null space of the second derivatives there.
    curvature = splines.derivative(2)(boundary)[:, first:]
    rotation = np.linalg.qr(curvature.T, mode="complete")[0]
    values: Floats = basis[:, first:] @ rotation[:, 2:]
    return values


def _cubic(
    cyclic: bool,
    key: str,
    memory: Memory,
    x: Floats,
    df: int | None = None,
    knots: float | tuple[float, ...] | None = None,
    lower_bound: float | None = None,
    upper_bound: float | None = None,
    constraints: str | None = None,
) -> Floats:
    from formulaic.transforms import cyclic_cubic_spline, natural_cubic_spline

    state = dict(memory)
    if state.get("constraints") is not None:
        state["constraints"] = np.array(state["constraints"])
    basis = (cyclic_cubic_spline if cyclic else natural_cubic_spline)(
        x,
        df=df,
        knots=_sorted_knots(knots),
        lower_bound=lower_bound,
        upper_bound=upper_bound,
        constraints=constraints,
        _state=state,
    )
    if not memory:
        memory.update(state)
        if isinstance(state["constraints"], np.ndarray):
            memory["constraints"] = state["constraints"].tolist()
    return np.column_stack([basis[column] for column in sorted(basis)])


def _sorted_knots(knots: float | tuple[float, ...] | None) -> list[float] | None:
    if knots is None:
        return None
    return sorted(knots) if isinstance(knots, tuple) else [knots]


LEARNING: dict[str, Callable[..., Floats]] = {
    "poly": _poly,
    "scale": _scale,
    "center": _center,
    "bs": _bs,
    "ns": _ns,
    "cr": partial(_cubic, False),
    "cc": partial(_cubic, True),
}
