"""Fits of one design to other responses: only ``[Z X y]'W y`` is computed anew, and the search starts from a known point."""

from __future__ import annotations

import math
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.blas import single_threaded_blas
from mixeff_fast.fit.certificate import Certificate, optimum
from mixeff_fast.fit.cones import Point, drop_small, lower
from mixeff_fast.fit.coordinates import DEPENDENT, separate
from mixeff_fast.fit.engine import Engine, available_memory
from mixeff_fast.fit.lmm import LmmResult, estimates
from mixeff_fast.fit.response import Design, assemble_response, keep_design, less_offset, load_response, own_cross
from mixeff_fast.fit.search import EXHAUSTED, STOPS, minimize, start_lam
from mixeff_fast.fit.threads import available_threads
from mixeff_fast.fit.workspace import needed_bytes
from mixeff_fast.kernels import optimizer, profiled, response

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel
    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.search import SearchRecord
    from mixeff_fast.fit.statistics_fit import StatisticsSource
    from mixeff_fast.vocabulary import FitStatus

    Float = NDArray[np.float64]

# flops of factorizations that one call of the compiled refit may take: Ctrl-C waits for it
CALL_FLOPS = 2e7
LARGEST_BATCH = 64
# flops of a factorization below which a certificate is mostly Python: threads would only wait for each other
SHARED_FLOPS = 2e4
# bytes of a workspace that are not worth asking for
FREE_BYTES = 2**24


@dataclass(frozen=True, slots=True, eq=False)
class Refits:
    """Estimates for many responses, in the user's units; B of them.

    Attributes
    ----------
    theta
        Relative covariance parameters, shape (B, n_theta).
    beta
        Fixed effects, shape (B, p); NaN for aliased columns.
    sigma
        Residual standard deviations, shape (B,).
    objective
        -2 log-likelihoods or REML criteria, shape (B,).
    status
        The verdict on each fit, shape (B,). Without certificates ``"not_assessed"``, or ``"not_optimized"`` where the
        search ran out of evaluations or found no finite objective.
    evaluations
        Of the optimizer, shape (B,).
    """

    theta: Float
    beta: Float
    sigma: Float
    objective: Float
    status: NDArray[np.str_]
    evaluations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.sigma)


@dataclass(frozen=True, slots=True)
class _Found:
    """Some refits in standardized units, with the verdict on each."""

    outcome: response.Outcome
    status: list[FitStatus]


def prepare(model: CompiledModel, control: Control) -> Design:
    """Assemble a model, but for what its response enters.

    Raises
    ------
    FitError
        ``rank_saturated_fixed_effects``, ``memory_limit``.
    """
    with single_threaded_blas():
        return keep_design(model, Engine(model, control).assembled)


def original_theta(design: Design, reml: bool, control: Control) -> tuple[float, ...]:
    """The estimates for the response that the design was assembled with."""
    with single_threaded_blas():
        engine = Engine(design.model, control, design.assembled)
        lam, _ = optimum(engine, reml, control)
        return tuple(engine.theta(lam).tolist())


def refit(design: Design, y: Float, reml: bool, control: Control, certify: bool) -> tuple[Engine, LmmResult]:
    """Fit one response, given with its offset, from ``control.start``.

    The engine is the result's own: what it shares with the design and with other fits is never written to.
    """
    model = replace(design.model, frame=replace(design.model.frame, response=y))
    with single_threaded_blas():
        engine = Engine(model, control, assemble_response(design, y))
        if certify:
            lam, certificate = optimum(engine, reml, control)
        else:
            record = minimize(engine, start_lam(engine, control), reml, control, control.max_evaluations)
            point = Point(record.lam, record.objective, 0)
            drop_small(engine, point, reml)
            lam, certificate = lower(engine, point.lam), _uncertified(engine, reml, record, point)
        return engine, estimates(engine, lam, reml, certificate)


def engine_again(
    model: CompiledModel, control: Control, source: StatisticsSource | None, result: LmmResult, refitted: bool
) -> Engine:
    """The engine of a fit whose numbers are known, at these numbers; ``refitted`` when the fit was one of :func:`refit`."""
    with single_threaded_blas():
        engine = Engine(model, control, source=source)
        if refitted:
            design = keep_design(model, engine.assembled)
            engine = Engine(model, control, assemble_response(design, model.frame.response))
        engine.solve(result.lam, result.reml)
        return engine


def _status(stop: str, objective: float) -> FitStatus:
    return "not_optimized" if stop == EXHAUSTED or not math.isfinite(objective) else "not_assessed"


