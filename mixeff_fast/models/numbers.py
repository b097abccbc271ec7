"""The numbers of a fitted linear mixed model: what is known once the fit is done."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.lmm import LmmResult, criterion_at, fitted_values
from mixeff_fast.fit.prepared import engine_again
from mixeff_fast.inference import wald

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.models.spec import Call, ModelSpec
    from mixeff_fast.vocabulary import FitStatus

    Float = NDArray[np.float64]


class LmmNumbers:
    """Estimates, criteria and counts, in the units of the data."""

    spec: ModelSpec
    result: LmmResult
    control: Control
    _live_engine: Engine | None
    _refitted: bool

    @property
    def _engine(self) -> Engine:
        """Built again at the estimates if the fit was loaded or copied."""
        if self._live_engine is None:
            spec = self.spec
            self._live_engine = engine_again(spec.compiled, self.control, spec._source, self.result, self._refitted)
        return self._live_engine

    @property
    def beta(self) -> Float:
        """Fixed effects, shape (p,); NaN where aliased."""
        return self.result.beta

    @property
    def std_error(self) -> Float:
        """Model-based standard errors of ``beta``, shape (p,)."""
        return wald.standard_errors(self.result.vcov)

    @property
    def coef_names(self) -> tuple[str, ...]:
        """Names of the fixed-effect columns, as R's ``model.matrix`` gives them."""
        return self.spec.compiled.fixed.names

    @property
    def theta(self) -> Float:
        """Relative covariance parameters, lme4's order and signs, shape (n_theta,)."""
        return self.result.theta

    @property
    def theta_names(self) -> tuple[str, ...]:
        """``group.effect`` on the diagonal of Lambda, ``group.effect.effect`` below it."""
        return self.spec.compiled.theta_names

    @property
    def sigma(self) -> float:
        """Residual standard deviation of a row with weight 1."""
        return self.result.sigma

    @property
    def reml(self) -> bool:
        """Whether the REML criterion was minimized."""
        return self.result.reml

    @property
    def loglik(self) -> float:
        """Log-likelihood, or the REML log-likelihood for a REML fit, with all constants."""
        return -0.5 * self.result.objective

    @cached_property
    def deviance(self) -> float:
        """-2 log-likelihood (ML); for a REML fit, evaluated at its estimates of theta."""
        return self._criterion(False)

    @cached_property
    def reml_criterion(self) -> float:
        """The REML criterion; for an ML fit, evaluated at its estimates of theta."""
        return self._criterion(True)

    def _criterion(self, reml: bool) -> float:
        if reml == self.result.reml:
            return self.result.objective
        return criterion_at(self._engine, self.result.lam, reml)

    @property
    def n_parameters(self) -> int:
        """Estimated parameters: fixed effects, theta and sigma."""
        return int((~self.result.aliased).sum()) + len(self.theta) + 1

    @property
    def aic(self) -> float:
        """Akaike's criterion, ``-2 loglik + 2 n_parameters``."""
        return self.result.objective + 2.0 * self.n_parameters

    @property
    def bic(self) -> float:
        """Schwarz's criterion, ``-2 loglik + log(nobs) n_parameters``."""
        return self.result.objective + math.log(self.nobs) * self.n_parameters

    @property
    def nobs(self) -> int:
        """Rows in the fit."""
        return self.spec.compiled.frame.n

    @property
    def df_residual(self) -> int:
        """``nobs - n_parameters``, as lme4 counts."""
        return self.nobs - self.n_parameters

    @property
    def ngrps(self) -> dict[str, int]:
        """Levels of each grouping factor."""
        return {factor.group.name: factor.n_levels for factor in self.spec.compiled.factors}

    @property
    def formula(self) -> str:
        """The canonical formula."""
        return self.spec.formula

    @property
    def call(self) -> Call:
        """The arguments of the fit."""
        return self.spec.call

    @cached_property
    def fitted(self) -> Float:
        """Conditional fitted values, offset included, shape (nobs,)."""
        return fitted_values(self.spec.compiled, self.result)

    @property
    def weights(self) -> Float:
        """Prior weights, shape (nobs,); ones when none were given."""
        given = self.spec.compiled.frame.weights
        return np.ones(self.nobs) if given is None else np.asarray(given)

    @property
    def offset(self) -> Float:
        """Offset, shape (nobs,); zeros when none was given."""
        given = self.spec.compiled.frame.offset
        return np.zeros(self.nobs) if given is None else np.asarray(given)

    @property
    def fit_status(self) -> FitStatus:
        """The certificate's verdict, such as ``"converged_interior"``."""
        return self.result.certificate.status

    @property
    def handle_alive(self) -> bool:
        """Whether the factorization is in memory; one that is not is made again when it is needed."""
        return self._live_engine is not None
