"""A small data set, and short ways to make and look into model frames."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from mixeff_fast.formula import model_formula
from mixeff_fast.frame import FactorVariable, ModelFrame, NumericVariable, build_frame


def small_data() -> pl.DataFrame:
    return pl.DataFrame(
        {
            "y": [1.0, 2.0, 4.0, 3.0, 6.0, 5.0],
            "x": [0, 1, 2, 3, 4, 5],
            "z": [0.5, 1.0, 2.0, 4.0, 8.0, 16.0],
            "w": [1.0, 2.0, 1.0, 2.0, 1.0, 2.0],
            "a": ["q", "p", "q", "r", "p", "r"],
            "b": ["v", "u", "v", "u", "v", "u"],
            "flag": [True, False, True, True, False, False],
            "g": ["g2", "g1", "g2", "g1", "g3", "g3"],
        }
    )


def frame_of(data: Any, text: str, **arguments: Any) -> ModelFrame:
    return build_frame(data, model_formula(text), **arguments)


def numeric(frame: Any, key: str) -> np.ndarray:
    variable = frame.variables[key]
    assert isinstance(variable, NumericVariable)
    return variable.values


def factor(frame: Any, key: str) -> FactorVariable:
    variable = frame.variables[key]
    assert isinstance(variable, FactorVariable)
    return variable
