"""Models as files, as JSON text, as pickles and as copies: all are made from one state, and read back from it."""

from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from mixeff_fast.errors import ArgumentError, MixeffNotice, SchemaError
from mixeff_fast.models.arguments import file, flag
from mixeff_fast.vocabulary import among

if TYPE_CHECKING:
    from os import PathLike

    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.models.spec import Call, ModelSpec
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.storage.archive import Archive
    from mixeff_fast.storage.state import FitState, RowlessState, SpecState

    Columns = Literal["examined", "model"]
    Model: TypeAlias = "ModelSpec | LinearMixedModel | GeneralizedLinearMixedModel"

_REMEDY = "write the model again with save()"


class Saved:
    """What is kept of a model outside the process: files, text, pickles."""

    __slots__ = ()

    def save(self, path: str | PathLike[str], *, columns: Columns = "examined") -> None:
        """Write the model to one file, which :func:`mixeff_fast.load` reads.

        Parameters
        ----------
        path
            Where to. What was there stays as it was if writing fails.
        columns
            Which columns of the data go along: ``"examined"``, those of the model and those that the audit examined (of data
            in memory: all, unless ``audit_columns`` said otherwise); ``"model"``, those of the model only.

        Raises
        ------
        ArgumentError
            Other ``columns``.

        Examples
        --------
        >>> import mixeff_fast as mf, pathlib, tempfile
        >>> fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fit.save(pathlib.Path(folder, "dyestuff.fit"))
        ...     again = mf.load(pathlib.Path(folder, "dyestuff.fit"))
        >>> again.theta == fit.theta, again.handle_alive
        (array([ True]), False)
        """
        from mixeff_fast.storage.archive import write_archive
        from mixeff_fast.storage.members import model_members

        if not among(columns, ("examined", "model")):
            raise ArgumentError(f'columns is "examined" or "model", not {columns!r}', argument="columns")
        state = model_state(self, columns == "examined")
        write_archive(file(path), _kind(state), model_members(state))

    def as_json(self, pretty: bool = False) -> str:
        """The model as JSON text: its artifact, and in base64 all that :func:`mixeff_fast.revive` restores it from.

        Parameters
        ----------
        pretty
            Indent the text.
        """
        from mixeff_fast.storage.members import model_members
        from mixeff_fast.storage.text import write_text

        pretty = flag("pretty", pretty)
        state = model_state(self, True)
        return write_text(_kind(state), model_members(state), pretty)

    def __reduce__(self) -> tuple[Any, ...]:
        return restored, (model_state(self, True, artifact=False),)


def _kind(state: SpecState | FitState) -> Literal["fit", "spec"]:
    from mixeff_fast.storage.state import FitState

    return "fit" if isinstance(state, FitState) else "spec"


def model_state(model: Any, examined: bool, artifact: bool = True) -> SpecState | FitState:
    """What restores a model; without ``artifact``, its artifact is left to be built if it was not asked for yet."""
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.storage.state import FitState

    if isinstance(model, ModelSpec):
        return _spec_state(model, examined, model.artifact if artifact else model._artifact)
    found: FitArtifact | None = model.artifact if artifact else model.__dict__.get("artifact")
    spec = _spec_state(model.spec, examined, model.spec._artifact)
    if spec.rowless is not None and spec.rowless.cross is None:
        spec = replace(spec, rowless=_with_cross(spec.rowless, model))
    return FitState(spec, model.control, model.result, model._refitted, found, getattr(model, "inference", "auto"))


def _with_cross(rowless: RowlessState, fit: LinearMixedModel) -> RowlessState:
    from mixeff_fast.storage.state import cross_state

    return replace(rowless, cross=cross_state(fit._engine.assembled))


def _spec_state(spec: ModelSpec, examined: bool, artifact: CompiledModelArtifact | None) -> SpecState:
    from mixeff_fast.storage import state

    call = {field.name: getattr(spec.call, field.name) for field in fields(spec.call)}
    source = spec._source
    if source is None:
        frame = spec.requested.frame
        call = state.plain_call(call, spec.requested.formula, examined)
        return state.SpecState(call, state.evaluated(frame, call["response"] is not None), None, artifact)
    cross = None if source.assembled is None else state.cross_state(source.assembled)
    rowless = replace(state.rowless_state(source.statistics), cross=cross)
    return state.SpecState(state.rowless_call(call), None, rowless, artifact)


def restored(state: SpecState | FitState) -> Model:
    """The model. A fit has its numbers; its engine is built again when it is first needed, and nothing is optimized."""
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.storage.state import FitState

    if not isinstance(state, FitState):
        return _restored_spec(state)
    result = state.result
    for array in (result.theta, result.beta, result.vcov):
        array.flags.writeable = False
    spec = _restored_spec(state.spec)
    fit: LinearMixedModel | GeneralizedLinearMixedModel
    if isinstance(result, LmmResult):
        fit = LinearMixedModel(spec, state.control, None, result)
    else:
        fit = GeneralizedLinearMixedModel(spec, state.control, None, result, state.inference)
    fit._refitted = state.refitted
    if state.artifact is not None:
        fit.__dict__["artifact"] = state.artifact
    return fit


