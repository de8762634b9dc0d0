"""Pictures in memory that are too many for the device: a batch goes there when it is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor

from hardy.data.splits import DataSet, Split
from hardy.data.streaming.chained import Held
from hardy.data.streaming.room import Streaming
from hardy.data.streaming.stream import Streamed


def delivered(data: DataSet, streaming: Streaming) -> DataSet:
    """A data set whose pictures lie in memory, `in_batches` where that is to be."""
    train, val, test = in_batches(data.name, [data.train, data.val, data.test], streaming)
    return replace(data, train=train, val=val, test=test)


def in_batches(name: str, splits: Sequence[Split], streaming: Streaming) -> list[Split]:
    """The splits of a set; those in memory deliver their pictures to the device batch by batch
    where `Streaming.in_batches` says so. name: what it calls the set."""
    count = sum(images.numel() for split in splits if (images := _held(split)) is not None)
    if not count or not streaming.in_batches(name, count):
        return list(splits)
    return [
        split
        if (images := _held(split)) is None
        else replace(split, images=Streamed.whole(Held(images), streaming.workers))
        for split in splits
    ]


def _held(split: Split) -> Tensor | None:
    """The pictures that lie in this machine's own memory; floats go to the device as they are."""
    images = split.images
    if not isinstance(images, Tensor) or images.is_floating_point():
        return None
    return images if images.device.type == "cpu" else None
