"""Adding sufficient statistics of different rows.

Levels are united, and the sums of each side brought to the columns, shifts and scales of the union. These are linear in the
old ones: new levels of a factor among the effects change its columns, but in rows without these levels the new columns are
combinations of the old.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.compile import lay_out
from mixeff_fast.compile.scales import power_of_two
from mixeff_fast.errors import DataError
from mixeff_fast.fit.standardize import Standardization
from mixeff_fast.fit.statistics import PairSums, Statistics, Sums, combine_sums, factor_pairs
from mixeff_fast.fit.statistics_fit import map_sums
from mixeff_fast.formula import render
from mixeff_fast.frame.columns import FactorVariable, NumericVariable, quoted
from mixeff_fast.frame.levels import match_codes
from mixeff_fast.frame.streamframe import Facts, know, same_levels

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import Layout
    from mixeff_fast.frame import DesignColumns
    from mixeff_fast.frame.streamframe import Known

    Float = NDArray[np.float64]

# Entries of a change of columns are rational numbers with small denominators, but for the contrasts "poly" and "user".
_DENOMINATOR = 5040.0
_EXACT = 1e-11
_REMEDY = "compute them with like= the others, so that both are read in the same way"


def merge(one: Statistics, two: Statistics) -> Statistics:
    """The statistics of the rows of both.

    Raises
    ------
    DataError
        If the two differ in more than rows; the message says in what.
    """
    _require_same_model(one.facts, two.facts)
    facts = _together(one.facts, two.facts)
    known = know(facts)
    layout = lay_out(known.frame, as_written=True)
    parts = [(part, _Columns(part.layout, layout)) for part in (one, two)]
    standard = _common_standard(layout, parts)
    sums = []
    for part, change in parts:
        x, z = change.maps(part.standard, standard)
        own = map_sums(part.sums, x, z)
        sums.append(_recode(own, part, known, layout))
    return Statistics(facts, known, layout, standard, combine_sums(sums))


def _require_same_model(one: Facts, two: Facts) -> None:
    if render(one.formula) != render(two.formula):
        raise DataError(
            f"statistics of {render(one.formula)!r} and of {render(two.formula)!r} cannot be added; compute both from one "
            "formula",
            differs="formula",
        )
    if set(one.suffixes) != set(two.suffixes):
        mixed = sorted(set(one.suffixes) ^ set(two.suffixes))
        raise DataError(
            f"{quoted(mixed)} is a number in one part and a factor in the other; cast the column before both are read",
            differs="types",
            columns=mixed,
        )
    if not _same_codings(one.codings, two.codings):
        raise DataError(f"the parts have different contrasts; {_REMEDY}", differs="contrasts")
    for key in one.states:
        if one.states[key].calls != two.states[key].calls:
            raise DataError(
                f"{key!r} has learned different numbers from each part, so its columns do not mean the same; {_REMEDY}",
                differs="transforms",
                column=key,
            )
    for what in ("weighted", "has_offset"):
        if getattr(one, what) != getattr(two, what):
            noun = "weights" if what == "weighted" else "an offset"
            raise DataError(f"one part has {noun} and the other has not; compute both in the same way", differs=what)
    for names, values in one.values.items():
        other = two.values[names]
        if values.schema != other.schema:
            types = " and ".join(str(dict(frame.schema)) for frame in (values, other))
            raise DataError(
                f"the columns {quoted(names)} have different types in the parts ({types}); cast them before both are read",
                differs="types",
                columns=list(names),
            )


def _same_codings(one: dict[str, Any], two: dict[str, Any]) -> bool:
    plain = [{key: _plain(coding) for key, coding in codings.items()} for codings in (one, two)]
    return plain[0] == plain[1]


def _plain(coding: Any) -> Any:
    if isinstance(coding, str):
        return coding
    if isinstance(coding, dict):
        return {key: _plain(value) if key == "matrix" else list(value) for key, value in coding.items()}
    return np.asarray(coding, np.float64).tolist()


def _together(one: Facts, two: Facts) -> Facts:
    counts = dict(one.na_counts)
    for name, count in two.na_counts.items():
        counts[name] = counts.get(name, 0) + count
    return replace(
        one,
        values={
            names: pl.concat([values, two.values[names]]).unique().sort(list(names))
            for names, values in one.values.items()
        },
        n=one.n + two.n,
        n_chosen=one.n_chosen + two.n_chosen,
        n_source_rows=one.n_source_rows + two.n_source_rows,
        na_counts=counts,
        offset=one.offset if one.offset == two.offset else "",
        notes=(*one.notes, *(note for note in two.notes if note.code not in {n.code for n in one.notes})),
    )


class _Columns:
    """Raw columns of a union of levels as combinations of the raw columns of a part: ``x_new = x_old x``."""

    def __init__(self, part: Layout, union: Layout) -> None:
        self._part, self._union = part, union
        self.x = self._change(part.fixed, union.fixed)
        self.z: list[Float] = []
        for k, factor in enumerate(part.factors):
            change = np.zeros((factor.width, union.factors[k].width))
            for i in factor.blocks:
                own, new = part.blocks[i], union.blocks[i]
                rows = slice(own.first, own.first + own.width)
                change[rows, new.first : new.first + new.width] = self._change(own.design, new.design)
            self.z.append(change)

    def _change(self, old: DesignColumns, new: DesignColumns) -> Float:
        keys = {part.key for block in old.blocks for part in block.parts}
        if all(same_levels(self._part.frame.variables[key], self._union.frame.variables[key]) for key in keys):
            return np.eye(len(old.names))
        rng = np.random.default_rng(0)
        x_old, x_new = self._example(old, new, rng)
        change: Float = np.asarray(np.linalg.lstsq(x_old, x_new, rcond=1e-10)[0], np.float64)
        simple = np.round(change * _DENOMINATOR) / _DENOMINATOR
        change[...] = np.where(np.abs(change - simple) < _EXACT * np.maximum(1.0, np.abs(simple)), simple, change)
        x_old, x_new = self._example(old, new, rng)
        if np.max(np.abs(x_old @ change - x_new), initial=0.0) > 1e-9 * max(1.0, float(np.max(np.abs(x_new)))):
            raise DataError(
                f"the parts have different levels of {quoted(sorted(self._changed(keys)))}, and the columns of one cannot "
                f"be had from those of the other; {_REMEDY}",
                differs="levels",
                columns=sorted(self._changed(keys)),
            )
        return change

    def _changed(self, keys: set[str]) -> set[str]:
        old, new = self._part.frame.variables, self._union.frame.variables
        return {key for key in keys if not same_levels(old[key], new[key])}

    def _example(self, old: DesignColumns, new: DesignColumns, rng: np.random.Generator) -> tuple[Float, Float]:
        """Both designs over made-up rows that have the levels of the part only."""
        n = 20 * max(len(old.names), len(new.names)) + 200
        before: dict[str, NumericVariable | FactorVariable] = {}
        after: dict[str, NumericVariable | FactorVariable] = {}
        for key, variable in self._part.frame.variables.items():
            other = self._union.frame.variables[key]
            if isinstance(variable, FactorVariable):
                assert isinstance(other, FactorVariable)
                codes = rng.integers(0, len(variable.levels), n).astype(np.int32)
                before[key] = replace(variable, codes=codes)
                after[key] = replace(other, codes=match_codes(codes, variable.levels, other.levels)[0])
            else:
                shape = n if len(variable.suffixes) == 1 else (n, len(variable.suffixes))
                before[key] = after[key] = replace(variable, values=rng.normal(size=shape))
        return old.matrix(before, n), new.matrix(after, n)

    def maps(self, old: Standardization, new: Standardization) -> tuple[Float, list[Float]]:
        """The changes of the standardized columns ``[X y]`` and ``Z``."""
        p, p_new = self.x.shape
        weight = old.root_weight / new.root_weight
        x = np.zeros((p + 1, p_new + 1))
        x[:p, :p_new] = _standardized(self.x, old.x_shift, old.x_scale, new.x_shift, new.x_scale, old.intercept)
        x[p, p_new] = old.y_scale / new.y_scale
        if old.intercept >= 0:
            x[old.intercept, p_new] = (old.y_shift - new.y_shift) / new.y_scale
        z = []
        for k, change in enumerate(self.z):
            out = np.zeros_like(change)
            for i in self._part.factors[k].blocks:
                own, other = self._part.blocks[i], self._union.blocks[i]
                a = slice(own.first, own.first + own.width)
                b = slice(other.first, other.first + other.width)
                out[a, b] = _standardized(change[a, b], old.z_shift[k][a], old.z_scale[k][a], new.z_shift[k][b],
                                          new.z_scale[k][b], 0 if own.term.lhs.intercept else -1)
            z.append(out * weight)
        return x * weight, z


def _standardized(
    change: Float, shift: Float, scale: Float, new_shift: Float, new_scale: Float, intercept: int
) -> Float:
    """A change of raw columns as one of standardized columns; what is constant goes to the intercept."""
    out: Float = scale[:, None] * change / new_scale
    if intercept >= 0:
        out[intercept] += (shift @ change - new_shift) / new_scale
    return out


def _common_standard(layout: Layout, parts: list[tuple[Statistics, _Columns]]) -> Standardization:
    """Shifts and scales near the data of all parts together."""
    root_weight = max(part.standard.root_weight for part, _ in parts)
    edges: list[Float] = []
    slopes: list[list[Float]] = [[] for _ in layout.factors]
    for part, columns in parts:
        x, z = columns.maps(part.standard, _unit(layout, root_weight))
        edges.append(x.T @ part.sums.border @ x)
        for k, own in enumerate(z):
            edge = part.sums.levels[k]
            width = len(own)
            rows, places = np.tril_indices(width)
            square = np.zeros((width, width))
            square[rows, places] = square[places, rows] = edge[:, : len(rows)].sum(axis=0)
            slopes[k].append(own.T @ square @ own)
    n = layout.frame.n
    intercept = 0 if layout.formula.fixed.intercept else -1
    border = np.add.reduce(edges)
    shift, scale = _moments(border, intercept, n)
    if intercept >= 0:
        shift[intercept], scale[intercept] = 0.0, 1.0
    z_shift, z_scale = [], []
    for k, factor in enumerate(layout.factors):
        square = np.add.reduce(slopes[k])
        by, unit = np.zeros(factor.width), np.ones(factor.width)
        for i in factor.blocks:
            block = layout.blocks[i]
            columns_of = slice(block.first, block.first + block.width)
            centred = block.term.lhs.intercept and block.family == "full"
            by[columns_of], unit[columns_of] = _moments(square[columns_of, columns_of], 0 if centred else -1, n)
            if block.term.lhs.intercept:
                by[block.first], unit[block.first] = 0.0, 1.0
        z_shift.append(by)
        z_scale.append(unit)
    return Standardization(shift[:-1], scale[:-1], float(shift[-1]), float(scale[-1]), tuple(z_shift), tuple(z_scale),
                           intercept, root_weight, None, (None,) * len(layout.factors))


def _unit(layout: Layout, root_weight: float) -> Standardization:
    p = len(layout.fixed.names)
    widths = [factor.width for factor in layout.factors]
    return Standardization(
        np.zeros(p), np.ones(p), 0.0, 1.0, tuple(np.zeros(w) for w in widths), tuple(np.ones(w) for w in widths),
        0 if layout.formula.fixed.intercept else -1, root_weight, None, (None,) * len(widths),
    )


def _moments(square: Float, intercept: int, n: int) -> tuple[Float, Float]:
    """Means (zero without an intercept) and root mean squares about them, from a cross-product of raw columns."""
    own = np.diag(square)
    if intercept < 0:
        mean, total = np.zeros(len(own)), float(n)
    else:
        total = float(square[intercept, intercept])
        mean = square[intercept] / total
    about = np.maximum(own / total - mean**2, 0.0)
    # What cancels in raw columns far from zero leaves no digits of their spread: any scale serves then.
    about = np.where(about > 1e-12 * own / total, about, own / total)
    return mean, np.array([power_of_two(v) for v in np.sqrt(about).tolist()])


def _recode(sums: Sums, part: Statistics, known: Known, union: Layout) -> Sums:
    """Enter the sums of a part's levels among those of the union."""
    tables = [_level_table(part, known, factor.group.name) for factor in part.layout.factors]
    levels = []
    for table, packed, factor in zip(tables, sums.levels, union.factors, strict=True):
        wider = np.zeros((factor.n_levels, packed.shape[1]))
        wider[table] = packed
        levels.append(wider)
    pairs = []
    for (a, b), pair in zip(factor_pairs(len(tables)), sums.pairs, strict=True):
        first, second = np.divmod(pair.keys, part.layout.factors[b].n_levels)
        keys = tables[a][first] * np.int64(union.factors[b].n_levels) + tables[b][second]
        order = np.argsort(keys)
        pairs.append(PairSums(keys[order], pair.products[order]))
    meetings = sums.meetings
    if len(meetings):
        meetings = np.column_stack([table[meetings[:, k]] for k, table in enumerate(tables)]).astype(np.int32)
    return replace(sums, levels=tuple(levels), pairs=tuple(pairs), meetings=meetings)


def _level_table(part: Statistics, union: Known, name: str) -> NDArray[np.int64]:
    """Per level of the part, its place among those of the union."""
    own, new = part.known.groups[name], union.groups[name]
    values = part.facts.values[own.columns]
    columns = [values.get_column(column) for column in own.columns]
    table = np.zeros(len(part.known.frame.groups[name].levels), np.int64)
    table[own(columns)] = new(columns)
    return table
