"""Separation of binary outcomes, against enumeration of hyperplanes on small designs."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from mixeff_fast.fit import separation as separation_module
from mixeff_fast.fit.separation import separation, separation_finding, separation_symptoms, skipped_finding


def separable_rows(x: np.ndarray, successes: np.ndarray, trials: np.ndarray) -> np.ndarray:
    """Which rows some direction separates, with no row on the wrong side, by enumerating the rays of the cone.

    The cone ``{b: s_i x_i'b >= 0}`` of a design of full rank has rays where p - 1 independent rows are zero. Each ray is found
    exactly enough in integers.
    """
    rows = np.concatenate([x[successes > 0], -x[successes < trials]])
    owner = np.concatenate([np.flatnonzero(successes > 0), np.flatnonzero(successes < trials)])
    found = np.zeros(len(x), bool)
    p = x.shape[1]
    for chosen in combinations(range(len(rows)), p - 1):
        _, values, right = np.linalg.svd(rows[list(chosen)].reshape(p - 1, p))
        if np.sum(values > 1e-9) < p - 1:
            continue
        for ray in (right[-1], -right[-1]):
            margin = rows @ ray
            if margin.min() > -1e-9:
                found[owner[margin > 1e-9]] = True
    return found


def designs():
    rng = np.random.default_rng(20)
    for k in range(120):
        n, p = int(rng.integers(4, 11)), int(rng.integers(1, 4))
        x = rng.integers(-2, 3, (n, p)).astype(float)
        if k % 2:
            x = np.column_stack([np.ones(n), x])
        if np.linalg.matrix_rank(x) < x.shape[1]:
            continue
        trials = rng.integers(1, 3, n).astype(float) if k % 3 == 0 else np.ones(n)
        if k % 4 == 0:
            # outcomes along a hyperplane, so that complete separation is not rare
            successes = np.where(x @ rng.normal(size=x.shape[1]) > 0.0, trials, 0.0)
        else:
            successes = np.floor(rng.uniform(size=n) * (trials + 1.0))
        yield x, successes, trials


@pytest.mark.parametrize("at_once", [2, separation_module.ROWS_AT_ONCE])
def test_against_the_rays_of_the_cone(monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """With all rows in the linear programs, and with few that become more."""
    monkeypatch.setattr(separation_module, "ROWS_AT_ONCE", at_once)
    kinds = []
    for x, successes, trials in designs():
        expected = separable_rows(x, successes, trials)
        found = separation(x, successes, trials)
        kinds.append(found.kind)
        assert found.n_separated == expected.sum()
        assert found.n_rows == len(x)
        if not expected.any():
            assert found.kind == "none"
            assert found.columns == ()
            assert not found.direction.any()
            continue
        mixed = (successes > 0.0) & (successes < trials)
        assert found.kind == ("complete" if expected.all() and not mixed.any() else "quasi_complete")
        sign = np.where(successes > 0.0, 1.0, -1.0)
        margin = sign * (x @ found.direction)
        assert np.all(margin[expected] > 1e-9)
        assert np.abs(margin[~expected]).max(initial=0.0) < 1e-9
        assert set(np.flatnonzero(found.direction)) == set(found.columns)
    assert {kind: kinds.count(kind) > 5 for kind in set(kinds)} == {"none": True, "quasi_complete": True, "complete": True}


def test_no_column_separates_but_a_combination_does() -> None:
    rng = np.random.default_rng(3)
    x = np.column_stack([np.ones(200), rng.normal(size=(200, 3))])
    along = x @ np.array([0.3, 1.0, -1.0, 0.0])
    y = (along > 0.0).astype(float)
    found = separation(x, y)
    assert found.kind == "complete"
    assert found.n_separated == 200
    for j in (1, 2, 3):
        assert separation(x[:, [0, j]], y).kind == "none"
    assert separation(x, np.where(rng.uniform(size=200) < 0.1, 1.0 - y, y)).kind == "none"


def test_one_row_with_a_value_that_no_other_row_has() -> None:
    rng = np.random.default_rng(4)
    x = np.column_stack([np.ones(1000), rng.normal(size=1000), np.zeros(1000)])
    y = (rng.uniform(size=1000) < 0.5).astype(float)
    x[17, 2], y[17] = 1.0, 0.0
    found = separation(x, y)
    assert (found.kind, found.columns, found.n_separated) == ("quasi_complete", (2,), 1)
    finding = separation_finding(found, ("(Intercept)", "x1", "x2"), x)
    assert finding is not None
    assert finding.affected_terms == ("x2",)
    assert finding.payload == {
        "separation_kind": "quasi_complete_fixed_effect", "columns": ["x2"], "n_separated": 1, "n_rows": 1000,
        "column": "x2", "value": 1.0, "n_at_value": 1,
    }
    x[18, 2], y[18] = 1.0, 1.0
    assert separation(x, y).kind == "none"
    assert separation_finding(separation(x, y), ("(Intercept)", "x1", "x2"), x) is None


def test_many_rows() -> None:
    """More than a linear program holds at once, and overlap that only a few of them show."""
    rng = np.random.default_rng(8)
    x = np.column_stack([np.ones(200_000), rng.normal(size=(200_000, 4))])
    along = x @ np.array([0.1, 1.0, -1.0, 0.5, 0.2])
    x, along = x[np.abs(along) > 0.01], along[np.abs(along) > 0.01]
    y = (along > 0.0).astype(float)
    assert separation(x, y).kind == "complete"
    flipped = y.copy()
    flipped[np.argsort(np.abs(along))[:40]] = rng.integers(0, 2, 40)
    assert separation(x, flipped).kind == "none"
    alone = np.column_stack([x, np.arange(len(x)) == 77])
    assert separation(alone, flipped).columns == (5,)
    assert separation(alone, flipped).n_separated == 1


@pytest.mark.parametrize("scale", [1e-9, 1.0, 1e9])
def test_units_and_origin_do_not_matter(scale: float) -> None:
    x = np.array([0.0, 1.0, 2.0, 3.0, 4.0, 5.0])
    design = np.column_stack([np.ones(6), (1e4 + x) * scale])
    complete = separation(design, np.array([0.0, 0, 0, 1, 1, 1]))
    assert (complete.kind, complete.columns, complete.n_separated) == ("complete", (0, 1), 6)
    tied = separation(np.vstack([design, design[2]]), np.array([0.0, 0, 0, 1, 1, 1, 1]))
    assert (tied.kind, tied.n_separated) == ("quasi_complete", 5)
    assert separation(design, np.array([0.0, 0, 1, 0, 1, 1])).kind == "none"


def test_overlap_by_less_than_the_tolerance_of_the_program_is_overlap() -> None:
    x = np.column_stack([np.ones(4), [-1e-8, 1e-8, -1.0, 1.0]])
    assert separation(x, np.array([1.0, 0.0, 0.0, 1.0])).kind == "none"


def test_rows_of_both_outcomes_lie_on_the_hyperplane() -> None:
    x = np.column_stack([np.ones(3), [0.0, 1.0, 2.0]])
    found = separation(x, np.array([0.0, 2.0, 5.0]), np.array([4.0, 5.0, 5.0]))
    assert (found.kind, found.n_separated) == ("quasi_complete", 2)
    assert separation(x, np.array([0.0, 5.0, 5.0]), np.array([4.0, 5.0, 5.0])).kind == "complete"


def test_nothing_to_separate() -> None:
    assert separation(np.ones((5, 1)), np.array([0.0, 1, 0, 1, 1])).kind == "none"
    assert separation(np.zeros((5, 0)), np.array([0.0, 1, 0, 1, 1])).kind == "none"
    all_failed = separation(np.ones((5, 1)), np.zeros(5))
    assert (all_failed.kind, all_failed.direction.tolist()) == ("complete", [-1.0])


def test_symptoms() -> None:
    beta, error, eta, scale = np.array([1.0, 2.0]), np.array([0.1, 0.3]), np.array([1.0, -4.0]), np.ones(2)
    assert separation_symptoms(beta, error, eta, scale) == ()
    assert separation_symptoms(beta, error, np.array([1.0, -40.0]), scale) == ("extreme_linear_predictor",)
    assert separation_symptoms(beta, error, eta, np.array([1.0, 100.0])) == ("large_standard_error",)
    assert "not_finite" in separation_symptoms(beta, error, np.array([np.inf, 0.0]), scale)
    aliased = separation_symptoms(np.array([1.0, np.nan]), np.array([0.1, np.nan]), eta, scale)
    assert aliased == ()


def test_a_check_that_was_skipped_says_so() -> None:
    finding = skipped_finding("no_symptoms", 100, 3)
    assert finding.code == "separation_check_skipped"
    assert finding.payload == {"reason": "no_symptoms", "n_rows": 100, "n_columns": 3}
