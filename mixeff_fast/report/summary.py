"""The summary of a fit in lme4's layout, from its artifacts."""

from __future__ import annotations

import math
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from mixeff_fast.report.html import preformatted
from mixeff_fast.report.inference import coefficient_columns, headings, remarks
from mixeff_fast.report.numbers import abbreviate, column, fixed, grid, wrapped
from mixeff_fast.report.summary_glmm import title

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

    from mixeff_fast.schemas.diagnostics import Diagnostic
    from mixeff_fast.schemas.fit import FitArtifact, FitSummary
    from mixeff_fast.schemas.inference import FixedEffectInferenceTable, FixedEffectRow

STATUS = {
    "converged_interior": "converged, all covariance directions supported",
    "converged_boundary": "converged with a variance at zero (singular fit)",
    "converged_reduced_rank": "converged with a covariance of reduced rank (singular fit)",
    "not_optimized": "NOT CONVERGED",
    "not_identifiable": "NOT IDENTIFIABLE",
    "not_assessed": "not assessed",
}
AT_LIMIT = "converged with the family's parameter at the end of its range"

# facts about how the data were read, which are shown like warnings
OF_THE_DATA = (
    "grouping_coercion", "unused_levels", "rows_omitted", "predictor_scales", "factor_response", "zero_trials",
)

WITHOUT_TESTS = ("p_value_unavailable", "not_assessed", "unsupported")

# lme4's default for lme4.summary.cor.max
MOST_CORRELATIONS = 12
# columns of the table, those of text, and the fields of a row that they show
_KEYS = ("term", "estimate", "std_error", "df", "statistic", "statistic_name", "p_value", "log_p_value", "method", "status",
         "reason_code")
_TEXT = ("term", "statistic_name", "method", "status", "reason_code")
_VALUES = attrgetter(*({"term": "label", "df": "denominator_df"}.get(key, key) for key in _KEYS))


class Described(Protocol):
    """A fit."""

    @property
    def artifact(self) -> FitArtifact: ...


class Summary:
    """What ``fit.summary()`` returns: prints in lme4's layout.

    Attributes
    ----------
    inference
        The tests of the coefficients, as an artifact. Every number comes from it and the fit's artifact.
    """

    def __init__(self, fit: Described, inference: FixedEffectInferenceTable) -> None:
        self._fit = fit
        self.inference = inference

    @property
    def artifact(self) -> FitArtifact:
        """The fit's artifact, made when it is first asked for."""
        return self._fit.artifact

    @property
    def table(self) -> pl.DataFrame:
        """Fixed effects: ``term, estimate, std_error, df, statistic, statistic_name, p_value, log_p_value, method, status,
        reason_code``."""
        import polars as pl

        schema = {key: pl.String if key in _TEXT else pl.Float64 for key in _KEYS}
        return pl.DataFrame(list(map(_VALUES, self.inference.rows)), schema=schema, orient="row")

    def __str__(self) -> str:
        return summary_text(self.artifact, self.inference)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def _shown(diagnostic: Diagnostic) -> bool:
    return diagnostic.severity != "info" or diagnostic.code in OF_THE_DATA


def _number(value: float | None, places: int) -> str:
    return "not finite" if value is None else f"{value:.{places}f}"


def _criterion_lines(fit: FitArtifact) -> list[str]:
    numbers = fit.summary
    if numbers.criterion == "REML":
        stopped = "at convergence" if fit.certificate.status.startswith("converged") else "where the search stopped"
        return [f"REML criterion {stopped}: {_number(numbers.objective, 1)}"]
    heads = ["AIC", "BIC", "logLik", "-2*log(L)"]
    values = (numbers.aic, numbers.bic, numbers.loglik, numbers.objective)
    cells = [[head, _number(value, 1)] for head, value in zip(heads, values, strict=True)]
    return grid([*cells, ["df.resid", str(numbers.df_residual)]], left=0)


def varcorr_lines(fit: FitArtifact) -> list[str]:
    """The random-effects block: groups, names, variances, standard deviations, correlations."""
    variances = [row for row in fit.varcorr if row.var2 is None]
    correlations = {(row.group, row.var1, row.var2): row.sdcor for row in fit.varcorr if row.var2 is not None}
    groups, names, extra = ["Groups"], ["Name"], []
    previous = ""
    for row in variances:
        groups.append("" if row.group == previous else row.group)
        previous = row.group
        names.append(row.var1 or "")
        earlier = [v.var1 for v in variances if v.group == row.group]
        cells = []
        for other in earlier[: earlier.index(row.var1)]:
            key = (row.group, other, row.var1)
            if key in correlations:
                value = correlations[key]
                cells.append("NaN" if value is None else f"{value:.2f}")
        extra.append(cells)
    width = max((len(cells) for cells in extra), default=0)
    table = [
        groups, names, ["Variance", *column([row.vcov for row in variances])],
        ["Std.Dev.", *column([row.sdcor for row in variances])],
    ]
    for j in range(width):
        table.append(["Corr" if j == 0 else "", *(cells[j] if j < len(cells) else "" for cells in extra)])
    return [" " + line.rstrip() for line in grid(table, left=2)]


def _estimated(rows: Sequence[FixedEffectRow]) -> list[FixedEffectRow]:
    return [row for row in rows if row.estimate is not None]


