"""PGD adversarial training: its two modes of attack, a linear network, its loss by hand."""

from __future__ import annotations

import math

import pytest
import torch

from golden_net import GoldenNet
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.draws import Draws
from hardy.losses import cross_entropy
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Nets
from hardy.threat import Linf
from known_nets import TEN, TWO, between, linear_case, losses_by_hand, nets_of, values_of

ATTACK = PGD(Linf(0.1), steps=3)


def setting() -> tuple[GoldenNet, Nets, Batch]:
    torch.manual_seed(0)
    net = GoldenNet()
    draws = Draws(0, 0, torch.arange(5))
    batch = Batch(draws.uniform((3, 8, 8), "x"), torch.arange(5), draws.index, draws)
    with torch.no_grad():
        net(batch.x)  # running statistics of its own
    return net, Nets(net, net, net), batch


def test_attack_in_eval_mode_is_the_attack_on_the_eval_net() -> None:
    net, nets, batch = setting()
    found = PGDAT().adversary(nets, batch, ATTACK)
    assert torch.equal(found, ATTACK(net.eval(), batch.x, batch.y, batch.draws))


def test_attack_in_train_mode_uses_the_batch_and_teaches_the_net_nothing() -> None:
    net, nets, batch = setting()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    found = PGDAT(attack_mode="train").adversary(nets, batch, ATTACK)
    assert all(torch.equal(buffer, before[name]) for name, buffer in net.named_buffers())
    assert net.bn1.num_batches_tracked == 1
    assert torch.equal(found, ATTACK(net, batch.x, batch.y, batch.draws))
    assert not torch.equal(found, PGDAT().adversary(nets, batch, ATTACK))


def test_loss_is_the_mean_cross_entropy_at_x_adv() -> None:
    net, nets, batch = setting()
    x_adv = PGDAT().adversary(nets, batch, ATTACK)
    values = PGDAT().loss(nets, batch, x_adv, progress=0.0)
    expected = cross_entropy(net(x_adv), batch.y).mean()
    assert values.keys() == {"loss"}
    assert values["loss"].item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize(("case", "expected"), [(TWO, math.log(3)), (TEN, math.log(20))])
def test_the_loss_by_hand(case: tuple, expected: float) -> None:
    """The right class has p' = 1/3 of two classes, 1/20 of ten."""
    p, q, y = case
    found = losses_by_hand(values_of(PGDAT(), between(p, q), y))
    assert found == pytest.approx({"loss": expected}, abs=1e-12)


def test_a_linear_net_is_pushed_to_its_worst_corner() -> None:
    case = linear_case(classes=2)
    batch = case.batch
    found = PGDAT().adversary(nets_of(case.net), batch, PGD(Linf(0.03)))
    w = torch.tensor(case.weight[1] - case.weight[0]).view(3, 2, 2)
    away = torch.where(batch.y == 0, 1.0, -1.0).view(-1, 1, 1, 1) * w.sign()
    torch.testing.assert_close(found, batch.x + 0.03 * away, rtol=0, atol=1e-12)
