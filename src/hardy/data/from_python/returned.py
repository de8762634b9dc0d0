"""What a function of the user's own may give for pictures, as the parts of a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hardy.data.arrays import (
    SPLITS,
    assembled,
    class_names,
    in_order,
    labels_of,
    numbered,
    pictures_of,
)
from hardy.data.from_python.items import array_of, classes_of, is_items, items_of
from hardy.data.raw import Part, Raw

_SPLITS = {"all": "all", **SPLITS}
_KINDS = (
    "(images, labels), a data set of pairs (picture, label), a dict of such by split, or a "
    "DataSet or Raw of hardy"
)


def _check_splits(given: Iterable[Any], where: str) -> None:
    names = [str(name) for name in given]
    if not names or not all(name in _SPLITS for name in names):
        raise ValueError(
            f"{where} gives the splits {', '.join(names) or 'none at all'}: call them train, val "
            "and test, or all"
        )
    if len({_SPLITS[name] for name in names}) < len(names) or ("all" in names and len(names) > 1):
        raise ValueError(
            f"{where} gives {', '.join(names)}, which overlap: give train, val and test, or all"
        )


def checked(raw: Raw, where: str) -> Raw:
    """The same, once it is sure that its arrays are what a Raw is made of."""
    _check_splits(raw.parts, where)
    parts = {}
    for split, part in raw.parts.items():
        images, labels = np.asarray(part.images), np.asarray(part.labels)
        if images.dtype != np.uint8 or images.ndim != 4:
            raise ValueError(
                f"the image array of {_called(split, where)} is {images.dtype} of shape "
                f"{images.shape}: a Raw has uint8 0..255 of shape (N, C, H, W)"
            )
        parts[_SPLITS[split]] = Part(
            images, labels_of(labels, f"the label array of {_called(split, where)}")
        )
    return replace(raw, parts=assembled(parts, list(raw.classes), where, raw.source).parts)


def as_raw(made: Any, where: str, file: Path, image_size: int | None) -> Raw:
    """Arrays, items, or a dict of them by split, as the parts of a file.

    where: what errors call it. file: that of the code which made it. Raises ValueError for
    anything else.
    """
    given = dict(made) if isinstance(made, Mapping) else {"all": made}
    classes = given.pop("classes", None)
    if classes is not None:
        classes = class_names(classes, (), where)
    _check_splits(given, where)
    images: dict[str, np.ndarray] = {}
    labels: dict[str, np.ndarray] = {}
    for name, value in given.items():
        split, what = _SPLITS[name], _called(name, where)
        if isinstance(value, tuple) and len(value) == 2:
            array = array_of(value[0], f"the image array of {what}")
            images[split] = pictures_of(array, f"the image array of {what}", image_size)
            labels[split] = array_of(value[1], f"the label array of {what}")
        elif is_items(value):
            images[split], labels[split] = items_of(value, what, file, image_size)
            own = classes_of(value)
            if own is not None and classes is not None and own != classes:
                raise ValueError(f"{what} has other classes than the split before: give the same")
            classes = own if classes is None else classes
        else:
            raise ValueError(f"{what} is of type {type(value).__name__}: give {_KINDS}")
    labels, names = numbered(labels, where, classes)
    images = _of_one_kind(images)
    parts = {
        split: Part(
            images[split], labels_of(labels[split], f"the label array of {_called(split, where)}")
        )
        for split in in_order(list(images))
    }
    return assembled(parts, names or classes, where, where)


def _of_one_kind(images: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Grey splits beside coloured ones as colour, as grey pictures in a folder are."""
    most = max(each.shape[1] for each in images.values())
    return {
        split: np.repeat(each, most, axis=1) if each.shape[1] == 1 else each
        for split, each in images.items()
    }


def _called(split: str, where: str) -> str:
    return where if split == "all" else f"{split} of {where}"
