"""What a slope's random part could look like: five candidates, each compiled and audited on the data of the model."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import polars as pl

from mixeff_fast.compile import check_saturation
from mixeff_fast.errors import ArgumentError, MixeffError, MixeffNotice
from mixeff_fast.formula import Name, RandomTerm, Term, TermSet, render
from mixeff_fast.frame import FactorVariable, design_columns
from mixeff_fast.frame.source import column_names, require_columns
from mixeff_fast.models.spec import compile_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mixeff_fast.formula import ModelFormula
    from mixeff_fast.frame.design import Variables
    from mixeff_fast.models.spec import ModelSpec

    Signature = Counter[tuple[frozenset[str], frozenset[str]]]

# from the least to the most that a design can lack
STATUSES = ("sufficient", "weakly_supported", "not_assessable", "too_rich")
INTERCEPT = TermSet(True, ())


class RandomOptions:
    """Five ways in which an intercept and a slope may vary over the levels of a group; none is put before another.

    Attributes
    ----------
    group
        The grouping factor.
    slope
        The term whose effect varies.
    table
        One row per candidate: ``key, formula, varying_coefficients, covariance_family, theta_parameters, design_status,
        reason_code, plain_meaning, note, current``.
    specs
        The compiled candidates by key, those left out that the compiler refused.
    """

    def __init__(self, group: str, slope: str, table: pl.DataFrame, specs: Mapping[str, ModelSpec]) -> None:
        self.group = group
        self.slope = slope
        self.table = table
        self.specs = specs

    def __repr__(self) -> str:
        from mixeff_fast.report.options import options_text

        return options_text(self.group, self.slope, self.table.to_dicts())

    def _repr_html_(self) -> str:
        from mixeff_fast.report.html import preformatted

        return preformatted(repr(self))


@dataclass(frozen=True, slots=True)
class _Candidate:
    key: str
    blocks: tuple[TermSet, ...]
    double: bool = False


def _candidates(slope: Term) -> tuple[_Candidate, ...]:
    alone = TermSet(False, (slope,))
    return (
        _Candidate("punt", (INTERCEPT,)),
        _Candidate("slope_only", (alone,)),
        _Candidate("split_uncorrelated", (INTERCEPT, alone)),
        _Candidate("double_bar_synonym", (INTERCEPT, alone), double=True),
        _Candidate("full", (TermSet(True, (slope,)),)),
    )


def random_options(spec: ModelSpec, group: str, slope: str | None) -> RandomOptions:
    """Compile and audit the candidates."""
    formula = spec.requested.formula
    groups = list(dict.fromkeys(term.group_name for term in formula.random))
    if group not in groups:
        raise ArgumentError(f"group is one of {', '.join(groups)}, not {group!r}", argument="group", choices=groups)
    term = _default_slope(spec, group) if slope is None else _named_slope(spec, slope)
    variables = spec.requested.frame.variables
    wanted = _signature(formula.random, variables)
    rows: list[dict[str, Any]] = []
    specs: dict[str, ModelSpec] = {}
    signatures: dict[str, Signature] = {}
    for candidate in _candidates(term):
        edited = _edited(formula, group, term, candidate)
        signatures[candidate.key] = _signature(edited.random, variables)
        row = _facts(candidate, variables) | {"formula": render(edited), "current": signatures[candidate.key] == wanted}
        try:
            candidate_spec = _compiled(spec, row["formula"])
            check_saturation(candidate_spec.compiled)
            specs[candidate.key] = candidate_spec
            row |= {"design_status": _design_status(specs[candidate.key], group), "reason_code": None}
        except MixeffError as refusal:
            code = refusal.fields.get("reason_code", refusal.code)
            if code == "rows_not_in_memory":
                raise
            row |= {"design_status": "refused", "reason_code": code}
        rows.append(row)
    return RandomOptions(group, term.name, _table(rows, signatures, group, term, formula), specs)


def _compiled(spec: ModelSpec, formula: str) -> ModelSpec:
    """A candidate compiled as it stands; what there is to notice in the data has been said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MixeffNotice)
        return compile_call(replace(spec.call, formula=formula, intent="confirmatory_as_specified"))


def _table(
    rows: list[dict[str, Any]], signatures: Mapping[str, Signature], group: str, slope: Term, formula: ModelFormula
) -> pl.DataFrame:
    from mixeff_fast.report.options import option_meaning, option_note

    apart = [t.name for term in formula.random for t in _rest(term, group, slope) or ()]
    spanned = signatures["slope_only"] == signatures["full"]
    for row in rows:
        key = row["key"]
        same = [other for other, signature in signatures.items() if other != key and signature == signatures[key]]
        row["plain_meaning"] = option_meaning(key, group, slope.name, spanned)
        row["note"] = option_note(same, apart)
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "key": pl.String, "formula": pl.String, "varying_coefficients": pl.List(pl.String), "covariance_family": pl.String,
        "theta_parameters": pl.Int64, "design_status": pl.String, "reason_code": pl.String, "plain_meaning": pl.String,
        "note": pl.String, "current": pl.Boolean,
    }
    return pl.DataFrame(rows, schema=schema)


