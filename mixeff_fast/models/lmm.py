"""A fitted linear mixed model. Properties are numbers known after the fit; methods call the rooms below."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import polars as pl

from mixeff_fast.errors import ArgumentError, ConvergenceNotice, RankNotice
from mixeff_fast.fit import matrices, tables
from mixeff_fast.fit.lmm import conditional_covariances, fit_lmm
from mixeff_fast.fit.response import keep_design
from mixeff_fast.formula import update_formula
from mixeff_fast.frame.notices import warn
from mixeff_fast.inference import theta as theta_inference
from mixeff_fast.inference import wald
from mixeff_fast.models.arguments import flag, number
from mixeff_fast.models.inferring import Inferring
from mixeff_fast.models.inspection import Inspection
from mixeff_fast.models.numbers import LmmNumbers
from mixeff_fast.models.saved import Saved
from mixeff_fast.models.spec import ModelSpec, compile_call
from mixeff_fast.prediction.predict import predict_rows
from mixeff_fast.resample.simulate import simulate_responses

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.fit.response import Design
    from mixeff_fast.models.subject import InferenceSubject
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.vocabulary import ResidualType

    Float = NDArray[np.float64]


def _is_list(value: Any) -> bool:
    return np.iterable(value) and not isinstance(value, str)


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
    if result.certificate.status in ("not_optimized", "not_identifiable"):
        warn(f"the fit is {result.certificate.status}: {result.certificate.reason}", ConvergenceNotice)
    return LinearMixedModel(spec, control, engine, result)


class LinearMixedModel(Inferring, Inspection, Saved, LmmNumbers):
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

    def fixef(self) -> pl.DataFrame:
        """Fixed effects as a table: ``term``, ``estimate`` (null where aliased)."""
        return tables.fixef_table(self.coef_names, self.beta)

    def coef(self) -> pl.DataFrame:
        """Fixed effects plus conditional modes, per level: ``grpvar``, ``grp``, ``term``, ``estimate``."""
        return tables.coef_table(self.spec.compiled, self.beta, self.result.effects)

    @cached_property
    def _conditional_covariances(self) -> tuple[Float, ...]:
        return conditional_covariances(self._engine, self.result)

    def ranef(self, cond_var: bool = False) -> pl.DataFrame:
        """Conditional modes of the random effects, the long shape of R's ``as.data.frame(ranef())``.

        Parameters
        ----------
        cond_var
            Add ``condsd``, the conditional standard deviation given the data and the estimates.

        Returns
        -------
        polars.DataFrame
            ``grpvar``, ``term``, ``grp``, ``condval`` and with ``cond_var`` also ``condsd``.
        """
        covariances = self._conditional_covariances if flag("cond_var", cond_var) else None
        return tables.ranef_table(self.spec.compiled, self.result.effects, covariances)

    def varcorr(self) -> pl.DataFrame:
        """Variances, covariances and correlations, the long shape of R's ``as.data.frame(VarCorr())``.

        ``grp``, ``var1``, ``var2``, ``vcov``, ``sdcor``: variances first (``var2`` null), then covariances, the residual
        last.
        """
        return tables.varcorr_table(self.spec.compiled, self.result)

    def vcov(self, type: Literal["fixed", "theta"] = "fixed", correlation: bool = False) -> Float:
        """Covariance matrix of the fixed effects or of theta.

        Parameters
        ----------
        type
            ``"fixed"``: ``sigma^2 (X'V^{-1}X)^{-1}``, shape (p, p), NaN for aliased columns. ``"theta"``: twice the inverse
            Hessian of the profiled criterion, shape (n_theta, n_theta).
        correlation
            Scale to correlations.

        Raises
        ------
        InferenceUnavailable
            ``"theta"`` at a boundary, where the estimate has no normal approximation.
        """
        if type == "fixed":
            matrix = self.result.vcov
        elif type == "theta":
            matrix = theta_inference.theta_covariance(self._engine, self.result)
        else:
            raise ArgumentError(f'type is "fixed" or "theta", not {type!r}', argument="type")
        if flag("correlation", correlation):
            scale = np.sqrt(np.diag(matrix))
            matrix = matrix / np.outer(scale, scale)
        return np.array(matrix)

    def model_frame(self) -> pl.DataFrame:
        """The response and the columns that the model reads, as the fit used them, one row per row in the fit."""
        from mixeff_fast.models.access import model_frame

        return model_frame(self.spec.compiled)

    def model_matrix(self, type: Literal["fixed", "random"] = "fixed") -> Float | csc_matrix:
        """X as an array of shape (nobs, p), or Z as a SciPy CSC matrix of shape (nobs, q)."""
        if type == "fixed":
            return matrices.fixed_matrix(self.spec.compiled)
        if type == "random":
            return matrices.random_matrix(self.spec.compiled)
        raise ArgumentError(f'type is "fixed" or "random", not {type!r}', argument="type")

    def terms(self) -> pl.DataFrame:
        """The terms of the model: ``term``, ``part`` (fixed, random), ``group``, ``columns`` (number of)."""
        from mixeff_fast.models.access import term_table

        return term_table(self.spec.compiled)

    def get_me(self, name: str) -> Any:
        """Extract a piece of the model by lme4's name for it.

        Parameters
        ----------
        name
            ``X``, ``Z``, ``Zt``, ``Lambda``, ``Lambdat``, ``theta``, ``lower``, ``beta``, ``fixef``, ``u``, ``b``, ``y``,
            ``mu``, ``sigma``, ``flist``, ``cnms``, ``n_rtrms``, ``n_rfacs``, ``is_REML``, ``devcomp``.

        Raises
        ------
        ArgumentError
            Any other name.
        """
        from mixeff_fast.models.access import get_me

        return get_me(self, name)

    def loglik_at(self, reml: bool | None = None) -> float:
        """Log-likelihood (``reml=False``) or REML log-likelihood (``True``) at the estimates; really recomputed."""
        return -0.5 * self._criterion(self.reml if reml is None else flag("reml", reml))

    def extract_aic(self, k: float = 2.0) -> tuple[int, float]:
        """Number of parameters and ``-2 loglik + k n_parameters`` of the maximum-likelihood fit, as R's ``extractAIC``: a
        REML model is fitted again."""
        k = number("k", k)
        fit = self.spec.fit(reml=False, control=self.control) if self.reml else self
        return fit.n_parameters, fit.result.objective + k * fit.n_parameters

    def is_singular(self, tol: float = 1e-4) -> bool:
        """Whether some random-effect direction has a standard deviation below ``tol`` times sigma.

        Directions are judged on standardized columns, so the answer does not depend on units of measurement.
        """
        tol = number("tol", tol, least=0.0)
        return any(bool(np.any(values < tol)) for values in self.result.singular)

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
        if type in ("pearson", "deviance"):
            given = self.spec.compiled.frame.weights
            raw = raw if given is None else raw * np.sqrt(given)
        elif type not in ("response", "working"):
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
        if isinstance(nsim, bool) or not isinstance(nsim, int) or nsim < 1:
            raise ArgumentError(f"nsim is a positive whole number, not {nsim!r}", argument="nsim")
        if re_form not in (None, "population"):
            raise ArgumentError(f're_form is None or "population", not {re_form!r}', argument="re_form")
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0):
            raise ArgumentError(f"seed is None or a whole number that is not negative, not {seed!r}", argument="seed")
        key = int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
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
        known = {"data", "weights", "offset", "subset", "na_action", "contrasts", "roles", "audit_columns", "intent"}
        unknown = sorted(set(changes) - known - {"reml", "control"})
        if unknown:
            raise ArgumentError(
                f"update() takes formula, {', '.join(sorted(known | {'reml', 'control'}))}; not {', '.join(unknown)}",
                argument=unknown[0],
            )
        text = self.call.formula
        if formula is not None:
            text = update_formula(self.spec.requested.formula, formula)
        call = self.call.updated(text, {k: v for k, v in changes.items() if k in known})
        control = changes.get("control", replace(self.control, start=None))
        return compile_call(call).fit(reml=changes.get("reml", self.reml), control=control)

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
        if method not in ("asymptotic", "satterthwaite", "kenward_roger"):
            raise ArgumentError(
                f'method is "asymptotic", "satterthwaite" or "kenward_roger", not {method!r}', argument="method"
            )
        wanted = parm if parm is None else [str(name) for name in (parm if _is_list(parm) else [parm])]
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

    def _by_maximum_likelihood(self) -> LinearMixedModel:
        return self.spec.fit(reml=False, control=self.control) if self.reml else self

    def _without_term(self, label: str, reml: bool) -> LinearMixedModel:
        from mixeff_fast.models.drop import without_term

        return without_term(self, label, reml)

    @cached_property
    def artifact(self) -> FitArtifact:
        """The fit as a versioned pydantic artifact."""
        from mixeff_fast.models.artifacts import fit_artifact

        return fit_artifact(self)

    def __repr__(self) -> str:
        from mixeff_fast.report.summary import short_text

        return short_text(self.artifact)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
