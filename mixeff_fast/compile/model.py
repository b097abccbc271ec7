"""From a formula and its model frame to the terms, the theta map and the elimination plan of a mixed model.

Random terms on one grouping factor share that factor's blocks: their columns stand side by side and Lambda is block
diagonal over the terms. Theta runs over the terms in lme4's order (most levels first), each term's lower triangle by
columns.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile.plan import EliminationPlan, make_plan
from mixeff_fast.errors import FitError, InferenceUnavailable, NotIdentifiable
from mixeff_fast.frame import design_columns
from mixeff_fast.frame.columns import frozen
from mixeff_fast.frame.names import told_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.families import Family
    from mixeff_fast.formula import ModelFormula, RandomTerm
    from mixeff_fast.frame import DesignColumns, GroupingFactor, ModelFrame
    from mixeff_fast.vocabulary import CovarianceFamily


@dataclass(frozen=True, slots=True)
class RandomBlock:
    """One random term: columns ``first .. first + width - 1`` of a block of its grouping factor.

    ``theta`` is its range in the parameter vector; ``rows`` and ``columns`` say which entries of its ``width x width``
    Lambda they are.
    """

    term: RandomTerm
    factor: int
    first: int
    width: int
    family: CovarianceFamily
    names: tuple[str, ...]
    design: DesignColumns
    theta: slice
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RandomFactor:
    """A grouping factor with all effects that vary over it; ``blocks`` are positions in ``CompiledModel.blocks``."""

    group: GroupingFactor
    width: int
    blocks: tuple[int, ...]

    @property
    def n_levels(self) -> int:
        return len(self.group.levels)


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of a model: fixed effects, and random terms by grouping factor."""

    formula: ModelFormula
    frame: ModelFrame
    fixed: DesignColumns
    blocks: tuple[RandomBlock, ...]
    factors: tuple[RandomFactor, ...]
    theta_names: tuple[str, ...]

    @property
    def n_theta(self) -> int:
        return len(self.theta_names)

    @property
    def family(self) -> Family | None:
        """The family of a generalized linear mixed model; None of a linear one."""
        return self.frame.family

    @property
    def most_effects(self) -> int:
        """How many random effects one term can have at most for its covariance to be told from what is left over in a row.

        A residual variance, and the outcome of a single trial, take up the rows: a term needs fewer effects than rows. Counts,
        successes among several trials and the other families allow one effect per row.
        """
        trials = self.frame.trials
        single = trials is None or float(trials.max()) <= 1.0
        binary = self.family is not None and self.family.name == "binomial" and single
        return self.frame.n - 1 if self.family is None or binary else self.frame.n


@dataclass(frozen=True, slots=True)
class CompiledModel(Layout):
    """Everything about a model that does not depend on its parameters."""

    plan: EliminationPlan


def _family(term: RandomTerm, width: int) -> CovarianceFamily:
    if term.covariance in ("cs", "ar1"):
        raise FitError(
            f"{term.covariance}({term.group_name}): this covariance structure is read but cannot be fitted yet; "
            "write us(...) for an unstructured or diag(...) for a diagonal one",
            reason_code="unsupported",
            term=term.written,
        )
    if width == 1:
        return "scalar"
    return "diagonal" if term.covariance == "diag" else "full"


def _lme4_order(n_levels: list[int]) -> list[int]:
    """Positions of the random terms in lme4's order: as written if the numbers of levels never rise, else
    ``rev(order(n_levels))``, which reverses ties."""
    if all(a >= b for a, b in pairwise(n_levels)):
        return list(range(len(n_levels)))
    return sorted(range(len(n_levels)), key=lambda i: n_levels[i])[::-1]


def check_formula(formula: ModelFormula, family: Family | None = None) -> None:
    """Refuse what no data could make a mixed model of."""
    if family is None and formula.response.kind == "cbind":
        raise InferenceUnavailable(
            "cbind() makes a binomial response; a linear mixed model takes one numeric column",
            reason_code="multivariate_response_unsupported",
        )
    if not formula.random:
        fixed = "a fixed-effects model with statsmodels" if family is None else "a model of fixed effects with statsmodels' GLM"
        raise FitError(
            f"the formula has no random term; add one such as (1 | group), or fit {fixed}", reason_code="no_random_effects"
        )


def _response_range(frame: ModelFrame) -> tuple[float, float]:
    y = frame.response if frame.offset is None else frame.response - frame.offset
    return float(y.min()), float(y.max())


def _check_outcomes(frame: ModelFrame, family: Family) -> None:
    """Refuse outcomes of which no finite estimate could come. Any constant inside the family's range is an ordinary outcome of
    counts and of successes; of the families with a dispersion, one that an offset makes uneven."""
    y, name = frame.response, frame.formula.response.name
    trials = float(frame.n) if frame.trials is None else float(frame.trials.sum())
    if not y.any():
        said = "no successes in any row" if family.name == "binomial" else "zero in all rows"
    elif family.name == "binomial" and float(y.sum()) == trials:
        said = "no failures in any row"
    elif not family.has_dispersion or frame.offset is not None or float(y.min()) < float(y.max()):
        return
    else:
        said = f"constant ({float(y[0])!r} in all {frame.n} rows)"
    verb = "has" if said.startswith("no ") else "is"
    raise FitError(
        f"the response {name!r} {verb} {said}, so that a {family.name} model has no finite estimate; model one that varies",
        reason_code="constant_response", column=name,
    )


