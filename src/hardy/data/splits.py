"""What a data set is: three splits of pictures, and the seeded ways to take parts of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hardy.data.streaming.stream import Images, Streamed
from hardy.draws import Draws


def pixels_of(images: Tensor) -> Tensor:
    """Pictures as float32 in [0, 1]: uint8 from 0 to 255, or floats that are pixels already."""
    return images.float() if images.is_floating_point() else images / 255


@dataclass(frozen=True)
class Split:
    """Pictures and their classes.

    images: uint8 (N, C, H, W), or `Streamed`, which stands for them; of sets that were computed,
    float16 or float32 in [0, 1]. labels: int64 (N,). index:
    int64 (N,), each example's position in its file's own split (of extra pictures, moved up by
    `mixing.joined`): random draws belong to it, so a part of a split keeps the draws of the whole.
    """

    images: Images
    labels: Tensor
    index: Tensor
    name: str

    @property
    def device(self) -> torch.device:
        """Where its examples lie, or its batches are delivered."""
        return self.labels.device

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"Split({self.name!r}, n={len(self)})"

    def take(self, rows: Tensor | slice, name: str | None = None) -> Split:
        """The examples of some rows, under another name if one is given."""
        images = self.images
        images = images.take(rows) if isinstance(images, Streamed) else images[rows]
        return Split(images, self.labels[rows], self.index[rows], name or self.name)

    def to(self, device: torch.device | str) -> Split:
        """The same examples on another device."""
        return replace(
            self,
            images=self.images.to(device),
            labels=self.labels.to(device),
            index=self.index.to(device),
        )

    def pixels(self, rows: Tensor | slice) -> Tensor:
        """The pictures of some rows as float32 (B, C, H, W) in [0, 1]."""
        return pixels_of(self.images[rows])


@dataclass(frozen=True)
class DataSet:
    """Train, val and test with what a model and a report must know about them.

    normalization: whose published statistics nets on this set use ('none', 'cifar10',
    'cifar100', 'imagenet'). provenance: the source file's name, `content_hash` (of the
    decoded pictures and labels before any cut), val_fraction, seed and notes; of a set that
    was computed from another also `made`, how (see `made.py`). flips: whether a mirrored
    picture is still one of its class; None where they have colour.
    """

    name: str
    train: Split
    val: Split
    test: Split
    classes: tuple[str, ...]
    normalization: str
    provenance: Mapping[str, str | int | float]
    flips: bool | None = None

    def __repr__(self) -> str:
        counts = f"train={len(self.train)}, val={len(self.val)}, test={len(self.test)}"
        return f"DataSet({self.name!r}, {counts}, classes={self.num_classes})"

    @property
    def num_classes(self) -> int:
        return len(self.classes)

    @property
    def in_channels(self) -> int:
        return self.train.images.shape[1]

    @property
    def image_size(self) -> int:
        """Height and width in pixels: pictures are square."""
        return self.train.images.shape[-1]

    def to(self, device: torch.device | str) -> DataSet:
        """The same data on another device."""
        return replace(
            self,
            train=self.train.to(device),
            val=self.val.to(device),
            test=self.test.to(device),
        )


def shuffled(count: int, seed: int, epoch: int, stream: str) -> Tensor:
    """A seeded permutation of range(count), int64 on the CPU; other streams are independent.

    It comes from our own draws and not from torch's generator: a newer torch must not
    move training pictures into the validation split of an older checkpoint.
    """
    words = Draws(seed, epoch, torch.arange(count)).bits((), stream)
    return words.argsort(stable=True)


def stratified(labels: Tensor, count: int, seed: int) -> Tensor:
    """Rows of a seeded sample of exactly `count` examples that keeps the shares of classes.

    Each class gets its share rounded down; what is left goes to the largest remainders,
    to the lower class where they tie. Sorted int64 (count,) on the CPU. Raises ValueError
    where count is not in 0..N.
    """
    labels = labels.cpu()
    total = len(labels)
    if not 0 <= count <= total:
        raise ValueError(f"a sample of {count} cannot be taken from {total} examples")
    if count == 0:
        return torch.empty(0, dtype=torch.int64)
    sizes = torch.bincount(labels)
    quota = sizes * count // total
    remainder = sizes * count % total
    left = count - int(quota.sum())
    quota[remainder.argsort(descending=True, stable=True)[:left]] += 1

    order = shuffled(total, seed, 0, "sample")
    by_class = order[labels[order].argsort(stable=True)]
    rank = torch.arange(total) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    return by_class[rank < quota.repeat_interleave(sizes)].sort().values


def parted(split: Split, count: int, seed: int, names: tuple[str, str]) -> tuple[Split, Split]:
    """A stratified sample of `count` examples, and all the others."""
    rows = stratified(split.labels, count, seed)
    others = torch.ones(len(split), dtype=torch.bool)
    others[rows] = False
    return split.take(rows, names[0]), split.take(others.nonzero().flatten(), names[1])


def halves(split: Split, seed: int) -> tuple[Split, Split]:
    """A stratified half to choose on and the other half to report; an odd one is reported."""
    names = (f"{split.name} (choosing half)", f"{split.name} (reported half)")
    return parted(split, len(split) // 2, seed, names)


def limited(split: Split, n: int | None, seed: int) -> Split:
    """A stratified, seeded part of at most n examples; the whole split where n is None.

    Raises ValueError where n is not positive.
    """
    if n is None:
        return split
    if n < 1:
        raise ValueError(f"--limit must be at least 1, not {n}")
    return split if n >= len(split) else split.take(stratified(split.labels, n, seed))
