"""What a file holds before anything is cut, shuffled or moved: the loaders' common answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from hardy.data.streaming.stream import Streamed

_AT_ONCE = 256  # pictures, where streamed ones are hashed


@dataclass(frozen=True)
class Part:
    """One split of a file. images: uint8 (N, C, H, W), float16 or float32 in [0, 1], or
    `Streamed`. labels: int64 (N,)."""

    images: np.ndarray | Streamed
    labels: np.ndarray


@dataclass(frozen=True)
class Raw:
    """The parts of a file by name ('train', 'val', 'test', or 'all' for one without splits).

    flips: whether a mirrored picture is still one of its class; None where they have colour,
    for grey ones may be writing. known_hash: `content_hash` of pictures that are streamed.
    made: how a set was computed from another, as JSON (see `made`); empty where it was not.
    """

    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    source: str
    normalization: str = "none"
    notes: str = ""
    flips: bool | None = None
    known_hash: str = ""
    made: str = ""

    @cached_property
    def content_hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of all pictures and labels."""
        return self.known_hash or set_hash(self.parts, _blocks)


def set_hash(parts: Mapping[str, Part], blocks: Callable[[Part], Iterable[np.ndarray]]) -> str:
    """A content hash; blocks: the pictures of a part in their order, some at a time."""
    digest = hashlib.sha256()
    for name, part in sorted(parts.items()):
        digest.update(f"{name}{tuple(part.images.shape)}".encode())
        for block in blocks(part):
            digest.update(np.ascontiguousarray(block).data)
        digest.update(part.labels.astype("<i8").data)
    return digest.hexdigest()[:16]


def _blocks(part: Part) -> Iterable[np.ndarray]:
    if not isinstance(part.images, Streamed):
        return [part.images]
    order = torch.arange(len(part.labels)).split(_AT_ONCE)
    return (each.numpy() for each in part.images.batches(order))


def resident(part: Part) -> np.ndarray:
    """The pictures of a part that lies in memory."""
    assert not isinstance(part.images, Streamed), "only files that are asked to are streamed"
    return part.images


def checked_labels(labels: np.ndarray, classes: int, count: int, where: str) -> np.ndarray:
    """The labels as int64 (N,). Raises ValueError where one is no class or their count is wrong."""
    if len(labels) != count:
        raise ValueError(f"{where} has {count} pictures but {len(labels)} labels: get it again")
    if count and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"{where} has the label {wrong}: expected 0 to {classes - 1}")
    return labels.astype(np.int64)
