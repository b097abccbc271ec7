"""Contrasts as they were asked for, in a form that JSON holds."""

from __future__ import annotations

from typing import Any

import numpy as np

from mixeff_fast.schemas.statistics import CodingRecord


def coding_record(coding: Any) -> CodingRecord:
    """The record of a coding: a name, a matrix, or a matrix with names."""
    if isinstance(coding, str):
        return CodingRecord(name=coding)
    matrix, names = (coding["matrix"], coding.get("names")) if isinstance(coding, dict) else (coding, None)
    rows = tuple(tuple(row) for row in np.asarray(matrix, np.float64).tolist())
    return CodingRecord(matrix=rows, names=None if names is None else tuple(map(str, names)))


def given_coding(coding: CodingRecord) -> Any:
    """What to give as the coding of a factor."""
    matrix = None if coding.matrix is None else [list(row) for row in coding.matrix]
    named = None if coding.names is None else {"matrix": matrix, "names": list(coding.names)}
    return coding.name or named or matrix
