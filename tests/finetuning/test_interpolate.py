"""The way between two networks, and the rule by which a point of it is kept."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from hardy.attacks.pgd import PGD
from hardy.data.splits import Split
from hardy.evaluation.robustness import Protocol, Verdicts, judge
from hardy.finetuning import interpolate as module
from hardy.finetuning.interpolate import Point, allowed_fall, choose, path
from hardy.models.small import small_resnet
from hardy.threat import Linf

PROTOCOL = Protocol(PGD(Linf(8 / 255), steps=2), restarts=1, batch_size=32)


def pictures(count: int = 48) -> Split:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8)
    return Split(images, torch.randint(4, (count,)), torch.arange(count), "val")


def two_networks() -> tuple[nn.Module, dict[str, Tensor]]:
    """A network, and the entries in which another differs: a weight, statistics, a counter."""
    torch.manual_seed(1)
    model = small_resnet(num_classes=4)
    state = model.state_dict()
    end = {
        "layer3.0.conv2.weight": torch.randn_like(state["layer3.0.conv2.weight"]),
        "linear.weight": torch.randn_like(state["linear.weight"]),
        "bn1.running_mean": torch.randn_like(state["bn1.running_mean"]),
        "bn1.num_batches_tracked": torch.tensor(7),
    }
    return model, end


def test_points_are_those_of_weights_interpolated_by_hand() -> None:
    model, end = two_networks()
    split, alphas = pictures(), (0.25, 0.5, 1.0)
    found = path(model, end, alphas, split, PROTOCOL)
    assert [point.alpha for point in found] == list(alphas)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    verdicts = []
    for point in found:
        by_hand = {}
        for key, value in start.items():
            if key not in end:
                by_hand[key] = value
            elif value.is_floating_point():
                by_hand[key] = value + point.alpha * (end[key] - value)
            else:
                by_hand[key] = end[key] if point.alpha == 1 else value
        other = small_resnet(num_classes=4)
        other.load_state_dict(by_hand)
        wanted = judge(other, split, PROTOCOL)
        assert torch.equal(point.verdicts.clean, wanted.clean)
        assert torch.equal(point.verdicts.robust, wanted.robust)
        assert (point.clean, point.robust) == (int(wanted.clean.sum()), int(wanted.robust.sum()))
        verdicts.append(wanted.clean)
    assert not torch.equal(verdicts[0], verdicts[-1])


def test_the_network_keeps_its_weights_and_modes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, end = two_networks()
    model.train()
    model.get_submodule("bn1").eval()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    places = {key: value.data_ptr() for key, value in model.state_dict().items()}

    def unchanged() -> bool:
        now = model.state_dict()
        return (
            all(torch.equal(now[key], value) for key, value in before.items())
            and modes == [m.training for m in model.modules()]
            and places == {key: value.data_ptr() for key, value in now.items()}
        )

    path(model, end, (0.5, 1.0), pictures(8), PROTOCOL)
    assert unchanged()

    def stopped(here: nn.Module, *_: object) -> Verdicts:
        assert not torch.equal(here.state_dict()["linear.weight"], before["linear.weight"])
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "judge", stopped)
    with pytest.raises(KeyboardInterrupt):
        path(model, end, (0.5, 1.0), pictures(8), PROTOCOL)
    assert unchanged()


@pytest.mark.parametrize(
    ("n", "tolerance", "allowed"),
    [
        (10, 0.001, 1),  # 0.1 points of ten pictures are less than one
        (999, 0.001, 1),
        (1000, 0.001, 1),
        (1999, 0.001, 1),
        (2000, 0.001, 2),
        (3000, 0.001, 3),  # 0.001 * 3000 is 3.0 in reals, whatever it is in floats
        (10_000, 0.001, 10),
        (100, 0.29, 29),  # 28.999999999999996 in floats
        (50, 0.0, 0),  # whoever writes 0 means 0
    ],
)
def test_allowed_fall(n: int, tolerance: float, allowed: int) -> None:
    assert allowed_fall(n, tolerance) == allowed


def point(alpha: float, clean: int, robust: int, n: int = 2000) -> Point:
    return Point(alpha, Verdicts(torch.arange(n) < clean, torch.arange(n) < robust))


START = point(0.0, 1600, 1000)


def test_a_fall_of_just_what_is_allowed_is_kept_and_one_more_is_not() -> None:
    assert choose(START, [point(0.5, 1700, 998)]).alpha == 0.5
    assert choose(START, [point(0.5, 1700, 997)]) is START
    assert choose(START, [point(0.5, 1700, 997)], tolerance=0.0015).alpha == 0.5


def test_one_picture_may_fall_where_it_is_more_than_the_tolerance() -> None:
    start = point(0.0, 40, 30, n=50)
    assert choose(start, [point(0.5, 41, 29, n=50)]).alpha == 0.5
    assert choose(start, [point(0.5, 41, 28, n=50)]) is start


def test_the_most_accurate_point_within_the_rule_is_chosen() -> None:
    way = [point(0.2, 1620, 1003), point(0.4, 1650, 999), point(0.6, 1640, 1001)]
    too_far = [point(0.8, 1690, 990), point(1.0, 1700, 980)]
    assert choose(START, [*way, *too_far]).alpha == 0.4
    assert choose(START, [*too_far, *way[::-1]]).alpha == 0.4


def test_of_equals_the_nearest_to_the_start_is_chosen_which_counts_itself() -> None:
    assert choose(START, [point(0.6, 1650, 1000), point(0.3, 1650, 1000)]).alpha == 0.3
    assert choose(START, [point(0.3, 1600, 1005)]) is START
    assert choose(START, [point(0.3, 1599, 1200)]) is START
    assert choose(START, []) is START
