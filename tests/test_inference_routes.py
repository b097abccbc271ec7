"""The resolver: what a fit's options promise is what its verbs do, for every fit; refusals are rows with reasons."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, InferenceUnavailable, MixeffNotice
from mixeff_fast.inference.routes import PREFLIGHTS, REQUESTS, Facts, options, preflight, resolve
from mixeff_fast.models.subject import InferenceSubject
from mixeff_fast.report.wording import words
from mixeff_fast.vocabulary import InferenceRequest
from tests import inference_references
from tests.golden_models import GOLDEN, golden_fit
from tests.test_audit import BATCHES, STOPPED
from tests.test_audit import SPECS as AUDITED
from tests.test_audit import fitted as audited
from tests.test_messages import ADVICE

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
ROOT = Path(__file__).resolve().parent.parent


def grouped(**columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(15), 8)
    x = rng.normal(size=120)
    y = 1.0 + x + rng.normal(size=15)[g] + rng.normal(size=120)
    data = pl.DataFrame({"y": y, "x": x, "f": [f"f{i % 3}" for i in range(120)], "g": [f"g{i:02d}" for i in g]})
    return data.with_columns(**columns)


def uncertified() -> mf.LinearMixedModel:
    data = grouped()
    return mf.compile_model("y ~ x * f + (1 | g)", data).prepare().refit(data["y"], certify=False)


MADE: dict[str, Callable[[], Any]] = {
    "predictive": lambda: mf.lmm("y ~ x + (1 | g)", grouped(), intent="predictive"),
    "exact": lambda: mf.lmm("y ~ x + (1 | g)", grouped(y=2.0 * pl.col("x"))),
    "uncertified": uncertified,
    "no fixed effects": lambda: mf.lmm("y ~ 0 + (1 | g)", grouped()),
    "no intercept": lambda: mf.lmm("y ~ 0 + f + x:f + (1 | g)", grouped()),
    "basis": lambda: mf.lmm("y ~ poly(x, 2) * f + (1 | g)", grouped()),
    "little memory": lambda: mf.lmm("y ~ x * f + (x * f | g)", grouped(), control=mf.control(memory_limit=30_000)),
}
CBPP = "cbind(incidence, size - incidence) ~ period + (1 | herd)"
TICKS = "TICKS ~ YEAR * cHEIGHT + (1 | BROOD)"


def cattle(**settings: Any) -> mf.GeneralizedLinearMixedModel:
    return mf.glmm(CBPP, mf.datasets.load("cbpp"), "binomial", **settings)


def ticks(formula: str = TICKS, **settings: Any) -> mf.GeneralizedLinearMixedModel:
    return mf.glmm(formula, mf.datasets.load("grouseticks"), settings.pop("family", "poisson"), **settings)


def counted(**settings: Any) -> mf.GeneralizedLinearMixedModel:
    """Counts that do not vary with the groups."""
    data = grouped(k=pl.Series(np.random.default_rng(1).poisson(3.0, 120)))
    return mf.glmm("k ~ x * f + (1 | g)", data, "poisson", **settings)


GENERALIZED: dict[str, Callable[[], mf.GeneralizedLinearMixedModel]] = {
    "binomial": cattle,
    "quadrature": lambda: cattle(n_agq=5),
    "profiled": lambda: cattle(method="pirls_profiled"),
    "unasked": lambda: cattle(inference="none"),
    "one term": lambda: cattle(intent="predictive"),
    "profiled exploratory": lambda: cattle(method="pirls_profiled", intent="exploratory"),
    "poisson": ticks,
    "negative binomial": lambda: ticks("TICKS ~ YEAR + cHEIGHT + (1 | BROOD)", family=mf.negative_binomial()),
    "gamma": lambda: mf.glmm("a ~ x + f + (1 | g)", grouped(a=pl.col("y").exp()), mf.gamma("log")),
    "zero variance": counted,
    "aliased": lambda: mf.glmm("k ~ x + twice + f + (1 | g)",
                               grouped(k=pl.Series(np.arange(120) % 5), twice=2.0 * pl.col("x")), "poisson"),
    "separated": lambda: mf.glmm("s ~ f + (1 | g)", grouped(s=(pl.col("f") == "f1") | (pl.col("y") > 1.0)), "binomial"),
    "stopped": lambda: ticks(control=mf.control(max_evaluations=2)),
}
MADE |= {f"generalized {name}": make for name, make in GENERALIZED.items()}
CASES = [*(f"reference {name}" for name in inference_references.inference_references()), *(f"golden {name}" for name in GOLDEN),
         *(f"audited {name}" for name in (*AUDITED, BATCHES, STOPPED) if name not in GOLDEN), *MADE]


@cache
def fit_of(case: str) -> Any:
    kind, _, name = case.partition(" ")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        if case in MADE:
            return MADE[case]()
        if kind == "reference":
            return inference_references.fitted(name)
        return golden_fit(name) if kind == "golden" else audited(name)


@pytest.mark.parametrize("case", CASES)
def test_what_the_options_promise_is_what_the_verbs_do(case: str) -> None:
    fit = fit_of(case)
    fit.__dict__.pop("_kept_inference_subject", None)
    routes = {route.method: route for route in fit.inference_options().artifact.routes}
    assert list(routes) == list(PREFLIGHTS)
    known = np.flatnonzero(~fit.result.aliased)
    for method in ("asymptotic", "satterthwaite", "kenward_roger", "bootstrap", "bootstrap_lrt", "cluster_bootstrap"):
        route = routes[method]
        rows = [fit.inference_table(method).artifact.rows[j] for j in known]
        for row in rows:
            assert (row.status, row.reason_code) == (route.status, route.reason_code), (method, row.label)
            if row.status == "available" and row.reliability_reason != "few_degrees_of_freedom":
                assert (row.reliability, row.reliability_reason) == (route.reliability, route.reliability_reason)
    for row in (fit.inference_table().artifact.rows[j] for j in known):
        taken = next(route for route in routes.values() if route.auto)
        assert (row.status, row.reason_code) == (taken.status, taken.reason_code)
        if row.status == "available":
            assert row.method == taken.route


@pytest.mark.parametrize("case", CASES)
def test_what_the_options_of_a_term_promise_is_what_its_test_does(case: str) -> None:
    fit = fit_of(case)
    for term in fit.spec.compiled.fixed.labels[-2:]:
        found = fit.inference_options(term).artifact
        for route in found.routes:
            row = fit.test_effect(term, method=route.method).row
            assert (row.status, row.reason_code) == (route.status, route.reason_code), (term, route.method)
            if route.method == "satterthwaite":
                assert found.estimability == row.estimability


@pytest.mark.parametrize("case", CASES)
def test_every_row_keeps_the_rules(case: str) -> None:
    fit = fit_of(case)
    rows = []
    for method in REQUESTS:
        rows += fit.inference_table(method).artifact.rows
        rows += [term.row for term in fit.anova(method=method).artifact.terms]
        if len(fit.coef_names) > 1:
            contrasts = fit.contrast(np.eye(len(fit.coef_names))[:2], rhs=[0, 1], method=method)
            rows += contrasts.artifact.rows
            rows += [contrasts.joint]
    for row in rows:
        assert (row.p_value is not None) == (row.status == "available") == (row.log_p_value is not None)
        assert (row.reason_code is None) == (row.status == "available") == (row.reason == "")
        assert (row.reliability_reason is not None) == (row.status == "available")
        assert (row.reliability == "not_available") == (row.status != "available")
        assert (row.method == "not_computed") == (row.status != "available")
        assert (row.statistic is not None) == (row.status == "available") == (row.statistic_name is not None)
        assert row.status != "not_estimable" or row.estimate is None
        assert row.requested_method in REQUESTS
        if row.p_value is not None:
            assert 0.0 < row.p_value <= 1.0
            assert row.p_value == pytest.approx(np.exp(row.log_p_value), rel=1e-9, abs=1e-300)
            assert (row.denominator_df is None) == (row.statistic_name in ("z", "chi_square"))


@pytest.mark.parametrize("case", CASES)
def test_what_is_printed_names_reasons_and_gives_no_advice(case: str) -> None:
    fit = fit_of(case)
    p = len(fit.coef_names)
    shown = [fit.summary(), fit.inference_table(), fit.inference_table("kenward_roger"), fit.inference_table("bootstrap"),
             fit.anova(), fit.anova(1, "asymptotic"), fit.inference_options(), fit.estimability(), fit.audit(full=True)]
    if p:
        shown += [fit.contrast(np.eye(p)), fit.df_for_contrast(np.eye(p)), fit.lincomb(np.eye(p)[0])]
    text = "\n".join(map(str, shown)).lower()
    assert not ADVICE.search(text), ADVICE.search(text)
    assert not re.search(r"\bnan\b", text.replace("nan value", ""))
    for row in fit.inference_table("bootstrap").artifact.rows:
        assert row.reason in str(fit.inference_table("bootstrap"))


@pytest.mark.parametrize("case", CASES)
def test_the_artifact_has_the_preflights_and_the_audit_reads_them(case: str) -> None:
    fit = fit_of(case)
    fit.__dict__.pop("_kept_inference_subject", None)
    asked = fit.inference_options(nsim=1).artifact.routes
    assert fit.artifact.inference_routes == asked
    lines = [line for line in fit.audit(full=True).lines if line.source.startswith("/inference_routes/")]
    assert [line.label for line in lines] == [f"route {words(route.method)}" for route in asked]
    for line, route in zip(lines, asked, strict=True):
        assert line.data["status"] == route.status
        assert (line.tag == "ok") == (route.status == "available")


# ---- what auto means


def test_auto_is_satterthwaite_everywhere() -> None:
    fit = fit_of("basis")
    term = "f"
    tables = [fit.inference_table(), fit.summary(), fit.contrast(np.eye(9)), fit.df_for_contrast(np.eye(9)),
              fit.lincomb({"(Intercept)": 1}), fit.test_effect(term), fit.anova()]
    for table in tables:
        assert set(table.table["method"]) == {"satterthwaite"}
    assert fit.inference_table().artifact.rows[0].requested_method == "auto"


def facts(**changes: Any) -> Facts:
    known: dict[str, Any] = {
        "gaussian": True, "status": "converged_interior", "held": 0, "withheld": None, "rows_in_memory": True, "free": 1,
        "differences": 4, "evaluations": 8, "flops": 1e3, "kenward_roger": (1e3, 1e3), "memory_limit": 1e9,
    }
    return Facts(**(known | changes))


def test_auto_falls_back_to_wald_and_says_why() -> None:
    broken = facts(failed=(("satterthwaite", "satterthwaite_derivatives_not_finite"),))
    found = resolve("auto", broken)
    assert (found.route.method, found.notes) == ("asymptotic", ("satterthwaite_derivatives_not_finite",))
    assert resolve("satterthwaite", broken).route.status == "not_assessed"


def test_a_route_that_fails_is_passed_over_by_auto_and_refused_by_name() -> None:
    fit = mf.lmm("y ~ x * f + (1 | g)", grouped())

    def fails() -> Any:
        raise InferenceUnavailable("flat", reason_code="satterthwaite_hessian_not_positive_definite")

    subject: InferenceSubject = fit._inference_subject()
    subject._make["satterthwaite"] = fails
    for result in (fit.inference_table(), fit.contrast(np.eye(6)), fit.anova(), fit.test_effect("f")):
        rows = getattr(result.artifact, "rows", None) or [term.row for term in result.artifact.terms]
        for row in rows:
            assert (row.status, row.reliability, row.reliability_reason) == ("available", "low", "asymptotic_wald_z_fallback")
            assert row.notes == (words("satterthwaite_hessian_not_positive_definite"),)
            assert row.method in ("asymptotic_wald_z", "asymptotic_wald_chi_square")
        assert words("satterthwaite_hessian_not_positive_definite") in str(result)
    refused = fit.inference_table("satterthwaite").artifact.rows[0]
    assert (refused.status, refused.reason_code) == ("not_assessed", "satterthwaite_hessian_not_positive_definite")
    route = {r.method: r for r in fit.inference_options().artifact.routes}["satterthwaite"]
    assert (route.status, route.reason_code) == (refused.status, refused.reason_code)


def test_a_generalized_model_has_wald_and_the_likelihood_ratio() -> None:
    known = {route.method: route for route in options(facts(gaussian=False), 10)}
    assert [method for method, route in known.items() if route.available] == ["asymptotic", "likelihood_ratio"]
    assert known["satterthwaite"].reason_code == "satterthwaite_needs_gaussian_errors"
    assert known["kenward_roger"].reason_code == "kenward_roger_needs_gaussian_errors"
    found = resolve("auto", facts(gaussian=False))
    assert (found.route.method, found.route.reliability, found.notes) == ("asymptotic", "moderate", ())


def test_at_a_boundary_zeros_are_known_and_rows_say_so() -> None:
    fit = fit_of("reference zero_slope_double_bar")
    for method in ("satterthwaite", "kenward_roger"):
        row = fit.inference_table(method).artifact.rows[1]
        assert (row.status, row.reliability, row.reliability_reason) == ("available", "low", f"{method}_boundary_fixed")
    assert "taken as known" in str(fit.summary())


def test_policy_comes_before_everything() -> None:
    for case, code in (("predictive", "predictive_intent"), ("golden exploratory", "exploratory_intent"),
                       ("exact", "exact_fit"), (f"audited {STOPPED}", "fit_not_optimized")):
        fit = fit_of(case)
        for method in ("auto", "asymptotic", "satterthwaite", "kenward_roger", "likelihood_ratio"):
            row = fit.test_effect(fit.spec.compiled.fixed.labels[0], method=method).row
            assert (row.status, row.reason_code) == ("p_value_unavailable", code), (case, method)


def test_costs_are_those_of_the_payloads() -> None:
    fit = fit_of("reference trial_slopes")
    routes = {route.method: route for route in fit.inference_options().artifact.routes}
    subject = fit._inference_subject()
    for method in ("satterthwaite", "kenward_roger"):
        assert subject.payload(method).evaluations == routes[method].evaluations
    assert fit.inference_options(nsim=7).artifact.routes[4].refits == 7
    assert preflight("kenward_roger", facts(memory_limit=10.0)).reason_code == "kenward_roger_memory_limit"
    limited = {route.method: route.reason_code for route in fit_of("little memory").inference_options().artifact.routes}
    assert limited["kenward_roger"] == "kenward_roger_memory_limit"


def test_a_payload_is_computed_once() -> None:
    fit = mf.lmm("y ~ x * f + (1 | g)", grouped())
    subject = fit._inference_subject()
    fit.inference_table("kenward_roger")
    first = subject.payload("kenward_roger")
    fit.anova(method="kenward_roger")
    assert fit._inference_subject().payload("kenward_roger") is first


def test_a_row_for_which_a_route_finds_no_answer_keeps_its_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    from mixeff_fast.inference import kenward_roger

    def fails(*_: Any) -> Any:
        raise InferenceUnavailable("no F", reason_code="kenward_roger_df_not_positive")

    monkeypatch.setattr(kenward_roger, "_degrees_and_scale", fails)
    monkeypatch.setattr(kenward_roger, "spreads", lambda _, rows: (np.full(len(rows), np.nan), np.full(len(rows), np.nan)))
    model = mf.lmm("y ~ x * f + (1 | g)", grouped())
    found = model.contrast(np.eye(6)[:2], method="kenward_roger")
    assert found.joint is not None
    joint = found.joint
    assert (joint.status, joint.reason_code, joint.p_value) == ("not_assessed", "kenward_roger_df_not_positive", None)
    for row in found.artifact.rows:
        assert (row.status, row.reason_code, row.p_value) == ("not_assessed", "contrast_rank_zero", None)
    assert [row.estimate for row in found.artifact.rows] == model.beta[:2].tolist()


# ---- arguments


def fit() -> Any:
    return fit_of("reference trial_slopes")


BAD: list[tuple[Callable[[], Any], str]] = [
    (lambda: fit().inference_table("wald"), "method"),
    (lambda: fit().inference_table(None), "method"),  # type: ignore[arg-type]
    (lambda: fit().summary("t"), "method"),  # type: ignore[arg-type]
    (lambda: fit().contrast({"weeks": 1}), "L"),
    (lambda: fit().contrast({}), "L"),
    (lambda: fit().contrast([]), "L"),
    (lambda: fit().contrast([1, 2]), "L"),
    (lambda: fit().contrast(np.zeros(7)), "L"),
    (lambda: fit().contrast(np.full(7, np.nan)), "L"),
    (lambda: fit().contrast("week"), "L"),
    (lambda: fit().contrast({"week": True}), "L"),
    (lambda: fit().contrast({"week": "1"}), "L"),
    (lambda: fit().contrast(np.ones((2, 2, 7))), "L"),
    (lambda: fit().contrast([[1.0], [1.0, 2.0]]), "L"),
    (lambda: fit().contrast({"week": 1}, rhs=[1, 2]), "rhs"),
    (lambda: fit().contrast({"week": 1}, rhs="1"), "rhs"),
    (lambda: fit().contrast({"week": 1}, rhs=np.inf), "rhs"),
    (lambda: fit().lincomb(np.eye(7)), "weights"),
    (lambda: fit().lincomb({"week": 1}, level=1.0), "level"),
    (lambda: fit().lincomb({"week": 1}, level=True), "level"),
    (lambda: fit().test_effect("weeks"), "term"),
    (lambda: fit().test_effect(3), "term"),  # type: ignore[arg-type]
    (lambda: fit().anova(4), "type"),
    (lambda: fit().anova("IV"), "type"),
    (lambda: fit().anova(True), "type"),
    (lambda: fit().anova(2.0), "type"),  # type: ignore[arg-type]
    (lambda: fit().drop1("week"), "scope"),
    (lambda: fit().drop1(["nothing"]), "scope"),
    (lambda: fit().drop1(test="F"), "test"),  # type: ignore[arg-type]
    (lambda: fit().drop1(refit_for_comparison="never"), "refit_for_comparison"),  # type: ignore[arg-type]
    (lambda: fit().inference_options("nothing"), "term"),
    (lambda: fit().inference_options(nsim=0), "nsim"),
    (lambda: fit().inference_options(nsim=True), "nsim"),
]


@pytest.mark.parametrize(("call", "argument"), BAD, ids=range(len(BAD)))
def test_arguments_that_are_refused(call: Callable[[], Any], argument: str) -> None:
    with pytest.raises(ArgumentError) as refused:
        call()
    assert refused.value.argument == argument


def test_a_misspelt_coefficient_is_answered_with_those_that_are_close() -> None:
    with pytest.raises(ArgumentError, match="week") as refused:
        fit().contrast({"weeek": 1})
    assert refused.value.suggestions == {"weeek": ["week"]}


def test_right_hand_sides_that_contradict_each_other_are_refused_rows() -> None:
    L = np.eye(7)[[3, 3]]
    for method in ("asymptotic", "satterthwaite", "kenward_roger"):
        joint = fit().contrast(L, rhs=[0, 1], method=method).joint
        assert joint is not None
        assert (joint.status, joint.reason_code) == ("not_assessed", "contrast_rhs_inconsistent")


def test_a_likelihood_ratio_needs_a_smaller_model() -> None:
    assert {row.reason_code for row in fit().inference_table("likelihood_ratio").artifact.rows} == {
        "likelihood_ratio_takes_a_term"}
    margin = fit().test_effect("week", method="likelihood_ratio").row
    assert (margin.status, margin.reason_code) == ("unsupported", "term_is_margin_of_another")
    rowless = fit_of(f"audited {BATCHES}")
    assert rowless.test_effect("x", method="likelihood_ratio").row.reason_code == "rows_not_in_memory"
    with pytest.raises(InferenceUnavailable):
        rowless.drop1()


def test_every_argument_changes_something() -> None:
    model = fit()
    names = list(model.coef_names)
    L = {"week": 1}
    for method in get_args(InferenceRequest):
        tables = [model.inference_table(method), model.summary(method), model.contrast(L, method=method),
                  model.df_for_contrast(L, method), model.lincomb(L, method=method), model.anova(method=method)]
        for table in tables[:1] + tables[2:]:
            assert set(table.table["method"]) | set(table.table["reason_code"])
        assert model.contrast(L, method=method).artifact.requested_method == method
        assert model.anova(method=method).artifact.requested_method == method
    assert model.contrast(L, rhs=2).table["estimate"][0] == pytest.approx(model.contrast(L).table["estimate"][0] - 2)
    narrow, wide = (model.lincomb(L, level=level).table.row(0, named=True) for level in (0.5, 0.99))
    assert wide["lower"] < narrow["lower"] < narrow["estimate"] < narrow["upper"] < wide["upper"]
    assert model.lincomb(L).artifact == model.lincomb(L, method="auto").artifact
    assert [model.anova(kind).artifact.type for kind in (1, "II", "III", "2")] == [1, 2, 3, 2]
    assert model.anova(1).table["statistic"].to_list() != model.anova(3).table["statistic"].to_list()
    assert model.drop1("arm:week").table["term"].to_list() == [None, "arm:week"]
    assert model.test_effect("week:arm").row.label == "arm:week"
    assert model.drop1().artifact.refitted
    unfitted = model.drop1(test="lrt", refit_for_comparison="error")
    assert not unfitted.artifact.refitted
    assert unfitted.table["aic"].to_list() == [None] * 3
    assert {term.row.reason_code for term in unfitted.artifact.terms[1:] if term.row} == {"ml_refit_required"}
    assert model.drop1(refit_for_comparison="ml").table["aic"].to_list() == model.drop1().table["aic"].to_list()
    assert model.inference_options("week").artifact.term == "week"
    assert model.estimability(L).table.height == 1
    assert model.estimability().table["label"].to_list() == names


def test_the_order_of_names_and_the_ways_to_write_a_contrast_do_not_matter() -> None:
    model = fit()
    row = [0.0, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0]
    ways = [row, np.array(row), [row], {"armlow:week": 0.5, "week": 1}, [{"week": 1.0, "armlow:week": 0.5}],
            pl.Series(row).to_numpy(), tuple(row)]
    tables = [model.contrast(way).table for way in ways]
    assert all(table.equals(tables[0]) for table in tables)
    assert tables[0]["label"][0] == "week + 0.5 armlow:week"
    assert model.contrast(np.ones((2, 7))).table["label"].to_list() == ["row 1", "row 2"]
    assert model.contrast([row, row]).table["label"].to_list() == ["week + 0.5 armlow:week [1]", "week + 0.5 armlow:week [2]"]


def test_every_reason_of_a_row_is_on_the_page_of_errors_and_in_words() -> None:
    """Codes in the sources of the rooms that make rows."""
    page = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").split("## Reason codes of inference rows\n")[1]
    listed = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)`", page.split("\n## ")[0]))
    folder = ROOT / "mixeff_fast"
    rooms = ("routes", "rows", "restrictions", "satterthwaite", "kenward_roger")
    sources = [folder / "inference" / f"{name}.py" for name in rooms]
    sources += [folder / "models" / f"{name}.py" for name in ("drop", "inference_records", "inference_options")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    codes = set(re.findall(r'(?:reason_code|code)\s*=\s*"([a-z_]+)"', text)) | set(re.findall(
        r'"((?:[a-z]+_)+(?:unavailable|errors|limit|requested|effects|term|intent|optimized|identifiable|memory))"', text))
    # an estimand, statuses of fits and of rows, and what a fit that reached an optimum does not say
    unknown = codes - listed - {"fixed_term", "not_optimized", "not_identifiable", "fixed_effect_covariance_unavailable",
                                "p_value_unavailable"}
    assert sorted(unknown) == []
    for code in listed - {"p_value_unavailable"}:
        assert words(code) != code


def test_smaller_models_are_of_the_same_rows() -> None:
    """Also of rows that were left out for what only the dropped term reads, and with weights and offset."""
    gaps = grouped().with_columns(x=pl.when(pl.int_range(pl.len()) % 9 == 0).then(None).otherwise("x"), w=pl.lit(2.0),
                                  o=pl.int_range(pl.len()) % 3)
    for reml in (True, False):
        model = mf.lmm("y ~ x + f + (1 | g)", gaps, na_action="omit", weights="w", offset="o", reml=reml)
        kept = gaps.drop_nulls()
        direct = mf.lmm("y ~ f + (1 | g)", kept, weights="w", offset="o", reml=False)
        row = model.drop1(test="lrt").table.row(1, named=True)
        assert (row["term"], row["npar"]) == ("x", direct.n_parameters)
        assert row["loglik"] == pytest.approx(direct.loglik, rel=1e-9)
