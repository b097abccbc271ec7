"""Every kind of bad input, through the public functions: refused with a typed error before any optimization, or
accepted in a way that is written down."""

from __future__ import annotations

import contextlib
import datetime
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import mixeff_fast as mf
from mixeff_fast import errors
from mixeff_fast.errors import ArgumentError, DataError, FormulaError, MixeffError, MixeffNotice
from tests.bad_families import FAMILIES
from tests.bad_input import (
    ACCEPTED,
    ARGUMENTS,
    ATTEMPTS,
    CALLABLES,
    CODES,
    DATA,
    DATA_RULES,
    FORMULAS,
    INF,
    METHODS,
    NAN,
    SOURCES,
    Acceptance,
    F,
    Refusal,
    fitted,
)


@pytest.fixture
def no_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any search for an optimum fails the test; the fits whose methods are tested exist beforehand."""
    fitted()
    for formula in (F, "log(y) ~ x + (1 | g)", "flag ~ x + (1 | g)"):
        fitted(formula)

    def reached(*arguments: object) -> None:
        raise AssertionError("bad input reached the optimizer")

    monkeypatch.setattr("mixeff_fast.fit.lmm.optimum", reached)


@pytest.mark.usefixtures("no_optimizer")
@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
@pytest.mark.parametrize("case", [*FORMULAS, *DATA_RULES, *SOURCES, *ARGUMENTS, *METHODS, *FAMILIES], ids=lambda case: case.id)
def test_refused(case: Refusal) -> None:
    with pytest.raises(MixeffError) as caught:
        case.call()
    error = caught.value
    assert type(error) is case.error
    assert error.code == CODES[case.error]
    assert {name: error.fields.get(name) for name in case.fields} == case.fields
    assert all(getattr(error, name) == value for name, value in case.fields.items())
    assert case.word in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.fields) == (str(error), error.fields)


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: case.id)
def test_accepted(case: Acceptance) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = case.call()
    assert tuple(warning.category for warning in caught) == case.notices
    assert all(Path(warning.filename).parent.name == "tests" for warning in caught)
    assert case.check(result)


def test_every_error_and_notice_is_documented() -> None:
    page = (Path(__file__).parent.parent / "docs/errors.md").read_text()
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]
    for each in classes:
        if each not in (MixeffError, MixeffNotice, Exception):
            assert f"`{each.__name__}`, `{each.code}`" in page
    for case in (*FORMULAS, *DATA_RULES, *SOURCES, *ARGUMENTS, *METHODS, *FAMILIES):
        assert all(f"`{name}`" in page for name in case.fields)
        assert f"`{case.fields.get('reason_code', 'reason_code')}`" in page or case.error is ArgumentError


@pytest.mark.parametrize("name", CALLABLES)
def test_unknown_arguments(name: str) -> None:
    with pytest.raises((TypeError, MixeffError), match="no_such_argument"):
        CALLABLES[name](no_such_argument=1)


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_no_formula_runs_code(attempt: str, tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    text = attempt.format(path=sentinel)
    right = text.partition("~")[2]
    with pytest.raises((FormulaError, DataError)):
        mf.lmm(text, DATA)
    doors: tuple[Callable[[], object], ...] = (
        lambda: mf.lmm(text, DATA.to_pandas()),
        lambda: mf.parse_formula(text),
        lambda: fitted(F).update(text),
        lambda: fitted(F).update(f". ~ . + {right}"),
        lambda: fitted(F).predict(re_form=f"~{right}"),
        lambda: mf.lmm(F, DATA, weights=text),
        lambda: mf.lmm("y ~ a + (1 | g)", DATA, contrasts={"a": text}),
    )
    for door in doors:
        with contextlib.suppress(MixeffError):
            door()
    assert not any(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.MixeffNotice")
def test_columns_named_like_code_are_columns(tmp_path: Path) -> None:
    sentinel = tmp_path / "ran"
    for code in (f"open('{sentinel}', 'w')", f"__import__('os').mkdir('{sentinel}')", f"{{open('{sentinel}', 'w')}}"):
        calls = ("log(`{}` + 1)", "scale(`{}`)", "poly(`{}`, 2)", "bs(`{}`, df = 4)", "cr(`{}`, df = 3)")
        fits = [
            mf.lmm(f"y ~ {' + '.join(call.format(name) for call in calls)} + (1 | `{name}`)",
                   DATA.with_columns(DATA["z"].alias(name)))
            for name in (code, "z")
        ]
        assert np.array_equal(fits[0].beta, fits[1].beta, equal_nan=True)
    assert not any(tmp_path.iterdir())


# Values of every type a column can have, good and bad; the sizes are those that float64 arithmetic can square.
_REALS = st.one_of(st.floats(1e-6, 1e6), st.floats(-1e6, -1e-6), st.integers(-3, 3).map(float))
_COLUMNS: dict[str, tuple[pl.DataType | type[pl.DataType], st.SearchStrategy[Any]]] = {
    "float": (pl.Float64, _REALS),
    "small float": (pl.Float64, st.sampled_from([0.0, 1.0, 2.0, -1.0])),
    "constant": (pl.Float64, st.just(1.0)),
    "special": (pl.Float64, st.sampled_from([0.0, 1.0, NAN, INF, -INF])),
    "float32": (pl.Float32, st.floats(-100, 100, width=32)),
    "int": (pl.Int64, st.integers(-5, 5)),
    "byte": (pl.UInt8, st.integers(0, 255)),
    "unsigned": (pl.UInt64, st.integers(2**64 - 9, 2**64 - 1)),
    "wide": (pl.Int128, st.integers(2**90, 2**90 + 3)),
    "boolean": (pl.Boolean, st.booleans()),
    "string": (pl.String, st.sampled_from(["", "s", "t", "é", "1"])),
    "category": (pl.Categorical, st.sampled_from(["s", "t", "u"])),
    "enum": (pl.Enum(["never", "t", "s"]), st.sampled_from(["s", "t"])),
    "date": (pl.Date, st.dates(datetime.date(2020, 1, 1), datetime.date(2020, 1, 4))),
    "duration": (pl.Duration, st.timedeltas(datetime.timedelta(0), datetime.timedelta(2))),
    "decimal": (pl.Decimal(12, 2), st.decimals(-9, 9, places=2)),
    "list": (pl.List(pl.Float64), st.lists(st.floats(0, 1), max_size=2)),
    "struct": (pl.Struct({"f": pl.Float64}), st.fixed_dictionaries({"f": st.floats(0, 1)})),
    "binary": (pl.Binary, st.binary(max_size=2)),
    "null": (pl.Null, st.none()),
}
_USUAL = {"y": ["float", "float", "small float", "int"], "x": ["float", "boolean", "string", "int"],
          "z": ["float", "small float"],
          "g": ["string", "enum", "int"], "h": ["category", "boolean", "string"]}
_TERMS = ["x", "z", "x:z", "x*z", "z/x", "(x + z)^2", "1", "0", "I(z^2)", "scale(z)", "factor(x)", "offset(z)",
          "sqrt(abs(z))", "h"]
_ODD_TERMS = ["nope", "y", "2", "rank(x)", "log(z)", "exp(z)", "poly(z, 2)", "I(z / 0)", "I(x)", "", "g"]
_EFFECTS, _ODD_EFFECTS = ["1", "1", "1", "x", "0 + x", "z", "x + z"], ["0", "factor(x)", "x*z", "", "g"]
_GROUPS, _ODD_GROUPS = ["g", "g", "h", "g:h", "g/h", "g & h"], ["x", "factor(z)", "", "y", "nope", "g + h"]
_ARGUMENTS: dict[str, tuple[list[Any], list[Any]]] = {
    "reml": ([True, False], ["yes"]),
    "na_action": (["omit"], ["error", "drop"]),
    "weights": ([None, None, pl.col("z").abs() + 1], ["z", "h", [1.0, 2.0], pl.col("z").head(2)]),
    "offset": ([None, None, pl.lit(1e6), "z"], ["g", "nope"]),
    "subset": ([None, None, pl.col("z") > -2], [pl.col("z") > 1, "h"]),
    "contrasts": ([None], [{"x": "sum"}, {"h": "poly"}]),
}


def mostly(draw: st.DrawFn, usual: list[Any], odd: list[Any]) -> Any:
    """One of the usual values, or now and then an odd one."""
    return draw(st.sampled_from(usual if draw(st.integers(0, 19)) else odd))


@st.composite
def frames(draw: st.DrawFn) -> pl.DataFrame:
    n = draw(st.one_of(st.integers(8, 30), st.integers(8, 30), st.integers(0, 8)))
    columns = []
    for name, usual in _USUAL.items():
        dtype, values = _COLUMNS[mostly(draw, usual, list(_COLUMNS))]
        if not draw(st.integers(0, 9)):
            values = st.one_of(values, st.none())
        columns.append(pl.Series(name, draw(st.lists(values, min_size=n, max_size=n)), dtype=dtype, strict=False))
    return pl.DataFrame(columns)


@st.composite
def formulas(draw: st.DrawFn) -> str:
    fixed = [mostly(draw, _TERMS, _ODD_TERMS) for _ in range(draw(st.integers(0, 3)))]
    random = [
        f"{mostly(draw, ['', '', 'diag'], ['us', 'cs'])}({mostly(draw, _EFFECTS, _ODD_EFFECTS)} "
        f"{mostly(draw, ['|'], ['||', '|||'])} {mostly(draw, _GROUPS, _ODD_GROUPS)})"
        for _ in range(mostly(draw, [1, 1, 2], [0, 3]))
    ]
    return f"{mostly(draw, ['y', 'y', 'I(y - z)'], ['log(y)', 'x', '', 'cbind(y, z)'])} ~ {' + '.join(fixed + random)}"


@st.composite
def arguments(draw: st.DrawFn) -> dict[str, Any]:
    return {name: mostly(draw, *choices) for name, choices in _ARGUMENTS.items()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(frames(), formulas(), arguments())
def test_any_input_is_refused_or_fitted(data: pl.DataFrame, formula: str, given_arguments: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", MixeffNotice)
        found = outcome(lambda: mf.lmm(formula, data, **given_arguments))
        if isinstance(found, MixeffError):
            event(type(found).__name__)
            assert found.code == CODES[type(found)]
        else:
            event(found.fit_status)
            assert_honest(found)


def outcome(fit: Callable[[], mf.LinearMixedModel]) -> mf.LinearMixedModel | MixeffError:
    try:
        return fit()
    except MixeffError as error:
        return error


def assert_honest(fit: mf.LinearMixedModel) -> None:
    """The numbers of a fit are finite, or the certificate says that there is no fit."""
    certificate = fit.result.certificate
    if not fit.fit_status.startswith("converged"):
        assert certificate.reason
        assert certificate.quality in ("failed", "approximate")
        return
    known = ~fit.result.aliased
    assert fit.sigma > 0.0
    for values in (fit.beta[known], fit.std_error[known], fit.theta, fit.fitted, fit.residuals(), fit.loglik, fit.aic,
                   fit.bic,
                   fit.ranef(cond_var=True).select("condval", "condsd").to_numpy()):
        assert np.isfinite(values).all()
    assert np.isnan(fit.beta[~known]).all()
    assert str(fit.summary())
    assert fit.as_json()
