"""Design matrices against R's ``model.matrix``: names, order, terms and values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mixeff_fast.formula import model_formula
from mixeff_fast.frame import FactorVariable, build_frame, contrast_matrix, design_columns, read_new
from mixeff_fast.frame.levels import number_label

REFERENCE = Path(__file__).parent / "reference"
# R ignores the subtraction of an offset; here it is a formula error.
REFUSED = {"y ~ a - offset(x)"}
CASES: list[dict[str, Any]] = [
    case for case in json.loads((REFERENCE / "formula.json").read_text())["cases"] if case["formula"] not in REFUSED
]
LEARNED: dict[str, Any] = json.loads((REFERENCE / "frame.json").read_text())


def close(values: np.ndarray, expected: Any, tolerance: float) -> bool:
    wanted = np.array(expected, dtype=np.float64).reshape(values.shape)
    return np.allclose(values, wanted, rtol=tolerance, atol=tolerance)


@pytest.fixture(scope="module")
def data() -> pl.DataFrame:
    return pl.read_csv(REFERENCE / "data" / "formula.csv")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['formula']} {case['contrasts'] or ''}")
def test_model_matrix_of_r(data: pl.DataFrame, case: dict[str, Any]) -> None:
    formula = model_formula(case["formula"])
    frame = build_frame(data, formula, contrasts=case["contrasts"] or None)
    design = design_columns(formula.fixed, frame.variables)
    assert list(design.names) == case["columns"]
    assert list(design.term_index) == case["assign"]
    assert list(design.labels) == case["terms"]
    assert [block.start for block in design.blocks] == [case["assign"].index(n) for n in sorted(set(case["assign"]))]
    values = design.matrix(frame.variables, frame.n)
    assert close(values, case["matrix"], 1e-13)
    pieces = np.full_like(values, np.nan)
    for start in range(0, frame.n, 7):
        rows = slice(start, min(start + 7, frame.n))
        design.fill(frame.variables, rows, pieces[rows])
    assert np.array_equal(pieces, values)
    again = read_new(frame.scheme, data.slice(3, 9))
    assert close(design.matrix(again.variables, again.n), values[3:12], 1e-13)


@pytest.mark.parametrize("case", LEARNED["cases"], ids=lambda case: case["formula"])
def test_transforms_on_new_data(data: pl.DataFrame, case: dict[str, Any]) -> None:
    formula = model_formula(case["formula"])
    frame = build_frame(data, formula)
    design = design_columns(formula.fixed, frame.variables)
    assert list(design.names) == case["columns"]
    assert close(design.matrix(frame.variables, frame.n), case["matrix"], 1e-12)
    new = read_new(frame.scheme, pl.DataFrame(LEARNED["new"], strict=False))
    assert close(design.matrix(new.variables, new.n), case["new"], 1e-12)


@pytest.mark.parametrize("expected", LEARNED["contr_poly"], ids=len)
def test_polynomial_contrasts_of_r(expected: list[list[float]]) -> None:
    assert close(contrast_matrix("poly", len(expected)), expected, 1e-13)


def test_number_labels_of_r() -> None:
    assert [number_label(float(n["value"])) for n in LEARNED["numbers"]] == [n["label"] for n in LEARNED["numbers"]]


def test_sas_takes_the_last_level_as_base(data: pl.DataFrame) -> None:
    formula = model_formula("y ~ b * x")
    frame = build_frame(data, formula, contrasts={"b": "SAS"})
    assert design_columns(formula.fixed, frame.variables).names == ("(Intercept)", "bb1", "bb2", "x", "bb1:x", "bb2:x")
    variable = frame.variables["b"]
    assert isinstance(variable, FactorVariable)
    assert variable.contrast.matrix.tolist() == [[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]


def test_a_matrix_of_contrasts(data: pl.DataFrame) -> None:
    matrix = np.array([[1.0, 0.25], [-0.5, 0.5], [-0.5, -0.75]])
    formula = model_formula("y ~ a + b + a:b")
    frame = build_frame(data, formula, contrasts={"b": {"matrix": matrix, "names": ["_first", "_second"]}})
    design = design_columns(formula.fixed, frame.variables)
    assert design.names == ("(Intercept)", "aa2", "b_first", "b_second", "aa2:b_first", "aa2:b_second")
    codes = data["b"].cast(pl.Enum(["b1", "b2", "b3"])).to_physical().to_numpy()
    values = design.matrix(frame.variables, frame.n)
    assert np.array_equal(values[:, 2:4], matrix[codes])
    assert np.array_equal(values[:, 4:6], matrix[codes] * values[:, 1:2])


def test_effects_of_random_terms_have_columns_of_their_own(data: pl.DataFrame) -> None:
    formula = model_formula("y ~ x + (1 + b | o) + (0 + b + x | c) + (a:b || c)")
    frame = build_frame(data, formula)
    names = [design_columns(term.lhs, frame.variables).names for term in formula.random]
    assert names == [
        ("(Intercept)", "bb2", "bb3"),
        ("bb1", "bb2", "bb3", "x"),
        ("(Intercept)",),
        ("aa1:bb1", "aa2:bb1", "aa1:bb2", "aa2:bb2", "aa1:bb3", "aa2:bb3"),
    ]
