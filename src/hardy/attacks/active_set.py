"""Attack only what still stands: restarts without attacking a broken example again.

An example is broken when it is misclassified at the last iterate of any restart (or has
been from the start). Since its random starts belong to the example and not to its place
in a batch, leaving out the broken ones changes nothing for the others: worst of n is exact,
and batches are refilled with what still stands.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from hardy.attacks.pgd import Attack
from hardy.data.loader import batches
from hardy.data.splits import Split
from hardy.modes import Forward


def still_standing(
    forward: Forward,
    attack: Attack,
    split: Split,
    standing: Tensor,
    *,
    restarts: int = 1,
    seed: int = 0,
    batch_size: int = 256,
    judge: Forward | None = None,
    on_batch: Callable[[int], None] = lambda _: None,
) -> Tensor:
    """Which of the examples that stand withstand every restart of an attack, bool (N,).

    forward: what the attack differentiates; judge: what decides whether an example is
    broken (None: the same; give the full-precision forward where the search runs in half
    precision). standing: bool (N,), False where an example is misclassified already.
    on_batch: called with the number of examples just attacked.
    """
    judge = forward if judge is None else judge
    standing = standing.clone()
    for restart in range(restarts):
        rows = standing.nonzero()[:, 0]
        done = 0
        for batch in batches(split.take(rows), batch_size, seed=seed):
            x_adv = attack(forward, batch.x, batch.y, replace(batch.draws, restart=restart))
            with torch.no_grad():
                withstood = judge(x_adv).argmax(1) == batch.y
            standing[rows[done : done + len(batch.y)]] = withstood
            done += len(batch.y)
            on_batch(len(batch.y))
    return standing
