"""Records of plain values as JSON, and back with every type checked."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeVar, get_type_hints

import numpy as np

from mixeff_fast import vocabulary

if TYPE_CHECKING:
    from pydantic import BaseModel

    R = TypeVar("R")

# arrays lie beside what is plain, where they leave an empty place
_ARRAYS = {"Float": type(None)}
# JSON has no such numbers
_NOT_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def to_plain(value: Any) -> Any:
    """Dataclasses as dictionaries, tuples as lists, numbers that are not finite as ``{"float": "nan"}``."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, tuple | list):
        return [to_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return value


def from_plain(cls: type[R], content: dict[str, Any]) -> R:
    """The dataclass that ``to_plain`` was given.

    Raises
    ------
    pydantic.ValidationError
        Fields that are missing, unknown or of another type.
    """
    schema: Any = cls
    found = _model(schema).model_validate_json(json.dumps(_restored(content)))
    return cls(**{name: getattr(found, name) for name in type(found).model_fields})


def _restored(content: Any) -> Any:
    if isinstance(content, dict):
        if set(content) == {"float"} and content["float"] in _NOT_FINITE:
            return _NOT_FINITE[content["float"]]
        return {name: _restored(value) for name, value in content.items()}
    return [_restored(each) for each in content] if isinstance(content, list) else content


@lru_cache
def _model(cls: type[Any]) -> type[BaseModel]:
    from pydantic import ConfigDict, create_model

    hints = get_type_hints(cls, localns={**vars(vocabulary), **_ARRAYS})
    fields: dict[str, Any] = {
        field.name: (hints[field.name], ... if field.default is dataclasses.MISSING else field.default)
        for field in dataclasses.fields(cls)
    }
    return create_model(cls.__name__, __config__=ConfigDict(strict=True, extra="forbid"), **fields)

