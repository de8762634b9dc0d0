"""Curves of robust over clean accuracy, read where they first reach one clean accuracy.

Two numbers do not compare networks that trade one accuracy for the other; robust accuracy at
equal clean accuracy does. The level is the highest clean accuracy that a network has by itself:
the others can come there by going up.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.draws import Draws

RESAMPLES = 1000
CHUNK = 100  # resamples in memory at once
MOST_UNREAD = 0.05  # of the resamples; were it more, those with a reading would be a selection


@dataclass(frozen=True)
class Estimate:
    """A fraction, or a difference of two, with its 95 % percentile interval over resampled
    pictures. unread: the share of the resamples that gave no such number; above MOST_UNREAD
    there is no interval."""

    value: float
    interval: tuple[float, float] | None
    unread: float


@dataclass(frozen=True)
class Reading:
    """A network at the level: alpha of the crossing, robust accuracy there, and its difference
    to the first network's (None for that one, and where that one has no reading)."""

    alpha: float
    robust: Estimate
    gain: Estimate | None


def crossing(alphas: Tensor, clean: Tensor, robust: Tensor, level: float) -> tuple[Tensor, Tensor]:
    """Where curves first reach a clean accuracy: alpha, and robust accuracy there, (…) both;
    NaN where a curve never does.

    alphas: ascending, (A,). clean, robust: accuracies of the curves' points as fractions,
    (…, A); all in double precision. Between two points a curve is a straight line; one that
    starts at the level or above it is read at its first point.
    """
    reached = clean >= level
    after = reached.to(torch.uint8).argmax(-1, keepdim=True)  # of equals the first
    before = (after - 1).clamp(min=0)

    def ends(values: Tensor) -> tuple[Tensor, Tensor]:
        values = values.expand_as(clean)
        return values.gather(-1, before)[..., 0], values.gather(-1, after)[..., 0]

    low, high = ends(clean)
    rise = torch.where(high > low, high - low, 1.0)
    share = torch.where(after[..., 0] > 0, (level - low) / rise, 0.0)
    never = ~reached.any(-1)

    def between(values: Tensor) -> Tensor:
        start, end = ends(values)
        return torch.lerp(start, end, share).masked_fill(never, torch.nan)

    return between(alphas), between(robust)


def level_of(clean: Sequence[Tensor]) -> float:
    """The highest clean accuracy, a fraction, that a network has with its own weights. clean:
    of each network who is right, bool (A, N), with its own weights in the first row."""
    return max(int(one[0].sum()) / one.shape[1] for one in clean)


def readings(
    alphas: Sequence[float],
    clean: Sequence[Tensor],
    robust: Sequence[Tensor],
    level: float,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Reading | None]:
    """Each network at the level; None for one that never reaches it.

    clean, robust: of each network who is right without and under the attack at each alpha, of
    the same N pictures, bool (A, N). Intervals are of a paired bootstrap: the same seeded
    resamples of the pictures for all networks, each read at the same fixed level.
    """
    right = torch.stack([torch.stack([*clean]), torch.stack([*robust])]).double()  # (2, K, A, N)
    points = torch.tensor(alphas, dtype=torch.float64)
    n = right.shape[-1]
    own = right.sum(-1) / n
    at, values = crossing(points, own[0], own[1], level)
    drawn = []
    for start in range(0, resamples, CHUNK):
        index = torch.arange(start, min(start + CHUNK, resamples))
        rows = Draws(seed, 0, index).integers(n, (n,), "bootstrap")
        times = torch.zeros(rows.shape, dtype=torch.float64)
        times.scatter_add_(1, rows, torch.ones_like(times))
        # Sums of whole numbers are exact: equal networks stay equal to the bit.
        again = torch.einsum("ckan,rn->ckra", right, times) / n
        drawn.append(crossing(points, again[0], again[1], level)[1])
    spread = torch.cat(drawn, 1)  # (K, resamples)
    found: list[Reading | None] = []
    for k, value in enumerate(values):
        robustly = _estimate(value, spread[k])
        gain = _estimate(value - values[0], spread[k] - spread[0]) if k else None
        found.append(Reading(float(at[k]), robustly, gain) if robustly else None)
    return found


def _estimate(value: Tensor, drawn: Tensor) -> Estimate | None:
    """None where there is no value to estimate."""
    if value.isnan():
        return None
    unread = float(drawn.isnan().double().mean())
    interval = None
    if unread <= MOST_UNREAD:
        ends = torch.tensor([0.025, 0.975], dtype=drawn.dtype)
        low, high = drawn[~drawn.isnan()].quantile(ends).tolist()
        interval = (low, high)
    return Estimate(float(value), interval, unread)
