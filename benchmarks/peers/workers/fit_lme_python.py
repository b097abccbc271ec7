"""lme-python: a formula and a Polars frame."""

from __future__ import annotations

from typing import Any

import lme_python
import polars as pl
from worker import Message, Refits, serve


def load(message: Message) -> Any:
    return message["formula"], pl.read_parquet(message["parquet"])


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return lme_python.lmer(formula, data=frame, reml=reml)


def prepare(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return lme_python.prepare_lmer(formula, frame), reml


def refit(prepared: Any, y: Any) -> Any:
    model, reml = prepared
    return lme_python.fit_prepared(model, reml, y=y)


def facts(fitted: Any) -> Message:
    return {"loglik": fitted.log_likelihood, "evaluations": fitted.iterations, "converged": fitted.converged}


if __name__ == "__main__":
    serve(load, fit, facts, ("lme-python", "polars"), Refits(prepare, refit, list))
