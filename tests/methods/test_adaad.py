"""AdaAD against the authors' numbers, finite differences and values by hand."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from golden_net import GoldenNet
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.losses import kl_divergence
from hardy.methods.adaad import AdaAD
from hardy.methods.protocol import Nets
from hardy.threat import L2, Linf
from known_nets import assert_golden, counted, distilled, nets_of

UNTIED = 0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4)  # KL((1/2, 1/2) || (1/3, 2/3))
CLEAN = 0.2 * math.log(4 / 15) + 0.8 * math.log(16 / 5)  # KL((1/5, 4/5) || (3/4, 1/4))


def test_the_authors_attack_loss_and_gradients() -> None:
    assert_golden(AdaAD(), "adaad", PGD(Linf(8 / 255), steps=10, step_size=2 / 255))


def test_two_classes_by_hand() -> None:
    """S: (3/4, 1/4) and (1/3, 2/3); T: (1/5, 4/5) and (1/2, 1/2)."""
    assert distilled(AdaAD()) == pytest.approx({"loss": UNTIED}, abs=1e-12)
    found = distilled(AdaAD(alpha=0.25))
    assert found["natural_kl"] == pytest.approx(CLEAN, abs=1e-12)
    assert found["loss"] == pytest.approx(0.25 * UNTIED + 0.75 * CLEAN, abs=1e-12)
    assert distilled(AdaAD(reduction="mean"))["loss"] == pytest.approx(UNTIED / 2, abs=1e-12)


def two_nets() -> tuple[Nets, Batch]:
    torch.manual_seed(1)
    student, teacher = GoldenNet(6).double(), GoldenNet(9).double().eval()
    draws = Draws(4, 0, torch.arange(3))
    x = 0.3 + 0.4 * draws.uniform((3, 4, 4), "x", torch.float64)
    nets = nets_of(student, teachers={"robust": teacher})
    return AdaAD().prepare(nets), Batch(x, torch.arange(3), draws.index, draws)


def slope(value: Callable[[Tensor], Tensor], x: Tensor, h: float = 1e-5) -> Tensor:
    """The gradient of a value of each example, (B,), by central differences in every pixel."""
    found = torch.zeros_like(x)
    for place in range(x[0].numel()):
        move = torch.zeros_like(x).flatten(1)
        move[:, place] = h
        up, down = value(x + move.view_as(x)), value(x - move.view_as(x))
        found.view(len(x), -1)[:, place] = (up - down) / (2 * h)
    return found


def unit(x: Tensor) -> Tensor:
    return x / x.flatten(1).norm(dim=1).view(-1, 1, 1, 1)


def test_a_step_follows_the_gradient_of_both_nets_and_without_the_teachers_it_would_not() -> None:
    nets, batch = two_nets()
    teacher, student = nets.teachers["robust"], nets.module
    attack = PGD(L2(9.0), steps=1, step_size=0.01)
    start = batch.x + 0.001 * batch.draws.normal((3, 4, 4), "start", torch.float64)
    step = (AdaAD().adversary(nets, batch, attack) - start) / 0.01
    student.eval()
    with torch.no_grad():
        fixed = teacher(start)
        both = unit(slope(lambda z: kl_divergence(teacher(z), student(z)), start))
        alone = unit(slope(lambda z: kl_divergence(fixed, student(z)), start))
    torch.testing.assert_close(step, both, rtol=0, atol=1e-6)
    cosines = (both * alone).flatten(1).sum(1)
    assert (cosines < 0.99).all(), "dropping the teacher's gradient gives another direction"


def test_what_the_teacher_is_asked_costs_what_the_paper_says() -> None:
    """Ten steps ask both nets ten times; the loss asks each once more, on x' alone."""
    nets, batch = two_nets()
    forward, sizes = counted(nets.module)
    asked: list[int] = []
    nets.teachers["robust"].register_forward_hook(lambda *_: asked.append(1))
    both = nets_of(nets.module, student=forward, forward=forward, teachers=nets.teachers)
    x_adv = AdaAD().adversary(both, batch, PGD(Linf(8 / 255), steps=10))
    AdaAD().loss(both, batch, x_adv, 0.0)
    assert len(sizes) == 11 and len(asked) == 11


@pytest.mark.parametrize("alpha", [-0.1, 1.1, math.nan])
def test_alpha_is_a_share(alpha: float) -> None:
    with pytest.raises(ValueError, match=r"AdaAD's alpha must lie in \[0, 1\]"):
        AdaAD(alpha=alpha)
