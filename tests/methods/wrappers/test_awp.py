"""AWP against the authors' numbers and steps worked out by hand."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from golden_net import GoldenNet
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.methods.protocol import LossOf, Method, Nets
from hardy.methods.standard import Standard
from hardy.methods.trades import TRADES
from hardy.methods.wrappers.awp import AWP
from hardy.modes import only_trainable
from hardy.threat import Linf
from known_nets import golden_case, nets_of

State = dict[str, Tensor]


class OutOfStepError(Exception):
    """A step that fails."""


@dataclass(frozen=True)
class Scaled(Method):
    """`scale` times half of the mean squared logit."""

    scale: float = 1.0

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        return batch.x

    def loss(self, nets: Nets, batch: Batch, x_adv: Tensor, progress: float) -> dict[str, Tensor]:
        return {"loss": self.scale * nets.student(x_adv).square().mean() / 2}


def batch_of(count: int = 8, dtype: torch.dtype = torch.float64) -> Batch:
    draws = Draws(0, 0, torch.arange(count))
    return Batch(draws.uniform((3, 6, 6), "x", dtype), draws.index % 3, draws.index, draws)


def without_batchnorm() -> nn.Sequential:
    torch.manual_seed(0)
    conv = nn.Conv2d(3, 4, 3)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double()


def parts_of(method: Method, *batches: Batch) -> list[LossOf]:
    """The parts of the loss of a step, as the loop sums them."""
    whole = sum(len(batch) for batch in batches)

    def part(nets: Nets, batch: Batch) -> Tensor:
        return method.loss(nets, batch, batch.x, 0.5)["loss"] * (len(batch) / whole)

    return [partial(part, batch=batch) for batch in batches]


def state_of(net: nn.Module) -> State:
    return {key: value.detach().clone() for key, value in net.state_dict().items()}


def moves_of(method: Method, nets: Nets, *batches: Batch, progress: float = 0.5) -> State:
    """How far everything in the network moves for the step; back to 1e-15 after it."""
    before = state_of(nets.module)
    with method.around_step(nets, parts_of(method, *(batches or [batch_of()])), progress):
        inside = state_of(nets.module)
    for key, value in nets.module.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=1e-6, atol=1e-15)
    return {key: inside[key] - before[key] for key in before}


def assert_same_moves(found: State, expected: State, sign: int = 1) -> None:
    assert any(move.any() for move in expected.values())
    for key, move in expected.items():
        torch.testing.assert_close(found[key], sign * move, rtol=0, atol=1e-14)


def test_the_authors_perturbed_weights() -> None:
    golden, net, batch = golden_case("awp_trades")
    before = state_of(net)
    method, nets = AWP(TRADES(), gamma=0.005), nets_of(net)

    def part(nets: Nets) -> Tensor:
        return method.loss(nets, batch, golden["x_adv"], 0.0)["loss"]

    with method.around_step(nets, [part], 0.0):
        for key, value in net.state_dict().items():
            if "num_batches" in key:
                assert value == 0
            else:
                torch.testing.assert_close(value, golden[f"perturbed/{key}"], rtol=0, atol=1e-8)
    assert (golden["perturbed/conv2.weight"] - before["conv2.weight"]).abs().max() > 1e-4
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-15)


def test_each_layer_moves_by_gamma_of_its_norm_along_its_own_gradient() -> None:
    net, batch = without_batchnorm(), batch_of()
    moves = moves_of(AWP(Standard(), gamma=0.02), nets_of(net), batch)
    loss = nn.functional.cross_entropy(net(batch.x), batch.y)
    for key in ("0.weight", "3.weight"):
        weight = net.get_parameter(key)
        (grad,) = torch.autograd.grad(loss, weight, retain_graph=True)
        assert (moves[key].norm() / weight.norm()).item() == pytest.approx(0.02, rel=1e-12)
        torch.testing.assert_close(moves[key], 0.02 * weight.norm() * grad / grad.norm())
    assert not moves["0.bias"].any() and not moves["3.bias"].any()


def test_normalisations_and_biases_stay_and_their_statistics_learn_nothing() -> None:
    torch.manual_seed(0)
    net = GoldenNet().double()
    moves = moves_of(AWP(TRADES()), nets_of(net))
    moved = {key for key, move in moves.items() if move.any()}
    assert moved == {"conv1.weight", "conv2.weight", "linear.weight"}
    assert net.bn1.num_batches_tracked == 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_projections_of_attention_are_layers() -> None:
    net = nn.Module()
    net.attention = nn.MultiheadAttention(6, 1).double()
    net.forward = lambda x: net.attention(*[x.flatten(1, 2)] * 3)[0].mean(1)  # type: ignore[method-assign]
    moves = moves_of(AWP(Scaled()), nets_of(net))
    moved = {key for key, move in moves.items() if move.any()}
    assert moved == {"attention.in_proj_weight", "attention.out_proj.weight"}


def test_frozen_parameters_stay() -> None:
    net = without_batchnorm()
    with only_trainable(net, frozenset({"3.weight", "0.bias"})):
        moves = moves_of(AWP(Standard()), nets_of(net))
    assert {key for key, move in moves.items() if move.any()} == {"3.weight"}


def test_nothing_to_perturb_is_an_error() -> None:
    net = without_batchnorm()
    with (
        only_trainable(net, frozenset({"0.bias"})),
        pytest.raises(ValueError, match="AWP finds no trained weight of a convolution"),
    ):
        moves_of(AWP(Standard()), nets_of(net))


@pytest.mark.parametrize("gamma", [0.0, -0.01, math.nan, math.inf])
def test_gamma_must_be_positive(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"AWP's gamma must be positive, such as 0\.005"):
        AWP(Standard(), gamma)


def test_before_the_warmup_is_over_nothing_moves_and_nothing_is_computed() -> None:
    method, net = AWP(Standard(), warmup=9 / 200), without_batchnorm()

    def never(nets: Nets) -> Tensor:
        raise AssertionError("the loss is not asked for")

    before = state_of(net)
    with method.around_step(nets_of(net), [never], 8.999 / 200):
        assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    # The first step of epoch 10 of 200, 391 steps each, as the loop counts its progress.
    moves = moves_of(method, nets_of(net), progress=9 * 391 / (200 * 391))
    assert moves["0.weight"].any()


def test_parts_of_the_batch_give_the_perturbation_of_the_whole() -> None:
    net, batch = without_batchnorm(), batch_of()
    whole = moves_of(AWP(Standard()), nets_of(net), batch)
    parts = [batch.take(slice(0, 3)), batch.take(slice(3, 8))]
    assert_same_moves(moves_of(AWP(Standard()), nets_of(net), *parts), whole)


def test_the_gradients_are_those_of_all_processes() -> None:
    """Two processes with half of the batch each perturb as one with all of it; twice the
    gradient points the same way, and its negative the other way."""
    net, batch = without_batchnorm(), batch_of()
    here, there = batch.take(slice(0, 4)), batch.take(slice(4, 8))
    weights = [net.get_parameter("0.weight"), net.get_parameter("3.weight")]
    loss = nn.functional.cross_entropy(net(there.x), there.y)
    elsewhere = torch.autograd.grad(loss, weights)

    def mean(tensors: Sequence[Tensor]) -> list[Tensor]:
        return [(a + b) / 2 for a, b in zip(tensors, elsewhere, strict=True)]

    method, nets = AWP(Standard()), nets_of(net)
    whole, alone = moves_of(method, nets, batch), moves_of(method, nets, here)
    assert (whole["0.weight"] - alone["0.weight"]).abs().max() > 1e-6
    assert_same_moves(moves_of(method, replace(nets, mean=mean), here), whole)
    for factor, sign in ((2, 1), (-1, -1)):
        scaled = replace(nets, mean=lambda tensors, f=factor: [f * t for t in tensors])
        assert_same_moves(moves_of(method, scaled, batch), whole, sign)


def test_the_extra_pass_goes_around_the_engines_wrapper() -> None:
    """A distributed wrapper would reduce gradients that nobody asked it for."""
    net = without_batchnorm()

    def wrapped(x: Tensor) -> Tensor:
        raise AssertionError("the wrapped network is for the outer loss")

    assert moves_of(AWP(TRADES()), nets_of(net, student=wrapped))["0.weight"].any()


def test_the_weights_come_back_when_the_step_fails() -> None:
    net, method = without_batchnorm(), AWP(Standard(), gamma=0.1)
    before = state_of(net)
    with (
        pytest.raises(OutOfStepError),
        method.around_step(nets_of(net), parts_of(method, batch_of()), 0.5),
    ):
        assert not torch.equal(net.get_parameter("0.weight"), before["0.weight"])
        raise OutOfStepError
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, before[key], rtol=0, atol=1e-15)


class Tied(nn.Module):
    """One linear map, used twice and under two names."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(108, 108, bias=False)
        self.second = nn.Linear(108, 108, bias=False)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x.flatten(1)).relu())


