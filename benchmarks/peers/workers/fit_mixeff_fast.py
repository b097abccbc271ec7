"""Our engine: a formula and a Polars frame, or a scan of the file, certificate included."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from worker import Message, Refits, serve

import mixeff_fast as mf
from mixeff_fast.families import Family

COUNTED = ("passes", "factorizations")


def load(message: Message) -> Any:
    read = pl.scan_parquet if message.get("task") == "stream" else pl.read_parquet
    return message["formula"], read(message["parquet"]), message.get("likelihood")


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame, likelihood = loaded
    if likelihood is None:
        return mf.lmm(formula, frame, reml=reml)
    family = Family(likelihood["family"], likelihood["link"])
    weights, method, n_agq = likelihood["trials"] or None, likelihood["method"], likelihood["n_agq"]
    return mf.glmm(formula, frame, family, weights=weights, method=method, n_agq=n_agq)


def prepare(loaded: Any, reml: bool) -> Any:
    formula, frame, _ = loaded
    spec: Any = mf.compile_model(formula, frame)
    return spec.prepare(reml=reml)


def refit(prepared: Any, responses: Any) -> Any:
    return prepared.refit_many(responses)


def facts(fitted: Any) -> Message:
    result = getattr(fitted, "result", fitted)
    if not hasattr(result, "certificate"):
        return {
            "loglik": -0.5 * float(fitted.objective.mean()),
            "evaluations": int(fitted.evaluations.sum()),
            "converged": "not_optimized" not in fitted.status,
        }
    certificate = result.certificate
    return {
        "loglik": -0.5 * result.objective,
        "evaluations": certificate.evaluations,
        "certificate_evaluations": certificate.certificate_evaluations,
        "converged": str(certificate.status) != "not_optimized",
        **{name: getattr(result, name) for name in COUNTED if hasattr(result, name)},
    }


REFITS = Refits(prepare, refit, np.asarray, np.column_stack)

if __name__ == "__main__":
    serve(load, fit, facts, ("mixeff_fast", "numpy", "scipy", "numba", "polars"), REFITS)
