"""The comparison with other packages: its turns, what it does with those that fail, and where they are installed."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks import generators
from benchmarks.peers import install, run, session
from benchmarks.peers.engines import ENGINES, FLOOR, OURS, PEERS, Engine
from benchmarks.peers.install import CannotInstall, Place, place
from benchmarks.peers.judge import judge
from benchmarks.peers.run import Settings, run_row
from benchmarks.peers.session import Session, WorkerFailed
from benchmarks.peers.table import markdown
from benchmarks.shapes import SHAPES, Likelihood, Shape, Term
from tests.fake_engines import TOY, Fakes


@pytest.fixture
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    """One fit a turn."""
    monkeypatch.setattr(run, "TURN_SECONDS", 1e-6)
    return Fakes(tmp_path)


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

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
    def test_memory_is_that_of_a_first_fit(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        (attempt,) = fakes.run().values()
        assert attempt.loaded_bytes is not None
        assert attempt.peak_bytes is not None
        assert attempt.over_data is not None
        assert 0 < attempt.loaded_bytes <= attempt.peak_bytes < 2**30
        assert 0 <= attempt.over_data < 50e6

    def test_memory_is_probed_in_a_process_of_its_own(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("slow", seconds=0.3)
        fakes.run(repeats=1, budget=0.2, probe=True)
        assert fakes.asked()[-2:] == [f"{OURS} load", f"{OURS} REML"]

    def test_a_probe_that_fails_leaves_the_times(self, fakes: Fakes) -> None:
        fakes.add(OURS, crash_at_load=2)
        (attempt,) = fakes.run(probe=True).values()
        assert attempt.status == "measured"
        assert len(attempt.rounds) == 2


class TestTasks:
    def refitted(self, times: int = 3) -> Shape:
        return dataclasses.replace(TOY, task="refit", responses=times)

    def test_refits_are_those_of_a_prepared_model(self, fakes: Fakes) -> None:
        fakes.add(OURS, refits="each")
        fakes.add("none")
        attempts = fakes.run(self.refitted(), repeats=1)
        y = generators.new_responses(TOY.data()["y"].to_numpy(), 3)[:, 0]
        once = [f"{OURS} refits {value:.6g}" for value in y.round(6)]
        assert fakes.asked() == [f"{OURS} load", f"{OURS} prepares REML", *once * 3]
        assert attempts[OURS, "REML"].evaluations == 21
        assert attempts[OURS, "REML"].loglik == -10.0
        assert (attempts["none", "REML"].status, attempts["none", "REML"].reason) == ("cannot fit", "has no refit")

    def test_all_responses_at_once(self, fakes: Fakes) -> None:
        fakes.add(OURS, refits="together")
        fakes.run(self.refitted(), repeats=1)
        assert fakes.asked()[2:] == [f"{OURS} refits 3 at once"] * 3

    def test_criteria_are_those_of_refits(self, fakes: Fakes) -> None:
        fakes.add(OURS, refits="each")
        fakes.add("ml", refits="each")
        fakes.engines[1] = dataclasses.replace(fakes.engines[1], refits=("ML",))
        assert set(fakes.run(self.refitted(), repeats=1)) == {(OURS, "REML"), (OURS, "ML"), ("ml", "ML")}

    def test_reading_is_timed_where_data_come_from_a_file(self, fakes: Fakes) -> None:
        fakes.add(OURS, load_seconds=0.05)
        (attempt,) = fakes.run(dataclasses.replace(TOY, task="stream"), repeats=1).values()
        assert fakes.asked() == [f"{OURS} load", f"{OURS} REML"] * 3
        assert attempt.rounds[0][0] > 0.05

    def test_the_floor_belongs_to_files(self) -> None:
        refused = {key: ENGINES[FLOOR].obstacle(shape, 1) for key, shape in SHAPES.items()}
        assert {key for key, reason in refused.items() if reason is None} == {"stream_1m", "stream_5m"}

    def test_too_many_rows_for_a_peer(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("small", most_rows=10)
        attempts = fakes.run(repeats=1)
        assert attempts["small", "REML"].status == "cannot fit"
        assert attempts["small", "REML"].reason.startswith("left out above 10 rows")
        assert fakes.run(repeats=1, scale=0.5)["small", "REML"].status == "measured"


class TestGeneralized:
    SHAPE = dataclasses.replace(TOY, likelihood=Likelihood("binomial", "probit"))

    def test_we_are_measured_once(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("lme4")
        attempts = fakes.run(self.SHAPE, repeats=1)
        assert set(attempts) == {(OURS, "ML"), ("lme4", "ML")}
        assert fakes.asked()[-2:] == [f"{OURS} ML", "lme4 ML"]
        assert fakes.row.likelihood == "binomial (probit), Laplace"

    def test_another_criterion_comes_with_its_reason(self, fakes: Fakes) -> None:
        fakes.add(OURS)
        fakes.add("glmm")
        fakes.add("statsmodels")
        attempts = fakes.run(self.SHAPE, repeats=1)
        assert attempts["glmm", "another"].status == "measured"
        assert "observed curvature" in attempts["glmm", "another"].reason
        assert attempts["statsmodels", "ML"].status == "cannot fit"

    def test_what_evaluations_were_made_of(self, fakes: Fakes) -> None:
        fakes.add(OURS, counted={"passes": 50, "factorizations": 20, "gradients": 3})
        (attempt,) = fakes.run(self.SHAPE, repeats=1).values()
        assert (attempt.passes, attempt.factorizations, attempt.gradients) == (50, 20, 3)

    def test_processor_time(self, fakes: Fakes) -> None:
        fakes.add(OURS, seconds=0.05)
        (attempt,) = fakes.run(repeats=1).values()
        assert attempt.cpu_seconds is not None
        assert 0 <= attempt.cpu_seconds < 0.05


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

    @pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell")
    def test_the_machine_keeps_a_reserve(self, fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(session, "available_bytes", lambda: session.RESERVE - 1)
        fakes.add(OURS, good=0, then="hang")
        (attempt,) = fakes.run(memory_limit=2**40).values()
        assert attempt.status == "memory"
        assert attempt.reason.endswith("when the machine had no more to give")

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
            name: {key for key, shape in SHAPES.items() if ENGINES[name].obstacle(shape, shape.rows) is not None}
            for name in PEERS
        }
        refits = {"refit_small", "refit_slopes", "refit_crossed"}
        generalized = {key for key, shape in SHAPES.items() if shape.likelihood is not None}
        agq, profiled = {"cbpp_agq", "bernoulli_agq"}, {"cbpp_profiled", "verbagg_profiled"}
        unlike = {"gamma", "negative_binomial"}
        assert refused["glmm"] == profiled
        assert refused["glmm-wald"] == set(SHAPES) - {"9", "poisson", "poisson_slopes", "poisson_nested"}
        assert refused["lme-python"] == generalized - profiled
        assert refused["mixedlm"] == unlike
        assert refused["lme4"] == {"4"} | unlike
        assert refused["glmmTMB"] == {"4", "stream_5m"} | refits | agq | profiled
        assert {"5", "6", "7", "nested"} | generalized < refused["mixedlm-rs"]
        assert refused["statsmodels"] == {"4", "stream_5m", "7", "crossed_slopes"} | refits | generalized
        assert {"1", "2", "7", "bernoulli_slopes", "poisson_slopes"} | agq | profiled < refused["gpboost"]
        assert not refused["gpboost"] & {"5", "6", "scalar", "nested", "8", "9", "10", "gamma", "negative_binomial", "cbpp"}

    def test_criteria_that_are_not_ours(self) -> None:
        another = {
            (name, key) for name in PEERS for key, shape in SHAPES.items() if ENGINES[name].criteria_for(shape) == ("another",)
        }
        names = {name for name, _ in another}
        assert another == {(name, "probit_crossed") for name in names}
        assert names == {"glmm", "glmm-wald", "gpboost", "glmmTMB"}


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

    def test_an_engine_may_share_the_environment_of_another(self, calls: list[list[str]]) -> None:
        with pytest.raises(CannotInstall, match="no matching"):
            place(self.ENGINE)
        other = dataclasses.replace(self.ENGINE, name="other", home="thing", arguments=("how",))
        assert place(other).command == (*place(self.ENGINE).command, "how")
        assert len(calls) == 4

    def test_arguments_reach_the_worker(self) -> None:
        engine = dataclasses.replace(ENGINES[OURS], arguments=("dense",))
        assert place(engine).command[1:] == (str(engine.worker), "dense")


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

    @pytest.mark.parametrize("name", [OURS, "lme4", "glmmTMB"])
    @pytest.mark.parametrize(("key", "loglik"), [("cbpp", -92.026282), ("cbpp_profiled", -92.054295), ("cbpp_agq", -91.983372)])
    def test_cbpp(self, name: str, key: str, loglik: float) -> None:
        if ENGINES[name].obstacle(SHAPES[key], 56) is not None:
            pytest.skip("cannot fit it")
        try:
            place(ENGINES[name])
        except CannotInstall as error:
            pytest.skip(str(error))
        settings = Settings(repeats=1, probe=False)
        (attempt,) = run_row(SHAPES[key], [ENGINES[name]], settings, lambda line: None).attempts
        assert attempt.status == "measured", attempt.reason
        assert attempt.loglik == pytest.approx(loglik, abs=5e-4)
        assert attempt.evaluations
        assert (name == OURS) == bool(attempt.passes)

    def test_lme4_refits(self) -> None:
        try:
            place(ENGINES["lme4"])
        except CannotInstall as error:
            pytest.skip(str(error))
        shape = dataclasses.replace(SHAPES["refit_small"], responses=2)
        (attempt,) = run_row(shape, [ENGINES["lme4"]], Settings(repeats=1, probe=False), lambda line: None).attempts
        assert (attempt.status, attempt.criterion) == ("measured", "ML"), attempt.reason
        assert attempt.loglik == pytest.approx(-935.9, abs=10)

    def test_floor(self) -> None:
        shape = dataclasses.replace(TOY, task="stream")
        (attempt,) = run_row(shape, [ENGINES[FLOOR]], Settings(repeats=1, probe=False), lambda line: None).attempts
        assert (attempt.status, attempt.loglik) == ("measured", None), attempt.reason
        assert "polars" in attempt.versions
