"""The verbs that read an artifact, for compiled and for fitted models alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast, get_args

from mixeff_fast.errors import ArgumentError, InferenceUnavailable
from mixeff_fast.models.arguments import flag

if TYPE_CHECKING:
    import polars as pl

    from mixeff_fast.models.options import RandomOptions
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.report.audit import Audit
    from mixeff_fast.report.explain import Explanation
    from mixeff_fast.report.inspection import Changes, CovarianceChoices, Parameterization, Reproducibility
    from mixeff_fast.schemas.certificate import OptimizerCertificate
    from mixeff_fast.schemas.compiled import CompiledModelArtifact
    from mixeff_fast.schemas.diagnostics import Severity, Stage
    from mixeff_fast.schemas.fit import FitArtifact


class Inspection:
    """What can be asked of a model before and after its fit. All but ``random_options`` is read from ``artifact``."""

    __slots__ = ()

    def _subject(self) -> CompiledModelArtifact | FitArtifact:
        return cast("CompiledModelArtifact | FitArtifact", self.artifact)  # type: ignore[attr-defined]

    def _compiled_artifact(self) -> CompiledModelArtifact:
        subject = self._subject()
        return cast("CompiledModelArtifact", getattr(subject, "compiled", subject))

    def _spec(self) -> ModelSpec:
        return cast("ModelSpec", getattr(self, "spec", self))

    def audit(self, full: bool = False) -> Audit:
        """The audit report: lines that each point at the datum they speak of.

        Parameters
        ----------
        full
            All sections; else the request, the verdicts, and the lines that call for attention.

        Returns
        -------
        Audit
            ``str()`` prints it; ``lines`` have ``section, label, tag, detail, data, source``. ``source`` is a JSON pointer
            into ``artifact``, and ``trace(line)`` the datum it leads to.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> line = spec.audit().lines[0]
        >>> line.label, line.source, spec.audit().trace(line)
        ('formula', '/requested_formula', 'Reaction ~ Days + (Days | Subject)')
        """
        from mixeff_fast.report.audit import audit_report

        return audit_report(self._subject(), flag("full", full))

    def explain_model(self) -> Explanation:
        """What the model says, term by term: as written, in canonical form, in words, and what the data have for it.

        Returns
        -------
        Explanation
            ``str()`` prints it; ``cards``, ``cross_card_constraints`` and ``diagnostics`` are the records behind it.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> [card.canonical_fragment for card in spec.explain_model().cards]
        ['(1 + Days | Subject)']
        """
        from mixeff_fast.report.explain import Explanation

        return Explanation(self._subject())

    def random_options(self, group: str, slope: str | None = None) -> RandomOptions:
        """Five ways in which an intercept and a slope may vary over a group, each compiled and audited on the same data.

        The candidates replace the intercept and the slope of the group in the formula as it was given; its fixed part and
        its other random terms stay. They come in a fixed order, and none is put before another.

        Parameters
        ----------
        group
            A grouping factor of the model, such as ``"Subject"`` or ``"school:class"``.
        slope
            A term of the model. None takes the first slope that varies over the group, else the fixed effect that a
            ``scope_note`` names, else the first fixed term.

        Returns
        -------
        RandomOptions
            ``table`` has ``key, formula, varying_coefficients, covariance_family, theta_parameters, design_status,
            reason_code, plain_meaning, note, current``, ``specs`` the compiled candidates. ``design_status`` is the worst of
            the terms on the group, or ``"refused"`` with the ``reason_code`` of a candidate that cannot be compiled.

        Raises
        ------
        ArgumentError
            A group or a slope that the model does not have (``choices`` lists what it has), or no slope to take.
        DataError
            A slope that is not a column of the data.
        InferenceUnavailable
            ``rows_not_in_memory``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Reaction ~ Days + (Days || Subject)", mf.datasets.load("sleepstudy"))
        >>> spec.random_options("Subject").table.filter("current")["key"].to_list()
        ['split_uncorrelated', 'double_bar_synonym']
        """
        from mixeff_fast.models.options import random_options

        return random_options(self._spec(), group, slope)

    def compare_covariance(self) -> CovarianceChoices:
        """What a full, a diagonal and a scalar covariance of each random term would cost, and take to be zero.

        Returns
        -------
        CovarianceChoices
            ``table`` has ``term_id, group, basis, covariance_family, theta_parameters, assumes_zero, design_status,
            current``; ``cards`` and ``constraints`` are the records behind it. ``design_status`` is ``"not_assessed"`` for a
            covariance that the audit has not looked at.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> spec.compare_covariance().table["theta_parameters"].to_list()
        [3, 2, 1]
        """
        from mixeff_fast.report.inspection import CovarianceChoices

        return CovarianceChoices(self._compiled_artifact())

    def random_blocks(self) -> pl.DataFrame:
        """The random terms and what the data have for them.

        Returns
        -------
        polars.DataFrame
            ``term_id, group, basis, covariance, theta_parameters, group_levels, min_rows_per_group, median_rows_per_group,
            status, reason``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("Penicillin"))
        >>> spec.random_blocks().select("group", "group_levels", "median_rows_per_group").rows()
        [('plate', 24, 6.0), ('sample', 6, 24.0)]
        """
        from mixeff_fast.report.inspection import random_block_table

        return random_block_table(self._compiled_artifact())

    def roles(self) -> pl.DataFrame:
        """The part that each variable plays, as declared by the caller or observed in the data.

        Returns
        -------
        polars.DataFrame
            ``variable, role, origin, group, evidence``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> data = mf.datasets.load("sleepstudy")
        >>> spec = mf.compile_model("Reaction ~ Days + (1 | Subject)", data, roles=mf.roles(Subject="sampled_unit"))
        >>> spec.roles().filter(origin="declared_by_user").select("variable", "role").rows()
        [('Subject', 'sampled_unit')]
        """
        from mixeff_fast.report.inspection import role_table

        return role_table(self._compiled_artifact().semantic_model.roles)

    def changes(self) -> Changes:
        """What was changed, or could be, between the model as requested, as compiled and as fitted.

        Returns
        -------
        Changes
            ``str()`` prints one sentence per change; ``table`` has ``stage, term_id, group, requested, effective, fitted,
            status, detail``. ``reductions``, ``covariance_transitions``, ``effective_covariance`` (the last two empty before
            a fit), ``fit_status``, ``requested_formula`` and ``effective_formula`` are the records behind it.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.changes().reductions, fit.changes().fit_status
        ((), 'converged_interior')
        """
        from mixeff_fast.report.inspection import Changes

        return Changes(self._subject())

    def parameterization(self) -> Parameterization:
        """Each covariance parameter from the formula to the variances it enters.

        Returns
        -------
        Parameterization
            ``table`` has ``term_id, group, source_syntax, covariance_family, user_basis, optimizer_basis, theta_index,
            theta_name, theta_status, constraint, theta_value, lambda_row, lambda_col, lambda_row_basis, lambda_col_basis,
            lambda_value, varcorr_entries``; ``traces`` and ``theta_maps`` are the records behind it. Values are null before
            a fit. ``constraint`` is ``"lower_bound"`` (zero) or ``"unconstrained"``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> spec.parameterization().table["constraint"].to_list()
        ['lower_bound', 'unconstrained', 'lower_bound']
        """
        from mixeff_fast.report.inspection import Parameterization

        return Parameterization(self._subject())

    def diagnostics(self, severity: Severity | None = None, stage: Stage | None = None) -> pl.DataFrame:
        """Facts about the model, its data and its fit, each once.

        Parameters
        ----------
        severity
            ``"info"``, ``"warning"`` or ``"error"``; None gives all.
        stage
            Where the fact came to light, such as ``"design_audit"``; None gives all.

        Returns
        -------
        polars.DataFrame
            ``code, severity, stage, message, affected_terms, options, payload`` (JSON text).

        Raises
        ------
        ArgumentError
            A severity or a stage that is none.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("Penicillin"))
        >>> spec.diagnostics(severity="error").height
        0
        """
        from mixeff_fast.report.inspection import diagnostic_table
        from mixeff_fast.schemas import diagnostics as records

        for name, value, kind in (("severity", severity, records.Severity), ("stage", stage, records.Stage)):
            known = get_args(kind)
            if value is not None and value not in known:
                raise ArgumentError(f"{name} is one of {', '.join(known)} or None, not {value!r}", argument=name)
        subject, compiled = self._subject(), self._compiled_artifact()
        both = compiled.diagnostics if subject is compiled else (*compiled.diagnostics, *subject.diagnostics)
        return diagnostic_table(both, lambda d: severity in (None, d.severity) and stage in (None, d.stage))

    def optimizer_certificate(self) -> OptimizerCertificate:
        """The evidence that the fit is an optimum, as a record.

        Raises
        ------
        InferenceUnavailable
            ``model_not_fitted``: a compiled model has no optimum to speak of.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> fit.optimizer_certificate().status
        'converged_interior'
        """
        certificate: OptimizerCertificate | None = getattr(self._subject(), "certificate", None)
        if certificate is None:
            raise InferenceUnavailable(
                "the model is compiled, not fitted; the certificate belongs to what fit() returns",
                reason_code="model_not_fitted",
            )
        return certificate

    def reproducibility(self) -> Reproducibility:
        """What it takes to compile and to fit the model again, and the thresholds that its verdicts rest on.

        Returns
        -------
        Reproducibility
            ``record`` by name, ``table`` with ``threshold, value``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> spec = mf.compile_model("Yield ~ 1 + (1 | Batch)", mf.datasets.load("Dyestuff"))
        >>> spec.reproducibility().record["na_action"]
        'error'
        """
        from mixeff_fast.report.inspection import Reproducibility

        return Reproducibility(self._subject())
