"""Noise: Gaussian, shot, impulse and, of the four extra ones, speckle."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import torch
from scipy.special import pdtr
from torch import Tensor

from hardy.data.corruptions.filters import levels, pixels
from hardy.data.corruptions.parameters import Values
from hardy.draws import Draws

_CELLS = 4096


def gaussian_noise(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """x + σ·n."""
    (sigma,) = c
    return levels(pixels(images) + sigma * draws.normal(images.shape[1:], "gaussian_noise"))


def speckle_noise(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """x + x·σ·n."""
    (sigma,) = c
    x = pixels(images)
    return levels(x + x * (sigma * draws.normal(images.shape[1:], "speckle_noise")))


def impulse_noise(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """An `amount` of the values, channel by channel, black or white with equal chance."""
    (amount,) = c
    u = draws.uniform(images.shape[1:], "impulse_noise", torch.float64)
    return images.masked_fill(u < amount / 2, 0).masked_fill(u > 1 - amount / 2, 255)


def shot_noise(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """Poisson(x·rate) / rate, by inverting the distribution of each of the 256 levels."""
    (rate,) = c
    law = _poisson(rate)
    u = draws.uniform(images.shape[1:], "shot_noise", torch.float64).flatten()
    level = images.flatten().int()
    cell = (u * _CELLS).int() + level * (_CELLS + 1)
    count = law.guide[cell]
    # Few cells hold a step of the distribution: only there a search is needed.
    unsure = (count != law.guide[cell + 1]).nonzero().flatten()
    place = torch.searchsorted(law.cumulative, u[unsure] + level[unsure])
    count[unsure] = (place - level[unsure] * law.width).int()
    return law.greys[count].view_as(images)


@dataclass(frozen=True)
class _Poisson:
    """The distributions of all levels, one above the other in one sorted line.

    cumulative: row k holds k + P(count ≤ j) for j = 0 … width − 1. guide: for each level the
    count at every 1/_CELLS of the probability. greys: the grey level of each count.
    """

    cumulative: Tensor
    width: int
    guide: Tensor
    greys: Tensor


@functools.cache
def _poisson(rate: float) -> _Poisson:
    width = int(rate + 12 * rate**0.5 + 24)
    counts, level = np.arange(width), np.arange(256)[:, None]
    table = pdtr(counts[None], level / 255 * rate)
    table[:, -1] = 1
    cumulative = (table + level).ravel()
    edges = np.arange(_CELLS + 1) / _CELLS
    guide = np.searchsorted(cumulative, edges + level) - level * width
    greys = (np.clip(counts / rate, 0, 1) * 255).astype(np.uint8)
    return _Poisson(
        torch.from_numpy(cumulative),
        width,
        torch.from_numpy(guide.clip(0, width - 1).astype(np.int32).ravel()),
        torch.from_numpy(greys),
    )
