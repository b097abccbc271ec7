"""What an engine of a generalized linear mixed model works in, and its saturated likelihood."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels import families, links, working
from mixeff_fast.kernels.laplace import Family
from mixeff_fast.kernels.pirls import Modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.families import Family as FamilyChoice
    from mixeff_fast.kernels.rows import Rows

    Float = NDArray[np.float64]
    Distinct = tuple[Float, Float, float]

# families whose weights in the criterion are Fisher's, as lme4 has them; for the others they are the observed ones
FISHER = ("binomial", "poisson")
# powers of the response in the saturated likelihoods of families with a dispersion
POWERS = {families.GAMMA: 1.0, families.INVERSE_GAUSSIAN: 1.5, families.GAUSSIAN: 0.0}
DISPERSED = tuple(POWERS)


def family_codes(choice: FamilyChoice) -> Family:
    """The kernels' codes of a family and its link."""
    strict = choice.name not in FISHER
    return Family(
        code=int(getattr(families, choice.name.upper())), link=int(getattr(links, choice.link.upper())), strict=int(strict),
        canonical=int(strict or choice.canonical),
    )


def new_modes(columns: int, n: int, n_chunks: int, width: int, family: Family, parametric: bool) -> Modes:
    """Arrays for ``columns`` random and fixed effects together."""
    vectors = np.zeros((7, columns))
    per_row = np.zeros((6, n))
    extra = n if parametric else 0
    return Modes(
        u=vectors[0], trial=vectors[1], step=vectors[2], pull=vectors[3], sums=vectors[4], effects=vectors[5],
        earlier=vectors[6], eta=per_row[0], score=per_row[1], weight=per_row[2],
        fisher=np.zeros(n if family.strict else 0), observed=per_row[3], slope=per_row[4], leverage=per_row[5],
        parameter_score=np.zeros(extra), parameter_weight=np.zeros(extra), deviance=np.zeros(n_chunks),
        scaled=np.zeros((n_chunks, width + 16)), real=np.zeros(10), counts=np.zeros(13, np.int64),
    )


def distinct(rows: Rows, family: Family) -> Distinct | None:
    """What the saturated likelihood needs of the responses, where prior weights do not tell rows apart: their distinct values
    and how often there are, and, for families with a dispersion, the sum of the logarithm of their power."""
    if len(rows.prior):
        return None
    if family.code == families.NEGATIVE_BINOMIAL:
        y, counts = np.unique(rows.y, return_counts=True)
        return y, counts.astype(np.float64), 0.0
    power = POWERS[family.code]
    return rows.nothing, rows.nothing, power * float(np.log(rows.y).sum()) if power else 0.0


def saturated(rows: Rows, family: Family, parameter: float, n: int, distinct: Distinct | None) -> tuple[float, float]:
    """The saturated log-likelihood and its slope in the logarithm of the family's parameter."""
    code = family.code
    if distinct is None:
        total, slope = working.saturated(code, parameter, rows.y, rows.trials, rows.prior, 0, n)
        return float(total), float(slope)
    y, counts, power = distinct
    if code == families.NEGATIVE_BINOMIAL:
        total, slope = working.saturated(code, parameter, y, rows.nothing, counts, 0, len(y))
        return float(total), float(slope)
    total, slope = working.saturated(code, parameter, np.ones(1), rows.nothing, rows.nothing, 0, 1)
    return float(n * total - power), float(n * slope)
