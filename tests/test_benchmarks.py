"""The benchmark harness: its data, its turns, what it does with peers that fail, and how it judges."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from benchmarks import shapes
from benchmarks.peers import __main__ as cli
from benchmarks.peers import handoff, install, run
from benchmarks.peers.engines import ENGINES, OURS, PEERS, WORKERS, Criterion, Engine
from benchmarks.peers.install import CannotInstall, Place, place
from benchmarks.peers.run import Attempt, Row, Settings, run_row
from benchmarks.peers.session import Session, WorkerFailed
from benchmarks.peers.table import as_json, judge, markdown, write
from benchmarks.shapes import SHAPES, SUITES, Shape, Term, of_suite
from mixeff_fast.formula.expand import model_formula

# a worker that does as the environment variable FAKE says
FAKE = """
import json, os, sys, time
from worker import serve
how = json.loads(os.environ["FAKE"])

def note(what):
    with open(how["log"], "a") as log:
        log.write(f"{how['name']} {what}\\n")

def load(message):
    note("load")
    if "load_error" in how:
        raise RuntimeError(how["load_error"])
    return message["formula"]

def fit(loaded, reml):
    note("REML" if reml else "ML")
    how["calls"] = how.get("calls", 0) + 1
    print("chatter", flush=True)
    os.write(1, b"more chatter\\n")
    if how["calls"] > how.get("good", 10**9):
        if how["then"] == "crash":
            print("the reason", file=sys.stderr, flush=True)
            os._exit(3)
        if how["then"] == "hang":
            time.sleep(60)
        if how["then"] == "grow":
            how["block"] = bytearray(os.urandom(1) * 300_000_000)
            time.sleep(60)
        raise ValueError("cannot")
    time.sleep(how["seconds"])

def facts(fitted):
    return {"loglik": how["loglik"], "evaluations": 7, "converged": True}

