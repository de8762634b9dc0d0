"""The active set: what brute force finds, without attacking a broken example again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain

import pytest
import torch
from torch import Tensor

from hardy.attacks.active_set import STANDS, WRONG, Progress, Stage, cascade
from hardy.attacks.pgd import PGD
from hardy.attacks.search import Attack, Found
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.draws import Draws
from hardy.modes import Forward
from hardy.threat import L2, Linf, Threat

N, RESTARTS = 40, 3


def rugged(x: Tensor) -> Tensor:
    """Many local maxima, row by row: where an attack ends depends on where it starts."""
    return torch.stack([(k * 20 * x + k).sin().flatten(1).sum(1) for k in (1, 2, 3)], 1)


def some_split() -> Split:
    """Pictures which `rugged` classifies rightly, all of them."""
    images = Draws(0, 0, torch.arange(N)).integers(256, (1, 4, 4), "images").to(torch.uint8)
    split = Split(images, torch.zeros(N), 1000 + torch.arange(N), "test")
    return replace(split, labels=rugged(split.pixels(slice(None))).argmax(1))


EVERYONE = torch.ones(N, dtype=torch.bool)


@dataclass
class Recorded:
    """An attack that notes which examples it was asked to attack."""

    attack: PGD
    asked: list[tuple[int, list[int]]] = field(default_factory=list)

    @property
    def threat(self) -> Threat:
        return self.attack.threat

    @property
    def setting(self) -> dict[str, str | float | int]:
        return self.attack.setting

    def search(
        self, forward: Forward, x: Tensor, y: Tensor, draws: Draws, judge: Forward | None = None
    ) -> Found:
        self.asked.append((draws.restart, draws.index.tolist()))
        return self.attack.search(forward, x, y, draws, judge)


def worst_of(attack: Attack, restarts: int = RESTARTS) -> list[Stage]:
    return [Stage("PGD", (attack,) * restarts)]


def brute_force(attack: PGD, split: Split, seed: int) -> list[Tensor]:
    """Of each restart, who withstands it, everyone attacked in one batch."""
    (batch,) = batches(split, N, seed=seed)
    verdicts = []
    for restart in range(RESTARTS):
        x_adv = attack(rugged, batch.x, batch.y, replace(batch.draws, restart=restart))
        verdicts.append(rugged(x_adv).argmax(1) == batch.y)
    return verdicts


@pytest.mark.parametrize("threat", [Linf(0.02), L2(0.05)], ids=repr)
@pytest.mark.parametrize("batch_size", [1, 7, 64])
def test_worst_of_three_is_that_of_brute_force(threat: Threat, batch_size: int) -> None:
    split, attack = some_split(), PGD(threat, steps=1, step_size=threat.eps / 4)
    verdicts = brute_force(attack, split, seed=4)
    worst = verdicts[0] & verdicts[1] & verdicts[2]
    assert 0 < worst.sum() < verdicts[0].sum() < N, "later restarts must matter here"
    found = cascade(rugged, worst_of(attack), split, EVERYONE, seed=4, batch_size=batch_size)
    assert torch.equal(found == STANDS, worst)


def test_what_broke_an_example_is_the_first_stage_that_did() -> None:
    """Weak, then strong: who withstands the first restart falls to the second stage or stands."""
    split, weak = some_split(), PGD(Linf(0.02), steps=1, step_size=0.005)
    strong = PGD(Linf(0.2), steps=1, step_size=0.1)
    stages = [Stage("weak", (weak,)), Stage("strong", (strong, strong))]
    first = brute_force(weak, split, seed=0)[0]
    later = brute_force(strong, split, seed=0)
    standing = EVERYONE.clone()
    standing[:5] = False
    by = cascade(rugged, stages, split, standing)
    expected = torch.where(first, torch.where(later[1] & later[2], STANDS, 1), 0)
    expected[:5] = WRONG
    assert torch.equal(by, expected)
    assert {0, 1, STANDS} <= set(expected.tolist()), "all three must occur here"


class Memory:
    """What is kept of a cascade, and an end to it after so many batches."""

    def __init__(self, stop_after: int) -> None:
        self.state: dict[str, Tensor] | None = None
        self.left = stop_after

    def load(self) -> dict[str, Tensor] | None:
        return self.state

    def save(self, state: dict[str, Tensor]) -> None:
        self.state = {name: value.clone() for name, value in state.items()}
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("batches_before", [1, 3, 5, 6, 7, 9])
def test_a_stop_after_any_batch_loses_nothing_and_repeats_nothing(batches_before: int) -> None:
    split, kept = some_split(), Memory(batches_before)
    whole, parts = (Recorded(PGD(Linf(0.02), steps=1, step_size=0.005)) for _ in range(2))
    expected = cascade(rugged, worst_of(whole), split, EVERYONE, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        cascade(rugged, worst_of(parts), split, EVERYONE, batch_size=8, kept=kept)
    found = cascade(rugged, worst_of(parts), split, EVERYONE, batch_size=8, kept=kept)
    assert torch.equal(found, expected)
    assert parts.asked == whole.asked, "the same batches, none twice"
    again = cascade(rugged, worst_of(parts), split, EVERYONE, batch_size=8, kept=kept)
    assert torch.equal(again, expected) and parts.asked == whole.asked


def test_the_broken_are_left_alone_and_batches_refilled() -> None:
    split, standing = some_split(), EVERYONE.clone()
    standing[::5] = False
    attack = Recorded(PGD(Linf(0.02), steps=1, step_size=0.005))
    told: list[Progress] = []
    by = cascade(rugged, worst_of(attack), split, standing, batch_size=8, on_batch=told.append)
    alive = standing
    for restart, verdict in enumerate(brute_force(attack.attack, split, seed=0)):
        parts = [index for r, index in attack.asked if r == restart]
        assert list(chain(*parts)) == split.index[alive].tolist(), "exactly those that still stand"
        assert all(len(part) == 8 for part in parts[:-1]), "all batches but the last are full"
        alive = alive & verdict
    assert [now.attacked for now in told] == [len(index) for _, index in attack.asked]
    assert [now.run - 1 for now in told] == [restart for restart, _ in attack.asked]
    assert told[-1].left == 0 and told[-1].standing == int((by == STANDS).sum())


def test_what_was_handed_in_is_not_changed_and_nobody_rises_again() -> None:
    split, attack = some_split(), Recorded(PGD(Linf(0.02)))
    assert (cascade(rugged, worst_of(attack), split, ~EVERYONE) == WRONG).all()
    assert not attack.asked
    standing = EVERYONE.clone()
    assert (cascade(rugged, worst_of(attack, 1), split, standing) == 0).any()
    assert standing.all()


def test_the_judge_decides_and_the_forward_only_searches() -> None:
    """A judge that calls everyone right breaks nobody, whatever the search found."""
    split = some_split()

    def gullible(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(split.labels, 3)

    attack = PGD(Linf(0.02), steps=1)
    stages = worst_of(attack, 1)
    assert (cascade(rugged, stages, split, EVERYONE, judge=gullible) == STANDS).all()
    assert (cascade(rugged, stages, split, EVERYONE) == 0).any()
