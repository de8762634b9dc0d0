"""MRC against brute force, against a plain rewriting, and against what it must never do."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardy.finetuning.ascents import Ascent, Climb, OfficialAscent
from hardy.finetuning.mrc import Criticality, candidates, mrc
from hardy.finetuning.passes import WeightLoss
from hardy.finetuning.suffix import weight_of
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.small import mnist_cnn, small_resnet

Ascents = Ascent | OfficialAscent


def net_and_pictures(count: int = 40) -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A small ResNet whose modes, statistics and gradients are all set by hand."""
    torch.manual_seed(0)
    model = small_resnet(num_classes=4)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    x = torch.rand(count, 1, 8, 8)
    x_adv = (x + 0.1 * torch.randn_like(x)).clamp(0, 1)
    return model, x, x_adv, torch.randint(4, (count,))


def condition(model: nn.Module) -> tuple[dict[str, Tensor], list[bool], list[bool], list[bool]]:
    """All that a measurement must leave as it was."""
    return (
        {key: value.clone() for key, value in model.state_dict().items()},
        [module.training for module in model.modules()],
        [parameter.requires_grad for parameter in model.parameters()],
        [parameter.grad is None for parameter in model.parameters()],
    )


def same_condition(model: nn.Module, before: tuple) -> bool:
    now = condition(model)
    return now[1:] == before[1:] and all(torch.equal(now[0][k], v) for k, v in before[0].items())


class Margin(nn.Module):
    """Logits (0, w·x): two weights, so all of the ball can be searched."""

    def __init__(self, weight: tuple[float, float]) -> None:
        super().__init__()
        self.linear = nn.Linear(2, 1, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([weight]))

    def forward(self, x: Tensor) -> Tensor:
        z = self.linear(x)
        return torch.cat([torch.zeros_like(z), z], 1)


