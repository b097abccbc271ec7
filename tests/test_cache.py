"""The kernel cache between processes: each case runs a copy of the package, with kernels of its own, in new ones."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import stat
import subprocess
import sys
import sysconfig
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

KERNELS = Path(__file__).resolve().parent.parent / "kernels"
POSIX = os.name == "posix"

HELPER = """
from mixeff_fast.kernels._cache import kernel

@kernel("float64(float64)")
def helper(x):
    return x + 1.0
"""
SAMPLE = """
import numpy as np
from mixeff_fast.kernels._cache import allocating_kernel, kernel
from mixeff_fast.kernels.helper import helper

@kernel("float64(float64)")
def caller(x):
    return 10.0 * helper(x)

@allocating_kernel
def total(values):
    s = np.zeros(1)
    for v in values:
        s[0] += np.expm1(v)
    return s[0]
"""
SCRIPT = """
import json
import numpy as np
from mixeff_fast.kernels import _cache
events = []
_cache.set_listener(lambda event, facts: events.append([event, facts]))
{before}
from mixeff_fast.kernels import helper, sample
{after}
ready = _cache.is_cached(sample.caller)
values = [sample.caller(1.0), helper.helper(1.0), sample.total(np.zeros(3))]
facts = _cache.cache_facts()
print(json.dumps(dict(
    values=values, loaded=facts.loaded, compiled=facts.compiled, reason=facts.reason, events=events, ready=ready,
    directory=None if facts.directory is None else str(facts.directory),
)))
"""


@dataclass
class Outcome:
    """What the script in a child process printed."""

    values: list[float]
    loaded: int
    compiled: int
    reason: str | None
    events: list[list[Any]]
    ready: bool
    directory: str | None

    @property
    def names(self) -> list[str]:
        return [event for event, _ in self.events]

    def files(self) -> list[Path]:
        assert self.directory is not None
        return sorted(Path(self.directory).iterdir())


class Sandbox:
    """A copy of the package below a temporary folder, and processes that import it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.site = folder / "site"
        self.cache = folder / "cache"
        self.kernels = self.site / "mixeff_fast" / "kernels"
        self.kernels.mkdir(parents=True)
        self.kernels.with_name("__init__.py").write_text("")
        for name in ("__init__.py", "_cache.py", "_compiler.py", "_linking.py", "_store.py"):
            shutil.copy(KERNELS / name, self.kernels / name)
        (self.kernels / "helper.py").write_text(HELPER)
        (self.kernels / "sample.py").write_text(SAMPLE)

    def start(
        self,
        *,
        before: str = "",
        after: str = "",
        unprivileged: bool = False,
        python: str = sys.executable,
        **environment: str | None,
    ) -> subprocess.Popen[str]:
        settings: dict[str, str | None] = {
            **os.environ,
            "PYTHONPATH": str(self.site) if python == sys.executable else None,
            "PYTHONDONTWRITEBYTECODE": "1",
            "MIXEFF_FAST_CACHE_DIR": str(self.cache),
            **environment,
        }
        return subprocess.Popen(
            [python, "-c", SCRIPT.format(before=before, after=after)],
            cwd=self.folder,
            env={name: value for name, value in settings.items() if value is not None},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_drop_privileges if unprivileged else None,
        )

    def run(self, **options: Any) -> Outcome:
        return finish(self.start(**options))

    def cached(self) -> list[Path]:
        return sorted(self.cache.rglob("*.kernel"))


def finish(process: subprocess.Popen[str]) -> Outcome:
    out, error = process.communicate(timeout=120)
    assert process.returncode == 0, error
    assert error == ""
    return Outcome(**json.loads(out.splitlines()[-1]))


def _drop_privileges() -> None:
    """Let permissions bind root too: give up the capabilities that override them (Linux)."""
    if os.geteuid() == 0:
        for capability in (1, 2):
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox(tmp_path)


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    first = Sandbox(tmp_path_factory.mktemp("compiled"))
    first.run()
    return first.cache


