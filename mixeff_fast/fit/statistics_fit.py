"""From sufficient statistics to the cross-product of a compiled model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile import lay_out
from mixeff_fast.fit.aliasing import aliased_columns
from mixeff_fast.fit.assemble import Assembled, assemble
from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.crossproduct import chunks
from mixeff_fast.fit.standardize import Standardization, standardize
from mixeff_fast.fit.statistics import PairSums, Statistics, Sums, factor_pairs
from mixeff_fast.fit.statistics_sum import packed_width, row_frames, sum_rows, with_rows
from mixeff_fast.fit.threads import Team
from mixeff_fast.frame.streamsurvey import survey
from mixeff_fast.kernels.structure import CrossProduct

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.formula import ModelFormula
    from mixeff_fast.frame.streamframe import Facts
    from mixeff_fast.frame.streamsource import Scan
    from mixeff_fast.kernels.structure import Plan

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# Levels handled at a time, so that temporaries do not grow with their number.
_LEVELS = 65_536


def scan_statistics(
    scan: Scan,
    formula: ModelFormula,
    contrasts: Mapping[str, Any] | None,
    like: Facts | None = None,
    threads: int | None = None,
) -> Statistics:
    """Read data in batches: once for levels, transforms and what is wrong with rows, once for the sums."""
    found = survey(scan, formula, contrasts, like)
    layout = lay_out(found.known.frame, as_written=True)
    standard = standardize(with_rows(layout, found.sample))
    kept = np.arange(len(layout.fixed.names), dtype=np.int64)
    sums = sum_rows(scan, found.known, layout, standard, kept, threads)
    return Statistics(found.facts, found.known, layout, standard, sums)


@dataclass(frozen=True, slots=True)
class StatisticsSource:
    """Where the engine of a model without rows takes its cross-product from.

    Attributes
    ----------
    statistics
        The statistics.
    scan
        The data, where they can be read again: for columns that are nearly combinations of others, which sums of squares
        cannot tell apart. Without it they count as aliased.
    assembled
        The cross-product, if it is known already.
    """

    statistics: Statistics
    scan: Scan | None
    assembled: Assembled | None = None

    @property
    def log_weights(self) -> float:
        """The sum of the logarithms of the weights."""
        return self.statistics.sums.log_weights

    def assemble(self, model: CompiledModel) -> Assembled:
        """The cross-product in the layout of a compiled model."""
        if self.assembled is not None:
            return self.assembled
        order = _Order(self.statistics, model)
        standard = order.standard(self.statistics.standard)

        def accumulate(
            model: CompiledModel, wanted: Standardization, kept: Int, arrays: Plan, team: Team
        ) -> CrossProduct:
            if wanted.x_basis is None and all(basis is None for basis in wanted.z_basis):
                return order.cross_product(self.statistics.sums, arrays, kept)
            written = order.as_written(wanted)
            if self.scan is None:
                return order.cross_product(_in_bases(self.statistics, written, kept), arrays, None)
            sums = sum_rows(self.scan, self.statistics.known, self.statistics.layout, written, kept)
            return order.cross_product(sums, arrays, None)

        def find_aliased(model: CompiledModel, standard: Standardization, gram: Float) -> list[int]:
            return aliased_columns(model, standard, gram, self._residual_products)

        return assemble(model, standard, Team(1), accumulate, find_aliased)

    def _residual_products(
        self, model: CompiledModel, standard: Standardization, sound: Int, suspects: Int, factor: Float, rows: list[Float]
    ) -> Float:
        """What the sound columns leave of each suspect, from one reading of the rows; nothing where there are none.

        The coefficients come from the cross-product; what they leave is small already, so its squares can be told, and
        corrected for the coefficients' rounding without cancellation.
        """
        from scipy.linalg import solve_triangular

        products = np.zeros((len(suspects), len(suspects)))
        if self.scan is None:
            return products
        coefficients = np.zeros((len(sound), len(suspects)))
        for i, row in enumerate(rows):
            k = len(row)
            if k:
                coefficients[:k, i] = solve_triangular(factor[:k, :k], row, lower=True, trans=1, check_finite=False)
        right = np.zeros_like(coefficients)
        columns = np.concatenate([sound, suspects])
        known, layout = self.statistics.known, self.statistics.layout
        with single_threaded_blas():
            for frame in row_frames(self.scan, known):
                for chunk in chunks(with_rows(layout, frame), standard, columns):
                    x = chunk.xy[:, :-1]
                    residual = x[:, len(sound) :] - x[:, : len(sound)] @ coefficients
                    products += residual.T @ residual
                    right += x[:, : len(sound)].T @ residual
        inner = np.zeros_like(right)
        for i, row in enumerate(rows):
            k = len(row)
            if k:
                inner[:k, i] = solve_triangular(factor[:k, :k], right[:k, i], lower=True, check_finite=False)
        return products - inner.T @ inner


class _Order:
    """The way between the order of the statistics and that of a compiled model, whose factors and terms may be permuted."""

    def __init__(self, statistics: Statistics, model: CompiledModel) -> None:
        layout = statistics.layout
        self._model = model
        written = [factor.group.name for factor in layout.factors]
        # per factor of the model: its place in the statistics, and where its columns stand there
        self.place = [written.index(factor.group.name) for factor in model.factors]
        first = {block.term.index: block.first for block in layout.blocks}
        self.columns = [
            np.concatenate([
                first[model.blocks[i].term.index] + np.arange(model.blocks[i].width, dtype=np.int64)
                for i in factor.blocks
            ])
            for factor in model.factors
        ]

    def standard(self, written: Standardization) -> Standardization:
        """A standardization without bases in the order of the model."""
        return replace(
            written,
            z_shift=tuple(written.z_shift[a][c] for a, c in zip(self.place, self.columns, strict=True)),
            z_scale=tuple(written.z_scale[a][c] for a, c in zip(self.place, self.columns, strict=True)),
            z_basis=(None,) * len(self.place),
        )

    def as_written(self, standard: Standardization) -> Standardization:
        """A standardization of the model in the order of the statistics."""
        shift, scale, basis = [], [], []
        for k in np.argsort(self.place).tolist():
            back = np.argsort(self.columns[k])
            shift.append(standard.z_shift[k][back])
            scale.append(standard.z_scale[k][back])
            own = standard.z_basis[k]
            basis.append(None if own is None else own[np.ix_(back, back)])
        return replace(standard, z_shift=tuple(shift), z_scale=tuple(scale), z_basis=tuple(basis))

    def cross_product(self, sums: Sums, arrays: Plan, kept: Int | None) -> CrossProduct:
        """Lay sums out for the kernels; ``kept`` chooses fixed-effect columns, None takes the sums as they are."""
        plan = self._model.plan
        chosen = np.arange(len(sums.border)) if kept is None else np.append(kept, len(sums.border) - 1)
        last = len(arrays.panel_ptr) - 1
        panel_size = int(arrays.panel_ptr[last] + plan.width[plan.block_factor[last]] * arrays.panel_cols[last])
        border = np.ascontiguousarray(sums.border[np.ix_(chosen, chosen)])
        cross = CrossProduct(np.zeros(plan.diag_size), np.zeros(panel_size), border)
        for k, a in enumerate(self.place):
            self._levels(k, sums.levels[a], len(sums.border), chosen, arrays, cross)
        for at, k in enumerate(plan.order):
            for other in plan.order[at + 1 :]:
                self._pair(k, other, sums, arrays, cross)
        return cross

    def _levels(self, k: int, packed: Float, border: int, chosen: Int, arrays: Plan, cross: CrossProduct) -> None:
        width = self._model.factors[k].width
        columns = self.columns[k]
        low, high = np.minimum.outer(columns, columns), np.maximum.outer(columns, columns)
        square = (high * (high + 1) // 2 + low).ravel()
        edge = (width * (width + 1) // 2 + columns[:, None] * border + chosen).ravel()
        inside = np.arange(width * width)
        for start in range(0, len(packed), _LEVELS):
            part = packed[start : start + _LEVELS]
            blocks = self._model.plan.level_block[k][start : start + len(part)]
            cross.diag[arrays.diag_ptr[blocks][:, None] + inside] = part[:, square]
            panel_cols = arrays.panel_cols[blocks]
            place = (arrays.panel_ptr[blocks] + panel_cols - len(chosen))[:, None, None]
            place = place + np.arange(width)[:, None] * panel_cols[:, None, None] + np.arange(len(chosen))
            cross.panel[place.reshape(len(part), -1)] = part[:, edge]

    def _pair(self, k: int, other: int, sums: Sums, arrays: Plan, cross: CrossProduct) -> None:
        """Enter ``Z_k'Z_other`` into the panels of the factor that is eliminated first."""
        model = self._model
        a, b = self.place[k], self.place[other]
        pairs = sums.pairs[factor_pairs(len(self.place)).index((min(a, b), max(a, b)))]
        second = model.factors[other if a < b else k].n_levels
        levels = np.divmod(pairs.keys, second)
        own, met = levels if a < b else levels[::-1]
        wk, wo = model.factors[k].width, model.factors[other].width
        ck, co = self.columns[k], self.columns[other]
        take = ck[:, None] * wo + co if a < b else co * wk + ck[:, None]
        n_blocks = len(arrays.panel_ptr)
        holders = np.repeat(np.arange(n_blocks, dtype=np.int64), np.diff(arrays.neighbour_ptr))
        found = holders * n_blocks + arrays.neighbour
        one, two = (model.plan.level_block[x][y].astype(np.int64) for x, y in ((k, own), (other, met)))
        block = np.minimum(one, two)
        at = np.searchsorted(found, block * n_blocks + np.maximum(one, two))
        place = arrays.panel_ptr[block] + arrays.neighbour_off[at]
        # a sparse trunk mixes levels: the panel is that of whichever block comes first
        across, down = np.where(one < two, 1, arrays.panel_cols[block]), np.where(one < two, arrays.panel_cols[block], 1)
        for i in range(wk):
            for j in range(wo):
                cross.panel[place + i * down + j * across] = pairs.products[:, take[i, j]]


