"""Standard training: no adversary, cross-entropy, the best clean accuracy."""

from __future__ import annotations

import math

import pytest
import torch

from hardy.attacks.pgd import PGD
from hardy.methods.standard import Standard
from hardy.threat import Linf
from known_nets import TEN, TWO, between, counted, linear_case, losses_by_hand, nets_of, values_of


def test_its_adversary_is_the_picture_itself() -> None:
    case = linear_case()
    forward, sizes = counted(case.net)
    x_adv = Standard().adversary(nets_of(case.net, forward=forward), case.batch, PGD(Linf(0.1)))
    assert torch.equal(x_adv, case.batch.x) and not sizes


@pytest.mark.parametrize(("case", "expected"), [(TWO, math.log(3)), (TEN, math.log(20))])
def test_the_loss_by_hand(case: tuple, expected: float) -> None:
    """At the pictures it is given: p' = 1/3 and 1/20 for the right class."""
    p, q, y = case
    found = losses_by_hand(values_of(Standard(), between(p, q), y))
    assert found == pytest.approx({"loss": expected}, abs=1e-12)


def test_the_best_epoch_is_the_one_of_most_clean_accuracy() -> None:
    assert Standard().select_on == "clean"
