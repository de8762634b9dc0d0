"""TRADES against the authors' numbers, values by hand and linear networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.trades import TRADES
from hardy.threat import L2, Linf
from known_nets import (
    TEN,
    TWO,
    Array,
    Between,
    assert_forwards_matter,
    assert_golden,
    between,
    counted,
    linear_case,
    losses_by_hand,
    nets_of,
    values_of,
    with_batchnorm,
)

ATTACK = PGD(Linf(0.03))


def test_the_authors_attack_loss_and_gradients() -> None:
    assert_golden(TRADES(), "trades", PGD(Linf(0.031), steps=10, step_size=0.007))


def test_two_classes_by_hand() -> None:
    """p = (3/4, 1/4), p' = (1/3, 2/3), y = 0: CE = ln 4/3, KL = 3/4 ln 9/4 + 1/4 ln 3/8."""
    found = losses_by_hand(values_of(TRADES(), between(*TWO[:2]), 0))
    natural = math.log(4 / 3)
    divergence = 0.75 * math.log(9 / 4) + 0.25 * math.log(3 / 8)
    expected = {
        "loss": natural + 6 * divergence,
        "natural": natural,
        "robust_kl": divergence,
    }
    assert found == pytest.approx(expected, abs=1e-12)


def test_ten_classes_by_hand_the_divergence_is_summed_over_them() -> None:
    p, q, y = TEN
    found = losses_by_hand(values_of(TRADES(beta=2), between(p, q), y))
    # p is 9/18 in class 3 and 1/18 elsewhere, p' is 11/20 in class 7 and 1/20 elsewhere
    divergence = 0.5 * math.log(10) + math.log(10 / 99) / 18 + 8 / 18 * math.log(20 / 18)
    assert found["robust_kl"] == pytest.approx(divergence, abs=1e-12)
    assert found["loss"] == pytest.approx(math.log(2) + 2 * divergence, abs=1e-12)


@pytest.mark.parametrize(("p", "q", "y"), [TWO, TEN], ids=["two", "ten"])
def test_the_gradient_flows_through_both_sides(p: Array, q: Array, y: int) -> None:
    net = between(p, q)
    values_of(TRADES(beta=6), net, y)["loss"].backward()
    gap = np.log(p / q)
    clean = p - np.eye(len(p))[y] + 6 * p * (gap - (p * gap).sum())
    assert net.clean.grad is not None and net.attacked.grad is not None
    np.testing.assert_allclose(net.clean.grad, clean, atol=1e-12)
    np.testing.assert_allclose(net.attacked.grad, 6 * (q - p), atol=1e-12)


def test_half_logits_are_summed_up_in_float32() -> None:
    p, q, y = TEN
    half = Between(np.log(p), np.log(q), torch.bfloat16)
    found = values_of(TRADES(), half, y)["loss"]
    rounded = Between(half.clean.double().detach().numpy(), half.attacked.double().detach().numpy())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(values_of(TRADES(), rounded, y)["loss"].item(), rel=1e-6)


def test_a_linear_net_is_pushed_to_the_corner_on_the_side_of_the_start() -> None:
    """With two classes the divergence grows with |w·(x' - x)| on either side of x."""
    case = linear_case(classes=2)
    batch = case.batch
    found = TRADES().adversary(nets_of(case.net), batch, ATTACK)
    w = torch.tensor(case.weight[1] - case.weight[0]).view(3, 2, 2)
    noise = batch.draws.normal((3, 2, 2), "start", torch.float64)
    side = (noise * w).sum((1, 2, 3)).sign()
    assert {-1.0, 1.0} == set(side.tolist()), "both sides occur"
    corner = batch.x + 0.03 * side.view(-1, 1, 1, 1) * w.sign()
    torch.testing.assert_close(found, corner, rtol=0, atol=1e-12)


def test_one_step_ascends_the_divergence_from_a_fixed_prediction() -> None:
    """d KL(p || p') / d logits' = p' - p where p is held; its start is small normal noise."""
    case = linear_case()
    x = case.batch.x
    noise = case.batch.draws.normal((3, 2, 2), "start", torch.float64)
    start = x + 0.2 * noise
    uphill = case.softmax(start.numpy()) - case.softmax(x.numpy())
    attack = PGD(L2(9.0), steps=1, step_size=0.05)
    found = TRADES(start=0.2).adversary(nets_of(case.net), case.batch, attack)
    expected = case.stepped(start, uphill, 0.05).clamp(0, 1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("start", [0.0, -0.001, math.nan])
def test_a_start_at_the_picture_itself_would_stay_there(start: float) -> None:
    """The divergence is least there, so its gradient is zero."""
    with pytest.raises(ValueError, match=r"TRADES' start must be positive, such as 0\.001"):
        TRADES(start=start)


def test_the_clean_prediction_is_made_once_and_in_eval_mode() -> None:
    net, batch = with_batchnorm()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    forward, sizes = counted(net)
    found = TRADES().adversary(nets_of(net, forward=forward), batch, ATTACK)
    assert sizes == [5] * 11 and net.training and net.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    p = net.eval()(batch.x).softmax(1).detach()
    start = batch.x + 0.001 * batch.draws.normal((3, 8, 8), "start", torch.float64)
    expected = ATTACK.ascend(lambda z: -(p * net(z).log_softmax(1)).sum(1), batch.x, start)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: TRADES(forwards=forwards))  # type: ignore[arg-type]
