"""Compiling a model, and the functions that compile and fit in one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from mixeff_fast.compile import CompiledModel, compile_lmm
from mixeff_fast.errors import ArgumentError, DataError, InferenceUnavailable
from mixeff_fast.formula import model_formula, render
from mixeff_fast.frame import ModelFrame, build_frame
from mixeff_fast.frame.columns import frozen
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models.arguments import flag

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.models.prepared import PreparedModel
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.vocabulary import NaAction


@dataclass(frozen=True, slots=True)
class Call:
    """What the caller asked for, kept so that a model can be fitted again to the same or other data."""

    formula: str
    data: Any = field(repr=False)
    weights: Any
    offset: Any
    subset: Any
    na_action: NaAction
    contrasts: Mapping[str, Any] | None
    # what a refit put in place of the response: one value per row of the data, NaN for rows that were not in the fit
    response: NDArray[np.float64] | None = field(default=None, repr=False)

    def frame(self) -> ModelFrame:
        """Read the data."""
        frame = self._read()
        if self.response is None:
            return frame
        y = self.response if frame.kept_rows is None else self.response[frame.kept_rows]
        missing = np.flatnonzero(np.isnan(y))
        if len(missing):
            rows = missing[:5] if frame.kept_rows is None else frame.kept_rows[missing[:5]]
            raise DataError(
                f"the model was refitted to a response that has no value for rows {rows.tolist()} ({len(missing)} rows), which "
                "were not in the fit; give data= with the response among its columns",
                rows=rows.tolist(), count=len(missing),
            )
        return replace(frame, response=frozen(y))

    def with_response(self, frame: ModelFrame, y: NDArray[np.float64]) -> Call:
        """The call for a new response to the rows of ``frame``."""
        response = y
        if frame.kept_rows is not None:
            response = np.full(frame.n_source_rows, np.nan)
            response[frame.kept_rows] = y
        return replace(self, response=frozen(response))

    def updated(self, formula: str, changes: Mapping[str, Any]) -> Call:
        """The call with another formula and other arguments; other data come with a response of their own."""
        call = replace(self, formula=formula, **changes)
        if self.response is None:
            return call
        if "data" in changes:
            return replace(call, response=None)
        if model_formula(formula).response != model_formula(self.formula).response:
            raise ArgumentError(
                "the model was refitted to a new response, which another left-hand side would not read; give data= with the "
                "response among its columns",
                argument="formula",
            )
        return call

    def _read(self) -> ModelFrame:
        if self.na_action not in ("error", "omit"):
            raise ArgumentError(f'na_action is "error" or "omit", not {self.na_action!r}', argument="na_action")
        return build_frame(
            self.data,
            model_formula(self.formula),
            weights=self.weights,
            offset=self.offset,
            subset=self.subset,
            na_action=self.na_action,
            contrasts=self.contrasts,
        )


def _settings(control: Any) -> Control:
    from mixeff_fast.fit.control import DEFAULT_CONTROL, Control

    if control is not None and not isinstance(control, Control):
        raise ArgumentError(
            f"control is made by control(...), such as mf.control(verbose=1), not of type {type(control).__name__}",
            argument="control",
        )
    return DEFAULT_CONTROL if control is None else control


class ModelSpec:
    """A model that is compiled, not fitted: make one with :func:`compile_model`.

    Attributes
    ----------
    compiled
        Terms, theta map and elimination plan.
    call
        The arguments it was made from.
    """

    __slots__ = ("_artifact", "_source", "call", "compiled")
    call: Call
    compiled: CompiledModel

    def __init__(self, call: Call, compiled: CompiledModel, source: StatisticsSource | None = None) -> None:
        self.call = call
        self.compiled = compiled
        self._source = source
        self._artifact: CompiledModelArtifact | None = None

    @property
    def formula(self) -> str:
        """The canonical formula."""
        return render(self.compiled.formula)

    @property
    def artifact(self) -> CompiledModelArtifact:
        """The compiled model as a versioned pydantic artifact."""
        if self._artifact is None:
            from mixeff_fast.models.artifacts import compiled_artifact

            self._artifact = compiled_artifact(self.compiled)
        return self._artifact

    def as_json(self, pretty: bool = False) -> str:
        """The artifact as JSON text; ``pretty`` indents it."""
        return self.artifact.model_dump_json(indent=2 if pretty else None)

    def prepare(self, *, reml: bool = True, control: Control | None = None) -> PreparedModel:
        """Get ready to fit the model to other responses: all that does not depend on the response is computed here, once.

        Raises
        ------
        FitError
            ``rank_saturated_fixed_effects``, ``memory_limit``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> data = mf.datasets.load("Dyestuff")
        >>> ready = mf.compile_model("Yield ~ 1 + (1 | Batch)", data).prepare(reml=False)
        >>> ready.refit(2.0 * data["Yield"]).beta.round(3).tolist()
        [3055.0]
        """
        from mixeff_fast.models.prepared import prepare_spec

        return prepare_spec(self, flag("reml", reml), _settings(control))

    def fit(self, *, reml: bool = True, control: Control | None = None) -> LinearMixedModel:
        """Fit the model: what :func:`lmm` gives.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> round(spec.fit(reml=False).deviance, 4)
        327.3271
        """
        from mixeff_fast.models.lmm import fit_spec

        return fit_spec(self, flag("reml", reml), _settings(control))

    def __repr__(self) -> str:
        from mixeff_fast.report.compiled import compiled_text

        return compiled_text(self.artifact)

    def _repr_html_(self) -> str:
        from mixeff_fast.report.html import preformatted

        return preformatted(repr(self))


def compile_model(
    formula: str,
    data: Any,
    *,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
) -> ModelSpec:
    """Read formula and data and lay the model out, without fitting it.

    Parameters
    ----------
    formula
        lme4's formula language, such as ``"Reaction ~ Days + (Days | Subject)"``.
    data
        A Polars ``DataFrame`` or ``LazyFrame``, or anything with ``__arrow_c_stream__`` (pandas, pyarrow, DuckDB). A lazy
        frame of more than two million rows is read in batches and not held in memory.
    weights, offset, subset
        Column name, Polars expression or array, one value per row of ``data``. Weights are inverse relative residual
        variances, strictly positive.
    na_action
        ``"error"`` refuses missing values and counts them; ``"omit"`` leaves those rows out and records it.
    contrasts
        Coding per factor: ``"treatment"`` (default), ``"sum"``, ``"helmert"``, ``"poly"``, ``"SAS"`` or a matrix.

    Returns
    -------
    ModelSpec

    Raises
    ------
    FormulaError, DataError, ArgumentError, NotIdentifiable, FitError, InferenceUnavailable
        Whatever stands in the way, before any optimization.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> spec = mf.compile_model("Reaction ~ Days + (Days || Subject)", mf.datasets.load("sleepstudy"))
    >>> spec.compiled.theta_names
    ('Subject.(Intercept)', 'Subject.Days')
    """
    return compile_call(Call(formula, data, weights, offset, subset, na_action, contrasts))


def compile_call(call: Call) -> ModelSpec:
    """Compile a model in memory, or from statistics of data that are read in batches."""
    if isinstance(call.data, pl.LazyFrame):
        from mixeff_fast.models.statistics import compile_lazy

        return compile_lazy(call)
    if call.data is ROWS_ELSEWHERE:
        raise InferenceUnavailable(
            "the model was fitted to sufficient statistics, so there are no rows to fit another model to; give update() "
            "data=",
            reason_code="rows_not_in_memory",
        )
    return ModelSpec(call, compile_lmm(call.frame()))


def lmm(
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
    control: Control | None = None,
) -> LinearMixedModel:
    """Fit a linear mixed model by REML or maximum likelihood.

    Parameters
    ----------
    formula, data, weights, offset, subset, na_action, contrasts
        See :func:`compile_model`.
    reml
        Minimize the REML criterion; False maximizes the likelihood.
    control
        Settings made by :func:`control`.

    Returns
    -------
    LinearMixedModel

    Raises
    ------
    FormulaError, DataError, ArgumentError, NotIdentifiable, FitError, InferenceUnavailable
        See :func:`compile_model`. A fit that does not converge is returned, with a ``ConvergenceNotice`` and a
        certificate that says why.

    Notes
    -----
    Profiled criterion of Bates, Maechler, Bolker & Walker (2015), JSS 67(1), eqs. 35 and 42, minimized with its exact
    gradient (Bates & DebRoy 2004).

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    >>> fit.beta.round(4).tolist(), round(fit.reml_criterion, 4), fit.fit_status
    ([251.4051, 10.4673], 1743.6283, 'converged_interior')
    """
    return compile_model(
        formula, data, weights=weights, offset=offset, subset=subset, na_action=na_action, contrasts=contrasts
    ).fit(reml=reml, control=control)
