"""Bootstrap runs: what was asked, what came of every refit, and what was read from them."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, Level, NonNegative, PositiveCount, Probability, Record

FailedRefitPolicy = Literal["exclude", "count_extreme", "abort"]


class BootstrapTarget(Record):
    """The distribution that was simulated."""

    kind: Literal["full_model_distribution", "fixed_effect_null", "cluster_resample"]
    label: str
    contrast_label: str | None


class SeedRecord(Record):
    """What it takes to draw the same samples again; ``seed`` is None where the caller gave a generator."""

    rng: str
    seed: Count | None
    reproducible: bool


class RefitOptions(Record):
    reml: bool
    optimizer: str
    max_evaluations: PositiveCount


class ReplicateFit(Record):
    """One refit; None throughout where it failed."""

    objective: float | None
    sigma: NonNegative | None
    beta: tuple[float | None, ...] | None
    se: tuple[float | None, ...] | None
    theta: tuple[float, ...] | None
    status: Literal["fitted", "boundary", "failed"]


class BootstrapInterval(Record):
    """An interval from ``n`` finite replicates; a bound is None where there are too few."""

    parameter: str
    kind: Literal["fixed_effect", "sigma", "theta", "standard_deviation", "correlation"]
    level: Level
    lower: float | None
    upper: float | None
    n: Count
    method: Literal["percentile", "basic", "shortest"]


class BootstrapCounts(Record):
    """Refits asked for and what became of them. ``boundary_count`` of the successful ones have a variance at zero; ``mcse`` is
    the Monte Carlo standard error of the quantity estimated."""

    requested_replicates: PositiveCount
    completed_replicates: Count
    successful_replicates: Count
    failed_refits: Count
    failed_refit_policy: FailedRefitPolicy
    boundary_count: Count
    boundary_rate: Probability | None
    finite_statistic_count: Count
    mcse: NonNegative | None


class BootstrapRun(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.bootstrap_run"
    VERSION: ClassVar[str] = "1.0.0"

    target: BootstrapTarget
    counts: BootstrapCounts
    seed_record: SeedRecord
    refit_options: RefitOptions
    statistic_label: str | None
    replicates: tuple[ReplicateFit, ...]
    replicate_statistics: tuple[float | None, ...]
    intervals: tuple[BootstrapInterval, ...]
    notes: tuple[str, ...]


class ParametricBootstrapLRT(Artifact):
    """A likelihood-ratio statistic against its distribution under the smaller model. ``p_value`` counts the observed sample
    among the replicates, so that it is never 0."""

    NAME: ClassVar[str] = "mixeff_fast.parametric_bootstrap_lrt"
    VERSION: ClassVar[str] = "1.0.0"

    null_formula: str
    alternative_formula: str
    observed_statistic: float | None
    replicate_statistics: tuple[float | None, ...]
    p_value: Probability | None
    counts: BootstrapCounts
    seed_record: SeedRecord
    refit_options: RefitOptions
    status: Literal["available", "unavailable"]
    reason_code: Literal["too_few_successful_refits", "lower_loglikelihood_lrt_invalid", "refit_aborted"] | None
    notes: tuple[str, ...]
