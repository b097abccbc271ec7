"""Where an engine's worker can run: an environment made by pip for each Python package, the R library for R's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import mixeff_fast
from benchmarks.peers.engines import Engine

INSTALL_TIMEOUT = 1200.0


class CannotInstall(Exception):
    """An engine is not there and cannot be put there; the message is the reason."""


@dataclass(frozen=True, slots=True)
class Place:
    """The command that starts a worker, and the environment variables that it needs."""

    command: tuple[str, ...]
    environment: dict[str, str]


def cache_folder() -> Path:
    """The folder of the environments: ``$XDG_CACHE_HOME/mixeff_fast/peers``."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "mixeff_fast" / "peers"


def place(engine: Engine, *, install: bool = True) -> Place:
    """How to start the engine's worker, after installing it where that is needed.

    Parameters
    ----------
    engine
        The engine.
    install
        False uses an environment that is there and makes none.

    Raises
    ------
    CannotInstall
        With the reason.
    """
    if engine.kind == "here":
        command = (sys.executable, str(engine.worker), *engine.arguments)
        return Place(command, {"PYTHONPATH": str(Path(mixeff_fast.__file__).parents[1])})
    if engine.kind == "R":
        _require_r(engine)
        return Place(("Rscript", "--vanilla", str(engine.worker), engine.name), {})
    python = _environment(cache_folder(), engine, install=install)
    return Place((str(python), str(engine.worker), *engine.arguments), {})


def _require_r(engine: Engine) -> None:
    if shutil.which("Rscript") is None:
        raise CannotInstall("there is no Rscript on the path")
    packages = ", ".join(repr(name) for name in engine.requires)
    code = f"cat(Filter(function(p) !nzchar(system.file(package = p)), c({packages})))"
    done = _call(("Rscript", "--vanilla", "-e", code))
    missing = done.stdout.split()
    if done.returncode:
        raise CannotInstall(f"Rscript failed: {_tail(done.stderr)}")
    if missing:
        raise CannotInstall(f"R has no package {', '.join(missing)}")


def _environment(base: Path, engine: Engine, *, install: bool) -> Path:
    """The Python of the engine's environment; a marker file, written last, tells that it is whole."""
    folder = base / f"{engine.home or engine.name}-py{sys.version_info.major}.{sys.version_info.minor}"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / "installed.txt"
    wanted = "\n".join(engine.requires)
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return python
    if not install:
        raise CannotInstall(f"not installed in {folder}")
    shutil.rmtree(folder, ignore_errors=True)
    for command in (
        (sys.executable, "-m", "venv", str(folder)),
        (str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *engine.requires),
    ):
        done = _call(command)
        if done.returncode:
            shutil.rmtree(folder, ignore_errors=True)
            raise CannotInstall(f"{' '.join(command[1:4])} failed: {_tail(done.stderr or done.stdout)}")
    marker.write_text(wanted, encoding="utf-8")
    return python


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment,
                              timeout=INSTALL_TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise CannotInstall(f"{command[0]} took more than {INSTALL_TIMEOUT:.0f} s") from error


def _tail(text: str) -> str:
    """The last line that says something, errors before anything else."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.upper().startswith("ERROR")]
    return (errors or lines or ["no message"])[-1]
