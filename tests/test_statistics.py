"""Sufficient statistics: adding parts is summing the whole, and files hold them bit by bit."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, DataError, FitError, InferenceUnavailable, NotIdentifiable, SchemaError
from mixeff_fast.storage.frames import frame_bytes
from tests.hostile_archives import forged, zipped
from tests.test_streaming import N, close, make, quiet, same_fit

stats = mf.sufficient_statistics

MERGED = [
    "y ~ x + (x | g)",
    "y ~ 0 + x + (0 + x | g) + (1 | h)",
    "y ~ a * b * x + (1 | g) + (1 | h) + (1 | sub)",
    "y ~ a:b + t + (b | h:sub)",
    "y ~ factor(sub) / x + (x + t || g) + (1 | day)",
    "y ~ 0 + a + a:x + (0 + a | g)",
    "y ~ scale(x) + poly(z, 2) + (scale(x) | g)",
    "y ~ bs(x, df = 4) + (1 | k)",
]


def union(formula: str, parts: list[pl.DataFrame], **arguments: Any) -> Any:
    """The first part decides on transforms; the others follow it."""
    first = quiet(stats, formula, parts[0], **arguments)
    total = first
    for part in parts[1:]:
        total = total + quiet(stats, formula, part, like=first, **arguments)
    return total


@pytest.mark.parametrize("formula", [f for f in MERGED if "poly" not in f and "bs" not in f and "scale" not in f])
@given(data=st.data())
@settings(max_examples=6, deadline=None)
def test_parts_add_up_to_the_whole(formula: str, data: Any) -> None:
    """Parts read on their own, with the levels that happen to be in each."""
    rows = make()
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    n_parts = data.draw(st.integers(2, 4))
    # enough rows for every factor of the effects to have two levels in each part
    label = rng.integers(0, n_parts, N)
    arguments = {"weights": "w", "offset": "o"} if data.draw(st.booleans()) else {}
    parts = [quiet(stats, formula, rows.filter(pl.Series(label == i)), **arguments) for i in range(n_parts)]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    assert total.nobs == N
    same_fit(quiet(total.fit), quiet(mf.lmm, formula, rows, **arguments), 1e-9)


@pytest.mark.parametrize("contrasts", ["treatment", "sum", "helmert", "poly", "SAS"])
def test_new_levels_of_effects_change_the_columns_exactly(contrasts: str) -> None:
    rows = make()
    formula = "y ~ a * x + b:t + (a | g)"
    coding = {"a": contrasts}
    two = [rows.filter(pl.col("a") != "mid"), rows.filter(pl.col("a") != "low"), rows.filter(pl.col("a") != "high")]
    parts = [part.filter(pl.int_range(pl.len()) % 2 == i % 2) for i, part in enumerate(two)]
    total = sum((quiet(stats, formula, part, contrasts=coding) for part in parts[1:]),
                quiet(stats, formula, parts[0], contrasts=coding))
    assert total.coef_names == mf.compile_model(formula, pl.concat(parts), contrasts=coding).compiled.fixed.names
    same_fit(quiet(total.fit), quiet(mf.lmm, formula, pl.concat(parts), contrasts=coding), 1e-9)


@pytest.mark.parametrize("formula", MERGED)
def test_parts_can_follow_another(formula: str) -> None:
    """``like`` takes over transform states; the whole then has those of the first part."""
    rows = make()
    parts = [rows.slice(0, 100), rows.slice(100, 90), rows.slice(190)]
    total = union(formula, parts)
    whole = quiet(stats, formula, rows, like=quiet(stats, formula, parts[0]))
    assert total.nobs == whole.nobs == N
    assert total.coef_names == whole.coef_names
    same_fit(quiet(total.fit), quiet(whole.fit), 1e-9)


def test_parts_may_lack_levels_of_the_one_they_follow() -> None:
    rows = make()
    low = rows.filter(pl.col("a") == "low")
    formula = "y ~ a + x + (1 | g)"
    with pytest.raises(DataError, match="one level"):
        quiet(stats, formula, low)
    first = quiet(stats, formula, rows.filter(pl.col("a") != "low"))
    low_of_mid = rows.filter(pl.col("a") == "mid")
    assert quiet(stats, formula, low_of_mid, like=first).coef_names == first.coef_names
    same_fit(quiet((first + quiet(stats, formula, low, like=first)).fit), quiet(mf.lmm, formula, rows), 1e-9)


def test_parts_too_small_to_be_fitted_can_be_added() -> None:
    rows = make()
    formula = "y ~ x + (x | g) + (1 | h)"
    parts = [quiet(stats, formula, rows.slice(i, 1)) for i in range(30)]
    with pytest.raises(NotIdentifiable):
        parts[0].fit()
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    same_fit(quiet((total + quiet(stats, formula, rows.slice(30))).fit), quiet(mf.lmm, formula, rows), 1e-9)
    constant = quiet(stats, formula, rows.with_columns(pl.lit(3.0).alias("y")))
    with pytest.raises(FitError, match="constant"):
        constant.fit()


def test_parts_far_apart_are_centred_again() -> None:
    """Each part has its own shift; the sums keep the digits of the spread."""
    rows = make()
    far = rows.with_columns((pl.col("x") + 1e6 * (pl.int_range(N) >= N // 2)).alias("x"), (pl.col("y") * 1e3 + 1e9).alias("y"))
    formula = "y ~ x + (x | g)"
    total = quiet(stats, formula, far.head(N // 2)) + quiet(stats, formula, far.tail(N // 2))
    same_fit(quiet(total.fit), quiet(mf.lmm, formula, far), 1e-8)


def test_adding_is_associative_and_commutative_to_rounding() -> None:
    rows = make()
    formula = "y ~ a + x + (x | g) + (1 | h) + (1 | sub)"
    a, b, c = (quiet(stats, formula, rows.filter(pl.int_range(N) % 3 == i), weights="w") for i in range(3))
    left, right, turned = quiet(((a + b) + c).fit), quiet((a + (b + c)).fit), quiet(((c + b) + a).fit)
    same_fit(left, right, 1e-12)
    same_fit(left, turned, 1e-12)
    assert (a + b).nobs == a.nobs + b.nobs
    assert (a + b).ngrps == (b + a).ngrps


def test_facts_of_parts_add_up() -> None:
    rows = make().with_columns(pl.when(pl.int_range(N) % 10 == 0).then(None).otherwise(pl.col("x")).alias("x"))
    given = {"na_action": "omit", "subset": "keep"}
    parts = [quiet(stats, "y ~ x + (1 | g)", part, **given) for part in (rows.head(100), rows.tail(140))]
    one = quiet((parts[0] + parts[1]).fit).spec.artifact
    two = quiet(mf.compile_model, "y ~ x + (1 | g)", rows, **given).artifact
    assert one.data.model_dump(exclude={"fingerprint"}) == two.data.model_dump(exclude={"fingerprint"})
    assert one.data.fingerprint.digest is None
    told = [[d for d in artifact.diagnostics if d.code == "rows_omitted"] for artifact in (one, two)]
    assert told[0] == told[1] != []
    assert one.levels == two.levels


@pytest.mark.parametrize(
    ("one", "two", "differs"),
    [
        (("y ~ x + (1 | g)", {}), ("y ~ z + (1 | g)", {}), "formula"),
        (("y ~ a + (1 | g)", {"contrasts": {"a": "sum"}}), ("y ~ a + (1 | g)", {}), "contrasts"),
        (("y ~ scale(x) + (1 | g)", {}), ("y ~ scale(x) + (1 | g)", {}), "transforms"),
        (("y ~ x + (1 | g)", {"weights": "w"}), ("y ~ x + (1 | g)", {}), "weighted"),
        (("y ~ x + (1 | g)", {}), ("y ~ x + (1 | g)", {"offset": "o"}), "has_offset"),
    ],
)
def test_what_differs_is_named(one: Any, two: Any, differs: str) -> None:
    rows = make()
    first = quiet(stats, one[0], rows.head(120), **one[1])
    second = quiet(stats, two[0], rows.tail(120), **two[1])
    with pytest.raises(DataError) as refused:
        first + second
    assert refused.value.differs == differs


def test_types_that_differ_are_named() -> None:
    rows = make()
    first = quiet(stats, "y ~ x + sub + (1 | g)", rows)
    for column, dtype in (("sub", pl.String), ("g", pl.Enum(sorted(set(rows["g"]))))):
        other = quiet(stats, "y ~ x + sub + (1 | g)", rows.with_columns(pl.col(column).cast(dtype)))
        with pytest.raises(DataError, match="cast") as refused:
            first + other
        assert refused.value.differs == "types"
        assert refused.value.columns == [column]


def test_what_is_no_part_cannot_be_added() -> None:
    first = quiet(stats, "y ~ x + (1 | g)", make())
    with pytest.raises(TypeError):
        first + 1
    with pytest.raises(ArgumentError):
        stats("y ~ x + (1 | g)", make(), like=3)
    with pytest.raises(ArgumentError, match="formula"):
        stats("y ~ z + (1 | g)", make(), like=first)


def test_fits_of_statistics() -> None:
    rows = make()
    formula = "y ~ a + x + (x | g)"
    found = quiet(stats, formula, rows, contrasts={"a": "sum"})
    same_fit(found.fit(reml=False), quiet(mf.lmm, formula, rows, reml=False, contrasts={"a": "sum"}))
    assert found.fit(control=mf.control(max_evaluations=1)).result.certificate.evaluations == 1
    fit = found.fit()
    with pytest.raises(InferenceUnavailable) as refused:
        fit.update(". ~ . + z")
    assert refused.value.reason_code == "rows_not_in_memory"
    assert fit.update(". ~ . + z", data=rows).coef_names[-1] == "z"
    assert fit.call.contrasts == {"a": "sum"}
    close(fit.predict(rows), quiet(mf.lmm, formula, rows, contrasts={"a": "sum"}).fitted, 1e-9)
    assert repr(found).startswith("Sufficient statistics of y ~ 1 + a + x + (1 + x | g): 240 rows; g, 12")
    assert found.formula == "y ~ 1 + a + x + (1 + x | g)"


FILES = [
    ("y ~ a * x + poly(z, 2) + bs(x, df = 4) + scale(log(z)) + (x | g) + (1 | h:sub) + (1 | day)", {"weights": "w"}),
    ("y ~ cr(x, df = 4, constraints = \"center\") + b + (1 | a) + (1 | k)", {"offset": "o", "contrasts": {"b": "sum"}}),
    ("y ~ b + t + (1 | half)", {"contrasts": {"b": {"matrix": [[1, 0], [0, 1], [-1, -1]], "names": ["p", "q"]}}}),
    ("y ~ b + (t | cat) + (1 | dec)", {"contrasts": {"b": np.array([[1, 0], [0, 1], [-1, -1]])}}),
]


def contents(path: Path) -> dict[str, bytes]:
    """Members but the manifest, by their name in the folder."""
    with zipfile.ZipFile(path) as archive:
        return {name.removeprefix("statistics/"): archive.read(name) for name in archive.namelist() if "/" in name}


@pytest.mark.parametrize(("formula", "arguments"), FILES)
def test_files_hold_statistics_bit_by_bit(formula: str, arguments: dict[str, Any], tmp_path: Path) -> None:
    rows = make()
    one = quiet(stats, formula, rows, **arguments)
    one.save(tmp_path / "one.stats")
    two = mf.SufficientStatistics.load(tmp_path / "one.stats")
    two.save(tmp_path / "two.stats")
    first, second = contents(tmp_path / "one.stats"), contents(tmp_path / "two.stats")
    assert first == second
    fits = quiet(one.fit), quiet(two.fit)
    assert fits[0].result.objective == fits[1].result.objective
    assert fits[0].beta.tobytes() == fits[1].beta.tobytes()
    assert fits[0].spec.as_json() == fits[1].spec.as_json()
    both = two + quiet(stats, formula, rows, like=two, **{k: v for k, v in arguments.items() if k != "contrasts"})
    assert both.nobs == 2 * N
    assert b"pickle" not in b"".join(first.values())


def saved(tmp_path: Path, formula: str = "y ~ a + scale(x) + (x | g) + (1 | h) + (1 | sub)") -> Path:
    quiet(stats, formula, make(), contrasts={"a": "sum"}).save(tmp_path / "good")
    return tmp_path / "good"


def rewritten(path: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    """The file with other members, and a manifest that fits them."""
    parts = contents(path)
    change(parts)
    with zipfile.ZipFile(path) as archive:
        manifest = archive.read("manifest.json")
    members = {f"statistics/{name}": content for name, content in parts.items()}
    other = path.with_name("bad")
    other.write_bytes(zipped(forged({**members, "manifest.json": manifest}), compression))
    return other


def in_header(*path: Any, value: Any) -> Any:
    def change(parts: dict[str, bytes]) -> None:
        header = json.loads(parts["header.json"])
        inner = header
        for key in path[:-1]:
            inner = inner[key]
        inner[path[-1]] = value
        parts["header.json"] = json.dumps(header).encode()

    return change


def in_array(name: str, change_array: Any) -> Any:
    def change(parts: dict[str, bytes]) -> None:
        array = change_array(np.load(io.BytesIO(parts[f"{name}.npy"])))
        content = io.BytesIO()
        np.save(content, array)
        parts[f"{name}.npy"] = content.getvalue()

    return change


def pickled(parts: dict[str, bytes]) -> None:
    content = io.BytesIO()
    np.save(content, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    parts["border.npy"] = content.getvalue()


def other_levels(parts: dict[str, bytes]) -> None:
    parts["values-1.parquet"] = frame_bytes(pl.DataFrame({"g": ["only", "two"]}))


def null_levels(parts: dict[str, bytes]) -> None:
    parts["values-1.parquet"] = frame_bytes(pl.DataFrame({"g": [*("abcdefghijk"), None]}))


def set_first(value: float) -> Any:
    def change(array: Any) -> Any:
        array[0, 0] = value
        return array

    return change


HOSTILE = {
    "no header": lambda parts: parts.pop("header.json"),
    "no array": lambda parts: parts.pop("levels-1.npy"),
    "no levels": lambda parts: parts.pop("values-0.parquet"),
    "not json": lambda parts: parts.update({"header.json": b"\x00\x01{"}),
    "deep json": lambda parts: parts.update({"header.json": b"[" * 200_000}),
    "json list": lambda parts: parts.update({"header.json": b"[1, 2]"}),
    "other schema": in_header("header", "schema_name", value="mixeff_fast.fit_artifact"),
    "newer minor": in_header("header", "schema_version", value="0.9.0"),
    "newer major": in_header("header", "schema_version", value="7.0.0"),
    "no version": in_header("header", "schema_version", value="seven"),
    "version number": in_header("header", "schema_version", value=7),
    "code in formula": in_header("formula", value="y ~ I(__import__('os').system('true')) + (1 | g)"),
    "other formula": in_header("formula", value="y ~ a + scale(x) + (x | h) + (1 | g) + (1 | sub)"),
    "no random term": in_header("formula", value="y ~ a + scale(x)"),
    "more groups": in_header("formula", value="y ~ a + scale(x) + (x | g) + (1 | h) + (1 | sub) + (1 | a)"),
    "no rows": in_header("n", value=0),
    "text for a number": in_header("n", value="many"),
    "no state": in_header("states", value={}),
    "odd state": in_header("states", "scale(x)", value={"0": {"center": "five"}}),
    "unknown coding": in_header("codings", "a", "name", value="none"),
    "factors as numbers": in_header("suffixes", "a", value=[""]),
    "other columns": in_header("values", value=[["a"], ["h"], ["g"], ["sub"]]),
    "zero scale": in_header("standard", "x_scale", value=[1.0, 1.0, 0.0, 1.0]),
    "short shift": in_header("standard", "x_shift", value=[1.0]),
    "infinite weights": in_header("log_weights", value=float("inf")),
    "nan in border": in_array("border", set_first(float("nan"))),
    "other shape": in_array("levels-0", lambda array: array[:-1]),
    "other type": in_array("border", lambda array: array.astype(np.float32)),
    "order": in_array("border", np.asfortranarray),
    "keys fall": in_array("keys-0", lambda array: array[::-1].copy()),
    "keys beyond": in_array("keys-0", lambda array: array + 10**9),
    "no keys": in_array("keys-0", lambda array: array[:0]),
    "meetings beyond": in_array("meetings", lambda array: array + np.int32(100)),
    "meetings fewer": in_array("meetings", lambda array: array[:3].copy()),
    "meetings flat": in_array("meetings", lambda array: array.ravel()),
    "pickle": pickled,
    "other levels": other_levels,
    "null levels": null_levels,
    "no parquet": lambda parts: parts.update({"values-0.parquet": b"PAR1 not really PAR1"}),
    "no npy": lambda parts: parts.update({"border.npy": b"\x93NUMPY\x01\x00nothing"}),
    "huge claim": lambda parts: parts.update({"border.npy": parts["border.npy"].replace(b"(5, 5)", b"(99999999999, 5)")}),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE.keys())
def test_files_that_do_not_fit_together_are_refused(change: Any, tmp_path: Path) -> None:
    bad = rewritten(saved(tmp_path), change)
    with pytest.raises(SchemaError):
        quiet(mf.SufficientStatistics.load, bad)


def test_what_is_no_file_of_statistics_is_refused(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no archive")
    with pytest.raises(SchemaError, match="save"):
        mf.SufficientStatistics.load(text)
    with pytest.raises(SchemaError, match="compressed"):
        mf.SufficientStatistics.load(rewritten(saved(tmp_path), lambda parts: None, zipfile.ZIP_DEFLATED))
    with pytest.raises(FileNotFoundError):
        mf.SufficientStatistics.load(tmp_path / "absent")
    good = rewritten(saved(tmp_path), lambda parts: None)
    assert quiet(mf.SufficientStatistics.load, good).nobs == N


def test_every_argument_has_an_effect() -> None:
    rows = make()
    formula = "y ~ a + x + (x | g)"
    plain = quiet(stats, formula, rows).fit().result.objective
    gaps = rows.with_columns(pl.when(pl.int_range(N) == 3).then(None).otherwise(pl.col("x")).alias("x"))
    for given_argument in ({"weights": "w"}, {"offset": "o"}, {"subset": "keep"}):
        assert quiet(stats, formula, rows, **given_argument).fit().result.objective != plain
    assert quiet(stats, formula, rows, contrasts={"a": "sum"}).coef_names != quiet(stats, formula, rows).coef_names
    with pytest.raises(DataError):
        quiet(stats, formula, gaps)
    assert quiet(stats, formula, gaps, na_action="omit").nobs == N - 1


def test_data_of_any_kind_are_summed() -> None:
    rows = make().select("y", "x", "g", "a")
    formula = "y ~ a + x + (x | g)"
    whole = mf.lmm(formula, rows)
    for data in (rows, rows.lazy(), rows.to_arrow(), rows.to_pandas()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            same_fit(stats(formula, data).fit(), whole)
