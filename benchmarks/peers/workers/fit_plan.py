"""Our engine from the compiled model on, with the trunk that the argument says: ``chosen``, or one to force."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

import polars as pl
from worker import Message, serve

import mixeff_fast as mf
from mixeff_fast.compile import CompiledModel
from mixeff_fast.compile.plan import make_plan
from mixeff_fast.fit.lmm import fit_lmm

TRUNK = sys.argv[1]


def forced(model: CompiledModel, trunk: str) -> CompiledModel:
    """The same model with another elimination plan."""
    codes, n_levels = [f.group.codes for f in model.factors], [f.n_levels for f in model.factors]
    options: dict[str, Any] = {"trunk": trunk}
    plan = make_plan(codes, n_levels, [f.width for f in model.factors], len(model.fixed.names), **options)
    return replace(model, plan=plan)


def load(message: Message) -> Any:
    model = mf.compile_model(message["formula"], pl.read_parquet(message["parquet"])).compiled
    return model if TRUNK == "chosen" else forced(model, TRUNK)


def fit(loaded: Any, reml: bool) -> Any:
    _, result = fit_lmm(loaded, reml)
    return result


def facts(fitted: Any) -> Message:
    certificate = fitted.certificate
    return {
        "loglik": -0.5 * fitted.objective,
        "evaluations": certificate.evaluations,
        "certificate_evaluations": certificate.certificate_evaluations,
        "converged": str(certificate.status) != "not_optimized",
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixeff_fast", "numpy", "scipy", "numba", "polars"))
