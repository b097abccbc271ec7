"""Models that are ready to be fitted to other responses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from mixeff_fast.compile import check_response
from mixeff_fast.errors import ArgumentError, ConvergenceNotice, DataError, MixeffError
from mixeff_fast.fit import prepared
from mixeff_fast.fit.control import control as settings
from mixeff_fast.fit.lmm import check_start
from mixeff_fast.frame.columns import frozen
from mixeff_fast.frame.notices import warn
from mixeff_fast.frame.variables import check_scale
from mixeff_fast.models.arguments import flag
from mixeff_fast.models.lmm import FAILED, LinearMixedModel, note_aliased
from mixeff_fast.models.newresponse import numbers, per_row, rows_of
from mixeff_fast.models.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.prepared import Refits
    from mixeff_fast.fit.response import Design
    from mixeff_fast.frame import ModelFrame

    Float = NDArray[np.float64]

# responses with standard deviations between these are checked no further
ORDINARY = (1e-70, 1e70)


def response_values(frame: ModelFrame, given: Any) -> Float:
    """A copy of the response that was given, shape (n,).

    Raises
    ------
    DataError
        Values that are no finite numbers, not one per row of the fit, or in units that double precision cannot square.
    FitError
        ``constant_response``.
    """
    y = per_row(frame, given)
    check_scale(frame.formula.response.name, y)
    check_response(replace(frame, response=y))
    return y


def prepare_spec(spec: ModelSpec, reml: bool, control: Control) -> PreparedModel:
    """Assemble a compiled model and issue the notice that its design gives rise to."""
    design = prepared.prepare(spec.compiled, control)
    note_aliased([spec.compiled.fixed.names[j] for j in design.assembled.aliased])
    return PreparedModel(spec, reml, control, design)


class PreparedModel:
    """A model ready to be fitted to other responses: what :meth:`ModelSpec.prepare` gives.

    Safe for use from several threads at once.

    Attributes
    ----------
    spec
        The compiled model, with its original response.
    reml
        Whether the REML criterion is minimized.
    control
        The settings of the fits.
    """

    def __init__(
        self, spec: ModelSpec, reml: bool, control: Control, design: Design, theta: Sequence[float] | None = None
    ) -> None:
        self.spec = spec
        self.reml = reml
        self.control = control
        self._design = design
        self._start = None if theta is None else tuple(theta)

    @cached_property
    def theta(self) -> tuple[float, ...]:
        """Where searches start unless told otherwise: the estimates for the original response, fitted when first needed."""
        if self._start is not None:
            return self._start
        check_start(self.spec.compiled, self.control)
        return prepared.original_theta(self._design, self.reml, self.control)

    def _settings(self, start: Sequence[float] | None) -> Control:
        chosen = replace(self.control, start=self.theta if start is None else settings(start=start).start)
        check_start(self.spec.compiled, chosen)
        return chosen

    def refit(self, y: Any, *, start: Sequence[float] | None = None, certify: bool = True) -> LinearMixedModel:
        """Fit the model to another response.

        Parameters
        ----------
        y
            One finite number per row in the fit (an array, list or Polars series), with the offset if there is one.
        start
            Theta to search from; None takes ``theta``.
        certify
            Polish and certify the optimum. False leaves the fit where the search stopped, ``not_assessed``.

        Returns
        -------
        LinearMixedModel

        Raises
        ------
        DataError, FitError, ArgumentError
            A response that is not numeric, not finite, of the wrong length, constant or in extreme units; a start of the
            wrong length.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> data = mf.datasets.load("sleepstudy")
        >>> ready = mf.compile_model("Reaction ~ Days + (Days | Subject)", data).prepare()
        >>> ready.refit(data["Reaction"].log()).beta.round(4).tolist()
        [5.5301, 0.0337]
        """
        certify = flag("certify", certify)
        chosen = self._settings(start)
        response = frozen(response_values(self.spec.compiled.frame, y))
        engine, result = prepared.refit(self._design, response, self.reml, chosen, certify)
        if result.certificate.status in FAILED:
            warn(f"the fit is {result.certificate.status}: {result.certificate.reason}", ConvergenceNotice)
        call = self.spec.call.with_response(self.spec.compiled.frame, response)
        return LinearMixedModel(self.spec._recompiled(call, engine.model), self.control, engine, result, self._design)

    def refit_many(
        self,
        responses: Any,
        *,
        start: Sequence[float] | None = None,
        certify: bool = True,
        threads: int | None = None,
    ) -> Refits:
        """Fit the model to many responses and keep the estimates only.

        Parameters
        ----------
        responses
            Shape (rows in the fit, B): an array, or a frame such as ``simulate`` gives. Or an iterator of responses, of which
            a few are held at a time.
        start
            Theta to search from, for every response; None takes ``theta``.
        certify
            Polish and certify every optimum; several times slower for small models.
        threads
            At most so many; None uses those of ``control``, or the machine's. They change no bit of the results.

        Returns
        -------
        Refits

        Raises
        ------
        DataError, FitError, ArgumentError
            See :meth:`refit`; ``replicate`` is the response at fault, counted from 0.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> draws = spec.fit().simulate(200, seed=1)
        >>> refits = spec.prepare().refit_many(draws, certify=False)
        >>> refits.sigma.shape, round(float(refits.sigma.mean()), 2)
        ((200,), 49.41)
        """
        certify = flag("certify", certify)
        if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
            raise ArgumentError(f"threads is None or a positive whole number, not {threads!r}", argument="threads")
        chosen = self._settings(start)
        batches = _batches(self.spec.compiled.frame, responses, prepared.batch_size(self._design))
        found = prepared.refit_many(self._design, batches, self.reml, chosen, certify, threads)
        failed = int(np.isin(found.status, FAILED).sum())
        if failed:
            warn(f"{failed} of {len(found)} refits are not_optimized or not_identifiable; see status", ConvergenceNotice)
        return found

    def __repr__(self) -> str:
        return f"PreparedModel({self.spec.formula!r}, reml={self.reml})"


def _batches(frame: ModelFrame, responses: Any, size: int) -> Iterable[Float]:
    """Checked responses as rows, so many at a time."""
    if isinstance(responses, Iterator):
        return _gathered(frame, responses, size)
    given = numbers(responses)
    if given.ndim != 2 or len(given) != frame.n:
        raise DataError(
            f"the responses have shape {given.shape}; give one column for each, with {rows_of(frame)}", nobs=frame.n
        )
    return _columns(frame, given, size)


def _columns(frame: ModelFrame, responses: Float, size: int) -> Iterator[Float]:
    for start in range(0, responses.shape[1], size):
        rows = np.ascontiguousarray(responses[:, start : start + size].T)
        less = rows if frame.offset is None else rows - frame.offset
        with np.errstate(over="ignore", invalid="ignore"):
            spread = rows.std(axis=1)
        ordinary = (spread > ORDINARY[0]) & (spread < ORDINARY[1]) & (less.min(axis=1) < less.max(axis=1))
        if not ordinary.all():
            for k, row in enumerate(rows):
                _checked(frame, row, start + k)
        yield rows


def _gathered(frame: ModelFrame, responses: Iterator[Any], size: int) -> Iterator[Float]:
    held: list[Float] = []
    for k, given in enumerate(responses):
        held.append(_checked(frame, given, k))
        if len(held) == size:
            yield np.array(held)
            held = []
    if held:
        yield np.array(held)


def _checked(frame: ModelFrame, given: Any, replicate: int) -> Float:
    try:
        return response_values(frame, given)
    except MixeffError as error:
        raise type(error)(f"response {replicate}: {error.message}", **error.fields, replicate=replicate) from error
