"""A fitted generalized linear mixed model. Properties are numbers known after the fit; methods call the rooms below."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError, MeanNotice
from mixeff_fast.fit import glmm_modes, means
from mixeff_fast.fit.separation_check import check_separation
from mixeff_fast.frame.columns import frozen
from mixeff_fast.frame.notices import warn
from mixeff_fast.inference import gates, wald
from mixeff_fast.inference import theta as theta_inference
from mixeff_fast.models.arguments import flag, number, simulation_key
from mixeff_fast.models.fitted import FittedModel, wanted_parameters
from mixeff_fast.models.glmm_numbers import GlmmNumbers
from mixeff_fast.models.newresponse import new_response
from mixeff_fast.prediction.predict import predict_rows
from mixeff_fast.resample.simulate import simulate_families
from mixeff_fast.vocabulary import ResidualType, among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.laplace import LaplaceEngine
    from mixeff_fast.fit.separation_check import SeparationCheck
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.vocabulary import InferencePlan

    Float = NDArray[np.float64]

# what update() may change of the call and of the fit, beside what it may of every model's
CALL, OPTIONS = ("family",), ("method", "n_agq", "inference", "control")


class GeneralizedLinearMixedModel(GlmmNumbers, FittedModel):
    """A fitted generalized linear mixed model: what :func:`glmm` returns.

    Arrays are in the order of ``coef_names`` or ``theta_names`` and in the units of the data. ``theta`` and the variances are
    those of random effects on the scale of the linear predictor, in families with a dispersion too. An aliased fixed-effect
    column (a combination of columns to its left) keeps its place, with NaN for its estimate.

    Attributes
    ----------
    spec
        The compiled model.
    control
        The settings of the fit.
    result
        The numbers, as a frozen record.
    inference
        ``"auto"`` or ``"none"``: what was asked for.
    """

    def __init__(
        self, spec: ModelSpec, control: Control, engine: LaplaceEngine | None, result: GlmmResult,
        inference: InferencePlan = "auto",
    ) -> None:
        self.spec = spec
        self.control = control
        self.result = result
        self.inference: InferencePlan = inference
        self._live_engine = engine
        self._refitted = False

    def _covariances(self) -> tuple[Float, ...]:
        engine = self._engine
        if self.n_agq > 1:
            engine = glmm_modes.engine_at(self.spec.compiled, self.control, self.result, 1)
        return glmm_modes.conditional_covariances(engine, self.result)

    def _theta_covariance(self) -> Float:
        return theta_inference.joint_theta_covariance(self._engine, self.result)

    @property
    def _maximizes_likelihood(self) -> bool:
        return self.method == "joint_laplace"

    def _by_maximum_likelihood(self) -> GeneralizedLinearMixedModel:
        if self._maximizes_likelihood:
            return self
        from mixeff_fast.models.glmm_fit import fit_family_spec

        return fit_family_spec(self.spec, "joint_laplace", self.n_agq, self.inference, self.control)

    @cached_property
    def _separation(self) -> SeparationCheck | None:
        """Whether the fixed effects separate binary outcomes; None in other families."""
        scale = self._engine.assembled.standard.x_scale
        return check_separation(self.spec.compiled, self.result, scale, self.inference != "none")

    @property
    def _withheld(self) -> str | None:
        """Why no coefficient gets a Wald test, or None."""
        check = self._separation
        return gates.wald_withheld(self.result, check is not None and check.separated, self.inference != "none")

    def loglik_at(self, reml: bool | None = None) -> float:
        """Log-likelihood at the estimates, in the approximation of the fit; really recomputed.

        Parameters
        ----------
        reml
            None or False; there is no REML criterion.

        Raises
        ------
        ArgumentError
            ``reml=True``.
        """
        if reml is not None and flag("reml", reml):
            raise ArgumentError("the REML criterion is one of linear mixed models", argument="reml")
        return -0.5 * glmm_modes.criterion_again(self._engine, self.result)

    def residuals(self, type: ResidualType = "response", scaled: bool = False) -> Float:
        """Residuals, shape (nobs,), as R's ``glm`` and lme4 define them.

        Parameters
        ----------
        type
            ``"response"``: ``y - mu``; in the binomial family y is the proportion of successes. ``"pearson"``:
            ``(y - mu) sqrt(w / V(mu))``, V the variance function and w the ``weights``. ``"deviance"`` (R's default): the root
            of the row's deviance, with the sign of ``y - mu``. ``"working"``: ``(y - mu) / (dmu / deta)``.
        scaled
            Divide by ``sigma``, which is 1 for families without a dispersion.

        Raises
        ------
        ArgumentError
            Another type.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> cbpp = mf.datasets.load("cbpp")
        >>> fit = mf.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
        >>> round(float((fit.residuals("deviance") ** 2).sum()), 3), round(float((fit.residuals("pearson") ** 2).sum()), 3)
        (73.472, 63.078)
        """
        if not among(type, get_args(ResidualType)):
            raise ArgumentError(
                f'type is "response", "pearson", "deviance" or "working", not {type!r}', argument="type"
            )
        raw = means.residuals(self.spec.compiled, self.result.parameter, self.linear_predictor, type)
        return raw / self.sigma if flag("scaled", scaled) else raw

    def predict(
        self,
        newdata: Any = None,
        *,
        re_form: str | None = None,
        allow_new_levels: bool = False,
        type: Literal["response", "link"] = "response",
        offset: Any = None,
    ) -> Float:
        """Predicted means or linear predictors, shape (rows,).

        Parameters
        ----------
        newdata
            Data of any accepted kind; None predicts the rows of the fit. Neither response nor trials are read.
        re_form
            None conditions on all random effects; ``"population"`` on none (R's ``re.form = NA``), which gives the mean of a
            level whose effects are zero, not an average over levels; a formula such as ``"~(1 | g)"`` on those it names.
        allow_new_levels
            Predict unseen levels of grouping factors with effects of zero instead of refusing them.
        type
            ``"response"``: the mean, in the binomial family the probability; NaN where the linear predictor has no mean.
            ``"link"``: the linear predictor.
        offset
            Replaces the offset that was given as an argument of the fit: column, expression or array.

        Raises
        ------
        DataError, ArgumentError
            Missing columns, unseen levels, an unknown ``re_form`` or ``type``.

        Examples
        --------
        >>> import mixeff_fast as mf, polars as pl
        >>> cbpp = mf.datasets.load("cbpp")
        >>> fit = mf.glmm("cbind(incidence, size - incidence) ~ period + (1 | herd)", cbpp, "binomial")
        >>> fit.predict(pl.DataFrame({"period": ["1", "4"]}), re_form="population").round(4).tolist()
        [0.198, 0.0484]
        """
        new_levels = flag("allow_new_levels", allow_new_levels)
        if not among(type, ("response", "link")):
            raise ArgumentError(f'type is "response" or "link", not {type!r}', argument="type")
        eta = predict_rows(self.spec.compiled, self.result, newdata, re_form, new_levels, offset)
        if type == "link":
            return eta
        mu = means.mean(self.family, self.result.parameter, eta)
        self._note_without_mean(np.isfinite(eta) & np.isnan(mu))
        return mu

    def _note_without_mean(self, rows: NDArray[np.bool_]) -> None:
        count = int(rows.sum())
        if count:
            warn(f"{count} of {rows.size} linear predictors have no mean in the {self.family.name} family under the "
                 f"{self.family.link} link, or none that can be represented: their values are NaN", MeanNotice)

    def simulate(
        self, nsim: int = 1, seed: int | None = None, re_form: Literal["population"] | None = "population"
    ) -> pl.DataFrame:
        """New responses from the fitted model: columns ``sim_1 ... sim_nsim``.

        They are of the kind of the response, so that :meth:`refit` takes them: proportions where these were given with their
        trials as weights, numbers of successes for ``cbind(...)``, else 0 and 1. Prior weights divide the dispersion of
        families that have one, and have no part in the draws of others. A row whose mean does not exist, as a negative one
        under an identity link, is NaN, and a ``MeanNotice`` says how many are.

        Parameters
        ----------
        nsim
            Number of replicates.
        seed
            Replicate i depends on (seed, i) only. None draws a seed; the column names do not tell which, so give one to
            reproduce.
        re_form
            ``"population"`` draws new random effects; None keeps them at their conditional modes.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> ticks = mf.datasets.load("grouseticks")
        >>> fit = mf.glmm("TICKS ~ cHEIGHT + (1 | BROOD)", ticks, "poisson")
        >>> draws = fit.simulate(2, seed=1)
        >>> draws.shape, draws["sim_1"].min() >= 0.0
        ((403, 2), True)
        """
        key = simulation_key(nsim, seed, re_form)
        draws = simulate_families(self._engine, self.result, nsim, key, re_form is None)
        self._note_without_mean(np.isnan(draws))
        if self._gives_proportions:
            draws = draws / np.maximum(self._trials, 1.0)
        return pl.DataFrame({f"sim_{i + 1}": draws[i] for i in range(nsim)})

    @property
    def _gives_proportions(self) -> bool:
        return self.spec.compiled.frame.response_coding.kind == "proportions"

    @property
    def _trials(self) -> Float:
        trials = self.spec.compiled.frame.trials
        return np.ones(self.nobs) if trials is None else np.asarray(trials)

    def refit(self, newresp: Any) -> GeneralizedLinearMixedModel:
        """The same model fitted to a new response, from this fit's theta.

        Parameters
        ----------
        newresp
            One value per row in the fit, of the kind of the response, as :meth:`simulate` gives: proportions of the trials
            given as weights; numbers of successes, or two columns of successes and failures with the same trials, for
            ``cbind(...)``; 0 and 1, booleans or the two labels for binary responses.

        Raises
        ------
        DataError, FitError
            Values that the family cannot have, or not one per row; a response in which nothing varies.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> ticks = mf.datasets.load("grouseticks")
        >>> fit = mf.glmm("TICKS ~ cHEIGHT + (1 | BROOD)", ticks, "poisson")
        >>> fit.refit(ticks["TICKS"]).fit_status
        'converged_interior'
        """
        from mixeff_fast.models.glmm_fit import fit_family_spec

        frame = self.spec.compiled.frame
        response = frozen(new_response(frame, newresp))
        call = self.call.with_response(frame, response)
        spec = self.spec._recompiled(call, replace(self.spec.compiled, frame=replace(frame, response=response)))
        start = tuple(self.theta.tolist()) if np.all(np.isfinite(self.theta)) else None
        return fit_family_spec(spec, self.method, self.n_agq, self.inference, self.control, start)

    def update(self, formula: str | None = None, **changes: Any) -> GeneralizedLinearMixedModel:
        """Fit again with changes.

        Parameters
        ----------
        formula
            A new formula; ``.`` stands for the old left-hand or right-hand side, as in ``". ~ . - period"``.
        changes
            Any of ``data, family, weights, offset, subset, na_action, contrasts, roles, audit_columns, intent, method, n_agq,
            inference, control``.

        Raises
        ------
        ArgumentError
            An argument that is not one of these.

        Examples
        --------
        >>> import mixeff_fast as mf
        >>> ticks = mf.datasets.load("grouseticks")
        >>> fit = mf.glmm("TICKS ~ cHEIGHT + (1 | BROOD)", ticks, "poisson")
        >>> fit.update(". ~ . + YEAR", method="pirls_profiled").formula
        'TICKS ~ 1 + cHEIGHT + YEAR + (1 | BROOD)'
        """
        if "family" in changes and changes["family"] is None:
            raise ArgumentError("family is one of a generalized linear mixed model; lmm() fits linear ones", argument="family")
        spec, settings = self._updated(formula, changes, CALL, OPTIONS)
        return spec._fit_family(**{"method": self.method, "n_agq": self.n_agq, "inference": self.inference, **settings})

    def confint(
        self, parm: str | Sequence[str] | None = None, *, level: float = 0.95, method: Literal["asymptotic"] = "asymptotic"
    ) -> pl.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        parm
            Name or names of parameters; None gives all.
        level
            Coverage.
        method
            ``"asymptotic"``: Wald intervals from the normal distribution, for fixed effects only. Where the fit has no
            observed information, and for theta and the family's parameter, rows say so in ``status`` and ``reason_code``.

        Returns
        -------
        polars.DataFrame
            ``parameter, estimate, lower, upper, level, method, status, reason_code``.
        """
        if method != "asymptotic":
            raise ArgumentError(f'method is "asymptotic", not {method!r}', argument="method")
        others = list(zip(self.theta_names, self.theta.tolist(), strict=True))
        own = self.family.parameter_name
        if own is not None and self.family.estimates_parameter and self.result.parameter is not None:
            others.append((own, self.result.parameter))
        level = number("level", level, least=0.0, most=1.0)
        code = self._withheld
        if not 0.0 < level < 1.0:
            raise ArgumentError(f"level lies between 0 and 1, not {level!r}", argument="level")
        fixed = wald.wald_intervals(self.coef_names, self.beta, self.result.vcov, level)
        if code is not None:
            status = gates.withheld_status(code)
            fixed = [row if row[1] is None else (row[0], row[1], None, None, status, code) for row in fixed]
        return wald.interval_table(others, fixed, wanted_parameters(parm), level, "asymptotic_wald_z")

    def _new_inference_subject(self) -> InferenceSubject:
        from mixeff_fast.models.subject import glmm_subject

        return glmm_subject(self)

    def _without_term(self, label: str, reml: bool) -> GeneralizedLinearMixedModel:
        from mixeff_fast.models.drop import without_term

        return cast("GeneralizedLinearMixedModel", without_term(self, label, reml))
