"""The audit of a model: lines that each point at the datum they speak of, as text, HTML, table or JSON."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, get_args

from mixeff_fast._version import __version__
from mixeff_fast.report import audit_fit, audit_model, audit_random
from mixeff_fast.report.audit_lines import Lines
from mixeff_fast.report.html import table
from mixeff_fast.report.pointer import resolve
from mixeff_fast.schemas.audit import AuditLine, AuditReport, Section

if TYPE_CHECKING:
    import polars as pl

    from mixeff_fast.schemas.audit import Tag
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.fit import FitArtifact

SECTIONS: tuple[Section, ...] = get_args(Section)
TAGS: dict[Tag, str] = {
    "ok": "[OK]", "info": "[INFO]", "not_assessed": "[NOT CHECKED]", "warning": "[WARNING]", "error": "[ERROR]",
}
SEVERITY = {tag: rank for rank, tag in enumerate(TAGS)}
FIT_SECTIONS = ("Effective Covariance", "Optimizer", "Inference")
WRITERS = (
    audit_model.requested_model, audit_model.model_state, audit_model.fixed_effects, audit_random.random_effects,
    audit_random.information_budget, audit_random.random_term_cards, audit_random.cross_card_constraints,
    audit_random.dependence_paths, audit_random.parameterization_trace, audit_fit.effective_covariance,
    audit_fit.policy_recommendations, audit_fit.optimizer, audit_fit.inference, audit_fit.diagnostics,
)


def _calls_for_attention(line: AuditLine) -> bool:
    return line.tag in ("warning", "error") or (line.tag == "not_assessed" and line.section in FIT_SECTIONS)


def _in_summary(line: AuditLine) -> bool:
    return line.section == "Requested Model" or _calls_for_attention(line) or line.source.startswith("/verdict/")


def audit_lines(artifact: CompiledModelArtifact | FitArtifact, full: bool) -> tuple[AuditLine, ...]:
    """The lines of an audit in the order of its sections.

    Parameters
    ----------
    artifact
        A compiled or a fitted model. The lines of a fit point at what was known before it under ``/compiled``.
    full
        All sections; else the request, the verdicts, and the lines that call for attention.
    """
    return _written(artifact, full)[1]


def _written(artifact: CompiledModelArtifact | FitArtifact, full: bool) -> tuple[Lines, tuple[AuditLine, ...]]:
    lines = Lines(artifact)
    for write in WRITERS:
        write(lines)
    return lines, tuple(line for line in lines.lines if full or _in_summary(line))


class Audit:
    """What ``audit()`` returns: prints as text, shows as HTML in a notebook.

    Attributes
    ----------
    artifact
        The report as a pydantic artifact: :class:`~mixeff_fast.schemas.audit.AuditReport`.

    Examples
    --------
    >>> import mixeff_fast as mf
    >>> report = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff")).audit(full=True)
    >>> line = next(line for line in report.lines if line.label == "rank")
    >>> line.tag, line.source, line.data["rank"], report.trace(line)["status"]
    ('ok', '/design_audit/fixed_effects/rank', 1, 'full_rank')
    """

    def __init__(self, artifact: CompiledModelArtifact | FitArtifact, full: bool) -> None:
        lines, kept = _written(artifact, full)
        self._document = lines.document
        self.artifact = AuditReport(
            header=AuditReport.make_header(__version__),
            subject=artifact.NAME,  # type: ignore[arg-type]
            subject_sha256=hashlib.sha256(lines.text.encode()).hexdigest(),
            full=full,
            lines=kept,
        )

    @property
    def lines(self) -> tuple[AuditLine, ...]:
        """Records ``section, label, tag, detail, data, source``; ``source`` is a JSON pointer into the artifact of the
        audited model, ``data`` the values that ``detail`` prints, by their path below it."""
        return self.artifact.lines

    @property
    def table(self) -> pl.DataFrame:
        """One row per line: ``section, label, tag, detail, source``."""
        import polars as pl

        names = ("section", "label", "tag", "detail", "source")
        rows = [[getattr(line, name) for name in names] for line in self.lines]
        return pl.DataFrame(rows, schema=dict.fromkeys(names, pl.String), orient="row")

    def trace(self, line: AuditLine | int) -> Any:
        """The datum a line points at, as it is in the JSON of the audited artifact.

        Parameters
        ----------
        line
            One of ``lines``, or its index.

        Raises
        ------
        IndexError
            No line has this index.
        """
        return resolve(self._document, (self.lines[line] if isinstance(line, int) else line).source)

    def as_json(self, pretty: bool = False) -> str:
        """The report's artifact as JSON text; ``pretty`` indents it."""
        return self.artifact.model_dump_json(indent=2 if pretty else None)

    def _blocks(self) -> list[tuple[str, list[AuditLine]]]:
        """The attention lines, most severe first, then the sections."""
        attention = sorted(filter(_calls_for_attention, self.lines), key=lambda line: -SEVERITY[line.tag])
        verdicts = [line for line in self.lines if line.source.startswith("/verdict/") and line not in attention]
        blocks: list[tuple[str, list[AuditLine]]] = [("Audit Summary", [*attention, *verdicts])]
        for section in SECTIONS if self.artifact.full else SECTIONS[:1]:
            blocks.append((section, [line for line in self.lines if line.section == section]))
        return blocks

    def __str__(self) -> str:
        text = []
        for title, lines in self._blocks():
            text.append(title)
            text += [f"  {line.label} {TAGS[line.tag]}: {line.detail}" for line in lines]
            if not lines:
                text.append("  no line calls for attention")
        return "\n".join(text)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return "".join(
            table(title, [(line.label, TAGS[line.tag], line.detail) for line in lines] or [("no line calls for attention",)])
            for title, lines in self._blocks()
        )


def audit_report(artifact: CompiledModelArtifact | FitArtifact, full: bool) -> Audit:
    """The audit of a compiled or fitted model; ``full`` as in :func:`audit_lines`."""
    return Audit(artifact, full)
