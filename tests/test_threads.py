"""Several threads and several callers: the same bits, the oracle's numbers, no crash; and the stages the tasks are cut from."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import mixeff_fast as mf
from mixeff_fast.compile import model as model_module
from mixeff_fast.compile.plan import make_plan
from mixeff_fast.errors import MixeffError
from mixeff_fast.fit import engine as engine_module
from mixeff_fast.fit import workspace
from mixeff_fast.fit.control import DEFAULT_CONTROL, Control
from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.threads import Team
from mixeff_fast.kernels.dense import TILE
from tests import oracle
from tests.bridge import bridge
from tests.strategies import Case, cases

Floats = NDArray[np.float64]

checked = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


def labels(codes: NDArray[np.int64]) -> pl.Series:
    return pl.Series(codes).cast(pl.String)


def slopes(n: int = 40_000, q: int = 3_000) -> tuple[str, pl.DataFrame]:
    rng = np.random.default_rng(1)
    g, x = rng.integers(0, q, n), rng.normal(size=n)
    y = 1 + x + rng.normal(size=q)[g] + 0.5 * rng.normal(size=q)[g] * x + rng.normal(size=n)
    return "y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": labels(g)})


def crossed(n: int = 20_000, qa: int = 2_000, qb: int = 450) -> tuple[str, pl.DataFrame]:
    """The trunk takes three tiles."""
    rng = np.random.default_rng(2)
    a, b, x = rng.integers(0, qa, n), rng.integers(0, qb, n), rng.normal(size=n)
    y = x + rng.normal(size=qa)[a] + 0.5 * rng.normal(size=qb)[b] + rng.normal(size=n)
    return "y ~ x + (1 | a) + (1 | b)", pl.DataFrame({"y": y, "x": x, "a": labels(a), "b": labels(b)})


def full() -> tuple[str, pl.DataFrame]:
    """Every leaf block meets every trunk block."""
    rng = np.random.default_rng(3)
    a, b = np.repeat(np.arange(1_200), 30), np.tile(np.arange(30), 1_200)
    x = rng.normal(size=36_000)
    y = x + rng.normal(size=1_200)[a] * (1 + 0.3 * x) + 0.5 * rng.normal(size=30)[b] + rng.normal(size=36_000)
    return "y ~ x + (x | a) + (x | b)", pl.DataFrame({"y": y, "x": x, "a": labels(a), "b": labels(b)})


def overlapping(n: int = 30_000, width: int = 30) -> tuple[str, pl.DataFrame]:
    """A chain of overlapping factors: the trunk is sparse."""
    rng = np.random.default_rng(7)
    codes = {f"f{k}": (np.arange(n) + k * width // 4) // width for k in range(4)}
    y = rng.normal(size=n)
    for own in codes.values():
        y += 0.5 * rng.normal(size=own.max() + 1)[own]
    return "y ~ 1 + " + " + ".join(f"(1 | {name})" for name in codes), pl.DataFrame(
        {"y": y, **{name: labels(own) for name, own in codes.items()}}
    )


def nested() -> tuple[str, pl.DataFrame]:
    rng = np.random.default_rng(4)
    inner = rng.integers(0, 4_000, 40_000)
    y = rng.normal(size=4_000)[inner] + rng.normal(size=400)[inner // 10] + rng.normal(size=40_000)
    return "y ~ 1 + (1 | a) + (1 | b)", pl.DataFrame({"y": y, "a": labels(inner), "b": labels(inner // 10)})


MODELS = {"slopes": slopes, "crossed": crossed, "full": full, "nested": nested, "overlapping": overlapping}


def bits(fit: mf.LinearMixedModel) -> tuple[bytes, ...]:
    effects = fit.ranef(cond_var=True)
    return (fit.theta.tobytes(), fit.beta.tobytes(), fit.vcov().tobytes(), np.float64(fit.result.objective).tobytes(),
            effects["condval"].to_numpy().tobytes(), effects["condsd"].to_numpy().tobytes())


@pytest.mark.parametrize("name", MODELS)
def test_bits_do_not_depend_on_threads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = mf.compile_model(*MODELS[name]())
    found = [bits(spec.fit(control=mf.control(threads=count))) for count in (1, 2, 5)]
    run = Team.run
    shuffle = random.Random(5)

    def disturbed(team: Team, kernel: Any, n_tasks: int, *arguments: Any) -> None:
        def late(*all_arguments: Any) -> None:
            time.sleep(shuffle.choice((0.0, 0.0, 0.0005, 0.002)))
            kernel(*all_arguments)

        run(team, late, n_tasks, *arguments)

    monkeypatch.setattr(Team, "run", disturbed)
    found.append(bits(spec.fit(control=mf.control(threads=3))))
    assert all(other == found[0] for other in found[1:])


@pytest.mark.parametrize("name", MODELS)
def test_row_order_changes_rounding_only(name: str) -> None:
    formula, data = MODELS[name]()
    one = mf.lmm(formula, data)
    other = mf.lmm(formula, data.sample(fraction=1.0, shuffle=True, seed=6))
    assert other.result.objective == pytest.approx(one.result.objective, rel=1e-11)
    np.testing.assert_allclose(other.beta, one.beta, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(other.theta, one.theta, rtol=1e-6)


def test_eight_callers_at_once() -> None:
    specs = [mf.compile_model(*make()) for make in MODELS.values()]
    small = mf.compile_model("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    specs = [*specs, *[small] * 3] * 2
    alone = [bits(spec.fit()) for spec in specs]
    barrier = threading.Barrier(8)

    def fit(spec: mf.ModelSpec) -> tuple[bytes, ...]:
        barrier.wait(60)
        return bits(spec.fit())

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(fit, specs)) == alone


def staged(made: Any, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine that works stage by stage, with as many chunks as there may be."""
    with monkeypatch.context() as patch:
        patch.setattr(engine_module, "SMALL_FLOPS", 0.0)
        patch.setattr(workspace, "CHUNK_BLOCKS", 1)
        return Engine(made.model, Control(threads=2))


