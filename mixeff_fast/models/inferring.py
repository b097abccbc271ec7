"""The verbs of inference on fixed effects, for every kind of fit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from mixeff_fast.errors import ArgumentError
from mixeff_fast.models.arguments import number

if TYPE_CHECKING:
    from mixeff_fast.models.drop import Policy, Test
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.report.inference import ContrastResult, DegreesOfFreedom, InferenceTable, LinearCombination
    from mixeff_fast.report.inference_terms import (
        Anova,
        DroppedTerms,
        EffectTest,
        EstimabilityResult,
        InferenceOptionsResult,
    )
    from mixeff_fast.report.summary import Summary
    from mixeff_fast.vocabulary import InferenceRequest


class Inferring:
    """Tests of fixed effects.

    A fit has ``spec``, ``formula``, ``reml`` and ``artifact``; ``coef_names``, ``beta`` and ``vcov()``, NaN where aliased;
    ``sigma``, where it has one. ``_new_inference_subject`` describes it to the routes. For likelihood ratios,
    ``_by_maximum_likelihood`` gives the fit itself or one of the same model by maximum likelihood, and ``_without_term`` the
    fit of the same rows without a fixed term; ``compare`` takes the two.

    Every verb takes a ``method``: ``"auto"``, which is Satterthwaite where that is available and else the asymptotic Wald
    test; ``"asymptotic"``, ``"satterthwaite"``, ``"kenward_roger"``; ``"likelihood_ratio"``, for terms that a smaller model
    leaves out; ``"none"``. Requests that come to nothing give rows with a ``status`` and a ``reason_code``, not errors.
    """

    __slots__ = ()

    def _new_inference_subject(self) -> InferenceSubject:
        raise TypeError(f"{type(self).__name__} does not describe itself to the routes of inference")

    def _inference_subject(self) -> InferenceSubject:
        """What the routes see, with what they computed from this fit so far; made anew where the fit's numbers changed."""
        key, own = "_kept_inference_subject", self.__dict__
        result = getattr(self, "result", None)
        if key not in own or own[key][0] is not result:
            own[key] = (result, self._new_inference_subject())
        return cast("InferenceSubject", own[key][1])

    def summary(self, method: InferenceRequest = "auto") -> Summary:
        """The fit in lme4's layout, with tests of the coefficients.

        Parameters
        ----------
        method
            The route of the tests, as for :meth:`inference_table`; ``"none"`` leaves them out.

        Returns
        -------
        Summary
            ``str()`` prints it; ``table`` has the fixed effects, ``inference`` their rows as an artifact.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.summary().table["df"].round(4).to_list()
        [17.0, 17.0]
        """
        from mixeff_fast.report.summary import Summary

        return Summary(cast(Any, self), self.inference_table(method).artifact)

    def inference_table(self, method: InferenceRequest = "auto") -> InferenceTable:
        """A test of each coefficient against zero.

        Parameters
        ----------
        method
            ``"auto"``, ``"asymptotic"`` (Wald z), ``"satterthwaite"``, ``"kenward_roger"`` (with adjusted standard errors),
            ``"none"``, or a route that the rows refuse.

        Returns
        -------
        InferenceTable
            ``table`` has ``label, estimate, std_error, df, statistic, statistic_name, p_value, log_p_value, method,
            requested_method, status, reliability, reliability_reason, reason_code, notes``.

        Raises
        ------
        ArgumentError
            Another ``method``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> row = fit.inference_table("kenward_roger").table.row(1, named=True)
        >>> round(row["df"], 6), round(row["statistic"], 6), row["method"]
        (17.0, 6.771485, 'kenward_roger')
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.inference_records import inference_table
        from mixeff_fast.report.inference import InferenceTable

        return InferenceTable(inference_table(self._inference_subject(), check_request(method)))

    def contrast(self, L: Any, rhs: Any = 0, method: InferenceRequest = "auto") -> ContrastResult:
        """Tests of linear combinations of the coefficients: ``L beta = rhs``.

        Parameters
        ----------
        L
            One contrast or several: weights for all coefficients in their order (a vector, or a matrix of such rows), or a
            mapping of names of coefficients to weights (or a list of these).
        rhs
            What they equal under the hypothesis: a number, or one for each contrast.
        method
            As for :meth:`inference_table`.

        Returns
        -------
        ContrastResult
            ``table`` has a row for each contrast, ``joint`` one for all of them at once, where there are several: an F with
            Satterthwaite's or Kenward and Roger's degrees of freedom, or a chi-square. ``estimate`` is ``L beta - rhs``. What
            the data do not determine is a row with the status ``"not_estimable"``.

        Raises
        ------
        ArgumentError
            Unknown names, wrong lengths, weights that are not finite, a row of zeros; another ``method``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> row = fit.contrast({"Days": 1}, rhs=10, method="kenward_roger").table.row(0, named=True)
        >>> round(row["estimate"], 6), round(row["p_value"], 6)
        (0.467286, 0.766094)
        >>> joint = fit.contrast([[1, 0], [0, 1]], method="kenward_roger").joint
        >>> round(joint.statistic, 2), joint.numerator_df, round(joint.denominator_df, 4)
        (705.84, 2.0, 16.0)
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.inference_records import contrast_table
        from mixeff_fast.report.inference import ContrastResult

        return ContrastResult(contrast_table(self._inference_subject(), L, rhs, check_request(method)))

    def df_for_contrast(self, L: Any, method: InferenceRequest = "auto") -> DegreesOfFreedom:
        """Denominator degrees of freedom of contrasts.

        Parameters
        ----------
        L, method
            As for :meth:`contrast`.

        Returns
        -------
        DegreesOfFreedom
            ``table`` has ``contrast, df, method, requested_method, status, reason_code``; ``df`` is a dictionary by label,
            with infinity for the asymptotic route and None where the route refuses.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("diameter ~ 1 + (1 | plate) + (1 | sample)", mf.datasets.load("Penicillin"))
        >>> round(fit.df_for_contrast([1]).df["(Intercept)"], 4)
        5.4871
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.inference_records import contrast_table
        from mixeff_fast.report.inference import DegreesOfFreedom

        return DegreesOfFreedom(contrast_table(self._inference_subject(), L, 0, check_request(method)))

    def estimability(self, L: Any = None) -> EstimabilityResult:
        """Whether contrasts are determined by the data: whether they lie in the row space of the design.

        Parameters
        ----------
        L
            As for :meth:`contrast`; None asks for the coefficients.

        Returns
        -------
        EstimabilityResult
            ``table`` has ``label, estimable, status, rank, requested_rank, reason_code``. A coefficient is
            ``"basis_dependent"`` if it was fitted, but is told apart from others only because columns were left out.

        Examples
        --------
        >>> import mixeff_fast as mf, polars as pl
        >>> data = mf.datasets.load("sleepstudy").with_columns(Twice=2 * pl.col("Days"))
        >>> fit = mf.lmm("Reaction ~ Days + Twice + (1 | Subject)", data)
        >>> fit.estimability([{"Days": 1}, {"Days": 1, "Twice": 2}]).table["estimable"].to_list()
        [False, True]
        """
        from mixeff_fast.models.inference_records import estimability_table
        from mixeff_fast.report.inference_terms import EstimabilityResult

        return EstimabilityResult(estimability_table(self._inference_subject(), L))

    def lincomb(self, weights: Any, level: float = 0.95, method: InferenceRequest | None = None) -> LinearCombination:
        """One linear combination of the coefficients, with an interval.

        Parameters
        ----------
        weights
            A mapping of names of coefficients to weights, or a vector of weights for all of them.
        level
            Coverage of the interval, between 0 and 1.
        method
            As for :meth:`inference_table`; None is ``"auto"``. The interval is made from the t or normal distribution of the
            route.

        Returns
        -------
        LinearCombination
            ``table`` has one row: ``label, estimate, std_error, df, statistic, statistic_name, p_value, log_p_value, lower,
            upper, level, method, status, reliability, reason_code``.

        Raises
        ------
        ArgumentError
            Several rows of weights, or what :meth:`contrast` refuses.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.lincomb({"(Intercept)": 1, "Days": 5}).table.select("estimate", "lower", "upper").row(0)
        (303.7415..., 283.526..., 323.956...)
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.inference_records import contrast_table
        from mixeff_fast.report.inference import LinearCombination

        level = number("level", level, least=0.0, most=1.0)
        if level in (0.0, 1.0):
            raise ArgumentError(f"level lies between 0 and 1, not {level!r}", argument="level")
        request = check_request("auto" if method is None else method)
        table = contrast_table(self._inference_subject(), weights, 0, request, level)
        if len(table.rows) > 1:
            raise ArgumentError(
                f"lincomb() takes one combination, not {len(table.rows)}; contrast() takes several", argument="weights"
            )
        return LinearCombination(table)

    def test_effect(self, term: str, method: InferenceRequest = "auto") -> EffectTest:
        """The test of a fixed term: that it has no effect on the marginal means, as in :meth:`anova` of type 3.

        Parameters
        ----------
        term
            A fixed term, such as ``"Days"`` or ``"a:b"``.
        method
            As for :meth:`inference_table`, and ``"likelihood_ratio"``: against the model without the term, both fitted by
            maximum likelihood.

        Returns
        -------
        EffectTest
            ``table`` has one row, as that of :meth:`anova`.

        Raises
        ------
        ArgumentError
            A term that the model does not have; another ``method``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.test_effect("Days").table.select("statistic", "num_df", "den_df").row(0)
        (45.85..., 1.0, 17.0...)
        >>> round(fit.test_effect("Days", method="likelihood_ratio").row.statistic, 4)
        23.5365
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.drop import known_term, likelihood_ratio_row
        from mixeff_fast.models.inference_records import anova_table, hypotheses, term_test
        from mixeff_fast.report.inference_terms import EffectTest

        request = check_request(method)
        fit, subject = cast(Any, self), self._inference_subject()
        columns = fit.spec.compiled.fixed
        label = known_term(columns, term)
        hypothesis = next(each for each in hypotheses(subject, columns, 3) if each.label == label)
        if request == "likelihood_ratio":
            row = likelihood_ratio_row(subject, fit, label)
        else:
            row = term_test(subject, hypothesis, 3, request)
        return EffectTest(
            anova_table(subject, fit.formula, getattr(fit, "sigma", None), ((row, hypothesis.matrix),), 3, request)
        )

    def anova(self, type: int | str = 3, method: InferenceRequest = "auto") -> Anova:
        """Tests of the fixed terms.

        Parameters
        ----------
        type
            1 or ``"I"``: each term after those before it. 2 or ``"II"``: each term after all terms that do not contain it. 3 or
            ``"III"``: no effect on the marginal means, whatever the coding of the factors.
        method
            As for :meth:`inference_table`: F with Satterthwaite's or Kenward and Roger's degrees of freedom, or a chi-square.

        Returns
        -------
        Anova
            ``table`` has ``term, sum_sq, mean_sq, num_df, den_df, statistic, statistic_name, p_value, log_p_value, method,
            requested_method, status, reliability, reliability_reason, reason_code, notes``; ``hypotheses`` are the matrices
            ``L`` of ``L beta = 0`` by term.

        Raises
        ------
        ArgumentError
            Another ``type`` or ``method``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> cake = mf.lmm("angle ~ recipe * temperature + (1 | recipe:replicate)", mf.datasets.load("cake"))
        >>> cake.anova().table["num_df"].to_list(), cake.anova().table["den_df"].round(2).to_list()
        ([2.0, 5.0, 10.0], [42.0, 210.0, 210.0])
        """
        from mixeff_fast.inference.routes import check_request
        from mixeff_fast.models.inference_records import anova_table, anova_type, hypotheses, term_test
        from mixeff_fast.report.inference_terms import Anova

        kind, request = anova_type(type), check_request(method)
        fit, subject = cast(Any, self), self._inference_subject()
        found = tuple(
            (term_test(subject, each, kind, request), each.matrix)
            for each in hypotheses(subject, fit.spec.compiled.fixed, kind)
        )
        return Anova(anova_table(subject, fit.formula, getattr(fit, "sigma", None), found, kind, request))

    def drop1(self, scope: Any = None, test: Test = "none", refit_for_comparison: Policy = "auto") -> DroppedTerms:
        """The models without one of the fixed terms each; the random terms stay.

        Parameters
        ----------
        scope
            A term or several. None takes every term that no other contains.
        test
            ``"none"``: information criteria. ``"lrt"``: the likelihood ratio. ``"asymptotic"``, ``"satterthwaite"``,
            ``"kenward_roger"``: that the columns of the term add nothing to all others.
        refit_for_comparison
            ``"auto"`` and ``"ml"`` fit REML models again by maximum likelihood; ``"error"`` does not, and what would compare
            REML criteria of different fixed effects is left out.

        Returns
        -------
        DroppedTerms
            ``table`` has ``term, npar, aic, bic, loglik, statistic, statistic_name, num_df, den_df, p_value, log_p_value,
            method, status, reason_code``; the first row is the model itself.

        Raises
        ------
        ArgumentError
            Terms that the model does not have, or that others contain; another ``test`` or policy.
        InferenceUnavailable
            ``rows_not_in_memory``.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> cake = mf.lmm("angle ~ recipe + temperature + (1 | recipe:replicate)", mf.datasets.load("cake"))
        >>> cake.drop1(test="lrt").table.select("term", "npar", "num_df").rows()
        [(None, 10, None), ('recipe', 8, 2.0), ('temperature', 5, 5.0)]
        """
        from mixeff_fast.models.drop import drop_table
        from mixeff_fast.report.inference_terms import DroppedTerms

        return DroppedTerms(drop_table(cast(Any, self), self._inference_subject(), scope, test, refit_for_comparison))

    def inference_options(self, term: str | None = None, nsim: int = 1000) -> InferenceOptionsResult:
        """What each route of inference would do on this fit, before any is taken: the same preflights that the verbs ask.

        Parameters
        ----------
        term
            Ask for the test of a fixed term; None for tests of coefficients and contrasts.
        nsim
            Replicates to which the cost of resampling refers.

        Returns
        -------
        InferenceOptionsResult
            ``table`` has ``method, route, auto, verbs, status, reliability, reliability_reason, reason_code, evaluations,
            refits, flops, bytes``. The order is fixed and puts no route before another.

        Raises
        ------
        ArgumentError
            A term that the model does not have; ``nsim`` that is no positive whole number.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.inference_options().table.filter(status="available")["method"].to_list()
        ['asymptotic', 'satterthwaite', 'kenward_roger', 'likelihood_ratio']
        """
        from mixeff_fast.models.inference_options import options_artifact
        from mixeff_fast.report.inference_terms import InferenceOptionsResult

        if isinstance(nsim, bool) or not isinstance(nsim, int) or nsim < 1:
            raise ArgumentError(f"nsim is a positive whole number, not {nsim!r}", argument="nsim")
        return InferenceOptionsResult(options_artifact(cast(Any, self), self._inference_subject(), term, nsim))
