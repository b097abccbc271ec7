"""The model frame: data in, arrays out, with every decision about rows, levels, codings and transforms recorded."""

from __future__ import annotations

from mixeff_fast.frame.columns import (
    Contrast,
    FactorVariable,
    GroupingFactor,
    Levels,
    Note,
    NumericVariable,
)
from mixeff_fast.frame.contrasts import contrast_matrix
from mixeff_fast.frame.design import ColumnBlock, DesignColumns, TermPart, design_columns
from mixeff_fast.frame.modelframe import ModelFrame, build_frame
from mixeff_fast.frame.newdata import NewData, read_new
from mixeff_fast.frame.response import ResponseCoding, checked_successes, checked_values
from mixeff_fast.frame.scheme import DataScheme, FactorScheme, GroupScheme
from mixeff_fast.frame.transforms import TransformState

__all__ = [
    "ColumnBlock",
    "Contrast",
    "DataScheme",
    "DesignColumns",
    "FactorScheme",
    "FactorVariable",
    "GroupScheme",
    "GroupingFactor",
    "Levels",
    "ModelFrame",
    "NewData",
    "Note",
    "NumericVariable",
    "ResponseCoding",
    "TermPart",
    "TransformState",
    "build_frame",
    "checked_successes",
    "checked_values",
    "contrast_matrix",
    "design_columns",
    "read_new",
]
