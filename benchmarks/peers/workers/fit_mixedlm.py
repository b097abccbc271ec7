"""mixedlm: a formula and a pandas frame."""

from __future__ import annotations

from typing import Any

import mixedlm
from frames import read
from worker import Message, serve


def load(message: Message) -> Any:
    return message["formula"], read(message)


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame = loaded
    return mixedlm.lmer(formula, frame, REML=reml)


def facts(fitted: Any) -> Message:
    return {
        "loglik": float(fitted.logLik()),
        "evaluations": int(fitted.function_evals),
        "converged": bool(fitted.converged),
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixedlm", "numpy", "scipy", "pandas"))
