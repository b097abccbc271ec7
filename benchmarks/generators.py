"""The data of the benchmarks: a function for each kind of design.

Data are a function of the arguments alone: every generator starts ``default_rng(1)`` anew.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from mixeff_fast import datasets

SEED = 1


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


def factorial(scale: float, n: int = 1_000, groups: int = 40) -> pl.DataFrame:
    """Two factors of three and four levels, in groups that have unequal numbers of rows in their cells."""
    n, groups = _scaled(scale, n, groups)
    rng = np.random.default_rng(SEED)
    f = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    h = rng.choice(4, n, p=[0.4, 0.3, 0.2, 0.1])
    g = np.minimum(rng.geometric(min(0.5, 3.0 / groups), n) - 1, groups - 1)
    y = 1 + 0.4 * f - 0.2 * h + 0.3 * (f == 2) * (h == 1) + rng.normal(size=groups)[g] + rng.normal(size=n)
    return pl.DataFrame({"y": y, "f": _labels(f), "h": _labels(h), "g": _labels(g)})


def drawn(rng: np.random.Generator, family: str, eta: NDArray[np.float64]) -> NDArray[np.float64]:
    """Responses with linear predictors `eta`; `family` is a family with a log link, or the link of a binary response."""
    if family == "logit":
        return (rng.random(eta.size) < 1 / (1 + np.exp(-eta))).astype(float)
    if family == "probit":
        return (rng.normal(size=eta.size) < eta).astype(float)
    mean = np.exp(eta)
    if family == "gamma":
        return rng.gamma(2.0, mean / 2.0)
    if family == "negative_binomial":
        mean = mean * rng.gamma(1.5, 1 / 1.5, eta.size)
    return rng.poisson(mean).astype(float)


def generalized(scale: float, n: int, q: int, family: str, slopes: bool = False) -> pl.DataFrame:
    """One grouping factor: intercepts of standard deviation 0.8 and, where asked for, slopes of 0.4.

    Counts with slopes have an exposure, whose logarithm is in the linear predictor.
    """
    n, q = _scaled(scale, n, q)
    rng = np.random.default_rng(SEED)
    g = rng.integers(0, q, n)
    x = rng.normal(size=n)
    eta = 0.3 * x + (rng.normal(size=q) * 0.8)[g]
    columns: dict[str, NDArray[np.float64]] = {"x": x}
    if slopes:
        eta += (rng.normal(size=q) * 0.4)[g] * x
    if slopes and family == "poisson":
        columns["exposure"] = rng.normal(size=n) * 0.3
        eta += columns["exposure"]
    y = drawn(rng, "logit" if family == "binomial" else family, eta)
    return pl.DataFrame({"y": y, **columns, "g": _labels(g)})


def generalized_crossed(scale: float, n: int, qa: int, qb: int, link: str) -> pl.DataFrame:
    """A binary response to two crossed factors: standard deviations 0.8 and 0.5."""
    n, qa, qb = _scaled(scale, n, qa, qb)
    rng = np.random.default_rng(SEED)
    a, b = rng.integers(0, qa, n), rng.integers(0, qb, n)
    x = rng.normal(size=n)
    eta = -0.5 + 0.3 * x + (rng.normal(size=qa) * 0.8)[a] + (rng.normal(size=qb) * 0.5)[b]
    return pl.DataFrame({"y": drawn(rng, link, eta), "x": x, "a": _labels(a), "b": _labels(b)})


def generalized_nested(scale: float, inner: int = 10_000) -> pl.DataFrame:
    """Counts: four rows in each inner group, ten of these in each outer group, 20 of those in each group at the top."""
    inner, outer, top = _scaled(scale, inner, inner // 10, inner // 200)
    rng = np.random.default_rng(SEED)
    c = np.repeat(np.arange(inner), 4)
    b = c * outer // inner
    a = b * top // outer
    x = rng.normal(size=c.size)
    eta = 0.5 + 0.3 * x
    for codes, sd in ((a, 0.3), (b, 0.4), (c, 0.5)):
        eta += rng.normal(size=int(codes[-1]) + 1)[codes] * sd
    return pl.DataFrame({"y": drawn(rng, "poisson", eta), "x": x, "a": _labels(a), "b": _labels(b), "c": _labels(c)})


def verbagg(scale: float) -> pl.DataFrame:
    """The bundled data, whole whatever the scale, with a number for the binary response."""
    return datasets.load("VerbAgg").with_columns(y=(pl.col("r2").cast(pl.String) == "Y").cast(pl.Float64))


def cbpp(scale: float) -> pl.DataFrame:
    """The bundled data, whole whatever the scale, with proportions for the successes."""
    return datasets.load("cbpp").with_columns(proportion=pl.col("incidence") / pl.col("size"))


def bundled(scale: float, name: str) -> pl.DataFrame:
    """A data set of the package, whole whatever the scale."""
    return datasets.load(name)


def many_slopes(scale: float, n: int, q: int, columns: int, slopes: int) -> pl.DataFrame:
    """``y ~ x1 + … + (x1 + … | g)``: intercepts of standard deviation 1, slopes of 0.5 on the first columns, noise 1."""
    n, q = _scaled(scale, n, q)
    rng = np.random.default_rng(SEED)
    g = rng.integers(0, q, n)
    design = np.column_stack([np.ones(n), rng.normal(size=(n, columns))])
    effects = rng.normal(size=(q, slopes + 1)) * np.array([1.0, *[0.5] * slopes])
    varying = np.einsum("ij,ij->i", design[:, : slopes + 1], effects[g])
    y = design @ np.array([1.0, *[0.5] * columns]) + varying + rng.normal(size=n)
    named = {f"x{k}": design[:, k] for k in range(1, columns + 1)}
    return pl.DataFrame({"y": y, **named, "g": _labels(g)})


def new_responses(y: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Responses to refit a model to: the old one with noise of half its standard deviation added, shape (times, n)."""
    noise = np.random.default_rng(SEED).normal(size=(times, y.size)) * (0.5 * float(y.std()))
    return np.add(y, noise)
