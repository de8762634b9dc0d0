"""TWINS: both losses by hand, whose pictures go where, the attack, and whole runs."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Nets
from hardy.methods.trades import TRADES
from hardy.methods.twins import TWINS
from hardy.methods.wrappers.awp import AWP
from hardy.models.twins import to_plain
from hardy.modes import freeze_batchnorm
from hardy.threat import Linf
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.loop import Settings, fit
from known_nets import losses_by_hand, nets_of, with_batchnorm

ATTACK = PGD(Linf(0.1), steps=3)
VARIANTS = ("at", "trades")


class Wings(nn.Module):
    """Pictures of one pixel, two classes. Its BatchNorm, in eval mode, is x -> 2x in the adaptive
    wing and x -> x in the frozen one, and the logits are (0, log of 3 to the power of that)."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(1, eps=0.0).double()

    def forward(self, x: Tensor) -> Tensor:
        power = self.norm(x).flatten(1)
        return torch.cat([0 * power, math.log(3) * power], 1)


def prepared(method: TWINS) -> Nets:
    nets = method.prepare(nets_of(Wings()))
    freeze_batchnorm(nets.module)
    with torch.no_grad():
        nets.module.get_buffer("norm.adaptive.running_var").fill_(0.25)
    return nets


def batch_of(x: list[float], y: list[int]) -> tuple[Batch, Tensor]:
    """Attacked pictures x; the clean ones are black."""
    x_adv = torch.tensor(x).double().view(-1, 1, 1, 1)
    draws = Draws(0, 0, torch.arange(len(x)))
    return Batch(torch.zeros_like(x_adv), torch.tensor(y), draws.index, draws), x_adv


def values_of(method: TWINS, x: list[float], y: list[int]) -> dict[str, float]:
    batch, x_adv = batch_of(x, y)
    return losses_by_hand(method.loss(prepared(method), batch, x_adv, 0.5))


def test_twins_at_by_hand() -> None:
    """x' is 1 everywhere: class 1 has p' = 3/4 in the frozen wing and 9/10 in the adaptive one,
    of which the batch of five has two and three pictures."""
    found = values_of(TWINS(lam=0.4), [1] * 5, [1, 0, 1, 1, 0])
    frozen = (math.log(4 / 3) + math.log(4)) / 2
    adaptive = (2 * math.log(10 / 9) + math.log(10)) / 3
    expected = {"loss": 0.4 * frozen + adaptive, "frozen": frozen, "adaptive": adaptive}
    assert found == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("scale", "share"), [("mean", (1, 1)), ("authors", (2 / 5, 3 / 5))])
def test_twins_trades_by_hand(scale: Any, share: tuple[float, float]) -> None:
    """p = (1/2, 1/2) on every clean picture, p' as above; the authors' divergences are summed
    over a wing's two or three pictures and divided by five."""
    method = TWINS("trades", lam=0.4, beta=6, kl_scale=scale)
    found = values_of(method, [1] * 5, [1, 0, 1, 1, 0])
    divergences = [0.5 * math.log(0.5 / (1 - p)) + 0.5 * math.log(0.5 / p) for p in (3 / 4, 9 / 10)]
    frozen, adaptive = (
        math.log(2) + 6 * of * kl for of, kl in zip(share, divergences, strict=True)
    )
    expected = {"loss": 0.4 * frozen + adaptive, "frozen": frozen, "adaptive": adaptive}
    assert found == pytest.approx(expected, abs=1e-12)


