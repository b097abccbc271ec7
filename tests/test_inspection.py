"""The verbs that read an artifact: what their tables hold, what their arguments do, and what they refuse."""

from __future__ import annotations

import json
import re
import warnings
from typing import Any, get_args

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, DataError, InferenceUnavailable
from mixeff_fast.schemas.diagnostics import Severity, Stage
from tests.golden_models import golden_fit, golden_spec
from tests.public_verbs import differences, public_values

pytestmark = pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
KEYS = ["punt", "slope_only", "split_uncorrelated", "double_bar_synonym", "full"]
FIVE = ["(1 | Subject)", "(0 + Days | Subject)", "(1 | Subject) + (0 + Days | Subject)", "(1 + Days || Subject)",
        "(1 + Days | Subject)"]


def data() -> pl.DataFrame:
    """sleepstudy with a second factor, another predictor and a factor to vary."""
    rows = range(180)
    return mf.datasets.load("sleepstudy").with_columns(
        h=pl.Series([f"h{i % 7}" for i in rows]),
        z=pl.Series([float(i * 7 % 5) for i in rows]),
        f=pl.Series([f"f{i % 3}" for i in rows]),
        site=pl.Series([f"s{i // 30}" for i in rows]),
    )


def options(formula: str, group: str = "Subject", slope: str | None = None, **arguments: Any) -> pl.DataFrame:
    return mf.compile_model(formula, data(), **arguments).random_options(group, slope).table


def current(formula: str, group: str = "Subject", slope: str | None = None) -> list[str]:
    return options(formula, group, slope).filter("current")["key"].to_list()


def test_the_five_candidates_come_in_their_order() -> None:
    table = options("Reaction ~ Days + (Days | Subject)")
    assert table.columns == ["key", "formula", "varying_coefficients", "covariance_family", "theta_parameters",
                             "design_status", "reason_code", "plain_meaning", "note", "current"]
    assert table["key"].to_list() == KEYS
    assert table["formula"].to_list() == [f"Reaction ~ 1 + Days + {bars}" for bars in FIVE]
    assert table["theta_parameters"].to_list() == [1, 1, 2, 2, 3]
    assert table["covariance_family"].to_list() == ["scalar", "scalar", "diagonal", "diagonal", "full"]
    assert table["varying_coefficients"].to_list() == [["(Intercept)"], ["Days"], *[["(Intercept)", "Days"]] * 3]
    assert table["reason_code"].null_count() == 5


@pytest.mark.parametrize(
    ("formula", "kept"),
    [
        ("Reaction ~ 0 + Days + (Days | Subject) + (1 | h)", "Reaction ~ 0 + Days + {} + (1 | h)"),
        ("Reaction ~ Days + (1 + z || h) + (Days || Subject) + offset(z)",
         "Reaction ~ 1 + Days + offset(z) + (1 + z || h) + {}"),
        ("log(Reaction) ~ Days * f + (1 | h) + diag(1 + Days | Subject)",
         "log(Reaction) ~ 1 + Days + f + Days:f + (1 | h) + {}"),
        ("Reaction ~ Days + (0 + z | Subject) + (1 | h)", "Reaction ~ 1 + Days + (0 + z | Subject) + (1 | h) + {}"),
        ("Reaction ~ Days + (Days + z | Subject) + (1 | h)", "Reaction ~ 1 + Days + {} + (0 + z | Subject) + (1 | h)"),
        ("Reaction ~ Days + (Days + z || Subject)", "Reaction ~ 1 + Days + {} + (0 + z | Subject)"),
    ],
)
def test_the_rest_of_the_formula_stays(formula: str, kept: str) -> None:
    assert options(formula, slope="Days")["formula"].to_list() == [kept.format(bars) for bars in FIVE]


@pytest.mark.parametrize(
    ("random", "keys"),
    [
        ("(1 | Subject)", ["punt"]),
        ("(0 + Days | Subject)", ["slope_only"]),
        ("(1 | Subject) + (0 + Days | Subject)", ["split_uncorrelated", "double_bar_synonym"]),
        ("(0 + Days | Subject) + (1 | Subject)", ["split_uncorrelated", "double_bar_synonym"]),
        ("(Days || Subject)", ["split_uncorrelated", "double_bar_synonym"]),
        ("diag(Days | Subject)", ["split_uncorrelated", "double_bar_synonym"]),
        ("(Days + 1 | Subject)", ["full"]),
        ("us(1 + Days | Subject)", ["full"]),
        ("(1 + Days + z | Subject)", []),
        ("(1 | Subject) + (1 | h)", ["punt"]),
    ],
)
def test_current_is_the_candidate_that_is_the_same_model(random: str, keys: list[str]) -> None:
    assert current(f"Reaction ~ Days + {random}", slope="Days") == keys


