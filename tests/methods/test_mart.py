"""MART against the authors' numbers, values by hand and linear networks."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.mart import MART
from hardy.threat import L2, Linf
from known_nets import (
    TEN,
    TWO,
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
    assert_golden(MART(), "mart", PGD(Linf(0.031), steps=10, step_size=0.007))


def test_two_classes_by_hand() -> None:
    """p = (3/4, 1/4), p' = (1/3, 2/3), y = 0."""
    found = losses_by_hand(values_of(MART(), between(*TWO[:2]), 0))
    boosted = math.log(3) - math.log(1.0001 - 2 / 3 + 1e-12)
    divergence = 0.75 * (math.log(3 / 4) - math.log(1 / 3 + 1e-12))
    divergence += 0.25 * (math.log(1 / 4) - math.log(2 / 3 + 1e-12))
    weighted = divergence * (1.0000001 - 3 / 4)
    assert found == pytest.approx(
        {"loss": boosted + 5 * weighted, "boosted_ce": boosted, "weighted_kl": weighted},
        abs=1e-12,
    )


@pytest.mark.parametrize(("y", "wrong"), [(3, 0.55), (7, 0.05)])
def test_ten_classes_by_hand(y: int, wrong: float) -> None:
    """The largest *wrong* probability at x': 11/20 of class 7, or, where 7 is right, 1/20."""
    p, q, _ = TEN
    found = losses_by_hand(values_of(MART(beta=2), between(p, q), y))
    boosted = -math.log(q[y]) - math.log(1.0001 - wrong + 1e-12)
    divergence = sum(p[k] * (math.log(p[k]) - math.log(q[k] + 1e-12)) for k in range(10))
    assert found["boosted_ce"] == pytest.approx(boosted, abs=1e-12)
    assert found["loss"] == pytest.approx(boosted + 2 * divergence * (1.0000001 - p[y]), abs=1e-12)


def test_the_constants_do_not_vanish_in_half_precision() -> None:
    """Logits (60, 0) and (0, 60), y = 0, beyond any doubt in both: CE(x') = 60, the margin
    term -ln 1e-4, the divergence ln 1e12 and its weight 1e-7 (2^-23 in float32). In bfloat16
    1.0001 would be 1, the margin term ln 1e12, and the weight 0."""
    net = Between(np.array([60.0, 0.0]), np.array([0.0, 60.0]), torch.bfloat16)
    values = values_of(MART(), net, 0)
    assert values["boosted_ce"].dtype == torch.float32
    assert values["boosted_ce"].item() == pytest.approx(60 - math.log(1e-4), abs=0.01)
    assert values["weighted_kl"].item() == pytest.approx(math.log(1e12) * 2**-23, rel=1e-3)
    values["loss"].backward()
    assert net.attacked.grad is not None and net.attacked.grad.isfinite().all()


def test_half_logits_are_summed_up_in_float32() -> None:
    p, q, y = TEN
    half = Between(np.log(p), np.log(q), torch.bfloat16)
    found = values_of(MART(), half, y)["loss"]
    rounded = Between(half.clean.double().detach().numpy(), half.attacked.double().detach().numpy())
    assert found.dtype == torch.float32
    assert found.item() == pytest.approx(values_of(MART(), rounded, y)["loss"].item(), rel=1e-6)


def test_a_linear_net_is_pushed_to_its_worst_corner() -> None:
    case = linear_case(classes=2)
    batch = case.batch
    found = MART().adversary(nets_of(case.net), batch, ATTACK)
    w = torch.tensor(case.weight[1] - case.weight[0]).view(3, 2, 2)
    away = torch.where(batch.y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * w.sign()
    torch.testing.assert_close(found, batch.x + 0.03 * away, rtol=0, atol=1e-12)


def test_one_step_ascends_the_cross_entropy_from_normal_noise() -> None:
    """d CE / d logits = p - onehot."""
    case = linear_case()
    noise = case.batch.draws.normal((3, 2, 2), "start", torch.float64)
    start = case.batch.x + 0.001 * noise
    uphill = case.softmax(start.numpy()) - np.eye(3)[case.batch.y]
    attack = PGD(L2(9.0), steps=1, step_size=0.05)
    found = MART().adversary(nets_of(case.net), case.batch, attack)
    torch.testing.assert_close(found, case.stepped(start, uphill, 0.05), rtol=0, atol=1e-12)


def test_the_net_is_attacked_in_eval_mode() -> None:
    net, batch = with_batchnorm()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    forward, sizes = counted(net)
    found = MART().adversary(nets_of(net, forward=forward), batch, ATTACK)
    assert sizes == [5] * 10 and net.training and net.bn1.training
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    rows = torch.arange(5)
    start = batch.x + 0.001 * batch.draws.normal((3, 8, 8), "start", torch.float64)
    expected = ATTACK.ascend(lambda z: -net(z).log_softmax(1)[rows, batch.y], batch.x, start)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: MART(forwards=forwards))  # type: ignore[arg-type]
