"""The models and the data that every benchmark uses: one `Shape` for each row of the tables.

Generated data are a function of the shape and the scale alone: every generator starts ``default_rng(1)`` anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mixeff_fast import datasets

SEED = 1
SUITES = (
    "single_scalar", "single_vector", "nested", "crossed", "crossed_vector", "many_factors", "cold_start",
)


@dataclass(frozen=True, slots=True)
class Term:
    """Random effects of one grouping factor: an intercept and slopes with an unstructured covariance."""

    group: str
    slopes: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        return f"({' + '.join(self.slopes) or '1'} | {self.group})"


@dataclass(frozen=True, slots=True)
class Shape:
    """A model with the data it is fitted to.

    `terms` of nested factors (`nested`) go from the outermost in. `start` is ``warm`` for fits within one process,
    ``cold`` for the first fit of a process, ``first`` for the first on a machine, with nothing compiled.
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
    start: str = "warm"

    @property
    def formula(self) -> str:
        return f"{self.response} ~ {' + '.join([*self.fixed, *(term.text for term in self.terms)])}"

    @property
    def columns(self) -> tuple[str, ...]:
        slopes = (slope for term in self.terms for slope in term.slopes)
        names = (self.response, *self.fixed, *slopes, *(term.group for term in self.terms))
        return tuple(dict.fromkeys(names))

    def data(self, scale: float = 1.0) -> pl.DataFrame:
        """The columns of the model; a scale below 1 gives fewer rows and levels, where the data are generated."""
        return self.make(scale).select(self.columns)


def _labels(codes: NDArray[np.int64]) -> pl.Series:
    return pl.Series(codes).cast(pl.String)


def _scaled(scale: float, *sizes: int) -> tuple[int, ...]:
    return tuple(max(2, round(size * scale)) for size in sizes)


def slopes(scale: float, n: int, q: int) -> pl.DataFrame:
    """``y ~ x + (x | g)``: intercepts of standard deviation 1, slopes of 0.5, noise 1."""
    n, q = _scaled(scale, n, q)
    rng = np.random.default_rng(SEED)
    g = rng.integers(0, q, n)
    x = rng.normal(size=n)
    intercept, slope = rng.normal(size=q), rng.normal(size=q) * 0.5
    y = 1 + 0.5 * x + intercept[g] + slope[g] * x + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "g": _labels(g)})


def scalar(scale: float, n: int, q: int) -> pl.DataFrame:
    """``y ~ x + (1 | g)``: intercepts and noise of standard deviation 1."""
    n, q = _scaled(scale, n, q)
    rng = np.random.default_rng(SEED)
    g = rng.integers(0, q, n)
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=q)[g] + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "g": _labels(g)})


def crossed(scale: float, n: int, qa: int, qb: int) -> pl.DataFrame:
    """``y ~ x + (1 | a) + (1 | b)``: standard deviations 1 and 0.5, noise 1."""
    n, qa, qb = _scaled(scale, n, qa, qb)
    rng = np.random.default_rng(SEED)
    a, b = rng.integers(0, qa, n), rng.integers(0, qb, n)
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=qa)[a] + rng.normal(size=qb)[b] * 0.5 + rng.normal(size=n)
    return pl.DataFrame({"y": y, "x": x, "a": _labels(a), "b": _labels(b)})


def crossed_slopes(scale: float, n: int, qa: int, qb: int) -> pl.DataFrame:
    """``y ~ x + (x | a) + (x | b)``: intercepts of 1 and 0.5, slopes of 0.5 and 0.3, noise 1."""
    n, qa, qb = _scaled(scale, n, qa, qb)
    rng = np.random.default_rng(SEED)
    a, b = rng.integers(0, qa, n), rng.integers(0, qb, n)
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=n)
    for codes, q, sds in ((a, qa, (1.0, 0.5)), (b, qb, (0.5, 0.3))):
        effects = rng.normal(size=(q, 2)) * sds
        y += effects[codes, 0] + effects[codes, 1] * x
    return pl.DataFrame({"y": y, "x": x, "a": _labels(a), "b": _labels(b)})


