"""Outcomes that the effects of levels tell apart: the likelihood keeps a positive limit as standard deviations grow for ever.

With fixed effects ``sigma gamma`` and random effects ``sigma b`` every probability tends to 0 or 1 as sigma grows, and the
likelihood to the probability that ``s_i (x_i'gamma + z_i'b) > 0`` in all rows, ``s_i`` being 1 for a success and -1 for a
failure. That is positive where some gamma and b satisfy all of these, which is one linear program (Konis 2007, with the random
effects among the columns). Then the likelihood need have no maximum, and approximations of the integral have optima of their
own. A level of both outcomes whose rows no column tells apart is enough to rule it out.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.matrices import fixed_matrix, random_matrix
from mixeff_fast.fit.separation import MARGIN, ROWS_AT_ONCE, linear_program, skipped_finding

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.schemas.diagnostics import Finding

    Float = NDArray[np.float64]

# standard deviations of the noise that a link stands for; cauchit's has none, and its scale is 1
NOISE = {"logit": math.pi / math.sqrt(3.0), "probit": 1.0, "cloglog": math.pi / math.sqrt(6.0), "cauchit": 1.0}
# standard deviations of random effects, in units of that noise, beyond which levels may have one outcome each
EXTREME_DEVIATION = 2.5
# entries of the columns of fixed and random effects beyond which the linear program is not solved
MOST_ENTRIES = 100_000


def extreme_deviation(link: str, singular: tuple[Float, ...]) -> bool:
    """Whether a random effect of a fit is so large that outcomes may be told apart by it; ``singular`` has the standard
    deviations of every term's principal directions."""
    return link in NOISE and any(float(values.max()) > EXTREME_DEVIATION * NOISE[link] for values in singular if len(values))


def _trials(model: CompiledModel) -> Float:
    trials = model.frame.trials
    return np.ones(model.frame.n) if trials is None else np.asarray(trials)


def levels_of_one_outcome(model: CompiledModel) -> dict[str, NDArray[np.bool_]]:
    """Which levels of each factor have successes only or failures only."""
    won, trials = np.asarray(model.frame.response), _trials(model)
    out = {}
    for factor in model.factors:
        codes = factor.group.codes
        some, lost = (np.bincount(codes, counts, factor.n_levels) > 0.0 for counts in (won, trials - won))
        out[factor.group.name] = some != lost
    return out


def _intercepts(model: CompiledModel) -> set[str]:
    """Factors with a random effect that is the same in every row of a level."""
    return {model.factors[block.factor].group.name for block in model.blocks if "(Intercept)" in block.names}


def _rows(model: CompiledModel, mixed: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Rows with trials, those of ``mixed`` levels of the first factor first."""
    codes = model.factors[0].group.codes
    order = np.lexsort((codes, ~mixed[codes]))
    return order[_trials(model)[order] > 0.0]


def _margin(model: CompiledModel, rows: NDArray[np.intp]) -> float:
    """The largest distance from a hyperplane that all of these rows can have at once, over columns of the size 1."""
    from scipy.sparse import csr_matrix, diags, hstack

    columns = hstack([csr_matrix(fixed_matrix(model)[rows]), random_matrix(model).tocsr()[rows]]).tocsc()
    size = np.asarray(abs(columns).max(axis=0).todense()).ravel()
    sign = np.where(np.asarray(model.frame.response)[rows] > 0.0, 1.0, -1.0)
    columns = diags(sign) @ columns[:, size > 0.0] @ diags(1.0 / size[size > 0.0])
    signed = hstack([columns, np.full((len(rows), 1), -1.0)]).tocsr()
    cost = np.zeros(signed.shape[1])
    cost[-1] = -1.0
    found = linear_program(cost, signed, 0.0, (-1.0, 1.0))
    return 0.0 if found is None else float(found[-1])


def conditional_separation(model: CompiledModel) -> tuple[bool, Finding | None]:
    """Whether fixed effects and those of levels together tell every success from every failure, and what is found.

    Parameters
    ----------
    model
        A compiled binomial model.

    Raises
    ------
    BackendError
        The linear program was not solved.
    """
    from mixeff_fast.schemas.diagnostics import Finding

    pure = levels_of_one_outcome(model)
    won = np.asarray(model.frame.response)
    n, separated = model.frame.n, False
    if not np.any((won > 0.0) & (won < _trials(model))):
        separated = any(bool(pure[group].all()) for group in _intercepts(model))
        rows = _rows(model, ~next(iter(pure.values())))
        if not separated and _margin(model, rows[:ROWS_AT_ONCE]) > MARGIN:
            width = len(model.fixed.names) + sum(block.width for block in model.blocks)
            if n * width > MOST_ENTRIES:
                return False, skipped_finding("too_large", n, width)
            separated = n <= ROWS_AT_ONCE or _margin(model, rows) > MARGIN
    if separated:
        return True, Finding(
            code="binomial_separation", severity="warning", stage="certification", affected_terms=tuple(pure),
            payload={"separation_kind": "complete_conditional", "reason": "conditional", "groups": list(pure), "n_separated": n,
                     "n_rows": n},
        )
    counts = {group: int(one.sum()) for group, one in pure.items()}
    if not any(counts.values()):
        return False, None
    group = max(counts, key=lambda name: counts[name])
    return False, Finding(
        code="support_note", severity="info", stage="certification", affected_terms=(group,),
        payload={"reason": "levels_of_one_outcome", "group": group, "n_one_outcome": counts[group],
                 "n_levels": len(pure[group])},
    )
