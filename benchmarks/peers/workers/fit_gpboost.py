"""gpboost: arrays of groups, response and fixed effects; maximum likelihood only.

By exact factorization: what it does by default with several groupings only approximates the likelihood, so that neither
its optimum nor the value that it reports can be held against others.
"""

from __future__ import annotations

from typing import Any

import gpboost
import numpy as np
import pandas as pd
from frames import read
from worker import Message, serve


def load(message: Message) -> Any:
    frame = read(message)
    groups = np.column_stack([frame[term["group"]].astype(str).to_numpy(dtype=object) for term in message["terms"]])
    fixed = [np.ones(len(frame))]
    for name in message["fixed"]:
        values = frame[name]
        numeric = pd.api.types.is_numeric_dtype(values)
        columns = values.to_frame() if numeric else pd.get_dummies(values, drop_first=True)
        fixed.extend(columns.to_numpy(dtype=float).T)
    return frame[message["response"]].to_numpy(), np.column_stack(fixed), groups


def fit(loaded: Any, reml: bool) -> Any:
    if reml:
        raise ValueError("fits by maximum likelihood only")
    response, fixed, groups = loaded
    model = gpboost.GPModel(group_data=groups, likelihood="gaussian", matrix_inversion_method="cholesky")
    model.fit(y=response, X=fixed)
    return model


def facts(fitted: Any) -> Message:
    return {"loglik": -float(fitted.get_current_neg_log_likelihood()), "evaluations": None, "converged": None}


if __name__ == "__main__":
    serve(load, fit, facts, ("gpboost", "numpy"))
