"""Writes ``schemas/json/*.schema.json``: ``python -m mixeff_fast.schemas.generate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema

from mixeff_fast.schemas.registry import KnownSchema, known_schemas

if TYPE_CHECKING:
    from mixeff_fast.schemas.base import Artifact

FOLDER = Path(__file__).resolve().parent / "json"


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles that repeat the names of fields."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def json_schema(model: type[Artifact]) -> dict[str, Any]:
    """The JSON schema of an artifact as it is written: every field is required."""
    found = model.model_json_schema(mode="serialization", schema_generator=_Untitled)
    for known in known_schemas():
        record = found if known.model is model else found["$defs"].get(known.model.__name__)
        if record is not None:
            record["properties"]["header"] = _header(known.model)
    identity = f"urn:{model.NAME.replace('.', ':')}:{model.VERSION}"
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": identity, **found}


def _header(model: type[Artifact]) -> dict[str, Any]:
    """The header of one schema: its name, and any version of its major number."""
    version = rf"^{model.VERSION.partition('.')[0]}\.[0-9]+\.[0-9]+$"
    fixed = {"schema_name": {"const": model.NAME}, "schema_version": {"pattern": version}}
    return {"$ref": "#/$defs/Header", "properties": fixed}


def schema_files() -> dict[str, str]:
    """Content of each file by its name."""
    return {file_name(known): json.dumps(json_schema(known.model), indent=1) + "\n" for known in known_schemas()}


def file_name(known: KnownSchema) -> str:
    """``fit_artifact.schema.json`` for ``mixeff_fast.fit_artifact``."""
    return f"{known.schema_name.rpartition('.')[2]}.schema.json"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, text in schema_files().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
