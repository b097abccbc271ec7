"""Time against size, the plots of it, and the elimination plans next to each other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import page as results
from benchmarks import plans, plots, scaling
from benchmarks.generators import many_slopes
from benchmarks.peers import run
from benchmarks.peers.engines import OURS
from benchmarks.peers.run import Settings
from benchmarks.scaling import SWEEPS, Sweep, run_sweep
from benchmarks.shapes import SHAPES
from mixeff_fast.formula.expand import model_formula
from tests.fake_engines import TOY, Fakes, a_row, measured


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """One fit a turn."""
    monkeypatch.setattr(run, "TURN_SECONDS", 1e-6)
    return Fakes(tmp_path)


def of_sizes(*sizes: int) -> Sweep:
    return Sweep("toy", "a toy", "rows", tuple((size, dataclasses.replace(TOY, key=f"toy {size}")) for size in sizes))


class TestSweeps:
    @pytest.mark.parametrize("name", SWEEPS)
    def test_data_fit_the_model(self, name: str) -> None:
        sizes = [size for size, _ in SWEEPS[name].points]
        assert sizes == sorted(set(sizes))
        for _, shape in SWEEPS[name].quick().points:
            assert set(model_formula(shape.formula).columns) == set(shape.columns)
            assert shape.data().height == shape.rows * 0.05

    def test_what_grows(self) -> None:
        data = {name: sweep.points[1][1].data(0.1) for name, sweep in SWEEPS.items()}
        assert data["rows"].height == 3_000
        assert data["groups"]["g"].n_unique() == 50
        assert data["trunk"]["b"].n_unique() == 15
        assert [len(shape.terms[0].slopes) for _, shape in SWEEPS["theta"].points] == [0, 1, 2, 3, 4, 5]
        assert [size for size, _ in SWEEPS["theta"].points] == [1, 3, 6, 10, 15, 21]

    def test_slopes_vary_on_the_first_columns_only(self) -> None:
        data = many_slopes(1.0, 20_000, 10, columns=2, slopes=1)
        slopes = np.array([
            np.linalg.lstsq(np.column_stack([np.ones(part.height), part["x1"], part["x2"]]), part["y"], rcond=None)[0]
            for part in data.partition_by("g")
        ])
        assert slopes[:, 1].std() > 0.15
        assert slopes[:, 2].std() < 0.06

    def test_what_fails_or_takes_long_leaves(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("slow", seconds=0.2)
        fakes.add("bad", good=0, then="raise")
        settings = Settings(repeats=1, timeout=0.5, probe=False)
        points = run_sweep(of_sizes(10, 30, 100), fakes.engines, settings, lambda line: None, fakes.find)
        assert [size for size, _ in points] == [10, 30, 100]
        assert [[a.engine for a in row.attempts] for _, row in points] == [[OURS, "slow", "bad"], [OURS], [OURS]]

    def test_command(self, fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        pytest.importorskip("vl_convert")
        pytest.importorskip("altair")
        fakes.add(OURS)
        monkeypatch.setattr(scaling, "ENGINES", {OURS: fakes.engines[0]})
        monkeypatch.setattr(scaling.run_sweep, "__defaults__", (fakes.find,))
        scaling.main(["--quick", "--peers", "", "--repeats", "1", "--out", str(tmp_path), "--plots", str(tmp_path / "img")])
        document = json.loads((tmp_path / "scaling.json").read_text())
        assert [sweep["name"] for sweep in document["sweeps"]] == list(SWEEPS)
        assert all(len(sweep["points"]) == 2 for sweep in document["sweeps"])
        assert {path.name for path in (tmp_path / "img").iterdir()} == {f"scaling-{name}.svg" for name in SWEEPS}
        assert "machine" in document["facts"]


def a_document() -> dict[str, Any]:
    failed = measured("lme4", 1)
    failed.fail("timeout", "too slow")
    ml, worse = measured(OURS, 9, criterion="ML"), measured("glmm", 2, loglik=-11.0)
    small, large = a_row(measured(OURS, 1), ml, measured("lme4", 3), worse), a_row(measured(OURS, 2), failed)
    return scaling.document({"rows": [(10, small), (100, large)]}, {"machine": "this"})


class TestPlots:
    def test_lines(self) -> None:
        assert plots.lines(a_document()["sweeps"][0]["points"]) == [
            {"engine": OURS, "size": 10, "seconds": 1, "optimum": True},
            {"engine": "lme4", "size": 10, "seconds": 3, "optimum": True},
            {"engine": "glmm", "size": 10, "seconds": 2, "optimum": False},
            {"engine": OURS, "size": 100, "seconds": 2, "optimum": True},
        ]

    def test_axes_are_logarithmic_and_named(self) -> None:
        pytest.importorskip("altair")
        spec = plots.chart(a_document()["sweeps"][0]).to_dict()
        encoding = spec["layer"][0]["encoding"]
        assert [encoding[axis]["scale"]["type"] for axis in "xy"] == ["log", "log"]
        assert encoding["y"]["title"] == "seconds per fit, median, log scale"
        assert encoding["x"]["title"] == "rows, log scale"
        assert encoding["color"]["scale"]["domain"] == [OURS, "lme4", "glmm"]

    def test_drawn_again_from_a_document(self, tmp_path: Path) -> None:
        pytest.importorskip("vl_convert")
        pytest.importorskip("altair")
        source = tmp_path / "scaling.json"
        source.write_text(json.dumps(a_document()))
        plots.main([str(source), str(tmp_path)])
        assert "<svg" in (tmp_path / "scaling-rows.svg").read_text()

    def test_the_page_shows_them(self) -> None:
        page = results.render(a_document())
        assert "![seconds per fit against rows](img/scaling-rows.svg)" in page
        assert f"| rows | {OURS} | lme4 | glmm |" in page
        assert "| 10 | 1 s | 3 s | [2 s] |" in page
        assert "| 100 | 2 s | – | – |" in page
        assert "- lme4 at 100: timeout: too slow" in page


def a_plan(name: str, trunk: str, chosen: bool = False, flops: float | None = 1e6) -> dict[str, Any]:
    return {"name": name, "trunk": trunk, "flops": flops, "inverse_flops": None, "bytes": 2_000_000, "chosen": chosen,
            "why": "a | b"}


class TestPlans:
    @pytest.mark.parametrize("key", ["nested", "students", "chain"])
    def test_one_plan_is_chosen(self, key: str) -> None:
        records = plans.considered(SHAPES[key], SHAPES[key].data(0.01))
        assert sum(record["chosen"] for record in records) == 1
        assert all(set(record) == set(plans.FIELDS) for record in records)

    def test_without_alternatives_the_plan_is_the_only_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        compiled = SimpleNamespace(compiled=SimpleNamespace(plan=SimpleNamespace(trunk="none", flops=5.0, bytes=7)))
        monkeypatch.setattr("mixeff_fast.compile_model", lambda formula, data: compiled)
        (record,) = plans.considered(TOY, TOY.data())
        assert (record["name"], record["trunk"], record["flops"], record["chosen"]) == ("the only plan", "none", 5.0, True)

    def test_every_other_trunk_is_an_engine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(plans, "make_plan", lambda codes, trunk: None)
        considered = [a_plan("d", "dense"), a_plan("s", "sparse", chosen=True)]
        assert [(e.name, e.arguments) for e in plans.engines(considered)] == [(OURS, ("chosen",)), ("dense", ("dense",))]
        assert [e.name for e in plans.engines([a_plan("d", "dense", True)])] == [OURS, "sparse"]
        assert [e.name for e in plans.engines([a_plan("d", "dense", True), a_plan("s", "sparse", flops=None)])] == [OURS]
        assert [e.name for e in plans.engines([a_plan("c", "none", True)])] == [OURS]
        monkeypatch.setattr(plans, "make_plan", lambda codes: None)
        assert [e.name for e in plans.engines(considered)] == [OURS]

    def test_table(self) -> None:
        row = a_row(measured(OURS, 1), measured("dense", 4), measured("third", 2))
        entry = plans.Planned(row, (a_plan("s", "sparse", True), a_plan("d", "dense"), a_plan("other", "dense")))
        page = plans.markdown([entry], {"machine": "this"})
        assert r"| **s** (chosen) | 1e+06 | – | 2 MB | 1 s | – | – |  | a \| b |" in page
        assert r"| d | 1e+06 | – | 2 MB | 4 s | 4.00 | – | slower than the chosen | a \| b |" in page
        assert r"| other | 1e+06 | – | 2 MB | – | – | – | not timed | a \| b |" in page
        assert "| third | – | – | – | 2 s | 2.00 | – | slower than the chosen | not considered |" in page
        document = json.loads(json.dumps(plans.document([entry], {"machine": "this"})))
        assert plans.read(document) == [entry]
        assert results.render(document).startswith("### Elimination plans")

    def test_command(self, tmp_path: Path) -> None:
        plans.main(["--rows", "students", "--scale", "0.01", "--repeats", "1", "--out", str(tmp_path)])
        (entry,) = plans.read(json.loads((tmp_path / "plans.json").read_text()))
        assert entry.row.attempts[0].status == "measured", entry.row.attempts[0].reason
        assert "(chosen)" in (tmp_path / "plans.md").read_text()

    def test_forced_plans_find_the_same(self) -> None:
        shape, records = SHAPES["chain"], [a_plan("auto", "auto", True)]
        row = run.run_row(shape, plans.engines(records), Settings(repeats=1, scale=0.05, probe=False), lambda line: None)
        chosen, *others = row.attempts
        assert [attempt.engine for attempt in others] == ["dense", "sparse"]
        for attempt in others:
            assert attempt.loglik == pytest.approx(chosen.loglik, abs=1e-6), attempt.reason