def test_labels_stay_with_their_pictures() -> None:
    """Every logit is so large that a single label in the wrong wing would show: +-8 of log 3."""
    method = TWINS()
    found = values_of(method, [8, -8, 8, 4, 4, -4, -4], [1, 0, 1, 1, 1, 0, 0])
    confident = math.log1p(3.0**-8)
    assert found == pytest.approx(
        {"loss": 2 * confident, "frozen": confident, "adaptive": confident}, abs=1e-12
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_of_one_has_only_the_adaptive_wing(variant: Any) -> None:
    batch, x_adv = batch_of([1], [1])
    method = TWINS(variant, **({"beta": 0.0} if variant == "trades" else {}))
    nets = prepared(method)
    values = method.loss(nets, batch, x_adv, 0.5)
    expected = math.log(10 / 9) if variant == "at" else math.log(2)
    found = losses_by_hand(values)
    assert found == pytest.approx({"loss": expected, "frozen": 0, "adaptive": expected}, abs=1e-12)
    values["loss"].backward()  # other processes wait for every gradient
    grads = {name: p.grad for name, p in nets.module.named_parameters()}
    assert all(grad is not None for grad in grads.values())
    assert nets.module.get_parameter("norm.frozen.weight").grad == 0


def test_gradients_by_hand() -> None:
    """d CE / d gamma of a wing is the mean of log 3 (p - y) xhat, xhat = x in the frozen wing, 2x
    in the adaptive one; with one gamma for both wings their sum."""
    x, y = [1.0, 0.0, 2.0, 0.5], [1, 0, 0, 1]

    def grads(**more: Any) -> dict[str, float]:
        method = TWINS(lam=0.5, **more)
        nets = prepared(method)
        batch, x_adv = batch_of(x, y)
        method.loss(nets, batch, x_adv, 0.5)["loss"].backward()
        found = {n: p.grad for n, p in nets.module.named_parameters() if "weight" in n}
        return {name: float(grad) for name, grad in found.items() if grad is not None}

    frozen = 0.5 * math.log(3) * (3 / 4 - 1) * 1 / 2  # the second picture is black
    adaptive = math.log(3) * (81 / 82 * 4 + (3 / 4 - 1) * 1) / 2
    assert grads() == pytest.approx(
        {"norm.frozen.weight": frozen, "norm.adaptive.weight": adaptive}, abs=1e-12
    )
    assert grads(affine="shared") == pytest.approx(
        {"norm.adaptive.weight": frozen + adaptive}, abs=1e-12
    )
    assert grads(normalised=True)["norm.adaptive.weight"] == pytest.approx(adaptive / 1.5)


@pytest.mark.parametrize("variant", VARIANTS)
def test_normalised_is_the_same_over_one_and_lambda(variant: Any) -> None:
    x, y = [1.0, 0.3, 2.0, 0.5, 1.0], [1, 0, 0, 1, 1]
    for lam in (0.0, 1.0, 3.0):
        plain = values_of(TWINS(variant, lam=lam), x, y)
        found = values_of(TWINS(variant, lam=lam, normalised=True), x, y)
        assert found["loss"] == pytest.approx(plain["loss"] / (1 + lam), rel=1e-12)
        assert found["adaptive"] == plain["adaptive"]
    assert values_of(TWINS(variant, lam=0.0), x, y)["loss"] == pytest.approx(plain["adaptive"])


@pytest.mark.parametrize(("variant", "base"), [("at", PGDAT()), ("trades", TRADES())])
def test_before_the_first_step_normalised_twins_is_the_base_method(variant: Any, base: Any) -> None:
    """Both wings are the same network while statistics, gamma and beta are those of the start."""
    net, batch = with_batchnorm()
    batch, x_adv = batch.take(slice(0, 4)), (batch.x + 0.1).clamp(0, 1)[:4]
    method = TWINS(variant, normalised=True)
    nets = method.prepare(nets_of(net))
    for module in (net, nets.module):
        freeze_batchnorm(module)
    found = method.loss(nets, batch, x_adv, 0.0)["loss"]
    expected = base.loss(nets_of(net), batch, x_adv, 0.0)["loss"]
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    found.backward()
    expected.backward()
    weight, twin = net.conv1.weight.grad, nets.module.get_parameter("conv1.weight").grad
    torch.testing.assert_close(twin, weight, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_attack_meets_the_adaptive_wing_in_eval_mode(variant: Any) -> None:
    """PGD on cross-entropy from a uniform start, in TRADES too."""
    net, batch = with_batchnorm()
    nets = TWINS(variant).prepare(nets_of(net))
    nets.module.get_buffer("bn1.adaptive.running_var").mul_(4)
    found = TWINS(variant).adversary(nets, batch, ATTACK)
    adaptive = to_plain(nets.module).eval()
    assert torch.equal(found, ATTACK(adaptive, batch.x, batch.y, batch.draws))
    assert not torch.equal(found, ATTACK(net.eval(), batch.x, batch.y, batch.draws))


@pytest.mark.parametrize("name", ["lam", "beta"])
@pytest.mark.parametrize("value", [-1.0, math.inf, math.nan])
def test_weights_below_zero_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"TWINS' {name} must be at least 0, such as 1, not"):
        replace(TWINS(), **{name: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("more", [{"beta": 3.0}, {"kl_scale": "authors"}])
def test_settings_of_a_divergence_that_is_not_there_are_refused(more: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="are of its divergence: add variant=trades"):
        TWINS(**more)
    TWINS("trades", **more)


def test_a_network_without_batchnorm_is_refused_before_a_run() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Linear(3, 2))
    for method in (TWINS(), AWP(TWINS())):
        with pytest.raises(ValueError, match="of every BatchNorm, and the network has none"):
            method.check(net, fresh=False)
        assert method.check(Wings(), fresh=False) is None
        assert PGDAT().check(net, fresh=True) is None


def pictures(n: int = 22) -> Split:
    images = Draws(0, 0, torch.arange(n)).integers(256, (3, 6, 6), "images").to(torch.uint8)
    return Split(images, torch.arange(n) % 3, torch.arange(n), "train")


def some_net() -> nn.Sequential:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)
    )
    with torch.no_grad():
        net(pictures().pixels(slice(None)))
    return net


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("kind", ["ema", "swa"])
def test_the_frozen_statistics_are_bit_identical_after_a_run(variant: Any, kind: Any) -> None:
    """With weights averaged and statistics measured anew, in odd batches."""
    net = some_net()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    batchnorm = "copied" if kind == "ema" else "reestimated"
    settings = Settings(
        epochs=3, batch_size=5, lr=0.1, average=Averaging(kind, 0.8, 0.2, batchnorm)
    )
    states: list[dict[str, Any]] = []
    method = AWP(TWINS(variant), 0.01)
    found = fit(
        Engine(torch.device("cpu")),
        nets_of(net),
        method,
        ATTACK,
        pictures(),
        None,
        settings,
        on_epoch=lambda row, deployed, state: states.append(state()),
    )
    for state in (states[-1]["model"], states[-1]["average"]["model"]):
        for name in ("running_mean", "running_var"):
            assert torch.equal(state[f"1.frozen.{name}"], before[f"1.{name}"])
            assert not torch.equal(state[f"1.adaptive.{name}"], before[f"1.{name}"])
        assert not torch.equal(state["1.frozen.weight"], before["1.weight"])
        assert not torch.equal(state["1.frozen.weight"], state["1.adaptive.weight"])
    for of, state in (("live", states[-1]["model"]), ("average", states[-1]["average"]["model"])):
        plain = found[of].state_dict()
        assert list(plain) == list(before), "the names of the network that was given"
        for name in ("weight", "bias", "running_mean", "running_var"):
            assert torch.equal(plain[f"1.{name}"], state[f"1.adaptive.{name}"])
    assert all(torch.equal(net.state_dict()[key], value) for key, value in before.items())


def test_gradients_are_those_of_two_networks_that_share_their_layers() -> None:
    """lam CE of the first half in eval mode, CE of the second in train mode."""
    net, x, y = some_net().double(), pictures(5).pixels(slice(None)).double(), torch.arange(5) % 3
    draws = Draws(0, 0, torch.arange(5))
    method = TWINS(lam=0.4)
    nets = method.prepare(nets_of(net))
    method.loss(nets, Batch(x, y, draws.index, draws), x, 0.0)["loss"].backward()
    conv, _, _, _, linear = net
    parameters = [*conv.parameters(), *linear.parameters()]

    def grads(rows: slice) -> tuple[Tensor, ...]:
        return torch.autograd.grad(nn.functional.cross_entropy(net(x[rows]), y[rows]), parameters)

    adaptive = grads(slice(2, 5))
    net.load_state_dict(some_net().state_dict())  # that pass has moved the running statistics
    net[1].eval()
    frozen = grads(slice(0, 2))
    for name, f, a in zip(
        ("0.weight", "0.bias", "4.weight", "4.bias"), frozen, adaptive, strict=True
    ):
        found = nets.module.get_parameter(name).grad
        torch.testing.assert_close(found, 0.4 * f + a, rtol=1e-9, atol=1e-12)
