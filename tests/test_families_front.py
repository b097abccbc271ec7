"""Families, from the argument to the compiled model: what each reads as its response, and what the audit makes of it."""

from __future__ import annotations

import copy
import json
import pickle
import warnings
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast import families
from mixeff_fast.compile import check_saturation
from mixeff_fast.compile.design_budget import expected_standard_error, row_weight
from mixeff_fast.errors import DataError, FactorCoercionNotice, FitError, MixeffNotice, NotIdentifiable, SchemaError
from mixeff_fast.frame import checked_successes, checked_values
from mixeff_fast.kernels import families as kernel_families
from mixeff_fast.kernels import links as kernel_links
from mixeff_fast.models import statistics as door
from tests.hostile_archives import contents, forged, zipped

N = 120
EVERY = [(name, link) for name, links in families.LINKS.items() for link in links if (name, link) != ("gaussian", "identity")]


def made(name: Any, link: Any) -> mf.Family:
    return mf.Family(name, link)


def data(n: int = N) -> pl.DataFrame:
    rng = np.random.default_rng(5)
    trials = rng.integers(1, 9, n)
    s = rng.binomial(trials, 0.4)
    yes = rng.random(n) < 0.4
    return pl.DataFrame({
        "s": s, "t": trials, "f": trials - s, "p": s / trials, "b": yes, "one": yes.astype(int),
        "word": np.where(yes, "won", "lost"), "c": rng.poisson(2.0, n), "pos": rng.gamma(2.0, 1.0, n) + 0.01,
        "x": rng.normal(size=n), "w": rng.uniform(0.5, 2.0, n), "g": [f"g{i % 12:02d}" for i in range(n)],
        "row": [f"r{i:03d}" for i in range(n)], "two": [f"p{i // 2:02d}" for i in range(n)], "e": rng.uniform(1.0, 5.0, n),
    })


DATA = data()


def spec(response: str, family: Any = "binomial", terms: str = "x + (1 | g)", **arguments: Any) -> mf.ModelSpec:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return mf.compile_model(f"{response} ~ {terms}", arguments.pop("data", DATA), family=family, **arguments)


RESPONSES: dict[str, Any] = {
    "binomial": "cbind(s, f)", "poisson": "c", "negative_binomial": "c", "gamma": "pos", "inverse_gaussian": "pos",
    "gaussian": "e",
}


# ---- families


def test_links_are_those_of_the_kernels() -> None:
    def code(name: str) -> int:
        found: int = getattr(kernel_families, name.upper())
        return found

    assert {code(name): tuple(getattr(kernel_links, link.upper()) for link in links)
            for name, links in families.LINKS.items()} == kernel_families.LINKS


def test_ways_to_name_a_family() -> None:
    given = families.given_family
    for value in ("binomial", "bernoulli", mf.binomial, mf.binomial(), " Binomial "):
        assert given(value) == mf.Family("binomial", "logit")
    assert given("Gamma") == mf.gamma()
    assert given("inverse.gaussian") == mf.inverse_gaussian()
    assert given("nbinom2") == mf.negative_binomial() == given("negative_binomial")
    assert mf.inverse_gaussian("1/mu^2").link == "inverse_square"
    assert given(mf.gaussian("log")).link == "log"


def test_what_a_family_says_of_itself() -> None:
    known, free = mf.negative_binomial(theta=3), mf.negative_binomial()
    assert (known.parameter_name, known.estimates_parameter, known.theta) == ("theta", False, 3.0)
    assert (free.parameter_name, free.estimates_parameter, free.has_dispersion) == ("theta", True, False)
    for family in (mf.gamma(), mf.inverse_gaussian(), mf.gaussian("log")):
        assert (family.parameter_name, family.estimates_parameter, family.has_dispersion) == ("dispersion", True, True)
    for family in (mf.binomial(), mf.poisson()):
        assert (family.parameter_name, family.estimates_parameter, family.has_dispersion) == (None, False, False)
    canonical = {(name, link) for name, links in families.LINKS.items() for link in links if made(name, link).canonical}
    assert canonical == {("binomial", "logit"), ("poisson", "log"), ("gamma", "inverse"), ("gaussian", "identity"),
                         ("inverse_gaussian", "inverse_square")}
    assert pickle.loads(pickle.dumps(known)) == known
    assert len({known, free, mf.negative_binomial(3.0)}) == 2


