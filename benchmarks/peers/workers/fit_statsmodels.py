"""statsmodels' MixedLM: one grouping factor, or variance components within the outermost (or a single) group."""

from __future__ import annotations

from typing import Any

from frames import fixed_formula, read, slopes_formula
from statsmodels.regression.mixed_linear_model import MixedLM
from worker import Message, serve

ALL = "_all"


def load(message: Message) -> Any:
    frame = read(message)
    first, *others = message["terms"]
    arguments: dict[str, Any] = {"groups": first["group"], "re_formula": slopes_formula(first)}
    if others and message["nested"]:
        arguments["vc_formula"] = {term["group"]: f"0 + C({term['group']})" for term in others}
    elif others:
        frame[ALL] = 1
        components = {term["group"]: f"0 + C({term['group']})" for term in message["terms"]}
        arguments = {"groups": ALL, "re_formula": "0", "vc_formula": components}
    return fixed_formula(message), frame, arguments


def fit(loaded: Any, reml: bool) -> Any:
    formula, frame, arguments = loaded
    return MixedLM.from_formula(formula, frame, **arguments).fit(reml=reml)


def facts(fitted: Any) -> Message:
    return {"loglik": float(fitted.llf), "evaluations": None, "converged": bool(fitted.converged)}


if __name__ == "__main__":
    serve(load, fit, facts, ("statsmodels", "numpy", "scipy", "pandas"))
