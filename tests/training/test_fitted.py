"""Steps that memory is too small for, against runs that were started in smaller parts."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from fitting_cases import (
    CPU,
    Event,
    failing_later,
    loop_of,
    narrow,
    net,
    scarce_of,
    settings,
    split,
    together,
)
from torch import Tensor, nn

from hardy import memory
from hardy.attacks.pgd import PGD
from hardy.data.loader import Batch
from hardy.methods.pgd_at import PGDAT
from hardy.methods.protocol import Method, Nets
from hardy.methods.trades import TRADES
from hardy.methods.wrappers.awp import AWP
from hardy.threat import Linf
from hardy.training import fitted
from hardy.training.averaging import Averaging
from hardy.training.engine import Engine
from hardy.training.fitted import fitted_step
from hardy.training.loop import Loop, State, fit
from hardy.training.processes import in_processes, packed


@pytest.fixture(autouse=True)
def told(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said. Looking for cycles takes seconds among all that tests hold, and there are
    none here."""
    found: list[str] = []
    monkeypatch.setattr(fitted, "say", found.append)
    monkeypatch.setattr(memory.gc, "collect", lambda: None)
    return found


def trained(loop: Loop, steps: int = 2) -> State:
    """All that decides how it goes on, after some steps of an epoch."""
    torch.manual_seed(7)
    loop.nets.module.train()
    for step, batch in zip(range(steps), loop.batches(0), strict=False):
        fitted_step(loop, batch, step, 0.1)
    return loop.state(0)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """A state as one mapping from paths to tensors and numbers."""
    if isinstance(value, dict):
        return {k: v for key, one in value.items() for k, v in flat(one, f"{name}/{key}").items()}
    if isinstance(value, list | tuple):
        return flat(dict(enumerate(value)), name)
    return {name: value}


def assert_same(found: State, expected: State) -> None:
    mine, theirs = flat(found), flat(expected)
    assert mine.keys() == theirs.keys()
    for name, value in theirs.items():
        same = torch.equal(mine[name], value) if isinstance(value, Tensor) else mine[name] == value
        assert same, name


def events_of(method: Method, accumulate: int, steps: int = 1) -> list[Event]:
    """Every moment of the first steps at which memory may run out."""
    loop = loop_of(method, accumulate=accumulate)
    trained(loop, steps)
    return scarce_of(loop.nets.module).seen


MOMENTS = [
    (method, accumulate, number)
    for method, accumulate in ((AWP(TRADES(), gamma=0.05), 1), (AWP(PGDAT(), gamma=0.05), 2))
    for number in range(len(events_of(method, accumulate)))
]


@pytest.mark.parametrize(("method", "accumulate", "number"), MOMENTS)
def test_at_whatever_moment_nothing_is_left_of_the_step(
    method: Method, accumulate: int, number: int, told: list[str]
) -> None:
    """In the attack, while AWP looks for its perturbation, while it stands, between two parts:
    weights, momentum, statistics, dropout and the mean are those of a run that was started in
    twice as many parts."""
    average = Averaging("ema", 0.9, 0.0)
    loop = loop_of(method, accumulate=accumulate, average=average)
    scarce_of(loop.nets.module).fails_at = number
    expected = trained(loop_of(method, accumulate=2 * accumulate, average=average))
    assert_same(trained(loop), expected)
    (line,) = told
    assert f"ran out in step 1 with {6 // accumulate} pictures at once" in line
    assert f"as with --accumulate {2 * accumulate}" in line


def test_the_moments_are_all_there() -> None:
    """Two steps of the attack back to the pictures, AWP's pass and the outer one to the weights,
    both of the clean and the attacked pictures."""
    kinds = [event.kind for event in events_of(AWP(TRADES(), gamma=0.05), 1)]
    assert kinds.count("forward") == 1 + 2 + 2 + 2
    assert kinds.count("backward") == 2 + 2 + 2


def test_the_state_could_tell() -> None:
    """Dropout and BatchNorm make every number of parts another run."""
    one, two = (trained(loop_of(PGDAT(), accumulate=count)) for count in (1, 2))
    for name in ("0.weight", "1.running_mean", "5.weight"):
        assert not torch.equal(one["model"][name], two["model"][name])


@pytest.mark.parametrize("where", ["forward", "backward"])
def test_it_is_halved_as_often_as_need_be(where: str, told: list[str]) -> None:
    """Six pictures, room for two: parts of 6, of 3 and then of 1 and 2."""
    loop, expected = loop_of(PGDAT()), loop_of(PGDAT(), accumulate=4)
    narrow(loop, 2, where)
    assert_same(trained(loop), trained(expected))
    assert [line.partition(" with ")[2][:12] for line in told] == ["6 pictures a", "3 pictures a"]
    assert loop.accumulate == 4 and loop.settings.accumulate == 1


