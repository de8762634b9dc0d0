"""More training pictures, often generated ones, beside a set's own.

Carmon et al. 2019 (arXiv:1905.13736) and Gowal et al. 2021 (arXiv:2110.09468): a fixed
share of every batch is extra, and an epoch keeps the number of batches of the own set.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from hardy.data.load import Form, as_split, read_raw, require_train
from hardy.data.raw import Raw
from hardy.data.splits import DataSet, Split, limited
from hardy.data.streaming.chained import chained
from hardy.data.streaming.delivered import in_batches
from hardy.data.streaming.room import RESIDENT, Streaming
from hardy.data.streaming.stream import picture_hashes

# Beyond any position in a file, so that no extra picture shares its draws with an own one.
INDEX_OFFSET = 2**40


def load_extra(
    spec: str,
    root: Path | str | None,
    data: DataSet,
    limit: int | None = None,
    streaming: Streaming = RESIDENT,
    image_column: str | None = None,
    label_column: str | None = None,
) -> Split:
    """The pictures of an extra set as one Split 'extra', labelled by the classes of `data`.

    spec and root: as `load_data` takes them. A set with splits gives its train split, be it
    the only one, and one without gives all. The pictures get the size and the channels of
    `data`. limit: at most so many, stratified; the same ones each time. image_column,
    label_column: of parquet files that have such columns; others are searched for their own.

    Raises ValueError where a class differs from `data`, or the channels where `data` is neither
    grey nor coloured, where there are splits but none to train on, where the extra pictures are
    those of `data` itself or one of them equals a picture of its val or test byte for byte (a
    copy that was compressed or resized anew is not noticed), for a limit below 1, and as
    `load_data`.
    """
    if limit is not None and limit < 1:
        raise ValueError(f"--extra-limit must be at least 1, not {limit}")
    kind = spec.partition(":")[0]
    form = Form(
        image_column=image_column,
        label_column=label_column,
        columns_may_lack=True,
        streaming=streaming,
    )
    if data.in_channels in (1, 3):
        form = replace(form, image_size=data.image_size, channels=data.in_channels)
    name, raw = read_raw(spec, root, form)
    if "all" not in raw.parts:
        require_train(raw)
    split = as_split(raw.parts["all" if "all" in raw.parts else "train"], "extra")
    _check_pictures(split, name, data)
    _check_other(raw, name, data)
    labels = _relabelled(split.labels, raw.classes, name, data, by_name=kind == "folder")
    extra = limited(replace(split, labels=labels), limit, seed=0)
    _check_unseen(extra, name, data)
    return in_batches(name, [extra], streaming)[0]


def joined(train: Split, extra: Split) -> Split:
    """The rows of train, then those of extra, on train's device; `Mix(len(train), …)` fits it.
    Streamed where either is.

    The index of extra is moved up by 2**40: its draws are not those of train.
    """
    assert train.images.shape[1:] == extra.images.shape[1:], "load_extra refuses other sizes"
    extra = extra.to(train.device)
    return Split(
        chained(train.images, extra.images),
        torch.cat([train.labels, extra.labels]),
        torch.cat([train.index, extra.index + INDEX_OFFSET]),
        train.name,
    )


def _check_pictures(extra: Split, name: str, data: DataSet) -> None:
    if not len(extra):
        raise ValueError(f"the extra data {name} have no pictures: give some or leave them out")
    channels, size = extra.images.shape[1], extra.images.shape[-1]
    if extra.images.dtype != data.train.images.dtype:
        types = [str(each.images.dtype).removeprefix("torch.") for each in (extra, data.train)]
        raise ValueError(
            f"the extra pictures of {name} are {types[0]}, those of {data.name} {types[1]}: give "
            "both in one type"
        )
    if channels != data.in_channels:
        kinds = {1: "grey", 3: "coloured"}
        raise ValueError(
            f"the extra pictures of {name} are {kinds[channels]}, those of {data.name} "
            f"{kinds.get(data.in_channels, f'of {data.in_channels} channels')}: "
            f"give extra ones of {data.in_channels} channel(s)"
        )
    if size != data.image_size:
        raise ValueError(
            f"the extra pictures of {name} have {size}×{size} pixels, those of {data.name} "
            f"{data.image_size}×{data.image_size}: resize them, or give them as folder:PATH"
        )


def _check_other(raw: Raw, name: str, data: DataSet) -> None:
    """The set itself would bring its own val and test pictures into training."""
    # Hashing millions of pictures takes seconds: only where the file has the same name.
    same = raw.source == data.provenance.get("source")
    if same and raw.content_hash == data.provenance.get("content_hash"):
        raise ValueError(
            f"the extra data {name} are the data themselves, with the pictures that are kept "
            "for val and test: give another set"
        )


def _check_unseen(extra: Split, name: str, data: DataSet) -> None:
    held_out = torch.cat([picture_hashes(each.images) for each in (data.val, data.test)])
    seen = int(torch.isin(picture_hashes(extra.images), held_out).sum())
    if seen:
        raise ValueError(
            f"{seen} of the {len(extra)} pictures of the extra data {name} are also in val or "
            f"test of {data.name}: leave them out"
        )


def _relabelled(
    labels: Tensor, classes: tuple[str, ...], name: str, data: DataSet, *, by_name: bool
) -> Tensor:
    """The labels as classes of `data`.

    Numbers name nothing: where one side has no more than them, labels must only fit. The
    classes of a folder are always names (by_name), and their order, the alphabet's, is
    made that of `data`.
    """
    named = by_name or (classes != _numbers(classes) and data.classes != _numbers(data.classes))
    if not named:
        if int(labels.max()) >= data.num_classes:
            raise ValueError(
                f"the extra data {name} have the label {int(labels.max())}, but {data.name} has "
                f"{data.num_classes} classes: give labels from 0 to {data.num_classes - 1}"
            )
        return labels
    if classes == data.classes:
        return labels
    if differing := sorted(set(classes) ^ set(data.classes)):
        raise ValueError(
            f"the extra data {name} and {data.name} differ in their classes "
            f"({', '.join(differing[:5])}): give both the same classes"
        )
    if not by_name:
        at = next(i for i, each in enumerate(classes) if each != data.classes[i])
        raise ValueError(
            f"the extra data {name} have other numbers for the same classes ({at} is "
            f"{classes[at]}, in {data.name} {data.classes[at]}): give both one order"
        )
    place = [data.classes.index(each) for each in classes]
    return torch.tensor(place)[labels]


def _numbers(classes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(number) for number in range(len(classes)))
