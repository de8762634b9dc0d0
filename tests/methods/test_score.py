"""SCORE against values by hand and linear networks."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.score import SCORE
from hardy.modes import evaluating, kept_batchnorm
from hardy.threat import L2, Linf
from known_nets import (
    TEN,
    TWO,
    Array,
    Between,
    assert_forwards_matter,
    between,
    counted,
    linear_case,
    losses_by_hand,
    nets_of,
    values_of,
    with_batchnorm,
)

ATTACK = PGD(Linf(0.03))


def test_two_classes_by_hand() -> None:
    """p = (3/4, 1/4) against (9/10, 1/10): 2 (3/20)^2 = 0.045. p' = (1/3, 2/3) against p:
    2 (5/12)^2 = 25/72."""
    found = losses_by_hand(values_of(SCORE(), between(*TWO[:2]), 0))
    expected = {"loss": 0.045 + 4 * 25 / 72, "natural": 0.045, "robust_sq": 25 / 72}
    assert found == pytest.approx(expected, abs=1e-12)


def test_ten_classes_by_hand() -> None:
    """The smoothed label is .9 and nine times .1/9: .4^2 + 9 (1/18 - 1/90)^2 = .16 + 9 (2/45)^2.
    p' - p is 1/20 - 1/2, 11/20 - 1/18 and eight times 1/20 - 1/18."""
    p, q, y = TEN
    found = losses_by_hand(values_of(SCORE(beta=2), between(p, q), y))
    natural = 0.16 + 9 * (2 / 45) ** 2
    robust = 0.45**2 + (89 / 180) ** 2 + 8 / 180**2
    assert found["natural"] == pytest.approx(natural, abs=1e-12)
    assert found["robust_sq"] == pytest.approx(robust, abs=1e-12)
    assert found["loss"] == pytest.approx(natural + 2 * robust, abs=1e-12)


def test_what_is_clipped_off_the_robust_term() -> None:
    """25/72 less 1/4, and nothing below zero."""
    found = losses_by_hand(values_of(SCORE(clip_robust=0.25), between(*TWO[:2]), 0))
    assert found["robust_sq"] == pytest.approx(7 / 72, abs=1e-12)
    assert found["loss"] == pytest.approx(0.045 + 4 * 7 / 72, abs=1e-12)
    found = losses_by_hand(values_of(SCORE(clip_robust=0.35), between(*TWO[:2]), 0))
    assert found["robust_sq"] == 0
    assert found["loss"] == pytest.approx(0.045, abs=1e-12)


@pytest.mark.parametrize(
    ("case", "whole", "bound"),
    [
        (TWO, 2 * 0.25**2 + 6 * 25 / 72, 0.3**2 + 0.3**2),
        (TEN, 0.25 + 9 / 18**2 + 6 * (0.45**2 + (89 / 180) ** 2 + 8 / 180**2), 0.09 + 0.09 / 9),
    ],
    ids=["two", "ten"],
)
def test_what_is_clipped_off_the_whole_loss(
    case: tuple[Array, Array, int], whole: float, bound: float
) -> None:
    """c^2 + c^2 / (K - 1), c = 0.3: their setting without extra data, labels not smoothed."""
    p, q, y = case
    found = values_of(SCORE(beta=6, smoothing=0, clip=0.3), between(p, q), y)["loss"]
    assert found.item() == pytest.approx(whole - bound, abs=1e-12)


def test_an_example_below_the_clip_no_longer_pulls() -> None:
    """Each is clipped by itself, before the mean: one that is right by far and one wrong."""
    p = np.array([0.9, 0.1])
    net, method = between(p, p), SCORE(smoothing=0, clip=0.3)
    loss = values_of(method, net, 0)["loss"]
    loss.backward()
    assert loss.item() == 0 and net.clean.grad is not None and not net.clean.grad.any()
    both = values_of(method, net, 0, 1)["loss"]
    assert both.item() == pytest.approx((0 + 2 * 0.81 - 0.18) / 2, abs=1e-12)


@pytest.mark.parametrize(("p", "q", "y"), [TWO, TEN], ids=["two", "ten"])
def test_the_gradient_flows_through_both_predictions(p: Array, q: Array, y: int) -> None:
    """d ||p - t||^2 / d logits = J 2 (p - t), J = diag(p) - p p^T."""
    net = between(p, q)
    values_of(SCORE(beta=4), net, y)["loss"].backward()
    label = np.full_like(p, 0.1 / (len(p) - 1))
    label[y] = 0.9
    clean = _through(p, 2 * (p - label) + 8 * (p - q))
    assert net.clean.grad is not None and net.attacked.grad is not None
    np.testing.assert_allclose(net.clean.grad, clean, atol=1e-12)
    np.testing.assert_allclose(net.attacked.grad, _through(q, 8 * (q - p)), atol=1e-12)


