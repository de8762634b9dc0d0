"""Spatter: drops of water, or of mud, on the lens."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import Tensor

from hardy.data.corruptions.filters import (
    correlated,
    flat,
    gaussian,
    levels,
    padded,
    pixels,
    tint,
)
from hardy.data.corruptions.parameters import Values
from hardy.draws import Draws

_WATER, _MUD = (175, 238, 238), (63, 42, 20)
_WEAK_EDGE, _STRONG_EDGE = 50, 150
_BOX = torch.ones(3, 3, dtype=torch.float64)
_LIGHT = torch.tensor([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], dtype=torch.float64)


def spatter(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """Thresholded smooth noise: water with lit edges brightens, mud covers."""
    mean, deviation, sigma, threshold, strength, mud, far = c
    x, size = pixels(images), images.shape[-1]
    liquid = mean + deviation * draws.normal((1, size, size), "spatter", torch.float64)
    liquid = gaussian(liquid, sigma)
    liquid = liquid.masked_fill(liquid < threshold, 0)
    if mud:
        cover = gaussian((liquid > threshold).double(), strength)
        cover = cover.masked_fill(cover < 0.8, 0)
        return levels(x * (1 - cover) + cover * tint(_MUD, images.shape[1]))
    drops = levels(liquid)
    shine = drops * _relief(_distance(_edges(drops), far))
    most = flat(shine.flatten(1).amax(1)).clamp(min=1)
    return levels(x + strength * shine / most * tint(_WATER, images.shape[1]))


def _relief(distance: Tensor) -> Tensor:
    """Distances (B, 1, H, W) as a surface lit from one corner, whole numbers 0..255."""
    smooth = (correlated(distance, _BOX, "mirror") / 9).to(torch.uint8)
    lit = correlated(_equalised(smooth).double(), _LIGHT, "mirror").clamp(0, 255)
    return (correlated(lit, _BOX, "mirror") / 9).round()


def _edges(images: Tensor) -> Tensor:
    """Canny's edges of uint8 (B, 1, H, W) as OpenCV finds them, bool: |dx| + |dy| of Sobel."""
    wide = padded(images.double(), 1, "nearest")
    smooth = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64)
    slope = torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)
    dx = correlated(wide, torch.outer(smooth, slope), "nearest")[..., 1:-1, 1:-1]
    dy = correlated(wide, torch.outer(slope, smooth), "nearest")[..., 1:-1, 1:-1]
    # The magnitude just outside of the picture counts as zero.
    size = F.pad(dx.abs() + dy.abs(), (1, 1, 1, 1))
    rows, columns = images.shape[-2:]

    def beside(down: int, right: int) -> Tensor:
        return size[..., 1 + down : 1 + down + rows, 1 + right : 1 + right + columns]

    here = beside(0, 0)
    flat_lying = dy.abs() < np.tan(np.pi / 8) * dx.abs()
    upright = dy.abs() > np.tan(3 * np.pi / 8) * dx.abs()
    falling = (dx < 0) == (dy < 0)
    slanted = torch.where(
        falling,
        (here > beside(-1, -1)) & (here > beside(1, 1)),
        (here > beside(-1, 1)) & (here > beside(1, -1)),
    )
    peak = torch.where(
        flat_lying,
        (here > beside(0, -1)) & (here >= beside(0, 1)),
        torch.where(upright, (here > beside(-1, 0)) & (here >= beside(1, 0)), slanted),
    )
    weak = peak & (here > _WEAK_EDGE)
    # Pictures lie one behind the other, and lines join only within a picture.
    joined = np.zeros((3, 3, 3))
    joined[1] = 1
    line = np.zeros(weak[:, 0].shape, np.int32)
    count = ndimage.label(weak[:, 0].numpy(), joined, output=line)
    assert isinstance(count, int)
    strong = np.zeros(count + 1, bool)
    strong[line[(weak & (here > _STRONG_EDGE))[:, 0].numpy()]] = True
    return torch.from_numpy(strong[line])[:, None]


def _distance(edges: Tensor, far: float) -> Tensor:
    """To the next edge, at most `far`: float64 (B, 1, H, W) in OpenCV's 5×5 metric.

    Its steps are 1 straight, 1.4 diagonal and 2.1969 for a knight's move.
    """
    pictures = ~edges[:, 0].numpy()
    if pictures.all():
        return torch.full(edges.shape, far, dtype=torch.float64)
    # Another picture is further away than anything within one.
    apart = 4 * (far + pictures.shape[-1])
    nearest = ndimage.distance_transform_edt(
        pictures, (apart, 1, 1), return_distances=False, return_indices=True
    )
    assert isinstance(nearest, np.ndarray)
    picture, down, right = np.abs(nearest - np.indices(pictures.shape))
    long, short = np.maximum(down, right), np.minimum(down, right)
    steep = 2 * short > long
    distance = np.where(
        steep,
        (long - short) * 2.1969 + (2 * short - long) * 1.4,
        short * 2.1969 + (long - 2 * short),
    )
    distance[picture > 0] = far
    return torch.from_numpy(np.minimum(distance, far))[:, None]


def _equalised(images: Tensor) -> Tensor:
    """The histogram of each uint8 picture (B, 1, H, W) spread over 0..255, as OpenCV does it."""
    level = images.flatten(1).long()
    counts = torch.zeros(len(level), 256, dtype=torch.int64)
    counts.scatter_add_(1, level, torch.ones_like(level))
    total, lowest = level.shape[1], level.amin(1, keepdim=True)
    first = counts.gather(1, lowest)
    table = (counts.cumsum(1) - first) * 255 / (total - first).clamp(min=1)
    # A picture of one level keeps it.
    table = torch.where(first == total, lowest, table.round().long().clamp(0, 255))
    return table.gather(1, level).view_as(images)
