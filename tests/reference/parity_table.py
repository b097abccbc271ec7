"""The fits of ``lmm.json`` beside ours as Markdown: ``python -m tests.reference.parity_table > docs/parity.md``."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.reference_fits import FOLDER, Model, fitted, gaps, is_unique, references

LOWER = 1e-7

INTRODUCTION = """# Agreement with lme4

{count} Gaussian models, fitted with lme4 {lme4} on R {R} and with mixeff_fast. lme4 was run with several optimizers at tight
tolerances, started again from the best of them, and polished by Newton steps; *ours − lme4* is the difference of the
objectives (-2 log-likelihood, or the REML criterion) to that fit, *ours − default* to one call of `lmer()` with its default
settings. *θ* is the largest difference of a covariance parameter, relative to the standard deviation of its effect (of
σ²ΛΛ' for singular fits); a dash where the model does not determine θ. *status* is the verdict of our certificate.

The generated data sets are in `tests/reference/data`. Bounds on every quantity, and this comparison, are tests:
`tests/test_reference_lmm.py`. This page is made by `python -m tests.reference.parity_table`.
"""

LOWER_TIGHT = """## Fits lower than lme4's at tight tolerances

By more than {lower:.0e}: {names}.
"""

LOWER_DEFAULT = """## Fits lower than lme4's default run

By more than {lower:.0e}, since lme4 stops at a tolerance:
"""


def row(name: str, model: Model) -> str:
    fit, found = fitted(name), gaps(name)
    theta = f"{found.get('theta', found['Sigma']):.1e}" if is_unique(model) else "–"
    formula = model["formula"].replace("|", "\\|")
    cells = [name, f"`{formula}`", "REML" if model["REML"] else "ML", f"{model['objective']:.6f}",
             f"{fit.result.objective:.6f}", f"{fit.result.objective - model['objective']:+.1e}",
             f"{fit.result.objective - model['default_control']:+.1e}", theta, fit.fit_status]
    return f"| {' | '.join(cells)} |"


def lower_than(key: str) -> dict[str, float]:
    """Models whose objective here is lower than lme4's by more than ``LOWER``, and by how much."""
    found = {name: fitted(name).result.objective - model[key] for name, model in references().items()}
    return {name: value for name, value in found.items() if value < -LOWER}


def page() -> Iterator[str]:
    versions = json.loads((FOLDER / "lmm.json").read_text(encoding="utf-8"))["versions"]
    yield INTRODUCTION.format(count=len(references()), **versions)
    yield LOWER_TIGHT.format(lower=LOWER, names=", ".join(lower_than("objective")) or "none")
    yield LOWER_DEFAULT.format(lower=LOWER)
    yield from (f"- {name}: {value:+.1e}" for name, value in lower_than("default_control").items())
    yield "\n## All models\n"
    yield "| model | formula | criterion | lme4 | ours | ours − lme4 | ours − default | θ | status |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---|"
    yield from (row(name, model) for name, model in references().items())


if __name__ == "__main__":
    for line in page():
        print(line)
