"""The pictures and networks on which ways are compared."""

from __future__ import annotations

import argparse

import torch
import torch.nn.functional as F
from torch import nn

from hardy.attacks.pgd import PGD
from hardy.data.load import load_data
from hardy.data.loader import batches
from hardy.data.splits import Split, limited
from hardy.evaluation.robustness import predicted
from hardy.models.architecture import Architecture
from hardy.models.load import load
from hardy.modes import batchnorms, evaluating, frozen
from hardy.threat import Linf
from hardy.verbs.asked.inputs import placed

CHECKPOINT = "checkpoints/cifar10_thin_resnet18_pgd_at.pth"
PICTURES = "data/cifar10-jpeg.tar.xz"


def pictures(count: int, size: int = 32, device: str = "cpu") -> Split:
    """Coarse colours by class under noise, so that gradients have a direction of their own and
    ways that round differently can be compared; uint8, ten classes."""
    draws = torch.Generator().manual_seed(0)
    labels = torch.randint(10, (count,), generator=draws)
    coarse = F.interpolate(torch.rand(10, 3, 4, 4, generator=draws), size=(size, size))
    fine = torch.rand(count, 3, size, size, generator=draws)
    images = (255 * (0.7 * coarse[labels] + 0.3 * fine)).to(torch.uint8)
    return Split(images, labels, torch.arange(count), "colours").to(device)


def network(name: str, device: str = "cpu") -> nn.Module:
    """A network of that name with the same first weights each time, as a script has it."""
    torch.manual_seed(0)
    return Architecture(name, 10, 3, "cifar10").build().to(device)


@torch.no_grad()
def calibrated(net: nn.Module, split: Split) -> nn.Module:
    """The network in eval mode, its BatchNorm with the statistics of these pictures: with those of
    a new one values grow from layer to layer, and all pictures are of one class."""
    net.train()
    norms = batchnorms(net)
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    net(split.pixels(slice(0, 128)))
    for norm, momentum in zip(norms, kept, strict=True):
        norm.momentum = momentum
    return net.eval()


def half_broken(
    options: argparse.Namespace, count: int, name: str = "thin_resnet18"
) -> tuple[nn.Module, Split, float, str]:
    """A network in eval mode, pictures, a radius, and what these are in words.

    With --shared an adversarially trained network on CIFAR-10's test pictures at 8/255. Without
    it, a network that is right on every picture, for its own answers are the labels, at the
    radius at which one PGD-10 breaks about half of them.
    """
    device = torch.device(options.device)
    if options.shared is not None:
        net = load(options.shared / CHECKPOINT, model="thin_resnet18", normalize="cifar10")
        data = load_data(f"folder:{options.shared / PICTURES}")
        split = limited(data.test, count, 0).to(device)
        return placed(net.eval(), device), split, 8 / 255, "adversarially trained"
    split = pictures(count, device=options.device)
    net = calibrated(placed(network(name), device), split)
    split = Split(split.images, predicted(net, split), split.index, split.name)
    low, high, eps = 0.0, 4 / 255, 0.0
    for _ in range(7):
        eps = (low + high) / 2
        broken = share_broken(net, split.take(slice(0, 48)), eps)
        low, high = (low, eps) if broken > 0.5 else (eps, high)
    return net, split, eps, "untrained, right on its own answers"


def share_broken(net: nn.Module, split: Split, eps: float) -> float:
    """The share of a split that one PGD-10 breaks."""
    attack = PGD(Linf(eps))
    with evaluating(net), frozen(net):
        found = [attack.search(net, b.x, b.y, b.draws).broken for b in batches(split, 64, seed=0)]
    return float(torch.cat(found).float().mean())