@pytest.fixture
def warm(sandbox: Sandbox, compiled: Path) -> Sandbox:
    """A sandbox whose kernels have been compiled before; the cache does not depend on where the package lies."""
    shutil.copytree(compiled, sandbox.cache)
    return sandbox


RIGHT = [20.0, 2.0, 0.0]


def test_a_second_process_compiles_nothing(sandbox: Sandbox) -> None:
    first = sandbox.run()
    assert first.values == RIGHT
    assert (first.loaded, first.compiled) == (0, 3)
    assert first.names == ["compile"]
    assert first.events[0][1] == {"kernel": "sample.caller", "directory": first.directory}
    assert not first.ready
    second = sandbox.run()
    assert second.values == RIGHT
    assert (second.loaded, second.compiled) == (3, 0)
    assert second.events == []
    assert second.ready
    assert second.directory == first.directory


def test_code_compiled_beside_loaded_code_agrees(warm: Sandbox) -> None:
    outcome = warm.run(after="assert sample.total(np.zeros(2, dtype=np.float32)) == 0.0")
    assert (outcome.values, outcome.loaded, outcome.compiled) == (RIGHT, 3, 1)


@pytest.mark.skipif(not POSIX, reason="modes are POSIX's")
def test_folders_and_files_are_private(warm: Sandbox) -> None:
    directory = Path(warm.run().directory or "")
    assert directory.parent.parent == warm.cache
    for folder in (directory, directory.parent, warm.cache):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in directory.iterdir()} == {0o600}


def test_numbas_own_caches_are_left_alone(sandbox: Sandbox) -> None:
    other = "import numba\n@numba.njit(cache=True)\ndef double(x):\n    return 2.0 * x\n"
    (sandbox.site / "other.py").write_text(other)
    numba_cache = sandbox.folder / "numba"
    after = "import other, numba; assert other.double(2.0) == 4.0; assert numba.config.CACHE_DIR == {!r}"
    outcome = sandbox.run(after=after.format(str(numba_cache)), NUMBA_CACHE_DIR=str(numba_cache))
    assert {path.name.split(".")[0] for path in numba_cache.rglob("*.nb?")} == {"other"}
    assert {path.name.split(".")[0] for path in outcome.files()} == {"helper", "sample"}
    assert not list(sandbox.site.rglob("*.nb?"))
    assert not list(sandbox.site.rglob("*.kernel"))


def test_an_edited_helper_recompiles_its_callers(warm: Sandbox) -> None:
    """Also with the same size and time stamp; and a new time stamp alone changes nothing."""
    helper = warm.kernels / "helper.py"
    info = helper.stat()
    helper.write_text(HELPER.replace("1.0", "2.0"))
    os.utime(helper, ns=(info.st_atime_ns, info.st_mtime_ns))
    edited = warm.run()
    assert edited.values[:2] == [30.0, 3.0]
    helper.write_text(HELPER)
    os.utime(helper, (0, 0))
    restored = warm.run()
    assert (restored.values, restored.compiled) == (RIGHT, 0)
    assert edited.directory != restored.directory


def test_an_edit_under_a_running_process_poisons_nothing(sandbox: Sandbox, compiled: Path) -> None:
    helper = sandbox.kernels / "helper.py"
    edit = f"import pathlib; pathlib.Path({str(helper)!r}).write_text({HELPER.replace('1.0', '5.0')!r})"
    late = sandbox.run(after=edit)
    assert late.values == RIGHT
    assert late.names == ["compile", "cache_unavailable"]
    assert not list(sandbox.cache.rglob("*.kernel"))
    helper.write_text(HELPER)
    shutil.copytree(compiled, sandbox.cache, dirs_exist_ok=True)
    early = sandbox.run(before=edit)
    assert early.values[:2] == [60.0, 6.0]
    assert early.loaded == 0


