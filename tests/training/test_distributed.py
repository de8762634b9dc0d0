"""Two processes (gloo) do what one does."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from distributed_cases import CPU, NAMES_AND_NETS, WRAPPINGS, Weights, all_cases, everything

from hardy.methods.find import names
from hardy.training.engine import Engine
from hardy.training.processes import in_processes, packed

pytestmark = pytest.mark.slow  # every method in every wrapping, twice


@pytest.fixture(scope="module")
def two() -> dict[str, Any]:
    return in_processes(packed(everything, 2), 2)


@pytest.fixture(scope="module")
def one() -> dict[Any, Weights]:
    torch.set_num_threads(1)
    return all_cases(Engine(CPU))


def assert_close(found: Weights, expected: Weights) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=1e-8)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize(("name", "kind"), NAMES_AND_NETS)
def test_the_weights_are_those_of_one_process(
    name: str, wrapping: str, kind: str, accumulate: int, one: Any, two: Any
) -> None:
    """Live and averaged, after three steps of the same eight pictures, which two processes cut
    into twice as many parts."""
    key = (name, wrapping, kind, accumulate)
    found, expected = two["weights"][key], one[(name, wrapping, kind, 2 * accumulate)]
    assert "average.head.weight" in found
    assert_close(found, expected)
    assert not torch.equal(found["live.head.weight"], found["average.head.weight"])
    # The bound could tell: accumulation or not is the same step too (but where each part is
    # halved), another wrapping is not.
    for parts in () if name == "twins" else (1, 2, 4):
        assert_close(found, one[(name, wrapping, kind, parts)])
    for other in set(WRAPPINGS) - {wrapping}:
        weight = one[(name, other, kind, accumulate)]["live.head.weight"]
        assert (found["live.head.weight"] - weight).abs().max() > 1e-6


def test_extra_data_are_shared_out_alike(one: Any, two: Any) -> None:
    assert_close(two["weights"]["extra data"], one["extra data"])


def test_probing_and_a_growing_radius_are_the_same_in_all(one: Any, two: Any) -> None:
    """No process waits for a gradient that another has dropped."""
    assert_close(two["weights"]["phases"], one["phases"])


def test_the_frozen_wing_keeps_its_statistics_in_every_process(two: Any) -> None:
    found = two["twins"]
    for kept in (*found["frozen"], found["average"]):
        assert torch.equal(kept, found["before"])
    mine, theirs = found["adaptive"]
    assert torch.equal(mine, theirs) and not torch.equal(mine, found["before"])
    assert all(torch.equal(deployed, mine) for deployed in found["deployed"])


def test_attacks_make_no_collective_call(two: Any) -> None:
    assert two["attacks"].keys() == {(name, w) for name in names() for w in WRAPPINGS}
    for name, (attack, through_wrapper, backward) in two["attacks"].items():
        assert attack == [] and through_wrapper == 0, name
        assert "allreduce_.default" in backward, "the calls of the outer loss are heard"


def test_gradients_are_exchanged_once_a_step(two: Any) -> None:
    found = two["accumulated"]
    assert found["calls 0"] == [] and "allreduce_.default" in found["calls 1"]
    mine, theirs = found["gradients 0"]
    assert not torch.allclose(mine, theirs), "each still has its own"
    for gradient in found["gradients 1"]:
        torch.testing.assert_close(gradient, found["whole"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("how", ["copied", "reestimated"])
def test_batchnorm_has_the_mean_of_the_statistics(how: str, two: Any) -> None:
    """In each of two epochs, first of the live network, then of the mean."""
    seen, at_end = two["statistics"][how]
    assert len(seen) == 4
    for i, (before, after) in enumerate(seen):
        live = i % 2 == 0
        differed = not torch.allclose(before[0], before[1])
        assert differed == (live or how == "reestimated"), "copies of the same are the same"
        for one in after:
            torch.testing.assert_close(one, (before[0] + before[1]) / 2, rtol=0, atol=1e-12)
    for of in ("live", "average"):
        mine, theirs = at_end[of]
        assert torch.equal(mine, theirs)
    same = torch.equal(at_end["live"][0], at_end["average"][0])
    assert same == (how == "copied")


def test_all_processes_end_at_the_same_step_of_the_same_error(two: Any) -> None:
    first, second = two["errors"]
    assert first is not None and "'kl' is not finite in step 2" in first
    assert second == first


def test_a_run_goes_on_only_with_as_many_processes(two: Any) -> None:
    assert two["resumed"] == (
        "the run was one of 1 processes, and cannot go on exactly with 2: start as many as before"
    )


def test_what_the_engine_exchanges(two: Any) -> None:
    assert [int(rank) for rank in two["gathered"]] == [0, 1]
    assert torch.equal(two["mean"][0], torch.tensor([1.5]))
    assert torch.equal(two["mean"][1], torch.ones(2, 2))
    assert two["first"] == "rank 0"
    assert two["engine"] == "2 processes on cpu"
