"""Separation of binary outcomes by the fixed effects: a direction along which the likelihood never falls.

Konis (2007): maximize ``sum_i s_i x_i'b`` subject to ``s_i x_i'b >= 0`` and ``-1 <= b <= 1``, where ``s_i`` is 1 for a success
and -1 for a failure. A positive maximum is separation, by any combination of columns. A row that no direction of the cone
separates lies on every separating hyperplane; where there is such a row, separation is quasi-complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csr_matrix

    from mixeff_fast.schemas.diagnostics import Finding

    Float = NDArray[np.float64]
    Kind = Literal["none", "quasi_complete", "complete"]

# distance from a hyperplane, on standardized columns and a direction of unit size, below which a row lies on it
MARGIN = 1e-6
# rows whose constraints a linear program begins with, and takes in at once; violations of others that are none
ROWS_AT_ONCE, FEASIBLE = 2_000, 1e-7
# entries of a sparse direction below this share of the largest are zero
ENTRY = 1e-6
# singular values below this share of the largest are zero
RANK = 1e-12
# fixed parts of linear predictors, and standard errors per standardized column, beyond which there may be separation
EXTREME_PREDICTOR = 10.0
EXTREME_STANDARD_ERROR = 10.0


@dataclass(frozen=True, slots=True)
class Separation:
    """What separates the outcomes, if anything does.

    Attributes
    ----------
    kind
        ``complete``: a hyperplane has all successes strictly on one side and all failures on the other;
        ``quasi_complete``: some rows lie on it, of either outcome.
    columns
        Positions of the columns that a separating direction needs (an intercept among them where it does).
    direction
        That direction in the units of the columns, shape (p,): zero for all other columns.
    n_separated, n_rows
        Rows that lie off the hyperplane, of how many.
    """

    kind: Kind
    columns: tuple[int, ...]
    direction: Float
    n_separated: int
    n_rows: int


def _standardized(x: Float) -> tuple[Float, Float, Float]:
    """Columns shifted (where a constant column makes up for it) and scaled to unit size, with shifts and scales."""
    low, high = x.min(axis=0), x.max(axis=0)
    constant = (low == high) & (low != 0.0)
    shift = np.where(constant, 0.0, x.mean(axis=0)) if constant.any() else np.zeros(x.shape[1])
    scale = np.abs(x - shift).max(axis=0)
    scale[scale == 0.0] = 1.0
    return (x - shift) / scale, shift, scale


def _distinct(rows: Float) -> tuple[Float, NDArray[np.intp], Float]:
    """The different rows, which of them each row is, and how often they occur."""
    order = np.lexsort(rows.T)
    inside = rows[order]
    new = np.ones(len(rows), np.bool_)
    np.any(inside[1:] != inside[:-1], axis=1, out=new[1:])
    first = np.flatnonzero(new)
    which = np.empty(len(rows), np.intp)
    which[order] = np.cumsum(new) - 1
    return inside[first], which, np.diff(first, append=len(rows)).astype(np.float64)


def _solved(
    cost: Float, upper: Float | csr_matrix, limit: Float, bounds: tuple[float | None, float | None], fixed: Float | None
) -> Float | None:
    from scipy.optimize import linprog

    found = linprog(
        cost, A_ub=upper, b_ub=limit, A_eq=fixed, b_eq=None if fixed is None else np.zeros(len(fixed)), bounds=bounds,
        method="highs",
    )
    if found.status in (2, 3):
        return None
    if found.status != 0:
        raise BackendError(f"the linear program of the separation test was not solved: {found.message}")
    return np.asarray(found.x, np.float64)


def linear_program(
    cost: Float, rows: Float | csr_matrix, least: float, bounds: tuple[float | None, float | None], fixed: Float | None = None
) -> Float | None:
    """Minimize ``cost'b`` subject to ``rows b >= least``, ``fixed b = 0`` and the bounds; None where nothing satisfies them.

    Few of many rows hold the solution, so programs of some of them are solved, each with the rows that the solution before
    violates most: the last one's solution is that of all (Dantzig, Fulkerson & Johnson 1954, Operations Research 2).
    """
    n = rows.shape[0]
    chosen = np.zeros(n, np.bool_)
    chosen[np.linspace(0, n - 1, min(n, ROWS_AT_ONCE)).astype(np.int64)] = True
    while True:
        found = _solved(cost, -rows[chosen], np.full(int(chosen.sum()), -least), bounds, fixed)
        if found is None or chosen.all():
            return found
        short = np.where(chosen, 0.0, least - rows @ found)
        worst = np.flatnonzero(short > FEASIBLE)
        if not len(worst):
            return found
        if len(worst) > ROWS_AT_ONCE:
            worst = worst[np.argpartition(-short[worst], ROWS_AT_ONCE)[:ROWS_AT_ONCE]]
        chosen[worst] = True


def _row_space(rows: Float) -> Float:
    """Orthonormal rows that span those of a matrix."""
    if not len(rows):
        return rows
    _, values, right = np.linalg.svd(np.linalg.qr(rows, mode="r") if len(rows) > rows.shape[1] else rows)
    return np.asarray(right[: int(np.sum(values > RANK * values[0]))] if values[0] > 0.0 else right[:0])


def _on_null_space(rows: Float, direction: Float) -> Float:
    """``direction`` less what it has in the space of the rows: a tolerance of the program is no separation."""
    space = _row_space(rows)
    for _ in range(2):
        direction = direction - space.T @ (space @ direction)
    return direction


def _cone(signed: Float, counts: Float) -> tuple[Float, NDArray[np.bool_]]:
    """A direction that separates every row which some direction of the cone separates, and these rows.

    Each program finds rows among those that are left, and directions found one after another are independent: there are at
    most as many as columns.
    """
    total = np.zeros(signed.shape[1])
    left = np.ones(len(signed), np.bool_)
    while left.any():
        found = linear_program(-(counts[left] @ signed[left]), signed, 0.0, (-1.0, 1.0))
        if found is None:
            break
        found = _on_null_space(signed[signed @ found <= MARGIN], found)
        margin = signed @ found
        gained = left & (margin > MARGIN)
        if not gained.any() or margin.min() < -MARGIN:
            break
        total += found
        left &= ~gained
    return total, ~left


def _sparse(signed: Float, separated: NDArray[np.bool_], dense: Float, free: NDArray[np.bool_]) -> Float:
    """The direction with the same rows off its hyperplane whose coefficients have the least sum of sizes, those of ``free``
    columns not counted; ``dense`` where there is none to the accuracy of the program."""
    p = signed.shape[1]
    cost = np.where(np.concatenate([free, free]), 0.0, 1.0)
    off, on = signed[separated], _row_space(signed[~separated])
    least = float((off @ dense).min())
    found = linear_program(cost, np.hstack([off, -off]), least, (0.0, None), np.hstack([on, -on]) if len(on) else None)
    if found is None:
        return dense
    direction = found[:p] - found[p:]
    direction[np.abs(direction) <= ENTRY * np.abs(direction).max()] = 0.0
    margin = signed @ direction
    sound = bool(np.all(margin[separated] > 0.0)) and bool(np.all(np.abs(margin[~separated]) <= MARGIN))
    return direction if sound else dense


def separation(x: Float, successes: Float, trials: Float | None = None) -> Separation:
    """Whether a combination of columns separates successes from failures.

    Parameters
    ----------
    x
        Fixed-effect columns, shape (n, p), with the intercept if the model has one.
    successes
        Outcomes 0 and 1, or numbers of successes, shape (n,).
    trials
        Numbers of trials, shape (n,); None for one each.

    Returns
    -------
    Separation

    Raises
    ------
    BackendError
        The linear program was not solved.

    Notes
    -----
    Konis, K. (2007). Linear programming algorithms for detecting separated data in binary logistic regression models. DPhil
    thesis, University of Oxford. Each distinct row counts once in the constraints, so the cost depends on how many there are.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.column_stack([np.ones(6), [0, 0, 0, 0, 1, 1]])
    >>> found = separation(x, np.array([0, 1, 0, 1, 1, 1]))
    >>> found.kind, found.columns, found.n_separated
    ('quasi_complete', (1,), 2)
    """
    x = np.ascontiguousarray(x, np.float64)
    successes = np.asarray(successes, np.float64)
    trials = np.ones(len(x)) if trials is None else np.asarray(trials, np.float64)
    n, p = x.shape
    nothing = Separation("none", (), np.zeros(p), 0, n)
    if not n or not p:
        return nothing
    standard, shift, scale = _standardized(x)
    won, lost = successes > 0.0, successes < trials
    signed, which, counts = _distinct(np.concatenate([standard[won], -standard[lost]]))
    dense, separated = _cone(signed, counts)
    if not separated.any():
        return nothing
    constant = np.all(standard == standard[0], axis=0)
    direction = _sparse(signed, separated, dense, constant) / scale
    intercept = np.flatnonzero(constant & (standard[0] != 0.0))
    if len(intercept):
        at = int(intercept[0])
        direction[at] -= float(direction @ shift) / float(x[0, at])
    used = np.abs(direction * np.abs(x).max(axis=0))
    columns = np.flatnonzero(used > ENTRY * used.max())
    direction[used <= ENTRY * used.max()] = 0.0
    rows = np.zeros(n, np.bool_)
    off = separated[which]
    rows[np.flatnonzero(won)[off[: int(won.sum())]]] = True
    rows[np.flatnonzero(lost)[off[int(won.sum()) :]]] = True
    return Separation(
        "complete" if separated.all() else "quasi_complete", tuple(columns.tolist()), direction, int(rows.sum()), n
    )


def separation_symptoms(beta: Float, std_error: Float, fixed_part: Float, scale: Float) -> tuple[str, ...]:
    """Signs that outcomes may be separated, from a fit: where there are none, :func:`separation` need not be run.

    Parameters
    ----------
    beta, std_error
        Estimates and standard errors of the fixed effects, shape (p,); NaN for aliased ones.
    fixed_part
        ``X beta`` on the scale of the link, shape (n,).
    scale
        Sizes of the columns, shape (p,): standard errors are judged for a step of that size.

    Returns
    -------
    tuple of str
        ``not_finite``, ``extreme_linear_predictor``, ``large_standard_error``; empty when there is no sign.

    Examples
    --------
    >>> import numpy as np
    >>> separation_symptoms(np.array([-3.0, 25.0]), np.array([0.4, 4e4]), np.array([-3.0, 22.0]), np.ones(2))
    ('extreme_linear_predictor', 'large_standard_error')
    """
    known = ~np.isnan(beta)
    signs = []
    if not np.all(np.isfinite(fixed_part)) or not np.all(np.isfinite(std_error[known])):
        signs.append("not_finite")
    if len(fixed_part) and np.nanmax(np.abs(fixed_part)) > EXTREME_PREDICTOR:
        signs.append("extreme_linear_predictor")
    if known.any() and np.nanmax(std_error[known] * scale[known]) > EXTREME_STANDARD_ERROR:
        signs.append("large_standard_error")
    return tuple(signs)


def separation_finding(found: Separation, names: Sequence[str], x: Float) -> Finding | None:
    """The finding of a separation; None when there is none. Where one column of two values does it, the payload has the value
    at which one outcome is missing and the number of rows there."""
    from mixeff_fast.schemas.diagnostics import Finding

    if found.kind == "none":
        return None
    involved = [names[j] for j in found.columns]
    payload: dict[str, object] = {
        "separation_kind": f"{found.kind}_fixed_effect", "columns": involved, "n_separated": found.n_separated,
        "n_rows": found.n_rows,
    }
    varying = [j for j in found.columns if x[:, j].min() < x[:, j].max()]
    if len(varying) == 1:
        column = x[:, varying[0]]
        off = np.abs(x @ found.direction) > MARGIN * np.abs(x @ found.direction).max()
        values = np.unique(column)
        at = [value for value in values.tolist() if bool(np.all(off[column == value]))] if len(values) == 2 else []
        if len(at) == 1:
            payload |= {"column": names[varying[0]], "value": at[0], "n_at_value": int(np.sum(column == at[0]))}
    return Finding(code="binomial_separation", severity="warning", stage="certification", affected_terms=tuple(involved),
                   payload=payload)


def skipped_finding(reason: str, n_rows: int, n_columns: int) -> Finding:
    """The record that the test was not run; ``reason`` is ``no_symptoms`` where nothing called for it."""
    from mixeff_fast.schemas.diagnostics import Finding

    return Finding(code="separation_check_skipped", severity="info", stage="certification",
                   payload={"reason": reason, "n_rows": n_rows, "n_columns": n_columns})
