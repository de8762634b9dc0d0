"""Wide ResNets (Zagoruyko and Komodakis 2016) with the module names of the TRADES, AWP and
RiFT code: conv1, blockX.layer.N.{bn1, conv1, bn2, conv2, convShortcut}, bn1, fc.

Files of that family also hold a stage `sub_block1` that no forward pass uses; it is not
built here, and the loader leaves it out.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hardy.models.normalize import normalizer


class WideBlock(nn.Module):
    """A pre-activation block, (B, C, H, W) to (B, C', H/stride, W/stride)."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.projects = in_planes != planes
        self.convShortcut = (
            nn.Conv2d(in_planes, planes, 1, stride, bias=False) if self.projects else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        # A projection reads the activated input, an identity the raw one.
        return out + self.convShortcut(active if self.projects else x)


class Stage(nn.Module):
    """`count` blocks, the first of which may change width and resolution."""

    def __init__(self, count: int, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        rest = [WideBlock(planes, planes, stride=1) for _ in range(count - 1)]
        self.layer = nn.Sequential(WideBlock(in_planes, planes, stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(nn.Module):
    """Three stages of (depth - 4) / 6 blocks. Pixels (B, C, H, W) to logits (B, num_classes)."""

    def __init__(
        self, depth: int, width: int, num_classes: int, in_channels: int, normalize: str
    ) -> None:
        super().__init__()
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"a wide ResNet's depth must be 10, 16, 22, 28, 34 ..., not {depth}")
        count = (depth - 4) // 6
        self.normalize = normalizer(normalize, in_channels)
        self.conv1 = nn.Conv2d(in_channels, 16, 3, padding=1, bias=False)
        self.block1 = Stage(count, 16, 16 * width, stride=1)
        self.block2 = Stage(count, 16 * width, 32 * width, stride=2)
        self.block3 = Stage(count, 32 * width, 64 * width, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * width)
        self.fc = nn.Linear(64 * width, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.zeros_(self.fc.bias)

    def forward(self, x: Tensor) -> Tensor:
        out = self.block3(self.block2(self.block1(self.conv1(self.normalize(x)))))
        return self.fc(F.relu(self.bn1(out)).mean((2, 3)))


def wide_resnet(
    depth: int,
    width: int,
    num_classes: int = 10,
    in_channels: int = 3,
    normalize: str = "none",
) -> nn.Module:
    """WRN-depth-width. Raises ValueError where depth is not 6n + 4."""
    return WideResNet(depth, width, num_classes, in_channels, normalize)


def wrn34_10(num_classes: int = 10, in_channels: int = 3, normalize: str = "none") -> nn.Module:
    """WRN-34-10: 46.2 million parameters at 10 classes."""
    return wide_resnet(34, 10, num_classes, in_channels, normalize)


def wrn28_10(num_classes: int = 10, in_channels: int = 3, normalize: str = "none") -> nn.Module:
    """WRN-28-10: 36.5 million parameters at 10 classes."""
    return wide_resnet(28, 10, num_classes, in_channels, normalize)
