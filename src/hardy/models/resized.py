"""Pictures resized inside the network: its first layer, so that radii stay in the pixels of the
pictures that it is given.

    >>> Architecture("resnet18", 10, 3, "imagenet", input_size=224).build()  # of 32x32 too
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, fx, nn

from hardy.models.normalize import Normalized, normalizer


@fx.wrap  # what it does depends on a size, which tracing does not know
def resized(x: Tensor, size: int) -> Tensor:
    """Pictures (B, C, H, W) as (B, C, size, size), bilinear between the centres of pixels.

    Where they shrink, each new pixel is a weighted mean over all the old ones that it covers
    (antialias). Linear in x, and its gradient is exact.
    """
    if x.shape[-2:] == (size, size):
        return x
    shrinks = size < max(x.shape[-2:])
    full = x.float() if x.dtype.itemsize < 4 else x  # a CPU has no such kernel for less
    out = F.interpolate(
        full, size=(size, size), mode="bilinear", align_corners=False, antialias=shrinks
    )
    return out.to(x.dtype)


class Resize(nn.Module):
    """`resized` as a layer. It has nothing in the state dict."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        return resized(x, self.size)

    def extra_repr(self) -> str:
        return f"{self.size}"


def fronted(
    model: nn.Module, in_channels: int, *, normalize: str = "none", input_size: int | None = None
) -> nn.Module:
    """The network behind what is to be done to its pixels first: resizing, then normalisation;
    the network itself where there is neither."""
    front: list[nn.Module] = [] if input_size is None else [Resize(input_size)]
    if normalize != "none":
        front.append(normalizer(normalize, in_channels))
    if not front:
        return model
    return Normalized(front[0] if len(front) == 1 else nn.Sequential(*front), model)
