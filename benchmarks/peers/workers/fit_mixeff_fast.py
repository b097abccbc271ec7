"""Our engine: a formula and a Polars frame, or a scan of the file, certificate included."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from worker import Message, Refits, serve

import mixeff_fast as mf


def load(message: Message) -> Any:
    read = pl.scan_parquet if message.get("task") == "stream" else pl.read_parquet
    return message["formula"], read(message["parquet"])


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return mf.lmm(formula, frame, reml=reml)


def prepare(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    spec: Any = mf.compile_model(formula, frame)
    return spec.prepare(reml=reml)


def refit(prepared: Any, responses: Any) -> Any:
    return prepared.refit_many(responses)


def facts(fitted: Any) -> Message:
    if not hasattr(fitted, "result"):
        return {
            "loglik": -0.5 * float(fitted.objective.mean()),
            "evaluations": int(fitted.evaluations.sum()),
            "converged": "not_optimized" not in fitted.status,
        }
    certificate = fitted.result.certificate
    return {
        "loglik": fitted.loglik,
        "evaluations": certificate.evaluations,
        "certificate_evaluations": certificate.certificate_evaluations,
        "converged": str(certificate.status) != "not_optimized",
    }


REFITS = Refits(prepare, refit, np.asarray, np.column_stack)

if __name__ == "__main__":
    serve(load, fit, facts, ("mixeff_fast", "numpy", "scipy", "numba", "polars"), REFITS)
