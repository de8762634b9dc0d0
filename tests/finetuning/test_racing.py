"""A race ends as the full measurement does: the same winners, to the bit, in fewer passes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from hardy.finetuning.ascents import Ascent, OfficialAscent
from hardy.finetuning.mrc import Criticality, Race, candidates, mrc
from hardy.finetuning.passes import Sample, WeightLoss
from hardy.models.mobilenetv2 import mobilenetv2
from hardy.models.preact_resnet import preact_resnet18
from hardy.models.resnet import resnet18
from hardy.models.small import mnist_cnn, small_resnet

Pictures = tuple[nn.Module, Tensor, Tensor, Tensor]


class Tokens(nn.Module):
    """Attention over four tokens of a picture."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(48, 16)
        self.block = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.0)
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.block(self.embed(x.reshape(len(x), -1, 48))).mean(1))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int]]] = {
    "small_resnet": (small_resnet, (1, 8, 8)),
    "mnist_cnn": (mnist_cnn, (1, 28, 28)),
    "resnet18": (lambda: resnet18(width=4), (3, 8, 8)),
    "preact_resnet18": (lambda: preact_resnet18(width=4), (3, 8, 8)),
    "mobilenetv2": (lambda: mobilenetv2(width=0.125), (3, 8, 8)),
    "attention": (Tokens, (3, 8, 8)),
}


def net_and_pictures(name: str, *, trained: bool = False) -> Pictures:
    """A network whose normalisation knows the pictures, so that signals live; trained, for a few
    steps, it also knows their labels."""
    torch.manual_seed(3)
    make, shape = NETS[name]
    model, x, y = make(), torch.rand(24, *shape), torch.randint(10, (24,))
    steps = torch.optim.SGD(model.parameters(), lr=0.05 if trained else 0.0, momentum=0.9)
    for _ in range(12):
        steps.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        steps.step()
    return model.eval(), x, (x + 0.05 * torch.randn_like(x)).clamp(0, 1), y


def passes(found: list[Criticality]) -> int:
    return sum(one.steps or 0 for one in found)


@pytest.mark.parametrize("trained", [False, True], ids=["random", "trained"])
@pytest.mark.parametrize("name", NETS)
def test_the_winners_are_those_of_the_full_measurement(name: str, trained: bool) -> None:
    pictures = net_and_pictures(name, trained=trained)
    full = list(mrc(*pictures, batch_size=16))
    by_name = {one.module: one for one in full}
    lowest = sorted(full, key=lambda one: one.mrc)
    for k in (1, 3):
        raced = list(mrc(*pictures, batch_size=16, racing=k))
        assert sorted(one.module for one in raced) == sorted(by_name)
        assert sorted(raced, key=lambda one: one.mrc)[:k] == lowest[:k]
        for one in raced:
            whole = by_name[one.module]
            assert one.position == whole.position and one.clean_potential == whole.clean_potential
            if one.complete:
                assert one == whole and one.steps == 10
            else:
                assert lowest[k - 1].mrc < one.mrc <= whole.mrc
                assert one.steps is not None and 1 <= one.steps < 10
        assert passes(raced) < passes(full)


def test_the_official_procedure_races_by_epochs() -> None:
    pictures = net_and_pictures("small_resnet", trained=True)
    ascent = OfficialAscent(epochs=4, minibatch=8, lr=0.1)
    full = sorted(mrc(*pictures, ascent=ascent), key=lambda one: one.mrc)
    raced = sorted(mrc(*pictures, ascent=ascent, racing=2), key=lambda one: one.mrc)
    assert raced[:2] == full[:2] and passes(raced) < passes(full)


def test_a_race_in_bf16_gives_bounds_in_full_precision() -> None:
    """What was seen above the mark was seen in float32: its bound is no rounding of the search."""
    model, x, x_adv, y = net_and_pictures("resnet18", trained=True)
    raced = list(mrc(model, x, x_adv, y, precision="bf16", racing=2))
    mark = sorted(one.mrc for one in raced if one.complete)[1]
    dropped = [one for one in raced if not one.complete]
    assert dropped and all(one.mrc > mark for one in dropped)
    full = {one.module: one.mrc for one in mrc(model, x, x_adv, y, precision="bf16")}
    assert all(one.mrc == full[one.module] for one in raced if one.complete)


