"""Orthogonal polynomials over values that come in batches.

The recurrence of the orthogonal polynomials follows from the sums of powers. Powers are taken about a shift and in a scale
near the data, and the recurrence is worked out of their sums without rounding. High degrees lose digits in sums of powers
nevertheless: for these a second pass sums products of the polynomials found first, which are nearly orthonormal, and
corrects the recurrence (as modified moments do; Gautschi 2004, Orthogonal Polynomials, section 2.1).
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from mixeff_fast.errors import DataError
from mixeff_fast.frame.bases import Memory
from mixeff_fast.frame.columns import Floats

# Up to this degree sums of powers are accurate enough.
_PLAIN_DEGREE = 3


class PolynomialMoments:
    """Learns what ``poly(x, degree)`` records: the recurrence coefficients and the squared norms."""

    def __init__(self, key: str, degree: int) -> None:
        self._key, self._degree = key, degree
        self._shift, self._scale = 0.0, 0.0
        self._n = 0
        self._sums = [Fraction(0)] * (2 * degree + 1)
        self._values = np.zeros(0)
        self._alpha: list[float] = []
        self._norms: list[float] = []
        self._gram = np.zeros((degree + 1, degree + 1))
        self._moved = np.zeros((degree + 1, degree + 1))

    def see(self, x: Floats) -> None:
        """Add a part, not empty."""
        if self._alpha:
            self._refine(x)
            return
        if len(self._values) <= self._degree:
            self._values = np.unique(np.concatenate([self._values, x]))[: self._degree + 1]
        if self._scale == 0.0:
            self._shift = float(x.mean())
            self._scale = float(2.0 ** np.floor(np.log2(spread))) if (spread := float(x.std())) > 0.0 else 1.0
        t = (x - self._shift) / self._scale
        power = np.ones(len(t))
        self._n += len(t)
        for k in range(1, len(self._sums)):
            power = power * t
            self._sums[k] += Fraction(float(power.sum()))

    def finish_pass(self) -> Memory | None:
        """The state of the transform, or None when the values must be seen again."""
        if len(self._values) <= self._degree:
            raise DataError(
                f"{self._key!r} needs more than {self._degree} different values, and there are {len(self._values)}; "
                "lower the degree",
                column=self._key,
                n_different=len(self._values),
            )
        if self._alpha:
            self._correct()
        else:
            self._from_powers()
            if self._degree > _PLAIN_DEGREE:
                return None
        scales = self._scale ** (2.0 * np.arange(self._degree + 1))
        return {
            "alpha": [self._shift + self._scale * a for a in self._alpha],
            "norms2": (np.array(self._norms) * scales).tolist(),
        }

    def _from_powers(self) -> None:
        """Monic polynomials one after the other, in exact arithmetic."""
        sums = [Fraction(self._n), *self._sums[1:]]
        before: list[Fraction] = []
        current = [Fraction(1)]
        norm_before = Fraction(1)
        for k in range(self._degree + 1):
            square = _product(current, current)
            norm = sum((c * s for c, s in zip(square, sums, strict=False)), Fraction(0))
            self._norms.append(float(norm))
            if k == self._degree:
                return
            alpha = sum((c * s for c, s in zip(square, sums[1:], strict=False)), Fraction(0)) / norm
            self._alpha.append(float(alpha))
            following = [Fraction(0), *current]
            for i, c in enumerate(current):
                following[i] -= alpha * c
            for i, c in enumerate(before):
                following[i] -= norm / norm_before * c
            before, current, norm_before = current, following, norm

    def _refine(self, x: Floats) -> None:
        t = (x - self._shift) / self._scale
        columns = np.empty((self._degree + 1, len(t)))
        columns[0] = 1.0
        for k in range(self._degree):
            columns[k + 1] = (t - self._alpha[k]) * columns[k]
            if k:
                columns[k + 1] -= self._norms[k] / self._norms[k - 1] * columns[k - 1]
        columns /= np.sqrt(np.abs(self._norms))[:, None]
        self._gram += columns @ columns.T
        self._moved += (columns * t) @ columns.T

    def _correct(self) -> None:
        lower = np.linalg.cholesky(self._gram)
        jacobi = np.linalg.solve(lower, np.linalg.solve(lower, self._moved).T)
        self._alpha = np.diag(jacobi)[: self._degree].tolist()
        self._norms = (np.abs(self._norms) * np.diag(lower) ** 2).tolist()


def _product(a: list[Fraction], b: list[Fraction]) -> list[Fraction]:
    out = [Fraction(0)] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            out[i + j] += x * y
    return out
