"""Our engine: a formula and a Polars frame, certificate included."""

from __future__ import annotations

from typing import Any

import polars as pl
from worker import Message, serve

import mixeff_fast as mf


def load(message: Message) -> Any:
    return message["formula"], pl.read_parquet(message["parquet"])


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return mf.lmm(formula, frame, reml=reml)


def facts(fitted: Any) -> Message:
    certificate = fitted.result.certificate
    return {
        "loglik": fitted.loglik,
        "evaluations": certificate.evaluations + certificate.certificate_evaluations,
        "converged": str(certificate.status) != "not_optimized",
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixeff_fast", "numpy", "scipy", "numba", "polars"))
