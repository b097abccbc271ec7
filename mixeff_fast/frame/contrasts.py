"""Contrast codings: how a factor with q levels becomes q - 1 columns. The matrices are R's ``contr.*``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from mixeff_fast.errors import ArgumentError, DataError
from mixeff_fast.frame.columns import Contrast, Floats, Levels, frozen, quoted

# A coding is a dense q x (q - 1) matrix, and the design it leads to has as many columns.
MOST_LEVELS = 2000


def treatment(q: int) -> Floats:
    """Return R's ``contr.treatment``: each level but the first against the first."""
    return np.eye(q)[:, 1:]


def sas(q: int) -> Floats:
    """Return R's ``contr.SAS``: each level but the last against the last."""
    return np.eye(q)[:, :-1]


def sum_to_zero(q: int) -> Floats:
    """Return R's ``contr.sum``: deviations from the mean of the levels, for all but the last."""
    matrix = np.eye(q)[:, :-1]
    matrix[-1] = -1.0
    return matrix


def helmert(q: int) -> Floats:
    """Return R's ``contr.helmert``: each level against the mean of those before it."""
    matrix = np.triu(np.full((q, q - 1), -1.0))
    matrix[np.arange(1, q), np.arange(q - 1)] = np.arange(1.0, q)
    return matrix


def poly(q: int) -> Floats:
    """Return R's ``contr.poly``: orthonormal polynomials in the equally spaced scores 1, ..., q."""
    scores = np.arange(1.0, q + 1.0) - (q + 1.0) / 2.0
    orthonormal, triangle = np.linalg.qr(scores[:, None] ** np.arange(q))
    signed: Floats = orthonormal * np.sign(np.diag(triangle))
    return signed[:, 1:]


_MATRICES: dict[str, Callable[[int], Floats]] = {
    "treatment": treatment,
    "SAS": sas,
    "sum": sum_to_zero,
    "helmert": helmert,
    "poly": poly,
}


def contrast_matrix(name: str, q: int) -> Floats:
    """Return the contrast matrix of a named coding.

    Parameters
    ----------
    name
        ``treatment``, ``SAS``, ``sum``, ``helmert`` or ``poly``.
    q
        The number of levels, at least 2.

    Returns
    -------
    numpy.ndarray
        Shape (q, q - 1).

    Raises
    ------
    ArgumentError
        If there is no coding of that name.

    Examples
    --------
    >>> contrast_matrix("helmert", 3)
    array([[-1., -1.],
           [ 1., -1.],
           [ 0.,  2.]])
    """
    if name not in _MATRICES:
        _refuse_coding(name, "")
    return _MATRICES[name](q)


def _refuse_coding(name: str, key: str) -> NoReturn:
    raise ArgumentError(
        f"there is no contrast coding {name!r}{f' for {key!r}' if key else ''}; "
        f"use one of {quoted(_MATRICES)}, or a matrix",
        argument="contrasts",
        value=name,
        column=key,
    )


def contrast_of(key: str, levels: Levels, wanted: Any = "treatment") -> Contrast:
    """Return the coding of one factor.

    Parameters
    ----------
    key
        The variable, for messages.
    levels
        Its levels, at least two.
    wanted
        A name of a coding, a matrix of shape (q, q - 1), or ``{"matrix": ..., "names": [...]}``.

    Returns
    -------
    Contrast

    Raises
    ------
    DataError
        If the factor has one level, or too many for a coding.
    ArgumentError
        If the coding is unknown or does not fit the levels.
    """
    q = len(levels)
    if q < 2:
        raise DataError(
            f"the factor {key!r} has one level, {levels.labels[0]!r}, so there is nothing to compare; "
            f"remove it from the model, or include rows with other levels",
            column=key,
            levels=levels.labels.to_list(),
        )
    if q > MOST_LEVELS:
        raise DataError(
            f"the factor {key!r} has {q} levels, which would be {q - 1} coefficients; "
            f"make it a grouping factor, (1 | {key}), or use the numbers as a numeric column",
            column=key,
            n_levels=q,
        )
    if not isinstance(wanted, str):
        return _user_contrast(key, levels, wanted)
    if wanted not in _MATRICES:
        _refuse_coding(wanted, key)
    matrix = frozen(contrast_matrix(wanted, q))
    return Contrast(wanted, matrix, _suffixes(wanted, levels.labels.to_list()))


def _suffixes(name: str, labels: list[str]) -> tuple[str, ...]:
    if name == "treatment":
        return tuple(labels[1:])
    if name == "SAS":
        return tuple(labels[:-1])
    if name == "poly":
        return tuple(f".{'LQC'[k]}" if k < 3 else f"^{k + 1}" for k in range(len(labels) - 1))
    return tuple(str(k) for k in range(1, len(labels)))


def _user_contrast(key: str, levels: Levels, wanted: Any) -> Contrast:
    q = len(levels)
    labels = levels.labels.to_list()
    names: Any = None
    if isinstance(wanted, Mapping):
        if not {"matrix"} <= set(wanted) <= {"matrix", "names"}:
            raise ArgumentError(
                f"the contrasts of {key!r} have the keys {quoted(map(str, wanted))}; give 'matrix' and perhaps 'names'",
                argument="contrasts",
                column=key,
            )
        wanted, names = wanted["matrix"], wanted.get("names")
    try:
        matrix = np.array(wanted, dtype=np.float64)
        suffixes = tuple(map(str, range(1, q) if names is None else names))
    except (TypeError, ValueError) as problem:
        raise ArgumentError(
            f"the contrasts of {key!r} are neither the name of a coding nor a numeric matrix, alone or with a list "
            f"of names; use one of {quoted(_MATRICES)}, or a matrix of {q} rows and {q - 1} columns",
            argument="contrasts",
            column=key,
        ) from problem
    if matrix.shape != (q, q - 1):
        raise ArgumentError(
            f"the contrast matrix of {key!r} has shape {matrix.shape}; "
            f"its {q} levels, {quoted(labels)}, need {q} rows and {q - 1} columns",
            argument="contrasts",
            column=key,
            levels=labels,
            shape=matrix.shape,
        )
    if not np.isfinite(matrix).all() or np.linalg.matrix_rank(np.column_stack([np.ones(q), matrix])) < q:
        raise ArgumentError(
            f"the contrast matrix of {key!r} is singular or not finite; "
            "choose columns that are independent of each other and of a column of ones",
            argument="contrasts",
            column=key,
            levels=labels,
        )
    if len(suffixes) != q - 1 or len(set(suffixes)) < q - 1:
        raise ArgumentError(
            f"the contrasts of {key!r} need {q - 1} different names, one per column", argument="contrasts", column=key
        )
    return Contrast("user", frozen(matrix), suffixes)
