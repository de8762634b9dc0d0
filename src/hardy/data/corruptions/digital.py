"""Contrast, elastic deformation, pixels, JPEG and, of the four extra ones, saturation."""

from __future__ import annotations

import functools
import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from hardy.data.corruptions.filters import flat, gaussian, levels, pixels
from hardy.data.corruptions.parameters import Values
from hardy.draws import Draws

_THREADS = 4


def contrast(images: Tensor, c: Values, _: Draws) -> Tensor:
    """Drawn to the mean of each channel."""
    (factor,) = c
    count = images.shape[-1] * images.shape[-2]
    # The sum of levels is exact, so it cannot depend on how a reduction was split.
    means = images.sum((2, 3), keepdim=True, dtype=torch.int64).double() / (255 * count)
    return levels((pixels(images) - means) * factor + means)


def saturate(images: Tensor, c: Values, _: Draws) -> Tensor:
    """Saturation (of HSV) times `factor` plus `shift`; hue and value stay.

    Grey has the hue of red, as in the original: with a shift it turns reddish.
    """
    factor, shift = c
    x = pixels(images)
    value, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)
    spread = value - least
    saturation = (spread / value.clamp(min=1 / 255) * factor + shift).clamp(0, 1)
    red = torch.tensor([0.0, 1.0, 1.0], dtype=x.dtype).view(1, 3, 1, 1)
    depth = torch.where(spread > 0, (value - x) / spread.clamp(min=1 / 255), red)
    return levels(value * (1 - saturation * depth))


def pixelate(images: Tensor, c: Values, _: Draws) -> Tensor:
    """Shrunk by `scale` and enlarged again, both by Pillow's box filter."""
    (scale,) = c
    size = images.shape[-1]
    small = int(size * scale)
    x = images.double()
    for matrix in (_boxes(size, small), _boxes(small, size)):
        # Pillow rounds after each direction, the horizontal one first.
        x = (x @ matrix.T + 0.5).floor()
        x = (matrix @ x + 0.5).floor()
    return x.to(torch.uint8)


@functools.cache
def _boxes(before: int, after: int) -> Tensor:
    """The matrix (after, before) of Pillow's box filter, by its work on the identity."""
    eye = Image.fromarray(np.eye(before, dtype=np.float32))
    matrix = np.asarray(eye.resize((before, after), Image.Resampling.BOX))
    return torch.from_numpy(matrix.astype(np.float64))


def jpeg_compression(images: Tensor, c: Values, _: Draws) -> Tensor:
    """Written as JPEG of `quality` by Pillow (colours at half the resolution) and read again."""
    (quality,) = c
    pictures = images.permute(0, 2, 3, 1).contiguous().numpy()
    result = np.empty_like(pictures)
    shape = pictures.shape[1:]

    def place(row: int) -> None:
        picture = pictures[row] if shape[-1] == 3 else pictures[row, :, :, 0]
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, "JPEG", quality=int(quality))
        with Image.open(buffer, formats=("JPEG",)) as image:
            result[row] = np.asarray(image).reshape(shape)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(place, range(len(pictures))))
    return torch.from_numpy(result).permute(0, 3, 1, 2).contiguous()


def elastic_transform(images: Tensor, c: Values, draws: Draws) -> Tensor:
    """A random affine map, then a smooth random displacement; lengths in picture sizes."""
    size = images.shape[-1]
    alpha, sigma, affine = (size * value for value in c)
    warped = _warped(pixels(images).float(), _affine(size, affine, draws), border="mirror")
    noise = 2 * draws.uniform((2, size, size), "elastic/bend", torch.float64) - 1
    bend = gaussian(noise, sigma, "reflect", truncate=3) * alpha
    return levels(_warped(warped, _grid(size) + bend, border="reflect"))


def _grid(size: int) -> Tensor:
    """Every pixel's own place (x, y), float64 (2, size, size)."""
    line = torch.arange(size, dtype=torch.float64)
    return torch.stack([line.expand(size, size), line[:, None].expand(size, size)])


def _affine(size: int, reach: float, draws: Draws) -> Tensor:
    """Where each pixel comes from when three points move by up to `reach`: (B, 2, size, size)."""
    centre, arm = size // 2, size // 3
    points = torch.tensor([[arm, arm], [arm, -arm], [-arm, -arm]], dtype=torch.float64) + centre
    moved = points + (2 * draws.uniform((3, 2), "elastic/affine", torch.float64) - 1) * reach
    back = torch.linalg.solve(F.pad(moved, (0, 1), value=1), points.expand_as(moved))
    # (B, 3, 2): the map from where the points went to where they came from.
    x, y = _grid(size)
    column = [flat(part)[:, 0] for part in back.flatten(1).unbind(1)]
    return torch.stack(
        [column[0] * x + column[2] * y + column[4], column[1] * x + column[3] * y + column[5]], 1
    )


def _warped(x: Tensor, source: Tensor, border: str) -> Tensor:
    """x (B, C, S, S) read linearly at source (B, 2, S, S), (x, y) in pixels."""
    size = x.shape[-1]
    at_centres = border == "mirror"  # where grid_sample's −1 and 1 lie, and it reflects
    unit = 2 * source / (size - 1) - 1 if at_centres else (2 * source + 1) / size - 1
    grid = unit.permute(0, 2, 3, 1).float()
    return F.grid_sample(
        x, grid, mode="bilinear", padding_mode="reflection", align_corners=at_centres
    )
