"""Schemas: strict, closed, in step with their JSON form; what can be read; the catalogue of diagnostics and its page."""

from __future__ import annotations

import copy
import json
import re
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

import mixeff_fast as mf
from mixeff_fast.errors import SchemaError
from mixeff_fast.formula.functions import FUNCTIONS
from mixeff_fast.schemas.base import Header
from mixeff_fast.schemas.catalogue import CATALOGUE, REMOVED
from mixeff_fast.schemas.diagnostics import Diagnostic, DiagnosticCode, Finding
from mixeff_fast.schemas.fit import FitArtifact
from mixeff_fast.schemas.generate import FOLDER, file_name, schema_files
from mixeff_fast.schemas.registry import KnownSchema, known_schemas
from mixeff_fast.schemas.reserved import RESERVED
from tests.emissions import SCHEMAS, Emissions

ROOT = Path(__file__).resolve().parent.parent
EVERY = pytest.mark.parametrize("known", known_schemas(), ids=lambda known: known.schema_name.rpartition(".")[2])

FREE = "any text"
HASH = "0" * 64
KEY = "1"
# fields with defaults
OPTIONAL = (
    "payload", "affected_terms", "options", "name", "matrix", "names", "column", "estimability", "inference_routes",
    "family_parameter", "family_parameter_status", "family_parameter_value", "response_coding", "most_effects", "family",
    "glmm", "inner", "n_beside", "nodes", "quadrature_size",
)
Place = tuple[str | int, ...]


def sample(part: dict[str, Any], defs: dict[str, Any]) -> Any:
    """Something that a JSON schema describes: each array has one item, nothing is null."""
    if "$ref" in part and part["$ref"].rpartition("/")[2] != "Header":
        return sample(defs[part["$ref"].rpartition("/")[2]], defs)
    if "$ref" in part:
        fixed = part.get("properties", {})
        version = fixed.get("schema_version", {}).get("pattern", "^1.")[1]
        return {"schema_name": fixed["schema_name"]["const"], "schema_version": f"{version}.0.0", "package_version": "0.1.0"}
    for key in ("anyOf", "oneOf"):
        if key in part:
            return sample(next(option for option in part[key] if option.get("type") != "null"), defs)
    if "const" in part or "enum" in part:
        return part.get("const", part.get("enum", [None])[0])
    if part.get("pattern") == "^[0-9a-f]{64}$":
        return HASH
    kind = part.get("type")
    if kind == "object":
        if "properties" in part:
            return {name: sample(each, defs) for name, each in part["properties"].items()}
        value = part.get("additionalProperties")
        return {KEY: sample(value, defs) if isinstance(value, dict) else 1}
    if kind == "array":
        return [sample(each, defs) for each in part["prefixItems"]] if "prefixItems" in part else [sample(part["items"], defs)]
    return {"string": FREE, "integer": 1, "number": 0.5, "boolean": True}[kind]


def sample_of(known: KnownSchema) -> dict[str, Any]:
    schema = SCHEMAS[known.schema_name]
    found = sample(schema, schema["$defs"])
    assert isinstance(found, dict)
    return found


def leaves(value: Any, path: Place = ()) -> Iterator[tuple[Place, Any]]:
    items: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield (*path, key), each
        yield from leaves(each, (*path, key))


def changed(content: dict[str, Any], path: Place, *value: Any) -> str:
    """The JSON with another value at a place, or nothing there."""
    content = copy.deepcopy(content)
    target: Any = content
    for key in path[:-1]:
        target = target[key]
    if value:
        target[path[-1]] = value[0]
    else:
        del target[path[-1]]
    return json.dumps(content)


# ---- records


@EVERY
def test_json_schemas_are_current(known: KnownSchema) -> None:
    name = file_name(known)
    assert (FOLDER / name).read_text(encoding="utf-8") == schema_files()[name], "run python -m mixeff_fast.schemas.generate"
    Draft202012Validator.check_schema(SCHEMAS[known.schema_name])


def test_there_is_a_file_for_each_schema_and_no_other() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(schema_files())


