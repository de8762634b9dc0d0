"""Folding BatchNorm into convolutions: the same network, and honestly given up where it is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hardy.draws import Draws
from hardy.models.folded import folded
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resnet import resnet18
from hardy.modes import BATCHNORMS


def uneven(model: nn.Module) -> nn.Module:
    """BatchNorm statistics and weights as after training, none of them trivial."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return model


def pictures(channels: int = 3) -> Tensor:
    return Draws(0, 0, torch.arange(4)).uniform((channels, 32, 32), "pictures")


@pytest.mark.parametrize(
    ("make", "width"),
    [(resnet18, 4), (preact_resnet18, 4), (mobilenetv2, 0.25)],
    ids=["resnet18", "preact_resnet18", "mobilenetv2"],
)
def test_the_folded_network_says_the_same_and_the_given_one_is_untouched(
    make: Callable[..., nn.Module], width: float
) -> None:
    model = uneven(make(width=width)).train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    x = pictures()
    found = folded(model, x)
    assert found is not model and not found.training
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    count = [sum(isinstance(m, BATCHNORMS) for m in net.modules()) for net in (found, model)]
    assert count[0] < count[1], "something was folded"
    model.eval()
    a, b = (net(z := x.clone().requires_grad_()) for net in (model, found))
    torch.testing.assert_close(a, b, rtol=0, atol=1e-4)
    ours, theirs = (
        torch.autograd.grad(net(z := x.clone().requires_grad_()).sum(), z)[0]
        for net in (model, found)
    )
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-3 * float(theirs.abs().max()))


class Branching(nn.Module):
    """What it computes depends on the pictures: tracing cannot follow."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :3] if x.mean() > 0 else x.flatten(1)[:, 3:6]


class Noisy(nn.Module):
    """Tracing would draw the noise once and for all."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x)).mean((2, 3)) + torch.randn(4)


@pytest.mark.parametrize("model", [Branching(), Noisy()], ids=lambda m: type(m).__name__)
def test_what_cannot_be_folded_is_given_back(model: nn.Module) -> None:
    assert folded(model, pictures()) is model
