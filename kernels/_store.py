"""A private folder of checked files that holds compiled code between processes.

The files are pickles, so whoever can write one can run code: folders are created with mode 0700, and folders or files
that belong to another user, or that others may write, are refused. A file that is short, altered or renamed fails its
checksum and counts as absent. No operation here raises: what cannot be read is absent, what cannot be written is not
kept, and ``report`` is told once why.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

OVERRIDE = "MIXEFF_FAST_CACHE_DIR"
_MAGIC = b"mixeff_fast kernel 1\n"
_DIGEST_SIZE = 32
_DAY = 86_400.0
_KEPT_DAYS = 90.0
_KEPT_FOLDERS = 24
_POSIX = os.name == "posix"


def cache_root() -> Path:
    """Return the folder of the user's cache that belongs to mixeff_fast; it need not exist.

    Raises
    ------
    OSError
        If the user has no home.
    """
    chosen = os.environ.get(OVERRIDE)
    if chosen:
        return Path(chosen).absolute()
    try:
        if sys.platform == "win32":
            base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
        elif sys.platform == "darwin":
            base = Path.home() / "Library" / "Caches"
        else:
            given = Path(os.environ.get("XDG_CACHE_HOME") or "")
            base = given if given.is_absolute() else Path.home() / ".cache"
    except RuntimeError as error:
        raise FileNotFoundError(str(error)) from error
    return base / "mixeff_fast"


def source_digests(folder: Path) -> dict[str, bytes]:
    """Return the digest of every Python source file in a folder, by file name; empty where they cannot be read."""
    try:
        files = sorted(path for path in folder.glob("*.py") if path.is_file())
        return {path.name: hashlib.sha256(path.read_bytes()).digest() for path in files}
    except OSError:
        return {}


def _safe(info: os.stat_result) -> bool:
    return not _POSIX or (info.st_uid == os.geteuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH))


def _make_private(folder: Path) -> None:
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    info = folder.lstat()
    if not stat.S_ISDIR(info.st_mode):
        raise NotADirectoryError(f"{folder} is not a folder")
    if not _safe(info):
        raise PermissionError(f"{folder} belongs to another user or can be written by others")


class Store:
    """Files of compiled code for one state of the sources.

    Parameters
    ----------
    key
        Digest of all that the compiled code depends on, in hexadecimal; it names the folder.
    report
        Called once, with a reason and a path, if files cannot be kept.
    """

    def __init__(self, key: str, report: Callable[[str, Path | None], None]) -> None:
        self.key = key
        self._report = report
        self._lock = threading.RLock()
        self._opened = False
        self._folder: Path | None = None
        self._reported = False
        self._pruned = False

    def folder(self) -> Path | None:
        """Return the folder of this key, created on first use; None where there cannot be one."""
        with self._lock:
            if not self._opened:
                self._opened = True
                self._open()
            return self._folder

    def _open(self) -> None:
        path = None
        try:
            path = cache_root() / "kernels" / self.key
            self._ensure(path)
            info = path.stat()
            if time.time() - info.st_mtime > _DAY:
                with contextlib.suppress(OSError):
                    os.utime(path)
        except OSError as error:
            self.unavailable(error.strerror or str(error), path)
        else:
            self._folder = path

    @staticmethod
    def _ensure(path: Path) -> None:
        path.parent.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _make_private(path.parent)
        _make_private(path)

    def unavailable(self, reason: str, path: Path | None) -> None:
        """Report, once, that compiled code cannot be kept."""
        with self._lock:
            if self._reported:
                return
            self._reported = True
        self._report(reason, path)

    def has(self, name: str) -> bool:
        """Tell whether a file of this name is there."""
        folder = self.folder()
        return folder is not None and (folder / name).is_file()

    def load(self, name: str) -> bytes | None:
        """Return what was saved under a name, or None."""
        folder = self.folder()
        if folder is None:
            return None
        path = folder / name
        try:
            with path.open("rb") as file:
                if not _safe(os.fstat(file.fileno())):
                    return None
                content = file.read()
        except OSError:
            return None
        header = len(_MAGIC) + _DIGEST_SIZE
        payload = content[header:]
        if content[:header] == _MAGIC + _digest(name, payload):
            return payload
        self.discard(name)
        return None

    def discard(self, name: str) -> None:
        """Remove a file that turned out to be of no use."""
        folder = self.folder()
        if folder is not None:
            with contextlib.suppress(OSError):
                (folder / name).unlink()

    def save(self, name: str, payload: bytes) -> bool:
        """Write a file whole or not at all, so that readers and other writers never see a part of it."""
        folder = self.folder()
        if folder is None:
            return False
        partial = folder / f"{name}.{uuid.uuid4().hex[:12]}.tmp"
        try:
            self._ensure(folder)
            with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(_MAGIC)
                file.write(_digest(name, payload))
                file.write(payload)
            partial.replace(folder / name)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink()
            # Windows refuses to replace a file that another process has open: that process has the same code.
            if _POSIX or not (folder / name).exists():
                self.unavailable(error.strerror or str(error), folder)
            return False
        return True

    def prune(self) -> None:
        """Remove, once per process, folders of other keys that have long not been used."""
        folder = self.folder()
        with self._lock:
            if folder is None or self._pruned:
                return
            self._pruned = True
        with contextlib.suppress(OSError):
            now = time.time()
            others = [(now - path.stat().st_mtime, path) for path in folder.parent.iterdir() if _is_key(path, folder)]
            for rank, (age, path) in enumerate(sorted(others)):
                if age > _KEPT_DAYS * _DAY or (rank >= _KEPT_FOLDERS and age > _DAY):
                    shutil.rmtree(path, ignore_errors=True)


def _is_key(path: Path, current: Path) -> bool:
    name = path.name
    return (
        path != current
        and len(name) == len(current.name)
        and set(name) <= set("0123456789abcdef")
        and not path.is_symlink()
        and path.is_dir()
    )


def _digest(name: str, payload: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + payload).digest()
