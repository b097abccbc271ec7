"""Small models with a verdict that is known beforehand, by name: formula, data and arguments."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import polars as pl

import mixeff_fast as mf
from tests.pathology import slopes


@dataclass(frozen=True)
class Golden:
    """What to compile."""

    formula: str
    make: Callable[[], pl.DataFrame]
    arguments: dict[str, Any] = field(default_factory=dict)


def labels(prefix: str, codes: Any) -> list[str]:
    return [f"{prefix}{int(code):02d}" for code in codes]


def nested_firms() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    firm, person = np.repeat(np.arange(8), 15), np.tile(np.repeat(np.arange(5), 3), 8)
    u, v = rng.normal(size=8)[firm], rng.normal(size=40)[5 * firm + person]
    y = u + v + rng.normal(size=120)
    return pl.DataFrame({"y": y, "firm": labels("f", firm), "person": labels("p", person)})


def maximal() -> pl.DataFrame:
    """Seven predictors that vary within each of ten levels: an unstructured covariance has 36 parameters."""
    rng = np.random.default_rng(4)
    g = np.repeat(np.arange(10), 30)
    data = {f"x{i}": rng.normal(size=300) for i in range(1, 8)}
    y = rng.normal(size=10)[g] + data["x1"] + rng.normal(size=300)
    return pl.DataFrame({"y": y, **data, "g": labels("g", g)})


def rank_one() -> pl.DataFrame:
    """Slopes that are the intercepts' 3/7: one direction, with loadings near 0.919 and 0.394."""
    rng = np.random.default_rng(11)
    g, x = np.repeat(np.arange(18), 4), np.tile(np.arange(4.0), 18)
    u = 7.0 * rng.normal(size=18)[g]
    return pl.DataFrame({"y": 10.0 + x + u + (3.0 / 7.0) * u * x + rng.normal(size=72), "x": x, "g": labels("g", g)})


def intercepts_only() -> pl.DataFrame:
    return slopes([6] * 30, ((4.0, 0.0), (0.0, 0.0)), 2).rename({"x1": "x", "g": "group"})


def categorical(rows: int) -> pl.DataFrame:
    rng = np.random.default_rng(6)
    subject = np.repeat(np.arange(40), rows)
    condition = np.tile(np.arange(rows) % 3, 40)
    y = rng.normal(size=40)[subject] + condition + rng.normal(size=40 * rows)
    return pl.DataFrame({"y": y, "condition": labels("c", condition), "subject": labels("s", subject)})


def confounded() -> pl.DataFrame:
    rng = np.random.default_rng(7)
    subject = np.repeat(np.arange(6), 2)
    return pl.DataFrame({"y": rng.normal(size=12) + subject, "subject": labels("s", subject)})


def rank_deficient() -> pl.DataFrame:
    x = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    y = [1.1, 2.3, 2.9, 4.4, 5.2, 5.7]
    return pl.DataFrame({"y": y, "x": x, "x2": 2.0 * x, "g": ["a", "b", "c", "a", "b", "c"]})


def pedagogical() -> pl.DataFrame:
    """Eight rows for six random terms; x is constant within the levels of e."""
    bits = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
    return pl.DataFrame(
        {
            "y": [1.0, 2.5, 2.0, 4.5, 3.0, 3.5, 5.0, 6.5],
            "t": [0.0, 1.0, 0.5, 2.0, 1.5, 3.0, 0.2, 1.1],
            "x": bits[:, 2].astype(float),
            "a": labels("a", bits[:, 0]), "c": labels("c", bits[:, 1]), "d": labels("d", bits[:, 0]),
            "e": labels("e", bits[:, 2]), "h": labels("h", bits[:, 0] ^ bits[:, 1] ^ bits[:, 2]),
        }
    )


def constant_pairs() -> pl.DataFrame:
    """Twelve pairs with a constant response, in four areas; spm varies within the pairs."""
    rng = np.random.default_rng(8)
    area, pair = np.repeat(np.arange(4), 6), np.tile(np.repeat(np.arange(3), 2), 4)
    y = np.repeat(rng.normal(size=12), 2)
    return pl.DataFrame(
        {"y": y, "spm": rng.normal(size=24), "studyarea": labels("a", area), "pair": labels("p", pair)}
    )


def six_by_three() -> pl.DataFrame:
    rng = np.random.default_rng(9)
    group, x = np.repeat(np.arange(6), 3), np.tile([-1.0, 0.0, 1.0], 6)
    y = 2.0 * rng.normal(size=6)[group] + x * (1.0 + rng.normal(size=6)[group]) + rng.normal(size=18)
    return pl.DataFrame({"y": y, "x": x, "group": labels("g", group)})


