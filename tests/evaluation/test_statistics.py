"""Intervals against scipy, by hand and in simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from hardy.evaluation.statistics import (
    Z,
    above,
    mcnemar,
    mean_interval,
    mean_share,
    over_seeds,
    paired,
    paired_means,
    wilson,
)


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


@pytest.mark.parametrize(
    ("gained", "lost", "p"),
    [
        (0, 0, 1.0),
        (5, 0, 2 / 2**5),
        (0, 5, 2 / 2**5),
        (1, 3, 2 * (1 + 4) / 2**4),
        (3, 3, 1.0),
        (8, 2, 2 * (1 + 10 + 45) / 2**10),
    ],
)
def test_mcnemar_by_hand(gained: int, lost: int, p: float) -> None:
    """Twice the smaller tail of a fair coin, at most 1."""
    assert mcnemar(gained, lost) == pytest.approx(p, rel=1e-12)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_that_of_scipy(gained: int, lost: int) -> None:
    expected = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
    assert mcnemar(gained, lost) == pytest.approx(expected, rel=1e-6)


def test_no_comparison() -> None:
    with pytest.raises(ValueError, match="-1 gained and 3 lost"):
        mcnemar(-1, 3)


@pytest.mark.parametrize(
    ("hits", "n", "share", "is_above"),
    [
        (6, 6, 0.5, False),  # 1/64
        (7, 7, 0.5, True),  # 1/128
        (3, 3, 0.2, True),  # 1/125
        (2, 3, 0.2, False),  # 13/125
        (0, 5, 0.0, False),
        (0, 0, 0.5, False),
    ],
)
def test_above_by_hand(hits: int, n: int, share: float, is_above: bool) -> None:
    assert above(hits, n, share) is is_above


def test_over_seeds_by_hand() -> None:
    """Mean .52, deviations -.02, 0, .02: variance .0004; the 97.5 % point of t with two degrees
    of freedom is 4.30265."""
    mean, std, (low, high) = over_seeds([0.50, 0.52, 0.54])
    half = 4.302652729696142 * 0.02 / 3**0.5
    assert (mean, std) == pytest.approx((0.52, 0.02), rel=1e-12)
    assert (low, high) == pytest.approx((0.52 - half, 0.52 + half), rel=1e-9)


def test_over_seeds_is_that_of_scipy() -> None:
    values = np.random.default_rng(1).random(5)
    expected = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert over_seeds(values.tolist())[2] == pytest.approx((expected.low, expected.high))


@pytest.mark.parametrize("values", [[], [0.5]])
def test_one_network_has_no_spread(values: list[float]) -> None:
    with pytest.raises(ValueError, match=f"at least 2 networks, not {len(values)}"):
        over_seeds(values)


def test_paired_means_by_hand() -> None:
    """Differences .5, 0, -.25, .25: mean .125, squared deviations .140625 + .015625 +
    .140625 + .015625 = .3125."""
    before = torch.tensor([0.25, 0.5, 0.75, 0.0])
    after = torch.tensor([0.75, 0.5, 0.5, 0.25])
    half = Z * (0.3125 / 3) ** 0.5 / 2
    mean, interval = paired_means(before, after)
    assert mean == pytest.approx(0.125, abs=1e-12)
    assert interval == pytest.approx((0.125 - half, 0.125 + half), abs=1e-12)


def test_paired_means_stay_fractions() -> None:
    assert paired_means(torch.zeros(1), torch.ones(1)) == (1.0, (-1.0, 1.0))
    after = torch.tensor([1.0] * 9 + [0.0])
    mean, (low, high) = paired_means(torch.zeros(10), after)
    assert mean == pytest.approx(0.9) and 0 < low < mean and high == 1.0


def test_what_is_not_paired() -> None:
    for shapes in [(2, 3), (0, 0)]:
        with pytest.raises(ValueError, match="no paired scores"):
            paired_means(*(torch.zeros(n) for n in shapes))


def test_shares_without_spread_are_no_certainty() -> None:
    """Ten pictures, right everywhere: Wilson's interval of 10 of 10; and of a difference that is
    the same on all, the width of a count in which none changed."""
    ones = torch.ones(10)
    assert mean_share(ones) == (1.0, wilson(10, 10))
    assert mean_share(ones[:1] * 0) == (0.0, wilson(0, 1))
    mean, (low, high) = mean_share(torch.tensor([0.0, 0.5, 1.0, 0.5]))
    half = Z * math.sqrt(0.5 / 3) / 2  # the sample's variance is (0.25 + 0.25) / 3
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - half, 0.5 + half))
    assert paired_means(ones, ones) == (0.0, paired(0, 0, 10))
    difference, (low, high) = paired_means(ones * 0.25, ones * 0.75)
    assert (difference, high - low) == pytest.approx((0.5, 2 * paired(0, 0, 10)[1]))
    with pytest.raises(ValueError, match="no shares"):
        mean_share(torch.zeros(0))
