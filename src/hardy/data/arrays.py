"""Pictures, labels and class names as people hand over arrays, brought into one form."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from hardy.data.raw import Part, Raw, checked_labels
from hardy.data.reshape import reshaped

SPLITS = {"train": "train", "val": "val", "validation": "val", "test": "test"}
LAYOUT = "expected `image` uint8 (N, H, W, C) with 1 or 3 channels and `label` integer (N,)"
_MOST_CLASSES = 100_000  # more are no classes, and naming them all could fill the memory


def in_order(names: Sequence[str]) -> list[str]:
    """The splits that are there, in the order in which they are always kept."""
    return [split for split in ("all", "train", "val", "test") if split in names]


def are_pixels(floats: np.ndarray | Tensor) -> bool:
    """Whether all of them, if there are any, are pixels from 0 to 1; NaN is none."""
    return bool(((floats >= 0) & (floats <= 1)).all())


def pictures_of(
    array: np.ndarray, where: str, image_size: int | None = None, *, floats: bool = False
) -> np.ndarray:
    """Pictures (N, H, W), (N, H, W, C), or (N, C, H, W) where the last axis cannot be the
    channels, as uint8 (N, C, H, W), resized to image_size as by `reshaped`. floats: pixels
    from 0 to 1 in float16 or float32 may stay such, and others in float64 become float32.

    Raises ValueError for another type or shape, for none, and without image_size for those that
    are not square.
    """
    exact = floats and np.issubdtype(array.dtype, np.floating) and are_pixels(array)
    if exact and array.dtype not in (np.float16, np.float32):
        array = array.astype(np.float32)
    if array.dtype != np.uint8 and not exact:
        raise ValueError(
            f"{where} has the type {array.dtype}: save pictures as uint8, 0 to 255"
            + (", or as float16 or float32, 0 to 1" if floats else "")
            + (
                "; of pixels from 0 to 1 that is (x * 255).round().astype('uint8')"
                if np.issubdtype(array.dtype, np.floating)
                else ""
            )
        )
    if array.ndim == 3:
        images = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        images = array.transpose(0, 3, 1, 2)
    elif array.ndim == 4 and array.shape[1] in (1, 3):
        images = array
    else:
        raise ValueError(f"{where} has the shape {array.shape}: {LAYOUT}")
    height, width = images.shape[2:]
    if image_size is None and height != width:
        raise ValueError(
            f"{where} has {height}×{width} pixels: cut the pictures square or pass --image-size"
        )
    if not images.size:
        raise ValueError(f"{where} is empty: give at least one picture")
    return np.ascontiguousarray(reshaped(images, image_size, None))


def labels_of(labels: np.ndarray, where: str) -> np.ndarray:
    """The labels, once it is sure that they are whole numbers from 0, (N,)."""
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{where} has the type {labels.dtype}: save labels as whole numbers")
    if labels.ndim != 1:
        raise ValueError(f"{where} has the shape {labels.shape}: save one label per picture, (N,)")
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{where} has the label {labels.min()}: labels begin at 0")
    if len(labels) and labels.max() >= _MOST_CLASSES:
        raise ValueError(
            f"{where} has the label {labels.max()}: number the classes from 0, "
            f"at most {_MOST_CLASSES:,} of them"
        )
    return labels


def assembled(
    parts: Mapping[str, Part], classes: Any, where: str, source: str, notes: str = ""
) -> Raw:
    """The parts as one set, once it is sure that they are alike and their labels are classes.

    classes: the names, or None for the numbers up to the largest label. Raises ValueError.
    """
    _check_alike(parts, where)
    names = class_names(classes, (part.labels for part in parts.values()), where)
    checked = {}
    for split, part in parts.items():
        place = where if split == "all" else f"{where} ({split})"
        labels = checked_labels(part.labels, len(names), len(part.images), place)
        checked[split] = replace(part, labels=labels)
    return Raw(checked, names, source, notes=notes)


def _check_alike(parts: Mapping[str, Part], where: str) -> None:
    (first, reference), *others = parts.items()
    for split, part in others:
        if part.images.shape[1:] != reference.images.shape[1:]:
            one, other = ("×".join(map(str, each.images.shape[1:])) for each in (reference, part))
            raise ValueError(
                f"the pictures of {first} are {one} and those of {split} {other} in {where}: "
                "give all one size and as many channels"
            )


def numbered(
    labels: Mapping[str, np.ndarray], where: str, classes: tuple[str, ...] | None = None
) -> tuple[dict[str, np.ndarray], tuple[str, ...] | None]:
    """Labels that are names as numbers, and the names in the order of their numbers: that of
    classes, else the sorted one; others as they are, and None.

    Raises ValueError where some are names and some are not, and for a name that is none of
    classes or, without them, that train lacks.
    """
    if all(each.dtype.kind != "U" for each in labels.values()):
        return dict(labels), None
    if any(each.dtype.kind != "U" for each in labels.values()):
        raise ValueError(f"{where} has labels that are names and others that are not: choose one")
    if classes is not None:
        return {split: _placed(each, classes, where) for split, each in labels.items()}, classes
    names = {split: np.unique(each).tolist() for split, each in labels.items()}
    first = "train" if "train" in names else next(iter(names))
    for split, found in names.items():
        if strange := sorted({*found} - {*names[first]}):
            raise ValueError(
                f"{where} has the class {strange[0]!r} in {split} but not in {first}: every class "
                f"must be in {first}"
            )
    known = names[first]
    return {split: np.searchsorted(known, each) for split, each in labels.items()}, (*known,)


def _placed(labels: np.ndarray, classes: tuple[str, ...], where: str) -> np.ndarray:
    """The place of each label in classes."""
    names, rows = np.unique(labels, return_inverse=True)
    places = {name: place for place, name in enumerate(classes)}
    if strange := [name for name in names.tolist() if name not in places]:
        raise ValueError(
            f"{where} has the label {strange[0]!r}, which is none of its classes "
            f"({', '.join(classes[:5])}{', …' if len(classes) > 5 else ''}): add it or correct it"
        )
    return np.array([places[name] for name in names.tolist()])[rows.reshape(labels.shape)]


def class_names(names: Any, labels: Iterable[np.ndarray], where: str) -> tuple[str, ...]:
    """The names as they are given, each once; where None are, the numbers up to the largest
    label. Raises ValueError for what is no list of names."""
    if names is None:
        most = max(int(each.max(initial=0)) for each in labels)
        return tuple(str(number) for number in range(most + 1))
    array = np.asarray(names)
    if array.dtype.kind != "U" or array.ndim != 1:
        raise ValueError(
            f"classes of {where} is {array.dtype} {array.shape}: save the names as strings, (K,)"
        )
    classes = tuple(str(name) for name in array)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"classes of {where} has {twice!r} twice: give each class its own name")
    return classes