@EVERY
def test_artifacts_read_back_as_they_were(known: KnownSchema) -> None:
    content = sample_of(known)
    Draft202012Validator(SCHEMAS[known.schema_name]).validate(content)
    artifact = known.model.model_validate_json(json.dumps(content))
    again = known.model.model_validate_json(artifact.model_dump_json())
    assert again == artifact
    assert json.loads(artifact.model_dump_json()) == content
    with pytest.raises(ValidationError):
        artifact.header = again.header  # type: ignore[misc]


@EVERY
def test_a_field_is_required_typed_and_closed(known: KnownSchema) -> None:
    """Every place of a sample: left out, of another type, not finite, or with a label that is in no vocabulary."""
    content = sample_of(known)

    def refuses(place: Place, *value: Any) -> None:
        with pytest.raises(ValidationError):
            known.model.model_validate_json(changed(content, place, *value))

    for place, value in leaves(content):
        name = place[-1]
        if isinstance(name, str) and name not in (KEY, *OPTIONAL) and "thresholds" not in place[:-1]:
            refuses(place)
        if type(value) in (int, float):
            refuses(place, float("nan"))
            refuses(place, float("inf"))
            if name != KEY:
                refuses(place, "1")
        if isinstance(value, str) and value not in (FREE, HASH) and "header" not in place:
            refuses(place, "no such label")
            refuses(place, 3)


@EVERY
def test_unknown_fields_are_ignored(known: KnownSchema) -> None:
    content = sample_of(known)
    artifact = known.model.model_validate_json(json.dumps(content))
    assert known.model.model_validate_json(json.dumps({**content, "of_a_later_version": 1})) == artifact


@pytest.mark.parametrize(
    "value", [float("nan"), [1.0, float("inf")], {"a": {"b": float("-inf")}}, np.float64(1.0), {1: 2}, {"a"}, pl.Series([1])],
    ids=repr,
)
def test_payloads_hold_what_json_holds(value: Any) -> None:
    with pytest.raises(ValidationError):
        Finding(code="support_note", severity="info", stage="design_audit", payload={"value": value})


def test_payloads_read_back_as_they_were() -> None:
    payload: dict[str, Any] = {"a": (1, 2.5, (True, None)), "b": {"c": ["x"]}}
    finding = Finding(code="support_note", severity="info", stage="design_audit", payload=payload)
    assert finding.payload == {"a": [1, 2.5, [True, None]], "b": {"c": ["x"]}}
    assert Finding.model_validate_json(finding.model_dump_json()) == finding
    deep: Any = 0
    for _ in range(100):
        deep = [deep]
    with pytest.raises(ValidationError, match="levels deep"):
        Finding(code="support_note", severity="info", stage="design_audit", payload={"value": deep})


# ---- registry


def test_known_schemas() -> None:
    found = mf.known_schemas()
    assert found.columns == ["schema_name", "schema_version", "status"]
    assert found["schema_name"].is_unique().all()
    assert found["schema_name"].str.starts_with("mixeff_fast.").all()
    assert found["schema_version"].str.contains(r"^\d+\.\d+\.\d+$").all()
    assert set(found["status"]) == {"emitted", "reserved"}


FIT = {"schema_name": "mixeff_fast.fit_artifact", "schema_version": "1.0.0", "package_version": "0.1.0"}


@pytest.mark.parametrize("version", ["1.0.0", "1.0.9", "1.99.0"])
def test_versions_of_one_major_number_are_readable(version: str) -> None:
    header = {**FIT, "schema_version": version}
    for given in (header, json.dumps(header), Header(**header)):
        assert mf.negotiate(given) == ("mixeff_fast.fit_artifact", version, FitArtifact.VERSION, "emitted")


def test_before_1_a_later_minor_version_is_not_readable() -> None:
    header = {"schema_name": "mixeff_fast.sufficient_statistics", "schema_version": "0.1.7"}
    assert mf.negotiate(header).reads == "0.1.0"
    with pytest.raises(SchemaError, match=r"0\.2\.0"):
        mf.negotiate({**header, "schema_version": "0.2.0"})


