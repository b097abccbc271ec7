"""How the comparison judges, its goals, its tables and its command line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import page as results
from benchmarks.peers import __main__ as cli
from benchmarks.peers.engines import FLOOR, OURS, Engine
from benchmarks.peers.goals import standing
from benchmarks.peers.judge import judge
from benchmarks.peers.run import Attempt, Row, Settings
from benchmarks.peers.table import as_json, markdown, read_row, write
from benchmarks.shapes import SHAPES, Goal, Shape
from tests.fake_engines import a_row, measured

ROOT = Path(results.__file__).parents[1]


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


class TestGeneralized:
    ROW = "binomial (logit), Laplace"

    def row(self, *attempts: Attempt, goal: Goal | None = None) -> Row:
        return a_row(*attempts, goal=goal, likelihood=self.ROW)

    def ml(self, engine: str, *turns: float, loglik: float = -10.0) -> Attempt:
        return measured(engine, *turns, loglik=loglik, criterion="ML")

    def test_peers_may_be_a_little_short_of_the_optimum(self) -> None:
        row = self.row(self.ml(OURS, 1), self.ml("b", 0.5, loglik=-10.0009), self.ml("c", 0.5, loglik=-10.0011))
        assert [line.verdict for line in judge(row)] == ["", "faster than ours", "worse optimum"]

    def test_we_may_not(self) -> None:
        row = self.row(self.ml(OURS, 1, loglik=-10.0005), self.ml("b", 2))
        assert [line.verdict for line in judge(row)] == ["worse optimum", "our optimum is worse"]

    def test_another_criterion_is_timed_but_wins_nothing(self) -> None:
        other = measured("b", 0.5, loglik=-9.0, criterion="another")
        other.reason = "is by the observed curvature"
        row = self.row(self.ml(OURS, 1), other)
        ours, peer = judge(row)
        assert (ours.verdict, peer.verdict, peer.ratio) == ("", "another criterion", 0.5)
        page = markdown([row], {})
        assert "[0.50] another criterion" in page
        assert "- b: measured: is by the observed curvature" in page
        assert missed(row) == ""

    def test_the_page_tells_the_likelihood_and_what_evaluations_were_made_of(self) -> None:
        ours = self.ml(OURS, 1)
        ours.learn({"loglik": -10.0, "evaluations": 9, "certificate_evaluations": 4, "passes": 50, "factorizations": 20})
        page = markdown([self.row(ours, self.ml("b", 3))], {})
        assert f"`y ~ x + (1 | g)`, 20 rows, {self.ROW}" in page
        assert "| 9 + 4 (50 passes, 20 factorizations) |" in page
        assert r"| toy: a toy \| with a bar | 1 s | 3.00 |" in page

    def test_a_goal_may_name_the_peer(self) -> None:
        attempts = self.ml(OURS, 1), self.ml("b", 1.5), self.ml("c", 3)
        assert missed(self.row(*attempts, goal=Goal(share=0.4))) == "ratio 1.50, not 2.50"
        assert missed(self.row(*attempts, goal=Goal(share=0.4, peer="c"))) == ""
        assert missed(self.row(self.ml(OURS, 2), *attempts[1:], goal=Goal(share=0.7, peer="c"))) == "b is faster"

    def test_rows_are_read_back(self) -> None:
        row = self.row(self.ml(OURS, 1), goal=Goal(share=0.4, peer="c"))
        assert read_row(json.loads(as_json([row], {}))["rows"][0]) == row


def missed(row: Row) -> str:
    return "; ".join(standing(row, judge(row)).misses)


class TestGoals:
    def test_speed_has_goals(self) -> None:
        goals = {key: SHAPES[key].goal for key in SHAPES}
        shares = {key: goal.share for key, goal in goals.items() if goal is not None and goal.share is not None}
        assert shares == {
            "2": 0.5, "3": 0.35, "4": 0.27, "5": 0.45, "6": 0.32, "7": 0.10, "8": 0.67, "9": 0.4, "10": 0.25,
        }
        assert {key for key, goal in goals.items() if goal is not None and goal.by_clock} == {"1", "13", "14"}

    @pytest.mark.parametrize(
        ("peer", "goal", "miss"),
        [
            ((3.0, 3.0), Goal(share=0.5), ""),
            ((1.8, 1.8), Goal(share=0.5), "ratio 1.80, not 2.00"),
            ((1.8, 2.1), Goal(share=0.5), "ratio 1.95, not 2.00 (within the noise)"),
            ((0.5, 0.5), Goal(share=0.5), "b is faster"),
            ((0.5, 0.5), None, "b is faster"),
            ((1.1, 0.9), None, ""),
            ((0.5, 0.5), Goal(seconds=1.0), ""),
            ((3.0, 3.0), Goal(seconds=0.9), "1 s, not 0.9 s"),
            ((3.0, 3.0), Goal(share=0.5, seconds=0.9), ""),
        ],
    )
    def test_time(self, peer: tuple[float, float], goal: Goal | None, miss: str) -> None:
        assert missed(a_row(measured(OURS, 1, 1), measured("b", *peer), goal=goal)) == miss

    def test_the_rival_is_the_fastest_whose_optimum_counts(self) -> None:
        row = a_row(measured(OURS, 1), measured("b", 9), measured("c", 5), measured("d", 0.1, loglik=-11.0))
        found = standing(row, judge(row))
        assert found.rival is not None
        assert found.rival.attempt.engine == "c"
        assert found.wanted == 1.0
        assert found.misses == ()

    def test_every_peer_that_is_faster_is_named(self) -> None:
        assert missed(a_row(measured(OURS, 1), measured("b", 0.9), measured("c", 0.5))) == "b is faster; c is faster"

    def test_memory(self) -> None:
        ours = measured(OURS, 1)
        ours.loaded_bytes, ours.peak_bytes = 10**9, 3 * 10**9
        assert missed(a_row(ours, goal=Goal(share=0.5, over_data=10**9))) == "2,000 MB over the data, not 1,000"
        assert missed(a_row(ours, goal=Goal(share=0.5, over_data=2 * 10**9))) == ""

    def test_floor(self) -> None:
        ours, floor = measured(OURS, 4), measured(FLOOR, 1, loglik=None)
        assert judge(a_row(ours, floor))[1].verdict == "floor"
        assert missed(a_row(ours, floor, goal=Goal(floor=3.0))) == "4.00 times the floor, not 3"
        assert missed(a_row(ours, floor, goal=Goal(floor=5.0))) == ""

    def test_we_have_to_be_measured_and_right(self) -> None:
        failed = Attempt(OURS, "REML")
        failed.fail("crash", "gone")
        assert missed(a_row(failed, measured("b", 1))) == "we: crash"
        assert missed(a_row(measured(OURS, 1, loglik=-11.0), measured("b", 3))) == "we: worse optimum"
        assert missed(a_row(measured("b", 1))) == "we were not measured"

    def test_the_table_flags_what_is_missed(self) -> None:
        ours = measured(OURS, 1)
        ours.evaluations, ours.certificate_evaluations = 9, 4
        page = markdown([a_row(ours, measured("b", 1.5), goal=Goal(share=0.5, seconds=2.0))], {})
        line = next(line for line in page.splitlines() if "not met" in line)
        assert "| 1 s | ≤ 2 s | b, 1.5 s | 1.50 (1.50 to 1.50) | ≥ 2.00 |" in line
        assert line.endswith("| 9 + 4 | **not met**: ratio 1.50, not 2.00 |")


class TestTables:
    def test_markdown_is_a_table(self) -> None:
        page = markdown([a_row(measured(OURS, 1e-3), measured("b", 2.5))], {"machine": "this one"})
        assert "- machine: this one" in page
        assert r"| toy: a toy \| with a bar | 1 ms | 2,500 |" in page
        tables = [line for line in page.splitlines() if line.startswith("|")]
        widths = [line.replace(r"\|", "").count("|") for line in tables]
        assert widths == [11] * 3 + [4] * 3 + [14] * 4

    def test_json_has_every_second(self) -> None:
        document = json.loads(as_json([a_row(measured(OURS, 1, 2), measured("b", 3))], {"a": "b"}))
        ours, peer = document["rows"][0]["engines"]
        assert ours["attempt"]["rounds"] == [[1], [2]]
        assert peer["ratio"] == 3
        assert document["facts"] == {"a": "b"}

    def test_rows_are_read_back(self) -> None:
        row = a_row(measured(OURS, 1, 2), measured("b", 3), goal=Goal(share=0.5, over_data=7))
        document = json.loads(as_json([row], {}))
        assert read_row(document["rows"][0]) == row
        assert document["kind"] == "peers"

    def test_files(self, tmp_path: Path) -> None:
        page, document = write([a_row(measured(OURS, 1))], {}, tmp_path / "new")
        assert page.read_text().startswith("# Next to other packages")
        assert json.loads(document.read_text())["rows"][0]["key"] == "toy"


class TestPage:
    PAGE = f"# Title\n\n{results.START}\nold\n{results.END}\nafter\n"

    def test_results_are_replaced(self) -> None:
        document: dict[str, Any] = json.loads(as_json([a_row(measured(OURS, 1))], {"machine": "this"}))
        page = results.update(self.PAGE, [document])
        assert page.startswith("# Title\n")
        assert page.endswith(f"{results.END}\nafter\n")
        assert "old" not in page
        assert "### Next to other packages" in page
        assert "- machine: this" in page
        assert results.update(page, [document]) == page

    @pytest.mark.parametrize("page", ["", PAGE + PAGE, f"{results.END}{results.START}"])
    def test_marks_are_needed(self, page: str) -> None:
        with pytest.raises(ValueError, match="once each"):
            results.update(page, [])

    def test_command(self, tmp_path: Path) -> None:
        page, (_, document) = tmp_path / "page.md", write([a_row(measured(OURS, 1))], {}, tmp_path)
        page.write_text(self.PAGE)
        results.main([str(document), "--page", str(page)])
        assert "toy" in page.read_text()

    def test_the_documentation_has_marks_and_its_pictures(self) -> None:
        page = (ROOT / results.DEFAULT_PAGE).read_text(encoding="utf-8")
        assert results.update(page, []).count(results.START) == 1
        for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page):
            assert (ROOT / "docs" / picture).is_file(), picture


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
        page = (tmp_path / "peers.md").read_text()
        assert "scale: generated data at 0.1" in page
        assert "- command: `python -m benchmarks.peers --rows 2,5 --peers glmm --repeats 3" in page

    def test_the_floor_comes_with_streams(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[list[str]] = []

        def record(shape: Shape, engines: list[Engine], settings: Settings, say: Callable[[str], None]) -> Row:
            seen.append([engine.name for engine in engines])
            return a_row(measured(OURS, 1))

        monkeypatch.setattr(cli, "run_row", record)
        cli.main(["--rows", "1,stream_1m", "--peers", "", "--out", str(tmp_path)])
        assert seen == [[OURS], [OURS, FLOOR]]
