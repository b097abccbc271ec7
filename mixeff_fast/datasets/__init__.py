"""Classic data sets, bundled as Parquet with a record of where each comes from."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixeff_fast.errors import ArgumentError

if TYPE_CHECKING:
    import polars as pl

__all__ = ["load", "names", "provenance"]

_FOLDER = Path(__file__).parent


@lru_cache(maxsize=1)
def _entries() -> tuple[dict[str, Any], ...]:
    return tuple(json.loads((_FOLDER / "provenance.json").read_text(encoding="utf-8")))


def names() -> tuple[str, ...]:
    """Names of the bundled data sets.

    Returns
    -------
    tuple of str
        The names that `load` accepts.

    Examples
    --------
    >>> "sleepstudy" in names()
    True
    """
    return tuple(entry["name"] for entry in _entries())


def load(name: str) -> pl.DataFrame:
    """Load a bundled data set.

    Parameters
    ----------
    name
        One of `names`; upper and lower case matter.

    Returns
    -------
    polars.DataFrame
        The data as R has them: factors are Enums with R's order of levels, integers Int64, other numbers Float64.

    Raises
    ------
    ArgumentError
        For a name that is not bundled; the message lists the names that are.

    Examples
    --------
    >>> load("sleepstudy").columns
    ['Reaction', 'Days', 'Subject']
    """
    known = names()
    if name not in known:
        close = [each for each in known if isinstance(name, str) and each.lower() == name.lower()]
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ArgumentError(
            f"There is no bundled data set {name!r}.{hint} Available: {', '.join(known)}.",
            argument="name",
            value=name,
            allowed=known,
        )
    import polars as pl

    return pl.read_parquet(_FOLDER / f"{name}.parquet")


def provenance() -> pl.DataFrame:
    """Where each bundled data set comes from.

    Returns
    -------
    polars.DataFrame
        One row per set: ``name``, ``rows``, ``columns``, ``description``, ``publication``, ``exported_from``,
        ``licence``.

    Examples
    --------
    >>> provenance().columns
    ['name', 'rows', 'columns', 'description', 'publication', 'exported_from', 'licence']
    """
    import polars as pl

    schema = {
        "name": pl.String,
        "rows": pl.Int64,
        "columns": pl.Int64,
        "description": pl.String,
        "publication": pl.String,
        "exported_from": pl.String,
        "licence": pl.String,
    }
    return pl.DataFrame(list(_entries()), schema=schema)
