"""Audits and explanations: every line points at a datum, prints no number but the datum's, and no verb gives advice."""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Callable
from functools import cache, partial
from html.parser import HTMLParser
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.report.audit_lines import Lines, split
from mixeff_fast.report.pointer import escape, resolve
from mixeff_fast.report.wording import words
from mixeff_fast.schemas.audit import AuditReport, Section, Tag
from mixeff_fast.schemas.fit import FitArtifact
from tests.golden_models import GOLDEN, golden_spec
from tests.saved_models import outcomes
from tests.test_messages import ADVICE

HOSTILE = "<script>alert('1')</script> & {0} ~/\""


def grouped(levels: int = 12, rows: int = 8, slope: float = 1.0, seed: int = 1) -> pl.DataFrame:
    """One group ``g`` with random intercepts, and slopes of ``x`` of the given standard deviation."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), rows)
    x = rng.normal(size=len(g))
    y = 1.0 + x + 2.0 * rng.normal(size=levels)[g] + slope * rng.normal(size=levels)[g] * x + rng.normal(size=len(g))
    return pl.DataFrame({"y": y, "x": x, "g": [f"g{k}" for k in g]})


def aliased() -> mf.ModelSpec:
    return mf.compile_model("y ~ x + x2 + (1 | g)", grouped().with_columns(x2=2.0 * pl.col("x")))


def hostile() -> mf.ModelSpec:
    data = grouped().rename({"x": "x</td>", "g": "g<b>"})
    data = data.with_columns(pl.concat_str(pl.lit(HOSTILE), pl.col("g<b>")).alias("g<b>"))
    return mf.compile_model("y ~ `x</td>` + (`x</td>` | `g<b>`)", data)


def disconnected() -> mf.ModelSpec:
    rng = np.random.default_rng(4)
    rows = [(f"g{4 * b + i}", f"h{4 * b + j}") for b in range(4) for i in range(4) for j in range(4)]
    return mf.compile_model("y ~ 1 + (1 | g) + (1 | h)",
                            pl.DataFrame(rows, schema=["g", "h"], orient="row").with_columns(y=rng.normal(size=64)))


def unmodelled() -> mf.ModelSpec:
    data = grouped(18, 6, slope=0.0).with_columns(subject=pl.col("g"), item=pl.Series([f"i{k % 6}" for k in range(108)]))
    return mf.compile_model("y ~ x + (1 | item)", data.drop("g"))


def empty_cells() -> mf.ModelSpec:
    data = grouped().with_columns(a=pl.Series(["p", "q", "r"] * 32), b=pl.Series((["u"] * 3 + ["v"] * 3) * 16))
    return mf.compile_model("y ~ a * b + (1 | g)", data.filter((pl.col("a") != "r") | (pl.col("b") != "v")))


def omitted() -> mf.ModelSpec:
    data = grouped().with_columns(x=pl.when(pl.int_range(pl.len()) % 7 == 0).then(None).otherwise("x"),
                                  g=pl.col("g").str.slice(1).cast(pl.Int64))
    return mf.compile_model("y ~ x + (x || g)", data, na_action="omit")


def rich() -> mf.ModelSpec:
    return mf.compile_model("y ~ f + (f | g)", grouped(6, 4).with_columns(f=pl.Series(["a", "b", "c"] * 8)))


def without_trials() -> pl.DataFrame:
    first = pl.int_range(pl.len()) < 3
    return outcomes().with_columns(won=pl.when(first).then(0).otherwise("won"), tries=pl.when(first).then(0).otherwise("tries"))


def load(formula: str, name: str, **arguments: Any) -> Callable[[], mf.ModelSpec]:
    return lambda: mf.compile_model(formula, mf.datasets.load(name), **arguments)


SPECS: dict[str, Callable[[], mf.ModelSpec]] = {
    **{name: partial(golden_spec, name) for name in GOLDEN},
    "split": load("Reaction ~ 1 + (1 | Subject) + (0 + Days | Subject)", "sleepstudy"),
    "nested": load("strength ~ 1 + (1 | batch / cask)", "Pastes"),
    "declared": load("Reaction ~ Days + (1 | Subject)", "sleepstudy", roles=mf.roles(Subject="sampled_unit")),
    "reduced": lambda: mf.compile_model("y ~ x + (x | g)", grouped(slope=0.0, seed=3)),
    "weighted": lambda: mf.compile_model("y ~ x + (x | g)", grouped(), weights=np.linspace(1.0, 2.0, 96)),
    "no fixed effects": lambda: mf.compile_model("y ~ 0 + (1 | g)", grouped()),
    "aliased": aliased,
    "empty cells": empty_cells,
    "omitted": omitted,
    "rich": rich,
    "disconnected": disconnected,
    "unmodelled": unmodelled,
    "hostile": hostile,
    "proportions": lambda: mf.compile_model("share ~ a + (1 | g) + (1 | h)", outcomes(), family=mf.binomial("probit"),
                                            weights="tries"),
    "labels": lambda: mf.compile_model("label ~ x + (1 | g)", outcomes(), family="binomial"),
    "known size": lambda: mf.compile_model("over ~ x + (x || g)", outcomes(), family=mf.negative_binomial(theta=2.0)),
    "amounts": lambda: mf.compile_model("amount ~ x + (x | g)", outcomes(), family="gamma", offset="o"),
    "no fixed effects of a family": lambda: mf.compile_model("count ~ 0 + (1 | g)", outcomes(), family="poisson"),
    "no trials": lambda: mf.compile_model("cbind(won, tries - won) ~ x + (1 | g)", without_trials(), family="binomial"),
}
BATCHES = "batches"
NAMES = [*SPECS, BATCHES]
STOPPED = "stopped"
# fits of models that are fitted in another way elsewhere here: by name, the model and how it is fitted
OTHERWISE: dict[str, tuple[str, dict[str, Any]]] = {
    STOPPED: ("sleepstudy", {"control": mf.control(max_evaluations=2)}),
    "profiled": ("cbpp", {"method": "pirls_profiled"}),
    "quadrature": ("amounts", {"n_agq": 5}),
    "without inference": ("cbpp", {"inference": "none"}),
    "stopped family": ("amounts", {"control": mf.control(max_evaluations=1)}),
    "without modes": ("no fixed effects of a family", {"control": mf.control(start=[1e8])}),
}


@cache
def spec(name: str) -> mf.ModelSpec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == BATCHES:
            return fitted(name).spec
        return SPECS[name]()


@cache
def fitted(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if name == BATCHES:
            return mf.sufficient_statistics("y ~ x + (x | g)", grouped().lazy()).fit()
        if name in OTHERWISE:
            model, how = OTHERWISE[name]
            return spec(model).fit(**how)
        return spec(name).fit()


CASES = [(kind, name) for name in NAMES for kind in ("spec", "fit")] + [("fit", name) for name in OTHERWISE]


def subject(kind: str, name: str) -> Any:
    return spec(name) if kind == "spec" else fitted(name)


def follow(document: Any, pointer: str) -> Any:
    """RFC 6901, written out again."""
    assert pointer == "" or pointer[0] == "/"
    for token in pointer.split("/")[1:]:
        key = token.replace("~1", "/").replace("~0", "~")
        document = document[int(key)] if isinstance(document, list) else document[key]
    return document


def scalars(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [s for key, item in value.items() for s in [key, *scalars(item)]]
    if isinstance(value, list):
        return [s for item in value for s in scalars(item)]
    return [value]


def printed_numbers(detail: str, data: dict[str, Any]) -> list[str]:
    """Numbers in a line outside the names and texts that are data themselves."""
    texts = sorted({s for value in data.values() for s in scalars(value) if isinstance(s, str)}, key=len, reverse=True)
    for text in texts:
        if re.search(r"\d", text):
            detail = re.sub(rf"(?<![\w.]){re.escape(text)}(?![\w.])", " ", detail)
    return re.findall(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[-+]?\d+)?", detail)


def says(text: str, value: float) -> bool:
    """Whether a printed number is ``value`` up to its last digit, with five digits at least."""
    mantissa, _, exponent = text.lstrip("-").partition("e")
    whole, _, decimals = mantissa.partition(".")
    unit = 10.0 ** (int(exponent or 0) - len(decimals))
    digits = len((whole + decimals).strip("0"))
    return abs(float(text) - value) <= 0.5000001 * unit and (digits >= 5 or abs(float(text) - value) <= 5e-5 * abs(value))


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize(("kind", "name"), CASES)
def test_every_line_is_traceable(kind: str, name: str, full: bool) -> None:
    model = subject(kind, name)
    report = model.audit(full=full)
    document = json.loads(model.artifact.model_dump_json())
    assert len({(line.section, line.source, *line.data) for line in report.lines}) == len(report.lines) > 0
    for line in report.lines:
        datum = follow(document, line.source)
        assert report.trace(line) == datum
        for key, value in line.data.items():
            assert value == (follow(datum, f"/{key}") if key else datum), line
        known = [s for v in line.data.values() for s in scalars(v) if isinstance(s, int | float) and not isinstance(s, bool)]
        printed = printed_numbers(line.detail, line.data)
        for number in printed:
            assert any(says(number, value) for value in known), (number, line)
        for value in known:
            assert any(says(number, value) for number in printed), (value, line)


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_sections_tags_and_views(kind: str, name: str) -> None:
    model = subject(kind, name)
    report, short = model.audit(full=True), model.audit()
    sections = [line.section for line in report.lines]
    assert list(dict.fromkeys(sections)) == list(get_args(Section))
    assert sections == sorted(sections, key=get_args(Section).index)
    assert AuditReport.model_validate_json(report.as_json()) == report.artifact
    assert report.table.rows() == [(x.section, x.label, x.tag, x.detail, x.source) for x in report.lines]
    text, html = str(report), report._repr_html_()
    assert text.startswith("Audit Summary\n")
    for line in report.lines:
        assert f"  {line.label} [" in text
        assert f": {line.detail}" in text
        assert "\n" not in line.detail
    assert_harmless(html)
    assert all(line in report.lines for line in short.lines)
    dropped = [line for line in report.lines if line not in short.lines]
    assert not [line for line in dropped if line.tag in ("warning", "error") or line.section == "Requested Model"]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.seen.add(tag)


def assert_harmless(html: str) -> None:
    parser = Tags()
    parser.feed(html)
    assert parser.seen <= {"table", "caption", "tbody", "tr", "td", "pre", "thead", "th"}


def test_a_report_before_the_fit_never_looks_like_a_failed_check() -> None:
    for name in SPECS:
        lines = spec(name).audit(full=True).lines
        assert "not_assessed" not in {line.tag for line in lines}
        waiting = [line for line in lines if line.section in ("Effective Covariance", "Optimizer", "Inference")]
        assert {(line.tag, line.detail) for line in waiting} == {("info", "not applicable before fitting")}


def tags(model: Any, label: str) -> set[Tag]:
    return {line.tag for line in model.audit(full=True).lines if line.label == label}


def test_tags_follow_the_facts() -> None:
    assert tags(spec("sleepstudy"), "rank") == {"ok"}
    assert tags(spec("aliased"), "rank") == tags(spec("aliased"), "aliased columns") == {"warning"}
    assert tags(spec("empty cells"), "empty cells") == {"warning"}
    assert tags(spec("disconnected"), "connected parts") == {"warning"}
    assert tags(spec("unmodelled"), "unit without a term: subject") == {"warning"}
    assert tags(spec("sleepstudy"), "Days by Subject") == {"ok"}
    assert tags(fitted("sleepstudy"), "verdict") == tags(fitted("sleepstudy"), "status") == {"ok"}
    assert tags(fitted("reduced"), "status") == {"ok"}
    assert tags(fitted(STOPPED), "verdict") == tags(fitted(STOPPED), "status") == {"error"}
    assert "error" in {line.tag for line in fitted(STOPPED).audit().lines}


def test_long_lists_of_names_are_cut_short() -> None:
    data = grouped().with_columns(**{f"other{k}": pl.col("g") for k in range(40)})
    (line,) = [each for each in mf.compile_model("y ~ x + (1 | g)", data).audit(full=True).lines
               if each.label == "columns examined"]
    assert len(line.data) == 20
    assert line.detail.endswith(", ...")


def test_what_needs_rows_is_not_checked_without_them() -> None:
    after = fitted(BATCHES)
    assert tags(after, "rank") == tags(after, "aliased columns") == tags(after, "empty cells") == {"not_assessed"}
    assert tags(after, "x by g") == tags(after, "policy on r0") == {"info"}
    assert "support:    not assessable; 12 levels\n" in after.explain_model().text


def test_the_hash_names_the_audited_artifact() -> None:
    for model in (spec("sleepstudy"), fitted("sleepstudy")):
        report = model.audit().artifact
        assert report.subject == model.artifact.NAME
        assert report.subject_sha256 == hashlib.sha256(model.artifact.model_dump_json().encode()).hexdigest()


def test_lines_of_a_fit_point_at_its_compiled_model() -> None:
    before, after = spec("sleepstudy").audit(full=True), fitted("sleepstudy").audit(full=True)
    sources = {line.source for line in after.lines}
    shared = [line for line in before.lines if line.section in ("Requested Model", "Fixed Effects", "Random Effects")]
    assert {f"/compiled{line.source}" for line in shared} <= sources


def test_trace_takes_a_line_or_its_index() -> None:
    report = spec("sleepstudy").audit()
    assert report.trace(0) == report.trace(report.lines[0]) == "Reaction ~ Days + (Days | Subject)"
    with pytest.raises(IndexError):
        report.trace(len(report.lines))


def test_text_between_values_has_no_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a line says besides its data cannot be a number."""
    written: list[str] = []
    add = Lines.add

    def watched(self: Lines, section: Section, label: str, tag: Tag, source: str, *parts: Any) -> None:
        written.extend(p for part in parts if isinstance(part, str) for p in split(part) if isinstance(p, str))
        add(self, section, label, tag, source, *parts)

    monkeypatch.setattr(Lines, "add", watched)
    for kind, name in CASES:
        subject(kind, name).audit(full=True)
    assert written
    assert not [text for text in written if re.search(r"\d", text)]


