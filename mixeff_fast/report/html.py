"""Text as HTML. Level and column names come from data: everything is escaped."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def preformatted(text: str) -> str:
    """Monospaced block."""
    return f"<pre>{escape(text)}</pre>"


def table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """A table with a caption and no head."""
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<table style="text-align: left"><caption>{escape(caption)}</caption><tbody>{body}</tbody></table>'
