"""ResNets for small pictures (He et al. 2016, with the 3x3 stem that CIFAR's code uses).

Module names are the published ones (conv1, bn1, layerX.N.conv1 ... linear), so published
state dicts load strictly. The last pooling is a mean over all positions: 32x32 and 64x64
pictures (Tiny-ImageNet) take the same weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from hardy.models.normalize import normalizer


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut, (B, C, H, W) to (B, C', H/stride, W/stride)."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.shortcut = nn.Sequential()  # empty is the identity
        if stride != 1 or in_planes != planes:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_planes, planes, 1, stride, bias=False), nn.BatchNorm2d(planes)
            )

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(out)) + self.shortcut(x))


class ResNet(nn.Module):
    """Stages of basic blocks: `blocks[i]` of them with `width * 2**i` channels; every stage
    but the first halves the picture. Pixels (B, C, H, W) to logits (B, num_classes)."""

    def __init__(
        self, blocks: Sequence[int], num_classes: int, in_channels: int, normalize: str, width: int
    ) -> None:
        super().__init__()
        self.normalize = normalizer(normalize, in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.stages = [f"layer{i + 1}" for i in range(len(blocks))]
        in_planes = width
        for i, (name, count) in enumerate(zip(self.stages, blocks, strict=True)):
            planes = width * 2**i
            first = BasicBlock(in_planes, planes, stride=1 if i == 0 else 2)
            rest = [BasicBlock(planes, planes, stride=1) for _ in range(count - 1)]
            self.add_module(name, nn.Sequential(first, *rest))
            in_planes = planes
        self.linear = nn.Linear(in_planes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(self.normalize(x))))
        for stage in self.stages:
            out = self.get_submodule(stage)(out)
        return self.linear(out.mean((2, 3)))


def resnet18(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none", width: int = 64
) -> nn.Module:
    """ResNet-18: 11.2 million parameters at width 64 and 10 classes."""
    return ResNet((2, 2, 2, 2), num_classes, in_channels, normalize, width)


def resnet34(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none", width: int = 64
) -> nn.Module:
    """ResNet-34: 21.3 million parameters at width 64 and 10 classes."""
    return ResNet((3, 4, 6, 3), num_classes, in_channels, normalize, width)


def thin_resnet18(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none"
) -> nn.Module:
    """ResNet-18 with 16 channels instead of 64: 0.7 million parameters."""
    return resnet18(num_classes, in_channels, normalize, width=16)


def slim_resnet18(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none"
) -> nn.Module:
    """ResNet-18 with 8 channels instead of 64: 176,402 parameters at 10 classes."""
    return resnet18(num_classes, in_channels, normalize, width=8)
