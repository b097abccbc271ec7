"""What an engine of a generalized linear mixed model works in, and its saturated likelihood."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels import families, links
from mixeff_fast.kernels.laplace import Family
from mixeff_fast.kernels.laplace_run import Trail
from mixeff_fast.kernels.pirls import Modes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.families import Family as FamilyChoice
    from mixeff_fast.kernels.rows import Rows

    Float = NDArray[np.float64]

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


def new_trail(
    rows: Rows, family: Family, columns: int, lam_size: int, parametric: bool, whole: float, tolerance: float
) -> Trail:
    """What evaluations of a model with ``columns`` random and fixed effects together know of each other. Where the parameter is
    estimated, the saturated likelihood is of distinct responses, as far as prior weights do not tell rows apart."""
    y, trials, prior, scale, power = rows.y, rows.trials, rows.prior, 1.0, 0.0
    if parametric and not len(rows.prior):
        if family.code == families.NEGATIVE_BINOMIAL:
            y, counts = np.unique(rows.y, return_counts=True)
            trials, prior = rows.nothing, counts.astype(np.float64)
        else:
            exponent = POWERS[family.code]
            power = exponent * float(np.log(rows.y).sum()) if exponent else 0.0
            y, trials, scale = np.ones(1), rows.nothing, float(len(rows.y))
    return Trail(
        anchor=np.zeros(columns), anchor_lam=np.zeros(lam_size), factored=np.zeros(lam_size), value=np.full(1, np.inf),
        tolerance=tolerance, state=np.zeros(2, np.int64), saturated=np.zeros(2), y=y, trials=trials, prior=prior, scale=scale,
        power=power, estimated=int(parametric), whole=math.log(whole),
    )
