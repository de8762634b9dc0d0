"""Data sets that give one pair (picture, label) after another, as torchvision's do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from torch import Tensor

from hardy.data.arrays import pictures_of
from hardy.data.pictures import converted, is_grey
from hardy.imports import blamed


def is_items(value: Any) -> bool:
    """Whether it has a length and items by their number."""
    kind = type(value)
    return callable(getattr(kind, "__len__", None)) and callable(getattr(kind, "__getitem__", None))


def classes_of(dataset: Any) -> tuple[str, ...] | None:
    """The class names of a data set that has them in `classes`."""
    names = getattr(dataset, "classes", None)
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        return None
    return tuple(names)


def array_of(value: Any, where: str) -> np.ndarray:
    """A tensor, an array or a nested list as an array. Raises ValueError for what is none."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        array = np.asarray(value)
    except ValueError:
        array = np.empty(0, object)
    if array.dtype == object or array.ndim == 0:
        raise ValueError(f"{where} is no array of numbers: give one")
    return array


def items_of(
    dataset: Any, where: str, file: Path, image_size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """All pictures, uint8 (N, C, H, W), resized as those of folders are, and all labels (N,).

    A picture is one of Pillow's, or uint8 (H, W), (H, W, C) or (C, H, W); grey ones among
    coloured ones become colour. file: that of the code which errors are looked for in. Raises
    ValueError for an item of another kind or size, and for Pillow's of 32 bits a pixel.
    """
    with blamed(where, file):
        count = len(dataset)
    if not count:
        raise ValueError(f"{where} is empty: give at least one picture")
    pictures: list[np.ndarray] = []
    labels: list[Any] = []
    for row in range(count):
        what = f"item {row} of {where}"
        with blamed(what, file):
            item = dataset[row]
        if not isinstance(item, tuple | list) or len(item) != 2:
            raise ValueError(f"{what} is of type {type(item).__name__}: give (picture, label)")
        pictures.append(_picture(item[0], what, file, image_size))
        if pictures[row].shape[1:] != pictures[0].shape[1:]:
            one, other = ("×".join(map(str, pictures[at].shape[:0:-1])) for at in (row, 0))
            raise ValueError(
                f"{what} has {one} pixels, but pictures must be of one size (the first has "
                f"{other}): pass --image-size"
            )
        labels.append(_label(item[1], what))
    channels = max(len(each) for each in pictures)
    images = np.empty((count, channels, *pictures[0].shape[1:]), np.uint8)
    for row, picture in enumerate(pictures):
        images[row] = picture
    return images, np.asarray(labels)


def _picture(value: Any, where: str, file: Path, image_size: int | None) -> np.ndarray:
    if isinstance(value, Image.Image):
        # An older Pillow opens a PNG of 16 bits as one of 32.
        if value.mode in ("I", "F") and value.format != "PNG":
            raise ValueError(
                f"{where} has a picture of Pillow's mode {value.mode}, 32 bits a pixel: give "
                "pixels of 8 bits, 0 to 255 (mode L); of pixels from 0 to 1 that is "
                "(x * 255).round().astype('uint8')"
            )
        with blamed(where, file):  # Pillow may read its file only now
            array = converted(value, 1 if is_grey(value) else 3, image_size)
    elif isinstance(value, Tensor | np.ndarray):
        array = array_of(value, where)
    else:
        raise ValueError(
            f"{where} has a picture of type {type(value).__name__}: give a Pillow image, or an "
            "array or tensor uint8"
        )
    return pictures_of(array[None], where, image_size)[0]


def _label(value: Any, where: str) -> Any:
    plain = value.item() if isinstance(value, Tensor | np.generic) and value.ndim == 0 else value
    if not isinstance(plain, int | str):
        raise ValueError(
            f"{where} has a label of type {type(plain).__name__}: give a whole number or a name"
        )
    return plain