@pytest.mark.parametrize(
    ("header", "match"),
    [
        *[({**FIT, "schema_version": v}, "is not read by this package") for v in ("0.9.0", "2.0.0", "999999.0.0")],
        *[({**FIT, "schema_version": v}, "no semantic version")
          for v in ("", "1", "1.0", "v1.0.0", "1.0.0-rc1", "1.0.0\n", "01.0.0", "1.0.-1", "٣.0.0", "1.0." + "9" * 5000)],
        *[({**FIT, "schema_name": name}, "no schema") for name in ("", "fit_artifact", "mixedmodels.fit_summary", "x" * 9000)],
        *[({**FIT, key: value}, key) for key in ("schema_name", "schema_version") for value in (None, 1, [], {})],
        ({}, "has no schema_name"),
        *[(given, "dictionary") for given in (None, 3, [FIT], "[]", "3", "null", b"{}")],
        *[(given, "not JSON") for given in ("", "{", "mixeff_fast.fit_artifact", "[" * 5000)],
        ("[" * 100_000, "100,000 characters"),
    ],
    ids=lambda value: repr(value)[:60],
)
def test_headers_that_are_refused(header: Any, match: str) -> None:
    with pytest.raises(SchemaError, match=re.escape(match)) as caught:
        mf.negotiate(header)
    assert f"mixeff_fast.fit_artifact {FitArtifact.VERSION}" in str(caught.value)
    assert caught.value.readable["mixeff_fast.fit_artifact"] == FitArtifact.VERSION
    assert caught.value.input == (header[:10_000] if isinstance(header, str) else header)
    assert len(str(caught.value)) < 3_000


# ---- manifest


def test_formula_manifest() -> None:
    manifest = mf.formula_manifest()
    assert json.loads(json.dumps(manifest)) == manifest
    assert manifest["package_version"] == mf.__version__
    assert manifest["schema_versions"] == dict(mf.known_schemas().select("schema_name", "schema_version").iter_rows())
    features = manifest["formula_features"]
    assert set(features) == {"operators", "intercept_forms", "random_term_forms", "transformations"}
    for form in features["intercept_forms"]:
        assert ("~ 1" in mf.parse_formula(f"y ~ x + {form}" if form[0] != "-" else f"y ~ x {form}")) == (form == "1")
    for form in features["random_term_forms"]:
        assert mf.parse_formula(f"y ~ {form}").count("|") >= 1
    assert {"~", "|", "||", ":", "^", "%in%"} <= set(features["operators"])
    assert set(features["transformations"]) == FUNCTIONS
    assert set(manifest["capabilities"].values()) == {True, False}
    assert manifest["capabilities"]["compare"]
    assert manifest["capabilities"]["glmm"]
    assert not manifest["capabilities"]["parametric_bootstrap"]


# ---- diagnostics


def test_the_catalogue_has_every_code() -> None:
    assert set(CATALOGUE) == set(typing.get_args(DiagnosticCode))
    assert not set(REMOVED) & set(CATALOGUE)
    stages = {stage for entry in CATALOGUE.values() if not entry.reserved for stage in entry.stages}
    severities = {severity for entry in CATALOGUE.values() for severity in entry.severities}
    assert stages == set(typing.get_args(Diagnostic.model_fields["stage"].annotation)) - set(RESERVED["Diagnostic.stage"])
    assert severities == {"info", "warning", "error"}
    for entry in CATALOGUE.values():
        assert len(set(entry.payload)) == len(entry.payload)


def table(rows: typing.Iterable[tuple[str, ...]], *heads: str) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def code(*names: str) -> str:
    return ", ".join(f"`{name}`" for name in names)


def test_the_page_of_diagnostics_is_current() -> None:
    page = (ROOT / "docs" / "diagnostics.md").read_text(encoding="utf-8")
    emitted = table(
        ((code(e.code), e.meaning, code(*e.severities), code(*e.stages), code(e.bucket), code(*e.payload))
         for e in CATALOGUE.values() if not e.reserved),
        "code", "meaning", "severity", "stage", "shown as", "payload",
    )
    reserved = table(
        ((code(e.code), e.meaning, e.reserved) for e in CATALOGUE.values() if e.reserved), "code", "meaning", "why"
    )
    removed = table(((code(name), why) for name, why in REMOVED.items()), "code", "instead")
    for part in (emitted, reserved, removed):
        assert part in page, part


