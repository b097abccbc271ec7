"""Data read in batches give the fits that data in memory give, whatever the batches."""

from __future__ import annotations

import datetime as dt
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast.compile import check_formula
from mixeff_fast.errors import ArgumentError, DataError, FitError, FormulaError, InferenceUnavailable
from mixeff_fast.fit import statistics_sum
from mixeff_fast.fit.statistics import Statistics
from mixeff_fast.fit.statistics_fit import StatisticsSource, scan_statistics
from mixeff_fast.formula import model_formula
from mixeff_fast.frame import streambatches, streamlearn, streamlevels, streampoly, streamquantiles
from mixeff_fast.frame.streambatches import batches
from mixeff_fast.frame.streamsource import given_arguments, open_scan
from mixeff_fast.models import statistics as door
from mixeff_fast.models.lmm import LinearMixedModel
from mixeff_fast.models.spec import Call

N = 240


def make(n: int = N, seed: int = 0) -> pl.DataFrame:
    """Crossed, nested and unbalanced groups of every type of column, with effects of each."""
    rng = np.random.default_rng(seed)
    g = rng.integers(0, 12, n)
    h = rng.integers(0, 7, n)
    x = rng.normal(5.0, 2.0, n)
    z = rng.uniform(0.5, 4.0, n)
    a = rng.integers(0, 3, n)
    effect_g, effect_h, slope = rng.normal(size=12), rng.normal(size=7), 0.4 * rng.normal(size=12)
    y = 1e3 + 0.5 * x + np.array([0.0, 1.0, -1.0])[a] + effect_g[g] + effect_h[h] + slope[g] * x + rng.normal(size=n)
    day = dt.date(2020, 1, 1)
    return pl.DataFrame(
        {
            "y": y, "x": x, "z": z, "w": rng.uniform(0.5, 2.0, n), "o": rng.normal(size=n), "k": g * 1_000_003 - 4,
            "far": np.where(g % 2 == 0, g, g * (1 << 55)), "small": h.astype(np.int8), "half": h / 2.0 - 0.5,
            "g": [f"g{v:02d}" for v in (g * 7) % 12], "h": [chr(ord("z") - v) for v in h],
            "a": pl.Series([("low", "mid", "high")[v] for v in a], dtype=pl.Enum(["low", "mid", "none", "high"])),
            "b": [("u", "v", "w")[v] for v in rng.integers(0, 3, n)], "t": rng.random(n) < 0.4,
            "day": [day + dt.timedelta(days=int(v)) for v in g], "sub": rng.integers(0, 3, n), "keep": rng.random(n) < 0.8,
            "late": ["common"] * (n - 3) + ["last", "last", "common"],
        }
    ).with_columns(pl.col("g").cast(pl.Categorical).alias("cat"), pl.col("h").cast(pl.Categorical).alias("cath"),
                   pl.col("half").cast(pl.Decimal(10, 2)).alias("dec"), pl.col("half").cast(pl.Float32).alias("f32"))


def statistics(
    formula: str, data: Any, batch_rows: int = 50, threads: int | None = None, **given: Any
) -> tuple[Statistics, Any]:
    parsed = model_formula(formula)
    check_formula(parsed)
    contrasts = given.pop("contrasts", None)
    na_action = given.pop("na_action", "error")
    arguments = given_arguments(given.pop("weights", None), given.pop("offset", None), given.pop("subset", None))
    assert not given
    lazy = data.lazy() if isinstance(data, pl.DataFrame) else data
    scan = open_scan(lazy, parsed, arguments, na_action, batch_rows)
    return scan_statistics(scan, parsed, contrasts, threads=threads), scan


def streamed(
    formula: str, data: Any, batch_rows: int = 50, reml: bool = True, rescan: bool = True, **given: Any
) -> LinearMixedModel:
    found, scan = statistics(formula, data, batch_rows, **given)
    call = Call(formula, data, None, None, None, "error", None)
    return door._spec(found, StatisticsSource(found, scan if rescan else None), call).fit(reml=reml)