def maximal(scale: float, subjects: int = 56, items: int = 32) -> pl.DataFrame:
    """Every subject meets every item once, in one of eight conditions; both covariances (4 by 4) have rank 2.

    As small as it can usefully be: the same whatever the scale.
    """
    rng = np.random.default_rng(SEED)
    subject, item = np.repeat(np.arange(subjects), items), np.tile(np.arange(items), subjects)
    condition = (subject + item) % 8
    design = np.column_stack([np.ones(subject.size), *(2.0 * (condition >> bit & 1) - 1.0 for bit in range(3))])
    y = design @ np.array([1.0, 0.5, -0.3, 0.2]) + rng.normal(size=subject.size)
    for codes, q in ((subject, subjects), (item, items)):
        loadings = rng.normal(size=(4, 2)) * np.array([1.0, 0.3, 0.3, 0.3])[:, None]
        y += np.einsum("ij,ij->i", design, (rng.normal(size=(q, 2)) @ loadings.T)[codes])
    effects = {name: design[:, column] for column, name in enumerate("spc", start=1)}
    return pl.DataFrame({"y": y, **effects, "subject": _labels(subject), "item": _labels(item)})


def nested(scale: float, inner: int = 50_000) -> pl.DataFrame:
    """Four rows in each inner group, ten of these in each outer group, 100 of those in each group at the top."""
    inner, outer, top = _scaled(scale, inner, inner // 10, inner // 1000)
    rng = np.random.default_rng(SEED)
    c = np.repeat(np.arange(inner), 4)
    b = c * outer // inner
    a = b * top // outer
    x = rng.normal(size=c.size)
    y = 1 + 0.5 * x + rng.normal(size=c.size)
    for codes, sd in ((a, 0.5), (b, 0.7), (c, 1.0)):
        y += rng.normal(size=int(codes[-1]) + 1)[codes] * sd
    return pl.DataFrame({"y": y, "x": x, "a": _labels(a), "b": _labels(b), "c": _labels(c)})


def balanced(scale: float, n: int, factors: int = 8, levels: int = 30) -> pl.DataFrame:
    """Factors crossed at random, every level of each met equally often."""
    (n,) = _scaled(scale, n)
    rng = np.random.default_rng(SEED)
    codes = {f"f{k}": rng.permutation(np.arange(n) % levels) for k in range(1, factors + 1)}
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=n)
    for column in codes.values():
        y += rng.normal(size=levels)[column] * 0.5
    return pl.DataFrame({"y": y, "x": x, **{name: _labels(column) for name, column in codes.items()}})


def students(scale: float, students: int = 20_000, schools: int = 50, years: int = 3) -> pl.DataFrame:
    """Students over years; in each year a tenth move to another school; a teacher of 20 at the school each year."""
    students, schools = _scaled(scale, students, schools)
    rng = np.random.default_rng(SEED)
    at = rng.integers(0, schools, students)
    places = [at]
    for _ in range(1, years):
        at = np.where(rng.random(students) < 0.1, rng.integers(0, schools, students), at)
        places.append(at)
    year = np.repeat(np.arange(float(years)), students)
    student, school = np.tile(np.arange(students), years), np.concatenate(places)
    teacher = school * 20 + rng.integers(0, 20, school.size)
    x = rng.normal(size=school.size)
    y = 1 + 0.5 * x + 0.3 * year + rng.normal(size=school.size)
    for codes, q, sd in ((student, students, 1.0), (teacher, schools * 20, 0.5), (school, schools, 0.3)):
        y += rng.normal(size=q)[codes] * sd
    groups = {"student": _labels(student), "teacher": _labels(teacher), "school": _labels(school)}
    return pl.DataFrame({"y": y, "x": x, "year": year, **groups})


