"""The summary of a fit in lme4's layout, from its artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.report.html import preformatted
from mixeff_fast.report.numbers import abbreviate, column, fixed, grid, p_value, wrapped

if TYPE_CHECKING:
    import polars as pl

    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.fit import FitArtifact

STATUS = {
    "converged_interior": "converged, all covariance directions supported",
    "converged_boundary": "converged with a variance at zero (singular fit)",
    "converged_reduced_rank": "converged with a covariance of reduced rank (singular fit)",
    "not_optimized": "NOT CONVERGED",
    "not_identifiable": "NOT IDENTIFIABLE",
    "not_assessed": "not assessed",
}

# lme4's default for lme4.summary.cor.max
MOST_CORRELATIONS = 12


class Summary:
    """What ``fit.summary()`` returns: prints in lme4's layout.

    Attributes
    ----------
    artifact
        The fit's artifact, from which every number comes.
    """

    def __init__(self, artifact: FitArtifact, compiled: CompiledModelArtifact) -> None:
        self.artifact = artifact
        self.compiled = compiled

    @property
    def table(self) -> pl.DataFrame:
        """Fixed effects: ``term, estimate, std_error, statistic, statistic_name, p_value, log_p_value, method, status,
        reason_code``."""
        import polars as pl

        keys = ("term", "estimate", "std_error", "statistic", "statistic_name", "p_value", "log_p_value", "method",
                "status", "reason_code")
        text = {"term", "statistic_name", "method", "status", "reason_code"}
        rows = [tuple(getattr(c, key) for key in keys) for c in self.artifact.coefficients]
        return pl.DataFrame(rows, schema={k: pl.String if k in text else pl.Float64 for k in keys}, orient="row")

    def __str__(self) -> str:
        return summary_text(self.artifact, self.compiled)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return preformatted(str(self))


def _criterion_lines(fit: FitArtifact) -> list[str]:
    if fit.criterion == "REML":
        stopped = "at convergence" if fit.certificate.status.startswith("converged") else "where the search stopped"
        return [f"REML criterion {stopped}: {fit.objective:.1f}"]
    heads = ["AIC", "BIC", "logLik", "-2*log(L)"]
    cells = [[h, f"{v:.1f}"] for h, v in zip(heads, (fit.aic, fit.bic, fit.loglik, fit.objective), strict=True)]
    return grid([*cells, ["df.resid", str(fit.df_residual)]], left=0)


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


def _coefficient_lines(fit: FitArtifact) -> list[str]:
    rows = [c for c in fit.coefficients if c.status == "available"]
    if not rows:
        return []
    pairs = [v for c in rows for v in (c.estimate, c.std_error)]
    formatted = column(pairs)
    table = [
        ["", *(c.term for c in rows)],
        ["Estimate", *formatted[0::2]],
        ["Std. Error", *formatted[1::2]],
        ["z value", *(f"{c.statistic:.3f}" for c in rows)],
        ["Pr(>|z|)", *(p_value(c.p_value, c.log_p_value) for c in rows)],
    ]
    return grid(table)


def _correlation_lines(fit: FitArtifact) -> list[str]:
    names = [c.term for c in fit.coefficients if c.status == "available"]
    if len(names) < 2:
        return []
    if len(names) > MOST_CORRELATIONS:
        return ["", f"Correlation of Fixed Effects: not shown for {len(names)} coefficients; see vcov(correlation=True)"]
    short = abbreviate(names)
    table = [["", *short[1:]]]
    for j, head in enumerate(short[:-1]):
        table.append([head, *(fixed(fit.correlation[i][j], 3) if i > j else "" for i in range(1, len(names)))])
    return ["", "Correlation of Fixed Effects:", *(line.rstrip() for line in grid(table))]


def certificate_line(fit: FitArtifact) -> str:
    """The verdict of the certificate in one line."""
    e = fit.certificate
    text = f"{STATUS[e.status]}; {e.quality}"
    if e.reason:
        text += f" ({e.reason})"
    # smaller ones are rounding, and differ from machine to machine
    decrement = "below 1e-14" if abs(e.newton_decrement) < 1e-14 else f"{e.newton_decrement:.1e}"
    return f"{text}. Newton decrement {decrement}, {e.evaluations} evaluations"


def summary_text(fit: FitArtifact, compiled: CompiledModelArtifact) -> str:
    """The whole summary."""
    by = "REML" if fit.criterion == "REML" else "maximum likelihood"
    lines = [f"Linear mixed model fit by {by}", f"Formula: {compiled.requested_formula}", ""]
    lines += [*_criterion_lines(fit), f"Certificate: {certificate_line(fit)}", ""]
    if fit.scaled_residuals is None:
        lines.append("Scaled residuals: not computed, the rows are not in memory")
    else:
        lines.append("Scaled residuals:")
        heads = ["Min", "1Q", "Median", "3Q", "Max"]
        lines += grid([[head, f"{value:.4f}"] for head, value in zip(heads, fit.scaled_residuals, strict=True)], left=0)
    groups = "; ".join(f"{name}, {n}" for name, n in fit.n_levels.items())
    lines += ["", "Random effects:", *varcorr_lines(fit), f"Number of obs: {fit.n_rows}, groups:  {groups}"]
    if fit.coefficients:
        lines += ["", "Fixed effects (Wald z: normal approximation, no finite-sample correction):"]
        lines += _coefficient_lines(fit)
        lines += _correlation_lines(fit)
    data = compiled.data
    if data.n_source_rows != data.n_rows:
        missing = ", ".join(f"{name} {count}" for name, count in data.missing.items())
        lines.append(f"Rows used: {data.n_rows} of {data.n_source_rows}" + (f" (missing: {missing})" if missing else ""))
    lines += [f"{d.code}: {d.message}" for d in (*compiled.diagnostics, *fit.diagnostics)]
    return "\n".join(lines)


def short_text(fit: FitArtifact) -> str:
    """What a fit shows of itself at the prompt."""
    by = "REML" if fit.criterion == "REML" else "ML"
    known = [c for c in fit.coefficients if c.status == "available"]
    lines = [
        f"Linear mixed model fit by {by}",
        f"Formula: {fit.formula}",
        f"{'REML criterion' if by == 'REML' else '-2 log-likelihood'}: {fit.objective:.4f}",
        f"Certificate: {certificate_line(fit)}",
        "Random effects:",
        *varcorr_lines(fit),
        f"Number of obs: {fit.n_rows}, groups:  {'; '.join(f'{k}, {n}' for k, n in fit.n_levels.items())}",
    ]
    if known:
        values = column([c.estimate for c in known])
        lines += ["Fixed effects:", *wrapped([c.term for c in known], values)]
    return "\n".join(lines)
