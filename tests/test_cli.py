"""The command line."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import pytest

import mixeff_fast as mf
from mixeff_fast import cli

FORMULA = "Reaction ~ Days + (Days | Subject)"


def test_fit_prints_the_summary(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "sleepstudy", FORMULA]) == 0
    shown = capsys.readouterr().out
    assert shown.rstrip("\n") == str(mf.lmm(FORMULA, mf.datasets.load("sleepstudy")).summary())
    assert "REML criterion at convergence: 1743.6" in shown


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_fit_reads_files(suffix: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = mf.datasets.load("sleepstudy")
    path = tmp_path / f"data.{suffix}"
    if suffix == "csv":
        data.write_csv(path)
    else:
        data.write_parquet(path)
    numbers_as_groups = pytest.warns(mf.errors.GroupingCoercionNotice) if suffix == "csv" else nullcontext()
    with numbers_as_groups:
        assert cli.main(["fit", str(path), FORMULA, "--ml"]) == 0
    shown = capsys.readouterr().out
    assert "fit by maximum likelihood" in shown
    assert "-876.0" in shown


def test_ml_weights_and_json_have_an_effect(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "data.parquet", tmp_path / "fit.json"
    data = mf.datasets.load("sleepstudy").with_columns(w=1.0 + mf.datasets.load("sleepstudy")["Days"])
    data.write_parquet(path)
    assert cli.main(["fit", str(path), FORMULA, "--ml", "--weights", "w", "--json", str(out)]) == 0
    stored = json.loads(out.read_text())
    fit = mf.lmm(FORMULA, data, reml=False, weights="w")
    assert stored["summary"]["criterion"] == "ML"
    assert stored["summary"]["objective"] == pytest.approx(fit.deviance, rel=1e-12)
    assert stored["header"]["schema_name"] == "mixeff_fast.fit_artifact"
    assert "maximum likelihood" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fit", "sleepstudi", FORMULA], "mm_arg_error"),
        (["fit", "nothing.csv", FORMULA], "mm_data_error"),
        (["fit", "sleepstudy", "Reaction ~ (Days | Subject"], "mm_formula_error"),
        (["fit", "sleepstudy", FORMULA, "--json", "/nowhere/at/all.json"], "mm_arg_error"),
    ],
)
def test_refusals_have_a_code_and_an_exit_status(
    arguments: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr().err.startswith(code)


def test_datasets_lists_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["datasets"]) == 0
    shown = capsys.readouterr().out
    for name in mf.datasets.names():
        assert name in shown


def test_warmup_compiles_every_kernel_a_model_uses(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["warmup"]) == 0
    assert "kernels are ready" in capsys.readouterr().out
