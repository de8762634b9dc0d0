"""Batches of a split that is held in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.data.splits import Split, shuffled
from hardy.draws import Draws


@dataclass(frozen=True)
class Batch:
    """Some examples: x float32 (B, C, H, W) in [0, 1], y int64 (B,), and their draws."""

    x: Tensor
    y: Tensor
    index: Tensor
    draws: Draws

    def __len__(self) -> int:
        return len(self.y)

    def take(self, rows: Tensor) -> Batch:
        """Some rows of the batch, with the same draws as in the whole."""
        return Batch(self.x[rows], self.y[rows], self.index[rows], self.draws.take(rows))


def batches(
    split: Split,
    batch_size: int,
    *,
    seed: int,
    epoch: int = 0,
    augment: Callable[[Tensor, Draws], Tensor] | None = None,
    shuffle: bool = False,
    drop_last: bool = False,
) -> Iterator[Batch]:
    """One pass over a split, on the device where it lies.

    The order is a permutation by (seed, epoch), the same on every device. A split of less
    than one batch keeps its part of a batch whatever drop_last says. Raises ValueError
    where batch_size is not positive.
    """
    count = batch_count(split, batch_size, drop_last)
    order = shuffled(len(split), seed, epoch, "order") if shuffle else torch.arange(len(split))
    rows = order.to(split.images.device).split(batch_size)[:count]
    return (_batch(split, each, seed, epoch, augment) for each in rows)


def batch_count(split: Split, batch_size: int, drop_last: bool = False) -> int:
    """How many batches a pass has."""
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, not {batch_size}")
    whole, rest = divmod(len(split), batch_size)
    return whole if rest == 0 or (drop_last and whole) else whole + 1


def _batch(
    split: Split,
    rows: Tensor,
    seed: int,
    epoch: int,
    augment: Callable[[Tensor, Draws], Tensor] | None,
) -> Batch:
    index = split.index[rows]
    draws = Draws(seed, epoch, index)
    x = split.pixels(rows)
    return Batch(x if augment is None else augment(x, draws), split.labels[rows], index, draws)
