"""Models of a few rows, exact fits and wild scales among them: an answer or a typed error, never a crash."""

from __future__ import annotations

import warnings

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import MixeffError

FORMULAS = ("y ~ x + (x | g) + (x | h)", "y ~ x + (x | g)", "y ~ 1 + (1 | g) + (1 | h)", "y ~ x + (1 | g/h)",
            "y ~ x + (x || g)", "y ~ x * z + (1 | g)", "y ~ x + (x + z | g)", "y ~ 0 + x + (0 + x | g)")


def tiny(seed: int) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    levels = int(rng.integers(2, 9))
    rows = int(rng.integers(2, 6))
    n = levels * rows
    g = np.repeat(np.arange(levels), rows)
    x = rng.normal(size=n) * 10.0 ** rng.uniform(-6, 6)
    kind = rng.integers(0, 6)
    y = rng.standard_t(2, size=n) * rng.choice([1, 1e-8, 1e8]) + (rng.normal(size=levels) * rng.choice([0, 0.3, 3]))[g]
    if kind == 0:
        y = 2.0 * x + 1.0
    elif kind == 1:
        y = np.round(y)
    elif kind == 2:
        y = g.astype(np.float64)
    elif kind == 3:
        x = np.round(x)
    few = int(rng.integers(2, 5))
    return pl.DataFrame({"y": y, "x": x, "z": rng.normal(size=n), "g": g.astype(str), "h": (np.arange(n) % few).astype(str)})


# the last three: factorizations that fail at the point where the search ends
@pytest.mark.parametrize("seeds", [range(first, first + 20) for first in range(0, 120, 20)] + [(97,), (1214,), (1425,)])
def test_an_answer_or_a_typed_error(seeds: range | tuple[int, ...]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in seeds:
            try:
                fit = mf.lmm(FORMULAS[seed % len(FORMULAS)], tiny(seed), reml=bool(seed % 2))
            except MixeffError:
                continue
            assert str(fit.audit(full=True))
            assert str(fit.summary())
            if fit.fit_status.startswith("converged"):
                assert np.isfinite(fit.loglik)
                assert np.all(np.isfinite(fit.theta))
                assert np.all(np.isfinite(fit.beta) | fit.result.aliased)
            if not np.isfinite(fit.loglik):
                assert np.all(np.isnan(fit.beta))
