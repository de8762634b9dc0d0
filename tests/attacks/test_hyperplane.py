"""Projections onto a hyperplane in the box against linear and quadratic programs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize
from torch import Tensor

from hardy.attacks.hyperplane import shift_onto
from hardy.threat import L2, Linf, Threat

THREATS = [Linf(0.1), L2(0.1)]
# Corners, an inner point and coordinates without weight turn up often.
pixel = st.sampled_from([0.0, 0.25, 1.0]) | st.floats(0, 1)
weight = st.sampled_from([0.0, 1.0, -2.0]) | st.floats(0.01, 3) | st.floats(-3, -0.01)


def shifted(threat: Threat, x: list[float], normal: list[float], excess: float) -> Tensor:
    """The shift of one point, as a vector."""
    point, plane, above = (torch.tensor(v, dtype=torch.float64) for v in (x, normal, [[excess]]))
    wide = (1, 1, 1, len(x))
    return shift_onto(threat, point.view(1, *wide), plane.view(wide), above).flatten()


@given(
    st.lists(st.tuples(pixel, weight), min_size=1, max_size=6),
    st.floats(-0.98, 0.98),
    st.sampled_from(THREATS),
)
@settings(max_examples=150, deadline=None)
def test_no_shorter_shift_reaches_the_plane(
    coordinates: list[tuple[float, float]], share: float, threat: Threat
) -> None:
    """Its length is the optimum of the linear or of the quadratic program, and it arrives."""
    x, w = np.array(coordinates).T
    toward = np.where(w * share > 0, x, 1 - x)  # w and excess of one sign: downwards
    excess = share * float(np.abs(w) @ toward)
    delta = shifted(threat, list(x), list(w), excess).numpy()
    assert w @ delta == pytest.approx(-excess, abs=1e-9)
    assert (x + delta).min() >= -1e-12 and (x + delta).max() <= 1 + 1e-12
    assert (delta[w == 0] == 0).all()
    if isinstance(threat, Linf):
        # The solver meets its constraints to 1e-7 only.
        assert np.abs(delta).max() == pytest.approx(shortest_linf(x, w, excess), abs=5e-7)
    else:
        assert is_shortest_l2(x, w, delta)


def shortest_linf(x: np.ndarray, w: np.ndarray, excess: float) -> float:
    """min r subject to w·d = -excess, -r <= d <= r, 0 <= x + d <= 1."""
    n, scale = len(x), max(np.abs(w).max(), 1e-300)
    identity, ones = np.eye(n), np.ones((n, 1))
    found = linprog(
        [0] * n + [1],
        A_ub=np.block([[identity, -ones], [-identity, -ones]]),
        b_ub=np.zeros(2 * n),
        A_eq=[[*(w / scale), 0]],
        b_eq=[-excess / scale],
        bounds=[(-p, 1 - p) for p in x] + [(0, None)],
    )
    assert found.status == 0
    return found.fun


def is_shortest_l2(x: np.ndarray, w: np.ndarray, delta: np.ndarray) -> bool:
    """Kuhn and Tucker's conditions: delta = lambda w where free, short of lambda w at a wall."""
    free = (w != 0) & (x + delta > 1e-9) & (x + delta < 1 - 1e-9)
    ratio = np.divide(delta, w, out=np.zeros_like(w), where=w != 0)
    if not free.any():
        return True  # a corner: the only point of the box that reaches the plane
    slope = ratio[free][0]
    walled = (w != 0) & ~free
    return bool(
        np.allclose(ratio[free], slope, atol=1e-7)
        and (np.abs(ratio[walled]) <= abs(slope) + 1e-7).all()
    )


def test_a_quadratic_program_agrees() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        x, w = rng.random(5), rng.normal(size=5)
        excess = 0.4 * float(np.abs(w) @ np.where(w > 0, x, 1 - x))
        found = minimize(
            lambda d: d @ d,
            np.zeros(5),
            jac=lambda d: 2 * d,
            bounds=list(zip(-x, 1 - x, strict=True)),
            constraints={"type": "eq", "fun": lambda d, w=w, e=excess: w @ d + e},
            method="SLSQP",
            options={"ftol": 1e-10},
        )
        assert found.success
        np.testing.assert_allclose(shifted(L2(1), list(x), list(w), excess), found.x, atol=1e-5)


def test_by_hand() -> None:
    """Down by 1.2 with weights (1, 1, 2): Linf .3 each. From (.1, 1, 1) the first stops at its
    wall and the others share 1.1; in L2 they do so in the ratio 1 to 2."""
    ones = [1.0, 1.0, 1.0]
    weights = [1.0, 1.0, 2.0]
    near = [0.1, 1.0, 1.0]
    expect = {
        (Linf, 0): [-0.3, -0.3, -0.3],
        (L2, 0): [-0.2, -0.2, -0.4],
        (Linf, 1): [-0.1, -1.1 / 3, -1.1 / 3],
        (L2, 1): [-0.1, -0.22, -0.44],
    }
    for (kind, case), delta in expect.items():
        found = shifted(kind(1), [ones, near][case], weights, 1.2)
        torch.testing.assert_close(found, torch.tensor(delta, dtype=torch.float64))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_out_of_reach_is_the_corner(threat: Threat) -> None:
    found = shifted(threat, [0.25, 0.5, 0.75, 0.5], [1.0, -2.0, 0.0, 1e-3], 99.0)
    torch.testing.assert_close(found, torch.tensor([-0.25, 0.5, 0, -0.5], dtype=torch.float64))


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_on_the_plane_and_without_weights_nothing_moves(threat: Threat) -> None:
    assert shifted(threat, [0.2, 0.0, 1.0], [1.0, -1.0, 3.0], 0.0).abs().max() == 0
    assert shifted(threat, [0.2, 0.0, 1.0], [0.0, 0.0, 0.0], 1.0).abs().max() == 0
    # A wall on the way: the point at it cannot move, the other one does it all.
    torch.testing.assert_close(
        shifted(threat, [0.0, 0.5], [1.0, 1.0], 0.3), torch.tensor([0, -0.3], dtype=torch.float64)
    )


@pytest.mark.parametrize("threat", THREATS, ids=repr)
def test_single_precision_and_tiny_normals(threat: Threat) -> None:
    """3,072 coordinates, half of them weighing next to nothing: 1e-6 of the double's result."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(2, 7, 3, 32, 32, generator=generator)
    normal = torch.randn(7, 3, 32, 32, generator=generator)
    normal[:, :, ::2] *= 1e-15
    normal *= 1e-20
    excess = 0.1 * normal.flatten(1).abs().sum(1) * torch.tensor([[1.0], [-1.0]])
    exact = shift_onto(threat, x.double(), normal.double(), excess.double())
    found = shift_onto(threat, x, normal, excess)
    torch.testing.assert_close(found.double(), exact, rtol=1e-5, atol=1e-6)
    gained = (normal.double() * exact).flatten(2).sum(2)
    torch.testing.assert_close(gained, -excess.double(), rtol=1e-9, atol=0)


def test_points_of_a_plane_do_not_know_each_other() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(2, 5, 1, 3, 4, generator=generator).double()
    normal = torch.randn(5, 1, 3, 4, generator=generator).double()
    excess = torch.randn(2, 5, generator=generator).double()
    whole = shift_onto(Linf(1), x, normal, excess)
    part = shift_onto(Linf(1), x[1:, 3:], normal[3:], excess[1:, 3:])
    torch.testing.assert_close(part, whole[1:, 3:], rtol=0, atol=1e-12)
