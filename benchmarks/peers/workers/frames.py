"""Data for packages that take pandas frames."""

from __future__ import annotations

from typing import Any

import pandas as pd
from worker import Message


def read(message: Message) -> pd.DataFrame:
    return pd.read_parquet(message["parquet"])


def fixed_formula(message: Message) -> str:
    return f"{message['response']} ~ {' + '.join(message['fixed'])}"


def slopes_formula(term: dict[str, Any]) -> str:
    return "~" + " + ".join(["1", *term["slopes"]])
