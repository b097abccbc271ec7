"""What restores a model: plain values, arrays and tables, which can be pickled, copied and written to a file."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.errors import DataError, SchemaError
from mixeff_fast.fit.assemble import Assembled
from mixeff_fast.fit.crossproduct import kernel_plan
from mixeff_fast.fit.statistics import Statistics, Sums, statistics_of
from mixeff_fast.formula import Name
from mixeff_fast.frame.columns import NumericVariable, frozen
from mixeff_fast.frame.response import WHOLE
from mixeff_fast.frame.source import column_names, read_columns
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.frame.transforms import TransformState
from mixeff_fast.frame.variables import effect_variables
from mixeff_fast.kernels.structure import CrossProduct
from mixeff_fast.storage.frames import storable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.fit.standardize import Standardization
    from mixeff_fast.formula import ModelFormula, Variable
    from mixeff_fast.frame import ModelFrame
    from mixeff_fast.frame.bases import Memory
    from mixeff_fast.frame.streamframe import Facts
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.vocabulary import InferencePlan

    Float = NDArray[np.float64]

# how far what is evaluated again may lie from what was stored: libraries and processors differ in the last digits
_CLOSE = 1e-6
RESPONSE, OFFSET = "(response)", "(offset)"
GIVEN = ("weights", "offset", "subset")


@dataclass(frozen=True, slots=True, eq=False)
class Evaluated:
    """Values of expressions as the fit used them, and what their transforms learned.

    Attributes
    ----------
    values
        By variable; ``(response)`` and ``(offset)`` where these are expressions.
    learned
        By variable, what the calls learned by their position.
    """

    values: dict[str, Float]
    learned: dict[str, dict[int, Memory]]


@dataclass(frozen=True, slots=True, eq=False)
class CrossState:
    """The cross-product of a model whose rows are elsewhere."""

    diag: Float
    panel: Float
    border: Float
    kept: NDArray[np.int64]
    aliased: tuple[int, ...]
    standard: Standardization

    def assembled(self, model: CompiledModel) -> Assembled:
        """Lay it out for the kernels."""
        arrays, lam_size = kernel_plan(model.plan, len(self.kept))
        cross = CrossProduct(self.diag, self.panel, self.border)
        return Assembled(arrays, cross, self.standard, self.kept, self.aliased, lam_size)


@dataclass(frozen=True, slots=True, eq=False)
class RowlessState:
    """What there is of rows that are elsewhere; ``cross`` is known once a model was fitted to them."""

    facts: Facts
    standard: Standardization
    sums: Sums
    cross: CrossState | None = None

    def statistics(self) -> Statistics:
        """The statistics of the rows."""
        return statistics_of(self.facts, self.standard, self.sums)


def cross_state(assembled: Assembled) -> CrossState:
    """The part of a cross-product that does not follow from its model."""
    cross = assembled.cross
    return CrossState(cross.diag, cross.panel, cross.border, assembled.kept, assembled.aliased, assembled.standard)


def rowless_state(statistics: Statistics) -> RowlessState:
    """What statistics cannot be derived from."""
    return RowlessState(statistics.facts, statistics.standard, statistics.sums)


@dataclass(frozen=True, slots=True, eq=False)
class SpecState:
    """A compiled model.

    Attributes
    ----------
    call
        Its arguments by name, with data as a frame and values per row in place of expressions.
    evaluated
        Of rows in memory.
    rowless
        Of rows that are elsewhere.
    artifact
        The artifact, if there is one yet.
    """

    call: dict[str, Any]
    evaluated: Evaluated | None
    rowless: RowlessState | None
    artifact: CompiledModelArtifact | None


@dataclass(frozen=True, slots=True, eq=False)
class FitState:
    """A fit: its model, settings and numbers. ``refitted`` when its engine took over the design of another fit; ``inference``
    is what was asked for of a generalized linear mixed model."""

    spec: SpecState
    control: Control
    result: LmmResult | GlmmResult
    refitted: bool
    artifact: FitArtifact | None
    inference: InferencePlan = "auto"


def plain_data(data: Any, columns: list[str]) -> pl.DataFrame:
    """The columns as a frame; those of foreign tables that cannot be read are left out."""
    if isinstance(data, pl.DataFrame):
        return data.select(columns)
    if isinstance(data, pl.LazyFrame):
        return pl.DataFrame(list(read_columns(data, columns, {})[0].values()))
    kept = []
    for name in columns:
        try:
            kept.append(read_columns(data, [name], {})[0][name].alias(name))
        except DataError:
            continue
    return pl.DataFrame(kept)


def plain_call(call: dict[str, Any], formula: ModelFormula, examined: bool) -> dict[str, Any]:
    """The arguments of a model with its data as a frame, and with values in place of expressions.

    ``examined`` keeps the columns that the audit reads beside those of the model. Columns of Python objects are left out.
    """
    data = call["data"]
    if data is ROWS_ELSEWHERE:
        return call
    own = dict.fromkeys([*formula.columns, *(call[name] for name in GIVEN if isinstance(call[name], str))])
    lazy = isinstance(data, pl.LazyFrame)
    wanted: list[str] = list(own)
    if examined and call["audit_columns"] is not None:
        wanted = list(dict.fromkeys([*own, *call["audit_columns"]]))
    elif examined and not lazy:
        wanted = list(column_names(data))
    plain = {**call, "data": storable(plain_data(data, wanted))}
    expressions = {name: call[name] for name in GIVEN if isinstance(call[name], pl.Expr)}
    if expressions:
        plain |= read_columns(data, [], expressions)[1]
    for name in GIVEN:
        if plain[name] is not None and not isinstance(plain[name], str | pl.Series):
            plain[name] = pl.Series(name, plain[name])
    if lazy and call["audit_columns"] is None:
        plain["audit_columns"] = ()
    return plain


def rowless_call(call: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a model whose rows are elsewhere: values per row have no place."""
    given = {name: call[name] if call[name] is None or isinstance(call[name], str) else ROWS_ELSEWHERE for name in GIVEN}
    return {**call, "data": ROWS_ELSEWHERE, **given}


