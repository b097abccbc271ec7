"""The comparison of tests of fixed effects: its models, its turns, what counts, and its tables."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

import mixeff_fast as mf
from benchmarks import inference
from benchmarks import page as results
from benchmarks.inference import PEER, Answered, Question, Taken, document, markdown, measure, questions, read
from benchmarks.peers.engines import OURS, WORKERS, Engine
from benchmarks.peers.install import CannotInstall, Place, place
from benchmarks.peers.run import Settings

# answers as the environment variable FAKE says
FAKE = """
import json, os, time
from worker import serve
how = json.loads(os.environ["FAKE"])

def test(loaded, reml):
    if how.get("fails"):
        raise ValueError("cannot")
    until = time.process_time() + how["seconds"]
    while time.process_time() < until:
        pass

serve(lambda message: message["method"], test, lambda table: {"df": how["df"], "statistic": [2.0, 3.0]}, ())
"""
SLEEP = questions()["sleepstudy:summary:satterthwaite"]
QUICK = Settings(repeats=3, timeout=60.0)


def fake(folder: Path, **engines: dict[str, Any]) -> Any:
    """Finds workers that answer as told."""
    script = folder / "fake.py"
    script.write_text(FAKE)

    def find(engine: Engine, *, install: bool) -> Place:
        key = "ours" if engine.name == OURS else "peer"
        if key not in engines:
            raise CannotInstall("there is no such thing")
        how = {"seconds": 0.002, "df": [17.0, 17.0]} | engines[key]
        return Place((sys.executable, "-S", str(script)), {"PYTHONPATH": str(WORKERS), "FAKE": json.dumps(how)})

    return find


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inference, "TURN_SECONDS", 0.01)


class TestQuestions:
    @pytest.mark.parametrize("shape", [*inference.MODELS, *inference.LARGE.values(), *inference.ALONE], ids=lambda s: s.key)
    def test_models_have_the_rows_they_say_and_can_be_compiled(self, shape: Any) -> None:
        data = shape.make(0.02)
        assert shape.key in ("factorial", "crossed", "groups") or data.height == shape.rows
        assert data.height == pytest.approx(shape.rows * 0.02) or data.height == shape.rows
        assert mf.compile_model(shape.formula, data).compiled.fixed.names

    def test_six_models_for_each_method(self) -> None:
        found = questions()
        for method in inference.METHODS.values():
            shown = [q for q in found.values() if q.verb == "summary" and q.method == method]
            assert [q.peers for q in shown] == [(PEER,)] * 6
        assert [q.shape.key for q in found.values() if not q.peers] == ["InstEval"] * 2 + ["groups"] * 2

    def test_factorial_is_unbalanced(self) -> None:
        counts = inference.MODELS[-1].make(1.0).group_by("f", "h").len()["len"]
        assert (len(counts), counts.max() > 4 * counts.min()) == (12, True)


@pytest.mark.usefixtures("short")
class TestMeasuring:
    def test_turns(self, tmp_path: Path) -> None:
        found = measure(SLEEP, QUICK, lambda line: None, fake(tmp_path, ours={}, peer={"seconds": 0.02}))
        assert [(t.engine, t.reason, len(t.cpu)) for t in found.taken] == [(OURS, "", 3), (PEER, "", 3)]
        assert found.same
        assert 5.0 < (found.ratio or 0.0) < 20.0

    def test_other_answers_do_not_count(self, tmp_path: Path) -> None:
        found = measure(SLEEP, QUICK, lambda line: None, fake(tmp_path, ours={}, peer={"df": [17.0, 17.5]}))
        assert found.difference("df") == pytest.approx(0.5 / 17.5)
        assert (found.same, found.ratio) == (False, None)

    def test_what_takes_long_is_measured_once(self, tmp_path: Path) -> None:
        found = measure(SLEEP, Settings(repeats=3, timeout=60.0, budget=0.1), lambda line: None,
                        fake(tmp_path, ours={}, peer={"seconds": 0.15}))
        assert [len(t.cpu) for t in found.taken] == [3, 1]
        assert found.ratio is not None

    def test_failures_are_told(self, tmp_path: Path) -> None:
        said: list[str] = []
        found = measure(SLEEP, QUICK, said.append, fake(tmp_path, ours={}, peer={"fails": True}))
        assert "cannot" in found.taken[1].reason
        assert found.ratio is None
        found = measure(SLEEP, QUICK, said.append, fake(tmp_path, ours={}))
        assert found.taken[1].reason == "there is no such thing"
        assert any("there is no such thing" in line for line in said)

    @pytest.mark.parametrize("verb", ["summary", "anova", "everything"])
    def test_our_worker_answers_what_a_fit_says(self, verb: Any) -> None:
        question = Question(SLEEP.shape, verb, "kenward_roger", ())
        found = measure(question, Settings(repeats=2, timeout=120.0), lambda line: None, place)
        assert (found.ours.reason, len(found.ours.cpu)) == ("", 2)
        assert found.ours.versions["mixeff_fast"] == mf.__version__
        fit = mf.lmm(SLEEP.shape.formula, SLEEP.shape.make(1.0))
        table = fit.anova(method="kenward_roger").table if verb == "anova" else fit.inference_table("kenward_roger").table
        assert found.ours.df == pytest.approx(table["den_df" if verb == "anova" else "df"].to_list())
        assert found.ours.statistic == pytest.approx(table["statistic"].to_list())


def answered(*taken: Taken, verb: str = "summary") -> Answered:
    return Answered("a:b", "a | b", "y ~ x + (1 | g)", verb, "satterthwaite", taken)


def took(engine: str, *cpu: float, df: float = 4.0) -> Taken:
    return Taken(engine, "", list(cpu), list(cpu), [df], [2.0], 2_000_000, {engine: "1"})


class TestTables:
    def test_ratios_are_of_turns(self) -> None:
        found = answered(took(OURS, 0.001, 0.002, 0.001), took(PEER, 0.04, 0.06, 0.05))
        assert found.ratio == pytest.approx(40.0)
        page = markdown([found], {"machine": "this"})
        assert r"| `y ~ x + (1 \| g)` (a \| b) | summary | Satterthwaite | 1 ms | 50 ms | 40.0 | 30, reached | 40.0 |" in page
        slow = answered(took(OURS, 0.001), took(PEER, 0.02))
        assert "| 20.0 | 30, **missed** |" in markdown([slow], {})
        assert "| 20.0 | – | 20.0 |" in markdown([answered(took(OURS, 0.001), took(PEER, 0.02), verb="anova")], {})
        other = answered(took(OURS, 0.001), took(PEER, 0.02, df=5.0))
        assert "| – | – | – | 2e-01, 0e+00 |" in markdown([other], {})

    def test_alone(self) -> None:
        page = markdown([answered(took(OURS, 0.5), verb="everything")], {})
        assert r"| `y ~ x + (1 \| g)` (a \| b) | Satterthwaite | 500 ms | 500 ms | 2 MB |" in page

    def test_reasons_and_documents(self) -> None:
        found = [answered(took(OURS, 0.001), Taken(PEER, "not there")), answered(took(OURS, 0.001), took(PEER, 0.02))]
        page = markdown(found, {"machine": "this"})
        assert f"- a:b: {PEER}: not there" in page
        assert f"- {OURS}: {OURS} 1" in page
        kept = json.loads(json.dumps(document(found, {"machine": "this"}), allow_nan=False))
        assert read(kept) == found
        assert results.render(kept).startswith("### Tests of fixed effects")

    def test_command(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(inference, "TURN_SECONDS", 0.01)
        inference.main(["--rows", "groups:everything:satterthwaite", "--scale", "0.002", "--repeats", "1", "--out",
                        str(tmp_path)])
        (found,) = read(json.loads((tmp_path / "inference.json").read_text()))
        assert (found.ours.reason, len(found.ours.df)) == ("", 2)
        assert "| Satterthwaite |" in (tmp_path / "inference.md").read_text()