def quiet(f: Any, *args: Any, **keywords: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return f(*args, **keywords)


def close(one: Any, two: Any, tolerance: float) -> None:
    """Relative to the largest entry; NaN in the same places."""
    one, two = np.asarray(one, np.float64), np.asarray(two, np.float64)
    assert one.shape == two.shape
    scale = max(1e-3, float(np.max(np.abs(two[np.isfinite(two)]), initial=0.0)))
    np.testing.assert_allclose(one, two, rtol=0.0, atol=tolerance * scale, equal_nan=True)


def same_fit(one: LinearMixedModel, two: LinearMixedModel, tolerance: float = 1e-10) -> None:
    """The criterion and everything that is a smooth function of the data to 1e-10; theta is as good as its search, and the
    objective is flat there."""
    assert one.coef_names == two.coef_names
    assert one.theta_names == two.theta_names
    assert one.ngrps == two.ngrps
    assert one.nobs == two.nobs
    assert one.fit_status == two.fit_status
    assert one.result.objective == pytest.approx(two.result.objective, rel=tolerance, abs=tolerance * one.nobs)
    close(one.beta, two.beta, 10 * tolerance)
    close(one.theta, two.theta, 1e3 * tolerance)
    assert one.sigma == pytest.approx(two.sigma, rel=100 * tolerance)
    assert one.ranef().drop("condval").equals(two.ranef().drop("condval"))
    close(one.ranef()["condval"], two.ranef()["condval"], 1e3 * tolerance)
    close(one.vcov(), two.vcov(), 1e3 * tolerance)


MODELS = [
    "y ~ x + (1 | g)",
    "y ~ x + (x | g)",
    "y ~ x + (x || g)",
    "y ~ 0 + x + (0 + x | g)",
    "y ~ a * x + (1 | g) + (x | h)",
    "y ~ a + (1 | g) + (1 | h) + (1 | sub)",
    "y ~ a:b + t + (1 | b/h)",
    "y ~ x + (1 | g:h)",
    "y ~ x + (1 | h:sub) + (1 | h)",
    "y ~ b + (0 + a | g)",
    "log(y) ~ log(z) + I(x^2) + (1 | day)",
    "y ~ scale(x) + (scale(x) | g)",
    "y ~ center(z) + scale(x, center = FALSE) + (1 | g)",
    "y ~ I(scale(log(z))^2) + offset(scale(o)) + (1 | h)",
    "y ~ poly(x, 3) + (1 | g)",
    "y ~ poly(x, 6) + poly(z, 2, raw = TRUE) + (1 | g)",
    "y ~ bs(x, df = 5) + (1 | g)",
    "y ~ bs(x, knots = c(4, 6)) + ns(z, df = 3) + (1 | g)",
    "y ~ ns(x, df = 4, Boundary.knots = c(3, 8)) + (1 | g)",
    "y ~ cr(x, df = 5) + (1 | g)",
    'y ~ cc(x, df = 5, constraints = "center") + (1 | g)',
    "y ~ cr(x, knots = c(4, 6)) + (1 | g)",
    "y ~ factor(sub) + factor(b, levels = c(\"w\", \"u\", \"v\")) + (1 | g)",
    "y ~ x + (1 | k)",
    "y ~ x + (1 | far)",
    "y ~ x + (1 | small) + (1 | cat)",
    "y ~ cath + (1 | half)",
    "y ~ x + (1 | dec)",
    "y ~ x + (1 | f32)",
    "y ~ x + (1 | late) + (1 | a)",
    "y ~ x + (1 | t:a)",
]


@pytest.mark.parametrize("formula", MODELS)
def test_a_model_read_in_batches_is_the_model_in_memory(formula: str) -> None:
    data = make()
    same_fit(quiet(streamed, formula, data), quiet(mf.lmm, formula, data))


@pytest.mark.parametrize(
    "given",
    [
        {"weights": "w"},
        {"weights": pl.col("w") ** 2},
        {"weights": np.linspace(1.0, 2.0, N)},
        {"offset": "o", "weights": "w"},
        {"offset": pl.col("x") * 0.1},
        {"subset": "keep"},
        {"subset": pl.col("x") > pl.col("x").mean()},
        {"subset": np.arange(N) % 3 > 0, "offset": np.ones(N)},
        {"contrasts": {"a": "sum", "b": "poly"}},
        {"contrasts": {"b": {"matrix": [[1, 0], [0, 1], [-1, -1]], "names": ["one", "two"]}}},
    ],
    ids=lambda given: "-".join(f"{k}={type(v).__name__}" for k, v in given.items()),
)
def test_arguments_with_one_value_per_row(given: dict[str, Any]) -> None:
    data = make()
    formula = "y ~ a + b + poly(x, 2) + (x | g)"
    fit = quiet(streamed, formula, data, **given)
    same_fit(fit, quiet(mf.lmm, formula, data, **given))
    assert fit.nobs != N or "subset" not in given


@pytest.mark.parametrize("batch_rows", [1, 2, 7, 100, N - 1, N, 10 * N])
@pytest.mark.parametrize("reml", [True, False])
def test_the_size_of_batches_does_not_matter(batch_rows: int, reml: bool) -> None:
    data = make()
    formula = "y ~ a + scale(x) + (x | g) + (1 | late)"
    same_fit(quiet(streamed, formula, data, batch_rows, reml), quiet(mf.lmm, formula, data, reml=reml))


def test_missing_rows_are_left_out_and_counted() -> None:
    data = make().with_columns(
        pl.when(pl.int_range(N) % 11 == 3).then(None).otherwise(pl.col("x")).alias("x"),
        pl.when(pl.int_range(N) >= 200).then(None).otherwise(pl.col("g")).alias("g"),
        pl.when(pl.int_range(N) == 5).then(float("nan")).otherwise(pl.col("w")).alias("w"),
    )
    formula = "y ~ scale(x) + (x | g)"
    given = {"na_action": "omit", "weights": "w"}
    one, two = quiet(streamed, formula, data, 40, **given), quiet(mf.lmm, formula, data, **given)
    same_fit(one, two)
    assert one.spec.compiled.frame.na_counts == two.spec.compiled.frame.na_counts
    for name in ("n_source_rows", "n_rows", "missing", "weighted", "has_offset"):
        assert getattr(one.spec.artifact.data, name) == getattr(two.spec.artifact.data, name)
    notes = [note for note in two.spec.compiled.frame.notes if note.code == "rows_omitted"]
    assert notes == [note for note in one.spec.compiled.frame.notes if note.code == "rows_omitted"]
    with pytest.warns(mf.errors.MissingRowsNotice, match="of 240 rows were left out"):
        streamed(formula, data, 40, **given)


def test_empty_batches_do_not_matter() -> None:
    """A subset leaves nothing of some batches."""
    data = make()
    subset = (np.arange(N) < 30) | (np.arange(N) >= 150)
    same_fit(quiet(streamed, "y ~ x + (1 | g)", data, 10, subset=subset), quiet(mf.lmm, "y ~ x + (1 | g)", data, subset=subset))


def test_aliased_columns_are_found_in_the_rows() -> None:
    data = make().with_columns((2.0 * pl.col("x") - 1.0).alias("x2"), (pl.col("x") + 1e-5 * pl.col("z")).alias("near"))
    for formula in ("y ~ x + x2 + a + (1 | g)", "y ~ x + near + (1 | g)", "y ~ x + (x + near | g)", "y ~ a + a:b:t + (1 | g)",
                    "y ~ x + near + x2 + (1 | g)"):
        same_fit(quiet(streamed, formula, data, 30), quiet(mf.lmm, formula, data), 1e-9)


def test_statistics_alone_decide_on_aliases_where_the_rows_are_gone() -> None:
    data = make().with_columns((2.0 * pl.col("x") - 1.0).alias("x2"), (pl.col("x") + 1e-4 * pl.col("z")).alias("near"))
    for formula in ("y ~ x + x2 + a + (1 | g)", "y ~ x + near + (1 | g)", "y ~ x + (x + near | g)"):
        same_fit(quiet(streamed, formula, data, 30, rescan=False), quiet(mf.lmm, formula, data), 1e-7)


@pytest.mark.parametrize("formula", ["y ~ x + (x | g) + (1 | h)", "y ~ a + (1 | g) + (1 | h) + (1 | sub)", "y ~ x + (1 | k)"])
def test_the_number_of_threads_does_not_change_a_bit(formula: str) -> None:
    data = make(2000)
    found = [quiet(statistics, formula, data, 64, threads)[0].sums for threads in (1, 2, 3, 8)]
    for other in found[1:]:
        assert found[0].border.tobytes() == other.border.tobytes()
        assert [a.tobytes() for a in found[0].levels] == [a.tobytes() for a in other.levels]
        for a, b in zip(found[0].pairs, other.pairs, strict=True):
            assert a.keys.tobytes() == b.keys.tobytes()
            assert a.products.tobytes() == b.products.tobytes()
        assert found[0].meetings.tobytes() == other.meetings.tobytes()


def test_pair_tables_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics_sum, "_DIRECT_BYTES", 0)
    monkeypatch.setattr(statistics_sum, "_FIRST_SLOTS", 4)
    data = make()
    same_fit(quiet(streamed, "y ~ x + (x | g) + (1 | h)", data), quiet(mf.lmm, "y ~ x + (x | g) + (1 | h)", data))


