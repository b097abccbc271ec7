"""How a line of an audit is made: a pointer to a datum, and text with places for values that lie below it.

A line prints no value that is not read from the artifact's JSON at its source: text and data cannot disagree.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mixeff_fast.report.numbers import plain
from mixeff_fast.report.pointer import resolve
from mixeff_fast.report.wording import words
from mixeff_fast.schemas.audit import AuditLine
from mixeff_fast.schemas.fit import FitArtifact

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mixeff_fast.schemas.audit import Section, Tag
    from mixeff_fast.schemas.compiled import CompiledModelArtifact

_PLACE = re.compile(r"\{([^{}:]*)(:words)?\}")
# a data frame may have a thousand columns, a factor a million levels
MOST_NAMES = 20
BEFORE_FIT = "not applicable before fitting"


@dataclass(frozen=True, slots=True)
class Value:
    """The value at ``key`` below a line's source; ``label`` puts it into words. For keys that hold names from the data."""

    key: str
    label: bool = False


def shown(value: Any) -> str:
    """A value as the text of a line has it."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return plain(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(shown(item) for item in value) or "none"
    return str(value)


def split(template: str) -> list[str | Value]:
    """The text and the places of a template: ``{key}`` prints a value, ``{key:words}`` a label in words."""
    parts: list[str | Value] = []
    end = 0
    for place in _PLACE.finditer(template):
        parts += [template[end : place.start()], Value(place[1], place[2] is not None)]
        end = place.end()
    return [*parts, template[end:]]


@dataclass(slots=True)
class Lines:
    """The lines of an artifact so far."""

    artifact: CompiledModelArtifact | FitArtifact
    text: str = field(init=False)
    document: Any = field(init=False)
    lines: list[AuditLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.text = self.artifact.model_dump_json()
        self.document = json.loads(self.text)

    @property
    def fit(self) -> FitArtifact | None:
        return self.artifact if isinstance(self.artifact, FitArtifact) else None

    @property
    def compiled(self) -> CompiledModelArtifact:
        return self.artifact.compiled if isinstance(self.artifact, FitArtifact) else self.artifact

    @property
    def root(self) -> str:
        """Pointer to the compiled model."""
        return "/compiled" if self.fit is not None else ""

    def add(self, section: Section, label: str, tag: Tag, source: str, *parts: str | Value) -> None:
        """Add a line; strings among ``parts`` are templates, whose places name values below ``source``."""
        data: dict[str, Any] = {}
        detail = ""
        for given in parts:
            for part in split(given) if isinstance(given, str) else (given,):
                if isinstance(part, str):
                    detail += part
                    continue
                value = resolve(self.document, f"{source}/{part.key}" if part.key else source)
                data[part.key] = value
                detail += words(value) if part.label and isinstance(value, str) else shown(value)
        self.lines.append(AuditLine(section=section, label=label, tag=tag, detail=detail, data=data, source=source))

    def before_fit(self, section: Section, label: str) -> None:
        """Say that a fit is needed first; the line points at the stage that is yet to come."""
        stages = self.compiled.model_state.stages
        at = next((i for i, stage in enumerate(stages) if stage.stage == "fitted"), None)
        source = "/model_state/stages" if at is None else f"/model_state/stages/{at}"
        self.add(section, label, "info", source, BEFORE_FIT)


def several(keys: Iterable[str], label: bool = False) -> list[str | Value]:
    """Places for the first values at ``keys``, with commas between them."""
    parts: list[str | Value] = []
    for count, key in enumerate(keys):
        if count == MOST_NAMES:
            return [*parts, ", ..."]
        parts += [", ", Value(key, label)] if parts else [Value(key, label)]
    return parts or ["none"]
