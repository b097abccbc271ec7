"""Levels of categorical columns: which there are, in what order, and the code of every row."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mixeff_fast.errors import DataError
from mixeff_fast.frame.columns import Codes, Levels, frozen
from mixeff_fast.frame.names import told_apart

# Below this many rows a Python dictionary is faster than a private category registry.
_FEW_ROWS = 1500
# so few labels are sorted sooner by Python than by Polars
_FEW_LABELS = 1024
# Rows handled at a time, so that temporaries stay in the cache and never grow with the data.
_CHUNK = 1 << 16
_INTEGERS = frozenset(
    {pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32, pl.UInt64}
)
_TEMPORAL = (pl.Date, pl.Datetime, pl.Duration, pl.Time)


def encode(series: pl.Series, dtype: pl.DataType) -> tuple[Codes, Levels, list[str]]:
    """Code a column without missing values as a factor.

    Parameters
    ----------
    series
        Strings, ``Enum``, ``Categorical``, booleans, numbers, dates or times.
    dtype
        Its type; asking a series for it is slow for an ``Enum``.

    Returns
    -------
    codes
        Shape (n,), read-only.
    levels
        The levels that occur.
    unused
        Declared levels that do not occur, and were therefore dropped.

    Raises
    ------
    DataError
        For a type that cannot be a factor.
    """
    if isinstance(dtype, pl.Enum):
        return _encode_enum(series, dtype)
    if dtype == pl.String:
        codes, labels = _encode_strings(series)
        return codes, Levels(labels, "sorted", "string"), []
    if dtype == pl.Boolean:
        codes, found = _compress(series.to_numpy().astype(np.int32), 2)
        labels = pl.Series(["FALSE", "TRUE"]).gather(found)
        return codes, Levels(labels, "logical", "logical"), []
    if dtype == pl.Categorical:
        codes, labels = _sort_categories(series, series)
        return codes, Levels(labels, "sorted", "string"), []
    if dtype in _INTEGERS:
        codes, integers = _encode_numbers(series)
        return codes, Levels(pl.Series(integers).cast(pl.String), "numeric", "numeric"), []
    if dtype.is_integer():
        # 128 bits fit no NumPy type, and floats would merge numbers that share their first digits.
        codes = frozen((series.rank("dense") - 1).to_numpy().astype(np.int32))
        return codes, Levels(series.unique().sort().cast(pl.String).alias(""), "numeric", "numeric"), []
    if dtype.is_numeric():
        return *encode_floats(series.cast(pl.Float64).to_numpy()), []
    if dtype in _TEMPORAL:
        physical = series.to_physical()
        codes, moments = _encode_numbers(physical)
        labels = _iso_labels(pl.Series(moments).cast(physical.dtype).cast(dtype))
        return codes, Levels(labels, "sorted", "string"), []
    remedy = f"cast it first, for example with pl.col({series.name!r}).cast(pl.String)"
    if dtype.is_nested():
        remedy = "take one label out of each value first, for example with .list.first() or .struct.field(...)"
    raise DataError(
        f"column {series.name!r} has type {dtype}, which cannot be a factor; {remedy}",
        column=series.name,
        dtype=str(dtype),
    )


def encode_floats(values: npt.NDArray[np.float64]) -> tuple[Codes, Levels]:
    """Code numbers as a factor with the labels R gives them; numbers with the same label are one level."""
    codes, uniques = _encode_numbers(pl.Series(values + 0.0))
    labels = [number_label(value) for value in uniques.tolist()]
    if len(set(labels)) < len(labels):
        # Equal labels are neighbours: rounding to 15 digits keeps the order.
        merged = np.cumsum([one != two for one, two in zip(["", *labels], labels, strict=False)]) - 1
        codes = frozen(merged.astype(np.int32)[codes])
        labels = list(dict.fromkeys(labels))
    return codes, Levels(pl.Series(labels, dtype=pl.String), "numeric", "numeric")


def number_label(value: float) -> str:
    """Return the text R's ``as.character`` gives a number: 15 significant digits, the shorter of two notations.

    Examples
    --------
    >>> [number_label(value) for value in (1.0, 10.0, 1.5, 100000.0, 123456.0, 0.1 + 0.2)]
    ['1', '10', '1.5', '1e+05', '123456', '0.3']
    """
    mantissa, exponent = f"{value:.14e}".split("e")
    digits = max(len(mantissa.lstrip("-").replace(".", "").rstrip("0")), 1)
    scientific = f"{value:.{digits - 1}e}"
    fixed = f"{value:.{max(digits - 1 - int(exponent), 0)}f}"
    return fixed if len(fixed) <= len(scientific) else scientific


def match_codes(codes: Codes, found: Levels, levels: Levels) -> tuple[Codes, list[str]]:
    """Translate codes of some levels into codes of others.

    Parameters
    ----------
    codes, found
        The codes, shape (n,), and the levels they mean.
    levels
        The levels that are known.

    Returns
    -------
    codes
        Shape (n,), read-only; -1 where the level is not known.
    unseen
        The labels that are not known.
    """
    known = {label: code for code, label in enumerate(levels.labels.to_list())}
    labels = found.labels.to_list()
    table = [known.get(label, -1) for label in labels]
    if levels.kind == "numeric" and found.kind == "numeric" and -1 in table:
        # 100000 is "1e+05" as a float and "100000" as an integer: compare what the labels mean, to the last digit.
        meaning = {Decimal(label): code for label, code in known.items()}
        table = [meaning.get(Decimal(label), -1) for label in labels]
    unseen = [label for label, code in zip(labels, table, strict=True) if code < 0]
    return frozen(np.array(table, dtype=np.int32)[codes]), unseen


def combine(parts: tuple[Codes, ...], sizes: tuple[int, ...]) -> tuple[Codes, Codes]:
    """Code the observed combinations of several factors, in the order of the first part, then the second, ...

    Parameters
    ----------
    parts
        The codes of each factor, each of shape (n,).
    sizes
        The number of levels of each factor.

    Returns
    -------
    codes
        Shape (n,), read-only.
    cells
        Shape (q, len(parts)): the part codes of each combination.
    """
    codes = parts[0]
    cells = np.arange(sizes[0], dtype=np.int32)[:, None]
    for part, size in zip(parts[1:], sizes[1:], strict=True):
        pairs = codes.astype(np.int64)
        pairs *= size
        pairs += part
        codes, found = _compress(pairs, len(cells) * size)
        cells = np.column_stack([cells[found // size], (found % size).astype(np.int32)])
    return codes, frozen(cells)


def match_cells(parts: tuple[Codes, ...], sizes: tuple[int, ...], cells: Codes) -> Codes:
    """Code combinations of new data by cells that are already known; -1 where one is not known."""
    keys = np.zeros(len(cells), dtype=np.int64)
    wanted = np.zeros(len(parts[0]), dtype=np.int64)
    known = np.ones(len(wanted), dtype=np.bool_)
    for position, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        keys, wanted = keys * size + cells[:, position], wanted * size + part
        known &= part >= 0
    codes = np.searchsorted(keys, wanted).astype(np.int32)
    codes[codes == len(keys)] = 0
    codes[~known | (keys[codes] != wanted)] = -1
    return frozen(codes)


def cell_labels(part_levels: tuple[Levels, ...], cells: Codes) -> pl.Series:
    """Return the labels ``l1:l2`` of combinations of levels, with a number behind one that stands before already: levels may
    have colons themselves."""
    columns = [levels.labels.gather(cells[:, k]).alias(str(k)) for k, levels in enumerate(part_levels)]
    labels = pl.DataFrame(columns).select(pl.concat_str(pl.all(), separator=":").alias("")).to_series()
    if any(levels.labels.str.contains(":", literal=True).any() for levels in part_levels) and labels.is_duplicated().any():
        apart: dict[str, None] = {}
        for label in labels.to_list():
            apart[told_apart(label, apart)] = None
        return pl.Series(list(apart), dtype=pl.String)
    return labels


def _encode_enum(series: pl.Series, dtype: pl.Enum) -> tuple[Codes, Levels, list[str]]:
    declared = dtype.categories
    if len(series) <= _FEW_ROWS:
        index = {label: code for code, label in enumerate(declared.to_list())}
        physical = np.array([index[text] for text in series.to_list()], dtype=np.int32)
    else:
        physical = series.to_physical().to_numpy()
    codes, found = _compress(physical, len(declared))
    if len(found) == len(declared):
        return codes, Levels(declared, "declared", "string"), []
    used = np.zeros(len(declared), dtype=np.bool_)
    used[found] = True
    levels = Levels(declared.gather(found), "declared", "string")
    return codes, levels, declared.filter(pl.Series(~used)).to_list()


def _encode_strings(series: pl.Series) -> tuple[Codes, pl.Series]:
    if len(series) > _FEW_ROWS:
        from mixeff_fast.frame.stringviews import code_short_strings

        found = code_short_strings(series)
        if found is not None:
            return frozen(found[0]), series[found[1]].alias("")
        # A private registry keeps the physical codes dense; the global one numbers every string of the process.
        return _sort_categories(series.cast(pl.Categorical(pl.Categories.random())), series)
    texts = series.to_list()
    labels = sorted(set(texts))
    index = {label: code for code, label in enumerate(labels)}
    codes = np.array([index[text] for text in texts], dtype=np.int32)
    return frozen(codes), pl.Series(labels, dtype=pl.String)


def _in_byte_order(labels: pl.Series) -> tuple[npt.NDArray[Any], pl.Series]:
    """The order that sorts labels, and the sorted labels."""
    if len(labels) > _FEW_LABELS:
        order = labels.arg_sort().to_numpy()
        return order, labels[order].rename("")
    texts = labels.to_list()
    places = sorted(range(len(texts)), key=texts.__getitem__)
    return np.array(places, dtype=np.int64), pl.Series([texts[i] for i in places], dtype=pl.String)


def _sort_categories(coded: pl.Series, texts: pl.Series) -> tuple[Codes, pl.Series]:
    """Turn the physical codes of a categorical column into codes of its labels in byte order."""
    physical = coded.to_physical().to_numpy()
    example = np.full(int(physical.max(initial=0)) + 1, -1, dtype=np.int64)
    for start in range(0, len(physical), _CHUNK):
        chunk = physical[start : start + _CHUNK]
        example[chunk] = np.arange(start, start + len(chunk))
        # Looking whether all are found costs a pass over the levels, so look after 1, 2, 4, 8, ... chunks only.
        if start & (start - 1) == 0 and example.min() >= 0:
            break
    used = np.flatnonzero(example >= 0)
    # indexing takes a fraction of the time that expressions such as gather() do on so few values
    labels = texts[example[used]]
    if labels.dtype != pl.String:
        labels = labels.cast(pl.String)
    order, labels = _in_byte_order(labels)
    table = np.zeros(len(example), dtype=np.int32)
    table[used[order]] = np.arange(len(used), dtype=np.int32)
    return _translate(table, physical), labels


def _encode_numbers(series: pl.Series) -> tuple[Codes, npt.NDArray[Any]]:
    """Return codes in order of value, and the values."""
    values = series.to_numpy()
    if values.dtype.kind in "iu" and len(values):
        low, high = int(values.min()), int(values.max())
        if high - low < max(4 * len(values), 1024) and high < 2**63:
            codes, found = _compress(values, high - low + 1, low)
            return codes, found + low
    if len(values) <= _FEW_ROWS:
        uniques, inverse = np.unique(values, return_inverse=True)
        return frozen(inverse.astype(np.int32)), uniques
    uniques = series.unique().sort().to_numpy()
    return _position(uniques, values), uniques


def _compress(values: npt.NDArray[Any], size: int, low: int = 0) -> tuple[Codes, npt.NDArray[np.int64]]:
    """Renumber integers from ``range(low, low + size)`` without gaps; also return which occur, less ``low``."""
    if size > max(4 * len(values), 1 << 20):
        series = pl.Series(values)
        found = series.unique().sort().to_numpy()
        return _position(found, values), found.astype(np.int64) - low
    seen = np.zeros(size, dtype=np.bool_)
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        seen[chunk if low == 0 else chunk.astype(np.int64) - low] = True
    found = np.flatnonzero(seen)
    if len(found) == size and low == 0:
        return frozen(values.astype(np.int32)), found
    table = np.cumsum(seen, dtype=np.int32) - np.int32(1)
    return _translate(table, values, low), found


def _translate(table: Codes, values: npt.NDArray[Any], low: int = 0) -> Codes:
    """Return ``table[values - low]``."""
    codes = np.empty(len(values), dtype=np.int32)
    for start in range(0, len(values), _CHUNK):
        chunk = values[start : start + _CHUNK]
        if low:
            chunk = chunk.astype(np.int64) - low
        # All values are in range; only mode="raise" would buffer the output.
        np.take(table, chunk, out=codes[start : start + _CHUNK], mode="clip")
    return frozen(codes)


def _position(uniques: npt.NDArray[Any], values: npt.NDArray[Any]) -> Codes:
    """Return the position of each value among the sorted uniques."""
    codes = np.empty(len(values), dtype=np.int32)
    for start in range(0, len(values), _CHUNK):
        codes[start : start + _CHUNK] = np.searchsorted(uniques, values[start : start + _CHUNK])
    return frozen(codes)


def _iso_labels(moments: pl.Series) -> pl.Series:
    """Return ISO 8601 text without trailing zeros of a fraction, so that the time unit does not show."""
    text = moments.dt.to_string("iso:strict").str.replace(r"(\.\d*?)0+(S?(?:[+-]\d\d:\d\d)?)$", "$1$2")
    return text.str.replace(r"\.(S?(?:[+-]\d\d:\d\d)?)$", "$1")
