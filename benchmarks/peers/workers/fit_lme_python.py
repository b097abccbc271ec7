"""lme-python: a formula and a Polars frame."""

from __future__ import annotations

from typing import Any

import lme_python
import polars as pl
from worker import Message, Refits, saturated, serve

LEFT_OUT = 0.0


def load(message: Message) -> Any:
    frame, likelihood = pl.read_parquet(message["parquet"]), message["likelihood"]
    return message["formula"], frame, None if likelihood is None else arguments(message, frame)


def arguments(message: Message, frame: pl.DataFrame) -> dict[str, Any]:
    """Those of a generalized model, whose log-likelihood lacks the saturated model's."""
    global LEFT_OUT
    likelihood = message["likelihood"]
    trials = frame[likelihood["trials"]].to_list() if likelihood["trials"] else None
    LEFT_OUT = 0.0 if trials is None else saturated(frame[message["response"]].to_list(), trials)
    return {"family_name": likelihood["family"], "n_agq": 0, "weights": trials, "link_name": likelihood["link"]}


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame, generalized = loaded
    if generalized is None:
        return lme_python.lmer(formula, data=frame, reml=reml)
    return lme_python.glmer_weighted(formula, frame, **generalized)


def prepare(loaded: Any, reml: bool) -> Any:
    formula, frame, _ = loaded
    return lme_python.prepare_lmer(formula, frame), reml


def refit(prepared: Any, y: Any) -> Any:
    model, reml = prepared
    return lme_python.fit_prepared(model, reml, y=y)


def facts(fitted: Any) -> Message:
    return {"loglik": fitted.log_likelihood + LEFT_OUT, "evaluations": fitted.iterations, "converged": fitted.converged}


if __name__ == "__main__":
    serve(load, fit, facts, ("lme-python", "polars"), Refits(prepare, refit, list))
