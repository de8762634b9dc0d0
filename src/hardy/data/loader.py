"""Batches of a split, in memory or streamed from disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.data.order import Mix, batches_in, row_order
from hardy.data.splits import Split, pixels_of
from hardy.data.streaming.stream import Streamed
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

    def take(self, rows: Tensor | slice) -> Batch:
        """Some rows of the batch, with the same draws as in the whole; of a slice, views."""
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
    mix: Mix | None = None,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """One pass over a split, on the device where it lies; of a streamed one the next batches are
    read while one is in use, until the iterator is closed.

    The order is a permutation by (seed, epoch), the same on every device. A split of less
    than one batch keeps its part of a batch whatever drop_last says.

    mix: the split is own and extra rows joined; every batch is whole and has its share of
    both, and there are as many as the own rows alone would make.

    part: (rank, world), this process among all; each batch is cut into `world` contiguous
    equal pieces, and batch_size counts all of them. The rest of a last batch that cannot
    be cut equally is dropped.

    Raises ValueError where batch_size is not positive or no multiple of `world`, where
    there are fewer rows than processes, and where a batch of a mix would lack one kind.
    """
    images = split.images
    order = row_order(
        len(split),
        batch_size,
        torch.device("cpu") if isinstance(images, Streamed) else split.device,
        seed=seed,
        epoch=epoch,
        shuffle=shuffle,
        drop_last=drop_last,
        mix=mix,
        part=part,
    )
    if isinstance(images, Streamed):
        return _streamed(split, images, order, seed, epoch, augment)
    return (_batch(split, rows, images[rows], seed, epoch, augment) for rows in order)


def _streamed(
    split: Split,
    images: Streamed,
    order: Sequence[Tensor],
    seed: int,
    epoch: int,
    augment: Callable[[Tensor, Draws], Tensor] | None,
) -> Iterator[Batch]:
    pictures = images.batches(order)
    try:
        for rows, here in zip(order, pictures, strict=True):
            where = rows.to(split.device, non_blocking=True)
            yield _batch(split, where, here, seed, epoch, augment)
    finally:
        pictures.close()


def batch_count(
    split: Split,
    batch_size: int,
    drop_last: bool = False,
    *,
    mix: Mix | None = None,
    part: tuple[int, int] = (0, 1),
) -> int:
    """How many batches a pass has, the same in every process. Raises ValueError as `batches`."""
    return batches_in(len(split), batch_size, drop_last, mix, part)


def _batch(
    split: Split,
    rows: Tensor,
    images: Tensor,
    seed: int,
    epoch: int,
    augment: Callable[[Tensor, Draws], Tensor] | None,
) -> Batch:
    index = split.index[rows]
    draws = Draws(seed, epoch, index)
    x = pixels_of(images)
    return Batch(x if augment is None else augment(x, draws), split.labels[rows], index, draws)
