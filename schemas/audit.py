"""The audit report: lines that each point at the datum they speak of."""

from __future__ import annotations

from typing import ClassVar, Literal

from mixeff_fast.schemas.base import Artifact, JsonObject, Record

Tag = Literal["ok", "info", "warning", "error", "not_assessed"]
Section = Literal[
    "Requested Model", "Model State", "Fixed Effects", "Random Effects", "Random-Effect Information Budget",
    "Random Term Cards", "Cross-Card Constraints", "Dependence Paths", "Parameterization Trace", "Effective Covariance",
    "Policy Recommendations", "Optimizer", "Inference", "Diagnostics",
]


class AuditLine(Record):
    """One line. ``source`` is a JSON pointer (RFC 6901) into the artifact; ``data`` are the values that ``detail`` prints,
    by the name they have below ``source``."""

    section: Section
    label: str
    tag: Tag
    detail: str
    data: JsonObject
    source: str


class AuditReport(Artifact):
    """``subject_sha256`` is the hash of the artifact that the lines point into."""

    NAME: ClassVar[str] = "mixeff_fast.model_audit_report"
    VERSION: ClassVar[str] = "1.0.0"

    subject: Literal["mixeff_fast.compiled_model_artifact", "mixeff_fast.fit_artifact"]
    subject_sha256: str
    full: bool
    lines: tuple[AuditLine, ...]
