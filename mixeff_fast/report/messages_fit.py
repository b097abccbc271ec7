"""Wording of what a fit gives rise to."""

from __future__ import annotations

from mixeff_fast.report.messages_formula import Wording

FIT: dict[str, Wording] = {
    "covariance_reduced": Wording(
        ("this fit supports {supported_rank} of the {requested_rank} directions of {source_syntax}",
         "a direction without support in this fit can have variance in the population"),
        ("{source_syntax} as written: estimates and standard errors are those of the reduced covariance",
         "a term with fewer parameters: the same fit where it contains the supported directions, another where it does not"),
    ),
    "boundary_parameter": Wording(
        ("covariance parameters of {source_syntax} lie at zero, the end of their range: {theta_names}",
         "the fit is an optimum there, which says nothing against it"),
    ),
    "near_unit_random_effect_correlation": Wording(
        ("the correlation of {var1} and {var2} by {group} is {correlation}", "threshold: {threshold}"),
        ("the term as written: the two vary together almost without exception, and their separate variances are poorly known",
         "the two uncorrelated: one parameter fewer, and a lower likelihood as far as the data speak for the correlation"),
    ),
    "optimizer_nonconvergence": Wording(
        ("the search ended at a point that is not an optimum", "{reason:words}",
         "evaluations: {evaluations} of at most {max_evaluations}", "Newton decrement: {newton_decrement}"),
        ("a larger limit on evaluations: the search goes on where the limit ended it, and takes longer",
         "another starting point: the search takes another path, which may end at the same point"),
    ),
    "optimizer_not_assessed": Wording(("whether the fit is an optimum was not assessed", "{reason:words}")),
    "optimizer_recovery": Wording(
        ("the search went on from points that were no optimum", "restarts: {restarts}", "{reason:words}"),
    ),
    "inference_unavailable": Wording(("{quantity:words} has no value", "{reason_code:words}")),
    "not_identifiable/exact_fit": Wording(
        ("the model fits the response exactly: the residual variance is zero and the likelihood has no bound",),
        ("a model with fewer random effects: a residual variance that the data determine",
         "the model as it is: no likelihood, and no standard errors"),
    ),
    "not_identifiable/flat_direction": Wording(
        ("the criterion is constant along a combination of parameters", "terms: {affected}"),
        ("a random part with fewer parameters: the data determine those that remain",
         "the model as it is: fitted values are determined, the division of the variance is not"),
    ),
    "binomial_separation": Wording(
        ("the fixed effects separate the two outcomes", "{separation_kind:words}", "columns: {columns}",
         "rows that they tell apart: {n_separated} of {n_rows}", "rows where {column} is {value}: {n_at_value}"),
        ("the model as it is: estimates along the separating direction have no finite maximum",
         "a penalty or prior on the fixed effects: finite estimates, which depend on it",
         "a model without the separating columns: finite estimates, which leave their effect out"),
    ),
    "binomial_separation/conditional": Wording(
        ("random effects of {groups}, with the fixed effects, tell all successes from all failures",
         "as their standard deviations grow for ever the likelihood keeps a positive limit",
         "rows that they tell apart: {n_separated} of {n_rows}"),
        ("the model as it is: its criterion has an optimum, and the standard deviation there is that of the approximation",
         "more rows per level, of both outcomes: a standard deviation that the data bound",
         "a model without these random effects: finite estimates, and levels that have the same probabilities"),
    ),
    "support_note/levels_of_one_outcome": Wording(
        ("levels of {group} that have one outcome only: {n_one_outcome} of {n_levels}",
         "the standard deviation of their effects is large, and rests on the other levels"),
    ),
    "separation_check_skipped": Wording(
        ("whether the outcomes are separated was not examined", "{reason:words}",
         "rows: {n_rows}, columns: {n_columns}"),
    ),
    "invalid_agq_request": Wording(
        ("adaptive Gauss-Hermite quadrature with {n_agq} points is not available for this model", "{reason:words}"),
    ),
    "pirls_failure": Wording(
        ("the penalized least squares at the fitted parameters did not settle", "{reason:words}"),
    ),
}