def test_a_step_in_the_middle_of_an_epoch_is_not_lost(told: list[str]) -> None:
    """It is as if the second step had been cut into two: the first stands."""
    loop, by_hand = loop_of(PGDAT()), loop_of(PGDAT())
    scarce_of(loop.nets.module).fails_at = len(events_of(PGDAT(), 1)) + 3

    torch.manual_seed(7)
    by_hand.nets.module.train()
    for step, batch in zip(range(3), by_hand.batches(0), strict=False):
        by_hand.accumulate = 1 if step == 0 else 2
        by_hand.step(batch, step, 0.1)
    assert_same(trained(loop, 3), by_hand.state(0))
    assert len(told) == 1 and "in step 2" in told[0]


def test_a_whole_epoch_by_the_loop_itself() -> None:
    found = []
    for most, accumulate in ((3, 1), (None, 2)):
        loop = loop_of(PGDAT(), accumulate=accumulate)
        narrow(loop, most)
        torch.manual_seed(3)
        loop.epoch(0)
        found.append(loop.state(1))
    assert_same(*found)


def test_what_went_on_in_parts_goes_on_in_parts_after_a_stop(told: list[str]) -> None:
    """The state knows of it, what was asked for does not: not one attempt more."""
    kept: list[State] = []

    def run(module: nn.Module, resume: State | None = None) -> nn.Module:
        torch.manual_seed(3)
        nets = Nets(module, module, module)
        keep: Any = lambda row, deployed, state: kept.append(copy.deepcopy(state()))  # noqa: E731
        attack = PGD(Linf(0.05), 2)
        given = (Engine(CPU), nets, PGDAT(), attack, split(), None, settings())
        return fit(*given, resume=resume, on_epoch=keep)["live"]

    module = net()
    scarce_of(module).most = 3
    whole = run(module)
    assert len(told) == 1 and kept[0]["accumulate"] == 2
    again = net()
    scarce_of(again).most = 3
    resumed = run(again, kept[0])
    assert len(told) == 1 and scarce_of(again).refused == 0
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_a_picture_that_does_not_fit_says_what_to_do() -> None:
    loop = loop_of(PGDAT())
    narrow(loop, 0)
    line = "a run: not even one picture at a time fits into the memory of cpu: take a smaller"
    with pytest.raises(ValueError, match=line):
        trained(loop)


def test_the_optimizer_is_not_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have moved some of the weights, and smaller parts would not help it."""
    loop, calls = loop_of(PGDAT()), []

    def full() -> None:
        calls.append(1)
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(loop.optimizer, "step", full)
    with pytest.raises(
        ValueError, match="the optimizer's step does not fit into the memory of cpu"
    ):
        trained(loop)
    assert calls == [1]


def test_another_error_is_an_error() -> None:
    @dataclass(frozen=True)
    class Wrong(PGDAT):
        calls: list[int] = field(default_factory=list)

        def adversary(self, nets: Nets, batch: Batch, attack: PGD) -> Tensor:
            self.calls.append(1)
            raise RuntimeError("shapes do not match")

    method = Wrong()
    with pytest.raises(RuntimeError, match="shapes"):
        trained(loop_of(method))
    assert method.calls == [1]


# Several processes


@pytest.fixture(scope="module")
def two() -> dict[str, Any]:
    return in_processes(packed(together, 2), 2)


@pytest.mark.slow
def test_processes_halve_together(two: dict[str, Any]) -> None:
    """Only the second is short of memory, before the first step; the weights are those of a run
    that was started so, and the rehearsal leaves no trace."""
    assert two["accumulate"] == [2, 2]
    for name, value in two["asked"].items():
        assert torch.equal(two["found"][name], value), name
        assert torch.equal(two["other"][name], value), name


@pytest.mark.slow
def test_a_process_that_fails_later_ends_the_run_and_none_waits() -> None:
    """A rehearsal and each step are two passes forward and back of the attack, and one of the
    outer loss."""
    line = r"ran out in step 3, though a rehearsed step had fitted, .* --resume .* --accumulate 2"
    with pytest.raises(ValueError, match=line):
        in_processes(packed(failing_later, 2, 3 * 6 + 4), 2)


@pytest.mark.slow
def test_a_picture_that_does_not_fit_is_said_in_all_processes(two: dict[str, Any]) -> None:
    assert all("not even one picture at a time" in said for said in two["hopeless"])
