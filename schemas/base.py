"""What every artifact shares: a frozen model with strict types that ignores unknown fields on reading, and a header.

Numbers are finite: what is not known is None, so that the JSON of an artifact is JSON to every reader.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_MAX_DEPTH = 32


def _json_value(value: Any, depth: int = 0) -> Any:
    if depth > _MAX_DEPTH:
        raise ValueError(f"nested more than {_MAX_DEPTH} levels deep")
    if value is None or type(value) in (str, bool, int):
        return value
    if type(value) is float:
        if not math.isfinite(value):
            raise ValueError(f"{value} is not finite; what is not known is None")
        return value
    if isinstance(value, list | tuple):
        return [_json_value(each, depth + 1) for each in value]
    if type(value) is dict and all(type(key) is str for key in value):
        return {key: _json_value(each, depth + 1) for key, each in value.items()}
    raise ValueError(f"{type(value).__name__} has no counterpart in JSON")


# A dictionary that reads back from JSON as it was: names to finite numbers, strings, flags, None, and lists and dictionaries
# of these. Tuples become lists.
JsonObject = Annotated[dict[str, Any], AfterValidator(_json_value)]

Count = Annotated[int, Field(ge=0)]
PositiveCount = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0.0)]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Level = Annotated[float, Field(gt=0.0, lt=1.0)]


class Record(BaseModel):
    """A part of an artifact."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False, protected_namespaces=())


class Header(Record):
    """Name and semantic version of a schema, and the version of the package that wrote the artifact."""

    schema_name: str
    schema_version: str
    package_version: str


class Artifact(Record):
    """A durable truth that stands on its own; ``header`` says how to read it."""

    NAME: ClassVar[str]
    VERSION: ClassVar[str]

    header: Header

    @classmethod
    def make_header(cls, package_version: str) -> Header:
        return Header(schema_name=cls.NAME, schema_version=cls.VERSION, package_version=package_version)
