"""Comparing fits: ``compare(fit, *fits)``."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy as np

from mixeff_fast.comparison.nested import Assessment, Entry, Row, compare_entries, same_restriction, same_rows
from mixeff_fast.errors import ArgumentError
from mixeff_fast.fit.matrices import fixed_matrix
from mixeff_fast.models.fitted import FittedModel
from mixeff_fast.vocabulary import among

if TYPE_CHECKING:
    import polars as pl

    from mixeff_fast.models.glmm import GeneralizedLinearMixedModel
    from mixeff_fast.models.lmm import LinearMixedModel
    from mixeff_fast.schemas.comparison import ModelComparisonTable

Method = Literal["auto", "lrt", "aic"]
Policy = Literal["auto", "error", "ml"]

_METHODS: dict[Method, Literal["auto", "likelihood_ratio", "information_criteria"]] = {
    "auto": "auto", "lrt": "likelihood_ratio", "aic": "information_criteria",
}


class ModelComparison:
    """Several fits side by side, smallest first.

    Attributes
    ----------
    table
        ``model, formula, npar, criterion, aic, bic, loglik, deviance, chisq, df, p_value, log_p_value, status,
        reason_code``; each row is tested against the one above.
    refitted
        Labels of the fits that were fitted again by maximum likelihood for the comparison.
    """

    def __init__(
        self, rows: tuple[Row, ...], pairs: tuple[Assessment, ...], refitted: tuple[str, ...], method: Method, policy: Policy
    ) -> None:
        self.table = _table(rows)
        self.refitted = refitted
        self._rows = rows
        self._pairs = pairs
        self._method = method
        self._policy = policy

    @cached_property
    def artifact(self) -> ModelComparisonTable:
        """The comparison as data: the rows, and for each pair of neighbours how their models relate and which comparisons of
        them are valid.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> data = mf.datasets.load("sleepstudy")
        >>> fits = [mf.lmm(f"Reaction ~ Days + ({term} | Subject)", data) for term in ("1", "Days")]
        >>> mf.compare(*fits).artifact.assessments[0].comparison_class
        'nested_random_effects'
        """
        return _artifact(self._rows, self._pairs, self.refitted, self._method, self._policy)

    def __repr__(self) -> str:
        from mixeff_fast.report.comparison import comparison_text

        return comparison_text(self.table.to_dicts(), self.refitted)

    def _repr_html_(self) -> str:
        from mixeff_fast.report.html import preformatted

        return preformatted(repr(self))


def _table(rows: tuple[Row, ...]) -> pl.DataFrame:
    import polars as pl

    schema = {
        "model": pl.String, "formula": pl.String, "npar": pl.Int64, "criterion": pl.String, "aic": pl.Float64,
        "bic": pl.Float64, "loglik": pl.Float64, "deviance": pl.Float64, "chisq": pl.Float64, "df": pl.Int64,
        "p_value": pl.Float64, "log_p_value": pl.Float64, "status": pl.String, "reason_code": pl.String,
    }
    cells = [
        (row.label, row.formula, row.n_parameters, "REML" if row.reml else "ML", row.aic, row.bic, row.loglik, row.deviance,
         row.chisq, row.df, row.p_value, row.log_p_value, row.status, row.reason)
        for row in rows
    ]
    return pl.DataFrame(cells, schema=schema, orient="row")


def _artifact(
    rows: tuple[Row, ...], pairs: tuple[Assessment, ...], refitted: tuple[str, ...], method: Method, policy: Policy
) -> ModelComparisonTable:
    from mixeff_fast._version import __version__
    from mixeff_fast.report.comparison import REASONS
    from mixeff_fast.schemas.comparison import ComparisonAssessment, ComparisonRow, ModelComparisonTable

    def finite(value: float) -> float | None:
        return value if math.isfinite(value) else None

    above = (None, *pairs)
    return ModelComparisonTable(
        header=ModelComparisonTable.make_header(__version__),
        method=_METHODS[method],
        refit_policy=policy,
        refit_performed=bool(refitted),
        refitted=refitted,
        rows=tuple(
            ComparisonRow(
                label=row.label, formula=row.formula, criterion="REML" if row.reml else "ML", nobs=row.n_rows,
                dof=row.n_parameters, loglik=finite(row.loglik), deviance=finite(row.deviance), aic=finite(row.aic),
                bic=finite(row.bic), delta_aic=row.delta_aic, delta_bic=row.delta_bic, chisq=row.chisq, chisq_dof=row.df,
                p_value=row.p_value, log_p_value=row.log_p_value,
                loglik_within_optimizer_tol=None if pair is None else pair.within_tolerance,
                comparison_class=None if pair is None else pair.comparison_class,
                lrt_available=pair is not None and pair.reason is None,
                information_criteria_available=row.delta_aic is not None,
                requires_ml_refit=pair is not None and pair.ml_refit_required,
                status=row.status, reason_code=row.reason, reason="" if row.reason is None else REASONS[row.reason],
            )
            for row, pair in zip(rows, above, strict=True)
        ),
        assessments=tuple(
            ComparisonAssessment(
                smaller=pair.smaller, larger=pair.larger, comparison_class=pair.comparison_class,
                fixed_effects=pair.fixed_effects, random_effects=pair.random_effects, lrt_available=pair.reason is None,
                lrt_reason=pair.reason, information_criteria_available=pair.comparable,
                ml_refit_required=pair.ml_refit_required, valid_alternatives=pair.alternatives,
            )
            for pair in pairs
        ),
    )


def _entry(label: str, fit: FittedModel) -> Entry:
    frame = fit.spec.compiled.frame
    if fit.spec.compiled.family is not None:
        fit = cast("GeneralizedLinearMixedModel", fit)
        weights = None if frame.weights is None and frame.trials is None else fit.weights
        return Entry(
            label=label, formula=fit.formula, model=fit.spec.compiled,
            design=fixed_matrix(fit.spec.compiled)[:, ~fit.result.aliased], response=np.asarray(frame.response),
            weights=weights, reml=False, n_parameters=fit.n_parameters, loglik=fit.loglik, aic=fit.aic, bic=fit.bic,
            deviance=fit.deviance, offset=frame.offset, approximation=fit.n_agq, profiled=fit.method == "pirls_profiled",
            maximal=fit.fit_status.startswith("converged"),
        )
    fit = cast("LinearMixedModel", fit)
    return Entry(
        label=label, formula=fit.formula, model=fit.spec.compiled,
        design=fixed_matrix(fit.spec.compiled)[:, ~fit.result.aliased],
        response=frame.response if frame.offset is None else frame.response - frame.offset,
        weights=frame.weights, reml=fit.reml, n_parameters=fit.n_parameters, loglik=fit.loglik, aic=fit.aic, bic=fit.bic,
        deviance=-2.0 * fit.loglik, maximal=fit.fit_status != "not_optimized",
    )


def compare(
    fit: FittedModel,
    *fits: FittedModel,
    method: Method = "auto",
    refit_for_comparison: Policy = "auto",
) -> ModelComparison:
    """Compare fits of the same rows by likelihood ratio and information criteria.

    Parameters
    ----------
    fit, fits
        Two or more fits.
    method
        ``"auto"`` and ``"lrt"`` test each fit against the next smaller one where they are nested; ``"aic"`` gives the
        information criteria alone.
    refit_for_comparison
        ``"auto"`` fits REML models again by maximum likelihood when their fixed effects, or the codings of these, differ;
        ``"ml"`` always does; ``"error"`` never, and the affected rows say ``ml_refit_required``. Generalized linear models with
        profiled fixed effects are fitted again by ``"joint_laplace"`` in the same way.

    Returns
    -------
    ModelComparison

    Raises
    ------
    ArgumentError
        Fewer than two fits, or fits of different rows, responses or weights (``reason_code``).

    Notes
    -----
    A likelihood ratio for a variance component compares with a chi-square that is too large at the boundary; such rows
    carry the reason code ``naive_chi_square_conservative_at_boundary``.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> data = mf.datasets.load("sleepstudy")
    >>> small = mf.lmm("Reaction ~ Days + (1 | Subject)", data, reml=False)
    >>> large = mf.lmm("Reaction ~ Days + (Days | Subject)", data, reml=False)
    >>> round(mf.compare(small, large).table["chisq"][1], 4)
    42.1393
    """
    if not fits:
        raise ArgumentError("compare() takes two fits or more", argument="fits")
    if not among(method, ("auto", "lrt", "aic")):
        raise ArgumentError(f'method is "auto", "lrt" or "aic", not {method!r}', argument="method")
    if not among(refit_for_comparison, ("auto", "error", "ml")):
        raise ArgumentError(
            f'refit_for_comparison is "auto", "error" or "ml", not {refit_for_comparison!r}',
            argument="refit_for_comparison",
        )
    every = [fit, *fits]
    for each in every:
        if not isinstance(each, FittedModel):
            raise ArgumentError(f"compare() takes fits, not {type(each).__name__}", argument="fits")
    entries = [_entry(f"model_{i + 1}", f) for i, f in enumerate(every)]
    reason = same_rows(entries)
    if reason is not None:
        raise ArgumentError(
            f"the fits are not of the same rows ({reason.replace('_', ' ')}); fit them to the same data", reason_code=reason
        )
    profiled = any(entry.profiled for entry in entries)
    differ = any(not same_restriction(entries[0], e) for e in entries[1:]) or len({e.reml for e in entries}) > 1
    refitted: list[str] = []
    if refit_for_comparison == "ml" or (refit_for_comparison == "auto" and (differ or profiled)):
        for i, f in enumerate(every):
            if entries[i].reml or entries[i].profiled:
                entries[i] = _entry(entries[i].label, f._by_maximum_likelihood())
                refitted.append(entries[i].label)
    rows, pairs = compare_entries(entries, lrt=method != "aic")
    return ModelComparison(rows, pairs, tuple(refitted), method, refit_for_comparison)
