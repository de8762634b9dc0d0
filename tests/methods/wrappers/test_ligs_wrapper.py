"""LIGS as a regulariser: its gradient against finite differences, and what it leaves alone."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.alignment import alignment
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.methods.protocol import Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.trades import TRADES
from hardy.methods.wrappers.awp import AWP
from hardy.methods.wrappers.ligs import LIGSRegularised
from hardy.modes import evaluating
from known_nets import nets_of


def smooth(batchnorm: bool = False) -> nn.Sequential:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(4) if batchnorm else nn.Identity()
    conv = nn.Conv2d(3, 4, 3)
    return nn.Sequential(conv, norm, nn.Softplus(), nn.Flatten(), nn.Linear(64, 3)).double()


def batch_of(count: int = 5) -> Batch:
    draws = Draws(0, 0, torch.arange(count))
    x = draws.uniform((3, 6, 6), "x", torch.float64)
    return Batch(x, draws.index % 3, draws.index, draws)


def loss_of(method: Method, net: nn.Module, batch: Batch) -> Tensor:
    return method.loss(nets_of(net), batch, batch.x, 0.5)["loss"]


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_its_gradient_is_that_of_finite_differences(mode: str) -> None:
    """Of every parameter, along a direction drawn at random."""
    net, batch = smooth(batchnorm=True), batch_of()
    method = LIGSRegularised(Standard(), weight=2.0, sigma=0.5, mode=mode)  # type: ignore[arg-type]
    net[1].momentum = 0.0  # type: ignore[union-attr]  # the same statistics in every pass
    net.train()
    loss_of(method, net, batch).backward()
    for number, (name, parameter) in enumerate(net.named_parameters()):
        direction = Draws(number, 0, torch.arange(1)).normal(parameter.shape, "d", torch.float64)[0]
        assert parameter.grad is not None
        slope = (parameter.grad * direction).sum().item()
        ends = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(direction, alpha=sign * 1e-5)
            ends.append(loss_of(method, net, batch).item())
            with torch.no_grad():
                parameter.add_(direction, alpha=-sign * 1e-5)
        assert slope == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-5, abs=1e-8), name


def test_the_penalty_is_one_less_the_mean_cosine() -> None:
    net, batch = smooth(), batch_of()
    method = LIGSRegularised(Standard(), weight=3.0, sigma=0.5)
    values = method.loss(nets_of(net), batch, batch.x, 0.5)
    v = 0.5 * batch.draws.normal((3, 6, 6), "ligs", torch.float64)
    cosine = alignment(net, batch.x, v, batch.y)
    assert 1 - cosine.mean() > 1e-3
    plain = loss_of(Standard(), net, batch)
    expected = plain + 3 * (1 - cosine.mean())
    torch.testing.assert_close(values["loss"], expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(values["ligs"], cosine.mean(), rtol=0, atol=1e-12)
    assert not values["ligs"].requires_grad
    other = replace(batch, draws=replace(batch.draws, epoch=1))
    assert loss_of(method, net, other) != values["loss"], "v is drawn anew in each epoch"


class Half(nn.Module):
    """Constant where the label's picture is dark in its first pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.net = smooth()

    def forward(self, x: Tensor) -> Tensor:
        logits = self.net(x)
        return torch.where(x.flatten(1)[:, :1] > 0.5, logits, 0 * logits)


