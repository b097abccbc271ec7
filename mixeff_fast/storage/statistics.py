"""Sufficient statistics as members of a file: a JSON header, NumPy arrays and tables of levels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast._version import __version__
from mixeff_fast.errors import SchemaError
from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.fit.statistics import PairSums, Statistics, Sums, factor_pairs, statistics_of
from mixeff_fast.fit.statistics_sum import packed_width
from mixeff_fast.formula import model_formula
from mixeff_fast.frame.columns import Note
from mixeff_fast.frame.streamframe import Facts, numeric_expressions, value_columns
from mixeff_fast.frame.transforms import TransformState, evaluate
from mixeff_fast.frame.variables import effect_variables
from mixeff_fast.schemas.statistics import NoteRecord, StandardRecord, SufficientStatisticsHeader
from mixeff_fast.storage.archive import open_archive, read_json, refusals, write_archive
from mixeff_fast.storage.arrays import array_bytes, read_array
from mixeff_fast.storage.budget import Budget
from mixeff_fast.storage.codings import coding_record, given_coding
from mixeff_fast.storage.frames import frame_bytes, read_frame
from mixeff_fast.storage.sizes import check_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mixeff_fast.storage.archive import Archive, Member

_FOLDER = "statistics"


def write_statistics(statistics: Statistics, path: Path) -> None:
    """Write a file."""
    write_archive(path, "statistics", statistics_members(statistics))


def statistics_members(statistics: Statistics) -> Iterator[Member]:
    """The members that hold statistics."""
    sums = statistics.sums
    yield f"{_FOLDER}/header.json", _header(statistics).model_dump_json().encode()
    for i, values in enumerate(statistics.facts.values.values()):
        yield f"{_FOLDER}/values-{i}.parquet", frame_bytes(values)
    arrays: dict[str, Any] = {"border": sums.border, "meetings": sums.meetings}
    arrays |= {f"levels-{k}": packed for k, packed in enumerate(sums.levels)}
    for i, pair in enumerate(sums.pairs):
        arrays |= {f"keys-{i}": pair.keys, f"products-{i}": pair.products}
    for name, array in arrays.items():
        yield f"{_FOLDER}/{name}.npy", array_bytes(array)


def _header(statistics: Statistics) -> SufficientStatisticsHeader:
    facts, standard = statistics.facts, statistics.standard
    return SufficientStatisticsHeader(
        header=SufficientStatisticsHeader.make_header(__version__),
        formula=facts.formula.text,
        codings={key: coding_record(coding) for key, coding in facts.codings.items()},
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


def read_statistics(path: Path, memory_limit: int | None = None) -> Statistics:
    """Read a file.

    Raises
    ------
    SchemaError
        If it is not such a file, of another version, or if its parts do not fit together.
    """
    path.open("rb").close()
    with refusals(str(path), "write sufficient statistics again with save()"), open_archive(path) as archive:
        if archive.kind != "statistics":
            raise SchemaError(f"it holds a {archive.kind}, not sufficient statistics; read it with load()")
        return statistics_from(archive, Budget(archive.size, memory_limit))


def statistics_from(archive: Archive, budget: Budget) -> Statistics:
    """Read the members that hold statistics."""
    header = read_json(archive.read(f"{_FOLDER}/header.json"), SufficientStatisticsHeader)
    facts = _facts(header, archive, budget)
    statistics = statistics_of(facts, _standard(header), _read_sums(header, archive))
    _check(statistics)
    return statistics


def _facts(header: SufficientStatisticsHeader, archive: Archive, budget: Budget) -> Facts:
    values = {}
    for i, names in enumerate(header.values):
        member = f"{_FOLDER}/values-{i}.parquet"
        values[names] = read_frame(archive.read(member), member, budget)
    codings = {key: given_coding(coding) for key, coding in header.codings.items()}
    formula = model_formula(header.formula)
    effects = effect_variables(formula, fixed=True, groups=None)
    factors = set(effects) - set(header.suffixes)
    if list(values) != value_columns(formula, factors) or any(
        tuple(frame.columns) != names or frame.height == 0 or frame.null_count().sum_horizontal()[0]
        for names, frame in values.items()
    ):
        raise SchemaError("the levels in the file are not those of its formula")
    check_sizes(formula, {key: values[effects[key].columns[:1]].height for key in factors}, 2, budget)
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


def _read_sums(header: SufficientStatisticsHeader, archive: Archive) -> Sums:
    def array(name: str, dtype: str = "float64") -> Any:
        found = read_array(archive.read(f"{_FOLDER}/{name}.npy"), name, dtype)
        if not found.flags.c_contiguous:
            raise SchemaError(f"array {name} is not stored by rows")
        return found

    n_factors = len(header.standard.z_shift)
    pairs = tuple(
        PairSums(array(f"keys-{i}", "int64"), array(f"products-{i}")) for i in range(len(factor_pairs(n_factors)))
    )
    return Sums(
        array("border"),
        tuple(array(f"levels-{k}") for k in range(n_factors)),
        pairs,
        array("meetings", "int32"),
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
