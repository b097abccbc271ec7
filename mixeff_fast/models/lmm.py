"""A fitted linear mixed model. Properties are numbers known after the fit; methods call the rooms below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError, ConvergenceNotice, RankNotice
from mixeff_fast.fit.lmm import conditional_covariances, fit_lmm
from mixeff_fast.fit.response import keep_design
from mixeff_fast.frame.notices import warn
from mixeff_fast.inference import theta as theta_inference
from mixeff_fast.inference import wald
from mixeff_fast.models.arguments import flag, number, simulation_key
from mixeff_fast.models.fitted import FittedModel, wanted_parameters
from mixeff_fast.models.numbers import LmmNumbers
from mixeff_fast.prediction.predict import predict_rows
from mixeff_fast.resample.simulate import simulate_responses
from mixeff_fast.vocabulary import among

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.fit.response import Design
    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.vocabulary import ResidualType

    Float = NDArray[np.float64]


# verdicts that a notice speaks of
FAILED = ("not_optimized", "not_identifiable")


def note_aliased(names: list[str]) -> None:
    """Say which fixed-effect columns are left out, if any."""
    if names:
        warn(
            f"the fixed-effect columns are rank deficient; left out as combinations of others: {', '.join(names)}",
            RankNotice,
        )


def fit_spec(spec: ModelSpec, reml: bool, control: Control) -> LinearMixedModel:
    """Fit a compiled model and issue the notices that the fit gives rise to."""
    engine, result = fit_lmm(spec.compiled, reml, control, spec._source)
    note_aliased([n for n, gone in zip(spec.compiled.fixed.names, result.aliased.tolist(), strict=True) if gone])
    if result.certificate.status in FAILED:
        warn(f"the fit is {result.certificate.status}: {result.certificate.reason}", ConvergenceNotice)
    return LinearMixedModel(spec, control, engine, result)


class LinearMixedModel(LmmNumbers, FittedModel):
    """A fitted linear mixed model: what :func:`lmm` returns.

    Arrays are in the order of ``coef_names`` or ``theta_names`` and in the units of the data. An aliased fixed-effect
    column (a combination of columns to its left) keeps its place, with NaN for its estimate.

    Attributes
    ----------
    spec
        The compiled model.
    control
        The settings of the fit.
    result
        The numbers, as a frozen record.
    """

    def __init__(
        self, spec: ModelSpec, control: Control, engine: Engine | None, result: LmmResult, design: Design | None = None
    ) -> None:
        self.spec = spec
        self.control = control
        self.result = result
        self._live_engine = engine
        self._kept_design = design
        self._refitted = design is not None

    @property
    def _design(self) -> Design:
        if self._kept_design is None:
            self._kept_design = keep_design(self.spec.compiled, self._engine.assembled)
        return self._kept_design

    def _covariances(self) -> tuple[Float, ...]:
        return conditional_covariances(self._engine, self.result)

    def _theta_covariance(self) -> Float:
        return theta_inference.theta_covariance(self._engine, self.result)

    def _by_maximum_likelihood(self) -> LinearMixedModel:
        return self.spec._fit_linear(False, self.control) if self.reml else self

    def loglik_at(self, reml: bool | None = None) -> float:
        """Log-likelihood (``reml=False``) or REML log-likelihood (``True``) at the estimates; really recomputed."""
        return -0.5 * self._criterion(self.reml if reml is None else flag("reml", reml))

    def residuals(self, type: ResidualType = "response", scaled: bool = False) -> Float:
        """Residuals, shape (nobs,).

        Parameters
        ----------
        type
            ``"response"`` and ``"working"``: y minus fitted. ``"pearson"`` and ``"deviance"``: that times the root of the
            weight.
        scaled
            Divide by sigma.
        """
        raw = np.asarray(self.spec.compiled.frame.response) - self.fitted
        if among(type, ("pearson", "deviance")):
            given = self.spec.compiled.frame.weights
            raw = raw if given is None else raw * np.sqrt(given)
        elif not among(type, ("response", "working")):
            raise ArgumentError(
                f'type is "response", "pearson", "deviance" or "working", not {type!r}', argument="type"
            )
        return raw / self.sigma if flag("scaled", scaled) else raw

    def predict(
        self,
        newdata: Any = None,
        *,
        re_form: str | None = None,
        allow_new_levels: bool = False,
        offset: Any = None,
    ) -> Float:
        """Predicted responses, shape (rows,).

        Parameters
        ----------
        newdata
            Data of any accepted kind; None predicts the rows of the fit.
        re_form
            None conditions on all random effects; ``"population"`` on none (R's ``re.form = NA``); a formula such as
            ``"~(1 | g)"`` on those it names.
        allow_new_levels
            Predict unseen levels of grouping factors with effects of zero instead of refusing them.
        offset
            Replaces the offset that was given as an argument of the fit: column, expression or array.

        Raises
        ------
        DataError, ArgumentError
            Missing columns, unseen levels, an unknown ``re_form``.

        Examples
        --------
        >>> import mixeff_fast as mf, polars as pl
        >>> fit = mf.lmm("Reaction ~ Days + (Days | Subject)", mf.datasets.load("sleepstudy"))
        >>> fit.predict(pl.DataFrame({"Days": [0.0, 10.0]}), re_form="population").round(3).tolist()
        [251.405, 356.078]
        """
        new_levels = flag("allow_new_levels", allow_new_levels)
        return predict_rows(self.spec.compiled, self.result, newdata, re_form, new_levels, offset)

    def simulate(
        self, nsim: int = 1, seed: int | None = None, re_form: Literal["population"] | None = "population"
    ) -> pl.DataFrame:
        """New responses from the fitted model: columns ``sim_1 ... sim_nsim``.

        Parameters
        ----------
        nsim
            Number of replicates.
        seed
            Replicate i depends on (seed, i) only. None draws a seed; the column names do not tell which, so give one to
            reproduce.
        re_form
            ``"population"`` draws new random effects; None keeps them at their conditional modes.
        """
        key = simulation_key(nsim, seed, re_form)
        draws = simulate_responses(self._engine, self.result, nsim, key, re_form is None)
        return pl.DataFrame({f"sim_{i + 1}": draws[i] for i in range(nsim)})

    def refit(self, newresp: Any) -> LinearMixedModel:
        """The same model fitted to a new response, from this fit's theta. For many see :meth:`ModelSpec.prepare`.

        Parameters
        ----------
        newresp
            One finite number per row in the fit (an array, list or Polars series).
        """
        from mixeff_fast.models.prepared import PreparedModel

        return PreparedModel(self.spec, self.reml, self.control, self._design, self.theta.tolist()).refit(newresp)

    def update(self, formula: str | None = None, **changes: Any) -> LinearMixedModel:
        """Fit again with changes.

        Parameters
        ----------
        formula
            A new formula; ``.`` stands for the old left-hand or right-hand side, as in ``". ~ . - Days"``.
        changes
            Any of ``data, weights, offset, subset, na_action, contrasts, roles, audit_columns, intent, reml, control``.

        Raises
        ------
        ArgumentError
            An argument that is not one of these.
        """
        spec, settings = self._updated(formula, changes, (), ("reml", "control"))
        return spec._fit_linear(**{"reml": self.reml, **settings})

    def confint(
        self, parm: str | Sequence[str] | None = None, *, level: float = 0.95,
        method: Literal["asymptotic", "satterthwaite", "kenward_roger"] = "asymptotic",
    ) -> pl.DataFrame:
        """Confidence intervals.

        Parameters
        ----------
        parm
            Name or names of parameters; None gives all.
        level
            Coverage.
        method
            ``"asymptotic"``: Wald intervals from the normal distribution. ``"satterthwaite"``, ``"kenward_roger"``: from t
            with the degrees of freedom of that method, the latter with its standard errors. All are of fixed effects only;
            rows of theta and sigma say so in ``status`` and ``reason_code``.

        Returns
        -------
        polars.DataFrame
            ``parameter, estimate, lower, upper, level, method, status, reason_code``.
        """
        if not among(method, ("asymptotic", "satterthwaite", "kenward_roger")):
            raise ArgumentError(
                f'method is "asymptotic", "satterthwaite" or "kenward_roger", not {method!r}', argument="method"
            )
        wanted = wanted_parameters(parm)
        others = [*zip(self.theta_names, self.theta.tolist(), strict=True), ("sigma", self.sigma)]
        level = number("level", level, least=0.0, most=1.0)
        if not 0.0 < level < 1.0:
            raise ArgumentError(f"level lies between 0 and 1, not {level!r}", argument="level")
        if method == "asymptotic":
            fixed = wald.wald_intervals(self.coef_names, self.beta, self.result.vcov, level)
            return wald.interval_table(others, fixed, wanted, level, "asymptotic_wald_z")
        from mixeff_fast.models.inference_records import interval_rows

        return wald.interval_table(others, interval_rows(self._inference_subject(), method, level), wanted, level, method)

    def _new_inference_subject(self) -> InferenceSubject:
        from mixeff_fast.models.subject import lmm_subject

        return lmm_subject(self)

    def _without_term(self, label: str, reml: bool) -> LinearMixedModel:
        from mixeff_fast.models.drop import without_term

        return cast("LinearMixedModel", without_term(self, label, reml))
