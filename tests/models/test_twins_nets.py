"""The two wings against BatchNorm by hand, and the way back to the bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import hardy
from hardy.models.resnet import resnet18
from hardy.models.twins import TwinNorm, frozen_share, to_plain, to_twins
from hardy.modes import batchnorms, freeze_batchnorm, kept_batchnorm
from hardy.training.averaging import reestimate

B = 5


def one_norm(**more: Any) -> nn.BatchNorm2d:
    """Two channels, every number of its own."""
    norm = nn.BatchNorm2d(2, eps=1e-3, **more).double()
    values = {
        "weight": [1.5, -0.5],
        "bias": [0.25, 1.0],
        "running_mean": [0.5, -1.0],
        "running_var": [4.0, 0.25],
    }
    norm.load_state_dict({k: torch.tensor(v).double() for k, v in values.items()}, strict=False)
    return norm


def some_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Sequential(nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6)),
        nn.Linear(6, 3),
    )
    with torch.no_grad():
        net(pictures(16))
    return net


def pictures(count: int = B, channels: int = 3, size: int = 6) -> Tensor:
    return torch.rand(count, channels, size, size, generator=torch.Generator().manual_seed(count))


def normalised(x: Tensor, mean: Tensor, var: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """gamma (x - mean) / sqrt(var + eps) + beta, by channel."""
    column = (1, -1, 1, 1)
    scaled = (x - mean.view(column)) / (var.view(column) + norm.eps).sqrt()
    return norm.weight.view(column) * scaled + norm.bias.view(column)


def test_each_half_is_normalised_by_its_own_statistics() -> None:
    """Of five pictures the first two by those of pre-training, the other three by their own,
    which alone are learnt from."""
    norm, x = one_norm(), torch.randn(B, 2, 3, 3).double()
    twin = to_twins(norm)
    found = twin(x)
    mean, var = x[2:].mean((0, 2, 3)), x[2:].var((0, 2, 3), unbiased=False)
    frozen = normalised(
        x[:2], norm.get_buffer("running_mean"), norm.get_buffer("running_var"), norm
    )
    torch.testing.assert_close(found[:2], frozen)
    torch.testing.assert_close(found[2:], normalised(x[2:], mean, var, norm))
    state = twin.state_dict()
    learnt = 0.9 * norm.get_buffer("running_mean") + 0.1 * mean
    torch.testing.assert_close(state["adaptive.running_mean"], learnt)
    for name in ("running_mean", "running_var"):
        assert torch.equal(state[f"frozen.{name}"], norm.get_buffer(name))


@pytest.mark.parametrize(("count", "share"), [(1, 0), (2, 1), (3, 1), (8, 4), (9, 4)])
def test_how_many_go_through_the_frozen_wing(count: int, share: int) -> None:
    assert frozen_share(count) == share
    norm, x = one_norm(), torch.randn(count, 2, 3, 3).double()
    twin = to_twins(norm)
    norm.eval()
    with torch.no_grad():
        found, as_before = twin(x), norm(x)
    assert torch.equal(found[:share], as_before[:share])
    assert all(not torch.equal(a, b) for a, b in zip(found[share:], as_before[share:], strict=True))


@pytest.mark.parametrize("affine", ["separate", "shared"])
def test_which_gamma_and_beta_learn_from_which_half(affine: Any) -> None:
    twin, x = to_twins(one_norm(), affine=affine), torch.randn(4, 2, 3, 3).double()
    adaptive, frozen = (twin.get_submodule(wing) for wing in ("adaptive", "frozen"))
    assert (
        dict(twin.named_parameters()).keys()
        == {
            "separate": {"adaptive.weight", "adaptive.bias", "frozen.weight", "frozen.bias"},
            "shared": {"adaptive.weight", "adaptive.bias"},
        }[affine]
    )
    twin(x)[:2].sum().backward()  # beta's gradient: the 2 x 9 numbers of each channel
    first = torch.full((2,), 18.0).double()
    learns = adaptive if affine == "shared" else frozen
    assert torch.equal(grad_of(learns, "bias"), first)
    twin.zero_grad()
    (twin(x)[2:].sum() * 2).backward()
    assert torch.equal(grad_of(adaptive, "bias"), 2 * first)
    if affine == "separate":
        assert torch.equal(grad_of(frozen, "bias"), 0 * first)
        assert torch.equal(grad_of(frozen, "weight"), 0 * first)


def grad_of(module: nn.Module, name: str) -> Tensor:
    grad = module.get_parameter(name).grad
    assert grad is not None
    return grad


@pytest.mark.parametrize("affine", ["separate", "shared"])
@pytest.mark.parametrize("training", [True, False])
def test_there_and_back_is_the_same_network(affine: Any, training: bool) -> None:
    assert (hardy.to_twins, hardy.to_plain) == (to_twins, to_plain)
    net, x = some_net().train(training), pictures()
    net[0].weight.requires_grad_(False)
    net[1].weight.requires_grad_(False)
    net[1].eval()
    before = copy.deepcopy(net)
    twins = to_twins(net, affine=affine)
    plain = to_plain(twins)
    assert [m.training for m in plain.modules()] == [m.training for m in before.modules()]
    assert repr(plain) == repr(net) == repr(before), "what was handed in is as it was"
    for found in (net.state_dict(), plain.state_dict()):
        assert list(found) == list(before.state_dict())
        assert all(torch.equal(found[k], v) for k, v in before.state_dict().items())
    assert [p.requires_grad for p in plain.parameters()] == [
        p.requires_grad for p in net.parameters()
    ]
    logits = net.eval()(x)
    assert torch.equal(twins.eval()(x), logits) and torch.equal(plain.eval()(x), logits)
    own = {p.data_ptr() for p in net.parameters()}
    assert not own & {p.data_ptr() for p in [*twins.parameters(), *plain.parameters()]}


def test_after_training_the_plain_network_is_the_adaptive_wing() -> None:
    twins = to_twins(some_net())
    sgd = torch.optim.SGD(twins.parameters(), lr=0.5, weight_decay=0.1)
    frozen = {k: v.clone() for k, v in twins.state_dict().items() if "frozen.running" in k}
    for _ in range(3):
        sgd.zero_grad()
        twins(pictures()).square().sum().backward()
        sgd.step()
    state = twins.state_dict()
    assert len(frozen) == 4 and all(torch.equal(state[k], v) for k, v in frozen.items())
    for key in ("1.frozen.weight", "1.frozen.bias"):
        assert not torch.equal(state[key], state[key.replace("frozen", "adaptive")])
    twins.eval()
    plain = to_plain(twins)
    assert torch.equal(plain(pictures()), twins(pictures()))
    assert not torch.equal(plain(pictures()), some_net().eval()(pictures()))
    assert torch.equal(plain.state_dict()["1.running_var"], state["1.adaptive.running_var"])


def test_a_batchnorm_frozen_on_purpose_is_halved_like_the_others() -> None:
    """Else a later layer's frozen wing would be behind an earlier one's adaptive wing."""
    net = some_net()
    net[1].eval()
    twins = to_twins(net)
    assert [m.training for m in twins.modules() if isinstance(m, TwinNorm)] == [True, True]
    freeze_batchnorm(twins)
    assert not any(norm.training for norm in batchnorms(twins))
    with torch.no_grad():
        for key, value in twins.named_parameters():
            if "frozen.bias" in key:
                value.add_(1)
    found, usual = twins(pictures()), net.eval()(pictures())
    torch.testing.assert_close(found[2:], usual[2:])
    assert ((found[:2] - usual[:2]).abs().amax(1) > 0.01).all()


def test_what_handles_batchnorms_sees_the_adaptive_wing_alone() -> None:
    twins = to_twins(some_net())
    assert len(batchnorms(twins)) == 2
    before = {key: value.clone() for key, value in twins.state_dict().items()}
    with kept_batchnorm(twins):
        twins(pictures())
    assert all(torch.equal(value, before[key]) for key, value in twins.state_dict().items())
    reestimate(twins, [pictures(8)])
    changed = {key for key, v in twins.state_dict().items() if not torch.equal(v, before[key])}
    assert changed and all("adaptive" in key for key in changed)
    usual = some_net()
    reestimate(usual, [pictures(8)])  # in eval mode it sees the whole batch
    found = to_plain(twins).state_dict()
    assert all(torch.equal(value, found[key]) for key, value in usual.state_dict().items())


def test_one_batchnorm_in_two_places_stays_one() -> None:
    norm = nn.BatchNorm2d(3)
    block = nn.Sequential(nn.Conv2d(3, 3, 1), norm)
    twins = to_twins(nn.Sequential(block, norm, block))
    of = twins.get_submodule
    assert of("2") is of("0") and of("1") is of("0.1")
    assert sum(isinstance(module, TwinNorm) for module in twins.modules()) == 1
    twins(pictures())
    assert int(twins.get_buffer("1.adaptive.num_batches_tracked")) == 3
    plain = to_plain(twins)
    assert plain.get_submodule("1") is plain.get_submodule("0.1")
    assert type(plain.get_submodule("1")) is nn.BatchNorm2d


class Rectified(nn.BatchNorm2d):
    """As timm has it: what comes after the normalisation, in the same module."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.drop = nn.Dropout(0.5)
        self.calls: list[int] = []

    def forward(self, input: Tensor) -> Tensor:
        self.calls.append(len(input))
        return self.drop((super().forward(input) + 1).relu())


