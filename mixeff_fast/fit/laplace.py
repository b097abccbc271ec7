"""The engine of one generalized linear mixed model: its rows, and the Laplace deviance at any point.

A point is one vector: each factor's Lambda in standardized units, row-major, one after another; then the
standardized fixed effects, unless they are profiled; then the logarithm of the family's parameter, if that is estimated.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from mixeff_fast.compile import check_saturation
from mixeff_fast.fit import laplace_staged
from mixeff_fast.fit.assemble import assemble
from mixeff_fast.fit.cones import slack
from mixeff_fast.fit.coordinates import Coordinates
from mixeff_fast.fit.crossproduct import accumulate
from mixeff_fast.fit.engine import COLLAPSED, SMALL_FLOPS, check_memory, new_stages
from mixeff_fast.fit.glmm_rows import new_rows
from mixeff_fast.fit.glmm_workspace import DISPERSED, family_codes, new_modes, new_trail
from mixeff_fast.fit.search import START_FLOOR, raised
from mixeff_fast.fit.standardize import standardize
from mixeff_fast.fit.threads import Team
from mixeff_fast.fit.workspace import n_chunks, new_path, new_scoring, new_search, new_trunk, new_workspace
from mixeff_fast.kernels import families, laplace, laplace_run, laplace_search, optimizer, pirls, stages
from mixeff_fast.kernels.laplace_run import BORDERED, LOG_RANGE, ROUNDING, TIGHT
from mixeff_fast.kernels.laplace_search import History
from mixeff_fast.kernels.optimizer import ACCEPTED, EVALUATE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.certificate import Certificate
    from mixeff_fast.fit.control import Control
    from mixeff_fast.vocabulary import Limit

    Float = NDArray[np.float64]
    VcovRoute = Literal["observed_information", "working_hessian", "unavailable"]

# models of fewer rows, whose factorization takes fewer flops, run wholly compiled, on one thread
SMALL_ROWS = 20_000
# secants that improve a search's model of the Hessian
SECANTS = 8
# an old factorization serves as long as the decrement falls to this share: less where a new one costs no more than a step, more
# where Fisher's weights are not the observed ones, whose own factorization does not make it fall faster
STALE, STALE_CHEAP, STALE_SCORING = 0.02, 1e-4, 0.2
# nanoseconds that a flop of a factorization, a row's part in a cross-product and its part in an inner step take, about
FLOP, CROSS_ROW, PASS_ROW = 0.4, 8.0, 20.0
# Standard errors come from differences of gradients, and are to be within 1e-6 whatever the units. Over the length of a
# standard error they change the less the more levels there are, these being FEW_LEVELS: so much longer may the steps be, beside
# the square root of the rows; so much further off may the point be, as a Newton decrement; and so much, by the square of the
# steps, may the inner iterations leave, per row, but never more than LEAST_EXACT
FEW_LEVELS = 10.0
DIFFERENCE, SHARP, EXACT, LEAST_EXACT = 1.5e-7, 2e-12, 2.5e-27, 1e-20
# links on whose scale a standard deviation of 1 is large
UNIT_LINKS = ("logit", "probit", "cloglog", "cauchit", "log")
# a standard error on that scale that only estimates that run to infinity have
RUNAWAY_ERROR = 1000.0
# a weight of rows that such estimates take to 0
VANISHED = 1e-4
# second derivative in the logarithm of the family's parameter below which it may have run to its limit, and by how much it is
# moved to see whether the criterion changes
WEAK_PARAMETER = 0.1
FURTHER = math.log(10.0)
# how much the criterion may rise over that for a dispersion near zero, where it has lost digits
DISPERSION_RISE = 1e-4

_NO_POINTS = np.empty((1, 0))


class LaplaceEngine(Coordinates):
    """Owns the arrays of a model. Not safe for use from two threads at once: the workspace is shared."""

    # points of a quadrature rule per dimension, and nodes per level
    n_agq = nodes = 1

    def __init__(self, model: CompiledModel, control: Control, joint: bool = False) -> None:
        """``joint`` profiles the fixed effects: they minimize the penalized deviance together with the random effects."""
        assert model.family is not None
        check_saturation(model)
        check_memory(model, control)
        self.model = model
        self.team = Team(control.threads)
        self.n = model.frame.n
        self.joint = joint
        # weights are those of the modes: the rows are multiplied with each other later, again and again
        assembled = assemble(model, standardize(model), self.team, partial(accumulate, levels_apart=False))
        standard = replace(assembled.standard, y_shift=0.0, y_scale=1.0, root_weight=1.0)
        self.assembled = replace(assembled, standard=standard)
        for array in (assembled.cross.diag, assembled.cross.panel, assembled.cross.border):
            array[...] = 0.0
        self.rank = len(assembled.kept)
        self.family = family_codes(model.family)
        self.parametric = model.family.estimates_parameter
        self.rows = new_rows(model, self.assembled)
        plan = model.plan
        self.n_chunks = n_chunks(plan)
        self.work = new_workspace(plan, self.assembled, self.n_chunks)
        self.chain, self.trunk = new_trunk(plan, self.assembled)
        self.stages = new_stages(plan, self.assembled, self.work, self.trunk, self.team)
        self.kept = None if self.stages is None else np.empty_like(self.stages.trunk.values)
        self.panel = np.zeros(len(assembled.cross.panel))
        self.theta_map = self.new_theta_map()
        self.scoring = new_scoring(model, self.assembled, self.work)
        self.q = plan.trunk_start + plan.trunk_size
        self.modes = new_modes(self.q + self.rank, self.n, len(self.rows.chunk) - 1, len(self.rows.z), self.family,
                               self.parametric)
        # natural size of the family's parameter
        self.whole = self._whole()
        levels = max(1.0, min(factor.n_levels for factor in model.factors) / FEW_LEVELS)
        self.one_sided_step, self.sharp_decrement = DIFFERENCE * math.sqrt(levels), SHARP * levels
        self.trail = new_trail(self.rows, self.family, self.q + self.rank, self.assembled.lam_size, self.parametric, self.whole,
                               min(EXACT * self.n * levels, LEAST_EXACT))
        self.n_beta = 0 if joint else self.rank
        self.n_extra = self.n_beta + int(self.parametric)
        self.search = new_search(model.n_theta + self.n_extra)
        self.inner = new_search(model.n_theta)
        self.path = new_path(self.assembled.lam_size + self.n_extra)
        size = len(self.path.lam)
        self.history = History(np.zeros((SECANTS + 1, size)), np.zeros((SECANTS + 1, size)), np.zeros(1, np.int64))
        self.lam_grad = np.zeros(self.assembled.lam_size)
        self.extra_hessian = np.zeros((self.n_extra, self.n_extra))
        self.spares_evaluations = False
        self.is_compiled = plan.supernodes is None and self.n < SMALL_ROWS and plan.flops < SMALL_FLOPS
        self.value = math.inf
        self.at: Float | None = None
        self.is_bordered = False
        known = model.family.theta
        self.modes.real[pirls.PARAMETER] = 1.0 if known is None else known
        work_of_factor = plan.flops * FLOP + self.n * CROSS_ROW
        work_of_step = 2.0 * plan.panel_size * FLOP + self.n * PASS_ROW
        stale = STALE if work_of_factor > work_of_step else STALE_CHEAP
        self.modes.real[pirls.CONTRACTION] = stale if self.family.canonical else STALE_SCORING
        self.modes.real[pirls.TOLERANCE] = self.trail.tolerance
        self.last: tuple[Float, float, Float] | None = None
        laplace_run.saturate(self.family, self.parameter, self.trail)

    @property
    def parameter(self) -> float:
        """Theta of the negative binomial, or the dispersion."""
        return float(self.modes.real[pirls.PARAMETER])

    def set_parameter(self, value: float) -> None:
        """Of the family."""
        if value != self.parameter:
            self.modes.real[pirls.PARAMETER] = value
            laplace_run.saturate(self.family, value, self.trail)

    @property
    def saturated(self) -> float:
        """The saturated log-likelihood."""
        return float(self.trail.saturated[0])

    def split(self, point: Float) -> tuple[Float, Float]:
        """Lambda of a point, and the rest of it."""
        size = self.assembled.lam_size
        return point[:size], point[size:]

    def set_noise(self, unit: float) -> None:
        """Tell how large an effect of one row is beside its own noise, on the scale of the linear predictor."""
        levels = self.theta_map.levels
        self.theta_map = self.theta_map._replace(noise=unit * np.sqrt(levels / self.n))

    def raised_start(self, theta: Float) -> Float:
        """Lambda for the caller's theta, no direction absent."""
        return raised(self, self.lam(theta), START_FLOOR)

    def set_anchor(self, point: Float) -> None:
        """Have evaluations start from the modes at hand, which are those at a point."""
        self.trail.anchor[:] = self.modes.u
        self.trail.anchor_lam[:] = self.split(point)[0]

    @property
    def anchor(self) -> tuple[Float, Float]:
        """The modes that evaluations start from, and the Lambda that they are of."""
        return self.trail.anchor.copy(), self.trail.anchor_lam.copy()

    @anchor.setter
    def anchor(self, modes: tuple[Float, Float]) -> None:
        self.trail.anchor[:], self.trail.anchor_lam[:] = modes
        self.modes.counts[pirls.USABLE] = 0
        self.at = None

    def _turn_anchor(self, lam: Float) -> None:
        """Rotate the modes that evaluations start from as ``lam`` is rotated against the Lambda that they are of."""
        model, anchor, before = self.model, self.trail.anchor, self.trail.anchor_lam
        for block in model.blocks:
            left, _, right = np.linalg.svd(self.block_lambda(before, block).T @ self.block_lambda(lam, block))
            columns = model.plan.level_column[block.factor][:, None] + np.arange(block.first, block.first + block.width)
            anchor[columns] = anchor[columns] @ (left @ right)
        before[:] = lam

    def find_modes(self, lam: Float, joint: bool, fixed: bool) -> float:
        """The criterion at ``lam``, from the modes and fixed effects in ``modes.trial``; the factorization is bordered by the
        fixed effects if ``fixed``."""
        modes, lam = self.modes, np.ascontiguousarray(lam)
        laplace_run.leave_far(self.trail, modes, lam)
        before = int(modes.counts[pirls.FACTORS])
        if self.is_compiled:
            value = laplace.modes_at(self.rows, self.assembled.arrays, self.assembled.cross, lam, self.work, self.chain,
                                     self.trunk, self.kept, self.family, modes, joint, fixed)
        else:
            value = laplace_staged.find_modes(self, lam, joint, fixed)
        if modes.counts[pirls.FACTORS] > before:
            self.trail.factored[:] = lam
        if not math.isfinite(value):
            modes.counts[pirls.USABLE] = 0
            return math.inf
        return float(value) - 2.0 * self.saturated

    def _at(self, point: Float, fixed: bool = False) -> float:
        """The criterion at a point."""
        lam, extra = self.split(point)
        modes = self.modes
        modes.trial[:] = self.trail.anchor
        if not self.joint:
            modes.trial[self.q :] = extra[: self.n_beta]
        if self.parametric:
            if not abs(extra[-1] - math.log(self.whole)) < LOG_RANGE:
                self.at, self.value = None, math.inf
                return math.inf
            self.set_parameter(math.exp(extra[-1]))
        self.at, self.is_bordered = point.copy(), fixed or self.joint
        self.last = None
        self.value = self.find_modes(lam, self.joint, fixed)
        return self.value

    def _adjoint(self, lam: Float, scored: bool) -> float:
        """Slopes at the point whose criterion was computed last: in Lambda to ``lam_grad``, in beta to the end of
        ``modes.sums``, and returned that in the logarithm of the family's parameter without the saturated likelihood's; with
        ``scored`` also the average information."""
        if not self.is_compiled:
            return laplace_staged.slopes(self, lam, scored, self.lam_grad)
        return float(laplace.slopes_at(
            self.rows, self.assembled.arrays, self.assembled.cross, lam, self.work, self.chain, self.trunk, self.kept,
            self.family, self.modes, self.joint, self.panel, self.theta_map, self.scoring, scored, self.inner.hessian,
            self.lam_grad))

    def _slopes(self, point: Float, grad: Float, scored: bool = False) -> None:
        """Gradient at the point whose criterion was computed last, and with ``scored`` the model of the Hessian."""
        self.is_bordered = self.is_bordered and self.family.canonical == 1 and self.nodes == 1
        modes = self.modes
        slope = self._adjoint(np.ascontiguousarray(self.split(point)[0]), scored)
        laplace_run.finish_slopes(self.rows, self.assembled.arrays, self.family, self.work, modes, self.trail, slope, scored,
                                  self.lam_grad, self.extra_hessian, grad)

    def criterion(self, lam: Float, reml: bool) -> float:
        return self._at(lam)

    def gradients(self, lams: Float, reml: bool) -> tuple[Float, Float]:
        values, grads = np.empty(len(lams)), np.full_like(lams, math.nan)
        known = self.last is not None and len(lams) == 1 and np.array_equal(self.last[0], lams[0])
        if self.is_served and len(lams) and not known:
            self._serve(0, np.ascontiguousarray(lams), values, grads)
            self.at = lams[-1].copy()
            values[~np.isfinite(grads).all(axis=1)] = math.inf
            return values, grads
        for k, point in enumerate(lams):
            if self.last is not None and np.array_equal(self.last[0], point):
                _, values[k], grads[k] = self.last
                continue
            values[k] = self._at(point)
            if math.isfinite(values[k]):
                self._slopes(point, grads[k])
                if not np.all(np.isfinite(grads[k])):
                    values[k] = math.inf
        return values, grads

    def settle(self, point: Float, bordered: bool = False) -> float:
        """The criterion at a point, whose modes are then at hand, and if ``bordered`` the factorization with the criterion's
        weights, bordered by the fixed effects."""
        there = self.at is not None and np.array_equal(self.at, point) and (self.is_bordered or not bordered)
        if not there:
            self._turn_anchor(self.split(point)[0])
            if not math.isfinite(self._at(point, True)):
                self.trail.anchor[: self.q] = 0.0
                self._at(point, True)
        return self.value

    @property
    def is_served(self) -> bool:
        """Whether evaluations run one after another in compiled code."""
        return self.is_compiled and self.nodes == 1

    def _serve(self, request: int, points: Float, values: Float, grads: Float) -> int:
        """``laplace_run.serve``, and what it leaves behind."""
        action = laplace_run.serve(
            self.rows, self.assembled.arrays, self.assembled.cross, self.work, self.chain, self.trunk, self.kept, self.family,
            self.modes, self.joint, self.panel, self.theta_map, self.scoring, self.search, self.inner, self.path, self.history,
            self.extra_hessian, self.lam_grad, self.trail, request, points, values, grads)
        self.at = self.last = None
        self.value = float(self.trail.value[0])
        self.is_bordered = bool(self.trail.state[BORDERED])
        return int(action)

    def run(self, reml: bool, request: int) -> int:
        path, search, real = self.path, self.search, self.modes.real
        if search.counts[optimizer.EVALUATIONS] == 0:
            self.history.kept[0] = 0
        if self.is_served:
            action = self._serve(request, _NO_POINTS, _NO_POINTS[0], _NO_POINTS)
            if self.trail.state[TIGHT]:
                self.at = path.lam.copy()
                self.last = self.at, self.value, path.grad.copy()
            return action
        action = EVALUATE
        while action == EVALUATE and request != 0:
            request -= 1
            laplace_run.loosen_inner(search, self.modes, self.trail)
            f = self._at(path.trial, True)
            action = stages.judge(search, f, self.rounding())
            if action == ACCEPTED:
                self.set_anchor(path.trial)
                self._slopes(path.trial, path.trial_grad, True)
                if real[pirls.TOLERANCE] == self.trail.tolerance:
                    self.last = path.trial.copy(), f, path.trial_grad.copy()
                action = laplace_search.accept_point(self.theta_map, search, self.inner, path, self.history,
                                                     self.extra_hessian)
            if action == EVALUATE:
                laplace_search.step_point(self.theta_map, search, self.inner, path)
        real[pirls.TOLERANCE] = self.trail.tolerance
        return int(action)

    def beta_covariance(self, point: Float, certificate: Certificate) -> tuple[Float, VcovRoute, float | None]:
        """Covariance of the standardized fixed effects, where it comes from, and the standard error of the logarithm of the
        family's parameter."""
        information = certificate.information
        n_free = certificate.n_free - self.n_extra
        if information is None or self.joint:
            return self._working_covariance(point), "working_hessian", None
        covariance = 2.0 * np.linalg.inv(information)[n_free:, n_free:]
        error = math.sqrt(covariance[-1, -1]) if self.parametric and not certificate.limit else None
        return np.asarray(covariance[: self.n_beta, : self.n_beta]), "observed_information", error

    def _working_covariance(self, point: Float) -> Float:
        """Covariance of the standardized fixed effects, theta and the family's parameter taken for known; NaN where the weights
        vanish."""
        self.settle(point, True)
        low = np.tril(self.work.border[: self.rank, : self.rank])
        if not np.all(np.diag(low) > 0.0):
            return np.full_like(low, math.nan)
        inverse = np.linalg.inv(low)
        return np.asarray(inverse.T @ inverse)

    def runs_away(self, point: Float) -> bool:
        """Whether fixed effects have no finite estimate: for links on whose scale 1 is much, whether linear predictors along
        some of them, of mean square 1, have a standard error beyond ``RUNAWAY_ERROR``. Not by differences: steps are not small
        where the criterion vanishes."""
        choice = self.model.family
        assert choice is not None
        if choice.link not in UNIT_LINKS or self.rank == 0:
            return False
        self.settle(point)
        if (self.modes.fisher if self.family.strict else self.modes.weight).min() > VANISHED:
            return False
        covariance = self._working_covariance(point)
        # standardized columns have mean squares of about 1 at most: no need to read the rows
        if np.trace(covariance) < 1e-4 * RUNAWAY_ERROR**2 / self.rank:
            return False
        _, root = np.linalg.qr(self.rows.x.T / math.sqrt(self.n))
        spread = root @ covariance @ root.T
        return not np.all(np.isfinite(spread)) or bool(np.linalg.eigvalsh(spread)[-1] > RUNAWAY_ERROR**2)

    def extra_directions(self) -> tuple[Float, Float]:
        errors = 1.0 / np.sqrt(0.5 * np.maximum(np.diag(self.extra_hessian), 1e-300))
        return errors, np.full(self.n_extra, math.sqrt(self.n))

    def limit(self, lam: Float, objective: float, curvature: float) -> Limit:
        if not self.parametric or not curvature < WEAK_PARAMETER:
            return ""
        for way in (1.0, -1.0):
            further = lam.copy()
            further[-1] += way * FURTHER
            counts = self.family.code == families.NEGATIVE_BINOMIAL
            rise = slack(self) if counts else DISPERSION_RISE
            if abs(further[-1] - math.log(self.whole)) < LOG_RANGE and not self._at(further) <= objective + rise:
                continue
            if counts:
                return "theta_infinite" if way > 0.0 else "parameter_flat"
            return "dispersion_zero" if way < 0.0 else "parameter_flat"
        return ""

    @property
    def collapsed(self) -> bool:
        """Whether the dispersion is nothing but rounding."""
        return self.family.code in DISPERSED and self.parameter <= COLLAPSED * self.whole

    def _whole(self) -> float:
        """The dispersion that would go with a standard deviation as large as the mean, where there is one; else 1."""
        rows = self.rows
        prior = rows.prior if rows.prior.size else np.ones(self.n)
        if self.family.code == families.GAUSSIAN:
            return float(np.mean(prior * rows.y**2)) or 1.0
        if self.family.code == families.INVERSE_GAUSSIAN:
            return float(np.mean(prior / rows.y))
        return float(np.mean(prior)) if self.family.code in DISPERSED else 1.0

    def rounding(self) -> float:
        return ROUNDING * (self.n + abs(self.value)) if math.isfinite(self.value) else 0.0
