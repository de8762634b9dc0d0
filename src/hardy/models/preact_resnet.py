"""Pre-activation ResNet-18 for small pictures (He et al. 2016, Identity Mappings) with the
module names of the code of Wong et al. 2020 and Rice et al. 2020: conv1,
layerX.N.{bn1, conv1, bn2, conv2, shortcut.0}, a final bn, linear.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from hardy.models.normalize import normalizer


class PreActBlock(nn.Module):
    """BatchNorm and ReLU before each convolution, (B, C, H, W) to (B, C', H/stride, W/stride)."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_planes)
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.projects = stride != 1 or in_planes != planes
        self.shortcut = nn.Sequential()  # empty is the identity
        if self.projects:
            self.shortcut.append(nn.Conv2d(in_planes, planes, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.bn1(x))
        out = self.conv2(F.relu(self.bn2(self.conv1(active))))
        # A projection reads the activated input, an identity the raw one.
        return out + self.shortcut(active if self.projects else x)


class PreActResNet(nn.Module):
    """Four stages of two blocks. Pixels (B, C, H, W) to logits (B, num_classes)."""

    def __init__(self, num_classes: int, in_channels: int, normalize: str, width: int) -> None:
        super().__init__()
        self.normalize = normalizer(normalize, in_channels)
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1, bias=False)
        self.layer1 = _stage(width, width, stride=1)
        self.layer2 = _stage(width, 2 * width, stride=2)
        self.layer3 = _stage(2 * width, 4 * width, stride=2)
        self.layer4 = _stage(4 * width, 8 * width, stride=2)
        self.bn = nn.BatchNorm2d(8 * width)
        self.linear = nn.Linear(8 * width, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer2(self.layer1(self.conv1(self.normalize(x))))
        out = self.layer4(self.layer3(out))
        return self.linear(F.relu(self.bn(out)).mean((2, 3)))


def _stage(in_planes: int, planes: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        PreActBlock(in_planes, planes, stride), PreActBlock(planes, planes, stride=1)
    )


def preact_resnet18(
    num_classes: int = 10, in_channels: int = 3, normalize: str = "none", width: int = 64
) -> nn.Module:
    """PreActResNet-18: 11.2 million parameters at width 64 and 10 classes."""
    return PreActResNet(num_classes, in_channels, normalize, width)
