"""What a formula says that its writer may not have meant, and how the data were read: facts without wording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, groupby
from typing import TYPE_CHECKING, Any

from mixeff_fast.compile.roles import term_id, written_order
from mixeff_fast.compile.semantic import canonical_term, separation, spans_intercept
from mixeff_fast.formula.render import deparse, render_bars, render_fixed
from mixeff_fast.formula.tree import Bar, Binary, Paren
from mixeff_fast.schemas.diagnostics import DiagnosticCode, Finding, Severity

if TYPE_CHECKING:
    from mixeff_fast.compile.model import Layout, RandomBlock
    from mixeff_fast.formula import Node
    from mixeff_fast.schemas.design import Nesting
    from mixeff_fast.schemas.semantic import RandomTerm, SemanticModel


@dataclass(frozen=True, slots=True)
class _Request:
    """What one bar asks for on one group: a term, or the terms that ``||`` was split into."""

    terms: tuple[RandomTerm, ...]
    written: str

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(term.id for term in self.terms)

    @property
    def basis(self) -> list[str]:
        return [entry.name for term in self.terms for entry in term.basis]

    @property
    def family(self) -> str:
        return self.terms[0].covariance if len(self.terms) == 1 else "diagonal"


def semantic_findings(model: Layout, semantic: SemanticModel, nesting: Sequence[Nesting] = ()) -> tuple[Finding, ...]:
    """Everything there is to say about the formula and the reading of the data.

    Parameters
    ----------
    model, semantic
        The layout, and what ``semantic_model`` made of it.
    nesting
        Grouping factors whose levels lie in those of another, from the audit of the design: their intercepts are not
        crossed.
    """
    requests = [
        _Request(tuple(run), _written(model, run[0]))
        for _, same in groupby(semantic.random_terms, key=lambda term: term.block_group or term.id)
        if (run := list(same))
    ]
    return (
        *_fixed_part(model),
        *_bars(model),
        *_expanded_bases(model),
        *_repeated(requests),
        *_slopes_alone(model, semantic),
        *_separate_blocks(requests),
        *_crossed_intercepts(semantic, nesting),
        *_notes(model),
    )


def _finding(code: DiagnosticCode, severity: Severity, terms: Sequence[str], **payload: Any) -> Finding:
    return Finding(code=code, severity=severity, stage="semantic_ir", affected_terms=tuple(terms), payload=payload)


def _written(model: Layout, term: RandomTerm) -> str:
    """The canonical text of what a term comes from, ``||`` and all."""
    whole = [t for t in model.formula.random
             if term_id(t) == term.id or (t.block_group is not None and t.block_group == term.block_group)]
    return next(render_bars(replace(model.formula, random=tuple(whole))))


def _same(one: str, two: str) -> bool:
    return "".join(one.split()) == "".join(two.split())


def _fixed_part(model: Layout) -> Iterator[Finding]:
    pieces = [deparse(node) for node in _summands(model.formula.tree.rhs)]
    written, canonical = " + ".join(pieces), render_fixed(model.formula)
    if pieces and not _same(written, canonical) and not _same(f"1 + {written}", canonical):
        yield _finding("formula_canonicalized", "info", [term.name for term in model.formula.fixed.terms],
                       part="fixed_effects", written=written, canonical=canonical)


def _summands(root: Node) -> list[Node]:
    """The pieces of a sum that are not random terms, in reading order."""
    found: list[Node] = []
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Binary) and node.op == "+":
            stack += [node.right, node.left]
        elif isinstance(node, Paren) and isinstance(node.inner, Bar):
            stack.append(node.inner)
        elif not isinstance(node, Bar):
            found.append(node)
    return found


def _bars(model: Layout) -> Iterator[Finding]:
    """How each bar was read: rewritten, or expanded into several terms."""
    read = model.formula
    for _, same in groupby(read.random, key=lambda term: term.span):
        terms = list(same)
        first, ids = terms[0], [term_id(term) for term in terms]
        joined = " + ".join(render_bars(replace(read, random=tuple(terms))))
        separated = " + ".join(canonical_term(read, term) for term in terms)
        if first.expansion in ("nested", "crossed_with_cell"):
            yield _finding("syntax_expansion", "info", ids, written=first.written, canonical=joined,
                           expansion_kind=first.expansion)
        if first.expansion == "crossed_with_cell":
            yield _finding("crossing_likely_unintended", "info", ids, written=first.written,
                           parts=list(dict.fromkeys(v.key for term in terms for v in term.group)),
                           groups=list(dict.fromkeys(term.group_name for term in terms)))
        if any(one.block_group is not None and one.block_group == two.block_group for one, two in combinations(terms, 2)):
            yield _finding("syntax_expansion", "info", ids, written=first.written, canonical=separated,
                           expansion_kind="double_bar")
        elif first.expansion in ("as_written", "double_bar") and not _same(first.written, joined):
            yield _finding("formula_canonicalized", "info", ids, part="random_term", written=first.written, canonical=joined)


def _expanded_bases(model: Layout) -> Iterator[Finding]:
    """Effects of random terms that are several columns each."""
    for block in written_order(model):
        for part in block.design.blocks:
            columns = list(block.names[part.start : part.stop])
            codings = [_coding(model, piece.key, piece.coding) for piece in part.parts]
            if set(codings) - {"numeric"} or len(columns) > 1:
                yield _finding("formula_canonicalized", "info", [term_id(block.term)], part="basis",
                               semantic_basis=[part.label], expanded_basis=columns, basis_coding=":".join(codings))


def _coding(model: Layout, key: str, coding: str) -> str:
    if coding != "contrast":
        return coding
    return model.frame.scheme.factors[key].contrast.name


def _repeated(requests: list[_Request]) -> Iterator[Finding]:
    """Columns that two bars let vary over one group: only the sum of their variances is determined."""
    for one, two in combinations(requests, 2):
        if one.terms[0].group != two.terms[0].group:
            continue
        shared = [name for name in one.basis if name in two.basis]
        if not shared:
            continue
        group, ids = one.terms[0].group.name, (*one.ids, *two.ids)
        if len(shared) > 1 and set(one.basis) == set(two.basis) and one.family != two.family:
            yield _finding("conflicting_covariance", "error", ids, group=group, basis=shared,
                           families=[one.family, two.family], source_syntax=[one.written, two.written])
        else:
            yield _finding("duplicate_random_term", "warning", ids, group=group, basis=shared, covariance=one.family,
                           source_syntax=one.written, other_source_syntax=two.written,
                           extent="whole_term" if set(one.basis) == set(two.basis) else "shared_columns")


def _slopes_alone(model: Layout, semantic: SemanticModel) -> Iterator[Finding]:
    """Groups that have slopes and nowhere an intercept."""
    by_group: dict[str, list[RandomBlock]] = {}
    for block in written_order(model):
        by_group.setdefault(block.term.group_name, []).append(block)
    for group, blocks in by_group.items():
        if not any(spans_intercept(block.design) for block in blocks):
            yield _finding("random_slope_without_intercept", "info", [term_id(block.term) for block in blocks], group=group,
                           slopes=[name for block in blocks for name in block.names],
                           source_syntax=" + ".join(canonical_term(model.formula, block.term) for block in blocks))


def _separate_blocks(requests: list[_Request]) -> Iterator[Finding]:
    """Covariances that are zero because terms on one group are separate."""
    for request in requests:
        pairs = list(combinations(request.terms, 2))
        if pairs:
            reasons = {separation(one, two) for one, two in pairs}
            columns = len(request.basis)
            yield _finding(
                "covariance_assumption", "info", request.ids, group=request.terms[0].group.name,
                reason="double_bar_factor_term" if "double_bar_factor_term" in reasons else "double_bar_syntax",
                n_pairs=sum(len(one.basis) * len(two.basis) for one, two in pairs), source_syntax=request.written,
                n_parameters=sum(term.n_parameters for term in request.terms), n_parameters_diagonal=columns,
                n_parameters_full=columns * (columns + 1) // 2,
            )
    for one, two in combinations(requests, 2):
        if one.terms[0].group == two.terms[0].group:
            yield _finding("covariance_assumption", "info", (*one.ids, *two.ids), group=one.terms[0].group.name,
                           reason="separate_random_effect_blocks", n_pairs=len(one.basis) * len(two.basis),
                           source_syntax=f"{one.written} + {two.written}")


def _crossed_intercepts(semantic: SemanticModel, nesting: Sequence[Nesting]) -> Iterator[Finding]:
    """Pairs of scalar intercepts on crossed factors: there is no correlation between them to estimate."""
    nested = {frozenset((pair.inner, pair.outer)) for pair in nesting if not pair.labels_reused}
    scalars = [term for term in semantic.random_terms if term.covariance == "scalar" and term.intercept == "included"]
    for one, two in combinations(scalars, 2):
        parts, others = set(one.group.parts), set(two.group.parts)
        if parts <= others or others <= parts or frozenset((one.group.name, two.group.name)) in nested:
            continue
        yield _finding("covariance_assumption", "info", (one.id, two.id), reason="crossed_intercepts",
                       groups=[one.group.name, two.group.name], correlation_parameter="not_estimated")


def _notes(model: Layout) -> Iterator[Finding]:
    for note in model.frame.notes:
        column = {} if note.column is None else {"column": note.column}
        yield _finding(note.code, "info", list(column.values()), **{**column, **note.payload})
