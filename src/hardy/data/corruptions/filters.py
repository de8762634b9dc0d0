"""What several corruptions share: grey levels, smoothing, zooming, motion.

The originals call scikit-image, SciPy and ImageMagick picture by picture; here the same
sums run over a batch. Element by element, in double precision and in the order of the
originals, so that a picture's values depend on no other picture of the batch.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy import sparse
from scipy.ndimage import zoom
from torch import Tensor


def pixels(images: Tensor) -> Tensor:
    """uint8 pictures as float64 in [0, 1]."""
    return images.to(torch.float64) / 255


def levels(x: Tensor) -> Tensor:
    """Pixels as uint8, clipped to [0, 1] and truncated as the originals do."""
    return (x.clamp(0, 1) * 255).to(torch.uint8)


def flat(draw: Tensor) -> Tensor:
    """One number per picture, shaped to meet (B, C, H, W)."""
    return draw.view(-1, 1, 1, 1)


def grey(x: Tensor) -> Tensor:
    """Luma (B, 1, H, W) of RGB pixels (ITU-R BT.601); grey pixels as they are."""
    if x.shape[1] == 1:
        return x
    red, green, blue = x.split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def tint(colour: tuple[int, int, int], channels: int) -> Tensor:
    """An RGB colour of grey levels as pixels (1, channels, 1, 1); on grey pictures its luma."""
    shade = pixels(torch.tensor(colour)).view(1, 3, 1, 1)
    return grey(shade) if channels == 1 else shade


def padded(x: Tensor, reach: int, border: str, dims: Sequence[int] = (-2, -1)) -> Tensor:
    """x (…, H, W) with `reach` more pixels at both ends of `dims`, by SciPy's names of borders.

    'nearest' repeats the border, 'reflect' mirrors it with itself, 'mirror' without.
    """
    for dim in dims:
        size = x.shape[dim]
        place = torch.arange(-reach, size + reach)
        if border == "nearest":
            place = place.clamp(0, size - 1)
        elif border == "reflect":
            place = place % (2 * size)
            place = torch.minimum(place, 2 * size - 1 - place)
        else:
            assert border == "mirror"
            place = place % (2 * size - 2)
            place = torch.minimum(place, 2 * size - 2 - place)
        x = x.index_select(dim, place)
    return x


def correlated(x: Tensor, kernel: Tensor, border: str) -> Tensor:
    """x (…, H, W) correlated with a square kernel of odd side; zeros in it cost nothing."""
    height, width = x.shape[-2:]
    reach = len(kernel) // 2
    wide = padded(x, reach, border)
    total = torch.zeros_like(x)
    for row, column in kernel.nonzero().tolist():
        window = wide[..., row : row + height, column : column + width]
        # Two roundings, as NumPy has them: add_ with alpha has one on some machines.
        total += window * kernel[row, column]
    return total


def mapped(images: Tensor, matrix: sparse.csr_array) -> Tensor:
    """uint8 pictures (B, C, S, S) whose pixels are weighted sums: matrix (S², S²)."""
    # A sparse product adds in the order of the pixels, however many pictures there are.
    columns = pixels(images.flatten(2).permute(2, 0, 1).contiguous())
    total = torch.from_numpy(matrix @ columns.flatten(1).numpy())
    rows = levels(total).view_as(columns).permute(1, 2, 0)
    return rows.contiguous().view_as(images)


def gaussian(x: Tensor, sigma: float, border: str = "nearest", truncate: float = 4) -> Tensor:
    """x (…, H, W) smoothed by a Gaussian of sigma pixels, cut off at truncate·sigma."""
    reach = int(truncate * sigma + 0.5)
    if reach == 0:
        return x
    weights = np.exp(-0.5 / sigma**2 * np.arange(-reach, reach + 1) ** 2)
    weights = (weights / weights.sum())[reach:].tolist()
    for dim in (-2, -1):
        size = x.shape[dim]
        wide = padded(x, reach, border, (dim,))
        x = wide.narrow(dim, reach, size) * weights[0]
        for step in range(reach, 0, -1):
            pair = wide.narrow(dim, reach - step, size) + wide.narrow(dim, reach + step, size)
            x.add_(pair.mul_(weights[step]))
    return x


@functools.cache
def zooming(size: int, factor: float) -> Tensor:
    """The matrix (size, size) that enlarges the centre of a line by `factor`, linearly.

    SciPy's own interpolation of the columns of the identity, so that it is the originals'
    to the rounding; with its transpose it zooms pictures.
    """
    kept = math.ceil(size / factor)
    top = (size - kept) // 2
    enlarged = np.asarray(zoom(np.eye(size)[top : top + kept], (factor, 1), order=1))
    trim = (len(enlarged) - size) // 2
    return torch.from_numpy(enlarged[trim : trim + size].copy())


def motion(x: Tensor, radius: float, sigma: float, angle: Tensor) -> Tensor:
    """x (B, C, H, W) dragged along a line: half a Gaussian of `sigma`, 2·radius + 1 pixels long.

    angle: (B,), in degrees, clockwise from the right. The taps lie on whole pixels, as in
    ImageMagick's MotionBlurImage; beyond the border its pixels repeat.
    """
    count, _, height, width = x.shape
    taps = torch.arange(2 * math.ceil(radius) + 1, dtype=torch.float64)
    weights = torch.exp(-(taps**2) / (2 * sigma**2))
    weights = weights / weights.sum()
    taps = taps[weights > 1e-7]  # the others change no grey level
    turn = torch.deg2rad(angle.to(torch.float64))
    line = torch.stack([turn.sin(), turn.cos()], dim=1)
    offsets = (line[:, :, None] * taps - 0.5).ceil().long()
    # Few lines differ once they are on whole pixels, and pictures of one line go together.
    lines, line_of = offsets.reshape(count, -1).unique(dim=0, return_inverse=True)
    reach = len(taps) - 1
    wide = padded(x, reach, "nearest")
    dragged = torch.empty_like(x)
    for number, offset in enumerate(lines.view(-1, 2, len(taps)).tolist()):
        rows = (line_of == number).nonzero().flatten()
        part = wide[rows]
        total = torch.zeros_like(x[rows])
        for weight, down, right in zip(weights.tolist(), *offset, strict=False):
            top, left = reach + down, reach + right
            total += part[:, :, top : top + height, left : left + width] * weight
        dragged[rows] = total
    return dragged
