"""The stages of an evaluation that concern the trunk, on several threads: one for a dense trunk, one for a sparse one.

Both keep to the order ``factor``, ``take`` (out of the border), ``solve``, ``score``, ``invert``, ``read``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.kernels import stages, supernodal, supernodal_inverse
from mixeff_fast.kernels.dense import SLICES, TILE
from mixeff_fast.kernels.structure import SparseTrunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.threads import Team
    from mixeff_fast.kernels.structure import CrossProduct, DenseTrunk, Plan, Scoring, Supernodes, ThetaMap, Workspace

    Float = NDArray[np.float64]

# supernodes are loaded in so many parts
PARTS = 16
# numbers in a panel from which it is worth several threads
SHARED_PANEL = 60_000


class DenseStages:
    """One matrix, in tiles."""

    def __init__(self, plan: Plan, cross: CrossProduct, work: Workspace, trunk: DenseTrunk, team: Team) -> None:
        self.plan, self.cross, self.work, self.trunk, self.team = plan, cross, work, trunk, team

    def factor(self, lam: Float) -> bool:
        """Load, take the chain out, and factor; False when a pivot is not positive."""
        rows, m = self.trunk.values.shape
        self.team.run(stages.receive, SLICES, self.plan, self.work, self.trunk)
        stages.load(self.plan, self.cross, lam, self.work, self.trunk)
        for j in range(_tiles(m)):
            if stages.factor_diagonal(self.trunk, j) != 0:
                return False
            below = _tiles(rows - min((j + 1) * TILE, m))
            self.team.run(stages.factor_rows, below, self.trunk, j)
            self.team.run(stages.update_rows, below, self.trunk, j)
        return True

    def take(self) -> float:
        """Take the factored trunk out of the border; returns its log-determinant."""
        return float(stages.take_trunk(self.plan, self.work, self.trunk))

    def solve(self) -> None:
        """Border and trunk of the solution."""
        stages.solve_top(self.plan, self.work, self.trunk)

    def back_solve(self) -> None:
        """The trunk's part of the solution, from whatever its border is."""
        stages.solve_trunk(self.plan, self.work, self.trunk)

    def score(self, theta_map: ThetaMap, scoring: Scoring) -> None:
        """The trunk's part of the average information."""
        stages.trunk_score(self.plan, self.work, self.trunk, theta_map, scoring)

    def invert(self) -> None:
        """Turn the factor into the selected inverse."""
        rows, m = self.trunk.values.shape
        for j in range(_tiles(m) - 1, -1, -1):
            j1 = min((j + 1) * TILE, m)
            self.team.run(stages.spread_rows, _tiles(rows - j1), self.trunk, j)
            self.team.run(stages.invert_rows, _tiles(m - j1) + 1, self.plan, self.work, self.trunk, j)
            stages.invert_diagonal(self.plan, self.trunk, j)

    def read(self, lam: Float, want_gradient: bool, panel: Float | None = None) -> None:
        """The trunk's diagonal blocks of the inverse, and its part of the gradient; also its panels, into ``panel``."""
        stages.read_trunk(self.plan, self.cross, lam, self.work, self.trunk, panel, want_gradient)


