"""What transforms such as ``scale(x)`` or ``bs(x, df = 5)`` learn from rows that come in batches.

A learner sees the argument of one call, batch by batch, and says after each pass over the rows whether it needs another.
What it has learned in the end is what the function records when it sees all rows at once; where that depends on few
numbers (bounds, knots, mean and standard deviation), the function itself is called with these.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from mixeff_fast.errors import DataError, FormulaError
from mixeff_fast.formula.model import Variable
from mixeff_fast.formula.tree import Call, literal_value
from mixeff_fast.frame.bases import LEARNING, Memory, learn_or_apply
from mixeff_fast.frame.columns import Floats
from mixeff_fast.frame.streampoly import PolynomialMoments
from mixeff_fast.frame.streamquantiles import Quantiles
from mixeff_fast.frame.transforms import TransformState, evaluate, evaluated_nodes

_T = TypeVar("_T")
# Cubic splines place their knots by the different values of their argument, and these are kept.
_MOST_VALUES = 1 << 22


class Learner(Protocol):
    """Learns what one call records."""

    def see(self, x: Floats) -> None:
        """Take in a batch, not empty."""

    def finish_pass(self) -> Memory | None:
        """What was learned, or None when the rows must be seen again."""


@dataclass(slots=True)
class Lesson:
    """One call that has still to learn: its place in the variable, its argument, and its learner once that can be had."""

    variable: Variable
    position: int
    node: Call
    inner: tuple[int, ...]
    learner: Learner | None = None


@dataclass(slots=True)
class Lessons:
    """All that the transforms of a model have still to learn."""

    text: str
    states: dict[str, TransformState] = field(default_factory=dict)
    open: list[Lesson] = field(default_factory=list)

    def add(self, variable: Variable) -> None:
        """Enter a variable that is an expression."""
        nodes = evaluated_nodes(variable.node)
        self.states[variable.key] = TransformState()
        for position, node in enumerate(nodes):
            if isinstance(node, Call) and node.function in LEARNING:
                stop = position + len(evaluated_nodes(node))
                inner = tuple(
                    k for k in range(position + 1, stop)
                    if isinstance(other := nodes[k], Call) and other.function in LEARNING
                )
                self.open.append(Lesson(variable, position, node, inner))

    def is_known(self, key: str) -> bool:
        """Whether a variable can be evaluated."""
        return all(lesson.variable.key != key for lesson in self.open)

    def see(self, read: Callable[[str], Floats]) -> None:
        """Show a batch to every learner whose argument can be evaluated; ``read`` gives the values of a column."""
        for lesson in self.open:
            known = self.states[lesson.variable.key].calls
            if all(k in known for k in lesson.inner):
                if lesson.learner is None:
                    lesson.learner = self._start(lesson)
                self._guard(lesson, partial(self._show, lesson, lesson.learner, read))

    def finish_pass(self) -> None:
        """Record what was learned."""
        remaining = []
        for lesson in self.open:
            memory = None
            if lesson.learner is not None:
                memory = self._guard(lesson, lesson.learner.finish_pass)
            if memory is None:
                remaining.append(lesson)
            else:
                self.states[lesson.variable.key].calls[lesson.position] = memory
        self.open = remaining

    def _show(self, lesson: Lesson, learner: Learner, read: Callable[[str], Floats]) -> None:
        learner.see(self._argument(lesson, read))

    def _argument(self, lesson: Lesson, read: Callable[[str], Floats]) -> Floats:
        first = lesson.position + 1
        known = self.states[lesson.variable.key].calls
        state = TransformState({k - first: known[k] for k in lesson.inner})
        operand = Variable(lesson.variable.key, lesson.node.args[0], lesson.variable.columns)
        values = np.asarray(evaluate(self.text, operand, read, state)[0], np.float64)
        if values.ndim > 1:
            raise TypeError("its argument has several columns")
        return values

    def _start(self, lesson: Lesson) -> Learner:
        return self._guard(lesson, partial(_learner, lesson.variable.key, lesson.node))

    def _guard(self, lesson: Lesson, step: Callable[[], _T]) -> _T:
        node = lesson.node
        try:
            return step()
        except (TypeError, ValueError) as problem:
            if isinstance(problem, FormulaError):
                raise
            raise FormulaError(
                f"{node.function}() cannot be evaluated: {problem}",
                formula=self.text,
                offset=node.span.start,
                length=node.span.stop - node.span.start,
            ) from problem


def _learner(key: str, node: Call) -> Learner:
    function = node.function
    literals = [literal_value(arg) for arg in node.args[1:]]
    keywords = {name.replace(".", "_"): literal_value(value) for name, value in node.keywords}
    call = LEARNING[function]
    try:
        bound = inspect.signature(call).bind(key, {}, np.zeros(0), *literals, **keywords)
    except TypeError:
        # The function itself says what is wrong.
        return Extremes(function, key, literals, keywords)
    bound.apply_defaults()
    given = dict(list(bound.arguments.items())[3:])
    if function == "poly" and not given["raw"]:
        if not isinstance(given["degree"], int) or given["degree"] < 1:
            raise ValueError("the degree must be a whole number from 1 on")
        return PolynomialMoments(key, given["degree"])
    if function in ("scale", "center"):
        return Spread(function, key, given)
    if function in ("bs", "ns"):
        levels = _knot_levels(function, given)
        return Extremes(function, key, literals, keywords) if levels is None else Knots(function, key, given, levels)
    if function in ("cr", "cc"):
        return Cubic(function, key, given)
    return Extremes(function, key, literals, keywords)


class Extremes:
    """For functions that record what the lowest and the highest value tell."""

    def __init__(self, function: str, key: str, literals: list[Any], keywords: dict[str, Any]) -> None:
        self._function, self._key, self._literals, self._keywords = function, key, literals, keywords
        self._low, self._high = np.inf, -np.inf

    def see(self, x: Floats) -> None:
        self._low = min(self._low, float(x.min()))
        self._high = max(self._high, float(x.max()))

    def finish_pass(self) -> Memory | None:
        memory: Memory = {}
        ends = np.array([self._low, self._high])
        learn_or_apply(self._function, self._key, memory, [ends, *self._literals], self._keywords)
        return memory


class Spread:
    """Mean and standard deviation, by pairwise updates (Chan, Golub & LeVeque 1983)."""

    def __init__(self, function: str, key: str, given: dict[str, Any]) -> None:
        self._function, self._key = function, key
        self._center: bool | float = given.get("center", True)
        self._scale: bool | float = given.get("scale", False)
        self._n, self._mean, self._squares = 0, 0.0, 0.0

    def see(self, x: Floats) -> None:
        n = len(x)
        mean = float(x.mean())
        rest = x - mean
        # The mean of the rest is what rounding left of the mean.
        left = float(rest.mean())
        mean += left
        squares = float(rest @ rest) - n * left * left
        total = self._n + n
        apart = mean - self._mean
        self._squares += squares + apart * apart * self._n * n / total
        self._mean += apart * n / total
        self._n = total

    def finish_pass(self) -> Memory | None:
        center = self._mean if self._center is True else self._center
        about = 0.0 if center is False else float(center)
        scale = self._scale
        if scale is True:
            apart = self._mean - about
            with np.errstate(divide="ignore", invalid="ignore"):
                variance = np.float64(self._squares + self._n * apart * apart) / np.float64(self._n - 1)
            scale = float(np.sqrt(variance))
        memory: Memory = {}
        settings = {"center": center, "scale": scale}
        learn_or_apply("scale", self._key, memory, [np.zeros(1)], settings)
        return memory


def _knot_levels(function: str, given: dict[str, Any]) -> Floats | None:
    """Which quantiles become knots; None when no knot comes from the rows."""
    if given["knots"] is not None or (given["df"] is None and function == "bs"):
        return None
    if function == "bs":
        inner = given["df"] - given["degree"] - (1 if given["intercept"] else 0)
    else:
        inner = (1 if given["df"] is None else given["df"]) - 1 - bool(given["intercept"])
    if inner <= 0:
        return None
    levels: Floats = np.linspace(0.0, 1.0, inner + 2)[1:-1]
    return levels


class Knots:
    """For splines whose knots are quantiles."""

    def __init__(self, function: str, key: str, given: dict[str, Any], levels: Floats) -> None:
        self._function, self._key, self._given = function, key, given
        self._low, self._high = np.inf, -np.inf
        self._quantiles = Quantiles(levels)

    def see(self, x: Floats) -> None:
        self._low = min(self._low, float(x.min()))
        self._high = max(self._high, float(x.max()))
        bounds = self._given["Boundary_knots"]
        if self._function == "ns" and bounds is not None:
            x = x[(x >= bounds[0]) & (x <= bounds[1])]
        self._quantiles.see(x)

    def finish_pass(self) -> Memory | None:
        low, high = self._given["Boundary_knots"] or (self._low, self._high)
        if not low < high:
            raise DataError(f"{self._key!r} needs two different values at least; remove it from the model", column=self._key)
        found = self._quantiles.finish_pass()
        if found is None:
            return None
        memory: Memory = {}
        settings = {k: v for k, v in self._given.items() if k not in ("df", "knots", "Boundary_knots")}
        settings |= {"knots": tuple(found.tolist()), "Boundary_knots": (low, high)}
        learn_or_apply(self._function, self._key, memory, [np.array([low, high])], settings)
        return memory


class Cubic:
    """For ``cr`` and ``cc``: knots by the different values; the centring constraint by the mean of the basis over the rows."""

    def __init__(self, function: str, key: str, given: dict[str, Any]) -> None:
        self._function, self._key, self._given = function, key, given
        self._pending: list[npt.NDArray[np.float64]] = []
        self._n_pending = 0
        self._values: npt.NDArray[np.float64] = np.zeros(0)
        self._memory: Memory = {}
        self._n, self._sums = 0, np.zeros(0)

    def see(self, x: Floats) -> None:
        if self._memory:
            free = self._memory | {"constraints": None}
            basis = learn_or_apply(self._function, self._key, free, [x], {})
            self._sums = self._sums + basis.sum(axis=0) if self._n else basis.sum(axis=0)
            self._n += len(x)
            return
        if self._given["knots"] is not None:
            self._values = np.unique(np.append(self._values, (x.min(), x.max())))[[0, -1]]
            return
        self._pending.append(pl.Series(x).unique().to_numpy())
        self._n_pending += len(self._pending[-1])
        if self._n_pending > max(1 << 18, len(self._values)):
            self._merge()

    def _merge(self) -> None:
        self._values = np.unique(np.concatenate([self._values, *self._pending]))
        self._pending, self._n_pending = [], 0
        if len(self._values) > _MOST_VALUES:
            raise DataError(
                f"{self._key!r} places its knots by the different values of its argument, and there are more than "
                f"{_MOST_VALUES} of them; give knots = c(...), use ns() or bs(), or fit data in memory",
                column=self._key,
                limit=_MOST_VALUES,
            )

    def finish_pass(self) -> Memory | None:
        if self._memory:
            constraint = self._sums / self._n
            return self._memory | {"constraints": constraint[None, :].tolist()}
        if self._pending:
            self._merge()
        memory: Memory = {}
        learn_or_apply(self._function, self._key, memory, [self._values], dict(self._given))
        if self._given["constraints"] != "center":
            return memory
        self._memory = memory
        return None