def _facts(candidate: _Candidate, variables: Variables) -> dict[str, Any]:
    blocks = [design_columns(lhs, variables).names for lhs in candidate.blocks]
    widths = [len(names) for names in blocks]
    one = "scalar" if widths[0] == 1 else "full"
    several = "diagonal" if max(widths) == 1 else "block_diagonal"
    return {
        "key": candidate.key,
        "varying_coefficients": list(dict.fromkeys(name for names in blocks for name in names)),
        "covariance_family": one if len(widths) == 1 else several,
        "theta_parameters": sum(w * (w + 1) // 2 for w in widths),
    }


def _design_status(spec: ModelSpec, group: str) -> str:
    """The worst status of the terms on the group."""
    audits = spec.artifact.design_audit.random_terms
    found = [audit.information_budget.status for audit in audits if audit.group.name == group]
    return max(found, key=STATUSES.index)


def _rest(term: RandomTerm, group: str, slope: Term) -> tuple[Term, ...] | None:
    """What a term has beside the intercept and the slope; None where it has neither or is on another group."""
    if term.group_name != group or not (term.lhs.intercept or slope in term.lhs.terms):
        return None
    return tuple(other for other in term.lhs.terms if other != slope)


def _edited(formula: ModelFormula, group: str, slope: Term, candidate: _Candidate) -> ModelFormula:
    """The formula with the candidate in place of the group's intercept and slope, and all else as it was."""
    like = next(term for term in formula.random if term.group_name == group)
    label = "candidate" if candidate.double else None
    new = [replace(like, lhs=lhs, covariance="us", block_group=label) for lhs in candidate.blocks]
    rests = [_rest(term, group, slope) for term in formula.random]
    split = {term.block_group for term, rest in zip(formula.random, rests, strict=True) if rest is not None}
    terms: list[RandomTerm] = []
    at: int | None = None
    for term, rest in zip(formula.random, rests, strict=True):
        if rest is None:
            terms.append(replace(term, block_group=None) if term.block_group in split else term)
            continue
        at = len(terms) if at is None else at
        if rest:
            terms.append(replace(term, lhs=TermSet(False, rest), block_group=None))
    at = len(terms) if at is None else at
    terms[at:at] = new
    return replace(formula, random=tuple(replace(term, index=i) for i, term in enumerate(terms)))


def _signature(terms: Iterable[RandomTerm], variables: Variables) -> Signature:
    """The columns that vary together, by group: equal for two random parts that are the same model.

    The indicators of a factor span the intercept, so ``(1 + f | g)`` and ``(0 + f | g)`` are the same.
    """
    found: Signature = Counter()
    for term in terms:
        lhs = term.lhs
        factors = [t for t in lhs.terms if len(t.variables) == 1 and isinstance(variables[t.name], FactorVariable)]
        if factors and term.covariance != "diag":
            lhs = TermSet(False, lhs.terms)
        names = design_columns(lhs, variables).names
        blocks = [[name] for name in names] if term.covariance == "diag" else [names]
        group = frozenset(variable.key for variable in term.group)
        found.update((group, frozenset(block)) for block in blocks)
    return found


def _named_slope(spec: ModelSpec, slope: str) -> Term:
    """The term that is called so, or that is the column of that name."""
    terms = _known_terms(spec.requested.formula)
    for term in terms:
        node = term.variables[0].node if len(term.variables) == 1 else None
        if slope == term.name or (isinstance(node, Name) and node.name == slope):
            return term
    choices = [term.name for term in terms]
    if not isinstance(slope, str):
        raise ArgumentError(f"slope is the name of a term or None, not {slope!r}", argument="slope", choices=choices)
    require_columns([slope], column_names(spec.call.data))
    raise ArgumentError(
        f"slope is a term of the model ({', '.join(choices) or 'it has none'}), not {slope!r}; a column becomes one when the "
        "formula names it",
        argument="slope", choices=choices,
    )


def _known_terms(formula: ModelFormula) -> list[Term]:
    varying = (term for random in formula.random for term in random.lhs.terms)
    return list(dict.fromkeys([*formula.fixed.terms, *varying]))


def _default_slope(spec: ModelSpec, group: str) -> Term:
    """The first slope that varies over the group, else the fixed effect that a scope note names, else the first one."""
    formula = spec.requested.formula
    for random in formula.random:
        if random.group_name == group and random.lhs.terms:
            return random.lhs.terms[0]
    for diagnostic in spec.artifact.diagnostics:
        if diagnostic.code == "scope_note" and diagnostic.payload.get("group") == group:
            return _named_slope(spec, diagnostic.payload["fixed_effect"])
    if not formula.fixed.terms:
        raise ArgumentError(
            "the model has no term whose effect could vary; name it in the formula, or fit the intercepts alone",
            argument="slope", choices=[],
        )
    return formula.fixed.terms[0]
