"""What a fit supports of its covariance: ranks, directions, smaller models, transitions, findings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

import mixeff_fast as mf
from mixeff_fast.fit.effective import boundary_indices, principal


def grouped(seed: int, levels: int, rows: int, loadings: tuple[float, ...], sigma: float = 1.0) -> pl.DataFrame:
    """Rows whose group effects lie along one direction: ``u (b0 + b1 x + b2 z)``."""
    rng = np.random.default_rng(seed)
    g = np.repeat(np.arange(levels), rows)
    x, z = rng.normal(size=(2, levels * rows))
    u = rng.normal(size=levels)[g]
    b0, b1, b2 = (*loadings, 0.0, 0.0)[:3]
    y = 1.0 + 2.0 * x - z + u * (b0 + b1 * x + b2 * z) + sigma * rng.normal(size=levels * rows)
    return pl.DataFrame({"y": y, "x": x, "z": z, "g": [f"s{k:02d}" for k in g], "h": [f"t{k % 7}" for k in range(len(g))]})


@pytest.fixture(scope="module")
def mixture() -> mf.LinearMixedModel:
    return mf.lmm("y ~ x + (x | g)", grouped(1, 30, 6, (1.5, 0.65)))


@pytest.fixture(scope="module")
def dominant() -> mf.LinearMixedModel:
    return mf.lmm("y ~ x + (x | g)", grouped(2, 30, 6, (2.0, 0.1)))


def test_a_mixture_has_one_direction_and_no_smaller_formula(mixture: mf.LinearMixedModel) -> None:
    assert mixture.fit_status == "converged_reduced_rank"
    (record,) = mixture.artifact.effective_covariance
    assert (record.requested_rank, record.supported_rank, record.status) == (2, 1, "reduced_rank")
    assert record.term_id == "r0"
    assert record.requested_basis == ("(Intercept)", "x")
    (first,), (second,) = record.directions, record.unsupported_directions
    theta = mixture.theta
    root = np.array([[theta[0], 0.0], [theta[1], theta[2]]])
    covariance = mixture.sigma**2 * root @ root.T
    values, vectors = np.linalg.eigh(covariance)
    assert first.eigenvalue == pytest.approx(values[1], rel=1e-12)
    assert [each.loading for each in first.loadings] == pytest.approx(np.abs(vectors[:, 1]), rel=1e-9)
    assert [each.basis for each in first.loadings] == ["(Intercept)", "x"]
    assert first.variance_explained == pytest.approx(1.0)
    assert second.eigenvalue <= 1e-12 * first.eigenvalue
    inner = sum(a.loading * b.loading for a, b in zip(first.loadings, second.loadings, strict=True))
    assert inner == pytest.approx(0.0, abs=1e-9)
    assert record.interpretable_submodel is None
    assert record.inference_consequence == "conditional_on_supported_directions"


def test_a_dominant_column_has_a_smaller_formula_with_as_good_an_optimum(dominant: mf.LinearMixedModel) -> None:
    (record,) = dominant.artifact.effective_covariance
    found = record.interpretable_submodel
    assert found is not None
    assert (found.formula, found.dominant_basis, found.within_tolerance) == ("y ~ 1 + x + (1 | g)", "(Intercept)", True)
    assert found.dominant_loading >= 0.95
    smaller = mf.lmm(found.formula, grouped(2, 30, 6, (2.0, 0.1)))
    assert found.objective_gap == pytest.approx(smaller.result.objective - dominant.result.objective, abs=1e-8)
    assert found.objective_gap <= 0.5


def test_a_dominant_column_whose_model_is_worse_is_not_offered() -> None:
    fits = [mf.lmm("y ~ x + (x | g)", grouped(seed, 60, 12, (2.0, 0.4))) for seed in range(8)]
    fit = next(each for each in fits if each.fit_status == "converged_reduced_rank")
    (record,) = fit.artifact.effective_covariance
    assert record.directions[0].loadings[0].loading > 0.95
    assert fit.update("y ~ x + (1 | g)").result.objective - fit.result.objective > 0.5
    assert record.interpretable_submodel is None


def test_a_smaller_model_keeps_the_other_terms_and_the_criterion() -> None:
    formula = "y ~ x + z + (1 | h) + (x | g)"
    weights = pl.col("x").abs() + 1.0
    fits = (mf.lmm(formula, grouped(seed, 30, 6, (2.0, 0.0)), reml=False, weights=weights) for seed in range(40))
    fit = next(each for each in fits if each.artifact.effective_covariance[1].interpretable_submodel is not None)
    found = fit.artifact.effective_covariance[1].interpretable_submodel
    assert found is not None
    assert found.formula == "y ~ 1 + x + z + (1 | h) + (1 | g)"
    smaller = fit.update(found.formula)
    assert found.objective_gap == pytest.approx(smaller.result.objective - fit.result.objective, abs=1e-7)
    assert [each.term_id for each in fit.artifact.effective_covariance] == ["r0", "r1"]


def test_a_slope_can_be_the_dominant_column() -> None:
    fits = (mf.lmm("y ~ x + (x | g)", grouped(seed, 30, 6, (0.0, 2.0))) for seed in range(12))
    found = next(f for fit in fits if (f := fit.artifact.effective_covariance[0].interpretable_submodel) is not None)
    assert (found.formula, found.dominant_basis) == ("y ~ 1 + x + (0 + x | g)", "x")


def test_a_column_of_a_factor_has_no_formula_of_its_own() -> None:
    g = np.repeat(np.arange(40), 6)
    f = np.tile(["a", "b", "c"], 80)
    records = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = rng.normal(size=40)[g] * 4.0 * (f == "b") + rng.normal(size=240)
        fit = mf.lmm("y ~ f + (0 + f | g)", pl.DataFrame({"y": y, "f": f, "g": [f"s{k:02d}" for k in g]}))
        records.append(fit.artifact.effective_covariance[0])
    record = next(each for each in records if each.status == "reduced_rank")
    assert max(each.loading for each in record.directions[0].loadings) > 0.95
    assert record.interpretable_submodel is None


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ScalingNotice")
def test_rank_does_not_depend_on_units_or_origin() -> None:
    data = grouped(1, 30, 6, (1.5, 0.65))
    for moved in (pl.col("x") * 1e6, pl.col("x") * 1e-6, pl.col("x") + 1e3, pl.col("x") * 1e-5 - 7.0):
        fit = mf.lmm("y ~ x + (x | g)", data.with_columns(moved.alias("x")))
        (record,) = fit.artifact.effective_covariance
        assert (record.supported_rank, fit.is_singular(), fit.fit_status) == (1, True, "converged_reduced_rank")
    scaled = mf.lmm("y ~ x + (x | g)", data.with_columns(pl.col("y") * 1e-9))
    assert scaled.artifact.effective_covariance[0].supported_rank == 1


def test_full_rank_says_nothing() -> None:
    fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
    (record,) = fit.artifact.effective_covariance
    assert (record.status, record.unsupported_directions, record.interpretable_submodel) == ("full_rank", (), None)
    assert record.inference_consequence == "none"
    assert sum(each.variance_explained for each in record.directions) == pytest.approx(1.0)
    artifact = fit.artifact
    assert artifact.covariance_transitions == artifact.reductions == artifact.diagnostics == ()
    assert artifact.model_state.stages[-1].status == "fitted"


def test_a_variance_of_zero() -> None:
    data = mf.datasets.load("Dyestuff2")
    fit = mf.lmm("Yield ~ 1 + (1 | Batch)", data)
    assert fit.fit_status == "converged_boundary"
    artifact = fit.artifact
    (record,) = artifact.effective_covariance
    assert (record.requested_rank, record.supported_rank, record.directions) == (1, 0, ())
    assert record.unsupported_directions[0].variance_explained == 0.0
    (transition,) = artifact.covariance_transitions
    assert (transition.from_family, transition.to_family) == ("scalar", "zero")
    assert transition.reduced_slots == ("Batch.(Intercept)",)
    (reduction,) = artifact.reductions
    assert (reduction.trigger, reduction.reason) == ("certificate_time_boundary", "variance_at_zero")
    (finding,) = artifact.diagnostics
    assert (finding.code, finding.severity) == ("boundary_parameter", "info")
    assert finding.payload["theta_names"] == ["Batch.(Intercept)"]
    assert finding.payload["basis"] == ["(Intercept)"]
    assert artifact.varcorr[0].boundary
    assert not artifact.varcorr[1].boundary
    assert artifact.model_state.stages[-1].status == "reduced"
    assert artifact.certificate.parameter_space.boundary_indices == (0,)
    assert artifact.certificate.cones[0].classification == "valid_zero_variance"


def test_reduced_rank_is_told_as_transition_state_and_finding(mixture: mf.LinearMixedModel) -> None:
    artifact = mixture.artifact
    (transition,) = artifact.covariance_transitions
    assert (transition.from_family, transition.to_family, transition.requested_rank, transition.supported_rank) == (
        "full", "reduced_rank", 2, 1)
    assert transition.reduced_slots == ("g.x",)
    assert transition.trigger == "certificate_time_boundary"
    change = artifact.model_state.changes[-1]
    assert (change.from_stage, change.to_stage, change.term_id, change.fitted) == ("supported", "fitted", "r0", "reduced_rank")
    (finding,) = artifact.diagnostics
    assert finding.code == "covariance_reduced"
    assert (finding.payload["requested_rank"], finding.payload["supported_rank"]) == (2, 1)
    assert artifact.certificate.cones[0].classification == "valid_rank_deficient_covariance"
    assert artifact.verdict.optimizer.level == "certified"
    assert artifact.verdict.identifiability.level == "caution"


def test_a_diagonal_term_loses_columns_not_rank() -> None:
    fits = [mf.lmm("y ~ x + diag(x | g)", grouped(seed, 30, 6, (1.5, 0.0))) for seed in range(6)]
    fit = next(each for each in fits if each.fit_status == "converged_boundary")
    (record,) = fit.artifact.effective_covariance
    assert [each.loading for each in record.directions[0].loadings] == [1.0, 0.0]
    assert [each.loading for each in record.unsupported_directions[0].loadings] == [0.0, 1.0]
    assert fit.artifact.diagnostics[0].code == "boundary_parameter"
    assert fit.artifact.diagnostics[0].payload["theta_names"] == ["g.x"]
    assert fit.artifact.certificate.cones[0].classification == "valid_zero_variance"
    assert record.interpretable_submodel is not None
    assert record.interpretable_submodel.formula == "y ~ 1 + x + (1 | g)"
    assert record.interpretable_submodel.objective_gap < 1e-8


def test_correlations_near_one_are_told_for_full_rank() -> None:
    rng = np.random.default_rng(5)
    g = np.repeat(np.arange(200), 20)
    x = rng.normal(size=4000)
    u = rng.normal(size=200)
    v = u + 0.08 * rng.normal(size=200)
    y = x + 2.0 * u[g] + 2.0 * v[g] * x + rng.normal(size=4000)
    fit = mf.lmm("y ~ x + (x | g)", pl.DataFrame({"y": y, "x": x, "g": [f"s{k:03d}" for k in g]}))
    assert fit.fit_status == "converged_interior"
    (finding,) = fit.artifact.diagnostics
    assert (finding.code, finding.severity) == ("near_unit_random_effect_correlation", "warning")
    assert finding.payload["var1"] == "(Intercept)"
    assert finding.payload["var2"] == "x"
    assert 0.99 <= finding.payload["correlation"] < 1.0
    assert fit.artifact.verdict.identifiability.level == "caution"


@pytest.mark.filterwarnings("ignore::mixeff_fast.errors.ConvergenceNotice")
def test_a_fit_that_stopped_early_makes_no_claim() -> None:
    fit = mf.lmm("y ~ x + (x | g)", grouped(1, 30, 6, (1.5, 0.65)), control=mf.control(max_evaluations=2))
    assert fit.fit_status == "not_optimized"
    artifact = fit.artifact
    (record,) = artifact.effective_covariance
    assert (record.status, record.inference_consequence) == ("not_assessed", "not_assessed")
    assert artifact.covariance_transitions == artifact.reductions == ()
    assert artifact.model_state.stages[-1].status == "not_assessed"
    assert [each.code for each in artifact.diagnostics] == ["optimizer_nonconvergence"]


def test_principal_directions_put_absent_ones_last_whatever_the_units() -> None:
    fit = mf.lmm("y ~ x + diag(x | g)", grouped(3, 30, 6, (1.5, 0.5)))
    (block,) = fit.spec.compiled.blocks
    result = replace(fit.result, theta=np.array([1e-12, 1e-6]), sigma=1.0)
    found = principal(block, result, np.array([1.0, 0.0]), 1e-4)
    assert found.rank == 1
    assert found.loadings[:, 0].tolist() == [1.0, 0.0]


def test_boundary_indices_are_the_zero_columns_of_lambda() -> None:
    model = mf.compile_model("y ~ x + (x + z | g) + (1 | h)", grouped(3, 30, 6, (1.0,))).compiled
    assert boundary_indices(model, np.array([1.0, 0.5, 0.0, 2.0, 0.1, 0.3, 1.0])) == ()
    assert boundary_indices(model, np.array([1.0, 0.5, 0.2, 0.0, 0.0, 0.0, 0.0])) == (3, 4, 5, 6)
    assert boundary_indices(model, np.array([0.0, 0.0, 0.0, 2.0, 0.1, 0.3, 1.0])) == (0, 1, 2)
