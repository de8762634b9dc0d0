"""Where a device's memory runs out: fewer pictures at once, and on from the same one.

    >>> halving = Halving()
    >>> for part, found in halving(batches(split, 256, seed=0), lambda batch: net(batch.x)):
    ...     ...                     # part: a batch as it came, or a piece of it, in their order

What belongs to each picture is the same in a smaller batch, but for rounding: kernels may add
up in another order there, and most so in half precision.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, Self, TypeVar

import torch
from torch import Tensor

from hardy.console import say

T = TypeVar("T")

# What else than torch.OutOfMemoryError is raised for want of memory, as a RuntimeError: by the
# allocators of the CPU and of Apple's GPUs, by the driver, and by its libraries.
_WORDS = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "MPS backend out of memory",
    "CUDA error: out of memory",
    "CUDNN_STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


class Cut(Protocol):
    """What can be cut: a `data.loader.Batch` is one. (A tensor's own `take` is something else.)"""

    def __len__(self) -> int: ...

    def take(self, rows: slice, /) -> Self: ...


B = TypeVar("B", bound=Cut | Tensor)


def ran_out(error: BaseException | None) -> bool:
    """Whether an error says that memory ran out, or came while one that did was handled."""
    while error is not None:
        if isinstance(error, torch.OutOfMemoryError):
            return True
        if isinstance(error, RuntimeError) and any(word in str(error) for word in _WORDS):
            return True
        error = error.__cause__ or error.__context__
    return False


def tried(work: Callable[[], T]) -> tuple[T] | None:
    """What the work gives; None where memory ran out, and then all that it held is free again."""
    try:
        return (work(),)
    except RuntimeError as error:
        if not ran_out(error):
            raise
    # Not before: the error held the frames of the work, and they all that it had made.
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    return None


@contextmanager
def must_fit(what: str, device: torch.device, otherwise: str = "") -> Iterator[None]:
    """Raises ValueError where the device's memory does not suffice for what is done inside."""
    try:
        yield
    except RuntimeError as error:
        if not ran_out(error):
            raise
        raise ValueError(
            f"{what} does not fit into the memory of {device}: {otherwise}take a smaller "
            "--batch-size"
        ) from None


class Halving:
    """Work done batch by batch, in halves of what memory was too small for. It remembers how many
    pictures fitted, for all that it is called with. A batch is a tensor, (B, …), or what has
    `take`."""

    def __init__(self) -> None:
        self.most: int | None = None

    def __call__(self, batches: Iterable[B], work: Callable[[B], T]) -> Iterator[tuple[B, T]]:
        """Each batch, or the pieces of it that fitted, with what the work gave. What the work
        had begun when memory ran out must leave no trace.

        Raises ValueError where one picture does not fit.
        """
        for batch in batches:
            done = 0
            while done < len(batch):
                left = len(batch) - done
                count = left if self.most is None else min(left, self.most)
                part = batch if count == len(batch) else _piece(batch, slice(done, done + count))
                found = tried(lambda part=part: work(part))
                if found is None:
                    self.most = halved(count)
                    continue
                yield part, found[0]
                done += count


def _piece(batch: Any, rows: slice) -> Any:
    return batch[rows] if isinstance(batch, Tensor) else batch.take(rows)


def halved(count: int) -> int:
    """How many pictures to go on with where so many at once did not fit; said once for each
    number. Raises ValueError where that was one."""
    if count == 1:
        raise ValueError(
            "one picture at a time does not fit into memory: take a smaller network, smaller "
            "pictures or another --device"
        )
    fewer = -(-count // 2)
    if count not in _told:
        _told.add(count)
        say(
            f"memory ran out with {count} pictures at once: {fewer} at once from here on, with the "
            "same results but for rounding; a smaller --batch-size saves the attempts"
        )
    return fewer


_told: set[int] = set()