serve(load, fit, facts, ())
"""

TOY = Shape("toy", "single_scalar", "a toy | with a bar", "y", ("x",), (Term("g"),), 20,
            lambda scale: shapes.scalar(1.0, 20, 4))


class Fakes:
    """Engines whose workers are fakes, and the log of what they were asked."""

    def __init__(self, folder: Path) -> None:
        self.script = folder / "fake.py"
        self.script.write_text(FAKE)
        self.log = folder / "log"
        self.places: dict[str, Place] = {}
        self.engines: list[Engine] = []

    def add(
        self, name: str, criteria: tuple[Criterion, ...] = ("REML", "ML"), refusal: str | None = None, **how: Any
    ) -> None:
        how = {"name": name, "log": str(self.log), "seconds": 0.004, "loglik": -10.0} | how
        self.engines.append(Engine(name, "environment", self.script, (), criteria, lambda shape: refusal))
        environment = {"PYTHONPATH": str(WORKERS), "FAKE": json.dumps(how)}
        self.places[name] = Place((sys.executable, "-S", str(self.script)), environment)

    def find(self, engine: Engine, *, install: bool) -> Place:
        if engine.name not in self.places:
            raise CannotInstall("no such thing")
        return self.places[engine.name]

    def run(self, shape: Shape = TOY, **settings: Any) -> dict[tuple[str, str], Attempt]:
        self.row = run_row(shape, self.engines, Settings(**{"repeats": 2, "timeout": 5.0} | settings), lambda line: None,
                           self.find)
        return {(a.engine, a.criterion): a for a in self.row.attempts}

    def asked(self) -> list[str]:
        return self.log.read_text().splitlines()


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """One fit a turn."""
    monkeypatch.setattr(run, "TURN_SECONDS", 1e-6)
    return Fakes(tmp_path)


class TestShapes:
    @pytest.mark.parametrize("key", SHAPES)
    def test_data_fit_the_model(self, key: str) -> None:
        shape = SHAPES[key]
        formula = model_formula(shape.formula)
        assert set(formula.columns) == set(shape.columns)
        assert shape.suite in SUITES
        if key == "5":
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

    @pytest.mark.parametrize("key", ["2", "6", "scalar", "crossed_slopes", "nested", "balanced", "students", "chain"])
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

    def test_strings_stay_strings(self, tmp_path: Path) -> None:
        message = handoff.write(TOY, TOY.data(), tmp_path)
        assert message["columns"][-1] == {"name": "g", "kind": "string"}
        assert pl.read_parquet(message["parquet"]).schema["g"] == pl.String


class TestTurns:
    def test_engines_alternate_after_warming_up(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("b")
        fakes.add("c")
        attempts = fakes.run(repeats=3)
        names = [OURS, "b", "c"]
        warm = [f"{name} REML" for name in names for _ in range(2)]
        assert fakes.asked() == [f"{n} load" for n in names] + warm + [f"{n} REML" for n in names] * 3
        assert all(a.status == "measured" and len(a.rounds) == 3 and a.evaluations == 7 for a in attempts.values())

    def test_short_fits_are_repeated_within_a_turn(self, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(run, "TURN_SECONDS", 0.05)
        fakes.add(OURS)
        (attempt,) = fakes.run(repeats=2).values()
        assert {len(turn) for turn in attempt.rounds} == {attempt.fits_in_turn}
        assert 2 <= attempt.fits_in_turn <= 13
        assert len(fakes.asked()) == 1 + 2 + 2 * (1 + attempt.fits_in_turn)

    def test_a_fit_beyond_the_budget_is_measured_once(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("slow", seconds=0.3)
        attempts = fakes.run(repeats=3, budget=0.2)
        assert [len(turn) for turn in attempts["slow", "REML"].rounds] == [1]
        assert len(attempts[OURS, "REML"].rounds) == 3

    def test_no_turn_starts_after_the_budget(self, fakes: Fakes) -> None:
        fakes.add(OURS, seconds=0.06)
        assert len(fakes.run(repeats=9, budget=0.1)[OURS, "REML"].rounds) == 2

    def test_we_are_measured_by_ml_next_to_those_without_reml(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("ml", criteria=("ML",))
        attempts = fakes.run(repeats=1)
        assert set(attempts) == {(OURS, "REML"), (OURS, "ML"), ("ml", "ML")}
        assert fakes.asked()[-3:] == [f"{OURS} REML", f"{OURS} ML", "ml ML"]
        lines = {(line.attempt.engine, line.attempt.criterion): line for line in judge(fakes.row)}
        assert lines["ml", "ML"].ratio is not None

    def test_memory_is_that_of_the_fits(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        (attempt,) = fakes.run().values()
        if not Path("/proc/self/status").exists():
            pytest.skip("the system does not tell")
        assert attempt.loaded_bytes is not None
        assert attempt.peak_bytes is not None
        assert 0 < attempt.loaded_bytes <= attempt.peak_bytes < 2**30


class TestStarts:
    def test_every_fit_has_a_process_of_its_own(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("b")
        cold = Shape("cold", "cold_start", "cold", "y", ("x",), (Term("g"),), 20, TOY.make, start="cold")
        attempts = fakes.run(cold, repeats=2)
        once = [f"{OURS} load", f"{OURS} REML", "b load", "b REML"]
        assert fakes.asked() == once * 3
        assert [len(turn) for turn in attempts["b", "REML"].rounds] == [1, 1]
        assert attempts["b", "REML"].rounds[0][0] > 0.004

    def test_the_first_on_a_machine_is_ours_alone(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("b")
        first = Shape("first", "cold_start", "first", "y", ("x",), (Term("g"),), 20, TOY.make, start="first")
        attempts = fakes.run(first)
        assert attempts["b", "REML"].status == "not measured"
        assert [len(turn) for turn in attempts[OURS, "REML"].rounds] == [1]


class TestFailures:
    @pytest.mark.parametrize(
        ("how", "settings", "status", "reason"),
        [
            ({"load_error": "no"}, {}, "error", "when loading: RuntimeError: no"),
            ({"good": 0, "then": "raise"}, {}, "error", "ValueError: cannot"),
            ({"good": 2, "then": "raise"}, {}, "error", "ValueError: cannot"),
            ({"good": 0, "then": "crash"}, {}, "crash", "the process ended with code 3: the reason"),
            ({"good": 2, "then": "crash"}, {}, "crash", "the process ended with code 3: the reason"),
            ({"good": 2, "then": "hang"}, {"timeout": 1.0}, "timeout", "no answer within 1 s"),
        ],
    )
    def test_a_failure_is_a_row_and_stops_no_other(
        self, fakes: Fakes, how: dict[str, Any], settings: dict[str, Any], status: str, reason: str
    ) -> None:
        fakes.add("bad", **how)
        fakes.add(OURS)
        attempts = fakes.run(**settings)
        bad = attempts["bad", "REML"]
        assert (bad.status, bad.reason, bad.rounds) == (status, reason, [])
        assert len(attempts[OURS, "REML"].rounds) == 2
        assert f"- bad: {status}: {reason}" in markdown([fakes.row], {})

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
    def test_too_much_memory(self, fakes: Fakes) -> None:
        fakes.add(OURS, good=0, then="grow")
        (attempt,) = fakes.run(memory_limit=200_000_000).values()
        assert (attempt.status, attempt.reason) == ("memory", "took more than 0.2 GiB of memory")

    def test_a_dead_worker_keeps_its_reason(self, fakes: Fakes) -> None:
        fakes.add("bad", good=0, then="crash")
        with Session(fakes.places["bad"], {}) as session:
            session.ask({"do": "load", "formula": ""}, 5.0)
            for _ in range(2):
                with pytest.raises(WorkerFailed, match="code 3: the reason"):
                    session.ask({"do": "fit", "times": 1, "reml": True}, 5.0)

    def test_a_command_that_talks_nonsense(self) -> None:
        with Session(Place((sys.executable, "-c", "print('hello')"), {}), {}) as session, pytest.raises(WorkerFailed) as e:
            session.ask({"do": "load"}, 5.0)
        assert e.value.status == "crash"

    def test_refused_and_missing_peers_are_rows(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("narrow", refusal="one factor only")
        fakes.engines.append(Engine("absent", "environment", Path("x")))
        attempts = fakes.run()
        assert (attempts["narrow", "REML"].status, attempts["narrow", "REML"].reason) == ("cannot fit", "one factor only")
        assert (attempts["absent", "REML"].status, attempts["absent", "REML"].reason) == ("not installed", "no such thing")
        page = markdown([fakes.row], {})
        assert "| cannot fit | not installed |" in page
        assert "- absent: not installed: no such thing" in page

    def test_what_the_peers_cannot_fit(self) -> None:
        refused = {
            name: {key for key, shape in SHAPES.items() if ENGINES[name].refuses(shape) is not None} for name in PEERS
        }
        assert not refused["lme4"] | refused["glmmTMB"] | refused["glmm"] | refused["lme-python"] | refused["mixedlm"]
        assert {"5", "6", "7", "nested"} < refused["mixedlm-rs"]
        assert refused["statsmodels"] == {"7", "crossed_slopes"}
        assert {"1", "2", "7"} < refused["gpboost"]
        assert not refused["gpboost"] & {"5", "6", "scalar", "nested"}


class TestInstall:
    ENGINE = Engine("thing", "environment", Path("fit_thing.py"), ("thing", "pyarrow"))

    @pytest.fixture
    def calls(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
        """The commands that are asked for; pip fails when it is to install something called ``thing``, once."""
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        made: list[list[str]] = []

        def call(command: tuple[str, ...]) -> subprocess.CompletedProcess[str]:
            made.append(list(command))
            if "venv" in command:
                Path(command[-1]).mkdir(parents=True)
            failed = "pip" in command and sum("pip" in c for c in made) == 1
            return subprocess.CompletedProcess(command, int(failed), "", "WARNING: w\nERROR: no matching thing\n")

        monkeypatch.setattr(install, "_call", call)
        return made

    def test_a_failure_has_its_reason_and_is_tried_again(self, calls: list[list[str]], tmp_path: Path) -> None:
        with pytest.raises(CannotInstall, match="ERROR: no matching thing"):
            place(self.ENGINE)
        assert not list((tmp_path / "mixeff_fast" / "peers").iterdir())
        found = place(self.ENGINE)
        assert found.command[0].startswith(str(tmp_path / "mixeff_fast" / "peers" / "thing-py"))
        assert found.command[1] == "fit_thing.py"
        assert calls[-1][-2:] == ["thing", "pyarrow"]
        assert place(self.ENGINE) == found
        assert len(calls) == 4

    def test_nothing_is_installed_against_the_will(self, calls: list[list[str]]) -> None:
        with pytest.raises(CannotInstall, match="not installed in"):
            place(self.ENGINE, install=False)
        assert calls == []

    def test_without_r(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda name: None)
        with pytest.raises(CannotInstall, match="no Rscript"):
            place(ENGINES["lme4"])

    def test_without_an_r_package(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("shutil.which", lambda name: "/usr/bin/Rscript")
        monkeypatch.setattr(install, "_call", lambda command: subprocess.CompletedProcess(command, 0, "glmmTMB", ""))
        with pytest.raises(CannotInstall, match="R has no package glmmTMB"):
            place(ENGINES["glmmTMB"])

    def test_workers_are_there(self) -> None:
        assert all(engine.worker.is_file() for engine in ENGINES.values())


class TestRealWorkers:
    @pytest.mark.parametrize("name", [OURS, "lme4"])
    def test_sleepstudy(self, name: str) -> None:
        try:
            place(ENGINES[name])
        except CannotInstall as error:
            pytest.skip(str(error))
        row = run_row(SHAPES["1"], [ENGINES[name]], Settings(repeats=1), lambda line: None)
        (attempt,) = row.attempts
        assert attempt.status == "measured", attempt.reason
        assert attempt.loglik == pytest.approx(-871.814136, abs=1e-5)
        assert attempt.evaluations
        assert attempt.converged
        assert name in attempt.versions


def measured(engine: str, *turns: float, loglik: float | None = -10.0, criterion: Criterion = "REML") -> Attempt:
    return Attempt(engine, criterion, rounds=[[turn] for turn in turns], loglik=loglik)


def a_row(*attempts: Attempt) -> Row:
    return Row("toy", "a toy | with a bar", "y ~ x + (1 | g)", 20, "warm", attempts)


class TestJudgement:
    def test_ratios_are_taken_turn_by_turn(self) -> None:
        ours, peer = judge(a_row(measured(OURS, 1, 2, 1), measured("b", 2, 8, 4)))
        assert (ours.ratio, ours.median, ours.verdict) == (None, 1, "")
        assert (peer.median, peer.ratio, peer.low, peer.high) == (4, 4, 3, 4)
        assert peer.verdict == "slower than ours"

    def test_a_turn_counts_with_the_median_of_its_fits(self) -> None:
        ours, peer = judge(a_row(measured(OURS, 1, 10), Attempt("b", "REML", rounds=[[2, 9, 2], [20, 20, 30]], loglik=-10.0)))
        assert (peer.median, peer.ratio, peer.low, peer.high) == (11, 2, 2, 2)
        assert ours.median == 5.5

    @pytest.mark.parametrize(
        ("turns", "verdict"),
        [((2.0, 2.1, 2.2), "slower than ours"), ((0.5, 0.4, 0.6), "faster than ours"), ((0.8, 1.3, 1.1), "level")],
    )
    def test_verdicts(self, turns: tuple[float, ...], verdict: str) -> None:
        assert judge(a_row(measured(OURS, 1, 1, 1), measured("b", *turns)))[1].verdict == verdict

    def test_a_worse_optimum_does_not_win(self) -> None:
        row = a_row(measured(OURS, 1), measured("b", 0.5, loglik=-10.001), measured("c", 0.5, loglik=-10.00001))
        ours, b, c = judge(row)
        assert ours.verdict == ""
        assert b.verdict == "worse optimum"
        assert b.deficit == pytest.approx(1e-3)
        assert c.verdict == "faster than ours"
        assert "[0.50] worse optimum" in markdown([row], {})

    def test_neither_do_we(self) -> None:
        row = a_row(measured(OURS, 1, loglik=-10.5), measured("b", 2), measured("c", 2, loglik=-11.0))
        ours, b, c = judge(row)
        assert (ours.verdict, b.verdict, c.verdict) == ("worse optimum", "our optimum is worse", "worse optimum")
        assert "[2.00] our optimum is worse" in markdown([row], {})

    @pytest.mark.parametrize("value", [None, math.nan, math.inf])
    def test_without_a_log_likelihood_nothing_is_won(self, value: float | None) -> None:
        peer = measured("b", 0.1)
        peer.learn({"loglik": value})
        assert judge(a_row(measured(OURS, 1), peer))[1].verdict == "log-likelihood not known"

    def test_criteria_are_kept_apart(self) -> None:
        row = a_row(
            measured(OURS, 1), measured(OURS, 2, loglik=-8.0, criterion="ML"), measured("b", 6, loglik=-8.0, criterion="ML")
        )
        ours, ours_ml, b = judge(row)
        assert ours.verdict == ours_ml.verdict == ""
        assert b.ratio == 3
        assert "| 3.00 (ML) |" in markdown([row], {})

    def test_without_us_nothing_is_compared(self) -> None:
        failed = Attempt(OURS, "REML")
        failed.fail("crash", "gone")
        ours, peer = judge(a_row(failed, measured("b", 1)))
        assert (ours.verdict, peer.verdict, peer.ratio) == ("crash", "not compared", None)


class TestTables:
    def test_markdown_is_a_table(self) -> None:
        page = markdown([a_row(measured(OURS, 1e-3), measured("b", 2.5))], {"machine": "this one"})
        assert "- machine: this one" in page
        assert r"| toy: a toy \| with a bar | 1 ms | 2,500 |" in page
        tables = [line for line in page.splitlines() if line.startswith("|")]
        widths = [line.replace(r"\|", "").count("|") for line in tables]
        assert widths == [4] * 3 + [13] * 4

    def test_json_has_every_second(self) -> None:
        document = json.loads(as_json([a_row(measured(OURS, 1, 2), measured("b", 3))], {"a": "b"}))
        ours, peer = document["rows"][0]["engines"]
        assert ours["attempt"]["rounds"] == [[1], [2]]
        assert peer["ratio"] == 3
        assert document["facts"] == {"a": "b"}

    def test_files(self, tmp_path: Path) -> None:
        page, document = write([a_row(measured(OURS, 1))], {}, tmp_path / "new")
        assert page.read_text().startswith("# Next to other packages")
        assert json.loads(document.read_text())["rows"][0]["key"] == "toy"


class TestCommandLine:
    @pytest.mark.parametrize("arguments", [["--rows", "99"], ["--peers", "lme4,nobody"]])
    def test_unknown_names_are_refused(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            cli.parser().parse_args(arguments)
        assert "there are" in capsys.readouterr().err

    def test_rows_and_peers_are_passed_on(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[str, list[str], Settings]] = []

        def record(shape: Shape, engines: list[Engine], settings: Settings, say: Callable[[str], None]) -> Row:
            seen.append((shape.key, [engine.name for engine in engines], settings))
            return a_row(measured(OURS, 1))

        monkeypatch.setattr(cli, "run_row", record)
        cli.main(["--rows", "2,5", "--peers", "glmm", "--repeats", "3", "--threads", "1", "--memory", "2", "--scale", "0.1",
                  "--no-install", "--out", str(tmp_path)])
        assert [(key, names) for key, names, _ in seen] == [("2", [OURS, "glmm"]), ("5", [OURS, "glmm"])]
        settings = seen[0][2]
        assert (settings.repeats, settings.scale, settings.install, settings.memory_limit) == (3, 0.1, False, 2**31)
        assert settings.environment["OPENBLAS_NUM_THREADS"] == "1"
        assert "scale: generated data at 0.1" in (tmp_path / "peers.md").read_text()