def _restored_spec(state: SpecState) -> ModelSpec:
    from mixeff_fast.models.spec import Call, compile_frame
    from mixeff_fast.storage.state import with_evaluated

    call = Call(**state.call)
    with warnings.catch_warnings():
        # notices were issued when the model was made
        warnings.simplefilter("ignore", MixeffNotice)
        if state.rowless is None:
            assert state.evaluated is not None
            spec = compile_frame(call, with_evaluated(call.frame(), state.evaluated, call.response is not None))
        else:
            spec = _rowless_spec(call, state.rowless)
    spec._artifact = state.artifact
    return spec


def _rowless_spec(call: Call, rowless: RowlessState) -> ModelSpec:
    from mixeff_fast.fit.statistics import compile_statistics
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.storage.check import checked_cross

    statistics = rowless.statistics()
    compiled = compile_statistics(statistics)
    cross = rowless.cross
    assembled = None if cross is None else checked_cross(cross, compiled).assembled(compiled)
    return ModelSpec(call, compiled, StatisticsSource(statistics, None, assembled))


def load(path: str | PathLike[str], *, memory_limit: int | None = None) -> Model:
    """Read a model that ``save`` wrote.

    Every extractor and verb is restored. Nothing in the file is executed, and nothing is optimized: the numbers are those of
    the file, the hashes of which are verified, and the factorization is built again when it is first needed.

    Parameters
    ----------
    path
        Where from.
    memory_limit
        Bytes that the content may take in memory. None allows 32 MiB, or 256 times the size of the file if that is more.

    Returns
    -------
    LinearMixedModel, GeneralizedLinearMixedModel or ModelSpec

    Raises
    ------
    SchemaError
        A file of another kind or version, one that was damaged or tampered with, or one whose parts do not fit together.

    Examples
    --------
    >>> import mixeff_fast as mf, pathlib, tempfile
    >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     spec.save(pathlib.Path(folder, "dyestuff.spec"))
    ...     again = mf.load(pathlib.Path(folder, "dyestuff.spec"))
    >>> again.fit().beta == spec.fit().beta
    array([ True])
    """
    from mixeff_fast.storage.archive import open_archive, refusals

    path = file(path)
    limit = _limit(memory_limit)
    with path.open("rb") as stream:
        is_text = stream.read(1) == b"{"
    if is_text:
        return _from_text(path.read_bytes(), limit, str(path))
    with refusals(str(path), _REMEDY), open_archive(path) as archive:
        return _from_archive(archive, limit)


def revive(source: str | PathLike[str], *, memory_limit: int | None = None) -> Model:
    """Restore a model from the text that ``as_json`` gave, or from a file.

    Parameters
    ----------
    source
        The text, or the path of a file with the text or of one that ``save`` wrote.
    memory_limit
        As for :func:`load`.

    Returns
    -------
    LinearMixedModel, GeneralizedLinearMixedModel or ModelSpec

    Raises
    ------
    SchemaError
        As :func:`load` does.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
    >>> mf.revive(fit.as_json()).artifact == fit.artifact
    True
    """
    if isinstance(source, str) and source.lstrip()[:1] in ("{", "["):
        return _from_text(source.encode(), _limit(memory_limit), "the text")
    if not isinstance(source, str | os.PathLike):
        raise ArgumentError(
            f"source is the text of as_json() or the path of a file, not of type {type(source).__name__}", argument="source"
        )
    return load(source, memory_limit=memory_limit)


def _limit(memory_limit: int | None) -> int | None:
    if memory_limit is not None and (isinstance(memory_limit, bool) or not isinstance(memory_limit, int) or memory_limit < 1):
        raise ArgumentError(
            f"memory_limit is a positive number of bytes or None, not {memory_limit!r}", argument="memory_limit"
        )
    return memory_limit


def _from_text(text: bytes, limit: int | None, name: str) -> Model:
    from mixeff_fast.storage.archive import refusals
    from mixeff_fast.storage.text import open_text

    with refusals(name, "write the model again with as_json()"):
        return _from_archive(open_text(text), limit)


def _from_archive(archive: Archive, limit: int | None) -> Model:
    from mixeff_fast.compile.fingerprint import fingerprint
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.storage import check
    from mixeff_fast.storage.budget import Budget
    from mixeff_fast.storage.members import read_model

    if archive.kind == "statistics":
        raise SchemaError("it holds sufficient statistics; read it with SufficientStatistics.load()")
    state = read_model(archive, Budget(archive.size, limit))
    model = restored(state)
    spec = model if isinstance(model, ModelSpec) else model.spec
    check.check_compiled(spec.compiled, spec.artifact, fingerprint(spec.compiled.frame).digest)
    if not isinstance(model, ModelSpec):
        check.check_result(spec.compiled, model.result)
        digest = hashlib.sha256(spec.artifact.model_dump_json().encode()).hexdigest()
        check.check_fit(model.artifact, spec.compiled, model.result, digest, getattr(model, "inference", None))
    return model
