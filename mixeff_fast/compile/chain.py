"""The choice of the factors that are eliminated level by level."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mixeff_fast.compile.pairs import is_nested

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mixeff_fast.compile.pairs import Pairs


def choose_chain(pairs: Pairs, n_levels: Sequence[int], width: Sequence[int]) -> list[int]:
    """The chain of factors, each nested in the next, that has the most columns; finest first.

    A factor alone is a chain. Among equals, the one that starts from the factor with the most columns, then levels.
    """
    positions = range(len(n_levels))
    if len(n_levels) == 1:
        return [0]
    by_levels = sorted(positions, key=lambda k: (-n_levels[k], k))
    nested = {
        (fine, coarse): is_nested(pairs, n_levels, fine, coarse)
        for i, fine in enumerate(by_levels)
        for coarse in by_levels[i + 1 :]
    }
    best: list[int] = []
    most = (-1, -1, -1, 1)
    for leaf in positions:
        chain = [leaf]
        for k in by_levels:
            if k != leaf and all(nested[(c, k) if (c, k) in nested else (k, c)] for c in chain):
                chain.append(k)
        size = (sum(n_levels[k] * width[k] for k in chain), n_levels[leaf] * width[leaf], n_levels[leaf], -leaf)
        if size > most:
            best, most = chain, size
    return sorted(best, key=lambda k: (-n_levels[k], k))
