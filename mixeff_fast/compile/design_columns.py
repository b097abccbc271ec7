"""Columns of the caller's data that the model does not use: which of them could be units, and their levels."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.compile.design_levels import grouped
from mixeff_fast.errors import DataError
from mixeff_fast.frame.levels import encode
from mixeff_fast.frame.source import column_names, read_columns
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile.design_levels import Grouped
    from mixeff_fast.frame import ModelFrame

    Int = NDArray[np.int64]

_LABELS = (pl.String, pl.Enum, pl.Categorical)
_SUFFIXES = frozenset({"id", "ids", "unit", "units", "code"})
# names that studies give the things they observe repeatedly, in the singular
_UNIT_WORDS = frozenset({
    "animal", "batch", "block", "brood", "cage", "cask", "center", "centre", "child", "classroom", "clinic", "cluster",
    "colony", "company", "customer", "department", "dept", "district", "doctor", "employee", "family", "farm", "firm",
    "herd", "hospital", "household", "individual", "item", "judge", "lab", "laboratory", "lecturer", "litter", "lot",
    "machine", "mouse", "nest", "operator", "participant", "patient", "person", "plate", "plot", "pupil", "rater", "rat",
    "respondent", "school", "site", "speaker", "stimulus", "stimuli", "student", "subj", "subject", "teacher", "tree",
    "user", "village", "ward", "word", "worker",
})
# of these, what lies within one larger unit as a rule, so that labels are often used again in the next
_MEMBER_WORDS = frozenset({
    "animal", "cage", "cask", "child", "classroom", "employee", "household", "individual", "litter", "mouse", "nest",
    "patient", "person", "plot", "pupil", "rat", "student", "teacher", "tree", "village", "ward", "worker",
})
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
# rows of a sample; with this many times the square root of the rows, pairs of rows in one level are met some 16 times
_SAMPLE_ROWS, _COLLISIONS = 1 << 14, 8.0


@dataclass(frozen=True, slots=True, eq=False)
class ExaminedColumns:
    """Columns of the data beside those of the model.

    Attributes
    ----------
    names
        Those that could be units going by their type: labels of any kind, whole numbers, and fractions with the name of an
        identifier.
    columns
        All columns that were read, for all rows of the data.
    kept_rows
        The rows in use; None for all.
    """

    names: tuple[str, ...]
    columns: dict[str, pl.Series]
    kept_rows: Int | None

    def levels(self, name: str) -> Grouped | None:
        """Code a column over the rows in use; None for a type that has no levels."""
        series = self.columns[name]
        return _coded(series if self.kept_rows is None else series.gather(self.kept_rows))

    def sample(self, name: str) -> tuple[Int, Grouped | None]:
        """A random sample of the rows in use, by position among them, and the column's levels there; the same every time.

        It is so large that a column most of whose rows share their level with another row repeats some in it.
        """
        series = self.columns[name]
        n = len(series) if self.kept_rows is None else len(self.kept_rows)
        size = max(_SAMPLE_ROWS, int(_COLLISIONS * np.sqrt(n)))
        rows = np.arange(n) if size >= n else np.sort(np.random.default_rng(0).choice(n, size, replace=False, shuffle=False))
        return rows, _coded(series.gather(rows if self.kept_rows is None else self.kept_rows[rows]))

    def is_label(self, name: str) -> bool:
        """Whether a column holds text or categories."""
        return isinstance(self.columns[name].dtype, _LABELS)


NO_COLUMNS = ExaminedColumns((), {}, None)


def has_unit_name(name: str) -> bool:
    """Whether a column is named like something that is observed repeatedly: ``subject``, ``school_id``, ``PatientID``.

    Examples
    --------
    >>> [has_unit_name(name) for name in ("Subject", "school_id", "PatientID", "plots", "score", "valid")]
    [True, True, True, True, False, False]
    """
    words = _words(name)
    return words == ["id"] or (len(words) > 1 and words[-1] in _SUFFIXES) or not _UNIT_WORDS.isdisjoint(words)


def has_member_name(name: str) -> bool:
    """Whether a column is named like something that lies within one larger unit: ``person``, ``plot_no``."""
    return not _MEMBER_WORDS.isdisjoint(_words(name))


def _words(name: str) -> list[str]:
    """The words of a name in lower case, in the singular where that is known."""
    words = [word.lower() for word in _WORDS.findall(name) if not word.isdigit()]
    return [word if word in _UNIT_WORDS or word.removesuffix("s") not in _UNIT_WORDS else word[:-1] for word in words]


def examined_columns(data: Any, frame: ModelFrame, audit_columns: Sequence[str] | None) -> ExaminedColumns:
    """Take the columns that the model does not use out of the caller's data.

    Parameters
    ----------
    data
        What the model was compiled from: a Polars frame, eager or lazy, or an object with ``__arrow_c_stream__``.
    frame
        The data of the model, whose rows are in use.
    audit_columns
        The columns to look at. None means all of data in memory, and none of a lazy frame.

    Returns
    -------
    ExaminedColumns

    Raises
    ------
    DataError
        If ``audit_columns`` names columns that the data do not have.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> data = mf.datasets.load("Pastes")
    >>> spec = mf.compile_model("strength ~ 1 + (1 | batch)", data)
    >>> examined_columns(data, spec.compiled.frame, None).names
    ('cask', 'sample')
    """
    if frame.response is ROWS_ELSEWHERE:
        return NO_COLUMNS
    if audit_columns is None:
        if isinstance(data, pl.LazyFrame):
            return NO_COLUMNS
        try:
            wanted = column_names(data)
        except DataError:
            return NO_COLUMNS
    else:
        wanted = list(dict.fromkeys(audit_columns))
    used = set(frame.formula.columns)
    columns = _read(data, [name for name in wanted if name not in used], lenient=audit_columns is None)
    # a stream that can be read once only, or data that were changed in place
    columns = {name: series for name, series in columns.items() if len(series) == frame.n_source_rows}
    return ExaminedColumns(
        tuple(name for name, series in columns.items() if _may_be_unit(name, series.dtype)), columns, frame.kept_rows
    )


def _read(data: Any, names: list[str], lenient: bool) -> dict[str, pl.Series]:
    """Read columns; ``lenient`` leaves out what cannot be read, as the model has no use for it."""
    if not names:
        return {}
    try:
        return read_columns(data, names, {})[0]
    except DataError:
        if not lenient:
            raise
    found: dict[str, pl.Series] = {}
    for name in names if len(names) > 1 else ():
        found |= _read(data, [name], lenient)
    return found


def _may_be_unit(name: str, dtype: pl.DataType) -> bool:
    return isinstance(dtype, _LABELS) or dtype.is_integer() or (dtype.is_float() and has_unit_name(name))


def _coded(series: pl.Series) -> Grouped | None:
    """Codes and counts; missing values are a level of their own, as they are where a unit was not recorded."""
    if series.dtype.is_nested() or series.dtype == pl.Null:
        return None
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.null_count():
        series = series.cast(pl.String).fill_null("")
    codes, levels, _ = encode(series, series.dtype)
    return grouped(codes, len(levels))
