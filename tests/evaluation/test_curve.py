"""Robust accuracy over the radius, of a linear model, where it is known at every radius."""

from __future__ import annotations

import pytest
import torch
from test_robustness import TwoClasses, margins, some_split
from torch import Tensor

from hardy.attacks.pgd import PGD
from hardy.evaluation.curve import at_radius, curve, radii, standing_at
from hardy.evaluation.statistics import wilson
from hardy.threat import L2, Linf


def test_radii_go_from_nothing_to_twice_eps() -> None:
    assert radii(0.1, 2) == [0, 0.2]
    assert radii(8 / 255, 9)[4] == 8 / 255 and len(radii(0.5, 9)) == 9
    assert radii(0.3, 4) == pytest.approx([0, 0.2, 0.4, 0.6])
    with pytest.raises(ValueError, match="at least 2 points, not 1"):
        radii(0.1, 1)


def test_a_step_keeps_its_share_of_the_radius() -> None:
    usual = PGD(Linf(0.1), steps=7, step_size=0.03)
    other = at_radius(usual, 0.2)
    assert (other.threat, other.steps) == (Linf(0.2), 7) and other.step == pytest.approx(0.06)
    unset = at_radius(PGD(L2(0.5)), 0.25)
    assert unset.threat == L2(0.25) and unset.step == pytest.approx(2.5 * 0.25 / 10)


@pytest.mark.parametrize("threat", [Linf(6 / 255), L2(0.1)], ids=repr)
def test_those_stand_whose_margin_is_above_the_radius(threat: Linf | L2) -> None:
    model = TwoClasses()
    split = some_split(model)
    clean = margins(model, split) > 0
    dual = model.w.abs().sum() if isinstance(threat, Linf) else model.w.norm()
    standing, before = [(0.0, clean)], clean
    for eps in radii(threat.eps, 5)[1:]:
        room = margins(model, split) - eps * dual.detach()
        assert room.abs().min() > 1e-4, "nobody stands on the edge"
        attack = at_radius(PGD(threat, random_start=False), eps)
        before = standing_at(model, attack, split, before, batch_size=16)
        assert torch.equal(before, room > 0)
        standing.append((eps, before))
    assert 0 < standing[-1][1].sum() < standing[2][1].sum() < clean.sum()

    found = curve(standing, "test", "net", lambda eps: {"eps": eps})
    for one, (eps, stands) in zip(found, standing, strict=True):
        hits = int(stands.sum())
        assert one.quantity == "robust accuracy at radius" and one.setting == {"eps": eps}
        assert one.value == hits / 60 and one.interval == wilson(hits, 60)


def test_what_broke_at_a_smaller_radius_is_not_attacked_again() -> None:
    model = TwoClasses()
    split = some_split(model)
    seen = []

    def forward(x: Tensor) -> Tensor:
        seen.append(len(x))
        return model(x)

    half = torch.arange(60) % 2 == 0
    found = standing_at(forward, PGD(Linf(1e-6), steps=1), split, half)
    assert set(seen) == {30} and not (found & ~half).any()
