"""Features: maps whose inversion is known in closed form, labels and starts by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hardy.diagnosis.features import ATTACK, KINDS, apart, inverted, penultimate, starts, targets
from hardy.draws import Draws
from hardy.models.resnet import resnet18
from hardy.modes import evaluating

SHAPE = (1, 2, 2)
# Of length 0.35: steps of 0.1 on the way stay within [0, 1] and never meet its end.
AWAY = torch.tensor([0.175, -0.175, 0.175, -0.175], dtype=torch.float64)


def pictures(*values: float) -> Tensor:
    return torch.stack([torch.full(SHAPE, value, dtype=torch.float64) for value in values])


def draws_of(*index: int, seed: int = 0) -> Draws:
    return Draws(seed, 0, torch.tensor(index))


@pytest.mark.parametrize(("steps", "walked"), [(1, 0.1), (3, 0.3), (4, 0.4), (5, 0.3), (6, 0.4)])
def test_inversion_of_the_identity_walks_straight_to_the_picture(steps: int, walked: float) -> None:
    start = pictures(0.5, 0.4)
    wanted = start.flatten(1) + AWAY
    found = inverted(lambda x: x.flatten(1), start, wanted, steps, 0.1)
    # From the fourth step on it goes to and fro: none is shorter than another.
    assert torch.allclose(found, start + (AWAY * walked / 0.35).view(SHAPE), atol=1e-12)
    assert apart(found.flatten(1), wanted).tolist() == pytest.approx([abs(0.35 - walked)] * 2)


def test_a_single_feature_falls_by_its_gradient_in_each_step() -> None:
    weight = torch.tensor([[3.0, 0.0, 0.0, -4.0]], dtype=torch.float64)  # of length 5
    start = pictures(0.5)
    found = inverted(lambda x: x.flatten(1) @ weight.T, start, start.flatten(1) @ weight.T - 2, 3)
    expected = start.flatten(1) - 3 * 0.1 * weight / 5
    assert torch.allclose(found.flatten(1), expected, atol=1e-12)
    assert math.isclose((found - start).norm().item(), 0.3)


def test_inverted_pictures_stay_pictures() -> None:
    start = pictures(0.95)
    found = inverted(lambda x: x.flatten(1), start, start.flatten(1) + 5, 50)
    assert torch.equal(found, torch.ones_like(start))


def test_no_ball_keeps_inversion_near_its_start() -> None:
    start, wanted = pictures(0.0), torch.ones(1, 4, dtype=torch.float64)
    found = inverted(lambda x: x.flatten(1), start, wanted, 20)  # two from corner to corner
    assert torch.allclose(found.flatten(1), wanted, atol=1e-12)


@pytest.mark.parametrize(("steps", "size"), [(0, 0.1), (1, 0.0)])
def test_inversion_needs_steps(steps: int, size: float) -> None:
    with pytest.raises(ValueError, match=r"must be (at least 1|positive)"):
        inverted(lambda x: x.flatten(1), pictures(0.5), torch.zeros(1, 4), steps, size)


def test_the_usual_attack_reaches_the_known_point_of_a_linear_model() -> None:
    weight = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]], dtype=torch.float64)
    x, y = pictures(0.5, 0.5), torch.tensor([0, 1])
    found = ATTACK.towards(lambda x: 9 * x.flatten(1) @ weight.T, x, y, draws_of(0, 1))
    away = torch.tensor([1.0, 0.0, 0.0, -1.0], dtype=torch.float64) * 0.5 / math.sqrt(2)
    expected = x + torch.stack([away, -away]).view(2, *SHAPE)
    assert torch.allclose(found, expected, atol=1e-9)
    assert (ATTACK.steps, ATTACK.step, ATTACK.threat.norm) == (100, 0.1, "l2")


class Twice(nn.Module):
    """A network whose head is run twice, or with a name for what it is given."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.head, self.how = nn.Linear(4, 4), how

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "by name":
            return self.head(input=x.flatten(1))
        if self.how == "in a list":
            return self.head([x.flatten(1)])
        return self.head(self.head(x.flatten(1)))


def test_features_are_what_the_head_is_given() -> None:
    net: Any = resnet18(num_classes=3).eval()
    x = torch.rand(2, 3, 32, 32)
    features = penultimate(net, "linear")
    with torch.no_grad():
        found = features(x)
        assert found.shape == (2, 512)
        assert torch.equal(net.linear(found), net(x))
    assert not net.linear._forward_pre_hooks


def test_features_of_a_head_that_is_a_convolution_are_all_it_sees() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 1), nn.ReLU(), nn.Conv2d(2, 3, 1), nn.Flatten())
    x = torch.rand(5, *SHAPE)
    assert torch.equal(penultimate(net, "2")(x), net[1](net[0](x)).flatten(1))


class Unpacking(nn.Linear):
    """A head that takes a list of one tensor."""

    def forward(self, input: list[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(input[0])


@pytest.mark.parametrize("how", ["twice", "by name", "in a list"])
def test_a_head_that_is_not_run_once_has_no_features(how: str) -> None:
    net = Twice(how)
    if how == "in a list":
        net.head = Unpacking(4, 4)
    with pytest.raises(ValueError, match=r"the layer head is given [02] tensors .* --head"):
        penultimate(net, "head")(torch.rand(1, *SHAPE))
    assert not net.head._forward_pre_hooks


def test_inversion_of_a_network_meets_its_features() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2)).double()
    x, start = torch.rand(2, 6, *SHAPE, dtype=torch.float64).unbind()
    features = penultimate(net, "3")
    with torch.no_grad(), evaluating(net):
        wanted = features(x)
        before = apart(features(start), wanted)
    found = inverted(features, start, wanted, 300, 0.01)
    after = apart(features(found), wanted)
    assert bool((after < 0.03).all()) and before.mean() > 0.1
    alone = inverted(features, start[2:3], wanted[2:3], 300, 0.01)
    assert torch.allclose(alone, found[2:3], atol=1e-6)  # an example hangs on no other


def test_labels_by_hand() -> None:
    y = torch.tensor([0, 1, 9])
    assert targets("none", y, 10, draws_of(0, 1, 2)).tolist() == [0, 1, 9]
    assert targets("next", y, 10, draws_of(0, 1, 2)).tolist() == [1, 2, 0]
    assert [kind.label_shift for kind in KINDS.values()] == [0, 0, 1, None, 1]


def test_drawn_labels_belong_to_the_picture_and_are_of_all_classes() -> None:
    index = torch.arange(4000)
    y = index % 10
    drawn = targets("random", y, 10, Draws(3, 0, index))
    counts = torch.bincount(drawn, minlength=10)
    assert len(counts) == 10 and bool(((counts - 400).abs() < 100).all())  # 5 standard deviations
    assert 300 < int((drawn == y).sum()) < 500  # its own among them
    few = targets("random", y[7:9], 10, Draws(3, 0, index[7:9]))
    assert torch.equal(few, drawn[7:9])
    assert not torch.equal(targets("random", y, 10, Draws(4, 0, index)), drawn)


def test_inversion_starts_from_any_other_picture() -> None:
    rows = torch.arange(2000) % 4
    found = starts(4, rows, Draws(0, 0, torch.arange(2000)))
    assert not (found == rows).any()
    for row in range(4):
        assert found[rows == row].unique().tolist() == [i for i in range(4) if i != row]
    assert torch.equal(starts(4, rows[5:6], Draws(0, 0, torch.tensor([5]))), found[5:6])
    with pytest.raises(ValueError, match="at least two"):
        starts(1, rows[:1], draws_of(0))
