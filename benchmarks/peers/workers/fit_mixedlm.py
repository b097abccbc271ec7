"""mixedlm: a formula and a pandas frame."""

from __future__ import annotations

from typing import Any

import mixedlm
import numpy as np
from frames import read
from worker import Message, Refits, serve


def load(message: Message) -> Any:
    return message["formula"], read(message)


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return mixedlm.lmer(formula, frame, REML=reml)


def refit(prepared: Any, y: Any) -> Any:
    return prepared.refit(y)


def facts(fitted: Any) -> Message:
    return {
        "loglik": float(fitted.logLik()),
        "evaluations": int(fitted.function_evals),
        "converged": bool(fitted.converged),
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixedlm", "numpy", "scipy", "pandas"), Refits(fit, refit, np.asarray))
