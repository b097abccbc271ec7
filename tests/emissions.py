"""A record of every artifact that the package makes during a test session, and of every label in it.

Artifacts are caught as they are built. Each distinct one is searched for labels of closed vocabularies; the first of
each kind, and each with a label not seen before, are validated against the JSON schema.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mixeff_fast.schemas.base import Artifact
from mixeff_fast.schemas.catalogue import CATALOGUE
from mixeff_fast.schemas.generate import FOLDER, file_name
from mixeff_fast.schemas.registry import known_schemas

VALIDATED = 20
SCHEMAS = {k.schema_name: json.loads((FOLDER / file_name(k)).read_text(encoding="utf-8")) for k in known_schemas()}

Json = dict[str, Any]
Label = tuple[str, str]


def documented(schema: Json) -> Iterator[Label]:
    """Every label of a closed vocabulary in a schema, with the record and field it stands in."""
    for name, record in (*schema["$defs"].items(), (schema["title"], schema)):
        for field, part in record.get("properties", {}).items():
            if name != "Header" and field != "header":
                yield from ((f"{name}.{field}", label) for label in _labels(part))


def _labels(part: Any) -> Iterator[str]:
    if isinstance(part, list):
        for each in part:
            yield from _labels(each)
    elif isinstance(part, dict):
        yield from (value for value in (*part.get("enum", ()), part.get("const")) if isinstance(value, str))
        for key in ("anyOf", "items", "prefixItems", "additionalProperties"):
            yield from _labels(part.get(key))


class Emissions:
    """``labels`` as found in artifacts; ``problems`` are what should not have been written."""

    def __init__(self) -> None:
        self.artifacts: Counter[str] = Counter()
        self.labels: set[Label] = set()
        self.problems: dict[str, None] = {}
        self._seen: set[bytes] = set()
        self._validators: dict[str, Any] = {}
        self._vocabularies: dict[int, frozenset[str]] = {}

    def install(self) -> None:
        """Record what modules of the package build; artifacts that tests build themselves are left out."""
        build = Artifact.__init__

        def __init__(artifact: Artifact, /, **fields: Any) -> None:
            build(artifact, **fields)
            if sys._getframe(1).f_globals.get("__name__", "").startswith("mixeff_fast."):
                self.record(artifact)

        # pydantic validates without calling a constructor that it takes for its own
        __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]
        Artifact.__init__ = __init__  # type: ignore[method-assign]

    def record(self, artifact: Artifact) -> None:
        text = artifact.model_dump_json()
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        if digest in self._seen:
            return
        self._seen.add(digest)
        name = artifact.NAME
        self.artifacts[name] += 1
        content, schema = json.loads(text), SCHEMAS[name]
        found: set[Label] = set()
        self._walk(schema["title"], schema, content, schema["$defs"], found)
        if self.artifacts[name] <= VALIDATED or not found <= self.labels:
            self.labels |= found
            self._validate(name, content)

    def _validate(self, name: str, content: Any) -> None:
        if name not in self._validators:
            from jsonschema import Draft202012Validator

            self._validators[name] = Draft202012Validator(SCHEMAS[name])
        for error in self._validators[name].iter_errors(content):
            self.problems[f"{name}{error.json_path[1:]}: {error.message[:200]}"] = None

    def _walk(self, name: str, record: Json, content: Json, defs: Json, found: set[Label]) -> None:
        if "code" in content and "severity" in content:
            self._check_diagnostic(content)
        elif "diagnostics" in content:
            facts = [json.dumps([d["code"], d["affected_terms"], d["payload"]]) for d in content["diagnostics"]]
            for fact in facts:
                if facts.count(fact) > 1:
                    self.problems[f"{name} has a diagnostic twice: {fact}"] = None
        for field, part in record["properties"].items():
            # a compiled artifact inside a fit's was recorded when it was built
            if field not in ("header", "compiled") and field in content:
                self._part(f"{name}.{field}", part, content[field], defs, found)

    def _part(self, place: str, part: Json, value: Any, defs: Json, found: set[Label]) -> None:
        if value is None or isinstance(value, bool | int | float):
            return
        if isinstance(value, str):
            if value in self._vocabulary(part):
                found.add((place, value))
            return
        for option in part.get("anyOf") or part.get("oneOf") or (part,):
            if isinstance(value, list):
                for i, each in enumerate(value):
                    fixed = option.get("prefixItems")
                    self._part(place, fixed[i] if fixed else option.get("items") or {}, each, defs, found)
            elif "$ref" in option:
                name = option["$ref"].rpartition("/")[2]
                tag = part.get("discriminator")
                if tag is None or tag["mapping"][value[tag["propertyName"]]] == option["$ref"]:
                    self._walk(name, defs[name], value, defs, found)
            elif isinstance(option.get("additionalProperties"), dict):
                for each in value.values():
                    self._part(place, option["additionalProperties"], each, defs, found)

    def _vocabulary(self, part: Json) -> frozenset[str]:
        known = self._vocabularies.get(id(part))
        if known is None:
            known = frozenset(_labels({key: part[key] for key in ("enum", "const", "anyOf") if key in part}))
            self._vocabularies[id(part)] = known
        return known

    def _check_diagnostic(self, found: Json) -> None:
        entry = CATALOGUE[found["code"]]
        if found["severity"] not in entry.severities:
            self.problems[f"{entry.code} has severity {found['severity']}"] = None
        if found["stage"] not in entry.stages:
            self.problems[f"{entry.code} has stage {found['stage']}"] = None
        if unknown := sorted(set(found["payload"]) - set(entry.payload)):
            self.problems[f"{entry.code} has payload keys {unknown}"] = None


EMISSIONS = Emissions()
