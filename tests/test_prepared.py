"""Prepared refits: another response to the same design gives what fitting afresh gives, whatever was fitted before."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, ConvergenceNotice, DataError, FitError, RankNotice
from mixeff_fast.fit import crossproduct, engine, prepared, response
from mixeff_fast.fit import threads as pools
from mixeff_fast.fit.engine import Engine
from mixeff_fast.fit.prepared import Refits
from mixeff_fast.fit.workspace import needed_bytes
from mixeff_fast.models.prepared import PreparedModel
from tests.test_metamorphic import STRUCTURES, assert_same_fit, frames

pytestmark = [
    pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MissingRowsNotice"),
    pytest.mark.filterwarnings("ignore::mixeff_fast.errors.RankNotice"),
]

SLOPES = "Reaction ~ Days + (Days | Subject)"


@cache
def sleepstudy() -> pl.DataFrame:
    days = pl.col("Days")
    return mf.datasets.load("sleepstudy").with_columns(
        w=1.0 + days / 3, o=5.0 * days, twice=2.0 * days + 1.0, gap=pl.when(days != 4).then(days)
    )


MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "slopes": (SLOPES, "sleepstudy", {}),
    "maximum likelihood": (SLOPES, "sleepstudy", {"reml": False}),
    "uncorrelated": ("Reaction ~ Days + (Days || Subject)", "sleepstudy", {}),
    "no intercept": ("Reaction ~ 0 + Days + (0 + Days | Subject)", "sleepstudy", {}),
    "weights": (SLOPES, "sleepstudy", {"weights": "w"}),
    "weights and offset": (SLOPES, "sleepstudy", {"weights": "w", "offset": "o"}),
    "aliased": ("Reaction ~ Days + twice + (Days | Subject)", "sleepstudy", {}),
    "rows left out": ("Reaction ~ gap + (1 | Subject)", "sleepstudy", {"na_action": "omit", "weights": "w"}),
    "nearly collinear": ("Reaction ~ Days + I(Days^2) + (I(Days + 1e6) | Subject)", "sleepstudy", {}),
    "crossed": ("diameter ~ 1 + (1 | plate) + (1 | sample)", "Penicillin", {}),
    "nested": ("strength ~ 1 + (1 | batch/cask)", "Pastes", {}),
    "singular": ("Yield ~ 1 + (1 | Batch)", "Dyestuff2", {}),
}


def data_of(name: str) -> pl.DataFrame:
    return sleepstudy() if MODELS[name][1] == "sleepstudy" else mf.datasets.load(MODELS[name][1])


def fresh(name: str, y: Any = None) -> mf.LinearMixedModel:
    formula, _, arguments = MODELS[name]
    data = data_of(name)
    if y is not None:
        rows = kept(name)
        column = np.zeros(len(data))
        column[rows] = y
        data = data.with_columns(pl.Series(formula.split(" ~ ")[0], column))
    return mf.lmm(formula, data, **arguments)


def kept(name: str) -> Any:
    rows = spec(name).compiled.frame.kept_rows
    return np.arange(len(data_of(name))) if rows is None else rows


@cache
def spec(name: str) -> mf.ModelSpec:
    formula, _, arguments = MODELS[name]
    return mf.compile_model(formula, data_of(name), **{k: v for k, v in arguments.items() if k != "reml"})


@cache
def ready(name: str) -> PreparedModel:
    return spec(name).prepare(reml=MODELS[name][2].get("reml", True))


@cache
def draws(name: str) -> np.ndarray:
    """Responses drawn from the model, and others that have nothing to do with it."""
    rng = np.random.default_rng(11)
    fit = fresh(name)
    noise = rng.normal(size=(fit.nobs, 3)) * [1.0, 1e-3, 1e5] + [0.0, 40.0, -1e7]
    simulated = fit.simulate(5, seed=2).to_numpy()
    return np.hstack([simulated, noise + fit.offset[:, None]])


def assert_equal_fits(a: mf.LinearMixedModel, b: mf.LinearMixedModel) -> None:
    """Equal up to what the certificate leaves undecided: 1e-14 of the objective, so 1e-7 of a standard error of theta."""
    assert a.result.objective == pytest.approx(b.result.objective, abs=1e-9)
    assert a.fit_status == b.fit_status
    scale = 0.1 + np.abs(b.theta).max()
    assert np.abs(a.theta - b.theta).max() < 2e-6 * scale
    for ours, theirs in ((a.beta, b.beta), (a.std_error, b.std_error)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-7 * float(np.nanmax(np.abs(theirs))))
    spread = float(np.std(b.residuals()))
    assert a.sigma == pytest.approx(b.sigma, rel=1e-6)
    assert np.abs(a.fitted - b.fitted).max() < 1e-6 * max(spread, float(np.std(b.fitted)))


def same_bits(a: Refits, b: Refits) -> bool:
    return all(np.array_equal(getattr(a, f), getattr(b, f), equal_nan=f not in ("status", "evaluations"))
               for f in ("theta", "beta", "sigma", "objective", "status", "evaluations"))


@pytest.mark.parametrize("name", MODELS)
def test_a_refit_is_a_fresh_fit(name):
    for y in draws(name).T:
        again, expected = ready(name).refit(y), fresh(name, y)
        assert_equal_fits(again, expected)
        assert again.reml == expected.reml
        assert np.array_equal(again.model_frame()[:, 0], y)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("certify", [True, False])
def test_many_refits_are_refits(name, certify):
    found = ready(name).refit_many(draws(name), certify=certify)
    assert len(found) == draws(name).shape[1]
    for k, y in enumerate(draws(name).T):
        one = ready(name).refit(y, certify=certify)
        rel = 1e-12 if certify else 1e-7
        assert found.objective[k] == pytest.approx(one.result.objective, abs=1e-9)
        assert found.sigma[k] == pytest.approx(one.sigma, rel=rel)
        np.testing.assert_allclose(found.theta[k], one.theta, rtol=rel, atol=rel)
        np.testing.assert_allclose(found.beta[k], one.beta, rtol=rel, atol=rel * float(np.nanmax(np.abs(one.beta))))
        assert found.status[k] == one.fit_status
        assert found.evaluations[k] > 0


@pytest.mark.parametrize("name", MODELS)
def test_the_original_response_gives_the_original_optimum(name):
    expected = fresh(name)
    frame = spec(name).compiled.frame
    for again in (ready(name).refit(frame.response), expected.refit(frame.response)):
        assert_equal_fits(again, expected)
    assert ready(name).theta == tuple(fresh(name).theta.tolist())


@pytest.mark.parametrize("name", MODELS)
def test_only_the_column_of_the_response_is_assembled_anew(name):
    y = draws(name)[:, 0]
    design = response.keep_design(spec(name).compiled, Engine(spec(name).compiled, mf.control()).assembled)
    found = response.assemble_response(design, y)
    expected = fresh(name, y)._engine.assembled
    assert found.cross.diag is design.assembled.cross.diag
    np.testing.assert_array_equal(found.cross.diag, expected.cross.diag)
    for ours, theirs in ((found.cross.panel, expected.cross.panel), (found.cross.border, expected.cross.border)):
        np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12 * float(np.abs(theirs).max()))
    assert found.standard.y_scale == expected.standard.y_scale
    assert found.standard.y_shift == pytest.approx(expected.standard.y_shift, rel=1e-13, abs=1e-13)


@settings(max_examples=30)
@given(frames(), st.sampled_from(STRUCTURES), st.booleans(), st.booleans(), st.integers(0, 2**32 - 1))
@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
def test_random_responses(data, structure, reml, weighted, seed):
    formula, arguments = f"y ~ x + {structure}", {"offset": "o", "weights": "w" if weighted else None}
    rng = np.random.default_rng(seed)
    y = data["z"].to_numpy() * rng.normal() + rng.normal(size=len(data)) * 10.0 ** rng.integers(-3, 4)
    new = mf.lmm(formula, data.with_columns(y=y), reml=reml, **arguments)
    one = mf.compile_model(formula, data, **arguments).prepare(reml=reml)
    assert_same_fit(one.refit(y), new)
    light = one.refit_many(y[:, None], certify=False)
    assert light.objective[0] >= one.refit(y).result.objective - 1e-8


def test_directions_that_are_absent_are_absent_without_a_certificate():
    y = draws("slopes")
    light, certified = (ready("slopes").refit_many(y, certify=certify) for certify in (False, True))
    singular = certified.theta[:, 2] == 0.0
    assert singular.any()
    assert not singular.all()
    assert np.array_equal(light.theta[:, 2] == 0.0, singular)


# ---- what a keyword does


def test_every_argument_is_tested():
    assert set(inspect.signature(PreparedModel.refit).parameters) == {"self", "y", "start", "certify"}
    assert set(inspect.signature(PreparedModel.refit_many).parameters) == {"self", "responses", "start", "certify", "threads"}
    assert set(inspect.signature(mf.ModelSpec.prepare).parameters) == {"self", "reml", "control"}


def test_start():
    one, y = ready("slopes"), draws("slopes")[:, 0]
    warm = one.refit(y).result.certificate
    at = one.refit(y, start=one.refit(y).theta).result.certificate
    far = one.refit(y, start=[30.0, 0.0, 30.0])
    assert at.evaluations < warm.evaluations < far.result.certificate.evaluations
    assert_equal_fits(far, one.refit(y))
    for certify in (True, False):
        starts = (one.refit(y).theta, None, [30.0, 0.0, 30.0])
        many = [one.refit_many(y[:, None], start=start, certify=certify) for start in starts]
        assert many[0].evaluations < many[1].evaluations < many[2].evaluations
        assert many[2].objective == pytest.approx(many[0].objective, abs=1e-8)
    for bad in ([1.0], "abc", [1.0, 2.0, np.nan], 3):
        with pytest.raises(ArgumentError, match="start"):
            one.refit(y, start=bad)
        with pytest.raises(ArgumentError, match="start"):
            one.refit_many(y[:, None], start=bad)


def test_certify():
    one, y = ready("slopes"), draws("slopes")[:, 0]
    light, full = one.refit(y, certify=False), one.refit(y)
    assert (light.fit_status, full.fit_status) == ("not_assessed", "converged_interior")
    assert light.result.certificate.quality == "not_assessed"
    assert light.result.objective == pytest.approx(full.result.objective, abs=1e-8)
    assert light.artifact.certificate.cones == ()
    assert one.refit_many(y[:, None], certify=False).status.tolist() == ["not_assessed"]
    assert one.refit_many(y[:, None]).status.tolist() == ["converged_interior"]
    for bad in (None, 1):
        with pytest.raises(ArgumentError, match="certify"):
            one.refit(y, certify=bad)
        with pytest.raises(ArgumentError, match="certify"):
            one.refit_many(y[:, None], certify=bad)


def test_control_and_reml_of_prepare():
    y = draws("slopes")[:, :3]
    short = spec("slopes").prepare(control=mf.control(max_evaluations=2, start=[30.0, 0.0, 30.0]))
    with pytest.warns(ConvergenceNotice, match="evaluation limit"):
        assert short.refit(y[:, 0], start=[30.0, 0.0, 30.0], certify=False).fit_status == "not_optimized"
    for certify in (False, True):
        with pytest.warns(ConvergenceNotice, match="3 of 3"):
            status = short.refit_many(y, start=[30.0, 0.0, 30.0], certify=certify).status
        assert status.tolist() == ["not_optimized"] * 3
    loose = spec("slopes").prepare(control=mf.control(tolerance=0.1))
    assert (loose.refit_many(y, certify=False).evaluations < ready("slopes").refit_many(y, certify=False).evaluations).all()
    ml = spec("slopes").prepare(reml=False)
    assert (ml.refit_many(y).theta[:, 0] < ready("slopes").refit_many(y).theta[:, 0]).all()
    assert repr(ml).endswith("reml=False)")
    for bad in ({"reml": None}, {"control": 3}):
        with pytest.raises(ArgumentError):
            spec("slopes").prepare(**bad)


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("name", ["slopes", "crossed", "weights and offset"])
def test_threads_change_no_bit(name, certify, compiled, monkeypatch):
    y = np.tile(draws(name)[:, :5], 9) * np.linspace(1, 2, 45)
    monkeypatch.setattr(prepared, "SHARED_FLOPS", 0.0)
    monkeypatch.setattr(prepared, "LARGEST_BATCH", 2)
    if not compiled:
        monkeypatch.setattr(engine, "SMALL_FLOPS", 0.0)
    one, many = (ready(name).refit_many(y, certify=certify, threads=threads) for threads in (1, 5))
    assert same_bits(one, many)
    back = ready(name).refit_many(y[:, ::-1], certify=certify, threads=2)
    assert np.array_equal(back.objective[::-1], one.objective)
    assert np.array_equal(back.evaluations[::-1], one.evaluations)
    for bad in (0, 1.5, True, "2"):
        with pytest.raises(ArgumentError, match="threads"):
            ready(name).refit_many(y, threads=bad)


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_a_response_that_fits_exactly_leaves_no_trace():
    y = draws("slopes")[:, :4].copy()
    expected = {certify: ready("slopes").refit_many(y, certify=certify) for certify in (True, False)}
    y[:, 1] = 3.0 + 2.0 * sleepstudy()["Days"].to_numpy()
    for certify, wanted in expected.items():
        found = ready("slopes").refit_many(y, certify=certify)
        for k in (0, 2, 3):
            assert np.array_equal(found.theta[k], wanted.theta[k])
            assert np.array_equal(found.beta[k], wanted.beta[k])
        if certify:
            assert found.status[1] == fresh("slopes", y[:, 1]).fit_status == "not_identifiable"


def test_no_more_workers_than_there_is_work_or_memory_for(monkeypatch):
    design = ready("slopes")._design
    count = prepared._worker_count
    assert count(design, 3, False) == 3
    assert count(design, 3, True) == 1
    monkeypatch.setattr(prepared, "FREE_BYTES", 0)
    monkeypatch.setattr(prepared, "available_memory", lambda: 4 * needed_bytes(design.model))
    assert count(design, 3, False) == 2
    monkeypatch.setattr(prepared, "available_memory", lambda: 0)
    assert count(design, 3, False) == 1


def test_threads_of_control_and_of_refit_many(monkeypatch):
    y = draws("slopes")
    used = []

    class Team(pools.Team):
        def __init__(self, size):
            super().__init__(size)
            used.append(size)

    monkeypatch.setattr(engine, "Team", Team)
    monkeypatch.setattr(prepared, "available_threads", lambda: 7)
    for control, wanted, certify, share in ((mf.control(), None, True, 7), (mf.control(threads=3), None, True, 3),
                                           (mf.control(threads=3), 2, True, 2), (mf.control(threads=3), None, False, 1)):
        one = spec("slopes").prepare(control=control)
        start = ready("slopes").theta
        used.clear()
        one.refit_many(y, start=start, certify=certify, threads=wanted)
        assert set(used) == {share}


def test_compiled_refits_are_stepped_refits(monkeypatch):
    y = draws("crossed")
    compiled = ready("crossed").refit_many(y, certify=False)
    monkeypatch.setattr(engine, "SMALL_FLOPS", 0.0)
    stepped = ready("crossed").refit_many(y, certify=False)
    np.testing.assert_allclose(stepped.objective, compiled.objective, rtol=0, atol=1e-9)
    np.testing.assert_allclose(stepped.theta, compiled.theta, rtol=1e-9, atol=1e-9)
    assert np.array_equal(stepped.evaluations, compiled.evaluations)


# ---- what responses may be


def test_frames_and_iterators_of_responses():
    y = draws("slopes")
    expected = ready("slopes").refit_many(y)
    assert same_bits(ready("slopes").refit_many(pl.DataFrame(y)), expected)
    assert same_bits(ready("slopes").refit_many(iter(list(y.T))), expected)
    assert same_bits(ready("slopes").refit_many(pl.Series(row) for row in y.T), expected)
    empty = ready("slopes").refit_many(y[:, :0])
    assert (len(empty), empty.theta.shape, empty.beta.shape) == (0, (0, 3), (0, 2))


def test_an_iterator_is_left_at_the_first_refused_response(monkeypatch):
    monkeypatch.setattr(prepared, "LARGEST_BATCH", 2)
    taken = []

    def endless() -> Iterator[np.ndarray]:
        for k in range(10**6):
            taken.append(k)
            yield draws("slopes")[:, 0] if k < 20 else np.full(180, np.nan)

    for threads in (1, 2):
        taken.clear()
        with pytest.raises(DataError) as caught:
            ready("slopes").refit_many(endless(), certify=False, threads=threads)
        assert caught.value.replicate == 20
        assert len(taken) == 21


REFUSED: list[tuple[Any, type[Exception], str]] = [
    (np.zeros(179), DataError, "179"),
    (["a"] * 180, DataError, "not numeric"),
    (np.full(180, np.inf), DataError, "not finite in rows"),
    ([None] * 180, DataError, "not finite|not numeric"),
    (np.full(180, 1j), DataError, "not numeric"),
    (np.ones(180), FitError, "constant"),
    (1e80 * np.arange(180.0), DataError, "standard deviation"),
]


@pytest.mark.parametrize(("y", "error", "word"), REFUSED, ids=[row[2] for row in REFUSED])
def test_refused_responses(y, error, word):
    one = ready("slopes")
    with pytest.raises(error, match=word):
        one.refit(y)
    with pytest.raises(error, match=word) as caught:
        one.refit_many(iter([draws("slopes")[:, 0], y]))
    assert caught.value.replicate == 1
    with pytest.raises(error, match=word):
        fresh("slopes").refit(y)


def test_refused_matrices_of_responses():
    y = draws("slopes").copy()
    one = ready("slopes")
    for bad in (y.T, y[:, 0], y[1:], "abc", None, y[..., None]):
        with pytest.raises(DataError):
            one.refit_many(bad)
    y[7, 3] = np.nan
    with pytest.raises(DataError, match=r"response 3: .* rows \[7\]") as caught:
        one.refit_many(y)
    assert (caught.value.replicate, caught.value.rows) == (3, [7])
    y[:, 3] = 1e-80 * np.arange(180)
    with pytest.raises(DataError, match=r"response 3: .* standard deviation"):
        one.refit_many(y)
    y[:, 3] = 4.0
    with pytest.raises(FitError) as constant:
        one.refit_many(y)
    assert (constant.value.replicate, constant.value.reason_code) == (3, "constant_response")


def test_a_response_that_is_constant_less_the_offset():
    frame = spec("weights and offset").compiled.frame
    with pytest.raises(FitError, match="less the offset"):
        ready("weights and offset").refit(frame.offset + 2.0)
    with pytest.raises(FitError, match="less the offset"):
        ready("weights and offset").refit_many((frame.offset + 2.0)[:, None])


def test_rows_that_were_left_out_get_no_value():
    with pytest.raises(DataError, match=r"162 rows \(18 of the data are left out"):
        ready("rows left out").refit(sleepstudy()["Reaction"])


def test_a_design_that_is_deficient_says_so_when_it_is_prepared():
    with pytest.warns(RankNotice, match="twice"):
        spec("aliased").prepare()


def test_the_caller_may_go_on_writing_to_the_response():
    y = draws("slopes")[:, 0].copy()
    fit = ready("slopes").refit(y)
    before = fit.residuals().copy()
    y[:] = 0.0
    assert np.array_equal(fit.residuals(), before)
    for again in (fit, ready("rows left out").refit(draws("rows left out")[:, 0])):
        with pytest.raises(ValueError, match="read-only"):
            again.spec.compiled.frame.response[0] = 1.0


# ---- what is shared


def numbers(fit: mf.LinearMixedModel) -> list[np.ndarray]:
    """Everything that evaluates the engine again."""
    return [np.array([fit.deviance, fit.reml_criterion, fit.loglik_at(True), fit.loglik_at(False)]),
            fit.ranef(cond_var=True)["condsd"].to_numpy(), fit.vcov("theta") if not fit.is_singular() else np.zeros(0),
            fit.fitted]


@pytest.mark.parametrize("name", ["slopes", "crossed", "weights and offset"])
def test_fits_of_one_design_do_not_disturb_each_other(name):
    original = fresh(name)
    expected = [numbers(original.refit(y)) for y in draws(name)[:, :4].T]
    before = numbers(fresh(name))
    fits = [original.refit(y) for y in draws(name)[:, :4].T]
    assert len({id(fit._design) for fit in (original, *fits)}) == 1
    chained = fits[0].refit(draws(name)[:, 1])
    ready(name).refit_many(draws(name))
    for fit, wanted in zip(reversed(fits), reversed(expected), strict=True):
        for ours, theirs in zip(numbers(fit), wanted, strict=True):
            assert np.array_equal(ours, theirs)
    for ours, theirs in zip(numbers(original), before, strict=True):
        assert np.array_equal(ours, theirs)
    assert_equal_fits(chained, fits[1])


def test_refits_from_eight_threads_at_once():
    one = spec("crossed").prepare()
    y = draws("crossed")
    alone = [ready("crossed").refit(row) for row in y.T]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(one.refit, list(y.T) * 4))
        many = list(pool.map(lambda certify: one.refit_many(y, certify=certify, threads=2), [True, False] * 4))
    for k, fit in enumerate(together):
        assert np.array_equal(fit.theta, alone[k % len(alone)].theta)
        assert np.array_equal(fit.fitted, alone[k % len(alone)].fitted)
    for found in many[2:]:
        assert same_bits(found, many[0 if found.status[0] != "not_assessed" else 1])


@pytest.mark.parametrize("certify", [True, False])
@pytest.mark.parametrize("name", ["slopes", "weights and offset", "aliased", "nearly collinear", "crossed"])
def test_rows_that_are_not_kept_are_made_again(name, certify, monkeypatch):
    y = draws(name)
    kept_rows = ready(name)
    monkeypatch.setattr(response, "ROW_MEMORY", 0)
    made_again = spec(name).prepare()
    assert kept_rows._design.rows is not None
    assert made_again._design.rows is None
    a, b = (model.refit_many(y, certify=certify, start=kept_rows.theta) for model in (kept_rows, made_again))
    if certify:
        assert same_bits(a, b)
    np.testing.assert_allclose(a.objective, b.objective, rtol=0, atol=1e-9)
    assert np.array_equal(kept_rows.refit(y[:, 0]).theta, made_again.refit(y[:, 0], start=kept_rows.theta).theta)


@pytest.mark.parametrize("name", ["slopes", "weights and offset"])
def test_several_chunks_of_rows(name, monkeypatch):
    y = draws(name)
    whole = [ready(name).refit_many(y, certify=certify) for certify in (True, False)]
    monkeypatch.setattr(crossproduct, "CHUNK_ROWS", 50)
    chunked = spec(name).prepare()
    assert len(chunked._design.rows) == 4
    for certify, expected in zip((True, False), whole, strict=True):
        found = chunked.refit_many(y, certify=certify, start=ready(name).theta)
        np.testing.assert_allclose(found.objective, expected.objective, rtol=0, atol=1e-9)
        np.testing.assert_allclose(found.beta, expected.beta, rtol=1e-6)


# ---- refit and update


def test_update_after_refit_keeps_the_response():
    y = sleepstudy()["Reaction"].log().to_numpy()
    data = sleepstudy().with_columns(Reaction=y)
    again = mf.lmm(SLOPES, sleepstudy()).refit(y)
    for formula, arguments in ((". ~ . - Days", {}), (None, {"reml": False}), (None, {"weights": "w"}),
                               ("~ . - (Days | Subject) + (1 | Subject)", {"subset": pl.col("Days") > 2})):
        expected = mf.lmm(SLOPES, data).update(formula, **arguments)
        assert_equal_fits(again.update(formula, **arguments), expected)
    other = again.update(data=sleepstudy())
    assert np.array_equal(other.beta, mf.lmm(SLOPES, sleepstudy()).beta)
    assert other.update(". ~ . - Days").refit(y).update().nobs == 180
    with pytest.raises(ArgumentError, match="left-hand side") as caught:
        again.update("log(.) ~ .")
    assert caught.value.argument == "formula"
    assert "array" not in repr(again.call)


def test_update_after_refit_of_some_of_the_rows():
    one = fresh("rows left out")
    y = np.random.default_rng(3).normal(size=one.nobs) + 10.0
    again = one.refit(y)
    assert_equal_fits(again.update("~ . + Days"), fresh("rows left out", y).update("~ . + Days"))
    with pytest.raises(DataError, match=r"no value for rows \[4, 14, 24, 34, 44\] \(18 rows\)") as caught:
        again.update("~ . - gap")
    assert caught.value.count == 18


def test_refitting_starts_from_the_fit():
    fit = mf.lmm(SLOPES, sleepstudy())
    near = sleepstudy()["Reaction"].to_numpy() + np.random.default_rng(0).normal(size=180) * 0.1
    data = sleepstudy().with_columns(Reaction=near)
    cold = mf.lmm(SLOPES, data).result.certificate.evaluations
    assert fit.refit(near).result.certificate.evaluations < cold
    started = mf.lmm(SLOPES, sleepstudy(), control=mf.control(start=[30.0, 0.0, 30.0]))
    assert started.refit(near).result.certificate.evaluations < cold
