"""Compiling a model, and the functions that compile and fit in one call."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import polars as pl

from mixeff_fast.compile import CompiledModel, compile_rows
from mixeff_fast.errors import ArgumentError, DataError, InferenceUnavailable
from mixeff_fast.families import Family, given_family
from mixeff_fast.formula import model_formula, render
from mixeff_fast.frame import ModelFrame, build_frame
from mixeff_fast.frame.columns import frozen, quoted
from mixeff_fast.frame.source import column_names, require_columns
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.models.arguments import flag
from mixeff_fast.models.inspection import Inspection
from mixeff_fast.models.roles import NO_ROLES, given_roles
from mixeff_fast.models.saved import Saved
from mixeff_fast.vocabulary import Intent, among

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import Layout
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import Method
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.models.prepared import PreparedModel
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.policy import Reduction
    from mixeff_fast.vocabulary import InferencePlan, NaAction, Role


_INTENTS: tuple[Intent, ...] = get_args(Intent)


def _names(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names: list[Any] = [None] if isinstance(value, str) or not np.iterable(value) else list(value)
    if not all(isinstance(name, str) for name in names):
        raise ArgumentError(
            f"audit_columns is a list of column names, such as ['site', 'rater'], not {value!r}", argument="audit_columns"
        )
    return tuple(dict.fromkeys(names))


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
    roles: Mapping[str, Role] = NO_ROLES
    # of a lazy frame, the columns that the audit may read beside those of the model; of others, those it is restricted to
    audit_columns: tuple[str, ...] | None = None
    intent: Intent = "confirmatory_as_specified"
    # what a refit put in place of the response: one value per row of the data, NaN for rows that were not in the fit; numbers
    # of successes of a binomial one
    response: NDArray[np.float64] | None = field(default=None, repr=False)
    # None of a linear mixed model
    family: Family | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "roles", given_roles(self.roles))
        object.__setattr__(self, "audit_columns", _names(self.audit_columns))
        if self.family is not None:
            object.__setattr__(self, "family", given_family(self.family))
        if not among(self.intent, _INTENTS):
            raise ArgumentError(f"intent is {', '.join(map(repr, _INTENTS))}; not {self.intent!r}", argument="intent")

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

    def check_names(self) -> None:
        """Refuse declared roles and columns to examine that the data do not have.

        Raises
        ------
        DataError
            A role for what is neither a column nor a grouping factor of the formula; ``missing`` names it.
        ArgumentError
            A column of ``audit_columns`` that is not there; ``missing`` names it.
        """
        if self.data is ROWS_ELSEWHERE or not (self.roles or self.audit_columns):
            return
        available = column_names(self.data)
        groups = {term.group_name for term in model_formula(self.formula).random}
        require_columns([name for name in self.roles if name not in groups], available)
        missing = sorted(set(self.audit_columns or ()) - set(available))
        if missing:
            raise ArgumentError(
                f"audit_columns names what is no column of the data: {quoted(missing)}; the data have {quoted(available)}",
                argument="audit_columns", missing=missing,
            )

    def _read(self) -> ModelFrame:
        if not among(self.na_action, ("error", "omit")):
            raise ArgumentError(f'na_action is "error" or "omit", not {self.na_action!r}', argument="na_action")
        return build_frame(
            self.data,
            model_formula(self.formula),
            weights=self.weights,
            offset=self.offset,
            subset=self.subset,
            na_action=self.na_action,
            contrasts=self.contrasts,
            family=self.family,
        )


def _settings(control: Any) -> Control:
    from mixeff_fast.fit.control import DEFAULT_CONTROL, Control

    if control is not None and not isinstance(control, Control):
        raise ArgumentError(
            f"control is made by control(...), such as mf.control(verbose=1), not of type {type(control).__name__}",
            argument="control",
        )
    return DEFAULT_CONTROL if control is None else control


class ModelSpec(Inspection, Saved):
    """A model that is compiled, not fitted: make one with :func:`compile_model`.

    Attributes
    ----------
    compiled
        Terms, theta map and elimination plan of the model that is fitted.
    requested
        The layout of the model as it was asked for: ``compiled``, unless the intent ``"confirmatory_design_compiled"``
        changed it.
    reductions
        What that changed.
    call
        The arguments it was made from.
    """

    __slots__ = ("_artifact", "_source", "call", "compiled", "reductions", "requested")
    call: Call
    compiled: CompiledModel
    requested: Layout
    reductions: tuple[Reduction, ...]

    def __init__(
        self, call: Call, compiled: CompiledModel, source: StatisticsSource | None = None, *,
        requested: Layout | None = None, reductions: tuple[Reduction, ...] = (),
    ) -> None:
        self.call = call
        self.compiled = compiled
        self.requested = compiled if requested is None else requested
        self.reductions = reductions
        self._source = source
        self._artifact: CompiledModelArtifact | None = None

    def _recompiled(self, call: Call, compiled: CompiledModel, source: StatisticsSource | None = None) -> ModelSpec:
        """The same model of other responses, or of another call for the same rows: with what was asked for and changed."""
        requested = None if self.requested is self.compiled else self.requested
        return ModelSpec(call, compiled, source, requested=requested, reductions=self.reductions)

    @property
    def formula(self) -> str:
        """The canonical formula of the model that is fitted."""
        return render(self.compiled.formula)

    @property
    def artifact(self) -> CompiledModelArtifact:
        """The compiled model as a versioned pydantic artifact."""
        if self._artifact is None:
            from mixeff_fast.models.artifacts import compiled_artifact

            self._artifact = compiled_artifact(self)
        return self._artifact

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

        if self.compiled.family is not None:
            raise ArgumentError(
                "prepare() is of linear mixed models; a fit with a family has refit(newresp)", argument="family"
            )
        return prepare_spec(self, flag("reml", reml), _settings(control))

    def fit(
        self, *, reml: bool | None = None, control: Control | None = None, method: Method | None = None,
        n_agq: int | None = None, inference: InferencePlan | None = None,
    ) -> LinearMixedModel | GeneralizedLinearMixedModel:
        """Fit the model: what :func:`lmm` and :func:`glmm` give.

        Parameters
        ----------
        reml
            Of a linear mixed model: whether to minimize the REML criterion, the default; False maximizes the likelihood.
        control
            Settings made by :func:`control`.
        method, n_agq, inference
            Of a model with a family: see :func:`glmm`.

        Raises
        ------
        ArgumentError
            ``reml`` for a model with a family, one of the last three for a model without.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> round(spec.fit(reml=False).deviance, 4)
        327.3271
        """
        if self.compiled.family is not None:
            if reml is not None:
                raise ArgumentError(
                    f"reml is of linear mixed models; this model is {self.compiled.family}", argument="reml"
                )
            return self._fit_family(
                control, "joint_laplace" if method is None else method, 1 if n_agq is None else n_agq,
                "auto" if inference is None else inference,
            )
        for name, value in (("method", method), ("n_agq", n_agq), ("inference", inference)):
            if value is not None:
                raise ArgumentError(f"{name} is of models with a family; this one is linear", argument=name)
        return self._fit_linear(True if reml is None else reml, control)

    def _fit_linear(self, reml: bool = True, control: Control | None = None) -> LinearMixedModel:
        from mixeff_fast.models.lmm import fit_spec

        return fit_spec(self, flag("reml", reml), _settings(control))

    def _fit_family(
        self, control: Control | None = None, method: Method = "joint_laplace", n_agq: int = 1,
        inference: InferencePlan = "auto",
    ) -> GeneralizedLinearMixedModel:
        from mixeff_fast.models.glmm_fit import fit_family_spec

        return fit_family_spec(self, method, n_agq, inference, _settings(control))

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
    family: Any = None,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
    roles: Mapping[str, Role] | None = None,
    audit_columns: Sequence[str] | None = None,
    intent: Intent = "confirmatory_as_specified",
) -> ModelSpec:
    """Read formula and data and lay the model out, without fitting it.

    Parameters
    ----------
    formula
        lme4's formula language, such as ``"Reaction ~ Days + (Days | Subject)"``.
    data
        A Polars ``DataFrame`` or ``LazyFrame``, or anything with ``__arrow_c_stream__`` (pandas, pyarrow, DuckDB). A lazy
        frame of more than two million rows is read in batches and not held in memory; with a family it is refused.
    family
        Of a generalized linear mixed model: what :func:`binomial`, :func:`poisson`, :func:`gamma`, :func:`inverse_gaussian`,
        :func:`negative_binomial` or :func:`gaussian` gives, or one of these names. None: a linear mixed model.
    weights, offset, subset
        Column name, Polars expression or array, one value per row of ``data``. Weights are inverse relative residual
        variances, strictly positive; where the response is a proportion, the numbers of trials. The offset is added to the
        linear predictor.
    na_action
        ``"error"`` refuses missing values and counts them; ``"omit"`` leaves those rows out and records it.
    contrasts
        Coding per factor: ``"treatment"`` (default), ``"sum"``, ``"helmert"``, ``"poly"``, ``"SAS"`` or a matrix.
    roles
        The part that variables play, made by :func:`roles`: of random terms, and of units in the audit of dependence.
    audit_columns
        The columns that the audit of dependence may examine beside those of the model. None: all columns of data in memory,
        none of a lazy frame.
    intent
        ``"confirmatory_as_specified"`` fits the model as it stands. ``"confirmatory_design_compiled"`` makes random terms as
        small as the design supports before any fit, and records it; terms with no support are refused. ``"exploratory"`` and
        ``"predictive"`` fit the model as it stands, and give no p-values of fixed effects.

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
    >>> cbpp = mf.datasets.load("cbpp")
    >>> spec = mf.compile_model("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, family="binomial")
    >>> print(spec.compiled.family, spec.compiled.frame.trials[:3])
    binomial(link="logit") [14. 12.  9.]
    """
    return compile_call(Call(
        formula, data, weights, offset, subset, na_action, contrasts, given_roles(roles), _names(audit_columns), intent,
        family=family,
    ))


def compile_call(call: Call) -> ModelSpec:
    """Compile a model in memory, or from statistics of data that are read in batches."""
    call.check_names()
    if isinstance(call.data, pl.LazyFrame):
        from mixeff_fast.models.statistics import compile_lazy

        return compile_lazy(call)
    if call.data is ROWS_ELSEWHERE:
        raise InferenceUnavailable(
            "the model was fitted to sufficient statistics, so there are no rows to fit another model to; give update() "
            "data=",
            reason_code="rows_not_in_memory",
        )
    return compile_frame(call, call.frame())


def compile_frame(call: Call, frame: ModelFrame) -> ModelSpec:
    """Compile a model whose rows were read."""
    if call.intent == "confirmatory_design_compiled":
        from mixeff_fast.models.reduced import compile_supported

        return compile_supported(call, frame)
    return ModelSpec(call, compile_rows(frame))


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
    roles: Mapping[str, Role] | None = None,
    audit_columns: Sequence[str] | None = None,
    intent: Intent = "confirmatory_as_specified",
    control: Control | None = None,
) -> LinearMixedModel:
    """Fit a linear mixed model by REML or maximum likelihood.

    Parameters
    ----------
    formula, data, weights, offset, subset, na_action, contrasts, roles, audit_columns, intent
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
        formula, data, weights=weights, offset=offset, subset=subset, na_action=na_action, contrasts=contrasts, roles=roles,
        audit_columns=audit_columns, intent=intent,
    )._fit_linear(reml, control)