def test_the_columns_of_a_factor_span_the_intercept() -> None:
    """``(0 + f | g)`` is ``(1 + f | g)``, and ``||`` keeps the columns of a factor together."""
    table = options("Reaction ~ f + (f | Subject)")
    assert table.filter("current")["key"].to_list() == ["slope_only", "full"]
    assert table["theta_parameters"].to_list() == [1, 6, 7, 7, 6]
    assert table["covariance_family"].to_list() == ["scalar", "full", "block_diagonal", "block_diagonal", "full"]
    assert "full" in table["note"][1]
    assert table["plain_meaning"][1] == table["plain_meaning"][4]
    fits = {key: spec.fit(reml=False) for key, spec in golden_options("f").specs.items() if key in ("slope_only", "full")}
    assert fits["full"].loglik == pytest.approx(fits["slope_only"].loglik, abs=1e-7)


def golden_options(slope: str) -> Any:
    return mf.compile_model(f"Reaction ~ {slope} + (1 | Subject)", data()).random_options("Subject", slope)


def test_split_and_double_bar_are_said_to_be_the_same_model_and_are() -> None:
    found = golden_options("Days")
    notes = dict(found.table.select("key", "note").iter_rows())
    assert "double_bar_synonym" in notes["split_uncorrelated"]
    assert "split_uncorrelated" in notes["double_bar_synonym"]
    assert notes["punt"] == notes["full"] == ""
    one, two = (found.specs[key].fit() for key in ("split_uncorrelated", "double_bar_synonym"))
    assert one.theta.tolist() == two.theta.tolist()


def test_effects_that_were_in_one_term_with_the_slope_are_said_to_be_apart() -> None:
    assert all("z" in note for note in options("Reaction ~ Days + (Days + z | Subject)", slope="Days")["note"])


def test_the_slope_is_taken_from_the_group_then_a_scope_note_then_the_fixed_part() -> None:
    def slope(formula: str, group: str = "Subject") -> str:
        return str(mf.compile_model(formula, data()).random_options(group).slope)

    assert slope("Reaction ~ z + Days + (Days | Subject)") == "Days"
    spec = mf.compile_model("Reaction ~ f + Days + (1 | Subject)", data())
    noted = [d.payload["fixed_effect"] for d in spec.artifact.diagnostics if d.code == "scope_note"]
    assert noted == ["Days"]
    assert spec.random_options("Subject").slope == "Days"
    assert slope("Reaction ~ f + (1 | Subject)") == "f"
    with pytest.raises(ArgumentError) as none:
        slope("Reaction ~ 1 + (1 | Subject)")
    assert none.value.argument == "slope"


def test_a_slope_may_be_any_term_of_the_model() -> None:
    spec = mf.compile_model("Reaction ~ log(z + 1) + Days:f + (1 | Subject)", data())
    assert "(1 + log(z + 1) | Subject)" in spec.random_options("Subject", "log(z + 1)").table["formula"][4]
    assert "(1 + Days:f | Subject)" in spec.random_options("Subject", "Days:f").table["formula"][4]
    renamed = data().rename({"z": "my column"})
    spaced = mf.compile_model("Reaction ~ `my column` + (1 | Subject)", renamed)
    assert "(1 + `my column` | Subject)" in spaced.random_options("Subject", "my column").table["formula"][4]


def test_nested_groups_are_groups() -> None:
    table = options("Reaction ~ Days + (Days | site/h)", "site:h")
    assert table["formula"][0] == "Reaction ~ 1 + Days + (1 + Days | site) + (1 | site:h)"
    assert table.filter("current")["key"].to_list() == ["full"]


@pytest.mark.parametrize(
    ("group", "slope", "error", "argument"),
    [
        ("h", None, ArgumentError, "group"),
        (None, None, ArgumentError, "group"),
        ("Subject", "z", ArgumentError, "slope"),
        ("Subject", "Reaction", ArgumentError, "slope"),
        ("Subject", 3, ArgumentError, "slope"),
    ],
)
def test_unknown_groups_and_slopes_are_refused_by_name(group: Any, slope: Any, error: type[Exception], argument: str) -> None:
    spec = mf.compile_model("Reaction ~ Days + (1 | Subject)", data())
    with pytest.raises(error) as refused:
        spec.random_options(group, slope)
    assert (refused.value.argument, refused.value.choices) == (argument, ["Subject" if argument == "group" else "Days"])