# ---- responses


def test_binomial_responses_are_numbers_of_successes() -> None:
    yes = DATA["b"].to_numpy().astype(float)
    for response, kind, labels in [
        ("one", "binary_numbers", (None, None)), ("b", "boolean", ("FALSE", "TRUE")),
        ("word", "two_level_factor", ("lost", "won")), ("factor(one)", "two_level_factor", ("0", "1")),
    ]:
        frame = spec(response).compiled.frame
        coding = frame.response_coding
        assert (coding.kind, (coding.failure, coding.success)) == (kind, labels)
        assert frame.response.tolist() == yes.tolist()
        assert frame.trials is None
        assert frame.weights is None
        assert not frame.response.flags.writeable


def test_the_declared_order_says_what_success_is() -> None:
    declared = DATA.with_columns(pl.col("word").cast(pl.Enum(["won", "drawn", "lost"])))
    frame = spec("word", data=declared).compiled.frame
    assert (frame.response_coding.failure, frame.response_coding.success) == ("won", "lost")
    assert frame.response.tolist() == (1.0 - DATA["one"].to_numpy()).tolist()
    written = spec('factor(word, levels = c("won", "lost"))').compiled.frame
    assert written.response.tolist() == frame.response.tolist()
    categories = spec("word", data=DATA.with_columns(pl.col("word").cast(pl.Categorical))).compiled.frame
    assert categories.response.tolist() == DATA["one"].to_list()


def test_a_factor_is_noted() -> None:
    with pytest.warns(FactorCoercionNotice, match="second level 'won' is success"):
        made_spec = mf.compile_model("word ~ x + (1 | g)", DATA, family="binomial")
    found = [d for d in made_spec.artifact.diagnostics if d.code == "factor_response"]
    assert found[0].payload == {"column": "word", "failure": "lost", "success": "won"}


def test_proportions_are_the_pairs_they_stand_for() -> None:
    pairs = spec("cbind(s, f)").compiled.frame
    for response, weights in [("p", "t"), ("s / t", pl.col("t")), ("p", DATA["t"].to_numpy()), ("I(s / t)", "t")]:
        shares = spec(response, weights=weights).compiled.frame
        assert shares.response_coding.kind == "proportions"
        assert shares.response.tolist() == pairs.response.tolist() == DATA["s"].to_list()
        assert shares.trials is not None
        assert pairs.trials is not None
        assert shares.trials.tolist() == pairs.trials.tolist() == DATA["t"].to_list()
        assert shares.weights is None


def test_proportions_of_single_precision() -> None:
    wide = DATA.with_columns(t=pl.lit(997), p=(pl.col("s") / 997).cast(pl.Float32))
    assert spec("p", weights="t", data=wide).compiled.frame.response.tolist() == DATA["s"].to_list()


def test_weights_beside_labels_and_pairs_are_prior_weights() -> None:
    for response in ("b", "word", "cbind(s, f)", "cbind(one, 1 - one)"):
        frame = spec(response, weights="w").compiled.frame
        assert frame.weights is not None
        assert frame.weights.tolist() == DATA["w"].to_list()
    assert spec("cbind(one, 1 - one)").compiled.frame.trials is None
    assert spec("c", "poisson", weights="w").compiled.frame.weights is not None
    assert spec("one", weights=[1] * N).compiled.frame.trials is None


