"""Pictures in memory brought to a size and a number of channels, as those of files are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from hardy.data.pictures import resized
from hardy.data.raw import Part, Raw, resident
from hardy.data.splits import DataSet, Split
from hardy.data.streaming.stream import Streamed


def check_shape(image_size: int | None, channels: int | None) -> None:
    """Raises ValueError for a size or a number of channels that pictures cannot have here."""
    if image_size is not None and image_size < 1:
        raise ValueError(f"--image-size must be at least 1, not {image_size}")
    if channels not in (None, 1, 3):
        raise ValueError(f"--channels must be 1 or 3, not {channels}")


def reshaped(images: np.ndarray, image_size: int | None, channels: int | None) -> np.ndarray:
    """Pictures uint8 (N, C, H, W) of another size and with other channels; None: as they are.

    The shorter side is resized (bicubic, antialiased) and the centre cut out, in their own
    colours; then grey becomes three equal channels, or colour grey (ITU-R 601: 0.299 R +
    0.587 G + 0.114 B). Raises ValueError where neither grey nor colour is to be converted.
    """
    have = images.shape[1]
    moves = image_size is not None and images.shape[2:] != (image_size, image_size)
    if (moves or channels not in (None, have)) and have not in (1, 3):
        raise ValueError(
            f"--image-size and --channels are for pictures of 1 or 3 channels, not of {have}: "
            "leave them out"
        )
    if (moves or channels not in (None, have)) and images.dtype != np.uint8:
        raise ValueError(
            "--image-size and --channels are for pictures of 8 bits, and these are floats: leave "
            "them out"
        )
    if image_size is not None and moves:
        images = _of_size(images, image_size)
    if channels is None or channels == have:
        return images
    if channels == 3:
        return np.repeat(images, 3, axis=1)
    count, _, height, width = images.shape
    # All at once, as one tall picture: each pixel is greyed by itself.
    tall = Image.fromarray(images.transpose(0, 2, 3, 1).reshape(count * height, width, 3))
    return np.array(tall.convert("L")).reshape(count, 1, height, width)


def _of_size(images: np.ndarray, size: int) -> np.ndarray:
    """The pictures (N, C, H, W), C being 1 or 3, resized one by one."""
    count, channels = images.shape[:2]
    pixels = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    if channels == 1:
        pixels = pixels[..., 0]
    found = np.empty((count, size, size, *pixels.shape[3:]), np.uint8)
    for row, picture in enumerate(pixels):
        found[row] = np.asarray(resized(Image.fromarray(picture), size))
    return np.ascontiguousarray(found.reshape(count, size, size, channels).transpose(0, 3, 1, 2))


def reshaped_raw(raw: Raw, image_size: int | None, channels: int | None) -> Raw:
    """All parts `reshaped`; where the channels change, no published normalisation fits any more,
    and whether pictures may be mirrored is as it was before."""
    streamed = any(isinstance(part.images, Streamed) for part in raw.parts.values())
    if streamed or (image_size is None and channels is None):
        return raw  # what is streamed has been looked at in its final form
    parts = {
        name: Part(reshaped(resident(part), image_size, channels), part.labels)
        for name, part in raw.parts.items()
    }
    have = next(iter(raw.parts.values())).images.shape[1]
    return replace(raw, parts=parts, **_follows(have, channels, raw.flips))


def reshaped_data(data: DataSet, image_size: int | None, channels: int | None) -> DataSet:
    """A data set that is cut already, with all splits `reshaped`; itself where they have that
    size and those channels."""
    have = {tuple(each.images.shape[1:]) for each in (data.train, data.val, data.test)}
    if all((channels or c, image_size or h, image_size or w) == (c, h, w) for c, h, w in have):
        return data

    def changed(split: Split) -> Split:
        if not isinstance(split.images, Tensor):
            raise ValueError(
                f"the pictures of {split.name} are streamed, and their size is that of the first "
                "look: give image_size and channels to load_data"
            )
        images = reshaped(split.images.cpu().numpy(), image_size, channels)
        return replace(split, images=torch.from_numpy(images).to(split.labels.device))

    splits = {name: changed(getattr(data, name)) for name in ("train", "val", "test")}
    return replace(data, **splits, **_follows(data.in_channels, channels, data.flips))


def _follows(have: int, channels: int | None, flips: bool | None) -> dict[str, Any]:
    """What else changes with the number of channels."""
    if channels in (None, have):
        return {}
    return {"normalization": "none", "flips": have != 1 if flips is None else flips}