def test_wide_levels_are_coded_without_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamlevels, "_SPAN", 8)
    monkeypatch.setattr(streamlevels, "_CELLS", 0)
    monkeypatch.setattr(streamlevels, "_PENDING_ROWS", 5)
    data = make()
    for formula in ("y ~ x + (1 | k)", "y ~ x + (1 | sub)", "y ~ x + (1 | h:sub)", "y ~ x + (1 | day)"):
        same_fit(quiet(streamed, formula, data, 20), quiet(mf.lmm, formula, data))


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=40), st.integers(1, 7))
@settings(max_examples=60, deadline=None)
def test_distinct_integers_and_their_codes(values: list[int], size: int) -> None:
    series = pl.Series("v", values, dtype=pl.Int64)
    collector = streamlevels.distinct(["v"], [pl.Int64()])
    for start in range(0, len(values), size):
        collector.see([series.slice(start, size)])
    found = collector.found()["v"]
    assert found.to_list() == sorted(set(values))
    code = streamlevels.lookup(found, np.arange(len(found), dtype=np.int32))
    assert found.gather(code(series)).equals(series)
    other = [v for v in (0, 7, -(2**63), 2**63 - 1) if v not in values]
    assert code(pl.Series(other, dtype=pl.Int64)).tolist() == [-1] * len(other)


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=300), st.integers(1, 40), st.integers(1, 6))
@settings(max_examples=80, deadline=None)
def test_quantiles_of_batches_are_exact(values: list[float], size: int, inner: int) -> None:
    x = np.array(values)
    levels = np.linspace(0.0, 1.0, inner + 2)[1:-1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamquantiles, "_SAMPLE", 8)
        patch.setattr(streamquantiles, "_PENDING", 10)
        quantiles = streamquantiles.Quantiles(levels)
        quantiles._sample = streamquantiles.Thinned(8)
        quantiles._reach = 0.3
        found, passes = None, 0
        while found is None:
            passes += 1
            assert passes < 20
            for start in range(0, len(x), size):
                quantiles.see(x[start : start + size])
            found = quantiles.finish_pass()
    np.testing.assert_array_equal(found, np.quantile(x, levels))


