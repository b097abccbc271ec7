"""Files with members: an uncompressed zip with a manifest of sizes and hashes.

Nothing is compressed, so no member is larger than the file; members are looked up by name and never written to disk.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import polars as pl
from pydantic import ValidationError

from mixeff_fast._version import __version__
from mixeff_fast.errors import SchemaError
from mixeff_fast.schemas.archive import ArchiveManifest, MemberRecord
from mixeff_fast.schemas.base import Artifact
from mixeff_fast.schemas.registry import negotiate

if TYPE_CHECKING:
    from collections.abc import Callable

    from mixeff_fast.schemas.archive import ArchiveKind

    A = TypeVar("A", bound=Artifact)

Member = tuple[str, bytes]

MANIFEST = "manifest.json"
_NAME = re.compile(r"[a-z0-9_-]+(/[a-z0-9_-]+)*\.(json|npy|parquet)")
_MOST_MEMBERS = 10_000
# the first moment that zip files know, so that equal models make equal files
_EPOCH = (1980, 1, 1, 0, 0, 0)


class Archive:
    """Members that are checked against the manifest when they are read.

    Attributes
    ----------
    kind
        What the archive holds.
    size
        Its bytes.
    """

    def __init__(
        self, kind: ArchiveKind, size: int, records: Iterable[MemberRecord], fetch: Callable[[str, int], bytes]
    ) -> None:
        self.kind = kind
        self.size = size
        self._records = {record.name: record for record in records}
        self._fetch = fetch
        self._read: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._records

    @property
    def unread(self) -> set[str]:
        """The names of members that were not read."""
        return set(self._records) - self._read

    def read(self, name: str) -> bytes:
        """The content of a member.

        Raises
        ------
        SchemaError
            There is none of this name, or its size or hash is not that of the manifest.
        """
        if name not in self._records:
            raise SchemaError(f"member {name} is missing", member=name)
        record = self._records[name]
        self._read.add(name)
        content = self._fetch(name, record.size)
        if len(content) != record.size or hashlib.sha256(content).hexdigest() != record.sha256:
            raise SchemaError(
                f"member {name} is not what was written: its hash is another; take another copy of the file", member=name
            )
        return content


@contextmanager
def refusals(source: str, remedy: str) -> Iterator[None]:
    """Whatever goes wrong while a file is read is a ``SchemaError`` that names it.

    Libraries raise what they like when they are given hostile content, so every kind of error is one.
    """
    try:
        yield
    except SchemaError as problem:
        raise SchemaError(f"{source} cannot be read: {problem.message}", **{"path": source, **problem.fields}) from problem
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise SchemaError(f"{source} cannot be read: {where}: {first['msg']}; {remedy}", path=source) from problem
    except (Exception, pl.exceptions.PanicException) as problem:
        raise SchemaError(
            f"{source} cannot be read: {type(problem).__name__}: {str(problem)[:500]}; {remedy}", path=source
        ) from problem


def member_record(name: str, content: bytes) -> MemberRecord:
    """Size and hash of a member."""
    return MemberRecord(name=name, size=len(content), sha256=hashlib.sha256(content).hexdigest())


def write_archive(path: Path, kind: ArchiveKind, members: Iterable[Member]) -> None:
    """Write a file, or leave what was there as it was if that fails."""
    folder, name = path.absolute().parent, path.name
    handle, draft = tempfile.mkstemp(prefix=f".{name}.", dir=folder)
    try:
        with os.fdopen(handle, "wb") as stream, zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
            records = []
            for name, content in members:
                records.append(member_record(name, content))
                _write(archive, name, content)
            manifest = ArchiveManifest(
                header=ArchiveManifest.make_header(__version__), kind=kind, members=tuple(records)
            )
            _write(archive, MANIFEST, manifest.model_dump_json().encode())
        mask = os.umask(0)
        os.umask(mask)
        Path(draft).chmod(0o666 & ~mask)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    with archive.open(zipfile.ZipInfo(name, _EPOCH), "w", force_zip64=True) as member:
        member.write(content)


@contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Open a file.

    Raises
    ------
    SchemaError
        It is no such file: truncated, compressed, with members that the manifest does not list or that are no plain files.
    """
    with path.open("rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        with zipfile.ZipFile(stream) as zipped:
            infos = _checked(zipped.infolist(), size)
            if MANIFEST not in infos:
                raise SchemaError("the file has no manifest")

            def fetch(name: str, length: int) -> bytes:
                try:
                    with zipped.open(infos[name]) as member:
                        return member.read(length + 1)
                except zipfile.BadZipFile as problem:
                    raise SchemaError(
                        f"member {name} is not what was written: {problem}; take another copy of the file", member=name
                    ) from problem

            manifest = read_json(fetch(MANIFEST, infos[MANIFEST].file_size), ArchiveManifest)
            listed = [record.name for record in manifest.members]
            if len(set(listed)) < len(listed) or {*listed, MANIFEST} != set(infos) or MANIFEST in listed:
                raise SchemaError("the members of the file are not those that its manifest lists")
            yield Archive(manifest.kind, size, manifest.members, fetch)


def _checked(infos: list[zipfile.ZipInfo], size: int) -> dict[str, zipfile.ZipInfo]:
    if len(infos) > _MOST_MEMBERS:
        raise SchemaError(f"the file has {len(infos)} members, more than any that is written")
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        check_name(info.filename)
        mode = info.external_attr >> 16
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise SchemaError(f"member {info.filename} is compressed, which none that is written is")
        if info.flag_bits & 1 or info.is_dir() or (stat.S_IFMT(mode) not in (0, stat.S_IFREG)):
            raise SchemaError(f"member {info.filename} is no plain file")
        if info.filename in found:
            raise SchemaError(f"member {info.filename} is there twice")
        found[info.filename] = info
    if sum(info.file_size for info in infos) > size:
        raise SchemaError("the members of the file claim more bytes than it has")
    return found


def check_name(name: str) -> None:
    """Refuse names that none that is written has: folders above, absolute paths, capitals."""
    if not _NAME.fullmatch(name):
        raise SchemaError(f"a member is named {name!r:.100}, which none that is written is")


def read_json(content: bytes, schema: type[A]) -> A:
    """Validate an artifact whose version can be read.

    Raises
    ------
    SchemaError
        Another schema, or a version that cannot be read.
    """
    check_header(schema, _Headed.model_validate_json(content).header)
    return schema.model_validate_json(content)


def check_header(schema: type[Artifact], header: Any) -> None:
    """Refuse another schema, or a version that cannot be read."""
    found = negotiate(header)
    if found.schema_name != schema.NAME:
        raise SchemaError(
            f"the file holds {found.schema_name!r} where {schema.NAME!r} belongs", schema_name=found.schema_name
        )


class _Headed(Artifact):
    """The header of any artifact."""
