"""Sufficient statistics as a value, and models of data that are read in batches."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mixeff_fast.compile import check_formula
from mixeff_fast.errors import ArgumentError, FitError
from mixeff_fast.fit.statistics import Statistics, compile_statistics
from mixeff_fast.fit.statistics_fit import StatisticsSource, scan_statistics
from mixeff_fast.fit.statistics_merge import merge
from mixeff_fast.formula import model_formula, render
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.frame.streamsource import first_rows, given_arguments, open_scan
from mixeff_fast.models.arguments import file
from mixeff_fast.models.roles import NO_ROLES
from mixeff_fast.models.spec import Call, ModelSpec, compile_call

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

    from mixeff_fast.fit.control import Control
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.vocabulary import NaAction

# Lazy frames of more rows are read in batches; up to here the columns that a model needs are collected.
STREAM_ROWS = 2_000_000


class SufficientStatistics:
    """All that a linear mixed model needs of its data: make one with :func:`sufficient_statistics`.

    ``a + b`` are the statistics of the rows of both, with the levels of both. The size depends on the numbers of levels
    and columns, not of rows.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> formula = "Reaction ~ Days + (Days | Subject)"
    >>> old = mf.sufficient_statistics(formula, data.head(100))
    >>> new = mf.sufficient_statistics(formula, data.tail(80))
    >>> both = old + new
    >>> both
    Sufficient statistics of Reaction ~ 1 + Days + (1 + Days | Subject): 180 rows; Subject, 18
    >>> round(both.fit().reml_criterion, 4)
    1743.6283
    """

    __slots__ = ("_statistics",)

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    @property
    def formula(self) -> str:
        """The canonical formula."""
        return render(self._statistics.facts.formula)

    @property
    def nobs(self) -> int:
        """Rows summed."""
        return self._statistics.facts.n

    @property
    def ngrps(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {factor.group.name: factor.n_levels for factor in self._statistics.layout.factors}

    @property
    def coef_names(self) -> tuple[str, ...]:
        """Names of the fixed-effect columns."""
        return self._statistics.layout.fixed.names

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        if not isinstance(other, SufficientStatistics):
            return NotImplemented
        return SufficientStatistics(merge(self._statistics, other._statistics))

    def fit(self, *, reml: bool = True, control: Control | None = None) -> LinearMixedModel:
        """Fit the model, as :func:`lmm` does to the rows.

        What needs rows, such as ``fitted`` and ``residuals()``, is refused with ``reason_code`` ``"rows_not_in_memory"``;
        ``predict()`` takes rows as ``newdata``.

        Parameters
        ----------
        reml, control
            As for :func:`lmm`.

        Returns
        -------
        LinearMixedModel
        """
        return _spec(self._statistics, None, _call(self._statistics))._fit_linear(reml, control)

    def save(self, path: str | PathLike[str]) -> None:
        """Write a file that :meth:`load` reads: JSON, NumPy arrays and Parquet tables in a zip archive.

        Parameters
        ----------
        path
            Where to.
        """
        from mixeff_fast.storage.statistics import write_statistics

        write_statistics(self._statistics, file(path))

    @classmethod
    def load(cls, path: str | PathLike[str]) -> SufficientStatistics:
        """Read a file that :meth:`save` wrote; nothing in it is executed.

        Parameters
        ----------
        path
            Where from.

        Raises
        ------
        SchemaError
            A file of another kind or version, or one whose parts do not fit together.
        """
        from mixeff_fast.storage.statistics import read_statistics

        return cls(read_statistics(file(path)))

    def __repr__(self) -> str:
        groups = "; ".join(f"{name}, {n}" for name, n in self.ngrps.items())
        return f"Sufficient statistics of {self.formula}: {self.nobs} rows; {groups}"


def sufficient_statistics(
    formula: str,
    data: Any,
    *,
    weights: Any = None,
    offset: Any = None,
    subset: Any = None,
    na_action: NaAction = "error",
    contrasts: Mapping[str, Any] | None = None,
    like: SufficientStatistics | None = None,
) -> SufficientStatistics:
    """Sum up data for a linear mixed model, reading them in batches.

    Parameters
    ----------
    formula, data, weights, offset, subset, na_action, contrasts
        As for :func:`compile_model`. A lazy frame of any size is read in batches, at most twice (three times where knots
        are quantiles).
    like
        Statistics of other rows for the same formula. What transforms such as ``poly(x, 2)`` learned, contrasts and levels
        of effects are taken over, so that the two can be added.

    Returns
    -------
    SufficientStatistics

    Raises
    ------
    FormulaError, DataError, ArgumentError, FitError, InferenceUnavailable
        As :func:`compile_model` does.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> first = mf.sufficient_statistics("Reaction ~ scale(Days) + (1 | Subject)", data.head(100))
    >>> second = mf.sufficient_statistics("Reaction ~ scale(Days) + (1 | Subject)", data.tail(80), like=first)
    >>> (first + second).nobs
    180
    """
    parsed = model_formula(formula)
    check_formula(parsed)
    if like is not None:
        if not isinstance(like, SufficientStatistics):
            raise ArgumentError(
                f"like is made by sufficient_statistics(...), not of type {type(like).__name__}", argument="like"
            )
        if like.formula != render(parsed):
            raise ArgumentError(
                f"like has the formula {like.formula!r}, which is not {render(parsed)!r}; give both the same",
                argument="like",
            )
    scan = open_scan(data, parsed, given_arguments(weights, offset, subset), na_action)
    facts = None if like is None else like._statistics.facts
    return SufficientStatistics(scan_statistics(scan, parsed, contrasts, facts))


def compile_lazy(call: Call) -> ModelSpec:
    """Compile a model of a lazy frame: in memory when it is small, else from statistics of its batches."""
    formula = model_formula(call.formula)
    given = given_arguments(call.weights, call.offset, call.subset)
    collected = first_rows(call.data, formula, given, STREAM_ROWS + 1)
    if collected.height <= STREAM_ROWS:
        # roles and audit_columns name columns that were not collected
        spec = compile_call(replace(call, data=collected, roles=NO_ROLES, audit_columns=()))
        return spec._recompiled(call, spec.compiled)
    del collected
    check_formula(formula, call.family)
    if call.family is not None:
        raise FitError(
            "a generalized linear mixed model weighs its rows anew with every step, so that no sums can stand for them; the "
            f"lazy frame has more than {STREAM_ROWS:,} rows, which are not collected unasked: give data.collect()",
            reason_code="glmm_needs_rows", limit=STREAM_ROWS,
        )
    scan = open_scan(call.data, formula, given, call.na_action)
    statistics = scan_statistics(scan, formula, call.contrasts)
    spec = _spec(statistics, StatisticsSource(statistics, scan), call)
    if call.intent == "confirmatory_design_compiled":
        from mixeff_fast.models.reduced import supported

        supported(call, spec.compiled)
    return spec


def _spec(statistics: Statistics, source: StatisticsSource | None, call: Call) -> ModelSpec:
    return ModelSpec(call, compile_statistics(statistics), source or StatisticsSource(statistics, None))


def _call(statistics: Statistics) -> Call:
    facts = statistics.facts
    return Call(facts.formula.text, ROWS_ELSEWHERE, None, None, None, "error", facts.codings or None)