def check_response(frame: ModelFrame, response_range: tuple[float, float] | None = None) -> None:
    """Refuse a response that does not vary, or not enough for its family; the range is known for rows that are elsewhere.

    Raises
    ------
    FitError
        ``constant_response``.
    """
    if frame.family is not None:
        _check_outcomes(frame, frame.family)
        return
    low, high = _response_range(frame) if response_range is None else response_range
    if low == high:
        less = "" if frame.offset is None else " less the offset"
        raise FitError(
            f"the response {frame.formula.response.name!r}{less} is constant ({low!r} in all {frame.n} rows); "
            "model a column that varies",
            reason_code="constant_response",
            column=frame.formula.response.name,
        )


def _check_design(frame: ModelFrame, response_range: tuple[float, float] | None) -> None:
    if frame.n == 1:
        raise NotIdentifiable("a mixed model cannot be fitted to one row; give it rows of two groups or more", nobs=1)
    check_response(frame, response_range)


def _check_levels(group: GroupingFactor, n: int, family: Family | None) -> None:
    q = len(group.levels)
    if q < 2:
        raise NotIdentifiable(
            f"grouping factor {group.name!r} has one level; a variance between levels needs at least two. "
            "Leave the term out, or group by another column",
            group=group.name,
            n_levels=q,
            nobs=n,
        )
    if q >= n and family is None:
        raise NotIdentifiable(
            f"grouping factor {group.name!r} has as many levels as there are rows ({q}); its variance cannot be told "
            "from the residual variance. Leave the term out, or group by a column with repeated levels",
            group=group.name,
            n_levels=q,
            nobs=n,
        )


def check_saturation(model: CompiledModel) -> None:
    """Refuse to fit a term with as many random effects as there are rows, or with more in a generalized linear model, where one
    per row is overdispersion. Such a model can be compiled and audited.

    Raises
    ------
    NotIdentifiable
        With the group, its levels, the number of random effects and of rows.
    """
    n = model.frame.n
    for block in model.blocks:
        group = model.factors[block.factor].group
        effects = len(group.levels) * block.width
        if effects > n or (effects == n and model.family is None):
            what = "from the residual variance" if model.family is None else "by the data"
            raise NotIdentifiable(
                f"the terms on {group.name!r} have {effects} random effects for {n} rows; their covariance cannot be told "
                f"{what}. Use fewer varying effects",
                group=group.name,
                n_levels=len(group.levels),
                n_random_effects=effects,
                nobs=n,
            )


@cache
def _lower_triangle(width: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Columns and rows of the entries of a lower triangle, column by column."""
    columns, rows = (frozen(places.astype(np.int64)) for places in np.triu_indices(width))
    return columns, rows


def lay_out(frame: ModelFrame, *, as_written: bool = False) -> Layout:
    """Decide the columns of a model.

    ``as_written`` keeps the random terms in the order of the formula; else they stand in lme4's, which depends on the
    numbers of levels.
    """
    formula = frame.formula
    fixed = design_columns(formula.fixed, frame.variables)
    designs = [design_columns(term.lhs, frame.variables) for term in formula.random]
    groups = [frame.groups[term.group_name] for term in formula.random]
    order = list(range(len(groups))) if as_written else _lme4_order([len(group.levels) for group in groups])
    names: list[str] = list(dict.fromkeys(groups[i].name for i in order))
    first = dict.fromkeys(names, 0)
    members: dict[str, list[int]] = {name: [] for name in names}
    blocks: list[RandomBlock] = []
    theta_names: list[str] = []
    for i in order:
        term, design, group = formula.random[i], designs[i], groups[i]
        width = len(design.names)
        family = _family(term, width)
        if family == "diagonal":
            rows = columns = np.arange(width, dtype=np.int64)
        else:
            columns, rows = _lower_triangle(width)
        start = len(theta_names)
        for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
            pair = design.names[row] if row == column else f"{design.names[row]}.{design.names[column]}"
            theta_names.append(told_apart(f"{group.name}.{pair}", theta_names))
        members[group.name].append(len(blocks))
        blocks.append(
            RandomBlock(term, names.index(group.name), first[group.name], width, family, design.names, design,
                        slice(start, len(theta_names)), rows, columns)
        )
        first[group.name] += width
    factors = tuple(RandomFactor(frame.groups[name], first[name], tuple(members[name])) for name in names)
    return Layout(formula, frame, fixed, tuple(blocks), factors, tuple(theta_names))


def compile_layout(
    layout: Layout, codes: Sequence[NDArray[np.int32]], response_range: tuple[float, float] | None = None
) -> CompiledModel:
    """Check a layout against its data, and plan the elimination.

    ``codes`` has the levels of each factor in the rows, or in any rows in which the same levels meet;
    ``response_range`` the lowest and the highest response (less the offset) of rows that are elsewhere.
    """
    frame = layout.frame
    _check_design(frame, response_range)
    for block in layout.blocks:
        _check_levels(layout.factors[block.factor].group, frame.n, frame.family)
    factors = layout.factors
    plan = make_plan(codes, [f.n_levels for f in factors], [f.width for f in factors], len(layout.fixed.names))
    return CompiledModel(frame.formula, frame, layout.fixed, layout.blocks, factors, layout.theta_names, plan)


def compile_rows(frame: ModelFrame) -> CompiledModel:
    """Compile a mixed model of rows in memory, linear or generalized as its frame was read.

    Raises
    ------
    FitError
        No random term, a response that is constant or at the edge of the family's range in all rows, a covariance structure
        that cannot be fitted.
    NotIdentifiable
        One row, a grouping factor with one level, or in a linear model with as many levels as rows.
    InferenceUnavailable
        ``cbind`` responses without a family.
    """
    check_formula(frame.formula, frame.family)
    layout = lay_out(frame)
    return compile_layout(layout, [f.group.codes for f in layout.factors])
