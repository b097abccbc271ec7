"""Files of sufficient statistics: a zip archive of a JSON header, NumPy arrays and Arrow tables of levels. Nothing in one
is executed: the formula is parsed as any other, and arrays hold numbers only."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast._version import __version__
from mixeff_fast.errors import MixeffError, SchemaError
from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.fit.statistics import PairSums, Statistics, Sums, factor_pairs, statistics_of
from mixeff_fast.fit.statistics_sum import packed_width
from mixeff_fast.formula import model_formula
from mixeff_fast.frame.columns import Note
from mixeff_fast.frame.streamframe import Facts, numeric_expressions, value_columns
from mixeff_fast.frame.transforms import TransformState, evaluate
from mixeff_fast.frame.variables import effect_variables

if TYPE_CHECKING:
    from mixeff_fast.schemas.statistics import CodingRecord, SufficientStatisticsHeader

_HEADER = "header.json"
_MOST_HEADER_BYTES = 1 << 26


def write_statistics(statistics: Statistics, path: Path) -> None:
    """Write a file."""
    sums = statistics.sums
    arrays = {"border": sums.border, "meetings": sums.meetings}
    arrays |= {f"levels-{k}": packed for k, packed in enumerate(sums.levels)}
    for i, pair in enumerate(sums.pairs):
        arrays |= {f"keys-{i}": pair.keys, f"products-{i}": pair.products}
    header = _header(statistics).model_dump_json()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_HEADER, header)
        for i, values in enumerate(statistics.facts.values.values()):
            content = io.BytesIO()
            values.write_ipc(content)
            archive.writestr(f"values-{i}.arrow", content.getvalue())
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def _header(statistics: Statistics) -> SufficientStatisticsHeader:
    from mixeff_fast.schemas.statistics import NoteRecord, StandardRecord, SufficientStatisticsHeader

    facts, standard = statistics.facts, statistics.standard
    return SufficientStatisticsHeader(
        header=SufficientStatisticsHeader.make_header(__version__),
        formula=facts.formula.text,
        codings={key: _coding_record(coding) for key, coding in facts.codings.items()},
        states={key: state.calls for key, state in facts.states.items()},
        suffixes=facts.suffixes,
        values=tuple(facts.values),
        n=facts.n,
        n_chosen=facts.n_chosen,
        n_source_rows=facts.n_source_rows,
        na_counts=facts.na_counts,
        weighted=facts.weighted,
        has_offset=facts.has_offset,
        offset=facts.offset,
        notes=tuple(NoteRecord(code=n.code, message=n.message, column=n.column, payload=n.payload) for n in facts.notes),
        standard=StandardRecord(
            x_shift=tuple(standard.x_shift.tolist()),
            x_scale=tuple(standard.x_scale.tolist()),
            y_shift=standard.y_shift,
            y_scale=standard.y_scale,
            z_shift=tuple(tuple(shift.tolist()) for shift in standard.z_shift),
            z_scale=tuple(tuple(scale.tolist()) for scale in standard.z_scale),
            root_weight=standard.root_weight,
        ),
        log_weights=statistics.sums.log_weights,
        response_range=statistics.sums.response_range,
    )


def _coding_record(coding: Any) -> CodingRecord:
    from mixeff_fast.schemas.statistics import CodingRecord

    if isinstance(coding, str):
        return CodingRecord(name=coding)
    matrix, names = (coding["matrix"], coding.get("names")) if isinstance(coding, dict) else (coding, None)
    rows = tuple(tuple(row) for row in np.asarray(matrix, np.float64).tolist())
    return CodingRecord(matrix=rows, names=None if names is None else tuple(map(str, names)))


def read_statistics(path: Path) -> Statistics:
    """Read a file.

    Raises
    ------
    SchemaError
        If it is not such a file, of another version, or if its parts do not fit together.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            header = _read_header(archive)
            facts = _facts(header, archive)
            standard = _standard(header)
            sums = _read_sums(header, archive)
        statistics = statistics_of(facts, standard, sums)
        _check(statistics)
    except SchemaError:
        raise
    except (MixeffError, zipfile.BadZipFile, KeyError, ValueError, OSError, EOFError, MemoryError,
            pl.exceptions.PolarsError) as problem:
        if isinstance(problem, FileNotFoundError | PermissionError | IsADirectoryError):
            raise
        raise SchemaError(
            f"{path} does not hold sufficient statistics that can be read: {type(problem).__name__}: {problem}; write the "
            "file again with save()",
            path=str(path),
        ) from problem
    return statistics


