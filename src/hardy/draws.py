"""Random numbers that belong to an example, not to its place in a batch.

`Draws(seed, epoch, index).uniform(shape, 'start')` depends on nothing but its
arguments: one process and several, the whole batch and the part of it that still
stands, two nets compared on one attack all see the same numbers.

The generator is a counter-based hash on integers below 2**63 (two rounds of a 32-bit
finaliser whose constants are products of public search, bias below 0.11), so it gives
the same bits on every device and runs without a host round trip.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_GOLDEN = 0x9E3779B9


def _mix(word: Tensor) -> Tensor:
    """Spread every bit of 32-bit words held in int64; in place, no step leaves int64."""
    word ^= word >> 16
    word *= 0x21F0AAAD
    word &= _WORD
    word ^= word >> 15
    word *= 0x735A2D97
    word &= _WORD
    word ^= word >> 15
    return word


@dataclass(frozen=True)
class Draws:
    """The random numbers of one pass over some examples.

    index: int64 (B,), each example's identity in its data set. `seed` and `epoch` may be
    any integers; `restart` separates the starts of repeated attacks.
    """

    seed: int
    epoch: int
    index: Tensor
    restart: int = 0

    def take(self, rows: Tensor | slice) -> Draws:
        """The draws of some rows of the batch: the same numbers as in the whole batch."""
        return replace(self, index=self.index[rows])

    def bits(self, shape: Sequence[int], stream: str) -> Tensor:
        """Uniform 32-bit words, int64 (B, *shape). Streams of other names are independent."""
        count = math.prod(shape)
        device = self.index.device
        salt = zlib.crc32(f"{self.seed}/{self.epoch}/{self.restart}/{stream}".encode())
        low = _mix((self.index & _WORD) ^ salt)
        high = _mix((low + (self.index >> 32) + _GOLDEN) & _WORD)
        counter = _mix(torch.arange(1, count + 1, device=device) * _GOLDEN & _WORD)
        words = _mix(counter[None] ^ low[:, None])
        words += high[:, None]
        words &= _WORD
        return _mix(words).reshape(-1, *shape)

    def uniform(
        self, shape: Sequence[int], stream: str, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Uniform in the open interval (0, 1), (B, *shape)."""
        # 23 bits leave the midpoints exact in float32, so 0 and 1 themselves never occur.
        return ((self.bits(shape, stream) >> 9).to(dtype) + 0.5) / 2**23

    def normal(
        self, shape: Sequence[int], stream: str, dtype: torch.dtype = torch.float32
    ) -> Tensor:
        """Standard normal, (B, *shape), by Box and Muller's transform."""
        radius = self.uniform(shape, stream + "/radius", dtype).log().mul(-2).sqrt()
        angle = self.uniform(shape, stream + "/angle", dtype).mul(2 * math.pi)
        return radius * angle.cos()

    def integers(self, high: int, shape: Sequence[int], stream: str) -> Tensor:
        """Integers in [0, high), int64 (B, *shape)."""
        return (self.bits(shape, stream) * high) >> 32
