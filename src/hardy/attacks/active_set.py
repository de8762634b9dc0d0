"""Attack only what still stands: stages, targets and restarts without a broken example twice.

A stage is a named list of runs (targets, restarts); an example is broken by the first run that
finds an adversarial example of it. Since its random numbers belong to the example and not to
its place in a batch, leaving out the broken ones changes nothing for the others: worst of n is
exact, and every run's batches are refilled with what still stands.

    >>> stages = [Stage("PGD-10", (PGD(Linf(8 / 255)),) * 3)]      # worst of three restarts
    >>> robust = cascade(model, stages, split, right) == STANDS
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from hardy.attacks.search import Attack, Found
from hardy.data.loader import Batch, batches
from hardy.data.splits import Split
from hardy.memory import Halving
from hardy.modes import Forward

STANDS, WRONG = -1, -2


@dataclass(frozen=True)
class Stage:
    """Attacks by one name, run one after the other."""

    name: str
    runs: tuple[Attack, ...]


@dataclass(frozen=True)
class Progress:
    """Where a cascade is: run `run` of `runs` of a stage, `attacked` examples since the last
    word, `left` to attack at most, and how many of all the examples stand."""

    stage: str
    run: int
    runs: int
    attacked: int
    left: int
    standing: int


class Kept(Protocol):
    """Where a cascade keeps how far it is, so that a stop loses one batch at most."""

    def load(self) -> dict[str, Tensor] | None: ...

    def save(self, state: dict[str, Tensor]) -> None: ...


def cascade(
    forward: Forward,
    stages: Sequence[Stage],
    split: Split,
    standing: Tensor,
    *,
    seed: int = 0,
    batch_size: int = 256,
    judge: Forward | None = None,
    on_batch: Callable[[Progress], None] = lambda _: None,
    kept: Kept | None = None,
) -> Tensor:
    """What broke each example, int64 (N,): the number of the stage, STANDS for those that
    withstood all, WRONG where `standing` (bool, (N,)) was False from the start.

    forward: what the attacks differentiate; judge: what decides whether an example is broken
    (None: the same; give the full-precision forward where the search runs in half precision).
    kept: goes on where an earlier call with the same arguments was stopped, to the same bits.
    Where memory runs out a batch is cut (see `hardy.memory`): the same verdicts, but for rounding.
    """
    halving = Halving()
    by = torch.where(standing, STANDS, WRONG)
    runs = [(n, i, run) for n, stage in enumerate(stages) for i, run in enumerate(stage.runs)]
    first, rows, done = 0, by[:0], 0
    if kept is not None and (state := kept.load()) is not None:
        by, rows = (state[name].to(by.device) for name in ("by", "rows"))
        first, done = state["at"].tolist()
    for number, (n, i, attack) in enumerate(runs):
        if number < first:
            continue
        if number > first or not done:
            rows, done = (by == STANDS).nonzero()[:, 0], 0

        def search(batch: Batch, attack: Attack = attack, number: int = number) -> Found:
            # Other runs draw other numbers, whatever stage they belong to.
            draws = replace(batch.draws, restart=number)
            return attack.search(forward, batch.x, batch.y, draws, judge)

        queue = batches(split.take(rows[done:]), batch_size, seed=seed)
        for batch, found in halving(queue, search):
            here = rows[done : done + len(batch)]
            by[here] = torch.where(found.broken, n, by[here])
            done += len(batch)
            if kept is not None:
                at = torch.tensor([number, done])
                kept.save({"by": by, "rows": rows, "at": at})
            standing_now = int((by == STANDS).sum())
            left = len(rows) - done + (len(runs) - number - 1) * standing_now
            stage = stages[n]
            on_batch(Progress(stage.name, i + 1, len(stage.runs), len(batch), left, standing_now))
    return by
