"""What a fit supports of the covariance that was asked for: principal directions, those without variance, and a smaller model
that says the same.

A direction is absent by the one rule of singularity: its standard deviation, per standardized column, is below a share of
sigma, or of a unit of the linear predictor where there is none. So rank does not depend on units; loadings and eigenvalues are
in the units of the data.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.compile import compile_rows
from mixeff_fast.errors import FitError
from mixeff_fast.fit.coordinates import separate
from mixeff_fast.fit.glmm import GlmmResult, fit_glmm
from mixeff_fast.fit.lmm import fit_lmm
from mixeff_fast.fit.tables import block_covariance
from mixeff_fast.formula import TermSet, render
from mixeff_fast.frame.streamrows import ROWS_ELSEWHERE
from mixeff_fast.schemas.covariance import Direction, EffectiveCovariance, InterpretableSubmodel, Loading
from mixeff_fast.schemas.diagnostics import Finding
from mixeff_fast.schemas.policy import CovarianceTransition, ModelChange, ModelStage, ModelState, Reduction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from mixeff_fast.compile import CompiledModel, RandomBlock
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.formula import ModelFormula
    from mixeff_fast.schemas.policy import Thresholds
    from mixeff_fast.schemas.semantic import SemanticModel

    Float = NDArray[np.float64]
    Result = LmmResult | GlmmResult


@dataclass(frozen=True, slots=True)
class Principal:
    """Principal directions of one term's covariance matrix, those with variance first, each part by falling variance.

    Attributes
    ----------
    variances
        In the units of the data, shape (width,).
    loadings
        Columns of unit length, shape (width, width); the largest entry of each is positive.
    rank
        How many have variance.
    """

    variances: Float
    loadings: Float
    rank: int


def principal(block: RandomBlock, result: Result, singular: Float, tolerance: float) -> Principal:
    """The directions of a term. ``singular`` are its relative standard deviations on standardized columns."""
    width = block.width
    lower = np.zeros((width, width))
    lower[block.rows, block.columns] = result.theta[block.theta]
    present = ~(singular < tolerance)
    rank = int(present.sum())
    if separate(block):
        spread, loadings = np.abs(np.diag(lower)), np.eye(width)
        order = np.lexsort((-spread, ~present))
    else:
        loadings, spread, _ = np.linalg.svd(lower)
        order = np.arange(width)
    loadings = loadings[:, order]
    largest = np.argmax(np.abs(loadings), axis=0)
    signs = np.where(loadings[largest, np.arange(width)] < 0.0, -1.0, 1.0)
    return Principal((result.scale * spread[order]) ** 2, loadings * signs, rank)


def _directions(block: RandomBlock, found: Principal) -> tuple[Direction, ...]:
    """None where the variances are not finite, as where the residual variance collapsed."""
    total = float(found.variances.sum())
    if not np.isfinite(total):
        return ()
    return tuple(
        Direction(
            label=f"PC{k + 1}",
            loadings=tuple(
                Loading(basis=name, loading=value)
                for name, value in zip(block.names, found.loadings[:, k].tolist(), strict=True)
            ),
            eigenvalue=variance,
            variance_explained=variance / total if total > 0.0 else 0.0,
        )
        for k, variance in enumerate(found.variances.tolist())
    )


def _with_one_column(model: CompiledModel, block: RandomBlock, column: int) -> ModelFormula | None:
    """The formula with all columns but one left out of a term; None where no formula says so."""
    number = int(block.design.term_index[column])
    if number > 0 and list(block.design.term_index).count(number) > 1:
        return None
    lhs = block.term.lhs
    kept = TermSet(True, ()) if number == 0 else TermSet(False, (lhs.terms[number - 1],))
    random = tuple(
        replace(term, lhs=kept, covariance="us", block_group=None) if term.index == block.term.index else term
        for term in model.formula.random
    )
    meanings = {(term.lhs, term.group_name) for term in random}
    return None if len(meanings) < len(random) else replace(model.formula, random=random)


def _fitted_alike(model: CompiledModel, result: Result) -> float:
    """The objective of another model, by the estimator of this one."""
    if isinstance(result, GlmmResult):
        return fit_glmm(model, result.method, n_agq=result.n_agq)[1].objective
    return fit_lmm(model, result.reml)[1].objective


def interpretable_submodel(
    model: CompiledModel, block: RandomBlock, found: Principal, result: Result, thresholds: Thresholds
) -> InterpretableSubmodel | None:
    """The model that keeps the one column on which the first direction of a term loads, if its optimum is as good. It is
    fitted, to the rows in memory."""
    if not 0 < found.rank < block.width or model.frame.response is ROWS_ELSEWHERE:
        return None
    column = int(np.argmax(np.abs(found.loadings[:, 0])))
    loading = float(found.loadings[column, 0])
    formula = _with_one_column(model, block, column) if loading >= thresholds.dominant_loading else None
    if formula is None:
        return None
    try:
        smaller = _fitted_alike(compile_rows(replace(model.frame, formula=formula)), result)
    except FitError:
        # the memory that two models take together
        return None
    gap = max(smaller - result.objective, 0.0)
    if not gap <= thresholds.submodel_objective_gap:
        return None
    return InterpretableSubmodel(
        formula=render(formula), dominant_basis=block.names[column], dominant_loading=loading, objective_gap=gap,
        within_tolerance=True,
    )


def _in_formula_order(model: CompiledModel, result: Result) -> Iterator[tuple[RandomBlock, Float]]:
    pairs = zip(model.blocks, result.singular, strict=True)
    yield from sorted(pairs, key=lambda pair: pair[0].term.index)


def effective_covariances(
    model: CompiledModel, result: Result, semantic: SemanticModel, thresholds: Thresholds
) -> tuple[EffectiveCovariance, ...]:
    """One record per random term, in the order of the formula. A term that lost directions may have a smaller model fitted."""
    converged = result.certificate.status.startswith("converged")
    records = []
    for term, (block, singular) in zip(semantic.random_terms, _in_formula_order(model, result), strict=True):
        found = principal(block, result, singular, thresholds.singular_relative_sd)
        directions = _directions(block, found)
        reduced = found.rank < block.width
        consequence = "none"
        if reduced and converged:
            consequence = "conditional_on_supported_directions" if found.rank else "conditional_on_zero_variance"
        records.append(
            EffectiveCovariance(
                term_id=term.id,
                source_syntax=term.source_syntax.text,
                group=term.group.name,
                requested_basis=block.names,
                requested_rank=block.width,
                supported_rank=found.rank,
                status="not_assessed" if not converged else "reduced_rank" if reduced else "full_rank",
                directions=directions[: found.rank],
                unsupported_directions=directions[found.rank :],
                inference_consequence=consequence if converged else "not_assessed",
                interpretable_submodel=interpretable_submodel(model, block, found, result, thresholds)
                if reduced and converged else None,
            )
        )
    return tuple(records)


def boundary_indices(model: CompiledModel, theta: Float) -> tuple[int, ...]:
    """Covariance parameters held at zero: the columns of Lambda whose diagonal is zero."""
    held: list[int] = []
    for block in model.blocks:
        own = theta[block.theta]
        gone = block.columns[(block.rows == block.columns) & (own == 0.0)]
        held += (block.theta.start + np.flatnonzero(np.isin(block.columns, gone))).tolist()
    return tuple(held)


def covariance_transitions(
    model: CompiledModel, result: Result, effective: Sequence[EffectiveCovariance]
) -> tuple[CovarianceTransition, ...]:
    """What each term that lost directions went from and to."""
    held = boundary_indices(model, result.theta)
    transitions = []
    for record, (block, _) in zip(effective, _in_formula_order(model, result), strict=True):
        if record.status == "reduced_rank":
            transitions.append(
                CovarianceTransition(
                    from_family=block.family,
                    to_family="reduced_rank" if record.supported_rank else "zero",
                    trigger="certificate_time_boundary",
                    affected_term=record.term_id,
                    requested_rank=record.requested_rank,
                    supported_rank=record.supported_rank,
                    reduced_slots=tuple(
                        model.theta_names[k] for k in held if block.theta.start <= k < block.theta.stop
                    ),
                    inference_consequence=record.inference_consequence,
                )
            )
    return tuple(transitions)


def boundary_reductions(effective: Sequence[EffectiveCovariance]) -> tuple[Reduction, ...]:
    """The reductions that the optimum made, where it lies on the boundary."""
    return tuple(
        Reduction(
            trigger="certificate_time_boundary",
            reason="direction_not_supported_by_fit" if record.supported_rank else "variance_at_zero",
            affected_term=record.term_id,
            requested=record.source_syntax,
            replacement_term=None,
            inference_consequence=record.inference_consequence,
        )
        for record in effective
        if record.status == "reduced_rank"
    )


def fitted_state(
    compiled: ModelState, formula: str, effective: Sequence[EffectiveCovariance], status: str
) -> ModelState:
    """The state of the model with the fitted stage, and what the fit changed."""
    reduced = [record for record in effective if record.status == "reduced_rank"]
    converged = status.startswith("converged")
    stage = ModelStage(
        stage="fitted",
        status="not_assessed" if not converged else "reduced" if reduced else "fitted",
        formula=formula,
        n_random_terms=len(effective),
        reason=status,
    )
    changes = [
        ModelChange(
            status="diagnostic",
            trigger="certificate_time_boundary",
            from_stage="supported",
            to_stage="fitted",
            term_id=record.term_id,
            group=record.group,
            requested=record.source_syntax,
            effective=record.source_syntax,
            fitted="reduced_rank" if record.supported_rank else "zero",
            detail="direction_not_supported_by_fit" if record.supported_rank else "variance_at_zero",
        )
        for record in reduced
    ]
    stages = [each for each in compiled.stages if each.stage != "fitted"]
    return ModelState(stages=(*stages, stage), changes=(*compiled.changes, *changes))


def covariance_findings(
    model: CompiledModel, result: Result, effective: Sequence[EffectiveCovariance], thresholds: Thresholds
) -> Iterator[Finding]:
    """Directions without variance, variances of zero, and correlations near one, of a fit that converged."""
    for record, (block, _) in zip(effective, _in_formula_order(model, result), strict=True):
        facts = {"group": record.group, "source_syntax": record.source_syntax}
        if record.status == "full_rank":
            yield from _near_unit(block, result, record, thresholds.near_unit_correlation)
        elif record.status == "reduced_rank" and block.family == "full":
            yield Finding(
                code="covariance_reduced", severity="info", stage="certification", affected_terms=(record.term_id,),
                payload={**facts, "requested_rank": record.requested_rank, "supported_rank": record.supported_rank},
            )
        elif record.status == "reduced_rank":
            gone = [direction.loadings[int(np.argmax([abs(each.loading) for each in direction.loadings]))].basis
                    for direction in record.unsupported_directions]
            names = [f"{record.group}.{basis}" for basis in gone]
            yield Finding(
                code="boundary_parameter", severity="info", stage="certification", affected_terms=(record.term_id,),
                payload={**facts, "n_boundary": len(gone), "theta_names": names, "basis": gone},
            )


def _near_unit(
    block: RandomBlock, result: Result, record: EffectiveCovariance, threshold: float
) -> Iterator[Finding]:
    if block.family != "full":
        return
    covariance = block_covariance(block, result.theta, result.scale)
    sd = np.sqrt(np.diag(covariance))
    for j in range(block.width):
        for i in range(j + 1, block.width):
            correlation = float(covariance[i, j] / (sd[i] * sd[j]))
            if abs(correlation) >= threshold:
                yield Finding(
                    code="near_unit_random_effect_correlation", severity="warning", stage="certification",
                    affected_terms=(record.term_id,),
                    payload={"group": record.group, "source_syntax": record.source_syntax, "var1": block.names[j],
                             "var2": block.names[i], "correlation": correlation, "threshold": threshold},
                )
