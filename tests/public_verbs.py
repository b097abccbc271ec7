"""Everything public about an object, as plain values that can be compared, pickled and sent to another process.

Properties are read, methods are called. What needs no argument needs no entry here; a method that does has its calls in
``CALLS``, and one without an entry is an error: so a new verb is covered, or says that it is not, without being listed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel

import mixeff_fast as mf
from mixeff_fast.errors import MixeffError
from mixeff_fast.formula import Node, deparse
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models.access import _PIECES

Call = dict[str, Any]
Values = dict[str, Any]
MODELS = (mf.ModelSpec, mf.LinearMixedModel, mf.GeneralizedLinearMixedModel, mf.PreparedModel)
LONG = 2000


def _response(fit: Any) -> Any:
    y = fit.spec.compiled.frame.response
    return y if y is ROWS_ELSEWHERE else np.asarray(y)[::-1].copy()


def _first_group(model: Any) -> str:
    spec = model if isinstance(model, mf.ModelSpec) else model.spec
    return str(spec.compiled.formula.random[0].group_name)


def _last(fit: Any) -> Any:
    """Contrasts that are the coefficients, the last first."""
    return np.eye(len(fit.coef_names))[::-1]


def _newdata(fit: Any) -> Any:
    return fit.model_frame().head(3)


# calls by method, as arguments made from the object; None says why the method is left out
CALLS: dict[str, Callable[[Any], list[Call]] | None] = {
    "as_json": lambda _: [{}, {"pretty": True}],
    "audit": lambda _: [{}, {"full": True}],
    "contrast": lambda fit: [{"L": _last(fit)}, {"L": _last(fit), "rhs": 1, "method": "kenward_roger"}],
    "df_for_contrast": lambda fit: [{"L": _last(fit)}],
    "diagnostics": lambda _: [{}, {"severity": "info"}, {"stage": "design_audit"}],
    "extract_aic": lambda _: [{}, {"k": 3.0}],
    "get_me": lambda _: [{"name": name} for name in _PIECES],
    "lincomb": lambda fit: [{"weights": row} for row in _last(fit)[:1]],
    "loglik_at": lambda _: [{}, {"reml": True}, {"reml": False}],
    "model_matrix": lambda _: [{"type": "fixed"}, {"type": "random"}],
    "predict": lambda fit: [{}, {"re_form": "population"}, {"newdata": _newdata(fit)}],
    "random_options": lambda model: [{"group": _first_group(model)}],
    "ranef": lambda _: [{}, {"cond_var": True}],
    "refit": lambda fit: [{"newresp": _response(fit)}],
    "residuals": lambda _: [{"type": kind, "scaled": scaled} for kind in ("response", "pearson", "deviance", "working")
                            for scaled in (False, True)],
    "save": None,
    "simulate": lambda _: [{"seed": 1, "nsim": 2}, {"seed": 1, "re_form": None}],
    "test_effect": lambda fit: [{"term": label} for label in fit.spec.compiled.fixed.labels],
    "trace": lambda _: [{"line": 0}],
    "update": lambda _: [{"formula": ". ~ ."}],
    "vcov": lambda _: [{}, {"type": "theta"}, {"correlation": True}],
}


def members(value: Any) -> Iterator[tuple[str, Any]]:
    """Public names with the descriptor, or None for an attribute that only the instance has."""
    found: dict[str, Any] = {}
    for cls in reversed(type(value).__mro__[:-1]):
        found.update({name: static for name, static in vars(cls).items() if not name.startswith("_")})
    for name in getattr(value, "__dict__", {}):
        if not name.startswith("_"):
            found.setdefault(name, None)
    return iter(sorted(found.items()))


def calls(value: Any, name: str) -> list[Call]:
    """The arguments with which a method is called; none where ``CALLS`` leaves it out."""
    if name in CALLS:
        entry = CALLS[name]
        return [] if entry is None else entry(value)
    needed = [
        p.name
        for p in inspect.signature(getattr(value, name)).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    assert not needed, f"{type(value).__name__}.{name}() needs {', '.join(needed)}: give CALLS an entry for it"
    return [{}]


def public_values(value: Any, skip: frozenset[str] = frozenset()) -> Values:
    """Every property and every method's result, by name; ``repr`` and ``_repr_html_`` are among them.

    Parameters
    ----------
    value
        A fit, a spec or a result object of the package.
    skip
        Names that are left out.
    """
    out: Values = {}
    for name, static in members(value):
        if name in skip or isinstance(static, classmethod | staticmethod):
            continue
        if inspect.isfunction(static):
            for arguments in _prepared_calls(value, name):
                out[f"{name}({_shown(arguments)})"] = _outcome(lambda n=name, a=arguments: getattr(value, n)(**a))
        elif static is None or isinstance(static, property | cached_property) or inspect.ismemberdescriptor(static):
            out[name] = _outcome(lambda n=name: getattr(value, n))
    out["repr"] = repr(value)
    if hasattr(value, "_repr_html_"):
        out["html"] = value._repr_html_()
    return out


def _prepared_calls(value: Any, name: str) -> list[Call]:
    """The calls, or one without arguments where making the arguments is refused (rows that are not in memory)."""
    try:
        return calls(value, name)
    except MixeffError:
        return [{}]


def _shown(arguments: Call) -> str:
    return ", ".join(f"{key}={v!r}" if isinstance(v, str | bool | int | float | None) else key for key, v in arguments.items())


def _outcome(call: Callable[[], Any]) -> Any:
    """The value, or the typed refusal."""
    try:
        return comparable(call())
    except MixeffError as error:
        return {"refused": type(error).__name__, "fields": comparable(error.fields), "message": str(error)}


def comparable(value: Any) -> Any:
    """A value as nested lists, dicts and scalars: exact, and equal where NaN meets NaN."""
    match value:
        case None | bool() | str() | int():
            return value
        case float() | np.floating():
            return "nan" if math.isnan(value) else float(value)
        case np.integer() | np.bool_():
            return value.item()
        case bytes():
            return hashlib.sha256(value).hexdigest()
        case Enum():
            return value.value
        case np.ndarray():
            return _array(value)
        case pl.DataFrame():
            return {"frame": {name: [str(value[name].dtype), _sequence(value[name].to_list())] for name in value.columns}}
        case pl.Series():
            return [str(value.dtype), _sequence(value.to_list())]
        case pl.LazyFrame() | pl.Expr():
            return repr(type(value))
        case BaseModel():
            return value.model_dump(mode="json")
        case Node():
            return deparse(value)
        case slice():
            return [value.start, value.stop, value.step]
        case Mapping():
            return {str(key): comparable(v) for key, v in value.items()}
        case list() | tuple() | set() | frozenset():
            return _sequence(sorted(value) if isinstance(value, set | frozenset) else value)
    return _object(value)


def _array(value: np.ndarray) -> Any:
    if value.size > LONG:
        return {"array": [str(value.dtype), list(value.shape), hashlib.sha256(np.ascontiguousarray(value)).hexdigest()]}
    return {"array": [str(value.dtype), list(value.shape), _sequence(value.ravel().tolist())]}


def _sequence(values: Any) -> list[Any]:
    return [comparable(each) for each in values]


def _object(value: Any) -> Any:
    """Sparse matrices, models (their numbers only: each is walked on its own), result objects and frozen records."""
    if hasattr(value, "tocsc"):
        matrix = value.tocsc()
        return {"csc": [list(matrix.shape), *(comparable(a) for a in (matrix.indptr, matrix.indices, matrix.data))]}
    if isinstance(value, MODELS):
        kept = ("formula", "reml", "beta", "theta", "sigma", "loglik", "fit_status")
        return {type(value).__name__: {name: comparable(getattr(value, name)) for name in kept if hasattr(value, name)}}
    if isinstance(value, np.random.SeedSequence | np.dtype | pl.DataType) or value is ROWS_ELSEWHERE:
        return repr(value)
    assert type(value).__module__.startswith("mixeff_fast"), f"no rule to compare {type(value)}"
    if dataclasses.is_dataclass(value):
        return {type(value).__name__: {f.name: comparable(getattr(value, f.name)) for f in dataclasses.fields(value)}}
    return {type(value).__name__: public_values(value)}


def differences(one: Any, two: Any, tolerance: float = 0.0, path: str = "") -> list[str]:
    """Paths at which two results of :func:`public_values` differ; numbers may by ``tolerance``, relatively."""
    if isinstance(one, Mapping) and isinstance(two, Mapping):
        missing = [f"{path}/{key}: on one side only" for key in sorted(set(one) ^ set(two))]
        both = (key for key in one if key in two)
        return missing + [d for key in both for d in differences(one[key], two[key], tolerance, f"{path}/{key}")]
    if isinstance(one, list) and isinstance(two, list):
        if len(one) != len(two):
            return [f"{path}: {len(one)} entries, {len(two)} entries"]
        pairs = enumerate(zip(one, two, strict=True))
        return [d for i, (a, b) in pairs for d in differences(a, b, tolerance, f"{path}/{i}")]
    if type(one) is float and type(two) is float:
        close = one == two or abs(one - two) <= tolerance * max(abs(one), abs(two))
        return [] if close else [f"{path}: {one!r}, {two!r}"]
    return [] if type(one) is type(two) and one == two else [f"{path}: {one!r:.200}, {two!r:.200}"]
