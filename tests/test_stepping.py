"""The stepped loop: the same path as the compiled one, a progress bar, and Ctrl-C between evaluations."""

from __future__ import annotations

import signal

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.fit import engine

FORMULA = "Reaction ~ Days + (Days | Subject)"


def test_both_loops_take_the_same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    data = mf.datasets.load("sleepstudy")
    compiled = mf.lmm(FORMULA, data)
    stepped = mf.lmm(FORMULA, data, control=mf.control(verbose=1))
    assert stepped.result.certificate == compiled.result.certificate
    np.testing.assert_array_equal(stepped.theta, compiled.theta)
    monkeypatch.setattr(engine, "SMALL_FLOPS", 0.0)
    large = mf.lmm(FORMULA, data)
    assert large.result.certificate.evaluations == compiled.result.certificate.evaluations
    np.testing.assert_allclose(large.theta, compiled.theta, rtol=1e-9)


def test_the_bar_shows_objective_and_gradient(capfd: pytest.CaptureFixture[str]) -> None:
    data = mf.datasets.load("sleepstudy")
    mf.lmm(FORMULA, data)
    assert "objective" not in capfd.readouterr().err
    mf.lmm(FORMULA, data, control=mf.control(verbose=1))
    shown = capfd.readouterr().err
    assert "objective=1743.628" in shown
    assert "gradient=" in shown


def test_ctrl_c_between_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "SMALL_FLOPS", 0.0)
    rng = np.random.default_rng(2)
    n, q = 4000, 400
    data = pl.DataFrame(
        {"y": rng.normal(size=n), "a": rng.integers(0, q, n).astype(str), "b": rng.integers(0, q, n).astype(str)}
    )
    spec = mf.compile_model("y ~ 1 + (1 | a) + (1 | b)", data)
    spec.fit()

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        with pytest.raises(KeyboardInterrupt):
            spec.fit(control=mf.control(tolerance=1e-30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
    assert spec.fit().fit_status.startswith("converged")