def _through(p: Array, grad: Array) -> Array:
    """A gradient to probabilities (…, K) as one to their logits."""
    return p * (grad - (p * grad).sum(-1, keepdims=True))


def test_half_logits_are_summed_up_in_float32() -> None:
    p, q, y = TEN
    half = Between(np.log(p), np.log(q), torch.bfloat16)
    found = values_of(SCORE(), half, y)["loss"]
    rounded = Between(half.clean.double().detach().numpy(), half.attacked.double().detach().numpy())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(values_of(SCORE(), rounded, y)["loss"].item(), rel=1e-6)


def test_a_linear_net_is_pushed_to_the_corner_on_the_side_of_the_start() -> None:
    """With two classes the squared error grows with |w·(x' - x)| on either side of x."""
    case = linear_case(classes=2)
    batch = case.batch
    found = SCORE().adversary(nets_of(case.net), batch, ATTACK)
    w = torch.tensor(case.weight[1] - case.weight[0]).view(3, 2, 2)
    start = batch.draws.uniform((3, 2, 2), "start", torch.float64) * 2 - 1
    side = (start * w).sum((1, 2, 3)).sign()
    assert {-1.0, 1.0} == set(side.tolist()), "both sides occur"
    corner = batch.x + 0.03 * side.view(-1, 1, 1, 1) * w.sign()
    torch.testing.assert_close(found, corner, rtol=0, atol=1e-12)


def test_one_step_ascends_the_squared_error_from_a_uniform_start() -> None:
    case = linear_case()
    batch, threat = case.batch, L2(0.3)
    start = threat.random_start(batch.x, batch.draws)
    p, q = case.softmax(batch.x.numpy()), case.softmax(start.numpy())
    expected = case.stepped(start, _through(q, 2 * (q - p)), 1e-3)
    attack = PGD(threat, steps=1, step_size=1e-3, random_start=False)
    found = SCORE().adversary(nets_of(case.net), batch, attack)
    assert (threat.distance(expected, batch.x) < 0.3).all(), "nothing is projected"
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)
    divergence = case.stepped(start, q - p, 1e-3)
    assert (found - divergence).abs().max() > 1e-5, "the divergence has another gradient"


def test_one_step_from_normal_noise_that_is_clipped_to_the_pixel_box() -> None:
    """attack_trades_divergence of the authors' without_DDPM/train_cifar.py."""
    case = linear_case()
    batch, threat = case.batch, L2(100)
    noise = 0.5 * batch.draws.normal((3, 2, 2), "start", torch.float64)
    start = (batch.x + noise).clamp(0, 1)
    assert not torch.equal(start, batch.x + noise), "some of it is clipped"
    p, q = case.softmax(batch.x.numpy()), case.softmax(start.numpy())
    expected = case.stepped(start, _through(q, 2 * (q - p)), 0.05).clamp(0, 1)
    attack = PGD(threat, steps=1, step_size=0.05)
    found = SCORE(start=0.5).adversary(nets_of(case.net), batch, attack)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", [0.0, -0.001, math.nan, math.inf])
def test_a_start_at_the_picture_itself_would_stay_there(start: float) -> None:
    """The squared error is least there, so its gradient is zero."""
    with pytest.raises(ValueError, match=r"start must be none or positive, such as 0\.001"):
        SCORE(start=start)


@pytest.mark.parametrize("mode", ["eval", "train"])
def test_the_clean_prediction_is_made_once_and_in_the_mode_of_the_attack(
    mode: Literal["eval", "train"],
) -> None:
    net, batch = with_batchnorm()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    forward, sizes = counted(net)
    found = SCORE(attack_mode=mode).adversary(nets_of(net, forward=forward), batch, ATTACK)
    assert sizes == [5] * 11 and net.training and net.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    with evaluating(net) if mode == "eval" else kept_batchnorm(net):
        p = net(batch.x).softmax(1).detach()
        start = ATTACK.threat.random_start(batch.x, batch.draws)
        expected = ATTACK.ascend(lambda z: ((net(z).softmax(1) - p) ** 2).sum(1), batch.x, start)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_the_two_modes_of_attack_differ() -> None:
    net, batch = with_batchnorm()
    found = [
        SCORE(attack_mode=mode).adversary(nets_of(net), batch, ATTACK) for mode in ("eval", "train")
    ]
    assert not torch.equal(*found)


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: SCORE(forwards=forwards))  # type: ignore[arg-type]
