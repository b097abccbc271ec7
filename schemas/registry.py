"""The schemas this package knows, and whether it can read what another version wrote."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any, Literal, NamedTuple, NoReturn

from mixeff_fast.errors import SchemaError
from mixeff_fast.schemas.base import Artifact, Header

SchemaStatus = Literal["emitted", "reserved"]

_MAX_HEADER = 10_000
_VERSION = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")

# module, class, and whether any verb writes the artifact; a reserved one is fixed before the verb that will write it
_SCHEMAS: tuple[tuple[str, str, SchemaStatus], ...] = (
    ("compiled", "CompiledModelArtifact", "emitted"),
    ("fit", "FitArtifact", "emitted"),
    ("audit", "AuditReport", "emitted"),
    ("inference", "FixedEffectInferenceTable", "emitted"),
    ("inference", "ContrastTable", "emitted"),
    ("inference", "AnovaTable", "emitted"),
    ("inference", "EstimabilityTable", "emitted"),
    ("inference", "InferenceOptions", "emitted"),
    ("inference", "DropTable", "emitted"),
    ("comparison", "ModelComparisonTable", "emitted"),
    ("statistics", "SufficientStatisticsHeader", "emitted"),
    ("archive", "ArchiveManifest", "emitted"),
    ("archive", "ModelObject", "emitted"),
    ("archive", "SavedState", "emitted"),
    ("comparison", "BoundaryLRT", "reserved"),
    ("profile", "ProfileLikelihoodCI", "reserved"),
    ("prediction", "PredictionVariance", "reserved"),
    ("bootstrap", "BootstrapRun", "reserved"),
    ("bootstrap", "ParametricBootstrapLRT", "reserved"),
    ("marginal", "MarginalQuantityTable", "reserved"),
    ("verification", "ConvergenceVerification", "reserved"),
)


class KnownSchema(NamedTuple):
    """A schema; ``model`` is its pydantic class."""

    schema_name: str
    schema_version: str
    status: SchemaStatus
    model: type[Artifact]


class Negotiated(NamedTuple):
    """What a header says of an artifact that can be read: ``schema_version`` wrote it, ``reads`` is this package's version."""

    schema_name: str
    schema_version: str
    reads: str
    status: SchemaStatus


def known_schemas() -> tuple[KnownSchema, ...]:
    """Every schema, those that a verb writes first."""
    found = []
    for module, name, status in _SCHEMAS:
        model: type[Artifact] = getattr(import_module(f"mixeff_fast.schemas.{module}"), name)
        found.append(KnownSchema(model.NAME, model.VERSION, status, model))
    return tuple(found)


def negotiate(header: Header | dict[str, Any] | str) -> Negotiated:
    """Whether an artifact with this header can be read.

    Versions of one major number are readable by each other: fields a version does not know are ignored. Before 1.0 a later
    minor version is not.

    Parameters
    ----------
    header
        The header of an artifact: a record, a dictionary, or JSON text of at most 10,000 characters.

    Returns
    -------
    Negotiated

    Raises
    ------
    SchemaError
        An unknown schema, another major version, or no header at all; ``input`` is what was given, ``readable`` the versions
        that are read, by name, ``schema_name`` and ``schema_version`` what was found, as far as it was.

    Examples
    --------
    >>> negotiate({"schema_name": "mixeff_fast.fit_artifact", "schema_version": "1.4.0"}).reads
    '1.1.0'
    """
    name, version = _name_and_version(header)
    for known in known_schemas():
        if known.schema_name == name:
            break
    else:
        _refuse(header, f"there is no schema {_shown(name)}", schema_name=name, schema_version=version)
    found = _VERSION.fullmatch(version)
    if found is None:
        _refuse(header, f"{_shown(version)} is no semantic version, such as 1.0.0", schema_name=name, schema_version=version)
    major, minor, _ = map(int, found.groups())
    reads = [int(part) for part in known.schema_version.split(".")]
    if major != reads[0] or (major == 0 and minor > reads[1]):
        _refuse(header, f"version {version} of {name} is not read by this package, which has {known.schema_version}",
                schema_name=name, schema_version=version)
    return Negotiated(name, version, known.schema_version, known.status)


def _name_and_version(header: Header | dict[str, Any] | str) -> tuple[str, str]:
    fields: Any = header
    if isinstance(header, Header):
        return header.schema_name, header.schema_version
    if isinstance(header, str):
        if len(header) > _MAX_HEADER:
            _refuse(header, f"the header has {len(header):,} characters; at most {_MAX_HEADER:,} are read")
        try:
            fields = json.loads(header)
        except (ValueError, RecursionError) as problem:
            _refuse(header, f"the header is not JSON: {problem}")
    if not isinstance(fields, dict):
        _refuse(header, f"a header is a dictionary or JSON text of one, not {type(fields).__name__}")
    values = []
    for key in ("schema_name", "schema_version"):
        value = fields.get(key)
        if not isinstance(value, str):
            _refuse(header, f"the header has no {key}" if value is None else f"{key} is a string, not {_shown(value)}")
        values.append(value)
    return values[0], values[1]


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _refuse(header: object, problem: str, **fields: Any) -> NoReturn:
    readable = {known.schema_name: known.schema_version for known in known_schemas()}
    listed = ", ".join(f"{name} {version}" for name, version in readable.items())
    given = header[:_MAX_HEADER] if isinstance(header, str) else header
    raise SchemaError(f"{problem}; readable are {listed}", input=given, readable=readable, **fields)