def _fixed_lines(table: FixedEffectInferenceTable) -> list[str]:
    """Heading, coefficients with their tests, and what is to be said of them."""
    rows = _estimated(table.rows)
    refused = dict.fromkeys(row.reason for row in rows if row.status != "available")
    how = "; ".join(headings(rows)) or (f"no p-values: {'; '.join(refused)}" if refused else "")
    lines = [f"Fixed effects ({how}):" if how else "Fixed effects:"]
    if rows:
        lines += grid(coefficient_columns(rows))
        lines += remarks([row for row in rows if row.status == "available"])
    return lines


def _correlation_lines(fit: FitArtifact) -> list[str]:
    matrix = fit.fixed_effect_covariance.matrix
    known = [j for j, name in enumerate(fit.fixed_effect_covariance.coef_names)
             if name not in fit.fixed_effect_covariance.aliased]
    if matrix is None or len(known) < 2:
        return []
    names = [fit.fixed_effect_covariance.coef_names[j] for j in known]
    if len(names) > MOST_CORRELATIONS:
        return ["", f"Correlation of Fixed Effects: not shown for {len(names)} coefficients; see vcov(correlation=True)"]
    short = abbreviate(names)
    table = [["", *short[1:]]]
    for j, head in enumerate(short[:-1]):
        table.append([head, *(_correlation(matrix, known[i], known[j]) if i > j else "" for i in range(1, len(names)))])
    return ["", "Correlation of Fixed Effects:", *(line.rstrip() for line in grid(table))]


def _correlation(matrix: tuple[tuple[float | None, ...], ...], i: int, j: int) -> str:
    covariance, own, other = matrix[i][j], matrix[i][i], matrix[j][j]
    if covariance is None or not own or not other:
        return ""
    return fixed(covariance / math.sqrt(own) / math.sqrt(other), 3)


def certificate_line(fit: FitArtifact) -> str:
    """The verdict of the certificate in one line."""
    e = fit.certificate
    supported = all(cone.rank == cone.width for cone in e.cones)
    status = AT_LIMIT if e.status == "converged_boundary" and supported else STATUS[e.status]
    text = f"{status}; {e.quality}"
    if e.reason:
        text += f" ({e.reason})"
    decrement = e.gradient.newton_decrement
    # smaller ones are rounding, and differ from machine to machine
    shown = "not finite" if decrement is None else "below 1e-14" if abs(decrement) < 1e-14 else f"{decrement:.1e}"
    return f"{text}. Newton decrement {shown}, {e.stop.evaluations} evaluations"


def _size(numbers: FitSummary) -> str:
    groups = "; ".join(f"{name}, {n}" for name, n in numbers.n_levels.items())
    return f"Number of obs: {numbers.n_rows}, groups:  {groups}"


def _title(fit: FitArtifact, by: str) -> list[str]:
    return [f"Linear mixed model fit by {by}"] if fit.glmm is None else title(fit.glmm)


def summary_text(fit: FitArtifact, tests: FixedEffectInferenceTable) -> str:
    """The whole summary, with ``tests`` of the coefficients."""
    numbers, compiled = fit.summary, fit.compiled
    by = "REML" if numbers.criterion == "REML" else "maximum likelihood"
    lines = [*_title(fit, by), f"Formula: {compiled.requested_formula}"]
    if compiled.effective_formula is not None:
        lines.append(f"Fitted: {compiled.effective_formula}")
    lines += ["", *_criterion_lines(fit), f"Certificate: {certificate_line(fit)}", ""]
    if numbers.scaled_residuals is None:
        rows = "they are not finite" if compiled.reproducibility.rows_in_memory else "the rows are not in memory"
        lines.append(f"Scaled residuals: not computed, {rows}")
    else:
        lines.append("Scaled residuals:")
        heads = ["Min", "1Q", "Median", "3Q", "Max"]
        residuals = zip(heads, numbers.scaled_residuals, strict=True)
        lines += grid([[head, f"{value:.4f}"] for head, value in residuals], left=0)
    lines += ["", "Random effects:", *varcorr_lines(fit), _size(numbers)]
    if tests.rows:
        lines += ["", *_fixed_lines(tests), *_correlation_lines(fit)]
    data = compiled.data
    if data.n_source_rows != data.n_rows:
        missing = ", ".join(f"{name} {count}" for name, count in data.missing.items())
        lines.append(f"Rows used: {data.n_rows} of {data.n_source_rows}" + (f" (missing: {missing})" if missing else ""))
    lines += [f"{d.code}: {d.message}" for d in (*compiled.diagnostics, *fit.diagnostics) if _shown(d)]
    return "\n".join(lines)


def short_text(fit: FitArtifact) -> str:
    """What a fit shows of itself at the prompt."""
    numbers = fit.summary
    by = numbers.criterion
    known = _estimated(fit.fixed_effects.rows)
    lines = [
        *_title(fit, by),
        f"Formula: {numbers.formula}",
        f"{'REML criterion' if by == 'REML' else '-2 log-likelihood'}: {_number(numbers.objective, 4)}",
        f"Certificate: {certificate_line(fit)}",
        "Random effects:",
        *varcorr_lines(fit),
        _size(numbers),
    ]
    if known:
        values = column([row.estimate for row in known])
        lines += ["Fixed effects:", *wrapped([row.label for row in known], values)]
    return "\n".join(lines)