def _below_a_file(sandbox: Sandbox) -> dict[str, Any]:
    (sandbox.folder / "file").write_text("")
    return {"MIXEFF_FAST_CACHE_DIR": str(sandbox.folder / "file" / "cache")}


def _nobodys_home(sandbox: Sandbox) -> dict[str, Any]:
    gone = "import pwd\ndef missing(uid): raise KeyError(uid)\npwd.getpwuid = missing"
    return {"before": gone, "HOME": None, "XDG_CACHE_HOME": None, "MIXEFF_FAST_CACHE_DIR": None}


def _unwritable_home(sandbox: Sandbox) -> dict[str, Any]:
    home = sandbox.folder / "home"
    home.mkdir()
    home.chmod(0o500)
    return {"HOME": str(home), "XDG_CACHE_HOME": None, "MIXEFF_FAST_CACHE_DIR": None, "unprivileged": True}


def _open_to_others(sandbox: Sandbox) -> dict[str, Any]:
    folder = sandbox.cache / "kernels"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    return {}


def _someone_elses(sandbox: Sandbox) -> dict[str, Any]:
    if os.geteuid() != 0:
        pytest.skip("only root can give a folder away")
    folder = sandbox.cache / "kernels"
    folder.mkdir(parents=True)
    os.chown(folder, 12345, -1)
    return {}


def _a_link(sandbox: Sandbox) -> dict[str, Any]:
    sandbox.cache.mkdir()
    (sandbox.folder / "elsewhere").mkdir()
    (sandbox.cache / "kernels").symlink_to(sandbox.folder / "elsewhere")
    return {}


@pytest.mark.skipif(not POSIX, reason="modes are POSIX's")
@pytest.mark.parametrize(
    "obstacle", [_below_a_file, _nobodys_home, _unwritable_home, _open_to_others, _someone_elses, _a_link]
)
def test_without_a_folder_kernels_compile_in_memory(sandbox: Sandbox, obstacle: Any) -> None:
    outcome = sandbox.run(**obstacle(sandbox))
    assert outcome.values == RIGHT
    assert (outcome.loaded, outcome.compiled) == (0, 3)
    assert outcome.directory is None
    assert sorted(outcome.names) == ["cache_unavailable", "compile"]
    assert dict(outcome.events)["cache_unavailable"]["reason"] == outcome.reason
    assert not list(sandbox.folder.rglob("*.kernel"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's capabilities where the tests run as root")
def test_a_read_only_install_and_a_read_only_cache_work(sandbox: Sandbox) -> None:
    for folder in (sandbox.kernels, sandbox.site / "mixeff_fast", sandbox.site):
        folder.chmod(0o555)
    try:
        first = sandbox.run(unprivileged=True)
        assert (first.values, first.compiled) == (RIGHT, 3)
        Path(first.directory or "").chmod(0o500)
        second = sandbox.run(unprivileged=True)
        assert (second.values, second.loaded, second.events) == (RIGHT, 3, [])
        for file in second.files():
            if file.name.startswith("sample.total"):
                Path(first.directory or "").chmod(0o700)
                file.unlink()
                Path(first.directory or "").chmod(0o500)
        third = sandbox.run(unprivileged=True)
        assert (third.values, third.loaded, third.compiled) == (RIGHT, 2, 1)
        assert third.names == ["compile", "cache_unavailable"]
    finally:
        for folder in (sandbox.site, sandbox.site / "mixeff_fast", sandbox.kernels):
            folder.chmod(0o755)


def test_damaged_files_are_compiled_again(warm: Sandbox) -> None:
    """Cut short, emptied, altered, or under another one's name."""
    cut, emptied, altered = warm.cached()
    cut.write_bytes(cut.read_bytes()[:-100])
    emptied.write_bytes(b"")
    content = bytearray(altered.read_bytes())
    content[len(content) // 2] ^= 1
    altered.write_bytes(bytes(content))
    repaired = warm.run()
    assert (repaired.values, repaired.loaded, repaired.compiled, repaired.reason) == (RIGHT, 0, 3, None)
    first, second, _ = warm.cached()
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])
    swapped = warm.run()
    assert (swapped.values, swapped.loaded, swapped.compiled, swapped.reason) == (RIGHT, 1, 2, None)


@pytest.mark.skipif(not POSIX, reason="modes are POSIX's")
def test_a_file_that_others_may_write_is_not_read(warm: Sandbox) -> None:
    for file in warm.cached():
        file.chmod(0o666)
    assert warm.run().loaded == 0


def test_a_file_without_meaning_is_compiled_again(warm: Sandbox) -> None:
    """Its checksum is right, its content is not ours to read."""
    forge = "for f in list(_cache._STATE.store.folder().iterdir()): _cache._STATE.store.save(f.name, b'not a pickle')"
    outcome = warm.run(before=forge)
    assert (outcome.values, outcome.loaded, outcome.compiled) == (RIGHT, 0, 3)


@pytest.mark.skipif(not POSIX, reason="needs a limit on file sizes")
def test_a_full_disk_is_no_error(sandbox: Sandbox) -> None:
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))"
    outcome = sandbox.run(before=limit)
    assert outcome.values == RIGHT
    assert outcome.names == ["compile", "cache_unavailable"]
    assert outcome.files() == []


