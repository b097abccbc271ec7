"""Comparing fits: ``compare(fit, *fits)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from mixeff_fast.comparison.nested import Entry, comparison_table, same_restriction, same_rows
from mixeff_fast.errors import ArgumentError
from mixeff_fast.fit.matrices import fixed_matrix
from mixeff_fast.models.lmm import LinearMixedModel

if TYPE_CHECKING:
    import polars as pl


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

    def __init__(self, table: pl.DataFrame, refitted: tuple[str, ...]) -> None:
        self.table = table
        self.refitted = refitted

    def __repr__(self) -> str:
        from mixeff_fast.report.comparison import comparison_text

        return comparison_text(self.table.to_dicts(), self.refitted)

    def _repr_html_(self) -> str:
        from mixeff_fast.report.html import preformatted

        return preformatted(repr(self))


def _entry(label: str, fit: LinearMixedModel) -> Entry:
    frame = fit.spec.compiled.frame
    return Entry(
        label=label, formula=fit.formula, model=fit.spec.compiled,
        design=fixed_matrix(fit.spec.compiled)[:, ~fit.result.aliased],
        response=frame.response if frame.offset is None else frame.response - frame.offset,
        weights=frame.weights, reml=fit.reml, n_parameters=fit.n_parameters, loglik=fit.loglik, aic=fit.aic, bic=fit.bic,
        deviance=-2.0 * fit.loglik,
    )


def compare(
    fit: LinearMixedModel,
    *fits: LinearMixedModel,
    method: Literal["auto", "lrt", "aic"] = "auto",
    refit_for_comparison: Literal["auto", "error", "ml"] = "auto",
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
        ``"ml"`` always does; ``"error"`` never, and the affected rows say ``ml_refit_required``.

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
    if method not in ("auto", "lrt", "aic"):
        raise ArgumentError(f'method is "auto", "lrt" or "aic", not {method!r}', argument="method")
    if refit_for_comparison not in ("auto", "error", "ml"):
        raise ArgumentError(
            f'refit_for_comparison is "auto", "error" or "ml", not {refit_for_comparison!r}',
            argument="refit_for_comparison",
        )
    every = [fit, *fits]
    for each in every:
        if not isinstance(each, LinearMixedModel):
            raise ArgumentError(f"compare() takes fits, not {type(each).__name__}", argument="fits")
    entries = [_entry(f"model_{i + 1}", f) for i, f in enumerate(every)]
    reason = same_rows(entries)
    if reason is not None:
        raise ArgumentError(
            f"the fits are not of the same rows ({reason.replace('_', ' ')}); fit them to the same data", reason_code=reason
        )
    differ = any(not same_restriction(entries[0], e) for e in entries[1:]) or len({e.reml for e in entries}) > 1
    refitted: list[str] = []
    if refit_for_comparison == "ml" or (refit_for_comparison == "auto" and differ):
        for i, f in enumerate(every):
            if f.reml:
                entries[i] = _entry(entries[i].label, f.spec.fit(reml=False, control=f.control))
                refitted.append(entries[i].label)
    return ModelComparison(comparison_table(entries, lrt=method != "aic"), tuple(refitted))