def test_pointers_of_the_standard() -> None:
    """The examples of RFC 6901, section 5."""
    document = {"foo": ["bar", "baz"], "": 0, "a/b": 1, "c%d": 2, "e^f": 3, "g|h": 4, "i\\j": 5, 'k"l': 6, " ": 7, "m~n": 8}
    pointers = {"": document, "/foo": ["bar", "baz"], "/foo/0": "bar", "/": 0, "/a~1b": 1, "/c%d": 2, "/e^f": 3, "/g|h": 4,
                "/i\\j": 5, '/k"l': 6, "/ ": 7, "/m~0n": 8}
    for pointer, value in pointers.items():
        assert resolve(document, pointer) == value
    for key, value in document.items():
        assert resolve(document, f"/{escape(key)}") == value
    for nowhere in ("foo", "/foo/2", "/foo/-1", "/foo/bar", "/foo/²", "/none", "/foo/0/0"):
        with pytest.raises(KeyError):
            resolve(document, nowhere)


def test_explanation_has_the_cards() -> None:
    text = str(spec("sleepstudy").explain_model())
    for row in ("Formula: Reaction ~ 1 + Days + (1 + Days | Subject)", "r0:", "wrote:      (Days | Subject)",
                "canonical:  (1 + Days | Subject)",
                'named form: re(group = Subject, intercept = TRUE, slopes = Days, cov = "full")',
                "theta parameters: 3", "18 levels; rows per level: at least 10, median 10",
                "variation:  (Intercept)=constant, Days=present"):
        assert row in text, row
    assert "Covariance that the fit supports" not in text
    assert "(1 + Days | Subject): supported rank 2 of 2" in str(fitted("sleepstudy").explain_model())


