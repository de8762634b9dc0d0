"""Pictures that stay where they are until a batch asks for them.

`Streamed` stands in a `Split` where a tensor of all pictures stands otherwise, and gives the
same bytes. The batches of a pass are known beforehand, so threads decode a few of them ahead.

Threads, not processes: Pillow gives the interpreter's lock back while it decodes and resizes, a
thread starts in microseconds, shares what is in memory and leaves no process behind
(benchmarks/streaming.py holds both against each other).
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

AHEAD = 2  # batches that are decoded while one is in use
_PARTS = 2  # of a batch for each worker, so that none waits long for the slowest
_AT_ONCE = 1024  # pictures, where all of them are looked at
_MOST_WORKERS = 16


class Source(Protocol):
    """Where pictures come from; read by several threads at once."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of each picture: C, H, W."""
        ...

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the pictures of some rows, int64 (B,), into out, uint8 (B, C, H, W). Raises
        ValueError, naming the picture, for one that cannot be read."""
        ...

    def hashes(self) -> np.ndarray | None:
        """`hashes_of` all pictures, where they are known without reading them."""
        ...


@dataclass(frozen=True)
class Streamed:
    """Some rows of a source, in place of a tensor uint8 (N, C, H, W).

    rows: int64 (N,), on the CPU. device: where batches are delivered. workers: threads that
    decode; 0: the one that asks.
    """

    source: Source
    rows: Tensor
    device: torch.device
    workers: int

    @classmethod
    def whole(cls, source: Source, workers: int) -> Streamed:
        """All of a source, delivered on the CPU."""
        return cls(source, torch.arange(len(source)), torch.device("cpu"), workers)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> torch.Size:
        return torch.Size((len(self), *self.source.shape))

    @property
    def ndim(self) -> int:
        return 4

    @property
    def dtype(self) -> torch.dtype:
        return torch.uint8

    def take(self, rows: Tensor | slice) -> Streamed:
        """Some of the rows; nothing is read."""
        rows = rows.cpu() if isinstance(rows, Tensor) else rows
        return replace(self, rows=self.rows[rows])

    def to(self, device: torch.device | str) -> Streamed:
        """The same, delivered on another device."""
        return replace(self, device=torch.device(device))

    def __getitem__(self, rows: Tensor | slice) -> Tensor:
        """The pictures of some rows, uint8 (B, C, H, W)."""
        (found,) = self.batches([rows])
        return found

    def batches(self, order: Iterable[Tensor | slice]) -> Generator[Tensor, None, None]:
        """The pictures of one set of rows after another, uint8 (B, C, H, W) on the device, while
        the next ones are decoded. At most AHEAD + 1 batches are in memory. Closing the iterator
        stops the workers."""
        if not self.workers:
            for rows in order:
                part = self.take(rows).rows
                batch = self._empty(len(part))
                self.source.read(part.numpy(), batch.numpy())
                yield batch.to(self.device)
            return
        pool = ThreadPoolExecutor(self.workers, "hardy-decoder")
        try:
            waiting: deque[tuple[Tensor, list[Future[None]]]] = deque()
            for rows in order:
                waiting.append(self._begun(pool, self.take(rows).rows))
                if len(waiting) > AHEAD:
                    yield self._finished(*waiting.popleft())
            while waiting:
                yield self._finished(*waiting.popleft())
        finally:
            # Not waited for: what is being decoded at this moment ends by itself, and whoever
            # closes this may be one of the workers, collecting garbage.
            pool.shutdown(wait=False, cancel_futures=True)

    def _empty(self, count: int) -> Tensor:
        pinned = self.device.type == "cuda"
        return torch.empty(count, *self.source.shape, dtype=torch.uint8, pin_memory=pinned)

    def _begun(self, pool: ThreadPoolExecutor, rows: Tensor) -> tuple[Tensor, list[Future[None]]]:
        batch = self._empty(len(rows))
        size = max(1, -(-len(rows) // (_PARTS * self.workers)))
        parts = zip(rows.split(size), batch.split(size), strict=True)
        return batch, [
            pool.submit(self.source.read, some.numpy(), out.numpy())
            for some, out in parts
            if len(some)
        ]

    def _finished(self, batch: Tensor, parts: list[Future[None]]) -> Tensor:
        for part in parts:
            part.result()
        # Elsewhere than on CUDA nothing would wait for the copy to be whole.
        return batch.to(self.device, non_blocking=self.device.type == "cuda")


Images = Tensor | Streamed


def hashes_of(images: np.ndarray) -> np.ndarray:
    """64 bits of the bytes of each picture, int64 (N,): by chance a million meets ten thousand
    others less than once in a billion times."""
    digests = (hashlib.blake2b(np.ascontiguousarray(each).data, digest_size=8) for each in images)
    return np.frombuffer(b"".join(each.digest() for each in digests), "<i8").astype(np.int64)


def picture_hashes(images: Images) -> Tensor:
    """`hashes_of` the pictures on the CPU, the same whether they are in memory or not."""
    if isinstance(images, Tensor):
        return torch.from_numpy(hashes_of(images.cpu().numpy()))
    known = images.source.hashes()
    if known is not None:
        return torch.from_numpy(known)[images.rows]
    parts = torch.arange(len(images)).split(_AT_ONCE)
    found = [hashes_of(each.numpy()) for each in images.to("cpu").batches(parts)]
    return torch.from_numpy(np.concatenate([np.empty(0, np.int64), *found]))


def usual_workers(processes: int = 1) -> int:
    """A thread for each core that this process may use, shared by the processes of a run on this
    machine; at most 16."""
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    return max(1, min(_MOST_WORKERS, cores // processes))
