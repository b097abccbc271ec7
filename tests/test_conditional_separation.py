"""Outcomes that random effects, with the fixed effects, tell apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit

import mixeff_fast as mf
from mixeff_fast.fit import conditional_separation as cs
from mixeff_fast.fit.conditional_separation import conditional_separation, extreme_deviation

GROUP = np.repeat(np.arange(8), 6)
CROSSED = np.tile(np.arange(6), 8)


def found(formula: str, y: Any, **columns: Any) -> tuple[bool, Any]:
    data = pl.DataFrame({"y": y, "g": [f"g{k}" for k in GROUP], "h": [f"h{k}" for k in CROSSED], **columns})
    separated, finding = conditional_separation(mf.compile_model(formula, data, family="binomial").compiled)
    return separated, None if finding is None else finding.payload


@pytest.mark.parametrize("at_once", [2_000, 5])
def test_what_is_separated_and_what_is_not(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    monkeypatch.setattr(cs, "ROWS_AT_ONCE", at_once)
    stream = np.random.default_rng(3)
    x = stream.normal(size=48)
    pure = (GROUP < 3).astype(int)
    assert found("y ~ 1 + (1 | g)", pure)[0]
    assert found("y ~ x + (0 + x | g)", (x * (GROUP - 3.5) > 0.0).astype(int), x=x)[0]
    assert not found("y ~ x + (1 | g)", (x * (GROUP - 3.5) > 0.0).astype(int), x=x)[0]
    mixed = pure.copy()
    mixed[7] = 0
    separated, told = found("y ~ 1 + (1 | g)", mixed)
    assert (separated, told["n_one_outcome"], told["n_levels"]) == (False, 7, 8)
    # one other outcome lies beyond the rest of its level, or between them
    x[6:12] = [0.0, 5.0, 1.0, 2.0, 3.0, 4.0]
    x[:6] = x[12:] = 0.0
    assert found("y ~ x + (1 | g)", mixed, x=x)[0]
    x[7] = 2.5
    assert not found("y ~ x + (1 | g)", mixed, x=x)[0]
    a, b = stream.normal(size=8), stream.normal(size=6)
    both = (a[GROUP] + b[CROSSED] > 0.0).astype(int)
    assert found("y ~ 1 + (1 | g) + (1 | h)", both)[0]
    assert not found("y ~ 1 + (1 | g)", both)[0]


def test_rows_of_several_trials() -> None:
    won, lost = 3 * (GROUP < 3), 3 * (GROUP >= 3)
    formula = "cbind(y, lost) ~ 1 + (1 | g)"
    assert found(formula, won, lost=lost)[0]
    none = np.where(np.arange(48) == 7, 0, won)
    assert found(formula, none, lost=lost)[0]
    assert not found(formula, won, lost=np.where(np.arange(48) == 7, 1, lost))[0]


def test_every_order_of_rows_gives_the_same() -> None:
    stream = np.random.default_rng(4)
    for _ in range(30):
        y, x = stream.integers(0, 2, 12), stream.normal(size=12)
        data = pl.DataFrame({"y": y, "x": x, "g": [f"g{k // 3}" for k in range(12)]})
        told = {conditional_separation(
            mf.compile_model("y ~ x + (1 | g)", data[stream.permutation(12).tolist()], family="binomial").compiled)[0]
            for _ in range(3)}
        assert len(told) == 1


def test_too_many_entries_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cs, "MOST_ENTRIES", 10)
    x = np.random.default_rng(3).normal(size=48)
    separated, told = found("y ~ x + (1 | g)", (x > GROUP - 3.5).astype(int), x=x)
    assert (separated, told) == (False, {"reason": "too_large", "n_rows": 48, "n_columns": 3})


def test_the_likelihood_of_pure_levels_rises_to_its_limit() -> None:
    """By Gauss-Legendre quadrature over the normal distribution's bulk, not around modes."""
    point, weight = np.polynomial.legendre.leggauss(4000)
    z, weight = 9.0 * point, 9.0 * weight * np.exp(-0.5 * (9.0 * point) ** 2) / np.sqrt(2.0 * np.pi)
    values = [2.0 * np.log(weight @ expit(s * z) ** 10) for s in (1.0, 10.0, 69.0, 500.0)]
    assert np.all(np.diff(values) > 0.0)
    assert values[-1] == pytest.approx(-2.0 * np.log(2.0), abs=0.02)


def test_what_calls_for_the_test() -> None:
    assert not extreme_deviation("logit", (np.array([4.5]), np.array([])))
    assert extreme_deviation("logit", (np.array([4.6]),))
    assert extreme_deviation("probit", (np.array([2.6]),))
    assert not extreme_deviation("log", (np.array([40.0]),))