@pytest.mark.parametrize("response", ["cbind(s, f)", "p"])
def test_rows_without_trials_stay(response: str) -> None:
    empty = DATA.with_columns(pl.when(pl.col("row") < "r003").then(0).otherwise(pl.col(name)).alias(name) for name in "stf")
    made_spec = spec(response, data=empty, **({} if response.startswith("cbind") else {"weights": "t"}))
    frame = made_spec.compiled.frame
    assert frame.trials is not None
    assert (frame.n, frame.trials[:3].tolist(), frame.response[:3].tolist()) == (N, [0.0] * 3, [0.0] * 3)
    assert frame.response_coding.n_zero_trials == 3
    record = made_spec.artifact.response_coding
    assert record is not None
    assert (record.n_zero_trials, record.n_trials) == (3, int(frame.trials.sum()))
    assert [d.payload for d in made_spec.artifact.diagnostics if d.code == "zero_trials"] == [{"n_rows": 3}]


def test_counts_are_made_whole() -> None:
    near = DATA.with_columns(c=pl.col("c") * 0.1 * 10 * (1 + 1e-12))
    assert spec("c", "poisson", data=near).compiled.frame.response.tolist() == DATA["c"].to_list()
    assert spec("b", "poisson").compiled.frame.response.tolist() == DATA["one"].to_list()


def test_rows_that_are_named_are_those_of_the_data() -> None:
    bad = DATA.with_columns(c=pl.when(pl.col("row") == "r050").then(-1).otherwise(pl.col("c")))
    with pytest.raises(DataError) as caught:
        spec("c", "poisson", data=bad, subset=pl.col("row") >= "r010")
    assert (caught.value.rows, caught.value.count) == ([50], 1)


def test_values_for_refits_are_checked_by_the_same_rules() -> None:
    assert checked_successes(np.array([0.0, 2.0]), np.array([1.0, 2.0]), "y").tolist() == [0.0, 2.0]
    for bad in ([1.0, 3.0], [-1.0, 0.0], [0.5, 0.0]):
        with pytest.raises(DataError):
            checked_successes(np.array(bad), np.array([1.0, 2.0]), "y")
    with pytest.raises(DataError, match="more than the trials in row 1"):
        checked_successes(np.array([1.0, 2.0]), None, "y")
    with pytest.raises(DataError, match="row 7"):
        checked_values(mf.gamma(), np.array([1.0, 0.0]), "y", np.array([3, 7]))


def test_offsets_add_up() -> None:
    frame = spec("c", "poisson", "x + offset(log(e)) + (1 | g)", offset="w").compiled.frame
    assert frame.offset is not None
    assert np.allclose(frame.offset, np.log(DATA["e"].to_numpy()) + DATA["w"].to_numpy(), rtol=1e-15)


# ---- compiled models


@pytest.mark.parametrize(("name", "link"), EVERY)
def test_every_family_compiles_and_is_stored(name: str, link: str) -> None:
    family = made(name, link)
    made_spec = spec(RESPONSES[name], family)
    assert made_spec.compiled.family == made_spec.call.family == family
    boundary = made_spec.artifact.model_boundary
    assert (boundary.model_kind, boundary.response_distribution, boundary.link) == (
        "generalized_linear_mixed_model", name, link)
    assert (boundary.family_parameter, boundary.family_parameter_status) == (
        family.parameter_name, None if family.parameter_name is None else "estimated")
    assert f"{name.replace('_', ' ')}, {link.replace('_', ' ')} link" in str(made_spec.audit())
    assert f"({name.replace('_', ' ')}, {link.replace('_', ' ')} link)" in repr(made_spec)
    again = mf.revive(made_spec.as_json())
    assert (again.call.family, again.artifact) == (family, made_spec.artifact)


