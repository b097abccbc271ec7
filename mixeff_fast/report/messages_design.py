"""Wording of what the data say about the model before it is fitted."""

from __future__ import annotations

from mixeff_fast.report.messages_formula import Wording

_FIXED_OR_RANDOM = (
    "the fixed effects alone: statements are about these levels of {group}, without a variance between them",
    "the random term alone: the levels of {group} are a sample, with a variance between them and shrunken effects",
)
_RICHNESS = (
    "{reduced_covariance}: fewer parameters, under the assumption that the correlations left out are zero",
    "{source_syntax} as written: no assumption on the correlations, and covariance parameters with wide uncertainty or at the "
    "boundary",
)

DESIGN: dict[str, Wording] = {
    "fixed_effect_rank_deficient": Wording(
        ("the {requested_columns} fixed-effect columns have rank {rank}",
         "combinations of other columns, left without an estimate: {aliased_columns}"),
        ("the formula as it is: the fitted values are those of the columns that remain, the others have no estimate",
         "a formula without the redundant terms: the same fitted values, every coefficient with an estimate"),
    ),
    "fixed_effect_rank_deficient/term": Wording(
        ("the fixed term {term} is {status:words}", "columns: {n_columns}",
         "combinations of other columns: {aliased_columns}"),
    ),
    "fixed_effect_empty_cell": Wording(
        ("{term} has combinations of levels that no row has", "empty combinations: {n_empty_cells}",
         "the first: {levels} of {factors}"),
        ("the interaction as it is: effects that need an empty combination have no estimate",
         "main effects alone: an empty combination is predicted from them, which these data cannot check"),
    ),
    "fixed_random_redundant": Wording(
        ("{group} is a fixed factor and the grouping of {source_syntax}",
         "the fixed effects give each of its {n_levels} levels a mean, which leaves the variance nothing to describe"),
        _FIXED_OR_RANDOM,
    ),
    "design_weak_identifiability": Wording(
        ("the indicators of the {n_levels} levels of {group} are combinations of the fixed-effect columns",
         "relative residual {projection_residual_rel}, tolerance {tolerance}",
         "the fixed effects can take up everything that the intercepts of {group} describe"),
        _FIXED_OR_RANDOM,
    ),
    "repeated_unit_unmodeled": Wording(
        ("rows repeat the levels of {unit} and no random term carries their dependence",
         "{n_levels} levels, up to {max_obs_per_level} rows each", "why it counts as a unit: {evidence:words}"),
        ("adding {random_term}: rows of one level share a deviation, with one variance more",
         "{unit} as a fixed factor: statements are about these levels, with a coefficient for each",
         "neither: rows of one level count as independent given the rest of the model, and standard errors rest on that"),
    ),
    "random_slope_unsupported": Wording(
        ("{basis} does not vary within the levels of {group}",
         "{reason:words}", "its largest standard deviation within a level is {max_within_group_sd}, the threshold "
         "{min_within_group_sd}",
         "no level shows a slope of its own"),
        ("{basis} without a slope by {group}: one effect for all levels",
         "{source_syntax} as written: the variance of the slopes is judged from differences between levels alone"),
    ),
    "structural_refusal": Wording(
        ("{basis} is constant within every level of {group}", "{source_syntax} asks for a slope that no level can show"),
    ),
    "random_effect_few_levels": Wording(
        ("{group} has {n_levels} levels", "a variance counts as reliable from {min_levels_reliability} levels on",
         "expected standard error of its standard deviation, relative to it: {expected_standard_error}"),
        ("{group} as a fixed factor: statements are about these levels, without a variance between them",
         "{group} as a random factor: a variance between levels, with wide uncertainty"),
    ),
    "covariance_too_rich": Wording(
        ("{source_syntax} has {requested_covariance_parameters} covariance parameters and {group} has {n_levels} levels",
         "rows: {n_rows}", "{reason:words}",
         "expected standard error of a standard deviation in the worst direction, relative to it: {expected_standard_error}",
         "the term is {status:words}"),
        _RICHNESS,
    ),
    "covariance_too_rich/row_saturated": Wording(
        ("{source_syntax} has {basis_dimension} random effects for each of the {n_levels} levels of {group}, and the data have "
         "{n_rows} rows",
         "their variances cannot be told from the variation of single rows"),
        _RICHNESS,
    ),
    "scope_note": Wording(
        ("{fixed_effect} varies within the levels of {group}, and no random term on {group} has a slope for it",),
        ("no slope by {group}, as written: the standard error of {fixed_effect} leaves differences between the levels' slopes "
         "out",
         "a slope by {group}: the standard error includes them, with at least one variance more"),
    ),
    "support_note": Wording(
        ("{reason:words}", "term: {source_syntax}", "levels of {group}: {n_levels}",
         "expected standard error of its standard deviation, relative to it: {expected_standard_error}"),
    ),
    "not_identifiable": Wording(("the data do not determine the model", "{reason:words}")),
    "not_identifiable/constant_response_within_groups": Wording(
        ("the response is constant within {constant_response_levels} of the {repeated_levels} levels of {group} that have "
         "several rows",
         "{varying_numeric_columns} vary within levels",
         "the rows of such a level carry one value of the response among them"),
        ("one row per level of {group}: a model of the levels, with as many rows as there are distinct responses",
         "the rows as they are: a residual variance, or dispersion, near zero, and standard errors that count every row"),
    ),
    "not_identifiable/observation_level_effect_of_binary_response": Wording(
        ("{source_syntax} has an effect for each row, and each row is the outcome of one trial",
         "a single outcome of zero or one leaves nothing for the variance between rows to describe"),
        ("the model without {source_syntax}: what a single trial can tell, with coefficients on their usual scale",
         "{source_syntax} as written: a variance that rests on the shape of the link alone, and coefficients that grow with "
         "it"),
    ),
    "observation_level_effect": Wording(
        ("{source_syntax} has an effect for each row", "{reason:words}"),
    ),
    "observation_level_effect/beside_family_parameter": Wording(
        ("{source_syntax} has an effect for each row, beside the parameter of the {family:words} family",
         "both describe how rows vary around their mean, and the shape of that variation alone tells them apart"),
        ("the model without {source_syntax}: the family's parameter describes the variation of rows",
         "{source_syntax} as written: the variation of rows is divided in two, each part with wide uncertainty"),
    ),
    "disconnected_design": Wording(
        ("the levels of {factors} fall into {n_components} parts that no row connects",
         "differences between levels of different parts rest on the random effects having one mean"),
        ("one model for all parts: variances are shared, and parts compare through that assumption",
         "a model for each part: no such assumption, with fewer rows for every variance"),
    ),
}
