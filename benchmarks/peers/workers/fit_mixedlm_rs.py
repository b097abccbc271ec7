"""mixedlm-rs: a formula for the fixed effects, one for the random ones, and a pandas frame."""

from __future__ import annotations

from typing import Any

import mixedlm_rs
from frames import fixed_formula, read, slopes_formula
from worker import Message, serve


def load(message: Message) -> Any:
    (term,) = message["terms"]
    return fixed_formula(message), slopes_formula(term), term["group"], read(message)


def fit(loaded: Any, reml: bool) -> Any:
    fixed, random, group, frame = loaded
    return mixedlm_rs.mixedlm(fixed, frame, groups=group, re_formula=random).fit(reml=reml)


def facts(fitted: Any) -> Message:
    return {
        "loglik": float(fitted.llf),
        "evaluations": int(fitted.diagnostics["n_objective_evaluations"]),
        "converged": bool(fitted.converged),
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("mixedlm-rs", "numpy", "scipy", "pandas"))
