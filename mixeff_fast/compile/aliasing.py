"""Which fixed-effect columns are linear combinations of the columns to their left, as R's ``qr`` finds them.

The cross-product names suspects; it cannot convict them, since it holds squares. What the columns to the left leave of a
suspect is computed from the rows, and decides.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from numpy.typing import NDArray

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# R's qr(tol = 1e-7): a column is aliased when what its predecessors leave of it is this small a share of it
ALIAS_TOLERANCE = 1e-7
# below this share of the squared norm the cross-product cannot decide
SUSPECT = 1e-9


def constant_columns(gram: Float, n: int, shift: Float, scale: Float, intercept: int) -> NDArray[np.bool_]:
    """Columns that are constant, the intercept left out: a centred column this small beside its mean is rounding, whatever
    it was scaled to."""
    own = np.diag(gram)
    constant: NDArray[np.bool_] = own <= 1e-24 * (own + n * (shift / scale) ** 2)
    if intercept >= 0:
        constant[intercept] = False
    return constant


def aliased(
    gram: Float, constant: NDArray[np.bool_], residual_products: Callable[[Int, Int, Float, list[Float]], Float]
) -> list[int]:
    """Positions of the aliased columns.

    Parameters
    ----------
    gram
        ``X'WX`` of the standardized columns, shape (p, p).
    constant
        Columns that are constant beside an intercept, shape (p,).
    residual_products
        From sound columns, suspects, the factor of the sound ones and each suspect's row of it to ``R'R`` of what the sound
        columns leave of the suspects.
    """
    own = np.diag(gram).copy()
    if not constant.any() and np.all(shares(gram) > SUSPECT):
        return []
    sound, suspects, factor, rows = _sweep(gram, own, constant)
    residuals = residual_products(sound, suspects, factor, rows)
    norms = own[suspects]
    found = np.flatnonzero(constant).tolist()
    kept: list[int] = []
    for i, j in enumerate(suspects.tolist()):
        rest = residuals[i, i]
        if kept:
            among = residuals[np.ix_(kept, kept)]
            rest -= residuals[i, kept] @ np.linalg.lstsq(among, residuals[kept, i], rcond=None)[0]
        if rest <= ALIAS_TOLERANCE**2 * norms[i]:
            found.append(j)
        else:
            kept.append(i)
    return sorted(found)


def shares(gram: Float) -> Float:
    """What its predecessors leave of each column, as a share of its squared norm; zeros where that drowns in rounding."""
    own = np.diag(gram)
    if not np.all(own > 0.0):
        return np.zeros(len(gram))
    unit = 1.0 / np.sqrt(own)
    try:
        lower = np.linalg.cholesky(gram * unit * unit[:, None])
    except np.linalg.LinAlgError:
        return np.zeros(len(gram))
    return np.asarray(np.square(np.diag(lower)))


def _sweep(gram: Float, own: Float, left_out: NDArray[np.bool_]) -> tuple[Int, Int, Float, list[Float]]:
    """Cholesky by columns from the left: the sound columns and their factor, and for each suspect its row of the factor
    (over the sound columns to its left)."""
    from scipy.linalg import solve_triangular

    p = len(gram)
    factor = np.zeros((p, p))
    sound: list[int] = []
    suspects: list[int] = []
    rows: list[Float] = []
    for j in np.flatnonzero(~left_out).tolist():
        k = len(sound)
        row = solve_triangular(factor[:k, :k], gram[sound, j], lower=True, check_finite=False) if k else np.zeros(0)
        pivot = gram[j, j] - row @ row
        if pivot > SUSPECT * own[j]:
            factor[k, :k], factor[k, k] = row, np.sqrt(pivot)
            sound.append(j)
        else:
            suspects.append(j)
            rows.append(row)
    k = len(sound)
    return np.array(sound, np.int64), np.array(suspects, np.int64), factor[:k, :k], rows


def residual_products(
    chunks: Callable[[Int], Iterable[Float]], sound: Int, suspects: Int, factor: Float, rows: list[Float]
) -> Float:
    """``R'R`` of what the sound columns to the left of each suspect leave of it, from the rows; one refinement.

    ``chunks`` yields the rows of the standardized columns it is given, as often as it is called.
    """
    from scipy.linalg import solve_triangular

    coefficients = np.zeros((len(sound), len(suspects)))
    for i, row in enumerate(rows):
        k = len(row)
        coefficients[:k, i] = solve_triangular(factor[:k, :k], row, lower=True, trans=1, check_finite=False) if k else 0.0
    columns = np.concatenate([sound, suspects])
    products = np.zeros((len(suspects), len(suspects)))
    for last in (False, True):
        right = np.zeros_like(coefficients)
        for x in chunks(columns):
            residual = x[:, len(sound) :] - x[:, : len(sound)] @ coefficients
            if last:
                products += residual.T @ residual
            else:
                right += x[:, : len(sound)].T @ residual
        if not last:
            for i, row in enumerate(rows):
                k = len(row)
                if k:
                    inner = solve_triangular(factor[:k, :k], right[:k, i], lower=True, check_finite=False)
                    coefficients[:k, i] += solve_triangular(factor[:k, :k], inner, lower=True, trans=1, check_finite=False)
    return products
