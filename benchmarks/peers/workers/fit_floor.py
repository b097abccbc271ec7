"""The floor of streaming: one pass of Polars over the file, summing the response by the groups of the first term."""

from __future__ import annotations

from typing import Any

import polars as pl
from worker import Message, serve


def load(message: Message) -> Any:
    scan = pl.scan_parquet(message["parquet"])
    return scan.group_by(message["terms"][0]["group"]).agg(pl.col(message["response"]).sum())


def fit(loaded: Any, reml: bool) -> Any:
    return loaded.collect(engine="streaming")


def facts(fitted: Any) -> Message:
    return {"loglik": None, "evaluations": None, "converged": None}


if __name__ == "__main__":
    serve(load, fit, facts, ("polars",))