def test_a_race_that_was_stopped_goes_on_as_it_was() -> None:
    pictures = net_and_pictures("resnet18", trained=True)
    whole = list(mrc(*pictures, racing=2))
    for stop in (1, 2, 5):
        assert whole[:stop] + list(mrc(*pictures, racing=2, done=whole[:stop])) == whole


def finished(value: float) -> Criticality:
    return Criticality("m", value, (value, value), 0.0, 1, 0.0, 0.0)


def test_enough_is_the_highest_of_the_lowest_finished_values() -> None:
    race = Race(2)
    assert race.enough == math.inf
    race.see(finished(0.5))
    assert race.enough == math.inf
    race.see(dataclasses.replace(finished(0.1), complete=False))  # a bound says nothing here
    assert race.enough == math.inf
    race.see(finished(0.3))
    assert race.enough == 0.5
    race.see(finished(0.4))
    assert race.enough == 0.4
    race.see(finished(0.9))
    assert race.enough == 0.4
    assert Race(None, [finished(0.1)]).enough == math.inf
    with pytest.raises(ValueError, match="one module at least, not 0"):
        Race(0)


def test_those_of_the_least_first_order_rise_come_first() -> None:
    one = torch.ones(4)
    weights = {"a": one, "b": 2 * one, "c": one, "d": one}
    gradients = {n: (one, g * one) for n, g in {"a": 5.0, "b": 1.0, "c": 3.0, "d": 1.0}.items()}
    assert Race(None).order("abcd", weights, gradients) == list("abcd")
    # Norms of gradient times weight: 20, 8, 12, 4.
    assert Race(2).order("abcd", weights, gradients) == list("bdac")
    assert Race(1).order("abcd", weights, gradients) == list("dabc")


def test_a_gradient_that_the_end_makes_needless_is_not_taken() -> None:
    """Losses 1, 2, 4, 8 … after each step, of a weight of norm 2 whose gradient has norm 6: to
    first order a step of 0.1 of the weight's norm brings 0.2 * 6 = 1.2."""
    asked: list[bool] = []

    class Doubling(WeightLoss):
        step, at = 0, torch.empty(0)

        def __call__(
            self, value: Tensor, *, gradient: bool = False, rows: Tensor | None = None
        ) -> Sample:
            moved = not asked or not torch.equal(value, Doubling.at)
            Doubling.at, Doubling.step = value.clone(), Doubling.step + moved
            asked.append(gradient)
            gradients = (3 * torch.ones(4),) if gradient else ()
            loss = torch.tensor([2.0 ** (Doubling.step - 1)])
            return Sample(loss, torch.tensor([True]), gradients)

    weight, nothing = nn.Parameter(torch.ones(4)), torch.zeros(1)
    start = Sample(nothing, torch.tensor([True]))

    def climb(enough: float) -> tuple[int, bool]:
        asked.clear()
        Doubling.step = 0
        loss = Doubling("w", weight, lambda rows: nothing, nothing, 1)
        found = Ascent(radius=9, steps=6, step=0.1).run(loss, start, 3 * torch.ones(4), enough)
        return found.steps, found.complete

    assert climb(math.inf) == (6, True) and asked == [True] * 5 + [False]
    # 0 + 1.2 is above 0.9 and so is the loss: one pass forward was enough.
    assert climb(0.9) == (1, False) and asked == [False]
    # 2 + 1.2 is above 3, and 4 ends it.
    assert climb(3) == (3, False) and asked == [True, True, False]
    # 4 + 1.2 is above 5, and 8 ends it; 0 + 1.2 is above 1.1 and 1 is not: once more with the
    # gradient, and no further guess.
    assert climb(5) == (4, False) and asked == [True, True, True, False]
    assert climb(1.1) == (2, False) and asked == [False, True, True]
    assert climb(31) == (6, True)


def test_kept_values_of_an_older_version_are_complete() -> None:
    kept = dataclasses.asdict(finished(0.2))
    for name in ("complete", "steps", "position"):
        del kept[name]
    assert Criticality(**kept).complete


def test_a_race_for_all_is_the_full_measurement() -> None:
    pictures = net_and_pictures("small_resnet")
    everything = len(candidates(pictures[0]))
    full = list(mrc(*pictures, ascent=Ascent(steps=3)))
    assert list(mrc(*pictures, ascent=Ascent(steps=3), racing=everything)) == full
