"""Data sets from Python: whether they are such, and which."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import torch
from torch import Tensor

from hardy.data.arrays import are_pixels
from hardy.data.raw import Part, Raw
from hardy.data.reshape import reshaped_data
from hardy.data.splits import DataSet, Split, limited
from hardy.data.streaming.stream import picture_hashes

FLOATS = (torch.float16, torch.float32)


def handed_in(
    data: DataSet,
    limit_train: int | None = None,
    seed: int = 0,
    image_size: int | None = None,
    channels: int | None = None,
) -> DataSet:
    """A data set that was handed in, as `load_data` would give it; its pictures say which it is
    where it does not itself.

    Raises ValueError where its tensors are not what a split is made of.
    """
    for split in (data.train, data.val, data.test):
        _must_be_pictures(split)
    given = data.provenance
    changed = reshaped_data(data, image_size, channels)
    if changed is not data:  # other pictures
        given = {key: value for key, value in given.items() if key != "content_hash"}
    usual = {"val_fraction": "its own"}
    if "content_hash" not in given:
        usual["content_hash"] = _content_hash(changed)
    train = limited(changed.train, limit_train, seed)
    return replace(changed, train=train, provenance={**usual, **given})


def raw_of(data: DataSet) -> Raw:
    """The splits of a data set as the parts of a file."""
    splits = {"train": data.train, "val": data.val, "test": data.test}
    parts = {}
    for name, split in splits.items():
        _must_be_pictures(split)
        images = split.images.cpu().numpy() if isinstance(split.images, Tensor) else split.images
        parts[name] = Part(images, split.labels.cpu().numpy())
    source = str(data.provenance.get("source", data.name))
    return Raw(parts, data.classes, source, data.normalization, flips=data.flips)


def _content_hash(data: DataSet) -> str:
    digest = hashlib.sha256()
    for split in (data.train, data.val, data.test):
        images = split.images
        known = images if isinstance(images, Tensor) else picture_hashes(images)
        for part in (known, split.labels):
            digest.update(part.detach().cpu().contiguous().numpy().data)
    return digest.hexdigest()[:16]


def _must_be_pictures(split: Split) -> None:
    images, labels = split.images, split.labels
    pixels = isinstance(images, Tensor) and images.dtype in FLOATS and are_pixels(images)
    if not (pixels or images.dtype == torch.uint8) or images.ndim != 4:
        raise ValueError(
            f"the images of {split.name} are {images.dtype} of shape {tuple(images.shape)}: give "
            "uint8 0..255 of shape (N, C, H, W), or float16 or float32 from 0 to 1; for other "
            "pixels: (x * 255).round().byte()"
        )
    if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
        raise ValueError(
            f"the labels of {split.name} are {labels.dtype} of shape {tuple(labels.shape)}: give "
            f"int64 of shape ({len(images)},), the class of each image"
        )
