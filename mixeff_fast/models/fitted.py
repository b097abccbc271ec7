"""What every fitted model can be asked, linear or generalized linear."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from mixeff_fast.errors import ArgumentError
from mixeff_fast.fit import matrices, tables
from mixeff_fast.formula import update_formula
from mixeff_fast.models.arguments import flag, number
from mixeff_fast.models.inferring import Inferring
from mixeff_fast.models.inspection import Inspection
from mixeff_fast.models.numbers import FitNumbers
from mixeff_fast.models.saved import Saved
from mixeff_fast.models.spec import compile_call

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import polars as pl
    from numpy.typing import NDArray
    from scipy.sparse import csc_matrix

    from mixeff_fast.models.spec import ModelSpec
    from mixeff_fast.schemas.fit import FitArtifact
    from mixeff_fast.vocabulary import ResidualType

    Float = NDArray[np.float64]

# what update() may change of the call
OF_THE_CALL = frozenset(
    {"data", "weights", "offset", "subset", "na_action", "contrasts", "roles", "audit_columns", "intent"}
)


def wanted_parameters(parm: str | Sequence[str] | None) -> list[str] | None:
    """Names that ``parm`` asks for; None for all."""
    if parm is None:
        return None
    return [str(name) for name in ([parm] if isinstance(parm, str) or not np.iterable(parm) else parm)]


class FittedModel(Inferring, Inspection, Saved, FitNumbers):
    """Extractors, tables and matrices of a fit, in the order of ``coef_names`` or ``theta_names``, in the units of the data."""

    @abstractmethod
    def _covariances(self) -> tuple[Float, ...]:
        """Per factor, ``Var(b | y)`` of each level at the estimates, shape (levels, width, width)."""

    @abstractmethod
    def _theta_covariance(self) -> Float:
        """Of theta, shape (n_theta, n_theta)."""

    @abstractmethod
    def _by_maximum_likelihood(self) -> FittedModel:
        """The fit whose objective is -2 log-likelihood."""

    @abstractmethod
    def _without_term(self, label: str, reml: bool) -> FittedModel:
        """The fit of the same rows without a fixed term."""

    @property
    @abstractmethod
    def reml(self) -> bool:
        """Whether the REML criterion was minimized."""

    @property
    def _maximizes_likelihood(self) -> bool:
        """Whether the fixed effects maximize the likelihood, or its approximation, with all other parameters: only then do
        log-likelihoods of models with other fixed effects compare."""
        return not self.reml

    @abstractmethod
    def residuals(self, type: ResidualType = "response", scaled: bool = False) -> Float:
        """Of the rows, shape (nobs,)."""

    def fixef(self) -> pl.DataFrame:
        """Fixed effects as a table: ``term``, ``estimate`` (null where aliased)."""
        return tables.fixef_table(self.coef_names, self.beta)

    def coef(self) -> pl.DataFrame:
        """Fixed effects plus conditional modes, per level: ``grpvar``, ``grp``, ``term``, ``estimate``."""
        return tables.coef_table(self.spec.compiled, self.beta, self.result.effects)

    @cached_property
    def _conditional_covariances(self) -> tuple[Float, ...]:
        return self._covariances()

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
        last, where there is one.
        """
        return tables.varcorr_table(self.spec.compiled, self.result)

    def vcov(self, type: Literal["fixed", "theta"] = "fixed", correlation: bool = False) -> Float:
        """Covariance matrix of the fixed effects or of theta.

        Parameters
        ----------
        type
            ``"fixed"``: shape (p, p), NaN for aliased columns; of a linear model ``sigma^2 (X'V^{-1}X)^{-1}``, of a
            generalized linear one from the observed information of all parameters (``result.vcov_route`` says so).
            ``"theta"``: from twice the inverse Hessian of the criterion, shape (n_theta, n_theta).
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
            matrix = self._theta_covariance()
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

    def extract_aic(self, k: float = 2.0) -> tuple[int, float]:
        """Number of parameters and ``-2 loglik + k n_parameters`` of the maximum-likelihood fit, as R's ``extractAIC``: a
        REML model, and one with profiled fixed effects, is fitted again."""
        k = number("k", k)
        fit = self._by_maximum_likelihood()
        return fit.n_parameters, fit.result.objective + k * fit.n_parameters

    def is_singular(self, tol: float = 1e-4) -> bool:
        """Whether some random-effect direction has a standard deviation below ``tol`` times sigma; of a generalized linear
        model, below ``tol`` on the scale of the linear predictor.

        Directions are judged on standardized columns, so the answer does not depend on units of measurement.
        """
        tol = number("tol", tol, least=0.0)
        return any(bool(np.any(values < tol)) for values in self.result.singular)

    def _updated(
        self, formula: str | None, changes: dict[str, Any], call: Iterable[str], options: Iterable[str]
    ) -> tuple[ModelSpec, dict[str, Any]]:
        """The model of ``update``, and how to fit it."""
        call = OF_THE_CALL | set(call)
        known = sorted(call | set(options))
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ArgumentError(
                f"update() takes formula, {', '.join(known)}; not {', '.join(unknown)}", argument=unknown[0]
            )
        text = self.call.formula
        if formula is not None:
            text = update_formula(self.spec.requested.formula, formula)
        spec = compile_call(self.call.updated(text, {k: v for k, v in changes.items() if k in call}))
        return spec, {"control": replace(self.control, start=None), **{k: v for k, v in changes.items() if k not in call}}

    @cached_property
    def artifact(self) -> FitArtifact:
        """The fit as a versioned pydantic artifact."""
        from mixeff_fast.models.artifacts import fit_artifact

        return fit_artifact(cast(Any, self))

    def __repr__(self) -> str:
        from mixeff_fast.report.summary import short_text

        return short_text(self.artifact)

    def _repr_html_(self) -> str:
        return self.summary()._repr_html_()
