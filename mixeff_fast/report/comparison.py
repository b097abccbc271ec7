"""A model comparison in the layout of R's ``anova``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixeff_fast.report.numbers import column, grid, p_value

if TYPE_CHECKING:
    from collections.abc import Sequence


REASONS = {
    "naive_chi_square_conservative_at_boundary": "a variance is zero under the null hypothesis: the chi-square p-value is too "
    "large (conservative)",
    "reference_model": "",
    "same_model_space_lrt_invalid": "the same model as the one above, or as many parameters: no likelihood ratio",
    "lrt_unavailable": "a log-likelihood is not finite, or no maximum: no likelihood ratio",
    "non_nested_models_lrt_invalid": "the model above is not nested in this one: no likelihood ratio",
    "lower_loglikelihood_lrt_invalid": "a lower log-likelihood than the smaller model: no likelihood ratio",
    "ml_refit_required": "REML criteria of different fixed effects, and likelihoods that profiled ones do not maximize, do not "
    "compare; fit by maximum likelihood",
    "mixed_fit_criterion": "the fits are by different criteria: no likelihood ratio",
    "different_family": "the distributions are of different families: no likelihood ratio",
    "different_link": "the links differ: no likelihood ratio",
    "information_criteria_requested": "information criteria only, as asked",
}


def comparison_text(rows: Sequence[dict[str, Any]], refitted: Sequence[str]) -> str:
    """Formulas, then one line per model."""
    lines = []
    if refitted:
        lines.append(f"refitted by maximum likelihood: {', '.join(refitted)}")
    lines.append("Models:")
    lines += [f"{row['model']}: {row['formula']}" for row in rows]
    cells = [["", *(row["model"] for row in rows)], ["npar", *(str(row["npar"]) for row in rows)]]
    for key, head in (("aic", "AIC"), ("bic", "BIC"), ("loglik", "logLik"), ("deviance", "deviance"), ("chisq", "Chisq")):
        cells.append([head, *column([row[key] for row in rows], 5)])
    cells.append(["Df", *("" if row["df"] is None else str(row["df"]) for row in rows)])
    cells.append(["Pr(>Chisq)", *(p_value(row["p_value"], row["log_p_value"]) for row in rows)])
    lines += grid(cells)
    for row in rows:
        reason = REASONS.get(row["reason_code"], "")
        if reason:
            lines.append(f"{row['model']}: {reason}")
    return "\n".join(lines)
