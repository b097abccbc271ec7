"""The house: who imports whom, what importing costs, and that documented examples run."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

import mixeff_fast

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mixeff_fast"

FLOORS = (
    {"errors", "vocabulary", "_version"},
    {"kernels", "schemas", "families"},
    {"formula"},
    {"frame"},
    {"compile"},
    {"fit"},
    {"resample"},
    {"inference"},
    {"comparison", "prediction"},
    {"report"},
    {"storage"},
    {"models", "datasets"},
    {"cli"},
)
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
# rooms that see less than the floors below them
MAY = {
    "kernels": set(),
    "schemas": {"errors", "vocabulary"},
    "families": {"errors", "vocabulary"},
    "formula": {"errors", "vocabulary"},
    "frame": {"errors", "vocabulary", "families", "formula", "kernels"},
    "compile": {"errors", "vocabulary", "families", "formula", "frame", "schemas", "kernels"},
    "report": {"errors", "vocabulary", "_version", "schemas"},
    "storage": {"errors", "vocabulary", "_version", "families", "schemas", "kernels", "formula", "frame", "compile", "fit"},
}
THIRD_PARTY = {
    "kernels": {"numpy", "numba", "llvmlite", "scipy"},
    "schemas": {"pydantic"},
    "formula": set(),
    "report": {"polars"},
}


def imports(path: Path) -> set[str]:
    """Every module a file imports, at any depth, type-checking blocks left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    found: set[str] = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found.add(node.module or "")
            if node.module == "mixeff_fast":
                found |= {f"mixeff_fast.{alias.name}" for alias in node.names}
    return found


def modules() -> list[Path]:
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts) + [
        p for link in ("kernels", "schemas") for p in sorted((ROOT / link).rglob("*.py"))
    ]


def room_of(path: Path) -> str:
    relative = path.relative_to(PACKAGE if path.is_relative_to(PACKAGE) else ROOT)
    return relative.parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_layers(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for name in imports(path):
        top = name.split(".")[0]
        if top == "mixeff_fast":
            parts = name.split(".")
            other = parts[1] if len(parts) > 1 else room
            if other == room or other not in FLOOR:
                continue
            assert FLOOR[other] < FLOOR[room] or (room, other) == ("cli", "models"), f"{path} imports {name}"
            if room in MAY:
                assert other in MAY[room], f"{path} imports {name}"
        elif room in THIRD_PARTY and top not in sys.stdlib_module_names:
            assert top in THIRD_PARTY[room], f"{path} imports {name}"


def test_kernels_follow_the_house_rules() -> None:
    for path in (ROOT / "kernels").glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"parallel\s*=\s*True|fastmath\s*=\s*True|objmode|forceobj", text), path


def test_links_are_relative() -> None:
    for name in ("kernels", "schemas"):
        link = PACKAGE / name
        if link.is_symlink():
            assert not link.readlink().is_absolute()
            assert link.resolve() == ROOT / name


def test_import_is_light() -> None:
    code = (
        "import sys, mixeff_fast; mixeff_fast.errors; "
        "print([m for m in ('numba','formulaic','pandas','scipy','pydantic','polars') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_a_fit_without_transforms_needs_no_formulaic() -> None:
    code = (
        "import sys, mixeff_fast as mf; mf.lmm('Reaction ~ Days + (Days | Subject)', mf.datasets.load('sleepstudy')); "
        "print([m for m in ('formulaic','pandas','pydantic','scipy.stats') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"


def test_every_public_name_resolves_and_unknown_ones_do_not() -> None:
    for name in mixeff_fast.__all__:
        assert getattr(mixeff_fast, name) is not None
    assert dir(mixeff_fast) == sorted(mixeff_fast.__all__)
    with pytest.raises(AttributeError):
        mixeff_fast.nothing  # noqa: B018


def documented_modules() -> list[str]:
    names = ["mixeff_fast"]
    names += [m.name for m in pkgutil.walk_packages([str(PACKAGE)], "mixeff_fast.")]
    return [name for name in names if not name.endswith("__main__")]


@pytest.mark.parametrize("name", documented_modules())
def test_docstring_examples(name: str) -> None:
    module = importlib.import_module(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = doctest.testmod(module, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_python_blocks_of_the_docs_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks marked ``python`` run in order in one namespace."""
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "__main__"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            if ">>> " in block:
                runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
                example = doctest.DocTestParser().get_doctest(block, namespace, page.name, str(page), 0)
                runner.run(example, clear_globs=False)
                assert runner.summarize().failed == 0
                namespace.update(example.globs)
            else:
                exec(compile(block, str(page), "exec"), namespace)


def test_pyproject_names_the_readme_commands() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    for command in ('pip install . && mixeff-fast fit sleepstudy "Reaction ~ Days + (Days | Subject)"',
                    "pip install '.[test]' && pytest"):
        assert command in readme
        assert command in script
