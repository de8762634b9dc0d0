"""Random crops and flips whose draws belong to the example.

Pictures are pixels here: the border is black in the picture, before any normalisation.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.data.splits import DataSet
from hardy.draws import Draws

_MODES = ("zero", "reflect")


def pad_crop(images: Tensor, pad: int, mode: str, draws: Draws) -> Tensor:
    """Pad every picture by `pad` pixels on all sides and cut a random window of its old size.

    images: (B, C, H, W), uint8 or float, on the device of draws.index. mode: 'zero', or
    'reflect' (the border row itself is not repeated). Raises ValueError where a reflected
    border would be as wide as the picture.
    """
    if pad == 0:
        return images
    count, channels, height, width = images.shape
    if mode == "reflect" and pad >= min(height, width):
        raise ValueError(
            f"a reflected border of {pad} needs pictures larger than {height}×{width}: "
            "take a smaller pad or mode 'zero'"
        )
    offsets = draws.integers(2 * pad + 1, (2,), "crop") - pad
    # Reading the window through indices spares the padded copy, and works on uint8 everywhere.
    y, y_inside = _window(offsets[:, :1], height, mode)
    x, x_inside = _window(offsets[:, 1:], width, mode)
    device = images.device
    examples = torch.arange(count, device=device).view(-1, 1, 1, 1)
    planes = torch.arange(channels, device=device).view(1, -1, 1, 1)
    window = images[examples, planes, y[:, None, :, None], x[:, None, None, :]]
    inside = y_inside[:, None, :, None] & x_inside[:, None, None, :]
    return window.masked_fill(~inside, 0) if mode == "zero" else window


def _window(offset: Tensor, size: int, mode: str) -> tuple[Tensor, Tensor]:
    """For offsets (B, 1): the pixels that a window reads, and which of them exist, (B, size)."""
    place = offset + torch.arange(size, device=offset.device)
    inside = (place >= 0) & (place < size)
    if mode == "reflect":
        place = (size - 1) - ((size - 1) - place.abs()).abs()
    return place.clamp(0, size - 1), inside


def flip(images: Tensor, draws: Draws) -> Tensor:
    """Mirror each picture (B, C, H, W) left to right with probability one half."""
    mirrored = draws.integers(2, (), "flip").bool().view(-1, 1, 1, 1)
    return torch.where(mirrored, images.flip(-1), images)


@dataclass(frozen=True)
class Augment:
    """A random crop, then a random flip; pad=0 and flip=False change nothing.

    Raises ValueError for a negative pad or an unknown mode.
    """

    pad: int = 4
    mode: str = "zero"
    flip: bool = True

    def __post_init__(self) -> None:
        if self.pad < 0:
            raise ValueError(f"pad must be 0 or more pixels, not {self.pad}")
        if self.mode not in _MODES:
            raise ValueError(f"mode must be one of {', '.join(_MODES)}, not {self.mode!r}")

    def __call__(self, x: Tensor, draws: Draws) -> Tensor:
        x = pad_crop(x, self.pad, self.mode, draws)
        return flip(x, draws) if self.flip else x


def augment_of(dataset: DataSet, border: str) -> Augment | None:
    """The usual augmentation with that border ('zero', 'reflect'), or None for 'none':
    CIFAR pad 4 and flip, from 64 pixels on pad 8 and flip.

    Grey pictures may be writing, and a digit mirrored is another thing: they, and what was
    made of them by --channels, are only shifted (8×8 digits by 1 pixel, MNIST by 2).
    """
    if border == "none":
        return None
    flips = dataset.in_channels != 1 if dataset.flips is None else dataset.flips
    if not flips:
        return Augment(pad=max(1, dataset.image_size // 14), mode=border, flip=False)
    return Augment(pad=min(8, max(1, dataset.image_size // 8)), mode=border)