def chain(scale: float, n: int, factors: int = 6, width: int = 60) -> pl.DataFrame:
    """Windows of rows, shifted by a fraction of their width from factor to factor: each level meets only neighbours."""
    (n,) = _scaled(scale, n)
    rng = np.random.default_rng(SEED)
    row = np.arange(n)
    codes = {f"f{k + 1}": (row + k * width // factors) // width for k in range(factors)}
    x = rng.normal(size=n)
    y = 1 + 0.5 * x + rng.normal(size=n)
    for column in codes.values():
        y += rng.normal(size=int(column[-1]) + 1)[column] * 0.5
    return pl.DataFrame({"y": y, "x": x, **{name: _labels(column) for name, column in codes.items()}})


def bundled(scale: float, name: str) -> pl.DataFrame:
    """A data set of the package, whole whatever the scale."""
    return datasets.load(name)


def _sleepstudy(key: str, suite: str, title: str, start: str = "warm") -> Shape:
    return Shape(key, suite, title, "Reaction", ("Days",), (Term("Subject", ("Days",)),), 180,
                 partial(bundled, name="sleepstudy"), start=start)


def _slopes(key: str, n: int, q: int) -> Shape:
    return Shape(key, "single_vector", f"x + (x | g), {n:,} rows, {q:,} groups", "y", ("x",), (Term("g", ("x",)),), n,
                 partial(slopes, n=n, q=q))


def _scalar(key: str, n: int, q: int) -> Shape:
    return Shape(key, "single_scalar", f"x + (1 | g), {n:,} rows, {q:,} groups", "y", ("x",), (Term("g"),), n,
                 partial(scalar, n=n, q=q))


def _intercepts(names: Iterable[str]) -> tuple[Term, ...]:
    return tuple(Term(name) for name in names)


EFFECTS = ("s", "p", "c")

SHAPES: dict[str, Shape] = {
    shape.key: shape
    for shape in (
        _sleepstudy("1", "single_vector", "sleepstudy, Days + (Days | Subject), 180 rows"),
        _slopes("2", 100_000, 5_000),
        _slopes("3", 1_000_000, 50_000),
        _slopes("4", 10_000_000, 100_000),
        Shape("5", "crossed", "InstEval, service + (1 | s) + (1 | d) + (1 | dept), 73,421 rows", "y", ("service",),
              _intercepts(("s", "d", "dept")), 73_421, partial(bundled, name="InstEval")),
        Shape("6", "crossed", "x + (1 | a) + (1 | b), 300,000 rows, 10,000 and 2,000 levels", "y", ("x",),
              _intercepts("ab"), 300_000, partial(crossed, n=300_000, qa=10_000, qb=2_000)),
        Shape("7", "crossed_vector", "maximal, 56 subjects and 32 items, 20 theta, singular, 1,792 rows", "y", EFFECTS,
              (Term("subject", EFFECTS), Term("item", EFFECTS)), 1_792, maximal),
        _scalar("scalar", 100_000, 5_000),
        _scalar("scalar_few", 1_000_000, 20),
        Shape("nested", "nested", "x + three nested levels of 50, 5,000 and 50,000 groups, 200,000 rows", "y", ("x",),
              _intercepts("abc"), 200_000, nested, nested=True),
        Shape("crossed_slopes", "crossed_vector", "x + (x | a) + (x | b), 30,000 rows, 500 and 200 levels", "y", ("x",),
              (Term("a", ("x",)), Term("b", ("x",))), 30_000, partial(crossed_slopes, n=30_000, qa=500, qb=200)),
        Shape("balanced", "many_factors", "8 balanced factors of 30 levels, 30,000 rows", "y", ("x",),
              _intercepts(f"f{k}" for k in range(1, 9)), 30_000, partial(balanced, n=30_000)),
        Shape("students", "many_factors", "20,000 students, 1,000 teachers, 50 schools over 3 years, 60,000 rows", "y",
              ("x", "year"), _intercepts(("student", "teacher", "school")), 60_000, students),
        Shape("chain", "many_factors", "a chain of 6 overlapping factors of 1,000 levels, 60,000 rows", "y", ("x",),
              _intercepts(f"f{k}" for k in range(1, 7)), 60_000, partial(chain, n=60_000)),
        _sleepstudy("13", "cold_start", "sleepstudy, first fit of a process, imports included", "cold"),
        _sleepstudy("14", "cold_start", "sleepstudy, first fit on a machine, nothing compiled", "first"),
    )
}


def of_suite(suite: str) -> list[Shape]:
    """The shapes of one suite, in the order of the tables."""
    return [shape for shape in SHAPES.values() if shape.suite == suite]
