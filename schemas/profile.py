"""Intervals from profile likelihoods, with the profiles they were read from."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, Level, NonNegative, Record

ProfileReason = Literal[
    "profile_beta_unavailable_under_reml", "profile_bound_not_reached", "profile_not_monotone", "parameter_at_boundary"
]


class ProfileInterval(Record):
    """The interval of one parameter; a bound that the profile does not reach is None, with the reason."""

    parameter: str
    kind: Literal["sigma", "fixed_effect", "theta", "standard_deviation", "correlation"]
    estimate: float
    lower: float | None
    upper: float | None
    level: Level
    method: Literal["profile_likelihood"]
    regularity: Literal["regular_profile_likelihood", "nonnegative_parameter_boundary_clamped"]
    boundary_clamped_lower: bool
    status: Literal["available", "partially_available", "unavailable"]
    reason_code: ProfileReason | None


class ProfileRow(Record):
    """A point of a profile: ``parameter`` held at ``value``, the others at their optimum; ``zeta`` is the signed root of the
    change in the criterion."""

    parameter: str
    value: float
    zeta: float
    sigma: NonNegative
    beta: tuple[float | None, ...]
    theta: tuple[float, ...]


class ProfileLikelihoodCI(Artifact):
    NAME: ClassVar[str] = "mixeff_fast.profile_likelihood_ci"
    VERSION: ClassVar[str] = "1.0.0"

    level: Level
    fit_criterion: Literal["ML", "REML"]
    intervals: tuple[ProfileInterval, ...]
    profile_rows: tuple[ProfileRow, ...]
    notes: tuple[str, ...]