def test_the_page_of_schemas_is_current() -> None:
    page = (ROOT / "docs" / "schemas.md").read_text(encoding="utf-8")
    rows = [(code(k.schema_name), k.schema_version, k.status, code(file_name(k))) for k in known_schemas()]
    schemas = table(rows, "schema", "version", "status", "JSON schema")
    reserved = table(
        ((code(place), code(*(label for label in labels if labels[label] == why)), why)
         for place, labels in RESERVED.items() for why in dict.fromkeys(labels.values())),
        "record and field", "labels", "why",
    )
    for part in (schemas, reserved):
        assert part in page, part


# ---- the record of emissions


def test_what_should_not_have_been_written_is_a_problem() -> None:
    found = Emissions()
    known = next(k for k in known_schemas() if k.schema_name == "mixeff_fast.compiled_model_artifact")
    content = sample_of(known)
    content["diagnostics"][0] |= {"code": "boundary_parameter", "severity": "error", "stage": "inference", "payload": {"x": 1}}
    found.record(known.model.model_validate_json(json.dumps(content)))
    assert list(found.problems) == [
        "boundary_parameter has severity error", "boundary_parameter has stage inference",
        "boundary_parameter has payload keys ['x']",
    ]
    assert ("RandomTerm.covariance", "scalar") in found.labels
    assert ("ModelStage.stage", "requested") in found.labels
    assert ("Diagnostic.code", "boundary_parameter") in found.labels


# ---- comparisons


def comparison_frame() -> pl.DataFrame:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(12), 10)
    x, z = rng.normal(size=(2, 120))
    effects = rng.normal(size=(2, 12))
    return pl.DataFrame({
        "y": x + effects[0][g] + effects[1][g] * x + rng.normal(size=120), "x": x, "z": z, "w": x + z, "g": g.astype(str),
        "h": np.tile(np.arange(10), 12).astype(str),
    })


@pytest.mark.parametrize(
    ("small", "large", "reml", "wanted"),
    [
        ("x + (1 | g)", "x + (1 | g)", (False, False), ("same_model_space", "same", "same", "same_model_space_lrt_invalid")),
        ("x + (1 | g)", "x + z + (1 | g)", (False, False), ("nested_fixed_effects", "nested", "same", None)),
        ("x + z + (1 | g)", "x + w + (1 | g)", (True, True),
         ("same_model_space", "same", "same", "same_model_space_lrt_invalid")),
        ("x + (1 | g)", "x + z + (1 | g)", (True, True), ("nested_fixed_effects", "nested", "same", "ml_refit_required")),
        ("x + (1 | g)", "x + (x | g)", (True, True), ("nested_random_effects", "same", "nested", None)),
        ("x + (1 | g)", "x + (1 | g) + (1 | h)", (False, False), ("nested_random_effects", "same", "nested", None)),
        ("x + (x || g)", "x + (x | g)", (False, False), ("same_fixed_effects_covariance_difference", "same", "nested", None)),
        ("1 + (1 | g)", "x + (x | g)", (False, False), ("nested_fixed_and_random_effects", "nested", "nested", None)),
        ("z + (1 | g)", "x + (x | g)", (False, False),
         ("non_nested_fixed_effects", "non_nested", "nested", "non_nested_models_lrt_invalid")),
        ("x + (1 | g)", "1 + (x | g)", (False, False),
         ("non_nested_fixed_effects", "reverse_nested", "nested", "non_nested_models_lrt_invalid")),
        ("x + (1 | h)", "x + (x | g)", (False, False),
         ("non_nested_random_effects", "same", "non_nested", "non_nested_models_lrt_invalid")),
        ("1 + (x || g)", "x + z + (1 | g)", (False, False),
         ("non_nested_random_effects", "nested", "reverse_nested", "non_nested_models_lrt_invalid")),
        ("x + (1 | g)", "x + (x | g)", (True, False), ("mixed_fit_criterion", "same", "nested", "mixed_fit_criterion")),
        ("0 + (1 | g)", "x + (1 | g)", (False, False), ("nested_fixed_effects", "nested", "same", None)),
    ],
)
def test_how_two_models_relate(small: str, large: str, reml: tuple[bool, bool], wanted: tuple[str | None, ...]) -> None:
    data = comparison_frame()
    fits = [mf.lmm(f"y ~ {text}", data, reml=each) for text, each in zip((small, large), reml, strict=True)]
    artifact = mf.compare(*fits, refit_for_comparison="error").artifact
    pair, row = artifact.assessments[0], artifact.rows[1]
    assert (pair.comparison_class, pair.fixed_effects, pair.random_effects, pair.lrt_reason) == wanted
    assert pair.lrt_available == row.lrt_available == (wanted[3] is None) == (row.p_value is not None)
    assert row.comparison_class == wanted[0]
    assert pair.ml_refit_required == row.requires_ml_refit == (wanted[3] == "ml_refit_required")
    assert pair.information_criteria_available == (wanted[3] not in ("ml_refit_required", "mixed_fit_criterion"))
    assert (row.delta_aic is not None) == pair.information_criteria_available == row.information_criteria_available
    assert ("information_criteria" in pair.valid_alternatives) == pair.information_criteria_available
    assert bool(row.reason) == (row.reason_code is not None)