def _in_bases(statistics: Statistics, standard: Standardization, kept: Int) -> Sums:
    """The sums over the columns kept, in the bases of a standardization."""
    sums, factors = statistics.sums, statistics.layout.factors
    p = len(sums.border) - 1
    x = np.zeros((p + 1, len(kept) + 1))
    x[kept, : len(kept)] = np.eye(len(kept)) if standard.x_basis is None else standard.x_basis
    x[p, len(kept)] = 1.0
    z = [np.eye(f.width) if basis is None else basis for f, basis in zip(factors, standard.z_basis, strict=True)]
    return map_sums(sums, x, z)


def map_sums(sums: Sums, x: Float, z: list[Float]) -> Sums:
    """The sums of ``[X y] x`` and of ``Z_k z_k``, which are linear in those of ``[X y]`` and ``Z``."""
    return replace(
        sums,
        border=x.T @ sums.border @ x,
        levels=tuple(_map_levels(packed, x, own) for packed, own in zip(sums.levels, z, strict=True)),
        pairs=tuple(
            PairSums(pair.keys, pair.products @ np.kron(z[a], z[b]))
            for pair, (a, b) in zip(sums.pairs, factor_pairs(len(z)), strict=True)
        ),
    )


def _map_levels(packed: Float, x: Float, z: Float) -> Float:
    width, wide = z.shape
    border, columns = x.shape
    rows, places = np.tril_indices(width)
    new_rows, new_places = np.tril_indices(wide)
    n_square = len(rows)
    out = np.empty((len(packed), packed_width(wide, columns)))
    for start in range(0, len(packed), _LEVELS):
        part = packed[start : start + _LEVELS]
        square = np.zeros((len(part), width, width))
        square[:, rows, places] = part[:, :n_square]
        square[:, places, rows] = part[:, :n_square]
        edge = part[:, n_square:].reshape(len(part), width, border)
        out[start : start + len(part), : len(new_rows)] = (z.T @ square @ z)[:, new_rows, new_places]
        out[start : start + len(part), len(new_rows) :] = (z.T @ edge @ x).reshape(len(part), -1)
    return out

