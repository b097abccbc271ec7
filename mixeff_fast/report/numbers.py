"""Numbers as R prints them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def decimals(values: Sequence[float | None], digits: int) -> int:
    """Decimal places that show every value to ``digits`` significant digits, trailing zeros dropped: R's ``format``."""
    places = 0
    for value in values:
        if value is None or value == 0.0 or not math.isfinite(value):
            continue
        mantissa, exponent = f"{abs(value):.{digits - 1}e}".split("e")
        significant = len(mantissa.replace(".", "").rstrip("0"))
        places = max(places, significant - 1 - int(exponent))
    return min(places, 15)


def column(values: Sequence[float | None], digits: int = 4, missing: str = "") -> list[str]:
    """Format a column with one number of decimals; very large or small columns in scientific notation."""
    finite = [abs(v) for v in values if v is not None and math.isfinite(v) and v != 0.0]
    if finite and (max(finite) >= 1e15 or max(finite) < 1e-5):
        texts = [missing if v is None else f"{v:.{digits - 1}e}" for v in values]
    else:
        places = decimals(values, digits)
        texts = [missing if v is None else f"{v:.{places}f}" for v in values]
    return texts


def p_value(p: float | None, log_p: float | None) -> str:
    """A p-value as R prints it, but never ``< 2e-16`` for what is known: tiny ones show their power of ten."""
    if p is None:
        return ""
    if p >= 1e-4:
        return f"{p:.4f}"
    if p > 1e-300 or log_p is None:
        return f"{p:.2e}"
    exponent = log_p / math.log(10.0)
    return f"{10 ** (exponent - math.floor(exponent)):.2f}e{math.floor(exponent)}"


def fixed(value: float, places: int) -> str:
    """A number with ``places`` decimals; what rounds to zero has no sign."""
    text = f"{value:.{places}f}"
    return text.lstrip("-") if float(text) == 0.0 else text


def _abbreviated(name: str, length: int) -> str:
    letters = list(name)
    for removable in ("aeiou", "abcdefghijklmnopqrstuvwxyz"):
        for i in range(len(letters) - 1, 0, -1):
            if len(letters) <= length:
                break
            if letters[i] in removable and letters[i - 1] != " ":
                del letters[i]
    return "".join(letters)


def abbreviate(names: Sequence[str], length: int = 6) -> list[str]:
    """Short, distinct names as R's ``abbreviate`` makes them: lower-case vowels go first, then lower-case letters."""
    short = [_abbreviated(name, length) for name in names]
    longest = max((len(name) for name in names), default=0)
    while len(set(short)) < len(set(names)) and length < longest:
        length += 1
        again = {s for s in short if short.count(s) > 1}
        short = [_abbreviated(name, length) if s in again else s for name, s in zip(names, short, strict=True)]
    return short


def wrapped(heads: Sequence[str], values: Sequence[str], width: int = 80) -> list[str]:
    """Heads over values, in as many pairs of lines as ``width`` asks for: how R prints a named vector."""
    lines: list[str] = []
    at = 0
    while at < len(heads):
        end, used = at, 0
        while end < len(heads) and (end == at or used + len(heads[end]) + 1 <= width):
            used += max(len(heads[end]), len(values[end])) + 1
            end += 1
        lines += grid([[head, value] for head, value in zip(heads[at:end], values[at:end], strict=True)], left=0)
        at = end
    return lines


def grid(columns: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Lines of a table: the first ``left`` columns flush left, the others flush right."""
    widths = [max(len(cell) for cell in cells) for cells in columns]
    return [
        " ".join(
            cell.ljust(width) if j < left else cell.rjust(width)
            for j, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in zip(*columns, strict=True)
    ]


def plain(value: float, digits: int = 5) -> str:
    """A number within a sentence: whole numbers in full, others to ``digits`` significant digits."""
    return str(value) if isinstance(value, int) else f"{value:.{digits}g}"


def listed(names: Sequence[str]) -> str:
    """Names as an English list."""
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
