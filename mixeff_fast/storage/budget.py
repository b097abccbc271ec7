"""How much memory the content of a file may take. What it will take is worked out before it is taken."""

from __future__ import annotations

from mixeff_fast.errors import SchemaError

# bytes that any file may expand to, and how often its own size
LEAST = 32 * 2**20
RATIO = 256


class Budget:
    """Bytes that are left."""

    __slots__ = ("_left", "limit")

    def __init__(self, size: int, limit: int | None = None) -> None:
        self.limit = self._left = max(LEAST, RATIO * size) if limit is None else limit

    def take(self, needed: float, what: str) -> None:
        """Take bytes.

        Raises
        ------
        SchemaError
            There are not so many left.
        """
        if not needed <= self._left:
            raise SchemaError(
                f"{what} would take {needed:.3g} bytes, and what the file holds may take {self.limit} in all; memory_limit= "
                "allows more",
                bytes=needed,
                limit=self.limit,
            )
        self._left -= int(needed)
