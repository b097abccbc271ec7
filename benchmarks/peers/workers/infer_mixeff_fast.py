"""Our tests of fixed effects: from a fit that nothing has been asked of to the table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl
from worker import Message, serve

import mixeff_fast as mf


@dataclass(frozen=True)
class Asked:
    """A fit, what it held when it was new, and what is asked of it."""

    fit: Any
    new: dict[str, Any]
    verb: str
    method: str


def load(message: Message) -> Asked:
    fit = mf.lmm(message["formula"], pl.read_parquet(message["parquet"]))
    return Asked(fit, dict(fit.__dict__), message["verb"], message["method"])


def test(asked: Asked, reml: bool) -> Any:
    fit = asked.fit
    fit.__dict__.clear()
    fit.__dict__.update(asked.new)
    if asked.verb == "summary":
        return fit.summary(asked.method).table
    if asked.verb == "anova":
        return fit.anova(3, asked.method).table
    return fit.inference_table(asked.method).table, fit.anova(3, asked.method).table


def facts(tables: Any) -> Message:
    """Degrees of freedom and statistics, row by row."""
    table = tables[0] if isinstance(tables, tuple) else tables
    return {"df": table["den_df" if "den_df" in table.columns else "df"].to_list(), "statistic": table["statistic"].to_list()}


if __name__ == "__main__":
    serve(load, test, facts, ("mixeff_fast", "numpy", "scipy", "numba", "polars"))
