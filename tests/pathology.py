"""Data that models have trouble with: one stressor each, and the verdicts that may be given.

One grouping factor ``g`` (the crossed ones have ``h`` too), predictors and random effects from the normal distribution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

import mixeff_fast as mf

SEEDS = (1, 2, 3)
INTERIOR, BOUNDARY, REDUCED = "converged_interior", "converged_boundary", "converged_reduced_rank"
REFUSED = "NotIdentifiable"
EASY = ((4.0, 0.5), (0.5, 1.0))
Covariance = tuple[tuple[float, float], tuple[float, float]]


@dataclass(frozen=True)
class Pathology:
    """A generator and what may come of it.

    ``statuses`` are verdicts of the certificate, or the name of the error that refuses the model; ``told`` are diagnostics
    that must be there and ``untold`` ones that must not.
    """

    name: str
    make: Callable[[int], pl.DataFrame]
    formula: str
    statuses: frozenset[str]
    told: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    family: str | None = None

    def fit(self, seed: int) -> Any:
        """Fit the model to what the seed gives."""
        data = self.make(seed)
        return mf.lmm(self.formula, data) if self.family is None else mf.glmm(self.formula, data, self.family)


def slopes(sizes: list[int], sigma_g: Covariance, seed: int, *, beta: tuple[float, float] = (1.0, 2.0), sigma: float = 1.0,
           scale: float = 1.0) -> pl.DataFrame:
    """Intercepts and slopes that vary over groups of the given sizes; x1 is written in units of ``1 / scale``."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(len(sizes)), sizes)
    x = rng.normal(size=len(g))
    values, vectors = np.linalg.eigh(np.array(sigma_g))
    effects = rng.normal(size=(len(sizes), 2)) * np.sqrt(np.clip(values, 0.0, None)) @ vectors.T
    y = beta[0] + effects[g, 0] + (beta[1] + effects[g, 1]) * x + sigma * rng.normal(size=len(g))
    return pl.DataFrame({"y": y, "x1": x * scale, "g": [f"g{i:02d}" for i in g]})


def pareto_sizes() -> list[int]:
    """Thirty group sizes from a Pareto distribution with shape 1.5 and mean 6, rounded."""
    draws = np.random.default_rng(7).pareto(1.5, 30) + 1.0
    return [int(n) for n in np.maximum(1, np.round(2.0 * draws))]


def collinear(rho: float, groups: int, size: int, seed: int) -> pl.DataFrame:
    """Two predictors with correlation ``rho`` and a random intercept."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x1 = rng.normal(size=len(g))
    x2 = rho * x1 + np.sqrt(1.0 - rho**2) * rng.normal(size=len(g))
    y = 1.0 + x1 + 0.5 * x2 + rng.normal(size=groups)[g] + rng.normal(size=len(g))
    return pl.DataFrame({"y": y, "x1": x1, "x2": x2, "g": [f"g{i:02d}" for i in g]})


def crossed(g: np.ndarray, h: np.ndarray, variances: tuple[float, float], seed: int) -> pl.DataFrame:
    """Two crossed intercepts, one row for each pair of levels given."""
    rng = np.random.default_rng(seed)
    u, v = (np.sqrt(s) * rng.normal(size=int(codes.max()) + 1) for s, codes in zip(variances, (g, h), strict=True))
    y = 1.0 + u[g] + v[h] + rng.normal(size=len(g))
    return pl.DataFrame({"y": y, "g": [f"g{i:02d}" for i in g], "h": [f"h{i:02d}" for i in h]})


def blocks(seed: int) -> pl.DataFrame:
    """Four blocks of 4 by 4 levels that no row connects."""
    block, i, j = (a.ravel() for a in np.meshgrid(range(4), range(4), range(4), indexing="ij"))
    return crossed(4 * block + i, 4 * block + j, (1.5, 0.8), seed)


def sparse(seed: int) -> pl.DataFrame:
    """12 by 12 levels, half of the cells observed, all connected."""
    observed = np.random.default_rng(1).random((12, 12)) < 0.5
    g, h = np.nonzero(observed)
    return crossed(g, h, (1.5, 0.6), seed)


def exact(seed: int) -> pl.DataFrame:
    """Intercepts and slopes with correlation one, and no residual at all."""
    return slopes([6] * 30, ((4.0, 4.0), (4.0, 4.0)), seed, sigma=0.0)


def outcomes(groups: int, size: int, shift: float, slope: float, sd: float, seed: int) -> pl.DataFrame:
    """Binary outcomes with a random intercept on the scale of the logit."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=len(g))
    eta = shift + slope * x + sd * rng.normal(size=groups)[g]
    y = rng.random(len(g)) < 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
    return pl.DataFrame({"y": y.astype(float), "x1": x, "g": [f"g{i:02d}" for i in g]})


def set_apart(seed: int) -> pl.DataFrame:
    """A treatment under which all of many rows succeed."""
    data = outcomes(30, 20, 0.0, 0.5, 1.0, seed).with_columns(x2=(pl.int_range(pl.len()) % 20 < 3).cast(pl.Float64))
    return data.with_columns(y=pl.when(pl.col("x2") == 1.0).then(1.0).otherwise("y"))


def counts(groups: int, size: int, seed: int, spread: float = 0.0, empty: bool = False) -> pl.DataFrame:
    """Counts with a random intercept, variation between rows that no family has, and a level of ``f`` without any count."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(groups), size)
    x = rng.normal(size=len(g))
    y = rng.poisson(np.exp(0.7 + 0.3 * x + 0.5 * rng.normal(size=groups)[g] + spread * rng.normal(size=len(g))))
    f = np.arange(len(g)) % 3
    y = np.where(empty & (f == 2), 0, y)
    return pl.DataFrame({"y": y, "x1": x, "f": [f"f{i}" for i in f], "g": [f"g{i:02d}" for i in g]})


def waits(seed: int) -> pl.DataFrame:
    """Waiting times between nanoseconds and years."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(12), 8)
    return pl.DataFrame({"y": np.exp(6.0 * rng.normal(size=96)), "x1": rng.normal(size=96), "g": [f"g{i:02d}" for i in g]})


