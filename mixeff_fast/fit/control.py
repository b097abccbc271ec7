"""Settings of a fit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.errors import ArgumentError

if TYPE_CHECKING:
    from collections.abc import Sequence

# largest number of evaluations
MOST = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Control:
    """Validated settings; make one with :func:`control`."""

    verbose: int = 0
    max_evaluations: int = 2000
    tolerance: float = 1e-9
    start: tuple[float, ...] | None = None
    memory_limit: int | None = None
    threads: int | None = None


DEFAULT_CONTROL = Control()


def control(
    *,
    verbose: int = 0,
    max_evaluations: int = 2000,
    tolerance: float = 1e-9,
    start: Sequence[float] | None = None,
    memory_limit: int | None = None,
    threads: int | None = None,
) -> Control:
    """Settings for ``lmm`` and ``ModelSpec.fit``.

    Parameters
    ----------
    verbose
        0 is silent; 1 shows a progress bar with the objective and the gradient norm of every evaluation.
    max_evaluations
        Evaluations of objective and gradient the optimizer may use. A fit that runs out is ``not_optimized``.
    tolerance
        The search stops when its Newton decrement (predicted gain in the objective, in -2 log-likelihood units) is
        below this, in generalized models a thousandth of it; the certificate then measures the decrement with a true Hessian
        and polishes the fit.
    start
        Starting values of theta in the user's units, in the order of ``theta_names``; None starts from a unit relative
        covariance of the standardized columns.
    memory_limit
        Bytes that the cross-product and the factorization may take; a model that needs more is refused before anything
        is allocated. None allows 80 % of the memory that is free.
    threads
        Threads a large fit may use; None means every processor that the process may use. Results are the same to the
        last bit whatever their number.

    Returns
    -------
    Control

    Raises
    ------
    ArgumentError
        A value outside its range.

    Examples
    --------
    >>> control(max_evaluations=50).max_evaluations
    50
    """
    if verbose not in (0, 1):
        raise ArgumentError(f"verbose is 0 or 1, not {verbose!r}", argument="verbose")
    if isinstance(max_evaluations, bool) or not isinstance(max_evaluations, int) or not 1 <= max_evaluations <= MOST:
        raise ArgumentError(f"max_evaluations is a positive whole number of at most {MOST}, not {max_evaluations!r}",
                            argument="max_evaluations")
    if not _is_number(tolerance) or not 0.0 < tolerance < 1.0:
        raise ArgumentError(f"tolerance lies between 0 and 1, not {tolerance!r}", argument="tolerance")
    if memory_limit is not None and (not _is_number(memory_limit) or not memory_limit > 0):
        raise ArgumentError(f"memory_limit is a positive number of bytes, not {memory_limit!r}", argument="memory_limit")
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        raise ArgumentError(f"threads is a positive whole number or None, not {threads!r}", argument="threads")
    values = None
    if start is not None:
        try:
            values = tuple(float(v) for v in start)
            if isinstance(start, bytes):
                raise TypeError
        except (TypeError, ValueError, OverflowError) as error:
            raise ArgumentError(f"start is a sequence of numbers, not {start!r}", argument="start") from error
        if not np.all(np.isfinite(values)):
            raise ArgumentError("start holds values that are not finite", argument="start")
    return Control(verbose, max_evaluations, tolerance, values, memory_limit, threads)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