def one_row_apart(outcomes: int = 1) -> pl.DataFrame:
    """A thousand outcomes in twenty groups; x2 is 1 in ``outcomes`` rows, the first of which are failures and successes by
    turns."""
    rng = np.random.default_rng(124)
    g, x = np.repeat(np.arange(20), 50), rng.normal(size=1000)
    eta = 0.3 + 0.5 * x + 0.6 * rng.normal(size=20)[g]
    y = (rng.random(1000) < 1.0 / (1.0 + np.exp(-eta))).astype(float)
    x2 = np.zeros(1000)
    x2[:outcomes] = 1.0
    y[:outcomes] = np.arange(outcomes) % 2
    return pl.DataFrame({"y": y, "x": x, "x2": x2, "g": labels("g", g)})


def gamma_without_groups() -> pl.DataFrame:
    """Waiting times in which the groups have next to no part."""
    rng = np.random.default_rng(644)
    g, x = np.repeat(np.arange(25), 8), rng.normal(size=200)
    mu = np.exp(-1.0 + 0.3 * x + 1e-3 * rng.normal(size=25)[g])
    return pl.DataFrame({"y": rng.gamma(3.0, mu / 3.0), "x": x, "g": labels("g", g)})


def overdispersed() -> pl.DataFrame:
    rng = np.random.default_rng(12)
    g, x = np.repeat(np.arange(30), 8), rng.normal(size=240)
    mu = np.exp(0.8 + 0.4 * x + 0.5 * rng.normal(size=30)[g])
    y = rng.negative_binomial(2.0, 2.0 / (2.0 + mu))
    return pl.DataFrame({"y": y, "x": x, "g": labels("g", g), "row": labels("r", np.arange(240) + 100)})


GOLDEN = {
    "penicillin": Golden("diameter ~ 1 + (1 | plate) + (1 | sample)", lambda: mf.datasets.load("Penicillin")),
    "nested_intercepts": Golden("y ~ 1 + (1 | firm) + (1 | firm:person)", nested_firms),
    "sleepstudy": Golden("Reaction ~ Days + (Days | Subject)", lambda: mf.datasets.load("sleepstudy")),
    "singular_prefit": Golden(
        "y ~ x1 + (1 + x1 + x2 + x3 + x4 + x5 + x6 + x7 | g)", maximal
    ),
    "design_compiled": Golden("y ~ x + (1 + x | group)", six_by_three, {"intent": "confirmatory_design_compiled"}),
    "rank_mixture": Golden("y ~ x + (1 + x | g)", rank_one),
    "intercept_dominant": Golden("y ~ x + (1 + x | group)", intercepts_only),
    "categorical_random_basis": Golden("y ~ condition + (1 + condition | subject)", lambda: categorical(6)),
    "confounded_fixed_random": Golden("y ~ subject + (1 | subject)", confounded),
    "rank_deficient": Golden("y ~ x + x2 + (1 | g)", rank_deficient),
    "pedagogical": Golden("y ~ x + (1 + t || a) + (1 | c/d) + (1 + x | e) + (1 | h)", pedagogical),
    "nested_constant_response": Golden("y ~ spm + (1 | studyarea) + (1 | studyarea:pair)", constant_pairs),
    "nested_constant_response_slash": Golden("y ~ spm + (1 | studyarea/pair)", constant_pairs),
    "constant_response_area": Golden("y ~ spm + (1 | studyarea)", constant_pairs),
    "boundary": Golden("Yield ~ 1 + (1 | Batch)", lambda: mf.datasets.load("Dyestuff2")),
    "interior_scalar": Golden("Yield ~ 1 + (1 | Batch)", lambda: mf.datasets.load("Dyestuff")),
    "exploratory": Golden("Reaction ~ Days + (Days | Subject)", lambda: mf.datasets.load("sleepstudy"),
                          {"intent": "exploratory"}),
    "cbpp": Golden("cbind(incidence, size - incidence) ~ period + (1 | herd)", lambda: mf.datasets.load("cbpp"),
                   {"family": "binomial"}),
    "separated": Golden("y ~ x + x2 + (1 | g)", one_row_apart, {"family": "binomial"}),
    "both_outcomes": Golden("y ~ x + x2 + (1 | g)", lambda: one_row_apart(2), {"family": "binomial"}),
    "without_the_column": Golden("y ~ x + (1 | g)", one_row_apart, {"family": "binomial"}),
    "gamma_near_zero": Golden("y ~ x + (1 | g)", gamma_without_groups, {"family": "gamma"}),
    "one_level_per_row": Golden("y ~ x + (1 | g) + (1 | row)", overdispersed, {"family": "poisson"}),
    "negative_binomial": Golden("y ~ x + (x | g)", overdispersed, {"family": "negative_binomial"}),
    "exploratory_family": Golden("y ~ x + (1 | g)", overdispersed, {"family": "poisson", "intent": "exploratory"}),
}


@cache
def golden_spec(name: str) -> mf.ModelSpec:
    golden = GOLDEN[name]
    return mf.compile_model(golden.formula, golden.make(), **golden.arguments)


@cache
def golden_fit(name: str) -> Any:
    return golden_spec(name).fit()
