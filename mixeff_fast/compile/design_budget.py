"""How well a design can be expected to tell the covariance of a random term.

The rows of level j have covariance ``sigma^2 (I + Z_j T Z_j')``. At ``T = I`` for standardized columns, where the effects of
a level vary as much as the residuals, the Fisher information about T and log sigma^2 needs no data but
``M_j = (I + Z_j'Z_j)^-1 Z_j'Z_j``: entries ``tr(M_j S M_j S') / 2``, ``tr(M_j S) / 2`` and ``n_j / 2``, summed over levels. One
level's worth of it goes to the mean of the effects.

Where a family has no dispersion, a row has the weight of a working response at the mean of all rows in place of 1 / sigma^2,
and log sigma^2 takes no part.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.frame import ModelFrame
    from mixeff_fast.vocabulary import CovarianceFamily, LinkName

    Float = NDArray[np.float64]
    Int = NDArray[np.int64]

# numbers that a chunk of levels may take up, and levels beyond which an evenly spaced sample stands for all
_CHUNK, _WORK = 1 << 21, 2e9


def row_weight(frame: ModelFrame) -> float | None:
    """What one row weighs, on the average, at the mean of all rows, where effects have a standard deviation of 1 on the scale
    of the link; None where weights are relative to a residual variance or a dispersion that is estimated.

    With links that are powers, whose scale is that of the response, effects vary as much as one row does.
    """
    family = frame.family
    if family is None or family.has_dispersion:
        return None
    trials = float(frame.n) if frame.trials is None else float(frame.trials.sum())
    mean = float(frame.response.sum()) / (trials if family.name == "binomial" else frame.n)
    prior = 1.0 if frame.weights is None else float(frame.weights.mean())
    if family.name == "binomial":
        return prior * trials / frame.n * _binomial_weight(family.link, mean)
    if family.link != "log":
        return 1.0
    if family.name == "poisson":
        return prior * mean
    excess = float(frame.response.var()) - mean
    theta = family.theta or (mean * mean / excess if excess > 0.0 else math.inf)
    return prior * mean / (1.0 + mean / theta)


def _binomial_weight(link: LinkName, p: float) -> float:
    """The information of one trial about the linear predictor."""
    if not 0.0 < p < 1.0:
        return 0.0
    if link == "logit":
        slope = p * (1.0 - p)
    elif link == "probit":
        normal = NormalDist()
        slope = normal.pdf(normal.inv_cdf(p))
    elif link == "cloglog":
        slope = -math.log1p(-p) * (1.0 - p)
    elif link == "cauchit":
        slope = math.sin(math.pi * p) ** 2 / math.pi
    else:
        slope = p
    return slope * slope / (p * (1.0 - p))


def most_levels(d: int) -> int:
    """How many levels are looked at for a basis of d columns."""
    return max(int(_WORK / d**4), 64)


def standardized_products(products: Float, n_rows: float, family: CovarianceFamily, singular: float) -> Float | None:
    """``Z_j'Z_j`` of columns that are orthonormal over the rows, or of unit mean square where covariances are zero.

    None where the columns are linearly dependent: where the smallest eigenvalue of their correlations is up to ``singular``
    times the largest.
    """
    pooled = products.sum(axis=0) / n_rows
    own = np.diag(pooled)
    if not np.all(own > 0.0):
        return None
    unit = 1.0 / np.sqrt(own)
    scaled = products * (unit * unit[:, None])
    if family != "full" or len(own) == 1:
        return scaled
    values, vectors = np.linalg.eigh(pooled * (unit * unit[:, None]))
    if values[0] <= singular * values[-1]:
        return None
    whitener = vectors / np.sqrt(values)
    return np.asarray(whitener.T @ scaled @ whitener)


def expected_standard_error(
    products: Float, weights: Float, n_rows: float, n_levels: int, family: CovarianceFamily, singular: float, *,
    scale_known: bool = False,
) -> float | None:
    """Expected standard error of the relative standard deviation, in the worst direction.

    Half the largest root mean square, over unit combinations v of the columns, of the error of ``T v``; for one column that
    is the standard error of the standard deviation of its effects, relative to its size.

    Parameters
    ----------
    products
        ``Z_j'Z_j`` of standardized columns, shape (m, d, d).
    weights
        How many levels each of them stands for, shape (m,).
    n_rows, n_levels
        Of all levels.
    family
        Which entries of T are free.
    singular
        Eigenvalues of the information, scaled to a unit diagonal, that count as zero.
    scale_known
        There is no residual variance to estimate.

    Returns
    -------
    float or None
        None where the design cannot tell the parameters from each other or from the residual variance.
    """
    d = products.shape[1]
    pairs = [(a, b) for a in range(d) for b in range(a + 1) if a == b or family == "full"]
    directions = np.zeros((d * d, len(pairs)))
    for k, (a, b) in enumerate(pairs):
        directions[a * d + b, k] = directions[b * d + a, k] = 1.0
    kronecker, mean = np.zeros((d * d, d * d)), np.zeros(d * d)
    step = max(1, _CHUNK // (d * d))
    for start in range(0, len(products), step):
        part = products[start : start + step]
        shrunk = np.linalg.solve(np.eye(d) + part, part).reshape(-1, d * d)
        share = weights[start : start + step]
        kronecker += shrunk.T @ (share[:, None] * shrunk)
        mean += share @ shrunk
    # from sums of M_ac M_be, addressed by (ac, be), to the quadratic form of (ab, ce)
    form = kronecker.reshape(d, d, d, d).transpose(0, 2, 1, 3).reshape(d * d, d * d)
    k = len(pairs)
    information = np.empty((k + 1, k + 1))
    information[:k, :k] = directions.T @ form @ directions
    information[k, :k] = information[:k, k] = directions.T @ mean
    information[k, k] = n_rows
    if scale_known:
        information = information[:k, :k]
    information *= 0.5 * (n_levels - 1) / n_levels
    unit = np.sqrt(np.diag(information))
    if not np.all(unit > 0.0):
        return None
    values, vectors = np.linalg.eigh(information / np.outer(unit, unit))
    if values[0] <= singular:
        return None
    covariance = (vectors / values @ vectors.T / np.outer(unit, unit))[:k, :k]
    errors = (directions @ covariance @ directions.T).reshape(d, d, d, d)
    return 0.5 * float(np.sqrt(np.linalg.eigvalsh(np.einsum("accb->ab", errors))[-1]))
