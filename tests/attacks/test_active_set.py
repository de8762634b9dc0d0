"""The active set: what brute force finds, without attacking a broken example again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import chain

import pytest
import torch
from torch import Tensor

from hardy.attacks.active_set import still_standing
from hardy.attacks.pgd import PGD
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

    def __call__(self, forward: Forward, x: Tensor, y: Tensor, draws: Draws) -> Tensor:
        self.asked.append((draws.restart, draws.index.tolist()))
        return self.attack(forward, x, y, draws)


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
    found = still_standing(
        rugged,
        attack,
        split,
        EVERYONE,
        restarts=RESTARTS,
        seed=4,
        batch_size=batch_size,
    )
    assert torch.equal(found, worst)


def test_the_broken_are_left_alone_and_batches_refilled() -> None:
    split, standing = some_split(), EVERYONE.clone()
    standing[::5] = False
    attack, counts = Recorded(PGD(Linf(0.02), steps=1, step_size=0.005)), []
    still_standing(
        rugged,
        attack,
        split,
        standing,
        restarts=RESTARTS,
        batch_size=8,
        on_batch=counts.append,
    )
    alive = standing
    for restart, verdict in enumerate(brute_force(attack.attack, split, seed=0)):
        parts = [index for r, index in attack.asked if r == restart]
        assert list(chain(*parts)) == split.index[alive].tolist(), "exactly those that still stand"
        assert all(len(part) == 8 for part in parts[:-1]), "all batches but the last are full"
        alive = alive & verdict
    assert counts == [len(index) for _, index in attack.asked]


def test_what_was_handed_in_is_not_changed_and_nobody_rises_again() -> None:
    split, attack = some_split(), Recorded(PGD(Linf(0.02)))
    assert not still_standing(rugged, attack, split, ~EVERYONE, restarts=2).any()
    assert not attack.asked
    standing = EVERYONE.clone()
    assert not still_standing(rugged, attack, split, standing).all()
    assert standing.all()


def test_the_judge_decides_and_the_forward_only_searches() -> None:
    """A judge that calls everyone right breaks nobody, whatever the search found."""
    split = some_split()

    def gullible(x: Tensor) -> Tensor:
        return torch.nn.functional.one_hot(split.labels, 3)

    attack = PGD(Linf(0.02), steps=1)
    assert still_standing(rugged, attack, split, EVERYONE, judge=gullible).all()
    assert not still_standing(rugged, attack, split, EVERYONE).all()
