"""Names that must not stand for two things."""

from __future__ import annotations

from collections.abc import Collection


def told_apart(name: str, taken: Collection[str]) -> str:
    """``name``, or with a number behind it where that is taken: terms may share a group and a column, and level b of a factor f
    is a column fb.

    Examples
    --------
    >>> told_apart("g.x", ["g.(Intercept)"]), told_apart("g.x", ["g.x"]), told_apart("g.x", ["g.x", "g.x.1"])
    ('g.x', 'g.x.1', 'g.x.2')
    """
    if name not in taken:
        return name
    return next(other for other in (f"{name}.{i}" for i in range(1, len(taken) + 2)) if other not in taken)
