"""The command line."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path

import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast import cli

FORMULA = "Reaction ~ Days + (Days | Subject)"
TICKS = "TICKS ~ cHEIGHT + (1 | BROOD)"


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


def test_a_family_is_fitted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = mf.datasets.load("cbpp").with_columns(share=pl.col("incidence") / pl.col("size"), half=0.1 * pl.col("size"))
    path, out, formula = tmp_path / "data.parquet", tmp_path / "fit.json", "share ~ period + (1 | herd)"
    data.write_parquet(path)
    arguments = ["--family", "binomial", "--link", "probit", "--weights", "size", "--offset", "half", "--json", str(out)]
    fit = mf.glmm(formula, data, mf.binomial("probit"), weights="size", offset="half")
    assert cli.main(["fit", str(path), formula, *arguments]) == 0
    assert capsys.readouterr().out.rstrip("\n") == str(fit.summary())
    assert json.loads(out.read_text())["summary"]["objective"] == pytest.approx(fit.deviance, rel=1e-12)
    other = ["--method", "pirls_profiled"]
    assert cli.main(["fit", str(path), formula, *arguments, *other]) == 0
    assert capsys.readouterr().out.rstrip("\n") == str(fit.update(method="pirls_profiled").summary())


def test_a_link_goes_with_the_name_of_a_family(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit", "grouseticks", "TICKS + 1 ~ cHEIGHT + (1 | BROOD)", "--family", "gaussian", "--link", "log"]) == 0
    assert "gaussian, log link" in capsys.readouterr().out.lower()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["fit", "sleepstudi", FORMULA], "mm_arg_error"),
        (["fit", "nothing.csv", FORMULA], "mm_data_error"),
        (["fit", "sleepstudy", "Reaction ~ (Days | Subject"], "mm_formula_error"),
        (["fit", "sleepstudy", FORMULA, "--json", "/nowhere/at/all.json"], "mm_arg_error"),
        (["fit", "sleepstudy", FORMULA, "--link", "log"], "mm_arg_error"),
        (["fit", "sleepstudy", FORMULA, "--method", "joint_laplace"], "mm_arg_error"),
        (["fit", "grouseticks", TICKS, "--family", "poison"], "mm_arg_error"),
        (["fit", "grouseticks", TICKS, "--family", "poisson", "--link", "probit"], "mm_arg_error"),
        (["fit", "grouseticks", TICKS, "--family", "poisson", "--ml"], "mm_arg_error"),
        (["fit", "grouseticks", TICKS, "--family", "poisson", "--method", "fast"], "mm_arg_error"),
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
