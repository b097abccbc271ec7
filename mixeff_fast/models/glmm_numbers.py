"""The numbers of a fitted generalized linear mixed model."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from mixeff_fast.errors import InferenceUnavailable
from mixeff_fast.fit import glmm_modes, means
from mixeff_fast.fit.lmm import fitted_values
from mixeff_fast.models.numbers import FitNumbers

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mixeff_fast.families import Family
    from mixeff_fast.fit.glmm import GlmmResult, Method
    from mixeff_fast.fit.laplace import LaplaceEngine

    Float = NDArray[np.float64]


class GlmmNumbers(FitNumbers):
    """Of a generalized linear mixed model."""

    result: GlmmResult
    _live_engine: LaplaceEngine | None

    @property
    def _engine(self) -> LaplaceEngine:
        """Built again at the estimates if the fit was loaded or copied."""
        if self._live_engine is None:
            self._live_engine = glmm_modes.engine_at(self.spec.compiled, self.control, self.result, self.n_agq)
        return self._live_engine

    @property
    def _lam(self) -> Float:
        return self._engine.split(self.result.point)[0]

    @property
    def family(self) -> Family:
        """The distribution of the response and the link."""
        family = self.spec.compiled.family
        assert family is not None
        return family

    @property
    def family_parameter(self) -> float | None:
        """Theta of the negative binomial, or the dispersion, estimated or known; None where the family has none."""
        return self.result.parameter

    @property
    def sigma(self) -> float:
        """Root of the dispersion (of a gamma model the coefficient of variation, of a Gaussian one the residual standard
        deviation); 1 for families without a dispersion. Theta is not relative to it."""
        if not self.family.has_dispersion:
            return 1.0
        return math.nan if self.result.parameter is None else math.sqrt(self.result.parameter)

    @property
    def method(self) -> Method:
        """What was minimized: ``"joint_laplace"`` over all parameters, ``"pirls_profiled"`` with fixed effects profiled out of
        the penalized deviance."""
        return self.result.method

    @property
    def n_agq(self) -> int:
        """Gauss-Hermite nodes per dimension; 1 is Laplace's approximation."""
        return self.result.n_agq

    @property
    def deviance(self) -> float:
        """-2 log-likelihood with all constants, as for a linear model. R's ``deviance(glmer(...))`` is another number, the sum
        of the squared deviance residuals."""
        return self.result.objective

    @property
    def reml(self) -> bool:
        """False: a model with a family has no REML criterion."""
        return False

    @property
    def reml_criterion(self) -> float:
        """There is none.

        Raises
        ------
        InferenceUnavailable
            Always: ``reml_undefined_for_family``.
        """
        raise InferenceUnavailable(
            f"the REML criterion is one of linear mixed models; this one is {self.family}. Its criterion is deviance",
            reason_code="reml_undefined_for_family",
        )

    @cached_property
    def linear_predictor(self) -> Float:
        """Conditional linear predictors, offset included, shape (nobs,)."""
        return fitted_values(self.spec.compiled, self.result)

    @cached_property
    def fitted(self) -> Float:
        """Conditional means, shape (nobs,): probabilities in the binomial family."""
        return means.mean(self.family, self.result.parameter, self.linear_predictor)

    @property
    def weights(self) -> Float:
        """Prior weights, shape (nobs,), in the binomial family times the numbers of trials; ones when there are neither."""
        return means.row_weights(self.spec.compiled)