BALANCED = [6] * 30
SLOPE = "y ~ 1 + x1 + (1 + x1 | g)"
INTERCEPT = "y ~ x1 + (1 | g)"
SEPARATED = frozenset({"binomial_separation"})
CROSSED = "y ~ 1 + (1 | g) + (1 | h)"
CORPUS = (
    Pathology("easy", lambda s: slopes(BALANCED, EASY, s), SLOPE, frozenset({INTERIOR})),
    Pathology("boundary_zero_slope", lambda s: slopes(BALANCED, ((4.0, 0.0), (0.0, 0.0)), s), SLOPE,
              frozenset({BOUNDARY, INTERIOR, REDUCED})),
    Pathology("reduced_rank", lambda s: slopes(BALANCED, ((4.0, 4.0), (4.0, 4.0)), s), SLOPE,
              frozenset({REDUCED, BOUNDARY, INTERIOR})),
    Pathology("refusal_singletons", lambda s: slopes([1] * 6, EASY, s), SLOPE, frozenset({REFUSED})),
    Pathology("singletons_via_transform", lambda s: slopes([1] * 8, EASY, s), "y ~ 1 + x1 + (1 + I(x1 * 2) | g)",
              frozenset({REFUSED})),
    Pathology("random_slope_singletons",
              lambda s: slopes([1] * 12, ((2.0, 0.0), (0.0, 1.0)), s, beta=(0.5, 1.5)), SLOPE, frozenset({REFUSED})),
    Pathology("imbalance_pareto", lambda s: slopes(pareto_sizes(), EASY, s), SLOPE, frozenset({INTERIOR})),
    Pathology("scale_mismatch_1e3", lambda s: slopes(BALANCED, EASY, s, scale=1e3), SLOPE, frozenset({INTERIOR})),
    Pathology("collinear_fe_rho_one", lambda s: collinear(1.0, 30, 6, s), "y ~ 1 + x1 + x2 + (1 | g)",
              frozenset({INTERIOR}), told=frozenset({"fixed_effect_rank_deficient"})),
    Pathology("refusal_collinear_fixed_effect", lambda s: collinear(1.0, 6, 6, s), "y ~ 1 + x1 + x2 + (1 | g)",
              frozenset({INTERIOR, BOUNDARY}), told=frozenset({"fixed_effect_rank_deficient"})),
    Pathology("weakly_identified_near_collinear", lambda s: collinear(0.99, 4, 3, s), "y ~ 1 + x1 + x2 + (1 | g)",
              frozenset({INTERIOR, BOUNDARY, REDUCED}), untold=frozenset({"fixed_effect_rank_deficient"})),
    Pathology("crossed_block_diagonal_4x4x4", blocks, CROSSED, frozenset({INTERIOR, BOUNDARY}),
              told=frozenset({"disconnected_design"})),
    Pathology("crossed_sparse_connected", sparse, CROSSED, frozenset({INTERIOR, BOUNDARY}),
              untold=frozenset({"disconnected_design"})),
    Pathology("exact_unit_correlation", exact, SLOPE, frozenset({"not_identifiable"}), told=frozenset({"not_identifiable"})),
    Pathology("extreme_prevalence_negative_5", lambda s: outcomes(30, 20, -5.0, 0.5, 1.0, s), INTERCEPT,
              frozenset({INTERIOR, BOUNDARY}), untold=SEPARATED, family="binomial"),
    Pathology("separation_extreme_prevalence_negative_15", lambda s: outcomes(30, 20, -15.0, 0.0, 1.0, s), INTERCEPT,
              frozenset({"FitError"}), family="binomial"),
    Pathology("fe_separation_extreme_slope", lambda s: outcomes(30, 20, 0.0, 1e6, 1.0, s), INTERCEPT,
              frozenset({"not_identifiable", "not_optimized"}), told=SEPARATED, family="binomial"),
    Pathology("fe_separation_one_column", set_apart, "y ~ x1 + x2 + (1 | g)",
              frozenset({"not_identifiable", "not_optimized"}), told=SEPARATED, family="binomial"),
    Pathology("conditional_separation_rare_events", lambda s: outcomes(20, 4, -1.5, 0.5, 0.0, s), INTERCEPT,
              frozenset({INTERIOR, BOUNDARY}), untold=SEPARATED, family="binomial"),
    Pathology("small_clusters", lambda s: outcomes(60, 3, 0.0, 0.5, 1.0, s), INTERCEPT, frozenset({INTERIOR, BOUNDARY}),
              untold=SEPARATED, family="binomial"),
    Pathology("overdispersed_counts", lambda s: counts(20, 8, s, spread=1.0), INTERCEPT, frozenset({INTERIOR, BOUNDARY}),
              family="poisson"),
    Pathology("a_level_without_counts", lambda s: counts(20, 8, s, empty=True), "y ~ f + (1 | g)",
              frozenset({"not_identifiable", "not_optimized"}), family="poisson"),
    Pathology("counts_without_overdispersion", lambda s: counts(20, 8, s), INTERCEPT,
              frozenset({INTERIOR, BOUNDARY, "not_identifiable", "not_optimized"}), family="negative_binomial"),
    Pathology("waiting_times_over_all_scales", waits, INTERCEPT, frozenset({INTERIOR, BOUNDARY}), family="gamma"),
)
