"""A model as JSON text: its artifact to be read, and its other members in base64."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from mixeff_fast._version import __version__
from mixeff_fast.errors import SchemaError
from mixeff_fast.schemas.archive import EncodedMember, MemberRecord, ModelObject
from mixeff_fast.storage.archive import Archive, Member, check_name, member_record, read_json

if TYPE_CHECKING:
    from typing import Literal

ARTIFACT = "artifact.json"


def write_text(kind: Literal["fit", "spec"], members: Iterable[Member], pretty: bool) -> str:
    """The text of a model."""
    contents = dict(members)
    artifact = json.loads(contents.pop(ARTIFACT))
    encoded = tuple(
        EncodedMember(**member_record(name, content).model_dump(), content=base64.b64encode(content).decode())
        for name, content in contents.items()
    )
    found = ModelObject(
        header=ModelObject.make_header(__version__), kind=kind, artifact=artifact, artifact_sha256=_hash(artifact),
        members=encoded,
    )
    return found.model_dump_json(indent=2 if pretty else None)


def _hash(artifact: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(artifact, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def open_text(text: bytes) -> Archive:
    """Read a text.

    Raises
    ------
    SchemaError
        It is no such text, or the hash of its artifact is another.
    """
    found = read_json(text, ModelObject)
    if _hash(found.artifact) != found.artifact_sha256:
        raise SchemaError("the artifact is not what was written: its hash is another", member=ARTIFACT)
    contents = {ARTIFACT: json.dumps(found.artifact).encode()}
    records: list[MemberRecord] = [member_record(ARTIFACT, contents[ARTIFACT])]
    for member in found.members:
        check_name(member.name)
        if member.name in contents:
            raise SchemaError(f"member {member.name} is there twice")
        contents[member.name] = base64.b64decode(member.content, validate=True)
        records.append(member)
    return Archive(found.kind, len(text), records, lambda name, _: contents[name])
