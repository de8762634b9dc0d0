"""Draws: the same numbers for the same example wherever it stands, and well distributed."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hardy.draws import Draws

MANY = Draws(seed=0, epoch=0, index=torch.arange(2000))


def test_pinned_values() -> None:
    """Moving one of these moves every split, order and random start ever reported."""
    draws = Draws(seed=0, epoch=0, index=torch.tensor([0, 1, 49_999, 2**40]))
    assert draws.bits((2,), "start").tolist() == [
        [3452824472, 2677859662],
        [3673633791, 1091615406],
        [163887351, 1167270572],
        [3697866364, 1960784441],
    ]
    other = Draws(seed=7, epoch=3, index=torch.tensor([5]), restart=2)
    assert other.bits((3,), "order").tolist() == [[1041210509, 1352494775, 2839936875]]
    assert other.integers(10, (6,), "crop").tolist() == [[3, 7, 2, 8, 9, 1]]
    assert other.uniform((), "a").item() == 0.34239310026168823
    assert other.normal((2,), "b")[0].tolist() == pytest.approx([-0.394623, -0.2060723], abs=1e-6)


@given(rows=st.lists(st.integers(0, 40), min_size=1, max_size=20))
@settings(max_examples=50, deadline=None)
def test_an_example_keeps_its_numbers_in_any_place_of_any_batch(rows: list[int]) -> None:
    whole = Draws(seed=3, epoch=1, index=torch.arange(100, 141), restart=1)
    part = torch.tensor(rows)
    for draw in (Draws.bits, Draws.uniform, Draws.normal):
        assert torch.equal(draw(whole.take(part), (3, 2), "s"), draw(whole, (3, 2), "s")[part])
    anew = Draws(3, 1, torch.tensor([100 + row for row in rows]), restart=1)
    assert torch.equal(anew.integers(9, (4,), "s"), whole.integers(9, (4,), "s")[part])


@pytest.mark.parametrize("change", [{"seed": 1}, {"epoch": 1}, {"restart": 1}, {"stream": "t"}])
def test_any_other_name_gives_other_numbers(change: dict[str, int | str]) -> None:
    stream = str(change.pop("stream", "s"))
    a, b = MANY.uniform((4,), "s"), replace(MANY, **change).uniform((4,), stream)
    assert (a == b).float().mean() < 1e-3
    assert abs(stats.pearsonr(a.flatten(), b.flatten()).statistic) < 0.04


def test_seed_and_epoch_do_not_stand_for_each_other() -> None:
    """1/23 and 12/3 are different names although their digits are the same."""
    a, b = Draws(1, 23, torch.arange(9)), Draws(12, 3, torch.arange(9))
    assert not torch.equal(a.bits((4,), "s"), b.bits((4,), "s"))


@pytest.mark.parametrize("seed", [-1, -(2**70), 2**31, 2**63, 10**40])
def test_any_integer_is_a_seed(seed: int) -> None:
    u = replace(MANY, seed=seed).uniform((), "s")
    assert stats.kstest(u, "uniform").pvalue > 1e-3
    assert not torch.equal(u, replace(MANY, seed=seed + 1).uniform((), "s"))


def test_indices_beyond_32_bits_have_their_own_numbers() -> None:
    low = torch.arange(100)
    a, b = Draws(0, 0, low).bits((4,), "s"), Draws(0, 0, low + 2**32).bits((4,), "s")
    assert not (a == b).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_uniform_is_uniform_and_strictly_inside(dtype: torch.dtype) -> None:
    u = MANY.uniform((3, 10), "s", dtype).flatten()
    assert u.dtype == dtype
    assert u.min() > 0 and u.max() < 1
    assert u.mean() == pytest.approx(1 / 2, abs=0.005)
    assert u.var() == pytest.approx(1 / 12, abs=0.002)
    assert stats.kstest(u, "uniform").pvalue > 1e-3


@pytest.mark.parametrize(("word", "value"), [(0, 2**-24), (2**32 - 1, 1 - 2**-24)])
def test_the_extreme_words_stay_inside(
    word: int, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Draws, "bits", lambda *_: torch.tensor([word]))
    assert MANY.uniform((), "s").item() == value


def test_normal_is_standard_normal() -> None:
    z = MANY.normal((3, 10), "s", torch.float64).flatten()
    assert z.mean() == pytest.approx(0, abs=0.02)
    assert z.var() == pytest.approx(1, abs=0.02)
    assert stats.kurtosis(z) == pytest.approx(0, abs=0.06)
    assert stats.kstest(z, "norm").pvalue > 1e-3


@pytest.mark.parametrize("high", [2, 9, 10, 257])
def test_integers_cover_their_range_evenly(high: int) -> None:
    k = MANY.integers(high, (20,), "s").flatten()
    assert k.dtype == torch.int64
    counts = torch.bincount(k, minlength=high)
    assert len(counts) == high
    assert stats.chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize("lag", [1, 2, 16])
def test_neighbours_are_uncorrelated(lag: int) -> None:
    """Along the examples, and along the places of one example."""
    u = Draws(0, 0, torch.arange(400)).uniform((400,), "s", torch.float64)
    assert abs(stats.pearsonr(u[lag:].flatten(), u[:-lag].flatten()).statistic) < 0.01
    assert abs(stats.pearsonr(u[:, lag:].flatten(), u[:, :-lag].flatten()).statistic) < 0.01


def test_no_two_examples_share_their_numbers() -> None:
    words = Draws(0, 0, torch.arange(60_000)).bits((2,), "s")
    assert len(words.unique(dim=0)) == 60_000


def test_no_examples_no_numbers() -> None:
    assert MANY.take(torch.arange(0)).uniform((1, 4, 4), "s").shape == (0, 1, 4, 4)
