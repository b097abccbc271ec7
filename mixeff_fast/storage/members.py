"""The state of a model as the members of a file, and back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast._version import __version__
from mixeff_fast.errors import SchemaError
from mixeff_fast.families import Family
from mixeff_fast.fit.control import Control, control
from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.formula import model_formula
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.schemas.archive import ArgumentRecord, CallRecord, FamilyRecord, FitStateRecord, SavedState
from mixeff_fast.schemas.compiled import CompiledModelArtifact
from mixeff_fast.schemas.fit import FitArtifact
from mixeff_fast.storage.archive import read_json
from mixeff_fast.storage.arrays import array_bytes, read_array
from mixeff_fast.storage.codings import coding_record, given_coding
from mixeff_fast.storage.frames import frame_bytes, read_frame
from mixeff_fast.storage.plain import from_plain, to_plain
from mixeff_fast.storage.results import read_result, result_members, result_record
from mixeff_fast.storage.sizes import check_sizes, factor_levels
from mixeff_fast.storage.state import GIVEN, CrossState, Evaluated, FitState, SpecState, rowless_state
from mixeff_fast.storage.statistics import statistics_from, statistics_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mixeff_fast.storage.archive import Archive, Member
    from mixeff_fast.storage.budget import Budget

ARTIFACT, STATE, DATA, GIVEN_VALUES = "artifact.json", "state.json", "data.parquet", "given.parquet"


def model_members(state: SpecState | FitState) -> Iterator[Member]:
    """The members that hold a model; its artifact is one of them."""
    fit = state if isinstance(state, FitState) else None
    spec = state.spec if isinstance(state, FitState) else state
    assert state.artifact is not None
    yield ARTIFACT, state.artifact.model_dump_json().encode()
    yield STATE, _state(spec, fit).model_dump_json().encode()
    if spec.call["data"] is not ROWS_ELSEWHERE:
        yield DATA, frame_bytes(spec.call["data"])
        given = [spec.call[name].alias(name) for name in GIVEN if isinstance(spec.call[name], pl.Series)]
        if given:
            yield GIVEN_VALUES, frame_bytes(pl.DataFrame(given))
    if spec.call["response"] is not None:
        yield "arrays/response.npy", array_bytes(spec.call["response"])
    if spec.evaluated is not None:
        for i, values in enumerate(spec.evaluated.values.values()):
            yield f"arrays/evaluated-{i}.npy", array_bytes(values)
    if spec.rowless is not None:
        yield from statistics_members(spec.rowless.statistics())
        if spec.rowless.cross is not None:
            yield from _cross_members(spec.rowless.cross)
    if fit is not None:
        yield from result_members(fit.result)


def _state(spec: SpecState, fit: FitState | None) -> SavedState:
    call, stored = spec.call, spec.evaluated or Evaluated({}, {})
    contrasts = call["contrasts"]
    return SavedState(
        header=SavedState.make_header(__version__),
        kind="spec" if fit is None else "fit",
        rows="elsewhere" if call["data"] is ROWS_ELSEWHERE else "kept",
        call=CallRecord(
            formula=call["formula"],
            **{name: _argument(call[name]) for name in GIVEN},
            na_action=call["na_action"],
            contrasts=None if contrasts is None else {name: coding_record(c) for name, c in contrasts.items()},
            roles=dict(call["roles"]),
            audit_columns=call["audit_columns"],
            intent=call["intent"],
            refitted=call["response"] is not None,
            family=_family_record(call["family"]),
        ),
        learned={key: {at: to_plain(memory) for at, memory in calls.items()} for key, calls in stored.learned.items()},
        evaluated=tuple(stored.values),
        fit=None if fit is None else result_record(fit),
    )


def _family_record(family: Family | None) -> FamilyRecord | None:
    return None if family is None else FamilyRecord(name=family.name, link=family.link, theta=family.theta)


def _argument(given: Any) -> ArgumentRecord:
    if given is None:
        return ArgumentRecord(kind="none")
    if isinstance(given, str):
        return ArgumentRecord(kind="column", column=given)
    return ArgumentRecord(kind="not_kept" if given is ROWS_ELSEWHERE else "values")


def _cross_members(cross: CrossState) -> Iterator[Member]:
    standard = cross.standard
    arrays = {
        "diag": cross.diag, "panel": cross.panel, "border": cross.border, "kept": cross.kept,
        "aliased": np.array(cross.aliased, np.int64), "x_shift": standard.x_shift, "x_scale": standard.x_scale,
        "scalars": np.array([standard.y_shift, standard.y_scale, standard.root_weight]),
    }
    arrays |= {f"z_shift-{k}": shift for k, shift in enumerate(standard.z_shift)}
    arrays |= {f"z_scale-{k}": scale for k, scale in enumerate(standard.z_scale)}
    if standard.x_basis is not None:
        arrays["x_basis"] = standard.x_basis
    arrays |= {f"z_basis-{k}": basis for k, basis in enumerate(standard.z_basis) if basis is not None}
    for name, array in arrays.items():
        yield f"cross/{name}.npy", array_bytes(array)


def read_model(archive: Archive, budget: Budget) -> SpecState | FitState:
    """The state of the model in a file.

    Raises
    ------
    SchemaError
        Members are missing or superfluous, or do not fit together.
    """
    state = read_json(archive.read(STATE), SavedState)
    if state.kind != archive.kind or (state.fit is None) != (state.kind == "spec"):
        raise SchemaError(f"the file says that it holds a {archive.kind}, and its state that it is a {state.kind}")
    artifact: Any = read_json(archive.read(ARTIFACT), CompiledModelArtifact if state.fit is None else FitArtifact)
    spec = _spec(state, archive, budget, artifact if state.fit is None else artifact.compiled)
    found: SpecState | FitState = spec
    if state.fit is not None:
        result = read_result(state.fit, archive, state.call.family is not None)
        inference = "auto" if state.fit.glmm is None else state.fit.glmm.inference
        found = FitState(spec, _control(state.fit), result, state.fit.refitted, artifact, inference)
    if archive.unread:
        raise SchemaError(f"the file has members that belong to nothing: {', '.join(sorted(archive.unread)[:5])}")
    return found


def _spec(state: SavedState, archive: Archive, budget: Budget, artifact: CompiledModelArtifact) -> SpecState:
    record = state.call
    formula = model_formula(record.formula)
    call: dict[str, Any] = {
        "formula": record.formula,
        "na_action": record.na_action,
        "contrasts": None if record.contrasts is None else {k: given_coding(c) for k, c in record.contrasts.items()},
        "roles": dict(record.roles),
        "audit_columns": record.audit_columns,
        "intent": record.intent,
        "response": None,
        "family": None if record.family is None else Family(record.family.name, record.family.link, record.family.theta),
    }
    if state.rows == "elsewhere":
        if record.family is not None:
            raise SchemaError("it holds a generalized linear mixed model without the rows that such a model needs")
        statistics = statistics_from(archive, budget)
        cross = _cross(archive, len(statistics.layout.factors)) if "cross/diag.npy" in archive else None
        rowless = replace(rowless_state(statistics), cross=cross)
        call |= {name: _rowless_argument(getattr(record, name)) for name in GIVEN}
        return SpecState({**call, "data": ROWS_ELSEWHERE}, None, rowless, artifact)
    data = read_frame(archive.read(DATA), DATA, budget)
    check_sizes(formula, factor_levels(formula, data), data.height, budget)
    values = pl.DataFrame()
    if GIVEN_VALUES in archive:
        values = read_frame(archive.read(GIVEN_VALUES), GIVEN_VALUES, budget)
    for name in GIVEN:
        argument: ArgumentRecord = getattr(record, name)
        call[name] = values.get_column(name) if argument.kind == "values" else argument.column
    if record.refitted:
        call["response"] = read_array(archive.read("arrays/response.npy"), "response", "float64", (data.height,))
        call["response"].flags.writeable = False
    arrays = {
        key: read_array(archive.read(f"arrays/evaluated-{i}.npy"), f"evaluated-{i}", "float64")
        for i, key in enumerate(state.evaluated)
    }
    stored = Evaluated(arrays, {key: dict(calls) for key, calls in state.learned.items()})
    return SpecState({**call, "data": data}, stored, None, artifact)


def _rowless_argument(argument: ArgumentRecord) -> Any:
    return ROWS_ELSEWHERE if argument.kind in ("values", "not_kept") else argument.column


def _control(record: FitStateRecord) -> Control:
    found = from_plain(Control, record.control)
    # the door that checks settings, which are not of the right type only
    control(
        verbose=found.verbose, max_evaluations=found.max_evaluations, tolerance=found.tolerance, start=found.start,
        memory_limit=found.memory_limit, threads=found.threads,
    )
    return found


def _cross(archive: Archive, n_factors: int) -> CrossState:
    def array(name: str, dtype: str = "float64") -> Any:
        return read_array(archive.read(f"cross/{name}.npy"), name, dtype)

    def basis(name: str) -> Any:
        return array(name) if f"cross/{name}.npy" in archive else None

    y_shift, y_scale, root_weight = read_array(archive.read("cross/scalars.npy"), "scalars", "float64", (3,)).tolist()
    standard = Standardization(
        x_shift=array("x_shift"),
        x_scale=array("x_scale"),
        y_shift=y_shift,
        y_scale=y_scale,
        z_shift=tuple(array(f"z_shift-{k}") for k in range(n_factors)),
        z_scale=tuple(array(f"z_scale-{k}") for k in range(n_factors)),
        intercept=-1,
        root_weight=root_weight,
        x_basis=basis("x_basis"),
        z_basis=tuple(basis(f"z_basis-{k}") for k in range(n_factors)),
    )
    aliased = tuple(array("aliased", "int64").tolist())
    return CrossState(array("diag"), array("panel"), array("border"), array("kept", "int64"), aliased, standard)
