"""Fast AT: one long step, whose end is known for a linear network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.losses import cross_entropy
from hardy.methods.fast_at import FastAT
from hardy.modes import evaluating, kept_batchnorm
from hardy.threat import L2, Linf
from known_nets import (
    TEN,
    TWO,
    between,
    counted,
    linear_case,
    losses_by_hand,
    nets_of,
    values_of,
    with_batchnorm,
)

EPS = 0.04
# The run's own attack validates it: its steps and its start are not those of the method.
ATTACK = PGD(Linf(EPS), steps=10, step_size=0.003, random_start=False)


@pytest.mark.parametrize("alpha", [1.25, 0.5, 3.0])
def test_the_step_is_alpha_eps_from_a_uniform_start_and_then_projected(alpha: float) -> None:
    case = linear_case(classes=2)
    batch = case.batch
    forward, sizes = counted(case.net)
    found = FastAT(alpha).adversary(nets_of(case.net, forward=forward), batch, ATTACK)
    w = torch.tensor(case.weight[1] - case.weight[0]).view(3, 2, 2)
    away = torch.where(batch.y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * w.sign()
    start = EPS * (2 * batch.draws.uniform((3, 2, 2), "start", torch.float64) - 1)
    moved = (start + alpha * EPS * away).clamp(-EPS, EPS)
    torch.testing.assert_close(found, batch.x + moved, rtol=0, atol=1e-12)
    assert sizes == [6], "one forward pass"
    at_corner = torch.isclose(moved, EPS * away, rtol=0, atol=1e-12)
    share = at_corner.double().mean().item()
    assert share == pytest.approx(min(alpha / 2, 1), abs=0 if alpha > 2 else 0.15)


def test_the_default_is_ten_of_255_at_eight() -> None:
    assert FastAT().alpha * 8 == 10


@pytest.mark.parametrize("alpha", [0.0, -1.25, math.inf])
def test_alpha_must_be_positive(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"Fast AT's alpha must be positive, such as 1\.25"):
        FastAT(alpha)


def test_in_l2_the_step_has_that_length_too() -> None:
    case = linear_case()
    batch, threat = case.batch, L2(0.3)
    start = threat.random_start(batch.x, batch.draws)
    uphill = case.softmax(start.numpy()) - np.eye(3)[batch.y]
    found = FastAT(alpha=0.01).adversary(nets_of(case.net), batch, PGD(threat))
    expected = threat.project(case.stepped(start, uphill, 0.003), batch.x)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("case", "expected"), [(TWO, math.log(3)), (TEN, math.log(20))])
def test_the_loss_by_hand_is_at_the_attacked_picture(case: tuple, expected: float) -> None:
    p, q, y = case
    found = losses_by_hand(values_of(FastAT(), between(p, q), y))
    assert found == pytest.approx({"loss": expected}, abs=1e-12)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_mode_of_the_attack(mode: str) -> None:
    net, batch = with_batchnorm()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    found = FastAT(attack_mode=mode).adversary(nets_of(net), batch, ATTACK)  # type: ignore[arg-type]
    assert net.training and net.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    x = ATTACK.threat.random_start(batch.x, batch.draws).requires_grad_()
    with evaluating(net) if mode == "eval" else kept_batchnorm(net):
        (grad,) = torch.autograd.grad(cross_entropy(net(x), batch.y).sum(), x)
    expected = (x + 0.05 * grad.sign()).clamp(batch.x - EPS, batch.x + EPS).clamp(0, 1)
    torch.testing.assert_close(found, expected.detach(), rtol=0, atol=1e-12)


def test_the_two_modes_of_attack_differ() -> None:
    net, batch = with_batchnorm()
    a, b = (
        FastAT(attack_mode=mode).adversary(nets_of(net), batch, ATTACK)
        for mode in ("eval", "train")
    )
    assert not torch.equal(a, b)