def _read_header(archive: zipfile.ZipFile) -> SufficientStatisticsHeader:
    from mixeff_fast.schemas.statistics import SufficientStatisticsHeader

    if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
        raise SchemaError("the file is compressed, which those of sufficient statistics are not")
    if archive.getinfo(_HEADER).file_size > _MOST_HEADER_BYTES:
        raise SchemaError("the header of the file is too large to be one of sufficient statistics")
    try:
        content = json.loads(archive.read(_HEADER))
        name, version = content["header"]["schema_name"], content["header"]["schema_version"]
        known = tuple(map(int, SufficientStatisticsHeader.VERSION.split(".")))
        found = tuple(map(int, version.split(".")))
    except (TypeError, AttributeError, RecursionError, UnicodeDecodeError) as problem:
        raise SchemaError(f"the header of the file cannot be read: {problem}") from problem
    if name != SufficientStatisticsHeader.NAME:
        raise SchemaError(f"the file holds {name!r}, not {SufficientStatisticsHeader.NAME!r}", schema_name=name)
    # Before 1.0 a minor version may change meaning.
    if found[:2] > known[:2] or found[0] != known[0]:
        raise SchemaError(
            f"the file has version {version} of its schema, and this package reads {SufficientStatisticsHeader.VERSION}; "
            "use a newer mixeff_fast",
            schema_name=name,
            schema_version=version,
        )
    return SufficientStatisticsHeader.model_validate(content)


def _array(archive: zipfile.ZipFile, name: str, dtype: Any) -> Any:
    with archive.open(f"{name}.npy") as member:
        array = np.lib.format.read_array(member, allow_pickle=False)
    if array.dtype != dtype or not array.flags.c_contiguous:
        raise SchemaError(f"array {name} of the file has type {array.dtype}, not {np.dtype(dtype)}")
    return array


def _facts(header: SufficientStatisticsHeader, archive: zipfile.ZipFile) -> Facts:
    values = {}
    for i, names in enumerate(header.values):
        values[names] = pl.read_ipc(io.BytesIO(archive.read(f"values-{i}.arrow")))
    codings: dict[str, Any] = {}
    for key, coding in header.codings.items():
        matrix = None if coding.matrix is None else [list(row) for row in coding.matrix]
        named = None if coding.names is None else {"matrix": matrix, "names": list(coding.names)}
        codings[key] = coding.name or named or matrix
    formula = model_formula(header.formula)
    factors = set(effect_variables(formula, fixed=True, groups=None)) - set(header.suffixes)
    if list(values) != value_columns(formula, factors) or any(
        tuple(frame.columns) != names or frame.height == 0 or frame.null_count().sum_horizontal()[0]
        for names, frame in values.items()
    ):
        raise SchemaError("the levels in the file are not those of its formula")
    return Facts(
        formula=formula,
        values=values,
        codings=codings,
        states={key: TransformState(dict(calls)) for key, calls in header.states.items()},
        suffixes=dict(header.suffixes),
        n=header.n,
        n_chosen=header.n_chosen,
        n_source_rows=header.n_source_rows,
        na_counts=dict(header.na_counts),
        weighted=header.weighted,
        has_offset=header.has_offset,
        offset=header.offset,
        notes=tuple(Note(n.code, n.message, n.column, n.payload) for n in header.notes),  # type: ignore[arg-type]
    )


def _standard(header: SufficientStatisticsHeader) -> Standardization:
    given = header.standard
    return Standardization(
        np.array(given.x_shift, np.float64),
        np.array(given.x_scale, np.float64),
        given.y_shift,
        given.y_scale,
        tuple(np.array(shift, np.float64) for shift in given.z_shift),
        tuple(np.array(scale, np.float64) for scale in given.z_scale),
        0 if model_formula(header.formula).fixed.intercept else -1,
        given.root_weight,
        None,
        (None,) * len(given.z_shift),
    )


