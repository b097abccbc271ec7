"""glmm: a dict of columns; of the containers it takes, lists of labels were the fastest.

It prepares no refits: each is a fit of its own.
"""

from __future__ import annotations

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
    return message["formula"], columns, message["response"]


def fit(loaded: Any, reml: bool) -> Any:
    formula, columns, _ = loaded
    return glmm.fit(columns, formula, reml=reml)


def prepare(loaded: Any, reml: bool) -> Any:
    return *loaded, reml


def refit(prepared: Any, y: Any) -> Any:
    formula, columns, response, reml = prepared
    return glmm.fit({**columns, response: y}, formula, reml=reml)


def facts(fitted: Any) -> Message:
    return {"loglik": fitted.loglik, "evaluations": fitted.n_eval, "converged": bool(fitted.converged)}


if __name__ == "__main__":
    serve(load, fit, facts, ("glmm", "numpy"), Refits(prepare, refit, np.asarray))