def test_a_slope_that_is_no_column_is_an_error_of_the_data() -> None:
    with pytest.raises(DataError) as refused:
        mf.compile_model("Reaction ~ Days + (1 | Subject)", data()).random_options("Subject", "Day")
    assert refused.value.missing == ["Day"]


def test_a_candidate_that_cannot_be_fitted_is_a_row() -> None:
    pairs = data().group_by("Subject", maintain_order=True).head(2)
    found = mf.compile_model("Reaction ~ Days + (1 | Subject)", pairs).random_options("Subject")
    assert found.table["design_status"].to_list()[-1] == "refused"
    assert found.table["reason_code"].to_list() == [None] * 4 + ["mm_not_identifiable"]
    assert found.table["theta_parameters"][4] == 3
    assert set(found.specs) == set(KEYS[:4])
    assert "refused (mm_not_identifiable)" in repr(found)


def test_each_candidate_is_audited_as_if_it_were_the_model() -> None:
    found = mf.compile_model("Reaction ~ Days + (1 | Subject) + (1 | h)", data()).random_options("Subject")
    for key, formula, status in found.table.select("key", "formula", "design_status").iter_rows():
        own = mf.compile_model(formula, data())
        assert found.specs[key].artifact.design_audit == own.artifact.design_audit
        assert status in {b.information_budget.status for b in own.artifact.design_audit.random_terms}


def test_options_of_a_fit_are_those_of_its_spec_and_need_rows() -> None:
    fit = mf.lmm("Reaction ~ Days + (Days | Subject)", data())
    assert fit.random_options("Subject").table.equals(fit.spec.random_options("Subject").table)
    summed = mf.sufficient_statistics("Reaction ~ Days + (Days | Subject)", data()).fit()
    with pytest.raises(InferenceUnavailable) as refused:
        summed.random_options("Subject")
    assert refused.value.reason_code == "rows_not_in_memory"


def test_options_of_a_lazy_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    formula = "Reaction ~ Days + (Days | Subject)"
    held = mf.compile_model(formula, data()).random_options("Subject").table
    assert mf.compile_model(formula, data().lazy()).random_options("Subject").table.equals(held)
    monkeypatch.setattr("mixeff_fast.models.statistics.STREAM_ROWS", 100)
    streamed = mf.compile_model(formula, data().lazy()).random_options("Subject")
    assert streamed.table.drop("design_status").equals(held.drop("design_status"))
    assert streamed.specs["full"].fit().theta.tolist() == pytest.approx(mf.lmm(formula, data()).theta.tolist(), rel=1e-8)


def test_options_repeat_no_notice() -> None:
    coerced = data().with_columns(Subject=pl.col("Subject").cast(pl.String).cast(pl.Int64))
    with pytest.warns(mf.errors.GroupingCoercionNotice):
        spec = mf.compile_model("Reaction ~ Days + (1 | Subject)", coerced)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spec.random_options("Subject")


def test_options_are_of_the_model_as_requested() -> None:
    """The intent may have made the model smaller; the candidates are compiled as they stand."""
    found = golden_spec("design_compiled").random_options("group")
    assert found.table.filter("current")["key"].to_list() == ["full"]
    assert found.specs["full"].formula == "y ~ 1 + x + (1 + x | group)"


def test_options_state_facts_and_rank_nothing() -> None:
    found = golden_options("Days")
    text = repr(found)
    assert not re.search(r"\b(best|better|recommend\w*|should|prefer\w*|instead|try)\b", text, re.IGNORECASE)
    assert text in found._repr_html_().replace("&gt;", ">").replace("&lt;", "<")
    assert all(key in text for key in KEYS)


def test_random_blocks() -> None:
    table = mf.compile_model("Reaction ~ Days + (Days || Subject) + (f | h)", data().head(177)).random_blocks()
    assert table.columns == ["term_id", "group", "basis", "covariance", "theta_parameters", "group_levels",
                             "min_rows_per_group", "median_rows_per_group", "status", "reason"]
    assert table.select("term_id", "group", "covariance", "theta_parameters", "group_levels").rows() == [
        ("r0", "Subject", "scalar", 1, 18), ("r1", "Subject", "scalar", 1, 18), ("r2", "h", "full", 6, 7),
    ]
    assert table["basis"].to_list() == [["(Intercept)"], ["Days"], ["(Intercept)", "ff1", "ff2"]]
    assert table["min_rows_per_group"].to_list()[:2] == [7, 7]


