"""Bad input of models with a family: families, links, and responses that a family cannot have."""

from __future__ import annotations

from typing import Any

import polars as pl

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, DataError, FitError, InferenceUnavailable, MixeffError, NotIdentifiable
from tests.bad_input import INF, NAN, N, Refusal, put

COUNTS = put(
    s=[i % 4 for i in range(N)], t=[4] * N, u=[0.25 * (i % 5) for i in range(N)], v=[i % 2 for i in range(N)],
    half=[0.5 + i % 3 for i in range(N)], two=[1 + i % 2 for i in range(N)],
)


def bad_family(
    name: str, error: type[MixeffError], word: str, fields: dict[str, Any], response: str, family: Any = "binomial",
    data: pl.DataFrame = COUNTS, terms: str = "x + (1 | g)", **arguments: Any,
) -> Refusal:
    return Refusal(
        f"family: {name}", error, word, lambda: mf.compile_model(f"{response} ~ {terms}", data, family=family, **arguments),
        fields,
    )


def bad_link(word: str, family: Any, **arguments: Any) -> Refusal:
    return Refusal(f"{family.__name__} {arguments}", ArgumentError, word, lambda: family(**arguments),
                   {"argument": next(iter(arguments))})


FAMILIES = [
    bad_link('"logit", "probit"', mf.binomial, link="identity"),
    bad_link('"log", "sqrt"', mf.poisson, link="logit"),
    bad_link('"inverse"', mf.gamma, link="1/mu^2"),
    bad_link('"inverse_square"', mf.inverse_gaussian, link="sqrt"),
    bad_link('"log", "sqrt"', mf.negative_binomial, link="inverse"),
    bad_link('"identity", "log"', mf.gaussian, link="probit"),
    bad_link("a name such as", mf.binomial, link=3),
    *(bad_link("a positive finite number", mf.negative_binomial, theta=theta)
      for theta in (0.0, -1.0, INF, NAN, "2", True, 10**400)),
    bad_family("unknown", ArgumentError, '"negative_binomial"', {"argument": "family"}, "s", "beta"),
    bad_family("no name", ArgumentError, "binomial(link=", {"argument": "family"}, "s", 3),
    bad_family("another function", ArgumentError, "there is no family", {"argument": "family"}, "s", mf.lmm),
    bad_family("gaussian", ArgumentError, "lmm()", {"argument": "family"}, "y", "gaussian"),
    bad_family("gaussian identity", ArgumentError, 'gaussian(link="log")', {"argument": "family"}, "y", mf.gaussian()),
    bad_family("counts as successes", DataError, "cbind(successes, failures)", {"column": "s", "rows": [2, 3, 6, 7, 10]}, "s"),
    bad_family("1 and 2", DataError, "factor(two)", {"column": "two", "rows": [1, 3, 5, 7, 9], "count": N // 2}, "two"),
    bad_family("proportions alone", DataError, "weights=", {"column": "u", "count": 108}, "u"),
    bad_family("not a proportion", DataError, "the proportion of successes", {"column": "s"}, "s", weights="t"),
    bad_family("rounded", DataError, "not rounded", {"column": "u", "rows": [1, 2, 3, 6, 7]}, "u", weights=[7] * N),
    bad_family("broken trials", DataError, "numbers of trials", {"argument": "weights", "count": N}, "u", weights="half"),
    bad_family("other weights", DataError, "cbind(v, 1 - v)", {"argument": "weights"}, "v", weights="half"),
    bad_family("negative trials", DataError, "numbers of trials", {"argument": "weights", "rows": [0]}, "u",
               weights=[-4.0] + [4.0] * (N - 1)),
    bad_family("zero weights of labels", DataError, "subset=", {"argument": "weights", "rows": [0]}, "b",
               weights=[0.0] + [1.0] * (N - 1)),
    bad_family("zero weights of counts", DataError, "subset=", {"argument": "weights", "rows": [0]}, "s", "poisson",
               weights=[0.0] + [1.0] * (N - 1)),
    bad_family("three levels", DataError, "the second success", {"column": "a", "n_levels": 3, "levels": ["p", "q", "r"]}, "a"),
    bad_family("one level", DataError, "has 1 levels", {"column": "a", "n_levels": 1}, "a", subset=pl.col("a") == "p"),
    bad_family("negative failures", DataError, "'s - t' is negative", {"column": "s - t"}, "cbind(s, s - t)"),
    bad_family("broken successes", DataError, "'half' is not whole", {"column": "half"}, "cbind(half, s)"),
    bad_family("labels in cbind", DataError, "numbers of successes", {"column": "b", "dtype": "String"}, "cbind(b, s)"),
    bad_family("too many trials", DataError, "more than 2^53 trials", {"count": N}, "cbind(s, t + 1e17)"),
    bad_family("no trials", DataError, "any trials", {"n_rows": N}, "cbind(s - s, t - t)"),
    bad_family("cbind of counts", InferenceUnavailable, "the poisson family",
               {"reason_code": "multivariate_response_unsupported"}, "cbind(s, t)", "poisson"),
    bad_family("labels as counts", DataError, "the binomial family", {"column": "b", "dtype": "String"}, "b", "poisson"),
    bad_family("negative counts", DataError, "one of counts", {"column": "I(s - 1)", "count": N // 4}, "I(s - 1)", "poisson"),
    bad_family("broken counts", DataError, "offset=", {"column": "half", "count": N}, "half", mf.negative_binomial()),
    bad_family("zeros", DataError, "positive values only", {"column": "s", "rows": [0, 4, 8, 12, 16]}, "s", "Gamma"),
    bad_family("negative", DataError, "positive values only", {"column": "I(-y)", "count": N}, "I(-y)", "inverse.gaussian"),
    bad_family("missing", DataError, "na_action", {"columns": ["v"], "rows": [0]}, "v",
               data=COUNTS.with_columns(v=pl.Series([None, *COUNTS["v"][1:]]))),
    bad_family("no failures", FitError, "no failures", {"reason_code": "constant_response"}, "cbind(t, s - s)"),
    bad_family("no successes", FitError, "no successes", {"reason_code": "constant_response"}, "I(v * 0)"),
    bad_family("no counts", FitError, "zero in all rows", {"reason_code": "constant_response"}, "I(v * 0)", "poisson",
               offset="x"),
    bad_family("no variation", FitError, "constant", {"reason_code": "constant_response", "column": "t"}, "t", "gamma"),
    bad_family("no random term", FitError, "GLM", {"reason_code": "no_random_effects"}, "v", terms="x"),
    bad_family("one level of a group", NotIdentifiable, "group by another column", {"group": "t", "n_levels": 1}, "v",
               terms="x + (1 | t)"),
]
