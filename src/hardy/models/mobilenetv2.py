"""MobileNetV2 for small pictures (Sandler et al. 2018), as robust distillation uses it: a stem of
stride 1, two strides fewer than for ImageNet, ReLU, and a projection on the shortcut where a
block changes the channels but not the size.

Module names are the published ones (conv1, bn1, layers.N.conv1 ... shortcut.0, conv2, bn2,
linear), so published state dicts load strictly. The last pooling is a mean over all positions:
32x32 and 64x64 pictures take the same weights.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hardy.models.normalize import normalizer

# Expansion, channels, blocks, stride of the first of them.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
STEM, HEAD = 32, 1280


class InvertedResidual(nn.Module):
    """Expand, filter each channel by itself, project without a ReLU: (B, C, H, W) to
    (B, C', H/stride, W/stride), with a shortcut where the stride is 1."""

    def __init__(self, in_planes: int, out_planes: int, expansion: int, stride: int) -> None:
        super().__init__()
        planes = expansion * in_planes
        self.conv1 = nn.Conv2d(in_planes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride, padding=1, groups=planes, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out_planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_planes)
        self.adds = stride == 1
        self.shortcut = nn.Sequential()  # empty is the identity
        if self.adds and in_planes != out_planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, out_planes, 1, bias=False), nn.BatchNorm2d(out_planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return out + self.shortcut(x) if self.adds else out


class MobileNetV2(nn.Module):
    """17 blocks, which halve the picture three times. Pixels (B, C, H, W) to logits
    (B, num_classes)."""

    def __init__(self, num_classes: int, in_channels: int, normalize: str, width: float) -> None:
        super().__init__()
        # Of a thinner network the head keeps its channels, as in the paper.
        in_planes, head = _channels(width * STEM), _channels(max(1.0, width) * HEAD)
        self.normalize = normalizer(normalize, in_channels)
        self.conv1 = nn.Conv2d(in_channels, in_planes, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.layers = nn.Sequential()
        for expansion, channels, blocks, stride in STAGES:
            out_planes = _channels(width * channels)
            for i in range(blocks):
                block = InvertedResidual(in_planes, out_planes, expansion, stride if i == 0 else 1)
                self.layers.append(block)
                in_planes = out_planes
        self.conv2 = nn.Conv2d(in_planes, head, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(head)
        self.linear = nn.Linear(head, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layers(F.relu(self.bn1(self.conv1(self.normalize(x)))))
        return self.linear(F.relu(self.bn2(self.conv2(out))).mean((2, 3)))


def _channels(wanted: float) -> int:
    """The nearest multiple of 8, at least 8."""
    return max(8, 8 * round(wanted / 8))


def mobilenetv2(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none", width: float = 1.0
) -> nn.Module:
    """MobileNetV2: 2.3 million parameters at width 1 and 10 classes. width: of the channels,
    rounded to multiples of 8. Raises ValueError for a width that is not positive."""
    if width <= 0:
        raise ValueError(f"the width of a network must be positive, not {width:g}")
    return MobileNetV2(num_classes, in_channels, normalize, width)
