"""Arrays in an .npz file, as the generated sets of Rebuffi et al. (2021) are published.

`image` uint8 (N, H, W, C) and `label` integer (N,), or the same with a split before the
name (`train_images`, `train_labels`, `test_images`, …).
"""

from __future__ import annotations

import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from hardy.data.raw import Part, Raw, checked_labels

_IMAGES = ("image", "images", "x")
_LABELS = ("label", "labels", "y")
_SPLITS = {"": "all", "train_": "train", "val_": "val", "validation_": "val", "test_": "test"}
_LAYOUT = "expected `image` uint8 (N, H, W, C) with 1 or 3 channels and `label` integer (N,)"
_MOST_CLASSES = 100_000  # more are no classes, and naming them all could fill the memory
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    MemoryError,  # a damaged head may promise any size
    OSError,
    RuntimeError,  # an encrypted member, or a zip method that Python does not know
    ValueError,
)


def load(path: Path) -> Raw:
    """The pictures of the file, in its splits if it has any, else in one part 'all'.

    Pictures may also be (N, H, W), or (N, C, H, W) where the last axis cannot be the
    channels. Class names come from an array `classes` of strings; without it they are the
    numbers up to the largest label. Nothing is unpickled.

    Raises ValueError for a file that is missing, damaged or no .npz, and for arrays that
    are absent, empty, doubled, or of another type or shape.
    """
    arrays, left_out = _read(path)
    parts: dict[str, Part] = {}
    for split, (images, labels) in _named(list(arrays), path).items():
        pictures = _pictures(arrays[images], f"{images} of {path}")
        numbers = _numbers(arrays[labels], f"{labels} of {path}")
        parts[split] = Part(pictures, numbers)
    _check_alike(parts, path)
    classes = _classes(arrays.get("classes"), parts, path)
    for split, part in parts.items():
        where = str(path) if split == "all" else f"{path} ({split})"
        labels = checked_labels(part.labels, len(classes), len(part.images), where)
        parts[split] = replace(part, labels=labels)
    notes = f"the arrays {', '.join(left_out)} are left out" if left_out else ""
    return Raw(parts, classes, path.name, notes=notes)


def _read(path: Path) -> tuple[dict[str, np.ndarray], list[str]]:
    """The arrays that have a meaning here, and the names of the others, which stay unread."""
    if not path.is_file():
        raise ValueError(f"{path} is no file: give an .npz")
    meant = {prefix + name for prefix in _SPLITS for name in (*_IMAGES, *_LABELS)} | {"classes"}
    arrays, where = {}, str(path)
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as file:
            for name in file.files:
                if name in meant:
                    where = f"{name} of {path}"
                    arrays[name] = file[name]
            left_out = [name for name in file.files if name not in meant]
    except _DAMAGE as error:
        if "allow_pickle" in str(error):  # numpy has no type of its own for this refusal
            raise ValueError(
                f"{where} holds Python objects, which are never read: save it as plain numbers "
                "(or, for classes, as strings)"
            ) from error
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{where} cannot be read as an .npz ({reason}): get it again or save it anew"
        ) from error
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{name} of {path} is no numpy array: save it with numpy.savez")
    return arrays, left_out


def _named(names: list[str], path: Path) -> dict[str, tuple[str, str]]:
    """Split → the names of its pictures and of its labels."""
    found: dict[str, tuple[str, str]] = {}
    for prefix, split in _SPLITS.items():
        images = [prefix + each for each in _IMAGES if prefix + each in names]
        labels = [prefix + each for each in _LABELS if prefix + each in names]
        if not images and not labels:
            continue
        for here, other, wanted in ((images, labels, _IMAGES), (labels, images, _LABELS)):
            if not here:
                lacking = " or ".join(prefix + each for each in wanted)
                raise ValueError(f"{path} has {other[0]} but no {lacking}: add it")
            if len(here) > 1:
                raise ValueError(f"{path} has both {here[0]} and {here[1]}: keep one of them")
        if split in found:
            raise ValueError(f"{path} has both val_ and validation_ arrays: keep one of them")
        found[split] = images[0], labels[0]
    if not found:
        raise ValueError(f"{path} has no pictures: {_LAYOUT}")
    if "all" in found and len(found) > 1:
        raise ValueError(
            f"{path} has {found['all'][0]} beside arrays of splits: take it out or name its split"
        )
    order = [split for split in ("all", "train", "val", "test") if split in found]
    return {split: found[split] for split in order}


def _pictures(array: np.ndarray, where: str) -> np.ndarray:
    """The pictures as uint8 (N, C, H, W)."""
    if array.dtype != np.uint8:
        raise ValueError(f"{where} has the type {array.dtype}: save pictures as uint8, 0 to 255")
    if array.ndim == 3:
        images = array[:, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3):
        images = array.transpose(0, 3, 1, 2)
    elif array.ndim == 4 and array.shape[1] in (1, 3):
        images = array
    else:
        raise ValueError(f"{where} has the shape {array.shape}: {_LAYOUT}")
    height, width = images.shape[2:]
    if height != width:
        raise ValueError(f"{where} has {height}×{width} pixels: cut the pictures square")
    if not images.size:
        raise ValueError(f"{where} is empty: give at least one picture")
    return np.ascontiguousarray(images)


def _numbers(labels: np.ndarray, where: str) -> np.ndarray:
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


def _check_alike(parts: dict[str, Part], path: Path) -> None:
    (first, reference), *others = parts.items()
    for split, part in others:
        if part.images.shape[1:] != reference.images.shape[1:]:
            one, other = ("×".join(map(str, each.images.shape[1:])) for each in (reference, part))
            raise ValueError(
                f"the pictures of {first} are {one} and those of {split} {other} in {path}: "
                "give all one size and as many channels"
            )


def _classes(names: Any, parts: dict[str, Part], path: Path) -> tuple[str, ...]:
    if names is None:
        most = max(int(part.labels.max(initial=0)) for part in parts.values())
        return tuple(str(number) for number in range(most + 1))
    if names.dtype.kind != "U" or names.ndim != 1:
        raise ValueError(
            f"classes of {path} is {names.dtype} {names.shape}: save the names as strings, (K,)"
        )
    classes = tuple(str(name) for name in names)
    if len(set(classes)) < len(classes):
        twice = next(name for name in classes if classes.count(name) > 1)
        raise ValueError(f"classes of {path} has {twice!r} twice: give each class its own name")
    return classes
