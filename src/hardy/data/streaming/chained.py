"""Streamed pictures beside others: those of one set after those of another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from hardy.data.streaming.stream import Images, Streamed, hashes_of


@dataclass(frozen=True)
class Held:
    """Pictures in memory as a source: uint8 (N, C, H, W), on the CPU."""

    images: Tensor

    @property
    def shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.images.shape
        return channels, height, width

    def __len__(self) -> int:
        return len(self.images)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the pictures of some rows into out."""
        np.take(self.images.numpy(), rows, axis=0, out=out)

    def hashes(self) -> np.ndarray | None:
        """Of all pictures, found anew each time."""
        return hashes_of(self.images.numpy())


@dataclass(frozen=True)
class Chained:
    """The pictures of one after those of another, of one shape."""

    first: Streamed
    second: Streamed

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.first.source.shape

    def __len__(self) -> int:
        return len(self.first) + len(self.second)

    def read(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Write the pictures of some rows into out."""
        for part, at in ((self.first, 0), (self.second, len(self.first))):
            mine = ((rows >= at) & (rows < at + len(part))).nonzero()[0]
            found = np.empty((len(mine), *self.shape), np.uint8)
            part.source.read(part.rows.numpy()[rows[mine] - at], found)
            out[mine] = found

    def hashes(self) -> np.ndarray | None:
        """Of both, where both are known."""
        found = [part.source.hashes() for part in (self.first, self.second)]
        if found[0] is None or found[1] is None:
            return None
        return np.concatenate([found[0][self.first.rows], found[1][self.second.rows]])


def chained(first: Images, second: Images) -> Images:
    """The rows of one, then those of the other, delivered where the first are; lazily where
    either is streamed."""
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return torch.cat([first, second.to(first.device)])
    workers = max(each.workers for each in (first, second) if isinstance(each, Streamed))
    parts = [
        Streamed.whole(Held(each.cpu()), workers) if isinstance(each, Tensor) else each
        for each in (first, second)
    ]
    return Streamed.whole(Chained(*parts), workers).to(first.device)
