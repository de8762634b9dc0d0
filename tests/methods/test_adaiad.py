"""AdaIAD: AdaAD's attack with IAD's second term."""

from __future__ import annotations

import math

import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.adaad import AdaAD
from hardy.methods.adaiad import AdaIAD
from hardy.threat import Linf
from known_nets import assert_forwards_matter, distilled, nets_of, with_batchnorm

# S(x) = (3/4, 1/4), S(x') = (1/3, 2/3); T(x') = (1/2, 1/2); the label is 0.
MOVING = 0.5 * math.log(3 / 2) + 0.5 * math.log(3 / 4)
OWN = 0.75 * math.log(9 / 4) + 0.25 * math.log(3 / 8)


def test_two_classes_by_hand() -> None:
    method = AdaIAD(temperature=1.0)
    assert distilled(method, progress=0.0)["loss"] == pytest.approx(MOVING, abs=1e-12)
    own = (1 - 0.5**0.1) * OWN
    expected = {"loss": MOVING + own, "robust_kl": MOVING, "introspection": own}
    assert distilled(method, progress=0.3) == pytest.approx(expected, abs=1e-12)


def test_the_temperature_is_the_teachers_alone() -> None:
    """At (0, 0) against (0, ln 2) with tau = 30; the student's own term has none."""
    s = 2 ** (1 / 30)
    divergence = 900 * (math.log(1 + s) - math.log(2) - 0.5 * math.log(s))
    found = distilled(AdaIAD(), progress=0.9)
    assert found["robust_kl"] == pytest.approx(divergence, abs=1e-9)
    assert found["introspection"] == pytest.approx((1 - 0.5**0.1) * OWN, abs=1e-12)


def test_the_attack_is_that_of_adaad() -> None:
    net, batch = with_batchnorm()
    teacher = with_batchnorm()[0]
    with torch.no_grad():
        teacher.linear.weight.mul_(-1)
    attack = PGD(Linf(0.03), steps=4)
    nets = AdaIAD().prepare(nets_of(net, teachers={"robust": teacher}))
    found = AdaIAD().adversary(nets, batch, attack)
    assert torch.equal(found, AdaAD().adversary(nets, batch, attack))
    fixed = AdaIAD(objective="clean").adversary(nets, batch, attack)
    assert not torch.equal(found, fixed), "the teacher moves"


def test_joint_and_separate_forwards() -> None:
    assert_forwards_matter(lambda forwards: AdaIAD(forwards=forwards))  # type: ignore[arg-type]