def test_what_a_subclass_does_beside_is_done_once_in_either_wing() -> None:
    net, x = Rectified(3), pictures(6)
    net.load_state_dict({**net.state_dict(), "running_mean": torch.full((3,), 0.4)})
    net.drop.p = 0.0
    twins = to_twins(net)
    inner = twins.get_submodule("adaptive")
    assert isinstance(inner, Rectified)
    found = twins(x)
    assert inner.calls == [3, 3] and inner.training
    expected = net.eval()(x)
    torch.testing.assert_close(found[:3], expected[:3])
    assert (found[3:] - expected[3:]).abs().max() > 0.1
    inner.drop.p = 0.5
    assert (twins(x)[:3] == 0).any(), "its dropout is in train mode in the frozen wing too"


def test_the_zoos_resnet_in_bfloat16_and_double() -> None:
    torch.manual_seed(0)
    net = resnet18(num_classes=4)
    for dtype in (torch.bfloat16, torch.float64):
        twins = to_twins(net.to(dtype)).eval()
        x = pictures(2, 3, 32).to(dtype)
        assert torch.equal(twins(x), net.eval()(x))
        assert twins.train()(x).dtype == dtype


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0", "resnetv2_50x1_bit"])
def test_networks_of_timm(name: str) -> None:
    """ResNet-50 with plain BatchNorm; EfficientNet with activations inside; one without."""
    import vision_ops

    torch.manual_seed(0)
    net = vision_ops.timm.create_model(name, num_classes=3)
    if name == "resnetv2_50x1_bit":
        with pytest.raises(ValueError, match="has none: fine-tune it with another"):
            to_twins(net)
        return
    x = pictures(4, 3, 32)
    with torch.no_grad():
        net.train()(x)  # statistics of its own
        logits = net.eval()(x)
        twins = to_twins(net)
        assert torch.equal(twins(x), logits)
        freeze_batchnorm(twins.train())
        for module in twins.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        torch.testing.assert_close(twins(x), logits, rtol=1e-3, atol=1e-4)
        plain = to_plain(twins).eval()
    assert list(plain.state_dict()) == list(net.state_dict())
    assert torch.equal(plain(x), logits)


def test_networks_that_have_no_two_wings_are_refused() -> None:
    bare = nn.Sequential(nn.Conv2d(3, 4, 3), nn.GroupNorm(2, 4))
    with pytest.raises(
        ValueError, match=r"of every BatchNorm, and the network has none: fine-tune"
    ):
        to_twins(bare)
    bare.append(nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ValueError, match=r"running statistics.*track_running_stats=True"):
        to_twins(bare)
    with pytest.raises(ValueError, match="has two wings already"):
        to_twins(to_twins(some_net()))
    with pytest.raises(ValueError, match="it is plain already"):
        to_plain(some_net())
