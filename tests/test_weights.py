"""Arithmetic on weights with known answers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hardy.weights import interpolate, not_finite, project_relative

ORIGIN = torch.tensor([[3.0, 0.0], [0.0, 4.0]], dtype=torch.float64)  # of norm 5


def test_projection_onto_the_relative_ball() -> None:
    """A step of length 2 with a radius of 0.1 * 5 keeps a quarter of itself."""
    step = torch.tensor([[0.0, 2.0], [0.0, 0.0]], dtype=torch.float64)
    found = project_relative(ORIGIN + step, ORIGIN, 0.1)
    torch.testing.assert_close(found, ORIGIN + step / 4)
    torch.testing.assert_close(project_relative(found, ORIGIN, 0.1), found)


def test_a_weight_inside_the_ball_keeps_its_bits() -> None:
    weight = ORIGIN + 0.1
    assert torch.equal(project_relative(weight, ORIGIN, 0.1), weight)
    assert torch.equal(project_relative(ORIGIN, ORIGIN, 0.0), ORIGIN)


def test_no_radius_and_no_norm_lead_back_to_the_origin() -> None:
    assert torch.equal(project_relative(ORIGIN + 1, ORIGIN, 0.0), ORIGIN)
    zeros = torch.zeros(3)
    assert torch.equal(project_relative(zeros + 1, zeros, 0.1), zeros)


def two_nets() -> list[dict[str, torch.Tensor]]:
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        for _ in range(seed + 1):
            net(torch.randn(5, 3))
        states.append(net.state_dict())
    return states


def test_interpolation_by_hand() -> None:
    start, end = {"w": torch.tensor([0.0, 2.0])}, {"w": torch.tensor([4.0, 0.0])}
    assert interpolate(start, end, 0.25)["w"].tolist() == [1.0, 1.5]


def test_interpolation_takes_the_batchnorm_with_it() -> None:
    start, end = two_nets()
    middle = interpolate(start, end, 0.5)
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        torch.testing.assert_close(middle[name], (start[name] + end[name]) / 2)


@pytest.mark.parametrize("alpha", [0, 1, 0.0, 1.0])
def test_the_ends_come_back_to_the_bit_as_copies(alpha: float) -> None:
    start, end = two_nets()
    found, wanted = interpolate(start, end, alpha), end if alpha else start
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    found["0.weight"].zero_()
    assert wanted["0.weight"].any()


def test_counters_are_those_of_the_start() -> None:
    start, end = two_nets()
    name = "1.num_batches_tracked"
    assert interpolate(start, end, 0.9)[name] == start[name] == 1
    assert interpolate(start, end, 0.9)[name].dtype == torch.int64
    assert interpolate(start, end, 1)[name] == end[name] == 2


def test_nets_that_differ_are_refused_by_name() -> None:
    start, end = two_nets()
    del end["1.bias"]
    with pytest.raises(ValueError, match=r"differ in '1\.bias'"):
        interpolate(start, end, 0.5)


def test_not_finite_names_the_entries() -> None:
    state = {
        "fine": torch.ones(2),
        "nan": torch.tensor([0.0, float("nan")]),
        "inf": torch.tensor([float("-inf")]),
        "counter": torch.tensor(3),
    }
    assert not_finite(state) == ["nan", "inf"]
