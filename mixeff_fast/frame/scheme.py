"""What must be remembered of a model frame to read new data the same way."""

from __future__ import annotations

from dataclasses import dataclass

from mixeff_fast.formula.model import ModelFormula
from mixeff_fast.frame.columns import Codes, Contrast, Levels
from mixeff_fast.frame.transforms import TransformState


@dataclass(frozen=True, slots=True, eq=False)
class FactorScheme:
    """The levels of a factor and their coding."""

    levels: Levels
    contrast: Contrast


@dataclass(frozen=True, slots=True, eq=False)
class GroupScheme:
    """A grouping factor without its rows; the fields are those of `GroupingFactor`."""

    name: str
    parts: tuple[str, ...]
    levels: Levels
    part_levels: tuple[Levels, ...]
    cells: Codes


@dataclass(frozen=True, slots=True, eq=False)
class DataScheme:
    """How to read new data for a model.

    Attributes
    ----------
    formula
        The model.
    factors
        Levels and coding of every factor, by variable key.
    suffixes
        The coefficient suffixes of every numeric variable, by variable key.
    states
        What the transforms of each variable learned, by variable key.
    groups
        The grouping factors, by name.
    offset
        The column given as ``offset=``; ``""`` for an offset that new data must be given with; None for none.
    """

    formula: ModelFormula
    factors: dict[str, FactorScheme]
    suffixes: dict[str, tuple[str, ...]]
    states: dict[str, TransformState]
    groups: dict[str, GroupScheme]
    offset: str | None
