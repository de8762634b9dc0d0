"""A network without normalisation begins where the one with BatchNorm does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy.models.affine import Affine, settled
from hardy.models.norm import with_norm
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resnet import slim_resnet18
from hardy.modes import batchnorms


def pictures(count: int, channels: int = 3, size: int = 16) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(count))


def uneven(net: nn.Module) -> nn.Module:
    """Gammas and betas of their own, as of a network that has begun to learn; one is zero."""
    generator = torch.Generator().manual_seed(1)
    for norm in batchnorms(net):
        norm.weight.data.uniform_(0.5, 1.5, generator=generator)
        norm.bias.data.uniform_(-0.5, 0.5, generator=generator)
    batchnorms(net)[2].weight.data.zero_()
    return net.double()


def test_a_map_gets_the_scale_and_the_bias_the_mean() -> None:
    """One linear map of two pictures: x = (0, 4) and (2, 0) by channel; mean 2 and 1, var 4 and
    1, so scales 1/2 and 1."""
    net: Any = nn.Sequential(nn.Linear(1, 2, bias=False), Affine(2, eps=0.0))
    net[0].weight.data = torch.tensor([[4.0], [-2.0]])
    net[1].weight.data = torch.tensor([3.0, 1.0])
    net[1].bias.data = torch.tensor([0.5, 0.0])
    x = torch.tensor([[0.0], [1.0]])
    found: Any = settled(net, x)
    assert found[0].weight.flatten().tolist() == [2.0, -2.0]
    assert found[1].weight.tolist() == [3.0, 1.0] and found[1].bias.tolist() == [-2.5, 1.0]
    assert found(x).tolist() == [[-2.5, 1.0], [3.5, -1.0]]
    assert net[0].weight.flatten().tolist() == [4.0, -2.0], "the network itself stays"


@pytest.mark.parametrize(
    "make", [slim_resnet18, lambda: preact_resnet18(width=4)], ids=["resnet", "preact"]
)
def test_it_begins_as_batchnorm_in_train_mode(make: Callable[[], nn.Module]) -> None:
    """Also where the output of a convolution is used by more than the layer after it, as in a
    pre-activation network."""
    torch.manual_seed(0)
    net = uneven(make())
    x = pictures(12).double()
    without = with_norm(net, "none")
    state = torch.random.get_rng_state()
    found, again = settled(without, x), settled(without, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(map(torch.equal, found.state_dict().values(), again.state_dict().values()))
    assert found.training
    torch.testing.assert_close(found(x), net.train()(x), rtol=0, atol=1e-8)
    zero = [m for m in found.modules() if isinstance(m, Affine)][2]
    assert (zero.weight == 0).all()


def test_tokens_and_a_linear_layer_before_them() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 3)).double()
    x = torch.rand(5, 7, 6, generator=torch.Generator().manual_seed(0)).double()
    with_bn, without = (with_norm(net, kind) for kind in ("bn", "none"))
    torch.testing.assert_close(settled(without, x)(x), with_bn.train()(x), rtol=0, atol=1e-8)


def test_weights_that_are_used_elsewhere_are_left_alone() -> None:
    """One convolution for two layers: only what leaves the logits as they are is moved."""
    torch.manual_seed(0)

    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 3, padding=1)
            self.norms = nn.ModuleList([nn.BatchNorm2d(3), nn.BatchNorm2d(3)])

        def forward(self, x: Tensor) -> Tensor:
            for norm in self.norms:
                x = norm(self.conv(x)).relu()
            return x.mean((2, 3))

    net, x = Shared().double(), pictures(6).double()
    found = settled(with_norm(net, "none"), x)
    torch.testing.assert_close(found(x), net.train()(x), rtol=0, atol=1e-8)


def test_a_classifier_of_zeros_does_not_hide_that_a_scale_may_not_be_moved() -> None:
    """What the convolution gives is bent in place before it is normalised."""
    torch.manual_seed(0)

    class Bent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.head = nn.Linear(4, 2)
            nn.init.zeros_(self.head.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.norm(self.conv(x).tanh_()).mean((2, 3)))

    net, x = Bent().double(), pictures(6).double()
    found: Any = settled(with_norm(net, "none"), x)
    for each in (net, found):
        nn.init.ones_(each.head.weight)
    torch.testing.assert_close(found(x), net.train()(x), rtol=0, atol=1e-8)
    assert torch.equal(found.conv.weight, net.conv.weight)


def test_a_channel_that_does_not_vary_keeps_its_scale() -> None:
    net: Any = nn.Sequential(nn.Conv2d(3, 2, 1), Affine(2))
    nn.init.zeros_(net[0].weight)
    found: Any = settled(net, pictures(4))
    assert found[0].weight.abs().max() == 0 and found[1].weight.tolist() == [1.0, 1.0]
    assert found(pictures(2)).abs().max() < 1e-6


def test_under_autocast_the_output_is_of_the_inputs_type() -> None:
    layer = Affine(3)
    x = pictures(2).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    assert torch.equal(layer(pictures(2)), pictures(2))
    last = pictures(2).contiguous(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
