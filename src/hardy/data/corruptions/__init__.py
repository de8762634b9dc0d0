"""The 19 common corruptions of Hendrycks and Dietterich (2019), made as they are needed.

>>> corrupted(data.test, "fog", 3)
Split('test (fog 3)', n=10000)

Random numbers belong to the picture's index: a corruption is the same in any batch, on
any device and in any process, and other severities and names have their own. All of it
runs on the CPU, whatever device the pictures are on, and gives the same bytes there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from hardy.data.corruptions import blur, digital, noise, weather
from hardy.data.corruptions.parameters import (
    EXTRA,
    FAMILIES,
    SEVERITIES,
    STANDARD,
    Parameters,
    Values,
    table_for,
    values,
)
from hardy.data.corruptions.published import published
from hardy.data.corruptions.spatter import spatter
from hardy.data.corruptions.tiny_imagenet_c import wnids_of
from hardy.data.splits import Split
from hardy.data.streaming.stream import Streamed
from hardy.draws import Draws

__all__ = [
    "EXTRA",
    "FAMILIES",
    "SEVERITIES",
    "STANDARD",
    "Parameters",
    "corrupt",
    "corrupted",
    "published",
    "table_for",
    "wnids_of",
]

_CORRUPTIONS: dict[str, Callable[[Tensor, Values, Draws], Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "speckle_noise": noise.speckle_noise,
    "gaussian_blur": blur.gaussian_blur,
    "spatter": spatter,
    "saturate": digital.saturate,
}
assert _CORRUPTIONS.keys() == FAMILIES.keys()

_VALUES_AT_ONCE = 1 << 19  # grey levels; what is in work beside them stays in the cache


def corrupt(
    images: Tensor,
    name: str,
    severity: int,
    *,
    seed: int,
    index: Tensor,
    parameters: Parameters = "auto",
) -> Tensor:
    """The pictures under one corruption, uint8 (N, C, S, S) as they came, on their device.

    images: uint8 (N, C, S, S), grey or RGB. severity: 1 to 5. index: int64 (N,), to which
    the random numbers belong. parameters: see `parameters.values`.

    Raises ValueError for pictures of another type or shape, for unknown names, and for
    pictures too small or too grey for the corruption.
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[-1] != images.shape[-2]:
        raise ValueError(
            "corruptions take square pictures, uint8 (N, C, S, S), not "
            f"{images.dtype} {tuple(images.shape)}"
        )
    if index.shape != images.shape[:1]:
        raise ValueError(f"{len(images)} pictures need as many indices, not {tuple(index.shape)}")
    count, channels, size, _ = images.shape
    c = values(name, severity, channels, size, parameters)
    draws = Draws(seed, severity, index.cpu())
    result = torch.empty_like(images, device="cpu", memory_format=torch.contiguous_format)
    at_once = max(1, _VALUES_AT_ONCE // (channels * size * size))
    for start in range(0, count, at_once):
        rows = slice(start, start + at_once)
        part = images[rows].cpu().contiguous()
        result[rows] = _CORRUPTIONS[name](part, c, draws.take(rows))
    return result.to(images.device)


def corrupted(
    split: Split, name: str, severity: int, *, seed: int = 0, parameters: Parameters = "auto"
) -> Split:
    """The split with its pictures corrupted; labels and index stay. Those of a streamed split
    are corrupted when they are read. Raises as `corrupt`."""
    images = split.images
    if isinstance(images, Streamed):
        _, channels, size, _ = images.shape
        values(name, severity, channels, size, parameters)
        source = Corrupted(images, split.index.cpu(), name, severity, seed, parameters)
        images = Streamed.whole(source, images.workers).to(images.device)
    else:
        images = corrupt(
            images, name, severity, seed=seed, index=split.index, parameters=parameters
        )
    return replace(split, images=images, name=f"{split.name} ({name} {severity})")


@dataclass(frozen=True)
class Corrupted:
    """Streamed pictures under a corruption, as a source; index: as `corrupt` takes it."""

    images: Streamed
    index: Tensor
    name: str
    severity: int
    seed: int
    parameters: Parameters

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each picture: C, H, W."""
        return self.images.source.shape

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Corrupt the pictures of some rows into out."""
        self.images.source.read(self.images.rows.numpy()[rows], out)
        index = self.index[torch.from_numpy(rows)]
        found = corrupt(
            torch.from_numpy(out),
            self.name,
            self.severity,
            seed=self.seed,
            index=index,
            parameters=self.parameters,
        )
        out[:] = found.numpy()

    def hashes(self) -> np.ndarray | None:
        """Not known."""
        return None
