"""Whether the search ends at the same optimum from elsewhere."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Count, NonNegative, Record


class VerificationRun(Record):
    """One more search: how far from the reference it ended. ``beta_delta`` is in standard errors; None where it failed."""

    label: str
    kind: Literal["restart_from_optimum", "jitter_restart", "dispersed_start", "optimizer_consensus"]
    optimizer: str
    return_code: str
    objective_value: float | None
    objective_delta: float | None
    theta_delta: NonNegative | None
    beta_delta: NonNegative | None
    effective_ranks: tuple[Count, ...]
    agrees: bool
    disagreements: tuple[Literal["objective", "theta", "beta", "effective_rank", "failed"], ...]


class ConvergenceVerification(Artifact):
    """The reference optimum and the runs compared with it. The tolerances are relative: of the objective to its size, of theta
    to its largest entry, of beta to its standard errors."""

    NAME: ClassVar[str] = "mixeff_fast.convergence_verification"
    VERSION: ClassVar[str] = "1.0.0"

    status: Literal["not_run", "restart_agrees", "optimizer_consensus", "fragile", "unstable"]
    objective_tolerance: NonNegative
    theta_tolerance: NonNegative
    beta_tolerance: NonNegative
    reference_objective: float
    reference_theta: tuple[float, ...]
    reference_beta: tuple[float | None, ...]
    reference_effective_ranks: tuple[Count, ...]
    runs: tuple[VerificationRun, ...]
    message: str