def test_a_weight_with_two_names_moves_once() -> None:
    net = Tied().double()
    moves = moves_of(AWP(Scaled(), gamma=0.01), nets_of(net))
    assert torch.equal(moves["first.weight"], moves["second.weight"])
    ratio = moves["first.weight"].norm() / net.first.weight.norm()
    assert ratio.item() == pytest.approx(0.01, rel=1e-12)


def test_a_zero_gradient_moves_nothing() -> None:
    net = without_batchnorm()
    moves = moves_of(AWP(Scaled(0.0)), nets_of(net))
    assert all(torch.equal(move, torch.zeros_like(move)) for move in moves.values())
    unused = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Flatten()).double()
    unused.add_module("spare", nn.Linear(2, 2).double())
    unused.forward = lambda input: unused[1](unused[0](input))
    moves = moves_of(AWP(Scaled()), nets_of(unused))
    assert moves["0.weight"].any() and not moves["spare.weight"].any()


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e30])
def test_the_radius_is_the_same_for_gradients_of_any_size(scale: float) -> None:
    """A confident network's are so small that their squares vanish in float32."""
    net = without_batchnorm().float()
    batch = batch_of(dtype=torch.float32)
    moves = moves_of(AWP(Scaled(scale), gamma=0.01), nets_of(net), batch)
    for key in ("0.weight", "3.weight"):
        ratio = moves[key].norm() / net.get_parameter(key).norm()
        assert ratio.item() == pytest.approx(0.01, rel=1e-4)


