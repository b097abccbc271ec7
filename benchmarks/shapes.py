"""The models that every benchmark fits, with their data and goals: one `Shape` for each row of the tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import polars as pl

from benchmarks.generators import (
    balanced,
    bundled,
    cbpp,
    chain,
    crossed,
    crossed_slopes,
    generalized,
    generalized_crossed,
    generalized_nested,
    maximal,
    nested,
    scalar,
    slopes,
    students,
    verbagg,
)

SUITES = (
    "single_scalar", "single_vector", "nested", "crossed", "crossed_vector", "many_factors", "refit_many", "streaming",
    "cold_start", "glmm_single_scalar", "glmm_single_vector", "glmm_nested", "glmm_crossed", "glmm_agq", "glmm_profiled",
)

Start = Literal["warm", "cold", "first"]
Task = Literal["fit", "refit", "stream"]
Method = Literal["joint_laplace", "pirls_profiled"]


@dataclass(frozen=True, slots=True)
class Term:
    """Random effects of one grouping factor: an intercept and slopes with an unstructured covariance."""

    group: str
    slopes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"({' + '.join(self.slopes) or '1'} | {self.group})"


@dataclass(frozen=True, slots=True)
class Likelihood:
    """What makes a model a generalized one.

    Attributes
    ----------
    family, link
        In our spelling.
    trials, offset
        Columns with the trials of a proportion, and with what is added to the linear predictor; empty for none.
    method
        ``joint_laplace`` over fixed effects and covariances together; ``pirls_profiled`` takes the fixed effects from the
        penalized deviance.
    n_agq
        Quadrature nodes; 1 is Laplace's approximation.
    """

    family: str
    link: str
    trials: str = ""
    offset: str = ""
    method: Method = "joint_laplace"
    n_agq: int = 1

    @property
    def text(self) -> str:
        how = f"{self.n_agq} quadrature nodes" if self.n_agq > 1 else "Laplace"
        trials = f", trials in {self.trials}" if self.trials else ""
        profiled = ", fixed effects from the penalized deviance" if self.method == "pirls_profiled" else ""
        return f"{self.family.replace('_', ' ')} ({self.link}){trials}, {how}{profiled}"


@dataclass(frozen=True, slots=True)
class Goal:
    """What a row is to reach.

    Attributes
    ----------
    share
        Our time is at most this share of the fastest peer's, or of that of `peer`.
    seconds
        What that comes to on the machine the goals were set on; where there is no share, the goal itself.
    floor
        Our time is at most this many times that of the floor.
    over_data
        Bytes of memory over the data.
    peer
        The engine whose time the share is of, where that is not the fastest.
    """

    share: float | None = None
    seconds: float | None = None
    floor: float | None = None
    over_data: int | None = None
    peer: str = ""

    @property
    def by_clock(self) -> bool:
        """Seconds are the goal; peers may be faster."""
        return self.share is None and self.seconds is not None


@dataclass(frozen=True, slots=True)
class Shape:
    """A model with the data it is fitted to.

    Attributes
    ----------
    terms
        Those of nested factors (`nested`) go from the outermost in.
    rows
        Rows of the data at scale 1.
    start
        ``warm`` for fits within one process, ``cold`` for the first fit of a process, ``first`` for the first on a machine,
        with nothing compiled.
    task
        ``fit`` the data in memory, ``refit`` a prepared model to new responses, ``stream`` from a file to the fit.
    responses
        How many new responses make up one measurement of ``refit``.
    goal
        None asks only that no peer be faster.
    likelihood
        Of a generalized linear mixed model; None for a linear one.
    """

    key: str
    suite: str
    title: str
    response: str
    fixed: tuple[str, ...]
    terms: tuple[Term, ...]
    rows: int
    make: Callable[[float], pl.DataFrame]
    nested: bool = False
    start: Start = "warm"
    task: Task = "fit"
    responses: int = 0
    goal: Goal | None = None
    likelihood: Likelihood | None = None

    @property
    def formula(self) -> str:
        offset = [f"offset({self.likelihood.offset})"] if self.likelihood and self.likelihood.offset else []
        return f"{self.response} ~ {' + '.join([*self.fixed, *offset, *(term.text for term in self.terms)])}"

    @property
    def columns(self) -> tuple[str, ...]:
        slopes = (slope for term in self.terms for slope in term.slopes)
        more = (self.likelihood.trials, self.likelihood.offset) if self.likelihood else ()
        names = (self.response, *self.fixed, *filter(None, more), *slopes, *(term.group for term in self.terms))
        return tuple(dict.fromkeys(names))

    def data(self, scale: float = 1.0) -> pl.DataFrame:
        """The columns of the model; a scale below 1 gives fewer rows and levels, where the data are generated."""
        return self.make(scale).select(self.columns)


def intercepts(names: Iterable[str]) -> tuple[Term, ...]:
    """A random intercept for each grouping factor."""
    return tuple(Term(name) for name in names)


def _sleepstudy(key: str, suite: str, title: str, start: Start = "warm", task: Task = "fit", responses: int = 0,
                goal: Goal | None = None) -> Shape:
    return Shape(key, suite, title, "Reaction", ("Days",), (Term("Subject", ("Days",)),), 180,
                 partial(bundled, name="sleepstudy"), start=start, task=task, responses=responses, goal=goal)


def _insteval(key: str, suite: str, title: str, task: Task = "fit", responses: int = 0, goal: Goal | None = None) -> Shape:
    return Shape(key, suite, title, "y", ("service",), intercepts(("s", "d", "dept")), 73_421,
                 partial(bundled, name="InstEval"), task=task, responses=responses, goal=goal)


def _slopes(key: str, n: int, q: int, suite: str = "single_vector", title: str = "", task: Task = "fit",
            responses: int = 0, goal: Goal | None = None) -> Shape:
    title += f"x + (x | g), {n:,} rows, {q:,} groups"
    return Shape(key, suite, title, "y", ("x",), (Term("g", ("x",)),), n, partial(slopes, n=n, q=q), task=task,
                 responses=responses, goal=goal)


def _scalar(key: str, n: int, q: int) -> Shape:
    return Shape(key, "single_scalar", f"x + (1 | g), {n:,} rows, {q:,} groups", "y", ("x",), (Term("g"),), n,
                 partial(scalar, n=n, q=q))


def _single(key: str, family: str, link: str, n: int, q: int, slopes: tuple[str, ...] = (), suite: str = "glmm_single_scalar",
            n_agq: int = 1) -> Shape:
    """A generalized model of one grouping factor; with slopes and counts there is an exposure too."""
    offset = "exposure" if slopes and family == "poisson" else ""
    term = Term("g", slopes)
    name = {"binomial": "Bernoulli", "poisson": "Poisson", "gamma": "Gamma"}.get(family, family.replace("_", " "))
    title = f"{name}{f', {n_agq} nodes' * (n_agq > 1)}, x + {term.text}, {n:,} rows, {q:,} groups"
    make = partial(generalized, n=n, q=q, family=family, slopes=bool(slopes))
    return Shape(key, suite, title, "y", ("x",), (term,), n, make, likelihood=Likelihood(family, link, "", offset, n_agq=n_agq))


def _pair(key: str, link: str, n: int, qa: int, qb: int, goal: Goal | None = None) -> Shape:
    """A binary response to two crossed factors."""
    title = f"Bernoulli ({link}), x + (1 | a) + (1 | b), {n:,} rows, {qa:,} and {qb:,} levels"
    return Shape(key, "glmm_crossed", title, "y", ("x",), intercepts("ab"), n,
                 partial(generalized_crossed, n=n, qa=qa, qb=qb, link=link), goal=goal, likelihood=Likelihood("binomial", link))


def _verbagg(key: str, suite: str, method: Method = "joint_laplace", goal: Goal | None = None) -> Shape:
    title = f"VerbAgg{', profiled' * (method == 'pirls_profiled')}, Anger + Gender + btype + situ + (1 | id) + (1 | item), "
    return Shape(key, suite, f"{title}7,584 rows", "y",
                 ("Anger", "Gender", "btype", "situ"), intercepts(("id", "item")), 7_584, verbagg, goal=goal,
                 likelihood=Likelihood("binomial", "logit", method=method))


def _cbpp(key: str, suite: str, method: Method = "joint_laplace", n_agq: int = 1) -> Shape:
    how = ", profiled" if method == "pirls_profiled" else f", {n_agq} nodes" if n_agq > 1 else ""
    return Shape(key, suite, f"cbpp{how}, period + (1 | herd), 56 rows", "proportion", ("period",), intercepts(("herd",)), 56,
                 cbpp, likelihood=Likelihood("binomial", "logit", "size", method=method, n_agq=n_agq))


EFFECTS = ("s", "p", "c")

SHAPES: dict[str, Shape] = {
    shape.key: shape
    for shape in (
        _sleepstudy("1", "single_vector", "sleepstudy, Days + (Days | Subject), 180 rows", goal=Goal(seconds=1e-3)),
        _slopes("2", 100_000, 5_000, goal=Goal(0.5, 0.020)),
        _slopes("3", 1_000_000, 50_000, goal=Goal(0.35, 0.20)),
        _slopes("4", 10_000_000, 100_000, goal=Goal(0.27, 2.0, over_data=10**9)),
        _insteval("5", "crossed", "InstEval, service + (1 | s) + (1 | d) + (1 | dept), 73,421 rows", goal=Goal(0.45, 0.55)),
        Shape("6", "crossed", "x + (1 | a) + (1 | b), 300,000 rows, 10,000 and 2,000 levels", "y", ("x",),
              intercepts("ab"), 300_000, partial(crossed, n=300_000, qa=10_000, qb=2_000), goal=Goal(0.32, 1.5)),
        Shape("7", "crossed_vector", "maximal, 56 subjects and 32 items, 20 theta, singular, 1,792 rows", "y", EFFECTS,
              (Term("subject", EFFECTS), Term("item", EFFECTS)), 1_792, maximal, goal=Goal(0.10, 0.065)),
        _verbagg("8", "glmm_crossed", goal=Goal(0.67, 0.050)),
        Shape("9", "glmm_nested", "grouseticks, YEAR + cHEIGHT + (1 | INDEX) + (1 | BROOD) + (1 | LOCATION), 403 rows", "TICKS",
              ("YEAR", "cHEIGHT"), intercepts(("INDEX", "BROOD", "LOCATION")), 403, partial(bundled, name="grouseticks"),
              goal=Goal(0.4, 0.020, peer="glmm"), likelihood=Likelihood("poisson", "log")),
        _pair("10", "logit", 1_000_000, 20_000, 500, goal=Goal(0.25, 6.0, over_data=1_500_000_000)),
        _scalar("scalar", 100_000, 5_000),
        _scalar("scalar_few", 1_000_000, 20),
        Shape("nested", "nested", "x + three nested levels of 50, 5,000 and 50,000 groups, 200,000 rows", "y", ("x",),
              intercepts("abc"), 200_000, nested, nested=True),
        Shape("crossed_slopes", "crossed_vector", "x + (x | a) + (x | b), 30,000 rows, 500 and 200 levels", "y", ("x",),
              (Term("a", ("x",)), Term("b", ("x",))), 30_000, partial(crossed_slopes, n=30_000, qa=500, qb=200)),
        Shape("balanced", "many_factors", "8 balanced factors of 30 levels, 30,000 rows", "y", ("x",),
              intercepts(f"f{k}" for k in range(1, 9)), 30_000, partial(balanced, n=30_000)),
        Shape("students", "many_factors", "20,000 students, 1,000 teachers, 50 schools over 3 years, 60,000 rows", "y",
              ("x", "year"), intercepts(("student", "teacher", "school")), 60_000, students),
        Shape("chain", "many_factors", "a chain of 6 overlapping factors of 1,000 levels, 60,000 rows", "y", ("x",),
              intercepts(f"f{k}" for k in range(1, 7)), 60_000, partial(chain, n=60_000)),
        _sleepstudy("refit_small", "refit_many", "100 refits, sleepstudy, Days + (Days | Subject), 180 rows",
                    task="refit", responses=100),
        _slopes("refit_slopes", 100_000, 5_000, "refit_many", "5 refits, ", task="refit", responses=5),
        _insteval("refit_crossed", "refit_many", "3 refits, InstEval, service + (1 | s) + (1 | d) + (1 | dept), 73,421 rows",
                  task="refit", responses=3),
        _slopes("stream_1m", 1_000_000, 50_000, "streaming", "from a Parquet file, ", task="stream"),
        _slopes("stream_5m", 5_000_000, 50_000, "streaming", "from a Parquet file, ", task="stream", goal=Goal(floor=3.0)),
        _cbpp("cbpp", "glmm_single_scalar"),
        _single("bernoulli", "binomial", "logit", 100_000, 5_000),
        _single("poisson", "poisson", "log", 100_000, 5_000),
        _single("gamma", "gamma", "log", 100_000, 5_000),
        _single("negative_binomial", "negative_binomial", "log", 100_000, 5_000),
        _single("bernoulli_slopes", "binomial", "logit", 20_000, 500, ("x",), "glmm_single_vector"),
        _single("poisson_slopes", "poisson", "log", 20_000, 500, ("x",), "glmm_single_vector"),
        Shape("poisson_nested", "glmm_nested", "Poisson, x + three nested levels of 50, 1,000 and 10,000 groups, 40,000 rows",
              "y", ("x",), intercepts("abc"), 40_000, generalized_nested, nested=True, likelihood=Likelihood("poisson", "log")),
        _pair("bernoulli_crossed", "logit", 100_000, 2_000, 50),
        _pair("probit_crossed", "probit", 20_000, 500, 50),
        _cbpp("cbpp_agq", "glmm_agq", n_agq=9),
        _single("bernoulli_agq", "binomial", "logit", 20_000, 1_000, suite="glmm_agq", n_agq=9),
        _cbpp("cbpp_profiled", "glmm_profiled", "pirls_profiled"),
        _verbagg("verbagg_profiled", "glmm_profiled", "pirls_profiled"),
        _sleepstudy("13", "cold_start", "sleepstudy, first fit of a process, imports included", "cold",
                    goal=Goal(seconds=1.2)),
        _sleepstudy("14", "cold_start", "sleepstudy, first fit on a machine, nothing compiled", "first",
                    goal=Goal(seconds=10.0)),
    )
}


def of_suite(suite: str) -> list[Shape]:
    """The shapes of one suite, in the order of the tables."""
    return [shape for shape in SHAPES.values() if shape.suite == suite]
