"""JSON pointers (RFC 6901)."""

from __future__ import annotations

from typing import Any


def escape(token: str) -> str:
    """A key as one step of a pointer.

    Examples
    --------
    >>> escape("a/b~c")
    'a~1b~0c'
    """
    return token.replace("~", "~0").replace("/", "~1")


def resolve(document: Any, pointer: str) -> Any:
    """The value that ``pointer`` names in a parsed JSON document.

    Raises
    ------
    KeyError
        Nothing is there.

    Examples
    --------
    >>> resolve({"a": [{"b/c": 1}]}, "/a/0/b~1c")
    1
    """
    if pointer == "":
        return document
    if not pointer.startswith("/"):
        raise KeyError(pointer)
    value = document
    for step in pointer[1:].split("/"):
        token = step.replace("~1", "/").replace("~0", "~")
        if isinstance(value, dict) and token in value:
            value = value[token]
        elif isinstance(value, list) and token.isascii() and token.isdigit() and int(token) < len(value):
            value = value[int(token)]
        else:
            raise KeyError(pointer)
    return value
