"""Intervals against scipy, by hand and in simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hardy.evaluation.statistics import Z, mean_interval, paired, wilson


@pytest.mark.parametrize(
    ("hits", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 10), (512, 1024), (9_999, 10_000)]
)
def test_wilson_is_that_of_scipy(hits: int, n: int) -> None:
    expected = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


@given(st.integers(1, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_mirrors(counts: tuple[int, int]) -> None:
    hits, n = counts
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1
    assert wilson(n - hits, n) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@given(
    st.integers(1, 5000).flatmap(
        lambda n: st.integers(0, n).flatmap(
            lambda gained: st.tuples(st.just(gained), st.integers(0, n - gained), st.just(n))
        )
    )
)
def test_paired_holds_the_difference_and_mirrors(counts: tuple[int, int, int]) -> None:
    gained, lost, n = counts
    low, high = paired(gained, lost, n)
    assert -1 <= low <= (gained - lost) / n + 1e-12
    assert (gained - lost) / n - 1e-12 <= high <= 1
    assert paired(lost, gained, n) == pytest.approx((-high, -low), abs=1e-12)


def test_paired_by_hand() -> None:
    """8 gained, 1 lost of 98: shares .09 and .02, variance (.11 - .0049) / 100."""
    half = Z * 0.1051**0.5 / 10
    assert paired(8, 1, 98) == pytest.approx((0.07 - half, 0.07 + half), abs=1e-12)


@pytest.mark.parametrize(
    ("gain", "loss", "n"), [(0.1, 0.05, 100), (0.02, 0.02, 200), (0.01, 0.0, 1000), (0.3, 0.1, 40)]
)
def test_paired_covers_the_truth(gain: float, loss: float, n: int) -> None:
    counts = np.random.default_rng(0).multinomial(n, [gain, loss, 1 - gain - loss], size=4000)
    covered = 0
    for gained, lost, _ in counts.tolist():
        low, high = paired(gained, lost, n)
        covered += low <= gain - loss <= high
    assert covered / 4000 >= 0.93


def test_mean_interval_by_hand() -> None:
    assert mean_interval(2.0, 5.0, 100) == pytest.approx((2 - Z / 2, 2 + Z / 2))


def test_z_is_the_two_sided_quantile() -> None:
    assert pytest.approx(stats.norm.ppf(0.975), abs=1e-14) == Z


@pytest.mark.parametrize(("hits", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_no_proportion(hits: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"no proportion: {hits} of {n}"):
        wilson(hits, n)


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_no_paired_difference(counts: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="no paired difference"):
        paired(*counts)
