"""gpboost: arrays of groups, response and fixed effects; maximum likelihood only.

By exact factorization: what it does by default with several groupings only approximates the likelihood, so that neither
its optimum nor the value that it reports can be held against others. The search for generalized models ends when the
log-likelihood changes by less than 1e-9 of itself: by default (1e-6) that of large data is several thousandths short.
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
    return frame[message["response"]].to_numpy(), np.column_stack(fixed), groups, *arguments(message["likelihood"], frame)


def arguments(likelihood: Any, frame: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those of a model and of its fit."""
    if likelihood is None:
        return {"likelihood": "gaussian"}, {}
    family, fit = likelihood["family"], {"params": {"delta_rel_conv": 1e-9}}
    if likelihood["offset"]:
        fit["offset"] = frame[likelihood["offset"]].to_numpy()
    if family != "binomial":
        return {"likelihood": family}, fit
    if not likelihood["trials"]:
        return {"likelihood": f"bernoulli_{likelihood['link']}"}, fit
    return {"likelihood": f"binomial_{likelihood['link']}", "weights": frame[likelihood["trials"]].to_numpy()}, fit


def fit(loaded: Any, reml: bool) -> Any:
    if reml:
        raise ValueError("fits by maximum likelihood only")
    response, fixed, groups, of_model, of_fit = loaded
    model = gpboost.GPModel(group_data=groups, matrix_inversion_method="cholesky", **of_model)
    model.fit(y=response, X=fixed, **of_fit)
    return model


def facts(fitted: Any) -> Message:
    iterations = int(fitted._get_num_optim_iter())
    return {"loglik": -float(fitted.get_current_neg_log_likelihood()), "evaluations": iterations, "converged": None}


if __name__ == "__main__":
    serve(load, fit, facts, ("gpboost", "numpy"))
