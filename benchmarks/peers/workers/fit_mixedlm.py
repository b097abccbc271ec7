"""mixedlm: a formula and a pandas frame."""

from __future__ import annotations

from typing import Any

import mixedlm
import numpy as np
from frames import read
from mixedlm import families
from worker import Message, Refits, serve


def load(message: Message) -> Any:
    likelihood = message["likelihood"]
    if likelihood is None:
        return message["formula"], read(message), None
    formula = message["formula"].replace(f" + offset({likelihood['offset']})", "")
    family = {"binomial": families.Binomial, "poisson": families.Poisson}[likelihood["family"]](likelihood["link"])
    nodes = 0 if likelihood["method"] == "pirls_profiled" else likelihood["n_agq"]
    more = {"family": family, "nAGQ": nodes, "weights": likelihood["trials"] or None, "offset": likelihood["offset"] or None}
    return formula, read(message), more


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame, generalized = loaded
    if generalized is None:
        return mixedlm.lmer(formula, frame, REML=reml)
    return mixedlm.glmer(formula, frame, **generalized)


def refit(prepared: Any, y: Any) -> Any:
    return prepared.refit(y)


def facts(fitted: Any) -> Message:
    return {
        "loglik": float(fitted.logLik()),
        "evaluations": getattr(fitted, "function_evals", None),
        "converged": bool(fitted.converged),
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixedlm", "numpy", "scipy", "pandas"), Refits(fit, refit, np.asarray))
