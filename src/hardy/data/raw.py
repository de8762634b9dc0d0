"""What a file holds before anything is cut, shuffled or moved: the loaders' common answer."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Part:
    """One split of a file. images: uint8 (N, C, H, W). labels: int64 (N,)."""

    images: np.ndarray
    labels: np.ndarray


@dataclass(frozen=True)
class Raw:
    """The parts of a file by name ('train', 'val', 'test', or 'all' for one without splits)."""

    parts: Mapping[str, Part]
    classes: tuple[str, ...]
    source: str
    normalization: str = "none"
    notes: str = ""

    @cached_property
    def content_hash(self) -> str:
        """Sixteen hexadecimal digits of the SHA-256 of all pictures and labels."""
        digest = hashlib.sha256()
        for name, part in sorted(self.parts.items()):
            digest.update(f"{name}{part.images.shape}".encode())
            digest.update(np.ascontiguousarray(part.images).data)
            digest.update(part.labels.astype("<i8").data)
        return digest.hexdigest()[:16]


def checked_labels(labels: np.ndarray, classes: int, count: int, where: str) -> np.ndarray:
    """The labels as int64 (N,). Raises ValueError where one is no class or their count is wrong."""
    if len(labels) != count:
        raise ValueError(f"{where} has {count} pictures but {len(labels)} labels: get it again")
    if count and not 0 <= labels.min() <= labels.max() < classes:
        wrong = labels[(labels < 0) | (labels >= classes)][0]
        raise ValueError(f"{where} has the label {wrong}: expected 0 to {classes - 1}")
    return labels.astype(np.int64)
