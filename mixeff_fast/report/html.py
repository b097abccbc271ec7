"""Text as HTML. Level and column names come from data: everything is escaped."""

from __future__ import annotations

from html import escape


def preformatted(text: str) -> str:
    """Monospaced block."""
    return f"<pre>{escape(text)}</pre>"