def _read_sums(header: SufficientStatisticsHeader, archive: zipfile.ZipFile) -> Sums:
    n_factors = len(header.standard.z_shift)
    pairs = tuple(
        PairSums(_array(archive, f"keys-{i}", np.int64), _array(archive, f"products-{i}", np.float64))
        for i in range(len(factor_pairs(n_factors)))
    )
    return Sums(
        _array(archive, "border", np.float64),
        tuple(_array(archive, f"levels-{k}", np.float64) for k in range(n_factors)),
        pairs,
        _array(archive, "meetings", np.int32),
        header.log_weights,
        header.response_range,
    )


def _check(statistics: Statistics) -> None:
    """Every array has the shape that the model calls for, and holds finite numbers and levels that exist."""
    layout, standard, sums = statistics.layout, statistics.standard, statistics.sums
    p = len(layout.fixed.names)
    factors = layout.factors
    sizes = [factor.n_levels for factor in factors]
    widths = [factor.width for factor in factors]
    shapes = [(sums.border, (p + 1, p + 1)), (standard.x_shift, (p,)), (standard.x_scale, (p,))]
    if len(factors) != len(sums.levels):
        raise SchemaError("the file has sums for another number of grouping factors than its formula")
    for k, (q, w) in enumerate(zip(sizes, widths, strict=True)):
        shapes += [(sums.levels[k], (q, packed_width(w, p + 1))), (standard.z_shift[k], (w,)), (standard.z_scale[k], (w,))]
    for (a, b), pair in zip(factor_pairs(len(factors)), sums.pairs, strict=True):
        shapes += [(pair.products, (len(pair.keys), widths[a] * widths[b]))]
        rising = bool(np.all(np.diff(pair.keys) > 0))
        inside = len(pair.keys) > 0 and 0 <= pair.keys[0] <= pair.keys[-1] < sizes[a] * sizes[b]
        if pair.keys.ndim != 1 or not rising or not inside:
            raise SchemaError("the pairs of levels in the file are not those of its levels")
    if any(array.shape != shape for array, shape in shapes) or sums.meetings.ndim != 2:
        raise SchemaError("arrays of the file do not have the shapes that its formula and levels call for")
    if not all(np.isfinite(array).all() for array, _ in shapes) or not np.isfinite([
        sums.log_weights, *sums.response_range, standard.y_shift
    ]).all():
        raise SchemaError("the file holds numbers that are not finite")
    scales = np.concatenate([standard.x_scale, *standard.z_scale, [standard.y_scale, standard.root_weight]])
    if not np.all((scales > 0.0) & np.isfinite(scales)):
        raise SchemaError("the file holds scales that are not positive")
    if len(factors) > 2:
        _check_meetings(statistics, sizes)
    _check_states(statistics.facts)


def _check_states(facts: Facts) -> None:
    """Every expression can be evaluated with what its transforms learned."""
    factors = set(effect_variables(facts.formula, fixed=True, groups=None)) - set(facts.suffixes)
    for key, variable in numeric_expressions(facts.formula, factors).items():
        values, _ = evaluate(facts.formula.text, variable, lambda _: np.array([0.25, 0.75]), facts.states[key])
        width = 1 if np.ndim(values) < 2 else np.shape(values)[1]
        if width != len(facts.suffixes.get(key, ("",))):
            raise SchemaError(f"the columns of {key!r} in the file are not those of its transforms")


def _check_meetings(statistics: Statistics, sizes: list[int]) -> None:
    """Their pairs are those that have sums."""
    meetings = statistics.sums.meetings
    if meetings.shape[1] != len(sizes) or np.any(meetings < 0) or np.any(meetings >= np.array(sizes)):
        raise SchemaError("levels that meet in the file do not exist")
    for (a, b), pair in zip(factor_pairs(len(sizes)), statistics.sums.pairs, strict=True):
        if not np.array_equal(np.unique(meetings[:, a].astype(np.int64) * sizes[b] + meetings[:, b]), pair.keys):
            raise SchemaError("levels that meet in the file are not those that have sums")