def _uncertified(engine: Engine, reml: bool, record: SearchRecord, point: Point) -> Certificate:
    """What a search alone knows; its decrement, by its own Hessian, bounds the gradient norm."""
    status = _status(record.stop, point.objective)
    return Certificate(
        status=status,
        quality="failed" if status == "not_optimized" else "not_assessed",
        reason="the evaluation limit was reached" if record.stop == EXHAUSTED else "no certificate was asked for",
        objective=point.objective + engine.criterion_shift(reml),
        stop=record.stop,
        evaluations=record.evaluations,
        iterations=record.iterations,
        certificate_evaluations=point.evaluations,
        gradient_norm=math.sqrt(max(record.decrement, 0.0)),
        newton_decrement=record.decrement,
        hessian_route="average_information",
        hessian_minimum=0.0,
        hessian_condition=0.0,
        hessian_rank=0,
        n_free=engine.model.n_theta,
        n_boundary=0,
        cones=(),
        escapes=0,
    )


def batch_size(design: Design) -> int:
    """How many responses to hand over at a time."""
    return max(1, min(LARGEST_BATCH, int(CALL_FLOPS / max(design.model.plan.flops, 1.0))))


class _Worker:
    """What one thread needs: an engine whose response is overwritten by each it is given."""

    def __init__(self, design: Design, reml: bool, control: Control, certify: bool) -> None:
        self.design, self.reml, self.control, self.certify = design, reml, control, certify
        self.engine = Engine(design.model, control, replace(design.assembled, cross=own_cross(design)))
        self.compiled = not certify and design.is_one_chunk and self.engine.is_small
        self.start = start_lam(self.engine, control)

    def fit(self, responses: Float) -> _Found:
        """Fit every row of ``responses``."""
        with single_threaded_blas():
            y = less_offset(self.design.model, responses)
            size, border = len(self.start), self.engine.assembled.arrays.border
            outcome = response.Outcome(np.empty((len(y), size)), np.empty((len(y), border - 1)), np.empty((len(y), 4)),
                                       np.empty((len(y), 2), np.int64))
            if self.compiled:
                return self._compiled(y, outcome)
            return _Found(outcome, [self._one(row, outcome, k) for k, row in enumerate(y)])

    def _compiled(self, y: Float, outcome: response.Outcome) -> _Found:
        engine, start, control = self.engine, self.start, self.control
        assert self.design.rows is not None
        search = engine.search
        search.real[optimizer.TOLERANCE] = control.tolerance
        search.counts[optimizer.LIMIT] = control.max_evaluations
        assembled = engine.assembled
        response.refit(
            self.design.rows[0], y, 0, 1, assembled.standard.intercept >= 0, assembled.arrays, assembled.cross, engine.work,
            engine.chain, engine.trunk, engine.theta_map, engine.scoring, search, engine.path, start, self.reml,
            engine.dof(self.reml), np.zeros((2, assembled.arrays.border)), outcome,
        )
        stops = [STOPS[action] for action in outcome.counts[:, response.ACTION].tolist()]
        objectives = outcome.real[:, response.OBJECTIVE].tolist()
        return _Found(outcome, [_status(*pair) for pair in zip(stops, objectives, strict=True)])

    def _one(self, y: Float, outcome: response.Outcome, k: int) -> FitStatus:
        engine, reml = self.engine, self.reml
        shift, scale = load_response(self.design, y, engine.assembled.cross)
        if self.certify:
            lam, certificate = optimum(engine, reml, self.control, self.start)
            status, evaluations = certificate.status, certificate.evaluations
        else:
            record = minimize(engine, self.start, reml, self.control, self.control.max_evaluations)
            point = Point(record.lam, record.objective, record.evaluations)
            drop_small(engine, point, reml)
            lam, evaluations, status = point.lam, point.evaluations, _status(record.stop, point.objective)
        w = engine.solve(lam, reml)
        outcome.lam[k] = lam
        outcome.beta[k] = -w[len(w) - engine.assembled.arrays.border : -1]
        outcome.real[k] = shift, scale, engine.work.result[profiled.OBJECTIVE], engine.pivot
        outcome.counts[k] = 0, evaluations
        return status


def _worker_count(design: Design, threads: int, certify: bool) -> int:
    """Of so many threads, how many fit a response of their own: there may not be work or memory for all."""
    if certify and design.model.plan.flops < SHARED_FLOPS:
        return 1
    needed = needed_bytes(design.model)
    if needed < FREE_BYTES:
        return threads
    return max(1, min(threads, int(0.5 * available_memory() / needed)))


