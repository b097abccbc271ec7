"""Tests of coefficients and contrasts: tables, text and HTML of their artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import polars as pl

from mixeff_fast.report.html import preformatted
from mixeff_fast.report.numbers import column, grid, p_value, plain
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mixeff_fast.schemas.inference import ContrastTable, FixedEffectInferenceTable, FixedEffectRow

_TEXTS = {"label", "term", "contrast", "statistic_name", "method", "requested_method", "status", "reliability",
          "reliability_reason", "reason_code", "route"}
_WHOLE = {"rank", "requested_rank", "evaluations", "refits", "npar"}
# names of columns for fields that the records spell out
_FIELDS = {"log_p_value": "log_p_value", "df": "denominator_df", "num_df": "numerator_df", "den_df": "denominator_df"}
TAIL = ("method", "requested_method", "status", "reliability", "reliability_reason", "reason_code", "notes")
_ROUTES = {
    "asymptotic_wald_z": "Wald z: normal approximation, no finite-sample correction",
    "asymptotic_wald_chi_square": "Wald chi-square: normal approximation, no finite-sample correction",
    "satterthwaite": "degrees of freedom by Satterthwaite's method",
    "kenward_roger": "degrees of freedom and standard errors by Kenward and Roger's method",
    "likelihood_ratio": "likelihood ratio: chi-square approximation",
}


def _dtype(name: str) -> Any:
    if name in _TEXTS:
        return pl.String
    if name in _WHOLE:
        return pl.Int64
    return pl.List(pl.String) if name in ("notes", "verbs") else pl.Boolean if name in ("estimable", "auto") else pl.Float64


def frame(names: Sequence[str], rows: Iterable[Sequence[Any]]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={name: _dtype(name) for name in names}, orient="row")


def cells(row: FixedEffectRow, names: Sequence[str]) -> list[Any]:
    out = []
    for name in names:
        value = getattr(row, _FIELDS.get(name, "label" if name in ("term", "contrast") else name))
        out.append(list(value) if isinstance(value, tuple) else value)
    return out


class Printed:
    """Shows its text."""

    def _text(self) -> str:
        raise TypeError(type(self).__name__)

    def __repr__(self) -> str:
        return self._text()

    def _repr_html_(self) -> str:
        return preformatted(self._text())


def headings(rows: Iterable[FixedEffectRow]) -> list[str]:
    """How the rows were computed, once for each route among them."""
    return [_ROUTES[method] for method in dict.fromkeys(row.method for row in rows) if method in _ROUTES]


def remarks(rows: Sequence[FixedEffectRow]) -> list[str]:
    """What is to be said of rows beside their numbers: refusals, doubts and notes, each once, with the rows it holds for."""
    said: dict[str, list[str]] = {}
    for row in rows:
        if row.status != "available":
            said.setdefault(f"{words(row.status)}: {row.reason}", []).append(row.label)
        elif row.reliability == "low" and row.reliability_reason is not None:
            said.setdefault(f"reliability low: {words(row.reliability_reason)}", []).append(row.label)
        for note in row.notes:
            said.setdefault(note, []).append(row.label)
    every = {row.label for row in rows}
    return [text if set(labels) == every else f"{', '.join(labels)}: {text}" for text, labels in said.items()]


def coefficient_columns(rows: Sequence[FixedEffectRow]) -> list[list[str]]:
    """Columns of text: label, estimate, standard error, and the test where there is one."""
    shown = column([value for row in rows for value in (row.estimate, row.std_error)])
    table = [["", *(row.label for row in rows)], ["Estimate", *shown[0::2]], ["Std. Error", *shown[1::2]]]
    names = {row.statistic_name for row in rows if row.statistic_name is not None}
    if not names:
        return table
    if any(row.denominator_df is not None for row in rows):
        table.append(["df", *column([row.denominator_df for row in rows], 5)])
    head = names.pop() if len(names) == 1 else "statistic"
    table.append([f"{head} value", *("" if row.statistic is None else f"{row.statistic:.3f}" for row in rows)])
    table.append([f"Pr(>|{head}|)" if head in ("z", "t") else "p value",
                  *(p_value(row.p_value, row.log_p_value) for row in rows)])
    return table


def joint_columns(rows: Sequence[FixedEffectRow]) -> list[list[str]]:
    """Columns of text of joint tests: degrees of freedom, statistic, p-value."""
    table = [["NumDF", *("" if row.numerator_df is None else plain(row.numerator_df) for row in rows)]]
    if any(row.denominator_df is not None for row in rows):
        table.append(["DenDF", *column([row.denominator_df for row in rows], 5)])
    heads = {"f": "F value", "chi_square": "Chisq"}
    kinds = {row.statistic_name for row in rows if row.statistic_name is not None}
    head = heads.get(next(iter(kinds)), "statistic") if len(kinds) == 1 else "statistic"
    table.append([head, *column([row.statistic for row in rows], 5)])
    table.append(["p value", *(p_value(row.p_value, row.log_p_value) for row in rows)])
    return table


class InferenceTable(Printed):
    """What ``inference_table()`` returns.

    Attributes
    ----------
    artifact
        The rows as a versioned record.
    """

    def __init__(self, artifact: FixedEffectInferenceTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """A row for each coefficient."""
        names = ("label", "estimate", "std_error", "df", "statistic", "statistic_name", "p_value", "log_p_value", *TAIL)
        return frame(names, (cells(row, names) for row in self.artifact.rows))

    def _text(self) -> str:
        rows = self.artifact.rows
        if not rows:
            return "no fixed effects"
        return "\n".join([*headings(rows), *grid(coefficient_columns(rows)), *remarks(rows)])


class ContrastResult(Printed):
    """What ``contrast()`` returns.

    Attributes
    ----------
    artifact
        Contrasts and tests as a versioned record.
    """

    def __init__(self, artifact: ContrastTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """A row for each contrast: ``label, rhs, estimate, std_error, df, statistic, statistic_name, p_value, ...``."""
        names = ("label", "estimate", "std_error", "df", "statistic", "statistic_name", "p_value", "log_p_value", *TAIL)
        table = frame(names, (cells(row, names) for row in self.artifact.rows))
        return table.insert_column(1, pl.Series("rhs", self.artifact.rhs, dtype=pl.Float64))

    @property
    def joint(self) -> FixedEffectRow | None:
        """The test of all contrasts at once; None for a single one."""
        return self.artifact.joint

    def _text(self) -> str:
        rows = self.artifact.rows
        lines = [*headings(rows), *grid(coefficient_columns(rows)), *remarks(rows)]
        if self.joint is not None:
            lines += ["all rows at once:", *grid(joint_columns([self.joint]), left=0), *remarks([self.joint])]
        return "\n".join(lines)


class DegreesOfFreedom(Printed):
    """What ``df_for_contrast()`` returns.

    Attributes
    ----------
    artifact
        The contrasts and their tests as a versioned record.
    """

    def __init__(self, artifact: ContrastTable) -> None:
        self.artifact = artifact

    @property
    def df(self) -> dict[str, float | None]:
        """Degrees of freedom by contrast: infinity where the route is asymptotic, None where it refuses."""
        return {
            row.label: float("inf") if row.method == "asymptotic_wald_z" else row.denominator_df for row in self.artifact.rows
        }

    @property
    def method(self) -> str:
        """The method that was asked for."""
        return self.artifact.requested_method

    @property
    def table(self) -> pl.DataFrame:
        """A row for each contrast."""
        names = ("contrast", "df", "method", "requested_method", "status", "reason_code")
        found = self.df
        rows = ([row.label, found[row.label], *cells(row, names[2:])] for row in self.artifact.rows)
        return frame(names, rows)

    def _text(self) -> str:
        rows = self.artifact.rows
        shown = ["" if value is None else plain(value) for value in self.df.values()]
        return "\n".join([*headings(rows), *grid([["", *(row.label for row in rows)], ["df", *shown]]), *remarks(rows)])


class LinearCombination(Printed):
    """What ``lincomb()`` returns.

    Attributes
    ----------
    artifact
        The combination, its test and its interval as a versioned record.
    """

    def __init__(self, artifact: ContrastTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """One row, with ``lower`` and ``upper``."""
        names = ("label", "estimate", "std_error", "df", "statistic", "statistic_name", "p_value", "log_p_value", "lower",
                 "upper", "level", "method", "status", "reliability", "reason_code")
        row, interval = self.artifact.rows[0], self.artifact.intervals[0]
        both = [*cells(row, names[:8]), interval.lower, interval.upper, self.artifact.level, *cells(row, names[11:])]
        return frame(names, [both])

    def _text(self) -> str:
        rows, interval = self.artifact.rows, self.artifact.intervals[0]
        lines = [*headings(rows), *grid(coefficient_columns(rows))]
        if interval.lower is not None and self.artifact.level is not None:
            low, high = column([interval.lower, interval.upper])
            lines.append(f"interval of level {plain(self.artifact.level)}: {low} to {high}")
        return "\n".join([*lines, *remarks(rows)])
