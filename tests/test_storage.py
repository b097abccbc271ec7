"""Models that are saved and loaded are the models they were."""

from __future__ import annotations

import copy
import io
import json
import pickle
import subprocess
import sys
import warnings
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from polars.testing import assert_frame_equal, assert_series_equal

import mixeff_fast as mf
from mixeff_fast.errors import ArgumentError, DataError, InferenceUnavailable, MixeffNotice, SchemaError
from mixeff_fast.fit import certificate, prepared
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models import saved
from mixeff_fast.storage import state as states
from mixeff_fast.storage.frames import frame_bytes, read_frame
from tests.hostile_archives import contents, forged, zipped
from tests.public_verbs import differences
from tests.saved_models import crossed, models, told

ROOT = Path(__file__).resolve().parent.parent
NAMES = sorted(models())


def again(model: Any, folder: Path) -> Any:
    model.save(folder / "again.model")
    return mf.load(folder / "again.model")


# ---- every property and method


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What another process says of the models that were saved."""
    folder = tmp_path_factory.mktemp("models")
    for name, model in models().items():
        model.save(folder / f"{name}.model")
    run = subprocess.run([sys.executable, "-m", "tests.saved_models", str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    found: dict[str, Any] = pickle.loads((folder / "told.pickle").read_bytes())
    return found


def test_there_are_fits_enough() -> None:
    for kind in (mf.LinearMixedModel, mf.GeneralizedLinearMixedModel):
        assert sum(isinstance(model, kind) for model in models().values()) >= 15


@pytest.mark.parametrize("name", NAMES)
def test_a_new_process_says_the_same(name: str, elsewhere: dict[str, Any]) -> None:
    """Exactly: numbers bit by bit, texts letter by letter; whatever is public, so that new verbs are covered."""
    assert differences(told(models()[name]), elsewhere[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_pickles_copies_and_texts_are_the_same(name: str) -> None:
    model = models()[name]
    expected = told(model)
    for other in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), mf.revive(model.as_json(pretty=True))):
        assert other is not model
        assert differences(expected, told(other)) == []


@pytest.mark.parametrize("name", NAMES)
def test_files_of_equal_models_are_equal(name: str, tmp_path: Path) -> None:
    models()[name].save(tmp_path / "one")
    mf.load(tmp_path / "one").save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_arrays_are_as_writeable_as_they_were(name: str, tmp_path: Path) -> None:
    """Kernels are compiled for one or the other; what is handed out stays read-only."""
    model = models()[name]

    def flags(found: Any) -> list[bool]:
        frame = (found if isinstance(found, mf.ModelSpec) else found.spec).compiled.frame
        arrays = [frame.response, frame.weights, frame.offset, frame.kept_rows]
        arrays += [getattr(v, "values", getattr(v, "codes", None)) for v in frame.variables.values()]
        if not isinstance(found, mf.ModelSpec):
            result = found.result
            point = result.lam if isinstance(found, mf.LinearMixedModel) else result.point
            arrays += [result.theta, result.beta, result.vcov, point, *result.effects, *result.spherical]
        return [a.flags.writeable for a in arrays if isinstance(a, np.ndarray)]

    for other in (again(model, tmp_path), copy.deepcopy(model)):
        assert flags(other) == flags(model)


# ---- what a loaded model is


def test_nothing_is_optimized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fit = models()["slopes"]
    fit.save(tmp_path / "fit")

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a search")

    for module in (certificate, prepared):
        monkeypatch.setattr(module, "minimize", refuse)
    loaded = mf.load(tmp_path / "fit")
    assert not loaded.handle_alive
    assert loaded.beta.tobytes() == fit.beta.tobytes()
    assert loaded.artifact == fit.artifact
    assert_frame_equal(loaded.fixef(), fit.fixef())
    assert not loaded.handle_alive
    assert_frame_equal(loaded.ranef(cond_var=True), fit.ranef(cond_var=True))
    assert loaded.handle_alive
    assert fit.handle_alive
    assert loaded.loglik_at(reml=False) == fit.loglik_at(reml=False)


def test_loading_issues_no_notice(tmp_path: Path) -> None:
    models()["subset"].save(tmp_path / "fit")
    with warnings.catch_warnings():
        warnings.simplefilter("error", MixeffNotice)
        assert mf.load(tmp_path / "fit").nobs == models()["subset"].nobs


def test_expressions_become_values(tmp_path: Path) -> None:
    fit, data = models()["weighted"], crossed()
    call = again(fit, tmp_path).call
    assert_series_equal(call.weights, data["w"] * 2.0, check_names=False)
    assert (call.offset, call.subset, call.formula) == ("o", None, fit.call.formula)
    assert_frame_equal(call.data, data)
    subset = again(models()["subset"], tmp_path).call
    assert subset.subset.to_list() == (np.arange(240) % 5 > 0).tolist()
    assert (subset.weights, subset.na_action) == ("w", "omit")
    assert again(models()["nested"], tmp_path).call.roles == mf.roles(batch="batch")
    coding = again(models()["contrasts"], tmp_path).call.contrasts["a"]
    assert coding == [[1.0, 0.0], [0.0, 1.0], [-1.0, -1.0]]


def test_updates_of_a_loaded_fit(tmp_path: Path) -> None:
    fit = models()["weighted"]
    loaded = again(fit, tmp_path)
    assert loaded.update(". ~ . + z").beta.tobytes() == fit.update(". ~ . + z").beta.tobytes()
    assert loaded.update(weights=None).beta.tobytes() == fit.update(weights=None).beta.tobytes()
    with pytest.raises(DataError, match="240 values"):
        loaded.update(data=crossed(100))


def test_a_refit_keeps_its_response(tmp_path: Path) -> None:
    fit = models()["refit"]
    loaded = again(fit, tmp_path)
    assert loaded.call.response.tobytes() == fit.call.response.tobytes()
    assert loaded.update(". ~ . + z").beta.tobytes() == fit.update(". ~ . + z").beta.tobytes()
    assert loaded.spec.fit(reml=False).beta.tobytes() == fit.spec.fit(reml=False).beta.tobytes()


@pytest.mark.parametrize("name", ["streamed", "statistics"])
def test_rows_that_are_elsewhere_stay_there(name: str, tmp_path: Path) -> None:
    fit = models()[name]
    loaded = again(fit, tmp_path)
    assert loaded.call.data is ROWS_ELSEWHERE
    with pytest.raises(InferenceUnavailable, match="no rows"):
        loaded.update(". ~ . + z")
    assert loaded.update(". ~ . + z", data=crossed()).coef_names[-1] == "z"
    assert loaded.spec.fit(reml=False).beta.tobytes() == fit.spec.fit(reml=False).beta.tobytes()
    assert pickle.loads(pickle.dumps(ROWS_ELSEWHERE)) is ROWS_ELSEWHERE


def test_values_per_row_of_rows_that_are_elsewhere_are_not_kept(tmp_path: Path) -> None:
    fit = models()["streamed"]
    given = copy.copy(fit)
    given.spec = fit.spec._recompiled(replace(fit.call, weights=pl.col("w")), fit.spec.compiled, fit.spec._source)
    loaded = again(given, tmp_path)
    assert loaded.call.weights is ROWS_ELSEWHERE
    with pytest.raises((InferenceUnavailable, ArgumentError)):
        loaded.update(data=crossed())
    assert loaded.update(data=crossed(), weights="w").nobs == 240


def test_prepared_models_of_loaded_specs(tmp_path: Path) -> None:
    y = np.random.default_rng(0).normal(size=(240, 3))
    spec = models()["spec"]
    found = again(spec, tmp_path).prepare().refit_many(y, certify=False)
    assert found.theta.tobytes() == spec.prepare().refit_many(y, certify=False).theta.tobytes()


def test_pickling_does_not_build_the_artifact() -> None:
    fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
    other = pickle.loads(pickle.dumps(fit))
    assert "artifact" not in fit.__dict__
    assert "artifact" not in other.__dict__
    assert other.artifact == fit.artifact
    assert "artifact" in pickle.loads(pickle.dumps(fit)).__dict__


def test_copies_share_nothing_that_can_be_written_to() -> None:
    fit = models()["slopes"]
    other = copy.deepcopy(fit)
    other.result.effects[0][:] = 0.0
    assert np.any(fit.result.effects[0] != 0.0)


# ---- what a file is


def test_a_file_is_a_zip_of_plain_members(tmp_path: Path) -> None:
    models()["expressions"].save(tmp_path / "fit")
    with zipfile.ZipFile(tmp_path / "fit") as archive:
        assert all(info.compress_type == zipfile.ZIP_STORED for info in archive.infolist())
        names = archive.namelist()
    parts = contents(tmp_path / "fit")
    assert {"artifact.json", "state.json", "data.parquet", "manifest.json", "arrays/theta.npy"} <= set(names)
    assert json.loads(parts["artifact.json"]) == json.loads(models()["expressions"].artifact.model_dump_json())
    header = json.loads(parts["manifest.json"])["header"]
    assert (header["schema_name"], header["schema_version"]) == ("mixeff_fast.archive", "1.0.0")
    for name, content in parts.items():
        if name.endswith(".npy"):
            np.load(io.BytesIO(content), allow_pickle=False)
    assert_frame_equal(pl.read_parquet(io.BytesIO(parts["data.parquet"])), crossed())


def test_columns(tmp_path: Path) -> None:
    fit = models()["weighted"]
    fit.save(tmp_path / "all")
    fit.save(tmp_path / "own", columns="model")
    assert mf.load(tmp_path / "all").call.data.columns == crossed().columns
    own = mf.load(tmp_path / "own")
    assert own.call.data.columns == ["y", "x", "g", "o"]
    assert own.artifact == fit.artifact
    with pytest.raises(DataError, match="no column 'z'"):
        own.update(". ~ . + z")
    with pytest.raises(ArgumentError, match="columns"):
        fit.save(tmp_path / "none", columns="none")
    models()["spec"].save(tmp_path / "spec")
    assert mf.load(tmp_path / "spec").call.data.columns == ["y", "x", "a", "g", "h", "t"]
    models()["lazy"].save(tmp_path / "lazy")
    assert sorted(mf.load(tmp_path / "lazy").call.data.columns) == ["a", "g", "h", "y"]


def test_columns_that_no_file_holds_are_left_out(tmp_path: Path) -> None:
    data = crossed().with_columns(pl.Series("things", [object()] * 240, dtype=pl.Object))
    loaded = again(mf.lmm("y ~ x + (1 | g)", data), tmp_path)
    assert loaded.call.data.columns == crossed().columns
    frame = crossed().to_pandas()
    frame["mixed"] = [1, "a"] * 120
    assert again(mf.lmm("y ~ x + (1 | g)", frame.drop(columns="notes")), tmp_path).call.data.columns == crossed().columns[:-1]


def test_pickles_and_copies_leave_columns_of_objects_out() -> None:
    data = pl.DataFrame({"y": [1.0, 2.0, 4.0, 3.0, 2.0, 5.0], "g": list("aabbcc")}).with_columns(
        o=pl.Series([object()] * 6, dtype=pl.Object))
    fit = mf.lmm("y ~ 1 + (1 | g)", data)
    for again in (pickle.loads(pickle.dumps(fit)), copy.deepcopy(fit)):
        assert again.theta.tolist() == fit.theta.tolist()
        assert "o" not in again.spec.call.data.columns


def test_tables_keep_their_types() -> None:
    frame = crossed().with_columns(
        pl.lit(None).alias("nothing"), pl.col("w").cast(pl.Float32).alias("short"), pl.col("k").cast(pl.Int8).alias("small"),
        pl.date(2020, 1, 1).alias("day"), pl.col("w").cast(pl.Decimal(10, 2)).alias("money"),
    )
    content = frame_bytes(frame)
    found = read_frame(content, "table", saved_budget(len(content)))
    assert found.schema == frame.schema
    assert_frame_equal(found, frame)


def saved_budget(size: int) -> Any:
    from mixeff_fast.storage.budget import Budget

    return Budget(size)


def test_what_was_there_stays_when_writing_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit"
    models()["scalar"].save(path)
    before = path.read_bytes()

    def members(_: Any) -> Any:
        yield "state.json", b"{}"
        raise OSError("the disk is full")

    monkeypatch.setattr("mixeff_fast.storage.members.model_members", members)
    with pytest.raises(OSError, match="full"):
        models()["slopes"].save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_files_are_as_open_as_others(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    models()["scalar"].save(tmp_path / "fit")
    assert (tmp_path / "fit").stat().st_mode == (tmp_path / "other").stat().st_mode


# ---- the doors


def test_revive_takes_texts_and_paths(tmp_path: Path) -> None:
    fit = models()["scalar"]
    fit.save(tmp_path / "fit")
    (tmp_path / "text").write_text(fit.as_json(pretty=True))
    for source in (fit.as_json(), "\n " + fit.as_json(), tmp_path / "fit", str(tmp_path / "fit"), tmp_path / "text"):
        assert mf.revive(source).artifact == fit.artifact
    assert mf.load(tmp_path / "text").artifact == fit.artifact
    with pytest.raises(ArgumentError, match="source"):
        mf.revive(fit)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError):
        mf.revive(tmp_path / "absent")
    with pytest.raises(FileNotFoundError):
        mf.load("absent")


def test_the_text_holds_the_artifact() -> None:
    fit = models()["scalar"]
    document = json.loads(fit.as_json())
    assert document["header"]["schema_name"] == "mixeff_fast.model_object"
    assert document["artifact"] == json.loads(fit.artifact.model_dump_json())
    assert json.loads(fit.as_json(pretty=True)) == document
    assert "\n" not in fit.as_json()
    with pytest.raises(ArgumentError, match="pretty"):
        fit.as_json(pretty="yes")


def test_memory_limit(tmp_path: Path) -> None:
    models()["scalar"].save(tmp_path / "fit")
    for door, source in ((mf.load, tmp_path / "fit"), (mf.revive, models()["scalar"].as_json())):
        with pytest.raises(SchemaError, match="memory_limit="):
            door(source, memory_limit=1000)
        assert door(source, memory_limit=10**9).artifact == models()["scalar"].artifact
        with pytest.raises(ArgumentError, match="memory_limit"):
            door(source, memory_limit=-1)


def test_each_kind_of_file_has_its_door(tmp_path: Path) -> None:
    mf.sufficient_statistics("y ~ x + (1 | g)", crossed()).save(tmp_path / "sums")
    models()["scalar"].save(tmp_path / "fit")
    with pytest.raises(SchemaError, match=r"SufficientStatistics\.load"):
        mf.load(tmp_path / "sums")
    with pytest.raises(SchemaError, match=r"load\(\)"):
        mf.SufficientStatistics.load(tmp_path / "fit")


def test_later_minor_versions_are_read(tmp_path: Path) -> None:
    """With what they added left out."""
    models()["scalar"].save(tmp_path / "fit")
    parts = contents(tmp_path / "fit")
    for name in ("artifact.json", "state.json"):
        document = json.loads(parts[name])
        document["header"] |= {"schema_version": "1.7.0", "package_version": "99.0.0"}
        parts[name] = json.dumps({**document, "added": [1, 2]}).encode()
    (tmp_path / "later").write_bytes(zipped(forged(parts)))
    loaded = mf.load(tmp_path / "later")
    assert loaded.beta.tobytes() == models()["scalar"].beta.tobytes()
    assert loaded.artifact.header.schema_version == "1.7.0"


def test_stored_values_win_over_evaluated_ones() -> None:
    """Libraries and processors differ in the last digits; the numbers of a fit belong to the digits that were stored."""
    frame = models()["expressions"].spec.compiled.frame
    stored = states.evaluated(frame, False)
    assert set(stored.values) == {"poly(x, 2)", "bs(z, df = 4)", "scale(log(x + 30))", "(response)"}

    def moved(by: float) -> states.Evaluated:
        values: dict[str, NDArray[np.float64]] = {key: array * (1.0 + by) for key, array in stored.values.items()}
        return states.Evaluated(values, stored.learned)

    near = states.with_evaluated(frame, moved(1e-12), False)
    assert near.response.tobytes() == moved(1e-12).values["(response)"].tobytes()
    assert not near.response.flags.writeable
    with pytest.raises(SchemaError, match=r"poly\(x, 2\)"):
        states.with_evaluated(frame, moved(1e-3), False)


def test_every_argument_is_tested() -> None:
    import inspect

    assert set(inspect.signature(saved.load).parameters) == {"path", "memory_limit"}
    assert set(inspect.signature(saved.revive).parameters) == {"source", "memory_limit"}
    assert set(inspect.signature(saved.Saved.save).parameters) == {"self", "path", "columns"}
    assert set(inspect.signature(saved.Saved.as_json).parameters) == {"self", "pretty"}


@pytest.mark.parametrize("bars", ["(1 | g) + (1 | g)", "(1 | g) + (x | g)", "(1 + `g.x` | h) + (1 | h) + (1 | `h.g`)"])
def test_parameters_of_one_name_are_told_apart(tmp_path: Path, bars: str) -> None:
    stream = np.random.default_rng(6)
    n = 120
    data = pl.DataFrame({
        "y": stream.normal(size=n), "x": stream.normal(size=n), "g.x": stream.normal(size=n),
        "g": [f"g{i % 12}" for i in range(n)], "h": [f"h{i % 10}" for i in range(n)], "h.g": [f"k{i % 7}" for i in range(n)],
    })  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = mf.lmm(f"y ~ x + {bars}", data)
    assert len(set(fit.theta_names)) == len(fit.theta)
    assert fit.artifact.summary is not None
    assert list(fit.artifact.summary.theta.values()) == fit.theta.tolist()
    fit.save(tmp_path / "fit")
    assert mf.load(tmp_path / "fit").theta_names == fit.theta_names
    assert mf.revive(fit.as_json()).theta.tolist() == fit.theta.tolist()
