"""glmm: a dict of columns; of the containers it takes, lists of labels were the fastest.

It prepares no refits: each is a fit of its own. To a model of counts it adds tables of likelihood-ratio tests, for which it
fits further models; the argument ``Wald`` tells it to do without.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import glmm
import numpy as np
from worker import Message, Refits, serve


def load(message: Message) -> Any:
    folder = Path(message["folder"])
    columns: dict[str, Any] = {}
    for column in message["columns"]:
        name = column["name"]
        if column["kind"] == "number":
            columns[name] = np.fromfile(folder / f"{name}.float64")
        else:
            levels = (folder / f"{name}.levels").read_text(encoding="utf-8").splitlines()
            columns[name] = [levels[code] for code in np.fromfile(folder / f"{name}.int32", dtype=np.int32)]
    return message["formula"], columns, message["response"], arguments(message["likelihood"], columns)


def arguments(likelihood: Any, columns: dict[str, Any]) -> dict[str, Any]:
    """Those of a generalized model."""
    if likelihood is None:
        return {}
    weights = columns[likelihood["trials"]] if likelihood["trials"] else None
    tables = {"anova_test": sys.argv[1]} if len(sys.argv) > 1 else {}
    family = likelihood["family"].replace("_", "")
    return {"family": family, "link": likelihood["link"], "weights": weights, "nagq": likelihood["n_agq"], **tables}


def fit(loaded: Any, reml: bool) -> Any:
    formula, columns, _, more = loaded
    return glmm.fit(columns, formula, **more) if more else glmm.fit(columns, formula, reml=reml)


def prepare(loaded: Any, reml: bool) -> Any:
    return *loaded, reml


def refit(prepared: Any, y: Any) -> Any:
    formula, columns, response, _, reml = prepared
    return glmm.fit({**columns, response: y}, formula, reml=reml)


def facts(fitted: Any) -> Message:
    gradients = getattr(fitted, "n_grad", None)
    return {
        "loglik": fitted.loglik, "evaluations": fitted.n_eval, "gradients": gradients, "converged": bool(fitted.converged),
    }


if __name__ == "__main__":
    serve(load, fit, facts, ("glmm", "numpy"), Refits(prepare, refit, np.asarray))
