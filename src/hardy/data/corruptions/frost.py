"""Ice on a pane, made up: the photographs of the original are not ours to ship."""

from __future__ import annotations

import functools
import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hardy.data.corruptions.filters import levels
from hardy.draws import Draws

_COUNT = 5  # the original has six photographs and never draws the last
_SIDE = 384
_DIRECTIONS = 5
# Set so that mean, deviation and local contrast of frosted pictures come near the original's.
_MEAN, _PATCHES, _NEEDLES = 0.635, 0.185, 0.125
_TINT = (-0.05, 0.0, 0.05)  # thin ice is bluish, thick ice white


@functools.lru_cache(maxsize=4)
def textures(side: int) -> Tensor:
    """Five textures of feathers of ice, uint8 (5, 3, side, side); always the same."""
    size = (side, side)
    ice = F.interpolate(_ice(), size, mode="bilinear", antialias=True, align_corners=False)
    thin = (1 - ice).clamp(0, 1) * 2
    return levels(ice + thin * torch.tensor(_TINT).view(1, 3, 1, 1))


@functools.cache
def _ice() -> Tensor:
    """Thick and thin patches, and in each patch needles along its own direction."""
    draws = Draws(0, 0, torch.arange(_COUNT))
    ice = torch.zeros(_COUNT, _SIDE, _SIDE)
    for number in range(_DIRECTIONS):
        angle = math.pi * (number + 0.5) / _DIRECTIONS
        grain = _smooth(draws, f"needles/{number}", 30, 1.2, angle)
        where = _smooth(draws, f"where/{number}", 18, 18, 0)
        ice += torch.exp(-3 * grain.abs()) * torch.sigmoid(3 * where - 1.5)
    patches = _smooth(draws, "patches", 34, 34, 0)
    return (_MEAN + _PATCHES * patches + _NEEDLES * _standard(ice))[:, None].clamp(0, 1)


def _smooth(draws: Draws, stream: str, along: float, across: float, angle: float) -> Tensor:
    """White noise smoothed by an oblong Gaussian, of mean 0 and deviation 1: (5, side, side)."""
    noise = draws.normal((_SIDE, _SIDE), f"frost/{stream}")
    down = torch.fft.fftfreq(_SIDE)[:, None]
    right = torch.fft.rfftfreq(_SIDE)
    u = right * math.cos(angle) + down * math.sin(angle)
    v = down * math.cos(angle) - right * math.sin(angle)
    bell = torch.exp(-2 * math.pi**2 * ((along * u) ** 2 + (across * v) ** 2))
    return _standard(torch.fft.irfft2(torch.fft.rfft2(noise) * bell, s=(_SIDE, _SIDE)))


def _standard(field: Tensor) -> Tensor:
    mean, deviation = field.mean((1, 2), keepdim=True), field.std((1, 2), keepdim=True)
    return (field - mean) / deviation