def test_processes_that_compile_at_once_agree(sandbox: Sandbox) -> None:
    started = [sandbox.start() for _ in range(3)]
    assert [finish(process).values for process in started] == [RIGHT] * 3
    after = sandbox.run()
    assert (after.values, after.loaded, after.compiled) == (RIGHT, 3, 0)
    assert len(after.files()) == 3


def test_a_folder_removed_under_a_running_process_is_made_again(warm: Sandbox) -> None:
    remove = "import shutil; shutil.rmtree(_cache.cache_directory())"
    outcome = warm.run(before=remove)
    assert (outcome.values, outcome.reason, len(outcome.files())) == (RIGHT, None, 3)


def test_folders_long_not_used_are_removed(warm: Sandbox) -> None:
    (current,) = (warm.cache / "kernels").iterdir()
    days = {"a" * 32: 100, "b" * 32: 30, "not a key": 100, **{f"{i:032x}": 50 + i for i in range(24)}}
    for name, age in days.items():
        folder = current.parent / name
        folder.mkdir()
        (folder / "sample.caller-0.kernel").write_bytes(b"")
        os.utime(folder, (time.time() - age * 86_400,) * 2)
    next(current.glob("sample.total*")).unlink()
    os.utime(current, (time.time() - 200 * 86_400,) * 2)
    assert warm.run().loaded == 2
    left = {folder.name for folder in current.parent.iterdir()}
    assert left == {current.name, "b" * 32, "not a key", *(f"{i:032x}" for i in range(23))}
    assert time.time() - current.stat().st_mtime < 3_600


def test_kernels_that_are_not_the_packages_are_not_kept(warm: Sandbox) -> None:
    (warm.site / "outside.py").write_text(SAMPLE)
    outcome = warm.run(after="import outside; assert outside.caller(1.0) == 20.0")
    assert len(outcome.files()) == 3


def test_kernels_pickle_by_name(warm: Sandbox) -> None:
    warm.run(after="import pickle; assert pickle.loads(pickle.dumps(sample.caller)) is sample.caller")


def test_threads_may_make_the_first_call(sandbox: Sandbox) -> None:
    after = (
        "from concurrent.futures import ThreadPoolExecutor\n"
        "with ThreadPoolExecutor(4) as pool: assert set(pool.map(sample.caller, [1.0] * 16)) == {20.0}"
    )
    assert sandbox.run(after=after).compiled == 3


def test_where_numba_is_switched_off_kernels_are_plain_functions(sandbox: Sandbox) -> None:
    outcome = sandbox.run(NUMBA_DISABLE_JIT="1")
    assert (outcome.values, outcome.loaded, outcome.compiled) == (RIGHT, 0, 0)


