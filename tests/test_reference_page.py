"""Pages that mirror the package: every public name is in the reference, and nothing else; shown output is real."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import mixeff_fast as mf
from mixeff_fast.models.options import RandomOptions
from mixeff_fast.report.audit import Audit
from mixeff_fast.report.explain import Explanation
from mixeff_fast.report.inference import ContrastResult, DegreesOfFreedom, InferenceTable, LinearCombination
from mixeff_fast.report.inference_terms import (
    Anova,
    DroppedTerms,
    EffectTest,
    EstimabilityResult,
    InferenceOptionsResult,
)
from mixeff_fast.report.inspection import Changes, CovarianceChoices, Parameterization, Reproducibility
from mixeff_fast.report.summary import Summary

ROOT = Path(__file__).resolve().parent.parent
REFERENCE = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")


def members(cls: type) -> set[str]:
    """Public methods, properties and documented attributes."""
    documented = re.search(r"Attributes\n-+\n(.*?)(\n\n|$)", inspect.getdoc(cls) or "", re.DOTALL)
    attributes: list[str] = []
    if documented:
        attributes = [name for line in documented[1].splitlines() if line[:1].isalpha() for name in line.split(", ")]
    slots = getattr(cls, "__slots__", ())
    own = (name for each in cls.__mro__[:-1] for name in vars(each))
    return {name for name in (*own, *attributes, *slots) if not name.startswith("_")}


def errors() -> set[str]:
    return {
        name
        for name, value in vars(mf.errors).items()
        if inspect.isclass(value) and value.__module__ == "mixeff_fast.errors"
    }


PUBLIC = {
    "mixeff_fast": set(mf.__all__),
    "LinearMixedModel": members(mf.LinearMixedModel),
    "GeneralizedLinearMixedModel": members(mf.GeneralizedLinearMixedModel),
    "ModelSpec": members(mf.ModelSpec),
    "SufficientStatistics": members(mf.SufficientStatistics),
    "PreparedModel": members(mf.PreparedModel),
    "Refits": members(mf.Refits),
    "ModelComparison": members(mf.ModelComparison),
    "Summary": members(Summary) | {"compiled"},
    **{cls.__name__: members(cls) for cls in (
        InferenceTable, ContrastResult, DegreesOfFreedom, LinearCombination, EstimabilityResult, Anova, EffectTest,
        DroppedTerms, InferenceOptionsResult)},
    "Audit": members(Audit),
    "Explanation": members(Explanation),
    "RandomOptions": members(RandomOptions),
    "CovarianceChoices": members(CovarianceChoices),
    "Changes": members(Changes),
    "Parameterization": members(Parameterization),
    "Reproducibility": members(Reproducibility),
    "Control": members(mf.Control),
    "datasets": set(mf.datasets.__all__),
    "errors": errors(),
}


def sections() -> dict[str, dict[str, str]]:
    """First cells of the tables below each heading: name to what follows it in the cell."""
    found: dict[str, dict[str, str]] = {}
    for part in REFERENCE.split("\n## ")[1:]:
        title, _, body = part.partition("\n")
        cells = re.findall(r"^\| `(\w+)(\([^`]*\))?`", body, re.MULTILINE)
        assert len({name for name, _ in cells}) == len(cells), f"{title} names something twice"
        found[title] = dict(cells)
    return found


def test_the_reference_has_these_sections() -> None:
    assert list(sections()) == list(PUBLIC)


@pytest.mark.parametrize("section", PUBLIC)
def test_every_public_name_is_in_the_reference(section: str) -> None:
    assert set(sections()[section]) == PUBLIC[section]


@pytest.mark.parametrize(
    "cls", [mf.LinearMixedModel, mf.GeneralizedLinearMixedModel, mf.ModelSpec, mf.PreparedModel], ids=lambda cls: cls.__name__
)
def test_the_reference_shows_the_parameters(cls: type) -> None:
    """A method is shown with its parameters and defaults, in order; ones with a single value may be left out."""
    for name, shown in sections()[cls.__name__].items():
        value = inspect.getattr_static(cls, name, None)
        assert bool(shown) == inspect.isfunction(value), name
        if not shown:
            continue
        parameters = list(inspect.signature(value).parameters.values())[1:]
        wanted = [p for p in parameters if p.name != "method" or "method=" in shown]
        names = [f"**{p.name}" if p.kind is p.VAR_KEYWORD else p.name for p in wanted]
        assert [cell.partition("=")[0] for cell in shown[1:-1].split(", ") if cell] == names, name
        for cell, parameter in zip(shown[1:-1].split(", "), wanted, strict=False):
            _, has_default, default = cell.partition("=")
            if has_default:
                assert eval(default) == parameter.default, f"{name}: {cell}"


def data_set_table() -> str:
    """The table of docs/datasets.md."""
    lines = ["| name | rows | columns | what it is |", "|---|---:|---:|---|"]
    sources = []
    for row in mf.datasets.provenance().to_dicts():
        lines.append(f"| `{row['name']}` | {row['rows']} | {row['columns']} | {row['description']} |")
        sources.append(f"- **{row['name']}**, from {row['exported_from']}. {row['publication']} {row['licence']}")
    return "\n".join([*lines, "", "## Publications", "", *sources])


def test_the_table_of_data_sets_is_current() -> None:
    page = (ROOT / "docs" / "datasets.md").read_text(encoding="utf-8")
    assert data_set_table() in page


def test_every_data_set_has_the_rows_and_columns_it_is_said_to_have() -> None:
    for row in mf.datasets.provenance().to_dicts():
        frame = mf.datasets.load(row["name"])
        assert (frame.height, frame.width) == (row["rows"], row["columns"])


def without_search(text: str) -> str:
    """Rounding decides the last digits of the decrement, and may decide the number of evaluations."""
    return re.sub(r"Newton decrement (below )?\S+, \d+ evaluations", "", text)


def test_the_readme_shows_the_summary_that_its_command_prints() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"^```text\n(.*?)\n```$", readme, re.MULTILINE | re.DOTALL)
    assert shown is not None
    fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    assert without_search(shown[1]) == without_search(str(fit.summary()))


def test_links_between_pages_lead_somewhere() -> None:
    for page in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
