"""Facts about how the data were read: each is kept as a `Note` and shown once as a warning."""

from __future__ import annotations

import sys
import warnings

from mixeff_fast.errors import (
    FactorCoercionNotice,
    GroupingCoercionNotice,
    LevelsNotice,
    MissingRowsNotice,
    MixeffNotice,
    ScalingNotice,
)
from mixeff_fast.frame.columns import Note

_CATEGORIES: dict[str, type[MixeffNotice]] = {
    "factor_response": FactorCoercionNotice,
    "grouping_coercion": GroupingCoercionNotice,
    "unused_levels": LevelsNotice,
    "rows_omitted": MissingRowsNotice,
    "predictor_scales": ScalingNotice,
}


def issue(note: Note) -> Note:
    """Warn about a note; return the note."""
    warn(note.message, _CATEGORIES[note.code])
    return note


def warn(message: str, category: type[MixeffNotice]) -> None:
    """Warn at the line of the caller outside this package."""
    level = 1
    frame = sys._getframe()
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("mixeff_fast."):
        frame = frame.f_back
        level += 1
    warnings.warn(message, category, stacklevel=level)
