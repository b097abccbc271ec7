"""Tests of terms, routes and estimability: tables, text and HTML of their artifacts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl

from mixeff_fast.report.inference import TAIL, Printed, cells, frame, headings, joint_columns, remarks
from mixeff_fast.report.numbers import column, grid
from mixeff_fast.report.wording import words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mixeff_fast.schemas.inference import AnovaTable, DropTable, EstimabilityTable, FixedEffectRow, InferenceOptions

_TYPES = {1: "I", 2: "II", 3: "III"}


class EstimabilityResult(Printed):
    """What ``estimability()`` returns.

    Attributes
    ----------
    artifact
        The assessments as a versioned record, with the relations between the columns.
    """

    def __init__(self, artifact: EstimabilityTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """A row for each contrast: ``label, estimable, status, rank, requested_rank, reason_code``."""
        names = ("label", "estimable", "status", "rank", "requested_rank", "reason_code")
        return frame(names, (
            [row.label, row.assessment.status == "estimable", row.assessment.status, row.assessment.rank,
             row.assessment.requested_rank, row.reason_code]
            for row in self.artifact.rows
        ))

    def _text(self) -> str:
        rows = self.artifact.rows
        lines = grid([["", *(row.label for row in rows)], ["status", *(words(row.assessment.status) for row in rows)]], left=2)
        lines += [f"{row.label}: {row.reason}" for row in rows if row.reason]
        return "\n".join(line.rstrip() for line in lines)


class Anova(Printed):
    """What ``anova()`` returns.

    Attributes
    ----------
    artifact
        Hypotheses and tests as a versioned record.
    """

    def __init__(self, artifact: AnovaTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """A row for each term."""
        names = ("term", "sum_sq", "mean_sq", "num_df", "den_df", "statistic", "statistic_name", "p_value", "log_p_value",
                 *TAIL)
        rows = (
            [each.row.label, each.sum_of_squares, each.mean_square, *cells(each.row, names[3:])]
            for each in self.artifact.terms
        )
        return frame(names, rows)

    @property
    def hypotheses(self) -> dict[str, NDArray[np.float64]]:
        """By term, ``L`` of the hypothesis ``L beta = 0``, shape (rows, p)."""
        schema = dict.fromkeys(self.artifact.coef_names, pl.Float64)
        return {
            each.row.label: pl.DataFrame(list(each.matrix), schema=schema, orient="row").to_numpy()
            for each in self.artifact.terms
        }

    def _title(self) -> str:
        return f"Tests of fixed terms, type {_TYPES[self.artifact.type]}"

    def _text(self) -> str:
        rows = [each.row for each in self.artifact.terms]
        if not rows:
            return "no fixed terms"
        how = headings(rows)
        title = self._title() + (f" ({'; '.join(how)})" if how else "")
        table = [["", *(row.label for row in rows)]]
        if any(each.mean_square is not None for each in self.artifact.terms):
            table.append(["Sum Sq", *column([each.sum_of_squares for each in self.artifact.terms], 5)])
            table.append(["Mean Sq", *column([each.mean_square for each in self.artifact.terms], 5)])
        return "\n".join([title, *grid([*table, *joint_columns(rows)]), *remarks(rows)])


class EffectTest(Anova):
    """What ``test_effect()`` returns.

    Attributes
    ----------
    artifact
        Hypothesis and test as a versioned record.
    """

    @property
    def row(self) -> FixedEffectRow:
        """The test."""
        return self.artifact.terms[0].row

    def _title(self) -> str:
        return f"Test of {self.row.label}"


class DroppedTerms(Printed):
    """What ``drop1()`` returns.

    Attributes
    ----------
    artifact
        The models and tests as a versioned record.
    """

    def __init__(self, artifact: DropTable) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """The model itself, and a row for each term."""
        tested = ("statistic", "statistic_name", "num_df", "den_df", "p_value", "log_p_value", "method", "status",
                  "reason_code")
        names = ("term", "npar", "aic", "bic", "loglik", *tested)
        rows = (
            [each.term, each.n_parameters, each.aic, each.bic, each.loglik,
             *([None] * len(tested) if each.row is None else cells(each.row, tested))]
            for each in self.artifact.terms
        )
        return frame(names, rows)

    def _text(self) -> str:
        terms = self.artifact.terms
        lines = ["Single terms left out, models refitted by maximum likelihood" if self.artifact.refitted
                 else "Single terms left out", f"Model: {terms[0].formula}"]
        rows = [each.row for each in terms if each.row is not None]
        lines += headings(rows)
        table = [["", "<none>", *(each.term or "" for each in terms[1:])],
                 ["npar", *(str(each.n_parameters) for each in terms)],
                 ["AIC", *column([each.aic for each in terms], 5)], ["BIC", *column([each.bic for each in terms], 5)]]
        if rows:
            table += [[each[0], "", *each[1:]] for each in joint_columns(rows)]
        return "\n".join([*lines, *grid(table), *remarks(rows)])


class InferenceOptionsResult(Printed):
    """What ``inference_options()`` returns.

    Attributes
    ----------
    artifact
        The routes as a versioned record.
    """

    def __init__(self, artifact: InferenceOptions) -> None:
        self.artifact = artifact

    @property
    def table(self) -> pl.DataFrame:
        """A row for each route."""
        names = ("method", "route", "auto", "verbs", "status", "reliability", "reliability_reason", "reason_code",
                 "evaluations", "refits", "flops", "bytes")
        return frame(names, (
            [list(value) if isinstance(value, tuple) else value for value in (getattr(route, name) for name in names)]
            for route in self.artifact.routes
        ))

    def _text(self) -> str:
        of = "coefficients and contrasts" if self.artifact.term is None else f"the term {self.artifact.term}"
        lines = [f"Routes of inference for {of}; the fit is by {self.artifact.criterion}, {words(self.artifact.fit_status)}"]
        routes = self.artifact.routes
        table = [
            ["method", *(route.method for route in routes)],
            ["status", *(words(route.status) for route in routes)],
            ["reliability", *(words(route.reliability) for route in routes)],
            ["evaluations", *(str(route.evaluations) for route in routes)],
            ["refits", *(str(route.refits) for route in routes)],
            ["", *("(auto)" if route.auto else "" for route in routes)],
        ]
        lines += [line.rstrip() for line in grid(table, left=3)]
        for route in routes:
            why = route.reason or (words(route.reliability_reason) if route.reliability_reason else "")
            if why:
                lines.append(f"{route.method}: {why}")
        return "\n".join(lines)
