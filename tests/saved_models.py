"""Models of every kind that can be saved, and what they tell of themselves: run as a program, of those in a folder."""

from __future__ import annotations

import pickle
import sys
import warnings
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

import mixeff_fast as mf
from mixeff_fast.models import statistics as door
from tests.public_verbs import Values, public_values

# compared on their own: a loaded model has values in place of expressions, and its engine is built when it is needed
SKIPPED = frozenset({"call", "handle_alive"})
# what reads the rows of a lazy frame once more, which a file does not hold
READ_AGAIN = frozenset({"update", "random_options"})


def crossed(n: int = 240, seed: int = 3) -> pl.DataFrame:
    """Crossed and nested groups, factors, weights, missing values and a column that is a combination of others."""
    rng = np.random.default_rng(seed)
    g, h = rng.integers(0, 12, n), rng.integers(0, 7, n)
    x, z = rng.normal(5.0, 2.0, n), rng.uniform(0.5, 4.0, n)
    a = rng.integers(0, 3, n)
    y = 20.0 + 0.5 * x + a + rng.normal(size=12)[g] + rng.normal(size=7)[h] + rng.normal(size=n)
    return pl.DataFrame(
        {
            "y": y, "x": x, "z": z, "twice": 2.0 * x - 1.0, "w": rng.uniform(0.5, 2.0, n), "o": rng.normal(size=n),
            "holes": [None if v < 0.1 else v for v in rng.random(n).tolist()],
            "g": [f"g{v:02d}" for v in g], "h": pl.Series([f"h{v}" for v in h], dtype=pl.Categorical), "k": g * 10,
            "a": pl.Series([("low", "mid", "high")[v] for v in a], dtype=pl.Enum(["low", "mid", "none", "high"])),
            "t": rng.random(n) < 0.4, "notes": [[1, 2]] * n,
        }
    )


