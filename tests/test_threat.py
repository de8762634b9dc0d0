"""Norm balls against points worked out by hand, and their laws on any point."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from hardy.draws import Draws
from hardy.threat import L2, Linf, Threat, threat_of, unit

KINDS = [Linf, L2]


def picture(*values: float) -> Tensor:
    """A batch of one picture of one row."""
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


@pytest.mark.parametrize(
    ("threat", "x_adv", "expected"),
    [
        (Linf(0.1), (0.9, 0.45, -3.0), (0.6, 0.45, 0.4)),
        (L2(0.5), (0.5 + 3.0, 0.5, 0.5 - 4.0), (0.8, 0.5, 0.1)),  # 3-4-5 triangle
        (L2(0.5), (0.8, 0.5, 0.1), (0.8, 0.5, 0.1)),  # on the sphere already
        (L2(2.0), (0.5 + 3.0, 0.5, 0.5 - 4.0), (1.0, 0.5, 0.0)),  # 1.7 and -1.1 leave the box
    ],
    ids=repr,
)
def test_projection_of_known_points(
    threat: Threat, x_adv: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    found = threat.project(picture(*x_adv), picture(0.5, 0.5, 0.5))
    torch.testing.assert_close(found, picture(*expected), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@given(eps=st.floats(1e-3, 3), scale=st.floats(0, 10), seed=st.integers(0, 2**20))
@settings(max_examples=40, deadline=None)
def test_projection_ends_inside_once_and_for_all(
    kind: type[Threat], eps: float, scale: float, seed: int
) -> None:
    threat = kind(eps)
    draws = Draws(seed, 0, torch.arange(5))
    x = draws.uniform((2, 3, 3), "x", torch.float64)
    x_adv = x + scale * draws.normal((2, 3, 3), "noise", torch.float64)
    once = threat.project(x_adv, x)
    assert (threat.distance(once, x) <= eps * (1 + 1e-12)).all()
    assert once.min() >= 0 and once.max() <= 1
    torch.testing.assert_close(threat.project(once, x), once, rtol=0, atol=1e-14)


@pytest.mark.parametrize("kind", KINDS)
def test_a_point_inside_keeps_its_bits(kind: type[Threat]) -> None:
    x = Draws(0, 0, torch.arange(4)).uniform((3, 8, 8), "x")
    inside = (x + 1e-3).clamp(0, 1)
    found = kind(0.5).project(inside, x)
    torch.testing.assert_close(found, inside, rtol=0, atol=1e-7)
    assert torch.equal(kind(0.5).project(x, x), x)


@pytest.mark.parametrize("kind", KINDS)
@given(eps=st.floats(1e-3, 5), seed=st.integers(0, 2**20))
@settings(max_examples=25, deadline=None)
def test_random_start_is_inside_ball_and_box(kind: type[Threat], eps: float, seed: int) -> None:
    draws = Draws(seed, 0, torch.arange(20))
    x = draws.uniform((1, 3, 3), "x")
    start = kind(eps).random_start(x, draws)
    assert (kind(eps).distance(start, x) <= eps * (1 + 1e-5) + 1e-6).all()
    assert start.min() >= 0 and start.max() <= 1


def test_linf_start_is_uniform_in_the_cube() -> None:
    draws = Draws(0, 0, torch.arange(1000))
    x = torch.full((1000, 1, 3, 3), 0.5, dtype=torch.float64)
    share = (Linf(0.1).random_start(x, draws) - x).flatten() / 0.1
    assert stats.kstest(share, "uniform", (-1, 2)).pvalue > 1e-3


def test_l2_start_is_uniform_in_the_ball() -> None:
    """In d dimensions the share of the volume within radius r is (r/eps)^d, and the
    direction has no favourite: its first coordinate has mean 0 and variance 1/d."""
    draws, d = Draws(0, 0, torch.arange(4000)), 4
    x = torch.full((4000, 1, 2, 2), 0.5, dtype=torch.float64)
    delta = (L2(0.4).random_start(x, draws) - x).flatten(1)
    length = delta.norm(dim=1)
    assert stats.kstest((length / 0.4) ** d, "uniform").pvalue > 1e-3
    direction = delta / length[:, None]
    assert direction.mean(0).abs().max() < 0.03
    assert direction.var(0).tolist() == pytest.approx([1 / d] * d, abs=0.02)


@pytest.mark.parametrize("kind", KINDS)
def test_random_start_belongs_to_the_example(kind: type[Threat]) -> None:
    draws = Draws(5, 2, torch.arange(10))
    x = draws.uniform((3, 4, 4), "x")
    rows = torch.tensor([7, 3])
    part = kind(0.1).random_start(x[rows], draws.take(rows))
    assert torch.equal(part, kind(0.1).random_start(x, draws)[rows])


def test_steepest_known_directions() -> None:
    grad = torch.cat([picture(3.0, 0.0, -4.0), picture(0.0, 0.0, 0.0)])
    assert Linf(0.1).steepest(grad).flatten(1).tolist() == [[1, 0, -1], [0, 0, 0]]
    torch.testing.assert_close(
        L2(0.1).steepest(grad), torch.cat([picture(0.6, 0, -0.8), picture(0, 0, 0)])
    )


@pytest.mark.parametrize("size", [1e-44, 1e-38, 1e-25, 1e-6, 1.0, 1e25, 3e37])
def test_the_unit_step_survives_any_size_of_gradient(size: float) -> None:
    """An overconfident net has gradients whose squares vanish in float32."""
    grad = torch.tensor([3.0, -4.0]).mul(size).view(1, 1, 1, 2)
    step = L2(0.1).steepest(grad)
    assert step.norm().item() == pytest.approx(1, abs=1e-6)
    if size > 1e-38:  # below, the gradient itself has only a few bits
        torch.testing.assert_close(step, torch.tensor([0.6, -0.8]).view(1, 1, 1, 2))


@pytest.mark.parametrize("size", [0.01, 1.0, 300.0])
def test_unit_can_be_differentiated(size: float) -> None:
    """At (3, 4) and length 5: the first entry of the unit vector falls along (16, -12) / 125."""
    vectors = (size * torch.tensor([[3.0, 4.0]], dtype=torch.float64)).requires_grad_()
    (grad,) = torch.autograd.grad(unit(vectors)[0, 0], vectors)
    expected = torch.tensor([[16.0, -12.0]], dtype=torch.float64) / 125 / size
    torch.testing.assert_close(grad, expected)


def test_the_power_of_two_in_unit_changes_no_bit() -> None:
    """Its value is that of dividing by the norm, as before it was made safe."""
    vectors = Draws(0, 0, torch.arange(50)).normal((3, 8, 8), "v")
    vectors *= torch.logspace(-8, 8, 50).view(-1, 1, 1, 1)
    plain = vectors / vectors.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    assert torch.equal(unit(vectors), plain)


def test_distance_known_values() -> None:
    x, x_adv = picture(0.1, 0.2, 0.3), picture(0.4, 0.2, -0.1)
    assert Linf(1).distance(x_adv, x).item() == pytest.approx(0.4)
    assert L2(1).distance(x_adv, x).item() == pytest.approx(0.5)


@pytest.mark.parametrize("eps", [0.0, -1 / 255, math.nan, math.inf])
@pytest.mark.parametrize("kind", KINDS)
def test_an_impossible_radius_is_refused_in_one_line(kind: type[Threat], eps: float) -> None:
    with pytest.raises(ValueError, match=r"^eps must be a positive radius in pixels .*8/255.*$"):
        kind(eps)


def test_threat_by_name() -> None:
    assert threat_of("linf", 0.1) == Linf(0.1)
    assert threat_of("l2", 0.1) == L2(0.1)
    assert Linf(0.1) != L2(0.1)
    with pytest.raises(ValueError, match="norm must be one of linf, l2, not 'l3'"):
        threat_of("l3", 0.1)


def test_repr_is_the_setting() -> None:
    assert repr(Linf(8 / 255)) == "Linf(eps=8/255)"
    assert repr(L2(0.5)) == "L2(eps=0.5)"
    assert repr(L2(128 / 255)) == "L2(eps=128/255)"


def test_l2_length_and_direction_are_drawn_apart() -> None:
    draws = Draws(0, 0, torch.arange(4000))
    x = torch.full((4000, 1, 2, 2), 0.5, dtype=torch.float64)
    delta = (L2(0.4).random_start(x, draws) - x).flatten(1)
    length = delta.norm(dim=1)
    for share in (delta / length[:, None]).abs().T:
        assert abs(stats.pearsonr(length, share).statistic) < 0.05


def test_pinned_starts() -> None:
    """Moving one of these moves every reported robust accuracy a little."""
    draws, x = Draws(0, 0, torch.tensor([7])), torch.full((1, 1, 1, 3), 0.5)
    linf = Linf(0.1).random_start(x, draws).flatten().tolist()
    l2 = L2(0.4).random_start(x, draws).flatten().tolist()
    assert linf == pytest.approx([0.5276867, 0.4823229, 0.4520757], abs=1e-6)
    assert l2 == pytest.approx([0.6937625, 0.8162255, 0.3738706], abs=1e-6)