def test_medians_are_not_cut_to_whole_numbers() -> None:
    rows = data().head(15).with_columns(g=pl.Series(list("aaabbbbccccdddd")))
    counts = rows.filter(pl.col("g") != "d").vstack(rows.filter(pl.col("g") == "d").head(3))
    table = mf.compile_model("Reaction ~ 1 + (1 | g)", counts).random_blocks()
    assert table["median_rows_per_group"].to_list() == [float(np.median([3, 4, 4, 3]))] == [3.5]


def test_compare_covariance() -> None:
    found = mf.compile_model("Reaction ~ Days + (Days | Subject) + (1 | h)", data()).compare_covariance()
    assert found.table.columns == ["term_id", "group", "basis", "covariance_family", "theta_parameters", "assumes_zero",
                                   "design_status", "current"]
    assert found.table.select("term_id", "covariance_family", "theta_parameters", "current").rows() == [
        ("r0", "full", 3, True), ("r0", "diagonal", 2, False), ("r0", "scalar", 1, False),
        ("r1", "full", 1, False), ("r1", "diagonal", 1, False), ("r1", "scalar", 1, True),
    ]
    assert found.table["assumes_zero"].to_list() == [
        [], ["cov((Intercept), Days)"], ["var(Days)", "cov((Intercept), Days)"], [], [], [],
    ]
    assert [card.term_id for card in found.cards] == ["r0", "r1"]
    split = mf.compile_model("Reaction ~ Days + (Days || Subject)", data()).compare_covariance()
    assert [(c.between_cards, c.reason) for c in split.constraints] == [(("r0", "r1"), "double_bar_syntax")]


def test_roles_declared_and_observed() -> None:
    declared = mf.compile_model("Reaction ~ Days + (1 | Subject)", data(), roles=mf.roles(Subject="site")).roles()
    assert declared.columns == ["variable", "role", "origin", "group", "evidence"]
    assert ("Subject", "site", "declared_by_user") in declared.select("variable", "role", "origin").rows()
    observed = mf.compile_model("Reaction ~ Days + (1 | Subject)", data()).roles()
    assert set(observed["origin"]) == {"observed_from_data"}
    assert ("Days", "observed_within_group") in observed.select("variable", "role").rows()


def test_parameterization_before_and_after_the_fit() -> None:
    spec = golden_spec("sleepstudy")
    before, after = spec.parameterization(), golden_fit("sleepstudy").parameterization()
    assert before.table.columns == [
        "term_id", "group", "source_syntax", "covariance_family", "user_basis", "optimizer_basis", "theta_index", "theta_name",
        "theta_status", "constraint", "theta_value", "lambda_row", "lambda_col", "lambda_row_basis", "lambda_col_basis",
        "lambda_value", "varcorr_entries",
    ]
    assert before.table["constraint"].to_list() == ["lower_bound", "unconstrained", "lower_bound"]
    assert before.table["theta_value"].null_count() == 3
    theta = golden_fit("sleepstudy").theta.tolist()
    assert after.table["theta_value"].to_list() == after.table["lambda_value"].to_list() == theta
    assert after.table["theta_name"].to_list() == list(golden_fit("sleepstudy").theta_names)
    assert (len(after.traces), len(after.theta_maps)) == (3, 1)
    entries = {entry["label"] for row in after.table["varcorr_entries"].to_list() for entry in row}
    assert len(entries) == 3
    stated = golden_fit("boundary").parameterization().table
    assert stated.select("theta_status", "theta_value").rows() == [("boundary", 0.0)]


def test_diagnostics_are_filtered_and_told_once() -> None:
    fit = golden_fit("rank_deficient")
    table = fit.diagnostics()
    assert table.columns == ["code", "severity", "stage", "message", "affected_terms", "options", "payload"]
    assert table.select("code", "affected_terms", "payload").is_duplicated().sum() == 0
    assert "fixed_effect_rank_deficient" in table["code"]
    assert all(isinstance(json.loads(text), dict) for text in table["payload"])
    for name, values in (("severity", get_args(Severity)), ("stage", get_args(Stage))):
        parts = [fit.diagnostics(**{name: value}) for value in values]
        assert all(set(part[name]) <= {value} for part, value in zip(parts, values, strict=True))
        assert sum(part.height for part in parts) == table.height
        with pytest.raises(ArgumentError) as refused:
            fit.diagnostics(**{name: "grave"})
        assert refused.value.argument == name


