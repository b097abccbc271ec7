"""The first pass over data that are read in batches: which values occur, what transforms learn, which rows are unusable."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from mixeff_fast.formula.model import ModelFormula, Variable
from mixeff_fast.formula.tree import Name
from mixeff_fast.frame.levels import encode
from mixeff_fast.frame.modelframe import ModelFrame, match_contrasts, read_response
from mixeff_fast.frame.notices import issue
from mixeff_fast.frame.rows import RowReader
from mixeff_fast.frame.streamframe import Facts, Known, know, numeric_expressions, value_columns
from mixeff_fast.frame.streamlearn import Lessons
from mixeff_fast.frame.streamlevels import distinct
from mixeff_fast.frame.streamsource import BatchReader, Ledger, Scan, sample_reader
from mixeff_fast.frame.variables import check_scale, check_scales, effect_variables, is_factor, read_numeric

# As many rows as shifts and scales are taken from in memory.
_SAMPLE_ROWS = 65_536


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What the first pass found: the facts, how to read rows, and evenly spaced rows."""

    facts: Facts
    known: Known
    sample: ModelFrame


class _Sample:
    """Every ``step``-th of the rows in use, where the step doubles as they become many."""

    def __init__(self) -> None:
        self._parts: list[pl.DataFrame] = []
        self._size = self._n = 0
        self._step = 1

    def see(self, rows: BatchReader) -> None:
        part = rows.table(pl.Series(np.arange(-self._n % self._step, rows.n, self._step)))
        self._parts.append(part)
        self._size += part.height
        self._n += rows.n
        while self._size >= 2 * _SAMPLE_ROWS:
            whole = self.table()[np.arange(0, self._size, 2)]
            self._parts, self._size, self._step = [whole], whole.height, 2 * self._step

    def table(self) -> pl.DataFrame:
        return pl.concat(self._parts, rechunk=True)


def survey(
    scan: Scan, formula: ModelFormula, contrasts: Mapping[str, Any] | None, like: Facts | None = None
) -> Survey:
    """Read the data once, and again for transforms that need it.

    Parameters
    ----------
    scan
        The data.
    formula
        The model.
    contrasts
        As for `build_frame`.
    like
        Facts of other data, whose transform states, contrasts and levels of effects are taken over.

    Raises
    ------
    DataError, ArgumentError, FormulaError
        As `build_frame` does; rows that cannot be used are counted over all batches.
    """
    empty = RowReader({name: pl.Series(name, [], dtype) for name, dtype in scan.columns.items()}, {}, 0)
    _check_response_type(formula, empty)
    wanted = effect_variables(formula, fixed=True, groups=None)
    factors = {key for key, variable in wanted.items() if is_factor(variable, empty)}
    codings: dict[str, Any] = {} if like is None else like.codings
    if contrasts is not None:
        codings = match_contrasts(contrasts, [wanted[key] for key in wanted if key in factors])
    columns = value_columns(formula, factors)
    for name in {name for names in columns for name in names}:
        encode(pl.Series(name, [], scan.columns[name]), scan.columns[name])
    lessons = Lessons(formula.text)
    if like is None:
        for variable in numeric_expressions(formula, factors).values():
            lessons.add(variable)
    else:
        lessons.states = like.states
    collectors = {names: distinct(names, [scan.columns[name] for name in names]) for names in columns}
    plain = _numeric_variables(formula, wanted, factors)
    sample = _Sample()
    ledger = _read_all(scan, formula, lessons, collectors, plain, sample)
    while lessons.open:
        _read_all(scan, formula, lessons, {}, plain, None)
    values = {names: collector.found() for names, collector in collectors.items()}
    if like is not None:
        values |= {(wanted[key].columns[0],): _together(values, like, wanted[key].columns[0]) for key in factors}
    facts = Facts(
        formula=formula,
        values=values,
        codings=codings,
        states=lessons.states,
        suffixes={},
        n=ledger.n_kept,
        n_chosen=ledger.n_chosen,
        n_source_rows=ledger.n_source,
        na_counts=ledger.na_counts,
        weighted="weights" in scan.arguments,
        has_offset="offset" in scan.arguments or bool(formula.offsets),
        offset=_offset_column(scan),
    )
    return _conclude(scan, facts, sample_reader(scan, sample.table()), wanted, factors)


def _check_response_type(formula: ModelFormula, empty: RowReader) -> None:
    variable = formula.response.variables[0]
    if isinstance(variable.node, Name) or is_factor(variable, empty):
        read_response(formula, empty)


def _numeric_variables(formula: ModelFormula, wanted: dict[str, Variable], factors: set[str]) -> dict[str, Variable]:
    found = {key: variable for key, variable in wanted.items() if key not in factors}
    return found | {variable.key: variable for variable in (*formula.response.variables, *formula.offsets)}


def _read_all(
    scan: Scan,
    formula: ModelFormula,
    lessons: Lessons,
    collectors: Mapping[tuple[str, ...], Any],
    numeric: Mapping[str, Variable],
    sample: _Sample | None,
) -> Ledger:
    """One pass over the rows."""
    ledger = scan.ledger()
    for first, batch in scan.batches():
        rows = scan.rows(first, batch, ledger)
        if rows.n == 0:
            continue
        for names, collector in collectors.items():
            for name in names:
                if scan.columns[name].is_float():
                    rows.numeric(name)
            collector.see([rows.series(name) for name in names])
        for key, variable in numeric.items():
            if lessons.is_known(key):
                read_numeric(formula.text, variable, rows, lessons.states.get(key))
        lessons.see(rows.numeric)
        rows.argument("offset")
        rows.require_positive_weights()
        if sample is not None:
            sample.see(rows)
    scan.check_length(ledger.n_source)
    ledger.refuse(scan.na_action)
    lessons.finish_pass()
    return ledger


def _together(values: dict[tuple[str, ...], pl.DataFrame], like: Facts, column: str) -> pl.DataFrame:
    other = like.values.get((column,))
    own = values[(column,)]
    if other is None or other.schema != own.schema:
        return own
    return pl.concat([own, other]).unique().sort(column)


def _offset_column(scan: Scan) -> str | None:
    given = scan.arguments.get("offset")
    return given if given is None or isinstance(given, str) else ""


def _conclude(scan: Scan, facts: Facts, rows: RowReader, wanted: dict[str, Variable], factors: set[str]) -> Survey:
    """What follows from a sample of rows: how many columns each variable has, and whether scales call for a note."""
    for key, variable in wanted.items():
        if key not in factors:
            values, _ = read_numeric(facts.formula.text, variable, rows, facts.states.get(key))
            width = 1 if values.ndim == 1 else values.shape[1]
            facts.suffixes[key] = ("",) if width == 1 else tuple(map(str, range(1, width + 1)))
    known = know(facts)
    for note in known.frame.notes:
        issue(note)
    sample = known.read(rows)
    check_scale(facts.formula.response.name, sample.response)
    check_scales(sample.variables, rows)
    if rows.notes:
        facts = replace(facts, notes=tuple(rows.notes))
        known = replace(known, frame=replace(known.frame, notes=(*known.frame.notes, *rows.notes)))
    return Survey(facts, known, sample)