def test_a_comparison_is_the_same_numbers_as_table_and_as_artifact() -> None:
    data = comparison_frame()
    fits = [mf.lmm(f"y ~ {text}", data) for text in ("x + z + (x | g)", "x + (1 | g)", "x + z + (x || g)")]
    found = mf.compare(*fits, method="lrt")
    rows = found.artifact.rows
    names = {"label": "model", "dof": "npar", "chisq_dof": "df"}
    for field in ("label", "formula", "criterion", "dof", "aic", "bic", "loglik", "deviance", "chisq", "chisq_dof", "p_value",
                  "log_p_value", "status", "reason_code"):
        assert [getattr(row, field) for row in rows] == found.table[names.get(field, field)].to_list()
    assert min(row.delta_aic for row in rows) == min(row.delta_bic for row in rows) == 0.0
    assert found.artifact.refit_performed
    assert found.artifact.refitted == found.refitted == ("model_1", "model_2", "model_3")
    assert (found.artifact.method, found.artifact.refit_policy) == ("likelihood_ratio", "auto")
    assert [(p.smaller, p.larger) for p in found.artifact.assessments] == [("model_2", "model_3"), ("model_3", "model_1")]
    alone = mf.compare(*fits, method="aic", refit_for_comparison="ml").artifact
    assert (alone.method, alone.refit_policy) == ("information_criteria", "ml")
    assert {row.reason_code for row in alone.rows} == {"information_criteria_requested"}


def test_a_larger_model_with_a_lower_likelihood_is_not_tested() -> None:
    data = comparison_frame()
    small = mf.lmm("y ~ x + (1 | g)", data, reml=False)
    stopped = mf.lmm("y ~ x + (1 | h) + (x | g)", data, reml=False, control=mf.control(max_evaluations=1, start=[0.0, 9, 0, 9]))
    artifact = mf.compare(small, stopped).artifact
    assert artifact.rows[1].reason_code == artifact.assessments[0].lrt_reason == "lower_loglikelihood_lrt_invalid"
    assert artifact.rows[1].chisq is None
    assert artifact.rows[1].loglik_within_optimizer_tol is False


def test_likelihoods_that_are_not_finite_are_not_compared() -> None:
    data = comparison_frame().with_columns(y=pl.lit(2.0) * pl.col("x") + 1.0)
    fits = [mf.lmm(f"y ~ {text} + (1 | g)", data, reml=False) for text in ("x", "x + z")]
    artifact = mf.compare(*fits).artifact
    assert artifact.assessments[0].lrt_reason == "lrt_unavailable"
    assert [row.loglik for row in artifact.rows] == [None, None]
    assert [row.delta_aic for row in artifact.rows] == [None, None]


def test_reason_codes_documented_as_unused_are_unused() -> None:
    section = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").split("## Reason codes that are not used\n")[1]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    codes = [code for row in rows for code in re.findall(r"`(\w+)`", row)]
    assert len(codes) == len(set(codes)) > 40
    sources = "\n".join(path.read_text(encoding="utf-8") for folder in ("mixeff_fast", "schemas", "kernels")
                        for path in (ROOT / folder).rglob("*.py"))
    assert [code for code in codes if re.search(rf"\b{code}\b", sources)] == []