class Line(nn.Module):
    """One weight w; its logit is w for every picture."""

    def __init__(self, w: float) -> None:
        super().__init__()
        self.map = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.constant_(self.map.weight, w)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(torch.ones(len(x), 1, dtype=torch.float64))


@pytest.mark.parametrize(
    ("momentum", "weight_decay", "expected"),
    [
        # w = 2 on w^2 / 2: v = 0.1 * 2, the gradient there is 2.2, and v is taken off again.
        (0.0, 0.0, [2 - 0.5 * 2.2, 0.9 - 0.5 * 0.99]),
        # The decay is of the weight where the step happens, as in the authors' code.
        (0.0, 0.1, [2 - 0.5 * 2.42, 0.79 - 0.5 * 0.79 * 1.21]),
        (0.5, 0.0, [2 - 0.5 * 2.2, 0.9 - 0.5 * (0.99 + 1.1)]),
    ],
    ids=["plain", "decay", "momentum"],
)
def test_two_steps_on_a_parabola_by_hand(
    momentum: float, weight_decay: float, expected: list[float]
) -> None:
    net, method = Line(2.0), AWP(Scaled(), gamma=0.1)
    sgd = torch.optim.SGD(net.parameters(), 0.5, momentum, weight_decay=weight_decay)
    found = []
    for _ in expected:
        (part,) = parts_of(method, batch_of())
        sgd.zero_grad()
        with method.around_step(nets_of(net), [part], 0.5):
            part(nets_of(net)).backward()
            sgd.step()
        found.append(net.map.weight.item())
    assert found == pytest.approx(expected, abs=1e-14)


def test_a_wrapped_wrapper_acts_inside_the_outer_one() -> None:
    """2 is moved to 2.2 and that by a tenth of itself to 2.42; both come off again."""
    moves = moves_of(AWP(AWP(Scaled(), gamma=0.1), gamma=0.1), nets_of(Line(2.0)))
    assert moves["map.weight"].item() == pytest.approx(0.42, abs=1e-14)


@dataclass(frozen=True)
class Telling(Scaled):
    """Every answer of its own."""

    @property
    def select_on(self):
        return "clean"

    def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
        return batch.x + 1

    def prepare(self, nets: Nets) -> Nets:
        return replace(nets, teachers={"mine": nn.Identity()})

    def deployable(self, nets: Nets) -> nn.Module:
        return nets.teachers["mine"]


def test_everything_else_is_the_wrapped_methods() -> None:
    net, batch = without_batchnorm(), batch_of()
    method, attack = AWP(Telling()), PGD(Linf(0.1))
    nets = method.prepare(nets_of(net))
    assert set(nets.teachers) == {"mine"}
    assert method.deployable(nets) is nets.teachers["mine"]
    assert method.select_on == "clean" and AWP(TRADES()).select_on == "robust"
    assert torch.equal(method.adversary(nets, batch, attack), batch.x + 1)
    expected = net(batch.x).square().mean() / 2
    assert method.loss(nets, batch, batch.x, 0.0)["loss"].item() == expected.item()
    assert repr(AWP(TRADES(beta=2), 0.01)).startswith("AWP(base=TRADES(beta=2, ")
