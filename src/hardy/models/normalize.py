"""From pixels to what a network was trained on: its first layer, and the only place that
normalises.

A normalisation is written as one string, so that it fits on a command line and into a file:
a published name ('cifar10') or 'mean,mean,mean/std,std,std' in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

PUBLISHED: dict[str, Statistics | None] = {
    "none": None,
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2471, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class Normalize(nn.Module):
    """(x - mean) / std for each channel of x (B, C, H, W); mean and std in pixels.

    The buffers are not persistent: published state dicts have no such entries and load
    strictly. Raises ValueError where a std is not positive or the lengths differ.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(
                f"a normalisation needs as many means as stds, not {len(mean)} and {len(std)}"
            )
        if not all(math.isfinite(value) for value in (*mean, *std)) or min(std) <= 0:
            raise ValueError(
                f"a normalisation needs finite means and positive stds, not {tuple(mean)} "
                f"and {tuple(std)}"
            )
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def extra_repr(self) -> str:
        return spec_of(self.mean.flatten().tolist(), self.std.flatten().tolist())


class Normalized(nn.Module):
    """A network that knows nothing of what is done to its pixels first, behind that: a
    normalisation, a resizing (see resized.py), or both."""

    def __init__(self, normalize: nn.Module, model: nn.Module) -> None:
        super().__init__()
        self.normalize = normalize
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(self.normalize(x))


def normalizer(spec: str, in_channels: int) -> nn.Module:
    """The layer of a normalisation by its spec; 'none' is the identity.

    Raises ValueError where the spec is unknown, malformed or of another number of channels.
    """
    statistics = _statistics(spec)
    if statistics is None:
        return nn.Identity()
    if len(statistics[0]) != in_channels:
        raise ValueError(
            f"normalize {spec!r} is for {len(statistics[0])} channels, the network has "
            f"{in_channels}: use none or {in_channels} means and stds, as in m,m,m/s,s,s"
        )
    return Normalize(*statistics)


def spec_of(mean: Sequence[float], std: Sequence[float]) -> str:
    """The spec of given statistics (pixels): a published name where one has these very
    numbers, else the shortest numbers that give the same float32."""
    short = tuple(tuple(float(str(np.float32(v))) for v in values) for values in (mean, std))
    for name, published in PUBLISHED.items():
        if published == short:
            return name
    return "/".join(
        ",".join(f"{value:g}" if value == 0 else str(value) for value in values) for values in short
    )


def own_of(model: nn.Module) -> str | None:
    """The spec of the first normalisation in a network, None where it has none."""
    found = (module.extra_repr() for module in model.modules() if isinstance(module, Normalize))
    return next(found, None)


def canonical(spec: str) -> str:
    """The spec as `spec_of` writes it: equal normalisations, equal strings. Raises ValueError
    where it is malformed."""
    statistics = _statistics(spec)
    return "none" if statistics is None else spec_of(*statistics)


def must_be_own(own: str, given: str | None) -> None:
    """Raises ValueError where a network normalises by itself, by the spec `own`, and the user gives
    it another normalisation; 'none' is none before it."""
    if given is not None and canonical(given) not in ("none", own):
        raise ValueError(
            f"the network itself normalises its pixels by {own}, and {given} was given: "
            "leave --normalize out, or give a network that does not normalise"
        )


def in_units(mean: Sequence[float], std: Sequence[float]) -> tuple[Statistics, bool]:
    """Statistics of pixels in [0, 1], and whether they were given for pixels of 0 to 255, as a
    mean above 1 shows: a std alone may well be above 1."""
    if max(mean, default=0.0) <= 1:
        return (tuple(mean), tuple(std)), False
    # From the shortest numbers: 123.675 in float32 is 255 times 0.485 only to rounding.
    small = tuple(tuple(float(str(np.float32(v))) / 255 for v in each) for each in (mean, std))
    return (small[0], small[1]), True


def _statistics(spec: str) -> Statistics | None:
    """Mean and std of a spec; None for 'none'."""
    if spec in PUBLISHED:
        return PUBLISHED[spec]
    try:
        mean, std = (tuple(float(v) for v in part.split(",")) for part in spec.split("/"))
    except ValueError:
        raise ValueError(
            f"normalize must be one of {', '.join(PUBLISHED)} or numbers in pixels written "
            f"m,m,m/s,s,s, not {spec!r}"
        ) from None
    return mean, std
