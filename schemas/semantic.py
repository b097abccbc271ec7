"""What a formula means: response, fixed terms, random terms with their covariance, and the roles of the variables."""

from __future__ import annotations

from typing import Literal

from mixeff_fast.schemas.base import Count, NonNegative, Record

GroupKind = Literal["single", "cell", "interaction"]
BasisKind = Literal["intercept", "slope", "interaction"]
CovarianceFamily = Literal["scalar", "diagonal", "full", "structured"]
CovarianceSupport = Literal["supported", "parsed_refused"]
Role = Literal["sampled_unit", "item", "site", "batch", "block", "treatment", "repeated_unit", "unknown"]
RoleOrigin = Literal["declared_by_user", "observed_from_data"]


class Grouping(Record):
    """The grouping of a random term: one variable, or the observed combinations of several (``cell``; ``interaction`` when
    written ``a & b``)."""

    kind: GroupKind
    name: str
    parts: tuple[str, ...]


class BasisEntry(Record):
    """A column of a random term."""

    name: str
    kind: BasisKind
    source: str


class SourceSyntax(Record):
    """``text`` is canonical; ``written`` is the fragment of the formula it came from."""

    text: str
    written: str


class RandomTerm(Record):
    """One random term after expansion; ``id`` counts them in the order of the formula."""

    id: str
    group: Grouping
    basis: tuple[BasisEntry, ...]
    covariance: CovarianceFamily
    structure: str | None
    covariance_support: CovarianceSupport
    n_parameters: Count
    block_group: str | None
    intercept: Literal["included", "omitted"]
    role: Role
    source_syntax: SourceSyntax


class RoleRecord(Record):
    """The part a variable plays in the design; ``evidence`` says what that rests on."""

    variable: str
    role: Role | Literal["observed_within_group", "observed_between_group", "observed_fixed_effect"]
    origin: RoleOrigin
    group: str | None
    evidence: str


class SemanticModel(Record):
    """The model that a formula asks for. ``"1"`` is the intercept."""

    response: str
    fixed_terms: tuple[str, ...]
    random_terms: tuple[RandomTerm, ...]
    roles: tuple[RoleRecord, ...]


class CovarianceStory(Record):
    """What a term's covariance says in words: which dependence it allows, and what it takes for granted."""

    summary: str
    assumptions: tuple[str, ...]
    dependence: tuple[str, ...]


class CardBlock(Record):
    """What varies over the levels of a group. ``english`` says it in words."""

    basis: tuple[str, ...]
    intercept: bool
    slopes: tuple[str, ...]
    covariance: CovarianceFamily
    theta_parameters: Count
    english: str


class CardSupport(Record):
    """What the data have for a card; rows per group are None where they were not counted. ``within_group_variation`` has one
    entry per basis column."""

    group_levels: Count
    min_rows_per_group: Count | None
    median_rows_per_group: NonNegative | None
    within_group_variation: dict[str, Literal["present", "absent", "constant", "not_assessed"]]
    status: Literal["sufficient", "weakly_supported", "too_rich", "not_assessable"]


class RandomTermCard(Record):
    """A random term on one card: as written, in canonical form, what it lets vary, and what supports it."""

    term_id: str
    original_fragment: str
    canonical_fragment: str
    named_form: str
    group: str
    block: CardBlock
    covariance_story: CovarianceStory
    design_support: CardSupport
    role_origin: RoleOrigin | None


class CrossCardConstraint(Record):
    """A covariance that is zero because two terms on one group are separate: one record per pair of basis columns."""

    type: Literal["zero_covariance"]
    between_cards: tuple[str, str]
    between_basis: tuple[str, str]
    group: str
    reason: Literal["double_bar_syntax", "separate_random_effect_blocks", "double_bar_factor_term"]
