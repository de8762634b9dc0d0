"""Blurs: defocus, glass, motion, zoom and, of the four extra ones, Gaussian."""

from __future__ import annotations

import functools

import numpy as np
import torch
from scipy import sparse
from torch import Tensor

from hardy.data.corruptions.filters import (
    correlated,
    gaussian,
    levels,
    mapped,
    motion,
    padded,
    pixels,
    zooming,
)
from hardy.data.corruptions.parameters import Values
from hardy.draws import Draws

_MOTION_ANGLE = 45  # degrees to either side


def gaussian_blur(images: Tensor, c: Values, _: Draws) -> Tensor:
    """A Gaussian of σ pixels."""
    (sigma,) = c
    return levels(gaussian(pixels(images), sigma))


def defocus_blur(images: Tensor, c: Values, _: Draws) -> Tensor:
    """A disk of `radius` pixels, itself smoothed against aliasing."""
    radius, alias = c
    return mapped(images, _defocus(radius, alias, images.shape[-1]))


@functools.cache
def _defocus(radius: float, alias: float, size: int) -> sparse.csr_array:
    """The matrix (size², size²) that does so to the pixels of a picture."""
    disk = _disk(radius, alias)
    wide = padded(torch.arange(size * size).view(size, size), len(disk) // 2, "mirror")
    sources = wide.unfold(0, size, 1).unfold(1, size, 1)[disk > 0].flatten(1)
    weights = disk[disk > 0][:, None].expand_as(sources)
    rows = torch.arange(size * size).expand_as(sources)
    entries = (weights.flatten().numpy(), (rows.flatten().numpy(), sources.flatten().numpy()))
    return sparse.csr_array(entries, shape=(size * size, size * size))


def _disk(radius: float, alias: float) -> Tensor:
    """The kernel, float64 with the values of float32, in which the originals hold it."""
    smooth = max(1, round(1.5 * alias))  # 1 for all published values
    reach = int(radius) + 2 * smooth  # so that the smoothing meets no border
    line = torch.arange(-reach, reach + 1, dtype=torch.float64)
    disk = (line[:, None] ** 2 + line**2 <= radius**2).to(torch.float64)
    disk = (disk / disk.sum()).float().double()
    taps = torch.arange(-smooth, smooth + 1, dtype=torch.float64)
    bell = torch.exp(-(taps**2) / (2 * alias**2))
    bell = (bell / bell.sum()).float().double()
    return correlated(disk, torch.outer(bell, bell), "mirror").float().double()


def motion_blur(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """Dragged in a direction within 45° of the horizontal."""
    radius, sigma = c
    angle = (2 * draws.uniform((), "motion_blur", torch.float64) - 1) * _MOTION_ANGLE
    return levels(motion(pixels(images), radius, sigma, angle))


def zoom_blur(images: Tensor, c: Values, _: Draws) -> Tensor:
    """The mean of the picture and of its enlargements by 1, 1.01, … below `most`."""
    (most,) = c
    return mapped(images, _zooms(most, images.shape[-1]))


@functools.cache
def _zooms(most: float, size: int) -> sparse.csr_array:
    """The matrix (size², size²) that does so to the pixels of a picture."""
    factors = np.arange(1, most, 0.01).tolist()  # the steps as NumPy rounds them
    total = sparse.csr_array(sparse.identity(size * size))
    for factor in factors:
        line = sparse.csr_array(zooming(size, factor).numpy())
        total = total + sparse.kron(line, line, format="csr")
    return sparse.csr_array(total / (len(factors) + 1))


def glass_blur(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """Smoothed, `times` shuffled by up to `delta` pixels, and smoothed again."""
    sigma, delta, times = c
    x = levels(gaussian(pixels(images), sigma))
    size = x.shape[-1]
    for number in range(int(times)):
        origin = _shuffle(size, max(1, round(delta)), draws, f"glass_blur/{number}")
        origin = origin[:, None].expand(-1, x.shape[1], -1)
        x = x.flatten(2).gather(2, origin).unflatten(2, (size, size))
    return levels(gaussian(pixels(x), sigma))


def _shuffle(size: int, delta: int, draws: Draws, stream: str) -> Tensor:
    """Where each pixel of a shuffled picture comes from, int64 (B, size²).

    The original visits the pixels from the last to the first and takes each from a place
    −delta … delta − 1 away; its swap writes one way only, which we keep. A place that was
    visited before holds what came there, so chains are followed to their ends.
    """
    move = draws.integers(2 * delta, (2, size, size), stream) - delta
    line = torch.arange(size)
    visited = (line > delta) & (line <= size - delta)
    inside = (visited[:, None] & visited).flatten()
    place = (line[:, None] * size + line).flatten()
    source = place + torch.where(inside, (move[:, 0] * size + move[:, 1]).flatten(1), 0)
    # From there on a chain goes through places that were visited earlier, those further down.
    chain = torch.where(inside[source] & (source > place), source, place)
    while True:
        further = chain.gather(1, chain)
        if torch.equal(further, chain):
            return source.gather(1, chain)
        chain = further
