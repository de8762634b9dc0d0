"""Small networks: one for the embedded digits and two whose robust weights are public."""

from __future__ import annotations

from collections import OrderedDict

import torch.nn.functional as F
from torch import Tensor, nn

from hardy.models.normalize import normalizer
from hardy.models.resnet import ResNet


def small_resnet(num_classes: int = 10, in_channels: int = 1, normalize: str = "none") -> nn.Module:
    """Three stages of one basic block, 16 to 64 channels, 78,000 parameters: for pictures
    of 8x8 (digits) to 28x28 (MNIST)."""
    return ResNet((1, 1, 1), num_classes, in_channels, normalize, width=16)


class BiasBlock(nn.Module):
    """A basic block with biases instead of BatchNorm."""

    def __init__(self, in_planes: int, planes: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_planes, planes, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1)
        self.shortcut = nn.Sequential()  # empty is the identity
        if stride != 1 or in_planes != planes:
            self.shortcut.append(nn.Conv2d(in_planes, planes, 1, stride))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))) + self.shortcut(x))


class ResNet2b(nn.Module):
    """Pixels (B, C, 32, 32) to logits (B, num_classes)."""

    def __init__(self, num_classes: int, in_channels: int, normalize: str) -> None:
        super().__init__()
        self.normalize = normalizer(normalize, in_channels)
        self.conv1 = nn.Conv2d(in_channels, 8, 3, stride=2, padding=1)
        self.layer1 = nn.Sequential(BiasBlock(8, 16, stride=2), BiasBlock(16, 16, stride=1))
        self.linear1 = nn.Linear(16 * 8 * 8, 100)
        self.linear2 = nn.Linear(100, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer1(F.relu(self.conv1(self.normalize(x))))
        return self.linear2(F.relu(self.linear1(out.flatten(1))))


def resnet2b(num_classes: int = 10, in_channels: int = 3, normalize: str = "cifar10") -> nn.Module:
    """The ResNet without BatchNorm, 112,000 parameters, whose CIFAR-10 weights
    alpha-beta-CROWN publishes. Pictures of 32x32 only."""
    return ResNet2b(num_classes, in_channels, normalize)


class MnistCNN(nn.Module):
    """Pixels (B, C, 28, 28) to logits (B, num_classes)."""

    def __init__(self, num_classes: int, in_channels: int, normalize: str) -> None:
        super().__init__()
        self.normalize = normalizer(normalize, in_channels)
        features: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=nn.Conv2d(in_channels, 32, 3),
            relu1=nn.ReLU(),
            conv2=nn.Conv2d(32, 32, 3),
            relu2=nn.ReLU(),
            maxpool1=nn.MaxPool2d(2),
            conv3=nn.Conv2d(32, 64, 3),
            relu3=nn.ReLU(),
            conv4=nn.Conv2d(64, 64, 3),
            relu4=nn.ReLU(),
            maxpool2=nn.MaxPool2d(2),
        )
        self.feature_extractor = nn.Sequential(features)
        head: OrderedDict[str, nn.Module] = OrderedDict(
            fc1=nn.Linear(64 * 4 * 4, 200),
            relu1=nn.ReLU(),
            drop=nn.Dropout(0.5),
            fc2=nn.Linear(200, 200),
            relu2=nn.ReLU(),
            fc3=nn.Linear(200, num_classes),
        )
        self.classifier = nn.Sequential(head)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.feature_extractor(self.normalize(x)).flatten(1))


def mnist_cnn(num_classes: int = 10, in_channels: int = 1, normalize: str = "none") -> nn.Module:
    """The small CNN of TRADES (Zhang et al. 2019) for MNIST, 312,000 parameters. Pictures
    of 28x28 only."""
    return MnistCNN(num_classes, in_channels, normalize)