STORED = {
    "cbind": lambda: spec("cbind(s, f)", weights="w"),
    "proportions": lambda: spec("s / t", mf.binomial("probit"), weights=pl.col("t") * 1),
    "labels": lambda: spec("word", offset="x"),
    "factor": lambda: spec("factor(one)", na_action="omit"),
    "theta": lambda: spec("c", mf.negative_binomial(2.5)),
    "expression": lambda: spec("log(pos + 1)", mf.gamma("inverse"), "poly(x, 2) + offset(log(e)) + (x | g)"),
    "reduced": lambda: spec("c", "poisson", "x + (1 + k | g)", intent="confirmatory_design_compiled",
                            data=DATA.with_columns(k=pl.col("g").str.tail(2).cast(pl.Float64))),
    "lazy": lambda: spec("cbind(s, f)", data=DATA.lazy()),
}


@pytest.mark.parametrize("name", STORED)
def test_models_come_back(name: str, tmp_path: Path) -> None:
    one = STORED[name]()
    one.save(tmp_path / "one")
    for two in (mf.load(tmp_path / "one"), mf.revive(one.as_json()), pickle.loads(pickle.dumps(one)), copy.deepcopy(one)):
        assert isinstance(two, mf.ModelSpec)
        assert two.artifact == one.artifact
        assert two.formula == one.formula
        left, right = one.compiled.frame, two.compiled.frame
        assert (right.family, right.response_coding) == (left.family, left.response_coding)
        for array in ("response", "trials", "weights", "offset"):
            a, b = getattr(left, array), getattr(right, array)
            assert (a is None) == (b is None)
            assert a is None or a.tobytes() == b.tobytes()
    mf.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_model_reduced_by_its_design_keeps_its_family() -> None:
    reduced = STORED["reduced"]()
    assert reduced.reductions
    assert reduced.formula == "c ~ 1 + x + (1 | g)"
    assert reduced.compiled.family == reduced.requested.family == mf.poisson()


def test_the_fingerprint_tells_families_and_trials_apart() -> None:
    prints = [
        made_spec.artifact.data.fingerprint.digest
        for made_spec in (
            spec("one"), spec("one", "poisson"), spec("one", mf.binomial("probit")), spec("word"), spec("cbind(one, t - one)"),
            spec("one", mf.negative_binomial()), spec("one", mf.negative_binomial(1.0)), spec("one", mf.negative_binomial(2.0)),
        )
    ]
    assert len(set(prints)) == len(prints)
    assert spec("p", weights="t").artifact.data.fingerprint.digest != prints[0]


def test_updates_keep_the_family() -> None:
    call = spec("cbind(s, f)").call
    assert call.updated("cbind(s, f) ~ 1 + (1 | g)", {}).family == mf.binomial()
    assert call.updated("c ~ 1 + (1 | g)", {"family": "poisson"}).family == mf.poisson()


def test_a_lazy_frame_is_collected_or_refused() -> None:
    assert spec("cbind(s, f)", data=DATA.lazy()).compiled.frame.n == N
    with mock.patch.object(door, "STREAM_ROWS", 50), pytest.raises(FitError, match=r"data\.collect") as caught:
        spec("cbind(s, f)", data=DATA.lazy())
    assert (caught.value.reason_code, caught.value.limit) == ("glmm_needs_rows", 50)


def family_in_state(content: bytes, family: dict[str, Any]) -> bytes:
    state = json.loads(content)
    state["call"]["family"] = family
    return json.dumps(state).encode()


@pytest.mark.parametrize(
    "family",
    [{"name": "poisson", "link": "sqrt", "theta": None}, {"name": "poisson", "link": "logit", "theta": None},
     {"name": "poisson", "link": "log", "theta": 1.0}, {"name": "gaussian", "link": "identity", "theta": None},
     {"name": "gamma", "link": "log", "theta": None}],
    ids=str,
)
def test_a_file_with_another_family_is_refused(family: dict[str, Any], tmp_path: Path) -> None:
    spec("c", "poisson").save(tmp_path / "one")
    parts = contents(tmp_path / "one")
    (tmp_path / "two").write_bytes(zipped(forged({**parts, "state.json": family_in_state(parts["state.json"], family)})))
    with pytest.raises(SchemaError):
        mf.load(tmp_path / "two")


