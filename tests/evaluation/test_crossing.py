"""Where curves reach a level, and how sure that is, worked out by hand and by brute force."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from hardy.draws import Draws
from hardy.evaluation.crossing import crossing, level_of, readings

THIRDS = [0.0, 1 / 3, 2 / 3, 1.0]
NEVER = float("nan")


def read(alphas: list[float], clean: list[float], robust: list[float], level: float) -> list[float]:
    def tensor(values: list[float]) -> Tensor:
        return torch.tensor(values, dtype=torch.float64)

    alpha, value = crossing(tensor(alphas), tensor(clean), tensor(robust), level)
    return [float(alpha), float(value)]


@pytest.mark.parametrize(
    ("clean", "robust", "level", "alpha", "value"),
    [
        # A quarter of the way from the second point to the third.
        ([0.6, 0.7, 0.8, 0.9], [0.5, 0.48, 0.4, 0.2], 0.725, 5 / 12, 0.46),
        # On a point: that point.
        ([0.5, 0.75, 0.875, 1.0], [0.5, 0.25, 0.125, 0.0], 0.75, 1 / 3, 0.25),
        # The end of the curve, and just above it.
        ([0.5, 0.6, 0.7, 0.75], [0.5, 0.4, 0.3, 0.25], 0.75, 1.0, 0.25),
        ([0.5, 0.6, 0.7, 0.75], [0.5, 0.4, 0.3, 0.25], 0.7501, NEVER, NEVER),
        # There from the start on, even if the curve then goes on up or falls.
        ([0.8, 0.9, 0.9, 0.9], [0.5, 0.4, 0.3, 0.2], 0.8, 0.0, 0.5),
        ([0.9, 0.7, 0.9, 0.9], [0.5, 0.4, 0.3, 0.2], 0.8, 0.0, 0.5),
        # It crosses twice, and down between: the first time counts.
        ([0.6, 0.8, 0.5, 0.9], [0.5, 0.3, 0.6, 0.1], 0.7, 1 / 6, 0.4),
        # It falls before it rises: the two neighbours of the crossing, not the start.
        ([0.6, 0.4, 0.8, 0.8], [0.5, 0.6, 0.2, 0.1], 0.5, 0.0, 0.5),
        ([0.6, 0.4, 0.8, 0.8], [0.5, 0.6, 0.2, 0.1], 0.7, 7 / 12, 0.3),
        # It stays where it is, on the level and below it.
        ([0.5, 0.5, 0.5, 0.5], [0.4, 0.3, 0.2, 0.1], 0.5, 0.0, 0.4),
        ([0.5, 0.5, 0.5, 0.5], [0.4, 0.3, 0.2, 0.1], 0.6, NEVER, NEVER),
    ],
)
def test_a_curve_is_read_where_it_first_reaches_the_level(
    clean: list[float], robust: list[float], level: float, alpha: float, value: float
) -> None:
    wanted = pytest.approx([alpha, value], abs=1e-12, nan_ok=True)
    assert read(THIRDS, clean, robust, level) == wanted


def test_many_curves_are_read_as_one() -> None:
    torch.manual_seed(0)
    clean, robust = torch.rand(2, 5, 7, 4, dtype=torch.float64)
    alphas = torch.tensor(THIRDS, dtype=torch.float64)
    alpha, value = crossing(alphas, clean, robust, 0.6)
    found = torch.stack([alpha, value], -1).tolist()
    for i in range(5):
        for j in range(7):
            one = read(THIRDS, clean[i, j].tolist(), robust[i, j].tolist(), 0.6)
            assert found[i][j] == pytest.approx(one, abs=1e-15, nan_ok=True)
    assert 0 < int(alpha.isnan().sum()) < 35, "some never, some do"


def rights(counts: list[int], n: int) -> Tensor:
    """At each alpha the first so many of n pictures are right, bool (A, N)."""
    return torch.arange(n) < torch.tensor(counts)[:, None]


# Of 20 pictures: the first starts at 18 clean and 8 robust, the second at 12 and 10 and reaches
# 18 half-way between 16 and 20, where it has 4 and 8; the third comes to 17 at most.
CLEAN = [rights([18, 19, 20], 20), rights([12, 16, 20], 20), rights([10, 17, 15], 20)]
ROBUST = [rights([8, 6, 4], 20), rights([10, 8, 4], 20), rights([9, 9, 9], 20)]
ALPHAS = [0.0, 0.5, 1.0]


def test_readings_by_hand() -> None:
    level = level_of(CLEAN)
    assert level == 0.9
    first, second, third = readings(ALPHAS, CLEAN, ROBUST, level)
    assert first is not None and second is not None and third is None
    assert (first.alpha, first.robust.value, first.gain) == (0, 0.4, None)
    assert (second.alpha, second.robust.value) == pytest.approx((0.75, 0.3))
    assert second.gain is not None and second.gain.value == pytest.approx(-0.1)


def test_a_difference_to_nothing_is_none() -> None:
    last, *others = readings(ALPHAS, CLEAN[::-1], ROBUST[::-1], 0.9)
    assert last is None
    assert all(one is not None and one.gain is None for one in others)


def test_intervals_are_those_of_resampled_pictures_by_hand() -> None:
    """Each resample drawn again, curve by curve, with NumPy alone."""
    torch.manual_seed(0)
    n, seed, resamples = 40, 3, 150
    base = torch.rand(2, n)
    clean = [base[0] < torch.tensor([0.6, 0.8, 0.95])[:, None], base[1] < 0.85]
    clean[1] = torch.stack([clean[1], base[1] < 0.9, base[1] < 0.99])
    robust = [base[0] < torch.tensor([0.5, 0.4, 0.2])[:, None] for _ in range(2)]
    level = 0.8
    found = readings(ALPHAS, clean, robust, level, seed, resamples)
    drawn = np.full((2, resamples), np.nan)
    for r in range(resamples):
        rows = Draws(seed, 0, torch.tensor([r])).integers(n, (n,), "bootstrap")[0]
        for k in range(2):
            x = clean[k][:, rows].double().mean(1).numpy()
            y = robust[k][:, rows].double().mean(1).numpy()
            i = next((i for i in range(3) if x[i] >= level), None)
            if i is not None:
                drawn[k, r] = (
                    y[0] if i == 0 else np.interp(level, x[i - 1 : i + 1], y[i - 1 : i + 1])
                )
    assert not np.isnan(drawn[1]).any()
    for k, one in enumerate(found):
        assert one is not None and one.robust.interval is not None
        assert one.robust.unread == pytest.approx(np.isnan(drawn[k]).mean())
        wanted = np.nanpercentile(drawn[k], [2.5, 97.5])
        assert one.robust.interval == pytest.approx(tuple(wanted), abs=1e-9)
        assert wanted[0] < one.robust.value < wanted[1]
    gain = found[1].gain if found[1] else None
    assert gain is not None
    wanted = np.nanpercentile(drawn[1] - drawn[0], [2.5, 97.5])
    assert gain.interval == pytest.approx(tuple(wanted), abs=1e-9)


def test_equal_networks_do_not_differ_at_all() -> None:
    torch.manual_seed(0)
    clean = torch.rand(1, 300) < torch.tensor([0.7, 0.8, 0.9])[:, None]
    robust = clean & (torch.rand(1, 300) < torch.tensor([0.6, 0.5, 0.4])[:, None])
    first, second = readings(ALPHAS, [clean] * 2, [robust] * 2, level_of([clean, clean]))
    assert first is not None and second is not None and second.gain is not None
    assert first.robust == second.robust and first.robust.interval is not None
    low, high = first.robust.interval
    assert low < first.robust.value < high
    assert (second.gain.value, second.gain.interval) == (0, (0, 0))


def test_a_level_that_few_resamples_reach_has_no_interval() -> None:
    """At the very end of a curve the level is reached by half of the resamples."""
    clean = [rights([180, 190, 200], 200), rights([120, 150, 180], 200)]
    robust = [rights([80, 70, 60], 200), rights([90, 80, 70], 200)]
    first, second = readings(ALPHAS, clean, robust, 0.9)
    assert first is not None and second is not None and second.gain is not None
    assert first.robust.unread == 0 and first.robust.interval is not None
    assert second.robust.value == pytest.approx(0.35)
    assert 0.3 < second.robust.unread < 0.6, "binomial: about 0.45"
    assert second.robust.interval is None and second.gain.interval is None


def test_the_seed_alone_decides_what_is_drawn() -> None:
    found = [readings(ALPHAS, CLEAN, ROBUST, 0.85, seed) for seed in (0, 0, 1)]
    assert found[0] == found[1] != found[2]
