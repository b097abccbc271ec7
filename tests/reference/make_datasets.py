"""Turn the CSV files of ``export_datasets.R`` into the bundled Parquet files.

Usage: ``python tests/reference/make_datasets.py EXPORT_FOLDER``. Row counts, column counts and the source version in
``provenance.json`` are brought up to date; its prose is written by hand.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import polars as pl

TARGET = Path(__file__).resolve().parents[2] / "mixeff_fast" / "datasets"


def read_set(folder: Path, name: str, columns: dict[str, dict[str, Any]]) -> pl.DataFrame:
    """Read one exported set; factors become Enums in R's level order."""
    kinds: dict[str, pl.DataType] = {"factor": pl.Int64(), "integer": pl.Int64(), "double": pl.Float64()}
    frame = pl.read_csv(folder / f"{name}.csv", schema={c: kinds[facts["kind"]] for c, facts in columns.items()})
    return frame.with_columns(
        pl.Series(c, [facts["levels"][code] for code in frame[c]], dtype=pl.Enum(facts["levels"]))
        for c, facts in columns.items()
        if facts["kind"] == "factor"
    )


def main(folder: Path) -> None:
    """Write every set, check that it reads back equal, and refresh the counts in ``provenance.json``."""
    meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
    provenance_path = TARGET / "provenance.json"
    provenance = json.loads(provenance_path.read_text(encoding="utf-8"))
    if [entry["name"] for entry in provenance] != list(meta["sets"]):
        raise SystemExit("provenance.json and the export name different sets")
    for entry in provenance:
        name = entry["name"]
        frame = read_set(folder, name, meta["sets"][name])
        path = TARGET / f"{name}.parquet"
        frame.write_parquet(path, compression="zstd", compression_level=22, statistics=False)
        back = pl.read_parquet(path)
        if back.schema != frame.schema or not back.equals(frame):
            raise SystemExit(f"{name} does not survive Parquet")
        entry |= {"rows": frame.height, "columns": frame.width, "exported_from": meta["exported_from"]}
        print(f"{name}: {frame.height} rows, {path.stat().st_size} bytes")
    provenance_path.write_text(json.dumps(provenance, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