def test_an_artifact_of_another_family_is_refused(tmp_path: Path) -> None:
    spec("c", "poisson").save(tmp_path / "one")
    parts = contents(tmp_path / "one")
    artifact = json.loads(parts["artifact.json"])
    artifact["model_boundary"]["link"] = "sqrt"
    (tmp_path / "two").write_bytes(zipped(forged({**parts, "artifact.json": json.dumps(artifact).encode()})))
    with pytest.raises(SchemaError, match="the family in the artifact"):
        mf.load(tmp_path / "two")


def test_a_file_without_rows_has_no_family(tmp_path: Path) -> None:
    with mock.patch.object(door, "STREAM_ROWS", 50):
        mf.compile_model("x ~ w + (1 | g)", DATA.lazy()).save(tmp_path / "one")
    parts = contents(tmp_path / "one")
    family = {"name": "poisson", "link": "log", "theta": None}
    (tmp_path / "two").write_bytes(zipped(forged({**parts, "state.json": family_in_state(parts["state.json"], family)})))
    with pytest.raises(SchemaError, match="without the rows"):
        mf.load(tmp_path / "two")


# ---- the audit of the design


def codes(made_spec: mf.ModelSpec) -> dict[str, Any]:
    return {d.code: d for d in made_spec.artifact.diagnostics}


def test_an_effect_per_row_is_overdispersion_where_it_can_be_told() -> None:
    for response, family in [("cbind(s, f)", "binomial"), ("c", "poisson"), ("c", mf.negative_binomial(2.0))]:
        found = spec(response, family, "x + (1 | g) + (1 | row)")
        finding = codes(found)["observation_level_effect"]
        assert (finding.severity, finding.payload["reason"]) == ("info", "overdispersion")
        budget = found.artifact.design_audit.random_terms[1].information_budget
        assert (budget.row_saturated, budget.most_effects) == (False, N)
        check_saturation(found.compiled)
        spec(response, family, "x + (1 | g) + (1 | row)", intent="confirmatory_design_compiled")


def test_an_effect_per_row_of_single_trials_is_not_identifiable() -> None:
    for response in ("one", "b", "word"):
        found = spec(response, terms="x + (1 | g) + (1 | row)")
        finding = codes(found)["not_identifiable"]
        assert (finding.severity, finding.payload["reason"]) == ("error", "observation_level_effect_of_binary_response")
        assert found.artifact.design_audit.random_terms[1].information_budget.row_saturated
        check_saturation(found.compiled)
    with pytest.raises(NotIdentifiable) as caught:
        spec("one", terms="x + (1 | g) + (1 | row)", intent="confirmatory_design_compiled")
    assert (caught.value.reason_code, caught.value.reason) == ("design_refusal", "as_many_effects_as_rows")
    empty = DATA.with_columns(pl.when(pl.col("row") < "r003").then(0).otherwise(pl.col("one")).alias("one"))
    pairs = spec("cbind(one, z)", terms="x + (1 | row)",
                 data=empty.with_columns(z=pl.when(pl.col("row") < "r003").then(0).otherwise(1 - pl.col("one"))))
    assert pairs.compiled.frame.trials is not None
    assert "not_identifiable" in codes(pairs)


def test_an_effect_per_row_beside_a_parameter_of_the_family_is_doubtful() -> None:
    for response, family in [("c", mf.negative_binomial()), ("pos", "gamma"), ("pos", "inverse_gaussian")]:
        finding = codes(spec(response, family, "x + (1 | row)"))["observation_level_effect"]
        assert (finding.severity, finding.payload["reason"]) == ("warning", "beside_family_parameter")


def test_more_effects_than_rows_are_refused() -> None:
    check_saturation(spec("c", "poisson", "x + (x | two)").compiled)
    with pytest.raises(NotIdentifiable) as caught:
        check_saturation(spec("c", "poisson", "x + (x | row)").compiled)
    assert (caught.value.n_random_effects, caught.value.nobs) == (2 * N, N)


