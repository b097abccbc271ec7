"""Labels of artifacts that take a model made for them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.fit.certificate import ConeEvidence
from tests.emissions import Emissions


@functools.cache
def frame() -> pl.DataFrame:
    rng = np.random.default_rng(3)
    n = 240
    g, h, k = np.repeat(np.arange(12), 20), np.tile(np.arange(8), 30), np.tile(np.repeat(np.arange(4), 5), 12)
    x, u = rng.normal(size=(2, n))
    y = x + rng.normal(size=12)[g] + 0.8 * rng.normal(size=8)[h] + 0.6 * (rng.normal(size=(12, 4))[g, k]) + rng.normal(size=n)
    return pl.DataFrame({
        "y": y, "x": x, "u": u, "g": [f"g{i}" for i in g], "h": [f"h{i}" for i in h], "k": [f"k{i}" for i in k],
        "f": [f"f{i}" for i in rng.integers(0, 3, n)], "b": k % 2 == 0, "big": 1e6 * u,
        "e": pl.Series([f"g{i}" for i in g], dtype=pl.Enum([f"g{i}" for i in range(14)])),
    })


def compiled(text: str, **arguments: Any) -> Any:
    return mf.compile_model(f"y ~ {text}", frame(), **arguments).artifact


def fitted(text: str, response: str = "y", **arguments: Any) -> Any:
    return mf.lmm(f"{response} ~ {text}", frame(), **arguments).artifact


def chain() -> Any:
    rng = np.random.default_rng(4)
    n = 12_000
    doctor = np.arange(n) * 1500 // n
    clinic = np.clip(np.arange(n) * 1200 // n + rng.integers(-1, 2, n), 0, 1199)
    columns = {"doctor": doctor, "region": doctor * 2 // 1500, "clinic": clinic}
    data = pl.DataFrame({"y": rng.normal(size=n), **{name: [str(i) for i in own] for name, own in columns.items()}})
    return mf.compile_model("y ~ 1 + (1 | doctor) + (1 | region) + (1 | clinic)", data).artifact


def of_statistics() -> Any:
    return mf.sufficient_statistics("y ~ x * f + (x | g)", frame()).fit().artifact


def uncertified() -> Any:
    spec = mf.compile_model("y ~ x + (x | g)", frame())
    return spec.prepare().refit(frame()["y"], certify=False).artifact


UNSATISFIED = ConeEvidence(term=0, group="g", width=2, rank=1, null_minimum=-1.0, null_maximum=-1.0, satisfied=False)


def altered(**changes: Any) -> Any:
    """The artifact of a fit whose result, or certificate, is another one: what no model is sure to give on every machine."""
    fit = mf.lmm("y ~ x + (x | g)", frame())
    own = {name: value for name, value in changes.items() if name in fit.result.__slots__}
    certificate = replace(fit.result.certificate, **{name: value for name, value in changes.items() if name not in own})
    fit.result = replace(fit.result, certificate=certificate, **own)
    return fit.artifact


CASES: dict[str, tuple[Callable[[], Any], str]] = {
    "contrasts": (
        lambda: fitted("f + (f | g)", contrasts={"f": "sum"}),
        "BasisSupport.kind=categorical_contrast FixedColumn.kind=categorical_contrast",
    ),
    "an interaction groups": (
        lambda: compiled("x + (0 + x | g & k)"),
        "Grouping.kind=interaction CovarianceKernel.path=interaction RepeatedUnit.path=interaction "
        "MissingDependencePath.path=interaction",
    ),
    "twice": (lambda: compiled("x + (1 | g) + (1 | g)"), "Diagnostic.code=duplicate_random_term"),
    "two structures": (lambda: compiled("x + (x | g) + (x || g)"), "Diagnostic.code=conflicting_covariance"),
    "crossed": (lambda: compiled("x + (1 | g * h)"), "Diagnostic.code=crossing_likely_unintended"),
    "scales": (lambda: compiled("x + big + (1 | g)"), "Diagnostic.code=predictor_scales"),
    "unused levels": (lambda: compiled("x + (1 | e)"), "Diagnostic.code=unused_levels LevelRecord.order=declared"),
    "a flag groups": (lambda: compiled("x + (1 | b)"), "LevelRecord.order=logical Diagnostic.code=grouping_coercion"),
    "prediction": (
        lambda: fitted("x + (1 | g)", intent="predictive"),
        "CompilationRecord.intent=predictive CompilerPolicy.intent=predictive FixedEffectRow.method=not_computed",
    ),
    **{
        role: (
            lambda role=role: compiled("x + (1 | g)", roles={"g": role}), f"RandomTerm.role={role} RoleRecord.role={role}",
        )
        for role in ("sampled_unit", "item", "site", "batch", "block", "treatment", "repeated_unit", "unknown")
    },
    "a declared unit": (lambda: compiled("x + (1 | g)", roles={"u": "sampled_unit"}), "RoleRecord.origin=declared_by_user"),
    "a declared unit that repeats": (
        lambda: compiled("x + (1 | g)", roles={"f": "batch"}), "RepeatedUnit.evidence=declared_role",
    ),
    "a sparse trunk": (
        chain, "FactorizationPlan.trunk_kind=sparse TrunkAlternative.trunk=sparse TrunkAlternative.trunk=dense",
    ),
    "a chain alone": (
        lambda: compiled("x + (1 | g)"), "FactorizationPlan.trunk_kind=none",
    ),
    "no rows": (
        of_statistics,
        "FixedEffectRank.status=not_assessed FixedTerm.status=not_assessed InformationBudget.status=not_assessable "
        "CardSupport.status=not_assessable CardSupport.within_group_variation=not_assessed "
        "PolicyRecommendation.action=mark_not_assessable InformationBudget.diagonal_status=not_assessable",
    ),
    "no certificate": (
        uncertified,
        "OptimizerCertificate.status=not_assessed OptimizerCertificate.quality=not_assessed "
        "HessianEvidence.method=average_information Diagnostic.code=optimizer_not_assessed OptimizerVerdict.level=not_assessed",
    ),
    "no covariance of the fixed effects": (
        lambda: altered(vcov=np.full((2, 2), np.nan)),
        "FixedEffectCovarianceMatrix.method=unavailable FixedEffectCovarianceMatrix.status=unavailable "
        "FixedEffectCovarianceMatrix.reliability=not_available FixedEffectRow.status=p_value_unavailable",
    ),
    "no covariance left": (
        lambda: altered(theta=np.zeros(3), lam=np.zeros((1, 2, 2))), "ParameterTrace.theta_status=inactive",
    ),
    "a boundary where it does not belong": (
        lambda: altered(status="not_optimized", quality="failed", cones=(UNSATISFIED,)),
        "ConeRecord.classification=invalid_boundary_stop OptimizerVerdict.level=failed",
    ),
    "another start": (lambda: altered(escapes=1), "Diagnostic.code=optimizer_recovery"),
    "an optimum without proof": (
        lambda: altered(quality="approximate", newton_decrement=1e-9), "OptimizerVerdict.level=ok",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_model_made_for_a_label(case: str) -> None:
    make, wanted = CASES[case]
    found = Emissions()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mf.errors.MixeffNotice)
        artifact = make()
    found.record(artifact)
    found.record(getattr(artifact, "compiled", artifact))
    assert [label for label in wanted.split() if tuple(label.split("=")) not in found.labels] == []
    assert list(found.problems) == []