@checked
@given(case=cases(aliased=None), bars=st.lists(st.booleans(), min_size=1, max_size=3))
def test_stages_are_the_compiled_loop(case: Case, bars: list[bool]) -> None:
    try:
        made = bridge(case.problem, bars)
    except MixeffError:
        return
    with pytest.MonkeyPatch.context() as patch:
        many = staged(made, patch)
    one = made.engine()
    assert one.is_small
    assert not many.is_small
    lam = one.lam(made.to_model(case.theta))
    for ours, theirs in zip(many.score(lam, case.reml), one.score(lam, case.reml), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8 * max(1.0, float(np.abs(theirs).max())))
    np.testing.assert_allclose(many.solve(lam, case.reml), one.solve(lam, case.reml), rtol=1e-8, atol=1e-9)
    for ours, theirs in zip(many.conditional_inverse(lam, case.reml), one.conditional_inverse(lam, case.reml), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", ["crossed", "full"])
def test_tiles_against_dense_matrices(name: str, reml: bool) -> None:
    formula, data = MODELS[name]()
    rows = data.head(2_500)
    spec = mf.compile_model(formula, rows)
    engine = Engine(spec.compiled, DEFAULT_CONTROL)
    assert name == "full" or (engine.trunk is not None and engine.trunk.values.shape[1] > 2 * TILE)
    fit = spec.fit(reml=reml)
    lam = engine.lam(fit.theta * 1.3)
    value, gradient = engine.evaluate(lam, reml)
    X, Z = fit.model_matrix(), fit.model_matrix("random").toarray()
    y = rows["y"].to_numpy()
    blocks = spec.compiled.blocks
    theta = engine.theta(lam)

    def criterion(values: Floats) -> float:
        root = np.zeros((Z.shape[1], Z.shape[1]))
        start = 0
        for block in blocks:
            lower = np.zeros((block.width, block.width))
            lower[block.rows, block.columns] = values[block.theta]
            for _ in range(spec.compiled.factors[block.factor].n_levels):
                root[start : start + block.width, start : start + block.width] = lower
                start += block.width
        ZL = Z @ root
        M = np.block([[ZL.T @ ZL + np.eye(Z.shape[1]), ZL.T @ X, (ZL.T @ y)[:, None]],
                      [X.T @ ZL, X.T @ X, (X.T @ y)[:, None]], [(ZL.T @ y)[None], (X.T @ y)[None], np.array([[y @ y]])]])
        d = np.diag(np.linalg.cholesky(M))
        q, p = Z.shape[1], X.shape[1]
        nu = len(y) - p if reml else len(y)
        logs = 2 * np.log(d[:q]).sum() + (2 * np.log(d[q : q + p]).sum() if reml else 0.0)
        return float(logs + nu * (1 + np.log(2 * np.pi * d[-1] ** 2 / nu)))

    assert value + engine.criterion_shift(reml) == pytest.approx(criterion(theta), rel=1e-10)
    step = 1e-4
    for i in range(len(theta)):
        up, down = theta.copy(), theta.copy()
        up[i] += step
        down[i] -= step
        slope = (criterion(up) - criterion(down)) / (2 * step)
        ours = float(gradient @ (engine.lam(up) - engine.lam(down))) / (2 * step)
        assert ours == pytest.approx(slope, rel=1e-5, abs=1e-3)


@pytest.mark.parametrize("trunk", ["dense", "sparse"])
@checked
@given(case=cases(aliased=None), bars=st.lists(st.booleans(), min_size=1, max_size=3))
def test_staged_numbers_are_the_oracles(trunk: str, case: Case, bars: list[bool]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_module, "make_plan", partial(make_plan, trunk=trunk))
        try:
            made = bridge(case.problem, bars)
        except MixeffError:
            return
        engine = staged(made, patch)
    one = bridge(case.problem, bars).engine()
    lam = engine.lam(made.to_model(case.theta))
    value, gradient = engine.evaluate(lam, case.reml)
    theta = made.to_problem(engine.theta(lam))
    assert value + engine.criterion_shift(case.reml) == pytest.approx(
        oracle.deviance(case.problem, theta, case.reml), rel=1e-9, abs=1e-8
    )
    theirs = oracle.gradient_fd(case.problem, theta, case.reml)
    assert np.abs(made.user_gradient(engine, lam, gradient) - theirs).max() <= 1e-6 * max(1.0, float(np.abs(theirs).max()))
    for found, expected in zip(engine.score(lam, case.reml), one.score(lam, case.reml), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-8 * max(1.0, float(np.abs(expected).max())))
    both = (each.conditional_inverse(lam, case.reml) for each in (engine, one))
    for found, expected in zip(*both, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-10)


def test_which_trunks_the_models_have() -> None:
    found = {name: mf.compile_model(*make()).compiled.plan.trunk for name, make in MODELS.items()}
    assert found == {"slopes": "none", "crossed": "dense", "full": "dense", "nested": "none", "overlapping": "sparse"}


def test_a_sparse_trunk_gives_the_dense_ones_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    formula, data = overlapping(6_000)
    fits = []
    for trunk in ("dense", "sparse"):
        monkeypatch.setattr(model_module, "make_plan", partial(make_plan, trunk=trunk))
        fits.append(mf.lmm(formula, data))
        assert fits[-1].spec.compiled.plan.trunk == trunk
    one, other = fits
    assert other.result.objective == pytest.approx(one.result.objective, rel=1e-11)
    np.testing.assert_allclose(other.beta, one.beta, rtol=1e-9)
    np.testing.assert_allclose(other.theta, one.theta, rtol=1e-6)
    np.testing.assert_allclose(other.fitted, one.fitted, rtol=0, atol=1e-6)
    np.testing.assert_allclose(other.ranef(cond_var=True)["condsd"], one.ranef(cond_var=True)["condsd"], rtol=1e-6)


def test_a_failing_task_is_reported() -> None:
    done = []

    def task(first: int, step: int) -> None:
        done.append(first)
        if first == 1:
            raise ValueError("one")

    with pytest.raises(ValueError, match="one"):
        Team(4).run(task, 4)
    assert sorted(done) == [0, 1, 2, 3]


def test_threads_is_the_size_of_the_team() -> None:
    spec = mf.compile_model(*nested())
    assert [Engine(spec.compiled, mf.control(threads=count)).team.size for count in (1, 3)] == [1, 3]


# The order of the rows.

DATA_SETS = {
    "sleepstudy": "Reaction ~ Days + (Days | Subject)",
    "Penicillin": "diameter ~ 1 + (1 | plate) + (1 | sample)",
    "Pastes": "strength ~ 1 + (1 | batch/cask)",
    "Dyestuff": "Yield ~ 1 + (1 | Batch)",
    "InstEval": "y ~ service + (1 | s) + (1 | d) + (1 | dept)",
}


@pytest.mark.parametrize("reml", [True, False])
@pytest.mark.parametrize("name", DATA_SETS)
def test_the_order_of_the_rows_changes_rounding_only(name: str, reml: bool) -> None:
    data = mf.datasets.load(name)
    one = mf.lmm(DATA_SETS[name], data, reml=reml)
    other = mf.lmm(DATA_SETS[name], data[np.random.default_rng(3).permutation(len(data))], reml=reml)
    np.testing.assert_allclose(other.theta, one.theta, rtol=1e-9)
    np.testing.assert_allclose(other.beta, one.beta, rtol=1e-9)
    np.testing.assert_allclose(other.sigma, one.sigma, rtol=1e-9)
    np.testing.assert_allclose(other.std_error, one.std_error, rtol=1e-9)
    assert other.result.objective == pytest.approx(one.result.objective, rel=1e-12)
