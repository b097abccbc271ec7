"""Stands for arrays with one entry per row, in the frame of a model whose rows were read in batches and not kept."""

from __future__ import annotations

from typing import Any, NoReturn, cast

from mixeff_fast.errors import InferenceUnavailable


class RowsElsewhere:
    """Takes the place of an array; whatever is done with it is refused, with the remedy."""

    __slots__ = ()

    def _refuse(self, *arguments: Any, **keywords: Any) -> NoReturn:
        raise InferenceUnavailable(
            "this needs the rows of the data, which were read in batches and not kept; fit the model to data in memory "
            "(data.collect()), or give predict() the rows as newdata",
            reason_code="rows_not_in_memory",
        )

    def __getattr__(self, name: str) -> Any:
        # Protocols of Python that look for a method and do without it.
        if name.startswith("__"):
            raise AttributeError(name)
        self._refuse()

    __array__ = __array_ufunc__ = __array_function__ = __getitem__ = __len__ = __iter__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = __neg__ = _refuse

    def __reduce__(self) -> str:
        return "ROWS_ELSEWHERE"

    def __repr__(self) -> str:
        return "<rows not in memory>"


ROWS_ELSEWHERE: Any = cast(Any, RowsElsewhere())
