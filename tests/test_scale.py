"""Size: nested factors cost no trunk, and evaluations stay few on the models people wait for."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf

ROOT = Path(__file__).resolve().parent.parent

NESTED = """
import json, resource
import numpy as np, polars as pl
import mixeff_fast as mf
rng = np.random.default_rng(3)
n = 200_000
inner = np.concatenate([np.arange(50_000), rng.integers(0, 50_000, n - 50_000)])
middle, outer = inner // 10, inner // 100
y = rng.normal(size=n) + rng.normal(size=50_000)[inner] + 0.7 * rng.normal(size=5_000)[middle]
y += 0.5 * rng.normal(size=500)[outer]
text = [pl.Series(name, codes).cast(pl.String) for name, codes in (("a", outer), ("b", middle), ("c", inner))]
data = pl.DataFrame([pl.Series("y", y), *text])
mf.lmm("strength ~ 1 + (1 | batch/cask)", mf.datasets.load("Pastes"))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
out = []
for formula in ("y ~ 1 + (1 | b/c)", "y ~ 1 + (1 | a/b/c)"):
    fit = mf.lmm(formula, data)
    out.append({
        "status": fit.fit_status, "quality": fit.result.certificate.quality, "levels": fit.ngrps,
        "trunk": fit.spec.compiled.plan.trunk_size, "theta": fit.theta.tolist(),
        "over_the_data": 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before),
    })
print(json.dumps(out))
"""


def test_nested_levels_stay_sparse() -> None:
    done = subprocess.run([sys.executable, "-c", NESTED], capture_output=True, text=True, check=True, cwd=ROOT)
    three, four = json.loads(done.stdout.splitlines()[-1])
    assert three["levels"] == {"b:c": 50_000, "b": 5_000}
    assert four["levels"] == {"a:b:c": 50_000, "a:b": 5_000, "a": 500}
    for fit in (three, four):
        assert fit["trunk"] == 0
        assert (fit["status"], fit["quality"]) == ("converged_interior", "certified")
        assert fit["over_the_data"] < 1 << 30
    assert four["theta"] == pytest.approx([1.0, 0.7, 0.5], abs=0.06)


def evaluations(formula: str, data: pl.DataFrame) -> int:
    fit = mf.lmm(formula, data)
    assert fit.result.certificate.quality == "certified"
    return fit.result.certificate.evaluations


def test_few_evaluations_on_the_classics() -> None:
    assert evaluations("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy")) <= 8
    assert evaluations("y ~ service + (1 | s) + (1 | d) + (1 | dept)", mf.datasets.load("InstEval")) <= 8


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_few_evaluations_on_a_maximal_singular_model(seed: int) -> None:
    """Two crossed factors of 56 and 32 levels, each cell met once, four effects: 20 covariance parameters, rank 2."""
    rng = np.random.default_rng(seed)
    subject, item = (a.ravel() for a in np.meshgrid(np.arange(56), np.arange(32), indexing="ij"))
    kept = np.sort(rng.permutation(subject.size)[:1789])
    subject, item = subject[kept], item[kept]
    x = np.column_stack([np.ones(1789), rng.choice([-1.0, 1.0], size=(1789, 3))])
    by_subject = rng.normal(size=(56, 2)) @ rng.normal(size=(2, 4))
    by_item = rng.normal(size=(32, 2)) @ (0.7 * rng.normal(size=(2, 4)))
    y = x @ [5.0, 1.0, 0.5, -0.3] + (x * by_subject[subject]).sum(1) + (x * by_item[item]).sum(1)
    data = pl.DataFrame(
        {"y": y + 2.0 * rng.normal(size=1789), "a": x[:, 1], "b": x[:, 2], "c": x[:, 3],
         "subject": subject.astype(str), "item": item.astype(str)}
    )
    formula = "y ~ a + b + c + (a + b + c | subject) + (a + b + c | item)"
    assert evaluations(formula, data) <= 25
    fit = mf.lmm(formula, data)
    assert fit.fit_status == "converged_reduced_rank"