def test_constant_responses_within_groups_matter_where_there_is_a_dispersion() -> None:
    flat = DATA.with_columns(c=pl.col("g").str.tail(2).cast(pl.Int64) + 1)
    assert "not_identifiable" not in codes(spec("c", "poisson", data=flat))
    assert codes(spec("c", "gamma", data=flat))["not_identifiable"].payload["reason"] == "constant_response_within_groups"


def test_a_constant_that_says_something_is_no_error() -> None:
    three = DATA.with_columns(c=pl.lit(3))
    assert spec("c", "poisson", data=three).compiled.family == mf.poisson()
    assert spec("c", "gamma", data=three, offset="x").compiled.family == mf.gamma()
    assert spec("cbind(c, c)", data=three).compiled.family == mf.binomial()


@pytest.mark.parametrize("link", families.LINKS["binomial"])
def test_the_weight_of_a_row_is_the_information_at_the_mean(link: Any) -> None:
    """Against the slope of the inverse link by differences."""
    frame = spec("cbind(s, f)", mf.binomial(link)).compiled.frame
    assert frame.trials is not None
    p = float(frame.response.sum() / frame.trials.sum())
    low, high = -30.0, 30.0
    for _ in range(200):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if _mean(link, middle) < p else (low, middle)
    slope = (_mean(link, low + 1e-5) - _mean(link, low - 1e-5)) / 2e-5
    expected = float(frame.trials.mean()) * slope**2 / (p * (1.0 - p))
    assert row_weight(frame) == pytest.approx(expected, rel=1e-6)


def _mean(link: str, eta: float) -> float:
    from math import atan, erfc, exp, expm1, pi, sqrt

    forms = {
        "logit": lambda: 1.0 / (1.0 + exp(-eta)), "probit": lambda: 0.5 * erfc(-eta / sqrt(2.0)),
        "cloglog": lambda: -expm1(-exp(min(eta, 10.0))), "cauchit": lambda: 0.5 + atan(eta) / pi,
        "log": lambda: exp(min(eta, 0.0)),
    }
    return forms[link]()


def test_the_weight_of_a_count() -> None:
    mean = float(DATA["c"].to_numpy().mean())
    assert row_weight(spec("c", "poisson").compiled.frame) == pytest.approx(mean)
    assert row_weight(spec("c", "poisson", weights=[2.0] * N).compiled.frame) == pytest.approx(2.0 * mean)
    assert row_weight(spec("c", mf.negative_binomial(2.0)).compiled.frame) == pytest.approx(mean / (1.0 + mean / 2.0))
    assert row_weight(spec("c", mf.poisson("sqrt")).compiled.frame) == 1.0
    assert row_weight(spec("pos", "gamma").compiled.frame) is None


def test_a_known_scale_takes_no_information() -> None:
    """One variance over m levels of n rows: the expected information is m (n / (1 + n))^2 / 2, less the share of the mean."""
    m, n = 20, 5
    found = expected_standard_error(
        np.array([[[float(n)]]]), np.array([float(m)]), float(m * n), m, "scalar", 1e-9, scale_known=True
    )
    information = 0.5 * (m - 1) * (n / (1.0 + n)) ** 2
    assert found == pytest.approx(0.5 / np.sqrt(information), rel=1e-12)
    assert found < expected_standard_error(np.array([[[float(n)]]]), np.array([float(m)]), float(m * n), m, "scalar", 1e-9)


def test_rare_events_support_less() -> None:
    rare = DATA.with_columns(one=pl.when(pl.col("row") < "r004").then(1).otherwise(0))
    errors = [
        spec("one", data=frame).artifact.design_audit.random_terms[0].information_budget.expected_standard_error
        for frame in (DATA, rare)
    ]
    assert errors[0] is not None
    assert errors[1] is not None
    assert errors[1] > 2.0 * errors[0]