def test_an_example_without_a_gradient_adds_nothing_and_breaks_nothing() -> None:
    net, batch = Half(), batch_of()
    x = batch.x.clone()
    x[:, 0, 0, 0] = torch.tensor([0.9, 0.1, 0.9, 0.1, 0.9])
    batch = replace(batch, x=x)
    method = LIGSRegularised(Standard(), weight=1.0, sigma=0.01)
    values = method.loss(nets_of(net), batch, batch.x, 0.5)
    v = 0.01 * batch.draws.normal((3, 6, 6), "ligs", torch.float64)
    cosine = alignment(net, batch.x, v, batch.y)
    assert cosine.isnan().tolist() == [False, True, False, True, False]
    lacking = (1 - cosine[::2]).sum() / 5
    penalty = values["loss"] - loss_of(Standard(), net, batch)
    torch.testing.assert_close(penalty, lacking, rtol=0, atol=1e-12)
    torch.testing.assert_close(values["ligs"], cosine[::2].mean(), rtol=0, atol=1e-12)
    values["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_parts_of_a_batch_add_up_to_the_whole() -> None:
    net, batch = smooth(), batch_of()
    method = LIGSRegularised(TRADES(), sigma=0.5)
    cuts = [slice(0, 2), slice(2, 5)]
    parts = [batch.take(cut) for cut in cuts]
    summed = sum(loss_of(method, net, part) * (len(part) / 5) for part in parts)
    assert isinstance(summed, Tensor)
    torch.testing.assert_close(summed, loss_of(method, net, batch), rtol=0, atol=1e-12)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_extra_passes_teach_batchnorm_nothing(mode: str) -> None:
    """Its mode decides what BatchNorm divides by, not what it remembers."""
    batch, found, values = batch_of(), [], []
    for method in (Standard(), LIGSRegularised(Standard(), sigma=0.5, mode=mode)):  # type: ignore[arg-type]
        net = smooth(batchnorm=True).train()
        values.append(loss_of(method, net, batch).item())
        assert all(module.training for module in net.modules())
        found.append({k: v.clone() for k, v in net.state_dict().items()})
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    net = smooth(batchnorm=True).train()
    loss_of(Standard(), net, batch)  # the running statistics that the extra passes meet
    v = 0.5 * batch.draws.normal((3, 6, 6), "ligs", torch.float64)
    if mode == "eval":
        with evaluating(net):
            cosine = alignment(net, batch.x, v, batch.y)
    else:
        cosine = alignment(net, batch.x, v, batch.y)
    assert values[1] - values[0] == pytest.approx(1 - cosine.mean().item(), abs=1e-12)


def test_the_engines_wrapper_is_not_differentiated_twice() -> None:
    net, batch = smooth(), batch_of()
    calls: list[int] = []

    def wrapped(x: Tensor) -> Tensor:
        calls.append(len(x))
        return net(x)

    nets = nets_of(net, student=wrapped)
    LIGSRegularised(Standard()).loss(nets, batch, batch.x, 0.5)["loss"].backward()
    assert calls == [5], "the outer loss of the base alone"


def test_awp_around_it_moves_the_weights_against_all_of_the_loss() -> None:
    net, batch = smooth(), batch_of()
    inner = LIGSRegularised(Standard(), weight=5.0, sigma=0.5)
    method, nets = AWP(inner, gamma=0.02), nets_of(net)

    def part(nets: Nets) -> Tensor:
        return method.loss(nets, batch, batch.x, 0.5)["loss"]

    weight = net.get_parameter("0.weight")
    (grad,) = torch.autograd.grad(loss_of(inner, net, batch), weight)
    (plain,) = torch.autograd.grad(loss_of(Standard(), net, batch), weight)
    before = weight.detach().clone()
    with method.around_step(nets, [part], 0.5):
        move = weight.detach() - before
    expected = 0.02 * before.norm() * grad / grad.norm()
    torch.testing.assert_close(move, expected, rtol=0, atol=1e-14)
    apart = (grad / grad.norm() - plain / plain.norm()).norm()
    assert apart > 1e-2, "the regulariser takes part"


class Attention(nn.Module):
    """A network of one head of attention, whose fused kernels cannot be differentiated twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.float().reshape(len(x), 1, -1, 4)[:, :, :24].repeat(1, 1, 1, 2)
        mixed = nn.functional.scaled_dot_product_attention(tokens, tokens, tokens)
        return self.head(mixed.mean((1, 2)))


def test_attention_can_be_regularised() -> None:
    net, batch = Attention(), batch_of()
    loss_of(LIGSRegularised(Standard(), sigma=0.5), net, batch).backward()
    assert net.head.weight.grad is not None and net.head.weight.grad.isfinite().all()


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_weight_and_sigma_must_be_positive(value: float) -> None:
    with pytest.raises(ValueError, match="LIGS's weight must be positive, not"):
        LIGSRegularised(Standard(), value)
    with pytest.raises(ValueError, match="LIGS's sigma must be positive, not"):
        LIGSRegularised(Standard(), 1.0, value)
