"""Which rows make up each batch of a pass: seeded index arithmetic, without a picture."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hardy.data.splits import shuffled


@dataclass(frozen=True)
class Mix:
    """A split of two kinds of rows: the first `own` are the set's own, the others extra.

    fraction: the share of each batch that is extra. Raises ValueError where it does not
    lie between 0 and 1, or own is not positive.
    """

    own: int
    fraction: float

    def __post_init__(self) -> None:
        if not 0 < self.fraction < 1:
            raise ValueError(
                f"--extra-fraction must lie between 0 and 1, not {self.fraction:g}: "
                "leave the extra data out for 0"
            )
        if self.own < 1:
            raise ValueError(f"a mix needs pictures of the set's own, not {self.own}")

    def extra_per_batch(self, batch_size: int) -> int:
        """round(fraction · batch_size). Raises ValueError where a batch would lack one kind."""
        count = round(self.fraction * batch_size)
        if not 0 < count < batch_size:
            raise ValueError(
                f"--extra-fraction {self.fraction:g} makes {count} of a batch of {batch_size} "
                "extra, and each batch needs both kinds: take a larger --batch-size or a share "
                "nearer to one half"
            )
        return count


def batches_in(
    rows: int, batch_size: int, drop_last: bool, mix: Mix | None, part: tuple[int, int]
) -> int:
    """How many batches a pass over that many rows has. Raises ValueError, see `row_order`."""
    if batch_size < 1:
        raise ValueError(f"--batch-size must be at least 1, not {batch_size}")
    rank, world = part
    if not 0 <= rank < world:
        raise ValueError(f"part must be (rank, world) with 0 <= rank < world, not {part}")
    if batch_size % world:
        raise ValueError(
            f"batches of {batch_size} cannot be shared equally by {world} processes: "
            f"make --batch-size a multiple of {world}"
        )
    if mix is not None:
        if mix.own >= rows:
            raise ValueError(f"{mix.own} of {rows} pictures are the set's own: join extra ones")
        mix.extra_per_batch(batch_size)
        rows = mix.own
    elif world > 1 and rows < world:
        raise ValueError(
            f"{rows} pictures cannot be shared by {world} processes: "
            "start fewer processes or give more pictures"
        )
    whole, rest = divmod(rows, batch_size)
    if mix is None:
        rest -= rest % world
    return whole if rest == 0 or (drop_last and whole) else whole + 1


def row_order(
    rows: int,
    batch_size: int,
    device: torch.device,
    *,
    seed: int,
    epoch: int,
    shuffle: bool,
    drop_last: bool,
    mix: Mix | None,
    part: tuple[int, int],
) -> Sequence[Tensor]:
    """The rows of each batch of a pass, int64 (B,) on `device`.

    part: (rank, world); of each batch only the rank's piece of `world` equal ones is given.

    Without a mix: a permutation by (seed, epoch), cut. A last batch that is not whole gives
    up the rows that `world` cannot share equally.

    With one: as many batches as the own rows alone would make, all of them whole. Own and
    extra rows have their own permutations, and begin a fresh one where one is used up.
    Each contiguous part of a batch has the mix, to within one row.

    Raises ValueError where batch_size is not positive or no multiple of `world`, where
    there are fewer rows than processes, and where a batch would lack one kind.
    """
    count = batches_in(rows, batch_size, drop_last, mix, part)

    def permutation(size: int, stream: str) -> Tensor:
        return shuffled(size, seed, epoch, stream) if shuffle else torch.arange(size)

    if mix is None:
        whole = permutation(rows, "order").to(device).split(batch_size)[:count]
    else:
        whole = _mixed(rows, batch_size, count, mix, permutation).to(device).unbind()
    rank, world = part
    if world == 1:
        return whole
    return [each[rank * (len(each) // world) :][: len(each) // world] for each in whole]


def _mixed(
    rows: int, batch_size: int, count: int, mix: Mix, permutation: Callable[[int, str], Tensor]
) -> Tensor:
    """The rows of all batches, int64 (count, batch_size)."""
    extra = mix.extra_per_batch(batch_size)
    place = torch.arange(batch_size)
    # The steps of a line of this slope are as even as whole numbers can be, in every window.
    is_extra = (place + 1) * extra // batch_size > place * extra // batch_size
    found = torch.empty(count, batch_size, dtype=torch.int64)
    needed = count * (batch_size - extra)
    own = _cycled(mix.own, needed, "order", permutation)
    found[:, ~is_extra] = own.view(count, -1)
    others = _cycled(rows - mix.own, count * extra, "order/extra", permutation) + mix.own
    found[:, is_extra] = others.view(count, -1)
    return found


def _cycled(
    size: int, needed: int, stream: str, permutation: Callable[[int, str], Tensor]
) -> Tensor:
    """The first `needed` of range(size) in permutations, one after another."""
    streams = [stream, *(f"{stream}/{number}" for number in range(1, -(-needed // size)))]
    return torch.cat([permutation(size, each) for each in streams])[:needed]
