"""Tails: against SciPy where it has digits, and against identities where it has none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from mixeff_fast.inference import probability as p


@given(st.floats(-30, 30), st.floats(0.3, 1e6))
def test_t_is_scipys(t: float, df: float) -> None:
    found = p.t_two_sided(t, df)
    assert found.p == pytest.approx(2.0 * stats.t.sf(abs(t), df), rel=1e-9)
    assert found.log_p == pytest.approx(math.log(found.p), abs=1e-12)


@given(st.floats(0, 200), st.integers(1, 60), st.floats(0.5, 1e5))
def test_f_is_scipys(f: float, df1: int, df2: float) -> None:
    wanted = stats.f.sf(f, df1, df2)
    assert p.f_upper(f, df1, df2).p == pytest.approx(wanted, rel=1e-8, abs=1e-300)


@given(st.floats(0, 1300), st.integers(1, 200))
def test_chi_square_is_scipys(x: float, df: int) -> None:
    assert p.chi_square_upper(x, df).p == pytest.approx(stats.chi2.sf(x, df), rel=1e-9, abs=1e-300)


@pytest.mark.parametrize("df", [1, 2, 3, 10, 100, 300])
@pytest.mark.parametrize("x", [1e3, 2e3, 1e4, 1e6])
def test_far_tails_of_chi_square_are_integrals_of_its_density(x: float, df: int) -> None:
    """Relative to the density at x, the tail is an integral of moderate numbers."""
    def relative(u: float) -> float:
        return math.exp((0.5 * df - 1.0) * math.log1p(u / x) - 0.5 * u)

    wanted = stats.chi2.logpdf(x, df) + math.log(integrate.quad(relative, 0, 2000, epsabs=0)[0])
    assert p.chi_square_upper(x, df).log_p == pytest.approx(wanted, rel=1e-10)


@pytest.mark.parametrize(("df1", "df2"), [(1, 3), (1, 40.5), (4, 1000), (30, 400), (3, 1e8), (1, 1e9)])
@pytest.mark.parametrize("f", [1e3, 1e5, 1e12])
def test_far_tails_of_f_are_integrals_of_its_density(f: float, df1: float, df2: float) -> None:
    ratio = df1 / df2

    def relative(v: float) -> float:
        u = math.exp(v)
        return math.exp((0.5 * df1 - 1.0) * v - 0.5 * (df1 + df2) * math.log((1 + ratio * f * u) / (1 + ratio * f)) + v)

    area = sum(integrate.quad(relative, a, b, epsabs=0, limit=500)[0]
               for a, b in ((0, 1e-6), (1e-6, 1e-3), (1e-3, 0.1), (0.1, 5), (5, 60)))
    log_density = (0.5 * df1 * math.log(ratio) + (0.5 * df1 - 1) * math.log(f) - 0.5 * (df1 + df2) * math.log1p(ratio * f)
                   - (math.lgamma(0.5 * df1) + math.lgamma(0.5 * df2) - math.lgamma(0.5 * (df1 + df2))))
    # lgamma of large numbers has absolute errors of their size
    wanted = log_density + math.log(f) + math.log(area)
    assert p.f_upper(f, df1, df2).log_p == pytest.approx(wanted, rel=1e-7)


@pytest.mark.parametrize("statistic", [40.0, 1e3, 1e10, 1e100, 1e200])
def test_no_p_value_is_zero_and_no_logarithm_infinite(statistic: float) -> None:
    for tail in (p.normal_two_sided(min(statistic, 1e150)), p.t_two_sided(statistic, 17.0), p.f_upper(statistic, 3.0, 20.0),
                 p.f_upper(statistic, 3.0, math.inf), p.chi_square_upper(statistic, 4.0)):
        assert 0.0 < tail.p <= 1.0
        assert -math.inf < tail.log_p <= 0.0


def test_tails_fall_across_the_switch_of_methods() -> None:
    for tail in (lambda s: p.t_two_sided(s, 25.0), lambda s: p.f_upper(s, 4.0, 300.0), lambda s: p.chi_square_upper(s, 7.0),
                 p.normal_two_sided):
        logs = [tail(s).log_p for s in np.geomspace(0.1, 1e15, 2000).tolist()]
        assert np.all(np.diff(logs) <= 0.0)
        assert np.isfinite(logs).all()


def test_limits_of_degrees_of_freedom() -> None:
    assert p.t_two_sided(2.5, math.inf) == p.normal_two_sided(2.5)
    assert p.f_upper(2.5, 3.0, math.inf) == p.chi_square_upper(7.5, 3.0)
    assert p.t_two_sided(2.5, 1e12).p == pytest.approx(p.normal_two_sided(2.5).p, rel=1e-9)
    assert p.t_two_sided(0.0, 3.0) == p.f_upper(0.0, 2.0, 3.0) == p.chi_square_upper(0.0, 2.0) == (1.0, 0.0)


@given(st.floats(0.001, 0.999), st.floats(1, 1e6))
def test_quantiles_undo_probabilities(probability: float, df: float) -> None:
    assert stats.t.cdf(p.t_quantile(probability, df), df) == pytest.approx(probability, rel=1e-8)
    assert p.t_quantile(probability, math.inf) == p.normal_quantile(probability)
    assert stats.norm.cdf(p.normal_quantile(probability)) == pytest.approx(probability, rel=1e-12)