def outcomes(n: int = 240, seed: int = 4) -> pl.DataFrame:
    """The same with responses that families other than the Gaussian with its identity have."""
    data = crossed(n)
    rng = np.random.default_rng(seed)
    level = (data["k"].to_numpy() / 10.0 - 5.5) / 6.0
    eta = 0.4 * (data["x"].to_numpy() - 5.0) * (1.0 + rng.normal(size=12)[data["k"].to_numpy() // 10]) + level
    tries = rng.integers(1, 9, n)
    won = rng.binomial(tries, 1.0 / (1.0 + np.exp(-eta)))
    mu = np.exp(0.5 + 0.3 * eta)
    return data.with_columns(
        tries=pl.Series(tries), won=pl.Series(won), share=pl.Series(won / tries), count=pl.Series(rng.poisson(mu)),
        over=pl.Series(rng.negative_binomial(2.0, 2.0 / (2.0 + mu))), amount=pl.Series(rng.gamma(3.0, mu / 3.0)),
        late=pl.Series(rng.wald(mu, 4.0)), grown=pl.Series(mu + 0.2 * rng.normal(size=n)), never=pl.Series(np.arange(n) == 7),
        label=pl.Series(np.where(won > 0, "yes", "no"), dtype=pl.Enum(["no", "yes"])), plain=pl.Series(rng.poisson(2.0, n)),
    ).with_columns(label=pl.when(pl.col("never")).then(pl.lit("no")).otherwise(pl.col("label")).cast(pl.Enum(["no", "yes"])))


def _families() -> dict[str, Any]:
    """Fits and compiled models of families by name."""
    data = outcomes()
    counts = mf.glmm("count ~ x + (1 | g) + offset(log(z))", data, "poisson", weights="w")
    return {
        "binomial": mf.glmm("cbind(won, tries - won) ~ x + (x | g)", data, "binomial"),
        "proportions": mf.glmm("share ~ a + (1 | g) + (1 | h)", data, mf.binomial("probit"), weights="tries"),
        "labels": mf.glmm("label ~ x + (1 | g)", data, mf.binomial("cauchit")),
        "booleans": mf.glmm("t ~ scale(x) + (1 | g:a)", data, mf.binomial("cloglog"), offset=pl.col("o") * 0.1),
        "counts": counts,
        "counts_refit": counts.refit(data["plain"]),
        "roots": mf.glmm("count ~ poly(x, 2) + a + (1 | g/t)", data, mf.poisson("sqrt"), control=mf.control(start=[0.3, 0.1])),
        "overdispersed": mf.glmm("over ~ x + (1 | g)", data, "negative_binomial"),
        "known_size": mf.glmm("over ~ x + (x || g)", data, mf.negative_binomial(theta=2.0)),
        "amounts": mf.glmm("amount ~ x + (x | g)", data, "gamma", weights="w"),
        "waiting": mf.glmm("late ~ x + holes + (1 | g)", data, mf.inverse_gaussian("log"), na_action="omit",
                           subset=np.arange(240) % 7 > 0),
        "growth": mf.glmm("grown ~ x + (1 | g)", data.lazy(), mf.gaussian("log"), audit_columns=["h"]),
        "profiled": mf.glmm("cbind(won, tries - won) ~ x + (1 | g)", data, "binomial", method="pirls_profiled"),
        "profiled_size": mf.glmm("over ~ x + (1 | g)", data, "negative_binomial", method="pirls_profiled"),
        "quadrature": mf.glmm("cbind(won, tries - won) ~ x + (1 | g)", data, "binomial", n_agq=7),
        "quadrature_slopes": mf.glmm("over ~ x + (x | g)", data, "negative_binomial", n_agq=3),
        "without_inference": mf.glmm("t ~ x + (1 | g)", data, "binomial", inference="none"),
        "flat": mf.glmm("plain ~ a + (1 | h)", data, "poisson"),
        "separated": mf.glmm("label ~ never + (1 | g)", data, "binomial"),
        "twice": mf.glmm("won ~ x + twice + (1 | g)", data, "poisson"),
        "no_fixed_effects": mf.glmm("count ~ 0 + (1 | g)", data, "poisson"),
        "stopped": mf.glmm("count ~ x + (x | g)", data, "poisson", control=mf.control(max_evaluations=1)),
        "without_modes": mf.glmm("count ~ x + (1 | g)", data, "poisson", control=mf.control(start=[1e8])),
        "as_small_as_its_design": mf.glmm("count ~ x + (1 + q | g)", data.with_columns(q=pl.col("k") / 10.0), "poisson",
                                          intent="confirmatory_design_compiled"),
        "family_spec": mf.compile_model("share ~ x + (x | g)", data, family="binomial", weights="tries"),
    }


def _streamed(formula: str, **arguments: Any) -> Any:
    with mock.patch.object(door, "STREAM_ROWS", 50):
        return mf.lmm(formula, crossed().lazy(), **arguments)


def _refit() -> Any:
    data = crossed()
    fit = mf.lmm("y ~ x + (x | g)", data, subset=pl.col("x") > 3.0)
    return fit.refit(np.random.default_rng(1).normal(size=fit.nobs)).refit(fit.simulate(seed=2)["sim_1"])


@cache
def models() -> dict[str, Any]:
    """Fits and compiled models by name."""
    load, data = mf.datasets.load, crossed()
    sleep = load("sleepstudy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return {
            "scalar": mf.lmm("Yield ~ 1 + (1 | Batch)", load("Dyestuff")),
            "singular": mf.lmm("Yield ~ 1 + (1 | Batch)", load("Dyestuff2"), reml=False),
            "slopes": mf.lmm("Reaction ~ Days + (Days | Subject)", sleep),
            "double_bar": mf.lmm("Reaction ~ Days + (Days || Subject)", sleep, control=mf.control(start=[1.0, 0.2])),
            "diag": mf.lmm("Reaction ~ Days + diag(1 + Days | Subject)", sleep, reml=False),
            "crossed": mf.lmm("diameter ~ 1 + (1 | plate) + (1 | sample)", load("Penicillin")),
            "nested": mf.lmm("strength ~ 1 + (1 | batch/cask)", load("Pastes"), roles=mf.roles(batch="batch")),
            "contrasts": mf.lmm("y ~ a * x + t + (1 | g) + (1 | h)", data,
                                contrasts={"a": np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]])}),
            "weighted": mf.lmm("y ~ x + (1 | g)", data, weights=pl.col("w") * 2.0, offset="o"),
            "subset": mf.lmm("y ~ x + holes + offset(log(z)) + (1 | k)", data, subset=np.arange(240) % 5 > 0, na_action="omit",
                             weights="w"),
            "aliased": mf.lmm("y ~ x + twice + (1 | g)", data),
            "expressions": mf.lmm("log(y) ~ poly(x, 2) + bs(z, df = 4) + scale(log(x + 30)) + (1 | g:t)", data),
            "unfinished": mf.lmm("y ~ x + (x | g) + (1 | h)", data, control=mf.control(max_evaluations=1)),
            "exact": mf.lmm("y ~ 1 + (1 | g)", pl.DataFrame({"y": [0.0, 0.0, 1.0, 1.0, 2.0, 2.0], "g": [*"aabbcc"]})),
            "lazy": mf.lmm("y ~ a + (1 | g)", data.lazy(), audit_columns=["h"]),
            "foreign": mf.lmm("y ~ a + (1 | g)", data.drop("notes").to_pandas()),
            "streamed": _streamed("y ~ a + x + (x | g) + (1 | h)", weights="w"),
            "streamed_aliased": _streamed("y ~ x + twice + poly(z, 2) + (1 | g)"),
            "statistics": mf.sufficient_statistics("y ~ a + x + (1 | g)", data, contrasts={"a": "sum"}).fit(),
            "refit": _refit(),
            "uncertified": mf.compile_model("y ~ x + (1 | g)", data).prepare().refit(data["z"], certify=False),
            "reduced": mf.lmm("y ~ x + (1 + w | k)", data.with_columns(w=pl.col("k") / 10.0),
                              intent="confirmatory_design_compiled"),
            "spec": mf.compile_model("y ~ x + a + (x | g)", data, audit_columns=["h", "t"]),
            "streamed_spec": _streamed("y ~ x + (1 | g) + (1 | h)").spec,
            **_families(),
        }


def told(model: Any) -> Values:
    """Every property and the result of every method; of a lazy frame read in batches, but for what reads it once more."""
    spec = model if isinstance(model, mf.ModelSpec) else model.spec
    skipped = SKIPPED if spec._source is None else SKIPPED | READ_AGAIN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return public_values(model, skipped)


def main(folder: Path) -> None:
    """What the models saved in a folder tell, pickled beside them."""
    found = {path.stem: told(mf.load(path)) for path in sorted(folder.glob("*.model"))}
    (folder / "told.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
