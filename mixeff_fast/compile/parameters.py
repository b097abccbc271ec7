"""The covariance parameters of a model: where each stands in Lambda, and which variances and correlations it enters."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Literal

from mixeff_fast.compile.roles import term_id
from mixeff_fast.compile.semantic import canonical_term
from mixeff_fast.frame.names import told_apart
from mixeff_fast.schemas.parameters import ParameterTrace, Standardization, ThetaMap, ThetaSlot, VarcorrEntry

if TYPE_CHECKING:
    from mixeff_fast.compile.model import Layout, RandomBlock

# group, var1, var2 (None for a variance), variance or covariance, standard deviation or correlation
VarcorrRow = tuple[str, str | None, str | None, float, float]
Status = Literal["free", "boundary", "inactive", "not_assessed"]


def theta_maps(model: Layout) -> tuple[ThetaMap, ...]:
    """The parameters of every term, in the engine's order; worked out from families and columns alone."""
    maps = []
    seen: list[str] = []
    for index, block in enumerate(model.blocks):
        slots = tuple(_slots(block, seen))
        maps.append(
            ThetaMap(
                term_id=term_id(block.term), term_index=index, semantic_term_index=block.term.index,
                group=block.term.group_name, covariance_family=block.family, user_basis=block.names,
                optimizer_basis=block.names, standardization=_standardization(block), theta_slots=slots,
            )
        )
    return tuple(maps)


def _slots(block: RandomBlock, seen: list[str]) -> Iterator[ThetaSlot]:
    """Those of a term, after those whose names were ``seen``."""
    names, group, width = block.names, block.term.group_name, block.width
    full = block.family == "full"
    places = [(row, col) for col in range(width) for row in (range(col, width) if full else [col])]
    for local, (row, col) in enumerate(places):
        pair = names[row] if row == col else f"{names[row]}.{names[col]}"
        name = told_apart(f"{group}.{pair}", seen)
        seen.append(name)
        yield ThetaSlot(global_index=len(seen) - 1, local_index=local, name=name, lambda_row=row, lambda_col=col,
                        lower_bound=0.0 if row == col else None)


def _standardization(block: RandomBlock) -> tuple[Standardization, ...]:
    intercept = block.term.lhs.intercept
    others: Standardization = "centred_and_scaled" if intercept and block.family == "full" else "scaled"
    return tuple("none" if intercept and j == 0 else others for j in range(block.width))


def parameter_traces(
    model: Layout,
    theta: Sequence[float] | None = None,
    varcorr: Sequence[VarcorrRow] | None = None,
    boundary: Collection[int] = (),
) -> tuple[ParameterTrace, ...]:
    """Follow every parameter from its term to the fitted variances.

    Parameters
    ----------
    model
        The layout.
    theta
        Estimates, shape (n_theta,); None before a fit.
    varcorr
        Fitted variances and covariances by term in the engine's order, as ``fit.tables.varcorr_rows`` gives them; None before
        a fit.
    boundary
        Positions of the parameters that are zero at their bound.
    """
    rows = iter(varcorr or ())
    traces: list[ParameterTrace] = []
    for block, layout in zip(model.blocks, theta_maps(model), strict=True):
        values = _varcorr_values(block, rows) if varcorr is not None else {}
        gone = {s.lambda_col for s in layout.theta_slots if s.lambda_row == s.lambda_col and s.global_index in boundary}
        for slot in layout.theta_slots:
            value = None if theta is None else float(theta[slot.global_index])
            traces.append(
                ParameterTrace(
                    term_id=layout.term_id, group=layout.group, source_syntax=canonical_term(model.formula, block.term),
                    covariance_family=block.family, theta_index=slot.global_index, theta_name=slot.name,
                    theta_status=_status(slot, value, gone), lower_bound=slot.lower_bound, theta_value=value,
                    lambda_row=slot.lambda_row, lambda_col=slot.lambda_col, lambda_row_basis=block.names[slot.lambda_row],
                    lambda_col_basis=block.names[slot.lambda_col], matches_theta_map=_matches(model, block, slot),
                    varcorr_entries=tuple(_entries(block, slot.lambda_row, values)),
                )
            )
    return tuple(traces)


def _matches(model: Layout, block: RandomBlock, slot: ThetaSlot) -> bool:
    """Whether the engine reads and writes this entry of Lambda at this place of theta, under this name."""
    local = slot.global_index - block.theta.start
    return (
        0 <= local < min(len(block.rows), len(block.columns), block.theta.stop - block.theta.start)
        and local == slot.local_index
        and (int(block.rows[local]), int(block.columns[local])) == (slot.lambda_row, slot.lambda_col)
        and model.theta_names[slot.global_index] == slot.name
    )


def _status(slot: ThetaSlot, value: float | None, gone: set[int]) -> Status:
    if value is None:
        return "not_assessed"
    if slot.lambda_col in gone and (slot.lambda_row == slot.lambda_col or value == 0.0):
        return "boundary" if slot.lambda_row == slot.lambda_col else "inactive"
    return "free"


def _varcorr_values(block: RandomBlock, rows: Iterator[VarcorrRow]) -> dict[tuple[int, int], float | None]:
    """Standard deviations (i, i) and correlations (i, j), j < i, of one term."""
    places = [(i, i) for i in range(block.width)]
    if block.family == "full":
        places += [(i, j) for j in range(block.width) for i in range(j + 1, block.width)]
    found = list(islice(rows, len(places)))
    return {place: row[4] if row[4] == row[4] else None for place, row in zip(places, found, strict=True)}


def _entries(block: RandomBlock, row: int, values: dict[tuple[int, int], float | None]) -> Iterator[VarcorrEntry]:
    """What an entry of row ``row`` of Lambda enters: its standard deviation, and below the first row all its correlations.
    The only entry of the first row is a scale, of which correlations are free."""
    names, group = block.names, block.term.group_name
    yield VarcorrEntry(kind="standard_deviation", label=f"sd_{names[row]}|{group}", basis=(names[row],),
                       value=values.get((row, row)))
    if block.family != "full" or row == 0:
        return
    for other in range(block.width):
        if other != row:
            high, low = max(row, other), min(row, other)
            yield VarcorrEntry(kind="correlation", label=f"cor_{names[high]}.{names[low]}|{group}",
                               basis=(names[low], names[high]), value=values.get((high, low)))