@pytest.mark.parametrize("ascent", [Ascent(), OfficialAscent(lr=0.2)], ids=repr)
@pytest.mark.parametrize("weight", [(1.5, -1.0), (0.2, 0.1), (-3.0, 2.0)])
def test_mrc_is_the_maximum_over_the_ball(weight: tuple[float, float], ascent: Ascents) -> None:
    """The loss is convex in w, so its maximum lies on the circle: try all its angles."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 2) + torch.tensor([1.0, 0.5]), torch.randint(2, (64,))
    (found,) = mrc(Margin(weight), x, x, y, ascent=ascent)

    w = torch.tensor(weight, dtype=torch.float64)
    angle = torch.arange(20_000, dtype=torch.float64) * (2 * math.pi / 20_000)
    around = w + 0.1 * w.norm() * torch.stack([angle.cos(), angle.sin()], 1)
    signed = x.double() * (1 - 2 * y.double())[:, None]

    def loss(w: Tensor) -> Tensor:
        return F.softplus(w @ signed.T).mean(-1)

    rise = loss(around) - loss(w)
    assert abs(found.mrc - float(rise.max())) < 1e-3 * max(1.0, float(rise.max()))
    assert found.mrc > 0.9 * float(rise.max())
    # d loss / d (w·x) is at most one.
    assert 0 <= found.mrc <= 0.1 * float(w.norm()) * float(x.norm(dim=1).mean())


def plainly(
    model: nn.Module, name: str, x_adv: Tensor, y: Tensor, ascent: Ascent
) -> tuple[float, float]:
    """MRC and the fall of robust accuracy in the simplest words: the whole network, every
    picture at once, .backward()."""
    weight, origin = weight_of(model, name), weight_of(model, name).detach().clone()
    start = F.cross_entropy(model(x_adv), y).item()
    right = (model(x_adv).argmax(1) == y).double().mean().item()
    best, drop = start, 0.0
    for _ in range(ascent.steps):
        model.zero_grad()
        F.cross_entropy(model(x_adv), y).backward()
        assert weight.grad is not None
        with torch.no_grad():
            weight += ascent.step * origin.norm() * weight.grad / weight.grad.norm()
            delta = weight - origin
            weight.copy_(origin + delta * min(1, (ascent.radius * origin.norm() / delta.norm())))
            logits = model(x_adv)
        here = F.cross_entropy(logits, y).item()
        if here > best:
            best, drop = here, right - (logits.argmax(1) == y).double().mean().item()
    with torch.no_grad():
        weight.copy_(origin)
    model.zero_grad()
    return best - start, drop


@pytest.mark.parametrize("ascent", [Ascent(), Ascent(radius=0.3, steps=4, step=0.2)], ids=repr)
def test_mrc_is_what_a_plain_rewriting_gives(ascent: Ascent) -> None:
    model, x, x_adv, y = net_and_pictures()
    model.eval()
    found = list(mrc(model, x, x_adv, y, ascent=ascent, batch_size=16))
    assert [one.module for one in found] == candidates(model)
    for one in found:
        value, drop = plainly(model, one.module, x_adv, y, ascent)
        assert one.mrc == pytest.approx(value, rel=1e-3, abs=1e-6), one.module
        assert one.robust_drop == pytest.approx(drop, abs=1e-12), one.module
        assert one.parameters == weight_of(model, one.module).numel()


def test_a_depthwise_convolution_is_measured_as_any_other() -> None:
    """Also the 1x1 convolutions around it and a projection, cached and by the plain rewriting."""
    torch.manual_seed(0)
    model = mobilenetv2(num_classes=4, in_channels=1, width=0.125)
    names = ["layers.7.conv1", "layers.7.conv2", "layers.10.conv3", "layers.16.shortcut.0"]
    x = torch.rand(24, 1, 8, 8)
    x_adv, y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1), torch.randint(4, (24,))
    for module in model.modules():  # statistics as they are, or the signal dies on 17 blocks
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    model(x)
    model.eval()
    notes: list[str] = []
    ascent = Ascent(radius=0.3, steps=4, step=0.2)

    def run(cached: bool) -> list[Criticality]:
        more: dict[str, Any] = {"ascent": ascent, "batch_size": 8, "note": notes.append}
        every = mrc(model, x, x_adv, y, modules=names, cached=cached, **more)
        return sorted(every, key=lambda one: one.module)

    found = run(True)
    assert found == run(False) and notes == []
    assert [one.module for one in found] == sorted(names)
    for one in found:
        value, drop = plainly(model, one.module, x_adv, y, ascent)
        assert value > 0.01
        assert one.mrc == pytest.approx(value, rel=1e-3)
        assert one.robust_drop == pytest.approx(drop, abs=1.5 / 24)


@pytest.mark.parametrize("ascent", [Ascent(), OfficialAscent(epochs=4, minibatch=8)], ids=repr)
@pytest.mark.parametrize("make", [small_resnet, mnist_cnn])
def test_cached_and_uncached_give_identical_numbers(
    make: Callable[[], nn.Module], ascent: Ascents
) -> None:
    torch.manual_seed(0)
    model, size = make(), 28 if make is mnist_cnn else 8
    x = torch.rand(17, 1, size, size)
    x_adv, y = (x + 0.1 * torch.randn_like(x)).clamp(0, 1), torch.randint(10, (17,))
    notes: list[str] = []

    def run(cached: bool) -> list[Criticality]:
        every = mrc(
            model, x, x_adv, y, ascent=ascent, batch_size=8, cached=cached, note=notes.append
        )
        return sorted(every, key=lambda one: one.module)

    cached, uncached = run(True), run(False)
    assert notes == []
    if isinstance(ascent, Ascent):
        assert cached == uncached
    else:  # its minibatches have other rows than the cached batches, and round differently
        assert [one.mrc for one in cached] == pytest.approx([o.mrc for o in uncached], rel=1e-3)


@pytest.mark.parametrize("cached", [True, False])
def test_the_ball_is_never_left_and_is_used(cached: bool) -> None:
    model, x, x_adv, y = net_and_pictures()
    origin = {n: weight_of(model, n).detach().clone() for n in candidates(model)}
    farthest = dict.fromkeys(origin, 0.0)

    def watch(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _: object) -> None:
            length = float(
                (weight_of(model, name).detach() - origin[name]).norm() / origin[name].norm()
            )
            farthest[name] = max(farthest[name], length)

        return hook

    for name in origin:
        model.get_submodule(name).register_forward_pre_hook(watch(name))
    assert all(one.mrc >= 0 for one in mrc(model, x, x_adv, y, cached=cached))
    assert max(farthest.values()) <= 0.1 * (1 + 1e-6)
    assert min(farthest.values()) > 0.0999


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_mrc_is_never_negative(precision: str) -> None:
    """The ball holds its centre; rounding in the search does not take it out."""
    for seed in range(10):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)
        )
        with torch.no_grad():
            weight_of(model, "1").mul_(1e-3)
            weight_of(model, "3").mul_(1e-2)
        x, y = torch.rand(32, 3, 2, 2), torch.randint(4, (32,))
        for one in mrc(model, x, x, y, precision=precision, ascent=Ascent(steps=3)):
            assert one.mrc >= 0, (seed, one)


def test_order_of_execution_and_what_is_done_is_passed_over() -> None:
    torch.manual_seed(0)
    model = preact_resnet18(width=2)
    x, y = torch.rand(4, 3, 8, 8), torch.arange(4)
    ascent = Ascent(steps=1)
    every = list(mrc(model, x, x, y, ascent=ascent))
    names = [one.module for one in every]
    assert sorted(names) == sorted(candidates(model))
    # A pre-activation block registers its projection last, and runs it last too.
    block = [f"layer2.0.{part}" for part in ("conv1", "conv2", "shortcut.0")]
    at = names.index(block[0])
    assert names[at : at + 3] == block and names[0] == "conv1" and names[-1] == "linear"
    done = every[:3] + every[7:]
    rest = list(mrc(model, x, x, y, ascent=ascent, done=done))
    assert rest == every[3:7]
    some = list(mrc(model, x, x, y, ascent=ascent, modules=["linear", "conv1"]))
    assert some == [every[0], every[-1]]


def test_weights_modes_and_gradients_come_back() -> None:
    model, x, x_adv, y = net_and_pictures()
    model.train()
    model.get_submodule("bn1").eval()
    weight_of(model, "conv1").requires_grad_(False)
    before = condition(model)
    pictures = x_adv.clone()

    list(mrc(model, x, x_adv, y))
    assert same_condition(model, before)

    iterator = mrc(model, x, x_adv, y)
    assert [next(iterator).module, next(iterator).module] == candidates(model)[:2]
    assert isinstance(iterator, Generator)
    assert all(torch.equal(v, before[0][k]) for k, v in model.state_dict().items())
    iterator.close()
    assert same_condition(model, before)

    @dataclass(frozen=True)
    class Interrupted(Ascent):
        def run(self, loss: WeightLoss, *args: Any, **more: Any) -> Climb:
            loss(loss.weight * 1.05)
            raise KeyboardInterrupt

    for cached in (True, False):
        with pytest.raises(KeyboardInterrupt):
            next(mrc(model, x, x_adv, y, ascent=Interrupted(), cached=cached))
        assert same_condition(model, before)
    assert torch.equal(x_adv, pictures)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_broken_weights_are_named(value: float) -> None:
    model, x, x_adv, y = net_and_pictures()
    with torch.no_grad():
        weight_of(model, "layer2.0.conv1")[0, 0] = value
    with pytest.raises(ValueError, match=r"layer2\.0\.conv1\.weight"):
        next(mrc(model, x, x_adv, y))


class Cliff(nn.Module):
    """The loss is finite at the weights themselves and NaN a small step away."""

    origin: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.safe = nn.Linear(4, 4)
        self.cliff = nn.Linear(4, 3)
        self.register_buffer("origin", self.cliff.weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        logits = self.cliff(self.safe(x).relu())
        return logits * torch.sqrt(1e-6 - (self.cliff.weight - self.origin).pow(2).sum())


@pytest.mark.parametrize("cached", [True, False])
@pytest.mark.parametrize("ascent", [Ascent(), OfficialAscent(lr=1e4)], ids=repr)
def test_a_nan_inside_the_ball_is_an_error_and_not_uncritical(
    ascent: Ascents, cached: bool
) -> None:
    torch.manual_seed(0)
    model = Cliff()
    x, y = torch.rand(8, 4), torch.randint(3, (8,))
    before = condition(model)
    iterator = mrc(model, x, x, y, ascent=ascent, cached=cached)
    assert next(iterator).module == "safe"
    with pytest.raises(ValueError, match="the loss of cliff is nan"):
        next(iterator)
    assert same_condition(model, before)


@dataclass(frozen=True)
class To(Ascent):
    """No ascent: the weight times a factor is called the worst."""

    factor: float = 1.1

    def run(self, loss: WeightLoss, *args: Any, **more: Any) -> Climb:
        value = loss.weight.detach() * self.factor
        return Climb(value, loss(value), 1)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_reported_is_measured_in_full_precision(precision: str) -> None:
    """Value, interval and drop by hand, from float32 forward passes."""
    model, x, x_adv, y = net_and_pictures()
    model.eval()
    name, checked = "layer3.0.conv2", 0
    weight, origin = weight_of(model, name), weight_of(model, name).detach().clone()
    for factor in (-3.0, 5.0):
        (found,) = mrc(
            model, x, x_adv, y, ascent=To(factor=factor), modules=[name], precision=precision
        )
        with torch.no_grad():
            start = model(x_adv)
            weight.copy_(origin * factor)
            there = model(x_adv)
            weight.copy_(origin)
        rise = (
            F.cross_entropy(there, y, reduction="none")
            - F.cross_entropy(start, y, reduction="none")
        ).double()
        if rise.mean() <= 0:
            continue
        checked += 1
        half = 1.96 * float(rise.std()) / math.sqrt(len(y))
        drop = ((start.argmax(1) == y).double() - (there.argmax(1) == y).double()).mean()
        assert found.mrc == pytest.approx(float(rise.mean()), rel=1e-5)
        low, high = found.interval
        assert (low, high) == pytest.approx((found.mrc - half, found.mrc + half), rel=1e-4)
        assert found.robust_drop == pytest.approx(float(drop), abs=1e-12)
    assert checked


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_maximum_below_the_centre_is_the_centre(precision: str) -> None:
    """The search in bfloat16 may take a rise for one that is none: MRC is then zero."""
    model, x, x_adv, y = net_and_pictures()
    model.eval()
    weight = model.get_parameter("linear.weight")
    before = F.cross_entropy(model(x_adv), y)
    with torch.no_grad():
        weight.mul_(0.5)
        assert F.cross_entropy(model(x_adv), y) < before  # half the logits: the loss falls
        weight.mul_(2)
    ascent = To(factor=0.5)
    (found,) = mrc(model, x, x_adv, y, ascent=ascent, modules=["linear"], precision=precision)
    assert found.mrc == 0 and found.robust_drop == 0 and found.interval == (0, 0)


def test_potential_and_conflict_are_those_of_two_gradients() -> None:
    model, x, x_adv, y = net_and_pictures()
    model.eval()
    for one in mrc(model, x, x_adv, y, ascent=Ascent(steps=1), batch_size=16):
        weight = weight_of(model, one.module)
        (clean,) = torch.autograd.grad(F.cross_entropy(model(x), y), weight)
        (robust,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), weight)
        cosine = float(F.cosine_similarity(clean.flatten(), robust.flatten(), dim=0))
        assert one.conflict == pytest.approx(cosine, abs=1e-4)
        # The part of the clean gradient at right angles to the robust one, times the ball.
        across = clean - robust * (clean * robust).sum() / robust.pow(2).sum()
        potential = float(across.norm() * weight.detach().norm())
        assert one.clean_potential == pytest.approx(potential, rel=2e-2, abs=1e-5)


def test_the_same_pictures_agree_with_themselves() -> None:
    model, x, _, y = net_and_pictures()
    for one in mrc(model, x, x, y, ascent=Ascent(steps=1)):
        assert one.conflict == pytest.approx(1, abs=1e-5)
        assert one.clean_potential < 1e-2


def test_official_minibatches_are_shuffled_by_the_seed() -> None:
    model, x, x_adv, y = net_and_pictures()

    def run(seed: int) -> list[Criticality]:
        ascent = OfficialAscent(epochs=3, minibatch=12, seed=seed, lr=0.1)
        return list(mrc(model, x, x_adv, y, ascent=ascent, modules=["conv1", "linear"]))

    torch.manual_seed(1)
    first = run(0)
    torch.manual_seed(2)
    assert run(0) == first
    assert run(1) != first


class Idle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(4, 3)
        self.idle = nn.Linear(4, 3)
        self.same = nn.Linear(4, 3)
        self.same.weight = self.used.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.used(x) + self.same(x)


def test_a_module_without_influence_is_left_out_and_tied_ones_are_equal() -> None:
    torch.manual_seed(0)
    notes: list[str] = []
    x, y = torch.rand(8, 4), torch.randint(3, (8,))
    found = list(mrc(Idle(), x, x, y, note=notes.append))
    assert [one.module for one in found] == ["used", "same"]
    assert found[0].mrc == found[1].mrc > 0
    assert notes == ["idle was left out: the output does not depend on it."]


def test_a_network_that_changes_its_input_gets_a_copy() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.linear(x.sub_(0.5))

    torch.manual_seed(0)
    model = InPlace()
    x, y = torch.rand(8, 4), torch.randint(3, (8,))
    pictures = x.clone()
    (found,) = mrc(model, x, x, y)
    assert torch.equal(x, pictures)
    (plain,) = mrc(model.linear, x - 0.5, x - 0.5, y, modules=["weight"])
    assert found.mrc == pytest.approx(plain.mrc, rel=1e-6)


def test_attention_is_measured_by_its_own_names() -> None:
    class Attends(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.head = nn.Linear(4, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.attention(x, x, x, need_weights=False)[0].mean(1))

    torch.manual_seed(0)
    model = Attends()
    names = ["attention.in_proj_weight", "attention.out_proj", "head"]
    assert candidates(model) == names
    x, y = torch.rand(8, 5, 4), torch.randint(3, (8,))
    notes: list[str] = []
    found = list(mrc(model, x, x, y, note=notes.append))
    assert [one.module for one in found] == names and notes == []
    assert [one.parameters for one in found] == [48, 16, 12]
    for one in found:
        value, _ = plainly(model.eval(), one.module, x, y, Ascent())
        assert one.mrc == pytest.approx(value, rel=1e-3, abs=1e-6)
