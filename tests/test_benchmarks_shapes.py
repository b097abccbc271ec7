"""The data of the benchmarks, how they are handed over, and the suites."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks import generators, shapes
from benchmarks.peers import handoff
from benchmarks.shapes import SHAPES, SUITES, of_suite
from mixeff_fast.formula.expand import model_formula
from tests.fake_engines import TOY

ROOT = Path(shapes.__file__).parents[1]


class TestShapes:
    @pytest.mark.parametrize("key", SHAPES)
    def test_data_fit_the_model(self, key: str) -> None:
        shape = SHAPES[key]
        formula = model_formula(shape.formula)
        trials = {shape.likelihood.trials} if shape.likelihood and shape.likelihood.trials else set()
        assert set(formula.columns) == set(shape.columns) - trials
        assert shape.suite in SUITES
        assert (shape.task == "refit") == bool(shape.responses)
        assert shape.suite.startswith("glmm_") == (shape.likelihood is not None)
        if shape.rows == 73_421:
            return
        data = shape.data(0.01)
        assert tuple(data.columns) == shape.columns
        assert data.equals(shape.data(0.01))
        assert data.null_count().sum_horizontal().item() == 0
        for term in shape.terms:
            assert not data.schema[term.group].is_numeric()
            assert data[term.group].n_unique() > 1

    def test_every_suite_has_shapes(self) -> None:
        assert all(of_suite(suite) for suite in SUITES)
        for suite in SUITES:
            assert (Path(shapes.__file__).parent / f"bench_{suite}.py").is_file()

    @pytest.mark.parametrize("key", [
        "2", "6", "scalar", "crossed_slopes", "nested", "balanced", "students", "chain", "8", "9", "cbpp", "gamma",
        "bernoulli_slopes", "poisson_nested", "probit_crossed", "bernoulli_agq",
    ])
    def test_titles_tell_the_rows(self, key: str) -> None:
        shape = SHAPES[key]
        assert f"{shape.rows:,} rows" in shape.title
        assert shape.data().height == shape.rows

    def test_slopes_draw_in_the_documented_order(self) -> None:
        rng = np.random.default_rng(1)
        g, x = rng.integers(0, 5_000, 100_000), rng.normal(size=100_000)
        intercept, slope = rng.normal(size=5_000), rng.normal(size=5_000) * 0.5
        y = 1 + 0.5 * x + intercept[g] + slope[g] * x + rng.normal(size=100_000)
        data = SHAPES["2"].data()
        assert data["g"].to_list() == [str(code) for code in g]
        assert np.array_equal(data["y"].to_numpy(), y)

    def test_maximal_is_complete_and_counterbalanced(self) -> None:
        data = SHAPES["7"].data(0.1)
        assert data.height == data.select("subject", "item").n_unique() == 56 * 32
        assert data.group_by("s", "p", "c").len()["len"].to_list() == [224] * 8

    def test_crossed_bernoulli_draws_in_the_documented_order(self) -> None:
        n, qa, qb = 100_000, 2_000, 50
        rng = np.random.default_rng(1)
        a, b, x = rng.integers(0, qa, n), rng.integers(0, qb, n), rng.normal(size=n)
        eta = -0.5 + 0.3 * x + rng.normal(0, 0.8, qa)[a] + rng.normal(0, 0.5, qb)[b]
        y = (rng.random(n) < 1 / (1 + np.exp(-eta))).astype(float)
        data = SHAPES["bernoulli_crossed"].data()
        assert np.array_equal(data["y"].to_numpy(), y)
        assert data["a"].to_list() == [str(code) for code in a]

    @pytest.mark.parametrize(
        ("key", "dispersion"),
        [("poisson", (1.0, 0.0)), ("negative_binomial", (1.0, 1 / 1.5)), ("gamma", (0.0, 0.5))],
    )
    def test_families_have_their_variance(self, key: str, dispersion: tuple[float, float]) -> None:
        """Given the linear predictor the variance is `dispersion[0]` times the mean and `dispersion[1]` times its square."""
        eta = np.full(200_000, 0.7)
        y = generators.drawn(np.random.default_rng(5), key, eta)
        mean = float(np.exp(0.7))
        assert y.mean() == pytest.approx(mean, rel=0.01)
        assert y.var() == pytest.approx(dispersion[0] * mean + dispersion[1] * mean**2, rel=0.03)

    def test_proportions_have_their_trials(self) -> None:
        data = SHAPES["cbpp"].data()
        successes = data["proportion"] * data["size"]
        assert (successes - successes.round()).abs().max() == pytest.approx(0, abs=1e-12)
        assert (successes.sum(), data["size"].sum()) == (99, 842)

    def test_only_counts_with_slopes_have_an_exposure(self) -> None:
        exposed = [key for key, shape in SHAPES.items() if "offset(exposure)" in shape.formula]
        assert exposed == ["poisson_slopes"]
        assert "exposure" in SHAPES["poisson_slopes"].columns

    def test_nested_levels_lie_within_one_level_above(self) -> None:
        data = SHAPES["nested"].data(1.0)
        for inner, outer, groups in (("c", "b", 50_000), ("b", "a", 5_000)):
            assert data[inner].n_unique() == data.select(inner, outer).n_unique() == groups
        assert data["a"].n_unique() == 50

    def test_many_factors(self) -> None:
        data = SHAPES["balanced"].data(0.1)
        assert all(data[f"f{k}"].value_counts()["count"].unique().to_list() == [100] for k in range(1, 9))
        data = SHAPES["chain"].data(0.02)
        assert data.group_by("f1").agg(pl.col("f6").n_unique())["f6"].max() == 2
        data = SHAPES["students"].data(0.1)
        assert data["teacher"].n_unique() == data.select("teacher", "school").n_unique()
        moved = data.group_by("student").agg(pl.col("school").n_unique() > 1)["school"].mean()
        assert isinstance(moved, float)
        assert 0.05 < moved < 0.3


class TestHandoff:
    def test_both_forms_hold_the_same(self, tmp_path: Path) -> None:
        shape = SHAPES["1"]
        data = shape.data().with_columns(pl.col("Days").cast(pl.Int32))
        message = handoff.write(shape, data, tmp_path)
        read = pl.read_parquet(message["parquet"])
        assert read.schema["Days"] == pl.Float64
        assert [column["kind"] for column in message["columns"]] == ["number", "number", "factor"]
        assert np.array_equal(np.fromfile(tmp_path / "Reaction.float64"), read["Reaction"].to_numpy())
        levels = (tmp_path / "Subject.levels").read_text().splitlines()
        codes = np.fromfile(tmp_path / "Subject.int32", dtype=np.int32)
        assert [levels[code] for code in codes] == read["Subject"].to_list()
        assert message["terms"] == [{"group": "Subject", "slopes": ["Days"]}]
        assert message["likelihood"] is None

    def test_workers_learn_the_likelihood(self, tmp_path: Path) -> None:
        shape = SHAPES["cbpp_agq"]
        message = handoff.write(shape, shape.data(), tmp_path)
        assert message["likelihood"] == {
            "family": "binomial", "link": "logit", "trials": "size", "offset": "", "method": "joint_laplace", "n_agq": 9,
        }
        assert [column["name"] for column in message["columns"]] == ["proportion", "period", "size", "herd"]

    def test_strings_stay_strings(self, tmp_path: Path) -> None:
        message = handoff.write(TOY, TOY.data(), tmp_path)
        assert message["columns"][-1] == {"name": "g", "kind": "string"}
        assert pl.read_parquet(message["parquet"]).schema["g"] == pl.String

    def test_new_responses_stand_one_after_the_other(self, tmp_path: Path) -> None:
        shape = SHAPES["refit_small"]
        data = shape.data()
        message = handoff.write(shape, data, tmp_path)
        assert message["task"] == "refit"
        numbers = np.fromfile(message["responses"]["path"]).reshape(message["responses"]["times"], 180)
        assert np.array_equal(numbers, generators.new_responses(data["Reaction"].to_numpy(), 100))
        deviation = numbers - data["Reaction"].to_numpy()
        assert deviation.std() == pytest.approx(0.5 * data["Reaction"].to_numpy().std(), rel=0.02)
        assert len(np.unique(numbers[:, 0])) == 100


def test_suites_run() -> None:
    """Every suite at a small scale, each benchmark once; all but those that take long at any scale."""
    pytest.importorskip("pytest_benchmark")
    command = [sys.executable, "-m", "pytest", str(ROOT / "benchmarks"), "--benchmark-disable", "--scale", "0.002",
               "-k", "not first and not refit_crossed", "-p", "no:cacheprovider", "-vv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-3000:]
    for suite in SUITES:
        assert f"bench_{suite}.py" in done.stdout
