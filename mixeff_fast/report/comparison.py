"""A model comparison in the layout of R's ``anova``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mixeff_fast.report.numbers import column, grid, p_value

if TYPE_CHECKING:
    from collections.abc import Sequence


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
        if row["reason_code"] not in (None, "reference_model"):
            lines.append(f"{row['model']}: {row['reason_code'].replace('_', ' ')}")
    return "\n".join(lines)