class SparseStages:
    """Supernodes: subtrees at the same time, then the rest, large panels in pieces."""

    def __init__(self, plan: Plan, cross: CrossProduct, work: Workspace, nodes: Supernodes, team: Team) -> None:
        self.plan, self.cross, self.work, self.team = plan, cross, work, team
        self.trunk = SparseTrunk(nodes, np.empty(int(nodes.ptr[-1])))
        self.scratch = [supernodal.supernode_work(nodes, plan.border) for _ in range(team.size)]
        widest = int(plan.width.max()) ** 2
        self.small = [(np.zeros(widest), np.zeros(widest)) for _ in range(team.size)]
        cuts = np.searchsorted(nodes.ptr, nodes.ptr[-1] * np.arange(PARTS + 1) / PARTS)
        self.parts = np.unique(np.append(cuts, len(nodes.parent)))
        self.failed = False

    def factor(self, lam: Float) -> bool:
        """Load, take the chain out, and factor; False when a pivot is not positive."""
        nodes, values = self.trunk
        plan, border = self.plan, self.plan.border
        self.failed = False

        def load(first: int, step: int) -> None:
            scratch = self.scratch[first]
            for i in range(first, len(self.parts) - 1, step):
                begin, end = self.parts[i], self.parts[i + 1]
                supernodal.load_supernodes(plan, nodes, self.cross, lam, values, scratch.place, *self.small[first], begin, end)
                supernodal.receive_supernodes(plan, nodes, self.work.lower_panel, values, scratch, begin, end)

        def factor_subtrees(first: int, step: int) -> None:
            for i in range(first, len(nodes.task_first), step):
                begin, end = nodes.task_first[i], nodes.task_last[i]
                if not supernodal.factor_supernodes(nodes, border, values, self.scratch[first], begin, end):
                    self.failed = True

        self.team.run(load, len(self.parts) - 1)
        self.team.run(factor_subtrees, len(nodes.task_first))
        return not self.failed and all(self._factor_one(s) for s in nodes.top)

    def _height(self, s: int) -> tuple[int, int]:
        nodes = self.trunk.nodes
        n = int(nodes.first[s + 1] - nodes.first[s])
        return n, n + int(nodes.row_ptr[s + 1] - nodes.row_ptr[s]) + self.plan.border

    def _factor_one(self, s: int) -> bool:
        nodes, values = self.trunk
        border = self.plan.border
        n, height = self._height(s)
        if n * height < SHARED_PANEL:
            return bool(supernodal.factor_supernodes(nodes, border, values, self.scratch[0], s, s + 1))
        pieces = range(0, height, supernodal.PIECE)

        def update(first: int, step: int) -> None:
            supernodal.place_rows(nodes, border, s, self.scratch[first].place)
            for low in pieces[first::step]:
                high = min(low + supernodal.PIECE, height)
                supernodal.update_rows(nodes, border, values, self.scratch[first], s, low, high)

        def solve(first: int, step: int) -> None:
            for low in pieces[first::step]:
                supernodal.solve_panel(nodes, values, s, max(low, n), min(low + supernodal.PIECE, height))

        self.team.run(update, len(pieces))
        if not supernodal.factor_diagonal(nodes, values, s):
            return False
        self.team.run(solve, len(pieces))
        return True

    def take(self) -> float:
        """Take the factored trunk out of the border; returns its log-determinant."""
        nodes, values = self.trunk
        supernodal.update_border(nodes, self.plan.border, values, self.work.border)
        return float(supernodal.log_determinant(nodes, values))

    def solve(self) -> None:
        """Border and trunk of the solution."""
        stages.solve_top(self.plan, self.work, None)
        self.back_solve()

    def back_solve(self) -> None:
        """The trunk's part of the solution, from whatever its border is."""
        nodes, values = self.trunk
        supernodal.back_solve(nodes, self.plan.border, values, self.work.solution, self.plan.trunk_start)

    def score(self, theta_map: ThetaMap, scoring: Scoring) -> None:
        """The trunk's part of the average information."""
        nodes, values = self.trunk
        stages.trunk_tangents(self.plan, self.work, theta_map, scoring)
        m, n = scoring.trunk.shape
        p = self.plan.border - 1
        right = np.concatenate([scoring.trunk.ravel(), np.zeros(p * n)])
        # the fixed effects' own rows are solved with those of the chain
        supernodal.half_solve(nodes, self.plan.border, values, np.eye(p + 1), right, n, self.scratch[0])
        scoring.trunk[...] = right[: m * n].reshape(m, n)
        scoring.fixed[0][:, :n] += right[m * n :].reshape(p, n)
        stages.trunk_products(scoring)

    def invert(self) -> None:
        """Turn the factor into the selected inverse."""
        nodes, values = self.trunk
        edge, border = self.work.inverse_border, self.plan.border
        for s in nodes.top[::-1]:
            self._invert_one(s)

        def invert_subtrees(first: int, step: int) -> None:
            for i in range(first, len(nodes.task_first), step):
                begin, end = nodes.task_first[i], nodes.task_last[i]
                supernodal_inverse.invert_supernodes(nodes, border, values, edge, self.scratch[first], begin, end)

        self.team.run(invert_subtrees, len(nodes.task_first))

    def _invert_one(self, s: int) -> None:
        nodes, values = self.trunk
        edge, border = self.work.inverse_border, self.plan.border
        n, height = self._height(s)
        if n * height < SHARED_PANEL:
            supernodal_inverse.invert_supernodes(nodes, border, values, edge, self.scratch[0], s, s + 1)
            return
        copy = self.scratch[0].copy
        supernodal_inverse.start_inverse(nodes, border, values, copy, s)
        strips = [0]
        while strips[-1] < height - n:
            strips.append(int(supernodal_inverse.next_strip(nodes, border, s, strips[-1])))

        def rows(first: int, step: int) -> None:
            for i in range(first, len(strips) - 1, step):
                supernodal_inverse.inverse_rows(nodes, border, values, edge, copy, self.scratch[first], s, strips[i],
                                                strips[i + 1])

        self.team.run(rows, len(strips) - 1)
        supernodal_inverse.finish_inverse(nodes, border, values, copy, s)

    def read(self, lam: Float, want_gradient: bool, panel: Float | None = None) -> None:
        """The trunk's diagonal blocks of the inverse, and its part of the gradient; also its panels, into ``panel``."""
        nodes, values = self.trunk
        work = self.work
        grad = work.chunk_grad[0] if want_gradient else np.zeros(0)
        supernodal_inverse.trunk_gradient(
            self.plan, nodes, self.cross, lam, values, self.scratch[0].place, work.inverse_diag, work.scratch_q[0],
            work.scratch_small[0], grad, panel, 0, len(nodes.parent),
        )


def _tiles(rows: int) -> int:
    return math.ceil(rows / TILE)
