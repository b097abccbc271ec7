"""The data of a shape, written once for all workers: as Parquet, and as one file of raw numbers per column."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from benchmarks.generators import new_responses
from benchmarks.shapes import Shape


def write(shape: Shape, data: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Write the data; returns the message that tells a worker where they are and which model to fit.

    Numbers are float64 in both forms. A column of labels is in Parquet as it is (a String, or an Enum with its levels);
    in the raw form it is int32 codes from 0, with the levels in a text file, one a line. New responses stand one after the
    other in a file of float64.
    """
    numbers = [name for name in data.columns if data.schema[name].is_numeric()]
    data = data.with_columns(pl.col(numbers).cast(pl.Float64))
    parquet = folder / "data.parquet"
    data.write_parquet(parquet)
    message: dict[str, Any] = {
        "do": "load",
        "task": shape.task,
        "parquet": str(parquet),
        "folder": str(folder),
        "rows": data.height,
        "columns": [_column(data[name], folder) for name in data.columns],
        "formula": shape.formula,
        "response": shape.response,
        "fixed": list(shape.fixed),
        "terms": [{"group": term.group, "slopes": list(term.slopes)} for term in shape.terms],
        "nested": shape.nested,
        "likelihood": None if shape.likelihood is None else dataclasses.asdict(shape.likelihood),
    }
    if shape.responses:
        path = folder / "responses.float64"
        new_responses(data[shape.response].to_numpy(), shape.responses).tofile(path)
        message["responses"] = {"path": str(path), "times": shape.responses}
    return message


def _column(values: pl.Series, folder: Path) -> dict[str, Any]:
    name = values.name
    if values.dtype.is_numeric():
        values.to_numpy().astype(np.float64).tofile(folder / f"{name}.float64")
        return {"name": name, "kind": "number"}
    factor = isinstance(values.dtype, pl.Enum)
    levels = values.dtype.categories if isinstance(values.dtype, pl.Enum) else values.unique().sort()
    values.cast(pl.Enum(levels)).to_physical().to_numpy().astype(np.int32).tofile(folder / f"{name}.int32")
    (folder / f"{name}.levels").write_text("\n".join(levels.to_list()) + "\n", encoding="utf-8")
    return {"name": name, "kind": "factor" if factor else "string"}
