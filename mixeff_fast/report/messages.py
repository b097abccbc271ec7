"""The wording of diagnostics: facts in the message, possibilities and what follows from each in the options."""

from __future__ import annotations

import string
from typing import TYPE_CHECKING, Any

from mixeff_fast.report.messages_design import DESIGN
from mixeff_fast.report.messages_fit import FIT
from mixeff_fast.report.messages_formula import FORMULA
from mixeff_fast.report.numbers import plain
from mixeff_fast.report.wording import words
from mixeff_fast.schemas.diagnostics import Diagnostic

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mixeff_fast.report.messages_formula import Wording
    from mixeff_fast.schemas.diagnostics import Finding

WORDINGS: dict[str, Wording] = {**FORMULA, **DESIGN, **FIT}


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return plain(value)
    if isinstance(value, dict):
        return ", ".join(f"{key} {_text(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_text(item) for item in value)
    return str(value)


class _Clause(string.Formatter):
    """Fills in the facts: ``{name:words}`` is a label, ``{name:s}`` is only asked to be there."""

    def format_field(self, value: Any, format_spec: str) -> str:
        return words(str(value)) if format_spec == "words" else _text(value)


_CLAUSE = _Clause()


def _filled(template: str, facts: Mapping[str, Any]) -> str | None:
    """The clause, or None where a fact it needs is not known."""
    names = [name for _, name, _, _ in _CLAUSE.parse(template) if name is not None]
    if any(facts.get(name) in (None, "", [], (), {}) for name in names):
        return None
    return _CLAUSE.vformat(template, (), facts)


def _wording(finding: Finding, facts: Mapping[str, Any]) -> Wording:
    """The wording of the code; that of its variant where the facts select one."""
    variants = [f"{finding.code}/{facts.get('reason')}"]
    variants += [f"{finding.code}/{key}" for key in ("term", "row_saturated") if facts.get(key)]
    return WORDINGS[next((key for key in variants if key in WORDINGS), finding.code)]


def diagnostic(finding: Finding) -> Diagnostic:
    """Put a finding into words. Clauses and options whose facts are not in the payload are left out."""
    facts: dict[str, Any] = {"affected": list(finding.affected_terms), **finding.payload}
    wording = _wording(finding, facts)
    clauses = [clause for template in wording.clauses if (clause := _filled(template, facts))]
    options = [option for template in wording.options if (option := _filled(template, facts))]
    message = "; ".join(clauses)
    if not message:
        message = ": ".join([words(finding.code), *([", ".join(finding.affected_terms)] if finding.affected_terms else [])])
    return Diagnostic(
        code=finding.code, severity=finding.severity, stage=finding.stage, affected_terms=finding.affected_terms,
        payload=finding.payload, message=message, options=tuple(options) if len(options) > 1 else (),
    )
