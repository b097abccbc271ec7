"""Linear and generalized linear mixed models: Polars in, certified fits out.

>>> import mixeff_fast as mf
>>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
>>> round(fit.reml_criterion, 4)
1743.6283
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mixeff_fast._version import __version__

if TYPE_CHECKING:
    from mixeff_fast import datasets, errors
    from mixeff_fast.families import Family, binomial, gamma, gaussian, inverse_gaussian, negative_binomial, poisson
    from mixeff_fast.fit.control import Control, control
    from mixeff_fast.fit.prepared import Refits
    from mixeff_fast.models.compare import ModelComparison, compare
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.glmm_fit import glmm
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.models.manifest import formula_manifest, known_schemas, negotiate
    from mixeff_fast.models.parse import parse_formula
    from mixeff_fast.models.prepared import PreparedModel
    from mixeff_fast.models.roles import Roles, roles
    from mixeff_fast.models.saved import load, revive
    from mixeff_fast.models.spec import ModelSpec, compile_model, lmm
    from mixeff_fast.models.statistics import SufficientStatistics, sufficient_statistics

_HOMES = {
    "Control": "mixeff_fast.fit.control",
    "Family": "mixeff_fast.families",
    "GeneralizedLinearMixedModel": "mixeff_fast.models.glmm",
    "LinearMixedModel": "mixeff_fast.models.lmm",
    "ModelComparison": "mixeff_fast.models.compare",
    "ModelSpec": "mixeff_fast.models.spec",
    "PreparedModel": "mixeff_fast.models.prepared",
    "Refits": "mixeff_fast.fit.prepared",
    "Roles": "mixeff_fast.models.roles",
    "SufficientStatistics": "mixeff_fast.models.statistics",
    "binomial": "mixeff_fast.families",
    "compare": "mixeff_fast.models.compare",
    "compile_model": "mixeff_fast.models.spec",
    "control": "mixeff_fast.fit.control",
    "formula_manifest": "mixeff_fast.models.manifest",
    "known_schemas": "mixeff_fast.models.manifest",
    "gamma": "mixeff_fast.families",
    "gaussian": "mixeff_fast.families",
    "glmm": "mixeff_fast.models.glmm_fit",
    "inverse_gaussian": "mixeff_fast.families",
    "lmm": "mixeff_fast.models.spec",
    "load": "mixeff_fast.models.saved",
    "negative_binomial": "mixeff_fast.families",
    "negotiate": "mixeff_fast.models.manifest",
    "parse_formula": "mixeff_fast.models.parse",
    "poisson": "mixeff_fast.families",
    "roles": "mixeff_fast.models.roles",
    "revive": "mixeff_fast.models.saved",
    "sufficient_statistics": "mixeff_fast.models.statistics",
}
_MODULES = ("datasets", "errors")

__all__ = [
    "Control",
    "Family",
    "GeneralizedLinearMixedModel",
    "LinearMixedModel",
    "ModelComparison",
    "ModelSpec",
    "PreparedModel",
    "Refits",
    "Roles",
    "SufficientStatistics",
    "__version__",
    "binomial",
    "compare",
    "compile_model",
    "control",
    "datasets",
    "errors",
    "formula_manifest",
    "gamma",
    "gaussian",
    "glmm",
    "inverse_gaussian",
    "known_schemas",
    "lmm",
    "load",
    "negative_binomial",
    "negotiate",
    "parse_formula",
    "poisson",
    "revive",
    "roles",
    "sufficient_statistics",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(_HOMES[name]), name)
    elif name in _MODULES:
        value = import_module(f"mixeff_fast.{name}")
    else:
        raise AttributeError(f"module 'mixeff_fast' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