def test_large_polynomials_are_corrected_by_a_second_pass() -> None:
    rng = np.random.default_rng(3)
    x = 1e4 + np.sort(rng.gamma(2.0, 3.0, 4000))
    moments = streampoly.PolynomialMoments("x", 9)
    memory = None
    while memory is None:
        for start in range(0, len(x), 500):
            moments.see(x[start : start + 500])
        memory = moments.finish_pass()
    t = (x - x.mean()) / x.std()
    orthonormal = np.linalg.qr(np.vander(t, 10, increasing=True))[0]
    column = np.ones_like(x)
    before = np.zeros_like(x)
    for k in range(9):
        beta = memory["norms2"][k] / memory["norms2"][k - 1] if k else 0.0
        column, before = (x - memory["alpha"][k]) * column - beta * before, column
        own = column / np.sqrt(memory["norms2"][k + 1])
        assert abs(abs(own @ orthonormal[:, k + 1]) - 1.0) < 1e-9


def test_a_file_is_read_twice_at_most(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = make(3000)
    for i in range(3):
        data.slice(1000 * i, 1000).write_parquet(tmp_path / f"part{i}.parquet")
    lazy = pl.scan_parquet(tmp_path / "*.parquet")
    runs: list[int] = []
    monkeypatch.setattr(door, "STREAM_ROWS", 500)

    def counted(query: pl.LazyFrame, rows: int) -> Any:
        runs.append(rows)
        return batches(query, rows)

    monkeypatch.setattr("mixeff_fast.frame.streamsource.batches", counted)
    for formula in ("y ~ x + (x | g)", "y ~ poly(x, 3) + scale(z) + (1 | g)", "y ~ bs(x, df = 6) + (1 | g)"):
        runs.clear()
        fit = quiet(mf.lmm, formula, lazy)
        assert len(runs) == 2
        same_fit(fit, quiet(mf.lmm, formula, lazy.collect()))
    monkeypatch.setattr(streamquantiles, "_SAMPLE", 500)
    monkeypatch.setattr(streamquantiles.Quantiles, "__init__", _small_sample)
    runs.clear()
    fit = quiet(mf.lmm, "y ~ bs(x, df = 6) + (1 | g)", lazy)
    assert len(runs) == 3
    same_fit(fit, quiet(mf.lmm, "y ~ bs(x, df = 6) + (1 | g)", lazy.collect()))


def _small_sample(self: Any, levels: Any) -> None:
    self._levels, self._sample, self._n = levels, streamquantiles.Thinned(500), 0
    self._brackets, self._reach = {}, 3.0


def test_small_lazy_frames_are_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    fit = mf.lmm("y ~ x + (1 | g)", data.lazy())
    assert fit.fitted.shape == (N,)
    monkeypatch.setattr(door, "STREAM_ROWS", N)
    assert mf.lmm("y ~ x + (1 | g)", data.lazy()).fitted.shape == (N,)
    monkeypatch.setattr(door, "STREAM_ROWS", N - 1)
    with pytest.raises(InferenceUnavailable):
        mf.lmm("y ~ x + (1 | g)", data.lazy()).fitted  # noqa: B018


def test_batches_without_the_interface_of_polars(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    monkeypatch.delattr(pl.LazyFrame, "collect_batches", raising=False)
    monkeypatch.setattr(streambatches, "_SLICE_ROWS", 100)
    assert [batch.height for batch in batches(data.lazy(), 64)] == [64, 64, 64, 48]
    assert pl.concat(batches(data.lazy(), 64)).equals(data)
    same_fit(streamed("y ~ x + (x | g)", data), mf.lmm("y ~ x + (x | g)", data))


def rows_of(**columns: Any) -> pl.DataFrame:
    """The data with a value put in some places of some columns."""
    data = make()
    return data.with_columns(
        pl.Series(name, [value if i in places else old for i, old in enumerate(data[name])])
        for name, (value, places) in columns.items()
    )


BAD = [
    ({"x": (float("nan"), {3, 77, 239})}, {}),
    ({"x": (float("nan"), set(range(0, N, 20))), "z": (float("nan"), {5})}, {}),
    ({"y": (float("inf"), {60, 61, 200})}, {}),
    ({"z": (0.0, {101, 102})}, {}),
    ({"w": (-1.0, {33, 150})}, {"weights": "w"}),
    ({"o": (float("inf"), {130})}, {"offset": pl.col("o")}),
    ({"x": (float("nan"), set(range(N)))}, {"na_action": "omit"}),
    ({}, {"subset": pl.col("x") > 1e9}),
    ({}, {"weights": np.ones(N - 1)}),
    ({}, {"weights": np.ones(N + 1)}),
]


@pytest.mark.parametrize(("columns", "given"), BAD)
def test_unusable_rows_are_refused_as_in_memory(columns: dict[str, Any], given: dict[str, Any], monkeypatch: Any) -> None:
    """The same words, columns, counts and row numbers, before anything is summed."""
    data = rows_of(**columns)
    formula = "y ~ x + log(z) + (1 | g)"
    with pytest.raises(DataError) as in_memory:
        quiet(mf.lmm, formula, data, **given)
    monkeypatch.setattr("mixeff_fast.fit.statistics_fit.sum_rows", None)
    with pytest.raises(DataError) as in_batches:
        quiet(streamed, formula, data, 25, **given)
    assert str(in_batches.value) == str(in_memory.value)
    assert in_batches.value.fields == in_memory.value.fields


@pytest.mark.parametrize(
    ("formula", "given", "error"),
    [
        ("y ~ nothing + (1 | g)", {}, DataError),
        ("y ~ x", {}, FitError),
        ("g ~ x + (1 | h)", {}, DataError),
        ("factor(g) ~ x + (1 | h)", {}, DataError),
        ("cbind(y, x) ~ z + (1 | h)", {}, InferenceUnavailable),
        ("y ~ log(g) + (1 | h)", {}, DataError),
        ("y ~ poly(x, 0) + (1 | h)", {}, FormulaError),
        ("y ~ poly(t, 2) + (1 | h)", {}, DataError),
        ("y ~ bs(x, df = 1) + (1 | h)", {}, FormulaError),
        ("y ~ bs(x, knot = 3) + (1 | h)", {}, FormulaError),
        ("y ~ ns(x, df = 0) + (1 | h)", {}, FormulaError),
        ("y ~ cr(x) + (1 | h)", {}, FormulaError),
        ("y ~ scale(poly(x, 2)) + (1 | h)", {}, FormulaError),
        ("y ~ x + (1 | g)", {"contrasts": {"x": "sum"}}, ArgumentError),
        ("y ~ a + (1 | g)", {"contrasts": {"a": "none"}}, ArgumentError),
        ("y ~ x + (1 | g)", {"na_action": "drop"}, ArgumentError),
        ("y ~ x + (1 | g)", {"subset": "x"}, ArgumentError),
        ("y ~ x + (1 | g)", {"weights": pl.col("nothing")}, DataError),
        ("y ~ x + (1 | g)", {"weights": pl.all()}, ArgumentError),
        ("y ~ x + (1 | g)", {"weights": "g"}, DataError),
        ("y ~ x + (1 | g)", {"weights": 3 + 4j}, ArgumentError),
        ("one ~ x + (1 | g)", {}, FitError),
        ("y ~ x + (1 | id)", {}, mf.errors.NotIdentifiable),
        ("y ~ x + (1 | only)", {}, mf.errors.NotIdentifiable),
        ("y ~ only + (1 | g)", {}, DataError),
        ("y ~ x + (1 | lists)", {}, DataError),
        ("y ~ huge + (1 | g)", {}, DataError),
    ],
)
def test_what_memory_refuses_is_refused(formula: str, given: dict[str, Any], error: type[Exception]) -> None:
    data = make().with_columns(
        pl.lit(1.0).alias("one"), pl.int_range(N).cast(pl.String).alias("id"), pl.lit("s").alias("only"),
        pl.concat_list("x", "z").alias("lists"), (pl.col("x") * 1e200).alias("huge"),
    )
    for fit in (mf.lmm, streamed):
        with pytest.raises(error):
            quiet(fit, formula, data, **given)


def test_queries_that_fail_name_their_reason() -> None:
    with pytest.raises(DataError, match="cannot be collected"):
        list(batches(pl.scan_parquet("/nowhere/*.parquet"), 10))
    with pytest.raises(DataError, match="no rows"):
        streamed("y ~ x + (1 | g)", make().head(0))


def test_data_that_change_between_readings_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = make()
    changed = {
        "fewer": data.head(200),
        "other levels": data.with_columns(pl.lit("new").alias("g")),
        "infinite": data.with_columns(pl.lit(float("inf")).alias("x")),
    }
    for second in changed.values():
        readings = iter([data, second])
        monkeypatch.setattr("mixeff_fast.frame.streamsource.batches", lambda q, n, r=readings: batches(next(r).lazy(), n))
        with pytest.raises(DataError, match=r"changed|first read|not finite"):
            streamed("y ~ x + (1 | g)", data)


def test_too_many_knots_of_different_values(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streamlearn, "_MOST_VALUES", 100)
    with pytest.raises(DataError, match="give knots"):
        streamed("y ~ cr(x, df = 5) + (1 | g)", make())
    streamed("y ~ cr(x, knots = c(4, 6)) + (1 | g)", make())


@pytest.fixture
def rowless() -> LinearMixedModel:
    return streamed("y ~ a + x + (x | g)", make(), weights="w", offset="o")


@pytest.mark.parametrize(
    "use",
    [
        lambda f: f.fitted,
        lambda f: f.weights,
        lambda f: f.offset,
        lambda f: f.residuals(),
        lambda f: f.residuals("pearson", True),
        lambda f: f.model_frame(),
        lambda f: f.model_matrix(),
        lambda f: f.model_matrix("random"),
        lambda f: f.predict(),
        lambda f: f.simulate(1, seed=1),
        lambda f: f.refit(np.arange(N, dtype=np.float64)),
        lambda f: f.get_me("y"),
        lambda f: f.get_me("flist"),
        lambda f: f.get_me("X"),
        lambda f: mf.compare(f, f),
    ],
)
def test_what_needs_rows_says_so(rowless: LinearMixedModel, use: Any) -> None:
    with pytest.raises(InferenceUnavailable) as refused:
        use(rowless)
    assert refused.value.reason_code == "rows_not_in_memory"
    assert "collect()" in str(refused.value)


def test_what_needs_no_rows_works(rowless: LinearMixedModel) -> None:
    data = make()
    fit = quiet(mf.lmm, "y ~ a + x + (x | g)", data, weights="w", offset="o")
    same_fit(rowless, fit)
    for name in ("loglik", "deviance", "reml_criterion", "aic", "bic", "df_residual", "n_parameters", "formula"):
        assert getattr(rowless, name) == pytest.approx(getattr(fit, name), rel=1e-10) if name != "formula" else True
    assert rowless.extract_aic()[1] == pytest.approx(fit.extract_aic()[1], rel=1e-10)
    assert rowless.varcorr().drop("vcov", "sdcor").equals(fit.varcorr().drop("vcov", "sdcor"))
    assert rowless.coef().height == fit.coef().height
    close(rowless.ranef(cond_var=True)["condsd"], fit.ranef(cond_var=True)["condsd"], 1e-8)
    close(rowless.vcov("theta"), fit.vcov("theta"), 1e-5)
    close(rowless.predict(data), fit.predict(), 1e-9)
    assert rowless.terms().equals(fit.terms())
    assert rowless.artifact.summary.scaled_residuals is None
    assert not rowless.artifact.compiled.reproducibility.rows_in_memory
    assert "Scaled residuals: not computed" in str(rowless.summary())
    assert rowless.spec.artifact.coefficients == fit.spec.artifact.coefficients
    assert rowless.spec.artifact.levels == fit.spec.artifact.levels
    assert rowless.as_json()
    assert repr(rowless)
    assert rowless.confint().height == fit.confint().height


def test_the_benchmark_runs(tmp_path: Path) -> None:
    from benchmarks import streaming

    path = tmp_path / "big.parquet"
    streaming.generate(path, 4000, 25)
    assert pl.scan_parquet(path).select(pl.len(), pl.col("g").n_unique()).collect().row(0) == (4000, 25)
    for what in (streaming.FLOOR, *streaming.FORMULAS):
        found = quiet(streaming.measure, path, what)
        assert found["what"] == what
        assert float(found["seconds"]) > 0.0
        assert (found.get("status") == "converged_interior") == (what != streaming.FLOOR)


def test_update_reads_the_scan_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(door, "STREAM_ROWS", 10)
    data = make()
    fit = mf.lmm("y ~ x + (1 | g)", data.lazy())
    same_fit(fit.update(". ~ . + z"), mf.lmm("y ~ x + z + (1 | g)", data))
    same_fit(fit.update(data=data.head(120)), mf.lmm("y ~ x + (1 | g)", data.head(120)))
    assert fit.update(data=data).fitted.shape == (N,)
