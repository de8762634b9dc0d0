"""Learning-rate factors at known steps."""

from __future__ import annotations

import pytest

from hardy.training.schedule import KINDS, factor


@pytest.mark.parametrize(
    ("epoch", "expected"), [(0, 1), (99, 1), (100, 0.1), (149, 0.1), (150, 0.01), (199, 0.01)]
)
def test_multistep_without_milestones_is_that_of_rice(epoch: int, expected: float) -> None:
    """A tenth at half and at three quarters, from the first to the last step of an epoch."""
    for step in (epoch * 10, epoch * 10 + 9):
        assert factor("multistep", step, 10, 200) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("step", "expected"), [(0, 1), (199, 1), (200, 0.1), (209, 0.1), (210, 0.01)]
)
def test_multistep_with_milestones(step: int, expected: float) -> None:
    assert factor("multistep", step, 2, 110, (100, 105)) == pytest.approx(expected)


def test_multistep_spares_the_first_epoch() -> None:
    """Half of one epoch, rounded down, would be its very first step."""
    assert [factor("multistep", step, 4, 1) for step in range(4)] == [1, 1, 1, 1]
    assert [factor("multistep", step * 4, 4, 3) for step in range(3)] == pytest.approx(
        [1, 0.1, 0.01]
    )
    assert factor("multistep", 0, 4, 5, (0,)) == pytest.approx(0.1), "unless one asks for it"


def test_cosine_known_values() -> None:
    found = [factor("cosine", step, 4, 3) for step in (0, 3, 4, 6, 8, 12)]
    assert found == pytest.approx([1, (1 + 2**-0.5) / 2, 0.75, 0.5, 0.25, 0], abs=1e-12)


def test_triangular_is_highest_in_the_middle() -> None:
    """Wong et al. 2020: torch's CyclicLR with both halves as long, stepped after each batch."""
    found = [factor("triangular", step, 4, 2) for step in range(9)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.75, 1, 0.75, 0.5, 0.25, 0])


def test_onecycle_climbs_for_two_fifths_and_falls_to_zero() -> None:
    found = [factor("onecycle", step, 10, 1) for step in range(10)]
    up = [0.05 / 0.4, 0.15 / 0.4, 0.25 / 0.4, 0.35 / 0.4]
    down = [(1 - middle / 100) / 0.6 for middle in (45, 55, 65, 75, 85, 95)]
    assert found == pytest.approx(up + down)
    fine = [factor("onecycle", step, 10_000, 1) for step in (0, 4_000, 9_999)]
    assert fine == pytest.approx([0, 1, 0], abs=2e-4)


def test_constant_is_one() -> None:
    assert {factor("constant", step, 3, 2) for step in range(6)} == {1.0}


@pytest.mark.parametrize("kind", KINDS)
def test_every_factor_is_in_0_1(kind: str) -> None:
    assert all(0 <= factor(kind, step, 7, 5) <= 1 for step in range(35))


def test_an_unknown_kind_names_those_that_there_are() -> None:
    with pytest.raises(
        ValueError, match="one of constant, multistep, cosine, onecycle, triangular, not 'st'"
    ):
        factor("st", 0, 1, 1)
