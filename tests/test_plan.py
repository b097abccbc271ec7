"""The elimination plan: what is eliminated how, where everything lies, and which trunk is chosen on the benchmark shapes."""

from __future__ import annotations

from dataclasses import fields
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.shapes import SHAPES
from mixeff_fast.compile import choice, pairs
from mixeff_fast.compile.plan import EliminationPlan, make_plan, plan_from_pairs
from mixeff_fast.compile.trunk import stored_numbers, with_border
from mixeff_fast.kernels import supernodal


def compact(codes: Any) -> Any:
    return np.unique(codes, return_inverse=True)[1].astype(np.int32)


def levels(codes: list[Any]) -> list[int]:
    return [int(own.max()) + 1 for own in codes]


def same(a: Any, b: Any) -> bool:
    """Whether two plans, or parts of them, are equal to the last bit."""
    if isinstance(a, tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b)
    if isinstance(a, EliminationPlan):
        return all(same(getattr(a, f.name), getattr(b, f.name)) for f in fields(a))
    return bool(a == b)


@st.composite
def designs(draw: st.DrawFn) -> tuple[list[Any], list[int]]:
    """Codes and widths of one to five factors, nested, crossed or overlapping."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(10, 90))
    codes = [compact(rng.integers(0, draw(st.integers(2, 30)), n))]
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(["windows", "nested", "crossed", "same"]))
        if kind == "windows":
            codes.append(compact(np.arange(n) * draw(st.integers(2, 20)) // n))
        elif kind == "nested":
            codes.append(compact(codes[-1] // draw(st.integers(2, 4))))
        elif kind == "crossed":
            codes.append(compact(rng.integers(0, draw(st.integers(2, 6)), n)))
        else:
            codes.append(compact(-codes[0]))
    return codes, [draw(st.integers(1, 3)) for _ in codes]


@settings(max_examples=150, deadline=None)
@given(design=designs(), trunk=st.sampled_from(["auto", "dense", "sparse"]), p=st.integers(0, 3))
def test_layout_is_that_of_the_rows(design: tuple[list[Any], list[int]], trunk: Any, p: int) -> None:
    codes, width = design
    n_levels = levels(codes)
    plan = make_plan(codes, n_levels, width, p, trunk)
    n_blocks = sum(n_levels)
    assert sorted(np.concatenate(plan.level_block).tolist()) == list(range(n_blocks))
    blocks = [plan.level_block[k][own] for k, own in enumerate(codes)]
    near: list[set[int]] = [set() for _ in range(n_blocks)]
    for a, b in combinations(blocks, 2):
        for x, y in zip(np.minimum(a, b).tolist(), np.maximum(a, b).tolist(), strict=True):
            near[x].add(y)
    panel = diag = column = 0
    for b in range(n_blocks):
        k = int(plan.block_factor[b])
        w = width[k]
        later = plan.neighbour[plan.neighbour_ptr[b] : plan.neighbour_ptr[b + 1]].tolist()
        assert later == sorted(near[b])
        offsets = np.cumsum([0, *(width[plan.block_factor[r]] for r in later)])
        assert plan.neighbour_off[plan.neighbour_ptr[b] : plan.neighbour_ptr[b + 1]].tolist() == offsets[:-1].tolist()
        assert (plan.panel_ptr[b], plan.diag_ptr[b], plan.block_col[b]) == (panel, diag, column)
        assert plan.panel_cols[b] == offsets[-1] + p + 1
        panel, diag, column = panel + w * int(plan.panel_cols[b]), diag + w * w, column + w
    assert (plan.panel_size, plan.diag_size, plan.trunk_start + plan.trunk_size) == (panel, diag, column)
    for k, own in enumerate(plan.level_block):
        assert np.all(plan.block_factor[own] == k)
        assert np.array_equal(plan.level_column[k], plan.block_col[own])
        if k in plan.order[: plan.n_chain] or plan.trunk == "dense":
            assert np.array_equal(own, plan.first_block[k] + np.arange(n_levels[k]))
            assert plan.first_column[k] == plan.level_column[k][0]
    for k in plan.order[: plan.n_chain]:
        for block in plan.level_block[k].tolist():
            for j in plan.order[: plan.n_chain]:
                if plan.first_block[j] > plan.first_block[k]:
                    assert len(near[block] & set(plan.level_block[j].tolist())) == 1


@settings(max_examples=60, deadline=None)
@given(design=designs(), trunk=st.sampled_from(["auto", "dense", "sparse"]))
def test_pairs_of_parts_make_the_same_plan(design: tuple[list[Any], list[int]], trunk: Any) -> None:
    codes, width = design
    n_levels = levels(codes)
    half = len(codes[0]) // 2
    parts = [pairs.level_pairs([own[rows] for own in codes], n_levels) for rows in (slice(None, half), slice(half, None))]
    merged = {key: np.union1d(parts[0][key], parts[1][key]) for key in parts[0]}
    ours = plan_from_pairs(merged, n_levels, width, 2, trunk)
    assert same(ours, make_plan(codes, n_levels, width, 2, trunk))
    shuffled = np.random.default_rng(1).permutation(len(codes[0]))
    assert same(ours, make_plan([own[shuffled] for own in codes], n_levels, width, 2, trunk))


@pytest.mark.parametrize("n", [5, 100_000])
def test_pairs_are_found_by_ticking_off_and_by_sorting(n: int) -> None:
    rng = np.random.default_rng(2)
    for n_a, n_b in ((3, 4), (2000, 3000)):
        a, b = (rng.integers(0, q, n).astype(np.int32) for q in (n_a, n_b))
        assert pairs.meeting_levels(a, b, n_a, n_b).tolist() == np.unique(a.astype(np.int64) * n_b + b).tolist()


def test_nesting() -> None:
    fine = np.array([0, 0, 1, 2, 3, 3], np.int32)
    coarse = np.array([0, 0, 0, 1, 1, 1], np.int32)
    crossed = np.array([0, 1, 0, 1, 0, 1], np.int32)
    codes = [coarse, fine, crossed]
    n_levels = levels(codes)
    met = pairs.level_pairs(codes, n_levels)
    assert pairs.is_nested(met, n_levels, 1, 0)
    assert not pairs.is_nested(met, n_levels, 0, 1)
    assert not pairs.is_nested(met, n_levels, 1, 2)
    assert not pairs.is_nested(met, n_levels, 0, 2)


def test_the_chain_has_the_most_columns() -> None:
    """A single factor of 40 levels, and a chain of 30, 15 and 5 levels: more together."""
    rng = np.random.default_rng(3)
    n = 2000
    fine = rng.integers(0, 30, n)
    codes = [compact(own) for own in (rng.integers(0, 40, n), fine // 6, fine, fine // 2)]
    plan = make_plan(codes, levels(codes), [1, 1, 1, 1], 1)
    assert plan.order == (2, 3, 1, 0)
    assert (plan.n_chain, plan.trunk_size, plan.trunk) == (3, 40, "dense")
    assert make_plan(codes, levels(codes), [2, 1, 1, 1], 1).order[0] == 0
    assert make_plan(codes[1:], levels(codes[1:]), [1, 1, 1], 1).trunk == "none"


def shape_codes(key: str, scale: float = 1.0) -> tuple[list[Any], list[int], list[int]]:
    shape = SHAPES[key]
    data = shape.data(scale)
    codes = [compact(data[term.group].to_numpy()) for term in shape.terms]
    return codes, levels(codes), [1 + len(term.slopes) for term in shape.terms]


@pytest.mark.parametrize(
    ("key", "trunk", "why"),
    [
        ("5", "dense", "most levels meet many others"),
        ("6", "dense", "most levels meet many others"),
        ("7", "dense", "no more than 300 columns"),
        ("balanced", "dense", "no more than 300 columns"),
        ("students", "dense", None),
        ("chain", "sparse", "least predicted time"),
        ("nested", "none", None),
    ],
)
def test_the_trunk_of_the_benchmark_shapes(key: str, trunk: str, why: str | None) -> None:
    codes, n_levels, width = shape_codes(key)
    plan = make_plan(codes, n_levels, width, 2, "auto")
    assert plan.trunk == trunk
    assert (plan.supernodes is not None) == (trunk == "sparse")
    assert sum(other.chosen for other in plan.alternatives) == (trunk != "none")
    for other in plan.alternatives:
        assert other.why
        assert not other.chosen or other.trunk == trunk
        assert why is None or not other.chosen or other.why == why
    forced = make_plan(codes, n_levels, width, 2, "dense")
    assert forced.trunk == ("none" if trunk == "none" else "dense")
    if trunk == "dense":
        assert forced.flops == plan.flops


def test_a_sparse_trunk_is_orders_of_magnitude_cheaper_on_overlapping_factors() -> None:
    codes, n_levels, width = shape_codes("chain")
    dense, sparse = (make_plan(codes, n_levels, width, 2, kind) for kind in ("dense", "sparse"))
    assert sparse.flops < dense.flops / 1000
    assert sparse.inverse_flops < dense.inverse_flops / 1000
    assert sparse.bytes < dense.bytes / 20


def test_a_factor_that_would_connect_everything_is_left_to_the_trunk() -> None:
    """Doctors in two regions, patients who see neighbouring doctors: a region as part of the chain connects all of its
    patients' clinics."""
    rng = np.random.default_rng(4)
    n, doctors = 12_000, 1500
    doctor = np.arange(n) * doctors // n
    region = doctor * 2 // doctors
    clinic = np.clip(np.arange(n) * 1200 // n + rng.integers(-1, 2, n), 0, 1199)
    codes = [compact(own) for own in (doctor, region, clinic)]
    plan = make_plan(codes, levels(codes), [1, 1, 1], 1, "auto")
    assert plan.trunk == "sparse"
    assert (plan.order[0], plan.n_chain) == (0, 1)
    assert {other.name for other in plan.alternatives} == {"dense", "sparse", "sparse, chain of 1"}
    assert [other.chain for other in plan.alternatives if other.chosen] == [(0,)]


def test_predicted_bytes_are_those_allocated() -> None:
    codes, n_levels, width = shape_codes("chain", 0.2)
    plan = make_plan(codes, n_levels, width, 3, "sparse")
    sn = plan.supernodes
    assert sn is not None
    panels = np.zeros(int(sn.ptr[-1])), np.zeros((plan.border, plan.border))
    work = supernodal.supernode_work(sn, plan.border)
    stored = sum(own.nbytes for own in (*panels, *work))
    assert 8 * stored_numbers(sn, plan.border) == stored
    chosen = next(other for other in plan.alternatives if other.chosen)
    assert chosen.bytes == stored
    index = sum(own.nbytes for own in sn) + sum(
        own.nbytes for f in fields(plan) if isinstance(own := getattr(plan, f.name), np.ndarray) and f.name != "width"
        and not f.name.startswith("first_")
    ) + sum(own.nbytes for own in (*plan.level_block, *plan.level_column))
    # cross-product and factor of the chain, diagonal blocks three times, the solution
    chain = 8 * (2 * plan.panel_size + 3 * plan.diag_size + plan.trunk_start + plan.trunk_size)
    assert plan.bytes == index + chain + stored


def test_another_border_moves_the_panels() -> None:
    codes, n_levels, width = shape_codes("chain", 0.05)
    three, one = (make_plan(codes, n_levels, width, p, "sparse").supernodes for p in (3, 1))
    assert three is not None
    assert one is not None
    assert np.array_equal(with_border(three, 2).ptr[-1:], three.ptr[-1:] - 2 * three.first[-1:])
    assert with_border(three, 4).ptr.tolist() == three.ptr.tolist()
    assert one.ptr[-1] < three.ptr[-1]


def test_ordering_is_not_tried_where_it_cannot_pay(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("ordered")

    monkeypatch.setattr(choice, "symbolic", refuse)
    for key in ("5", "6", "7", "balanced"):
        assert make_plan(*shape_codes(key), 2, "auto").trunk == "dense"
    with pytest.raises(AssertionError, match="ordered"):
        make_plan(*shape_codes("chain", 0.2), 2, "auto")