def test_events_wait_for_a_listener(sandbox: Sandbox) -> None:
    before = "_cache.set_listener(None)"
    after = "sample.caller(1.0); assert _cache.set_listener(lambda event, facts: events.append([event, facts])) is None"
    assert sandbox.run(before=before, after=after).names == ["compile"]


BACKEND = '''
import pathlib, zipfile
HERE = pathlib.Path(__file__).parent
INFO = "mixeff_fast-0.dist-info"

def _wheel(folder, files):
    files[f"{INFO}/METADATA"] = "Metadata-Version: 2.1\\nName: mixeff_fast\\nVersion: 0\\n"
    files[f"{INFO}/WHEEL"] = "Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{INFO}/RECORD"] = "".join(f"{name},,\\n" for name in [*files, f"{INFO}/RECORD"])
    name = "mixeff_fast-0-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(folder) / name, "w") as file:
        for path, text in files.items():
            file.writestr(path, text)
    return name

def build_wheel(folder, config_settings=None, metadata_directory=None):
    sources = (HERE / "site").rglob("*.py")
    return _wheel(folder, {str(path.relative_to(HERE / "site")): path.read_text() for path in sources})

def build_editable(folder, config_settings=None, metadata_directory=None):
    return _wheel(folder, {"mixeff_fast.pth": str(HERE / "site") + "\\n"})
'''


def test_an_editable_install_after_an_uninstall_sees_its_own_sources(sandbox: Sandbox) -> None:
    pytest.importorskip("pip")
    project = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
    (sandbox.folder / "pyproject.toml").write_text(project)
    (sandbox.folder / "backend.py").write_text(BACKEND)
    environment = sandbox.folder / "venv"
    venv.create(environment, symlinks=POSIX)
    paths = {"base": str(environment), "platbase": str(environment)}
    site = Path(sysconfig.get_path("purelib", "venv", paths))
    python = str(Path(sysconfig.get_path("scripts", "venv", paths)) / "python")
    # what the interpreter has installed, but for this package, which may be among it
    dependencies = sandbox.folder / "dependencies"
    dependencies.mkdir()
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(folder).iterdir():
            if "mixeff_fast" not in entry.name:
                (dependencies / entry.name).symlink_to(entry)
    (site / "dependencies.pth").write_text(f"{dependencies}\n")

    def pip(*arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--python", python, "-q", "--disable-pip-version-check", *arguments]
        subprocess.run(command, check=True, cwd=sandbox.folder)

    install = ("install", "--no-deps", "--no-index", "--no-build-isolation", "--no-compile")
    pip(*install, ".")
    installed = sandbox.run(python=python, PYTHONDONTWRITEBYTECODE=None)
    assert installed.values == RIGHT
    pip("uninstall", "-y", "mixeff_fast")
    assert not (site / "mixeff_fast").exists()
    (sandbox.kernels / "helper.py").write_text(HELPER.replace("1.0", "2.0"))
    pip(*install, "-e", ".")
    editable = sandbox.run(python=python, PYTHONDONTWRITEBYTECODE=None)
    assert editable.values[:2] == [30.0, 3.0]
    assert editable.directory != installed.directory


def test_code_that_refers_to_code_that_is_gone_is_compiled_again(warm: Sandbox) -> None:
    """A caller's code does not contain that of the kernels it calls: it finds it by name."""
    (helper,) = (path for path in warm.cached() if path.name.startswith("helper."))
    helper.unlink()
    again = warm.run()
    assert again.values == RIGHT
    assert 1 <= again.compiled <= 2
    after = warm.run()
    assert after.values == RIGHT
    assert after.compiled == 0


def test_called_kernels_are_loaded_with_their_callers(warm: Sandbox) -> None:
    alone = warm.run(after="sample.caller(2.0)")
    assert alone.values == RIGHT
    assert alone.compiled == 0
