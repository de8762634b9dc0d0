"""Networks that deserve a warning, each for one reason, and an honest one beside them.

Pictures of 8x8 in eight blocks, one of which is brighter by .05 to .35: its number is the class.
`Blocks` compares the blocks' means, so it is linear, and FGSM is already the best attack in Linf.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from hardy.data.splits import Split
from hardy.draws import Draws

CLASSES = 8
GRID = 2 * math.pi * 255  # a wave of one period a grey level


def block_pictures(n: int = 256) -> Split:
    """Grey pictures with noise of ±.02, the brighter block's number as label, the first pixel
    black."""
    draws = Draws(0, 0, torch.arange(n))
    y = torch.arange(n) % CLASSES
    bright = 0.05 + 0.3 * draws.uniform((1, 1, 1), "bright")
    x = 0.35 + 0.04 * (draws.uniform((1, 8, 8), "noise") - 0.5)
    x = x + bright * torch.eye(CLASSES)[y].view(n, 1, 4, 2).repeat_interleave(
        2, 2
    ).repeat_interleave(4, 3)
    x[:, :, 0, 0] = 0
    return Split((x * 255).round().to(torch.uint8), y, torch.arange(n), "test")


class Blocks(nn.Module):
    """Pixels (B, 1, 8, 8) to logits (B, 8): the mean of each block, times a scale."""

    def __init__(self, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(float(scale)))

    def forward(self, x: Tensor) -> Tensor:
        # The black pixel of every picture is made up for.
        means = nn.functional.avg_pool2d(x, (2, 4)).flatten(1)
        return self.scale * (means + 0.05 * nn.functional.one_hot(torch.tensor(0), CLASSES))


class Before(nn.Module):
    """The honest network behind a change of its input."""

    def __init__(self, change: nn.Module, net: nn.Module | None = None) -> None:
        super().__init__()
        self.change, self.net = change, net or Blocks()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(self.change(x))


class After(nn.Module):
    """The honest network before a change of its logits."""

    def __init__(self, change: nn.Module, net: nn.Module | None = None) -> None:
        super().__init__()
        self.change, self.net = change, net or Blocks()

    def forward(self, x: Tensor) -> Tensor:
        return self.change(self.net(x))


class Rounded(nn.Module):
    """Sixteen levels: no gradient but zero."""

    def forward(self, x: Tensor) -> Tensor:
        return (x * 15).round() / 15


class Clamped(nn.Module):
    """Into [low, high], as Hardtanh does it. The box: harmless; other bounds: a network that
    sees something in one pixel range alone."""

    def __init__(self, low: float = 0.0, high: float = 1.0) -> None:
        super().__init__()
        self.low, self.high = low, high

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.hardtanh(x, self.low, self.high)


class Noisy(nn.Module):
    """Normal noise of a deviation, in eval mode too."""

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x)


class Wavy(nn.Module):
    """x + wave sin(2 pi 255 x) / (2 pi 255): itself at every grey level, where its slope is
    1 + wave; between them slopes of both signs. A negative wave below -1 turns the gradient
    around at clean pictures; a large positive one leaves it right there and nowhere else."""

    def __init__(self, wave: float) -> None:
        super().__init__()
        self.wave = wave

    def forward(self, x: Tensor) -> Tensor:
        return x + self.wave * (GRID * x).sin() / GRID


class PartlyDetached(nn.Module):
    """Pictures whose first block is darker than a threshold pass without a gradient."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, x: Tensor) -> Tensor:
        dark = x[:, :, 1:2, 1:2].detach() < self.threshold
        return torch.where(dark, x.detach(), x)


class NoGradient(nn.Module):
    """All of it under no_grad."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            return x.clone()


class Permuted(nn.Module):
    """Output k is the logit of the class order[k]."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, logits: Tensor) -> Tensor:
        return logits[:, list(self.order)]
