"""What every artifact shares: a frozen model that ignores unknown fields on reading, and a header."""

from __future__ import annotations

from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """A part of an artifact."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_inf_nan="constants", protected_namespaces=())


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