GLOSSES = [
    ("(1 | g)", "every level of g has a baseline of its own", "one variance"),
    ("(x | g)", "every level of g has a baseline and a slope of its own for x; the model estimates how the two vary together",
     "a correlation for each pair"),
    ("(x + z | g)", "effects of its own for x and z; the model estimates how they vary together",
     "a correlation for each pair"),
    ("diag(1 + x | g)", "a slope of its own for x; the deviations are taken to be independent", "no correlations"),
    ("(0 + x | g)", "the slope for x differs between the levels of g, which share one baseline", "one variance"),
    ("(0 + x + z | g)", "the effects of x and z differ between the levels of g, without a separate baseline; the model",
     "a correlation for each pair"),
]


@pytest.mark.parametrize(("term", "gloss", "story"), GLOSSES)
def test_cards_say_what_varies(term: str, gloss: str, story: str) -> None:
    data = grouped().with_columns(z=pl.col("x").shuffle(seed=1))
    (card,) = mf.compile_model(f"y ~ x + {term}", data).explain_model().cards
    assert gloss in card.block.english
    assert story in card.covariance_story.summary


def test_separate_blocks_are_related_pair_by_pair() -> None:
    data = grouped().with_columns(z=pl.col("x").shuffle(seed=1))
    explained = mf.compile_model("y ~ x + (1 | g) + (0 + x + z | g)", data).explain_model()
    assert len(explained.cross_card_constraints) == 2
    assert "g has 2 separate random-effect blocks" in explained.text
    for other in ("x", "z"):
        assert f"r0 <-> r1 ((Intercept) <-> {other})" in explained.text
    first, second = explained.cards
    assert any("z of r1" in text for text in first.covariance_story.assumptions)
    assert any("(Intercept) of r0" in text for text in second.covariance_story.assumptions)