def test_diagnostics_of_a_fit_are_those_of_its_spec_and_its_own() -> None:
    fit = golden_fit("boundary")
    own = [d.code for d in fit.artifact.diagnostics]
    assert "boundary_parameter" in own
    assert set(fit.diagnostics()["code"]) == set(own) | set(fit.spec.diagnostics()["code"])
    assert "boundary_parameter" not in fit.spec.diagnostics()["code"]


def test_the_certificate_belongs_to_a_fit() -> None:
    assert golden_fit("sleepstudy").optimizer_certificate() is golden_fit("sleepstudy").artifact.certificate
    with pytest.raises(InferenceUnavailable) as refused:
        golden_spec("sleepstudy").optimizer_certificate()
    assert refused.value.reason_code == "model_not_fitted"


def test_reproducibility_has_record_and_thresholds() -> None:
    spec, fit = golden_spec("sleepstudy"), golden_fit("sleepstudy")
    before, after = spec.reproducibility(), fit.reproducibility()
    thresholds = dict(before.table.iter_rows())
    assert thresholds == {name: float(value) for name, value in spec.artifact.thresholds.model_dump().items()}
    assert before.record["fingerprint"]["digest"] == after.record["fingerprint"]["digest"]
    assert after.record["max_evaluations"] == fit.control.max_evaluations
    assert "max_evaluations" not in before.record
    assert "package_version" in repr(after)


def test_changes_tell_a_boundary_once() -> None:
    none = golden_fit("sleepstudy").changes()
    assert (none.table.height, none.fit_status) == (0, "converged_interior")
    assert "nothing was changed" in repr(none)
    reduced = golden_fit("rank_mixture").changes()
    assert reduced.table.columns == ["stage", "term_id", "group", "requested", "effective", "fitted", "status", "detail"]
    assert reduced.table.filter(term_id="r0").height == 1
    assert reduced.table["stage"].to_list() == ["covariance_transition"]
    assert len(reduced.covariance_transitions) == 1
    assert len(repr(reduced).splitlines()) == 1


def test_changes_of_the_design_are_kept_with_what_was_requested() -> None:
    found = golden_spec("design_compiled").changes()
    assert found.requested_formula == "y ~ x + (1 + x | group)"
    assert found.effective_formula == "y ~ 1 + x + (1 + x || group)"
    assert "design_time_reduction" in found.table["stage"]
    assert [r.trigger for r in found.reductions] == ["design_time"]
    assert found.fit_status is None
    assert golden_fit("design_compiled").changes().reductions[0] == found.reductions[0]


def test_changes_say_that_a_search_that_ended_early_changed_nothing() -> None:
    with pytest.warns(mf.errors.ConvergenceNotice):
        fit = mf.lmm("Reaction ~ Days + (Days | Subject)", data(), control=mf.control(max_evaluations=2))
    assert fit.changes().fit_status == "not_optimized"
    assert "changed nothing" in repr(fit.changes())


@pytest.mark.parametrize("verb", ["changes", "parameterization", "compare_covariance", "reproducibility"])
def test_results_print_and_escape_their_html(verb: str) -> None:
    renamed = data().rename({"h": "<b>"})
    found = getattr(mf.lmm("Reaction ~ Days + (Days | Subject) + (1 | `<b>`)", renamed), verb)()
    assert isinstance(found.table, pl.DataFrame)
    assert "<b>" not in found._repr_html_()
    assert len(repr(found)) > 10


def test_full_shows_every_section_of_an_audit() -> None:
    short, long = golden_spec("sleepstudy").audit(), golden_spec("sleepstudy").audit(full=True)
    assert len(short.lines) < len(long.lines)
    with pytest.raises(ArgumentError):
        golden_spec("sleepstudy").audit(full="yes")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["sleepstudy", "boundary", "rank_deficient"])
def test_every_public_verb_gives_the_same_for_the_same_model(name: str) -> None:
    """Reading one thing changes nothing in another, and no verb is left out of the walk."""
    fit, spec = golden_fit(name), golden_spec(name)
    again = mf.compile_model(spec.call.formula, spec.call.data)
    assert differences(public_values(spec), public_values(again)) == []
    assert differences(public_values(fit), public_values(again.fit())) == []