def expressions(formula: ModelFormula) -> dict[str, Variable]:
    """The variables among the effects that are expressions, by key."""
    effects = effect_variables(formula, fixed=True, groups=None)
    return {key: variable for key, variable in effects.items() if not isinstance(variable.node, Name)}


def evaluated(frame: ModelFrame, refitted: bool) -> Evaluated:
    """The values of a frame that are not columns of the data. A response that a refit put in place is one of the call."""
    values: dict[str, Float] = {}
    for key in expressions(frame.formula):
        variable = frame.variables[key]
        if isinstance(variable, NumericVariable):
            values[key] = variable.values
    # whole numbers are evaluated to the same numbers everywhere
    whole = frame.family is not None and frame.family.name in WHOLE
    if not refitted and not whole and not isinstance(frame.formula.response.variables[0].node, Name):
        values[RESPONSE] = frame.response
    if frame.formula.offsets and frame.offset is not None:
        values[OFFSET] = frame.offset
    return Evaluated(values, {key: state.calls for key, state in frame.states.items()})


def with_evaluated(frame: ModelFrame, stored: Evaluated, refitted: bool) -> ModelFrame:
    """The frame with values and transforms as they were stored.

    Raises
    ------
    SchemaError
        They are not those of the data.
    """
    fresh = evaluated(frame, refitted)
    if set(fresh.values) != set(stored.values) or set(fresh.learned) != set(stored.learned):
        raise SchemaError("the values that are stored are not those of the formula")
    for key, values in fresh.values.items():
        if values.shape != stored.values[key].shape or not _close(values, stored.values[key]):
            raise SchemaError(f"the values of {key!r} are not those that its columns give", variable=key)
    for key, calls in fresh.learned.items():
        if not _same_memory(calls, stored.learned[key]):
            raise SchemaError(f"what the transforms of {key!r} learned is not what its columns teach", variable=key)
    variables = dict(frame.variables)
    for key, values in stored.values.items():
        known = variables.get(key)
        if isinstance(known, NumericVariable):
            variables[key] = replace(known, values=frozen(values))
    states = {key: TransformState(calls) for key, calls in stored.learned.items()}
    return replace(
        frame,
        variables=variables,
        response=frozen(stored.values[RESPONSE]) if RESPONSE in stored.values else frame.response,
        offset=frozen(stored.values[OFFSET]) if OFFSET in stored.values else frame.offset,
        states=states,
        scheme=replace(frame.scheme, states=states),
    )


def _close(one: Float, two: Float) -> bool:
    scale = max(float(np.abs(one).max(initial=0.0)), 1e-300)
    return bool(np.isfinite(two).all()) and float(np.abs(one - two).max(initial=0.0)) <= _CLOSE * scale


def _same_memory(one: Any, two: Any) -> bool:
    if isinstance(one, dict):
        return isinstance(two, dict) and one.keys() == two.keys() and all(_same_memory(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        pairs = zip(one, two, strict=True) if isinstance(two, list | tuple) and len(one) == len(two) else None
        return pairs is not None and all(_same_memory(a, b) for a, b in pairs)
    if isinstance(one, float) and isinstance(two, float):
        return abs(one - two) <= _CLOSE * max(1.0, abs(one))
    return type(one) is type(two) and bool(one == two)