def test_explanation_of_a_fit_names_what_it_does_not_support() -> None:
    text = fitted("reduced").explain_model().text
    assert "supported rank 1 of 2" in text
    assert "without support in this fit PC2" in text
    assert "Notes on the fit" in text


def test_options_are_numbered_and_marked_as_not_applied() -> None:
    text = spec("aliased").explain_model().text
    assert "fixed_effect_rank_deficient: the 3 fixed-effect columns have rank 2" in text
    assert "possibilities, none of them applied:\n    1. " in text


VERBS = ("audit", "explain_model", "random_blocks", "compare_covariance", "roles", "changes", "parameterization",
         "diagnostics", "reproducibility")


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_no_verb_gives_advice(kind: str, name: str) -> None:
    model = subject(kind, name)
    shown = [getattr(model, verb)() for verb in VERBS]
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=10_000, tbl_width_chars=20_000, fmt_table_cell_list_len=-1):
        text = "\n".join([*map(str, shown), str(model.audit(full=True)), repr(model)]).lower()
    assert not ADVICE.search(text), ADVICE.search(text)
    assert not re.search(r"try [^.\n]* instead", text)
    for record in (*model.artifact.diagnostics, *getattr(model.artifact, "compiled", model.artifact).diagnostics):
        assert len(record.options) != 1


