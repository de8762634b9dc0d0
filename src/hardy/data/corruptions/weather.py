"""Snow, frost, fog and brightness."""

from __future__ import annotations

import torch
from torch import Tensor

from hardy.data.corruptions.filters import flat, grey, levels, motion, pixels, zooming
from hardy.data.corruptions.frost import textures
from hardy.data.corruptions.parameters import Values
from hardy.draws import Draws


def brightness(images: Tensor, c: Values, _: Draws) -> Tensor:
    """Value (of HSV) raised by `shift`; hue and saturation stay, black becomes grey."""
    (shift,) = c
    x = pixels(images)
    value = x.amax(1, keepdim=True)
    return levels(torch.where(value > 0, x / value, 1) * (value + shift).clamp(0, 1))


def snow(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """Flakes of thresholded noise, dragged downwards, over a whitened picture."""
    mean, deviation, factor, threshold, radius, sigma, mix = c
    size = images.shape[-1]
    x = pixels(images)
    zoom = zooming(size, max(1, factor))
    flakes = mean + deviation * draws.normal((1, size, size), "snow/flakes", torch.float64)
    flakes = zoom @ flakes @ zoom.T
    flakes = levels(flakes.masked_fill(flakes < threshold, 0))
    angle = -135 + 90 * draws.uniform((), "snow/angle", torch.float64)
    flakes = pixels(levels(motion(pixels(flakes), radius, sigma, angle)))
    whitened = torch.maximum(x, 1.5 * grey(x) + 0.5)
    return levels(mix * x + (1 - mix) * whitened + flakes + flakes.flip(-1, -2))


def frost(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """A weighted sum with a random window of one of five textures of `side` pixels."""
    weight, frost_weight, side = c
    size = images.shape[-1]
    ice = textures(round(side))
    ice = ice if images.shape[1] == 3 else levels(grey(pixels(ice)))
    which = draws.integers(len(ice), (), "frost/texture")
    corner = draws.integers(round(side) - size, (2, 1), "frost/corner") + torch.arange(size)
    rows, columns = corner[:, 0, :, None], corner[:, 1, None, :]
    window = ice.permute(0, 2, 3, 1)[which.view(-1, 1, 1), rows, columns].permute(0, 3, 1, 2)
    return levels((weight * images.double() + frost_weight * window) / 255)


def fog(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """A plasma fractal added, and the sum brought back under the picture's own maximum."""
    strength, decay = c
    size = images.shape[-1]
    x = pixels(images)
    most = flat(x.flatten(1).amax(1))
    x = x + strength * plasma(size, decay, draws)[:, None, :size, :size]
    return levels(x * most / (most + strength))


def plasma(size: int, decay: float, draws: Draws) -> Tensor:
    """Diamond-square height maps in [0, 1], float64 (B, side, side), periodic.

    side: the power of two from `size` on. The displacement starts at ±100² and shrinks by
    decay² a step.
    """
    side = 1 << (size - 1).bit_length()
    field = torch.zeros(len(draws.index), side, side, dtype=torch.float64)
    step, wobble = side, 100.0
    while step >= 2:
        half, reach = step // 2, wobble**2
        corners = field[:, ::step, ::step]
        around = corners + corners.roll(-1, 1)
        around = around + around.roll(-1, 2)
        centres = around / 4 + reach * _signed(draws, around, f"square/{step}")
        field[:, half::step, half::step] = centres
        around = centres + centres.roll(1, 1) + corners + corners.roll(-1, 2)
        top = around / 4 + reach * _signed(draws, around, f"top/{step}")
        field[:, ::step, half::step] = top
        around = centres + centres.roll(1, 2) + corners + corners.roll(-1, 1)
        left = around / 4 + reach * _signed(draws, around, f"left/{step}")
        field[:, half::step, ::step] = left
        step, wobble = half, wobble / decay
    field -= field.amin((1, 2), keepdim=True)
    return field / field.amax((1, 2), keepdim=True)


def _signed(draws: Draws, like: Tensor, stream: str) -> Tensor:
    """Uniform in (−1, 1), in the shape of `like`."""
    return 2 * draws.uniform(like.shape[1:], f"plasma/{stream}", like.dtype) - 1
