"""How the trunk is factored: the choice between one dense matrix and supernodes, by predicted time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from mixeff_fast.compile.chain import choose_chain
from mixeff_fast.compile.trunk import (
    SMALL_TRUNK,
    Symbolic,
    clique_graph,
    dense_flops,
    dense_seconds,
    is_worth_ordering,
    stored_numbers,
    symbolic,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mixeff_fast.compile.pairs import Pairs

TrunkKind = Literal["none", "dense", "sparse"]
TrunkRequest = Literal["auto", "dense", "sparse"]

# How many times faster a sparse trunk must be expected to be: predictions are rough, and the dense one is simpler to share
# between threads.
_MARGIN = 1.5
_FASTEST = "least predicted time"
_CROWDED = "most levels meet many others"


@dataclass(frozen=True, slots=True)
class Alternative:
    """A way to factor the trunk that was considered.

    ``chain`` are the positions of the factors eliminated before it. ``flops`` (of one factorization), ``inverse_flops`` and
    ``bytes`` are those of the trunk alone, None where the ordering was given up.
    """

    name: str
    trunk: TrunkKind
    chain: tuple[int, ...]
    flops: float | None
    inverse_flops: float | None
    bytes: int | None
    chosen: bool
    why: str


@dataclass(frozen=True, slots=True)
class Choice:
    """Factors eliminated level by level, the others, and the sparse trunk if that is what these make."""

    chain: list[int]
    rest: list[int]
    sparse: Symbolic | None
    alternatives: tuple[Alternative, ...]

    @property
    def kind(self) -> TrunkKind:
        if not self.rest:
            return "none"
        return "dense" if self.sparse is None else "sparse"


def choose(
    pairs: Pairs, n_levels: Sequence[int], width: Sequence[int], border: int, request: TrunkRequest
) -> Choice:
    """Chain and trunk of a model of several factors.

    A sparse trunk may also take the coarser factors of the chain: a level of these connects all that it meets.
    """
    chain = choose_chain(pairs, n_levels, width)
    if len(chain) == len(n_levels):
        return Choice(chain, [], None, ())
    rest = _others(chain, n_levels, width)
    columns = sum(n_levels[k] * width[k] for k in rest)
    numbers = (columns + border) ** 2
    dense = Alternative("dense", "dense", tuple(chain), *dense_flops(columns, border), 8 * numbers, True, "")
    if request == "dense":
        return Choice(chain, rest, None, (replace(dense, why="asked for"),))
    if request == "auto" and columns <= SMALL_TRUNK:
        return Choice(chain, rest, None, (replace(dense, why=f"no more than {SMALL_TRUNK} columns"),))
    slowest = dense_seconds(columns, border)
    limit = slowest / _MARGIN if request == "auto" else math.inf
    tried, best = _sparse_trunks(pairs, n_levels, width, border, chain, limit)
    if best is None:
        why = _CROWDED if all(other.why == _CROWDED for other in tried) else _FASTEST
        return Choice(chain, rest, None, (replace(dense, why=why), *tried))
    passed = replace(dense, chosen=False, why=f"predicted to take {slowest / best.seconds:.2g} times as long")
    own = next(other.chain for other in tried if other.chosen)
    return Choice(list(own), list(best.graph.factors), best, (passed, *tried))


def _sparse_trunks(
    pairs: Pairs, n_levels: Sequence[int], width: Sequence[int], border: int, chain: Sequence[int], limit: float
) -> tuple[list[Alternative], Symbolic | None]:
    """The sparse trunks behind the chain and its beginnings, and the fastest of those under the limit."""
    best: Symbolic | None = None
    found: list[tuple[Alternative, Symbolic | None]] = []
    for length in range(len(chain), 0, -1):
        own = tuple(chain[:length])
        graph = clique_graph(pairs, n_levels, width, own[-1], _others(own, n_levels, width))
        ordered = limit == math.inf or is_worth_ordering(graph, border)
        result = symbolic(graph, border, limit) if ordered else None
        name = "sparse" if length == len(chain) else f"sparse, chain of {length}"
        if result is None:
            why = "sure to take longer" if ordered else _CROWDED
            found.append((Alternative(name, "sparse", own, None, None, None, False, why), None))
            continue
        best, limit = result, result.seconds
        numbers = stored_numbers(result.supernodes, border)
        found.append((Alternative(name, "sparse", own, result.flops, result.inverse_flops, 8 * numbers, False, ""), result))
    out = []
    for record, result in found:
        if result is None:
            out.append(record)
        elif result is best:
            out.append(replace(record, chosen=True, why=_FASTEST))
        else:
            out.append(replace(record, why="another sparse trunk takes less time"))
    return out, best


def _others(chain: Sequence[int], n_levels: Sequence[int], width: Sequence[int]) -> list[int]:
    return sorted((k for k in range(len(n_levels)) if k not in chain), key=lambda k: (-n_levels[k] * width[k], k))