def test_names_from_the_data_are_escaped() -> None:
    for model in (spec("hostile"), fitted("hostile")):
        for shown in (model.audit(full=True), model.explain_model(), model):
            assert_harmless(shown._repr_html_())
        assert "x</td>" in str(model.audit())
    assert isinstance(fitted("hostile").artifact, FitArtifact)


def test_a_compiled_model_shows_itself() -> None:
    text = repr(spec("sleepstudy"))
    assert "(Intercept), Days by Subject (18 levels), written (Days | Subject): full covariance, 3 parameters" in text
    assert "fixed_effect_rank_deficient: " in repr(spec("aliased"))
    assert "To be fitted: " in repr(spec("design_compiled"))


LABELLED = {"evidence", "inference_consequence", "reason", "reason_code", "reliability_reason", "expansion_kind"}


def labels_of(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {v for k, v in value.items() if k in LABELLED and isinstance(v, str)}
        return own.union(*(labels_of(v) for v in value.values()))
    return set().union(*map(labels_of, value)) if isinstance(value, list) else set()


def test_labels_of_artifacts_read_as_words() -> None:
    """A label is words joined by underscores, and no report prints the underscores."""
    for kind, name in CASES:
        document = json.loads(subject(kind, name).artifact.model_dump_json())
        told = ("certificate", "fixed_effects", "inference_routes")
        for label in labels_of({key: document[key] for key in document if key not in told}):
            assert re.fullmatch(r"[a-z]+(_[a-z]+)*|", label), (name, label)
            assert "_" not in words(label)