def refit_many(
    design: Design, batches: Iterable[Float], reml: bool, control: Control, certify: bool, threads: int | None
) -> Refits:
    """Fit every response of every batch, rows of shape (n,), from ``control.start``.

    Each fit begins from the same state, whatever was fitted before it and by which thread: no number depends on
    ``threads``.
    """
    threads = threads or control.threads or available_threads()
    count = _worker_count(design, threads, certify)
    control = replace(control, verbose=0, threads=max(1, threads // count))
    with single_threaded_blas():
        first = _Worker(design, reml, control, certify)
        found = list(map(first.fit, batches) if count == 1 else _in_order(first, count, batches))
        return _in_user_units(first.engine, reml, found)


def _in_order(first: _Worker, threads: int, batches: Iterable[Float]) -> Iterator[_Found]:
    """What workers find, batch after batch; only some batches are held at a time, and no more workers made than are busy."""
    idle: SimpleQueue[_Worker] = SimpleQueue()
    idle.put(first)

    def fit(batch: Float) -> _Found:
        try:
            worker = idle.get_nowait()
        except Empty:
            with single_threaded_blas():
                worker = _Worker(first.design, first.reml, first.control, first.certify)
        try:
            return worker.fit(batch)
        finally:
            idle.put(worker)

    waiting: deque[Future[_Found]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for batch in batches:
                waiting.append(pool.submit(fit, batch))
                if len(waiting) > 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _in_user_units(engine: Engine, reml: bool, found: list[_Found]) -> Refits:
    model, assembled = engine.model, engine.assembled
    standard, kept = assembled.standard, assembled.kept
    parts = [each.outcome for each in found]
    lam = np.concatenate([np.zeros((0, assembled.lam_size)), *(part.lam for part in parts)])
    coefficients = np.concatenate([np.zeros((0, len(kept))), *(part.beta for part in parts)])
    real = np.concatenate([np.zeros((0, 4)), *(part.real for part in parts)])
    shift, scale = real[:, response.SHIFT], real[:, response.SCALE]
    objective, pivot = real[:, response.OBJECTIVE], real[:, response.PIVOT]
    finite = np.isfinite(objective)
    beta = np.full((len(lam), len(model.fixed.names)), np.nan)
    beta[:, kept] = np.where(finite[:, None], coefficients @ replace(standard, y_scale=1.0).beta_map(kept).T, np.nan)
    beta *= scale[:, None]
    if standard.intercept >= 0:
        beta[:, standard.intercept] += shift
    dof = engine.dof(reml)
    counts = [part.counts[:, response.SPENT] for part in parts]
    return Refits(
        theta=_thetas(engine, lam),
        beta=beta,
        sigma=np.where(finite, pivot, np.nan) / math.sqrt(dof) * scale * standard.root_weight,
        objective=objective + engine.criterion_shift(reml) + 2.0 * dof * np.log(scale / standard.y_scale),
        status=np.array([status for each in found for status in each.status], np.str_),
        evaluations=np.concatenate([np.zeros(0, np.int64), *counts]),
    )


def _thetas(engine: Engine, lam: Float) -> Float:
    """``Engine.theta`` of every row."""
    out = np.zeros((len(lam), engine.model.n_theta))
    for block in engine.model.blocks:
        where, width = engine.block_slice(block)
        own = slice(block.first, block.first + block.width)
        root = lam[:, where].reshape(-1, width, width)[:, own, own]
        to_user = engine.effect_map(block)
        user = to_user @ root
        if separate(block):
            lower_factors = np.abs(user)
        else:
            sizes = np.sqrt(np.square(np.abs(to_user) @ np.abs(root)).sum(axis=2))
            lower_factors = _lower_factors(user, sizes)
        out[:, block.theta] = lower_factors[:, block.rows, block.columns]
    return out


def _lower_factors(roots: Float, sizes: Float) -> Float:
    """The L of ``coordinates.lower_basis`` for each of many roots, shape (B, width, width)."""
    lower_factors, basis = np.zeros_like(roots), np.zeros_like(roots)
    for i in range(roots.shape[1]):
        rest = roots[:, i].copy()
        for _ in range(2):
            part = np.einsum("bkj,bj->bk", basis[:, :i], rest)
            lower_factors[:, i, :i] += part
            rest -= np.einsum("bk,bkj->bj", part, basis[:, :i])
        norm = np.sqrt(np.einsum("bj,bj->b", rest, rest))
        present = norm > DEPENDENT * sizes[:, i]
        lower_factors[:, i, i] = np.where(present, norm, 0.0)
        basis[:, i] = np.where(present[:, None], rest / np.where(present, norm, 1.0)[:, None], 0.0)
    return lower_factors
