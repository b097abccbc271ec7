"""The numbers of a fitted model: what is known once the fit is done."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mixeff_fast.fit.lmm import criterion_at, fitted_values
from mixeff_fast.fit.prepared import engine_again
from mixeff_fast.inference import wald

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixeff_fast.fit.control import Control
    from mixeff_fast.fit.coordinates import Coordinates
    from mixeff_fast.fit.engine import Engine
    from mixeff_fast.fit.glmm import GlmmResult
    from mixeff_fast.fit.lmm import LmmResult
    from mixeff_fast.models.spec import Call, ModelSpec
    from mixeff_fast.vocabulary import FitStatus

    Float = NDArray[np.float64]


class FitNumbers(ABC):
    """Estimates and counts of any fit, in the units of the data."""

    spec: ModelSpec
    result: LmmResult | GlmmResult
    control: Control
    _live_engine: Coordinates | None
    _refitted: bool

    @property
    @abstractmethod
    def _engine(self) -> Coordinates:
        """Built again at the estimates if the fit was loaded or copied."""

    @property
    @abstractmethod
    def _lam(self) -> Float:
        """The engine's Lambda."""

    @property
    @abstractmethod
    def sigma(self) -> float:
        """The standard deviation of what is left over in a row."""

    @cached_property
    @abstractmethod
    def fitted(self) -> Float:
        """Conditional means, shape (nobs,)."""

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
        """Covariance parameters, lme4's order and signs, shape (n_theta,): relative to sigma in a linear model, on the scale
        of the linear predictor in a generalized linear one."""
        return self.result.theta

    @property
    def theta_names(self) -> tuple[str, ...]:
        """``group.effect`` on the diagonal of Lambda, ``group.effect.effect`` below it."""
        return self.spec.compiled.theta_names

    @property
    def loglik(self) -> float:
        """Log-likelihood, or the REML log-likelihood for a REML fit, with all constants."""
        return -0.5 * self.result.objective

    @property
    def n_parameters(self) -> int:
        """Estimated parameters: fixed effects, theta, and sigma or what the family has of its own."""
        family = self.spec.compiled.family
        own = family is None or family.estimates_parameter
        return int((~self.result.aliased).sum()) + len(self.theta) + int(own)

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


class LmmNumbers(FitNumbers):
    """Of a linear mixed model."""

    result: LmmResult
    _live_engine: Engine | None

    @property
    def _engine(self) -> Engine:
        """Built again at the estimates if the fit was loaded or copied."""
        if self._live_engine is None:
            spec = self.spec
            self._live_engine = engine_again(spec.compiled, self.control, spec._source, self.result, self._refitted)
        return self._live_engine

    @property
    def _lam(self) -> Float:
        return self.result.lam

    @property
    def sigma(self) -> float:
        """Residual standard deviation of a row with weight 1."""
        return self.result.sigma

    @property
    def reml(self) -> bool:
        """Whether the REML criterion was minimized."""
        return self.result.reml

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

    @cached_property
    def fitted(self) -> Float:
        """Conditional fitted values, offset included, shape (nobs,)."""
        return fitted_values(self.spec.compiled, self.result)

    @property
    def weights(self) -> Float:
        """Prior weights, shape (nobs,); ones when none were given."""
        given = self.spec.compiled.frame.weights
        return np.ones(self.nobs) if given is None else np.asarray(given)
